"The networks: wiring against the papers' equations, size against a count by hand, how they are sliced, copied and explained; and ensembles"
import copy, math, pickle
import pytest, torch
from torch import nn
import torch.nn.functional as F
from tsviz.cam import class_cam, grad_cam, hires_cam
from tsviz.method import over_models
from tsviz.models import *
from tsviz.score import find_layer

def net(ni=3, nout=4, nb_filters=4, bottleneck_size=8, **kwargs):
    torch.manual_seed(0)
    return used(inception_time(ni, nout, nb_filters=nb_filters, bottleneck_size=bottleneck_size, **kwargs))

def used(model):
    "In eval mode, with statistics and weights of batch normalisation that a wrong order would show"
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            for o in (m.running_mean, m.weight.data, m.bias.data): o.normal_()
            m.running_var.uniform_(.5, 2)
    return model.eval()

def paper(model, x, depth=6, ks=(39,19,9)):
    "The forward pass of Ismail Fawaz et al. 2020, from the weights alone"
    w = model.state_dict()
    bn = lambda x,k: F.batch_norm(x, *(w[f'{k}.{o}'] for o in ('running_mean','running_var','weight','bias')))
    res = x
    for i in range(depth):
        b = F.conv1d(x, w[k]) if (k := f'{i}.bottleneck.weight') in w else x
        branches = [F.conv1d(F.pad(b, (n//2,n//2)), w[f'{i}.convs.{j}.weight']) for j,n in enumerate(ks)]
        branches.append(F.conv1d(F.max_pool1d(F.pad(x, (1,1), value=-torch.inf), 3, 1), w[f'{i}.pool.1.weight']))
        x = bn(torch.cat(branches, 1), f'{i}.bn').clamp(min=0)
        if i%3==2: x = res = (x + bn(F.conv1d(res, w[f'{i}.shortcut.0.weight']), f'{i}.shortcut.1')).clamp(min=0)
    return x.mean(-1) @ w[f'{depth}.2.weight'].T + w[f'{depth}.2.bias']

@pytest.mark.parametrize('kwargs', [dict(), dict(ni=1), dict(depth=7), dict(depth=2), dict(bottleneck_size=0), dict(nb_filters=5)])
def test_equals_the_paper(kwargs):
    "Fault 20: the residual spans three blocks, for any width"
    model = net(**kwargs)
    x = torch.randn(2, kwargs.get('ni',3), 60)
    torch.testing.assert_close(model(x), paper(model, x, kwargs.get('depth',6)), rtol=1e-4, atol=1e-5)

def n_params(ni, nout, ks=67, depth=6, nb=32, nf=32, pools=1):
    "Parameters by hand: `ks` is the sum of the three kernel lengths"
    K,total = 4*nf,0
    for i in range(depth):
        c = K if i else ni
        b = nb if nb and c>1 else 0
        total += c*b + (b or c)*nf*ks + c*nf + 2*K
        if i%3==2: total += (ni if i==2 else K)*K + 2*K
    return total + pools*K*nout + nout

@pytest.mark.parametrize('args,kwargs,ref', [
    ((1,2), {}, n_params(1,2)), ((6,4), {}, n_params(6,4)), ((2,3), dict(nb_filters=8), n_params(2,3,nf=8)),
    ((1,2), dict(depth=9), n_params(1,2,depth=9)), ((3,2), dict(bottleneck_size=0, nb_filters=4), n_params(3,2,nb=0,nf=4)),
    ((1,2), dict(ks=41), n_params(1,2,ks=41+19+9)), ((1,2), dict(concat_pool=True), n_params(1,2,pools=2))])
def test_parameter_count(args, kwargs, ref): assert sum(p.numel() for p in inception_time(*args, **kwargs).parameters()) == ref

def test_the_stated_count(): assert n_params(1,2) == 404_994

def test_blocks_and_head():
    model = inception_time(1, 2).eval()
    assert [type(m).__name__ for m in model] == ['InceptionBlock']*6 + ['Sequential']
    assert [type(m) for m in model[6]] == [nn.AdaptiveAvgPool1d, nn.Flatten, nn.Linear]
    assert model[:6](torch.randn(2,1,150)).shape == (2,128,150)
    assert [hasattr(m,'shortcut') for m in model[:6]] == [False,False,True]*2
    assert len(inception_time(1, 2, head=False)) == 6

def test_kernels_are_odd_and_centred():
    model = inception_time(2, 2)
    assert {c.kernel_size[0] for b in model[:6] for c in b.convs} == {39,19,9}
    assert all(2*c.padding[0]+1 == c.kernel_size[0] and c.bias is None for b in model[:6] for c in b.convs)

def test_relus_are_their_own():
    "Fault 20: no ReLU is shared, none works in place"
    model = inception_time(1, 2)
    calls = []
    relus = [m for m in model.modules() if isinstance(m, nn.ReLU)]
    for m in relus: m.register_forward_hook(lambda m,i,o: calls.append(m))
    model(torch.randn(2,1,40))
    assert len(relus) == 8 and sorted(map(id, calls)) == sorted(map(id, relus)) and not any(m.inplace for m in relus)

@pytest.mark.parametrize('nb_filters', [1,8,33])
def test_any_width(nb_filters):
    "Fault 20: `nb_filters` other than 32"
    assert inception_time(2, 3, nb_filters=nb_filters, depth=3)(torch.randn(2,2,20)).shape == (2,3)

@pytest.mark.parametrize('T', [1,2,3,5])
def test_short_series(T): assert net()(torch.randn(2,3,T)).shape == (2,4)

def test_concat_pool():
    model,x = net(concat_pool=True),torch.randn(2,3,30)
    acts = model[:6](x)
    pooled = torch.cat([acts.amax(-1), acts.mean(-1)], 1)
    torch.testing.assert_close(model(x), model[6][2](pooled))

@pytest.mark.parametrize('i', [0,3,6])
def test_slices(i):
    model,x = net(),torch.randn(2,3,40)
    torch.testing.assert_close(model[i:](model[:i](x)) if i else model[i:](x), model(x))
    assert isinstance(model[i:], InceptionTime) and model[i:][0] is model[i]

@pytest.mark.parametrize('sl', [slice(1,None), slice(2,4), slice(4,6), slice(None,None,2), slice(5,None)])
def test_slices_without_their_residual_are_refused(sl):
    with pytest.raises(ValueError, match='must begin at'): net()[sl]

@pytest.mark.parametrize('sl', [slice(0,2), slice(1,2), slice(3,5), slice(4,5)])
def test_slices_that_need_no_residual(sl): assert len(net()[sl]) == sl.stop-sl.start

def test_slice_of_a_slice():
    model,x = net(depth=9),torch.randn(2,3,40)
    torch.testing.assert_close(model[3:][3:](model[:6](x)), model(x))
    with pytest.raises(ValueError, match='must begin at 0'): model[3:][1:]

def test_a_new_head():
    model = net()
    model[6] = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 7))
    assert model(torch.randn(2,3,20)).shape == (2,7)

def test_copies(tmp_path):
    model,x = net(),torch.randn(2,3,40)
    torch.save(model, tmp_path/'m.pth')
    for o in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(tmp_path/'m.pth', weights_only=False)):
        assert type(o) is InceptionTime
        torch.testing.assert_close(o(x), model(x), rtol=0, atol=0)

def test_forward_keeps_nothing():
    model = net()
    before = [set(vars(m)) for m in model.modules()]
    model(torch.randn(2,3,40))
    assert [set(vars(m)) for m in model.modules()] == before

def test_gradients_reach_every_parameter():
    model = net().train()
    model(torch.randn(4,3,50)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum()>0 for p in model.parameters())

@pytest.mark.parametrize('ni', [1,3])
def test_find_layer_finds_the_last_block(ni):
    model = net(ni=ni)
    assert find_layer(model, x=torch.randn(1,ni,50)) is model[5]

@pytest.mark.parametrize('kwargs,name', [(dict(ni=0),'ni'), (dict(nout=2.5),'nout'), (dict(ks=3),'ks'), (dict(depth=0),'depth'),
                                         (dict(nb_filters=-1),'nb_filters'), (dict(bottleneck_size='a'),'bottleneck_size')])
def test_bad_arguments(kwargs, name):
    with pytest.raises(ValueError, match=f'`{name}` must be an integer of at least'): inception_time(**{'ni':1, 'nout':2, **kwargs})

# gap_head

def test_gap_head_makes_a_network_that_class_cam_explains():
    x = torch.randn(3, 2, 40)
    net = nn.Sequential(nn.Conv1d(2,6,3,padding=1), nn.ReLU(), nn.Sequential(nn.Conv1d(6,8,3,padding=1), nn.ReLU(), nn.Dropout(.5)), nn.AdaptiveMaxPool1d(1),
                        nn.Flatten(), nn.Linear(8,8), nn.ReLU(), nn.Linear(8,3)).eval()
    before = {k:v.clone() for k,v in net.state_dict().items()}
    with pytest.raises(ValueError, match='gap_head'): class_cam(x, 0, net)
    new = gap_head(net, 4).eval()
    body = net[:3](x)
    head = new[-1]
    assert torch.allclose(new(x), body.mean(-1)@head[2].weight.T + head[2].bias, atol=1e-5)
    assert torch.allclose(class_cam(x, 2, new).mean((1,2)) + head[2].bias[2], new(x)[:,2], atol=1e-5)
    assert all(torch.equal(before[k], v) for k,v in net.state_dict().items()) and len(net)==8
    assert not {id(p) for p in net.parameters()} & {id(p) for p in new.parameters()}

def test_gap_head_refuses_what_it_cannot_cut():
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.c,self.l = nn.Conv1d(1,4,3),nn.Linear(4,2)
        def forward(self, x): return self.l(self.c(x).amax(-1))
    with pytest.raises(ValueError, match='chains of `nn.Sequential`'): gap_head(Own(), 2)
    with pytest.raises(ValueError, match='`n_out`'): gap_head(inception_time(1, 2, depth=1), 0)

# FCN and ResNet [Wang et al. 2017]

def wang(make, ni=3, nout=4, **kwargs):
    torch.manual_seed(0)
    return used(make(ni, nout, **{**(dict(nf=(6,9,7)) if make is fcn else dict(nf=(6,8,8))), **kwargs}))

class Weights:
    "Convolutions and batch normalisations of a network in the order in which they are defined"
    def __init__(self, model):
        self.convs = [o.weight for o in model.modules() if isinstance(o, nn.Conv1d)]
        self.bns,self.linear = [o for o in model.modules() if isinstance(o, nn.BatchNorm1d)],next(o for o in model.modules() if isinstance(o, nn.Linear))
    def conv(self, x):
        w = self.convs.pop(0)
        k = w.shape[-1]
        return F.conv1d(F.pad(x, ((k-1)//2, k//2)), w)                 # Keras' 'same': the odd step of padding goes behind
    def bn(self, x):
        o = self.bns.pop(0)
        s = (None,slice(None),None)
        return (x-o.running_mean[s])/(o.running_var[s]+o.eps).sqrt()*o.weight[s] + o.bias[s]
    def head(self, x):
        assert not self.convs and not self.bns, 'every weight is used, once'
        return x.mean(-1) @ self.linear.weight.T + self.linear.bias

def paper_fcn(model, x, depth=3):
    w = Weights(model)
    for _ in range(depth): x = w.bn(w.conv(x)).clamp(min=0)
    return w.head(x)

def paper_resnet(model, x, nf, n_convs=3):
    w = Weights(model)
    for f in nf:
        h = x
        for i in range(n_convs):
            h = w.bn(w.conv(h))
            if i<n_convs-1: h = h.clamp(min=0)
        x = (h + w.bn(w.conv(x) if x.shape[1]!=f else x)).clamp(min=0)
    return w.head(x)

@pytest.mark.parametrize('T', [1,2,3,7,8,9,60])
@pytest.mark.parametrize('kwargs', [{}, dict(ni=1), dict(ks=(7,5,3)), dict(ks=(4,2,1), nout=1), dict(nf=(3,3,5))], ids=str)
@pytest.mark.parametrize('make', [fcn, resnet1d])
def test_wang_equals_the_paper(make, kwargs, T):
    model,x = wang(make, **kwargs),torch.randn(2, kwargs.get('ni',3), T)
    ref = paper_fcn(model, x) if make is fcn else paper_resnet(model, x, kwargs.get('nf',(6,8,8)))
    torch.testing.assert_close(model(x), ref, rtol=1e-4, atol=1e-5)
    assert model[:3](x).shape==(2, kwargs.get('nf',(6,9,7) if make is fcn else (6,8,8))[-1], T)

def test_wang_other_depths():
    x = torch.randn(2,3,30)
    model = wang(fcn, ks=(8,6,5,3), nf=(4,5,6,7)); torch.testing.assert_close(model(x), paper_fcn(model, x, 4), rtol=1e-4, atol=1e-5)
    model = wang(resnet1d, ks=(5,2), nf=(4,4)); torch.testing.assert_close(model(x), paper_resnet(model, x, (4,4), 2), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('ni,nout', [(1,2), (6,4), (64,3), (128,10)])
def test_wang_parameter_counts(ni, nout):
    "By hand; the first shortcut of the residual network has a convolution unless the series has its 64 channels"
    count = lambda model: sum(p.numel() for p in model.parameters())
    bn = lambda c: 2*c
    assert count(fcn(ni, nout)) == (8*ni*128+bn(128)) + (5*128*256+bn(256)) + (3*256*128+bn(128)) + 128*nout+nout
    block = lambda i,o: 8*i*o + 5*o*o + 3*o*o + 3*bn(o) + (i*o if i!=o else 0) + bn(o)
    assert count(resnet1d(ni, nout)) == block(ni,64) + block(64,128) + block(128,128) + 128*nout+nout
    assert count(fcn(1, 2))==264_450 and count(resnet1d(1, 2))==503_106

@pytest.mark.parametrize('make,blocks', [(fcn,'Sequential'), (resnet1d,'ResBlock')])
def test_wang_children(make, blocks):
    model = make(1, 2)
    assert type(model) is nn.Sequential and [type(m).__name__ for m in model]==[blocks]*3+['Sequential']
    assert [type(m) for m in model[-1]]==[nn.AdaptiveAvgPool1d, nn.Flatten, nn.Linear] and len(make(1, 2, head=False))==3
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv1d))
    relus,calls = [m for m in model.modules() if isinstance(m, nn.ReLU)],[]
    for m in relus: m.register_forward_hook(lambda m,i,o: calls.append(m))
    model(torch.randn(2,1,40))
    assert len(relus)==(3 if make is fcn else 9) and sorted(map(id, calls))==sorted(map(id, relus)) and not any(m.inplace for m in relus)

@pytest.mark.parametrize('make', [fcn, resnet1d])
def test_wang_pools(make):
    model,x = wang(make, concat_pool=True),torch.randn(2,3,30)
    acts = model[:3](x)
    torch.testing.assert_close(model(x), model[3][2](torch.cat([acts.amax(-1), acts.mean(-1)], 1)))

def test_even_kernels_look_one_step_further_ahead():
    for k in range(1, 10):
        conv = nn.Sequential(*[o for o in conv_block(1, 1, k) if not isinstance(o, (nn.BatchNorm1d, nn.ReLU))])
        nn.init.ones_(conv[-1].weight)
        x = torch.zeros(1,1,30,requires_grad=True)
        conv(x)[0,0,15].backward()
        assert x.grad[0,0].nonzero().flatten().tolist()==[*range(15-(k-1)//2, 15+k//2+1)]

@pytest.mark.parametrize('ni', [1,3])
@pytest.mark.parametrize('make', [fcn, resnet1d])
def test_wang_is_explained(make, ni):
    model,x = wang(make, ni=ni),torch.randn(3,ni,50)
    assert find_layer(model) is find_layer(model, x=x[:1]) is model[2]
    w,b,acts = model[3][2].weight,model[3][2].bias,model[:3](x)
    for c in range(4):
        torch.testing.assert_close(class_cam(x, c, model), torch.einsum('k,bkt->bt', w[c], acts)[:,None].detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(class_cam(x, c, model).mean((1,2))+b[c], model(x)[:,c].detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(hires_cam(x, 1, model)*50, class_cam(x, 1, model), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('make', [fcn, resnet1d])
def test_gap_head_on_wang(make):
    origin,x = wang(make, concat_pool=True),torch.randn(3,3,50)
    new = gap_head(origin, 5)
    assert torch.equal(new.eval()[:3](x), origin[:3](x)) and new(x).shape==(3,5) and [type(m) for m in new[-1]]==[nn.AdaptiveAvgPool1d, nn.Flatten, nn.Linear]
    assert not {id(p) for p in origin.parameters()} & {id(p) for p in new.parameters()}
    class_cam(x, 0, new)

@pytest.mark.parametrize('make', [fcn, resnet1d])
def test_wang_trains_and_copies(make):
    model,x = wang(make).train(),torch.randn(4,3,50)
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum()>0 for p in model.parameters())
    model.eval()
    for o in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))): assert torch.equal(o(x), model(x))

@pytest.mark.parametrize('make', [fcn, resnet1d])
@pytest.mark.parametrize('kwargs,says', [(dict(ni=0), '`ni` must be an integer of at least 1, got 0'), (dict(nout=True), '`nout` must be an integer'),
                                         (dict(ks=8), '`ks` must be a tuple of integers, got 8'),
                                         (dict(ks=(8,0,3)), '`ks` must be an integer of at least 1, got 0'),
                                         (dict(nf=()), '`nf` must be a tuple'), (dict(nf=(1,2.,3)), '`nf` must be an integer')])
def test_wang_bad_arguments(make, kwargs, says):
    with pytest.raises(ValueError, match=says): make(**{'ni':1, 'nout':2, **kwargs})

def test_fcn_needs_a_kernel_for_each_block():
    with pytest.raises(ValueError, match='one entry a block, got 2 and 3'): fcn(1, 2, ks=(8,5))

# ensembles

def five(nout=3): return [net(nout=nout), wang(fcn, nout=nout), wang(resnet1d, nout=nout), net(nout=nout, depth=3), wang(fcn, nout=nout, ks=(7,5,3))]

@pytest.mark.parametrize('n', [1,2,5])
def test_ensemble_is_the_mean_probability(n):
    models,x = five()[:n],torch.randn(6,3,40)
    out = Ensemble(models)(x)
    p = sum(m(x).double().softmax(1) for m in models)/n
    torch.testing.assert_close(out.softmax(1).double(), p, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(out.double(), p.log(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(F.cross_entropy(out, torch.arange(6)%3), F.nll_loss(out, torch.arange(6)%3))

class Says(nn.Module):
    def __init__(self, *out): super().__init__(); self.out = nn.Parameter(torch.tensor(out))
    def forward(self, x): return self.out.expand(len(x), len(self.out))

def test_ensemble_of_the_very_sure():
    "Logarithms throughout: no probability of 0, no infinite loss"
    out = Ensemble([Says(0.,-300.,-400.), Says(0.,-500.,-300.)])(torch.zeros(2,1,4))
    torch.testing.assert_close(out, torch.tensor([0., -300-math.log(2), -300-math.log(2)]).expand(2,3))
    out[:,1].sum().backward()

def test_ensemble_is_a_module():
    models,x = five(),torch.randn(2,3,40)
    e = Ensemble(models)
    assert [*e.models]==models and len(list(e.parameters()))==sum(len(list(m.parameters())) for m in models)
    assert not any(m.training for m in e.eval().modules()) and all(m.training for m in e.train().modules())
    e.eval()
    for o in (copy.deepcopy(e), pickle.loads(pickle.dumps(e))): assert torch.equal(o(x), e(x))
    other = Ensemble(map(copy.deepcopy, nn.ModuleList(five()[:2])))
    other.load_state_dict(Ensemble(models[:2]).state_dict())

def test_ensemble_is_explained_by_its_members():
    models,x = five(),torch.randn(4,3,40)
    e = Ensemble(models).eval()
    want = [grad_cam(x, e(x).argmax(1), m) for m in models]
    for ms in (e, models):
        mean,std = over_models(grad_cam, ms)(x)
        torch.testing.assert_close(mean, torch.stack(want).mean(0)); torch.testing.assert_close(std, torch.stack(want).std(0, correction=0))
    torch.testing.assert_close(grad_cam(x, 1, Ensemble(models[:1])), grad_cam(x, 1, Ensemble(models[:1]), 'models.0.5')) # one member: one last layer

def test_show_cam_of_an_ensemble():
    "A picture of one layer cannot be had; the sentence names what can"
    from matplotlib import pyplot as plt
    from tsviz.show import show_cam
    e,batch = Ensemble(five()[:3]).eval(),(torch.randn(2,3,40), torch.tensor([0,1]))
    with pytest.raises(ValueError, match='over_models'): show_cam(batch, e, func_cam=grad_cam)
    fig = show_cam(batch, e, func_cam=over_models(grad_cam, e))
    assert any('Grad-CAM over 3 models' in o.get_title() for o in fig.axes)
    plt.close(fig)

@pytest.mark.parametrize('models,err,says', [([], ValueError, 'at least one, got none'), (nn.Sequential(nn.Identity()), TypeError, 'got one network'),
                                             ([nn.Identity(), 3], TypeError, 'got int'),
                                             (nn.ModuleList(), ValueError, 'got none')])
def test_ensemble_refuses(models, err, says):
    with pytest.raises(err, match=says): Ensemble(models)

@pytest.mark.parametrize('outs', [[(1.,2.),(1.,2.,3.)], [(1.,)], [(1.,),(2.,)]])
def test_ensemble_needs_outputs_that_agree(outs):
    with pytest.raises(ValueError, match=r'one output a class, \(B,n\) with n of at least 2'): Ensemble([Says(*o) for o in outs])(torch.zeros(2,1,4))

def test_ensemble_has_no_one_layer():
    e,x = Ensemble(five()[:3]).eval(),torch.randn(2,3,40)
    for f in (lambda: find_layer(e), lambda: find_layer(e, x=x), lambda: grad_cam(x, None, e), lambda: over_models(grad_cam, [e])(x)):
        with pytest.raises(ValueError, match=r'An Ensemble of 3 networks has no one layer .* `over_models\(method, ensemble\)`'): f()
    assert find_layer(e, 'models.1.2') is e.models[1][2] and grad_cam(x, 1, e, 'models.1.2').shape==(2,1,40)
    assert find_layer(Ensemble(five()[:1])) is not None
