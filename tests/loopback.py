"""HTTP servers in the test's process, on loopback: each does one wrong thing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], Any]


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Takes a request and never answers it, until the server is closed."""
    handler.server.closing.wait()  # type: ignore[attr-defined]
    handler.close_connection = True


def fails(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(500)


def dies(handler: BaseHTTPRequestHandler) -> None:
    """Begins an answer and ends the connection in the middle of it."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"experi')
    handler.close_connection = True


@contextlib.contextmanager
def loopback(does: Behaviour) -> Iterator[str]:
    """A server that does this with every request; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            does(self)

        do_POST = do_GET  # noqa: N815  # the names that http.server looks for
        do_PATCH = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.closing = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.closing.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()
        server.server_close()
