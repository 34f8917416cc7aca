"""The Python API: one call, the same run as the command's, and an outcome to look at."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import hostile
import pytest

import ko_eval
from ko_eval.errors import DataError, UsageError
from ko_eval.runs.evaluate import SilentReporter

TASKS = ["ko_gpqa", "ko_gsm8k"]
SHORT: dict[str, Any] = {"limit": 4, "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ko_eval.Evaluation:
    return ko_eval.evaluate(tiny, tasks=TASKS, out=tmp_path_factory.mktemp("out"), **SHORT)


def modules_after(code: str) -> set[str]:
    """Which heavy packages are imported once the code has run."""
    heavy = ("torch", "transformers", "datasets", "pandas", "pydantic", "numpy", "yaml", "scipy")
    code += f"\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(eval(done.stdout.splitlines()[-1], {"__builtins__": {}}))  # noqa: S307


def test_the_import_is_quick() -> None:
    assert modules_after("import ko_eval; ko_eval.__version__") == set()


def test_a_finished_run_is_read_without_torch(finished: ko_eval.Evaluation) -> None:
    read = f"import ko_eval; run = ko_eval.read_run({str(finished.directory)!r}); repr(run)"
    imported = modules_after(f"{read}; run.samples('ko_gpqa'); run.frame()")
    assert "pandas" in imported
    assert not imported & {"torch", "transformers", "datasets"}


def test_unknown_names_of_the_package_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = getattr(ko_eval, "evalute")  # noqa: B009


def test_the_call_is_the_commands_run(
    finished: ko_eval.Evaluation, tiny: Path, here: hostile.Run
) -> None:
    out = finished.directory.parents[1]
    words = ["--tasks", ",".join(TASKS), "--limit", 4, "--dtype", "float32", "--device", "cpu"]
    done = here("run", tiny, *words, "--out", out)
    assert done.code == 0
    assert "Asked the model 0 requests; 8 answered before." in done.out
    assert str(finished.directory) in done.out


def test_a_second_call_asks_nothing(finished: ko_eval.Evaluation, tiny: Path) -> None:
    again = ko_eval.evaluate(
        str(tiny), tasks="ko_gpqa, ko_gsm8k", out=str(finished.directory.parents[1]), **SHORT
    )
    assert (finished.asked, finished.answered_before) == (8, 0)
    assert (again.asked, again.answered_before) == (0, 8)
    assert again.result == finished.result


def test_the_outcome_holds_what_the_result_holds(finished: ko_eval.Evaluation) -> None:
    assert finished.average == finished.result.average
    assert finished.index is None
    assert list(finished.scores) == TASKS
    assert finished.scores["ko_gpqa"] == finished.result.tasks[0].shown
    assert ko_eval.read_run(finished.directory).result == finished.result


def test_tasks_as_a_frame(finished: ko_eval.Evaluation) -> None:
    frame = finished.frame()
    assert list(frame.index) == TASKS
    assert frame.loc["ko_gpqa", "score"] == finished.scores["ko_gpqa"].value
    outcomes = ["ok", "no_answer", "truncated", "wrong_language", "failed"]
    assert list(frame[outcomes].sum(axis="columns")) == [4, 4] == list(frame["n"])


def test_samples_as_a_frame(finished: ko_eval.Evaluation) -> None:
    frame = finished.samples("ko_gpqa")
    assert frame.index.is_unique
    assert 100 * frame["acc_norm"].mean() == pytest.approx(finished.scores["ko_gpqa"].value)
    assert set(frame["outcome"]) == {"ok"}
    assert frame["group"].notna().all()


def test_samples_of_another_task_are_not_there(finished: ko_eval.Evaluation) -> None:
    with pytest.raises(DataError, match="no task 'ko_gpq'") as caught:
        finished.samples("ko_gpq")
    assert "did you mean 'ko_gpqa'" in str(caught.value)


def test_it_is_shown_as_its_table(finished: ko_eval.Evaluation) -> None:
    assert "Ko-GPQA" in repr(finished)
    assert "\x1b" not in repr(finished)
    assert repr(finished).endswith(str(finished.directory))
    shown = finished._repr_mimebundle_()
    assert "Ko-GPQA" in shown["text/html"]
    assert "Ko-GPQA" in shown["text/plain"]


def test_a_notebook_escapes_what_names_are_made_of(finished: ko_eval.Evaluation) -> None:
    model = finished.result.model.model_copy(update={"name": "<script>alert(1)</script>"})
    planted = ko_eval.Evaluation(
        finished.result.model_copy(update={"model": model}), finished.directory
    )
    html = planted._repr_mimebundle_()["text/html"]
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_warnings_go_to_the_logger(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ko_eval"):
        outcome = ko_eval.evaluate(
            tiny, tasks=["ko_winogrande"], out=tmp_path, max_length=64, **{**SHORT, "limit": 2}
        )
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert outcome.warnings == told
    assert "cut on the left" in told[0]
    assert "scoring" in caplog.messages


def test_it_works_in_a_thread(finished: ko_eval.Evaluation, tiny: Path, tmp_path: Path) -> None:
    found: list[ko_eval.Evaluation] = []

    def work() -> None:
        found.append(ko_eval.evaluate(tiny, tasks=TASKS[:1], out=tmp_path, **SHORT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].scores["ko_gpqa"] == finished.scores["ko_gpqa"]


class Interrupting(SilentReporter):
    """Presses Ctrl-C once, at the first answer."""

    pressed = False

    def answered(self, name: str, tokens: int) -> None:
        if not self.pressed:
            self.pressed = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_an_interrupted_call_goes_on_when_it_is_made_again(tiny: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": ["ko_gpqa"], "out": tmp_path, "batch_tokens": 1, **SHORT}
    with pytest.raises(KeyboardInterrupt):
        ko_eval.evaluate(tiny, reporter=Interrupting(), **few)
    outcome = ko_eval.evaluate(tiny, **few)
    assert outcome.answered_before >= 1
    assert outcome.asked + outcome.answered_before == 4


def test_options_have_the_commands_names() -> None:
    from ko_eval.api import Options
    from ko_eval.cli.run_words import RunWords

    takes = {*Options.__annotations__, "limit", "track"}
    command = {name for name in RunWords()._options if name is not None}
    assert takes - {"revision"} | {"engine_arg", "pack"} == command | {"engine_args"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "option 'limit' cannot be 0: input should be greater than or equal to 1"),
        ({"limt": 3}, "no option 'limt'"),
        ({"shots": "3"}, "option 'shots' cannot be '3'"),
        ({"likelihood": "quick"}, "should be 'auto' or 'plain'"),
        ({"suite": "leaderboard2", "tasks": "ko_gpqa"}, "both given"),
        ({"tasks": []}, "no task was given"),
        ({"tasks": 5}, "option 'tasks' cannot be 5"),
        ({"tasks": {"ko_gpqa"}}, "option 'tasks' cannot be {'ko_gpqa'}"),
        ({"track": 5}, "option 'track' cannot be 5"),
        ({"trust_remote_code": 1}, "option 'trust_remote_code' cannot be 1"),
    ],
)
def test_a_wrong_option_is_refused(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ko_eval.evaluate(tiny, **options)


def test_options_reach_the_run() -> None:
    from ko_eval.api import run_options

    asked = run_options(
        {
            "model": "m",
            "data": "hub",
            "out": "there",
            "replicas": "auto",
            "device": "cuda:1",
            "adapter": Path("lora"),
            "tensor_parallel": 2,
            "engine_args": {"max_num_seqs": 8},
            "concurrency": 4,
            "request_timeout": 9,
        }
    )
    assert (asked.suite, asked.tasks) == ("leaderboard2", ())
    assert (asked.data, asked.out, asked.replicas) == ("hub", Path("there"), 0)
    assert (asked.load.device, asked.load.adapter) == ("cuda:1", "lora")
    assert (asked.vllm.tensor_parallel, asked.vllm.engine_args) == (2, {"max_num_seqs": 8})
    assert (asked.server.concurrency, asked.server.timeout) == (4, 9.0)
