"Means of classes, the heat of a data set, importance: what is drawn, read back"
import matplotlib
matplotlib.use('Agg')
from datetime import date, timedelta
from types import SimpleNamespace
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from hypothesis import given, strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from common import says
from tsviz.check import check_found
from tsviz.classes import show_class_means, show_dataset, show_importance, _pool, _sort_rows, _space
from tsviz.plot import HeatRows, SeriesBand, SeriesLine, new_fig
from tsviz.synth import tiny_cnn

model = tiny_cnn()
pytestmark = pytest.mark.usefixtures('nothing_left_behind')
g = torch.Generator().manual_seed(0)
def noise(*shape): return torch.randn(*shape, generator=g)

def of(kind, ax): return [o for o in ax.collections if isinstance(o, kind)]
def own(fig): return [ax for ax in fig.axes if ax.get_label()!='<colorbar>']
def bars(fig): return [ax for ax in fig.axes if ax.get_label()=='<colorbar>']
def texts(fig): return [t.get_text() for o in fig.legends for t in o.get_texts()]
days = [date(2024,1,1)+timedelta(days=i) for i in range(30)]

# show_class_means

N,C,T = 3,2,30
means,stds,attrs = noise(N,C,T),noise(N,C,T).abs(),noise(N,C,T)

def grid(fig, A=1): return np.array(own(fig)).reshape(-1,A)

@pytest.mark.parametrize('overlay', [None,True,False])
def test_mean_band_and_map(overlay):
    "Each channel of a class: its mean in the colours of its map, in a band of one standard deviation; all on one axes, or each on its own"
    with check_found(model, means, stds, attrs): fig = show_class_means(means, stds, attrs, overlay=overlay)
    A = 2 if overlay is False else 1
    assert isinstance(fig, Figure) and grid(fig, A).shape==(N,A) and len(bars(fig))==1
    for i,axs in enumerate(grid(fig, A)):
        lines,bands = ([o for ax in axs for o in of(k, ax)] for k in (SeriesLine,SeriesBand))
        for c,(line,band) in enumerate(zip(lines, bands, strict=True)):
            m,s = means[i,c].double(),stds[i,c].double()
            np.testing.assert_array_equal(line.x, m)
            np.testing.assert_array_equal(line.get_array(), attrs[i,c].double())
            for a,b in zip(band.edges, (np.arange(T),m-s,m+s)): np.testing.assert_allclose(a, b)
            assert line.get_clim()==(-attrs.abs().max(),attrs.abs().max()) and band.get_zorder()<line.get_zorder()
        assert axs[0].get_title()==f'class {i}'
    assert texts(fig)==(['channel 0','channel 1'] if A==1 else [])+['mean ± one standard deviation']

@pytest.mark.parametrize('C,A', [(1,1),(3,1),(4,4),(12,12)])
def test_up_to_three_channels_share_an_axes(C, A):
    fig = show_class_means(noise(2,C,9), None, noise(2,1,9))
    assert len(own(fig))==2*A
    fig.draw_without_rendering()
    at = np.array([o.get_position().bounds for o in own(fig)]).reshape(2,A,4)
    np.testing.assert_allclose(at[0,:,1], at[1,:,1], atol=1e-9)
    assert (at[0,:,0]<at[1,:,0]).all() and (np.diff(at[:,:,1], axis=1)<0).all()

def test_one_row_of_map_is_for_all_channels():
    fig = show_class_means(means, stds[:,:1], attrs[:,:1])
    for i,[ax] in enumerate(grid(fig)):
        for o in of(SeriesLine, ax): np.testing.assert_array_equal(o.get_array(), attrs[i,0].double())
        np.testing.assert_allclose(of(SeriesBand, ax)[1].edges[2], (means[i,1]+stds[i,0]).double(), atol=1e-6)
    fig = show_class_means(means, stds, attrs[:,:1], chs=1, labels=['hip',('knee','mV')])
    assert [o.x.tolist() for o in of(SeriesLine, own(fig)[0])]==[means[0,1].tolist()] and len(own(fig))==3

@pytest.mark.parametrize('chs', [1,[1,0],slice(0,1)])
def test_channels_of_classes(chs):
    picked = np.atleast_1d(np.arange(2)[chs])
    fig = show_class_means(means, stds, attrs, chs=chs, overlay=False, labels=['hip',('knee','mV')])
    A = len(picked)
    for (i,j),ax in np.ndenumerate(grid(fig, A)):
        np.testing.assert_array_equal(of(SeriesLine, ax)[0].get_array(), attrs[i,picked[j]].double())
        np.testing.assert_allclose(of(SeriesBand, ax)[0].edges[1], (means-stds)[i,picked[j]].double(), atol=1e-6)
    if A>1: assert [o.get_ylabel() for o in grid(fig, A)[0]]==['knee (mV)','hip']

def test_scales_are_shared():
    "One for all classes, which holds the bands; a channel on its own axes has its own"
    far = means*torch.tensor([1.,50.])[:,None]
    lims = lambda **kw: np.array([o.get_ylim() for o in own(show_class_means(far, stds, attrs, overlay=False, **kw))]).reshape(N,2,2)
    lo,hi = (far-stds).amin((0,2)),(far+stds).amax((0,2))
    np.testing.assert_allclose(lims(), np.broadcast_to(np.stack([lo-.05*(hi-lo),hi+.05*(hi-lo)], 1), (N,2,2)), rtol=1e-5)
    assert (np.ptp(lims(share_y=False), axis=0)>0).all()
    one = show_class_means(far, stds, attrs)
    assert len({o.get_ylim() for o in own(one)})==1 and own(one)[0].get_ylim()[1]>hi.max()
    assert [o.yaxis.get_tick_params()['labelleft'] for o in own(one)]==[True,False,False]
    assert all(o.yaxis.get_tick_params()['labelleft'] for o in own(show_class_means(far, stds, attrs, share_y=False)))

def test_colours_of_classes():
    fig = show_class_means(means, None, attrs, share_colors=False)
    for i,ax in enumerate(own(fig)):
        for c,o in enumerate(of(SeriesLine, ax)): np.testing.assert_allclose(o.get_array(), (attrs[i,c]/attrs[i].abs().max()).double(), rtol=1e-6)
    assert not any(of(SeriesBand, o) for o in own(fig)) and texts(fig)==['channel 0','channel 1']
    o = of(SeriesLine, own(show_class_means(means, None, attrs, cmap='viridis', vmin=0, vmax=9))[0])[0]
    assert o.get_clim()==(0,9) and o.get_cmap().name=='viridis'
    assert not bars(show_class_means(means, None, attrs, colorbar=False)) and not show_class_means(means, stds, attrs, legend=False).legends

def test_titles_of_classes():
    "Names and counts, also where they are of each step"
    fig = show_class_means(means, stds, attrs, ['Gun','Point','none'], [12345,1,0])
    assert [o.get_title() for o in own(fig)]==['Gun (12,345 series)','Point (1)','none (0 series)']
    fig = show_class_means(means, stds, attrs, counts=torch.tensor([[3,2],[4,0],[5,5]]))
    assert [o.get_title() for o in own(fig)]==['class 0 (3 series)','class 1 (4 series)','class 2 (5 series)']

def test_classes_that_nothing_reaches():
    "No line there, and the time axis is that of the others; a class without series says so"
    m,s = means.clone(),stds.clone()
    m[1],m[2,:,10:],s[2,:,5:] = np.nan,np.nan,np.nan
    m[0,0,3] = s[0,1,4] = np.inf
    fig = show_class_means(m, s, attrs)
    fig.draw_without_rendering()
    assert [[t.get_text() for t in o.texts] for o in own(fig)]==[[],['no series'],[]]
    assert np.isnan(of(SeriesLine, own(fig)[0])[0].x[3]) and np.isfinite(own(fig)[0].get_ylim()).all()
    assert np.isfinite(of(SeriesLine, own(fig)[2])[0].x).sum()==10 and len({o.get_xlim() for o in own(fig)})==1
    fig = show_class_means(torch.full((1,1,5), torch.nan), None, torch.zeros(1,1,5))
    fig.draw_without_rendering()

def pixels(fig):
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[...,:3]

@pytest.mark.parametrize('scale', [1,-1])
def test_steps_without_a_map_are_grey(scale):
    "The mean goes on where the network did not see it, for maps of one sign and of both; and the colours are of the rest"
    a = attrs.abs()
    a[...,::2] *= scale
    a[...,10:] = torch.nan
    a[2] = torch.nan
    grey = []
    for o in (a,a.nan_to_num()):
        fig = show_class_means(means[:,:1], None, o[:,:1], fig=new_fig((9,3)), colorbar=False, cmap='viridis' if scale==1 else None)
        img = pixels(fig)
        at = [ax.bbox.extents.astype(int) for ax in own(fig)]
        grey.append([(img[::-1][y0:y1,x0:x1]==153).all(-1).sum() for x0,y0,x1,y1 in at])
        assert of(SeriesLine, own(fig)[0])[0].get_clim()[1]==a[:,:1][a[:,:1].isfinite()].abs().max()
    (first,_,last),none = grey
    assert first>100 and last>1.2*first and max(none)<9, grey

@pytest.mark.parametrize('n,C,T', [(1,1,9),(2,1,1),(12,1,40),(12,3,40),(5,4,40)])
def test_nothing_overlaps_in_classes(n, C, T):
    fig = show_class_means(noise(n,C,T), noise(n,C,T).abs(), noise(n,C,T), ['a name that is too long for any figure, and then some more words']*n, range(n), fs=10, title='Title '*40)
    fig.draw_without_rendering()
    at = [o.get_window_extent().padded(-1) for o in own(fig)]
    assert not any(a.overlaps(b) for i,a in enumerate(at) for b in at[:i]) and min(o.width for o in at)>20 and min(o.height for o in at)>15
    page = fig.bbox.padded(1)
    assert all(page.x0<=b.x0 and b.x1<=page.x1 and page.y0<=b.y0 and b.y1<=page.y1 for b in (ax.get_tightbbox() for ax in own(fig)))
    assert own(fig)[-1].get_xlabel()=='time (s)'

def test_class_times_and_places(tmp_path):
    fig = show_class_means(means, stds, attrs, t=days)
    fig.draw_without_rendering()
    assert np.diff(own(fig)[0].get_xlim())[0]<40
    fig = new_fig((8,3))
    assert show_class_means(means, stds, attrs, fig=fig, savefig=tmp_path/'a.png', linewidth=7) is fig and (tmp_path/'a.png').exists()
    assert of(SeriesLine, own(fig)[0])[0].get_linewidth()[0]==7
    sub = new_fig((8,3)).subfigures(1, 2)[1]
    assert show_class_means(means.numpy(), None, [o.numpy() for o in attrs], fig=sub, xlabel='beat') is sub and own(sub)[-1].get_xlabel()=='beat'

@pytest.mark.parametrize('err,words,a,kw', [
    (ValueError, ['`means` must be (N,C,T)','(3, 2)'], (torch.ones(3,2),None,attrs), {}), (ValueError, ['`means` must be (N,C,T)','(0, 1, 4)'], (torch.ones(0,1,4),None,torch.ones(0,1,4)), {}),
    (ValueError, ['`means` must be (N,C,T)'], ([torch.ones(1,4),torch.ones(1,5)],None,attrs), {}),
    (ValueError, ['`attrs` must be of the shape of `means`','(2, 2, 30)'], (means,stds,attrs[:2]), {}), (ValueError, ['`stds` must be of the shape'], (means,stds[...,1:],attrs), {}),
    (ValueError, ['`names` must hold one for each of the 3 classes'], (means,stds,attrs), dict(names='abc')), (ValueError, ['`counts` must hold one'], (means,stds,attrs), dict(counts=[1])),
    (ValueError, ['`chs` must be channels from 0 to 1'], (means,stds,attrs), dict(chs=4)), (ValueError, ['`labels`'], (means,stds,attrs), dict(labels=['a'])),
    (ValueError, ['`figsize` must be at least'], (means,stds,attrs), dict(figsize=(1,1))), (ValueError, ['must increase'], (means,stds,attrs), dict(t=-np.arange(30))),
    (TypeError, ["no parameter 'attr'"], (means,stds,attrs), dict(attr=1)), (TypeError, ["'stds'"], (means,stds,attrs), dict(std=1)), (TypeError, ["'fig'"], (means,stds,attrs), dict(ax=1)),
    (TypeError, ["'linewidth'"], (means,stds,attrs), dict(linewith=1))])
def test_errors_of_classes(err, words, a, kw):
    with says(err, *words): show_class_means(*a, **kw)

# show_dataset

rows = noise(6,20)
classes,sure,wrong = torch.tensor([1,0,1,0,2,1]),torch.tensor([.5,.9,.75,1,.2,.6]),torch.tensor([True,False,False,False,True,False])
order = [3,1,2,5,0,4]

def bands(ax): return [p.get_paths()[0].vertices for p in ax.collections if not isinstance(p, (HeatRows,LineCollection))]
def marks(ax): return [o for o in ax.collections if isinstance(o, LineCollection) and o.get_zorder()]

def test_rows_are_sorted():
    "By class, and within it by confidence; confidence and marks go with their rows; white between the blocks"
    with check_found(model, rows, classes, sure, wrong): fig = show_dataset(rows, classes, ['a','b','c'], sure, wrong)
    heat,conf,bad = own(fig)
    np.testing.assert_array_equal(of(HeatRows, heat)[0].get_array(), rows[order].double())
    assert heat.get_ylim()==(6,0) and heat.get_xlim()==(-.5,19.5) and of(HeatRows, heat)[0].get_clim()==(-rows.abs().max(),rows.abs().max())
    [poly] = bands(conf)
    for y in range(6): assert max(x for x,v in poly if y<=v<=y+1 and any(abs(v-e)<1e-9 for e in (y,y+1)) and any(np.allclose(p, (x,y)) for p in poly) and any(np.allclose(p, (x,y+1)) for p in poly))==pytest.approx(sure[order][y].item())
    segs = marks(bad)[0].get_segments()
    assert [s[0,1] for s in segs]==[4.5,5.5] and all(s[:,0].tolist()==[0,1] for s in segs)
    assert [o.get_title() for o in (conf,bad)]==['confidence','wrong'] and conf.get_xlim()==(0,1)
    gaps = [s[0,1] for o in marks(heat) for s in o.get_segments() if s[:,0].tolist()==[0,1]]
    assert gaps==[2,5]
    assert [o.get_text() for o in heat.texts]==['a','b','c'] and [o.get_position()[1] for o in heat.texts]==pytest.approx([1,3.5,5.5], abs=.35)

def test_as_they_come():
    fig = show_dataset(rows, [0,0,1,1,0,2], None, sure, sort=False)
    np.testing.assert_array_equal(of(HeatRows, own(fig)[0])[0].get_array(), rows.double())
    assert [o.get_text() for o in own(fig)[0].texts]==['class 0','class 1','class 0','class 2'] and len(own(fig))==2

def test_ties_keep_their_order_and_nan_is_last():
    assert _sort_rows(np.zeros(4)).tolist()==[0,1,2,3] and _sort_rows(np.array([1,1,0,0.]), np.array([np.nan,0,.5,.5])).tolist()==[2,3,1,0]

def test_without_classes():
    fig = show_dataset(rows, confidence=sure)
    np.testing.assert_array_equal(of(HeatRows, own(fig)[0])[0].get_array(), rows[sure.argsort(descending=True)].double())
    assert not own(fig)[0].texts
    np.testing.assert_array_equal(of(HeatRows, own(show_dataset(rows))[0])[0].get_array(), rows.double())

def test_names_by_number():
    assert [o.get_text() for o in own(show_dataset(rows, classes, {0:'x',1:'y',2:'z',7:'never'}))[0].texts]==['x','y','z']
    assert [o.get_text() for o in own(show_dataset(rows, classes+3))[0].texts]==['class 3','class 4','class 5']

def test_a_share_of_wrong_ones():
    "A row that is the mean of several: the darker, the more of them"
    [o] = marks(own(show_dataset(rows, wrong=[0,.1,1,0,.5,0]))[1])[:1]
    assert [s[0,1] for s in o.get_segments()]==[1.5,2.5,4.5] and o.get_colors()[:,3].tolist()==pytest.approx([.37,1,.65])

@pytest.mark.parametrize('n', [150,400,5000])
def test_one_wrong_row_is_seen(n):
    "As a mark of its own at least two points high, where the row is"
    wrong = np.arange(n)==n//3
    ax = own(show_dataset(noise(n,5), wrong=wrong, sort=False))[1]
    img = pixels(ax.figure)
    x0,y0,x1,y1 = ax.bbox.extents.astype(int)
    rows = np.flatnonzero((img[::-1][y0:y1,(x0+x1)//2].max(-1)<200))
    assert len(rows)>=2*ax.figure.dpi/72 and abs(rows.mean()/(y1-y0)-2/3)<.01 and np.ptp(rows)==len(rows)-1

@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(1, 70))
def test_marks_of_many_rows(wrong, most):
    "One for several rows: none is lost, and they add up"
    at,share,size = _pool(np.array(wrong, float), most)
    assert len(at)<=most or size==1
    for i,w in enumerate(wrong): assert not w or any(a-size/2<=i<a+size/2 for a in at)
    counted = [sum(wrong[int(a-size/2):int(a+size/2)])/len(wrong[int(a-size/2):int(a+size/2)]) for a in at]
    assert share.tolist()==pytest.approx(counted) and all(o>0 for o in share)

@given(st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted), st.floats(.1, 20))
def test_names_keep_their_distance(at, least):
    "In order, inside, apart where there is room, and where they were if that was apart"
    got = _space(at, least, 0, 100)
    if len(at)*least<100: assert (np.diff(got)>=least-1e-6).all()
    assert (np.diff(got)>=-1e-9).all() and got.min()>=-1e-6 and got.max()<=100+1e-6
    if (np.diff([-least/2,*at,100+least/2])>=least).all() and len(at)*least<100: np.testing.assert_allclose(got, at, atol=1e-6)

def test_names_by_hand():
    assert _space([1,2,3], 50, 0, 9).tolist()==[1.5,4.5,7.5] and _space([0,5], 2, 0, 10).tolist()==[1,5]
    ax = own(show_dataset(noise(40,5), [0]*38+[1,2], sort=False))[0]
    for line,name,mid in zip(ax.lines, ax.texts, (19,38.5,39.5), strict=True): assert line.get_ydata().tolist()==[mid,name.get_position()[1]]
    assert ax.texts[1].get_position()[1]<38.5 # pushed up

@pytest.mark.parametrize('n', [6,150,5000])
def test_marks_are_as_high_as_their_rows(n):
    "Or as can be seen; and where rows are lower than a point, one mark is for several"
    ax = own(show_dataset(noise(n,5), wrong=[1.]*(n-1)+[np.nan], sort=False))[1]
    points,o = 72*ax.bbox.height/ax.figure.dpi,marks(ax)[0]
    k,lw = len(o.get_segments()),o.get_linewidth()[0]
    if n<999: assert k==n-1 and lw==pytest.approx(max(2.5, points/n), rel=.2)
    else: assert points/4<k<=points/2 and 2.5<=lw<4

@pytest.mark.parametrize('n,K,kw', [(2,2,{}), (400,12,{}), (3000,2,dict(fs=50)), (60,30,{}), (30,3,dict(figsize=(4.5,2.2))), (30,3,dict(title='Title '*40, label='share'))])
def test_nothing_overlaps_in_a_data_set(n, K, kw):
    c = torch.arange(n)%K
    fig = show_dataset(noise(n,50), c, ['a name that is too long for a figure '+str(i) for i in range(K)], torch.rand(n, generator=g), c==1, **kw)
    fig.draw_without_rendering()
    at = [o.get_window_extent().padded(-1) for o in own(fig)]
    assert not any(a.overlaps(b) for i,a in enumerate(at) for b in at[:i]) and at[0].width>60
    page,names = fig.bbox.padded(1),sorted((o.get_window_extent() for o in own(fig)[0].texts), key=lambda o: -o.y0)
    assert all(a.y0>=b.y1-2.5 for a,b in zip(names, names[1:])) and all(page.x0<=o.x0 and o.x1<=page.x1 for o in names)
    heads = [o.title.get_window_extent() for o in own(fig)[1:]]
    assert not heads[0].overlaps(heads[1]) and heads[1].x1<=page.x1

def test_nothing_that_stands_out_is_lost():
    "One step of one of three thousand rows"
    v = np.zeros((3000,1000)); v[1234,567] = -1
    fig = show_dataset(v, figsize=(5,3))
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    assert (np.asarray(canvas.buffer_rgba())[...,:3]==[5,48,97]).all(-1).any()

def test_unequal_lengths_times_and_places(tmp_path):
    v = rows.clone()
    v[0,5:] = np.nan
    fig = show_dataset(v, classes, t=days[:20], savefig=tmp_path/'a.png', cmap='viridis', vmin=-1, vmax=2)
    o = of(HeatRows, own(fig)[0])[0]
    assert np.isnan(np.ma.filled(o.get_array(), np.nan)).sum()==15 and o.get_clim()==(-1,2) and o.cmap.name=='viridis' and (tmp_path/'a.png').exists()
    assert own(show_dataset(v, fs=2))[0].get_xlabel()=='time (s)' and own(show_dataset(v, xlabel='beat'))[0].get_xlabel()=='beat' and not bars(show_dataset(v, colorbar=False))
    np.testing.assert_allclose(own(show_dataset(v, fs=2))[0].get_xlim(), (-.25,9.75))
    fig = new_fig((6,3))
    assert show_dataset(v, fig=fig) is fig
    sub = new_fig((8,3)).subfigures(1, 2)[1]
    assert show_dataset(v, classes, fig=sub) is sub

@pytest.mark.parametrize('words,kw', [
    (['`classes` must hold one for each of the 6 rows','(2,)'], dict(classes=[1,2])), (['`classes` must be ints'], dict(classes=[.5]*6)),
    (['`confidence` must hold one'], dict(confidence=.5)), (['`confidence` must lie between 0 and 1, got 0 to 50'], dict(confidence=[0,10,20,30,40,50])),
    (['`wrong` must lie between 0 and 1'], dict(wrong=[-1]*6)), (['class 1 has no name'], dict(classes=[0,1]*3, names=['a'])),
    (['must increase'], dict(t=-np.arange(20))), (['`figsize` must be at least'], dict(figsize=(1,1))), (['a format that matplotlib writes'], dict(savefig='a.xyz'))])
def test_errors_of_a_data_set(words, kw):
    with says(ValueError, *words): show_dataset(rows, **kw)
    with says(ValueError, '`rows` must be (T,) or rows (N,T)'): show_dataset(noise(2,3,4))

# show_importance

def table(n=8, name='step', index=None, seed=0):
    m = np.random.default_rng(seed).dirichlet(np.ones(n)*3)
    return pd.DataFrame(dict(mean=m, lo=.8*m, hi=1.3*m), index=pd.Index(range(n) if index is None else index, name=name))

def test_steps():
    "A line, its band, and the share that each would have if all were alike"
    o = table()
    fig = show_importance(o)
    [ax] = fig.axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), o['mean'])
    for a,b in zip(of(SeriesBand, ax)[0].edges, (o.index,o.lo,o.hi)): np.testing.assert_array_equal(a, b)
    assert list(ax.lines[1].get_ydata())==[1/8]*2 and ax.lines[1].get_linestyle()=='--'
    assert ax.get_xlim()==(0,7) and ax.get_ylim()[0]==0 and ax.get_ylim()[1]>=o.hi.max() and (ax.get_xlabel(),ax.get_ylabel())==('step','share of attention')

def test_times_of_steps():
    ax = show_importance(table(8, 'time (s)', np.arange(8)/4)).axes[0]
    assert ax.get_xlim()==(0,1.75) and ax.get_xlabel()=='time (s)'
    fig = show_importance(table(8, 'date', pd.date_range('2024-01-01', periods=8)), xlabel='day')
    fig.draw_without_rendering()
    assert np.diff(fig.axes[0].get_xlim())[0]==7 and fig.axes[0].get_xlabel()=='day'

def test_a_series_behind():
    "Faint, in the height of the axes, whatever its values; the scale of the shares stays"
    x = np.stack([np.arange(8)*100.,-np.arange(8)])
    fig,plain = show_importance(table(), x=x),show_importance(table())
    ax = fig.axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.linspace(.06, .94, 8))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.linspace(.94, .06, 8))
    assert ax.get_ylim()==plain.axes[0].get_ylim() and ax.get_xlim()==(0,7) and ax.lines[0].get_zorder()<ax.lines[2].get_zorder()
    fig.draw_without_rendering()
    assert ax.transAxes.inverted().transform(ax.lines[0].get_transform().transform([[0,.06]]))[0,1]==pytest.approx(.06)
    show_importance(table(), x=np.ones(8)).draw_without_rendering()

def test_channels_as_dots():
    "A dot and a whisker each, the first on top; sorted, the most important"
    o = table(4, 'channel', ['hip','knee','foot','arm'])
    for sort in (False,True):
        ax = show_importance(o, sort=sort).axes[0]
        want = o.sort_values('mean', ascending=False) if sort else o
        np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([want['mean'],range(4)], 1))
        np.testing.assert_array_equal([s[:,0] for s in of(LineCollection, ax)[0].get_segments()], want[['lo','hi']])
        assert [t.get_text() for t in ax.get_yticklabels()]==list(want.index) and ax.get_ylim()==(3.5,-.5) and ax.get_xlim()[0]==0
        assert list(ax.lines[1].get_xdata())==[.25]*2 and ax.get_xlabel()=='share of attention'

def test_kind_is_said_or_known():
    assert len(of(SeriesBand, show_importance(table(), kind='channels').axes[0]))==0
    assert len(of(SeriesBand, show_importance(table(4, 'channel'), kind='steps').axes[0]))==1
    for o in (dict(mean=[.2,.8], lo=[.1,.7], hi=[.3,.9]), SimpleNamespace(mean=torch.tensor([.2,.8]), lo=[.1,.7], hi=[.3,.9])):
        np.testing.assert_allclose(show_importance(o).axes[0].lines[0].get_xydata(), [[0,.2],[1,.8]], rtol=1e-6)

def test_steps_without_a_value():
    "NaN: a gap, which does not count as a step; one alone is a dot; no interval, no band"
    o = table(6)
    o.iloc[[1,3,4]] = np.nan
    o.loc[0,['lo','hi']] = np.nan
    fig = show_importance(o)
    fig.draw_without_rendering()
    ax = fig.axes[0]
    assert ax.lines[1].get_ydata()[0]==pytest.approx(1/3) and list(ax.lines[0].get_markevery())==[0,2,5]
    show_importance(table(1)).draw_without_rendering()
    c = table(3, 'channel')
    c.iloc[1] = np.nan
    assert [t.get_text() for t in show_importance(c, sort=True).axes[0].get_yticklabels()][-1]=='1'

def test_two_on_one_axes():
    "Both are seen, whichever comes first"
    for kind in ('step','channel'):
        low,high = table(8, kind),3*table(8, kind, seed=1)
        tops = []
        for a,b in ((low,high),(high,low)):
            ax = new_fig().subplots()
            for o in (a,b): show_importance(o, ax=ax)
            tops.append((ax.get_xlim if kind=='channel' else ax.get_ylim)())
        assert tops[0]==tops[1] and tops[0][0]==0 and tops[0][1]>high.hi.max()

def test_uniform():
    assert len(show_importance(table(), uniform=False).axes[0].lines)==1 and show_importance(table(), uniform=.3).axes[0].lines[1].get_ydata()[0]==.3

def test_where_importance_is_drawn(tmp_path):
    fig = new_fig((5,3))
    ax = fig.subplots()
    assert show_importance(table(), ax=ax, title='Title', color='C3', lw=4) is ax and ax.get_title()=='Title' and ax.lines[0].get_color()=='C3' and ax.lines[0].get_linewidth()==4
    assert show_importance(table(), fig=(f := new_fig()), savefig=tmp_path/'a.png') is f and (tmp_path/'a.png').exists()
    assert tuple(show_importance(table(3, 'channel'), figsize=(4,3)).get_size_inches())==(4,3)
    assert show_importance(table(60, 'channel')).get_figheight()<=9 and not plt.get_fignums()

@pytest.mark.parametrize('n,name', [(1,'channel'),(12,'channel'),(60,'channel'),(1,'step'),(3000,'step')])
def test_all_that_is_written_fits(n, name):
    fig = show_importance(table(n, name, ['a name that is too long for a figure, really']*n if name=='channel' else None), title='Title '*40)
    fig.draw_without_rendering()
    ax,page = fig.axes[0],fig.bbox.padded(1)
    box = ax.get_tightbbox()
    assert box.x0>=page.x0 and box.x1<=page.x1 and box.y0>=page.y0 and box.y1<=page.y1
    boxes = [o.get_window_extent() for o in ax.get_yticklabels()]
    assert name=='step' or all(a.y0>=b.y1-1 for a,b in zip(boxes, boxes[1:]))

@pytest.mark.parametrize('err,words,kw', [
    (ValueError, ['columns `mean`, `lo` and `hi`'], dict(table=dict(mean=[1]))), (ValueError, ['must hold one for each','[2, 1, 1]'], dict(table=dict(mean=[1,2], lo=[1], hi=[1]))),
    (ValueError, ["`kind` must be 'steps' or 'channels', got 'step'"], dict(kind='step')), (ValueError, ['steps stay in the order'], dict(sort=True)),
    (ValueError, ['leave it out for channels'], dict(kind='channels', x=np.ones(8))), (ValueError, ['`x` must have the 8 steps','got 7'], dict(x=np.ones(7))),
    (ValueError, ['pass it, or `fig`'], dict(ax=1, figsize=(3,3))), (TypeError, ["no parameter 'colour'","'color'"], dict(colour='r')), (ValueError, ['`figsize` must be'], dict(figsize=3))])
def test_errors_of_importance(err, words, kw):
    with says(err, *words): show_importance(**dict(table=table()) | kw)
