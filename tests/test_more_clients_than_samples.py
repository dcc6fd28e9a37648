"""Training in a fleet that is larger than its corpus."""

from pathlib import Path
from typing import Any

import numpy as np

import fedsim
from fedsim.data.shards import Shards
from tests import runs


def test_clients_share_samples_and_the_text_is_the_same(world: Path, tmp_path: Path) -> None:
    part = {"clients_per_round": 4, "over_selection": 1.0}
    short: dict[str, Any] = {"phases__finetune": None, "phases__pretrain": None, "phases__further_pretrain__rounds": 1}
    short |= {"phases__further_pretrain__participation": part}
    few = runs.run(runs.small({"fedbt": {}}, data__partition={"kind": "iid"}, **short), world, tmp_path / "few")
    repeated = {"kind": "repeated", "samples": 3}
    raw = runs.small({"fedbt": {}}, data__partition=repeated, fleet__clients=500, **short)
    many = runs.run(raw, world, tmp_path / "many")
    shards = Shards.open(tmp_path / "many" / "shards")
    assert shards.sizes.tolist() == [3] * 500
    assert len(np.unique(shards.indices)) == Shards.open(tmp_path / "few" / "shards").sizes.sum() < 500
    assert fedsim.read_run(tmp_path / "many").trips.samples.tolist() == [3] * 4
    # what is known without a model: of the same samples, however often they are dealt
    name = "further_pretrain/unigram_loss"
    assert many["methods"]["fedbt"]["quality"][name] == few["methods"]["fedbt"]["quality"][name]
