"""lm-evaluation-harness on the prompts of ko-eval: exports tasks, runs it, reads its verdicts.

Its task gets each context as text, few-shot examples included, and the choices without delimiter;
tokens, sums, lengths, answers and standard errors are its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ko_eval.scorers.likelihoods import best
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.prepare import PreparedTask
from ko_eval.types import JsonValue, LoglikelihoodRequest, Sample

METRICS = ("acc", "acc_norm", "acc_bytes")
_COMPARED = {
    "choice_likelihood": METRICS,
    "context_likelihood": ("acc",),
    "graded_choice": ("acc", "acc_norm"),
    "social_value": ("acc",),
}
"""By scorer, the metrics that have a counterpart among ours."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one side says of a task.

    Attributes:
        loglikelihoods: per item, one per choice.
        right: per metric and item, 1 or 0.
        metrics: per metric, the value and its standard error (None when n < 2).
    """

    loglikelihoods: Mapping[str, Sequence[float]]
    right: Mapping[str, Mapping[str, float]]
    metrics: Mapping[str, tuple[float, float | None]]


def right_index(sample: Sample) -> int:
    """The right choice, or the one with the highest credit or the largest share of people."""
    if isinstance(sample.target, int):
        return sample.target
    worth = sample.fields.get("credits") or sample.fields["distribution"]
    assert isinstance(worth, Sequence)
    return best([float(str(value)) for value in worth])


def export(prepared: PreparedTask, folder: Path) -> None:
    """Writes a task for lm-eval: rows as JSON and a task file."""
    task = prepared.definition
    rows = [
        _row(task, sample, request)
        for sample, request in zip(prepared.samples, prepared.requests, strict=True)
        if isinstance(request, LoglikelihoodRequest)
    ]
    data = folder / f"{task.name}.json"
    data.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    text, choice, target = "context", "choices", "right"
    if task.contexts is not None:
        # Its form for several contexts: the text is the index of the right one.
        text, choice, target = "right", "contexts", "continuation"
    definition = {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "num_fewshot": 0,
        "doc_to_text": text,
        "doc_to_choice": choice,
        "doc_to_target": target,
        "target_delimiter": task.delimiter,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in _COMPARED[task.scorer.name]
        ],
    }
    (folder / f"{task.name}.yaml").write_text(
        yaml.safe_dump(definition, allow_unicode=True), encoding="utf-8"
    )


def _row(
    task: TaskDefinition, sample: Sample, request: LoglikelihoodRequest
) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {"id": sample.id, "right": right_index(sample)}
    contexts = [pair.context for pair in request.pairs]
    texts = [pair.continuation.removeprefix(task.delimiter) for pair in request.pairs]
    if task.contexts is not None:
        if len(set(texts)) != 1:
            raise ValueError(f"{task.name}, {sample.id}: the scored texts differ")
        return {**row, "contexts": contexts, "continuation": texts[0]}
    # acc_norm counts the choices, the model scores the continuations: they must be the same texts.
    if len(set(contexts)) != 1 or tuple(texts) != sample.choices:
        raise ValueError(f"{task.name}, {sample.id}: several contexts, or texts unlike the choices")
    return {**row, "context": contexts[0], "choices": texts}


def run(
    model: Path,
    rows: Mapping[str, Sequence[int] | None],
    tasks: Path,
    device: str,
    **arguments: str | int,
) -> dict[str, Judged]:
    """Runs lm-eval's `hf` model in float32 on exported tasks.

    Args:
        rows: by task name, the indices of the rows to ask; None for all.
        tasks: the folder of `export`.
        arguments: further `--model_args`.

    Returns:
        By task name.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    # It warns of every prompt that it cuts.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32", **arguments},
        tasks=list(rows),
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        batch_size=16,
        device=device,
        log_samples=True,
        samples={name: list(some) for name, some in rows.items() if some is not None} or None,
    )
    return {name: _judged(found["results"][name], found["samples"][name]) for name in rows}


def _judged(results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Judged:
    by_id = {sample["doc"]["id"]: sample for sample in samples}
    names = [metric for metric in METRICS if f"{metric},none" in results]
    errors = {name: results[f"{name}_stderr,none"] for name in names}
    return Judged(
        {item: [float(r[0]) for r in sample["filtered_resps"]] for item, sample in by_id.items()},
        {name: {item: sample[name] for item, sample in by_id.items()} for name in names},
        {
            name: (results[f"{name},none"], None if errors[name] == "N/A" else errors[name])
            for name in names
        },
    )
