import sys
from pathlib import Path

import pytest

from benchmarks import run, systems
from benchmarks.systems import REFERENCE
from benchmarks.workload import MLM, WORKLOADS


def test_peers_are_found_by_option_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in systems.PEERS.values():
        monkeypatch.delenv(peer.variable, raising=False)
    absent = str(tmp_path / "absent")
    none, missing = systems.peers(MLM, 3, dict.fromkeys(systems.PEERS, absent))
    assert not none
    assert [line.partition(":")[0] for line in missing] == list(systems.PEERS)
    assert all(absent in line for line in missing)
    monkeypatch.setenv("BENCH_PFL_PYTHON", sys.executable)
    found, missing = systems.peers(MLM, 3, {"flower": sys.executable, "pfl": None, "blazefl": absent})
    assert [system.name for system in found] == ["flower", "pfl-1", "pfl-2"]
    assert all(system.command[0] == sys.executable for system in found)
    assert all(system.command[-4:] == ("--work", "mlm", "--rounds", "3") for system in found)


def test_choosing_keeps_what_the_rest_is_compared_to(tmp_path: Path) -> None:
    everything = [*systems.bare(MLM, 2), *systems.simulator({"all": tmp_path / "mlm.yaml"})]
    names = [system.name for system in systems.choose(MLM, everything, ["fedsim-ray"])]
    assert names == [REFERENCE, "fedsim-ray-2-all", "fedsim-ray-1-all"]
    assert systems.choose(MLM, everything, []) == everything


def test_other_shapes_have_what_a_comparison_needs(tmp_path: Path) -> None:
    work = WORKLOADS["mlm-wide"]
    files = {"all": tmp_path / "a.yaml", "needed": tmp_path / "b.yaml"}
    everything = [*systems.bare(work, 2), *systems.simulator(files)]  # type: ignore[arg-type]
    names = [system.name for system in systems.choose(work, everything, [])]
    assert names == [REFERENCE, "torch-2-kept", "torch-2-vmap", "fedsim-ray-2-all", "fedsim-ray-2-needed"]


def test_the_reference_is_the_first_that_is_run() -> None:
    for work in WORKLOADS.values():
        names = [system.name for system in systems.bare(work, 2)]
        assert names[0] == REFERENCE
        assert ("torch-2-masked" in names) == (work.task == "mlm")


def test_what_does_less_than_others_says_so(tmp_path: Path) -> None:
    found = systems.simulator({"all": tmp_path / "a.yaml", "needed": tmp_path / "b.yaml"})
    assert {system.name: system.less for system in found if "ray-2" in system.name} == {
        "fedsim-ray-2-all": False,
        "fedsim-ray-2-needed": True,
    }


def test_a_system_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent")
    pythons = [word for name in systems.PEERS for word in (f"--{name}", absent)]
    monkeypatch.setattr("sys.argv", ["run", "--works", "classify", "--no-write", *pythons, "--only", "torch", "flower"])
    with pytest.raises(SystemExit, match=r"--only flower: no system here is called so; there are: torch-1, .*inline"):
        run.main()
    assert capsys.readouterr().out.count("not measured: ") == len(systems.PEERS)
