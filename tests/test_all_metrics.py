"Every registered metric keeps its promises, and is defined where there is little to measure"
import math, pickle
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from tsviz.cam import cam_acts, grad_cam
from tsviz.check import check_found, check_metric
from tsviz.core import logprob, prob
from tsviz.faithfulness import deletion, deletion_curve, degradation_curve, degradation_score, insertion_curve
from tsviz.gradient import gradient, input_x_grad
from tsviz.localisation import average_precision, pointing, relevance_mass
from tsviz.method import Method, precomputed, smoothed
from tsviz.metrics import attr_metrics, random_map
from tsviz.sanity import class_sensitivity, max_sensitivity, model_randomization
from tsviz.synth import planted, tiny_cnn

curves = [deletion_curve, insertion_curve, degradation_curve]
x,y,mask = planted(6, n_channels=2, n_steps=40, n_classes=3, width=16)
model = tiny_cnn(2, 3)
with torch.no_grad(): [o.mul_(60) for o in model[-1].parameters()] # probabilities that a few steps change

def method(name, fn): return Method(lambda x,y,model,layer,items: fn(x), fn, [], name)
even,zeros = method('even', lambda x: torch.ones_like(x[:,:1])),method('zeros', lambda x: torch.zeros_like(x))
series,jumpy = method('series', lambda x: x),method('jumpy', lambda x: torch.sin(1e4*x))
apart = { # metric -> a method that must do better on a linear model than another, where contributions and their negative are alike
    'max_sensitivity':(gradient, jumpy),          # the gradient of a linear model is the same everywhere
    'model_randomization':(input_x_grad, series), # the series has no weights
    'class_sensitivity':(input_x_grad, series),   # and no class
    'sparsity':(input_x_grad, even)}
masked = {k for k,m in attr_metrics.items() if 'mask' in m.__signature__.parameters}
def params(k, mask=mask): return dict(mask=mask) if k in masked else {}

each = pytest.mark.parametrize('k', [k for k,m in attr_metrics.items() if m.__module__.startswith('tsviz.')])

@each
def test_contracts(k): check_metric(attr_metrics[k], *apart.get(k, ()))

@pytest.mark.parametrize('kw', [dict(window=7), dict(per_channel=True), dict(baseline='noise', seed=3), dict(baseline='linear'), dict(n_steps=7, bs=4), dict(n_steps=100)], ids=str)
def test_contracts_hold_for_other_parameters(kw): check_metric(deletion, only=['independent','lengths','degenerate','direction','range'], **kw)

@each
def test_it_says_what_it_is(k):
    m = attr_metrics[k]
    lo,hi = m.range
    assert m.__name__==k==repr(m) and m.name and lo<hi and m.higher_is_better in (True,False) and m.__doc__ and pickle.loads(pickle.dumps(m)) is m
    assert list(m.__signature__.parameters)[:5]==['method','x','y','model','layer']

@each
def test_forms_of_series_and_targets(k):
    m = attr_metrics[k]
    want = m(grad_cam, x, y, model, **params(k))
    one = m(grad_cam, x[2], y[2], model, **params(k, mask[2]))
    assert one.shape==() and torch.allclose(one, want[2], atol=1e-6)
    for a,b,mk in ((x.numpy(), y.numpy(), mask.numpy()), (x.double(), y.tolist(), mask.int()), (x, y.to(torch.int32), mask.float())):
        assert torch.allclose(m(grad_cam, a, b, model, **params(k, mk)).to(want), want, atol=1e-6)
    assert torch.equal(m(grad_cam, x[[4,1]], y[[4,1]], model, items=torch.tensor([4,1]), **params(k, mask[[4,1]])), m(grad_cam, x[[4,1]], y[[4,1]], model, **params(k, mask[[4,1]])))
    for o in (prob(y), logprob(y)): assert m(gradient, x, o, model, **params(k)).isfinite().all()

@each
@pytest.mark.parametrize('m', [random_map(), random_map(5), partial(grad_cam, relu=False), smoothed(gradient, 2), cam_acts, lambda x,y,model,layer,*a: x[:1], even, zeros,
    precomputed(mask), precomputed(torch.randint(0, 3, (6,2,40))), precomputed(3e38*torch.randn(6,1,40).sign()), precomputed(1e-42*torch.randn(6,1,40))],
    ids=['random','random 5','partial','smoothed','scaled','plain','even','zeros','bools','ints','huge','tiny'])
def test_every_kind_of_map_has_a_number(k, m):
    v = attr_metrics[k](m, x, y, model, **params(k))
    lo,hi = attr_metrics[k].range
    assert v.shape==(6,) and v.isfinite().all() and v.min()>=lo-1e-6 and v.max()<=hi+1e-6

@each
def test_maps_that_are_no_numbers_are_refused(k):
    for v in (torch.full((6,1,40), torch.nan), torch.full((6,1,40), torch.nan).where(torch.arange(6)[:,None,None]==3, 1.)):
        with check_found(model, x), pytest.raises(ValueError, match='NaN for item'): attr_metrics[k](precomputed(v), x, y, model, **params(k))

@each
def test_lengths_down_to_one_step(k):
    m,ls = attr_metrics[k],[40,2,7,2,39,40]
    mk = torch.arange(40).expand(6,1,40)%3==0
    got = m(grad_cam, x, y, model, lengths=ls, **params(k, mk))
    for i,n in enumerate(ls): assert torch.allclose(got[i], m(grad_cam, x[i,:,:n], y[i], model, **params(k, mk[i,:,:n])), atol=1e-6)
    if k in masked: return
    ls[3] = 1
    got = m(grad_cam, x, y, model, lengths=ls)
    assert got.isfinite().all() and torch.allclose(got[3], m(grad_cam, x[3,:,:1], y[3], model), atol=1e-6)

@each
def test_one_item_one_channel_one_class_one_step(k):
    m,one = attr_metrics[k],tiny_cnn(1, 1)
    for n in (1,2,5):
        a,mk = x[:1,:1,:n],torch.arange(n)[None,None]==0
        for net,c in ((one, None), (one, 0), (nn.Sequential(*one, nn.Flatten(0)), None), (tiny_cnn(1, 2), 0)):
            says = {'n == 1 and masked':n==1 and k in masked, 'class_sensitivity':k=='class_sensitivity' and net[6].out_features==1}
            if any(says.values()):
                with pytest.raises(ValueError, match='nothing to find|two or more outputs') as e: m(gradient, a, c, net, **params(k, mk))
                assert '\n' not in str(e.value)
            else:
                v = m(gradient, a, c, net, **params(k, mk))
                assert v.shape==(1,) and v.isfinite().all()

@each
def test_flat_series_and_dead_networks(k):
    m,dead = attr_metrics[k],tiny_cnn(2, 3)
    with torch.no_grad(): [o.zero_() for o in dead.parameters()] # every gradient, score and map is zero
    for net in (model, dead):
        for a in (x, 0*x, 0*x+1): assert m(gradient, a, y, net, **params(k)).isfinite().all()

@each
def test_a_function_of_the_output(k):
    fn = lambda out: out[:,0]-out[:,1]
    if k=='class_sensitivity':
        with pytest.raises(ValueError, match='needs a class'): attr_metrics[k](gradient, x, fn, model)
    else: assert attr_metrics[k](gradient, x, fn, model, **params(k)).isfinite().all()

@each
def test_what_is_refused(k):
    m,bad = attr_metrics[k],dict(bs=(0,-1,2.5), seed=(-1,1.5), n_steps=(0,1.5), window=(0,1.5), fractions=((),(0,.5),(2,)), n_samples=(0,), radius=(-1,math.nan,math.inf,'a'),
        baseline=('zro',math.nan), score=('probs',), n_stages=(0,), mask=(None, mask[0], mask[:,:,1:], mask[:3], mask&False, mask|True, 2*mask.int(), 'a'))
    for o,vs in bad.items():
        if o not in m.__signature__.parameters: continue
        for v in vs:
            with check_found(model, x), pytest.raises(ValueError, match=f"`{o}`|numbers are needed") as e: m(grad_cam, x, y, model, **{**params(k), o:v})
            assert '\n' not in str(e.value)
    with pytest.raises(TypeError, match="Did you mean 'layer'"): m(grad_cam, x, y, model, layr=0)
    with pytest.raises(TypeError, match='pass the function'): m('grad_cam', x, y, model)

# ---- what is extreme for one of them

def test_constant_maps_are_random_ones():
    "Ties have no order of their own: not left to right"
    a = deletion(even, x, y, model)
    assert torch.equal(a, deletion(zeros, x, y, model)) and not torch.equal(a, deletion(even, x, y, model, seed=1))
    ramp = [deletion(precomputed(torch.arange(40.).mul(s).expand(6,1,40)), x, y, model) for s in (1,-1)]
    assert not any(torch.allclose(a, o) for o in ramp)
    many = torch.stack([degradation_score(even, x, y, model, seed=s) for s in range(20)])
    assert (many.mean(0).abs() < 4*many.std(0)/20**.5).all()

def test_more_steps_than_the_series_has():
    "A curve of more parts than steps stands still between them; its area is that of the steps"
    a,b = deletion_curve(gradient, x, y, model, n_steps=40),deletion_curve(gradient, x, y, model, n_steps=80)
    assert torch.allclose(a, b[:,::2], atol=1e-6) and b.shape==(6,81)
    one = deletion_curve(gradient, x[...,:1], y, model, n_steps=3)
    assert one.shape==(6,4) and set(one[0].tolist())=={one[0,0].item(), one[0,-1].item()}

def test_a_window_as_long_as_the_series_replaces_all_or_nothing():
    for w in (40,39):
        for c in curves:
            v = c(gradient, x, y, model, window=w)
            assert v.isfinite().all() and all(len(set(o.tolist()))<=(2 if w==40 else 4) for o in v)
    assert torch.allclose(degradation_score(gradient, x, y, model, window=40), torch.zeros(6), atol=1e-6)

@pytest.mark.parametrize('c', curves, ids=repr)
def test_curves(c):
    "Defined for the same maps and series; one series gives one curve; lengths are no matter"
    v = c(grad_cam, x, y, model)
    assert torch.allclose(c(grad_cam, x[1], y[1], model), v[1], atol=1e-6) and v.isfinite().all()
    for m in (even, zeros, random_map()): assert c(m, x, y, model).shape==v.shape
    for n in (1,2,3): assert c(gradient, x[...,:n], y, model).isfinite().all()
    got = c(grad_cam, x, y, model, lengths=[40,1,2,9,39,40])
    assert torch.allclose(got[3], c(grad_cam, x[3,:,:9], y[3], model), atol=1e-6)
    assert torch.allclose(c(grad_cam, x, y, model, bs=1), v, atol=1e-6)

def test_no_noise_no_change(): assert not max_sensitivity(gradient, x, y, model, radius=0).any() and not max_sensitivity(even, x, y, model).any() and not max_sensitivity(zeros, x, y, model).any()

def test_constant_maps_say_the_same_of_every_network_and_class():
    for m in (even, zeros):
        assert model_randomization(m, x, y, model).tolist()==[1.]*6 and class_sensitivity(m, x, y, model).tolist()==[0.]*6

def test_localisation_of_constant_maps_is_the_share_of_the_mask():
    one = mask[:,:1]
    share = one.double().mean((1,2)).float()
    for m in (pointing, relevance_mass, average_precision): assert torch.allclose(m(even, x, y, model, mask=one), share)
    assert not relevance_mass(zeros, x, y, model, mask=mask).any()

def test_a_mask_as_numpy_or_of_one_row():
    full = mask.any(1, keepdim=True).expand(-1, 2, -1)
    for m in (pointing, relevance_mass, average_precision):
        assert torch.equal(m(gradient, x, y, model, mask=full[:,:1]), m(gradient, x, y, model, mask=np.asarray(full)))
        assert torch.equal(m(grad_cam, x, y, model, mask=mask), m(grad_cam, x, y, model, mask=full[:,:1]))

@each
def test_maps_that_are_there_are_not_made_again(k):
    m,calls = attr_metrics[k],[]
    counted = method('counted', lambda o: (calls.append(len(o)), o*1)[1])
    want = m(counted, x, y, model, **params(k))
    n,_ = len(calls),calls.clear()
    assert torch.equal(m(counted, x, y, model, attrs=x*1, **params(k)), want) and len(calls)==n-1
    for bad in (x[:5], x[...,1:], x[:,[0,0,1]], x*torch.nan, 'a'):
        with pytest.raises(ValueError, match='`attrs` must be finite maps|numbers are needed'): m(counted, x, y, model, attrs=bad, **params(k))

def test_all_of_them_are_here():
    assert {'deletion','insertion','degradation_score','aopc','comprehensiveness','sufficiency','max_sensitivity','model_randomization','class_sensitivity',
            'pointing','average_precision','relevance_mass','sparsity'} <= attr_metrics.keys()
    assert masked=={'pointing','average_precision','relevance_mass'}
