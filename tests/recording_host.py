"""A web server on 127.0.0.1 from which recordings can be fetched, and a server that may do so."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from server_process import ServerProcess


class RecordingHost:
    """Hands out what was put into it; `hold` lets a path wait, `asked` tells that it does."""

    def __init__(self) -> None:
        files = self._files = {}
        self.asked = threading.Event()
        self.released = threading.Event()
        asked, released = self.asked, self.released

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/held":
                    asked.set()
                    released.wait(30)
                body = files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "audio/wav")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_details: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def put(self, name: str, data: bytes) -> str:
        """The address of these bytes."""
        self._files[f"/{name}"] = data
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def enrolling_server(folder: Path, *, dictation: bool = True, **settings: str) -> ServerProcess:
    """One that clones, may fetch from 127.0.0.1, and counts words for a dictation.

    Its data lies in `folder`, so a second one there goes on with the first one's voices.
    """
    models = [{"name": "clone", "kind": "clone_model:CloneModel", "workers": 1}]
    recognizer = {"kind": "word_recognizer:WordRecognizer", "options": {"dictation": dictation}}
    settings = {
        "models": json.dumps(models),
        "recognizer": json.dumps(recognizer),
        "fetch_networks": "127.0.0.1/32",
        **settings,
    }
    return ServerProcess(folder / "log", **settings)
