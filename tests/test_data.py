"Loading, batching, scaling and showing series, and the sentences said when something is wrong"
import random, warnings
import numpy as np, pytest, torch
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
from fastai.basics import (CategoryBlock, CrossEntropyLossFlat, DataBlock, DataLoader, DisplayedTransform, ItemGetter, L, Learner, MultiCategoryBlock,
                           TensorCategory, TensorMultiCategory, load_learner, to_cpu, to_device)
from torch.utils.data import TensorDataset
from common import says
from tsviz.archive import find_set, shipped_sets
from tsviz.data import *
from tsviz.learner import ts_learner
from tsviz.models import inception_time
from tsviz.read import read_files, series_lengths
from tsviz.transform import Normalize, Standardize

sets = shipped_sets()
gun = [sets['GunPoint']/f'GunPoint_{o}.ts' for o in ('TRAIN','TEST')]

@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close('all')

def some(n=40, C=2, T=12, n_classes=3, seed=0):
    "Series and labels, each class at a level of its own"
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return (rng.normal(size=(n,C,T)) + y[:,None,None]).astype(np.float32), y

def small_net(dls, c): return inception_time(get_n_channels(dls), c, nb_filters=2, depth=3, bottleneck_size=4)

def arff(path, rows, labels='1,2', steps=3, name='target'):
    "Write a univariate .arff file"
    attrs = [f'@attribute a{i} numeric' for i in range(steps)] + ([f'@attribute {name} {{{labels}}}'] if labels else [])
    path.write_text('\n'.join(['@relation r', *attrs, '@data', *rows]) + '\n')
    return path

def ts(path, rows, label='@classLabel true a b', univariate='true'):
    "Write a .ts file"
    path.write_text('\n'.join(['@problemName p', '@timeStamps false', f'@univariate {univariate}', label, '@data', *rows]) + '\n')
    return path

# from_files

def test_unlabelled_files(tmp_path):
    "Fault 18: unlabelled files crash"
    for f in (arff(tmp_path/'a.arff', ['1,2,3','4,5,6']*8, labels=None), ts(tmp_path/'a.ts', ['1,2,3','4,5,6']*8, '@classLabel false')):
        X,y = read_files(f)
        assert X.shape == (16,1,3) and y is None
        dls = TSDataLoaders.from_files(f)
        assert [o.shape for o in dls.one_batch()] == [(8,1,3)]

def test_from_files_valid_pct():
    "Fault 18: `from_files` ignores `valid_pct`"
    for pct,n in ((.2,10), (.5,25), (.1,5)): assert len(TSDataLoaders.from_files(gun[0], valid_pct=pct).valid_ds) == n

@pytest.mark.parametrize('f', [gun[0], str(gun[0]), [gun[0]], (str(gun[0]),)])
def test_from_files_single_path(f):
    "Fault 18: a single Path crashes"
    assert len(TSDataLoaders.from_files(f, valid_pct=.2).train_ds) == 40

def test_from_files_concatenates_and_splits_by_class():
    dls = TSDataLoaders.from_files(fnames=gun, bs=64, num_workers=0, lbl_dict={'1':'Gun', '2':'Point'})
    (X,y),(X1,y1) = map(read_files, gun)
    everything = {o.tobytes() for o in np.concatenate([X,X1])}
    assert {x.numpy().tobytes() for ds in (dls.train_ds,dls.valid_ds) for x,_ in ds} == everything
    assert [len(dls.train_ds), len(dls.valid_ds), dls.bs, dls.vocab] == [160, 40, 64, ['Gun','Point']]
    share = np.mean(np.concatenate([y,y1]) == '1')
    for ds in (dls.train_ds, dls.valid_ds): assert abs(np.mean([int(o)==0 for _,o in ds]) - share) < 1/len(ds)

def test_split_follows_the_seed():
    valid = lambda seed: [x.numpy().tobytes() for x,_ in TSDataLoaders.from_files(gun[0], seed=seed).valid_ds]
    assert valid(1) == valid(1) != valid(2)

def test_a_class_with_one_item_is_split_plainly():
    X,y = some(30)
    y = np.where(np.arange(30)==7, 9, y)
    dls = TSDataLoaders.from_numpy(X, y)
    assert [len(dls.train_ds), len(dls.valid_ds), dls.vocab] == [24, 6, ['0','1','2','9']]

def test_loading_leaves_the_random_state():
    random.seed(3); np.random.seed(3); torch.manual_seed(3)
    state = np.random.get_state()[1].copy(),torch.get_rng_state()
    TSDataLoaders.from_numpy(*some())
    assert (np.random.get_state()[1] == state[0]).all() and torch.equal(torch.get_rng_state(), state[1])

def test_lbl_dict_lacks_a_label():
    with says(ValueError, "no name for the labels ['2']"): TSDataLoaders.from_files(gun, lbl_dict={'1':'Gun'})
    with says(ValueError, 'no class labels', 'leave it out'): TSDataLoaders.from_numpy(some()[0], lbl_dict={0:'a'})
    with says(ValueError, 'no class labels', 'convert them to int'): TSDataLoaders.from_numpy(some()[0], some()[1]*1., lbl_dict={0:'a'})
    with says(ValueError, 'must be a dict', 'list'): TSDataLoaders.from_numpy(*some(), lbl_dict=['a','b','c'])

def test_names_are_words_and_may_be_shared():
    X,y = some()
    assert TSDataLoaders.from_numpy(X, y, lbl_dict={0:'a', '1':'a', 2:'b'}).vocab == ['a','b']
    dls = TSDataLoaders.from_numpy(X, y, lbl_dict={0:10, 1:'b', 2:None}, valid_pct=0)
    assert dls.vocab == ['10','None','b'] and [dls.vocab[c] for _,c in dls.train_ds] == [['10','b','None'][i] for i in y]

# from_numpy

@pytest.mark.parametrize('make', [np.asarray, torch.tensor, lambda o: o.tolist()])
def test_from_numpy_accepts(make):
    X,y = some()
    dls = TSDataLoaders.from_numpy(make(X), make(y))
    b = dls.one_batch()
    assert isinstance(dls, TSDataLoaders) and isinstance(b[0], TensorTS) and isinstance(b[1], TensorCategory)
    assert b[0].shape == (8,2,12) and b[0].dtype == torch.float32 and dls.c == 3 and dls.vocab == ['0','1','2']
    assert TSDataLoaders.from_numpy(make(X[:,0])).one_batch()[0].shape == (8,1,12)

def test_numbers_are_sorted_as_numbers():
    X,_ = some(24)
    assert TSDataLoaders.from_numpy(X, np.arange(24)%12).vocab == [str(i) for i in range(12)]
    assert TSDataLoaders.from_numpy(X, ['b','a']*12).vocab == ['a','b']
    assert TSDataLoaders.from_numpy(X, [b'b',b'a']*12).vocab == ['a','b']

def test_vocabulary_of_all_labels():
    X,y = some()
    y[:4] = 7
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=range(4))
    assert dls.vocab == ['0','1','2','7'] and {int(o) for _,o in dls.valid_ds} == {3}

def test_given_splits():
    X,y = some()
    first = lambda ds: [float(x[0,0]) for x,_ in ds]
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=[5,3])
    assert first(dls.valid_ds) == X[[5,3],0,0].tolist() and len(dls.train_ds) == 38
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=np.arange(40)<4)
    assert first(dls.valid_ds) == X[:4,0,0].tolist()
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(10,30), [0,1]))
    assert first(dls.train_ds) == X[10:30,0,0].tolist() and first(dls.valid_ds) == X[:2,0,0].tolist()
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(10,30), [0,1], [2]))
    assert first(dls[2].dataset) == X[2:3,0,0].tolist()
    assert len(TSDataLoaders.from_numpy(X, y, valid_pct=0).valid_ds) == 0
    import pandas as pd
    mask = np.arange(40)<4
    for o in (slice(4), torch.arange(4), mask.tolist(), torch.tensor(mask), pd.Series(mask), range(4), pd.Index(range(4)), L(range(4))):
        assert first(TSDataLoaders.from_numpy(X, y, valid_idx=o).valid_ds) == X[:4,0,0].tolist()
    assert first(TSDataLoaders.from_numpy(X, y, valid_idx=3).valid_ds) == X[3:4,0,0].tolist()
    for o in ((~mask,mask), [range(4,40),range(4)], L(np.arange(4,40),torch.arange(4))):
        dls = TSDataLoaders.from_numpy(X, y, splits=o)
        assert first(dls.valid_ds) == X[:4,0,0].tolist() and first(dls.train_ds) == X[4:,0,0].tolist()
    assert len(TSDataLoaders.from_numpy(X, y, splits=[range(9)]).loaders) == 1

@pytest.mark.parametrize('kwargs,words', [
    (dict(valid_idx=[40]), ['Index 40', '0 to 39']), (dict(splits=([0,1],[1])), ['Series 1', 'twice']), (dict(valid_pct=1), ['below 1']),
    (dict(valid_idx=[1], splits=([0],[1])), ['not both']), (dict(valid_idx=range(40)), ['No training batch', '0 of 40']),
    (dict(bs=100, drop_last=True), ['No training batch', '`bs` is 100']), (dict(bs=0), ['`bs` must be', 'at least 1']), (dict(bs='a'), ["'a'"]),
    (dict(bs=8.), ['8.0']), (dict(valid_pct='a'), ["'a'"]), (dict(valid_idx='abc'), ['`valid_idx`', 'abc']), (dict(valid_idx=[1.,2.]), ['`valid_idx`']),
    (dict(valid_idx=[True]*5), ['mask of 40']), (dict(valid_idx=[-1]), ['Index -1']), (dict(splits=[]), ['`splits`']), (dict(splits=[0,1]), ['`splits`']),
    (dict(splits='ab'), ['`splits`']), (dict(splits=dict(train=[1])), ['`splits`']), (dict(splits=lambda o: o), ['`splits`']),
    (dict(splits=([0],['a'])), ['A split']), (dict(splits=(np.zeros(5,bool),[1])), ['mask of 40'])])
def test_bad_splits(kwargs, words):
    with says(ValueError, *words): TSDataLoaders.from_numpy(*some(), **kwargs)

@pytest.mark.parametrize('n_train,bs,n_batches', [(10,8,2), (20,8,2), (50,12,4), (200,50,4), (600,64,9)])
def test_batch_size_and_last_batch(n_train, bs, n_batches):
    "min(64, max(8, n_train//4)); the last incomplete batch goes only where two full ones remain"
    X,y = some(n_train+4)
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=range(4))
    assert [dls.bs, len(dls.train), len([*dls.train])] == [bs, n_batches, n_batches]

def test_fewer_series_than_a_batch():
    "50 series and bs=64: fastai would train on nothing"
    dls = TSDataLoaders.from_dataset('GunPoint', bs=64)
    assert [len(b[1]) for b in dls.train] == [50]

def test_bad_arrays():
    X,y = some()
    nan,inf = X.copy(),X.copy()
    nan[3,1,4] = nan[5,0,0] = np.nan
    inf[39,0,2] = np.inf
    load = TSDataLoaders.from_numpy
    with says(ValueError, '2 missing values', 'series 3, channel 1, step 4', "`fill='linear'`"): load(nan, y)
    with says(ValueError, 'nfinite', 'series 39, channel 0, step 2'): load(inf, y)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with says(ValueError, 'too large for float32', 'rescale'): load(X.astype(float)*1e300, y)
        with says(ValueError, 'missing or infinite'): load(X, y*1e300)
        for o in (X*1j, (X*1j).tolist(), torch.tensor(X*1j)):
            with says(ValueError, 'real numbers'): load(o, y)
    with says(TypeError, "Did you mean 'batch_tfms'"): load(X, y, batch_tmfs=None)
    with says(ValueError, '(N,C,T) or (N,T)', '(12,)'): load(X[0,0], y)
    with says(ValueError, '(1, 40, 2, 12)'): load(X[None], y)
    with says(ValueError, '(0, 2, 12)'): load(X[:0])
    with says(ValueError, 'numbers'): load([['a','b']], [1])
    with says(ValueError, 'got 39 for 40 series'): load(X, y[1:])
    with says(ValueError, '`y` must be (N,)', '(40, 1)'): load(X, y[:,None])
    with says(ValueError, '2 labels', 'series 0'): load(X, [None,'a',None]+['b']*37)
    with says(ValueError, '1 labels', 'series 1'): load(X, np.where(np.arange(40)==1, np.nan, 1.))
    with says(TypeError, "'num_worker'", "'num_workers'"): load(X, y, num_worker=1)

def test_missing_values_in_a_file(tmp_path):
    f = ts(tmp_path/'a.ts', ['1,2,3,4:a', '4,?,?,1:b', '4,5,6,7:b'])
    with says(ValueError, '2 missing values', 'series 1, channel 0, step 1', 'fill'): TSDataLoaders.from_files(f)
    for fill,want in (('linear',[4,3,2,1]), ('mean',[4,2.5,2.5,1]), ('zero',[4,0,0,1]), (7,[4,7,7,1])):
        dls = TSDataLoaders.from_files(f, fill=fill, valid_pct=0)
        assert dls.train_ds[1][0].tolist() == [want]

def test_missing_values_name_the_file(tmp_path):
    good = arff(tmp_path/'good.arff', ['1,2,3,1','4,5,6,2'])
    for bad in (arff(tmp_path/'bad.arff', ['1,2,3,1','4,?,6,2']), ts(tmp_path/'bad.ts', ['1,2,3:1','4,?,6:2'], '@classLabel true 1 2')):
        with says(ValueError, str(bad), 'series 1, channel 0, step 1'): TSDataLoaders.from_files([good, bad])
        dls = TSDataLoaders.from_files([good, bad], fill='linear', valid_pct=0)
        assert [x.tolist() for x,_ in dls.train_ds] == [[[1,2,3]],[[4,5,6]]]*2
    with says(ValueError, '`fnames` is empty'): TSDataLoaders.from_files([])

def test_missing_values_of_a_set_name_the_file(tmp_path, monkeypatch):
    train = ts(tmp_path/'Toy_TRAIN.ts', ['1,2,3:a','4,5,6:b'])
    for name,rows in (('long',['1,2,3,4:a']), ('gap',['1,?,3:a'])):
        test = ts(tmp_path/f'{name}.ts', rows)
        monkeypatch.setattr('tsviz.data.find_set', lambda *_, test=test: (train,test))
        if name=='gap':
            with says(ValueError, str(test), 'series 0, channel 0, step 1'): TSDataLoaders.from_dataset('Toy')
        dls = TSDataLoaders.from_dataset('Toy', fill=0)
        assert [x.tolist() for x,_ in dls.train_ds] == [[[1,2,3]],[[4,5,6]]] and len(dls.valid_ds) == 1

# memory

def test_items_are_views_of_the_one_array():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=range(5))
    assert all(np.shares_memory(o[0], X) for ds in (dls.train_ds,dls.valid_ds) for o in ds.items)
    assert all(np.shares_memory(x.numpy(), X) for ds in (dls.train_ds,dls.valid_ds) for x,_ in ds)
    assert all(np.shares_memory(o.numpy(), X) for o, in dls.test_dl(X).dataset)
    X[7:,:,9:] = np.nan                                                    # unequal lengths: views as well
    dls = TSDataLoaders.from_numpy(X, y, valid_pct=0)
    assert all(np.shares_memory(x.numpy(), X) for x,_ in dls.train_ds) and {x.shape[-1] for x,_ in dls.train_ds} == {12,9}

def test_a_batch_is_a_copy():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, valid_idx=[0], val_bs=1)
    for dl in (dls.train, dls.valid):
        xb,_ = dl.one_batch()
        assert not np.shares_memory(xb.cpu().numpy(), X)

def test_memory_of_loading_and_of_a_batch():
    "Loading keeps no second array, and a batch allocates about its own tensor"
    import tracemalloc
    X = np.zeros((400,4,2000), dtype=np.float32)                           # 12.8 MB
    tracemalloc.start()
    try:
        dls = TSDataLoaders.from_numpy(X, [0,1]*200, bs=8)
        kept,peak = tracemalloc.get_traced_memory()
        assert kept < .1*X.nbytes and peak < .6*X.nbytes                    # a mask of NaN is a quarter, and goes
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        xb,_ = dls.one_batch()
        assert tracemalloc.get_traced_memory()[1]-before < .5*xb.nbytes      # the tensor itself is torch's
    finally: tracemalloc.stop()

# unequal lengths

def uneven(n=24, C=2, seed=0):
    "n series of 5 to 16 steps, and their labels"
    rng = np.random.default_rng(seed)
    return [rng.normal(1, 1, size=(C,5+i*7%12)).astype(np.float32) for i in range(n)], [*'abc']*(n//3)

def same(a, b): return torch.equal(torch.Tensor(a), torch.as_tensor(b))

@pytest.mark.parametrize('form', ['list','array','tensors'])
def test_unequal_lengths_as_list_or_array(form):
    xs,y = uneven()
    X = np.full((24,2,20), np.nan)
    for row,x in zip(X, xs): row[:,:x.shape[1]] = x
    dls = TSDataLoaders.from_numpy(dict(list=xs, array=X, tensors=[torch.tensor(x) for x in xs])[form], y, valid_pct=0)
    assert all(same(a, b) for (a,_),b in zip(dls.train_ds, xs)) and len(dls.train_ds) == 24

@pytest.mark.parametrize('bs', [1,4,24])
def test_batches_are_padded_with_zeros_to_their_longest(bs):
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(23), bs=1, val_bs=bs)
    for k,(xb,_) in enumerate(dls.valid):
        part = xs[:23][k*bs:k*bs+bs]
        n = [x.shape[1] for x in part]
        want = np.zeros((len(part),2,max(n)), dtype=np.float32)
        for row,x in zip(want, part): row[:,:x.shape[1]] = x
        assert same(xb.cpu(), want) and (xb.lengths is None if len(set(n))==1 else xb.lengths.tolist() == n)

def test_equal_lengths_are_left_alone():
    "Nothing is padded and nothing is remembered: the very same items reach the collation"
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y)
    items = [dls.train_ds[i] for i in range(4)]
    assert PadTS()(items) is items
    xb,_ = dls.one_batch()
    assert xb.lengths is None and '_lengths' not in xb.__dict__

def padded(): return TensorTS(torch.randn(4,2,9), lengths=torch.tensor([9,3,5,3]))

@pytest.mark.parametrize('i,want', [(1,3), (-1,3), (slice(1,3),[3,5]), ([2,0],[5,9]), (torch.tensor([3,2]),[3,5]),
    (np.array([0,0]),[9,9]), (Ellipsis,[9,3,5,3]), (torch.tensor([True,False,True,False]),[9,5]), ((slice(None),0),None),
    ((slice(2),slice(0,1)),[9,3]), ((slice(None),slice(None),slice(0,3)),None),
    ((1,0),None), (slice(0,0),[]), (torch.ones(4,2,dtype=torch.bool),None)])
def test_lengths_follow_an_index(i, want):
    x = padded()[i]
    assert (x.lengths is None) if want is None else x.lengths.tolist() == want
    if want is None: assert not [o for o in x if getattr(o, 'lengths', None) is not None]

def test_lengths_through_operations(tmp_path):
    x = padded()
    n = x.lengths.tolist()
    for o in (x+1, 2*x, x.clone(), x.abs(), x[:,:1], x.mean(1, keepdim=True), x.to('cpu'), to_device(x, 'cpu'), to_cpu((x,1))[0], x.detach(), x.double()):
        assert o.lengths.tolist() == n
    for o in (x.mean(-1), x.mean(1), x.mean(), x[...,:8], x.flatten(), torch.cat([x,x]), x.unsqueeze(0), torch.stack([x,x]), x@torch.randn(9,4)):
        assert o.lengths is None
    assert [int(o.lengths) for o in x] == n and [o.shape for o in x] == [(2,9)]*4
    import copy, pickle
    torch.save(x, tmp_path/'x.pt')
    for o in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x), torch.load(tmp_path/'x.pt', weights_only=False)): assert o.lengths.tolist() == n
    from fastai.basics import cast
    y = cast(x, TensorTS)
    y.lengths = [9,9,9,9]                                                   # fastai's casts share what they carry: a change of one is not one of the other
    assert x.lengths.tolist() == n
    y.lengths = None
    assert y.lengths is None and x.lengths.tolist() == n

def test_padding_comes_off_again():
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), batch_tfms=Standardize(), bs=4)
    b = dls.valid.one_batch()
    assert b[0].shape[-1] > b[0].lengths.min()
    for (x,_),want in zip(dls.valid.decode_batch(b), xs): np.testing.assert_allclose(x.numpy(), want, atol=1e-5)

def test_get_batch_of_unequal_series():
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12))
    for data in (dls.valid, dls.valid_ds):
        b,_ = get_batch(data, [4,1])
        assert b.lengths.tolist() == [xs[4].shape[1], xs[1].shape[1]] and same(b.cpu()[1,:,:xs[1].shape[1]], xs[1])
        assert get_batch(data, [2])[0].lengths is None and get_batch(data, [2])[0].shape[-1] == xs[2].shape[1]

@pytest.mark.parametrize('num_workers', [0,2])
def test_worker_processes(num_workers):
    "The same batches from worker processes, transforms, padding and lengths included"
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), batch_tfms=Standardize(), item_tfms=Counting(), num_workers=num_workers, bs=4)
    assert dls.train.fake_l.num_workers == dls.valid.fake_l.num_workers == num_workers
    got = [(x.cpu(),y) for x,y in dls.valid]
    assert [x.lengths.tolist() for x,_ in got] == [[o.shape[1] for o in xs[i:i+4]] for i in (0,4,8)]
    assert [dls.vocab[i] for _,y in got for i in y] == y[:12] and type(got[0][0]) is TensorTS
    ref = (xs[5]-xs[5].mean(1, keepdims=True))/xs[5].std(1, keepdims=True)
    np.testing.assert_allclose(got[1][0][1,:,:xs[5].shape[1]].numpy(), ref, atol=1e-4)
    assert len([*dls.train]) == 3

def test_unequal_series_in_any_data_block():
    xs,y = uneven()
    dls = DataBlock((TSBlock,CategoryBlock), getters=[ItemGetter(0),ItemGetter(1)]).dataloaders([*zip(xs,y)], bs=4)
    assert dls.one_batch()[0].lengths.shape == (4,)

def test_unequal_pictures_draw_no_padding():
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), batch_tfms=Normalize(), bs=4)
    dls.valid.show_batch(max_n=4)
    for ax,x in zip(axes_of(4), xs): np.testing.assert_allclose([l.get_ydata() for l in ax.lines], x, atol=1e-5)
    learn = ts_learner(dls, small_net(dls, 3))
    learn.remove_cb(learn.progress)
    learn.show_results(shuffle=False, max_n=4)
    for ax,x in zip(axes_of(4), xs): np.testing.assert_allclose([l.get_ydata() for l in ax.lines], x, atol=1e-5)

# test_dl

def test_test_dl_takes_arrays_tensors_and_items():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y)
    for o in (X[:3], torch.tensor(X[:3]), list(X[:3])):
        b = dls.test_dl(o).one_batch()
        assert len(b) == 1 and torch.equal(torch.Tensor(b[0]), torch.tensor(X[:3]))
    for dl in (dls.test_dl([(X[i],str(y[i])) for i in range(3)], with_labels=True), dls.test_dl(X[:3], y=y[:3]), dls.test_dl(X[:3], y=torch.tensor(y[:3]))):
        assert dl.one_batch()[1].tolist() == y[:3].tolist()

def test_test_dl_takes_files_frames_of_numbers_and_unequal_series():
    import pandas as pd
    (train,test),(X,y) = gun,read_files(gun[1])
    dls = TSDataLoaders.from_files(train, batch_tfms=Standardize(), lbl_dict=dict(zip('12', ['Gun','Point'])))
    ref = (X-X.mean(-1, keepdims=True))/X.std(-1, keepdims=True)
    for dl in (dls.test_dl(test), dls.test_dl(str(test)), dls.test_dl([test]), dls.test_dl(pd.DataFrame(X[:,0]))):
        assert len(dl.dataset) == 150 and len(dl.one_batch()) == 1
        np.testing.assert_allclose(torch.cat([b[0] for b in dl]).cpu().numpy(), ref, atol=2e-3)
    dl = dls.test_dl([test, test], with_labels=True, lbl_dict={1:'Gun', 2:'Point'})
    assert [dls.vocab[i] for _,i in dl.dataset] == [{'1':'Gun', '2':'Point'}[o] for o in y]*2
    dl = dls.test_dl([X[0,:,:50], X[1,0], np.r_[X[2,0,:99], [np.nan]*3]])
    assert dl.one_batch()[0].lengths.tolist() == [50,150,99]
    with says(ValueError, "do not know: ['1', '2']", "['Gun', 'Point']"): dls.test_dl(test, with_labels=True)
    with says(ValueError, 'got 2 for 3 series'): dls.test_dl(X[:3], y=[1,2])
    gap = X[:3].copy()
    gap[1,0,7] = np.nan
    with says(ValueError, '1 missing values', '`test_items`', 'series 1, channel 0, step 7', 'fill'): dls.test_dl(gap)
    assert dls.test_dl(gap, fill=0).dataset[1][0][0,7] == 0

def test_test_dl_of_tables(tmp_path):
    "Where the label stands is said as it is in `from_files`"
    rows = ['1,2,3,a','4,5,6,b']*8
    (f := tmp_path/'last.csv').write_text('\n'.join(rows))
    (g := tmp_path/'none.csv').write_text('\n'.join(o[:-2] for o in rows))
    dls = TSDataLoaders.from_files(f, label=-1)
    want = [[[1,2,3]],[[4,5,6]]]*8
    assert [x.tolist() for x, in dls.test_dl(f, label=-1).dataset] == [x.tolist() for x, in dls.test_dl(g, label=None).dataset] == want
    assert [dls.vocab[c] for _,c in dls.test_dl(f, label=-1, with_labels=True).dataset] == ['a','b']*8
    with says(ValueError, 'without labels'): dls.test_dl(g, label=None, with_labels=True)

def test_test_dl_refuses_what_cannot_be_meant(tmp_path):
    X,y = some()
    dls,bare,reg = TSDataLoaders.from_numpy(X, y),TSDataLoaders.from_numpy(X),TSDataLoaders.from_numpy(X, y*.5)
    with says(ValueError, 'have 1 channels', 'loaders 2', 'in a list'): dls.test_dl(X[0])
    with says(ValueError, 'have 3 channels', 'loaders 2'): dls.test_dl(np.ones((4,3,12)))
    with says(TypeError, "'bss'"): dls.test_dl(X, bss=4)
    with says(TypeError, "'num_workers'"): dls.test_dl(X, num_worker=1)
    with says(ValueError, 'without labels', '`y`'): dls.test_dl(X, with_labels=True)
    with says(ValueError, 'without labels', '`y`'): bare.test_dl(X, y=y)
    with says(ValueError, "['0.5']", "['0', '1', '2']"): dls.test_dl(X[:2], y=[.5,.5])
    with says(ValueError, 'numbers to predict', "'a'"): reg.test_dl(X[:1], y=['a'])
    for o in ([1,2], [1.,2.], ['1','2.']): assert reg.test_dl(X[:2], y=o).one_batch()[1].tolist() == [1,2]
    assert dls.test_dl(X, bs=4, num_workers=0).one_batch()[0].shape[0] == 4 and bare.test_dl(X[:3]).one_batch()[0].shape == (3,2,12)

def test_test_dl_gets_the_transforms_of_validation():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=Counting(), shuffle=True)
    assert same(dls.test_dl(X[:9], bs=9).one_batch()[0].cpu(), X[:9])

def test_learner_with_test_dl():
    xs,y = uneven()
    dls = TSDataLoaders.from_numpy(xs, y, valid_idx=range(12), bs=4)
    learn = ts_learner(dls, small_net(dls, 3))
    learn.remove_cb(learn.progress)
    dl = dls.test_dl(xs[:5])
    preds,targs = learn.get_preds(dl=dl)
    x,labels,attrs = learn.attribute(dl=dl)
    assert preds.shape == (5,3) and targs is None and labels is None and attrs.shape == (5,1,max(o.shape[1] for o in xs[:5]))
    assert len(learn.show_cam(dl=dl).axes) >= 5
    assert learn.get_preds(dl=dls.test_dl(xs[:5], y=y[:5]))[1].tolist() == [0,1,2,0,1]

def test_dataset_block():
    X,y = some()
    dls = DataBlock((TSBlock,CategoryBlock), getters=[ItemGetter(0),ItemGetter(1)]).dataloaders([*zip(X,y.tolist())], bs=4)
    assert dls.one_batch()[0].shape == (4,2,12) and dls.train.fake_l.num_workers == 0

def test_export_and_predict(tmp_path):
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, batch_tfms=Standardize('all_samples'))
    learn = Learner(dls, small_net(dls, 3), path=tmp_path)
    preds = learn.get_preds(dl=dls.test_dl(X[:5]))[0]
    learn.export()
    with pytest.warns(UserWarning, match='pickle'): again = load_learner(tmp_path/'export.pkl')
    torch.testing.assert_close(again.get_preds(dl=again.dls.test_dl(X[:5]))[0], preds)
    assert again.predict(X[0])[0] == again.dls.vocab[int(preds[0].argmax())] and len(again.dls.train_ds) == 0

# from_dataset

@pytest.mark.parametrize('name', ['GunPoint','BasicMotions','ItalyPowerDemand','JapaneseVowels'])
def test_from_dataset_keeps_the_archives_split(name):
    dls = TSDataLoaders.from_dataset(name)
    for f,ds in zip(find_set(name), (dls.train_ds,dls.valid_ds)):
        X,y = read_files(f)
        xs,idxs = zip(*ds)
        assert [dls.vocab[i] for i in idxs] == y and all(same(x, o[:,:n]) for x,o,n in zip(xs, X, series_lengths(X)))

def test_from_dataset_regression():
    dls = TSDataLoaders.from_dataset('Tecator')
    assert dls.c == 1 and dls.one_batch()[1].dtype == torch.float32

def test_from_dataset_names():
    with says(ValueError, "Did you mean 'GunPoint'"): TSDataLoaders.from_dataset('gunpoint')
    with says(ValueError, 'Unknown set', 'qqqqqq'): TSDataLoaders.from_dataset('qqqqqq')

@pytest.mark.parametrize('kwargs', [dict(valid_pct=.1), dict(valid_idx=[1]), dict(splits=([0],[1])), dict(seed=3)])
def test_from_dataset_has_its_own_split(kwargs):
    with says(TypeError, "archive's own split", *kwargs, 'from_numpy'): TSDataLoaders.from_dataset('GunPoint', **kwargs)

# get_batch

class Counting(DisplayedTransform):
    "Adds 1, to training batches only"
    split_idx = 0
    def encodes(self, x:TensorTS): return x+1

@pytest.mark.parametrize('idxs', [[0], [3,0,3], range(7), np.array([5,1]), torch.tensor([2,8]), 4])
def test_get_batch_gives_what_is_asked(idxs):
    "Fault 1: 2 items whatever is asked"
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(30), range(30,40)))
    ref = [idxs] if isinstance(idxs, int) else [int(i) for i in idxs]
    for data in (dls.train_ds, dls.train):
        xs,ys = get_batch(data, idxs)
        assert type(xs) is TensorTS and type(ys) is TensorCategory
        assert torch.equal(torch.Tensor(xs.cpu()), torch.tensor(X[ref])) and ys.tolist() == y[ref].tolist()

def test_get_batch_replays_the_transforms():
    "Fault 1: `after_batch` is skipped, so un-normalised input is explained"
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, splits=(range(30), range(30,40)), batch_tfms=[Counting(), Standardize('all_samples')], shuffle=False)
    test_close = torch.testing.assert_close
    for dl in (dls.valid, dls.train): test_close(torch.Tensor(get_batch(dl, range(7))[0]), torch.Tensor(dl.one_batch()[0][:7]))
    test_close(torch.Tensor(get_batch(dls.valid_ds, [2])[0]), torch.tensor(X[32:33]))
    mean,std = (X[:30]+1).mean(),(X[:30]+1).std()
    test_close(torch.Tensor(get_batch(dls.train, [2])[0]), torch.tensor((X[2:3]+1-mean)/std), rtol=1e-4, atol=1e-5)
    test_close(torch.Tensor(get_batch(dls.valid, [2])[0]), torch.tensor((X[32:33]-mean)/std), rtol=1e-4, atol=1e-5)

def test_get_batch_takes_no_randomness():
    dls = TSDataLoaders.from_numpy(*some(), batch_tfms=Standardize())
    state = random.getstate(),dls.train.rng.getstate(),torch.get_rng_state()
    get_batch(dls.train, [3,1])
    assert random.getstate() == state[0] and dls.train.rng.getstate() == state[1] and torch.equal(torch.get_rng_state(), state[2])

def test_get_batch_of_plain_datasets():
    X,y = some()
    ds = TensorDataset(torch.tensor(X), torch.tensor(y))
    for data in (ds, DataLoader(ds, bs=4), [*zip(X,y)]):
        xs,ys = get_batch(data, [4,2])
        assert type(xs) is TensorTS and type(ys) is TensorCategory and xs.tolist() == X[[4,2]].tolist() and ys.tolist() == [1,2]
    assert get_batch(TensorDataset(torch.tensor(X)), [1])[1] is None
    assert get_batch(TSDataLoaders.from_numpy(X).train, [1])[1] is None
    assert get_batch(TSDataLoaders.from_numpy(X, y/2).train, [1])[1].is_floating_point()

@pytest.mark.parametrize('idxs,words', [([0,40],['Index 40','0 to 39']), ([-41],['Index -41']), ([],['empty'])])
def test_get_batch_out_of_range(idxs, words):
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, valid_pct=0)
    for data in (dls.train, dls.train_ds):
        with says(ValueError, *words): get_batch(data, idxs)

def test_get_batch_of_what_it_cannot_take():
    dls = TSDataLoaders.from_numpy(*some(), valid_pct=0)
    with says(TypeError, '`dls.train`', '`dls.valid`'): get_batch(dls, [0])
    for data in (dls.train, dls.train_ds):
        for idxs in ('a', ['0','1'], 1.5, [0,1.5], [True,False], [[0,1]], None):
            with says(ValueError, '`idxs` must be an int'): get_batch(data, idxs)

def test_get_batch_by_slice_and_mask():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y, valid_pct=0)
    for idxs in (slice(30,None,3), np.arange(40)%7==2):
        for data in (dls.train, dls.train_ds): assert get_batch(data, idxs)[0].tolist() == X[idxs].tolist()
    assert get_batch(dls.train, 3)[0].shape == (1,2,12)

def test_get_batch_of_several_labels():
    X,y = some()
    block = DataBlock([TSBlock, MultiCategoryBlock], getters=[ItemGetter(0), ItemGetter(1)], splitter=lambda o: (range(30), range(30,40)))
    dls = block.dataloaders([(x, ['a','bc'[i%2]]) for i,x in enumerate(X)], bs=8)
    for data in (dls.valid, dls.valid_ds):
        xs,ys = get_batch(data, [0,1])
        assert type(xs) is TensorTS and xs.tolist() == X[30:32].tolist() and ys.tolist() == [[1,1,0],[1,0,1]] and isinstance(ys, TensorMultiCategory)

def test_get_n_channels():
    dls = TSDataLoaders.from_numpy(*some(C=5))
    assert get_n_channels(dls) == get_n_channels(dls.valid) == get_n_channels(dls.train) == 5

# pictures

def test_tensor_shows_itself():
    x = TensorTS(torch.arange(12.).view(3,4))
    ax = plt.subplots()[1]
    assert x.show(ctx=ax, chs=[0,2], title='t') is ax and ax.get_title() == 't'
    drawn = [l.get_ydata().tolist() for l in ax.lines]
    assert drawn == x[[0,2]].tolist()
    for chs,n in ((1,1), (slice(1,None),2), (None,3)): assert len(x.show(chs=chs).lines) == n
    with says(ValueError, '(1, 3, 4)'): x[None].show()
    with says(ValueError, '`max_n`'): TSDataLoaders.from_numpy(*some()).show_batch(max_n=0)

def axes_of(n): return [ax for ax in plt.gcf().axes if ax.axison][:n]

def test_show_batch():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, ['abc'[i] for i in y], batch_tfms=Standardize(), shuffle=False, valid_idx=range(9))
    dls.valid.show_batch(max_n=5, chs=[1])
    axs = axes_of(9)
    assert [ax.get_title() for ax in axs] == list('abcab')
    np.testing.assert_allclose([ax.lines[0].get_ydata() for ax in axs], X[:5,1], atol=1e-5)
    TSDataLoaders.from_numpy(X).show_batch(max_n=4)
    assert [ax.get_title() for ax in axes_of(9)] == ['']*4
    dls.show_batch(max_n=2, ctxs=(given := list(plt.subplots(2)[1])))
    assert all(len(ax.lines)==2 for ax in given)

def test_show_results():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, ['abc'[i] for i in y], valid_idx=range(9), batch_tfms=Normalize())
    learn = Learner(dls, small_net(dls, 3), loss_func=CrossEntropyLossFlat())
    with torch.no_grad():
        learn.model[3][2].weight.zero_()
        learn.model[3][2].bias.copy_(torch.tensor([0.,1.,0.]))
    learn.show_results(shuffle=False, max_n=4)
    axs = axes_of(9)
    assert [ax.get_title() for ax in axs] == ['a / b','b / b','c / b','a / b']
    assert [ax.title.get_color() for ax in axs] == ['red','green','red','red']
    np.testing.assert_allclose(axs[2].lines[0].get_ydata(), X[2,0], atol=1e-5)

def test_show_results_of_a_regression():
    X,_ = some()
    dls = TSDataLoaders.from_numpy(X, X.mean((1,2)), valid_idx=range(9))
    learn = Learner(dls, small_net(dls, 1))
    with torch.no_grad():
        learn.model[3][2].weight.zero_()
        learn.model[3][2].bias.fill_(.25)
    learn.show_results(shuffle=False, max_n=2)
    assert [ax.get_title() for ax in axes_of(9)] == [f'{float(o.mean()):.4g} / 0.25' for o in X[:2]]

# data frames

def long(xs, y, names=('ax','ay'), seed=0):
    "A shuffled frame with one row a step"
    import pandas as pd
    df = pd.concat([pd.DataFrame({'who':f's{i}', 't':np.arange(x.shape[1])*.5, **dict(zip(names, x)), 'label':c}) for i,(x,c) in enumerate(zip(xs, y))])
    return df if seed is None else df.sample(frac=1, random_state=seed).reset_index(drop=True)

def test_long_frames():
    xs,y = uneven()
    df = long(xs, y)
    dls = TSDataLoaders.from_df(df, id='who', time='t', valid_pct=0, batch_tfms=Standardize())
    order = [int(o[1:]) for o in df.who.drop_duplicates()]
    assert len(order) == len(dls.train_ds) == 24 and dls.vocab == ['a','b','c']
    for (x,c),i in zip(dls.train_ds, order): assert same(x, xs[i]) and dls.vocab[c] == y[i]
    one = TSDataLoaders.from_df(df, id='who', time='t', channels='ay', valid_pct=0)
    assert same(one.train_ds[0][0], xs[order[0]][1:])
    two = TSDataLoaders.from_df(df, id='who', time='t', channels=['ay','ax'], valid_pct=0)
    assert same(two.train_ds[0][0], xs[order[0]][::-1].copy())
    kept = TSDataLoaders.from_df(long(xs, y, seed=None).drop(columns='t'), id='who', valid_pct=0)        # without times: in the frame's order
    assert all(same(x, o) for (x,_),o in zip(kept.train_ds, xs))

def test_long_frames_of_dates_and_other_labels():
    import pandas as pd
    xs,y = uneven()
    df = long(xs, y)
    day = df.assign(t=pd.Timestamp('2024-03-01')+pd.to_timedelta(df.t, unit='h'), level=[float(o[1:]) for o in df.who])
    for o in (day, day.assign(t=day.t.dt.tz_localize('UTC'))):
        dls = TSDataLoaders.from_df(o, label=None, id='who', time='t', channels=['ax','ay'], valid_pct=0)
        assert same(dls.train_ds[0][0], xs[int(df.who[0][1:])]) and len(dls.train_ds[0]) == 1
    dls = TSDataLoaders.from_df(day, label='level', id='who', time='t', channels=['ax','ay'], valid_pct=0)
    assert [float(c) for _,c in dls.train_ds] == [float(o[1:]) for o in df.who.drop_duplicates()]

@pytest.mark.parametrize('words', [('train','valid'), ('Training',' TEST'), (False,True), (0,1)])
def test_split_column(words):
    xs,y = uneven()
    df = long(xs, y)
    df['part'] = [words[int(o[1:])%3==0] for o in df.who]
    dls = TSDataLoaders.from_df(df, split='part', id='who', time='t')
    order = [int(o[1:]) for o in df.who.drop_duplicates()]
    assert all(same(x, xs[i]) for (x,_),i in zip(dls.valid_ds, [i for i in order if i%3==0]))
    assert all(same(x, xs[i]) for (x,_),i in zip(dls.train_ds, [i for i in order if i%3])) and len(dls.train_ds) == 16

def test_wide_frames():
    import pandas as pd
    X,y = some()
    df = pd.DataFrame(X[:,0], columns=[f't{i}' for i in range(12)]).assign(kind=y, fold=['train']*30+['valid']*10)
    dls = TSDataLoaders.from_df(df, label='kind', split='fold')
    assert all(same(x, o[:1]) for (x,_),o in zip([*dls.train_ds, *dls.valid_ds], X)) and len(dls.valid_ds) == 10 and dls.vocab == ['0','1','2']
    names = [f'{c}_{t}' for t in range(12) for c in ('ax','ay')]              # steps of both channels in turns
    df = pd.DataFrame(X.transpose(0,2,1).reshape(40,24), columns=names)[names[::-1]].assign(label=y, ax_mean=0.)
    dls = TSDataLoaders.from_df(df, channels=['ax','ay'], valid_pct=0)
    assert all(same(x, o) for (x,_),o in zip(dls.train_ds, X))
    df = pd.DataFrame(X.reshape(40,24), columns=pd.MultiIndex.from_product([['ax','ay'],range(12)]))
    df['label'] = [*'abcd']*10
    dls = TSDataLoaders.from_df(df, valid_pct=0)
    assert all(same(x, o) for (x,_),o in zip(dls.train_ds, X)) and dls.vocab == [*'abcd']
    assert same(TSDataLoaders.from_df(df, channels='ay', valid_pct=0).train_ds[3][0], X[3,1:])

def test_wide_frames_of_unequal_series():
    import pandas as pd
    df = pd.DataFrame([[1.,2,None],[3,None,None],[4,5,6]]).assign(label=1)
    assert [x.tolist() for x,_ in TSDataLoaders.from_df(df, valid_pct=0).train_ds] == [[[1,2]], [[3]], [[4,5,6]]]
    df.loc[2,1] = None
    with says(ValueError, '1 missing values', 'series 2, channel 0, step 1', 'fill'): TSDataLoaders.from_df(df)
    assert TSDataLoaders.from_df(df, fill='linear', valid_pct=0).train_ds[2][0].tolist() == [[4,5,6]]
    df = df.astype({0:'Float64', 1:'Float64', 2:'Float64'})                   # pandas' own missing value
    assert TSDataLoaders.from_df(df, fill='linear', valid_pct=0).train_ds[0][0].tolist() == [[1,2]]

def test_bad_frames():
    import pandas as pd
    xs,y = uneven()
    df,load = long(xs, y),TSDataLoaders.from_df
    how = dict(id='who', time='t')
    with says(ValueError, 'DataFrame', 'ndarray', '`from_numpy`'): load(np.ones((3,4)))
    with says(ValueError, 'empty'): load(df[:0], **how)
    with says(ValueError, "no column 'lable'", "'label'", '`label=None`'): load(df, label='lable', **how)
    with says(ValueError, "no column 'sid' for `id`"): load(df, id='sid')
    with says(ValueError, "no column 'hour' for `time`"): load(df, id='who', time='hour')
    with says(ValueError, "no column 'az'"): load(df, channels=['ax','az'], **how)
    with says(ValueError, '`id`'): load(df, time='t')
    with says(ValueError, "'label' changes within series s"): load(df.assign(label=[*'ab']*(len(df)//2)+['a']*(len(df)%2)), **how)
    with says(ValueError, "'part' changes within series s"): load(df.assign(part=[i%2 for i in range(len(df))]), split='part', **how)
    with says(ValueError, "must be one of", "'maybe'"): load(df.assign(part='maybe'), split='part', **how)
    with says(ValueError, "'part'", 'empty in row 0'): load(df.assign(part=None), split='part', **how)
    with says(ValueError, "'who'", 'empty in row 3'): load(df.assign(who=df.who.where(df.index!=3)), **how)
    with says(ValueError, "'t'", 'empty in row 3'): load(df.assign(t=df.t.where(df.index!=3)), **how)
    with says(ValueError, 'labels', 'missing'): load(df.assign(label=df.label.where(df.who!='s2')), **how)
    with says(ValueError, "Column 'note' holds", 'not numbers', '`channels`'): load(df.assign(note='x'), **how)
    with says(ValueError, "Column 't' holds", 'not times', 'to_datetime'): load(df.assign(t=df.t.astype(str)), **how)
    with says(ValueError, 'two rows of time 0.0'): load(pd.concat([df, df[df.t==0][:1]]), **how)
    with says(ValueError, 'no column of values'): load(df[['who','t','label']], **how)
    gap = df.assign(ax=df.ax.where((df.who!='s1') | (df.t!=1.)))
    with says(ValueError, '1 missing values', 'channel 0, step 2'): load(gap, **how)
    want = (xs[1][0,1]+xs[1][0,3])/2
    i = [int(o[1:]) for o in gap.who.drop_duplicates()].index(1)
    assert load(gap, fill='linear', valid_pct=0, **how).train_ds[i][0][0,2] == pytest.approx(want, abs=1e-6)
    with says(ValueError, 'same number of steps', '[2, 0]'): load(pd.DataFrame(dict(a0=[1.],a1=[2.],label='x')), channels=['a','b'])
    two = pd.DataFrame([[1.,2.,3.]], columns=pd.MultiIndex.from_tuples([('a',0),('a',1),('b',0)]))
    with says(ValueError, 'same'): load(two, label=None)
