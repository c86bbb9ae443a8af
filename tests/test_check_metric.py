"`check_metric` lets a fair metric pass, and names the contract that a faulty one breaks"
import itertools, random, threading
from functools import partial
import numpy as np, pytest, torch
from tsviz.check import _known, _linear, _truth, check_metric, metric_contracts
from tsviz.core import Target, as_batch, as_plain, as_target, find_bs
from tsviz.method import Method, _take, as_lengths, precomputed
from tsviz.score import TargetScore, explaining, like_model, prob

def says(higher_is_better, range):
    def deco(f): f.higher_is_better,f.range = higher_is_better,range; return f
    return deco

def measured(core, method, x, y, model, layer, lengths, bs=None, mask=None):
    "`core(map, score, x, mask)`: all items at once, or one after the other where they have lengths, each trimmed to its own"
    plain,xs = as_plain(x),as_batch(x, like_model(model))
    find_bs(xs, bs)
    T,rows = xs.shape[-1],torch.arange(len(xs))
    parts = [(T,rows)] if lengths is None else [*zip(as_lengths(lengths, len(xs), T).tolist(), rows.split(1))]
    y,res = as_target(y, len(xs)),[]
    if mask is not None:
        mask = as_plain(mask)
        if mask.shape!=plain.shape: raise ValueError(f"`mask` must be of the series' shape, got {tuple(mask.shape)}")
        mask = mask.reshape(xs.shape)
    with explaining(model):
        for n,i in parts:
            o = xs[i][...,:n]
            c = TargetScore(model, _take(y, i)).hold(o).y
            f = TargetScore(model, prob(c.c) if isinstance(c, Target) else c)
            res.append(core(method(o, c, model, layer), f, o, None if mask is None else mask[i][...,:n]))
    return torch.cat(res) if plain.ndim==3 else res[0][0]

def left(a, f, x, _=None, k=5): # the score left when the k steps of the largest values are 0
    return f(x.scatter(-1, a.sum(1).topk(min(k, x.shape[-1])).indices[:,None].expand(-1, x.shape[1], -1), 0.))

@says(False, (0,1))
def fair(method, x, y, model, layer=None, lengths=None, bs=None, k=5):
    return measured(partial(left, k=k), method, x, y, model, layer, lengths, bs)

@says(True, (0,1))
def fair_with_mask(method, x, y, model, layer=None, mask=None, lengths=None):
    def core(a, f, x, m): a = a.clamp(min=0); m = m if a.shape[1]>1 else m.any(1, keepdim=True); return (a*m).sum((1,2))/a.sum((1,2)).clamp(min=1e-30)
    return measured(core, method, x, y, model, layer, lengths, mask=mask)

@says(True, (0,1))
def fair_of_shape(method, x, y, model, layer=None, lengths=None):
    def core(a, f, x, _): a = a.abs(); return a.amax((1,2))/a.sum((1,2)).clamp(min=1e-30)
    return measured(core, method, x, y, model, layer, lengths)

def method(fn): return Method(lambda x,y,model,layer,items: fn(x), fn, [])
even,spike = method(lambda x: torch.ones_like(x[:,:1])),method(lambda x: (torch.arange(x.shape[-1])==0).to(x).expand(len(x), 1, -1))

# ---- fair ones

def test_a_fair_metric_passes():
    rng = torch.get_rng_state(),random.getstate(),str(np.random.get_state())
    check_metric(fair)
    assert torch.equal(rng[0], torch.get_rng_state()) and rng[1:]==(random.getstate(),str(np.random.get_state()))
    check_metric(fair_with_mask)

def test_parameters_partials_and_choice_of_contracts():
    check_metric(fair, only=['direction','range'], k=2)
    check_metric(partial(fair, k=2), only=['values','direction','range'])
    with pytest.raises(AssertionError, match='fair breaks the contract `direction`, by HiResCAM: gives x.w 0.3333 and -x.w 0.3333'):
        check_metric(partial(fair, k=40), only=['direction']) # nothing is left of any series
    with pytest.raises(ValueError, match="no contract 'length'.*'lengths'"): check_metric(fair, only=['length'])

def test_which_method_is_better_can_be_said():
    with pytest.raises(AssertionError, match='contract `direction`.*pass `better` and `worse`'): check_metric(fair_of_shape, only=['direction'])
    check_metric(fair_of_shape, better=spike, worse=even, only=['direction','range'])
    with pytest.raises(AssertionError, match='contract `direction`'): check_metric(fair_of_shape, better=even, worse=spike, only=['direction'])
    check_metric(fair_with_mask, only=['direction'], worse=even)

def test_a_mask_of_the_users():
    "is given as it is, and none is invented"
    seen = []
    @says(True, (-1,1))
    def m(method, x, y, model, layer=None, mask=None, lengths=None): seen.append(mask); return fair(method, x, y, model, layer, lengths).neg()
    check_metric(m, only=['values','range'], mask='mine')
    assert set(seen)=={'mine'}
    check_metric(m, only=['values'])
    assert torch.is_tensor(seen[-1])

def test_the_linear_model_is_what_it_says():
    "What a value adds to the score is x*w: the sum of all is the score, and its gradient times x"
    x,model = _linear()
    w = model[2].weight.unflatten(1, (2,40))
    contributions = x[:,None]*w
    assert torch.allclose(contributions.sum((2,3)), model(x), atol=1e-5) and x.mean(-1).abs().max()<1e-6
    assert torch.equal(model[0](x), x) and set(model(x).argmax(1).tolist())=={0,1,2}
    y = model(x).argmax(1)
    own = contributions[torch.arange(8),y]
    a = _known['x*w'](x, y, model)
    assert torch.allclose(a, own, atol=1e-6) and torch.equal(_known['-x*w'](x, y, model), -a)
    assert fair(precomputed(a), x, y, model).mean()+.3 < fair(precomputed(-a), x, y, model).mean()

def test_the_truth_is_neither_all_nor_nothing():
    x = torch.randn(50, 2, 40, generator=torch.Generator().manual_seed(0))
    for o in (x, 0*x, 0*x+1, x[...,:2]): assert _truth(o).any(2).all() and not _truth(o).all(2).any()
    assert torch.equal(_truth(x)[...,:17], _truth(x[...,:17]))

# ---- faulty ones: each is right but for one thing

faults = {}
def breaks(contract):
    def deco(f): faults.setdefault(contract, []).append(f); return f
    return deco

def like_fair(f): return says(fair.higher_is_better, fair.range)(f)

def plainly(contract):
    "A metric that gives `fair`'s numbers, but does `fault` first"
    def deco(fault):
        @like_fair
        def faulty(method, x, y, model, layer=None, lengths=None):
            fault(x, y, model, layer)
            return fair(method, x, y, model, layer, lengths)
        faulty.__name__ = fault.__name__
        return breaks(contract)(faulty)
    return deco

def after(contract):
    "A metric that changes `fair`'s numbers by `change(v, x, lengths, model)`"
    def deco(change):
        @like_fair
        def faulty(method, x, y, model, layer=None, lengths=None): return change(fair(method, x, y, model, layer, lengths), as_plain(x), lengths, model)
        faulty.__name__ = change.__name__
        return breaks(contract)(faulty)
    return deco

@after('values')
def gives_a_column(v, x, lengths, model): return v[:,None] if v.ndim else v
@after('values')
def gives_a_list(v, x, lengths, model): return v.tolist()
@after('values')
def gives_one_number_for_all(v, x, lengths, model): return v.mean()
@after('values')
def gives_ints(v, x, lengths, model): return (100*v).long()
@after('values')
def gives_nan(v, x, lengths, model): return v.where(v<.2, torch.nan)
@after('values')
def keeps_the_batch_axis(v, x, lengths, model): return v.reshape(-1)
@after('values')
def drops_a_batch_of_one(v, x, lengths, model): return v[0] if v.shape==(1,) else v
@after('values')
def gives_a_graph(v, x, lengths, model): return v.requires_grad_()
@after('values')
def gives_a_parameter(v, x, lengths, model): return torch.nn.Parameter(v, requires_grad=False)

@breaks('values')
@like_fair
def takes_no_single_series(method, x, y, model, layer=None, lengths=None):
    if x.ndim!=3: raise IndexError('on purpose')
    return fair(method, x, y, model, layer, lengths)

@plainly('state')
def leaves_eval_mode(x, y, model, layer): model.eval()
@plainly('state')
def leaves_frozen(x, y, model, layer): model.requires_grad_(False)
@plainly('state')
def leaves_a_hook(x, y, model, layer): model[0].register_forward_hook(lambda m,i,o: None)
@plainly('state')
def changes_weights(x, y, model, layer): model[0].weight.data.mul_(1.01)
@plainly('state')
def draws_random_numbers(x, y, model, layer): torch.rand(1)
@plainly('state')
def draws_numpy_numbers(x, y, model, layer): np.random.rand()
@plainly('state')
def draws_python_numbers(x, y, model, layer): random.random()
@plainly('state')
def seeds_for_all(x, y, model, layer): torch.manual_seed(0)
@plainly('state')
def leaves_grad_off(x, y, model, layer): torch.set_grad_enabled(False)
@plainly('state')
def works_in_place_on_x(x, y, model, layer): x.mul_(1.01)
@plainly('state')
def works_in_place_on_y(x, y, model, layer): torch.is_tensor(y) and y.zero_()

@plainly('state')
def changes_batchnorm_statistics(x, y, model, layer):
    if model.training:
        with torch.no_grad(), torch.random.fork_rng(): model(as_batch(x, like_model(model)))

@plainly('state')
def fills_grad(x, y, model, layer):
    flags = [o.training for o in model.modules()]
    model.eval()(as_batch(x, like_model(model))).sum().backward()
    for o,flag in zip(model.modules(), flags): o.training = flag

@breaks('state')
@like_fair
def hides_errors(method, x, y, model, layer=None, lengths=None):
    try: return fair(method, x, y, model, layer, lengths)
    except ArithmeticError: return torch.zeros(len(x))

@breaks('state')
@like_fair
def forgets_when_it_fails(method, x, y, model, layer=None, lengths=None): # randomised weights are put back at the end only
    v,old = fair(method, x, y, model, layer, lengths),model[0].weight.data
    model[0].weight.data = old+.1
    fair(method, x, y, model, layer, lengths)
    model[0].weight.data = old
    return v

@breaks('state')
@says(True, (0,1))
def works_in_place_on_the_mask(method, x, y, model, layer=None, mask=None, lengths=None):
    v = fair_with_mask(method, x, y, model, layer, mask, lengths)
    mask &= False
    return v

@breaks('independent')
@like_fair
def pools_over_the_batch(method, x, y, model, layer=None, lengths=None):
    if lengths is not None or as_plain(x).ndim<3: return fair(method, x, y, model, layer, lengths)
    def pooled(o, c, model, layer): return method(x, y, model, layer).mean(0, keepdim=True)
    return fair(pooled, x, y, model, layer, lengths)

@after('independent')
def scales_by_the_batch(v, x, lengths, model): return v/v.max() if v.ndim else v/v
@after('independent')
def is_centred_on_the_batch(v, x, lengths, model): return v-.1*(v.mean()-v)
@after('independent')
def draws_ties_for_the_batch(v, x, lengths, model): return .9*v+.1*torch.rand(v.shape, generator=torch.Generator().manual_seed(0))
calls = itertools.count()
@after('independent')
def depends_on_call_order(v, x, lengths, model): return v*(1-.01*(next(calls)%3))
@after('independent')
def sorts_the_items(v, x, lengths, model): return v.sort().values if v.ndim else v

@breaks('independent')
@like_fair
def pools_maps_of_channels(method, x, y, model, layer=None, lengths=None):
    v = fair(method, x, y, model, layer, lengths)
    return v*.9 if v.shape==(1,) and method(as_plain(x)[...,:20], 0, model).shape[1]>1 else v

@after('modes')
def works_under_grad_only(v, x, lengths, model): return v if torch.is_grad_enabled() else 0*v
@after('modes')
def measures_in_training_mode(v, x, lengths, model): return v*.9 if model.training and len(model)==7 else v
@after('modes')
def measures_frozen_models_otherwise(v, x, lengths, model): return v*.9 if not model[0].weight.requires_grad and len(model)==7 else v
@after('modes')
def follows_autocast(v, x, lengths, model): return v.bfloat16().to(v.dtype) if torch.is_autocast_enabled('cpu') else v

@after('inplace')
def overwritten_by_an_inplace_relu(v, x, lengths, model): return v*.9 if any(getattr(o, 'inplace', False) for o in model.modules()) else v

def passes(f): return breaks('passes')(like_fair(f))
@passes
def knows_its_pass(method, x, y, model, layer=None, lengths=None, bs=None): return fair(method, x, y, model, layer, lengths, bs)*(1 if bs is None else .99)
@passes
def takes_any_bs(method, x, y, model, layer=None, lengths=None, bs=None): return fair(method, x, y, model, layer, lengths)
@passes
def ignores_bs(method, x, y, model, layer=None, lengths=None, bs=None):
    v = fair(method, x, y, model, layer, lengths, bs)
    TargetScore(model, 0)(as_batch(x, like_model(model)).repeat(3, 1, 1)) # a pass with all changed copies at once
    return v

@breaks('lengths')
@like_fair
def lets_padded_steps_in(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer)
@breaks('lengths')
@like_fair
def takes_no_lengths(method, x, y, model, layer=None): return fair(method, x, y, model, layer)
@after('lengths')
def counts_padded_steps(v, x, lengths, model): return v if lengths is None else v*torch.as_tensor(lengths)/x.shape[-1]
@breaks('lengths')
@says(True, (0,1))
def looks_at_the_mask_of_padded_steps(method, x, y, model, layer=None, mask=None, lengths=None):
    return fair_with_mask(method, x, y, model, layer, mask, lengths)*as_plain(mask).double().mean((-1,-2))

shared = []
@breaks('threads')
@like_fair
def not_for_threads(method, x, y, model, layer=None, lengths=None):
    shared.append(x)
    n,here = len(shared),threading.current_thread() is threading.main_thread()
    for _ in range(0 if here else 1000): # until another thread was here, or none comes any more
        if len(shared)>n: break
        threading.Event().wait(.002)
    return fair(method, shared[-1] if not here and shared[-1].shape==x.shape else x, y, model, layer, lengths)

@breaks('subclass')
@like_fair
def gives_a_subclass(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths).as_subclass(type(x))

@breaks('double')
@like_fair
def float32_only(method, x, y, model, layer=None, lengths=None):
    if as_plain(x).is_floating_point(): model(torch.zeros(2, 2, x.shape[-1])) if x.shape[-2:]==(2,40) and like_model(model).dtype==torch.float64 else None
    return fair(method, x, y, model, layer, lengths)

def targets(f): return breaks('targets')(like_fair(f))
@targets
def measures_another_class_by_default(method, x, y, model, layer=None, lengths=None): return fair(method, x, 0 if y is None else y, model, layer, lengths)
@targets
def refuses_at_length(method, x, y, model, layer=None, lengths=None):
    if callable(y): raise ValueError("no function.\nPass a class")
    return fair(method, x, y, model, layer, lengths)
@targets
def crashes_on_a_function(method, x, y, model, layer=None, lengths=None):
    if callable(y): raise AttributeError("'function' object has no attribute 'c'")
    return fair(method, x, y, model, layer, lengths)
@targets
def takes_no_list(method, x, y, model, layer=None, lengths=None): return fair(method, x, y[0]*0 if isinstance(y, list) else y, model, layer, lengths)

@targets
def loses_the_class_on_the_way(method, x, y, model, layer=None, lengths=None): # found anew on changed series
    if y is not None: return fair(method, x, y, model, layer, lengths)
    with explaining(model), torch.no_grad(): c = model(as_batch(x, like_model(model))*-1).argmax(1)
    return fair(method, x, c if x.ndim==3 else c[0], model, layer, lengths)

def errors(f): return breaks('errors')(like_fair(f))
@errors
def accepts_nan(method, x, y, model, layer=None, lengths=None): return fair(method, as_plain(x).nan_to_num(), y, model, layer, lengths)
@errors
def wrong_error(method, x, y, model, layer=None, lengths=None):
    try: return fair(method, x, y, model, layer, lengths)
    except ValueError as e: raise KeyError(str(e)) from e
@errors
def forgets_the_layer(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, None, lengths)
@errors
def accepts_any_class(method, x, y, model, layer=None, lengths=None): return fair(method, x, min(y, 2) if isinstance(y, int) else y, model, layer, lengths)
@errors
def breaks_the_model_when_it_refuses(method, x, y, model, layer=None, lengths=None):
    try: return fair(method, x, y, model, layer, lengths)
    except ValueError: model.train(); raise
@breaks('errors')
@says(True, (0,1))
def takes_any_mask(method, x, y, model, layer=None, mask=None, lengths=None):
    mask = as_plain(mask)
    return fair_with_mask(method, x, y, model, layer, mask if mask.shape==x.shape else torch.ones(x.shape, dtype=torch.bool), lengths)

@breaks('direction')
@says(True, (0,1))
def upside_down(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@breaks('direction')
@says(None, (0,1))
def of_no_direction(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@breaks('direction')
@says('lower', (0,1))
def of_a_direction_in_words(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@breaks('direction')
def says_nothing_of_itself(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@after('direction')
def measures_nothing(v, x, lengths, model): return 0*v+.5
@breaks('direction')
@like_fair
def looks_at_no_signs(method, x, y, model, layer=None, lengths=None): return fair(lambda *args: method(*args).abs(), x, y, model, layer, lengths)
@breaks('direction')
@says(False, (0,1))
def masks_upside_down(method, x, y, model, layer=None, mask=None, lengths=None): return fair_with_mask(method, x, y, model, layer, mask, lengths)

def one_output(model): return [o.out_features for o in model.modules() if isinstance(o, torch.nn.Linear)]==[1]
def degenerate(f): return breaks('degenerate')(like_fair(f))
def of(core): return lambda method, x, y, model, layer=None, lengths=None: measured(core, method, x, y, model, layer, lengths)
def named(k, f): f.__name__ = k; return f

degenerate(named('divides_by_the_map', of(lambda a,f,x,_: left(a/a.abs().sum((1,2), keepdim=True), f, x)*(a.abs().sum((1,2))/a.abs().sum((1,2))))))
degenerate(named('divides_by_the_spread_of_the_map', of(lambda a,f,x,_: left(a, f, x)*((s := a.flatten(1).std(1, correction=0))/s))))
degenerate(named('divides_by_the_range_of_the_series', of(lambda a,f,x,_: left(a, f, x)*((s := x.amax((1,2))-x.amin((1,2)))/s))))
degenerate(named('needs_five_steps', of(lambda a,f,x,_: f(x.scatter(-1, a.sum(1).topk(5).indices[:,None].expand(-1, 2, -1), 0.)))))
degenerate(named('needs_two_steps', of(lambda a,f,x,_: left(a, f, x)*(x.shape[-1]-1)/(x.shape[-1]-1))))

varied = lambda x: (x.amax((1,2))-x.amin((1,2)))>0
def nan_if(bad): return of(lambda a,f,x,_: left(a, f, x).where(~(bad(a) & varied(x)) if x.shape[-1]==40 else torch.ones(len(x), dtype=torch.bool), torch.nan))
degenerate(named('knows_no_constant_map', nan_if(lambda a: (a.amax((1,2))==a.amin((1,2))) & (a.amax((1,2))>0))))
degenerate(named('knows_no_map_of_zeros', nan_if(lambda a: (a==0).all(2).all(1))))
degenerate(named('knows_no_map_of_zeros_between_others', nan_if(lambda a: (z := (a==0).all(2).all(1)) & (not z.all()))))
degenerate(named('knows_no_two_steps', of(lambda a,f,x,_: left(a, f, x)*(x.shape[-1]-2)/(x.shape[-1]-2))))

@degenerate
def refuses_constant_maps(method, x, y, model, layer=None, lengths=None):
    def core(a, f, x, _):
        if x.shape[-1]>3 and (a.amax((1,2))==a.amin((1,2))).any(): raise ValueError("The map is constant")
        return left(a, f, x)
    return measured(core, method, x, y, model, layer, lengths)
@degenerate
def crashes_on_one_output(method, x, y, model, layer=None, lengths=None):
    if one_output(model): raise IndexError('on purpose')
    return fair(method, x, y, model, layer, lengths)
@degenerate
def nan_for_one_output(method, x, y, model, layer=None, lengths=None):
    return torch.full((6,), torch.nan) if one_output(model) else fair(method, x, y, model, layer, lengths)

def in_range(lo_hi): return lambda f: breaks('range')(says(False, lo_hi)(f))
@in_range((0,.5))
def of_half_the_range(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@in_range((.3,1))
def of_a_range_that_starts_too_high(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@in_range(None)
def of_no_range(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@in_range((1,0))
def of_a_range_upside_down(method, x, y, model, layer=None, lengths=None): return fair(method, x, y, model, layer, lengths)
@after('range')
def is_a_difference(v, x, lengths, model): return v-.5

def test_every_contract_has_a_metric_that_breaks_it(): assert faults.keys()==metric_contracts.keys()

@pytest.mark.parametrize('contract,m', [(k,m) for k,ms in faults.items() for m in ms], ids=lambda o: getattr(o, '__name__', o))
def test_faulty_metrics_fail(contract, m):
    grad = torch.is_grad_enabled()
    try:
        with pytest.raises(AssertionError, match=f'{m.__name__} breaks the contract `{contract}`, by (HiResCAM|x.w): '): check_metric(m)
    finally: torch.set_grad_enabled(grad)

def test_the_reason_is_kept():
    with pytest.raises(AssertionError, match='contract `values`, by HiResCAM: IndexError: on purpose') as e: check_metric(takes_no_single_series)
    assert isinstance(e.value.__cause__, IndexError)

def test_what_may_be_refused():
    "A function, and a model of one output, in one sentence; not so what every metric must measure"
    @like_fair
    def needs_a_class(method, x, y, model, layer=None, lengths=None):
        if callable(y) or one_output(model): raise ValueError('A class is needed')
        return fair(method, x, y, model, layer, lengths)
    check_metric(needs_a_class, only=['targets','degenerate'])

def test_seeding_shows_where_the_caller_has_the_same_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with pytest.raises(AssertionError, match='contract `state`.*random state'): check_metric(seeds_for_all, only=['state'])
