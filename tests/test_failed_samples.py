"""A sample for which memory runs out is retried, then counted as failed, and asked again next time.

The model is real; its forward pass says that memory ran out wherever one row's text is among what
it is fed, alone or with others, as it is with a row that is too long for a device.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaModel

from ko_eval.cli.main import main
from ko_eval.runs.state import read_state

MARK = "☠"
FIELDS: dict[str, dict[str, Any]] = {
    "kornat_knowledge": {"choices": ["하나", "둘", "셋", "넷"], "answer": "A"},
    "ko_gsm8k": {"answer": "하나에 둘을 더하면 셋이다.\n#### 3"},
}
OVERRIDES = {"ko_gsm8k": {"ko_gsm8k": {"max_tokens": 8}}}


@dataclass(frozen=True)
class Ended:
    """What a command said, and its code."""

    code: int
    out: str
    err: str


@pytest.fixture
def ko_eval_here(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Runs the command line in this process, whose model is prepared to fail."""
    handler = signal.getsignal(signal.SIGTERM)
    arguments = sys.argv

    def run(*words: object) -> Ended:
        sys.argv = ["ko-eval", *map(str, words)]
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    yield run
    sys.argv = arguments
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four rows for each task; one of them holds the mark."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, fields in FIELDS.items():
        rows = [
            {"id": str(n), "question": f"{n}번째{MARK if n == 2 else ''}물음의 답은?", **fields}
            for n in range(4)
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def fails(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has the model fail where it is fed the mark; counts how often it did."""
    mark = AutoTokenizer.from_pretrained(tiny)(MARK, add_special_tokens=False)["input_ids"]
    forward = LlamaModel.forward
    failures: list[int] = []

    @functools.wraps(forward)
    def failing(self: LlamaModel, input_ids: torch.Tensor | None = None, **more: Any) -> Any:
        assert input_ids is not None
        for row in input_ids.tolist():
            if any(row[n : n + len(mark)] == mark for n in range(len(row))):
                failures.append(len(row))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 EiB.")
        return forward(self, input_ids, **more)

    monkeypatch.setattr(LlamaModel, "forward", failing)
    return failures


@pytest.mark.parametrize("task", FIELDS)
def test_a_failed_sample_is_retried_counted_and_asked_again_by_the_next_run(
    tiny: Path,
    data: Path,
    task: str,
    fails: list[int],
    ko_eval_here: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    suite = tmp_path / "short.yaml"
    suite.write_text(
        yaml.safe_dump({"name": "short", "tasks": [task], "overrides": OVERRIDES.get(task, {})})
    )
    words = ["run", tiny, "--suite", suite, "--data", data, "--shots", 0, "--out", tmp_path / "out"]
    words += ["--dtype", "float32", "--device", "cpu", "--max-length", 1024]
    first = ko_eval_here(*words)
    assert first.code == 1
    assert ", failed 1 " in first.out
    assert "1 samples failed; run the same command again to retry them" in first.err
    assert f"{task}: 1 of 4 samples failed and count as zero: out of memory" in first.err
    (results,) = (tmp_path / "out").rglob("results.json")
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["tasks"][0]["outcomes"]["failed"] == 1
    assert any("out of memory" in text for text in report["warnings"])
    (journal,) = (tmp_path / "out").rglob("responses/*.jsonl")
    entries = [json.loads(line)["entry"] for line in journal.read_text("utf-8").splitlines()]
    failed = [entry for entry in entries if entry["kind"] == "failed"]
    assert len(failed) == 3
    assert "out of memory" in failed[0]["response"]["reason"]
    assert len(entries) == 3 + 3
    assert len(fails) >= 3
    (samples,) = (tmp_path / "out").rglob("samples/*.jsonl")
    lines = {line["id"]: line for line in map(json.loads, samples.read_text("utf-8").splitlines())}
    assert lines["2"]["outcome"] == "failed"
    assert "out of memory" in lines["2"]["detail"]["reason"]
    state = read_state(results.parent)
    assert state is not None
    assert (state.state, state.tasks[task].failed, state.tasks[task].total) == ("done", 1, 4)

    monkeypatch.undo()
    second = ko_eval_here(*words)
    assert second.code == 0, second.err
    assert "Asked the model 1 requests; 3 answered before" in second.out
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["tasks"][0]["outcomes"]["failed"] == 0
    assert not any("failed and" in text for text in report["warnings"])
