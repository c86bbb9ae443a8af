"Pictures: what is drawn, where, in which colours, and what is left behind"
import io, warnings
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
from tsviz.heat import show_heatmap, show_strips
from tsviz.line import lone_steps, step_segments
from tsviz.plot import *
from tsviz.plot import SeriesLine
from tsviz.show import check_style, fit_titles, save_fig, show_attrs

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
    s = step_segments(t, x)
    ok = np.isfinite(x)
    np.testing.assert_array_equal(s[:,1], np.stack([t,x], 1))
    both = ok[1:] & ok[:-1]
    np.testing.assert_array_equal(s[:-1,2][both], s[1:,0][both])
    np.testing.assert_allclose(s[:-1,2,0][both], t[:-1][both]+.5)
    assert np.isfinite(s[ok]).all()
    np.testing.assert_array_equal(lone_steps(x), ok & (s[:,0]==s[:,2]).all(-1))

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
    show_series(x, a3[0], ax, legend=True)
    assert [o.get_text() for o in ax.get_legend().get_texts()]==['channel 0','channel 1','channel 2']
    for o in lines(ax): np.testing.assert_array_equal(o.get_array(), a3[0,0])
    assert len({o.get_marker() for o in ax.lines})==3
    ax = Figure().subplots()
    show_series(x, a3[:,0], ax, chs=[2,0], labels=['a','b','c'], legend=True)
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
    for _ in range(21): show_attrs(x3[:1], a3[:1], multi_fig=False, colorbar=False)

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
    ax = show_attrs(x3, a3, ['a','b','c'], multi_fig=False, title='all', legend=True).axes[0]
    assert [o.get_text() for o in ax.get_legend().get_texts()]==['a','b','c'] and ax.get_title()=='all'
    assert len({o.get_marker() for o in ax.lines})==3

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
        ax = show_series(x2, a3[0], Figure().subplots(), legend=True, **kw)
        assert [o.get_linestyle() for o in ax.lines]==[ls]*2 and all(o.get_linewidth()<=.6 and o.get_alpha()==kw.get('alpha',1) for o in ax.lines)
    long = rng.standard_normal((2,601))
    assert [o.get_linestyle() for o in show_series(long, abs(long), Figure().subplots(), legend=True).lines]==['None']*2
    assert [o.get_markerfacecolor() for o in show_series(x2[:,:1], a3[0,:,:1], Figure().subplots(), legend=True).lines]==['none']*2

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
    for kw,msg in [(dict(linewidht=2), "'linewidth'"), (dict(colors='r'), 'choose `cmap`'), (dict(linestyles='x'), "got 'x'"), (dict(ax=1), "Did you mean 'axs'")]:
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

# what is seen of very many steps

RED,BLUE = (np.array(to_rgba(matplotlib.colormaps['Spectral_r'](o))[:3])*255 for o in (1.,0.))

def inside(ax, dpi=100):
    "The pixels inside of an axes, from its foot up"
    fig = ax.figure
    fig.dpi = dpi
    pic = draw(fig)[::-1,:,:3].astype(int)
    x0,y0,x1,y1 = ax.bbox.extents.round().astype(int)
    return pic[y0+2:y1-2,x0+2:x1-2]

def column_of(ax, t): return ax.transData.transform((t, 0))[0] - ax.bbox.x0.round() - 2
def near(pic, color): return abs(pic-color).max(-1)<6

@pytest.mark.parametrize('style,T', [('line',1_000_000), ('scatter',60_000), ('band',100_000), ('strip',100_000)])
def test_one_step_of_the_map_shows_its_colour_in_its_column(style, T, ax):
    "At two resolutions, and where the spike of the series is"
    x,attr = np.sin(np.arange(T)*7/T),np.zeros(T)
    i,j = int(.3217*T),int(.7123*T)
    x[i],attr[j] = 4,1
    show_series(x, attr, ax, style=style)
    for dpi in (100,170):
        pic = inside(ax, dpi)
        red, = np.nonzero(near(pic, RED).any(0))
        size = 4*dpi/72 if style=='scatter' else 1
        assert len(red) and abs(red-column_of(ax, j)).max()<=size+.5
        rows = near(pic, RED)[:,red].sum(0)
        assert rows.max()>=(.9*len(pic) if style=='band' else 3)
        ink = (pic<235).any(-1) if style in ('line','scatter') else (pic<90).all(-1) if style=='band' else (pic[...,0]<150)
        if style=='band': continue
        top = np.nonzero(ink[:,int(column_of(ax, i))-1:int(column_of(ax, i))+2].any(1))[0].max()
        assert abs(top-(ax.transData.transform((0,4))[1]-ax.bbox.y0-2))<4*dpi/72

def test_strongest_of_both_signs_is_on_top(ax):
    T = 50_000
    attr = np.full(T, .3)
    attr[20_000],attr[40_000] = -1,1
    show_series(np.zeros(T), attr, ax)
    pic = inside(ax)
    for i,color in ((20_000,0.),(40_000,1.)):
        want = np.array(matplotlib.colormaps['RdBu_r'](color)[:3])*255
        cols, = np.nonzero(near(pic, want).any(0))
        assert len(cols) and abs(cols-column_of(ax, i)).max()<=1.5

@pytest.mark.parametrize('kw', [dict(), dict(attr=True), dict(attr=True, std=True), dict(attr=True, style='strip', linewidth=8)])
def test_the_ink_of_a_decimated_line_is_the_ink_of_all(kw, monkeypatch):
    "To the pixel, with gaps and an abrupt step"
    T = 6_000
    x = rng.standard_normal(T).cumsum()
    x[1000:1200],x[3000:],x[5003:5005] = np.nan,x[3000:]+50,np.nan
    a = rng.random(T)
    kw = kw | ({k:a for k in ('attr','std') if k in kw})
    pics = []
    for every in (False,True):
        if every: monkeypatch.setattr('tsviz.plot.decimate', lambda px, *args: (np.arange(len(px)),np.array([], int)))
        ax = Figure().subplots()
        show_series(x, ax=ax, cmap='Greys', vmin=-9, vmax=0, **dict(linewidth=2) | kw) if 'attr' in kw else show_series(x, ax=ax, linewidth=2, color='k')
        pics.append((inside(ax)<150).any(-1))
    def grown(o): return np.lib.stride_tricks.sliding_window_view(np.pad(o, 1), (3,3)).any((2,3))
    assert pics[1].sum()>5000 and not (pics[0] & ~grown(pics[1])).any() and not (pics[1] & ~grown(pics[0])).any()
    assert (pics[0]!=pics[1]).mean()<.01

@pytest.mark.parametrize('style', ['line','scatter','band','strip'])
def test_few_steps_are_drawn_one_by_one(style, monkeypatch):
    "As without any rule for many"
    pics = []
    for every in (False,True):
        if every:
            monkeypatch.setattr('tsviz.plot.decimate', lambda px, *args: (np.arange(len(px)),np.array([], int)))
            monkeypatch.setattr('tsviz.plot.sift_points', lambda px, py, attr: np.argsort(abs(attr)))
            monkeypatch.setattr('tsviz.line.pool_columns', lambda *args: 1/0)
        ax = Figure().subplots()
        x = np.random.default_rng(1).standard_normal(150)
        show_series(x, x, ax, style=style) if style!='band' else show_attrs(x[None,None], x[None,None], axs=[ax])
        pics.append(inside(ax))
        if style=='band': break
    if style!='band': assert (pics[0]==pics[1]).all()

def test_a_zoom_shows_the_steps_there():
    T = 200_000
    x,a = rng.standard_normal(T),rng.random(T)
    pics = []
    for part in (slice(0,T),slice(5000,5100)):
        ax = Figure().subplots()
        show_series(x[part], a[part], ax, t=np.arange(T)[part], vmin=0, vmax=1, rasterized=False)
        ax.set(xlim=(5010,5060), ylim=(-3,3), xticks=[], yticks=[])
        pics.append(inside(ax))
    assert (abs(pics[0]-pics[1]).max(-1)>30).sum()<9 and (pics[0]<250).any(-1).sum()>9000

def test_a_million_steps_make_few_segments(monkeypatch):
    "Counted where they are drawn, and none are made for all steps"
    counts = []
    inner = LineCollection.draw
    monkeypatch.setattr(LineCollection, 'draw', lambda self, renderer: (counts.append(len(self.get_paths())),inner(self, renderer))[1])
    T = 1_000_000
    ax = Figure().subplots()
    show_series(rng.standard_normal(T), rng.standard_normal(T), ax)
    draw(ax.figure)
    assert len(counts)==3 and max(counts)<=7*(ax.bbox.width+2) and not lines(ax)[0]._paths

def test_logarithmic_and_reversed_axes():
    T = 20_000
    x,attr = rng.random(T)+1,np.zeros(T)
    attr[12_345] = 1
    for style in ('line','band'):
        for how in (dict(xscale='log'), dict(yscale='log'), dict(xlim=(T,0))):
            ax = Figure().subplots()
            show_series(x, attr, ax, style=style)
            ax.set(**how)
            red, = np.nonzero(near(inside(ax), RED).any(0))
            if how!=dict(xscale='log') or style=='line': assert len(red) and abs(red-column_of(ax, 12_345)).max()<=7

def test_line_limits_of_long_series():
    x = rng.standard_normal(50_000)*3
    ax = show_series(x, x, Figure().subplots())
    np.testing.assert_allclose(ax.get_ylim(), [x.min()-.05*np.ptp(x), x.max()+.05*np.ptp(x)])

# every step of the map is seen

def spikes(T, n_pixels, signed):
    "A map with single steps that stand out, of the same column never two"
    at = np.linspace(.03*T, .97*T-1, 8).astype(int) + [0,1,0,2,0,1,3,0]
    v = np.zeros(T) if signed else np.full(T, .1)
    v[at] = np.where(np.arange(8)%2, -1, 1) if signed else 1
    return v,at

@pytest.mark.parametrize('picture', [*styles,'heatmap','strips'])
@pytest.mark.parametrize('ratio', [.7,1,1.3,1.5,1.9,2,2.5,10,1000])
def test_every_spike_of_the_map_is_seen_in_its_column_of_pixels(picture, ratio):
    "By brute force: the pixels of a column are searched for the colour; at two resolutions, with a sign and without, on numbers, on dates, with gaps"
    for signed,dates,gaps in [(True,False,False),(False,True,True)]:
        fig = Figure((2.2,1.4), dpi=100)
        ax = fig.subplots()
        T = int(ratio*ax.bbox.width/1.1)
        v,at = spikes(T, ax.bbox.width, signed)
        x = .2*np.sin(np.arange(T)*9/T)
        if gaps:
            for i in at[1:-1]: x[i+9:i+9+T//40] = np.nan
            x[at],v[at[-1]+2:at[-1]+4] = 0,np.nan
        t = np.datetime64('2024-01-01')+np.arange(T)*np.timedelta64(3600,'s') if dates else None
        kw = dict(cmap='RdBu_r', vmin=-1, vmax=1, t=t)
        if picture=='heatmap': show_heatmap(x, v, ax, line=False, **kw)
        elif picture=='strips': ax = show_strips(x, v, colorbar=False, fig=fig, **kw).axes[-1]
        else: show_series(x, v, ax, style=picture, **kw)
        times = np.arange(T) if t is None else matplotlib.dates.date2num(t)
        for dpi in (100,170):
            fig.dpi = dpi
            pic = draw(fig)[::-1,:,:3].astype(int)
            for i in at:
                px,want = ax.transData.transform((times[i],0))[0],np.array(matplotlib.colormaps['RdBu_r']((v[i]+1)/2, bytes=True)[:3]).astype(int)
                cols = {int(np.floor(px-1e-6)),int(np.floor(px+1e-6))}
                assert any((abs(pic[:,c]-want).max(-1)<3).any() for c in cols), (picture,ratio,dpi,signed,i)

# styles

def test_style_names():
    for kw,msg in [(dict(style='bend'), "Did you mean 'band'"), (dict(style='band', scatter=True), 'pass one of them'), (dict(alpha='x'), "got 'x'")]:
        for f in (lambda **kw: show_series(x3[0], a3[0], Figure().subplots(), **kw), lambda **kw: show_attrs(x3, a3, **kw)):
            with pytest.raises(ValueError, match=msg): f(**kw)
    a,b = (show_series(x3[0], a3[0], Figure().subplots(), **kw) for kw in (dict(scatter=True), dict(style='scatter')))
    assert (draw(a.figure)==draw(b.figure)).all()
    show_attrs(x3, a3, style='scatter', marker='s'); show_attrs(x3, a3, style='band', color='r', drawstyle='steps')
    with pytest.raises(TypeError, match='choose `cmap`'): show_attrs(x3, a3, style='line', color='r')

def test_band_is_the_strongest_of_the_channels(ax):
    attr = np.array([[0.,2,-3,np.nan],[1,-1,2,np.nan]])
    show_series(np.zeros((2,4)), attr, ax, style='band', t=[0,1,3,4], legend=False)
    mesh, = ax.collections
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), [[1,2,-3,np.nan]])
    np.testing.assert_array_equal(mesh.edges, [-.5,.5,2,3.5,4.5])
    box = mesh.get_transform().transform([(0,o) for o in mesh.ys])
    assert np.ptp(box[:,1])==pytest.approx(ax.bbox.height)
    with pytest.raises(ValueError, match='A band is the background of one series, got 3'): show_attrs(x3, a3, multi_fig=False, style='band')

@pytest.mark.parametrize('n', [1,2,9])
def test_strips_lie_under_the_line(n, ax):
    x,attr = rng.standard_normal((n,T)),rng.random((n,T))
    show_series(x, attr, ax, style='strip')
    mesh, = ax.collections
    np.testing.assert_array_equal(mesh.get_array(), attr)
    ys = mesh.ys
    foot = ax.transAxes.inverted().transform(ax.transData.transform((0,x.min())))[1]
    assert ys[-1]==pytest.approx(0) and (np.diff(ys)<0).all() and ys[0]<foot<ys[0]+.1
    for _ in range(3): show_series(x, attr[:1], ax, style='strip')
    ys = [o.ys[[0,-1]] for o in ax.collections]
    assert all(a[1]==pytest.approx(b[0]) for a,b in zip(ys, ys[1:])) and ys[-1][1]==pytest.approx(0) and ys[0][0]<.45
    assert ax.collections[1].get_array().shape==(1,T)

def test_opacity_by_the_map(ax):
    a = np.linspace(-1, 3, T)
    show_series(x3[0], a, ax, alpha='map')
    draw(ax.figure)
    np.testing.assert_allclose(lines(ax)[0].get_alpha(), .15+.85*abs(a)/3)
    np.testing.assert_allclose(lines(ax)[0].get_edgecolor()[:,3], .15+.85*abs(a)/3)
    for kw in (dict(style='strip'), dict(linestyles='dotted'), dict(stds=a3[:1])): draw(show_attrs(x3[:1], a3[:1], alpha='map', **kw))
    long = rng.standard_normal(20_000)
    for style in ('line','band','scatter'): draw(show_series(long, long, Figure().subplots(), alpha='map', style=style).figure)

# disagreement

def test_std_is_in_units_of_the_map(ax):
    x,attr,std = x3[0,0],a3[0,0]*4-2,a3[1,0]
    show_series(x, attr, ax, std=std)
    t,lo,hi = ax.collections[0].edges
    lim = abs(attr).max()
    np.testing.assert_allclose([(hi-lo)/2,(hi+lo)/2], [std/(2*lim)*np.ptp(x), x])
    assert ax.collections[0].get_zorder()<lines(ax)[0].get_zorder() and ax.get_ylim()[1]>hi.max() and ax.get_ylim()[0]<lo.min()
    with pytest.raises(ValueError, match='pass `attr` as well'): show_series(x, ax=ax, std=std)
    with pytest.raises(ValueError, match='`std` must be one row'): show_series(x, attr, ax, std=std[1:])
    gap = x.copy(); gap[3:9] = np.nan
    show_series(gap, attr, ax, std=np.r_[np.full(T-3, .1),[np.nan]*3])
    assert len(ax.collections[-2].get_paths())==2

def test_stds_of_a_batch():
    stds = rng.random((3,1,T))
    fig = show_attrs(x3, a3, stds=stds, lengths=[T,10,1])
    draw(fig)
    bands = [ax.collections[0] for ax in fig.axes[:3]]
    assert [len(o.edges[0]) for o in bands]==[T,10,1]
    lim = lines(fig.axes[0])[0].get_clim()
    np.testing.assert_allclose((bands[1].edges[2]-bands[1].edges[1])/2, stds[1,0,:10]/(lim[1]-lim[0])*np.ptp(x3[1,0,:10]))
    draw(show_attrs(np.concatenate([x3,x3], 1), a3, stds=np.concatenate([stds,stds], 1), multi_fig=False))
    with pytest.raises(ValueError, match='`stds` must hold one for each of the 3'): show_attrs(x3, a3, stds=stds[:2])
    with pytest.raises(ValueError, match='pass `attr` as well'): show_attrs(x3, stds=stds)

# names, units

def test_names_stand_at_the_ends_of_lines_where_they_fit():
    x = np.stack([np.zeros(T),np.full(T, 2.),np.full(T, 1.)])
    ax = show_series(x, a3[0], Figure(layout='constrained').subplots(), labels=['a',('b','mV'),'c'*19])
    draw(ax.figure)
    assert [(o.get_text(),o.xy[1]) for o in ax.texts]==[('a',0),('b (mV)',2),('c'*19,1)] and not ax.get_legend() and not ax.lines
    boxes = [o.get_window_extent() for o in ax.texts]
    assert all(o.x0>=ax.bbox.x1 and o.x1<=ax.figure.bbox.x1 for o in boxes) and not any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[:i])
    near = show_series(x*.01+np.arange(T), a3[0], Figure().subplots())
    assert not near.texts and len(legend_of(near.get_legend()))==3
    wide = show_series(x, a3[0], Figure().subplots(), labels=['a','b','c'*40])
    assert legend_of(wide.get_legend())==['a','b','c'*23+'…']
    ends = x.copy(); ends[1,30:] = np.nan
    assert show_series(ends, a3[0], Figure().subplots()).get_legend()
    assert show_series(x, a3[0], Figure().subplots(), legend=True).get_legend()
    none = show_series(x, a3[0], Figure().subplots(), legend=False)
    assert not none.get_legend() and not none.texts
    plain = show_series(x, ax=Figure().subplots())
    assert [o.get_color() for o in plain.texts]==[o.get_color() for o in plain.lines]
    ax = show_attrs(x[:,None], a3, ['p','q','r'], multi_fig=False).axes[0]
    assert [(o.get_text(),o.xy[1]) for o in ax.texts]==[('p',0),('q',2),('r',1)]
    two = np.stack([x[:2],x[:2]+5])
    assert [o.get_text() for o in show_attrs(two, a3[:2], ['p','q'], multi_fig=False, chs=[1,0]).axes[0].texts]==['p, channel 1','p, channel 0','q, channel 1','q, channel 0']
    with pytest.raises(ValueError, match='each of the 3 channels, got 2'): show_series(x, a3[0], Figure().subplots(), labels=['a','b'])

def test_units_on_the_axes():
    say = lambda ax: (ax.get_xlabel(),ax.get_ylabel())
    for kw,want in [(dict(), ('','')), (dict(fs=2), ('time (s)','')), (dict(fs=2, xlabel='t', unit='mV'), ('t','mV')), (dict(ylabel='lead I', unit='mV'), ('','lead I (mV)')),
                    (dict(ylabel='lead I'), ('','lead I'))]: assert say(show_series(x3[0], a3[0], Figure().subplots(), **kw))==want
    fig = show_attrs(np.resize(x3, (5,1,T)), np.resize(a3, (5,1,T)), unit='mV', xlabel='t')
    assert [say(ax) for ax in fig.axes[:5]]==[('','mV'),('',''),('t',''),('t','mV'),('t','')]

# colours

def test_own_colours():
    a = a3*np.array([1,10,100])[:,None,None]
    fig = show_attrs(x3, a, share_colors=False)
    draw(fig)
    np.testing.assert_allclose([lines(ax)[0].get_clim() for ax in fig.axes[:3]], [(o.min(),o.max()) for o in a])
    assert len(fig.axes)==6
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert not any(p.overlaps(q) for i,p in enumerate(boxes) for q in boxes[:i])
    fig = show_attrs(x3, a, ['p','q','r'], share_colors=False, multi_fig=False)
    draw(fig)
    assert [ax.get_ylabel() for ax in fig.axes[1:]]==['p','q','r']
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert not any(p.overlaps(q) for i,p in enumerate(boxes) for q in boxes[:i])
    fig = show_attrs(x3, a, share_colors=False, norm=LogNorm())
    np.testing.assert_allclose([lines(ax)[0].get_clim() for ax in fig.axes[:3]], [(o.min(),o.max()) for o in a])
    assert len({o.get_clim() for ax in show_attrs(x3, a).axes for o in lines(ax)})==1

# files

def saved(fig, kind, **kwargs):
    fig.savefig(out := io.BytesIO(), format=kind, **kwargs)
    return out.getvalue()

@pytest.mark.parametrize('kind', ['svg','pdf'])
def test_files_of_many_steps_are_small(kind):
    T = 8_000
    x = rng.standard_normal((1,1,T)).cumsum(-1)
    auto,on,off = (saved(show_attrs(x, x, ['A long strip'], stds=abs(x)/9, rasterized=o, figsize=(6,3)), kind) for o in (None,True,False))
    assert len(auto)==pytest.approx(len(on), rel=.02) and len(on)<200_000 and len(off)>2*len(on)
    with matplotlib.rc_context({'svg.fonttype':'none'}):
        few = show_attrs(x3[:1], a3[:1], ['A short strip'])
        if kind=='svg':
            text = saved(few, kind).decode()
            assert '>A short strip<' in text and text.count('<path')>2*len(x3[0,0])
            assert '>A long strip<' in saved(show_attrs(x, x, ['A long strip']), kind).decode()

def test_vector_files_have_more_columns_than_points():
    "The columns of a vector file are those of its `dpi`"
    x = rng.standard_normal(20_000)
    fig = Figure((3,3))
    show_series(x, x, fig.subplots(), rasterized=False)
    low,high = (saved(fig, 'svg', dpi=dpi).count(b'<path') for dpi in (50,200))
    assert 2<high/low<8

# where to draw

def test_axes_can_be_given():
    fig = Figure(layout='constrained')
    grid = fig.subplots(2, 2)
    assert show_attrs(x3, a3, ['a','b','c'], axs=grid.ravel()[:3]) is fig and len(fig.axes)==5
    assert [ax.get_title() for ax in fig.axes[:4]]==['a','b','c',''] and all(ax.xaxis.get_tick_params().get('labelbottom', True) for ax in fig.axes[:3])
    assert show_attrs(x3, a3, axs=list(Figure().subplots(1, 3)), colorbar=False)
    one = Figure().subplots()
    assert show_attrs(x3, a3, multi_fig=False, axs=one) is one.figure and len(lines(one))==3
    sub = Figure(layout='constrained').subfigures(1, 2)[1]
    assert show_attrs(x3[:1], a3[:1], axs=sub.subplots()) is sub
    for kw,msg in [(dict(axs=grid), '3 axes, got 4'), (dict(axs=grid[0]), '3 axes, got 2'), (dict(axs=grid.ravel()[:3], fig=fig), 'pass one of them'), (dict(axs=[1,2,3]), 'must hold 3 axes'),
                   (dict(axs=grid.ravel()[:3], multi_fig=False), '1 axes, got 3'), (dict(fig=fig, figsize=(3,3)), 'size of a new figure'), (dict(axs=grid.ravel()[:3], figsize=(3,3)), 'size of a new figure')]:
        with pytest.raises(ValueError, match=msg): show_attrs(x3, a3, **kw)

@pytest.mark.parametrize('size', [5, (1,0), (1,2,3), 'ab', (1,np.inf), (np.nan,1), ('1','2'), (-1,2)])
def test_figsize_is_checked_at_the_door(size):
    class Untouched:
        def __len__(self): return 2
        def __iter__(self): raise AssertionError('the series were read before the size was checked')
    for f in (lambda: show_attrs(Untouched(), figsize=size), lambda: show_series(x3[0], figsize=size), lambda: check_style(show_attrs, dict(figsize=size)), lambda: new_fig(size)):
        with pytest.raises(ValueError, match='`figsize` must be two numbers above 0'): f()

# nothing overlaps

@pytest.mark.parametrize('n,multi', [(1,True),(12,True),(64,True),(1,False),(64,False)])
def test_titles_bars_and_axes_do_not_overlap(n, multi):
    words = ['WWWWWWWWWW'*9, '[Gun] - GRAD-CAM - mean\npredicted Point (0.98)', 'a title of many, many words that does not come to an end before the third line begins, and goes on']
    fig = show_attrs(np.resize(x3[...,:20], (n,1,20)), np.resize(a3[...,:20], (n,1,20)), [words[i%3] for i in range(n)], multi_fig=multi, title='W'*300, unit='mV', fs=9)
    fig.draw_without_rendering()
    axs,bar = fig.axes[:-1],fig.axes[-1]
    assert len(axs)==(n if multi else 1)
    titles = [ax.title.get_window_extent() for ax in axs if ax.get_title()] + ([fig._suptitle.get_window_extent()] if multi else [])
    boxes = titles + [ax.bbox for ax in axs] + [bar.get_tightbbox()]
    page = fig.bbox.padded(1)
    overlaps = lambda a,b: min(a.x1,b.x1)-max(a.x0,b.x0)>.5 and min(a.y1,b.y1)-max(a.y0,b.y0)>.5
    assert not any(overlaps(a, b) for i,a in enumerate(boxes) for b in boxes[:i])
    assert all(page.x0<=o.x0 and o.x1<=page.x1 and page.y0<=o.y0 and o.y1<=page.y1 for o in boxes)
    labels = [ax.yaxis.get_tightbbox(fig._get_renderer()) for ax in axs]
    assert not any(overlaps(a, ax.bbox) for a in labels for ax in axs)
    assert all(o.width>20 and o.height>20 for o in boxes[len(titles):-1])

def test_titles_are_cut_only_where_needed():
    assert fit_titles(['short'], 5)[0]==['short'] and fit_titles(['short'], 5)[1]==fit_titles(['a'], 5)[1]
    titles,size = fit_titles(['word '*99, 'ab'], 1)
    assert titles[1]=='ab' and titles[0].endswith('…') and titles[0].count('\n')==1 and size==6
    assert fit_titles(['one two'], .3)[0]==['one\ntwo']
