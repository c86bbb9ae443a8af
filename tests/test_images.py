"""The main pictures as they were approved, pixel by pixel: `tests/images/*.png`

A picture that is meant to change: `python tests/test_images.py` draws all of them anew (`python tests/test_images.py NAME ...` some); look at what git says has changed
before it is committed. Series, maps and the network are formulas, fonts and styles are matplotlib's own, so that every machine draws the same."""
import json, math, sys
from datetime import date, timedelta
from pathlib import Path
import matplotlib, matplotlib.ft2font, matplotlib.style
matplotlib.use('Agg')
import numpy as np, pandas as pd, pytest, torch, torch.nn as nn
from matplotlib.image import imread
from tsviz.cam import grad_cam_acts, hires_cam, layer_cam
from tsviz.classes import show_class_means, show_dataset, show_importance
from tsviz.curves import show_compare, show_curves
from tsviz.filters import show_feature_maps, show_kernels, show_top_windows
from tsviz.heat import show_class_cams, show_heatmap, show_strips
from tsviz.history import show_history
from tsviz.method import over_models, precomputed
from tsviz.plot import new_fig, show_series
from tsviz.prototype import show_dream, show_maximized
from tsviz.show import show_attrs, show_cam, show_methods
from tsviz.synth import tiny_cnn

folder = Path(__file__).parent/'images'
T,t = 120,np.arange(120)

def bump(at, width): return np.exp(-((t-at)/width)**2)
x = np.stack([bump(40, 9)-.6*bump(70, 12)+.05*np.sin(t*1.7), .8*bump(80, 7)+.1*np.sin(t/5), .3*np.sin(t/9)-bump(100, 5)])
signed = np.stack([bump(40, 12)-.7*bump(72, 10), bump(80, 9), -bump(99, 8)])
heat = abs(signed)
xs,maps = torch.tensor(x[:,None]).float(),torch.tensor(signed[:,None]).float()

def network(scale=1.):
    "`tiny_cnn` with weights that are a formula"
    m = tiny_cnn(n_classes=3)
    with torch.no_grad():
        for i,o in enumerate(m.parameters()): o.copy_(scale*(torch.arange(o.numel())*(1.3+i)).sin().reshape(o.shape)*.5)
    m[-1].weight.data[1].add_(.4)
    return m

def axes(**kwargs):
    fig = new_fig(kwargs.pop('figsize', (5,3)))
    return fig,dict(ax=fig.subplots(), **kwargs)

def series(attr=signed[0], row=0, **kwargs):
    fig,kw = axes(colorbar=True, **kwargs)
    show_series(x[row], attr, **kw)
    return fig

def long_strip():
    v = np.arange(200_000)
    spikes = np.zeros((2,200_000)); spikes[0,123_456],spikes[1,20_000:60_000] = 1,-.6
    return show_strips(np.sin(v/9e3)+.1*np.sin(v/7)+3*(v==60_001), spikes, ['one step','many'], fs=250, figsize=(5,2.4))

def disagreement():
    return show_cam((xs[:2],torch.tensor([0,1])), network(), func_cam=over_models(hires_cam, [network(o) for o in (1,.8,1.3)]), multi_fig=True, figsize=(7,2.4))

def channels_of(n, steps, signed=False):
    "(n,steps) maps of a layer: bumps all over the place, every eighth channel dead"
    k,at = np.arange(n)[:,None],np.linspace(0, 1, steps)
    v = (1+.6*np.sin(3*k))*np.exp(-((at-(k*.37)%1)/.06)**2)*(np.cos(5*k) if signed else k%8>0)
    return v

def filters(*shape): return np.sin(np.arange(np.prod(shape))**1.3/2).reshape(shape)*np.hanning(shape[-1]+2)[1:-1]

def responses(w, fs=1.): return np.linspace(0, fs/2, 65),abs(np.fft.rfft(w, 128))

def inception():
    ws = {f'convs.{i}':filters(2, 2, k) for i,k in enumerate((39,9))}
    return show_kernels(ws, {k:responses(w, 100) for k,w in ws.items()}, labels=['left','right'], figsize=(6,2.2), title='Two lengths')

def windows():
    start = np.array([30,-6,70,95])
    v = np.pad(x[:2], ((0,0),(6,20)))[:,start[:,None]+6+np.arange(40)].transpose(1,0,2)
    return show_top_windows(pd.DataFrame(dict(item=[3,14,8,0], start=start, stop=start+40, activation=[2.41,2.2,1.5,.9], label=['rise','fall','rest',None])), v, n_steps=T, figsize=(4,2.6))

def prototypes():
    "Two classes and two ways: one stays in the range, one leaves it"
    stats = dict(mean=x[:2,None], low=x[:2,None]-.2-abs(signed[:2,None])/2, high=x[:2,None]+.2+abs(signed[:2,None])/2)
    near,far = signed[:2,None]*1.2,4*np.sin(t*1.9)*(.3+heat[:2,None])
    trace = {k: o*(1-np.exp(-np.arange(50)/w))[:,None]*[1,.7]-o/2 for k,o,w in (('no penalty',9,12),('l2',4,6))}
    return show_maximized({'no penalty':far, 'l2':near}, stats, ['rise','fall'], trace, {'l2':['p = 0.998','p = 0.994']}, fs=60, title='Prototypes', figsize=(6,2.8))

def epochs(n):
    "Maps (2,1,T) that find their place"
    at = lambda e: np.exp(-((t-np.array([[40],[80]])-30*np.exp(-e/3))/(9+20*np.exp(-e/4)))**2)
    return [torch.tensor((1+e)*at(e)[:,None]) for e in range(n)]

def dataset():
    classes,place = np.repeat([0,1,2], [12,3,25]),30*np.sin(np.arange(40)*1.7)
    maps = np.exp(-((t-60-place[:,None]*np.array([.1,1,.4])[classes][:,None])/9)**2)*np.cos(np.arange(40)%9)[:,None]
    return show_dataset(maps, classes, ['rise','fall','rest'], .6+.4*np.sin(np.arange(40)*2.3)**2, np.arange(40)%11==0, fs=60, title='All', figsize=(6,2.6))

def importance(n, **kwargs):
    share = (1.2+np.sin(np.arange(n)/n*9))/np.sum(1.2+np.sin(np.arange(n)/n*9))
    names = pd.RangeIndex(n, name='step') if n>9 else pd.Index(['hip','knee','foot','arm'][:n], name='channel')
    return show_importance(pd.DataFrame(dict(mean=share, lo=.8*share, hi=1.3*share), index=names), title='Importance', **kwargs)

def compared(classes=None, n=50):
    "A table as `compare` gives it: numbers that are a formula, a method that fails a sanity check"
    rows,metrics = ['grad_cam','layer_cam','cam_acts','Random'],dict(deletion=('Deletion',False,None), class_sensitivity=('Class sensitivity',True,.01))
    idx = pd.Index(rows) if classes is None else pd.MultiIndex.from_product([rows,classes])
    v = .4+.3*np.sin(np.arange(2*len(idx))*2.1).reshape(-1,2); v[[o==('cam_acts' if classes is None else ('cam_acts',0)) for o in idx],1] = 0
    df = pd.DataFrame(np.stack([v,v-.06,v+.09], 2).reshape(len(idx), -1), idx, pd.MultiIndex.from_product([metrics,['mean','lo','hi']]))
    df.attrs = dict(metrics={k:dict(name=a, higher_is_better=b, flag=c) for k,(a,b,c) in metrics.items()}, n={o:n for o in idx}, short=[*idx] if n<30 else [])
    return df

def falling():
    "Curves of 40 series that fall at different speeds"
    at = np.linspace(0, 1, 26)
    return {k: np.exp(-at*s*(1+.5*np.sin(np.arange(40)*1.7))[:,None]) for k,s in dict(grad_cam=6, layer_cam=3, Random=1).items()}

days = [date(2024,1,20)+timedelta(days=i) for i in range(T)]
pictures = dict(
    line=series, scatter=lambda: series(scatter=True, cmap='viridis'), band=lambda: series(style='band'), strip=lambda: series(style='strip', unit='mV', fs=60),
    faint=lambda: series(heat[0], alpha='map'), dotted=lambda: series(linestyles='dotted', linewidth=3), plain=lambda: series(None),
    channels=lambda: series(signed, slice(None), labels=['a','b','c'], figsize=(5,3.4)), dates=lambda: series(t=days, title='Days'),
    grid=lambda: show_attrs(xs, maps, ['first','second','third'], figsize=(8,2.4), title='All'),
    one=lambda: show_attrs(xs, maps.abs(), ['first','second','third'], multi_fig=False, figsize=(5,3.4)),
    cam=lambda: show_cam((xs,torch.tensor([0,1,2])), network(), func_cam=precomputed(maps), i2o=['rise','fall','rest'], preds=True, multi_fig=True, figsize=(8,2.6)),
    cam_one=lambda: show_cam((xs[:2],torch.tensor([0,1])), network(), func_cam=grad_cam_acts, i2o=['rise','fall','rest'], figsize=(5,3.4)),
    classes=lambda: show_class_cams((xs[0],0), network(), i2o=['rise','fall','rest'], figsize=(6,3)),
    classes_several=lambda: show_class_cams((xs[:2],torch.tensor([0,1])), network(), method=hires_cam, i2o=['rise','fall','rest'], figsize=(9,2.8)),
    heatmap=lambda: show_heatmap(x, signed, labels=['hip','knee','foot'], units='mV', fs=60, title='Channels', figsize=(6,2.6)),
    heatmap_many=lambda: show_heatmap(np.tile(x, (20,1)), np.tile(heat, (20,1)), figsize=(6,5)),
    strips=lambda: show_strips(x[0], heat, ['one','two','three'], title='Strips', figsize=(6,3)),
    methods=lambda: show_methods(xs[:2], torch.tensor([0,1]), network(), [precomputed(maps), layer_cam, hires_cam], i2o=['rise','fall','rest'], figsize=(8,3.2)),
    long_strip=long_strip, disagreement=disagreement, inception=inception, windows=windows, maximized=prototypes,
    dream=lambda: show_dream(x[:2,None], x[:2,None]+.5*signed[:2,None], ['rise','fall'], fs=60, title='Dreams', figsize=(6,2.2)),
    feature_maps=lambda: show_feature_maps(x[0], {'stem':channels_of(8, T, True), 'body':channels_of(64, 30)}, fs=60, title='Two layers', figsize=(4,3.2)),
    feature_lines=lambda: show_feature_maps(x[0], channels_of(16, 40), style='lines', max_n=6, figsize=(4,2.4)),
    history=lambda: show_history(epochs(25), xs=xs[:2], titles=['rise','fall'], fs=60, title='Training', figsize=(5,2.6)),
    multiples=lambda: show_history(epochs(9), style='multiples', xs=xs[:2], titles=['rise','fall'], max_epochs=3, figsize=(5,2)),
    class_means=lambda: show_class_means(x[:2,None], abs(signed[:2,None])/2+.1, signed[:2,None], ['rise','fall'], [30,1], figsize=(5,2)),
    dataset=dataset, importance=lambda: importance(T, x=x[0], figsize=(4,1.8)), importance_channels=lambda: importance(4, sort=True, figsize=(4,1.6)),
    compare=lambda: show_compare(compared(), title='Methods', figsize=(5,2)), compare_classes=lambda: show_compare(compared([0,1], 12), classes=['rise','fall'], figsize=(6,2.6)),
    curves=lambda: show_curves(falling(), title='Deletion', figsize=(4.5,2.2)))

drawn_with = dict(matplotlib='.'.join(matplotlib.__version__.split('.')[:2]), freetype=matplotlib.ft2font.__freetype_version__)
own = ['default', {'font.family':['sans-serif'], 'font.sans-serif':['DejaVu Sans'], 'text.hinting':'none'}]

def picture(name, path):
    "Draw a picture into a file of 60 dots an inch, whatever the settings of this machine"
    with matplotlib.style.context(own): pictures[name]().savefig(path, dpi=60, metadata={'Software':None})
    return imread(path)[...,:3]

def difference(a, b):
    "Root mean square of what differs, 0 to 255, leaving out what moves by less than a pixel, such as a letter of another version of freetype"
    if a.shape!=b.shape: return math.inf
    blur = lambda o: nn.functional.avg_pool2d(torch.tensor(o).permute(2,0,1), 3, 1, 1)
    return 255*(blur(a)-blur(b)).square().mean().sqrt().item()

def approved(name): return imread(folder/f'{name}.png')[...,:3]

same = json.loads((folder/'drawn_with.json').read_text())==drawn_with if (folder/'drawn_with.json').exists() else True
most = 1.5 if same else 20 # letters of another width move all that stands beside them

@pytest.mark.parametrize('name', pictures)
def test_picture(name, tmp_path):
    d = difference(picture(name, tmp_path/f'{name}.png'), approved(name))
    assert d<most, f'{name} differs by {d:.2f} from {folder.name}/{name}.png, see {tmp_path}: if it should, run `python tests/test_images.py {name}`'

@pytest.mark.parametrize('name,least,change', [
    ('line', 20, dict(cmap='seismic')), ('line', 2, dict(linewidth=3)), ('line', 2, dict(attr=np.roll(signed[0], 2))), ('line', 2, dict(linestyles='dashed')), ('band', 10, dict(attr=np.roll(signed[0], 2), style='band')),
    ('band', 2, dict(style='band', title='Title')), ('faint', 10, dict(attr=heat[0]))])
def test_a_real_change_is_seen(name, least, change, tmp_path, monkeypatch):
    "Another colour map, a thinner line, a map two steps late, dashes, a title: each differs from the approved picture by more than is allowed"
    monkeypatch.setitem(pictures, name, lambda: series(**change))
    assert difference(picture(name, tmp_path/'a.png'), approved(name))>least>1.5

def test_a_lost_step_is_seen(tmp_path, monkeypatch):
    "One step of two hundred thousand"
    v = np.zeros((2,200_000)); v[1,20_000:60_000] = -.6
    s = np.arange(200_000)
    monkeypatch.setitem(pictures, 'long_strip', lambda: show_strips(np.sin(s/9e3)+.1*np.sin(s/7)+3*(s==60_001), v, ['one step','many'], fs=250, figsize=(5,2.4), vmin=-1, vmax=1))
    assert difference(picture('long_strip', tmp_path/'a.png'), approved('long_strip'))>1.5

def test_noise_is_not_a_change():
    "Pixels that differ by a shade"
    a = approved('strips')
    assert difference(a, np.clip(a+np.random.default_rng(0).normal(0, .004, a.shape), 0, 1).astype(np.float32))<1 and difference(a, a)==0

def test_every_image_is_compared(): assert {o.stem for o in folder.glob('*.png')}=={*pictures}

def test_images_are_small(): assert sum(o.stat().st_size for o in folder.glob('*.png'))<760_000

if __name__=='__main__':
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or pictures: picture(name, folder/f'{name}.png')
    (folder/'drawn_with.json').write_text(json.dumps(drawn_with)+'\n')
