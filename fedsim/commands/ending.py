"""How a run ends that does not come to its end: one message, for people or for programs, and an exit code."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from fedsim.errors import UserError
from fedsim.observe.console import console

if TYPE_CHECKING:
    from fedsim.observe.events import Events
    from fedsim.scenario.load import Loaded


class Ending:
    """Around a run. It is told what the run is as soon as that is known, for its message to say where a mistake is."""

    def __init__(self, *, as_events: bool) -> None:
        self.events = _events() if as_events else None
        self.loaded: Loaded | None = None
        self._folder: Path | None = None
        self._where: Mapping[str, Any] = {}
        self._numbered = False

    def begun(self, folder: Path, where: Mapping[str, Any], *, numbered: bool) -> None:
        """What the run is.

        Args:
            folder: the run's own.
            where: options that say where it computes.
            numbered: the folder was made for it, and goes away with a mistake.
        """
        self._folder, self._where, self._numbered = folder, where, numbered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._stopped(error)
        if isinstance(error, Exception) and not isinstance(error, typer.Exit):
            self._failed(error)

    def _stopped(self, stop: KeyboardInterrupt) -> None:
        from fedsim.interrupt import Terminated
        from fedsim.report.failure import going_on
        from fedsim.run_folder import is_run

        code = 143 if isinstance(stop, Terminated) else 130
        command = going_on(self._folder) if self._folder is not None and is_run(self._folder) else None
        if self.events is not None:
            self.events.write("stopped", exit_code=code, go_on=command)
        elif command is not None:
            hint = f"stopped; go on with: {command}"
            console(stderr=True).print(hint, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(code) from None

    def _failed(self, error: Exception) -> None:
        from fedsim.report.failure import failure, tell

        run = self._folder
        if run is not None:
            from fedsim.run_folder import is_run

            run = run if is_run(run) else None
        if isinstance(error, UserError):
            error = self._located(error)
        if self.events is None:
            code = tell(console(stderr=True), error, run)
        else:
            found = failure(error, run)
            code = found.code
            self.events.write("failed", exit_code=code, message=found.message, hints=list(found.hints))
        raise typer.Exit(code) from None

    def _located(self, error: UserError) -> UserError:
        """A mistake with the line or the option that it comes from; nothing is left of a run that it ends."""
        if self._folder is not None:
            from fedsim.request import by_option, release

            if self._numbered:
                release(self._folder)
            error = by_option(error, self._where)
        if self.loaded is not None:
            from fedsim.scenario.load import locate

            error = locate(self.loaded, error)
        return error


def _events() -> "Events":
    from fedsim.observe.events import Events

    return Events(sys.stderr)
