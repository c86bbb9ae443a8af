"From a batch and a model to the picture"
import inspect, io
from functools import partial
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pytest, torch, torch.nn as nn
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from common import same
from tsviz.cam import cam_acts, grad_cam_acts, hires_cam
from tsviz.check import model_state
from tsviz.method import over_models, precomputed, smoothed
from tsviz.models import Ensemble
from tsviz.batch import find_i2o, find_items
from tsviz.heat import show_class_cams
from tsviz.plot import SeriesLine
from tsviz.score import prob
from tsviz.show import *
from tsviz.synth import fit_tiny, planted, tiny_cnn

x,y,_ = planted(n=24, n_classes=3, n_steps=64, noise=.1)
model = fit_tiny(tiny_cnn(n_classes=3), x, y, n_steps=60)
i2o = lambda y: ['Gun','Point','Wave'][y.data.item()]
batch = x[:2],y[:2]

pytestmark = pytest.mark.usefixtures('nothing_left_behind')

def lines(fig): return [o for ax in fig.axes for o in ax.collections if isinstance(o, SeriesLine)]
def arrays(fig): return np.stack([o.get_array() for o in lines(fig)])
def titles(fig): return [ax.get_title() for ax in fig.axes if ax.get_title()]
def unit(a): return (a-a.min(-1, keepdims=True))/(np.ptp(a, axis=-1, keepdims=True))
def by_hand(x, reduce=lambda a: a.mean(1)): return reduce(model[:4](x)).detach().numpy()

class Counter(nn.Module):
    "Counts the passes and the rows that go through a model"
    def __init__(self, m): super().__init__(); self.m,self.passes,self.rows = m,0,0
    def forward(self, x):
        self.passes += 1; self.rows += len(x)
        return self.m(x)

# the batch

def test_items_of_unequal_length():
    xs,ys,lengths = find_items([(x[0],y[0]), (x[1,:,:40],y[1]), (x[2,:,:1],y[2])])
    assert lengths.tolist()==[64,40,1] and torch.equal(xs[1,:,:40], x[1,:,:40]) and not xs[1,:,40:].any()
    fig = show_cam([(x[0],y[0]), (x[1,:,:40],y[1])], model, multi_fig=True)
    assert [len(o.get_array()) for o in lines(fig)]==[64,40]
    np.testing.assert_allclose(lines(fig)[1].get_array(), unit(by_hand(x[1:2,:,:40]))[0], atol=1e-5)

@pytest.mark.parametrize('b,msg', [([], 'empty'), ((x,y[:3]), 'one number for each of the 24 series'), ((x,['Gun']*24), 'must be numbers.*got str'),
                                   (x[0,0], 'x\\[None\\]'), (x*torch.nan, 'NaN or infinite')])
def test_wrong_batches(b, msg):
    for show in (show_cam, show_class_cams):
        with pytest.raises(ValueError, match=msg): show(b, model)

# the seed's interface

def test_positional_order_of_the_seed():
    want = 'batch model layer func_cam reduction force_scale scale_range cmap linewidth linestyles alpha scatter'.split() + \
        'i2o figsize multi_fig confidence savefig'.split()
    assert list(inspect.signature(show_cam).parameters)[:len(want)]==want

def test_one_figure_faults_3_17_21():
    fig = show_cam(batch, model, layer=3, i2o=i2o)
    assert isinstance(fig, Figure) and len(fig.axes)==2 and tuple(fig.get_size_inches())==(6,4)
    assert titles(fig)==['[Gun - Point] - CAM - mean']
    np.testing.assert_allclose(arrays(fig), unit(by_hand(x[:2])), atol=1e-5)

def test_one_axes_a_series():
    fig = show_cam(batch, model, layer=3, i2o=i2o, func_cam=grad_cam_acts, multi_fig=True)
    assert len(fig.axes)==3 and tuple(fig.get_size_inches())==(13,4)
    assert titles(fig)==['[Gun] - GRAD-CAM - mean','[Point] - GRAD-CAM - mean']
    np.testing.assert_allclose(arrays(fig), grad_cam_acts(*batch, model, 3)[:,0], atol=1e-6)

def test_default_labels_fault_2():
    assert titles(show_cam(batch, model))==['[0 - 1] - CAM - mean']
    assert titles(show_cam(x[:1], model, preds=False))==[f'[{model(x[:1]).argmax().item()}] - CAM - mean']

def test_i2o_gets_scalars():
    seen = []
    def i2o(y): seen.append(y); return 'a'
    show_cam(batch, model, i2o=i2o, preds=True, y=None)
    show_class_cams(batch, model, i2o=i2o)
    assert len(seen)>6 and all(isinstance(o, torch.Tensor) and o.ndim==0 and o.dtype==torch.int64 for o in seen)

def test_multivariate_and_all_positive_faults_4_5():
    x,y,_ = planted(n=4, n_channels=3, n_steps=40)
    for multi in (True,False):
        fig = show_cam((x+100,y), tiny_cnn(n_channels=3), multi_fig=multi)
        assert len(lines(fig))==12
        for ax in fig.axes[:-1]: assert ax.get_ylim()[0]>90
    assert lines(show_cam((x,y), tiny_cnn(n_channels=3), func_cam=precomputed(x), force_scale=False))[4].get_array().tolist()==x[1,1].tolist()

@pytest.mark.parametrize('multi', [True,False])
def test_savefig_fault_6(tmp_path, multi):
    show_cam(batch, model, multi_fig=multi, savefig=tmp_path/'a.png')
    show_class_cams(batch, model, savefig=tmp_path/'b.pdf')
    assert sorted(o.name for o in tmp_path.iterdir())==['a.png','b.pdf']
    with pytest.raises(FileNotFoundError, match='There is no folder'): show_cam(batch, model, multi_fig=multi, savefig=tmp_path/'no'/'a.png')

def test_confidence_fault_7():
    fig = show_cam(batch, model, i2o=i2o, multi_fig=True, confidence=[.9,'sure'])
    assert titles(fig)==['[Gun] - CAM - mean\n0.9','[Point] - CAM - mean\nsure']
    assert titles(show_cam(batch, model, i2o=i2o, confidence=torch.tensor([.9,.8])))==['[Gun - Point] - CAM - mean\n0.9 - 0.8']
    with pytest.raises(ValueError, match='`confidence` must hold one for each of the 2 series, got 1'): show_cam(batch, model, confidence=[1])

def test_linestyles_and_line_collection_arguments_faults_8_16():
    for multi in (True,False):
        fig = show_cam(batch, model, linestyles='dotted', linewidth=2, alpha=.5, capstyle='round', multi_fig=multi)
        a,b = lines(fig)
        assert a.get_linestyle()==b.get_linestyle()!=lines(show_cam(batch, model))[0].get_linestyle() and b.get_capstyle()=='round' and b.get_alpha()==.5
        fig = show_cam(batch, model, scatter=True, multi_fig=multi)
        assert not lines(fig) and len(fig.axes)==2+multi
        points = [o for ax in fig.axes[:-1] for o in ax.collections]
        np.testing.assert_allclose(np.stack([o.get_array() for o in points]), unit(by_hand(x[:2])), atol=1e-5)

def test_a_layer_with_stride_covers_the_series_fault_9():
    assert arrays(show_cam(batch, tiny_cnn(n_classes=3, stride=2))).shape==(2,64)

def test_layers_by_any_name_fault_10():
    for layer in (3, -4, '3', model[3], lambda m: m[3]):
        np.testing.assert_array_equal(arrays(show_cam(batch, model, layer=layer)), arrays(show_cam(batch, model)))
        np.testing.assert_array_equal(strips(show_class_cams(batch, model, layer=layer)), strips(show_class_cams(batch, model)))
    assert not np.allclose(arrays(show_cam(batch, model, layer='1')), arrays(show_cam(batch, model)))
    with pytest.raises(ValueError, match="no layer 'conv'"): show_cam(batch, model, layer='conv')

@pytest.mark.parametrize('func_cam', [cam_acts, grad_cam_acts, hires_cam, lambda *args: args[0]])
def test_unknown_reduction_fault_11(func_cam):
    with pytest.raises(ValueError, match="'mean_max'.*got 'men'"): show_cam(batch, model, func_cam=func_cam, reduction='men')

def test_constant_map_fault_12():
    m = tiny_cnn()
    nn.init.zeros_(m[2].weight)
    for scale,want in [((0,1),0), ((-1,1),-1)]:
        fig = show_cam(batch, m, layer=2, scale_range=scale, savefig=None)
        assert (arrays(fig)==want).all()
        matplotlib.backends.backend_agg.FigureCanvasAgg(fig).draw()

@pytest.mark.parametrize('name,reduce', [('max',lambda a: a.amax(1)), ('median',lambda a: a.median(1).values), ('mean_max',lambda a: (a.mean(1)+a.amax(1))/2)])
def test_reductions(name, reduce):
    fig = show_cam(batch, model, reduction=name, force_scale=False)
    assert titles(fig)==[f'[0 - 1] - CAM - {name}']
    np.testing.assert_allclose(arrays(fig), by_hand(x[:2], reduce), atol=1e-5)
    assert titles(show_cam(batch, model, func_cam=partial(cam_acts, reduction=name)))==[f'[0 - 1] - CAM - {name}']

def test_a_reduction_is_told_where_it_is_used():
    assert titles(show_cam(batch, model, func_cam=hires_cam, reduction='max'))==['[0 - 1] - HiResCAM']
    assert titles(show_cam(batch, model, func_cam=smoothed(cam_acts, n_samples=2)))==['[0 - 1] - smoothed CAM - mean']
    def total(t, dim): return t.sum(dim)
    assert titles(show_cam(batch, model, reduction=total))==['[0 - 1] - CAM - total']

# scale and colours

def test_scale_and_colours():
    raw = hires_cam(*batch, model)[:,0].numpy()
    top = abs(raw).max()
    assert (raw<0).any()
    for kw,want,cmap,clim in [(dict(), unit(raw), 'Spectral_r', (0,1)), (dict(force_scale=False), raw, 'RdBu_r', (-top,top)),
                              (dict(force_scale='max'), raw/abs(raw).max(1, keepdims=True), 'RdBu_r', (-1,1)),
                              (dict(scale_range=(-1,1)), 2*unit(raw)-1, 'Spectral_r', (-1,1)),
                              (dict(force_scale=False, cmap='seismic'), raw, 'seismic', (raw.min(),raw.max())),
                              (dict(force_scale=False, vmax=9., cmap='seismic'), raw, 'seismic', (raw.min(),9))]:
        for multi in (True,False):
            fig = show_cam(batch, model, func_cam=hires_cam, multi_fig=multi, **kw)
            np.testing.assert_allclose(arrays(fig), want, atol=1e-5)
            for o in lines(fig):
                assert o.cmap.name==cmap
                np.testing.assert_allclose(o.get_clim(), clim, atol=1e-5)
    positive = show_cam(batch, model, force_scale=False)
    assert {o.cmap.name for o in lines(positive)}=={'Spectral_r'}
    for bad in ('maxx', 2):
        with pytest.raises(ValueError, match='force_scale'): show_cam(batch, model, func_cam=hires_cam, force_scale=bad)

# what is explained, and what the titles say: fault 15

wrong = (y[:2]+1)%3 # labels that the model does not predict
sure = model(x[:2]).softmax(1).detach()
told = [f'{i2o(c)} ({p:.2f})' for c,p in zip(y[:2], sure.amax(1))]

def test_model_predicts_the_planted_class(): assert torch.equal(sure.argmax(1), y[:2])

@pytest.mark.parametrize('labels,kw,want', [
    (y[:2], {}, ['',  '']),
    (y[:2], dict(preds=True), [f'\npredicted {o}' for o in told]),
    (wrong, {}, [f'\npredicted {o}' for o in told]),
    (wrong, dict(preds=False), ['', '']),
    (y[:2], dict(y=None), ['', '']),
    (y[:2], dict(y=2), ['\nexplained Wave']*2),
    (y[:2], dict(y=[0,0]), ['', '\nexplained Gun']),
    (y[:2], dict(y=prob(1)), ['\nexplained Point', '']),
    (y[:2], dict(y=lambda out: out[:,0]), ['', '']),
    (wrong, dict(y=None, preds=False), [f'\nexplained {i2o(o)}' for o in y[:2]]),
    (y[:2], dict(confidence=['a','b'], preds=True), [f'\na\npredicted {told[0]}', f'\nb\npredicted {told[1]}'])])
def test_titles_fault_15(labels, kw, want):
    fig = show_cam((x[:2],labels), model, i2o=i2o, multi_fig=True, **kw)
    assert titles(fig)==[f'[{i2o(o)}] - CAM - mean{w}' for o,w in zip(labels, want)]

def test_title_of_one_figure_tells_wrong_predictions():
    assert titles(show_cam((x[:2],wrong), model, i2o=i2o))==[f'[Point - Wave] - CAM - mean\npredicted {told[0]} - {told[1]}']

def test_without_labels_the_predictions_are_explained():
    fig = show_cam(x[:2], model, i2o=i2o, func_cam=grad_cam_acts, multi_fig=True)
    assert titles(fig)==[f'[{i2o(o)}] - GRAD-CAM - mean\npredicted {t}' for o,t in zip(y[:2], told)]
    np.testing.assert_allclose(arrays(fig), grad_cam_acts(x[:2], None, model)[:,0], atol=1e-6)

@pytest.mark.parametrize('target', [None, 2, [2,0], torch.tensor([2,0]), prob(2), lambda out: out[:,0]-out[:,1]])
def test_any_target_is_explained_fault_15(target):
    fig = show_cam((x[:2],wrong), model, func_cam=hires_cam, y=target, force_scale=False)
    np.testing.assert_allclose(arrays(fig), hires_cam(x[:2], target, model)[:,0], atol=1e-6)
    fig = show_cam((x[:2],wrong), model, func_cam=hires_cam, force_scale=False)
    np.testing.assert_allclose(arrays(fig), hires_cam(x[:2], wrong, model)[:,0], atol=1e-6)

def test_wrong_targets():
    for kw,msg in [(dict(y='lable'), "'label'.*got 'lable'"), (dict(y=7), 'class 7 is out of range'), (dict(y=[0]), '1 classes for 2 items')]:
        with pytest.raises(ValueError, match=msg): show_cam(batch, model, func_cam=grad_cam_acts, **kw)
    with pytest.raises(ValueError, match='class 7 is out of range'): show_class_cams((x[0],7), model)

def test_regression():
    m = tiny_cnn(n_classes=1)
    value = m(x[:2])[:,0].tolist()
    for flat in (m, nn.Sequential(*m, nn.Flatten(0))):
        fig = show_cam((x[:2],torch.tensor([1.5,2.])), flat, layer=3, func_cam=grad_cam_acts, multi_fig=True)
        assert titles(fig)==[f'[{a}] - GRAD-CAM - mean\npredicted {v:.3g}' for a,v in zip(['1.5','2'], value)]
    assert titles(show_cam((x[:2],y[:2]), m, func_cam=grad_cam_acts, preds=False, y=None))==['[0 - 1] - GRAD-CAM - mean']
    fig = show_class_cams(x[:1], m)
    assert [o.get_text() for o in fig.axes[1].get_yticklabels()]==[f'{value[0]:.3g}'] and titles(fig)==[f'[{value[0]:.3g}] - Grad-CAM']

def test_an_odd_output_needs_a_function():
    class Odd(nn.Module):
        def __init__(self): super().__init__(); self.m = tiny_cnn(n_classes=3)
        def forward(self, x): return dict(out=self.m(x))
    odd = Odd()
    with pytest.raises(ValueError, match='got dict: pass labels and `preds=False`, and a function'): show_cam(batch, odd, 'm.3')
    fig = show_cam(batch, odd, 'm.3', func_cam=grad_cam_acts, y=lambda out: out['out'][:,1], preds=False)
    np.testing.assert_allclose(arrays(fig), grad_cam_acts(x[:2], 1, odd.m, 3)[:,0], atol=1e-6)

# a function of one's own

def test_plain_function_gets_all_by_position():
    calls = []
    def mine(*args):
        calls.append(args)
        assert not any(o.training for o in args[2].modules())
        return args[0].abs()
    fig = show_cam(batch, model, 3, mine, 'max', False, (0,2))
    assert titles(fig)==['[0 - 1] - mine - max']
    np.testing.assert_allclose(arrays(fig), x[:2,0].abs())
    for i,(x_,y_,m,layer,*rest) in enumerate(calls):
        assert torch.equal(x_, x[i]) and y_.ndim==0 and y_.item()==y[i].item() and m is model and layer==3 and rest==['max',False,(0,2)]
    show_cam(batch, model, None, mine)
    assert calls[-1][3] is model[3]
    mine.name = 'My own'
    assert titles(show_cam(batch, model, 3, mine))==['[0 - 1] - My own - mean']

def test_plain_function_may_use_backward():
    "The map of the seed's form: hooks, a backward pass, gradients in the parameters"
    def seed_form(x, y, model, layer, reduction, force_scale, scale_range):
        kept = {}
        a = model[layer].register_forward_hook(lambda m,i,o: (o.retain_grad(), kept.update(a=o))[0])
        model(x[None])[0,y].backward()
        a.remove()
        return (kept['a'].grad.mean(2, keepdim=True)*kept['a']).mean(1)
    fig = show_cam(batch, model, 3, seed_form)
    np.testing.assert_allclose(arrays(fig), grad_cam_acts(*batch, model, 3)[:,0], atol=1e-5)

def test_the_model_is_as_found_when_a_function_raises():
    m = tiny_cnn(n_classes=3).train()
    m.insert(1, nn.BatchNorm1d(8))
    m[0].weight.grad = torch.ones_like(m[0].weight)
    m[0].bias.requires_grad_(False)
    before = model_state(m)
    def bad(x, y, model, *args):
        model.train()
        model(x[None].repeat(2,1,1))[0,y].backward()
        raise RuntimeError('my fault')
    with pytest.raises(RuntimeError, match='my fault'): show_cam(batch, m, 3, bad)
    same(before, model_state(m))
    show_cam(batch, m, 3); show_class_cams(batch, m)
    same(before, model_state(m))

# cost: fault 17

@pytest.mark.parametrize('func_cam', [cam_acts, grad_cam_acts, hires_cam])
def test_one_pass_for_all_series_fault_17(func_cam):
    m = Counter(tiny_cnn(n_classes=3))
    show_cam((x,y), m, func_cam=func_cam)
    m.passes = m.rows = 0
    show_cam((x,y), m, func_cam=func_cam, multi_fig=True)
    assert (m.passes,m.rows)==(2,48)
    show_cam((x,y), m, func_cam=func_cam, preds=False)
    assert (m.passes,m.rows)==(3,72)

# what is drawn

def test_series_drawn_may_be_others():
    fig = show_cam(batch, model, xs=10+5*x[:2], t=np.arange(64)*.5)
    for o,s in zip(lines(fig), x): np.testing.assert_allclose([p.vertices[1] for p in o.get_paths()], np.stack([np.arange(64)*.5,10+5*s[0]], 1), rtol=1e-6)
    np.testing.assert_allclose(arrays(fig), unit(by_hand(x[:2])), atol=1e-5)
    own = plt.figure()
    assert show_cam(batch, model, fig=own) is own
    plt.close(own)

def test_lengths():
    padded = x[:3].clone(); padded[1,:,40:] = 5
    fig = show_cam((padded,y[:3]), model, func_cam=hires_cam, lengths=torch.tensor([64,40,64]), multi_fig=True, preds=True)
    assert [len(o.get_array()) for o in lines(fig)]==[64,40,64]
    np.testing.assert_allclose(lines(fig)[1].get_array(), unit(hires_cam(x[1,:,:40], y[1], model)[0].numpy()), atol=1e-5)
    p = model(x[1:2,:,:40]).softmax(1).amax()
    assert titles(fig)[1].endswith(f'({p:.2f})')
    fig = show_class_cams((padded,y[:3]), model, lengths=[64,40,64])
    assert [o.axes[1].collections[0].get_array().shape for o in subs(fig)]==[(3,64),(3,40),(3,64)]

@settings(deadline=None, max_examples=15)
@given(st.integers(1,7), st.booleans(), st.sampled_from([1,2,3,64]), st.booleans())
def test_one_figure_with_one_map_a_series(n, multi, size, scatter):
    "Any number of series of any length, in either mode"
    m = nn.Sequential(nn.Conv1d(1,4,3,padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3))
    fig = show_cam((x[:n,:,:size],y[:n]), m, layer=1, multi_fig=multi, scatter=scatter)
    assert len(fig.axes)==(n if multi else 1)+1
    drawn = [o for ax in fig.axes[:-1] for o in ax.collections if isinstance(o, SeriesLine)!=scatter]
    if not scatter: assert [len(o.get_array()) for o in drawn]==[size]*n
    else: assert [len(o.get_offsets()) for o in drawn]==[size]*n

def subs(fig): return [o for o in fig.subfigs if len(o.axes)>1] # without the colour bar's
def strips(fig): return np.stack([np.asarray(o.axes[1].collections[0].get_array()) for o in subs(fig)])

# what a user may get wrong, or bring

def untouched(*args, **kwargs): raise AssertionError('the model was asked before the arguments were checked')

@pytest.mark.parametrize('kw,msg', [
    (dict(method=hires_cam), "no parameter 'method'. Did you mean 'func_cam'"), (dict(linewidht=2), "no parameter 'linewidht'. Did you mean 'linewidth'"),
    (dict(target=1), "no parameter 'target'. Did you mean 'y'"), (dict(color='r'), "takes no 'color'.*choose `cmap`"), (dict(linestyles='doted'), "got 'doted'"),
    (dict(func_cam='gradcam'), "must be a function.*got 'gradcam'. Did you mean 'grad_cam'"), (dict(func_cam=None), 'got None. There is '),
    (dict(reduction=lambda t: t), 'two arguments'), (dict(i2o=3), '`i2o` must be a function'), (dict(savefig=''), "got ''"), (dict(savefig='fig.doc'), 'must end in a format'),
    (dict(figsize=5), 'got 5'), (dict(figsize=(1,0)), 'above 0'), (dict(cmap='seismc'), "'seismic'"), (dict(style='bands'), "'band'"),
    (dict(ax=1, multi_fig=True), '`axs`, one for each'), (dict(axs=[1,2,3]), '`axs` must hold 2 axes'), (dict(fig=1, figsize=(3,3)), '`figsize` is the size of a new figure'), (dict(ax=1, axs=[1]), '`axs`, one for each'),
    (dict(savefig='/no/such/fig.png'), 'There is no folder `/no/such`'), (dict(xs=x[:1]), '`xs` must hold'), (dict(xs=x[:2,:,1:]), '`xs` must hold')])
def test_wrong_arguments_are_refused_before_any_work(kw, msg):
    with pytest.raises((TypeError,ValueError,FileNotFoundError), match=msg): show_cam(batch, untouched, **kw)

@pytest.mark.parametrize('kw,msg', [(dict(confidence=.5), 'each of the 2 series, got 0.5'), (dict(confidence='ab'), "got 'ab'"), 
                                    (dict(i2o={0:'a'}), 'no name for class 1'), (dict(i2o=['a']), 'no name for class 1'), (dict(t=['2024']*64), 'pass numbers or datetimes')])
def test_wrong_values(kw, msg):
    with pytest.raises(ValueError, match=msg): show_cam(batch, model, **kw)

@pytest.mark.parametrize('b,msg', [(None, 'got NoneType'), ('x', 'got str'), ({}, 'got dict'), (torch.utils.data.DataLoader(x), 'got DataLoader.*next'), ((x[:2],torch.tensor([0,7])), 'class 7 is out of range'),
                                   ([x[0],x[0].repeat(2,1)], 'differ in more than their length')])
def test_no_batches(b, msg):
    for show in (show_cam, show_class_cams):
        with pytest.raises(ValueError, match=msg): show(b, model)

def test_own_titles_and_widths_win():
    assert titles(show_cam(batch, model, title='mine'))==['mine']
    fig = show_cam(batch, model, multi_fig=True, title='all', titles=['a','b'])
    assert titles(fig)==['a','b'] and fig.get_suptitle()=='all'
    assert titles(show_class_cams(x[0], model, title='mine'))==['mine'] and titles(show_class_cams(batch, model, titles=['a','b']))==['a','b']
    for k in ('lw','linewidths','linewidth'): assert {o.get_linewidth()[0] for o in lines(show_cam(batch, model, **{k:2}))}=={2}
    for multi in (True,False):
        fig = show_cam((x[:2].repeat(1,2,1),y[:2]), tiny_cnn(2,3), multi_fig=multi, legend=False)
        assert not fig.legends and not any(ax.get_legend() for ax in fig.axes)

def test_limits_are_what_the_scale_promises():
    "A flat map is not drawn as a rainbow"
    def flat(x, *args): return 1 + 1e-3*x
    for func,lim in [(flat,(0,1)), (lambda x,*args: -x, (-1,1))]:
        for cmap in (None,'viridis'): assert {o.get_clim() for o in lines(show_cam(batch, model, func_cam=func, force_scale='max', cmap=cmap))}=={lim}
    fig = show_cam(batch, model, func_cam=flat, force_scale='max')
    assert arrays(fig).max()==pytest.approx(1) and arrays(fig).min()>.99
    for scale in ('item','class'): assert subs(show_class_cams(batch, model, method=flat, scale=scale))[0].axes[1].collections[0].get_clim()==(0,1)
    assert lines(show_cam(batch, model, force_scale='max', vmax=2))[0].get_clim()==(0,2)

def test_plain_functions_are_scaled():
    for how,want in [(True,(0,1)), ('max',(-1,1))]:
        a = arrays(show_cam(batch, model, func_cam=lambda x,*args: 50*x, force_scale=how))
        np.testing.assert_allclose(a, unit(x[:2,0].numpy()) if how is True else x[:2,0]/x[:2,0].abs().amax(1, keepdim=True), atol=1e-6)
        assert want[0]<=a.min() and a.max()<=want[1]

def test_files(tmp_path, monkeypatch):
    show_cam(batch, model, savefig=(out := io.BytesIO()))
    assert out.getvalue()[:4]==b'\x89PNG'
    monkeypatch.setenv('HOME', str(tmp_path))
    show_cam(batch, model, savefig='~/fig')
    assert [o.name for o in tmp_path.iterdir()]==['fig.png']
    with monkeypatch.context() as m:
        m.setattr('os.access', lambda *args: False)
        with pytest.raises(PermissionError, match='cannot be written'): show_cam(batch, untouched, savefig=tmp_path/'b.png')
    def full(*args, **kwargs): raise OSError(28, 'No space left on device', str(args[1]))
    monkeypatch.setattr(Figure, 'savefig', full)
    with pytest.raises(OSError, match='No space left.*c.png') as e: show_cam(batch, model, savefig=tmp_path/'c.png')
    assert e.value.filename==str(tmp_path/'c.png')

def test_dollars_are_no_mathematics():
    fig = show_cam(batch, model, i2o=['US$ a_b^c','$x^2$',''], multi_fig=True)
    for ax,want in zip(fig.axes, ['[US$ a_b^c]','[$x^2$]']):
        assert ax.title._preprocess_math(ax.get_title().split(' - ')[0])==(want, False)
    assert find_i2o(['a$'])(torch.tensor(0))==r'a\$' and find_i2o(['a long class name'], 8)(torch.tensor(0))=='a long …'

def test_probabilities_are_not_softmaxed_again():
    fig = show_cam(batch, nn.Sequential(model, nn.Softmax(1)), '0.3', i2o=i2o, preds=True, multi_fig=True)
    assert titles(fig)==[f'[{i2o(c)}] - CAM - mean\npredicted {t}' for c,t in zip(y, told)]

def test_binary_logit():
    m,labels = tiny_cnn(n_classes=1),torch.tensor([0,1])
    p = m(x[:2])[:,0].sigmoid().tolist()
    want = [f'predicted {int(q>.5)} ({max(q,1-q):.2f})' for q in p]
    assert [t.splitlines()[1] for t in titles(show_cam((x[:2],labels), m, preds=True, multi_fig=True))]==want
    assert [t.splitlines()[1] for t in titles(show_cam((x[:2],labels), nn.Sequential(*m, nn.Sigmoid()), 3, preds=True, multi_fig=True))]==want
    fig = show_class_cams((x[:2],labels), m, method=hires_cam, scale=None)
    raw = hires_cam(x[:2], None, m)[:,0]
    np.testing.assert_allclose(strips(fig), torch.stack([-raw,raw], 1), atol=1e-6)
    assert [o.get_text() for o in fig.subfigs[0].axes[1].get_yticklabels()]==[f'0 ({1-p[0]:.2f})',f'1 ({p[0]:.2f})']

def test_several_labels():
    many = torch.tensor([[1,0,1],[0,0,0]])
    fig = show_cam((x[:2],many), model, i2o=i2o, y=0, preds=True, multi_fig=True)
    assert titles(fig)==['[Gun + Wave] - CAM - mean\nexplained Gun','[none] - CAM - mean\nexplained Gun']
    assert titles(show_cam((x[:2],torch.tensor([[.5,2],[1,3]])), model, y=None, multi_fig=True))[0].startswith('[0.5, 2] - CAM')
    with pytest.raises(ValueError, match='has 3 labels: name what is explained'): show_cam((x[:2],many), model)
    assert titles(show_class_cams((x[:2],many), model, i2o=i2o))[0]=='[Gun + Wave] - Grad-CAM'

def test_explained_is_not_told_twice():
    fig = show_cam((x[:2],wrong), model, i2o=i2o, y=None, multi_fig=True)
    assert titles(fig)==[f'[{i2o(o)}] - CAM - mean\npredicted {t}' for o,t in zip(wrong, told)]

# where it is drawn

def test_axes_of_ones_own():
    fig = Figure((8,4)); axs = fig.subplots(2, 2)
    assert show_cam(batch, model, ax=axs[0,0]) is fig and len(lines(fig))==2 and axs[0,0].get_title()=='[0 - 1] - CAM - mean'
    assert [len(o.collections) for o in axs.flat]==[2,0,0,0]
    show_cam(batch, model, axs=axs[1], colorbar=False)
    assert [o.get_title() for o in axs[1]]==['[0] - CAM - mean','[1] - CAM - mean'] and len(fig.axes)==5
    np.testing.assert_allclose(np.stack([o.collections[0].get_array() for o in axs[1]]), unit(by_hand(x[:2])), atol=1e-5)
    top,low = Figure((8,4)).subfigures(2)
    assert show_cam(batch, model, fig=top) is top and show_cam(batch, model, multi_fig=True, fig=low) is low and len(top.axes)==2 and len(low.axes)==3
    sub, = show_class_cams(x[0], model, fig=low).subfigs
    assert len(sub.axes)==3

@pytest.mark.parametrize('style', ['line','scatter','band','strip'])
def test_styles_have_the_same_map(style):
    fig = show_cam(batch, model, multi_fig=True, style=style, alpha='map' if style!='strip' else .5, fs=10)
    want = unit(by_hand(x[:2]))
    for ax,o in zip(fig.axes, want):
        got = [np.ravel(c.get_array()) for c in ax.collections if c.get_array() is not None and np.size(c.get_array())==64]
        assert any(np.allclose(g, o, atol=1e-5) for g in got) and ax.get_xlim()[1]<8

def apart(fig):
    "Titles stay on the page and off each other and the axes; axes, and the names of their ticks, stay off other axes"
    matplotlib.backends.backend_agg.FigureCanvasAgg(fig).draw()
    subs = fig.subfigs or [fig]
    axs = [ax for f in subs for ax in f.axes]
    titles = [o.get_window_extent().padded(-1) for o in [*(ax.title for ax in axs), *(f._suptitle for f in subs)] if o and o.get_text()]
    inner,page = [ax.bbox.padded(-1) for ax in axs],fig.bbox.padded(1)
    for i,a in enumerate(titles):
        assert page.x0<=a.x0 and a.x1<=page.x1 and page.y0<=a.y0 and a.y1<=page.y1
        assert not any(a.overlaps(b) for b in [*titles[i+1:],*inner])
    for i,ax in enumerate(axs):
        names = [o.get_window_extent().padded(-1) for o in ax.get_yticklabels() if o.get_text()]
        assert not any(a.overlaps(b) for a in [inner[i],*names] for j,b in enumerate(inner) if j!=i)

@pytest.mark.parametrize('n,multi', [(1,True),(1,False),(5,True),(64,False)])
def test_titles_and_bars_never_overlap(n, multi):
    names = ['a class with a really long name, too long for a small picture','Point','x'*80]
    xs,ys = x[:1].repeat(n, 1, 1),y.repeat(3)[:n]
    fig = show_cam((xs,ys), model, i2o=names, preds=True, multi_fig=multi, confidence=['a remark that goes on and on']*n, **dict(title='All series of the batch') if multi else {})
    apart(fig)

@pytest.mark.parametrize('n', [1,3,5])
def test_titles_and_strips_never_overlap(n):
    names = ['a class with a really long name, too long for a small picture','Point','x'*80]
    fig = show_class_cams((x[:n],y[:n]), model, i2o=names)
    apart(fig)

def test_saved_files_are_small(tmp_path):
    "Raster in vector files at the resolution asked for"
    long = x[:1].repeat(1, 1, 400)
    for kind,most in [('png',150_000),('svg',400_000),('pdf',250_000)]:
        show_cam((long,y[:1]), model, savefig=tmp_path/f'a.{kind}')
        assert 1000<(tmp_path/f'a.{kind}').stat().st_size<most, kind
    for dpi in (50,200):
        show_cam(batch, model, savefig=tmp_path/f'{dpi}.png', dpi=dpi)
        assert plt.imread(tmp_path/f'{dpi}.png').shape[:2]==(4*dpi,6*dpi)
    show_class_cams(batch, model, savefig=tmp_path/'c.png', dpi=20)
    assert plt.imread(tmp_path/'c.png').shape[1]<300

# several models

nets = [model] + [fit_tiny(tiny_cnn(n_classes=3, seed=i), x, y, n_steps=20) for i in (1,2)]

def test_disagreement_is_drawn():
    maps = np.stack([hires_cam(x[:2], y[:2], o)[:,0].numpy() for o in nets])
    mean,std = maps.mean(0),maps.std(0)
    size = np.ptp(mean, axis=1, keepdims=True)
    for m in (model, Ensemble(nets)):
        fig = show_cam(batch, m, func_cam=over_models(hires_cam, nets), i2o=i2o, multi_fig=True)
        assert titles(fig)==['[Gun] - HiResCAM over 3 models','[Point] - HiResCAM over 3 models']
        np.testing.assert_allclose(arrays(fig), unit(mean), atol=1e-4)
        for ax,s,o in zip(fig.axes, std/size, x[:2,0].numpy()):
            band = next(c for c in ax.collections if c.get_array() is None)
            v = np.concatenate([p.vertices for p in band.get_paths()])
            half = np.array([np.ptp(v[np.isclose(v[:,0], t)][:,1])/2 for t in range(64)])
            np.testing.assert_allclose(half, s*np.ptp(o), atol=1e-4) # the range of colours is 1
    assert not any(c.get_array() is None for ax in show_cam(batch, model, multi_fig=True).axes[:2] for c in ax.collections)
    p = torch.stack([o(x[:2]).softmax(1) for o in nets]).mean(0).amax(1)
    assert [t.splitlines()[1] for t in titles(show_cam(batch, Ensemble(nets), func_cam=over_models(cam_acts, nets), preds=True, multi_fig=True))]==[f'predicted {c} ({q:.2f})' for c,q in zip(y, p)]

def test_an_ensemble_has_no_layer_of_its_own():
    for show in (show_cam, show_class_cams):
        with pytest.raises(ValueError, match=r'Ensemble is 3 networks.*over_models\(method, model\)'): show(batch, Ensemble(nets))
    fig = show_class_cams(batch, Ensemble(nets), method=over_models(hires_cam, nets), scale=None)
    want = np.stack([np.stack([hires_cam(x[:2], c, o)[:,0].numpy() for o in nets]).mean(0) for c in range(3)], 1)
    np.testing.assert_allclose(strips(fig), want, atol=1e-5)
