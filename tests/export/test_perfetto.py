import gzip
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fedsim.errors import UserError
from fedsim.export import perfetto as module
from fedsim.export.cut import Cut, cut
from fedsim.export.perfetto import LEGS, Tracks, perfetto
from fedsim.trace.reader import Run

Event = Mapping[str, Any]


class Trace:
    """A file of trace events that was read back; what the format asks for is checked on the way."""

    def __init__(self, file: Path) -> None:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        self.document = json.loads(content)
        events: list[Event] = self.document["traceEvents"]
        self.events = [event for event in events if event["ph"] != "M"]
        named = [event for event in events if event["ph"] == "M"]
        self.processes = {e["pid"]: e["args"]["name"] for e in named if e["name"] == "process_name"}
        self.tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in named if e["name"] == "thread_name"}
        times = [event["ts"] for event in self.events]
        assert times == sorted(times)
        for event in self.events:
            assert event["ph"] in "XiC"
            assert event["pid"] in self.processes
            assert event["ph"] == "C" or (event["pid"], event["tid"]) in self.tracks
            assert isinstance(event["name"], str)
            assert event["ts"] >= 0
            assert isinstance(event["args"], dict)
            assert event["ph"] != "X" or event["dur"] >= 0
            assert event["ph"] != "i" or event["s"] in "gpt"
            assert event["ph"] != "C" or all(isinstance(value, int | float) for value in event["args"].values())
        self._slices_lie_inside_each_other()

    def _slices_lie_inside_each_other(self) -> None:
        """Two slices of a track are apart, or one is inside the other: in whole nanoseconds."""
        open_: dict[tuple[int, int], list[int]] = defaultdict(list)
        for event in self.events:
            if event["ph"] == "X":
                start, end = round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)
                stack = open_[event["pid"], event["tid"]]
                while stack and stack[-1] <= start:
                    stack.pop()
                assert not stack or end <= stack[-1]
                stack.append(end)

    def of(self, method: str, kind: str) -> list[Event]:
        """Events of one sort."""
        return [e for e in self.events if self.processes[e["pid"]] == method and e["ph"] == kind]

    def on(self, method: str, track: str) -> list[Event]:
        """Slices of a track."""
        return [e for e in self.of(method, "X") if self.tracks[e["pid"], e["tid"]] == track]


def written(run: Run, file: Path, part: Cut, tracks: Tracks | None = None) -> Trace:
    assert perfetto(run, part, tracks, file) == [file]
    return Trace(file)


def test_the_legs_of_all_trips_add_up_to_the_trace(run: Run, tmp_path: Path) -> None:
    found = written(run, tmp_path / "timeline.json", cut(run, [], None))
    assert list(found.processes.values()) == list(run.methods)
    for method in run.methods:
        trips = run.trips[run.trips.method == method]
        slices = found.of(method, "X")
        for leg in LEGS:
            seconds = math.fsum(event["dur"] for event in slices if event["name"] == leg) / 1e6
            assert seconds == pytest.approx(trips[f"{leg}_s"].sum(), abs=2e-9 * len(trips))
        whole = [event for event in slices if event["name"].startswith("round ") and "samples" in event["args"]]
        assert len(whole) == len(trips)
        seconds = math.fsum(event["dur"] for event in whole) / 1e6
        assert seconds == pytest.approx(math.fsum(trips.end_s - trips.start_s), abs=2e-9 * len(trips))
    split = run.trips[run.trips.method == "split_in_turn"]
    assert (split["exchange_s"] > 0).any()


def test_rounds_stages_and_what_was_sent(run: Run, tmp_path: Path) -> None:
    found = written(run, tmp_path / "timeline.json", cut(run, [], None))
    for method in run.methods:
        rounds = run.rounds[run.rounds.method == method]
        slices = found.on(method, "rounds")
        assert [event["name"] for event in slices] == [f"round {n}" for n in rounds["round"]]
        assert [event["ts"] / 1e6 for event in slices] == pytest.approx(rounds.start_s.tolist(), abs=1e-9)
        assert [event["dur"] / 1e6 for event in slices] == pytest.approx(
            (rounds.end_s - rounds.start_s).tolist(), abs=2e-9
        )
        sent = [event for event in found.of(method, "C") if event["name"].startswith("sent")]
        assert sent[-1]["args"]["upload"] == pytest.approx(rounds.upload_bytes.sum() / 1e6)
        stages = found.on(method, "stages")
        assert sum(event["args"]["rounds"] for event in stages) == len(rounds)


def test_a_trip_that_is_lost_leaves_a_mark_at_its_end(run: Run, tmp_path: Path) -> None:
    found = written(run, tmp_path / "timeline.json", cut(run, ["fedavg"], None))
    lost = run.trips[(run.trips.method == "fedavg") & (run.trips.outcome != "completed")]
    marks = found.of("fedavg", "i")
    assert sorted(event["name"] for event in marks) == sorted(lost.outcome)
    assert len(set(lost.outcome)) > 1
    assert sorted(event["ts"] / 1e6 for event in marks) == pytest.approx(sorted(lost.end_s), abs=1e-9)


def test_curves_of_device_classes_have_the_same_area(run: Run, tmp_path: Path) -> None:
    part = cut(run, ["fedavg"], None)
    found = written(run, tmp_path / "timeline.json.gz", part, "devices")
    trips = run.trips[run.trips.method == "fedavg"]
    for device, own in trips.groupby("device", observed=True):
        curve = [e for e in found.of("fedavg", "C") if e["name"] == f"{device}: devices at work"]
        width_s = (curve[1]["ts"] - curve[0]["ts"]) / 1e6
        for leg in ("download", "compute", "upload"):
            area = width_s * sum(event["args"][leg] for event in curve)
            assert area == pytest.approx(own[f"{leg}_s"].sum(), rel=1e-5)
        lost = [e["args"]["trips"] for e in found.of("fedavg", "C") if e["name"] == f"{device}: trips lost"]
        assert sum(lost) == (own.outcome != "completed").sum()


def test_a_large_run_has_a_track_for_each_class(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = cut(run, ["fedavg"], None)
    assert any(name.startswith("client ") for name in written(run, tmp_path / "a.json", part).tracks.values())
    monkeypatch.setattr(module, "CLIENT_TRIPS", 3)
    assert set(written(run, tmp_path / "b.json", part).tracks.values()) == {"rounds", "stages"}
    monkeypatch.setattr(module, "MOST_CLIENT_TRIPS", 4)
    with pytest.raises(UserError, match="are too many"):
        perfetto(run, part, "clients", tmp_path / "c.json")
    few = cut(run, ["fedavg"], "0..1")
    monkeypatch.setattr(module, "MOST_CLIENT_TRIPS", 100)
    cohorts = {event["name"] for event in written(run, tmp_path / "d.json", few, "clients").of("fedavg", "X")}
    assert {"round 0", "round 1"} <= cohorts
    assert "round 2" not in cohorts


def test_no_trips_is_a_mistake(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trips"):
        perfetto(run, cut(run, [], "50.."), None, tmp_path / "x.json")


def test_the_same_run_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "a.json.gz", tmp_path / "b.json.gz"]
    for file in files:
        perfetto(run, cut(run, [], None), None, file)
    assert files[0].read_bytes() == files[1].read_bytes()
