import json
from pathlib import Path

import pytest

from fedsim.trace.reader import Run
from tests.command import Desk, desk


@pytest.fixture
def work(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("to", "file"), [("csv", "csv/trips.csv"), ("flat-json", "flat-json/trips.jsonl"), ("perfetto", "timeline.json.gz"),
                     ("latex", "table.tex")]
)  # fmt: skip
def test_every_format_goes_into_the_run_folder(run: Run, work: Desk, to: str, file: str) -> None:
    ended = work.run("export", run.path, "--to", to)
    assert (ended.code, ended.out) == (0, "")
    assert "wrote " in ended.err
    assert str(run.path / "export") in ended.err
    assert (run.path / "export" / file).stat().st_size > 0


def test_out_is_a_file_or_a_folder(run: Run, work: Desk) -> None:
    assert work.run("export", run.path, "--to", "perfetto", "--rounds", "1..2", "--out", "some.json").code == 0
    assert json.loads((work.folder / "some.json").read_text())["otherData"]["run"] == "run"
    assert work.run("export", run.path, "--to", "csv", "--out", "tables", "--method", "fedbt").code == 0
    assert (work.folder / "tables" / "rounds.csv").is_file()
    assert work.run("export", run.path, run.path, "--to", "latex", "--out", "two.tex").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "--to", "csv", "--out", "mine.yaml"), "is a file"),
        (("RUN", "--to", "latex", "--out", "."), "is a folder"),
        (("RUN", "RUN", "--to", "csv"), "takes one run"),
        (("RUN", "--to", "csv", "--tracks", "clients"), "goes with --to perfetto"),
        (("RUN", "--to", "latex", "--rounds", "1"), "does not go with --to latex"),
        (("RUN", "--to", "csv", "--rounds", "b"), "range of rounds"),
        (("RUN", "--to", "csv", "--method", "fedx"), "fedavg, fedbt"),
        (("nowhere", "--to", "csv"), "there is no such folder"),
        (("RUN",), "--to"),
    ],
)
def test_mistakes_leave_nothing_behind(run: Run, work: Desk, words: tuple[str, ...], message: str) -> None:
    before = work.content()
    ended = work.run("export", *(str(run.path) if word == "RUN" else word for word in words))
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert work.content() == before
