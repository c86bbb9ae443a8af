"Feature maps, kernels with their responses, top windows: the drawn numbers are read back from the figure"
from datetime import date, timedelta
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from PIL import Image
from tsviz.filters import *
from tsviz.inside import contributions, feature_maps, frequency_response, kernels, top_windows
from tsviz.models import InceptionBlock
from tsviz.plot import HeatRows
from tsviz.synth import planted, tiny_cnn
from common import says

model = tiny_cnn(n_channels=2, n_classes=3, width=12, stride=2)
xs,ys,_ = planted(n=12, n_channels=2, n_steps=60, n_classes=3)
x = xs[0]
T = 60
rng = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('nothing_left_behind')

@pytest.fixture
def unlaid(monkeypatch):
    "Figures without a layout, which costs more than all else: for tests that read only what is drawn"
    def new_fig(figsize): return FigureCanvasAgg(Figure(figsize)).figure
    monkeypatch.setattr('tsviz.heat.new_fig', new_fig)
    monkeypatch.setattr('tsviz.heat.fix_layout', lambda fig: None)

reads = pytest.mark.usefixtures('unlaid')

def heat(ax): return next(o for o in ax.collections if isinstance(o, HeatRows))
def heats(fig): return [ax for ax in fig.axes if any(isinstance(o, HeatRows) for o in ax.collections)]
def rows(ax): return np.asarray(heat(ax).get_array())
def row_names(ax): return [o.get_text() for o in ax.get_yticklabels()]
def said(ax): return ax.get_title(loc='left')
def draw(fig):
    canvas = FigureCanvasAgg(fig.canvas.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())

def overlap(boxes): return any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[i+1:])

def drawn_texts(fig):
    "Where the texts are that are seen: titles, labels of axes, tick labels"
    draw(fig)
    axs = [ax for ax in fig.axes if ax.get_visible()]
    some = [o for ax in axs for o in (ax.title,ax._left_title,ax.xaxis.label,ax.yaxis.label)] + [o._suptitle for o in [fig,*fig.subfigs] if o._suptitle]
    return [o for o in some if o.get_text()]

# the order of feature maps

hand = np.array([[0,0,0,3.], [0,0,0,0], [2,1,0,0], [0,-4,0,0], [5,5,5,5]])

@pytest.mark.parametrize('sort,max_n,want', [
    ('peak',None,[2,3,0,1,4]), ('size',None,[3,0,2,4,1]), (None,None,[0,1,2,3,4]), ([.1,.3,-1,.2,.25],None,[1,4,3,0,2]), (torch.tensor([[1.,2,3,4,5]]),None,[4,3,2,1,0]),
    ('peak',2,[3,0]), ('size',2,[3,0]), (None,2,[0,1]), ([.1,.3,-1,.2,.25],2,[1,4]), ('peak',99,[2,3,0,1,4]), ([1,np.nan,3,1,1],None,[2,0,3,4,1])])
@reads
def test_order_by_hand(sort, max_n, want):
    "Ties as they are, constant channels last, the largest are kept, then sorted"
    fig = show_feature_maps(np.arange(8.), hand, sort=sort, max_n=max_n)
    ax, = heats(fig)
    np.testing.assert_array_equal(rows(ax), hand[want])
    assert row_names(ax)==[str(o) for o in want]
    how = {'peak':', by time of peak', 'size':', by size'}.get(sort, '') if sort is None or isinstance(sort, str) else ', as ranked'
    assert said(ax)==('2 of ' if max_n==2 else '')+'5 channels, 2 constant'+how

def test_one_channel(): assert said(heats(show_feature_maps(np.arange(8.), hand[:1]))[0])=='1 channel, by time of peak'

def test_peaks_of_random_maps_run_from_left_to_right():
    v = rng.standard_normal((40,25))
    v[[3,17]] = -.5; v[20] = np.nan
    got = [int(o) for o in row_names(heats(show_feature_maps(np.arange(50.), v, figsize=(8,14)))[0])]
    at = [int(np.argmax(abs(v[c]))) for c in got[:-3]]
    assert at==sorted(at) and got[-3:]==[3,17,20] and sorted(got)==[*range(40)]

@reads
def test_real_maps_sorted_by_contributions():
    "Several layers, each its own order"
    maps,adds = feature_maps(x, model, ['0','3']),contributions(x, 1, model, '3')
    fig = show_feature_maps(x, maps, sort={'0':'size','3':adds})
    a,b = heats(fig)
    v = maps['3'].double().numpy()
    np.testing.assert_array_equal(rows(b), v[np.argsort(-adds.numpy(), kind='stable')])
    assert said(a).startswith('0: 12 channels') and said(b).startswith('3: 12 channels') and 'as ranked' in said(b)
    np.testing.assert_array_equal(rows(a), maps['0'].double().numpy()[np.argsort(-maps['0'].abs().amax(1).numpy(), kind='stable')])

# heat

def test_heat_under_the_series():
    fig = show_feature_maps(x, hand, title='a title', fs=20, labels=['hip','knee'])
    top,ax,bar = fig.axes
    np.testing.assert_array_equal([o.get_ydata() for o in top.lines], x.double().numpy())
    assert top.get_title()=='a title' and top.get_xlim()==ax.get_xlim() and ax.get_xlabel()=='time (s)' and not top.get_xlabel()
    np.testing.assert_allclose(heat(ax).edges, np.linspace(-.025, 59.5/20, 5))
    np.testing.assert_allclose(ax.get_xlim(), (-.025,59.5/20))
    assert ax.get_ylabel()=='channel' and ax.get_ylim()==(5,0)
    draw(fig)
    assert abs(top.get_position().x0-ax.get_position().x0)<1e-6 and abs(top.get_position().x1-ax.get_position().x1)<1e-6

@pytest.mark.parametrize('L', [1,7,60,200])
@reads
def test_steps_of_a_layer_share_the_time_of_the_series(L):
    "Any length of layer, any times: from the first border of the series to the last, evenly many steps of it each"
    uneven = np.cumsum(rng.uniform(.1, 3, T))
    days = [date(2024,1,20)+timedelta(days=i) for i in range(T)]
    for kw,t in [({},np.arange(T)), (dict(fs=250),np.arange(T)/250), (dict(t=uneven),uneven), (dict(t=days),date2num(days))]:
        fig = show_feature_maps(x, rng.standard_normal((3,L)), colorbar=False, **kw)
        ax, = heats(fig)
        mid = (t[1:]+t[:-1])/2
        borders = np.r_[2*t[0]-mid[0],mid,2*t[-1]-mid[-1]]
        np.testing.assert_allclose(heat(ax).edges, np.interp(np.arange(L+1)*T/L, np.arange(T+1), borders))
        np.testing.assert_allclose(ax.get_xlim(), borders[[0,-1]])
        assert ax.get_xlim()==fig.axes[0].get_xlim()
        lines, = [o for o in ax.collections if not isinstance(o, HeatRows)]
        np.testing.assert_allclose([s[:,0] for s in lines.get_segments()], [borders[[0,-1]]]*2)

def test_a_bright_step_is_where_it_happened():
    "Read from the pixels: the one step of a short layer lies under its steps of the series"
    v = np.zeros((2,6)); v[1,4] = 1
    fig = show_feature_maps(np.arange(T), v, sort=None, colorbar=False, cmap='gray')
    img = draw(fig)[::-1,:,:3].astype(int)
    ax = fig.axes[1]
    for step,bright in [(39,False),(40,True),(49,True),(50,False)]:
        px,py = ax.transData.transform((step,1.5)).astype(int)
        assert (img[py,px].min()>250)==bright, step

@reads
def test_colours():
    "From 0 up, or white at 0; each layer its own limits, or one"
    plus,both = abs(hand)+1,hand
    fig = show_feature_maps(x, dict(a=plus, b=both))
    a,b = heats(fig)
    draw(fig)
    assert (heat(a).cmap.name,*heat(a).get_clim())==('viridis',0,6) and (heat(b).cmap.name,*heat(b).get_clim())==('RdBu_r',-5,5)
    assert len(fig.axes)==5 and len(show_feature_maps(x, dict(a=plus, b=both), colorbar=False).axes)==3
    fig = show_feature_maps(x, dict(a=plus, b=both), share_colors=True)
    assert {(heat(o).cmap.name,*heat(o).get_clim()) for o in heats(fig)}=={('RdBu_r',-6,6)} and len(fig.axes)==4
    ax, = heats(show_feature_maps(x, plus, cmap='magma', vmin=1, vmax=3))
    assert (heat(ax).cmap.name,*heat(ax).get_clim())==('magma',1,3)
    ax, = heats(show_feature_maps(x, plus, norm=plt.Normalize(2, 9)))
    assert (heat(ax).cmap.name,*heat(ax).get_clim())==('viridis',2,9)
    norm = plt.Normalize()
    a,b = heats(show_feature_maps(x, dict(a=plus, b=10*plus), norm=norm))
    assert (heat(a).get_clim()[1],heat(b).get_clim()[1])==(6,60) and not norm.scaled()
    for v in (np.zeros((3,5)), np.full((3,5), np.nan), -np.ones((2,3))): show_feature_maps(x, v)

@pytest.mark.parametrize('n,n_layers,figsize', [(4,1,None), (128,1,None), (32,2,None), (700,1,None), (128,2,(4,3)), (128,1,(3,3))])
def test_texts_of_many_channels(n, n_layers, figsize):
    "Row names do not overlap, many are there, titles stay on the figure and clear of one another"
    long = 'a long title that goes on and on about a layer and what it sees in this series, which is long enough to be folded'
    maps = {f'blocks.{i}.conv':rng.standard_normal((n,30)) for i in range(n_layers)}
    fig = show_feature_maps(x, maps, title=long, figsize=figsize)
    texts = drawn_texts(fig)
    assert not overlap([o.get_window_extent() for o in texts])
    for o in texts:
        box = o.get_window_extent()
        assert box.x0>=-1 and box.x1<=fig.bbox.width+1 and box.y1<=fig.bbox.height+1, o.get_text()
    for ax,v in zip(heats(fig), maps.values()):
        names,order = ax.get_yticklabels(),np.argsort(abs(v).argmax(1), kind='stable')
        assert row_names(ax)==[str(order[int(o)]) for o in ax.get_yticks()]
        boxes = [o.get_window_extent() for o in names]
        assert not overlap(boxes) and min(o.get_fontsize() for o in names)>=6
        if len(boxes)>1: assert np.diff(ax.get_yticks()).min()*72*ax.bbox.height/fig.dpi/n>1.1*names[0].get_fontsize() # a line of text each, by the height that the rows have in the end
        if figsize is None: assert len(boxes)>=min(n, 8)

def test_no_lines_between_rows_too_thin_for_them():
    for n,some in [(8,True),(128,False),(700,False)]:
        ax, = heats(show_feature_maps(x, rng.standard_normal((n,30))))
        assert any(o.get_segments() for o in ax.collections if not isinstance(o, HeatRows))==some

# lines

@reads
def test_small_multiples():
    v = abs(rng.standard_normal((40,30)))
    fig = show_feature_maps(x, dict(a=v, b=hand), style='lines', fs=10, title='lines')
    top,a,b = fig.subfigs
    assert len(a.axes)==16 and len(b.axes)==5 and top.axes[0].get_title()=='lines'
    big = np.sort(np.argsort(-v.max(1))[:16])
    want = big[np.argsort(v[big].argmax(1), kind='stable')]
    assert [ax.get_title() for ax in a.axes]==[str(o) for o in want]
    at = np.linspace(-.05, 5.95, 31)
    for ax,c in zip(a.axes, want):
        np.testing.assert_array_equal(ax.lines[-1].get_ydata(), v[c])
        np.testing.assert_allclose(ax.lines[-1].get_xdata(), (at[1:]+at[:-1])/2)
        grey = np.stack([o.get_ydata() for o in ax.lines[:2]]) # the series, within the height of the maps
        np.testing.assert_allclose([grey.min(),grey.max()], [0,v[want].max()], atol=1e-9)
        np.testing.assert_allclose(np.corrcoef(grey.ravel(), x.double().numpy().ravel())[0,1], 1)
    assert len({ax.get_ylim() for ax in a.axes})==1!=len({ax.get_ylim() for ax in [*a.axes,*b.axes]})
    assert 'a: 16 of 40 channels, by time of peak'==a._suptitle.get_text() and b._suptitle.get_text()=='b: 5 channels, 2 constant, by time of peak'
    fig = show_feature_maps(x, dict(a=v, b=hand), style='lines', share_colors=True, max_n=3)
    assert len({ax.get_ylim() for o in fig.subfigs[1:] for ax in o.axes})==1 and [len(o.axes) for o in fig.subfigs]==[1,3,3]
    days = [date(2024,1,20)+timedelta(days=i) for i in range(T)]
    draw(show_feature_maps(x, dict(a=v, b=np.full((3,1), np.nan)), style='lines', t=days, figsize=(6,8)))

# kernels

w = rng.standard_normal((10,2,5))
def response(w, fs=1., n=41):
    "By the sum that defines it"
    f = np.linspace(0, .5, n)
    return f*fs,abs((w[...,None]*np.exp(-2j*np.pi*np.arange(w.shape[-1])[:,None]*f)).sum(-2))

def parts(fig, n):
    "Axes of the first layer: kernels, responses"
    axs = [ax for ax in fig.axes if ax.get_label()!='<colorbar>']
    return axs[:n],axs[n:2*n]

@reads
def test_kernels_and_responses_by_hand():
    f,h = response(w, 50)
    fig = show_kernels(w, (f,h), max_n=4, labels=['hip','knee'], title='first')
    left,right = parts(fig, 4)
    assert len(fig.axes)==8 and fig._suptitle.get_text()=='first'
    for i,(a,b) in enumerate(zip(left, right)):
        np.testing.assert_array_equal([o.get_ydata() for o in a.lines[1:]], w[i])
        np.testing.assert_array_equal([o.get_xdata() for o in a.lines[1:]], [np.arange(-2,3)]*2)
        np.testing.assert_array_equal([o.get_ydata() for o in b.lines], h[i])
        np.testing.assert_array_equal([o.get_xdata() for o in b.lines], [f]*2)
        assert a.get_ylabel()==str(i) and b.get_xlim()==(0,25)
        assert (a.get_xlabel(),b.get_xlabel())==(('step','Hz') if i==3 else ('',''))
    assert (left[0].get_title(),right[0].get_title(),left[1].get_title())==('kernel','|H|','')
    assert [o.get_text() for o in fig.legends[0].get_texts()]==['hip','knee']
    assert [o.get_color() for o in left[0].lines[1:]]==[o.get_color() for o in right[0].lines]==['C0','C1']
    lo,hi = left[0].get_ylim()
    assert lo<w[:4].min() and hi>w[:4].max() and len({a.get_ylim() for a in left})==1 and {b.get_ylim()[0] for b in right}=={0} and right[0].get_ylim()[1]>h[:4].max()
    own,_ = parts(show_kernels(w, (f,h), max_n=4, share_y=False), 4)
    assert len({a.get_ylim() for a in own})==4 and all(a.get_ylim()[0]<o.min() and o.max()<a.get_ylim()[1] for a,o in zip(own, w))

@reads
def test_real_kernels_and_their_responses():
    fig = show_kernels(kernels(model), frequency_response(model, fs=64), channels=[7,2])
    left,right = parts(fig, 2)
    f,h = frequency_response(model, fs=64)
    for a,b,c in zip(left, right, [7,2]):
        np.testing.assert_array_equal([o.get_ydata() for o in a.lines[1:]], model[0].weight[c].detach().double().numpy())
        np.testing.assert_array_equal([o.get_ydata() for o in b.lines], h[c].double().numpy())
        assert a.get_ylabel()==str(c) and b.get_xlim()==(0,32) and right[-1].get_xlabel()=='Hz'

@pytest.mark.parametrize('fs,last,want', [(None,.5,'cycles a step'), (1,.5,'cycles a step or Hz'), (None,90.,'Hz'), (180,90.,'Hz'), (180,45.,'Hz'), (.4,.2,'Hz'), (None,.25,'cycles a step')])
@reads
def test_unit_of_frequency(fs, last, want):
    "Behind strides a layer ends below half of fs"
    f,h = response(w, 2*last)
    assert parts(show_kernels(w, (f,h), max_n=1, fs=fs), 1)[1][0].get_xlabel() in want

@reads
def test_one_input_channel_has_stems():
    for k,n in [(5,1),(39,1),(99,0)]:
        fig = show_kernels(rng.standard_normal((1,1,k)))
        assert [len(ax.collections) for ax in fig.axes]==[n] and not fig.legends
    stems = show_kernels(w[:1,:1]).axes[0].collections[0].get_segments()
    np.testing.assert_allclose(stems, [[[i-2,0],[i-2,o]] for i,o in enumerate(w[0,0])])

@reads
def test_lengths_side_by_side():
    "The kernels of an Inception block on one axis of steps, a pair of columns each"
    block = InceptionBlock(2, nf=6, bottleneck_size=0).eval()
    k,r = kernels(block, 'convs'),frequency_response(block, 'convs', fs=100)
    fig = show_kernels(k, r, max_n=3)
    assert len(fig.axes)==18
    spots = []
    for j,(name,v) in enumerate(k.items()):
        left,right = fig.axes[6*j:6*j+3],fig.axes[6*j+3:6*j+6]
        n = v.shape[2]
        assert left[0].get_title()==f'{name}: {n} steps' and right[0].get_title()=='|H|'
        for i,(a,b) in enumerate(zip(left, right)):
            np.testing.assert_array_equal([o.get_ydata() for o in a.lines[1:]], v[i].double().numpy())
            np.testing.assert_array_equal(a.lines[1].get_xdata(), np.arange(n)-n//2)
            np.testing.assert_array_equal([o.get_ydata() for o in b.lines], r[name][1][i].double().numpy())
            assert a.get_xlim()==(-19.5,19.5)
        spots.append(left[0].get_position().x0)
    assert spots==sorted(spots) and len({round(fig.axes[i].get_position().y0, 6) for i in (0,3,6,9,12,15)})==1
    assert [ax.get_ylabel() for ax in fig.axes[:3]]==['0','1','2'] and not any(ax.get_ylabel() for ax in fig.axes[3:])

@reads
def test_dilated_and_even_kernels():
    at = lambda **kw: show_kernels(w[:1,:,:4], **kw).axes[0].lines[1].get_xdata().tolist()
    assert at()==[-1.5,-.5,.5,1.5] and at(dilation=4)==[-6,-2,2,6]
    fig = show_kernels(dict(a=w, b=w), dilation=dict(a=1, b=3), max_n=1)
    assert [ax.lines[1].get_xdata()[-1] for ax in fig.axes]==[2,6]

@reads
def test_many_input_channels_are_heat():
    v = rng.standard_normal((5,9,7))
    f,h = response(v)
    fig = show_kernels(v, (f,h), max_n=3)
    left,right = parts(fig, 3)
    for a,b,o,p in zip(left, right, v, h):
        np.testing.assert_array_equal(rows(a), o)
        np.testing.assert_array_equal(rows(b), p)
        np.testing.assert_allclose(heat(a).edges, np.arange(-3.5, 4))
        assert heat(a).cmap.name=='RdBu_r' and heat(b).cmap.name=='viridis' and heat(b).get_clim()==(0,h[:3].max()) and heat(a).get_clim()[1]==abs(v[:3]).max()
        assert {*row_names(a)} <= {*map(str, range(9))}
    assert not fig.legends and len(fig.axes)==8
    assert not heats(show_kernels(v, max_in=9, max_n=1)) and heats(show_kernels(w, max_in=1, max_n=1))
    assert 'w' in row_names(show_kernels(v, labels=[*'wertzuiop'], figsize=(4,8), max_n=1).axes[0])

@reads
def test_filters_that_are_drawn():
    names = lambda **kw: [ax.get_ylabel() for ax in show_kernels(w, **kw).axes]
    assert names(max_n=3)==['0','1','2'] and names(channels=4)==['4'] and names(channels=torch.tensor([9,0]))==['9','0'] and names(channels=slice(None,None,4))==['0','4','8']
    assert len(show_kernels(w[:2], max_n=99).axes)==2
    wide = np.random.default_rng(0).standard_normal((9,8,5)) # as heat fewer, unless more are asked for
    assert [len([o for o in show_kernels(wide, **kw).axes if o.get_title() or o.get_ylabel()]) for kw in ({},dict(max_n=7),dict(max_in=8))]==[6,7,9]
    fig = show_kernels(dict(a=w, b=w[:2]), max_n=4) # a layer with fewer
    assert len(fig.axes)==6 and [ax.get_xlabel() for ax in fig.axes]==['','','','step','','step']

@pytest.mark.parametrize('n_in,figsize', [(1,None), (3,(4,3)), (30,None), (1,(13,4))])
def test_texts_of_kernels(n_in, figsize):
    v = {f'blocks.0.convs.{i}':rng.standard_normal((8,n_in,k)) for i,k in enumerate((39,19))}
    fig = show_kernels(v, {k:response(o, 180) for k,o in v.items()}, max_n=2, figsize=figsize, title='a long title about many kernels of a layer, which goes on')
    texts = drawn_texts(fig)
    assert not overlap([o.get_window_extent() for o in texts])
    assert all(o.get_window_extent().x0>=0 and o.get_window_extent().x1<=fig.bbox.width+1 for o in texts)

# windows

def table(n, R=9, **kw):
    return pd.DataFrame(dict(item=range(n), start=[10]*n, stop=[10+R]*n, peak=[14]*n, activation=[9-i/3 for i in range(n)], label=['Gun']*n) | kw)

@reads
def test_windows_by_hand():
    v = rng.standard_normal((5,2,9))
    fig = show_top_windows(table(5), v, n_steps=60, title='channel 3', labels=['hip','knee'], unit='mV')
    assert [ax.get_title() for ax in fig.axes]==[f'item {i}, Gun, {9-i/3:.3g}\nsteps 10 to 18' for i in range(5)] and len(fig.axes)==5
    for ax,o in zip(fig.axes, v):
        np.testing.assert_array_equal([o.get_ydata() for o in ax.lines[2:]], o)
        np.testing.assert_allclose([o.get_ydata() for o in ax.lines[:2]], v.mean(0))
        np.testing.assert_array_equal(ax.lines[-1].get_xdata(), np.arange(9))
        assert [to_hex(o.get_color()) for o in ax.lines]==['#1f77b4','#ff7f0e']*2 and [o.get_alpha() for o in ax.lines[:2]]==[.35]*2
    assert len({ax.get_ylim() for ax in fig.axes})==1==len({ax.get_xlim() for ax in fig.axes})
    assert fig._suptitle.get_text()=='channel 3' and [o.get_text() for o in fig.legends[0].get_texts()]==['hip','knee'] and fig._supylabel.get_text()=='mV'
    assert [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel()]==['step of the window']
    fig = show_top_windows(table(5), v, mean=False, chs=1, fs=4, max_n=2, legend=False)
    assert len(fig.axes)==2 and all(len(ax.lines)==1 for ax in fig.axes) and not fig.legends
    np.testing.assert_allclose(fig.axes[0].lines[0].get_xydata(), np.stack([np.arange(9)/4,v[0,1]], 1))
    assert any(ax.get_xlabel()=='time (s)' for ax in fig.axes)

@reads
def test_padding_is_left_out():
    "What lies before the series, or after it, is not drawn and not averaged, with and without its length"
    v = np.ones((3,1,9)); v[0,0,:2] = 0; v[1,0,6:] = 0; v[1,0,2] = 0; v[2,0,-1] = 5
    t = table(3, start=[-2,57,10], stop=[7,66,19])
    want = np.ones((3,9)); want[0,:2] = want[1,6:] = np.nan; want[1,2] = 0; want[2,-1] = 5
    mean = np.array([1,1,2/3,1,1,1,1,1,3])
    for n_steps in (63,None):
        fig = show_top_windows(t, v, n_steps=n_steps)
        np.testing.assert_array_equal([ax.lines[-1].get_ydata() for ax in fig.axes], want)
        np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), mean)
        assert [ax.get_title().splitlines()[1] for ax in fig.axes]==['steps 0 to 6','steps 57 to 62','steps 10 to 18']
    zero = np.zeros((1,1,9)) # a series that ends in zeros, its length given: they are drawn
    assert np.isfinite(show_top_windows(table(1), zero, n_steps=60).axes[0].lines[-1].get_ydata()).all()
    draw(show_top_windows(table(1), zero))
    assert (v[0,0,:2]==0).all() # what was given is as it was

@reads
def test_shorter_series_among_longer_ones():
    "A layer that sees all: each window is its series, padded to the longest"
    v = np.ones((2,1,9)); v[1,:,4:] = 0
    fig = show_top_windows(table(2, start=[0,0], stop=[9,4]), v, n_steps=9)
    assert np.isnan(fig.axes[1].lines[-1].get_ydata()).tolist()==[False]*4+[True]*5
    assert fig.axes[1].get_title().endswith('steps 0 to 3')

@reads
def test_real_windows():
    t,v = top_windows((xs,ys), model, '3', 5, k=4)
    fig = show_top_windows(t, v, n_steps=T)
    for ax,row,o in zip(fig.axes, t.itertuples(), v):
        assert ax.get_title().startswith(f'item {row.item}, {row.label}, {row.activation:.3g}\n')
        got = np.stack([o.get_ydata() for o in ax.lines[2:]])
        at = np.arange(row.start, row.stop)
        inside = (at>=0) & (at<T)
        np.testing.assert_array_equal(got[:,inside], xs[row.item].double().numpy()[:,at[inside]])
        assert np.isnan(got[:,~inside]).all() and got.shape==tuple(o.shape)

@pytest.mark.parametrize('labels,want', [([None]*2,'item 0, 9'), ([3,1],'item 0, 3, 9'), ([np.nan]*2,'item 0, 9'), (['a class with a very long name']*2,'item 0, a class with a very…, 9')])
@reads
def test_labels(labels, want): assert show_top_windows(table(2, label=labels), np.ones((2,1,9))).axes[0].get_title().splitlines()[0]==want

@pytest.mark.parametrize('n,figsize', [(1,None), (5,(5,4)), (7,None), (10,None)])
def test_texts_of_windows(n, figsize):
    fig = show_top_windows(table(n, label=['normal']*n), rng.standard_normal((n,3,9)), figsize=figsize, title='a long title about a channel of a layer, which goes on and on', ylabel='load')
    texts = drawn_texts(fig)
    assert not overlap([o.get_window_extent() for o in texts]) and len(fig.axes)==n
    assert all(o.get_window_extent().x0>=-1 and o.get_window_extent().x1<=fig.bbox.width+1 for o in texts)

# all three

shows = dict(maps=lambda **kw: show_feature_maps(x, hand, **kw), lines=lambda **kw: show_feature_maps(x, hand, style='lines', **kw), kernels=lambda **kw: show_kernels(w[:3], **kw),
             windows=lambda **kw: show_top_windows(table(3), np.ones((3,2,9)), **kw))

@pytest.mark.parametrize('show', shows)
def test_places_and_files(show, tmp_path):
    show = shows[show]
    assert tuple(show(figsize=(5,4)).get_size_inches())==(5,4)
    whole = Figure((9,5), layout='constrained')
    a,b = whole.subfigures(1, 2)
    assert show(fig=a, title='left') is a and show(fig=b) is b and len(whole.axes)==len(a.axes)+len(b.axes)+sum(len(o.axes) for s in (a,b) for o in s.subfigs)
    draw(whole)
    bare = Figure((6,4))
    assert show(fig=bare) is bare
    show(savefig=tmp_path/'a', figsize=(5,4), dpi=60)
    assert [o.name for o in tmp_path.iterdir()]==['a.png'] and Image.open(tmp_path/'a.png').size==(300,240)
    for kw,msg in [(dict(fig=bare, figsize=(1,1)),'leave it out if `fig` is given'), (dict(figsize=4),'figsize'), (dict(savefig=' '),'file name'), (dict(figsize=(5,.9)),'inches for what is to be drawn, got (5, 0.9): choose a larger one'), (dict(figsize=(1,4)),'inches'), (dict(max_n=0),'`max_n` must be an int from 1'),
                   (dict(max_n=2.5),'`max_n` must be an int from 1')]:
        with says(ValueError, msg): show(**kw)

@pytest.mark.parametrize('kw,msg', [
    (dict(sort='time'),"`sort` must be one of ['peak', 'size', None]"), (dict(sort='Peak'),"Did you mean 'peak'"), (dict(sort=[1,2]),'one number for each of the 5 channels, got shape (1, 2)'),
    (dict(maps=hand[None]),'such as `maps[0]`, got shape (1, 5, 4)'), (dict(maps=hand[0]),'got shape (4,)'), (dict(maps={}),'`maps` is empty'), (dict(maps=dict(a=hand[:0])),'`maps` of a must be'),
    (dict(maps=dict(a=hand, b=hand), sort=dict(a='peak')),"no entry for the layer 'b', only for ['a']"), (dict(maps=dict(a=hand), sort=[1]),'channels of a, got'),
    (dict(style='line'),"`style` must be one of ['heat', 'lines'], got 'line'. Did you mean 'lines'"), (dict(x=xs),'`x` must be'), (dict(t=np.r_[5,np.arange(59)]),'must increase'),
    (dict(t=np.arange(5)),'60 steps'), (dict(fs=0),'above 0'), (dict(fs=3, t=np.arange(60)),'pass one of them'), (dict(cmap='virids'),"'viridis'")])
def test_wrong_maps(kw, msg):
    with says(ValueError, msg): show_feature_maps(**dict(x=x, maps=hand) | kw)

@pytest.mark.parametrize('kw,msg', [
    (dict(kernels=w[:,:,:1]),'are one step long'), (dict(kernels=dict(a=w, b=w[:,:,:1])),'kernels of b are one step'), (dict(kernels=w[0]),'must be (K_out,K_in,k)'),
    (dict(channels=10),'ints from 0 to 9, the numbers of the filters, got [10]'), (dict(channels=-1),'ints from 0 to 9'), (dict(channels=[1.5]),'ints from 0'), (dict(channels=[]),'ints from 0'),
    (dict(labels=['a']),'one for each of the 2 input channels, got 1'), (dict(responses=3),'a pair (f, |H|)'), (dict(responses=response(w[:4])),'must have |H| of shape (10, 2, 41)'),
    (dict(kernels=dict(a=w), responses=dict(b=response(w))),"no entry for the layer 'a'"), (dict(responses=response(w), fs=180),'pass the same `fs` to `frequency_response`'),
    (dict(responses=response(w, 180), fs=100),'pass the same `fs`'), (dict(responses=response(w), fs=-1),'above 0'), (dict(max_in=0),'`max_in` must be'), (dict(kernels={}),'`kernels` is empty')])
def test_wrong_kernels(kw, msg):
    with says(ValueError, msg): show_kernels(**dict(kernels=w) | kw)

@pytest.mark.parametrize('kw,msg', [
    (dict(windows=np.ones((2,1,9))),'a row for each of the 2 windows, got 3'), (dict(windows=np.ones((3,9))),'must be (k,C,R)'), (dict(table={0:(table(3),None)}),'that of one'),
    (dict(table=table(3)[['item']]),'with item and activation'), (dict(n_steps=0),'`n_steps` must be an int from 1'), (dict(fs=0),'above 0'), (dict(labels=['a','b','c']),'`labels` must hold')])
def test_wrong_windows(kw, msg):
    with says(ValueError, msg): show_top_windows(**dict(table=table(3), windows=np.ones((3,1,9))) | kw)

def test_unknown_parameters_are_refused():
    for show in (shows['maps'],shows['windows']):
        with says(TypeError, "no parameter 'linewidht'"): show(linewidht=1)

@reads
def test_series_of_gaps_and_one_step():
    gaps = x.clone(); gaps[0,5:9] = torch.nan
    draw(show_feature_maps(gaps, hand, style='lines', max_n=2))
    draw(show_feature_maps([3.], hand[:,:1]))
    draw(show_feature_maps([3.], hand[:2,:1], style='lines'))
    show_feature_maps(x.half(), torch.tensor(hand, requires_grad=True).bfloat16())
