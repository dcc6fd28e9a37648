"""Runs from Python are the runs of the command."""

import re
import subprocess
import sys
from inspect import signature

import pandas as pd
import pytest

import fedsim
from fedsim.commands.scenario import scenario as command

from .command import Desk


@pytest.mark.slow
def test_python_and_the_command_make_the_same_run(work: Desk) -> None:
    changed = {"phases.finetune.rounds": 1, "data.central_fraction": 0.25}
    ours = fedsim.simulate("mine.yaml", changed, methods=["fedbt"], out="ours")
    options = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    ended = work.run("scenario", "mine.yaml", "--method", "fedbt", "--out", "theirs", *options)
    assert ended.code == 0, ended.err
    theirs = fedsim.read_run("theirs")
    assert ours.scenario == theirs.scenario
    assert ours.scenario["phases"]["finetune"]["rounds"] == 1
    assert ours.trace_sha256("fedbt") == theirs.trace_sha256("fedbt")
    pd.testing.assert_frame_equal(ours.trips, theirs.trips)


def test_a_run_goes_into_a_new_folder_and_says_nothing_unless_asked(work: Desk) -> None:
    quiet = fedsim.simulate("mine.yaml", price=True)
    assert (quiet.path.name, quiet.summary["price"]) == ("mine-1", True)
    assert work.capture.readouterr() == ("", "")
    told = fedsim.simulate("mine.yaml", price=True, progress=True)
    assert told.path.name == "mine-2"
    assert "fedbt 5/5" in work.capture.readouterr().err


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"model.layer": 3}, {}, "model.layer: unknown key; did you mean 'layers'?"),
        ({"data.corpus.train": ["none.jsonl"]}, {}, "none.jsonl"),
        ({}, {"methods": ["fedsgd"]}, "fedsgd"),
        ({}, {"price": True, "engine": "inline"}, "--engine: does not go with --price"),
    ],
)
def test_mistakes_are_told_and_leave_no_folder(
    settings: dict[str, object], options: dict[str, object], message: str, work: Desk
) -> None:
    with pytest.raises(fedsim.UserError, match=re.escape(message)):
        fedsim.simulate("mine.yaml", settings, **options)  # type: ignore[arg-type]
    assert not (work.folder / "runs").exists()


def test_arguments_have_the_names_of_the_options() -> None:
    ours, theirs = set(signature(fedsim.simulate).parameters), set(signature(command).parameters)
    assert ours - theirs == {"scenario", "settings", "methods", "progress"}


def test_names_are_exported_and_cost_nothing_until_they_are_used() -> None:
    assert all(getattr(fedsim, name) for name in fedsim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        fedsim.simulat  # noqa: B018
    code = (
        "import fedsim, sys; print([name for name in ('numpy', 'pandas', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
