"Scaling and augmentations of batches, and callbacks that mix series"
import numpy as np, pytest, torch
from fastai.basics import Callback, CrossEntropyLossFlat, DisplayedTransform, LabelSmoothingCrossEntropyFlat, Learner, MSELossFlat, set_seed, to_cpu, to_device
from fastai.callback import mixup
from common import says
from tsviz.data import TensorTS, TSDataLoaders, get_batch
from tsviz.learner import Unpad, ts_learner
from tsviz.synth import tiny_cnn
from tsviz.transform import CutMixTS, Jitter, MixUp, Normalize, RandomCrop, RandomScale, Standardize, TimeWarp

def some(n=40, C=2, T=12, n_classes=3, seed=0):
    "Series and labels, each class at a level of its own"
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return (rng.normal(size=(n,C,T)) + y[:,None,None]).astype(np.float32), y

def uneven(n=24, C=2, seed=0):
    "n series of 5 to 16 steps, and their labels"
    rng = np.random.default_rng(seed)
    return [rng.normal(3, 2, size=(C,5+i*7%12)).astype(np.float32) for i in range(n)], [*'abc']*(n//3)

class Counting(DisplayedTransform):
    "Adds 1, to training batches only"
    split_idx = 0
    def encodes(self, x:TensorTS): return x+1

# scaling

subtypes = dict(per_sample_per_channel=(2,), per_sample=(1,2), all_samples_per_channel=(0,2), all_samples=(0,1,2))

@pytest.mark.parametrize('C', [1,3])
@pytest.mark.parametrize('cls', [Standardize, Normalize])
@pytest.mark.parametrize('scale_subtype', subtypes)
def test_scaling(cls, scale_subtype, C):
    "Fault 19: reduced over channels at batch time, NaN for univariate series"
    X,y = some(C=C)
    X = X*3 + 5
    train,valid = X[:30],X[30:]
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(30), range(30,40)), batch_tfms=cls(scale_subtype), bs=8)
    dim,every = subtypes[scale_subtype],scale_subtype.startswith('all')
    src = train if every else valid
    if cls is Standardize: ref = (valid-src.mean(dim, keepdims=True)) / src.std(dim, keepdims=True)
    else:
        lo,hi = src.min(dim, keepdims=True),src.max(dim, keepdims=True)
        ref = (valid-lo)/(hi-lo)*2 - 1
    got = torch.cat([xb for xb,_ in dls.valid]).cpu()
    np.testing.assert_allclose(got.numpy(), ref, rtol=1e-4, atol=1e-4)

@pytest.mark.parametrize('cls', [Standardize, Normalize])
@pytest.mark.parametrize('scale_subtype', subtypes)
def test_decode_gives_the_series_back(cls, scale_subtype):
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=cls(scale_subtype), valid_idx=range(8), bs=8)
    np.testing.assert_allclose(dls.valid.decode(dls.valid.one_batch())[0].numpy(), X[:8], atol=1e-5)
    back = dls.train.decode(to_device(to_cpu(dls.train.one_batch())))[0].numpy()          # shuffled, and there and back between devices
    dist = np.abs(back[:,None] - X[None]).max((2,3))
    assert dist.min(1).max() < 1e-5 and len({*dist.argmin(1)}) == 8
    shown = dls.valid.decode_batch(dls.valid.one_batch())
    np.testing.assert_allclose(torch.stack([x for x,_ in shown]).numpy(), X[:8], atol=1e-5)

def test_two_scalings_are_undone_in_turn():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=[Standardize(), Normalize('per_sample')], valid_idx=range(8))
    np.testing.assert_allclose(dls.valid.decode(dls.valid.one_batch())[0].numpy(), X[:8], atol=1e-5)

@pytest.mark.parametrize('value', [0., .1, -3.7e5, 1e-9])
@pytest.mark.parametrize('scale_subtype', subtypes)
def test_constant_series(scale_subtype, value):
    X = np.full((20,2,50), value, dtype=np.float32)
    for tfm,ref in ((Standardize(scale_subtype),0.), (Normalize(scale_subtype),-1.)):
        dls = TSDataLoaders.from_numpy(X, batch_tfms=tfm)
        xb, = b = dls.valid.one_batch()
        assert torch.allclose(torch.Tensor(xb.cpu()), torch.tensor(ref), atol=max(1e-6, abs(value)*1e-5))
        np.testing.assert_allclose(dls.valid.decode(b)[0].numpy(), X[:len(xb)], rtol=1e-6)

def test_small_and_one_step_series():
    x = TensorTS(torch.randn(4,2,30)*1e-8)
    assert torch.allclose(torch.Tensor(Standardize()(x)).std(-1, correction=0), torch.ones(4,2), atol=1e-4)
    assert Standardize()(TensorTS(torch.randn(4,2,1))).eq(0).all()

def test_scale_range():
    x = Normalize(scale_range=(0,10))(TensorTS(torch.randn(4,2,30)))
    assert torch.allclose(torch.Tensor(x).amin(-1), torch.zeros(4,2), atol=1e-5) and torch.allclose(torch.Tensor(x).amax(-1), torch.full((4,2),10.), atol=1e-4)

def test_scaling_learns_from_items_as_they_arrive():
    "Transforms before it count: the statistics are of what it will be given"
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(30), range(30,40)), batch_tfms=[Counting(), Standardize('all_samples')])
    assert float(dls.after_batch.fs[-1].shift) == pytest.approx(X[:30].mean()+1, abs=1e-4)

def test_bad_scaling():
    with says(ValueError, "'per_channel'", 'per_sample_per_channel'): Standardize('per_channel')
    with says(ValueError, 'low below high'): Normalize(scale_range=(1,1))
    with says(ValueError, 'has not seen the training data'): Standardize('all_samples')(TensorTS(torch.ones(1,1,5)))
    x = Standardize()(TensorTS(torch.randn(4,1,5)))
    with says(ValueError, 'batch of 2', 'scales of 4'): Standardize().decode(x[:2])

# scaling of unequal lengths

@pytest.mark.parametrize('cls', [Standardize, Normalize])
@pytest.mark.parametrize('scale_subtype', subtypes)
def test_scaling_of_unequal_lengths(cls, scale_subtype):
    "By the real steps only; padding stays 0; nothing is learned from validation"
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), batch_tfms=cls(scale_subtype), bs=4, val_bs=5)
    dim,every = tuple(d-1 for d in subtypes[scale_subtype] if d),scale_subtype.startswith('all')
    train = np.concatenate(xs[12:], 1)
    i = 0
    for xb,_ in dls.valid:
        n = xb.lengths.tolist()
        back = dls.valid.decode((xb,))[0]
        for x,o,k in zip(xb.as_subclass(torch.Tensor).cpu(), back.as_subclass(torch.Tensor), n):
            src = train if every else xs[i]
            if cls is Standardize: ref = (xs[i]-src.mean(dim, keepdims=True)) / src.std(dim, keepdims=True)
            else:
                lo,hi = src.min(dim, keepdims=True),src.max(dim, keepdims=True)
                ref = (xs[i]-lo)/(hi-lo)*2 - 1
            np.testing.assert_allclose(x[:,:k].numpy(), ref, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(o[:,:k].numpy(), xs[i], atol=1e-4)
            assert k==xs[i].shape[1] and (x[:,k:]==0).all() and (o[:,k:]==0).all()
            i += 1
        assert back.lengths.tolist()==n
    assert i==12

@pytest.mark.parametrize('scale_subtype', subtypes)
def test_an_item_is_scaled_the_same_alone_and_in_any_batch(scale_subtype):
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), batch_tfms=Standardize(scale_subtype))
    alone = [get_batch(dls.valid, i)[0][0] for i in range(12)]
    together = get_batch(dls.valid, range(12))[0]
    assert all(torch.equal(o.as_subclass(torch.Tensor), x.as_subclass(torch.Tensor)[:,:o.shape[1]]) for o,x in zip(alone, together))

@pytest.mark.parametrize('tfm', [Standardize('all_samples'), Normalize('all_samples_per_channel')])
def test_nothing_is_learned_from_validation(tfm):
    X,y = some()
    X[30:] *= 1000
    TSDataLoaders.from_numpy(X, y, splits=(range(30), range(30,40)), batch_tfms=tfm)
    assert max(float(abs(tfm.shift).max()), float(tfm.scale.max())) < 20

# augmentations

augs = [Jitter(.1), RandomScale(.3), TimeWarp(.5), RandomCrop(.6)]

def batch(n=6, C=2, T=40, lengths=None, seed=0):
    x = torch.randn(n, C, T, generator=torch.Generator().manual_seed(seed)).cumsum(-1)
    if lengths is None: return TensorTS(x)
    for o,k in zip(x, lengths): o[:,k:] = 0
    return TensorTS(x, lengths=torch.tensor(lengths))

def plain(x): return x.as_subclass(torch.Tensor)

@pytest.mark.parametrize('tfm', augs, ids=lambda o: type(o).__name__)
def test_augmentations_are_for_training_only(tfm):
    x = batch()
    for i in (1,None): assert tfm(x, split_idx=i) is x
    res = tfm(x, split_idx=0)
    assert type(res) is TensorTS and res.shape==x.shape and res.dtype==x.dtype and not torch.equal(plain(res), plain(x))
    assert torch.equal(plain(x), plain(batch())) and tfm.decode(res, split_idx=0) is res
    y = torch.tensor([1.,2.])
    assert tfm((x, y), split_idx=0)[1] is y                                 # labels are left alone

@pytest.mark.parametrize('tfm', augs, ids=lambda o: type(o).__name__)
def test_augmentations_follow_the_seed(tfm):
    draw = lambda seed: (set_seed(seed), plain(tfm(batch(), split_idx=0)))[1]
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))

@pytest.mark.parametrize('tfm', augs, ids=lambda o: type(o).__name__)
def test_probability_is_of_each_series(tfm):
    set_seed(0)
    x = batch(400)
    import copy
    tfm = copy.copy(tfm)
    tfm.p = .25
    changed = (plain(tfm(x, split_idx=0))!=plain(x)).any(-1).any(-1).float().mean()
    assert .15 < changed < .35
    tfm.p = 0.
    assert torch.equal(plain(tfm(x, split_idx=0)), plain(x))

@pytest.mark.parametrize('tfm', augs, ids=lambda o: type(o).__name__)
def test_augmentations_respect_lengths(tfm):
    "Padding stays 0, and a series is changed as it would be in a batch without it"
    x = batch(lengths=[40,7,1,23,40,2])
    set_seed(0)
    res = tfm(x, split_idx=0)
    assert res.lengths.tolist()==x.lengths.tolist() and all((o[:,k:]==0).all() for o,k in zip(plain(res), x.lengths)) and torch.isfinite(plain(res)).all()
    if isinstance(tfm, Jitter): return                                      # its noise is drawn step by step
    for i,k in enumerate(x.lengths.tolist()):
        set_seed(0)
        assert torch.allclose(plain(tfm(TensorTS(plain(x)[...,:k]), split_idx=0))[i], plain(res)[i,:,:k], atol=1e-4)

def test_jitter_is_in_units_of_the_series():
    set_seed(0)
    x = TensorTS(torch.stack([torch.linspace(0, 1, 2000), 50*torch.linspace(0, 1, 2000)])[None].repeat(20,1,1))
    noise = plain(Jitter(.1)(x, split_idx=0)-x).std((0,2))
    want = .1*plain(x)[0].std(-1, correction=0)
    assert torch.allclose(noise, want, rtol=.05)
    n = TensorTS(torch.cat([plain(x), torch.zeros(20,2,3000)], -1), lengths=torch.full((20,), 2000))
    assert torch.allclose(plain(Jitter(.1)(n, split_idx=0)-n)[...,:2000].std((0,2)), want, rtol=.05)
    assert torch.equal(plain(Jitter()(0*x+3, split_idx=0)), torch.full((20,2,2000), 3.))      # a constant series has no noise

def test_random_scale_multiplies_channels():
    set_seed(0)
    x = batch(3000, 2, 5)
    f = plain(RandomScale(.2)(x, split_idx=0))/plain(x)
    assert torch.allclose(f, f[...,:1].expand_as(f), rtol=1e-4) and abs(f.mean()-1)<.02 and abs(f[...,0].std()-.2)<.02

@pytest.mark.parametrize('std,knots', [(.2,4), (1.,2), (.5,40), (3.,10)])
def test_time_warp_is_monotone_between_fixed_ends(std, knots):
    set_seed(0)
    x = TensorTS(torch.arange(40.)[None,None].repeat(50,2,1))
    res = plain(TimeWarp(std, knots)(x, split_idx=0))
    assert torch.allclose(res[...,0], torch.zeros(50,2)) and torch.allclose(res[...,-1], torch.full((50,2), 39.), atol=1e-3)
    assert (res.diff()>=0).all() and torch.equal(res[:,0], res[:,1]) and res[:,0].std(0).max() > .5

def test_time_warp_reads_between_steps():
    "Against NumPy's interpolation at the positions that a ramp reveals"
    ramp,y = torch.arange(40.).repeat(5,1),batch(5, 1)[:,0]
    set_seed(3)
    both = plain(TimeWarp(.5)(TensorTS(torch.stack([ramp, plain(y)], 1)), split_idx=0))
    for pos,v,o in zip(both[:,0], both[:,1], plain(y)): np.testing.assert_allclose(v, np.interp(pos, np.arange(40), o), atol=1e-4)

def test_random_crop_is_a_stretched_part():
    set_seed(0)
    x = TensorTS(torch.arange(101.)[None,None].repeat(500,1,1))
    res = plain(RandomCrop(.6)(x, split_idx=0))[:,0]
    assert torch.allclose(res.diff(), torch.full((500,100), .6), atol=1e-4)
    start = res[:,0]
    assert start.min()>=0 and start.max()<=40 and start.min()<2 and start.max()>38 and abs(start.mean()-20)<2
    assert torch.allclose(plain(RandomCrop(1.)(x, split_idx=0)), plain(x), atol=1e-4)

def test_bad_augmentations():
    for f in (lambda: Jitter(0), lambda: RandomScale(-1), lambda: TimeWarp(0)):
        with says(ValueError, '`std` must be above 0'): f()
    with says(ValueError, '`knots` must be at least 2'): TimeWarp(knots=1)
    for o in (0, 1.1):
        with says(ValueError, '`size` must be'): RandomCrop(o)
    for cls in (Jitter, RandomScale, TimeWarp, RandomCrop):
        with says(ValueError, '`p` must be a probability'): cls(p=1.5)

def test_order_of_transforms():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=[Normalize(), *augs[::-1]])
    assert [type(o).__name__ for o in dls.train.after_batch.fs]==['RandomCrop','TimeWarp','Normalize','Jitter','RandomScale']
    ref = TSDataLoaders.from_numpy(X, y, batch_tfms=Normalize())
    assert torch.equal(plain(dls.valid.one_batch()[0]), plain(ref.valid.one_batch()[0]))
    assert not torch.equal(plain(get_batch(dls.train, [0])[0]), plain(get_batch(ref.train, [0])[0]))

def test_augmented_batches_are_shown_in_their_own_units():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X*1000, y, batch_tfms=[Standardize(), Jitter(1e-4), RandomScale(1e-4)], valid_idx=range(8), bs=32, shuffle=False)
    np.testing.assert_allclose(dls.train.decode(dls.train.one_batch())[0].numpy(), X[8:]*1000, atol=5)

def test_learned_scales_leave_the_random_state():
    X,y = some()
    state = torch.get_rng_state()
    TSDataLoaders.from_numpy(X, y, batch_tfms=[Jitter(), Standardize('all_samples')])
    assert torch.equal(state, torch.get_rng_state())

def test_explained_training_series_are_as_they_are():
    "`learn.attribute` and `learn.show_cam` draw no augmentation, and the next training batch does"
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=[Standardize(), *augs])
    ref = TSDataLoaders.from_numpy(X, y, batch_tfms=Standardize())
    learn = ts_learner(dls, tiny_cnn(2, 3))
    learn.remove_cb(learn.progress)
    x = learn.attribute(ds_idx=0)[0]
    assert torch.equal(plain(x), plain(get_batch(ref.train, range(len(x)))[0].cpu()))
    assert not torch.equal(plain(get_batch(dls.train, range(len(x)))[0].cpu()), plain(x))

# mixing

class Keep(Callback):
    "What the model was given"
    order = 5
    def before_batch(self):
        if self.training: self.learn.seen = (self.x.clone(), self.y.clone())

def mixing(cb, xs, y, loss_func=None, **kwargs):
    set_seed(0)
    dls = TSDataLoaders.from_numpy(xs, y, bs=8, valid_idx=range(8), shuffle=False, **kwargs)
    model = tiny_cnn(np.shape(xs[0])[0], 3 if isinstance(y, list) else 1)
    learn = Learner(dls, model, loss_func=loss_func or LabelSmoothingCrossEntropyFlat(), cbs=[cb,Keep(),Unpad()])
    learn.remove_cb(learn.progress)
    with learn.no_logging(): learn.fit(1, 1e-3)
    return learn

@pytest.mark.parametrize('cls', [MixUp, CutMixTS])
@pytest.mark.parametrize('loss', [LabelSmoothingCrossEntropyFlat, CrossEntropyLossFlat, torch.nn.CrossEntropyLoss])
def test_mixing_trains(cls, loss):
    X,y = some(48)
    learn = mixing(cls(), X, [str(o) for o in y], loss())
    assert np.isfinite(learn.recorder.losses).all() and isinstance(learn.loss_func, loss) and type(learn.seen[0]) is TensorTS
    last = torch.tensor(X[8:][32:40])
    x = plain(learn.seen[0])
    assert x.shape==last.shape and not torch.allclose(x, last)
    assert np.isfinite(learn.validate()).all()

def test_mixup_is_a_convex_sum():
    X,y = some(48, C=1)
    learn = mixing(MixUp(), X, [str(o) for o in y])
    cb,own = learn.mix_up,torch.tensor(X[40:48])
    x,lam = plain(learn.seen[0]),cb.lam[:,None,None]
    other = (x-lam*own)/(1-lam).clamp(min=1e-3)
    for o,k,c in zip(other, cb.lam, cb.yb1[0]):
        d = (o-own).abs().amax((1,2))
        assert k>=.5 and (k>.95 or d.min()<1e-3 and int(y[40+int(d.argmin())])==int(c))

def test_cutmix_puts_in_a_window():
    X,y = some(48, C=2, T=30)
    learn = mixing(CutMixTS(), X, [str(o) for o in y])
    own,cb = torch.tensor(X[40:48]),learn.cut_mix_ts
    x = plain(learn.seen[0])
    for o,a,lam,c in zip(x, own, cb.lam, cb.yb1[0]):
        new = (o!=a).any(0).nonzero()[:,0]
        if not len(new): continue                                           # a series may be its own partner
        assert len(new)==new[-1]-new[0]+1 and abs(1-len(new)/30-lam)<1e-5
        src = [j for j in range(8) if torch.equal(own[j][:,new], o[:,new])]
        assert len(src)==1 and int(y[40+src[0]])==int(c)

@pytest.mark.parametrize('cls', [MixUp, CutMixTS])
def test_mixing_of_unequal_lengths(cls):
    xs,y = uneven(48)
    learn = mixing(cls(), xs, y)
    n = torch.tensor([x.shape[1] for x in xs[40:48]])
    x = learn.seen[0]
    assert all((o[:,int(k):]==0).all() for o,k in zip(plain(x), x.lengths)) and np.isfinite(learn.recorder.losses).all()
    if cls is CutMixTS:
        size = (1-learn.cut_mix_ts.lam)*n                                   # one window, another share of each length
        assert x.lengths.tolist()==n.tolist() and torch.allclose(size, size[0].round().expand(8), atol=1e-4) and size[0]>.5
    else: assert (x.lengths>=n).all() and all(int((o!=0).any(0).nonzero().max())+1==int(k) for o,k in zip(plain(x), x.lengths))

@pytest.mark.parametrize('cls', [MixUp, CutMixTS])
def test_mixing_of_a_regression(cls):
    X,_ = some(48, C=1)
    y = X.mean((1,2))
    learn = mixing(cls(), X, y, MSELossFlat())
    assert np.isfinite(learn.recorder.losses).all() and not np.allclose(learn.seen[1], y[40:48])
    own,cb = torch.tensor(y[40:48]),learn.cbs[[type(o) for o in learn.cbs].index(cls)]
    assert torch.allclose(plain(learn.seen[1]), cb.lam*own + (1-cb.lam)*plain(cb.yb1[0]), atol=1e-5)

@pytest.mark.parametrize('cls', [MixUp, CutMixTS])
def test_mixing_with_a_loss_of_pytorch(cls):
    "The same training as with fastai's form of that loss, and the loss is put back as it was"
    X,y = some(48)
    a,b = [mixing(cls(), X, [str(o) for o in y], loss()) for loss in (torch.nn.CrossEntropyLoss, CrossEntropyLossFlat)]
    assert a.recorder.losses==b.recorder.losses and type(a.loss_func) is torch.nn.CrossEntropyLoss and a.loss_func.reduction=='mean'

def test_mixup_is_fastais():
    "The same numbers as fastai's callback on a set of one length"
    X,y = some(48)
    a,b = [mixing(cls(), X, [str(o) for o in y]) for cls in (MixUp, mixup.MixUp)]
    assert a.recorder.losses==b.recorder.losses and all(torch.equal(p, q) for p,q in zip(a.model.parameters(), b.model.parameters()))
