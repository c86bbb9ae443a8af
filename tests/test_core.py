"Floor 0: the tensor functions everything shares. ORIGIN's faults 11 and 12"
import random
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from tsviz.core import (Contrast, as_batch, as_plain, baselines, did_you_mean, draw_noise, find_baseline, find_bs, find_reduction, in_passes, keep_random,
                        out_of_memory, pass_steps, prob, reduce_acts, reductions, scale_acts, step_mask, upsample)

class Sub(Tensor): pass
few = settings(max_examples=40, deadline=None)
maps = st.tuples(st.integers(1,4), st.integers(1,3), st.integers(1,9)).flatmap(
    lambda s: arrays(np.float32, s, elements=st.floats(-1e6, 1e6, width=32))).map(torch.from_numpy)

def test_plain():
    t = torch.ones(2, requires_grad=True).as_subclass(Sub)
    for o in (t, t*2): assert type(as_plain(o)) is Tensor and not as_plain(o).requires_grad
    assert torch.equal(as_plain(np.arange(3)), torch.arange(3)) and as_plain(np.int64(3)).item()==3 and as_plain([1,2]).tolist()==[1,2]

@pytest.mark.parametrize('shape', [(2,3,4), (3,4)])
def test_as_batch(shape):
    a = np.arange(np.prod(shape)).reshape(shape)
    for o,dtype in ((a, torch.float32), (a.astype(np.float64), torch.float64), (torch.from_numpy(a).bool(), torch.float32), (torch.from_numpy(a).half(), torch.float16)):
        assert as_batch(o).dtype==dtype and as_batch(o).shape==(2,3,4)[:len(shape)] if len(shape)==3 else (1,3,4)
    got = as_batch(torch.from_numpy(a).as_subclass(Sub), torch.zeros(1, dtype=torch.float64))
    assert type(got) is Tensor and got.dtype==torch.float64 and np.array_equal(got.reshape(shape).numpy(), a)

@pytest.mark.parametrize('x,match', [
    (torch.zeros(5), r'got shape \(5,\): add the channel'), (torch.zeros(1,2,3,4), r'got shape \(1, 2, 3, 4\)'), (torch.zeros(0,2,3), 'empty'), (torch.zeros(2,1,0), 'empty'),
    (torch.zeros(2,3, dtype=torch.complex64), 'real'), (torch.tensor([[0,1,float('nan')],[0,float('inf'),0]]), 'holds 2 NaN or infinite values, the first at item 0, channel 0, step 2')])
def test_bad_series(x, match):
    with pytest.raises(ValueError, match=match): as_batch(x)

def test_reductions_by_hand():
    "Fault 11: the four of the origin; the median is the lower of the two middle values"
    t = torch.tensor([[[1.,5],[2,6],[9,0],[4,3]]])
    want = dict(mean=[4.,3.5], median=[2.,3.], max=[9.,6.], mean_max=[6.5,4.75])
    assert want.keys()==reductions.keys()
    for k,v in want.items():
        assert reduce_acts(t, k).tolist()==[[v]]
        assert torch.equal(reduce_acts(t.transpose(1,2), k, dim=2), reduce_acts(t, k).transpose(1,2))
        assert torch.equal(reduce_acts(t, find_reduction(k)), reduce_acts(t, k))
    assert reduce_acts(t, lambda t,dim: t.amin(dim)).tolist()==[[[1.,0.]]]

@pytest.mark.parametrize('bad', ['men', 'Mean', None, 3, ''])
def test_unknown_reduction(bad):
    "Fault 11: not in silence, and not UnboundLocalError"
    with pytest.raises(ValueError, match=r"function \(t, dim\) or one of \['mean', 'median', 'max', 'mean_max'\], got"): reduce_acts(torch.zeros(1,2,3), bad)

def test_did_you_mean():
    assert did_you_mean('sesmic', ['seismic','hot']) == " Did you mean 'seismic'?" and "'hot'" in did_you_mean('zzz', ['seismic','hot'])

def test_scale_by_hand():
    a = torch.tensor([[[0.,2,4]], [[-1,-3,-2]], [[7,7,7]]])
    assert scale_acts(a).tolist()==[[[0,.5,1]], [[1,0,.5]], [[0,0,0]]]
    assert scale_acts(a, (-1,3)).tolist()==[[[-1,1,3]], [[3,-1,1]], [[-1,-1,-1]]]
    assert scale_acts(a, how='max')[:2].tolist()==[[[0,.5,1]], [[-1/3,-1,-2/3]]] or torch.allclose(scale_acts(a, how='max')[1], torch.tensor([-1/3,-1,-2/3]))
    assert scale_acts(a, how=False) is a
    assert not scale_acts(torch.zeros(2,1,3), how='max').any()
    two = torch.tensor([[[0.,1],[2,4]]]) # one scale for all channels of an item
    assert scale_acts(two).tolist()==[[[0,.25],[.5,1]]]

def test_scale_leaves_padding_out():
    a = torch.tensor([[[1.,2,3,99]], [[-5,5,-99,torch.nan]]])
    assert scale_acts(a, lengths=torch.tensor([3,2])).tolist()==[[[0,.5,1,0]], [[0,1,0,0]]]
    assert scale_acts(a, how='max', lengths=torch.tensor([2,2])).tolist()==[[[.5,1,0,0]], [[-1,1,0,0]]]
    assert step_mask(torch.tensor([3,1]), 3).tolist()==[[[True]*3], [[True,False,False]]]

@pytest.mark.parametrize('how', ['min', 0, 2, None])
def test_unknown_scale(how):
    with pytest.raises(ValueError, match='`force_scale` must be True'): scale_acts(torch.zeros(1,1,3), how=how)

@few
@given(maps, st.floats(-5,5), st.floats(-5,5))
def test_scale_properties(a, lo, hi):
    "Fault 12: finite for every map, a constant one too; the range is reached; order, and each item's independence, are kept"
    s = scale_acts(a, (lo,hi))
    assert s.isfinite().all() and s.shape==a.shape
    eps = 1e-5*(1+abs(lo)+abs(hi))
    assert s.min()>=min(lo,hi)-eps and s.max()<=max(lo,hi)+eps
    for i in range(len(a)):
        if a[i].max()>a[i].min(): assert abs(s[i].flatten()[a[i].argmin()]-lo)<eps and abs(s[i].flatten()[a[i].argmax()]-hi)<eps
        else: assert (s[i]-lo).abs().max()<eps
        assert torch.equal(s[i:i+1], scale_acts(a[i:i+1], (lo,hi)))
    order = a.flatten(1).argsort(1)
    assert (scale_acts(a).flatten(1).gather(1, order).diff(dim=1)>=0).all()
    m = scale_acts(a, how='max')
    assert m.isfinite().all() and m.abs().max()<=1 and torch.equal(m.sign()[m!=0], a.sign()[m!=0])

def test_upsample_by_hand():
    a = torch.tensor([[[0.,1]]])
    assert upsample(a, 4).tolist()==[[[0,.25,.75,1]]] # align_corners=False
    assert upsample(a, 4, 'nearest').tolist()==[[[0,0,1,1]]] and upsample(a, 2) is a
    with pytest.raises(ValueError, match="'linear' or 'nearest'"): upsample(a, 4, 'cubic')

@few
@given(maps, st.integers(1,30), st.sampled_from(['linear','nearest']))
def test_upsample_properties(a, size, mode):
    u = upsample(a, size, mode)
    assert u.shape==(*a.shape[:2], size)
    tol = 1e-5*a.abs().amax((1,2)).view(-1,1,1)+1e-30
    assert (u<=a.amax(-1, keepdim=True)+tol).all() and (u>=a.amin(-1, keepdim=True)-tol).all()
    assert torch.equal(upsample(a[:1], size, mode), u[:1])
    c = torch.full_like(a, 3.)
    assert torch.allclose(upsample(c, size, mode), torch.tensor(3.))

@few
@given(maps, st.sampled_from(sorted(set(baselines)-{'opposite'})), st.integers(0,3))
def test_baselines_are_an_items_own(a, name, seed):
    "Random ones repeat with their seed, and an item's does not depend on its neighbours; the caller's random numbers stay"
    state = torch.get_rng_state()
    b = find_baseline(name, a, seed)
    assert b.shape==a.shape and torch.equal(b, find_baseline(name, a, seed))
    assert (b[-1:]-find_baseline(name, a[-1:], seed)).abs().max() <= 1e-6*a.abs().max()
    assert torch.equal(state, torch.get_rng_state())

def test_baselines_by_hand():
    a = torch.tensor([[[1.,2,6],[0,0,3]]])
    assert not find_baseline('zero', a).any() and find_baseline('mean', a).tolist()==[[[3,3,3],[1,1,1]]]
    p = find_baseline('permuted', a, 1)
    assert sorted(zip(*p[0].tolist()))==sorted(zip(*a[0].tolist())) # whole steps are moved
    e = draw_noise(a, 1, 2)[0]
    assert torch.allclose(find_baseline('noise', a, 2), a.mean(-1, keepdim=True)+a.std(-1, keepdim=True, correction=0)*e)
    for o in (2., 2, torch.tensor(2.), np.full(3,2.), lambda t: t*0+2, torch.full((2,1),2.)): assert torch.equal(find_baseline(o, a), torch.full_like(a, 2))
    with pytest.raises(ValueError, match="Did you mean 'mean'"): find_baseline('maen', a)
    with pytest.raises(ValueError, match='does not broadcast'): find_baseline(torch.zeros(4), a)

def test_keep_random():
    def state(): return torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    before = state()
    with pytest.raises(KeyError):
        with keep_random(): torch.rand(3); np.random.rand(3); random.random(); raise KeyError
    after = state()
    assert torch.equal(before[0], after[0]) and before[1:]==after[1:]

@few
@given(st.integers(0,30), st.integers(1,9), st.integers(1,9))
def test_passes(n, bs, fits):
    "Every row once, in order, in passes of at most `bs`; one that does not fit is halved until it does"
    seen = []
    def fn(rows):
        seen.append(len(rows))
        if len(rows)>fits: raise torch.OutOfMemoryError('full')
        return rows.clone()
    res = list(in_passes(fn, n, bs))
    assert torch.cat([r for r,_ in res]).tolist()==list(range(n)) if n else not res
    assert all(r.tolist()==o.tolist() for r,o in res) and max(seen, default=0)<=bs
    assert bs>fits or len(seen)==-(-n//bs) # nothing is halved without need

def test_passes_that_fail():
    "A single row that does not fit is the caller's to know, and every other error passes at once"
    def full(rows): raise MemoryError(len(rows))
    def broken(rows): raise RuntimeError('shapes differ')
    with pytest.raises(MemoryError, match='^1$'): list(in_passes(full, 5, 4))
    with pytest.raises(RuntimeError, match='shapes differ'): list(in_passes(broken, 5, 4))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not out_of_memory(ValueError("can't allocate memory")) and not out_of_memory(RuntimeError('x'))
    with pytest.raises(RuntimeError) as e: torch.empty(2**60)
    assert out_of_memory(e.value) # what torch really says

def test_find_bs():
    x = torch.zeros(3,2,100)
    assert find_bs(x)==pass_steps['cpu']//100 and find_bs(x, 7)==7 and find_bs(x, np.int64(7))==7 and find_bs(torch.zeros(1,1,10**7))==2
    for o in (0, -1, 2.5, True, 'all'):
        with pytest.raises(ValueError, match=f'an int from 1, or None, got {o!r}'): find_bs(x, o)

def test_contrast_target():
    out = torch.tensor([[1.,5,2],[3.,0,1]])
    assert Contrast(1).resolve(out)(out).tolist()==[5-2, 0-3] and Contrast([1,2], [0,0]).resolve(out)(out).tolist()==[4,-2]
    held = Contrast().resolve(out)
    assert held(-out).tolist()==[-3,-2] and held.take(torch.tensor([1,1,0]))(out[[1,1,0]]).tolist()==[2,2,3]
    p = out.softmax(1)
    assert torch.allclose(Contrast(0, 1, prob(0).of, 'prob').resolve(out)(out), p[:,0]-p[:,1])
    for bad,says in ((Contrast(2,2),'got 2 twice'), (Contrast([0,1],[1,1]),'got 1 twice')):
        with pytest.raises(ValueError, match=says): bad.resolve(out)
    with pytest.raises(ValueError, match='class 3 is out of range'): Contrast(3, 0).resolve(out)(out)
    with pytest.raises(ValueError, match='class 7 is out of range'): Contrast(0, 7).resolve(out)(out)
    with pytest.raises(ValueError, match='two or more outputs'): Contrast().resolve(out[:,:1])
    with pytest.raises(ValueError, match='must be None, an int'): Contrast(0, 1.5)
