"""Runs of lm-evaluation-harness for a comparison: `results_DATE.json` and its sample logs.

Items are matched by the row's own `id`, where every row of a log has one, else by `doc_id`. Those
of a run of ours then are paired with them only where its ids are row numbers, of as many rows. The
harness logs hashes of rows and prompts, the few-shot count and the precision; two of its runs are
comparable where these agree. What it does not log is unknown, and said to be.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic import JsonValue as AnyJson

from ko_eval.bounds import parsed_json
from ko_eval.errors import DataError
from ko_eval.interop.harness_metrics import value_key
from ko_eval.reports.compared_runs import ComparedRun, ComparedTask, Item
from ko_eval.runs.layer_differences import RunLayers
from ko_eval.runs.layer_parts import digest
from ko_eval.runs.result import Value
from ko_eval.stats.estimates import scaled, score_interval
from ko_eval.stats.quantiles import Z_95
from ko_eval.tasks.samples import text_id
from ko_eval.tasks.sources import read_json_lines
from ko_eval.types import JsonValue, Metric

HARNESS = "lm-evaluation-harness"
_LONGEST_ANSWER = 200  # characters
_MOST = 10**9  # documents of a task
_LARGEST_NUMBER = 1e100
_LARGEST = 256 * 2**20  # bytes
_DATED = re.compile(r"^results_(?P<date>[\w.:+-]{1,60})\.json$")
# Which of a task's metrics is compared, where no run of ours says it.
_LEADING = (
    *("acc_norm,none", "acc,none", "exact_match,strict-match", "exact_match,none"),
    *("prompt_level_strict_acc,none", "eqbench,none", "A-SVA,none"),
)
# Metrics that are shares; what others lie between is not known.
_SHARES = (
    *("acc", "exact_match", "prompt_level", "inst_level", "strict_acc", "em", "f1", "mc1", "mc2"),
    *("SVA", "A-SVA", "N-SVA", "pass@"),
)
# Fields of a task's configuration that make its prompts.
_WORDING = (
    *("doc_to_text", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter"),
    *("process_docs", "gen_prefix"),
)


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model: str = "unknown"
    model_args: AnyJson = None
    model_dtype: str | None = None
    model_sha: str | None = None


class _Results(BaseModel):
    """What is looked at of a results file."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    results: dict[str, dict[str, AnyJson]]
    configs: dict[str, dict[str, AnyJson]] = {}
    shots: dict[str, AnyJson] = Field(default={}, alias="n-shot")
    samples: dict[str, dict[str, AnyJson]] = Field(default={}, alias="n-samples")
    config: _Config = _Config()
    model_name: str | None = None
    chat_template_sha: str | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a run of ours, with which it is compared, knows a task.

    Attributes:
        name: of the task in our run.
        numbered: how many rows it has, where their ids are nothing but numbers from 1; else None.
    """

    name: str
    metric: str
    scale: float
    numbered: int | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a sample log."""

    id: str
    row_hash: str
    prompt_hash: str
    filter: str
    values: Mapping[str, float]
    answer: str | None


def results_file(path: Path) -> Path | None:
    """The harness's results file that a path means, the newest of a folder; None if there is none.

    Args:
        path: the file, its folder, or the folder above (`--output_path`) with one model in it.
    """
    if path.is_file():
        return path if _DATED.match(path.name) or path.suffix == ".json" else None
    found = [file for file in path.glob("results_*.json") if _DATED.match(file.name)]
    if not found:
        found = [file for file in path.glob("*/results_*.json") if _DATED.match(file.name)]
        if len({file.parent for file in found}) > 1:
            raise DataError(
                "the folder holds results of several models",
                where=str(path),
                hint="give one of " + ", ".join(sorted({f.parent.name for f in found})[:8]),
            )
    return max(found, key=lambda file: file.name, default=None)


def read_lm_eval_run(path: Path, wanted: Mapping[str, Wanted]) -> ComparedRun:
    """A run of the harness.

    Args:
        path: its results file; the sample logs of the same date lie beside it.
        wanted: by the harness's name of a task (or the board's key), the task of ours.

    Raises:
        DataError: a file is damaged.
    """
    content = _read(path)
    dated = _DATED.match(path.name)
    tasks: dict[str, ComparedTask] = {}
    layers: dict[str, dict[str, object]] = {}
    for key, values in content.results.items():
        numbers = {name: n for name, value in values.items() if (n := _number(value)) is not None}
        ours = wanted.get(key)
        metric = _leading(numbers, ours)
        if metric is None or (content.configs and key not in content.configs):
            continue  # A group, or nothing but a name.
        log = path.parent / f"samples_{key}_{dated['date']}.jsonl" if dated else None
        lines = list(_lines(log, ours)) if log is not None and log.is_file() else []
        name = ours.name if ours else key
        task = _task(name, key, metric, numbers, lines, ours)
        tasks[name] = dataclasses.replace(task, uses_template=_uses_template(content, key))
        layers[name] = _task_layers(content, key, metric, lines, ours)
    if not tasks:
        raise DataError("the file holds no scores of tasks", where=str(path))
    return ComparedRun(
        label=_label(content),
        source=str(path),
        tasks=tasks,
        layers=RunLayers(_run_layers(content), layers),
        harness=HARNESS,
    )


def _read(path: Path) -> _Results:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise DataError("a result must be an ordinary file", where=str(path))
        return _Results.model_validate(parsed_json(path.read_bytes()))
    except OSError as error:
        raise DataError(
            f"the results cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    except ValidationError as error:
        raise DataError(
            f"the file holds no results of {HARNESS}: {_problem(error)}",
            where=str(path),
            hint="give its results_*.json, or a run directory of ours with its results.json",
        ) from error
    except ValueError as error:
        raise DataError(f"not valid JSON: {error}", where=str(path)) from error


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:80] or 'the file'}: {first['msg'][:200]}"


def _number(value: JsonValue) -> float | None:
    """A number that can be computed with, or None."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < _LARGEST_NUMBER else None


def _label(content: _Results) -> str:
    """The model's name, of a folder its last part."""
    name = content.model_name or str(content.config.model_args or content.config.model)
    return (Path(name).name if name.startswith(("/", ".")) else name)[:80] or "model"


def _leading(numbers: Mapping[str, float], ours: Wanted | None) -> str | None:
    """The key of the metric to compare: `acc_norm,none`."""
    if ours is not None and value_key(ours.metric) in numbers:
        return value_key(ours.metric)
    metrics = [key for key in numbers if "," in key and "_stderr," not in key]
    return next((key for key in _LEADING if key in metrics), metrics[0] if metrics else None)


def _task(
    name: str,
    key: str,
    metric: str,
    numbers: Mapping[str, float],
    lines: Sequence[_Line],
    ours: Wanted | None,
) -> ComparedTask:
    value = numbers[metric]
    short, _, reading = metric.partition(",")
    error = numbers.get(f"{short}_stderr,{reading}")
    items, why = _items(lines, short, reading, value)
    of_shares = short.startswith(_SHARES) and 0 <= value <= 1
    scale = ours.scale if ours else 100.0 if of_shares else 1.0
    count = len(items) if items else min(max(0, int(numbers.get("sample_len", 0))), _MOST)
    own = _with_interval(value, error, count if of_shares else 0)
    is_ours = ours is not None and value_key(ours.metric) == metric
    return ComparedTask(
        name=name,
        title=name,
        metric=ours.metric if ours is not None and is_ours else metric.removesuffix(",none"),
        shown=Value.of(dataclasses.replace(scaled(own, scale), n=count)),
        scale=scale,
        items=items,
        why_no_items=why,
        samples=count,
        board_key=key,
    )


def _with_interval(value: float, error: float | None, shares: int) -> Metric:
    """A value with the interval that its standard error gives.

    Args:
        shares: how many shares it is the mean of, whose interval is Wilson's; 0 for another mean,
            or where it is not known. An error of 0 then tells nothing.
    """
    if error is None or not 0 <= error <= _MOST or (error == 0 and not shares):
        return Metric(value, None, None, None, shares)
    if not shares:
        return Metric(value, error, value - Z_95 * error, value + Z_95 * error, shares)
    square = error * error
    effective = value * (1 - value) / square if square > 0 else 0.0
    low, high = score_interval(value, effective or shares)
    return Metric(value, error, low, high, shares)


def _items(
    lines: Sequence[_Line], metric: str, reading: str, value: float
) -> tuple[dict[str, Item] | None, str]:
    """The items whose mean is the value, or why there are none."""
    if not lines:
        return None, "there is no sample log of it (--log_samples)"
    kept = [line for line in lines if line.filter == reading]
    items = {
        line.id: Item(line.values[metric], line.values[metric], line.answer)
        for line in kept
        if metric in line.values
    }
    if len(items) < len(kept) or not items:
        return None, f"its sample log has no number '{metric}' for each document"
    mean = math.fsum(item.value for item in items.values()) / len(items)
    if not math.isclose(mean, value, rel_tol=1e-6, abs_tol=1e-6):
        return None, f"'{metric}' is no mean over the documents of its log"
    return items, ""


def _lines(path: Path, ours: Wanted | None) -> Iterator[_Line]:
    """The lines of a log, each with the id of its document."""
    read: list[tuple[str | None, _Line]] = []
    for row in read_json_lines(path):
        values = row.values
        number, doc = values.get("doc_id"), values.get("doc")
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError("the line is not one of lm-eval's sample logs", where=row.where)
        own = doc.get("id") if isinstance(doc, Mapping) else None
        kept = {name: n for name, value in values.items() if (n := _number(value)) is not None}
        line = _Line(
            id=str(number),
            row_hash=str(values.get("doc_hash", ""))[:80],
            prompt_hash=str(values.get("prompt_hash", ""))[:80],
            filter=str(values.get("filter", "none"))[:80],
            values=kept,
            answer=_answer(values.get("filtered_resps")),
        )
        read.append(
            (None if own is None or isinstance(own, Mapping | list) else text_id(own), line)
        )
    own_ids = {(name, line.filter) for name, line in read}
    named = len(own_ids) == len(read) and all(name is not None for name, _ in read)
    documents = len({line.id for _, line in read})
    for name, line in read:
        if named and name is not None:
            yield dataclasses.replace(line, id=name)
        elif ours is None:
            yield line
        elif ours.numbered == documents:  # They count from 0, we from 1.
            yield dataclasses.replace(line, id=str(int(line.id) + 1))
        else:  # A number that is no id of ours.
            yield dataclasses.replace(line, id=f"document {line.id}")


def _answer(filtered: JsonValue) -> str | None:
    """The text that a filter read from the one response; None for log-likelihoods."""
    only = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
    return only[:_LONGEST_ANSWER] if isinstance(only, str) else None


def _uses_template(content: _Results, key: str) -> bool | None:
    """Whether a task was asked with a chat template; our own exports say it for each task."""
    metadata = content.configs.get(key, {}).get("metadata")
    own = metadata.get("chat_template") if isinstance(metadata, Mapping) else None
    if isinstance(own, bool):
        return own
    told = "chat_template_sha" in content.model_fields_set
    return content.chat_template_sha is not None if told else None


def _run_layers(content: _Results) -> dict[str, object]:
    config = content.config
    layers: dict[str, object] = {
        "model": [content.model_name, config.model_sha, str(config.model_args)],
        "engine.name": config.model,
    }
    if "chat_template_sha" in content.model_fields_set:
        layers["template.policy"] = "off" if content.chat_template_sha is None else "on"
        layers["template.text"] = content.chat_template_sha
    if config.model_dtype is not None:
        layers["engine.dtype"] = config.model_dtype.removeprefix("torch.")
    if content.max_length is not None:
        layers["max_length"] = content.max_length
    return layers


def _task_layers(
    content: _Results, key: str, metric: str, lines: Sequence[_Line], ours: Wanted | None
) -> dict[str, object]:
    config = content.configs.get(key, {})
    layers: dict[str, object] = {"metric": metric}
    if ours is not None and value_key(ours.metric) == metric:
        layers["metric"] = ours.metric
    if key in content.shots:
        layers["fewshot.count"] = content.shots[key]
    counts = content.samples.get(key, {})
    if "effective" in counts:
        same = counts.get("original") == counts["effective"]
        layers["data.limit"] = None if same else counts["effective"]
    if config:
        layers["prompt"] = digest([_text(config.get(name)) for name in _WORDING])
        layers["sampling"] = digest(config.get("generation_kwargs"))
        layers["request"] = str(config.get("output_type"))
    first = [line for line in lines if line.filter == lines[0].filter]
    hashes = [line.row_hash for line in first]
    if all(hashes) and hashes:
        layers["data.order"] = digest(hashes)
        layers["data.rows"] = digest(sorted(hashes))
    # With a chat template the harness hashes what the template made of it, which is the model's.
    prompts = [line.prompt_hash for line in first]
    if content.chat_template_sha is None and prompts and all(prompts):
        layers["prompts"] = digest(prompts)
    return layers


def _text(value: JsonValue) -> JsonValue:
    """A template; of a function only that it is one, since its address differs from run to run."""
    return "function" if isinstance(value, str) and value.startswith("<function") else value
