"Activation maximisation and deep dream against closed forms, plain hooks and counted passes"
import copy, warnings
from contextlib import nullcontext
from functools import cache
import numpy as np, pytest, scipy.signal, torch, torch.nn as nn, tsviz.core as core, tsviz.dream as module
from hypothesis import given, settings, strategies as st
from common import Fwd, says
from tsviz.check import check_found
from tsviz.core import Contrast, logprob, prob
from tsviz.dream import _linear, _upper, deep_dream, maximize, penalties, resamplers
from tsviz.models import inception_time
from tsviz.score import LayerRun, TargetScore, explaining
from tsviz.synth import fit_tiny, planted, tiny_cnn

T = 40
x,y,_ = planted(12, n_channels=2, n_steps=T, n_classes=3, width=16)

def small_inception(ni=2, nout=3):
    torch.manual_seed(0)
    return fit_tiny(inception_time(ni, nout, depth=3, nb_filters=8, bottleneck_size=8), x[:,:ni], y, 5)

nets = {'tiny':fit_tiny(tiny_cnn(2,3), x, y, 60), 'strided':tiny_cnn(2,3,stride=2), 'inception':small_inception()}
model = nets['tiny']
pytestmark = pytest.mark.usefixtures('nothing_left_behind')

def linear(w): # (n,C,T): a network of n linear scores
    w = torch.as_tensor(w)
    net = nn.Sequential(nn.Flatten(), nn.Linear(w[0].numel(), len(w), bias=False)).to(w.dtype)
    with torch.no_grad(): net[1].weight.copy_(w.flatten(1))
    return net.eval()

def draw(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
def close(a, b, tol): torch.testing.assert_close(a, b, rtol=0, atol=tol)
def equal(a, b): assert a.shape==b.shape and a.dtype==b.dtype and torch.equal(a, b)

# ---- penalties

@settings(max_examples=30)
@given(st.integers(1,3), st.integers(1,17), st.integers(0,99))
def test_penalties_by_brute_force(c, t, seed):
    a = draw(2, c, t, seed=seed).double()
    for x,got in zip(a, zip(*(penalties[k](a) for k in ('l1','l2','tv','spectral')))):
        rows = x.tolist()
        F = torch.fft.fft(x, norm='ortho').abs()**2 # both sides: Parseval with no factor
        high = (torch.fft.fftfreq(t, dtype=torch.double).abs()>.25)
        want = (sum(abs(v) for r in rows for v in r), sum(v*v for r in rows for v in r), sum(abs(p-q) for r in rows for p,q in zip(r, r[1:])), F[:,high].sum())
        close(torch.stack(got), torch.tensor(want, dtype=torch.double), 1e-9)

def test_public_table(): assert list(penalties)==['l1','l2','tv','spectral'] and list(resamplers)==['linear','fourier']

# ---- closed forms

@pytest.mark.parametrize('start', ['zeros','noise'])
@pytest.mark.parametrize('l2', [.01,30.])
def test_l2_of_a_linear_model(l2, start):
    "By default, for optima of the size of a series of standard deviation 1"
    want = draw(3,2,7).clamp(-3,3)
    want[0,0,0] = 3.
    w = want*2*l2
    got,trace = maximize(linear(w), None, (2,7), l2=l2, start=start)
    close(got, want, 1e-3)
    close(trace[-1], w.square().sum((1,2))/(4*l2), 1e-3*l2)

def test_how_far():
    "`n_steps*lr/2` is as far as it goes"
    w = torch.tensor([[[5.,-9,1.5,.3]]])
    got = maximize(linear(w), 0, (1,4), l2=.05)[0]
    close(got[0,0,3], torch.tensor(3.), 1e-3)
    assert ((got[0,0,:3].abs()>5.4) & (got[0,0,:3].abs()<7)).all()
    close(maximize(linear(w), 0, (1,4), l2=.05, lr=1., n_steps=300)[0], w*10, 1e-2)

@pytest.mark.parametrize('l1', [.1,.4,1.])
def test_l1_with_l2_thresholds(l1):
    w = draw(2,1,9,seed=int(10*l1))
    close(maximize(linear(w), None, (1,9), l1=l1, l2=.5)[0], w.sign()*(w.abs()-l1).clamp(min=0), 1e-3)

def test_l1_within_a_range():
    w = torch.tensor([[[.9,-.9,.1,-.1]]])
    close(maximize(linear(w), 0, (1,4), l1=.5, keep_range=(-1,2))[0], torch.tensor([[[2.,-1,0,0]]]), 1e-3)

def test_l1_from_elsewhere_goes_to_zero():
    w = torch.tensor([[[.1,-.1,.1]]])
    close(maximize(linear(w), 0, x0=torch.tensor([[1.,-2,0]]), l1=.5)[0], torch.zeros(1,1,3), 1e-3)

@pytest.mark.parametrize('tv,want', [(0,[1,0]), (.25,[.75,.25]), (.5,[.5,.5]), (3,[.5,.5])])
def test_tv_of_a_pair(tv, want):
    close(maximize(linear(torch.tensor([[[1.,0]]])), 0, (1,2), l2=.5, tv=tv)[0][0,0], torch.tensor(want).float(), 2e-3)

def test_tv_alone_and_large_gives_a_constant():
    w = torch.tensor([[[.4,-.2,.3,.1]]])
    got = maximize(linear(w), 0, (1,4), tv=1., keep_range=(-1,1))[0]
    close(got, torch.ones(1,1,4), 2e-3)

def test_channels_have_their_own_tv():
    w = torch.tensor([[[1.,1],[-1,-1]]])
    close(maximize(linear(w), 0, (2,2), l2=.5, tv=9)[0], w, 1e-4)

def test_spectral_divides_the_upper_half():
    w = draw(3,2,9)
    high = _upper(w)
    close(maximize(linear(w), None, (2,9), l2=.5, spectral=1.5)[0], (w-high)+high/4, 1e-4)

@pytest.mark.parametrize('y', [prob(1), logprob(1), lambda o: o.softmax(1)[:,1]], ids=['prob','logprob','function'])
def test_targets_of_the_softmax(y):
    "Two classes: both have their optimum along the difference of the weights"
    w = draw(2,1,5)
    d,got = (w[1]-w[0]).flatten(),maximize(linear(w), y, (1,5), l2=.02)[0].flatten()
    assert (d@got)/(d.norm()*got.norm())>.999
    g = torch.autograd.functional.jacobian(lambda v: (y(linear(w)(v)))[0], got.reshape(1,1,5)).flatten()
    close(g, 2*.02*got, 1e-3)

# ---- every penalty lowers what it is of

@cache
def unpenalised(net, start): return maximize(nets[net], None, (2,T), n_steps=40, start=start)[0]

@pytest.mark.parametrize('k,weight', [('l1',.05), ('l2',.3), ('tv',5.), ('spectral',2.)])
@pytest.mark.parametrize('start', ['zeros','noise'])
@pytest.mark.parametrize('net', nets)
def test_a_penalty_falls(net, start, k, weight):
    got = maximize(nets[net], None, (2,T), n_steps=40, start=start, **{k:weight})[0]
    assert (penalties[k](got)<penalties[k](unpenalised(net, start))).all()

@cache
def trained(): return fit_tiny(tiny_cnn(1, 3, width=8), *planted(48, n_steps=64, n_classes=3, seed=1)[:2], 120)

@cache
def made(k=None, weight=0): return maximize(trained(), None, (1,64), **({k:weight} if k else {}))

@pytest.mark.parametrize('k,weight', [(None,0), ('l1',.02), ('l2',.02), ('tv',.02), ('spectral',.5)])
def test_every_class_is_sure(k, weight):
    got,trace = made(k, weight)
    assert trained()(got).softmax(1).diag().min()>.99 and (trace[-1]>trace[0]).all()
    if k: assert (penalties[k](got)<penalties[k](made()[0])).all()

# ---- the trace

def test_trace_is_the_objective_before_each_step():
    w = dict(l1=.1, l2=.2, tv=.3, spectral=.4)
    a = x[:3]
    got,trace = maximize(model, [0,1,2], x0=a, n_steps=3, **w)
    want = lambda v: model(v).diag() - sum(o*penalties[k](v) for k,o in w.items())
    close(trace[0], want(a).detach(), 1e-4)
    once,_ = maximize(model, [0,1,2], x0=a, n_steps=1, **w)
    assert trace.shape==(3,3) and not torch.equal(once, a) and (trace[1]>trace[0]).all()
    close((once-a).abs().max(), torch.tensor(.05), 1e-5) # Adam's first step

# ---- passes

class Counts(nn.Module):
    "Counts forwards, their rows, and backwards"
    def __init__(self, net):
        super().__init__()
        self.net,self.rows,self.back = net,[],0
    def forward(self, x):
        self.rows.append(len(x))
        if x.requires_grad: x.register_hook(self.seen)
        return self.net(x)
    def seen(self, g): self.back += 1

@pytest.mark.parametrize('y,n', [(None,3), ([2,0],2), (range(3),3), (torch.tensor([0,1,2,2]),4), (prob(),3), (logprob([0,1]),2)])
def test_one_forward_and_backward_a_step(y, n):
    net = Counts(model)
    assert maximize(net, y, (2,T), n_steps=7, l1=.1, tv=.1, jitter=2)[0].shape==(n,2,T)
    look = [2] if y is None or n==3 and callable(getattr(y, 'of', None)) else [] # how many classes there are
    assert net.rows==look+[n]*7 and net.back==7

def test_rows_of_passes_and_of_one():
    net = Counts(model)
    maximize(net, None, (2,T), n_steps=3, bs=2)
    assert net.rows==[2]+[2,2]*3 and net.back==6 # the third runs as two equal rows
    net = Counts(model)
    maximize(net, 1, (2,T), n_steps=3)
    assert net.rows==[2]*3

def test_all_classes_in_what_they_are_scored_by():
    for of in (prob, logprob): equal(maximize(model, of(), (2,T), n_steps=3)[0], maximize(model, of([0,1,2]), (2,T), n_steps=3)[0])

def test_number_of_classes_is_seen():
    "The last linear layer in the order of definition is not the last that runs"
    net = Counts(Fwd(lambda s,x: s.last(s.first(x.mean(-1))), last=nn.Linear(5,4), first=nn.Linear(2,5)).eval())
    assert maximize(net, None, (2,6), n_steps=4)[0].shape==(4,2,6)
    assert net.rows==[2]+[4]*4
    head = nn.Sequential(nn.Conv1d(2,6,3), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval() # none
    assert maximize(head, prob(), (2,6), n_steps=4)[0].shape==(6,2,6)

def test_a_channel_ends_the_forward():
    net,after = copy.deepcopy(model),[]
    n = {'at':0, 'rows':[]}
    net[0].register_forward_hook(lambda m,i,o: n['rows'].append(len(o)))
    net[4].register_forward_hook(lambda m,i,o: after.append(len(o)))
    got,trace = maximize(net, (2,[0,3,5]), (2,T), n_steps=6, start='noise')
    assert got.shape==(3,2,T) and n['rows'][-6:]==[3]*6 and len(n['rows'])<=7 and len(after)<=1 # one pass looks which run is meant

def test_dream_passes():
    net,rows,after = copy.deepcopy(model),[],[]
    net[0].register_forward_hook(lambda m,i,o: rows.append((len(o), o.shape[-1])))
    net[4].register_forward_hook(lambda m,i,o: after.append(1))
    deep_dream(x[:5], net, 2, octaves=2, octave_scale=2, n_steps=4)
    assert rows[-10:]==[(5,20)]*5+[(5,40)]*5 and len(rows)<=11 and len(after)<=1

@pytest.mark.parametrize('call', [lambda n: maximize(n, [0,1,2,0], (2,T), n_steps=3), lambda n: deep_dream(x[:4], n, 'net.2', n_steps=2, octaves=1)])
def test_memory_is_halved_once(call):
    class Small(Counts):
        def forward(self, x):
            if len(x)>2: self.rows.append(-len(x)); raise torch.OutOfMemoryError('out of memory')
            return super().forward(x)
    net = Small(model)
    got,want = call(net),call(Counts(model))
    equal(got[0], want[0])
    assert net.rows.count(-4)==1 # not tried again at every step

# ---- rows do not know of each other

kinds = {'plain':{}, 'all':dict(l1=.01, l2=.02, tv=.03, spectral=.1, jitter=3, keep_range=(-1,2))}

@pytest.mark.parametrize('kw', kinds.values(), ids=kinds)
@pytest.mark.parametrize('net', nets)
def test_alone_as_together(net, kw):
    kw = dict(shape=(2,67), n_steps=4, start='noise', **kw)
    got,trace = maximize(nets[net], None, **kw)
    for i in range(3):
        one,its = maximize(nets[net], i, **kw)
        equal(one[0], got[i]); equal(its[:,0], trace[:,i])
    for bs in (1,2):
        again,its = maximize(nets[net], None, bs=bs, **kw)
        equal(again, got); equal(its, trace)

def test_alone_as_together_for_channels_and_starts():
    got,_ = maximize(model, (2,[1,4,5]), x0=x[:3], n_steps=8, l2=.01)
    for i,k in enumerate((1,4,5)): equal(maximize(model, (2,k), x0=x[i], n_steps=8, l2=.01)[0][0], got[i])
    same,_ = maximize(model, 1, x0=x[:3], n_steps=8)
    for i in range(3): equal(maximize(model, 1, x0=x[i], n_steps=8)[0][0], same[i])
    fn,_ = maximize(model, lambda o: o[:,1], x0=x[:3], n_steps=8)
    equal(fn, same)

def test_seed():
    kw = dict(shape=(2,T), n_steps=5)
    for o in (dict(start='noise'), dict(jitter=4)):
        a,b,c = (maximize(model, None, **kw, **o, seed=s)[0] for s in (3,3,4))
        equal(a, b); assert not torch.equal(a, c)
    equal(maximize(model, None, **kw, seed=1)[0], maximize(model, None, **kw, seed=2)[0]) # nothing is drawn
    a,b,c = (deep_dream(x[:2], model, 2, jitter=3, n_steps=4, seed=s) for s in (3,3,4))
    equal(a, b); assert not torch.equal(a, c)

def test_noise_and_rolls_are_shared():
    class Row(nn.Module):
        def forward(self, x): seen.append(x.detach().clone()); return x.flatten(1)[:,:3]*1e-9
    seen = []
    maximize(Row(), [0,1,2], (1,9), n_steps=4, start='noise', jitter=3, lr=1e-9)
    assert all(torch.allclose(o, o[:1].expand_as(o), atol=1e-6) for o in seen)
    rolls = [next(s for s in range(9) if torch.allclose(seen[0][0].roll(s, -1), o[0], atol=1e-6)) for o in seen]
    assert len(set(rolls))>1

def test_jitter_rolls_the_gradient_back():
    w = draw(1,1,9)
    got = maximize(linear(w), 0, (1,9), l2=.5, n_steps=200, jitter=4)[0]
    assert got.std()<w.std()/2 # places are mixed: what is left is near the mean of w
    bump = torch.zeros(1,1,9); bump[...,4] = 1.
    seen = []
    net = Fwd(lambda s,v: (seen.append(v.detach().clone()), (v*bump).sum((1,2)))[1])
    one = maximize(net, None, (1,9), n_steps=1, jitter=4, seed=2)[0].flatten()
    shift = torch.randint(-4, 5, (1,), generator=torch.Generator().manual_seed(2)).item()
    assert shift and one.argmax()==4-shift and (one>0).sum()==1

# ---- a channel

@pytest.mark.parametrize('layer,k', [(0,3), (2,5), ('3',1), (None,1)])
def test_channel_equals_a_plain_hook(layer, k):
    a,trace = x[:2],None
    got,trace = maximize(model, (layer,k), x0=a, n_steps=10, l2=.01)
    mod,taps = model[3] if layer is None else model[int(layer)],[]
    handle = mod.register_forward_hook(lambda m,i,o: taps.append(o))
    v = a.clone().requires_grad_()
    opt = torch.optim.Adam([v], .05, betas=(.9,.95))
    for i in range(10):
        model(v)
        s = taps[-1][:,k].mean(-1) - .01*v.square().sum((1,2))
        close(trace[i], s.detach(), 1e-5)
        v.grad, = torch.autograd.grad(-s.sum(), v)
        opt.param_groups[0]['lr'] = .05*(1+np.cos(np.pi*i/10))/2
        opt.step()
    handle.remove()
    close(got, v.detach(), 1e-4)
    assert (trace[-1]>trace[0]).all()

def test_channels_in_any_form():
    want = maximize(model, (2,[1,3]), (2,T), n_steps=3, start='noise')[0]
    for ch in (torch.tensor([1,3]), np.array([1,3]), range(1,4,2), (1,3)): equal(maximize(model, (2,ch), (2,T), n_steps=3, start='noise')[0], want)
    equal(maximize(model, (LayerRun('2',0),np.int64(1)), (2,T), n_steps=3, start='noise')[0], want[:1])

# ---- any model

def test_regression_and_tuples():
    net = Fwd(lambda s,x: s.fc(x.mean(-1))[:,0], fc=nn.Linear(2,1)).eval()
    got,trace = maximize(net, None, (2,T), l2=.01)
    close(got, (net.fc.weight[0]/T/.02).detach()[None,:,None].expand(1,2,T), 1e-3)
    two = Fwd(lambda s,x: (s.net(x),x), net=copy.deepcopy(model)).eval()
    equal(maximize(two, lambda o: o[0][:,1], (2,T), n_steps=5)[0], maximize(model, 1, (2,T), n_steps=5)[0])
    with says(ValueError, 'pass a function of the output'): maximize(two, None, (2,T))
    with says(ValueError, 'pass a function of the output'): maximize(two, 1, (2,T))

def test_float64():
    net = copy.deepcopy(model).double()
    got,trace = maximize(net, None, (2,T), n_steps=5, spectral=.1)
    assert got.dtype==trace.dtype==torch.float64
    assert deep_dream(x[:2], net, 2, n_steps=3).dtype==torch.float64
    close(maximize(linear(draw(1,1,5).double()), 0, (1,5), l2=.5)[0], draw(1,1,5).double(), 1e-4)

runs = [lambda net, a: maximize(net, None, (2,T), n_steps=2, start='noise', jitter=2)[0], lambda net, a: maximize(net, [0,1], x0=a, n_steps=2)[0],
        lambda net, a: deep_dream(a, net, None, n_steps=2, jitter=1), lambda net, a: maximize(net, (1,[0,2]), x0=a, n_steps=2)[0]]

@pytest.mark.parametrize('mode', [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('how', ['frozen','train','raises'])
def test_left_as_found(mode, how):
    net = copy.deepcopy(nets['inception'])
    if how=='frozen': net.requires_grad_(False)
    if how=='train': net.train()
    if how=='raises': net[3].register_forward_hook(lambda m,i,o: 1/0)
    a = x[:2].clone()
    with mode():
        if mode is torch.inference_mode: a = a*1 # an inference tensor
        for run in runs:
            with check_found(net, a):
                try: got = run(net, a)
                except ZeroDivisionError: assert how=='raises'; continue
            assert type(got) is torch.Tensor and not got.requires_grad and not got.is_inference() and got.grad is None
            if how=='train' and mode is nullcontext: equal(got, run(nets['inception'], a))

def test_one_explaining_for_all_steps(monkeypatch):
    "Work a step is the forward and the backward: the model is frozen once"
    import tsviz.score as score
    n = []
    old = score._as_found
    monkeypatch.setattr(score, '_as_found', lambda mods: (n.append(1), old(mods))[1])
    maximize(model, None, (2,T), n_steps=5); maximize(model, (2,0), (2,T), n_steps=5, start='noise'); deep_dream(x[:2], model, 2, n_steps=5)
    assert len(n)==3

def test_a_grad_off_block_is_refused():
    def forward(s, x):
        with torch.no_grad(): a = s.conv(x)
        return s.fc(a.mean(-1))
    net = Fwd(forward, conv=nn.Conv1d(2,4,3), fc=nn.Linear(4,2)).eval()
    with says(ValueError, 'switches gradients off'): maximize(net, None, (2,T))

def test_fixed_length():
    net = nn.Sequential(nn.Conv1d(2,4,5,padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(4*T,3)).eval()
    assert (deep_dream(x[:3], net, None, return_trace=True)[1][:,-1]>0).all() and deep_dream(x, net, 1).shape==x.shape # shorter octaves end at the layer
    assert maximize(net, None, (2,T), n_steps=3)[0].shape==(3,2,T)
    with says(ValueError, 'does not run on series of 2 channels and 30 steps'): maximize(net, None, (2,30))

# ---- ranges and starts

def test_keep_range():
    a = x[:3]
    got = maximize(model, 1, x0=a, keep_range=True, n_steps=40)[0]
    assert (got<=a.amax(-1, keepdim=True)).all() and (got>=a.amin(-1, keepdim=True)).all() and not torch.equal(got, a)
    lo,hi = torch.tensor([[-.5],[-2.]]),torch.full((2,T), .25)
    got = maximize(model, None, (2,T), start='noise', keep_range=(lo,hi), n_steps=40)[0]
    assert (got>=lo).all() and (got<=hi).all() and got[:,1].min()<-.5
    trace = maximize(linear(torch.ones(1,1,4)), 0, x0=torch.tensor([[9.,9,9,9]]), keep_range=(-1,2), n_steps=2)[1]
    assert trace[0].item()==8. # the start lies in the range too
    per_class = torch.arange(1.,4)[:,None,None]
    assert maximize(model, None, (2,T), n_steps=200, keep_range=(-per_class,per_class))[0].abs().amax((1,2)).tolist()==[1,2,3]

def test_start_noise_is_standard_normal_and_zeros_zero():
    seen = []
    net = Fwd(lambda s,v: (seen.append(v.detach().clone()), v.sum((1,2)))[1])
    maximize(net, None, (3,500), n_steps=1); maximize(net, None, (3,500), n_steps=1, start='noise')
    assert seen[0].eq(0).all() and abs(seen[-1].std()-1)<.05

def test_progress():
    class Bar:
        def __init__(self): self.seen = []
        def __call__(self, items):
            items = list(items); self.n = len(items)
            for o in items: self.seen.append(o); yield o
            self.seen.append('end')
    bar = Bar()
    maximize(model, 0, (2,T), n_steps=4, progress=bar); assert bar.seen==[0,1,2,3,'end']
    bar = Bar()
    deep_dream(x[:2], model, 2, n_steps=4, octaves=2, lengths=[30,40], progress=bar); assert bar.n==16 and bar.seen[-2:]==[15,'end']

# ---- what is refused

@pytest.mark.parametrize('words,kw', [
    (['either `shape`'], dict()), (['either `shape`'], dict(shape=(2,T), x0=x)), (['`shape` must be (C,T)'], dict(shape=T)),
    (['`shape` must be (C,T)'], dict(shape=(1,2,T))),
    (['`shape[1]`','got 0'], dict(shape=(2,0))), (['`shape[0]`','got 2.5'], dict(shape=(2.5,9))), (['has 3 channels','takes 2'], dict(shape=(3,T))),
    (['`lr` must be a number above 0 and below 1e30, got 0'], dict(shape=(2,T), lr=0)), (['`lr`','nan'], dict(shape=(2,T), lr=float('nan'))),
    (['`n_steps`','got 0'], dict(shape=(2,T), n_steps=0)), (['`n_steps`','got 2.0'], dict(shape=(2,T), n_steps=2.)),
    *[([f'`{k}` must be a number from 0 and below 1e30, got {v!r}'], dict(shape=(2,T), **{k:v})) for k in penalties for v in (-1,float('nan'),'a',True)],
    (['`start` must be one of','noise'], dict(shape=(2,T), start='noisy')), (['(2, 40): pass series','`x0`'], dict(shape=(2,T), start=x[0])),
    (['`l2`','of shape'], dict(shape=(2,T), l2=torch.ones(2,3))), (['`lr`','1e+38'], dict(shape=(2,T), lr=1e38)),
    (['`x0` is itself the start'], dict(x0=x, start='noise')),
    (['`seed`'], dict(shape=(2,T), seed=-1)), (['`jitter` must be an int from 0'], dict(shape=(2,T), jitter=-1)),
    (['`jitter` must be less than the 40 steps'], dict(shape=(2,T), jitter=T)),
    (['low nowhere above high'], dict(shape=(2,T), keep_range=(1,-1))), (['low nowhere above high'], dict(shape=(2,T), keep_range=(float('nan'),1))),
    (['does not broadcast'], dict(shape=(2,T), keep_range=(torch.zeros(3,1),1))),
    (['`keep_range` must be True or two'], dict(shape=(2,T), keep_range=3)),
    (['range of `x0`'], dict(shape=(2,T), keep_range=True)), (['`bs`'], dict(shape=(2,T), bs=0)), (['`x0`','NaN'], dict(x0=x*float('nan'))),
    (['`x0`','(C,T)'], dict(x0=x[0,0])),
    (['class 3 is out of range'], dict(shape=(2,T), y=3)), (['class -1'], dict(shape=(2,T), y=[0,-1])),
    (['`y` must be None'], dict(shape=(2,T), y='0')),
    (['`y` must be None'], dict(shape=(2,T), y=[.5])), (['is empty'], dict(shape=(2,T), y=torch.zeros(0, dtype=int))),
    (['is (layer, channel)','as a list'], dict(shape=(2,T), y=(0,1,2))),
    (['is (layer, channel)'], dict(shape=(2,T), y=LayerRun(0,-1))), (['needs both its classes'], dict(shape=(2,T), y=Contrast(0))),
    (['one number an item'], dict(shape=(2,T), y=lambda o: o)), (['12 series for 2 targets'], dict(x0=x, y=[0,1])),
    (['12 series for 3 targets'], dict(x0=x)),
    (['channel 8 is out of range','Conv1d','0 to 7'], dict(shape=(2,T), y=(0,8))), (['channel -1 is out of range'], dict(shape=(2,T), y=(0,[1,-1]))),
    (['`channel` must be an int'], dict(shape=(2,T), y=(0,None))), (['`channel` must be an int'], dict(shape=(2,T), y=(0,[]))),
    (['`channel` must be an int'], dict(shape=(2,T), y=(0,1.5))),
    (['no layer','2'], dict(shape=(2,T), y=('2x',0))), (['not (B,K,L)'], dict(shape=(2,T), y=(6,0))),
])
def test_maximize_refuses(words, kw):
    with check_found(model), says(ValueError, *words): maximize(model, **kw)

def test_a_dead_start_is_refused():
    net = nn.Sequential(nn.Conv1d(1,4,3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,2)).eval()
    with torch.no_grad(): net[0].bias.fill_(-.01)
    for kw in ({}, dict(l1=.1, l2=.1, tv=.1), dict(jitter=3)):
        with says(ValueError, 'no gradient', "start='noise'"): maximize(net, None, (1,20), **kw)
    with says(ValueError, 'no gradient reaches series 1 of 2'): maximize(net, (1,0), x0=torch.stack([draw(1,20), torch.zeros(1,20)]), l2=.1)
    assert maximize(net, None, (1,20), start='noise', n_steps=3)[0].shape==(2,1,20)

def test_weights_that_are_nan():
    net = copy.deepcopy(model)
    with torch.no_grad(): net[6].weight[1] = float('nan')
    with says(ValueError, 'NaN or infinite', 'weights of the model'): maximize(net, None, (2,T), n_steps=2)

def test_too_short():
    net = nn.Sequential(nn.Conv1d(2,4,9), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,2)).eval()
    with says(ValueError, 'does not run on series of 2 channels and 5 steps', 'of another shape'): maximize(net, None, (2,5))
    with says(ValueError, 'does not run on series of 2 channels and 8 steps', 'lower `octaves`'): deep_dream(draw(2,16), net, 1, octaves=2, octave_scale=2)
    with says(ValueError, 'does not run on series of 2 channels'): deep_dream(draw(2,5), net, 1)

def test_a_model_of_another_kind(): # a Learner has one
    class Learner: model = nn.Linear(1,1)
    with says(TypeError, '`learn.model`'): maximize(Learner(), 0, (1,9))
    with says(TypeError, '`learn.model`'): deep_dream(draw(1,9), Learner())

# ---- deep dream

def test_dream_by_hand():
    "One layer that hands the series on, one octave: x grows along itself; two octaves: the detail of the short one is stretched"
    net = nn.Sequential(nn.Conv1d(1,1,1,bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1,2)).eval()
    with torch.no_grad(): net[0].weight.fill_(1.)
    a = draw(1,1,12)
    std = a.std(correction=0)
    close(deep_dream(a, net, 0, octaves=1, n_steps=1, lr=.1), a + .1*std*a/a.abs().mean(), 1e-6)
    close(deep_dream(a, net, 0, channel=0, octaves=3, n_steps=2, lr=.1), a + 6*.1*std, 1e-5)
    short = _linear(a, 6)
    v = a + _linear(.1*std*short/short.abs().mean(), 12)
    close(deep_dream(a, net, 0, octaves=2, octave_scale=2, n_steps=1, lr=.1), v + .1*std*v/v.abs().mean(), 1e-5)

@pytest.mark.parametrize('kw', [{}, dict(channel=3), dict(keep_range=True), dict(mode='fourier'), dict(lr=.5, octaves=1), dict(keep_range=(-3,3), jitter=2)],
                         ids=lambda o: '-'.join(o) or 'plain')
@pytest.mark.filterwarnings('ignore:Nothing could be raised')
@pytest.mark.parametrize('net,layer', [('tiny',0), ('strided',2), ('inception',None)])
def test_dream_raises_every_octave(net, layer, kw, x=x[:5]):
    if net=='inception' and layer is None and 'channel' in kw: kw = {**kw, 'channel':0}
    with check_found(nets[net], x): got,trace = deep_dream(x, nets[net], layer, return_trace=True, n_steps=6, **kw)
    assert got.shape==x.shape and trace.shape==(kw.get('octaves', 3), 7, len(x)) and got.isfinite().all()
    alive = trace[:,0]!=0 # a channel after a ReLU may be off
    assert alive.all() or 'channel' in kw and alive.any()
    assert (trace[:,-1]>trace[:,0])[alive].all() and (trace.diff(dim=1)>=0).all()
    f = TargetScore(nets[net], None, layer) # what is kept is what the trace says
    with explaining(f.model): a = f.body(got)
    close(a.flatten(1).norm(dim=1) if 'channel' not in kw else a[:,kw['channel']].mean(-1), trace[-1,-1], 1e-3)
    one,its = deep_dream(x[3], nets[net], layer, return_trace=True, n_steps=6, **kw)
    equal(one, got[3]); equal(its[...,0], trace[...,3])

def test_dream_rolls_the_gradient_back():
    w,a = torch.tensor([1.,1,1,9,1,1,2,1]),draw(1,1,8)
    class Weigh(nn.Module):
        def forward(self, v): return v*w
    net = Fwd(lambda s,v: s.weigh(v).mean((1,2)), weigh=Weigh()).eval()
    shift = torch.randint(-3, 4, (2,), generator=torch.Generator().manual_seed(1))[0].item()
    assert shift
    close(deep_dream(a, net, 'weigh', 0, octaves=1, n_steps=1, lr=.1, jitter=3, seed=1), a+.1*a.std(correction=0)*w.roll(-shift)/w.mean(), 1e-6)

class Hill(nn.Module):
    def forward(self, v): return 9-(v-1)**2

def test_a_step_too_far_by_hand():
    "From 0 by .7 towards the top at 1: .7, 1.4 (back), 1.05, .7 (back), .875 (back), .9625; the other item is far from it and keeps its pace"
    net = Fwd(lambda s,v: s.hill(v).mean((1,2)), hill=Hill()).eval()
    a = torch.tensor([0.,-9])[:,None,None].expand(2,1,4)
    got,trace = deep_dream(a, net, 'hill', channel=0, octaves=1, n_steps=6, lr=.7, return_trace=True)
    close(got, torch.tensor([.9625,-9+6*.7])[:,None,None].expand(2,1,4), 1e-5)
    close(trace[0,:,0], 9-torch.tensor([1,.3,.3,.05,.05,.05,.0375])**2, 1e-5)

def test_no_gain_is_lost():
    "Steps far too long are taken back and halved"
    got,trace = deep_dream(x, nets['inception'], 1, n_steps=15, lr=2., octaves=1, return_trace=True, keep_range=True)
    assert (trace.diff(dim=1)==0).any()
    close(TargetScore(nets['inception'], None, 1).body(got).flatten(1).norm(dim=1), trace[-1,-1], 1e-3)
    assert (trace.diff(dim=1)>=0).all() and (trace[:,-1]>trace[:,0]).all()

def test_dream_range():
    lo,hi = x.amin(-1, keepdim=True),x.amax(-1, keepdim=True)
    got = deep_dream(x, model, 0, keep_range=True, lr=.3)
    assert (got>=lo).all() and (got<=hi).all() and not torch.equal(got, x)
    free = deep_dream(x, model, 0, lr=.3)
    assert (free>hi).any()
    own = torch.arange(1.,13)[:,None,None]
    got = deep_dream(x, model, 0, keep_range=(-own,own), lr=.3)
    assert (got.abs()<=own).all() and (got.abs()>own-1).any()
    got = deep_dream(x, model, 0, keep_range=(torch.tensor([[-1.],[-9]]),1), lr=.3)
    assert got[:,0].min()>=-1>got[:,1].min() and got.max()<=1

def test_dream_of_a_constant_and_of_nothing():
    flat = torch.full((2,T), 2.)
    got,trace = deep_dream(torch.stack([flat,x[0]]), model, 0, return_trace=True)
    assert got.isfinite().all() and (trace[:,-1]>trace[:,0]).all()
    equal(deep_dream(flat, model, 0), got[0]); equal(deep_dream(x[0], model, 0), got[1])
    net = copy.deepcopy(model)
    with torch.no_grad(): net[0].bias[1] = -99
    with pytest.warns(UserWarning, match='could be raised in items 0, 1: '): equal(deep_dream(x[:2], net, 1, channel=1), x[:2])
    with pytest.warns(UserWarning, match='could be raised in item 0'): deep_dream(x[0], net, 1, channel=1)

def test_lengths():
    ls = [T,30,25,30]
    padded = x[:4].clone()
    for o,n in zip(padded, ls): o[:,n:] = float('nan') # never looked at
    for kw in (dict(), dict(keep_range=True, jitter=3), dict(keep_range=(-1,1)), dict(mode='fourier', channel=2)):
        got,trace = deep_dream(padded, model, 2, lengths=ls, return_trace=True, n_steps=5, **kw)
        assert trace.shape==(3,6,4)
        for i,n in enumerate(ls):
            one,its = deep_dream(x[i,:,:n], model, 2, return_trace=True, n_steps=5, **kw)
            equal(got[i,:,:n], one); equal(trace[...,i], its[...,0]); assert got[i,:,n:].eq(0).all()
    own = torch.tensor([.3,.6,.9,1.2])[:,None,None]
    got = deep_dream(padded, model, 2, lengths=ls, n_steps=3, keep_range=(-own,own))
    for i,n in enumerate(ls): equal(got[i,:,:n], deep_dream(x[i,:,:n], model, 2, n_steps=3, keep_range=(-own[i],own[i])))

def test_resampling():
    a = draw(2,3,40)
    for n in (17,40,63): assert all(r(a, n).shape==(2,3,n) for r in resamplers.values())
    close(resamplers['fourier'](a, 25), torch.from_numpy(scipy.signal.resample(a.numpy(), 25, axis=-1)), 1e-6)
    close(_linear(a, 40), a, 1e-6)
    up = torch.tensor(np.interp((np.arange(60)+.5)*2/3-.5, np.arange(40), a[0,0].numpy())).float()
    close(_linear(a, 60)[0,0], up, 1e-5)
    fast = torch.cos(torch.pi*torch.arange(40.))[None,None]
    fast[...,::4] += 1 # one step in four, as far apart as those of the shorter series
    assert (_linear(fast, 10)[...,1:-1]-.25).abs().max()<.05 # what the shorter series cannot hold is gone, not folded
    for r in resamplers.values(): equal(r(a[1:], 23), r(a, 23)[1:])

def test_sizes_of_octaves():
    net,seen = copy.deepcopy(model),[]
    net[0].register_forward_hook(lambda m,i,o: seen.append(o.shape[-1]))
    deep_dream(x[0], net, 0, octaves=4, octave_scale=1.5, n_steps=1)
    assert list(dict.fromkeys(seen[-8:]))==[round(T/1.5**i) for i in (3,2,1,0)]

@pytest.mark.parametrize('words,kw', [
    (['`octaves` must be an int from 1'], dict(octaves=0)), (['`octave_scale` must be a number above 1'], dict(octave_scale=1.)),
    (['`n_steps`'], dict(n_steps=0)),
    (['`lr` must be a number above 0'], dict(lr=-1)), (['`jitter`'], dict(jitter=-2)),
    (['`jitter` must be less than the 20 steps'], dict(jitter=20)), (['shortest octave of 40 steps has 1'], dict(octaves=12)),
    (['`channel` must be an int from 0'], dict(channel=-1)), (['`channel` must be an int from 0'], dict(channel=[1,2])),
    (['channel 8 is out of range','0 to 7'], dict(channel=8)),
    (['no layer'], dict(layer='9x')), (['not (B,K,L)'], dict(layer=5)), (['out of range'], dict(layer=44)),
    (['low nowhere above'], dict(keep_range=(2,1))),
    (['does not broadcast'], dict(keep_range=(0,torch.zeros(2,T)))), (['`mode` must be one of','fourier'], dict(mode='fouri')),
    (['`seed`'], dict(seed=1.5)),
    (['NaN'], dict(x=x*float('nan'))), (['(C,T)'], dict(x=x[0,0])), (['`x` has 1 channels'], dict(x=x[:,:1])),
    (['`lengths`'], dict(lengths=[3])), (['`lengths`'], dict(lengths=[T+1]*12)),
])
def test_dream_refuses(words, kw):
    with check_found(model), says(ValueError, *words): deep_dream(**{'x':x, 'model':model, 'layer':2, **kw})

def test_bfloat16():
    net = copy.deepcopy(model).bfloat16()
    assert maximize(net, None, (2,T), n_steps=3, l1=.1, tv=.1, spectral=.1)[0].dtype==torch.bfloat16
    for mode in resamplers: assert deep_dream(x[:2], net, 2, n_steps=2, mode=mode).dtype==torch.bfloat16

def test_one_step():
    assert maximize(model, None, (2,1), n_steps=3, l1=.1, tv=.1, spectral=.1)[0].shape==(3,2,1)
    assert deep_dream(x[:2,:,:1], model, 0, octaves=1, n_steps=3).shape==(2,2,1)

def test_numbers_that_leave_their_range():
    with says(ValueError, 'step 1 of the ascent','lower `lr`'): maximize(model, None, (2,T), lr=9e29, l2=1e29)
    with says(ValueError, 'the layer gives NaN or infinite'): deep_dream(x[:2]*1e30, model, 2)
    net = copy.deepcopy(model)
    with torch.no_grad(): net[0].weight[0,0] = float('nan')
    with says(ValueError, 'the layer gives NaN','weights of the model'): deep_dream(x[:2], net, 0)

def test_outputs_without_one_number_a_class():
    for y in (None, 1, prob()):
        with says(ValueError, 'got shape (', 'pass a function of the output'): maximize(nn.Sequential(nn.Conv1d(2,3,1)).eval(), y, (2,T))

def test_nothing_is_warned():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        maximize(model, None, (2,T), n_steps=3, tv=.1); deep_dream(x[:2], model, n_steps=2)
    assert module.__all__==['penalties', 'resamplers', 'maximize', 'deep_dream']

def test_long_kernels_take_the_faster_backward(monkeypatch):
    net = nn.Sequential(nn.Conv1d(8, 8, 17, padding=8), nn.Tanh(), nn.Conv1d(8, 8, 21, padding=10), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))
    n,back = [0],core._Conv.backward
    def counted(ctx, g): n[0] += 1; return back(ctx, g)
    monkeypatch.setattr(core._Conv, 'backward', staticmethod(counted))
    series,_ = maximize(net, shape=(8,40), n_steps=3, start='noise')
    assert n[0]==6 # two convolutions, three steps
    deep_dream(series, net, 2, octaves=1, n_steps=3)
    assert n[0]==6+8 # and a look at the start

def test_lengths_that_a_batch_knows():
    from tsviz.data import TensorTS
    ls,padded = [T,25],TensorTS(x[:2].clone())
    padded.lengths = torch.tensor(ls)
    dream = lambda x, **kw: deep_dream(x, model, 2, n_steps=3, **kw)
    equal(dream(padded), dream(x[:2], lengths=ls))
    assert not torch.equal(dream(padded), dream(x[:2])) # as if the second had no padding
    equal(dream(padded, lengths=[T,T]), dream(x[:2])) # what is given counts
    one = padded[1]
    equal(dream(one)[:,:25], dream(x[1,:,:25])); assert one.shape[-1]==T and dream(one)[:,25:].eq(0).all()
