from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.partition import Shards, describe, partition
from fedsim.data.shards import offsets
from fedsim.errors import UserError
from fedsim.scenario.data import (
    DirichletPartition,
    IidPartition,
    NaturalPartition,
    Partition,
    QuantityPartition,
)

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]


def deal(
    spec: Partition,
    *,
    samples: Ints,
    n_clients: int,
    client: Codes | None = None,
    clients: tuple[str, ...] = (),
    labels: dict[str, Codes] | None = None,
    max_samples: int = 0,
    seed: int = 0,
) -> Shards:
    return partition(
        spec,
        samples=samples,
        client=client,
        clients=clients,
        labels=labels or {},
        n_clients=n_clients,
        max_samples=max_samples,
        seed=seed,
    )


def check_sound(shards: Shards, samples: Ints, *, complete: bool) -> None:
    assert shards.indices.dtype == np.int32
    assert shards.offsets.dtype == np.int64
    assert shards.offsets[0] == 0
    assert shards.offsets[-1] == len(shards.indices)
    assert len(np.unique(shards.indices)) == len(shards.indices)
    assert np.isin(shards.indices, samples).all()
    if complete:
        np.testing.assert_array_equal(np.sort(shards.indices), samples)
    for client in range(len(shards)):
        assert (np.diff(shards[client]) > 0).all()


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """A corpus with some samples for training, and a number of clients that can be served."""
    size = draw(st.integers(2, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples = np.flatnonzero(rng.random(size) < 0.8)
    if len(samples) == 0:
        samples = np.array([size - 1])
    n_clients = draw(st.integers(1, len(samples)))
    minimum = draw(st.integers(1, len(samples) // n_clients))
    labels = {"topic": rng.integers(0, draw(st.integers(1, 8)), size).astype(np.int32)}
    return {
        "samples": samples,
        "n_clients": n_clients,
        "labels": labels,
        "seed": draw(st.integers(0, 2**32)),
        "minimum": minimum,
    }


specs = st.one_of(
    st.just({"kind": IidPartition}),
    st.builds(lambda sigma: {"kind": QuantityPartition, "sigma": sigma}, st.floats(0.01, 20.0)),
    st.builds(
        lambda power: {"kind": DirichletPartition, "alpha": 10.0**power, "label": "topic"}, st.floats(-300.0, 6.0)
    ),
)


@given(worlds(), specs, st.integers(0, 5))
def test_every_sample_has_one_owner_and_the_minimum_holds(
    world: dict[str, Any], spec: dict[str, Any], cap: int
) -> None:
    minimum = world.pop("minimum")
    made = spec["kind"](**{key: value for key, value in spec.items() if key != "kind"}, min_samples=minimum)
    shards = deal(made, **world)
    check_sound(shards, world["samples"], complete=True)
    assert len(shards) == world["n_clients"]
    assert shards.sizes.min() >= minimum

    again = deal(made, **world)
    np.testing.assert_array_equal(again.indices, shards.indices)
    np.testing.assert_array_equal(again.offsets, shards.offsets)

    most = minimum + cap
    capped = deal(made, **world, max_samples=most)
    check_sound(capped, world["samples"], complete=False)
    np.testing.assert_array_equal(capped.sizes, np.minimum(shards.sizes, most))
    for client in range(len(shards)):
        assert np.isin(capped[client], shards[client]).all()


@given(worlds())
def test_iid_shards_differ_by_at_most_one_sample(world: dict[str, Any]) -> None:
    del world["minimum"]
    sizes = deal(IidPartition(), **world).sizes
    assert sizes.max() - sizes.min() <= 1


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=30), st.integers(30, 500), st.integers(0, 99))
def test_explicit_shares_are_met_to_within_a_sample(shares: list[float], size: int, seed: int) -> None:
    spec = QuantityPartition(shares=tuple(shares))
    sizes = deal(spec, samples=np.arange(size), n_clients=len(shares), seed=seed).sizes
    exact = np.array(shares) / sum(shares) * size
    if (exact >= 1).all():
        assert (np.abs(sizes - exact) < 1).all()
    else:  # those below one sample are raised to it, at the expense of the largest
        assert (sizes <= np.maximum(np.ceil(exact), 1)).all()


def test_largest_remainder_by_hand() -> None:
    # 10 * (0.55, 0.25, 0.2) = 5.5, 2.5, 2.0: one sample is left, the first of the two halves gets it.
    spec = QuantityPartition(shares=(11.0, 5.0, 4.0))
    assert deal(spec, samples=np.arange(10), n_clients=3).sizes.tolist() == [6, 2, 2]


def test_minimum_is_taken_from_the_largest() -> None:
    # 100 * (60, 37, 2, 1) / 100; the two small ones lack 3 + 4: 60 falls to 53.
    spec = QuantityPartition(shares=(60.0, 37.0, 2.0, 1.0), min_samples=5)
    assert deal(spec, samples=np.arange(100), n_clients=4).sizes.tolist() == [53, 37, 5, 5]
    # 40, 38, 20, 2 lacks 23 for 25 each, 5 of it for the third: all are 25 then.
    spec = QuantityPartition(shares=(40.0, 38.0, 20.0, 2.0), min_samples=25)
    assert deal(spec, samples=np.arange(100), n_clients=4).sizes.tolist() == [25, 25, 25, 25]
    # 3 are missing: 9 and 8 fall to a common level of 7 and 7; 7 stays.
    spec = QuantityPartition(shares=(9.0, 8.0, 7.0, 1.0), min_samples=4)
    assert deal(spec, samples=np.arange(25), n_clients=4).sizes.tolist() == [7, 7, 7, 4]


def test_log_normal_sizes_have_the_spread_asked_for() -> None:
    sizes = deal(QuantityPartition(sigma=0.5), samples=np.arange(400_000), n_clients=2000, seed=3).sizes
    assert np.std(np.log(sizes)) == pytest.approx(0.5, abs=0.03)


def shares(shards: Shards, label: Codes, classes: int) -> npt.NDArray[np.float64]:
    table = np.array([np.bincount(label[shards[c]], minlength=classes) for c in range(len(shards))])
    return np.asarray(table / table.sum(axis=1, keepdims=True), dtype=np.float64)


def test_dirichlet_with_a_large_alpha_gives_everyone_the_overall_shares() -> None:
    label = np.repeat(np.arange(4), (4000, 3000, 2000, 1000)).astype(np.int32)
    spec = DirichletPartition(alpha=1e6, label="topic")
    shards = deal(spec, samples=np.arange(10_000), n_clients=20, labels={"topic": label})
    np.testing.assert_allclose(shares(shards, label, 4), np.tile([0.4, 0.3, 0.2, 0.1], (20, 1)), atol=0.01)
    assert np.ptp(shards.sizes) <= 10


def test_dirichlet_with_a_small_alpha_gives_nearly_one_class_each() -> None:
    label = np.tile(np.arange(5, dtype=np.int32), 2000)
    spec = DirichletPartition(alpha=1e-3, label="topic")
    shards = deal(spec, samples=np.arange(10_000), n_clients=50, labels={"topic": label})
    assert np.median(shares(shards, label, 5).max(axis=1)) > 0.99


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_dirichlet_shares_have_the_mean_and_variance_of_the_law(alpha: float) -> None:
    p = np.array([0.5, 0.3, 0.2])
    label = np.repeat(np.arange(3), (p * 400_000).astype(int)).astype(np.int32)
    spec = DirichletPartition(alpha=alpha, label="topic")
    shards = deal(spec, samples=np.arange(400_000), n_clients=2000, labels={"topic": label}, seed=11)
    drawn = shares(shards, label, 3)
    # q ~ Dirichlet(alpha * p): E q = p, Var q = p (1 - p) / (alpha + 1)
    np.testing.assert_allclose(drawn.mean(axis=0), p, atol=0.03)
    np.testing.assert_allclose(drawn.var(axis=0), p * (1 - p) / (alpha + 1), rtol=0.12)
    assert shards.sizes.mean() == 200


def test_dirichlet_finds_an_owner_for_a_label_that_underflows() -> None:
    label = np.zeros(1000, dtype=np.int32)
    label[17] = 1
    spec = DirichletPartition(alpha=1e-9, label="topic")
    shards = deal(spec, samples=np.arange(1000), n_clients=10, labels={"topic": label})
    check_sound(shards, np.arange(1000), complete=True)


def natural(sizes: dict[str, int]) -> dict[str, Any]:
    names = tuple(sizes)
    client = np.repeat(np.arange(len(sizes), dtype=np.int32), list(sizes.values()))
    return {"samples": np.arange(len(client)), "client": client, "clients": names}


def test_natural_clients_are_those_large_enough_in_the_order_of_their_names() -> None:
    world = natural({"zoe": 3, "ann": 5, "bob": 1, "eve": 4})
    shards = deal(NaturalPartition(min_samples=3), n_clients=3, **world)
    assert [shard.tolist() for shard in (shards[0], shards[1], shards[2])] == [
        [3, 4, 5, 6, 7],
        [9, 10, 11, 12],
        [0, 1, 2],
    ]


@given(st.integers(0, 10_000), st.integers(1, 20), st.randoms(use_true_random=False))
def test_natural_draws_the_same_names_however_they_are_coded(seed: int, n_clients: int, random: Any) -> None:
    names = [f"author {i}" for i in range(20)]
    shuffled = random.sample(names, 20)
    owner_of = [names[i % 20] for i in range(200)]

    def chosen(order: list[str]) -> list[list[int]]:
        client = np.array([order.index(name) for name in owner_of], dtype=np.int32)
        shards = deal(
            NaturalPartition(),
            samples=np.arange(200),
            client=client,
            clients=tuple(order),
            n_clients=n_clients,
            seed=seed,
        )
        return [shards[c].tolist() for c in range(n_clients)]

    assert chosen(names) == chosen(shuffled)


def test_natural_counts_training_samples_alone_and_skips_those_of_nobody() -> None:
    client = np.array([0, 0, 1, 1, -1, 1], dtype=np.int32)
    shards = deal(
        NaturalPartition(min_samples=2),
        samples=np.array([0, 2, 3, 4, 5]),
        client=client,
        clients=("a", "b"),
        n_clients=1,
    )
    assert shards[0].tolist() == [2, 3, 5]


@pytest.mark.parametrize(
    ("spec", "n_clients", "words"),
    [
        (NaturalPartition(min_samples=4), 3, ["2 clients", "lower fleet.clients to 2", "or min_samples to 3"]),
        (NaturalPartition(min_samples=9), 3, ["0 clients", "lower min_samples to 3"]),
        (NaturalPartition(), 9, ["4 clients", "lower fleet.clients to 4"]),
        (NaturalPartition(min_samples=99), 9, ["0 clients", "the largest has 5"]),
        (IidPartition(min_samples=3), 5, ["13 training samples", "fleet.clients to 4", "min_samples to 2"]),
        (IidPartition(), 50, ["lower fleet.clients to 13, or share samples between clients (kind: repeated)"]),
        (IidPartition(min_samples=20), 50, ["a larger corpus is needed"]),
        (DirichletPartition(alpha=1.0, label="tpoic"), 3, ["did you mean 'topic'"]),
        (QuantityPartition(shares=(1.0, 2.0)), 3, ["lists 2 clients", "fleet.clients is 3"]),
    ],
)
def test_what_cannot_be_dealt_says_which_numbers_would_work(spec: Partition, n_clients: int, words: list[str]) -> None:
    world = natural({"zoe": 3, "ann": 5, "bob": 1, "eve": 4})
    with pytest.raises(UserError) as caught:
        deal(spec, n_clients=n_clients, labels={"topic": np.zeros(13, dtype=np.int32)}, **world)
    assert caught.value.key is not None
    assert caught.value.key.startswith("data.partition.")
    for word in words:
        assert word in str(caught.value)


def test_natural_needs_clients_and_a_cap_above_the_minimum() -> None:
    with pytest.raises(UserError, match=r"data\.partition\.kind: the corpus names no clients"):
        deal(NaturalPartition(), samples=np.arange(5), n_clients=2)
    with pytest.raises(UserError, match=r"data\.max_samples_per_client: keeps 2 samples"):
        deal(IidPartition(min_samples=3), samples=np.arange(9), n_clients=2, max_samples=2)
    with pytest.raises(UserError, match="no label columns"):
        deal(DirichletPartition(alpha=1.0, label="topic"), samples=np.arange(9), n_clients=2)


def test_the_cap_draws_every_sample_alike() -> None:
    kept = np.zeros(20)
    for seed in range(1500):
        kept[deal(IidPartition(), samples=np.arange(20), n_clients=1, max_samples=5, seed=seed).indices] += 1
    np.testing.assert_allclose(kept / 1500, 0.25, atol=0.05)


def test_shards_are_saved_and_mapped(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "shards"
    for seed in (1, 2):  # the second time over the first
        shards = deal(IidPartition(), samples=np.arange(50), n_clients=7, seed=seed)
        shards.save(folder)
        opened = Shards.open(folder)
        assert isinstance(opened.indices, np.memmap)
        np.testing.assert_array_equal(opened.indices, shards.indices)
        np.testing.assert_array_equal(opened[3], shards[3])
        assert len(opened) == 7
    assert [entry.name for entry in folder.parent.iterdir()] == ["shards"]
    with pytest.raises(IndexError):
        opened[7]


def test_describe_by_hand() -> None:
    shards = Shards(np.arange(8, dtype=np.int32), offsets(np.array([4, 2, 2])))
    label = np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int32)
    table = describe(shards, {"topic": label})
    assert table.columns.tolist() == ["min", "p10", "median", "p90", "max", "mean"]
    rows = dict(zip(table.index, table.to_numpy(), strict=True))
    assert rows["samples"] == pytest.approx([2, 2, 2, 3.6, 4, 8 / 3])
    # Clients have shares (1/2, 1/2), (1, 0) and (0, 1); overall it is (1/2, 1/2).
    assert rows["topic.classes"] == pytest.approx([1, 1, 1, 1.8, 2, 4 / 3])
    assert rows["topic.entropy_bits"] == pytest.approx([0, 0, 0, 0.8, 1, 1 / 3])
    assert rows["topic.distance"] == pytest.approx([0, 0.1, 0.5, 0.5, 0.5, 1 / 3])
    assert describe(shards, None).index.tolist() == ["samples"]


def test_a_hundred_thousand_clients_cost_two_arrays() -> None:
    label = np.random.default_rng(0).integers(0, 10, 1_000_000).astype(np.int32)
    spec = DirichletPartition(alpha=0.1, label="topic")
    shards = deal(spec, samples=np.arange(1_000_000), n_clients=100_000, labels={"topic": label})
    assert shards.sizes.sum() == 1_000_000
    assert shards.sizes.min() >= 1
    assert shards.indices.nbytes + shards.offsets.nbytes == 4 * 1_000_000 + 8 * 100_001
