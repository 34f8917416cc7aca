"""Compound numerals: 이천삼백, 스물다섯, 1억 2,345만, 3만5천, 만 이천, 12.

Digits, Sino-Korean words, native words and the powers 만 억 조 경 combine in falling order. A
numeral of words alone is a number only where the words around it say so: the syllables 이 일 사 만
천 한 세 are parts of a thousand other words. The longest reading that stands is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ko_eval.korean.counters import COPULA, MEASURE, SINO_COUNTER, TAIL, UNIT

SINO_DIGITS = "영일이삼사오육칠팔구"
"""The Sino-Korean digits from 0 to 9."""
DIGIT_WORDS = {word: value for value, word in enumerate(SINO_DIGITS)} | {"공": 0, "륙": 6}
_SMALL_UNITS = {"십": 10, "백": 100, "천": 1000}
_BIG_UNITS = {"만": 10**4, "억": 10**8, "조": 10**12, "경": 10**16}
NATIVE_TENS = {
    "열": 10, "스물": 20, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50, "예순": 60, "일흔": 70,
    "여든": 80, "아흔": 90,
}  # fmt: skip
NATIVE_ONES = {
    "하나": 1, "한": 1, "둘": 2, "두": 2, "셋": 3, "세": 3, "석": 3, "넷": 4, "네": 4, "넉": 4,
    "다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9,
}  # fmt: skip
"""Native words; of those for one value the one that stands alone comes first, 셋 before 세."""
_BEFORE_COUNTERS = frozenset("한두세네석넉") | {"스무"}
_LONE_NOUNS = frozenset(("하나", "둘", "셋", "넷", "열", "쉰"))  # 열: also heat; 하나의: one of
_MOST_DIGITS = 30

# Digits with or without commas, and decimals: 12 1,234 3.5 .5. Not 1,23; a full stop that ends
# a sentence stays outside. At most eight commas, so that no long list is tried again and again.
DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}){1,8}+(?![0-9])|[0-9]++)(?:\.[0-9]++)?+|\.[0-9]++)"


def _either(words: dict[str, int]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


# One part of a numeral, after at most one space.
_PART = re.compile(
    rf"( ?)(?:(?P<digits>{DIGITS})"
    rf"|(?P<tens>{_either(NATIVE_TENS)})|(?P<ones>{_either(NATIVE_ONES)})"
    rf"|(?P<digit>[{''.join(DIGIT_WORDS)}])|(?P<small>[십백천])|(?P<big>[만억조경]))"
)
# A power right behind a digit word: 오천, 이만.
_POWER = re.compile(r"[십백천만억조경]")
_TAIL = re.compile(TAIL)
_UNIT = re.compile(rf" ?{UNIT}{TAIL}")
_GLUED_UNIT = re.compile(rf"{UNIT}{TAIL}")
_SPACED_UNIT = re.compile(rf" {UNIT}{TAIL}")
_MEASURE = re.compile(rf" ?{MEASURE}{TAIL}")
_SPACED_SINO_COUNTER = re.compile(rf" {SINO_COUNTER}{TAIL}")
# Where even 이 is a number and not "this": 이 원입니다; not 이 점을.
_COUNTED_AND_STATED = re.compile(rf" {SINO_COUNTER}{COPULA}")
# The end of a statement, with or without the copula: 둘입니다, "셋.", 넷이고.
_STATED = re.compile(rf"(?:{COPULA}|뿐|[다죠요](?![가-힣])|\s*(?:[.!?,;)\]}}\n]|$))")
# Counters that may touch a bare power: 만원, 천 명. Not 만개 (full bloom) or 만세 (hurrah).
_AFTER_POWER = re.compile(rf"(?:원|명|달러|번){TAIL}")
# Other words that look like a native numeral with a counter glued to it: 한번, 세대, 두통, 열병.
_OTHER_WORDS = re.compile(
    r"한(?:번|편|층|쪽|때|자|대|점|말|판|면|동안|군|단|곳|해|모|부분)|두(?:통|부|면|말|손)"
    r"|세(?:대|배|자|척|모|면|변|손|군|단|알|표|집|말|월|로)|네(?:모|집)|석(?:대|면|판|잔)"
    r"|열(?:대|병|판|점|량|단|손|기|쪽|차)"
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A numeral: its value, or None where Korean leaves two (이십이 된다: 20 or 22); its end."""

    value: Fraction | None
    end: int


@dataclass(slots=True)
class _Compound:
    """A numeral while it is read, part by part."""

    total: Fraction | int = 0  # parts with a big unit
    section: Fraction | int = 0  # what the next big unit would multiply
    coefficient: Fraction | int | None = None  # what the next small unit would multiply
    small: int = 10**4  # the next small unit must be below this
    big: int = 10**20  # the next big unit must be below this
    parts: int = 0
    digits: bool = False
    closed: bool = False  # nothing more can follow
    native: bool = False

    @property
    def value(self) -> Fraction:
        return Fraction(self.total + self.section + (self.coefficient or 0))

    def take(self, part: re.Match[str]) -> bool:
        """Add a part; False when it cannot belong to this numeral."""
        kind, word, spaced = part.lastgroup, part.group().lstrip(" "), bool(part.group(1))
        if self.closed or (spaced and not self.parts):
            return False
        if kind == "digits":
            taken = self._take_digits(word)
        elif kind == "digit":
            taken = self._take_digit_word(word, _POWER.match(part.string, part.end()) is not None)
        elif kind == "small":
            taken = self._take_small(_SMALL_UNITS[word], spaced)
        elif kind == "big":
            taken = self._take_big(_BIG_UNITS[word], spaced)
        else:
            taken = self._take_native(word)
        self.parts += taken
        return taken

    def _take_digits(self, word: str) -> bool:
        if self.coefficient is not None or self.native or len(word) > _MOST_DIGITS:
            return False
        plain = word.replace(",", "")
        value = Fraction(plain) if "." in plain else int(plain)
        limit = self.small if self.section else self.big
        if self.parts and (value.denominator > 1 or value >= limit):
            return False
        self.coefficient, self.digits = value, True
        return True

    def _take_digit_word(self, word: str, power_follows: bool) -> bool:
        # 3천이다 is 3000 with the copula: among digits a digit word needs its power (3만 오천).
        if self.coefficient is not None or self.native or (self.digits and not power_follows):
            return False
        value = DIGIT_WORDS[word]
        if not value and self.parts:
            return False
        self.coefficient, self.closed = value, not value
        return True

    def _take_small(self, unit: int, spaced: bool) -> bool:
        coefficient = self.coefficient
        if self.native or unit >= self.small or (spaced and coefficient is not None):
            return False
        if coefficient is not None and coefficient >= 10 and (unit < 1000 or self.section):
            return False
        self.section += unit * (1 if coefficient is None else coefficient)
        self.small, self.coefficient = unit, None
        return True

    def _take_big(self, unit: int, spaced: bool) -> bool:
        amount = self.section + (self.coefficient or 0)
        if not amount and not self.parts:
            amount = 1
        if self.native or unit >= self.big or not amount or amount * unit >= self.big:
            return False
        if spaced and (unit > 10**8 or not (self.digits or self.section)):
            return False
        self.total += amount * unit
        self.section, self.coefficient, self.small, self.big = 0, None, 10**4, unit
        return True

    def _take_native(self, word: str) -> bool:
        # 백스물셋, 천 한 명; but 만 세 살 is an age, and no native numeral follows digits.
        joins = not self.parts or self.section >= 100
        if self.digits or self.coefficient is not None or not (joins or self.native):
            return False
        if word in NATIVE_TENS:
            if self.small <= 10:
                return False
            self.section += NATIVE_TENS[word]
            self.small = 10
        elif self.small < 10 or (self.small == 10 and not self.native):
            return False
        else:
            self.section += NATIVE_ONES[word]
            self.closed = True
        self.native = True
        return True


def numeral_at(text: str, start: int, *, lenient: bool = False) -> Numeral | None:
    """The numeral that begins at `start`, or None.

    Args:
        text: normalised text.
        start: where its first part begins; nothing may be glued in front of a word.
        lenient: whether a number is known to stand here, so that 오입니다 is 5.
    """
    if not text[start].isdigit() and text[start] != "." and text[start - 1 : start].isalnum():
        return None
    standing: Numeral | None = None
    for compound, last, end in _prefixes(text, start):
        if _stands(text, start, end, compound, last, lenient):
            standing = Numeral(compound.value, end)
            if _may_end_in_a_particle(text, end, compound, last):
                standing = Numeral(None, end)
    return standing


def _prefixes(text: str, start: int) -> Iterator[tuple[_Compound, re.Match[str], int]]:
    """A numeral as it grows: what is read, the last part, and its end."""
    compound, at = _Compound(), start
    while (part := _PART.match(text, at)) and compound.take(part):
        at = part.end()
        yield compound, part, at


def _stands(
    text: str, start: int, end: int, compound: _Compound, last: re.Match[str], lenient: bool
) -> bool:
    """Whether what surrounds text[start:end] makes it a number."""
    if last.lastgroup == "digits":
        # 만 12세 is an age, 만 500원 is money; in "1만 2만" the 2 belongs to what follows.
        if text[start] == "만" and compound.parts == 2:
            return text.startswith(("원", " 원"), end)
        return compound.parts == 1 or not _POWER.match(text, end)
    counted = bool(_UNIT.match(text, end))
    if compound.digits:
        return _stands_behind_digits(text, end, last, counted)
    if compound.parts == 1:
        return _stands_alone(text, start, end, last, lenient)
    word = last.group().strip()
    if counted and not (text.startswith((" 시", "시"), end) and not compound.native):
        return True
    if word in _BEFORE_COUNTERS or not _TAIL.match(text, end):
        return False
    # 이만, 오천, 만일, 백일 and "구경 구조" are words of their own.
    two = compound.parts == 2
    other_words = two and (last.lastgroup == "big" or word == "천" or text[start] in "백천만억")
    return lenient or not (other_words or compound.total >= 10**12)


def _stands_behind_digits(text: str, end: int, last: re.Match[str], counted: bool) -> bool:
    """3만, 3천5백, 12억; not the 만 of 15만큼, the 조 of 3조로 나누면, the 천 of 3만 천천히."""
    if counted or _PART.match(text, end):
        return True
    word = last.group()
    if word in ("조", "경") or word.startswith(" "):
        return not text[end : end + 1].isalpha()
    return not text.startswith(("큼", "약"), end)


def _stands_alone(text: str, start: int, end: int, last: re.Match[str], lenient: bool) -> bool:
    """Whether a numeral of one part is a number: 삼 년, 세 명, 다섯; not 이 점, 한국, 만약."""
    word = last.group()
    if last.lastgroup == "digit":
        if word == "공":
            return False
        if _MEASURE.match(text, end) or (lenient and _STATED.match(text, end)):
            return True
        if lenient:
            return _SPACED_UNIT.match(text, end) is not None
        counted = _COUNTED_AND_STATED if word == "이" else _SPACED_SINO_COUNTER
        return counted.match(text, end) is not None
    if last.lastgroup in ("small", "big"):
        if word in "조경" or (word == "만" and text.startswith((" 세", " 나이"), end)):
            return False
        counts = _AFTER_POWER.match(text, end) or _SPACED_UNIT.match(text, end)
        return bool(counts or (lenient and _STATED.match(text, end)))
    if _SPACED_UNIT.match(text, end):
        return True
    if _GLUED_UNIT.match(text, end):
        return not _OTHER_WORDS.match(text, start)
    if word in _BEFORE_COUNTERS:
        return False
    return bool((_STATED if word in _LONE_NOUNS else _TAIL).match(text, end))


def _may_end_in_a_particle(text: str, end: int, compound: _Compound, last: re.Match[str]) -> bool:
    """Whether a final 이 or 일 may be no digit: 이십이 된다, 이십이다, 이십일 때."""
    if compound.digits or compound.parts < 2 or last.group() not in ("이", "일"):
        return False
    if _UNIT.match(text, end):
        return False
    if last.group() == "일":
        return text.startswith((" 때", " 경우", " 것", " 수"), end)
    return text.startswith(("다", "고", "며", "므로", "었", "라", "니", "지"), end) or (
        text[end : end + 1] == " " and text[end + 1 : end + 2].isalnum()
    )
