"""What a response holds besides its answer, whatever kind of answer is read from it.

Reasoning that a model marks as such (<think>) is no part of its answer; reasoning that never ends
leaves none. A model that goes on with the next question of a few-shot prompt has answered before
it. And whoever says that the answer cannot be known has given none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise

# The marks of reasoning, as chat models write them: <think>, </think>, <thought>.
_MARK = re.compile(r"<(/?)(?:think(?:ing)?|thought|reasoning)>", re.IGNORECASE)

# The next question, or the mark of a turn: "질문: …", "[문제 2]", "**Q:**", a line "질문"; not
# "문제 1.5" and not "문제가".
_NEXT_QUESTION = re.compile(
    r"^[ \t#>*\[【(]{0,6}+(?:질문|문제|문항|Question|Q|User|Human|사용자)"
    r"[ \t]?\d{0,3}+[ \t]?\*{0,2}"
    r"(?:(?::|\.(?!\d))[^\n]*|[\])】][ \t]?\*{0,2}:?[^\n]*|$)|</s>|<\|[a-z_]{1,20}\|>",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_QUESTIONS = 20
"""Questions up to which a response is read: it keeps hostile text cheap."""

ANSWER = "정답|해답|답변|답안|답"
"""Words for the answer; 대답 is often no more than a turn of a conversation."""

JOINING_WORDS = "또는|혹은|아니면|그리고|및|or|and"
"""What joins two answers of one statement, so that neither is the answer: "A 또는 B"."""
JOINING_PARTICLES = "이?거나|이?나|이?랑|하고|[와과]"
"""The same glued to the first: "3개나 4개"."""

CANNOT = (
    r"(?:알|구할|계산할|답할|답변할|결정할|판단할|고를|선택할|확인할|특정할|풀|드릴) ?수[가는]? ?없"
)
"""The beginning of 알 수 없습니다 and of 알 수 없는."""
HARD_TO_TELL = r"(?:계산|판단|결정|답변?|선택|확정|특정)(?:하기)?(?:은|는|이|가|에는)? ?(?:매우 )?"
"""What stands in front of 어렵습니다 and 어려운."""
REFUSAL = (
    rf"{CANNOT}[습다어음네으]|{HARD_TO_TELL}(?:어렵|힘들|불가)|모르겠|모릅니다|모른다"
    r"|정보가 ?(?:부족|충분하지)|\bnot enough information\b"
    r"|\b(?:don'?t know|do not know|cannot (?:be determined|answer|determine))\b"
)
"""A pattern of what says that there is no answer; not of "알 수 없는 수를 x라 하면"."""


def without_reasoning(text: str) -> str:
    """The text without marked reasoning: all of it where the mark that opens it is never closed.

    Where the first mark is a closing one, the prompt had opened the reasoning.
    """
    kept: list[str] = []
    start, inside, begun = 0, False, False
    for mark in _MARK.finditer(text):
        closes = mark.group(1) == "/"
        if not inside and (begun or not closes):
            kept.append(text[start : mark.start()])
        start, inside, begun = mark.end(), not closes, True
    return "\n".join(kept) if inside else "\n".join([*kept, text[start:]]) if begun else text


def questions(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a response, one for each question that it repeats or invents.

    Each is the line of the question, empty for the first part, and what follows it.
    """
    found = list(islice(_NEXT_QUESTION.finditer(text), _MOST_QUESTIONS))
    spans = [(0, 0), *(question.span() for question in found), (len(text), len(text))]
    for (start, end), (following, _) in pairwise(spans):
        yield text[start:end], text[end:following]
