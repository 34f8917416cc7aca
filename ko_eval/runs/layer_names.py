"""The layers that a run is made of, by name: what `verify` tells apart and `--allow` takes.

A layer holds one thing that a user can change alone. Some follow from others: rendered prompts
from rows and templates, token ids from prompts and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ko_eval.errors import UsageError, near_miss

Kind = Literal["model", "bound", "protocol", "note"]
"""What a difference means for a comparison of scores.

`model`: what is compared; it may differ. `bound`: comes with a model, and may differ when that
does. `protocol`: must agree. `note`: is said, and hinders nothing.
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that a run is made of.

    Attributes:
        name: as `--allow` takes it.
        words: names it for people.
        follows: layers that it follows from.
        follows_where_none: the same where one of the two runs has none of it.
        proves: layers that are equal where this one is, even if they are not known.
        exact: a difference is one even where a layer that would explain it is not known.
    """

    name: str
    words: str
    kind: Kind
    follows: tuple[str, ...] = ()
    follows_where_none: tuple[str, ...] = ()
    proves: tuple[str, ...] = ()
    exact: bool = True


_PLAIN = ("request", "stop", "max_tokens", "sampling")
_ASKED = ("columns", "prompt", "fewshot.form", *_PLAIN)
_DEFINED = (*_ASKED, "scorer", "metric", "scale")
_ROWS = ("data.rows", "data.order", "data.limit")
_FEWSHOT = ("fewshot.count", "fewshot.rows", "fewshot.order", "fewshot.form")
_MODEL_PARTS = ("model.weights", "model.configuration", "model.tokenizer", "model.quantization")

OF_RUN: tuple[Layer, ...] = (
    Layer("model.weights", "weights of the model", "model"),
    Layer("model.configuration", "configuration of the model", "model"),
    Layer("model.tokenizer", "vocabulary and rules of the tokenizer", "model"),
    Layer("model.quantization", "quantisation of the model's weights", "model"),
    Layer("adapter", "adapter", "model"),
    Layer("engine.name", "engine", "note"),
    Layer("engine.dtype", "precision (dtype)", "protocol"),
    Layer("engine.quantization", "quantisation by the engine", "protocol"),
    Layer("engine.options", "further options of the engine", "note"),
    Layer("template.policy", "use of the chat template (--chat-template)", "protocol"),
    Layer("template.text", "chat template", "bound"),
    Layer("template.arguments", "arguments of the chat template", "bound"),
    Layer("thinking.budget", "tokens for a thought before the answer", "protocol"),
    Layer("thinking.marks", "marks around a thought", "bound"),
    Layer("bos", "special tokens in front of a text (BOS)", "bound"),
    Layer("max_length", "window in tokens (--max-length)", "bound"),
    Layer("seed", "seed of the sampling", "note"),
    Layer(
        "model",
        "files of the model",
        "model",
        follows=(*_MODEL_PARTS, "template.text", "bos", "engine.dtype"),
        proves=(*_MODEL_PARTS, "bos"),
    ),
)
"""Of the whole run, in the order in which differences are named."""

OF_TASK: tuple[Layer, ...] = (
    Layer("data.rows", "rows of the data", "protocol"),
    Layer(
        "data.order",
        "order of the rows",
        "protocol",
        follows=("data.rows",),
        proves=("data.rows",),
    ),
    Layer("data.limit", "number of rows (--limit)", "protocol"),
    Layer("data.items", "rows that were evaluated", "protocol", follows=_ROWS),
    Layer("columns", "how columns are read", "protocol"),
    Layer("request", "form of the question", "protocol"),
    Layer("prompt", "wording of the prompt", "protocol"),
    Layer(
        "choice_order",
        "order of the choices",
        "protocol",
        follows=(*_ROWS, "data.items", "columns"),
    ),
    Layer("fewshot.count", "number of few-shot examples", "protocol"),
    Layer(
        "fewshot.rows",
        "few-shot examples",
        "protocol",
        follows_where_none=("fewshot.count",),
    ),
    Layer(
        "fewshot.order",
        "order of the few-shot examples",
        "protocol",
        follows=("fewshot.rows",),
        follows_where_none=("fewshot.count",),
        proves=("fewshot.rows",),
    ),
    Layer("fewshot.form", "form of the few-shot examples", "protocol"),
    Layer("stop", "stop strings", "protocol"),
    Layer("max_tokens", "most tokens of an answer", "protocol"),
    Layer("sampling", "temperature and top_p", "protocol"),
    Layer("scorer", "scorer and its parameters", "protocol"),
    Layer("metric", "leading metric", "protocol"),
    Layer("scale", "scale of the score", "protocol"),
    Layer(
        "prompts",
        "rendered prompts",
        "protocol",
        follows=(*_ROWS, "data.items", *_FEWSHOT, "choice_order", *_ASKED),
        proves=("data.items", "choice_order", "prompt", *_PLAIN, *_FEWSHOT),
    ),
    Layer(
        "tokens",
        "token ids of the requests",
        "bound",
        follows=(
            *("prompts", *_ROWS, "data.items", *_FEWSHOT, "choice_order", *_ASKED),
            *("model", "model.tokenizer", "template.policy", "template.text", "template.arguments"),
            *("thinking.budget", "thinking.marks", "bos", "max_length", "seed"),
        ),
    ),
    # Versions add fields to the definition, so older hashes of an equal one may differ.
    Layer(
        "definition",
        "what the task file says beside all that (title, protocol facts, notes)",
        "note",
        follows=_DEFINED,
        proves=_DEFINED,
        exact=False,
    ),
)
"""Of each task."""

LAYERS = (*OF_RUN, *OF_TASK)


def allowed_layers(names: Iterable[str]) -> frozenset[str]:
    """The layers that `--allow` names, each by its name or by that of its group (`data`).

    Raises:
        UsageError: there is no such layer.
    """
    known = {layer.name for layer in LAYERS} | {layer.name.partition(".")[0] for layer in LAYERS}
    found: set[str] = set()
    for name in names:
        if name not in known:
            raise UsageError(
                f"--allow names no layer: '{name}'", hint=near_miss(name, known), where="--allow"
            )
        found |= {
            layer.name
            for layer in LAYERS
            if layer.name == name or layer.name.startswith(f"{name}.")
        }
    return frozenset(found)
