"""What a model may write: each response is judged or counted, in bounded time, and never obeyed."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path

import pytest
from bounded_time import read_in_bounded_time
from hostile import Run, limits, lines, safe

from ko_eval.scorers.base import Scorer
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse, Outcome, Sample

# One task for each scorer that reads text.
TASKS = [
    ("ko_gsm8k", None),
    ("ko_eqbench", None),
    ("ko_ifeval", None),
    ("ko_gpqa", "generate"),
    ("kornat_social_value", "generate"),
    ("ko_harmlessness", "generate"),
]


@functools.cache
def judged() -> list[tuple[str, Scorer, list[Sample]]]:
    found = []
    for name, variant in TASKS:
        scorer, _, rendered = prepare_samples(load_task(name, variant=variant), "bundled", limit=1)
        found.append((name, scorer, [item.sample for item in rendered]))
    return found


def judge(text: str, most: int | None = None) -> dict[str, list[Outcome]]:
    """The text as the response to every sample, of the first tasks only where so many are named."""
    response = GenerateResponse(text=text)
    return {
        name: [scorer.score(sample, response).outcome for sample in samples]
        for name, scorer, samples in judged()[:most]
    }


# Each is read by some pattern of ours; repeated, it is what a careless one would branch on.
UNITS = [
    *("9**9**9 ", "1e999999", "９", "10^10^10=", "천만억조", "½"),
    *("\\boxed{", "\\frac{1}{", "#### ", "따라서 ", "\\("),
    *("\u202e", "\x1b[31m", "\x00", "<script>", "| ", "> > "),
    *("\U0001f600", "ᄀ", "e\u0301", "\r", "{{ ", "<|im_end|>"),
]


@pytest.mark.parametrize("unit", UNITS, ids=[ascii(unit)[1:-1] for unit in UNITS])
def test_a_text_of_one_thing_takes_bounded_time(unit: str) -> None:
    judge(unit)
    # The last two read a letter as the one before them does.
    judge_some = functools.partial(judge, most=4)
    with limits(60):
        assert read_in_bounded_time(judge_some, lambda size: unit * (size // len(unit)), seconds=8)


MEGABYTES = {
    "one word": "가" * 333_333,
    "one number": "9" * 1_000_000,
    "lines": "답\n" * 250_000,
    "nested": "(" * 500_000 + ")" * 500_000,
    "JSON": '{"a":' * 200_000,
    "alternating": "1+" * 500_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MEGABYTES)
def test_a_megabyte_takes_its_share_of_time_and_memory(what: str) -> None:
    text = MEGABYTES[what]

    def spent(part: str) -> float:
        start = time.process_time()
        judge(part)
        return time.process_time() - start

    with limits(60, 2**30):
        quarter = spent(text[: len(text) // 4])
        # What grows with the square takes sixteen times as long.
        assert spent(text) < 9 * quarter + 0.5


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("#### 1e999999", "1e999999"),
        ("답은 9**9**9 입니다", None),
        ("10^10^10", None),
        ("답: ９９９", "999"),
        ("답: ١٢٣", None),
        ("답: ²", None),
        ("답: ∞", None),
        ("답: NaN", None),
        ("답: -1e-999999", None),
        ("답: 1/0", None),
        ("답: 0분의 1", None),
        ("답: 1" + "0" * 5000, None),
        ("답: " + "조" * 5000, None),
        ("답: 1" + ",000" * 5000, None),
        ("답: 0." + "3" * 5000, None),
        ("답: 100%" * 1000, None),
        ("답: 0x" + "f" * 5000, None),
        ("답: 1:" + "59:" * 5000, None),
        ("답: " + "-" * 5000 + "1", None),
        ("답: \\frac{1}{0}", None),
        ("답: sqrt(-1)", None),
        ("답: Ⅻ", None),
        ("답: 구구구" * 2000, None),
    ],
    ids=lambda value: ascii(value)[:40] if isinstance(value, str) else "",
)
def test_a_number_beyond_reason_is_judged_and_counted(text: str, reading: str | None) -> None:
    name, scorer, samples = judged()[0]
    assert name == "ko_gsm8k"
    with limits(10, 2**29):
        score = scorer.score(samples[0], GenerateResponse(text=text))
    assert score.outcome in (Outcome.OK, Outcome.NO_ANSWER)
    assert all(value == 0.0 for value in score.metrics.values())
    json.dumps({"extracted": score.extracted, **score.detail})
    if reading is not None:
        assert reading in (score.detail["flexible"], score.detail["korean"], score.extracted) or (
            str(score.detail["flexible"]) in reading
        )


TEXTS = [
    "\x1b]0;owned\x07\x1b[2J\x1b[1;1H답은 12 입니다",
    "\u202e답은 21 입니다\u202c",
    "<script>alert(document.cookie)</script><img src=x onerror=alert(1)>",
    "\x00\x01\x02\x7f\x9b31m",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% raw %}",
    "a\r\nerror: all is well\r\n",
    "\U000e0041\U000e0042\ufeff\u2028\u2029",
    "' OR 1=1; DROP TABLE results; --",
    "]]></a><!-- " + "-" * 1000,
]


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text)[1:30] for text in TEXTS])
def test_a_response_is_kept_as_it_is_and_shown_to_nobody(
    here: Run, tmp_path: Path, text: str
) -> None:
    row = {"id": "a", "question": "하나 더하기 하나는?", "answer": "#### 2"}
    lines(tmp_path / "d.jsonl", row)
    lines(tmp_path / "r.jsonl", {"id": "a", "response": text})
    command = ("score", "ko_gsm8k", "--responses", "r.jsonl", "--data", "d.jsonl")
    ended = here(*command, "--samples-out", "s.jsonl")
    safe(ended)
    assert ended.code == 0
    (line,) = (tmp_path / "s.jsonl").read_bytes().splitlines()
    assert json.loads(line)["outcome"] in ("ok", "no_answer")
    counted = json.loads(here(*command, "--json").out)
    assert sum(counted["outcomes"].values()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 10_000 + "답은 2",
        "</think>" * 10_000 + "답은 2",
        "<think>" * 5_000 + "</think>" * 5_000,
        "<THINK>답은 1</THINK>답은 2",
        "<think>\u202e</think\u200b>답은 2",
    ],
    ids=["opened", "closed", "both", "in capitals", "hidden"],
)
def test_a_thought_that_never_ends_hides_nothing_for_ever(text: str) -> None:
    with limits(10, 2**28):
        judge(text)


def test_a_group_is_named_without_being_obeyed(here: Run, tmp_path: Path) -> None:
    task = (
        "name: mine\nrequest: generate\ncolumns: {id: id, question: q, answer: answer, group: g}\n"
        "prompt: '{{ question }}'\nscorer: gsm8k\ngroup: group\n"
    )
    (tmp_path / "t.yaml").write_text(task)
    rows = [{"id": n, "q": "x", "answer": "1", "g": f"\x1b[2J\u202e{n}"} for n in range(2)]
    lines(tmp_path / "d.jsonl", *rows)
    lines(tmp_path / "r.jsonl", *({"id": n, "response": "1"} for n in range(2)))
    ended = here("score", "t.yaml", "--responses", "r.jsonl", "--data", "d.jsonl")
    safe(ended)
    assert "\\u001b[2J\\u202e0" in ended.out
