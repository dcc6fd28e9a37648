"""What commands have in common."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fedsim.errors import UserError

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. phases.finetune.rounds=3; repeatable."),
]


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Refuse options that were given and have no use.

    Raises:
        UserError: one was given.
    """
    for name, value in options.items():
        if value:
            raise UserError(reason, key=name)


def print_json(value: Any, indent: int | None = None) -> None:
    """A value as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
    sys.stdout.flush()
