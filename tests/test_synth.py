"Simulated heartbeats: where the waves are, what the mask marks, how the beats follow one another"
import math
import pytest, torch
from tsviz import synth
from tsviz.synth import beat_changes, beat_classes, beat_waves, ecg_beats, ecg_strip, planted

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
