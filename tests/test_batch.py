"The forms of a batch, what the model says of it, its maps and the words of its titles"
import warnings
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from fastai.torch_core import TensorBase
from hypothesis import given, strategies as st
from tsviz.batch import *
from tsviz.cam import cam_acts, grad_cam_acts, hires_cam
from tsviz.method import over_models, precomputed
from tsviz.synth import fit_tiny, planted, tiny_cnn

x,y,_ = planted(n=24, n_classes=3, n_steps=64, noise=.1)
model = fit_tiny(tiny_cnn(n_classes=3), x, y, n_steps=60)

def test_forms_of_a_batch():
    for b,n,labels in [((x,y),24,y), ([x,y],24,y), ((x,),24,None), ([(x[0],y[0]),(x[1],y[1])],2,y[:2]), (((x[0],y[0]),(x[1],y[1])),2,y[:2]),
                        ((x[0],y[0]),1,y[:1]), ([x[0],1],1,y[1:2]), (x,24,None), (x[0],1,None), (x.numpy(),24,None), ((x.numpy(),y.tolist()),24,y),
                        ([(x[0],)],1,None), ((x,y[:,None]),24,y), ((TensorBase(x),TensorBase(y)),24,y)]:
        xs,ys,lengths = find_items(b)
        assert torch.equal(xs, x[:n]) and lengths is None and (ys is None if labels is None else torch.equal(ys, labels))
        assert type(xs) is torch.Tensor and type(ys) in (torch.Tensor,type(None))

def test_series_alone_in_a_list():
    for b in ([x[0],x[1],x[2]], (x[0],x[1]), [x[0].numpy(),x[1].numpy()]):
        xs,ys,lengths = find_items(b)
        assert ys is None and torch.equal(xs, x[:len(b)])
    assert find_items([x[0],x[1,:,:9]])[2].tolist()==[64,9]

def test_lengths_of_items():
    xs,_,lengths = find_items([(x[0],y[0]), (x[1,:,:40],y[1]), (x[2,:,:1],y[2])])
    assert lengths.tolist()==[64,40,1] and torch.equal(xs[1,:,:40], x[1,:,:40]) and not xs[1,:,40:].any()
    assert find_batch([(x[0],y[0]), (x[1,:,:40],y[1])], [50,40])[2].tolist()==[50,40] and find_batch(x)[2] is None

@pytest.mark.parametrize('kw,msg', [(dict(xs=x[:1]), 'each of the 24 series'), (dict(xs=x[:,:,1:]), '`xs` must hold a series of 64 steps'), (dict(xs=3), 'got int'), (dict(lengths=[64]), '24')])
def test_what_does_not_fit_a_batch(kw, msg):
    with pytest.raises(ValueError, match=msg): find_batch((x, y), **kw)

def test_names():
    assert find_i2o(['a$'])(torch.tensor(0))==r'a\$' and find_i2o(['a long class name'], 8)(torch.tensor(0))=='a long …'
    assert find_names(find_i2o('abc'), torch.tensor([2,0]))==['c','a'] and find_names(find_i2o(), None, torch.tensor([[.1,.9]]))==['1']
    assert [as_text(o) for o in (1,.12345,torch.tensor(2),torch.tensor(2.5),'x')]==['1','0.123','2','2.5','x']

@pytest.mark.parametrize('n', [1,8,9,64])
def test_a_title_of_many_series_is_short(n):
    notes = [('', [f'c{i}' for i in range(n)], [True]*n)]
    first,second = find_titles([f'n{i}' for i in range(n)], 'CAM', notes, multi_fig=False).splitlines()
    names = [f'n{i}' for i in range(n)]
    assert first==(f"[{' - '.join(names)}] - CAM" if n<=8 else f'[n0 - n1 - n2 - n3 - n4 - n5 - … {n-6} more] - CAM')
    assert second.startswith('c0') and second.count('c')==(n if n<=8 else 6)

# several models

nets = [model] + [fit_tiny(tiny_cnn(n_classes=3, seed=i), x, y, n_steps=20) for i in (1,2)]

def by_hand(method, **kw): # -> mean, standard deviation, raw
    maps = np.stack([method(x, y, o, **kw).numpy() for o in nets])
    return maps.mean(0),maps.std(0)

@pytest.mark.parametrize('method,kw,raw', [(hires_cam,{},{}), (cam_acts,dict(reduction='max'),dict(reduction='max', force_scale=False)), (grad_cam_acts,{},dict(force_scale=False))])
def test_mean_and_deviation_are_scaled_alike(method, kw, raw):
    mean,std = by_hand(method, **raw)
    lo,hi = mean.min((1,2), keepdims=True),mean.max((1,2), keepdims=True)
    top = abs(mean).max((1,2), keepdims=True)
    for how,rng,a,s in [(False,(0,1),mean,std), (True,(0,1),(mean-lo)/(hi-lo),std/(hi-lo)), (True,(-1,3),4*(mean-lo)/(hi-lo)-1,4*std/(hi-lo)),
                        (True,(1,0),1-(mean-lo)/(hi-lo),std/(hi-lo)), ('max',(0,1),mean/top,std/top)]:
        attrs,name,stds = find_maps(over_models(method, nets), x, y, None, force_scale=how, scale_range=rng, **kw)
        np.testing.assert_allclose(attrs, a, atol=1e-4*abs(a).max())
        np.testing.assert_allclose(stds, s, atol=1e-4*abs(a).max())
        assert name==f'{method.name} over 3 models'+(f" - {kw.get('reduction','mean')}" if raw else '')
    assert find_maps(method, x, y, model)[2] is None

def test_deviation_by_hand():
    attrs,stds = torch.tensor([[[2.,4,6,0]],[[5,5,5,5]]]),torch.tensor([[[1.,0,2,0]],[[1,1,1,1]]])
    assert torch.allclose(scale_stds(stds, attrs)[0,0], torch.tensor([1/6,0,1/3,0]))
    assert torch.allclose(scale_stds(stds, attrs, lengths=[3,4])[0,0], torch.tensor([.25,0,.5,0])) and not scale_stds(stds, attrs)[1].any()
    assert torch.allclose(scale_stds(stds, attrs, how='max')[1,0], torch.tensor([.2]*4)) and scale_stds(stds, attrs, how=False) is stds
    with pytest.raises(ValueError, match='scale_range'): find_maps(over_models(hires_cam, nets), x, y, model, scale_range=3)

def test_several_models_of_unequal_series():
    lengths = torch.tensor([64,30]*12)
    attrs,_,stds = find_maps(over_models(hires_cam, nets), x, y, None, force_scale='max', lengths=lengths)
    short,_,std = find_maps(over_models(hires_cam, nets), x[1:2,:,:30], y[1:2], None, force_scale='max')
    assert torch.allclose(attrs[1:2,:,:30], short, atol=1e-5) and torch.allclose(stds[1:2,:,:30], std, atol=1e-5) and not stds[1,:,30:].any() and not attrs[1,:,30:].any()

class Several(nn.Module):
    "Networks whose probabilities are averaged"
    def __init__(self, models): super().__init__(); self.models = nn.ModuleList(models)
    def forward(self, x): return torch.stack([o(x).softmax(1) for o in self.models]).mean(0).log()

def test_several_networks_have_no_common_layer():
    both = Several(nets)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for f in (hires_cam, cam_acts, partial(cam_acts, reduction='max'), lambda x,*args: x):
            with pytest.raises(ValueError, match=r'Several is 3 networks, and no layer is common.*over_models\(method, model\)'): find_maps(f, x, y, both)
        find_maps(hires_cam, x, y, both, 'models.1.3')
        assert torch.equal(find_maps(precomputed(x), x, y, both, force_scale=False)[0], x)
        find_maps(hires_cam, x, y, Several(nets[:1]))

# probabilities

@given(st.lists(st.floats(-9,9), min_size=2, max_size=4))
def test_probabilities(out):
    out = torch.tensor([out])
    p = out.softmax(1)
    assert torch.allclose(find_probs(out), out if (out>=0).all() and abs(out.sum()-1)<1e-3 else p) and torch.equal(find_probs(p), p)
    assert find_probs(out[:,:1]).shape==(1,1) and torch.allclose(find_probs(out[:,:1], torch.tensor([1]))[0,1], out[0,0].sigmoid())

def test_a_padded_batch_tells_its_own_lengths():
    from tsviz.data import TSDataLoaders
    dls = TSDataLoaders.from_numpy([torch.randn(1,n).numpy() for n in (20,24,28,30)], ['a','b','a','b'], valid_idx=[2,3], bs=2, drop_last=False)
    x,y = dls.valid.one_batch()
    assert find_items((x,y))[2].tolist()==[28,30] and find_items(x)[2].tolist()==[28,30]
    assert find_items((x[0],y[0]))[2].tolist()==[28] and find_items((x[:,:,:28],y))[2] is None

def test_a_cell_has_its_own_layer_and_tells_who_failed():
    maps,signed,stds = find_cell('mine', partial(hires_cam, layer=2), x, y, model)
    raw = hires_cam(x, y, model, 2)
    assert torch.allclose(maps, raw/raw.abs().amax((1,2), keepdim=True)) and signed==bool((raw<0).any()) and stds is None
    with pytest.raises(ValueError, match='^mine: '): find_cell('mine', partial(hires_cam, layer=99), x, y, model)
    mean,_,stds = find_cell('two', over_models(hires_cam, [model]*2), x, y, model)
    assert torch.allclose(mean.abs().amax((1,2)), torch.ones(24)) and not stds.any()

def test_what_is_told_asks_the_model_only_where_it_must():
    class Asked(nn.Module):
        n = 0
        def forward(self, x): self.n += 1; return model(x)
    m = Asked()
    target,names,notes = find_told(x, 'label', m, y, find_i2o(), preds=False)
    assert m.n==0 and torch.equal(target, y) and names==[str(o) for o in y.tolist()] and not any(any(t) for *_,t in notes)
    target,names,_ = find_told(x, None, m, None, find_i2o())
    assert torch.equal(target, model(x).argmax(1)) and names==[str(o) for o in target.tolist()]

@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_words_of_trust(won):
    "One sentence a series; as many numbers as are told, however they are told"
    [(what,texts,told)] = trust_notes(torch.tensor(won), 20)
    assert what=='better than ' and all(told) and len(texts)==len(won)
    for n,o in zip(won, texts): assert o==('all 20 random maps' if n==20 else f'{n} of 20 random maps: may be chance' if n>10 else f'only {n} of 20 random maps' if n else 'none of 20 random maps')
    [(what,short,_)] = trust_notes(won, 20, alone=False)
    assert [o.replace(', may be chance', '').replace('only ', '') for o in short]==['all 20' if n==20 else f'{n} of 20' if n else 'none of 20' for n in won]
