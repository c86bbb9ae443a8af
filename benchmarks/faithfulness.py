"""How far the maps of every method can be trusted: faithfulness, sanity and localisation, for three networks, on sets of the archive and on planted series

Each network is trained once (`accuracy.py` has the recipe, here with fewer steps) and kept in benchmarks/networks. A cell is one method on one network on one
data set: its numbers, series by series, are kept in benchmarks/faithfulness/ as soon as they are there, and a rerun goes on where the last one stopped.
Cheap cells come first, those of the CAM family before their like. Of the cells are made
faithfulness.csv (dataset, model, method, metric, mean, lo, hi) and the page faithfulness.md.

    python benchmarks/faithfulness.py                    # everything that is missing
    python benchmarks/faithfulness.py --minutes 80       # no new cell after 80 minutes
    python benchmarks/faithfulness.py --models fcn resnet1d & python benchmarks/faithfulness.py --models inception_time   # two cores
    python benchmarks/faithfulness.py --datasets GunPoint --methods grad_cam occlusion --out mine.csv
    python benchmarks/faithfulness.py --full             # every test series, five networks each, fully trained, curves of 50 parts: weeks on one core
    python benchmarks/faithfulness.py --plan             # what would be done, and for how long
    python benchmarks/faithfulness.py --table            # only the table and the page, from the cells that are there
"""
import argparse, csv, io, json, math, os, platform, sys, time
from functools import cache, partial
from pathlib import Path
from statistics import mean
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import torch
from fastai.basics import set_seed
from tsviz.all import (Standardize, TSDataLoaders, as_plain, attr_methods, attr_metrics, bootstrap_ci, get_batch, planted, planted_sets, precomputed,
                       random_map, raw_method, ts_learner)
from accuracy import Quiet, nets, recipe

here = Path(__file__).parent
archive = dict(ItalyPowerDemand=(24,1029), GunPoint=(150,150), ArrowHead=(251,175), OSULeaf=(427,242), ACSF1=(1460,100)) # steps, test series
datasets = {**archive, **{f'synth/{k}':(v.get('n_steps', 128), 500) for k,v in planted_sets.items()}}
methods = {**{k:m for k,m in attr_methods.items() if m.__module__.startswith('tsviz.')}, 'Random':None}
cams = [k for k,m in attr_methods.items() if m.__module__=='tsviz.cam']
published = dict(occlusion=.107, integrated_grads=.078, expected_grads=.070, smooth_grad=.031, gradient=-.002) # degradation score
faith,sane,truth = (['degradation_score','deletion','insertion'], ['class_sensitivity','max_sensitivity','model_randomization'],
                    ['pointing','average_precision','relevance_mass'])
columns = ['dataset','model','method','metric','mean','lo','hi']

# What a protocol allows. `steps`: a set gives `steps`/T series, at least 10. `sane`: a method may look at so many steps for one number of sanity.
kept = dict(protocol='kept', items=50, planted=20, steps=7600, sane=150_000, n_steps=300, seeds=[0], parts=10, samples=5, out=here/'faithfulness.csv')
full = dict(protocol='full', items=10**6, planted=500, steps=10**9, sane=10**12, n_steps=900, seeds=[*range(5)], parts=50, samples=10,
            out=here/'faithfulness_full.csv')

# what a cell costs

def n_rows(method, T): # forward passes for one map, roughly: a backward counts as two
    dear = dict(score_cam=140, ablation_cam=10, smooth_grad=55, integrated_grads=110, expected_grads=110, guided_grad_cam=7, occlusion=2+T//4,
                impulse_response=T//2, window_shap=320, Random=0)
    return dear.get(method, 4)

def params_of(metric, a):
    return dict(deletion=dict(n_steps=a.parts), insertion=dict(n_steps=a.parts), max_sensitivity=dict(n_samples=a.samples)).get(metric, {})

def n_times(metric, a): # (rows, maps) for one number, beyond the map itself
    rows = dict(degradation_score=51, deletion=a.parts+1, insertion=a.parts+1, aopc=51, comprehensiveness=5, sufficiency=5)
    return rows.get(metric, 0),dict(class_sensitivity=2, max_sensitivity=a.samples+1, model_randomization=6).get(metric, 0)

def n_items(dataset, a):
    T,n = datasets[dataset]
    return min(n, a.items, max(10, a.steps//T), a.planted if dataset in planted_names else n)

planted_names = [k for k in datasets if k not in archive]
pace = dict(inception_time=27e-6, fcn=8e-6, resnet1d=14e-6) # seconds a step of a series, one slow core

def not_for(dataset, method):
    "Why a method says nothing of a set, or None"
    C = planted_sets[dataset[6:]].get('n_channels', 1) if dataset in planted_names else 1
    return 'compares channels, and there is one' if method=='ablation' and C==1 else None

def plan(dataset, model, method, a):
    "What a cell holds: metric -> series, and metric -> why not"
    T,n,want,why = datasets[dataset][0],n_items(dataset, a),{},{}
    if not_for(dataset, method): return want,why
    for o in a.metrics or (faith+sane+['sparsity'] if dataset in archive else truth+['sparsity']):
        if o in truth and dataset in archive: continue # no truth is known
        k = min(n, 10 if o in sane and a.protocol=='kept' else n, int(a.sane/max(1, n_times(o, a)[1]*n_rows(method, T)*T)) if o in sane else n)
        if k<min(5, n): why[o] = 'too dear'
        else: want[o] = k
    return want,why

def cost(dataset, model, method, a):
    "Seconds, roughly"
    T,(want,_) = datasets[dataset][0],plan(dataset, model, method, a)
    rows = n_items(dataset, a)*n_rows(method, T)
    for o,n in want.items(): r,m = n_times(o, a); rows += n*(r + m*n_rows(method, T))
    trained = all((a.networks/f'{dataset}-{model}-{s}-{a.n_steps}.pth').exists() for s in a.seeds)
    if not trained: rows += 3*recipe['bs']*a.n_steps/len(methods) # its share of the training
    return rows*T*pace[model]

def turn(dataset, model, method, a):
    "When a cell's turn comes: the cheapest first, networks alike, the CAM family and what has a published figure as if half as dear"
    return cost(dataset, model, method, a)/pace[model]/(2 if method in [*cams, *published, 'Random'] else 1)

# networks and series

def loaders(dataset, seed):
    "The loaders of a set and, where it is planted, the truth of its validation series"
    if dataset in archive: return TSDataLoaders.from_dataset(dataset, bs=recipe['bs'], batch_tfms=Standardize(recipe['scale'])),None
    how = planted_sets[dataset[6:]]
    (x,y,_),(x1,y1,mask) = planted(256, seed=100+seed, **how),planted(500, seed=0, **how) # other series train than are explained
    return TSDataLoaders.from_numpy(torch.cat([x,x1]), torch.cat([y,y1]).numpy(), valid_idx=range(256, 756), bs=recipe['bs']),mask

def train(dataset, model, seed, n_steps, folder):
    "A network, trained here or before: (network, loaders, truth, accuracy on the test series)"
    path = folder/f'{dataset}-{model}-{seed}-{n_steps}.pth'
    set_seed(seed)
    dls,mask = loaders(dataset, seed)
    net = nets[model](dls.one_batch()[0].shape[1], dls.c)
    if not path.exists():
        learn = ts_learner(dls, net, cbs=Quiet())
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(max(1, round(n_steps/len(dls.train))), recipe['lr'])
        learn.remove_cbs(Quiet)
        with learn.no_bar(), learn.no_logging(): loss,acc = learn.validate()
        keep(path, lambda tmp: torch.save(dict(state=net.state_dict(), accuracy=float(acc)), tmp))
    was = torch.load(path)
    net.load_state_dict(was['state'])
    return net.eval(),dls,mask,was['accuracy']

def spread(y, n):
    "`n` items, the classes in turn, evenly over the items of each: the first ones alone are spread as well"
    own = [(y==c).nonzero()[:,0].tolist() for c in y.unique()]
    k = -(-min(n, len(y))//len(own))
    own = [[o[i*len(o)//min(k, len(o))] for i in range(min(k, len(o)))] for o in own]
    turns = [o[i] for i in range(max(map(len, own))) for o in own if i<len(o)]
    rest = [i for i in range(len(y)) if i not in {*turns}] # where a class has fewer items than its turns
    return (turns+rest)[:n]

@cache
def subject(dataset, model, seed, n_steps, n, folder):
    "What is explained: network, series, their predicted classes, truth, training series, facts"
    net,dls,mask,acc = train(dataset, model, seed, n_steps, folder)
    x,y = (as_plain(o) for o in get_batch(dls.valid, range(len(dls.valid_ds))))
    idxs = spread(y, n)
    x,mask,N = x[idxs],None if mask is None else mask[idxs],len(dls.train_ds)
    refs = as_plain(get_batch(dls.train, [i*N//20 for i in range(20)] if N>20 else range(N))[0])
    with torch.no_grad(): c = torch.cat([net(o).argmax(1) for o in x.split(16)])
    return net,x,c,mask,refs,dict(accuracy=round(acc, 4), shape=[*x.shape[1:]], classes=dls.c, train=N, test=len(y), idxs=idxs)

# cells

def keep(fname, text):
    "Whole or not at all, whoever else writes: a str, or a function that writes a file"
    fname.parent.mkdir(parents=True, exist_ok=True)
    tmp = fname.with_name(f'.{fname.name}.{os.getpid()}.tmp')
    try:
        if callable(text): text(tmp)
        else: tmp.write_text(text, encoding='utf-8')
        os.replace(tmp, fname)
    finally: tmp.unlink(missing_ok=True)

def cell_path(dataset, model, method, seed, a): return a.cells/dataset/f'{model}-{seed}-{a.n_steps}'/f'{method}.json'

_read = {}
def load(path):
    "A cell, or None; read again only where it has changed"
    try: at = path.stat().st_mtime_ns
    except FileNotFoundError: return None
    if _read.get(path, (0,))[0]!=at: _read[path] = at,json.loads(path.read_text(encoding='utf-8'))
    return _read[path][1]

def numbers(cell, a): # of the present setting: metric -> series that have one
    return {k: len(o['values']) for k,o in cell['metrics'].items() if o['params']==params_of(k, a) and o['of']==n_items(cell['dataset'], a)}

def missing(dataset, model, method, seed, a):
    "What a cell has not yet: metric -> series"
    want,cell = plan(dataset, model, method, a)[0],load(cell_path(dataset, model, method, seed, a))
    if cell is None or a.redo: return want
    there = numbers(cell, a)
    return {} if cell['refused'] else {k:n for k,n in want.items() if k not in cell['raised'] and there.get(k, 0)<n}

def run_cell(dataset, model, method, seed, a):
    "All that is missing of a cell, beside what was there"
    net,x,c,mask,refs,facts = subject(dataset, model, seed, a.n_steps, n_items(dataset, a), a.networks)
    path,start = cell_path(dataset, model, method, seed, a),time.perf_counter()
    old = {} if a.redo else load(path) or {}
    cell = dict(dataset=dataset, model=model, method=method, seed=seed, n_steps=a.n_steps, **facts, refused=None, raised=dict(old.get('raised', {})),
                seconds=old.get('seconds', 0), metrics=dict(old.get('metrics', {})))
    m = random_map(seed) if method=='Random' else raw_method(attr_methods[method])
    if method=='expected_grads': m = partial(m, baselines=refs)
    try: attrs = m(x, c, net)
    except ValueError as e: cell['refused'] = str(e)
    else:
        for o,n in missing(dataset, model, method, seed, a).items():
            own = dict(mask=mask[:n]) if o in truth else {}
            try: v = attr_metrics[o](m if o in sane else precomputed(attrs[:n]), x[:n], c[:n], net, **params_of(o, a), **own)
            except ValueError as e: cell['raised'][o] = str(e)
            else: cell['metrics'][o] = dict(params=params_of(o, a), of=n_items(dataset, a), values=[round(i, 6) for i in v.tolist()])
    cell['seconds'] = round(cell['seconds'] + time.perf_counter()-start, 2)
    keep(path, json.dumps(cell)+'\n')

# the table

@cache
def interval(values):
    "Mean and 95 % interval over series"
    return tuple(round(float(o), 4) for o in bootstrap_ci(torch.tensor(values, dtype=torch.double)))

def all_cells(a):
    "The cells that are there, whatever was asked for this time"
    found = (load(cell_path(d, m, k, s, a)) for d in datasets for m in nets for k in methods for s in a.seeds)
    return [o for o in found if o]

def find_rows(cells, a):
    "(dataset, model, method, metric) -> (mean, lo, hi); a series counts once, with its mean over seeds"
    res = {}
    for o in cells:
        for k in numbers(o, a): res.setdefault((o['dataset'],o['model'],o['method'],k), []).append(o['metrics'][k]['values'])
    return {k: interval(tuple(map(mean, zip(*v)))) for k,v in res.items()}

def read_csv(fname):
    if not fname.exists(): return {}
    with fname.open(newline='', encoding='utf-8') as f: rows = list(csv.reader(f))
    if rows[0]!=columns: sys.exit(f'{fname} has columns {rows[0]}, expected {columns}')
    return {tuple(o[:4]): tuple(float(v) if v else math.nan for v in o[4:]) for o in rows[1:]}

def write_csv(fname, rows):
    text = io.StringIO()
    w = csv.writer(text, lineterminator='\n')
    w.writerow(columns)
    w.writerows([*k, *('' if math.isnan(o) else o for o in v)] for k,v in rows.items())
    keep(fname, text.getvalue())

def in_order(rows):
    "Rows by set, network, method and metric, as these are listed above"
    order = [{k:i for i,k in enumerate(o)} for o in (datasets, nets, methods, [*faith, *sane, *truth, *attr_metrics])]
    return dict(sorted(rows.items(), key=lambda o: [w.get(k, 10**6) for w,k in zip(order, o[0])]))

# the page

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def num(v): # without the zero before the point
    return '' if v is None or math.isnan(v) else f'{v:.3f}'.replace('0.', '.', abs(v)<1)

def span(v): return '' if v is None else f'{num(v[0])} ± {num(v[1])}'

def shared(rows, metric, model, sets):
    "The sets that nine of ten methods have, in order"
    have = {d: sum((d,model,k,metric) in rows for k in methods) for d in sets}
    return [d for d in sets if have[d] and have[d]>=.9*max(have.values())]

def over_sets(rows, metric, model, sets):
    "method -> (mean over sets, half the width of its interval), of the methods that have all of them, the best first"
    res = {}
    for k in methods:
        v = [rows.get((d,model,k,metric)) for d in sets]
        if v and all(v): res[k] = mean(o[0] for o in v),math.sqrt(sum(((o[2]-o[1])/2)**2 for o in v))/len(v)
    return dict(sorted(res.items(), key=lambda o: o[1][0]*(-1 if attr_metrics[metric].higher_is_better else 1)))

def ranks(best):
    "method -> its rank, without Random's"
    return {k:i+1 for i,k in enumerate(o for o in best if o!='Random')}

def by_model(rows, metric, model, sets, beside=None):
    "One line a method, one column a set; in brackets where the interval reaches that of a random map"
    sets = shared(rows, metric, model, sets)
    best = over_sets(rows, metric, model, sets)
    if not best: return ''
    rest,rank,up = [k for k in methods if k not in best and any((d,model,k,metric) in rows for d in sets)],ranks(best),attr_metrics[metric].higher_is_better
    def cell(d, k):
        if not (v := rows.get((d,model,k,metric))): return ''
        r = rows.get((d,model,'Random',metric))
        same = r and k!='Random' and (v[1]<=r[2] if up else v[2]>=r[1])
        return f'({num(v[0])})' if same else num(v[0])
    lines = [[f'`{k}`', rank.get(k, ''), span(best.get(k)), *([num(beside.get(k))] if beside else []), *(cell(d, k) for d in sets)] for k in [*best, *rest]]
    return table(['method', 'rank', 'mean ± 95 %', *(['published'] if beside else []), *(d.removeprefix('synth/') for d in sets)], lines)

def overview(rows, metric, sets):
    "One line a method, the mean over sets and its rank for each network"
    best = {m: over_sets(rows, metric, m, shared(rows, metric, m, sets)) for m in nets}
    best = {m:o for m,o in best.items() if o}
    rank,all_of = {m: ranks(o) for m,o in best.items()},{k for o in best.values() for k in o}
    place = lambda k: mean(rank[m].get(k, len(methods)) for m in best)
    lines = [[f'`{k}`', *(span(o.get(k))+(f' ({rank[m][k]})' if k in rank[m] else '') for m,o in best.items())]
             for k in sorted(all_of, key=lambda k: (k=='Random', place(k)))]
    return table(['method', *best], lines) if best else ''

def sanity(rows):
    "One line a method: means over sets and networks, and how often it failed"
    def cell(k, o):
        v = [v[0] for (d,m,j,e),v in rows.items() if j==k and e==o and d in archive]
        if not v: return ''
        return num(mean(v)) + ('' if attr_metrics[o].flag is None else f" ({sum(map(attr_metrics[o].flags, v))} of {len(v)})")
    lines = [[f'`{k}`', *(cell(k, o) for o in [*sane,'sparsity'])] for k in methods]
    lines = [o for o in lines if any(o[1:])]
    return table(['method', *(attr_metrics[o].name for o in [*sane,'sparsity'])], lines) if lines else ''

def flagged(rows, metric):
    "Methods that fail a sanity check in more than half of their cells"
    own = {k: [attr_metrics[metric].flags(v[0]) for (d,m,j,e),v in rows.items() if j==k and e==metric] for k in methods}
    return [k for k,v in own.items() if v and sum(v)>len(v)/2]

def names(ks): return ', '.join(f'`{k}`' for k in ks) or 'none'

def said(rows):
    "What the numbers say, and no more"
    lines,value = [],lambda best, ks: ', '.join(f'`{k}` {num(best[k][0])}' for k in ks) or 'none'
    for m in nets:
        sets = shared(rows, 'degradation_score', m, archive)
        best = over_sets(rows, 'degradation_score', m, sets)
        if len(best)<2 or 'Random' not in best: continue
        rank,own = ranks(best),[o for o in best if o!='Random']
        above = [k for k in own if all(rows[d,m,k,'degradation_score'][1]>0 for d in sets)]
        family = ', '.join(f'`{k}` {num(best[k][0])} (rank {rank[k]})' for k in own if k in cams)
        lines.append(f"{m}, degradation score over {', '.join(sets)}: highest are {value(best, own[:3])}; Random has {span(best['Random'])}. "
                     f"By the interval above 0 on every set: {len(above)} of {len(own)} methods ({names(above)}); "
                     f"not above 0 in the mean over sets: {names(k for k in own if best[k][0]<=best[k][1])}. The CAM family: {family or 'none'}.")
        if m=='inception_time' and (pub := [k for k in own if k in published]):
            lines.append(f"Of the methods with a published figure, ours come in the order {value(best, pub)}; "
                         f"published, on other sets: {', '.join(f'`{k}` {num(v)}' for k,v in published.items())}.")
    for m in nets:
        sets = shared(rows, 'average_precision', m, planted_names)
        best = over_sets(rows, 'average_precision', m, sets)
        if len(best)<2 or 'Random' not in best: continue
        own = [o for o in best if o!='Random']
        lines.append(f"{m}, average precision where the truth is known, {len(sets)} sets: highest are {value(best, own[:3])}, lowest {value(best, own[-3:])}; "
                     f"Random has {span(best['Random'])}.")
    for o in ('class_sensitivity','model_randomization'):
        if any(k[3]==o for k in rows): lines.append(f"{attr_metrics[o].name}: in more than half of their cells fail {names(flagged(rows, o))}.")
    return '\n'.join(f'- {o}' for o in lines)

def left_out(cells, a):
    "Why cells or metrics are not there: reason -> where, as text"
    why = [(f'`{k}`', reason, d) for d in datasets for k in methods if (reason := not_for(d, k))]
    for o in cells:
        at = f"{o['dataset']} ({o['model']})"
        if o['refused']: why.append((f"`{o['method']}`", o['refused'], at))
        why += [(f"`{o['method']}`, {k}", v, at) for k,v in o['raised'].items()]
    lines = [f"- {what}: {reason}. {', '.join(dict.fromkeys(at))}." for (what,reason),at in grouped(why)]
    dear = grouped((o, d, f'`{k}`') for d in archive for k in methods for o in plan(d, 'fcn', k, a)[1])
    dear = grouped((', '.join(ks) if len(ks)<len(methods)-2 else 'all methods', o, d) for (o,d),ks in dear)
    return '\n'.join(lines+[f"- {attr_metrics[o].name}, too dear on {', '.join(ds)}: {ks}." for (ks,o),ds in sorted(dear, key=lambda o: o[0][1])])

def grouped(rows):
    "Rows (a, b, c) as ((a, b), [c, ...])"
    res = {}
    for *k,v in rows: res.setdefault(tuple(k), []).append(v)
    return list(res.items())

marks = '<!-- words: begin -->','<!-- words: end -->'
def setting(a): return json.dumps({k: getattr(a, k) for k in ('items','planted','steps','sane','n_steps','seeds','parts','samples')})

def own_words(fname):
    "What somebody wrote between the marks"
    text = fname.read_text(encoding='utf-8') if fname.exists() else ''
    return text.split(marks[0])[1].split(marks[1])[0].strip('\n') if marks[0] in text and marks[1] in text else ''

def networks_table(cells, a):
    lines = []
    for d in datasets:
        own = [o for o in cells if o['dataset']==d]
        if not own: continue
        o,n = own[0],max([0, *(n for c in own for n in numbers(c, a).values())])
        few = ', too few to trust an interval' if n<30 else ''
        accs = {m: mean({c['seed']: c['accuracy'] for c in own if c['model']==m}.values()) for m in nets if any(c['model']==m for c in own)}
        lines.append([d, f"{o['shape'][0]}x{o['shape'][1]}", o['classes'], o['train'], o['test'], f'{n}{few}', *(num(accs.get(m)) for m in nets)])
    return table(['set', 'C x T', 'classes', 'train', 'test', 'explained', *(f'{m}, accuracy' for m in nets)], lines)

def report(rows, cells, a):
    there = {(o['dataset'],o['model'],o['method']) for o in cells}
    asked = {(d,m,k) for d in datasets for m in nets for k in methods if not not_for(d, k)}
    old = sum(k[:3] not in there for k in rows)
    per_model = '\n'.join(f"### {m}\n\n{t}" for m in nets if (t := by_model(rows, 'degradation_score', m, archive, published if m=='inception_time' else None)))
    truths = '\n'.join(f"### {attr_metrics[o].name}\n\n{t}" for o in truth if (t := overview(rows, o, planted_names)))
    per_set = '\n'.join(f"### Average precision, {m}\n\n{t}" for m in nets if (t := by_model(rows, 'average_precision', m, planted_names)))
    others = '\n'.join(f"### {attr_metrics[o].name}, {'higher' if attr_metrics[o].higher_is_better else 'lower'} is better\n\n{t}"
                       for o in faith[1:] if (t := overview(rows, o, archive)))
    minutes,flags = sum(o['seconds'] for o in cells)/60,[attr_metrics[o] for o in sane if attr_metrics[o].flag is not None]
    fails = '; '.join(f"{o.name} {'at most' if o.higher_is_better else 'at least'} {o.flag}" for o in flags)
    return f"""# How far maps can be trusted

<!-- setting: {setting(a)} -->
`python benchmarks/faithfulness.py{' --full' if a.protocol=='full' else ''}`, torch {torch.__version__}, {platform.machine()}, one thread,
{minutes:.0f} minutes without the trainings; {len(there & asked)} of {len(asked)} cells are there.
{f'{old} rows of the table are of an earlier run, whose values by series are not here.' if old else ''}
{marks[0]}
{own_words(a.page)}
{marks[1]}

## In the numbers

{said(rows)}

## What was done

Networks: the recipe of `accuracy.md` with {a.n_steps} optimiser steps, seed{'s' if len(a.seeds)>1 else ''} {', '.join(map(str, a.seeds))}. Explained is the
predicted class, of test series: at most {a.items:,} a set ({a.planted} of planted ones), and no more than {a.steps:,} steps altogether but 10 series
at least, the classes in turn. Every method has its default parameters; `expected_grads` has 20 training series to compare with; maps are raw and
signed. Replaced steps become the series' mean. Curves of `deletion` and `insertion` have {a.parts} parts; `degradation_score` has 25, up to half of the
steps. `max_sensitivity` draws {a.samples} times. Sanity and robustness are asked of the first {'10 ' if a.protocol=='kept' else ''}series, of fewer where
the passes for them would see more than {a.sane:,} steps, and not at all where these are fewer than 5. Planted sets: 256 series train, others are
explained; networks see them as they are, the archive's series are scaled to mean 0 and standard deviation 1.

{networks_table(cells, a)}
## Degradation score

Mean over sets with its 95 % interval over series, and in brackets the rank. 0 is chance. Methods that lack a set have no mean.

{overview(rows, 'degradation_score', archive)}
Set by set. In brackets: the interval reaches that of a random map. Published: InceptionTime, mean over 24 cells of other sets [Baer 2025];
GradientSHAP stands beside `expected_grads`.

{per_model}
## Deletion and insertion

{others}
## Where the truth is known

Mean over planted sets.

{truths}
{per_set}
## Sanity

Means over the archive's sets and the networks, and in how many of these cells a method fails: {fails}.

{sanity(rows)}
## Left out

{left_out(cells, a)}
"""

def save(a):
    "Table and page of all cells that are there; rows that no cell covers stay"
    cells = all_cells(a)
    rows = in_order({**read_csv(a.out), **find_rows(cells, a)})
    if rows: keep(a.page, report(rows, cells, a)); write_csv(a.out, rows)
    return rows

# what is asked

def parse(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--datasets', nargs='+', choices=datasets, default=list(datasets), metavar='SET', help=', '.join(datasets))
    p.add_argument('--models', nargs='+', choices=nets, default=list(nets))
    p.add_argument('--methods', nargs='+', choices=methods, default=list(methods), metavar='METHOD', help='names in `attr_methods`, or Random')
    p.add_argument('--metrics', nargs='+', choices=attr_metrics, metavar='METRIC', help='names in `attr_metrics`; default: those of the protocol')
    p.add_argument('--items', type=int, help='series a set, at most')
    p.add_argument('--seeds', nargs='+', type=int, help='of the networks')
    p.add_argument('--n_steps', type=int, help='optimiser steps of a training')
    p.add_argument('--out', type=Path, help='the table; cells are kept in a folder of its name, the page beside it')
    p.add_argument('--networks', type=Path, default=here/'networks', help='folder of the trained networks')
    p.add_argument('--minutes', type=float, default=math.inf, help='start no cell after so many')
    p.add_argument('--full', action='store_true', help='the full protocol')
    p.add_argument('--redo', action='store_true', help='again, from the first')
    p.add_argument('--plan', action='store_true', help='say what would be done')
    p.add_argument('--table', action='store_true', help='run nothing, write table and page')
    p.set_defaults(**(full if '--full' in (sys.argv if argv is None else argv) else kept))
    a = p.parse_args(argv)
    a.cells,a.page = a.out.with_suffix(''),a.out.with_suffix('.md')
    if a.out.suffix!='.csv': p.error(f'--out must be a .csv file, got {a.out}')
    if min(a.items, a.n_steps)<1: p.error('--items and --n_steps must be at least 1')
    text = a.page.read_text(encoding='utf-8') if a.page.exists() else ''
    if '<!-- setting: ' in text and (old := text.split('<!-- setting: ')[1].split(' -->')[0])!=setting(a):
        p.error(f'{a.out} has another setting, {old}: pass another --out')
    return a

def main():
    a,start = parse(),time.perf_counter()
    saved = start
    torch.set_num_threads(1) # numbers do not depend on the machine; two cores: two commands
    todo = [(d,m,k,s) for d in a.datasets for m in a.models for k in a.methods for s in a.seeds if missing(d, m, k, s, a)]
    todo = [] if a.table else sorted(todo, key=lambda o: turn(*o[:3], a))
    left = sum(cost(*o[:3], a) for o in todo)
    print(f'{len(todo)} cells to do, about {left/60:.0f} minutes', flush=True)
    if a.plan:
        for o in todo: print(*o[:3], f'{cost(*o[:3], a):.0f} s', dict(plan(*o[:3], a)[0]))
        return
    for i,o in enumerate(todo):
        if (t := time.perf_counter()-start)>60*a.minutes: print(f'{len(todo)-i} cells are left for another time', flush=True); break
        left -= (dear := cost(*o[:3], a))
        run_cell(*o, a)
        print(f'[{i+1}/{len(todo)}]', *o[:3], f'{time.perf_counter()-start-t:.1f} s, thought {dear:.1f}; about {left/60:.0f} minutes left', flush=True)
        if time.perf_counter()-saved>20: save(a); saved = time.perf_counter()
    if not save(a): sys.exit(f'No cells in {a.cells} yet')

if __name__=='__main__': main()
