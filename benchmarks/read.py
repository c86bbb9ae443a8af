"""Reading series: time and memory beside scipy, sktime and pandas, in one run

Times are interleaved, one call of each in turn, and compared by their medians. Memory is tracemalloc's peak of one call, as a multiple of the float32 array.

    python benchmarks/read.py            # prints the tables
    python benchmarks/read.py --save     # and keeps them in benchmarks/read.md
"""
import argparse, gc, platform, tempfile, time, tracemalloc
from pathlib import Path
from statistics import median
import numpy as np, pandas as pd, scipy, sktime
from scipy.io.arff import loadarff
from sktime.datasets import load_from_tsfile, load_from_tsfile_to_dataframe
from tsviz.archive import shipped_sets
from tsviz.read import read_files

def written(folder, n=200, T=2000):
    "One set of `n` series of `T` steps in each format"
    X,y = np.random.default_rng(0).normal(size=(n,T)).astype('f4'),np.arange(n)%3
    rows,labels = [','.join(f'{v:.9g}' for v in x) for x in X],[f'c{o}' for o in y]
    heads = {'.ts': '@problemName walk\n@timeStamps false\n@univariate true\n@equalLength true\n@seriesLength %d\n@classLabel true c0 c1 c2\n@data\n' % T,
             '.arff': '@relation walk\n' + ''.join(f'@attribute att{t} numeric\n' for t in range(T)) + '@attribute target {c0,c1,c2}\n@data\n', '.csv': ''}
    row = {'.ts': '{0}:{1}', '.arff': '{0},{1}', '.csv': '{1},{0}'}
    fs = {k: folder/f'walk{k}' for k in heads}
    for k,f in fs.items(): f.write_text(heads[k] + '\n'.join(row[k].format(*o) for o in zip(rows, labels)) + '\n')
    return fs, X.nbytes

def contenders(fs):
    "(format, who) -> a call that reads one file"
    return {('.ts','tsviz'): lambda: read_files(fs['.ts']), ('.ts','sktime, numpy3D'): lambda: load_from_tsfile(str(fs['.ts']), return_data_type='numpy3d'),
            ('.ts','sktime, frame'): lambda: load_from_tsfile_to_dataframe(str(fs['.ts'])),
            ('.arff','tsviz'): lambda: read_files(fs['.arff']), ('.arff','scipy'): lambda: loadarff(str(fs['.arff'])),
            ('.csv','tsviz'): lambda: read_files(fs['.csv']), ('.csv','pandas'): lambda: pd.read_csv(fs['.csv'], header=None)}

def timed(f):
    t = time.process_time(); f()
    return time.process_time()-t

def peak(f):
    gc.collect(); tracemalloc.start(); f()
    res = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return res

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, o))+' |' for o in [head, ['---']*len(head), *rows])+'\n'

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('-n', type=int, default=7, help="interleaved repeats"); p.add_argument('--save', action='store_true')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        fs,size = written(Path(tmp))
        calls = contenders(fs)
        for f in calls.values(): f()
        ts = {k:[] for k in calls}
        for _ in range(args.n):
            for k,f in calls.items(): ts[k].append(timed(f))
        mem = {k:peak(f)/size for k,f in calls.items()}
    rows = [[*k, f'{1000*median(t):.0f}', f"{median(t)/median(ts[k[0],'tsviz']):.2f}", f'{mem[k]:.1f}'] for k,t in ts.items()]
    text = (f"# Reading series\n\n`python benchmarks/read.py`, numpy {np.__version__}, scipy {scipy.__version__}, sktime {sktime.__version__}, pandas {pd.__version__}, "
            f"{platform.machine()}\n\n200 series of 1x2000 steps, {args.n} interleaved calls, CPU time.\n\n")
    text += table(['format', 'reader', 'ms', 'over tsviz', 'peak memory over the float32 array'], rows)
    real = shipped_sets()['OSULeaf']/'OSULeaf_TRAIN.ts'
    pair = {'tsviz': lambda: read_files(real), 'sktime, numpy3D': lambda: load_from_tsfile(str(real), return_data_type='numpy3d')}
    ts = {k:[] for k in pair}
    for _ in range(args.n):
        for k,f in pair.items(): ts[k].append(timed(f))
    text += "\nOSULeaf, its training file of 200 series of 1x427:\n\n"
    text += table(['reader', 'ms', 'over tsviz'], [[k, f'{1000*median(t):.0f}', f"{median(t)/median(ts['tsviz']):.2f}"] for k,t in ts.items()])
    print(text)
    if args.save: (Path(__file__).parent/'read.md').write_text(text, encoding='utf-8')

if __name__=='__main__': main()
