"""Watching a training: what `AttrCallback` costs of an epoch, beside a hook of one's own

GunPoint: 50 series for training, 150 for validation, the default network. In one training every epoch is timed whole, with the callback on 8 series,
with a naive one that asks captum's `LayerGradCam` for the maps of the same 8, one by one, and the model for their predictions, and with none: in turn,
and compared by their medians.
The start is what is done once, before the first batch: the series are fetched, the layer is found, and all is explained once, so that errors come then.

    python benchmarks/callback.py            # prints the table, in about three minutes on two cores
    python benchmarks/callback.py --save     # and keeps it in benchmarks/callback.md
"""
import argparse, os, platform, time
from pathlib import Path
from statistics import median
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
import torch
from captum.attr import LayerGradCam
from fastai.basics import Callback, set_seed
from tsviz.all import AttrCallback, TSDataLoaders, find_layer, get_batch, ts_learner

class Naive(Callback):
    "What one writes oneself"
    order = 55
    def before_train(self):
        if self.epoch: return
        self.maps,(self.x,self.y) = [],get_batch(self.dls.valid, torch.linspace(0, 149, 8).round().long())
        self.at = find_layer(self.learn.model)
    def after_epoch(self):
        self.model.eval()
        cam = LayerGradCam(self.learn.model, self.at)
        x = self.x.as_subclass(torch.Tensor)
        with torch.no_grad(): self.model(x).softmax(1)
        self.maps.append(torch.cat([cam.attribute(x[i:i+1], int(self.y[i])) for i in range(len(x))]))

class Turns(Callback):
    "Let one callback after another run, an epoch each, and time what it does and the epochs"
    order = -100
    def __init__(self, watchers): self.watchers,self.epochs,self.own,self.starts = watchers,{k:[] for k in [*watchers,'none']},{k:[] for k in watchers},{}
    def before_fit(self):
        for o in self.watchers.values(): o.learn = self.learn; o('before_fit')
    def before_epoch(self): self.start = time.perf_counter()

class Time(Callback):
    "After all others"
    order = 100
    def before_train(self):
        if self.epoch: return
        for k,o in self.turns.watchers.items(): self.turns.starts[k] = timed(o, 'before_train')
        self.turns.start = time.perf_counter()
    def after_epoch(self):
        t,whole = self.turns,time.perf_counter()-self.turns.start
        who = [*t.epochs][self.epoch%len(t.epochs)]
        if (o := t.watchers.get(who)) is not None:
            if hasattr(o, 'watching'): o.watching = True
            t.own[who].append(took := timed(o, 'after_epoch'))
            whole += took
        t.epochs[who].append(whole)

def timed(f, *args):
    start = time.perf_counter(); f(*args)
    return time.perf_counter()-start

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('-n', type=int, default=8, help="epochs of each kind"); p.add_argument('--save', action='store_true')
    args = p.parse_args()
    torch.autograd.grad(3*(a := torch.ones(2, requires_grad=True)), a, torch.ones(2)) # torch imports much at its first gradient of a vector: not our cost
    set_seed(0)
    watchers = dict(tsviz=AttrCallback(), naive=Naive())
    turns = Turns(watchers)
    learn = ts_learner(TSDataLoaders.from_dataset('GunPoint'), cbs=[turns, Time()])
    with learn.no_bar(), learn.no_logging(): learn.fit(3*(args.n+1), 1e-3)
    ms = lambda o: f'{1000*median(o[1:]):.0f}' # the first is warming up
    share = lambda k: f'{100*median(turns.own[k][1:])/median(turns.epochs["none"][1:]):.1f} %'
    rows = [['none', ms(turns.epochs['none']), '', '', '']]
    rows += [[k, ms(turns.epochs[k]), ms(turns.own[k]), share(k), f'{1000*turns.starts[k]:.0f}'] for k in watchers]
    text = (f"# Watching a training\n\n`python benchmarks/callback.py`: GunPoint, 50 series for training and 150 for validation, batches of {learn.dls.bs}, InceptionTime,\n"
            f"maps of 8 series after each epoch, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}. Medians of {args.n} epochs of each kind, in turn.\n\n"
            + table(['callback','epoch with it, ms','its own, ms','of an epoch','once at the start, ms'], rows))
    print(text)
    if args.save: (Path(__file__).parent/'callback.md').write_text(text)

if __name__=='__main__': main()
