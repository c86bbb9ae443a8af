"Faithfulness, robustness and sanity agree with Quantus where the definitions meet"
import numpy as np, pytest, torch
from tsviz.faithfulness import aopc, deletion_curve, insertion_curve
from tsviz.gradient import input_x_grad
from tsviz.method import precomputed
from tsviz.sanity import max_sensitivity, randomization_curve
from tsviz.localisation import pointing, sparsity
from tsviz.synth import planted, tiny_cnn
quantus = pytest.importorskip('quantus')

@pytest.fixture(params=[1,2], ids='{} channels'.format)
def case(request):
    C = request.param
    x,y,mask = planted(6, n_channels=C, n_steps=40, n_classes=3, width=16)
    model = tiny_cnn(C, 3)
    with torch.no_grad(): [o.mul_(60) for o in model[-1].parameters()]
    def explain(model=None, inputs=None, targets=None, **_): return input_x_grad(torch.as_tensor(inputs), torch.as_tensor(targets), model).numpy()
    def ask(metric, a=None, **kw): # (B,...)
        a = explain(model, x, y) if a is None else a.numpy()
        res = metric(model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=a, channel_first=True, softmax=True, device='cpu', **kw)
        return {k:torch.tensor(np.array(v)) for k,v in res.items()} if isinstance(res, dict) else torch.tensor(np.array(res))
    return x,y,mask,model,explain,ask

plain = dict(normalise=False, abs=False, disable_warnings=True)
near = lambda a,b: torch.testing.assert_close(a.double(), b.double(), atol=1e-4, rtol=0)

@pytest.mark.parametrize('baseline', [0., -.7])
def test_deletion_and_insertion(case, baseline):
    "Quantus flips one value after the other, and has no point for the series as it is; insertion is the flipping of the negative, read backwards"
    x,y,_,model,_,ask = case
    n = x[0].numel()
    kw,flip = dict(n_steps=n, per_channel=True, baseline=baseline),quantus.PixelFlipping(features_in_step=1, perturb_baseline=baseline, **plain)
    ours,theirs = deletion_curve(input_x_grad, x, y, model, **kw),ask(flip)
    near(ours[:,1:], theirs)
    near(aopc(input_x_grad, x, y, model, **kw), (ours[:,:1]-theirs).sum(1)/(n+1))
    a = input_x_grad(x, y, model)
    near(insertion_curve(precomputed(a), x, y, model, **kw).flip(1)[:,1:], ask(flip, -a))

def test_windows(case):
    "Patches of four steps, in all channels"
    x,y,_,model,_,ask = case
    near(deletion_curve(input_x_grad, x, y, model, n_steps=10, window=4, baseline='zero')[:,1:], ask(quantus.Selectivity(patch_size=4, perturb_baseline=0., **plain)))

def test_max_sensitivity(case):
    "With the same draws"
    x,y,_,model,explain,ask = case
    draws = iter(2*torch.rand(10, *x.shape[1:], generator=torch.Generator().manual_seed(0))-1)
    size = .02*(x.amax(-1, keepdim=True)-x.amin(-1, keepdim=True))
    theirs = ask(quantus.MaxSensitivity(nr_samples=10, perturb_func=lambda arr,**_: (x+size*next(draws)).numpy().reshape(arr.shape), **plain), explain_func=explain)
    near(max_sensitivity(input_x_grad, x, y, model), theirs)

def test_model_randomization(case):
    "Quantus draws each layer from the same seed, so the stages that draw one layer agree: the last layer, which is the first to go"
    x,y,_,model,explain,ask = case
    theirs = ask(quantus.MPRT(similarity_func=quantus.correlation_spearman, layer_order='top_down', seed=6, **plain), explain_func=explain)
    near(randomization_curve(input_x_grad, x, y, model, seed=7)[:,0], theirs['6'].abs())

def test_sparsity_and_pointing(case):
    x,y,mask,model,_,ask = case
    near(sparsity(input_x_grad, x, y, model), ask(quantus.Sparseness(normalise=False, abs=True, disable_warnings=True)))
    if x.shape[1]==1: near(pointing(input_x_grad, x, y, model, mask=mask), ask(quantus.PointingGame(**plain), s_batch=mask.numpy()))
