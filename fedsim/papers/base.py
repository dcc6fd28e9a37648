"""What a comparison with a paper is made of, and every paper by name."""

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from fedsim import papers
from fedsim.cost.flops import flops, layers_only_units
from fedsim.cost.memory import Polynomial
from fedsim.cost.parameters import group_sizes, trained_size
from fedsim.cost.price import plan_cost
from fedsim.data.batches import as_work
from fedsim.data.work import Work
from fedsim.errors import UserError, choose
from fedsim.methods.base import Method, PhaseName
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.plan import full

BERT_BASE = Architecture("bert", 30522, 768, 12, 12, 3072, 512, 0.1)
DISTILBERT = Architecture("distilbert", 30522, 768, 6, 12, 3072, 512, 0.1)
TINYBERT_6 = Architecture("bert", 30522, 768, 6, 12, 3072, 512, 0.1)
TINYBERT_4 = Architecture("bert", 30522, 312, 4, 12, 1200, 512, 0.1)
MLM = Head("mlm")


@dataclass(frozen=True)
class Row:
    """One figure of a paper and ours."""

    table: str
    row: str
    quantity: str
    unit: str
    printed: float
    ours: float
    note: str = ""

    @property
    def relative_error(self) -> float:
        """By how much ours differs, as a share of what is printed."""
        return self.ours / self.printed - 1.0


class Paper(Protocol):
    """A module of this package."""

    TITLE: str

    def rows(self) -> Sequence[Row]:
        """The paper's figures beside ours."""


@cache
def shelf() -> Mapping[str, Paper]:
    """The papers by name, in alphabetical order."""
    found = {m.name: import_module(f"{papers.__name__}.{m.name}") for m in pkgutil.iter_modules(papers.__path__)}
    return {name: cast(Paper, module) for name, module in sorted(found.items()) if hasattr(module, "rows")}


def chosen(name: str | None) -> Mapping[str, Paper]:
    """One paper, or all of them.

    Raises:
        UserError: there is none of this name.
    """
    if name is None:
        return shelf()
    if name not in shelf():
        raise UserError(f"no paper '{name}'; {choose(name, shelf())}", key="paper")
    return {name: shelf()[name]}


@dataclass(frozen=True)
class Spent:
    """What one client spends on a phase, in the mean over its rounds, on one batch."""

    upload_bytes: float
    flops: float
    layers_only_flops: float
    """The same by the layers-only count: embeddings and head are free."""


def spent(method: Method, phase: PhaseName, rounds: int, architecture: Architecture, head: Head, work: Work) -> Spent:
    """Average a method's plans over the rounds of a phase; `work` is that of one client."""
    sums = np.zeros(3)
    for stage in method.stages(phase, rounds, architecture, head):
        (plan,) = stage.plans
        shape = LocalShape.of(architecture, stage.head or head, plan)
        # memory is measured, not worked out, and no figure here depends on it
        cost = plan_cost(shape, Polynomial(), plan.private, method.wire().upload)
        total = int((cost.flops.forward.total(work) + cost.flops.backward.total(work))[0])
        layers = layers_only_units(shape) * _layer_forward(architecture, head, work)
        sums += stage.rounds * np.array([cost.upload_bytes, total, layers])
    return Spent(*(sums / rounds).tolist())


def one_batch(samples: int, tokens: int, positions: int) -> Work:
    """Work of one client with one batch whose head is evaluated at so many positions."""
    token, squared = samples * tokens, samples * tokens * tokens
    row = (1, samples, token, token, squared, positions, samples, tokens, positions)
    return as_work(np.array([row], np.int64))


def _layer_forward(architecture: Architecture, head: Head, work: Work) -> int:
    """FLOPs of one layer's forward pass: what a second layer adds to one."""
    one, two = (flops(LocalShape(architecture, head, depth)).forward.total(work)[0] for depth in (1, 2))
    return int(two - one)


def whole_bytes(architecture: Architecture, head: Head) -> int:
    """Bytes of the whole model as float32."""
    return trained_size(LocalShape.of(architecture, head, full(architecture.layers))).bytes


def encoder_parameters(architecture: Architecture) -> int:
    """Parameters of embeddings, layers and, for BERT, the pooler: what `transformers` calls a model without head."""
    pooler = Head("pooler") if architecture.family == "bert" else Head("linear")
    return sum(size.parameters for size in group_sizes(architecture, pooler).values())
