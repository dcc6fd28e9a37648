"""The command line as its users meet it: what it prints where, what it refuses, and how it ends."""

import json
import os
import signal
from pathlib import Path

import pytest

from fedsim import simulation
from fedsim.cost.memory import Polynomial
from fedsim.observe.lines import Lines
from fedsim.request import fresh
from fedsim.scenario.load import load
from fedsim.store import RunLock
from tests.command import SCENARIO, Desk, interrupt
from tests.runs import pretend_memory

NUMBERS = {
    "quality",
    "upload_bytes",
    "download_bytes",
    "flops_forward",
    "flops_backward",
    "device_seconds",
    "tokens",
    "real_tokens",
    "simulated_seconds",
    "wasted_bytes",
    "wasted_flops",
    "rounds",
    "clients_trained",
    "weights_sha256",
    "trace_sha256",
}
"""What `--json` promises of every method."""


def test_without_a_name_the_scenarios_are_listed(work: Desk) -> None:
    ended = work.run("scenario")
    assert (ended.code, ended.err) == (0, "")
    assert "smoke" in ended.out
    assert "fedavg, fedbt" in ended.out
    assert "200" in next(line for line in ended.out.splitlines() if "quickstart" in line)
    listed = json.loads(work.run("scenario", "--json").out)["scenarios"]
    assert listed["smoke"]["clients"] == 12
    assert listed["smoke"]["methods"] == ["fedavg", "fedbt"]


def test_a_broken_scenario_is_listed_as_such(work: Desk) -> None:
    (work.folder / "scenarios").mkdir()
    work.write(("seed: 3", "sed: 3"), name="scenarios/odd.yaml")
    ended = work.run("scenario")
    assert ended.code == 0
    assert "broken: " in next(line for line in ended.out.splitlines() if "odd" in line)
    assert "odd" not in json.loads(work.run("scenario", "--json").out)["scenarios"]


@pytest.mark.parametrize("option", ["--price", "--set=seed=1", "--out=x", "--method=fedavg", "--hosts=2"])
def test_an_option_without_a_scenario_is_not_ignored(option: str, work: Desk) -> None:
    ended = work.run("scenario", option)
    assert (ended.code, ended.out) == (2, "")
    assert "needs the NAME of a scenario" in ended.err


@pytest.mark.slow
def test_json_is_one_object_and_nothing_else(work: Desk) -> None:
    ended = work.run("scenario", "mine.yaml", "--json", "--out", "a")
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out)
    assert summary["run"] == "a"
    assert len(summary["fingerprint"]) == 64
    assert list(summary["methods"]) == ["fedavg", "fedbt"]
    assert all(own.keys() >= NUMBERS for own in summary["methods"].values())
    assert "fedavg 5/5 | finetune: full model | " in ended.err
    again = work.run("scenario", "--resume", "a", "--json")
    assert json.loads(again.out) == summary
    assert "nothing left to do" in again.err


@pytest.mark.slow
def test_a_run_ends_with_a_table_and_the_way_on(work: Desk) -> None:
    ended = work.run("scenario", "mine.yaml")
    assert ended.code == 0, ended.err
    for row in ("upload, MB", "download, MB", "forward", "device time", "simulated time", "  useful", "  wasted"):
        assert row in ended.out
    assert "percentages: of what fedavg spent in all" in ended.out
    assert "run folder: runs/mine-1\n" in ended.out
    assert "python -m fedsim show runs/mine-1\n" in ended.out
    table = ended.out[: ended.out.index("run folder")]
    finished = work.run("scenario", "--resume", "runs/mine-1")
    assert (finished.code, finished.out) == (0, ended.out)
    shown = work.run("show", "runs/mine-1")
    assert shown.out.startswith(table)
    assert "layers 2-3, head" in shown.out
    assert work.run("scenario", "mine.yaml", "--price", "--method", "fedbt").out.count("runs/mine-2") == 3


def test_prices_come_with_the_stages(work: Desk) -> None:
    ended = work.run("scenario", "mine.yaml", "--price", "--out", "p")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("prices only: nothing was trained")
    assert "loading torch" not in ended.err
    rows = [line for line in ended.out.splitlines() if "layer 0, head" in line]
    assert len(rows) == 1
    assert "│ 2,674 │" in " ".join(rows[0].split())  # a layer of 2,224, and a head of 304 and 146 tokens


def test_a_run_without_rounds_has_no_stages(work: Desk) -> None:
    federated = SCENARIO[SCENARIO.index("  further_pretrain:") : SCENARIO.index("methods:")]
    work.write((federated, ""))
    for options in ((), ("--price",)):
        folder = f"a{len(options)}"
        ended = work.run("scenario", "mine.yaml", "--out", folder, *options)
        assert ended.code == 0, ended.err
        shown = work.run("show", folder)
        assert shown.code == 0, shown.err
        assert "\nstages\n" not in shown.out
        assert "│ rounds" in shown.out


def test_runs_are_compared_by_name_or_by_path(work: Desk) -> None:
    for folder in ("a/run", "b/run", "c"):
        assert work.run("scenario", "mine.yaml", "--price", "--method", "fedavg", "--out", folder).code == 0
    out = work.run("compare", "a/run", "b/run", "c").out
    header = " ".join(out.splitlines()[1].split())
    assert header == "┃ ┃ a/run ┃ b/run ┃ c ┃"
    assert "percentages: of what a/run fedavg spent in all" in out


def test_runs_with_other_seeds_are_told_as_a_mean(work: Desk) -> None:
    for folder, seed in (("a", 3), ("b", 4), ("c", 5)):
        ended = work.run("scenario", "mine.yaml", "--price", "--set", f"seed={seed}", "--out", folder)
        assert ended.code == 0, ended.err
    ended = work.run("compare", "a", "b", "c")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[1] for line in ended.out.splitlines() if line.startswith("│")] == ["fedavg", "fedbt"]
    assert "costs: mean of 3 runs with seeds 3, 4, 5" in ended.out
    (group,) = json.loads(work.run("compare", "a", "b", "c", "--json", "--method", "fedbt").out)
    uploads = group["methods"]["fedbt"]["upload_bytes"]
    assert (list(group["methods"]), group["seeds"], uploads["n"]) == (["fedbt"], [3, 4, 5], 3)
    assert uploads["mean"] == sum(uploads["values"]) / 3
    refused = work.run("compare", "a", "b", "--picture", "a.png")
    assert (refused.code, refused.out) == (2, "")
    assert "--picture: nothing was evaluated: made with --price" in refused.err


def test_methods_to_show_can_be_chosen(work: Desk) -> None:
    assert work.run("scenario", "mine.yaml", "--price", "--out", "a").code == 0
    for command in ("show", "compare"):
        out = work.run(command, "a", "--method", "fedbt").out
        assert "fedbt" in out
        assert "fedavg" not in out
        refused = work.run(command, "a", "--method", "fedabt")
        assert (refused.code, refused.out) == (2, "")
        assert "--method: is fedabt; methods that have ended: fedavg, fedbt" in refused.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scenario", "mine.yaml", "--out", "a"), "a: holds a run already: go on with it by --resume"),
        (("scenario", "--resume", "nowhere"), "nowhere: --resume: there is no such folder"),
        (("scenario", "--resume", "."), ".: --resume: not a run folder"),
        (("scenario", "--resume", "a", "--price"), "--price: does not go with --resume"),
        (("scenario", "--resume", "a", "--set", "seed=1"), "--set: does not go with --resume: a run keeps"),
        (("scenario", "--resume", "a", "--engine", "ray"), "--engine: does not go with --price"),
        (
            ("scenario", "mine.yaml", "--resume", "a", "--set", "seed=4", "--set", "model.layers=2"),
            "a: --resume: the run was made with other settings than mine.yaml has now; leave the name out, or start a "
            "new run\n  model.layers: 4 -> 2\n  seed: 3 -> 4",
        ),
        (("show", "nowhere"), "nowhere: there is no such folder"),
        (("show", "."), ".: not a run folder"),
        (("compare", "a", "."), ".: not a run folder"),
        (("scenario", "mine"), "there is no scenario 'mine'"),
        (("scenario", "smoke.yaml"), "smoke.yaml: there is no such file; did you mean the scenario 'smoke'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_of_runs(arguments: tuple[str, ...], says: str, work: Desk) -> None:
    assert work.run("scenario", "mine.yaml", "--price", "--method", "fedavg", "--out", "a").code == 0
    before = work.content()
    ended = work.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {says}" in ended.err
    assert work.content() == before


def test_a_named_scenario_that_is_the_same_may_be_resumed(work: Desk) -> None:
    work.run("scenario", "mine.yaml", "--price", "--out", "a")
    work.write(("name: mine", "name: other\nsummary: with other words"), ("kind: inline", "kind: ray"))
    assert work.run("scenario", "mine.yaml", "--resume", "a").code == 0


@pytest.mark.parametrize("what", ["scenario.json", "train.jsonl", "identity.json", "fedsim"])
def test_a_run_is_gone_on_with_as_it_began(what: str, work: Desk) -> None:
    interrupt(work, signal.SIGINT, 2)
    assert work.run("scenario", "mine.yaml", "--engine", "inline", "--out", "a", "--method", "fedavg").code == 130
    if what == "train.jsonl":
        file = work.folder / what
        file.write_text(file.read_text() + '{"text": "one more", "client": "c0", "topic": "t0"}\n')
        says = "a: --resume: the text is not what the run was made with"
    else:
        old, new, says = {
            "scenario.json": ('"seed": 3', '"seed": 4', "a/scenario.json: --resume: was changed after the run began"),
            "identity.json": ('"base"', '"bass"', "a/identity.json: --resume: damaged (KeyError('base'))"),
            "fedsim": ('"fedsim": "', '"fedsim": "0', "a: --resume: the run was made with fedsim 0"),
        }[what]
        file = work.folder / "a" / ("identity.json" if what == "fedsim" else what)
        assert file.read_text().count(old) == 1
        file.write_text(file.read_text().replace(old, new))
    ended = work.run("scenario", "--resume", "a")
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {says}" in ended.err


def test_a_folder_in_use_is_refused(work: Desk) -> None:
    work.run("scenario", "mine.yaml", "--price", "--out", "a")
    (work.folder / "a" / "run.json").unlink()
    with RunLock(work.folder / "a"):
        ended = work.run("scenario", "--resume", "a")
    assert ended.code == 2
    assert f"a: in use by process {os.getpid()}" in ended.err
    assert work.run("scenario", "--resume", "a").code == 0


def test_an_ended_method_is_shown_before_the_others_end(work: Desk) -> None:
    interrupt(work, signal.SIGINT, 1)
    real = Lines.round
    work.patch.setattr(Lines, "round", lambda self, r: real(self, r) if r.method == "fedbt" else None)
    assert work.run("scenario", "mine.yaml", "--out", "a").code == 130
    shown = work.run("show", "a")
    assert shown.code == 0
    assert "not ended:  fedbt; go on with: python -m fedsim scenario --resume a\n" in shown.out
    for file in work.folder.glob("a/trace/*/stages/*.parquet"):
        file.write_bytes(b"half")
    damaged = work.run("show", "a")
    assert damaged.code == 2
    assert damaged.out == ""
    assert ".parquet: " in damaged.err


@pytest.mark.parametrize("debug", ["", "0", "1"])
def test_a_bug_is_one_line_and_a_log(debug: str, work: Desk) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the first line\nand a screenful")

    work.patch.setattr(simulation, "prepare", fail)
    work.patch.setenv("FEDSIM_DEBUG", debug)
    ended = work.run("scenario", "mine.yaml", "--price", "--out", "a")
    assert (ended.code, ended.out) == (1, "")
    assert "error: RuntimeError: the first line\nthe traceback is in a/error.log" in ended.err
    assert "python -m fedsim scenario --resume a\n" in ended.err
    assert ("Traceback" in ended.err) == (debug == "1")
    log = (work.folder / "a/error.log").read_text()
    assert "Traceback" in log
    assert "and a screenful" in log


def test_a_failure_without_a_run_is_logged_among_temporary_files(work: Desk, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    work.patch.setattr("tempfile.tempdir", str(tmp_path))
    work.patch.setattr("fedsim.scenario.editor.json_schema", fail)
    ended = work.run("schema")
    assert (ended.code, ended.out) == (1, "")
    assert "error: OSError: [Errno 28] No space left on device\n" in ended.err
    assert f"the traceback is in {tmp_path}/fedsim-{os.getpid()}.log" in ended.err
    (tmp_path / f"fedsim-{os.getpid()}.log").unlink()
    work.patch.setattr("tempfile.tempdir", "/proc/nothing")
    assert "the traceback is nowhere, because /proc/nothing/fedsim-" in work.run("schema").err


def test_narrow_terminals_get_lists(work: Desk) -> None:
    work.run("scenario", "mine.yaml", "--price", "--out", "a")
    work.patch.setenv("COLUMNS", "40")
    for arguments in (("scenario",), ("show", "a")):
        lines = work.run(*arguments).out.partition("run folder")[0].splitlines()
        assert max(map(len, lines)) <= 40
        assert not any("…" in line for line in lines)
    assert "\n  parameters sent: 2,674\n" in work.run("show", "a").out


@pytest.mark.slow
def test_the_command_works_where_little_does(work: Desk) -> None:
    plain = work.start("scenario", PYTHONIOENCODING="ascii", LC_ALL="C", NO_COLOR="1", TERM="dumb", COLUMNS="100")
    out, err = plain.communicate(timeout=60)
    assert (plain.returncode, err) == (0, "")
    assert out.isascii()
    assert "| smoke " in out
    piped = work.start("schema")
    assert piped.stdout is not None
    assert piped.stdout.readline() == "{\n"
    piped.stdout.close()
    assert piped.stderr is not None
    assert piped.stderr.read() == ""
    piped.stderr.close()
    assert piped.wait(60) in (0, 1)
    typo = work.start("scenario", "mine.yaml", "--json", "--set", "modle.layers=3")
    out, err = typo.communicate(timeout=60)
    assert (typo.returncode, out) == (2, "")
    assert err.startswith("error: --set modle.layers=3: modle: unknown key; did you mean 'model'?")
    nobody = work.start("scenario", "mine.yaml", "--engine", "ray", "--address", "127.0.0.1:1", "--out", "a")
    out, err = nobody.communicate(timeout=60)
    assert (nobody.returncode, out) == (2, "")
    assert "error: --address: nothing answers at '127.0.0.1:1'" in err
    assert not (work.folder / "a").exists()
    usage = work.start("scenario", "--hosts", "two")
    out, err = usage.communicate(timeout=60)
    assert (usage.returncode, out) == (2, "")
    assert "--hosts" in err


def test_runs_that_begin_together_get_folders_of_their_own(work: Desk) -> None:
    loaded = load(work.folder / "mine.yaml")
    folders = [fresh(loaded, [], None, price=True).folder for _ in range(3)]
    assert [str(folder) for folder in folders] == ["runs/mine-1", "runs/mine-2", "runs/mine-3"]
    ended = work.run("scenario", "mine.yaml", "--price", "--method", "fedbtt")
    assert ended.code == 2
    assert sorted(Path("runs").iterdir()) == folders
    (work.folder / "file").write_text("")
    refused = work.run("scenario", "mine.yaml", "--price", "--set", "outputs.folder=file")
    assert (refused.code, refused.err) == (
        2,
        "error: file/mine-1: cannot be written to (Not a directory): choose an --out\n",
    )


def test_a_fleet_is_surveyed(work: Desk) -> None:
    # measuring memory takes seconds, and is tested elsewhere
    pretend_memory(work.patch, lambda shape, optimizer: Polynomial(constant=10**6))
    ended = work.run("fleet", "mine.yaml")
    assert ended.code == 0, ended.err
    assert "one round of each method" in ended.out
    assert ended.out.count("│ fedbt") == 2
    assert "picture: fleet-mine.png\n" in ended.err
    assert (work.folder / "fleet-mine.png").read_bytes().startswith(b"\x89PNG")
    again = work.run("fleet", "mine.yaml", "--json", "--out", "x.svg", "--set", "fleet.clients=7")
    assert again.code == 0, again.err
    assert json.loads(again.out)["clients"] == 7
    assert (work.folder / "x.svg").read_text().startswith("<?xml")


def test_the_catalogue_of_devices(work: Desk) -> None:
    ended = work.run("fleet")
    assert ended.code == 0
    assert "Raspberry Pi 4" in ended.out
    assert "│ wifi" in ended.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fleet", "--json"), "--json: needs the NAME of a scenario"),
        (("fleet", "--set", "seed=1"), "--set: needs the NAME of a scenario"),
        (("fleet", "mine"), "there is no scenario 'mine'"),
        (("fleet", "mine.yaml", "--out", "none/x.png"), "none/x.png: --out: cannot be written"),
        (
            ("fleet", "mine.yaml", "--set", "fleet.source={kind: catalog, devices: {pi_44: 1}}"),
            "--set fleet.source={kind: catalog, devices: {pi_44: 1}}: fleet.source.devices.pi_44: no device class",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_of_fleets(arguments: tuple[str, ...], says: str, work: Desk) -> None:
    ended = work.run(*arguments)
    assert ended.code == 2
    assert f"error: {says}" in ended.err


def test_carbon_follows_from_energy(work: Desk) -> None:
    pretend_memory(work.patch, lambda shape, optimizer: Polynomial(constant=10**6))
    ended = work.run("scenario", "mine.yaml", "--price", "--json", "--set", "fleet.carbon_g_per_kwh=360", "--out", "a")
    assert ended.code == 0, ended.err
    for own in json.loads(ended.out)["methods"].values():
        assert own["carbon_g"] == pytest.approx(own["energy_j"] / 10_000)
    assert "│ CO2 " in work.run("show", "a").out
