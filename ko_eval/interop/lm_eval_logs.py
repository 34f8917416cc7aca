"""Responses from the sample logs of lm-evaluation-harness: `samples_TASK_DATE.jsonl`.

A line holds what one document was asked (`arguments`) and answered (`resps`), once for each filter
of the task; we read the raw answers, which are the same under every filter. A document is matched
with a row of ours by its id, where the task takes ids from the data, else by its place (`doc_id`).
A document that is not that row, or whose choices are not those of the row, is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ko_eval.bounds import parsed_json
from ko_eval.errors import DataError, KoEvalError
from ko_eval.runs.scoring import GivenResponse
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.rows import Row, Rows
from ko_eval.tasks.samples import map_columns, text_id
from ko_eval.tasks.sources import read_json_lines
from ko_eval.types import (
    GenerateResponse,
    JsonValue,
    LoglikelihoodResponse,
    RequestKind,
    Response,
    Sample,
)

_KEYS = {"doc_id", "doc", "resps"}


@dataclass(frozen=True, slots=True)
class _Document:
    """One document of a log.

    Attributes:
        number: its `doc_id`.
        doc: the row that the harness read.
        arguments: what was asked, one list per request; empty where the log does not say.
        answers: one per request.
    """

    number: int
    doc: Mapping[str, JsonValue]
    arguments: Sequence[Sequence[JsonValue]]
    answers: Sequence[JsonValue]
    where: str


def is_sample_log(path: Path) -> bool:
    """Whether a file's first line is one of the harness's logs."""
    try:
        with path.open("rb") as file:
            first = parsed_json(next((line for line in file if line.strip()), b"null"))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and first.keys() >= _KEYS


def read_sample_log(
    path: Path, task: TaskDefinition, rows: Rows, samples: Sequence[Sample]
) -> Iterator[GivenResponse]:
    """The responses of a log.

    Args:
        rows, samples: the rows to score and their samples, in the same order.

    Raises:
        DataError: a line is damaged, or a document is not the row that it should be (named).
    """
    places = {sample.id: place for place, sample in enumerate(samples)}
    for document in _documents(path):
        place = _place(document, task, rows, samples, places)
        sample = samples[place]
        _check_option_order(document, task, sample)
        if task.request is RequestKind.GENERATE:
            response: Response = GenerateResponse(text=_text(document))
        else:
            response = LoglikelihoodResponse(_loglikelihoods(document, task, sample))
        yield GivenResponse(sample.id, response, document.where)


def _documents(path: Path) -> Iterator[_Document]:
    """Each document once; the lines of further filters must hold the same answers."""
    # Where each stands, and a hash of it: prompts of all documents would fill the memory.
    seen: dict[int, tuple[str, bytes]] = {}
    for row in read_json_lines(path):
        document = _read(row)
        content = _content(document)
        where, first = seen.setdefault(document.number, (document.where, content))
        if where == document.where:
            yield document
        elif first != content:
            raise DataError(
                f"document {document.number} is answered twice, and differently",
                where=f"{document.where} (first: {where})",
                hint="give the log of one run only; the harness appends to a log that exists",
            )


def _content(document: _Document) -> bytes:
    """A hash of the document's row and answers."""
    text = json.dumps([document.doc, document.answers], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def _read(row: Row) -> _Document:
    values = row.values
    number, doc, answers = (values.get(key) for key in ("doc_id", "doc", "resps"))
    if not isinstance(number, int) or not isinstance(doc, Mapping) or not isinstance(answers, list):
        raise DataError(
            "the line is not one of lm-eval's sample logs: it needs doc_id, doc and resps",
            where=row.where,
        )
    return _Document(
        number,
        doc,
        _arguments(values.get("arguments")),
        [_only(a, row) for a in answers],
        row.where,
    )


def _arguments(given: JsonValue) -> list[list[JsonValue]]:
    """`{"gen_args_0": {"arg_0": …}, …}`, or plain lists as older versions wrote them."""
    each = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(each, list):
        return []
    return [
        list(one.values()) if isinstance(one, Mapping) else list(one)
        for one in each
        if isinstance(one, Mapping | list)
    ]


def _only(answers: JsonValue, row: Row) -> JsonValue:
    """The one answer to a request; a task with `repeats` has several."""
    if not isinstance(answers, list) or len(answers) != 1:
        count = len(answers) if isinstance(answers, list) else "no list of"
        raise DataError(
            f"a request has {count} answers; exactly one can be scored",
            where=row.where,
            hint="ask with repeats: 1",
        )
    only: JsonValue = answers[0]
    return only


def _place(
    document: _Document,
    task: TaskDefinition,
    rows: Rows,
    samples: Sequence[Sample],
    places: Mapping[str, int],
) -> int:
    """Which sample a document is."""
    entry = {**task.columns, **rows.columns}.get("id", "row_number")
    name = _id(document, task, entry)
    if name in places and entry.removesuffix("?") in document.doc:
        return places[name]
    place = places.get(name, document.number)
    if not 0 <= place < len(samples):
        raise DataError(
            f"document {document.number} of the log is none of the {len(samples)} rows",
            where=document.where,
            hint="does --data name the rows that were asked?",
        )
    _check_same_row(document, rows.rows[place], samples[place])
    return place


def _id(document: _Document, task: TaskDefinition, entry: str) -> str:
    """The document's id by the task's column mapping; empty where its columns give none."""
    try:
        row = Row(document.doc, document.where)
        return text_id(map_columns(task, row, document.number + 1, {"id": entry})["id"])
    except KoEvalError:
        return ""


def _check_same_row(document: _Document, row: Row, sample: Sample) -> None:
    """Rows matched by their place must hold the same text where they share a column.

    The longest text is compared, as others (a subject, a label) are the same in many rows.
    """
    shared = [
        (key, str(row.values[key]), str(value))
        for key, value in document.doc.items()
        if isinstance(row.values.get(key), str)
    ]
    if not shared:
        return
    key, ours, theirs = max(shared, key=lambda each: len(each[1]))
    if ours.split() != theirs.split():
        raise DataError(
            f"document {document.number} of the log is not the row '{sample.id}' in its place: "
            f"column '{key}' differs",
            where=f"{document.where} (row: {row.where})",
            hint="does --data name the rows that were asked, in the same order?",
        )


def _check_option_order(document: _Document, task: TaskDefinition, sample: Sample) -> None:
    """Where an answer is a label, the log must have shown the options in our order.

    Only a task that shuffles them must have shown them at all.
    """
    given = sample.fields.get("choices")
    options = [str(option).strip() for option in given] if isinstance(given, list) else []
    if not options or set(options) == {choice.strip() for choice in sample.choices}:
        return
    shown = str(document.arguments[0][0]) if document.arguments and document.arguments[0] else ""
    place = max(0, shown.rfind(str(sample.fields.get("question", ""))))
    for option in options:
        found = shown.find(option, place)
        if found < 0:
            break
        place = found + len(option)
    else:
        return
    if task.shuffle_choices or all(option in shown for option in options):
        raise DataError(
            f"document {document.number} of the log does not show the options of sample "
            f"'{sample.id}' in our order, so its labels mean others",
            where=document.where,
            hint=f"ours: {' | '.join(options)}"[:200],
        )


def _text(document: _Document) -> str:
    (answer, *more) = document.answers or [None]
    rolling = len(document.arguments) == 1 and len(document.arguments[0]) == 1
    if not isinstance(answer, str) or more or rolling:
        raise DataError(
            f"document {document.number} of the log has no generated text; the task's scorer "
            "reads one",
            where=document.where,
            hint="is it the log of a generate_until task?",
        )
    return answer


def _loglikelihoods(document: _Document, task: TaskDefinition, sample: Sample) -> tuple[float, ...]:
    """The log-likelihoods in the order of our choices."""
    values = [_loglikelihood(answer, document) for answer in document.answers]
    if not document.arguments:
        return tuple(values)
    order = _order(document, task, sample)
    # Those without the question follow in the same order (`acc_mutual_info`).
    return tuple(
        values[start + place] for start in range(0, len(values), len(order)) for place in order
    )


def _loglikelihood(answer: JsonValue, document: _Document) -> float:
    try:
        if isinstance(answer, list) and len(answer) == 2:
            return float(str(answer[0]))
    except ValueError:
        pass
    raise DataError(
        f"document {document.number} of the log has no log-likelihood where the task's scorer "
        f"reads one: {answer!r}"[:200],
        where=document.where,
        hint="is it the log of a multiple_choice task?",
    )


def _order(document: _Document, task: TaskDefinition, sample: Sample) -> list[int]:
    """Where each of our choices stands in the log.

    Tasks with several contexts are told apart by these, all others by the scored texts.
    """
    count = len(sample.choices)
    asked = document.arguments[:count]
    answered = len(document.answers)
    if (
        answered == len(document.arguments)
        and answered in (count, 2 * count)
        and all(len(pair) == 2 for pair in asked)
    ):
        if task.contexts is not None:
            texts = [str(context).rstrip() for context, _ in asked]
            matches = [
                [i for i, text in enumerate(texts) if text.endswith(choice.rstrip())]
                for choice in sample.choices
            ]
        else:
            texts = [str(after).strip() for _, after in asked]
            matches = [
                [i for i, text in enumerate(texts) if text == choice.strip()]
                for choice in sample.choices
            ]
        if all(place in match for place, match in enumerate(matches)):
            return list(range(count))
        order = [match[0] for match in matches if match]
        if sorted(order) == list(range(count)):
            return order
    raise DataError(
        f"document {document.number} of the log was not asked about the choices of sample "
        f"'{sample.id}'",
        where=document.where,
        hint=f"ours: {', '.join(sample.choices)}"[:200]
        + "; take the task or variant that asks as the log does",
    )
