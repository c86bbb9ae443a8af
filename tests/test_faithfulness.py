"Faithfulness: by hand on linear models, against loops written from the papers, counted passes, degenerate maps"
import math
import numpy as np, pytest, torch, torch.nn as nn
from hypothesis import given, strategies as st
from tsviz.cam import grad_cam
from tsviz.check import check_found
from tsviz.core import logprob, opposite, prob
from tsviz.faithfulness import (aopc, beats_random, comprehensiveness, degradation_score, deletion, deletion_curve, insertion,
                                insertion_curve, sufficiency)
from tsviz.gradient import input_x_grad
from tsviz.method import precomputed
from tsviz.metrics import bootstrap_ci, random_map
from tsviz.synth import fit_tiny, planted, tiny_cnn
from common import says

ours = [deletion, insertion, degradation_score, aopc, comprehensiveness, sufficiency]

def linear(w):
    m = nn.Sequential(nn.Flatten(), nn.Linear(w.numel(), 1, bias=False))
    m[1].weight.data = w.reshape(1, -1).clone()
    return m

class Counted(nn.Module):
    "How many rows each forward pass of the network had"
    def __init__(self, net): super().__init__(); self.net,self.rows = net,[]
    def forward(self, x): self.rows.append(len(x)); return self.net(x)

@pytest.fixture(scope='module')
def trained():
    x,y,mask = planted(60, n_channels=2, n_steps=60, n_classes=3, width=14)
    return fit_tiny(tiny_cnn(2, 3), x, y),x,y,mask

# ---- an independent reference: one series, one step at a time, straight from the papers

def replaced(x, where, baseline):
    "x (C,T) with the (C,T) cells `where` replaced; zero, each channel's mean, the mean of each run, or a line across each run"
    x,out = x.numpy().astype(float),x.numpy().astype(float).copy()
    for c in range(len(x)):
        t = 0
        while t<x.shape[1]:
            if not where[c,t]: t += 1; continue
            a = t
            while t<x.shape[1] and where[c,t]: t += 1
            run = slice(a, t)
            if baseline=='zero': out[c,run] = 0
            elif baseline=='mean': out[c,run] = x[c].mean()
            elif baseline=='window_mean': out[c,run] = x[c,run].mean()
            elif baseline=='linear':
                left,right = (x[c,a-1] if a else None),(x[c,t] if t<x.shape[1] else None)
                if left is None and right is None: out[c,run] = x[c].mean()
                elif left is None: out[c,run] = right
                elif right is None: out[c,run] = left
                else: out[c,run] = [left+(right-left)*(i-a+1)/(t-a+1) for i in range(a, t)]
    return torch.tensor(out, dtype=torch.float32)

def units_of(x, window, per_channel):
    "All units as lists of cells"
    C,T = x.shape
    starts = range(0, T, window)
    if per_channel: return [[(c,t) for t in range(s, min(s+window, T))] for c in range(C) for s in starts]
    return [[(c,t) for c in range(C) for t in range(s, min(s+window, T))] for s in starts]

def brute(net, x, attr, c, what, baseline='zero', window=1, per_channel=False, n_steps=50, fractions=(.05,.1,.2,.5)):
    "One metric of one series (C,T) with a map (1|C,T) without equals"
    units = units_of(x, window, per_channel)
    attr = attr.expand(len(x), -1) if per_channel or len(attr)==len(x) else attr
    def relevance(u): return np.mean([float(attr[i,t]) for i,t in u]) if len(attr)==len(x) else np.mean([float(attr[0,t]) for _,t in u])
    order = sorted(range(len(units)), key=lambda i: -relevance(units[i]))
    def score(gone):
        where = np.zeros(x.shape, bool)
        for i in gone:
            for cell in units[i]: where[cell] = True
        with torch.no_grad(): return net(replaced(x, where, baseline)[None])[0].softmax(0)[c].item()
    n = len(units)
    counts = [math.floor(k*n/n_steps+.5) for k in range(n_steps+1)]
    half = [math.ceil(k*n/50) for k in range(26)]
    area = lambda s,at: sum((s[i]+s[i+1])/2*(at[i+1]-at[i]) for i in range(len(s)-1))/(at[-1]-at[0])
    if what=='deletion': return area([score(order[:k]) for k in counts], range(n_steps+1))
    if what=='insertion': return area([score(order[k:]) for k in counts], range(n_steps+1))
    if what=='aopc': return np.mean([score([])-score(order[:k]) for k in counts])
    if what=='degradation_score': return area([score(order[n-k:] if k else [])-score(order[:k]) for k in half], half)
    ks = [math.ceil(round(f*n, 6)) for f in fractions]
    if what=='comprehensiveness': return np.mean([score([])-score(order[:k]) for k in ks])
    return np.mean([score([])-score(order[k:]) for k in ks])

@pytest.mark.parametrize('how', [dict(), dict(baseline='mean', window=7), dict(baseline='window_mean', window=3), dict(baseline='linear', window=4),
                                 dict(per_channel=True, window=5), dict(per_channel=True)], ids=str)
@pytest.mark.parametrize('metric', ours, ids=repr)
def test_agrees_with_a_loop(trained, metric, how):
    model,x,y,_ = trained
    x = x[:3,:,:33]
    attrs = torch.randn(3, 2, 33, generator=torch.Generator().manual_seed(0))
    how = {'baseline':'zero', **how}
    n = {} if metric in (degradation_score,comprehensiveness,sufficiency) else dict(n_steps=10)
    got = metric(precomputed(attrs), x, y[:3], model.eval(), **how, **n)
    want = [brute(model, x[i], attrs[i], int(y[i]), metric.__name__, **how, **n) for i in range(3)]
    assert np.abs(got.numpy()-want).max()<1e-4

@given(st.data())
def test_linear_by_hand(data):
    "s(x) = w.x, all relevance known: the score after removing a set is the sum of what is left"
    T = data.draw(st.integers(1, 60))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    w,x = torch.randn(T, generator=g),torch.randn(1, 1, T, generator=g)
    part,_ = (w*x[0,0]).double().sort(descending=True)
    model,how = linear(w),dict(baseline='zero')
    gone = torch.cat([torch.zeros(1).double(), part.cumsum(0)]) # by the k most relevant
    s = part.sum()
    ks = [math.floor(k*T/50+.5) for k in range(51)]
    close = lambda a,b: abs(float(a)-float(b))<1e-4*max(1, abs(float(b)))
    assert close(deletion(input_x_grad, x, None, model, **how), np.trapezoid([float(s-gone[k]) for k in ks])/50)
    assert close(insertion(input_x_grad, x, None, model, **how), np.trapezoid([float(gone[k]) for k in ks])/50)
    assert close(aopc(input_x_grad, x, None, model, **how), np.mean([float(gone[k]) for k in ks]))
    half = [-(-k*T//50) for k in range(26)]
    least = part.flip(0).cumsum(0)
    diff = [float(gone[k]-(least[k-1] if k else 0)) for k in half] # the least relevant first keeps more
    assert close(degradation_score(input_x_grad, x, None, model, **how), np.trapezoid(diff, half)/half[-1])
    fs = [math.ceil(round(f*T, 6)) for f in (.05,.1,.2,.5)]
    assert close(comprehensiveness(input_x_grad, x, None, model, **how), np.mean([float(gone[k]) for k in fs]))
    assert close(sufficiency(input_x_grad, x, None, model, **how), np.mean([float(s-gone[k]) for k in fs]))

@pytest.mark.parametrize('metric', ours, ids=repr)
@pytest.mark.parametrize('bs', [1, 7, 64, 10_000])
def test_passes_are_counted(trained, metric, bs):
    model,x,y,mask = trained
    net = Counted(model)
    x = x[:5]
    metric(precomputed(mask[:5]*1.), x, y[:5], net, bs=bs)
    n = x.shape[-1]
    S = {'deletion':51, 'insertion':51, 'aopc':51, 'comprehensiveness':5, 'sufficiency':5}.get(metric.__name__)
    if S is None: S = 2*len({math.ceil(k*n/50) for k in range(26)})-1 # the two halves start together
    assert len(net.rows)==math.ceil(5*S/bs)
    assert max(net.rows)<=max(bs, 2) # a batch of one runs as two equal rows

def test_what_is_the_same_runs_once():
    net = Counted(tiny_cnn())
    x = torch.randn(4, 1, 10)
    deletion(precomputed(torch.randn(4,1,10)), x, 0, net, bs=1000) # 51 points, 11 different
    assert net.rows==[44]
    net.rows.clear()
    deletion(precomputed(torch.randn(4,1,10)), x, None, net, bs=1000) # the class is asked for first
    assert net.rows==[4,44]

@pytest.mark.parametrize('metric', ours, ids=repr)
def test_unequal_lengths(trained, metric):
    model,x,y,mask = trained
    ns,attrs = [60,21,44,21],torch.randn(4, 2, 60)
    pad = x[:4].clone()
    for i,n in enumerate(ns): pad[i,:,n:] = 99.
    got = metric(precomputed(attrs), pad, y[:4], model, lengths=torch.tensor(ns))
    for i,n in enumerate(ns):
        own = metric(precomputed(attrs[i:i+1,:,:n]), x[i:i+1,:,:n], y[i:i+1], model)
        assert abs(got[i]-own[0])<1e-5

def test_scores(trained):
    model,x,y,mask = trained
    m = precomputed(mask*1.)
    p = deletion(m, x[:6], y[:6], model)
    assert torch.allclose(p, deletion(m, x[:6], prob(y[:6]), model)) and torch.allclose(p, deletion(m, x[:6], y[:6], model, score='prob'))
    assert torch.allclose(deletion(m, x[:6], y[:6], model, score='logprob'), deletion(m, x[:6], logprob(y[:6]), model), atol=1e-5)
    raw = deletion(m, x[:6], y[:6], model, score='logit')
    assert torch.allclose(raw, torch.cat([deletion(precomputed(mask[i:i+1]*1.), x[i:i+1], lambda o,c=int(y[i]): o[:,c], model) for i in range(6)]), atol=1e-5)
    assert not torch.allclose(raw, p)

def test_the_class_is_held(trained):
    "Where the class is not given it is that of the whole series, though what is left of it is of another"
    model,x,y,mask = trained
    with torch.no_grad(): c = model(x).argmax(1)
    assert torch.allclose(deletion(precomputed(mask*1.), x, None, model), deletion(precomputed(mask*1.), x, c, model))

def test_equals_are_ordered_at_random(trained):
    model,x,y,_ = trained
    flat = precomputed(torch.ones(len(x), 1, 60))
    a,b = [deletion_curve(flat, x, y, model, seed=o) for o in (0,1)]
    assert not torch.equal(a, b) and torch.equal(a, deletion_curve(flat, x, y, model, seed=0))
    assert torch.allclose(a[3:4], deletion_curve(precomputed(torch.ones(1,1,60)), x[3:4], y[3:4], model), atol=1e-6) # alone and in the batch
    mean,lo,hi = bootstrap_ci(degradation_score(flat, x, y, model), level=.999)
    assert lo<0<hi # as a random map
    assert not torch.allclose(a, deletion_curve(random_map(0), x, y, model)) and not torch.allclose(a, deletion_curve(precomputed(-random_map(0)(x, y, model)), x, y, model))

def test_random_is_no_better_than_chance():
    x,y,_ = planted(300, n_steps=60, width=14)
    model = fit_tiny(tiny_cnn(), x[:60], y[:60])
    mean,lo,hi = bootstrap_ci(degradation_score(random_map(), x, y, model))
    assert lo<0<hi and hi-lo<.1

def test_opposite_and_tensor_baselines(trained):
    model,x,y,mask = trained
    m,refs = precomputed(mask[:4]*1.),opposite(x[30:], y[30:])
    got = deletion_curve(m, x[:4], y[:4], model, baseline=refs, n_steps=5)
    other = refs(x[:4], y[:4])
    assert torch.allclose(got, deletion_curve(m, x[:4], y[:4], model, baseline=other, n_steps=5), atol=1e-6)
    with torch.no_grad(): want = model(other).softmax(1).gather(1, y[:4,None])[:,0]
    assert torch.allclose(got[:,-1], want, atol=1e-6)
    with torch.no_grad(): want = model(x[:4]).softmax(1).gather(1, y[:4,None])[:,0]
    assert torch.allclose(got[:,0], want, atol=1e-6) and torch.allclose(insertion_curve(m, x[:4], y[:4], model, baseline=refs, n_steps=5)[:,[0,-1]], got[:,[-1,0]], atol=1e-6)

def test_degenerate(trained):
    model,x,y,_ = trained
    for metric in ours:
        for shape in ((1,2,1), (1,2,2), (3,2,9), (1,2,60)):
            z = torch.randn(*shape)
            for attr in (torch.zeros(shape), torch.ones(shape[0],1,shape[2]), torch.full(shape, -1e30)):
                got = metric(precomputed(attr), z, 0, model, window=4)
                assert got.shape==shape[:1] and got.isfinite().all()
                lo,hi = metric.range
                assert ((got>=lo-1e-6) & (got<=hi+1e-6)).all()
    one = nn.Sequential(nn.Conv1d(2,1,1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    assert deletion(grad_cam, x, None, one, layer=0).isfinite().all() # one output is scored as it is

def test_errors(trained):
    model,x,y,mask = trained
    m = precomputed(mask[:2]*1.)
    for kw,words in [(dict(baseline='zeros'), ('baseline','zero')), (dict(window=0), ('window','1')), (dict(n_steps=0), ('n_steps','1')), (dict(score='proba'), ('score','prob')),
                     (dict(bs=0), ('bs','1')), (dict(seed=-1), ('seed','0'))]:
        with check_found(model, x, y), says(ValueError, *words): deletion(m, x[:2], y[:2], model, **kw)
    with pytest.raises(TypeError, match="'basline'.*Did you mean 'baseline'"): deletion(m, x[:2], y[:2], model, basline=0)
    with pytest.raises(ValueError, match='NaN'): deletion(m, x[:2]*math.nan, y[:2], model)
    with pytest.raises(ValueError, match='fractions'): sufficiency(m, x[:2], y[:2], model, fractions=[1.5])
    with pytest.raises(TypeError): deletion('grad_cam', x[:2], y[:2], model)

def test_beats_random(trained):
    model,x,y,mask = trained
    some = y<2 # what is left without evidence is of the third class
    won,lost = [beats_random(o*mask[some].any(1, keepdim=True), x[some], y[some], model) for o in (1.,-1.)]
    assert won.dtype==torch.int64 and won.double().mean()>18 and lost.double().mean()<3
    own = deletion(precomputed(mask*1.), x[:4], y[:4], model, n_steps=20)
    want = sum((deletion(random_map(1+i), x[:4], y[:4], model, n_steps=20)>own).long() for i in range(5))
    assert torch.equal(beats_random(mask[:4]*1., x[:4], y[:4], model, n_random=5), want)

def test_beats_random_hands_all_on(trained):
    "Lengths, baselines of one row an item, passes"
    model,x,y,mask = trained
    base,a,ns = torch.randn(60, 2, 60, generator=torch.Generator().manual_seed(0)),mask[:4]*1.,[60,40,51,40]
    want = beats_random(a, x[:4], y[:4], model, n_random=5, baseline=base[[7,1,1,30]], lengths=ns, seed=9)
    got = beats_random(a, x[:4], y[:4], model, n_random=5, baseline=base, items=torch.tensor([7,1,1,30]), lengths=ns, seed=9)
    assert torch.equal(got, want)
    for i,n in enumerate(ns): assert beats_random(a[i,:,:n], x[i,:,:n], y[i], model, n_random=5, baseline=base[[7,1,1,30][i],:,:n], seed=9)==want[i]
    net = Counted(model)
    beats_random(a, x[:4], y[:4], net, n_random=2, n_steps=3, bs=5)
    assert net.rows==[5,5,5,2]*3 # a batch of one runs as two equal rows
    for bad in (a[:3], a[0], a[...,1:]):
        with says(ValueError, '`attrs` must be finite maps (4,1|2,60)'): beats_random(bad, x[:4], y[:4], model)
    with says(ValueError, '`n_random`', '0'): beats_random(a, x[:4], y[:4], model, n_random=0)

def test_beats_random_is_fair():
    "A map that knows nothing beats all 20 in about one case of 21"
    x,y,_ = planted(420, n_steps=40, width=12)
    model = fit_tiny(tiny_cnn(), x[:60], y[:60])
    won = beats_random(random_map(999)(x, 0, model), x, y, model, n_steps=10)
    assert .015<(won==20).double().mean()<.095 and abs(won.double().mean()-10)<1.2
