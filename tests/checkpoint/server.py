"""A web server on the loopback for downloads: ranges, redirects, cut connections, errors."""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any


class Files:
    """What is served, and how: ``cut`` breaks off that many answers after so many bytes; ``log`` keeps the requests."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.ranges = True
        self.lengths = True
        self.pause = 0.0  # seconds between blocks
        self.block = 1 << 16
        self.log: list[tuple[str, str | None]] = []
        self.address = ""

    def url(self, name: str) -> str:
        """Where a file is."""
        return f"{self.address}/{name}"


def handler(files: Files) -> type[BaseHTTPRequestHandler]:
    """The server's answers."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Stay silent."""

        def do_GET(self) -> None:
            name = self.path.lstrip("/").split("?")[0]
            files.log.append((name, self.headers.get("Range")))
            if name in files.redirects:
                self.send_response(302)
                self.send_header("Location", files.redirects[name])
                self.end_headers()
                return
            if name not in files.content:
                self.send_error(404)
                return
            data = files.content[name]
            start = self._head(data)
            limit = files.cuts.pop(0) if files.cuts else len(data)
            self._send(data[start : start + limit])

        def _head(self, data: bytes) -> int:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(asked[1]) if asked and files.ranges else 0
            if asked and files.ranges and start >= len(data):
                self.send_error(416)
                return len(data)
            self.send_response(206 if asked and files.ranges else 200)
            if asked and files.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if files.lengths:
                self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", f'"{hash(data)}"')
            self.end_headers()
            return start

        def _send(self, data: bytes) -> None:
            with contextlib.suppress(ConnectionError):  # the client may be killed
                for first in range(0, len(data), files.block):
                    self.wfile.write(data[first : first + files.block])
                    if files.pause:
                        time.sleep(files.pause)

    return Handler


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def serving() -> Iterator[Files]:
    """Serve files until the block ends."""
    files = Files()
    with _Server(("127.0.0.1", 0), handler(files)) as server:
        files.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
