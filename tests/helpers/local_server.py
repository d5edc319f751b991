"""An HTTP server on this machine, in a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import TypeVar

Server = TypeVar("Server", bound="LocalServer")


class LocalServer(ThreadingHTTPServer):
    """At a free port; ``asked`` is every request, as ``METHOD path``."""

    daemon_threads = True

    def __init__(self, handler: type) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.asked = list[str]()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, up as long as the block runs."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
