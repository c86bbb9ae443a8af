"Pictures: what is drawn, where, in which colours, and what is left behind"
import warnings
from datetime import datetime, timedelta
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from tsviz.plot import *
from tsviz.show import save_fig
from tsviz.plot import SeriesLine, _lone_steps, _step_segments

T = 60
rng = np.random.default_rng(0)
x3 = rng.standard_normal((3,1,T)).cumsum(-1)
a3 = rng.random((3,1,T))

@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch):
    "No picture shows itself, warns, or changes matplotlib's settings, and pyplot keeps no figure that was not its own before"
    def shown(*args, **kwargs): raise AssertionError('plt.show() was called')
    monkeypatch.setattr(plt, 'show', shown)
    before,filters = dict(matplotlib.rcParams),list(warnings.filters)
    mine = plt.figure()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
    assert plt.gcf() is mine and plt.get_fignums()==[mine.number]
    assert not mine.axes
    assert dict(matplotlib.rcParams)==before and warnings.filters==filters
    plt.close(mine)

@pytest.fixture
def ax(): return Figure().subplots()

def lines(ax): return [o for o in ax.collections if isinstance(o, SeriesLine)]

def draw(fig):
    "The figure drawn: (height,width,4) bytes"
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())

# colours

def test_cmap_names_are_the_installed_ones():
    assert dir(CMAP)==sorted(matplotlib.colormaps) and all(getattr(CMAP, o)==o for o in matplotlib.colormaps)
    with pytest.raises(AttributeError, match="'viridis'"): assert CMAP.virids

@pytest.mark.parametrize('picture', [lambda **kw: show_series(x3[0], a3[0], Figure().subplots(), **kw), lambda **kw: show_attrs(x3, a3, **kw),
                                     lambda **kw: show_attrs(x3, a3, multi_fig=False, **kw), lambda **kw: show_strips(x3[0], a3[0], **kw)])
def test_unknown_colour_map_is_refused_with_the_closest(picture):
    with pytest.raises(ValueError, match="got 'seismc'.*'seismic'"): picture(cmap='seismc')
    picture(cmap=matplotlib.colormaps['seismic'])

def test_colours_of_signed_and_named_maps():
    for v,cmap,want in [([-1,0,3], None, ('RdBu_r',-3,3)), ([0,1,3], None, ('Spectral_r',0,3)), ([-1,0,3], 'viridis', ('viridis',-1,3)),
                        ([-2,-1], None, ('RdBu_r',-2,2)), ([np.nan,1,2], None, ('Spectral_r',1,2))]:
        o = find_colors(np.array(v, float), cmap)
        assert (o.cmap.name,*o.get_clim())==want
    assert find_colors(np.zeros(3), vmin=-1, vmax=4).get_clim()==(-1,4)
    assert find_colors(np.array([1.,10.]), norm=LogNorm()).get_clim()==(1,10)
    with pytest.raises(ValueError, match='pass one of them'): find_colors(np.zeros(3), norm=LogNorm(), vmin=1)

@pytest.mark.parametrize('value', [0., 3.2, -3.2])
def test_constant_map_takes_one_colour_and_a_bar(value, ax):
    "fault 12, in the picture"
    show_series(x3[0], np.full(T, value), ax, cmap='viridis', colorbar=True)
    draw(ax.figure)
    rgb = lines(ax)[0].get_edgecolor()
    assert np.isfinite(rgb).all() and (rgb==to_rgba(matplotlib.colormaps['viridis'](0.))).all()

# segments

steps = hnp.arrays(float, st.integers(1,12), elements=st.floats(-1e6,1e6) | st.just(np.nan))

@given(steps)
def test_segments_hold_every_step_in_the_middle(x):
    t = np.arange(len(x))
    s = _step_segments(t, x)
    ok = np.isfinite(x)
    np.testing.assert_array_equal(s[:,1], np.stack([t,x], 1))
    both = ok[1:] & ok[:-1]
    np.testing.assert_array_equal(s[:-1,2][both], s[1:,0][both])
    np.testing.assert_allclose(s[:-1,2,0][both], t[:-1][both]+.5)
    assert np.isfinite(s[ok]).all()
    np.testing.assert_array_equal(_lone_steps(x), ok & (s[:,0]==s[:,2]).all(-1))

@settings(deadline=None, max_examples=25)
@given(steps, st.booleans(), st.booleans())
def test_any_series_is_drawn_within_its_limits(x, scatter, colored):
    ax = Figure().subplots()
    show_series(x, np.arange(len(x)) if colored else None, ax, scatter=scatter)
    v = x[np.isfinite(x)]
    lo,hi = ax.get_ylim()
    if len(v): assert lo<=v.min() and v.max()<=hi
    if len(v) and np.ptp(v)>1e-3: assert hi-lo<1.2*np.ptp(v)

def test_each_step_has_its_value_of_the_map(ax):
    show_series(torch.tensor(x3[0], requires_grad=True), torch.tensor(a3[0]).bfloat16(), ax)
    line, = lines(ax)
    np.testing.assert_allclose(line.get_array(), a3[0,0], atol=.01)
    assert len(line.get_paths())==T and isinstance(line, LineCollection)
    np.testing.assert_array_equal([p.vertices[1] for p in line.get_paths()], np.stack([np.arange(T),x3[0,0]], 1))

@pytest.mark.parametrize('n', [1,2,3])
def test_very_short_series(n, ax):
    "T = 1 is a point, T = 2 and 3 are lines of 2 and 3 colours; each can be seen"
    show_series([1.,2,1.5][:n], [0.,1,.5][:n], ax, cmap='viridis')
    for f in (show_attrs(x3[:,:,:n], a3[:,:,:n]), show_strips(x3[0,:,:n], a3[0,:,:n]), show_attrs(x3[:,:,:n])): draw(f)
    ax.set_axis_off()
    seen = np.unique(draw(ax.figure).reshape(-1,4), axis=0).astype(int)
    want = matplotlib.colormaps['viridis']([0.,1,.5][:n] if n>1 else [0.], bytes=True)
    assert all((abs(seen-o).max(1)<3).any() for o in want.astype(int))

def test_gaps_are_gaps(ax):
    x = x3[0,0].copy(); x[20:30] = np.nan; x[25] = np.inf; x[40:43] = [np.nan,1,np.nan]
    show_series(x, a3[0], ax)
    ends = np.array([p.vertices for p in lines(ax)[0].get_paths()])
    assert (ends[19,2]==ends[19,1]).all() and (ends[30,0]==ends[30,1]).all() and np.isnan(ends[20:30,1,1]).all()
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), [[41,1]])
    np.testing.assert_array_equal(ax.collections[1].get_array(), a3[0,0,41:42])
    draw(ax.figure)

def test_scatter_draws_points_and_no_lines(ax):
    show_series(x3[0], a3[0], ax, scatter=True, linewidth=3)
    points, = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), np.stack([np.arange(T),x3[0,0]], 1))
    np.testing.assert_array_equal(points.get_array(), a3[0,0])
    assert points.get_sizes()==9 and not ax.lines

# limits: fault 4

@pytest.mark.parametrize('x', [x3[0,0]+1000, x3[0,0]-1000, np.full(T, 5.), np.zeros(T), np.arange(T)*1e-9])
@pytest.mark.parametrize('scatter', [False,True])
def test_limits_fault_4(x, scatter, ax):
    show_series(x, a3[0], ax, scatter=scatter)
    (lo,hi),size = ax.get_ylim(),np.ptp(x)
    assert lo<=x.min() and x.max()<=hi
    if size: np.testing.assert_allclose([x.min()-lo,hi-x.max()], .05*size, rtol=1e-3)
    np.testing.assert_allclose(ax.get_xlim(), [-.05*(T-1),1.05*(T-1)])

def test_limits_cover_all_series_on_one_axes():
    ax = show_attrs(x3+np.array([0,100,-100])[:,None,None], a3, multi_fig=False).axes[0]
    assert ax.get_ylim()[0]<-95 and ax.get_ylim()[1]>95

# styles: fault 8

@pytest.mark.parametrize('style', ['dotted','dashed',(0,(3,1))])
def test_linestyles_of_every_series_fault_8(style):
    want = LineCollection([], linestyles=style, linewidths=2).get_linestyle()
    solid = LineCollection([], linewidths=2).get_linestyle()
    for multi in (True,False):
        fig = show_attrs(x3, a3, multi_fig=multi, linestyles=style, linewidth=2)
        for _ in range(2):
            assert [o.get_linestyle() for ax in fig.axes for o in lines(ax)]==[want]*3
            draw(fig)
        fig = show_attrs(x3, a3, multi_fig=multi, linewidth=2)
        assert [o.get_linestyle() for ax in fig.axes for o in lines(ax)]==[solid]*3

def test_dashes_run_on_over_the_segments():
    "A dashed colour-mapped line leaves the ink of a plain dashed line"
    ink = []
    for attr in (None,np.ones(400)):
        fig = Figure((6,2), dpi=100); ax = fig.subplots()
        show_series(np.zeros(400), attr, ax, linewidth=4, linestyles='dashed', **(dict(color='k') if attr is None else dict(cmap='gray_r', vmin=0, vmax=1)))
        ax.set_axis_off()
        ink.append((draw(fig)[...,0]<128).any(0))
    assert .4<ink[0].mean()<.7 and (ink[0]!=ink[1]).mean()<.05

def test_line_has_no_hairlines():
    "An opaque line of one colour is as solid as a plain one"
    fig = Figure((6,2), dpi=100); ax = fig.subplots()
    show_series(np.linspace(0,1,77), np.ones(77), ax, cmap='gray_r', vmin=0, vmax=1, linewidth=6)
    ax.set_axis_off()
    img = draw(fig)[::-1,:,0]
    (row,col),(r1,c1) = [ax.transData.transform(o) for o in [(2,2/76),(74,74/76)]]
    n = np.linspace(0, 1, 2000)
    assert img[(col+n*(c1-col)).round().astype(int), (row+n*(r1-row)).round().astype(int)].max()<30

def test_pale_lines_get_an_edge(ax):
    show_series(x3[0], a3[0], ax)
    assert not ax.lines
    show_series(x3[0], np.zeros(T), ax, cmap='RdBu_r', vmin=-1, vmax=1)
    assert len(ax.lines)==1 and ax.lines[0].get_linewidth()>4 and ax.lines[0].get_color()=='.5'
    show_series(x3[0], np.zeros(T), ax, cmap='RdBu_r', vmin=-1, vmax=1, scatter=True)
    assert tuple(ax.collections[-1].get_edgecolor()[0])==to_rgba('.5')

def test_line_collection_arguments_go_through():
    fig = show_attrs(x3, a3, alpha=.3, linewidth=7, capstyle='round', zorder=5, path_effects=[])
    for ax in fig.axes[:3]:
        o, = lines(ax)
        assert (o.get_alpha(),o.get_linewidth(),o.get_capstyle(),o.get_zorder())==(.3,[7],'round',5)

# several channels: fault 5

def test_multivariate_fault_5(ax):
    x = rng.standard_normal((3,T))
    show_series(x, a3[0], ax)
    assert [o.get_text() for o in ax.get_legend().get_texts()]==['channel 0','channel 1','channel 2']
    for o in lines(ax): np.testing.assert_array_equal(o.get_array(), a3[0,0])
    assert len({o.get_marker() for o in ax.lines})==3
    ax = Figure().subplots()
    show_series(x, a3[:,0], ax, chs=[2,0], labels=['a','b','c'])
    for o,c in zip(lines(ax), [2,0]): np.testing.assert_array_equal(o.get_array(), a3[c,0])
    assert [o.get_text() for o in ax.get_legend().get_texts()]==['c','a']
    for chs,n in [(1,1), (slice(1,3),2), (range(3),3)]: assert len(lines(show_series(x, a3[0], Figure().subplots(), chs=chs)))==n
    for multi in (True,False): draw(show_attrs(np.stack([x,x]), a3[:2], multi_fig=multi, titles=['a','b']))

def test_plain_series(ax):
    x = x3[0,0].copy(); x[3:6] = [np.nan,1,np.nan]
    show_series(x, ax=ax, title='x', color='r')
    line, = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), x)
    assert line.get_markevery()==[4] and line.get_color()=='r' and ax.get_title()=='x' and not ax.get_legend()
    fig = show_attrs(x3)
    assert len(fig.axes)==3

def test_time_axis(ax):
    show_series(x3[0], a3[0], ax, fs=20)
    np.testing.assert_allclose(np.array([p.vertices for p in lines(ax)[0].get_paths()])[:,1,0], np.arange(T)/20)
    assert ax.get_xlabel()=='time (s)'
    days = [datetime(2024,1,1)+timedelta(days=i) for i in range(T)]
    want = matplotlib.dates.date2num(days)
    for t in (days, np.array(days, 'datetime64[s]'), pd.DatetimeIndex(days), pd.DatetimeIndex(days, tz='UTC')):
        ax = show_series(x3[0], a3[0], Figure().subplots(), t=t)
        np.testing.assert_allclose(np.array([p.vertices for p in lines(ax)[0].get_paths()])[:,1,0], want)
        draw(ax.figure)
        assert 'Feb' in ''.join(o.get_text() for o in ax.get_xticklabels())+ax.xaxis.get_offset_text().get_text()
    draw(show_strips(x3[0], a3[:,0], t=days))
    draw(show_attrs(x3, a3, t=days, lengths=[T,5,1]))
    for kw,msg in [(dict(t=days, fs=1),'pass one of them'), (dict(t=days[1:]),f'one time for each of the {T} steps'), (dict(fs=0),'above 0')]:
        with pytest.raises(ValueError, match=msg): show_series(x3[0], a3[0], Figure().subplots(), **kw)

# figures: faults 3, 16 and 21

def test_a_figure_is_returned_and_one_only_faults_3_16_21():
    for fig,n in [(show_attrs(x3, a3, titles=list('abc')), 4), (show_attrs(x3, a3, multi_fig=False), 2), (show_attrs(x3, a3, scatter=True), 4),
                  (show_attrs(x3, a3, multi_fig=False, scatter=True), 2), (show_attrs(x3, a3, colorbar=False), 3), (show_strips(x3[0], a3[:,0]), 3)]:
        assert isinstance(fig, Figure) and len(fig.axes)==n
        draw(fig)

def test_a_loop_leaves_no_figure():
    for _ in range(25): show_attrs(x3[:1], a3[:1], multi_fig=False)

def test_a_figure_can_be_given():
    for fig in (Figure(), Figure().subfigures()):
        assert show_attrs(x3, a3, fig=fig) is fig and len(fig.axes)==4
    fig = plt.figure(layout='constrained')
    show_strips(x3[0], a3[0], fig=fig)
    assert plt.gcf() is fig
    plt.close(fig)

def test_show_series_without_axes_asks_pyplot():
    ax = show_series(x3[0], a3[0])
    assert plt.gcf() is ax.figure and len(ax.figure.axes)==2
    plt.close(ax.figure)
    with pytest.raises(ValueError): show_series(x3[0], a3[0,:,1:])

@pytest.mark.parametrize('n,rows,cols', [(1,1,1),(2,1,2),(3,1,3),(5,2,3),(9,3,3)])
def test_grid(n, rows, cols):
    fig = show_attrs(np.resize(x3, (n,1,T)), np.resize(a3, (n,1,T)), [f'series {i}' for i in range(n)])
    spec = fig.axes[0].get_gridspec()
    assert spec.get_geometry()==(rows,cols) and [o.get_title() for o in fig.axes[:n]]==[f'series {i}' for i in range(n)]
    assert tuple(fig.get_size_inches())==(13,max(4,1.9*rows))
    assert tuple(show_attrs(x3, a3, figsize=(5,3)).get_size_inches())==(5,3)
    assert tuple(show_attrs(x3, a3, multi_fig=False).get_size_inches())==(6,4)
    assert len({o.get_clim() for ax in fig.axes for o in lines(ax)})==1

@pytest.mark.parametrize('title', ['[Gun] - GRAD-CAM - mean\npredicted Point (0.98)',
                                   '[a label with many words in it, so that it must be folded] - Integrated gradients'])
def test_titles_of_many_series_do_not_overlap(title):
    n = 25
    fig = show_attrs(np.zeros((n,1,2)), np.zeros((n,1,2)), [title]*n)
    draw(fig)
    boxes = [ax.title.get_window_extent() for ax in fig.axes[:n]]
    assert not any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[:i])
    assert not any(a.overlaps(ax.bbox) for a in boxes for ax in fig.axes)

def test_lengths_stop_the_lines():
    lengths = [T,10,1]
    for multi in (True,False):
        fig = show_attrs(x3, a3, lengths=torch.tensor(lengths), multi_fig=multi)
        assert [len(o.get_array()) for ax in fig.axes for o in lines(ax)]==lengths
    a = a3.copy(); a[1,0,10:] = 99
    assert show_attrs(x3, a, lengths=lengths).axes[0].collections[0].get_clim()[1]<1

def test_names_of_series_on_one_axes():
    ax = show_attrs(x3, a3, ['a','b','c'], multi_fig=False, title='all').axes[0]
    assert [o.get_text() for o in ax.get_legend().get_texts()]==['a','b','c'] and ax.get_title()=='all'
    assert len({o.get_marker() for o in ax.lines})==3

def test_strips():
    fig = show_strips(x3[0], a3[:,0], ['a','b','c'], title='top', cmap='magma', vmin=0, vmax=2)
    top,low,bar = fig.axes
    mesh = low.collections[0]
    np.testing.assert_array_equal(mesh.get_array(), a3[:,0])
    assert (mesh.cmap.name,*mesh.get_clim())==('magma',0,2) and top.get_title()=='top'
    assert [o.get_text() for o in low.get_yticklabels()]==['a','b','c']
    assert top.get_xlim()==low.get_xlim()==(-.5,T-.5) and low.get_ylim()==(3,0)
    np.testing.assert_array_equal(step_edges(np.array([0.,1,3])), [-.5,.5,2,4])
    np.testing.assert_array_equal(step_edges(np.array([7.])), [6.5,7.5])

def test_long_series_are_drawn():
    x = rng.standard_normal(20_000).cumsum()
    for kw in (dict(), dict(linestyles='dashed')): draw(show_attrs(x[None,None], x[None,None], multi_fig=False, **kw))
    draw(show_strips(x, np.stack([x,x])))

def test_wrong_shapes_are_refused():
    for f,msg in [(lambda: show_attrs([]), 'empty'), (lambda: show_attrs(x3, a3[:2]), '`attrs` must hold one for each of the 3 series, got 2'),
                  (lambda: show_attrs(x3, a3, ['a']), '`titles` must hold'), (lambda: show_attrs(x3, a3[...,::2]), 'one row, or one a channel'),
                  (lambda: show_series(x3, ax=Figure().subplots()), 'must be .T,. or rows'), (lambda: show_strips(x3[0], a3[0,:,1:]), f'the {T} steps'),
                  (lambda: show_strips(x3[0], a3[0], ['a','b']), '`labels` must hold one for each of the 1 strips')]:
        with pytest.raises(ValueError, match=msg): f()

# saving: fault 6

@pytest.mark.parametrize('name', ['fig.png','fig.pdf','fig.svg','fig'])
def test_save_whole(tmp_path, name):
    fig = show_attrs(x3, a3)
    path = save_fig(fig, tmp_path/name)
    assert path==(tmp_path/name if '.' in name else tmp_path/'fig.png') and [o for o in tmp_path.iterdir()]==[path] and path.stat().st_size>1000
    assert save_fig(Figure().subfigures(), str(path))==path

def test_save_nothing_on_failure(tmp_path, monkeypatch):
    fig = show_attrs(x3, a3)
    (tmp_path/'fig.png').write_text('old')
    def fails(renderer): raise RuntimeError('no ink')
    fig.axes[0].collections[0].draw = fails
    with pytest.raises(RuntimeError, match='no ink'): save_fig(fig, tmp_path/'fig.png')
    def half(self, path): path.write_text('ha'); raise RuntimeError('no ink')
    monkeypatch.setattr(Figure, 'savefig', half)
    with pytest.raises(RuntimeError, match='no ink'): save_fig(fig, tmp_path/'fig.png')
    assert [o.name for o in tmp_path.iterdir()]==['fig.png'] and (tmp_path/'fig.png').read_text()=='old'
    with pytest.raises(ValueError, match="`fig.docx` must end in a format"): save_fig(fig, tmp_path/'fig.docx')
    with pytest.raises(FileNotFoundError, match='There is no folder'): save_fig(fig, tmp_path/'no'/'fig.png')

# names and legends

def legend_of(o): return [t.get_text() for t in o.get_texts()]

def test_name_lines_are_thin_and_only_where_they_help():
    x2 = rng.standard_normal((2,T))
    for kw,ls in [(dict(alpha=.3),'-'), (dict(linestyles='dotted'),'None'), (dict(scatter=True),'None')]:
        ax = show_series(x2, a3[0], Figure().subplots(), **kw)
        assert [o.get_linestyle() for o in ax.lines]==[ls]*2 and all(o.get_linewidth()<=.6 and o.get_alpha()==kw.get('alpha',1) for o in ax.lines)
    long = rng.standard_normal((2,601))
    assert [o.get_linestyle() for o in show_series(long, long, Figure().subplots()).lines]==['None']*2
    assert [o.get_markerfacecolor() for o in show_series(x2[:,:1], a3[0,:,:1], Figure().subplots()).lines]==['none']*2

def test_legends_are_short_and_inside():
    x24 = rng.standard_normal((3,24,T))
    fig = show_attrs(x24, x24[:,:1])
    draw(fig)
    legend, = fig.legends
    assert len(legend_of(legend))==12 and legend_of(legend)[-1]=='... 13 more' and not any(ax.get_legend() for ax in fig.axes)
    fig = show_attrs(x24, x24[:,:1], list('abc'), multi_fig=False, title='all')
    draw(fig)
    legend = fig.axes[0].get_legend()
    assert len(legend_of(legend))<=12 and legend_of(legend)[0]=='a, channel 0' and legend_of(legend)[-1].endswith(' more') and legend.get_frame().get_alpha()<1
    fig = show_strips(x24[0], x24[0,:2])
    draw(fig)
    assert fig.axes[0].get_legend().get_window_extent().y0>=fig.axes[0].bbox.y0-1
    for kw in (dict(), dict(multi_fig=False)):
        fig = show_attrs(x24, x24[:,:1], legend=False, **kw)
        assert not fig.legends and not fig.axes[0].get_legend()

def test_unknown_words_are_refused():
    for kw,msg in [(dict(linewidht=2), "'linewidth'"), (dict(colors='r'), 'choose `cmap`'), (dict(linestyles='x'), "got 'x'"), (dict(ax=1), "Did you mean 'fig'")]:
        with pytest.raises((TypeError,ValueError), match=msg): show_attrs(x3, a3, **kw)
    show_attrs(x3, color='r'); show_attrs(x3, a3, scatter=True, marker='s')

def test_figures_grow_with_their_titles():
    one,two = (show_attrs(np.resize(x3, (9,1,T)), titles=[t]*9) for t in ('a','a\nb'))
    assert two.get_figheight()>one.get_figheight()
    fig = show_attrs(np.resize(x3, (4,1,T)), titles=['a\nb\nc','a','a','a'])
    draw(fig)
    assert np.ptp([ax.bbox.height for ax in fig.axes])<1

def test_date_ticks_do_not_overlap():
    hours = pd.date_range('2024-01-01', periods=T, freq='h')
    for t in (hours, hours.to_period('h'), pd.date_range('2020', periods=T, freq='MS')):
        fig = show_attrs(np.resize(x3, (9,1,T)), np.resize(a3, (9,1,T)), t=t)
        draw(fig)
        for ax in fig.axes[6:9]:
            boxes = [o.label1.get_window_extent() for o in ax.xaxis.get_major_ticks() if o.label1.get_text()]
            assert len(boxes)>1 and not any(a.overlaps(b) for a,b in zip(boxes, boxes[1:]))
    with pytest.raises(ValueError, match='`t` holds strings'): show_attrs(x3, t=[str(o) for o in hours])
