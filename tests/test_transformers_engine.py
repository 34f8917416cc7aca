"""The transformers engine against the plainest possible computation with the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ko_eval.engines.base import Answer, EncodedGenerate, EncodedLoglikelihood
from ko_eval.engines.batching import batches, halving
from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.engines.thinking import cut_at_stop, split_thinking
from ko_eval.engines.transformers_engine import TransformersEngine
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.types import (
    ContextContinuation,
    FailedResponse,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
)

CONTEXTS = ("질문: 물은 몇 도에서 끓는가?\n답:", "짧다", "아주 긴 문맥이 여기에 있다. " * 12)
CONTINUATIONS = (" 백 도이다.", " 네", " 잘 모르겠지만 아마 구십 도쯤일 것이다.")


@pytest.fixture(scope="module")
def engine(tiny: Path) -> TransformersEngine:
    return make_engine(tiny)


def make_engine(
    model: Path, settings: ModelSettings | None = None, **options: Any
) -> TransformersEngine:
    folder = resolve_model(str(model))
    own = ("batch_tokens", "batch_rows", "likelihood")
    of_engine = {name: options.pop(name) for name in own if name in options}
    load = LoadOptions(dtype="float32", device="cpu", **options)
    return TransformersEngine.load(
        folder, load_tokenizer(folder), settings or ModelSettings(), load, **of_engine
    )


def encoded(
    engine: TransformersEngine, *requests: LoglikelihoodRequest | GenerateRequest
) -> list[Any]:
    return Encoder(engine.tokenizer, engine.settings, max_length=512).encode(requests)


def scored(context: str, continuations: Sequence[str] = CONTINUATIONS) -> LoglikelihoodRequest:
    pairs = tuple(ContextContinuation(context, text) for text in continuations)
    return LoglikelihoodRequest("t", context[:20], pairs)


def asked(prompt: str, **more: Any) -> GenerateRequest:
    fields: dict[str, Any] = {"stop": (), "max_tokens": 24, **more}
    return GenerateRequest("t", prompt[:20], prompt, (Message("user", prompt),), **fields)


def plain_sum(engine: TransformersEngine, context: Sequence[int], after: Sequence[int]) -> float:
    """One row, all logits, log-softmax over everything."""
    ids = torch.tensor([[*context, *after]])
    with torch.inference_mode():
        logs = torch.log_softmax(engine.model(ids).logits.double(), dim=-1)[0]
    return sum(float(logs[len(context) - 1 + step, token]) for step, token in enumerate(after))


def texts(answers: Sequence[Answer]) -> dict[str, GenerateResponse]:
    found = {}
    for answer in answers:
        assert isinstance(answer.response, GenerateResponse)
        found[answer.key] = answer.response
    return found


# --- log-likelihoods -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_sums_equal_the_plain_computation_in_any_batch(tiny: Path, batch_tokens: int) -> None:
    engine = make_engine(tiny, batch_tokens=batch_tokens)
    requests: list[EncodedLoglikelihood] = encoded(engine, *(scored(c) for c in CONTEXTS))
    answers = {a.key: a.response for a in engine.loglikelihood(requests)}
    assert len(answers) == len(CONTEXTS)
    for request in requests:
        response = answers[request.key]
        assert isinstance(response, LoglikelihoodResponse)
        for pair, value in zip(request.pairs, response.loglikelihoods, strict=True):
            expected = plain_sum(engine, pair.context, pair.continuation)
            assert value == pytest.approx(expected, abs=1e-4)


def test_token_counts_are_reported(engine: TransformersEngine) -> None:
    request: EncodedLoglikelihood = encoded(engine, scored(CONTEXTS[0]))[0]
    response = next(engine.loglikelihood([request])).response
    assert isinstance(response, LoglikelihoodResponse)
    assert response.token_counts == tuple(len(p.continuation) for p in request.pairs)
    assert response.context_tokens == sum(len(p.context) for p in request.pairs)


def test_only_needed_logits_are_computed_on_the_plain_path(tiny: Path) -> None:
    engine = make_engine(tiny, likelihood="plain")
    seen: list[int] = []
    hook = engine.model.lm_head.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[1])
    )
    request = scored(CONTEXTS[2], (" 네", " 예"))
    list(engine.loglikelihood(encoded(engine, request)))
    hook.remove()
    longest = max(len(p.continuation) for p in encoded(engine, request)[0].pairs)
    assert seen == [longest]


def test_out_of_memory_halves_the_batch_and_loses_nothing(tiny: Path) -> None:
    engine = make_engine(tiny, batch_tokens=4096, likelihood="plain")
    sizes: list[int] = []

    def refuse(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        sizes.append(keywords["input_ids"].shape[0])
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    requests: list[EncodedLoglikelihood] = encoded(engine, *(scored(c) for c in CONTEXTS[:2]))
    expected = {a.key: a.response for a in engine.loglikelihood(requests)}
    hook = engine.model.register_forward_pre_hook(refuse, with_kwargs=True)
    found = {a.key: a.response for a in engine.loglikelihood(requests)}
    hook.remove()
    assert max(sizes) > 2
    for key, response in expected.items():
        again = found[key]
        assert isinstance(response, LoglikelihoodResponse)
        assert isinstance(again, LoglikelihoodResponse)
        assert again.loglikelihoods == pytest.approx(response.loglikelihoods, abs=1e-4)


def test_a_request_that_never_fits_is_failed_with_its_reason(tiny: Path) -> None:
    engine = make_engine(tiny)

    def refuse(module: object, arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        if keywords["input_ids"].shape[1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = engine.model.register_forward_pre_hook(refuse, with_kwargs=True)
    short, long = encoded(engine, scored(CONTEXTS[1]), scored(CONTEXTS[2]))
    found = {a.key: a.response for a in engine.loglikelihood([short, long])}
    hook.remove()
    assert isinstance(found[short.key], LoglikelihoodResponse)
    assert found[long.key] == FailedResponse("out of memory, even alone in a batch")


# --- generation ------------------------------------------------------------------------------


def greedy(engine: TransformersEngine, prompt: Sequence[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(engine.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == engine.tokenizer.eos_token_id:
            break
    return ids[len(prompt) :]


def test_batched_generation_equals_greedy_search_one_by_one(engine: TransformersEngine) -> None:
    requests: list[EncodedGenerate] = encoded(engine, *(asked(c) for c in CONTEXTS))
    found = texts(list(engine.generate(requests)))
    for request in requests:
        expected = engine.tokenizer.decode(greedy(engine, request.prompt, 24))
        response = found[request.key]
        assert response.text == expected.replace("</s>", "")
        assert response.prompt_tokens == len(request.prompt)


def test_a_stop_string_is_cut_across_token_borders(engine: TransformersEngine) -> None:
    whole = texts(list(engine.generate(encoded(engine, asked(CONTEXTS[0])))))
    text = next(iter(whole.values())).text
    # Every pair of neighbouring characters, so that some lie across a border of tokens.
    for place in range(2, len(text) - 2, 3):
        stop = text[place : place + 2]
        if "\ufffd" in stop:
            continue
        request: EncodedGenerate = encoded(engine, asked(CONTEXTS[0], stop=(stop,)))[0]
        response = texts(list(engine.generate([request])))[request.key]
        assert response.text == text[: text.index(stop)]
        assert response.finish_reason == "stop"


def test_the_earliest_of_several_stop_strings_wins(engine: TransformersEngine) -> None:
    whole = texts(list(engine.generate(encoded(engine, asked(CONTEXTS[0])))))
    text = next(iter(whole.values())).text
    request = encoded(engine, asked(CONTEXTS[0], stop=(text[9:11], text[3:5])))[0]
    response = texts(list(engine.generate([request])))[request.key]
    assert response.text == text[: min(text.index(text[9:11]), text.index(text[3:5]))]


def test_the_token_limit_is_told_from_a_stop(engine: TransformersEngine) -> None:
    request = encoded(engine, asked(CONTEXTS[0], max_tokens=5))[0]
    response = texts(list(engine.generate([request])))[request.key]
    assert (response.finish_reason, response.completion_tokens) == ("length", 5)


def test_rows_of_one_batch_keep_their_own_limits(engine: TransformersEngine) -> None:
    requests = encoded(engine, asked(CONTEXTS[0], max_tokens=3), asked(CONTEXTS[2], max_tokens=17))
    found = texts(list(engine.generate(requests)))
    assert [found[r.key].completion_tokens for r in requests] == [3, 17]


def test_sampling_depends_on_the_seed_and_not_on_the_batch(tiny: Path) -> None:
    together = make_engine(tiny)
    alone = make_engine(tiny, batch_rows=1)
    requests = encoded(together, *(asked(c, temperature=1.0, top_p=0.9) for c in CONTEXTS))
    first = texts(list(together.generate(requests)))
    again = texts(list(alone.generate(requests)))
    other = texts(list(together.generate([replace(r, seed=r.seed + 1) for r in requests])))
    assert {k: r.text for k, r in first.items()} == {k: r.text for k, r in again.items()}
    assert {k: r.text for k, r in first.items()} != {k: r.text for k, r in other.items()}
    assert all(first[r.key].seed == r.seed for r in requests)


def test_samples_follow_the_softmax(engine: TransformersEngine) -> None:
    request: EncodedGenerate = encoded(engine, asked("짧다", temperature=1.0, max_tokens=1))[0]
    with torch.inference_mode():
        logits = engine.model(torch.tensor([request.prompt])).logits[0, -1]
    expected = torch.softmax(logits, dim=-1)
    draws = [replace(request, key=str(i), seed=i) for i in range(1000)]
    found = texts(list(engine.generate(draws)))
    words = [engine.tokenizer.decode([token]) for token in range(len(expected))]
    # Pieces of a character all read alike, so the likeliest whole word is watched.
    likeliest = max(
        (token for token, word in enumerate(words) if words.count(word) == 1),
        key=lambda token: float(expected[token]),
    )
    text = words[likeliest]
    share = sum(response.text == text for response in found.values()) / len(found)
    p = float(expected[likeliest])
    assert abs(share - p) < 4 * (p * (1 - p) / len(found)) ** 0.5


# --- thoughts --------------------------------------------------------------------------------

THINK = Reasoning(enabled=True, max_tokens=40)


@pytest.mark.parametrize(
    ("text", "opened", "thinking", "answer", "finished"),
    [
        ("답은 3", False, None, "답은 3", True),
        ("<think>음</think>\n\n답은 3", False, "음", "답은 3", True),
        ("\n<think>음</think>답", False, "음", "답", True),
        ("음</think>답", True, "음", "답", True),
        ("<think>끝이 없다", False, "끝이 없다", "", False),
        ("끝이 없다", True, "끝이 없다", "", False),
        ("답 <think>나중</think>", False, None, "답 <think>나중</think>", True),
    ],
)
def test_a_thought_is_split_from_the_answer(
    text: str, opened: bool, thinking: str | None, answer: str, finished: bool
) -> None:
    parts = split_thinking(text, "<think>", "</think>", starts_in_thought=opened)
    assert (parts.thinking, parts.answer, parts.finished) == (thinking, answer, finished)
    assert text[parts.answer_start :] == answer


@given(st.text(max_size=40), st.booleans())
@settings(max_examples=50)
def test_splitting_loses_no_character_of_the_answer(text: str, opened: bool) -> None:
    parts = split_thinking(text, "<think>", "</think>", starts_in_thought=opened)
    assert text.endswith(parts.answer)


def marks_fit(text: str) -> bool:
    """Whether the places that the next test takes its marks from hold letters, each once."""
    start, inside, end = text[:1], text[3:5], text[8:11]
    return not start.isspace() and text.find(inside, 1) == 3 and text.find(end, 1) == 8


def test_a_stop_string_inside_a_thought_does_not_stop(tiny_chat: Path) -> None:
    """The tiny model does not think; its own words are made the marks of a thought."""
    probe = make_engine(tiny_chat)
    questions = ("생각해 보자", "왜?", "무엇?", "어디?")
    requests: list[EncodedGenerate] = encoded(probe, *(asked(q, max_tokens=40) for q in questions))
    said = texts(list(probe.generate(requests)))
    question, text = next(
        (request.request.messages[-1].content, said[request.key].text)
        for request in requests
        if marks_fit(said[request.key].text)
    )
    start, inside, end = text[:1], text[3:5], text[8:11]
    marks = ModelSettings(reasoning=Reasoning(start=start, end=end, enabled=True, max_tokens=30))
    engine = make_engine(tiny_chat, marks)
    wanted: EncodedGenerate = encoded(engine, asked(question, stop=(inside,)))[0]
    response = texts(list(engine.generate([wanted])))[wanted.key]
    assert response.thinking == text[1 : text.index(end, 1)]
    assert response.thinking_tokens > 0
    assert inside in response.thinking
    assert response.completion_tokens > response.thinking_tokens  # the answer was begun
    assert inside not in response.text


def test_a_thought_that_never_ends_is_truncated(tiny_chat: Path) -> None:
    engine = make_engine(tiny_chat, ModelSettings(reasoning=THINK))
    request: EncodedGenerate = encoded(engine, asked("질문", max_tokens=8))[0]
    open_thought = replace(request, starts_in_thought=True)
    response = texts(list(engine.generate([open_thought])))[request.key]
    assert (response.text, response.finish_reason) == ("", "length")
    assert response.thinking_tokens == response.completion_tokens == 40


def test_cutting_at_the_first_stop() -> None:
    assert cut_at_stop("가나다라", ("라", "나")) == ("가", True)
    assert cut_at_stop("가나다라", ("마",)) == ("가나다라", False)


# --- batches ---------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 50)), st.integers(1, 200), st.integers(1, 8))
def test_batches_hold_everything_once_within_the_budget(
    lengths: list[int], budget: int, rows: int
) -> None:
    ordered = sorted(lengths, reverse=True)

    def fits(part: Sequence[int]) -> bool:
        return len(part) <= rows and max(part) * len(part) <= budget

    made = list(batches(ordered, fits))
    assert [n for batch in made for n in batch] == ordered
    for batch in made:
        assert len(batch) <= rows
        assert len(batch) == 1 or max(batch) * len(batch) <= budget


def test_halving_keeps_the_order() -> None:
    def compute(part: Sequence[int]) -> list[int]:
        if len(part) > 3 or 13 in part:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [n * 2 for n in part]

    shrunk: list[None] = []
    result = halving([1, 2, 3, 13, 5, 6, 7], compute, lambda: shrunk.append(None))
    assert result == [2, 4, 6, None, 10, 12, 14]
    assert len(shrunk) == 4


# --- loading ---------------------------------------------------------------------------------


def test_a_lora_adapter_changes_the_scores_as_merged_weights_do(tiny: Path, tmp_path: Path) -> None:
    import peft

    from ko_eval.engines.transformers_loading import load_model

    base = load_model(resolve_model(str(tiny)), LoadOptions(dtype="float32", device="cpu"))
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    peft.get_peft_model(base, config).save_pretrained(tmp_path)
    adapted = make_engine(tiny, adapter=str(tmp_path))
    plain = make_engine(tiny)
    request = encoded(plain, scored(CONTEXTS[0]))[0]
    with_adapter = next(adapted.loglikelihood([request])).response
    without = next(plain.loglikelihood([request])).response
    assert isinstance(with_adapter, LoglikelihoodResponse)
    assert isinstance(without, LoglikelihoodResponse)
    assert with_adapter.loglikelihoods != pytest.approx(without.loglikelihoods, abs=1e-3)
    expected = plain_sum(adapted, request.pairs[0].context, request.pairs[0].continuation)
    assert with_adapter.loglikelihoods[0] == pytest.approx(expected, abs=1e-4)


def test_a_device_map_gives_the_same_scores(tiny: Path, engine: TransformersEngine) -> None:
    spread = make_engine(tiny, device_map="auto")
    request = encoded(engine, scored(CONTEXTS[0]))[0]
    one, other = (next(e.loglikelihood([request])).response for e in (engine, spread))
    assert isinstance(one, LoglikelihoodResponse)
    assert isinstance(other, LoglikelihoodResponse)
    assert one.loglikelihoods == pytest.approx(other.loglikelihoods, abs=1e-5)


def test_conditions_name_engine_device_and_precision(engine: TransformersEngine) -> None:
    conditions = engine.capabilities.conditions
    assert (conditions["engine"], conditions["device"]) == ("transformers", "cpu")
    assert conditions["dtype"] == "float32"


def test_a_checkpoints_sampling_defaults_do_not_leak_into_greedy_answers(
    tiny: Path, tmp_path: Path, engine: TransformersEngine
) -> None:
    import shutil

    copy = tmp_path / "sampler"
    shutil.copytree(tiny, copy)
    (copy / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 5.0, "repetition_penalty": 9.0, "eos_token_id": 1}'
    )
    request = encoded(engine, asked(CONTEXTS[0]))[0]
    plain = texts(list(engine.generate([request])))[request.key]
    other = texts(list(make_engine(copy).generate([request])))[request.key]
    assert plain.text == other.text
