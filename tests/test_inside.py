"What the functions of `inside` say of a network, against plain hooks, closed forms and brute force"
import copy, math, threading, weakref
import numpy as np, pytest, torch, torch.nn as nn, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset
from common import Fwd, says
from tsviz.check import check_found
from tsviz.core import prob
from tsviz.data import TSDataLoaders, TensorTS
from tsviz.inside import class_stats, contributions, feature_maps, frequency_response, kernels, receptive_field, top_windows
from tsviz.models import fcn, inception_time
from tsviz.score import LayerRun, TargetScore, explaining
from tsviz.synth import planted, tiny_cnn

x,y,_ = planted(12, n_channels=2, n_steps=40, n_classes=3, width=16)
model = tiny_cnn(2, 3)

def hooked(model, layer, x, call=-1):
    "What a plain forward hook sees, of the layer's given run"
    seen = []
    h = model.get_submodule(layer).register_forward_hook(lambda m,i,o: seen.append(o.detach().clone()))
    was = [o.training for o in model.modules()]
    model.eval()
    with torch.no_grad(): model(x)
    h.remove()
    for o,t in zip(model.modules(), was): o.training = t
    return seen[call]

def messy():
    "A model in training mode, whose statistics and drawn numbers a careless look would change"
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv1d(2,6,5,padding=2), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(.5), nn.Conv1d(6,4,3,stride=2,padding=1),
                      nn.ReLU(inplace=True), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4,3))
    m[0].weight.requires_grad_(False); m[0].bias.grad = torch.ones(6)
    return m

class Fails(nn.Module):
    def forward(self, x): raise ArithmeticError('on purpose')

# feature maps

def test_maps_are_those_of_a_plain_hook():
    m,count = tiny_cnn(2, 3),[]
    m.register_forward_hook(lambda *a: count.append(1))
    got = feature_maps(x, m, [2,'0',m[1]])
    assert list(got)==['2','0','1'] and len(count)==1
    for k,o in got.items(): assert torch.equal(o, hooked(m, k, x)) and type(o) is torch.Tensor and not o.requires_grad, k
    assert torch.equal(feature_maps(x, m, 2), got['2']) and torch.equal(feature_maps(x, m), hooked(m, '3', x))

def test_maps_of_one_series_and_names():
    one = feature_maps(x[3], model, 2)
    assert one.shape==(8,40) and torch.allclose(one, hooked(model, '2', x[3:4])[0], atol=1e-6) and torch.equal(one, feature_maps(x, model, 2)[3])
    got = feature_maps(x[3].numpy(), model, {'early':0, 'late':2, 'last':None})
    assert list(got)==['early','late','last'] and torch.equal(got['late'], one) and torch.equal(got['last'], one.relu())
    assert list(feature_maps(x, model, (0,None)))==['0','3']

def test_maps_before_an_inplace_relu():
    m = messy()
    got = feature_maps(x, m, ['0','1','2','4'])
    for k in ('0','4'): assert (got[k]<0).any()
    assert (got['1']<0).any() and torch.equal(got['2'], got['1'].relu())
    plain = copy.deepcopy(m); plain[2].inplace = plain[5].inplace = False
    for k,o in got.items(): assert torch.equal(o, hooked(plain, k, x)), k

def test_maps_in_double_precision_and_the_runs_of_a_shared_module():
    m = tiny_cnn(2, 3).double()
    assert feature_maps(x, m, 2).dtype==torch.double and torch.equal(feature_maps(x, m, 2), hooked(m, '2', x.double()))
    m = Fwd(lambda s,x: s.a(s.r(s.b(s.r(s.a(x))))).mean(-1), a=nn.Conv1d(2,2,3,padding=1), b=nn.Conv1d(2,2,3,padding=1), r=nn.ReLU())
    for name in 'ar':
        for call in (0,1,-1): assert torch.equal(feature_maps(x, m, LayerRun(name, call)), hooked(m, name, x, call)), (name,call)
        assert torch.equal(feature_maps(x, m, name), hooked(m, name, x))
    both = feature_maps(x, m, dict(first=LayerRun('r', 0), second=LayerRun('r', 1)))
    assert torch.equal(both['first'], hooked(m, 'r', x, 0)) and torch.equal(both['second'], hooked(m, 'r', x, 1))

def test_maps_of_padded_series():
    m,lengths,bad = messy(),[40,20,40,9]+[20]*8,x.clone()
    for o,n in zip(bad, lengths): o[:,n:] = torch.nan
    got = feature_maps(bad, m, ['0','4'], lengths=lengths)
    for i,n in enumerate(lengths):
        for k,size in (('0',n),('4',(n+1)//2)):
            alone = feature_maps(x[i,:,:n], m, k)
            assert alone.shape[-1]==size and torch.equal(got[k][i,:,:size], alone) and (got[k][i,:,size:]==0).all(), (i,k)
    known = TensorTS(x.clone()); known.lengths = torch.tensor(lengths)
    assert torch.equal(feature_maps(known, m, '4'), got['4'])
    assert torch.equal(feature_maps(known[3], m, '4')[:,:5], got['4'][3,:,:5])
    assert torch.equal(contributions(known, 1, m), contributions(x, 1, m, lengths=lengths))

def test_maps_under_any_mode():
    want = feature_maps(x, model, 2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(): assert torch.equal(feature_maps(x*1, model, 2).clone(), want)
    class Inner(nn.Module):
        def __init__(self): super().__init__(); self.m = tiny_cnn(2, 3)
        def forward(self, x):
            with torch.inference_mode(): return self.m(x)
    m = Inner()
    got = feature_maps(x, m, 'm.2')
    assert not got.is_inference() and torch.equal(got, want)

def kinds():
    "Models of other kinds -> model, a layer of it, its (left, R, stride, offset)"
    torch.manual_seed(0)
    conv = lambda: nn.Sequential(nn.Conv1d(2,6,5,padding=2), nn.ReLU(), nn.Conv1d(6,4,3,padding=1))
    head = lambda n: nn.Linear(n, 3)
    yield Fwd(lambda s,x: s.h(torch.cat([s.l(x.transpose(1,2))[0][:,-1], s.c(x).relu().mean(-1)], 1)),
              l=nn.LSTM(2,8,batch_first=True), c=conv(), h=head(12)),'c',(3,7,1,0)
    yield Fwd(lambda s,x: (s.c(x),s.h(s.c(x).mean(-1))), c=conv(), h=head(4)),'c.2',(3,7,1,0)
    yield Fwd(lambda s,x: s.h(s.a(x).mean(-1)+s.b(x).mean(-1)), a=nn.Conv1d(2,4,3), b=nn.Conv1d(2,4,9,stride=2,padding=4), h=head(4)),'b',(4,9,2,0)
    yield Fwd(lambda s,x: s.h(s.d(s.c(x[:,None]).flatten(1,2)).mean(-1)),
              c=nn.Conv2d(1,4,(1,5),padding=(0,2)), d=nn.Conv1d(8,4,3,padding=1), h=head(4)),'d',(3,7,1,0)
    yield Fwd(lambda s,x: s.h(s.t(s.c(x).transpose(1,2)).mean(1)), c=conv(), t=nn.TransformerEncoderLayer(4,2,8,batch_first=True), h=head(4)),'c',(3,7,1,0)
    yield nn.Sequential(conv(), nn.Flatten(), head(160)),'0',(3,7,1,0)

@pytest.mark.parametrize('i', range(6))
def test_models_of_other_kinds(i):
    m,layer,(left,R,stride,offset) = list(kinds())[i]
    m.train()
    with check_found(m, big, by):
        maps,top,R2 = feature_maps(big, m, layer),top_windows((big,by), m, layer, 1, k=4),receptive_field(m, layer, x=big)
        c = contributions(big, lambda o: (o[1] if isinstance(o, tuple) else o)[:,1], m, layer)
    assert torch.allclose(maps, hooked(m, layer, big), atol=1e-6) and c.shape==maps.shape[:2] and c.abs().max()>0
    assert R2==R
    assert_top(top, brute(m, layer, big, 1, 4, R, left, stride, offset), by.tolist())
    convs = [o for o in m.get_submodule(layer).modules() if isinstance(o, nn.Conv1d)]
    got = kernels(m, layer)
    for o,k in zip(convs, got.values() if isinstance(got, dict) else [got], strict=True): assert torch.equal(o.weight, k)

def test_another_thread_that_runs_the_model_meanwhile():
    m,main = tiny_cnn(2, 3),threading.get_ident()
    maps,(f,h),top = feature_maps(x, m, '2'),frequency_response(m, 2),top_windows(x, m, 2, 0)
    def other(mod, i, o):
        if threading.get_ident()==main: (t := threading.Thread(target=m, args=(-x[:3],))).start(); t.join()
    m[0].register_forward_hook(other)
    assert torch.equal(feature_maps(x, m, LayerRun('2', 0)), maps) and torch.equal(feature_maps(x, m, '2'), maps)
    got = frequency_response(m, 2)
    assert torch.equal(got[0], f) and torch.equal(got[1], h) and torch.equal(top_windows(x, m, 2, 0)[1], top[1])

# contributions

def test_contributions_add_up():
    "Behind the layer the network is linear but for its bias: contributions are exact"
    m = tiny_cnn(2, 3)
    c = contributions(x, y, m)
    out = m(x).detach()
    assert c.shape==(12,8) and torch.allclose(c.sum(1), (out-m[-1].bias.detach()).gather(1, y[:,None])[:,0], atol=1e-5)
    a = hooked(m, '3', x).mean(-1)
    assert torch.allclose(c, a*m[-1].weight.detach()[y], atol=1e-6)
    assert torch.allclose(contributions(x[4], int(y[4]), m), c[4], atol=1e-6)
    assert torch.allclose(contributions(x, None, m), a*m[-1].weight.detach()[out.argmax(1)], atol=1e-6)

def test_contributions_of_padded_series_each_to_its_own_class():
    m,lengths = messy(),[40,20,40,9]+[20]*8
    for target in (y,y.tolist(),prob(y),None):
        got = contributions(x, target, m, 4, lengths=lengths)
        for i,n in enumerate(lengths):
            own = prob(int(y[i])) if callable(target) else None if target is None else int(y[i])
            assert torch.allclose(got[i], contributions(x[i,:,:n], own, m, 4), atol=1e-6), i

def test_contributions_at_an_inner_layer_and_of_a_probability():
    a = hooked(model, '0', x).requires_grad_()
    s = model[1:](a).softmax(1)[:,1]
    g, = torch.autograd.grad(s.sum(), a)
    assert torch.allclose(contributions(x, prob(1), model, 0), (a*g).sum(-1).detach(), atol=1e-6)

# kernels

def test_kernels_are_the_weights():
    assert torch.equal(kernels(model, 2), model[2].weight) and torch.equal(kernels(model), model[0].weight)
    k = kernels(model, 2); k += 1
    assert not torch.equal(k, model[2].weight) and not k.requires_grad
    both = kernels(model, [2,'0'])
    assert list(both)==['2','0'] and torch.equal(both['0'], model[0].weight)
    g = nn.Sequential(nn.Conv1d(4,8,3,groups=4))
    assert kernels(g).shape==(8,1,3) and torch.equal(kernels(g[0]), g[0].weight)

def test_kernels_of_a_block():
    net = inception_time(2, 3, ks=12, depth=3, nb_filters=4, bottleneck_size=3)
    got = kernels(net, 0)
    assert list(got)==['0.convs.0','0.convs.1','0.convs.2'] and [o.shape[-1] for o in got.values()]==[11,5,3]
    assert torch.equal(kernels(net), net[0].convs[0].weight), 'the bottleneck is one step long'
    assert list(kernels(net, [1,'2.convs.1']))==['1.convs.0','1.convs.1','1.convs.2','2.convs.1']
    assert list(kernels(net, {'A':'2.convs.1', 'B':0}))==['A','0.convs.0','0.convs.1','0.convs.2']
    assert kernels(net, '0.bottleneck').shape==(3,2,1), 'asked for by name it is given'
    net = fcn(2, 3)
    assert torch.equal(kernels(net, 1), net[1][0].weight), 'a block that holds one'

@pytest.mark.parametrize('norm', ['old','new'])
def test_kernels_under_weight_norm_are_those_in_use(norm):
    import warnings
    m = tiny_cnn(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        (nn.utils.weight_norm if norm=='old' else nn.utils.parametrizations.weight_norm)(m[0])
    m(x)
    with torch.no_grad():
        g = next(p for n,p in m[0].named_parameters() if p.shape==(8,1,1))
        g *= 3 # what stands in `weight` is of the pass before
    stale = m[0].weight.clone() if norm=='old' else None
    with check_found(m): k = kernels(m, 0)
    if norm=='old': assert torch.equal(m[0].weight, stale) and not torch.allclose(k, stale)
    ones = torch.eye(14).reshape(14,2,7) # a one in each place
    assert torch.allclose(F.conv1d(ones, k)[...,0], (m[0](ones)-m[0].bias[:,None])[...,3], atol=1e-6)

def test_kernels_of_pruned_and_spectrally_normed_layers_leave_them_as_found():
    from torch.nn.utils import prune
    m = tiny_cnn(2, 3).train()
    prune.l1_unstructured(m[0], 'weight', .5); nn.utils.parametrizations.spectral_norm(m[2])
    with check_found(m): a,b = kernels(m, 0),kernels(m, 2)
    assert (a==0).sum()==56
    m.eval()
    assert torch.equal(b, m[2].weight) and torch.equal(a, m[0].weight)

@pytest.mark.parametrize('groups', [1,2])
def test_kernels_of_a_transposed_convolution_are_those_of_the_equal_convolution(groups):
    up = nn.ConvTranspose1d(4, 6, 5, groups=groups, bias=False)
    k,z = kernels(up),torch.randn(3, 4, 20)
    assert k.shape==(6,4//groups,5)
    assert torch.allclose(F.conv1d(z, k, padding=4, groups=groups), up(z), atol=1e-5)

# frequency response

def one_conv(w, **kw):
    c = nn.Conv1d(1, 1, len(w), bias=False, **kw)
    c.weight.data[:] = torch.tensor(w)
    return c

@pytest.mark.parametrize('m', [2,3,8,25])
def test_moving_average(m):
    c = one_conv([1/m]*m)
    f,h = frequency_response(nn.Sequential(c), n=257)
    f = f.double()
    want = torch.cat([torch.ones(1).double(), (torch.sin(math.pi*f[1:]*m)/(m*torch.sin(math.pi*f[1:]))).abs()])
    assert f[0]==0 and f[-1]==.5 and len(f)==257 and h.shape==(1,1,257) and torch.allclose(h[0,0].double(), want, atol=1e-6)

def test_difference_kernel_in_hz():
    f,h = frequency_response(one_conv([-1.,1.]), fs=180., n=100)
    assert f[-1]==90 and torch.allclose(h[0,0], 2*(math.pi*f/180).sin().abs(), atol=1e-5)

def test_responses_against_scipy():
    from scipy.signal import freqz
    f,h = frequency_response(model, 2, fs=50., n=64)
    for i in (0,3):
        for j in (1,7):
            w,H = freqz(model[2].weight[i,j].detach().numpy(), worN=64, fs=50., include_nyquist=True)
            assert np.allclose(f, w, atol=1e-4) and np.allclose(h[i,j], abs(H), atol=1e-5)

@pytest.mark.parametrize('d', [2,5])
def test_dilation_puts_zeros_between_taps(d):
    w = [.5,-1.,2.]
    f,h = frequency_response(one_conv(w, dilation=d), n=65)
    want = torch.zeros((len(w)-1)*d+1); want[::d] = torch.tensor(w)
    f2,h2 = frequency_response(one_conv(want.tolist()), n=65)
    assert torch.equal(f, f2) and torch.allclose(h, h2, atol=1e-6)

class Half(nn.Module):
    def forward(self, x): return x[...,::2]

@pytest.mark.parametrize('before, rate', [
    ([nn.Conv1d(1,1,5,stride=3)], 1/3), ([nn.MaxPool1d(2), nn.Conv1d(1,1,7,padding=3), nn.AvgPool1d(4)], 1/8), ([Half()], 1/2),
    ([nn.Conv1d(1,1,3,stride=2,padding=9)]*5, 1/32),
    ([nn.ConstantPad1d((300,7), 0.), nn.Conv1d(1,1,1)], 1.), ([nn.Upsample(scale_factor=2)], 2.),
    ([nn.MaxPool1d(3), nn.Upsample(scale_factor=2)], 2/3), ([nn.MaxPool1d(7), nn.MaxPool1d(9)], 1/63)])
def test_a_layer_behind_strides_runs_at_their_rate(before, rate):
    m = nn.Sequential(*before, one_conv([1.,-1.], stride=2))
    with check_found(m): f,h = frequency_response(m, str(len(before)), fs=100., n=33)
    assert math.isclose(f[-1], 50*rate, rel_tol=1e-6) and torch.allclose(h[0,0], 2*(math.pi*f/(100*rate)).sin(), atol=1e-5), 'its own stride comes after it'

def test_a_transposed_convolution_runs_at_the_rate_of_its_output():
    m = nn.Sequential(nn.MaxPool1d(4), nn.ConvTranspose1d(1, 1, 4, stride=2))
    assert frequency_response(m, 1, fs=100.)[0][-1]==25

def test_a_model_of_one_length():
    m = nn.Sequential(nn.Conv1d(1,2,3,stride=2,padding=1), nn.Conv1d(2,2,3,padding=1), nn.Flatten(), nn.Linear(40,2))
    with check_found(m): assert frequency_response(m, 1)[0][-1]==.25 and receptive_field(m, LayerRun(1, 0))==7, 'what comes after the layer does not run'
    with check_found(m), says(ValueError, '(1, 1, 128)', '`n_in`', '`x`, series that it takes'): receptive_field(m, 1)
    z = torch.randn(5, 1, 40)
    with check_found(m, z): assert receptive_field(m, 1, x=z)==receptive_field(m, x=z[0].numpy())==7, 'also after it was not found'
    assert_top(top_windows(z, m, 1, 0), brute(m, '1', z, 0, 9, 7, 3, 2, 0))
    with says(ValueError, 'not both'): receptive_field(m, 1, n_in=1, x=z)
    with pytest.raises(RuntimeError): receptive_field(m, None, x=z[...,:30])
    late = Fwd(lambda s,x: s.b(s.a(x)+s.p).mean(-1), a=nn.Conv1d(1,2,3,padding=1), b=nn.Conv1d(2,2,3)); late.p = nn.Parameter(torch.zeros(2,40))
    assert receptive_field(late, 'a', x=z)==3
    with says(ValueError, 'was not found', 'one length only'): receptive_field(late, 'b', x=z)
    m = nn.Sequential(nn.Conv1d(1,2,3,stride=2,padding=1), nn.Conv1d(2,2,3,padding=1), nn.Flatten(), nn.Linear(40,2))
    assert_top(top_windows(z, m, 1, 0), brute(m, '1', z, 0, 9, 7, 3, 2, 0)), 'nothing was asked of it before'

def test_responses_of_half_precision_and_many_taps():
    "More taps than frequencies, grouped and dilated; a model in half precision has frequencies in full"
    from scipy.signal import freqz
    c = nn.Conv1d(4, 4, 9, groups=2, dilation=3)
    f,h = frequency_response(nn.Sequential(nn.ReLU(), c), 1, n=5)
    for i in range(4):
        for j in range(2):
            taps = np.zeros(25); taps[::3] = c.weight[i,j].detach().double().numpy()
            assert np.allclose(abs(freqz(taps, worN=math.pi*np.linspace(0, 1, 5))[1]), h[i,j], atol=1e-5)
    f,h = frequency_response(copy.deepcopy(model).bfloat16(), 2, fs=100., n=512)
    assert f.dtype==h.dtype==torch.float32 and torch.equal(f, torch.linspace(0, 50, 512, dtype=torch.double).float()) and (h>=0).all()

def test_responses_are_summed_in_double_precision():
    g = torch.Generator().manual_seed(0)
    w = torch.randn(201, generator=g)
    f,h = frequency_response(one_conv(w.tolist()), n=300)
    want = (w.double()*torch.exp(-2j*math.pi*torch.linspace(0, .5, 300, dtype=torch.double)[:,None]*torch.arange(201))).sum(1).abs()
    assert torch.allclose(h[0,0].double(), want, rtol=1e-7, atol=1e-9)

def test_responses_of_several():
    net = inception_time(1, 3, ks=12, depth=2, nb_filters=4, bottleneck_size=3)
    got = frequency_response(net, 0, fs=10., n=16)
    for k,(f,h) in got.items(): assert f[-1]==5 and torch.allclose(h[...,0], kernels(net, 0)[k].sum(-1).abs(), atol=1e-6)
    assert list(got)==list(kernels(net, 0)) and frequency_response(net.double(), 0, n=16)['0.convs.0'][1].dtype==torch.double

# receptive field

layers = st.lists(st.tuples(st.sampled_from(['conv','max','avg']), st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.booleans()),
                  min_size=1, max_size=3)

@settings(max_examples=25)
@given(layers)
def test_receptive_field_is_the_closed_form(spec):
    mods,want,step = [],1,1
    for i,(kind,k,d,s,pad) in enumerate([('conv',3,1,1,True), *spec]):
        d = 1 if kind=='avg' else d
        if kind=='conv': mods.append(nn.Conv1d(1 if i==0 else 2, 2, k, dilation=d, stride=s, padding=(k-1)*d//2 if pad else 0))
        elif kind=='max': mods.append(nn.MaxPool1d(k, s, dilation=d))
        else: mods.append(nn.AvgPool1d(k, s))
        want,step = want+(k-1)*d*step,step*s
    m = nn.Sequential(*mods, nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2,2)).eval()
    assert receptive_field(m, len(mods))==want
    assert receptive_field(m, len(mods)-1)==want and receptive_field(m, 0)==3

def test_receptive_field_of_networks():
    assert receptive_field(model)==11 and receptive_field(model, 0, n_in=2)==7
    net = inception_time(1, 2, ks=12, depth=2, nb_filters=2, bottleneck_size=2)
    assert receptive_field(net)==21 and receptive_field(net, 0)==11
    assert isinstance(receptive_field(model), int)

# top windows

def brute(m, layer, x, c, k, R, left, stride, offset, lengths=None):
    "Every series alone, every window by hand"
    rows = []
    for i,s in enumerate(x):
        s = s if lengths is None else s[:,:lengths[i]]
        a = hooked(m, layer, s[None].repeat(2, 1, 1))[0,c]
        l = int(a.argmax())
        start = l*stride+offset-left
        w = torch.tensor([[s[ch,t].item() if 0<=t<s.shape[-1] else 0. for t in range(start, start+R)] for ch in range(len(s))])
        rows.append((a[l].item(),i,start,start+R,l*stride+offset,w))
    return sorted(rows, key=lambda o: (-o[0],o[1]))[:k]

def assert_top(got, want, labels=None):
    table,wins = got
    assert list(table.columns)==['item','start','stop','peak','activation','label'] and len(table)==len(wins)==len(want)
    for (a,i,start,stop,peak,w),(_,r),o in zip(want, table.iterrows(), wins):
        assert (r['item'],r.start,r.stop,r.peak)==(i,start,stop,peak) and math.isclose(r.activation, a, rel_tol=1e-5, abs_tol=1e-6)
        assert r.label==(None if labels is None else labels[i]) and torch.equal(o, w)

big,by,_ = planted(70, n_channels=2, n_steps=40, n_classes=3, width=16, seed=1)

@pytest.mark.parametrize('k', [1,9,200])
def test_top_windows_are_those_of_a_search_over_the_whole_set(k):
    with check_found(model, big, by): got = top_windows((big,by), model, 2, None, k)
    assert list(got)==list(range(8))
    for c in (0,3,7): assert_top(got[c], brute(model, '2', big, c, k, 11, 5, 1, 0), by.tolist())
    assert_top(top_windows(big, model, '2', 3, k), brute(model, '2', big, 3, k, 11, 5, 1, 0))
    some = top_windows(big.numpy(), model, 2, [7,0], k=k)
    assert list(some)==[7,0] and torch.equal(some[0][1], got[0][1])

def test_top_windows_reach_beyond_both_ends():
    s = torch.zeros(2, 1, 20); s[0,0,0],s[1,0,-1] = 1.,2.
    m = nn.Sequential(one_conv([0.,0.,1.,0.,0.], padding=2))
    table,wins = top_windows(s, m, 0, 0)
    assert table.start.tolist()==[17,-2] and table.stop.tolist()==[22,3] and table.peak.tolist()==[19,0]
    assert wins[:,0].tolist()==[[0,0,2,0,0],[0,0,1,0,0]]
    wide = nn.Sequential(one_conv([1.]+[0.]*4, padding=30)) # an answer from a window with no step of the series in it
    table,wins = top_windows(-1-s, wide, 0, 0)
    assert (wins==0).all() and table.activation.tolist()==[0,0] and table.peak.between(0, 19).all()

def test_equal_activations_go_to_the_earlier_item_and_step():
    s = torch.zeros(9, 1, 20); s[2:,0,4] = 1; s[2:,0,11] = 1
    m = nn.Sequential(one_conv([0.,1.,0.], padding=1))
    for data in (s, DataLoader(TensorDataset(s), 2, shuffle=True), DataLoader(TensorDataset(s), 4)):
        table,_ = top_windows(data, m, 0, 0, k=4)
        assert table['item'].tolist()==[2,3,4,5] and table.peak.tolist()==[4]*4
    assert top_windows(s, m, 0, 0, k=8)[0]['item'].tolist()==[2,3,4,5,6,7,8,0]

def test_top_windows_of_a_strided_layer():
    m = tiny_cnn(2, 3, stride=2)
    assert_top(top_windows(big, m, 2, 1, 5), brute(m, '2', big, 1, 5, 11, 5, 2, 0))
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv1d(2,3,5,stride=2), nn.Conv1d(3,4,3)) # no padding: step 0 sees steps 0 to 8
    assert_top(top_windows(big, m, 1, 2, 5), brute(m, '1', big, 2, 5, 9, 4, 2, 4))

@pytest.mark.parametrize('bs, drop', [(1,False), (8,True), (8,False), (100,False), (100,True)])
def test_a_shuffling_loader_is_run_in_order(bs, drop):
    if drop and bs==100: dl = DataLoader(TensorDataset(big, by), 64, shuffle=True, drop_last=True)
    else: dl = DataLoader(TensorDataset(big, by), bs, shuffle=True, drop_last=drop)
    with check_found(model): got = top_windows(dl, model, 2, 4)
    assert_top(got, brute(model, '2', big, 4, 9, 11, 5, 1, 0), by.tolist())

def test_a_loader_is_left_as_found_and_its_own_collation_used():
    g = torch.Generator().manual_seed(3)
    dl = DataLoader(TensorDataset(big, by), 8, shuffle=True, generator=g,
                    collate_fn=lambda b: (torch.stack([o[0] for o in b])*2, torch.tensor([o[1]+5 for o in b])))
    before = g.get_state()
    with check_found(model): got = top_windows(dl, model, 2, 4)
    assert torch.equal(before, g.get_state())
    assert_top(got, brute(model, '2', 2*big, 4, 9, 11, 5, 1, 0), (by+5).tolist())
    sub = DataLoader(TensorDataset(big, by), 8, sampler=SubsetRandomSampler([60,3,40,41,5]))
    want = [o for o in brute(model, '2', big, 4, 70, 11, 5, 1, 0) if o[1] in (60,3,40,41,5)]
    assert_top(top_windows(sub, model, 2, 4), want, by.tolist())
    assert_top(top_windows(DataLoader(TensorDataset(big, by), None), model, 2, 4), brute(model, '2', big, 4, 9, 11, 5, 1, 0), by.tolist())
    batches = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(big), 16, True)
    assert_top(top_windows(DataLoader(TensorDataset(big, by), batch_sampler=batches), model, 2, 4), brute(model, '2', big, 4, 9, 11, 5, 1, 0), by.tolist())

def test_samplers_of_a_subset_and_of_batches():
    want,ds = lambda idxs: [o for o in brute(model, '2', big, 4, 70, 11, 5, 1, 0) if o[1] in idxs],TensorDataset(big, by)
    for own in ([60,3,41],(60,3,41),range(3,61,19)): assert_top(top_windows(DataLoader(ds, 2, sampler=own), model, 2, 4), want([*own]), by.tolist())
    class Batches:
        def __iter__(self): return iter([[9,3],[60,5,41],torch.tensor([7])])
    assert_top(top_windows(DataLoader(ds, batch_sampler=Batches()), model, 2, 4), want([9,3,60,5,41,7]), by.tolist())
    assert_top(top_windows(DataLoader(ds, batch_sampler=[[9,3],[60]]), model, 2, 4), want([9,3,60]), by.tolist())
    flat = TensorDataset(torch.zeros(9, 2, 40))
    for kw in (dict(batch_sampler=[[2,1],[3,4],[5,0]]), dict(sampler=[1,2,3,4,5,0], batch_size=2), dict(sampler=SubsetRandomSampler([5,5,3,0,0,2,1,4]))):
        table,_ = top_windows(DataLoader(flat, **kw), model, 2, 4, k=4)
        assert table['item'].tolist()==[0,1,2,3], 'of equal ones the earlier, each once'

@pytest.mark.parametrize('make', [lambda b: dict(x=b[0]), lambda b: (torch.stack([o[0] for o in b]),['a']*len(b))])
def test_batches_that_are_none_say_where(make):
    with check_found(model), says(ValueError, 'begins with item 0', '`batch`'): top_windows(DataLoader(TensorDataset(big, by), 8, collate_fn=make), model, 2, 0)

def test_loaders_with_workers():
    dl = DataLoader(TensorDataset(big, by), 16, shuffle=True, num_workers=2)
    with check_found(model): got = top_windows(dl, model, 2, 4)
    assert_top(got, brute(model, '2', big, 4, 9, 11, 5, 1, 0), by.tolist())

def test_several_labels_a_series_and_exact_data():
    many = torch.eye(3).long()[by]
    assert_top(top_windows((big,many), model, 2, 4), brute(model, '2', big, 4, 9, 11, 5, 1, 0), many.tolist())
    exact = big.double()+1e-12
    table,wins = top_windows(exact, model, 2, 4, k=70)
    inside = [(i,r.item,r.start,r.stop) for i,r in enumerate(table.itertuples()) if r.start>=0 and r.stop<=40]
    assert len(inside)>9 and all(torch.equal(wins[i], exact[j,:,a:b]) for i,j,a,b in inside), 'as the data have them, not as the model takes them'

class Endless(Dataset):
    "A data set whose items begin again where it ends"
    def __len__(self): return len(big)
    def __getitem__(self, i): return big[i%len(big)],by[i%len(big)]

class Stream(IterableDataset):
    def __iter__(self): return iter(zip(big, by))

def test_what_has_no_order_goes_as_it_comes():
    want = brute(model, '2', big, 4, 9, 11, 5, 1, 0)
    assert_top(top_windows(DataLoader(Stream(), 16, drop_last=True), model, 2, 4), want, by.tolist())
    assert_top(top_windows(((big[i:i+7],by[i:i+7]) for i in range(0, 70, 7)), model, 2, 4), want, by.tolist())
    assert_top(top_windows((big[i:i+7] for i in range(0, 70, 7)), model, 2, 4), want)
    assert_top(top_windows(TensorDataset(big, by), model, 2, 4), want, by.tolist())
    assert_top(top_windows(Endless(), model, 2, 4), want, by.tolist())

def uneven(bs=4, **kw):
    lengths = [40-i%13 for i in range(70)]
    xs = [o[:,:n].numpy() for o,n in zip(big, lengths)]
    return lengths,TSDataLoaders.from_numpy(xs, ['abc'[i] for i in by], valid_idx=range(50, 70), bs=bs, **kw)

def test_fastai_loaders_of_unequal_lengths():
    lengths,dls = uneven()
    with check_found(model): got = top_windows(dls.train, model, 2, 4)
    assert_top(got, brute(model, '2', big[:50], 4, 9, 11, 5, 1, 0, lengths), ['abc'[i] for i in by])
    assert_top(top_windows(dls.valid, model, 2, 4, k=30), brute(model, '2', big[50:], 4, 30, 11, 5, 1, 0, lengths[50:]), ['abc'[i] for i in by[50:]])
    no = TSDataLoaders.from_numpy(big.numpy(), valid_idx=range(50, 70), bs=8)
    assert_top(top_windows(no.train, model, 2, 4), brute(model, '2', big[:50], 4, 9, 11, 5, 1, 0))
    real = TSDataLoaders.from_numpy(big.numpy(), by.numpy()*.5, valid_idx=range(50, 70), bs=8)
    assert_top(top_windows(real.train, model, 2, 4), brute(model, '2', big[:50], 4, 9, 11, 5, 1, 0), (by*.5).tolist())

def test_padding_is_no_peak():
    "The padding's zeros would answer most to a filter that falls with the series"
    s = [(-1-torch.rand(1, n)).numpy() for n in (20,12,9,16)]
    dls = TSDataLoaders.from_numpy(s, [0,1,0,1], valid_idx=[3], bs=3)
    m = nn.Sequential(one_conv([1.]))
    table,_ = top_windows(dls.train, m, 0, 0)
    assert (table.activation<0).all()
    assert sorted(zip(table['item'], table.activation.round(decimals=5)))==[(i,round(float(o.max()),5)) for i,o in enumerate(s[:3])]

class Mean(nn.Module):
    def forward(self, x): return x-x.mean(-1, keepdim=True)

def test_a_layer_that_sees_the_whole_series_gets_it_whole():
    m = nn.Sequential(nn.Conv1d(2,3,3,padding=1), Mean())
    table,wins = top_windows(big, m, 1, 1, k=3)
    a = hooked(m, '1', big)[:,1]
    top = a.amax(1).sort(descending=True).indices[:3]
    assert table['item'].tolist()==top.tolist() and torch.equal(wins, big[top]) and (table.stop==40).all() and (table.start==0).all()
    assert table.peak.tolist()==a.argmax(1)[top].tolist()
    m[0].stride = (4,)
    assert top_windows(big, m, 1, 1, k=70)[0].set_index('item').peak.sort_index().tolist()==(hooked(m, '1', big)[:,1].argmax(1)*4+2).tolist()
    m[0].stride = (1,)
    lengths,dls = uneven()
    table,wins = top_windows(dls.train, m, 1, 1, k=3)
    for r,w in zip(table.itertuples(), wins): assert r.stop==lengths[r.item] and torch.equal(w[:,:r.stop], big[r.item][:,:r.stop]) and (w[:,r.stop:]==0).all()

def alive_at_most(n):
    "The largest number of the data set's tensors, items and batches, that live at one time"
    alive,most = [],0
    def seen(o):
        nonlocal most
        alive[:] = [r for r in alive if r() is not None]+[weakref.ref(o)]
        most = max(most, len(alive))
        return o
    class Made(Dataset):
        def __len__(self): return n
        def __getitem__(self, i): return seen(torch.randn(2, 40, generator=torch.Generator().manual_seed(i)))
    dl = DataLoader(Made(), 8, shuffle=True, collate_fn=lambda b: seen(torch.stack(b)))
    wins = top_windows(dl, model, 2, None, k=4)[0][1]
    return wins,most

def test_memory_does_not_grow_with_the_set():
    (wins,few),(_,many) = alive_at_most(40),alive_at_most(400)
    assert many==few<20
    assert wins.untyped_storage().nbytes()==wins.numel()*4

def test_what_the_heap_holds_is_its_own(monkeypatch):
    import tsviz.inside as inside
    held,old = [],inside._push
    def push(heaps, *args): old(heaps, *args); held.append(max(o[3].untyped_storage().nbytes() for h in heaps.values() for o in h))
    monkeypatch.setattr(inside, '_push', push)
    top_windows(DataLoader(TensorDataset(big), 8), model, 2, None, k=3)
    assert len(held)==9 and set(held)=={2*11*4}

def test_one_pass_for_all_channels():
    count = []
    m = copy.deepcopy(model); m[0].register_forward_hook(lambda m,i,o: count.append(len(o)))
    top_windows(big, m, 2, 0) # finds the field
    count.clear(); top_windows(DataLoader(TensorDataset(big), 8), m, 2, None)
    n_all = sum(count)
    count.clear(); top_windows(DataLoader(TensorDataset(big), 8), m, 2, 0)
    assert n_all==sum(count)
    seen = []
    def bar(o): seen.append(len(o)); return iter(o)
    top_windows(DataLoader(TensorDataset(big), 8), m, 2, 0, progress=bar); top_windows(big, m, 2, 0, progress=bar)
    assert seen==[9,1]

# class statistics

def brute_stats(xs, ys, n):
    T = max(o.shape[-1] for o in xs)
    mean,low,high = (torch.full((n,2,T), torch.nan) for _ in range(3))
    for c in range(n):
        for t in range(T):
            v = [o[:,t] for o,l in zip(xs, ys) if l==c and o.shape[-1]>t]
            if v: mean[c,:,t],low[c,:,t],high[c,:,t] = torch.stack(v).mean(0),torch.stack(v).amin(0),torch.stack(v).amax(0)
    return mean,low,high

def assert_stats(s, want):
    for a,b in zip(s[:3], want): assert a.shape==b.shape and torch.allclose(a, b, atol=1e-6, equal_nan=True)

def test_class_stats():
    want = brute_stats(big, by, 3)
    s = class_stats((big,by))
    assert_stats(s, want); assert s.n.sum()==70*40 and s.mean.dtype==torch.float32
    assert_stats(class_stats(DataLoader(TensorDataset(big, by), 8, shuffle=True, drop_last=True)), want)
    assert_stats(class_stats((big,by), n_classes=5), brute_stats(big, by, 5))
    assert class_stats((big,by), n_classes=5).mean[3:].isnan().all()

def test_class_means_are_summed_in_double_precision():
    s = torch.tensor([1e8,1,-1e8])[:,None,None].expand(3, 1, 4)
    assert torch.allclose(class_stats((s,[0,0,0])).mean, torch.tensor(1/3))
    assert torch.allclose(class_stats(iter([(o[None],[0]) for o in s])).mean, torch.tensor(1/3))

def test_class_stats_of_unequal_lengths():
    lengths,dls = uneven(bs=3)
    xs = [o[:,:n] for o,n in zip(big, lengths)]
    with check_found(model): s = class_stats(dls.train)
    assert_stats(s, brute_stats(xs[:50], by[:50], 3))
    lone = [o for o,l in zip(xs, by) if l!=1]
    assert_stats(class_stats([(o,int(l)) for o,l in zip(xs, by) if l!=1]), brute_stats(lone, by[by!=1], 3))

def test_class_stats_errors():
    with says(ValueError, 'One class a series', 'no labels'): class_stats(big)
    with says(ValueError, 'One class a series', 'float32'): class_stats((big,by*.5))
    with says(ValueError, 'One class a series', '(70, 3)'): class_stats((big,torch.eye(3).long()[by]))
    with says(ValueError, 'class 2 is out of range', '0 to 1'): class_stats((big,by), n_classes=2)
    with says(ValueError, 'class -1 is out of range', 'from 0'): class_stats((big,by-1))
    with says(ValueError, 'n_classes'): class_stats((big,by), n_classes=0)

# everything as found

calls = dict(
    feature_maps=lambda m: feature_maps(x, m, [0,None]), contributions=lambda m: contributions(x, None, m), kernels=lambda m: kernels(m, [0,'4']),
    frequency_response=lambda m: frequency_response(m, 4), receptive_field=lambda m: receptive_field(m, 4), top_windows=lambda m: top_windows((x,y), m, 4, 1),
    loader=lambda m: top_windows(DataLoader(TensorDataset(x, y), 5, shuffle=True), m, None, None))

@pytest.mark.parametrize('name', calls)
def test_all_is_left_as_found(name):
    m = messy()
    with check_found(m, x, y): calls[name](m)
    for mode in (torch.no_grad,torch.inference_mode):
        with mode(), check_found(m, x, y): calls[name](m)
    m[-1] = Fails()
    with check_found(m, x, y):
        try: calls[name](m)
        except ArithmeticError: pass
    m[0] = Fails()
    with check_found(m, x, y):
        try: calls[name](m)
        except (ArithmeticError,ValueError): pass

def test_an_error_of_the_model_is_not_hidden():
    m = messy(); m[3] = Fails()
    with pytest.raises(ArithmeticError): feature_maps(x, m, 4)
    with pytest.raises(ArithmeticError): top_windows(x, m, 4, 0)
    with pytest.raises(ArithmeticError): contributions(x, 0, m, 4)

# errors

def test_bad_layers():
    for f in (lambda o: feature_maps(x, model, o), lambda o: contributions(x, 0, model, o), lambda o: receptive_field(model, o),
              lambda o: top_windows(x, model, o, 0)):
        with says(ValueError, "There is no layer 'relu'"): f('relu')
        with says(ValueError, 'out of range'): f(9)
        with says(ValueError, '(Linear)', 'not (B,K,L)'): f(6)
        with says(ValueError, 'not a module of'): f(nn.ReLU())
    for f in (kernels, frequency_response):
        with says(ValueError, "There is no layer 'relu'"): f(model, 'relu')
        with says(ValueError, "layer '1' (ReLU) has no kernels", "'0', '2'"): f(model, 1)
        with says(ValueError, 'no kernels', 'no `nn.Conv1d` in Sequential'): f(nn.Sequential(nn.Linear(2,2)))
        with says(ValueError, 'empty'): f(model, [])
    with says(ValueError, 'empty'): feature_maps(x, model, [])
    with says(ValueError, "There is no layer 'nope'"): feature_maps(x, model, [0,'nope'])
    twice = Fwd(lambda s,x: s.r(s.a(s.r(x))).mean(-1), a=nn.Conv1d(2,2,3), r=nn.ReLU())
    with says(ValueError, "Two runs of layer 'r'", 'give them names'): feature_maps(x, twice, [LayerRun('r', 0),'r'])
    assert list(feature_maps(x, twice, ['r','r']))==['r']
    m = Fwd(lambda s,x: s.a(x).mean(-1), a=nn.Conv1d(2,2,3), idle=nn.Conv1d(2,2,3))
    with says(ValueError, "'idle'", 'did not run'): feature_maps(x, m, ['a','idle'])
    with says(ValueError, "'idle'", 'did not run'): frequency_response(m, 'idle')
    lstm = Fwd(lambda s,x: s.r(s.a(x).transpose(1,2))[0][:,-1], a=nn.Conv1d(2,2,3), r=nn.LSTM(2,2,batch_first=True))
    with says(ValueError, 'returns a tuple'): feature_maps(x, lstm, 'r')
    with says(ValueError, 'no run 3'): feature_maps(x, model, LayerRun('2', 3))

def test_other_errors():
    for c in (8,-1,[0,8],np.int64(-1),torch.tensor([3,9])):
        with says(ValueError, 'out of range', '8 channels', '0 to 7'): top_windows(x, model, 2, c)
    for c in (True,1.5,'1',[True],[1.5],['a'],[[0,1]],np.bool_(True),torch.tensor(1.),np.eye(2),slice(2)):
        with says(ValueError, '`channel` must be an int from 0 to 7', 'None for all'): top_windows(x, model, 2, c)
    with says(ValueError, '`channel` is empty'): top_windows(x, model, 2, [])
    for c in (np.int64(3),np.array(3),torch.tensor(3)): assert torch.equal(top_windows(x, model, 2, c, k=2)[1], top_windows(x, model, 2, 3, k=2)[1])
    for c in ((5,2),np.array([5,2]),torch.tensor([5,2]),[5,2,5],range(5,0,-3)): assert list(top_windows(x, model, 2, c, k=2))==[5,2]
    for k in (0,-3,1.5,True):
        with says(ValueError, '`k`'): top_windows(x, model, 2, 0, k=k)
    with says(ValueError, 'empty'): top_windows(x[:0], model, 2, 0)
    with says(ValueError, 'no batch'): top_windows(DataLoader(TensorDataset(x[:0])), model, 2, 0)
    with says(ValueError, 'no batch'): top_windows(iter([]), model, 2, 0)
    for bad in ('x', 3, None, dict(x=x)):
        with says(ValueError, '`data` must be'): top_windows(bad, model, 2, 0)
    with says(ValueError, 'one loader', 'dls.train'): top_windows(uneven()[1], model, 2, 0)
    nan = big.clone(); nan[33,1,7] = torch.nan
    with says(ValueError, 'NaN', 'item 33, channel 1, step 7'): top_windows(nan, model, 2, 0)
    with check_found(model), says(ValueError, 'begins with item 32', 'item 1, channel 1, step 7'): top_windows(DataLoader(TensorDataset(nan), 8), model, 2, 0)
    for f in (lambda: feature_maps(x[:,:1], model, 2), lambda: contributions(x[:,:1], 0, model), lambda: top_windows(x[:,:1], model, 2, 0),
              lambda: receptive_field(model, 2, n_in=1)):
        with says(ValueError, '1 channels', 'takes 2'): f()
    with says(ValueError, 'NaN'): feature_maps(nan, model)
    with says(ValueError, '`y` has 3 classes'): contributions(x, [0,1,2], model)
    with says(ValueError, '`n`'): frequency_response(model, n=1)
    for fs in (0,-1.,math.nan,math.inf,'5',True,None,1j):
        with says(ValueError, '`fs`'): frequency_response(model, fs=fs)
    for fs in (50,np.int64(50),np.float32(50)): assert frequency_response(model, fs=fs, n=np.int64(3))[0].tolist()==[0,12.5,25]
    with says(ValueError, '`n_in`'): receptive_field(model, n_in=0)
    with says(ValueError, 'was not found', 'whole series'): receptive_field(nn.Sequential(nn.Conv1d(2,3,3,padding=1), Mean()), 1)
    fixed = nn.Sequential(nn.Conv1d(1,2,3,padding=1), nn.Flatten(), nn.Linear(40,2))
    with says(ValueError, 'made-up'): receptive_field(fixed)
    flat = Fwd(lambda s,x: s.d(s.c(x[:,None]).flatten(1,2)).mean(-1), c=nn.Conv2d(1,4,(1,5)), d=nn.Conv1d(8,4,3))
    with says(ValueError, '(1, 8, 128)', '`n_in`'): receptive_field(flat, 'd')
    assert receptive_field(flat, 'd', n_in=2)==7
    with says(ValueError, "'c' (Conv2d)", 'not (B,K,L)'): receptive_field(flat, 'c', n_in=2)
    with says(ValueError, 'begins with item 2', '1 channels', 'have 2'): class_stats(iter([(x[:2],y[:2]),(x[:2,:1],y[:2])]))
    early = Fwd(lambda s,x: s.c(x+s.p).mean(-1), c=nn.Conv1d(1,2,3)); early.p = nn.Parameter(torch.zeros(1,1,40))
    with says(ValueError, 'was not found', 'frequency_response(layer'): frequency_response(early, 'c')
    with pytest.raises(TypeError, match='torch.nn.Module'): feature_maps(x, 'model')
    broken = copy.deepcopy(model); broken[2].weight.data[3] = torch.nan
    with says(ValueError, 'NaN for item 0'): top_windows(x, broken, 2, 0)

# activations that keep their graph

@pytest.mark.parametrize('n', [1,5])
@pytest.mark.parametrize('layer', ['0','2','3'])
def test_body_keeps_the_graph(n, layer):
    f,m = TargetScore(model, None, layer),copy.deepcopy(model)
    with check_found(model, x), explaining(model):
        own = x[:n].clone().requires_grad_()
        g, = torch.autograd.grad((f.body(own, graph=True)**2).mean(-1).sum(), own)
    seen = []
    m.get_submodule(layer).register_forward_hook(lambda m,i,o: seen.append(o))
    ref = x[:n].clone().requires_grad_()
    m(ref)
    want, = torch.autograd.grad((seen[0]**2).mean(-1).sum(), ref)
    assert torch.allclose(g, want, atol=1e-6) and want.abs().max()>0

def test_body_with_a_graph_of_messy_and_shared_modules():
    m = messy()
    for layer in ('0','1','4','5'):
        f,ref = TargetScore(m, None, layer),copy.deepcopy(m).eval()
        with check_found(m), explaining(m):
            own = x.clone().requires_grad_()
            g, = torch.autograd.grad(f.body(own, graph=True)[:,1].sum(), own)
        own = x.clone().requires_grad_()
        want, = torch.autograd.grad(ref[:int(layer)+1](own)[:,1].sum(), own)
        assert torch.allclose(g, want, atol=1e-6), layer
    s = Fwd(lambda s,x: s.r(s.b(s.r(s.a(x)))).mean(-1), a=nn.Conv1d(2,2,3,padding=1), b=nn.Conv1d(2,2,3,padding=1), r=nn.ReLU())
    for call,want in ((0,lambda o: s.a(o).relu()), (-1,lambda o: s.b(s.a(o).relu()).relu())):
        with explaining(s):
            own = x.clone().requires_grad_()
            a = TargetScore(s, None, LayerRun('r', call)).body(own, graph=True)
            g, = torch.autograd.grad(a.sum(), own)
        own = x.clone().requires_grad_()
        assert torch.allclose(g, torch.autograd.grad(want(own).sum(), own)[0], atol=1e-6)

def test_body_without_a_graph_has_none():
    own = x.clone().requires_grad_()
    a = TargetScore(model, None, 2).body(own)
    assert not a.requires_grad and torch.equal(a, hooked(model, '2', x))
