"The CAM family against the origin's recipe, captum, torchcam and a calculation by hand"
import copy
import pytest, torch, torch.nn as nn
from captum.attr import LayerGradCam
from hypothesis import given, settings, strategies as st
from common import says
from tsviz.cam import (ablation_cam, cam_acts, class_cam, eigen_cam, eigen_grad_cam, grad_cam, grad_cam_acts, grad_cam_pp, hires_cam, layer_cam,
                       score_cam, xgrad_cam)
from tsviz.core import opposite, reductions, upsample
from tsviz.method import contrast
from tsviz.score import logprob, prob
from tsviz.synth import fit_tiny, planted, tiny_cnn

def close(a, b, tol=1e-6): torch.testing.assert_close(a, b, rtol=0, atol=tol*max(b.abs().max().item(), 1e-30))

class Res(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.c,self.b,self.short,self.relu = nn.Conv1d(i,o,9,padding=4),nn.BatchNorm1d(o),nn.Conv1d(i,o,1),nn.ReLU()
    def forward(self, x): return self.relu(self.b(self.c(x))+self.short(x))

def resnet(n_channels, n_classes):
    torch.manual_seed(1)
    return nn.Sequential(Res(n_channels,8), Res(8,12), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12,n_classes)).eval()

x,y,_ = planted(6, n_channels=2, n_steps=40, n_classes=3, width=16)
nets = {'tiny':(fit_tiny(tiny_cnn(2,3), x, y, 20), 3), 'inner':(fit_tiny(tiny_cnn(2,3), x, y, 20), 0), 'strided':(tiny_cnn(2,3,stride=3), 2), 'resnet':(fit_tiny(resnet(2,3), x, y, 5), 1)}

# ---- the origin's recipe, written again: one series at a time, a forward hook, `.backward()`

origin_reductions = dict(mean=lambda t: t.mean(1), median=lambda t: t.median(1).values, max=lambda t: t.max(1).values, mean_max=lambda t: (t.mean(1)+t.max(1).values)/2)

def origin(series, c, model, layer, reduction, force_scale, scale_range, grad):
    "One series (C,T) -> (1,L)"
    model.zero_grad()
    kept = {}
    handle = model[layer].register_forward_hook(lambda m,i,o: kept.update(acts=o))
    try: out = model(series[None])
    finally: handle.remove()
    kept['acts'].retain_grad()
    out[0,c].backward()
    acts,grads = kept['acts'].detach()[0],kept['acts'].grad[0] # (K,L)
    if grad:
        weights = origin_reductions[reduction](grads)
        res = torch.stack([w*a for w,a in zip(weights, acts)]).mean(0)
    else: res = origin_reductions[reduction](acts.t())
    if force_scale:
        lo,hi = scale_range
        res = lo + (res-res.min())/(res.max()-res.min())*(hi-lo)
    model.zero_grad()
    return res[None]

@pytest.mark.parametrize('net', ['tiny','inner','resnet'])
@pytest.mark.parametrize('reduction', list(origin_reductions))
@pytest.mark.parametrize('force_scale,scale_range', [(True,(0,1)), (True,(-2,3)), (False,(0,1))], ids=['scaled','range','raw'])
@pytest.mark.parametrize('method', [cam_acts, grad_cam_acts], ids=lambda m: m.__name__)
def test_equal_to_the_origin(net, reduction, force_scale, scale_range, method):
    model,layer = nets[net]
    want = torch.stack([origin(o, c, model, layer, reduction, force_scale, scale_range, method is grad_cam_acts) for o,c in zip(x,y)])
    close(method(x, y, model, layer, reduction, force_scale, scale_range), want, 1e-5)
    close(method(x[3], y[3], model, layer, reduction, force_scale, scale_range), want[3], 1e-5)

def test_origins_defaults():
    model,layer = nets['tiny']
    for m,grad in ((cam_acts,False), (grad_cam_acts,True)):
        close(m(x, y, model, layer), torch.stack([origin(o, c, model, layer, 'mean', True, (0,1), grad) for o,c in zip(x,y)]), 1e-5)
    assert set(reductions)==set(origin_reductions)
    with pytest.raises(ValueError, match='reduction'): cam_acts(x, y, model, layer, 'sum')
    with pytest.raises(ValueError, match='reduction'): grad_cam_acts(x, y, model, layer, reduction='means')

def test_constant_map_scales_to_the_low_end():
    "Fault 12: not NaN"
    model = nn.Sequential(nn.Conv1d(2,3,1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3,3))
    nn.init.zeros_(model[0].weight)
    for m in (cam_acts, grad_cam_acts):
        assert not m(x, y, model, 0).any() and (m(x, y, model, 0, scale_range=(-1,1))==-1).all()

def test_user_reduction_gets_an_int_and_drops_it():
    model,layer = nets['tiny']
    seen = []
    def last(t, dim): seen.append(dim); return t.select(dim, -1)
    acts = model[:layer+1](x).detach()
    close(cam_acts(x, y, model, layer, last, False), acts[:,-1:]); grad_cam_acts(x, y, model, layer, last)
    assert seen==[1,2]

# ---- by hand: for a head of global average pooling and one linear layer the gradient at the layer is w[c]/L everywhere

def by_hand(net):
    model,layer = nets[net]
    a = model[:layer+1](x).detach().requires_grad_()
    out = model[layer+1:](a)
    g, = torch.autograd.grad(out.gather(1, y[:,None]).sum(), a)
    return model,layer,a.detach(),g

@pytest.mark.parametrize('net', list(nets))
def test_formulas(net):
    model,layer,a,g = by_hand(net)
    up = lambda t: upsample(t, 40)
    signed = torch.einsum('bk,bkl->bl', g.sum(-1)/a.shape[-1], a)[:,None]
    close(grad_cam(x, y, model, layer), up(signed.clamp(min=0)), 1e-5); close(grad_cam(x, y, model, layer, relu=False), up(signed), 1e-5)
    close(hires_cam(x, y, model, layer), up(torch.einsum('bkl,bkl->bl', g, a)[:,None]), 1e-5)
    close(layer_cam(x, y, model, layer), up(torch.einsum('bkl,bkl->bl', g.clamp(min=0), a)[:,None].clamp(min=0)), 1e-5)
    close(cam_acts(x, y, model, layer, force_scale=False), up(a.sum(1, keepdim=True)/a.shape[1]), 1e-5)

@pytest.mark.parametrize('net', ['tiny','resnet'])
def test_class_cam_by_hand(net):
    model,layer,a,g = by_hand(net)
    for c in (y, 2, None):
        cs = model(x).argmax(1) if c is None else torch.as_tensor(c).expand(6)
        want = torch.stack([sum(model[-1].weight[k,j].item()*a[i,j] for j in range(a.shape[1])) for i,k in enumerate(cs)])[:,None]
        close(class_cam(x, c, model, layer), want, 1e-5); close(class_cam(x, c, model), want, 1e-5); close(class_cam(x, c, model, relu=True), want.clamp(min=0), 1e-5)
        logit = model(x).detach().gather(1, cs[:,None])[:,0]-model[-1].bias.detach()[cs]
        close(class_cam(x, c, model).mean(-1)[:,0], logit, 1e-5) # the class's map sums up to its output
    close(class_cam(x, y, model)/40, hires_cam(x, y, model), 1e-5)

@pytest.mark.parametrize('head', [
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(320,3)), lambda: nn.Sequential(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8,3)),
    lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8,8), nn.ReLU(), nn.Linear(8,3)), lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8,3), nn.Softmax(1))])
def test_class_cam_needs_its_head(head):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2,8,5,padding=2), nn.ReLU(), head())
    with pytest.raises(ValueError, match='Use `grad_cam`.*`gap_head`'): class_cam(x, y, model, 1)
    assert grad_cam(x, y, model, 1).shape==(6,1,40)

def test_class_cam_explains_a_class():
    model,_ = nets['tiny']
    for bad in (prob(0), logprob(), lambda out: out[:,0]):
        with pytest.raises(ValueError, match='raw output'): class_cam(x, bad, model)

def test_dropout_in_the_head_is_off():
    model,_ = nets['tiny']
    with_dropout = nn.Sequential(*model[:6], nn.Dropout(.5), model[6]).train()
    for m in (class_cam, grad_cam, cam_acts): close(m(x, y, with_dropout), m(x, y, model))
    assert with_dropout.training

# ---- other libraries

@pytest.mark.parametrize('net', list(nets))
@pytest.mark.parametrize('c', [0, 2, 'labels'])
def test_grad_cam_equals_captum(net, c):
    model,layer = nets[net]
    c = y if c=='labels' else c
    want = LayerGradCam(model, model[layer]).attribute(x, target=c, relu_attributions=True).detach()
    assert want.any()
    got = grad_cam(x, c, model, layer)
    assert (got-upsample(want, 40)).abs().max()<1e-5; close(got, upsample(want, 40), 1e-5)
    want = LayerGradCam(model, model[layer]).attribute(x, target=c, relu_attributions=False).detach()
    close(grad_cam(x, c, model, layer, relu=False), upsample(want, 40), 1e-5)

@pytest.mark.parametrize('name,method', [('GradCAM', grad_cam), ('LayerCAM', layer_cam)])
def test_equal_to_torchcam(name, method):
    "torchcam handles series where its arithmetic does not count dimensions; its maps are rectified and, as asked here, not scaled"
    methods = pytest.importorskip('torchcam.methods')
    model,layer = nets['resnet']
    with getattr(methods, name)(model, model[layer], input_shape=(2,40)) as extractor:
        for i in range(6):
            maps = extractor(int(y[i]), model(x[i:i+1]), normalized=False)[0]
            close(method(x[i], y[i], model, layer), maps.detach().reshape(1,40), 1e-5)

# ---- properties

@settings(max_examples=15, deadline=None)
@given(st.integers(0,99), st.integers(1,4), st.integers(9,40), st.integers(1,3), st.floats(.1,10))
def test_linear_in_the_head(seed, b, t, n_channels, k):
    "Scaling the last layer scales every signed map and no positive one changes its shape; CAM does not see the class"
    model = tiny_cnn(n_channels, 3, seed=seed)
    series = torch.randn(b, n_channels, t, generator=torch.Generator().manual_seed(seed))
    scaled = tiny_cnn(n_channels, 3, seed=seed)
    with torch.no_grad(): scaled[-1].weight.mul_(k)
    for m in (grad_cam, hires_cam, layer_cam, class_cam): close(m(series, 1, scaled), k*m(series, 1, model), 1e-4)
    assert torch.equal(cam_acts(series, 0, model), cam_acts(series, 2, model)) and torch.equal(cam_acts(series, 0, model), cam_acts(series, None, scaled))
    assert (grad_cam(series, 1, model)>=0).all() and (layer_cam(series, 1, model)>=0).all()
    both = hires_cam(series, 0, model)+hires_cam(series, 2, model)
    close(hires_cam(series, lambda out: out[:,0]+out[:,2], model), both, 1e-4)

# ---- the rest of the family, from the papers' formulas, one item and one channel at a time

def one_series(net, i, c):
    "(K,L) activations, (K,L) gradients of output c"
    model,layer = nets[net]
    a = model[:layer+1](x[i:i+1]).detach().requires_grad_()
    g, = torch.autograd.grad(model[layer+1:](a)[0,c], a)
    return a.detach()[0].double(),g[0].double()

def by_series(net, fn): return upsample(torch.stack([fn(*one_series(net, i, y[i]))[None].float() for i in range(6)]), 40)

def brute_pp(a, g):
    "With the exponential's derivatives of first to third order as in the paper, up to the factor exp(s)"
    K,L = a.shape
    w = torch.zeros(K, dtype=a.dtype)
    for k in range(K):
        for t in range(L):
            den = 2*g[k,t]**2 + sum(a[k,j] for j in range(L))*g[k,t]**3
            if den>0: w[k] += g[k,t]**2/den*max(g[k,t], 0.)
    return sum(w[k]*a[k] for k in range(K)).clamp(min=0)

def brute_x(a, g): return sum((((g[k]*a[k]).sum()/a[k].sum()) if a[k].any() else 0.)*a[k] for k in range(len(a))).clamp(min=0)

def brute_eigen(m):
    v = torch.linalg.svd(m.T)[2][0]
    out = m.T@v
    return out if out@m.mean(0)>=0 else -out

@pytest.mark.parametrize('net', list(nets))
@pytest.mark.parametrize('method,fn', [(grad_cam_pp, brute_pp), (xgrad_cam, brute_x), (eigen_cam, lambda a,g: brute_eigen(a)),
                                       (eigen_grad_cam, lambda a,g: brute_eigen(a*g))], ids=['pp','x','eigen','eigen_grad'])
def test_gradient_weights_and_directions(net, method, fn):
    "`inner` has negative activations, for which the formula's own case (no weight where the denominator is not positive) counts"
    want = by_series(net, fn)
    assert want.any()
    close(method(x, y, *nets[net]), want, 1e-5); close(method(x[3], y[3], *nets[net]), want[3], 1e-5)

def after_one_channel(model, layer, series, k, c):
    "The output with channel k of the layer zeroed by a hook in a full pass"
    h = model[layer].register_forward_hook(lambda m,i,o: o*(torch.arange(o.shape[1])!=k)[None,:,None].to(o))
    try: return model(series[None])[0]
    finally: h.remove()

@torch.no_grad()
def brute_ablation(model, layer, series, score):
    a = model[:layer+1](series[None])[0]
    s = score(model(series[None])[0])
    w = [(s-score(after_one_channel(model, layer, series, k, None)))/abs(s) for k in range(len(a))]
    return sum(w[k]*a[k] for k in range(len(a))).clamp(min=0)[None]

@torch.no_grad()
def brute_score(model, layer, series, score, base=0.):
    a = model[:layer+1](series[None])[0]
    s = []
    for o in a:
        m = upsample(o[None,None], series.shape[-1])[0,0]
        m = (m-m.min())/(m.max()-m.min()) if m.max()>m.min() else torch.zeros_like(m)
        s.append(score(model((series*m + base*(1-m))[None])[0]))
    w = torch.stack(s).softmax(0)
    return sum(w[k]*a[k] for k in range(len(a))).clamp(min=0)[None]

def as64(net):
    model,layer = nets[net]
    return copy.deepcopy(model).double(),layer

@pytest.mark.parametrize('net', list(nets))
def test_score_cam_channel_by_channel(net):
    model,layer = as64(net)
    for base in (0., 1.5):
        want = upsample(torch.stack([brute_score(model, layer, o.double(), lambda out, c=c: out.softmax(0)[c], base) for o,c in zip(x,y)]), 40).float()
        close(score_cam(x, y, *nets[net], baseline=base), want, 1e-5); close(score_cam(x[2], y[2], *nets[net], baseline=base), want[2], 1e-5)

@pytest.mark.parametrize('net', list(nets))
def test_ablation_cam_channel_by_channel(net):
    model,layer = as64(net)
    want = upsample(torch.stack([brute_ablation(model, layer, o.double(), lambda out, c=c: out[c]) for o,c in zip(x,y)]), 40).float()
    assert want.any()
    close(ablation_cam(x, y, *nets[net]), want, 1e-5); close(ablation_cam(x[2], y[2], *nets[net]), want[2], 1e-5)

def test_which_score_score_cam_takes():
    "The probability for a class; functions, `prob`, `logprob`, one output as they are; a contrast is the difference of probabilities"
    model,layer = nets['tiny']
    twin,_ = as64('tiny')
    def want(score): return torch.stack([brute_score(twin, layer, o.double(), score) for o in x]).float()
    cases = [(1, lambda out: out.softmax(0)[1]), (prob(1), lambda out: out.softmax(0)[1]), (logprob(1), lambda out: out.log_softmax(0)[1])]
    for target,score in cases: close(score_cam(x, target, model), want(score), 1e-5)
    close(score_cam(x, lambda out: out[:,1], model), want(lambda out: out[1]), 1e-5)
    close(contrast(score_cam, 2)(x, 1, model), want(lambda out: out.softmax(0)[1]-out.softmax(0)[2]), 1e-5)
    one = nn.Sequential(*model[:6], nn.Linear(8,1)).eval()
    for net in (one, nn.Sequential(*one, nn.Flatten(0))):
        close(score_cam(x, None, net, 3), torch.stack([brute_score(copy.deepcopy(one).double(), 3, o.double(), lambda out: out[0]) for o in x]).float(), 1e-5)

# ---- other libraries

def torchcam_maps(cls, model, layer, **kwargs):
    methods = pytest.importorskip('torchcam.methods')
    with getattr(methods, cls)(model, model[layer], input_shape=(2,40), **kwargs) as extractor:
        return torch.stack([extractor(int(y[i]), model(x[i:i+1]), normalized=False)[0].detach().reshape(1,40) for i in range(6)])

def test_xgrad_cam_and_score_cam_equal_torchcam():
    "Its XGradCAM counts dimensions right; its ScoreCAM scores raw outputs, so the network it gets ends in a softmax, and it takes series only where L = T"
    model,layer = nets['resnet']
    close(xgrad_cam(x, y, model, layer), torchcam_maps('XGradCAM', model, layer), 1e-5)
    close(score_cam(x, y, model, layer), torchcam_maps('ScoreCAM', nn.Sequential(*model, nn.Softmax(1)), layer), 1e-5)

def test_torchcams_grad_cam_pp_is_not_grad_cam_pp():
    "It divides a copy, so its weights are sums of g^3: why the reference here is a loop over the paper's formula"
    model,layer = nets['resnet']
    theirs = torchcam_maps('GradCAMpp', model, layer)
    cube = lambda a,g: sum((g[k]**2*g[k].clamp(min=0)).sum()*a[k] for k in range(len(a))).clamp(min=0)[None].float()
    cubes = torch.stack([cube(*one_series('resnet', i, y[i])) for i in range(6)])
    close(theirs, cubes, 1e-4)
    ours = grad_cam_pp(x, y, model, layer)
    assert (ours/ours.amax(-1, keepdim=True)-theirs/theirs.amax(-1, keepdim=True)).abs().max()>1e-2

# ---- properties that the formulas promise

new = [grad_cam_pp, xgrad_cam, eigen_cam, eigen_grad_cam, score_cam, ablation_cam]
ids = lambda m: m.__name__

def test_printed_names(): assert [m.name for m in new]==['Grad-CAM++', 'XGrad-CAM', 'Eigen-CAM', 'Eigen-Grad-CAM', 'Score-CAM', 'Ablation-CAM']

class Given(nn.Module):
    "Its activations are the series themselves"
    def forward(self, x): return x*1

def given(weight): # scores are weighted means over time
    net = nn.Sequential(Given(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(len(weight[0]), len(weight), bias=False)).eval()
    with torch.no_grad(): net[-1].weight[:] = torch.tensor(weight)
    return net

def test_xgrad_cam_leaves_out_channels_that_sum_to_nothing():
    net = given([[1.,1], [0,1]])
    a = torch.tensor([[[1.,-1,2,-2], [1,2,3,4]]])
    close(xgrad_cam(a, 0, net, 0), a[:,1:]/4)
    a[0,0] += torch.tensor([1e-7,0,0,0]) # what is left in float32
    close(xgrad_cam(a, 0, net, 0), a[:,1:]/4)
    a[0,0,0] = 2 # a quarter of its size: it counts
    close(xgrad_cam(a, 0, net, 0), a.sum(1, keepdim=True).relu()/4)

def test_xgrad_cam_keeps_the_sum():
    "Before the ReLU it sums to what HiResCAM sums to: here all is positive"
    net = nn.Sequential(Given(), nn.Flatten(), nn.Linear(8, 2, bias=False)).eval()
    a = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): net[-1].weight.abs_()
    close(xgrad_cam(a, 1, net, 0).sum(-1), hires_cam(a, 1, net, 0).sum(-1))
    assert (xgrad_cam(a, 1, net, 0)-hires_cam(a, 1, net, 0)).abs().max()>1e-2

def test_grad_cam_pp_with_negative_activations():
    "den/g^2 = 2 + sum(A) g: positive, zero and negative"
    net = given([[4.]])
    for total,w in ((1., 4/3), (-1., 4.), (-2., 0.), (-3., 0.)):
        a = torch.tensor([[[total-1, 1., 0, 0]]])
        close(grad_cam_pp(a, 0, net, 0), (w*a).relu())

def test_one_channel():
    "K=1: a direction is the channel itself, weights of a softmax are 1, and all of the score is lost without it"
    net = nn.Sequential(nn.Conv1d(2,1,5,padding=2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1,3,bias=False)).eval()
    a,s = net[0](x).detach(),net(x).detach()
    g = net[-1].weight.detach()[y]/40
    close(eigen_cam(x, y, net), a); close(eigen_grad_cam(x, y, net), a*g[...,None]); close(score_cam(x, y, net), a.relu())
    close(ablation_cam(x, y, net), (s.gather(1, y[:,None]).sign()[...,None]*a).relu())
    close(xgrad_cam(x, y, net), grad_cam(x, y, net), 1e-5)

@pytest.mark.parametrize('method', [*new, class_cam, grad_cam, hires_cam, layer_cam], ids=ids)
def test_dead_layer_and_one_step(method):
    "A layer that gives zeros everywhere has a map of zeros, with or without bias in the head; a series of one step has a map"
    net = tiny_cnn(2,3)
    with torch.no_grad(): net[2].weight.zero_(); net[2].bias.fill_(-1)
    for bias in (1., 0.):
        with torch.no_grad(): net[-1].bias.fill_(bias)
        got = method(x, y, net)
        assert got.shape==(6,1,40) and not got.any()
    assert method(x[...,:1], y, nets['tiny'][0]).isfinite().all()

def test_eigen_cam_where_singular_values_are_equal():
    "The direction in their space that agrees most with the mean; the same whatever the order of channels or the batch"
    a = torch.zeros(4, 3, 5)
    a[0,0,1],a[0,1,3],a[0,2,4] = 2,2,1 # two share the first place
    a[1,0,1],a[1,1,3] = 2,-2
    a[2,0],a[2,1] = torch.arange(5.),-torch.arange(5.) # one direction, of channel sum 0
    net = given([[1.,1,1]])
    want = torch.tensor([[0.,2,0,2,0], [0,2,0,-2,0], [0,2,4,6,8], [0]*5])[:,None]/2**.5*torch.tensor([1,1,1.,1])[:,None,None]
    close(eigen_cam(a, 0, net, 0), want)
    for i in range(4): assert torch.equal(eigen_cam(a[i], 0, net, 0), eigen_cam(a, 0, net, 0)[i])
    close(eigen_cam(a[:1,[2,1,0]], 0, net, 0), want[:1])

def test_eigen_cam_sign_and_long_layers():
    "Inner product with the mean over channels is not negative, for more channels than steps too"
    g = torch.Generator().manual_seed(0)
    for K,L in ((3,20), (20,3)):
        a = torch.randn(8, K, L, generator=g)
        net = given([[1.]*K])
        got = eigen_cam(a, 0, net, 0)
        assert ((got*a.mean(1, keepdim=True)).sum((1,2))>=0).all()
        close(got, torch.stack([brute_eigen(o.double())[None].float() for o in a]), 1e-5); close(eigen_cam(-a, 0, net, 0), -got)

def test_ablation_cam_of_a_score_of_zero():
    "Undivided there; elsewhere a common factor, so that a score times -1 gives the map of the other sign"
    net = given([[1.,1], [1.,-1]])
    a = torch.tensor([[[1.,2,3,6], [2,1,7,2]]]) # both of mean 3
    close(ablation_cam(a, 1, net, 0), (3*a[:,:1]-3*a[:,1:]).relu())
    close(ablation_cam(a, 0, net, 0), a.sum(1, keepdim=True)/2)
    assert not ablation_cam(a, lambda out: -out[:,0], net, 0).any()

def test_a_constant_channel_shows_the_baseline_alone():
    net,seen = given([[1.,1], [1,-1]]),[]
    a = torch.tensor([[[5.,5,5,5], [1,2,3,4]]])
    net.register_forward_pre_hook(lambda m,i: seen.append(i[0].clone()))
    got = score_cam(a, 0, net, 0, baseline=.5)
    shown = torch.cat(seen[1:])
    assert (shown[0]==.5).all() and (shown[1,:,0]==.5).all() and torch.equal(shown[1,:,3], a[0,:,3])
    p = net(shown).softmax(1)[:,0].detach().softmax(0)
    close(got, (p[:,None]*a[0]).sum(0)[None,None])

# ---- a contrast of two classes

@pytest.mark.parametrize('net', ['tiny','resnet'])
def test_class_cam_of_a_contrast(net):
    model,_ = nets[net]
    for c,other in ((0,2), (y,(y+1)%3), (y,None)):
        if other is None: twin = model(x).scatter(1, y[:,None], -torch.inf).argmax(1)
        else: twin = other
        close(contrast(class_cam, other)(x, c, model), class_cam(x, c, model)-class_cam(x, twin, model), 1e-5)
    with says(ValueError, 'gap_head'): contrast(class_cam, 1)(x, 0, nn.Sequential(nn.Conv1d(2,8,5,padding=2), nn.Flatten(), nn.Linear(320,3)), 0)
    with says(ValueError, 'raw output'): contrast(class_cam, 1)(x, prob(0), model)

@pytest.mark.parametrize('method', [grad_cam_pp, xgrad_cam, eigen_grad_cam, ablation_cam], ids=ids)
def test_contrast_is_a_score_of_its_own(method):
    model,layer = nets['tiny']
    close(contrast(method, 2)(x, 0, model), method(x, lambda out: out[:,0]-out[:,2], model), 1e-5)

# ---- passes: how many, and that they do not show

def rows_through(module, seen): return module.register_forward_hook(lambda m,i,o: seen.append(len(o)))

@pytest.mark.parametrize('bs', [1, 4, 9, None])
@pytest.mark.parametrize('target', ['labels', None])
def test_score_cam_runs_k_and_one_rows_an_item(bs, target):
    model,_ = nets['tiny']
    seen = []
    h = rows_through(model, seen)
    try: score_cam(x, y if target else None, model, 3, bs=bs)
    finally: h.remove()
    assert seen[0]==6 and (sum(seen[1:])==6*8 and max(seen[1:])==(bs or 48) if bs!=1 else seen[1:]==[2]*48) # a single row is run as two on a CPU

@pytest.mark.parametrize('bs', [1, 4, 9, None])
@pytest.mark.parametrize('net', ['tiny', 'resnet', 'inner'])
def test_ablation_cam_runs_the_body_once(bs, net):
    "Once the way through the model is known; after the layer K+1 rows an item, and one for the class"
    model,layer = nets[net]
    K = model[:layer+1](x[:1]).shape[1]
    ablation_cam(x, None, model, layer)
    body,head = [],[]
    hs = [rows_through(model[0] if net!='inner' else model[layer], body), rows_through(model[-1], head)]
    try: ablation_cam(x, None, model, layer, bs=bs)
    finally: [h.remove() for h in hs]
    if net!='inner': assert body==[6]
    assert sum(head)==6+6*(K+1)*(2 if bs==1 else 1) and max(head[1:])==max(2, bs or 6*(K+1)) # a single row is run as two on a CPU

def test_errors_of_the_model_are_its_own():
    class Fails(nn.Module):
        def forward(self, x): raise ArithmeticError('on purpose')
    with pytest.raises(ArithmeticError): ablation_cam(x, 1, nn.Sequential(*nets['tiny'][0][:4], Fails()), 3)

@pytest.fixture(scope='module')
def inception():
    from tsviz.models import inception_time
    torch.manual_seed(0)
    series,labels,_ = planted(12, n_steps=60, width=16)
    return fit_tiny(inception_time(1, 2, ks=20, depth=3, bottleneck_size=8, nb_filters=8), series, labels, 15),series[:3],labels[:3]

@pytest.mark.parametrize('method', [score_cam, ablation_cam], ids=ids)
@pytest.mark.parametrize('layer', [None, 1])
def test_passes_do_not_show_on_inception_time(inception, method, layer):
    model,series,labels = inception
    want = method(series, labels, model, layer)
    assert want.any()
    for bs in (1,3,7): close(method(series, labels, model, layer, bs=bs), want)
    for i in range(3): close(method(series[i:i+1], labels[i:i+1], model, layer), want[i:i+1])

@pytest.mark.parametrize('method', new, ids=ids)
def test_neighbours_do_not_show_on_inception_time(inception, method):
    model,series,labels = inception
    want = method(series, labels, model)
    for i in range(3): close(method(series[i:i+1], labels[i:i+1], model), want[i:i+1], 1e-6 if method in (score_cam,ablation_cam) else 2e-6)
    assert torch.equal(method(series, labels, model), want)

@pytest.mark.parametrize('method', new, ids=ids)
def test_float64(method):
    for net in nets:
        model,layer = as64(net)
        got = method(x.double(), y, model, layer)
        assert got.dtype==torch.float64; close(method(x, y, *nets[net]).double(), got, 1e-4)

@pytest.mark.parametrize('method', [score_cam, ablation_cam], ids=ids)
def test_bad_bs(method):
    for bad in (0, -1, 2.5, True):
        with says(ValueError, '`bs`'): method(x, y, nets['tiny'][0], bs=bad)

def test_bad_baselines():
    for bad,word in ((float('nan'), 'NaN'), (torch.zeros(3,7), 'broadcast'), ('zeros', 'zero')):
        with says(ValueError, '`baseline`', word): score_cam(x, y, nets['tiny'][0], baseline=bad)
    model = nets['tiny'][0]
    assert torch.equal(score_cam(x, y, model, baseline='zero'), score_cam(x, y, model))
    assert torch.equal(score_cam(x, y, model, baseline='noise', seed=1), score_cam(x, y, model, baseline='noise', seed=1))
    assert (score_cam(x, y, model, baseline='noise', seed=1)-score_cam(x, y, model, baseline='noise')).any()
    close(score_cam(x, None, model, baseline=opposite(x, y)), torch.cat([score_cam(x[i:i+1], None, model, baseline=opposite(x, y)) for i in range(6)]))

@pytest.mark.parametrize('net', ['tiny', 'resnet'])
def test_xgrad_cam_is_grad_cam_for_an_even_gradient(net):
    "captum's, at a layer that global average pooling follows; Grad-CAM++ has g/(2 + sum(A) g) summed over time there"
    model,layer = nets[net]
    close(xgrad_cam(x, y, model, layer), upsample(LayerGradCam(model, model[layer]).attribute(x, target=y, relu_attributions=True).detach(), 40), 1e-5)
    a,w = model[:layer+1](x).detach(),model[-1].weight.detach()[y][...,None] # the gradient is w/40, the sum over time 40 times
    close(grad_cam_pp(x, y, model, layer), ((w.relu()/(2+w*a.mean(-1, keepdim=True)))*a).sum(1, keepdim=True), 1e-5)
