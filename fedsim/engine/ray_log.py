"""What Ray's processes have written, kept with the run: Ray's own folder for it is a temporary one."""

from pathlib import Path

RAY_LOG = "ray.log"
"""In the run's folder, where there is something to keep."""
MOST_BYTES = 1_000_000
"""Of each process, from the end."""
_OURS = ("worker-*.err", "worker-*.out", "raylet.err", "gcs_server.err")
_MARKS = (b":job_id:", b":actor_name:", b":task_name:")
"""Lines by which Ray says whose output it is."""


def gather(folder: Path, log: Path) -> None:
    """Append to `log` what the processes of a session have written into files in `folder`, if they have."""
    for file in sorted(path for pattern in _OURS for path in folder.glob(pattern)):
        lines = file.read_bytes()[-MOST_BYTES:].splitlines(keepends=True)
        said = b"".join(line for line in lines if not line.startswith(_MARKS))
        if said.strip():
            with log.open("ab") as kept:
                kept.write(b"==> %s <==\n%s\n" % (file.name.encode(), said.rstrip(b"\n")))
