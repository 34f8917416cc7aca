"""The hash of a task's prompts says whether two runs showed a model the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from ko_eval.tasks.prepare import PreparedTask, prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import ContextContinuation, GenerateRequest, LoglikelihoodRequest, Message


def hashed(*requests: LoglikelihoodRequest | GenerateRequest) -> str:
    some = prepare_task(load_task("kornat_knowledge"), limit=1)
    return dataclasses.replace(some, requests=requests).prompts_hash()


TURN = (Message("user", "질문"),)
SCORED = LoglikelihoodRequest(
    "t", "s", tuple(ContextContinuation("질문", text) for text in (" 가", " 나")), (TURN, TURN)
)
ASKED = GenerateRequest("t", "s", "질문", TURN, ("\n",), 16)


def test_equal_prompts_have_equal_hashes() -> None:
    def of(limit: int) -> PreparedTask:
        return prepare_task(load_task("ko_gsm8k"), limit=limit)

    assert of(3).prompts_hash() == of(3).prompts_hash() != of(4).prompts_hash()
    assert hashed(SCORED) == hashed(dataclasses.replace(SCORED))


@pytest.mark.parametrize(
    "change",
    [
        lambda: dataclasses.replace(SCORED, task="u"),
        lambda: dataclasses.replace(SCORED, sample_id="u"),
        lambda: dataclasses.replace(SCORED, pairs=SCORED.pairs[::-1]),
        lambda: dataclasses.replace(SCORED, pairs=SCORED.pairs[:1]),
        lambda: dataclasses.replace(SCORED, pairs=(ContextContinuation("질문 ", "가"),) * 2),
        lambda: dataclasses.replace(SCORED, messages=()),
        lambda: dataclasses.replace(SCORED, messages=(TURN,)),
        lambda: dataclasses.replace(SCORED, messages=(TURN, ())),
        lambda: dataclasses.replace(SCORED, messages=(TURN, (Message("system", "질문"),))),
        lambda: ASKED,
        lambda: dataclasses.replace(ASKED, prompt="질문?"),
        lambda: dataclasses.replace(ASKED, messages=(*TURN, Message("assistant", "질문"))),
        lambda: dataclasses.replace(ASKED, stop=("\n\n",)),
        lambda: dataclasses.replace(ASKED, max_tokens=17),
        lambda: dataclasses.replace(ASKED, temperature=0.5),
        lambda: dataclasses.replace(ASKED, top_p=0.5),
    ],
)
def test_whatever_changes_in_a_request_changes_the_hash(
    change: Callable[[], LoglikelihoodRequest | GenerateRequest],
) -> None:
    changed = change()
    assert hashed(changed) != hashed(SCORED)
    if changed is not ASKED:
        assert hashed(changed) != hashed(ASKED)


def test_a_text_may_hold_anything() -> None:
    lone = dataclasses.replace(ASKED, prompt="\ud800")
    assert hashed(lone) != hashed(ASKED)
