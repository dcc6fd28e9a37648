"""What a user installs: built from the checkout, put into an environment of its own, run from an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import fedsim

from .markdown import ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
"""Without the checkout on the path."""


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it, as `python -m build` makes them."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, folder=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.fixture(scope="module")
def python(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel, and sees the packages of this one but not the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # as a plain folder on the path: its .pth files, and with them the editable install, are not read
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    run(*command, "--disable-pip-version-check", "--target", own, built["wheel"], folder=folder)
    return folder / "bin/python"


@pytest.mark.slow
def test_scenarios_tables_and_pages_are_inside(built: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(built["wheel"]).namelist())
    shipped = {f"fedsim/scenarios/{path.name}" for path in (ROOT / "scenarios").iterdir()}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fedsim").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped | package <= names
    assert {name.split("/")[0] for name in names} == {"fedsim", f"fedsim_ray-{fedsim.__version__}.dist-info"}
    with tarfile.open(built["sdist"]) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}
    for name in ("README.md", "LICENSE", "mkdocs.yml", "scenarios/smoke.yaml", "docs/trace.md", "notebooks/million.py"):
        assert name in found


@pytest.mark.slow
def test_the_installed_wheel_lists_and_prices_scenarios(python: Path, tmp_path: Path, cache: Path) -> None:
    where = run(python, "-c", "import fedsim; print(fedsim.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    listed = json.loads(run(python, "-m", "fedsim", "scenario", "--json", folder=tmp_path))["scenarios"]
    assert set(listed) == {path.stem for path in (ROOT / "scenarios").glob("*.yaml")}
    assert "phone_low" in run(python, "-m", "fedsim", "fleet", folder=tmp_path)
    command = (python, "-m", "fedsim", "scenario", "smoke", "--price", "--json")
    summary = json.loads(run(*command, folder=tmp_path, FEDSIM_CACHE=str(cache)))
    assert list(summary["methods"]) == ["fedavg", "fedbt"]
    assert (tmp_path / "runs/smoke-1/run.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
