"Floor 3: shares, BCa intervals and drift, against hand values, all draws there are, SciPy, and what cannot matter"
import itertools, math
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from scipy import stats
from common import says
from tsviz.check import check_found
from tsviz.metrics import _draw_counts, _find_ends, bootstrap_ci, drift, shares

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
