"""Peak memory of local training: weights, gradients, optimizer state, and what forward keeps for backward.

The last part is measured, not modelled: the local model itself runs on fake tensors (sizes without values) that
claim to be on a CPU, so that PyTorch takes the kernels real training on a CPU takes, and everything that automatic
differentiation saves is seen. A few shapes determine the polynomial; one more must be predicted to the byte.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedsim.cost.parameters import local_size, trained_size
from fedsim.data.work import IntArray
from fedsim.errors import FedsimError
from fedsim.model.architecture import Head, LocalShape
from fedsim.scenario.phases import Optimizer

if TYPE_CHECKING:
    from fedsim.model.local import Batch, LocalModel
    from fedsim.training.distillation import Taught

_BASIS = ("constant", "length", "samples", "token", "squared_token", "position")
_SIZES = ((2, 2), (2, 3), (2, 4), (3, 2), (3, 3))
"""B and L: as few as determine the five coefficients without `position`."""


@dataclass(frozen=True)
class Polynomial:
    """Bytes as a function of a batch's shape; the coefficients are whole bytes."""

    constant: int = 0
    length: int = 0
    """Per L."""
    samples: int = 0
    """Per B."""
    token: int = 0
    """Per B * L."""
    squared_token: int = 0
    """Per B * L * L."""
    position: int = 0
    """Per position that the MLM head is evaluated at; other heads' positions are B or B * L and counted there."""

    def at(self, batches: IntArray) -> IntArray:
        """Bytes for batches of shape [n, 3] (B, L and head positions each), shape [n]."""
        coefficients = np.array([getattr(self, name) for name in _BASIS], dtype=np.int64)
        return _terms(batches) @ coefficients


def peak_bytes(shape: LocalShape, optimizer: Optimizer, largest_batch: IntArray) -> IntArray:
    """Peak bytes of each client, shape [clients]; `largest_batch` as in `Work`, shape [clients, 3]."""
    return peak_polynomial(shape, optimizer).at(largest_batch)


def peak_polynomial(shape: LocalShape, optimizer: Optimizer) -> Polynomial:
    """Peak bytes of a training step; what does not depend on the batch is in the constant.

    SGD keeps no state, SGD with momentum one value a trained parameter, AdamW two. Gradients are added to
    activations, since their vectors stay allocated from one step to the next.
    """
    states = 2 if optimizer.kind == "adamw" else int(optimizer.momentum > 0)
    fixed = local_size(shape).bytes + trained_size(shape).bytes * (1 + states)
    activations = activation_bytes(shape)
    return replace(activations, constant=activations.constant + fixed)


def activation_bytes(shape: LocalShape) -> Polynomial:
    """Bytes saved for backward by a local model of this shape, in training mode, on a batch with padding.

    Raises:
        FedsimError: the bytes measured are no polynomial of this form.
    """
    whole = shape.train_embeddings or shape.distillation or shape.exits or shape.adapters or shape.architecture.decoder
    frozen = 0 if whole else min(shape.train_layers, default=shape.depth - shape.narrows)
    # Frozen layers below everything trained save nothing: without them there are fewer shapes, and smaller ones. But a
    # top layer that hands on a part of its states stays.
    places = tuple(place - frozen for place in shape.train_layers)
    above = shape.architecture.above(frozen)
    return _measured(replace(shape, architecture=above, depth=shape.depth - frozen, train_layers=places))


@cache
def _measured(shape: LocalShape) -> Polynomial:
    from torch._subclasses.fake_tensor import FakeTensorMode

    from fedsim.model.local import LocalModel
    from fedsim.training.distillation import Taught

    longest = [shape.architecture.max_positions]
    if shape.distillation is not None:
        longest.append(shape.distillation.teacher.max_positions)
    largest = min(longest)
    if shape.head.kind == "mlm":
        sizes = np.array([*[(*size, 1) for size in _SIZES], (2, 2, 2), (5, largest, 7)], dtype=np.int64)
        known = list(_BASIS)
    else:
        sizes = np.array([(*size, 0) for size in (*_SIZES, (5, largest))], dtype=np.int64)
        known = [name for name in _BASIS if name != "position"]
    with FakeTensorMode():
        model = LocalModel(shape)
        model.module.train()
        learner = model if shape.teacher is None else Taught(model, LocalModel(shape.teacher))
        measured = np.array([saved_bytes(learner, _batch(shape.head, *size)) for size in sizes.tolist()])
    equations = _terms(sizes)[:-1, : len(known)]
    solution = np.linalg.solve(equations.astype(np.float64), measured[:-1].astype(np.float64))
    polynomial = Polynomial(**{name: round(value) for name, value in zip(known, solution.tolist(), strict=True)})
    predicted = polynomial.at(sizes)
    if (predicted != measured).any():
        raise FedsimError(f"memory of {shape} is no polynomial: {predicted.tolist()} for {measured.tolist()} bytes")
    return polynomial


def saved_bytes(model: "LocalModel | Taught", batch: "Batch") -> int:
    """Bytes of the storages that a forward pass saves for backward, weights and buffers excluded, each counted once.

    The client's side of a split model also holds the states that the server has sent, and then their gradient.
    """
    import torch

    from fedsim.model.local import LocalModel

    own = {tensor.untyped_storage()._cdata for tensor in (*model.module.parameters(), *model.module.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # Holding the storage keeps its address from being used again while we count.
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return tensor

    messages = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if isinstance(model, LocalModel) and model.shape.split:
            received = torch.empty_like(model.embedded(batch)).requires_grad_()
            own.add(received.untyped_storage()._cdata)
            messages = 2 * received.untyped_storage().nbytes()
            model.answers_loss(received, batch)
        else:
            model.loss(batch)
    return sum(storage.nbytes() for storage in saved.values()) + messages


def _batch(head: Head, samples: int, length: int, positions: int) -> "Batch":
    import torch

    from fedsim.model.local import Batch

    targets = {"mlm": positions, "tokens": samples * length, "pooler": samples, "linear": samples, "mean": samples}[
        head.kind
    ]
    return Batch(
        ids=torch.zeros(samples, length, dtype=torch.long),
        real=torch.ones(samples, length, dtype=torch.bool),
        positions=torch.zeros(positions, dtype=torch.long) if head.kind == "mlm" else None,
        targets=torch.zeros(targets, dtype=torch.long),
    )


def _terms(batches: IntArray) -> npt.NDArray[np.int64]:
    """Values of the basis for each batch, shape [n, 6]."""
    b, length, positions = batches.T
    return np.stack([np.ones_like(b), length, b, b * length, b * length * length, positions], axis=1)
