"Heat: channels over time, strips of maps, strips of classes"
import matplotlib
matplotlib.use('Agg')
import io
from datetime import date, timedelta
import matplotlib.pyplot as plt, numpy as np, pytest, torch, torch.nn as nn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tsviz.cam import grad_cam_acts, hires_cam
from tsviz.heat import *
from tsviz.synth import fit_tiny, planted, tiny_cnn

x,y,_ = planted(n=24, n_classes=3, n_steps=64, noise=.1)
model = fit_tiny(tiny_cnn(n_classes=3), x, y, n_steps=60)
i2o = lambda y: ['Gun','Point','Wave'][y.data.item()]
batch = x[:2],y[:2]

pytestmark = pytest.mark.usefixtures('nothing_left_behind')

def titles(fig): return [ax.get_title() for ax in fig.axes if ax.get_title()]

class Counter(nn.Module):
    "Counts the passes and the rows that go through a model"
    def __init__(self, m): super().__init__(); self.m,self.passes,self.rows = m,0,0
    def forward(self, x):
        self.passes += 1; self.rows += len(x)
        return self.m(x)

def untouched(*args, **kwargs): raise AssertionError('the model was asked before the arguments were checked')

sure = model(x[:2]).softmax(1).detach()

def subs(fig): return [o for o in fig.subfigs if len(o.axes)>1] # without the colour bar's
def strips(fig): return np.stack([np.asarray(o.axes[1].collections[0].get_array()) for o in subs(fig)])

# columns of pixels

def draw(fig):
    "The figure drawn: (height,width,4) bytes"
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())

@pytest.mark.parametrize('picture', ['heatmap','strips'])
def test_a_single_step_is_seen_in_its_pixel(picture):
    "One step of 200,000, of either sign, at any resolution and in a file, is in the column of pixels that holds it"
    rng = np.random.default_rng(0)
    for dpi,at in [(72,(3,120_000)), (100,(199_999,70_001)), (150,(0,99_000))]:
        v = np.zeros((2,200_000)); v[0,at[0]],v[1,at[1]] = 1,-1
        fig = plt.figure(figsize=(4,2), dpi=dpi); plt.close(fig)
        x = rng.standard_normal((2,200_000))
        if picture=='strips': ax = show_strips(x[0], v, cmap='RdBu_r', vmin=-1, vmax=1, fig=fig).axes[1]
        else: ax = show_heatmap(x, v, line=False, fig=fig).axes[0]
        img = draw(fig)[::-1,:,:3].astype(int)
        for row,(i,want) in enumerate(zip(at, ([103,0,31],[5,48,97]))):
            px,py = ax.transData.transform((i+.5*(i==0)-.5*(i>9e4), row+.5))
            column = img[int(py)-2:int(py)+3, max(0, int(px)-1):int(px)+2]
            assert (abs(column-want).max(-1)<3).any(1).all(), (dpi,i)
            assert (abs(img[int(py),:]-want).max(-1)<3).sum()<=2

@pytest.mark.parametrize('n', [200,300,390,450,600,777,800,2000,9001])
def test_no_ratio_of_steps_to_pixels_loses_a_step(n):
    "Steps a little wider or narrower than a pixel, cut by the axes' limits, in reverse"
    fig = Figure((5,3), dpi=100); ax = fig.subplots()
    at = np.linspace(3, n-4, 40).astype(int)
    v = np.zeros((40,n)); v[np.arange(40),at] = np.where(np.arange(40)%2, 1, -1)
    show_heatmap(v, v, ax, line=False, cmap='RdBu_r', vmin=-1, vmax=1)
    for lim in [(-.5,n-.5), (1,n-2), (n-.5,-.5)] if n==600 else [(-.5,n-.5)]:
        ax.set_xlim(lim)
        img = draw(fig)[::-1,:,:3].astype(int)
        for i,o in enumerate(at):
            px,py = ax.transData.transform((o,i+.5)).astype(int)
            want = [103,0,31] if i%2 else [5,48,97]
            assert (abs(img[py,px-1:px+2]-want).max(-1)<3).any(), (n,i,lim)

def test_a_million_steps_in_small_files():
    "Files of a strip of a million steps do not hold a million steps"
    x = np.random.default_rng(0).standard_normal(1_000_000).cumsum()
    v = np.zeros((3,1_000_000)); v[1,555_555] = 1
    ax = Figure((4,2)).subplots()
    show_heatmap(x, v[1], ax, line=False)
    for kind in ('png','svg','pdf'):
        ax.figure.savefig(out := io.BytesIO(), format=kind)
        assert len(out.getvalue())<120_000, kind
        if kind=='svg': assert out.getvalue().count(b'<image')==1
        if kind=='png':
            img = np.asarray(Image.open(out).convert('RGB')).astype(int)
            assert (abs(img-[158,1,66]).max(-1)<3).any()

# channels over time

T = 60
rng = np.random.default_rng(0)
x3,a3 = rng.standard_normal((3,T)).cumsum(1),rng.standard_normal((3,T))

def rows(ax): return ax.collections[0]
def row_names(ax): return [o.get_text() for o in ax.get_yticklabels()]
def drawn_lines(ax): return [o.get_ydata() for o in ax.lines]

def test_heatmap_by_hand():
    fig = show_heatmap(torch.tensor(x3, requires_grad=True), torch.tensor(a3), labels=['a','b','c'], units=['mV',None,'°C'], title='heat', fs=20)
    ax,bar = fig.axes
    np.testing.assert_array_equal(rows(ax).get_array(), a3)
    top = abs(a3).max()
    assert (rows(ax).cmap.name,*rows(ax).get_clim())==('RdBu_r',-top,top) and ax.get_title()=='heat' and ax.get_xlabel()=='time (s)'
    np.testing.assert_allclose([*ax.get_xlim(),*ax.get_ylim()], [-.025,59.5/20,3,0])
    assert row_names(ax)==[f'{n}\n{o.min():.4g} to {o.max():.4g}{u}' for n,u,o in zip('abc', [' mV','',' °C'], x3)]
    for i,(got,o) in enumerate(zip(drawn_lines(ax), x3)):
        np.testing.assert_allclose([got[o.argmax()],got[o.argmin()]], [i+.12,i+.88])
        assert np.corrcoef(got, o)[0,1]<-.9999 # upwards: the first row is at the top

def test_heatmap_of_one_map_some_channels_own_scales():
    ax = Figure((6,4)).subplots()
    assert show_heatmap(x3, a3[:1], ax) is ax and len(ax.figure.axes)==1
    np.testing.assert_array_equal(rows(ax).get_array(), a3[[0,0,0]])
    ax = show_heatmap(x3, a3, Figure((6,4)).subplots(), chs=[2,0], share_colors=False, labels=['a','b','c'], line=False)
    np.testing.assert_allclose(rows(ax).get_array(), [o/abs(o).max() for o in a3[[2,0]]])
    assert row_names(ax)==['c','a'] and not ax.lines and rows(ax).get_clim()==(-1,1)
    ax = show_heatmap(x3[0], a3[0]*0, Figure((6,4)).subplots(), share_colors=False, cmap='viridis', colorbar=True)
    assert (rows(ax).get_array()==0).all() and len(ax.figure.axes)==2
    a = a3.copy(); a[1] = np.nan; x = x3.copy(); x[1] = np.nan; x[2,5:9] = np.nan
    for share in (True,False): draw(show_heatmap(x, a, share_colors=share))

def test_heatmap_takes_a_figure_and_dates():
    for fig in (Figure((6,4)), Figure((6,4)).subfigures(1, 2)[0]): assert show_heatmap(x3, a3, fig=fig) is fig and len(fig.axes)==2
    days = [date(2024,1,1)+timedelta(days=i) for i in range(T)]
    fig = show_heatmap(x3, a3, t=days)
    draw(fig)
    want = matplotlib.dates.date2num(days)
    np.testing.assert_allclose(fig.axes[0].get_xlim(), [want[0]-.5,want[-1]+.5])
    assert tuple(show_heatmap(x3, a3, figsize=(5,2)).get_size_inches())==(5,2)

def overlap(boxes): return any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[i+1:])

@pytest.mark.parametrize('n', [1,5,12,60,250])
@pytest.mark.parametrize('name', ['channel', 'a very long name of a channel of a device'])
def test_names_of_many_channels_are_readable(n, name):
    fig = show_heatmap(rng.standard_normal((n,30)), rng.standard_normal((n,30)), labels=[f'{i} {name}' for i in range(n)], units='µV', title=name*9)
    draw(fig)
    ax = fig.axes[0]
    boxes = [o.get_window_extent() for o in ax.get_yticklabels()]
    assert not overlap(boxes) and 1<=len(boxes)<=n and len(boxes)>=min(n, 30) and min(o.get_fontsize() for o in ax.get_yticklabels())>=6
    assert min(o.x0 for o in boxes)>=0 and max(len(l) for o in row_names(ax) for l in o.splitlines())<=40
    assert ax.bbox.width>.5*fig.bbox.width and not overlap([ax.title.get_window_extent(), boxes[0]])
    title = ax.title.get_window_extent()
    assert 0<=title.x0 and title.x1<=fig.bbox.width and title.y1<=fig.bbox.height

@pytest.mark.parametrize('kw,msg', [
    (dict(attr=a3[:2]), 'one row, or one a channel'), (dict(attr=a3[:,1:]), 'one row, or one a channel'), (dict(labels=['a']), '`labels` must hold one for each of the 3 channels, got 1'),
    (dict(units=['a']), '`units` must hold'), (dict(linewidht=1), "no parameter 'linewidht'"), (dict(t=np.r_[5,np.arange(59)]), 'must increase'),
    (dict(ax=Figure().subplots(), figsize=(1,1)), '`ax` is a place'), (dict(fs=0), 'above 0'), (dict(figsize=4), 'figsize'), (dict(cmap='seismc'), "'seismic'")])
def test_wrong_heatmaps(kw, msg):
    with pytest.raises((TypeError,ValueError), match=msg): show_heatmap(x3, **dict(attr=a3) | kw)

# strips

def test_strips():
    fig = show_strips(x3[0], abs(a3), ['a','b','c'], title='top', cmap='magma', vmin=0, vmax=2)
    top,low,bar = fig.axes
    np.testing.assert_array_equal(rows(low).get_array(), abs(a3))
    assert (rows(low).cmap.name,*rows(low).get_clim())==('magma',0,2) and top.get_title()=='top'
    assert row_names(low)==['a','b','c']
    assert top.get_xlim()==low.get_xlim()==(-.5,T-.5) and low.get_ylim()==(3,0)
    with pytest.raises(ValueError, match=f'the {T} steps'): show_strips(x3[0], a3[:,1:])
    with pytest.raises(ValueError, match='`labels` must hold one for each of the 1 strips'): show_strips(x3[0], a3[0], ['a','b'])

# all classes

def test_passes_of_class_cams():
    m = Counter(tiny_cnn(n_classes=3))
    show_class_cams((x[:4],y[:4]), m, 'm.3')
    assert (m.passes,m.rows)==(2,4+3*4)

def test_class_cams_by_hand():
    raw = torch.stack([hires_cam(x[:2], c, model)[:,0] for c in range(3)], 1).numpy()
    top,peak = abs(raw).max((1,2), keepdims=True),raw.max(2, keepdims=True)
    for kw,want in [(dict(), raw/top), (dict(scale='class'), raw/abs(raw).max(2, keepdims=True)), (dict(scale=None), raw),
                    (dict(relu=True), raw.clip(0)/raw.max((1,2), keepdims=True)),
                    (dict(scale='class', relu=True), raw.clip(0)/np.where(peak>0, peak, 1))]:
        fig = show_class_cams(batch, model, method=hires_cam, i2o=i2o, **kw)
        np.testing.assert_allclose(strips(fig), want, atol=1e-5)
        meshes = [o.axes[1].collections[0] for o in subs(fig)]
        assert len({o.get_clim() for o in meshes})==1 and {o.cmap.name for o in meshes}=={'Spectral_r' if 'relu' in kw else 'RdBu_r'}
    assert titles(fig)==['[Gun] - HiResCAM','[Point] - HiResCAM']
    for o,p in zip(subs(fig), sure):
        assert [l.get_text() for l in o.axes[1].get_yticklabels()]==[f'{n} ({q:.2f})' for n,q in zip(['Gun','Point','Wave'], p)]
    with pytest.raises(ValueError, match="`scale` must be one of.*got 'items'"): show_class_cams(batch, model, scale='items')

def test_class_cams_of_the_seed_methods_are_raw():
    raw = torch.stack([grad_cam_acts(x[:1], c, model, force_scale=False)[:,0] for c in range(3)], 1).numpy()
    np.testing.assert_allclose(strips(show_class_cams(x[:1], model, method=grad_cam_acts, scale=None)), raw, atol=1e-6)
    own = strips(show_class_cams(x[:1], model, method=lambda x,y,*args: x*(y+1), scale=None))[0]
    np.testing.assert_allclose(own, x[0]*torch.tensor([1,2,3])[:,None], atol=1e-6)

def test_many_classes():
    m = tiny_cnn(n_classes=20)
    out = m(x[:1])[0]
    last = out.argmin()
    fig = show_class_cams((x[0],last), m)
    want = sorted(out.topk(9).indices.tolist()+[last.item()])
    assert [int(o.get_text().split()[0]) for o in fig.subfigs[0].axes[1].get_yticklabels()]==want
    assert len(show_class_cams(x[:1], m, max_classes=20).subfigs[0].axes[1].get_yticklabels())==20

@pytest.mark.parametrize('kw,msg', [(dict(func_cam=1), "Did you mean 'method'"), (dict(linestyle='x'), "got 'x'"), (dict(method='cam'), 'must be a function'),
                                    (dict(savefig=' '), 'file name'), (dict(scale=1), '`scale` must be'),
                                    (dict(labels=['a','b','c']), "takes no 'labels': its strips are the classes, name them with `i2o`"), (dict(strips=x), "takes no 'strips'"), (dict(figsize=5), 'got 5')])
def test_wrong_arguments_of_class_cams(kw, msg):
    with pytest.raises((TypeError,ValueError), match=msg): show_class_cams(batch, untouched, **kw)
    with pytest.raises(ValueError, match='`max_classes` must be 1 or more'): show_class_cams(batch, model, max_classes=0)

def test_class_cams_share_one_bar():
    fig = show_class_cams(batch, model, i2o=['a class with a very long name']*3)
    assert [len(o.axes) for o in fig.subfigs]==[2,2,1] and len(show_class_cams(x[0], model).axes)==3
    assert all(len(o.get_text().split(' (')[0])==18 for o in fig.subfigs[0].axes[1].get_yticklabels())

def test_constant_maps_fault_12():
    "No NaN, no warning, one colour"
    for scale in ('item','class',None):
        fig = show_class_cams(x[:1], model, method=lambda x,*args: 0*x, scale=scale)
        assert not strips(fig).any()
    draw(fig)
    for v in (0., -3.): draw(show_heatmap(x3, np.full((1,T), v)))

def test_heat_as_vectors():
    "Pixels or vectors in an SVG, as asked"
    for rasterized,images in [(True,1),(False,0)]:
        show_heatmap(x3, a3, ax := Figure((4,2)).subplots(), rasterized=rasterized)
        ax.figure.savefig(out := io.BytesIO(), format='svg')
        assert out.getvalue().count(b'<image')==images
