"""The lines of `samples_TASK_DATE.jsonl`: one per document and filter, as the harness logs them.

Prompts, choices and targets come from the run's `asked/`, answers from its journal, scores from its
`samples/`. A run without one of the first two has lines without what it holds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from ko_eval.errors import DataError
from ko_eval.interop.exported_run import ExportedRun, responses_of
from ko_eval.interop.harness_metrics import harness_metric
from ko_eval.runs.asked_files import AskedHeader, AskedSample, AskedTask, read_asked
from ko_eval.runs.result import TaskReport
from ko_eval.runs.sample_files import SampleRecord, read_samples
from ko_eval.types import GenerateResponse, JsonValue, LoglikelihoodResponse, Response

# What the harness's filters give where they find no answer.
_NOT_FOUND = "[invalid]"
# Where the scorers keep what each filter found.
_FOUND_BY = {"strict-match": "strict", "flexible-extract": "flexible", "korean": "korean"}
# Verdicts that the harness logs one by one and pools, by their end of our metric's name.
_POOLED = {
    "inst_level_strict_acc": "strict",
    "inst_level_loose_acc": "loose",
    "inst_level_strict_acc_stock": "stock",
}


def sample_lines(run: ExportedRun, task: TaskReport) -> Iterator[str]:
    """The lines of a task, filter by filter, documents in the order of the data.

    Raises:
        DataError: a file of the run is damaged.
    """
    records = read_samples(run.directory, task.name)
    asked = read_asked(run.directory, task.name)
    responses = responses_of(run, task.name)
    for reading, names in _by_filter(task).items():
        for number, record in enumerate(records):
            line = _line(number, record, reading, names, asked, responses)
            try:
                yield json.dumps(line, ensure_ascii=False, allow_nan=False)
            except ValueError as error:
                raise DataError(
                    f"sample '{record.id}' of task '{task.name}' holds what is no finite number",
                    where=str(run.directory),
                ) from error


def _by_filter(task: TaskReport) -> dict[str, list[str]]:
    """Our metrics by the harness's filter."""
    filters: dict[str, list[str]] = {}
    for name in task.metrics:
        filters.setdefault(harness_metric(name)[1], []).append(name)
    return filters


def _line(
    number: int,
    record: SampleRecord,
    reading: str,
    names: Sequence[str],
    asked: AskedTask | None,
    responses: Mapping[str, Response],
) -> dict[str, JsonValue]:
    values = {
        harness_metric(name)[0]: _verdict(name, record) for name in names if name in record.metrics
    }
    question = _question(number, record, asked)
    response = _of_choices(responses.get(record.key or ""), question)
    return {
        "doc_id": number,
        "doc": _document(record, question),
        **_target(question, record),
        "arguments": _arguments(question, asked.header) if asked and question else {},
        "resps": _answers(response),
        "filtered_resps": _filtered(response, reading, record),
        "filter": reading,
        "metrics": list(values),
        **_prompt_hash(question, asked.header if asked else None),
        "outcome": record.outcome.value,
        **values,
    }


def _verdict(name: str, record: SampleRecord) -> JsonValue:
    verdicts = record.detail.get(_POOLED.get(name, ""))
    return verdicts if isinstance(verdicts, list) else record.metrics[name]


def _question(number: int, record: SampleRecord, asked: AskedTask | None) -> AskedSample | None:
    """What the sample was asked; both files are in the order of the data."""
    if asked is None or number >= len(asked.samples):
        return None
    found = asked.samples[number]
    return found if found.id == record.id else None


def _document(record: SampleRecord, question: AskedSample | None) -> dict[str, JsonValue]:
    """What is known of the row: the rest of it is not in the run's files."""
    known: dict[str, JsonValue] = {"id": record.id}
    if record.group is not None:
        known["group"] = record.group
    if question is not None:
        known |= {"choices": list(question.choices)} if question.choices else {}
        known |= question.reference
    return known


def _target(question: AskedSample | None, record: SampleRecord) -> dict[str, JsonValue]:
    target = None if question is None else question.target
    if target is None:
        found = record.detail.get("right", record.detail.get("expected"))
        target = found if isinstance(found, int | str) else None
    return {} if target is None else {"target": str(target)}


def _arguments(question: AskedSample, header: AskedHeader) -> dict[str, JsonValue]:
    """`{"gen_args_0": {"arg_0": prompt, "arg_1": continuation or settings}, …}`"""
    prompts = _prompts(question, header)
    if question.continuations:
        shared = prompts * len(question.continuations) if len(prompts) == 1 else prompts
        pairs: list[tuple[str, JsonValue]] = list(zip(shared, question.continuations, strict=False))
    else:
        settings: dict[str, JsonValue] = {"until": list(header.stop)}
        if header.max_tokens is not None:
            settings["max_gen_toks"] = header.max_tokens
        if header.temperature is not None:
            settings |= {"do_sample": header.temperature > 0, "temperature": header.temperature}
        pairs = [(prompts[0], settings)] if prompts else []
    return {
        f"gen_args_{place}": {"arg_0": context, "arg_1": then}
        for place, (context, then) in enumerate(pairs)
    }


def _prompts(question: AskedSample, header: AskedHeader) -> list[str]:
    """Prompts as text; turns of a chat as JSON, as the harness passes them to a server."""
    texts = []
    for prompt in question.prompts:
        turns = [] if prompt.head is None else list(header.heads[prompt.head])
        pairs = [(turn.role, turn.text) for turn in turns] + [(prompt.role, prompt.text)]
        if any(role for role, _ in pairs):
            chat = [{"role": role, "content": text} for role, text in pairs]
            texts.append(json.dumps(chat, ensure_ascii=False))
        else:
            texts.append("".join(text for _, text in pairs))
    return texts


def _of_choices(response: Response | None, question: AskedSample | None) -> Response | None:
    """The response without what was scored without the question, whose prompts are not kept."""
    if not isinstance(response, LoglikelihoodResponse) or question is None:
        return response
    count = len(question.continuations)
    return dataclasses.replace(
        response, loglikelihoods=response.loglikelihoods[:count], greedy=response.greedy[:count]
    )


def _answers(response: Response | None) -> list[JsonValue]:
    """Raw answers, one list per request; none where the engine gave no response."""
    match response:
        case GenerateResponse():
            return [[response.text]]
        case LoglikelihoodResponse():
            return [[pair] for pair in _pairs(response)]
        case _:
            return []


def _pairs(response: LoglikelihoodResponse) -> list[JsonValue]:
    """Log-likelihood and whether the text is the likeliest one, as text, as the harness logs it."""
    greedy = [str(one) for one in response.greedy] or ["None"] * len(response.loglikelihoods)
    return [
        [str(value), likeliest]
        for value, likeliest in zip(response.loglikelihoods, greedy, strict=False)
    ]


def _filtered(response: Response | None, reading: str, record: SampleRecord) -> list[JsonValue]:
    """What the filter made of the answers."""
    match response:
        case GenerateResponse() if reading in _FOUND_BY:
            found = record.detail.get(_FOUND_BY[reading])
            return [found if isinstance(found, str) else _NOT_FOUND]
        case GenerateResponse():
            return [response.text]
        case LoglikelihoodResponse():
            return _pairs(response)
        case _:
            return []


def _prompt_hash(question: AskedSample | None, header: AskedHeader | None) -> dict[str, JsonValue]:
    """The harness's hash of the first prompt."""
    if question is None or header is None or not question.prompts:
        return {}
    return {"prompt_hash": hashlib.sha256(_prompts(question, header)[0].encode()).hexdigest()}
