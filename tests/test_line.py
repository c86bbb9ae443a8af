"The geometry of a drawn series, against brute force"
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from tsviz.line import *

rng = np.random.default_rng(0)

# rows, times, names

def test_rows_times_and_maps():
    for x in (torch.ones(3, requires_grad=True), np.ones(3, 'float16'), [1,1,1]): assert as_rows(x).tolist()==[[1,1,1]] and as_rows(x).dtype==float
    assert np.isnan(as_rows([[1,np.inf],[-np.inf,np.nan]])).tolist()==[[False,True],[True,True]]
    assert as_map([1,2], (2,2)).tolist()==[[1,2],[1,2]] and as_map([[1,2],[3,4]], (2,2)).tolist()==[[1,2],[3,4]]
    assert as_times(3).tolist()==[0,1,2] and as_times(2, fs=4).tolist()==[0,.25] and as_times(2, [5,9]).tolist()==[5,9]
    for f,msg in [(lambda: as_rows(np.zeros((2,2,2))), r'got shape \(2, 2, 2\)'), (lambda: as_rows([]), 'at least one step'), (lambda: as_map([1,2,3], (2,2), 'std'), '`std` must be one row'),
                  (lambda: as_times(2, [1,2], 3), 'pass one of them'), (lambda: as_times(2, fs=-1), 'above 0, got -1'), (lambda: as_times(2, [1]), 'each of the 2 steps')]:
        with pytest.raises(ValueError, match=msg): f()

def test_names():
    assert [as_name(o) for o in ('a', None, ('a','mV'), ('a',None), (None,'mV'), (None,None), 7)]==['a',None,'a (mV)','a','mV',None,'7']

@given(st.text('ab ', max_size=60), st.integers(1,20), st.integers(1,4))
def test_folded_text_fits(text, width, n):
    lines = fold_text(text, width, len, n)
    assert len(lines)<=n and all(len(o)<=width for o in lines)
    words = ' '.join(text.split()).split(' ')
    whole = ' '.join(' '.join(lines).split())
    if '…' not in whole: assert whole==' '.join(words)
    else: assert whole.split('…')[0].split(' ')[0] in words[0]
    if text==whole: assert fold_text(text, max(len(text), 1), len, n)==([text] if text else [])

def test_last_point_and_length():
    assert last_point(np.arange(3.), np.array([1,5,np.nan]))==(1,5) and np.isnan(last_point(np.arange(2), np.full(2, np.nan))).all()
    x = rng.standard_normal(20)
    segs = step_segments(np.arange(20), x)
    whole = np.r_[0, np.hypot(1, np.diff(x)).cumsum()]
    np.testing.assert_allclose(length_before(segs), (np.r_[0, whole[:-1]]+np.r_[0, whole[1:]])/2)

@given(hnp.arrays(float, (2,9), elements=st.floats(-9,9) | st.just(np.nan)))
def test_band_area(edges):
    lo,hi = np.sort(edges, axis=0)
    t = np.cumsum(np.arange(1.,10))
    shoelace = lambda p: abs(np.dot(p[:,0], np.roll(p[:,1], 1))-np.dot(p[:,1], np.roll(p[:,0], 1)))/2
    h = hi-lo
    want = np.nansum((h[1:]+h[:-1])/2*np.diff(t))
    np.testing.assert_allclose(sum(shoelace(p) for p in band_polygons(t, lo, hi)), want, atol=1e-9)

# decimation

values = st.floats(-5,5) | st.sampled_from([0.,0.,np.nan])

@st.composite
def lines(draw):
    n = draw(st.integers(1,60))
    px = np.cumsum(draw(hnp.arrays(float, n, elements=st.sampled_from([.01,.2,.5,3.]))))
    return px,draw(hnp.arrays(float, n, elements=values)),draw(hnp.arrays(float, n, elements=values))

def columns(px, x):
    "The steps of each column, and those of them that can be seen"
    for c in np.unique(np.floor(px)):
        i = np.flatnonzero(np.floor(px)==c)
        yield i,i[np.isfinite(x[i])]

@settings(deadline=None, max_examples=60)
@given(lines())
def test_decimation_keeps_every_extreme(line):
    px,x,attr = line
    kept,peaks = decimate(px, x, attr)
    assert (np.diff(kept)>0).all()
    mine = {*kept.tolist()}
    found = []
    for i,ok in columns(px, x):
        if len(i)<=2: assert {*i.tolist()}<=mine
        if not len(ok): continue
        assert {ok[0],ok[-1]}<=mine
        here = [o for o in ok if o in mine]
        assert np.max(x[here])==np.max(x[ok]) and np.min(x[here])==np.min(x[ok])
        known = ok[np.isfinite(attr[ok])]
        if not len(known): continue
        assert np.nanmax(attr[here])==attr[known].max() and np.nanmin(attr[here])==attr[known].min()
        assert np.nanmax(abs(attr[here]))==abs(attr[known]).max()
        if len(i)>2: assert len(here)<=7
        top = known[abs(attr[known]).argmax()]
        here = [o for o in peaks if o in i]
        assert here==([top] if len(px)>1 and np.diff(step_edges(px))[top]<2 else [])
        found += here
    assert sorted(found)==sorted(peaks) and (np.diff(abs(attr[peaks]))>=0).all()

@settings(deadline=None, max_examples=60)
@given(lines())
def test_a_gap_wider_than_a_pixel_stays_and_no_other_appears(line):
    px,x,_ = line
    kept,_ = decimate(px, x)
    assert {*kept.tolist()}<={*decimate(px, x, x)[0].tolist()}
    for i,j in zip(kept, kept[1:]):
        if np.isfinite(x[[i,j]]).all() and np.isnan(x[i:j+1]).any(): assert px[j]-px[i]<=1
    good = np.flatnonzero(np.isfinite(x))
    for i,j in zip(good, good[1:]): # the steps between two neighbours of the series that both count are no gap in what is kept
        if j==i+1: assert not any(np.isnan(x[k]) for k in kept if i<k<j)

@settings(deadline=None, max_examples=60)
@given(st.integers(0,9999), st.integers(0,9999), st.integers(3,900), st.booleans(), st.floats(1.,4.))
def test_single_spikes_of_series_and_map_are_kept(i, j, n_pixels, down, power):
    "One step in ten thousand, at equal and at unequal times"
    T = 10_000
    x,attr = np.sin(np.arange(T)/500),np.cos(np.arange(T)/700)
    x[i] += -9 if down else 9
    attr[j] = -9 if down else 9
    px = (np.arange(T)/T)**power*n_pixels
    kept,peaks = decimate(px, x, attr)
    assert i in kept and j in kept
    col = np.floor(px)
    if (col==col[j]).sum()>2: assert peaks[-1]==j
    assert len(kept) <= 7*len(np.unique(col))

def test_short_series_are_left_alone():
    x = rng.standard_normal(100)
    kept,peaks = decimate(np.arange(100)*2, x, x)
    assert decimate(np.arange(100)/2, x, x)[0].tolist()==list(range(100))
    assert kept.tolist()==list(range(100)) and not len(peaks)
    assert decimate(np.zeros(1), np.zeros(1))[0].tolist()==[0]

def test_what_lies_outside_is_one_column_on_each_side():
    px,x = np.arange(1000.),rng.standard_normal(1000)
    kept,_ = decimate(px, x, None, 400, 410)
    assert {*range(400,411)} <= {*kept} and len(kept)<=13+2*4 and {399,411,999} <= {*kept}

def test_places_that_do_not_exist_and_times_without_order():
    "A logarithmic axis has no place for zero; times may come in any order"
    x = rng.standard_normal(1000)
    with np.errstate(divide='ignore'): px = 50*np.log10(np.arange(1000.)*np.r_[0,np.ones(999)])
    px[0] = np.nan
    kept,_ = decimate(px, x, x)
    assert np.nanargmax(x[1:])+1 in kept and len(kept)<1000
    order = rng.permutation(1000)
    kept,_ = decimate(px[order], x[order], x[order])
    assert {order.tolist().index(x[1:].argmax()+1), order.tolist().index(x[1:].argmin()+1)} <= {*kept.tolist()}

@settings(deadline=None, max_examples=60)
@given(hnp.arrays(float, (3,40), elements=st.floats(-3,3)), st.integers(1,4))
def test_points_sift(o, size):
    px,py,attr = o
    px,py = px/size,py/size
    seen = sift_points(px, py, attr)
    cells = {}
    for i in range(40): cells.setdefault((np.floor(px[i]),np.floor(py[i])), []).append(i)
    assert len(seen)==len(cells) and (np.diff(abs(attr[seen]))>=0).all()
    assert sorted(abs(attr[seen]))==sorted(max(abs(attr[i]) for i in o) for o in cells.values())

@settings(deadline=None, max_examples=60)
@given(hnp.arrays(float, 30, elements=st.sampled_from([0.,.1,.7,5.])), hnp.arrays(float, (2,30), elements=values))
def test_columns_of_heat_take_the_strongest_cell(widths, rows):
    edges = np.r_[0, np.cumsum(widths+.01)] + .3
    cols = np.arange(np.floor(edges[0]), np.ceil(edges[-1])+1)
    got = pool_columns(edges, rows, cols)
    for k,(a,b) in enumerate(zip(cols, cols[1:])):
        touched = [i for i in range(30) if edges[i]<b and edges[i+1]>a]
        for row,value in zip(rows, got[:,k]):
            known = [row[i] for i in touched if np.isfinite(row[i])]
            if known: assert abs(value)==max(map(abs, known)) and value in known
            else: assert np.isnan(value)

def test_a_line_that_fits_is_not_cut():
    "Where the ellipsis is wider than the letters that it stands for"
    wide = lambda o: sum(3 if c=='…' else 1 for c in o)
    assert fold_text('number 0', 8, wide)==['number 0'] and fold_text('numbers 0', 8, wide)==['numbers','0']
    assert fold_text('numbers', 6, wide)==['num…']
