"""`python -m fedsim watch`: a run as a page in the browser, while it goes on or afterwards."""

from pathlib import Path
from typing import Annotated

import typer


def watch(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: any free port.")] = 8642,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen here; others can look then, if it is not 127.0.0.1.")
    ] = "127.0.0.1",
) -> None:
    """Show a run as a page in the browser: live while it goes on, or when it is over."""
    from fedsim.observe.console import console
    from fedsim.web.follow import Followed
    from fedsim.web.page import overview
    from fedsim.web.server import LOOPBACK, address, listening, serve

    followed = Followed(run)
    overview(followed)  # what cannot be read is told now, and a long run is read before anybody waits for its page
    with listening(host, port) as socket:
        out = console(stderr=True)
        lines = [f"{run}: {address(socket)} (Ctrl-C ends)"]
        if not followed.started:
            lines.append("no round is over yet: the page fills when one is")
        if host not in LOOPBACK:
            lines.append("everybody who reaches this address can see the run: it asks for no password")
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        serve(followed, socket, anyone=host not in LOOPBACK)
