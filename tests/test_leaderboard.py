"""The leaderboard's data: who is ranked with whom, what is explained, what hostile files may do."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import Run
from result_files import write_result

from ko_eval.errors import DataError, TaskError
from ko_eval.reports.leaderboard.build import build
from ko_eval.reports.leaderboard.model_facts import ModelFacts, read_model_facts
from ko_eval.reports.leaderboard.site import write_site
from ko_eval.reports.leaderboard.site_data import Leaderboard, as_json
from ko_eval.reports.leaderboard.words import WORDS
from ko_eval.runs.cards import Card, all_cards
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.plan import RunOptions

TWO = {"ko_gpqa": 30.0, "ko_gsm8k": 50.0}
SCRIPT = "org/<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def make(place: Path, name: str, shown: dict[str, float] | None = None, **more: Any) -> Path:
    return write_result(
        place / name, model=f"org/{name}", shown=shown or TWO, samples=False, n=40, **more
    )


def built(*roots: Path, cards: list[Card] | None = None, **facts: ModelFacts) -> Leaderboard:
    return build(roots, title="Test", facts=facts, cards=cards or [])[0]


def codes(site: Leaderboard) -> dict[str, str]:
    """Note by the last part of its run's path."""
    return {Path(note.path).name: note.code for note in site.notes}


def names(site: Leaderboard, board: int = 0) -> list[str]:
    return [entry.model for entry in site.boards[board].ranked]


# --- who is ranked with whom -------------------------------------------------------------------


def test_models_asked_the_same_are_ranked_with_intervals(tmp_path: Path) -> None:
    for name, value in (("low", 20.0), ("high", 90.0), ("near", 87.5)):
        make(tmp_path, name, dict.fromkeys(TWO, value))
    board = built(tmp_path).boards[0]
    assert [(e.model, e.rank) for e in board.ranked] == [
        ("org/high", (1, 1, 2)),
        ("org/near", (2, 1, 2)),
        ("org/low", (3, 3, 3)),
    ]


def test_equal_averages_share_a_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(tmp_path, name)
    make(tmp_path, "c", dict.fromkeys(TWO, 10.0))
    assert [e.rank[0] for e in built(tmp_path).boards[0].ranked if e.rank] == [1, 1, 3]


def test_data_labels_are_never_ranked_together_and_private_comes_first(tmp_path: Path) -> None:
    for label in ("bundled", "hub", "private"):
        make(tmp_path, label, label=label)
        make(tmp_path, f"{label}-2", label=label)
    boards = built(tmp_path).boards
    assert [board.label for board in boards] == ["private", "hub", "bundled"]
    assert [{e.model for e in board.ranked} for board in boards] == [
        {"org/private", "org/private-2"},
        {"org/hub", "org/hub-2"},
        {"org/bundled", "org/bundled-2"},
    ]


def prompts(other: str) -> dict[str, Any]:
    layers = {name: {"prompts": "p"} for name in TWO} | {"ko_gsm8k": {"prompts": other}}
    return {"layers": {"tasks": layers, "encoding": {"chat_template": "auto"}}}


def template(used: str) -> dict[str, Any]:
    layers = {name: {"prompts": "p"} for name in TWO}
    return {"layers": {"tasks": layers, "encoding": {"chat_template": used}}}


def task(**fields: Any) -> dict[str, Any]:
    return {"tasks": {"ko_gsm8k": fields}, "layers": prompts("p")["layers"]}


ROWS = {"label": "bundled", "source": "s", "sha256": "0" * 64, "revision": None, "dropped": 0}


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("differs_data", task(data=ROWS)),
        ("differs_variant", task(variant="korean")),
        ("differs_metric", task(metric="exact_match_korean")),
        ("differs_fewshot", task(fewshot=ROWS)),
        ("differs_fewshot", task(shots=5)),
        ("differs_prompts", prompts("other")),
        ("differs_definition", task(definition_sha256="0" * 64)),
        ("differs_chat_template", template("on")),
    ],
)
def test_a_run_that_differs_in_one_layer_has_a_board_of_its_own_that_names_it(
    tmp_path: Path, code: str, change: dict[str, Any]
) -> None:
    make(tmp_path, "a", **prompts("p"))
    make(tmp_path, "b", **prompts("p"))
    make(tmp_path, "other", **change)
    first, second = built(tmp_path).boards
    assert [len(first.ranked), len(second.ranked)] == [2, 1]
    assert first.differs == ()
    [note] = second.differs
    assert note.code == code
    assert "ko_gsm8k" in note.values["tasks"]


def test_engine_precision_and_tokens_do_not_part_boards(tmp_path: Path) -> None:
    make(tmp_path, "a", **prompts("p"))
    other = prompts("p")
    other["layers"] |= {"engine": {"name": "vllm", "dtype": "float16"}}
    make(tmp_path, "b", **other)
    assert len(built(tmp_path).boards) == 1


def test_a_limited_run_says_so(tmp_path: Path) -> None:
    make(tmp_path, "full")
    write_result(tmp_path / "few", model="org/few", shown=TWO, samples=False, n=10, limit=10)
    boards = built(tmp_path).boards
    assert [board.limit for board in boards] == [None, 10]
    assert [note.code for note in boards[1].differs] == ["limited", "differs_data"]


def index(value: float, definition: str = "d") -> dict[str, Any]:
    shown = {"value": value, "stderr": 1.0, "low": value - 2, "high": value + 2, "n": 2}
    own = {"name": "ko-index", "definition_sha256": definition, "categories": [], "tasks": []}
    return {"index": {**own, "shown": shown, "plain_average": shown}}


@pytest.mark.parametrize(("second", "shown"), [("d", [20.0, 10.0]), ("other", [None, None])])
def test_the_index_stands_beside_the_average_where_all_have_the_same(
    tmp_path: Path, second: str, shown: list[float | None]
) -> None:
    make(tmp_path, "a", dict.fromkeys(TWO, 60.0), **index(20.0))
    make(tmp_path, "b", **index(10.0, second))
    entries = json.loads(as_json(built(tmp_path)))["boards"][0]["entries"]
    assert [entry["average"]["value"] for entry in entries] == [60.0, 40.0]
    assert [entry["index"] and entry["index"]["value"] for entry in entries] == shown


def test_an_index_of_another_definition_is_not_shown_for_those_that_are_not_ranked(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a", dict.fromkeys(TWO, 60.0), **index(20.0))
    failed = {name: {"outcomes": {"ok": 39, "failed": 1}} for name in TWO}
    make(tmp_path, "b", tasks=failed, **index(10.0, "other"))
    board = json.loads(as_json(built(tmp_path)))["boards"][0]
    assert [entry["standing"] for entry in board["entries"]] == ["ranked", "not ranked"]
    assert [entry["index"] and entry["index"]["value"] for entry in board["entries"]] == [20, None]


def test_a_model_without_an_error_does_not_hide_which_tasks_separate_the_others(
    tmp_path: Path,
) -> None:
    for name, value in {"a": 20.0, "b": 50.0, "c": 80.0}.items():
        make(tmp_path, name, dict.fromkeys(TWO, value))
    bare = {"value": 50.0, "stderr": None, "low": None, "high": None, "n": 40}
    make(tmp_path, "bare", tasks={name: {"shown": bare} for name in TWO})
    tasks = json.loads(as_json(built(tmp_path)))["boards"][0]["tasks"]
    assert [task["separation"] is None for task in tasks] == [False, False]


# --- what is not ranked ------------------------------------------------------------------------


def test_of_two_runs_of_a_model_the_newer_counts_and_the_older_is_explained(tmp_path: Path) -> None:
    for name, day in (("new", 20), ("old", 10)):
        created = f"2026-11-{day}T00:00:00+00:00"
        write_result(tmp_path / name, model="org/m", shown=TWO, samples=False, created=created)
    site = built(tmp_path)
    assert [entry.day for entry in site.boards[0].ranked] == ["2026-11-20"]
    assert codes(site) == {"old": "duplicate_newer"}


def test_missing_tasks_and_failed_samples_stay_in_sight_without_a_rank(tmp_path: Path) -> None:
    make(tmp_path, "sound")
    make(tmp_path, "partial", {"ko_gpqa": 99.0})
    outcomes = {"ok": 38, "no_answer": 0, "truncated": 0, "wrong_language": 0, "failed": 2}
    make(tmp_path, "failing", dict.fromkeys(TWO, 99.0), tasks={"ko_gsm8k": {"outcomes": outcomes}})
    site = built(tmp_path)
    assert names(site) == ["org/sound"]
    assert {e.model for e in site.boards[0].entries} == {"org/sound", "org/partial", "org/failing"}
    assert codes(site) == {"partial": "missing_tasks", "failing": "failed"}


def test_an_older_sound_run_counts_before_a_newer_one_that_failed(tmp_path: Path) -> None:
    outcomes = {"ok": 38, "no_answer": 0, "truncated": 0, "wrong_language": 0, "failed": 2}
    day = "2026-10-01T00:00:00+00:00"
    write_result(tmp_path / "old", model="org/m", shown=TWO, samples=False, n=40, created=day)
    write_result(
        tmp_path / "new",
        model="org/m",
        shown=TWO,
        samples=False,
        n=40,
        tasks={"ko_gpqa": {"outcomes": outcomes}},
    )
    site = built(tmp_path)
    assert [e.run.path.rsplit("/")[-1] for e in site.boards[0].ranked] == ["old"]
    assert codes(site) == {"new": "duplicate_sounder"}


def test_other_weights_of_the_same_name_are_another_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        result = json.loads((make(tmp_path, name) / "results.json").read_text())
        result["model"]["name"] = "checkpoint"
        (tmp_path / name / "results.json").write_text(json.dumps(result))
    shown = names(built(tmp_path))
    assert len(set(shown)) == 2
    assert all(name.startswith("checkpoint @") for name in shown)


def test_each_run_found_is_ranked_or_explained(tmp_path: Path) -> None:
    for number in range(12):
        shown = TWO if number % 3 else {"ko_gpqa": 50.0}
        write_result(
            tmp_path / str(number), model=f"org/{number % 5}", shown=shown, samples=False, n=40
        )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    site = built(tmp_path)
    ranked = {e.run.path for board in site.boards for e in board.ranked}
    explained = {note.path for note in site.notes}
    assert ranked.isdisjoint(explained)
    assert len(ranked | explained) == 13


def test_every_note_has_words_in_both_languages(tmp_path: Path) -> None:
    words = [word for key, word in WORDS.items() if key.startswith("note_") and "_" in key]
    assert len(words) >= 14
    for word in words:
        places = {part.split("}")[0] for part in word.en.split("{")[1:]}
        assert {part.split("}")[0] for part in word.ko.split("{")[1:]} == places


# --- published rows, facts of models, exports --------------------------------------------------


def test_published_rows_stand_beside_the_board_and_are_never_ranked(tmp_path: Path) -> None:
    cards = list(all_cards().values())
    nine = next(card for card in cards if card.model.startswith("Saxo/"))
    metrics = {name: {"metric": score.metric} for name, score in nine.shown.items()}
    write_result(tmp_path / "m", model="org/m", label="private", samples=False, n=40, tasks=metrics)
    site = built(tmp_path, cards=cards)
    board = site.boards[0]
    rows = site.published[board.id]
    leader = rows[0]
    assert leader.card.model.startswith("Saxo/Linkbricks")
    assert leader.average == 51.37
    assert leader.scores["ko_gpqa"] == pytest.approx(25.25)
    assert [entry.model for entry in board.entries] == ["org/m"]
    told = json.loads(as_json(site))["boards"][0]["published_not_reproduced"]
    assert len(told) == len(rows) > 5


def test_facts_come_from_the_file_and_unknown_stays_unknown(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "org/a: {type: instruction, parameters: 7.6B, licence: mit, released: 2026-03,\n"
        "  price: {input_per_million: 1, output_per_million: 2}}\norg/lost: {}\n"
    )
    make(tmp_path / "runs", "a")
    make(tmp_path / "runs", "b")
    site, warnings = build([tmp_path / "runs"], title="T", facts=read_model_facts(file), cards=[])
    told = {e["model"]: e for e in json.loads(as_json(site))["boards"][0]["entries"]}
    assert told["org/a"]["parameters"] == 7.6e9
    assert told["org/a"]["released"] == "2026-03"
    assert told["org/a"]["cost"]["from"] == "models"
    # 120 tokens read and 30 written for each of 80 samples.
    assert told["org/a"]["cost"]["amount"] == pytest.approx((9600 + 2 * 2400) / 1e6)
    unknown = ("type", "parameters", "licence", "released", "cost")
    assert [told["org/b"][name] for name in unknown] == [None] * 5
    assert [text for text in warnings if "org/lost" in text] != []


@pytest.mark.parametrize(
    "text",
    [
        "org/a: {parameters: many}",
        "org/a: {parameters: -1}",
        "org/a: {released: soon}",
        "org/a: {link: 'javascript:alert(1)'}",
        "org/a: {size: 7}",
        "org/a: {price: {input_per_million: .inf, output_per_million: 1}}",
    ],
)
def test_a_wrong_fact_is_an_error_that_names_the_field(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(TaskError, match="where") as raised:
        read_model_facts(tmp_path / "m.yaml")
    assert "'org/a." in str(raised.value.where)
    assert "parameters, licence" in str(raised.value.hint)


def test_csv_holds_all_rows_and_no_formula(tmp_path: Path) -> None:
    write_result(tmp_path / "m", model="=HYPERLINK(1)", shown=TWO, samples=False, n=40)
    make(tmp_path, "b")
    out = tmp_path / "site"
    write_site(built(tmp_path), out)
    with (out / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"'=HYPERLINK(1)", "org/b"}
    assert float(rows["org/b"]["ko_gpqa"]) == 30.0
    assert float(rows["org/b"]["average"]) == 40.0


def test_the_same_runs_make_the_same_files(tmp_path: Path) -> None:
    make(tmp_path / "runs", "a")
    make(tmp_path / "runs", "b", {"ko_gpqa": 10.0})
    for name in ("one", "two"):
        write_site(built(tmp_path / "runs"), tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*"))
    assert len(files) > 12
    for file in files:
        if (tmp_path / "one" / file).is_file():
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


# --- hostile files -----------------------------------------------------------------------------


def test_no_name_becomes_markup_or_ends_a_script(tmp_path: Path) -> None:
    write_result(tmp_path / "runs" / "m", model=SCRIPT, shown=TWO, samples=False, warnings=[SCRIPT])
    write_result(tmp_path / "runs" / "n", model=SCRIPT, shown={"ko_gpqa": 9.0}, samples=False)
    write_site(built(tmp_path / "runs"), tmp_path / "site")
    texts = [f.read_text() for f in (tmp_path / "site").rglob("*") if f.suffix in (".html", ".js")]
    assert len(texts) > 10
    assert not any("<img src=x" in text or "<script>alert" in text for text in texts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", "NaN"),
        ("value", "1e999"),
        ("stderr", "-1"),
        ("value", "1e12"),
    ],
)
def test_impossible_scores_are_explained_and_not_shown(
    tmp_path: Path, field: str, value: str
) -> None:
    make(tmp_path, "sound")
    file = make(tmp_path, "bad") / "results.json"
    content = json.loads(file.read_text())
    content["tasks"][0]["shown"][field] = "@"
    file.write_text(json.dumps(content).replace('"@"', value))
    site = built(tmp_path)
    assert codes(site) == {"bad": "unreadable"}
    assert names(site) == ["org/sound"]


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "secret")
    runs = tmp_path / "runs"
    make(runs, "sound")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("pipe", "file-link"):
        (runs / name).mkdir()
    os.mkfifo(runs / "pipe" / "results.json")
    (runs / "file-link" / "results.json").symlink_to(tmp_path / "elsewhere/secret/results.json")
    site = built(runs)
    assert names(site) == ["org/sound"]
    assert codes(site) == {"pipe": "unreadable", "file-link": "unreadable"}


def test_a_folder_of_other_things_is_not_written_over(tmp_path: Path) -> None:
    make(tmp_path / "runs", "a")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "README.md").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        write_site(built(tmp_path / "runs"), tmp_path / "site")
    assert (tmp_path / "site" / "README.md").read_text() == "mine"


def test_a_smaller_site_leaves_no_shards_of_a_larger_one(tmp_path: Path) -> None:
    make(tmp_path / "runs", "a")
    write_site(built(tmp_path / "runs"), tmp_path / "site")
    (tmp_path / "site" / "data" / "7.js").write_text("old")
    write_site(built(tmp_path / "runs"), tmp_path / "site")
    assert [path.name for path in (tmp_path / "site" / "data").iterdir()] == ["0.js"]


# --- the command -------------------------------------------------------------------------------


def test_the_command_makes_a_site_from_a_real_run(here: Run, tmp_path: Path, tiny: Path) -> None:
    evaluate(RunOptions(model=str(tiny), tasks=("ko_gpqa",), limit=2, out=tmp_path / "runs"))
    done = here("leaderboard", tmp_path / "runs", "-o", tmp_path / "site", "--title", "Ours")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "site" / "index.html")
    content = json.loads((tmp_path / "site" / "leaderboard.json").read_text())
    assert [e["model"] for e in content["boards"][0]["entries"]] == [tiny.name]
    assert content["boards"][0]["limit"] == 2
    assert 'title: "Ours"' in (tmp_path / "site" / "README.md").read_text()
    assert str(tmp_path) not in "".join(
        f.read_text() for f in (tmp_path / "site").rglob("*") if f.is_file()
    )


def test_no_results_is_an_error_that_says_what_to_do(here: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = here("leaderboard", tmp_path / "empty", "-o", tmp_path / "site")
    assert (done.code, done.err.count("\n")) == (2, 2)
    assert "to do" in done.err


def test_neither_torch_nor_transformers_is_imported(tmp_path: Path) -> None:
    make(tmp_path / "runs", "a")
    make(tmp_path / "runs", "b", dict.fromkeys(TWO, 80.0))
    code = (
        "import sys; from ko_eval.cli.main import app\n"
        "try: app()\nfinally: print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "leaderboard", "runs", "-o", "site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
