"""How fast and how often a server is asked: as it wants, and neither for ever nor in vain."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from misbehaving_server import Ask, Fault, MisbehavingServer
from server_runs import run

from ko_eval.engines import server_survey
from ko_eval.engines.server_client import retry_after
from ko_eval.engines.server_pace import Pace
from ko_eval.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_server_key")


def test_a_server_that_wants_fewer_requests_gets_fewer_and_then_more_again(
    tmp_path: Path,
) -> None:
    """It refuses what comes while more than three are being answered."""
    working = [0]
    refusals = [0]

    def fault(ask: Ask) -> Fault | None:
        if not ask.path.endswith("/completions"):
            return None
        if server.at_once > 3:
            refusals[0] += 1
            return Fault(429, b"{}", {"Retry-After": "0.05"})
        working[0] += 1
        return Fault(wait=0.02)

    with MisbehavingServer(fault=fault) as server:
        outcome = run(server, tmp_path, tasks=("ko_gsm8k",), limit=40, asked={"concurrency": 16})
    assert outcome.result.failed == 0
    assert server.most_at_once > 3
    assert refusals[0] >= 4
    # Halved twice it fits; without that every round of 16 would be refused in large part.
    assert refusals[0] < 40
    assert working[0] == 41


def test_a_refusal_halves_the_pace_once_and_answers_raise_it_again() -> None:
    async def work() -> list[int]:
        pace = Pace(8)
        limits = []
        began = time.monotonic()
        for _ in range(8):  # all of them were in flight together
            pace.refused(began, 0.0)
        limits.append(pace.limit)
        pace.refused(time.monotonic(), 0.0)
        limits.append(pace.limit)
        for _ in range(100):
            pace.answered()
            limits.append(pace.limit)
        return limits

    limits = asyncio.run(work())
    assert limits[:2] == [4, 2]
    # Two answers raise it to three, three more to four, and so on, up to what the user allows.
    assert [limits.index(limit, 1) for limit in (3, 4, 5)] == [3, 6, 10]
    assert limits[-1] == 8


def test_nothing_is_sent_before_the_server_wants_it(tmp_path: Path) -> None:
    refused_at: list[float] = []

    def fault(ask: Ask) -> Fault | None:
        if ask.path.endswith("/completions") and ask.number == 3:
            refused_at.append(time.monotonic())
            return Fault(429, b"{}", {"Retry-After": "0.6"})
        return None

    with MisbehavingServer(fault=fault) as server:
        run(server, tmp_path, tasks=("ko_gsm8k",), limit=8, asked={"concurrency": 1})
    later = [ask.at for ask in server.asks if ask.at > refused_at[0]]
    assert len(later) == 6
    assert min(later) >= refused_at[0] + 0.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 99999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}) == seconds


@pytest.mark.parametrize("path", ["/v1/models", "/v1/completions", "/v1/chat/completions"])
def test_a_server_that_is_busy_from_the_first_request_on_is_not_waited_for_long(
    path: str, tmp_path: Path
) -> None:
    """As some are while they load their model, or for good behind a proxy."""
    loading = Fault(503, b'{"error": {"message": "Loading model"}}')
    with (
        MisbehavingServer(fault=lambda ask: loading if ask.path == path else None) as server,
        pytest.raises(ModelError, match="Loading model") as caught,
    ):
        run(server, tmp_path, tasks=("ko_gsm8k", "ko_gpqa"))
    assert "later" in str(caught.value)
    assert 3 <= len(server.asked(path)) < 10


def test_a_server_that_never_lists_its_models_is_given_up_before_its_time_for_answers_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_survey, "_LIST_SECONDS", 0.1)
    with (
        MisbehavingServer(fault=lambda ask: Fault(how="silent")) as server,
        pytest.raises(ModelError, match=r"no answer within 0\.1 s"),
    ):
        run(server, tmp_path, asked={"timeout": 60.0})
    assert len(server.asked("/v1/models")) == 3


def test_a_server_that_wants_to_be_left_alone_for_long_ends_the_run_at_once(tmp_path: Path) -> None:
    """As for an account whose requests of the day are used up."""
    later = Fault(429, b'{"error": {"message": "daily limit"}}', {"Retry-After": "3600"})

    def fault(ask: Ask) -> Fault | None:
        return later if ask.path.endswith("/completions") and ask.number >= 12 else None

    began = time.monotonic()
    with (
        MisbehavingServer(fault=fault) as server,
        pytest.raises(ModelError, match=r"daily limit \(to be left alone for 3,600 s\)"),
    ):
        run(server, tmp_path, limit=20, asked={"concurrency": 2})
    assert time.monotonic() - began < 10
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, limit=20)
    assert outcome.answered_before >= 1
    assert outcome.result.failed == 0


def test_a_failing_server_says_when_to_come_back(tmp_path: Path) -> None:
    def fault(ask: Ask) -> Fault | None:
        once = ask.path.endswith("/completions") and ask.number == 3
        return Fault(502, b"{}", {"Retry-After": "0.5"}) if once else None

    with MisbehavingServer(fault=fault) as server:
        run(server, tmp_path, tasks=("ko_gsm8k",), limit=8, asked={"concurrency": 1})
    sent = server.asked("/v1/chat/completions")
    again = [ask for ask in sent[4:] if ask.text == sent[3].text]
    assert again[0].at >= sent[3].at + 0.5
