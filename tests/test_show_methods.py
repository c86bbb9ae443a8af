"`show_methods`: a row for each method, a column for each series"
from functools import partial
import matplotlib
matplotlib.use('Agg')
import numpy as np, pytest, torch, torch.nn as nn
from matplotlib.figure import Figure
from common import same, says
from tsviz.cam import cam_acts, class_cam, grad_cam, grad_cam_acts, hires_cam, layer_cam
from tsviz.check import model_state
from tsviz.heat import show_class_cams
from tsviz.method import attr_method, attr_methods, contrast, over_layers, over_models, precomputed, smoothed
from tsviz.perturb import occlusion
from tsviz.plot import HeatRows, SeriesBand, SeriesLine, SeriesPoints
from tsviz.score import prob
from tsviz.show import show_cam, show_methods
from tsviz.synth import fit_tiny, planted, tiny_cnn

x,y,_ = planted(n=24, n_classes=3, n_steps=64, noise=.1)
model = fit_tiny(tiny_cnn(n_classes=3), x, y, n_steps=60)
names = ['Gun','Point','Wave']
methods = [grad_cam, hires_cam, cam_acts]

pytestmark = pytest.mark.usefixtures('nothing_left_behind')

@pytest.fixture
def placed(): "Asked for by tests of places"

@pytest.fixture(autouse=True)
def layout(request, monkeypatch):
    "Finding places is matplotlib's work and most of the time: only where places matter"
    if 'placed' not in request.fixturenames: monkeypatch.setattr('tsviz.show.fix_layout', lambda fig: fig.set_layout_engine('none'))

def heats(fig): return [o for ax in fig.axes for o in ax.collections if isinstance(o, HeatRows)]
def maps(fig): return [np.asarray(o.get_array()) for o in heats(fig)]
def rows(fig): return [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel() not in ('','signed','not signed')]
def titles(fig): return [ax.get_title() for ax in fig.axes if ax.get_title()]
def bars(fig): return [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel() in ('signed','not signed')]
def read(fig): return fig.get_supxlabel().replace('\n', ' ')

# what is drawn

@pytest.mark.usefixtures('placed')
def test_a_row_for_each_method_and_a_column_for_each_series():
    fig = show_methods(x[:2], y[:2], model, methods, i2o=names)
    assert isinstance(fig, Figure) and rows(fig)==['Grad-CAM','HiResCAM','CAM'] and titles(fig)==['[Gun]','[Point]']
    at = np.array([[ax.get_position().bounds for ax in fig.axes[2*i:2*i+2]] for i in range(3)])
    assert (np.ptp(at[...,0], axis=0)<1e-6).all() and (np.ptp(at[...,1], axis=1)<1e-6).all() # a step is at the same place in every row
    assert (np.diff(at[...,1], axis=0)<0).all() and (np.diff(at[...,0], axis=1)>0).all()
    want = [f(x[:2], y[:2], model) for f in (grad_cam, hires_cam, partial(cam_acts, force_scale=False))]
    for got,(o,i) in zip(maps(fig), [(o,i) for o in want for i in (0,1)], strict=True):
        np.testing.assert_allclose(got[0], o[i,0]/o[i].abs().max(), atol=1e-6)

def test_kinds_have_their_own_colours_and_bars():
    fig = show_methods(x[:2], y[:2], model, [grad_cam, hires_cam])
    assert [(o.cmap.name,*o.get_clim()) for o in heats(fig)]==[('Greens',0,1)]*2+[('RdBu_r',-1,1)]*2 and bars(fig)==['signed','not signed']
    fig = show_methods(x[:2], y[:2], model, [grad_cam, layer_cam], cmap='viridis')
    assert {o.cmap.name for o in heats(fig)}=={'viridis'} and bars(fig)==['not signed']
    fig = show_methods(x[:2], y[:2], model, [hires_cam, grad_cam], cmap=('PuOr','hot'))
    assert [o.cmap.name for o in heats(fig)]==['PuOr']*2+['hot']*2

def test_the_kind_is_of_the_method_not_of_the_cell():
    "A series without a negative value keeps the colours that the method has in the others"
    some = torch.rand(2,1,64); some[1] -= 2
    assert {(o.cmap.name,*o.get_clim()) for o in heats(show_methods(x[:2], 0, model, [precomputed(some)]))}=={('RdBu_r',-1,1)}

def test_each_cell_has_its_own_scale_and_zero_stays_zero():
    some = torch.stack([torch.zeros(1,64), 1e-9*x[0], 1e9*x[1]])
    a,b,c = maps(show_methods(x[:3], 0, model, [precomputed(some)]))
    assert not a.any() and abs(b).max()==pytest.approx(1) and abs(c).max()==pytest.approx(1)
    np.testing.assert_allclose(b[0], x[0,0]/x[0].abs().max(), atol=1e-6)

def test_the_line_says_what_is_there():
    said = [read(show_methods(x[:2], 0, model, o)) for o in ([hires_cam], [grad_cam], [hires_cam,grad_cam])]
    assert all('Each cell is divided by its own largest |value|' in o and 'not sizes between cells' in o for o in said)
    assert ['Red is positive' in o for o in said]==[True,False,True] and ['Green' in o for o in said]==[False,True,True]
    assert 'Red' not in (own := read(show_methods(x[:2], 0, model, [hires_cam], cmap='hot'))) and 'Each cell' in own
    assert read(show_methods(x, y, model, [grad_cam], max_n=3)).endswith('The first 3 of 24 series.') and 'The first' not in said[0]

@pytest.mark.usefixtures('placed')
@pytest.mark.parametrize('width', [5,13])
def test_the_line_fits(width):
    fig = show_methods(x, y, model, [hires_cam,grad_cam], figsize=(width,3), max_n=1)
    assert fig._supxlabel.get_window_extent().x1<=fig.bbox.width

@pytest.mark.parametrize('style,kind', [('line',SeriesLine), ('scatter',SeriesPoints), ('strip',HeatRows), ('band',HeatRows)])
def test_styles(style, kind):
    for kw in [dict(style=style)] + [dict(scatter=True)]*(style=='scatter'):
        fig = show_methods(x[:2], y[:2], model, methods, **kw)
        assert sum(isinstance(o, kind) for ax in fig.axes for o in ax.collections)==6

def test_time_and_other_series():
    fig = show_methods(x[:2], y[:2], model, methods, xs=10+5*x[:2], fs=32)
    assert [ax.get_xlabel() for ax in fig.axes[:6]]==['']*4+['time (s)']*2
    line = fig.axes[1].lines[-1]
    np.testing.assert_allclose(line.get_xdata(), np.arange(64)/32)
    np.testing.assert_allclose(line.get_ydata(), 10+5*x[1,0], rtol=1e-6)
    assert fig.axes[4].lines[-1].get_xdata().max()<2
    assert show_methods(x[:1], 0, model, methods, t=np.arange(64)*.5, xlabel='days').axes[2].get_xlabel()=='days'

def test_channels_have_one_legend():
    two,labels,_ = planted(n=4, n_channels=2, n_steps=64)
    m = tiny_cnn(n_channels=2)
    fig = show_methods(two, labels, m, [hires_cam, precomputed(two)], labels=['hip','knee'])
    assert [[o.get_text() for o in l.get_texts()] for l in fig.legends]==[['hip','knee']]
    assert not show_methods(two, labels, m, [hires_cam], legend=False).legends
    fig = show_methods(two[:1], 0, m, [precomputed(two)], style='strip')
    np.testing.assert_allclose(maps(fig)[0], two[0]/two[0].abs().max(), atol=1e-6)

def test_lengths_and_batches():
    fig = show_methods([(x[0],y[0]), (x[1,:,:40],y[1])], 'label', model, [hires_cam])
    assert [o.shape[1] for o in maps(fig)]==[64,40]
    alone = hires_cam(x[1,:,:40], y[1], model)[0]
    np.testing.assert_allclose(maps(fig)[1][0], alone/alone.abs().max(), atol=1e-5)
    padded = x[:2].clone(); padded[1,:,40:] = 5
    np.testing.assert_allclose(maps(show_methods(padded, y[:2], model, [hires_cam], lengths=[64,40]))[1][0], alone/alone.abs().max(), atol=1e-5)
    assert len(maps(show_methods(x[0], 1, model, methods)))==3

def test_several_models_show_their_disagreement():
    fig = show_methods(x[:2], y[:2], model, [hires_cam, over_models(hires_cam, [model, tiny_cnn(n_classes=3)])])
    assert [sum(isinstance(o, SeriesBand) for o in ax.collections) for ax in fig.axes[:4]]==[0,0,1,1] and rows(fig)[1].replace('\n', ' ')=='HiResCAM over 2 models'

# names

def test_names_of_methods():
    def mine(x, *args): return x
    fig = show_methods(x[:1], 0, model, [grad_cam, partial(grad_cam, relu=False), hires_cam, mine, contrast(hires_cam), partial(class_cam, relu=True)])
    assert rows(fig)==['Grad-CAM','Grad-CAM (relu=False)','HiResCAM','mine','contrast HiResCAM','Class CAM']
    fig = show_methods(x[:1], 0, model, [partial(cam_acts, reduction='max'), partial(cam_acts, reduction=torch.amax), smoothed(hires_cam, 2), smoothed(hires_cam, 3)])
    assert rows(fig)==['CAM (reduction=max)','CAM (reduction=amax)','smoothed HiResCAM\n[1]','smoothed HiResCAM\n[2]']
    assert rows(show_methods(x[:1], 0, model, {'mine': grad_cam, 2: grad_cam}))==['mine','2']
    assert rows(show_methods(x[:1], 0, model, grad_cam))==['Grad-CAM']

def test_long_names_are_folded():
    name = rows(show_methods(x[:1], 0, model, {'a very long name of a method that says all there is to say about it': grad_cam}))[0]
    assert 1<=name.count('\n')<=2 and all(len(o)<30 for o in name.splitlines())

wrong = (y[:2]+1)%3
told = [f'{names[c]} ({p:.2f})' for c,p in zip(y[:2], model(x[:2]).softmax(1).amax(1))]

@pytest.mark.parametrize('batch,target,kw,want', [
    (x[:2], y[:2], {}, ['[Gun]','[Point]']), (x[:2], None, {}, [f'[Gun]\npredicted {told[0]}', f'[Point]\npredicted {told[1]}']),
    (x[:2], wrong, {}, [f'[Point]\npredicted {told[0]}', f'[Wave]\npredicted {told[1]}']), (x[:2], wrong, dict(preds=False), ['[Point]','[Wave]']),
    ((x[:2],wrong), None, dict(preds=False), ['[Point]\nexplained Gun', '[Wave]\nexplained Point']),
    ((x[:2],y[:2]), 'label', dict(preds=True), [f'[Gun]\npredicted {told[0]}', f'[Point]\npredicted {told[1]}']),
    ((x[:2],y[:2]), 2, {}, ['[Gun]\nexplained Wave', '[Point]\nexplained Wave']), ((x[:2],y[:2]), prob(1), {}, ['[Gun]\nexplained Point', '[Point]']),
    (x[0], 2, {}, [f'[Gun]\npredicted {told[0]}\nexplained Wave']), ((x[:2],y[:2]), lambda out: out[:,0], {}, ['[Gun]','[Point]'])])
def test_titles_of_series(batch, target, kw, want):
    assert titles(show_methods(batch, target, model, [grad_cam_acts], i2o=names, **kw))==want

@pytest.mark.parametrize('target', [None, 2, [2,0,1], prob(2), lambda out: out[:,0]-out[:,1]])
def test_any_target_is_explained(target):
    raw = hires_cam(x[:3], target, model)
    for got,o in zip(maps(show_methods(x[:3], target, model, [hires_cam])), raw, strict=True): np.testing.assert_allclose(got[0], o[0]/o.abs().max(), atol=1e-5)

def test_targets_follow_the_series_that_are_drawn():
    some = [2,0,1]*8
    raw = contrast(hires_cam, [(o+1)%3 for o in some])(x, some, model)
    fig = show_methods(x, some, model, [contrast(hires_cam, [(o+1)%3 for o in some])], max_n=2)
    assert len(maps(fig))==2
    for got,o in zip(maps(fig), raw): np.testing.assert_allclose(got[0], o[0]/o.abs().max(), atol=1e-5)

def test_one_output():
    m = tiny_cnn(n_classes=1)
    value = m(x[:2])[:,0].tolist()
    assert titles(show_methods(x[:2], None, m, [hires_cam]))==[f'[{v:.3g}]\npredicted {v:.3g}' for v in value]
    assert titles(show_methods((x[:2],torch.tensor([1.5,2])), None, m, [hires_cam]))==[f'[{o}]\npredicted {v:.3g}' for o,v in zip(('1.5','2'), value)]

def test_layers():
    fig = show_methods(x[:1], 0, model, [partial(grad_cam_acts, layer=0), partial(grad_cam_acts, layer=2, reduction='max')], 3)
    for got,layer,how in zip(maps(fig), (0,2), ('mean','max')):
        raw = grad_cam_acts(x[:1], 0, model, layer, how, force_scale=False)[0,0]
        np.testing.assert_allclose(got[0], raw/raw.abs().max(), atol=1e-6)
    assert rows(fig)==['GRAD-CAM (layer=0)','GRAD-CAM (layer=2,\nreduction=max)']
    assert not np.allclose(*maps(show_methods(x[:1], 0, model, [hires_cam, partial(hires_cam, layer=3)], 1)))
    assert len(maps(show_methods(x[:1], 0, model, [over_layers(hires_cam, [1,3])])))==1

# errors and what is left behind

def untouched(*args, **kwargs): raise AssertionError('the model was asked before the arguments were checked')

@pytest.mark.parametrize('kw,msg', [
    (dict(methods=[]), '`methods` is empty'), (dict(methods={}), '`methods` is empty'), (dict(methods='grad_cam'), 'without quotes'), (dict(methods=['gradcam']), "Did you mean 'grad_cam'"),
    (dict(methods=[grad_cam,None]), 'got None'), (dict(max_n=0), '`max_n` must be at least 1, got 0'), (dict(figsize=5), 'got 5'), (dict(cmap='seismc'), "'seismic'"), (dict(style='bands'), "'band'"),
    (dict(cmap=('RdBu','x')), "got 'x'"), (dict(savefig='/no/such/fig.png'), 'There is no folder'), (dict(i2o=3), '`i2o` must be'), (dict(xs=x[:1]), '`xs` must hold'), (dict(linewidht=2), "Did you mean 'linewidth'"),
    (dict(vmin=0), "takes no 'vmin'"), (dict(colorbar=False), "takes no 'colorbar'"), (dict(unit='mV'), "takes no 'unit'"), (dict(lengths=[64,99]), 'between 1 and T=64')])
def test_wrong_arguments_are_refused_before_any_work(kw, msg):
    with pytest.raises((TypeError,ValueError,FileNotFoundError), match=msg): show_methods(x[:2], 0, untouched, **{'methods':methods, **kw})

def test_errors_name_the_method():
    def mine(x, *args): raise KeyError('my fault')
    pooled = nn.Sequential(*model[:4], nn.AdaptiveMaxPool1d(1), *model[5:])
    with says(ValueError, 'Class CAM (relu=True): `class_cam` needs'): show_methods(x[:2], 0, pooled, [grad_cam, partial(class_cam, relu=True), class_cam])
    with says(RuntimeError, 'mine: ', 'my fault'): show_methods(x[:2], 0, model, [grad_cam, mine])
    with says(ValueError, 'first: ', 'window=3'): show_methods(x[:2], 0, model, {'first': partial(grad_cam, window=3)})
    with says(ValueError, '5 classes for 2 items'): show_methods(x[:2], [0]*5, model, methods)
    with says(ValueError, 'class 7 is out of range'): show_methods(x[:2], 7, model, methods)
    with says(ValueError, "got 'lable'"): show_methods(x[:2], 'lable', model, methods)

def test_model_and_random_state_are_as_found():
    m = tiny_cnn(n_classes=3).train()
    before,state = model_state(m),torch.get_rng_state()
    show_methods(x[:2], None, m, [*methods, smoothed(hires_cam, 3)])
    with pytest.raises(ValueError): show_methods(x[:2], 0, m, [hires_cam, partial(over_layers(grad_cam, [0]), layer=1)])
    same(before, model_state(m))
    assert torch.equal(state, torch.get_rng_state())

def test_parameters_of_methods_are_told_where_to_go():
    both = [hires_cam, partial(grad_cam, relu=False)]
    with says(TypeError, "has no parameter 'relu'", 'pass `partial(grad_cam, relu=...)`'): show_methods(x[:2], 0, untouched, both, relu=True)
    with says(TypeError, 'pass `partial(cam_acts, reduction=...)`'): show_methods(x[:2], 0, untouched, {'mine': cam_acts}, reduction='max')
    for m in (grad_cam, partial(grad_cam, relu=False)):
        with says(TypeError, "has no parameter 'relu'", 'pass `partial(grad_cam, relu=...)`'): show_cam((x[:2],y[:2]), untouched, func_cam=m, relu=True)
        with says(TypeError, "has no parameter 'relus'"): show_cam((x[:2],y[:2]), untouched, func_cam=m, relus=True)
    with says(TypeError, 'pass `partial(hires_cam, call=...)`'): show_class_cams((x[:2],y[:2]), untouched, method=hires_cam, call=0)

def test_a_second_result_is_refused():
    two = attr_method(lambda f, x: (x, x[:,0,0]), name='Two')
    attr_methods.pop('<lambda>')
    for call in (lambda: show_methods(x[:2], 0, model, [hires_cam, two]), lambda: show_cam((x[:2],y[:2]), model, func_cam=two), lambda: show_class_cams(x[0], model, method=two)):
        with says(ValueError, 'Two', 'second result beside its maps'): call()

def test_items_are_the_first_unless_said():
    "Of 24 series two are drawn: each with its own row of what is given one an item"
    level = precomputed(torch.arange(24)[:,None,None].remainder(3).sub(1.).expand(24,1,64))
    base = torch.randn(24,1,64, generator=torch.Generator().manual_seed(0))
    assert [o[0,0] for o in maps(show_methods(x, 0, model, [level], max_n=4))]==[-1,0,1,-1]
    assert [o[0,0] for o in maps(show_methods(x[:2], 0, model, [level], items=torch.tensor([5,9])))]==[1,-1]
    for m in (partial(occlusion, baseline=base), over_models(partial(occlusion, baseline=base), [model])):
        for rows in ([0,1],[7,3]):
            raw = torch.cat([occlusion(x[i:i+1], 1, model, baseline=base[i:i+1]) for i in rows])
            fig = show_methods(x, 1, model, [m], max_n=2) if rows==[0,1] else show_methods(x[rows], 1, model, [m], items=torch.tensor(rows))
            for got,o in zip(maps(fig), raw, strict=True): np.testing.assert_allclose(got[0], o[0]/o.abs().max(), atol=1e-5)

def test_progress_goes_through_the_methods():
    seen = []
    def bar(o):
        for k,m in (o := list(o)): seen.append((len(o),k)); yield k,m
    assert len(maps(show_methods(x[:2], 0, model, {'a':grad_cam, 'b':hires_cam}, progress=bar)))==4 and seen==[(2,'a'),(2,'b')]

def test_the_model_is_asked_once_and_once_a_method():
    class Counter(nn.Module):
        def __init__(self, m): super().__init__(); self.m,self.passes,self.rows = m,0,0
        def forward(self, x): self.passes += 1; self.rows += len(x); return self.m(x)
    m = Counter(model)
    show_methods(x, None, m, methods, 'm.3', max_n=4)
    assert (m.passes,m.rows)==(4,16)

def test_file(tmp_path):
    show_methods(x[:1], 0, model, methods, savefig=tmp_path/'a.png', title='All')
    assert [o.name for o in tmp_path.iterdir()]==['a.png']
    assert show_methods(x[:1], 0, model, methods, title='All').get_suptitle()=='All'
