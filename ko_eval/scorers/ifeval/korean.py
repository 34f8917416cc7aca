"""Instruction types as Korean answers are judged; the others are as in English.

Policy (FACTS 3.6, after three public Korean adaptations): words are eojeol; a keyword is a
substring, since particles follow the noun (사과를); the first word of a paragraph is a prefix; a
Korean consonant is counted as an initial consonant (초성); the answer's language is read from its
script. Texts are compared ignoring case; responses and arguments arrive in NFC.
"""

from __future__ import annotations

import re

from ko_eval.korean.script import Script, script_shares
from ko_eval.korean.sentences import count_sentences
from ko_eval.korean.syllables import INITIAL_CONSONANTS, initial_consonant
from ko_eval.scorers.ifeval import english
from ko_eval.scorers.ifeval.arguments import Arguments, Checker

# One of the fixed answers, with or without its full stop: "제 답변은 예입니다.", "내 대답은
# 아니요입니다"; not "제 답변은 예외입니다." or "제 답변은 예입니다만".
_FIXED_ANSWER = re.compile(r"(?:제|내) (?:답변|대답)은 (?:예|아니[요오]|아마도)입니다(?![가-힣])")

_QUOTATION_MARKS = (('"', '"'), ("“", "”"))
"""Both kinds are 큰따옴표 in Korean orthography."""

_COMMAS = ",，"
"""The comma and its full-width form, which some Korean keyboards give."""

LEAST_SHARE = 0.5
"""Assumption: an answer is in a language when more than this share of its letters is in its script.

Korean answers about technology hold many Latin names, so a demand near 1 would fail good ones.
"""

_SCRIPTS: dict[str, tuple[Script, ...]] = {
    "ko": ("hangul",),
    "en": ("latin",),
    "ja": ("kana", "han"),
    "zh": ("han",),
    "zh-cn": ("han",),
    "zh-tw": ("han",),
}
"""Languages told by their script. Japanese must hold kana, Chinese must hold none."""


def number_words(arguments: Arguments) -> Checker:
    """Count of eojeol (parts between white space) compared with `num_words`."""
    limit, relation = arguments.count("num_words"), arguments.relation("relation")
    return lambda text: relation.holds(len(text.split()), limit)


def number_sentences(arguments: Arguments) -> Checker:
    """Count of sentences by rule compared with `num_sentences`."""
    limit, relation = arguments.count("num_sentences"), arguments.relation("relation")
    return lambda text: relation.holds(count_sentences(text), limit)


def nth_paragraph_first_word(arguments: Arguments) -> Checker:
    """`num_paragraphs` parts between empty lines, the nth beginning with `first_word`.

    A prefix is enough (봄 in 봄이), quotation marks in front do not count, and empty parts keep no
    place.
    """
    limit, place = english.paragraph_place(arguments)
    expected = arguments.text("first_word").strip().casefold()

    def follows(text: str) -> bool:
        paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
        if len(paragraphs) != limit:
            return False
        return paragraphs[place - 1].lstrip("'\"‘“").casefold().startswith(expected)

    return follows


def constrained_response(text: str) -> bool:
    """One of the fixed answers; also in English, which public Korean prompts still ask for."""
    return _FIXED_ANSWER.search(text) is not None or english.constrained_response(text)


def postscript(arguments: Arguments) -> Checker:
    """The marker (추신:, P.S.) somewhere, ignoring case and spaces inside the marker."""
    marker = "".join(arguments.text("postscript_marker").split()).casefold()
    pattern = re.compile(r"[^\S\n]?".join(map(re.escape, marker)))
    return lambda text: pattern.search(text.casefold()) is not None


def keyword_existence(arguments: Arguments) -> Checker:
    """Every keyword occurs as a substring."""
    keywords = [_folded(keyword) for keyword in arguments.texts("keywords")]
    return lambda text: _contains(text, keywords, all_of_them=True)


def forbidden_words(arguments: Arguments) -> Checker:
    """None of the words occurs, not even inside another word."""
    words = [_folded(word) for word in arguments.texts("forbidden_words")]
    return lambda text: not _contains(text, words, all_of_them=False)


def keyword_frequency(arguments: Arguments) -> Checker:
    """Occurrences of `keyword` as a substring compared with `frequency`."""
    keyword = _folded(arguments.text("keyword"))
    limit, relation = arguments.count("frequency"), arguments.relation("relation")
    return lambda text: relation.holds(text.casefold().count(keyword), limit)


def letter_frequency(arguments: Arguments) -> Checker:
    """Syllables with the initial consonant `letter`, or occurrences of another character.

    ㄱ does not count ㄲ. A vowel or a final cluster (ㅏ, ㄳ) cannot be an initial consonant.
    """
    letter = arguments.character("letter")
    limit, relation = arguments.count("let_frequency"), arguments.relation("let_relation")
    if letter in INITIAL_CONSONANTS:
        return lambda text: relation.holds(
            sum(1 for character in text if initial_consonant(character) == letter), limit
        )
    if "ㄱ" <= letter <= "ㆎ":
        raise arguments.error(f"argument 'letter' is no initial consonant: '{letter}'")
    return lambda text: relation.holds(text.lower().count(letter), limit)


def response_language(arguments: Arguments) -> Checker:
    """The answer is in `language`, by the share of its script, code and addresses left out.

    Languages without a script of their own go to the detector of the English checker. A text
    without letters follows, as in the reference.
    """
    language = arguments.text("language").strip().lower()
    scripts = _SCRIPTS.get(language)
    if scripts is None:
        return english.response_language(arguments)

    def follows(text: str) -> bool:
        shares = script_shares(text)
        if language == "ja" and shares and "kana" not in shares:
            return False
        if language.startswith("zh") and "kana" in shares:
            return False
        return not shares or sum(shares.get(script, 0.0) for script in scripts) > LEAST_SHARE

    return follows


def no_comma(text: str) -> bool:
    """No comma anywhere, full-width ones included."""
    return not any(comma in text for comma in _COMMAS)


def quotation(text: str) -> bool:
    """The whole answer stands between double quotation marks, straight or curly."""
    body = text.strip()
    return len(body) > 1 and any(
        body.startswith(first) and body.endswith(last) for first, last in _QUOTATION_MARKS
    )


def end_checker(arguments: Arguments) -> Checker:
    """The answer ends with `end_phrase`, double quotation marks around it left out."""
    ending = _folded(arguments.text("end_phrase"))
    return lambda text: text.strip().strip('"“”').casefold().endswith(ending)


def _folded(text: str) -> str:
    return text.strip().casefold()


def _contains(text: str, words: list[str], *, all_of_them: bool) -> bool:
    folded = text.casefold()
    found = (word in folded for word in words)
    return all(found) if all_of_them else any(found)
