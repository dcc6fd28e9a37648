"""The real command, run in this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsim import cli
from fedsim.observe.lines import Lines
from fedsim.observe.observer import RoundReport
from tests.runs import write_texts

SCENARIO = """\
name: mine
seed: 3
data:
  corpus: {kind: files, train: [train.jsonl], test: [test.jsonl], client: client, labels: [topic]}
  tokenizer: {vocabulary: 300}
  partition: {kind: natural}
  max_tokens: 24
  central_fraction: 0.2
model: {hidden: 16, layers: 4, heads: 2, feed_forward: 32, max_positions: 24}
fleet: {clients: 8}
phases:
  pretrain: {steps: 3}
  further_pretrain:
    rounds: 3
    participation: {clients_per_round: 4, over_selection: 1.25}
  finetune:
    rounds: 2
    participation: {clients_per_round: 5}
    task: {label: topic}
methods:
  fedavg:
  fedbt:
engine: {kind: inline}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A folder to work in, with a scenario `mine.yaml` and its data."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def write(self, *changes: tuple[str, str], name: str = "mine.yaml", text: str = SCENARIO) -> Path:
        """The scenario with pieces replaced, each of which must be there once."""
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def run(self, *arguments: str | Path) -> Ended:
        """`python -m fedsim` with these arguments."""
        self.patch.setattr(sys, "argv", ["fedsim", *map(str, arguments)])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self.capture.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The same in a process of its own, which leads a group of processes."""
        return subprocess.Popen(
            [sys.executable, "-m", "fedsim", *arguments],
            cwd=self.folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def content(self) -> Mapping[str, bytes]:
        """Every file and folder here."""
        paths = sorted(self.folder.rglob("*"))
        return {str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


def desk(folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> Desk:
    """A desk in an empty folder, which becomes the current one."""
    patch.chdir(folder)
    patch.setenv("COLUMNS", "160")
    patch.delenv("FEDSIM_DEBUG", raising=False)
    write_texts(folder)
    made = Desk(folder, capture, patch)
    made.write()
    return made


def interrupt(work: Desk, number: int, after_round: int) -> None:
    """Send this process a signal when a round is over, once."""
    sent: list[int] = []
    real = Lines.round

    def round_(self: Lines, report: RoundReport) -> None:
        real(self, report)
        if report.round == after_round and not sent:
            sent.append(number)
            signal.raise_signal(number)

    work.patch.setattr(Lines, "round", round_)
