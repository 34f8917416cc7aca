"""A run against a server: what is sent, what results say, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import Ask, Fault, MisbehavingServer, tokens, written
from server_runs import LIMIT, journal, options, plan_requests, run

from ko_eval.engines.model_settings import ModelSettings, Price
from ko_eval.engines.server_options import ServerOptions, check_url
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import ModelError, UsageError
from ko_eval.reports.table import cost_line
from ko_eval.runs import plan as plan_module
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.runs.result import RunResult
from ko_eval.types import GenerateRequest

pytestmark = pytest.mark.usefixtures("no_server_key")


def test_prompts_go_to_the_chat_endpoint_as_messages(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path)
    task = outcome.result.tasks[0]
    requests = plan_requests(outcome)
    sent = {ask.text: ask.body for ask in server.asked("/v1/chat/completions")[1:]}
    assert len(sent) == LIMIT
    for request in requests:
        assert isinstance(request, GenerateRequest)
        body = sent["\n".join(message.content for message in request.messages)]
        assert body["messages"][-1] == {"role": "user", "content": request.messages[-1].content}
        assert (body["model"], body["temperature"]) == ("small", 0.0)
        assert (body["max_tokens"], body["stop"]) == (request.max_tokens, list(request.stop))
        assert "seed" not in body
    assert task.chat_template
    assert task.n == sum(task.outcomes.values()) == LIMIT
    assert task.outcomes["failed"] == 0


def test_without_a_template_the_plain_prompt_is_completed(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = run(server, tmp_path, chat_template="off")
    sent = {ask.text for ask in server.asked("/v1/completions")[1:]}
    requests = plan_requests(outcome)
    assert sent == {r.prompt for r in requests if isinstance(r, GenerateRequest)}
    assert not outcome.result.tasks[0].chat_template
    assert outcome.result.conditions["endpoint"] == "completions"
    texts = {response["text"] for response in journal(outcome)}
    assert texts == {written(text).split("질문:")[0] for text in sent}


def test_the_result_says_what_is_known_of_the_model_and_what_is_not(tmp_path: Path) -> None:
    models = [{"id": "small", "max_model_len": 4096}]
    with MisbehavingServer(models=models) as server:
        outcome = run(server, tmp_path, revision="build 7")
    model = outcome.result.model
    assert (model.name, model.type, model.revision) == ("small", "unknown", "build 7")
    assert (model.sha256, model.template_sha256, model.max_length) == ("unknown", None, 4096)
    assert outcome.directory.parent == tmp_path / "small"
    assert outcome.result.conditions["engine"] == "server"
    assert outcome.result.conditions["server"] == server.url
    assert outcome.result.conditions["answered_by"] == ["small"]
    task = outcome.result.tasks[0]
    assert task.usage is None
    requests = plan_requests(outcome)
    assert task.tokens.prompt == sum(
        len(tokens("\n".join(m.content for m in r.messages)))
        for r in requests
        if isinstance(r, GenerateRequest)
    )
    stored = RunResult.model_validate_json((outcome.directory / "results.json").read_bytes())
    assert stored == outcome.result


def test_the_same_model_behind_another_port_is_the_same_run(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        first = run(server, tmp_path)
    with MisbehavingServer() as server:
        second = run(server, tmp_path)
    assert second.directory == first.directory
    assert (second.asked, second.answered_before) == (0, LIMIT)
    assert not server.asked("/v1/chat/completions")


@pytest.mark.parametrize(
    "change",
    [
        {"models": [{"id": "small", "root": "/models/other"}]},
        {"models": [{"id": "small", "meta": {"n_params": 7}}]},
        {"revision": "build 8"},
        {"asked": {"thinking_tokens": 64}},
        {"chat_template": "off"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_model_or_way_of_asking_is_another_run(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with MisbehavingServer() as server:
        first = plan_run(options(server, tmp_path)).fingerprint
    models = change.pop("models", [{"id": "small"}])
    with MisbehavingServer(models=models) as server:
        assert plan_run(options(server, tmp_path, **change)).fingerprint != first


def test_a_price_is_no_part_of_a_run_and_gives_its_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MisbehavingServer() as server:
        before = run(server, tmp_path)
        price = Price(input_per_million=2.0, output_per_million=10.0, currency="KRW")
        monkeypatch.setattr(plan_module, "settings_for", lambda model: ModelSettings(price=price))
        outcome = run(server, tmp_path)
    assert before.result.cost is None
    assert outcome.directory == before.directory
    used = outcome.result.tasks[0].tokens
    assert used.completion > 0
    assert outcome.result.cost is not None
    assert outcome.result.cost.currency == "KRW"
    amount = (used.prompt * 2 + used.completion * 10) / 1e6
    assert outcome.result.cost.amount == pytest.approx(amount, abs=1e-6)
    assert cost_line(before.result) is None
    assert (cost_line(outcome.result) or "").endswith(" KRW")


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("HTTPS://Host/v1", "https://host/v1"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1"),
    ],
)
def test_a_url_is_written_in_one_way(url: str, clean: str) -> None:
    assert check_url(url) == clean


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2hunter2@host/v1",
        "http://hunter2hunter2@host/v1",
        "http://host/v1?key=hunter2hunter2",
        "http://host/v1#hunter2hunter2",
        "http://host:hunter2hunter2/v1",
        "http:///hunter2hunter2",
        "http://[hunter2hunter2/v1",
    ],
)
def test_a_url_with_more_than_a_place_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 512},
        {"batch_rows": 2},
        {"load": LoadOptions(dtype="float32")},
        {"engine": "transformers"},
        {"likelihood": "plain"},
        {"replicas": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_options_of_a_local_model_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with MisbehavingServer() as server, pytest.raises(UsageError, match="a server answers"):
        run(server, tmp_path, **change)
    assert not server.asks


def test_options_of_a_server_are_refused_for_a_folder(tmp_path: Path) -> None:
    named = ServerOptions(model_name="x")
    for local in (
        RunOptions(model=str(tmp_path), tasks=("ko_gsm8k",), engine="server"),
        RunOptions(model=str(tmp_path), tasks=("ko_gsm8k",), server=named),
    ):
        with pytest.raises(UsageError, match="no server's URL"):
            plan_run(local)


def test_one_of_several_models_must_be_named(tmp_path: Path) -> None:
    models = [{"id": "small"}, {"id": "large"}]
    with MisbehavingServer(models=models) as server:
        with pytest.raises(UsageError, match="--model-name") as caught:
            run(server, tmp_path)
        assert "small, large" in str(caught.value)
        outcome = run(server, tmp_path, asked={"model_name": "large"})
    assert outcome.result.model.name == "large"


def test_where_there_is_no_list_of_models_the_address_may_be_wrong(tmp_path: Path) -> None:
    """As without the `/v1` that most servers want."""
    unlisted: list[dict[str, Any]] = []
    for models in (None, unlisted):
        with (
            MisbehavingServer(models=models) as server,
            pytest.raises(UsageError, match="lists no models") as caught,
        ):
            run(server, tmp_path)
        assert "is this the address of its API (often ending in /v1)?" in str(caught.value)
        assert "--model-name" in str(caught.value)


def test_a_server_without_a_list_of_models_is_believed(tmp_path: Path) -> None:
    with MisbehavingServer(models=None) as server:
        outcome = run(server, tmp_path, asked={"model_name": "hidden"})
    assert outcome.result.model.name == "hidden"


def test_an_unknown_model_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with MisbehavingServer() as server, pytest.raises(ModelError, match="no model other"):
        run(server, tmp_path, asked={"model_name": "other"})
    assert len(server.asked("/v1/chat/completions")) == 1


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "\x1b[31m"])
def test_a_name_that_cannot_be_shown_is_refused(name: str, tmp_path: Path) -> None:
    with (
        MisbehavingServer(models=[{"id": name}]) as server,
        pytest.raises(UsageError, match="name cannot be used"),
    ):
        run(server, tmp_path)


def test_nobody_there_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        gone = options(server, tmp_path)
    with pytest.raises(ModelError, match="does not answer"):
        evaluate(gone)
    assert not list(tmp_path.iterdir())


def test_a_web_page_is_no_server(tmp_path: Path) -> None:
    def page(ask: Ask) -> Any:
        return Fault(content=b"<!doctype html><title>Hello</title>")

    with MisbehavingServer(fault=page) as server, pytest.raises(ModelError, match="/v1"):
        run(server, tmp_path)


def test_a_model_without_a_chat_template_is_asked_without_one(tmp_path: Path) -> None:
    def no_template(ask: Ask) -> Fault | None:
        if not ask.path.endswith("/chat/completions"):
            return None
        return Fault(400, b'{"error": {"message": "the model has no chat template"}}')

    with MisbehavingServer(fault=no_template) as server:
        with pytest.raises(ModelError, match="--chat-template off"):
            run(server, tmp_path)
        outcome = run(server, tmp_path, chat_template="off")
    assert outcome.result.failed == 0


def test_the_client_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with MisbehavingServer() as server, pytest.raises(ModelError, match=r"ko-eval\[server\]"):
        run(server, tmp_path)
    assert not server.asks
