"""Scenarios in which FedAvg and FedBT train a BERT of a given size on random tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SPECIAL = 5
"""Token ids below this stand for [PAD], [UNK], [CLS], [SEP] and [MASK]."""


@dataclass(frozen=True)
class Size:
    """A model, and what each of the clients has."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    tokens: int
    clients: int
    batches: int
    batch_samples: int


def write(folder: Path, size: Size, rounds: int, hosts: int | None = None) -> Path:
    """Fill a folder with all that the scenario needs; returns its YAML file. `hosts`: of Ray; None: inline."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    draw, samples = np.random.default_rng(0), size.clients * size.batches * size.batch_samples
    ids = draw.integers(SPECIAL, size.vocabulary, (samples, size.tokens))
    hidden = draw.random(ids.shape) < 0.15
    clients = [f"client-{number:03d}" for number in range(size.clients) for _ in range(samples // size.clients)]
    columns = {
        "client": clients,
        "input_ids": np.where(hidden, SPECIAL - 1, ids).tolist(),
        "labels": np.where(hidden, ids, -100).tolist(),
    }
    for name, count in (("train", samples), ("test", 1)):
        table = pa.table({key: values[:count] for key, values in columns.items()})
        pq.write_table(table, folder / f"{name}.parquet")
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(_scenario(size, rounds, hosts), sort_keys=False), encoding="utf-8")
    return file


def _scenario(size: Size, rounds: int, hosts: int | None) -> dict[str, Any]:
    return {
        "name": f"bert-{size.layers}x{size.hidden}",
        "data": {
            "corpus": {"kind": "files", "train": ["train.parquet"], "test": ["test.parquet"], "tokenised": True},
            "partition": {"kind": "natural", "min_samples": 1},
            "max_tokens": size.tokens,
        },
        "model": {
            "vocabulary": size.vocabulary,
            "hidden": size.hidden,
            "layers": size.layers,
            "heads": size.heads,
            "feed_forward": 4 * size.hidden,
            "max_positions": max(size.tokens, 128),
            "dropout": 0.0,
        },
        "fleet": {
            "clients": size.clients,
            "source": {"kind": "catalog", "devices": {"server_gpu": 1.0}, "networks": {"datacenter": 1.0}},
        },
        "phases": {
            "further_pretrain": {
                "rounds": rounds,
                "participation": {"clients_per_round": size.clients},
                "local": {"batch_samples": size.batch_samples, "order": "fixed"},
            },
            "evaluate": None,
        },
        "methods": {"fedavg": {}, "fedbt": {}},
        "engine": {"kind": "inline"} if hosts is None else {"kind": "ray", "hosts": hosts},
        "outputs": {"checkpoint_every_rounds": rounds, "save_models": False},
    }
