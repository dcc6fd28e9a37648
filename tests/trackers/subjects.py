"""Rounds to report, and readers of what trackers have written."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedsim.trackers.base import Row, Subject, Value

ROWS = [
    Row(
        round_,
        1000.0 + round_,
        {"so_far/simulated_s": 10.0 * round_, "so_far/upload_bytes": 5e6 * round_, "so_far/flops": 2e9 * round_},
        {"finetune/accuracy": 0.25 * round_, "finetune/macro_f1": float("nan")} if round_ % 2 else {},
    )
    for round_ in range(4)
]
SUMMARY: dict[str, Value] = {"finetune/accuracy": 0.75, "final/upload_bytes": 15_000_000, "final/weights_sha256": "abc"}


def subject(folder: Path) -> Subject:
    return Subject(folder, "small", "fedavg", {"seed": 3, "phases.finetune.rounds": 4, "name": "small"})


def records(file: Path) -> list[Any]:
    """The records of a file of Weights & Biases; its service may write the last of them a moment after the end."""
    patience = time.monotonic() + 60
    while True:
        found = list(_records(file.read_bytes()))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        assert time.monotonic() < patience, [record.WhichOneof("record_type") for record in found]
        time.sleep(0.02)


def _records(content: bytes) -> Iterator[Any]:
    """7 bytes, then LevelDB's log format: blocks of 32 KiB of chunks, each with a sum, its length and its kind."""
    from wandb.proto import wandb_internal_pb2

    proto: Any = wandb_internal_pb2
    at, parts = 7, b""
    assert content[:4] in (b"", b":W&B")
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if at > len(content):
            return
        if kind in (1, 4):  # a whole record, or the last chunk of one
            yield proto.Record.FromString(parts)
            parts = b""


def history(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the files of Weights & Biases in a run's folder tell of each of its runs, by its name, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        name = ""
        for record in records(file):
            if record.WhichOneof("record_type") == "run":
                name = record.run.display_name
            if record.WhichOneof("record_type") == "history":
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                found.setdefault(name, []).append(items)
    return found
