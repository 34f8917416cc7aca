"""What a run costs beside the model: rendering, tokenising, hashing, planning, writing, scoring.

    KO_EVAL_DATA=DATA python scripts/bench_overhead.py [--models tiny,demo] [--tokenizer FOLDER]
        [--shots 0,5] [--limit N] [--repeats 3]

All rows of KoBEST HellaSwag and KoBBQ, as public files hold them. A request is what the journal has
a line for: a question with all its choices (3 or 4 sequences). Shown is the CPU time of this one
process in milliseconds per request, medians of the repeats. Target: hashing, planning and writing
together take under 0.1 ms per request.

Tokenising is compared, in turns, with the plain way: every context and every context with its
choice through the tokenizer as a whole, in two calls. The token ids must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_common import REPOSITORY, Row, heading, print_table
from bench_workloads import PUBLIC_TASKS, public_rows

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.engines.encoding import Encoder, likelihood_key, load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, resolve_model
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.prefix_tree import build_forest
from ko_eval.runs.journal import Entry, Journal
from ko_eval.runs.plan import digest
from ko_eval.runs.scoring import sample_line, score_task
from ko_eval.tasks.prepare import PreparedTask, prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import LoglikelihoodRequest, LoglikelihoodResponse, Response

TASKS = ("kobest_hellaswag", "kobbq")
OVERHEAD = ("hash prompts", "hash ids", "plan", "write")
TARGET = 0.1  # ms per request


def cpu_seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def prepared_task(name: str, rows: Path, shots: int, limit: int | None) -> PreparedTask:
    registered, changes = PUBLIC_TASKS[name]
    # Some KoBBQ rows stand in the file twice.
    return prepare_task(
        load_task(registered, overrides=changes),
        str(rows),
        shots=shots,
        limit=limit,
        allow_fewshot_overlap=True,
    )


def plain_way(encoder: Encoder, task: PreparedTask) -> list[tuple[EncodedPair, ...]]:
    """Pairs as the reference makes them; no special tokens, no window."""

    def ids(texts: list[str]) -> list[tuple[int, ...]]:
        return [tuple(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    tokenizer = encoder.tokenizer
    pairs = [pair for r in task.requests if isinstance(r, LoglikelihoodRequest) for pair in r.pairs]
    kept = [pair.context.rstrip() for pair in pairs]
    contexts = ids(kept)
    wholes = ids([pair.context + pair.continuation for pair in pairs])
    split = (
        EncodedPair(whole[: len(context)], whole[len(context) :])
        for context, whole in zip(contexts, wholes, strict=True)
    )
    return [
        tuple(next(split) for _ in request.pairs)
        for request in task.requests
        if isinstance(request, LoglikelihoodRequest)
    ]


def responses(encoded: list[EncodedLoglikelihood]) -> list[Entry]:
    """What an engine might say; numbers with all their digits."""
    return [
        Entry(
            request.key,
            LoglikelihoodResponse(
                loglikelihoods=tuple(-7.1 / (place + 1.3) for place in range(len(request.pairs))),
                token_counts=tuple(len(pair.continuation) for pair in request.pairs),
                context_tokens=sum(len(pair.context) for pair in request.pairs),
            ),
            0.0123,
        )
        for request in encoded
    ]


def write(entries: list[Entry]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "journal.jsonl") as journal,
    ):
        for entry in entries:
            journal.append(entry)


def score(task: PreparedTask, by_sample: dict[str, Response]) -> None:
    _, scores = score_task(task.definition, task.scorer, task.samples, by_sample)
    for each in scores:
        sample_line(each, key="0" * 32)


def measured(
    name: str, encoder: Encoder, rows: Path, shots: int, limit: int | None
) -> tuple[dict[str, float], int, int]:
    """CPU seconds by stage, the plain way of tokenising included; requests and sequences."""
    task = prepared_task(name, rows, shots, limit)
    encoded = [r for r in encoder.encode(task.requests) if isinstance(r, EncodedLoglikelihood)]
    if [request.pairs for request in encoded] != plain_way(encoder, task):
        raise SystemExit(f"{name}, {shots} shots: the token ids are not those of the plain way")
    entries = responses(encoded)
    by_sample = {s.id: e.response for s, e in zip(task.samples, entries, strict=True)}
    stages: dict[str, Callable[[], object]] = {
        "render": lambda: prepared_task(name, rows, shots, limit),
        "tokenise, plain way": lambda: plain_way(encoder, task),
        "tokenise": lambda: encoder.encode(task.requests),
        "hash prompts": task.prompts_hash,
        "hash ids": lambda: digest([likelihood_key(r.pairs) for r in encoded]),
        "plan": lambda: build_forest(pair for r in encoded for pair in r.pairs),
        "write": lambda: write(entries),
        "score": lambda: score(task, by_sample),
    }
    seconds = {stage: cpu_seconds(run) for stage, run in stages.items()}
    # Encoding hashes what it encoded.
    seconds["tokenise"] -= seconds["hash ids"]
    return seconds, len(encoded), sum(len(request.pairs) for request in encoded)


def tokenizer_folders(names: str, given: list[Path], work: Path) -> dict[str, ModelFolder]:
    """Folders with a tokenizer, by the name to show."""
    folders = {folder.name: ModelFolder(folder.name, folder, {}) for folder in given}
    for name in filter(None, names.split(",")):
        if name == "tiny":
            sys.path.insert(0, str(REPOSITORY / "tests"))
            from tiny_model import make_tiny_llama

            folders[name] = resolve_model(str(make_tiny_llama(work / "tiny")))
        else:
            folders[name] = resolve_model(name, weights=False)
    return folders


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,demo", help="tiny, demo, or model folders")
    parser.add_argument("--tokenizer", type=Path, action="append", default=[], help="a folder")
    parser.add_argument("--shots", default="0,5")
    parser.add_argument("--limit", type=int, help="rows of each task; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    heading(__doc__, "transformers", "tokenizers")
    overhead, tokenising = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows = public_rows(work)
        folders = tokenizer_folders(arguments.models, arguments.tokenizer, work)
        for name, model in folders.items():
            encoder = Encoder(
                load_tokenizer(model), ModelSettings(), chat_template="off", max_length=1 << 20
            )
            for shots in map(int, arguments.shots.split(",")):
                taken: dict[str, list[float]] = {}
                for _ in range(arguments.repeats):
                    parts = [measured(t, encoder, rows, shots, arguments.limit) for t in TASKS]
                    for stage in parts[0][0]:
                        taken.setdefault(stage, []).append(sum(part[0][stage] for part in parts))
                requests = sum(part[1] for part in parts)
                sequences = sum(part[2] for part in parts)
                per = {s: statistics.median(v) / requests * 1000 for s, v in taken.items()}
                together = sum(per[stage] for stage in OVERHEAD)
                stages = {stage: f"{value:.3f}" for stage, value in per.items()}
                plain = float(stages.pop("tokenise, plain way"))
                label = f"{name}, {shots}-shot"
                counts = {"requests": f"{requests:,}", "sequences": f"{sequences:,}"}
                of_sequence = {"per sequence": f"{together * requests / sequences:.3f}"}
                overhead.append(
                    Row(
                        what=label,
                        ours=f"{together:.3f} ms",
                        measured=together,
                        at_most=TARGET,
                        extra={**counts, **stages, **of_sequence},
                    )
                )
                tokenising.append(
                    Row(
                        what=label,
                        ours=f"{per['tokenise']:.3f} ms",
                        theirs=f"{plain:.3f} ms",
                        measured=plain / per["tokenise"],
                        at_least=1.3,
                        extra=counts,
                    )
                )
    print_table("Beside the model, ms per request", overhead, ratio=" + ".join(OVERHEAD))
    print_table("Tokenising, ms per request", tokenising, ratio="plain way / ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
