import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
from pathlib import Path
from fedsim.observe.native import Folded
os.write(2, b"before\\n")
with Folded() as folded:
    print("told", file=sys.stderr)
    os.write(2, b"not yet\\n")
    folded.into(Path(sys.argv[1]))
    os.write(2, bytes(sys.argv[2], "ascii"))
    print("told again", file=sys.stderr)
os.write(2, b"after\\n")
print("as ever", file=sys.stderr)
"""


def run(file: Path, native: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(file), native], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_python_is_heard_and_native_code_is_written_down(tmp_path: Path) -> None:
    file = tmp_path / "ray.log"
    file.write_text("from an earlier session\n")
    assert run(file, "core_worker.cc: lost\n") == ["before", "told", "not yet", "told again", "after", "as ever"]
    assert file.read_text() == "from an earlier session\ncore_worker.cc: lost\n"


def test_where_nothing_was_written_no_file_is_left(tmp_path: Path) -> None:
    run(tmp_path / "ray.log", "")
    assert list(tmp_path.iterdir()) == []
