"The CAM family against the origin's recipe, captum, torchcam and a calculation by hand"
import pytest, torch, torch.nn as nn
from captum.attr import LayerGradCam
from hypothesis import given, settings, strategies as st
from tsviz.cam import cam_acts, class_cam, grad_cam, grad_cam_acts, hires_cam, layer_cam
from tsviz.core import reductions, upsample
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
