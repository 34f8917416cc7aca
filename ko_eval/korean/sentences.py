"""Korean sentences by rule.

A sentence ends at . ? ! or … (full-width forms too) in front of white space, closing quotes and
brackets included, or at the end of a line whose last word has a sentence ending without a mark
(갔습니다, 했어요, 있을까). Other line breaks end nothing, so a heading belongs to what follows it.
No end are: list markers at the start of a line (1. 가. A. ㄱ.), dates (2024. 3. 5.), decimals,
initials and Latin abbreviations, and a quotation that 하고 or 라고 takes up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ko_eval.korean.syllables import final_consonant, is_syllable

_MARKS = ".?!…。？！"
_CLOSERS = "\"')]}>」』》〉’”）］*_`"
_OPENERS = "\"'([{<「『《〈‘“（［*_`#>"

# A chunk of text between white space.
_CHUNK = re.compile(r"\S+")
# A sentence glued to the next one: 갔다.그리고. Only after a sentence ending, so that 가.나.다 and
# names of files and sites stay whole.
_GLUED = re.compile(r"(?<=[다요죠까])[.?!…]+(?=[가-힣])")
# A list marker at the start of a line: 1. 12. 1.2. 가. ㄱ. A. iv. The forms 1) and (가) end in no
# mark and need no protection.
_LIST_MARKER = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3})*|[가나다라마바사아자차카타파하]|[ㄱ-ㅎ]|[A-Za-z]|[ivxIVX]{1,5})\."
)
# A number with a full stop, a part of a date when another number stands next to it: 2024. or 3.
_NUMBER_STOP = re.compile(r"\d+\.")
# An initial or letters with a full stop after each: J. or U.S. or e.g. or Ph.D.
_DOTTED = re.compile(r"[A-Za-z]\.|(?:[A-Za-z]{1,2}\.){2,}")

_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "no", "vol", "fig", "inc", "ltd")
)
_TAKEN_UP = ("하고", "라고", "라며", "라는", "하며", "하는", "이라고", "이라며", "이라는")
_NO_ENDINGS_IN_DA = ("바다", "사이다", "소다", "캐나다", "우간다", "베란다", "수다", "마다", "보다")
_NO_ENDINGS_IN_YO = ("필요", "중요", "수요", "개요", "민요", "동요", "소요", "주요", "강요")
_LAUGHTER_AND_TEARS = "ㅋㅎㅠㅜ"


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, stripped; parts without a letter or digit join the one before."""
    sentences: list[str] = []
    start = 0
    for end in [*_boundaries(text), len(text)]:
        part = text[start:end].strip()
        if any(character.isalnum() for character in part):
            sentences.append(part)
        elif part and sentences:
            sentences[-1] = f"{sentences[-1]} {part}"
        start = end
    return sentences


def count_sentences(text: str) -> int:
    """Number of sentences of a Korean text."""
    return len(split_sentences(text))


def _boundaries(text: str) -> Iterator[int]:
    """Positions right after the end of a sentence."""
    line_start = 0
    for line in text.splitlines(keepends=True):
        chunks = list(_CHUNK.finditer(line))
        for place, chunk in enumerate(chunks):
            before = chunks[place - 1].group() if place else ""
            after = chunks[place + 1].group() if place + 1 < len(chunks) else ""
            for glued in _GLUED.finditer(chunk.group()):
                yield line_start + chunk.start() + glued.end()
            if _ends_by_mark(chunk.group(), before, after):
                yield line_start + chunk.end()
        if _ends_by_ending(line):
            yield line_start + len(line)
        line_start += len(line)


def _ends_by_mark(chunk: str, before: str, after: str) -> bool:
    """Whether a chunk ends a sentence with its marks, given its neighbours in the line."""
    stem = _up_to_last(chunk, lambda character: character.isalnum() or character in _MARKS)
    marks = stem[len(stem.rstrip(_MARKS)) :]
    if not marks or (chunk.endswith(tuple(_CLOSERS)) and after.startswith(_TAKEN_UP)):
        return False
    if marks != ".":
        return True
    word = stem.lstrip(_OPENERS)
    opens_line = not any(character.isalnum() for character in before)
    if opens_line and _LIST_MARKER.fullmatch(word):
        return False
    if _NUMBER_STOP.fullmatch(word) and (after[:1].isdigit() or _NUMBER_STOP.fullmatch(before)):
        return False
    if _DOTTED.fullmatch(word) or word[:-1].lower() in _ABBREVIATIONS:
        return not after
    return True


def _ends_by_ending(line: str) -> bool:
    """Whether a line ends in a sentence ending, with or without marks, emoji or laughter behind.

    -다 and -요 unless a noun or particle ends so (바다, 필요), -죠, -ㄹ까 and -ㅂ니까, -ㅆ어 and
    -ㅆ음 (했어, 있음). Other plain endings (가자, 하네) look like nouns too often.
    """
    body = line.rstrip()
    if body.endswith((",", ":", ";")):
        return False
    body = _up_to_last(body, lambda last: last.isalnum() and last not in _LAUGHTER_AND_TEARS)
    previous, last = body[-2:-1], body[-1:]
    if not is_syllable(previous):
        return False
    final = final_consonant(previous)
    match last:
        case "다":
            return not body.endswith(_NO_ENDINGS_IN_DA)
        case "요":
            return not body.endswith(_NO_ENDINGS_IN_YO)
        case "까":
            return final == "ㄹ" or (previous == "니" and final_consonant(body[-3:-2]) == "ㅂ")
        case "어" | "음":
            return final in {"ㅆ", "ㅄ"}
        case _:
            return last == "죠"


def _up_to_last(text: str, wanted: Callable[[str], bool]) -> str:
    """The text up to its last wanted character: closing quotes, emoji, ~ and ^^ behind it go."""
    end = len(text)
    while end and not wanted(text[end - 1]):
        end -= 1
    return text[:end]
