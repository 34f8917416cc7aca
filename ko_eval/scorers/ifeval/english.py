"""Instruction types as the reference judges English answers.

Two deviations, neither of which changes a verdict on the published prompts: a keyword is taken
literally, where the reference reads it as a regular expression; a letter argument that is no letter
is honoured, where the reference draws a random letter (FACTS 3.6).
"""

from __future__ import annotations

import re

from ko_eval.errors import near_miss
from ko_eval.scorers.ifeval.arguments import Arguments, Checker
from ko_eval.scorers.ifeval.english_sentences import count_sentences
from ko_eval.scorers.ifeval.english_words import count_capital_words, count_words
from ko_eval.scorers.ifeval.languages import detected_language, known_languages

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The options of the reference (`_CONSTRAINED_RESPONSE_OPTIONS`)."""

# What ends the first word of a paragraph in the reference: "Hello," and "don't" give hello and don.
_END_OF_FIRST_WORD = re.compile(r"[.,?!'\"]")


def number_words(arguments: Arguments) -> Checker:
    """Count of `\\w+` runs compared with `num_words`."""
    limit, relation = arguments.count("num_words"), arguments.relation("relation")
    return lambda text: relation.holds(count_words(text), limit)


def number_sentences(arguments: Arguments) -> Checker:
    """Count of sentences compared with `num_sentences`."""
    limit, relation = arguments.count("num_sentences"), arguments.relation("relation")
    return lambda text: relation.holds(count_sentences(text), limit)


def nth_paragraph_first_word(arguments: Arguments) -> Checker:
    """`num_paragraphs` parts between empty lines, the nth starting with `first_word`.

    As in the reference, empty parts are not counted but keep their place when the nth is taken.
    """
    limit, place = paragraph_place(arguments)
    expected = arguments.text("first_word").lower()

    def follows(text: str) -> bool:
        paragraphs = text.split("\n\n")
        count = sum(1 for paragraph in paragraphs if paragraph.strip())
        if count != limit or not paragraphs[place - 1].strip():
            return False
        word = paragraphs[place - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
        return _END_OF_FIRST_WORD.split(word, maxsplit=1)[0].lower() == expected

    return follows


def paragraph_place(arguments: Arguments) -> tuple[int, int]:
    """The arguments `num_paragraphs` and `nth_paragraph`, the latter within the former."""
    limit, place = arguments.count("num_paragraphs"), arguments.count("nth_paragraph")
    if place > limit:
        raise arguments.error(f"'nth_paragraph' is {place}, but 'num_paragraphs' is {limit}")
    return limit, place


def constrained_response(text: str) -> bool:
    """One of the fixed answers stands in the text."""
    return any(answer in text for answer in ANSWERS)


def keyword_existence(arguments: Arguments) -> Checker:
    """Every keyword occurs, ignoring case, inside words too."""
    patterns = [_literal(keyword) for keyword in arguments.texts("keywords")]
    return lambda text: all(pattern.search(text) for pattern in patterns)


def keyword_frequency(arguments: Arguments) -> Checker:
    """Occurrences of `keyword`, ignoring case, compared with `frequency`."""
    pattern = _literal(arguments.text("keyword").strip())
    limit, relation = arguments.count("frequency"), arguments.relation("relation")
    return lambda text: relation.holds(len(pattern.findall(text)), limit)


def forbidden_words(arguments: Arguments) -> Checker:
    """None of the words occurs as a word of its own, ignoring case."""
    words = "|".join(re.escape(word) for word in arguments.texts("forbidden_words"))
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    return lambda text: pattern.search(text) is None


def letter_frequency(arguments: Arguments) -> Checker:
    """Occurrences of `letter`, ignoring case, compared with `let_frequency`."""
    letter = arguments.character("letter")
    limit, relation = arguments.count("let_frequency"), arguments.relation("let_relation")
    return lambda text: relation.holds(text.lower().count(letter), limit)


def response_language(arguments: Arguments) -> Checker:
    """The answer is in `language` (ISO 639-1); undecidable text follows, as in the reference."""
    language = arguments.text("language").strip()
    if language not in known_languages():
        raise arguments.error(
            f"argument 'language' is unknown: '{language}'", near_miss(language, known_languages())
        )
    return lambda text: detected_language(text) in (language, None)


def english_capital(text: str) -> bool:
    """No small letter, and English."""
    return text.isupper() and detected_language(text) in ("en", None)


def english_lowercase(text: str) -> bool:
    """No capital letter, and English."""
    return text.islower() and detected_language(text) in ("en", None)


def capital_word_frequency(arguments: Arguments) -> Checker:
    """Words without a small letter compared with `capital_frequency`."""
    limit = arguments.count("capital_frequency")
    relation = arguments.relation("capital_relation")
    return lambda text: relation.holds(count_capital_words(text), limit)


def _literal(keyword: str) -> re.Pattern[str]:
    return re.compile(re.escape(keyword), re.IGNORECASE)
