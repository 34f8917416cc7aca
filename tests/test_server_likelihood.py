"""Log-likelihoods from a server that echoes a prompt, and what is done without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from misbehaving_server import Ask, Fault, MisbehavingServer, scores, tokens
from server_runs import LIMIT, Reply, journal, options, plan_requests, run

from ko_eval.engines import server_engine, server_likelihood
from ko_eval.engines.server_likelihood import EchoScorer
from ko_eval.errors import TaskError, UsageError
from ko_eval.resources import shipped
from ko_eval.runs.plan import plan_run
from ko_eval.types import LoglikelihoodRequest

pytestmark = pytest.mark.usefixtures("no_server_key")


def test_likelihoods_are_the_scores_of_the_echoed_continuations(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, tasks=("ko_gpqa",))
    assert outcome.result.conditions["likelihood"] == "echo"
    assert outcome.result.tasks[0].variant is None
    wanted = []
    for request in plan_requests(outcome):
        assert isinstance(request, LoglikelihoodRequest)
        values, counts, before = [], [], 0
        for pair in request.pairs:
            context = pair.context.rstrip()
            tail = scores(pair.context + pair.continuation)[len(tokens(context)) - 1 :]
            assert tail
            values.append(sum(tail))
            counts.append(len(tail))
            before += len(tokens(context))
        wanted.append((values, counts, before))
    found = [
        (r["loglikelihoods"], r["token_counts"], r["context_tokens"])
        for r in journal(outcome, "ko_gpqa")
    ]
    assert sorted(found) == sorted(wanted)


def test_each_context_is_asked_for_once(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, tasks=("ko_gpqa",))
    sent = [ask.text for ask in server.asked("/v1/completions")]
    contexts = {
        pair.context
        for request in plan_requests(outcome)
        if isinstance(request, LoglikelihoodRequest)
        for pair in request.pairs
    }
    assert contexts
    assert [sent.count(text.rstrip()) for text in contexts] == [1] * len(contexts)


def test_a_token_that_spans_the_border_is_counted(tmp_path: Path) -> None:
    """Here a word and the letters behind it are one token, and are scored as such."""
    content = yaml.safe_load(shipped("tasks", "ko_winogrande.yaml").read_text(encoding="utf-8"))
    content |= {"name": "merging", "contexts": ["Seo", "Bus"], "continuation": "ul is"}
    content["fewshot"] = {}
    path = tmp_path / "merging.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, tasks=(str(path),))
    assert any("merging: in 2 scored texts a token spans" in w for w in outcome.result.warnings)
    assert journal(outcome, "merging")[0]["token_counts"] == [1, 1]


def without(name: str) -> Reply:
    """The scores of an echo without one of their parts."""

    def reply(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
        if ask.body.get("echo"):
            right = json.loads(json.dumps(right))
            (right if name in right else right["choices"][0])[name] = None
        return right

    return reply


def generated_only(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
    """Scores of what was written alone, as some servers give for an echo."""
    if ask.body.get("echo"):
        right["choices"][0]["logprobs"] = {"tokens": ["!"], "token_logprobs": [-1.0]}
    return right


def of_something_else(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
    if ask.body.get("echo"):
        given = right["choices"][0]["logprobs"]
        given["tokens"] = ["x" for _ in given["tokens"]]
    return right


def never_the_same(ask: Ask, right: dict[str, Any]) -> dict[str, Any]:
    if ask.body.get("echo"):
        given = right["choices"][0]["logprobs"]
        given["token_logprobs"] = [
            None if x is None else x - ask.number for x in given["token_logprobs"]
        ]
    return right


@pytest.mark.parametrize(
    "server",
    [
        MisbehavingServer(echo=False),
        MisbehavingServer(reply=without("logprobs")),
        MisbehavingServer(reply=without("usage")),
        MisbehavingServer(reply=generated_only),
        MisbehavingServer(reply=of_something_else),
        MisbehavingServer(reply=never_the_same),
    ],
    ids=["refused", "no scores", "no counts", "of the answer", "other tokens", "no prompt's"],
)
def test_a_server_that_does_not_score_prompts_is_known_by_its_echo(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    with server:
        plan = plan_run(options(server, tmp_path, tasks=("ko_gpqa",)))
    assert plan.tasks[0].variant == "generate"
    assert "asked in text instead" in plan.warnings[0]


def test_without_likelihoods_choices_are_asked_in_text_and_the_result_says_so(
    tmp_path: Path,
) -> None:
    with MisbehavingServer(echo=False) as server:
        outcome = run(server, tmp_path, tasks=("ko_gpqa", "ko_gsm8k"))
    choice, sums = outcome.result.tasks
    assert (choice.variant, sums.variant) == ("generate", None)
    assert choice.n == LIMIT
    assert choice.outcomes["failed"] == 0
    assert "(it refuses to: HTTP 400: echo is not supported)" in outcome.result.warnings[0]
    assert outcome.result.warnings[0].endswith("another measure: ko_gpqa")
    assert outcome.result.conditions["likelihood"] is None


def test_in_text_a_task_is_what_its_variant_generate_is(tmp_path: Path) -> None:
    names = ("ko_gpqa", "ko_winogrande", "kornat_social_value", "ko_harmlessness")
    with MisbehavingServer(echo=False) as server:
        falls_back = plan_run(options(server, tmp_path, tasks=names))
        asked_for = plan_run(options(server, tmp_path, tasks=names, variant="generate"))
    for one, other in zip(falls_back.tasks, asked_for.tasks, strict=True):
        assert one.prepared.definition == other.prepared.definition
        assert [r.key for r in one.encoded] == [r.key for r in other.encoded]
    assert falls_back.fingerprint == asked_for.fingerprint


def test_a_suite_keeps_what_it_changes_when_its_tasks_are_asked_in_text(tmp_path: Path) -> None:
    suite = tmp_path / "own.yaml"
    changes = {"ko_gpqa": {"title": "Mine", "max_tokens": 33}}
    content = {"name": "own", "tasks": ["ko_gpqa"], "overrides": changes}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    with MisbehavingServer(echo=False) as server:
        outcome = run(server, tmp_path, suite=str(suite), tasks=())
    assert outcome.result.tasks[0].title == "Mine"
    sent = server.asked("/v1/chat/completions")[1:]
    assert {ask.body["max_tokens"] for ask in sent} == {33}


def test_a_task_without_a_form_in_text_is_named(tmp_path: Path) -> None:
    content = yaml.safe_load(shipped("tasks", "ko_winogrande.yaml").read_text(encoding="utf-8"))
    del content["options"]
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump({**content, "name": "bare_scores"}), encoding="utf-8")
    with MisbehavingServer(echo=False) as server, pytest.raises(TaskError) as caught:
        plan_run(options(server, tmp_path, tasks=(str(path),)))
    assert "bare_scores" in str(caught.value)
    assert "echo is not supported" in str(caught.value)


def test_a_variant_that_needs_likelihoods_is_not_replaced(tmp_path: Path) -> None:
    with MisbehavingServer(echo=False) as server, pytest.raises(UsageError, match="'pmi'"):
        run(server, tmp_path, tasks=("ko_gpqa",), variant="pmi")
    assert not list(tmp_path.iterdir())


def test_a_context_that_could_not_be_scored_is_asked_for_again(tmp_path: Path) -> None:
    """Here all requests share it, so that its failure would be theirs."""
    suite = tmp_path / "shared.yaml"
    changes = {"kornat_knowledge": {"prompt": "답:"}}
    content = {"name": "shared", "tasks": ["kornat_knowledge"], "overrides": changes}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    asks: list[Ask] = []

    def fault(ask: Ask) -> Fault | None:
        if ask.text != "답:":
            return None
        asks.append(ask)
        return Fault(how="drop") if len(asks) <= 2 else None

    with MisbehavingServer(fault=fault) as server:
        asked = {"attempts": 2, "concurrency": 1}
        outcome = run(server, tmp_path, suite=str(suite), tasks=(), limit=40, asked=asked)
    assert (outcome.asked, outcome.result.failed) == (40, 0)
    # Twice in vain, once for all others, and once when the first request is asked again.
    assert len(asks) == 4


def test_few_contexts_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    class Counting(EchoScorer):
        async def response(self, request: Any) -> Any:
            found = await super().response(request)
            held.append(len(self._contexts))
            return found

    monkeypatch.setattr(server_engine, "EchoScorer", Counting)
    monkeypatch.setattr(server_likelihood, "_MOST_CONTEXTS", 5)
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, tasks=("ko_gpqa",), limit=20, asked={"concurrency": 2})
    assert outcome.result.failed == 0
    assert max(held) == 5
