"""Numbers in Korean text, exact and with their places.

    find_numbers("사과 3개와 스물다섯 명, 1억 2,345만 원")
    parse_number("마이너스 삼 점 오") == Fraction(-7, 2)

Compounds (1만 2천, 이천삼백, 스물다섯), decimals (3.5, 삼 점 오), fractions (2/3, 3분의 2, 2와
1/2), halves (3시간 반), signs and currency signs. What holds a number but states no single one is
found with no value, so that a caller can refuse it: ranges (3~5개, 두세 명), times, dates, ratios,
powers, measures in two units (3시간 30분). Text must be `normalized` first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ko_eval.korean.counters import STATEMENT_END, TAIL, UNIT
from ko_eval.korean.normalize import normalized, without_markup
from ko_eval.korean.numeral_words import DIGIT_WORDS, numeral_at

_INTEGER = r"[0-9]{1,15}"
_FIGURES = "0123456789½⅓⅔¼¾⅕⅛"
_SINO = "".join(DIGIT_WORDS)
_PLAIN_SINO = f"{_SINO}십백천만"

# Where a number may begin. No digits of a name or an exponent, nor the rest of a longer run (x2,
# H2O, cm^2, 1.2.3), and no word with a letter or digit glued in front.
_FIRST = re.compile(
    rf"(?<![A-Za-z0-9_^])(?<![0-9]\.)(?:[{_FIGURES}]|\.(?=[0-9]))"
    rf"|(?<![^\W_])[{_SINO}십백천만억조경하한둘두셋세석넷네넉다여열스서마쉰예아너대반]"
)
# 3x is no number; 4x5 and 3 xyz hold some.
_VARIABLE = re.compile(r"[xyz](?![A-Za-z0-9])")
# Several numbers in one, none of which is the value: 3:30, 1.2.3, 3/5/2024, 2024-03-05, 10^6.
_ENTANGLED = re.compile(
    r"[0-9]++(?::[0-9]++)++|[0-9]++(?:\.[0-9]++){2,}+"
    r"|[0-9]++(?:/[0-9]++){2,}+|(?:19|20)[0-9]{2}-[0-9]{1,2}-[0-9]{1,2}(?![0-9])"
    r"|[0-9]++(?:\.[0-9]++)?+(?:\^\{?-?[0-9]++\}?|\*\*[0-9]++|[²³⁴⁵⁶⁷⁸⁹])"
)
# Fractions in digits, alone or behind a whole number: 2/3, 2 1/2, 2와 1/2, 1½.
_FRACTION = re.compile(
    rf"(?:({_INTEGER})(?: ?[와과] ?| ))?({_INTEGER}) ?/ ?({_INTEGER})(?![0-9]|[.,][0-9]| ?/ ?[0-9])"
)
_VULGAR = re.compile(rf"({_INTEGER})? ?([½⅓⅔¼¾⅕⅛])")
# Fractions in words: 3분의 2, 삼분의 이, 2와 3분의 1. "이 분의 일" may be this person's.
_PARTS = re.compile(
    rf"(?:({_INTEGER}) ?[와과]? )?(?:({_INTEGER}) ?|([{_SINO}십백천]{{1,5}}))분의 ?"
    rf"(?:({_INTEGER})|([{_SINO}십백천]{{1,5}})(?= ?{UNIT}{TAIL}|{TAIL}))"
)
# Decimals in words: 삼 점 일사, 영점오, 이 소수점 오; not "삼점이 많다" (particle), "이 점 이해".
_DECIMAL = re.compile(
    rf"([{_PLAIN_SINO}]{{1,9}}) ?(?:소수점|점)(?!이(?![{_SINO}])) ?"
    rf"([{_SINO}](?: ?[{_SINO}]){{0,7}})(?= ?{UNIT}{TAIL}|{TAIL})"
)
# Sign and currency sign in front of a number: -3, -$3, $-3, 마이너스 3, 영하 3.
_SIGN = re.compile(
    r"(?P<sign>(?:마이너스|음수|음의|영하) ?|[-–])?(?:US)?[$₩€£¥]?(?<=[$₩€£¥])(?P<inner>-)?$"
    r"|(?P<plain>(?:마이너스|음수|음의|영하) ?|[-–]|(?:(?<==)|(?<== ))[-–] )$"
)
_LONGEST_SIGN = 8
# Half a unit behind a count of it: 3시간 반; and alone: 반 개. Not 3학년 반, 반드시.
_HALF_BEHIND = re.compile(rf" ?(?!학년){UNIT} ?반(?={TAIL})")
_HALF = re.compile(
    rf"반(?= (?:개|시간|컵|병|판|쪽|접시|마리|통|상자|조각|스푼|바퀴|근|박스|봉지|잔|줄|년){TAIL})"
)
# About so many: 두세 명, 서너 개, 이삼십 원, 오륙 년.
_ABOUT = re.compile(
    r"(?:(?:한두|두세|두서너|서너|너댓|네댓|네다섯|너덧|대여섯|예닐곱|일고여덟|여덟아홉|열댓|여남은)"
    rf"|(?:일이|이삼|삼사|사오|오륙|육칠|칠팔|팔구)[십백천만]{{0,2}})(?= ?{UNIT}{TAIL})"
)

# --- two numbers that state one thing ----------------------------------------------------------

# 3~5, 3개 ~ 5개, 3 내지 5; dashes and hyphens only upward, since 20 – 8 is a difference.
_UP_TO = re.compile(r"\s?[가-힣A-Za-z%]{0,6}\s?(?:(~|내지)|[-–—])\s?")
# 3에서 5 사이, 3개부터 5개까지.
_FROM = re.compile(r"\s?[가-힣A-Za-z%]{0,6}?(?:에서|부터)\s?")
_TO = re.compile(r"\s?[가-힣A-Za-z%]{0,6}?\s?(?:사이|까지|정도|가량)")
# Behind the second number of a difference: 5-3=2, 1-2+4.
_OPERATOR = re.compile(r"\s?[=+×*/÷]")
_UNIT_BETWEEN = re.compile(r"\s?([가-힣A-Za-z]{1,4})\s?")
_SMALLER_UNITS = {
    "시간": ("분",), "시": ("분",), "분": ("초",), "년": ("개월", "월"), "월": ("일",),
    "주": ("일",), "주일": ("일",), "일": ("시간",), "달러": ("센트",), "kg": ("g",),
    "킬로그램": ("그램",), "미터": ("센티",), "m": ("cm",), "km": ("m",), "킬로미터": ("미터",),
    "리터": ("밀리",), "L": ("mL", "ml"), "피트": ("인치",), "파운드": ("온스",),
}  # fmt: skip

# --- whole expressions -------------------------------------------------------------------------

# What may stand in front of a stated number: 약 18, "18, +18.
_LEAD = re.compile(
    r"[\s\"'“‘\[(<+]*+(?:(?:약|대략|총|모두|합계|전부|정확히|단|오직|바로)(?![가-힣])\s*+){0,3}"
)
# What may stand behind it: a unit, the copula, closing marks.
_CLOSE = re.compile(
    rf"\s?(?:{UNIT})?\s?(?:{STATEMENT_END})?"
    r"[\s\"'”’\])>.!。]*+"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text.

    Attributes:
        value: exact; None where no single number is stated: a range, a time, a date, a ratio.
        start, end: its span with sign and currency sign, without its unit (but 3시간 반 is whole).
    """

    value: Fraction | None
    start: int
    end: int


def find_numbers(text: str, expected_at: int = -1) -> list[Number]:
    """The numbers of a normalised text in order; what belongs together (3~5, 2시간 30분) is one.

    Args:
        text: normalised text.
        expected_at: a place where a number is known to stand if a numeral does, as behind
            "정답은": words are read there without a counter.
    """
    return list(numbers_from(text, expected_at))


def numbers_from(
    text: str, expected_at: int = -1, start: int = 0, stop: int | None = None
) -> Iterator[Number]:
    """The same one by one; only numbers that begin within `text[start:stop]`."""
    last: Number | None = None
    at, end = start, len(text) if stop is None else stop
    while first := _FIRST.search(text, at, end):
        number = _number_at(text, first.start(), expected_at)
        at = first.end() if number is None else max(number.end, first.end())
        if number is None:
            continue
        if last and _is_one_with(text, last, number):
            number = Number(None, last.start, number.end)
        elif last:
            yield last
        last = number
    if last:
        yield last


def lead_end(text: str, start: int = 0) -> int:
    """Where a stated number may begin: behind white space, opening brackets and words like 약."""
    lead = _LEAD.match(text, start)
    return lead.end() if lead else start


def parse_number(text: str) -> Fraction | None:
    """The number that a whole expression states, with its unit and ending, or None.

    "약 1만 2천 원입니다" is 12000, "오" is 5; "3~5개", "사과" and "3개와 4개" are None.
    """
    text = without_markup(normalized(text)).strip()
    start = lead_end(text)
    numbers = find_numbers(text, start)
    if len(numbers) != 1 or numbers[0].start != start:
        return None
    return numbers[0].value if _CLOSE.fullmatch(text, numbers[0].end) else None


def _number_at(text: str, first: int, expected_at: int) -> Number | None:
    """The number whose digits or words begin at `first`, or None."""
    in_words = text[first] not in _FIGURES and text[first] != "."
    unclear = (_ABOUT if in_words else _ENTANGLED).match(text, first)
    if unclear:
        return Number(None, _sign_in_front(text, first)[0], unclear.end())
    read = _words_at(text, first) if in_words else _fraction_at(text, first)
    if not read:
        # Behind "정답은" a word may have a sign in front: 마이너스 오.
        near = 0 <= first - expected_at <= _LONGEST_SIGN
        lenient = near and expected_at in (first, _sign_in_front(text, first)[0])
        numeral = numeral_at(text, first, lenient=lenient)
        if numeral is None or _VARIABLE.match(text, numeral.end):
            return None
        if numeral.value is None:
            return Number(None, _sign_in_front(text, first)[0], numeral.end)
        read = numeral.value, numeral.end
    value, end = read
    if half := _HALF_BEHIND.match(text, end):
        value, end = value + Fraction(1, 2), half.end()
    start, negative = _sign_in_front(text, first)
    return Number(-value if negative else value, start, end)


def _sign_in_front(text: str, first: int) -> tuple[int, bool]:
    """Where a number with its signs begins, and whether it is negative."""
    window = max(0, first - _LONGEST_SIGN)
    sign = _SIGN.search(text[window:first])
    if sign is None:
        return first, False
    start = window + sign.start()
    mark = sign.group("sign") or sign.group("plain") or ""
    if mark in ("-", "–") and _is_difference(text, start):
        return start + 1, sign.group("inner") is not None
    return start, bool(mark or sign.group("inner"))


def _is_difference(text: str, at: int) -> bool:
    """Whether a minus right in front of a number takes it away from something: 5-3, 5 -3, 개-3."""
    if text[at - 1 : at].isspace():
        last = text[max(0, at - 4) : at].rstrip()[-1:]
        return last.isascii() and last.isalnum()
    return text[at - 1 : at].isalnum() or text[at - 1 : at] in (")", "]", "%")


def _fraction_at(text: str, first: int) -> tuple[Fraction, int] | None:
    """A fraction that begins with digits, and its end."""
    if vulgar := _VULGAR.match(text, first):
        part = Fraction(unicodedata.numeric(vulgar.group(2))).limit_denominator(8)
        return int(vulgar.group(1) or 0) + part, vulgar.end()
    if fraction := _FRACTION.match(text, first):
        whole, numerator, denominator = (int(group or 0) for group in fraction.groups())
        return _quotient(whole, numerator, denominator, fraction)
    return _parts_at(text, first)


def _parts_at(text: str, first: int) -> tuple[Fraction, int] | None:
    """A fraction with 분의, and its end."""
    parts = _PARTS.match(text, first)
    if parts is None:
        return None
    whole, *shares = map(_whole_of, parts.groups())
    return _quotient(whole, shares[2] or shares[3], shares[0] or shares[1], parts)


def _quotient(
    whole: int, numerator: int, denominator: int, written: re.Match[str]
) -> tuple[Fraction, int] | None:
    if not denominator or (written.group(1) and numerator >= denominator):
        return None
    return whole + Fraction(numerator, denominator), written.end()


def _words_at(text: str, first: int) -> tuple[Fraction, int] | None:
    """A fraction in words, a decimal in words or a half, and its end."""
    if text[first] == "반":
        half = _HALF.match(text, first)
        return (Fraction(1, 2), half.end()) if half else None
    if text[first] not in _PLAIN_SINO:
        return None
    if parts := _parts_at(text, first):
        return parts
    if decimal := _DECIMAL.match(text, first):
        digits = "".join(str(DIGIT_WORDS[word]) for word in decimal.group(2) if word != " ")
        whole = 0 if decimal.group(1) in "영공" else _whole_of(decimal.group(1))
        if whole or decimal.group(1) in "영공":
            return whole + Fraction(int(digits), 10 ** len(digits)), decimal.end()
    return None


def _whole_of(word: str | None) -> int:
    """The value of a whole numeral in digits or words; 0 when it is none."""
    if not word:
        return 0
    numeral = numeral_at(word, 0, lenient=True)
    return int(numeral.value or 0) if numeral and numeral.end == len(word) else 0


def _is_one_with(text: str, first: Number, second: Number) -> bool:
    """Whether two numbers in a row state one thing: a range, or a measure in two units."""
    between = text[first.end : second.start]
    if len(between) > 12:
        return False
    if up_to := _UP_TO.fullmatch(between):
        if up_to.group(1):
            return True
        upward = first.value is None or second.value is None or first.value < second.value
        return upward and not _OPERATOR.match(text, second.end)
    if _FROM.fullmatch(between):
        return _TO.match(text, second.end) is not None
    unit = _UNIT_BETWEEN.fullmatch(between)
    behind = text[second.end : second.end + 4].lstrip()
    return unit is not None and behind.startswith(_SMALLER_UNITS.get(unit.group(1), ("\0",)))
