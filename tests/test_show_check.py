"`show_cam(check=True)`: what a title says of how much its map can be believed"
import matplotlib
matplotlib.use('Agg')
import pytest, torch, torch.nn as nn
from common import says
from tsviz.cam import cam_acts, hires_cam
from tsviz.check import check_found
from tsviz.data import TSDataLoaders
from tsviz.faithfulness import beats_random
from tsviz.learner import ts_learner
from tsviz.method import over_models, precomputed
from tsviz.metrics import random_map
from tsviz.models import Ensemble
from tsviz.plot import SeriesLine
from tsviz.score import prob
from tsviz.show import show_cam
from tsviz.synth import fit_tiny, planted, tiny_cnn

x,y,_ = planted(n=24, n_classes=3, n_steps=64, noise=.1)
model = fit_tiny(tiny_cnn(n_classes=3), x, y, n_steps=60)
nets = [model] + [fit_tiny(tiny_cnn(n_classes=3, seed=i), x, y, n_steps=20) for i in (1,2)]
i2o = lambda y: ['Gun','Point','Wave'][y.data.item()]
batch = x[:2],y[:2]

pytestmark = pytest.mark.usefixtures('nothing_left_behind')

def lines(fig): return [o for ax in fig.axes for o in ax.collections if isinstance(o, SeriesLine)]
def titles(fig): return [ax.get_title() for ax in fig.axes if ax.get_title()]
def trust(n): return 'better than '+('all 20 random maps' if n==20 else f'{n} of 20 random maps: may be chance' if n>10 else f'only {n} of 20 random maps' if n else 'none of 20 random maps')
def untouched(*args, **kwargs): raise AssertionError('the model was asked before the arguments were checked')

class Counter(nn.Module):
    "Counts the passes and the rows that go through a model"
    def __init__(self, m): super().__init__(); self.m,self.passes,self.rows = m,0,0
    def forward(self, x):
        self.passes += 1; self.rows += len(x)
        return self.m(x)

def counted(monkeypatch, *won):
    "`beats_random` says so, and what it was asked is kept"
    asked = []
    def fake(attrs, x, y, model, n=20, **kwargs):
        asked.append((attrs,x,y,model,n,kwargs))
        return torch.tensor(won)
    monkeypatch.setattr('tsviz.show.beats_random', fake)
    return asked

def test_words_of_trust(monkeypatch):
    counted(monkeypatch, 20, 19, 11, 10, 1, 0)
    how = dict(func_cam=hires_cam, i2o=i2o, check=True)
    want = ['all 20 random maps','19 of 20 random maps: may be chance','11 of 20 random maps: may be chance','only 10 of 20 random maps','only 1 of 20 random maps','none of 20 random maps']
    fig = show_cam((x[:6],y[:6]), model, multi_fig=True, **how)
    assert [t.splitlines() for t in titles(fig)]==[[f'[{i2o(c)}] - HiResCAM',f'better than {w}'] for c,w in zip(y, want)]
    [t] = titles(show_cam((x[:6],y[:6]), model, figsize=(13,4), **how))
    told = ' '.join(t.splitlines()[1:])
    assert told=='better than random maps: all 20 - 19 of 20, may be chance - 11 of 20, may be chance - only 10 of 20 - only 1 of 20 - none of 20'

def test_words_of_trust_for_one_and_for_many(monkeypatch):
    counted(monkeypatch, 20)
    assert titles(show_cam((x[0],y[0]), model, check=True))==['[0] - CAM - mean\nbetter than all 20 random maps']
    counted(monkeypatch, *[20]*24)
    [t] = titles(show_cam((x,y), model, check=True, figsize=(13,4)))
    assert t.splitlines()[1]=='better than random maps: '+' - '.join(['all 20']*6)+' - … 18 more'

def test_trust_is_the_last_of_all_that_is_told(monkeypatch):
    counted(monkeypatch, 3, 20)
    fig = show_cam((x[:2],1-y[:2]), model, func_cam=hires_cam, i2o=i2o, y=2, confidence=['a','b'], multi_fig=True, check=True, figsize=(13,6))
    assert [len(t.splitlines()) for t in titles(fig)]==[5,5]
    assert [t.splitlines()[4] for t in titles(fig)]==['better than only 3 of 20 random maps','better than all 20 random maps']

def test_nothing_is_checked_unasked(monkeypatch):
    asked = counted(monkeypatch, 1, 2)
    assert 'random' not in ' '.join(titles(show_cam(batch, model))) and not asked
    show_cam(batch, model, check=True)
    assert len(asked)==1

@pytest.mark.parametrize('kw', [dict(), dict(force_scale='max'), dict(force_scale=False), dict(scale_range=(1,0)), dict(scale_range=(-3,8)), dict(force_scale=False, scale_range=(1,0))])
def test_the_scale_of_the_picture_does_not_matter(kw):
    "However the map is drawn, what is checked is the order of its steps: the numbers are those of the raw map"
    for f in (hires_cam, cam_acts):
        raw = f(x[:3], y[:3], model) if f is hires_cam else f(x[:3], y[:3], model, force_scale=False)
        want = beats_random(raw, x[:3], y[:3], model)
        fig = show_cam((x[:3],y[:3]), model, func_cam=f, multi_fig=True, check=True, **kw)
        assert [t.splitlines()[-1] for t in titles(fig)]==[trust(int(n)) for n in want]

def test_good_maps_are_believed_and_noise_is_not():
    "On planted series: the truth beats all random maps, its opposite none; noise does so in about one case of 21"
    xs,ys,mask = planted(n=8, n_steps=64, noise=.3, seed=5)
    m = fit_tiny(tiny_cnn(), *planted(n=64, n_steps=64, noise=.3)[:2])
    last = lambda attrs: [t.splitlines()[-1] for t in titles(show_cam((xs,ys), m, func_cam=precomputed(attrs), multi_fig=True, check=True))]
    sure = [i for i,o in enumerate(last(mask.float())) if o==trust(20)]
    opposite,noise = last(-mask.float()),last(torch.rand(8, 1, 64, generator=torch.Generator().manual_seed(3)))
    assert len(sure)>=4 and all('may be' not in opposite[i] and opposite[i]!=trust(20) for i in sure) and sum(o==trust(20) for o in noise)<=1

def test_trust_by_hand():
    "One step is all that counts: the map that names it beats each random map that does not have it among the three steps that are replaced first"
    class First(nn.Module):
        def forward(self, x): return torch.stack([2*x[:,0,0]-10,0*x[:,0,0]], 1)
    one = torch.zeros(1,1,64); one[0,0,0] = 1
    s = torch.ones(1,1,64); s[0,0,0] = 9
    rank = [(random_map(i)(s, 0, First())[0,0].argsort(descending=True)==0).nonzero().item() for i in range(1, 21)]
    for attr,n in ((one,sum(o>=3 for o in rank)), (-one,0)):
        assert titles(show_cam((s,[0]), First(), func_cam=precomputed(attr), check=True))[0].splitlines()[1]==trust(n)

def test_trust_of_padded_series():
    "A series in a padded batch is checked as it is alone: a good map, and maps that beat some"
    padded,lengths = x[:3].clone(),torch.tensor([64,40,9])
    for i,n in enumerate(lengths): padded[i,:,n:] = 7
    for attr in (None, *torch.rand(3, 3, 1, 64, generator=torch.Generator().manual_seed(0))):
        func = lambda rows, n, attr=attr: hires_cam if attr is None else precomputed(attr[rows,:,:n])
        many = titles(show_cam((padded,y[:3]), model, func_cam=func(slice(None), 64), lengths=lengths, multi_fig=True, check=True))
        assert many==[titles(show_cam((x[i,:,:n],y[i]), model, func_cam=func([i], n), check=True))[0] for i,n in enumerate(lengths)]

def test_trust_where_other_steps_are_drawn():
    "`place` moves maps for the eye alone"
    want = titles(show_cam(batch, model, func_cam=hires_cam, multi_fig=True, check=True))
    fig = show_cam(batch, model, func_cam=hires_cam, multi_fig=True, check=True, xs=[o[:,::2] for o in x[:2]], place=lambda a: [o[:,::2] for o in a])
    assert titles(fig)==want and [len(o.get_array()) for o in lines(fig)]==[32,32]

def test_trust_in_what_is_explained(monkeypatch):
    "Classes, the prediction, a function, a single output"
    asked = counted(monkeypatch, 1, 2)
    f = prob(1)
    for target,want in ((None,model(x[:2]).argmax(1).tolist()), (2,2), (torch.tensor([2,0]),[2,0]), (f,f)):
        show_cam(batch, model, func_cam=hires_cam, y=target, check=True)
        got = asked[-1][2]
        assert got is f if want is f else (got.tolist() if isinstance(got, torch.Tensor) else got)==want
    monkeypatch.undo()
    single = nn.Sequential(*model[:-1], nn.Linear(8,1))
    for m,target in ((single,'label'), (model,prob(1)), (model,lambda out: out[:,0]-out[:,1])):
        assert all('random maps' in t for t in titles(show_cam((x[:2],torch.tensor([0.,1.])) if m is single else batch, m, func_cam=hires_cam, y=target, multi_fig=True, check=True)))

def test_trust_of_several_models():
    "The mean map is held against `model`"
    mean = torch.stack([hires_cam(x[:2], y[:2], o) for o in nets]).mean(0)
    for m in (model, Ensemble(nets)):
        got = [t.splitlines()[-1] for t in titles(show_cam(batch, m, func_cam=over_models(hires_cam, nets), multi_fig=True, check=True))]
        assert got==[trust(int(n)) for n in beats_random(mean, x[:2], y[:2], m)]

def test_a_check_leaves_nothing_behind():
    "Model, series, random state; and it says the same every time, whatever that state is"
    m = tiny_cnn(n_classes=3).train()
    m.insert(1, nn.BatchNorm1d(8)); m.insert(2, nn.Dropout())
    noise = precomputed(torch.rand(2, 1, 64, generator=torch.Generator().manual_seed(1)))
    first = titles(show_cam(batch, m, func_cam=noise, check=True))
    torch.manual_seed(99)
    with check_found(m, x): again = titles(show_cam(batch, m, func_cam=noise, check=True))
    assert first==again

def test_cost_of_a_check():
    "At most 21 maps of 21 changes more for each series, in few passes"
    m = Counter(model)
    show_cam(batch, m, func_cam=hires_cam); m.passes = m.rows = 0
    show_cam(batch, m, func_cam=hires_cam)
    base,passes,m.rows,m.passes = m.rows,m.passes,0,0
    show_cam(batch, m, func_cam=hires_cam, check=True)
    assert 0<m.rows-base<=2*21*22 and m.passes-passes<=2*21

def test_own_titles_leave_no_room_for_a_check():
    for kw,name in ((dict(titles=['a','b'], multi_fig=True),'titles'), (dict(title='a'),'title')):
        with says(ValueError, f'leave out `{name}`'): show_cam(batch, untouched, check=True, **kw)
    show_cam(batch, model, title='All', multi_fig=True, check=True); show_cam(batch, model, titles=['a','b'], check=True)

def test_a_learner_checks_too():
    learn = ts_learner(TSDataLoaders.from_numpy(x, y.numpy(), valid_idx=range(16,24), bs=8), model)
    fig = learn.show_cam(idxs=[0,1], func_cam=hires_cam, check=True)
    assert all('better than' in t.splitlines()[-1] and 'random maps' in t for t in titles(fig)) and len(titles(fig))==2
