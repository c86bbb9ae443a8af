"Every file format in every form, broken files, and what reading costs"
import io, os, random, re, struct, subprocess, sys, time, tracemalloc, warnings, zipfile
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from common import says
from tsviz.archive import shipped_sets
from tsviz.read import as_labels, as_series, fill_missing, fills, read_files, readers, series_lengths

sets = shipped_sets()
nan = np.nan

# files, written independently of the package

def num(v): return '?' if np.isnan(v) else f'{v:.9g}'
def row(ch, sep=','): return sep.join(map(num, ch))
def q(o): return f"'{o}'" if re.search('[ ,]', o) else o
def padded(xs):
    X = np.full((len(xs), len(xs[0]), max(o.shape[1] for o in xs)), nan, np.float32)
    for a,o in zip(X, xs): a[:,:o.shape[1]] = o
    return X

def write_ts(f, xs, y):
    names = '' if y is None else ' '.join(map(q, sorted({*y})))
    head = ['@problemName p', '@timeStamps false', f"@univariate {str(len(xs[0])==1).lower()}",
            '@classLabel '+('false' if y is None else f'true {names}'), '@data']
    f.write_text('\n'.join(head + [':'.join([*map(row, x), *([] if y is None else [q(y[i])])]) for i,x in enumerate(xs)])+'\n')

def write_arff(f, xs, y):
    X = padded(xs)
    steps = [f'@attribute t{i} numeric' for i in range(X.shape[2])]
    if X.shape[1]>1: steps = ['@attribute s relational', *steps, '@end s']
    label = [] if y is None else [f"@attribute c {{{','.join(map(q, sorted({*y})))}}}"]
    cell = lambda x: "'" + r'\n'.join(map(row, x)) + "'" if len(x)>1 else row(x[0])
    f.write_text('\n'.join(['@relation r', *steps, *label, '@data'] + [cell(x)+('' if y is None else ','+q(y[i])) for i,x in enumerate(X)])+'\n')

def write_table(sep):
    def write(f, xs, y):
        f.write_text('\n'.join(sep.join(([] if y is None else [q(y[i])]) + [num(v).replace('?', 'NaN') for v in x[0]]) for i,x in enumerate(padded(xs)))+'\n')
    return write

def write_npy(f, xs, y): np.save(f, padded(xs))
def write_npz(f, xs, y): np.savez(f, X=padded(xs), **({} if y is None else {'y':np.array(y)}))

writers = {'.ts':write_ts, '.arff':write_arff, '.csv':write_table(','), '.tsv':write_table('\t'), '.txt':write_table('  '), '.npy':write_npy, '.npz':write_npz}
tables = ('.csv','.tsv','.txt')

def some(case, seed=0):
    "A list of series (C,T_i) and their labels"
    rng = np.random.default_rng(seed)
    C = 3 if case=='multivariate' else 1
    lens = [7,5,9,6] if case=='unequal' else [7]*4
    xs = [(rng.normal(size=(C,T))*10.**rng.integers(-30,30,(C,T))).astype(np.float32) for T in lens]
    if case=='missing': xs[1][0,2] = xs[2][0,0] = nan
    names = {'numbers':['1','-1','10','1'], 'words':['Left','right','LEFT','Zoë'], 'quoted':['a, b','c','a, c','a, b'], 'unlabelled':None}
    return xs, names.get(case, ['x','y','x','y'])

cases = ['univariate','multivariate','unequal','missing','numbers','words','quoted','unlabelled']

def test_the_table_is_complete(): assert {*writers} == {*readers}

@pytest.mark.parametrize('case', cases)
@pytest.mark.parametrize('suffix', writers)
def test_every_reader_in_every_form(tmp_path, suffix, case):
    "Values come back to the last bit of float32, labels as written; what a format cannot hold is documented here"
    xs,y = some(case)
    f = tmp_path/f'a{suffix}'
    if case=='multivariate' and suffix in tables:            # a table has one channel: the colons of a .ts row are no numbers
        f.write_text('a,1:2,3:4\nb,5:6,7:8\n')
        with says(ValueError, 'could not be read', 'is not a number'): read_files(f)
        return
    writers[suffix](f, xs, y)
    X,y1 = read_files(f, label=None if y is None else 0)
    assert X.dtype==np.float32
    np.testing.assert_array_equal(X, padded(xs))
    assert y1 == (None if suffix=='.npy' else y)             # a .npy file holds no labels
    assert series_lengths(X).tolist() == [o.shape[1] for o in xs]

@pytest.mark.parametrize('suffix', [o for o in writers if o!='.npy'])
def test_targets_of_a_regression(tmp_path, suffix):
    xs,_ = some('univariate')
    y,f = ['0.5','-2','1e-3','7'],tmp_path/f'a{suffix}'
    writers[suffix](f, xs, y)
    if suffix=='.ts': f.write_text(re.sub('@classLabel.*', '@targetLabel true', f.read_text()))
    if suffix=='.arff': f.write_text(re.sub(r'@attribute c .*', '@attribute target numeric', f.read_text()))
    if suffix=='.npz': np.savez(f, X=padded(xs), y=np.array(y, float))
    X,y1 = read_files(f)
    assert isinstance(y1, np.ndarray) and y1.dtype==np.float32 and y1.tolist()==np.array(y, np.float32).tolist()
    np.testing.assert_array_equal(X, padded(xs))

# the same files, read by others

@pytest.mark.parametrize('name', ['GunPoint','BasicMotions','JapaneseVowels','UnitTest','Tecator'])
def test_ts_as_sktime_reads_it(name):
    from sktime.datasets import load_from_tsfile_to_dataframe
    f = sets[name]/f'{name}_TRAIN.ts'
    df,y = load_from_tsfile_to_dataframe(str(f))
    X,y1 = read_files(f)
    np.testing.assert_array_equal(X, padded([np.array([s.to_numpy() for s in o], np.float32) for o in df.to_numpy()]))
    if isinstance(y1, list): assert [o.lower() for o in y1] == y.tolist()
    else: np.testing.assert_array_equal(y1, y.astype(np.float32))

def test_tsv_as_sktime_and_pandas_read_it():
    from sktime.datasets import load_from_ucr_tsv_to_dataframe
    f = sets['ArrowHead']/'ArrowHead_TRAIN.tsv'
    df,y = load_from_ucr_tsv_to_dataframe(str(f))
    X,y1 = read_files(f)
    np.testing.assert_array_equal(X[:,0], pd.read_csv(f, sep='\t', header=None).to_numpy()[:,1:].astype(np.float32))
    np.testing.assert_array_equal(X[:,0], np.array([o.to_numpy() for o in df.iloc[:,0]], np.float32))
    assert y1 == [str(o) for o in y]
    np.testing.assert_allclose(X, read_files(f.with_suffix('.ts'))[0], rtol=1e-6)      # the set is shipped in both formats

@pytest.mark.parametrize('case', ['univariate','multivariate','missing','words'])
def test_arff_as_scipy_reads_it(tmp_path, case):
    from scipy.io.arff import loadarff
    xs,y = some(case)
    if case=='words': y = ['Left','right','LEFT','z']                          # scipy decodes no Zoë
    write_arff(f := tmp_path/'a.arff', xs, y)
    rows,meta = loadarff(str(f))
    X,y1 = read_files(f)
    *cols,last = meta.names()
    ref = np.array(rows[cols].tolist(), float)[:,None] if len(xs[0])==1 else np.array([[list(ch) for ch in o.tolist()] for o in rows['s']])
    np.testing.assert_array_equal(X, ref.astype(np.float32))
    assert y1 == [o.decode() for o in rows[last]]

def test_other_readers_err_where_the_text_says_so(tmp_path):
    from sktime.datasets import load_basic_motions, load_from_arff_to_dataframe, load_from_tsfile
    write_ts(f := tmp_path/'a.ts', *some('words'))
    assert load_from_tsfile(str(f))[1].tolist() == ['left','right','left','zoë'] and read_files(f)[1] == some('words')[1]
    write_arff(f := tmp_path/'a.arff', *some('quoted'))
    with pytest.raises(Exception): load_from_arff_to_dataframe(str(f))                # noqa: B017
    assert read_files(f)[1] == some('quoted')[1]
    assert load_basic_motions(return_type='numpy2D')[0].shape == (80,600)

# .ts

def test_ts_headers_in_any_order_and_case(tmp_path):
    (f := tmp_path/'a.ts').write_text('\n'.join(['# remark', '% another', '@CLASSLABEL TRUE a "b c"', '@equalLength false', '@TimeStamps False',
                                                  '@unknown x', '',
                                                  '@Data', '1,2:a', '# between', '', '3: "b c" ']))
    X,y = read_files(f)
    np.testing.assert_array_equal(X, [[[1,2]],[[3,nan]]])
    assert y == ['a','b c']

@pytest.mark.parametrize('stamp', [lambda t: t, lambda t: f'{t/2}', lambda t: f'2024-03-01 10:0{t}:30', lambda t: f' 2024-03-0{t+1} '])
def test_ts_time_stamps(tmp_path, stamp):
    "The order of the values is kept, whatever the stamps say"
    pair = lambda vs: ','.join(f'({stamp(t)},{v})' for t,v in enumerate(vs))
    (f := tmp_path/'a.ts').write_text('@timeStamps true\n@classLabel true a b\n@data\n'
                                      f'{pair([3,1,2])}:{pair([6,"?",4])}:a\n{pair([7,8])} : {pair([9,"NaN"])}:b\n')
    X,y = read_files(f)
    np.testing.assert_array_equal(X, [[[3,1,2],[6,nan,4]], [[7,8,nan],[9,nan,nan]]])
    assert y == ['a','b']
    (f := tmp_path/'b.ts').write_text(f'@timeStamps true\n@data\n{pair([3,1,2])}:{pair([6,5,4])}\n')
    assert read_files(f)[0].tolist() == [[[3,1,2],[6,5,4]]] and read_files(f)[1] is None

def test_ts_of_channels_that_end_early(tmp_path):
    (f := tmp_path/'a.ts').write_text('@data\n1,2,3:4\n5:6\n')
    X,_ = read_files(f)
    np.testing.assert_array_equal(X, [[[1,2,3],[4,nan,nan]], [[5,nan,nan],[6,nan,nan]]])
    assert series_lengths(X).tolist() == [3,1]

@pytest.mark.parametrize('text,words', [
    ('@classLabel true a\n1,2:a\n', ['line 2', 'before `@data`']), ('@classLabel true a\n', ['no `@data`']),
    ('@classLabel perhaps\n@data\n1,2\n', ['true or false', 'perhaps']),
    ('@classLabel true a\n@data\n1,2\n', ['series 0 has no label']), ('@classLabel true a\n@data\n1,2:b\n', ["label 'b'"]),
    ('@data\n1,x\n', ["'x' is not a number"]),
    ('@data\n1,2:3\n1,2\n', ['series 1 has 1 channels']), ('@data\n1,2:\n', ['not a number']), ('@dimensions 3\n@data\n1:2\n', ['3 dimensions', 'have 2']),
    ('@equalLength true\n@data\n1,2\n1\n', ['lengths differ']), ('@data\n1,2\n\0\n', ['zero byte']), ('@timestamps true\n@data\n1,2)\n', ['is not a number']),
    ('@targetLabel true\n@data\n1,2\n', ['series 0 has no label']), ('@targetLabel true\n@data\n1,2:a\n', ["'a' is not a number"])])
def test_ts_that_is_wrong(tmp_path, text, words):
    (f := tmp_path/'a.ts').write_text(text)
    if words==['not a number']:                              # an empty channel is a channel whose one value is missing
        np.testing.assert_array_equal(read_files(f)[0], [[[1,2],[nan,nan]]])
    else:
        with says(ValueError, str(f), *words): read_files(f)

# .arff

def test_arff_in_other_words(tmp_path):
    "Case, quotes, escapes, comments and types of the header"
    (f := tmp_path/'a.arff').write_text('% remark\n@RELATION "a b"\n\n'
                                        '@ATTRIBUTE \'t 0\' REAL\n@attribute t1\tinteger\n@Attribute class { \'it\\\'s\' , "b,c",d }\n@DATA\n'
                                        "1 , 2 , 'it\\'s'\n% between\n3,4,\"b,c\"\n5,6,d\n")
    X,y = read_files(f)
    assert X.tolist() == [[[1,2]],[[3,4]],[[5,6]]] and y == ["it's",'b,c','d']

def test_arff_numbers_to_predict(tmp_path):
    head = '@relation r\n@attribute s relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end s\n@attribute oxygen numeric\n@data\n'
    (f := tmp_path/'a.arff').write_text(head+"'1,2\\n3,4',0.5\n\"5,6\\n7,8\",1.5\n")
    X,y = read_files(f)
    assert X.tolist() == [[[1,2],[3,4]],[[5,6],[7,8]]] and y.tolist() == [.5,1.5]
    (f := tmp_path/'b.arff').write_text('@relation r\n@attribute t0 numeric\n@attribute t1 numeric\n@data\n1,2\n3,4\n')
    assert read_files(f)[0].tolist() == [[[1,2]],[[3,4]]] and read_files(f)[1] is None

@pytest.mark.parametrize('text,words', [
    ('@attribute a numeric\n@attribute c {x}\n@data\n1,2,x\n', ['2 steps', 'names 1']),
    ('@attribute a numeric\n@attribute c {x}\n@data\n{0 1, 1 x}\n', ['sparse']),
    ('@attribute a string\n@attribute b numeric\n@data\nx,1\n', ['must be numeric']), ('@attribute a date\n@data\n', ["'date'", 'must be numeric']),
    ('@attribute a numeric\n@attribute c {x\n@data\n1,x\n', ['does not end']), ('@data\n1\n', ['names no attribute']),
    ('@attribute a\n@data\n', ['no type']), ('1,2\n', ['no part of a header']),
    ('@attribute s relational\n@attribute a numeric\n@end s\n@attribute c {x}\n@data\n1,x\n', ['in quotes']),
    ("@attribute s relational\n@attribute a numeric\n@end s\n@attribute c {x}\n@data\n'1\\n2',x\n'1',x\n", ['series 1 has 1 channels'])])
def test_arff_that_is_wrong(tmp_path, text, words):
    (f := tmp_path/'a.arff').write_text('@relation r\n'*(text[0]=='@')+text)
    with says(ValueError, str(f), *words): read_files(f)

# tables

@pytest.mark.parametrize('text,label,X,y', [
    ('  1.0000000e+00   1.5  -2e-1\n  2.0000000e+00 3 4\n', 0, [[1.5,-.2],[3,4]], ['1','2']),       # UCR 2015
    ('1,2,3\n\n2,4,5\n', 0, [[2,3],[4,5]], ['1','2']), ('a\t1\t\t3\nb\t4\t5\t\n', 0, [[1,nan,3],[4,5,nan]], ['a','b']),
    ('"say ""hi"", you",1\n\'b\',2\n', 0, [[1],[2]], ['say "hi", you','b']), ('a b;1;2\nc;3;4\n', 0, [[1,2],[3,4]], ['a b','c']),
    ('class,t0,t1\nx,1,2\n', 0, [[1,2]], ['x']), ('label,0,1\n1,5,6\n', 0, [[5,6]], ['1']), ('t0,t1,y\n1,2,x\n3,4,"y, z"\n', -1, [[1,2],[3,4]], ['x','y, z']),
    ('t0,t1\n1,2\n', None, [[1,2]], None), ('1 2\n3 4\n', None, [[1,2],[3,4]], None), ('1 2 a\n3 4 "b c"\n', -1, [[1,2],[3,4]], ['a','b c']),
    ('\ufeff1,2,3\r\n2,4,?\r\n', 0, [[2,3],[4,nan]], ['1','2']), ('1,"2","3"\n', 0, [[2,3]], ['1']), ('1,2 , 3\n', 0, [[2,3]], ['1']),
    ('-1,1, ,2\n', 0, [[1,nan,2]], ['-1'])])
@pytest.mark.parametrize('suffix', tables)
def test_tables(tmp_path, suffix, text, label, X, y):
    (f := tmp_path/f'a{suffix}').write_bytes(text.encode())
    X1,y1 = read_files(f, label=label)
    np.testing.assert_array_equal(X1[:,0], np.array(X, np.float32))
    assert y1 == y

@pytest.mark.parametrize('text,words', [
    ('a,1,2\nb,1\n', ['line 2 has 1 values', 'have 2', 'NaN']), ('a,1,x\n', ["'x' is not a number"]), ('a,b,c\n', ['no series']), ('a,b,c\nd,e,f\n', ["'e'"]),
    ('1,2,a\n3,4,b\n', ["'a'", '`label=-1`']), ('0,1,label\n3,4,b\n', ["'label'", '`label=-1`']),
    (',1,2\n', ['series 0 has no label']), ('a,1\n?,2\n', ['series 1 has no label']), ('a;1,5;2,5\n', ['commas', 'decimal points']),
    ('"a" b,1\n', ['quoted label']), ('a,1\na,1_0\n', ['1_0'])])
def test_tables_that_are_wrong(tmp_path, text, words):
    (f := tmp_path/'a.csv').write_text(text)
    with says(ValueError, str(f), *words): read_files(f)

@pytest.mark.parametrize('text', [',0,1,label\n0,.5,.6,a\n', ',t0,t1,label\n0,.5,.6,a\n', '"","t0","t1","label"\n"1",.5,.6,"a"\n'])
def test_row_numbers_are_no_step(tmp_path, text):
    "As pandas and R write a frame: the numbers of the rows in front, below no name"
    (f := tmp_path/'a.csv').write_text(text)
    with says(ValueError, str(f), 'index=False'): read_files(f, label=-1)
    with says(ValueError, str(f)): read_files(f)
    (f := tmp_path/'b.csv').write_text(',0,5,a\n3,4,5,b\n')                  # a first step that is missing is one
    np.testing.assert_array_equal(read_files(f, label=-1)[0], [[[nan,0,5]],[[3,4,5]]])

def test_where_the_label_is_must_be_said_rightly(tmp_path):
    (f := tmp_path/'a.csv').write_text('1,2,3\n')
    for label in (1,'class',-2): 
        with says(ValueError, '`label` must be 0', repr(label)): read_files(f, label)

# arrays

@pytest.mark.parametrize('dtype', ['f4','f8','>f4','f2','i2','u1','?','>i8'])
@pytest.mark.parametrize('order', ['C','F'])
def test_npy_of_any_numbers(tmp_path, dtype, order):
    X = np.array(np.random.default_rng(0).integers(0, 2, (5,3,4)), dtype=dtype, order=order)
    np.save(tmp_path/'a.npy', X)
    X1,y = read_files(tmp_path/'a.npy')
    np.testing.assert_array_equal(X1, X.astype('f4'))
    assert X1.flags.c_contiguous and y is None
    np.save(tmp_path/'a.npy', X[:,0])
    assert read_files(tmp_path/'a.npy')[0].shape == (5,1,4)

def test_many_values_cross_the_pieces(tmp_path):
    X = np.random.default_rng(0).normal(size=(3,2,5001))
    np.save(tmp_path/'a.npy', X)
    np.savez_compressed(tmp_path/'a.npz', X=X)
    for o in ('npy','npz'): np.testing.assert_array_equal(read_files(tmp_path/f'a.{o}')[0], X.astype('f4'))

def npy(shape, descr='<f4', data=b'\0'*48, version=1):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()+b'\n'
    return b'\x93NUMPY'+bytes([version,0])+(struct.pack('<H', len(head)) if version==1 else struct.pack('<I', len(head)))+head+data

@pytest.mark.parametrize('data,words', [
    (npy('(10000000000, 1000, 1000)'), ['4 bytes', '48 bytes']), (npy('(3, 5)'), ['(3, 5)']), (npy('(3, 3)'), ['48 bytes']), (npy('(12,)'),
    ['(N,C,T)', '(12,)']),
    (npy('(3, 4)', '|O'), ['plain array']), (npy('(3, 2)', '<c8'), ["'c'", 'no real numbers']), (npy('(3, 4)', '<U1'), ["'U'"]),
    (b'hello'*9, ['begin like']), (npy('(0, 4)', data=b''), ['none of them 0']),
    (npy('(3, 4)', version=2)[:12]+b'\xff'*20, ['header']), (npy('(-3, -4)'), ['header'])])
def test_npy_that_is_wrong(tmp_path, data, words):
    (f := tmp_path/'a.npy').write_bytes(data)
    tracemalloc.start()
    try:
        with says(ValueError, str(f), *words): read_files(f)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally: tracemalloc.stop()

def test_npy_versions(tmp_path):
    for v in (1,2):
        (f := tmp_path/'a.npy').write_bytes(npy('(3, 4)', version=v, data=np.arange(12, dtype='f4').tobytes()))
        assert read_files(f)[0].tolist() == np.arange(12).reshape(3,1,4).tolist()

class Evil:
    def __reduce__(self): return os.mkdir, ('evil',)

def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save('a.npy', np.array([[Evil(),1.]], dtype=object), allow_pickle=True)
    np.savez('a.npz', X=np.ones((1,2)), y=np.array([Evil()], dtype=object))
    for o in ('a.npy','a.npz'):
        with says(ValueError, 'no Python objects'): read_files(o)
    assert not (tmp_path/'evil').exists()

@pytest.mark.parametrize('keys,y', [
    (dict(X='X', y='y'), 1), (dict(X='x', y='y'), 1), (dict(X='data', y='labels'), 1), (dict(X='X', y='labels'), 1), (dict(X='arr_0', y='arr_1'), 1),
    (dict(X='X', y='other'), 0)])
def test_npz_by_any_name(tmp_path, keys, y):
    X = np.random.default_rng(0).normal(size=(3,2,4)).astype('f4')
    np.savez(tmp_path/'a.npz', **{keys['X']:X, keys['y']:['a','b','a']})
    X1,y1 = read_files(tmp_path/'a.npz')
    np.testing.assert_array_equal(X1, X)
    assert y1 == (['a','b','a'] if y else None)

def test_npz_in_parts_and_wrong_ones(tmp_path):
    X,f = np.arange(12.).reshape(3,4),tmp_path/'a.npz'
    np.savez(f, y_test=[3], X_test=X[2:], X_train=X[:2], y_train=[1,2])
    X1,y = read_files(f)
    assert X1[:,0].tolist() == X.tolist() and y == ['1','2','3']
    np.savez(f, Z=X)
    with says(ValueError, 'no array `X`', 'but Z'): read_files(f)
    np.savez(f, X=X, y=[1,2])
    with says(ValueError, '2 labels for 3 series'): read_files(f)
    np.savez(f, X_train=X[:2], y_train=[1,2], X_test=X[2:])
    with says(ValueError, 'labels, or none', 'X_train', 'X_test'): read_files(f)
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('X.npy', npy('(2000000, 1000)', data=b'\0'*100))
    raw = bytearray(f.read_bytes())
    i = raw.index(b'PK\1\2')
    raw[i+24:i+28] = struct.pack('<I', 2**31)                # the directory claims 2 GB
    f.write_bytes(raw)
    tracemalloc.start()
    try:
        with says(ValueError, 'claims 2147483648 bytes'): read_files(f)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally: tracemalloc.stop()

# several files, and files that are wrong

def test_files_one_after_the_other(tmp_path):
    (X,y),(X1,y1) = [read_files(sets['PLAID']/f'PLAID_{o}.ts') for o in ('TRAIN','TEST')]
    X2,y2 = read_files(sets['PLAID']/f'PLAID_{o}.ts' for o in ('TRAIN','TEST'))
    assert X2.shape == (len(X)+len(X1), 1, max(X.shape[2], X1.shape[2])) and y2 == y+y1 and X.shape[2] != X1.shape[2]
    np.testing.assert_array_equal(X2[:len(X),:,:X.shape[2]], X)
    np.testing.assert_array_equal(series_lengths(X2), np.concatenate([series_lengths(X), series_lengths(X1)]))
    for o in (str(sets['GunPoint']/'GunPoint_TRAIN.ts'), sets['GunPoint']/'GunPoint_TRAIN.ts'): assert read_files(o)[0].shape == (50,1,150)

def test_a_format_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(readers, '.dat', lambda f: (np.fromfile(f).reshape(3,-1), ['a','b','c']))
    np.arange(12.).tofile(tmp_path/'a.dat')
    X,y = read_files(tmp_path/'a.dat')
    assert X.shape == (3,1,4) and X.dtype == np.float32 and y == ['a','b','c']

def test_files_that_are_wrong(tmp_path):
    write_arff(good := tmp_path/'good.arff', *some('univariate'))
    (tmp_path/'empty.arff').touch()
    for o in readers: (tmp_path/f'noise{o}').write_bytes(bytes(range(256)))
    (tmp_path/'a.xyz').write_text('1')
    (tmp_path/'none.arff').write_text('@relation r\n@attribute a numeric\n@data\n')
    (tmp_path/'none.ts').write_text('@classLabel true a\n@data\n')
    (tmp_path/'big.arff').write_text('@relation r\n@attribute a numeric\n@attribute b numeric\n@data\n1,1e300\n')
    (tmp_path/'nothing.csv').write_text('a,1,2\nb,?,NaN\n')
    (tmp_path/'latin.csv').write_bytes('é,1,2\n'.encode('latin-1'))
    with says(FileNotFoundError, 'goods.arff', "Did you mean 'good.arff'"): read_files(tmp_path/'goods.arff')
    with says(FileNotFoundError, 'nowhere'): read_files(tmp_path/'nowhere'/'a.arff')
    with says(ValueError, 'empty.arff is empty'): read_files(tmp_path/'empty.arff')
    with says(ValueError, 'a.xyz', "['.arff', '.ts'", '.npz'): read_files(tmp_path/'a.xyz')
    for o in readers:
        with says(ValueError, f'noise{o} could not be read as {o}'): read_files(tmp_path/f'noise{o}')
    for o in ('none.arff','none.ts'):
        with says(ValueError, o, 'holds no series'): read_files(tmp_path/o)
    with says(ValueError, 'big.arff', 'too large for float32', 'step 1'): read_files(tmp_path/'big.arff')
    with says(ValueError, 'Series 1 of', 'nothing.csv', 'no value'): read_files(tmp_path/'nothing.csv')
    with says(ValueError, 'latin.csv', 'utf-8'): read_files(tmp_path/'latin.csv')
    with says(ValueError, '`fnames` is empty'): read_files([])
    with says(ValueError, 'is a folder'): read_files(tmp_path)
    write_ts(two := tmp_path/'two.ts', *some('multivariate'))
    write_ts(bare := tmp_path/'bare.ts', *some('unlabelled'))
    with says(ValueError, 'Channels must agree', f'{good} has 1', f'{two} has 3'): read_files([good, two])
    with says(ValueError, 'labels, or none', str(good), str(bare)): read_files([good, bare])
    with pytest.raises(FileNotFoundError, match=r'xyz\.arff\.$'): read_files(tmp_path/'xyz.arff')         # nothing close
    with pytest.raises(FileNotFoundError) as e: read_files(tmp_path/'a.xyy')
    assert 'a.xyz' not in str(e.value)

@pytest.mark.skipif(os.name!='posix' or os.geteuid()==0, reason='root may read everything')
def test_a_file_that_may_not_be_read(tmp_path):
    (f := tmp_path/'a.csv').write_text('a,1\n')
    f.chmod(0)
    with says(PermissionError, str(f)): read_files(f)

@pytest.mark.parametrize('name', ['u.arff','m.arff','u.ts','m.ts'])
def test_cut_off_files(tmp_path, name):
    "Wherever a file is cut, it is refused in one short sentence, or gives what it still holds in full"
    xs,y = [np.array(o, np.float32)[:1 if name[0]=='u' else 2] for o in ([[1,2],[3,4]], [[5,6],[7,8]])],['aa','bb']
    writers[name[1:]](f := tmp_path/name, xs, y)
    text,(X,_) = f.read_text(),read_files(f)
    refused = 0
    for i in range(1, len(text)-1):
        f.write_text(text[:i])
        try: Xi,yi = read_files(f)
        except ValueError as e:
            refused += 1
            assert str(f) in str(e) and '\n' not in str(e) and len(str(e)) < len(str(f))+230 and e.__suppress_context__ | ('holds no' in str(e))
        else: assert np.array_equal(Xi, X[:len(Xi)]) and yi == y[:len(yi)] and 0 < len(Xi) < 3
    assert refused > len(text)/2

def test_labels_that_the_header_lacks(tmp_path):
    for suffix in ('.arff','.ts'):
        writers[suffix](f := tmp_path/f'a{suffix}', *some('words'))
        text = f.read_text()
        for bad in ('?','left'):
            f.write_text(re.sub('(?<=[,:])right$', bad, text, flags=re.M))
            with says(ValueError, str(f), 'series 1', repr(bad), 'Left'): read_files(f)

def test_npy_header_longer_than_what_is_read(tmp_path):
    "Its blanks are no values; a header that is cut off is no header"
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"
    for n,text in ((20_000, head.ljust(20_000)), (500, head)):
        (f := tmp_path/'a.npy').write_bytes(b'\x93NUMPY\x02\0'+n.to_bytes(4, 'little')+text+np.ones(3, 'f4').tobytes()*(n>500))
        with says(ValueError, str(f), 'its header'): read_files(f)

def test_labels_of_bytes_that_are_no_utf8(tmp_path):
    np.savez(f := tmp_path/'a.npz', X=np.ones((2,3)), y=[b'caf\xe9',b'caf\xe8'])
    assert read_files(f)[1] == [r'caf\xe9', r'caf\xe8']
    np.savez(f, X=np.ones((2,3)), y=np.array(1))
    with says(ValueError, str(f), '1 labels for 2 series'): read_files(f)

def test_labels_left_out_where_the_header_names_none(tmp_path):
    for suffix,head,sep in (('.ts', '@classLabel true\n@data\n', ':'), ('.arff', '@attribute t numeric\n@attribute c string\n@data\n', ',')):
        for label in ('','?'):
            (f := tmp_path/f'a{suffix}').write_text(f'{head}1{sep}a\n2{sep}{label}\n')
            with says(ValueError, str(f), 'series 1 has no label'): read_files(f)

# fuzz

def mutants(rng, data, others):
    "Endless mutations of the bytes `data`"
    while True:
        b = bytearray(data)
        for _ in range(rng.choice([1,1,1,2,4])):
            i,j = sorted(rng.randrange(len(b)+1) for _ in range(2))
            j = min(j, i+rng.choice([1,4,40]))
            how = rng.randrange(9)
            if how==0 and b: b[i%len(b)] ^= 1<<rng.randrange(8)
            elif how==1: del b[i:j]
            elif how==2: b[i:i] = b[i:j]*rng.choice([1,2,50])
            elif how==3: del b[i:]
            elif how==4:
                lines = bytes(b).split(b'\n')
                k,l = rng.randrange(len(lines)),rng.randrange(len(lines))
                lines[k],lines[l] = lines[l],lines[k]
                b = bytearray(b'\n'.join(lines))
            elif how==5: b = bytearray(re.sub(rb'\d+',
            lambda m: rng.choice([b'9'*30, b'1e999', b'-1', b'0', m[0], m[0]]), bytes(b), count=rng.choice([1,3,20])))
            elif how==6:
                b[i:j] = rng.choice([*[bytes([o]) for o in b',:\'"\n()?{}\0\xff'], b'@data', b'\\n', b' '*3000, b':'*3000, b'('*3000, b'"'*3000])
            elif how==7: b[i:j] = (o := rng.choice(others))[(k := rng.randrange(len(o))):k+rng.choice([4,40])]
            elif b: b[i%len(b)] = rng.randrange(256)
        yield bytes(b)

def seeds(d):
    "Small valid files of every format"
    for suffix,write in writers.items():
        for case in cases:
            if case=='multivariate' and suffix in tables: continue
            write(f := d/f'{case}{suffix}', *some(case))
            yield suffix,f.read_bytes()
    stamps = '@problemName p\n@timeStamps true\n@targetLabel true\n@data\n'
    stamps += '(2024-01-01 10:00:00,1),(2024-01-01 10:00:01,?):(0,4),(1,5):3.5\n(0,1),(1,2):(0,3),(1,4):1\n'
    yield '.ts',stamps.encode()
    np.savez_compressed(buf := io.BytesIO(), X_train=np.ones((2,3,4)), y_train=['a','b'], X_test=np.ones((1,3,4)), y_test=['b'])
    yield '.npz',buf.getvalue()

def test_fuzzed_files(tmp_path):
    "2,000 broken files: a result, or one sentence; no warning, no long wait, no giant array"
    rng,files = random.Random(0),[*seeds(tmp_path)]
    per,n,n_ok,slowest,most = 2000//len(files)+1,0,0,0.,0
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            for suffix,data in files:
                f = tmp_path/f'fuzz{suffix}'
                for _,b in zip(range(per), mutants(rng, data, [o for _,o in files])):
                    f.write_bytes(b)
                    tracemalloc.reset_peak()
                    start = time.process_time()
                    try:
                        X,y = read_files(f, label=rng.choice([0,0,-1,None]))
                        assert X.dtype==np.float32 and X.ndim==3 and np.isfinite(X).any((1,2)).all() and not np.isinf(X).any()
                        assert y is None or len(y)==len(X) and (y.dtype==np.float32 if isinstance(y, np.ndarray) else all(isinstance(o, str) for o in y))
                        n_ok += 1
                    except (ValueError, OSError) as e:
                        assert type(e) is ValueError and str(f) in str(e) and '\n' not in str(e) and len(str(e)) < len(str(f))+260, repr(e)
                    slowest,most,n = max(slowest, time.process_time()-start),max(most, tracemalloc.get_traced_memory()[1]),n+1
    finally: tracemalloc.stop()
    assert n>=2000 and n_ok>100 and n-n_ok>500 and slowest<2 and most<20e6, (n, n_ok, slowest, most)

@pytest.mark.parametrize('junk', [':', '(', ')', '):', "'", '"', "'\\", '\\', ',', ', ', ' ', '\t', '{', '(,', '1:', '"",', '?', '?,'])
def test_long_lines_of_junk_take_no_time(tmp_path, junk):
    "Doubling a line must not make reading it four times as long: counted in time of this process, generously"
    line = junk*(40_000//len(junk))
    heads = {'.ts':['@timeStamps true\n@classLabel true a\n@data\n', '@data\n'], '.csv':['', 'a,1\n'], '.txt':['1 2\n'],
             '.arff':['@relation r\n@attribute s relational\n@attribute a numeric\n@end s\n@attribute c {x}\n@data\n',
                     '@relation r\n@attribute a numeric\n@attribute c {', '@attribute ']}
    for suffix,hs in heads.items():
        for h in hs:
            for end in ('','x',':a','\n@data\n1\n'):
                (f := tmp_path/f'a{suffix}').write_text(h+line+end)
                start = time.process_time()
                try: read_files(f)
                except ValueError as e: assert len(str(e)) < len(str(f))+260
                assert time.process_time()-start < 2, (suffix, h, end)

# what it costs

def peak(f, *args):
    "Bytes allocated at the peak of a call, above what was there"
    tracemalloc.start()
    try:
        f(*args)
        return tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()

@pytest.fixture(scope='module')
def big(tmp_path_factory):
    "A set of 60 series of 800 steps in every format, one of 6 channels, and one of unequal lengths"
    d,rng,res = tmp_path_factory.mktemp('big'),np.random.default_rng(0),{}
    for name,xs in dict(univariate=[*rng.normal(size=(60,1,800)).astype('f4')], multivariate=[*rng.normal(size=(20,6,400)).astype('f4')],
                        unequal=[rng.normal(size=(1,n)).astype('f4') for n in rng.integers(400, 800, 60)],
                        short=[*rng.normal(size=(1200,1,24)).astype('f4')]).items():
        for suffix,write in writers.items():
            if name=='multivariate' and suffix in tables or name in ('unequal','short') and suffix not in ('.ts','.csv','.npz'): continue
            write(d/f'{name}{suffix}', xs, [str(i%3) for i in range(len(xs))])
            res[name,suffix] = d/f'{name}{suffix}', padded(xs).nbytes
    return res

@pytest.mark.parametrize('name', ['univariate','multivariate','unequal','short'])
def test_reading_takes_three_times_the_array_at_most(big, name):
    for (o,suffix),(f,size) in big.items():
        if o!=name: continue
        read_files(f)                                        # imports and caches
        assert (most := peak(read_files, f)) <= 3*size, (suffix, most/size)
    if name=='univariate':                                   # the measure sees what others need
        from scipy.io.arff import loadarff
        f,size = big[name,'.arff']
        assert peak(loadarff, str(f)) > 6*size

def test_several_files_take_no_more(big):
    (f,size),(g,_) = big['univariate','.ts'],big['univariate','.npy']
    f2 = f.with_name('bare.npy')
    np.save(f2, read_files(f)[0])
    assert peak(read_files, [f2, g, f2]) <= 3*3*size

def test_what_is_in_form_is_not_copied():
    X = np.random.default_rng(0).normal(size=(50,2,1000)).astype('f4')
    assert as_series(X) is X and fill_missing(X) is X and np.shares_memory(as_series(X[:,0]), X)
    t = torch.tensor(X)
    assert np.shares_memory(as_series(t), t.numpy())
    assert peak(as_series, X) < X.nbytes/2
    padded_X = X.copy()
    padded_X[3,:,500:] = nan
    assert fill_missing(padded_X) is padded_X

# the form

@pytest.mark.parametrize('make', [np.asarray, torch.tensor, lambda o: o.tolist(), lambda o: [*o], lambda o: (*map(torch.tensor, o),),
    lambda o: o.astype(object),
                                  lambda o: np.asfortranarray(o), lambda o: torch.tensor(o).requires_grad_(), lambda o: np.ma.masked_array(o)])
def test_series_of_any_kind(make):
    X = np.random.default_rng(0).normal(size=(4,3,5)).astype('f4')
    np.testing.assert_array_equal(as_series(make(X)), X)
    np.testing.assert_array_equal(as_series(make(X[:,0])), X[:,:1])
    assert as_series(make(X)).dtype == np.float32

def test_more_kinds_of_series():
    assert as_series([[1,2,3],[4]]).tolist()[0] == [[1,2,3]] and np.isnan(as_series([[1,2,3],[4]])[1,0,1:]).all()
    ragged = np.empty(2, object)
    ragged[:] = [np.ones((2,3)), np.zeros((2,5), int)]
    assert series_lengths(as_series(ragged)).tolist() == [3,5]
    assert as_series(torch.ones(2,3, dtype=torch.bfloat16)).dtype == np.float32 and as_series(np.ones((2,3), bool)).tolist() == [[[1,1,1]]]*2
    assert np.isnan(as_series(np.ma.masked_equal([[1,2,3]], 2))).tolist() == [[[False,True,False]]]
    assert as_series(pd.DataFrame(np.ones((2,3)))).shape == (2,1,3)

@pytest.mark.parametrize('X,words', [
    (np.ones(3), ['(N,C,T) or (N,T)', '(3,)']), (np.ones((1,2,3,4)), ['(1, 2, 3, 4)']), (np.ones((0,2,3)), ['(0, 2, 3)']), ([], ['empty']),
    ([1,2], ['() for series 0']),
    ([[1,2],[]], ['(0,) for series 1']), ([[1],[[1],[2]]], ['Channels must agree', '1', '2']), ([['a','b']], ['Series 0', 'real numbers']),
    (np.array([['1','2']]), ['real numbers']),
    (np.ones((2,3))*1j, ['real numbers']), (torch.ones(2,3)*1j, ['real numbers']), ([[[1,2],[3]]], ['Series 0', 'of one length']),
    (np.array([['2024-01-01']], dtype='M8[D]'), ['real numbers']),
    ([[1,2],[3,np.inf]], ['series 1, channel 0, step 1']), (np.array([[1,-np.inf]]), ['series 0, channel 0, step 1']),
    ([[1,2],[1e39]], ['1e+39', 'float32']), (np.array([[-1e300]]), ['1e+300']),
    ([[1,2],[nan,nan]], ['Series 1', 'no value']), (np.full((2,2,3), nan), ['Series 0']), ({}, ['real numbers']), ('abc', ['real numbers']),
    (None, ['(N,C,T)'])])
def test_series_that_are_none(X, words):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with says(ValueError, 'name', *words): as_series(X, 'name')

@pytest.mark.parametrize('y,res', [([1,2], ['1','2']), (np.array([True,False]), ['True','False']), (['a',b'b'], ['a','b']), (torch.tensor([3,4]),
    ['3','4']), (pd.Series(['a','b'], dtype='category'), ['a','b']),
                                   (pd.Series([1,2], index=[5,6]), ['1','2']), ((np.str_('a'),'b'), ['a','b'])])
def test_labels_of_any_kind(y, res):
    y = as_labels(y, 2)
    assert y == res and all(type(o) is str for o in y)

def test_targets_and_wrong_labels():
    assert as_labels(None, 3) is None and as_labels([.5,1], 2).tolist() == [.5,1] and as_labels(torch.ones(2,3), 2).shape == (2,3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert as_labels(np.ones(2, 'f2'), 2).tolist() == [1,1]
    for y in (['a',None], ['a',nan], [pd.NA,'a'], [pd.NaT,'a'], [.5,nan], [np.inf,1], np.array([1e39,0])):
        with says(ValueError, '1 labels in `y` are missing or infinite'): as_labels(y, 2)
    with says(ValueError, 'got 1 for 2 series'): as_labels(['a'], 2)
    with says(ValueError, '(2, 1)'): as_labels([[1],[2]], 2)

values = st.lists(st.lists(st.lists(st.one_of(st.just(nan), st.integers(-9,9)), min_size=6, max_size=6), min_size=2, max_size=2), min_size=1, max_size=4)

@settings(max_examples=40)
@given(values)
def test_lengths_and_fills_by_brute_force(X):
    X = np.array(X, np.float32)
    before = X.copy()
    lens = series_lengths(X)
    assert lens.tolist() == [max([t+1 for t in range(6) if not np.isnan(x[:,t]).all()], default=0) for x in X]
    for how in (*fills, 2.5):
        Y = fill_missing(X, how)
        np.testing.assert_array_equal(X, before)
        for x,y,n in zip(X, Y, lens):
            for ch,new in zip(x, y):
                assert np.isnan(new[n:]).all() and not np.isnan(new[:n]).any() and np.array_equal(new[:n][~np.isnan(ch[:n])], ch[:n][~np.isnan(ch[:n])])
                s = pd.Series(ch[:n])
                ref = {'linear':s.interpolate(limit_direction='both'), 'mean':s.fillna(s.mean()), 'zero':s.fillna(0)}.get(how, s.fillna(2.5))
                np.testing.assert_allclose(new[:n], ref.fillna(0 if isinstance(how, str) else how), rtol=1e-6, atol=1e-6)
    for how in ('cubic', True, None, nan, np.mean, [1]):
        with says(ValueError, 'Missing values', repr(how), 'linear'): fill_missing(X, how)

def test_imports_stay_light():
    "No fastai, and no reader of others"
    code = "import sys, tsviz.read, tsviz.archive; print([o for o in ('fastai','matplotlib','pandas','sktime','scipy.io','torchvision') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
