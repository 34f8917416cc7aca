"""Result files of the Open Ko-LLM Leaderboard become score cards, and hostile ones an error."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hostile import Run
from hypothesis import given
from hypothesis import strategies as st
from result_files import write_result

from ko_eval.errors import DataError
from ko_eval.interop.board_files import read_board_file, write_cards
from ko_eval.interop.exported_run import open_run
from ko_eval.interop.lm_eval_export import results_content
from ko_eval.reports.reproduction import reproduction
from ko_eval.runs.cards import Card, load_card


def stderr(share: float, n: int) -> float:
    """As the harness computes it: FACTS 3.1."""
    return math.sqrt(share * (1 - share) / (n - 1))


def right(k: int, n: int, name: str, reading: str = "none") -> dict[str, float]:
    return {f"{name},{reading}": k / n, f"{name}_stderr,{reading}": stderr(k / n, n)}


# A partial row of FACTS section 2, in full precision by its counts of right answers.
PARTIAL: dict[str, Any] = {
    "results": {
        "ko_eqbench": {
            "alias": "  - ko_eqbench",
            "eqbench,none": 27.54732074976607,
            "eqbench_stderr,none": 2.661492540306655,
            "percent_parseable,none": 100 * 153 / 171,
            "percent_parseable_stderr,none": 100 * stderr(153 / 171, 171),
        },
        "ko_gpqa_diamond_zeroshot": {"alias": "  - x", **right(44, 198, "acc_norm")},
        "ko_gsm8k": {
            **right(508, 1319, "exact_match", "strict-match"),
            **right(326, 1319, "exact_match", "flexible-extract"),
        },
        "ko_ifeval": {
            **right(140, 494, "prompt_level_strict_acc"),
            "inst_level_strict_acc,none": 271 / 674,
            "inst_level_strict_acc_stderr,none": "N/A",
            **right(145, 494, "prompt_level_loose_acc"),
            "inst_level_loose_acc,none": 279 / 674,
            "inst_level_loose_acc_stderr,none": "N/A",
        },
        "ko_winogrande": right(762, 1267, "acc"),
        "kornat_common": right(1342, 6008, "acc_norm"),
        "kornat_harmless": {"acc_norm,none": 0.6002, "acc_norm_stderr,none": 0.004},
        "kornat_social": {"A-SVA,none": 0.4842, "A-SVA_stderr,none": 0.003},
    },
    "versions": {"ko_gsm8k": 3.0},
    "config_general": {
        "model_name": "12thD/ko-Llama-3-8B-sft-v0.1",
        "model_dtype": "torch.float16",
        "model_sha": "0123456789" * 4,
    },
}
NAME = "result_2024-04-22 02:51:25.json"


def written(folder: Path, content: Any, name: str = NAME) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def changed(*path: str, to: Any) -> dict[str, Any]:
    content = copy.deepcopy(PARTIAL)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return content


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return read_board_file(written(tmp_path, PARTIAL)).card


def test_the_values_are_those_of_the_card_that_ships(card: Card) -> None:
    ours = load_card("leaderboard2-partial-ko-llama-3-8b-sft")
    assert card.model == ours.model
    found = {(score.task, score.metric): score for score in card.scores}
    assert {(score.task, score.metric) for score in ours.scores} <= set(found)
    for score in ours.scores:
        imported = found[score.task, score.metric]
        assert imported.value == pytest.approx(score.value, abs=0.03)
        assert (imported.scale, imported.status) == (score.scale, score.status)
        assert imported.shots == score.shots


def test_the_number_of_items_follows_from_the_standard_error(card: Card) -> None:
    counts = {score.metric: score.n for score in card.scores if score.task == "ko_ifeval"}
    assert counts["prompt_level_strict_acc"] == counts["strict_acc"] == 494
    # The harness gives none for pooled instructions.
    assert counts["inst_level_strict_acc"] is None
    shown = card.shown
    assert {name: shown[name].n for name in ("ko_gpqa", "ko_winogrande", "ko_gsm8k")} == {
        "ko_gpqa": 198,
        "ko_winogrande": 1267,
        "ko_gsm8k": 1319,
    }
    assert shown["kornat_knowledge"].n == 6008
    assert shown["ko_eqbench"].n == 171
    # Credits and shares of people: nothing follows.
    assert shown["ko_harmlessness"].n is shown["kornat_social_value"].n is None
    assert all(score.n_status == "inferred" for score in card.scores if score.n is not None)


def test_what_the_file_does_not_say_is_unknown(card: Card) -> None:
    assert card.average is None
    assert card.date == "unknown; the file is named 2024-04-22 02:51:25"
    assert card.revision == "0123456789" * 4
    assert card.protocol["dtype"].value == "torch.float16"
    assert any("ko_helpfulness" in text for text in card.unknown)
    assert card.shown["ko_winogrande"].shots is None
    assert card.shown["ko_gpqa"].shots == 0


def test_the_mean_of_two_metrics_is_marked_inferred(card: Card) -> None:
    shown = card.shown["ko_ifeval"]
    assert (shown.metric, shown.status) == ("strict_acc", "inferred")
    assert shown.value == pytest.approx(100 * (140 / 494 + 271 / 674) / 2)


def test_a_written_card_is_read_back_and_compared(tmp_path: Path, card: Card) -> None:
    (path,) = write_cards([read_board_file(written(tmp_path, PARTIAL))], tmp_path / "cards")
    assert load_card(str(path)) == card
    run = open_run(write_result(tmp_path / "run", n=198, shown={"ko_gpqa": 22.0}, label="private"))
    compared = reproduction(path.stem, card, run.result)
    assert compared.scores[0].reachable == 44


def test_no_card_is_written_over_another(tmp_path: Path) -> None:
    models = ("a/b-2", "a/b", "a/b", "a--b", "../a", "가" * 300)
    files = [
        written(tmp_path / str(number), changed("config_general", "model_name", to=model))
        for number, model in enumerate(models)
    ]
    paths = write_cards([read_board_file(path) for path in files], tmp_path / "cards")
    assert [path.stem.removeprefix("board-") for path in paths[:4]] == [
        "a--b-2",
        "a--b",
        "a--b-3",
        "a--b-4",
    ]
    assert {path.resolve().parent for path in paths} == {(tmp_path / "cards").resolve()}
    assert [load_card(str(path)).model for path in paths] == list(models)


@pytest.mark.parametrize(
    ("key", "values", "shots"),
    [
        ("harness|ko_winogrande|5", {"acc": 0.5, "acc_stderr": 0.014}, 5),
        ("ko_winogrande", {"acc": 0.5}, None),
        ("ko_winogrande", {"acc,none": 1}, None),
    ],
)
def test_older_layouts_are_read(
    tmp_path: Path, key: str, values: dict[str, Any], shots: int | None
) -> None:
    content = {"results": {key: values}, "config_general": {"model_name": "a/b"}}
    (score,) = read_board_file(written(tmp_path, content)).card.scores
    assert (score.task, score.shots) == ("ko_winogrande", shots)
    assert score.value == pytest.approx(100 * next(iter(values.values())))


def test_other_tasks_are_left_out_and_named(tmp_path: Path) -> None:
    content = changed("results", "kmmlu", to={"acc,none": 0.5})
    found = read_board_file(written(tmp_path, content))
    assert found.notes == ("left out, since they are no tasks of the board: 'kmmlu'",)
    without = changed("results", "ko_gsm8k", to={"exact_match,flexible-extract": 0.5})
    found = read_board_file(written(tmp_path, without))
    assert "lacks the metric that the board shows" in found.notes[0]
    assert "ko_gsm8k" not in found.card.tasks


def test_an_export_of_our_own_is_not_taken_for_the_boards(tmp_path: Path) -> None:
    run = open_run(write_result(tmp_path / "run", n=4, shown={"ko_gpqa": 50.0}))
    with pytest.raises(DataError, match="nothing that the board published"):
        read_board_file(written(tmp_path, results_content(run)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no result file of the board"),
        ({"results": []}, "results: "),
        ({"results": {}}, "none of the board's nine tasks"),
        ({"results": {"harness|ko_arc_challenge|25": {"acc": 0.2}}}, "ko_arc_challenge"),
        (changed("config_general", to={}), "does not name its model"),
        (changed("config_general", "model_name", to=7), "config_general.model_name"),
        (changed("results", "kornat_common", "acc_norm,none", to=34.59), "between 0 and 1"),
        (changed("results", "kornat_common", "acc_norm,none", to=float("nan")), "no possible"),
        (changed("results", "kornat_common", "acc_norm,none", to=10**400), "no possible"),
        (changed("results", "ko_eqbench", "eqbench,none", to=1e300), "no possible"),
        (changed("results", "harness|ko_gsm8k|5", to={"exact_match": 0.1}), "occurs twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_board_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"results": ' + "[" * 200 + "]" * 200 + "}", "\x00"])
def test_a_file_that_is_no_json_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        read_board_file(tmp_path / NAME)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
METRICS = st.sampled_from(["acc,none", "acc_stderr,none", "acc_norm,none", "eqbench,none"])


@given(
    results=st.dictionaries(
        st.sampled_from([*PARTIAL["results"], "x", "harness|ko_eqbench|0", "\x1b[2J"]),
        st.dictionaries(METRICS, VALUES) | VALUES,
    ),
    general=st.dictionaries(st.sampled_from(["model_name", "model_sha", "model_dtype"]), VALUES),
)
def test_no_file_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, results: Any, general: Any
) -> None:
    folder = tmp_path_factory.mktemp("files")
    path = folder / NAME
    content = json.dumps({"results": results, "config_general": general})
    path.write_text(content, encoding="utf-8")
    try:
        found = read_board_file(path)
    except DataError as error:
        assert "\x1b" not in str(error)
        return
    (card_path,) = write_cards([found], folder / "cards")
    assert card_path.parent == folder / "cards"
    assert load_card(str(card_path)) == found.card


def test_the_command_writes_cards_and_names_what_it_left_out(here: Run, tmp_path: Path) -> None:
    written(tmp_path / "board" / "12thD" / "one", PARTIAL)
    written(tmp_path / "board" / "other", {"results": {}})
    done = here("import-board", "board", "-o", "cards")
    assert done.code == 1
    assert done.out == "cards/board-12thD--ko-Llama-3-8B-sft-v0.1.yaml\n"
    assert "left out: " in done.err and "none of the board's nine tasks" in done.err
    assert load_card(str(tmp_path / done.out.strip())).model == "12thD/ko-Llama-3-8B-sft-v0.1"


def test_a_folder_without_result_files_is_an_error(here: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = here("import-board", "empty", "-o", "cards")
    assert done.code == 2
    assert "0 result files" in done.err
    assert not (tmp_path / "cards").exists()
