"""What a run asks of a machine, from its token ids alone: tokens, and with speeds time and price.

Reading (prompts and scored texts, many tokens at a time) and writing (one token after another) have
speeds of their own. Both are measured best: a finished run's results hold them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair, EncodedRequest
from ko_eval.engines.prefix_tree import build_forest
from ko_eval.runs.result import RunResult, TaskReport, Usage
from ko_eval.types import Outcome

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What a task's requests, or those of several tasks, come to.

    Attributes:
        requests: those that differ; equal ones are asked once.
        sequences: texts that a model reads: one per choice, one per prompt.
        tokens_asked: tokens to read if each sequence were read alone.
        tokens_distinct: tokens to read when those that stand alike are read once.
        longest: tokens of the longest sequence, with all that may be written after it.
        most_new: tokens that are written when every answer is as long as it may be.
    """

    requests: int
    sequences: int
    tokens_asked: int
    tokens_distinct: int
    longest: int
    most_new: int


@dataclass(frozen=True, slots=True)
class Speeds:
    """Tokens per second; None where it is not known.

    Attributes:
        read: distinct tokens read.
        write: tokens written, by all sequences together.
    """

    read: float | None = None
    write: float | None = None


@dataclass(frozen=True, slots=True)
class TaskEstimate:
    """What one task will take.

    Attributes:
        expected_new: tokens that are written if answers are as long as in an earlier run; None
            where that is not known: `most_new` then stands for it.
        seconds: None where a speed that it needs is not known.
    """

    name: str
    title: str
    workload: Workload
    expected_new: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run will take.

    Attributes:
        new: tokens that are written, expected where known, else the most.
        gpu_hours, price: None where they cannot be computed.
    """

    tasks: tuple[TaskEstimate, ...]
    total: Workload
    new: int
    seconds: float | None
    gpu_hours: float | None
    price: float | None


def workload(encoded: Sequence[EncodedRequest]) -> Workload:
    """What a task's requests come to."""
    unique = {request.key: request for request in encoded}.values()
    pairs: list[EncodedPair] = []
    longest = most_new = 0
    for request in unique:
        if isinstance(request, EncodedLoglikelihood):
            pairs += request.pairs
            longest = max(longest, *(len(p.context) + len(p.continuation) for p in request.pairs))
        else:
            new = request.request.max_tokens + request.thinking_tokens
            # All of a prompt is read; which token is written after it makes no difference.
            pairs.append(EncodedPair(request.prompt, (0,)))
            longest = max(longest, len(request.prompt) + new)
            most_new += new
    forest = build_forest(pairs)
    return Workload(
        requests=len(unique),
        sequences=len(pairs),
        tokens_asked=forest.tokens_asked,
        tokens_distinct=forest.tokens_distinct,
        longest=longest,
        most_new=most_new,
    )


def together(parts: Sequence[Workload]) -> Workload:
    """The sum of several tasks; the longest sequence of all of them."""
    return Workload(
        requests=sum(part.requests for part in parts),
        sequences=sum(part.sequences for part in parts),
        tokens_asked=sum(part.tokens_asked for part in parts),
        tokens_distinct=sum(part.tokens_distinct for part in parts),
        longest=max((part.longest for part in parts), default=0),
        most_new=sum(part.most_new for part in parts),
    )


def estimate(
    tasks: Sequence[tuple[str, str, Workload]],
    speeds: Speeds,
    *,
    new_per_request: Mapping[str, float] | None = None,
    gpus: int = 1,
    price_per_gpu_hour: float | None = None,
) -> RunEstimate:
    """What a run of tasks (name, title, workload) will take.

    Args:
        new_per_request: by task, the mean number of tokens written in an earlier run.
        gpus: how many give these speeds together.
    """
    known = new_per_request or {}
    estimates = [
        _of_task(name, title, load, speeds, known.get(name)) for name, title, load in tasks
    ]
    new = sum(_new(each) for each in estimates)
    times = [each.seconds for each in estimates]
    seconds = sum(time for time in times if time is not None) if None not in times else None
    gpu_hours = price = None
    if seconds is not None:
        gpu_hours = seconds * gpus / _SECONDS_PER_HOUR
        price = None if price_per_gpu_hour is None else gpu_hours * price_per_gpu_hour
    return RunEstimate(
        tasks=tuple(estimates),
        total=together([each.workload for each in estimates]),
        new=new,
        seconds=seconds,
        gpu_hours=gpu_hours,
        price=price,
    )


def records_usage(result: RunResult) -> bool:
    """Whether a finished run says what its tasks used, which none did before schema 1.2."""
    return any(task.usage is not None for task in result.tasks)


def measured_speeds(result: RunResult, *, read: float | None = None) -> Speeds:
    """The speeds of a finished run.

    Reading: from the tasks that only read. Writing: from the others, less the time that reading
    their prompts took, but at most half of all; where no task only read, all of it is writing.
    A result counts a task's failed samples but not their tokens or time: tokens read are taken by
    the share of samples that were answered.

    Args:
        read: tokens read per second, where it is known and need not be measured.
    """
    reading = [used for used in map(_used, result.tasks) if used and not used[0].tokens_most]
    writing = [used for used in map(_used, result.tasks) if used and used[0].tokens_most]
    write = None
    if reading and read is None:
        read = _tokens_read(reading) / sum(task.seconds for _, task in reading)
    if written := sum(usage.tokens_written for usage, _ in writing):
        in_all = sum(task.seconds for _, task in writing)
        reading_time = _tokens_read(writing) / read if read else 0.0
        # Prompts may have been read faster than in the other tasks, in larger batches: what is
        # left for writing would come near nothing.
        write = written / max(in_all - reading_time, in_all / 2)
    return Speeds(read, write)


def measured_new(result: RunResult) -> dict[str, float]:
    """By task of a finished run, the mean number of tokens written for an answered request.

    How many requests failed is not in a result: their share is taken to be that of the samples.
    """
    return {
        task.name: usage.tokens_written / (usage.requests * _answered(task))
        for usage, task in filter(None, map(_used, result.tasks))
        if usage.tokens_most and usage.requests
    }


def _used(task: TaskReport) -> tuple[Usage, TaskReport] | None:
    """A task with its usage; None where nothing was measured."""
    if task.usage is None or not task.seconds or not _answered(task):
        return None
    return task.usage, task


def _answered(task: TaskReport) -> float:
    """The share of a task's samples that did not fail."""
    return 1 - task.outcomes.get(Outcome.FAILED, 0) / task.n if task.n else 0.0


def _tokens_read(used: Sequence[tuple[Usage, TaskReport]]) -> float:
    return sum(usage.tokens_distinct * _answered(task) for usage, task in used)


def _of_task(
    name: str, title: str, load: Workload, speeds: Speeds, new_per_request: float | None
) -> TaskEstimate:
    expected = None
    if new_per_request is not None and load.most_new:
        expected = min(load.most_new, round(new_per_request * load.requests))
    new = load.most_new if expected is None else expected
    seconds = None if speeds.read is None else load.tokens_distinct / speeds.read
    if new and (seconds is not None or speeds.write is not None):
        # Without a speed of reading, that of writing was measured with the prompts.
        seconds = None if speeds.write is None else (seconds or 0.0) + new / speeds.write
    return TaskEstimate(name, title, load, expected, seconds)


def _new(task: TaskEstimate) -> int:
    return task.workload.most_new if task.expected_new is None else task.expected_new
