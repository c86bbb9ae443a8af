"What several test files share"
import torch, torch.nn as nn

def says(err, *words):
    "The block raises `err` with one sentence that has all `words`"
    class _Says:
        def __enter__(self): return self
        def __exit__(self, typ, e, tb):
            assert typ is not None, 'nothing was raised'
            assert issubclass(typ, err), repr(e)
            assert all(w in str(e) for w in words) and '\n' not in str(e), str(e)
            return True
    return _Says()

def same(a, b):
    assert a.keys()==b.keys()
    for k in a:
        for p,q in zip(a[k], b[k], strict=True): assert torch.equal(p, q) if isinstance(p, torch.Tensor) else p==q, k

class Fwd(nn.Module):
    "A model of named modules and a forward given as a function"
    def __init__(self, forward, **mods): super().__init__(); self.fn = forward; [setattr(self, k, o) for k,o in mods.items()]
    def forward(self, x): return self.fn(self, x)
