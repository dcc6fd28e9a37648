"""Prices beside processor time. Nothing is asserted of times."""

from pathlib import Path

from benchmarks import priced_ratio, sized


def test_every_kind_of_update_is_timed_beside_its_price(tmp_path: Path) -> None:
    size = sized.Size(16, 4, 2, 60, tokens=8, clients=1, batches=1, batch_samples=2)
    found = priced_ratio.measure(size, 2, tmp_path)
    assert [label for label, *_ in found] == ["fedavg, stage 0", "fedbt, stage 0", "fedbt, stage 1"]
    assert [share for _, share, *_ in found] == [1.0, 0.6, 0.4]
    assert all(len(seconds) == 2 and min(seconds) > 0 for *_, seconds in found)
    # head at 2 masked positions and 16 tokens through layers: all of it trained, or one layer of two and the head
    whole, lowest, upper = (flops for _, _, flops, _ in found)
    assert whole > lowest > upper
