"InceptionTime: its wiring against the paper's equations, its size against a count by hand, and how it is sliced, copied and explained"
import copy, pickle
import pytest, torch
from torch import nn
import torch.nn.functional as F
from tsviz.models import *
from tsviz.score import find_layer

def net(ni=3, nout=4, nb_filters=4, bottleneck_size=8, **kwargs):
    torch.manual_seed(0)
    model = inception_time(ni, nout, nb_filters=nb_filters, bottleneck_size=bottleneck_size, **kwargs)
    for m in model.modules():                                     # statistics and weights that a wrong order would show
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
    from tsviz.cam import class_cam
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
