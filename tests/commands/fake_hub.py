"""Both hubs' download interfaces on a free port, as far as their own clients use them here."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves the files of a folder under every repository's name; there is none without the folder.

    Args:
        folder: the files.
        break_at: byte of a file's body at which its first transfer breaks off, by file name.
        spoiled: names of files whose content is not what the listing says.
    """

    def __init__(
        self,
        folder: Path,
        *,
        break_at: dict[str, int] | None = None,
        spoiled: frozenset[str] = frozenset(),
    ) -> None:
        self.folder = folder
        self.break_at = dict(break_at or {})
        self.spoiled = spoiled
        self.ranges: list[tuple[str, str]] = []
        """File and Range header of every transfer that asked for a part."""
        self.fetched: list[str] = []
        self.repositories: set[str] = set()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def names(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if not self.server.hub.folder.is_dir():
            self._json({"Code": 404, "Message": "no such repository"}, status=404)
        elif found := re.fullmatch(r"/api/v1/models/(\w+/[\w.-]+)/repo/files", url.path):
            self.server.hub.repositories.add(found[1])
            self._json({"Code": 200, "Success": True, "Data": {"Files": self._listing()}})
        elif re.fullmatch(r"/api/v1/models/(\w+/[\w.-]+)/repo", url.path):
            self._file(query["FilePath"])
        elif found := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/revision/main", url.path):
            self.server.hub.repositories.add(found[1])
            siblings = [
                {
                    "rfilename": entry["Path"],
                    "size": entry["Size"],
                    "lfs": {"size": entry["Size"], "sha256": entry["Sha256"], "pointerSize": 1},
                }
                for entry in self._listing()
            ]
            self._json({"id": found[1], "sha": COMMIT, "siblings": siblings})
        elif found := re.fullmatch(rf"/\w+/[\w.-]+/resolve/{COMMIT}/(.+)", url.path):
            self._file(found[1])
        else:
            self._json({"Code": 404, "Message": f"no {url.path}"}, status=404)

    def _listing(self) -> list[dict[str, object]]:
        return [
            {
                "Path": name,
                "Name": name.rpartition("/")[2],
                "Type": "blob",
                "Size": (self.server.hub.folder / name).stat().st_size,
                "Sha256": hashlib.sha256((self.server.hub.folder / name).read_bytes()).hexdigest(),
            }
            for name in self.server.hub.names()
        ]

    def _file(self, name: str) -> None:
        body = (self.server.hub.folder / name).read_bytes()
        digest = hashlib.sha256(body).hexdigest()
        if name in self.server.hub.spoiled:
            body = bytes(len(body))
        first = 0
        if wanted := self.headers.get("Range"):
            self.server.hub.ranges.append((name, wanted))
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
        rest = body[first:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.hub.fetched.append(name)
        if (limit := self.server.hub.break_at.pop(name, None)) is not None:
            self.wfile.write(rest[:limit])
            self.close_connection = True
            return
        self.wfile.write(rest)

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
