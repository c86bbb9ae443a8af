"""Looking inside a network: time and peak memory beside what one writes with fastai and PyTorch alone, in one run

The peers: fastai's `hook_outputs` for feature maps; a loop of `torch.optim.Adam` for one target at a time; a search that keeps the activations of the whole set.
Times are interleaved, one call of each in turn, and compared by their medians. Memory is the peak resident set of a process of its own, less that before the call.
A ratio above 1 speaks for tsviz.

    python benchmarks/inside.py            # prints the table, in about three minutes on two cores
    python benchmarks/inside.py --save     # and keeps it in benchmarks/inside.md
"""
import argparse, os, platform, subprocess, sys, time
from pathlib import Path
from statistics import median
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import torch
from fastai.callback.hook import hook_outputs
from tsviz.all import deep_dream, feature_maps, inception_time, maximize, top_windows

class Waves(torch.utils.data.Dataset):
    "Series that are made when they are asked for"
    def __init__(self, n, T=150): self.n,self.t = n,torch.arange(T)
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.sin(self.t*(.05+i%97/200))[None]+.1*torch.cos(self.t*i)[None],i%2

def loader(n): return torch.utils.data.DataLoader(Waves(n), batch_size=64)

def settings():
    torch.manual_seed(0)
    model = inception_time(1, 5).eval()
    return model,torch.stack([Waves(64)[i][0] for i in range(64)]),[f'{i}' for i in range(6)]

def hooked(model, x, layers):
    with hook_outputs([model.get_submodule(o) for o in layers], detach=True) as hooks, torch.no_grad():
        model(x)
        return {n: o.clone() for n,o in zip(layers, hooks.stored)}

def ascend(model, score, n_steps=16):
    x = torch.randn(1, 1, 150, requires_grad=True)
    opt = torch.optim.Adam([x], .05)
    for _ in range(n_steps): opt.zero_grad(); (-score(model(x))).sum().backward(); opt.step()
    return x.detach()

def ascend_channel(model, layer, channel, n_steps=16):
    with hook_outputs([model.get_submodule(layer)], detach=False) as hooks: return ascend(model, lambda _: hooks.stored[0][:,channel].mean(-1), n_steps)

def search(model, data, layer, channel, k=9):
    xs,acts = [],[]
    for xb,_ in data: xs.append(xb); acts.append(hooked(model, xb, [layer])[layer])
    acts = torch.cat(acts)
    return torch.cat(xs)[acts[:,channel].amax(-1).topk(k).indices]

calls = { # what -> (who: the call)
    'feature maps of 6 blocks, 64 series': dict(fastai=lambda m,x,ls: hooked(m, x, ls), tsviz=lambda m,x,ls: feature_maps(x, m, ls)),
    'prototypes of 5 classes, 16 steps': dict(loop=lambda m,x,ls: [ascend(m, lambda out,c=c: out[:,c]) for c in range(5)],
                                              tsviz=lambda m,x,ls: maximize(m, range(5), (1,150), n_steps=16, start='noise')),
    'prototypes of 8 channels of block 0, 16 steps': dict(loop=lambda m,x,ls: [ascend_channel(m, '0', c) for c in range(8)],
                                                          tsviz=lambda m,x,ls: maximize(m, ('0',list(range(8))), (1,150), n_steps=16, start='noise')),
    'deep dream of 8 series, block 2, 3 octaves of 5 steps': dict(tsviz=lambda m,x,ls: deep_dream(x[:8], m, '2', n_steps=5)),
    'top windows of a channel of block 1, 128 series': dict(search=lambda m,x,ls: search(m, loader(128), '1', 3), tsviz=lambda m,x,ls: top_windows(loader(128), m, '1', 3)),
    'top windows of a channel of block 1, 1280 series': dict(search=lambda m,x,ls: search(m, loader(1280), '1', 3), tsviz=lambda m,x,ls: top_windows(loader(1280), m, '1', 3))}

def resident(key):
    return int(next(o for o in Path('/proc/self/status').read_text().splitlines() if o.startswith(key)).split()[1])/1024 # MB

def peak(what, who):
    "The peak of one call in a process of its own, less what was there before"
    run = subprocess.run([sys.executable, __file__, '--peak', what, who], capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1])

def timed(f, *args):
    start = time.perf_counter(); f(*args)
    return time.perf_counter()-start

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def row(what, args, n):
    ts = {k:[] for k in calls[what]}
    for _ in range(n):
        for k,f in calls[what].items(): ts[k].append(timed(f, *args))
    ms,mb = {k:1000*median(o) for k,o in ts.items()},{k:peak(what, k) for k in ts}
    peer = next((o for o in ts if o!='tsviz'), None)
    of = lambda d: f'{d[peer]:.0f}' if peer else ''
    ratio = lambda d: f"{d[peer]/max(d['tsviz'], 1):.1f}" if peer else ''
    return [what, peer or 'none', of(ms), f"{ms['tsviz']:.0f}", ratio(ms), of(mb), f"{mb['tsviz']:.0f}", ratio(mb)]

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('-n', type=int, default=3, help="interleaved repeats"); p.add_argument('--save', action='store_true'); p.add_argument('--peak', nargs=2)
    args,given = p.parse_args(),settings()
    if args.peak:
        before = resident('VmRSS')
        Path('/proc/self/clear_refs').write_text('5') # the peak begins anew
        calls[args.peak[0]][args.peak[1]](*given)
        print(resident('VmHWM')-before)
        return
    rows = []
    for o in calls: rows.append(row(o, given, args.n)); print(*rows[-1], sep=' | ', flush=True)
    text = (f"# Inside the network\n\n`python benchmarks/inside.py`: InceptionTime of five classes, series of 1x150, {torch.get_num_threads()} threads, torch {torch.__version__}, "
            f"{platform.machine()}. A ratio above 1 speaks for tsviz.\n\n"
            + table(['what','peer','peer, ms','tsviz, ms','ms: ratio','peer, MB','tsviz, MB','MB: ratio'], rows))
    print(text)
    if args.save: (Path(__file__).parent/'inside.md').write_text(text)

if __name__=='__main__': main()
