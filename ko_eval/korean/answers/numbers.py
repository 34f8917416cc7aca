"""The final number of a worked solution, read from free Korean text.

Policy, first rule that finds something wins:
1. the number behind `####`; 2. the content of \\boxed{…};
3. a statement of the answer: "정답은 18달러입니다", "답: 1만 2천 원", "18개가 정답입니다";
4. the last sentence that holds a number, closing remarks, checks and questions left out: the right
   side of its equation, or its last number that is no mere circumstance (하루에, 3명당, 5일 동안).
Of several finds the last one wins, since a model corrects itself. A find that states no single
number is no answer: a range (3~5개), two different values ("3개 또는 4개", "3, 4"), a time (3시
30분), an expression without its result (4 × 3), a refusal ("알 수 없습니다"). Step numbers
("3단계", "1.") are never read, nor is reasoning in <think> marks, nor what follows the next
question, where a model goes on with one. Statements and sentences are read from the last one back,
and no more of them than `_MOST`, so that no text takes long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise

from ko_eval.korean.answers.responses import (
    ANSWER,
    JOINING_PARTICLES,
    JOINING_WORDS,
    REFUSAL,
    questions,
    without_reasoning,
)
from ko_eval.korean.counters import STATEMENT_END, UNIT
from ko_eval.korean.normalize import boxed_spans, normalized, without_markup
from ko_eval.korean.numerals import Number, lead_end, numbers_from
from ko_eval.korean.sentences import split_sentences

# --- what stands around a number -------------------------------------------------------------

_COPULA = (
    rf"(?:{STATEMENT_END}|이며|이고|이므로|으?로"
    r"|[이가] ?(?:됩니다|된다|되었습니다|맞습니다|나옵니다|나온다))"
)
# A unit of any kind: 쿼트, square feet, /시간. No particle ends it: "3개를 샀고" states nothing.
_ANY_UNIT = (
    r"(?:[^\s0-9.,:;!?()\[\]=+×*÷<>|~-]{1,8}?(?<![을를은는이가의에와과도씩당])"
    r"|[A-Za-z/]{1,12}(?: [A-Za-z/]{1,12}){0,3})"
)
# From a stated number to the end of its clause.
_STATED = re.compile(
    rf"[\"'”’\])]? ?(?:{UNIT}|{_ANY_UNIT})? ?{_COPULA}?[\"'”’]?\s*(?:[.,!?;()\]<|\n—]|$)"
)
# Between two numbers that are offered together: 3개 또는 4개, 3과 4, "3, 4".
_OR = re.compile(
    r"\s{0,3}(?:[가-힣A-Za-z%]{0,6}?\s{0,3}"
    rf"(?:{JOINING_WORDS}|{JOINING_PARTICLES}|일 수도 있고)"
    rf"|(?:{UNIT})? ?[,/·、])\s{{0,3}}"
)
# Around two numbers that bound what is asked: 최소 3명, 최대 5명; 3명 이상 5명 이하.
_AT_LEAST, _AT_MOST = re.compile(r"(?:최소|적어도|최저) ?$"), re.compile(r"최대|최고|많아야")
_FROM = re.compile(rf" ?(?:{UNIT})? ?(?:이상|초과|부터|에서)")
_UP_TO = re.compile(rf" ?(?:{UNIT})? ?(?:이하|미만|까지)")
# Between two numbers of an expression: 4 × 3, 4개 + 3, 12 - 5.
_OPERATOR = re.compile(r"\s?[가-힣A-Za-z%]{0,6}?\s?\)?\s?[-–+×*÷/xX]\s?\(?\s?[$₩]?")
_OPERATOR_BEHIND = re.compile(r"\s?[-–+×*÷/=]")
# Behind a number that only says for what, when or how often: 하루에 3번씩, 5일 동안, 2시간 후.
_CIRCUMSTANCE = re.compile(
    rf" ?(?:{UNIT})? ?"
    r"(?:당|마다|동안|에|에는|에서|에게|만에|후|뒤|전|째|번째|단계|차시|째로)(?![가-힣])"
)
_PER = re.compile(rf" ?(?:{UNIT})? ?(?:당|마다)(?![가-힣])")
_STEP = re.compile(r" ?(?:번째 ?)?단계")
# In front of a number that is a label: 문제 3, 단계 2, Step 4, No. 5.
_LABEL_WORD = re.compile(r"(?:문제|질문|예제|단계|보기|그림|표|[Ss]tep|STEP|No\.?) ?$")
# In front of a condition: "더 만들어야 72개가 된다".
_CONDITION = re.compile(r"야 (?:총 |모두 )?$")
_IN_BRACKETS = re.compile(r"\([^()]{0,200}\)")
# What a correction takes back: "18이 아니라 20", "18, 아니 20".
_TAKEN_BACK = re.compile(r".{0,200}?[이가]? ?(?:아니라|아닌|아니고|아니,|아니 )")
_DENIED = re.compile(r"아닙니다|아니다|아니에요|아님")
_REFUSAL = re.compile(
    rf"{REFUSAL}|(?:(?<![가-힣])(?:정답|답|해)[이은가는]? ?|^)없[다습음]", re.IGNORECASE
)

# --- where an answer is stated ---------------------------------------------------------------

# GSM8K's mark, and the line behind it. A heading of that level holds more than a number.
_HASHES = re.compile(r"#{4}[ \t]*+([^\n]*)")
# GSM8K's calculator notes: <<3*6=18>>.
_NOTE = re.compile(r"<<[^<>\n]{0,200}>>")
# "정답은 ", "최종 답: ", "The answer is ", {"answer": …}, <final_answer>; not 대답은.
_ANSWER_IS = re.compile(
    rf"(?<![가-힣])(?:최종 ?|정확한 |올바른 )?(?:{ANSWER})(?:은|는|[\"']? ?[:=→])[\s:\"']*+"
    r"|(?:\b|(?<=_))(?<!</)(?<!</final_)answer(?: is|[\"']? ?[:=]|>)[\s:\"']*+",
    re.IGNORECASE,
)
# "18이 정답입니다", "18개가 답이다"; not "정답이 아니다".
_IS_THE_ANSWER = re.compile(
    r"[이가은는] (?:바로 |최종 ?|이 문제의 )?(?:정답|답)(?=입니다|이다|이에요|임|[.\n]|$)"
)
_LONGEST = 300
"""Characters of a sentence that states the answer, and of others that are read at a time."""
_MOST, _MOST_SENTENCES = 20, 200
"""Places of one kind, and sentences, that are looked at, counted from the end."""
_NEAR = 100
"""Characters in which a number at the beginning or the end of a sentence stands."""
_OVERLAP = 40
"""Characters that a number and its company may take."""

# --- what states no answer ---------------------------------------------------------------------

# Labels that open a line: "1. ", "2) ", "(3) ", "- ", "3단계:", "Step 2.", "①".
_LINE_LABEL = re.compile(
    r"\s*(?:[-*•·][ \t]+)?(?:\(?[0-9]{1,2}[.)](?=[ \t]+\S)|[①-⑳]|(?:제? ?[0-9]{1,2} ?단계"
    r"|단계 ?[0-9]{1,2}|(?i:step) ?[0-9]{1,2})[ \t]?[:.)\-]?)?\s*"
)
# A check of the result: it proves, but does not answer. Nothing behind it is read.
_CHECK_WORD = re.compile("검산|검증|확인|참고|Note|Check")
_CHECK = re.compile(rf"(?:{_CHECK_WORD.pattern})(?: ?:|하면|해 ?보|을 |$)")
# A sentence that gives the reason of the one before, or stands in brackets behind it.
_REASON = re.compile(r"왜냐하면|왜냐면|그 이유는|이유는|\([^()]*\)\.?$")
# Sentences that close a conversation.
_REMARK = re.compile(
    r"궁금|도움이|말씀해|알려 ?주|질문이|질문해|문의|바랍니다|감사|주세요|하세요|보세요|드릴까"
    r"|할까요|이해가|이해되"
)


def extract_number(text: str) -> Fraction | None:
    """The number that a response gives as its final answer, or None."""
    parts = questions(_NOTE.sub("", normalized(without_reasoning(text))))
    # A question that opens the response is repeated from the prompt.
    part = next(filter(str.strip, map("".join, parts)), "")
    plain = without_markup(part)
    statement = _behind_hashes(part) or _in_a_box(part) or _stated_answer(plain)
    return _value_of(statement) if statement else _concluded(plain)


def _behind_hashes(text: str) -> str | None:
    """The last line behind `####` that states a number or refuses."""
    for line in islice(reversed(list(_HASHES.finditer(text))), _MOST):
        content = without_markup(line.group(1)).strip()
        if _is_statement(content):
            return content
    return None


def _in_a_box(text: str) -> str | None:
    """The content of the last box that holds a number."""
    for start, end in islice(reversed(boxed_spans(text)), _MOST):
        content = without_markup(text[start:end]) if end - start <= _LONGEST else ""
        if any(numbers_from(content, lead_end(content))):
            return content
    return None


def _stated_answer(text: str) -> str | None:
    """The last sentence that says what the answer is."""
    openings, closings = list(_ANSWER_IS.finditer(text)), list(_IS_THE_ANSWER.finditer(text))
    ends = [*(opening.start() for opening in openings[1:]), len(text)]
    starts = [0, *(closing.end() for closing in closings)]
    cues = [*zip(openings, ends, strict=False), *zip(closings, starts, strict=False)]
    cues.sort(key=lambda cue: -cue[0].start())
    for cue, border in cues[:_MOST]:
        sentence = _sentence_behind(cue, border) if cue.re is _ANSWER_IS else _in_front(cue, border)
        if sentence is not None:
            return sentence
    return None


def _sentence_behind(opening: re.Match[str], end: int) -> str | None:
    """The sentence behind "정답은", up to `end`, if it states a number or refuses to."""
    text = opening.string[opening.end() : min(end, opening.end() + _LONGEST)]
    sentence = (split_sentences(text.lstrip().partition("\n")[0]) or [""])[0]
    topic = opening.group().rstrip().endswith(("은", "는"))
    states = _is_statement(sentence) or (topic and _ends_in_a_number(sentence))
    return sentence if states else None


def _in_front(closing: re.Match[str], start: int) -> str | None:
    """The sentence in front of "이 정답입니다", from `start` on, if it ends in a number."""
    text = closing.string[max(start, closing.start() - _LONGEST) : closing.start()]
    sentence = (split_sentences(text.rpartition("\n")[2]) or [""])[-1]
    return sentence if _ends_in_a_number(sentence) else None


def _is_statement(text: str) -> bool:
    """Whether a text states a number at its beginning and nothing else, or refuses to."""
    if _REFUSAL.search(text):
        return True
    start = lead_end(text)
    numbers = _first_two(text, start)
    if not numbers or numbers[0].start != start or _STEP.match(text, numbers[0].end):
        return False
    if _DENIED.search(text) or text.endswith("?"):
        return False
    offered = len(numbers) > 1 and _OR.fullmatch(text, numbers[0].end, numbers[1].start)
    return bool(offered or _STATED.match(text, numbers[0].end))


def _first_two(text: str, start: int) -> list[Number]:
    """The first two numbers near a place where one is expected."""
    return list(islice(numbers_from(text, start, 0, start + _NEAR), 2))


def _last_numbers(text: str, expected_at: int = -1, reach: int = _LONGEST) -> list[Number]:
    """The numbers of a text; of a long one, those of the last stretch that holds any."""
    end = len(text)
    while end > 0:
        # A number right where the stretch begins may be the rest of one.
        begin = len(text[: max(0, end - reach)].rstrip("0123456789.:/"))
        whole = begin + _OVERLAP if begin else 0
        found = numbers_from(text, expected_at, begin, end)
        if numbers := [number for number in found if number.end > whole]:
            return numbers
        end = whole
    return []


def _ends_in_a_number(sentence: str) -> bool:
    numbers = _last_numbers(sentence, reach=_NEAR)
    return bool(numbers) and _is_the_end(sentence, numbers[-1])


def _is_the_end(sentence: str, number: Number) -> bool:
    """Whether a sentence ends with a number, its unit and the copula."""
    stated = _STATED.match(sentence, number.end)
    if stated is None or stated.end() < len(sentence) or sentence.endswith("?"):
        return False
    return not _DENIED.search(sentence) and not _CONDITION.search(sentence[: number.start])


def _value_of(statement: str) -> Fraction | None:
    """The one number that a statement of the answer gives, or None."""
    if _REFUSAL.search(statement):
        return None
    if taken_back := _TAKEN_BACK.match(statement):
        statement = statement[taken_back.end() :]
    start = lead_end(statement)
    numbers = _first_two(statement, start)
    if numbers and numbers[0].start == start and _STATED.match(statement, numbers[0].end):
        if len(numbers) > 1 and _are_alternatives(statement, numbers[0], numbers[1]):
            return None
        return numbers[0].value
    return _last_value(statement, _last_numbers(statement, start))


def _concluded(text: str) -> Fraction | None:
    """The number of the last sentence that holds one; a reason counts where nothing else does."""
    reasons = []
    for sentence in islice(_sentences(text), _MOST_SENTENCES):
        if _REASON.match(sentence):
            reasons.append(sentence)
        elif (found := _final_value(sentence))[0]:
            return found[1]
    return next((value for said, value in map(_final_value, reasons) if said), None)


def _final_value(sentence: str) -> tuple[bool, Fraction | None]:
    """Whether a sentence holds a number or refuses to give one, and its last number."""
    if _REFUSAL.search(sentence):
        return True, None
    numbers = _last_numbers(sentence)
    return bool(numbers), _last_value(sentence, numbers)


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a solution from the last one back, without step labels, questions, checks
    and closing remarks.
    """
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if _CHECK_WORD.search(line):
            sentences = _split(line)
            proofs = [at for at, sentence in enumerate(sentences) if _CHECK.match(sentence)]
            if proofs:
                yield from filter(_states, reversed(sentences[: proofs[0]]))
                del lines[place:]
                break
    for line in reversed(lines):
        yield from filter(_states, reversed(_split(line)))


def _split(line: str) -> list[str]:
    label = _LINE_LABEL.match(line)
    return split_sentences(line[label.end() :] if label else line)


def _states(sentence: str) -> bool:
    """Whether a sentence neither asks, denies, nor talks to the reader: 1번 더 확인하세요."""
    if sentence.rstrip("\"' )").endswith("?") or _DENIED.search(sentence):
        return False
    return "=" in sentence or _REMARK.search(sentence) is None


def _last_value(sentence: str, numbers: list[Number]) -> Fraction | None:
    """The value a sentence ends up with, or None when it leaves more than one or none."""
    place = _last_place(sentence, numbers)
    if place is None:
        return None
    for before, after in pairwise(numbers[max(0, place - 1) : place + 2]):
        if _are_alternatives(sentence, before, after):
            return None
        if _OPERATOR.fullmatch(sentence, before.end, after.start):
            return None
    return numbers[place].value


def _last_place(sentence: str, numbers: list[Number]) -> int | None:
    """Which number a sentence ends up with: its last words, what its equation equals, or the last
    one outside brackets that is no circumstance.
    """
    if not numbers:
        return None
    bare = _IN_BRACKETS.sub(lambda brackets: " " * len(brackets.group()), sentence)
    if bare[numbers[-1].end - 1] != " " and _is_the_end(sentence, numbers[-1]):
        return len(numbers) - 1
    equals = max(bare.rfind(sign) for sign in "=≈≒")
    behind = [place for place, number in enumerate(numbers) if number.start > equals >= 0]
    if len(behind) > 1 and _PER.match(sentence, numbers[behind[0]].end):
        return behind[1]  # 96 / 6 = 1인당 16개
    if behind and not sentence[equals + 1 : numbers[behind[0]].start].strip(" $₩약"):
        return behind[0]
    places = [place for place, number in enumerate(numbers) if bare[number.end - 1] != " "]
    places = places or list(range(len(numbers)))
    stating = [place for place in places if not _is_circumstance(sentence, numbers[place])]
    return (stating or places)[-1]


def _is_circumstance(sentence: str, number: Number) -> bool:
    return bool(
        _CIRCUMSTANCE.match(sentence, number.end)
        or _LABEL_WORD.search(sentence[max(0, number.start - 8) : number.start])
    )


def _are_alternatives(text: str, first: Number, second: Number) -> bool:
    """Whether two different numbers are offered side by side, or as bounds of a range; not as
    parts of an explanation.
    """
    if first.value == second.value:
        return False
    offered = _OR.fullmatch(text, first.end, second.start) is not None
    return (offered and not _OPERATOR_BEHIND.match(text, second.end)) or _are_bounds(
        text, first, second
    )


def _are_bounds(text: str, first: Number, second: Number) -> bool:
    if second.start - first.end > _OVERLAP:
        return False
    if _AT_LEAST.search(text[max(0, first.start - 6) : first.start]):
        return _AT_MOST.search(text, first.end, second.start) is not None
    return bool(_FROM.match(text, first.end) and _UP_TO.match(text, second.end))
