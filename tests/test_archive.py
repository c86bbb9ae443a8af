"Names, addresses and facts of the archive; downloads that break, zips that are hostile"
import contextlib, io, os, random, runpy, signal, struct, subprocess, sys, threading, time, warnings, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest
import tsviz.archive
from common import says
from tsviz.archive import URLs_TS, _data_path, _url_name, datasets, find_set, shipped_sets, unzip_data
from tsviz.read import fill_missing, read_files, series_lengths

sets = shipped_sets()

def left(d): return sorted(o.name for o in d.iterdir())

def zipped(members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(buf := io.BytesIO(), 'w', method) as z:
        for nm,txt in members.items(): z.writestr(nm, txt)
    return buf.getvalue()

def make_zip(path, members):
    path.write_bytes(zipped(members))
    return path.as_uri()

# facts

def test_facts_of_all_sets_that_can_be_read_here():
    df = datasets()
    for name in {*sets} & {*df.index}:
        (X,y),(X1,y1) = [read_files(sets[name]/f'{name}_{o}.ts') for o in ('TRAIN','TEST')]
        lens = {*series_lengths(X), *series_lengths(X1)}
        o = df.loc[name]
        facts = [len(X), len(X1), lens.pop() if len(lens)==1 else 0, X.shape[1], len({*y, *y1}), True]
        assert [o.n_train, o.n_test, o.length, o.n_channels, o.n_classes, o.shipped] == facts, name
    assert len({*sets} & {*df.index}) == 8 and df.shipped.sum() == 8

def test_names_are_those_of_sktime_and_yoga():
    "sktime's list of 128 univariate sets has AsphaltObstacles where the UCR archive has Yoga"
    o = SimpleNamespace(**runpy.run_path(sets['GunPoint'].parents[1]/'tsc_dataset_names.py'))
    df = datasets()
    assert {*df.index} == {*o.univariate, *o.multivariate, 'Yoga'} and df.index.is_unique
    assert {*df.index[df.n_channels==1]} == {*o.univariate, 'Yoga'}
    assert {*df.index[df.length==0]} == {*o.univariate_variable_length, *o.multivariate_unequal_length}

def test_facts_are_numbers_or_empty():
    df = datasets()
    numbers = ['n_train','n_test','length','n_channels','n_classes']
    assert df.columns.tolist() == ['type', *numbers, 'shipped'] and df.index.name == 'name'
    assert all(df[o].dtype=='Int64' for o in numbers) and df.n_channels.notna().all()
    assert (df[['n_train','n_test','n_channels']].min()>=1).all() and (df.n_classes.dropna()>=2).all() and (df.length.dropna()>=0).all()
    assert {*df.index[df[numbers].isna().any(axis=1)]} == {'AsphaltObstacles','AsphaltPavementTypeCoordinates','InsectWingbeat'}
    assert (df.n_train.dropna() >= df.n_classes[df.n_train.notna()]).all()
    df.loc['GunPoint','n_train'] = 0
    assert datasets().loc['GunPoint','n_train'] == 50                        # a table of one's own

def test_facts_are_packaged():
    root = Path(tsviz.archive.__file__).parent
    manifest = (root.parent/'MANIFEST.in').read_text()
    for o in root.glob('*.csv'): assert f'include {root.name}/{o.name}' in manifest

# addresses

def test_url_names():
    for name,url in dict(GunPoint='UNI_GUN_POINT', ECG200='UNI_ECG200', ECGFiveDays='UNI_ECG_FIVE_DAYS', DodgerLoopDay='UNI_DODGER_LOOP_DAY',
                         Worms='UNI_WORMS', WormsTwoClass='UNI_WORMS_TWO_CLASS', FordA='UNI_FORD_A', PhonemeSpectra='PHONEME_SPECTRA',
                         NATOPS='NATOPS', BasicMotions='BASIC_MOTIONS').items():
        assert _url_name(name) == url and getattr(URLs_TS, url).endswith(f'/{name}.zip')
    assert URLs_TS.PEMS_SF.endswith('/PEMS-SF.zip')

def test_urls_are_completed_and_distinct():
    names = [o for o in dir(URLs_TS) if o.isupper()]
    assert len(set(names)) == len(names) == len({getattr(URLs_TS, o) for o in names}) == len(datasets())
    assert sum(o.startswith('UNI_') for o in names) == 129
    with says(AttributeError, 'UNI_GUNPOINT', "'UNI_GUN_POINT'"): _ = URLs_TS.UNI_GUNPOINT
    assert not hasattr(URLs_TS, '_ipython_display_')

@pytest.mark.parametrize('ini', [None, '[DEFAULT]\ndata = elsewhere\n', '[DEFAULT]\nmodel = models\n'])
def test_the_folder_is_fastais(tmp_path, monkeypatch, ini):
    from fastai.data.external import fastai_cfg, fastai_path
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'home'))
    if ini:
        (tmp_path/'home').mkdir()
        (tmp_path/'home'/'config.ini').write_text(ini)
    ours,before = _data_path(),tmp_path.joinpath('home').exists()
    assert before == bool(ini)                               # asking writes nothing
    fastai_cfg.cache_clear()
    try:
        if ini is None or 'data' in ini: assert ours == fastai_path('data')
        else: assert ours == tmp_path/'home'/'data'
    finally: fastai_cfg.cache_clear()

# zips

@pytest.mark.parametrize('folder', ['', 'Toy/'])
def test_unzip_data(tmp_path, folder):
    d = tmp_path/'data'
    url = make_zip(tmp_path/'Toy.zip', {f'{folder}Toy_TRAIN.arff':'train', f'{folder}Toy_TEST.arff':'test', '__MACOSX/._Toy_TRAIN.arff':''})
    path = unzip_data(url, dest=d)
    assert path == d/'Toy' and (path/'Toy_TRAIN.arff').read_text() == 'train' and left(d) == ['Toy']
    (tmp_path/'Toy.zip').unlink()
    assert unzip_data(url, dest=str(d)) == path                       # cached

@pytest.mark.parametrize('bad', ['../evil.txt', '/tmp/evil.txt', 'a/../../evil.txt', '..\\evil.txt', 'a/b/../../../evil.txt', '//evil.txt', '..'])
def test_members_outside_are_refused(tmp_path, bad):
    with says(ValueError, 'would land outside'): unzip_data(make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff':'x', bad:'evil'}), dest=tmp_path/'data')
    assert left(tmp_path) == ['Toy.zip']

def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo('Toy_TRAIN.arff')
    info.external_attr = 0o120777<<16
    with zipfile.ZipFile(tmp_path/'Toy.zip', 'w') as z: z.writestr(info, '/etc/passwd')
    with says(ValueError, "'Toy_TRAIN.arff' is a link"): unzip_data((tmp_path/'Toy.zip').as_uri(), dest=tmp_path/'data')
    assert left(tmp_path) == ['Toy.zip']

def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tsviz.archive, '_small', 1<<20)
    url = (tmp_path/'Toy.zip').as_uri()
    (tmp_path/'Toy.zip').write_bytes(zipped({'Toy_TRAIN.ts': b'\0'*(2<<20)}, zipfile.ZIP_DEFLATED))
    with says(ValueError, f'would become {2<<20}'): unzip_data(url, dest=tmp_path/'data')
    (tmp_path/'Toy.zip').write_bytes(zipped({f'{i}':'' for i in range(10_001)}))
    with says(ValueError, '10001 members'): unzip_data(url, dest=tmp_path/'data')
    raw = bytearray(zipped({'Toy_TRAIN.ts':'x'*100}))
    for at in (raw.index(b'PK\1\2')+20, raw.index(b'PK\1\2')+24): raw[at:at+4] = struct.pack('<I', 0xfffffff0)      # claims 4 GB, packed as 4 GB
    (tmp_path/'Toy.zip').write_bytes(raw)
    monkeypatch.setattr(tsviz.archive.shutil, 'disk_usage', lambda _: type('o', (), {'free':1<<30}))
    with says(ValueError, 'do not fit', f'{1<<30} are free'): unzip_data(url, dest=tmp_path/'data')
    assert left(tmp_path) == ['Toy.zip']

def test_a_zip_that_lies_about_its_sizes(tmp_path):
    raw = bytearray(zipped({'Toy_TRAIN.ts': b'\0'*(2<<20)}, zipfile.ZIP_DEFLATED))
    for at in (22, raw.index(b'PK\1\2')+24): raw[at:at+4] = struct.pack('<I', 1000)                              # says it unpacks to 1,000 bytes
    (tmp_path/'Toy.zip').write_bytes(raw)
    with says(ValueError, 'no readable zip'): unzip_data((tmp_path/'Toy.zip').as_uri(), dest=tmp_path/'data')
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

def test_fuzzed_zips(tmp_path):
    "Whatever a zip holds: a folder, or one sentence; nothing beside it"
    rng,data = random.Random(0),zipped({'Toy/Toy_TRAIN.ts':'@data\n'+'1,2\n'*50, 'Toy/Toy_TEST.ts':'@data\n3,4\n'}, zipfile.ZIP_DEFLATED)
    n_ok = 0
    for i in range(200):
        b = bytearray(data)
        for _ in range(rng.choice([1,2,8])): b[rng.randrange(len(b))] = rng.randrange(256)
        if i%5==0: del b[rng.randrange(len(b)):]
        (tmp_path/'Toy.zip').write_bytes(b)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')                  # zipfile's own, of names that occur twice
            try: n_ok += unzip_data((tmp_path/'Toy.zip').as_uri(), dest=tmp_path/'data'/str(i)).is_dir()
            except (ValueError, OSError) as e: assert str(e) and len(str(e))<600, e
        assert {*left(tmp_path)} <= {'Toy.zip','data'} and ((tmp_path/'data'/str(i)).exists() is False or left(tmp_path/'data'/str(i)) == ['Toy'])
    assert 10 < n_ok < 190

# no network

def test_no_network_and_no_copy(tmp_path):
    with says(OSError, 'Beef.zip could not be downloaded', 'network'): unzip_data((tmp_path/'Beef.zip').as_uri(), dest=tmp_path/'data')
    assert left(tmp_path) == []
    with says(ValueError, 'name of a zip'): unzip_data('https://example.invalid/', dest=tmp_path)

@pytest.mark.parametrize('name', ['GunPoint','BasicMotions','JapaneseVowels','Tecator'])
def test_no_network_but_a_copy(tmp_path, name, capsys):
    path = unzip_data((tmp_path/f'{name}.zip').as_uri(), dest=tmp_path/'data')
    assert f'using the copy of {name}' in capsys.readouterr().out
    assert left(path) == [f'{name}_TEST.arff', f'{name}_TRAIN.arff'] and left(tmp_path/'data') == [name]
    for o in ('TRAIN','TEST'):
        (X,y),(X1,y1) = read_files(path/f'{name}_{o}.arff'),read_files(sets[name]/f'{name}_{o}.ts')
        np.testing.assert_array_equal(X, X1)
        assert np.array_equal(y, y1) and type(y)==type(y1)

def test_arff_that_is_written_keeps_everything(tmp_path):
    from tsviz.archive import _write_arff
    X = np.random.default_rng(0).normal(size=(4,2,5)).astype('f4')
    X[1,:,3:] = X[2,0,1] = np.nan
    y = ['a, b',"it's {x}",'','\\n "q"%']
    for Z in (X, X[:,:1]):
        _write_arff(tmp_path/'a.arff', Z, y)
        Z1,y1 = read_files(tmp_path/'a.arff')
        np.testing.assert_array_equal(Z1, Z)
        assert y1 == y
    assert not np.isnan(fill_missing(X)[2]).any()

def test_failed_downloads_are_one_short_error(tmp_path, capsys):
    for url in ((tmp_path/'Beef.zip').as_uri(), 'Beef.zip', 'http://localhost:99999/Beef.zip', 'http://a b/Beef.zip'):
        with pytest.raises(OSError) as e: unzip_data(url, dest=tmp_path/'data')
        assert url in str(e.value) and '(' in str(e.value) and e.value.__suppress_context__ and '\n' not in str(e.value)
    assert capsys.readouterr().out == '' and left(tmp_path) == []

def test_progress_only_of_what_has_a_known_size(tmp_path, monkeypatch, capsys):
    unzip_data(make_zip(tmp_path/'Toy.zip', {'Toy_TRAIN.arff':'x'}), dest=tmp_path/'data')
    assert capsys.readouterr().out == ''
    seen = []
    class Bar:
        def __init__(self, o): self.total = len(o)
        def update(self, n): seen.append((n, self.total))
    monkeypatch.setattr(tsviz.archive, 'progress_bar', Bar)
    url = make_zip(tmp_path/'Big.zip', {'Big_TRAIN.arff':'x'*300_000})
    size = (tmp_path/'Big.zip').stat().st_size
    unzip_data(url, dest=tmp_path/'data')
    assert len(seen)>3 and seen[-1] == (size,size) and all(n<=size for n,_ in seen) and seen == sorted(seen)
    tsviz.archive._show([], 3, None)
    assert seen[-1] == (size,size)

# a server

toy = zipped({'Toy_TRAIN.ts':'@data\n'+'1,2,3\n'*30_000, 'Toy_TEST.ts':'@data\n4,5,6\n'})

class Server(ThreadingHTTPServer):
    "Serves `data`; `asked` keeps the Range and If-Range of each request"
    def __init__(self, **kw):
        self.data,self.etag,self.modified,self.ranges,self.cut,self.claim,self.status,self.hold,self.asked = toy,'"v1"',None,True,None,None,200,None,[]
        self.__dict__.update(kw)
        super().__init__(('localhost', 0), Reply)
    @property
    def url(self): return f'http://localhost:{self.server_port}/Toy.zip'
    def handle_error(self, *args): pass

class Reply(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        s,rng,cond = self.server,self.headers['Range'],self.headers['If-Range']
        s.asked.append((rng, cond))
        at = int(rng[6:-1]) if s.ranges and rng and cond in (None, s.etag, s.modified) else 0
        if s.status!=200: return self.send_error(s.status)
        if at>=len(s.data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(s.data)}')
            return self.end_headers()
        self.send_response(206 if at else 200)
        if s.etag: self.send_header('ETag', s.etag)
        if s.modified: self.send_header('Last-Modified', s.modified)
        if at: self.send_header('Content-Range', f'bytes {at}-{len(s.data)-1}/{len(s.data)}')
        if s.claim!=0: self.send_header('Content-Length', str(s.claim or len(s.data)-at))
        self.end_headers()
        self.wfile.write(s.data[at:at+s.cut if s.cut else None])
        if s.hold:
            self.wfile.flush()
            s.hold.wait(60)

@contextlib.contextmanager
def serving(**kw):
    with Server(**kw) as s:
        threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
        try: yield s
        finally:
            if s.hold: s.hold.set()
            s.shutdown()

def check(path, d):
    assert path == d/'Toy' and left(d) == ['Toy'] and read_files(path/'Toy_TRAIN.ts')[0].shape == (30_000,1,3) and \
        left(path) == ['Toy_TEST.ts','Toy_TRAIN.ts']

def test_download(tmp_path):
    with serving() as s:
        check(unzip_data(s.url, tmp_path), tmp_path)
        unzip_data(s.url, tmp_path)
    assert s.asked == [(None,None)]

def test_download_of_unknown_size(tmp_path):
    with serving(claim=0) as s: check(unzip_data(s.url, tmp_path), tmp_path)

def test_broken_downloads_go_on(tmp_path):
    "Each reply breaks after 100,000 bytes: the next asks for the rest, if it is still the same file"
    with serving(cut=100_000) as s: check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked == [(None,None), ('bytes=100000-','"v1"')] and len(toy) < 200_000

def test_a_later_call_goes_on(tmp_path):
    with serving(cut=30_000) as s:
        with says(OSError, 'ended after 90000 of', 'try again', 'Toy.zip.part'): unzip_data(s.url, tmp_path)
        assert left(tmp_path) == ['Toy.zip.part','Toy.zip.tag'] and (tmp_path/'Toy.zip.part').read_bytes() == toy[:90_000]
        s.cut = None
        check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked[3:] == [('bytes=90000-','"v1"')]

@pytest.mark.parametrize('kw', [dict(ranges=False), dict(etag=None), dict(etag='W/"v1"')])
def test_a_server_that_cannot_go_on_sends_all_again(tmp_path, kw):
    "No ranges, or nothing that names the version"
    with serving(cut=30_000, **kw) as s:
        with says(OSError, 'ended after 30000 of'): unzip_data(s.url, tmp_path)
        assert (tmp_path/'Toy.zip.part').read_bytes() == toy[:30_000]            # not appended to what was there
        s.cut = None
        check(unzip_data(s.url, tmp_path), tmp_path)
    if 'etag' in kw: assert all(o==(None,None) for o in s.asked)

def test_a_date_names_a_version_too(tmp_path):
    when = 'Sun, 06 Nov 1994 08:49:37 GMT'
    with serving(cut=100_000, etag='W/"x"', modified=when) as s: check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked[1] == ('bytes=100000-', when)

def test_a_file_that_changed_meanwhile_is_not_mixed(tmp_path):
    with serving(cut=30_000) as s:
        with says(OSError, 'ended after'): unzip_data(s.url, tmp_path)
        s.data,s.etag,s.cut = zipped({'Toy_TRAIN.ts':'@data\n7\n'*1, 'new':'x'*200_000}),'"v2"',None
        path = unzip_data(s.url, tmp_path)
    assert left(path) == ['Toy_TRAIN.ts','new'] and s.asked[-1] == ('bytes=90000-','"v1"')

def test_parts_of_another_address_are_not_used(tmp_path):
    with serving(cut=30_000) as s, pytest.raises(OSError): unzip_data(s.url, tmp_path)
    with serving() as s: check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked == [(None,None)]

def test_a_part_that_is_all(tmp_path):
    "Killed after the last byte: nothing is fetched again"
    with serving() as s:
        (tmp_path/'Toy.zip.part').write_bytes(toy)
        (tmp_path/'Toy.zip.tag').write_text(f'{s.url}\n"v1"')
        check(unzip_data(s.url, tmp_path), tmp_path)
        assert s.asked == [(f'bytes={len(toy)}-','"v1"')]

def test_a_part_that_is_too_long_or_spoilt(tmp_path):
    for part in (toy+b'more', b'\0'*1000):
        d = tmp_path/str(len(part))
        d.mkdir()
        with serving() as s:
            (d/'Toy.zip.part').write_bytes(part)
            (d/'Toy.zip.tag').write_text(f'{s.url}\n"v1"')
            check(unzip_data(s.url, d), d)
        assert len(s.asked) == 2 and s.asked[-1] == (None,None)

@pytest.mark.parametrize('status', [404,500,403])
def test_refusals_leave_nothing(tmp_path, status):
    with serving(status=status) as s, says(OSError, s.url, str(status), 'check address'): unzip_data(s.url, tmp_path/'data')
    assert left(tmp_path) == [] and len(s.asked) == 1

def test_wrong_lengths(tmp_path):
    with serving(claim=len(toy)+1000) as s: check(unzip_data(s.url, tmp_path/'c'), tmp_path/'c')     # asked for more, the server says that this is all
    with serving(claim=len(toy)+1000, ranges=False) as s, says(OSError, f'ended after {len(toy)} of {len(toy)+1000}'): unzip_data(s.url, tmp_path/'a')
    with serving(claim=len(toy)-1000) as s, says(ValueError, 'no readable zip'): unzip_data(s.url, tmp_path/'b')
    assert len(s.asked) == 2 and not (tmp_path/'b').exists()                    # fetched twice, then refused

def test_a_cut_zip_is_fetched_again_once(tmp_path):
    with serving(data=toy[:-50]) as s:
        s.reply = s.RequestHandlerClass.do_GET
        class Mended(Reply):
            def do_GET(self):
                super().do_GET()
                self.server.data = toy
        s.RequestHandlerClass = Mended
        check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked == [(None,None)]*2

def test_a_shipped_set_is_copied_where_the_download_breaks(tmp_path, capsys):
    with serving(cut=1000) as s: path = unzip_data(s.url.replace('Toy','GunPoint'), tmp_path)
    assert 'using the copy of GunPoint' in capsys.readouterr().out and left(tmp_path) == ['GunPoint'] and len(left(path)) == 2

def test_many_at_once(tmp_path):
    "The first downloads, the others wait for it"
    got = []
    with serving() as s:
        ts = [threading.Thread(target=lambda: got.append(unzip_data(s.url, tmp_path))) for _ in range(5)]
        for t in ts: t.start()
        for t in ts: t.join()
    assert got == [tmp_path/'Toy']*5 and s.asked == [(None,None)]
    check(got[0], tmp_path)

def test_two_without_a_lock_do_no_harm(tmp_path, monkeypatch):
    "Where the system has no lock, one of two wins and both find a whole set"
    import tempfile
    @contextlib.contextmanager
    def unlocked(fname):
        with tempfile.TemporaryFile() as f: yield f
    monkeypatch.setattr(tsviz.archive, '_locked', unlocked)
    got,go = [],threading.Barrier(3)
    def work():
        go.wait()
        got.append(unzip_data(s.url, tmp_path))
    with serving() as s:
        ts = [threading.Thread(target=work) for _ in range(3)]
        for t in ts: t.start()
        for t in ts: t.join()
    assert got == [tmp_path/'Toy']*3
    check(got[0], tmp_path)

def test_an_interrupted_call_leaves_no_half_set(tmp_path, monkeypatch):
    def stop(*args, **kwargs): raise KeyboardInterrupt
    with serving() as s:
        with monkeypatch.context() as m:
            m.setattr(tsviz.archive, '_unzip', stop)
            with pytest.raises(KeyboardInterrupt): unzip_data(s.url, tmp_path)
        assert left(tmp_path) == ['Toy.zip.part','Toy.zip.tag']
        check(unzip_data(s.url, tmp_path), tmp_path)
    assert s.asked == [(None,None), (f'bytes={len(toy)}-','"v1"')]

@pytest.mark.skipif(os.name!='posix', reason='SIGKILL')
def test_a_killed_process_and_the_next(tmp_path):
    "Killed in the middle of the download, it leaves what came; another process fetches only the rest"
    code = f"import sys; from tsviz.archive import unzip_data; unzip_data(sys.argv[1], {str(tmp_path)!r})"
    with serving(cut=65536*2, hold=threading.Event()) as s:
        p = subprocess.Popen([sys.executable, '-c', code, s.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        part = tmp_path/'Toy.zip.part'
        for _ in range(1200):
            if part.exists() and part.stat().st_size==65536*2 or p.poll() is not None: break
            time.sleep(.05)
        p.send_signal(signal.SIGKILL)
        assert p.wait() == -signal.SIGKILL and part.read_bytes() == toy[:65536*2] and not (tmp_path/'Toy').exists()
        s.hold.set()
        s.hold,s.cut = None,None
        path = unzip_data(s.url, tmp_path)
    assert s.asked == [(None,None), (f'bytes={65536*2}-','"v1"')]
    assert read_files(path/'Toy_TRAIN.ts')[0].shape == (30_000,1,3)
    assert [o for o in left(tmp_path) if not o.startswith('.tmp_')] == ['Toy']       # the killed one's empty folder stays hidden

# sets by name

def test_shipped_sets_at_once():
    for name in sets:
        train,test = find_set(name)
        assert train.name==f'{name}_TRAIN.ts' and test.is_file()
    assert {'PLAID','JapaneseVowels','GunPoint'} <= {*sets}

def test_find_set_downloads(tmp_path, monkeypatch):
    members = {f'Beef_{o}.{e}':'@data\n1,2\n' for o in ('TRAIN','TEST') for e in ('arff','ts','txt')} | {'BeefDimension1_TRAIN.arff':'', 'Beef.txt':'about'}
    make_zip(tmp_path/'Beef.zip', members)
    monkeypatch.setitem(URLs_TS._urls, 'UNI_BEEF', (tmp_path/'Beef.zip').as_uri())
    d = tmp_path/'data'
    assert find_set('Beef', d) == (d/'Beef'/'Beef_TRAIN.ts', d/'Beef'/'Beef_TEST.ts')
    (d/'Beef'/'Beef_TEST.ts').unlink()
    assert [o.name for o in find_set('Beef', d)] == ['Beef_TRAIN.arff','Beef_TEST.arff']
    for o in (d/'Beef').glob('Beef_TEST*'): o.unlink()
    with says(FileNotFoundError, str(d/'Beef'), 'no Beef_TRAIN and Beef_TEST', 'delete it'): find_set('Beef', d)

def test_unknown_names():
    for name,words in {'Gunpoint':["Did you mean 'GunPoint'"], 'EGC200':["'ECG200'"], 'basicmotions':["'BasicMotions'"], 'xyz':['`datasets()` lists']}.items():
        with says(ValueError, f'Unknown set {name!r}', *words): find_set(name)
