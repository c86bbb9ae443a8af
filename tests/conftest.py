"One thread, no screen and the same examples every time: the same result on every machine"
import matplotlib, pytest, torch
from hypothesis import settings
from common import same
matplotlib.use('Agg')
torch.set_num_threads(1)
settings.register_profile('same', derandomize=True, deadline=None)
settings.load_profile('same')

@pytest.fixture
def nothing_left_behind(monkeypatch, request):
    "No figure is shown or kept (faults 3, 16, 21), and the `model` of the test file is as it was"
    import matplotlib.pyplot as plt
    from tsviz.check import model_state
    def shown(*args, **kwargs): raise AssertionError('plt.show() was called')
    monkeypatch.setattr(plt, 'show', shown)
    before,rc = model_state(request.module.model),dict(matplotlib.rcParams)
    yield
    assert plt.get_fignums()==[] and dict(matplotlib.rcParams)==rc
    same(before, model_state(request.module.model))
