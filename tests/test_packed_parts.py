"""What packed scoring is made of: attention in runs, its choice, the head, row sizes."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    FAMILIES,
    GROUPED,
    VOCABULARY,
    make_model,
    task,
)

from ko_eval.engines import tree_attention as attention_module
from ko_eval.engines import vocabulary_head as head_module
from ko_eval.engines.attention_choice import AttentionChoice, ReadScores
from ko_eval.engines.base import EncodedPair
from ko_eval.engines.prefix_tree import Forest, build_forest, pack
from ko_eval.engines.row_budget import RowBudget
from ko_eval.engines.token_scores import TokenScores, token_scores
from ko_eval.engines.transformers_packed import PackedScorer
from ko_eval.engines.tree_attention import tree_attention, tree_runs
from ko_eval.engines.vocabulary_head import VocabularyHead


@pytest.fixture(scope="module")
def llama() -> Any:
    return make_model(*FAMILIES["Llama"])


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
