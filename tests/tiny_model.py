"""A tiny random Llama with a Korean byte-level tokenizer, for exact tests without a network.

Its weights are wide enough that choices differ by whole nats: a wrong token, position or
normalisation shows, and rounding does not flip an answer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.resources import shipped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
WINDOW = 2048
_VOCABULARY = 2000


def make_tiny_llama(
    folder: Path, *, chat_template: str | None = None, seed: int = 0, add_bos: bool = False
) -> Path:
    """Writes configuration, tokenizer and float32 weights; takes about a second once torch is in.

    Args:
        folder: is created; the model is named after it.
        chat_template: Jinja text that goes with the tokenizer.
        seed: of the weights; equal seeds give equal files.
        add_bos: the tokenizer puts BOS in front of every text, as Llama's own does.

    Returns:
        The folder.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(add_bos)
    tokenizer.chat_template = chat_template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _trained() -> str:
    """The tokenizer's JSON; training takes most of the time that a tiny model takes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(_korean_text(), trainer)
    return str(bare.to_str())


def _tokenizer(add_bos: bool) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer.from_str(_trained())
    if add_bos:
        bare.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A",
            pair=f"{BOS} $A {BOS} $B",
            special_tokens=[(BOS, bare.token_to_id(BOS))],
        )
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )
    return tokenizer


def _korean_text() -> Iterator[str]:
    """The bundled items as they stand in their files; the JSON around them does no harm."""
    for path in sorted(shipped("seeds").glob("*.jsonl")):
        yield from path.read_text(encoding="utf-8").splitlines()
