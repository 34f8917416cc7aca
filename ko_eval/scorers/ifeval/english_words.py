"""Words of English text as the reference counts them.

Plain word counts use `\\w+`. Capital words use the tokens of nltk's `word_tokenize` (the Penn
Treebank conventions), of which only those parts matter here that change how many tokens are in
capitals; the parity test compares both on real responses.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")

# What stands between Treebank tokens: white space, brackets, quotes, dashes and signs. A comma or
# colon in front of a digit (3,000 and 10:30), hyphens, slashes and single full stops do not divide.
# The last line is an apostrophe that opens a quotation ('A), not one that opens a clitic ('s).
_BETWEEN_TOKENS = re.compile(
    r"(?:[\s;@#$%&?!*()\[\]{}<>`\"«»“”‘’„‒–—―]|--|\.{2,}|''|[:,](?!\d)"
    r"|(?<!\w)'(?=\w)(?!(?:re|ve|ll|[mtsdn])\b))+",
    re.IGNORECASE,
)

# Clitics at the end of a token, split off: I'm, NASA's, DON'T. Mixed case such as 'Re stays whole.
_CLITIC = re.compile(r"(?<=[^'])(?:'[sSmMdD]|'ll|'LL|'re|'RE|'ve|'VE|n't|N'T)\Z")

# MacIntyre's contractions, which the Treebank divides in two: CAN|NOT, GON|NA, D|'YE. The match is
# the first half; not CANNOTS.
_FIRST_HALF = re.compile(
    r"\b(?:CAN(?=NOT\b)|D(?='YE\b)|GIM(?=ME\b)|GON(?=NA\b)|GOT(?=TA\b)|LEM(?=ME\b)"
    r"|MORE(?='N\b)|WAN(?=NA\b))",
    re.IGNORECASE,
)


def count_words(text: str) -> int:
    """Runs of word characters: "it's 5 o'clock" has 5."""
    return sum(1 for _ in _WORD.finditer(text))


def count_capital_words(text: str) -> int:
    """Tokens with a letter and without a small one: "NASA's U.S. A-TEAM" has 3, "DON'T" has 2."""
    divided = _FIRST_HALF.sub(r"\g<0> ", text)
    return sum(map(_capital_parts, _BETWEEN_TOKENS.split(divided)))


def _capital_parts(token: str) -> int:
    clitic = _CLITIC.search(token)
    if clitic is None:
        return int(token.isupper())
    return int(token[: clitic.start()].isupper()) + int(clitic.group().isupper())
