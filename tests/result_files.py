"""Finished runs without a model: valid run directories, drawn from a seed.

    write_result(out / "a", model="org/a", shown={"ko_gpqa": 31.0, "ko_gsm8k": 52.5})

Items have a difficulty that all models share, as real ones do, so that paired tests have something
to find; which items a model gets right otherwise depends on its name and the seed. The shown values
are those of the samples: 31.0 of 40 items becomes 30.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ko_eval.runs.files import safe_name
from ko_eval.runs.result import DataUsed, ModelUsed, RunResult, TaskReport, Tokens, Value
from ko_eval.runs.scoring import average
from ko_eval.stats.estimates import mean_metric, scaled, share_metric
from ko_eval.types import Metric

Label = Literal["bundled", "hub", "private"]

# Task: title, the board's key, category, leading metric.
NINE = {
    "ko_gpqa": ("Ko-GPQA", "ko_gpqa_diamond_zeroshot", "knowledge", "acc"),
    "ko_winogrande": ("Ko-WinoGrande", "ko_winogrande", "reasoning", "acc"),
    "ko_gsm8k": ("Ko-GSM8K", "ko_gsm8k", "mathematics", "exact_match_strict"),
    "ko_eqbench": ("Ko-EQ-Bench", "ko_eqbench", "emotion", "eqbench"),
    "ko_ifeval": ("Ko-IFEval", "ko_ifeval", "instruction", "prompt_level_strict_acc"),
    "kornat_knowledge": ("KorNAT-Knowledge", "kornat_common", "knowledge", "acc"),
    "kornat_social_value": ("KorNAT-Social-Value", "kornat_social", "values", "sva"),
    "ko_harmlessness": ("Ko-Harmlessness", "kornat_harmless", "safety", "acc"),
    "ko_helpfulness": ("Ko-Helpfulness", "kornat_helpful", "helpfulness", "acc"),
}


def write_result(
    directory: Path,
    *,
    model: str = "org/model",
    shown: Mapping[str, float] | None = None,
    n: int = 100,
    seed: int = 0,
    label: Label = "bundled",
    samples: bool = True,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """Makes the directory of a finished run: `results.json`, and `samples/` if wanted.

    Args:
        shown: task to the value wanted, 0 to 100; the nine at 50 where it is None.
        n: samples per task.
        label: of the data; its hashes follow from it and `n`.
        tasks: task to fields of its `TaskReport` that are to be others.
        changes: fields of the `RunResult` that are to be others.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    reports, metrics = [], []
    for name, wanted in (shown or dict.fromkeys(NINE, 50.0)).items():
        values = drawn_values(name, model, wanted, n=n, seed=seed)
        report, metric = _task(name, values, label, (tasks or {}).get(name, {}))
        reports.append(report)
        metrics.append(metric)
        if samples:
            _write_samples(directory, name, report.metric, values)
    fields = _run(model, label, seed, reports, metrics).model_dump()
    # Checked as a whole: what is changed must be valid, too.
    content = RunResult.model_validate({**fields, **changes}).model_dump_json(indent=2)
    (directory / "results.json").write_text(content + "\n", encoding="utf-8")
    return directory


def drawn_values(task: str, model: str, wanted: float, *, n: int, seed: int) -> NDArray[np.float64]:
    """Per-sample values in the metric's own unit: 0 or 1, or 0 to 100 for `eqbench`."""
    generator = np.random.default_rng(_number(task, model, seed))
    difficulty = np.random.default_rng(_number(task)).normal(size=n)
    if task == "ko_eqbench":
        return np.clip(wanted + 8 * generator.normal(size=n) - 8 * difficulty, 0, 100)
    values = np.zeros(n)
    easiest = np.argsort(difficulty + generator.normal(size=n))
    values[easiest[: round(wanted / 100 * n)]] = 1
    return values


def _task(
    name: str, values: NDArray[np.float64], label: Label, changes: Mapping[str, Any]
) -> tuple[TaskReport, Metric]:
    title, key, category, metric = NINE.get(name, (name, None, "other", "acc"))
    own = mean_metric(list(values)) if metric == "eqbench" else share_metric(list(values))
    shown = own if metric == "eqbench" else scaled(own, 100)
    data = DataUsed(
        label=label,
        source=f"{name}.jsonl",
        sha256=_hash("data", name, label, len(values)),
        revision=None,
        dropped=0,
    )
    report = TaskReport(
        name=name,
        title=title,
        board_key=key,
        category=category,
        variant=None,
        metric=metric,
        shown=_value(shown),
        metrics={metric: _value(own)},
        n=len(values),
        outcomes={
            "ok": len(values),
            "no_answer": 0,
            "truncated": 0,
            "wrong_language": 0,
            "failed": 0,
        },
        shots=0,
        chat_template=False,
        data=data,
        fewshot=None,
        truncated=0,
        tokens=Tokens(prompt=120 * len(values), completion=30 * len(values), thinking=0),
        seconds=0.05 * len(values),
        definition_sha256=_hash("definition", name),
        protocol={},
        notes=[],
    )
    return TaskReport.model_validate({**report.model_dump(), **changes}), shown


def _run(
    model: str, label: Label, seed: int, reports: list[TaskReport], metrics: list[Metric]
) -> RunResult:
    layers = {
        "model": _hash("model", model),
        "adapter": None,
        "engine": {"name": "transformers", "dtype": "bfloat16"},
        "encoding": {"chat_template": "auto", "template": None, "max_length": 4096, "seed": seed},
        "tasks": {
            task.name: {
                "data": task.data.sha256,
                "fewshot": None,
                "prompts": _hash("prompts", task.name, task.data.sha256),
                "tokens": _hash("tokens", task.name, task.data.sha256),
            }
            for task in reports
        },
    }
    return RunResult(
        ko_eval="0.1.0",
        git_revision=None,
        created="2026-11-22T09:00:00+00:00",
        model=ModelUsed(
            name=model,
            type="llama",
            revision=None,
            sha256=_hash("model", model),
            adapter=None,
            template_sha256=None,
            max_length=4096,
        ),
        suite="leaderboard2" if [task.name for task in reports] == list(NINE) else None,
        suite_protocol={},
        data=label if label != "private" else "private/rows",
        limit=None,
        seed=seed,
        fingerprint=_hash(json.dumps(layers, sort_keys=True))[:12],
        layers=layers,
        conditions={"engine": "transformers", "device": "cuda", "dtype": "bfloat16"},
        environment={"python": "3.11.7", "torch": "2.13.0"},
        average=_value(average(metrics)),
        tasks=reports,
        warnings=[],
    )


def _write_samples(directory: Path, task: str, metric: str, values: NDArray[np.float64]) -> None:
    folder = directory / "samples"
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps(
            {
                "id": f"{task}-{number:05}",
                "metrics": {metric: float(value)},
                "extracted": None,
                "outcome": "ok",
                "detail": {},
                "key": _hash(task, number)[:32],
            }
        )
        for number, value in enumerate(values, start=1)
    ]
    path = folder / f"{safe_name(task)}.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _value(metric: Metric) -> Value:
    return Value(
        value=metric.value, stderr=metric.stderr, low=metric.low, high=metric.high, n=metric.n
    )


def _hash(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _number(*parts: object) -> int:
    return int(_hash(*parts)[:15], 16)
