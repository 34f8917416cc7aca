"""Our log-likelihoods and scores beside those of lm-evaluation-harness, item by item.

    python scripts/parity_lm_eval.py [--limit N] [--device cpu]

A tiny random Llama answers every likelihood task twice: through `ko_eval.runs.evaluate`, and
through lm-eval's own `hf` model and `multiple_choice` task in float32. lm-eval gets the prompts
that ko-eval shows a model, few-shot examples included, so this is about everything after the
prompt: tokens and their border, truncation, sums, lengths, answers, means. What must be equal:

- log-likelihoods within 1e-4;
- the verdict on every item, and acc, acc_norm and acc_bytes, exactly;
- standard errors up to the last digits of a double, since the two add in another order.

lm-eval adds token log-probabilities in float32, where a sum near -800 is good to about 1e-4 only;
ours adds in float64. Items that differ by more are asked again with lm-eval's own
`softmax_dtype=float64`, and must agree within 1e-4 there.

Tasks with graded answers have no accuracy in ko-eval; there the option that was chosen is compared,
as accuracy against the option with the highest credit (or the largest share of people).

All this with a tokenizer that adds no BOS, and the bundled tasks also with one that does.
Public data comes from the folder `KO_EVAL_DATA` (default: `../shared/data` beside the repository).
Exit code: 0 all equal, 1 something differs, 2 lm-eval is not installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lm_eval_reference import METRICS, Judged, export, right_index, run
from rich.table import Table

from ko_eval.cli.console import stderr_console, stdout_console
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.files import safe_name
from ko_eval.runs.plan import RunOptions
from ko_eval.stats.estimates import mean_metric, share_metric
from ko_eval.tasks.prepare import PreparedTask, prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import JsonValue

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("KO_EVAL_DATA") or REPOSITORY.parent / "shared" / "data")

TOLERANCE = 1e-4
"""Of a log-likelihood, in nats."""
PUBLIC_LIMIT = 200
SHOTS = 5
SMALL_WINDOW = 160
"""Tokens; few-shot prompts are longer, so that they are cut on the left."""

BUNDLED = (
    "ko_gpqa",
    "ko_winogrande",
    "kornat_knowledge",
    "kornat_social_value",
    "ko_harmlessness",
    "ko_helpfulness",
)


@dataclass(frozen=True, slots=True)
class PublicTask:
    """A task on public data: its files below `DATA`, and how ko-eval reads and asks them."""

    rows: str
    fewshot: str | None
    definition: dict[str, JsonValue]


PUBLIC = {
    "kobest_hellaswag": PublicTask(
        rows="kobest/HellaSwag_test.tsv",
        fewshot="kobest/HellaSwag_dev.tsv",
        definition={
            "columns": {
                "context": "context",
                "choices": "[choice1, choice2, choice3, choice4]",
                "answer": "label",
            },
            "labels": ["0", "1", "2", "3"],
            "prompt": "{{ context }}",
        },
    ),
    "kobbq": PublicTask(
        rows="kobbq/KoBBQ_test_samples.tsv",
        fewshot=None,
        definition={
            "columns": {
                "id": "sample_id",
                "context": "context",
                "question": "question",
                "choices": "choices | literal",
                "answer": "'ABC'[(choices | literal).index(answer)]",
            },
            "prompt": "{{ context }}\n질문: {{ question }}\n답:",
        },
    ),
    "kobest_copa": PublicTask(
        rows="kobest/COPA_test.tsv",
        fewshot="kobest/COPA_dev.tsv",
        definition={
            "columns": {
                "sentence": "sentence",
                "question": "question",
                "choices": "[row['1'], row['2']]",
                "answer": "Answer",
            },
            "labels": ["1", "2"],
            "prompt": "{{ sentence }} {{ '왜냐하면' if question == '원인' else '그래서' }}",
        },
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One ko-eval run: tasks that share their options.

    Attributes:
        tasks: names, or paths of task files.
        data, shots, variant, limit: as in `RunOptions`.
        max_length: the window in tokens; None for the model's own.
    """

    tasks: tuple[str, ...]
    data: str = "bundled"
    shots: int = 0
    variant: str | None = None
    max_length: int | None = None
    limit: int | None = None

    @property
    def label(self) -> str:
        """What distinguishes it, for the table."""
        window = f"window {self.max_length}" if self.max_length else None
        return ", ".join(part for part in (f"{self.shots}-shot", self.variant, window) if part)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides of a task in one setup.

    Attributes:
        again: by item, lm-eval's log-likelihoods with sums in float64, where those in float32
            differ from ours by more than the tolerance.
    """

    task: str
    setup: Setup
    ours: Judged
    theirs: Judged
    again: Mapping[str, Sequence[float]]

    def differences(self) -> list[str]:
        """What is not equal, in words; empty when the task agrees."""
        return loglikelihood_differences(self) + score_differences(self.ours, self.theirs)


def largest_differences(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Per item the largest |Δ| of two log-likelihoods; infinite where one side lacks some."""
    found = {}
    for item in {**ours, **theirs}:
        pair = ours.get(item, ()), theirs.get(item, ())
        same = len(pair[0]) == len(pair[1])
        found[item] = max(abs(a - b) for a, b in zip(*pair, strict=True)) if same else math.inf
    return found


def above_tolerance(differences: Mapping[str, float]) -> list[str]:
    """The items that differ too much; what is not a number does."""
    return [item for item, difference in differences.items() if not difference <= TOLERANCE]


def loglikelihood_differences(shown: Comparison) -> list[str]:
    """The items whose log-likelihoods differ, in words."""
    ours = shown.ours.loglikelihoods
    settled = {**shown.theirs.loglikelihoods, **shown.again}
    differences = largest_differences(ours, settled)
    items = above_tolerance(differences)
    if not items:
        return []
    most = max(differences[item] for item in items)
    return [f"log-likelihoods of {len(items)} items, first '{items[0]}', by up to {most:.2g}"]


def score_differences(ours: Judged, theirs: Judged) -> list[str]:
    """Verdicts, metrics and standard errors that differ, in words."""
    if ours.metrics.keys() != theirs.metrics.keys():
        return [f"metrics: {sorted(ours.metrics)} against {sorted(theirs.metrics)}"]
    found = []
    for metric, (value, stderr) in ours.metrics.items():
        right, their_right = ours.right[metric], theirs.right[metric]
        items = [item for item in right if right[item] != their_right.get(item)]
        if items:
            found.append(f"{metric} of {len(items)} items, first '{items[0]}'")
        their_value, their_stderr = theirs.metrics[metric]
        if value != their_value:
            found.append(f"{metric}: {value!r} against {their_value!r}")
        if not _same(stderr, their_stderr):
            found.append(f"stderr of {metric}: {stderr!r} against {their_stderr!r}")
    return found


def _same(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=1e-12)


def setups(limit: int | None, public: Path | None) -> list[Setup]:
    """All setups of one model.

    Args:
        limit: rows per task; None for all bundled and 200 public ones.
        public: folder that `write_public` filled; None leaves the public tasks out.
    """
    found = [
        Setup(tasks=BUNDLED, limit=limit),
        Setup(tasks=BUNDLED, shots=SHOTS, limit=limit),
        Setup(tasks=BUNDLED, shots=SHOTS, max_length=SMALL_WINDOW, limit=limit),
        Setup(tasks=("ko_winogrande",), shots=SHOTS, variant="spaced", limit=limit),
        Setup(tasks=("ko_winogrande",), variant="option_and_rest", limit=limit),
    ]
    if public is not None:
        files = {name: str(public / f"{name}.yaml") for name in PUBLIC}
        with_examples = tuple(files[name] for name in PUBLIC if PUBLIC[name].fewshot)
        rows = PUBLIC_LIMIT if limit is None else limit
        found += [
            Setup(tasks=tuple(files.values()), data=str(public), limit=rows),
            Setup(tasks=with_examples, data=str(public), shots=SHOTS, limit=rows),
        ]
    return found


def write_public(folder: Path) -> Path:
    """Task files for the public data, and links to it under the names that ko-eval looks for."""
    folder.mkdir()
    for name, task in PUBLIC.items():
        definition = {
            "name": name,
            "request": "loglikelihood",
            "choices": "choices",
            "scorer": {"name": "choice_likelihood"},
            **task.definition,
        }
        (folder / f"{name}.yaml").write_text(
            yaml.safe_dump(definition, allow_unicode=True), encoding="utf-8"
        )
        (folder / f"{name}.tsv").symlink_to((DATA / task.rows).resolve())
        if task.fewshot:
            (folder / f"{name}.fewshot.tsv").symlink_to((DATA / task.fewshot).resolve())
    return folder


def our_side(
    model: Path, setup: Setup, device: str, out: Path
) -> Iterator[tuple[PreparedTask, Judged]]:
    """Runs ko-eval and reads what it wrote, task by task."""
    outcome = evaluate(
        RunOptions(
            model=str(model),
            tasks=setup.tasks,
            variant=setup.variant,
            data=setup.data,
            limit=setup.limit,
            shots=setup.shots,
            max_length=setup.max_length,
            load=LoadOptions(dtype="float32", device=device),
            out=out,
        )
    )
    result = json.loads((outcome.directory / "results.json").read_text(encoding="utf-8"))
    for path, report in zip(setup.tasks, result["tasks"], strict=True):
        task = load_task(path, variant=setup.variant)
        prepared = prepare_task(task, setup.data, shots=setup.shots, limit=setup.limit)
        samples = outcome.directory / "samples" / f"{safe_name(report['name'])}.jsonl"
        lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        yield prepared, _judged(report, lines, prepared)


def _judged(
    report: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], prepared: PreparedTask
) -> Judged:
    sums = {line["id"]: line["detail"]["loglikelihoods"] for line in lines}
    if "acc" in report["metrics"]:
        shown = {name: report["metrics"][name] for name in METRICS if name in report["metrics"]}
        right = {name: {line["id"]: line["metrics"][name] for line in lines} for name in shown}
        errors = {name: value["stderr"] for name, value in shown.items()}
        if any(line["cluster"] is not None for line in lines):
            # Ours knows of twins and passages; theirs takes all items as independent.
            errors = {name: mean_metric(list(right[name].values())).stderr for name in shown}
        values = {name: (value["value"], errors[name]) for name, value in shown.items()}
        return Judged(sums, right, values)
    best = {sample.id: right_index(sample) for sample in prepared.samples}
    right = {}
    for line in lines:
        for name, option in _chosen(line["detail"]["chosen"]).items():
            right.setdefault(name, {})[line["id"]] = float(option == best[line["id"]])
    metrics = {name: share_metric(list(verdicts.values())) for name, verdicts in right.items()}
    return Judged(sums, right, {name: (m.value, m.stderr) for name, m in metrics.items()})


def _chosen(chosen: int | Mapping[str, int]) -> dict[str, int]:
    """The options that a scorer without right answers chose, by the accuracy they stand for."""
    if isinstance(chosen, int):
        return {"acc": chosen}
    return {"acc": chosen["credit"], "acc_norm": chosen["credit_norm"]}


def compare(model: Path, setup: Setup, device: str, work: Path) -> Iterator[Comparison]:
    """Both sides on every task of a setup.

    Each setup is a run of lm-eval's own: within a run it shares logits between requests of equal
    tokens, and reads the wrong ones where their borders differ, as in variants of a task.
    """
    tasks = work / f"lm-eval {setup.label} {Path(setup.data).stem}"
    tasks.mkdir(parents=True)
    window = {"max_length": setup.max_length} if setup.max_length else {}
    asked: dict[str, Judged] = {}
    for prepared, ours in our_side(model, setup, device, work / "ko-eval"):
        export(prepared, tasks)
        asked[prepared.definition.name] = ours
    theirs = run(model, dict.fromkeys(asked), tasks, device, **window)
    rows = {task: _rows_to_ask_again(asked[task], theirs[task]) for task in asked}
    rows = {task: some for task, some in rows.items() if some}
    precise = {"softmax_dtype": "float64"}
    again = run(model, rows, tasks, device, **window, **precise) if rows else {}
    for task, ours in asked.items():
        sums = again[task].loglikelihoods if task in again else {}
        yield Comparison(task, setup, ours, theirs[task], sums)


def _rows_to_ask_again(ours: Judged, theirs: Judged) -> list[int]:
    different = above_tolerance(largest_differences(ours.loglikelihoods, theirs.loglikelihoods))
    return [row for row, item in enumerate(ours.loglikelihoods) if item in different]


def comparison_table(title: str, comparisons: Sequence[Comparison]) -> Table:
    """One line per task and setup; the standard errors are those of acc."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("task", "setup"):
        table.add_column(heading)
    for heading in ("n", "max |Δ log-\nlikelihood|", "asked again:\nn, max |Δ|"):
        table.add_column(heading, justify="right")
    for heading in ("acc", "acc_norm", "stderr"):
        table.add_column(f"{heading}\nours / theirs", justify="right")
    table.add_column("verdict")
    for shown in comparisons:
        sums = shown.ours.loglikelihoods
        some = {item: sums[item] for item in shown.again}
        table.add_row(
            shown.task,
            shown.setup.label,
            str(len(sums)),
            f"{_most(sums, shown.theirs.loglikelihoods):.1e}",
            f"{len(some)}, {_most(some, shown.again):.1e}" if some else "–",
            *(_both(shown, metric, 0) for metric in ("acc", "acc_norm")),
            _both(shown, "acc", 1),
            "differs" if shown.differences() else "equal",
        )
    return table


def _most(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> float:
    return max(largest_differences(ours, theirs).values())


def _both(shown: Comparison, metric: str, index: int) -> str:
    """Value (index 0) or standard error (1) of a metric on both sides."""
    sides = (shown.ours.metrics, shown.theirs.metrics)
    if not any(metric in side for side in sides):
        return "–"
    values = [side[metric][index] if metric in side else None for side in sides]
    return " / ".join("–" if value is None else f"{value:.6f}" for value in values)


def main(argv: Sequence[str] | None = None) -> int:
    """Compares, prints, and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"first N rows of each task (default: all bundled rows, {PUBLIC_LIMIT} public ones)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0, … (default: cpu)")
    options = parser.parse_args(argv)
    out = stdout_console()
    if importlib.util.find_spec("lm_eval") is None:
        stderr_console().print("lm-eval is not installed\n  pip install 'ko-eval[parity]'")
        return 2
    # Read when torch, transformers and datasets are imported, which is further down. A tiny model
    # is quickest on one thread.
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from tiny_model import make_tiny_llama

    missing = [task.rows for task in PUBLIC.values() if not (DATA / task.rows).is_file()]
    if missing:
        out.print(f"skipped the public tasks: no {', '.join(missing)} in {DATA} (KO_EVAL_DATA)")
    version = importlib.metadata.version("lm_eval")
    different: list[str] = []
    with tempfile.TemporaryDirectory(prefix="parity-") as temporary:
        work = Path(temporary)
        public = None if missing else write_public(work / "public")
        for add_bos in (False, True):
            kind = "tokenizer with BOS" if add_bos else "tokenizer without BOS"
            folder = work / kind.replace(" ", "-")
            model = make_tiny_llama(folder / "tiny", add_bos=add_bos)
            found = [
                comparison
                for setup in setups(options.limit, None if add_bos else public)
                for comparison in compare(model, setup, options.device, folder)
            ]
            out.print(comparison_table(f"ko-eval and lm-eval {version}, {kind}", found))
            different += [
                f"{kind}, {shown.task} ({shown.setup.label}): {what}"
                for shown in found
                for what in shown.differences()
            ]
    for line in different:
        out.print(f"differs: {line}")
    out.print("not equal" if different else "all equal")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
