"`check_method` passes for every method here, and names the contract that a faulty one breaks"
import itertools, threading
from functools import partial
import numpy as np, pytest, torch
import tsviz.cam as cam
from tsviz.cam import grad_cam, grad_cam_acts, hires_cam
from tsviz.check import check_found, check_method, contracts
from tsviz.core import as_batch, as_plain, find_bs
from tsviz.method import attr_method, attr_methods, is_method, itemwise, over_layers, smoothed
from tsviz.score import TargetScore, find_layer
from tsviz.synth import tiny_cnn

def by_hooks(x, y, model, layer, reduction, force_scale, scale_range):
    keep = []
    hs = [layer.register_forward_hook(lambda m,i,o: keep.append(o.clone())), layer.register_full_backward_hook(lambda m,gi,go: keep.append(go[0]))]
    out = model(x[None])
    (y(out) if callable(y) else out[0,y]).sum().backward()
    for h in hs: h.remove()
    return (keep[0]*keep[1]).sum(1)[0]

good = {k:m for k,m in vars(cam).items() if is_method(m)} | {
    'partial':partial(grad_cam, relu=False), 'smoothed':smoothed(hires_cam, 3), 'smoothed scaled':smoothed(grad_cam_acts, 2), 'itemwise':itemwise(lambda x,y,model,layer,*a: hires_cam(x, y, model, layer)),
    'over layers':over_layers(hires_cam, [0,2]), 'nested':smoothed(over_layers(smoothed(partial(grad_cam, relu=False), 2), [0,2], 'max'), 2)}

@pytest.mark.parametrize('name', good)
def test_good_methods_pass(name): check_method(good[name])

def test_every_method_of_the_cam_family_is_here():
    assert set(cam.__all__) <= good.keys() and all(attr_methods[k] is good[k] for k in cam.__all__)

def test_parameters_and_choice_of_contracts():
    check_method(grad_cam_acts, reduction='median'); check_method(grad_cam, only=['lengths','state'], relu=False)
    with pytest.raises(ValueError, match="no contract 'length'.*'lengths'"): check_method(grad_cam, only=['length'])
    n = itertools.count(1)
    with pytest.raises(AssertionError, match='GRAD-CAM breaks the contract `independent` at layer=None: two equal calls'): check_method(grad_cam_acts, reduction=lambda t,dim: t.sum(dim)*next(n))

# ---- faulty methods: each is right but for one thing

def plainly(fault):
    "A function of a method's form that gives HiResCAM's maps, but does `fault` first"
    def faulty(x, y, model, layer=None, lengths=None):
        fault(x, y, model, layer)
        return hires_cam(x, y, model, layer, lengths=lengths)
    faulty.__name__ = fault.__name__
    return faulty

def rule(f): m = attr_method(f); attr_methods.pop(m.__name__); return m

@rule
def pools_over_the_batch(f, x):
    a,g = f.acts_grads(x)
    return (g.mean((0,2), keepdim=True)*a).sum(1, keepdim=True)

@rule
def scales_by_the_batch(f, x):
    a,g = f.acts_grads(x)
    a = (a*g).sum(1, keepdim=True)
    return a/a.abs().max()

@plainly
def leaves_eval_mode(x, y, model, layer): model.eval()

@plainly
def leaves_frozen(x, y, model, layer): model.requires_grad_(False)

@plainly
def leaves_a_hook(x, y, model, layer): find_layer(model, layer, as_plain(x) if x.ndim==3 else as_plain(x)[None]).register_forward_hook(lambda m,i,o: None)

@rule
def rule_leaves_a_hook(f, x):
    f.model[0].register_full_backward_hook(lambda *a: None)
    return hires_rule(f, x)

@plainly
def fills_grad(x, y, model, layer):
    flags = [o.training for o in model.modules()]
    model.eval()(as_batch(x, next(model.parameters()))).sum().backward()
    for o,flag in zip(model.modules(), flags): o.training = flag

@plainly
def changes_batchnorm_statistics(x, y, model, layer):
    if model.training:
        with torch.no_grad(), torch.random.fork_rng(): model(as_batch(x, next(model.parameters())))

@plainly
def draws_random_numbers(x, y, model, layer): torch.rand(1)

@plainly
def draws_numpy_numbers(x, y, model, layer): np.random.rand()

@plainly
def leaves_grad_off(x, y, model, layer): torch.set_grad_enabled(False)

def works_in_place_on_x(x, y, model, layer=None, lengths=None):
    x.mul_(2)
    return hires_cam(x/2, y, model, layer, lengths=lengths)

def returns_l_steps(x, y, model, layer=None, lengths=None):
    a = TargetScore(model, y, layer).acts(as_batch(x)).mean(1, keepdim=True)
    return a if x.ndim==3 else a[0]

def drops_the_rank(x, y, model, layer=None, lengths=None):
    return hires_cam(x if x.ndim==3 else x[None], y, model, layer, lengths=lengths)

def returns_a_graph(x, y, model, layer=None, lengths=None): return hires_cam(x, y, model, layer, lengths=lengths).requires_grad_()

def lets_padded_steps_in(x, y, model, layer=None, lengths=None):
    a = hires_cam(x, y, model, layer)
    if lengths is not None:
        for i,n in enumerate(lengths): a[i,:,n:] = 0
    return a

def scores_padded_steps(x, y, model, layer=None, lengths=None):
    a = hires_cam(x, y, model, layer, lengths=lengths)
    return a if lengths is None else a+1e-3*(a==0)

def builds_a_graph_before_the_layer(x, y, model, layer=None, lengths=None):
    with torch.inference_mode(False), torch.no_grad(): x2 = as_batch(x, next(model.parameters())).clone()
    with torch.inference_mode(False), torch.enable_grad():
        flags = [o.training for o in model.modules()]
        try: model.eval()(x2)
        except ArithmeticError: pass
        finally:
            for o,flag in zip(model.modules(), flags): o.training = flag
    return hires_cam(x, y, model, layer, lengths=lengths)

def returns_a_subclass(x, y, model, layer=None, lengths=None):
    return hires_cam(x, y, model, layer, lengths=lengths).as_subclass(type(x))

calls = []
def depends_on_call_order(x, y, model, layer=None, lengths=None):
    calls.append(1)
    return hires_cam(x, y, model, layer, lengths=lengths)*(1+len(calls)%3)

def works_under_grad_only(x, y, model, layer=None, lengths=None):
    a = hires_cam(x, y, model, layer, lengths=lengths)
    return a if torch.is_grad_enabled() else 0*a

def float32_only(x, y, model, layer=None, lengths=None): return hires_cam(x, y, model, layer, lengths=lengths).float()

def overwritten_by_an_inplace_relu(x, y, model, layer=None, lengths=None):
    a = hires_cam(x, y, model, layer, lengths=lengths)
    return a*1.5 if any(getattr(o, 'inplace', False) for o in model.modules()) else a

def hides_errors(x, y, model, layer=None, lengths=None):
    try: return hires_cam(x, y, model, layer, lengths=lengths)
    except ArithmeticError: return as_plain(x)[...,:1,:]

def accepts_nan(x, y, model, layer=None, lengths=None): return hires_cam(as_plain(x).nan_to_num(), y, model, layer, lengths=lengths)

def wrong_error(x, y, model, layer=None, lengths=None):
    try: return hires_cam(x, y, model, layer, lengths=lengths)
    except ValueError as e: raise KeyError(str(e)) from e

def explains_another_class_by_default(x, y, model, layer=None, lengths=None): return hires_cam(x, 0 if y is None else y, model, layer, lengths=lengths)

shared = []
def not_for_threads(x, y, model, layer=None, lengths=None):
    shared.append(x)
    n,here = len(shared),threading.current_thread() is threading.main_thread()
    for _ in range(0 if here else 1000): # until another thread was here, or none comes any more
        if len(shared)>n: break
        threading.Event().wait(.002)
    return hires_cam(shared[-1] if len(shared[-1])==len(x) and x.ndim==3 and x.dtype==shared[-1].dtype and len(x)==2 else x, y, model, layer, lengths=lengths)

def hires_rule(f, x):
    a,g = f.acts_grads(x)
    return (a*g).sum(1, keepdim=True)

def knows_its_pass(x, y, model, layer=None, lengths=None, bs=None): return hires_cam(x, y, model, layer, lengths=lengths)*(1 if bs is None else 1+1e-4*find_bs(torch.ones(1,1,1), bs))
def takes_any_bs(x, y, model, layer=None, lengths=None, bs=None): return hires_cam(x, y, model, layer, lengths=lengths)
def ignores_bs(x, y, model, layer=None, lengths=None, bs=None):
    find_bs(torch.ones(1,1,1), bs)
    return smoothed(hires_cam, 3, std=0., bs=18)(x, y, model, layer, lengths=lengths)

faults = {'passes':[knows_its_pass, takes_any_bs, ignores_bs], 'independent':[pools_over_the_batch, scales_by_the_batch, depends_on_call_order], 'shapes':[returns_l_steps, drops_the_rank, returns_a_graph],
          'state':[leaves_eval_mode, leaves_frozen, leaves_a_hook, rule_leaves_a_hook, fills_grad, changes_batchnorm_statistics, draws_random_numbers, draws_numpy_numbers, leaves_grad_off, works_in_place_on_x, hides_errors],
          'modes':[works_under_grad_only], 'graph':[builds_a_graph_before_the_layer], 'inplace':[overwritten_by_an_inplace_relu], 'lengths':[lets_padded_steps_in, scores_padded_steps], 'threads':[not_for_threads],
          'subclass':[returns_a_subclass], 'double':[float32_only], 'targets':[explains_another_class_by_default], 'errors':[accepts_nan, wrong_error]}

def test_every_contract_has_a_method_that_breaks_it(): assert faults.keys()==contracts.keys()

@pytest.mark.parametrize('contract,m', [(k,m) for k,ms in faults.items() for m in ms], ids=lambda o: getattr(o, '__name__', o))
def test_faulty_methods_fail(contract, m):
    grad = torch.is_grad_enabled()
    try:
        with pytest.raises(AssertionError, match=f'breaks the contract `{contract}` at layer='): check_method(m)
    finally: torch.set_grad_enabled(grad)

def test_found_as_it_was_also_with_nan():
    "NaN in weights is no change; a NaN that was not there is"
    model = tiny_cnn()
    model[0].weight.data[0] = torch.nan
    with check_found(model, torch.tensor([1.,torch.nan])): model(torch.zeros(1, 1, 20))
    with pytest.raises(AssertionError, match="leaves the model's parameters changed after a call"):
        with check_found(model): model[0].bias.data[0] = torch.nan
    x = torch.zeros(3)
    with pytest.raises(AssertionError, match="leaves what it was given changed on the way"):
        with check_found(model, x, when='on the way'): x[1] = torch.nan
    with pytest.raises(AssertionError, match="random state"):
        with check_found(model): torch.rand(1)
    with pytest.raises(AssertionError, match="training"): # also when the code raises
        with check_found(model): model.train(); raise ArithmeticError
