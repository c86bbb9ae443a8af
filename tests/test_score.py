"Floor 0: the one place that touches a model. ORIGIN's faults 9, 10, 13, 14, 17 and contracts 1-4, 8, 9"
import copy, gc, random, threading, warnings, weakref
from contextlib import contextmanager
from types import SimpleNamespace
import numpy as np, pytest, torch, torch.nn as nn, torch.nn.functional as F, torch.utils.checkpoint as checkpointing
from torch import Tensor
from common import Fwd
from torch.nn.utils.parametrizations import weight_norm
from tsviz.check import model_state
from tsviz.score import LayerRun, Target, TargetScore, explaining, find_layer, logprob, prob
from tsviz.synth import planted, tiny_cnn
from tsviz.cam import grad_cam, hires_cam

x,y,_ = planted(5, n_channels=2, n_steps=40, n_classes=3, width=16)
def conv(i=2, o=8, k=3, **kw): return nn.Conv1d(i, o, k, padding=kw.pop('padding', k//2), **kw)
def close(a, b, tol=1e-6): torch.testing.assert_close(a, b, rtol=0, atol=tol*max(b.abs().max().item(), 1e-30))

@pytest.fixture(autouse=True)
def _seed(): torch.manual_seed(0)

def by_hand(head, a, y):
    "Activations of a layer and what follows it -> gradient of the class's output at the layer"
    a = a.detach().clone().requires_grad_()
    out = head(a.clone())
    return torch.autograd.grad(out.gather(1, torch.as_tensor(y).expand(len(out))[:,None]).sum(), a)[0]

@contextmanager
def counted(model):
    "Forward passes of a model (with their batch sizes) and backward passes"
    sizes,grads,old = [],[],torch.autograd._engine_run_backward
    handle = model.register_forward_pre_hook(lambda m,i: sizes.append(len(i[0])))
    torch.autograd._engine_run_backward = lambda *a,**k: grads.append(1) or old(*a,**k)
    try: yield sizes,grads
    finally: torch.autograd._engine_run_backward = old; handle.remove()

# ---- find_layer

class Inception(nn.Module):
    def __init__(self, i, o=4, res=None):
        super().__init__()
        self.bottleneck,self.pool = nn.Conv1d(i, o, 1, bias=False),nn.MaxPool1d(3, 1, 1)
        self.convs,self.skip = nn.ModuleList(conv(o, o, k, bias=False) for k in (9,5,3)),nn.Conv1d(i, o, 1, bias=False)
        self.bn,self.relu = nn.BatchNorm1d(4*o),nn.ReLU()
        if res: self.short,self.out = nn.Sequential(nn.Conv1d(res, 4*o, 1), nn.BatchNorm1d(4*o)),nn.ReLU()
    def forward(self, x, res=None):
        b = self.bottleneck(x)
        h = self.relu(self.bn(torch.cat([*(o(b) for o in self.convs), self.skip(self.pool(x))], 1)))
        return h if res is None else self.out(h+self.short(res))

class InceptionLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks,self.fc = nn.ModuleList([Inception(2), Inception(16), Inception(16, res=2)]),nn.Linear(16,3)
    def forward(self, x):
        h = self.blocks[1](self.blocks[0](x))
        return self.fc(self.blocks[2](h, x).mean(-1))

class ResBlock(nn.Module):
    "One in-place ReLU for the whole block, used twice"
    def __init__(self, i, o):
        super().__init__()
        self.c1,self.c2,self.b1,self.b2,self.short,self.relu = conv(i,o),conv(o,o),nn.BatchNorm1d(o),nn.BatchNorm1d(o),nn.Conv1d(i,o,1),nn.ReLU(True)
    def forward(self, x): return self.relu(self.b2(self.c2(self.relu(self.b1(self.c1(x))))) + self.short(x))

class SE(nn.Module):
    def __init__(self, k): super().__init__(); self.f,self.g = nn.Linear(k,k//2),nn.Linear(k//2,k)
    def forward(self, x): return x*self.g(self.f(x.mean(-1)).relu()).sigmoid()[...,None]

class Chomp(nn.Module):
    def __init__(self, n): super().__init__(); self.n = n
    def forward(self, x): return x[...,:-self.n]

class TCNBlock(nn.Module):
    def __init__(self, i, o, d):
        super().__init__()
        self.net = nn.Sequential(conv(i,o,3,padding=2*d,dilation=d), Chomp(2*d), nn.ReLU(), nn.Dropout(.1))
        self.down,self.relu = nn.Conv1d(i,o,1),nn.ReLU()
    def forward(self, x): return self.relu(self.net(x)+self.down(x))

class XCM(nn.Module):
    def __init__(self):
        super().__init__()
        self.c2,self.r2 = nn.Sequential(nn.Conv2d(1,4,(1,5),padding=(0,2)), nn.BatchNorm2d(4), nn.ReLU()),nn.Sequential(nn.Conv2d(4,1,1), nn.ReLU())
        self.c1,self.r1 = nn.Sequential(conv(2,4,5), nn.ReLU()),nn.Sequential(nn.Conv1d(4,1,1), nn.ReLU())
        self.last,self.fc = nn.Sequential(conv(3,8,5), nn.BatchNorm1d(8), nn.ReLU()),nn.Linear(8,3)
    def forward(self, x):
        a,b = self.r2(self.c2(x[:,None]))[:,0],self.r1(self.c1(x))
        return self.fc(self.last(torch.cat([a,b], 1)).mean(-1))

def head(k=8): return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(k,3))
def encoder(d): return nn.TransformerEncoderLayer(d, 4, 32, batch_first=True)

archs = { # name -> (model, name of the layer wanted)
    'tiny': (lambda: tiny_cnn(2,3), '3'),
    'inception with residual': (InceptionLike, 'blocks.2'),
    'fcn, functional relu': (lambda: Fwd(lambda s,x: s.fc(F.relu(s.b2(s.c2(F.relu(s.b1(s.c1(x)))))).mean(-1)),
                                         c1=conv(), b1=nn.BatchNorm1d(8), c2=conv(8), b2=nn.BatchNorm1d(8), fc=nn.Linear(8,3)), 'b2'),
    'resnet, shared in-place relu': (lambda: nn.Sequential(ResBlock(2,4), ResBlock(4,8), head()), '1'),
    'squeeze-excite': (lambda: nn.Sequential(conv(), nn.ReLU(), conv(8,8), nn.BatchNorm1d(8), SE(8), head()), '4'),
    'conv-pool-flatten-linear': (lambda: nn.Sequential(conv(), nn.ReLU(), nn.MaxPool1d(2), conv(8,4), nn.ReLU(True), nn.Flatten(), nn.Linear(80,3)), '4'),
    'functional pooling': (lambda: Fwd(lambda s,x: s.fc(F.adaptive_avg_pool1d(s.b(s.a(x)), 1).squeeze(-1)),
                                       a=nn.Sequential(conv(), nn.ReLU()), b=nn.Sequential(conv(8,8), nn.ReLU()), fc=nn.Linear(8,3)), 'b'),
    'concatenated poolings': (lambda: Fwd(lambda s,x: s.fc(torch.cat([(h := s.b(x)).mean(-1), h.amax(-1)], 1)),
                                          b=nn.Sequential(conv(), nn.ReLU()), fc=nn.Linear(16,3)), 'b'),
    'conv head after pooling': (lambda: nn.Sequential(conv(), nn.ReLU(), conv(8,8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Conv1d(8,3,1), nn.Flatten()), '3'),
    'conv head before pooling': (lambda: nn.Sequential(conv(), nn.ReLU(), nn.Conv1d(8,3,1), nn.AdaptiveAvgPool1d(1), nn.Flatten()), '2'),
    'dropout and identity after the block': (lambda: nn.Sequential(nn.Sequential(conv(), nn.ReLU()), nn.Dropout(.5), nn.Identity(), head()), '0'),
    'tcn': (lambda: nn.Sequential(TCNBlock(2,8,1), TCNBlock(8,8,2), TCNBlock(8,8,4), head()), '2'),
    'tcn, last step': (lambda: Fwd(lambda s,x: s.fc(s.t(x)[...,-1]), t=nn.Sequential(TCNBlock(2,8,1), TCNBlock(8,8,2)), fc=nn.Linear(8,3)), 't'),
    'branches, cat, norm': (lambda: Fwd(lambda s,x: s.fc(s.bn(torch.cat([s.a(x), s.b(x)], 1)).mean(-1)),
                                        a=conv(2,4), b=conv(2,4,9), bn=nn.BatchNorm1d(8), fc=nn.Linear(8,3)), 'bn'),
    'nested: outermost': (lambda: Fwd(lambda s,x: s.head(s.body(x)), body=nn.Sequential(nn.Sequential(conv(), nn.Sequential(nn.ReLU()))), head=head()), 'body'),
    'xcm': (XCM, 'last'),
    'strided': (lambda: tiny_cnn(2, 3, stride=4), '3'),
    'conv then lstm': (lambda: Fwd(lambda s,x: s.fc(s.rnn(s.b(x).transpose(1,2))[0][:,-1]), b=nn.Sequential(conv(), nn.ReLU()), rnn=nn.LSTM(8,8,batch_first=True), fc=nn.Linear(8,3)), 'b'),
    'tuple output': (lambda: Fwd(lambda s,x: (s.fc((h := s.b(x).mean(-1))), h), b=nn.Sequential(conv(), nn.ReLU()), fc=nn.Linear(8,3)), 'b'),
    'dict output': (lambda: Fwd(lambda s,x: {'logits':s.b(x)}, b=tiny_cnn(2,3)), 'b.3'),
    'one activation for convolutions and head': (lambda: Fwd(lambda s,x: s.g(s.act(s.f(s.act(s.c2(s.act(s.c1(x)))).mean(-1)))),
                                        c1=conv(), c2=conv(8), act=nn.ReLU(), f=nn.Linear(8,8), g=nn.Linear(8,3)), 'act'),
    'conv tokens, transformer as wide as the series is long': (lambda: Fwd(lambda s,x: s.fc(s.enc(s.emb(x).transpose(1,2)).mean(1)),
                                        emb=conv(2,40), enc=encoder(40), fc=nn.Linear(40,3)), 'emb'),
    'patches, transformer of fixed length': (lambda: Fwd(lambda s,x: s.fc(s.enc(s.emb(x).transpose(1,2)+s.pos).mean(1)),
                                        emb=nn.Conv1d(2,40,4,stride=4), pos=nn.Parameter(torch.randn(10,40)), enc=encoder(40), fc=nn.Linear(40,3)), 'emb'),
    'as many channels as steps': (lambda: nn.Sequential(nn.Sequential(conv(2,40), nn.ReLU()), nn.Sequential(conv(40,40), nn.ReLU()), head(40)), '1'),
    'as many channels as steps, fixed length': (lambda: nn.Sequential(nn.Sequential(conv(2,40), nn.ReLU()), nn.Flatten(), nn.Linear(1600,3)), '0'),
    'weight norm': (lambda: nn.Sequential(weight_norm(conv()), nn.ReLU(), head()), '1'),
    'checkpointed before': (lambda: Fwd(lambda s,x: s.b(checkpointing.checkpoint(s.a, x, use_reentrant=True)), a=nn.Sequential(conv(), nn.ReLU()), b=nn.Sequential(conv(8), nn.ReLU(), head())), 'b.1'),
}

@pytest.mark.parametrize('name', archs)
def test_find_layer(name):
    "The last layer over time that everything passes through (fault 9: a pooled layer; 10: integers only)"
    make,want = archs[name]
    model = make().eval()
    assert find_layer(model, None, x) is model.get_submodule(want)
    assert all(not o._forward_hooks for o in model.modules())
    if name in ('tuple output', 'dict output'): return
    attr = hires_cam(x, y, model)
    assert attr.shape==(5,1,40) and attr.isfinite().all() and attr.abs().max()>0

def test_find_layer_of_our_inception_time():
    from tsviz.models import inception_time
    model = inception_time(2, 3, nb_filters=4, bottleneck_size=4)
    assert find_layer(model, None, x) is model[5] and find_layer(model) is model[5]

def test_find_layer_shared_module_means_the_right_run():
    "One ReLU for convolutions and head: its last run is in the head, its last run over time is meant"
    model = archs['one activation for convolutions and head'][0]()
    a = model.act(model.c2(model.act(model.c1(x)))).detach()
    g = by_hand(lambda a: model.g(model.act(model.f(a.mean(-1)))), a, 1)
    close(hires_cam(x, 1, model), (a*g).sum(1, keepdim=True))
    with pytest.raises(ValueError, match=r'in run 2 of 3.*`call`'): hires_cam(x, 1, model, 'act')
    close(hires_cam(x, 1, model, 'act', call=1), (a*g).sum(1, keepdim=True))

def test_find_layer_warns_where_a_branch_goes_round():
    "LSTM-FCN: the convolutions are explained, the other branch is not, and that is said"
    model = Fwd(lambda s,x: s.fc(torch.cat([s.fcn(x).mean(-1), s.lstm(x)[0][:,-1]], 1)),
                fcn=nn.Sequential(conv(), nn.BatchNorm1d(8), nn.ReLU()), lstm=nn.LSTM(40,5,batch_first=True), fc=nn.Linear(13,3))
    with pytest.warns(UserWarning, match='the other branch is not'): assert find_layer(model, None, x) is model.fcn

@pytest.mark.parametrize('model,match', [
    (Fwd(lambda s,x: s.fc(s.rnn(x.transpose(1,2))[0][:,-1]), rnn=nn.LSTM(2,8,batch_first=True), fc=nn.Linear(8,3)), 'No `nn.Conv1d` ran.*pass `layer`'),
    (Fwd(lambda s,x: s.fc(s.enc(s.emb(x.transpose(1,2))).mean(1)), emb=nn.Linear(2,8), enc=encoder(8), fc=nn.Linear(8,3)), 'No `nn.Conv1d` ran.*pass `layer`'),
    (Fwd(lambda s,x: s.fc(F.relu(s.b(s.a(x))+s.short(x)).mean(-1)), a=conv(), b=conv(8), short=nn.Conv1d(2,8,1), fc=nn.Linear(8,3)), 'wrap it in a module, or pass `layer`'),
    (Fwd(lambda s,x: s.fc((s.a(x)+s.short(x)).mean(-1)), a=conv(), short=nn.Conv1d(2,8,1), fc=nn.Linear(8,3)), 'wrap it in a module'),
    (torch.jit.script(tiny_cnn(2,3)), 'scripted'),
    (Fwd(lambda s,x: None, a=conv()), 'no floating tensor'),
    (Fwd(lambda s,x: s.a(x).detach().mean(-1), a=conv()), 'switches gradients off'),
], ids=['lstm', 'transformer', 'bare residual and relu', 'bare residual', 'scripted', 'no output', 'detached output'])
def test_find_layer_refuses(model, match):
    with pytest.raises(ValueError, match=match): find_layer(model, None, x)

def test_find_layer_forms():
    "Fault 10: int, name, module, function; errors say what there is"
    net = nn.Sequential(nn.Sequential(conv(), nn.BatchNorm1d(8)), head())
    for form in (0, -2, np.int64(0), '0', net[0], lambda m: m[0], '_orig_mod.0'): assert find_layer(net, form) is net[0]
    assert find_layer(net, '0.1') is net[0][1] and find_layer(net, x=x[0]) is net[0]
    for bad,match in [(2,'out of range'), (-3,'out of range'), (True,'must be an int'), ('0.conv',"There is no layer '0.conv' in Sequential. There is '0'"), ('0.7',"Did you mean '0"),
                      (nn.ReLU(),'not a module of'), (lambda m: 3,'returns a module'), (1.5,'must be an int')]:
        with pytest.raises(ValueError, match=match): find_layer(net, bad)
    with pytest.raises(TypeError, match='pass `learn.model`'): find_layer(type('Learner', (), {'model':net})())

def test_find_layer_without_x():
    late = Fwd(lambda s,x: s.fc(s.late(s.first(x)).mean(-1)), late=nn.Conv1d(8,8,1), first=conv(), fc=nn.Linear(8,3)) # defined in another order than run
    with pytest.raises(ValueError, match='pass `x`'): find_layer(late)
    assert find_layer(late, None, x) is late.late
    with pytest.raises(ValueError, match='pass `x`'): find_layer(nn.Sequential(nn.Flatten(), nn.Linear(80,3)))

def test_find_layer_is_cached():
    "A second call runs nothing; another length, or a changed model, is looked at again; nothing keeps a model alive"
    model = tiny_cnn(2,3)
    with counted(model) as (sizes,_):
        find_layer(model, None, x); first = len(sizes)
        find_layer(model, None, x+1); find_layer(model, None, x[0]); assert len(sizes)==first>=1
        find_layer(model, None, x[...,:30]); second = len(sizes); assert second>first
        assert set(sizes)=={1}
        for _ in range(5): # new modules may lie where the old ones lay
            model[3] = nn.Sequential(nn.ReLU(), nn.Identity()); assert find_layer(model, None, x) is model[3]
            model[3] = nn.Conv1d(8,8,1); assert find_layer(model, None, x) is model[3]
            gc.collect()
        model.insert(4, nn.Conv1d(8,8,1)); assert find_layer(model, None, x) is model[4]
        model.pop(4); assert find_layer(model, None, x) is model[3]
    dead = weakref.ref(model)
    del model; gc.collect()
    assert dead() is None

def test_compiled_model_is_explained_eagerly():
    "`torch.compile` and `Module.compile`: the wrapped module runs, nothing is compiled, and the process's stance is as before"
    def never(*args): raise AssertionError('compiled')
    plain_model,whole = tiny_cnn(2,3),torch.compile(tiny_cnn(2,3), backend=never)
    inplace = tiny_cnn(2,3); inplace.compile(backend=never)
    part = tiny_cnn(2,3); part[0] = torch.compile(part[0], backend=never)
    want = grad_cam(x, y, plain_model)
    for model in (whole, inplace, part): close(grad_cam(x, y, model), want)
    assert find_layer(whole) is whole._orig_mod[3]
    close(grad_cam(x, y, part, layer=0), grad_cam(x, y, plain_model, layer=0))
    close(grad_cam(x, y, whole, '_orig_mod.3'), want)
    assert compiles()
    go,last = threading.Barrier(2, timeout=20),threading.Event() # the first in is the first out, while the other is still inside
    def work(model, late):
        with explaining(model):
            go.wait()
            if late:
                assert last.wait(20) and not compiles()
        last.set()
    run_threads([lambda: work(part, False), lambda: work(inplace, True)])
    assert compiles()

def compiles():
    seen = []
    torch.compile(lambda t: t+1, backend=lambda gm,_: seen.append(1) or gm.forward)(torch.ones(2))
    return len(seen)==1

# ---- state

class Busy(nn.Module):
    "Changes its buffers in eval mode: one in place, one by putting another tensor there, one that did not exist"
    def __init__(self):
        super().__init__()
        self.register_buffer('n', torch.zeros(())); self.register_buffer('last', torch.zeros(3)); self.register_buffer('cache', None)
    def forward(self, x):
        self.n += 1
        self.last = x.detach().mean((0,2))
        if self.cache is None: self.cache = x.detach()[0]
        return x

class Boom(nn.Module):
    def __init__(self, e): super().__init__(); self.e = e
    def forward(self, x): raise self.e

class Stop(BaseException): pass

def mixed(tail=None):
    "Flags, `requires_grad`, `.grad`, buffers and hooks that all differ from what explaining needs"
    model = nn.Sequential(conv(), nn.BatchNorm1d(8), nn.ReLU(), Busy(), nn.Dropout(.5), conv(8,8), nn.BatchNorm1d(8), nn.ReLU(True), head(), tail or nn.Identity())
    model.train(); model[1].eval(); model[8].eval()
    model[0].weight.requires_grad_(False)
    model[5].bias.grad = torch.full((8,), 7.); model[0].bias.grad = torch.ones(8)
    model[2].register_forward_hook(lambda m,i,o: None); model[2].register_full_backward_hook(lambda m,i,o: None)
    return model

def everything(model):
    return model_state(model), [id(o) for o in model.buffers()], [id(o.grad) for o in model.parameters()], [type(o) for o in model.modules()], model[3].cache

def same(a, b):
    if isinstance(a, Tensor): return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict): return a.keys()==b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list,tuple)): return len(a)==len(b) and all(same(p,q) for p,q in zip(a,b))
    return a==b

def rng(): return torch.get_rng_state(), str(np.random.get_state()), random.getstate(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()

uses = {'call': lambda f: f(x), 'grad': lambda f: f.grad(x), 'acts': lambda f: f.acts(x), 'acts_grads': lambda f: f.acts_grads(x), 'find': lambda f: find_layer(f.model, None, x)}

@pytest.mark.parametrize('use', uses)
@pytest.mark.parametrize('error', [None, ArithmeticError('x'), Stop()], ids=['well', 'raises', 'interrupted'])
def test_model_is_left_as_found(use, error):
    "Fault 13: flags, requires_grad, .grad (the very tensors), buffers, hooks, random state, also when the model raises"
    model = mixed(error and Boom(error))
    before,state = everything(model),rng()
    f = TargetScore(model, 0, None if use=='find' else 5)
    if error:
        with pytest.raises(type(error)): uses[use](f)
    else: uses[use](f)
    assert same(everything(model), before) and same(rng(), state)
    assert model[5].bias.grad[0]==7

def test_as_found_when_a_hook_raises():
    model = mixed()
    bad = model[5].register_forward_hook(lambda m,i,o: 1/0)
    before = everything(model)
    for use in uses.values():
        with pytest.raises(ZeroDivisionError): use(TargetScore(model, 0, 5))
    with pytest.raises(ZeroDivisionError): TargetScore(tiny_cnn(2,3), lambda out: 1/0, 2).acts_grads(x)
    assert same(everything(model), before)
    bad.remove()

def test_no_work_of_a_module_is_triggered():
    "A module may override `train` with work that setting the flag back does not undo (merged low-rank weights)"
    class Merges(nn.Conv1d):
        def train(self, mode=True):
            super().train(mode)
            with torch.no_grad(): self.weight.add_(1)
            return self
    model = nn.Sequential(Merges(2,4,3), head(4))
    before = model_state(model)
    grad_cam(x, 0, model)
    assert same(model_state(model), before)

def test_random_state_with_a_model_that_draws():
    model = Fwd(lambda s,x: s.b(F.dropout(x, .3, training=True)+np.random.rand()+random.random()), b=tiny_cnn(2,3))
    state = rng()
    for use in uses.values(): use(TargetScore(model, 0, 'b.3'))
    assert same(rng(), state)
    a,b = (TargetScore(model, 0, 'b.3').acts_grads(x) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert not torch.equal(model(x), model(x))

def test_input_is_not_modified():
    model = Fwd(lambda s,x: s.b(x.mul_(3).add_(1)), b=tiny_cnn(2,3))
    mine = x.clone()
    for use in uses.values(): use(TargetScore(model, 0, 'b.2'))
    assert torch.equal(mine, x)
    g = TargetScore(model, 0).grad(x)
    close(g, 3*TargetScore(model.b, 0).grad(3*x+1))

# ---- cost: no graph before the layer, one pass

def test_no_graph_before_the_layer():
    "Contract 3, counted: no module before the layer has a node, and no node reached from the score belongs to one"
    model,nodes,ends = tiny_cnn(2,3),[],[]
    for i,m in enumerate(model): m.register_forward_hook(lambda m,i,o,n=i: nodes.append((n, o.grad_fn)))
    def score(out): ends.append(out.grad_fn); return out[:,0]
    TargetScore(model, score, 2).acts_grads(x)
    assert [(n, o is None) for n,o in nodes] == [(0,True),(1,True),(2,True),(3,False),(4,False),(5,False),(6,False)] # this hook on the layer runs before ours
    graph = _walk(ends[0])
    leaves = [o for o in graph if o.name().endswith('AccumulateGrad')]
    assert len(leaves)==1 and leaves[0].variable.shape==(5,8,40) and not any('Conv' in o.name() for o in graph)

def _walk(end):
    todo,seen = [end],[]
    while todo:
        if (o := todo.pop()) is None or o in seen: continue
        seen.append(o); todo += [p for p,_ in o.next_functions]
    return seen

def test_one_batched_pass():
    "Fault 17: one forward and one backward a batch, not a series"
    model = tiny_cnn(2,3)
    find_layer(model, None, x)
    for kw in (dict(layer=2), dict(layer=None)):
        for target in (0, y, None, prob(1)):
            with counted(model) as (sizes,grads): grad_cam(x, target, model, **kw)
            assert sizes==[5] and len(grads)==1
    for use,n in (('call',0), ('grad',1), ('acts',0), ('acts_grads',1)):
        with counted(model) as (sizes,grads): uses[use](TargetScore(model, None, 2))
        assert sizes==[5] and len(grads)==n

# ---- in place

def relus(kind):
    c1,c2,fc = conv(),conv(8),nn.Linear(8,3)
    r = nn.ReLU(kind.startswith('in-place'))
    f = {'module':r, 'in-place module':r, 'functional':F.relu, 'in-place functional':lambda h: F.relu(h, inplace=True), 'relu_':Tensor.relu_, 'dropped relu_':None, 'in-place dropped':None}[kind]
    def forward(s, x):
        h = s.c2(s.c1(x))
        if kind=='dropped relu_': h.relu_()
        elif kind=='in-place dropped': s.r(h)
        else: h = f(h)
        return s.fc(h.pow(2).mean(-1))
    return Fwd(forward, c1=c1, c2=c2, fc=fc, r=r)

@pytest.mark.parametrize('kind', ['module', 'in-place module', 'functional', 'in-place functional', 'relu_', 'dropped relu_', 'in-place dropped'])
def test_relu_after_the_layer(kind):
    "Fault 14: the layer's activations are not those that an in-place ReLU left"
    model = relus(kind)
    a,g = TargetScore(model, 1, 'c2').acts_grads(x)
    want = model.c2(model.c1(x)).detach()
    assert (want<0).any() and torch.equal(a, want) and torch.equal(TargetScore(model, 1, 'c2').acts(x), want)
    close(g, by_hand(lambda a: model.fc(a.relu().pow(2).mean(-1)), want, 1))

@pytest.mark.parametrize('kind', ['module', 'in-place module', 'in-place dropped'])
def test_relu_as_the_layer(kind):
    "In place and its result dropped by the model: the input is the output"
    model = relus(kind)
    a,g = TargetScore(model, 1, 'r').acts_grads(x)
    want = model.c2(model.c1(x)).relu().detach()
    assert torch.equal(a, want)
    close(g, by_hand(lambda a: model.fc(a.pow(2).mean(-1)), want, 1))

@pytest.mark.parametrize('wrap', [lambda r: r, nn.Sequential], ids=['bare', 'in a block'])
def test_input_of_an_inplace_relu_used_again(wrap):
    "h = conv(x); r = relu_(h): h and r are one tensor, and what comes later depends on it through both names"
    model = Fwd(lambda s,x: s.fc(((h := s.c(x)), s.r(h)*h)[1].mean(-1)), c=conv(), r=wrap(nn.ReLU(True)), fc=nn.Linear(8,3))
    a,g = TargetScore(model, 1, 'r').acts_grads(x)
    want = model.c(x).relu().detach()
    assert torch.equal(a, want) and torch.equal(TargetScore(model, 1, 'r').acts(x), want)
    close(g, by_hand(lambda a: model.fc((a*a).mean(-1)), want, 1))
    a,g = TargetScore(model, 1, 'c').acts_grads(x)
    assert torch.equal(a, model.c(x).detach())
    close(g, by_hand(lambda a: model.fc(a.relu().pow(2).mean(-1)), a, 1))

def test_call_says_which_run():
    "A shared ReLU: its last run unless `call=` says which"
    model = Fwd(lambda s,x: s.fc(s.r(s.c2(s.r(s.c1(x)))).mean(-1)), c1=conv(), c2=conv(8,4), r=nn.ReLU(True), fc=nn.Linear(4,3))
    h1 = model.c1(x).relu().detach(); h2 = model.c2(h1).relu().detach()
    for call,want,head in ((0,h1,lambda a: model.fc(model.c2(a).relu().mean(-1))), (1,h2,lambda a: model.fc(a.mean(-1))), (-1,h2,lambda a: model.fc(a.mean(-1)))):
        a,g = TargetScore(model, 1, LayerRun('r', call)).acts_grads(x)
        assert torch.equal(a, want); close(g, by_hand(head, want, 1))
        close(hires_cam(x, 1, model, 'r', call=call), (a*g).sum(1, keepdim=True))
    with pytest.raises(ValueError, match='ran 2 times, there is no run 2: pass a `call` from 0 to 1'): hires_cam(x, 1, model, 'r', call=2)
    for bad in (-2, 1.5, 'a', True):
        with pytest.raises(ValueError, match='`call` must be'): hires_cam(x, 1, model, 'r', call=bad)

@pytest.mark.parametrize('layer', [nn.Identity(), nn.Dropout(.5)], ids=['identity', 'dropout'])
@pytest.mark.parametrize('by_name', [False, True])
def test_layer_that_hands_on_its_input(layer, by_name):
    "Its output is its input: what happens to that later, in place, does not reach the activations"
    call = (lambda m,h: m(input=h)) if by_name else (lambda m,h: m(h))
    def forward(s, x):
        h = s.c(x); z = call(s.i, h)
        out = z.mean(-1)
        h.relu_()
        return s.fc(out)
    model = Fwd(forward, c=conv(), i=layer, fc=nn.Linear(8,3))
    want = model.c(x).detach()
    a,g = TargetScore(model, 1, 'i').acts_grads(x)
    assert torch.equal(a, want) and torch.equal(TargetScore(model, 1, 'i').acts(x), want)
    close(g, by_hand(lambda a: model.fc(a.mean(-1)), want, 1))

# ---- a model's own grad-off blocks

off = pytest.mark.parametrize('block', [torch.no_grad, torch.inference_mode], ids=['no_grad', 'inference_mode'])

@off
def test_grad_off_before_and_around_the_layer(block):
    def forward(s, x):
        with block(): h = s.b[1](s.b[0](x))
        return s.b[3:](s.b[2](h))
    def around(s, x):
        with block(): h = s.b[2](s.b[1](s.b[0](x)))
        return s.b[3:](h)
    def product(s, x): # a value from the block meets the gradient
        with block(): h = s.b[1](s.b[0](x))
        return s.b[4:](s.b[3](s.b[2](h))*h)
    net = tiny_cnn(2,3)
    for fn in (forward, around): close(hires_cam(x, 1, Fwd(fn, b=net), 'b.2'), hires_cam(x, 1, net, 2))
    a = net[:3](x).detach(); h = net[:2](x).detach()
    g = by_hand(lambda a: net[4:](a.relu()*h), a, 1)
    close(hires_cam(x, 1, Fwd(product, b=net), 'b.2'), (a*g).sum(1, keepdim=True))

@off
def test_grad_off_after_the_layer_is_refused(block):
    def whole(s, x):
        h = s.b[:3](x)
        with block(): h = s.b[3:](h)
        return h
    def residual(s, x): # part of the score is cut, part is not
        h = s.b[:3](x)
        with block(): r = h.tanh()
        return s.b[3:](h+r)
    def gate(s, x):
        h = s.b[:3](x)
        with block(): w = h.mean(-1, keepdim=True).sigmoid()
        return s.b[3:](h*(2*w))
    def written(s, x): # in place, so that nothing new is made
        h = s.b[:3](x)+0
        with torch.no_grad(): h[:,0] = 0
        return s.b[3:](h)
    def view(s, x):
        h = s.b[:3](x)+0
        with torch.no_grad(): h[:,0].zero_()
        return s.b[3:](h)
    def spectrum(s, x): # a complex value carries it
        h = s.b[:3](x)
        with block(): z = torch.fft.rfft(h)
        return s.b[3:](h+torch.fft.irfft(z*1))
    for fn in (whole, residual, gate, written, view, spectrum):
        model = Fwd(fn, b=tiny_cnn(2,3))
        before = model_state(model)
        with pytest.raises(ValueError, match='switches gradients off'): hires_cam(x, 1, model, 'b.2')
        with pytest.raises(ValueError, match='switches gradients off'): TargetScore(model, 1).grad(x)
        with pytest.raises(ValueError, match='switches gradients off'): find_layer(model, None, x)
        assert TargetScore(model, 1, 'b.2').acts(x).shape==(5,8,40) and TargetScore(model, 1)(x).shape==(5,)
        assert same(model_state(model), before)
    def twice(s, x): # a shared module: what is cut between its runs comes before the last
        h = s.b[3](s.b[0](x))
        with block(): t = h.tanh()
        return s.b[4:](s.b[3](s.b[2](t))+t)
    again = Fwd(twice, b=tiny_cnn(2,3))
    t = again.b[3](again.b[0](x)).tanh().detach(); a = again.b[2](t).relu().detach()
    close(hires_cam(x, 1, again, 'b.3'), (a*by_hand(lambda a: again.b[4:](a+t), a, 1)).sum(1, keepdim=True))
    decorated = Fwd(block()(lambda s,x: s.b(x)), b=tiny_cnn(2,3))
    with pytest.raises(ValueError, match='switches gradients off'): hires_cam(x, 1, decorated, 'b.2')

@off
def test_grad_off_for_logging_only_does_not_count(block):
    def forward(s, x):
        h = s.b[:3](x)
        with block(): norm,mean = h.norm(),h.mean((0,2))
        s.log = (norm.item(), norm.shape, float(norm*2), mean.clone().tolist())
        s.seen = mean+1
        return s.b[3:](h)
    model = Fwd(forward, b=tiny_cnn(2,3))
    close(hires_cam(x, 1, model, 'b.2'), hires_cam(x, 1, model.b, 2))
    close(TargetScore(model, 1).grad(x), TargetScore(model.b, 1).grad(x))
    assert find_layer(model, None, x) is model.b[3]

def test_detach_by_name_is_the_models_own_word():
    model = Fwd(lambda s,x: s.b[3:]((h := s.b[:3](x))*h.detach().mean(-1, keepdim=True).sigmoid()), b=tiny_cnn(2,3))
    a = model.b[:3](x).detach()
    g = by_hand(lambda h: model.b[3:](h*a.mean(-1, keepdim=True).sigmoid()), a, 1)
    close(hires_cam(x, 1, model, 'b.2'), (a*g).sum(1, keepdim=True))

class Swish(torch.autograd.Function):
    "Saves memory, as some libraries' activations do: its forward runs with gradients off"
    @staticmethod
    def forward(ctx, x): ctx.save_for_backward(x); return x*torch.sigmoid(x)
    @staticmethod
    def backward(ctx, g): x, = ctx.saved_tensors; s = x.sigmoid(); return g*(s+x*s*(1-s))

def test_custom_autograd_function_is_no_cut():
    model = Fwd(lambda s,x: s.fc(Swish.apply(s.b(x)).mean(-1)), b=conv(), fc=nn.Linear(8,3))
    assert find_layer(model, None, x) is model.b
    a = model.b(x).detach()
    close(hires_cam(x, 1, model), (a*by_hand(lambda a: model.fc(F.silu(a).mean(-1)), a, 1)).sum(1, keepdim=True), 1e-5)

@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointed(reentrant):
    "Before the layer harmless; the layer itself refused; after it right or refused in one sentence"
    def make(at):
        def forward(s, x):
            for i in range(4): x = checkpointing.checkpoint(s.b[i], x, use_reentrant=reentrant) if i==at else s.b[i](x)
            return s.b[4:](x)
        return Fwd(forward, b=tiny_cnn(2,3))
    want = hires_cam(x, 1, tiny_cnn(2,3), 2)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # torch's own, about inputs that need no gradient
        close(hires_cam(x, 1, make(0), 'b.2'), want)
        with pytest.raises(ValueError, match=r'torch.utils.checkpoint.*switch checkpointing off'): hires_cam(x, 1, make(2), 'b.2')
        if reentrant:
            with pytest.raises(ValueError, match='switch checkpointing off'): hires_cam(x, 1, make(3), 'b.2')
        else: close(hires_cam(x, 1, make(3), 'b.2'), want)

def test_file_called_checkpoint_is_no_checkpoint(tmp_path):
    "A user's own torch/checkpoint.py may call us"
    (tmp_path/'torch').mkdir()
    code = compile('def go(f): return f()', str(tmp_path/'torch'/'checkpoint.py'), 'exec')
    ns = {}; exec(code, ns)
    close(ns['go'](lambda: hires_cam(x, 1, tiny_cnn(2,3), 2)), hires_cam(x, 1, tiny_cnn(2,3), 2))

# ---- layers that cannot be explained

class Tuple(nn.Module):
    def forward(self, x): return x,x

@pytest.mark.parametrize('model,layer,match', [
    (Fwd(lambda s,x: s.fc(s.rnn(x.transpose(1,2))[0].mean(1)), rnn=nn.LSTM(2,8,batch_first=True), fc=nn.Linear(8,3)), 'rnn', 'returns a tuple'),
    (Fwd(lambda s,x: s.b(s.t(x)[0]), t=Tuple(), b=tiny_cnn(2,3)), 't', 'returns a tuple'),
    (Fwd(lambda s,x: s.b(x), b=tiny_cnn(2,3), spare=conv()), 'spare', 'did not run'),
    (tiny_cnn(2,3), 5, r'gives \(5, 8\) for 5 items, not \(B,K,L\): pass a `layer` before the time axis is pooled away'),
    (nn.Sequential(torch.jit.script(conv()), head()), 0, 'scripted'),
    (Fwd(lambda s,x: (s.c(x), s.b(x))[1], c=conv(), b=tiny_cnn(2,3)), 'c', 'depend'),
], ids=['lstm', 'tuple', 'did not run', 'after pooling', 'scripted', 'dropped'])
def test_layer_refused(model, layer, match):
    before = model_state(model)
    with pytest.raises(ValueError, match=match): grad_cam(x, 1, model, layer)
    assert same(model_state(model), before)

# ---- targets

class TensorCategory(Tensor): pass

def targets():
    from fastai.torch_core import TensorCategory as fastai_category
    for form in (lambda c: c, lambda c: c.numpy(), lambda c: c.tolist(), lambda c: tuple(c.tolist()), lambda c: c.int(), lambda c: c.to(torch.uint8),
                 lambda c: c.numpy().astype(np.uint16), lambda c: c.as_subclass(TensorCategory), lambda c: fastai_category(c), lambda c: Target(c),
                 lambda c: (lambda out: out[torch.arange(5), c])): yield form

@pytest.mark.parametrize('i,form', list(enumerate(targets())))
def test_forms_of_y(i, form):
    model = tiny_cnn(2,3)
    want = model(x).gather(1, y[:,None])[:,0].detach()
    close(TargetScore(model, form(y))(x), want)
    close(TargetScore(model, form(y), 2).acts_grads(x)[1], by_hand(model[3:], model[:3](x), y))

def test_one_class_for_all_and_the_predicted():
    model = tiny_cnn(2,3); out = model(x).detach(); c = out.argmax(1)
    for one in (1, np.int64(1), torch.tensor(1), np.array(1)): close(TargetScore(model, one)(x), out[:,1])
    f = TargetScore(model); close(f(x), out.max(1).values)
    close(f(-x), model(-x).detach().gather(1, c[:,None])[:,0]) # held
    for wrap,of in ((prob, out.softmax(1)), (logprob, out.log_softmax(1))):
        close(TargetScore(model, wrap(2))(x), of[:,2]); close(TargetScore(model, wrap(y))(x), of.gather(1, y[:,None])[:,0]); close(TargetScore(model, wrap())(x), of.max(1).values)
    p = model[:3](x).detach().requires_grad_()
    close(TargetScore(model, prob(2), 2).acts_grads(x)[1], torch.autograd.grad(model[3:](p).softmax(1)[:,2].sum(), p)[0])

def test_items_index_and_repeat_the_classes():
    "Rows that are copies of items say by `items` to which each belongs"
    model = tiny_cnn(2,3); items = torch.tensor([4,4,0,2,2,2,1])
    for wrap in (lambda c: c, prob, logprob):
        close(TargetScore(model, wrap(y))(x[items], items), TargetScore(model, wrap(y))(x)[items])
        close(TargetScore(model, wrap(None)).hold(x).grad(x[items], items), TargetScore(model, wrap(None)).grad(x)[items])
    close(TargetScore(model, 1)(x[items], items), TargetScore(model, 1)(x)[items])

@pytest.mark.parametrize('bad,match', [
    ([0,1], '2 classes for 5 items'), (torch.tensor([1]), '1 classes for 5 items'), (3, 'class 3 is out of range: the model has 3 outputs, 0 to 2'), (-1, 'class -1 is out of range'), ([0,1,2,3,0], 'class 3 is out of range'),
    (1., 'must be None, an int'), (True, 'must be None, an int'), (np.float32(1), 'must be None, an int'), ([.5]*5, 'must be None, an int'),
    (torch.ones(5, dtype=torch.bool), 'must be None, an int'), (y[:,None], 'must be None, an int'), ('Gun', "got 'Gun'"), (['a']*5, 'must be None, an int'),
    ([None]*5, 'must be None, an int'), ([[1],[1,2]], 'must be None, an int'), (lambda out: out, r'one number an item, a tensor \(5,\), got shape \(5, 3\)'),
    (lambda out: 3., 'got float'), (lambda out: out.sum(), r'got shape \(\)'), (lambda out: out[:2,0], r'got shape \(2,\)'), (lambda out: out[:,0].detach(), 'does not depend'),
    (prob([0,1]), '2 classes for 5 items'), (prob(5), 'out of range')])
def test_bad_y(bad, match):
    model = tiny_cnn(2,3); before = model_state(model)
    with pytest.raises(ValueError, match=match): grad_cam(x, bad, model, 2)
    assert same(model_state(model), before)

@pytest.mark.parametrize('squeeze', [False, True])
def test_models_with_one_output(squeeze):
    base = tiny_cnn(2,1); model = Fwd(lambda s,x: s.b(x).squeeze(1) if squeeze else s.b(x), b=base)
    want = base(x)[:,0].detach()
    for c in (None, 0, [0]*5): close(TargetScore(model, c)(x), want)
    close(TargetScore(model, None, 'b.2').acts_grads(x)[1], by_hand(base[3:], base[:3](x), 0))
    with pytest.raises(ValueError, match='the model has 1 output, 0 to 0'): TargetScore(model, 1)(x)
    with pytest.raises(ValueError, match='softmax is always 1'): TargetScore(model, prob())(x)

def test_output_that_lost_its_batch_axis():
    "`.squeeze()` on a batch of one: three classes are not three items"
    model = Fwd(lambda s,x: s.b(x).squeeze(), b=tiny_cnn(2,3))
    close(TargetScore(model)(x), TargetScore(model.b)(x))
    for c in (None, 0, [1]):
        with pytest.raises(ValueError, match=r'got shape \(3,\) for 1 items'): TargetScore(model, c).acts_grads(x[:1])
        for a,b in zip(TargetScore(model, c, 'b.2').acts_grads(x[:1]), TargetScore(model.b, c, 2).acts_grads(x[:1])): close(a, b) # there it runs as two rows

def test_outputs_that_need_a_function():
    base = tiny_cnn(2,3)
    for forward,pick in ((lambda s,x: (s.b(x),x), lambda o: o[0][:,1]), (lambda s,x: {'a':s.b(x)}, lambda o: o['a'][:,1]), (lambda s,x: s.b(x)[:,:,None], lambda o: o[:,1,0])):
        model = Fwd(forward, b=base)
        close(grad_cam(x, pick, model, 'b.3'), grad_cam(x, 1, base, 3))
        with pytest.raises(ValueError, match='pass a function of the output as `y`'): TargetScore(model, 1)(x)

def test_tensor_subclasses_are_stripped():
    "Contract 1: TensorTS-like x, TensorCategory-like y and outputs that are subclasses"
    from fastai.torch_core import TensorBase, TensorCategory as fastai_category
    class TensorTS(TensorBase): pass
    class Out(nn.Module):
        def forward(self, o): return o.as_subclass(TensorTS)
    base = tiny_cnn(2,3); model = nn.Sequential(*base, Out())
    f,want = TargetScore(model, fastai_category(y), 2),TargetScore(base, y, 2)
    for got,ref in zip((f(TensorTS(x)), f.grad(TensorTS(x)), f.acts(TensorTS(x)), *f.acts_grads(TensorTS(x))), (want(x), want.grad(x), want.acts(x), *want.acts_grads(x))):
        assert type(got) is Tensor; close(got, ref)

def test_layer_whose_output_is_a_subclass():
    class TensorTS(Tensor): pass
    class Wraps(nn.Conv1d):
        def forward(self, h): return super().forward(h).as_subclass(TensorTS)
    model = nn.Sequential(Wraps(2,8,3), head())
    a,g = TargetScore(model, 1, 0).acts_grads(x)
    assert type(a) is type(g) is Tensor and torch.equal(a, model[0](x).as_subclass(Tensor))

# ---- modes, precision, freezing

def test_grad_modes_of_the_caller():
    model = tiny_cnn(2,3); f = lambda: TargetScore(model, y, 2)
    want = (f()(x), f().grad(x), f().acts(x), *f().acts_grads(x))
    fresh = {o:tiny_cnn(2,3) for o in (torch.no_grad, torch.inference_mode, torch.enable_grad)}
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            mine,mine_y = x*1,y*1 # made in that mode
            got = [TargetScore(model, mine_y, 2)(mine), TargetScore(model, mine_y, 2).grad(mine), TargetScore(model, mine_y, 2).acts(mine), *TargetScore(model, prob(mine_y), 2).acts_grads(mine)]
            assert TargetScore(model, y=None).hold(mine).y.c.shape==(5,)
            assert find_layer(fresh[mode], None, mine) is fresh[mode][3]
        for a,b in zip(got[:4], want): assert torch.equal(a, b) and not a.requires_grad
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    held = TargetScore(model)
    with torch.inference_mode(): held(x)
    held.acts_grads(x) # the class found there is used outside

def test_autocast_of_the_caller_is_off_inside():
    model = tiny_cnn(2,3); want = TargetScore(model, y, 2).acts_grads(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = TargetScore(model, y, 2).acts_grads(x)
        assert torch.is_autocast_enabled('cpu') and model(x).dtype==torch.bfloat16
    for a,b in zip(got, want): assert torch.equal(a, b)

def test_double_and_bfloat16_models():
    base = tiny_cnn(2,3)
    a = grad_cam(x, y, copy.deepcopy(base).double()); assert a.dtype==torch.float64; close(a, grad_cam(x, y, base).double(), 1e-4)
    a = grad_cam(x, y, copy.deepcopy(base).bfloat16()); assert a.dtype==torch.bfloat16; close(a.float(), grad_cam(x, y, base), .1)

@pytest.mark.parametrize('frozen', ['all', 'first', 'last'])
def test_frozen_models(frozen):
    model = tiny_cnn(2,3); want = TargetScore(model, y, 2).acts_grads(x)[1]; wantg = TargetScore(model, y).grad(x)
    for o in {'all':model, 'first':model[0], 'last':model[6]}[frozen].parameters(): o.requires_grad_(False)
    need = [o.requires_grad for o in model.parameters()]
    close(TargetScore(model, y, 2).acts_grads(x)[1], want); close(TargetScore(model, y).grad(x), wantg)
    assert [o.requires_grad for o in model.parameters()]==need

def test_model_made_in_inference_mode():
    with torch.inference_mode(): model = tiny_cnn(2,3)
    with pytest.raises(ValueError, match='copy.deepcopy'): grad_cam(x, y, model)
    close(grad_cam(x, y, copy.deepcopy(model)), grad_cam(x, y, tiny_cnn(2,3)))

def test_buffers_made_in_inference_mode():
    "A cache filled while predicting under inference_mode is an inference tensor: it may change inside and is put back"
    model = nn.Sequential(Busy(), *tiny_cnn(2,3))
    with torch.inference_mode(): model(x)
    before = [o.clone() for o in model[0].buffers()]
    grad_cam(x+1, y, model, 3)
    assert all(torch.equal(a, b) for a,b in zip(before, model[0].buffers()))

def test_parametrised_model():
    model = nn.Sequential(weight_norm(conv()), nn.ReLU(), weight_norm(conv(8,8)), head())
    before = model_state(model)
    a,g = TargetScore(model, y, 2).acts_grads(x)
    close(a, model[:3](x).detach()); close(g, by_hand(model[3:], a, y))
    assert same(model_state(model), before)

# ---- nesting and threads

def test_nested_explaining():
    model = mixed(); before = everything(model)
    with explaining(model):
        with torch.no_grad(), explaining(model):
            assert torch.is_grad_enabled() and not model[0].training
            hires_cam(x, 0, model, 5)
        assert not any(o.training for o in model.modules()) and not any(o.requires_grad for o in model.parameters())
        with pytest.raises(ArithmeticError):
            with explaining(model): raise ArithmeticError
        assert not model[0].training
    assert same(everything(model), before)
    with explaining(model, freeze=False): # a user's own function may need the parameters; what we run inside it does not
        assert model[5].weight.requires_grad and model[5].bias.grad is None
        with explaining(model): assert not model[5].weight.requires_grad
        assert model[5].weight.requires_grad and not model[0].weight.requires_grad
        model[8](torch.randn(2,8,5)).sum().backward()
    assert same(everything(model), before)

def test_two_models_nested():
    a,b = mixed(),mixed(); before = everything(a),everything(b)
    with explaining(a):
        with explaining(b): hires_cam(x, 0, a, 5); hires_cam(x, 0, b, 5)
        assert b.training and not a.training
    assert same((everything(a),everything(b)), before)

def run_threads(fns):
    errors = []
    def guard(f):
        try: f()
        except BaseException as e: errors.append(e)
    ts = [threading.Thread(target=guard, args=(f,)) for f in fns]
    for t in ts: t.start()
    for t in ts: t.join()
    if errors: raise errors[0]

def test_four_threads_one_model():
    "Contract 8: the serial result, and everything as found"
    model = nn.Sequential(conv(2,16,9), nn.ReLU(True), nn.Dropout(.5), conv(16,16,9), nn.BatchNorm1d(16), nn.ReLU(True), head(16)).train()
    state = model_state(model)
    want,got = [hires_cam(x[i:i+2], y[i:i+2], model, 3) for i in range(4)],[[] for _ in range(4)]
    def work(i): got[i] += [hires_cam(x[i:i+2], y[i:i+2], model, 3) for _ in range(15)]
    run_threads([lambda i=i: work(i) for i in range(4)])
    assert all(torch.equal(a, b) for g,b in zip(got, want) for a in g) and all(len(o)==15 for o in got)
    assert same(model_state(model), state)

def test_a_thread_that_predicts_meanwhile():
    "It is neither disturbed in its output nor tapped"
    class Slow(nn.Module):
        def forward(self, h): threading.Event().wait(.005); return h
    model = nn.Sequential(conv(), Slow(), nn.ReLU(), Slow(), head()).eval()
    other = -2*x[:3]
    want_map,want_out = hires_cam(x, y, model, 0),model(other).detach()
    maps,outs,layers = [],[],[]
    run_threads([lambda: maps.extend(hires_cam(x, y, model, 0) for _ in range(15)), lambda: outs.extend(model(other).detach() for _ in range(25)),
                 lambda: layers.extend(find_layer(model, None, x[...,:20+i]) for i in range(8))])
    assert all(torch.equal(o, want_map) for o in maps) and all(torch.equal(o, want_out) for o in outs)
    assert all(o is model[2] for o in layers)

def test_wrong_channels_and_the_models_own_errors():
    with pytest.raises(ValueError, match='`x` has 3 channels, Sequential takes 2'): grad_cam(torch.zeros(2,3,40), 0, tiny_cnn(2,3))
    late = Fwd(lambda s,x: s.boom(x), c=conv(8,8), boom=Boom(RuntimeError('boom')))
    with pytest.raises(RuntimeError, match='boom'): TargetScore(late, 0)(x)

# ---- a batch of one

class Forms(nn.Module):
    "A network whose output comes in several forms, and which notes the rows it saw"
    def __init__(self, form): super().__init__(); self.net,self.form,self.rows = tiny_cnn(2,3),form,[]
    def forward(self, x):
        self.rows.append(len(x))
        return self.form(self.net(x))

@pytest.mark.parametrize('form,y,rows', [(lambda o: o, 0, [2]), (lambda o: (o,o), lambda o: o[1][:,0], [2]), (lambda o: dict(a=o), lambda o: o['a'][:,0], [2]),
                                         (lambda o: SimpleNamespace(a=o), lambda o: o.a[:,0], [2,1]), (lambda o: (o,None), lambda o: o[0][:,0], [2,1]),
                                         (lambda o: (o,o.sum()), lambda o: o[0][:,0], [2,1])])
def test_a_batch_of_one_is_scored_like_any_other(form, y, rows):
    "It runs as two equal rows, whose numbers are those of a larger batch; where the output cannot be cut back to one row it runs as it is"
    model,x = Forms(form).eval(),torch.randn(5,2,40, generator=torch.Generator().manual_seed(0))
    want = TargetScore(model, y)(x)
    model.rows.clear()
    got = TargetScore(model, y)(x[:1])
    assert model.rows==rows and got.shape==(1,) and (got-want[:1]).abs()<=(0 if rows==[2] else 1e-6)

def test_scores_do_not_depend_on_the_number_of_rows():
    "Bit for bit, on a real network"
    from tsviz.models import inception_time
    model,x = inception_time(1,2).eval(),torch.randn(9,1,150)
    f = TargetScore(model, 0)
    for n in (1,2,5): assert torch.equal(f(x[:n]), f(x)[:n])

@pytest.mark.parametrize('net', ['inception_time','resnet1d'])
def test_gradients_do_not_depend_on_the_number_of_rows(net):
    "Bit for bit: at the series, and at a layer with ReLUs and pooling after it"
    import tsviz.models as models
    model,x = getattr(models, net)(1,2).eval(),torch.randn(7,1,150)
    first = next(n for n,o in model.named_modules() if isinstance(o, nn.ReLU))
    want,(a,g) = TargetScore(model, 0).grad(x),TargetScore(model, 0, first).acts_grads(x)
    for n in (1,2,5):
        assert torch.equal(TargetScore(model, 0).grad(x[:n]), want[:n])
        b,h = TargetScore(model, 0, first).acts_grads(x[:n])
        assert torch.equal(b, a[:n]) and torch.equal(h, g[:n])
    f = TargetScore(model, [1,0,1,0,1,0,1], first).hold(x) # a class for each item, one item of them
    assert torch.equal(f.acts_grads(x[3:4], torch.tensor([3]))[1], f.acts_grads(x[2:4], torch.tensor([2,3]))[1][1:])
