"One matrix: every kind of learner, every call"
import random, warnings
from contextlib import nullcontext
from functools import cache, partial
import numpy as np, pytest, torch, torch.nn as nn, torch.nn.functional as F
from fastai.basics import (Callback, CategoryBlock, DataBlock, DataLoader, DataLoaders, ItemGetter, Learner, MultiCategoryBlock,
                           Tensor, load_learner)
from fastai.callback import data as _data, fp16 as _fp16 # noqa: F401 they patch `DataBlock` and `Learner`
from common import says
from tsviz.cam import grad_cam, hires_cam
from tsviz.check import check_found
from tsviz.data import TSBlock, TSDataLoaders, get_batch
from tsviz.dream import deep_dream, maximize
from tsviz.learner import fetch_items, label_classes, ts_learner
from tsviz.synth import planted, tiny_cnn
from tsviz.transform import Crop, Standardize

N,T = 12,40

@cache
def made(n_classes): return [o.numpy() for o in planted(2*N, n_steps=T, width=12, n_classes=n_classes, seed=3)[:2]]

def data(n_classes=2): return [o.copy() for o in made(n_classes)]

def from_numpy(y=None, n_classes=2, **kwargs):
    x,labels = data(n_classes)
    return TSDataLoaders.from_numpy(x, labels if y is None else y, valid_idx=range(N,2*N), bs=5, **{**dict(batch_tfms=Standardize()), **kwargs})

def plain(cls, y=None, **kwargs):
    x,labels = data()
    y = torch.as_tensor(labels if y is None else y)
    return DataLoaders(*[cls(torch.utils.data.TensorDataset(torch.tensor(x[i:j]), y[i:j]), batch_size=5, **kwargs) for i,j in ((0,N),(N,2*N))])

def quiet(l):
    l.remove_cb(l.progress)
    return l

class Half(Callback):
    "Training under autocast in bfloat16"
    def before_batch(self): self.cast = torch.autocast('cpu', torch.bfloat16); self.cast.__enter__()
    def after_batch(self): self.cast.__exit__(None, None, None)

def classes(): return ts_learner(from_numpy(lbl_dict={0:'0 hump', 1:'1 dip'}), tiny_cnn(1, 2))
def regression(): return ts_learner(from_numpy(y=data()[1].astype(np.float32)+.5), tiny_cnn(1, 1))
def multi_label():
    x,y = data(3)
    dls = DataBlock((TSBlock, MultiCategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (range(N),range(N,2*N))).dataloaders(
        [(o, [['a'],['b','c'],[]][c]) for o,c in zip(x, y)], bs=5)
    return ts_learner(dls, tiny_cnn(1, 3))
def one_hot():
    x,y = data(3)
    dls = plain(DataLoader, np.eye(3, dtype=np.float32)[y])
    return Learner(dls, tiny_cnn(1, 3), loss_func=nn.CrossEntropyLoss(), metrics=[])
def no_vocab(): return Learner(plain(DataLoader), tiny_cnn(1, 2), loss_func=F.cross_entropy)
def torch_loaders(): return Learner(plain(torch.utils.data.DataLoader), tiny_cnn(1, 2), loss_func=F.cross_entropy)
def torch_shuffled(): return Learner(plain(torch.utils.data.DataLoader, shuffle=True, drop_last=True), tiny_cnn(1, 2), loss_func=F.cross_entropy)
def binary_logit(): return Learner(plain(DataLoader), tiny_cnn(1, 1), loss_func=lambda p,y: F.binary_cross_entropy_with_logits(p.reshape(-1), y.float()))
def weighted():
    x,y = data()
    dblock = DataBlock((TSBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (range(N),range(N,2*N)))
    return ts_learner(dblock.weighted_dataloaders([*zip(x, y)], np.arange(2*N)+1., bs=5), tiny_cnn(1, 2))
def partial_set():
    x,y = data()
    dblock = DataBlock((TSBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (range(N),range(N,2*N)))
    return ts_learner(dblock.datasets([*zip(x, y)]).partial_dataloaders(partial_n=6, bs=5), tiny_cnn(1, 2))
def datablock():
    x,y = data()
    dls = DataBlock((TSBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (range(N),range(N,2*N)), item_tfms=Crop(4), batch_tfms=Standardize()
                    ).dataloaders([*zip(x, y)], bs=5)
    return ts_learner(dls, tiny_cnn(1, 2))
def fp16(): return ts_learner(from_numpy(), tiny_cnn(1, 2)).to_fp16()
def bf16(): return ts_learner(from_numpy(), tiny_cnn(1, 2), cbs=Half())
def half_model():
    l = ts_learner(from_numpy(), tiny_cnn(1, 2))
    l.model.bfloat16()
    return l
def double_model():
    l = ts_learner(from_numpy(), tiny_cnn(1, 2))
    l.model.double()
    return l
def uneven():
    x,y = data()
    return ts_learner(from_numpy_list([o[:,:T-2*(i%5)] for i,o in enumerate(x)], y), tiny_cnn(1, 2))
def from_numpy_list(xs, y): return TSDataLoaders.from_numpy(xs, y, valid_idx=range(N,2*N), bs=5, batch_tfms=Standardize())
def loaded(tmp=None):
    import tempfile, pathlib
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        l = classes(); l.path = pathlib.Path(d); l.export('a.pkl')
        again = load_learner(pathlib.Path(d)/'a.pkl')
    x,y = data()
    again.dls.loaders = [again.dls.test_dl([*zip(x[i:j], ['0 hump' if o==0 else '1 dip' for o in y[i:j]])], with_labels=True, bs=5) for i,j in ((0,N),(N,2*N))]
    return again
def no_labels():
    l = classes()
    x,_ = data()
    l.dls.loaders = [l.dls.test_dl(list(x[i:j]), bs=5) for i,j in ((0,N),(N,2*N))]
    return l

learners = {f.__name__: f for f in (classes, regression, multi_label, one_hot, no_vocab, torch_loaders, torch_shuffled, binary_logit, weighted, partial_set, datablock, fp16, bf16,
                                    half_model, double_model, uneven, loaded, no_labels)}
unlabelled,no_class = {'no_labels'},{'regression','multi_label'} # whose labels name no class

@pytest.fixture(params=learners, scope='module') # one of each: what a test leaves behind, the next one sees
def each(request):
    l = learners[request.param]()
    if hasattr(l, 'progress'): l.remove_cb(l.progress)
    l.kind = request.param
    return l

def sizes(l): return [o.shape[-1] for o in fetch_items(l.dls[1], range(N)).rows]

def test_maps_of_all_items_in_their_order(each):
    "float32 on the CPU, and those of the method itself on the items one by one"
    l = each
    with check_found(l.model): x,labels,attrs = l.attribute(hires_cam)
    assert len(x)==len(attrs)==N and attrs.dtype==torch.float32 and attrs.device.type=='cpu' and x.device.type=='cpu' and attrs.isfinite().all()
    assert attrs.shape[0]==N and attrs.shape[2]==x.shape[2] and (labels is None)==(l.kind in unlabelled)
    for i in (0,4,5,N-1):
        o,y = get_batch(l.dls[1].dataset, i) if not hasattr(l.dls[1], 'after_batch') else get_batch(l.dls[1], i)
        want = hires_cam(o, None, l.model)[0].float()
        assert (attrs[i,:,:want.shape[-1]]-want).abs().max()<=(2e-2 if l.kind=='half_model' else 1e-5)*want.abs().max()+1e-7
        if labels is not None: assert torch.equal(torch.as_tensor(labels[i]).double(), torch.as_tensor(y[0]).double())

def test_the_series_are_those_of_the_loader(each):
    its = fetch_items(each.dls[1], [3,0])
    raw,_ = data(3 if each.kind=='multi_label' else 2)
    for o,x in zip(its.rows, raw[[N+3,N]]):
        assert o.dtype==torch.float32 and np.allclose(o, x[:,:o.shape[1]], atol=1e-6) and (o.shape[1]==T or each.kind=='uneven')

pictures = dict(
    show_cam=lambda l: l.show_cam(max_n=2),
    show_cam_label=lambda l: l.show_cam([1], y='label' if l.kind not in unlabelled|{'multi_label'} else None),
    show_cam_all=lambda l: l.show_cam([0,7], multi_fig=False, preds=True),
    show_class_cams=lambda l: l.show_class_cams(2),
    show_methods=lambda l: l.show_methods([grad_cam, hires_cam], max_n=1),
    show_feature_maps=lambda l: l.show_feature_maps(1, 2, sort='contribution', max_n=2),
    show_kernels=lambda l: l.show_kernels(max_n=1),
    show_dream=lambda l: l.show_dream(max_n=1, dream=partial(deep_dream, n_steps=2, octaves=1)),
    show_top_windows=lambda l: l.show_top_windows(2, 0, k=2),
    show_maximized=lambda l: l.show_maximized({'':{}}, y=[0], ascent=partial(maximize, n_steps=2)),
)

@pytest.mark.parametrize('name', pictures)
def test_pictures(each, name):
    state = torch.get_rng_state(),random.getstate(),np.random.get_state()[1].tolist()
    with check_found(each.model): fig = pictures[name](each)
    assert fig.axes or fig.subfigs
    assert torch.equal(state[0], torch.get_rng_state()) and state[1]==random.getstate() and state[2]==np.random.get_state()[1].tolist()

def test_what_stands_behind_prototypes(each):
    "The mean of each class's own series, as the network sees them; of all where labels name no class or there is one output"
    l,many = each,each.kind not in no_class|unlabelled|{'binary_logit'}
    fig = l.show_maximized({'':{}}, ascent=partial(maximize, n_steps=1), ds_idx=1)
    n,stats = len(fig.axes),fetch_items(l.dls[1], range(N))
    x,y = stats.x.as_subclass(Tensor).double(),data(3 if l.kind in ('multi_label','one_hot') else 2)[1][N:]
    assert n==(1 if l.kind in ('regression','binary_logit') else 3 if l.kind in ('multi_label','one_hot') else 2)
    for c,ax in enumerate(fig.axes):
        rows = x[torch.tensor(y==c)] if many else x
        if l.kind!='uneven': np.testing.assert_allclose(ax.lines[0].get_ydata(), rows.mean(0)[0], atol=1e-5)
        assert ('output ' if n==1 else 'p = ') in ax.get_title()

def test_what_labels_name(each):
    y = fetch_items(each.dls[1], range(N)).y
    got = label_classes(each, y)
    if each.kind in no_class|unlabelled: assert got is None
    else: assert torch.equal(torch.as_tensor(got).as_subclass(Tensor).cpu().long(), torch.as_tensor(data(3 if each.kind=='one_hot' else 2)[1][N:]).long())

def test_after_training_as_before(each):
    "Maps after a fit are those of the trained model, and training goes on"
    l = each
    if l.kind in ('loaded','no_labels','half_model','double_model','fp16'): pytest.skip('is not trained here')
    with l.no_bar(), l.no_logging(): l.fit(1, 1e-3)
    x,_,attrs = l.attribute()
    assert len(attrs)==N and attrs.isfinite().all() and torch.isfinite(torch.tensor(l.recorder.losses)).all()

def test_explaining_the_label(each):
    "Its class, one-hot too; the only output of a regression; any number of classes is refused"
    l = each
    if l.kind in unlabelled|{'multi_label'}:
        with says(ValueError, 'no labels to explain' if l.kind in unlabelled else 'Each series has 3 labels'): l.attribute(hires_cam, y='label')
    else:
        c = label_classes(l, fetch_items(l.dls[1], range(N)).y)
        c = None if l.kind in ('regression','binary_logit') else torch.as_tensor(c).as_subclass(Tensor)
        assert torch.equal(l.attribute(hires_cam, y='label')[2], l.attribute(hires_cam, y=c)[2])

def interpretation(l):
    from tsviz.interpret import AttrInterpretation
    with l.no_bar() if hasattr(l, 'progress') else nullcontext(): return AttrInterpretation.from_learner(l, method=hires_cam)

def test_interpretation(each):
    l = each
    with check_found(l.model): interp = interpretation(l)
    assert (interp.losses is None)==(l.kind in unlabelled) and len(interp.preds)==N
    assert hasattr(interp, 'confusion_matrix')==(l.kind not in ('regression','multi_label','one_hot','no_vocab','torch_loaders','torch_shuffled','binary_logit','no_labels'))
    if l.kind not in unlabelled: assert interp.plot_top_losses(1).axes
    assert interp.show_class_means().axes and interp.show_dataset().axes
    assert len(interp.time_importance(n_boot=20))==max(sizes(l))

def test_callback(each):
    "Maps of fixed series after an epoch"
    from tsviz.callback import AttrCallback
    l = each
    if l.kind in ('loaded','no_labels','half_model','double_model','fp16'): pytest.skip('is not trained here')
    with l.no_bar(), l.no_logging(): l.fit(2, 1e-3, cbs=(cb := AttrCallback([0,3], method=hires_cam)))
    assert len(cb.maps)==2 and cb.maps[0].shape[0]==2 and cb.maps[0].dtype==torch.float32 and cb.maps[1].isfinite().all()
    want = l.attribute(hires_cam, y='label' if l.kind not in ('multi_label',) else None)[2][[0,3]]
    assert (cb.maps[1]-want[...,:cb.maps[1].shape[-1]]).abs().max()<=1e-5*want.abs().max()

def test_half_precision_training_is_explained_in_full():
    l = quiet(bf16())
    with l.no_logging(): l.fit(1, 1e-3)
    x,_,attrs = l.attribute(hires_cam)
    want = hires_cam(x, None, l.model)
    assert torch.equal(attrs, want) or (attrs-want).abs().max()<=1e-6*want.abs().max()

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('kind', ['classes','datablock','uneven','torch_loaders'])
def test_cuda(kind):
    want = quiet(learners[kind]()).attribute(hires_cam)
    l = quiet(learners[kind]())
    l.model.cuda()
    if kind!='torch_loaders': l.dls.to('cuda')
    x,_,attrs = l.attribute(hires_cam)
    assert attrs.device.type==x.device.type=='cpu' and attrs.dtype==torch.float32 and torch.allclose(attrs, want[2], rtol=1e-2, atol=1e-3*want[2].abs().max().item())
    for name in ('show_cam','show_class_cams','show_methods','show_dream'): pictures[name](l if not setattr(l, 'kind', kind) else l)

@pytest.mark.skipif(not torch.backends.mps.is_available(), reason='no MPS device')
def test_mps():
    l = quiet(classes())
    l.model.to('mps'); l.dls.to('mps')
    attrs = l.attribute(hires_cam)[2]
    assert attrs.device.type=='cpu' and attrs.dtype==torch.float32
