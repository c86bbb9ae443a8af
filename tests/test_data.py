"Loading, batching, scaling and showing series, and the sentences said when something is wrong"
import random, re, subprocess, sys, warnings, zipfile
import numpy as np, pytest, torch
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
from fastai.basics import (CategoryBlock, CrossEntropyLossFlat, DataBlock, DataLoader, DisplayedTransform, ItemGetter, Learner, MultiCategoryBlock,
                           TensorCategory, TensorMultiCategory, load_learner, to_cpu, to_device)
from torch.utils.data import TensorDataset
from tsviz.data import *
from tsviz.data import _url_name
from tsviz.models import inception_time

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

# readers

def test_arff_univariate(tmp_path):
    X,y = read_files(arff(tmp_path/'a.arff', ['1,2,3,1', '4,5,6,2']))
    assert X.dtype == np.float32 and X.tolist() == [[[1,2,3]], [[4,5,6]]] and y.tolist() == ['1','2']

def test_arff_relational_and_quoted_labels(tmp_path):
    f = tmp_path/'a.arff'
    f.write_text("@relation r\n@attribute s relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end s\n@attribute c {'a, b',d}\n@data\n"
                 "'1,2\\n3,4\\n5,6','a, b'\n'7,8\\n9,10\\n11,12',d\n")
    X,y = read_files(f)
    assert X.tolist() == [[[1,2],[3,4],[5,6]], [[7,8],[9,10],[11,12]]] and y.tolist() == ['a, b','d']

def test_ts_keeps_the_case_of_labels(tmp_path):
    X,y = read_files(ts(tmp_path/'a.ts', ['1,2:3,4:Left', '5,6:7,8:Right'], '@classLabel true Left Right', 'false'))
    assert X.tolist() == [[[1,2],[3,4]], [[5,6],[7,8]]] and y.tolist() == ['Left','Right']

def test_ts_of_a_regression(tmp_path):
    _,y = read_files(ts(tmp_path/'a.ts', ['1,2:0.5', '3,4:1.5'], '@targetLabel true'))
    assert y.dtype == np.float32 and y.tolist() == [.5,1.5]

def test_unlabelled_files(tmp_path):
    "Fault 18: unlabelled files crash"
    for f in (arff(tmp_path/'a.arff', ['1,2,3','4,5,6']*8, labels=None), ts(tmp_path/'a.ts', ['1,2,3','4,5,6']*8, '@classLabel false')):
        X,y = read_files(f)
        assert X.shape == (16,1,3) and y is None
        dls = TSDataLoaders.from_files(f)
        assert [o.shape for o in dls.one_batch()] == [(8,1,3)]

def test_readers_agree_with_the_text():
    line = gun[0].read_text().splitlines()
    row = line[line.index('@data')+1]
    X,y = read_files(gun[0])
    np.testing.assert_allclose(X[0,0], [float(o) for o in row.split(':')[0].split(',')], rtol=1e-6)
    assert y[0] == row.split(':')[1] and X.shape == (50,1,150)

def test_a_format_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(readers, '.npy', lambda f: (np.load(f), None))
    np.save(tmp_path/'a.npy', np.ones((3,1,4), dtype=np.float32))
    assert read_files(tmp_path/'a.npy')[0].shape == (3,1,4)

def says(err, *words):
    "The block raises `err` with one sentence that has all `words`"
    class _Says:
        def __enter__(self): return self
        def __exit__(self, typ, e, tb):
            assert typ is not None, 'nothing was raised'
            assert issubclass(typ, err), repr(e)
            assert all(w in str(e) for w in words) and '\n' not in str(e), str(e)
            return True
    return _Says()

def test_bad_files(tmp_path):
    good = arff(tmp_path/'good.arff', ['1,2,3,1']*4)
    (tmp_path/'empty.arff').touch()
    (tmp_path/'noise.arff').write_bytes(bytes(range(256)))
    (tmp_path/'noise.ts').write_bytes(bytes(range(256)))
    (tmp_path/'a.xyz').write_text('1')
    with says(FileNotFoundError, 'goods.arff', "Did you mean 'good.arff'"): read_files(tmp_path/'goods.arff')
    with says(FileNotFoundError, 'nowhere'): read_files(tmp_path/'nowhere'/'a.arff')
    with says(ValueError, 'empty.arff is empty'): read_files(tmp_path/'empty.arff')
    with says(ValueError, 'a.xyz', "['.arff', '.ts']"): read_files(tmp_path/'a.xyz')
    for o in ('noise.arff','noise.ts'):
        with says(ValueError, f'{o} could not be read'): read_files(tmp_path/o)
    with says(ValueError, 'holds no series'): read_files(arff(tmp_path/'none.arff', []))
    with says(ValueError, 'could not be read'): read_files(ts(tmp_path/'bad.ts', ['1,x:a']))
    with says(ValueError, 'no data'): read_files(ts(tmp_path/'bad.ts', []))
    with says(ValueError, 'different lengths, 2 to 3 steps'): read_files(ts(tmp_path/'uneven.ts', ['1,2:a','1,2,3:b']))
    with says(ValueError, 'Files must agree', '1 channels of 3 steps', '1 of 2'):
        read_files([good, arff(tmp_path/'short.arff', ['1,2,1'], steps=2)])
    with says(ValueError, 'Files must agree', '2 of 3'): read_files([good, ts(tmp_path/'two.ts', ['1,2,3:4,5,6:a'], univariate='false')])
    with says(ValueError, 'labels, or none'): read_files([good, arff(tmp_path/'nolabel.arff', ['1,2,3'], labels=None)])
    with says(ValueError, '`fnames` is empty'): read_files([])
    with says(ValueError, 'is a folder'): read_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'xyz\.arff\.$'): read_files(tmp_path/'xyz.arff')         # nothing close
    with pytest.raises(FileNotFoundError) as e: read_files(tmp_path/'a.xyy')
    assert 'a.xyz' not in str(e.value)

def test_labels_that_the_header_lacks(tmp_path):
    head = '@classLabel true 1 2'
    for f in (arff(tmp_path/'a.arff', ['1,2,3,1','4,5,6,?']), ts(tmp_path/'a.ts', ['1,2,3:1','4,5,6:?'], head)):
        with says(ValueError, str(f), 'series 1', "'?'"): read_files(f)
    with says(ValueError, 'series 2', "'9'", '1, 2'): read_files(ts(tmp_path/'a.ts', ['1,2:1','1,2:2','1,2:9'], head))
    with says(ValueError, 'series 0', "''"): read_files(ts(tmp_path/'a.ts', ['1,2:','1,2:2'], head))
    with says(ValueError, 'series 0', "'left'"): read_files(ts(tmp_path/'a.ts', ['1,2:left'], '@classLabel true Left'))
    f = ts(tmp_path/'a.ts', ['1,2:0.5','3,4:?'], '@targetLabel true')
    with says(ValueError, '1 labels in', str(f), 'series 1'): read_files(f)

def test_missing_values_name_the_file(tmp_path):
    good = arff(tmp_path/'good.arff', ['1,2,3,1','4,5,6,2'])
    for bad in (arff(tmp_path/'bad.arff', ['1,2,3,1','4,5,?,2']), ts(tmp_path/'bad.ts', ['1,2,3:1','4,5,?:2'], '@classLabel true 1 2')):
        with says(ValueError, str(bad), 'series 1, channel 0, step 2'): TSDataLoaders.from_files([good, bad])
        X,y = read_files([good, bad], check=False)
        assert np.isnan(X).sum() == 1 and np.isnan(X[3,0,2]) and y.tolist() == ['1','2']*2
    with says(ValueError, 'big.arff', 'too large'): read_files(arff(tmp_path/'big.arff', ['1,2,1e300,1']))

@pytest.mark.parametrize('name', ['u.arff','m.arff','u.ts','m.ts'])
def test_cut_off_files(tmp_path, name):
    "Wherever a file is cut, it is refused in one short sentence, or gives what it still holds in full"
    if name=='m.arff':
        f = tmp_path/name
        f.write_text("@relation r\n@attribute s relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end s\n@attribute c {aa,bb}\n@data\n"
                     "'1,2\\n3,4',aa\n'5,6\\n7,8',bb\n")
    elif name=='u.arff': f = arff(tmp_path/name, ['1,2,3,aa','4,5,6,bb'], labels='aa,bb')
    else: f = ts(tmp_path/name, ['1,2:3,4:aa','5,6:7,8:bb'] if name[0]=='m' else ['1,2:aa','3,4:bb'], '@classLabel true aa bb', str(name[0]=='u').lower())
    text,(X,y) = f.read_text(),read_files(f)
    refused = 0
    for i in range(1, len(text)-1):
        f.write_text(text[:i])
        try: Xi,yi = read_files(f)
        except ValueError as e:
            refused += 1
            assert str(f) in str(e) and '\n' not in str(e) and len(str(e)) < len(str(f))+230 and e.__suppress_context__ | ('holds no' in str(e))
        else: assert np.array_equal(Xi, X[:len(Xi)]) and yi.tolist() == y[:len(yi)].tolist() and 0 < len(Xi) < 3
    assert refused > len(text)/2

# from_files

def test_from_files_valid_pct():
    "Fault 18: `from_files` ignores `valid_pct`"
    for pct,n in ((.2,40), (.5,100), (.1,20)): assert len(TSDataLoaders.from_files(gun, valid_pct=pct).valid_ds) == n

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
    with says(ValueError, 'no class labels'): TSDataLoaders.from_numpy(some()[0], lbl_dict={0:'a'})

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

@pytest.mark.parametrize('kwargs,words', [
    (dict(valid_idx=[40]), ['Index 40', '0 to 39']), (dict(splits=([0,1],[1])), ['Series 1', 'twice']), (dict(valid_pct=1), ['below 1']),
    (dict(valid_idx=[1], splits=([0],[1])), ['not both']), (dict(valid_idx=range(40)), ['No training batch', '0 of 40']),
    (dict(bs=100, drop_last=True), ['No training batch', '`bs` is 100']), (dict(bs=0), ['`bs` must be at least 1'])])
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
    with says(ValueError, '2 NaN or infinite', 'series 3, channel 1, step 4'): load(nan, y)
    with says(ValueError, '1 NaN or infinite', 'series 39, channel 0, step 2'): load(inf, y)
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
    with says(ValueError, 'one length'): load([[1,2],[1]], [1,2])
    with says(ValueError, 'got 39 for 40 series'): load(X, y[1:])
    with says(ValueError, '`y` must be (N,)', '(40, 1)'): load(X, y[:,None])
    with says(ValueError, '2 labels', 'series 0'): load(X, [None,'a',None]+['b']*37)
    with says(ValueError, '1 labels', 'series 1'): load(X, np.where(np.arange(40)==1, np.nan, 1.))
    with says(TypeError, "'num_worker'", "'num_workers'"): load(X, y, num_worker=1)

def test_nan_in_a_file(tmp_path):
    with says(ValueError, '1 NaN', 'series 1, channel 0, step 2'): TSDataLoaders.from_files(arff(tmp_path/'a.arff', ['1,2,3,1', '4,5,?,2']))

def test_test_dl_takes_arrays_tensors_and_items():
    X,y = some()
    dls = TSDataLoaders.from_numpy(X, y)
    for o in (X[:3], torch.tensor(X[:3]), list(X[:3])):
        b = dls.test_dl(o).one_batch()
        assert len(b) == 1 and torch.equal(torch.Tensor(b[0]), torch.tensor(X[:3]))
    xb,yb = dls.test_dl([(X[i],str(y[i])) for i in range(3)], with_labels=True).one_batch()
    assert yb.tolist() == y[:3].tolist()

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

@pytest.mark.parametrize('name', ['GunPoint','BasicMotions','ItalyPowerDemand'])
def test_from_dataset_keeps_the_archives_split(name):
    dls = TSDataLoaders.from_dataset(name)
    for o,ds in zip(('TRAIN','TEST'), (dls.train_ds,dls.valid_ds)):
        X,y = read_files(sets[name]/f'{name}_{o}.ts')
        assert np.array_equal(torch.stack([x for x,_ in ds]).numpy(), X) and [dls.vocab[i] for _,i in ds] == y.tolist()

def test_from_dataset_regression():
    dls = TSDataLoaders.from_dataset('Tecator')
    assert dls.c == 1 and dls.one_batch()[1].dtype == torch.float32

def test_from_dataset_names():
    with says(ValueError, "Did you mean 'GunPoint'"): TSDataLoaders.from_dataset('gunpoint')
    with says(ValueError, 'Unknown set', 'GunPoint'): TSDataLoaders.from_dataset('qqqqqq')
    with says(ValueError, 'does not ship', 'unzip_data(URLs_TS.UNI_BEEF)', 'from_files'): TSDataLoaders.from_dataset('Beef')
    with says(ValueError, 'JapaneseVowels', 'cannot be loaded yet', 'PLAID'): TSDataLoaders.from_dataset('JapaneseVowels')
    with says(ValueError, 'cannot be loaded yet'): TSDataLoaders.from_dataset('CharacterTrajectories')
    assert not {'PLAID','JapaneseVowels'} & {*shipped_sets()}

def test_unknown_set_lists_what_is_shipped_once():
    with pytest.raises(ValueError) as e: TSDataLoaders.from_dataset('zzzzzz')
    names = re.findall(r"'(\w+)'", str(e.value))[1:]
    assert names == list(sets) and len({*names}) == len(names)
    with pytest.raises(ValueError) as e: TSDataLoaders.from_dataset('PLAIDS')
    assert "'PLAID'" not in str(e.value)

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

# pictures

def test_tensor_shows_itself():
    x = TensorTS(torch.arange(12.).view(3,4))
    ax = plt.subplots()[1]
    assert x.show(ctx=ax, chs=[0,2], title='t') is ax and ax.get_title() == 't'
    drawn = [l.get_ydata().tolist() for l in ax.lines]
    assert drawn == x[[0,2]].tolist()
    for chs,n in ((1,1), (slice(1,None),2), (None,3)): assert len(x.show(chs=chs).lines) == n
    with says(ValueError, '(1, 3, 4)'): x[None].show()

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

# the archive

def test_url_names():
    for name,url in dict(GunPoint='UNI_GUN_POINT', ECG200='UNI_ECG200', ECGFiveDays='UNI_ECG_FIVE_DAYS', DodgerLoopDay='UNI_DODGER_LOOP_DAY',
                         Worms='UNI_WORMS', WormsTwoClass='UNI_WORMS_TWO_CLASS', FordA='UNI_FORD_A', PhonemeSpectra='PHONEME_SPECTRA',
                         NATOPS='NATOPS', BasicMotions='BASIC_MOTIONS').items():
        assert _url_name(name) == url and getattr(URLs_TS, url).endswith(f'/{name}.zip')
    assert URLs_TS.PEMS_SF.endswith('/PEMS-SF.zip')

def test_urls_are_completed_and_distinct():
    from sktime.datasets.tsc_dataset_names import univariate, multivariate
    names = [o for o in dir(URLs_TS) if o.isupper()]
    assert len(set(names)) == len(names) == len({getattr(URLs_TS, o) for o in names}) == len({*univariate, *multivariate})
    assert sum(o.startswith('UNI_') for o in names) == len(univariate)
    with says(AttributeError, 'UNI_GUNPOINT', "'UNI_GUN_POINT'"): _ = URLs_TS.UNI_GUNPOINT
    assert not hasattr(URLs_TS, '_ipython_display_')

def make_zip(path, members):
    with zipfile.ZipFile(path, 'w') as z:
        for nm,txt in members.items(): z.writestr(nm, txt)
    return path.as_uri()

def left(d): return sorted(o.name for o in d.iterdir())

@pytest.mark.parametrize('folder', ['', 'Toy/'])
def test_unzip_data(tmp_path, folder):
    d = tmp_path/'data'
    url = make_zip(tmp_path/'Toy.zip', {f'{folder}Toy_TRAIN.arff':'train', f'{folder}Toy_TEST.arff':'test', '__MACOSX/._Toy_TRAIN.arff':''})
    path = unzip_data(url, dest=d)
    assert path == d/'Toy' and (path/'Toy_TRAIN.arff').read_text() == 'train' and left(d) == ['Toy']
    (tmp_path/'Toy.zip').unlink()
    assert unzip_data(url, dest=str(d)) == path                       # cached

@pytest.mark.parametrize('bad', ['../evil.txt', '/tmp/evil.txt', 'a/../../evil.txt', '..\\evil.txt'])
def test_members_outside_are_refused(tmp_path, bad):
    d = tmp_path/'data'
    with says(ValueError, 'would land outside'): unzip_data(make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff':'x', bad:'evil'}), dest=d)
    assert left(tmp_path) == ['Toy.zip']

def test_corrupt_zips_leave_nothing(tmp_path):
    d = tmp_path/'data'
    url = make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff': 'x'*5000, 'Toy_TEST.arff': 'y'})
    good = (tmp_path/'Toy.zip').read_bytes()
    for bad in (b'<html>sign in</html>', good[:len(good)//2], good.replace(b'xxxx', b'zzzz')):
        (tmp_path/'Toy.zip').write_bytes(bad)
        with says(ValueError, 'no readable zip', url): unzip_data(url, dest=d/'deep')
        assert left(tmp_path) == ['Toy.zip']
    d.mkdir()
    with says(ValueError, 'no readable zip'): unzip_data(url, dest=d)
    assert left(tmp_path) == ['Toy.zip','data'] and left(d) == []

def test_no_network_and_no_copy(tmp_path):
    with says(OSError, 'Beef.zip could not be downloaded', 'network'): unzip_data((tmp_path/'Beef.zip').as_uri(), dest=tmp_path/'data')
    assert left(tmp_path) == []
    with says(ValueError, 'name of a zip'): unzip_data('https://example.invalid/', dest=tmp_path)

@pytest.mark.parametrize('name', ['GunPoint','BasicMotions'])
def test_no_network_but_a_copy(tmp_path, name, capsys):
    path = unzip_data((tmp_path/f'{name}.zip').as_uri(), dest=tmp_path/'data')
    assert f'using the copy of {name}' in capsys.readouterr().out
    assert left(path) == [f'{name}_TEST.arff', f'{name}_TRAIN.arff'] and left(tmp_path/'data') == [name]
    for o in ('TRAIN','TEST'):
        (X,y),(X1,y1) = read_files(path/f'{name}_{o}.arff'),read_files(sets[name]/f'{name}_{o}.ts')
        assert np.array_equal(X, X1) and np.array_equal(y, y1)
    dls = TSDataLoaders.from_files([path/f'{name}_TRAIN.arff', path/f'{name}_TEST.arff'])
    assert dls.vocab == sorted(set(y))

def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    import tsviz.data
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(tsviz.data, '_unzip', stop)
    with pytest.raises(KeyboardInterrupt): unzip_data(make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff':'x'}), dest=tmp_path/'data')
    assert left(tmp_path) == ['Toy.zip']

def test_failed_downloads_are_one_short_error(tmp_path, capsys):
    for url in ((tmp_path/'Beef.zip').as_uri(), 'Beef.zip', 'http://localhost:99999/Beef.zip', 'http://a b/Beef.zip'):
        with pytest.raises(OSError) as e: unzip_data(url, dest=tmp_path/'data')
        assert url in str(e.value) and '(' in str(e.value) and e.value.__suppress_context__
    assert capsys.readouterr().out == ''

def test_progress_only_of_what_has_a_known_size(tmp_path, monkeypatch, capsys):
    import tsviz.data
    unzip_data(make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff':'x'}), dest=tmp_path/'data')
    assert capsys.readouterr().out == ''
    seen = []
    class Bar:
        def __init__(self, o): self.total = len(o)
        def update(self, n): seen.append((n, self.total))
    monkeypatch.setattr(tsviz.data, 'progress_bar', Bar)
    url = make_zip(tmp_path/'Big.zip', {'Big_TRAIN.arff':'x'*30000})
    size = (tmp_path/'Big.zip').stat().st_size
    unzip_data(url, dest=tmp_path/'data')
    assert seen[0] == (0,size) and seen[-1] == (size,size) and all(n<=size for n,_ in seen)
    tsviz.data._show_progress(seen, 3, 8192, -1)
    assert seen[-1] == (size,size)

def test_imports_stay_light():
    "Readers and lists of names are imported when they are used"
    code = "import sys, tsviz.data, tsviz.models; print([o for o in ('torchvision','sktime','scipy.io','scipy.signal','captum') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
