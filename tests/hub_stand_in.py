"""A local stand-in for the Hugging Face hub: one dataset, the endpoints that `datasets` asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "owner/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    """Serves `files` as the dataset `REPOSITORY` at `COMMIT` on loopback; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/datasets/{REPOSITORY}/tree/"):
                folder = path.split("/tree/")[1].partition("/")[2]
                self._json([_entry(name) for name in files if name.startswith(folder)])
            elif path.startswith(f"/api/datasets/{REPOSITORY}"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "tags": []}
                self._json({**info, "private": False, "gated": False, "disabled": False})
            elif "/resolve/" in path:
                name = path.split("/resolve/")[1].partition("/")[2]
                if name in files:
                    self._send(files[name], {"ETag": f'"{_digest(name)}"', "X-Repo-Commit": COMMIT})
                else:
                    self._json({}, {"X-Error-Code": "EntryNotFound"}, 404)
            else:
                self._json({}, {"X-Error-Code": "RepoNotFound"}, 404)

        def _json(
            self, content: object, headers: dict[str, str] | None = None, status: int = 200
        ) -> None:
            self._send(json.dumps(content).encode(), headers or {}, status)

        def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _digest(name: str) -> str:
        return hashlib.sha1(files[name]).hexdigest()

    def _entry(name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(files[name]), "oid": _digest(name)}

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
