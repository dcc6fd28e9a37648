import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsim.errors import UserError
from fedsim.report.layout import draw
from fedsim.report.stages import stages
from fedsim.trace import TraceWriter


def stage(index: int, trained: str = "layers 10-11, head", **changes: Any) -> dict[str, Any]:
    return {
        "phase": "finetune",
        "stage": index,
        "plan": 0,
        "first_round": index,
        "rounds": 1,
        "trained": trained,
        "depth": 12,
        "parameters_trained": 7_710_522,
        "parameters_sent": 7_710_522,
        "download_bytes_per_client": 400_000_000,
        "upload_bytes_per_client": 30_842_088,
        "flops_share": 0.4,
        "flops_layers_share": 13 / 36,
        "memory_bytes": 2_270_000_000,
    } | changes


def write(run: Path, *rows: dict[str, Any]) -> None:
    trace = TraceWriter(run, "fedbt")
    for round_, row in enumerate(rows):
        trace.add("stages", row)
        trace.seal(round_)
        trace.flush()


def test_a_stage_in_the_words_of_the_papers(tmp_path: Path) -> None:
    write(tmp_path, stage(0, "layer 0, head"))
    grid = stages(tmp_path, ["fedbt"])
    cells = ("7,710,522", "30.842", "29.413", "40.0 %", "36.1 %", "2.27 GB")
    assert list(grid.rows) == [("fedbt", "finetune", "layer 0, head", "1", "12", *cells)]
    assert [" ".join(header.split()) for header in grid.headers][5:] == [
        "parameters sent",
        "upload a client, MB",
        "upload a client, MiB",
        "FLOPs",
        "layers-only compute",
        "peak memory",
    ]


def test_stages_that_come_again_are_one_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        stage(0, flops_share=0.5),
        stage(1, "layer 11, head"),
        stage(2, rounds=3, flops_share=0.3, memory_bytes=3_000_000_000),
    )
    first, second = stages(tmp_path, ["fedbt"]).rows
    assert first[2:4] == ("layers 10-11, head", "4")
    assert (first[8], first[10]) == ("35.0 %", "3.00 GB")
    assert second[2] == "layer 11, head"


def test_a_damaged_trace_is_named(tmp_path: Path) -> None:
    write(tmp_path, stage(0))
    next((tmp_path / "trace/fedbt/stages").iterdir()).write_bytes(b"PAR1")
    with pytest.raises(UserError, match="damaged or changed"):
        stages(tmp_path, ["fedbt"])
    with pytest.raises(UserError, match=r"fedavg: no manifest\.json here"):
        stages(tmp_path, ["fedavg"])


def test_a_narrow_page_has_fewer_columns(tmp_path: Path) -> None:
    write(tmp_path, stage(0, "embeddings, layers 0-2, head (warm-up)"))
    all_but = {160: "", 140: "upload a client, MiB", 120: "depth, upload a client, MiB, layers-only compute"}
    for width, left_out in all_but.items():
        out = io.StringIO()
        draw(Console(file=out, width=width), stages(tmp_path, ["fedbt"]))
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.startswith("│") for line in lines) == 1
        assert ("no room for" in out.getvalue()) == bool(left_out)
        assert left_out in " ".join(out.getvalue().split())
