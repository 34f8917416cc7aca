"""Tokenising word by word gives what tokenising the whole text gives, or is not done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ko_eval.engines.text_tokens import TextTokens, cuts_before_spaces
from ko_eval.resources import shipped

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN_3_5 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# What borders are made of: words, contractions, digits, and whitespace of every kind.
WORDS = ["질문: ", "하늘은", "파란색이다", "한", "don't", "'s", "A", "b", "3", "1234", "²", "🙂"]
SIGNS = [".", "?", "…", "'", "/", "\\", "▁", "Ġ", "<|end|>", "<s>"]
SPACES = [
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\x1c",
    "\xa0",
    "\u3000",
    "\u200b",
    "\u2028",
]
COMBINED = ["\u0301", "가\u0301", "\u1112\u1161\u11ab"]
PARTS = st.sampled_from([*WORDS, *SIGNS, *SPACES, *COMBINED])
TEXTS = st.lists(PARTS | st.text(max_size=3), max_size=14).map("".join)


def korean_text() -> Iterator[str]:
    """The bundled items as they stand in their files."""
    for path in sorted(shipped("seeds").glob("ko_*.jsonl")):
        yield from path.read_text(encoding="utf-8").splitlines()[:20]


def fast(bare: Tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", unk_token="<unk>")


def byte_level(*cutters: PreTokenizer, nfc: bool = False, regex: bool = False) -> Tokenizer:
    """A byte-level BPE tokenizer trained on Korean; `regex` is GPT-2's own expression."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    bare = Tokenizer(models.BPE())
    if nfc:
        bare.normalizer = normalizers.NFC()
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    bare.pre_tokenizer = pre_tokenizers.Sequence([*cutters, last]) if cutters else last
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=["<s>", "<unk>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(korean_text(), trainer)
    return bare


def split(expression: str) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(expression), "isolated")


def digits() -> PreTokenizer:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Digits(individual_digits=True)


def metaspace_bpe() -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bare = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    bare.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=["<s>", "<unk>"], show_progress=False
    )
    bare.train_from_iterator(korean_text(), trainer)
    return bare


def unigram() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    bare = Tokenizer(models.Unigram())
    bare.normalizer = normalizers.NFKC()
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=2500, special_tokens=["<s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    bare.train_from_iterator(korean_text(), trainer)
    return bare


def word_piece() -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bare = Tokenizer(models.WordPiece(unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=["<s>", "<unk>"], show_progress=False
    )
    bare.train_from_iterator(korean_text(), trainer)
    return bare


def spaces_are_tokens() -> Tokenizer:
    """As in GPT-NeoX: runs of spaces are added tokens."""
    from tokenizers import AddedToken

    bare = byte_level(nfc=True, regex=True)
    bare.add_tokens([AddedToken(" " * count, normalized=True) for count in (2, 3, 4)])
    return bare


BY_WORD: dict[str, Callable[[], Tokenizer]] = {
    "gpt-2": lambda: byte_level(regex=True),
    "digits": lambda: byte_level(digits(), regex=True),
    "llama-3": lambda: byte_level(split(LLAMA_3)),
    "qwen-2": lambda: byte_level(split(QWEN_2), nfc=True),
    "qwen-3.5": lambda: byte_level(split(QWEN_3_5), nfc=True),
    "o200k": lambda: byte_level(split(O200K)),
    "spaces": spaces_are_tokens,
}
WHOLE: dict[str, Callable[[], Tokenizer]] = {
    "metaspace": metaspace_bpe,
    "unigram": unigram,
    "word piece": word_piece,
}
_made: dict[str, TextTokens] = {}


def tokens(kind: str) -> TextTokens:
    """The tokenizer of that kind, trained once."""
    if kind not in _made:
        _made[kind] = TextTokens(fast({**BY_WORD, **WHOLE}[kind]()))
    return _made[kind]


def whole_ids(kind: str, text: str) -> tuple[int, ...]:
    """What the tokenizer itself says."""
    tokenizer = tokens(kind)._tokenizer
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", [*BY_WORD, *WHOLE])
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_ids_are_those_of_the_whole_text(kind: str, texts: list[str]) -> None:
    assert tokens(kind).ids(texts) == [whole_ids(kind, text) for text in texts]


@pytest.mark.parametrize("kind", [*BY_WORD, *WHOLE])
@settings(max_examples=100, deadline=None)
@given(front=TEXTS, rest=TEXTS)
def test_separable_texts_have_separate_ids(kind: str, front: str, rest: str) -> None:
    if tokens(kind).separable(front, " " + rest):
        joined = whole_ids(kind, front) + whole_ids(kind, " " + rest)
        assert joined == whole_ids(kind, front + " " + rest)


@pytest.mark.parametrize("kind", BY_WORD)
def test_byte_level_tokenizers_go_word_by_word(kind: str) -> None:
    assert tokens(kind).by_word
    assert tokens(kind).separable("답:", " 예")
    assert not tokens(kind).separable("답:\n", " 예")
    assert not tokens(kind).separable("답:", "예")


@pytest.mark.parametrize("kind", WHOLE)
def test_other_tokenizers_get_the_whole_text(kind: str) -> None:
    assert not tokens(kind).by_word
    assert not tokens(kind).separable("답:", " 예")


def test_what_could_reach_over_a_space_is_given_whole() -> None:
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

    plain = byte_level(regex=True).to_str()

    def changed(change: Callable[[Tokenizer], object]) -> bool:
        bare = Tokenizer.from_str(plain)
        change(bare)
        return cuts_before_spaces(fast(bare))

    def normalizer(bare: Tokenizer) -> None:
        bare.normalizer = normalizers.Strip()

    def dropout(bare: Tokenizer) -> None:
        bare.model.dropout = 0.1

    def prefix_space(bare: Tokenizer) -> None:
        bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)

    assert changed(lambda bare: bare.add_tokens(["새낱말"]))
    assert not changed(lambda bare: bare.add_tokens(["두 낱말"]))
    assert not changed(lambda bare: bare.add_tokens([AddedToken("<m>", rstrip=True)]))
    assert not changed(lambda bare: bare.add_tokens([AddedToken("예", single_word=True)]))
    assert not changed(normalizer)
    assert not changed(dropout)
    assert not changed(prefix_space)
    assert not cuts_before_spaces(fast(byte_level(split(r"\p{L}+ \p{L}+|\s+"))))
    assert not cuts_before_spaces(fast(byte_level(split(r" ?\p{L}+"))))
    assert not cuts_before_spaces(fast(byte_level()))


def test_a_tokenizer_with_code_of_its_own_gets_the_whole_text() -> None:
    from transformers import PreTrainedTokenizerFast

    class Own(PreTrainedTokenizerFast):  # type: ignore[misc]
        def _encode_plus(self, *arguments: object, **options: object) -> object:
            return super()._encode_plus(*arguments, **options)

    assert not cuts_before_spaces(Own(tokenizer_object=byte_level(regex=True)))


def test_equal_texts_share_one_tuple() -> None:
    found = tokens("gpt-2").ids(["답: 예 예", "답: 예", "답: 예"])
    assert found[1] is found[2]
    assert found[0][: len(found[1])] == found[1]
