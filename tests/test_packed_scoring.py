"""The packed path gives what the plain path gives, for every family that can take it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ko_eval.engines import tree_attention as attention_module
from ko_eval.engines import vocabulary_head as head_module
from ko_eval.engines.attention_choice import AttentionChoice, ReadScores
from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.engines.float32_reference import in_float32
from ko_eval.engines.likelihood_check import check, check_sample, packed_logprobs
from ko_eval.engines.prefix_tree import Forest, build_forest, pack
from ko_eval.engines.row_budget import RowBudget
from ko_eval.engines.token_scores import TokenScores, token_scores
from ko_eval.engines.transformers_likelihood import plain_scores
from ko_eval.engines.transformers_packed import PackedScorer, packing_obstacle
from ko_eval.engines.transformers_scoring import LikelihoodScorer, segments
from ko_eval.engines.tree_attention import tree_attention, tree_runs
from ko_eval.engines.vocabulary_head import VocabularyHead
from ko_eval.types import FailedResponse, LoglikelihoodRequest, LoglikelihoodResponse

VOCABULARY = 300
SMALL = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 16}
SLIDING = {"sliding_window": 24}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", GROUPED),
    "Llama, dynamic positions": (
        "Llama",
        {
            **GROUPED,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128,
            },
        },
    ),
    "Qwen 2": ("Qwen2", GROUPED),
    "Qwen 2, sliding": (
        "Qwen2",
        {**GROUPED, **SLIDING, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "Qwen 3": ("Qwen3", HEADS),
    "Gemma 2": ("Gemma2", {**HEADS, **SLIDING}),
    "Gemma 3": ("Gemma3Text", {**HEADS, **SLIDING, "sliding_window_pattern": 2}),
    "Mistral": ("Mistral", {**GROUPED, "sliding_window": None}),
    "Mistral, sliding": ("Mistral", {**GROUPED, **SLIDING}),
    "Phi": ("Phi", SMALL),
    "Phi 3": ("Phi3", {**GROUPED, "pad_token_id": 0}),
    "EXAONE 4": ("Exaone4", {**GROUPED, **SLIDING, "sliding_window_pattern": 2}),
    "GPT-NeoX": ("GPTNeoX", SMALL),
    "GPT-2": ("GPT2", {"n_layer": 3, "n_head": 4, "n_embd": 64, "n_positions": 512}),
    "Cohere 2": ("Cohere2", {**GROUPED, **SLIDING, "sliding_window_pattern": 2}),
    "OLMo 2": ("Olmo2", GROUPED),
    "Granite": ("Granite", {**GROUPED, "logits_scaling": 4.0}),
    "SmolLM 3": ("SmolLM3", {**GROUPED, "pad_token_id": 0}),
    "Qwen 3, mixture of experts": (
        "Qwen3Moe",
        {**HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
}
OTHER: dict[str, tuple[str, dict[str, Any], str]] = {
    "state space": ("Mamba", {"num_hidden_layers": 2, "hidden_size": 64}, "no past key values"),
    "ALiBi": ("Bloom", {"n_layer": 2, "n_head": 4, "hidden_size": 64}, "no position ids"),
    "hybrid": (
        "Lfm2",
        {**GROUPED, "layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 32},
        "layers of type conv",
    ),
    # Its own mask hides keys that lie far away in the row, whatever their place in the sequence.
    "a window over the row": (
        "GPTNeo",
        {
            "num_layers": 2,
            "attention_types": [[["local", "global"], 1]],
            "num_heads": 4,
            "hidden_size": 64,
            "window_size": 96,
            "max_position_embeddings": 2048,
        },
        "nats per token",
    ),
    # Rows that are longer than its buffer for masks.
    "a buffer for the row": (
        "GPTNeo",
        {
            "num_layers": 2,
            "attention_types": [[["global"], 2]],
            "num_heads": 4,
            "hidden_size": 64,
            "max_position_embeddings": 120,
        },
        "could not be asked both ways",
    ),
    "positions that depend on the batch": (
        "Llama",
        {
            **GROUPED,
            "max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
        },
        "depend on the longest sequence",
    ),
}


def make_model(family: str, fields: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.15,
        **{"pad_token_id": 0, **fields},
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def task(items: int = 6, seed: int = 0) -> list[EncodedLoglikelihood]:
    """A header that all share; choices of many tokens, of one, that begin alike, and the same."""
    draw = random.Random(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, VOCABULARY) for _ in range(count))

    header, requests = tokens(40), []
    for item in range(items):
        context = header + tokens(draw.randrange(1, 30))
        start = tokens(3)
        continuations = [start, start + tokens(2), tokens(1), tokens(1), start]
        pairs = [EncodedPair(context, continuation) for continuation in continuations]
        # Two contexts before one continuation, and one without the header.
        pairs += [EncodedPair(context + tokens(4), start), EncodedPair(tokens(2), start)]
        requests.append(of_pairs(f"item-{item}", pairs))
    return requests


def of_pairs(key: str, pairs: Sequence[EncodedPair]) -> EncodedLoglikelihood:
    return EncodedLoglikelihood(key, LoglikelihoodRequest("t", key, ()), tuple(pairs), 0)


def values(scorer: LikelihoodScorer, requests: Sequence[EncodedLoglikelihood]) -> dict[str, Any]:
    found = {answer.key: answer.response for answer in scorer.answers(requests)}
    assert set(found) == {request.key for request in requests}
    return found


def plainly(model: Any, requests: Sequence[EncodedLoglikelihood]) -> dict[str, list[float]]:
    return {request.key: [plain_sum(model, pair) for pair in request.pairs] for request in requests}


def plain_sum(model: Any, pair: EncodedPair) -> float:
    """One forward, and the sum of the scored tokens' log-probabilities in float64."""
    with torch.inference_mode():
        logits = model(torch.tensor([pair.context + pair.continuation[:-1]])).logits[0]
    logs = torch.log_softmax(logits.double(), dim=-1)[len(pair.context) - 1 :]
    return sum(float(logs[i, token]) for i, token in enumerate(pair.continuation))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_sums_are_the_plain_ones(family: str) -> None:
    model, requests = make_model(*FAMILIES[family]), task()
    scorer = LikelihoodScorer(model, 0, batch_tokens=48)
    found = values(scorer, requests)
    assert (scorer.path, scorer.reason, scorer.warnings) == ("packed", None, [])
    for key, expected in plainly(model, requests).items():
        assert found[key].loglikelihoods == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("kind", OTHER)
def test_a_model_that_cannot_take_a_tree_mask_takes_the_plain_path(kind: str) -> None:
    name, fields, reason = OTHER[kind]
    # Different requests: a short one must not be spoiled by a long one that came before it.
    model, requests = make_model(name, fields), task(6)
    scorer = LikelihoodScorer(model, 0)
    found = values(scorer, requests)
    assert scorer.path == "plain"
    assert scorer.reason is not None
    assert reason in scorer.reason
    assert reason in scorer.warnings[0]
    for request in requests:
        # Anew for each: what came before must not matter.
        expected = [plain_sum(make_model(name, fields), pair) for pair in request.pairs]
        assert found[request.key].loglikelihoods == pytest.approx(expected, abs=2e-4)


@pytest.fixture(scope="module")
def llama() -> Any:
    return make_model(*FAMILIES["Llama"])


@pytest.mark.parametrize("budget", [1, 2, 7, 48, 10_000])
def test_any_row_size_gives_the_same(llama: Any, budget: int) -> None:
    requests = task(3)
    found = values(LikelihoodScorer(llama, 0, batch_tokens=budget), requests)
    for key, expected in plainly(llama, requests).items():
        assert found[key].loglikelihoods == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("family", ["Llama", "Gemma 2", "Mistral, sliding"])
def test_block_masks_give_what_dense_masks_give(family: str) -> None:
    model = make_model(*FAMILIES[family])
    forest = build_forest(pair for request in task() for pair in request.pairs)
    dense, flex = PackedScorer(model, 64), PackedScorer(model, 64)
    flex.attention.flex = True
    own = model.config._attn_implementation
    with torch.compiler.set_stance("force_eager"):
        found = np.concatenate([scores.logprobs for scores in flex.read(forest)])
    assert model.config._attn_implementation == own
    expected = np.concatenate([scores.logprobs for scores in dense.read(forest)])
    assert found == pytest.approx(expected, abs=1e-4)


def long_task() -> Forest:
    """A header, passages behind it, questions behind those, and choices; more than a few rows."""
    draw = random.Random(1)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, VOCABULARY) for _ in range(count))

    header, pairs = tokens(150), []
    for _ in range(4):
        passage = header + tokens(200)
        for _ in range(6):
            question = passage + tokens(60)
            pairs += [EncodedPair(question, tokens(draw.randrange(2, 9))) for _ in range(4)]
    return build_forest(pairs)


@pytest.mark.parametrize("budget", [300, 1000, 5000])
def test_the_runs_of_a_row_hold_what_each_of_its_tokens_sees(budget: int) -> None:
    trunks, kinds, skipped = [], set(), 0
    for row in pack(long_task(), budget):
        visible = torch.tensor(row.visible())
        found = torch.zeros_like(visible)
        planned = tree_runs(row, torch.float32)
        assert visible[:, : planned.trunk].all()
        found[:, : planned.trunk] = True
        for run in planned.runs:
            keys = (
                run.keys
                if isinstance(run.keys, torch.Tensor)
                else torch.arange(run.keys.start, run.keys.stop)
            )
            rows = torch.arange(run.tokens.start, run.tokens.stop)
            found[rows[:, None], keys] = run.mask[0, 0] == 0
            skipped += len(rows) * (visible.shape[1] - planned.trunk - len(keys))
            kinds.add(type(run.keys))
        assert torch.equal(found, visible)
        trunks.append(planned.trunk)
    assert skipped > 0
    if budget == 300:
        assert max(trunks) > 350  # header and passage
    if budget == 5000:
        assert kinds == {slice, torch.Tensor}  # the header, then questions far behind it


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
@pytest.mark.parametrize(
    ("value_size", "kernel"),
    [(16, "in two parts"), (24, "in one"), (16, "without groups"), (16, "query in other strides")],
)
def test_attention_in_trunk_and_runs_is_that_under_the_dense_mask(
    dtype: torch.dtype,
    tolerance: float,
    value_size: int,
    kernel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_module, "_TAKES_GROUPS", "without" not in kernel)
    in_two: list[bool] = []
    in_parts = attention_module._trunk_and_runs

    def counted(*given: Any) -> torch.Tensor:
        in_two.append(True)
        return in_parts(*given)

    monkeypatch.setattr(attention_module, "_trunk_and_runs", counted)
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups, module.is_causal = 2, True  # type: ignore[assignment]
    rows = list(pack(long_task(), 300))
    row = max(rows, key=lambda row: tree_runs(row, dtype).trunk)
    tokens, keys = row.end - row.start, len(row.keys)
    query = torch.randn(1, 4, tokens, 16).to(dtype)
    if "strides" in kernel:
        query = query.transpose(2, 3).contiguous().transpose(2, 3)
    key = torch.randn(1, 2, keys, 16).to(dtype)
    value = torch.randn(1, 2, keys, value_size).to(dtype)
    mask = torch.zeros(1, 1, tokens, keys).masked_fill(~torch.tensor(row.visible()), -torch.inf)
    expected, _ = tree_attention(
        module, query.float(), key.float(), value.float(), mask, scaling=0.3
    )
    mask.tree_runs = tree_runs(row, dtype)  # type: ignore[attr-defined]
    found, _ = tree_attention(module, query, key, value, mask, scaling=0.3)
    assert mask.tree_runs.trunk > 100 and mask.tree_runs.used == 1  # type: ignore[attr-defined]
    assert in_two == [True] * (kernel == "in two parts")
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("attention", "numbers"), [("sdpa", [True, False, False]), ("eager", [True, True, True])]
)
def test_a_dense_mask_holds_numbers_only_until_all_layers_took_its_runs(
    attention: str, numbers: list[bool]
) -> None:
    model = make_model("Llama", GROUPED)
    model.set_attn_implementation(attention)
    given: list[bool] = []
    hook = model.model.register_forward_pre_hook(
        lambda _m, _a, given_: given.append(not given_["attention_mask"].isnan().any()),
        with_kwargs=True,
    )
    forest = build_forest(pair for request in task(12) for pair in request.pairs)
    list(PackedScorer(model, forest.tokens_distinct // 3 + 1).read(forest))
    hook.remove()
    assert given == numbers
    assert model.config._attn_implementation == attention


def read_scores(logprob: float, seconds: float) -> ReadScores:
    return ReadScores(1, np.array([logprob]), np.array([True]), seconds)


@pytest.mark.parametrize(
    ("logprob", "seconds", "kept"), [(-1.0, 0.5, True), (-1.0, 1.0, False), (-1.1, 0.1, False)]
)
def test_flex_attention_is_kept_when_it_agrees_and_is_faster(
    logprob: float, seconds: float, kept: bool
) -> None:
    choice = AttentionChoice(tried=True)
    for compiling in (30.0, 20.0, 0.0):
        if choice.undecided:
            flex = read_scores(logprob, compiling + seconds)
            choice.measured(read_scores(-1.0, 1.0), flex, torch.bfloat16)
    assert not choice.undecided
    assert choice.flex is kept


def test_a_failing_flex_attention_changes_nothing(llama: Any) -> None:
    forest = build_forest(pair for request in task() for pair in request.pairs)
    expected = np.concatenate([scores.logprobs for scores in PackedScorer(llama, 64).read(forest)])
    scorer = PackedScorer(llama, 64)
    scorer.attention = AttentionChoice(tried=True)
    scorer.budget.limit(64)

    def refuse(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        if not isinstance(given["attention_mask"], torch.Tensor):
            raise RuntimeError("no compiler")

    hook = llama.register_forward_pre_hook(refuse, with_kwargs=True)
    found = np.concatenate([scores.logprobs for scores in scorer.read(forest)])
    hook.remove()
    assert not scorer.attention.undecided
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_flex_attention_that_disagrees_leaves_no_trace(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = build_forest(pair for request in task() for pair in request.pairs)
    expected = np.concatenate([scores.logprobs for scores in PackedScorer(llama, 64).read(forest)])
    scorer = PackedScorer(llama, 64)
    scorer.attention = AttentionChoice(tried=True)
    scorer.budget.limit(64)
    # A mask that hides nothing.
    monkeypatch.setattr(
        scorer._masks, "blocks", lambda row: torch.zeros(1, 1, row.end - row.start, len(row.keys))
    )
    monkeypatch.setattr(
        "ko_eval.engines.transformers_packed.flex_attention", lambda _: nullcontext()
    )
    found = np.concatenate([scores.logprobs for scores in scorer.read(forest)])
    assert not scorer.attention.undecided
    assert not scorer.attention.flex
    assert found == pytest.approx(expected, abs=1e-5)


def test_each_distinct_token_is_fed_once(llama: Any) -> None:
    requests, fed = task(), []
    scorer = LikelihoodScorer(llama, 0, batch_tokens=64)
    list(scorer.answers(requests))
    hook = llama.register_forward_pre_hook(
        lambda _m, _a, given: fed.append(given["input_ids"].numel()), with_kwargs=True
    )
    list(scorer.answers(requests))
    hook.remove()
    forest = build_forest(pair for request in requests for pair in request.pairs)
    assert sum(fed) == forest.tokens_distinct < forest.tokens_asked / 5
    assert max(fed) <= 64


def test_logits_are_computed_only_where_a_score_is_read(llama: Any) -> None:
    requests, rows = task(), []
    hook = llama.lm_head.register_forward_hook(lambda _m, given, _o: rows.append(given[0].shape[1]))
    scorer = PackedScorer(llama, 64)
    forest = build_forest(pair for request in requests for pair in request.pairs)
    list(scorer.read(forest))
    hook.remove()
    assert sum(rows) == forest.rows_read < forest.tokens_distinct


class Centred(torch.nn.Linear):
    """A head that needs all its logits at a time."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = super().forward(hidden)
        return logits - logits.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize(
    ("family", "cut"),
    [
        ("Llama", "vocabulary"),
        ("GPT-2", "vocabulary"),
        ("Gemma 2", "vocabulary"),  # a soft cap behind the head
        ("Granite", "vocabulary"),  # a scale
        ("Phi", "vocabulary"),  # a bias
        ("Llama, a head of its own kind", "places"),
        ("Llama, hooks of accelerate", "places"),
        ("Llama, logits that depend on others", "places"),
    ],
)
def test_the_head_runs_in_parts_where_its_logits_are_many(
    family: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(*FAMILIES[family.split(",")[0]])
    head = model.get_output_embeddings()
    if "own kind" in family:
        model.set_output_embeddings(Centred(head.in_features, head.out_features, bias=False))
        head = model.get_output_embeddings()
    elif "accelerate" in family:
        head.forward = head.forward
    elif "depend" in family:
        forward = type(model).forward

        def centred(self: Any, *rest: Any, **options: Any) -> Any:
            found = forward(self, *rest, **options)
            found.logits = found.logits - found.logits.mean(dim=-1, keepdim=True) * 5
            return found

        monkeypatch.setattr(type(model), "forward", centred)
    forest = build_forest(pair for request in task() for pair in request.pairs)
    whole, parts = PackedScorer(model, 128), PackedScorer(model, 128)
    parts._head._elements = 5 * VOCABULARY
    shapes: list[tuple[int, int]] = []
    hook = head.register_forward_hook(
        lambda _m, given, out: shapes.append((given[0].shape[1], out.shape[-1]))
    )
    found = np.concatenate([scores.logprobs for scores in parts.read(forest)])
    hook.remove()
    expected = np.concatenate([scores.logprobs for scores in whole.read(forest)])
    assert found == pytest.approx(expected, abs=1e-5)
    places, tokens = zip(*shapes, strict=True)
    assert max(place * token for place, token in shapes) <= 5 * VOCABULARY + max(places)
    if cut == "places":
        assert max(places) <= 5
        assert {token for place, token in shapes if place == max(places)} == {VOCABULARY}
    else:
        assert max(places) > 5
        assert min(tokens) < VOCABULARY / 4
    assert ("forward" in head.__dict__) == ("accelerate" in family)


def test_a_head_is_whole_again_when_scoring_fails_between_its_parts(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, logits: torch.Tensor, *rest: int) -> None:
        assert logits.shape[1] < VOCABULARY
        raise ValueError("between the parts")

    scorer = PackedScorer(llama, 128)
    scorer._head._elements = VOCABULARY
    monkeypatch.setattr(TokenScores, "add", fail)
    with pytest.raises(ValueError, match="between the parts") as caught:
        list(scorer.read(build_forest(pair for request in task() for pair in request.pairs)))
    with torch.inference_mode():
        assert llama(torch.tensor([[5, 6]])).logits.shape[-1] == VOCABULARY
    assert caught.tb  # which held the frames until here


def test_a_trial_of_the_head_that_runs_out_of_memory_is_made_again(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = VocabularyHead(llama)
    head._elements = VOCABULARY
    narrowed = head_module._narrowed
    asked: list[int] = []

    def fails_at_first(*given: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return narrowed(*given)

    monkeypatch.setattr(head_module, "_narrowed", fails_at_first)
    given, places = {"input_ids": torch.tensor([[5, 6, 7, 8]])}, torch.arange(4)
    with torch.inference_mode():
        with pytest.raises(torch.OutOfMemoryError):
            list(head.logits(given, places))
        asked_again = not head._tried
        parts = [part for part, _, _ in head.logits(given, places)]
        assert torch.cat(parts, dim=1) == pytest.approx(llama(**given).logits[0], abs=1e-5)
    assert asked_again and head._tried
    assert len(parts) == 4


def test_a_token_without_a_logit_has_no_score() -> None:
    logprobs, greedy = token_scores(torch.zeros(1, 10), torch.tensor([0, 0]), torch.tensor([3, 12]))
    assert logprobs[0] == pytest.approx(-np.log(10))
    assert np.isnan(logprobs[1])
    assert greedy.tolist() == [True, False]


@pytest.mark.parametrize("stretch", [1, 3, 4, 7])
def test_scores_are_the_same_in_stretches_of_the_vocabulary(stretch: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 7) * 20
    logits[:, :4] = -torch.inf  # whole stretches of it
    place, token = torch.tensor([0, 1, 1, 4]), torch.tensor([6, 5, 2, 4])
    scores = TokenScores(5, place, token)
    for first in range(0, 7, stretch):
        scores.add(logits[:2, first : first + stretch], 0, first)
        scores.add(logits[2:, first : first + stretch], 2, first)
    logprobs, greedy = scores.result()
    expected = torch.log_softmax(logits.double(), dim=1)[place, token]
    assert logprobs == pytest.approx(expected.numpy(), abs=1e-5)
    assert greedy.tolist() == (logits[place, token] == logits[place].amax(dim=1)).tolist()


def test_greedy_says_whether_every_token_is_the_most_likely_one(llama: Any) -> None:
    context = (5, 6, 7, 8)
    ids = list(context)
    for _ in range(3):
        with torch.inference_mode():
            ids.append(int(llama(torch.tensor([ids])).logits[0, -1].argmax()))
    best = tuple(ids[4:])
    other = (*best[:2], (best[2] + 1) % VOCABULARY)
    request = of_pairs("k", [EncodedPair(context, best), EncodedPair(context, other)])
    for path in ("auto", "plain"):
        response = next(LikelihoodScorer(llama, 0, path=path).answers([request])).response
        assert isinstance(response, LoglikelihoodResponse)
        assert response.greedy == (True, False)


def test_the_plain_path_can_be_forced_and_is_no_warning(llama: Any) -> None:
    requests = task(2)
    scorer = LikelihoodScorer(llama, 0, path="plain")
    found = values(scorer, requests)
    assert (scorer.path, scorer.warnings) == ("plain", [])
    packed = values(LikelihoodScorer(llama, 0), requests)
    for key, response in found.items():
        assert response.loglikelihoods == pytest.approx(packed[key].loglikelihoods, abs=1e-4)


def test_a_model_that_ignores_the_mask_is_found_out() -> None:
    model = make_model(*FAMILIES["Llama"])
    body = model.model.forward
    model.model.forward = lambda **given: body(**{**given, "attention_mask": None})
    requests = task(3)
    scorer = LikelihoodScorer(model, 0)
    found = values(scorer, requests)
    assert scorer.path == "plain"
    assert "nats per token from the plain one" in scorer.warnings[0]
    for key, expected in plainly(model, requests).items():
        assert found[key].loglikelihoods == pytest.approx(expected, abs=2e-4)


def test_a_model_that_fails_on_packed_rows_is_asked_plainly() -> None:
    model = make_model(*FAMILIES["Llama"])

    def refuse(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        if given.get("attention_mask") is not None:
            raise ValueError("attention_mask must have two dimensions")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    scorer = LikelihoodScorer(model, 0)
    found = values(scorer, task(2))
    assert scorer.path == "plain"
    assert "attention_mask must have two dimensions" in scorer.warnings[0]
    assert all(isinstance(response, LoglikelihoodResponse) for response in found.values())


@pytest.mark.parametrize("family", ["Llama", "GPT-2", "Gemma 2"])
def test_in_lower_precision_both_paths_are_held_against_float32(family: str) -> None:
    exact = make_model(*FAMILIES[family])
    model = make_model(*FAMILIES[family], torch.bfloat16)
    exact.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    pairs = [pair for request in task(2) for pair in request.pairs]
    before = {name: p.dtype for name, p in model.named_parameters()}
    with in_float32(model):
        widened = [plain_scores(model, [pair], 0)[0][0] for pair in pairs]
    expected = [plain_scores(exact, [pair], 0)[0][0] for pair in pairs]
    assert np.concatenate(widened) == pytest.approx(np.concatenate(expected), abs=1e-4)
    assert {name: p.dtype for name, p in model.named_parameters()} == before
    check(model, task(2), 0, 256)
    scorer = LikelihoodScorer(model, 0)
    values(scorer, task(2))
    assert scorer.path == "packed"


def test_a_wrong_mask_is_found_out_in_lower_precision() -> None:
    model = make_model(*FAMILIES["Llama"], torch.bfloat16)
    body = model.model.forward
    model.model.forward = lambda **given: body(**{**given, "attention_mask": None})
    scorer = LikelihoodScorer(model, 0)
    values(scorer, task(3))
    assert scorer.path == "plain"
    assert "against float32" in scorer.warnings[0]


def offloaded(model: Any, folder: Path) -> Any:
    """The last layer and the head lie on disk, and accelerate's hooks bring them in."""
    from accelerate import dispatch_model

    on_disk = {"model.layers.2": "disk", "lm_head": "disk"}
    parts = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm"]
    places = {**dict.fromkeys([*parts, "model.rotary_emb"], "cpu"), **on_disk}
    return dispatch_model(model, places, main_device="cpu", offload_dir=str(folder))


def test_a_model_that_accelerate_spread_keeps_its_hooks(tmp_path: Path) -> None:
    plain = make_model(*FAMILIES["Llama"], torch.bfloat16)
    model = offloaded(make_model(*FAMILIES["Llama"], torch.bfloat16), tmp_path)
    requests = task(2)
    scorer = LikelihoodScorer(model, 0)
    found = values(scorer, requests)
    assert (scorer.path, scorer.reason) == ("packed", None)
    for key, expected in plainly(plain, requests).items():
        assert found[key].loglikelihoods == pytest.approx(expected, abs=0.3)
    assert set(values(scorer, requests)) == set(found)


class ScaledLinear(torch.nn.Linear):
    """Weights that mean something only with their scale, as quantised ones."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(given, self.weight * 0.25)


def test_scaled_weights_do_not_hide_a_wrong_mask() -> None:
    model = make_model(*FAMILIES["Llama"], torch.bfloat16)
    for layer in model.model.layers:
        old = layer.mlp.down_proj
        layer.mlp.down_proj = ScaledLinear(old.in_features, old.out_features, bias=False)
        layer.mlp.down_proj.weight.data = old.weight.data * 4
    check(model, task(3), 0, 256)
    body = model.model.forward
    model.model.forward = lambda **given: body(**{**given, "attention_mask": None})
    scorer = LikelihoodScorer(model, 0)
    values(scorer, task(3))
    assert scorer.path == "plain"


def test_a_failure_in_a_later_row_falls_back_and_loses_nothing(llama: Any) -> None:
    requests = task()
    scorer = LikelihoodScorer(llama, 0, batch_tokens=64)
    expected = values(scorer, requests)
    fed = 0

    def fail(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        nonlocal fed
        fed += given["input_ids"].numel()
        if fed > 100 and given.get("attention_mask") is not None:
            raise RuntimeError("a tensor has another size")

    hook = llama.register_forward_pre_hook(fail, with_kwargs=True)
    found = values(scorer, requests)
    hook.remove()
    assert "a tensor has another size" in scorer.warnings[0]
    for key, response in expected.items():
        assert found[key].loglikelihoods == pytest.approx(response.loglikelihoods, abs=1e-4)


def test_longer_requests_are_checked_again() -> None:
    """A mask fault that shows only beyond the requests of the first call."""
    model = make_model(*FAMILIES["Llama"])
    short = [of_pairs("short", [EncodedPair((5, 6, 7), (8,)), EncodedPair((5, 6, 9), (8, 8))])]
    scorer = LikelihoodScorer(model, 0)
    values(scorer, short)
    assert not scorer.warnings
    body = model.model.forward

    def forgets_masks_of_long_rows(**given: Any) -> Any:
        long = given["input_ids"].shape[1] > 20
        return body(**{**given, **({"attention_mask": None} if long else {})})

    model.model.forward = forgets_masks_of_long_rows
    requests = task(3)
    found = values(scorer, requests)
    assert scorer.path == "plain"
    for key, expected in plainly(model, requests).items():
        assert found[key].loglikelihoods == pytest.approx(expected, abs=2e-4)


def test_hidden_vocabulary_is_no_difference() -> None:
    model = make_model(*FAMILIES["Llama"])
    model.lm_head.register_forward_hook(
        lambda _m, _in, out: out.index_fill(-1, torch.tensor([7]), -torch.inf)
    )
    pairs = [EncodedPair((5, 6), (7,)), EncodedPair((5, 6), (8,))]
    scorer = LikelihoodScorer(model, 0)
    found = values(scorer, [of_pairs("k", pairs)])
    assert (scorer.path, scorer.warnings) == ("packed", [])
    assert found["k"].loglikelihoods[0] == -np.inf


def test_out_of_memory_makes_rows_smaller_and_loses_nothing(llama: Any) -> None:
    requests = task()
    scorer = LikelihoodScorer(llama, 0, batch_tokens=200)
    expected = values(scorer, requests)
    sizes: list[int] = []

    def refuse(module: Any, arguments: Any, given: dict[str, torch.Tensor]) -> None:
        sizes.append(given["input_ids"].numel())
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = llama.register_forward_pre_hook(refuse, with_kwargs=True)
    found = values(scorer, requests)
    hook.remove()
    assert max(sizes) > 60
    assert sum(size > 60 for size in sizes) <= 2
    assert scorer.path == "packed"
    for key, response in expected.items():
        assert found[key].loglikelihoods == pytest.approx(response.loglikelihoods, abs=1e-4)


def test_when_not_even_small_rows_fit_what_is_left_is_asked_plainly(llama: Any) -> None:
    requests = task()
    scorer = LikelihoodScorer(llama, 0, batch_tokens=64)
    expected = values(scorer, requests)
    fed = 0

    def refuse(module: Any, arguments: Any, given: dict[str, torch.Tensor]) -> None:
        nonlocal fed
        fed += given["input_ids"].numel()
        if fed > 100 and given.get("attention_mask") is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = llama.register_forward_pre_hook(refuse, with_kwargs=True)
    answers = list(scorer.answers(requests))
    hook.remove()
    assert sorted(answer.key for answer in answers) == sorted(r.key for r in requests)
    assert "memory ran out" in scorer.warnings[0]
    for answer in answers:
        assert isinstance(answer.response, LoglikelihoodResponse)
        values_before = expected[answer.key].loglikelihoods
        assert answer.response.loglikelihoods == pytest.approx(values_before, abs=1e-4)


def test_a_model_that_gives_no_numbers_fails_its_samples() -> None:
    model = make_model(*FAMILIES["Llama"])
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    found = values(LikelihoodScorer(model, 0), task(2))
    for response in found.values():
        assert isinstance(response, FailedResponse)
        assert "not a number" in response.reason


def test_the_check_asks_for_the_longest_request_and_stays_small() -> None:
    long = EncodedPair(tuple(range(3, 200)) * 20, (5,))
    requests = [*task(40), of_pairs("long", [long]), of_pairs("long too", [long])]
    pairs = check_sample(requests)
    assert long in pairs
    assert len(pairs) <= 4
    assert len(check_sample(task(40))) > 4


def test_the_check_sees_cached_paths(llama: Any) -> None:
    pairs = check_sample(task())
    assert packed_logprobs(llama, pairs) == pytest.approx(
        np.concatenate([plain_scores(llama, [pair], 0)[0][0] for pair in pairs]), abs=1e-4
    )


def test_obstacles_are_known_before_a_forward(llama: Any) -> None:
    assert packing_obstacle(llama, 100) is None
    longrope = make_model(*FAMILIES["Llama"])
    longrope.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert packing_obstacle(longrope, 512) is None
    assert "beyond 512 tokens" in (packing_obstacle(longrope, 513) or "")


def test_segments_hold_every_request_once_in_order() -> None:
    requests = task(30)
    parts = [list(part) for part in segments(requests, tokens=200)]
    assert [request for part in parts for request in part] == requests
    assert len(parts) > 3
    for part in parts[:-1]:
        forest = build_forest(pair for request in part for pair in request.pairs)
        assert forest.tokens_distinct <= 200
    assert [list(part) for part in segments(requests)] == [requests]


def test_segments_do_not_change_the_values(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = task(10)
    expected = values(LikelihoodScorer(llama, 0), requests)
    monkeypatch.setattr(
        "ko_eval.engines.transformers_scoring.segments", lambda given: segments(given, 100)
    )
    found = values(LikelihoodScorer(llama, 0), requests)
    for key, response in expected.items():
        assert found[key].loglikelihoods == pytest.approx(response.loglikelihoods, abs=1e-4)


def test_a_request_is_answered_as_soon_as_its_rows_are_done(llama: Any) -> None:
    requests = [replace(request, pairs=request.pairs[:-1]) for request in task(12)]
    scorer = LikelihoodScorer(llama, 0, batch_tokens=64)
    list(scorer.answers(requests))
    forwards = 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    hook = llama.register_forward_pre_hook(count)
    seen = [forwards for _ in scorer.answers(requests)]
    hook.remove()
    assert seen[0] < forwards / 2
    assert seen == sorted(seen)


def test_row_sizes_rise_while_that_is_faster() -> None:
    budget = RowBudget("cpu_dense", (100, 200, 400))
    sizes = []
    while not budget.settled:
        sizes.append(budget.tokens)
        seconds = {100: 0.1, 200: 0.15, 400: 0.5}[budget.tokens]
        budget.measured(budget.tokens, seconds)
    assert sizes == [100] * 3 + [200] * 3 + [400] * 3
    assert budget.tokens == 200
    budget.measured(200, 9.0)
    assert budget.tokens == 200


@pytest.mark.parametrize(("attention", "tokens"), [("sdpa", 1024), ("eager", 256)])
def test_rows_are_long_from_the_start_where_tokens_do_not_attend_to_all_of_them(
    attention: str, tokens: int
) -> None:
    model = make_model("Llama", GROUPED)
    model.set_attn_implementation(attention)
    assert PackedScorer(model).budget.tokens == tokens


def test_a_row_that_is_not_full_says_nothing_about_its_size() -> None:
    budget = RowBudget("cpu", (100, 200))
    for _ in range(10):
        budget.measured(40, 0.001)
    assert budget.tokens == 100
    assert not budget.settled


def test_a_given_row_size_is_not_measured() -> None:
    assert RowBudget("cuda", (100_000,)).settled


def test_the_first_row_is_not_measured(llama: Any) -> None:
    forest = build_forest(pair for request in task(12) for pair in request.pairs)
    scorer = PackedScorer(llama)
    scorer.budget = RowBudget("cpu", (forest.tokens_distinct // 3 + 1, 9999))
    measured: list[int] = []

    def measure(tokens: int, seconds: float) -> None:
        measured.append(tokens)

    scorer.budget.measured = measure  # type: ignore[method-assign]
    list(scorer.read(forest))
    assert len(measured) == 2


def test_out_of_memory_settles_the_row_size() -> None:
    budget = RowBudget("cpu", (100, 200))
    budget.limit(50)
    assert budget.settled
    assert budget.tokens == 50
