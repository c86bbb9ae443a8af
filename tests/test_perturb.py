"Perturbation methods against captum, brute force and full enumeration; what they cost is counted"
import itertools, math
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from hypothesis import given, settings, strategies as st
from common import says
from tsviz import field
from tsviz.core import find_baseline, opposite
from tsviz.method import TargetScore, attr_methods, contrast, smoothed
from tsviz.perturb import ablation, impulse_response, occlusion, window_shap
from tsviz.score import prob
from tsviz.synth import fit_tiny, planted, tiny_cnn

T = 40
model = fit_tiny(tiny_cnn(2, 3), *planted(48, 2, n_steps=T, n_classes=3, width=16, seed=1)[:2], n_steps=40)
x,y,_ = planted(4, 2, n_steps=T, n_classes=3, width=16)
pytestmark = pytest.mark.usefixtures('nothing_left_behind')
few = settings(max_examples=25, deadline=None)

def close(a, b, tol=1e-5, top=None):
    assert a.shape==b.shape, (a.shape, b.shape)
    gap,top = (a-b).abs().max().item(),top or b.abs().max().item()
    assert gap<=tol*top, f'off by {gap:.2g} of {top:.2g}'

@torch.no_grad()
def score(rows, c): return model(rows)[torch.arange(len(rows)), c].double()

def drop(mask, base, x=x, y=y):
    "s(x) - s(x with the steps of `mask` replaced), (B,)"
    return score(x, y)-score(x.where(~mask, base), y)

def starts(n, window, stride):
    s = [*range(0, n-window+1, stride)]
    return s if s[-1]+window==n else [*s, n-window]

def brute_occlusion(base, window, stride, per_channel, x=x, y=y):
    "Windows one by one; `base` may be a function of the mask"
    b,c,n = x.shape
    total,count = torch.zeros(b, c if per_channel else 1, n, dtype=torch.double),torch.zeros(n)
    for s in starts(n, window, stride):
        count[s:s+window] += 1
        for k in range(total.shape[1]):
            mask = torch.zeros(1, c, n, dtype=torch.bool)
            mask[:, k if per_channel else slice(None), s:s+window] = True
            total[:,k,s:s+window] += drop(mask, base(mask) if callable(base) else base, x, y)[:,None]
    return (total/count).float()

def linear(w):
    "s(x) = sum of w*x, plus 3"
    class Sum(nn.Module):
        def __init__(self): super().__init__(); self.w = nn.Parameter(w)
        def forward(self, x): return (x*self.w).sum((1,2))+3
    return Sum()

# occlusion

@pytest.mark.parametrize('window,stride', [(8,4), (8,8), (4,2), (6,2), (1,1), (40,1), (10,3), (10,6)])
@pytest.mark.parametrize('b', ['number','zero','mean','item'])
def test_occlusion_is_captums(window, stride, b):
    captum = pytest.importorskip('captum.attr')
    base = dict(number=torch.tensor(.7).expand_as(x), zero=torch.zeros_like(x), mean=x.mean(-1, keepdim=True).expand_as(x),
                item=torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))[b]
    given = dict(number=.7, zero='zero', mean='mean', item=base)[b]
    n = T-(T-window)%stride # captum cuts a last window that does not fit: leave it out
    xs,base,given = x[...,:n],base[...,:n],given[...,:n] if b=='item' else given
    if b=='mean': base = xs.mean(-1, keepdim=True).expand_as(xs)
    want = captum.Occlusion(model).attribute(xs, sliding_window_shapes=(2,window), strides=(2,stride), target=y, baselines=base)
    close(occlusion(xs, y, model, window=window, stride=stride, baseline=given), want[:,:1].float())
    want = captum.Occlusion(model).attribute(xs, sliding_window_shapes=(1,window), strides=(1,stride), target=y, baselines=base)
    close(occlusion(xs, y, model, window=window, stride=stride, baseline=given, per_channel=True), want.float())

@few
@given(n=st.integers(1,40), window=st.integers(1,12), stride=st.integers(1,12), per_channel=st.booleans())
def test_occlusion_by_brute_force(n, window, stride, per_channel):
    "Any length, window and stride: the last window is moved back to end at the end, and every step is covered"
    window = min(window, n); stride = min(stride, window)
    xs = x[...,:n]
    want = brute_occlusion(xs.mean(-1, keepdim=True), window, stride, per_channel, xs)
    close(occlusion(xs, y, model, window=window, stride=stride, per_channel=per_channel, baseline='mean'), want, top=max(want.abs().max().item(), .01))

@pytest.mark.parametrize('name', ['linear','window_mean','noise','permuted'])
@pytest.mark.parametrize('per_channel', [False,True])
def test_occlusion_with_every_baseline(name, per_channel):
    "Each window's own replacement, where it depends on the window"
    base = lambda mask: find_baseline(name, x, 2, mask)
    close(occlusion(x, y, model, window=7, stride=3, baseline=name, seed=2, per_channel=per_channel), brute_occlusion(base, 7, 3, per_channel))

def test_occlusion_with_opposite():
    refs,labels,_ = planted(9, 2, n_steps=40, n_classes=3, width=16, seed=5)
    o = opposite(refs, labels, nearest=True)
    close(occlusion(x, y, model, baseline=o), brute_occlusion(find_baseline(o, x, y=y), 8, 4, False))

def test_what_occlusion_refuses():
    for kw,words in [(dict(window=0),'`window` must be an int from 1'), (dict(window=41),'`window` is 41 steps and a series is 40'),
                     (dict(stride=0),'`stride` must be an int from 1'), (dict(window=4, stride=5),'uncovered'), (dict(window=2.),'got 2.0'),
                     (dict(stride=True),'got True'), (dict(window=-3),'got -3'), (dict(bs=0),'`bs`')]:
        with says(ValueError, words): occlusion(x, y, model, **kw)
    with says(ValueError, '8 steps and a series is 5', 'at most 5'): occlusion(x, y, model, lengths=[40,40,5,40])
    assert occlusion(x, y, model, window=np.int64(8), stride=np.int64(4)).shape==(4,1,40)

# impulse response

@pytest.mark.parametrize('amplitude', [1.,-.5])
@pytest.mark.parametrize('b', ['zero','mean','x','number','item'])
def test_impulse_response_by_brute_force(amplitude, b):
    item = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    base = dict(zero=torch.zeros_like(x), mean=x.mean(-1, keepdim=True).expand_as(x), x=x, number=torch.full_like(x, .3), item=item)[b]
    want = torch.zeros_like(x)
    for c,t in itertools.product(range(2), range(T)):
        pulse = torch.zeros_like(x); pulse[:,c,t] = amplitude
        want[:,c,t] = (score(base+pulse, y)-score(base, y)).float()
    close(impulse_response(x, y, model, amplitude=amplitude, baseline=dict(number=.3, item=item).get(b, b)), want)

def test_a_small_pulse_on_the_series_is_the_gradient():
    net = tiny_cnn(2, 3).double()
    g = TargetScore(net, y).grad(x.double())
    close(impulse_response(x.double(), y, net, amplitude=1e-5, baseline='x')/1e-5, g, 1e-4)

def test_the_class_of_an_impulse_response_is_that_of_the_series():
    "Not of the baseline, which the network may take for something else"
    base = x[[1,2,3,0]]
    pred = model(x).argmax(1)
    assert (pred!=model(base).argmax(1)).any()
    for b in ('zero',base): assert torch.equal(impulse_response(x, None, model, baseline=b), impulse_response(x, pred, model, baseline=b))
    close(impulse_response(x, prob(), model), impulse_response(x, prob(pred), model))

def test_what_impulse_response_refuses():
    for kw,words in [(dict(baseline='zeros'),"Did you mean 'zero'"), (dict(baseline='linear'),'must be one of'), (dict(amplitude=0),'other than 0'),
                     (dict(amplitude=math.nan),'finite'), (dict(amplitude='1'),"got '1'"), (dict(amplitude=True),'finite number'), (dict(bs=-1),'`bs`')]:
        with says(ValueError, words): impulse_response(x, y, model, **kw)

# ablation

def test_ablation_is_captums_feature_ablation():
    captum = pytest.importorskip('captum.attr')
    def theirs(base, mask): return captum.FeatureAblation(model).attribute(x, target=y, baselines=base, feature_mask=mask.expand(1,2,T)).float()
    for b,base in [(0.,torch.zeros_like(x)), ('mean',x.mean(-1, keepdim=True).expand_as(x)), (-.4,torch.full_like(x, -.4))]:
        close(ablation(x, y, model, baseline=b), theirs(base, torch.arange(2)[None,:,None]))
        for seg in (torch.arange(T)//7, torch.arange(T)%3, torch.zeros(T, dtype=torch.long)):
            close(ablation(x, y, model, segments=seg, baseline=b), theirs(base, seg)[:,:1])

@few
@given(seg=st.lists(st.integers(-3,9), min_size=T, max_size=T), name=st.sampled_from(['linear','window_mean','noise','zero']))
def test_ablation_of_any_segments(seg, name):
    "Of any numbers, in any order, in one piece or not"
    s,want = torch.tensor(seg),torch.zeros(4, 1, T)
    for i in set(seg): want[:,0,s==i] = drop((s==i)[None,None], find_baseline(name, x, 0, (s==i)[None,None])).float()[:,None]
    for o in (seg, np.array(seg), s): close(ablation(x, y, model, segments=o, baseline=name), want)

def test_segments_and_lengths():
    "A number for each step of the padded series; what lies beyond an item plays no part"
    seg,ns = torch.arange(T)//6,[40,13,26,13]
    got = ablation(x, y, model, segments=seg, lengths=ns)
    for i,n in enumerate(ns):
        close(got[i:i+1,:,:n], ablation(x[i:i+1,:,:n], y[i:i+1], model, segments=seg[:n]))
        assert not got[i,:,n:].any()

def test_what_ablation_refuses():
    for s,words in [([0]*39,'one for each of 40 steps'), ([[0]*40]*4,'got torch.int64 of shape (4, 40)'), ([.5]*40,'float32'),
                    ('abc','numbers are needed'), (3,'of shape ()')]:
        with says(ValueError, words): ablation(x, y, model, segments=s)

# Shapley

def enumerated(value, n):
    "The definition: the mean over all n! orders"
    phi = 0.
    for order in itertools.permutations(range(n)):
        s,was,add = frozenset(),value(frozenset()),[0.]*n
        for i in order: s = s|{i}; add[i] = value(s)-was; was = value(s)
        phi = phi + torch.stack(add, -1)
    return phi/math.factorial(n)

def cut(n, t=T): return torch.arange(t)*n//t

def values(a, n, t=T): return torch.stack([a[:,0,cut(n, t)==i].sum(-1) for i in range(n)], -1)

@pytest.mark.parametrize('n', [1,2,3,5])
@pytest.mark.parametrize('name', ['zero','linear','noise'])
def test_shapley_is_the_mean_over_all_orders(n, name):
    seg,known = cut(n),{}
    def value(s):
        if s not in known:
            mask = torch.tensor([i not in s for i in seg.tolist()])[None,None]
            known[s] = score(x.where(~mask, find_baseline(name, x, 0, mask)), y)
        return known[s]
    want = enumerated(value, n).float()
    a = window_shap(x, y, model, n_segments=n, baseline=name)
    close(values(a, n), want)
    for i in range(n): assert (a[...,seg==i]==a[...,seg==i][...,:1]).all() # spread evenly

@few
@given(n=st.integers(1,50), n_samples=st.integers(1,5), seed=st.integers(0,99), length=st.integers(1,40),
       b=st.sampled_from(['zero','mean','noise','linear']))
def test_shapley_adds_up(n, n_samples, seed, length, b):
    "Sampled or enumerated: the map sums to s(x) - s(b)"
    xs = x[...,:length]
    a = window_shap(xs, y, model, n_segments=n, n_samples=n_samples, seed=seed, baseline=b)
    want = score(xs, y)-score(find_baseline(b, xs, seed), y)
    assert a.shape==(4,1,length) and (a.double().sum((1,2))-want).abs().max() <= 1e-5*want.abs().max()+2e-7*score(xs, y).abs().max()

@pytest.mark.parametrize('n,n_samples', [(4,25), (13,1), (13,4)])
def test_shapley_of_a_linear_model(n, n_samples):
    "Exact in every single order: w*(x-b), summed over a segment and spread"
    w = torch.randn(2, T, generator=torch.Generator().manual_seed(2))
    part = (w*(x-x.mean(-1, keepdim=True))).sum(1)
    want = torch.stack([part[:,cut(n)==i].mean(-1) for i in range(n)], -1)[:,cut(n)][:,None]
    for seed in (0,1): close(window_shap(x, None, linear(w), n_segments=n, n_samples=n_samples, baseline='mean', seed=seed), want)

@pytest.mark.parametrize('n_samples', [1,3])
def test_shapley_of_pairs(n_samples):
    "Antithetic orders are exact where segments interact in pairs; s = u'Qu, u the segments' sums"
    n = 12
    q = torch.randn(n, n, generator=torch.Generator().manual_seed(3))
    class Pairs(nn.Module):
        def forward(self, x):
            u = torch.stack([x[...,cut(n)==i].sum((1,2)) for i in range(n)], -1)
            return torch.einsum('ni,ij,nj->n', u, q, u)
    u = torch.stack([x[...,cut(n)==i].sum((1,2)) for i in range(n)], -1)
    want = u*(u@((q+q.T)/2).T)
    close(values(window_shap(x, None, Pairs(), n_segments=n, n_samples=n_samples), n), want)

def test_sampled_values_come_close_to_the_exact_ones():
    "And do so with a growing number of orders; equal seeds give equal maps"
    exact = window_shap(x, y, model, n_segments=9, n_samples=40)
    assert 2**9<=2*40*8+2
    gaps = [(window_shap(x, y, model, n_segments=9, n_samples=n, seed=s)-exact).abs().max().item() for n in (1,16) for s in (0,1,2)]
    assert max(gaps[3:])<min(gaps[:3]) and max(gaps[3:])<.2*exact.abs().max() and min(gaps)>0
    a,b,c = [window_shap(x, y, model, n_samples=2, seed=s) for s in (0,0,1)]
    assert torch.equal(a, b) and not torch.equal(a, c)

def test_nothing_for_a_segment_that_adds_nothing():
    "A network that reads two segments only gives the others 0; two that count alike get the same"
    class Two(nn.Module):
        def forward(self, x): return (x[...,:4].sum((1,2))*x[...,36:].sum((1,2))).relu()
    a = values(window_shap(torch.ones(1,2,T), None, Two(), n_samples=3), 10)
    assert not a[:,1:9].any() and a[0,0]==a[0,9]==32.

def test_what_shapley_refuses():
    for kw,words in [(dict(n_segments=0),'`n_segments` must be an int from 1'), (dict(n_samples=0),'`n_samples` must be an int from 1'),
                     (dict(n_segments=2.5),'got 2.5'), (dict(n_samples=True),'got True'), (dict(bs=0),'`bs`')]:
        with says(ValueError, words): window_shap(x, y, model, **kw)
    for m,s in itertools.product((occlusion,ablation,window_shap), (None,'1',1.,True)):
        with says(ValueError, f'`seed` must be an int from 0 to 2**32-1, got {s!r}'): m(x, y, model, seed=s)

def test_numpy_counts():
    "2**64 does not fit a NumPy int; torch takes none as a seed"
    assert torch.equal(occlusion(x, y, model, baseline='noise', seed=np.int64(3)), occlusion(x, y, model, baseline='noise', seed=3))
    xs,ys = long(80)
    a = window_shap(xs, ys, model, n_segments=np.int64(64), n_samples=np.int32(1), seed=np.int64(1))
    assert torch.equal(a, window_shap(xs, ys, model, n_segments=64, n_samples=1, seed=1)) and a.any()

# any target, any bs, any neighbours

every = [partial(occlusion, window=5, stride=3), partial(occlusion, window=6, stride=6, per_channel=True, baseline='linear'),
         impulse_response, partial(impulse_response, baseline='x', amplitude=-.3),
         ablation, partial(ablation, segments=torch.arange(T)//6, baseline='noise'),
         partial(window_shap, n_segments=4), partial(window_shap, n_segments=12, n_samples=2, baseline='window_mean')]
named = [f'{m.func}-{i}' if isinstance(m, partial) else f'{m}-{i}' for i,m in enumerate(every)]
all_of_them = pytest.mark.parametrize('m', every, ids=named)
deep = nn.Sequential(nn.Conv1d(2,6,7,padding=3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6,6,3,padding=2,dilation=2), nn.BatchNorm1d(6), nn.ReLU(),
                     nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6,3))
deep = fit_tiny(deep, *planted(48, 2, n_steps=T, n_classes=3, width=16, seed=1)[:2], n_steps=20)

def test_names():
    assert {attr_methods[k].name for k in ('occlusion','impulse_response','ablation','window_shap')}=={'Occlusion','Impulse response','Ablation','Window SHAP'}

@all_of_them
@pytest.mark.parametrize('net', [model,deep], ids=['tiny','deep'])
def test_nothing_depends_on_the_batch(m, net):
    "Rows in a pass, neighbours and order; the same call twice gives the same map"
    a = m(x, y, net)
    assert torch.equal(m(x, y, net), a)
    for bs in (1,3,7,10_000): close(m(x, y, net, bs=bs), a, 1e-6)
    for i in range(4): close(m(x[i:i+1], y[i:i+1], net), a[i:i+1], 1e-6)
    order = torch.tensor([2,0,0,3])
    close(m(x[order], y[order], net), a[order], 1e-6)
    assert torch.equal(m(x[1], y[1], net), m(x[1:2], y[1:2], net)[0])

@all_of_them
def test_a_pass_that_does_not_fit_is_split(m):
    "More than three rows are too many here"
    class Small(nn.Module):
        def __init__(self): super().__init__(); self.net = model
        def forward(self, x):
            if len(x)>3: raise torch.OutOfMemoryError('no')
            return self.net(x)
    close(m(x[:2], y[:2], Small()), m(x[:2], y[:2], model), 1e-6)

@all_of_them
def test_targets(m):
    "A class an item, the predicted one, a function, probabilities, one output or several, a dict"
    a = m(x, y, model)
    each = torch.cat([m(x[i:i+1], int(c), model) for i,c in enumerate(y)])
    close(a, each, 1e-6)
    close(m(x, None, model), m(x, model(x).argmax(1), model), 1e-6)
    close(m(x, lambda out: out[:,1], model), m(x, 1, model), 1e-6)
    close(m(x, prob(y), model), torch.cat([m(x[i:i+1], lambda out,c=c: out.softmax(1)[:,c], model) for i,c in enumerate(y)]), 1e-5)
    one = nn.Sequential(*list(model)[:-1], nn.Linear(8,1), nn.Flatten(0))
    column = nn.Sequential(*list(one)[:-1])
    with torch.no_grad(): column[-1].weight.copy_(model[-1].weight[1:2]); column[-1].bias.copy_(model[-1].bias[1:2])
    for o in (one, column): close(m(x, None, o), m(x, 1, model), 1e-5)
    class Says(nn.Module):
        def __init__(self): super().__init__(); self.net = model
        def forward(self, x): return dict(logits=self.net(x), aux=x)
    close(m(x, lambda out: out['logits'][:,2], Says()), m(x, 2, model), 1e-6)

@all_of_them
def test_contrast_is_the_difference(m):
    "All four are linear in the score"
    a = m(x, y, model)-m(x, 1, model)
    i = y!=1
    close(contrast(m, 1)(x[i], y[i], model), a[i])
    out = model(x).scatter(1, y[:,None], -math.inf).argmax(1)
    close(contrast(m)(x, y, model), m(x, y, model)-m(x, out, model))

@all_of_them
def test_lengths(m):
    ns = [40,17,40,29]
    padded = x.clone()
    for i,n in enumerate(ns): padded[i,:,n:] = math.nan
    a = m(padded, y, model, lengths=ns)
    for i,n in enumerate(ns):
        close(a[i:i+1,:,:n], m(x[i:i+1,:,:n], y[i:i+1], model), 1e-6)
        assert not a[i,:,n:].any()

def test_smoothed():
    a = smoothed(occlusion, 3, std=0.)(x, y, model, window=5, stride=5)
    close(a, occlusion(x, y, model, window=5, stride=5), 1e-6)

# cost, counted

class _count:
    "Steps that run through the first layer, and the largest pass in rows"
    def __init__(self, net): self.layer = net[0]
    def __enter__(self):
        self.steps,self.rows = 0,0
        def hook(m, i): self.steps += i[0].shape[0]*i[0].shape[-1]; self.rows = max(self.rows, len(i[0]))
        self.handle = self.layer.register_forward_pre_hook(hook)
        return self
    def __exit__(self, *exc): self.handle.remove()

class _full:
    "Whole rows only"
    def __enter__(self): self.old = field._find_tracks; field._find_tracks = lambda *args: None
    def __exit__(self, *exc): field._find_tracks = self.old

def long(n, b=1): return planted(b, 2, n_steps=n, n_classes=3, seed=2)[:2]

local = [occlusion, partial(occlusion, per_channel=True, baseline='linear', window=7, stride=5),
         partial(occlusion, baseline='window_mean', stride=8), impulse_response, partial(impulse_response, baseline='x', amplitude=.5)]

@pytest.mark.parametrize('m', local, ids=range(len(local)))
@pytest.mark.parametrize('net', [model,deep], ids=['tiny','deep'])
def test_local_and_whole_agree(m, net):
    "To 1e-5 of the score, for lengths that do and do not come out even, alone and beside others; and it is the local way that is taken"
    for n in (299,400):
        xs,ys = long(n, 2)
        m(xs, ys, net) # finds out what it needs to know
        with _count(net) as some: a = m(xs, ys, net)
        with _full(), _count(net) as whole: b = m(xs, ys, net)
        top = net(xs).abs().max().item()
        assert (a-b).abs().max()<=1e-5*top and some.steps<whole.steps/4
        close(a, b, 1e-4)
        close(m(xs[1:2], ys[1:2], net), a[1:2], 1e-6)
        close(m(xs, ys, net, bs=5), a, 1e-6)

@pytest.mark.parametrize('net', [model,deep], ids=['tiny','deep'])
def test_local_rows_may_run_one_by_one(net):
    "A row alone, in the body and after it, gives the same digits"
    xs,ys = long(299, 2)
    a = occlusion(xs, ys, net)
    for bs in (1,2): close(occlusion(xs, ys, net, bs=bs), a, 1e-6)

@pytest.mark.parametrize('net', [tiny_cnn(2, 3, stride=2, seed=1)], ids=['strided'])
def test_strides_agree(net):
    for n in (299,400):
        xs,ys = long(n, 2)
        for m in local:
            a = m(xs, ys, net)
            with _full(): b = m(xs, ys, net)
            assert (a-b).abs().max()<=1e-5*net(xs).abs().max()

def test_short_segments_are_local():
    xs,ys = long(240, 2)
    seg = torch.arange(240)//6
    with _count(model) as some: a = ablation(xs, ys, model, segments=seg)
    with _full(), _count(model) as whole: b = ablation(xs, ys, model, segments=seg)
    assert (a-b).abs().max()<=1e-5*model(xs).abs().max() and some.steps<whole.steps/2
    close(ablation(xs, ys, model, segments=torch.arange(240)%40), brute_segments(xs, ys, torch.arange(240)%40)) # spread over the series: whole rows

def brute_segments(xs, ys, seg):
    want = torch.zeros(len(xs), 1, xs.shape[-1])
    for i in seg.unique(): want[:,0,seg==i] = drop((seg==i)[None,None], torch.zeros_like(xs), xs, ys).float()[:,None]
    return want

def test_a_network_that_is_not_local_runs_whole_rows():
    "A normalisation over time sees everything"
    class Norm(nn.Module):
        def forward(self, x): return x/(x.std((1,2), keepdim=True)+1)
    net = nn.Sequential(Norm(), *model)
    xs,ys = long(400, 2)
    a = occlusion(xs, ys, net, window=8, stride=8)
    close(a, brute_whole(net, xs, ys))

@torch.no_grad()
def brute_whole(net, xs, ys):
    want,s = torch.zeros(len(xs), 1, 400),net(xs).gather(1, ys[:,None])[:,0]
    for t in range(0, 400, 8):
        z = xs.clone(); z[...,t:t+8] = 0
        want[:,0,t:t+8] = (s-net(z).gather(1, ys[:,None])[:,0])[:,None]
    return want

def steps(m, n):
    xs,ys = long(n)
    m(xs, ys, model)
    with _count(model) as c: m(xs, ys, model)
    return c.steps

def test_the_cost_grows_linearly():
    "Steps run through the first layer: twice the series, twice the steps, where whole rows take four times as many"
    for m in (occlusion, impulse_response):
        a,b,c = [steps(m, n) for n in (256,512,1024)]
        assert b<=2.1*a and c<=2.1*b
        with _full(): assert steps(m, 512)>3.9*steps(m, 256)

def test_rows_are_bounded_and_counted():
    "One row for each change and one for the series; never more than `bs` at once"
    rows = []
    handle = model[0].register_forward_pre_hook(lambda m,i: rows.append(len(i[0])))
    try:
        for m,n in [(partial(window_shap, n_segments=4),16), (ablation,3), (partial(window_shap, n_segments=6, n_samples=1),2*5+2),
                    (partial(window_shap, n_segments=12, n_samples=2),2*2*11+2)]:
            for bs in (5,64):
                rows.clear()
                m(x, y, model, bs=bs)
                assert max(rows)<=max(bs, 2) and (sum(rows)==4*n or (m is not ablation and n>16 and 4*12<sum(rows)<=4*n))
        for bs in (5,64,None): # a series this short runs whole, whatever `bs`; as many at a time as may be
            rows.clear()
            occlusion(x, y, model, window=2, stride=2, bs=bs)
            assert sum(rows)==4*21 and len(rows)==-(-4*21//(bs or 4*21))
    finally: handle.remove()
