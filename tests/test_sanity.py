"Sanity: captum's sensitivity, loops written from the papers, and whether methods that see no class or no weights are flagged"
import copy, math, warnings
import numpy as np, pytest, torch, torch.nn as nn
from scipy.stats import spearmanr
from tsviz.cam import cam_acts, class_cam, eigen_cam, grad_cam, hires_cam
from tsviz.check import check_found
from tsviz.core import keep_random, prob
from tsviz.gradient import gradient, input_x_grad, integrated_grads
from tsviz.method import itemwise, precomputed
from tsviz.metrics import random_map
from tsviz.perturb import occlusion
from tsviz.score import LayerRun, explaining
from tsviz.sanity import _find_stages, _renew, abs_spearman, class_sensitivity, max_sensitivity, model_randomization, randomization_curve
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
    flat = torch.full_like(a, 3.)
    for p,q,one in ((flat, 2*flat, 1), (flat, a, 0), (a, flat, 0), (a, a, 1), (a, -2*a, 1)): assert np.abs(abs_spearman(p, q).numpy()-one).max()<1e-12

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

def test_class_sensitivity_of_a_probability(trained):
    "The other class's probability is explained, too"
    model,x,y = trained
    other = model(x[:6]).scatter(1, y[:6,None], -math.inf).argmax(1)
    want = 1-abs_spearman(gradient(x[:6], prob(y[:6]), model), gradient(x[:6], prob(other), model))
    assert torch.allclose(class_sensitivity(gradient, x[:6], prob(y[:6]), model, bs=4), want.float(), atol=1e-5)

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
    for layer in (model[0], '0', lambda m: m[0], LayerRun(model[0], 0)): assert torch.allclose(model_randomization(grad_cam, x[:6], y[:6], model, layer), want)

def test_weights_of_all_kinds():
    "A network of bare parameters, of a layer that runs twice, of one that never runs"
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale,self.conv,self.twice,self.never = nn.Parameter(torch.rand(4,1)),nn.Conv1d(1,4,5,padding=2),nn.Conv1d(4,4,1),nn.Linear(3,3)
            self.head,self.last = nn.Linear(4,3),nn.Linear(3,3)
        def forward(self, x): return self.last(self.head(self.twice((self.scale*self.twice(self.conv(x))).relu()).mean(-1)))
    with keep_random(): torch.manual_seed(0); net,x = Net(),torch.randn(5,1,30)
    c = randomization_curve(gradient, x, 0, net)
    assert c.shape==(5,6) and c.isfinite().all()
    with explaining(net): order = _find_stages(net, x, None) # the model itself runs last of all, and is first; then from the output on
    assert order==[[o] for o in (net.never, net, net.last, net.head, net.twice, net.conv)]
    with explaining(net): assert _find_stages(net, x, 3)==[[net.never], [net,net.last,net.head], [net.twice,net.conv]] and len(_find_stages(net, x, 9))==6
    with says(ValueError, 'no weights', 'Sequential'): model_randomization(gradient, x, 0, nn.Sequential(nn.AdaptiveAvgPool1d(3), nn.Flatten()))

def test_all_weights_are_new():
    "Those of a module that resets only what it computes from them too; constants, and the caller's model, stay"
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.w,self.one,self.n = nn.Parameter(5+.1*torch.randn(4,2,3)),nn.Parameter(torch.ones(4)),nn.Parameter(torch.arange(3), requires_grad=False)
        def forward(self, x): return nn.functional.conv1d(x, self.w, padding=1)*self.one[:,None]
    with keep_random():
        torch.manual_seed(0)
        head = lambda: [nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3)]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            nets = [nn.Sequential(fn(nn.Conv1d(2,4,5,padding=2)), *head()) for fn in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm)]
        own,x = nn.Sequential(Own(), *head()),torch.randn(3,2,20)
    for net in (*nets, own):
        with check_found(net, x): model_randomization(gradient if net is own else grad_cam, x, 0, net)
        new = copy.deepcopy(net) if net is not nets[0] else net # that of old weight norm has a graph
        old = [p.detach().clone() for p in new.parameters()]
        with keep_random(), torch.no_grad():
            for o in new.modules(): _renew(o)
        same = [torch.equal(p, q) for p,q in zip(new.parameters(), old)]
        assert same==([False,True,True,False,False] if net is own else [False]*5), same
    w = new[0].w.detach()
    assert abs(w.mean()-5)<.1 and .04<w.std()<.2

def test_what_has_no_layers_to_renew():
    scripted = torch.jit.script(tiny_cnn())
    with says(ValueError, 'scripted'): model_randomization(gradient, torch.randn(2,1,20), 0, scripted)

def test_a_users_function_may_call_backward(trained):
    "The copy's parameters are not frozen for it either"
    model,x,y = trained
    def mine(o, c, net, layer, *_):
        acts = []
        handle = layer.register_forward_hook(lambda m,i,o: (o.retain_grad(), acts.append(o))[0])
        try: net(o[None])[0,c].backward()
        finally: handle.remove()
        return (acts[0].grad.mean(-1, keepdim=True)*acts[0]).sum(1).relu().detach()
    with check_found(model, x): got = model_randomization(mine, x[:4], y[:4], model)
    assert torch.allclose(got, model_randomization(grad_cam, x[:4], y[:4], model), atol=1e-5)

def test_batchnorm_is_renewed_too():
    net = nn.Sequential(nn.Conv1d(1,4,5,padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3))
    net(torch.randn(20,1,30)*5) # moves its statistics
    before = copy.deepcopy(net.state_dict())
    model_randomization(grad_cam, torch.randn(4,1,30), 0, net)
    assert all(torch.equal(v, before[k]) for k,v in net.state_dict().items())
    with keep_random(), torch.no_grad():
        for o in net.modules(): _renew(o)
    assert net[1].running_mean.eq(0).all() and net[1].running_var.eq(1).all()

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
