"""The benchmark scripts: each runs with the tiniest settings and prints its table."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from bench_common import Row

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
needs_reference = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"
)


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import one another by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the layout of the public data, with rows of our own."""
    folder = tmp_path / "data"
    (folder / "kobest").mkdir(parents=True)
    (folder / "kobbq").mkdir()
    for part, first in (("dev", 0), ("test", 10)):
        lines = ["context\tchoice1\tchoice2\tchoice3\tchoice4\tlabel"]
        lines += [
            f"{n}번 손님이 문을 열었다.\t{n}번이 앉는다.\t나간다.\t웃는다.\t잔다.\t{n % 4}"
            for n in range(first, first + 6)
        ]
        text = "\n".join(lines) + "\n"
        (folder / "kobest" / f"HellaSwag_{part}.tsv").write_text(text, encoding="utf-8")
    lines = ["sample_id\tcontext\tquestion\tchoices\tanswer"]
    lines += [
        f"t-{n}-1-amb-x\t{n}번과 그 이웃이 만났다.\t누가 늦었나?\t['{n}번', '이웃', '모름']\t모름"
        for n in range(9)
    ]
    (folder / "kobbq" / "KoBBQ_test_samples.tsv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("KO_EVAL_DATA", str(folder))
    return folder


def script(name: str, *options: str) -> str:
    """What a script prints in a process of its own."""
    finished = subprocess.run(
        [sys.executable, SCRIPTS / name, *options],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr[-2000:]
    return finished.stdout


def row(measured: float | None, **bounds: float) -> Row:
    from bench_common import Row

    return Row(what="한글 a|b", ours="1 s", measured=measured, **bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measured", "bounds", "verdict"),
    [
        (3.0, {"at_least": 3.0}, "reached"),
        (2.9, {"at_least": 3.0}, "missed"),
        (1.03, {"at_most": 1.03}, "reached"),
        (1.04, {"at_most": 1.03}, "missed"),
        (1.0, {}, "–"),
        (None, {"at_least": 3.0}, "–"),
    ],
)
def test_a_target_is_reached_or_missed_or_not_measured(
    measured: float | None, bounds: dict[str, float], verdict: str
) -> None:
    assert row(measured, **bounds).verdict == verdict


def test_a_table_is_markdown_with_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from bench_common import print_table

    print_table("Title", [row(2.0, at_least=1.5)])
    assert capsys.readouterr().out == (
        "### Title\n\n"
        "| what      | theirs | ours | theirs / ours | target |         |\n"
        "| --------- | -----: | ---: | ------------: | -----: | ------: |\n"
        "| 한글 a\\|b |      – |  1 s |             2 |  ≥ 1.5 | reached |\n\n"
    )


def test_sides_run_in_turns_after_a_warm_up() -> None:
    from bench_common import alternate

    order: list[str] = []
    ours, theirs = alternate(lambda: order.append("A"), lambda: order.append("B"), 2)
    assert "".join(order) == "ABABAB"
    assert ours > 0
    assert theirs > 0


def test_a_missing_data_folder_ends_a_script_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from bench_common import data_folder

    monkeypatch.setenv("KO_EVAL_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        data_folder("kobest/HellaSwag_test.tsv")
    assert ended.value.code == 2
    assert "lacks kobest/HellaSwag_test.tsv" in capsys.readouterr().err


def test_the_efficiency_of_a_tiny_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench_efficiency import main

    options = (
        "--model tiny --dtype float32 --task kobbq --shots 0 5 --rows 2 --repeats 1 --width 64"
    )
    assert main(options.split()) == 0
    printed = capsys.readouterr().out
    for shots in (0, 5):
        assert f"| tiny, float32: kobbq, {shots}-shot |" in printed
    assert printed.count("≥ 0.8") == 2


@pytest.mark.slow
def test_the_gpu_check_runs_on_the_cpu_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    from gpu_check import main

    options = "--device cpu --shape tiny --family Llama Gemma2 --rows 2 --repeats 1 --shots 1"
    assert main([*options.split(), "--new-tokens", "2", "--task", "ko_winogrande"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("  right |") == 2 * 2 * 2  # families, precisions, ways
    for way in ("engine", "sdpa"):
        assert f"| tiny, bfloat16: ko_winogrande, 1-shot, {way} " in printed
    assert "### Greedy generation" in printed
    assert printed.endswith("all correct\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_check_without_a_gpu_says_so_and_ends_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gpu_check import main

    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "sees no CUDA device here, so nothing was measured" in capsys.readouterr().err


def test_a_shifted_sum_is_not_right_in_the_gpu_check(tmp_path: Path) -> None:
    import gpu_check
    from bench_workloads import Sums, ask, bundled_workload, encode, load

    loaded = load("tiny", "float32", "cpu", tmp_path)
    encoded = encode(loaded, bundled_workload("ko_winogrande", 0, 2))
    sums = ask(loaded.engine(), encoded)
    shifted: Sums = {key: (values[0] + 0.1, *values[1:]) for key, values in sums.items()}
    for found, right in ((sums, True), (shifted, False)):
        verdict = gpu_check.held_against("tiny", loaded, encoded, found, sums, sums)
        assert verdict.right is right


@pytest.mark.slow
@needs_reference
def test_likelihoods_beside_the_reference_harness(data: Path) -> None:
    options = "--model tiny --rows 2 --repeats 1"
    printed = script("bench_likelihood.py", *options.split())
    speed, correctness = printed.split("### ")[1:]
    for task in ("kobest_hellaswag", "kobbq", "kobbq_words"):
        for shots in (0, 5):
            assert f"| tiny, float32: {task}, {shots}-shot" in speed
            assert f"| tiny, float32: {task}, {shots}-shot" in correctness
    assert correctness.count("2 of 2") == 12


@pytest.mark.slow
@needs_reference
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_beside_the_reference_harness() -> None:
    options = "--choices 2 --context 16 --vocabulary 2000 --layers 2 --width 64 --row-tokens 64"
    assert "| 2 choices, context of 16, vocabulary of 2000 | packed |" in script(
        "bench_memory.py", *options.split()
    )
