"""From numpy to the device."""

import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsim.data.objective import NumpyBatch
from fedsim.model.local import Batch


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A tensor of this array: without a copy on the CPU, through pinned memory on a GPU."""
    with warnings.catch_warnings():
        # arrays from an object store are read-only; nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def as_batch(batch: NumpyBatch, device: torch.device) -> Batch:
    """Tensors of a batch; a batch without padding needs no mask."""
    width = batch.ids.shape[1]
    full = bool((batch.lengths == width).all())
    return Batch(
        ids=to_device(batch.ids, device),
        real=None if full else to_device(np.arange(width) < batch.lengths[:, None], device),
        positions=None if batch.positions is None else to_device(batch.positions, device),
        targets=to_device(batch.targets, device),
    )
