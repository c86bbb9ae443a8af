"Sanity: captum's sensitivity, loops written from the papers, and whether methods that see no class or no weights are flagged"
import copy, math
import numpy as np, pytest, torch, torch.nn as nn
from scipy.stats import spearmanr
from tsviz.cam import cam_acts, class_cam, eigen_cam, grad_cam, hires_cam
from tsviz.check import check_found
from tsviz.gradient import gradient, guided_backprop, input_x_grad, integrated_grads, saliency
from tsviz.method import itemwise, precomputed
from tsviz.metrics import random_map
from tsviz.perturb import occlusion
from tsviz.sanity import abs_spearman, class_sensitivity, max_sensitivity, model_randomization, randomization_curve
from tsviz.synth import fit_tiny, planted, tiny_cnn
from common import says

@pytest.fixture(scope='module')
def trained():
    x,y,mask = planted(90, n_channels=2, n_steps=80, n_classes=3, width=20)
    return fit_tiny(tiny_cnn(2, 3), x, y),x[:40],y[:40]

def test_max_sensitivity_by_loop(trained):
    model,x,y = trained
    x,y = x[:5],y[:5]
    got = max_sensitivity(gradient, x, y, model, radius=.1, n_samples=7, seed=4)
    g,want = torch.Generator().manual_seed(4),torch.zeros(5)
    d = 2*torch.rand(7, 2, 80, generator=g)-1
    for i in range(5):
        size = .1*torch.stack([c.max()-c.min() for c in x[i]])[:,None]
        base = gradient(x[i:i+1], y[i:i+1], model)
        want[i] = max((gradient(x[i:i+1]+size*o, y[i:i+1], model)-base).norm().item() for o in d)/base.norm().item()
    assert (got-want).abs().max()<1e-4

def test_max_sensitivity_is_captums(trained):
    from captum.metrics import sensitivity_max
    model,x,y = trained
    x,y,n = x[:4],y[:4],6
    d = 2*torch.rand(n, 2, 80, generator=torch.Generator().manual_seed(0))-1
    size = .05*(x.amax(-1, keepdim=True)-x.amin(-1, keepdim=True))
    def noisy(inputs, perturb_radius):
        rows = inputs[0] if isinstance(inputs, tuple) else inputs
        k = len(rows)//len(x) # captum repeats each series k times in a row
        return (torch.cat([rows[i*k:(i+1)*k] + size[i]*d[:k] for i in range(len(x))]),)
    want = sensitivity_max(lambda inputs, target: tuple(input_x_grad(o, target, model) for o in (inputs if isinstance(inputs, tuple) else (inputs,))),
                           x, perturb_func=noisy, n_perturb_samples=n, norm_ord='fro', target=y)
    got = max_sensitivity(input_x_grad, x, y, model, radius=.05, n_samples=n)
    assert (got-want).abs().max()<1e-4

def test_max_sensitivity_of_odd_maps(trained):
    model,x,y = trained
    zero = itemwise(lambda x,*_: torch.zeros(1, x.shape[-1]))
    assert not max_sensitivity(zero, x, y, model).any()
    wakes = itemwise(lambda o,*_: (o[:1]!=x[0,:1])*1. if (o-x[0]).abs().max()<.5 and not torch.equal(o, x[0]) else torch.zeros(1, o.shape[-1]))
    assert max_sensitivity(wakes, x[:1], y[:1], model).tolist()==[1.] # zero, and something after noise
    assert not max_sensitivity(gradient, x, y, model, radius=0).any()
    flat = torch.full((2,2,80), 3.)
    assert not max_sensitivity(gradient, flat, 0, model).any() # a flat channel gets no noise

def test_abs_spearman_is_scipys():
    g = torch.Generator().manual_seed(0)
    a,b = torch.randn(20, 2, 15, generator=g).round(decimals=0),torch.randn(20, 2, 15, generator=g).round(decimals=1)
    want = [abs(spearmanr(p.flatten(), q.flatten()).statistic) for p,q in zip(a, b)]
    assert np.abs(abs_spearman(a, b).numpy()-want).max()<1e-12

@pytest.mark.parametrize('n_stages', [1, 2, None])
def test_model_randomization_by_loop(trained, n_stages):
    "The cascade, written out for the three layers of the small network"
    model,x,y = trained
    x,y = x[:6],y[:6]
    names = [n for n,o in model.named_modules() if isinstance(o, (nn.Conv1d,nn.Linear))][::-1]
    stages = {1:[names], 2:[names[:1],names[1:]], None:[[n] for n in names]}[n_stages]
    base,res = grad_cam(x, y, model),[]
    net,state = copy.deepcopy(model),torch.get_rng_state()
    torch.manual_seed(11)
    for stage in stages:
        for n in stage: net.get_submodule(n).reset_parameters()
        a = grad_cam(x, y, net)
        row = []
        for p,q in zip(base, a):
            flat = [len(o.unique())==1 for o in (p,q)]
            row.append(float(flat[0] and flat[1]) if any(flat) else abs(spearmanr(p.flatten(), q.flatten()).statistic))
        res.append(row)
    torch.set_rng_state(state)
    assert np.abs(randomization_curve(grad_cam, x, y, model, n_stages=n_stages, seed=11).numpy()-np.array(res).T).max()<1e-4
    assert np.abs(model_randomization(grad_cam, x, y, model, n_stages=n_stages, seed=11).numpy()-np.mean(res, 0)).max()<1e-4

def test_flags(trained):
    "What sees no class, or no weights, is flagged; Grad-CAM is not"
    model,x,y = trained
    mean = lambda metric,o: metric(o, x, y, model).mean().item()
    for o in (cam_acts, eigen_cam, random_map()):
        assert model_randomization.flags(mean(model_randomization, o)), o
        assert mean(class_sensitivity, o)<1e-6 and class_sensitivity.flags(mean(class_sensitivity, o)), o
    for o in (grad_cam, hires_cam, class_cam, gradient, integrated_grads, occlusion):
        assert not model_randomization.flags(mean(model_randomization, o)), o
        assert not class_sensitivity.flags(mean(class_sensitivity, o)), o
    assert model_randomization.flags(mean(model_randomization, precomputed(torch.randn(40,1,80))))

def test_cam_acts_keeps_its_map_behind_the_head(trained):
    model,x,y = trained
    c = randomization_curve(cam_acts, x, y, model)
    assert c.shape==(40,3) and torch.allclose(c[:,0], torch.ones(40)) and (c[:,1:]<1).all()

def test_class_sensitivity_by_loop(trained):
    model,x,y = trained
    for target in (y, None, 1):
        got = class_sensitivity(gradient, x[:6], target[:6] if target is y else target, model)
        for i in range(6):
            with torch.no_grad(): out = model(x[i:i+1])[0]
            c = int(y[i]) if target is y else int(out.argmax()) if target is None else 1
            other = [int(k) for k in out.argsort(descending=True) if k!=c][0]
            a,b = [gradient(x[i:i+1], k, model).flatten() for k in (c,other)]
            assert abs(got[i]-(1-abs(spearmanr(a, b).statistic)))<1e-4

def test_nothing_is_changed(trained):
    model,x,y = trained
    net = copy.deepcopy(model).train()
    net[0].weight.requires_grad_(False)
    for metric in (model_randomization, class_sensitivity, max_sensitivity):
        with check_found(net, x, y): metric(grad_cam, x[:4], y[:4], net)
    assert torch.allclose(model_randomization(grad_cam, x[:4], y[:4], net), model_randomization(grad_cam, x[:4], y[:4], model))

def test_layers_named_in_any_way(trained):
    "A module, a name or a number mean the copy's own layer"
    model,x,y = trained
    want = model_randomization(grad_cam, x[:6], y[:6], model, 0)
    for layer in (model[0], '0', lambda m: m[0]): assert torch.allclose(model_randomization(grad_cam, x[:6], y[:6], model, layer), want)

def test_weights_of_all_kinds():
    "A network of bare parameters, of a layer that runs twice, of one that never runs"
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale,self.conv,self.never,self.head = nn.Parameter(torch.rand(4,1)),nn.Conv1d(1,4,5,padding=2),nn.Linear(3,3),nn.Linear(4,3)
        def forward(self, x): return self.head((self.scale*self.conv(x)).relu().mean(-1))
    torch.manual_seed(0)
    net,x = Net(),torch.randn(5,1,30)
    c = randomization_curve(gradient, x, 0, net)
    assert c.shape==(5,4) and c.isfinite().all()
    with says(ValueError, 'no weights', 'Sequential'): model_randomization(gradient, x, 0, nn.Sequential(nn.AdaptiveAvgPool1d(3), nn.Flatten()))

def test_batchnorm_is_renewed_too():
    net = nn.Sequential(nn.Conv1d(1,4,5,padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3))
    net(torch.randn(20,1,30)*5) # moves its statistics
    before = copy.deepcopy(net.state_dict())
    model_randomization(grad_cam, torch.randn(4,1,30), 0, net)
    assert all(torch.equal(v, before[k]) for k,v in net.state_dict().items())

@pytest.mark.parametrize('metric,maps', [(max_sensitivity,11), (model_randomization,3), (class_sensitivity,2)], ids=lambda o: str(o))
def test_maps_are_counted(trained, metric, maps):
    "Every map is asked for once, in passes of `bs`"
    model,x,y = trained
    rows = []
    def fn(o, c, net, *_): rows.append(1); return o[:1]*1.
    metric(itemwise(fn), x[:6], y[:6], model, bs=4)
    assert len(rows)==6*maps

def test_errors(trained):
    model,x,y = trained
    with says(ValueError, '`radius`', '-1'): max_sensitivity(gradient, x, y, model, radius=-1)
    with says(ValueError, '`n_samples`', '0'): max_sensitivity(gradient, x, y, model, n_samples=0)
    with says(ValueError, '`n_stages`', '0'): model_randomization(gradient, x, y, model, n_stages=0)
    with says(ValueError, 'class'): class_sensitivity(gradient, x, lambda out: out[:,0], model)
    one = nn.Sequential(nn.Conv1d(2,1,1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    with says(ValueError, 'two'): class_sensitivity(gradient, x, None, one)
