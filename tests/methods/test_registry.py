"""A method is one file: the worked example of the documentation runs in a copy of the package, and as a plug-in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedsim
from fedsim.methods.base import Method
from fedsim.methods.registry import kinds

from .. import markdown

PAGE = markdown.ROOT / "docs/extending.md"


def test_methods_by_kind() -> None:
    assert {"centralized", "fedavg", "fedbt"} <= kinds().keys()
    for kind, method in kinds().items():
        assert issubclass(method, Method)
        assert method.model_fields["kind"].default == kind


@pytest.mark.slow
@pytest.mark.parametrize("where", ["file", "plug-in"])
def test_the_worked_example(where: str, tmp_path: Path) -> None:
    (method,), (scenario,), (toml,) = (markdown.blocks(PAGE, language) for language in ("python", "yaml", "toml"))
    assert len(method.splitlines()) + len(scenario.splitlines()) <= 60
    package = tmp_path / "fedsim"
    shutil.copytree(Path(fedsim.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    if where == "file":
        (package / "methods/upper_part.py").write_text(method)
    else:
        (tmp_path / "my_package").mkdir()
        (tmp_path / "my_package/upper_part.py").write_text(method)
        declared = tmp_path / "my_package-1.0.dist-info"
        declared.mkdir()
        (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
        name, target = toml.splitlines()[1].split(" = ")
        (declared / "entry_points.txt").write_text(f"[fedsim.methods]\n{name} = {target.strip(chr(34))}\n")
    (tmp_path / "upper-part.yaml").write_text(scenario)
    done = subprocess.run(
        [sys.executable, "-m", "fedsim", "scenario", "upper-part.yaml", "--price", "--json", "--set", "model.layers=4"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    methods = json.loads(done.stdout)["methods"]
    layer, head = 4 * 768 * 768 + 2 * 768 * 3072 + 9 * 768 + 3072, 768 * 768 + 768 + 2 * 768 + 2
    assert methods["upper_part"]["upload_bytes"] == 50 * 4 * (3 * layer + head)
    assert methods["upper_part"]["upload_bytes"] < methods["fedavg"]["upload_bytes"]
