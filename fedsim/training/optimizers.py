"""SGD and AdamW of PyTorch without the doors to its compiler.

Some methods of `torch.optim` import `torch._dynamo` when they are first called, which takes a host longer than torch
itself. Nothing is compiled here, so these optimizers have the methods that are behind such doors.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class _Plain(Optimizer):
    add_param_group = unwrap(Optimizer.add_param_group)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class SGD(_Plain, torch.optim.SGD):
    """As `torch.optim.SGD`."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class AdamW(_Plain, torch.optim.AdamW):
    """As `torch.optim.AdamW`."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
