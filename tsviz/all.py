"Everything of tsviz, floor by floor, and the fastai callbacks that `fit_one_cycle` and `no_bar` come with"
from fastai.callback.schedule import *
from fastai.callback.progress import *
from .core import *
from .score import *
from .method import *
from .synth import *
from .check import *
from .cam import *
from .plot import *
from .show import *
from .data import *
from .models import *
from .learner import *
from .callback import *
