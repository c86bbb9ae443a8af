"What `AttrCallback` and `ShowAttrCallback` keep, say and draw; that they leave trainings alone is in test_neutral.py"
import gc, pickle, threading, warnings, weakref
import numpy as np, pytest, torch
from common import says
from fastai.basics import (BCEWithLogitsLossFlat, Callback, CancelBatchException, CancelEpochException, CancelFitException, DataLoader, DataLoaders, F, LabelSmoothingCrossEntropyFlat, Learner,
                           MSELossFlat, load_learner, nn, partial, set_seed)
from fastai.callback import mixup
from fastai.callback.all import EarlyStoppingCallback, LRFinder # noqa: F401 (patches `lr_find` and `fit_one_cycle`)
from fastai.data.all import CategoryBlock, DataBlock, IndexSplitter, ItemGetter
from torch.utils.data import TensorDataset
from tsviz.callback import AttrCallback, ShowAttrCallback
from tsviz.cam import grad_cam, grad_cam_acts
from tsviz.data import TSBlock, TSDataLoaders, get_batch
from tsviz.learner import ts_learner
from tsviz.method import over_models
from tsviz.metrics import drift
from tsviz.perturb import occlusion
from tsviz.synth import planted
from tsviz.transform import Standardize

def model(): # BatchNorm and dropout: what a careless callback disturbs
    block = lambda i,o: nn.Sequential(nn.Conv1d(i,o,5,padding=2), nn.BatchNorm1d(o), nn.ReLU(inplace=True), nn.Dropout(.2))
    return nn.Sequential(block(1,8), block(8,8), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8,2))

def train(cbs=None, n=4, fit='fit', **kwargs):
    set_seed(5, reproducible=True)
    x,y,_ = planted(48, n_steps=60, width=16)
    dls = TSDataLoaders.from_numpy(x, y.numpy(), valid_idx=range(32,48), bs=8, batch_tfms=Standardize())
    l = ts_learner(dls, model(), cbs=cbs, **kwargs)
    l.remove_cb(l.progress)
    with l.no_logging(): getattr(l, fit)(n, 1e-2)
    return l

def state(l): return [*l.model.state_dict().values(), *l.recorder.losses, *map(torch.tensor, l.recorder.values)]

@pytest.mark.parametrize('cls', [AttrCallback,ShowAttrCallback])
def test_one_map_an_epoch_of_the_network_at_that_epoch(cls):
    class Keep(Callback):
        order = 100
        def before_fit(self): self.want = []
        def after_epoch(self): self.want.append(grad_cam_acts(*get_batch(self.dls.valid, [2,5]), self.learn.model, force_scale=False))
    l = train([cb := cls([2,5], grad_cam_acts), Keep()])
    assert (l.attr if cls is AttrCallback else l.show_attr) is cb
    assert cb.epochs==[0,1,2,3] and [o.shape for o in cb.maps]==[(2,1,60)]*4
    assert all(torch.equal(a, b) for a,b in zip(cb.maps, l.keep.want))
    assert not torch.equal(cb.maps[0], cb.maps[-1])

def test_every():
    l = train(ShowAttrCallback(every=3))
    assert l.show_attr.epochs==[0,3]
    with l.no_logging(): l.fit(4, 1e-3)
    assert l.show_attr.epochs==[0,3,6]

def test_only_fit_adds_entries(tmp_path):
    l = train(ShowAttrCallback(), n=2)
    maps,l.path = list(l.show_attr.maps),tmp_path # `lr_find` saves the weights for a while
    with l.no_logging(): l.validate(); l.get_preds(); l.get_preds(dl=l.dls.train, with_loss=True); l.lr_find(num_it=15, show_plot=False); l.validate()
    assert len(l.show_attr.maps)==2 and all(a is b for a,b in zip(maps, l.show_attr.maps))
    with l.no_logging(): l.fit(1, 1e-3)
    assert l.show_attr.epochs==[0,1,2] and all(a is b for a,b in zip(maps, l.show_attr.maps))
    l.show_attr.reset()
    assert l.show_attr.maps==l.show_attr.losses==l.show_attr.preds==l.show_attr.epochs==[] and l.show_attr.xs is None and l.show_attr.titles is None
    with l.no_logging(): l.fit(1, 1e-3)
    assert l.show_attr.epochs==[0]

def test_lr_find_first(tmp_path):
    l = train(AttrCallback([0]), n=0)
    l.path = tmp_path
    l.lr_find(num_it=5, show_plot=False); l.validate()
    assert l.attr.maps==[] and l.attr.items is None

def test_epochs_go_on_counting():
    l = train(AttrCallback([0]), n=0)
    with l.no_logging():
        l.fine_tune(2, 1e-3, freeze_epochs=2); assert l.attr.epochs==[0,1,2,3]
        l.fit(6, 1e-3, start_epoch=4); assert l.attr.epochs==[0,1,2,3,4,5]
    cb = AttrCallback([0])
    with l.no_logging(): l.fit(4, 1e-3, start_epoch=2, cbs=cb)
    assert cb.epochs==[2,3]

class Raise(Callback):
    def __init__(self, what): self.what = what
    def before_batch(self):
        if self.training and self.epoch==1 and self.iter==1: raise self.what

@pytest.mark.parametrize('what,want', [(CancelBatchException,[0,1,2]), (CancelEpochException,[0,1,2]), (CancelFitException,[0]), (KeyboardInterrupt,[0])])
def test_broken_off(what, want):
    "An epoch that was broken off is one, a training that was broken off leaves nothing half done"
    l = train(AttrCallback([0,1]), n=0)
    with l.no_logging():
        try: l.fit(3, 1e-3, cbs=Raise(what))
        except KeyboardInterrupt: pass
        l.remove_cb(Raise); l.validate(); l.get_preds()
        assert l.attr.epochs==want
        l.fit(1, 1e-3)
    assert l.attr.epochs==[*want,want[-1]+1] and len(l.attr.maps)==len(l.attr.losses)==len(l.attr.preds)==len(want)+1
    assert not any(o.isnan().any() for o in l.attr.losses)

def test_cancelled_fit():
    "A callback that ends the training after an epoch does not lose that epoch's map"
    class Stop(Callback):
        order = 60
        def after_epoch(self):
            if self.epoch==1: raise CancelFitException
    assert train([ShowAttrCallback(), Stop()]).show_attr.epochs==[0,1]
    l = train([ShowAttrCallback(), EarlyStoppingCallback(min_delta=1e3)])
    assert l.show_attr.epochs==[0,1]

@pytest.mark.parametrize('what', [CancelBatchException,CancelEpochException])
def test_losses_are_the_learners_own_under_mixup(what):
    "An epoch that is broken off leaves the loss function of `MixUp` in place"
    l = train([AttrCallback([0,1]), mixup.MixUp()], n=0)
    with l.no_logging(): l.fit(2, 1e-3, cbs=Raise(what))
    assert (l.loss_func is l.mix_up.old_lf) is (what is CancelBatchException)
    l.loss_func = l.mix_up.old_lf
    assert l.attr.epochs==[0,1] and torch.allclose(l.attr.losses[1], l.get_preds(with_loss=True)[2][:2].as_subclass(torch.Tensor), atol=1e-6)

def test_show():
    l = train(ShowAttrCallback([0,1]), n=2)
    fig = l.show_attr.show(0)
    assert [o.get_title().splitlines()[0] for o in fig.axes[:2]]==[f'[{l.dls.vocab[c]}] - GRAD-CAM - epoch 0' for c in get_batch(l.dls.valid, [0,1])[1]]
    assert 'epoch 1' in l.show_attr.show().axes[0].get_title()
    with pytest.raises(ValueError, match='no maps of epoch 7'): l.show_attr.show(7)
    with pytest.raises(ValueError, match='no map yet'): ShowAttrCallback().show()

def test_a_callback_given_to_fit_can_be_drawn_afterwards():
    l,cb = train(n=1),ShowAttrCallback([0])
    with l.no_logging(): l.fit(2, 1e-3, cbs=cb)
    assert not hasattr(l, 'show_attr') and cb.epochs==[0,1] and 'epoch 1' in cb.show().axes[0].get_title() and cb.show_history() and cb.drift().shape==(1,1)
    with l.no_logging(): l.fit(2, 1e-2, cbs=cb)
    assert cb.epochs==[0,1,2,3]
    with pytest.raises(ValueError, match='no maps of epoch -9'): cb.show(-9)

def test_export_with_the_callback(tmp_path):
    l = train(ShowAttrCallback([0]), n=1)
    l.path = tmp_path
    l.export('a.pkl')
    again = load_learner(tmp_path/'a.pkl')
    assert torch.equal(again.show_attr.maps[0], l.show_attr.maps[0]) and again.show_attr.method is grad_cam_acts

def test_series_of_unequal_length():
    "Maps of the series alone, and the same training with and without"
    def run(cbs=None):
        set_seed(5, reproducible=True)
        xs = [np.random.default_rng(i).normal(size=(1,20+i)).astype(np.float32) for i in range(24)]
        dls = TSDataLoaders.from_numpy(xs, [*'ab']*12, valid_idx=range(8), bs=8, batch_tfms=Standardize())
        l = ts_learner(dls, model(), cbs=cbs)
        l.remove_cb(l.progress)
        with l.no_logging(): l.fit(2, 1e-2)
        return l
    plain,l = run(),run(ShowAttrCallback([0,7]))
    assert all(torch.equal(a, b) for a,b in zip(state(plain), state(l)))
    a = l.show_attr.maps[-1]
    want = grad_cam_acts(get_batch(l.dls.valid, [0])[0], 0, l.model, force_scale=False)
    assert a.shape==(2,1,27) and (a[0,:,20:]==0).all() and torch.allclose(a[0,:,:20], want[0], atol=1e-5)
    fig = l.show_attr.show()
    steps = [{len(c.get_array()) for c in ax.collections if c.get_array() is not None} for ax in fig.axes[:2]]
    assert steps==[{20},{27}]                                              # drawn without their padding

def test_losses_of_unequal_lengths():
    "Each series is run without its padding, in any order, as a validation does"
    xs = [np.random.default_rng(i).normal(size=(1,20+i%3)).astype(np.float32) for i in range(24)]
    l = ts_learner(TSDataLoaders.from_numpy(xs, [*'ab']*12, valid_idx=range(8), bs=8), model(), cbs=AttrCallback([5,0,4,1]))
    l.remove_cb(l.progress)
    with l.no_logging(): l.fit(1, 1e-2)
    l.model.eval()
    with torch.no_grad(): out = torch.cat([l.model(torch.tensor(xs[i])[None]) for i in (5,0,4,1)])
    assert torch.allclose(l.attr.preds[0], out.softmax(1), atol=1e-5)
    assert torch.allclose(l.attr.losses[0], l.loss_func.__class__(reduction='none')(out, torch.tensor([1,0,0,1])), atol=1e-5)

def learner(y, loss_func, n_out=2, C=1, vocab=True, **kwargs):
    set_seed(5, reproducible=True)
    x = planted(24, n_steps=40, width=12)[0]
    dls = TSDataLoaders.from_numpy(x, y, valid_idx=range(16,24), bs=8, batch_tfms=Standardize()) if vocab else tensors(x, y)
    net = model(); net[-1] = nn.Linear(8, n_out)
    l = Learner(dls, net if n_out>1 or not kwargs.pop('flat', False) else nn.Sequential(net, nn.Flatten(0)), loss_func)
    l.remove_cb(l.progress)
    return l

def tensors(x, y): return DataLoaders(*[DataLoader(TensorDataset(x[i], y[i]), bs=8) for i in (slice(0,16),slice(16,24))])

class MeanOnly: # knows no `reduction`
    def __call__(self, out, y): return F.cross_entropy(out, y)

hot = torch.randint(0, 2, (24,3), generator=torch.Generator().manual_seed(0)).float()
cls = torch.arange(24)%2
real = torch.linspace(0, 1, 24)
kinds = {'classes': ([*'ab']*12, None, 2), 'cross entropy': (cls, nn.CrossEntropyLoss(), 2), 'weighted': (cls, nn.CrossEntropyLoss(weight=torch.tensor([.2,.8])), 2),
         'function': (cls, F.cross_entropy, 2),
         'partial': (cls, partial(F.cross_entropy, label_smoothing=.1), 2),
         'mean only': (cls, MeanOnly(), 2), 'several labels': (hot, BCEWithLogitsLossFlat(), 3),
         'several labels, plain': (hot, nn.BCEWithLogitsLoss(), 3),
         'one-hot': (F.one_hot(cls, 2).float(), nn.CrossEntropyLoss(), 2), 'number': (real, MSELossFlat(), 1),
         'number, plain': (real, nn.MSELoss(), 1),
         'numbers': (torch.stack([real,-real], 1), nn.L1Loss(), 2), 'binary': (cls.float(), nn.BCEWithLogitsLoss(), 1)}

@pytest.mark.parametrize('kind', kinds)
def test_losses_and_predictions(kind):
    "Those that fastai gives for the whole loader; probabilities where it gives the outputs of a plain loss"
    y,loss,n = kinds[kind]
    l = learner(y, LabelSmoothingCrossEntropyFlat() if loss is None else loss, n, vocab=loss is None, flat=isinstance(loss, (nn.MSELoss,nn.BCEWithLogitsLoss)))
    at = [0,3,6]
    with l.no_logging(): l.fit(2, 1e-2, cbs=(cb := AttrCallback(at)))
    outs,targs = l.get_preds(act=lambda o: o)
    own = getattr(l.loss_func, 'activation', None)
    act = dict.fromkeys(['several labels, plain','binary'], torch.sigmoid) | dict.fromkeys(['number, plain','numbers'], lambda o: o)
    want = own(outs) if own else act.get(kind, partial(torch.softmax, dim=1))(outs)
    assert torch.allclose(cb.preds[-1], want.reshape(len(want), -1)[at].as_subclass(torch.Tensor), atol=1e-5)
    each = torch.stack([torch.as_tensor(l.loss_func(outs[i:i+1], targs[i:i+1])) for i in at]) # the loss of one is its mean
    if kind=='weighted': each = each*loss.weight[targs[at].long()] # a weighted mean of one forgets the weight; fastai's losses have it
    assert torch.allclose(cb.losses[-1], each.as_subclass(torch.Tensor), atol=1e-5) and cb.losses[-1].shape==(3,)
    assert cb.maps[-1].shape==(3,1,40) and all(torch.equal(a, b) for a,b in zip(cb.xs, cb.items.rows))
    y = cls[16:][at] if kind in ('one-hot','classes') or l.loss_func and not torch.as_tensor(targs).is_floating_point() else None
    # the label is explained where it is one class, else the prediction or the only output
    assert torch.allclose(cb.maps[-1], grad_cam(cb.items.x, y, l.model), atol=1e-6)
    assert len(cb.titles)==3 and len(cb.show().axes)>=3

def test_own_series():
    "Series, pairs and items go through the loaders' transforms; without any they are taken as they are"
    l = train(n=1)
    raw,ys = get_batch(l.dls.valid_ds, [1,4,9])
    names = [l.dls.vocab[int(o)] for o in ys]
    forms = [(raw,names), (raw.numpy(),np.array(names)), (raw,ys), [*zip(raw, names)], [l.dls.valid_ds[i] for i in (1,4,9)]]
    cbs = [AttrCallback(o) for o in [[1,4,9], *forms]]
    alone = [AttrCallback(o) for o in (raw, list(raw), raw[:,0].numpy())]
    with l.no_logging():
        for o in cbs+alone: l.add_cb(o)
        l.fit(1, 1e-3)
    for o in cbs[1:]: assert torch.equal(o.maps[0], cbs[0].maps[0]) and torch.equal(o.losses[0], cbs[0].losses[0]) and o.titles==cbs[0].titles
    for o in alone: assert torch.equal(o.preds[0], cbs[0].preds[0]) and o.losses[0].isnan().all() and o.titles==['series 0','series 1','series 2'] and o.show()
    assert torch.allclose(torch.stack(cbs[1].xs), raw.as_subclass(torch.Tensor), atol=1e-5)
    with says(ValueError, 'pair', '[3, 2]'): AttrCallback_start(l, (raw, names[:2]))
    with says(ValueError, 'all have a label'): AttrCallback_start(l, [(raw[0],'0'), raw[1]])

def AttrCallback_start(l, idxs):
    from tsviz.callback import _load_items
    return _load_items(l.dls, idxs)

def test_own_series_of_other_loaders():
    x,y,_ = planted(24, n_steps=40, width=12)
    block = DataBlock((TSBlock,CategoryBlock), getters=[ItemGetter(0),ItemGetter(1)], splitter=IndexSplitter(range(16,24)), batch_tfms=Standardize())
    named = [(a.numpy(),'uv'[b]) for a,b in zip(x, y)]
    for dls,items in [(block.dataloaders(named, bs=8), named), (tensors(x, y), [*zip(x, y)])]:
        l = Learner(dls, model(), nn.CrossEntropyLoss() if items is not named else None)
        l.remove_cb(l.progress)
        cbs = [AttrCallback([0,3]), AttrCallback([items[16],items[19]]), AttrCallback([items[16][0],items[19][0]])]
        with l.no_logging(): l.add_cbs(cbs); l.fit(1, 1e-3)
        assert torch.equal(cbs[0].maps[0], cbs[1].maps[0]) and torch.equal(cbs[0].losses[0], cbs[1].losses[0]) and torch.equal(cbs[0].preds[0], cbs[2].preds[0])

def test_what_is_explained():
    cbs = [AttrCallback([0,1], y=o) for o in (None,1,torch.tensor([1,0]),'label')]
    l = train(cbs, n=1)
    x,ys = l.dls.valid.one_batch()[0][:2],l.dls.valid.one_batch()[1][:2]
    for cb,y in zip(cbs, (None,1,torch.tensor([1,0]),ys)): assert torch.allclose(cb.maps[0], grad_cam(x, y, l.model), atol=1e-6)
    cb = AttrCallback([0], occlusion, window=6, stride=3)
    with l.no_logging(): l.fit(1, 1e-3, cbs=cb)
    assert torch.allclose(cb.maps[0], occlusion(x[:1], ys[:1], l.model, window=6, stride=3), atol=1e-6)

def test_what_comes_one_an_item():
    "A baseline for each of the loader's items is that of the items kept"
    l = train(n=0)
    base = torch.randn(16, 1, 60)
    cb = AttrCallback([3,12], occlusion, window=12, baseline=base)
    with l.no_logging(): l.fit(1, 1e-3, cbs=cb)
    assert torch.allclose(cb.maps[0], occlusion(cb.items.x, cb.items.y, l.model, window=12, baseline=base[[3,12]]), atol=1e-6)

def test_errors_come_before_the_first_batch():
    with says(ValueError, "'label'", 'labels'): AttrCallback(y='labels')
    with says(ValueError, '`every`'): AttrCallback(every=0)
    with says(ValueError, '`max_n`'): AttrCallback(max_n=0)
    with says(TypeError, 'occlusion'): AttrCallback(method='occlusion')
    with says(TypeError, 'two maps'): AttrCallback(method=over_models(grad_cam, [model()]))
    l = train(n=0)
    before = [o.clone() for o in l.model.state_dict().values()]
    for kw,word in [(dict(layer='nothing'),'no layer'), (dict(y=5),'out of range'), (dict(idxs=[99]),'out of range'),
                    (dict(idxs=[0,1], y=torch.tensor([1])),'1 classes for 2'),
                    (dict(ds_idx=7),'`ds_idx` 7'), (dict(method=occlusion, window=900),'window')]:
        with pytest.raises(ValueError, match=word), l.no_logging(): l.fit(2, 1e-3, cbs=(cb := AttrCallback(**kw)))
        assert cb.maps==[] and l.remove_cbs([cb])
    assert all(torch.equal(a, b) for a,b in zip(before, l.model.state_dict().values()))

def test_a_method_that_fails_later_ends_no_training():
    "One warning a training, and no half of an entry"
    n = []
    def frail(x, y, model, layer, *_):
        n.append(1)
        if len(n) in (3,5): raise RuntimeError(f'out of luck {len(n)}')
        return x
    l,cb = train(n=0),AttrCallback([0], frail)
    with warnings.catch_warnings(record=True) as said, l.no_logging():
        warnings.simplefilter('always')
        l.fit(5, 1e-3, cbs=cb)
    assert [str(o.message) for o in said if 'AttrC' in str(o.message)]==['AttrCallback failed after epoch 1, the training goes on (should it fail again, `failed` says so): out of luck 3']
    assert cb.failed=={1:'RuntimeError: out of luck 3', 3:'RuntimeError: out of luck 5'}
    assert cb.epochs==[0,2,4] and len(cb.maps)==len(cb.losses)==len(cb.preds)==3 and len(l.recorder.values)==5
    n[:] = [1]
    with pytest.warns(UserWarning, match='after epoch 5'), l.no_logging(): l.fit(2, 1e-3, cbs=cb) # the next training says it again
    assert list(cb.failed)==[1,3,5] and cb.epochs==[0,2,4,6]
    cb.reset()
    assert cb.failed=={}

def of_tensors(net, loss_func):
    set_seed(5, reproducible=True)
    x,y,_ = planted(24, n_steps=40, width=12)
    l = Learner(tensors(x, y), net, loss_func)
    l.remove_cb(l.progress)
    return l

class Outs(nn.Module):
    "A network with several outputs"
    def __init__(self): super().__init__(); self.net = model()
    def forward(self, x): out = self.net(x); return dict(logits=out, both=(out[:,0],out[:,1:]))

def test_several_outputs():
    "The loss is handed them as they are, and they are kept as they are; what is explained is a function of them"
    l,cb = of_tensors(Outs(), lambda o,y: F.cross_entropy(o['logits'], y)),AttrCallback([1,2], y=lambda o: o['logits'][:,1])
    with l.no_logging(): l.fit(2, 1e-2, cbs=cb)
    x,y = l.dls.valid_ds[[1,2]]
    l.model.eval()
    with torch.no_grad(): out = l.model(x)
    assert torch.allclose(cb.preds[1]['logits'], out['logits'], atol=1e-6) and torch.allclose(cb.preds[1]['both'][1], out['both'][1], atol=1e-6)
    assert torch.allclose(cb.losses[1], F.cross_entropy(out['logits'], y, reduction='none'), atol=1e-6)
    assert torch.allclose(cb.maps[1], grad_cam(x, 1, l.model.net), atol=1e-6)
    assert cb.show().axes[0].get_title()==f'[{int(y[0])}] - Grad-CAM - epoch 1'
    with pytest.raises(ValueError, match='pass a function of the output as `y`'), l.no_logging(): l.fit(1, 1e-2, cbs=AttrCallback([0]))

@pytest.mark.parametrize('flat', [False,True])
def test_the_loss_is_handed_what_a_training_hands_it(flat):
    "A single output (B,1) stays one, and (B,) too, for any number of series"
    shapes = set()
    def loss(out, y): shapes.add((out.ndim,type(out),type(y))); return F.mse_loss(out if flat else out[:,0], y.float())
    net = model(); net[-1] = nn.Linear(8, 1)
    l = of_tensors(nn.Sequential(net, nn.Flatten(0)) if flat else net, loss)
    cbs = [AttrCallback([0,2,7]), AttrCallback([5])]
    with l.no_logging(): l.fit(1, 1e-2, cbs=cbs)
    assert shapes=={(1 if flat else 2,torch.Tensor,torch.Tensor)}
    l.model.eval()
    with torch.no_grad(): out = l.model(l.dls.valid_ds[:][0]).reshape(-1)
    for cb in cbs: assert torch.allclose(cb.losses[0], (out-l.dls.valid_ds[:][1])[cb.numbers]**2, atol=1e-6)

class Held:
    "A loss function that cannot be copied"
    reduction = 'mean'
    def __init__(self): self.lock,self.n = threading.Lock(),0
    def __call__(self, out, y): self.n += 1; return F.cross_entropy(out, y, reduction=self.reduction)

def test_a_loss_that_cannot_be_copied():
    l,cb = of_tensors(model(), Held()),AttrCallback([0,1])
    with l.no_logging(): l.fit(2, 1e-2, cbs=cb)
    assert cb.epochs==[0,1] and l.loss_func.n==6 and l.loss_func.reduction=='mean' and not cb.failed

def test_other_loaders_later():
    "The series stay; classes of other names would be other classes"
    def dls(names, n): return TSDataLoaders.from_numpy(planted(24, n_steps=n, width=12)[0], [*names]*12, valid_idx=range(8), bs=8, batch_tfms=Standardize())
    l = ts_learner(dls('ab', 40), model(), cbs=AttrCallback([0,1]))
    l.remove_cb(l.progress)
    with l.no_logging():
        l.fit(1, 1e-3); x = l.attr.items.x
        l.dls = dls('ab', 60); l.fit(1, 1e-3)
        assert l.attr.epochs==[0,1] and l.attr.items.x is x and l.attr.maps[1].shape==(2,1,40)
        l.dls = dls('ba', 60); l.fit(1, 1e-3)
        l.dls = dls('bc', 60)
        with pytest.raises(ValueError, match=r"the classes \['a', 'b'\], the Learner's loaders have \['b', 'c'\]: `reset\(\)` it first"): l.fit(1, 1e-3)
        l.attr.reset(); l.fit(1, 1e-3)
    assert l.attr.titles==['[b]','[c]'] and l.attr.epochs==[0] and l.attr.items.x.shape==(2,1,60)

class Share(DataLoader):
    "One process's share of a loader, as `DistributedDL`, which knows its loader and little else"
    def __init__(self, dl): self.dl,self.dataset,self.device = dl,dl.dataset,dl.device
    def __iter__(self): return iter(self.dl)
    def __len__(self): return len(self.dl)

def test_many_processes(monkeypatch):
    "The series come from the loader that the processes share, and one of them draws"
    l,drawn = train(n=0),[]
    raw = get_batch(l.dls.valid_ds, [0,3])[0]
    l.dls.loaders = [Share(o) for o in l.dls.loaders]
    monkeypatch.setattr('IPython.display.display', lambda fig, display_id: drawn.append(fig))
    for rank,cbs in [(0,[AttrCallback([0,3]), AttrCallback(raw), ShowAttrCallback([0,3], live=True)]), (1,[ShowAttrCallback([0,3], live=True)])]:
        monkeypatch.setattr('tsviz.callback.rank_distrib', lambda rank=rank: rank)
        with l.no_logging(): l.fit(1, 1e-3, cbs=cbs)
        assert all(o.epochs==[0] and o.items.x.shape==(2,1,60) for o in cbs) and len(drawn)==1
    assert all(type(o) is Share for o in l.dls.loaders)

def test_names_that_the_model_has_too():
    "are no reason for fastai's warning"
    net = model()
    net.names = net.items = net.labels = net.maps = net.failed = net.numbers = net.vocab = net.ready = 1
    l = of_tensors(net, nn.CrossEntropyLoss())
    with warnings.catch_warnings(), l.no_logging():
        warnings.filterwarnings('error', message='You are shadowing')
        l.fit(2, 1e-3, cbs=(cb := AttrCallback([0])))
    assert cb.epochs==[0,1]

def test_what_is_kept_holds_no_network():
    l = train(AttrCallback([0,1]), n=2)
    cb,seen = l.attr,[weakref.ref(o) for o in (l.model,l.opt,l.dls,next(l.model.parameters()))]
    l.remove_cb(cb)
    del l; gc.collect()
    assert [o() for o in seen]==[None]*4 and cb.show_history() and not any(o.requires_grad for o in (*cb.maps,*cb.losses,*cb.preds))

class Pickled(Callback):
    order = 90
    def after_epoch(self): self.learn.pickles = [*getattr(self.learn, 'pickles', []),pickle.dumps(self.learn)]

def test_pickled_within_a_training():
    l = train([AttrCallback([0,1]), Pickled()], n=2)
    again = pickle.loads(l.pickles[0])
    again.remove_cb(Pickled)
    with again.no_logging(): again.fit(2, 1e-3)
    assert again.attr.epochs==[0,1,2] and l.attr.epochs==[0,1] and torch.equal(again.attr.maps[0], l.attr.maps[0])

def test_history_and_drift():
    l = train(AttrCallback([0,1,2]), n=3)
    assert l.attr.drift().shape==(2,3) and torch.equal(l.attr.drift(), drift(l.attr.maps))
    fig = l.attr.show_history()
    assert {o.get_title() for o in fig.axes} >= {*l.attr.titles}
    assert l.attr.show_history(style='multiples', epochs=None) is not fig
    with pytest.raises(ValueError, match='no map yet'): AttrCallback().show_history()

def test_titles_have_the_predictions_of_the_epoch():
    l = train(AttrCallback([0]), n=3)
    for e in (0,2):
        p = l.attr.preds[e][0]
        assert l.attr.show(e).axes[0].get_title().endswith(f'predicted {l.dls.vocab[int(p.argmax())]} ({p.max():.2f})')

def test_tensorboard(tmp_path):
    "A picture and two numbers an entry, beside fastai's own"
    pytest.importorskip('tensorboard')
    from fastai.callback.tensorboard import TensorBoardCallback
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    l = train([AttrCallback([0,1], every=2), TensorBoardCallback(tmp_path, trace_model=False)], n=3)
    got = EventAccumulator(str(tmp_path)); got.Reload()
    steps = lambda o: [e.step for e in o]
    assert steps(got.Images('attr/maps'))==[4,12] and steps(got.Images('Sample results'))==[4,8,12]
    assert steps(got.Scalars('attr/loss'))==[4,12] and steps(got.Scalars('attr/drift'))==[12]
    assert [e.value for e in got.Scalars('attr/loss')]==pytest.approx([o.mean().item() for o in l.attr.losses])
    assert got.Scalars('attr/drift')[0].value==pytest.approx(l.attr.drift().mean().item())

def test_live(monkeypatch):
    "One picture, which is drawn anew; another training has another"
    import IPython.display
    first,later = [],[]
    monkeypatch.setattr(IPython.display, 'display', lambda fig, display_id: first.append(fig) or type('H', (), dict(update=lambda self, o: later.append(o)))())
    l = train(ShowAttrCallback([0,1], live=True), n=3)
    assert len(first)==1 and len(later)==2
    with l.no_logging(): l.validate(); l.fit(1, 1e-3)
    assert len(first)==2 and len(later)==2

def test_export_is_small(tmp_path):
    "A Learner is exported without its items; only the few that are watched go along"
    def size(n):
        set_seed(0)
        x,y,_ = planted(n, n_steps=60, width=16)
        l = ts_learner(TSDataLoaders.from_numpy(x, y.numpy(), bs=8, batch_tfms=Standardize()), model(), cbs=AttrCallback([0,1]), path=tmp_path)
        with l.no_bar(), l.no_logging(): l.fit(1, 1e-3)
        l.export('a.pkl')
        return (tmp_path/'a.pkl').stat().st_size
    assert abs(size(400)-size(40))<20_000 # 360 series are 86,400 bytes
