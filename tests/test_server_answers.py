"""What becomes of a server's answers: thoughts, stop strings, limits, sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from misbehaving_server import Ask, MisbehavingServer
from server_runs import LIMIT, Reply, journal, options, plan_requests, run

from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.runs import plan as plan_module
from ko_eval.runs.plan import plan_run

pytestmark = pytest.mark.usefixtures("no_server_key")


def in_turn(*messages: dict[str, Any]) -> Reply:
    """The chat answers are these, one after the other; the first request is the tiny one."""

    def reply(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
        right["choices"][0]["message"] = messages[(ask.number - 1) % len(messages)]
        return right

    return reply


def test_a_thought_is_kept_apart_wherever_it_stands(tmp_path: Path) -> None:
    thought, answer = "음 #### 9", "답은 #### 3"
    reply = in_turn(
        {"content": answer, "reasoning_content": thought},
        {"content": answer, "reasoning": thought},
        {"content": f"<think>{thought}</think>\n{answer}"},
        {"content": f"{thought}</think>\n{answer}"},
    )
    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path, asked={"thinking_tokens": 100})
    responses = journal(outcome)
    assert len(responses) == 4
    assert {(r["text"], r["thinking"]) for r in responses} == {(answer, thought)}
    assert not outcome.result.warnings


def test_line_breaks_behind_a_thought_are_no_stop_string_of_the_answer(tmp_path: Path) -> None:
    """Servers that take the thought out leave them in front of the answer."""
    suite = tmp_path / "stops.yaml"
    changes = {"ko_gsm8k": {"stop": ["\n\n"]}}
    content = {"name": "stops", "tasks": ["ko_gsm8k"], "overrides": changes}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    reply = in_turn({"content": "\n\n#### 3\n\n끝", "reasoning_content": "음"})
    with MisbehavingServer(reply=reply) as server:
        asked = {"thinking_tokens": 100}
        outcome = run(server, tmp_path, suite=str(suite), tasks=(), asked=asked)
    assert [response["text"] for response in journal(outcome)] == ["#### 3"] * LIMIT


def test_an_empty_field_for_the_thought_is_no_thought(tmp_path: Path) -> None:
    reply = in_turn(
        {"content": "3", "reasoning": ""},
        {"content": "<think>음</think>3", "reasoning_content": "", "reasoning": ""},
    )
    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path, asked={"thinking_tokens": 100}, limit=2)
    found = {(response["text"], response["thinking"]) for response in journal(outcome)}
    assert found == {("3", None), ("3", "음")}


def test_a_thought_gets_its_room_and_no_stop_strings(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, asked={"thinking_tokens": 1000})
    requests = plan_requests(outcome)
    for ask in server.asked("/v1/chat/completions")[1:]:
        assert ask.body["max_tokens"] == requests[0].max_tokens + 1000  # type: ignore[union-attr]
        assert "stop" not in ask.body
    assert all("질문:" not in response["text"] for response in journal(outcome))
    assert all(response["finish_reason"] == "stop" for response in journal(outcome))


def test_a_thought_without_room_is_warned_of(tmp_path: Path) -> None:
    with MisbehavingServer(reply=in_turn({"content": "<think>음</think>3"})) as server:
        outcome = run(server, tmp_path)
    assert any("--thinking-tokens" in text for text in outcome.result.warnings)


def test_settings_that_always_think_give_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(reasoning=Reasoning(enabled=True, max_tokens=77))
    monkeypatch.setattr(plan_module, "settings_for", lambda model: settings)
    with MisbehavingServer() as server:
        plan = plan_run(options(server, tmp_path))
    assert {r.thinking_tokens for r in plan.tasks[0].encoded} == {77}  # type: ignore[union-attr]


def test_finish_reasons_are_those_of_the_server(tmp_path: Path) -> None:
    reasons = ["stop", "eos", "length", "content_filter", None, 17]

    def reply(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
        reason = reasons[(ask.number - 1) % len(reasons)]
        right["choices"][0] |= {"finish_reason": reason, "message": {"content": str(reason)}}
        return right

    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path, limit=len(reasons))
    assert {r["text"]: r["finish_reason"] for r in journal(outcome)} == {
        "stop": "stop",
        "eos": "stop",
        "length": "length",
        "content_filter": "unknown",
        "None": "unknown",
        "17": "unknown",
    }
    warned = [w for w in outcome.result.warnings if "reason of the server's own" in w]
    assert any("'content_filter'" in text for text in warned)


def test_an_answer_without_text_is_an_empty_one(tmp_path: Path) -> None:
    reply = in_turn({"content": None}, {"content": ""}, {"content": None, "refusal": "못 한다"}, {})
    with MisbehavingServer(reply=reply) as server:
        outcome = run(server, tmp_path)
    assert sorted(response["text"] for response in journal(outcome)) == ["", "", "", "못 한다"]
    assert outcome.result.tasks[0].outcomes["failed"] == 0


@pytest.fixture
def many_stops(tmp_path: Path) -> Path:
    marks = ["하나", "둘둘", "셋셋", "넷넷", "질문:"]
    suite = tmp_path / "stops.yaml"
    content = {
        "name": "stops",
        "tasks": ["ko_gsm8k"],
        "overrides": {"ko_gsm8k": {"stop": marks}},
    }
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    return suite


def test_a_server_that_takes_four_stop_strings_gets_four(many_stops: Path, tmp_path: Path) -> None:
    with MisbehavingServer(refuses=("stop",)) as server:
        outcome = run(server, tmp_path, suite=str(many_stops), tasks=())
    sent = server.asked("/v1/chat/completions")[-LIMIT:]
    assert {len(ask.body["stop"]) for ask in sent} == {4}
    # The fifth is cut at here.
    assert all("질문:" not in response["text"] for response in journal(outcome))
    assert outcome.result.conditions["stop_strings_sent"] == 4
    assert not outcome.result.warnings


def test_a_server_with_another_name_for_the_limit_gets_it(tmp_path: Path) -> None:
    with MisbehavingServer(refuses=("max_tokens",)) as server:
        run(server, tmp_path)
    sent = server.asked("/v1/chat/completions")[-LIMIT:]
    assert all("max_completion_tokens" in ask.body and "max_tokens" not in ask.body for ask in sent)
    assert all(ask.body["temperature"] == 0 for ask in sent)


def test_a_server_without_temperature_is_warned_of(tmp_path: Path) -> None:
    with MisbehavingServer(refuses=("temperature",)) as server:
        outcome = run(server, tmp_path)
    assert outcome.result.tasks[0].outcomes["failed"] == 0
    assert any("takes no temperature" in text for text in outcome.result.warnings)
    assert outcome.result.conditions["parameters_refused"] == ["temperature"]


def test_sampling_sends_its_seed(tmp_path: Path) -> None:
    suite = tmp_path / "hot.yaml"
    changes = {"ko_gsm8k": {"temperature": 0.6, "top_p": 0.9}}
    content = {"name": "hot", "tasks": ["ko_gsm8k"], "overrides": changes}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, suite=str(suite), tasks=())
    sent = server.asked("/v1/chat/completions")[-LIMIT:]
    assert {(ask.body["temperature"], ask.body["top_p"]) for ask in sent} == {(0.6, 0.9)}
    seeds = {ask.body["seed"] for ask in sent}
    assert len(seeds) == LIMIT
    assert {response["seed"] for response in journal(outcome)} == seeds
