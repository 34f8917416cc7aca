"""The vLLM engine without vLLM: its options, and what it asks for log-likelihoods when."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair, TokenIds
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_likelihood import MOST_NAMED, Ask, ForestPlan, PlainPlan, Plan, Scores
from ko_eval.engines.vllm_options import (
    VllmOptions,
    check_vllm,
    is_installed,
    parse_engine_args,
    pick_engine,
)
from ko_eval.engines.vllm_scoring import collect
from ko_eval.errors import UsageError
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.types import LoglikelihoodRequest, LoglikelihoodResponse

CPU = LoadOptions(device="cpu")

# --- options ---------------------------------------------------------------------------------


def test_engine_arguments_are_read_as_yaml() -> None:
    given_texts = ["max_num_seqs=64", "kv-cache-dtype=fp8", "enforce_eager=false", "a={b: [1, 2]}"]
    assert parse_engine_args(given_texts) == {
        "max_num_seqs": 64,
        "kv_cache_dtype": "fp8",
        "enforce_eager": False,
        "a": {"b": [1, 2]},
    }


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (["max_num_seqs"], "not of the form key=value"),
        (["=64"], "not of the form key=value"),
        (["seed=1", "seed=2"], "given twice"),
        (["a={b"], "cannot be read as YAML"),
    ],
)
def test_what_is_no_engine_argument_is_refused(texts: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_engine_args(texts)


@pytest.mark.parametrize(
    ("options", "load", "what"),
    [
        ({"tensor_parallel": 0}, {}, "--tensor-parallel 0"),
        ({"pipeline_parallel": -1}, {}, "--pipeline-parallel -1"),
        ({"memory_share": 1.5}, {}, "--memory-share 1.5 is not a share"),
        ({"engine_args": {"dtype": "auto"}}, {}, "has an option of its own"),
        ({"engine_args": {"logprobs_mode": "raw_logits"}}, {}, "cannot be changed"),
        ({}, {"device_map": "auto"}, "--device-map is for the transformers engine"),
        ({}, {"device": "cpu:0"}, "cannot be told to use device"),
    ],
)
def test_options_that_vllm_cannot_have_are_refused_before_it_is_imported(
    options: dict[str, Any], load: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        check_vllm(VllmOptions(**options), LoadOptions(**{"device": "cpu", **load}))


@pytest.mark.skipif(is_installed(), reason="vLLM is installed")
def test_without_vllm_the_user_is_told_what_to_install() -> None:
    with pytest.raises(UsageError, match="not installed") as caught:
        check_vllm(VllmOptions(), CPU)
    assert "install-vllm-cpu.sh" in str(caught.value.hint)


def test_auto_takes_transformers_on_the_cpu() -> None:
    assert pick_engine("auto", CPU) == "transformers"
    assert pick_engine("vllm", CPU) == "vllm"


def test_options_of_vllm_are_not_silently_left_out(tiny: Path) -> None:
    options = RunOptions(
        model=str(tiny),
        tasks=("ko_gpqa",),
        engine="transformers",
        vllm=VllmOptions(tensor_parallel=2),
    )
    with pytest.raises(UsageError, match="the transformers engine would answer"):
        plan_run(options)


# --- what is asked ---------------------------------------------------------------------------

BLOCK = 4


def logprob(prefix: Sequence[int], token: int) -> float:
    """A model of sorts: any token after any prefix has its own score."""
    return -random.Random(repr((tuple(prefix), token))).random()


def likelihood(key: str, *pairs: tuple[TokenIds, TokenIds]) -> EncodedLoglikelihood:
    request = LoglikelihoodRequest("t", key, ())
    return EncodedLoglikelihood(key, request, tuple(EncodedPair(*pair) for pair in pairs), 0)


def answered(
    requests: Sequence[EncodedLoglikelihood], plan: Plan
) -> tuple[dict[str, tuple[float, ...]], list[Ask]]:
    """Sums by key, from a stand-in that caches prefixes in blocks as vLLM does; and all asks."""
    scores, asks, again = Scores(requests, plan), plan.asks(), deque[Ask]()
    cache: set[TokenIds] = set()
    found: dict[str, tuple[float, ...]] = {}
    made = []
    while ask := again.popleft() if again else next(asks, None):
        made.append(ask)
        prompt, cached = tuple(ask.prompt), 0
        while ask.reads_cache and cached + BLOCK < len(prompt):
            if prompt[: cached + BLOCK] not in cache:
                break
            cached += BLOCK
        cache |= {prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)}
        finished: list[int] = []
        for token, score in ask.named.items():
            finished += scores.put(score, logprob(prompt, token), None)
        for row in ask.rows:
            if row.position < cached:
                again.append(ask.retried(row))
            else:
                value = logprob(prompt[: row.position + 1], row.token)
                finished += scores.put(row.score, value, None)
        for index in finished:
            answer = scores.answer(index, 0.0)
            assert answer.key not in found
            assert isinstance(answer.response, LoglikelihoodResponse)
            found[answer.key] = answer.response.loglikelihoods
    return found, made


def expected(requests: Sequence[EncodedLoglikelihood]) -> dict[str, tuple[float, ...]]:
    def total(pair: EncodedPair) -> float:
        whole, first = pair.context + pair.continuation, len(pair.context)
        return sum(logprob(whole[:at], whole[at]) for at in range(first, len(whole)))

    return {r.key: tuple(total(pair) for pair in r.pairs) for r in requests}


def steps(pairs: Sequence[EncodedPair]) -> Plan:
    return ForestPlan(pairs, named_rows=False)


def named_rows(pairs: Sequence[EncodedPair]) -> Plan:
    return ForestPlan(pairs, named_rows=True)


def plain(pairs: Sequence[EncodedPair]) -> Plan:
    return PlainPlan(pairs, max_length=100)


PLANS = [steps, named_rows, plain]
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)
REQUESTS = st.lists(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4), max_size=6)


@pytest.mark.parametrize("make", PLANS)
@given(items=REQUESTS)
def test_every_plan_gives_every_request_its_sums_once(
    make: Callable[[Sequence[EncodedPair]], Plan], items: list[list[tuple[TokenIds, TokenIds]]]
) -> None:
    requests = [likelihood(str(number), *pairs) for number, pairs in enumerate(items)]
    pairs = [pair for request in requests for pair in request.pairs]
    if not pairs:
        return
    found, _ = answered(requests, make(pairs))
    assert found == expected(requests)


@given(items=REQUESTS)
def test_there_are_never_more_asks_than_pairs(
    items: list[list[tuple[TokenIds, TokenIds]]],
) -> None:
    pairs = [EncodedPair(*pair) for item in items for pair in item]
    if pairs:
        asks = list(steps(pairs).asks())
        assert len(asks) <= len(pairs)
        assert len(list(named_rows(pairs).asks())) <= len(asks)


def test_choices_of_one_token_are_one_step_without_prompt_rows() -> None:
    context = (9, 8, 7, 6, 5)
    request = likelihood("labels", *((context, (label,)) for label in (1, 2, 3, 4)))
    found, asks = answered([request], steps(request.pairs))
    assert asks == [Ask(list(context), {1: 0, 2: 1, 3: 2, 4: 3}, ())]
    assert found == expected([request])


def test_a_choice_that_begins_another_is_scored_on_the_way() -> None:
    context = (9, 8)
    request = likelihood("prefix", (context, (1,)), (context, (1, 2)), (context, (1, 2, 3)))
    found, asks = answered([request], steps(request.pairs))
    assert [ask.prompt for ask in asks] == [[9, 8, 1, 2]]
    assert found == expected([request])


def test_neighbours_share_what_was_asked_before_them() -> None:
    header = tuple(range(100, 140))
    requests = [
        likelihood(f"{mark}", ((*header, mark), (1,)), ((*header, mark), (2,)))
        for mark in (50, 51, 52)
    ]
    shuffled = [requests[1], likelihood("other", ((7, 7), (1,))), requests[2], requests[0]]
    pairs = [pair for request in shuffled for pair in request.pairs]
    _, asks = answered(shuffled, steps(pairs))
    with_header = [ask.prompt[:-1] == list(header) for ask in asks]
    assert with_header in ([True, True, True, False], [False, True, True, True])


def test_a_row_that_the_cache_holds_is_asked_again_as_a_step() -> None:
    context = tuple(range(BLOCK))
    request = likelihood("two", (context, (1, 2)), (context, (3, 4)))
    found, asks = answered([request], steps(request.pairs))
    assert found == expected([request])
    assert [ask.prompt for ask in asks] == [[*context, 1], [*context, 3], list(context)]
    assert asks[-1].rows == ()


def test_more_tokens_than_one_step_may_name_are_split() -> None:
    context = (5, 5)
    count = 2 * MOST_NAMED + 1
    request = likelihood("many", *((context, (token,)) for token in range(10, 10 + count)))
    for make in (steps, named_rows):
        found, asks = answered([request], make(request.pairs))
        assert [len(ask.named) for ask in asks] == [MOST_NAMED, MOST_NAMED, 1]
        assert found == expected([request])


def test_a_plain_ask_never_feeds_more_than_the_window() -> None:
    window = 6
    request = likelihood("full", ((1, 2, 3, 4, 5), (6, 7)), ((1, 2), (3, 4)))
    found, asks = answered([request], PlainPlan(request.pairs, max_length=window))
    assert [len(ask.prompt) for ask in asks] == [window, 4]
    assert [len(ask.named) for ask in asks] == [1, 0]
    assert found == expected([request])


def test_rows_that_score_named_tokens_are_read_in_the_order_they_were_named() -> None:
    """Such a runner needs a GPU, so its output is a stand-in."""
    context = (9, 8, 7)
    request = likelihood("rows", (context, (1,)), (context, (2, 3)), (context, (2, 4)))
    plan = named_rows(request.pairs)
    (ask,) = plan.asks()
    assert (ask.prompt, list(ask.named)) == ([9, 8, 7, 2], [3, 4])
    assert [(row.position, row.token) for row in ask.rows] == [(2, 1), (2, 2)]
    step = SimpleNamespace(token_ids=[5, 3, 4], logprobs=[-0.1, -3.0, -4.0])
    output: Any = SimpleNamespace(
        outputs=[SimpleNamespace(logprobs=step, token_ids=[5])],
        num_cached_tokens=0,
        prompt_logprobs=None,
        prompt_token_id_logprobs=np.array([[-1.0, -2.0]]),
    )
    scores, again = Scores([request], plan), deque[Ask]()
    assert list(collect(ask, output, scores, again)) == [0]
    response = scores.answer(0, 0.0).response
    assert isinstance(response, LoglikelihoodResponse)
    assert response.loglikelihoods == (-1.0, -5.0, -6.0)
    assert response.greedy == ()
    # The cache held the rows: nothing was scored there.
    output.prompt_token_id_logprobs = None
    assert list(collect(ask, output, Scores([request], plan), again)) == []
    assert [(retry.prompt, list(retry.named)) for retry in again] == [
        *(([9, 8, 7], [1]), ([9, 8, 7], [2])),
    ]
