"""Generation with rows that come and go: the answers of each request alone, in less work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.engines.base import EncodedGenerate, TokenIds
from ko_eval.engines.encoding import load_tokenizer
from ko_eval.engines.grouped_attention import GROUPED_ATTENTION
from ko_eval.engines.growing_rows import EndTest, GrowingRow
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.engines.responses import ResponseBuilder, end_token_ids
from ko_eval.engines.sdpa_replaced import SdpaReplaced
from ko_eval.engines.shared_prefixes import shared_prefixes
from ko_eval.engines.transformers_engine import TransformersEngine
from ko_eval.engines.transformers_generation import generate_all
from ko_eval.engines.transformers_generation_check import UnsuitableModel, check_logits
from ko_eval.engines.transformers_key_values import KeyValuePool, Prefix
from ko_eval.engines.transformers_loading import LoadOptions, load_model
from ko_eval.engines.transformers_sampling import with_noise
from ko_eval.types import FailedResponse, GenerateRequest, GenerateResponse, Response

HEADER = "질문: 사과가 세 개, 배가 네 개 있다. 모두 몇 개인가?\n답: 일곱 개이다.\n\n" * 3
QUESTIONS = (
    "물은 몇 도에서 끓는가?",
    "왜?",
    "하늘은 왜 푸른가? 아는 대로 길게 말해 보라. " * 4,
    "하나에 둘을 더하면?",
    "바다는 얼마나 깊은가, 그리고 산은 얼마나 높은가?",
    "누구?",
    "오늘은 무슨 요일인가?",
)
NOT_THINKING = Reasoning(enabled=False)
NO_MEMORY = FailedResponse("out of memory, even alone in a batch")


class Setup:
    """A model and its tokenizer, and what is asked of them."""

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        found = resolve_model(str(folder))
        self.tokenizer = load_tokenizer(found)
        self.model = load_model(found, LoadOptions(dtype=dtype, device="cpu"))
        self.plain = PlainAnswers(self.model, self.tokenizer)
        self.warnings: list[str] = []

    def request(self, prompt: str | TokenIds, **fields: Any) -> EncodedGenerate:
        ids = prompt if isinstance(prompt, tuple) else tuple(self.tokenizer(prompt)["input_ids"])
        thinking = fields.pop("thinking_tokens", 0)
        opened = fields.pop("starts_in_thought", False)
        asked = GenerateRequest("t", "", "", (), **{"stop": (), "max_tokens": 12, **fields})
        return EncodedGenerate("", asked, ids, 0, opened, thinking, seed=len(ids))

    def answers(
        self,
        requests: Sequence[EncodedGenerate],
        *,
        rows: int = 5,
        room: int = 1 << 30,
        reasoning: Reasoning = NOT_THINKING,
    ) -> list[Response]:
        """In the order of the requests; each must come exactly once."""
        keyed = [replace(request, key=str(number)) for number, request in enumerate(requests)]
        pairs = [
            (request.key, response)
            for request, response, _ in self.stream(keyed, rows, room=room, reasoning=reasoning)
        ]
        found = dict(pairs)
        assert len(pairs) == len(found) == len(requests)
        return [found[request.key] for request in keyed]

    def stream(
        self,
        requests: Sequence[EncodedGenerate],
        rows: int,
        *,
        room: int = 1 << 30,
        reasoning: Reasoning = NOT_THINKING,
    ) -> Iterator[tuple[EncodedGenerate, Response, float]]:
        """As they come."""
        return generate_all(
            self.model,
            self.tokenizer,
            requests,
            reasoning,
            0,
            rows=rows,
            room=room,
            warn=self.warnings.append,
        )


class PlainAnswers:
    """The plainest computation: one request, all tokens fed anew for each token."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.known: dict[tuple[TokenIds, int], list[int]] = {}

    def ids(self, prompt: TokenIds, count: int) -> list[int]:
        """Greedy new tokens up to `count`, or to an end token, which is the last."""
        if (prompt, count) not in self.known:
            ids = list(prompt)
            for _ in range(count):
                with torch.inference_mode():
                    logits = self.model(torch.tensor([ids]), use_cache=False).logits
                ids.append(int(logits[0, -1].argmax()))
                if ids[-1] == self.tokenizer.eos_token_id:
                    break
            self.known[prompt, count] = ids[len(prompt) :]
        return self.known[prompt, count]

    def text(self, request: EncodedGenerate) -> str:
        """Up to the first stop string."""
        text = str(self.tokenizer.decode(self.ids(request.prompt, request.request.max_tokens)))
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return min((text.split(mark)[0] for mark in request.request.stop), key=len, default=text)


@pytest.fixture(scope="module")
def setup(tiny: Path) -> Iterator[Setup]:
    made = Setup(tiny)
    yield made
    assert made.warnings == []


@contextmanager
def forwards(model: Any) -> Iterator[list[tuple[int, int]]]:
    """Rows and tokens of each forward while the block runs, but for that of the self-check."""
    seen: list[tuple[int, int]] = []

    def note(module: object, arguments: object, given: dict[str, Any]) -> None:
        if given.get("use_cache", True):
            seen.append(tuple(given["input_ids"].shape))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def texts(responses: Sequence[Response]) -> list[str]:
    assert all(isinstance(response, GenerateResponse) for response in responses)
    return [response.text for response in responses if isinstance(response, GenerateResponse)]


# --- the same answers ------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_that_come_and_go_answer_as_each_does_alone(setup: Setup, rows: int) -> None:
    limits = (20, 3, 9, 1, 14, 25, 6)
    requests = [
        setup.request(prefix + question, max_tokens=limit)
        for prefix in ("", HEADER)
        for question, limit in zip(QUESTIONS, limits, strict=True)
    ]
    found = setup.answers(requests, rows=rows)
    assert texts(found) == [setup.plain.text(request) for request in requests]
    for request, response in zip(requests, found, strict=True):
        assert isinstance(response, GenerateResponse)
        ids = setup.plain.ids(request.prompt, request.request.max_tokens)
        ended = ids[-1] == setup.tokenizer.eos_token_id
        assert response.completion_tokens == len(ids) - ended
        assert response.finish_reason == ("stop" if ended else "length")


def test_each_row_stops_at_its_own_stop_string(setup: Setup) -> None:
    requests = []
    for question in QUESTIONS:
        plain = setup.plain.text(setup.request(question, max_tokens=24))
        places = [i for i in range(2, len(plain) - 2) if "\ufffd" not in plain[i : i + 2]]
        stop = plain[places[len(places) // 2] :][:2]
        requests.append(setup.request(question, max_tokens=24, stop=(stop, "그런 말은 없다")))
    found = setup.answers(requests, rows=3)
    assert texts(found) == [setup.plain.text(request) for request in requests]
    assert {r.finish_reason for r in found if isinstance(r, GenerateResponse)} == {"stop"}
    tokens = [r.completion_tokens for r in found if isinstance(r, GenerateResponse)]
    assert max(tokens) < 24


def test_sampled_rows_are_those_of_the_row_alone_beside_greedy_ones(setup: Setup) -> None:
    requests = [
        setup.request(HEADER + question, temperature=0.8 * (number % 2), top_p=0.95)
        for number, question in enumerate(QUESTIONS)
    ]
    together = setup.answers(requests, rows=4)
    alone = [setup.answers([request])[0] for request in requests]
    assert together == alone
    greedy = [replace(r, request=replace(r.request, temperature=0.0)) for r in requests]
    same = [a == b for a, b in zip(texts(together), texts(setup.answers(greedy)), strict=True)]
    assert same == [True, False] * 3 + [True]


def test_equal_prompts_with_different_seeds_answer_differently(setup: Setup) -> None:
    request = setup.request(HEADER, temperature=1.0)
    seeded = [replace(request, seed=seed) for seed in range(4)]
    assert len(set(texts(setup.answers(seeded)))) == 4


def test_thoughts_and_answers_keep_their_own_limits_in_any_batch(setup: Setup) -> None:
    marked = Reasoning(start="<생각>", end="</생각>", enabled=True, max_tokens=9)
    requests = [
        setup.request(q, max_tokens=4, thinking_tokens=9, starts_in_thought=bool(number % 2))
        for number, q in enumerate(QUESTIONS)
    ]
    found = setup.answers(requests, reasoning=marked)
    tokens = [r.completion_tokens for r in found if isinstance(r, GenerateResponse)]
    assert tokens == [4, 9, 4, 9, 4, 9, 4]
    assert found == [setup.answers([request], reasoning=marked)[0] for request in requests]


# --- shared prefixes -------------------------------------------------------------------------


def test_a_shared_prefix_is_fed_once(setup: Setup) -> None:
    requests = [setup.request(HEADER + question) for question in QUESTIONS]
    (prefix,) = shared_prefixes([request.prompt for request in requests])
    with forwards(setup.model) as seen:
        found = setup.answers(requests, rows=3)
    assert texts(found) == [setup.plain.text(request) for request in requests]
    long = [(rows, tokens) for rows, tokens in seen if tokens >= prefix.length]
    assert len(long) == 1
    assert long[0][0] == 1


@pytest.mark.parametrize("rows", [1, 4])
def test_prompts_that_begin_with_one_another_answer_as_each_does_alone(
    setup: Setup, rows: int
) -> None:
    whole = setup.request(HEADER + QUESTIONS[0]).prompt
    # A single token; the prefix itself and one more; one that is the whole of another, twice.
    prompts = [whole[:n] for n in (1, 2, 16, 17, 18, len(whole) - 1)] + [whole, whole]
    requests = [setup.request(prompt) for prompt in prompts]
    assert shared_prefixes(prompts)
    found = setup.answers(requests, rows=rows)
    assert texts(found) == [setup.plain.text(request) for request in requests]


tokens = st.integers(0, 2)


@given(
    st.lists(
        st.tuples(st.sampled_from([(), (7,) * 20, (7,) * 20 + (8,) * 20]), st.lists(tokens)).map(
            lambda parts: (*parts[0], *parts[1])
        ),
        max_size=12,
    ).map(lambda prompts: [prompt or (0,) for prompt in prompts])
)
def test_a_prefix_is_shared_by_its_members_and_shorter_than_each(prompts: list[TokenIds]) -> None:
    found = shared_prefixes(prompts)
    members = [index for prefix in found for index in prefix.members]
    assert len(members) == len(set(members))
    for prefix in found:
        assert len(prefix.members) > 1
        assert len({prompts[index][: prefix.length] for index in prefix.members}) == 1
        assert all(len(prompts[index]) > prefix.length for index in prefix.members)


def test_of_nested_prefixes_the_one_that_saves_most_is_taken() -> None:
    head, header = (5,) * 20, (6,) * 100
    apart = [(*head, n) for n in range(3)]
    together = [(*head, *header, n) for n in range(4)]
    (prefix,) = shared_prefixes([*apart, *together])
    assert (prefix.length, sorted(prefix.members)) == (120, [3, 4, 5, 6])
    many = [(*head, n) for n in range(300)]
    (prefix,) = shared_prefixes([*many, *together])
    assert (prefix.length, len(prefix.members)) == (20, 304)


def test_of_interleaved_groups_few_prefixes_are_held_at_a_time(setup: Setup) -> None:
    """Held all at once, the prefixes would leave no room for a second row."""
    headers = [tuple(range(10 + 3 * n, 70 + 3 * n)) for n in range(8)]
    requests = [
        setup.request((*header, *range(5, 6 + n), 200 + number), max_tokens=3)
        for n in range(4)
        for number, header in enumerate(headers)
    ]
    with forwards(setup.model) as seen:
        found = setup.answers(requests, rows=32, room=4 * 128)
    assert texts(found) == [setup.plain.text(request) for request in requests]
    steps = [rows for rows, tokens in seen if tokens == 1]
    assert sum(steps) / len(steps) > 2


@pytest.mark.parametrize("rows", [1, 5])
def test_where_no_memory_is_left_for_a_prefix_rows_are_answered_without(
    setup: Setup, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []

    def refuse(pool: KeyValuePool, row: int, length: int) -> Prefix:
        refused.append(length)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(KeyValuePool, "prefix_of", refuse)
    requests = [setup.request(HEADER + question) for question in QUESTIONS]
    found = setup.answers(requests, rows=rows)
    assert texts(found) == [setup.plain.text(request) for request in requests]
    assert len(refused) == 1


def test_a_wrong_prefix_is_noticed_beside_a_shorter_row_without_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_nothing(pool: KeyValuePool, prefix: Prefix, rows: slice) -> None:
        """Leaves the slots as they are."""

    monkeypatch.setattr(KeyValuePool, "put_prefix", put_nothing)
    other = Setup(tiny)
    requests = [other.request(HEADER + question) for question in QUESTIONS]
    requests.append(other.request("왜?"))
    found = other.answers(requests, rows=8)
    assert texts(found) == [other.plain.text(request) for request in requests]
    (warning,) = other.warnings
    assert "its log-probabilities differ by" in warning


# --- no row waits ----------------------------------------------------------------------------


def test_a_finished_row_is_replaced_at_once(setup: Setup) -> None:
    """One row of 60 tokens beside 30 of 2: static batches of 2 would need 60 + 15 · 2 steps."""
    requests = [setup.request(QUESTIONS[0], max_tokens=60)]
    requests += [setup.request(QUESTIONS[5] + str(n), max_tokens=2) for n in range(30)]
    assert len(setup.plain.ids(requests[0].prompt, 60)) == 60
    with forwards(setup.model) as seen:
        setup.answers(requests, rows=2)
    steps = [rows for rows, tokens in seen if tokens == 1]
    assert len(steps) == 60
    assert steps.count(2) >= 58


def test_answers_come_as_soon_as_they_are_finished(setup: Setup) -> None:
    requests = [setup.request(q, max_tokens=2 + 10 * (n == 0)) for n, q in enumerate(QUESTIONS)]
    answered = setup.stream(requests, rows=8)
    with forwards(setup.model) as seen:
        _, response, seconds = next(answered)
        assert isinstance(response, GenerateResponse)
        assert response.completion_tokens == 2
        assert seconds > 0
        assert sum(tokens == 1 for _, tokens in seen) == 2
        assert len(list(answered)) == len(requests) - 1
    assert sum(tokens == 1 for _, tokens in seen) == 12


def test_the_attention_of_the_model_is_left_as_it_was(setup: Setup) -> None:
    before = setup.model.config._attn_implementation
    requests = [setup.request(q, max_tokens=2 + n) for n, q in enumerate(QUESTIONS)]
    for _ in setup.stream(requests, rows=3):
        assert setup.model.config._attn_implementation == before == "sdpa"


def test_the_head_runs_at_one_position_of_a_row(setup: Setup) -> None:
    seen: list[int] = []
    hook = setup.model.lm_head.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[1])
    )
    setup.answers([setup.request(HEADER + question) for question in QUESTIONS])
    hook.remove()
    assert set(seen) == {1}


# --- memory ----------------------------------------------------------------------------------


def test_rows_that_outgrow_the_room_go_back_and_lose_nothing(setup: Setup) -> None:
    """Slots are reserved by 128, so that rows of 95 to 112 tokens outgrow their first ones."""
    prompts = [setup.request(HEADER + QUESTIONS[0]).prompt[:n] for n in (100, 108, 110, 112, 95)]
    requests = [
        setup.request(prompt, max_tokens=40, temperature=0.7 * (number % 2))
        for number, prompt in enumerate(prompts)
    ]
    alone = [setup.answers([request])[0] for request in requests]
    for room, most in {1: 1, 500: 3, 900: 5}.items():
        with forwards(setup.model) as seen:
            assert setup.answers(requests, room=room) == alone
        assert max(rows for rows, tokens in seen if tokens == 1) == most


@contextmanager
def memory_for(model: Any, tokens: int) -> Iterator[list[int]]:
    """Forwards fail as on a full GPU when rows × positions exceed `tokens`; tells which did."""
    failed: list[int] = []

    def refuse(module: object, arguments: object, given: dict[str, torch.Tensor]) -> None:
        rows, width = given["input_ids"].shape
        last = int(given["position_ids"].max()) if "position_ids" in given else width - 1
        used = rows * (last + 1)
        if used > tokens:
            failed.append(used)
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield failed
    finally:
        hook.remove()


def test_out_of_memory_leaves_fewer_rows_and_loses_nothing(setup: Setup) -> None:
    requests = [setup.request(question, max_tokens=20) for question in QUESTIONS]
    expected = [setup.plain.text(request) for request in requests]
    longest = max(len(request.prompt) for request in requests) + 20
    with memory_for(setup.model, 2 * longest) as failed:
        found = setup.answers(requests, rows=7)
    assert failed
    assert texts(found) == expected


def test_a_request_that_never_fits_is_failed_and_the_others_are_answered(setup: Setup) -> None:
    requests = [setup.request(question) for question in QUESTIONS]
    lengths = [len(request.prompt) for request in requests]
    with memory_for(setup.model, max(lengths) - 2):
        found = setup.answers(requests, rows=7)
    for request, response in zip(requests, found, strict=True):
        if len(request.prompt) == max(lengths):
            assert response == NO_MEMORY
        else:
            assert isinstance(response, GenerateResponse)
            assert response.text == setup.plain.text(request)


def test_out_of_memory_while_sampling_changes_no_sample(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [setup.request(q, temperature=1.0, max_tokens=8) for q in QUESTIONS]
    expected = setup.answers(requests, rows=7)
    calls: list[int] = []

    def fail_once(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        # In the third step, when some rows have drawn and others have not.
        if len(calls) == 2 * len(requests) + 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return with_noise(*arguments)

    monkeypatch.setattr("ko_eval.engines.transformers_continuous.with_noise", fail_once)
    assert setup.answers(requests, rows=7) == expected
    assert len(calls) > 2 * len(requests) + 4


def latent(name: str) -> Any:
    return getattr(transformers, f"{name}Config")(
        **{**GROUPED, "num_key_value_heads": 4},
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=12,
        kv_lora_rank=16,
        q_lora_rank=16,
        vocab_size=2000,
        first_k_dense_replace=9,
        n_routed_experts=8,
    )


@pytest.mark.parametrize("name", ["Llama", "DeepseekV2", "DeepseekV3"])
def test_the_room_is_what_keys_and_values_take(setup: Setup, name: str) -> None:
    """Of each token, as cached; latent ones also as one layer opens them, for four heads."""
    model, opened = setup.model, 0
    if name != "Llama":
        model = transformers.AutoModelForCausalLM.from_config(latent(name)).eval()
        opened = 4 * (24 + 12) * 4
    with torch.inference_mode():
        layers = model(torch.tensor([[3, 4, 5]])).past_key_values.layers
    taken = sum(held.nbytes for layer in layers for held in (layer.keys, layer.values)) // 3
    engine = TransformersEngine(model, setup.tokenizer, ModelSettings())
    assert engine._cache_tokens() == (4 << 30) // (taken + opened)


def test_a_row_that_broke_does_not_spoil_the_one_in_its_place(setup: Setup) -> None:
    """What is not a number stays in a row's keys and values, hidden from the next row or not."""
    (broken, *_) = setup.request("물").prompt
    first = setup.request((broken, *setup.request(QUESTIONS[2]).prompt), max_tokens=2)
    # Takes its place while still short, and then stands beside a longer one.
    second = setup.request(QUESTIONS[1], max_tokens=40)
    third = setup.request(QUESTIONS[4], max_tokens=5)
    embedding = setup.model.get_input_embeddings().weight
    kept = embedding[broken].clone()
    with torch.no_grad():
        embedding[broken] = float("nan")
    try:
        found = setup.answers([first, second, third], rows=2)
    finally:
        with torch.no_grad():
            embedding[broken] = kept
    assert texts(found[1:]) == [setup.plain.text(request) for request in (second, third)]


# --- other models ----------------------------------------------------------------------------

SHAPE: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
GROUPED: dict[str, Any] = {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 128}
FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {
    "GPT2": ({"n_layer": 2, "n_head": 4, "n_embd": 64}, True),
    "GPTNeoX": ({**SHAPE, "intermediate_size": 128}, True),
    "Qwen3": ({**GROUPED, "head_dim": 16}, True),
    "Phi3": (GROUPED, True),
    # A window that no request outgrows is none; a shorter one needs the other way.
    "Gemma2": ({**GROUPED, "head_dim": 16, "sliding_window": 512}, True),
    "Mistral": ({**GROUPED, "sliding_window": 24}, False),
    "Mamba": ({"num_hidden_layers": 2, "hidden_size": 64}, False),
    "Bloom": ({"n_layer": 2, "n_head": 4, "hidden_size": 64}, False),
}
"""By name: the configuration's fields, and whether its rows come and go."""


@pytest.mark.parametrize("family", FAMILIES)
def test_other_models_answer_as_each_request_does_alone(
    setup: Setup, family: str, tmp_path: Path
) -> None:
    fields, comes_and_goes = FAMILIES[family]
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(setup.tokenizer),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.1,
        **fields,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    setup.tokenizer.save_pretrained(tmp_path)
    other = Setup(tmp_path)
    requests = [
        other.request(HEADER[:40] + question[:30], max_tokens=4 + 5 * (number == 2))
        for number, question in enumerate(QUESTIONS)
    ]
    with forwards(other.model) as seen:
        found = other.answers(requests, rows=3)
    assert texts(found) == [other.plain.text(request) for request in requests]
    steps = sum(tokens == 1 for _, tokens in seen)
    # Three batches of up to 9, 4 and 4 tokens, the first of each from its prefill; or 33 tokens
    # in three rows.
    assert (steps < 14) == comes_and_goes
    assert other.warnings == []


@pytest.mark.parametrize("window", [None, 100], ids=["rows come and go", "static batches"])
def test_a_row_that_rotates_all_positions_anew_does_not_change_its_neighbours(
    setup: Setup, tiny: Path, window: int | None
) -> None:
    """Beyond 64 tokens a batch is rotated by other factors."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [2.0 + 3 * n for n in range(8)],
        "original_max_position_embeddings": 64,
    }
    config = transformers.Phi3Config(
        **GROUPED,
        vocab_size=len(setup.tokenizer),
        max_position_embeddings=512,
        original_max_position_embeddings=64,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        rope_parameters=rope,
        sliding_window=window,
    )
    other = Setup(tiny)
    torch.manual_seed(0)
    other.model = transformers.AutoModelForCausalLM.from_config(config).eval()
    other.plain = PlainAnswers(other.model, other.tokenizer)
    # Of the last two none comes beyond 64 alone, but one batch of both would.
    shapes = [(20, 24), (21, 24), (55, 30), (56, 30), (50, 6), (10, 50)]
    requests = [
        other.request(tuple(range(20 * n + 3, 20 * n + 3 + length)), max_tokens=most)
        for n, (length, most) in enumerate(shapes)
    ]
    with forwards(other.model) as seen:
        found = other.answers(requests, rows=8)
    # How a row goes on where it crosses the border is the model's matter, but as it does alone.
    assert found == [other.answers([request])[0] for request in requests]
    within = [n for n, (length, most) in enumerate(shapes) if length + most <= 64]
    assert [texts(found)[n] for n in within] == [other.plain.text(requests[n]) for n in within]
    assert other.warnings == []
    assert max(rows for rows, _ in seen) > 1
    assert all(rows == 1 for rows, tokens in seen if tokens >= 55)


def test_rounding_in_low_precision_is_not_taken_for_an_unfit_model(tiny: Path) -> None:
    other = Setup(tiny, "bfloat16")
    requests = [other.request(HEADER + q, max_tokens=3 + n) for n, q in enumerate(QUESTIONS)]
    found = other.answers(requests, rows=3)
    assert all(isinstance(response, GenerateResponse) for response in found)
    assert other.warnings == []


def test_large_logits_may_differ_by_more_in_low_precision(tiny: Path) -> None:
    model = Setup(tiny, "bfloat16").model
    ids = [5, 6, 7]
    with torch.inference_mode():
        model.lm_head.weight *= 16
        plain = model(torch.tensor([ids])).logits[0, -1].float()
        rounding = torch.finfo(torch.bfloat16).eps * float(plain.abs().max())
        found = plain.clone()
        found[plain.argmax()] -= 3 * rounding
        assert 3 * rounding > 1
        check_logits(model, ids, found, {})
        found[plain.argmax()] -= 9 * rounding
        with pytest.raises(UnsuitableModel):
            check_logits(model, ids, found, {})


def test_configurations_within_another_keep_their_attention() -> None:
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {**size, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**heads, image_size=28, patch_size=14),
        text_config=transformers.LlamaConfig(**heads, vocab_size=100),
        image_token_index=5,
    )
    wanted = {"": "sdpa", "vision_config": "eager", "text_config": "sdpa"}
    model = transformers.LlavaForConditionalGeneration._from_config(
        config, attn_implementation=wanted
    )

    def attentions() -> list[str]:
        parts = (model.config, model.config.vision_config, model.config.text_config)
        return [part._attn_implementation for part in parts]

    before = attentions()
    assert before == ["sdpa", "eager", "sdpa"]
    with SdpaReplaced(model, GROUPED_ATTENTION).used():
        whole, vision, text = attentions()
        assert vision == "eager"
        assert whole == text != "sdpa"
    assert attentions() == before


class WithoutPositions(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """Counts positions by itself, as if all rows were of the same length."""

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        return super().forward(input_ids, attention_mask, None, past_key_values, **options)


class WithItsOwnCache(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """Takes one kind of cache only."""

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        if type(past_key_values) not in (type(None), transformers.DynamicCache):
            raise TypeError("this is not the cache that I know")
        return super().forward(input_ids, attention_mask, position_ids, past_key_values, **options)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (WithoutPositions, "its log-probabilities differ by"),
        (WithItsOwnCache, "it takes no rows of different lengths: this is not the cache"),
    ],
)
def test_a_model_that_proves_unfit_answers_in_static_batches_and_the_user_is_told(
    setup: Setup, tiny: Path, kind: type, why: str
) -> None:
    other = Setup(tiny)
    other.model = kind.from_pretrained(tiny).eval()  # type: ignore[attr-defined]
    requests = [setup.request(q, max_tokens=1 + n) for n, q in enumerate(QUESTIONS)]
    assert texts(other.answers(requests, rows=4)) == [setup.plain.text(r) for r in requests]
    (warning,) = other.warnings
    assert warning.startswith(f"generation falls back to static batches with this model: {why}")


def test_answers_of_one_token_are_checked_before_they_are_handed_out(
    setup: Setup, tiny: Path
) -> None:
    other = Setup(tiny)
    other.model = WithoutPositions.from_pretrained(tiny).eval()
    requests = [setup.request(question, max_tokens=1) for question in QUESTIONS]
    assert texts(other.answers(requests, rows=4)) == [setup.plain.text(r) for r in requests]
    assert len(other.warnings) == 1


def test_static_batches_take_no_penalties_from_the_model(setup: Setup, tiny: Path) -> None:
    other = Setup(tiny)
    other.model = WithItsOwnCache.from_pretrained(tiny).eval()
    own = other.model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.min_new_tokens = 3.0, 1, 12
    own.suppress_tokens = setup.plain.ids(setup.request(QUESTIONS[0]).prompt, 12)[:1]
    requests = [setup.request(question) for question in QUESTIONS]
    assert texts(other.answers(requests)) == [setup.plain.text(r) for r in requests]
    assert other.model.generation_config is own


class FailingLater(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """Takes an unknown cache twice: for the prompt and the first token of one row."""

    taken = 0

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        if type(past_key_values) not in (type(None), transformers.DynamicCache):
            self.taken += 1
            if self.taken > 2:
                raise TypeError("no more of this cache")
        return super().forward(input_ids, attention_mask, position_ids, past_key_values, **options)


def test_a_request_given_twice_is_answered_twice_when_the_batch_proves_unfit(
    setup: Setup, tiny: Path
) -> None:
    other = Setup(tiny)
    other.model = FailingLater.from_pretrained(tiny).eval()
    request = setup.request(QUESTIONS[0], max_tokens=1)
    found = [response for _, response, _ in other.stream([request, request], rows=1)]
    assert texts(found) == [setup.plain.text(request)] * 2
    (warning,) = other.warnings
    assert "no more of this cache" in warning


# --- when a row ends -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def builder(setup: Setup) -> ResponseBuilder:
    ends = end_token_ids(setup.tokenizer, None)
    return ResponseBuilder(setup.tokenizer, Reasoning(enabled=True), ends)


def grown(
    setup: Setup, builder: ResponseBuilder, text: str, **fields: Any
) -> tuple[str, GenerateResponse]:
    """The text up to where the row ended, and its response."""
    row = GrowingRow(setup.request("질문", **fields))
    test = EndTest(builder)
    for token in setup.tokenizer(text)["input_ids"]:
        row.new_ids.append(token)
        if test.finished(row):
            break
    return builder.text(row.new_ids), builder.build(row.request, row.new_ids)


@pytest.mark.parametrize("stop", ["질문:", "\n\n", "끝 ", "</s>", "🙂", "답변이 여기서 끝난다"])
def test_a_row_ends_with_the_token_that_completes_its_stop_string(
    setup: Setup, builder: ResponseBuilder, stop: str
) -> None:
    text = f"답은 셋이다.{stop}그리고 더 많은 말이 이어진다."
    written, response = grown(setup, builder, text, stop=(stop,), max_tokens=999)
    assert stop in written
    assert "이어진다" not in written
    assert (response.text, response.finish_reason) == ("답은 셋이다.", "stop")


def test_the_line_breaks_behind_a_thought_are_no_stop_string(
    setup: Setup, builder: ResponseBuilder
) -> None:
    text = "<think>음</think>\n\n답은 셋이다.\n\n다음"
    _, response = grown(setup, builder, text, stop=("\n\n",), max_tokens=99, thinking_tokens=99)
    assert (response.thinking, response.text) == ("음", "답은 셋이다.")
    assert response.finish_reason == "stop"


def test_thought_and_answer_never_exceed_what_was_set_aside_for_both(
    setup: Setup, builder: ResponseBuilder
) -> None:
    """A prompt that opens a thought may be given no budget for it."""
    text = "음 " * 4 + "</think>" + "답은 셋이다. " * 9
    budget = {"max_tokens": 20, "thinking_tokens": 0, "starts_in_thought": True}
    written, response = grown(setup, builder, text, **budget)
    assert len(setup.tokenizer(written)["input_ids"]) == response.completion_tokens == 20
    assert 0 < response.thinking_tokens < 20
    assert response.text
    assert response.finish_reason == "length"


def test_tokens_behind_a_limit_are_left_out(setup: Setup, builder: ResponseBuilder) -> None:
    """As when an engine knows one limit only, that of thought and answer together."""
    ids = setup.tokenizer("<think>음</think>답은 셋이고 넷이 아니다")["input_ids"]
    request = setup.request("질문", max_tokens=3, thinking_tokens=50)
    response = builder.build(request, ids)
    assert response.completion_tokens - response.thinking_tokens == 3
    assert response.finish_reason == "length"
    open_thought = replace(request, starts_in_thought=True, thinking_tokens=4)
    cut = builder.build(open_thought, ids)
    assert (cut.text, cut.completion_tokens, cut.finish_reason) == ("", 4, "length")
