"Tables of metrics and curves of scores: what is drawn, read back"
import io
import matplotlib
matplotlib.use('Agg')
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from common import says
from tsviz.check import check_found
from tsviz.curves import show_compare, show_curves, _colors, _find_looks
from tsviz.method import method_name
from tsviz.metrics import bootstrap_ci
from tsviz.perturb import occlusion
from tsviz.plot import new_fig
from tsviz.synth import tiny_cnn

model = tiny_cnn()
pytestmark = pytest.mark.usefixtures('nothing_left_behind')

# show_compare

info = dict(deletion=dict(name='Deletion', range=(0,1), higher_is_better=False, flag=None),
            aopc=dict(name='Area', range=(-1,1), higher_is_better=True, flag=None),
            class_sensitivity=dict(name='Class sensitivity', range=(0,1), higher_is_better=True, flag=.01),
            model_randomization=dict(name='Model randomization', range=(0,1), higher_is_better=False, flag=.9))
rows = ['grad_cam','occlusion','mine','Random']
values = np.array([[.3,.2,.5,.1],[.1,.4,.7,.2],[.2,.3,.01,.95],[.5,.0,.9,.05]]) # (methods, metrics)

def table(idx=rows, v=values, metrics=info, n=50, **attrs):
    "A table as `compare` gives it, the intervals .05 below and .1 above"
    v = np.asarray(v, float)
    res = pd.DataFrame(np.stack([v,v-.05,v+.1], 2).reshape(len(v), -1), idx, pd.MultiIndex.from_product([list(metrics),['mean','lo','hi']], names=['metric','95 % interval']))
    res.attrs = dict(metrics=metrics, n={o:n for o in idx}, short=[*idx] if n<30 else [], paired=False, level=.95) | attrs
    return res

def by_class(k=2, **kwargs):
    idx = pd.MultiIndex.from_product([rows,range(k)], names=['method','class'])
    return table(idx, np.repeat(values, k, 0)+.01*np.tile(np.arange(k), len(rows))[:,None], **kwargs)

def axes(fig): return [ax for ax in fig.axes if ax.get_title()]
def names(ax): return [o.get_text() for o in ax.get_yticklabels()]
def dots(ax): return sorted((y,x,l.get_marker(),l.get_markerfacecolor(),l.get_color()) for l in ax.lines if l.get_linestyle()=='None' for x,y in zip(*l.get_data()))
def whiskers(ax): return sorted((s[0,1],*s[:,0]) for o in ax.collections if hasattr(o, 'get_segments') and (o.get_linewidth()==1.6).all() for s in o.get_segments())
def said(ax): return [o.get_text() for o in ax.texts]
def key(fig): return [o.get_text() for l in fig.legends for o in l.get_texts()]
def randoms(ax): return [(l.get_xdata()[0],*l.get_ydata()) for l in ax.lines if l.get_linestyle()=='--']

def test_an_axes_a_metric_a_row_a_method():
    "Each dot is the mean and each whisker the interval; the best of the first metric on top, in one order for all; Random is no row"
    df = table()
    before = df.copy(deep=True)
    with check_found(model): fig = show_compare(df)
    pd.testing.assert_frame_equal(df, before); assert df.attrs==before.attrs
    assert isinstance(fig, Figure) and [o.get_title() for o in axes(fig)]==[o['name'] for o in info.values()]
    assert names(axes(fig)[0])==[method_name(occlusion),'mine','Grad-CAM']
    order = [1,2,0]
    for i,ax in enumerate(axes(fig)):
        assert ax.get_ylim()==(2.5,-.5)
        np.testing.assert_allclose([(y,x) for y,x,*_ in dots(ax)], [(j,values[r,i]) for j,r in enumerate(order)])
        np.testing.assert_allclose(whiskers(ax), [(j,values[r,i]-.05,values[r,i]+.1) for j,r in enumerate(order)])
        assert randoms(ax)==[(values[3,i],-.5,2.5)]
        band, = [o for o in ax.collections if o.get_zorder()==.5]
        np.testing.assert_allclose([band.get_datalim(ax.transData).x0,band.get_datalim(ax.transData).x1], [values[3,i]-.05,values[3,i]+.1])
    assert key(fig)==['mean and 95 % interval of 50 series','fails the sanity check','Random: maps of noise']

def test_direction_is_told():
    fig = show_compare(table())
    assert [said(o)[-1] for o in axes(fig)]==['← lower is better','higher is better →','higher is better →','← lower is better']

@pytest.mark.parametrize('metrics,first', [(['aopc','deletion'],'occlusion'), (['class_sensitivity'],'occlusion'), ('model_randomization','grad_cam')])
def test_metrics_are_chosen_and_the_first_gives_the_order(metrics, first):
    fig = show_compare(table(), metrics, names={o:o for o in rows})
    assert [o.get_title() for o in axes(fig)]==[info[o]['name'] for o in ([metrics] if isinstance(metrics, str) else metrics)]
    assert names(axes(fig)[0])[0]==first
    assert names(axes(show_compare(table(), metrics, sort=False, names={o:o for o in rows}))[0])==rows[:3]

def test_flagged_methods_are_crossed_and_named():
    "At or beyond the value a metric allows, in its own direction"
    fig = show_compare(table())
    marks = [{y:m for y,_,m,*_ in dots(ax)} for ax in axes(fig)]
    assert marks==[{0:'o',1:'o',2:'o'}]*2+[{0:'o',1:'x',2:'o'}]*2
    assert ['fails' in said(o) for o in axes(fig)]==[False,False,True,True]
    left,right = ([t for t in ax.texts if t.get_text()=='fails'][0].get_ha() for ax in axes(fig)[2:])
    assert (left,right)==('left','right')
    assert 'fails' not in ' '.join(key(show_compare(table(), ['deletion'])))
    assert not any('fails' in said(o) for o in axes(show_compare(table(paired=True))))

def test_too_few_series_are_hollow():
    fig = show_compare(table(n=12))
    assert {f for ax in axes(fig)[:2] for *_,f,_ in dots(ax)}=={'w'}
    assert key(fig)[0]=='mean and 95 % interval of 12 series: fewer than 30 are too few to trust the interval'
    some = show_compare(table(short=['mine']), 'deletion')
    assert [f=='w' for *_,f,_ in dots(axes(some)[0])]==[False,True,False]
    assert key(some)[1]=='fewer than 30 series: the interval is too short to trust'
    assert not any(f=='w' for *_,f,_ in dots(axes(show_compare(table()))[0]))

@pytest.mark.parametrize('k', [2,3,9])
def test_classes_have_lanes(k):
    "A colour and a lane a class, in the row of its method, each with its own Random"
    fig = show_compare(by_class(k), 'deletion')
    [ax] = axes(fig)
    assert names(ax)[1:]==['mine','Grad-CAM'] and ax.get_ylim()==(2.5,-.5)
    found = sorted(dots(ax), key=lambda o: o[0])
    np.testing.assert_allclose([x for _,x,*_ in found], [values[r,0]+.01*c for r in (1,2,0) for c in range(k)])
    at = np.array([y for y,*_ in found]).reshape(3, k)
    np.testing.assert_allclose(at, np.arange(3)[:,None]+.84/k*(np.arange(k)-(k-1)/2))
    looks = {(c,m) for *_,m,_,c in found}
    assert len(looks)==k
    np.testing.assert_allclose(sorted(randoms(ax)), sorted((.5+.01*c,y-.42/k,y+.42/k) for c in range(k) for y in at[:,c]))
    assert key(fig)[-k:]==[f'class {c}' for c in range(k)]

def test_classes_are_named_and_counted():
    df = by_class()
    df.attrs['n'] = {o:(40,1)[o[1]] for o in df.index}
    assert key(show_compare(df, classes=['rise','fall']))[-2:]==['rise (40 series)','fall (one series)']
    assert key(show_compare(df, classes={1:'fall'}))[-2:]==['0 (40 series)','fall (one series)']
    df.index = df.index.set_levels(['grad_cam','rest'], level=1) # a class that is called as a method is
    assert key(show_compare(df))[-2:]==['grad_cam','rest']
    with says(ValueError, '`classes`'): show_compare(by_class(), classes={'7':'x'})

def test_paired_differences_stand_beside_the_best():
    fig = show_compare(table(v=values-values[[1,1,1,0],[0,1,2,3]], paired=True))
    for ax in axes(fig):
        assert [l for l in ax.lines if list(l.get_xdata())==[0,0] and l.get_linestyle()=='-']
        assert ax.get_xlabel()=='difference from the best'
    assert key(fig)[-1]=='the best method'

def test_what_has_no_value():
    "No dot, but a word; and at the end of the order"
    v = values.copy(); v[1,0] = np.nan
    [ax] = axes(fig := show_compare(table(v=v), 'deletion'))
    assert names(ax)==['mine','Grad-CAM',method_name(occlusion)] and said(ax)==['no value','← lower is better']
    fig.canvas.draw()
    v[:] = np.nan
    show_compare(table(v=v)).canvas.draw()
    one = table(v=values)
    one.loc[:,(slice(None),['lo','hi'])] = np.nan # one series has no interval
    show_compare(one).canvas.draw()

def test_a_table_from_a_file(tmp_path):
    "What the table said of its metrics is lost; known metrics still know their direction, and the numbers are there"
    table().to_csv(tmp_path/'a.csv')
    df = pd.read_csv(tmp_path/'a.csv', header=[0,1], index_col=0)
    fig = show_compare(df)
    np.testing.assert_allclose(sorted(x for _,x,*_ in dots(axes(fig)[0])), [.1,.2,.3])
    assert key(fig)[0]=='mean and 95 % interval'

def test_only_random_is_a_row():
    fig = show_compare(table().loc[['Random']])
    assert names(axes(fig)[0])==['Random'] and not randoms(axes(fig)[0])
    assert not [o for o in key(fig) if 'noise' in o]

def test_without_random():
    fig = show_compare(table().loc[rows[:3]])
    assert len(names(axes(fig)[0]))==3 and not randoms(axes(fig)[0])

def test_names():
    "By the methods' printed names, by the dict, and as they are where two read alike"
    t = table(['grad_cam','grad_cam_acts','mine','Random'])
    assert sorted(names(axes(show_compare(t))[0]))==['grad_cam','grad_cam_acts','mine']
    assert sorted(names(axes(show_compare(t, names=dict(grad_cam='A', mine='B')))[0]))==['A','B','GRAD-CAM']
    with says(ValueError, "Did you mean 'grad_cam'"): show_compare(t, names=dict(gradcam='A'))

@settings(max_examples=12)
@given(m=st.integers(1, 40), n=st.integers(1, 8), k=st.integers(1, 4))
def test_any_size_is_drawn(m, n, k):
    "All axes in the figure, none on another, names not cut"
    m = max(1, min(m, 60//(n*k)))
    idx = [f'method {i}' for i in range(m)]+['Random']
    if k>1: idx = pd.MultiIndex.from_product([idx,range(k)])
    v = np.random.default_rng(m).random((len(idx),n))
    fig = show_compare(table(idx, v, {f'm{i}': dict(name=f'Metric {i}', higher_is_better=True, flag=None) for i in range(n)}))
    fig.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in axes(fig)]
    assert len(boxes)==n
    for b in boxes: assert b.x0>=-2 and b.y0>=-2 and b.x1<=fig.bbox.x1+2 and b.y1<=fig.bbox.y1+2
    for i,a in enumerate(boxes):
        for b in boxes[:i]: assert not (a.x0<b.x1-8 and b.x0<a.x1-8 and a.y0<b.y1-2 and b.y0<a.y1-2)

def test_legends_do_not_cover_axes():
    fig = show_compare(by_class(3, n=12), title='All')
    fig.draw_without_rendering()
    for l in fig.legends:
        b = l.get_window_extent()
        assert b.x0>=0 and b.x1<=fig.bbox.x1 and b.y0>=0 and all(not b.overlaps(ax.bbox) for ax in axes(fig))
    assert not show_compare(table(), legend=False).legends

def test_files_places_and_styles(tmp_path):
    fig = show_compare(table(), savefig=tmp_path/'a', markersize=9)
    assert (tmp_path/'a.png').exists() and {l.get_markersize() for l in axes(fig)[0].lines if l.get_marker()=='o'}=={9}
    assert show_compare(table(), ms=3, figsize=(9,4)).get_size_inches().tolist()==[9,4]
    sub = new_fig((9,8)).subfigures(2)[1]
    assert show_compare(table(), fig=sub, savefig=io.BytesIO()) is sub and len(axes(sub))==4

@pytest.mark.parametrize('kw,words', [(dict(metrics=['deletoin']), ["Did you mean 'deletion'"]), (dict(metrics=[]), ['empty']), (dict(figsize=5), ['in inches']),
                                      (dict(figsize=(1,1)), ['at least']), (dict(savefig='a.doc'), ['must end in'])])
def test_compare_refuses(kw, words):
    with says(ValueError, *words): show_compare(table(), **kw)

def test_compare_refuses_what_is_no_table():
    for o in (None, values, table()['deletion'], table().iloc[:0], table().drop(columns='lo', level=1)):
        with says(ValueError, 'one that `compare` gives'): show_compare(o)
    with says(TypeError, "Did you mean 'markersize'"): show_compare(table(), markersiez=3)

# show_curves

g = np.random.default_rng(0)
at = np.linspace(0, 1, 21)
curves = dict(grad_cam=np.exp(-5*at)+.02*g.random((40,21)), mine=np.exp(-3*at)+.02*g.random((40,21)), Random=np.exp(-at)+.02*g.random((40,21)))

def plain(ax): return {l.get_label(): l for l in ax.lines}
def bands(ax): return [o for o in ax.collections if len(o.get_paths())]
def keyed(ax): return [o.get_text() for o in ax.get_legend().get_texts()]

def test_means_and_bands():
    "The line is the mean, the band its interval at each share, Random dashed and grey under the others"
    with check_found(model): fig = show_curves(curves, title='Deletion')
    assert isinstance(fig, Figure)
    [ax] = fig.axes
    assert list(plain(ax))==['Grad-CAM','mine','Random'] and ax.get_xlim()==(0,1) and ax.get_title()=='Deletion'
    for (l,band),v in zip(zip(plain(ax).values(), bands(ax)), curves.values()):
        mean,lo,hi = bootstrap_ci(torch.tensor(v))
        np.testing.assert_allclose(l.get_xydata(), np.stack([at,mean], 1))
        verts = band.get_paths()[0].vertices
        for x,a,b in zip(at, lo.numpy(), hi.numpy()):
            ys = verts[np.isclose(verts[:,0], x),1]
            np.testing.assert_allclose([ys.min(),ys.max()], [a,b])
    assert [l.get_linestyle() for l in plain(ax).values()]==['-','-','--'] and plain(ax)['Random'].get_color()=='.4'
    assert plain(ax)['Random'].get_zorder()<plain(ax)['mine'].get_zorder()
    assert (ax.get_xlabel(),ax.get_ylabel())==('share of steps replaced','probability of the class')

def test_names_stand_in_the_order_of_the_lines():
    ax = show_curves(curves).axes[0]
    assert keyed(ax)==['Random','mine','Grad-CAM'] and ax.get_legend().get_title().get_text()=='mean and 95 % interval\nof 40 series'
    ax = show_curves({k:v[:9] for k,v in curves.items()}, names=dict(mine='ours'), level=.9).axes[0]
    assert keyed(ax)==['Random','ours','Grad-CAM'] and ax.get_legend().get_title().get_text()=='mean and 90 % interval\nof 9 series,\ntoo few to trust it'
    assert show_curves(curves, legend=False).axes[0].get_legend() is None

def test_tensors_and_single_curves():
    "(S,) is a line without a band; tensors of any kind, one series"
    ax = show_curves(dict(a=torch.tensor(curves['mine']).half(), b=at, c=torch.tensor(curves['mine'][:1], requires_grad=True))).axes[0]
    assert len(ax.lines)==3 and np.array_equal(plain(ax)['b'].get_ydata(), at)
    assert show_curves(dict(b=at)).axes[0].get_legend().get_title().get_text()==''
    show_curves(dict(a=[[1.,.5],[.5,.25]])).canvas.draw()
    show_curves(dict(a=np.ones((3,1)))).canvas.draw()

def test_series_without_a_value_count_for_nothing():
    v = curves['mine'].copy(); v[5:] = np.nan; v[:,-1] = np.nan
    ax = (fig := show_curves(dict(a=v, b=v*np.nan))).axes[0]
    np.testing.assert_allclose(plain(ax)['a'].get_ydata()[:-1], v[:5,:-1].mean(0))
    fig.canvas.draw()

def test_shares_of_ones_own():
    half = np.linspace(0, .5, 21)
    ax = show_curves(curves, torch.tensor(half), ylabel='difference').axes[0]
    assert ax.get_xlim()==(0,.5) and ax.get_ylabel()=='difference'
    np.testing.assert_allclose(ax.lines[0].get_xdata(), half)

def test_axes_and_figures_of_ones_own(tmp_path):
    fig = new_fig((9,3))
    a,b = fig.subplots(1, 2)
    assert show_curves(curves, ax=a) is a and show_curves(curves, ax=b, savefig=tmp_path/'c.svg', lw=3) is b and (tmp_path/'c.svg').exists()
    assert {l.get_linewidth() for l in b.lines}=={3}
    fig.draw_without_rendering()
    l = a.get_legend().get_window_extent()
    assert not l.overlaps(a.bbox) and not l.overlaps(b.get_tightbbox())
    sub = new_fig((9,3)).subfigures(1, 2)[0]
    assert show_curves(curves, fig=sub) is sub and show_curves(curves, figsize=(5,3)).get_size_inches().tolist()==[5,3]

def test_the_random_state_is_as_found_and_the_seed_is_heeded():
    before = torch.get_rng_state(),np.random.get_state()[1].copy()
    v = lambda **kw: bands(show_curves(curves, **kw).axes[0])[0].get_paths()[0].vertices
    a,b,c = v(),v(),v(seed=3)
    assert (a==b).all() and (a!=c).any()
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1]==before[1]).all()

@pytest.mark.parametrize('o,kw,words', [
    ([at], {}, ['must be a dict']), ({}, {}, ['must be a dict']), (dict(a=at, b=at[:9]), {}, ['same number of points','[9, 21]']), (dict(a=np.ones((2,3,4))), {}, ['(2, 3, 4)']),
    (curves, dict(fractions=at[:9]), ['21 points']), (curves, dict(figsize=5), ['in inches']), (curves, dict(level=2), ['level']), (curves, dict(names=dict(gard_cam='a')), ['grad_cam']),
    (dict(a=np.full((3,4), np.inf)), {}, ['finite'])])
def test_curves_refuse(o, kw, words):
    with says(ValueError, *words): show_curves(o, **kw)

def test_curves_refuse_a_place_given_twice():
    ax = new_fig().subplots()
    with says(ValueError, 'pass it, or `fig`'): show_curves(curves, ax=ax, figsize=(5,3))
    with says(TypeError, "Did you mean 'linewidth'"): show_curves(curves, linewidht=3)

# colours

machado = dict(normal=np.eye(3), protanopia=[[.152286,1.052583,-.204868], [.114503,.786281,.099216], [-.003882,-.048116,1.051998]],
               deuteranopia=[[.367322,.860646,-.227968], [.280085,.672501,.047413], [-.011820,.042940,.968881]])

@pytest.mark.parametrize('eye', machado)
def test_every_eye_tells_the_colours_apart(eye):
    "CIELAB of all pairs, as people see them (Machado 2009), at least 10 apart where 2 can be seen"
    c = np.array([to_rgba(o)[:3] for o in _colors])
    rgb = (np.where(c<=.04045, c/12.92, ((c+.055)/1.055)**2.4)@np.array(machado[eye]).T).clip(0, 1)
    m = np.array([[.4124564,.3575761,.1804375], [.2126729,.7151522,.0721750], [.0193339,.1191920,.9503041]])
    xyz = rgb@m.T/m.sum(1)
    f = np.where(xyz>.008856, np.cbrt(xyz), 7.787*xyz+16/116)
    lab = np.stack([116*f[:,1]-16, 500*(f[:,0]-f[:,1]), 200*(f[:,1]-f[:,2])], 1)
    assert np.linalg.norm(lab[:,None]-lab, axis=-1)[np.triu_indices(7, 1)].min()>10

def test_28_lines_look_different():
    looks = _find_looks(28)
    assert len({(o['color'],str(o['linestyle'])) for o in looks})==28 and len({(o['color'],o['marker']) for o in looks})==28
