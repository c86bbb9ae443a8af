"Floor 0: from rule to method, lengths, and the combinators"
import copy, inspect, pickle
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from hypothesis import given, settings, strategies as st
from torch import Tensor
from tsviz.cam import cam_acts, class_cam, grad_cam, grad_cam_acts, hires_cam
from tsviz.check import check_method, model_state
from tsviz.gradient import gradient
from tsviz.perturb import occlusion
from tsviz.core import Contrast, draw_noise, reduce_acts, scale_acts, upsample
from tsviz.method import Method, OverModels, _rule_core, attr_method, attr_methods, contrast, is_method, itemwise, method_name, over_layers, over_models, precomputed, raw_method, smoothed
from tsviz.score import TargetScore, prob
from tsviz.synth import planted, tiny_cnn

x,y,_ = planted(5, n_channels=2, n_steps=40, n_classes=3, width=16)
model = tiny_cnn(2,3)
few = settings(max_examples=15, deadline=None)
def close(a, b, tol=1e-6): torch.testing.assert_close(a, b, rtol=0, atol=tol*max(b.abs().max().item(), 1e-30))
class Sub(Tensor): pass

@attr_method(name='Greedy')
def greedy(f, x, rule='sum', seed=3, n_samples=2, std=.5, bs=7, reduction='mean', layers=None, m=1., rows=0):
    "Its parameters have the names that the combinators use inside"
    assert rule in ('sum','max') and bs==7 and rows==0
    return x.sum(1, keepdim=True)*n_samples*std*seed*m if rule=='sum' else f.acts(x).amax(1, keepdim=True)

attr_methods.pop('greedy') # other tests go through the registry

def gap_only(x, y, model, layer, reduction, force_scale, scale_range):
    "A user's function of one series, as tutorials write it: hooks, and `.backward()`"
    keep = []
    hs = [layer.register_forward_hook(lambda m,i,o: keep.append(o)), layer.register_full_backward_hook(lambda m,gi,go: keep.append(go[0]))]
    model(x[None])[0,y].backward()
    for h in hs: h.remove()
    a,g = keep
    return (a*g).sum(1)[0]

# ---- a method

def test_signature():
    assert list(inspect.signature(grad_cam).parameters)==['x','y','model','layer','relu','lengths','call','items']
    assert list(inspect.signature(grad_cam_acts).parameters)==['x','y','model','layer','reduction','force_scale','scale_range','lengths','call','items']
    for m in (grad_cam, grad_cam_acts, smoothed(grad_cam_acts), over_layers(hires_cam, [0]), itemwise(gap_only)):
        ps = inspect.signature(m).parameters
        assert ps['layer'].default is None and ps['lengths'].kind==ps['lengths'].KEYWORD_ONLY
    assert inspect.signature(smoothed(partial(grad_cam, relu=False))).parameters['relu'].default is False
    assert repr(grad_cam)=='grad_cam'

@pytest.mark.parametrize('m', [grad_cam, cam_acts, smoothed(hires_cam), over_layers(hires_cam, [0]), itemwise(gap_only), precomputed(torch.zeros(5,1,40))], ids=method_name)
def test_wrong_keyword_names_the_method(m):
    for bad in (lambda: m(x, y, model, windw=3), lambda: m(x, y), lambda: m(x, y, model, None, *range(9))):
        with pytest.raises(TypeError) as e: bad()
        assert m.__name__ in str(e.value)

def test_names():
    "Registry keys are `__name__`; `.name` is printed, through partials and combinators"
    assert attr_methods['grad_cam'] is grad_cam and {'cam_acts','grad_cam_acts','class_cam','hires_cam','layer_cam'} <= attr_methods.keys()
    for m,name in ((cam_acts,'CAM'), (grad_cam_acts,'GRAD-CAM'), (class_cam,'Class CAM'), (grad_cam,'Grad-CAM'), (partial(grad_cam, relu=False),'Grad-CAM'),
                   (smoothed(grad_cam),'smoothed Grad-CAM'), (itemwise(gap_only),'gap_only'), (precomputed(torch.zeros(1,1,1), 'Random'),'Random')): assert method_name(m)==name
    assert all(k==m.__name__ for k,m in attr_methods.items()) and 'smoothed grad_cam' not in attr_methods
    assert is_method(grad_cam) and is_method(partial(partial(grad_cam), relu=False)) and not is_method(gap_only) and not is_method(partial(gap_only)) and not is_method(len)
    assert itemwise(grad_cam) is grad_cam

@pytest.mark.parametrize('m', [grad_cam, cam_acts, smoothed(hires_cam, 2), over_layers(hires_cam, [0,2]), itemwise(gap_only), greedy], ids=method_name)
def test_rank_in_is_rank_out(m):
    batch = m(x, y, model)
    assert batch.shape==(5,1,40) and type(batch) is Tensor and not batch.requires_grad
    one = m(x[2], y[2], model)
    assert one.shape==(1,40); close(one, batch[2])
    for form in (x.numpy(), x.double(), x.as_subclass(Sub), x.clone().requires_grad_()): close(m(form, y, model), batch)
    assert m(x[:1], y[:1], model).shape==(1,1,40)

def test_rule_parameters_by_position_and_name():
    a = greedy(x, y, model, None, 'max'); close(a, TargetScore(model, y).acts(x).amax(1, keepdim=True))
    close(greedy(x, y, model, rule='max'), a); close(greedy(x, y, model), x.sum(1, keepdim=True)*3)

def test_map_of_a_wrong_shape_is_named():
    bad = Method(lambda x,y,model,layer,items: x[:,:,:3], greedy, [])
    with pytest.raises(ValueError, match=r'greedy gave a map of shape \(5, 2, 3\) for 5 series of 2 channels and 40 steps'): bad(x, y, model)

def test_strided_layers_are_upsampled():
    "Fault 9: a map is as long as the series"
    net = tiny_cnn(2, 3, stride=4)
    a = TargetScore(net, y).acts(x).mean(1, keepdim=True)
    assert a.shape==(5,1,10)
    close(cam_acts(x, y, net, force_scale=False), upsample(a, 40)); close(cam_acts(x, y, net), scale_acts(upsample(a, 40)))

def test_scaling_is_last():
    raw = grad_cam_acts(x, y, model, force_scale=False)
    close(grad_cam_acts(x, y, model), scale_acts(raw)); close(grad_cam_acts(x, y, model, None, 'mean', True, (-1,2)), scale_acts(raw, (-1,2)))
    close(grad_cam_acts(x, y, model, force_scale='max'), scale_acts(raw, how='max')); close(raw_method(grad_cam_acts)(x, y, model), raw)
    with pytest.raises(ValueError, match='force_scale'): grad_cam_acts(x, y, model, force_scale='min')

def test_nan_is_not_passed_on():
    net = tiny_cnn(2,3)
    with torch.no_grad(): net[2].weight[0] = torch.nan
    for m in (grad_cam, cam_acts, smoothed(hires_cam, 2)):
        with pytest.raises(ValueError, match='gave NaN for item 0: .*Sequential'): m(x, y, net)

@pytest.mark.parametrize('bad', ['series', None, [[1,2],[3]], object()])
def test_no_numbers(bad):
    with pytest.raises(ValueError, match='numbers are needed'): grad_cam(bad, y, model)

@pytest.mark.parametrize('bad', [3, (0,1,2), 'ab', None])
def test_bad_scale_range(bad):
    with pytest.raises(ValueError, match=r'`scale_range` must be two numbers \(low, high\)'): cam_acts(x, y, model, scale_range=bad)

def test_learner_or_function_as_model():
    with pytest.raises(TypeError, match='`model` must be a `torch.nn.Module`, got int'): grad_cam(x, y, 3)

# ---- lengths

ns = [40,17,17,29,8]
padded = x.clone()
for i,n in enumerate(ns): padded[i,:,n:] = torch.nan

zoo = {'grad_cam':grad_cam, 'raw':raw_method(grad_cam_acts), 'scaled':grad_cam_acts, 'smoothed':smoothed(hires_cam, 3), 'over_layers':over_layers(hires_cam, [0,2]), 'itemwise':itemwise(gap_only),
       'smoothed over layers':smoothed(over_layers(grad_cam, [0,2]), 2), 'over layers smoothed':over_layers(smoothed(hires_cam, 2), [2,0], 'max'), 'smoothed itemwise':smoothed(itemwise(gap_only), 2)}

@pytest.mark.parametrize('target', [None, y, 1, prob(y), lambda out: out[:,1]], ids=['none', 'labels', 'int', 'prob', 'function'])
@pytest.mark.parametrize('name', zoo)
def test_lengths(name, target):
    "Contract 7: NaN in the padding; each map is the one of the series alone, unpadded; 0 beyond"
    m = zoo[name]
    if 'itemwise' in name and target is not y: target = None
    got = m(padded, target, model, lengths=torch.tensor(ns))
    for i,n in enumerate(ns):
        t = target.take(torch.tensor([i])) if hasattr(target, 'take') else target[i:i+1] if isinstance(target, Tensor) else target
        close(got[i:i+1,:,:n], m(x[i:i+1,:,:n], t, model), 2e-6)
        assert not got[i,:,n:].any()
    close(m(padded[1], target[1] if isinstance(target, Tensor) else target if not hasattr(target, 'take') else prob(y[1]), model, lengths=[17]), got[1], 2e-6)

def test_precomputed_with_lengths():
    maps = torch.rand(5,2,40)
    got = precomputed(maps)(padded, None, model, lengths=ns)
    for i,n in enumerate(ns): assert torch.equal(got[i,:,:n], maps[i,:,:n]) and not got[i,:,n:].any()
    twice = smoothed(precomputed(maps), 3)(padded, None, model, lengths=ns)
    close(twice, got)

def test_rule_never_sees_padding():
    seen = []
    @attr_method
    def looks(f, x): seen.append(x.shape); assert x.isfinite().all(); return x
    attr_methods.pop('looks')
    looks(padded, y, model, lengths=np.array(ns))
    assert sorted(seen)==[(1,2,8),(1,2,29),(1,2,40),(2,2,17)]
    seen.clear(); looks(x, y, model, lengths=[40]*5); assert seen==[(5,2,40)]

@pytest.mark.parametrize('bad,match', [([40,40], '`lengths` must be 5 ints'), ([0,1,1,1,1], 'between 1 and T=40, got 0'), ([41]+[1]*4, 'got 41'), ([1.]*5, 'must be 5 ints'), (40, 'must be 5 ints')])
def test_bad_lengths(bad, match):
    with pytest.raises(ValueError, match=match): grad_cam(x, y, model, lengths=bad)

def test_nan_within_a_length_and_wrong_rank():
    with pytest.raises(ValueError, match='NaN or infinite values, the first at item 1, channel 0, step 17'): grad_cam(padded, y, model, lengths=[40,18,17,29,8])
    for bad in (x[0,0], x[None]):
        with pytest.raises(ValueError, match='one series|batch'): grad_cam(bad, y, model, lengths=[40])

# ---- partial

def test_partial():
    signed = partial(grad_cam, relu=False)
    want = grad_cam(x, y, model, relu=False)
    assert (want<0).any(); close(signed(x, y, model), want)
    close(smoothed(signed, 2, std=0.)(x, y, model), want); close(smoothed(signed, 2, std=0.)(x, y, model, relu=True), grad_cam(x, y, model))
    close(smoothed(partial(grad_cam, layer=0), 2, std=0.)(x, y, model), grad_cam(x, y, model, 0))
    close(smoothed(partial(grad_cam, layer=0), 2, std=0.)(x, y, model, 2), grad_cam(x, y, model, 2))
    close(over_layers(partial(hires_cam, layer=0), [2])(x, y, model), scale_acts(hires_cam(x, y, model, 2), how='max'))
    close(smoothed(partial(grad_cam_acts, force_scale=False, reduction='max'), 1, std=0.)(x, y, model, force_scale=False), grad_cam_acts(x, y, model, reduction='max', force_scale=False))
    for bad in (partial(grad_cam, window=3), partial(grad_cam, lengths=[1]), partial(grad_cam, x)):
        with pytest.raises(TypeError, match=r'partial\(grad_cam, ...\)'): smoothed(bad)
    for bad in (gap_only, len, 'grad_cam'):
        with pytest.raises(TypeError, match='attr_method'): smoothed(bad)

# ---- combinators

def test_smoothed_by_hand():
    n,std,seed = 7,.3,5
    eps = draw_noise(x, n, seed); assert eps.shape==(n,1,2,40)
    span = x.amax(-1, keepdim=True)-x.amin(-1, keepdim=True)
    want = torch.stack([hires_cam(x+std*span*e, y, model) for e in eps]).mean(0)
    for bs in (1, 5, 17, 64): close(smoothed(hires_cam, n, std, seed, bs)(x, y, model), want, 2e-6)
    assert not torch.equal(smoothed(hires_cam, n, std, seed+1)(x, y, model), want)
    with pytest.raises(ValueError, match='`n_samples` must be an int from 1, got 0'): smoothed(hires_cam, 0)

def test_parameters_do_not_meet_those_of_the_combinator():
    "A rule's `seed`, `n_samples`, `reduction`, ... are its own"
    close(smoothed(greedy, 4, std=0., seed=1)(x, y, model), greedy(x, y, model)); close(smoothed(greedy, 4, std=0., bs=1)(x, y, model, seed=5), greedy(x, y, model, seed=5))
    close(over_layers(greedy, [2], 'max')(x, y, model), scale_acts(greedy(x, y, model), how='max'))
    each = torch.stack([scale_acts(grad_cam_acts(x, y, model, i, 'median', False), how='max') for i in (0,2)])
    close(over_layers(grad_cam_acts, [0,2], 'max')(x, y, model, reduction='median', force_scale=False), each.amax(0))
    close(over_layers(grad_cam_acts, [0,2], 'max')(x, y, model, reduction='median'), scale_acts(each.amax(0)))

@pytest.mark.parametrize('reduction', ['mean', 'median', 'max', 'mean_max', lambda t,dim: t.amin(dim)], ids=['mean','median','max','mean_max','function'])
def test_over_layers_by_hand(reduction):
    net = tiny_cnn(2, 3, stride=2)
    each = torch.stack([scale_acts(hires_cam(x, y, net, o), how='max') for o in (0,2)])
    close(over_layers(hires_cam, [0, net[2]], reduction)(x, y, net), reduce_acts(each, reduction, 0)[0])

def test_over_layers_refuses():
    with pytest.raises(ValueError, match='empty'): over_layers(hires_cam, [])
    with pytest.raises(ValueError, match='reduction'): over_layers(hires_cam, [0], 'men')
    with pytest.raises(ValueError, match='already has its layers'): over_layers(hires_cam, [0])(x, y, model, 2)
    with pytest.raises(ValueError, match='no layer'): over_layers(hires_cam, [0,'nope'])(x, y, model)

class Edge(nn.Module):
    "Two outputs that differ by the mean of the series: noise switches the larger one"
    def __init__(self): super().__init__(); self.c = nn.Conv1d(1,2,1,bias=False); self.c.weight.data = torch.tensor([[[1.]],[[-1.]]])
    def forward(self, x): return self.c(x).mean(-1)

def test_predicted_class_is_held():
    "`y=None` is the class of the series as it is, also where noise would switch it"
    net = Edge(); s = torch.tensor([[[1.,-1,.02,0]], [[-1.,1,-.02,0]]])
    pred = net(s).argmax(1); assert pred.tolist()==[0,1]
    noisy = s + 1.*2*draw_noise(s, 16)
    switched = net(noisy.flatten(0,1)).argmax(1)!=pred.repeat(16)
    assert switched.any() and not switched.all()
    sm = smoothed(hires_cam, 16, std=1.)
    close(sm(s, None, net, 0), sm(s, pred, net, 0)); close(sm(s, prob(), net, 0), sm(s, prob(pred), net, 0))
    close(smoothed(sm, 3, std=1.)(s, None, net, 0), smoothed(sm, 3, std=1.)(s, pred, net, 0))
    close(smoothed(over_layers(hires_cam, ['c']), 16, std=1.)(s, None, net), smoothed(over_layers(hires_cam, ['c']), 16, std=1.)(s, pred, net))

def test_itemwise():
    "The form of the seed, by position; series by series; the layer found when none is given; what it leaves in the model is taken back"
    calls = []
    def spy(*args): calls.append(args); return gap_only(*args)
    net = copy.deepcopy(model).train(); before = model_state(net)
    close(itemwise(spy)(x, y, net), hires_cam(x, y, net))
    for i,(xi,c,m,layer,reduction,force_scale,scale_range) in enumerate(calls):
        assert torch.equal(xi, x[i]) and c==y[i] and c.ndim==0 and m is net and layer is net[3] and (reduction,force_scale,scale_range)==('mean',True,(0,1))
    after = model_state(net)
    assert all(str(before[k])==str(after[k]) for k in before)
    calls.clear(); got = itemwise(spy)(x, None, net, net[2], 'max', False, (-1,1))
    assert [o[1].item() for o in calls]==model(x).argmax(1).tolist() and all(o[3] is net[2] and o[4:]==('max',False,(-1,1)) for o in calls)
    close(got, hires_cam(x, None, net, 2))
    with pytest.raises(ValueError, match='takes no `call`'): itemwise(spy)(x, y, net, 1, call=0)
    with pytest.raises(ValueError, match=r'gap_long gave a map of shape \(3, 40\)'): itemwise(gap_long)(x, y, net)
    with pytest.raises(ValueError, match='lambda'): itemwise(lambda *a: torch.zeros(1,1,1))(x, y, net)

def gap_long(x, *args): return torch.zeros(3,40)

def test_itemwise_short_and_other_forms_of_maps():
    for f in (lambda x,*a: x[0,::2].numpy(), lambda x,*a: x[:1,::2], lambda x,*a: x[0,::2].double()): close(itemwise(f)(x, y, model), upsample(x[:,:1,::2], 40))

def test_itemwise_around_our_methods():
    "What is called inside a user's function is frozen there, so that a model's own grad-off block before the layer stays harmless"
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.b = tiny_cnn(2,3)
        def forward(self, x):
            with torch.no_grad(): h = self.b[0](x)
            return self.b[1:](h)
    net = Own()
    f = lambda x,y,model,layer,*a: hires_cam(x, y, model, layer)
    close(itemwise(f)(x, y, net, 'b.2'), hires_cam(x, y, model, 2))

def test_precomputed():
    maps = torch.randn(5,2,40)
    for form in (maps, maps.numpy(), maps.as_subclass(Sub), maps.clone().requires_grad_()): assert torch.equal(precomputed(form)(x, None, model), maps)
    assert torch.equal(precomputed(maps)(x[0], None, model), maps[0]) and torch.equal(precomputed(maps)(x[:2,:,:30], None, model), maps[:2,:,:30])
    for bad in (maps[:4], maps[...,:39], torch.zeros(5,3,40)):
        with pytest.raises(ValueError): precomputed(bad)(x, None, model)
    with pytest.raises(ValueError, match=r'maps \(B,1\|C,T\)'): precomputed(maps[0])

# ---- pickling

everything = {**{k:attr_methods[k] for k in ('cam_acts','grad_cam_acts','class_cam','grad_cam','hires_cam','layer_cam')}, 'partial':partial(grad_cam, relu=False),
              'smoothed':smoothed(partial(grad_cam, relu=False), 2), 'over':over_layers(grad_cam_acts, [0,'2'], 'max'), 'itemwise':itemwise(gap_only), 'precomputed':precomputed(torch.ones(5,1,40), 'P'),
              'nested':smoothed(over_layers(smoothed(hires_cam, 2), [0,2]), 2)}

@pytest.mark.parametrize('name', everything)
def test_pickle_and_deepcopy(name):
    m = everything[name]
    want = m(x, y, model)
    for other in (pickle.loads(pickle.dumps(m)), copy.deepcopy(m), copy.copy(m)):
        assert torch.equal(other(x, y, model), want) and is_method(other) and method_name(other)==method_name(m) and inspect.signature(other)==inspect.signature(m)
    if attr_methods.get(name) is m: assert pickle.loads(pickle.dumps(m)) is m and copy.deepcopy(m) is m

# ---- items are independent

@few
@given(st.data())
def test_items_are_independent(data):
    "Contract 5: an item's map is the same alone, in any batch, in any order"
    name = data.draw(st.sampled_from(sorted(zoo)))
    b,t,stride,seed = (data.draw(st.integers(*o)) for o in ((1,5), (8,48), (1,3), (0,99)))
    order = torch.tensor(data.draw(st.lists(st.integers(0,b-1), min_size=1, max_size=5)))
    xs = torch.randn(b, 2, t, generator=torch.Generator().manual_seed(seed))*torch.logspace(-2, 2, b)[:,None,None]
    ys,net = torch.arange(b)%3,tiny_cnn(2, 3, stride=stride, seed=seed)
    target = data.draw(st.sampled_from([ys, None]))
    want = zoo[name](xs, target, net)
    got = zoo[name](xs[order], target if target is None else ys[order], net)
    assert got.shape==(len(order),1,t)
    for a,i in zip(got, order): close(a, want[i], 5e-6)

@pytest.mark.parametrize('bad,says', [('grad_cam', 'pass the function `grad_cam` itself'), (None, 'is needed, got None'), (smoothed, 'by position; smoothed takes'),
                                      (lambda x: x, 'is called with')])
def test_what_is_no_method_is_one_sentence(bad, says):
    with pytest.raises(TypeError, match=says): itemwise(bad)

# ---- several models

def member(seed):
    "A network that is sure of itself and names each class now and then: members of the ensemble disagree"
    net = tiny_cnn(2, 3, seed=seed)
    with torch.no_grad():
        net[-1].weight *= 50
        net[-1].bias -= net(x).mean(0)
    return net

members = [member(i) for i in range(4)]
def brute(maps): # mean and standard deviation, number by number
    a = np.stack([o.numpy().astype(float) for o in maps])
    mean = sum(a)/len(a)
    return mean, np.sqrt(sum((o-mean)**2 for o in a)/len(a))
def same(got, want, tol=1e-6):
    for a,b in zip(got, want): close(a, torch.tensor(b, dtype=torch.float32), tol)

targets = dict(labels=y, int=1, prob=prob(y), prob_int=prob(2), function=lambda out: out[:,1]-out[:,0])
kinds = [grad_cam, cam_acts, smoothed(hires_cam, 2), over_layers(hires_cam, [0,2]), partial(class_cam, relu=True), gap_only] # the last two know classes only

@pytest.mark.parametrize('m,target', [(m,t) for m in kinds for t in targets if m in kinds[:4] or t in ('labels','int')],
                         ids=lambda o: o if isinstance(o, str) else method_name(o))
def test_over_models_is_the_mean_and_spread_of_its_maps(m, target):
    target = targets[target]
    same(over_models(m, members)(x, target), brute([raw_method(m)(x, target, o) for o in members]))

def test_over_models_in_voting_form():
    "`scale='max'`: each model's map of each series divided by its largest |value|; a flat one stays 0"
    maps = [hires_cam(x, y, o) for o in members]
    same(over_models(hires_cam, members, scale='max')(x, y), brute([o/o.abs().amax((1,2), keepdim=True) for o in maps]))
    dead = copy.deepcopy(members[0])
    for p in dead.parameters(): p.data.zero_()
    mean,std = over_models(hires_cam, [dead], 'max')(x, y)
    assert not mean.any() and not std.any()

def test_over_models_is_raw_unless_asked():
    raw = over_models(cam_acts, members)(x, y)
    same(raw, brute([cam_acts(x, y, o, force_scale=False) for o in members]))
    same(over_models(cam_acts, members)(x, y, force_scale=True, reduction='max'), brute([cam_acts(x, y, o, reduction='max') for o in members]))
    assert not torch.allclose(raw[0], over_models(cam_acts, members)(x, y, force_scale=True)[0], atol=.01)

class Votes(nn.Module):
    "A network that gives every item the same probabilities"
    def __init__(self, *p): super().__init__(); self.conv,self.p = nn.Conv1d(2, len(p), 1),torch.tensor(p)
    def forward(self, x): return self.conv(x).mean(-1)*0 + self.p.log()

@pytest.mark.parametrize('ps,want', [([(.6,.4),(.6,.4),(.05,.95)], 1), ([(.6,.4),(.6,.4),(.4,.6)], 0), ([(.2,.45,.35),(.5,.1,.4),(.5,.1,.4)], 0),
                                     ([(.2,.8),(.7,.3),(.7,.3)], 0), ([(.2,.8)], 1)])
def test_over_models_explains_the_most_probable_class_on_average(ps, want):
    seen = []
    def fn(x, y, *args): seen.append(y.item()); return torch.zeros(40)
    over_models(fn, [Votes(*p) for p in ps])(x, layer='conv')
    assert seen==[want]*len(ps)*5

@pytest.mark.parametrize('of', [lambda c=None: c, prob], ids=['logit','prob'])
@pytest.mark.parametrize('lengths', [None, torch.tensor([40,13,27,40,33])], ids=['even','uneven'])
def test_over_models_finds_the_class_once_and_item_by_item(lengths, of):
    n = [40]*5 if lengths is None else lengths.tolist()
    with torch.no_grad(): p = torch.cat([sum(o(x[i:i+1,:,:k]).softmax(1) for o in members) for i,k in enumerate(n)])
    c = p.argmax(1)
    assert any((o(x).argmax(1)!=c).any() for o in members) and len(c.unique())>1, 'the models must disagree for this to test anything'
    with torch.no_grad(): assert lengths is None or (sum(o(x).softmax(1) for o in members).argmax(1)!=c).any(), 'and padding must change the class'
    m = over_models(hires_cam, members)
    got = m(x, of(), lengths=lengths)
    same(got, brute([hires_cam(x, of(c), o, lengths=lengths) for o in members]))
    if lengths is not None: assert not any(o[i,:,k:].any() for o in got for i,k in enumerate(n))

def test_over_models_forms_of_x_and_of_models():
    m = over_models(grad_cam, members)
    want = m(x)
    assert all(o.shape==(5,1,40) and type(o) is Tensor and not o.requires_grad for o in want)
    for i in range(5):
        one = m(x[i])
        assert one[0].shape==one[1].shape==(1,40)
        same(one, [o[i].numpy() for o in want], 5e-6)
    same(m(x[2], 1, lengths=[9]), [o[0].numpy() for o in m(x[2:3], 1, lengths=[9])])
    for form in (x.numpy(), x.double(), x.as_subclass(Sub), x.clone().requires_grad_()): same(m(form), [o.numpy() for o in want])
    for form in (tuple(members), nn.ModuleList(members), iter(members)): assert over_models(grad_cam, form).models==members
    class Holds(nn.Module):
        def __init__(self): super().__init__(); self.models = nn.ModuleList(members)
    assert over_models(grad_cam, Holds()).models==members
    wide = over_models(precomputed(torch.ones(5,2,40)), members)(x)
    assert wide[0].shape==(5,2,40) and not wide[1].any()

def test_over_one_model_there_is_no_disagreement():
    for models in (members[:1], [members[0]]*3):
        mean,std = over_models(hires_cam, models)(x)
        close(mean, hires_cam(x, None, members[0])); assert std.abs().max()<=1e-6*mean.abs().max()
    assert not over_models(hires_cam, members[:1])(x)[1].any()

def test_over_models_layers():
    m = over_models(hires_cam, members)
    for layer in (0, '0', lambda o: o[0]): same(m(x, y, layer), brute([hires_cam(x, y, o, 0) for o in members]))
    same(m(x, y, layer=0, call=0), brute([hires_cam(x, y, o, 0) for o in members]))
    for one in (m, over_models(hires_cam, members[:1])):
        with pytest.raises(ValueError, match='belongs to one model only'): one(x, y, members[0][0])
    other = nn.Sequential(nn.Identity(), *copy.deepcopy(members[1])) # another depth: None is each model's own last block
    same(over_models(hires_cam, [members[0], other])(x, y), brute([hires_cam(x, y, o) for o in members[:2]]))

def test_over_models_single_output():
    ones = [tiny_cnn(2, 1, seed=i) for i in range(2)]
    flat = [nn.Sequential(*o, nn.Flatten(0)) for o in ones]
    for models in (ones, flat): same(over_models(hires_cam, models)(x), brute([hires_cam(x, 0, o) for o in ones]))
    with pytest.raises(ValueError, match='one output'): over_models(hires_cam, ones)(x, prob())

def test_over_models_leaves_members_as_found():
    models = [copy.deepcopy(members[0]), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), *copy.deepcopy(members[1])).eval()]
    want = over_models(hires_cam, models)(x)
    models[1].train()
    for a,b in zip(over_models(hires_cam, models)(x), want): assert torch.equal(a, b) # dropout and batch statistics rest, also while the class is found
    models[0].train(); models[0][0].weight.requires_grad_(False); models[0](x).sum().backward()
    state = lambda: [[None if o is None else o.tolist() if isinstance(o, Tensor) else o for o in v] for m in models for v in model_state(m).values()]
    before,rng = state(),torch.get_rng_state()
    over_models(smoothed(hires_cam, 2), models)(x)
    def fails(*args): raise RuntimeError('no')
    with pytest.raises(RuntimeError): over_models(fails, models)(x)
    assert state()==before and torch.equal(torch.get_rng_state(), rng)

def test_over_models_counts_forwards():
    "A pass a model for its map, and one more only to find the class"
    n = [0]*4
    def count(i):
        def hook(*args): n[i] += 1
        return hook
    hs = [o.register_forward_hook(count(i)) for i,o in enumerate(members)]
    for target,want in ((1,1), (y,1), (None,2)):
        n[:] = [0]*4; over_models(hires_cam, members)(x, target, layer=0)
        assert n==[want]*4
    for h in hs: h.remove()

def test_over_models_names_and_pickles():
    m = over_models(smoothed(partial(grad_cam, relu=False), 2), members, 'max')
    assert isinstance(m, OverModels) and m.name==method_name(m)=='smoothed Grad-CAM over 4 models' and repr(m)==m.__name__=='smoothed grad_cam over 4 models'
    assert over_models(grad_cam, members[:1]).name=='Grad-CAM over 1 model' and over_models(gap_only, members).name=='gap_only over 4 models'
    assert m.models==members and is_method(m.method) and not is_method(m)
    for other in (pickle.loads(pickle.dumps(m)), copy.deepcopy(m)):
        assert other.name==m.name
        for a,b in zip(other(x), m(x)): assert torch.equal(a, b)

@pytest.mark.parametrize('f,err,says', [
    (lambda: over_models(grad_cam, []), ValueError, '`models` is empty'),
    (lambda: over_models(grad_cam, members[0]), TypeError, 'got one Sequential: put it in a list'),
    (lambda: over_models(grad_cam, [members[0], 'b']), TypeError, '`model` must be a `torch.nn.Module`, got str'),
    (lambda: over_models('grad_cam', members), TypeError, 'pass the function `grad_cam` itself'),
    (lambda: over_models(grad_cam, members, 'min'), ValueError, "`scale` must be False .* got 'min'"),
    (lambda: over_models(grad_cam, members, True), ValueError, "`scale` must be False .* got True"),
    (lambda: over_models(grad_cam, [members[0], tiny_cnn(2,4)])(x), ValueError, r'The models have \[3, 4\] outputs'),
    (lambda: over_models(grad_cam, [nn.Conv1d(2,3,1)])(x), ValueError, r'Conv1d gave shape \(5, 3, 40\)'),
    (lambda: over_models(grad_cam, members)(x, windw=3), TypeError, 'grad_cam'),
    (lambda: over_models(grad_cam, members)(x, [0,1]), ValueError, '2 classes for 5 items'),
    (lambda: over_models(grad_cam, members)(x, 3), ValueError, 'class 3 is out of range'),
    (lambda: over_models(grad_cam, members)(x[0,0]), ValueError, r'one series \(C,T\) or a batch'),
    (lambda: over_models(grad_cam, members)(x, lengths=[1]), ValueError, '`lengths` must be 5 ints'),
    (lambda: smoothed(over_models(grad_cam, members)), TypeError, 'a method made by `@attr_method` is needed, got Grad-CAM over 4 models'),
    (lambda: itemwise(over_models(grad_cam, members)), TypeError, 'Grad-CAM over 4 models takes')])
def test_over_models_refuses(f, err, says):
    with pytest.raises(err, match=says): f()

# ---- contrast, second results, and batches that do not fit

@pytest.mark.parametrize('m', [contrast(hires_cam), contrast(over_layers(hires_cam, [0,2])), contrast(smoothed(hires_cam, 2))], ids=method_name)
def test_contrast_keeps_the_contracts(m): check_method(m)

def test_contrast_by_hand():
    "HiResCAM is linear in the score, so the contrast is a difference of maps"
    other = torch.tensor([1,2,0,1,2])
    c = torch.tensor([0,0,1,2,1])
    close(contrast(hires_cam, other)(x, c, model), hires_cam(x, c, model)-hires_cam(x, other, model))
    out = model(x).detach()
    up = out.topk(2).indices[:,1]
    close(contrast(hires_cam)(x, None, model), hires_cam(x, None, model)-hires_cam(x, up, model))
    ns = torch.tensor([40,9,17,9,40])
    close(contrast(hires_cam, other)(x, c, model, lengths=ns), hires_cam(x, c, model, lengths=ns)-hires_cam(x, other, model, lengths=ns))
    p = lambda k: prob(torch.as_tensor(k))
    close(contrast(hires_cam, other)(x, p(c), model), hires_cam(x, p(c), model)-hires_cam(x, p(other), model), 2e-6)
    with pytest.raises(ValueError, match='`other` has 2 classes for 5 items'): contrast(hires_cam, [1,1])(x, 0, model)
    with pytest.raises(ValueError, match='got 0 twice'): contrast(hires_cam, 0)(x, 0, model)
    for y in (lambda o: o[:,0], Contrast(0,1)):
        with pytest.raises(ValueError, match='`contrast` needs a class'): contrast(hires_cam, 1)(x, y, model)
    assert contrast(grad_cam).name=='contrast Grad-CAM' and contrast(grad_cam).__name__=='contrast grad_cam'
    pickle.loads(pickle.dumps(contrast(grad_cam, 1)))(x, 0, model)

def _two(f, x, both=True):
    "A map, and a number an item"
    a,g = f.acts_grads(x)
    return ((a*g).sum(1, keepdim=True), f(x)) if both else (a*g).sum(1, keepdim=True)

def test_second_results():
    m = Method(partial(_rule_core, _two), _two, [inspect.Parameter('both', inspect.Parameter.POSITIONAL_OR_KEYWORD, default=True)])
    a,s = m(x, 0, model)
    close(a, hires_cam(x, 0, model)); close(s, model(x)[:,0].detach())
    a,s = m(x[1], 0, model); assert a.shape==(1,40) and s.shape==()
    ns = torch.tensor([40,9,17,9,40])
    a,s = m(x, 0, model, lengths=ns)
    for i,n in enumerate(ns): close(s[i], model(x[i:i+1,:,:n])[0,0].detach())
    with pytest.raises(ValueError, match='second result'): smoothed(m)(x, 0, model)
    with pytest.raises(ValueError, match='second result'): over_models(m, [model])(x, 0)
    close(smoothed(partial(m, both=False), 1, std=0.)(x, 0, model), hires_cam(x, 0, model))

class Small(torch.nn.Module):
    "A memory that holds two rows"
    def __init__(self): super().__init__(); self.net,self.rows = model,[]
    def forward(self, x):
        self.rows.append(len(x))
        if len(x)>2: raise torch.OutOfMemoryError('full')
        return self.net(x)

@pytest.mark.parametrize('m', [grad_cam, cam_acts, smoothed(hires_cam, 3), over_layers(hires_cam, ['net.0','net.2'])], ids=method_name)
def test_a_batch_that_does_not_fit_is_split(m):
    small = Small()
    kw = {} if m.__name__.endswith('layers') else {'layer':'net.3'}
    want = over_layers(hires_cam, [0,2])(x, 0, model) if not kw else m(x, 0, model, 3)
    close(m(x, 0, small, **kw), want)
    assert max(small.rows)>2 and {1,2} & set(small.rows)

def test_a_baseline_for_each_item():
    f,b = TargetScore(model, 0),torch.randn(5,2,40, generator=torch.Generator().manual_seed(0))
    f.items = torch.tensor([3,3,1])
    assert torch.equal(f.baseline(b, x[[3,3,1]]), b[[3,3,1]]) and torch.equal(f.baseline(b, x[[3,3,1],:,:9]), b[[3,3,1],:,:9])
    assert torch.equal(f.baseline(b[0], x[:3]), b[:1].expand(3,2,40)) and torch.equal(f.baseline('mean', x[:3]), x[:3].mean(-1, keepdim=True).expand(3,2,40))

def test_items_say_which_series_these_are():
    "What is given one an item goes with its item, also where a call sees only some of them"
    maps,other,some = torch.randn(5,1,40),torch.tensor([1,2,1,2,1]),[4,1]
    for m in (precomputed(maps), contrast(hires_cam, other)):
        want = m(x, 0, model)
        close(m(x[some], 0, model, items=some), want[some])
        close(m(x[4], 0, model, items=[4]), want[4])
        ns = torch.tensor([40,9])
        close(m(x[some], 0, model, items=some, lengths=ns)[1,:,:9], m(x, 0, model, lengths=[40,9,9,9,9])[1,:,:9])
    for bad in ([1], [1.,2.], [[1,2]]):
        with pytest.raises(ValueError, match='`items` must be 2 ints, one a series'): hires_cam(x[:2], 0, model, items=bad)

@pytest.mark.parametrize('bad', [dict(n_samples=1.5), dict(n_samples=True), dict(n_samples=0), dict(std='a'), dict(std=-1.), dict(std=float('nan')), dict(seed='a'), dict(seed=1.5), dict(seed=-1), dict(bs=0)])
def test_smoothed_refuses(bad):
    with pytest.raises(ValueError, match=f'`{next(iter(bad))}` must be .*, got {next(iter(bad.values()))!r}'): smoothed(hires_cam, **bad)

def test_combinators_refuse():
    for o in (3, '0', None):
        with pytest.raises(ValueError, match=f'`layers` must be a list of layers, got {o!r}'): over_layers(hires_cam, o)
    for o in ('a', .5, [[1]]):
        with pytest.raises(ValueError, match='`other` must be None, an int or'): contrast(hires_cam, o)
    with pytest.raises(TypeError, match='a method, or a function .* is needed, got'): raw_method([grad_cam])

def test_a_mistyped_parameter_or_layer():
    "Also for a method that looks at no layer"
    with pytest.raises(TypeError, match="'windw'.* Did you mean 'window'"): occlusion(x, 0, model, windw=3)
    for m in (occlusion, gradient, hires_cam):
        with pytest.raises(ValueError, match="There is no layer 'conv7'"): m(x, 0, model, 'conv7')
        with pytest.raises(ValueError, match='layer 99 is out of range'): m(x, 0, model, 99)
