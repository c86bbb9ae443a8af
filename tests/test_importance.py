"Importances of steps and channels: their intervals contain the truth as often as they say"
from functools import lru_cache
import pandas as pd, pytest, torch, torch.nn as nn
from tsviz.cam import grad_cam, hires_cam
from tsviz.gradient import input_x_grad
from tsviz.method import contrast
from tsviz.metrics import bootstrap_ci, shares
from tsviz.synth import fit_tiny, planted, tiny_cnn

class Late(nn.Module):
    "A mean over time in which the last step counts nine times the first, so that no two steps are equally important"
    def forward(self, acts): return acts@(torch.linspace(.2, 1.8, acts.shape[-1])/acts.shape[-1])

def make(n, seed, C=1):
    "A sample of the process: the classes too are drawn, where `planted` takes them in turn"
    x,y,_ = planted(n, n_channels=C, n_steps=60, width=24, seed=seed)
    picked = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return x[picked],y[picked]

def fit(C=1):
    model = tiny_cnn(C)
    model[4],model[5] = Late(),nn.Identity()
    return fit_tiny(model, *make(64, 10_000, C), n_steps=60)
def importances(method, x, model, dim): return shares(method(x, None, model)).abs().sum(dim)

model,other = fit(),fit(3)

@lru_cache
def both(C): return make(10_000, 1, C)[0],make(12_000, 2, C)[0]

def held(method, model, C, dim, n, n_boot=500, **kw):
    "How often each interval, of sets of `n` series, has the value on 10,000 other series in it"
    truth,sample = (importances(method, x, model, dim).double() for x in both(C))
    truth = truth.mean(0)
    ends = [bootstrap_ci(o, n_boot=n_boot, **kw)[1:] for o in sample.split(n)]
    assert truth.max()>3*truth.min() # there is something to tell
    return torch.stack([(lo<=truth) & (truth<=hi) for lo,hi in ends]).double().mean(0)

@pytest.mark.parametrize('method', [grad_cam, hires_cam, input_x_grad], ids=lambda m: m.__name__)
def test_intervals_of_steps_hold_the_truth(method):
    share = held(method, model, 1, 1, 50)
    assert share.shape==(60,) and .92<share.mean()<.97 and share.min()>.85 and share.max()<1

def test_intervals_of_larger_sets_hold_the_truth():
    assert .92<held(contrast(hires_cam), model, 1, 1, 80).mean()<.975

def test_intervals_of_channels_hold_the_truth():
    share = held(input_x_grad, other, 3, 2, 50)
    assert share.shape==(3,) and .92<share.mean()<.97 and ((.9<share)&(share<.985)).all()

def test_another_level_holds_as_often_as_it_says():
    assert .76<held(hires_cam, model, 1, 1, 60, level=.8).mean()<.84

# ---- the same numbers from the whole set of a Learner

@pytest.fixture(scope='module')
def interp():
    from fastai.basics import DataLoaders, Learner
    from torch.utils.data import TensorDataset
    from fastai.data.load import DataLoader
    from tsviz.interpret import AttrInterpretation
    from fastai.losses import CrossEntropyLossFlat
    def build(method, x, y, model, bs):
        dl = DataLoader(TensorDataset(x, y), bs=bs)
        learn = Learner(DataLoaders(dl, dl), model, loss_func=CrossEntropyLossFlat())
        with learn.no_bar(): return AttrInterpretation.from_learner(learn, method)
    return build

def table(ci): return pd.DataFrame(dict(zip(('mean','lo','hi'), (o.numpy() for o in ci))))

@pytest.mark.parametrize('method', [grad_cam, hires_cam])
def test_tables_are_these_intervals(interp, method):
    x,y = make(300, 3)
    it = interp(method, x, y, model, 64)
    whole = it.time_importance()
    assert list(whole.columns)==['mean','lo','hi'] and whole.index.name=='step' and len(whole)==60
    s = importances(method, x, model, 1)
    pd.testing.assert_frame_equal(whole.reset_index(drop=True), table(bootstrap_ci(iter(s.split(64)), n=300)), rtol=1e-4, atol=1e-7)
    for i in (0,100,200): # any part of it, here less than a batch
        some = it.time_importance(range(i, i+50), n_boot=500, seed=2).reset_index(drop=True)
        pd.testing.assert_frame_equal(some, table(bootstrap_ci(s[i:i+50], n_boot=500, seed=2)), rtol=1e-4, atol=1e-7)

def test_tables_of_channels_are_these_intervals(interp):
    x,y = make(100, 3, 3)
    got = interp(input_x_grad, x, y, other, 32).channel_importance()
    assert got.index.name=='channel' and len(got)==3
    want = bootstrap_ci(iter(importances(input_x_grad, x, other, 2).split(32)), n=100)
    pd.testing.assert_frame_equal(got.reset_index(drop=True), table(want), rtol=1e-4, atol=1e-7)

def test_tables_hold_the_truth(interp):
    "Forty parts of one set, each its own sample"
    truth = importances(hires_cam, make(10_000, 1)[0], model, 1).double().mean(0).numpy()
    it = interp(hires_cam, *make(2000, 4), model, 256)
    tables = [it.time_importance(range(i, i+50), n_boot=400) for i in range(0, 2000, 50)]
    share = sum(((o['lo'].values<=truth) & (truth<=o['hi'].values)).mean() for o in tables)/40
    assert .9<share<.985
