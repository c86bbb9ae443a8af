"Every method there is, on every kind of target and model: what a user may count on whichever name is picked"
import inspect
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from common import says
from tsviz.all import attr_methods, fcn, inception_time, opposite, raw_method, resnet1d
from tsviz.core import pass_steps
from tsviz.method import contrast, smoothed
from tsviz.score import logprob, prob
from tsviz.synth import fit_tiny, planted, tiny_cnn

own = {k:m for k,m in attr_methods.items() if m.__module__.startswith('tsviz.')}
x,labels,_ = planted(6, 2, n_steps=40, n_classes=3, width=16)
refs,ref_y,_ = planted(9, 2, n_steps=60, n_classes=3, width=16, seed=1)
few = {'expected_grads':dict(baselines=refs)} # what a method cannot do without
def run(name, x, y, model, layer=None, **kw): return raw_method(own[name])(x, y, model, layer, **few.get(name, {}), **kw)
def close(a, b, tol=1e-6):
    assert a.shape==b.shape
    gap,top = (a-b).abs().max().item(),max(b.abs().max().item(), 1e-30)
    assert gap<=tol*top, f'off by {gap/top:.2g} of the largest value'
takes = lambda name, k: k in own[name].__signature__.parameters
no_class,class_only = {'cam_acts','eigen_cam'},{'class_cam'} # the class plays no part; only a class's logit will do

def test_there_are_about_thirty(): assert len(own)>=25

# ---- targets

class Head(nn.Module):
    "A small network with outputs of another form"
    def __init__(self, form, n=3): super().__init__(); self.net,self.form = tiny_cnn(2,n),form
    def forward(self, x): return self.form(self.net(x))

@pytest.mark.parametrize('name', own)
def test_targets(name):
    "Regression (B,), (B,1) and (B,n); several labels; tuples and dicts with a function; probabilities"
    plain,one = tiny_cnn(2,3),tiny_cnn(2,1)
    want = run(name, x, None, one)
    if name not in class_only: # (B,) has no linear layer of two columns
        flat = Head(lambda o: o[:,0], 1)
        close(run(name, x, None, flat, 'net.3'), want)
    close(run(name, x, 0, one), want)
    for i in range(3): assert run(name, x, i, plain).isfinite().all()
    if name in class_only: return
    for form,y in ((lambda o: (o, 'more'), lambda o: o[0][:,2]), (lambda o: dict(logits=o), lambda o: o['logits'][:,2])):
        close(run(name, x, y, Head(form), 'net.3'), run(name, x, lambda o: o[:,2], plain), 1e-5)
        if name not in no_class:
            with says(ValueError, 'function'): run(name, x, 2, Head(form), 'net.3')
    several = run(name, x, lambda o: o.sigmoid()[:,[0,2]].sum(1), plain)
    assert several.isfinite().all()
    if name in no_class: return
    close(run(name, x, prob(1), plain), run(name, x, lambda o: o.softmax(1)[:,1], plain), 1e-5)
    close(run(name, x, logprob(1), plain), run(name, x, lambda o: o.log_softmax(1)[:,1], plain), 1e-5)

@pytest.mark.parametrize('name', sorted(set(own)-no_class))
def test_a_class_for_each_item_is_held(name):
    "Items keep their own class through every pass of a method, and None is the class of the series as it is"
    model = fit_tiny(tiny_cnn(2,3), *planted(48, 2, n_steps=40, n_classes=3, width=16)[:2], n_steps=30)
    c = torch.tensor([2,0,1,1,0,2])
    each = run(name, x, c, model)
    for i in range(6): close(each[i:i+1], run(name, x[i:i+1], int(c[i]), model))
    pred = model(x).detach().argmax(1)
    close(run(name, x, None, model), run(name, x, pred, model))
    assert not torch.allclose(each, run(name, x, (c+1)%3, model), atol=1e-3*each.abs().max().item()) # the class matters

# ---- nothing depends on the batch

nets = {'inception_time':partial(inception_time, 2, 3, depth=3, nb_filters=16), 'fcn':partial(fcn, 2, 3), 'resnet1d':partial(resnet1d, 2, 3)}

@pytest.fixture(scope='module')
def trained():
    "Networks with BatchNorm statistics and classes of their own"
    res,(tx,ty,_) = {},planted(32, 2, n_steps=60, n_classes=3, width=16, seed=2)
    for k,net in nets.items():
        with torch.random.fork_rng(): torch.manual_seed(0); res[k] = fit_tiny(net(), tx, ty, n_steps=4)
    return res

@pytest.mark.parametrize('net', nets)
@pytest.mark.parametrize('name', own)
def test_nothing_depends_on_the_batch(name, net, trained):
    "`bs`, order and neighbours change a map by at most 1e-6 of its largest |value|, and two equal calls by nothing"
    model,(z,_,_) = trained[net],planted(3, 2, n_steps=60, n_classes=3, width=16, seed=3)
    c,kw = torch.tensor([0,1,2]),{'n_samples':4} if takes(name, 'n_samples') else {}
    if takes(name, 'n_steps'): kw['n_steps'] = 8
    if name=='impulse_response': z = z[...,:24] # a row for every step
    want = run(name, z, c, model, **kw)
    assert torch.equal(run(name, z, c, model, **kw), want) and want.abs().max()>0
    order = torch.tensor([2,0,0,1])
    close(run(name, z[order], c[order], model, **kw), want[order])
    close(run(name, z[1:2], c[1:2], model, **kw), want[1:2])
    close(run(name, torch.cat([100*z[:1],z[1:]]), c, model, **kw)[1:], want[1:])
    if takes(name, 'bs'):
        for bs in (1,7): close(run(name, z, c, model, bs=bs, **kw), want)

@pytest.mark.parametrize('name', ['occlusion','impulse_response','ablation'])
def test_nor_does_what_shares_a_series(name, trained):
    "Long series, where many local changes are looked at in one: alone, with others, in small passes"
    model,(z,_,_) = trained['inception_time'],planted(2, 2, n_steps=1024 if name!='impulse_response' else 200, n_classes=3, width=16, seed=3)
    kw = {'occlusion':dict(window=8, stride=8), 'ablation':dict(segments=torch.arange(z.shape[-1])//8)}.get(name, {})
    want = run(name, z, [0,1], model, **kw)
    close(run(name, z[1:], [1], model, **kw), want[1:])
    close(run(name, z.flip(0), [1,0], model, bs=3, **kw), want.flip(0))

@pytest.mark.parametrize('name', [k for k in own if takes(k, 'bs')])
def test_a_pass_that_does_not_fit_is_split(name):
    "A memory of four rows gives the map of a large one"
    class Small(nn.Module):
        def __init__(self): super().__init__(); self.net,self.most = tiny_cnn(2,3),0
        def forward(self, x):
            if len(x)>4: raise torch.OutOfMemoryError('full')
            self.most = max(self.most, len(x))
            return self.net(x)
    small = Small()
    close(run(name, x, 0, small, 'net.3'), run(name, x, 0, small.net, '3'))
    assert 1<small.most<=4

def test_one_bound_holds_for_all(monkeypatch):
    "Whatever makes rows of its own keeps to `pass_steps`"
    model,seen = tiny_cnn(2,3),[]
    monkeypatch.setitem(pass_steps, 'cpu', 5*40)
    handle = model.register_forward_hook(lambda m,i,o: seen.append(i[0].shape[0]*i[0].shape[-1]))
    for name in [k for k in own if takes(k, 'bs')]:
        run(name, x[:2], 0, model) # what is looked up once, such as the receptive field, is known from here on
        seen.clear()
        run(name, x[:2], 0, model)
        assert seen and max(seen)<=5*40, name
    handle.remove()

# ---- the same forms everywhere

@pytest.mark.parametrize('name', [k for k in own if takes(k, 'baseline')])
def test_every_baseline(name):
    "By name, number, series, one an item, function, and from a reference set"
    model = tiny_cnn(2,3)
    for b in ('zero','mean','noise','permuted','linear','window_mean', .5, torch.ones(2,1), torch.ones(2,40), torch.ones(6,2,40), lambda x: x.flip(-1), opposite(refs, ref_y)):
        if name=='impulse_response' and b not in ('zero','mean'): continue
        assert run(name, x, 0, model, baseline=b).isfinite().all()
    with says(ValueError, 'baseline', "Did you mean 'zero'"): run(name, x, 0, model, baseline='zerro')
    if name!='impulse_response':
        with says(ValueError, 'opposite(refs, labels)'): run(name, x, 0, model, baseline='opposite')
        with says(ValueError, 'broadcast'): run(name, x, 0, model, baseline=torch.ones(3))
        with says(ValueError, '5 series for 6 items'): run(name, x, 0, model, baseline=torch.ones(5,2,40))
        b = torch.randn(6,2,40, generator=torch.Generator().manual_seed(0))
        each = run(name, x, 0, model, baseline=b)
        close(run(name, x[3:5], 0, model, baseline=b[3:5]), each[3:5])
        close(run(name, x[3:5], 0, model, baseline=b, items=[3,4]), each[3:5])
        ns = torch.tensor([40,31,31,40,25,40])
        close(run(name, x, 0, model, baseline=b, lengths=ns)[2,:,:31], run(name, x[2,:,:31], 0, model, baseline=b[2:3,:,:31]))

@pytest.mark.parametrize('name', own)
def test_combinators_take_every_method(name):
    model,m = tiny_cnn(2,3),partial(own[name], **few.get(name, {}))
    assert raw_method(smoothed(m, 2))(x, 0, model).isfinite().all()
    assert raw_method(contrast(m))(x, 0, model).isfinite().all()

def test_parameters_have_one_name_each():
    "One word per idea, and what takes rows takes `bs`"
    words = set('reduction relu force_scale scale_range n_samples n_steps std seed bs baseline baselines rule return_gap window stride per_channel amplitude segments n_segments layer x y model lengths call items'.split())
    for k,m in own.items(): assert set(m.__signature__.parameters)<=words, (k, set(m.__signature__.parameters)-words)
    assert all(m.__doc__ and '\n' not in m.__doc__ for m in own.values())
    assert len({m.name for m in own.values()})==len(own)
    for k,m in own.items(): assert inspect.signature(m).parameters['layer'].default is None, k

@pytest.mark.parametrize('name', [k for k in own if takes(k, 'seed')])
def test_seeds(name):
    "An int from 0, NumPy's too; anything else is one sentence"
    model,kw = tiny_cnn(2,3),dict(baseline='noise') if takes(name, 'baseline') else {}
    assert torch.equal(run(name, x, 0, model, seed=np.int64(3), **kw), run(name, x, 0, model, seed=3, **kw))
    assert not torch.equal(run(name, x, 0, model, seed=4, **kw), run(name, x, 0, model, seed=3, **kw))
    for bad in ('a', 1.5, -1, None, True):
        with says(ValueError, f'`seed` must be an int from 0 to 2**32-1, got {bad!r}'): run(name, x, 0, model, seed=bad, **kw)
