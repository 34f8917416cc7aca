"""`ko-eval reproduce`: runs against cards of our own, and against published scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hostile import Run, refused
from result_files import write_result
from short_runs import options

from ko_eval.errors import UsageError
from ko_eval.reports.reproduction import Compared, Reproduction, reproduction
from ko_eval.runs.card_items import hashes_for
from ko_eval.runs.card_making import card_text, make_card
from ko_eval.runs.cards import Card
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.result import Value, read_result
from ko_eval.stats.estimates import share_metric

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_card.py"
TASKS = ("ko_gpqa", "ko_winogrande", "ko_gsm8k")
ITEMS = 40


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "three.yaml"
    short = {"fewshot": {"count": 0}, "max_tokens": 16}
    changes = {"ko_winogrande": {"fewshot": {"count": 0}}, "ko_gsm8k": short}
    content = {"name": "three", "tasks": list(TASKS), "overrides": changes}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tiny: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return evaluate(options(tiny, suite, out, limit=ITEMS)).directory


@pytest.fixture(scope="module")
def card(run: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card of our own, as scripts/make_card.py writes it."""
    path = tmp_path_factory.mktemp("cards") / "own.yaml"
    path.write_text(card_text(make_card(run, source="this test", suite=str(suite))), "utf-8")
    return path


def altered(card: Path, folder: Path, points: float) -> Path:
    content = yaml.safe_load(card.read_text(encoding="utf-8"))
    for score in content["scores"]:
        score["value"] += points
    content["average"] += points
    path = folder / "altered.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_run_reproduces_its_own_card_exactly(here: Run, card: Path, run: Path) -> None:
    done = here("reproduce", card, run, "--json")
    found = json.loads(done.out)
    assert (done.code, found["verdict"], found["exact"]) == (0, "equivalent", True)
    assert [score["task"] for score in found["scores"]] == [*TASKS, "average"]
    for score in found["scores"]:
        assert abs(score["difference"]) < 1e-9
        assert score["verdict"] == "equivalent"
        assert score["basis"] == "same items"


def test_the_card_says_how_it_is_run_again(
    here: Run, card: Path, run: Path, tiny: Path, tmp_path: Path
) -> None:
    done = here("reproduce", card, "--model", tiny, "--out", run.parents[1])
    assert done.code == 0
    assert "Verdict: equivalent, exact: every item came out as on the card" in done.out
    # The same requests: no second directory, and nothing was asked.
    assert [path.name for path in run.parent.iterdir()] == [run.name]


def test_a_card_altered_by_five_points_is_different(
    here: Run, card: Path, run: Path, tmp_path: Path
) -> None:
    for points in (5.0, -5.0):
        done = here("reproduce", altered(card, tmp_path, points), run, "--json")
        found = json.loads(done.out)
        assert (done.code, found["verdict"], found["exact"]) == (1, "different", False)
        assert {score["verdict"] for score in found["scores"]} == {"different"}


def test_twenty_items_decide_nothing(
    here: Run, card: Path, tiny: Path, suite: Path, tmp_path: Path
) -> None:
    few = evaluate(options(tiny, suite, tmp_path, limit=20)).directory
    done = here("reproduce", card, few, "--json")
    found = json.loads(done.out)
    assert (done.code, found["verdict"], found["exact"]) == (3, "undecided", False)
    assert {score["verdict"] for score in found["scores"]} == {"undecided"}
    assert {score["basis"] for score in found["scores"]} == {"part of the items"}


def test_another_model_with_a_close_score_is_not_exact(
    here: Run, card: Path, run: Path, tmp_path: Path
) -> None:
    """Two items turned in opposite directions leave the score as it was."""
    records = [
        json.loads(line) for line in (run / "samples" / "ko_gpqa.jsonl").read_text().splitlines()
    ]
    right = next(record for record in records if record["metrics"]["acc_norm"] == 1)
    wrong = next(record for record in records if record["metrics"]["acc_norm"] == 0)
    right["metrics"]["acc_norm"], wrong["metrics"]["acc_norm"] = 0.0, 1.0
    copy = tmp_path / "copy"
    for file in ("results.json", *(f"samples/{task}.jsonl" for task in TASKS)):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((run / file).read_bytes())
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (copy / "samples" / "ko_gpqa.jsonl").write_text(lines, encoding="utf-8")
    done = here("reproduce", card, copy, "--json")
    found = json.loads(done.out)
    assert (done.code, found["verdict"], found["exact"]) == (0, "equivalent", False)
    exact = {score["task"]: score["exact"] for score in found["scores"]}
    assert exact == {**dict.fromkeys(TASKS, True), "ko_gpqa": False, "average": None}


def test_without_the_files_of_its_samples_a_run_is_not_called_exact(
    here: Run, card: Path, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_bytes((run / "results.json").read_bytes())
    found = json.loads(here("reproduce", card, tmp_path / "results.json", "--json").out)
    assert (found["verdict"], found["exact"]) == ("equivalent", False)


def test_an_item_that_rounding_could_turn_is_named_and_left_out(
    run: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharp = make_card(run, source="this test", suite=str(suite))
    monkeypatch.setattr("ko_eval.runs.card_making.TOLERANCE", 1000.0)
    blunt = make_card(run, source="this test", suite=str(suite))
    assert len(sharp.items["ko_gpqa"].near_ties) < 3
    assert len(blunt.items["ko_gpqa"].near_ties) == ITEMS
    assert blunt.items["ko_gsm8k"] == sharp.items["ko_gsm8k"]  # no choice, no tie
    with_ties = hashes_for(blunt, run)["ko_gpqa"]
    assert with_ties == blunt.items["ko_gpqa"].outcomes_sha256
    assert with_ties != sharp.items["ko_gpqa"].outcomes_sha256


def test_the_script_makes_the_same_card_and_refuses_what_is_no_suite_run(
    card: Path, run: Path, suite: Path, tmp_path: Path
) -> None:
    script = [sys.executable, str(SCRIPT), "--suite", str(suite), "--source", "this test"]
    made = tmp_path / "made.yaml"
    subprocess.run([*script, str(run), str(made)], check=True, capture_output=True)
    assert made.read_text(encoding="utf-8") == card.read_text(encoding="utf-8")
    private = write_result(tmp_path / "private", label="private")
    done = subprocess.run([*script, str(private), str(made)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: a card is made of a suite on the bundled items" in done.stderr
    with pytest.raises(UsageError, match="margin cannot be 0"):
        make_card(run, source="this test", suite=str(suite), margin=0.0)


# What follows compares with published scores: results without a model, and cards as users write.


def published(**changes: Any) -> Card:
    content: dict[str, Any] = {
        "model": "org/model",
        "source": "a table",
        "date": "2024-11",
        "data": "private",
        "scores": [
            {"task": "ko_gpqa", "metric": "acc", "value": 50.0, "n": 100, "steps": 1},
        ],
        "margin": {"points": 2, "why": "so said"},
    }
    return Card.model_validate({**content, **changes})


def compared(card: Card, directory: Path, **more: Any) -> Reproduction:
    return reproduction("card", card, read_result(directory), **more)


def only(found: Reproduction) -> Compared:
    (row,) = found.scores
    return row


@pytest.mark.parametrize(
    ("limit", "published_n", "basis"),
    [(100, 200, "part of the items"), (None, 400, "other items")],
)
def test_false_verdicts_are_as_rare_as_stated(
    tmp_path: Path, limit: int | None, published_n: int, basis: str
) -> None:
    """400 runs of 100 items each, of a model that scores the same, and of one at the margin."""
    result = read_result(write_result(tmp_path, shown={"ko_gpqa": 60.0}, label="private"))
    task = result.tasks[0]
    generator = np.random.default_rng(0)

    def verdicts(apart: float) -> list[str]:
        found: list[str] = []
        for _ in range(400):
            if limit is None:
                published_share = generator.binomial(published_n, 0.6 - apart) / published_n
                hits = (generator.random(100) < 0.6).astype(float)
            else:
                everything = (generator.random(published_n) < 0.6).astype(float)
                published_share = everything.mean() - apart
                hits = generator.permutation(everything)[:100]
            own = share_metric(list(hits))
            metric = Value(**{k: getattr(own, k) for k in ("value", "stderr", "low", "high", "n")})
            one = task.model_copy(update={"metrics": {"acc": metric}})
            run = result.model_copy(update={"tasks": [one], "limit": limit})
            score = {"task": "ko_gpqa", "metric": "acc", "value": 100 * published_share}
            card = published(scores=[{**score, "n": published_n, "steps": 1}])
            row = only(reproduction("card", card, run, margin=10))
            assert row.basis == basis
            found.append(row.verdict)
        return found

    same, margin = verdicts(0.0), verdicts(0.1)
    assert 0.015 < same.count("different") / 400 < 0.08
    assert margin.count("equivalent") / 400 < 0.08
    assert same.count("equivalent") > margin.count("equivalent")


@pytest.mark.parametrize("label", ["bundled", "hub"])
def test_a_board_row_gets_no_verdict_from_other_data(here: Run, tmp_path: Path, label: Any) -> None:
    directory = write_result(tmp_path / "run", label=label)
    done = here("reproduce", "leaderboard2-qwen2.5-0.5b-instruct", directory)
    assert done.code == 3
    assert "Verdict: not comparable" in done.out
    assert f"{label} data: the published score is of private test sets" in done.out
    assert "equivalent" not in done.out
    assert "different" not in done.out


def test_a_board_row_is_not_evaluated_on_data_that_cannot_reproduce_it(here: Run) -> None:
    board = "leaderboard2-gemma-ko-v01"
    for data in ((), ("--data", "bundled"), ("--data", "hub"), ("--data", "hub:org/rows")):
        refused(here("reproduce", board, *data), "private test sets", "--data PATH")
    public = "kobest-koalpaca-polyglot-5.8b"
    refused(here("reproduce", public, "--data", "bundled"), "hub data, which --data bundled")
    refused(here("reproduce", "demo-bundled", "--data", "rows"), "bundled data, which --data rows")
    refused(here("reproduce", public, "--shots", 5), "with 0 shots", "--shots 5 is not")


def test_private_rows_of_the_published_number_are_taken_for_the_published_ones(
    tmp_path: Path,
) -> None:
    directory = write_result(tmp_path, shown={"ko_gpqa": 51.0}, label="private")
    row = only(compared(published(), directory))
    assert (row.verdict, row.basis) == ("equivalent", "items assumed the same")
    assert "taken for the published ones" in row.reasons[0]
    far = only(
        compared(published(), write_result(tmp_path, shown={"ko_gpqa": 57}, label="private"))
    )
    assert far.verdict == "different"


def test_rows_of_another_number_are_another_sample(tmp_path: Path) -> None:
    directory = write_result(tmp_path, shown={"ko_gpqa": 51.0}, n=400, label="private")
    row = only(compared(published(), directory))
    assert (row.verdict, row.basis) == ("undecided", "other items")
    assert row.low is not None
    assert row.high is not None
    # 1.645 standard errors of two independent shares of 400 and 100 items.
    half = 1.6449 * 100 * (0.51 * 0.49 / 399 + 0.25 / 99) ** 0.5
    assert row.high - row.low == pytest.approx(2 * half + 0.01, abs=0.01)


def test_a_coarse_value_is_as_wide_as_its_rounding(tmp_path: Path) -> None:
    directory = write_result(tmp_path, shown={"ko_gpqa": 52.0}, label="private")
    score = {"task": "ko_gpqa", "metric": "acc", "value": 50.0, "n": 100}
    sharp = only(compared(published(scores=[{**score, "digits": 2}]), directory, margin=2.1))
    coarse = only(compared(published(scores=[{**score, "digits": 0}]), directory, margin=2.1))
    assert (sharp.verdict, coarse.verdict) == ("equivalent", "undecided")


def test_what_follows_from_rounded_values_is_as_wide_as_all_their_rounding(
    tmp_path: Path,
) -> None:
    directory = write_result(tmp_path, shown={"ko_gpqa": 52.0}, label="private")
    score = {"task": "ko_gpqa", "metric": "acc", "value": 50.03, "n": 100, "steps": 1}
    follows = {**score, "status": "inferred", "within": 0.085}
    sharp = only(compared(published(scores=[score]), directory))
    wide = only(compared(published(scores=[follows]), directory))
    assert (sharp.verdict, wide.verdict) == ("equivalent", "undecided")
    # Nobody published it: that no k of N gives it says nothing.
    assert (sharp.reach, wide.reach) == ("no k/100", "not published")


def test_a_lucky_error_of_few_clusters_decides_nothing(tmp_path: Path) -> None:
    """Ten twins, of which nearly all have one of two right: the interval knows better."""
    drawn = read_result(write_result(tmp_path, shown={"ko_gpqa": 45.0}, n=20, label="private"))
    few = Value(value=0.45, stderr=0.05, low=0.231, high=0.690, n=20)
    task = drawn.tasks[0].model_copy(update={"metrics": {"acc": few}})
    run = drawn.model_copy(update={"tasks": [task], "limit": 20})
    score = {"task": "ko_gpqa", "metric": "acc", "value": 53.33, "n": 30, "steps": 1}
    row = only(reproduction("card", published(scores=[score]), run))
    assert (row.verdict, row.basis) == ("undecided", "part of the items")


def test_a_card_is_called_by_its_whole_name(here: Run, tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", label="private")
    path = tmp_path / "우리 모델 0.5b.yaml"
    path.write_text(card_text(published()), encoding="utf-8")
    for card, name in (
        ("leaderboard2-qwen2.5-0.5b-instruct", "leaderboard2-qwen2.5-0.5b-instruct"),
        (path, "우리 모델 0.5b"),
    ):
        found = json.loads(here("reproduce", card, directory, "--json").out)
        assert found["card"] == name


def test_a_run_of_another_suite_than_the_card_is_said_to_be_one(here: Run, tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", suite="leaderboard2")
    done = here("reproduce", "demo-bundled", directory)
    assert "the run is of the suite 'leaderboard2', the card of 'machine-check'" in done.out


def test_a_wider_margin_is_taken_and_named(here: Run, tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", shown={"ko_gpqa": 57.0}, label="private")
    path = tmp_path / "card.yaml"
    path.write_text(card_text(published()), encoding="utf-8")
    assert here("reproduce", path, directory).code == 1
    wide = here("reproduce", path, directory, "--margin", "8")
    assert wide.code == 0
    assert "Margin: 8 points (given with --margin)" in wide.out
    refused(here("reproduce", path, directory, "--margin", "0"), "--margin cannot be 0")


@pytest.mark.parametrize(
    ("score", "why"),
    [
        ({"metric": "acc_norm"}, "the run has no 'acc_norm'"),
        ({"task": "kmmlu"}, "the run does not have this task"),
        ({"shots": 5}, "the run has 0 shots, the published score 5"),
        ({"variant": "letters"}, "the run's variant is none, the card's letters"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(
    tmp_path: Path, score: dict[str, Any], why: str
) -> None:
    directory = write_result(tmp_path, label="private")
    one = {"task": "ko_gpqa", "metric": "acc", "value": 50.0, "n": 100, **score}
    found = compared(published(scores=[one]), directory)
    assert found.verdict == "not comparable"
    assert only(found).reasons == (why,)


def test_a_public_score_is_compared_with_rows_of_the_same_dataset_only(tmp_path: Path) -> None:
    drawn = read_result(write_result(tmp_path, shown={"ko_gpqa": 50.0}, label="hub"))
    data = drawn.tasks[0].data.model_copy(update={"source": "org/one / main / test"})
    directory = write_result(
        tmp_path, shown={"ko_gpqa": 50.0}, label="hub", tasks={"ko_gpqa": {"data": data}}
    )
    same = published(data="hub", dataset="org/one")
    other = published(data="hub", dataset="org/two")
    shorter = published(data="hub", dataset="org/on")
    assert compared(same, directory).verdict == "equivalent"
    assert compared(other, directory).verdict == "not comparable"
    assert compared(shorter, directory).verdict == "not comparable"


@pytest.mark.parametrize(
    ("value", "n", "reach"),
    [(25.25, 198, "50/198"), (34.59, 6008, "2,078/6,008"), (34.59, 6000, "no k/6,000")],
)
def test_a_published_share_is_k_of_n_or_cannot_be(
    tmp_path: Path, value: float, n: int, reach: str
) -> None:
    score = {"task": "ko_gpqa", "metric": "acc", "value": value, "n": n, "steps": 1}
    row = only(compared(published(scores=[score]), write_result(tmp_path, label="private")))
    assert row.reach == reach


def test_what_nobody_published_is_listed(here: Run, tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", label="private")
    done = here("reproduce", "leaderboard2-linkbricks-gemma-2-27b", directory)
    assert "Unknown of the published scores: whether a chat template was used" in done.out
    assert "which revision of the model was published on is unknown" in done.out
    assert "the run's model is called 'org/model'" in done.out


def test_a_finished_run_and_options_of_a_new_one_exclude_each_other(
    here: Run, tmp_path: Path
) -> None:
    directory = write_result(tmp_path / "run")
    refused(here("reproduce", "kmmlu-gpt-4", directory, "--limit", 5), "--limit", "RUN")


def test_a_missing_run_is_named(here: Run) -> None:
    refused(here("reproduce", "kmmlu-gpt-4", "nowhere"), "nowhere", "results.json")


def test_a_finished_run_is_compared_without_torch(tmp_path: Path, card: Path, run: Path) -> None:
    code = (
        "import sys\nfrom ko_eval.cli.main import app\n"
        f"sys.argv = ['ko-eval', 'reproduce', {str(card)!r}, {str(run)!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    print(end.code, file=sys.stderr)\n"
        "print(sorted({'torch', 'transformers', 'scipy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split("\n")[:2] == ["0", "[]"]
