"learn.compare: the numbers of `compare`, whatever the loader"
import numpy as np, pytest, torch
from functools import partial
from fastai.basics import DataLoaders, DataLoader, Learner, MSELossFlat, no_random
from tsviz.all import (Standardize, TSDataLoaders, average_precision, compare, compare_curves, deletion, fcn, gradient, grad_cam, insertion_curve, planted, pointing, precomputed, sparsity, ts_learner)
from tsviz.check import check_found
from common import says

x,y,mask = planted(120, n_steps=48, n_classes=3, width=12)
names = ['hump','dip','burst']

def learner(**kw):
    dls = TSDataLoaders.from_numpy(x, [names[o] for o in y], valid_idx=range(60,120), bs=16, **kw)
    with no_random(): learn = ts_learner(dls, fcn(1, 3, nf=(8,8,8)))
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-2)
    return learn

@pytest.fixture(scope='module')
def learn(): return learner()

def test_same_numbers(learn):
    with check_found(learn.model): got = learn.compare([grad_cam, gradient], [deletion, sparsity], max_n=None, seed=2)
    want = compare([grad_cam, gradient], [deletion, sparsity], x[60:], None, learn.model, seed=2)
    assert [*got.index]==[*want.index] and [*got.columns]==[*want.columns] and np.abs(got-want).max(None)<1e-5
    assert got.attrs['n']['Random']==60

def test_defaults(learn):
    df = learn.compare(max_n=31)
    assert [*df.index]==['cam_acts','grad_cam','hires_cam','integrated_grads','occlusion','Random'] and df.attrs['n']['Random']==31
    assert [*dict.fromkeys(df.columns.get_level_values(0))]==['degradation_score','class_sensitivity','model_randomization']
    assert df['class_sensitivity']['mean']['cam_acts']<1e-6

def test_which_series(learn):
    v = deletion(grad_cam, x[60:], None, learn.model)
    for idxs in ([3,50,-1], range(20,40), slice(0,30,3), torch.arange(60)<35):
        got = learn.compare([grad_cam], [deletion], idxs=idxs, n_boot=50)
        which = torch.arange(60)[idxs if not isinstance(idxs, range) else list(idxs)]
        assert abs(got['deletion']['mean']['grad_cam']-v[which].mean())<1e-5 and got.attrs['n']['Random']==len(which)
    train = learn.compare([grad_cam], [deletion], ds_idx=0, max_n=None)
    assert abs(train['deletion']['mean']['grad_cam']-deletion(grad_cam, x[:60], None, learn.model).mean())<1e-5

def test_rows_of_masks_and_baselines_go_with_their_series(learn):
    m,half = mask[60:],range(15,55)
    df = learn.compare({'truth': precomputed(m)}, [pointing, average_precision], idxs=half, mask=m, n_boot=50)
    assert df.loc['truth'].tolist()==[1]*6
    base = torch.randn(60,1,48)
    got = learn.compare([grad_cam], [partial(deletion, baseline=base)], idxs=half)
    want = compare([grad_cam], [partial(deletion, baseline=base[15:55])], x[75:115], None, learn.model)
    assert np.abs(got.to_numpy()-want.to_numpy()).max()<1e-5
    with says(ValueError, '`mask`', '60', '40'): learn.compare([grad_cam], [pointing], idxs=half, mask=m[:40])

def test_classes_by_name(learn):
    df = learn.compare([grad_cam], [deletion], max_n=None, y='label', by_class=True)
    assert set(df.index.get_level_values('class'))=={*names} and df.attrs['n'][('grad_cam','dip')]==20
    c = torch.tensor([learn.dls.vocab.o2i[names[o]] for o in y[60:]]) # as the model counts them
    v = deletion(grad_cam, x[60:], c, learn.model)
    assert all(abs(df.loc[('grad_cam',n),('deletion','mean')]-v[c==i].mean())<1e-5 for i,n in enumerate(learn.dls.vocab))

def test_curves(learn):
    got = learn.compare_curves([grad_cam], curve=partial(insertion_curve, n_steps=6), max_n=None)
    want = compare_curves([grad_cam], x[60:], None, learn.model, curve=partial(insertion_curve, n_steps=6))
    assert [*got]==['grad_cam','Random'] and all(torch.allclose(got[k], want[k], atol=1e-5) for k in want)

def test_unequal_lengths_and_transforms():
    xs = [o[:,:20+i%3*10] for i,o in enumerate(x)]
    dls = TSDataLoaders.from_numpy(xs, y.numpy(), valid_idx=range(60,120), bs=16, batch_tfms=Standardize('per_sample_per_channel'))
    learn = ts_learner(dls, fcn(1, 3, nf=(8,8,8)))
    got = learn.compare([grad_cam], [deletion], max_n=None)
    one = lambda o: (o-o.mean())/o.std(correction=0).clamp(min=1e-8)
    want = torch.cat([deletion(grad_cam, one(o)[None], None, learn.model) for o in xs[60:]])
    assert abs(got['deletion']['mean']['grad_cam']-want.mean())<1e-3

def test_regression_and_plain_loaders():
    ds = [(o,o.mean()[None]) for o in x]
    dls = DataLoaders(DataLoader(ds[:60], bs=16), DataLoader(ds[60:], bs=16))
    learn = Learner(dls, fcn(1, 1, nf=(8,8,8)), loss_func=MSELossFlat())
    for y_ in (None, 'label'):
        df = learn.compare([grad_cam, gradient], max_n=20, y=y_)
        assert [*dict.fromkeys(df.columns.get_level_values(0))]==['degradation_score','model_randomization'] # one output has no other class
    with says(ValueError, 'by_class'): learn.compare([grad_cam], [deletion], max_n=5, by_class=True)

def test_errors(learn):
    with says(ValueError, "'labels'"): learn.compare([grad_cam], [deletion], y='labels')
    with says(ValueError, 'max_n'): learn.compare([grad_cam], [deletion], max_n=0)
    with says(ValueError, 'ds_idx'): learn.compare([grad_cam], [deletion], ds_idx=5)
    test = learn.dls.test_dl(x[:5].numpy())
    assert len(learn.compare([grad_cam], [deletion], dl=test))==2
    with says(ValueError, 'no labels'): learn.compare([grad_cam], [deletion], dl=test, y='label')
