"""A server that speaks the OpenAI protocol on this machine, as well or as badly as it is told.

Its model is none: what it writes, and how likely it finds a token, follows from the text before by
a checksum, so that an answer can be foretold. Korean letters are three tokens each, as in a
byte-level tokenizer that has not seen them, and a text starts with a token of the server's own.

    with MisbehavingServer(fault=lambda ask: Fault(500) if ask.number % 3 == 0 else None) as server:
        evaluate(RunOptions(model=server.url, …))
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

START = "<s>"

How = Literal["answer", "drop", "half", "huge", "silent"]


@dataclass(frozen=True)
class Ask:
    """A request as it arrived, the so many-th on its path.

    Attributes:
        body: empty for a GET.
        at: when, by `time.monotonic`.
    """

    number: int
    path: str
    body: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        """What the model is shown."""
        if "messages" in self.body:
            return "\n".join(turn["content"] for turn in self.body["messages"])
        return str(self.body.get("prompt", ""))


@dataclass(frozen=True)
class Fault:
    """What is done instead of answering.

    Attributes:
        status: of HTTP.
        content: what is sent; None for the right answer.
        headers: further ones.
        wait: seconds before anything is sent.
        how: `drop` closes the connection at once, `half` in the middle of the answer, `huge` sends
            without end, `silent` sends nothing.
    """

    status: int = 200
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    how: How = "answer"


def tokens(text: str) -> list[str]:
    """A text's tokens: words with the space before them, and single bytes of anything else."""
    found = [START]
    for piece in re.findall(r" ?[A-Za-z0-9]+|.", text, flags=re.DOTALL):
        found += [piece] if piece.isascii() else ["�"] * len(piece.encode())
    return found


def logprob(before: str, token: str) -> float:
    """How likely the model finds a token behind a text."""
    return -(zlib.crc32(f"{before}|{token}".encode()) % 5000 + 1) / 1000


def scores(text: str) -> list[float]:
    """The log-probabilities of a text's tokens, from the second one on."""
    found, pieces = [], tokens(text)
    for place in range(1, len(pieces)):
        found.append(logprob("".join(pieces[:place]), pieces[place]))
    return found


def written(text: str) -> str:
    """What the model writes behind a text."""
    number = zlib.crc32(text.encode())
    return f" 생각해 보면 {number % 7} 더하기 {number % 5}이므로\n#### {number % 100}\n질문: 다음"


@dataclass
class MisbehavingServer:
    """The server; a context manager that runs it in a thread.

    Attributes:
        fault: what goes wrong with a request; None answers it.
        reply: changes a right answer before it is sent.
        models: entries of the list of models; None for a server that has no list.
        echo: whether it scores a prompt that it echoes.
        refuses: parameters that it answers with 400; `stop` stands for more than four.
        key: that it asks for.
        asks: all requests that arrived.
    """

    fault: Callable[[Ask], Fault | None] = lambda ask: None
    reply: Callable[[Ask, dict[str, Any]], dict[str, Any]] = lambda ask, reply: reply
    models: list[dict[str, Any]] | None = field(default_factory=lambda: [{"id": "small"}])
    echo: bool = True
    refuses: tuple[str, ...] = ()
    key: str | None = None
    asks: list[Ask] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def asked(self, path: str) -> list[Ask]:
        """The requests that arrived on a path."""
        return [ask for ask in self.asks if ask.path == path]

    def noted(self, path: str, body: dict[str, Any]) -> Ask:
        with self._lock:
            ask = Ask(len(self.asked(path)), path, body, time.monotonic())
            self.asks.append(ask)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        return ask

    def done(self) -> None:
        with self._lock:
            self.at_once -= 1

    def answer(self, ask: Ask, key: str | None) -> tuple[int, dict[str, Any]]:
        """Status and content of a right answer."""
        body = ask.body
        if self.key is not None and key != self.key:
            return 401, _error(f"wrong key: {key}")
        if ask.path == "/v1/models":
            if self.models is None:
                return 404, _error("there is no list")
            return 200, {"object": "list", "data": self.models}
        known = [entry["id"] for entry in self.models or [{"id": body.get("model")}]]
        if body.get("model") not in known:
            return 404, _error(f"there is no model {body.get('model')}")
        for name in self.refuses:
            if name in body and (name != "stop" or len(body["stop"]) > 4):
                return 400, _error("something is not supported")
        if ask.path == "/v1/chat/completions":
            return 200, self.reply(ask, _chat(ask, self._written(ask)))
        if ask.path == "/v1/completions":
            if body.get("echo") and not self.echo:
                return 400, _error("echo is not supported")
            return 200, self.reply(ask, _completion(ask, self._written(ask)))
        return 404, _error("there is nothing here")

    def _written(self, ask: Ask) -> str:
        """What is written, up to the first stop string that was sent."""
        text = written(ask.text)
        places = [text.find(mark) for mark in ask.body.get("stop", []) if mark in text]
        return text[: min(places)] if places else text


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "param": None, "code": None}}


def _usage(ask: Ask, text: str) -> dict[str, int]:
    read, new = len(tokens(ask.text)), len(tokens(text)) - 1
    return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new}


def _chat(ask: Ask, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "model": ask.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(ask, text),
    }


def _completion(ask: Ask, text: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "stop"}
    if ask.body.get("echo"):
        choice |= {"text": ask.text + "!", "finish_reason": "length"}
        pieces, text = [*tokens(ask.text), "!"], "!"
        offsets = [len("".join(pieces[:place])) for place in range(len(pieces))]
        choice["logprobs"] = {
            "tokens": pieces,
            "token_logprobs": [None, *scores(ask.text), -1.0],
            "text_offset": offsets,
        }
    return {"model": ask.body["model"], "choices": [choice], "usage": _usage(ask, text)}


def _handler(server: MisbehavingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet.
        wbufsize = 1 << 20

        def do_GET(self) -> None:
            self._serve({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            self._serve(json.loads(self.rfile.read(length)))

        def handle(self) -> None:
            # A client that goes away in the middle is part of what is tested.
            with contextlib.suppress(OSError):
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _serve(self, body: dict[str, Any]) -> None:
            ask = server.noted(self.path, body)
            try:
                self._do(ask)
            except OSError:
                self.close_connection = True
            finally:
                server.done()

        def _do(self, ask: Ask) -> None:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            fault = server.fault(ask) or Fault()
            if fault.wait and server.ended.wait(fault.wait):
                return
            status, right = server.answer(ask, key)
            content = json.dumps(right).encode() if fault.content is None else fault.content
            if fault.how in ("drop", "silent"):
                self.close_connection = True
                if fault.how == "silent":
                    server.ended.wait()
                return
            self.send_response(status if fault.status == 200 else fault.status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            if fault.how == "huge":
                self.end_headers()
                self.close_connection = True
                while not server.ended.is_set():
                    self.wfile.write(b" " * (1 << 16))
                    self.wfile.flush()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if fault.how == "half":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self.wfile.write(content)

    return Handler
