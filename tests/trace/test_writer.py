import errno
import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.errors import FedsimError, UserError
from fedsim.trace import TABLES, TraceWriter
from fedsim.trace import writer as module
from tests.trace.rows import some_rows


def play(writer: TraceWriter, round_: int) -> None:
    writer.add("trips", some_rows("trips", round_, 3))
    writer.add("rounds", some_rows("rounds", round_, 1))
    if round_ % 3 == 0:
        writer.add("stages", some_rows("stages", round_, 1))
        writer.add("evals", some_rows("evals", round_, 2))
    writer.add("events", some_rows("events", round_, 1))
    writer.seal(round_)


@lru_cache
def whole(rounds: int) -> str:
    """The hash of a run that is never stopped and never flushed."""
    with tempfile.TemporaryDirectory() as folder:
        writer = TraceWriter(Path(folder), "m")
        for round_ in range(rounds):
            play(writer, round_)
        return writer.digest


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_part_a_table_and_a_manifest(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    assert files(tmp_path) == []
    writer.flush()
    play(writer, 1)
    play(writer, 2)
    writer.flush()
    writer.flush()
    source = tmp_path / "trace" / "m"
    assert files(source) == [
        "evals/000000-from-round-0.parquet",
        "events/000000-from-round-0.parquet",
        "events/000001-from-round-1.parquet",
        "manifest.json",
        "rounds/000000-from-round-0.parquet",
        "rounds/000001-from-round-1.parquet",
        "stages/000000-from-round-0.parquet",
        "trips/000000-from-round-0.parquet",
        "trips/000001-from-round-1.parquet",
    ]
    manifest = json.loads((source / "manifest.json").read_text())
    assert manifest["trace_sha256"] == writer.digest == manifest["flushes"][1]["digest"]
    assert [flush["rounds"] for flush in manifest["flushes"]] == [[0, 0], [1, 2]]
    part = source / "trips/000001-from-round-1.parquet"
    assert pq.read_metadata(part).metadata == {b"fedsim.schema_version": b"1"}
    rows = pq.read_table(part)
    assert rows.column("round").to_pylist() == [1, 1, 1, 2, 2, 2]
    assert rows.column("method").unique().to_pylist() == ["m"]


@settings(max_examples=15, deadline=None)
@given(flushes=st.lists(st.booleans(), min_size=5, max_size=5), stops=st.lists(st.booleans(), min_size=5, max_size=5))
def test_neither_flushes_nor_stops_change_the_hash(flushes: list[bool], stops: list[bool]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = TraceWriter(folder, "m")
        state, round_ = writer.state(), 0
        for flush, stop in zip(flushes, stops, strict=True):
            play(writer, round_)
            round_ += 1
            if flush:
                writer.flush()
                state = json.loads(json.dumps(writer.state()))
            if stop:
                if not flush:
                    writer.flush()
                writer = TraceWriter(folder, "m")
                writer.restore(state)
                round_ = 0 if state["round"] is None else state["round"] + 1
        assert writer.digest == whole(round_)


def test_rounds_without_trips(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    writer.add("trips", some_rows("trips", 0, 0))
    writer.seal(0)
    writer.seal(1)
    writer.flush()
    assert files(tmp_path) == ["trace/m/manifest.json"]
    assert writer.state()["round"] == 1
    assert TraceWriter(tmp_path, "m").restore(writer.state()) == ()


def test_events_after_the_last_round(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    digest = writer.digest
    writer.add("events", some_rows("events", 0, 1))
    writer.flush()
    assert "trace/m/events/000001-events.parquet" in files(tmp_path)
    assert writer.digest == digest == writer.state()["trace_sha256"]


def test_an_evaluation_before_the_first_round(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    writer.add("evals", some_rows("evals", -1, 1))
    writer.seal(-1)
    play(writer, 0)
    writer.flush()
    assert "trace/m/evals/000000-from-round--1.parquet" in files(tmp_path)
    again = TraceWriter(tmp_path, "m")
    again.restore(writer.state())
    play(again, 1)
    play(writer, 1)
    assert again.digest == writer.digest


@pytest.mark.parametrize("round_", [1, -2, 7])
def test_the_first_round_is_the_first(tmp_path: Path, round_: int) -> None:
    with pytest.raises(FedsimError, match=f"round {round_} cannot follow round None"):
        TraceWriter(tmp_path, "m").seal(round_)


def test_rounds_follow_each_other(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    writer.seal(0)
    for wrong in (0, 2, -1):
        with pytest.raises(FedsimError, match=f"round {wrong} cannot follow round 0"):
            writer.seal(wrong)
    writer.add("trips", some_rows("trips", 2, 1))
    with pytest.raises(FedsimError, match="trips has rows that are not of round 1"):
        writer.seal(1)


def test_a_checkpoint_cannot_count_on_rows_that_are_not_on_disk(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    with pytest.raises(FedsimError, match="flush before the checkpoint"):
        writer.state()


def test_restore_removes_what_came_later_and_says_so(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    state, kept = writer.state(), files(tmp_path)
    play(writer, 1)
    writer.flush()
    torn = tmp_path / "trace" / "m" / "trips" / "000002-from-round-2.parquet.tmp-3-00000000"
    torn.write_text("PAR1")
    later = TraceWriter(tmp_path, "m")
    notes = later.restore(state)
    assert files(tmp_path) == kept
    assert len(notes) == 4
    assert any(str(torn) in note for note in notes)
    assert later.restore(state) == ()
    assert later.state() == state


def test_restore_to_the_start(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    assert writer.restore(None) == ()
    play(writer, 0)
    writer.flush()
    again = TraceWriter(tmp_path, "m")
    assert len(again.restore(None)) == 5
    assert files(tmp_path) == []
    play(again, 0)
    again.flush()
    assert again.digest == writer.digest


def test_a_trace_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    again = TraceWriter(tmp_path, "m")
    play(again, 0)
    with pytest.raises(FedsimError, match="has a trace already"):
        again.flush()


def test_restore_names_a_part_that_is_missing_or_damaged(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    part = tmp_path / "trace" / "m" / "rounds" / "000000-from-round-0.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"rounds/000000-from-round-0.parquet: damaged"):
        TraceWriter(tmp_path, "m").restore(writer.state())
    part.unlink()
    with pytest.raises(UserError, match=r"rounds/000000-from-round-0.parquet: missing"):
        TraceWriter(tmp_path, "m").restore(writer.state())


def test_restore_refuses_another_trace(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    state = writer.state()
    for other in ({**state, "trace_sha256": "0" * 64}, {**state, "flushes": 2}):
        with pytest.raises(FedsimError, match="not the trace that belongs to this checkpoint"):
            TraceWriter(tmp_path, "m").restore(other)
    (tmp_path / "trace" / "m" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no manifest\.json"):
        TraceWriter(tmp_path, "m").restore(state)


def test_the_first_flush_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)

    def full(handle: int) -> None:
        if (tmp_path / "trace" / "m" / "manifest.json").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FedsimError, match=r"manifest.json: No space left"):
        writer.flush()
    monkeypatch.undo()
    writer.flush()
    assert TraceWriter(tmp_path, "m").restore(writer.state()) == ()


@pytest.mark.parametrize("sync", range(1, 13))
@pytest.mark.parametrize("resume", [True, False])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: int, resume: bool) -> None:
    writer = TraceWriter(tmp_path, "m")
    play(writer, 0)
    writer.flush()
    before = files(tmp_path)
    state = writer.state()
    play(writer, 1)
    play(writer, 2)
    play(writer, 3)
    real, calls = os.fsync, iter(range(1, 100))

    def full(handle: int) -> None:
        if next(calls) == sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FedsimError, match=r"cannot write .*: No space left on device"):
        writer.flush()
    monkeypatch.undo()
    if resume:
        writer = TraceWriter(tmp_path, "m")
        writer.restore(state)
        assert files(tmp_path) == before
        for round_ in range(1, 4):
            play(writer, round_)
    else:
        play(writer, 4)
    writer.flush()
    assert writer.digest == whole(4 if resume else 5)
    assert len(files(tmp_path)) == 2 * 5 + 1
    assert TraceWriter(tmp_path, "m").restore(writer.state()) == ()


def test_an_unknown_table_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(FedsimError, match="no trace table 'trip': did you mean 'trips'"):
        TraceWriter(tmp_path, "m").add("trip", {})


def test_every_table_can_be_written(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    for name in TABLES:
        writer.add(name, some_rows(name, 0, 5))
    writer.seal(0)
    writer.flush()
    for name, table in TABLES.items():
        part = tmp_path / "trace" / "m" / name / "000000-from-round-0.parquet"
        wanted = table.conform({**some_rows(name, 0, 5), "method": "m"})
        assert repr(pq.ParquetFile(part).read().to_pydict()) == repr(wanted.to_pydict())


def rounds(folder: Path) -> list[list[int]]:
    """First and last round of every flush that the manifest lists."""
    content = json.loads((folder / "trace" / "m" / "manifest.json").read_text())
    return [flush["rounds"] for flush in content["flushes"]]


def test_many_rows_are_written_before_anybody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = whole(8)
    monkeypatch.setattr(module, "PART_ROWS", 7)
    monkeypatch.setattr(module, "TOGETHER", 1)
    writer = TraceWriter(tmp_path, "m")
    for round_ in range(8):
        play(writer, round_)
    # three rounds of three trips are a part; the second part was begun when the first was done
    assert rounds(tmp_path)[0] == [0, 2]
    with pytest.raises(FedsimError, match="flush before the checkpoint"):
        writer.state()
    writer.flush()
    assert rounds(tmp_path) == [[0, 2], [3, 5], [6, 7]]
    assert writer.digest == wanted
    assert TraceWriter(tmp_path, "m").restore(writer.state()) == ()


def test_many_short_rounds_are_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_ROUNDS", 4)
    monkeypatch.setattr(module, "TOGETHER", 2)
    writer = TraceWriter(tmp_path, "m")
    for round_ in range(8):
        writer.seal(round_)
    writer.flush()
    assert rounds(tmp_path) == [[0, 3], [4, 7]]


def test_memory_is_bounded_by_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is written, and one that grows meanwhile."""
    monkeypatch.setattr(module, "PART_ROWS", 2_000)
    monkeypatch.setattr(module, "TOGETHER", 1)
    rows = {round_: TABLES["trips"].conform({**some_rows("trips", 0, 1_000), "round": round_}) for round_ in range(40)}
    writer = TraceWriter(tmp_path, "m")
    held = []
    for round_, content in rows.items():
        writer.add("trips", content)
        writer.seal(round_)
        writing = 0 if writer._writing is None else writer._writing[0].trips
        held.append(writer._waiting.trips + writing)
    assert max(held) <= 4_000


def test_what_a_thread_could_not_write_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = whole(5)
    monkeypatch.setattr(module, "PART_ROWS", 7)
    monkeypatch.setattr(module, "TOGETHER", 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = TraceWriter(tmp_path, "m")
    for round_ in range(2):
        play(writer, round_)
    monkeypatch.setattr(os, "fsync", full)
    play(writer, 2)  # goes to the thread
    play(writer, 3)
    with pytest.raises(FedsimError, match="No space left on device"):
        writer.flush()
    monkeypatch.undo()
    play(writer, 4)
    writer.flush()
    assert rounds(tmp_path)[0][0] == 0
    assert rounds(tmp_path)[-1][1] == 4
    assert writer.digest == wanted
    assert sum(pq.read_metadata(part).num_rows for part in (tmp_path / "trace" / "m" / "trips").iterdir()) == 15
