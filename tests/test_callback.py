"`ShowAttrCallback` keeps maps and does not touch the training"
import random
import numpy as np, pytest, torch
from fastai.basics import Callback, CancelFitException, load_learner, nn, set_seed
from fastai.callback.all import EarlyStoppingCallback, LRFinder # noqa: F401 (patches `lr_find` and `fit_one_cycle`)
from tsviz.callback import ShowAttrCallback
from tsviz.cam import grad_cam, grad_cam_acts
from tsviz.data import TSDataLoaders, get_batch
from tsviz.learner import ts_learner
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
def rng(): return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

@pytest.mark.parametrize('fit', ['fit', 'fit_one_cycle'])
def test_training_is_the_same_bit_for_bit(fit):
    plain = train(fit=fit); r1 = rng()
    seen = train(ShowAttrCallback([0,1,2], grad_cam), fit=fit); r2 = rng()
    assert all(torch.equal(a, b) for a,b in zip(state(plain), state(seen))) and len(state(plain))==len(state(seen))
    assert r1==r2

def test_training_is_the_same_when_it_draws_live(monkeypatch):
    import IPython.display
    shown = []
    monkeypatch.setattr(IPython.display, 'display', lambda fig, display_id: shown.append(fig) or type('H', (), dict(update=lambda self, o: shown.append(o)))())
    seen = train(ShowAttrCallback([0,1], live=True))
    assert len(shown)==4 and all(torch.equal(a, b) for a,b in zip(state(train()), state(seen)))

def test_one_map_an_epoch_of_the_network_at_that_epoch():
    class Keep(Callback):
        order = 100
        def before_fit(self): self.want = []
        def after_epoch(self): self.want.append(grad_cam_acts(*get_batch(self.dls.valid, [2,5]), self.learn.model, force_scale=False))
    l = train([ShowAttrCallback([2,5]), Keep()])
    cb = l.show_attr
    assert cb.epochs==[0,1,2,3] and [o.shape for o in cb.maps]==[(2,1,60)]*4
    assert all(torch.equal(a, b) for a,b in zip(cb.maps, l.keep.want))
    assert not torch.equal(cb.maps[0], cb.maps[-1])

def test_every():
    assert train(ShowAttrCallback(every=3)).show_attr.epochs==[0,3]
    with pytest.raises(ValueError, match='at least 1'): ShowAttrCallback(every=0)
    with pytest.raises(ValueError, match="'label'"): ShowAttrCallback(y='labels')

def test_only_fit_adds_entries(tmp_path):
    l = train(ShowAttrCallback(), n=2)
    maps,l.path = list(l.show_attr.maps),tmp_path # `lr_find` saves the weights for a while
    l.validate(); l.get_preds(); l.lr_find(num_it=15, show_plot=False)
    assert len(l.show_attr.maps)==2 and all(a is b for a,b in zip(maps, l.show_attr.maps))
    with l.no_logging(): l.fit(1, 1e-3)
    assert l.show_attr.epochs==[0]

def test_cancelled_fit():
    "A callback that ends the training after an epoch does not lose that epoch's map"
    class Stop(Callback):
        order = 60
        def after_epoch(self):
            if self.epoch==1: raise CancelFitException
    assert train([ShowAttrCallback(), Stop()]).show_attr.epochs==[0,1]
    l = train([ShowAttrCallback(), EarlyStoppingCallback(min_delta=1e3)])
    assert l.show_attr.epochs==[0,1]

def test_show():
    l = train(ShowAttrCallback([0,1]), n=2)
    fig = l.show_attr.show(0)
    assert [o.get_title() for o in fig.axes[:2]]==[f'[{l.dls.vocab[c]}] - GRAD-CAM - epoch 0' for c in get_batch(l.dls.valid, [0,1])[1]]
    assert 'epoch 1' in l.show_attr.show().axes[0].get_title()
    with pytest.raises(ValueError, match='no maps of epoch 7'): l.show_attr.show(7)
    with pytest.raises(ValueError, match='no map yet'): ShowAttrCallback().show()

def test_a_callback_given_to_fit_can_be_drawn_afterwards():
    l,cb = train(n=1),ShowAttrCallback([0])
    with l.no_logging(): l.fit(2, 1e-3, cbs=cb)
    assert cb.epochs==[0,1] and 'epoch 1' in cb.show().axes[0].get_title()
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
