"`ts_learner`, `learn.attribute`, and the pictures that a Learner draws of itself"
import random
from functools import partial
import matplotlib.pyplot as plt
import numpy as np, pytest, torch, torch.nn.functional as F
from common import says
from fastai.basics import Callback, DataLoader, DataLoaders, LabelSmoothingCrossEntropyFlat, Learner, Tensor, load_learner, ranger
from tsviz.cam import cam_acts, grad_cam, grad_cam_acts, hires_cam
from tsviz.check import model_state
from tsviz.data import TSDataLoaders, get_batch
from tsviz.dream import deep_dream, maximize
from tsviz.gradient import integrated_grads
from tsviz.inside import contributions, feature_maps, frequency_response, kernels, top_windows
from tsviz.learner import find_numbers, ts_learner
from tsviz.method import contrast, over_models, precomputed, smoothed
from tsviz.models import inception_time
from tsviz.perturb import occlusion
from tsviz.plot import HeatRows, SeriesLine
from tsviz.synth import planted, tiny_cnn
from tsviz.transform import Jitter, Standardize

NAMES = {'0':'hump', '1':'dip', '2':'burst'}

def loaders(n_channels=1, **kwargs):
    x,y,_ = planted(40, n_channels, n_steps=60, n_classes=3, width=16)
    return TSDataLoaders.from_numpy(10+5*x, y.numpy(), **{**dict(valid_idx=range(25,40), bs=8, lbl_dict=NAMES, batch_tfms=Standardize()), **kwargs})

@pytest.fixture
def learn():
    l = ts_learner(loaders(), tiny_cnn(1, 3))
    l.remove_cb(l.progress)
    return l

def same(a, b): return all(torch.equal(p, q) if isinstance(p, Tensor) else p==q for k in a for p,q in zip(a[k], b[k]))

def colours(ax): return ax.collections[0].get_array()

# ts_learner

def test_defaults_fit_the_data():
    l = ts_learner(loaders(2))
    assert l.model(l.dls.one_batch()[0]).shape==(8,3) and l.model[0].bottleneck.in_channels==2
    assert isinstance(l.loss_func, LabelSmoothingCrossEntropyFlat) and [o.name for o in l.metrics]==['accuracy'] and l.opt_func is ranger

def test_callbacks_are_not_dropped():
    "Fault 18: `ts_learner` dropped `cbs`"
    seen = []
    l = ts_learner(loaders(), tiny_cnn(1, 3), cbs=Callback(after_fit=lambda _: seen.append(1)))
    with l.no_bar(), l.no_logging(): l.fit(1, 0.)
    assert seen==[1]

def test_other_arguments_reach_the_learner():
    l = ts_learner(loaders(), tiny_cnn(1, 3), metrics=[], lr=.5, loss_func=F.cross_entropy)
    assert not l.metrics and l.lr==.5 and l.loss_func is F.cross_entropy
    with pytest.raises(TypeError): ts_learner(loaders(), tiny_cnn(1, 3), learning_rate=1)

def test_regression():
    x,y,_ = planted(40, n_steps=60, width=16)
    l = ts_learner(TSDataLoaders.from_numpy(x, y.float().numpy(), bs=8), inception_time(1, 1, depth=1, nb_filters=2))
    l.remove_cb(l.progress)
    with l.no_logging(): l.fit(1, 1e-3)
    assert not l.metrics and l.attribute()[2].shape==(8,1,60)
    assert len(l.show_cam(max_n=2).axes)==3

def test_multi_label():
    from fastai.basics import BCEWithLogitsLossFlat, ColReader, DataBlock, ItemGetter, MultiCategoryBlock # noqa: F401
    from tsviz.data import TSBlock
    x,_,_ = planted(20, n_steps=60, width=16)
    items = [(o.numpy(), [['a'],['b','c'],['a','c'],[]][i%4]) for i,o in enumerate(x)]
    dls = DataBlock((TSBlock, MultiCategoryBlock), getters=[ItemGetter(0), ItemGetter(1)]).dataloaders(items, bs=4)
    l = ts_learner(dls, tiny_cnn(1, 3))
    assert isinstance(l.loss_func, BCEWithLogitsLossFlat) and not l.metrics
    with l.no_bar(), l.no_logging():
        l.fit(1, 1e-3)
        assert l.attribute(grad_cam, y=1)[2].shape==(4,1,60)

def test_default_items_are_spread_over_the_loader(learn):
    fig = learn.show_cam(max_n=3)
    x,y = get_batch(learn.dls.valid.dataset, [0,7,14])
    assert [o.get_title().split(']')[0][1:] for o in fig.axes[:3]]==[learn.dls.vocab[c] for c in y]
    with pytest.raises(ValueError, match='`max_n`'): learn.show_cam(max_n=0)

def test_bad_loader_is_one_sentence(learn):
    with pytest.raises(ValueError, match='must be a DataLoader'): learn.show_cam(dl=learn.dls.valid_ds)

def test_unlabelled_data_need_a_model():
    x,_,_ = planted(40, n_steps=60, width=16)
    with pytest.raises(ValueError, match='pass a `model`'): ts_learner(TSDataLoaders.from_numpy(x, bs=8))

# learn.show_methods

def test_show_methods(learn):
    rows,titles = (lambda fig: [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel() not in ('','signed','not signed')]),(lambda fig: [ax.get_title().splitlines()[0] for ax in fig.axes if ax.get_title()])
    fig = learn.show_methods([grad_cam, hires_cam], max_n=3)
    x,y = get_batch(learn.dls.valid, [0,7,14])
    assert rows(fig)==['Grad-CAM','HiResCAM'] and titles(fig)==[f'[{learn.dls.vocab[c]}]' for c in y]
    for ax,o in zip(fig.axes[3:6], hires_cam(x, None, learn.model)): # of the predicted class, from what the network sees
        np.testing.assert_allclose(ax.collections[0].get_array()[0], o[0]/o.abs().max(), atol=1e-5)
    drawn = get_batch(learn.dls.valid.dataset, [7])[0]
    np.testing.assert_allclose(fig.axes[1].lines[-1].get_ydata(), drawn[0,0], rtol=1e-4, atol=1e-4) # but drawn in its own units
    many = learn.show_methods({'mine': grad_cam}, list(range(8)), ds_idx=0, y='label')
    assert len(titles(many))==8 and rows(many)==['mine']
    with pytest.raises(ValueError, match='`max_n`'): learn.show_methods([grad_cam], max_n=0)
    with pytest.raises(ValueError, match='class 9'): learn.show_methods([grad_cam], y=9, max_n=1, preds=False)

# learn.attribute

def test_attribute_equals_the_method(learn):
    x,y,attrs = learn.attribute()
    assert x.shape==(15,1,60) and attrs.shape==(15,1,60) and type(attrs) is Tensor and attrs.dtype==torch.float32
    want,labels = get_batch(learn.dls.valid, range(15))
    assert torch.equal(x.as_subclass(Tensor), want.as_subclass(Tensor)) and y.tolist()==labels.tolist()
    assert torch.allclose(attrs, grad_cam_acts(want, None, learn.model, force_scale=False), rtol=1e-5, atol=1e-7)

@pytest.mark.parametrize('bs', [4, 15, 64])
def test_attribute_does_not_depend_on_the_batch_size(learn, bs):
    want = learn.attribute(hires_cam)[2]
    got = learn.attribute(hires_cam, dl=learn.dls.valid.new(bs=bs))[2]
    assert (got-want).abs().max() <= 1e-6*want.abs().max()

def test_attribute_training_set_in_order_and_whole(learn):
    x,y,attrs = learn.attribute(ds_idx=0)
    want,labels = get_batch(learn.dls.train, range(25))
    assert len(attrs)==25 and y.tolist()==labels.tolist() and torch.equal(x.as_subclass(Tensor), want.as_subclass(Tensor))

def test_attribute_targets(learn):
    labels = learn.attribute()[1]
    assert torch.equal(learn.attribute(grad_cam, y='label')[2], learn.attribute(grad_cam, y=labels)[2])
    assert torch.equal(learn.attribute(grad_cam, y=2)[2], learn.attribute(grad_cam, y=[2]*15)[2])
    from tsviz.score import prob
    small = learn.dls.valid.new(bs=4)
    with learn.no_bar(): got = learn.attribute(grad_cam, y=prob(labels), dl=small)[2]
    want = learn.attribute(grad_cam, y=prob(labels))[2]
    assert (got-want).abs().max() <= 1e-6*want.abs().max()
    with pytest.raises(ValueError, match="must be 'label'"): learn.attribute(y='labels')
    with pytest.raises(ValueError, match='3 classes for 15 items'): learn.attribute(y=[0,1,2])

def test_attribute_parameters_reach_the_method(learn):
    assert torch.equal(learn.attribute(grad_cam, relu=False, layer=0)[2], grad_cam(get_batch(learn.dls.valid, range(15))[0], None, learn.model, 0, relu=False))
    assert learn.attribute(cam_acts, force_scale=True)[2].amin().item()==0

def test_attribute_leaves_all_as_found(learn):
    learn.model.train()
    before,rng = model_state(learn.model),(torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    learn.attribute(ds_idx=0); learn.show_cam(max_n=2); learn.show_class_cams(0)
    assert same(before, model_state(learn.model))
    assert torch.equal(rng[0], torch.get_rng_state()) and rng[1]==random.getstate() and rng[2]==np.random.get_state()[1].tolist()

def test_attribute_unlabelled(learn):
    x,_,_ = planted(5, n_steps=60, width=16)
    dl = learn.dls.test_dl(list(x))
    x,labels,attrs = learn.attribute(dl=dl)
    assert labels is None and attrs.shape==(5,1,60)
    with pytest.raises(ValueError, match='no labels to explain'): learn.attribute(dl=dl, y='label')

# learn.show_cam

def test_show_cam_needs_nothing_else(learn):
    fig = learn.show_cam()
    axes = [o for o in fig.axes if o.get_title()]
    assert len(axes)==9 and all(o.get_title().startswith('[') and 'GRAD-CAM - mean' in o.get_title() for o in axes)
    assert not plt.get_fignums()

def test_titles_carry_the_vocabulary_and_the_mistake(learn):
    x,y,_ = learn.attribute()
    p = learn.model(x.as_subclass(Tensor)).softmax(1)
    names = learn.dls.vocab
    for ax,c,q in zip(learn.show_cam(max_n=15).axes, y, p):
        lines = ax.get_title().split('\n')
        assert lines[0]==f'[{names[c]}] - GRAD-CAM - mean'
        assert any('predicted' in o for o in lines)==(q.argmax()!=c)
        if q.argmax()!=c: assert f'{names[q.argmax()]} ({q.max():.2f})' in lines[1]

def test_series_are_drawn_in_their_own_units_the_map_is_of_what_the_network_saw(learn):
    "Fault 1: un-normalised input was explained"
    raw,_ = get_batch(learn.dls.valid.dataset, [4])
    seen,_ = get_batch(learn.dls.valid, [4])
    ax = learn.show_cam([4], func_cam=hires_cam, force_scale=False).axes[0]
    lo,hi = ax.get_ylim()
    assert lo<=raw.min() and hi>=raw.max() and hi-lo < 2*(raw.max()-raw.min())
    got,want = np.asarray(colours(ax)),hires_cam(seen, None, learn.model)[0,0].numpy()
    assert np.isclose(got.max(), want.max(), rtol=1e-4) and np.isclose(got.min(), want.min(), rtol=1e-4)

def test_one_figure_or_many_and_files(learn, tmp_path):
    fig = learn.show_cam([0,1,2], multi_fig=False, savefig=tmp_path/'a.png')
    assert len(fig.axes)==2 and (tmp_path/'a.png').stat().st_size>1000 and list(tmp_path.iterdir())==[tmp_path/'a.png']

def test_any_index_loader_target(learn):
    c = (learn.attribute()[1][3].item()+1)%3
    assert f'explained {learn.dls.vocab[c]}' in learn.show_cam([3], y=[c]).axes[0].get_title()
    assert len(learn.show_cam(max_n=3, ds_idx=0).axes)==4
    for bad in (dict(idxs=[99]), dict(ds_idx=5), dict(layer='nope'), dict(cmap='nope'), dict(reduction='nope'), dict(y=7)):
        with pytest.raises(ValueError): learn.show_cam(**bad)

def test_unlabelled_series_show_what_is_predicted(learn):
    x,_,_ = planted(3, n_steps=60, width=16)
    assert len(learn.show_cam(dl=learn.dls.test_dl(list(x))).axes)==4

def test_plain_dataloaders_of_tensors():
    x,y,_ = planted(40, n_steps=60, width=16)
    ds = [torch.utils.data.TensorDataset(x[i:j], y[i:j]) for i,j in ((0,30),(30,40))]
    l = Learner(DataLoaders(*[DataLoader(o, bs=8) for o in ds]), tiny_cnn(1, 2), loss_func=F.cross_entropy)
    l.remove_cb(l.progress)
    assert l.attribute()[2].shape==(10,1,60)
    assert l.show_cam(max_n=2).axes[0].get_title().startswith('[')

def test_multivariate(learn):
    l = ts_learner(loaders(3), tiny_cnn(3, 3))
    assert len(l.show_cam(max_n=2).axes)==3

def test_class_cams(learn):
    fig = learn.show_class_cams(0)
    texts = ' '.join(t.get_text() for ax in fig.axes for t in [*ax.texts, *ax.get_yticklabels()])
    assert all(o in texts for o in learn.dls.vocab)

def test_a_real_bar_is_drawn_and_goes_away_on_request(capsys, monkeypatch):
    import tsviz.learner as m
    l = ts_learner(loaders(), tiny_cnn(1, 3))
    dl = l.dls.valid.new(bs=2)
    l.attribute(dl=dl)
    assert '%' not in capsys.readouterr().out # quick
    clock = iter(range(10**6))
    monkeypatch.setattr(m, 'perf_counter', lambda: 3*next(clock))
    l.attribute(dl=dl)
    assert '%' in capsys.readouterr().out
    with l.no_bar(): l.attribute(dl=dl)
    assert '%' not in capsys.readouterr().out

def test_export_and_load(learn, tmp_path):
    learn.path = tmp_path
    want = learn.attribute()[2]
    learn.export('a.pkl')
    again = load_learner(tmp_path/'a.pkl')
    x,_,_ = planted(3, n_steps=60, width=16)
    with again.no_bar(): got = again.attribute(dl=again.dls.test_dl([10+5*o for o in x]))[2]
    assert got.shape==(3,1,60) and want.shape==(15,1,60)

def test_half_precision_training_is_explained_in_full(learn):
    from fastai.callback.fp16 import MixedPrecision # noqa: F401
    want = learn.attribute()[2]
    with torch.autocast('cpu', dtype=torch.bfloat16): got = learn.attribute()[2]
    assert torch.equal(want, got)

# unequal lengths

def uneven(n=30, seed=0):
    "Series of 12 to 40 steps with a hump that tells their class"
    rng = np.random.default_rng(seed)
    xs,y = [],[]
    for i in range(n):
        x = rng.normal(0, .3, size=(2,12+i*5%29))
        x[i%2,3:8] += 3
        xs.append(x.astype(np.float32)); y.append('ab'[i%2])
    return xs,y

@pytest.fixture
def short():
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(14), bs=4, batch_tfms=Standardize())
    l = ts_learner(dls, inception_time(2, 2, depth=3, nb_filters=2, bottleneck_size=2))
    l.remove_cb(l.progress)
    with l.no_logging(): l.fit(1, 1e-3)
    return l, [(x-x.mean(1, keepdims=True))/x.std(1, keepdims=True) for x in xs[:14]]

def alone(model, x):
    with torch.no_grad(): return model.eval()(torch.tensor(x)[None]).softmax(1)[0]

@pytest.mark.parametrize('bs', [1,4,14])
def test_a_prediction_is_that_of_the_series_alone(short, bs):
    "Whatever its neighbours in the batch, and the same for `get_preds`, `validate` and `predict`"
    l,xs = short
    want = torch.stack([alone(l.model, x) for x in xs])
    dl = l.dls.valid.new(bs=bs)
    preds,targs = l.get_preds(dl=dl)
    assert torch.allclose(preds, want, atol=1e-5) and targs.tolist()==[0,1]*7
    loss,acc = l.validate(dl=dl)
    assert np.isclose(acc, (want.argmax(1)==targs).float().mean()) and np.isclose(loss, l.loss_func(want.log(), targs).item(), atol=1e-4)
    raw = uneven()[0][3]
    with l.no_bar(): assert torch.allclose(l.predict(raw)[2], want[3], atol=1e-4)

def test_predictions_with_their_input(short):
    "Inputs of batches that differ in length come as items, none of them with lengths that are another's"
    l,xs = short
    x,preds,_ = l.get_preds(with_input=True)
    assert len(x)==len(preds)==14
    for o,want in zip(x, xs):
        assert torch.allclose(o[:,:want.shape[1]].as_subclass(Tensor).cpu(), torch.tensor(want), atol=1e-4) and (o[:,want.shape[1]:]==0).all()
        if getattr(o, 'lengths', None) is not None: assert int(o.lengths)==want.shape[1]
    assert getattr(preds, 'lengths', None) is None

def test_training_sees_padded_batches(short):
    l,_ = short
    class Seen(Callback):
        order = 100
        def before_batch(self): (sizes if self.training else runs).append(tuple(self.x.shape))
    sizes,runs = [],[]
    with l.no_logging(): l.fit(1, 1e-3, cbs=Seen())
    assert {o[0] for o in sizes}=={4} and len(sizes)==4 and {o[0] for o in runs}=={1}
    assert l.unpad.padded is None

def test_equal_lengths_run_as_they_are(learn):
    "One forward a batch, of the batch itself"
    seen = []
    h = learn.model.register_forward_hook(lambda m,i,o: seen.append(len(i[0])))
    learn.get_preds()
    h.remove()
    assert seen==[8,7]

def test_attribute_of_unequal_series(short):
    l,xs = short
    for bs in (1,5,14):
        x,labels,attrs = l.attribute(hires_cam, dl=l.dls.valid.new(bs=bs))
        T = max(o.shape[1] for o in xs)
        assert x.shape==(14,2,T) and attrs.shape==(14,1,T) and labels.tolist()==[0,1]*7 and x.lengths.tolist()==[o.shape[1] for o in xs]
        for o,a,want in zip(x.as_subclass(Tensor), attrs, xs):
            n = want.shape[1]
            ref = hires_cam(torch.tensor(want)[None], None, l.model)[0]
            assert torch.allclose(o[:,:n], torch.tensor(want), atol=1e-4) and torch.allclose(a[:,:n], ref, atol=1e-4*ref.abs().max().item()+1e-6)
            assert (o[:,n:]==0).all() and (a[:,n:]==0).all()
    assert type(attrs) is Tensor

def test_attribute_of_equal_series_has_no_lengths(learn): assert learn.attribute()[0].lengths is None

def test_what_is_explained_is_what_is_predicted(short):
    "The class in a title is that of `get_preds`"
    l,xs = short
    preds = l.get_preds()[0]
    fig = l.show_cam(range(14), preds=True)
    for ax,p in zip(fig.axes, preds): assert f'predicted {l.dls.vocab[int(p.argmax())]} ({p.max():.2f})' in ax.get_title()

def test_pictures_of_unequal_series(short):
    l,xs = short
    raw = uneven()[0]
    fig = l.show_cam([0,3])
    for ax,i in zip(fig.axes, (0,3)):
        lo,hi = ax.get_ylim()
        assert lo<=raw[i].min() and hi>=raw[i].max()
        assert {len(c.get_array()) for c in ax.collections if c.get_array() is not None}=={raw[i].shape[1]}
    assert len(l.show_class_cams([0,3]).axes or l.show_class_cams([0,3]).subfigs)>0

@pytest.mark.parametrize('name', ['JapaneseVowels','PLAID'])
def test_archive_sets_of_unequal_lengths(name):
    "Load, train, predict, explain: a few series of each"
    from tsviz.archive import find_set
    from tsviz.read import read_files
    X,y = read_files(find_set(name)[0])
    if name=='PLAID': X,y = X[:,:,:600],y                              # a shorter end makes the test fast, not the lengths equal
    idxs = np.linspace(0, len(X)-1, 24).astype(int)
    dls = TSDataLoaders.from_numpy(X[idxs], [y[i] for i in idxs], valid_idx=range(0,24,3), bs=8, batch_tfms=Standardize())
    l = ts_learner(dls, inception_time(X.shape[1], dls.c, depth=3, nb_filters=2, bottleneck_size=2))
    l.remove_cb(l.progress)
    with l.no_logging(): l.fit(1, 1e-3)
    assert np.isfinite(l.recorder.losses).all()
    x,labels,attrs = l.attribute()
    assert len(attrs)==8 and x.lengths.min()<x.shape[-1]==x.lengths.max() and len(l.show_cam(max_n=2).axes)>=2

# what is given one an item

def numbered(n): return precomputed(torch.arange(1, n+1).float()[:,None,None].expand(n,1,60)) # the first item's map is 1 everywhere, the second's 2

@pytest.mark.parametrize('bs', [1, 4, 15])
def test_attribute_gives_each_item_its_own_row(learn, bs):
    dl,seen,n = learn.dls.valid.new(bs=bs),get_batch(learn.dls.valid, range(15))[0].as_subclass(Tensor),15
    def one_by_one(m, **rows): return torch.cat([m(seen[i:i+1], None, learn.model, **{k:v[i:i+1] for k,v in rows.items()}) for i in range(n)])
    def close(a, b): assert (a-b).abs().max()<=2e-6*b.abs().max() and not torch.allclose(a, a[[*range(1,n),0]], rtol=1e-3, atol=0)
    assert learn.attribute(numbered(n), dl=dl)[2][:,0,0].tolist()==[*range(1,n+1)]
    base = torch.randn(n,1,60, generator=torch.Generator().manual_seed(0))
    want = one_by_one(occlusion, baseline=base)
    close(learn.attribute(occlusion, dl=dl, baseline=base)[2], want)
    close(learn.attribute(partial(occlusion, baseline=base), dl=dl)[2], want)
    ig = partial(integrated_grads, n_steps=8)
    close(learn.attribute(smoothed(ig, 2, std=0.), dl=dl, baseline=base)[2], one_by_one(ig, baseline=base))
    c = learn.model.eval()(seen).argmax(1)
    other = (c+1+torch.arange(n)%2)%3
    close(learn.attribute(contrast(hires_cam, other), dl=dl)[2], torch.cat([contrast(hires_cam, int(o))(seen[i:i+1], None, learn.model) for i,o in enumerate(other)]))

def test_rows_that_do_not_fit_the_loader(learn):
    dl = learn.dls.valid.new(bs=4)
    for base in (torch.zeros(4,1,60), torch.zeros(16,1,60)): # as many as a batch, more than the loader holds
        with says(ValueError, f'has {len(base)} series for 15 items'): learn.attribute(occlusion, dl=dl, baseline=base)
        with says(ValueError, f'has {len(base)} series for 15 items'): learn.attribute(partial(occlusion, baseline=base), dl=dl)
    with says(ValueError, '4 classes for'): learn.attribute(contrast(hires_cam, [0,2,2,0]), dl=dl, y=1)
    with says(ValueError, 'do not fit'): learn.attribute(numbered(4), dl=dl)

def maps(fig): return [np.asarray(o.get_array()) for ax in fig.axes for o in ax.collections if isinstance(o, (SeriesLine,HeatRows))]

@pytest.mark.parametrize('idxs', [[9,2,14], slice(3,6), -1, 7, np.arange(15)%5==1])
def test_pictures_give_each_item_its_own_row(learn, idxs):
    want = np.atleast_1d(np.arange(15)[idxs])
    assert [o.max() for o in maps(learn.show_cam(idxs, func_cam=numbered(15), force_scale=False))]==(want+1).tolist()
    got = maps(learn.show_class_cams(idxs, method=numbered(15), scale=None))
    assert [np.unique(o).tolist() for o in got]==[[i+1] for i in want] and got[0].shape==(3,60)
    sign = precomputed((torch.arange(15)%3-1.)[:,None,None].expand(15,1,60))
    assert [np.unique(o).tolist() for o in maps(learn.show_methods([sign, sign], idxs))]==2*[[i%3-1] for i in want]

def test_numbers_of_items_that_are_not_there(learn):
    for bad in (15, [0,-16], [3,99]):
        with says(ValueError, 'out of range', '15 items, 0 to 14'): find_numbers(learn.dls.valid, bad)

def test_pictures_of_spread_items_too(learn):
    assert find_numbers(learn.dls.valid, [-1,3]).tolist()==[14,3] and find_numbers(learn.dls.valid, slice(2)).tolist()==[0,1]
    fig = learn.show_cam(max_n=3, func_cam=numbered(15), force_scale=False)
    assert [o.max() for o in maps(fig)]==[1,8,15]

def test_several_models_give_each_item_its_own_row(learn):
    other = tiny_cnn(1, 3, seed=1)
    base = torch.randn(15,1,60, generator=torch.Generator().manual_seed(0))
    both = over_models(partial(occlusion, baseline=base), [learn.model, other])
    got = maps(learn.show_cam([9,2], func_cam=both, force_scale=False, style='band'))[0]
    x = get_batch(learn.dls.valid, [9])[0]
    y = sum(o.eval()(x.as_subclass(Tensor)).softmax(1) for o in (learn.model,other)).argmax(1)
    want = sum(occlusion(x, y, o, baseline=base[9:10]) for o in (learn.model,other))/2
    np.testing.assert_allclose(got, want[0], atol=1e-6)

def test_a_second_result_is_refused_in_one_sentence(learn):
    gap = partial(integrated_grads, return_gap=True, n_steps=4)
    for call in (lambda: learn.attribute(gap), lambda: learn.attribute(integrated_grads, return_gap=True, n_steps=4), lambda: learn.show_cam(max_n=2, func_cam=gap),
                 lambda: learn.show_class_cams(0, method=gap), lambda: learn.show_methods([hires_cam, gap], max_n=2)):
        with says(ValueError, 'second result beside its maps', 'Integrated gradients'): call()
    with says(TypeError, 'two maps a series'): learn.attribute(over_models(hires_cam, [learn.model]))

def test_what_takes_long_has_a_bar(learn, monkeypatch):
    import tsviz.learner as m
    seen,clock = [],iter(range(10**6))
    monkeypatch.setattr(m, 'progress_bar', lambda o, total, **kw: seen.append(total) or o)
    dl,three = learn.dls.valid.new(bs=2),[cam_acts, grad_cam, hires_cam]
    def both(): return learn.attribute(hires_cam, dl=dl)[2],len(maps(learn.show_methods(three, max_n=1)))
    learn.progress = True
    want = both()
    assert not seen # quick
    monkeypatch.setattr(m, 'perf_counter', lambda: 3*next(clock)) # three seconds an item: two are done when the bar comes
    got = both()
    assert seen==[6,1] and torch.equal(got[0], want[0]) and got[1]==want[1]==3
    del learn.progress
    got = both()
    assert seen==[6,1] and torch.equal(got[0], want[0])

def test_a_bar_holds_no_items(learn, monkeypatch):
    "A loader of any size is gone through batch by batch"
    import tsviz.learner as m
    made,clock = [],iter(range(10**6))
    class Items:
        def __len__(self): return 5
        def __iter__(self): return (made.append(i) or i for i in range(5))
    learn.progress = True
    for late in (False,True):
        if late: monkeypatch.setattr(m, 'perf_counter', lambda: 9*next(clock)); monkeypatch.setattr(m, 'progress_bar', lambda o, total, **kw: o)
        made.clear()
        for i,o in enumerate(m._bar(learn, Items())): assert o==i and len(made)==i+1
        assert i==4
    assert list(m._bar(learn, []))==[]

# inside the network

def heats(fig): return [o for ax in fig.axes for o in ax.collections if isinstance(o, HeatRows)]

def titles(fig): return [ax.get_title() for ax in fig.axes]

def rows(ax): return [int(o.get_text()) for o in ax.get_yticklabels()]

def test_feature_maps_are_of_what_the_network_saw(learn):
    seen,raw = (get_batch(o, [4])[0] for o in (learn.dls.valid, learn.dls.valid.dataset))
    fig = learn.show_feature_maps(4, [0,2], sort=None)
    want = feature_maps(seen[0], learn.model, [0,2])
    for got,o in zip(heats(fig), want.values(), strict=True): np.testing.assert_allclose(got.get_array(), o, atol=1e-6)
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), raw[0,0], rtol=1e-4, atol=1e-4) # the series in its own units
    assert fig.axes[0].get_title()==f'[{learn.dls.vocab[get_batch(learn.dls.valid, [4])[1].item()]}]'
    assert learn.show_feature_maps(4, 0, title='mine').axes[0].get_title()=='mine'

def test_feature_maps_sorted_by_what_they_add(learn):
    "To the score of the class that is asked for, in each of several layers"
    seen,label = get_batch(learn.dls.valid, [4])
    pred = learn.model.eval()(seen.as_subclass(Tensor)).argmax(1)
    for y,c in ((None,pred),('label',label),(2,2)):
        for layer in (2, [0,2], {'first':0, 'last':2}):
            fig = learn.show_feature_maps(4, layer, y=y, sort='contribution')
            each = [(layer,fig.axes[1])] if layer==2 else zip((0,2), fig.axes[1:3])
            for l,ax in each:
                adds = contributions(seen, c, learn.model, l)[0]
                assert (adds[rows(ax)].diff()<=0).all() and sorted(rows(ax))==list(range(len(adds)))
    a,b = (rows(learn.show_feature_maps(4, 2, y=c, sort='contribution').axes[1]) for c in (0,1))
    assert a!=b
    with says(ValueError, 'class 9'): learn.show_feature_maps(4, y=9, sort='contribution')
    with says(ValueError, '`sort`'): learn.show_feature_maps(4, sort='contributions')

def test_kernels_in_hertz(learn):
    ends = lambda fig: {round(float(o.get_xdata()[-1]), 3) for ax in fig.axes if ax.get_xlabel() or ax.get_title()=='|H|' for o in ax.lines if len(o.get_xdata())==512}
    assert ends(learn.show_kernels(fs=50))=={25.} and ends(learn.show_kernels())=={.5}
    fig = learn.show_kernels(fs=50)
    assert any(ax.get_xlabel()=='Hz' for ax in fig.axes)
    f,h = frequency_response(learn.model, fs=50)
    np.testing.assert_allclose([o.get_ydata() for ax in fig.axes for o in ax.lines if len(o.get_xdata())==512][0], h[0,0], rtol=1e-4)
    assert all((learn.show_kernels(0).axes[0].lines[1].get_ydata()==kernels(learn.model, 0)[0,0].numpy()).ravel())
    with says(ValueError, 'no kernels'): learn.show_kernels(1)

def test_top_windows_of_a_shuffling_loader_are_those_of_its_items(learn):
    x,y = get_batch(learn.dls.train, range(25))
    want,windows = top_windows(x.as_subclass(Tensor), learn.model, 2, 3, k=4)
    table,got = learn.top_windows(2, 3, k=4)
    cols = ['item','start','stop','peak']
    assert table[cols].values.tolist()==want[cols].values.tolist() and torch.equal(got, windows)
    np.testing.assert_allclose(table['activation'], want['activation'], rtol=1e-5)
    assert table['label'].tolist()==[learn.dls.vocab[y[i]] for i in table['item']]
    several = learn.top_windows(2, [3,0], k=4)
    assert list(several)==[3,0] and several[3][0].equals(table)
    assert learn.top_windows(2, 3, ds_idx=1)[0]['item'].max()<15 and learn.top_windows(2, 3, dl=learn.dls.test_dl(list(10+5*planted(3, n_steps=60, width=16)[0])))[0]['label'].isna().all()

def test_top_windows_are_without_the_changes_of_training():
    l = ts_learner(loaders(batch_tfms=[Standardize(), Jitter(3.)]), tiny_cnn(1, 3))
    l.remove_cb(l.progress)
    plain = ts_learner(loaders(), l.model)
    rng = torch.get_rng_state()
    a,b = (o.top_windows(2, 0)[0]['activation'].tolist() for o in (l,plain))
    assert a==b and torch.equal(rng, torch.get_rng_state())
    assert not torch.equal(*(l.dls.train.one_batch()[0].as_subclass(Tensor) for _ in range(2))) # training changes them as before

def test_top_windows_are_drawn_in_their_own_units(learn):
    table,seen = learn.top_windows(2, 3, k=4)
    fig = learn.show_top_windows(2, 3, k=4)
    assert [o.split(',')[0] for o in titles(fig)]==[f'item {i}' for i in table['item']] and fig.get_suptitle()=='channel 3 of layer 2'
    size = seen.shape[-1]
    for ax,(i,start,label) in zip(fig.axes, table[['item','start','label']].values):
        raw = get_batch(learn.dls.train.dataset, [i])[0][0,0].as_subclass(Tensor)
        want = F.pad(raw, (size,size), value=torch.nan)[start+size:start+2*size]
        np.testing.assert_allclose(ax.lines[-1].get_ydata(), want, rtol=1e-4, atol=1e-4)
        assert label in ax.get_title()
    with says(ValueError, 'channel 99 is out of range'): learn.show_top_windows(2, 99)
    with says(ValueError, 'must be one channel', 'None', '`learn.top_windows` takes several'): learn.show_top_windows(2, None)

def test_prototypes_over_the_classes_as_the_network_sees_them(learn):
    fig = learn.show_maximized({'plain':{}, 'small':dict(l2=1.)}, ascent=partial(maximize, n_steps=12, start='noise'))
    x,y = (o.as_subclass(Tensor) for o in get_batch(learn.dls.train, range(25)))
    want = {k: maximize(learn.model, [0,1,2], (1,60), n_steps=12, start='noise', **o)[0] for k,o in dict(plain={}, small=dict(l2=1.)).items()}
    axs = np.array(fig.axes[:6]).reshape(3,2)
    for c in range(3):
        for ax,(k,s) in zip(axs[c], want.items()):
            np.testing.assert_allclose(ax.lines[-1].get_ydata(), s[c,0], atol=1e-6)
            np.testing.assert_allclose(ax.lines[0].get_ydata(), x[y==c].mean(0)[0], atol=1e-5)
            assert f'p = {learn.model.eval()(s[c:c+1]).softmax(1)[0,c]:.3f}' in ax.get_title() and (k in ax.get_title())==(c==0)
    assert [ax.get_ylabel().strip() for ax in axs[:,0]]==list(learn.dls.vocab)

def test_prototypes_of_some_classes_and_all_penalties(learn):
    fig = learn.show_maximized(y=[2,0], ascent=partial(maximize, n_steps=2, start='noise'))
    assert [ax.get_title().splitlines()[0] for ax in fig.axes[:5]]==['no penalty','l1','l2','tv','spectral']
    assert [ax.get_ylabel().strip() for ax in (fig.axes[0],fig.axes[5])]==[learn.dls.vocab[2],learn.dls.vocab[0]]
    x,y = (o.as_subclass(Tensor) for o in get_batch(learn.dls.train, range(25)))
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), x[y==2].mean(0)[0], atol=1e-5) # over its own class
    plain = maximize(learn.model, [2,0], (1,60), n_steps=2, start='noise')[0]
    for ax,s,c in zip((fig.axes[0],fig.axes[5]), plain, (2,0)): assert f'p = {learn.model.eval()(s[None]).softmax(1)[0,c]:.3f}' in ax.get_title()
    for bad in (3,[0,-1]):
        with says(ValueError, 'class'): learn.show_maximized(y=bad)
    x = learn.dls.test_dl(list(10+5*planted(3, n_steps=60, width=16)[0]))
    fig = learn.show_maximized({'a':{}}, ascent=partial(maximize, n_steps=2), dl=x) # without labels, all are behind each
    for ax in fig.axes: np.testing.assert_allclose(ax.lines[0].get_ydata(), get_batch(x, range(3))[0].mean(0)[0], atol=1e-5)
    assert [ax.get_ylabel().strip() for ax in fig.axes]==list(learn.dls.vocab)

def test_weights_of_penalties_mean_the_same_for_long_series():
    "Of a linear model of the mean, the prototype under `l2` is the same at any length"
    from tsviz.learner import _find_variants
    mean = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 1), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    a,b = (maximize(mean, 0, (1,T), **_find_variants(None, (1,T))['l2'])[0] for T in (30,90))
    assert torch.allclose(a[0,0,:1].expand(30), a[0,0], atol=1e-4) and torch.allclose(a[0,0,0], b[0,0,0], atol=1e-3)

def test_dreams_are_of_what_the_network_saw_and_drawn_in_their_own_units(learn):
    dream = partial(deep_dream, n_steps=3, octaves=2)
    fig = learn.show_dream([4,1], 2, 3, dream=dream)
    (seen,y),raw = get_batch(learn.dls.valid, [4,1]),get_batch(learn.dls.valid.dataset, [4,1])[0].as_subclass(Tensor)
    after = dream(seen.as_subclass(Tensor), learn.model, 2, 3)
    after = after*raw.std(-1, correction=0, keepdim=True)+raw.mean(-1, keepdim=True)
    for ax,o,new,c in zip(fig.axes, raw, after, y):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), o[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(colours(ax), (new-o)[0], rtol=1e-3, atol=2e-3)
        assert ax.get_title()==f'[{learn.dls.vocab[c]}]'
    assert len([o for o in titles(learn.show_dream(max_n=3, dream=dream)) if o])==3

def test_inside_leaves_all_as_found(learn):
    learn.model.train()
    before,rng = model_state(learn.model),(torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    learn.show_feature_maps(sort='contribution'); learn.show_kernels(); learn.show_top_windows(2, 0)
    learn.show_maximized({'':{}}, ascent=partial(maximize, n_steps=2)); learn.show_dream(max_n=1, dream=partial(deep_dream, n_steps=2))
    assert same(before, model_state(learn.model)) and not plt.get_fignums()
    assert torch.equal(rng[0], torch.get_rng_state()) and rng[1]==random.getstate() and rng[2]==np.random.get_state()[1].tolist()
    assert learn.dls.train.split_idx==0

def test_inside_of_unequal_series(short):
    "No padding is seen or drawn"
    l,xs = short
    n = xs[3].shape[1]
    fig = l.show_feature_maps(3, [0,2], sort='contribution')
    assert all(o.get_array().shape[1]==n for o in heats(fig)) and len(fig.axes[0].lines[0].get_ydata())==n
    table,windows = l.top_windows(1, 2, k=20, ds_idx=1)
    assert sorted(table['item'])==list(range(14)) and all(p<xs[i].shape[1] for i,p in table[['item','peak']].values)
    for i,a in table[['item','activation']].values: np.testing.assert_allclose(feature_maps(torch.tensor(xs[int(i)]), l.model, 1)[2].max(), a, rtol=1e-4)
    assert len(titles(l.show_top_windows(1, 2, k=4, ds_idx=1)))==4
    dream = partial(deep_dream, n_steps=2, octaves=2)
    drawn = [np.asarray(colours(ax)) for ax in l.show_dream([0,3], dream=dream).axes if ax.lines]
    for i in (0,3):
        alone = dream(torch.tensor(xs[i]), l.model)-torch.tensor(xs[i])
        want = [a*raw.std() for a,raw in zip(alone.numpy(), uneven()[0][i])] # the change, in the units of each channel
        assert all(any(len(o)==len(w) and np.allclose(o, w, rtol=1e-2, atol=1e-3) for o in drawn) for w in want)

def test_what_takes_long_inside_has_a_bar(learn, monkeypatch):
    import tsviz.learner as m
    seen,clock = [],iter(range(10**6))
    monkeypatch.setattr(m, 'progress_bar', lambda o, total, **kw: seen.append(total) or o)
    monkeypatch.setattr(m, 'perf_counter', lambda: 9*next(clock))
    learn.progress = True
    learn.top_windows(2, 0, dl=learn.dls.valid.new(bs=3)); learn.show_maximized({'':{}}, ascent=partial(maximize, n_steps=7)); learn.show_dream(max_n=1, dream=partial(deep_dream, n_steps=2))
    assert seen==[4,6,5]
