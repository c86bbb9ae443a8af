"Localisation and sparsity: by hand, beside scikit-learn, and the truth as a method"
import numpy as np, pytest, torch
from hypothesis import given, strategies as st
from sklearn.metrics import average_precision_score
from tsviz.cam import cam_acts, grad_cam, hires_cam, layer_cam
from tsviz.gradient import gradient, input_x_grad, integrated_grads
from tsviz.localisation import average_precision, pointing, relevance_mass, sparsity
from tsviz.method import precomputed
from tsviz.metrics import bootstrap_ci, random_map
from tsviz.perturb import occlusion
from tsviz.synth import fit_tiny, planted, tiny_cnn
from common import says

model = tiny_cnn(2)
located = [pointing, average_precision, relevance_mass]
def of(metric, attr, mask=None, **kw):
    x = torch.rand(len(attr), 2, attr.shape[-1], generator=torch.Generator().manual_seed(0))
    return metric(precomputed(attr), x, 0, model, **({} if mask is None else dict(mask=mask)), **kw)

@given(st.data())
def test_average_precision_is_scikit_learns(data):
    C,T = data.draw(st.sampled_from([(1,1),(1,2),(2,1),(2,2)])),data.draw(st.integers(2, 30))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    attr,mask = torch.randn(3, C[0], T, generator=g).round(decimals=1),torch.rand(3, C[1], T, generator=g)<.3
    mask[:,:,0],mask[:,:,-1] = True,False
    got = of(average_precision, attr, mask)
    for i in range(3):
        m = mask[i].any(0, keepdim=True) if C[0]==1 else mask[i].expand(2, T)
        assert abs(got[i]-average_precision_score(m.flatten(), attr[i].expand_as(m).flatten()))<1e-6

def test_pointing_by_hand():
    mask = torch.tensor([[[0,1,1,0]]]).bool()
    for attr,want in [([1.,9,2,3],1), ([9.,1,2,3],0), ([9.,9,2,3],.5), ([1.,1,1,1],.5), ([-4.,-9,-9,-5],0), ([0.,0,0,0],.5)]:
        assert of(pointing, torch.tensor([[attr]]), mask).item()==want

def test_relevance_mass_by_hand():
    mask = torch.tensor([[[0,1,1,0]]]).bool()
    for attr,want in [([1.,2,3,4],.5), ([-1.,2,-3,2],.5), ([-1.,-2,-3,-4],0), ([0.,0,0,0],0), ([0.,5,0,-9],1), ([1e38,1e38,1e38,1e38],.5), ([1e-38,1e-38,0,0],.5)]:
        assert abs(of(relevance_mass, torch.tensor([[attr]]), mask).item()-want)<1e-6

def test_sparsity_by_hand():
    for attr,want in [([1.,1,1,1],0), ([0.,0,0,0],0), ([0.,0,0,5],.75), ([0.,0,0,-5],.75), ([1.,2,3,4],.25), ([1e-30]*4,0)]:
        assert abs(of(sparsity, torch.tensor([[attr]])).item()-want)<1e-6
    a = torch.rand(9, 2, 30)
    def gini(v): return np.abs(v[:,None]-v[None]).mean()/2/v.mean() # half the relative mean difference
    assert np.abs(of(sparsity, a).numpy()-[gini(o.flatten().double().numpy()) for o in a]).max()<1e-6

def test_masks_and_channels():
    "One row for all channels meets any; one mask row is the same for all"
    attr,mask = torch.tensor([[[9.,1,0],[0,0,0]]]),torch.tensor([[[0,0,0],[1,0,0]]]).bool()
    assert of(pointing, attr, mask).item()==0 and of(pointing, attr[:,:1], mask).item()==1
    assert of(pointing, attr, mask.any(1, keepdim=True)).item()==1

def test_a_mask_that_is_everywhere_in_one_channel_or_another():
    "A map of one row has nothing to find there, a map of a row a channel has"
    attr,mask = torch.tensor([[[4.,1,0],[0,3,2]]]),torch.tensor([[[1,1,0],[0,0,1]]]).bool()
    assert of(relevance_mass, attr, mask).item()==pytest.approx(.7)
    for metric in located:
        with says(ValueError, 'item 0 is True at every step in one channel or another', 'nothing to find'): of(metric, attr[:,:1], mask)
        with says(ValueError, 'item 0 is False at every step,'): of(metric, attr, mask&False)
        with says(ValueError, 'item 0 is True at every step,'): of(metric, attr, mask|True)

def test_the_truth_wins_and_random_is_where_it_must_be():
    x,y,mask = planted(160, n_channels=2, n_steps=100, width=20)
    model = fit_tiny(tiny_cnn(2), x[:100], y[:100])
    x,y,mask = x[100:],y[100:],mask[100:]
    share = 20/100 # a random map has one row, and meets any channel
    g = np.random.default_rng(0)
    truth = np.arange(100)<20
    simulated = dict(pointing=share, relevance_mass=share, average_precision=np.mean([average_precision_score(truth, g.random(100)) for _ in range(600)]))
    for metric in located:
        best = metric(precomputed(mask*1.), x, y, model, mask=mask)
        assert torch.allclose(best, torch.ones(60))
        for o in (cam_acts, grad_cam, hires_cam, layer_cam, gradient, input_x_grad, integrated_grads, occlusion):
            got = metric(o, x, y, model, mask=mask).mean()
            assert got<=best.mean() and (metric is pointing or got<best.mean()), (metric,o)
        mean,lo,hi = bootstrap_ci(metric(random_map(), x, y, model, mask=mask), level=.99)
        assert lo-.01<simulated[metric.__name__]<hi+.01, (metric,lo,hi)

def test_random_average_precision_of_short_series():
    ".127 for a share of .10 at T = 150: above the share, as simulation has it"
    x,mask = torch.randn(800, 1, 150, generator=torch.Generator().manual_seed(0)),torch.arange(150).expand(800, 1, 150)<15
    got = average_precision(random_map(), x, 0, tiny_cnn(), mask=mask).mean().item()
    assert abs(got-.127)<.006

def test_lengths_and_errors():
    x,attr = torch.rand(2,2,10),torch.rand(2,1,10)
    mask = torch.zeros(2,1,10).bool(); mask[:,:,2:4] = True
    got = average_precision(precomputed(attr), x, 0, model, mask=mask, lengths=[10,6])
    assert torch.allclose(got[1:], average_precision(precomputed(attr[1:,:,:6]), x[1:,:,:6], 0, model, mask=mask[1:,:,:6]))
    one = x[0]
    assert pointing(precomputed(attr[:1]), one, 0, model, mask=mask[:1]).ndim==0
    for bad,words in [(None,('pass `mask`',)), (mask[:1],('mask','(2,1|2,10)')), (mask*.5,('bools',)), (mask&False,('item 0','leave such items out')), (mask|True,('item 0','nothing to find'))]:
        with says(ValueError, *words): pointing(precomputed(attr), x, 0, model, mask=bad)
    with says(ValueError, 'item 1'): pointing(precomputed(attr), x, 0, model, mask=mask, lengths=[10,2]) # the evidence lies in the padding
