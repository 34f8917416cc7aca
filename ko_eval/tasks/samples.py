"""Rows to samples: columns are mapped, the right choice is found, everything is checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ko_eval.bounds import TooMuch, bounded
from ko_eval.errors import DataError, KoEvalError, TaskError, near_miss
from ko_eval.scorers.base import Scorer
from ko_eval.scorers.choice_text import OPTION_LABELS
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.sources import Row, Rows
from ko_eval.tasks.templates import evaluate, render
from ko_eval.types import JsonValue, RequestKind, Sample

# Far more than any row takes, whose templates are filled in milliseconds.
_SECONDS_PER_ROW = 10.0
_MEMORY_PER_ROW = 2**30  # bytes

_LONGEST_CLUSTER = 64  # characters

_OF_THE_RENDERING = {
    *("id", "choices", "answer", "answer_index", "choice_order", "credits", "distribution"),
    *("options", "option_labels", "right_label"),
}
"""Fields that follow from an item's id, from the order of its options, or from its key."""


@dataclass(frozen=True, slots=True)
class RenderedSample:
    """A sample with the texts that are asked about.

    Attributes:
        contexts: one per choice for two-context tasks, else the one prompt.
        continuations: the scored texts without delimiter; empty for generation.
        example: the whole item as a solved few-shot example.
        question, answer: the same as two chat turns.
    """

    sample: Sample
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    example: str
    question: str
    answer: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes an item itself, whatever its id and the order of its options."""
        fields = self.sample.fields
        shown = fields.get("choices")
        if not isinstance(shown, list):
            return (*self.contexts, *self.continuations)
        # Where options are shuffled by the item's id, a copy under another id looks different.
        content = {
            name: value
            for name, value in fields.items()
            if name not in _OF_THE_RENDERING and text_id(value) != self.sample.id
        }
        options = sorted(str(option) for option in shown)
        return (json.dumps(content, ensure_ascii=False, sort_keys=True, default=str), *options)


def build_samples(
    task: TaskDefinition, rows: Rows, scorer: Scorer, *, limit: int | None = None
) -> list[RenderedSample]:
    """All samples of a task, or the first `limit`.

    Raises:
        DataError: a row lacks a column, has a wrong answer or an id that occurs twice (row named).
        TaskError: a template cannot be filled.
    """
    first_place: dict[str, str] = {}
    with _in_bounds(task) as begins:
        return [
            _checked(task, begins(row), number, rows.columns, scorer, first_place)
            for number, row in enumerate(rows.rows[:limit], start=1)
        ]


def sound_samples(
    task: TaskDefinition, rows: Rows, scorer: Scorer
) -> tuple[list[RenderedSample], list[KoEvalError]]:
    """The samples of all rows that can be used, and what is wrong with each of the others."""
    first_place: dict[str, str] = {}
    sound: list[RenderedSample] = []
    errors: list[KoEvalError] = []
    with _in_bounds(task) as begins:
        for number, row in enumerate(rows.rows, start=1):
            try:
                sound.append(_checked(task, begins(row), number, rows.columns, scorer, first_place))
            except KoEvalError as error:
                errors.append(error)
    return sound, errors


@contextmanager
def _in_bounds(task: TaskDefinition) -> Iterator[Callable[[Row], Row]]:
    """Bounds what each row may cost; gives a function to be called with each row first."""
    where = ""
    try:
        with bounded(_SECONDS_PER_ROW, _MEMORY_PER_ROW) as again:

            def begins(row: Row) -> Row:
                nonlocal where
                where = row.where
                again()
                return row

            yield begins
    except TooMuch as error:
        raise TaskError(
            f"the templates of task '{task.name}' cannot be filled: {error} for one row",
            where=where,
            hint="look for loops and repetitions in them",
        ) from error


def _checked(
    task: TaskDefinition,
    row: Row,
    number: int,
    columns: Mapping[str, str],
    scorer: Scorer,
    first_place: dict[str, str],
) -> RenderedSample:
    """One row's sample; `first_place` remembers where each id stood first."""
    rendered = _build(task, row, number, {**task.columns, **columns})
    sample_id = rendered.sample.id
    if sample_id in first_place:
        raise DataError(
            f"the id '{sample_id}' occurs twice in the data of task '{task.name}'",
            where=f"{row.where} (first: {first_place[sample_id]})",
            hint="give every row its own id",
        )
    first_place[sample_id] = row.where
    try:
        scorer.check(rendered.sample)
    except KoEvalError as error:
        raise DataError(error.what, where=row.where, hint=error.hint) from error
    return rendered


def text_id(value: JsonValue) -> str:
    """An id as it is compared: as text, 12.0 like 12."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _build(
    task: TaskDefinition, row: Row, number: int, columns: Mapping[str, str]
) -> RenderedSample:
    fields = map_columns(task, row, number, columns)
    right: int | None = None
    has_choices = task.choices is not None or task.contexts is not None
    if task.shuffle_choices or (has_choices and fields.get("answer") is not None):
        right = _right_choice(task, fields, row)
    if task.shuffle_choices:
        fields, right = _shuffled(task, fields, right, row)
    fields = {**fields, "answer_index": right}
    make = _generation if task.request is RequestKind.GENERATE else _likelihood
    rendered = make(task, fields, right, row)
    sample = dataclasses.replace(rendered.sample, cluster=_cluster(task, fields, row))
    return dataclasses.replace(rendered, sample=sample)


def _cluster(task: TaskDefinition, fields: Mapping[str, JsonValue], row: Row) -> str | None:
    """What the item shares with others, a long text such as a passage as its hash."""
    if task.cluster is None:
        return None
    if task.cluster in fields:
        value = fields[task.cluster]
    else:
        place = f"task '{task.name}', field 'cluster' ({row.where})"
        value = evaluate(task.cluster, fields, where=place)
    text = "" if value is None else text_id(value).strip()
    if len(text) > _LONGEST_CLUSTER:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return text or None


def map_columns(
    task: TaskDefinition, row: Row, number: int, columns: Mapping[str, str]
) -> dict[str, JsonValue]:
    """Our fields, filled from a row.

    A mapping entry is a column's name, a column's name with `?` (null where it is absent), or a
    Jinja expression over the columns, `row` and `row_number`.

    Raises:
        DataError: a column is missing.
    """
    names = {key: value for key, value in row.values.items() if key.isidentifier()}
    known: dict[str, JsonValue] = {**names, "row": row.values, "row_number": number}
    fields: dict[str, JsonValue] = {}
    for field, entry in columns.items():
        column = entry.removesuffix("?")
        if column in row.values:
            value = row.values[column]
            if value is None and not entry.endswith("?"):
                raise DataError(
                    f"column '{column}' is empty (task '{task.name}' reads its '{field}' from it)",
                    where=row.where,
                    hint=f"fill the cell, or write '{column}?' in the task if it may be empty",
                )
            # Spreadsheets and Parquet make 18.0 of 18.
            fields[field] = int(value) if isinstance(value, float) and value.is_integer() else value
        elif entry.endswith("?"):
            fields[field] = None
        elif column in known:
            fields[field] = known[column]
        elif column.isidentifier():
            raise DataError(
                f"column '{column}' is missing (task '{task.name}' reads its '{field}' from it)",
                where=row.where,
                hint=near_miss(column, row.values),
            )
        else:
            try:
                fields[field] = evaluate(entry, known, where=row.where)
            except TaskError as error:
                raise DataError(
                    f"field '{field}' of task '{task.name}' is neither a column nor can it be "
                    f"computed: {entry!r}. {error.what}",
                    where=row.where,
                    hint="columns: " + ", ".join(row.values),
                ) from error
    if fields.get("id") is None:
        fields["id"] = number
    return fields


def _right_choice(task: TaskDefinition, fields: Mapping[str, JsonValue], row: Row) -> int:
    given = text_id(fields.get("answer")).strip().strip("()").upper()
    given = given.removesuffix(".0")  # a spreadsheet's 1.0, as text
    shown = fields.get("choices")
    count = len(shown) if isinstance(shown, Sequence) and not isinstance(shown, str) else None
    labels = [label.upper() for label in task.labels][:count]
    if given not in labels:
        raise DataError(
            f"the answer {fields.get('answer')!r} is not one of {', '.join(labels)}",
            where=row.where,
            hint="correct the row, or the task's 'labels'",
        )
    return labels.index(given)


def _shuffled(
    task: TaskDefinition, fields: Mapping[str, JsonValue], right: int | None, row: Row
) -> tuple[dict[str, JsonValue], int | None]:
    """Choices in a new order, drawn per item from the task's name and the item's id."""
    choices = fields.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or right is None:
        raise DataError("'shuffle_choices' needs a list 'choices' and an 'answer'", where=row.where)
    order = list(range(len(choices)))
    random.Random(f"{task.name}:{text_id(fields['id'])}").shuffle(order)
    changed: dict[str, JsonValue] = {
        **fields,
        "choices": [choices[i] for i in order],
        "choice_order": order,
    }
    return changed, order.index(right)


def _generation(
    task: TaskDefinition, fields: Mapping[str, JsonValue], right: int | None, row: Row
) -> RenderedSample:
    def place(field: str) -> str:
        return f"task '{task.name}', field '{field}' ({row.where})"

    name = text_id(fields["id"])
    choices: tuple[str, ...] = ()
    if task.choices is not None:
        choices = _choices(task, fields, place("choices"))
        if len(choices) > len(OPTION_LABELS):
            raise DataError(
                f"the row has {len(choices)} options; there are letters for {len(OPTION_LABELS)}",
                where=row.where,
                hint="ask this task by log-likelihood, or split the row",
            )
        _check_in_range(right, choices, fields, row)
        gold = _gold(Sample(name, fields, target=right, choices=choices))
        fields = {
            **fields,
            "options": list(choices),
            "option_labels": OPTION_LABELS,
            "right_label": OPTION_LABELS[gold],
        }
    prompt = render(task.prompt, fields, where=place("prompt"))
    target = render(task.target, fields, where=place("target"))
    answer = target.strip()
    given = fields.get("answer")
    # A task that only scores has no use for `target`; its field `answer` is what is expected.
    expected = answer or (text_id(given) if given is not None else None)
    return RenderedSample(
        sample=Sample(name, fields, target=right if choices else expected, choices=choices),
        contexts=(prompt,),
        continuations=(),
        example=prompt + target,
        question=prompt,
        answer=answer,
    )


def _likelihood(
    task: TaskDefinition, fields: Mapping[str, JsonValue], right: int | None, row: Row
) -> RenderedSample:

    def place(field: str) -> str:
        return f"task '{task.name}', field '{field}' ({row.where})"

    if task.contexts is not None:
        contexts = tuple(render(text, fields, where=place("contexts")) for text in task.contexts)
        after = render(task.continuation or "", fields, where=place("continuation"))
        choices, continuations = contexts, (after,) * len(contexts)
    else:
        prompt = render(task.prompt, fields, where=place("prompt"))
        choices = continuations = _choices(task, fields, place("choices"))
        contexts = (prompt,)
    if any(not text for text in continuations):
        raise DataError("a scored text is empty", where=row.where, hint="look at the row's choices")
    _check_in_range(right, choices, fields, row)
    sample = Sample(text_id(fields["id"]), fields, target=right, choices=choices)
    gold = _gold(sample)
    question = contexts[min(gold, len(contexts) - 1)]
    answer = continuations[gold]
    return RenderedSample(
        sample=sample,
        contexts=contexts,
        continuations=continuations,
        example=question + task.delimiter + answer,
        question=question,
        answer=answer.strip(),
    )


def _check_in_range(
    right: int | None, choices: Sequence[str], fields: Mapping[str, JsonValue], row: Row
) -> None:
    if right is not None and right >= len(choices):
        raise DataError(
            f"the answer {fields.get('answer')!r} points past the {len(choices)} choices",
            where=row.where,
        )


def _choices(task: TaskDefinition, fields: Mapping[str, JsonValue], place: str) -> tuple[str, ...]:
    if isinstance(task.choices, list):
        return tuple(render(text, fields, where=place) for text in task.choices)
    values = evaluate(task.choices or "", fields, where=place)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(
            f"'choices' must give a list, not {type(values).__name__}",
            where=place,
            hint="if a cell holds a list as text, write 'choices | literal' in 'columns'",
        )
    if any(value is None for value in values):
        raise DataError("one of the choices is empty", where=place)
    return tuple(str(value) for value in values)


def _gold(sample: Sample) -> int:
    """The choice that a few-shot example shows: the right one, or the one with the best credit."""
    if isinstance(sample.target, int):
        return sample.target
    for field in ("credits", "distribution"):
        values = sample.fields.get(field)
        if isinstance(values, list) and len(values) == len(sample.choices):
            return max(range(len(values)), key=lambda i: float(str(values[i])))
    return 0
