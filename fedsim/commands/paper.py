"""`paper`: published figures beside ours."""

from typing import Annotated

import typer

from fedsim.commands.options import print_json
from fedsim.observe.console import console


def paper(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Leave out for all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of rows on stdout.")] = False,
) -> None:
    """Headline figures of published papers beside ours, from the accounts that price a run."""
    from fedsim.papers.base import chosen
    from fedsim.report.layout import draw
    from fedsim.report.papers import comparison, records

    papers = chosen(name)
    if as_json:
        print_json(records(papers))
        return
    for found in papers.values():
        draw(console(), comparison(found))
