"A training that is watched by `AttrCallback` is the training without it, bit for bit"
import hashlib, pickle, random
from functools import partial
import numpy as np, pytest, torch
from fastai.basics import (CancelBatchException, CancelEpochException, CancelFitException, CancelTrainException, CancelValidException, Callback,
                           CrossEntropyLossFlat, DataLoader, DataLoaders, F, L, Learner, SGD, load_learner, nn, params, set_seed)
from fastai.callback import mixup
from fastai.callback.all import (CSVLogger, EarlyStoppingCallback, GradientAccumulation, GradientClip, LRFinder, ReduceLROnPlateau,  # noqa: F401
                                 SaveModelCallback, ShortEpochCallback) # `LRFinder` brings `lr_find`, `fit_one_cycle` and `fine_tune`
from torch.nn.utils import parametrizations
from torch.utils.data import TensorDataset
from tsviz.callback import AttrCallback, ShowAttrCallback
from tsviz.cam import grad_cam, score_cam
from tsviz.data import TSDataLoaders
from tsviz.gradient import guided_backprop
from tsviz.learner import ts_learner
from tsviz.method import smoothed
from tsviz.synth import planted
from tsviz.transform import CutMixTS, Jitter, MixUp, Standardize

def model(): # BatchNorm and dropout: what a careless callback disturbs
    block = lambda i,o: nn.Sequential(nn.Conv1d(i,o,5,padding=2), nn.BatchNorm1d(o), nn.ReLU(inplace=True), nn.Dropout(.2))
    return nn.Sequential(nn.Sequential(block(1,8), block(8,8)), nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8,2)))

def digest(o):
    "A few bytes that stand for nested tensors, arrays and numbers, NaN too"
    h = hashlib.md5()
    def add(o):
        if isinstance(o, torch.Tensor): h.update(repr((o.dtype, o.shape)).encode() + o.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(o, np.ndarray): h.update(o.tobytes())
        elif isinstance(o, dict):
            for k,v in o.items(): h.update(repr(k).encode()); add(v)
        elif isinstance(o, (list,tuple,L)):
            h.update(b'[')
            for v in o: add(v)
        else: h.update(repr(o).encode())
    add(o)
    return h.hexdigest()

def state(l):
    "All that a training leaves behind or goes on from, each as a digest"
    mods,ps,own = [*l.model.modules()],[*l.model.parameters()],{k: l.__dict__.get(k) for k in 'training xb yb pred loss epoch train_iter pct_train'.split()}
    loss = l.loss_func
    return {k: digest(v) for k,v in dict(own, weights=l.model.state_dict(), flags=[o.training for o in mods], frozen=[o.requires_grad for o in ps],
        grads=[o.grad for o in ps], hooks=[len(o._forward_hooks) for o in mods], opt=None if l.opt is None else [l.opt.state_dict(), [*l.opt.hypers]],
        torch=torch.get_rng_state(), python=random.getstate(), numpy=np.random.get_state(), loaders=[o.rng.getstate() for o in l.dls.loaders], loss_func=[type(loss).__name__, getattr(loss, 'reduction', None)],
        losses=l.recorder.losses, lrs=l.recorder.lrs, values=l.recorder.values).items()}

class Watch(Callback):
    "What a training is, at every turn, after all other callbacks"
    order = 200
    def __init__(self): self.seen = []
    def before_train(self): self.seen.append(state(self.learn))
    def after_epoch(self): self.seen.append(state(self.learn))

class BF16(Callback):
    "Automatic mixed precision on the CPU"
    order = 10
    def before_batch(self): (auto := torch.autocast('cpu', torch.bfloat16)).__enter__(); self.auto = auto
    def after_pred(self): self.learn.pred = self.pred.float()
    def after_loss(self): self.auto.__exit__(None, None, None)

class Raise(Callback):
    "Break off at a batch of the second epoch"
    def __init__(self, what, training=True, at='before_batch'): self.what,self.on,self.at = what,training,at
    def check(self, at):
        if at==self.at and self.epoch==1 and self.iter==1 and self.training is self.on: raise self.what
    def before_batch(self): self.check('before_batch')
    def after_loss(self): self.check('after_loss')

def splitter(m): return [params(m[0]), params(m[1])]

def learner(cbs, path, batch_tfms=(), loss_func=None):
    set_seed(5, reproducible=True)
    x,y,_ = planted(40, n_steps=48, width=12)
    dls = TSDataLoaders.from_numpy(x, y.numpy(), valid_idx=range(26,40), bs=8, batch_tfms=[Standardize(), *batch_tfms])
    l = ts_learner(dls, model(), cbs=cbs, path=path, splitter=splitter, loss_func=loss_func)
    l.remove_cb(l.progress)
    return l

def short_fit(l, n=2, fit='fit'): getattr(l, fit)(n, 1e-2)

longer = partial(short_fit, n=3)

def interrupted(l):
    with pytest.raises(KeyboardInterrupt): l.fit(3, 1e-2)
    l.remove_cb(Raise)
    l.validate(); l.fit(1, 1e-2)
    if torch.is_autocast_enabled('cpu'): torch.set_autocast_enabled('cpu', False); torch.autocast_decrement_nesting() # what the interrupt left on

def looked_at(l):
    l.fit(1, 1e-2); l.validate(); l.get_preds(); l.get_preds(with_loss=True); l.lr_find(num_it=5, show_plot=False); l.fit(1, 1e-2)

def pickled(l):
    l.fit(1, 1e-2)
    l.save('weights')
    again = pickle.loads(pickle.dumps(l))
    set_seed(1)
    again.fit(1, 1e-2)
    l.watch.seen += again.watch.seen

def exported(l):
    l.fit(1, 1e-2)
    l.export('l.pkl')
    again = load_learner(l.path/'l.pkl')
    again.dls = l.dls
    set_seed(1)
    again.fit(1, 1e-2)
    l.watch.seen += again.watch.seen

def diverged(l): # a network that has become NaN has no maps, and the training goes on
    l.fit(1, 1e-2); l.fit(2, 1e30)

class Inner(Callback):
    "Validate in the middle of a training"
    order = 20
    def after_epoch(self):
        if not self.learn.lock.locked(): self.learn.validate(); self.learn.get_preds()

class Remember(nn.Module):
    "A loss function with a memory"
    reduction = 'mean'
    def __init__(self): super().__init__(); self.register_buffer('n', torch.zeros(())); self.drop = nn.Dropout(.1)
    def forward(self, out, y): self.n += 1; return F.cross_entropy(self.drop(out), y, reduction=self.reduction)*(1+self.n/100)

class Counts:
    "A loss function with a memory that is no module, and knows no `reduction`"
    n = 0
    def __call__(self, out, y): self.n += 1; return F.cross_entropy(out, y)*(1+self.n/100)

class Own(nn.Module):
    "A model that changes at every pass, whatever the mode, and has a loss function of its own"
    def __init__(self, net): super().__init__(); self.net,self.names,self.items = net,['a'],3; self.register_buffer('n', torch.zeros(()))
    def forward(self, x): self.n += 1; self.last = self.net(x); return self.last*(1+self.n/100)
    def loss(self, out, y): self.n += 1; return F.cross_entropy(out, y)*(1+self.n/100)

def own_model(l, loss=False):
    l.model,l.splitter = Own(l.model),lambda m: [params(m)]
    if loss: l.loss_func = l.model.loss

def compiled(l): l.model,l.splitter = torch.compile(l.model, backend='eager'),lambda m: [params(m)]

def normed(l, norm):
    torch.manual_seed(1)
    for o in (l.model[0][0],l.model[0][1]): o[0] = norm(o[0])

class Count(Callback): # what the loss remembers is part of what is compared
    order = 150
    def after_batch(self): self.learn.watch.seen.append(dict(n=self.learn.loss_func.n.item()))

plain = {'fit': {}, 'fit_one_cycle': dict(go=partial(short_fit, fit='fit_one_cycle')), 'fine_tune': dict(go=lambda l: l.fine_tune(2, 1e-2, freeze_epochs=2)),
         'frozen': dict(go=lambda l: (l.freeze(), l.fit(2, 1e-2))), 'start_epoch': dict(go=lambda l: l.fit(3, 1e-2, start_epoch=1)),
         'augmented': dict(batch_tfms=lambda: [Jitter()]), 'looked at': dict(go=looked_at), 'no validation': dict(cbs=lambda: [ShortEpochCallback(.5)])}
others = {'to_fp16': dict(before=lambda l: l.to_fp16()), 'to_bf16': dict(before=lambda l: l.to_bf16()), 'bf16 on the CPU': dict(cbs=lambda: [BF16()]),
          'GradientAccumulation': dict(cbs=lambda: [GradientAccumulation(20)]), 'GradientClip': dict(cbs=lambda: [GradientClip(.1)]),
          "fastai's MixUp": dict(cbs=lambda: [mixup.MixUp()]), 'MixUp': dict(cbs=lambda: [MixUp()]), 'CutMixTS': dict(cbs=lambda: [CutMixTS()]),
          'MixUp of a plain loss': dict(cbs=lambda: [MixUp()], loss_func=nn.CrossEntropyLoss),
          'EarlyStoppingCallback': dict(cbs=lambda: [EarlyStoppingCallback(min_delta=1e3)], go=longer), 'SaveModelCallback': dict(cbs=lambda: [SaveModelCallback()]),
          'SaveModelCallback of every epoch': dict(cbs=lambda: [SaveModelCallback(every_epoch=True, with_opt=True)]),
          'ReduceLROnPlateau': dict(cbs=lambda: [ReduceLROnPlateau(min_delta=1e3)], go=longer), 'CSVLogger': dict(cbs=lambda: [CSVLogger()]),
          'a validation within': dict(cbs=lambda: [Inner()]), 'a loss with a memory': dict(cbs=lambda: [Count()], loss_func=Remember)}
both = {'clipped, accumulated and mixed': dict(cbs=lambda: [GradientClip(.1), GradientAccumulation(20), MixUp()]),
        'one cycle in bf16, mixed': dict(before=lambda l: l.to_bf16(), cbs=lambda: [mixup.MixUp()], go=partial(short_fit, fit='fit_one_cycle')),
        'all trackers': dict(cbs=lambda: [CSVLogger(), ReduceLROnPlateau(min_delta=1e3), SaveModelCallback(), EarlyStoppingCallback(min_delta=1e3, patience=2)], go=longer),
        'weight_norm': dict(before=partial(normed, norm=parametrizations.weight_norm)), 'spectral_norm': dict(before=partial(normed, norm=parametrizations.spectral_norm)),
        'spectral_norm by hooks': dict(before=partial(normed, norm=nn.utils.spectral_norm)), 'compiled': dict(before=compiled),
        'a model with a memory': dict(before=own_model), "the model's own loss": dict(before=partial(own_model, loss=True)), 'a loss that counts': dict(loss_func=Counts)}
ends = {'pickled': dict(go=pickled), 'exported': dict(go=exported), 'diverged': dict(go=diverged, loss_func=CrossEntropyLossFlat),
        'KeyboardInterrupt': dict(cbs=lambda: [Raise(KeyboardInterrupt)], go=interrupted),
        'KeyboardInterrupt in autocast': dict(cbs=lambda: [Raise(KeyboardInterrupt, at='after_loss'), BF16()], go=interrupted)}
def again(l): l.fit(3, 1e-2); l.validate(); l.fit(1, 1e-2)

for o,t in [(CancelBatchException,True), (CancelBatchException,False), (CancelTrainException,True), (CancelValidException,False), (CancelFitException,True),
            (CancelFitException,False)]:
    name,at = f'{o.__name__} in {"training" if t else "validation"}','before_batch' if t else 'after_loss'
    ends[name] = dict(cbs=lambda o=o, t=t, at=at: [MixUp(), Raise(o, t, at)], go=again)
ends['CancelEpochException in training'] = dict(cbs=lambda: [Raise(CancelEpochException)], go=again)
cases = plain | others | both | ends

def train(watcher, path, cbs=list, go=short_fit, before=None, batch_tfms=tuple, loss_func=None):
    "A training with the callback `watcher`, or with none -> all that was seen of it, and the Learner"
    n,old = [],DataLoader.__iter__
    def counted(self): n.append(len(self)); return old(self)
    l = learner([*cbs(), Watch(), *watcher], path, batch_tfms(), None if loss_func is None else loss_func())
    if before: before(l)
    with pytest.MonkeyPatch.context() as m, l.no_logging():
        m.setattr(DataLoader, '__iter__', counted)
        go(l)
    return [*l.watch.seen, state(l), dict(iterated=n)],l

def check_same(watcher, tmp_path, **case):
    (a,_),(b,l) = train([], tmp_path, **case),train([watcher], tmp_path, **case)
    assert len(a)==len(b)>3
    differ = [(i,k) for i,(p,q) in enumerate(zip(a, b)) for k in p if p[k]!=q[k]]
    assert differ==[]
    return l

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', cases)
def test_neutral(case, tmp_path, capsys):
    "Weights, buffers, optimiser, gradients, flags, losses, metrics, random states at every turn; and no loader gone through"
    cb = check_same(AttrCallback([0,1,13]), tmp_path, **cases[case]).attr
    assert len(cb.maps)==len(cb.losses)==len(cb.preds)==len(cb.epochs)>0
    assert len(cb.maps)==dict(diverged=1, EarlyStoppingCallback=2, **{'looked at': 2, 'fine_tune': 4, 'KeyboardInterrupt': 2}).get(case, len(cb.maps))
    assert all(o.shape==(3,1,48) and o.dtype==torch.float32 for o in cb.maps)

def drawn(x, y, model, layer, *_): # a careless function of the user's
    model.train(); model(x[None]); np.random.rand(); random.random()
    return torch.rand(1, x.shape[-1])

watchers = {'of the training set': lambda: AttrCallback([0,5], ds_idx=0),
            'own series': lambda: AttrCallback((planted(3, n_steps=48, width=12)[0], ['0','1','0'])),
            'smoothed': lambda: AttrCallback([0,1], smoothed(grad_cam, n_samples=2)), 'guided_backprop': lambda: AttrCallback([0], guided_backprop),
            'score_cam': lambda: AttrCallback([0], score_cam),
            'a careless function': lambda: AttrCallback([0,1], drawn), 'every second': lambda: AttrCallback(every=2),
            'shown': lambda: ShowAttrCallback([0,1], live=True), 'another layer': lambda: AttrCallback([0], layer='0.0', y=None)}

@pytest.mark.parametrize('name', watchers)
def test_any_method_is_neutral(name, tmp_path, monkeypatch):
    import IPython.display
    class Handle:
        def update(self, fig): np.random.rand()
    monkeypatch.setattr(IPython.display, 'display', lambda fig, display_id: torch.rand(1) and Handle())
    set_seed(8)
    check_same(watchers[name](), tmp_path, batch_tfms=lambda: [Jitter()])

def test_tensorboard_is_neutral(tmp_path):
    pytest.importorskip('tensorboard')
    from fastai.callback.tensorboard import TensorBoardCallback
    check_same(AttrCallback([0,1]), tmp_path, cbs=lambda: [TensorBoardCallback(tmp_path/'runs', trace_model=False, n_preds=2)])

def test_loaders_of_tensors(tmp_path):
    "Plain `TensorDataset`s, and a callback given to `fit`"
    def run(*cbs):
        set_seed(5, reproducible=True)
        x,y,_ = planted(24, n_steps=48, width=12)
        dls = DataLoaders(*[DataLoader(TensorDataset(x[i], y[i]), bs=8, shuffle=i.start==0) for i in (slice(0,16),slice(16,24))])
        l = Learner(dls, model(), nn.CrossEntropyLoss(), SGD, path=tmp_path, cbs=Watch())
        with l.no_bar(), l.no_logging(): l.fit(2, 1e-2, cbs=cbs)
        return l.watch.seen
    assert run()==run(AttrCallback([0,3]))==run(AttrCallback(planted(3, n_steps=48, width=12)[:2]))

# what a careless callback does

def in_training_mode(l): l.model.train()(torch.zeros(2, 1, 48)); l.model.eval()
def no_eval(l): l.model.train()
def touch_norm(l): l.model[0][0][1].running_mean.add_(1e-6)
def draw_torch(l): torch.rand(1)
def draw_numpy(l): np.random.rand()
def draw_python(l): random.random()
def thaw(l): l.model.requires_grad_(True)
def leave_gradients(l): l.model.eval()(torch.zeros(2, 1, 48)).sum().backward()
def ask_loader(l): l.dls.valid.one_batch()
def step(l): l.opt.step()
def batch(l): l.xb = (torch.zeros(1, 1, 48),)

ways = [in_training_mode, no_eval, touch_norm, draw_torch, draw_numpy, draw_python, thaw, leave_gradients, ask_loader, step, batch]

@pytest.mark.parametrize('careless', ways)
def test_careless_callbacks_are_caught(careless, tmp_path):
    class Careless(AttrCallback):
        def after_epoch(self): super().after_epoch(); careless(self.learn)
    with pytest.raises(AssertionError): check_same(Careless([0,1]), tmp_path, go=lambda l: (l.freeze(), l.fit(2, 1e-2)))
