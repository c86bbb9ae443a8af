"The law of the house, and the packaging that stands in two places"
import ast, re, subprocess, sys, tomllib
from configparser import ConfigParser
from pathlib import Path
import pytest, tsviz

root = Path(__file__).resolve().parent.parent
floors = {m[2]:m[1] for p in (root/'nbs').glob('*.ipynb') if (m := re.match(r'(\d\d)_(\w+)\.ipynb', p.name))}

def imports(path):
    "(module, is it ours) for every import in a file, those inside functions too"
    for o in ast.walk(ast.parse(path.read_text())):
        if isinstance(o, ast.ImportFrom): yield (o.module or ''), bool(o.level) or (o.module or '').startswith('tsviz')
        elif isinstance(o, ast.Import): yield from ((a.name, a.name.startswith('tsviz')) for a in o.names)

@pytest.mark.parametrize('name', sorted(floors, key=floors.get))
def test_floors(name):
    me = floors[name]
    for mod,own in imports(root/'tsviz'/f'{name}.py'):
        top,last = mod.split('.')[0],mod.split('.')[-1]
        if own and last in ('tsviz','all'): assert me>='60', f'{name} ({me}) imports all of tsviz'
        elif own:
            other = floors[last]
            assert other<me, f'{name} ({me}) imports {last} ({other})'
            assert not (me[0] in '123' and other[0] in '123' and me[0]!=other[0]), f'{name} ({me}) imports {last} ({other})'
        if top=='fastai': assert me>='50', f'{name} ({me}) imports fastai'
        if top=='matplotlib': assert me>='40', f'{name} ({me}) imports matplotlib'
        assert top!='torchvision' and mod!='fastai.vision.all'

def test_every_module_has_its_notebook():
    assert {p.stem for p in (root/'tsviz').glob('*.py')} - {'__init__','_modidx','all'} == set(floors)

def test_size_of_notebooks():
    import json
    for p in (root/'nbs').glob('[0-9]*.ipynb'):
        cells = [''.join(o['source']) for o in json.loads(p.read_text())['cells'] if o['cell_type']=='code']
        sizes = [len([l for l in s.splitlines() if l.strip() and not l.startswith('#|')]) for s in cells if re.match(r'\s*#\|\s*exports?\b', s)]
        assert sum(sizes)<=350 and max(sizes)<=50, f'{p.name}: {sum(sizes)} exported lines, the longest cell {max(sizes)}'

def test_exported_code_shows_nothing_and_hides_nothing():
    for p in (root/'tsviz').glob('*.py'):
        s = p.read_text()
        assert not re.search(r'plt\.show\(|except\s*:|TODO|FIXME|rcParams\[|\.cm\.get_cmap', s), p.name

def test_metadata_agree():
    "Name, version and lowest Python stand in two places, and say the same"
    ini = ConfigParser(delimiters=['=']); ini.read(root/'settings.ini')
    cfg,toml = ini['DEFAULT'],tomllib.loads((root/'pyproject.toml').read_text())
    assert cfg['lib_name']==toml['project']['name']==toml['tool']['nbdev']['lib_path']==cfg['lib_path']
    assert cfg['version']==tsviz.__version__
    assert toml['project']['requires-python']=='>='+cfg['min_python']

def test_ruff():
    r = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--select', 'F,E9,B,PLE', '--ignore', 'F403,F405,B905,E402', '--isolated', 'tsviz', 'tests', 'benchmarks'],
                       cwd=root, capture_output=True, text=True)
    assert r.returncode==0, r.stdout

def test_import_loads_nothing_heavy():
    "`import tsviz.all` leaves out what only some calls need"
    code = ("import fastai.basics, sys; before = set(sys.modules); import tsviz.all; "
            "print(sorted({'torchvision','captum','plotly','zarr','scipy.signal','sktime','typer','tensorboard'} & (set(sys.modules)-before)), 'torchvision' in sys.modules)")
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert r.stdout.strip()=='[] False', r.stdout

def test_notebooks_keep_no_paths_of_a_machine():
    "Warnings in saved outputs name the file they come from"
    import json
    for p in (root/'nbs').rglob('*.ipynb'):
        for c in json.loads(p.read_text())['cells']: assert not re.search(r'site-packages|/home/|/root/', json.dumps(c.get('outputs', []))), p.name
