"""Draws docs/concurrency.png: how long 4,000 updates take, by how many clients are under way at a time.

``python docs/make_concurrency.py [PICTURE]``
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedsim.observe.observer import Silent
from fedsim.report.style import blank, dress
from fedsim.scenario.schema import Scenario
from fedsim.simulation import Request, simulate

UPDATES = 4000
AT_A_TIME = (10, 20, 50, 100, 200, 500, 1000)


def scenario(at_a_time: int) -> Scenario:
    """Synchronous rounds of so many clients, and FedBuff's steps of ten, over 5,000 devices of unequal speed."""
    part: dict[str, Any] = {"clients_per_round": 10, "policy": {"kind": "buffered", "concurrency": at_a_time}}
    raw = {
        "name": "concurrency",
        "data": {"corpus": {"kind": "declared", "samples_per_client": 64, "tokens": 64, "classes": 4}},
        "model": {"hidden": 256, "layers": 4, "heads": 4, "feed_forward": 1024, "vocabulary": 8000},
        "fleet": {"clients": 5000, "source": {"kind": "catalog", "devices": {"phone_mid": 1}, "speed_sigma": 1.4}},
        "phases": {"finetune": {"rounds": UPDATES // at_a_time, "participation": {"clients_per_round": at_a_time}}},
        "methods": {
            "synchronous": {"kind": "fedavg"},
            "buffered": {"kind": "fedavg", "phases": {"finetune": {"rounds": UPDATES // 10, "participation": part}}},
        },
    }
    return Scenario.model_validate(raw)


def hours(at_a_time: int) -> dict[str, float]:
    """Simulated time under both policies."""
    with TemporaryDirectory() as folder:
        request = Request(scenario(at_a_time), Path(folder), Path(folder) / "run", price=True)
        methods = simulate(request, None, Silent())["methods"]
    return {name: found["simulated_seconds"] / 3600 for name, found in methods.items()}


def main(picture: str = str(Path(__file__).with_name("concurrency.png"))) -> None:
    """Simulate and draw."""
    found = {count: hours(count) for count in AT_A_TIME}
    figure = blank(6.4, 3.6)
    axes = figure.subplots()
    for name in ("synchronous", "buffered"):
        axes.plot(AT_A_TIME, [found[count][name] for count in AT_A_TIME], marker="o", markersize=4, label=name)
        print(name, " ".join(f"{found[count][name]:.3g}" for count in AT_A_TIME))
    law = [found[AT_A_TIME[0]]["buffered"] * AT_A_TIME[0] / count for count in AT_A_TIME]
    axes.plot(AT_A_TIME, law, linestyle=":", color="grey", label="one over the number under way")
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, "clients under way at a time", f"hours for {UPDATES:,} updates")
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
