"""Is a run what it says it is? Its files are held against each other, and its scores derived anew.

    checked = verify_run(Path("results/demo/leaderboard2-bundled-9b2fc42e83d4"))

From the files alone, without a model: the journal's checksums, the fingerprint over the layers, the
per-sample scores and the result, which must follow from the responses. Where the rows or the task
of back then are not at hand, that is said: what could not be checked is not called sound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import JsonValue as AnyJson

import ko_eval
from ko_eval.errors import DataError, KoEvalError, first_line
from ko_eval.runs.index import index_of
from ko_eval.runs.journal_reading import JournalContents, journal_path, read_journal
from ko_eval.runs.layer_parts import digest
from ko_eval.runs.layers import fingerprint
from ko_eval.runs.levels import levels
from ko_eval.runs.result import Index, RunResult, TaskReport, Value, read_result
from ko_eval.runs.same_values import same, value_differences
from ko_eval.runs.sample_files import SampleRecord, read_samples
from ko_eval.runs.scoring import average, score_task
from ko_eval.runs.tasks_again import TaskAgain, tasks_again
from ko_eval.tasks.definition import SuiteDefinition
from ko_eval.tasks.registry import load_suite
from ko_eval.types import FailedResponse, Metric, Outcome, Response, SampleScore, TaskResult

# Earlier versions wrote fewer values, and computed some errors and intervals in other ways.
_DERIVED_ALIKE = (1, 4)
_LARGEST_RECORD = 64 * 2**20  # bytes


@dataclass(slots=True)
class Checked:
    """What became of the checks.

    Attributes:
        sound: what was checked and holds.
        faults: what does not hold; each begins with the task's name where it is of one.
        unchecked: what could not be checked, and why.
    """

    result: RunResult
    sound: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing was found that does not hold."""
        return not self.faults


class _Recorded(BaseModel):
    """What is looked at of `run.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    fingerprint: str
    layers: dict[str, AnyJson]
    options: dict[str, AnyJson] = {}


def verify_run(directory: Path) -> Checked:
    """Checks a finished run.

    Raises:
        DataError: there is no result of a run to check.
    """
    if directory.is_file():
        directory = directory.parent
    checked = Checked(read_result(directory))
    recorded = _record(directory, checked)
    _check_layers(checked, recorded)
    again = _again(checked, recorded)
    for report in checked.result.tasks:
        _check_task(checked, directory, report, again[report.name])
    _check_average(checked)
    _check_index(checked, recorded)
    return checked


def _record(directory: Path, checked: Checked) -> _Recorded | None:
    path = directory / "run.json"
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_RECORD:
            checked.faults.append("run.json is not there, or is no ordinary file of a run")
            return None
        return _Recorded.model_validate_json(path.read_bytes())
    except ValidationError as error:
        checked.faults.append(f"run.json is damaged: {first_line(error)}")
    except OSError as error:
        checked.faults.append(f"run.json cannot be read: {error.strerror or error}")
    return None


def _check_layers(checked: Checked, recorded: _Recorded | None) -> None:
    """The fingerprint follows from the layers, and both files hold the same."""
    result = checked.result
    before = len(checked.faults)
    try:
        computed = fingerprint(dict(result.layers))  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        computed = "none"
    if computed != result.fingerprint:
        checked.faults.append(
            f"results.json: the fingerprint is {result.fingerprint}, but that of its layers is "
            f"{computed}"
        )
    if recorded is not None and recorded.fingerprint != result.fingerprint:
        checked.faults.append("run.json and results.json have different fingerprints")
    if recorded is not None and _covered(recorded.layers) != _covered(result.layers):
        checked.faults.append("run.json and results.json hold different layers")
    encoding, model = result.layers.get("encoding"), result.layers.get("model")
    if isinstance(encoding, Mapping) and encoding.get("seed", result.seed) != result.seed:
        checked.faults.append(f"results.json: the seed is {result.seed}, not that of the layers")
    if isinstance(model, str) and model != result.model.sha256:
        checked.faults.append("results.json: the model's hash is not that of the layers")
    for report in result.tasks:
        layer = _task_layer(result, report.name)
        if layer is None:
            checked.faults.append(f"{report.name}: the layers of the run do not hold it")
        elif layer.get("data") != report.data.sha256:
            checked.faults.append(f"{report.name}: its rows are not those of the run's layers")
    if len(checked.faults) == before:
        checked.sound.append("the fingerprint is that of the layers")


def _covered(layers: Mapping[str, object]) -> dict[str, object]:
    """The layers that the fingerprint covers; a run may be finished by a version that adds more."""
    return {name: value for name, value in layers.items() if name != "details"}


def _task_layer(result: RunResult, name: str) -> Mapping[str, object] | None:
    layers = result.layers.get("tasks")
    layer = layers.get(name) if isinstance(layers, Mapping) else None
    return layer if isinstance(layer, Mapping) else None


def _again(checked: Checked, recorded: _Recorded | None) -> dict[str, TaskAgain | str]:
    """Every task of the result as it was asked, or why it cannot be had."""
    why = "run.json does not say what was asked"
    found: dict[str, TaskAgain | str] = {}
    if recorded is not None:
        try:
            found = tasks_again(checked.result, recorded.options)
            why = "the options of the run do not name it"
        except KoEvalError as error:
            why = error.what
    return {report.name: found.get(report.name, why) for report in checked.result.tasks}


def _check_task(
    checked: Checked, directory: Path, report: TaskReport, again: TaskAgain | str
) -> None:
    """The task's journal, per-sample scores and report."""
    try:
        journal = read_journal(journal_path(directory, report.name), checked.result.fingerprint)
        records = read_samples(directory, report.name)
    except DataError as error:
        checked.faults.append(f"{report.name}: {error.what} ({error.where})")
        return
    faults = [
        *_journal_faults(journal),
        *_sample_faults(checked.result, report, records, journal),
    ]
    checked.faults += [f"{report.name}: {fault}" for fault in faults]
    if faults:
        return
    checked.sound.append(
        f"{report.name}: {len(journal.entries)} responses, each with its checksum, answer all "
        f"{len(records)} samples"
    )
    if isinstance(again, str):
        checked.unchecked.append(
            f"{report.name}: whether the scores follow from the responses: {again}"
        )
    else:
        _check_scores(checked, report, records, journal, again)


def _journal_faults(journal: JournalContents) -> list[str]:
    return [
        f"{len(lines)} lines of the journal are {what} (first: line {lines[0]})"
        for lines, what in (
            (journal.damaged, "not as they were written"),
            (journal.foreign, "of another run"),
        )
        if lines
    ]


def _sample_faults(
    result: RunResult, report: TaskReport, records: Sequence[SampleRecord], journal: JournalContents
) -> list[str]:
    """What does not hold between the per-sample file, the report, the layers and the journal."""
    faults = []
    if len(records) != report.n:
        faults.append(f"{len(records)} per-sample scores, but the result says n = {report.n}")
    counts = Counter(record.outcome.value for record in records)
    if any(counts.get(name, 0) != count for name, count in report.outcomes.items()):
        faults.append("the outcomes of the per-sample scores are not those of the result")
    layer = _task_layer(result, report.name) or {}
    if digest([record.key for record in records]) != layer.get("tokens"):
        faults.append("the requests of the per-sample scores are not those of the run's layers")
    missing = [
        record.id
        for record in records
        if record.key not in journal.entries and record.outcome is not Outcome.FAILED
    ]
    if missing:
        faults.append(f"{len(missing)} samples have no response in the journal: '{missing[0]}'")
    return faults


def _check_scores(
    checked: Checked,
    report: TaskReport,
    records: Sequence[SampleRecord],
    journal: JournalContents,
    again: TaskAgain,
) -> None:
    """The per-sample scores and the report are those that the responses give."""
    ids = [sample.id for sample in again.samples]
    if ids != [record.id for record in records]:
        checked.faults.append(f"{report.name}: the per-sample scores are of other rows")
        return
    responses = {record.id: _response(record, journal) for record in records}
    try:
        derived, scores = score_task(again.definition, again.scorer, again.samples, responses)
    except KoEvalError as error:
        checked.faults.append(f"{report.name}: the responses cannot be judged: {error.what}")
        return
    wrong = [
        f"sample '{record.id}' has {difference}"
        for record, score in zip(records, scores, strict=True)
        if (difference := _sample_difference(record, score, told=_tells_all(checked.result)))
    ]
    wrong += _report_differences(report, derived, again, told=_tells_all(checked.result))
    if not wrong:
        checked.sound.append(f"{report.name}: the scores follow from the responses")
    elif again.unchanged and checked.result.ko_eval == ko_eval.__version__:
        checked.faults.append(
            f"{report.name}: the responses give other scores ({len(wrong)} differ): {wrong[0]}"
        )
    else:
        checked.unchecked.append(
            f"{report.name}: whether the scores follow from the responses: the task or ko-eval "
            f"{checked.result.ko_eval} has been changed since, and by it {wrong[0]}"
        )


def _response(record: SampleRecord, journal: JournalContents) -> Response:
    key = record.key or ""
    entry = journal.entries.get(key) or journal.failed.get(key)
    return FailedResponse("no response is in the journal") if entry is None else entry.response


def _tells_all(result: RunResult) -> bool:
    """Whether it is of a version that writes all that is derived now, and computes it alike."""
    return tuple(map(int, result.schema_version.split("."))) >= _DERIVED_ALIKE


def _sample_difference(record: SampleRecord, score: SampleScore, *, told: bool) -> str | None:
    """How a sample's recorded score differs from the one derived now."""
    if record.outcome is not score.outcome:
        return f"outcome {record.outcome}, not {score.outcome}"
    if record.extracted != score.extracted:
        return f"the answer '{record.extracted}', not '{score.extracted}'"
    for name, value in score.metrics.items():
        found = record.metrics.get(name)
        if found is None and not math.isfinite(value):
            continue
        if found is None or not same(found, value):
            return f"{name} {found}, not {value:.6g}"
    if surplus := record.metrics.keys() - score.metrics.keys():
        return f"'{min(surplus)}', which is no metric of the task"
    if told and (record.cluster, record.group) != (score.cluster, score.group):
        return f"cluster and group {record.cluster}, {record.group}, not those of its row"
    return None


def _report_differences(
    report: TaskReport, derived: TaskResult, again: TaskAgain, *, told: bool
) -> list[str]:
    """What of a report does not follow from the responses and the rows."""
    now: dict[str, Metric] = {**derived.metrics, "the shown score": derived.shown}
    found: dict[str, Value] = {**report.metrics, "the shown score": report.shown}
    wrong = []
    if report.metric != derived.metric:
        wrong.append(f"the leading metric is '{report.metric}', not '{derived.metric}'")
    if report.data.label != again.label:
        wrong.append(f"its data are called {report.data.label}, not {again.label}")
    if report.shots != again.shots:
        wrong.append(f"it has {report.shots} few-shot examples, not {again.shots}")
    if told:
        loss, other = derived.format_loss, report.format_loss
        now |= {f"the score of '{name}'": metric for name, metric in derived.groups.items()}
        found |= {f"the score of '{name}'": value for name, value in report.groups.items()}
        now |= {"the format loss": loss.shown} if loss else {}
        found |= {"the format loss": other.shown} if other else {}
        if report.levels != levels(again.definition, again.samples, derived.metric):
            wrong.append("chance and best are not those of its rows")
    wrong += value_differences(now, found, told=told)
    return wrong


def _check_average(checked: Checked) -> None:
    result = checked.result
    if result.average is None or not result.tasks:
        return
    derived = {"the average": average([task.shown.metric() for task in result.tasks])}
    found = {"the average": result.average}
    wrong = value_differences(derived, found, told=_tells_all(result))
    checked.faults += [f"results.json: {text}" for text in wrong]


def _check_index(checked: Checked, recorded: _Recorded | None) -> None:
    """The index follows from the tasks, by the definition of the suite or the shipped one."""
    index = checked.result.index
    if index is None:
        return
    derived = [index_of(suite, checked.result.tasks) for suite in (None, _suite(recorded))]
    alike = [one for one in derived if one and one.definition_sha256 == index.definition_sha256]
    if not alike:
        checked.unchecked.append("the index: its definition is not at hand")
        return
    now, found = _index_values(alike[0]), _index_values(index)
    derived_values = {name: value.metric() for name, value in now.items()}
    wrong = value_differences(derived_values, found, told=True)
    checked.faults += [f"results.json: {text}" for text in wrong]


def _suite(recorded: _Recorded | None) -> SuiteDefinition | None:
    """The suite that the run was asked for, if it is still there."""
    name = recorded.options.get("suite") if recorded else None
    try:
        return load_suite(name) if isinstance(name, str) else None
    except KoEvalError:
        return None


def _index_values(index: Index) -> dict[str, Value]:
    return {
        "the index": index.shown,
        "the plain average beside the index": index.plain_average,
        **{f"category '{one.name}' of the index": one.shown for one in index.categories},
        **{f"task '{one.name}' of the index": one.corrected for one in index.tasks},
    }
