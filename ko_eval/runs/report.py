"""One task's part of the result: scores, data, tokens and time, from its plan and its responses."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ko_eval.engines.model_settings import Price
from ko_eval.runs.estimate import workload
from ko_eval.runs.journal import Entry
from ko_eval.runs.levels import levels
from ko_eval.runs.plan import PlannedTask
from ko_eval.runs.result import Cost, DataUsed, FormatLoss, TaskReport, Tokens, Usage, Value
from ko_eval.tasks.definition import Fact
from ko_eval.tasks.sources import Rows
from ko_eval.types import GenerateResponse, LoglikelihoodResponse, TaskResult


def task_report(task: PlannedTask, result: TaskResult, entries: Collection[Entry]) -> TaskReport:
    """The report of a finished task.

    Args:
        entries: its journal entries, one per distinct request.
    """
    definition = task.prepared.definition
    return TaskReport(
        name=result.task,
        title=result.title,
        board_key=definition.board_key,
        category=definition.category,
        variant=task.variant,
        metric=result.metric,
        shown=Value.of(result.shown),
        metrics={name: Value.of(metric) for name, metric in result.metrics.items()},
        groups={name: Value.of(metric) for name, metric in result.groups.items()},
        format_loss=_format_loss(result),
        levels=levels(definition, task.prepared.samples, result.metric),
        n=result.n,
        outcomes={outcome.value: count for outcome, count in result.outcomes.items()},
        shots=task.prepared.shots,
        chat_template=task.uses_template,
        data=_data_used(task.prepared.rows),
        fewshot=_data_used(task.prepared.fewshot) if task.prepared.fewshot else None,
        truncated=sum(1 for request in task.encoded if request.truncated_tokens),
        tokens=_tokens(entries),
        usage=_usage(task, entries) if task.counted else None,
        seconds=round(sum(entry.seconds for entry in entries), 3),
        definition_sha256=task.prepared.definition_hash(),
        protocol=_protocol(task),
        notes=list(definition.notes),
    )


def cost(entries: Iterable[Entry], price: Price | None) -> Cost | None:
    """What the answers' tokens cost; None without a price."""
    if price is None:
        return None
    read = written = 0
    for entry in entries:
        match entry.response:
            case LoglikelihoodResponse() as scored:
                read += scored.context_tokens + sum(scored.token_counts)
            case GenerateResponse() as generated:
                read += generated.prompt_tokens
                written += generated.completion_tokens
            case _:
                pass
    amount = (read * price.input_per_million + written * price.output_per_million) / 1e6
    return Cost(amount=round(amount, 6), **price.model_dump())


def _format_loss(result: TaskResult) -> FormatLoss | None:
    loss = result.format_loss
    if loss is None:
        return None
    return FormatLoss(published=loss.published, korean=loss.korean, shown=Value.of(loss.shown))


def _protocol(task: PlannedTask) -> dict[str, Fact]:
    """The task's protocol facts, with the few-shot count and overlap of this run."""
    facts = dict(task.prepared.definition.protocol)
    shots = facts.get("shots")
    if shots is not None and shots.value != task.prepared.shots:
        facts["shots"] = Fact(value=task.prepared.shots, status="assumed", why="set for this run")
    template = facts.get("chat_template")
    used = "on" if task.uses_template else "off"
    if template is not None:
        facts["chat_template"] = Fact(
            value=f"{template.value} ({used} in this run)", status=template.status, why=template.why
        )
    if overlap := task.prepared.fewshot_overlap:
        facts["fewshot_overlap"] = Fact(
            value=overlap, status="known", why="allowed for this run by --allow-fewshot-overlap"
        )
    return facts


def _data_used(rows: Rows) -> DataUsed:
    return DataUsed(
        label=rows.label,
        source=rows.source,
        sha256=rows.sha256,
        revision=rows.revision,
        dropped=rows.dropped,
    )


def _usage(task: PlannedTask, entries: Collection[Entry]) -> Usage:
    load = workload(task.encoded)
    return Usage(
        requests=load.requests,
        sequences=load.sequences,
        tokens_asked=load.tokens_asked,
        tokens_distinct=load.tokens_distinct,
        tokens_most=load.most_new,
        tokens_written=sum(
            entry.response.completion_tokens
            for entry in entries
            if isinstance(entry.response, GenerateResponse)
        ),
    )


def _tokens(entries: Collection[Entry]) -> Tokens:
    prompt = completion = thinking = 0
    for entry in entries:
        match entry.response:
            case LoglikelihoodResponse() as scored:
                prompt += scored.context_tokens
                completion += sum(scored.token_counts)
            case GenerateResponse() as generated:
                prompt += generated.prompt_tokens
                completion += generated.completion_tokens
                thinking += generated.thinking_tokens
            case _:
                pass
    return Tokens(prompt=prompt, completion=completion, thinking=thinking)
