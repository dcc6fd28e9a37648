"""Runs a notebook's text from top to bottom and writes the notebook with its outputs.

``FEDSIM_RUN=runs/quickstart-1 python notebooks/execute.py notebooks/quickstart.py notebooks/quickstart.ipynb``
"""

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


def main(source: str, target: str) -> None:
    """Execute `source` (.py, percent format) with this Python, in the source's folder, and write `target` (.ipynb)."""
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as sockets:
        # sockets in a folder instead of ports that others on the machine could talk to
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(Path(sockets, "kernel")))
        path = str(Path(source).resolve().parent)
        client = NotebookClient(notebook, km=manager, timeout=600, resources={"metadata": {"path": path}})
        client.execute(cleanup_kc=True)
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"  # drawn at random otherwise
        cell.metadata.pop("execution", None)  # when it was run
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
