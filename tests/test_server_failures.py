"""A server that misbehaves: no sample is lost, no secret is shown, and it is not asked too much."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import server_runs
from command_server import CommandServer
from misbehaving_server import Ask, Fault, How, MisbehavingServer

from ko_eval.errors import ModelError
from ko_eval.runs.evaluate import RunOutcome

KEY = "sk-test-5f0c9a7be1d24c38"
TASKS = ("ko_gsm8k", "ko_gpqa")
LIMIT = 12
PAGE = b"<!doctype html><title>502</title><h1>Bad gateway</h1>"
DEEP = b"[" * 200_000

pytestmark = pytest.mark.usefixtures("no_server_key")


def run(server: MisbehavingServer, out: Path, **more: Any) -> RunOutcome:
    """A run of two tasks, one of each kind, with short waits."""
    asked = {"concurrency": 8, "timeout": 1.0, "backoff": 0.005, **more.pop("asked", {})}
    return server_runs.run(server, out, asked=asked, **{"limit": LIMIT, "tasks": TASKS, **more})


def responses(outcome: RunOutcome) -> dict[str, dict[str, Any]]:
    """The last response to each request, as the journals hold them."""
    found = {}
    for path in sorted((outcome.directory / "responses").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line).get("entry")
            if entry and "key" in entry:
                found[entry["key"]] = entry["response"]
    return found


def body(content: object) -> Fault:
    return Fault(content=json.dumps(content).encode())


PASSING: tuple[Fault, ...] = (
    Fault(500, b'{"error": {"message": "out of luck"}}'),
    Fault(502, PAGE),
    Fault(429, b"{}", {"Retry-After": "0.02"}),
    Fault(503, b"", {"Retry-After": "0"}),
    Fault(408, b"{}"),
    Fault(how="drop"),
    Fault(how="half"),
    Fault(content=b""),
    Fault(content=b"{not json"),
    Fault(content=PAGE),
    Fault(content=DEEP),
    Fault(content=b'"a text"'),
    Fault(content=b'{"choices": "\\ud800"}'),
    Fault(content="{}".encode("utf-16")),
    Fault(headers={"Content-Encoding": "gzip"}),
    Fault(headers={"Content-Encoding": "br"}),
    Fault(content=gzip.compress(b" " * (1 << 22)), headers={"Content-Encoding": "gzip"}),
    body({"error": {"message": "overloaded", "code": 500}}),
    body({"choices": []}),
    body({"choices": [{}]}),
    body({"choices": [{"message": {"content": "3"}, "text": "3", "finish_reason": "error"}]}),
    body({"choices": [{"message": {"content": 7}, "text": 7}]}),
    body([]),
)


def test_a_server_that_fails_at_half_of_all_requests_loses_no_sample(tmp_path: Path) -> None:
    seen: set[int] = set()

    def fault(ask: Ask) -> Fault | None:
        if ask.number < 4 or ask.number % 2:
            return None
        seen.add(ask.number // 2 % len(PASSING))
        return PASSING[ask.number // 2 % len(PASSING)]

    with MisbehavingServer() as server:
        well = run(server, tmp_path / "well")
    with MisbehavingServer(fault=fault) as server:
        asked = {"attempts": 40, "backoff": 0.001, "most_bytes": 1 << 20}
        ill = run(server, tmp_path / "ill", asked=asked)
    assert len(seen) == len(PASSING)
    assert responses(ill) == responses(well)
    for one, other in zip(ill.result.tasks, well.result.tasks, strict=True):
        assert one.outcomes == other.outcomes
        assert one.shown == other.shown


def doomed(ask: Ask) -> Fault | None:
    """The same requests fail at every attempt, each in its way."""
    if not ask.body or ask.number < 4 or ask.body.get("max_tokens", 0) <= 16:
        return None
    return {
        0: Fault(500, b'{"error": {"message": "broken"}}'),
        1: Fault(400, b'{"error": {"message": "too long"}}'),
        2: Fault(content=b"{"),
        3: Fault(403, b'{"detail": "not this one"}'),
        4: Fault(how="drop"),
        5: Fault(307, b"", {"Location": "/v1/elsewhere"}),
    }.get(zlib.crc32(ask.text.encode()) % 12)


def test_what_cannot_be_answered_is_counted_with_its_reason_and_asked_again_next_time(
    tmp_path: Path,
) -> None:
    with MisbehavingServer() as server:
        well = responses(run(server, tmp_path / "well", tasks=("ko_gsm8k",), limit=30))
    with MisbehavingServer(fault=doomed) as server:
        ill = run(server, tmp_path / "ill", tasks=("ko_gsm8k",), limit=30, asked={"attempts": 2})
        sent = [ask for ask in server.asks if doomed(ask) is not None]
        refused = [ask.text for ask in sent if getattr(doomed(ask), "status", 0) in (400, 403, 307)]
    task = ill.result.tasks[0]
    found = responses(ill)
    failed = {key: response for key, response in found.items() if "reason" in response}
    assert len(found) == len(well) == 30
    assert task.outcomes["failed"] == len(failed) == ill.result.failed >= 8
    assert sum(task.outcomes.values()) == 30
    assert {key: r for key, r in found.items() if key not in failed} == {
        key: r for key, r in well.items() if key not in failed
    }
    reasons = {response["reason"] for response in failed.values()}
    for said in ("HTTP 500: broken", "HTTP 400: too long", "HTTP 403: not this one", "malformed"):
        assert any(said in reason for reason in reasons), (said, reasons)
    # What a server refuses is not sent again, however often it is asked for.
    assert refused
    assert len(refused) == len(set(refused))
    with MisbehavingServer() as server:
        again = run(server, tmp_path / "ill", tasks=("ko_gsm8k",), limit=30)
    assert again.asked == len(failed)
    assert responses(again) == well


@pytest.mark.parametrize("how", ["silent", "huge"])
def test_an_answer_without_end_is_given_up(how: How, tmp_path: Path) -> None:
    def fault(ask: Ask) -> Fault | None:
        return Fault(how=how) if ask.path.endswith("completions") and ask.number == 2 else None

    began = time.monotonic()
    with MisbehavingServer(fault=fault) as server:
        outcome = run(
            server,
            tmp_path,
            tasks=("ko_gsm8k",),
            asked={"timeout": 0.3, "most_bytes": 1 << 20},
        )
    assert outcome.result.failed == 0
    assert time.monotonic() - began < 10


def test_a_packed_answer_is_read(tmp_path: Path) -> None:
    answer = {"choices": [{"message": {"content": "3"}, "finish_reason": "stop"}]}
    packed = gzip.compress(json.dumps(answer).encode())

    def fault(ask: Ask) -> Fault | None:
        return Fault(content=packed, headers={"Content-Encoding": "gzip"}) if ask.body else None

    with MisbehavingServer(fault=fault) as server:
        outcome = run(server, tmp_path, tasks=("ko_gsm8k",), limit=2)
    assert [response["text"] for response in responses(outcome).values()] == ["3", "3"]


def test_usage_that_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    usages: list[Any] = [None, {"prompt_tokens": -1}, {"prompt_tokens": "many"}, 7]

    def reply(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
        return {**right, "usage": usages[ask.number % 4]}

    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path, tasks=("ko_gsm8k",), limit=4)
    assert outcome.result.failed == 0
    assert outcome.result.tasks[0].tokens.prompt == 0
    assert any("4 answers came without token counts" in w for w in outcome.result.warnings)


def test_another_model_that_answers_is_named(tmp_path: Path) -> None:
    def reply(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
        return {**right, "model": "cheap\x1b[31m"}

    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path, tasks=("ko_gsm8k",), limit=2)
    assert "answers came from 'cheap[31m', not 'small'" in outcome.result.warnings


def test_a_server_that_is_gone_ends_the_run_and_it_goes_on_later(tmp_path: Path) -> None:
    def fault(ask: Ask) -> Fault | None:
        gone = ask.path.endswith("/completions") and ask.number >= 10
        return Fault(how="drop") if gone else None

    with (
        MisbehavingServer(fault=fault) as server,
        pytest.raises(ModelError, match="answers nothing any more"),
    ):
        run(server, tmp_path, tasks=("ko_gsm8k",), limit=40, asked={"attempts": 2})
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, tasks=("ko_gsm8k",), limit=40)
    assert outcome.answered_before == 9
    assert outcome.result.failed == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(401, b'{"error": {"message": "no such key"}}'), "refuses the key"),
        (Fault(402, b"{}"), "account"),
        (Fault(429, b'{"error": {"code": "insufficient_quota"}}'), "account"),
        (Fault(403, b"{}"), "refuses the first request"),
        (Fault(404, b"{}"), "refuses the first request"),
        (Fault(307, b"", {"Location": "http://127.0.0.1:9/v1/models"}), "HTTP 307"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else "",
)
def test_a_refusal_of_the_first_request_ends_it_at_once(
    fault: Fault, said: str, tmp_path: Path
) -> None:
    def first(ask: Ask) -> Fault | None:
        return fault if ask.path.endswith("/completions") else None

    with MisbehavingServer(fault=first) as server, pytest.raises(ModelError, match=said):
        run(server, tmp_path, tasks=("ko_gsm8k",), limit=2)
    assert len(server.asked("/v1/chat/completions")) <= 2


def leaky(ask: Ask) -> Fault | None:
    """Repeats the key in whatever it says."""
    if ask.number == 4:
        return Fault(400, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
    if ask.number == 5:
        return Fault(500, f"key {KEY}".encode())
    return None


def leak(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
    if "choices" in right and "message" in right["choices"][0]:
        right["choices"][0]["message"] |= {"content": f"3 {KEY}", "reasoning": f"음 {KEY}"}
        right["choices"][0]["finish_reason"] = KEY
    return {**right, "model": f"small {KEY}", "system_fingerprint": KEY}


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, command_server: CommandServer) -> None:
    with MisbehavingServer(key=KEY, fault=leaky, reply=leak) as server:
        arguments = ["run", server.url, "--tasks", "ko_gsm8k", "--limit", "8", "--debug"]
        arguments += ["--model-name", "small", "--thinking-tokens", "9", "--request-timeout", "5"]
        start = partial(
            command_server.start,
            arguments,
            tmp_path,
            KO_EVAL_CACHE=str(tmp_path / "cache"),
            OPENAI_LOG="debug",
        )
        refused = start(KO_EVAL_API_KEY=f"{KEY}x").completed()
        done = start(KO_EVAL_API_KEY=KEY).completed()
    assert refused.returncode == 2, refused.stderr
    assert "refuses the key" in refused.stderr
    assert done.returncode == 1, done.stderr
    limits = {ask.body["max_tokens"] for ask in server.asks if ask.body}
    assert limits == {16, 512 + 9}
    assert "1 samples failed" in done.stderr
    for shown in (refused.stdout, refused.stderr, done.stdout, done.stderr):
        assert KEY not in shown
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "results.json" for path in files)
    assert any(b"[key]" in path.read_bytes() for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_key_that_is_none_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KO_EVAL_API_KEY", "열쇠hunter2hunter2")
    with MisbehavingServer() as server, pytest.raises(ModelError, match="no key has") as caught:
        run(server, tmp_path)
    assert "hunter2" not in str(caught.value)
    assert not server.asks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_a_signal_ends_the_wait_for_the_first_answer(
    path: str, number: int, tmp_path: Path, command_server: CommandServer
) -> None:
    def silent(ask: Ask) -> Fault | None:
        return Fault(how="silent") if ask.path == path else None

    with MisbehavingServer(fault=silent) as server:
        arguments = ["run", server.url, "--tasks", "ko_gsm8k", "--limit", "1"]
        running = command_server.start(arguments, tmp_path, KO_EVAL_CACHE=str(tmp_path / "cache"))
        while not server.asked(path):
            time.sleep(0.01)
        signalled = time.monotonic()
        os.kill(running.process, number)
        done = running.completed()
    assert done.returncode == 128 + number, done.stderr
    assert time.monotonic() - signalled < 5


def test_a_stop_begins_nothing_new_and_keeps_what_is_in_flight(
    tmp_path: Path, command_server: CommandServer
) -> None:
    def slow(ask: Ask) -> Fault | None:
        late = ask.path.endswith("/completions") and ask.number > 0
        return Fault(wait=0.15 if ask.number < 12 else 0.8) if late else None

    with MisbehavingServer(fault=slow) as server:
        arguments = ["run", server.url, "--tasks", "ko_gsm8k", "--concurrency", "4"]
        running = command_server.start(arguments, tmp_path, KO_EVAL_CACHE=str(tmp_path / "cache"))
        while len(server.asked("/v1/chat/completions")) < 14:
            time.sleep(0.01)
        signalled = time.monotonic()
        os.kill(running.process, signal.SIGTERM)
        done = running.completed()
        took = time.monotonic() - signalled
        sent = server.asked("/v1/chat/completions")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "to go on:" in done.stderr
    assert took < 5
    assert all(ask.at < signalled + 0.2 for ask in sent)
    journals = list((tmp_path / "results").rglob("responses/ko_gsm8k.jsonl"))
    kept = sum('"key"' in line for line in journals[0].read_text(encoding="utf-8").splitlines())
    assert kept == len(sent) - 1 >= 13
