"""The server of the application: uvicorn on a socket, with a time limit for the head of a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from scmrl_plugins.registry import UserError

CONNECTIONS = 512
"""Connections at once at most; further ones are answered with 503."""


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is any free one. ``UserError`` where that is not possible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host}: {error.strerror or error}; use an address of this machine") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(CONNECTIONS)
    except OSError as error:
        listening.close()
        raise UserError(
            f"{host}:{port} cannot be listened at ({error.strerror or error}); choose another --port or --host"
        ) from None
    return listening


def server(app: Any, seconds: float) -> uvicorn.Server:
    """A server that closes connections whose request has not begun after ``seconds``."""

    class Timed(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._waiting = self.loop.call_later(seconds, self._close_idle)

        def _close_idle(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._waiting.cancel()
            super().connection_lost(exc)

    config = uvicorn.Config(
        app,
        http=Timed,
        ws="none",
        log_level="critical",  # a failed request is a line that the application prints, not a traceback
        access_log=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        limit_concurrency=CONNECTIONS,
        server_header=False,
    )
    return uvicorn.Server(config)


def serve(app: Any, listening: socket.socket, seconds: float, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. ``ready`` is called with the address."""
    host, port = listening.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with contextlib.suppress(KeyboardInterrupt):
        server(app, seconds).run(sockets=[listening])
