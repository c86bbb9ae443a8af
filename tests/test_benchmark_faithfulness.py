"The table of faithfulness: made cell by cell, killed at its worst moment, gone on with; its numbers are those of the metrics themselves"
import csv, json, math, os, signal, subprocess, sys
from pathlib import Path
import pytest, torch
from tsviz.all import attr_methods, bootstrap_ci, class_sensitivity, compare, degradation_score, random_map

here = Path(__file__).parents[1]/'benchmarks'
columns = ['dataset','model','method','metric','mean','lo','hi']
env = {**os.environ, 'OMP_NUM_THREADS':'1', 'OMP_WAIT_POLICY':'PASSIVE'}

@pytest.fixture(scope='module')
def bench():
    "The script as a module; its networks and tables go elsewhere"
    sys.path.insert(0, str(here))
    try: import faithfulness
    finally: sys.path.remove(str(here))
    return faithfulness

def args(tmp, *more):
    return ['--datasets','ItalyPowerDemand','--models','fcn','--methods','grad_cam','gradient','Random',
            '--metrics','degradation_score','sparsity','--items','4','--n_steps','3','--networks',str(tmp/'nets'),'--out',str(tmp/'table.csv'), *more]

def rows(tmp):
    with (tmp/'table.csv').open(newline='', encoding='utf-8') as f: return list(csv.reader(f))

def run(bench, monkeypatch, tmp, *more):
    "The script from its command line, in this process: the cells that it ran"
    ran,real = [],bench.run_cell
    monkeypatch.setattr(bench, 'run_cell', lambda *o: (ran.append(o[:3]), real(*o))[1])
    monkeypatch.setattr(sys, 'argv', ['faithfulness.py', *args(tmp, *more)])
    bench.main()
    monkeypatch.setattr(bench, 'run_cell', real)
    return ran

killed = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import faithfulness
replace,done = os.replace,[]
def cut(a, b):
    if str(b).endswith('.json'):
        done.append(b)
        if len(done)==2: open(a, 'r+').truncate(9); os.kill(os.getpid(), signal.SIGKILL)
    replace(a, b)
os.replace = cut
faithfulness.main()
"""

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs SIGKILL')
def test_killed_and_gone_on_with(bench, monkeypatch, tmp_path, capsys):
    r = subprocess.run([sys.executable, '-c', killed, str(here), *args(tmp_path)], capture_output=True, text=True, env=env, timeout=300)
    assert r.returncode==-signal.SIGKILL, r.stderr
    cells = [o for o in (tmp_path/'table').rglob('*') if o.suffix=='.json']
    assert len(cells)==1 and set(json.loads(cells[0].read_text())['metrics'])=={'degradation_score','sparsity'}
    before = cells[0].read_bytes()
    assert len(run(bench, monkeypatch, tmp_path))==2 and cells[0].read_bytes()==before
    table = rows(tmp_path)
    assert table[0]==columns and len(table)==1+3*2 and {tuple(o[:4]) for o in table[1:]}=={
        ('ItalyPowerDemand','fcn',m,k) for m in ('grad_cam','gradient','Random') for k in ('degradation_score','sparsity')}
    assert all(float(o[5])<=float(o[4])<=float(o[6]) for o in table[1:])
    whole = (tmp_path/'table.csv').read_bytes()
    assert run(bench, monkeypatch, tmp_path)==[] and (tmp_path/'table.csv').read_bytes()==whole
    page = (tmp_path/'table.md').read_text()
    assert '; 3 of ' in page and '`grad_cam`' in page

def test_more_is_added_and_settings_are_told_apart(bench, monkeypatch, tmp_path, capsys):
    run(bench, monkeypatch, tmp_path)
    first = rows(tmp_path)
    assert len(run(bench, monkeypatch, tmp_path, '--metrics', 'sparsity', 'class_sensitivity'))==3 # the new metric only
    cell = json.loads((tmp_path/'table/ItalyPowerDemand/fcn-0-3/gradient.json').read_text())
    assert set(cell['metrics'])=={'degradation_score','sparsity','class_sensitivity'} and len(cell['metrics']['sparsity']['values'])==4
    assert len(rows(tmp_path))==10 and set(map(tuple, first))<set(map(tuple, rows(tmp_path)))
    for more in (['--items','3'], ['--seeds','1'], ['--n_steps','2']):
        with pytest.raises(SystemExit): run(bench, monkeypatch, tmp_path, *more)
        assert 'another setting' in capsys.readouterr().err
    page = tmp_path/'table.md'
    page.write_text(page.read_text().replace('<!-- words: begin -->\n\n', '<!-- words: begin -->\nWhat a person wrote.\n'))
    (tmp_path/'table/ItalyPowerDemand/fcn-0-3/gradient.json').unlink()         # its rows stay, and the page says so
    monkeypatch.setattr(sys, 'argv', ['faithfulness.py', *args(tmp_path, '--table')])
    bench.main()
    assert len(rows(tmp_path))==10 and 'What a person wrote.' in page.read_text() and '3 rows of the table are of an earlier run' in page.read_text()

def test_numbers_are_those_of_the_metrics(bench, monkeypatch, tmp_path):
    "The cells' numbers are those that `compare` finds on the same series; two seeds count as one series each"
    a = ['--methods','grad_cam','expected_grads','Random','--metrics','degradation_score','class_sensitivity','--seeds','0','1']
    run(bench, monkeypatch, tmp_path, *a)
    table = {(o[2],o[3]): [float(v) for v in o[4:]] for o in rows(tmp_path)[1:]}
    each = []
    for s in (0,1):
        net,x,c,_,refs,facts = bench.subject('ItalyPowerDemand', 'fcn', s, 3, 4, tmp_path/'nets')
        with torch.no_grad(): assert net(x).argmax(1).equal(c) and not net.training
        assert len(set(facts['idxs']))==4
        each.append({k: [m(k_m, x, None, net, **kw) for m,kw in ((degradation_score,{}), (class_sensitivity,{}))] for k,k_m,kw in
                     (('grad_cam',attr_methods['grad_cam'],{}), ('Random',random_map(s),{}))})
        df = compare([attr_methods['grad_cam']], [degradation_score], x, None, net)
        assert abs(df.loc['grad_cam',('degradation_score','mean')]-each[-1]['grad_cam'][0].mean().item())<1e-6
    for k in each[0]:
        for i,metric in enumerate(('degradation_score','class_sensitivity')):
            want = bootstrap_ci((each[0][k][i].double()+each[1][k][i].double())/2)
            assert table[k,metric]==pytest.approx([float(o) for o in want], abs=2e-4)
    assert table['Random','class_sensitivity'][0]==0 and ('expected_grads','degradation_score') in table

def test_spread_is_even_and_nested(bench):
    y = torch.tensor([0]*90+[1]*9+[2]*3)
    for n in (3,6,9,12,30,102):
        idxs = bench.spread(y, n)
        assert len(idxs)==len(set(idxs))==n and torch.tensor(idxs).max()<102
        first = y[idxs[:3]].tolist()
        assert sorted(first)==[0,1,2]
    assert y[bench.spread(y, 9)].bincount().tolist()==[3,3,3]
    assert bench.spread(y, 9)[::3]==[0,30,60]

def test_a_refusal_is_noted(bench, monkeypatch, tmp_path):
    def refuse(*o, **kw): raise ValueError('no head for this')
    monkeypatch.setitem(bench.attr_methods, 'grad_cam', refuse)
    monkeypatch.setattr(bench, 'raw_method', lambda m: m)
    assert len(run(bench, monkeypatch, tmp_path, '--methods', 'grad_cam', 'Random'))==2
    assert {o[2] for o in rows(tmp_path)[1:]}=={'Random'} and 'no head for this' in (tmp_path/'table.md').read_text()
    assert run(bench, monkeypatch, tmp_path, '--methods', 'grad_cam', 'Random')==[]

def test_numbers_are_printed_as_they_are(bench):
    assert [bench.num(o) for o in (.1071, -.002, 1., 10.5, -12.04, 0., math.nan, None)]==['.107','-.002','1.000','10.500','-12.040','.000','','']

def test_plan_keeps_to_its_limits(bench):
    a = bench.parse(['--out', 'nowhere/t.csv'])
    for d in bench.datasets:
        T,n = bench.datasets[d]
        assert 10<=bench.n_items(d, a)<=min(50, n) and (bench.n_items(d, a)==10 or bench.n_items(d, a)*T<=a.steps)
        for k in bench.methods:
            want,why = bench.plan(d, 'fcn', k, a)
            assert all(5<=o<=bench.n_items(d, a) for o in want.values()) and not set(want)&set(why)
            assert not set(want)&set(bench.truth) or d.startswith('synth/')
    assert set(bench.cams)<set(bench.methods) and len(bench.methods)>=26
    assert bench.parse(['--full', '--out', 'nowhere/t.csv']).seeds==[0,1,2,3,4]
