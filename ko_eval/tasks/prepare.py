"""A task made ready: samples, few-shot examples in front, requests as an engine takes them.

Nothing here knows a tokenizer; the texts are exactly what a model will be shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ko_eval.errors import DataError
from ko_eval.scorers.base import Scorer
from ko_eval.scorers.registry import create_scorer
from ko_eval.tasks.definition import TaskDefinition
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
    """

    definition: TaskDefinition
    scorer: Scorer
    samples: tuple[Sample, ...]
    requests: tuple[Request, ...]
    rows: Rows
    shots: int
    fewshot: Rows | None

    def prompts_hash(self) -> str:
        """SHA-256 over all requests as text."""
        digest = hashlib.sha256()
        for request in self.requests:
            digest.update(repr(request).encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    def definition_hash(self) -> str:
        """SHA-256 over the task definition."""
        content = self.definition.model_dump(mode="json")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def prepare_samples(
    task: TaskDefinition, data: str, *, limit: int | None = None
) -> tuple[Scorer, Rows, list[RenderedSample]]:
    """A task's scorer, rows and samples, without few-shot examples or requests.

    Raises:
        DataError, TaskError: see `task_rows` and `build_samples`.
    """
    scorer = create_scorer(task.scorer.name, task.scorer.parameters)
    rows = task_rows(task, data)
    return scorer, rows, build_samples(task, rows, scorer, limit=limit)


def prepare_task(
    task: TaskDefinition,
    data: str = "bundled",
    *,
    shots: int | None = None,
    limit: int | None = None,
) -> PreparedTask:
    """Reads the rows and builds all requests.

    Args:
        data: `bundled`, `hub` or a path.
        shots: few-shot examples; None takes the task's own count.
        limit: evaluate only the first so many rows.

    Raises:
        DataError, TaskError: the data or the definition is wrong; nothing was asked yet.
    """
    scorer, rows, rendered = prepare_samples(task, data, limit=limit)
    shots = task.fewshot.count if shots is None else shots
    examples, fewshot = _examples(task, data, scorer, shots)
    return PreparedTask(
        definition=task,
        scorer=scorer,
        samples=tuple(item.sample for item in rendered),
        requests=tuple(_request(task, item, examples) for item in rendered),
        rows=rows,
        shots=shots,
        fewshot=fewshot,
    )


def _examples(
    task: TaskDefinition, data: str, scorer: Scorer, shots: int
) -> tuple[list[RenderedSample], Rows | None]:
    if shots == 0:
        return [], None
    rows = fewshot_rows(task, data)
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
    return build_samples(task, rows, scorer, limit=shots), rows


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
    return LoglikelihoodRequest(
        task=task.name,
        sample_id=item.sample.id,
        pairs=tuple(
            ContextContinuation(header + context, task.delimiter + continuation)
            for context, continuation in zip(contexts, item.continuations, strict=True)
        ),
        messages=tuple((*turns, Message("user", context)) for context in contexts),
    )
