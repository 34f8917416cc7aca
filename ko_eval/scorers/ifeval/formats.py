"""Instruction types whose meaning does not depend on the language of the answer.

The semantics are the reference's (google-research/instruction_following_eval, instructions.py, as
kept in lm-evaluation-harness), quirks included. Where its pattern backtracks without bound, ours
decides the same in linear time.
"""

from __future__ import annotations

import json
import re

from ko_eval.scorers.ifeval.arguments import Arguments, Checker

# "* item" at the start of a line. Not "**bold" and not "*" at the end of the text. As in the
# reference, a lone "*" on a line takes the next line with it.
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*", re.MULTILINE)
# "- item" at the start of a line; also "---", which the reference counts.
_DASH_BULLET = re.compile(r"^[^\S\n]*-.*", re.MULTILINE)
# *highlighted* within a line; also the "**" at either end of **bold**, sorted out afterwards.
_HIGHLIGHT = re.compile(r"\*[^\n*]*\*")
# **highlighted** within a line.
_BOLD = re.compile(r"\*\*[^\n*]*\*\*")
# The divider between paragraphs, with one white space on either side.
_DIVIDER = re.compile(r"\s?\*\*\*\s?")
# "p.s." and "p. s."; "p.p.s", "p. p. s". Both in lowered text, where the reference looks for them.
_PS = re.compile(r"p\.\s?s\.")
_PPS = re.compile(r"p\.\s?p\.\s?s")

_FENCES = ("```json", "```Json", "```JSON", "```")


def number_placeholders(arguments: Arguments) -> Checker:
    """At least `num_placeholders` of [such] marks, each within a line."""
    limit = arguments.count("num_placeholders")
    return lambda text: sum(map(_placeholders, text.split("\n"))) >= limit


def _placeholders(line: str) -> int:
    count, end = 0, 0
    while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
        count += 1
    return count


def postscript(arguments: Arguments) -> Checker:
    """The marker somewhere in the text, ignoring case; P.S. and P.P.S may hold a space inside."""
    marker = arguments.text("postscript_marker").strip()
    pattern = {"P.S.": _PS, "P.P.S": _PPS}.get(marker) or re.compile(re.escape(marker.lower()))
    return lambda text: pattern.search(text.lower()) is not None


def number_bullet_lists(arguments: Arguments) -> Checker:
    """Exactly `num_bullets` lines that start with `*` or `-`."""
    limit = arguments.count("num_bullets")

    def follows(text: str) -> bool:
        return len(_STAR_BULLET.findall(text)) + len(_DASH_BULLET.findall(text)) == limit

    return follows


def number_highlighted_sections(arguments: Arguments) -> Checker:
    """At least `num_highlights` of *such* or **such** parts with something inside."""
    limit = arguments.count("num_highlights")

    def follows(text: str) -> bool:
        marked = _HIGHLIGHT.findall(text) + _BOLD.findall(text)
        return sum(1 for part in marked if part.strip("*").strip()) >= limit

    return follows


def multiple_sections(arguments: Arguments) -> Checker:
    """At least `num_sections` headings: the section word and a number, as in "Section 1"."""
    word = arguments.text("section_spliter").strip()
    limit = arguments.count("num_sections")
    heading = re.compile(re.escape(word) + r"\s?\d+")
    return lambda text: len(heading.findall(text)) >= limit


def number_paragraphs(arguments: Arguments) -> Checker:
    """Exactly `num_paragraphs` parts between `***` dividers; none but the outer ones is empty."""
    limit = arguments.count("num_paragraphs")

    def follows(text: str) -> bool:
        filled = [bool(part.strip()) for part in _DIVIDER.split(text)]
        return all(filled[1:-1]) and sum(filled) == limit

    return follows


def title(text: str) -> bool:
    """A title in double angular brackets, <<such as this>>, within a line."""
    return any(map(_has_title, text.split("\n")))


def _has_title(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    if start < 0 or end < start + 3:
        return False
    return bool(line[start : end + 2].lstrip("<").rstrip(">").strip())


def json_format(text: str) -> bool:
    """The whole answer is JSON, in a code fence or not.

    JSON nested too deep for the parser does not follow (the reference stops with an error).
    """
    body = text.strip()
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def two_responses(text: str) -> bool:
    """Two different answers separated by `******`; empty parts only at the ends."""
    parts = [part.strip() for part in text.split("******")]
    answers = [part for part in parts if part]
    return all(parts[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def repeat_prompt(arguments: Arguments) -> Checker:
    """The answer starts with `prompt_to_repeat`, ignoring case."""
    beginning = arguments.text("prompt_to_repeat").strip().lower()
    return lambda text: text.strip().lower().startswith(beginning)


def end_checker(arguments: Arguments) -> Checker:
    """The answer ends with `end_phrase`, ignoring case and double quotation marks around it."""
    ending = arguments.text("end_phrase").strip().lower()
    return lambda text: text.strip().strip('"').lower().endswith(ending)


def quotation(text: str) -> bool:
    """The whole answer stands between straight double quotation marks."""
    body = text.strip()
    return len(body) > 1 and body.startswith('"') and body.endswith('"')


def no_comma(text: str) -> bool:
    """No comma anywhere."""
    return "," not in text
