"""Generation: the transformers engine beside lm-evaluation-harness's `hf` model.

    KO_EVAL_DATA=DATA python scripts/bench_generation.py [--model tiny demo] [--shots 0 5]
        [--rows N] [--max-tokens 256] [--their-batch 8 16 32] [--repeats 3] [--device cpu]

Both answer the first Ko-GSM8K rows in float32: the same strings, those that ko-eval's task renders,
greedily, with the same stop strings and limit, by one model that is loaded once and shared. What is
timed begins at the strings and ends at the answers, tokenising included; outside are the model, the
task and a first round, in which the other side also gets its best batch size: each of
`--their-batch` is tried once on all rows. The sides run in turns.

A random model (`tiny`) never writes the task's stop string. So that its answers end as those of a
trained one do, some early and some only at the limit, it gets another one: of the pairs of letters
that it writes without, the one that makes its answers as long on average as the data's own
solutions. The demo model has the task's own stop strings.

- prompt: tokens of all prompts; new: tokens of all answers, and of the longest;
- same: rows whose answer is the same text on both sides. The sides pad and batch differently, and
  where two tokens are all but equally likely, rounding decides.

Target: the other side takes at least 1.5 times as long.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench_common import Row, alternate, data_folder, heading, print_table, require, say
from bench_workloads import Loaded, load

from ko_eval.engines.base import EncodedGenerate
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateRequest, GenerateResponse

TARGET = 1.5
_ROWS = "ko-gsm8k/kor-gsm8k-test.jsonl"
_EXAMPLES = "ko-gsm8k/fewshot_pool_60.jsonl"
# Rows that keep a default call within minutes on two cores.
_DEFAULT_ROWS = {"tiny": 128, "demo": 16}
# Rows that are answered without a stop string, to find one.
_PROBED = 16

Answers = dict[str, GenerateResponse]
"""By the row's id."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One setting on both sides.

    Attributes:
        batch: the other side's batch size.
        seconds: ours, theirs.
        texts: theirs, by the row's id.
    """

    loaded: Loaded
    shots: int
    batch: int
    seconds: tuple[float, float]
    answers: Answers
    texts: Mapping[str, str]


def write_rows(folder: Path) -> Path:
    """The public rows and examples, in the task's columns and under the names it looks for."""
    data = data_folder(_ROWS, _EXAMPLES)
    rows = [
        {"question": row["kor_question"], "answer": f"{row['kor_answer']}\n#### {row['answer_s']}"}
        for row in _lines(data / _ROWS)
    ]
    examples = [
        {"question": row["question"], "answer": f"{row['reason']}\n#### {row['answer']}"}
        for row in _lines(data / _EXAMPLES)
    ]
    folder.mkdir()
    for name, lines in (("ko_gsm8k", rows), ("ko_gsm8k.fewshot", examples)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ours(loaded: Loaded, requests: Sequence[GenerateRequest]) -> Answers:
    """Our answers; a failed one ends the benchmark."""
    encoded = [e for e in loaded.encoder().encode(requests) if isinstance(e, EncodedGenerate)]
    rows = {e.key: e.request.sample_id for e in encoded}
    found: Answers = {}
    for answer in loaded.engine().generate(encoded):
        if not isinstance(answer.response, GenerateResponse):
            raise RuntimeError(f"the engine failed: {answer.response}")
        found[rows[answer.key]] = answer.response
    return found


class Reference:
    """lm-evaluation-harness's `hf` model around a loaded model."""

    def __init__(self, loaded: Loaded, batch: int) -> None:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        self._model: Any = HFLM(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            max_length=loaded.window,
            batch_size=batch,
        )
        self._instance = Instance

    def texts(self, requests: Sequence[GenerateRequest]) -> dict[str, str]:
        """Its answers by the row's id."""
        asked = [
            self._instance(
                "generate_until",
                {},
                (
                    request.prompt,
                    {
                        "until": list(request.stop),
                        "max_gen_toks": request.max_tokens,
                        "do_sample": False,
                    },
                ),
                number,
            )
            for number, request in enumerate(requests)
        ]
        found = self._model.generate_until(asked, disable_tqdm=True)
        return {r.sample_id: str(text) for r, text in zip(requests, found, strict=True)}


def with_written_stop(
    loaded: Loaded, requests: Sequence[GenerateRequest], solutions: Sequence[str]
) -> list[GenerateRequest]:
    """The requests with a stop string that this model does write; see the script's docstring."""
    wanted = statistics.fmean(len(loaded.tokenizer(text)["input_ids"]) for text in solutions)
    free = [replace(request, stop=()) for request in requests[:_PROBED]]
    texts = [answer.text for answer in ours(loaded, free).values()]
    per_letter = requests[0].max_tokens / statistics.fmean(map(len, texts))

    def mean_length(stop: str) -> float:
        cut = [len(text.split(stop)[0]) * per_letter for text in texts]
        return statistics.fmean(min(length, requests[0].max_tokens) for length in cut)

    pairs = {text[i : i + 2] for text in texts for i in range(len(text) - 1)}
    written = sorted(pair for pair in pairs if "\ufffd" not in pair and not pair.isspace())
    stop = min(written, key=lambda pair: abs(mean_length(pair) - wanted))
    say(f"{loaded.label}: stop string {stop!r}, for answers of {wanted:.0f} tokens on average")
    return [replace(request, stop=(stop,)) for request in requests]


def measure(
    loaded: Loaded,
    shots: int,
    requests: Sequence[GenerateRequest],
    batches: Sequence[int],
    repeats: int,
) -> Measured:
    """Runs both sides on one setting, after an untimed round."""
    answers = ours(loaded, requests)
    tried: dict[int, tuple[float, dict[str, str]]] = {}
    for batch in batches:
        if batch <= len(requests) or not tried:
            started = time.perf_counter()
            texts = Reference(loaded, batch).texts(requests)
            tried[batch] = time.perf_counter() - started, texts
    batch = min(tried, key=lambda size: tried[size][0])
    say(f"{loaded.label}, {shots}-shot, {len(requests)} rows: their batch {batch} of {[*tried]}")
    reference = Reference(loaded, batch)
    seconds = alternate(
        lambda: ours(loaded, requests),
        lambda: reference.texts(requests),
        repeats,
        warm_up=False,
    )
    say(f"  ours {seconds[0]:.1f} s, theirs {seconds[1]:.1f} s")
    return Measured(loaded, shots, batch, seconds, answers, tried[batch][1])


def row(measured: Measured) -> Row:
    """The line of the final table."""
    answers = measured.answers
    new = [answer.completion_tokens for answer in answers.values()]
    same = sum(answer.text == measured.texts[key] for key, answer in answers.items())
    our_seconds, their_seconds = measured.seconds
    return Row(
        what=f"{measured.loaded.label}, {measured.shots}-shot",
        ours=f"{our_seconds:.1f} s",
        theirs=f"{their_seconds:.1f} s",
        measured=their_seconds / our_seconds,
        at_least=TARGET,
        extra={
            "rows": str(len(answers)),
            "prompt": str(sum(answer.prompt_tokens for answer in answers.values())),
            "new": f"{sum(new)}, {max(new)}",
            "their batch": str(measured.batch),
            "same": f"{same}",
        },
    )


def main() -> int:
    arguments = _arguments()
    require("lm_eval", "pip install 'ko-eval[parity]'")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")  # read when datasets is imported, which is further down
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    heading(__doc__, "torch", "transformers", "lm_eval")
    table = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        rows = str(write_rows(work / "rows"))
        for name in arguments.model:
            loaded = load(name, "float32", arguments.device, work)
            for shots in arguments.shots:
                task = load_task("ko_gsm8k", overrides={"max_tokens": arguments.max_tokens})
                count = arguments.rows or _DEFAULT_ROWS[name]
                prepared = prepare_task(task, rows, shots=shots, limit=count)
                requests = [r for r in prepared.requests if isinstance(r, GenerateRequest)]
                if name == "tiny":
                    solutions = [str(sample.target) for sample in prepared.samples]
                    requests = with_written_stop(loaded, requests, solutions)
                found = measure(loaded, shots, requests, arguments.their_batch, arguments.repeats)
                table.append(row(found))
    say()
    print_table("Generation, transformers", table)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = list(_DEFAULT_ROWS)
    parser.add_argument("--model", nargs="+", choices=names, default=names)
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--rows", type=int, help="first N rows (default: by model)")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--their-batch", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
