"The `tsviz` command, as a process"
import subprocess, sys
from pathlib import Path
import pytest, tsviz

tsv = Path(sys.executable).parent/'tsviz'
def run(*args, **kwargs): return subprocess.run([tsv, *args], capture_output=True, text=True, **kwargs)

def test_demo_trains_prints_and_draws(tmp_path):
    r = run('demo', '--epochs', '1', '--out', 'new/folder', cwd=tmp_path)
    assert r.returncode==0, r.stderr
    assert 'Accuracy on the 150 test series: 0.' in r.stdout and str(tmp_path/'new/folder') in r.stdout.replace('\n','')
    files = sorted((tmp_path/'new/folder').iterdir())
    assert [o.name for o in files]==['classes.png','multi.png','single.png']
    assert all(o.read_bytes()[:4]==b'\x89PNG' for o in files) and sorted(tmp_path.iterdir())==[tmp_path/'new']

def test_version(): assert run('--version').stdout.strip()==f'tsviz {tsviz.__version__}'

@pytest.mark.parametrize('args', [('demo','--epochs','0'), ('demo','--out',__file__), ('dmo',)])
def test_bad_input_is_one_sentence(args):
    r = run(*args)
    assert r.returncode!=0 and 'Traceback' not in r.stderr+r.stdout
