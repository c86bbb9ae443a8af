"Floor 0: a network cut at a layer, what a layer sees, and scores of local changes, against plain full passes"
import copy, gc, threading, weakref
from contextlib import contextmanager
import pytest, torch, torch.nn as nn
from common import Fwd, same, says
from tsviz.check import model_state
from tsviz.core import prob
from tsviz.field import Field, _known, find_field, local_scores
from tsviz.models import fcn, inception_time, resnet1d
from tsviz.score import LayerRun, TargetScore
from tsviz.synth import planted, tiny_cnn

x,y,_ = planted(3, n_channels=2, n_steps=120, n_classes=3, width=16)
def conv(i=2, o=4, k=3, **kw): return nn.Conv1d(i, o, k, padding=kw.pop('padding', k//2), **kw)
def close(a, b, tol=1e-6): torch.testing.assert_close(a, b, rtol=0, atol=tol*max(b.abs().max().item(), 1e-30))
def head(k=4, n=3): return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(k, n))

@pytest.fixture(autouse=True)
def _seed(): torch.manual_seed(0)

class Part(Fwd):
    "The same, as a module of a model"
    def forward(self, *args): return self.fn(self, *args)

@contextmanager
def ran(**mods):
    "How often modules compute, whether or not anyone calls them with hooks"
    n = {k:[0,0] for k in mods}
    def wrap(k, old):
        def fwd(*args, **kwargs): n[k][0] += 1; n[k][1] += len(args[0])*args[0].shape[-1]; return old(*args, **kwargs)
        return fwd
    for k,o in mods.items(): o.forward = wrap(k, o.forward)
    try: yield n
    finally:
        for o in mods.values(): del o.forward

def full(f, acts, x):
    "Full passes with the layer's output replaced at its meant run, by another hook"
    f = TargetScore(f.model, f.y, LayerRun(f.layer, f.call))
    f.acts(x)
    runs = []
    h = f.layer.register_forward_hook(lambda m,i,o: runs.append(0))
    f(x); h.remove()
    last,n = (len(runs)-1 if f.call==-1 else f.call),[]
    def hook(m, i, o):
        n.append(0)
        if len(n)==last+1: return acts.clone()
    h = f.layer.register_forward_hook(hook)
    try: return f(x)
    finally: h.remove()

# ---- after

class Bottle(nn.Module):
    "A residual block that works in place"
    def __init__(self, i, o): super().__init__(); self.a,self.b,self.short,self.relu = conv(i, o),conv(o, o),nn.Conv1d(i, o, 1),nn.ReLU(inplace=True)
    def forward(self, x):
        h = self.b(self.relu(self.a(x)))
        h += self.short(x)
        return self.relu(h)

cases = {
    'chain': (lambda: nn.Sequential(conv(), nn.ReLU(), conv(4,4), nn.ReLU(), head()), '2', ['0']),
    'container': (lambda: nn.Sequential(conv(), nn.Sequential(conv(4,4), nn.ReLU()), head()), '1', ['0','1.0']),
    'inner': (lambda: nn.Sequential(conv(), nn.Sequential(conv(4,4), nn.ReLU(), conv(4,4)), head()), '1.0', ['0']),
    'in place after': (lambda: nn.Sequential(conv(), conv(4,4), nn.ReLU(inplace=True), head()), '1', ['0']),
    'in place layer': (lambda: nn.Sequential(conv(), nn.BatchNorm1d(4), nn.ReLU(inplace=True), head()), '2', ['0','1']),
    'residual': (lambda: nn.Sequential(Bottle(2,4), Bottle(4,4), head()), '1', ['0']),
    'residual, inside': (lambda: nn.Sequential(Bottle(2,4), Bottle(4,4), head()), '1.relu', ['0','1.a','1.b','1.short']),
    'tuple': (lambda: Fwd(lambda m,x: m.head(m.b(m.a(x)[0]+m.a(x)[1][0])), a=Part(lambda m,x: (m.c(x),[m.c(x)*2,None]), c=conv()), b=conv(4,4), head=head()),
              'b', ['a.c']),
    'shape in head': (lambda: Fwd(lambda m,x: m.fc(m.b(m.a(x)).sum(-1)/x.shape[-1]*len(x)/len(x)), a=conv(), b=conv(4,4), fc=nn.Linear(4,3)), 'b', ['a']),
    'fixed length': (lambda: nn.Sequential(conv(), nn.ReLU(), conv(4,4,stride=2), nn.Flatten(), nn.Linear(4*60,3)), '2', ['0']),
    'shared, last': (lambda: Fwd(lambda m,x: m.head(m.r(m.b(m.r(m.a(x))))), a=conv(), b=conv(4,4), r=nn.ReLU(), head=head()), 'r', ['a','b']),
    'shared, first': (lambda: Fwd(lambda m,x: m.head(m.r(m.b(m.r(m.a(x))))), a=conv(), b=conv(4,4), r=nn.ReLU(), head=head()), ('r',0), ['a']),
    'before and after': (lambda: Fwd(lambda m,x: m.head(m.a(m.b(m.a(m.up(x))))), up=conv(), a=conv(4,4), b=conv(4,4), head=head()), 'b', ['up']),
    'block twice': (lambda: Fwd(lambda m,x: m.head(m.blk(m.blk(m.up(x)))), up=conv(), blk=nn.Sequential(conv(4,4), nn.ReLU()), head=head()), 'blk.0', ['up']),
    'tokens': (lambda: Fwd(lambda m,x: m.head(m.b(m.a(x.transpose(1,2).reshape(-1,2)).reshape(len(x),-1,4).transpose(1,2))), a=nn.Linear(2,4), b=conv(4,4), head=head()),
               'b', ['a']),
    'double': (lambda: nn.Sequential(conv(), conv(4,4), head()).double(), '1', ['0']),
}

@pytest.mark.parametrize('name', cases)
def test_after(name):
    make,layer,before = cases[name]
    model = make().eval()
    layer,call = layer if isinstance(layer, tuple) else (layer,-1)
    f = TargetScore(model, torch.tensor([2,0,1]), LayerRun(layer, call))
    xs = x.to(next(model.parameters()).dtype)
    state,acts = model_state(model),f.acts(xs)
    close(f.after(acts, xs), f(xs))
    other = torch.randn_like(acts)
    want,kept = full(f, other, xs),other.clone()
    with ran(**{k.replace('.','_'):model.get_submodule(k) for k in before}) as n: got = f.after(other, xs)
    if name!='in place layer': close(got, want) # there the model goes on with what the layer wrote over: the same thing, no hook can tell
    else: close(got, model[3](other)[[0,1,2],[2,0,1]])
    assert not any(o[0] for o in n.values()), n
    assert torch.equal(other, kept) and got.dtype==xs.dtype
    close(f.after(other[[2,2,0,1,1]], xs[:1], torch.tensor([2,2,0,1,1])), want[[2,2,0,1,1]])
    same(state, model_state(model))
    assert not any('_call_impl' in o.__dict__ or 'forward' in o.__dict__ for o in model.modules())

def test_layers_of_the_library_models():
    for model in (inception_time(2, 3, depth=3, nb_filters=4), fcn(2, 3, nf=(8,8,8)), resnet1d(2, 3, nf=(8,8,8)), tiny_cnn(2, 3, inplace=True)):
        f = TargetScore(model.eval(), torch.tensor([2,0,1]))
        a = f.acts(x)
        close(f.after(a, x), f(x))
        with ran(first=next(o for o in model.modules() if isinstance(o, nn.Conv1d))) as n: f.after(a*2, x)
        assert n['first']==[0,0]

class Detached(nn.Module):
    "A way around the layer that the graph does not show"
    def __init__(self): super().__init__(); self.a,self.b,self.head = conv(),conv(4,4),head()
    def forward(self, x): h = self.a(x); return self.head(self.b(h)) + h.detach().mean((1,2))[:,None]

class Sneaky(nn.Module):
    "A way around that shows in the graph only: its weight is 0"
    def __init__(self): super().__init__(); self.a,self.b,self.head,self.w = conv(),conv(4,4),head(),nn.Parameter(torch.zeros(()))
    def forward(self, x): h = self.a(x); return self.head(self.b(h)) + self.w*h.mean((1,2))[:,None]

def branch(m, x):
    "Another way for other numbers"
    h = m.a(x)
    h = m.b(h) if h.abs().sum()>0 else m.c(h)
    return m.head(m.d(h))

slow = {
    'around': lambda: Fwd(lambda m,x: m.head(m.b(m.a(x))+m.a(x)), a=conv(), b=conv(4,4), head=head()),
    'detached': Detached, 'weight 0': Sneaky,
    'no grad before': lambda: Fwd(lambda m,x: m.head(m.b(no_grad(m.a, x))), a=conv(), b=conv(4,4), head=head()),
    'branch': lambda: Fwd(branch, a=conv(), b=conv(4,4), c=nn.Sequential(conv(4,4), nn.ReLU()), d=conv(4,4), head=head()),
    'not a tensor': lambda: Fwd(lambda m,x: m.head(m.b(m.a(x)['h'][0].h)), a=Part(lambda m,x: {'h': [Box(m.c(x))]}, c=conv()), b=conv(4,4), head=head()),
    'a number': lambda: Fwd(lambda m,x: m.head(m.b(m.a(x)[0]*m.a(x)[1])), a=Part(lambda m,x: (m.c(x),2), c=conv()), b=conv(4,4), head=head()),
}
class Box:
    def __init__(self, h): self.h = h
def no_grad(m, x):
    with torch.no_grad(): return m(x)

@pytest.mark.parametrize('name', slow)
def test_what_cannot_be_left_out_runs(name):
    model = slow[name]().eval()
    f = TargetScore(model, 1, 'd' if name=='branch' else 'b')
    a = f.acts(x)
    close(f.after(a, x), f(x))
    close(f.after(a*0+1, x), full(f, a*0+1, x))
    close(f.after(a.flip(0), x), full(f, a.flip(0), x)) # after the acts of another item, with this item's other way

def test_weights_that_change_are_looked_at_again():
    model = Detached().eval()
    f = TargetScore(model, 1, 'b')
    model.a.weight.data.zero_(); model.a.bias.data.zero_()
    f.after(f.acts(x), x) # nothing goes around: h is 0
    with torch.no_grad(): model.a.weight.add_(1.)
    a = f.acts(x)
    close(f.after(a, x), f(x))

def test_user_hooks_are_kept():
    "A hook that changes what a module returns, before, at and after the layer"
    model = nn.Sequential(conv(), conv(4,4), head())
    seen = []
    for o in (model[0], model[1], model[2]): o.register_forward_hook(lambda m,i,o: (seen.append(1), o*2)[1])
    f = TargetScore(model, 0, 1)
    a = f.acts(x)
    close(f.after(a, x), f(x))
    seen.clear(); f.after(a, x)
    assert len(seen)==1 # the head's own

def test_a_way_around_that_is_shut_for_now():
    "For the series looked on it adds nothing, for another it does; the graph shows it"
    model = Fwd(lambda m,x: m.head(m.b(h := m.a(x))) + (h.abs().mean((1,2))-10).relu()[:,None], a=conv(), b=conv(4,4), head=head()).eval()
    f = TargetScore(model, 1, 'b')
    close(f.after(f.acts(x), x), f(x))
    close(f.after(f.acts(x*1000), x*1000), f(x*1000))

class OwnCall(nn.Conv1d):
    "Called by another way than modules are"
    def __call__(self, x): return nn.Module._call_impl(self, x)

def test_a_layer_that_cannot_be_left_out():
    model = nn.Sequential(OwnCall(2,4,3), head()).eval()
    f = TargetScore(model, 0, 0)
    a = f.acts(x)
    close(f.after(a*2, x), model[1](a*2)[:,0].detach())

def test_after_raises_at_the_door():
    f = TargetScore(tiny_cnn(2,3), 0)
    a = f.acts(x)
    with says(ValueError, '(N,8,120)', '(3, 8, 119)'): f.after(a[...,:-1], x)
    with says(ValueError, 'a series for each row', '2 series'): f.after(a, x[:2])
    with says(ValueError, '(N,8,120)'): f.after(a[0], x)

class Fails(nn.Module):
    on = False
    def forward(self, x):
        if self.on: raise ArithmeticError('on purpose')
        return x

@pytest.mark.parametrize('known', [False,True])
def test_state_when_the_model_raises(known):
    model = nn.Sequential(conv(), nn.BatchNorm1d(4), conv(4,4), Fails(), head()).train()
    f = TargetScore(model, 0, 2)
    a = f.acts(x)
    if known: f.after(a, x)
    model[3].on = True
    before,keys = model_state(model),[set(o.__dict__) for o in model.modules()]
    with pytest.raises(ArithmeticError): f.after(a, x)
    same(before, model_state(model))
    assert keys==[set(o.__dict__) for o in model.modules()]

def test_memory_error_is_passed_on():
    class Full(nn.Module):
        n = 99
        def forward(self, x):
            if len(x)>self.n: raise torch.OutOfMemoryError('on purpose')
            return x
    model = nn.Sequential(conv(k=5), nn.ReLU(), Full(), head())
    f = TargetScore(model, 0, 1).hold(x)
    spans = [(t,t+4) for t in range(0,120,4)]
    want = local_scores(f, x, spans, zeroed(x, spans))
    model[2].n = 2
    with pytest.raises(torch.OutOfMemoryError): f.after(f.acts(x[:1]).repeat(3,1,1), x[:1])
    got = local_scores(f, x, spans, zeroed(x, spans))
    for a,b in zip(got, want): close(a, b)

def test_another_thread_predicts_meanwhile():
    gate,go = threading.Event(),threading.Event()
    def wait(m, x):
        if threading.current_thread().name=='after': gate.set(); go.wait(20)
        return m.b(x)
    model = nn.Sequential(conv(), Part(wait, b=conv(4,4)), head()).eval()
    f = TargetScore(model, 0, '1.b')
    a = f.acts(x)
    want,other = f.after(a*2, x),model(x)
    res = []
    t = threading.Thread(target=lambda: res.append(f.after(a*2, x)), name='after')
    t.start(); assert gate.wait(20)
    assert any('_call_impl' in o.__dict__ for o in model.modules())
    try: assert torch.equal(model(x), other)
    finally: go.set(); t.join()
    assert torch.equal(res[0], want)

def test_model_is_not_kept_alive():
    model = nn.Sequential(conv(), conv(4,4), head())
    f = TargetScore(model, 0, 1)
    f.after(f.acts(x), x); find_field(model, 1, x)
    assert model in _known
    gone = weakref.ref(model)
    del model,f; gc.collect()
    assert gone() is None

def test_inference_mode():
    model = tiny_cnn(2, 3, inplace=True)
    f = TargetScore(model, 1, 2)
    want = f(x)
    with torch.inference_mode(): got = f.after(f.body(x*1), x*1)
    close(got.clone(), want)

# ---- body

@pytest.mark.parametrize('name', cases)
def test_body(name):
    make,layer,_ = cases[name]
    model = make().eval()
    f = TargetScore(model, 0, LayerRun(*layer) if isinstance(layer, tuple) else layer)
    xs = x.to(next(model.parameters()).dtype)
    a = f.acts(xs)
    assert torch.equal(f.body(xs), a)
    last = [o for o in model.modules() if isinstance(o, nn.Linear)][-1]
    with ran(head=last) as n: f.body(xs)
    assert n['head'][0]==0 and not any(o._forward_hooks for o in model.modules())

def test_body_of_another_length_does_not_meet_the_head():
    model = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(4*120,3))
    f = TargetScore(model, 0, 1)
    f.body(x)
    close(f.body(x[...,:50]), f.model[:2](x[...,:50]).detach())

def test_body_of_a_model_that_catches_everything():
    def forward(m, x):
        try: h = m.b(m.a(x))
        except BaseException: h = m.b(m.a(x)) # noqa: B036
        return m.head(h.relu_())
    model = Fwd(forward, a=conv(), b=conv(4,4), head=head())
    f = TargetScore(model, 0, 'b')
    close(f.body(x), model.b(model.a(x)).detach())
    def stubborn(m, x):
        try: return m.head(m.b(m.a(x)))
        except Exception: return x.new_zeros(len(x), 3)
    model = Fwd(stubborn, **model._modules)
    with ran(head=model.head[2]) as n: close(TargetScore(model, 0, LayerRun('b',0)).body(x), model.b(model.a(x)).detach())
    assert n['head'][0]==0 # the exception that ends the pass is no `Exception`

def test_body_says_what_is_wrong():
    model = nn.Sequential(conv(), Part(lambda m,x: (x,x)), Part(lambda m,x: x[0]), head())
    with says(ValueError, 'returns a tuple'): TargetScore(model, 0, 1).body(x)
    with says(ValueError, 'pooled away'): TargetScore(model, 0, 3).body(x)

# ---- the field

def reached(model, layer, n=400):
    "By brute force: which x steps change a middle step of the layer, by the gradient of random weights"
    xs = torch.randn(1, 2, n, dtype=torch.float64, requires_grad=True)
    sub = copy.deepcopy(model).double()
    taps = []
    sub.get_submodule(layer).register_forward_hook(lambda m,i,o: taps.append(o))
    sub(xs)
    l = taps[-1].shape[-1]//2
    g, = torch.autograd.grad(taps[-1][0,:,l].sum(), xs)
    t = g.abs().sum((0,1)).nonzero()[:,0]
    return l,t[0].item(),t[-1].item()

stacks = {
    'same': [conv(k=5), conv(4,4,7)], 'valid': [conv(k=4, padding=0), conv(4,4,3,padding=0)], 'even': [conv(k=4, padding=1), conv(4,4,6,padding=2)],
    'stride': [conv(k=7, stride=2), conv(4,4,3,stride=3), conv(4,4,3)], 'dilated': [conv(k=3, dilation=4, padding=4), conv(4,4,3,dilation=16,padding=16)],
    'strided, dilated': [conv(k=3, stride=2, dilation=3, padding=3), conv(4,4,5,dilation=2,padding=4)], 'pool': [conv(k=3), nn.AvgPool1d(4), conv(4,4,3)],
    'causal': [nn.ConstantPad1d((6,0), 0.), conv(k=4, dilation=2, padding=0)], 'reflect': [conv(k=5, padding_mode='reflect'), conv(4,4,5,padding_mode='replicate')],
    'steps over': [nn.Conv1d(2,4,1,stride=5), conv(4,4,3)], 'batch norm': [conv(k=3), nn.BatchNorm1d(4), conv(4,4,1)],
    'max pool': [nn.MaxPool1d(3,2,1), conv(k=3)], 'layer norm over channels': [conv(), Part(lambda m,x: m.n(x.mT).mT, n=nn.LayerNorm(4)), conv(4,4)]}

@pytest.mark.parametrize('name', stacks)
def test_field_of_stacks(name):
    model = nn.Sequential(nn.Sequential(*stacks[name]), head()).eval()
    field = find_field(model, 0, x[...,:97])
    assert field.local
    l,a,b = reached(model, '0')
    if name!='max pool': assert (l*field.stride+field.offset-field.left, l*field.stride+field.offset+field.right)==(a,b)
    assert field.n_steps==field.left+field.right+1 and 0<=field.right-field.left<=1
    assert find_field(model, 0)==field or name=='max pool'

def test_field_by_hand():
    assert find_field(inception_time(1,2).eval())==Field(114, 114, 1, 0, True) # 6 blocks of kernels of 39 steps
    assert find_field(fcn(2,3).eval())==Field(6, 7, 1, 0, True)
    assert find_field(tiny_cnn(2,3,stride=3), None, x)==Field(5, 5, 3, 0, True)
    assert find_field(tiny_cnn(2,3), 0, x)==Field(3, 3, 1, 0, True)

class SE(nn.Module):
    def __init__(self, safe=False): super().__init__(); self.fc,self.safe = nn.Linear(4,4),safe
    def forward(self, x):
        m = x.mean(-1)
        return x*self.fc(m.nan_to_num() if self.safe else m).sigmoid()[...,None]

class Attention(nn.Module):
    def __init__(self): super().__init__(); self.at = nn.MultiheadAttention(4, 2, batch_first=True)
    def forward(self, x): return self.at(x.mT, x.mT, x.mT)[0].mT

class LSTM(nn.Module):
    def __init__(self): super().__init__(); self.rnn = nn.LSTM(4, 2, bidirectional=True, batch_first=True)
    def forward(self, x): return self.rnn(x.mT)[0].mT

class Position(nn.Module):
    "Knows where it is"
    def forward(self, x): return x + torch.linspace(0, 1, 1000)[:x.shape[-1]]

broken = {
    'instance norm': nn.InstanceNorm1d(4), 'layer norm over time': nn.LayerNorm(120), 'group norm': nn.GroupNorm(2,4), 'squeeze-excite': SE(), 'hidden squeeze-excite': SE(True),
    'attention': Attention(), 'lstm': LSTM(), 'circular': conv(4,4,padding_mode='circular'), 'position': Position(), 'upsampled': nn.Upsample(scale_factor=2),
    'where': Part(lambda m,x: torch.where(x>0, x, 0*m.k).cumsum(-1)*.1, k=nn.Parameter(torch.ones(()))), 'nan_to_num': Part(lambda m,x: x.nan_to_num()-x.nan_to_num().mean(-1,keepdim=True)),
    'adaptive': nn.AdaptiveAvgPool1d(30), 'flip': Part(lambda m,x: x.flip(-1)), 'cumsum': Part(lambda m,x: x.cumsum(-1)), 'batch': Part(lambda m,x: x-x.mean(0,keepdim=True)),
    'fft': Part(lambda m,x: torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1])), 'end': Part(lambda m,x: x-x[...,-1:]), 'max': Part(lambda m,x: torch.maximum(x, x.amax(-1,keepdim=True)*.9)),
    'fixed': Part(lambda m,x: x*m.w, w=nn.Parameter(torch.ones(120)))}

@pytest.mark.parametrize('name', broken)
def test_what_is_not_local(name):
    model = nn.Sequential(nn.Sequential(conv(), broken[name], conv(4,4)), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3)).eval()
    assert not find_field(model, 0, x).local
    spans = [(t,t+4) for t in range(0,120,4)]
    f = TargetScore(model, 0, 0)
    if name=='batch': return # there is no score of an item alone
    got = local_scores(f, x, spans, zeroed(x, spans))
    for a,b in zip(got, plain(f, x, zeroed(x, spans), len(spans))): torch.testing.assert_close(a, b, rtol=0, atol=2e-7)

def test_nan_hidden_but_local_is_at_worst_slow():
    model = nn.Sequential(nn.Sequential(conv(), Part(lambda m,x: torch.where(x>0, x, torch.zeros(()))), conv(4,4)), head())
    field = find_field(model, 0, x)
    spans = [(t,t+4) for t in range(0,120,4)]
    f = TargetScore(model, 0, 0)
    got = local_scores(f, x, spans, zeroed(x, spans))
    for a,b in zip(got, plain(f, x, zeroed(x, spans), len(spans))): close(a, b)
    assert not field.local

def test_field_leaves_the_model_as_found():
    model = nn.Sequential(conv(), nn.BatchNorm1d(4), nn.Dropout(.5), conv(4,4), head()).train()
    before,rng = model_state(model),torch.get_rng_state()
    assert find_field(model, 3, x).local
    same(before, model_state(model))
    assert torch.equal(rng, torch.get_rng_state())

# ---- scores of local changes

def zeroed(x, spans, channel=slice(None)):
    def perturb(rows, items):
        assert rows.shape==items.shape
        copies = x[items].clone()
        for o,p in zip(copies, rows.tolist()): o[channel,slice(*spans[p])] = 0
        return copies
    return perturb

def plain(f, x, perturb, n):
    "One full pass a copy"
    items = torch.arange(len(x))
    return f(x, items),torch.stack([f(perturb(torch.full((len(x),), p), items), items) for p in range(n)])

local = {
    'tiny': lambda: tiny_cnn(2,3), 'strided': lambda: tiny_cnn(2,3,stride=2), 'in place': lambda: tiny_cnn(2,3,inplace=True), 'fcn': lambda: fcn(2,3,nf=(8,8,8)),
    'resnet': lambda: resnet1d(2,3,ks=(5,3,3),nf=(8,8,8)), 'inception': lambda: inception_time(2,3,ks=8,depth=3,nb_filters=4),
    'dilated': lambda: nn.Sequential(conv(k=3,dilation=2,padding=2), nn.ReLU(), conv(4,4,3,stride=3), head()), 'valid': lambda: nn.Sequential(conv(k=6,padding=0), head()),
    'fixed head': lambda: nn.Sequential(conv(k=5), nn.ReLU(), nn.Flatten(), nn.Linear(4*240,3)), 'reflect': lambda: nn.Sequential(conv(k=5,padding_mode='reflect'), nn.ReLU(), head()),
    'max head': lambda: nn.Sequential(conv(k=5), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4,3))}

@pytest.mark.parametrize('name', local)
def test_local_scores_are_those_of_full_passes(name):
    model = local[name]().double().eval()
    xs = torch.cat([x,x.flip(-1)], -1).double()
    T = xs.shape[-1]
    for spans in ([(t,t+8) for t in range(0,T,8)], [(t,min(t+5,T)) for t in range(0,T,3)], [(0,3),(0,3),(7,7),(230,240)] + [(t,t+t%7) for t in range(60)]):
        f = TargetScore(model, torch.tensor([0,2,1]))
        want = plain(f, xs, zeroed(xs, spans), len(spans))
        for bs in (None,1) if len(spans)<70 else (7,):
            s,changed = local_scores(f, xs, spans, zeroed(xs, spans), bs)
            assert s.shape==(3,) and changed.shape==(len(spans),3)
            close(s, want[0], 1e-12); close(changed, want[1], 1e-12)

def counted(model, xs, spans, **kw):
    "Steps of series that the first convolution computes, when all is found out"
    f = TargetScore(model, 0).hold(xs)
    local_scores(f, xs, spans, zeroed(xs, spans), **kw)
    with ran(first=next(o for o in model.modules() if isinstance(o, nn.Conv1d))) as n: local_scores(f, xs, spans, zeroed(xs, spans), **kw)
    return n['first'][1]

def test_cost_grows_with_T():
    model = inception_time(1,2,ks=12,depth=3,nb_filters=4).eval()
    steps = [counted(model, torch.randn(1,1,T), [(t,t+8) for t in range(0,T,8)]) for T in (256,512,1024,2048)]
    gap = find_field(model).n_steps-1
    tracks = -(-(8+gap)//8)
    assert steps==[(tracks+2)*T for T in (256,512,1024,2048)], (steps, gap)

def test_nor_does_a_hook_see_more():
    model,seen = tiny_cnn(),[]
    model[0].register_forward_hook(lambda m,i,o: seen.append(o.shape[0]*o.shape[2]))
    n = []
    for T in (400,800):
        xs,spans = torch.randn(1,1,T),[(t,t+8) for t in range(0,T,8)]
        f = TargetScore(model, 0).hold(xs)
        local_scores(f, xs, spans, zeroed(xs, spans)); seen.clear()
        local_scores(f, xs, spans, zeroed(xs, spans)); n.append(sum(seen))
    assert n==[5*400,5*800] # the series alone counts twice: a batch of one runs as two rows

def test_what_follows_is_slow_or_around_goes_full():
    spans = [(t,t+4) for t in range(0,120,4)]
    for model,layer in ((nn.Sequential(conv(), conv(4,4), head()), 0), (Detached(), 'b'), (nn.Sequential(conv(), LSTM(), head()), 0)):
        with ran(first=next(o for o in model.modules() if isinstance(o, nn.Conv1d))) as n:
            f = TargetScore(model.eval(), 0, layer).hold(x)
            local_scores(f, x, spans, zeroed(x, spans)); n['first'][:] = 0,0
            got = local_scores(f, x, spans, zeroed(x, spans))
            assert n['first'][1]==31*3*120
        for a,b in zip(got, plain(f, x, zeroed(x, spans), 30)): close(a, b)

def test_no_layer_is_no_obstacle(recwarn):
    spans = [(0,4),(50,60)]
    class Rec(nn.Module):
        def __init__(self, both): super().__init__(); self.rnn,self.fc,self.conv = nn.LSTM(2,4,batch_first=True),nn.Linear(4,3),conv() if both else None
        def forward(self, x): h = self.rnn(x.mT)[0][:,-1]; return self.fc(h if self.conv is None else h+self.conv(x).relu().mean(-1))
    for both in (False,True):
        f = TargetScore(Rec(both), 0)
        for a,b in zip(local_scores(f, x, spans, zeroed(x, spans)), plain(f, x, zeroed(x, spans), 2)): close(a, b)
    assert not recwarn.list
    with pytest.warns(UserWarning, match='other branch is not'): TargetScore(f.model, 0, None).acts(x) # whom it concerns is still told

def test_per_channel_and_targets():
    model,spans = tiny_cnn(2,3).eval(),[(t,t+6) for t in range(0,120,6)]*2
    def perturb(rows, items):
        copies = x[items].clone()
        for o,p in zip(copies, rows.tolist()): o[p//20,slice(*spans[p])] = 5.
        return copies
    for y in (None, 1, torch.tensor([0,2,1]), prob(1), lambda out: out[:,0]-out[:,1]):
        f = TargetScore(model, y).hold(x)
        for a,b in zip(local_scores(f, x, spans, perturb), plain(f, x, perturb, 40)): close(a, b)

def test_items_do_not_depend_on_neighbours():
    model,spans = tiny_cnn(2,3).eval(),[(t,t+6) for t in range(0,120,6)]
    f = TargetScore(model, torch.tensor([0,2,1]))
    s,changed = local_scores(f, x, spans, zeroed(x, spans))
    for i in range(3):
        a,b = local_scores(TargetScore(model, [0,2,1][i]), x[i:i+1], spans, zeroed(x[i:i+1], spans), 3)
        close(a, s[i:i+1]); close(b, changed[:,i:i+1])

def test_spans_at_the_door():
    for bad in ((-1,3),(5,4),(118,121)):
        with says(ValueError, 'between 0 and T=120', str(bad)): local_scores(TargetScore(tiny_cnn(2,3), 0), x, [bad], zeroed(x, [bad]))
    with says(ValueError, '`bs`'): local_scores(TargetScore(tiny_cnn(2,3), 0), x, [(0,1)], zeroed(x, [(0,1)]), 0)
    with says(ValueError, 'no layer'): local_scores(TargetScore(tiny_cnn(2,3), 0, 'nope'), x, [(0,1)], zeroed(x, [(0,1)]))

def test_a_failed_look_at_a_model_of_one_length_is_not_kept():
    "Found on a series that the model takes, also after a made-up one that it refused"
    model = nn.Sequential(nn.Conv1d(1,4,5,padding=2), nn.ReLU(), nn.Conv1d(4,4,3,padding=1), nn.Flatten(), nn.Linear(4*50,2))
    assert find_field(model, 2).n_steps is None # no series of 128 steps goes through
    x = torch.randn(2, 1, 50, generator=torch.Generator().manual_seed(0))
    assert find_field(model, 2, x)[:2]==(3,3)
    assert find_field(model, 2, x).n_steps==7

def test_the_window_of_a_step():
    "As many steps as the field, centred where the layer's step lies; it holds every step with a gradient, and its ends"
    model = nn.Sequential(nn.Conv1d(1,2,5,stride=2,padding=2), nn.Conv1d(2,2,3,dilation=3,padding=3))
    x = torch.randn(1, 1, 80, generator=torch.Generator().manual_seed(0)).requires_grad_()
    field,acts = find_field(model, 1, x),model(x)
    for l in (0,7,20,39):
        g, = torch.autograd.grad(acts[0,:,l].sum(), x, retain_graph=True)
        seen = g[0,0].nonzero()[:,0]
        a,b = field.window(l)
        assert b-a==field.n_steps and (max(a,0),min(b,80))==(seen.min(),seen.max()+1)
