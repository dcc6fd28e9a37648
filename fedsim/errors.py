"""The two kinds of failure that a user meets, kept apart because they end the command differently."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class FedsimError(Exception):
    """Something failed while running (exit code 1)."""


class UserError(FedsimError):
    """Something the user wrote cannot be used (exit code 2).

    The text says what to change; `file`, `line` and `key`, where known, say where.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message, self.file, self.line, self.key = message, file, line, key
        super().__init__(str(self))

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


def not_a_run(folder: Path, lacking: str, key: str | None = None) -> UserError:
    """What is said of a folder in which a run's file is missing; `key` is the option that named the folder."""
    fault = f"not a run folder: it has no {lacking}" if folder.is_dir() else "there is no such folder"
    return UserError(fault, file=folder, key=key)


class ClientError(FedsimError):
    """A client's local work failed; carries who, when and why (one message, shown once)."""

    def __init__(self, method: str, stage: int, round_: int, client: int, cause: str, limit: str = "") -> None:
        self.method, self.stage, self.round, self.client, self.cause = method, stage, round_, client, cause
        self.limit = limit
        """Which of the scenario's limits this has passed; empty: none."""
        more = f" ({limit})" if limit else ""
        super().__init__(f"client {client} failed in {method}, stage {stage}, round {round_}: {cause}{more}")

    def __reduce__(self) -> tuple[type["ClientError"], tuple[str, int, int, int, str, str]]:
        return type(self), (self.method, self.stage, self.round, self.client, self.cause, self.limit)


def choose(word: str, allowed: Iterable[str]) -> str:
    """The tail of a message about an unknown word: the nearest allowed one, and all of them."""
    names = sorted(allowed)
    near = get_close_matches(word, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"
