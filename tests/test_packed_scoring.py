"""The packed path gives what the plain path gives, for every family that can take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    FAMILIES,
    GROUPED,
    VOCABULARY,
    make_model,
    of_pairs,
    task,
)

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.engines.float32_reference import in_float32
from ko_eval.engines.likelihood_check import check, check_sample, packed_logprobs
from ko_eval.engines.prefix_tree import build_forest
from ko_eval.engines.transformers_likelihood import plain_scores
from ko_eval.engines.transformers_packed import packing_obstacle
from ko_eval.engines.transformers_scoring import LikelihoodScorer, segments
from ko_eval.types import FailedResponse, LoglikelihoodResponse

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
