"Tables of metrics: the same numbers as the metrics alone, intervals that cover, names, classes, pairs"
import numpy as np, pytest, torch
from functools import partial
from scipy import stats
from tsviz.cam import cam_acts, grad_cam, grad_cam_acts, hires_cam
from tsviz.check import check_found
from tsviz.compare import compare, compare_curves, measure, summarise
from tsviz.faithfulness import degradation_score, deletion, deletion_curve, insertion_curve
from tsviz.gradient import gradient
from tsviz.localisation import average_precision, sparsity
from tsviz.method import precomputed
from tsviz.metrics import bootstrap_ci, random_map
from tsviz.perturb import occlusion
from tsviz.sanity import class_sensitivity, max_sensitivity
from tsviz.synth import fit_tiny, planted, tiny_cnn
from common import says

@pytest.fixture(scope='module')
def trained():
    x,y,mask = planted(100, n_channels=2, n_steps=50, n_classes=3, width=14)
    return fit_tiny(tiny_cnn(2, 3), x, y),x[:45],y[:45],mask[:45]

def test_form(trained):
    model,x,y,mask = trained
    with check_found(model, x, y, mask): df = compare([grad_cam, gradient], [deletion, average_precision, sparsity], x, y, model, mask=mask)
    assert [*df.index]==['grad_cam','gradient','Random'] and df.index.name=='method'
    assert [*df.columns]==[(m,k) for m in ('deletion','average_precision','sparsity') for k in ('mean','lo','hi')]
    assert df.columns.names==['metric','95 % interval'] and df.attrs['short']==[] and df.attrs['n']==dict.fromkeys(df.index, 45)
    assert df.attrs['metrics']['deletion']==dict(name='Deletion', range=(0,1), higher_is_better=False, flag=None)
    assert (df.xs('lo', axis=1, level=1)<df.xs('mean', axis=1, level=1)).all(axis=None) and (df.xs('hi', axis=1, level=1)>df.xs('mean', axis=1, level=1)).all(axis=None)

def test_numbers(trained):
    "A cell is the metric's mean and the BCa interval, SciPy's too"
    model,x,y,mask = trained
    df = compare([grad_cam], [degradation_score, max_sensitivity], x, y, model, seed=3, n_boot=8000)
    for metric in (degradation_score, max_sensitivity):
        for name,method in dict(grad_cam=grad_cam, Random=random_map(3)).items():
            v = metric(method, x, y, model, seed=3).double().numpy()
            want = stats.bootstrap((v,), np.mean, n_resamples=8000, method='BCa', rng=0).confidence_interval
            got = df.loc[name, metric.__name__]
            assert abs(got['mean']-v.mean())<1e-6 and abs(got['lo']-want.low)<.05*np.ptp(want) and abs(got['hi']-want.high)<.05*np.ptp(want)

def test_maps_are_made_once(trained):
    "Three metrics of one method ask for each map once, but where they need others"
    model,x,y,_ = trained
    asked = []
    def fn(o, *_): asked.append(1); return o[:1]*1.
    compare([fn], [deletion, degradation_score, sparsity], x[:7], y[:7], model)
    assert len(asked)==7
    compare([fn], [deletion, class_sensitivity], x[:7], y[:7], model)
    assert len(asked)==7+14

def test_paired(trained):
    model,x,y,_ = trained
    df = compare([cam_acts, grad_cam, gradient], [degradation_score, deletion], x, y, model, paired=True)
    v = {k: {o.__name__: m(o, x, y, model).double() for o in (cam_acts, grad_cam, gradient, random_map())} for k,m in dict(degradation_score=degradation_score, deletion=deletion).items()}
    for k,sign in dict(degradation_score=1, deletion=-1).items():
        best = max(v[k], key=lambda o: sign*v[k][o].mean())
        assert df.attrs['best'][k]==best and df.loc[best,k].tolist()==[0,0,0]
        for o in v[k]:
            mean,lo,hi = bootstrap_ci(v[k][o]-v[k][best])
            assert np.abs(df.loc[o,k].to_numpy()-[mean.item(),lo.item(),hi.item()]).max()<1e-6
            assert sign*df.loc[o,k]['mean']<=0
    plain = compare([cam_acts, grad_cam, gradient], [degradation_score], x, y, model)
    assert df.attrs['paired'] and not plain.attrs['paired'] and plain.attrs['best'] is None

def test_by_class(trained):
    model,x,y,_ = trained
    df = compare([grad_cam], [deletion], x, y, model, by_class=True)
    assert df.index.names==['method','class'] and [*df.index]==[(m,c) for m in ('grad_cam','Random') for c in range(3)]
    for c in range(3):
        mean,lo,hi = bootstrap_ci(deletion(grad_cam, x[y==c], y[y==c], model))
        assert np.abs(df.loc[('grad_cam',c),'deletion'].to_numpy()-[mean,lo,hi]).max()<1e-5
    assert df.attrs['n'][('grad_cam',0)]==15 and 'too short to trust' in df.columns.names[1]
    with torch.no_grad(): c = model(x).argmax(1)
    pred = compare([grad_cam], [deletion], x, None, model, by_class=True) # the classes predicted
    assert {k[1] for k in pred.index}==set(c.tolist())
    with says(ValueError, 'by_class', 'class'): compare([grad_cam], [deletion], x, lambda out: out[:,0], model, by_class=True)

def test_few_items(trained):
    model,x,y,_ = trained
    df = compare([grad_cam], [deletion], x[:12], y[:12], model)
    assert '12 of 30' in df.columns.names[1] and 'too short to trust' in df.columns.names[1] and df.attrs['short']==['grad_cam','Random']
    one = compare([grad_cam], [deletion], x[:1], y[:1], model)
    assert one['deletion']['lo'].isna().all() and 'none' in one.columns.names[1] and one['deletion']['mean'].notna().all()
    whole = compare([grad_cam], [deletion], x[:30], y[:30], model)
    assert whole.columns.names[1]=='95 % interval'

def test_names(trained):
    model,x,y,_ = trained
    df = compare([partial(occlusion, window=5), partial(occlusion, window=10), grad_cam], [deletion, partial(deletion, baseline='zero')], x[:4], y[:4], model)
    assert [*df.index]==['occlusion(window=5)','occlusion(window=10)','grad_cam','Random']
    assert [*dict.fromkeys(df.columns.get_level_values(0))]==['deletion','deletion(baseline=zero)']
    df = compare({'mine': grad_cam, 'Random': random_map(7)}, deletion, x[:4], y[:4], model)
    assert [*df.index]==['mine','Random']
    df = compare(partial(occlusion, window=5), [deletion], x[:4], y[:4], model)
    assert [*df.index]==['occlusion','Random']

def test_what_a_cell_is_made_of(trained):
    "A parameter that a `partial` fixed wins; maps are raw; `items` say which given maps are theirs"
    model,x,y,mask = trained
    def level(o): return 0*o
    flat,late = precomputed(torch.ones(45,1,50)),partial(degradation_score, seed=5, baseline=level)
    got = measure([flat, grad_cam_acts], [late, sparsity], x[:6], y[:6], model, seed=1).values
    assert np.abs(got[0,0]-degradation_score(flat, x[:6], y[:6], model, seed=5, baseline='zero').numpy()).max()<1e-6
    assert np.abs(got[1,1]-sparsity(partial(grad_cam_acts, force_scale=False), x[:6], y[:6], model).numpy()).max()<1e-6
    names = [*summarise(measure([flat], [late, degradation_score], x[:6], y[:6], model)).columns.levels[0]]
    assert set(names)=={'degradation_score(seed=5, baseline=level)','degradation_score'}
    got = measure([gradient], [sparsity], x[:6], y[:6], model, bs=4).values[0,0]
    assert np.abs(got-sparsity(gradient, x[:6], y[:6], model).numpy()).max()<1e-6
    maps,some = torch.randn(9, 1, 50, generator=torch.Generator().manual_seed(0)),torch.tensor([7,1,4])
    got = measure([precomputed(maps)], [sparsity], x[:3], y[:3], model, items=some).values[0,0]
    assert np.abs(got-sparsity(precomputed(maps[some]), x[:3], y[:3], model).numpy()).max()<1e-6

def test_batches_are_one_set(trained):
    model,x,y,mask = trained
    whole = measure([grad_cam], [deletion, average_precision], x, y, model, mask=mask)
    parts = [measure([grad_cam], [deletion, average_precision], x[i:i+10], y[i:i+10], model, mask=mask[i:i+10]) for i in range(0, 45, 10)]
    a,b = summarise(whole),summarise(parts)
    assert np.abs(a-b).max(axis=None)<1e-5 and np.abs(np.concatenate([o.values for o in parts], 2)-whole.values).max()<1e-5
    assert whole.values.shape==(2,2,45) and whole.classes.tolist()==y.tolist()

def test_unequal_lengths(trained):
    model,x,y,mask = trained
    ns = [50,30,50,30,22]
    pad = x[:5].clone()
    for i,n in enumerate(ns): pad[i,:,n:] = 7.
    got = measure([grad_cam], [deletion], pad, None, model, lengths=ns)
    want = [measure([grad_cam], [deletion], x[i:i+1,:,:n], None, model).values[:,:,0] for i,n in enumerate(ns)]
    assert np.abs(got.values-np.stack(want, 2)).max()<1e-5

def test_intervals_cover():
    "Simulated bounded scores of 50 series: the interval holds the true mean in 92 to 97 % of 1,000 runs"
    g = np.random.default_rng(0)
    for draw,mean in [(lambda: g.beta(2, 5, (50,1000)), 2/7), (lambda: g.uniform(-1, 1, (50,1000)), 0.), (lambda: g.beta(.8, 3, (50,1000)), .8/3.8)]:
        _,lo,hi = bootstrap_ci(draw())
        assert .92<=((lo<mean) & (mean<hi)).double().mean()<=.97

def test_curves(trained):
    model,x,y,_ = trained
    got = compare_curves([grad_cam, hires_cam], x, None, model, curve=partial(insertion_curve, n_steps=8, baseline='zero'))
    assert [*got]==['grad_cam','hires_cam','Random'] and all(o.shape==(45,9) for o in got.values())
    assert torch.allclose(got['grad_cam'], insertion_curve(grad_cam, x, None, model, n_steps=8, baseline='zero'), atol=1e-6)

def test_errors(trained):
    model,x,y,mask = trained
    for kw,words in [(dict(methods=['grad_cam']), ("'grad_cam'",'functions')), (dict(metrics=['deletoin']), ("'deletoin'","'deletion'")), (dict(metrics=[grad_cam]), ('attr_metric',)),
                     (dict(methods=[]), ('empty',)), (dict(methods=[grad_cam,grad_cam]), ('dict',)), (dict(x=x[0]), ('(B,C,T)',)), (dict(x=x[:0]), ('(0, 2, 50)','one or more')), (dict(metrics=[deletion_curve]), ('deletion_curve of grad_cam','compare_curves')),
                     (dict(metrics=[average_precision]), ('average_precision of grad_cam','mask')),
                     (dict(n_boot=0), ('n_boot',)), (dict(seed=-1), ('seed',))]:
        with says(ValueError, *words): compare(**{**dict(methods=[grad_cam], metrics=[deletion], x=x, y=y, model=model), **kw})
    def broken(*_): raise KeyError('oops')
    with says(RuntimeError, 'deletion of broken', 'oops'): compare([broken], [deletion], x, y, model)
    a,b = [measure([o], [deletion], x[:2], y[:2], model) for o in (grad_cam, gradient)]
    with says(ValueError, 'same methods'): summarise([a, b])
    with says(ValueError, 'same methods and metrics'): summarise([a, measure([grad_cam], [sparsity], x[:2], y[:2], model)])
    with says(ValueError, '`measured` is empty'): summarise([])
    with says(ValueError, '`x`', '(2, 50)'): compare_curves([grad_cam], x[0], 0, model)
    with says(ValueError, '`curve`', 'deletion', '`compare`'): compare_curves([grad_cam], x[:2], 0, model, curve=deletion)
    with says(ValueError, 'attr_metric'): compare_curves([grad_cam], x[:2], 0, model, curve=grad_cam)

def test_progress(trained):
    model,x,y,_ = trained
    seen = []
    def bar(items):
        assert len(items)==4
        for o in items: seen.append(o); yield o
    compare([grad_cam], [deletion, sparsity], x[:3], y[:3], model, progress=bar)
    assert len(seen)==4
