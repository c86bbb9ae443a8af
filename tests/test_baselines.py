"What a part of a series is replaced by: every baseline against brute force, and through the methods that use it"
import math
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from common import says
from tsviz.core import baselines, find_baseline, linear_baseline, mean_baseline, needs_mask, opposite, window_mean_baseline
from tsviz.method import TargetScore, contrast, smoothed
from tsviz.perturb import ablation, occlusion, window_shap
from tsviz.score import prob
from tsviz.synth import planted, tiny_cnn

model = tiny_cnn(2, 3)
x,y,_ = planted(5, 2, n_steps=24, n_classes=3, width=10)
pytestmark = pytest.mark.usefixtures('nothing_left_behind')
few = settings(max_examples=60, deadline=None)
# series (B,C,T), and a mask of that shape, of one channel, of one item, or of both
cases = st.tuples(st.integers(1,3), st.integers(1,2), st.integers(1,9)).flatmap(lambda s: st.tuples(
    arrays(np.float64, s, elements=st.floats(-100, 100)),
    st.sampled_from([s, (s[0],1,s[2]), (1,s[1],s[2]), (1,1,s[2])]).flatmap(lambda m: arrays(bool, m))))

def runs(m):
    "Where windows begin and end: [lo,hi) of each run of True"
    edges = np.flatnonzero(np.diff(np.r_[False, m, False].astype(int)))
    return edges.reshape(-1, 2)

def by_run(x, mask, fill):
    "Each channel and each run of replaced steps on its own"
    res = x.copy()
    for b,c in np.ndindex(*x.shape[:2]):
        for lo,hi in runs(np.broadcast_to(mask, x.shape)[b,c]): res[b,c,lo:hi] = fill(x[b,c], lo, hi)
    return res

def straight(s, lo, hi):
    n = len(s)
    if lo==0 and hi==n: return s.mean()
    if lo==0: return s[hi]
    if hi==n: return s[lo-1]
    return np.interp(np.arange(lo, hi), [lo-1,hi], [s[lo-1],s[hi]])

@pytest.mark.parametrize('name,fill', [('linear',straight), ('window_mean', lambda s,lo,hi: s[lo:hi].mean())])
@few
@given(case=cases)
def test_across_any_mask(name, fill, case):
    "On any mask, several windows in a series, each is filled from its own surroundings"
    a,mask = case
    got = find_baseline(name, torch.from_numpy(a), mask=torch.from_numpy(mask))
    assert np.allclose(got, by_run(a, mask, fill), rtol=0, atol=1e-10)
    one = find_baseline(name, torch.from_numpy(a).float(), mask=torch.from_numpy(mask))
    assert one.dtype==torch.float32 and np.allclose(one, got, rtol=0, atol=1e-4)

def test_linear_does_not_look_under_the_window():
    "What stands under it may be anything, also where it is a thousand times larger than the rest"
    mask = torch.zeros(1,1,24, dtype=torch.bool); mask[...,3:9] = True; mask[...,20:] = True
    b = linear_baseline(x, mask)
    assert torch.equal(linear_baseline(x.where(~mask, 1e4*torch.ones(())), mask), b) and torch.equal(x.where(~mask, b), b)
    whole = torch.ones(1,1,24, dtype=torch.bool)
    for o in (linear_baseline, window_mean_baseline):
        for b in (o(x, whole), o(x)): assert torch.allclose(b, mean_baseline(x), atol=1e-6)

def test_which_need_the_mask():
    assert {k for k in baselines if needs_mask(k)}=={'linear','window_mean'}=={k for k,o in baselines.items() if needs_mask(o)}
    for o in (0., torch.zeros(3), np.zeros(3), lambda t: t, opposite(x, y)): assert not needs_mask(o)

@pytest.mark.parametrize('name', sorted(set(baselines)-{'opposite'}))
def test_the_rest_do_not_depend_on_it(name):
    mask = torch.arange(24)<7
    same = torch.equal(find_baseline(name, x, 1, mask[None,None]), find_baseline(name, x, 1))
    assert same==(not needs_mask(name))
    for dtype in (torch.float32, torch.float64): assert find_baseline(name, x.to(dtype), 1, mask[None,None]).dtype==dtype

@pytest.mark.parametrize('name', ['noise','permuted'])
def test_chance_has_a_seed_and_a_generator_of_its_own(name):
    torch.manual_seed(3); state = torch.get_rng_state()
    a,b,c = [find_baseline(name, x, o) for o in (0,0,1)]
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(state, torch.get_rng_state())
    assert torch.equal(find_baseline(name, x[3:4], 1), c[3:4])

def test_noise_has_the_channels_mean_and_spread():
    "Shared by all items once both are taken out; a constant channel stays what it is"
    a = torch.cat([x*3+7, x.new_full((5,1,24), 2.)], 1)
    b = find_baseline('noise', a)
    z = (b-a.mean(-1, keepdim=True))/a.std(-1, keepdim=True, correction=0)
    assert torch.allclose(z[:,:2], z[:1,:2].expand(5,2,24), atol=1e-4) and (b[:,2]==2).all()
    long = torch.randn(1,1,40_000, generator=torch.Generator().manual_seed(1))*3+7
    b = find_baseline('noise', long)
    assert abs(b.mean()-7)<.1 and abs(b.std()-3)<.1

def test_permuted_is_one_order_for_all():
    steps = torch.arange(24.).expand(5,2,24)
    b = find_baseline('permuted', steps, 2)
    assert torch.equal(b, b[:1,:1].expand(5,2,24)) and torch.equal(b[0,0].sort().values, steps[0,0]) and not torch.equal(b, steps)
    assert torch.equal(find_baseline('permuted', x, 2), x[..., b[0,0].long()])

# opposite

refs = torch.stack([torch.full((2,24), float(i)) for i in range(6)])
labels = [0,0,1,1,2,2]

def test_opposite_is_of_another_class():
    "Of every class and seed; an item's reference does not depend on its neighbours"
    for seed in range(8):
        o = opposite(refs, labels, seed=seed)
        b = find_baseline(o, x, y=y)
        got = [labels[int(v)] for v in b[:,0,0]]
        assert all(g!=c for g,c in zip(got, y.tolist())) and all(torch.equal(b[i], refs[int(b[i,0,0])]) for i in range(5))
        assert torch.equal(find_baseline(o, x[[4,1]], y=y[[4,1]]), b[[4,1]])
    assert len({find_baseline(opposite(refs, labels, seed=s), x[:1], y=torch.tensor(0)).mean().item() for s in range(8)})>1

def test_nearest_opposite_by_brute_force():
    g = torch.Generator().manual_seed(0)
    many,its = torch.randn(40, 2, 24, generator=g),torch.arange(40)%3
    b = find_baseline(opposite(many, its, nearest=True), x, y=y)
    for i in range(5):
        want = min((o for o,c in zip(many, its) if c!=y[i]), key=lambda o: ((o-x[i])**2).sum().item())
        assert torch.equal(b[i], want)

def test_opposite_of_the_class_explained():
    "`y=None`: the predicted class; a contrast: the class it speaks for; `prob` too; shorter series get the references' beginning"
    pred = model(x).argmax(1).detach()
    o = opposite(refs, labels)
    want = find_baseline(o, x, y=pred)
    for t in (None, prob(), pred): assert torch.equal(TargetScore(model, t).baseline(o, x), want)
    assert torch.equal(TargetScore(model, 1).baseline(o, x[...,:9]), find_baseline(o, x, y=torch.tensor(1))[...,:9])
    a = contrast(occlusion, 2)(x, 0, model, baseline=o)
    b = find_baseline(o, x, y=torch.tensor(0))
    assert torch.allclose(a, occlusion(x, 0, model, baseline=b)-occlusion(x, 2, model, baseline=b), atol=1e-6)

def test_what_opposite_refuses():
    with says(ValueError, 'no series of a class other than 1'): find_baseline(opposite(refs[2:4], [1,1]), x, y=torch.tensor(1))
    with says(ValueError, 'needs a reference set'): occlusion(x, 0, model, baseline='opposite')
    with says(ValueError, 'needs to know the class'): occlusion(x, lambda out: out[:,0], model, baseline=opposite(refs, labels))
    with says(ValueError, 'too small for series'): occlusion(x, 0, model, baseline=opposite(refs[...,:20], labels))
    with says(ValueError, 'too small for series'): occlusion(x, 0, model, baseline=opposite(refs[:,:1], labels))
    with says(ValueError, 'must be 6 ints'): opposite(refs, labels[:5])
    with says(ValueError, 'must be 6 ints'): opposite(refs, [.5]*6)
    with says(ValueError, 'NaN'): opposite(refs/0., labels)

# through methods

def alone(method, b, **params):
    "Items one by one, each with its own baseline"
    return torch.cat([method(x[i:i+1], y[i:i+1], model, baseline=b[i:i+1], **params) for i in range(5)])

@pytest.mark.parametrize('method', [occlusion, ablation, window_shap], ids=str)
def test_a_tensor_with_a_series_for_each_item(method):
    b = torch.randn(5, 2, 24, generator=torch.Generator().manual_seed(0))
    want = alone(method, b)
    top = want.abs().max()
    assert (method(x, y, model, baseline=b)-want).abs().max() <= 2e-6*top
    assert (method(x, y, model, baseline=b.numpy())-want).abs().max() <= 2e-6*top
    ns = [24,11,24,11,17]
    got = method(x, y, model, baseline=b, lengths=ns)
    for i,n in enumerate(ns):
        one = method(x[i:i+1,:,:n], y[i:i+1], model, baseline=b[i:i+1,:,:n])
        assert (got[i:i+1,:,:n]-one).abs().max() <= 2e-6*one.abs().max() and not got[i,:,n:].any()

@pytest.mark.parametrize('name', sorted(set(baselines)-{'opposite'}))
def test_lengths(name):
    "An item that is cut sees the baseline of what is left of it"
    ns = [24,11,24,11,17]
    got = occlusion(x, y, model, baseline=name, lengths=ns, seed=3)
    for i,n in enumerate(ns):
        one = occlusion(x[i,:,:n], y[i], model, baseline=name, seed=3)
        assert (got[i,:,:n]-one).abs().max() <= 2e-6*one.abs().max() and not got[i,:,n:].any()

def test_smoothed():
    "The noisy copies keep their item's baseline; n_samples=1 is the map of the one copy"
    from tsviz.core import draw_noise
    b = torch.randn(5, 2, 24, generator=torch.Generator().manual_seed(0))
    noisy = x + .1*(x.amax(-1, keepdim=True)-x.amin(-1, keepdim=True))*draw_noise(x, 1, 4)[0]
    want = occlusion(noisy, y, model, baseline=b)
    assert (smoothed(occlusion, 1, seed=4)(x, y, model, baseline=b)-want).abs().max() <= 1e-6*want.abs().max()
    each = [occlusion(x + .1*(x.amax(-1, keepdim=True)-x.amin(-1, keepdim=True))*e, y, model, baseline=b) for e in draw_noise(x, 3, 4)]
    want = torch.stack(each).mean(0)
    assert (smoothed(occlusion, 3, seed=4)(x, y, model, baseline=b)-want).abs().max() <= 2e-6*want.abs().max()

@pytest.mark.parametrize('name', ['noise','permuted'])
def test_the_seed_reaches_the_baseline(name):
    a,b,c = [occlusion(x, y, model, baseline=name, seed=o) for o in (0,0,1)]
    assert torch.equal(a, b) and not torch.allclose(a, c)
    assert torch.equal(ablation(x, y, model, baseline=name, seed=1), ablation(x, y, model, baseline=find_baseline(name, x, 1)))

def test_a_function_sees_the_series_once_and_may_spoil_its_copy():
    seen = []
    def half(t): seen.append(tuple(t.shape)); t *= .5; return t
    before = x.clone()
    a = occlusion(x, y, model, baseline=half)
    assert seen==[(5,2,24)] and torch.equal(x, before) and torch.equal(a, occlusion(x, y, model, baseline=x*.5))

@pytest.mark.parametrize('method', [occlusion, ablation, window_shap], ids=str)
def test_what_is_refused(method):
    for b,words in [('lineal', "Did you mean 'linear'"), (torch.zeros(3), 'does not broadcast'), (math.nan, 'NaN'),
                    (torch.full((2,24), math.inf), 'NaN or infinite'), (lambda t: t[:,:1,:3], 'does not broadcast'),
                    ('opposite', 'pass `opposite(refs, labels)`'), (torch.zeros(4,2,24), '4 series for 5 items')]:
        with says(ValueError, words): method(x, y, model, baseline=b)
