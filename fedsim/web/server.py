"""Serves the page of a run's folder, and tells it what is new."""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedsim.errors import FedsimError, UserError
from fedsim.web import page, trips
from fedsim.web.fleet import FleetView
from fedsim.web.follow import Followed
from fedsim.web.numbers import encoded

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KINDS = {".js": "text/javascript", ".css": "text/css"}
_STATIC = {"page.js": "static/page.js", "page.css": "static/page.css", "echarts.min.js": "echarts/echarts.min.js"}
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
"""Nothing is asked for elsewhere; the charts' tooltips have styles of their own."""


def application(run: Followed, *, anyone: bool = False) -> Starlette:
    """The page of one run, and the data behind it.

    Args:
        run: to be followed.
        anyone: answer under whatever name this machine is asked for; else only under those of the machine itself, so
            that no page of somebody else's can ask.
    """
    fleet, lock = FleetView(run), Lock()  # requests come in threads, and what was read is kept

    def answer(request: Request, make: Callable[[], Any]) -> Response:
        with lock:
            tag = f'"{run.version()}"'
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={"etag": tag})
            try:
                content, status = make(), 200
            except FedsimError as error:
                content, status = {"error": str(error)}, 404
        headers = {"etag": tag, "cache-control": "no-cache"}
        return Response(encoded(content), status, headers, media_type="application/json")

    def index(_: Request) -> Response:
        with lock:
            try:
                text = page.html({"live": True, "runs": [page.overview(run)], "about": [page.about(run)]})
            except FedsimError as error:
                return Response(str(error), 500, media_type="text/plain")
        return Response(
            text, headers={"cache-control": "no-store", "content-security-policy": _POLICY}, media_type="text/html"
        )

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return Response("there is no such file", 404, media_type="text/plain")
        return Response(page.static(_STATIC[name]), media_type=_KINDS[f".{name.rpartition('.')[2]}"])

    def data(request: Request) -> Response:
        return answer(request, lambda: page.overview(run))

    def of_round(request: Request) -> Response:
        method, round_ = request.path_params["method"], request.path_params["round"]
        return answer(request, lambda: trips.of_round(run, _known(run, method), round_))

    def of_fleet(request: Request) -> Response:
        return answer(request, lambda: fleet.of(_known(run, request.path_params["method"])))

    routes = [
        Route("/", index),
        Route("/static/{name}", static),
        Route("/data/run", data),
        Route("/data/round/{method}/{round:int}", of_round),
        Route("/data/fleet/{method}", of_fleet),
    ]
    hosts = ["*"] if anyone else ["127.0.0.1", "localhost", "[::1]"]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)])


def _known(run: Followed, method: str) -> str:
    if method not in run.methods:
        raise FedsimError(f"no method '{method}' in this run: {', '.join(run.methods)}")
    return method


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: somebody else listens there, or this machine has no such address.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(where)
            made.listen(64)
        except BaseException:
            made.close()
            raise
    except socket.gaierror as error:
        raise UserError(f"is {host}, which is no address of this machine: {error.strerror}", key="--host") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"is {port}, which another program uses: choose another one, or 0", key="--port") from error
        key, value = ("--port", str(port)) if error.errno == errno.EACCES else ("--host", host)
        raise UserError(f"is {value}, where nothing can listen: {error.strerror}", key=key) from error
    return made


def address(listener: socket.socket) -> str:
    """What to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(run: Followed, listener: socket.socket, *, anyone: bool = False) -> None:
    """Answer until Ctrl-C."""
    config = uvicorn.Config(application(run, anyone=anyone), log_level="warning", lifespan="off", ws="none")
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
