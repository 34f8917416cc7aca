"""Fills the page templates: everything escaped, nothing from elsewhere, scripts named by hash.

What stands in a page may come from a model, a data set or a stranger's file. Three things keep it
from acting: Jinja escapes it and writes out control and bidirectional characters; scripts set text
and never markup; and the Content Security Policy lets only the scripts and styles run whose
SHA-256 the page itself names.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from ko_eval.reports.html.words import WORDS, Word, pair
from ko_eval.safe_text import visible

_HTML = files("ko_eval.reports.html")


def asset(name: str) -> Markup:
    """The text of a style sheet or script of ours, by its file name."""
    return Markup(_HTML.joinpath(name).read_text(encoding="utf-8"))


def json_text(value: object) -> str:
    """A value as JSON without white space; null for numbers that JSON has no form for."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    # Halves of surrogate pairs cannot be encoded.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def json_block(value: object) -> Markup:
    """A value as JSON that can stand in a `<script type="application/json">`.

    No `<` is left, so that neither `</script>` nor `<!--` can occur, and no character that makes
    the page's source read otherwise than it is. The value stays the same.
    """
    text = visible(json_text(value))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A Content Security Policy: nothing from the network, and only these texts may act."""
    return (
        f"default-src 'none'; script-src {_sources(scripts)}; style-src {_sources(styles)}; "
        "base-uri 'none'; form-action 'none'"
    )


def render(
    template: str,
    *,
    styles: Sequence[str] = ("theme.css",),
    scripts: Sequence[str] = ("theme.js",),
    words: Mapping[str, Word] = WORDS,
    **context: object,
) -> str:
    """A whole page.

    Args:
        template: file name in `reports/html`; extends `base.html.j2`.
        styles, scripts: file names there, written into the page.
        words: what `t` and the page's scripts know.
        context: what else the template reads; strings in it are escaped.
    """
    texts = [asset(name) for name in styles]
    codes = [asset(name) for name in scripts]
    return (
        environment(words)
        .get_template(template)
        .render(
            csp=policy(texts, codes),
            styles=texts,
            scripts=codes,
            words_json=words_block(words),
            **context,
        )
    )


def words_block(words: Mapping[str, Word]) -> Markup:
    """All words as the pages' scripts read them."""
    return json_block({key: [word.en, word.ko] for key, word in words.items()})


def environment(words: Mapping[str, Word] = WORDS) -> Environment:
    """A Jinja environment with autoescaping, in which `t("key", n=3)` says a word in both languages
    and `labelled("aria-label", "key")` gives an attribute whose language can be switched."""
    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["t"] = functools.partial(_word, words)
    made.globals["labelled"] = functools.partial(_labelled, words)
    return made


def _template(name: str) -> str:
    return _HTML.joinpath(name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _word(words: Mapping[str, Word], key: str, **values: object) -> Markup:
    return pair(words[key], **values)


def _labelled(words: Mapping[str, Word], attribute: str, key: str, *more: str) -> Markup:
    """Attributes in English, which `theme.js` sets anew in the language shown."""
    names = (attribute, *more)
    plain = "".join(f' {name}="{escape(words[key].en)}"' for name in names)
    told = ";".join(f"{name}:{key}" for name in names)
    return Markup(f'{plain} data-w="{told}"')


def _sources(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests) or "'none'"
