"""Every method that captum or torchcam also has: time, peak memory and values of theirs and ours, in one run

The peer is called as its documentation has it (default) and, where it has a size for a pass (`internal_batch_size`, `perturbations_per_eval`,
`nt_samples_batch_size`), with the fastest of several (best). Ours is called with its defaults. Times are interleaved, one call of each in turn, and compared by
their medians. Memory is the peak resident set of a process of its own for each contender, less that of the same process before the call.
A ratio above 1 speaks for tsviz. The difference is the largest one of two maps, divided by the largest |value| of the peer's.

    python benchmarks/methods.py            # prints the tables, in about ten minutes on two cores
    python benchmarks/methods.py --quick    # a small network, few series: that all of it works
    python benchmarks/methods.py --only occlusion smooth_grad
    python benchmarks/methods.py --save     # keeps the tables in benchmarks/README.md, between its markers
"""
import argparse, ctypes, gc, json, os, platform, subprocess, sys, time, warnings
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import NamedTuple
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import captum, captum.attr as ca, torch, torchcam, torchcam.methods as tc
import tsviz.all as tsviz
from tsviz.all import TSDataLoaders, as_plain, attr_methods, get_batch, inception_time

root,marks = Path(__file__).parent,('<!-- methods: begin -->', '<!-- methods: end -->')

class Pair(NamedTuple):
    "A method here and there"
    method:str # name in `attr_methods`, or of a function of `tsviz.all` that makes a method
    peer:str
    theirs:object # function of a setting -> a call, which takes the size of a pass
    sizes:dict = {} # what may be varied: name -> values, the first is the default
    ours:object = {} # parameters, or a function of a setting -> parameters
    why:str = '' # the maps are not compared, because
    sets:str = 'items' # which setting

# calls of the peers

def via_captum(cls, layer=False, ours=None, **kwargs):
    "A call of a class of captum"
    def call(s):
        a = cls(s.model, s.layer) if layer else cls(s.model)
        given = {k: v(s) if callable(v) else v for k,v in kwargs.items()}
        return lambda **size: a.attribute(s.x, target=s.y, **given, **size).detach()
    return call

def tunnel(s): # the same noise: a fraction of the range
    a,std = ca.NoiseTunnel(ca.Saliency(s.model)),.1*float((s.x.amax(-1)-s.x.amin(-1)).mean())
    return lambda **size: a.attribute(s.x, target=s.y, abs=False, nt_samples=25, stdevs=std, **size).detach()

def via_torchcam(cls, **kwargs):
    "A call of a class of torchcam, without its scale of display"
    def call(s):
        def run():
            with cls(s.model, target_layer=s.layer, **{k: v(s) for k,v in kwargs.items()}) as cam:
                return cam(s.y.tolist(), s.model(s.x), normalized=False)[0].detach()[:,None]
        return run
    return call

mask = lambda s: s.segments[None,None]
many,evals = (None,16,64,200),(1,4,16,64)
pairs = [
    Pair('saliency', 'captum Saliency', via_captum(ca.Saliency)),
    Pair('input_x_grad', 'captum InputXGradient', via_captum(ca.InputXGradient)),
    Pair('smooth_grad', 'captum NoiseTunnel(Saliency)', tunnel, dict(nt_samples_batch_size=(None,5)), why='other draws'),
    Pair('guided_backprop', 'captum GuidedBackprop', via_captum(ca.GuidedBackprop)),
    Pair('deconvnet', 'captum Deconvolution', via_captum(ca.Deconvolution)),
    Pair('guided_grad_cam', 'captum GuidedGradCam', via_captum(ca.GuidedGradCam, layer=True)),
    Pair('integrated_grads', 'captum IntegratedGradients', via_captum(ca.IntegratedGradients, n_steps=50), dict(internal_batch_size=many)),
    Pair('expected_grads', 'captum GradientShap', via_captum(ca.GradientShap, baselines=lambda s: s.refs, n_samples=50),
         ours=lambda s: dict(baselines=s.refs, n_samples=50), why='other draws'),
    Pair('occlusion', 'captum Occlusion', via_captum(ca.Occlusion, sliding_window_shapes=(1,10), strides=(1,5)),
         dict(perturbations_per_eval=evals), dict(window=10, stride=5)),
    Pair('ablation', 'captum FeatureAblation', via_captum(ca.FeatureAblation, feature_mask=mask),
         dict(perturbations_per_eval=evals), lambda s: dict(segments=s.segments)),
    Pair('window_shap', 'captum ShapleyValueSampling', via_captum(ca.ShapleyValueSampling, feature_mask=mask, n_samples=10),
         dict(perturbations_per_eval=(1,10)), dict(n_samples=5), why='other draws'),
    Pair('from_captum', 'captum DeepLift', via_captum(ca.DeepLift)),
    Pair('grad_cam', 'captum LayerGradCam', via_captum(ca.LayerGradCam, layer=True, relu_attributions=True)),
    Pair('class_cam', 'torchcam CAM', via_torchcam(tc.CAM, fc_layer=lambda s: s.head)),
    Pair('grad_cam', 'torchcam GradCAM', via_torchcam(tc.GradCAM)),
    Pair('grad_cam_pp', 'torchcam GradCAMpp', via_torchcam(tc.GradCAMpp), why='theirs leaves out the division'),
    Pair('xgrad_cam', 'torchcam XGradCAM', via_torchcam(tc.XGradCAM)),
    Pair('layer_cam', 'torchcam LayerCAM', via_torchcam(tc.LayerCAM)),
    Pair('score_cam', 'torchcam ScoreCAM', via_torchcam(tc.ScoreCAM), why='theirs: softmax of logits, not of probabilities'),
    Pair('occlusion', 'captum Occlusion, one series, window 8, stride 8', via_captum(ca.Occlusion, sliding_window_shapes=(1,8), strides=(1,8)),
         dict(perturbations_per_eval=evals), dict(window=8, stride=8), sets='long'),
    Pair('occlusion', '', None, {}, dict(window=8, stride=8), sets='longer')]

# settings

def network(quick):
    torch.manual_seed(0)
    return inception_time(1, 2, **dict(depth=3, nb_filters=8) if quick else {}).eval()

def setting(name, quick=False):
    "A network with random weights and series: 'items' of GunPoint, one 'long' strip, a 'longer' one"
    model = network(quick)
    if name=='items':
        x,y = (as_plain(o) for o in get_batch(TSDataLoaders.from_dataset('GunPoint').valid, range(4 if quick else 16)))
    else:
        T = dict(long=2000, longer=8000)[name]//(5 if quick else 1)
        x = torch.randn(1, 1, T, generator=torch.Generator().manual_seed(1)).cumsum(-1)
        x,y = (x-x.mean())/x.std(),torch.tensor([0])
    with torch.no_grad():
        for o in model.modules(): # statistics as after some training, so that activations are not all alike
            if isinstance(o, torch.nn.BatchNorm1d): o.running_var.fill_(.5)
    T = x.shape[-1]
    layer = tsviz.find_layer(model, None, x)
    head = [n for n,o in model.named_modules() if isinstance(o, torch.nn.Linear)][-1]
    return SimpleNamespace(model=model, layer=layer, head=head, x=x, y=y, segments=torch.arange(T)*10//T, refs=torch.zeros(8, 1, T))

def ours(pair, s):
    "A call of the method"
    kw = pair.ours(s) if callable(pair.ours) else pair.ours
    m = tsviz.from_captum(ca.DeepLift) if pair.method=='from_captum' else attr_methods[pair.method]
    return lambda: m(s.x, s.y, s.model, **kw)

def contenders(pair, s, best=None):
    "name -> call; with `best`, a size of a pass, also the peer with that"
    res = {'ours': ours(pair, s)}
    if pair.theirs:
        res['default'] = pair.theirs(s)
        if best: res['best'] = partial(pair.theirs(s), **best)
    return res

# measurements

def timed(f):
    t = time.perf_counter(); f()
    return time.perf_counter()-t

def find_best(pair, s, quick=False):
    "The fastest size of a pass, `None` where there is nothing to vary or the default is the fastest"
    if not pair.sizes: return None
    call,[(k,values)] = pair.theirs(s),pair.sizes.items()
    res = {v: timed(partial(call, **{k:v})) for v in values[:2 if quick else None]}
    best = min(res, key=res.get)
    return None if best==values[0] else {k:best}

def times(calls, seconds, least=3, most=15):
    "name -> median seconds of interleaved calls, as many rounds as fit into `seconds`"
    once = sum(timed(f) for f in calls.values())
    n,ts = max(least, min(most, int(seconds/once))),{k:[] for k in calls}
    for _ in range(n):
        for k,f in calls.items(): ts[k].append(timed(f))
    return {k:median(v) for k,v in ts.items()}

def difference(a, b): return (a-b).abs().max().item()/b.abs().max().item()

def status(key): return next(int(o.split()[1])/1024 for o in Path('/proc/self/status').read_text().splitlines() if o.startswith(key+':'))

def peak(i, who, best, quick):
    "Peak memory in MB of one call, in this process"
    pair = pairs[i]
    s = setting(pair.sets, quick)
    small = SimpleNamespace(**{**vars(s), 'x':s.x[:1,:,:200], 'y':s.y[:1], 'segments':s.segments[:200], 'refs':s.refs[:,:,:200]})
    contenders(pair, small, best)[who]() # what is imported on first use
    call = contenders(pair, s, best)[who]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0) # what was freed goes back, so that it is counted again
    Path('/proc/self/clear_refs').write_text('5') # the peak is counted from here
    before = status('VmRSS')
    call()
    return status('VmHWM')-before

def peaks(jobs, quick):
    "MB of each (pair, contender, size of a pass), each in a process forked before any work was done"
    out = []
    for job in jobs:
        r,w = os.pipe()
        if not (pid := os.fork()):
            try: os.write(w, f'{peak(*job, quick):.1f}'.encode())
            finally: os._exit(0)
        os.close(w)
        with os.fdopen(r) as f: out.append(f.read())
        os.waitpid(pid, 0)
    return [float(o) if o else None for o in out]

# tables

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'
def measure(i, seconds, quick):
    "Times and difference of one pair"
    pair = pairs[i]
    s,res,least = setting(pair.sets, quick),dict(i=i, best=None),1 if quick else 3
    calls = contenders(pair, s)
    if pair.theirs:
        try: theirs = calls['default']()
        except Exception as e: return res | dict(raises=type(e).__name__, t=times({'ours':calls['ours']}, seconds, least)) # a peer's fault is a result
        if not pair.why: res['gap'] = difference(calls['ours'](), theirs)
        res['best'] = find_best(pair, s, quick)
    return res | dict(t=times(contenders(pair, s, res['best']), seconds, least))

head = ('peer, {0}', 'its best, {0}', 'tsviz, {0}', '{0}: ratio', '{0}: ratio to best')

def columns(d):
    "Peer, its best, ours, and the two ratios, of a measure"
    best = d.get('best', d.get('default'))
    ratio = lambda v: f"{v/d['ours']:.1f}" if v is not None and d.get('ours') else ''
    return [*('' if d.get(k) is None else f'{d[k]:.0f}' for k in ('default','best','ours')), ratio(d.get('default')), ratio(best)]

def line(r, mem):
    "A row of the table"
    pair = pairs[r['i']]
    size = f" ({', '.join(f'{k}={v}' for k,v in r['best'].items())})" if r['best'] else ''
    gap = f"{r['gap']:.0e}" if 'gap' in r else f"theirs raises {r['raises']}" if 'raises' in r else pair.why
    return [f'`{pair.method}`', pair.peer+size, *columns({k: 1000*v for k,v in r['t'].items()}), *columns(mem), gap]

def report(results, mem, quick):
    "The tables as Markdown"
    top = ['tsviz', 'peer (its best size)', *(o.format(u) for u in ('ms','MB') for o in head), 'largest difference']
    what = 'a small InceptionTime, 4 series 1x150' if quick else 'InceptionTime, 16 series of GunPoint (1x150)'
    text = (f"`python benchmarks/methods.py{' --quick' if quick else ''}`: {what}, {torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}, "
            f"captum {captum.__version__}, torchcam {torchcam.__version__}, {platform.machine()}. A ratio above 1 speaks for tsviz.\n\n")
    text += table(top, [line(r, mem[r['i']]) for r in results if pairs[r['i']].sets=='items'])
    long,longer = (next((r for r in results if pairs[r['i']].sets==o), None) for o in ('long','longer'))
    if not long or not longer: return text
    a,b = (setting(o, quick).x.shape[-1] for o in ('long','longer'))
    grown = longer['t']['ours']/long['t']['ours']
    text += f'\nOne series of {a} steps:\n\n'+table(top, [line(long, mem[long['i']])])
    return text + (f"\nFrom {a} to {b} steps the time of `occlusion` grows {grown:.1f} times, to {1000*longer['t']['ours']:.0f} ms; "
                   f"full passes would take {(b/a)**2:.0f} times as long.\n")

def save(text, path):
    "Put `text` between the markers of the file at `path`, and leave its other text as it is"
    old = path.read_text(encoding='utf-8')
    if any(old.count(o)!=1 for o in marks): raise ValueError(f"{path} must have each of the markers {marks} once")
    path.write_text(f'{old.split(marks[0])[0]}{marks[0]}\n{text}{marks[1]}{old.split(marks[1])[1]}', encoding='utf-8')

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--quick', action='store_true', help="a small setting"); p.add_argument('--save', action='store_true', help="keep the tables in README.md")
    p.add_argument('--only', nargs='+', default=[], metavar='METHOD', help="some methods only"); p.add_argument('--seconds', type=float, default=12., help="of interleaved calls a row")
    p.add_argument('--peaks', help=argparse.SUPPRESS)
    args = p.parse_args()
    warnings.filterwarnings('ignore') # of captum, about hooks and gradients
    if args.peaks: return print(json.dumps(peaks(json.loads(args.peaks), args.quick)))
    there = [i for i,o in enumerate(pairs) if (o.method in attr_methods or hasattr(tsviz, o.method)) and (not args.only or o.method in args.only)]
    results = []
    for i in there:
        print(f'{pairs[i].method} ...', file=sys.stderr, flush=True)
        results.append(measure(i, min(args.seconds, .5) if args.quick else args.seconds, args.quick))
    jobs = [(r['i'], k, r['best']) for r in results for k in r['t']]
    out = subprocess.run([sys.executable, __file__, '--peaks', json.dumps(jobs), *['--quick']*args.quick], stdout=subprocess.PIPE, text=True, check=True).stdout
    mem = {i:{} for i in there}
    for (i,k,_),v in zip(jobs, json.loads(out.splitlines()[-1])): mem[i][k] = v
    text = report(results, mem, args.quick)
    print(text)
    if args.save: save(text, root/'README.md')

if __name__=='__main__': main()
