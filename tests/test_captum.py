"captum's classes as methods: captum's own numbers, everyone's contract"
import copy, pickle, random, subprocess, sys, warnings
import numpy as np, pytest, torch, torch.nn as nn, torch.nn.functional as F
import captum.attr as A
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from common import says
from tsviz.captum import from_captum
from tsviz.check import check_method, model_state
from tsviz.core import keep_random, opposite, prob
from tsviz.method import attr_methods, contrast, is_method, over_layers, smoothed
from tsviz.synth import planted, tiny_cnn

x,y,_ = planted(4, n_channels=2, n_steps=24, n_classes=3, width=10)
refs = planted(6, n_channels=2, n_steps=24, n_classes=3, width=10, seed=1)[0]
model = tiny_cnn(2, 3)
with torch.no_grad(): model[-1].weight *= 20 # scores that differ by more than the penalty of Lime's Lasso
mask = (torch.arange(24)//6).expand(1, 2, 24).contiguous()

# name -> (parameters of the method, what captum is called with beside target)
plain = dict(Saliency={}, InputXGradient={}, IntegratedGradients=dict(n_steps=6), DeepLift={}, GuidedBackprop={}, Deconvolution={})
layers = dict(LayerActivation={}, LayerGradCam={}, LayerDeepLift={}, LayerIntegratedGradients=dict(n_steps=6), LayerConductance=dict(n_steps=6),
              InternalInfluence=dict(n_steps=6), LayerGradientXActivation={})
drawn = dict(GradientShap=dict(baselines=refs, n_samples=4, stdevs=.2), DeepLiftShap=dict(baselines=refs),
             ShapleyValueSampling=dict(n_samples=3, segments=mask[0]),
             KernelShap=dict(n_samples=12, segments=mask[0,0]), Lime=dict(n_samples=12, segments=4),
             FeatureAblation=dict(segments=mask[0]), ShapleyValues=dict(segments=3),
             Occlusion=dict(sliding_window_shapes=(2,6), strides=(2,3), perturbations_per_eval=4))

@pytest.mark.parametrize('name', plain)
@pytest.mark.parametrize('c', [1, y])
def test_batched_ones_are_captums_to_the_bit(name, c):
    want = getattr(A, name)(model).attribute(x.clone().requires_grad_(), target=c, **plain[name])
    assert torch.equal(from_captum(getattr(A, name), **plain[name])(x, c, model), want.detach())

@pytest.mark.parametrize('name', layers)
@pytest.mark.parametrize('stride', [1, 2])
def test_layers_are_captums_summed_over_channels(name, stride):
    m = tiny_cnn(2, 3, stride=stride)
    kw = {} if name=='LayerActivation' else dict(target=y, **layers[name])
    want = getattr(A, name)(m, m[3]).attribute(x.clone().requires_grad_(), **kw).detach().sum(1, keepdim=True)
    got = from_captum(getattr(A, name), **layers[name])(x, y, m)
    assert torch.equal(got, want if stride==1 else F.interpolate(want, size=24, mode='linear', align_corners=False))
    inner = from_captum(name, **layers[name])(x, y, m, layer='0')
    assert inner.shape==(4,1,24) and not torch.equal(inner, got)

@pytest.mark.parametrize('name', drawn)
@pytest.mark.parametrize('seed', [0, 7])
def test_drawn_ones_are_captums_with_the_same_seed(name, seed):
    kw = dict(drawn[name])
    got = from_captum(getattr(A, name), seed=seed, **kw)(x, y, model)
    seg = kw.pop('segments', None)
    if seg is not None: kw['feature_mask'] = mask if not isinstance(seg, int) else (torch.arange(24)*seg//24).expand(1, 2, 24).contiguous()
    for i in range(4):
        with keep_random():
            torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
            want = getattr(A, name)(model).attribute(x[i:i+1], target=int(y[i]), **kw).detach()
        assert torch.equal(got[i:i+1], want) and want.any()

def test_noise_tunnel_and_constructor_parameters():
    m = from_captum(A.NoiseTunnel, attribution_method=A.IntegratedGradients, nt_samples=3, stdevs=.2, n_steps=4, multiply_by_inputs=False, seed=5)
    with keep_random():
        torch.manual_seed(5); np.random.seed(5)
        want = A.NoiseTunnel(A.IntegratedGradients(model, multiply_by_inputs=False)).attribute(x[1:2], nt_samples=3, stdevs=.2, n_steps=4, target=2)
    assert torch.equal(m(x, 2, model)[1:2], want.detach())
    assert (m.name, m.__name__)==('captum NoiseTunnel IntegratedGradients', 'captum_NoiseTunnel_IntegratedGradients')

@pytest.mark.parametrize('name,kw', [('DeepLift', {}), ('LayerDeepLift', {}), ('GradientShap', dict(baselines='noise', stdevs=.1)), ('LayerGradCam', {}),
                                     ('IntegratedGradients', dict(n_steps=4)), ('LRP', {}),
                                     ('Lime', dict(segments=2, n_samples=4, perturbations_per_eval=4, interpretable_model=SkLearnLasso(alpha=1e-5))),
                                     ('KernelShap', dict(segments=2, n_samples=4, perturbations_per_eval=4))])
def test_contract(name, kw): check_method(from_captum(getattr(A, name), **kw))

def test_targets():
    m = from_captum(A.IntegratedGradients, n_steps=5)
    class Prob(nn.Module):
        def __init__(self): super().__init__(); self.m = model
        def forward(self, x): return self.m(x).softmax(1)
    torch.testing.assert_close(m(x, prob(y), model), A.IntegratedGradients(Prob()).attribute(x, target=y, n_steps=5).detach())
    torch.testing.assert_close(contrast(m, 2)(x, 0, model), m(x, 0, model)-m(x, 2, model), atol=1e-6, rtol=1e-4)
    assert torch.equal(m(x, lambda out: out[:,1], model), m(x, 1, model))
    class Pair(nn.Module):
        def __init__(self): super().__init__(); self.m = model
        def forward(self, x): return {'out': self.m(x)}
    assert torch.equal(from_captum(A.DeepLift)(x, lambda o: o['out'][:,1], Pair()), from_captum(A.DeepLift)(x, 1, model))
    one = nn.Sequential(*copy.deepcopy(model)[:-1], nn.Linear(8,1), nn.Flatten(0)).eval() # (B,)
    assert torch.equal(m(x, None, one), A.IntegratedGradients(one).attribute(x, n_steps=5).detach())

def test_each_row_finds_the_class_of_its_item():
    "captum repeats rows step by step, copy by copy, and input before baseline"
    for name,kw in {'IntegratedGradients':dict(n_steps=5), 'DeepLift':{},
                    'LayerConductance':dict(n_steps=5), 'LayerIntegratedGradients':dict(n_steps=5)}.items():
        m = from_captum(name, **kw)
        for t in (y, prob(y)):
            if t is not y and 'Lift' in name: continue
            got = m(x, t, model)
            for i in range(4): torch.testing.assert_close(got[i], m(x[i], int(y[i]) if t is y else prob(int(y[i])), model), atol=1e-6, rtol=1e-4)

def test_baselines():
    m = from_captum(A.IntegratedGradients, n_steps=5)
    want = lambda b: A.IntegratedGradients(model).attribute(x, baselines=b, target=y, n_steps=5).detach()
    b = x.mean(-1, keepdim=True).expand_as(x).clone()
    assert torch.equal(m(x, y, model, baselines='mean'), want(b)) and torch.equal(m(x, y, model, baselines=lambda o: o.mean(-1, keepdim=True)), want(b))
    assert torch.equal(m(x, y, model, baselines=refs[:4]), want(refs[:4])) and torch.equal(m(x, y, model, baselines=.5), want(.5))
    far = m(x, y, model, baselines=opposite(refs, torch.arange(6)%3))
    torch.testing.assert_close(far[1], m(x[1], int(y[1]), model, baselines=opposite(refs, torch.arange(6)%3)))
    with says(ValueError, "'linear'", 'window'): m(x, y, model, baselines='linear')
    with says(ValueError, 'NaN'): m(x, y, model, baselines=float('nan'))
    one = from_captum(A.DeepLiftShap)(x, y, model, baselines='mean') # captum wants two references: the one is given twice
    torch.testing.assert_close(one, from_captum(A.DeepLift)(x, y, model, baselines='mean'))
    with says(ValueError, '(N,2,24)'): from_captum(A.GradientShap, baselines=refs[:,:1])(x, y, model)

def test_lengths_cut_segments_and_references():
    seg = torch.tensor([5]*6+[1]*6+[9]*6+[0]*6)
    for m in (from_captum(A.KernelShap, segments=seg, n_samples=8), from_captum(A.GradientShap, baselines=refs)):
        a = m(x, y, model, lengths=torch.tensor([24,12,24,18]))
        assert not a[1,:,12:].any() and torch.equal(a[1,:,:12], m(x[1,:,:12], int(y[1]), model)) and torch.equal(a[0], m(x[0], int(y[0]), model))
    own = from_captum(A.IntegratedGradients, n_steps=4) # a baseline for each item
    a = own(x, y, model, baselines=refs[:4], lengths=[24,12,24,12])
    torch.testing.assert_close(a[3,:,:12], own(x[3,:,:12], int(y[3]), model, baselines=refs[3,:,:12]), atol=1e-6, rtol=1e-4)
    shap = from_captum(A.KernelShap, n_samples=8) # the numbers are names, gaps between them are no segments
    assert torch.equal(shap(x, y, model, segments=seg), shap(x, y, model, segments=torch.tensor([2]*6+[1]*6+[3]*6+[0]*6)))
    a = from_captum(A.Lime, segments=100, n_samples=8)(x, y, model, lengths=torch.tensor([24,3,24,18])) # never more segments than steps
    assert a.shape==x.shape

def test_convergence_deltas():
    d = A.DeepLift(model).attribute(x, refs[:4], target=y, return_convergence_delta=True)[1]
    m,gap = from_captum(A.DeepLift, return_convergence_delta=True)(x, y, model, baselines=refs[:4])
    assert gap.shape==(4,) and torch.equal(gap, d.detach())
    m,gap = from_captum(A.GradientShap, return_convergence_delta=True, baselines='zero', n_samples=3)(x, y, model)
    torch.testing.assert_close(gap, m.flatten(1).sum(1) - (model(x)-model(0*x)).gather(1, y[:,None])[:,0].detach(), atol=1e-5, rtol=1e-4)
    m,gap = from_captum(A.DeepLift, return_convergence_delta=True)(x[0], 0, model)
    assert m.shape==(2,24) and gap.ndim==0

def test_shapley_values_by_hand():
    "On a linear model a segment's value is the sum of w (x-b) over it; each of its steps holds that"
    lin = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    part = (lin[1].weight[1].reshape(2,24)*x[0]).detach()
    seg = torch.arange(24)//6
    want = torch.stack([part[:,seg==s].sum() for s in range(4)])[seg].expand(2, 24)
    for name,kw in dict(ShapleyValues={}, ShapleyValueSampling=dict(n_samples=2), KernelShap=dict(n_samples=60), FeatureAblation={}).items():
        torch.testing.assert_close(from_captum(name, segments=seg, **kw)(x[0], 1, lin), want, atol=2e-3, rtol=1e-3)

class Break(nn.Module):
    "Fails in its n-th run"
    def __init__(self, n): super().__init__(); self.n,self.runs = n,[0] # a list: attributes are put back
    def forward(self, x):
        self.runs[0] += 1
        if self.runs[0]>=self.n: raise ArithmeticError('on purpose')
        return x

@pytest.mark.parametrize('name', ['DeepLift', 'LRP', 'GuidedBackprop', 'LayerDeepLift', 'LayerIntegratedGradients', 'KernelShap'])
def test_nothing_is_left_when_the_model_raises(name):
    for n in (1,2,3): # for the score, the count of runs, captum
        m = nn.Sequential(nn.Identity(), *copy.deepcopy(model), nn.Identity())
        m[-2] = nn.Sequential(m[-2], Break(n)); m.train()
        m[1].rule = rule = EpsilonRule()
        before,keys,rng = model_state(m),[set(o.__dict__) for o in m.modules()],torch.get_rng_state()
        if name!='LRP': # which has no rule for a `Break`: it raises in all cases
            with says(ArithmeticError, 'on purpose'): from_captum(name)(x, y, m, layer='3' if 'Layer' in name else None)
        else:
            with says((ArithmeticError,ValueError)): from_captum(name)(x, y, m)
        after = model_state(m)
        assert all(torch.equal(p, q) for k in ('parameters','buffers') for p,q in zip(before[k], after[k]))
        assert all(before[k]==after[k] for k in ('training','requires_grad','hooks')) and torch.equal(rng, torch.get_rng_state())
        assert [set(o.__dict__) for o in m.modules()]==keys and m[1].rule is rule

def test_lrp():
    m = nn.Sequential(nn.Flatten(), nn.Linear(48, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False)).eval()
    assert torch.equal(from_captum(A.LRP)(x[:1], 1, m), A.LRP(_ruled(m)).attribute(x[:1], target=1).detach())
    torch.testing.assert_close(from_captum(A.LRP)(x, 1, m).flatten(1).sum(1), m(x)[:,1].detach(), atol=1e-4, rtol=1e-3) # no bias: all relevance arrives
    torch.testing.assert_close(from_captum(A.LRP)(x, 1, m), from_captum(A.InputXGradient)(x, 1, m), atol=1e-4, rtol=1e-3) # the epsilon rule on ReLUs
    own = copy.deepcopy(model); own[0].rule = rule = GammaRule(.5)
    w = own[0].weight.detach().clone()
    for _ in range(2): assert not torch.allclose(from_captum(A.LRP)(x, y, own), from_captum(A.LRP)(x, y, model))
    assert own[0].rule is rule and torch.equal(own[0].weight, w) and not hasattr(own[2], 'rule')
    with says(ValueError, 'LRP', 'GELU'): from_captum(A.LRP)(x, y, nn.Sequential(*copy.deepcopy(model)[:3], nn.GELU(), *copy.deepcopy(model)[4:]))
    with says(ValueError, 'LayerLRP', 'ReLU'): from_captum(A.LayerLRP)(x, y, model)
    assert from_captum(A.LayerLRP)(x, y, model, layer=2).shape==(4,1,24)

class Mean(nn.Module):
    "A mean over time, and a sum, as functions or modules"
    def __init__(self): super().__init__(); self.body,self.pool,self.fc = copy.deepcopy(model)[:4],nn.AdaptiveAvgPool1d(1),copy.deepcopy(model)[-1]
    def forward(self, x): return self.fc(self.pool(F.relu(self.body[:3](x))).flatten(1))

def test_lrp_says_what_has_no_rule():
    m,lrp = Mean().eval(),from_captum(A.LRP)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        torch.testing.assert_close(lrp(x, y, m), lrp(x, y, model)) # a functional ReLU does no harm
    for fn,name in [(lambda a: a.mean(-1),'mean'), (lambda a: m.pool(a+a).flatten(1),'add'), (lambda a: m.pool(a*a).flatten(1),'mul')]:
        m.forward = lambda o, fn=fn: m.fc(fn(m.body(o)))
        with pytest.warns(UserWarning, match=f"Mean calls '{name}' as a function"): lrp(x, y, m)

class Draws:
    "An attribution of one's own, which draws from all three random states"
    def __init__(self, forward_func): pass
    def attribute(self, inputs, which, additional_forward_args=None):
        return torch.full_like(inputs, [random.random, np.random.rand, lambda: torch.rand(()).item()][which]())

def test_random_states_are_seeded_and_put_back():
    state = lambda: (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate())
    for which in range(3):
        m,got = from_captum(Draws, which=which),[]
        for i,s in enumerate((3,3,4)):
            torch.manual_seed(50+i); np.random.seed(50+i); random.seed(50+i)
            before = state()
            got.append(m(x, y, model, seed=s))
            assert state()==before
        assert torch.equal(got[0], got[1]) and not torch.equal(got[0], got[2])

def test_relus_in_place_are_those_that_are_not():
    "No activation is overwritten before captum has read it, and the ReLUs work in place again afterwards"
    m = copy.deepcopy(model); m[1].inplace = m[3].inplace = True
    for name,at in [('DeepLift',None), ('GuidedBackprop',None), ('LayerActivation','0'), ('LayerGradCam','2'), ('LayerIntegratedGradients','2')]:
        assert torch.equal(from_captum(name)(x, y, m, layer=at), from_captum(name)(x, y, model, layer=at))
        assert m[1].inplace and m[3].inplace and not model[1].inplace

def _ruled(m):
    m = copy.deepcopy(m); m[0].rule = EpsilonRule()
    return m

class Shared(nn.Module):
    "One ReLU twice"
    def __init__(self): super().__init__(); self.a,self.act,self.b,self.fc = nn.Conv1d(2,4,3),nn.ReLU(),nn.Conv1d(4,4,3),nn.Linear(4,3)
    def forward(self, x): return self.fc(self.act(self.b(self.act(self.a(x)))).mean(-1))

class Bare(Shared):
    "The second ReLU is a function"
    def forward(self, x): return self.fc(F.relu(self.b(self.act(self.a(x)))).mean(-1))

class Skip(Shared):
    "A ReLU and a skip connection read one tensor"
    def forward(self, x):
        a = self.a(x)
        return self.fc((self.act(a)+a).mean(-1))

@pytest.mark.parametrize('name', ['GuidedBackprop', 'Deconvolution', 'GuidedGradCam'])
def test_functional_relus_are_refused_where_the_rule_misses_them(name):
    m = Bare().eval()
    with says(ValueError, '1 ReLU as a function', name, 'guided_backprop'): from_captum(name)(x, y, m, layer='a')
    assert from_captum(name)(x, y, model, layer=2).shape==x.shape
    for f in (torch.relu, lambda o: o.relu_(), lambda o: o.clamp_min(0)):
        m.forward = lambda o, f=f: m.fc(f(m.b(m.act(m.a(o)))).mean(-1))
        with says(ValueError, '1 ReLU as a function'): from_captum(name)(x, y, m, layer='a')

def test_deep_lift_says_where_it_does_not_add_up():
    m = from_captum(A.DeepLift)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        m(x, y, model); from_captum(A.DeepLift, multiply_by_inputs=False)(x, y, Bare().eval())
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match='1 ReLU is called as a function') as said: from_captum(A.DeepLiftShap, baselines=refs)(x, y, Bare().eval())
    assert sum('adds up' in str(o.message) for o in said)==1 # once for all items
    with pytest.warns(UserWarning, match='1 ReLU is called as a function'): m(x, y, Bare().eval())
    with pytest.warns(UserWarning, match='shares its input'): m(x, y, Skip().eval())
    with pytest.warns(UserWarning, match='adds up to'): m(x, prob(y), model)
    with says(ValueError, "'act' (ReLU) runs 2 times", 'copies'): m(x, y, Shared().eval())
    with says(ValueError, "'act' runs 2 times"): from_captum(A.LayerConductance)(x, y, Shared().eval(), layer='act')
    with says(ValueError, '`call`'): from_captum(A.LayerConductance)(x, y, model, call=0)

def test_a_softmax_module_does_not_mix_items():
    m = nn.Sequential(*copy.deepcopy(model), nn.Softmax(1)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        a = from_captum(A.DeepLift)(x, y, m)
        assert torch.equal(a[1], from_captum(A.DeepLift)(x[1], int(y[1]), m))

def test_makes_a_method():
    m = from_captum('Lime', n_samples=7, name='My Lime')
    assert is_method(m) and (m.name,m.__name__)==('My Lime','captum_Lime') and m.__name__ not in attr_methods
    ps = m.__signature__.parameters
    assert (ps['n_samples'].default,ps['segments'].default,ps['seed'].default)==(7,10,0) and not {'target','feature_mask','forward_func'} & set(ps)
    n = pickle.loads(pickle.dumps(m))
    assert torch.equal(n(x[:1], y[:1], model), m(x[:1], y[:1], model)) and n.name=='My Lime'
    a = m(x[:1], y[:1], model, seed=1, segments=4)
    assert not torch.equal(a, m(x[:1], y[:1], model)) and torch.equal(a, m(x[:1], y[:1], model, seed=np.int64(1), segments=np.int32(4)))
    ig = from_captum(A.IntegratedGradients, n_steps=4)
    assert smoothed(ig, n_samples=2)(x, y, model).shape==x.shape
    assert over_layers(from_captum(A.LayerGradCam), ['0','2'])(x, y, model).shape==(4,1,24)
    assert torch.equal(ig(x[0], 0, model), ig(x[:1], 0, model)[0])

def test_errors():
    with says(ValueError, "'KernelShap'", 'captum'): from_captum('KernalShap')
    with says(TypeError, 'attribution class'): from_captum(torch.nn.ReLU)
    with says(TypeError, 'attribution class'): from_captum(A.DeepLift(model))
    with says(ValueError, 'neighbours', "'permuted'"): from_captum(A.FeaturePermutation)
    with says(TypeError, 'batch of series'): from_captum(A.LLMAttribution)
    with says(ValueError, '`segments`'): from_captum(A.Lime, feature_mask=mask)
    with says(ValueError, 'no features'): from_captum(A.DeepLift, segments=4)
    with says(ValueError, '`attribution_method`'): from_captum(A.NoiseTunnel)
    with says(ValueError, "'n_steps'"): from_captum(A.IntegratedGradients, n_step=4)
    for s in (0, True, 2.5, torch.arange(5), torch.rand(24), torch.zeros(3, 24).long()):
        with says(ValueError, '`segments`'): from_captum(A.Lime, segments=s)(x, y, model)
    for s in (-1, 2**32, .5, None):
        with says(ValueError, '`seed`'): from_captum(A.Lime, seed=s)(x, y, model)
    for s in (1, torch.zeros(24).long()):
        with says(ValueError, 'at least two segments'): from_captum(A.KernelShap, segments=s)(x, y, model)
    with says(ValueError, 'at least two segments'): from_captum(A.KernelShap)(x[...,:1], y, model)
    with says(ValueError, "captum's IntegratedGradients:"): from_captum(A.IntegratedGradients, method='simpson')(x, y, model)
    with says(ValueError, "captum's Occlusion:"): from_captum(A.Occlusion, sliding_window_shapes=(2,50))(x, y, model)

def test_without_captum():
    "Nothing of captum is needed until it is asked for by name; then the error names the extra"
    code = ("import sys; sys.modules['captum'] = sys.modules['captum.attr'] = None\n"
            "from tsviz.captum import from_captum\n"
            "try: from_captum('DeepLift')\nexcept ImportError as e: print(e)")
    assert "pip install 'tsviz[captum]'" in subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
