"""Texts that others wrote, made safe to show; secrets kept out of what is shown or written.

A terminal obeys control characters, bidirectional marks make a text read otherwise than it is, and
invisible characters hide in it. All of them are written as JSON writes them (`\\u001b`), so that a
JSON text stays JSON with the same content.
"""

from __future__ import annotations

import functools
import os
import re

# Control characters except tab and line feed; marks of direction; separators of lines that are none
# in a terminal; characters of no width, but not the joiners of emoji and Indic scripts; halves of
# surrogate pairs, which cannot be encoded; invisible tags.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# Of one line of a message: a name of a megabyte would push everything else off the screen.
_LONGEST_LINE = 2000

# What a service calls its keys; the value itself is looked for in every text.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|API_?KEY|ACCESS_KEY|SECRET(?:_KEY)?|PASSWORD)$", re.IGNORECASE
)
_SHORTEST_SECRET = 8
_SECRETS = re.compile(
    # Keys of Hugging Face and OpenAI as such; not "hf_model", "sk-learn" or a model's name.
    r"\bhf_[A-Za-z0-9]{30,}+|\bsk-[A-Za-z0-9_-]{32,}+"
    # User and password of a URL: "https://user:password@host"; not "https://host/@name".
    r"|(?<=://)[^/\s@'\"\\]{1,500}+(?=@)"
    # "Authorization: Bearer …".
    r"|(?i:(?<=bearer ))[\w.~+/=-]{8,500}+"
    # Signatures and keys of a URL: "?X-Amz-Signature=…", "&api_key=…"; not "&revision=…".
    r"|(?<=[?&])(?P<name>(?i:[\w-]{0,30}(?:signature|credential|token|key)|policy))="
    r"[^&\s'\"\\]{1,4000}+"
)


def visible(text: str) -> str:
    """The text with every character that a terminal obeys or hides written out: `\\u001b`.

    Tabs and line feeds stay. Linear in the text's length.
    """
    return text if text.isascii() and text.isprintable() else _ACTING.sub(_written_out, text)


def one_line(text: str) -> str:
    """As `visible`, with line feeds written out too, without secrets, at most 2,000 characters."""
    text = redacted(text)
    if len(text) > _LONGEST_LINE:  # what is said stands at either end of what is quoted
        text = f"{text[: _LONGEST_LINE // 2]} … {text[-_LONGEST_LINE // 2 :]}"
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def redacted(text: str) -> str:
    """The text with `***` in place of secrets.

    Secrets are the values of environment variables named as such (`HF_TOKEN`, `OPENAI_API_KEY`,
    `…_SECRET`, …), keys of Hugging Face and OpenAI by their form, and what URLs hold of them.
    """
    for name in filter(_names_a_secret, os.environ):
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _SECRETS.sub(_without_value, text)


@functools.lru_cache(maxsize=4096)
def _names_a_secret(variable: str) -> bool:
    # Remembered, since it is asked for every variable and each part of a line that is shown.
    return _SECRET_NAME.search(variable) is not None


def _written_out(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _without_value(match: re.Match[str]) -> str:
    name = match["name"]
    return "***" if name is None else f"{name}=***"
