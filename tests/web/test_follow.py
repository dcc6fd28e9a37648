import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fedsim.errors import UserError
from fedsim.store.lock import RunLock
from fedsim.trace.reader import read_run
from fedsim.web.follow import Followed, PlannedPhase
from tests import runs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trained", "priced"])
def test_sums_over_the_trace_are_the_runs_own_summary(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    found = Followed(folder).summaries()
    own = json.loads((folder / "run.json").read_text())["methods"]
    assert list(found) == list(own)
    for method, numbers in found.items():
        expected = {key: value for key, value in own[method].items() if key in numbers}
        assert len(expected) == len(numbers)
        for key, value in expected.items():
            assert numbers[key] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), key


def test_what_is_planned_is_what_the_methods_schedule_says(trained: Path) -> None:
    assert Followed(trained).planned["fedbt"] == (
        PlannedPhase("further_pretrain", 0, 3),
        PlannedPhase("finetune", 3, 2),
    )


def test_a_run_is_stopped_then_running_then_ended(stopped: Path) -> None:
    run = Followed(stopped)
    seen = [(run.state, run.ended, run.version())]
    with RunLock(stopped):
        seen.append((run.state, run.ended, run.version()))
    runs.resume(stopped)
    seen.append((run.state, run.ended, run.version()))
    assert [state[:2] for state in seen] == [("stopped", ()), ("running", ()), ("ended", ("fedavg", "fedbt"))]
    assert len({version for *_, version in seen}) == 3
    assert run.version() == seen[-1][2]


def test_rows_that_a_kill_took_back_are_forgotten(stopped: Path) -> None:
    run = Followed(stopped)
    assert run.table("fedavg", "rounds")["round"].to_pylist() == [0, 1]
    runs.resume(stopped)
    read = read_run(stopped)
    for method in run.methods:
        for table in ("rounds", "evals", "stages", "lessons"):
            expected = read.read(table, filters=[("method", "==", method)])
            assert run.table(method, table).to_pandas().equals(expected), (method, table)


def test_trips_of_a_round_are_those_of_the_trace(priced: Path) -> None:
    trips = read_run(priced).trips
    for round_ in range(5):
        own = trips[(trips["method"] == "fedbt") & (trips["round"] == round_)]
        found = Followed(priced).trips("fedbt", round_, ["client", "upload_bytes"])
        assert found.to_pydict() == {"client": own["client"].tolist(), "upload_bytes": own["upload_bytes"].tolist()}


def test_a_run_before_its_first_round_has_nothing(trained: Path, tmp_path: Path) -> None:
    folder = begun(trained, tmp_path)
    run = Followed(folder)
    assert (run.started, run.state, run.summaries(), run.ended) == (False, "stopped", {}, ())
    assert run.table("fedavg", "rounds").num_rows == 0


def begun(run: Path, to: Path) -> Path:
    """A folder as it is before the first round is over."""
    folder = to / "begun"
    folder.mkdir()
    for name in ("scenario.json", "identity.json", "world.json"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


def test_what_is_no_run_is_told_apart(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        Followed(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"not a run folder: it has no identity\.json"):
        Followed(tmp_path)
    folder = begun(trained, tmp_path)
    scenario = json.loads((folder / "scenario.json").read_text())
    (folder / "scenario.json").write_text(json.dumps(scenario | {"weather": "fine"}))
    with pytest.raises(UserError, match=r"is not a scenario of this fedsim \(1 mistakes\)"):
        Followed(folder)
    (folder / "scenario.json").write_text("{")
    with pytest.raises(UserError, match="it is not JSON"):
        Followed(folder)


def test_a_trace_of_a_newer_fedsim_is_refused(stopped: Path) -> None:
    manifest = stopped / "trace/fedavg/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(UserError, match=r"trace version 99 was written by a newer fedsim \(this one reads 1\)"):
        Followed(stopped)


def test_a_changed_file_is_found_where_proof_is_asked_for(stopped: Path) -> None:
    (file,) = (stopped / "trace/fedavg/rounds").glob("000000-*")
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(UserError, match="damaged or changed"):
        Followed(stopped, proven=True).table("fedavg", "rounds")
    with pytest.raises(UserError, match="cannot be read"):
        Followed(stopped).table("fedavg", "rounds")


def test_a_file_with_other_columns_is_told(stopped: Path) -> None:
    (file,) = (stopped / "trace/fedavg/rounds").glob("000000-*")
    pq.write_table(pq.read_table(file).drop_columns(["unused"]), file)
    with pytest.raises(UserError, match="does not have the columns it must have: another fedsim wrote it"):
        Followed(stopped).table("fedavg", "rounds")
