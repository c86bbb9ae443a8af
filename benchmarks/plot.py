"""Drawing long series and many series: time and file size beside plain matplotlib, in one run

The peer of a coloured line is a `LineCollection` of all its segments, as recipes for coloured lines make it; of a strip of heat, `pcolormesh`. Both draw the same
series and map. Times are CPU seconds of building and saving, interleaved, compared by their medians.

    python benchmarks/plot.py            # prints the tables
    python benchmarks/plot.py --save     # and keeps them in benchmarks/plot.md
"""
import argparse, io, platform, time
from functools import partial
from pathlib import Path
from statistics import median
import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np
from matplotlib.collections import LineCollection
from tsviz.plot import new_fig, show_series
from tsviz.show import show_attrs

def series(T):
    g = np.random.default_rng(0)
    return g.normal(size=T).cumsum(),g.random(T)

def saved(fig, fmt='png'):
    f = io.BytesIO(); fig.savefig(f, format=fmt, dpi=100); plt.close(fig)
    return len(f.getvalue())

def plain_line(x, attr, fmt='png'):
    fig = new_fig((6,4)); ax = fig.subplots()
    p = np.stack([np.arange(len(x)),x], 1)
    ax.add_collection(LineCollection(np.stack([p[:-1],p[1:]], 1), array=attr[:-1], cmap='Spectral_r', linewidths=4)); ax.autoscale_view()
    return saved(fig, fmt)

def plain_strip(x, attr, fmt='png'):
    fig = new_fig((6,4)); ax,low = fig.subplots(2)
    ax.plot(x, lw=1); low.pcolormesh(attr[None], cmap='Spectral_r')
    return saved(fig, fmt)

def ours(style):
    def draw(x, attr, fmt='png'):
        fig = new_fig((6,4)); show_series(x, attr, fig.subplots(), style=style, colorbar=False)
        return saved(fig, fmt)
    return draw

def grid(n):
    "`n` series on axes of their own"
    x = np.random.default_rng(0).normal(size=(n,1,150)).cumsum(-1)
    def draw(): return saved(show_attrs(x, abs(x), [f'series {i}' for i in range(n)]))
    def plain():
        fig = new_fig((13,15)); axs = fig.subplots(int(n**.5), -(-n//int(n**.5)), sharex=True)
        for i,(ax,o) in enumerate(zip(axs.flat, x[:,0])):
            p = np.stack([np.arange(len(o)),o], 1)
            ax.add_collection(LineCollection(np.stack([p[:-1],p[1:]], 1), array=abs(o[:-1]), cmap='Spectral_r', linewidths=4)); ax.autoscale_view(); ax.set_title(f'series {i}')
        return saved(fig)
    return {'tsviz': draw, 'matplotlib': plain}

def times(calls, n):
    "name -> median CPU seconds of `n` interleaved calls"
    ts = {k:[] for k in calls}
    for _ in range(n):
        for k,f in calls.items():
            t = time.process_time(); f(); ts[k].append(time.process_time()-t)
    return {k:median(v) for k,v in ts.items()}

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('-n', type=int, default=7, help="interleaved repeats"); p.add_argument('--save', action='store_true')
    args = p.parse_args()
    draw = {'line': ours('line'), 'line, matplotlib': plain_line, 'scatter': ours('scatter'), 'band': ours('band'), 'strip': ours('strip'), 'strip, matplotlib': plain_strip}
    text = f"# Drawing series\n\n`python benchmarks/plot.py`, matplotlib {matplotlib.__version__}, {platform.machine()}, {args.n} interleaved calls, CPU seconds to build and save as PNG\n"
    for T in (10_000, 1_000_000):
        x,attr = series(T)
        res = times({k: partial(f, x, attr) for k,f in draw.items()}, args.n)
        text += f"\nOne series of {T:,} steps in the colours of its map:\n\n"
        text += table(['', 's', 'over tsviz'], [[k, f'{v:.2f}', f"{v/res[k.split(',')[0]]:.1f}" if ',' in k else ''] for k,v in res.items()])
    x,attr = series(50_000)
    sizes = {fmt: [f(x, attr, fmt)/1024 for f in (draw['line'],plain_line)] for fmt in ('png','svg','pdf')}
    text += "\nFile of one line of 50,000 steps:\n\n" + table(['', 'tsviz, kB', 'matplotlib, kB'], [[k, *(f'{o:.0f}' for o in v)] for k,v in sizes.items()])
    text += "\nSeries of 150 steps, each on an axes of its own with a title:\n\n"
    rows = [(k, times(grid(k), max(3, args.n//2))) for k in (9, 64)]
    text += table(['axes', 'tsviz, s', 'matplotlib with constrained layout, s', 'ratio'], [[k, f"{v['tsviz']:.1f}", f"{v['matplotlib']:.1f}", f"{v['matplotlib']/v['tsviz']:.1f}"] for k,v in rows])
    print(text)
    if args.save: (Path(__file__).parent/'plot.md').write_text(text, encoding='utf-8')

if __name__=='__main__': main()
