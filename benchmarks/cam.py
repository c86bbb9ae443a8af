"""Grad-CAM on InceptionTime: time and memory beside an inference-mode forward, captum and torchcam, in one run

Times are interleaved, one call of each in turn, and compared by their medians. Memory is the peak resident set of a process of its own for each
contender, less that of the same process before the call.

    python benchmarks/cam.py            # prints the tables
    python benchmarks/cam.py --save     # and keeps them in benchmarks/cam.md
"""
import argparse, os, platform, resource, subprocess, sys, time
from pathlib import Path
from statistics import median
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import torch
from tsviz.cam import grad_cam
from tsviz.data import TSDataLoaders, get_batch
from tsviz.models import inception_time

def contenders(model, x, y):
    "name -> a call; all explain class `y` at the last block"
    from captum.attr import LayerGradCam
    from torchcam.methods import GradCAM
    captum = LayerGradCam(model, model[5])
    def forward():
        with torch.inference_mode(): return model(x)
    def torchcam():
        model.requires_grad_(True) # as it is found after loading
        with GradCAM(model, target_layer=model[5]) as cam: return cam(y.tolist(), model(x))[0]
    return {'forward (inference mode)': forward, 'tsviz': lambda: grad_cam(x, y, model), 'captum': lambda: captum.attribute(x, y, relu_attributions=True), 'torchcam': torchcam}

def timed(f):
    t = time.perf_counter(); f()
    return time.perf_counter()-t

def times(n, items):
    "Medians of `n` interleaved calls on series of GunPoint, and the largest difference to captum"
    torch.manual_seed(0)
    x,y = get_batch(TSDataLoaders.from_dataset('GunPoint').valid, range(items))
    x,y,model = x.as_subclass(torch.Tensor),y.as_subclass(torch.Tensor),inception_time(1, 2).eval()
    calls = contenders(model, x, y)
    ours,theirs = grad_cam(x, y, model),calls['captum']().detach()
    for f in calls.values(): f()
    rows = {k:[] for k in calls}
    for _ in range(n):
        for k,f in calls.items(): rows[k].append(timed(f))
    return {k:median(v) for k,v in rows.items()}, (ours-theirs).abs().max().item()/theirs.abs().max().item()

def peak(name):
    "Peak memory in MB of one call on 256 series of 1000 steps, in this process"
    torch.manual_seed(0)
    x,y,model = torch.randn(256, 1, 1000),torch.zeros(256, dtype=torch.long),inception_time(1, 2).eval()
    call = contenders(model, x, y)[name]
    with torch.inference_mode(): model(x[:1])
    rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    before = rss(); call()
    return rss()-before

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('-n', type=int, default=15, help="interleaved repeats"); p.add_argument('--save', action='store_true'); p.add_argument('--peak')
    args = p.parse_args()
    if args.peak: return print(f'{peak(args.peak):.0f}')
    names = 'forward (inference mode)', 'tsviz', 'captum', 'torchcam'
    text = f"# Grad-CAM on InceptionTime\n\n`python benchmarks/cam.py`, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}\n"
    for items,n in ((150,args.n), (1,10*args.n)):
        ts,gap = times(n, items)
        text += f"\nTime: {items} series of GunPoint (1x150), median of {n} interleaved calls. Largest difference between tsviz and captum: {gap:.1e} of the largest value.\n\n"
        text += table(['', 'ms', 'over forward', 'over tsviz'], [[k, f'{1000*ts[k]:.1f}', f"{ts[k]/ts[names[0]]:.2f}", f"{ts[k]/ts['tsviz']:.2f}"] for k in names])
    mem = {k:float(subprocess.run([sys.executable, __file__, '--peak', k], capture_output=True, text=True, check=True).stdout) for k in names}
    text += "\nPeak memory of the call: 256 series of 1x1000, each in a process of its own.\n\n"
    text += table(['', 'MB', 'over forward', 'over tsviz'], [[k, f'{m:.0f}', f"{m/mem[names[0]]:.2f}", f"{m/mem['tsviz']:.2f}"] for k,m in mem.items()])
    print(text)
    if args.save: (Path(__file__).parent/'cam.md').write_text(text, encoding='utf-8')

if __name__=='__main__': main()
