"One thread and no screen: the same numbers and no windows on every machine"
import matplotlib, torch
matplotlib.use('Agg')
torch.set_num_threads(1)
