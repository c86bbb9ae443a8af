"How maps moved from epoch to epoch: what is drawn, read back"
import matplotlib
matplotlib.use('Agg')
from datetime import date, timedelta
from types import SimpleNamespace
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from matplotlib.figure import Figure
from common import says
from tsviz.check import check_found
from tsviz.history import show_history, _label_epochs, _spread
from tsviz.plot import HeatRows, SeriesLine, new_fig
from tsviz.synth import tiny_cnn

model = tiny_cnn()
pytestmark = pytest.mark.usefixtures('nothing_left_behind')
g = torch.Generator().manual_seed(0)
def noise(*shape): return torch.randn(*shape, generator=g)

def case(B=3, C=2, R=2, T=30, E=6): return [noise(B,R,T)*(1+e) for e in range(E)],noise(B,C,T)
maps,xs = case()

def heats(fig): return [o for ax in fig.axes for o in ax.collections if isinstance(o, HeatRows)]
def lines(ax): return [o for o in ax.collections if isinstance(o, SeriesLine)]
def own(fig): return [ax for ax in fig.axes if ax.get_label()!='<colorbar>']
def bars(fig): return [ax for ax in fig.axes if ax.get_label()=='<colorbar>']
def ratio(rows): return rows/abs(rows).max(-1, keepdims=True)
def summed(i, maps=maps): return np.stack([o[i].double().sum(0).numpy() for o in maps])

# heat

def test_a_line_and_a_row_for_each_epoch():
    "The series on top, under it the maps summed over channels, each divided by its largest |value|; the first epoch on top, on the same time axis"
    with check_found(model, xs, *maps): fig = show_history(maps, xs=xs, titles=list('abc'))
    assert isinstance(fig, Figure) and len(own(fig))==6 and len(bars(fig))==1
    for i,(top,low) in enumerate(zip(own(fig)[::2], own(fig)[1::2])):
        for line,row in zip(top.lines, xs[i]): np.testing.assert_array_equal(line.get_ydata(), row.double().numpy())
        [heat] = low.collections
        np.testing.assert_allclose(heat.get_array(), ratio(summed(i)), atol=1e-7)
        assert heat.get_clim()==(-1,1) and low.get_ylim()==(6,0) and list(heat.ys)==list(range(7))
        assert top.get_title()=='abc'[i] and low.get_xlim()==top.get_xlim()==(-.5,29.5)
    assert [o.get_text() for o in low.get_yticklabels()]==[str(i) for i in range(6)] and own(fig)[1].get_ylabel()=='epoch'
    assert [o.get_text() for o in fig.legends[0].get_texts()]==['channel 0','channel 1']

def test_places():
    "Each heat is right under its series and as wide; the title of the next series is below"
    fig = show_history(*case(B=4)[:1], xs=case(B=4)[1], titles=['a']*4)
    fig.draw_without_rendering()
    at = np.array([o.get_position().bounds for o in own(fig)]).reshape(2,2,2,4) # row, column, series or heat, box
    np.testing.assert_allclose(at[:,:,0,[0,2]], at[:,:,1,[0,2]], atol=1e-9)
    assert (at[:,:,0,1]>at[:,:,1,1]+at[:,:,1,3]).all() and (at[0,:,1,1]>at[1,:,0,1]+at[1,:,0,3]).all() and (at[:,:,1,3]>at[:,:,0,3]).all()

@pytest.mark.parametrize('scale', ['map','item',None])
def test_scale(scale):
    fig = show_history(maps, xs=xs, scale=scale)
    for i,heat in enumerate(heats(fig)):
        want = summed(i)/{'map':abs(summed(i)).max(1, keepdims=True), 'item':abs(summed(i)).max(), None:1}[scale]
        np.testing.assert_allclose(heat.get_array(), want, rtol=1e-6, atol=1e-7)
    most = max(abs(summed(i)).max() for i in range(3))
    assert heats(fig)[0].get_clim()==pytest.approx((-1,1) if scale else (-most,most), rel=1e-6)

def test_colours_of_maps_without_a_sign():
    "From zero, whatever the least value"
    fig = show_history([o.abs()+1 for o in maps], xs=xs)
    assert heats(fig)[0].get_clim()==(0,1) and heats(fig)[0].cmap.name=='Spectral_r'
    assert heats(show_history(maps, xs=xs, cmap='viridis', vmin=-.5, vmax=.25))[0].get_clim()==(-.5,.25)
    assert bars(show_history(maps, colorbar=False))==[]

def test_a_map_of_zeros_stays():
    fig = show_history([torch.zeros(1,1,5)]*3, xs=torch.ones(1,1,5))
    assert (heats(fig)[0].get_array()==0).all()

@pytest.mark.parametrize('chs,rows', [(1,[1]), ([1,0],[1,0]), (slice(1,None),[1]), (-1,[1])])
def test_channels(chs, rows):
    "Those named are drawn, by their names, and maps are summed over them alone"
    fig = show_history(maps, xs=xs, chs=chs, labels=['hip',('knee','mV')])
    np.testing.assert_allclose(heats(fig)[0].get_array(), ratio(summed(0, [o[:,rows] for o in maps])), atol=1e-7)
    assert [list(o.get_ydata()) for o in own(fig)[0].lines]==[xs[0,r].double().tolist() for r in rows]
    said = [o.get_text() for k in fig.legends for o in k.get_texts()]
    assert said==([['hip','knee (mV)'][r] for r in rows] if len(rows)>1 else [])

def test_one_row_for_all_channels():
    "is not summed, nor picked"
    one = [o[:,:1] for o in maps]
    for chs in (None,1): np.testing.assert_allclose(heats(show_history(one, xs=xs, chs=chs))[0].get_array(), ratio(summed(0, one)), atol=1e-7)

@pytest.mark.parametrize('items,max_n,want', [(None,None,[0,1,2]), (None,2,[0,1]), (2,None,[2]), ([2,0],1,[2,0]), (slice(1,None),None,[1,2]), (torch.tensor([True,False,True]),None,[0,2])])
def test_items(items, max_n, want):
    fig = show_history(maps, items, xs=xs, titles=list('abc'), max_n=max_n)
    assert [o.get_title() for o in own(fig)[::2]]==['abc'[i] for i in want]
    for i,heat in zip(want, heats(fig)): np.testing.assert_allclose(heat.get_array(), ratio(summed(i)), atol=1e-7)

def test_how_many_by_default():
    m,x = case(B=9, C=1, R=1, E=7)
    assert len(heats(show_history(m, xs=x)))==4 and len(own(show_history(m, xs=x, style='multiples')))==6*5

@pytest.mark.parametrize('E,most,want', [(6,None,range(6)), (6,2,[0,5]), (6,3,[0,2,5]), (6,1,[5]), (3,9,range(3)), (101,5,[0,25,50,75,100])])
def test_epochs_are_spread_evenly(E, most, want): assert list(_spread(E, most))==list(want)

def test_max_epochs():
    fig = show_history(maps, xs=xs, max_epochs=2, epochs=[3,4,5,6,7,90])
    np.testing.assert_allclose(heats(fig)[0].get_array(), ratio(summed(0, [maps[0],maps[5]])), atol=1e-7)
    assert [o.get_text() for o in own(fig)[1].get_yticklabels()]==['3','90']

@pytest.mark.parametrize('epochs,want', [(range(5),range(5)), (range(200),range(0, 200, 50)), (range(0, 1000, 5),range(0, 1000, 200)), ([*range(1, 20, 6)],[1,7,13,19]), ([.5,1.5],[.5,1.5]),
                                         ([7*i+.5 for i in range(30)],None)])
def test_round_epochs_are_named(epochs, want):
    "All where there is room, otherwise round numbers; at the middle of their rows"
    fig = new_fig((4,1.2))
    ax = fig.add_axes((.1,.1,.8,.8))
    _label_epochs(ax, list(epochs))
    said,at = [float(o.get_text()) for o in ax.get_yticklabels()],ax.get_yticks()
    assert said==[epochs[int(o)] for o in at] and ((at%1)==.5).all() and 2<=len(said)<=5
    if want is not None: assert said==list(want)

# small multiples

def test_multiples():
    "A row a series, a column an epoch, one scale of colours; each channel has its map"
    fig = show_history(maps, xs=xs, style='multiples', max_epochs=3, titles=list('abc'), epochs=range(10, 16))
    axs = np.array(own(fig)).reshape(3,3)
    assert [o.get_title() for o in axs[0]]==['epoch 10','epoch 12','epoch 15'] and [o.get_ylabel() for o in axs[:,0]]==list('abc')
    for (i,j),ax in np.ndenumerate(axs):
        want = maps[[0,2,5][j]][i].double()
        for line,row,a in zip(lines(ax), xs[i], want/want.abs().max(), strict=True):
            np.testing.assert_array_equal(line.x, row.double().numpy())
            np.testing.assert_allclose(line.get_array(), a.numpy(), rtol=1e-6, atol=1e-7)
            assert line.get_clim()==(-1,1)
        assert ax.yaxis.get_tick_params()['labelleft']==(j==0) and ax.get_ylim()==axs[i,0].get_ylim()
    assert len(bars(fig))==1 and [o.get_text() for o in fig.legends[0].get_texts()]==['channel 0','channel 1']
    assert not show_history(maps, xs=xs, style='multiples', legend=False).legends

def test_many_channels_are_rows_of_heat():
    m,x = case(C=5, R=5)
    fig = show_history(m, xs=x, style='multiples', max_epochs=2)
    for (i,j),ax in np.ndenumerate(np.array(own(fig)).reshape(3,2)):
        want = m[[0,5][j]][i].double()
        np.testing.assert_allclose(ax.collections[0].get_array(), want/want.abs().max(), rtol=1e-6, atol=1e-7)
    assert not fig.legends and own(fig)[0].get_yticklabels()[4].get_text().startswith('channel 4')
    assert len(lines(own(show_history(m, xs=x, style='multiples', linewidth=2))[0]))==5

def test_scale_item_in_multiples():
    fig = show_history(maps, 1, xs=xs, style='multiples', scale='item', max_epochs=6)
    most = max(float(o[1].abs().max()) for o in maps)
    for ax,o in zip(own(fig), maps): np.testing.assert_allclose(lines(ax)[0].get_array(), o[1,0]/most, rtol=1e-6, atol=1e-7)

# what keeps them

class Keeper(SimpleNamespace): pass

def test_what_keeps_the_maps():
    keeper = Keeper(maps=maps, epochs=[0,2,4,6,8,10], xs=xs, titles=list('abc'))
    fig = show_history(keeper)
    assert own(fig)[2].get_title()=='b' and [o.get_text() for o in own(fig)[1].get_yticklabels()]==['0','2','4','6','8','10']
    np.testing.assert_array_equal(own(fig)[2].lines[0].get_ydata(), xs[1,0].double().numpy())
    assert own(show_history(keeper, titles=list('xyz'), epochs=range(6)))[0].get_title()=='x'

def test_maps_are_placed_on_the_drawn_series():
    "The network saw every second step of series of several lengths; the axis says what the items say"
    sizes = [60,40,50]
    place = lambda o: [a.repeat_interleave(2, -1)[:,:n] for a,n in zip(o, sizes)]
    drawn = [noise(2,n) for n in sizes]
    keeper = Keeper(maps=maps, xs=drawn, items=SimpleNamespace(place=place, xlabel='step after Crop'))
    fig = show_history(keeper, lengths=[1,1,1])
    for i,heat in enumerate(heats(fig)):
        want = np.repeat(summed(i), 2, 1)[:,:sizes[i]]
        np.testing.assert_allclose(heat.get_array(), ratio(want), atol=1e-7)
    assert own(fig)[-1].get_xlabel()=='step after Crop' and own(show_history(keeper, xlabel='mine'))[-1].get_xlabel()=='mine'
    np.testing.assert_allclose(heats(show_history(keeper, xs=xs))[0].get_array(), ratio(summed(0)), atol=1e-7) # series of one's own are on the steps of the maps
    axs = own(show_history(keeper, style='multiples', max_epochs=1))
    assert [len(lines(ax)[0].x) for ax in axs]==sizes and axs[-1].get_xlabel()=='step after Crop'

def test_only_heat_without_series():
    fig = show_history(maps)
    assert len(own(fig))==3 and all(isinstance(o.collections[0], HeatRows) for o in own(fig))

def test_lengths():
    "Of a padded batch, given, or known to the series, or to each of them; and maps count as long as the series"
    for kw in (dict(xs=xs, lengths=[30,10,20]), dict(xs=[xs[0],xs[1][:,:10],xs[2][:,:20]]), dict(lengths=torch.tensor([30,10,20]))):
        for style in ('heat','multiples') if 'xs' in kw else ('heat',):
            fig = show_history(maps, style=style, **kw)
            if style=='heat': np.testing.assert_allclose(heats(fig)[1].get_array(), ratio(summed(1)[:,:10]), atol=1e-7)
            else: np.testing.assert_allclose(lines(own(fig)[5])[0].get_array(), maps[0][1,0,:10]/maps[0][1,:,:10].abs().max(), rtol=1e-6)

def test_gaps():
    "NaN in a series is a gap of its line, and in a map nothing"
    x,m = xs.clone(),[o.clone() for o in maps]
    x[0,0,5],m[2][0,:,7] = np.nan,np.nan
    fig = show_history(m, xs=x)
    assert np.isnan(own(fig)[0].lines[0].get_ydata()[5]) and np.argwhere(np.isnan(np.ma.filled(heats(fig)[0].get_array(), np.nan))).tolist()==[[2,7]]
    fig.draw_without_rendering()

# time, place, style

@pytest.mark.parametrize('style', ['heat','multiples'])
def test_times(style):
    fig = show_history(maps, 0, style, xs=xs, fs=10, max_epochs=2)
    ax = own(fig)[-1]
    assert ax.get_xlabel()=='time (s)'
    if style=='heat': np.testing.assert_allclose(ax.get_xlim(), (-.05,2.95))
    else: np.testing.assert_allclose(lines(ax)[0].t, np.arange(30)/10)
    days = [date(2024,1,1)+timedelta(days=i) for i in range(30)]
    fig = show_history(maps, 0, style, xs=xs, t=days, max_epochs=2)
    fig.draw_without_rendering()
    assert np.diff(own(fig)[-1].get_xlim())[0]<40 and own(fig)[0].get_xlim()==own(fig)[-1].get_xlim()

def test_numpy_and_tensors_with_graphs():
    w = noise(3,2,30).requires_grad_()
    a = heats(show_history([w*2,w*3], xs=xs))[0].get_array()
    np.testing.assert_allclose(a, heats(show_history([2*w.detach().numpy(),3*w.detach().numpy()], xs=xs.numpy()))[0].get_array())
    assert heats(show_history(np.stack([o.numpy() for o in maps]), xs=xs))[1].get_array().shape==(6,30) and heats(show_history([o.half() for o in maps]))
    assert w.grad is None

def test_where_it_is_drawn(tmp_path):
    fig = new_fig((8,4))
    assert show_history(maps, xs=xs, fig=fig) is fig
    sub = new_fig((8,4)).subfigures(1, 2)[0]
    assert show_history(maps, xs=xs, fig=sub, title='Title') is sub and len(own(sub))==6
    fig = show_history(maps, xs=xs, figsize=(7,5), savefig=tmp_path/'a.png', title='Title')
    assert tuple(fig.get_size_inches())==(7,5) and (tmp_path/'a.png').stat().st_size>5000 and fig.get_suptitle()=='Title'
    assert not plt.get_fignums()

def test_style_of_lines():
    fig = show_history(maps, xs=xs, linewidth=2.5, style='heat')
    assert own(fig)[0].lines[0].get_linewidth()==2.5
    fig = show_history(maps, xs=xs, style='multiples', linewidth=7)
    assert lines(own(fig)[0])[0].get_linewidth()[0]==7

@pytest.mark.parametrize('E,B,C', [(1,1,1), (3,9,1), (200,2,3), (3,2,12)])
@pytest.mark.parametrize('style', ['heat','multiples'])
def test_nothing_overlaps(E, B, C, style):
    "Axes do not meet, and all that is written is on the page, long names too"
    m,x = case(B=B, C=C, R=C, E=E)
    fig = show_history(m, xs=x, style=style, titles=['a name that is too long for any figure, and then some\nloss 0.123']*B, title='Title', max_n=B, fs=50)
    fig.draw_without_rendering()
    at = [o.get_window_extent().padded(-1) for o in own(fig)]
    assert not any(a.overlaps(b) for i,a in enumerate(at) for b in at[:i]) and min(o.width for o in at)>20 and min(o.height for o in at)>15
    page = fig.bbox.padded(1)
    for ax in own(fig):
        box = ax.get_tightbbox()
        assert box.x0>=page.x0 and box.x1<=page.x1 and box.y0>=page.y0 and box.y1<=page.y1

# errors

@pytest.mark.parametrize('err,words,kw', [
    (ValueError, ["`style` must be one of ['heat', 'multiples']","'multiples'"], dict(style='multiple')),
    (ValueError, ["`scale` must be one of ['map', 'item', None]"], dict(scale='epoch')),
    (ValueError, ['`epochs` must hold the number of each of the 6 epochs, got 2'], dict(epochs=[0,1])),
    (ValueError, ['`xs` must hold one for each of the 3 series','got 2'], dict(xs=xs[:2])),
    (ValueError, ['`titles` must hold one for each of the 3 series'], dict(titles='abc')),
    (ValueError, ['`lengths` must hold one'], dict(lengths=[3])),
    (ValueError, ['`xs[0]` must be (C,T), on the steps of its maps','(2, 30)','(2, 31)'], dict(xs=noise(3,2,31))),
    (ValueError, ['`xs[0]` must be (C,T)'], dict(xs=noise(3,3,30))),
    (ValueError, ['pass them as `xs`'], dict(style='multiples', xs=None)),
    (ValueError, ['ints from 0 to 2'], dict(items=3)), (ValueError, ['ints from 0 to 2'], dict(items=[])),
    (ValueError, ['`chs` must be channels from 0 to 1'], dict(chs=2)), (ValueError, ['`labels` must hold one'], dict(labels=['a'])),
    (ValueError, ['max_n'], dict(max_n=0)), (ValueError, ['max_epochs'], dict(max_epochs=0)),
    (ValueError, ['must increase'], dict(t=np.arange(30)[::-1])), (ValueError, ['Both `t` and `fs`'], dict(t=np.arange(30), fs=2)),
    (ValueError, ['`figsize` must be at least'], dict(figsize=(1,1))), (ValueError, ['a new figure'], dict(figsize=(5,5), fig=new_fig((5,5)))),
    (TypeError, ["no parameter 'cmaps'","'cmap'"], dict(cmaps='viridis')), (TypeError, ["no parameter 'ax'","'fig'"], dict(ax=1)),
    (ValueError, ['a format that matplotlib writes'], dict(savefig='a.xyz'))])
def test_errors(err, words, kw):
    with says(err, *words): show_history(maps, **dict(xs=xs) | kw)

def test_errors_of_maps():
    with says(ValueError, '`fit` with the callback first'): show_history(Keeper(maps=[]))
    with says(ValueError, 'the same series at every epoch', '(2, 1, 5)', '(3, 1, 5)'): show_history([torch.ones(2,1,5),torch.ones(3,1,5)])
    with says(ValueError, 'got shapes (5,)'): show_history([torch.ones(5)])
