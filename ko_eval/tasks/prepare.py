"""A task made ready: samples, few-shot examples in front, requests as an engine takes them.

Nothing here knows a tokenizer; the texts are exactly what a model will be shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.scorers.base import ChecksTogether, Scorer
from ko_eval.scorers.registry import create_scorer
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.packs import packed_fewshot, packed_rows
from ko_eval.tasks.samples import RenderedSample, build_samples
from ko_eval.tasks.sources import Rows, fewshot_rows, task_rows
from ko_eval.types import (
    ContextContinuation,
    GenerateRequest,
    LoglikelihoodRequest,
    Message,
    Request,
    RequestKind,
    Sample,
)


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """Everything about a task that does not depend on a model.

    Attributes:
        samples, requests: in the order of the data, one request per sample.
        rows: the data as read, with label and hash.
        shots: few-shot examples in front of each question.
        fewshot: where the examples come from; None at zero shots.
        fewshot_overlap: how the examples overlap with what is evaluated, which the user allowed;
            None when they are apart.
    """

    definition: TaskDefinition
    scorer: Scorer
    samples: tuple[Sample, ...]
    requests: tuple[Request, ...]
    rows: Rows
    shots: int
    fewshot: Rows | None
    fewshot_overlap: str | None

    def prompts_hash(self) -> str:
        """SHA-256 over all requests as text."""
        digest = hashlib.sha256()
        for request in self.requests:
            digest.update(_content(request))
        return digest.hexdigest()

    def definition_hash(self) -> str:
        """SHA-256 over the task definition."""
        content = self.definition.model_dump(mode="json")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(request: Request) -> bytes:
    """All of a request, a text that occurs in it more than once written out once."""
    texts: dict[str, int] = {}

    def place(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def places(messages: Sequence[Message]) -> list[tuple[str, int]]:
        return [(message.role, place(message.content)) for message in messages]

    form: list[object] = [request.task, request.sample_id]
    if isinstance(request, GenerateRequest):
        form += [place(request.prompt), places(request.messages), request.stop]
        form += [request.max_tokens, request.temperature, request.top_p]
    else:
        form += [(place(pair.context), place(pair.continuation)) for pair in request.pairs]
        before: Sequence[Message] | None = None
        for messages in request.messages:
            form.append("same" if messages == before else places(messages))
            before = messages
    head = repr((form, [len(text) for text in texts]))
    return "".join([head, *texts]).encode("utf-8", "surrogatepass")


def prepare_samples(
    task: TaskDefinition, data: str, *, limit: int | None = None, pack: Path | None = None
) -> tuple[Scorer, Rows, list[RenderedSample]]:
    """A task's scorer, rows and samples, without few-shot examples or requests.

    Args:
        pack: see `prepare_task`.

    Raises:
        DataError, TaskError: see `task_rows` and `build_samples`.
    """
    scorer = create_scorer(task.scorer.name, task.scorer.parameters)
    rows = task_rows(task, data) if pack is None else packed_rows(pack, task.name)
    rendered = build_samples(task, rows, scorer, limit=limit)
    if isinstance(scorer, ChecksTogether):
        scorer.check_together([item.sample for item in rendered])
    return scorer, rows, rendered


def prepare_task(
    task: TaskDefinition,
    data: str = "bundled",
    *,
    shots: int | None = None,
    limit: int | None = None,
    allow_fewshot_overlap: bool = False,
    pack: Path | None = None,
) -> PreparedTask:
    """Reads the rows and builds all requests.

    Args:
        data: `bundled`, `hub` or a path.
        shots: few-shot examples; None takes the task's own count.
        limit: evaluate only the first so many rows.
        allow_fewshot_overlap: record it, instead of refusing, when few-shot examples come from the
            evaluated rows; some published protocols do so.
        pack: folder of an unpacked pack, whose rows and examples are taken instead of `data`.

    Raises:
        DataError, TaskError: the data or the definition is wrong; nothing was asked yet.
    """
    scorer, rows, rendered = prepare_samples(task, data, limit=limit, pack=pack)
    shots = task.fewshot.count if shots is None else shots
    examples, fewshot = _examples(task, data, scorer, shots, pack)
    overlap = _overlap(rendered, rows, examples, fewshot)
    if overlap is not None and not allow_fewshot_overlap:
        raise DataError(
            f"task '{task.name}': {overlap}, so the answers would be shown",
            where=fewshot.source if fewshot else None,
            hint="take them from another split or file, use --shots 0, or give "
            "--allow-fewshot-overlap, which is recorded in the result",
        )
    return PreparedTask(
        definition=task,
        scorer=scorer,
        samples=tuple(item.sample for item in rendered),
        requests=tuple(
            _request(task, item, _before(task, item, examples, shots)) for item in rendered
        ),
        rows=rows,
        shots=shots,
        fewshot=fewshot,
        fewshot_overlap=overlap,
    )


def _overlap(
    evaluated: Sequence[RenderedSample],
    rows: Rows,
    examples: Sequence[RenderedSample],
    fewshot: Rows | None,
) -> str | None:
    """How the few-shot examples overlap with the evaluated rows, in words; None when apart."""
    if fewshot is None:
        return None
    if (fewshot.label, fewshot.source) == (rows.label, rows.source):
        return f"its few-shot examples come from the evaluated rows ('{rows.source}')"
    shown = {item.identity for item in examples}
    same = [item.sample.id for item in evaluated if item.identity in shown]
    if not same:
        return None
    return f"{len(same)} of its few-shot examples are evaluated rows (first: '{same[0]}')"


def _examples(
    task: TaskDefinition, data: str, scorer: Scorer, shots: int, pack: Path | None
) -> tuple[list[RenderedSample], Rows | None]:
    if shots == 0:
        return [], None
    rows = fewshot_rows(task, data) if pack is None else packed_fewshot(pack, task.name)
    if rows is None:
        raise DataError(
            f"task '{task.name}' has no few-shot examples, but {shots} were asked for",
            hint="use --shots 0",
        )
    if shots > len(rows.rows):
        raise DataError(
            f"{shots} few-shot examples were asked for, but task '{task.name}' has "
            f"{len(rows.rows)}",
            where=rows.source,
            hint=f"use --shots {len(rows.rows)} or fewer",
        )
    limit = shots if task.fewshot.match is None else None
    return build_samples(task, rows, scorer, limit=limit), rows


def _before(
    task: TaskDefinition, item: RenderedSample, examples: Sequence[RenderedSample], shots: int
) -> Sequence[RenderedSample]:
    """The examples in front of one question: all, or the first of those that match it.

    Raises:
        DataError: fewer than `shots` match.
    """
    field = task.fewshot.match
    if field is None or shots == 0:
        return examples
    value = item.sample.fields.get(field)
    matching = [each for each in examples if each.sample.fields.get(field) == value][:shots]
    if len(matching) < shots:
        raise DataError(
            f"{shots} few-shot examples were asked for, but for {field} '{value}' task "
            f"'{task.name}' has {len(matching)}",
            hint=f"use --shots {len(matching)}",
        )
    return matching


def _request(
    task: TaskDefinition, item: RenderedSample, examples: Sequence[RenderedSample]
) -> Request:
    separator = task.fewshot.separator
    header = "".join(example.example + separator for example in examples)
    turns = tuple(
        message
        for example in examples
        for message in (Message("user", example.question), Message("assistant", example.answer))
    )
    if task.request is RequestKind.GENERATE:
        return GenerateRequest(
            task=task.name,
            sample_id=item.sample.id,
            prompt=header + item.question,
            messages=(*turns, Message("user", item.question)),
            stop=tuple(task.stop),
            max_tokens=task.max_tokens,
            temperature=task.temperature,
            top_p=task.top_p,
        )
    contexts = item.contexts
    if len(contexts) == 1:
        contexts = contexts * len(item.continuations)
    # One object for each distinct context: with many examples it is most of the memory.
    shown = {
        context: (header + context, (*turns, Message("user", context))) for context in item.contexts
    }
    asked = [
        (*shown[context], continuation)
        for context, continuation in zip(contexts, item.continuations, strict=True)
    ]
    if (bare := task.unconditional) is not None:
        asked += [(bare, (), text) for text in item.continuations]
    return LoglikelihoodRequest(
        task=task.name,
        sample_id=item.sample.id,
        pairs=tuple(
            ContextContinuation(context, task.delimiter + continuation)
            for context, _, continuation in asked
        ),
        messages=tuple(messages for _, messages, _ in asked),
    )
