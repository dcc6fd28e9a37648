"""Whose sample is it: dealing the training samples to clients.

Every training sample belongs to at most one client, and to exactly one unless a cap or a choice of natural
clients leaves it out. For fleets larger than the corpus there is `fedsim.data.repeated`.
"""

from collections.abc import Mapping

import numpy as np

from fedsim import rng
from fedsim.data import repeated
from fedsim.data.shards import Codes, Counts, Floats, Shards, describe, offsets
from fedsim.errors import UserError, choose
from fedsim.scenario.data import (
    DirichletPartition,
    IidPartition,
    NaturalPartition,
    Partition,
    QuantityPartition,
    RepeatedPartition,
)

__all__ = ["Shards", "describe", "partition"]


def partition(
    spec: Partition,
    *,
    samples: Counts,
    client: Codes | None,
    clients: tuple[str, ...],
    labels: Mapping[str, Codes],
    n_clients: int,
    max_samples: int,
    seed: int,
) -> Shards:
    """Deal `samples` to `n_clients`.

    Args:
        spec: Kind of partition and its numbers.
        samples: Training sample indices, ascending.
        client: Natural client of every sample of the corpus (an index into `clients`), where it names them.
        clients: Names of the natural clients.
        labels: Label columns of every sample of the corpus.
        n_clients: Shards wanted.
        max_samples: Larger shards keep this many samples, drawn at random; 0: no limit.
        seed: Root of the random streams ("partition", ...).

    Raises:
        UserError: The data cannot be dealt like that; says which numbers would work.
    """
    if 0 < max_samples < spec.min_samples:
        raise UserError(
            f"keeps {max_samples} samples, data.partition.min_samples asks for {spec.min_samples}: raise the one "
            "or lower the other",
            key="data.max_samples_per_client",
        )
    draw = rng.stream(seed, "partition", spec.kind)
    if isinstance(spec, RepeatedPartition):
        return repeated.deal(spec, samples, n_clients, max_samples, draw)
    if isinstance(spec, NaturalPartition):
        owner = _natural(spec, samples, client, clients, n_clients, draw)
    else:
        _check_enough(len(samples), n_clients, spec.min_samples)
        if isinstance(spec, DirichletPartition):
            owner = _dirichlet(spec, _label(spec, labels)[samples], n_clients, draw)
        else:
            owner = _deal(_sizes(spec, len(samples), n_clients, draw), draw)
    if max_samples:
        _cap(owner, n_clients, max_samples, rng.stream(seed, "partition", "cap"))
    order = np.argsort(owner, kind="stable")
    order = order[np.searchsorted(owner[order], 0) :]
    return Shards(samples[order].astype(np.int32), offsets(np.bincount(owner[order], minlength=n_clients)))


def _natural(
    spec: NaturalPartition,
    samples: Counts,
    client: Codes | None,
    clients: tuple[str, ...],
    n_clients: int,
    draw: np.random.Generator,
) -> Codes:
    if client is None:
        raise UserError(
            "the corpus names no clients: choose iid, dirichlet or quantity, or a corpus with a client column",
            key="data.partition.kind",
        )
    codes = client[samples]
    sizes = np.bincount(codes[codes >= 0], minlength=len(clients))
    by_name = np.array(sorted(range(len(clients)), key=clients.__getitem__), dtype=np.int64)
    able = by_name[sizes[by_name] >= spec.min_samples]
    if len(able) < n_clients:
        largest = np.sort(sizes)[::-1]
        remedy = f"lower fleet.clients to {len(able)}" if len(able) else ""
        if len(largest) >= n_clients and largest[n_clients - 1] > 0:
            lower = f"min_samples to {largest[n_clients - 1]}"
            remedy = f"{remedy}, or {lower}" if remedy else f"lower {lower}"
        elif not remedy:
            remedy = f"the largest has {largest[0] if len(largest) else 0}"
        raise UserError(
            f"{len(able)} clients of the corpus have {spec.min_samples} training samples or more, "
            f"fleet.clients is {n_clients}: {remedy}",
            key="data.partition.min_samples",
        )
    chosen = able[np.sort(draw.choice(len(able), n_clients, replace=False))]
    rank = np.full(len(clients) + 1, -1, dtype=np.int32)  # the last entry answers for code -1, a sample of nobody
    rank[chosen] = np.arange(n_clients)
    return rank[codes]


def _label(spec: DirichletPartition, labels: Mapping[str, Codes]) -> Codes:
    if spec.label not in labels:
        known = choose(spec.label, labels) if labels else "this corpus has no label columns"
        raise UserError(f"no label column '{spec.label}'; {known}", key="data.partition.label")
    return labels[spec.label]


def _check_enough(n_samples: int, n_clients: int, minimum: int) -> None:
    if n_clients * minimum <= n_samples:
        return
    remedies = []
    if n_samples // minimum:
        remedies.append(f"lower fleet.clients to {n_samples // minimum}")
    if n_samples // n_clients:
        remedies.append(f"lower min_samples to {n_samples // n_clients}")
    if n_samples >= minimum:
        remedies.append("share samples between clients (kind: repeated)")
    raise UserError(
        f"{n_samples} training samples cannot give {n_clients} clients {minimum} each: "
        + (", or ".join(remedies) if remedies else "a larger corpus is needed"),
        key="data.partition.min_samples",
    )


def _sizes(spec: IidPartition | QuantityPartition, n_samples: int, n_clients: int, draw: np.random.Generator) -> Counts:
    if isinstance(spec, IidPartition):
        weights = np.ones(n_clients)
    elif spec.shares is not None:
        if len(spec.shares) != n_clients:
            raise UserError(
                f"lists {len(spec.shares)} clients, fleet.clients is {n_clients}", key="data.partition.shares"
            )
        weights = np.array(spec.shares)
    else:
        assert spec.sigma is not None
        exponents = spec.sigma * draw.standard_normal(n_clients)
        weights = np.exp(exponents - exponents.max())
    return _at_least(_round(n_samples, weights), spec.min_samples)


def _deal(sizes: Counts, draw: np.random.Generator) -> Codes:
    owner = np.empty(sizes.sum(), dtype=np.int32)
    owner[draw.permutation(len(owner))] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return owner


def _dirichlet(spec: DirichletPartition, label: Codes, n_clients: int, draw: np.random.Generator) -> Codes:
    """Label-wise Dirichlet: each client has a prior, each label is dealt in proportion to it.

    Client `c` draws ``q[c] ~ Dirichlet(alpha * p)``, `p` being the overall label shares (Hsu et al. 2019, "Measuring
    the effects of non-identical data distribution for federated visual classification", section 3; also FedNLP,
    Lin et al. 2022). The samples of label `k` are then dealt to clients in proportion to ``q[:, k]``. Hsu et al.
    fill equal shards until a label runs out; here every sample is used once, so the size of a shard follows
    from the draw: samples / clients in expectation, even for large alpha.
    """
    _, code, counts = np.unique(label, return_inverse=True, return_counts=True)
    # Gamma draws as logarithms: with a small alpha the plain ones underflow, and a rare label would have no owner.
    concentration = np.maximum(spec.alpha * counts / len(label), 1e-100)
    shape = (n_clients, len(counts))
    log_gamma = np.log(draw.standard_gamma(concentration + 1.0, shape))
    log_gamma += np.log(1.0 - draw.random(shape)) / concentration  # 1 - U, for U may be 0
    prior = log_gamma - np.logaddexp.reduce(log_gamma, axis=1, keepdims=True)
    weights = np.exp(prior - prior.max(axis=0))

    shuffled = draw.permutation(len(label))
    owner = np.empty(len(label), dtype=np.int32)
    ends = np.cumsum(counts)
    by_label = shuffled[np.argsort(code[shuffled], kind="stable")]
    for k, end in enumerate(ends):
        dealt = np.repeat(np.arange(n_clients, dtype=np.int32), _round(int(counts[k]), weights[:, k]))
        owner[by_label[end - counts[k] : end]] = dealt

    sizes = np.bincount(owner, minlength=n_clients)
    wanted = _at_least(sizes, spec.min_samples)
    by_owner = shuffled[np.argsort(owner[shuffled], kind="stable")]
    place = np.arange(len(owner)) - np.repeat(offsets(sizes)[:-1], sizes)
    surplus = by_owner[place >= np.repeat(wanted, sizes)]
    owner[draw.permutation(surplus)] = np.repeat(np.arange(n_clients, dtype=np.int32), np.maximum(wanted - sizes, 0))
    return owner


def _round(total: int, weights: Floats) -> Counts:
    """`total` in whole numbers in proportion to `weights`, by largest remainder (ties: the first)."""
    weights = np.ldexp(weights, -np.frexp(weights.max())[1])  # by a power of two: the sum cannot overflow, ties stay
    exact = weights * total / weights.sum()
    whole: Counts = np.floor(exact).astype(np.int64)
    missing = total - int(whole.sum())
    # Rounding of the sum itself may leave a floor one too high where a weight takes nearly everything.
    if missing < 0:
        whole[np.argmax(whole)] += missing
    whole[np.argsort(whole - exact, kind="stable")[: max(missing, 0)]] += 1
    return whole


def _at_least(sizes: Counts, minimum: int) -> Counts:
    """Raise small sizes to `minimum` by lowering the largest ones to a common level; the sum stays."""
    missing = int(np.maximum(minimum - sizes, 0).sum())
    if missing == 0:
        return sizes
    low, high = minimum, int(sizes.max())
    while low < high:  # the highest level that frees enough
        level = (low + high + 1) // 2
        if np.maximum(sizes - level, 0).sum() >= missing:
            low = level
        else:
            high = level - 1
    lowered: Counts = np.maximum(np.minimum(sizes, low), minimum)
    lowered[np.flatnonzero(sizes > low)[: int(sizes.sum() - lowered.sum())]] += 1
    return lowered


def _cap(owner: Codes, n_clients: int, most: int, draw: np.random.Generator) -> None:
    """Keep the `most` samples with the smallest random keys of each shard: the draw of one client is of no other's."""
    by_key = np.argsort(draw.random(len(owner)))
    order = by_key[np.argsort(owner[by_key], kind="stable")]
    order = order[np.searchsorted(owner[order], 0) :]
    sizes = np.bincount(owner[order], minlength=n_clients)
    place = np.arange(len(order)) - np.repeat(offsets(sizes)[:-1], sizes)
    owner[order[place >= most]] = -1
