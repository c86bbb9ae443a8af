"What a metric is, random maps, shares, BCa intervals and drift, against hand values, all draws there are, SciPy, and what cannot matter"
import copy, itertools, math, pickle
from functools import partial
import numpy as np, pytest, torch, torch.nn as nn
from hypothesis import given, settings, strategies as st
from scipy import stats
from common import says
from tsviz.cam import grad_cam, grad_cam_acts
from tsviz.check import check_found
from tsviz.core import Contrast, Target, keep_random, logprob, prob
from tsviz.gradient import gradient, integrated_grads
from tsviz.method import Method, attr_methods
from tsviz.metrics import Metric, _draw_counts, _find_ends, attr_metric, attr_metrics, bootstrap_ci, drift, own_noise, random_map, shares

nan = math.nan
def T(*v): return torch.tensor(v, dtype=torch.double)
def close(a, b, tol=1e-12): torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tol, equal_nan=True)
def numbers(seed=0): return np.random.default_rng(seed)
maps = st.integers(0, 9999).map(lambda s: torch.from_numpy(numbers(s).normal(size=tuple(numbers(s).integers(1, 5, 3)))))

# ---- shares

@given(maps, st.floats(-30, 30))
def test_shares_add_up_keep_signs_and_know_no_unit(a, power):
    p = shares(a)
    assert p.shape==a.shape and p.dtype==a.dtype
    close(p.abs().sum((1,2)), torch.ones(len(a)))
    close(p*a.abs().sum((1,2), keepdim=True), a)
    close(shares(a*10.**power), p); close(shares(-a), -p)
    for i in range(len(a)): assert torch.equal(shares(a[i:i+1])[0], p[i]) # an item's own

def test_shares_of_nothing_and_of_very_much():
    a = torch.zeros(2, 1, 3); a[1,0] = torch.tensor([3e38,-3e38,0.])
    with check_found(torch.nn.Identity(), a): p = shares(a)
    assert p.tolist()==[[[0.,0.,0.]],[[.5,-.5,0.]]] and p.dtype==torch.float32
    assert shares(torch.full((1,1,2), 1e-45)).tolist()==[[[.5,.5]]] # the smallest there is
    close(shares(torch.ones(1, 1, 70_000, dtype=torch.half))*70_000, torch.ones(1, 1, 70_000), 1e-6)
    assert shares(torch.tensor([[[1,-3]]])).tolist()==[[[.25,-.75]]]
    assert shares(torch.full((1,1,2), nan)).isnan().all() # a map that is none gives no value
    assert not shares(torch.rand(1, 1, 3, requires_grad=True)).requires_grad

@pytest.mark.parametrize('shape', [(3,), (1,3), (1,1,1,3), (2,1,0), (2,0,3)])
def test_shares_are_of_maps(shape):
    with says(ValueError, 'maps (B,1|C,T)', str(shape)): shares(torch.zeros(shape))

# ---- intervals: what they are

def every_draw(v, level=.95):
    "BCa ends of the mean of the few values `v`, from all N^N draws"
    v,z = np.asarray(v, dtype=float),stats.norm.ppf([(1-level)/2, (1+level)/2])
    boots = np.sort(np.array(list(itertools.product(v, repeat=len(v)))).mean(1))
    less,m = np.mean(np.isclose(boots, v.mean()))/2,v.mean()
    z0 = stats.norm.ppf(np.mean((boots<m) & ~np.isclose(boots, m)) + less)
    jack = np.array([np.delete(v, i).mean() for i in range(len(v))])
    l = jack.mean()-jack
    q = stats.norm.cdf(z0 + (z0+z)/(1-(l**3).sum()/(6*(l**2).sum()**1.5)*(z0+z)))
    return boots,q

@pytest.mark.parametrize('v', [(0,1,5,.5,.2), (0,0,0,1,.1), (-3,-2,0,1.5,.3)])
@pytest.mark.parametrize('level', [.95,.7])
def test_ends_are_bca_quantiles_of_all_draws_there_are(v, level):
    boots,q = every_draw(v, level)
    mean,*ends = bootstrap_ci(T(*v), n_boot=40_000, level=level)
    close(mean, T(*v).mean())
    for end,p in zip(ends, q): # the share of draws below the end is p, to what 40,000 draws can tell
        assert np.mean(boots<end.item()-1e-9)-.012<=p<=np.mean(boots<=end.item()+1e-9)+.012

@pytest.mark.parametrize('accel,mean', [(0.,2.5), (.15,1.2), (-.1,3.)])
@pytest.mark.parametrize('level', [.8,.95])
def test_ends_lie_between_draws_and_leave_out_those_without_value(accel, mean, level):
    "Six draws in any order and two that are none, against the formula and NumPy's quantiles"
    boots = [3.,0,nan,1,5,2.,nan,4]
    z,z0 = stats.norm.ppf([(1-level)/2, (1+level)/2]),stats.norm.ppf(np.mean([o<mean for o in boots if o==o])/2 + np.mean([o<=mean for o in boots if o==o])/2)
    want = np.quantile([0,1,2,3,4,5], stats.norm.cdf(z0+(z0+z)/(1-accel*(z0+z))))
    ends = _find_ends(T(*boots)[:,None].repeat(1, 2), T(mean,mean), T(1,1), T(accel,accel), level)
    for got,w in zip(ends, want): close(got, T(w,w), 1e-6)

@pytest.mark.parametrize('draw', ['exponential','normal','standard_t'])
def test_ends_agree_with_scipy(draw):
    kw = dict(df=5) if draw=='standard_t' else {}
    v = getattr(numbers(1), draw)(size=(40,4), **kw)*[1,100,-1,1e-3] + [0,5,1e3,0]
    mean,lo,hi = bootstrap_ci(v, n_boot=20_000)
    want = stats.bootstrap((v,), np.mean, axis=0, n_resamples=20_000, method='BCa', rng=2).confidence_interval
    close(mean, torch.from_numpy(v.mean(0)), 1e-9)
    se = torch.from_numpy(v.std(0)/40**.5)
    for got,w in [(lo,want.low), (hi,want.high)]: assert ((got-torch.from_numpy(w)).abs()<.12*se).all()
    skew = torch.from_numpy(stats.skew(v))
    assert (((hi+lo-2*mean)*skew)[skew.abs()>.5]>0).all() # the longer arm lies where the tail is

def test_level_is_the_share_between_the_ends():
    v = numbers(3).normal(size=400)
    for level in (.5,.8,.99):
        mean,lo,hi = bootstrap_ci(v, level=level, n_boot=20_000)
        close((hi-lo)/2, T(stats.norm.ppf((1+level)/2)*v.std()/20)[0], .0025)

def test_they_hold_what_they_promise():
    "2,000 data sets of 60 skewed values, and the shorter level"
    v = numbers(0).beta(.5, 3, (60,2000))
    for level,least,most in [(.95,.92,.965), (.8,.77,.83)]:
        mean,lo,hi = bootstrap_ci(v, level=level)
        assert least<((lo<.5/3.5) & (.5/3.5<hi)).double().mean()<most
    both = ((lo>.5/3.5).double().mean(), (hi<.5/3.5).double().mean()) # misses on either side, as BCa is made for
    assert .05<both[0]<.15 and .05<both[1]<.15

# ---- draws in batches are the same draws

def test_a_batch_gets_its_share_of_the_draws():
    "Counts over batches of 3, 1 and 4 items are multinomial over all 8"
    rng,left,parts = numbers(),np.full(40_000, 8),[]
    for m,n in [(3,8), (1,5), (4,4)]:
        w,left = _draw_counts(rng, 40_000, left, m, n)
        parts.append(w)
    w = torch.cat(parts, 1)
    assert (left==0).all() and (w.sum(1)==8).all() and w.min()==0
    close(w.mean(0), torch.ones(8), .03)
    close(torch.cov(w.T), torch.eye(8)-1/8, .03)

@pytest.mark.parametrize('sizes', [(50,), (1,)*50, (7,43), (30,19,1)])
def test_batches_change_nothing_that_can_be_told(sizes):
    v = torch.from_numpy(numbers(4).exponential(size=(50,2,2)))
    v[:20,0,1] = nan
    whole,parts = bootstrap_ci(v, n_boot=40_000),bootstrap_ci((o for o in v.split(sizes)), n=50, n_boot=40_000, seed=1)
    assert [o.shape for o in parts]==[(2,2)]*3 and all(o.dtype==torch.double for o in parts)
    close(parts[0], whole[0])
    for a,b in zip(parts[1:], whole[1:]): close(a, b, .02) # a tenth of the standard error

def test_a_long_table_holds_few_draws_at_once(monkeypatch):
    seen = []
    def spy(rng, n_boot, left, m, n): seen.append((m,n)); return _draw_counts(rng, n_boot, left, m, n)
    monkeypatch.setattr('tsviz.metrics._draw_counts', spy)
    v = torch.from_numpy(numbers(5).normal(size=2500))
    bootstrap_ci(v, n_boot=10); bootstrap_ci([v], n=2500, n_boot=10)
    assert seen==[(1024,2500),(1024,1476),(452,452)]*2

def test_batches_are_forgotten():
    "Of 40 batches of 1 MB never more than two are alive"
    import weakref
    alive,most = [],0
    def batches():
        nonlocal most
        for i in range(40):
            o = torch.full((4,32_768), float(i), dtype=torch.double)
            alive.append(weakref.ref(o)); most = max(most, sum(r() is not None for r in alive))
            yield o
            del o
    mean,lo,hi = bootstrap_ci(batches(), n=160, n_boot=2)
    close(mean[:3], T(19.5,19.5,19.5)); assert most<=2

# ---- intervals: what cannot matter

@settings(max_examples=40)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=12), st.integers(-12, 12), st.integers(-50, 50))
def test_unit_and_origin_do_not_matter(v, power, shift):
    "Integers have many ties; tenths of them have the same, but for rounding"
    a = .1*10.**power
    base,moved,mirror = (bootstrap_ci(o, n_boot=200) for o in (T(*v), a*(T(*v)+shift), -T(*v)))
    for p,q in zip(base, moved): close(a*(p+shift), q, 1e-9*a*60)
    close(base[0], -mirror[0])
    if len(set(v))>1: assert base[1]<=base[0]<=base[2] and min(v)<=base[1] and base[2]<=max(v)
    else: assert base[1]==base[0]==base[2]==v[0] and moved[1]==moved[2]

def test_mirrored_values_have_mirrored_ends():
    v = numbers(6).exponential(size=50)
    (_,lo,hi),(_,a,b) = bootstrap_ci(v, n_boot=20_000),bootstrap_ci(-v, n_boot=20_000)
    close(lo, -b, 1e-3*hi.item()); close(hi, -a, 1e-3*hi.item())

def test_columns_do_not_know_each_other():
    v = torch.from_numpy(numbers(7).normal(size=(30,3)))
    v[3:9,1] = nan
    whole = bootstrap_ci(v)
    for i in range(3):
        for p,q in zip(whole, bootstrap_ci(v[:,i])): close(p[i], q)

def test_seed_decides_and_no_other_random_state():
    v = torch.rand(20)
    np.random.seed(1); torch.manual_seed(1)
    states = np.random.get_state()[1].tolist(),torch.get_rng_state().tolist()
    with check_found(torch.nn.Identity(), v): one = bootstrap_ci(v, seed=3)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())==states
    assert one==bootstrap_ci(v, seed=np.int64(3)) and one[1:]!=bootstrap_ci(v, seed=4)[1:] and one[0]==bootstrap_ci(v, seed=4)[0]

def test_far_from_zero_and_nearly_constant():
    v = 1e8 + torch.from_numpy(numbers(8).normal(size=100))*1e-3
    for p,q in zip(bootstrap_ci(v), bootstrap_ci((v-1e8))): close(p-1e8, q, 1e-7)
    mean,lo,hi = bootstrap_ci(torch.full((7,), .1))
    assert mean==lo==hi
    mean,lo,hi = bootstrap_ci(torch.tensor([True,False]*20))
    assert mean==.5 and .3<lo<.45 and lo+hi==pytest.approx(1, abs=.06)
    mean,lo,hi = bootstrap_ci(1e-40*torch.arange(20).double()) # as small as a float32 can be
    assert 6.5e-40<lo<mean<hi<13e-40

# ---- values that some items lack

def test_a_column_is_of_the_items_that_have_it():
    v = torch.from_numpy(numbers(9).exponential(size=(60,)))
    some = torch.cat([v[:40], torch.full((20,), nan)])[torch.from_numpy(numbers(1).permutation(60))]
    mean,lo,hi = bootstrap_ci(some, n_boot=20_000)
    want = bootstrap_ci(v[:40], n_boot=20_000)
    close(mean, want[0]); close(lo, want[1], .02); close(hi, want[2], .02)

@pytest.mark.parametrize('k', [2,3,5])
def test_few_of_many_have_a_value(k):
    "A draw in which none of them is says nothing, and does not stretch the interval"
    v = torch.cat([torch.arange(k).double(), torch.full((80-k,), nan)])
    for got in (bootstrap_ci(v), bootstrap_ci(v.flip(0).split(9), n=80)):
        mean,lo,hi = (o.item() for o in got)
        assert mean==(k-1)/2 and 0<=lo<mean<hi<=k-1 and (k>2 or (lo,hi)==(0,1))

def test_one_or_none_has_no_interval():
    mean,lo,hi = bootstrap_ci(torch.tensor([[1.,nan],[nan,nan]]))
    assert mean[0]==1 and mean[1].isnan() and lo.isnan().all() and hi.isnan().all()
    mean,lo,hi = bootstrap_ci([5.])
    assert mean==5 and lo.isnan() and hi.isnan() and mean.shape==()
    late = bootstrap_ci([torch.tensor([nan]), torch.tensor([2.,2.]), torch.tensor([4.])], n=4) # the first batch knows nothing
    assert late[0].item()==pytest.approx(8/3) and 2<=late[1]<late[2]<=4

# ---- doors

@pytest.mark.parametrize('values,kw,words', [
    ([], {}, ['at least one item','(0,)']), (torch.zeros(0, 3), {}, ['at least one item','(0, 3)']), (3., {}, ['at least one item','()']),
    ([torch.zeros(2, 3), torch.zeros(2, 4)], dict(n=4), ['every batch alike','(2, 4)','(3,)']), (torch.zeros(3), dict(n=3), ['at least one item']),
    ([1.,math.inf], {}, ['finite','NaN']), ([torch.zeros(3)], dict(n=2), ['`n` says 2','there are more']), ([torch.zeros(3)], dict(n=4), ['`n` says 4','there were 3']),
    ([], dict(n=1), ['there were 0']), ([1.,2.], dict(n_boot=0), ['`n_boot`','from 1','0']), ([1.,2.], dict(n=0), ['`n`','from 1']), ([1.,2.], dict(n_boot=2.5), ['`n_boot`']),
    ([1.,2.], dict(seed=-1), ['`seed`']), ([1.,2.], dict(seed=None), ['`seed`']), ([1.,2.], dict(level=1.), ['`level`','1.0']), ([1.,2.], dict(level=0.), ['`level`']),
    ([1.,2.], dict(level=95), ['`level`','95']), ([1.,2.], dict(level='95'), ['`level`']), (['a'], {}, ['numbers are needed'])])
def test_doors(values, kw, words):
    with says(ValueError, *words): bootstrap_ci(values, **kw)

# ---- drift

@given(maps, st.integers(0, 99))
def test_drift_is_the_distance_of_shares(a, seed):
    b = torch.from_numpy(numbers(seed).normal(size=tuple(a.shape)))
    d = drift([a,b])
    assert d.shape==(1,len(a)) and ((0<=d)&(d<=1)).all()
    want = [sum(abs(u/sum(map(abs, p))-v/sum(map(abs, q))) for u,v in zip(p, q))/2 for p,q in zip(a.flatten(1).tolist(), b.flatten(1).tolist())]
    close(d[0], T(*want)); close(drift([b,a]), d)
    close(drift([a,5*a,-a]), T(0,1)[:,None].expand(2, len(a)))

def test_drift_goes_from_epoch_to_epoch_and_takes_what_keeps_maps():
    e = [torch.eye(4)[None,i:i+1] for i in (0,0,1)] + [torch.tensor([[[0.,1.,1.,0.]]]), torch.zeros(1, 1, 4)]
    class Keeps: maps = e
    want = [[0.],[1.],[.5],[.5]]
    assert drift(e).tolist()==drift(Keeps()).tolist()==drift(torch.stack(e)).tolist()==want
    assert drift([o.half() for o in e]).dtype==torch.float32

def test_drift_doors():
    a = torch.ones(2, 1, 5)
    with says(ValueError, 'maps of 1', 'two are needed'): drift([a])
    with says(ValueError, 'maps of 0'): drift([])
    with says(ValueError, 'same series at every epoch', '(2, 1, 5)', '(3, 1, 5)'): drift([a, torch.ones(3, 1, 5)])
    with says(ValueError, 'maps (B,1|C,T)'): drift([a[0],a[0]])

# ---- noise of each item's own, and the map that knows nothing

def test_noise_is_an_items_own():
    x = torch.randn(5, 2, 9, generator=torch.Generator().manual_seed(0))
    np.random.seed(1); torch.manual_seed(1)
    with check_found(torch.nn.Identity(), x): a = own_noise(x, 40)
    assert a.shape==(5,40) and a.dtype==torch.float32
    order = torch.tensor([3,3,0])
    assert torch.equal(own_noise(x[order], 40), a[order]) and torch.equal(own_noise(x.double(), 40), a) and torch.equal(own_noise(x.mT.contiguous().mT, 40), a)
    other = x.clone(); other[2,1,8] += 1e-5
    same = [torch.equal(p, q) for p,q in zip(own_noise(other, 40), a)]
    assert same==[True,True,False,True,True] and not (own_noise(x, 40, 1)==a).any()

def test_noise_is_normal_and_independent():
    x = torch.randn(200, 1, 4, generator=torch.Generator().manual_seed(0))
    a,b = own_noise(x, 500),own_noise(x, 500, 1)
    assert stats.kstest(a.flatten()[:20_000].numpy(), 'norm').pvalue>.001
    c = torch.corrcoef(torch.cat([a,b])).fill_diagonal_(0).abs() # 400 rows, each pair of items and of seeds
    assert c.max()<6/500**.5 and abs((c**2).mean()*500-1)<.1

def test_random_map():
    x,m = torch.randn(3, 2, 12),random_map(4)
    a = m(x, 0, net)
    assert a.shape==(3,1,12) and (m.name,m.__name__)==('Random','Random') and 'Random' not in attr_methods
    assert torch.equal(a[:,0], own_noise(x, 12, 4)) and torch.equal(pickle.loads(pickle.dumps(m))(x, 0, net), a)
    assert torch.equal(m(x, 0, net, lengths=[12,7,3])[1,:,:7], m(x[1,:,:7], 0, net))
    for seed in (-1,1.5,None,2**32):
        with says(ValueError, '`seed`'): random_map(seed)

# ---- what a metric is

xs = torch.randn(6, 2, 10, generator=torch.Generator().manual_seed(3))
with keep_random():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
with torch.no_grad(): net[-1].bias -= net(xs).mean(0) # so that not every item is of the same class
def metric(core, range=(-math.inf,math.inf), up=True, **kw): return attr_metric('Some', range, up, kept=False, **kw)(core)
def total(m, f, x): return m.attrs.sum((1,2))

def test_a_metric_and_its_attributes():
    @attr_metric('Printed', (0,1), higher_is_better=False, flag=.5)
    def tmp_metric(m, f, x, power:int=2, bs=None):
        "What it is"
        return f(x)**power
    try:
        assert isinstance(tmp_metric, Metric) and attr_metrics['tmp_metric'] is tmp_metric and repr(tmp_metric)==tmp_metric.__name__=='tmp_metric'
        assert (tmp_metric.name,tmp_metric.range,tmp_metric.higher_is_better,tmp_metric.flag,tmp_metric.__doc__)==('Printed',(0,1),False,.5,'What it is')
        assert str(tmp_metric.__signature__)=='(method, x, y, model, layer=None, *, power: int = 2, bs=None, lengths=None, items=None, attrs=None)'
        assert [o.name for o in tmp_metric.params]==['power','bs']
        with says(TypeError, 'tmp_metric(method, x', "'powr'", "'power'"): tmp_metric(gradient, xs, 0, net, powr=1)
        with pytest.raises(TypeError): tmp_metric(gradient, xs, 0, net, None, 1) # a parameter goes by name
    finally: attr_metrics.pop('tmp_metric')
    assert metric(total).__name__ not in attr_metrics

def test_flags_are_at_or_beyond_the_flag():
    low,high,none = metric(total, up=True, flag=.1),metric(total, up=False, flag=.5),metric(total)
    assert [low.flags(v) for v in (.05,.1,.2,nan)]==[True,True,False,False] and [high.flags(v) for v in (.4,.5,.6,nan)]==[False,True,True,False]
    assert none.flags(0) is False and low.flags(torch.tensor(0.)) is True

def test_numbers_are_an_items_own_of_one_series_or_many():
    for x,dtype in ((xs, torch.float32), (xs.double(), torch.float32), (xs.numpy(), torch.float32)):
        v = metric(lambda m,f,x: m.attrs.double().sum((1,2)))(gradient, x, 1, net)
        assert v.shape==(6,) and v.dtype==dtype and type(v) is torch.Tensor
    close(v, gradient(xs, 1, net).sum((1,2)), 1e-6)
    assert metric(total)(gradient, xs[2], 1, net).shape==() and metric(lambda m,f,x: m.attrs[:,0])(gradient, xs[2], 1, net).shape==(10,)
    deep = copy.deepcopy(net).double()
    assert metric(total)(gradient, xs.double(), 1, deep).dtype==torch.float64

def test_maps_are_raw_and_asked_for_once():
    calls = []
    def fn(o, y, model, *_): calls.append(int(y)); return o[:1]*1.
    def core(m, f, x): return m.attrs.sum((1,2)) + m.attrs.sum((1,2))
    close(metric(core)(fn, xs, torch.arange(6)%3, net), 2*xs[:,:1].sum((1,2)), 1e-6)
    assert calls==[0,1,2]*2
    scaled = metric(lambda m,f,x: m.attrs.amax((1,2)))(grad_cam_acts, 5*xs, 0, net)
    close(scaled, grad_cam_acts(5*xs, 0, net, force_scale=False).amax((1,2)), 1e-6) # not 1 everywhere

def test_maps_of_other_series_classes_networks_layers_and_items():
    other,y = copy.deepcopy(net),torch.tensor([0,1,2,0,1,2])
    with torch.no_grad(): other[0].weight.mul_(-1)
    seen,cam = {},partial(grad_cam, relu=False)
    def core(m, f, x, bs=2):
        rows = torch.tensor([5,0,0,3])
        seen.update(rows=m(x[rows]+1, items=rows), cls=m(x, y=Target(2-y)), one=m(x, y=Target(1)), net=m(x, model=other), layer=m(x, layer=0))
        return m.attrs.sum((1,2))
    v = metric(core)(cam, xs, y, net, layer=1)
    rows = torch.tensor([5,0,0,3])
    want = dict(rows=cam(xs[rows]+1, y[rows], net, 1), cls=cam(xs, 2-y, net, 1), one=cam(xs, 1, net, 1), net=cam(xs, y, other, 1), layer=cam(xs, y, net, 0))
    close(v, cam(xs, y, net, 1).sum((1,2)), 1e-6)
    for k in want: close(seen[k], want[k], 1e-6)
    assert not torch.equal(want['layer'], cam(xs, y, net, 1))

def test_a_methods_own_parameters_and_items():
    base,some = torch.randn(9, 2, 10),torch.tensor([8,1,4,4,0,2])
    m = partial(integrated_grads, baseline=base, n_steps=5)
    v = metric(total)(m, xs, 0, net, items=some)
    close(v, integrated_grads(xs, 0, net, baseline=base[some], n_steps=5).sum((1,2)), 1e-6)
    with says(ValueError, '`items`'): metric(total)(m, xs, 0, net, items=some[:3])

def test_maps_come_in_passes_of_bs():
    rows = []
    m = Method(lambda x,y,model,layer,items: (rows.append(len(x)), x)[1], lambda: 0, [], 'm')
    metric(lambda m,f,x,bs=None: m.attrs.sum((1,2)))(m, xs, 0, net, bs=4)
    assert rows==[4,2]

def test_the_class_is_found_once_in_passes_and_held():
    rows = []
    class Seen(nn.Module):
        def __init__(self): super().__init__(); self.net = net
        def forward(self, x): rows.append(len(x)); return self.net(x)
    def core(m, f, x, bs=None, score='prob'): return f(-x) # of another class
    c = net(xs).argmax(1)
    assert len(set(c.tolist()))>1 and (net(-xs).argmax(1)!=c).any()
    v = metric(core)(gradient, xs, None, Seen(), bs=4)
    close(v, net(-xs).softmax(1).gather(1, c[:,None])[:,0].detach(), 1e-6)
    assert rows==[4,2,6]

@pytest.mark.parametrize('score,of', [('prob', lambda o: o.softmax(1)), ('logprob', lambda o: o.log_softmax(1)), ('logit', lambda o: o)])
def test_what_is_scored(score, of):
    def core(m, f, x, score='prob', bs=None): return f(x, torch.arange(len(x)))
    s,y,out = metric(core),torch.tensor([0,1,2,0,1,2]),net(xs).detach()
    own = y[:,None]
    close(s(gradient, xs, y, net, score=score), of(out).gather(1, own)[:,0], 1e-6)
    close(s(gradient, xs, 1, net, score=score), of(out)[:,1], 1e-6)
    close(s(gradient, xs, prob(y), net, score=score), out.softmax(1).gather(1, own)[:,0], 1e-6) # as it says
    close(s(gradient, xs, logprob(y), net, score=score), out.log_softmax(1).gather(1, own)[:,0], 1e-6)
    close(s(gradient, xs, lambda o: o[:,0]-o[:,2], net, score=score), out[:,0]-out[:,2], 1e-6)
    close(s(gradient, xs, Contrast(0, 2), net, score=score), out[:,0]-out[:,2], 1e-6)
    close(s(gradient, xs, Contrast(0), net, score=score, bs=4), out[:,0]-out[:,1:].amax(1), 1e-6)
    single = nn.Sequential(*net[:4], nn.Linear(4, 1))
    for one in (single, nn.Sequential(*single, nn.Flatten(0))):
        for c in (None,0,[0]*6): close(s(gradient, xs, c, one, score=score), single(xs)[:,0].detach(), 1e-6) # its softmax is always 1
    close(metric(lambda m,f,x: f(x))(gradient, xs, y, net), out.gather(1, own)[:,0], 1e-6) # without the parameter: what is explained
    with says(ValueError, '`score`', "'prbo'", "'prob'"): s(gradient, xs, y, net, score='prbo')

def test_the_method_explains_what_it_is_told_to():
    def core(m, f, x, score='prob'): return m.attrs.sum((1,2))
    close(metric(core)(gradient, xs, 1, net), gradient(xs, 1, net).sum((1,2)), 1e-6)
    close(metric(core)(gradient, xs, prob(1), net), gradient(xs, prob(1), net).sum((1,2)), 1e-6)

def test_unequal_lengths_run_trimmed_and_in_their_places():
    ns,seen,pad = [10,4,7,4,10,1],[],xs.clone()
    for i,n in enumerate(ns): pad[i,:,n:] = nan
    def core(m, f, x, mask=None): seen.append((tuple(x.shape), tuple(mask.shape))); return m.attrs.sum((1,2)) + (x*mask).sum((1,2))
    mask,y = xs>0,torch.arange(6)%3
    v = metric(core)(gradient, pad, y, net, lengths=ns, mask=mask)
    assert seen==[((1,2,1),)*2, ((2,2,4),)*2, ((1,2,7),)*2, ((2,2,10),)*2]
    for i,n in enumerate(ns): close(v[i], gradient(xs[i,:,:n], y[i], net).sum() + (xs[i,:,:n]*mask[i,:,:n]).sum(), 1e-5)
    given = metric(total)(gradient, pad, y, net, lengths=ns, attrs=xs[:,:1])
    for i,n in enumerate(ns): close(given[i], xs[i,0,:n].sum(), 1e-5)

def test_given_maps():
    def boom(*_): raise AssertionError('asked')
    close(metric(total)(boom, xs, 0, net, attrs=xs[:,:1]), xs[:,0].sum(1), 1e-6)
    assert metric(total)(boom, xs[1], 0, net, attrs=xs[1]).shape==() and metric(total)(boom, xs, 0, net, attrs=xs>0).dtype==torch.float32
    close(metric(lambda m,f,x: (m.attrs-x).sum((1,2)))(boom, xs, 0, net, attrs=torch.ones_like(xs)>0), (1-xs).sum((1,2)), 1e-5)
    for bad in (xs[:5], xs[:,:,1:], xs[0], torch.zeros(6, 3, 10), xs/0):
        with says(ValueError, '`attrs` must be finite maps (6,1|2,10)'): metric(total)(boom, xs, 0, net, attrs=bad)

def test_what_is_not_finite_is_said():
    for core in (lambda m,f,x: x[:,0,0].where(torch.arange(6)!=4, math.inf), lambda m,f,x: x[:,0].where(torch.arange(6)[:,None]!=4, nan)):
        with check_found(net, xs), says(ValueError, 'not finite for item 4', 'Sequential'): metric(core)(gradient, xs, 0, net)
        with says(ValueError, 'not finite for item 40'): metric(core)(gradient, xs, 0, net, items=10*torch.arange(6))

def test_a_users_function_may_call_backward():
    "Parameters are not frozen for it"
    def mine(o, y, model, *_):
        assert all(p.requires_grad for p in model.parameters())
        return o[:1]
    with check_found(net, xs): metric(total)(mine, xs, 0, net)
    with says(TypeError, 'needed'): metric(total)('gradient', xs, 0, net)
