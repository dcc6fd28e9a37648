"""The notebooks run from top to bottom, their two files agree, and their stored outputs are clean."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"


@dataclass(frozen=True)
class Notebook:
    """What a notebook is to show."""

    name: str
    scenario: str
    """Of the run behind the stored outputs."""
    stand_in: str
    """Of the run that is made where none is given."""
    folder: str
    """That run's, which is not left behind."""
    pictures: int

    @property
    def file(self) -> Path:
        """The notebook with its outputs."""
        return FOLDER / f"{self.name}.ipynb"


NOTEBOOKS = [
    Notebook("quickstart", "'quickstart'", "'smoke'", "smoke", pictures=5),
    Notebook("methods", "('methods_compared', 20, {'trips'", "('methods_compared', 3, {'trips'", "short", pictures=2),
    Notebook("stragglers", "'6 rules, 12,600 trips", "'6 rules, 12,600 trips", "wait for all", pictures=3),
    Notebook("fedbt_tables", "'fedbt-paper-finetuning', 300", "'fedbt-paper-finetuning', 300", "fedbt_*", pictures=2),
    Notebook("fleet_design", "'weak-phones: 1,000 phones", "'weak-phones: 1,000 phones", "run", pictures=2),
    Notebook("million", "'million: 100,000 trips", "'million: 100,000 trips", "million", pictures=2),
]
each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def results(notebook: Any) -> list[Any]:
    return [out for cell in code_cells(notebook) for out in cell.outputs if out.output_type == "execute_result"]


def opening(notebook: Any) -> str:
    """What the first cell with a result says, in one line."""
    return " ".join(results(notebook)[0]["data"]["text/plain"].split())


def pictures(notebook: Any) -> int:
    return sum("image/png" in result["data"] for result in results(notebook))


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {notebook.name for notebook in NOTEBOOKS}


@each
def test_the_notebook_and_its_text_have_the_same_cells(notebook: Notebook) -> None:
    stored = nbformat.read(notebook.file, as_version=4)
    text = jupytext.read(notebook.file.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]


@each
def test_stored_outputs_come_from_one_clean_run_of_its_scenario(notebook: Notebook) -> None:
    stored = nbformat.read(notebook.file, as_version=4)
    cells = code_cells(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for cell in cells for output in cell.outputs} == {"execute_result"}
    assert notebook.scenario in opening(stored)
    assert pictures(stored) == notebook.pictures


@each
def test_stored_outputs_name_no_path_of_the_machine_that_made_them(notebook: Notebook) -> None:
    text = notebook.file.read_text(encoding="utf-8")
    assert not re.search(r'["\'( ]/(?:home|root|tmp|work|usr|Users|mnt|var)/', text)
    assert len(text) < 1_000_000


@pytest.mark.slow
@each
def test_the_notebook_runs_from_top_to_bottom(notebook: Notebook, tmp_path: Path, cache: Path) -> None:
    scratch, target = tmp_path / "scratch", tmp_path / "out.ipynb"
    scratch.mkdir()
    given = {"FEDSIM_CACHE": cache, "TMPDIR": scratch, "IPYTHONDIR": tmp_path / "ipython"}
    environment = {name: value for name, value in os.environ.items() if name != "FEDSIM_RUN"}
    # a process of its own: the kernel's client leaves sockets open, and here warnings are errors
    command = [sys.executable, *map(str, (FOLDER / "execute.py", notebook.file.with_suffix(".py"), target))]
    subprocess.run(command, check=True, env={**environment, **{name: str(path) for name, path in given.items()}})
    made = nbformat.read(target, as_version=4)
    assert notebook.stand_in in opening(made)
    assert pictures(made) == notebook.pictures
    assert not list(scratch.glob(f"*/{notebook.folder}")), "the run is not left behind"
