"Gradient methods against captum, brute force and calculations by hand"
import copy, threading, warnings
from contextlib import nullcontext
import numpy as np, pytest, torch, torch.nn as nn, torch.nn.functional as F, tsviz.core as core
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam, InputXGradient, IntegratedGradients, Saliency
from hypothesis import given, settings, strategies as st
from common import says
from tsviz.cam import grad_cam
from tsviz.core import QuickConvs, find_baseline, opposite, pass_steps, prob
from tsviz.gradient import (deconvnet, expected_grads, gradient, guided_backprop, guided_grad_cam, input_x_grad, integrated_grads, path_rules, saliency,
                            smooth_grad, _spread)
from tsviz.method import contrast, smoothed
from tsviz.models import inception_time
from tsviz.score import TargetScore, find_layer
from tsviz.synth import fit_tiny, planted, tiny_cnn

def close(a, b, tol=1e-6): torch.testing.assert_close(a, b.detach(), rtol=0, atol=tol*max(b.abs().max().item(), 1e-30))

x,y,_ = planted(6, n_channels=2, n_steps=40, n_classes=3, width=16)

def small_inception():
    torch.manual_seed(0)
    return fit_tiny(inception_time(2, 3, depth=3, nb_filters=8, bottleneck_size=8), x, y, 5)

nets = {'tiny':fit_tiny(tiny_cnn(2,3), x, y, 20), 'strided':tiny_cnn(2,3,stride=2), 'inception':small_inception()}
model = nets['tiny']
layers = {'tiny':3, 'strided':3, 'inception':2}
pytestmark = pytest.mark.usefixtures('nothing_left_behind')

# ---- captum

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('ours,theirs', [(saliency,Saliency), (input_x_grad,InputXGradient), (guided_backprop,GuidedBackprop), (deconvnet,Deconvolution)])
@pytest.mark.parametrize('net', nets)
def test_equal_to_captum(net, ours, theirs): close(ours(x, y, nets[net]), theirs(nets[net]).attribute(x.clone(), target=y), 1e-5)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('net', nets)
def test_guided_grad_cam_equal_to_captum(net):
    layer = nets[net][layers[net]]
    want = GuidedGradCam(nets[net], layer).attribute(x.clone(), target=y, interpolate_mode='linear')
    close(guided_grad_cam(x, y, nets[net], layer), want, 1e-5)
    close(guided_grad_cam(x, y, nets[net]), want, 1e-5) # the layer that is found is the same

@pytest.mark.parametrize('n_steps', [2, 50])
@pytest.mark.parametrize('rule', path_rules)
@pytest.mark.parametrize('net', ['tiny','inception'])
def test_integrated_grads_equal_to_captum(net, rule, n_steps):
    b = .3*torch.ones_like(x)
    want = IntegratedGradients(nets[net]).attribute(x, b, target=y, n_steps=n_steps, method=rule)
    close(integrated_grads(x, y, nets[net], baseline=.3, rule=rule, n_steps=n_steps), want.float(), 1e-5)

def test_gap_is_captums():
    ig = IntegratedGradients(model)
    _,want = ig.attribute(x, 0., target=y, n_steps=3, return_convergence_delta=True)
    _,gap = integrated_grads(x, y, model, n_steps=3, return_gap=True)
    torch.testing.assert_close(gap, want.detach().float(), rtol=0, atol=1e-5)
    assert gap.abs().max()>1e-3

# ---- by hand

class Square(nn.Module):
    "s = sum over time of a x1^2 + b x1 x2"
    def __init__(self, a, b): super().__init__(); self.a,self.b = a,b
    def forward(self, x): return (self.a*x[:,0]**2 + self.b*x[:,0]*x[:,1]).sum(1)

num = st.floats(-3, 3, width=32)

@settings(max_examples=25)
@given(num, num, num, num, st.integers(1,6), st.sampled_from([k for k in path_rules if k!='riemann_trapezoid']))
def test_integrated_grads_of_a_quadratic(a, b, u, base, n, rule):
    x = torch.tensor([[[u,1.,-2],[2.,u,-1]]])
    d = x-base
    mid = base + d*sum(w*p for p,w in zip(*path_rules[rule](n))) # the gradient is linear: its mean is its value at the mean place
    want = torch.stack([d[0,0]*(2*a*mid[0,0]+b*mid[0,1]), d[0,1]*b*mid[0,0]])[None].float()
    net = Square(a, b)
    got,gap = integrated_grads(x, None, net, baseline=base, n_steps=n, rule=rule, return_gap=True)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    diff = (net(x)-net(torch.full_like(x, base))).double()
    torch.testing.assert_close(gap.double(), got.double().sum((1,2))-diff, rtol=0, atol=1e-3)
    if rule in ('gausslegendre','riemann_middle'): assert gap.abs().max() <= 1e-3

def test_trapezoid_weights_are_captums_and_too_small():
    for n in (2,10): assert path_rules['riemann_trapezoid'](n)[1].sum()==pytest.approx(1-1/n)

def test_input_x_grad_sums_to_the_score_of_a_network_without_biases():
    net = tiny_cnn(2, 3)
    with torch.no_grad():
        for o in net.modules():
            if getattr(o, 'bias', None) is not None: o.bias.zero_()
    torch.testing.assert_close(input_x_grad(x, y, net).sum((1,2)), net(x).gather(1, y[:,None])[:,0].detach())

# ---- completeness

@pytest.mark.parametrize('net', ['tiny','inception'])
@pytest.mark.parametrize('baseline', [0., 'mean', 'noise', opposite(x, y), lambda o: o.flip(-1)], ids=['zero','mean','noise','opposite','function'])
def test_completeness(net, baseline):
    f = TargetScore(nets[net], y); f.hold(x)
    b = find_baseline(baseline, x, 3, y=y)
    attr,gap = integrated_grads(x, y, nets[net], baseline=baseline, n_steps=200, return_gap=True, seed=3)
    diff = f(x)-f(b)
    torch.testing.assert_close(attr.sum((1,2)), diff+gap, rtol=0, atol=1e-5)
    assert gap.shape==(6,) and (gap.abs() <= .01*diff.abs().clamp(min=.2)).all(), (gap, diff)

def test_a_baseline_for_each_item_follows_the_items():
    b = x.flip(0)
    whole = integrated_grads(x, y, model, baseline=b, n_steps=5)
    close(integrated_grads(x[2:3], y[2:3], model, baseline=b[2:3], n_steps=5), whole[2:3])
    ns = torch.tensor([40,20,40,20,30,40])
    got,gap = integrated_grads(x, y, model, baseline=b, n_steps=5, lengths=ns, return_gap=True)
    for i,n in enumerate(ns):
        want,g = integrated_grads(x[i,:,:n], y[i], model, baseline=b[i,:,:n], n_steps=5, return_gap=True)
        close(got[i,:,:n], want); assert abs(gap[i]-g)<1e-5

def test_one_series_gives_one_map_and_one_gap():
    attr,gap = integrated_grads(x[0], 1, model, n_steps=3, return_gap=True)
    assert attr.shape==(2,40) and gap.shape==()

def test_predicted_class_is_held():
    "The class of x, not the one that is predicted half way"
    pred = model(x).argmax(1)
    assert (model(0*x).argmax(1)!=pred).any()
    for m in (integrated_grads, expected_grads, smooth_grad, guided_backprop, guided_grad_cam): assert torch.equal(m(x, None, model), m(x, pred, model))

@pytest.mark.parametrize('y', [None, 1, prob(), lambda out: out[:,1]-out[:,0]], ids=['none','int','prob','function'])
def test_gap_for_every_kind_of_target(y):
    attr,gap = integrated_grads(x, y, nets['inception'], n_steps=100, return_gap=True)
    assert gap.abs().max() < .02*attr.sum((1,2)).abs().max()

def test_contrast_of_paths():
    close(contrast(integrated_grads, 2)(x, 0, model), integrated_grads(x, 0, model)-integrated_grads(x, 2, model), 1e-5)

# ---- SmoothGrad and expected gradients

@pytest.mark.parametrize('kw', [{}, dict(n_samples=3, std=.3, seed=4), dict(bs=5)], ids=['default','other','bs'])
def test_smooth_grad_is_smoothed_gradient(kw): assert torch.equal(smooth_grad(x, y, model, **kw), smoothed(gradient, **kw)(x, y, model))

def brute_paths(net, x, c, refs, alphas):
    "One row at a time, in float64, by `.backward()`"
    net,total = copy.deepcopy(net).double(),torch.zeros_like(x, dtype=torch.float64)
    for b,(o,k) in enumerate(zip(x.double(), c)):
        for r,a in zip(refs, alphas):
            r = r[b] if r.ndim==3 else r
            p = (r.double()+a*(o-r.double()))[None].requires_grad_()
            net(p)[0,k].backward()
            total[b] += (o-r.double())*p.grad[0]/len(refs)
    return total.float()

@pytest.mark.parametrize('n_samples', [1, 4, 5, 12, 17])
def test_expected_grads_is_brute_force(n_samples):
    refs = planted(5, 2, n_steps=48, n_classes=3, width=16, seed=9)[0]
    alphas,which = _spread(np.random.default_rng(2), 5, n_samples)
    got,gap = expected_grads(x, y, model, baselines=refs, n_samples=n_samples, seed=2, return_gap=True)
    close(got, brute_paths(model, x, y, refs[which][...,:40], alphas), 1e-5)
    s = lambda o: model(o).gather(1, y[:,None])[:,0].detach()
    base = torch.stack([s(refs[i,:,:40].expand_as(x)) for i in which]).mean(0)
    torch.testing.assert_close(gap, got.sum((1,2))-(s(x)-base), rtol=0, atol=1e-5)

def test_expected_grads_from_a_random_baseline_draws_anew():
    alphas,_ = _spread(np.random.default_rng(7), 6, 6)
    refs = [find_baseline('permuted', x, 7+i) for i in range(6)]
    close(expected_grads(x, y, model, n_samples=6, seed=7), brute_paths(model, x, y, refs, alphas), 1e-5)
    assert not torch.equal(refs[0], refs[1])

@settings(max_examples=60)
@given(st.integers(1,12), st.integers(1,40), st.integers(0,5))
def test_spread(n_refs, n, seed):
    "Places fill (0,1): one in each of n equal cells where n divides evenly, one in each part for every reference; references are used equally often"
    alphas,which = _spread(np.random.default_rng(seed), n_refs, n)
    assert alphas.shape==which.shape==(n,) and (0<=alphas).all() and (alphas<1).all()
    counts = np.bincount(which, minlength=n_refs)
    assert counts.max()-counts.min() <= 1 and which.max()<n_refs
    if n<=n_refs or n%n_refs==0: assert sorted((alphas*n).astype(int))==list(range(n))
    if n%n_refs==0:
        k = n//n_refs
        for r in range(n_refs): assert sorted((alphas[which==r]*k).astype(int))==list(range(k))

def test_expected_grads_settles_on_the_mean_of_integrated_grads():
    refs = planted(4, 2, n_steps=40, n_classes=3, width=16, seed=9)[0]
    want = torch.stack([integrated_grads(x, y, model, baseline=o, n_steps=200) for o in refs]).mean(0)
    gaps = [(expected_grads(x, y, model, baselines=refs, n_samples=n)-want).abs().max()/want.abs().max() for n in (8,400)]
    assert gaps[1] < .02 and gaps[1] < gaps[0]/4, gaps

def test_references_are_never_the_batch():
    refs = planted(4, 2, n_steps=40, n_classes=3, width=16, seed=9)[0]
    for kw in ({}, dict(baselines=refs), dict(baselines='noise'), dict(baselines=opposite(refs, torch.arange(4)%3))):
        whole = expected_grads(x, y, nets['inception'], n_samples=7, **kw)
        close(expected_grads(x[3:4], y[3:4], nets['inception'], n_samples=7, **kw), whole[3:4])

# ---- passes

def counted(net, call):
    "Rows of each forward, whether with a graph"
    runs = []
    handle = net.register_forward_pre_hook(lambda m,i: runs.append((len(i[0]), torch.is_grad_enabled() and i[0].requires_grad)))
    try: call()
    finally: handle.remove()
    return runs

@pytest.mark.parametrize('m,kw,rows', [(gradient,{},[(6,True)]), (saliency,{},[(6,True)]), (input_x_grad,{},[(6,True)]),
    (guided_backprop,{},[(6,False),(6,True)]), (deconvnet,{},[(6,False),(6,True)]), (guided_grad_cam,{},[(6,False),(6,False),(6,False),(6,True)]),
    (integrated_grads,dict(n_steps=5,bs=7),[(6,False)]+[(7,True)]*4+[(2,True)]),
    (integrated_grads,dict(n_steps=5,bs=20,return_gap=True),[(6,False),(20,True),(10,True),(6,False),(6,False)]),
    (expected_grads,dict(n_samples=4,bs=9),[(6,False)]+[(9,True)]*2+[(6,True)]), (smooth_grad,dict(n_samples=4,bs=12),[(6,False)]+[(12,True)]*2)],
    ids=lambda o: getattr(o, '__name__', ''))
def test_passes(m, kw, rows):
    find_layer(model, None, x) # known from here on
    assert sorted(counted(model, lambda: m(x, None, model, **kw)))==sorted(rows)

def test_a_pass_holds_a_quarter_of_the_rows_of_one_without_a_graph(monkeypatch):
    monkeypatch.setitem(pass_steps, 'cpu', 40*20)
    assert counted(model, lambda: integrated_grads(x, y, model, n_steps=2))==[(5,True)]*2+[(2,True)]
    assert counted(model, lambda: expected_grads(x, y, model, n_samples=1))==[(5,True),(2,True)] # one row runs as two
    monkeypatch.setitem(pass_steps, 'cpu', 40*48)
    assert counted(model, lambda: smooth_grad(x, y, model, n_samples=3))==[(12,True),(6,True)]

def test_no_graph_is_left():
    alive = []
    def hook(mod, i, o): alive.append(o.grad_fn)
    handle = model[0].register_forward_hook(hook)
    try:
        for m in (gradient, guided_backprop, guided_grad_cam, integrated_grads, expected_grads):
            attr = m(x, y, model)
            assert attr.grad_fn is None and not attr.requires_grad
    finally: handle.remove()
    assert all(p.grad is None for p in model.parameters())

@pytest.mark.parametrize('net', ['strided','inception'])
@pytest.mark.parametrize('m,n', [(integrated_grads,'n_steps'), (expected_grads,'n_samples'), (smooth_grad,'n_samples')],
    ids=lambda o: getattr(o, '__name__', ''))
def test_bs_changes_nothing(net, m, n):
    want = m(x, y, nets[net], **{n:5})
    for bs in (1,4,29): close(m(x, y, nets[net], bs=bs, **{n:5}), want)

@pytest.mark.parametrize('m,kw', [(gradient,{}), (input_x_grad,{}), (guided_backprop,{}), (deconvnet,{}), (guided_grad_cam,{}), (smooth_grad,dict(n_samples=3)),
    (integrated_grads,dict(n_steps=5)), (expected_grads,dict(n_samples=5, baselines=x.flip(0)))], ids=lambda o: getattr(o, '__name__', ''))
def test_one_alone_is_as_in_the_batch(m, kw):
    "A batch of one runs another algorithm in torch, so no gradient of one row is taken"
    net = nets['inception']
    whole = m(x, y, net, **kw)
    for i in (0,4): close(m(x[i:i+1], y[i:i+1], net, **kw), whole[i:i+1])
    if 'n_steps' in kw: close(m(x[4], y[4], net, bs=1, **kw), whole[4])

def test_memory_that_runs_out_halves_the_pass():
    class Small(nn.Module):
        def __init__(self): super().__init__(); self.net,self.most = model,0
        def forward(self, x):
            if len(x)>8: raise torch.OutOfMemoryError('no')
            self.most = max(self.most, len(x))
            return self.net(x)
    net = Small()
    close(integrated_grads(x, y, net, n_steps=9), integrated_grads(x, y, model, n_steps=9))
    assert net.most in (7,8)

# ---- the faster backward

def conv_both(x, w, b=None, **kw):
    "(output, gradient, output of the pass before) of torch's convolution, then inside `QuickConvs`"
    res = []
    for mode in (nullcontext, QuickConvs):
        v = x.clone().requires_grad_()
        with mode(): out = F.conv1d(v, w, b, **kw)
        g, = torch.autograd.grad(out, v, torch.linspace(-1, 1, out.numel()).reshape(out.shape).sin())
        res.append((out, g, type(out.grad_fn).__name__))
    return res

rand = lambda *size: torch.randn(*size, generator=torch.Generator().manual_seed(size[-1]))

@pytest.mark.parametrize('k,kw', [(39,dict(padding=19)), (16,{}), (25,dict(padding='same')), (16,dict(padding='valid', stride=3)),
    (20,dict(padding='same', dilation=2)), (17,dict(stride=(2,), padding=(5,), dilation=(3,))), (31,dict(padding=40)), (60,dict(stride=4, padding=3))], ids=str)
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('n,c,o', [(3,8,5), (1,9,1), (2,32,32)], ids=str)
def test_a_quick_convolution_is_torchs(n, c, o, k, kw):
    "Forward to the bit, backward but for rounding, laid out in the same way"
    (want,g,_),(out,got,node) = conv_both(rand(n,c,64), rand(o,c,k), rand(o), **kw)
    assert node=='_ConvBackward' and torch.equal(out, want) and out.stride()==want.stride() and got.stride()==g.stride()
    close(got, g, 2e-6)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('c,w,kw,dtype', [(8,(8,8,15),{},None), (7,(8,7,20),{},None), (16,(8,8,20),dict(groups=2),None), (8,(8,8,16),dict(padding='same'),None),
    (8,(8,8,20),{},torch.float64), (None,(8,8,20),{},None)], ids=['short','few','groups','one side more','float64','no batch'])
def test_other_convolutions_are_left_alone(c, w, kw, dtype):
    v = rand(8,64) if c is None else rand(2,c,64)
    (want,g,_),(out,got,node) = conv_both(v.to(dtype or v.dtype), rand(*w).to(dtype or v.dtype), **kw)
    assert node!='_ConvBackward' and torch.equal(out, want) and torch.equal(got, g)

def test_what_needs_no_gradient_or_more_than_one_is_left_alone():
    v,w = rand(2,8,64).requires_grad_(),rand(8,8,20)
    with QuickConvs():
        assert F.conv1d(v.detach(), w).grad_fn is None
        with torch.no_grad(): assert F.conv1d(v, w).grad_fn is None
        for a,b in ((w.clone().requires_grad_(),None), (w,torch.zeros(8, requires_grad=True))):
            assert type(F.conv1d(v, a, b).grad_fn).__name__=='ConvolutionBackward0'
        assert type(torch.conv1d(input=v, weight=w, padding=3).grad_fn).__name__=='_ConvBackward'
        with pytest.raises(TypeError): F.conv1d(v, w, pad=3)

def test_a_quick_convolution_in_a_second_derivative_and_a_vmap():
    v,w,res = rand(2,8,64),rand(8,8,20),[]
    for mode in (nullcontext, QuickConvs):
        a = v.clone().requires_grad_()
        with mode():
            g, = torch.autograd.grad((F.conv1d(a, w)**3).sum(), a, create_graph=True)
            res.append((*torch.autograd.grad((g**2).sum(), a), torch.func.vmap(torch.func.grad(lambda o: (F.conv1d(o, w)**2).sum()))(v[:,None])))
    for a,b in zip(*res): close(b, a, 2e-6)

@pytest.mark.parametrize('m,kw', [(gradient,{}), (saliency,{}), (input_x_grad,{}), (guided_backprop,{}), (deconvnet,{}), (guided_grad_cam,{}),
    (smooth_grad,dict(n_samples=2)), (integrated_grads,dict(n_steps=2)), (expected_grads,dict(n_samples=2))], ids=lambda o: getattr(o, '__name__', ''))
def test_every_method_takes_the_faster_backward(m, kw, monkeypatch):
    n,back = [0],core._Conv.backward
    def counted(ctx, g): n[0] += 1; return back(ctx, g)
    got = m(x, y, nets['inception'], **kw)
    monkeypatch.setattr(core._Conv, 'backward', staticmethod(counted))
    assert torch.equal(m(x, y, nets['inception'], **kw), got)
    assert n[0]==6 # two of the three kernels of each of three blocks are long
    monkeypatch.setattr(core, '_long_kernel', 1000)
    close(m(x, y, nets['inception'], **kw), got)
    assert n[0]==6 and torch.overrides._len_torch_function_stack()==0

# ---- the ReLU rules

class Twin(nn.Module):
    "One network whose ReLUs are spelled in one of many ways"
    def __init__(self, relu, shared=False):
        super().__init__()
        torch.manual_seed(3)
        self.a,self.b,self.bn,self.c,self.d = nn.Conv1d(2,6,5,padding=2),nn.Conv1d(6,6,3,padding=1),nn.BatchNorm1d(6),nn.Conv1d(6,6,3,padding=1),nn.Linear(6,3)
        self.bn.running_mean.normal_(); self.bn.running_var.uniform_(.5,2)
        self.r = nn.ModuleList([relu()]*3 if shared else [relu() for _ in range(3)])
        self.eval()
    def forward(self, x):
        h = self.r[0](self.a(x))
        h = self.r[1](self.bn(self.b(h)))+h
        return self.d(self.r[2](self.c(h)).mean(-1))

def spelled(fn):
    class Act(nn.Module):
        def forward(self, x): return fn(x)
    return Act

def dropped(fn):
    def f(x): fn(x); return x
    return f

spellings = dict(module=nn.ReLU, inplace=lambda: nn.ReLU(inplace=True), F=spelled(F.relu), F_inplace=spelled(lambda x: F.relu(x, inplace=True)),
    F_position=spelled(lambda x: F.relu(x, True)), F_name=spelled(lambda x: F.relu(input=x)), F_relu_=spelled(F.relu_), torch_relu=spelled(torch.relu),
    torch_relu_=spelled(torch.relu_), torch_name=spelled(lambda x: torch.relu(input=x)),
    method=spelled(lambda x: x.relu()), method_=spelled(lambda x: x.relu_()),
    dropped=spelled(dropped(lambda x: x.relu_())), dropped_F=spelled(dropped(lambda x: F.relu(x, inplace=True))), dropped_torch=spelled(dropped(torch.relu_)),
    dropped_position=spelled(dropped(lambda x: F.relu(x, True))),
    view=spelled(dropped(lambda x: x.view(len(x),-1).relu_())), aten=spelled(torch.ops.aten.relu),
    aten_=spelled(torch.ops.aten.relu_.default), functional=spelled(lambda x: nn.functional.relu(x)))

@pytest.mark.parametrize('how', spellings)
@pytest.mark.parametrize('shared', [False,True], ids=['own','shared'])
@pytest.mark.parametrize('m', [gradient, guided_backprop, deconvnet, guided_grad_cam], ids=lambda m: m.__name__)
def test_every_spelling_of_relu_is_caught(m, shared, how):
    twin,net = Twin(nn.ReLU),Twin(spellings[how], shared)
    assert torch.equal(twin(x), net(x))
    close(m(x, y, net, 'a'), m(x, y, twin, 'a'))

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('ours,theirs', [(guided_backprop,GuidedBackprop), (deconvnet,Deconvolution)])
def test_twins_are_captums_and_no_plain_gradient(ours, theirs):
    twin = Twin(nn.ReLU)
    close(ours(x, y, Twin(spellings['dropped'], True)), theirs(twin).attribute(x.clone(), target=y), 1e-5)
    assert (ours(x, y, twin)-gradient(x, y, twin)).abs().max() > .1*gradient(x, y, twin).abs().max()

def test_rules_in_threads():
    nets_,got = [Twin(spellings[o]) for o in ('F','dropped','module')],{}
    want = {(i,m):m(x, y, o) for i,o in enumerate(nets_) for m in (gradient, guided_backprop, deconvnet)}
    def work(i, m):
        for _ in range(3): got[i,m] = m(x, y, nets_[i])
    ts = [threading.Thread(target=work, args=k) for k in want]
    for t in ts: t.start()
    for t in ts: t.join()
    for k in want: close(got[k], want[k])

def test_a_rule_is_over_when_the_model_raises():
    class Bad(nn.Module):
        def __init__(self): super().__init__(); self.a,self.broken = nn.Conv1d(2,3,1),True
        def forward(self, x):
            h = F.relu(self.a(x)).mean(-1)
            if self.broken and h.requires_grad: raise ArithmeticError('on purpose')
            return h
    net = Bad()
    for _ in range(2):
        with pytest.raises(ArithmeticError): guided_backprop(x, y, net)
    v = torch.tensor([1.,-1], requires_grad=True)
    g, = torch.autograd.grad((-v.relu()).sum(), v)
    assert g.tolist()==[-1,0] # the plain rule
    assert torch.overrides._len_torch_function_stack()==0

def with_act(act): return nn.Sequential(nn.Conv1d(2,4,3), act, nn.Conv1d(4,4,3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3)).eval()

others = {'LeakyReLU':nn.LeakyReLU(), 'PReLU':nn.PReLU(), 'RReLU':nn.RReLU(), 'ReLU6':nn.ReLU6(), 'ReLU6 ':spelled(F.relu6)(), 'Hardtanh':nn.Hardtanh(),
    'threshold':nn.Threshold(0,0), 'clamp':spelled(lambda x: x.clamp(min=0))(), 'clamp ':spelled(lambda x: torch.clip(x,0,6))(),
    'clamp_min':spelled(lambda x: x.clamp_min(0))(),
    'clamp_max':spelled(lambda x: -(-x).clamp_max(0))(), 'clamp  ':spelled(lambda x: x.clamp_(min=0))(), 'LeakyReLU ':spelled(lambda x: F.leaky_relu_(x,.1))(),
    'maximum':spelled(lambda x: torch.maximum(x, torch.zeros(1)))(), 'fmax':spelled(lambda x: torch.fmax(x, torch.zeros(1)))(), 'Softshrink':nn.Softshrink(),
    'Hardshrink':nn.Hardshrink(), 'a scripted module':torch.jit.script(nn.ReLU())}

class RNN(nn.Module):
    def __init__(self, **kw): super().__init__(); self.rnn,self.head = nn.RNN(2, 4, batch_first=True, **kw),nn.Linear(4,3)
    def forward(self, x): return self.head(self.rnn(x.transpose(1,2))[0][:,-1])

@torch.jit.script
def scripted_relu(x): return torch.relu(x)*2

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('m', [guided_backprop, deconvnet], ids=lambda m: m.__name__)
@pytest.mark.parametrize('act', others)
def test_other_rectifiers_are_refused_by_name(m, act):
    with says(ValueError, act.strip(), 'Sequential', m.__name__, '`gradient`'): m(x, y, with_act(others[act]))

def test_relus_in_compiled_code_are_refused():
    with says(ValueError, 'compiled code', 'RNN'): guided_backprop(x, y, RNN(nonlinearity='relu'))
    net = with_act(spelled(scripted_relu)())
    for _ in range(3): # the scripted graph changes as it warms up
        with says(ValueError, 'code'): guided_backprop(x, y, net)

def test_what_does_not_lead_to_the_score_is_not_refused():
    class Aside(nn.Module):
        def __init__(self): super().__init__(); self.net,self.seen = model,None
        def forward(self, x):
            self.seen = F.leaky_relu(x).clamp(min=0)
            return self.net(torch.maximum(x, x-1))
    close(guided_backprop(x, y, Aside()), guided_backprop(x, y, model))

def test_transformer_layer():
    "Its fast path in C++ is not taken, its ReLU is caught"
    torch.manual_seed(0)
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.up,self.tr,self.head = nn.Conv1d(2,8,1),nn.TransformerEncoderLayer(8,2,16,batch_first=True),nn.Linear(8,3)
        def forward(self, x): return self.head(self.tr(self.up(x).transpose(1,2)).mean(1))
    net = Net().eval()
    want = torch.autograd.grad(net(v := x.clone().requires_grad_()).gather(1, y[:,None]).sum(), v)[0]
    close(gradient(x, y, net), want, 1e-5)
    got = guided_backprop(x, y, net)
    h = x.clone().requires_grad_()
    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a): ctx.save_for_backward(a); return a.clamp(min=0)
        @staticmethod
        def backward(ctx, g): return g*(g>0)*(ctx.saved_tensors[0]>0)
    twin = copy.deepcopy(net); twin.tr.activation = Guided.apply
    want = torch.autograd.grad(twin(h).gather(1, y[:,None]).sum(), h)[0]
    close(got, want, 1e-5)

@pytest.mark.parametrize('act,name', [(nn.GELU(),'GELU'), (nn.SiLU(),'SiLU'), (nn.ELU(),'ELU'), (nn.SELU(),'ELU'), (nn.Mish(),'Mish'),
    (nn.Hardswish(),'Hardswish')])
def test_smooth_activations_pass_their_own_gradient_said_once(act, name):
    net = with_act(act)
    with pytest.warns(UserWarning, match=f'Sequential has {name}.*plain gradient'): got = guided_backprop(x, y, net)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(guided_backprop(x, y, net), got) and guided_backprop(x, y, model).any()
    h = x.clone().requires_grad_()
    a = net[1](net[0](h)); b = net[2](a)
    g, = torch.autograd.grad(net[3:](b).gather(1, y[:,None]).sum(), b)
    close(got, torch.autograd.grad(b, h, g.clamp(min=0))[0], 1e-5)

def test_without_any_relu_it_is_said():
    net = nn.Sequential(nn.Conv1d(2,3,3), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    with pytest.warns(UserWarning, match='no ReLU'): got = deconvnet(x, y, net)
    close(got, gradient(x, y, net))

def test_a_forward_that_is_not_the_same_twice():
    class Counts(nn.Module):
        def __init__(self): super().__init__(); self.net,self.n = model,0
        def forward(self, x): self.n += 1; return self.net(x)*self.n
    with says(ValueError, 'another output', 'guided_backprop'): guided_backprop(x, y, Counts())
    class Draws(nn.Module):
        def __init__(self): super().__init__(); self.net = model
        def forward(self, x): return self.net(x+.1*torch.randn_like(x))
    state = torch.get_rng_state()
    guided_backprop(x, y, Draws()) # draws the same again
    assert torch.equal(torch.get_rng_state(), state)

def test_outputs_in_a_tuple_or_a_dict():
    class Two(nn.Module):
        def __init__(self, kind): super().__init__(); self.net,self.kind = model,kind
        def forward(self, x): o = self.net(x); return (o, x.mean()) if self.kind is tuple else dict(a=o, n=3)
    for kind,pick in ((tuple,0),(dict,'a')): close(guided_backprop(x, lambda o, pick=pick: o[pick][:,1], Two(kind)), guided_backprop(x, 1, model))

def test_guided_grad_cam_keeps_the_sign_on_request():
    for relu in (True,False): close(guided_grad_cam(x, y, model, relu=relu), guided_backprop(x, y, model)*grad_cam(x, y, model, relu=relu))
    assert (grad_cam(x, y, model, relu=False)<0).any()

def test_guided_grad_cam_at_one_run_of_a_shared_layer():
    net = Twin(nn.ReLU, True)
    got = [guided_grad_cam(x, y, net, 'r.0', call=c) for c in (0,-1)]
    for o,c in zip(got, (0,-1)): close(o, guided_backprop(x, y, net)*grad_cam(x, y, net, 'r.0', call=c))
    assert not torch.equal(*got)

# ---- errors

@pytest.mark.parametrize('call,words', [
    (lambda: integrated_grads(x, y, model, rule='riemann'), ['`rule`', 'gausslegendre', 'riemann_left']),
    (lambda: integrated_grads(x, y, model, n_steps=0), ['`n_steps`', 'an int from 1', '0']),
    (lambda: integrated_grads(x, y, model, n_steps=1, rule='riemann_trapezoid'), ['`n_steps`', 'an int from 2']),
    (lambda: integrated_grads(x, y, model, n_steps=2.5), ['`n_steps`', '2.5']),
    (lambda: integrated_grads(x, y, model, bs=0), ['`bs`']),
    (lambda: integrated_grads(x, y, model, baseline='zeros'), ['`baseline`', "'zero'"]),
    (lambda: integrated_grads(x, y, model, baseline=float('nan')), ['`baseline`', 'NaN']),
    (lambda: integrated_grads(x, y, model, baseline=torch.zeros(3,5)), ['`baseline`', '(3, 5)']),
    (lambda: smooth_grad(x, y, model, n_samples=0), ['`n_samples`', '0']),
    (lambda: smooth_grad(x, y, model, n_samples=2.5), ['`n_samples`', '2.5']),
    (lambda: smooth_grad(x, y, model, bs=0), ['`bs`']),
    (lambda: expected_grads(x, y, model, n_samples=0), ['`n_samples`', 'an int from 1']),
    (lambda: expected_grads(x, y, model, bs=-1), ['`bs`']),
    (lambda: expected_grads(x, y, model, baselines=x[...,:9]), ['`baselines`', '(2, 9)', '(2, 40)']),
    (lambda: expected_grads(x, y, model, baselines=x[:,:1]), ['`baselines`', '(1, 40)']),
    (lambda: expected_grads(x, y, model, baselines=x/0), ['`baselines`', 'NaN']),
    (lambda: expected_grads(x, y, model, baselines=x[:0]), ['`baselines`', 'empty']),
    (lambda: expected_grads(x, y, model, baselines=None), ['`baselines`', '(N,C,T)']),
    (lambda: expected_grads(x, y, model, baselines='opposite'), ['opposite(refs, labels)'])], ids=range(19))
def test_errors(call, words):
    with says(ValueError, *words): call()
