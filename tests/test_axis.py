"Maps on the series as the user gave it: every transform against positions worked out by hand"
import pickle, random
import numpy as np, pytest, torch
from fastai.basics import Transform, ItemTransform, CategoryBlock, DataBlock, DataLoader, ItemGetter, Tensor
from fastai.data.core import Datasets
from hypothesis import given, settings, strategies as st
from tsviz.axis import WayBack, Stage, find_steps, read_at
from tsviz.data import TensorTS, ToTensorTS, TSBlock, TSDataLoaders, get_batch
from tsviz.learner import fetch_items, ts_learner
from tsviz.method import precomputed
from tsviz.plot import HeatRows
from tsviz.synth import tiny_cnn
from tsviz.transform import Crop, Jitter, Normalize, RandomCrop, Resample, Standardize, TimeWarp

T = 24
nan = float('nan')

# transforms of a user

class Flip(Transform):
    order = 61
    def encodes(self, x:TensorTS): return x.flip(-1)
    def decodes(self, x:TensorTS): return x.flip(-1)

class Roll(Transform):
    order = 62
    def encodes(self, x:TensorTS): return x.roll(5, -1)
    def decodes(self, x:TensorTS): return x.roll(-5, -1)

class Log(Transform):
    order = 63
    def encodes(self, x:TensorTS): return x.log()
    def decodes(self, x:TensorTS): return x.exp()

class NumpyLog(Transform):
    "What it gives back is an array, in single precision"
    order = 63
    def encodes(self, x:TensorTS): return TensorTS(np.log(x.numpy()))
    def decodes(self, x:TensorTS): return np.exp(x.numpy().astype(np.float32))

class NumpyCrop(Transform):
    order = 64
    def encodes(self, x:TensorTS): return TensorTS(x.numpy()[...,4:20].copy())
    def decodes(self, x:TensorTS): return np.concatenate([np.zeros((*x.shape[:-1],4)), x.numpy(), np.zeros((*x.shape[:-1],4))], -1)

class Decimate(Transform):
    "Keeps every third step; gives each back three times"
    order = 64
    def encodes(self, x:TensorTS): return x[...,::3]
    def decodes(self, x:TensorTS): return x.repeat_interleave(3, -1)

class Rounded(Transform):
    "Lossy in values"
    order = 65
    def encodes(self, x:TensorTS): return (50*x).round()
    def decodes(self, x:TensorTS): return x/50

class NoDecodes(Transform):
    order = 66
    def encodes(self, x:TensorTS): return x[...,2:]

class Smooth(Transform):
    "Changes values only, but cannot be undone"
    order = 66
    def encodes(self, x:TensorTS): return (x+x.roll(1, -1))/2

class WrongDecodes(Transform):
    "Gives back fewer steps than there were"
    order = 66
    def encodes(self, x:TensorTS): return x[...,2:]
    def decodes(self, x:TensorTS): return x+0

class Raises(Transform):
    order = 66
    def encodes(self, x:TensorTS): return x[...,2:]
    def decodes(self, x:TensorTS): raise RuntimeError('no')

class Diff(Transform):
    "Its decoding sums over time: no step comes from one place"
    order = 66
    def encodes(self, x:TensorTS): return torch.cat([x[...,:1], x.diff(dim=-1)], -1)
    def decodes(self, x:TensorTS): return x.cumsum(-1)

class Swap(Transform):
    "Its channels come back in other places than the maps'"
    order = 66
    def encodes(self, x:TensorTS): return x.flip(-2)
    def decodes(self, x:TensorTS): return x.flip(-2)

class AddChannel(Transform):
    order = 66
    def encodes(self, x:TensorTS): return torch.cat([x, x.diff(dim=-1, prepend=x[...,:1])], -2)
    def decodes(self, x:TensorTS): return x[...,:-1,:]

class Both(ItemTransform):
    "Gets the whole item"
    order = 67
    def encodes(self, b): return (b[0].flip(-1),*b[1:])
    def decodes(self, b): return (b[0].flip(-1),*b[1:])

class InPlace(Transform):
    order = 67
    def encodes(self, x:TensorTS): return x.mul_(2).add_(1)
    def decodes(self, x:TensorTS): return (x-1)/2

class InTraining(Flip): split_idx = 0

ramp = torch.arange(100.)

def series(n=6, C=1, steps=T, seed=0):
    "Above 0, no two values alike"
    return np.random.default_rng(seed).uniform(1, 9, size=(n,C,steps)).astype(np.float32)

def items(item_tfms=None, batch_tfms=None, C=1, X=None, idxs=None, **kwargs):
    X = series(C=C) if X is None else X
    n = len(X)
    dls = TSDataLoaders.from_numpy(X, ['ab'[i%2] for i in range(n)], valid_idx=range(2,n), bs=2, item_tfms=item_tfms, batch_tfms=batch_tfms, drop_last=False, **kwargs)
    return fetch_items(dls.valid, range(n-2) if idxs is None else idxs),X[2:]

def steps(its, i=0):
    "On each step of the series drawn, the number of the step that the network saw"
    return its.place(ramp[:its.x.shape[-1]][None,None].expand(len(its.x), 1, -1))[i][0].tolist()

def same_steps(got, want): np.testing.assert_allclose(got, want, atol=2e-2)

up = [(o+.5)*2-.5 for o in range(T)]           # at half the width, each step lies between two
cases = {
    'standardize': ([], [Standardize()], range(T)),
    'normalize': ([], [Normalize('all_samples')], range(T)),
    'log': ([Log()], [], range(T)),
    'flip': ([Flip()], [], range(T)[::-1]),
    'flip of batches': ([], [Flip()], range(T)[::-1]),
    'roll': ([Roll()], [], [(i+5)%T for i in range(T)]),
    'roll of batches': ([], [Roll()], [(i+5)%T for i in range(T)]),
    'crop': ([Crop(4,20)], [], [nan]*4+[*range(16)]+[nan]*4),
    'crop at the end': ([Crop(0,20)], [], [*range(20)]+[nan]*4),
    'numpy crop': ([NumpyCrop()], [], [nan]*4+[*range(16)]+[nan]*4),
    'numpy log': ([NumpyLog()], [], range(T)),
    'numpy, of batches': ([], [NumpyLog(), NumpyCrop()], [nan]*4+[*range(16)]+[nan]*4),
    'resample up': ([Resample(2*T)], [], up),
    'resample down': ([Resample(T//2)], [], [min(max(i/2-.25, 0), T//2-1) for i in range(T)]),
    'decimate': ([Decimate()], [], [i//3 for i in range(T)]),
    'rounded': ([Rounded()], [Standardize()], range(T)),
    'whole items': ([Both()], [], range(T)[::-1]),
    'in place': ([], [InPlace(), Standardize()], range(T)),
    'training only': ([InTraining()], [InTraining()], range(T)),
    'augmentations': ([], [RandomCrop(.5), TimeWarp(), Jitter()], range(T)),
    'crop and flip': ([Crop(4,20), Flip()], [Standardize()], [nan]*4+[*range(16)][::-1]+[nan]*4),
    'log, crop, resample, standardize': ([Crop(4,20), Log()], [Resample(32), Standardize()], [nan]*4+[2*i+.5 for i in range(16)]+[nan]*4),
    'flip twice': ([Flip()], [Flip()], range(T)),
    'flip and roll, item and batch': ([Roll()], [Flip()], [T-1-(i+5)%T for i in range(T)]),
    'all at once': ([Crop(4), Flip()], [Log(), Roll(), Standardize()], [nan]*4+[(19-i+5)%20 for i in range(20)]),
}

@pytest.mark.parametrize('name', cases)
@pytest.mark.parametrize('C', [1,3])
def test_every_step_finds_its_place(name, C):
    item_tfms,batch_tfms,want = cases[name]
    its,X = items(item_tfms, batch_tfms, C)
    for i,x in enumerate(X):
        same_steps(steps(its, i), list(want))
        np.testing.assert_array_equal(its.rows[i], x) # the series itself, not what decodings made of it
    assert its.xlabel is None and torch.equal(its.shown.as_subclass(Tensor), torch.tensor(X))
    assert its.moved==(list(want)!=[*range(T)] or name=='flip twice')

@pytest.mark.parametrize('f', [NoDecodes, WrongDecodes, Raises, Smooth, Diff, Swap, AddChannel])
@pytest.mark.parametrize('batch', [False,True])
def test_what_cannot_be_undone_is_named_and_drawn_as_it_left_it(f, batch):
    "What comes after it is undone, what came before is not"
    X = series(C=2)
    tfms = [[Flip(), f()], [Standardize()]] if not batch else [[], [Flip(), f(), Standardize()]]
    its,_ = items(*tfms, X=X)
    want = f()(Flip()(TensorTS(X[2:]))).as_subclass(Tensor) if f is not AddChannel else f()(Flip()(TensorTS(X[2:]))).as_subclass(Tensor)
    assert its.xlabel==f'steps, as {f.__name__} left them'
    np.testing.assert_allclose(torch.stack(its.rows), want, rtol=1e-5)
    same_steps(steps(its), range(want.shape[-1]))
    assert its.how['xlabel']==its.xlabel and not its.moved

def test_after_the_end_of_the_way_steps_still_move():
    its,X = items([NoDecodes()], [Flip2()])
    np.testing.assert_allclose(its.rows[0], X[0][:,2:])
    same_steps(steps(its), range(T-2)[::-1])
    assert its.xlabel=='steps, as NoDecodes left them' and its.moved

class Flip2(Flip): order = 80

def test_functions_are_transforms_too():
    def shortened(x:TensorTS): return x[...,3:]
    its,X = items([shortened])
    assert 'shortened' in its.xlabel and torch.equal(its.rows[1], torch.tensor(X[1][:,3:]))

# unequal lengths

def uneven(n=7): return [series(1, 2, 10+4*i, seed=i)[0] for i in range(n)]

@pytest.mark.parametrize('tfms', [([],[Standardize()]), ([Flip()],[Standardize()]), ([Crop(3,9)],[]), ([Crop(3)],[Normalize()]), ([Resample(16)],[Standardize()]), ([Log()],[])])
def test_unequal_lengths(tfms):
    X = uneven()
    its,xs = items(*tfms, X=X)
    for i,x in enumerate(xs):
        n = x.shape[1]
        assert torch.equal(its.rows[i], torch.tensor(x))
        name = type(tfms[0][0]).__name__ if tfms[0] else ''
        stop = min(9, n)
        want = {'':[*range(n)], 'Log':[*range(n)], 'Flip':[*range(n)][::-1], 'Resample':[min(max((j+.5)*16/n-.5, 0), 15) for j in range(n)],
                'Crop':[nan]*3+[*range((stop if tfms[0] and getattr(tfms[0][0], 'stop', 0) else n)-3)]}[name]
        same_steps(steps(its, i), want+[nan]*(n-len(want)))
    assert its.shown.lengths.tolist()==[x.shape[1] for x in xs]

def test_padding_is_not_read():
    "A map that is not 0 in the padding does not come back from there"
    its,xs = items([Flip()], [], X=uneven())
    got = its.place(torch.ones(len(xs), 1, its.x.shape[-1])*torch.arange(1., len(xs)+1)[:,None,None])
    for i,(o,x) in enumerate(zip(got, xs)): assert o.shape==(1,x.shape[1]) and (o==i+1).all()

def test_a_map_for_each_channel():
    its,xs = items([Crop(4,20)], [], C=3)
    maps = torch.randn(len(xs), 3, 16)
    for o,m in zip(its.place(maps), maps):
        assert torch.equal(o[:,4:20], m) and o[:,:4].isnan().all() and o[:,20:].isnan().all()

# many items at once

class Counted(Transform):
    "Crops six steps from `start`, which it notes in the series, and counts how often it is undone"
    order,n = 64,0
    def find(self, x): return 3
    def encodes(self, x:TensorTS):
        k = self.find(x)
        res = x[...,k:k+6].clone()
        res.start,res.rest = k,x.shape[-1]-k-6
        return res
    def decodes(self, x:TensorTS):
        self.n += 1
        return torch.nn.functional.pad(x, (x.start,x.rest))

class AtPeak(Counted):
    def find(self, x): return min(max(int(x[0].argmax())-2, 0), x.shape[-1]-6)

class Turned(Counted):
    "Reads backwards where the values say so, and notes nothing"
    def encodes(self, x:TensorTS): return x.flip(-1) if x[0,0]>5 else x.clone()
    def decodes(self, x:TensorTS):
        self.n += 1
        return x.flip(-1) if x[0,-1]>5 else x

def test_items_that_come_back_alike_are_asked_little():
    its,X = items([f := Counted()], [], X=series(18))
    assert not f.n # nothing is asked before a picture is
    for i in range(16): same_steps(steps(its, i), [nan]*3+[*range(6)]+[nan]*15)
    assert 2*16<=f.n<=2*16+10

@pytest.mark.parametrize('C', [1,2])
def test_a_crop_at_the_peak_of_each_series(C):
    "Places that depend on the item are each item's own, whatever those before it had"
    its,X = items([f := AtPeak()], [], X=series(18, C))
    starts = [f.find(x) for x in X]
    assert len({*starts})>3
    for i,k in enumerate(starts): same_steps(steps(its, i), [nan]*k+[*range(6)]+[nan]*(18-k))

def test_what_the_values_decide():
    X = series(18)
    X[9,0,0],X[10,0,0] = 8,2
    its,X = items([Turned()], [], X=X)
    turned = X[:,0,0]>5
    assert 1<turned.sum()<16
    for i,o in enumerate(turned): same_steps(steps(its, i), [*range(T)][::-1] if o else range(T))

def test_values_bent_in_each_item_by_its_own_measure():
    class Own(Transform):
        order = 65
        def encodes(self, x:TensorTS):
            res = (x.flip(-1)/x.max()).log()
            res.top = x.max()
            return res
        def decodes(self, x:TensorTS): return x.exp().flip(-1)*x.top
    its,_ = items([Own()], [], X=series(10))
    for i in range(8): same_steps(steps(its, i), range(T)[::-1])

def test_maps_alone_ask_nothing():
    l,_ = learner([f := Counted()])
    l.attribute()
    its = fetch_items(l.dls.valid, [0,1])
    assert its.x.shape==(2,1,6) and its.y is not None and not f.n
    assert len(its.rows)==2
    n = f.n
    its.how, its.place(torch.zeros(2,1,6)), its.shown
    assert n==f.n>0 # and once only

def test_items_travel():
    "Pickled they know the way back, and hold no loader"
    its,X = items([Crop(4,20)], [Standardize()])
    data = pickle.dumps(its)
    again = pickle.loads(data)
    assert again.find_way is None and torch.equal(again.rows[1], its.rows[1]) and steps(again)[4:20]==[*range(16)] and len(data)<60_000

def test_points_where_the_network_saw_nothing_are_grey():
    l,X = learner([Crop(4,20)], [])
    [points] = [o for o in l.show_cam([0], scatter=True).axes[0].collections]
    grey = np.ma.getmaskarray(np.ma.masked_invalid(points.get_array()))
    assert len(points.get_offsets())==T and grey.tolist()==[True]*4+[False]*16+[True]*4
    points.update_scalarmappable()
    assert np.allclose(points.get_facecolors()[0][:3], .8)

# loaders of other kinds

def test_type_transforms_are_decoded():
    X = series()
    class Scaled(Transform):
        def encodes(self, x:TensorTS): return (x-5).flip(-1)
        def decodes(self, x:TensorTS): return x.flip(-1)+5
    ds = Datasets(list(range(6)), [[lambda i: X[i], ToTensorTS(), Scaled()], [lambda i: i%2]], splits=[[0,1],[2,3,4,5]])
    dls = ds.dataloaders(bs=2, after_batch=[Standardize()], num_workers=0)
    its = fetch_items(dls.valid, [1,2])
    np.testing.assert_allclose(torch.stack(its.rows), X[[3,4]], rtol=1e-5)
    same_steps(steps(its), range(T)[::-1])

def test_a_type_transform_that_cannot_be_decoded_is_where_the_series_begin():
    X = series()
    ds = Datasets(list(range(6)), [[lambda i: X[i], ToTensorTS(), Raises()], [lambda i: i%2]], splits=[[0,1],[2,3,4,5]])
    its = fetch_items(ds.dataloaders(bs=2, num_workers=0).valid, [1,2])
    assert torch.equal(torch.stack(its.rows), torch.tensor(X[[3,4],:,2:])) and not its.moved

def test_datablock():
    X = series()
    dls = DataBlock((TSBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: ([0,1],[2,3,4,5]), item_tfms=Crop(4,20),
                    batch_tfms=Flip()).dataloaders([(x, 'ab'[i%2]) for i,x in enumerate(X)], bs=2)
    its = fetch_items(dls.valid, [0,3])
    same_steps(steps(its, 1), [nan]*4+[*range(16)][::-1]+[nan]*4)
    assert torch.equal(its.rows[1], torch.tensor(X[5]))

def half(b): return [b[0][...,::2],b[1]]

@pytest.mark.parametrize('cls', [DataLoader, torch.utils.data.DataLoader])
def test_plain_loaders(cls):
    X = torch.tensor(series())
    its = fetch_items(cls(torch.utils.data.TensorDataset(X, torch.arange(6)), batch_size=2), [4,1])
    assert torch.equal(torch.stack(its.rows), X[[4,1]]) and its.y.tolist()==[4,1] and not its.moved and its.xlabel is None
    assert torch.equal(its.x.as_subclass(Tensor), X[[4,1]])

def test_a_function_after_the_batch_is_named():
    X = torch.tensor(series())
    its = fetch_items(DataLoader(torch.utils.data.TensorDataset(X, torch.arange(6)), bs=2, after_batch=half), [4,1])
    assert its.xlabel=='steps, as half left them' and torch.equal(torch.stack(its.rows), X[[4,1],:,::2])

def test_a_collate_function_that_changes_series_is_named():
    X = torch.tensor(series())
    def squeeze(bs): return torch.stack([x[:,:7] for x,_ in bs]),torch.tensor([y for _,y in bs])
    its = fetch_items(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.arange(6)), batch_size=2, collate_fn=squeeze), [4,1])
    assert its.xlabel=='steps, as squeeze left them' and torch.equal(torch.stack(its.rows), X[[4,1],:,:7])

def test_the_batch_is_that_of_get_batch():
    dls = TSDataLoaders.from_numpy(series(), list('ababab'), valid_idx=[2,3,4,5], bs=2, item_tfms=[Crop(2), Flip()], batch_tfms=[Standardize(), Jitter(), Log2()])
    want = get_batch(dls.valid, [3,0])
    its = fetch_items(dls.valid, [3,0])
    assert torch.equal(its.x, want[0]) and its.y.tolist()==want[1].tolist() and type(its.x) is TensorTS and type(its.y) is type(want[1])

class Log2(Log): # of standardised values: no number for half of them
    order = 99
    def encodes(self, x:TensorTS): return (x+4).log()
    def decodes(self, x:TensorTS): return x.exp()-4

def test_all_is_left_as_found():
    "Random state, the split of the transforms, the items themselves"
    X = series()
    dls = TSDataLoaders.from_numpy(X.copy(), list('ababab'), valid_idx=[2,3,4,5], bs=2, batch_tfms=[InPlace(), Jitter()], item_tfms=[Crop(2)])
    state = torch.get_rng_state(),random.getstate(),np.random.get_state()[1].tolist()
    its = fetch_items(dls.train, [0])
    assert torch.equal(state[0], torch.get_rng_state()) and state[1]==random.getstate() and state[2]==np.random.get_state()[1].tolist()
    assert dls.train.after_batch.split_idx==0 and torch.equal(its.x.as_subclass(Tensor), torch.tensor(X[:1,:,2:])*2+1)
    assert np.array_equal(torch.stack([o[0] for o in dls.train_ds]), X[:2])

# pictures

def learner(item_tfms=None, batch_tfms=None, X=None, C=1):
    X = series(C=C) if X is None else X
    dls = TSDataLoaders.from_numpy(X, ['ab'[i%2] for i in range(len(X))], valid_idx=range(2,len(X)), bs=2, item_tfms=item_tfms, batch_tfms=batch_tfms, drop_last=False)
    l = ts_learner(dls, tiny_cnn(C, 2))
    l.remove_cb(l.progress)
    return l,X

def numbered(n): return precomputed(ramp[:n][None,None].expand(4,1,n)/n)

def colours(ax): return np.ma.filled(np.ma.asarray(ax.collections[0].get_array(), float), nan)

def test_show_cam_draws_the_series_and_the_map_where_it_belongs():
    l,X = learner([Crop(4,20), Flip()], [Standardize()])
    fig = l.show_cam([0,3], func_cam=numbered(16), force_scale=False)
    for ax,x in zip(fig.axes, X[[2,5]]):
        same_steps(colours(ax), [nan]*4+[i/16 for i in range(16)][::-1]+[nan]*4)
        np.testing.assert_allclose(ax.collections[0].get_datalim(ax.transData).intervalx, [0,T-1], atol=.6)
        assert ax.collections[0].cmap(nan)[:3]==(.8,.8,.8) # what the network did not see is there, in grey
        lo,hi = ax.get_ylim()
        assert lo<=x.min() and hi>=x.max()

def test_the_other_pictures_too():
    l,X = learner([Crop(4,20)], [Standardize()], C=2)
    want = [nan]*4+[i/16 for i in range(16)]+[nan]*4
    fig = l.show_class_cams(1, method=numbered(16), scale=None)
    [heat] = [o for ax in fig.subfigs[0].axes for o in ax.collections if isinstance(o, HeatRows)]
    for row in np.ma.filled(np.ma.asarray(heat.get_array(), float), nan): same_steps(row, want)
    fig = l.show_methods([numbered(16), numbered(16)], [0,1], style='line')
    for ax in fig.axes[:4]: same_steps(colours(ax), [o*16/15 for o in want])
    for call in (lambda: l.show_cam([0], multi_fig=False), lambda: l.show_cam([0,1], style='band'), lambda: l.show_cam([0], style='strip'), lambda: l.show_cam([0], scatter=True),
                 lambda: l.show_cam([0], fs=10), lambda: l.show_feature_maps(0, [0,2]), lambda: l.show_feature_maps(0, style='lines'), lambda: l.show_top_windows(2, 0, k=2),
                 lambda: l.show_dream(max_n=1, dream=lambda x, *a, **k: x+1)): call().canvas.draw()

def test_the_axis_says_where_the_way_ends():
    l,X = learner([NoDecodes()], [Standardize()])
    for fig in (l.show_cam([0]), l.show_methods([numbered(22)], [0]), l.show_class_cams(0).subfigs[0]):
        assert 'steps, as NoDecodes left them' in [ax.get_xlabel() for ax in fig.axes]
    assert l.show_cam([0], xlabel='mine').axes[0].get_xlabel()=='mine'

def test_dreams_come_back_in_the_units_and_to_the_place():
    l,X = learner([Crop(4,20), Flip()], [Normalize('all_samples')])
    fig = l.show_dream([0], dream=lambda x, *a, **k: x.as_subclass(Tensor)+1)
    scale = float(l.dls.after_batch.fs[-1].scale)
    want = np.zeros(T); want[4:20] = scale
    np.testing.assert_allclose(colours(fig.axes[0]), want, atol=1e-4)
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), X[2,0], rtol=1e-6)

def test_attribute_is_of_what_the_network_saw():
    l,X = learner([Crop(4,20)], [])
    x,y,attrs = l.attribute()
    assert x.shape==(4,1,16) and torch.equal(x.as_subclass(Tensor), torch.tensor(X[2:,:,4:20])) and attrs.shape==(4,1,16)

# the mathematics

@settings(max_examples=60, deadline=None)
@given(st.integers(4,60), st.data())
def test_any_reading_of_steps_is_found(n, data):
    "Steps in any order, again and again, some of them filled in"
    idxs = np.array(data.draw(st.lists(st.integers(-1,n-1), min_size=1, max_size=70)))
    def undo(x): return np.where(idxs<0, 7., x[:,idxs.clip(0)])
    x = np.random.default_rng(n).normal(size=(2,n))*10**data.draw(st.integers(-6,6))
    got = find_steps(undo, x)
    if (idxs<0).all(): assert got is None
    else: np.testing.assert_array_equal(got, np.where(idxs<0, np.nan, idxs))

@pytest.mark.parametrize('f', [lambda o: o, np.exp, np.sinh, lambda o: 3*o-2, lambda o: o**3, lambda o: o*np.linspace(1, 3, o.shape[-1]), lambda o: o*np.hanning(o.shape[-1]+2)[1:-1]])
def test_values_may_be_bent(f):
    x = np.random.default_rng(0).normal(size=(1,200))+.1
    np.testing.assert_array_equal(find_steps(lambda o: f(o)[:,::-1], x), np.arange(200)[::-1])

@pytest.mark.parametrize('f', [lambda o: o.cumsum(-1), lambda o: o.flip(-2), lambda o: o[...,:1,:], lambda o: o.mean(-1, keepdim=True).expand(o.shape), lambda o: o+o.flip(-1), lambda o: 0*o,
                               lambda o: torch.randn(o.shape)])
def test_what_reads_no_steps_is_none(f):
    torch.manual_seed(0)
    assert find_steps(f, torch.randn(2,50)) is None

def test_fourier_resampling():
    from scipy.signal import resample
    x = np.random.default_rng(0).normal(size=(1,40))
    got = find_steps(lambda o: resample(o, 120, axis=-1), x)
    np.testing.assert_allclose(got[2:-2], np.arange(120)[2:-2]/3, atol=.02)

def test_read_at_by_hand():
    rows = torch.tensor([[0.,10,20,30],[3.,3,3,3]])
    got = read_at(rows, np.array([-.5,-.6,0,.25,2.5,3,3.5,3.51,nan]))
    np.testing.assert_allclose(got, [[0,nan,0,2.5,25,30,30,nan,nan],[3,nan,3,3,3,3,3,nan,nan]], rtol=1e-6)
    hole = torch.tensor([[1.,nan,3]])
    np.testing.assert_allclose(read_at(hole, np.array([0.,1,2])), hole) # a neighbour's NaN is its own
    assert read_at(rows, None) is rows

def test_a_way_of_one_stage():
    x = np.arange(5.)[None]
    way = WayBack([Stage(Flip(), [TensorTS(x)], [TensorTS(x).flip(-1)])])
    assert way.place(torch.arange(5.)[None], 0).tolist()==[[4,3,2,1,0]] and way.moved and way.stop is None
