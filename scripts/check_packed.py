"""The packed path beside the plain one on all likelihood data at hand, request by request.

    python scripts/check_packed.py [--model tiny|demo|DIR] [--limit N] [--shots 0,5]

Both must agree within 1e-4 nats per token and choose the same option everywhere, in float32. The
data: the bundled rows, and the public ones in KO_EVAL_DATA (default: `../shared/data` beside the
repository). Exit code: 0 all equal, 1 something differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bench_common import data_folder, heading, markdown, say
from bench_workloads import MODELS, Loaded, Sums, Workload, ask, encode, load

from ko_eval.engines.base import EncodedLoglikelihood
from ko_eval.engines.likelihood_check import TOLERANCE
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import JsonValue, LoglikelihoodRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A task over a public file."""

    file: str
    variant: str | None = None
    changes: dict[str, JsonValue] = field(default_factory=dict)


WORDS: dict[str, JsonValue] = {
    "choices": "choices",
    "prompt": "{{ context }}\n질문: {{ question }}\n답:",
}
PUBLIC: Sequence[tuple[str, Public]] = (
    ("kobest_boolq", Public(file="kobest/BoolQ_test.tsv", variant="tsv")),
    ("kobest_copa", Public(file="kobest/COPA_test.tsv", variant="tsv")),
    (
        "kobest_hellaswag",
        Public(
            file="kobest/HellaSwag_test.tsv",
            changes={"columns": {"choices": "[choice1, choice2, choice3, choice4]"}},
        ),
    ),
    ("kobbq", Public(file="kobbq/KoBBQ_test_samples.tsv")),
    ("kobbq", Public(file="kobbq/KoBBQ_test_samples.tsv", changes=WORDS)),
    (
        "ko_winogrande",
        Public(file="winogrande-en/dev.jsonl", changes={"columns": {"id": "qID"}}),
    ),
    ("ko_winogrande", Public(file="snu-ko-samples/ko_winogrande_sample.jsonl")),
    ("ko_arc", Public(file="snu-ko-samples/ko_arc_sample.jsonl")),
)
BUNDLED = (
    "ko_gpqa",
    "ko_winogrande",
    "kornat_knowledge",
    "kornat_social_value",
    "ko_harmlessness",
    "ko_helpfulness",
)


def workloads(shots: Sequence[int], limit: int | None) -> Iterator[Workload]:
    """All settings, one after the other."""
    data = data_folder(*(public.file for _, public in PUBLIC))
    for name in BUNDLED:
        for count in shots:
            prepared = prepare_task(load_task(name), "bundled", shots=count, limit=limit)
            yield _workload(f"{name}, bundled", count, prepared.requests)
    for name, public in PUBLIC:
        task = load_task(name, variant=public.variant, overrides=public.changes)
        prepared = prepare_task(task, str(data / public.file), shots=0, limit=limit)
        scored = "the options' words" if public.changes is WORDS else Path(public.file).stem
        yield _workload(f"{name}, {scored}", 0, prepared.requests)


def _workload(name: str, shots: int, requests: Sequence[object]) -> Workload:
    asked = tuple(request for request in requests if isinstance(request, LoglikelihoodRequest))
    return Workload(name, shots, asked)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two answers to the same requests are apart.

    Attributes:
        per_token: the largest |Δ| of a log-likelihood, per token of its continuation, in nats.
        choices: requests for which the most likely continuation differs.
    """

    per_token: float
    choices: int


def difference(encoded: Sequence[EncodedLoglikelihood], one: Sums, other: Sums) -> Difference:
    worst, choices = 0.0, 0
    for request in encoded:
        a, b = np.array(one[request.key]), np.array(other[request.key])
        counts = np.array([len(pair.continuation) for pair in request.pairs])
        worst = max(worst, float(np.max(np.abs(a - b) / counts)))
        choices += int(a.argmax() != b.argmax())
    return Difference(worst, choices)


def check(loaded: Loaded, shots: Sequence[int], limit: int | None) -> bool:
    """Prints one line per setting; whether all agree."""
    lines, equal = [], True
    for workload in workloads(shots, limit):
        encoded = encode(loaded, workload)
        packed, plain = loaded.engine(), loaded.engine(likelihood="plain")
        found = difference(encoded, ask(packed, encoded), ask(plain, encoded))
        path = str(packed.capabilities.conditions["likelihood"])
        good = found.per_token <= TOLERANCE and not found.choices and path == "packed"
        equal = equal and good
        lines.append(
            [
                workload.label,
                str(len(encoded)),
                path,
                f"{found.per_token:.1e}",
                str(found.choices),
                "equal" if good else "DIFFERENT",
            ]
        )
        say(" · ".join(lines[-1]))
    say()
    say(markdown(["task", "requests", "path", "largest |Δ| per token", "other choice", ""], lines))
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--limit", type=int, help="first rows of each task")
    parser.add_argument("--shots", default="0,5", help="of the bundled tasks")
    given = parser.parse_args()
    heading(__doc__, "torch", "transformers")
    with tempfile.TemporaryDirectory() as work:
        loaded = load(given.model, "float32", "cpu", Path(work))
        shots = [int(count) for count in given.shots.split(",")]
        return 0 if check(loaded, shots, given.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
