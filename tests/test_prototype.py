"Prototypes over real data, and series before and after a dream: what is drawn, read back"
import matplotlib
matplotlib.use('Agg')
import io, warnings
from datetime import date, timedelta
from typing import NamedTuple
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from PIL import Image
from common import says
from tsviz.plot import SeriesBand
from tsviz.prototype import *
from tsviz.synth import tiny_cnn

model = tiny_cnn()
pytestmark = pytest.mark.usefixtures('nothing_left_behind')

class Stats(NamedTuple):
    mean:torch.Tensor
    low:torch.Tensor
    high:torch.Tensor
    n:torch.Tensor

g = torch.Generator().manual_seed(0)
def noise(*shape): return torch.randn(*shape, generator=g)

def case(N=3, C=2, T=40, variants=('none','l2')):
    "Prototypes by variant and the statistics of as many classes"
    mean = noise(N,C,T)
    return {k: noise(N,C,T) for k in variants},Stats(mean, mean-noise(N,C,T).abs(), mean+noise(N,C,T).abs(), torch.ones(N,T))

series,stats = case()
one = series['l2']

def cells(fig, N=3, C=2, V=2): return np.array(fig.axes[:N*C*V]).reshape(N,C,V)
def titles(fig): return [o.get_title() for o in fig.axes if o.get_title()]
def bands(ax): return [o for o in ax.collections if isinstance(o, SeriesBand)]
def texts(fig): return [t.get_text() for o in fig.legends for t in o.get_texts()]

# show_maximized

def test_a_row_for_each_target_a_column_for_each_variant():
    "Line data are the series, the mean and the range lie under them, in that order"
    fig = show_maximized(series, stats)
    assert isinstance(fig, Figure) and len(fig.axes)==12
    for (i,c,j),ax in np.ndenumerate(cells(fig)):
        mean,proto = ax.lines
        np.testing.assert_array_equal(proto.get_ydata(), series[['none','l2'][j]][i,c])
        np.testing.assert_array_equal(mean.get_ydata(), stats.mean[i,c])
        [band] = bands(ax)
        for got,want in zip(band.edges, (np.arange(40),stats.low[i,c],stats.high[i,c])): np.testing.assert_array_equal(got, want)
        assert band.get_zorder()<mean.get_zorder()<proto.get_zorder()
    assert texts(fig)==['prototype','mean of the class','range of the class']

def test_places():
    "A target's channels stand close together, a variant's cells under one another"
    fig = show_maximized(series, stats)
    fig.draw_without_rendering()
    at = np.array([[[ax.get_position().bounds for ax in r] for r in o] for o in cells(fig)])
    assert (np.ptp(at[...,0], axis=(0,1))<1e-6).all() and (np.diff(at[...,0], axis=2)>0).all() and (np.diff(at[:,:,0,1].ravel())<0).all()
    gaps = -np.diff(at[:,:,0,1].ravel())
    assert gaps[1::2].min()-gaps[::2].max()>.1*at[0,0,0,3]

def test_scales():
    "Each its own; one for the variants of a target; one for all; never for two channels"
    big = {'none': 100*series['none'], 'l2': series['l2']}
    lims = {k: np.array([[[ax.get_ylim() for ax in r] for r in o] for o in cells(show_maximized(big, stats, share_y=k))]) for k in ('cell','row','all')}
    for (i,c,j),_ in np.ndenumerate(lims['cell'][...,0]):
        v = torch.cat([big[['none','l2'][j]][i,c], stats.low[i,c], stats.high[i,c]]).double().numpy()
        m = .06*np.ptp(v)
        np.testing.assert_allclose(lims['cell'][i,c,j], [v.min()-m,v.max()+m])
    shared = lambda o, axes: (np.ptp(o, axis=axes)<1e-9).all()
    assert shared(lims['row'], 2) and not shared(lims['row'], 0) and not shared(lims['row'], 1) and not shared(lims['cell'], 2)
    assert shared(lims['all'], (0,2)) and not shared(lims['all'], 1) and (np.ptp(lims['all'], axis=-1)>100).all()
    left = lambda k: [ax.yaxis.get_tick_params()['labelleft'] for ax in cells(show_maximized(big, stats, share_y=k))[0,0]]
    assert left('cell')==[True,True] and left('row')==[True,False]

@pytest.mark.parametrize('high,low,p,said', [(1,-1,3.,'3.0× the range'), (1,-1,1.5,''), (1,-1,-1.6,'1.6× the range'), (3,1,12.,'10× the range'), (3,1,-12.,'14× the range'), (1,1,9.,'')])
def test_how_far_a_prototype_leaves_the_range(high, low, p, said):
    "In half ranges from the middle of the range, of the class and not of the step, by hand"
    s = torch.full((1,1,6), (high+low)/2)
    lo,hi = s.clone(),s.clone()
    lo[0,0,1],hi[0,0,4] = low,high
    x = s.clone(); x[0,0,2] = p
    assert titles(show_maximized(x, dict(mean=s, low=lo, high=hi)))==[said][:bool(said)]
    two = lambda o: torch.cat([o,o], 1)
    assert titles(show_maximized(torch.cat([s,x], 1), dict(mean=two(s), low=two(lo), high=two(hi))))==[said][:bool(said)]

def test_titles_names_notes():
    near = {k: o*0 for k,o in series.items()}
    fig = show_maximized(near, None, ['Gun','Point','Wave'], notes={'l2':[.9981,'b',torch.tensor(3)]}, labels=[('hip','mV'),'knee'], title='All')
    axs = cells(fig)
    assert [[ax.get_title() for ax in r] for r in axs[:,0]]==[['none','l2\n0.998'],['','b'],['','3']] and fig.get_suptitle()=='All'
    assert all(ax.get_title()=='' for ax in axs[:,1].flat) and all(ax.get_ylabel()=='' for ax in axs[:,:,1].flat)
    assert [ax.get_ylabel() for ax in axs[:,:,0].flat]==['Gun\nhip (mV)','knee','Point\nhip (mV)','knee','Wave\nhip (mV)','knee']
    fig = show_maximized(near['l2'])
    assert [ax.get_ylabel() for ax in fig.axes[::2]]==[f'target {i}\nchannel 0' for i in range(3)] and not fig.legends and titles(fig)==[]

def test_classes_pick_their_stats():
    fig = show_maximized(one[:2], stats, classes=torch.tensor([2,0]))
    axs = cells(fig, 2, 2, 1)
    for i,c in enumerate([2,0]):
        np.testing.assert_array_equal(axs[i,1,0].lines[0].get_ydata(), stats.mean[c,1])
        assert axs[i,0,0].get_ylabel().startswith(f'class {c}')
    with says(ValueError, '`classes`', '3', 'between 0 and 2'): show_maximized(one[:2], stats, classes=[0,3])
    with says(ValueError, '`classes`', 'between 0 and 2', '-1'): show_maximized(one[:2], stats, classes=[-1,0])
    with says(ValueError, '`classes`', '2 targets'): show_maximized(one[:2], stats, classes=[0])

def test_one_statistic_for_all_targets():
    "Of channels of a layer, say, which have no class"
    fig = show_maximized(one, dict(mean=stats.mean[:1], low=stats.low[:1], high=stats.high[:1]))
    for ax in cells(fig, V=1)[:,1,0]: np.testing.assert_array_equal(ax.lines[0].get_ydata(), stats.mean[0,1])
    assert texts(fig)[1:]==['mean of the data','range of the data'] and fig.axes[0].get_ylabel().startswith('target 0')

def test_a_class_without_items_and_gaps():
    "Its statistics are NaN: the prototype alone; a series that no one reaches to the end has a band as long as it is"
    nan = Stats(*(o.clone() for o in stats))
    for o in nan[:3]: o[1] = torch.nan; o[2,:,30:] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fig = show_maximized(one, nan)
        fig.draw_without_rendering()
    axs = cells(fig, V=1)
    assert not bands(axs[1,0,0])[0].get_paths() and len(bands(axs[2,0,0])[0].get_paths()[0].vertices)>=60
    v = one[1,0]; m = .06*np.ptp(v.numpy())
    np.testing.assert_allclose(axs[1,0,0].get_ylim(), [v.min()-m,v.max()+m], rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        show_maximized(one[1:]*torch.nan, nan, classes=[1,2]).draw_without_rendering()
        show_maximized(torch.full((1,1,1), torch.inf)).draw_without_rendering()

def test_trace():
    "The last column: a line for each variant, in the colour of its prototypes"
    trace = {'none':noise(30,3), 'l2':noise(50,3)}
    fig = show_maximized(series, stats, trace=trace)
    assert len(fig.axes)==15
    for i,ax in enumerate(fig.axes[12:]):
        for o,k,proto in zip(ax.lines, trace, cells(fig)[i,0], strict=True):
            np.testing.assert_array_equal(o.get_ydata(), trace[k][:,i])
            np.testing.assert_array_equal(o.get_xdata(), np.arange(len(trace[k])))
            assert o.get_color()==proto.lines[-1].get_color()
        lo,hi = ax.get_ylim()
        assert lo<=min(o[:,i].min() for o in trace.values()) and hi>=max(o[:,i].max() for o in trace.values())
    assert len({ax.lines[-1].get_color() for ax in cells(fig)[0,0]})==2 and fig.axes[14].get_xlabel()=='steps of ascent'
    assert len({ax.lines[-1].get_color() for ax in cells(show_maximized(series, stats))[0,0]})==1
    show_maximized(one, trace=trace['l2'])
    with says(ValueError, '`trace`', 'dict', "'none'"): show_maximized(series, trace=trace['l2'])
    with says(ValueError, '`trace`', "'tv'", 'same names'): show_maximized(series, trace={'tv':trace['l2']})
    with says(ValueError, '`trace`', '(n_steps,N)', 'N=3', '(3, 50)'): show_maximized(one, trace=trace['l2'].T)

@pytest.mark.parametrize('kw,xlabel,last', [(dict(fs=20), 'time (s)', 39/20), (dict(t=np.arange(40)*3), '', 117), ({}, '', 39)])
def test_times(kw, xlabel, last):
    axs = cells(show_maximized(series, stats, **kw))
    for ax in axs.flat:
        assert ax.get_xlim()==(0,last)
        for o in ax.lines: assert o.get_xdata()[-1]==last
        assert bands(ax)[0].edges[0][-1]==last
    assert {ax.get_xlabel() for ax in axs[-1,-1]}=={xlabel} and {ax.get_xlabel() for ax in axs[:-1].flat}=={''}

def test_dates():
    days = [date(2024,1,1)+timedelta(days=i) for i in range(40)]
    for fig in (show_maximized(one[:1], stats, t=days, classes=[0]), show_dream(one[:1], one[:1]+1, t=days)):
        fig.draw_without_rendering()
        shown = [o.get_text() for o in fig.axes[1].get_xticklabels()]
        assert any('Jan' in o or 'Feb' in o or o=='2024' for o in shown), shown

def test_lines_take_their_look():
    for kw in (dict(lw=3), dict(linewidth=3)):
        fig = show_maximized(series, stats, color='r', alpha=.5, **kw)
        for ax in fig.axes: assert (ax.lines[-1].get_linewidth(),ax.lines[-1].get_color(),ax.lines[-1].get_alpha(),ax.lines[0].get_linewidth())==(3,'r',.5,1)
    with says(TypeError, "show_maximized has no parameter 'name'", "'names'"): show_maximized(series, name=['a'])

@pytest.mark.parametrize('args,kw,words', [
    ((one[0],), {}, ['`series`','(N,C,T)','(2, 40)']), (({},), {}, ['empty']), (({'a':one,'b':one[:2]},), {}, ['one shape',"'b': (2, 2, 40)"]), (({'a':one[0]},), {}, ['`series` of a must be (N,C,T)','(2, 40)']),
    (((one,torch.zeros(9,3)),), {}, ['pair','`trace`']), ((one,stats.mean), {}, ['`stats`','`mean`']), ((one,dict(mean=stats.mean)), {}, ['`low`']),
    ((one[:2],stats), {}, ['(3, 2, 40)','say with `classes`']), ((one[...,:30],stats), {}, ['(3, 2, 30)','(3, 2, 40)']), ((one[:,:1],stats), {}, ['(3, 1, 40)']),
    ((one,), dict(names=['a']), ['`names`','3 targets']), ((one,), dict(names='abc'), ['`names`',"'abc'"]), ((one,), dict(labels=['a']), ['`labels`','2 channels']),
    ((one,), dict(notes=['a']), ['`notes`','(N,)','N=3']), ((series,), dict(notes=['a']*3), ['`notes`','dict']), ((one,), dict(share_y='column'), ['`share_y`',"'column'","'row'"]),
    ((one,), dict(t=[1,2]), ['`t`','40']), ((one,), dict(fs=0), ['`fs`']), ((one,), dict(fs=1, t=range(40)), ['Both']), ((one,), dict(figsize=3), ['`figsize`'])])
def test_what_is_refused(args, kw, words):
    with says(ValueError, *words): show_maximized(*args, **kw)

def test_what_is_given_stays():
    a = {k: o.clone().requires_grad_() for k,o in series.items()}
    s = Stats(*(o.clone() for o in stats))
    labels,rng = ['a','b'],torch.get_rng_state()
    show_maximized(a, s, labels=labels)
    show_dream(a['l2'], a['none'], labels=labels)
    assert all(torch.equal(a[k], series[k]) for k in a) and all(torch.equal(p, q) for p,q in zip(s, stats)) and labels==['a','b'] and torch.equal(rng, torch.get_rng_state())
    show_maximized({k: o.numpy() for k,o in series.items()}, {k: o.numpy().tolist() for k,o in stats._asdict().items()})

# show_dream

before = noise(3,2,40)
after = before + noise(3,2,40)

def grey(ax): return next(o for o in ax.lines if o.get_label()=='before')
def coloured(ax): return next(o for o in ax.collections if isinstance(o, LineCollection))

def one_row(fig, B, C):
    "Axes (B,C) of a figure whose series are side by side"
    return np.array(fig.axes[:B*C]).reshape(C,B).T

def test_dream_before_and_after():
    "The grey line is x, the coloured one dream, its colours the difference, on one range around zero"
    fig = show_dream(before, after, ['a','b','c'], ['hip','knee'])
    most = (after-before).abs().max().item()
    for (i,c),ax in np.ndenumerate(one_row(fig, 3, 2)):
        np.testing.assert_array_equal(grey(ax).get_ydata(), before[i,c])
        np.testing.assert_array_equal(coloured(ax).x, after[i,c])
        np.testing.assert_allclose(coloured(ax).get_array(), (after-before)[i,c], atol=1e-6)
        np.testing.assert_allclose(coloured(ax).get_clim(), (-most,most), rtol=1e-6)
        assert coloured(ax).get_cmap().name=='RdBu_r' and ax.get_title()==('abc'[i] if c==0 else '') and ax.get_ylabel()==(['hip','knee'][c] if i==0 else '')
    bar = fig.axes[-1]
    assert len(fig.axes)==7 and bar.get_ylabel()=='after - before' and texts(fig)==['before']
    np.testing.assert_allclose(bar.get_ylim(), (-most,most), rtol=1e-6)
    assert grey(fig.axes[0]).get_linewidth()<coloured(fig.axes[0]).get_linewidth()[0] and grey(fig.axes[0]).get_color()=='.45'

@pytest.mark.parametrize('sign', [1,-1,0])
def test_colours_are_centred_even_where_the_change_has_one_sign(sign):
    ax = show_dream(before[0], before[0]+sign*torch.linspace(0, 2, 40)).axes[0]
    assert coloured(ax).get_clim()==((-1,1) if sign==0 else pytest.approx((-2,2), abs=1e-6)) and coloured(ax).get_cmap().name=='RdBu_r'
    np.testing.assert_allclose(coloured(ax).get_array(), sign*np.linspace(0, 2, 40), atol=1e-6)

def test_red_is_up():
    "In pixels"
    for sign,k in ((1,0),(-1,2)):
        fig = show_dream(torch.zeros(30), sign*torch.ones(30), colorbar=False, linewidth=8, figsize=(3,2))
        fig.savefig(out := io.BytesIO())
        img = np.asarray(Image.open(out).convert('RGB')).astype(int)
        assert (img[...,k]-img[...,2-k]).max()>60>20>(img[...,2-k]-img[...,k]).max()

def test_ranks_lists_and_places():
    for x,d in ((before[0,0],after[0,0]), (before[0],after[0]), (before[0].numpy(),after[0].numpy()), ([before[0]],[after[0]]), (before[:1],after[:1])):
        fig = show_dream(x, d)
        np.testing.assert_array_equal(coloured(fig.axes[0]).x, after[0,0])
        assert len(fig.axes)==(2 if x is before[0,0] or getattr(x, 'ndim', 3)==1 else 3)
    five = noise(5,1,40)
    fig = show_dream(five, five+1, list('abcde'))
    fig.draw_without_rendering()
    assert len(fig.axes)==6 and [ax.get_title() for ax in fig.axes[:5]]==list('abcde')
    at = np.array([ax.get_position().bounds for ax in fig.axes[:5]])
    assert np.ptp(at[:3,1])<1e-6 and np.ptp(at[3:,1])<1e-6 and at[3,1]<at[0,1] and abs(at[0,0]-at[3,0])<1e-6
    assert [ax.xaxis.get_tick_params()['labelbottom'] for ax in fig.axes[:5]]==[False,False,True,True,True]

def test_padded_steps_are_left_out():
    "They are neither drawn nor do they set the colours; lengths that the batch knows count"
    class Known(torch.Tensor): pass
    lengths = torch.tensor([40,25,10])
    d = after.clone(); d[1,:,25:] += 100; d[2,:,10:] = torch.nan
    known = before.as_subclass(Known); known.lengths = lengths
    for fig in (show_dream(before, d, lengths=lengths), show_dream(known, d), show_dream([o[:,:n] for o,n in zip(before, lengths)], [o[:,:n] for o,n in zip(d, lengths)])):
        axs = one_row(fig, 3, 2)
        for i,n in enumerate(lengths):
            for c in (0,1): assert len(grey(axs[i,c]).get_ydata())==len(coloured(axs[i,c]).x)==n
        assert coloured(axs[0,0]).get_clim()[1]<10 and len({ax.get_xlim() for ax in axs.flat})==1 and axs[0,0].get_xlim()[1]>=39
    show_dream(before, d, lengths=lengths, t=np.arange(40)/4)
    with says(ValueError, '`lengths`', '3 ints'): show_dream(before, d, lengths=torch.tensor([1,2]))
    with says(ValueError, '`lengths`', '41'): show_dream(before, d, lengths=torch.tensor([1,2,41]))

def test_dream_times_limits_styles():
    fig = show_dream(before[0], after[0], fs=20, vmax=.5, cmap='PuOr', colorbar=False, legend=False, title='A dream')
    assert len(fig.axes)==2 and not fig.legends and fig.get_suptitle()=='A dream' and [ax.get_xlabel() for ax in fig.axes]==['','time (s)']
    assert coloured(fig.axes[0]).get_clim()==(-.5,.5) and coloured(fig.axes[0]).get_cmap().name=='PuOr' and grey(fig.axes[0]).get_xdata()[-1]==39/20
    for style in ('scatter','band','strip'): show_dream(before[0], after[0], style=style).draw_without_rendering()
    assert any(isinstance(o, PathCollection) for o in show_dream(before[0], after[0], style='scatter').axes[0].collections)

@pytest.mark.parametrize('args,kw,err,words', [
    ((before,after[:2]), {}, ValueError, ['same series','3','2']), ((before,after[...,:9]), {}, ValueError, ['same shape','(2, 40)','(2, 9)']),
    ((before[:0],after[:0]), {}, ValueError, ['empty']), ((before,after), dict(titles=['a']), ValueError, ['`titles`','3 series']), ((before,after), dict(titles='abc'), ValueError, ['`titles`']),
    ((before,after), dict(labels=['a']), ValueError, ['`labels`','2 channels']), (([before[0],before[0,:1]],[after[0],after[0,:1]]), {}, ValueError, ['same channels','2','1']),
    ((before,after), dict(vmax=0), ValueError, ['`vmax`','above 0']), ((before,after), dict(vmin=0), TypeError, ["'vmin'",'centred on zero','`vmax`']), ((before,after), dict(norm=1), TypeError, ["'norm'"]),
    ((before,after), dict(chs=0), TypeError, ["'chs'",'pass these channels']), ((before,after), dict(color='r'), TypeError, ["'color'",'`cmap`']), ((before,after), dict(titel='a'), TypeError, ["'titel'","'title'"]),
    ((before,after), dict(t=[1]), ValueError, ['`t`','40']), ((before,after), dict(cmap='RdBu_x'), ValueError, ['`cmap`',"'RdBu_r'"]), ((before,after), dict(figsize='big'), ValueError, ['`figsize`']),
    ((before[0],after), {}, ValueError, ['same'])])
def test_what_dreams_refuse(args, kw, err, words):
    with says(err, *words): show_dream(*args, **kw)

# both

both = pytest.mark.parametrize('show', [lambda **kw: show_maximized(one[:1], stats, classes=[2], **kw), lambda **kw: show_dream(before[0], after[0], **kw)], ids=['maximized','dream'])

@both
def test_files_and_figures(show, tmp_path, monkeypatch):
    show(savefig=tmp_path/'a.png', figsize=(6,4), dpi=50)
    assert Image.open(tmp_path/'a.png').size==(300,200)
    show(savefig=tmp_path/'b.svg')
    assert (tmp_path/'b.svg').stat().st_size>0 and {o.name for o in tmp_path.iterdir()}=={'a.png','b.svg'}
    fig = Figure((7,5), layout='constrained')
    left,right = fig.subfigures(1, 2)
    assert show(fig=left) is left and not right.axes and show(fig=fig) is fig
    with says(ValueError, '`figsize`', '`fig`'): show(fig=fig, figsize=(3,3))
    assert show(figsize=(4,3)).get_size_inches().tolist()==[4,3]
    monkeypatch.setattr('tsviz.heat.new_fig', None) # nothing is drawn before the file name is checked
    with says(ValueError, 'format'): show(savefig=tmp_path/'a.xyz')
    with says(FileNotFoundError, 'folder'): show(savefig=tmp_path/'no'/'a.png')

@both
def test_the_current_figure_stays(show):
    mine = plt.figure()
    show()
    assert plt.gcf() is mine and plt.get_fignums()==[mine.number] and not mine.axes
    plt.close(mine)

def test_names_of_several_lines():
    "Each line is folded for itself, and none is measured with its end"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for fig in (show_maximized({'l2\nand tv':one[:1]}, None, ['Gun\ndrawn'], labels=['hip','left\nknee']), show_dream(before[0], after[0], labels=['Gun\ndrawn\nhip','left\nknee'])):
            assert [ax.get_ylabel() for ax in fig.axes[:2]]==['Gun\ndrawn\nhip','left\nknee']

@both
def test_sizes_that_leave_no_room(show):
    for size in ((.9,5),(5,1)):
        with says(ValueError, '`figsize` must be at least', f'got {size}'): show(figsize=size)

def test_many_axes_are_laid_out_once():
    s,st = case(6, 1, 20, 'abc')
    fig = show_maximized(s, st)
    assert fig.get_layout_engine() is None or type(fig.get_layout_engine()).__name__=='PlaceHolderLayoutEngine'

@pytest.mark.parametrize('N,C,V,size', [(6,1,1,None), (1,3,2,None), (2,1,5,(7,3)), (2,1,2,(4.5,2.6))])
def test_all_sizes_fit(N, C, V, size):
    "No cell vanishes, and names of any length stay on the page"
    s,st = case(N, C, 20, [f'a variant that has a name of some length, {i}' for i in range(V)])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fig = show_maximized(s, st, [f'a class that has a name of some length, {i}' for i in range(N)], figsize=size, notes={k: ['p = 0.998']*N for k in s})
        fig.draw_without_rendering()
    w,h = fig.bbox.size
    for ax in cells(fig, N, C, V).flat:
        assert ax.bbox.height>20 and ax.bbox.width>35
        box = ax.get_tightbbox()
        assert box.x0>-2 and box.y0>-2 and box.x1<w+2 and box.y1<h+2
    at = [ax.title.get_window_extent() for ax in cells(fig, N, C, V)[0,0]]
    assert all(a.x1<=b.x0+3 for a,b in zip(at, at[1:])) and at[-1].x1<=w+2
