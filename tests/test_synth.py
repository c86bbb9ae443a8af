"Planted parts: where they are, that they alone decide the class. Simulated heartbeats: where the waves are, what the mask marks, how beats follow one another"
import math
from functools import lru_cache
import numpy as np, pytest, torch
from hypothesis import assume, given, settings, strategies as st
from common import says
from tsviz import synth
from tsviz.check import check_found
from tsviz.synth import (beat_changes, beat_classes, beat_waves, co_occurs, distractors, ecg_beats, ecg_strip, evidences, fit_tiny, planted, planted_sets,
                         tiny_cnn)

def as_first(n=64, n_channels=1, n_steps=128, n_classes=2, width=24, noise=.3, channel=0, seed=0):
    "What these arguments have always planted, series by series"
    t = torch.linspace(0, 1, width)
    hump = torch.sin(math.pi*t)
    shapes = [hump, -hump, hump*torch.sin(6*math.pi*t), 2*t-1]
    g = torch.Generator().manual_seed(seed)
    x,y = noise*torch.randn(n, n_channels, n_steps, generator=g),torch.arange(n)%n_classes
    start,mask = torch.randint(0, n_steps-width+1, (n,), generator=g),torch.zeros(n, n_channels, n_steps, dtype=torch.bool)
    for i,s in enumerate(start.tolist()):
        x[i,channel,s:s+width] += 2*shapes[y[i]]
        mask[i,channel,s:s+width] = True
    return x,y,mask

@pytest.mark.parametrize('kw', [dict(), dict(n=1), dict(n=0), dict(n=5, n_channels=2, n_steps=40, n_classes=3, width=16), dict(n_classes=4, noise=.1, seed=3),
    dict(n=7, n_channels=3, channel=2, width=1, n_steps=9, seed=11), dict(n=6, n_channels=3, channel=-1, noise=0), dict(n=9, n_steps=24, width=24),
    dict(n=6, n_channels=3, channel=[0,2], n_classes=4, seed=5), dict(n=60, n_steps=100, noise=1.2, seed=2**31)])
def test_planted_is_as_it_was(kw):
    "Bit for bit: stored maps and benchmarks rest on it"
    got,want = planted(**kw),as_first(**kw)
    assert all(torch.equal(a, b) and a.dtype==b.dtype for a,b in zip(got, want, strict=True))

def test_planted_stands_where_it_stood():
    assert planted()[2][:6,0].float().argmax(-1).tolist()==[60,30,39,44,50,103]
    assert planted(seed=7, n_steps=60, width=16)[2][:6,0].float().argmax(-1).tolist()==[11,1,29,1,28,1]

@lru_cache
def part_by_hand(kind, y, w, phase=0.):
    "One planted part in plain Python floats, twice as high as its row in the table"
    res = []
    for i in range(w):
        t = i/(w-1)
        hump = math.sin(math.pi*t)
        res.append(2*dict(shape=[hump, -hump, hump*math.sin(6*math.pi*t), 2*t-1][y], level=[1,-1,.5,-.5][y],
                          frequency=hump*math.sin(2*math.pi*2*(y+1)*t+phase))[kind])
    return torch.tensor(res, dtype=torch.float32)

@lru_cache
def any_phase(k, w):
    "The projection (w,w) on bursts of class `k`, whatever their phase"
    m = torch.stack([part_by_hand('frequency', k, w, p) for p in (0., math.pi/2)], 1)
    return m.mm(torch.linalg.pinv(m))

def find_class(x, kind, n_classes):
    "Which part (w,) is: the nearest by hand; of a burst the frequency, whatever its phase"
    w = len(x)
    if kind!='frequency': return min(range(n_classes), key=lambda k: (x-part_by_hand(kind, k, w)).abs().sum())
    return min(range(n_classes), key=lambda k: (x-any_phase(k, w).mv(x)).abs().sum())

@pytest.mark.parametrize('kind', list(evidences))
def test_parts_by_hand(kind):
    "Without noise the series is the part, as the formula has it, in its channel and nowhere else"
    x,y,mask = planted(40, 2, n_classes=4, noise=0, channel=1, evidence=kind, seed=2)
    assert not mask[:,0].any() and (mask.sum((1,2))==24).all() and (x[~mask]==0).all()
    for o,c in zip(x[mask].view(40, 24), y.tolist()):
        if kind!='frequency': torch.testing.assert_close(o, part_by_hand(kind, c, 24), atol=1e-5, rtol=0)
        assert find_class(o, kind, 4)==c

def test_bursts_have_any_phase():
    "The sum over series leaves nothing of a burst, and its spectrum has one peak, at 2, 4, 6 or 8 cycles"
    x,y,mask = planted(4000, n_classes=4, width=96, noise=0, evidence='frequency')
    x = x[mask].view(-1, 96)
    for k in range(4):
        o = x[y==k]
        assert o.mean(0).abs().max()<.2 and o.std(0).max()>1.2
        assert (torch.fft.rfft(o).abs()**2).mean(0).argmax()==2*(k+1)
        assert all(((o[:,48]>lo) & (o[:,48]<=lo+1)).any() for lo in (-2,-1,0,1))

combos = [dict(n_channels=1), dict(n_channels=3, channel='random'), dict(n_channels=2, channel='all'), dict(n_channels=4, channel=(3,1)),
          dict(n_channels=3, channel=-1, co_occur='decoy'), dict(n_channels=4, channel=[0,2], co_occur='decoy'), dict(n_channels=1, co_occur='distractor'),
          dict(n_channels=3, channel='random', co_occur='distractor'), dict(n_channels=3, channel=(2,0), co_occur='distractor'),
          dict(n_channels=2, channel='all', co_occur='pair'), dict(n_channels=3, channel=np.array([2,0]), co_occur='pair')]

@settings(max_examples=100)
@given(st.sampled_from(combos), st.sampled_from(list(evidences)), st.integers(1, 12), st.integers(2, 4), st.integers(1, 40), st.integers(0, 60),
       st.sampled_from([0.,.3]), st.integers(0, 2**32-1))
def test_the_part_alone_decides(combo, kind, n, n_classes, width, more, noise, seed):
    "Shapes and types; the mask is one run of `width` steps in each deciding channel; another class changes nothing outside of it"
    kinds = {kind, *([distractors[kind]] if combo.get('co_occur')=='distractor' else [])}
    assume('frequency' not in kinds or width>=6*n_classes)
    n_steps = more + width*(2 if combo.get('co_occur')=='distractor' else 1)
    kw = dict(n=n, n_steps=n_steps, n_classes=n_classes, width=width, noise=noise, evidence=kind, seed=seed, **combo)
    with check_found(torch.nn.Identity()): x,y,mask = planted(**kw)
    assert x.shape==mask.shape==(n,combo['n_channels'],n_steps) and x.dtype==torch.float32 and mask.dtype==torch.bool and x.isfinite().all()
    assert y.dtype==torch.int64 and y.tolist()==[i%n_classes for i in range(n)]
    c = combo.get('channel', 0)
    wanted = dict(random=1, all=combo['n_channels']).get(c) if isinstance(c, str) else np.size(c)
    for m in mask:
        rows = m[m.any(-1)]
        first = rows[0].float().argmax()
        assert len(rows)==wanted and (rows==rows[0]).all() and rows[0].sum()==width and rows[0,first:first+width].all()
        assert isinstance(c, str) or sorted(m.any(-1).nonzero()[:,0].tolist())==sorted(int(k)%len(m) for k in np.ravel(c))
    other,next_y,same = planted(y=(y+1)%n_classes, **kw)
    assert torch.equal(mask, same) and torch.equal(x[~mask], other[~mask]) and torch.equal(next_y, (y+1)%n_classes)
    if width>3: assert ((x!=other)&mask).any(-1).any(-1).all()
    assert all(torch.equal(a, b) for a,b in zip(planted(y=y.numpy(), **kw), (x,y,mask)))

def test_classes_as_asked():
    y = torch.tensor([2,2,0,1,2], dtype=torch.int32)
    got = planted(5, n_classes=3, y=y, noise=0)
    assert got[1].tolist()==y.tolist() and got[1].dtype==torch.int64
    assert [find_class(o[m], 'shape', 3) for o,m in zip(got[0][:,0], got[2][:,0])]==y.tolist()
    assert planted(4, y=[0,0,0,0])[1].tolist()==[0]*4

def test_any_channel_alike():
    "Each channel holds the part as often as the others, and in each class"
    _,y,mask = planted(3000, 3, channel='random', n_classes=3)
    held = mask.any(-1).float()
    assert (held.sum(1)==1).all() and all((held[y==k].mean(0)-1/3).abs().max()<.05 for k in range(3))
    first = planted(3000, n_steps=50)[2][:,0].float().argmax(-1)
    assert {*first.tolist()}=={*range(27)} and abs(first.float().mean()-13)<.5

@pytest.mark.parametrize('kind', list(evidences))
def test_decoys(kind):
    "Every other channel has a part of a class that knows nothing of `y`; the deciding channel has its own"
    x,y,mask = planted(600, 3, 60, 3, channel=1, noise=0, evidence=kind, co_occur='decoy', seed=1)
    assert mask[:,1].any(-1).all() and not mask[:,[0,2]].any()
    for c in (0,2):
        full = x[:,c]!=0
        assert full.any(-1).all()
        # the part's edges may be zero: take the 24 steps that hold it
        last = 59-full.flip(-1).float().argmax(-1)
        start = [next(s for s in range(max(0, e-23), e+1) if s+24<=60 and (x[i,c,:s]==0).all() and (x[i,c,s+24:]==0).all()) for i,e in enumerate(last.tolist())]
        if kind!='level': start = [min(s+1, 36) if x[i,c,s]!=0 and s+25<=60 and x[i,c,s+24]!=0 else s for i,s in enumerate(start)]
        k = torch.tensor([find_class(x[i,c,s:s+24], kind, 3) for i,s in enumerate(start)])
        for j in range(3): assert ((torch.bincount(k[y==j], minlength=3)/200)-1/3).abs().max()<.12
    assert [find_class(o, kind, 3) for o in x[mask].view(-1, 24)]==y.tolist()

@pytest.mark.parametrize('kind', list(evidences))
@pytest.mark.parametrize('n_steps', [48,49,100])
def test_distractors(kind, n_steps):
    "Beside the deciding part, never over it, before it as often as after; of another kind, of a class that knows nothing of `y`"
    x,y,mask = planted(600, 1, n_steps, 3, noise=0, evidence=kind, co_occur='distractor', seed=4)
    assert distractors[kind]!=kind
    beside = ((x!=0)&~mask)[:,0]
    assert beside.any(-1).all() and (beside.sum(-1)<=24).all()
    assert [find_class(o, kind, 3) for o in x[mask].view(-1, 24)]==y.tolist()
    start,at = mask[:,0].float().argmax(-1),beside.float().argmax(-1)
    assert abs((at>start).float().mean().item()-.5)<.08
    if distractors[kind]=='level':
        k = x[:,0].where(beside, 0.).sum(-1)/24
        assert {*k.tolist()}=={2.,-2.,1.} and all(abs(((k==v)&(y==j)).sum().item()/200-1/3)<.12 for v in (2.,-2.,1.) for j in range(3))

@pytest.mark.parametrize('kind', list(evidences))
@pytest.mark.parametrize('n_classes', [2,3,4])
def test_pairs(kind, n_classes):
    "The class is the sum of the two, and neither of them tells it"
    x,y,mask = planted(100*n_classes, 3, n_classes=n_classes, noise=0, channel=(2,0), evidence=kind, co_occur='pair')
    assert torch.equal(mask[:,0], mask[:,2]) and not mask[:,1].any()
    a,b = (torch.tensor([find_class(o, kind, n_classes) for o in x[:,c][mask[:,c]].view(-1, 24)]) for c in (2,0))
    assert torch.equal((a+b)%n_classes, y)
    for o in (a,b):
        for j in range(n_classes): assert (torch.bincount(o[y==j], minlength=n_classes)/100-1/n_classes).abs().max()<.15

def test_own_kind(monkeypatch):
    monkeypatch.setitem(evidences, 'spike', lambda y,n,phase: torch.nn.functional.one_hot(y, n).float())
    x,y,mask = planted(6, n_classes=3, noise=0, evidence='spike')
    assert x[mask].view(6, 24).argmax(-1).tolist()==y.tolist() and x.sum().item()==12

@pytest.fixture(scope='module')
def nets():
    "A small network for each set of the benchmark, trained when it is first asked for"
    cache = {}
    def net(name):
        if name not in cache:
            x,y,_ = planted(96, **planted_sets[name])
            cache[name] = fit_tiny(tiny_cnn(x.shape[1], int(y.max())+1), x, y, lr=.02)
        return cache[name]
    return net

def accuracy(model, x, y): return (model(x).argmax(1)==y).float().mean().item()

@pytest.mark.parametrize('name', list(planted_sets))
def test_benchmark(name, nets):
    "A small network learns each set; without the planted part it guesses, with that of another class it says so"
    model,kw = nets(name),planted_sets[name]
    n_classes = kw.get('n_classes', 2)
    x,y,mask = planted(240, seed=1, **kw)
    assert torch.bincount(y).tolist()==[240//n_classes]*n_classes
    assert accuracy(model, x, y)>=.95
    part = planted(240, seed=1, **(kw | dict(noise=0)))[0].where(mask, 0.)
    assert abs(accuracy(model, x-part, y)-1/n_classes)<.1
    noise = .3*torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    assert abs(accuracy(model, noise.where(mask, x), y)-1/n_classes)<.1
    other,next_y,_ = planted(240, seed=1, y=(y+1)%n_classes, **kw)
    assert accuracy(model, other, next_y)>=.95 and accuracy(model, other, y)<=.05

def test_networks_do_not_go_by_decoys(nets):
    "Other series' decoys change nothing, other series' evidence all"
    x,y,_ = planted(240, seed=1, **planted_sets['decoy'])
    moved = x.roll(1, 0)
    decoys,evidence = moved.clone(),x.clone()
    decoys[:,1],evidence[:,1] = x[:,1],moved[:,1]
    assert accuracy(nets('decoy'), decoys, y)>=.95 and accuracy(nets('decoy'), evidence, y)<=.05

@pytest.mark.parametrize('channel', [0,1])
def test_pairs_need_both(nets, channel):
    x,y,_ = planted(240, seed=1, **planted_sets['pair'])
    x[:,channel] = .3*torch.randn(x[:,0].shape, generator=torch.Generator().manual_seed(5))
    assert abs(accuracy(nets('pair'), x, y)-.5)<.1

def test_sets_of_the_benchmark():
    "Every kind and everything that co-occurs is asked about; names and arguments only, so that `n` and `seed` are free"
    kinds,with_ = ({kw.get(k, d) for kw in planted_sets.values()} for k,d in [('evidence','shape'), ('co_occur',None)])
    assert kinds=={*evidences} and with_=={*co_occurs}
    assert not any({*kw} & {'n','seed','y'} for kw in planted_sets.values())

@pytest.mark.parametrize('kw,words', [
    (dict(evidence='shapes'), ("`evidence` must be one of", "Did you mean 'shape'")), (dict(evidence=['shape']), ('`evidence` must be one of',)),
    (dict(evidence=None), ('`evidence` must be one of',)),
    (dict(co_occur='decoys'), ("`co_occur` must be one of", "Did you mean 'decoy'")), (dict(co_occur=True), ('`co_occur` must be one of',)),
    (dict(n_classes=1), ('must be 2, 3 or 4, got 1',)), (dict(n_classes=2.5), ('`n_classes` must be an int',)), (dict(width=0), ('between 1 and n_steps=128',)),
    (dict(width=12.5), ('`width` must be an int',)), (dict(n=-1), ('`n` must be an int from 0',)), (dict(n_channels=0), ('`n_channels` must be an int from 1',)),
    (dict(n_steps=0), ('`n_steps` must be an int from 1',)), (dict(noise=-.1), ('`noise` must be',)), (dict(noise=math.nan), ('`noise` must be',)),
    (dict(noise=math.inf), ('`noise` must be',)), (dict(seed=-1), ('`seed` must be',)),
    (dict(channel=1), ('below n_channels=1', 'got 1')), (dict(n_channels=2, channel=-3), ('below n_channels=2',)), (dict(channel=[]), ('`channel` must be',)),
    (dict(channel=None), ('`channel` must be',)), (dict(channel=True), ('`channel` must be',)), (dict(channel=.5), ('`channel` must be',)),
    (dict(channel='any'), ("'random' or 'all', got 'any'",)), (dict(n_channels=2, channel=(0,-2)), ('names a channel twice',)),
    (dict(evidence='frequency', width=11), ('up to 4 cycles', 'take 12 or more')), (dict(co_occur='distractor', width=11), ('up to 4 cycles',)),
    (dict(co_occur='distractor', n_steps=47), ('do not fit side by side',)),
    (dict(co_occur='decoy'), ('decoys need',)), (dict(co_occur='decoy', n_channels=2, channel='random'), ('decoys need',)),
    (dict(co_occur='decoy', n_channels=2, channel='all'), ('decoys need',)), (dict(co_occur='pair'), ('needs two channels',)),
    (dict(co_occur='pair', n_channels=3, channel='all'), ('needs two channels',)), (dict(co_occur='pair', n_channels=3, channel='random'), ('needs two channels',)),
    (dict(n=3, y=[0,1]), ('`y` must be n=3 ints from 0 to 1',)), (dict(n=2, y=[0,2]), ('from 0 to 1',)), (dict(n=2, y=[0,-1]), ('from 0 to 1',)),
    (dict(n=2, y=[0.,1.]), ('got torch.float32',)), (dict(n=2, y=[True,False]), ('got torch.bool',)), (dict(n=1, y=0), ('ints from 0',))])
def test_errors_of_planted(kw, words):
    with says(ValueError, *words): planted(**kw)

clean = dict(noise=0, jitter=0)
names = list(beat_changes)

def by_hand(waves, t, rr=1.):
    "The beat from the table, wave by wave, in plain Python floats; P by the fourth root of RR, T by its square root"
    res = []
    for s in t:
        v = 0.
        for k,(c,h,w) in waves.items():
            f = {'P':rr**.25, 'T':rr**.5}.get(k, 1.)
            v += h*math.exp(-(s-(.35+(c-.35)*f))**2 / (2*(w*(f if k=='T' else 1))**2))
        res.append(v)
    return torch.tensor(res)

@pytest.mark.parametrize('name', names)
@pytest.mark.parametrize('bpm', [60, 75, 120])
def test_beat_by_hand(name, bpm):
    x,y,mask = ecg_beats(1, 100., classes=[name], heart_rate=bpm, **clean)
    waves = beat_waves | {k:v for k,v in beat_changes[name].items() if k in beat_waves}
    torch.testing.assert_close(x[0,0], by_hand(waves, [i/100 for i in range(100)], 60/bpm), rtol=0, atol=2e-6)
    assert x.shape==mask.shape==(1,1,100) and mask.dtype==torch.bool and y.tolist()==[0]

def test_the_normal_beat():
    "R at its place and height; PR, QRS and QT as a healthy adult has them at 60 a minute"
    x = ecg_beats(1, 1000., **clean)[0][0,0]
    assert x.argmax()==350
    q,s = (beat_waves[k] for k in 'QS')
    r = 1.1 + q[1]*math.exp(-(.025/.01)**2/2) + s[1]*math.exp(-(.028/.012)**2/2)
    assert abs(x.max().item()-r)<1e-3
    onset = lambda k: beat_waves[k][0]-2*beat_waves[k][2]
    end = lambda k: beat_waves[k][0]+2*beat_waves[k][2]
    assert .12<=onset('Q')-onset('P')<=.20 and .06<=end('S')-onset('Q')<=.12 and .35<=end('T')-onset('Q')<=.44

def test_the_defaults_are_the_three_classes():
    "Five draws for each beat, then the noise, as ever"
    assert beat_classes==['normal','ventricular','inverted T']==names[:3]
    x,y,mask = ecg_beats(30, seed=4)
    g,t = torch.Generator().manual_seed(4),torch.arange(180)/180.
    w = torch.tensor([[(beat_waves|beat_changes[beat_classes[c]])[k] for k in 'PQRST'] for c in y])
    w = w*(1+.08*torch.randn(30, 5, 3, generator=g)*torch.tensor([.1,1,1]))
    c,h,s = (o[...,None] for o in w.unbind(-1))
    torch.testing.assert_close(x[:,0], (h*torch.exp(-(t-c)**2/(2*s**2))).sum(1)+.03*torch.randn(30, 180, generator=g))
    assert y.tolist()==[0,1,2]*10

@pytest.mark.parametrize('name', names[1:])
@pytest.mark.parametrize('kw', [dict(jitter=0), dict(jitter=.15, seed=3), dict(jitter=.1, heart_rate=90., hrv=.1, seed=5)])
def test_mask_is_where_the_beat_differs(name, kw):
    "Brute force: the beat against the normal beat it would have been"
    n = 20
    x,_,mask = ecg_beats(n, classes=[name], noise=0, **kw)
    x0,_,mask0 = ecg_beats(n, classes='normal', noise=0, **kw)
    diff = (x-x0).abs()
    assert not mask0.any()
    assert (diff[~mask]<.015).all()                                   # half the default noise; three widths leave 1.1 % of a wave
    assert (diff[mask]>.005).float().mean()>.8
    first,last = (lambda m: m.float().argmax(-1))(mask),(lambda m: 179-m.flip(-1).float().argmax(-1))(mask)
    seen = diff>.002                                                  # no margin to speak of on either side
    assert (seen.float().argmax(-1)-first).max()<=6 and (last-(179-seen.flip(-1).float().argmax(-1))).max()<=6

def test_a_moved_wave_is_marked_where_it_would_be(monkeypatch):
    "A wave that moved leaves a gap, and the gap is evidence too"
    monkeypatch.setitem(beat_changes, 'late T', dict(T=(.80,.30,.030)))
    _,_,mask = ecg_beats(1, 1000., classes=['late T'], **clean)
    got = {*mask[0,0].nonzero()[:,0].tolist()}
    assert got ^ {*range(465, 736), *range(710, 891)} <= {465, 710, 735, 890} # the borders themselves are left to rounding

def test_rhythm_moves_p_and_t_alone():
    x = {bpm: ecg_beats(1, 1000., heart_rate=bpm, **clean)[0][0,0] for bpm in (60,240)}
    at = lambda o, lo, hi: lo+o[lo:hi].argmax().item()
    assert [at(o, 420, 800) for o in x.values()]==[600,475]           # .25 s, and half of it
    assert abs(at(x[240], 100, 300)-(350-150*.25**.25))<=1
    torch.testing.assert_close(x[60][310:400], x[240][310:400], atol=5e-3, rtol=0)

def test_variation():
    "Heights, intervals and baseline vary as much as asked, one at a time"
    x = ecg_beats(2000, classes='normal', noise=0, jitter=.1)[0][:,0]
    assert abs(x.amax(1).std().item()/1.1-.1)<.01
    x = ecg_beats(2000, classes='normal', hrv=.1, fs=500., **clean)[0][:,0,200:]
    rr = (((200+x.argmax(1))/500-.35)/.25)**2
    assert abs(rr.mean().item()-1)<.01 and abs(rr.std().item()-.1)<.01
    flat = ecg_beats(50, classes='normal', **clean)[0]
    low = ecg_beats(50, classes='normal', wander=.2, **clean)[0]-flat
    assert low.abs().max()<=.2+1e-6 and low.std(0).min()>.08 and low.diff(dim=-1).abs().max()<.2*2*math.pi*.4/180*1.01
    assert abs(ecg_beats(50, classes='normal', noise=.05, jitter=0)[0].sub(flat).std().item()-.05)<.002

def test_seeds_and_global_random_state():
    before = torch.get_rng_state()
    for f in (ecg_beats, ecg_strip):
        a,b,c = f(seed=1),f(seed=1),f(seed=2)
        assert all(torch.equal(u, v) for u,v in zip(a, b)) and not torch.equal(a[0], c[0])
        quiet,loud = f(seed=1, noise=0, wander=0),f(seed=1, noise=.5, wander=1.)
        assert all(torch.equal(u, v) for u,v in zip(quiet[1:], loud[1:])) # the same beats, in more noise
    assert torch.equal(before, torch.get_rng_state())

@pytest.mark.parametrize('bpm', [45, 60, 72, 110])
def test_strip_keeps_its_heart_rate(bpm):
    x,peaks,y,mask = ecg_strip(120, heart_rate=bpm, hrv=.05, classes='normal', seed=bpm)
    assert x.shape==mask.shape==(1,120*180) and not mask.any() and not y.any() and len(peaks)==len(y)
    rr = peaks.diff()/180
    assert abs(60/rr.mean().item()-bpm)<.01*bpm and abs(rr.std()/rr.mean()-.05)<.015
    assert abs(len(peaks)-2*bpm)<=.02*2*bpm+1

def test_rhythm_breathes():
    "Two slow waves, at .1 and .25 Hz: neighbouring intervals are alike, and the power is at these two"
    _,peaks,_,_ = ecg_strip(600, fs=1000., heart_rate=60, hrv=.05, classes='normal', **clean)
    rr = peaks.diff().double()
    power = torch.fft.rfft(rr-rr.mean()).abs()**2
    f = torch.fft.rfftfreq(len(rr))
    near = ((f-.1).abs()<.01)|((f-.25).abs()<.01)
    assert power[near].sum()/power.sum()>.7 and near.float().mean()<.1

@pytest.mark.parametrize('name', names)
def test_peaks_are_the_highest_steps(name):
    x,peaks,y,_ = ecg_strip(30, 250., heart_rate=65, classes=['normal',name], probs=[.5,.5], noise=0, jitter=.05, seed=2)
    for p in peaks[(peaks>25)&(peaks<x.shape[1]-25)].tolist(): assert abs(p-(p-25+x[0,p-25:p+26].argmax().item()))<=3
    assert (peaks.diff()>0).all()

def test_strip_is_the_sum_of_its_beats():
    "Against a strip put together from single beats, without rhythm or chance"
    x,peaks,y,mask = ecg_strip(20, 200., heart_rate=60, hrv=0, classes=['normal','inverted T'], probs=[.6,.4], seed=3, **clean)
    assert {*peaks.diff().tolist()}=={200} and 0<y.sum()<len(y)
    one,_,marks = ecg_beats(2, 200., classes=['normal','inverted T'], **clean)
    ref,marked = torch.zeros(21*200+400),torch.zeros(21*200+400, dtype=torch.bool)
    for p,c in zip(peaks.tolist(), y.tolist()):
        ref[p+200-70:p+400-70] += one[c,0]
        marked[p+200-70:p+400-70] |= marks[c,0]
    inner = slice(peaks[0]-50, peaks[-1]+100)
    x,mask,ref,marked = x[0,inner],mask[0,inner],ref[200:-200][:x.shape[1]][inner],marked[200:-200][:x.shape[1]][inner]
    assert (x-ref).abs().max()<.1 and (x-ref).abs().mean()<.01        # an R peak falls between two steps
    assert (mask!=marked).sum()<=2*len(peaks)

@pytest.mark.parametrize('name,before,pair', [('ventricular',.7,2.), ('atrial',.7,1.8), ('inverted T',1.,2.)])
def test_early_beats_and_their_pause(name, before, pair):
    _,peaks,y,_ = ecg_strip(60, 1000., heart_rate=60, hrv=0, classes=['normal',name], probs=[.8,.2], seed=1, **clean)
    i = [k for k in range(1, len(y)-1) if y[k-1:k+2].tolist()==[0,1,0]]
    assert len(i)>=2
    for k in i:
        assert abs((peaks[k]-peaks[k-1]).item()-1000*before)<=2 and abs((peaks[k+1]-peaks[k-1]).item()-1000*pair)<=2

def test_strip_mask_belongs_to_its_beats():
    "Without abnormal beats nothing is marked; each mark is near an abnormal beat, and each abnormal beat has one"
    for seed in range(5):
        x,peaks,y,mask = ecg_strip(12, seed=seed, probs=[.6,.2,.2])
        at = peaks[y>0]/180
        for s in mask[0].nonzero()[:,0]/180: assert ((s-at>-.35)&(s-at<.65)).any()
        for p in peaks[y>0].tolist(): assert p+30>=x.shape[1] or mask[0,max(p-60,0):p+90].any()

def test_probabilities_and_edges():
    _,_,y,_ = ecg_strip(1000, probs=[.5,.3,.2])
    assert (torch.bincount(y)/len(y)-torch.tensor([.5,.3,.2])).abs().max()<.05
    _,_,y,_ = ecg_strip(1000, classes=names)
    assert abs((y==0).float().mean().item()-.8)<.04 and {*y.tolist()}=={0,1,2,3,4}
    x,peaks,y,mask = ecg_strip(1/180)
    assert x.shape==mask.shape==(1,1) and len(peaks)==len(y)<=1
    x = ecg_strip(6, heart_rate=60, hrv=0, classes='normal', **clean)[0][0]
    assert x[:180].max()>.5 and x[-180:].max()>.5                     # no second without a beat, at either end
    first = [ecg_strip(3, heart_rate=60, hrv=0, classes='normal', seed=i, **clean) for i in range(30)]
    at = [o[1][0].item()/180 for o in first]
    assert min(at)<.2 and .8<max(at)<=1                               # the strip begins anywhere in a beat
    late = [x[0] for (x,*_),a in zip(first, at) if .65<a]
    assert late and all(o[:int((a-.4)*180)].abs().max()>.02 for o,a in zip(late, [a for a in at if .65<a])) # the T wave of the beat before it

@pytest.mark.parametrize('f,kw,says', [
    (ecg_beats, dict(classes=['normal','Ventricular']), "Did you mean 'ventricular'"), (ecg_beats, dict(classes=[]), 'is empty'),
    (ecg_beats, dict(n=0), '`n` must be at least 1, got 0'), (ecg_beats, dict(fs=1), '`fs` must be at least 20'),
    (ecg_beats, dict(noise=-1), '`noise` must be'), (ecg_beats, dict(jitter=.5), 'between 0 and 0.3'), (ecg_beats, dict(heart_rate=1.2), 'between 20 and 250'),
    (ecg_beats, dict(hrv=float('nan')), '`hrv` must be'), (ecg_beats, dict(wander=-1), '`wander` must be'),
    (ecg_strip, dict(classes='flutter'), 'names in `beat_changes`'), (ecg_strip, dict(seconds=0), '`seconds` must be'),
    (ecg_strip, dict(seconds=math.inf), '`seconds` must be'), (ecg_strip, dict(probs=[.5,.5]), '3 probabilities'), (ecg_strip, dict(probs=[2,-.5,-.5]), 'sum to 1'),
    (planted, dict(n_classes=5), 'must be 2, 3 or 4'), (planted, dict(width=200), 'between 1 and')])
def test_errors(f, kw, says):
    with pytest.raises(ValueError) as e: f(**kw)
    assert says in str(e.value) and '\n' not in str(e.value)

@pytest.mark.parametrize('change,says', [(dict(U=(.8,.1,.03)), 'allowed are'), (dict(early=1.), 'between 0 and .9')])
def test_errors_of_own_changes(monkeypatch, change, says):
    monkeypatch.setitem(beat_changes, 'mine', change)
    for f in (ecg_beats, ecg_strip):
        with pytest.raises(ValueError, match=says): f(classes=['normal','mine'])

def test_own_changes(monkeypatch):
    monkeypatch.setitem(synth.beat_changes, 'tall T', dict(T=(.60,.90,.045)))
    x,_,mask = ecg_beats(2, classes=['normal','tall T'], **clean)
    assert abs((x[1]-x[0]).max().item()-.6)<1e-5 and mask[1].any() and not mask[0].any()
