"`AttrInterpretation`: losses, predictions and maps of a whole loader, against fastai, scikit-learn and plain means"
import gc, random
from functools import partial
import numpy as np, pytest, sklearn.metrics as skm, torch, torch.nn as nn, torch.nn.functional as F
from common import Fwd, says
from fastai.basics import (BCEWithLogitsLossFlat, CategoryBlock, CrossEntropyLossFlat, DataBlock, DataLoader, DataLoaders, ItemGetter, L, Learner, MSELossFlat,
                           MultiCategoryBlock, Tensor, load_learner)
from fastai.callback.data import *
import fastai.callback.fp16 # noqa: F401
from fastai.interpret import ClassificationInterpretation, Interpretation
from tsviz.cam import grad_cam, hires_cam
from tsviz.check import check_found
from tsviz.data import TSBlock, TSDataLoaders, TensorTS, get_batch
from tsviz.gradient import input_x_grad, integrated_grads
from tsviz.interpret import AttrClassificationInterpretation, AttrInterpretation, ClassMeans, _Running, _find_rows
from tsviz.learner import fetch_items, ts_learner
from tsviz.method import contrast, over_models
from tsviz.metrics import bootstrap_ci, shares
from tsviz.score import prob
from tsviz.synth import planted, tiny_cnn
from tsviz.transform import Crop, Jitter, Resample, Standardize

NAMES = {'0':'hump', '1':'dip', '2':'burst'}
model = None # of the learner of a test: `nothing_left_behind` looks at nothing else here

def quiet(l): l.remove_cb(l.progress); return l

def loaders(n_channels=1, n=60, **kwargs):
    x,y,_ = planted(n, n_channels, n_steps=60, n_classes=3, width=16, noise=1.)
    return TSDataLoaders.from_numpy(10+5*x, y.numpy(), **{**dict(valid_idx=range(25,n), bs=8, lbl_dict=NAMES, batch_tfms=Standardize()), **kwargs})

def trained(dls, model, n_epoch=4, **kwargs):
    torch.manual_seed(0)
    l = quiet(ts_learner(dls, model, **kwargs))
    with l.no_logging(): l.fit(n_epoch, 1e-2)
    return l

@pytest.fixture(scope='module')
def learn(): return trained(loaders(), tiny_cnn(1, 3))

@pytest.fixture(scope='module')
def interp(learn): return AttrInterpretation.from_learner(learn)

@pytest.fixture(scope='module')
def multi(): return trained(loaders(3), tiny_cnn(3, 3))

@pytest.fixture(scope='module')
def uneven():
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    xs = [o[:,:25+(7*i)%36].numpy() for i,o in enumerate(x)]
    return trained(TSDataLoaders.from_numpy(xs, y.numpy(), valid_idx=range(20,40), bs=8, lbl_dict=NAMES), tiny_cnn(1, 3), 1)

def series(dl): return [torch.as_tensor(np.asarray(dl.dataset[i][0])) for i in range(len(dl.dataset))]

# what is kept: against fastai's own

def test_losses_predictions_and_labels_are_fastais(learn, interp):
    want = ClassificationInterpretation.from_learner(learn)
    preds,targs,decoded = learn.get_preds(with_decoded=True)
    assert torch.allclose(interp.losses, want.losses.as_subclass(Tensor), atol=1e-6) and torch.allclose(interp.preds, preds.as_subclass(Tensor), atol=1e-6)
    assert interp.targs.tolist()==targs.tolist() and interp.decoded.tolist()==decoded.tolist()
    assert {type(o) for o in (interp.losses,interp.preds,interp.targs)}=={Tensor} and interp.losses.device.type=='cpu'
    for k,largest in ((5,True),(None,True),(4,False)):
        (l0,i0),(l1,i1) = want.top_losses(k, largest),interp.top_losses(k, largest)
        assert i0.tolist()==i1.tolist() and torch.allclose(l0.as_subclass(Tensor), l1, atol=1e-6)
    assert (interp.confusion_matrix()==want.confusion_matrix()).all() and interp.most_confused()==want.most_confused()

@pytest.mark.parametrize('kind', ['training set','weighted','regression','multi-label','one-hot','binary','weights of classes'])
def test_top_losses_are_those_of_fastais_own_interpretation(kind):
    "Losses and their order, whatever the learner"
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    ds_idx,n,loss,labels = int(kind not in ('training set','weighted')),3,None,y.numpy()
    if kind=='regression': n,labels = 1,3.5*y.float().numpy()
    elif kind=='one-hot': loss,labels = nn.CrossEntropyLoss(),F.one_hot(y, 3).float()
    elif kind=='binary': n,loss,labels = 1,BCEWithLogitsLossFlat(),(y>0).long().numpy()
    elif kind=='weights of classes': loss = CrossEntropyLossFlat(weight=torch.tensor([1.,5.,.2]))
    if kind in ('weighted','multi-label'):
        block = MultiCategoryBlock if kind=='multi-label' else CategoryBlock
        items = [(o.numpy(), [['a'],['b','c'],[]][c] if kind=='multi-label' else str(int(c))) for o,c in zip(x, y)]
        db = DataBlock((TSBlock, block), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (L(range(25)),L(range(25,40))))
        dls = db.datasets(items).weighted_dataloaders(np.arange(25)+1., bs=8) if kind=='weighted' else db.dataloaders(items, bs=8)
    elif kind=='one-hot': dls = DataLoaders(*[DataLoader(torch.utils.data.TensorDataset(x[i:j], labels[i:j]), bs=8) for i,j in ((0,25),(25,40))])
    else: dls = TSDataLoaders.from_numpy(x, labels, valid_idx=range(25,40), bs=8)
    l = quiet(ts_learner(dls, tiny_cnn(1, n), loss_func=loss, metrics=[]))
    got = AttrInterpretation.from_learner(l, ds_idx=ds_idx)
    want = Interpretation.from_learner(l, ds_idx=ds_idx)
    assert len(got.losses)==(15 if ds_idx else 25)
    assert torch.allclose(got.losses, want.losses.as_subclass(Tensor), atol=1e-5)
    for k,largest in ((4,True),(None,False)): assert got.top_losses(k, largest)[1].tolist()==want.top_losses(k, largest)[1].tolist()

def test_confusion_matrix_is_scikit_learns_and_asks_no_second_time(learn, monkeypatch, capsys):
    it = AttrInterpretation.from_learner(learn)
    monkeypatch.setattr(type(learn), 'get_preds', None)
    y,p = it.targs,it.preds.argmax(1)
    assert (it.confusion_matrix()==skm.confusion_matrix(y, p, labels=[0,1,2])).all() and it.confusion_matrix().trace()<len(y)
    it.print_classification_report()
    assert capsys.readouterr().out.strip()==skm.classification_report(y, p, target_names=[*learn.dls.vocab], zero_division=0).strip()

def test_a_class_without_series_keeps_its_place(learn, capsys):
    x,y,_ = planted(30, n_steps=60, n_classes=3, width=16, seed=3)
    it = AttrInterpretation.from_learner(learn, dl=learn.dls.test_dl(10+5*x[y==0], y=[NAMES['0']]*int((y==0).sum())))
    assert it.confusion_matrix().shape==(3,3) and it.confusion_matrix().sum()==(y==0).sum()
    it.print_classification_report()
    said = capsys.readouterr().out
    assert all(o in said for o in NAMES.values())

def test_fastais_own_interpretation_draws_series(learn):
    import matplotlib.pyplot as plt
    try:
        want = Interpretation.from_learner(learn)
        want.plot_top_losses(4)
        fig = plt.gcf()
        losses,idxs = want.top_losses(4)
        preds,targs = learn.get_preds()
        for ax,l,i in zip(fig.axes, losses, idxs):
            names = [learn.dls.vocab[int(o)] for o in (targs[i],preds[i].argmax())]
            assert ax.get_title()==f'{names[0]} / {names[1]} / {float(l):.2f} / {float(preds[i].max()):.2f}'
            np.testing.assert_allclose(ax.lines[0].get_ydata(), learn.dls.valid_ds[int(i)][0][0], rtol=1e-3, atol=1e-3)
        assert fig._suptitle.get_text()=='true / predicted / loss / probability'
    finally: plt.close('all')

def test_one_pass_and_all_is_as_found(learn):
    calls,fwd = [],type(learn.model).forward
    learn.model.train()
    learn.dls.train.rng.seed(3)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), learn.dls.train.rng.getstate(), learn.dls.valid.rng.getstate())
    h = learn.model[0].register_forward_pre_hook(lambda m, i: calls.append(len(i[0])))
    loss = learn.loss_func
    try:
        for ds_idx,n in ((1,35),(0,25)):
            it = AttrInterpretation.from_learner(learn, ds_idx=ds_idx)
            assert sum(calls)==n and len(it.losses)==n
            calls.clear()
    finally: h.remove()
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), learn.dls.train.rng.getstate(), learn.dls.valid.rng.getstate())
    assert torch.equal(before[0], after[0]) and before[1:]==after[1:]
    assert learn.loss_func is loss and loss.reduction=='mean' and fwd is type(learn.model).forward

def test_model_is_as_found_by_every_picture(learn):
    learn.model.train()
    with check_found(learn.model):
        it = AttrInterpretation.from_learner(learn)
        it.plot_top_losses(2); it.class_means(); it.show_class_means(); it.show_dataset(); it.show_confused(); it.show_time_importance(n_boot=20); it.show_results([0])
        it.channel_importance(n_boot=20); it.show_channel_importance(n_boot=20)

def test_training_set_is_in_order_whole_and_without_augmentation():
    dls = loaders(batch_tfms=[Jitter(2.), Standardize()])
    l = quiet(ts_learner(dls, tiny_cnn(1, 3)))
    it = AttrInterpretation.from_learner(l, ds_idx=0)
    x,y,_ = l.attribute(grad_cam, ds_idx=0)
    assert it.targs.tolist()==y.tolist()
    with torch.no_grad(): out = l.model.eval()(x.as_subclass(Tensor))
    assert torch.allclose(it.preds, out.softmax(1), atol=1e-5)
    each = l.loss_func.__class__(reduction='none')(out, y.as_subclass(Tensor))
    assert torch.allclose(it.losses, each.as_subclass(Tensor), atol=1e-5)

def test_weighted_and_partial_loaders_are_gone_through_whole():
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    items = [(o.numpy(), NAMES[str(int(c))]) for o,c in zip(x, y)]
    db = DataBlock((TSBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (L(range(30)),L(range(30,40))))
    for dls in (db.datasets(items).weighted_dataloaders(np.arange(30)+1., bs=8), db.datasets(items).partial_dataloaders(8, bs=8)):
        l = quiet(ts_learner(dls, tiny_cnn(1, 3)))
        it = AttrInterpretation.from_learner(l, ds_idx=0)
        assert len(it.losses)==30 and it.targs.tolist()==[l.dls.vocab.o2i[items[i][1]] for i in range(30)]
        with torch.no_grad(): want = l.model.eval()(x[:30]).softmax(1)
        assert torch.allclose(it.preds, want, atol=1e-5) and it.class_means().n.sum()==30

def test_items_come_by_their_number(learn, interp):
    x,preds,targs,decoded,losses = interp[[7,2]]
    want = get_batch(learn.dls.valid, [7,2])
    assert torch.equal(x.as_subclass(Tensor), want[0].as_subclass(Tensor)) and targs.tolist()==want[1].tolist()
    assert torch.equal(preds, interp.preds[[7,2]]) and decoded.tolist()==preds.argmax(1).tolist() and torch.equal(losses, interp.losses[[7,2]])
    losses,idxs,items = interp.top_losses(3, items=True)
    assert [o[1] for o in items]==[learn.dls.valid.items[i][1] for i in idxs.tolist()]
    with says(ValueError, '`k`', '0'): interp.top_losses(0)
    assert len(interp.top_losses(99)[0])==35

# maps

def test_batches_are_the_maps_of_attribute(learn):
    it = AttrInterpretation.from_learner(learn, hires_cam)
    parts = list(it.batches())
    want = learn.attribute(hires_cam)[2]
    got = torch.cat([o for *_,o in parts])
    assert torch.cat([o for o,*_ in parts]).tolist()==list(range(35)) and [len(o) for o,*_ in parts]==[8,8,8,8,3]
    assert (got-want).abs().max()<=1e-6*want.abs().max() and got.dtype==torch.float32
    some = [3,30,-1]
    got = torch.cat([o for *_,o in it.batches(some)])
    assert (got-want[some]).abs().max()<=1e-6*want.abs().max() and [o.tolist() for o,*_ in it.batches(some)]==[[3,30,34]]
    with says(ValueError, 'empty'): list(it.batches([]))

@pytest.mark.parametrize('y', [None, 'label', 2, list(range(3))*11+[0,1], prob(1)])
def test_targets(learn, y):
    got = torch.cat([o for *_,o in AttrInterpretation.from_learner(learn, hires_cam, y=y).batches()])
    want = learn.attribute(hires_cam, y=y)[2]
    assert (got-want).abs().max()<=1e-6*want.abs().max()

def test_parameters_of_the_method(learn):
    it = AttrInterpretation.from_learner(learn, grad_cam, relu=False, layer=0)
    want = learn.attribute(grad_cam, relu=False, layer=0)[2]
    assert (torch.cat([o for *_,o in it.batches()])-want).abs().max()<=1e-6*want.abs().max()
    ref = torch.randn(35, 1, 60, generator=torch.Generator().manual_seed(0)) # one an item of the loader, whichever are drawn
    it = AttrInterpretation.from_learner(learn, integrated_grads, baseline=ref, n_steps=4)
    want = learn.attribute(integrated_grads, baseline=ref, n_steps=4)[2]
    got = torch.cat([o for *_,o in it.batches([30,4])])
    assert (got-want[[30,4]]).abs().max()<=1e-5*want.abs().max()
    it.plot_top_losses(2)

def test_top_losses_are_drawn_with_the_map_of_the_predicted_class(learn):
    it = AttrInterpretation.from_learner(learn, hires_cam)
    idxs = it.losses.argsort(descending=True)[:4].tolist()
    x,y = get_batch(learn.dls.valid, idxs)
    p = it.preds[idxs]
    assert (p.argmax(1)!=y).any()
    want = hires_cam(x, p.argmax(1), learn.model)
    fig = it.plot_top_losses(4, force_scale=False)
    names = learn.dls.vocab
    for ax,i,o,q,c in zip(fig.axes, idxs, want, p, y):
        assert ax.get_title()==f'[{names[c]}] loss {it.losses[i]:.3g}\npredicted {names[q.argmax()]} ({q.max():.2f})'
        got = np.asarray(ax.collections[0].get_array())
        assert np.isclose(got.max(), o.max(), rtol=1e-3) and np.isclose(got.min(), o.min(), rtol=1e-3)
        lo,hi = ax.get_ylim()
        raw = get_batch(learn.dls.valid.dataset, [i])[0]
        assert lo<=raw.min() and raw.max()<=hi # in the units of the series
    least = it.plot_top_losses(2, largest=False).axes[0].get_title()
    assert f'loss {it.losses.min():.3g}' in least
    ranks = it.plot_top_losses(range(2,4))
    assert [o.get_title() for o in ranks.axes[:2]]==[o.get_title() for o in fig.axes[2:4]]
    for k in ([0,3],torch.tensor([0,3]),np.array([0,-32])): assert [o.get_title() for o in it.plot_top_losses(k).axes[:2]]==[fig.axes[i].get_title() for i in (0,3)]
    with says(ValueError, 'Index 99 is out of range', '35 items'): it.plot_top_losses([99])

def test_results_are_series_with_titles(learn, interp):
    fig = interp.show_results([4,1])
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), learn.dls.valid_ds[4][0][0], rtol=1e-3, atol=1e-3)
    assert fig.axes[1].get_title().startswith(f'[{learn.dls.vocab[interp.targs[1]]}] loss {interp.losses[1]:.3g}\npredicted ')

# means of classes

def test_class_means_are_plain_means(learn):
    it = AttrInterpretation.from_learner(learn, hires_cam)
    m,(_,y,attrs) = it.class_means(),learn.attribute(hires_cam)
    raw = torch.stack(series(learn.dls.valid)).double()
    assert isinstance(m, ClassMeans) and m.attr.shape==m.mean.shape==m.std.shape==(3,1,60)
    for c in range(3):
        assert m.n[c]==(y==c).sum()
        assert (m.attr[c]-attrs[y==c].mean(0)).abs().max()<=1e-5*attrs.abs().max()
        assert torch.allclose(m.mean[c].double(), raw[y==c].mean(0), rtol=1e-5) and torch.allclose(m.std[c].double(), raw[y==c].std(0, correction=0), rtol=1e-4)
    some = [1,2,3,30]
    m = it.class_means(some)
    assert m.n.sum()==4
    for c in y[some].unique(): assert torch.allclose(m.attr[c], attrs[some][y[some]==c].mean(0), atol=1e-5)
    for c in {0,1,2}-{*y[some].tolist()}: assert m.attr[c].isnan().all() and m.n[c]==0

def test_class_means_of_channels(multi):
    it = AttrInterpretation.from_learner(multi, input_x_grad, y='label')
    m,(_,y,attrs) = it.class_means(),multi.attribute(input_x_grad, y='label')
    assert m.attr.shape==(3,3,60)
    for c in range(3): assert (m.attr[c]-attrs[y==c].mean(0)).abs().max()<=1e-5*attrs.abs().max()

def test_class_means_of_unequal_lengths(uneven):
    it = AttrInterpretation.from_learner(uneven, hires_cam)
    m,(x,y,attrs) = it.class_means(),uneven.attribute(hires_cam)
    reach = torch.arange(x.shape[-1])<x.lengths[:,None]
    assert m.mean.shape[-1]==x.lengths.max()
    raw = torch.zeros_like(x.as_subclass(Tensor))
    for i,o in enumerate(series(uneven.dls.valid)): raw[i,:,:o.shape[-1]] = o
    for c in range(3):
        for t in range(x.shape[-1]):
            rows = (y==c)&reach[:,t]
            if rows.any():
                assert torch.allclose(m.attr[c,0,t], attrs[rows,0,t].mean(), atol=1e-5) and torch.allclose(m.mean[c,0,t], raw[rows,0,t].mean(), atol=1e-4)
            else: assert m.attr[c,0,t].isnan() and m.mean[c,0,t].isnan() and m.std[c,0,t].isnan()

def test_running_moments_keep_their_digits():
    v = 1e6+torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    v[::7,1] = torch.nan
    r = _Running(2, 3)
    for part in v.split(7): r.add(1, part)
    mean,std = r.result()
    assert mean[0].isnan().all()
    want = [o[~o.isnan()] for o in v.T]
    assert torch.allclose(mean[1].double(), torch.stack([o.mean() for o in want]), rtol=1e-7)
    assert torch.allclose(std[1].double(), torch.stack([o.std(correction=0) for o in want]), rtol=1e-5)

# importance

def test_time_importance_is_the_mean_share(learn):
    it = AttrInterpretation.from_learner(learn, hires_cam)
    attrs = learn.attribute(hires_cam)[2].double()
    p = attrs.abs().sum(1)/attrs.abs().sum((1,2))[:,None]
    t = it.time_importance(n_boot=300, seed=4)
    assert list(t.columns)==['mean','lo','hi'] and t.index.name=='step' and t.index.tolist()==list(range(60))
    np.testing.assert_allclose(t['mean'], p.mean(0), rtol=1e-4)
    lo,hi = bootstrap_ci(iter(p.split(8)), n=35, n_boot=300, seed=4)[1:]
    np.testing.assert_allclose(t['lo'], lo, rtol=1e-3); np.testing.assert_allclose(t['hi'], hi, rtol=1e-3)
    assert np.isclose(t['mean'].sum(), 1) and (t['lo']<t['mean']).all() and (t['mean']<t['hi']).all()
    assert t.equals(it.time_importance(n_boot=300, seed=4)) and not t.equals(it.time_importance(n_boot=300, seed=5))
    s = it.time_importance([3,1], n_boot=10, fs=30)
    np.testing.assert_allclose(s['mean'], p[[3,1]].mean(0), rtol=1e-4)
    assert s.index.name=='time (s)' and np.isclose(s.index[30], 1.)
    with says(ValueError, '`fs`'): it.time_importance(fs=0)

def test_time_importance_of_unequal_lengths(uneven):
    it = AttrInterpretation.from_learner(uneven, hires_cam)
    x,_,attrs = uneven.attribute(hires_cam)
    p = shares(attrs.double()).abs().sum(1)
    p[torch.arange(x.shape[-1])>=x.lengths[:,None]] = torch.nan
    t = it.time_importance(n_boot=20)
    np.testing.assert_allclose(t['mean'], p.nanmean(0), rtol=1e-4)
    short = x.lengths.argsort()[:2].tolist()
    assert len(it.time_importance(short, n_boot=20))==x.lengths[short].max()

def test_channel_importance(multi):
    it = AttrInterpretation.from_learner(multi, input_x_grad)
    attrs = multi.attribute(input_x_grad)[2].double()
    t = it.channel_importance(n_boot=50)
    np.testing.assert_allclose(t['mean'], (attrs.abs().sum(2)/attrs.abs().sum((1,2))[:,None]).mean(0), rtol=1e-4)
    assert t.index.name=='channel' and t.shape==(3,3) and np.isclose(t['mean'].sum(), 1)
    assert it.time_importance(n_boot=10).shape==(60,3)
    assert len(it.show_channel_importance(n_boot=10).axes[0].get_yticklabels())==3
    with says(ValueError, 'one row for all 3 channels', 'integrated_grads'): AttrInterpretation.from_learner(multi).channel_importance()

# pictures of the whole

def test_rows_of_a_data_set_by_hand():
    at,which = _find_rows(torch.tensor([1,0,1,0,0]), torch.tensor([.1,.2,.9,.8,.5]), 3, 400)
    assert which.tolist()==[0,0,0,1,1] and at.tolist()==[4,2,3,0,1]
    at,which = _find_rows(torch.tensor([0]*8+[1]*2), torch.arange(10.), 2, 5)
    assert which.tolist()==[0,0,0,0,1] and at.tolist()==[3,3,2,2,1,1,0,0,4,4]
    at,which = _find_rows(torch.tensor([0]*9+[1]), torch.arange(10.), 2, 3) # a rare class has a row of its own
    assert which.tolist()==[0]*3+[1] and at.tolist()==[2,2,2,1,1,1,0,0,0,3]

def test_data_set_heat(learn, monkeypatch):
    import tsviz.interpret as m
    seen = {}
    monkeypatch.setattr(m, 'show_dataset', lambda *args, **kwargs: seen.update(args=args, **kwargs))
    it = AttrInterpretation.from_learner(learn, hires_cam)
    x,y,attrs = learn.attribute(hires_cam)
    it.show_dataset()
    rows,which,names,sure,wrong = seen['args']
    scaled,p = attrs[:,0]/attrs.abs().amax((1,2))[:,None],it.preds[range(35),y]
    order = sorted(range(35), key=lambda i: (int(y[i]),-float(p[i])))
    assert torch.allclose(rows, scaled[order], atol=1e-5) and which.tolist()==y[order].tolist() and names==[*learn.dls.vocab] and seen['sort'] is False
    assert torch.allclose(sure, p[order]) and wrong.bool().tolist()==(it.preds.argmax(1)!=y)[order].tolist() and wrong.any()
    other = learn.attribute(hires_cam, y=0)[2][order,0]
    AttrInterpretation.from_learner(learn, hires_cam, y=0).show_dataset()
    assert (other.amin(1)<-other.amax(1)).any() and torch.allclose(seen['args'][0], other/other.abs().amax(1, keepdim=True), atol=1e-5)
    it.show_dataset(max_rows=6)
    rows,which,_,sure,_ = seen['args']
    assert len(rows)<=8 and np.isclose(rows[which==1].double().nanmean(), rows[which==1].double().mean())
    first = [i for i in order if y[i]==0]
    k = int((which==0).sum())
    mine = first[:-(-len(first)//k)]
    assert torch.allclose(rows[0], scaled[mine].mean(0), atol=1e-5) and torch.isclose(sure[0], p[mine].mean())
    with says(ValueError, 'max_rows'): it.show_dataset(max_rows=0)

def test_confused_pairs_are_contrasts(learn):
    it = AttrInterpretation.from_learner(learn, hires_cam)
    x,y,_ = learn.attribute()
    pred = it.preds.argmax(1)
    cm = skm.confusion_matrix(y, pred)
    np.fill_diagonal(cm, 0)
    a,p = np.unravel_index(cm.argmax(), cm.shape)
    idxs = [i for i in it.losses.argsort(descending=True).tolist() if y[i]==a and pred[i]==p][:2]
    fig = it.show_confused(1, 2, force_scale=False)
    names = learn.dls.vocab
    want = contrast(hires_cam, int(a))(x[idxs], int(p), learn.model)
    for ax,i,o in zip(fig.axes, idxs, want):
        q = it.preds[i]
        assert ax.get_title()==f'why {names[p]} ({q[p]:.2f})\nrather than [{names[a]}] ({q[a]:.2f})'
        got = np.asarray(ax.collections[0].get_array())
        assert np.isclose(got.max(), o.max(), rtol=1e-3) and np.isclose(got.min(), o.min(), rtol=1e-3)
    assert [o[:2] for o in it._confused(3, 1)]==[(learn.dls.vocab.o2i[a],learn.dls.vocab.o2i[p]) for a,p,_ in it.most_confused()[:3]]

def test_nothing_confused_is_one_sentence(learn):
    it = AttrInterpretation.from_learner(learn)
    it.decoded = it.labels.clone()
    with says(ValueError, 'No item is confused'): it.show_confused()

# series on another time axis than the network's

def test_cropped_series_keep_their_own_axis():
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    l = trained(TSDataLoaders.from_numpy(10+5*x, y.numpy(), valid_idx=range(20,40), bs=8, item_tfms=Crop(10, 45), batch_tfms=Standardize()), tiny_cnn(1, 3), 1)
    it = AttrInterpretation.from_learner(l, hires_cam)
    seen,labels,attrs = l.attribute(hires_cam)
    assert seen.shape[-1]==35 and it.steps.unique().tolist()==[60]
    m,t = it.class_means(),it.time_importance(n_boot=20)
    p = shares(attrs.double()).abs().sum(1).mean(0)
    assert len(t)==60 and t['mean'][:10].isna().all() and t['mean'][45:].isna().all()
    np.testing.assert_allclose(t['mean'][10:45], p, rtol=1e-4)
    for c in range(3):
        assert m.attr[c,:,:10].isnan().all() and m.attr[c,:,45:].isnan().all()
        assert torch.allclose(m.attr[c,:,10:45], attrs[labels==c].mean(0), atol=1e-5)
        assert torch.allclose(m.mean[c], 10+5*x[20:][labels==c].mean(0), rtol=1e-4)
    for fig in (it.plot_top_losses(2),it.show_class_means(),it.show_dataset(),it.show_confused(),it.show_results([0]),it.show_time_importance(n_boot=10)): assert fig.axes

def test_series_of_many_lengths_resampled_to_one():
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    xs = [o[:,:25+(7*i)%36].numpy() for i,o in enumerate(x)]
    l = trained(TSDataLoaders.from_numpy(xs, y.numpy(), valid_idx=range(20,40), bs=8, item_tfms=Resample(30)), tiny_cnn(1, 3), 1)
    it = AttrInterpretation.from_learner(l, hires_cam)
    assert it.steps.tolist()==[o.shape[-1] for o in xs[20:]]
    m = it.class_means()
    want = torch.full((20,1,60), torch.nan)
    for i,o in enumerate(xs[20:]): want[i,:,:o.shape[-1]] = torch.from_numpy(o)
    for c in range(3): assert torch.allclose(m.mean[c], want[it.targs==c].nanmean(0)[:,:m.mean.shape[-1]], atol=1e-3, equal_nan=True)
    assert it.time_importance(n_boot=10)['mean'][:25].notna().all()

def test_a_transform_without_a_way_back_is_named_on_the_axis():
    from fastai.basics import Transform
    class Blur(Transform):
        def encodes(self, o:TensorTS): return F.avg_pool1d(o, 3, 2)
    x,y,_ = planted(40, n_steps=60, n_classes=3, width=16)
    l = trained(TSDataLoaders.from_numpy(x, y.numpy(), valid_idx=range(20,40), bs=8, item_tfms=Blur()), tiny_cnn(1, 3), 1)
    it = AttrInterpretation.from_learner(l, hires_cam)
    assert it.steps.unique().tolist()==[29] and 'Blur' in it.axis['xlabel']
    for fig in (it.plot_top_losses(1),it.show_class_means(),it.show_dataset(),it.show_results([0]),it.show_time_importance(n_boot=10)):
        assert any('Blur' in ax.get_xlabel() for ax in fig.axes)

# errors at the door

def test_errors(learn, interp):
    for bad,words in ((dict(method='grad_cam'),('without quotes',)), (dict(y='labels'),("must be 'label'",)), (dict(ds_idx=5),('out of range',)), (dict(y=[0,1]),('2','35'))):
        with says(ValueError, *words): AttrInterpretation.from_learner(learn, **bad)
    with says(TypeError, "Grad-CAM has no parameter 'reluu'", "'relu'"): AttrInterpretation.from_learner(learn, reluu=True)
    with says(ValueError, "no layer 'nope'"): AttrInterpretation.from_learner(learn, layer='nope')
    with says(TypeError, 'two maps a series'): AttrInterpretation.from_learner(learn, over_models(hires_cam, [learn.model]))
    with says(ValueError, '`n_pairs`'): interp.show_confused(0)
    for idxs in ([99],-36):
        with says(ValueError, 'out of range', '35 items'): list(interp.batches(idxs))

def tuples(learn, **kwargs):
    "A Learner whose network gives a tuple"
    class Two(nn.Module):
        def __init__(self): super().__init__(); self.m = tiny_cnn(1, 3)
        def forward(self, x): return self.m(x),x.mean()
    return quiet(Learner(learn.dls, Two(), **kwargs))

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(),lambda out,y: F.cross_entropy(out[0], y),lambda out,y,reduction='mean': F.cross_entropy(out[0], y, reduction=reduction)])
def test_outputs_that_are_no_rows_of_numbers(learn, loss):
    "One sentence, whatever the loss function would say of it, and nothing stays behind"
    l = tuples(learn, loss_func=loss)
    l.model.train()
    with check_found(l.model), says(ValueError, 'The network', '(B,n) or (B,), got tuple', 'wrap the network'): AttrInterpretation.from_learner(l)
    assert l.loss_func is loss and not l.model._forward_hooks
    x,_,_ = planted(10, n_steps=60, width=16)
    with says(ValueError, 'got tuple'): AttrInterpretation.from_learner(l, dl=l.dls.test_dl(x))
    l.model = nn.Sequential(nn.Conv1d(1, 3, 3))
    with says(ValueError, 'got shape (8, 3, 58)'): AttrInterpretation.from_learner(l)
    l.model = Fwd(lambda m, x: m.conv(x).mean(), conv=nn.Conv1d(1, 3, 3))
    with says(ValueError, 'got shape ()'): AttrInterpretation.from_learner(l)

def test_a_network_that_draws_numbers_leaves_the_random_state(learn):
    l = quiet(Learner(learn.dls, Fwd(lambda m, x: m.net(x)+torch.rand(1)*random.random()*np.random.rand(), net=tiny_cnn(1, 3)), loss_func=nn.CrossEntropyLoss()))
    with check_found(l.model): it = AttrInterpretation.from_learner(l)
    with check_found(l.model): it.class_means()

# progress

def test_progress_is_that_of_the_library(monkeypatch):
    "A bar after five seconds, fastai's never, none with `no_bar`; its callback is as before, also after an error"
    import tsviz.learner as m
    said = []
    def bar(o, **kwargs): said.append(kwargs.get('total')); return o
    monkeypatch.setattr('fastai.callback.progress.progress_bar', lambda *args, **kwargs: said.append('fastai'))
    monkeypatch.setattr(m, 'progress_bar', bar)
    l = ts_learner(loaders(), tiny_cnn(1, 3))
    it = AttrInterpretation.from_learner(l)
    it.class_means()
    assert not said and l.progress.run
    monkeypatch.setattr(m._bar, '__defaults__', (0,))
    AttrInterpretation.from_learner(l)
    assert said==[4]
    it.class_means()
    assert said==[4,4]
    with l.no_bar(): AttrInterpretation.from_learner(l).class_means()
    assert said==[4,4]
    l.model = nn.Sequential(nn.Conv1d(1, 3, 3))
    with says(ValueError, 'got shape'): AttrInterpretation.from_learner(l)
    assert l.progress.run

# every learner

def check_all(it, n, n_groups, time=60):
    "Everything that an interpretation offers, whatever the learner"
    assert len(it.preds)==n and it.preds.ndim==2
    m = it.class_means()
    assert len(m.n)==n_groups and m.n.sum()==n and m.attr.shape[-1]==time
    assert len(it.show_class_means().axes)>=1 and len(it.show_dataset().axes)>=1 and len(it.show_results([0,1]).axes)==2
    assert it.time_importance(n_boot=10).shape==(time,3) and it.show_time_importance(n_boot=10).axes
    assert it.channel_importance(n_boot=10).shape[1]==3
    if it.losses is not None:
        assert len(it.plot_top_losses(2).axes)==3 and it.losses.shape==(n,)
        return it.plot_top_losses(2).axes[0].get_title()
    for f in (it.top_losses, partial(it.plot_top_losses, 2)):
        with says(ValueError, 'no labels'): f()

def test_regression():
    x,y,_ = planted(40, n_steps=60, width=16)
    l = quiet(ts_learner(TSDataLoaders.from_numpy(x, y.float().numpy()*3.5, valid_idx=range(28,40), bs=8), tiny_cnn(1, 1)))
    it = AttrInterpretation.from_learner(l)
    assert type(it) is AttrInterpretation and not hasattr(it, 'confusion_matrix') and not hasattr(it, 'show_confused')
    with torch.no_grad(): out = l.model.eval()(x[28:])[:,0]
    assert torch.allclose(it.preds[:,0], out, atol=1e-5) and torch.allclose(it.losses, (out-it.targs.reshape(-1))**2, atol=1e-4)
    i = it.losses.argmax()
    assert check_all(it, 12, 1)==f'[{it.targs.reshape(-1)[i].item():.3g}] loss {it.losses[i]:.3g}\npredicted {out[i].item():.3g}'

def test_regression_of_several_numbers():
    x,y,_ = planted(30, n_steps=60, width=16)
    t = torch.stack([y.float(),-y.float()], 1)
    l = quiet(Learner(DataLoaders(*[DataLoader(torch.utils.data.TensorDataset(x[i:j], t[i:j]), bs=8) for i,j in ((0,20),(20,30))]), tiny_cnn(1, 2), loss_func=MSELossFlat()))
    it = AttrInterpretation.from_learner(l)
    assert type(it) is AttrInterpretation and it.decoded is None
    with torch.no_grad(): out = l.model.eval()(x[20:])
    assert torch.allclose(it.losses, ((out-t[20:])**2).mean(1), atol=1e-5)
    check_all(it, 10, 1)

def test_multi_label():
    x,_,_ = planted(32, n_steps=60, width=16)
    items = [(o.numpy(), [['a'],['b','c'],['a','c'],[]][i%4]) for i,o in enumerate(x)]
    dls = DataBlock((TSBlock, MultiCategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (L(range(20)),L(range(20,32)))).dataloaders(items, bs=4)
    l = quiet(ts_learner(dls, tiny_cnn(1, 3)))
    it = AttrInterpretation.from_learner(l)
    assert not hasattr(it, 'confusion_matrix') and it.decoded is None
    preds,targs = l.get_preds()
    assert torch.allclose(it.preds, preds.as_subclass(Tensor), atol=1e-6)
    want = F.binary_cross_entropy(preds.as_subclass(Tensor), targs.as_subclass(Tensor), reduction='none').mean(1)
    assert torch.allclose(it.losses, want, atol=1e-4)
    i = int(it.losses.argmax())
    p = it.preds[i]
    said = lambda o: ' + '.join('abc'[c] for c in o.nonzero()[:,0]) or 'none'
    assert check_all(it, 12, 1)==f'[{said(it.targs[i])}] loss {it.losses[i]:.3g}\npredicted {said(p>.5)} ({p.max():.2f})'
    with says(ValueError, '3 labels'): list(AttrInterpretation.from_learner(l, y='label').batches())
    assert torch.cat([o for *_,o in AttrInterpretation.from_learner(l, y=1).batches()]).shape==(12,1,60)

@pytest.mark.parametrize('kind', ['fastai','torch'])
@pytest.mark.parametrize('loss', ['cross entropy','own'])
def test_plain_loaders_without_vocab(kind, loss):
    x,y,_ = planted(40, n_steps=60, width=16)
    make = {'fastai':partial(DataLoader, bs=8), 'torch':partial(torch.utils.data.DataLoader, batch_size=8, shuffle=True)}[kind]
    f = {'cross entropy':F.cross_entropy, 'own':lambda pred,targ: F.cross_entropy(pred, targ)}[loss]
    l = quiet(Learner(DataLoaders(*[make(torch.utils.data.TensorDataset(x[i:j], y[i:j])) for i,j in ((0,28),(28,40))]), tiny_cnn(1, 2), loss_func=f))
    it = AttrInterpretation.from_learner(l)
    assert type(it) is AttrInterpretation and not hasattr(it, 'confusion_matrix')
    with torch.no_grad(): out = l.model.eval()(x[28:])
    assert torch.allclose(it.losses, F.cross_entropy(out, y[28:], reduction='none'), atol=1e-5) and it.targs.tolist()==y[28:].tolist()
    assert it.decoded.tolist()==out.argmax(1).tolist() and torch.allclose(it.probs, out.softmax(1), atol=1e-5)
    i = int(it.losses.argmax())
    assert check_all(it, 12, 2)==f'[{y[28+i]}] loss {it.losses[i]:.3g}\npredicted {out[i].argmax()} ({out[i].softmax(0).max():.2f})'
    assert len(it.top_losses(3, items=True)[2])==3
    with says(ValueError, 'vocabulary'): AttrClassificationInterpretation.from_learner(l)

def test_one_hot_labels():
    x,y,_ = planted(40, n_steps=60, width=16)
    t = F.one_hot(y, 2).float()
    l = quiet(Learner(DataLoaders(*[DataLoader(torch.utils.data.TensorDataset(x[i:j], t[i:j]), bs=8) for i,j in ((0,28),(28,40))]), tiny_cnn(1, 2), loss_func=nn.CrossEntropyLoss()))
    it = AttrInterpretation.from_learner(l, y='label')
    assert it.labels.tolist()==y[28:].tolist()
    got = torch.cat([o for *_,o in it.batches()])
    assert torch.allclose(got, grad_cam(x[28:], y[28:], l.model), atol=1e-6)
    check_all(it, 12, 2)

def test_binary_logit():
    x,y,_ = planted(60, n_steps=60, width=16, noise=1.)
    dls = TSDataLoaders.from_numpy(x, y.numpy(), valid_idx=range(30,60), bs=8, lbl_dict={'0':'hump','1':'dip'})
    l = trained(dls, tiny_cnn(1, 1), 2, loss_func=BCEWithLogitsLossFlat(), metrics=[])
    it = AttrInterpretation.from_learner(l, hires_cam)
    with torch.no_grad(): out = l.model.eval()(x[30:])[:,0]
    pred = (out>0).long()
    assert isinstance(it, AttrClassificationInterpretation) and it.decoded.tolist()==pred.tolist()
    assert torch.allclose(it.probs[:,1], out.sigmoid(), atol=1e-5)
    assert (it.confusion_matrix()==skm.confusion_matrix(y[30:], pred, labels=[0,1])).all() and (pred!=y[30:]).any()
    check_all(it, 30, 2)
    idxs = it._confused(1, 2)[0][2]
    for a,p,sign in ((0,1,1),(1,0,-1)): # what spoke for class 0 is the opposite of what spoke for the output
        got = it._contrast(fetch_items(l.dls.valid, idxs.tolist()), idxs, a, p)
        assert torch.allclose(got, sign*hires_cam(x[30:][idxs], None, l.model), atol=1e-6) and got.abs().max()>0
    assert len(it.show_confused(2, 1).axes)>=2

def test_unlabelled(learn):
    x,_,_ = planted(10, n_steps=60, width=16)
    it = AttrInterpretation.from_learner(learn, dl=learn.dls.test_dl(10+5*x))
    assert type(it) is AttrInterpretation and it.losses is it.targs is it.labels is None and it.decoded.tolist()==it.preds.argmax(1).tolist()
    check_all(it, 10, 3)
    assert it.class_means().n.tolist()==it.preds.argmax(1).bincount(minlength=3).tolist()
    assert it.show_results([0]).axes[0].get_title()==f'predicted {learn.dls.vocab[it.decoded[0]]} ({it.preds[0].max():.2f})'
    with says(ValueError, 'no labels to explain'): AttrInterpretation.from_learner(learn, dl=learn.dls.test_dl(10+5*x), y='label')
    with says(ValueError, '`AttrInterpretation`'): AttrClassificationInterpretation.from_learner(learn, dl=learn.dls.test_dl(10+5*x))

def test_unlabelled_of_a_regression():
    x,y,_ = planted(20, n_steps=60, width=16)
    l = quiet(ts_learner(TSDataLoaders.from_numpy(x, y.float().numpy(), bs=8), tiny_cnn(1, 1)))
    it = AttrInterpretation.from_learner(l, dl=l.dls.test_dl(x[:6]))
    assert it.decoded is None
    check_all(it, 6, 1)

def test_unequal_lengths(uneven):
    it = AttrInterpretation.from_learner(uneven, hires_cam)
    for i,o in enumerate(series(uneven.dls.valid)): # each as if it were alone
        with torch.no_grad(): assert torch.allclose(it.preds[i], uneven.model.eval()(o[None]).softmax(1)[0], atol=1e-5)
    check_all(it, 20, 3, int(it.steps.max()))
    assert it.steps.tolist()==[o.shape[-1] for o in series(uneven.dls.valid)]

def test_exported_and_loaded(learn, tmp_path):
    x,y,_ = planted(12, n_steps=60, n_classes=3, width=16, seed=5)
    learn.path = tmp_path
    learn.export('l.pkl')
    l = load_learner(tmp_path/'l.pkl')
    if hasattr(l, 'progress'): quiet(l)
    dl = lambda l: l.dls.test_dl(10+5*x, y=[NAMES[str(int(c))] for c in y])
    it,want = (AttrInterpretation.from_learner(o, dl=dl(o)) for o in (l,learn))
    assert torch.allclose(it.losses, want.losses, atol=1e-6) and isinstance(it, AttrClassificationInterpretation)
    check_all(it, 12, 3)
    check_all(AttrInterpretation.from_learner(l, dl=l.dls.test_dl(10+5*x)), 12, 3)
    with says(ValueError, 'no series'): AttrInterpretation.from_learner(l)

def test_a_single_class_and_a_class_that_is_never_predicted():
    l = quiet(ts_learner(loaders(), tiny_cnn(1, 3)))
    with torch.no_grad(): l.model[-1].bias += torch.tensor([99.,0.,0.])
    it = AttrInterpretation.from_learner(l)
    check_all(it, 35, 3)
    assert (it.confusion_matrix()[:,1:]==0).all() and len(it.show_confused(5, 1).axes)>=2

def test_a_network_in_half_precision_and_its_learner(learn):
    import copy
    l = copy.deepcopy(learn).to_fp16()
    it = AttrInterpretation.from_learner(l)
    assert it.preds.dtype==it.losses.dtype==torch.float32 and {o.dtype for *_,o in it.batches()}=={torch.float32}

@pytest.mark.parametrize('dtype,close', [(torch.float64,1e-5),(torch.float16,2e-2),(torch.bfloat16,1e-1)])
@pytest.mark.parametrize('data', ['loader','plain','uneven'])
def test_networks_of_other_precision(learn, uneven, dtype, close, data):
    "Asked in theirs, and told in float32"
    import copy
    if data=='plain':
        x,y,_ = planted(20, n_steps=60, n_classes=3, width=16)
        ds = torch.utils.data.TensorDataset(x, y)
        l = quiet(Learner(DataLoaders(DataLoader(ds, bs=8), DataLoader(ds, bs=8)), copy.deepcopy(learn.model), loss_func=nn.CrossEntropyLoss()))
    else: l = copy.deepcopy(uneven if data=='uneven' else learn)
    want = AttrInterpretation.from_learner(l)
    l.model.to(dtype)
    if data!='plain': assert AttrInterpretation.from_learner(l, dl=l.dls.test_dl(planted(5, n_steps=60, width=16)[0])).preds.dtype==torch.float32
    it = AttrInterpretation.from_learner(l)
    assert it.preds.dtype==it.losses.dtype==it.probs.dtype==torch.float32 and {o.dtype for *_,o in it.batches()}=={torch.float32}
    assert torch.allclose(it.preds, want.preds, atol=close) and torch.allclose(it.losses, want.losses, atol=10*close)
    a,b = it.class_means(range(8)),want.class_means(range(8))
    assert torch.equal(a.n, b.n) and torch.allclose(a.mean, b.mean, equal_nan=True) and it.plot_top_losses(1).axes and {o.dtype for o in a[:3]}=={torch.float32}

# memory

class Lazy(torch.utils.data.Dataset):
    "Series made when they are asked for"
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        if not 0<=i<self.n: raise IndexError
        return torch.randn(1, 4000, generator=torch.Generator().manual_seed(i)),i%2

def most_bytes(n):
    "The most bytes of live tensors while an interpretation of `n` series does all that it can over the set"
    l = quiet(Learner(DataLoaders(DataLoader(Lazy(8), bs=4), DataLoader(Lazy(n), bs=4)), tiny_cnn(1, 2), loss_func=F.cross_entropy))
    most,fwd = [],l.model[0].forward
    def count(x):
        most.append(sum({o.untyped_storage().data_ptr(): o.untyped_storage().nbytes() for o in gc.get_objects() if type(o) in (Tensor,nn.Parameter) or isinstance(o, Tensor)}.values()))
        return fwd(x)
    l.model[0].forward = count
    it = AttrInterpretation.from_learner(l)
    it.class_means(); it.time_importance(n_boot=10); it.show_dataset(max_rows=4); it.plot_top_losses(2)
    return max(most),len(most)

def test_memory_does_not_grow_with_the_set():
    gc.collect(); gc.freeze() # what was there before is not looked through
    try: (few,a),(many,b) = most_bytes(8),most_bytes(80)
    finally: gc.unfreeze()
    assert b>7*a and few>4*4000*4 and many<1.1*few+80*100, (few,many)
