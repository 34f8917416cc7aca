"""A local stand-in for the Hugging Face hub, and a process that reads from it.

It answers what `datasets` and `huggingface_hub` ask, with the status and the headers of the real
hub. The libraries take their settings when they are imported, so reading has its own process; one
process can serve many tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"
TOKEN = "hf_standin"
EXPIRED = "hf_expired"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Repository:
    """A dataset or a model on the stand-in.

    Attributes:
        commits: the files at each commit.
        branches: the commit behind each branch.
        gated: who is without `TOKEN` sees its page, but gets none of its files.
        private: who is without `TOKEN` is told that it does not exist.
    """

    commits: Mapping[str, Files]
    branches: Mapping[str, str]
    gated: bool = False
    private: bool = False

    def commit(self, revision: str) -> str | None:
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


Hub = dict[str, Repository]


def repository(
    files: Files, commit: str = COMMIT, *, gated: bool = False, private: bool = False
) -> Repository:
    """A dataset or a model of one commit, which every branch of ours names."""
    branches = {"main": commit, "refs/convert/parquet": commit}
    return Repository({commit: files}, branches, gated, private)


def json_lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def card(configurations: Mapping[str, Mapping[str, str]]) -> bytes:
    """A dataset card that declares configurations: to each split its file."""
    configs = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for name, splits in configurations.items()
    ]
    return f"---\n{json.dumps({'configs': configs})}\n---\n".encode()


@contextmanager
def serving(hub: Mapping[str, Repository]) -> Iterator[str]:
    """Serves repositories by their ids on loopback, as they are when asked; yields the endpoint."""

    class Handler(_Handler):
        repositories = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    repositories: Mapping[str, Repository] = {}

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]
        api = parts[0] == "api"
        # A model's files have no kind in front: OWNER/NAME/resolve/…
        bare = not api and parts[0] != "datasets"
        place = [*(parts[1:] if api else ["models", *parts] if bare else parts), "", ""]
        owner, name, asked = place[1], place[2], place[3:-2]
        found = self.repositories.get(f"{owner}/{name}")
        given = self.headers.get("Authorization")
        known = given == f"Bearer {TOKEN}"
        if given == f"Bearer {EXPIRED}":
            self._error(401, None, "Invalid credentials in Authorization header")
        elif found is None or (found.private and not known):
            self._no_repository()
        elif found.gated and not known and asked[:1] not in ([], ["revision"], ["refs"]):
            self._gated(f"{owner}/{name}")
        elif not api:
            self._file(found, asked[1], "/".join(asked[2:]))
        else:
            self._answer(f"{owner}/{name}", found, asked)

    def _answer(self, name: str, found: Repository, asked: list[str]) -> None:
        what = asked[0] if asked else ""
        revision, folder = _revision(found, asked[1:])
        commit = found.commit(revision)
        if what == "refs":
            branches = [{"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": at}
                        for branch, at in found.branches.items()]  # fmt: skip
            self._json({"branches": branches, "converts": [], "tags": []})
        elif what == "auth-check":
            self._json({})
        elif commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif what == "tree":
            files = found.commits[commit]
            self._json([_entry(path, files[path]) for path in files if path.startswith(folder)])
        else:
            siblings = [{"rfilename": path} for path in found.commits[commit]]
            gated = "auto" if found.gated else False
            info = {"id": name, "sha": commit, "siblings": siblings, "tags": [], "gated": gated}
            self._json({**info, "private": found.private, "disabled": False})

    def _file(self, found: Repository, revision: str, path: str) -> None:
        commit = found.commit(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in found.commits[commit]:
            self._error(404, "EntryNotFound", "Entry not found")
        else:
            body = found.commits[commit][path]
            self._send(body, {"ETag": f'"{_digest(body)}"', "X-Repo-Commit": commit})

    def _no_repository(self) -> None:
        """Without a token the hub does not say whether a dataset is missing or private."""
        if self.headers.get("Authorization"):
            self._error(404, "RepoNotFound", "Repository not found")
        else:
            self._error(401, None, "Invalid username or password.")

    def _gated(self, name: str) -> None:
        known = bool(self.headers.get("Authorization"))
        status = 403 if known else 401
        self._error(status, "GatedRepo", f"Access to dataset {name} is restricted.")

    def _error(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(json.dumps({"error": message}).encode(), headers, status)

    def _json(self, content: object) -> None:
        self._send(json.dumps(content).encode(), {})

    def _send(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _revision(found: Repository, parts: list[str]) -> tuple[str, str]:
    """A revision and what follows it; a branch's name may hold slashes."""
    whole = "/".join(parts)
    for name in (*found.branches, *found.commits):
        if whole == name or whole.startswith(f"{name}/"):
            return name, whole[len(name) + 1 :]
    return whole or "main", ""


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}


def environment(endpoint: str, folder: Path, **more: str) -> dict[str, str]:
    """Variables of a process that knows only this hub, with caches of its own."""
    unset = {"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    own = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "home"),
        "KO_EVAL_CACHE": str(folder / "cache"),
    }
    return {**inherited, **own, **more}


class Reader:
    """A process that reads sources and tasks one after another; see `hub_reader.py`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hub_reader.py"))],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.communicate()

    def read(self, path: str, *, token: str = "", **fields: object) -> dict[str, Any]:
        """Rows of a `HubSource`: `rows`, `source`, `sha256`, `revision`, `dropped`; or `error`."""
        return self._ask({"source": {"path": path, "split": "test", **fields}, "token": token})

    def prepare(self, task: str, data: str, **options: object) -> dict[str, Any]:
        """A task over hub data: `prompts`, `samples`, `data`, `fewshot`; or `error`."""
        return self._ask({"task": task, "data": data, **options})

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "traceback" not in answer, answer["traceback"]
        return answer
