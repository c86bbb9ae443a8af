"`ts_learner`, `learn.attribute`, `learn.show_cam`, `learn.show_class_cams`"
import random
import matplotlib.pyplot as plt
import numpy as np, pytest, torch, torch.nn.functional as F
from fastai.basics import Callback, DataLoader, DataLoaders, LabelSmoothingCrossEntropyFlat, Learner, Tensor, load_learner, ranger
from tsviz.cam import cam_acts, grad_cam, grad_cam_acts, hires_cam
from tsviz.check import model_state
from tsviz.data import Standardize, TSDataLoaders, get_batch
from tsviz.learner import ts_learner
from tsviz.models import inception_time
from tsviz.synth import planted, tiny_cnn

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

def test_progress_bar_only_on_long_work(capsys):
    l = ts_learner(loaders(), tiny_cnn(1, 3))
    l.attribute(dl=l.dls.valid.new(bs=64))
    assert '%' not in capsys.readouterr().out
    l.attribute(dl=l.dls.valid.new(bs=2))
    assert '%' in capsys.readouterr().out
    with l.no_bar(): l.attribute(dl=l.dls.valid.new(bs=2))
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
