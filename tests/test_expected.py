"""A stored map of every method guards against silent change

    python tests/test_expected.py    # writes expected_maps.json anew: look at the diff before you keep it
"""
import json
from pathlib import Path
import pytest, torch
from tsviz.method import attr_methods, raw_method
from tsviz.synth import planted, tiny_cnn
import tsviz.cam, tsviz.gradient, tsviz.perturb # noqa: F401 (register their methods)

store = Path(__file__).parent/'expected_maps.json'
own = {k:m for k,m in attr_methods.items() if m.__module__.startswith('tsviz.')}

def maps():
    "The raw maps of two short series of two channels, to six digits"
    x,y,_ = planted(2, 2, n_steps=24, n_classes=3, width=10)
    model = tiny_cnn(2, 3, stride=2)
    return {k:[[float(f'{v:.6g}') for v in row] for row in raw_method(m)(x, y, model).flatten(1).tolist()] for k,m in own.items()}

def test_every_method_is_stored(): assert set(json.loads(store.read_text()))==set(own)

@pytest.mark.parametrize('name', own)
def test_maps_are_what_they_were(name):
    got,want = torch.tensor(maps()[name]),torch.tensor(json.loads(store.read_text())[name])
    assert got.shape==want.shape and (got-want).abs().max() <= 1e-4*want.abs().max()
    assert want.abs().max()>0

if __name__=='__main__': store.write_text('{\n'+',\n'.join(f'"{k}": {json.dumps(v)}' for k,v in maps().items())+'\n}\n')
