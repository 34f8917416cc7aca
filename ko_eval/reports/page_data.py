"""What a report reads from run directories, and the samples as the page holds them.

Samples are packed task by task, as compressed JSON texts: one that lists them, which the page opens
when somebody looks at the task, and blocks with all their texts, opened when one of them is looked
at or searched. A prompt that several runs share is held once.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ko_eval.errors import DataError, UsageError
from ko_eval.reports.html.charts import COLOURS
from ko_eval.reports.html.pages import json_text
from ko_eval.runs.asked_files import AskedSample, AskedTask, read_asked
from ko_eval.runs.files import safe_name
from ko_eval.runs.journal import decode_entry
from ko_eval.runs.result import RunResult, TaskReport, read_result
from ko_eval.runs.sample_files import SampleRecord, read_samples
from ko_eval.types import FailedResponse, GenerateResponse, LoglikelihoodResponse, Response

MOST_RUNS = COLOURS
BLOCK = 250  # samples
# Characters of a prompt that a list shows, and of which they are taken.
_EXCERPT, _READ = 80, 2000
_LONGEST_LINE = 64 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class ReportRun:
    """A finished run.

    Attributes:
        directory: None where only a `results.json` without a run directory was given.
        label: the model's name, with more where another run of the report has the same.
    """

    result: RunResult
    directory: Path | None
    label: str


def read_runs(paths: Sequence[Path]) -> list[ReportRun]:
    """The runs of a report.

    Args:
        paths: run directories, or their `results.json`.

    Raises:
        UsageError: more than can be told apart.
        DataError: a result cannot be read.
    """
    if len(paths) > MOST_RUNS:
        raise UsageError(
            f"{len(paths)} runs were given; a report shows {MOST_RUNS} at most",
            hint="`ko-eval leaderboard` shows any number of runs",
        )
    results = [read_result(path) for path in paths]
    labels = _apart([result.model.name for result in results], [r.fingerprint for r in results])
    return [
        ReportRun(result, _directory(path), label)
        for path, result, label in zip(paths, results, labels, strict=True)
    ]


def _apart(names: Sequence[str], fingerprints: Sequence[str]) -> list[str]:
    """The names; equal ones with their fingerprints, and equal ones of these with a number."""
    full = [
        name if names.count(name) == 1 else f"{name} ({fingerprint})"
        for name, fingerprint in zip(names, fingerprints, strict=True)
    ]
    return [
        name if full.count(name) == 1 else f"{name} #{full[:place].count(name) + 1}"
        for place, name in enumerate(full)
    ]


def _directory(path: Path) -> Path | None:
    directory = path if path.is_dir() else path.parent
    return directory if (directory / "samples").is_dir() else None


@dataclass(frozen=True, slots=True)
class PackedTask:
    """The samples of a task in all runs.

    Attributes:
        listing, blocks: gzip as base64 of JSON texts that `report.js` reads.
        count: samples.
    """

    name: str
    title: str
    count: int
    listing: str
    blocks: Sequence[str]


def packed_samples(runs: Sequence[ReportRun]) -> list[PackedTask]:
    """The samples of all tasks, in the order in which the runs name them.

    Raises:
        DataError: a file of a run is damaged.
    """
    titles: dict[str, str] = {}
    for run in runs:
        if run.directory is not None:
            titles.update({t.name: t.title for t in run.result.tasks if t.name not in titles})
    packed = (_packed_task(name, title, runs) for name, title in titles.items())
    return [task for task in packed if task.count]


def _packed_task(name: str, title: str, runs: Sequence[ReportRun]) -> PackedTask:
    rows: dict[str, dict[str, Any]] = {}
    about: list[dict[str, object] | None] = []
    for place, run in enumerate(runs):
        report = next((task for task in run.result.tasks if task.name == name), None)
        if report is None or run.directory is None:
            about.append(None)
            continue
        asked = read_asked(run.directory, name)
        about.append(_about(report, asked))
        _add_run(rows, place, len(runs), run, report, asked)
    samples = list(rows.values())
    return PackedTask(
        name,
        title,
        len(samples),
        _squeezed({"runs": about, "samples": _listed(samples)}),
        [_squeezed(samples[at : at + BLOCK]) for at in range(0, len(samples), BLOCK)],
    )


def _squeezed(value: object) -> str:
    # Level 6 makes it 5 % smaller and takes more than twice as long.
    packed = gzip.compress(json_text(value).encode(), compresslevel=4, mtime=0)
    return base64.b64encode(packed).decode()


def _listed(samples: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """What the list, its filters and orders need of the samples."""
    beginnings = [_beginning(sample)[:_READ] for sample in samples]
    # What every prompt begins with says nothing in a list.
    shared = _shared(beginnings) if len(samples) > 1 else ""
    return [
        {
            "id": sample["id"],
            "group": sample["group"],
            "excerpt": " ".join(text.removeprefix(shared).split())[:_EXCERPT],
            "runs": [answer and _verdict(answer) for answer in sample["runs"]],
        }
        for sample, text in zip(samples, beginnings, strict=True)
    ]


def _shared(texts: Sequence[str]) -> str:
    """The whole lines with which all texts begin."""
    first, last = min(texts), max(texts)  # whatever these two share, all do
    pairs = enumerate(zip(first, last, strict=False))
    border = next((place for place, (one, other) in pairs if one != other), len(first))
    return first[:border].rpartition("\n")[0]


def _beginning(sample: dict[str, Any]) -> str:
    """The prompt's own text, or the first response where no prompt was recorded."""
    prompts = [prompt[2] for asked in sample["asked"] for prompt in asked["prompts"]]
    texts = prompts or [answer.get("text", "") for answer in sample["runs"] if answer]
    return str(texts[0]) if texts else ""


def _verdict(answer: dict[str, Any]) -> dict[str, object]:
    return {
        "score": answer.get("score"),
        "outcome": answer["outcome"],
        "length": len(answer.get("text", "")) + len(answer.get("thinking", "")),
    }


def _about(report: TaskReport, asked: AskedTask | None) -> dict[str, object]:
    """What all samples of a task share in one run."""
    scale = _scale(report)
    return {
        "metric": report.metric,
        "best": 100 / scale,
        "prefix": asked.header.prefix if asked else [],
        "heads": [[[t.role, t.text] for t in head] for head in asked.header.heads] if asked else [],
    }


def _scale(report: TaskReport) -> float:
    """How much the shown value is of the metric's own."""
    own = report.metrics.get(report.metric)
    return report.shown.value / own.value if own and own.value else 100.0


def _add_run(
    rows: dict[str, dict[str, Any]],
    place: int,
    count: int,
    run: ReportRun,
    report: TaskReport,
    asked: AskedTask | None,
) -> None:
    """Adds one run's answers to the task's samples."""
    assert run.directory is not None
    by_id = {sample.id: sample for sample in asked.samples} if asked else {}
    responses = _responses(run.directory, report.name, run.result.fingerprint)
    for record in _own_samples(run.directory, report):
        row = rows.setdefault(
            record.id, {"id": record.id, "group": record.group, "asked": [], "runs": [None] * count}
        )
        at = None
        if (sample := by_id.get(record.id)) is not None:
            content = _asked(sample)
            if content not in row["asked"]:
                row["asked"].append(content)
            at = row["asked"].index(content)
        key = record.key or (sample.key if sample else None)
        response = responses.get(key) if key else None
        row["runs"][place] = _answer(record, report.metric, response, at)


def _own_samples(directory: Path, report: TaskReport) -> list[SampleRecord]:
    """The samples of a task, as many and judged by the metric that its result tells of.

    Raises:
        DataError: the file is damaged, or of another task or run.
    """
    records = read_samples(directory, report.name)
    named = any(report.metric in record.metrics for record in records)
    if len(records) != report.n or not named:
        problem = (
            f"{len(records)} in place of {report.n}" if named else f"none has '{report.metric}'"
        )
        raise DataError(
            f"the samples are not those of the result: {problem}",
            where=str(directory / "samples" / f"{safe_name(report.name)}.jsonl"),
            hint="the `ko-eval run` command of the run writes them again",
        )
    return records


def _asked(sample: AskedSample) -> dict[str, object]:
    content: dict[str, object] = {
        "prompts": [[prompt.head, prompt.role, prompt.text] for prompt in sample.prompts],
        "target": sample.target,
    }
    if sample.continuations:
        content["scored"] = sample.continuations
    if sample.choices and sample.choices != sample.continuations:
        content["choices"] = sample.choices
    if sample.reference:
        content["reference"] = sample.reference
    if sample.truncated_tokens:
        content["cut"] = sample.truncated_tokens
    return content


def _answer(
    record: SampleRecord, metric: str, response: Response | None, asked: int | None
) -> dict[str, object]:
    content: dict[str, object] = {
        "asked": asked,
        "score": record.metrics.get(metric),
        "metrics": dict(record.metrics),
        "extracted": record.extracted,
        "outcome": record.outcome.value,
        "detail": {k: v for k, v in record.detail.items() if k != "loglikelihoods"},
    }
    match response:
        case GenerateResponse():
            content |= {"text": response.text, "finish": response.finish_reason}
            content["tokens"] = [response.prompt_tokens, response.completion_tokens]
            if response.thinking is not None:
                content["thinking"] = response.thinking
        case LoglikelihoodResponse():
            content["loglikelihoods"] = response.loglikelihoods
            content["counts"] = response.token_counts
        case FailedResponse():
            content["reason"] = response.reason
        case None:
            content["loglikelihoods"] = record.detail.get("loglikelihoods")
    return {name: value for name, value in content.items() if value is not None}


def _responses(directory: Path, task: str, run: str) -> dict[str, Response]:
    """The responses of a task by key: the last one that did not fail, else the last."""
    found: dict[str, Response] = {}
    for line in _journal_lines(directory / "responses" / f"{safe_name(task)}.jsonl"):
        read = decode_entry(line)
        if read is None or read[0] not in (run, ""):
            continue  # damaged, or another run's: the run itself does not use it either
        entry = read[1]
        if not isinstance(entry.response, FailedResponse) or entry.key not in found:
            found[entry.key] = entry.response
    return found


def _journal_lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    if not path.is_file():
        raise DataError("responses must be in an ordinary file", where=str(path))
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line.rstrip(b"\n")
    except OSError as error:
        raise DataError(
            f"the responses cannot be read: {error.strerror or error}", where=str(path)
        ) from error
