"""The report from result files: what it says, what it needs, how it is asked for."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import Run
from report_files import add_texts
from result_files import write_result

from ko_eval.errors import DataError
from ko_eval.reports.html.charts import Axis, Mark, Point, Row, bars, intervals, radar, scatter
from ko_eval.reports.html.pages import asset, json_block
from ko_eval.reports.html.words import Word, pair
from ko_eval.reports.page import report_page, write_report
from ko_eval.reports.page_data import packed_samples, read_runs
from ko_eval.reports.page_words import REPORT_WORDS
from ko_eval.runs.asked_files import asked_path, asked_task, read_asked
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.types import RequestKind

TASKS = ("ko_gpqa", "ko_winogrande", "ko_gsm8k")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> RunOptions:
    return RunOptions(
        model=str(tiny),
        tasks=TASKS,
        limit=3,
        chat_template="off",
        out=tmp_path_factory.mktemp("report"),
    )


@pytest.fixture(scope="module")
def finished(options: RunOptions) -> RunOutcome:
    """A real run of a likelihood task, one with a context per choice, and a generation task."""
    return evaluate(options)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A synthetic run of two tasks."""
    run = write_result(tmp_path / "made", shown={"ko_gsm8k": 40.0, "ko_gpqa": 25.0}, n=20)
    add_texts(run, "ko_gsm8k", thinking="먼저 더한다.")
    add_texts(run, "ko_gpqa", choices=("(A)", "(B)"))
    return run


# --- what was asked ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_what_was_asked_is_what_the_model_was_shown(
    options: RunOptions, finished: RunOutcome, task: str
) -> None:
    plan = plan_run(options)
    planned = next(each for each in plan.tasks if each.name == task)
    asked = read_asked(finished.directory, task)
    assert asked is not None and asked.header.request is planned.prepared.definition.request
    for encoded, sample in zip(planned.encoded, asked.samples, strict=True):
        texts = [
            "".join(
                turn.text for turn in (asked.header.heads[p.head] if p.head is not None else [])
            )
            + p.text
            for p in sample.prompts
        ]
        if asked.header.request is RequestKind.GENERATE:
            assert plan.tokenizer.decode(encoded.prompt) == texts[0]  # type: ignore[union-attr]
            continue
        for place, ids in enumerate(encoded.pairs):  # type: ignore[union-attr]
            context = texts[min(place, len(texts) - 1)]
            whole = plan.tokenizer(context + sample.continuations[place])["input_ids"]
            assert list(ids.context) == plan.tokenizer(context)["input_ids"]
            assert list(ids.continuation) == whole[len(ids.context) :]


def test_examples_in_front_are_held_once(finished: RunOutcome) -> None:
    asked = read_asked(finished.directory, "ko_gsm8k")
    assert asked is not None and len(asked.header.heads) == 1
    assert {sample.prompts[0].head for sample in asked.samples} == {0}
    content = asked_path(finished.directory, "ko_gsm8k").read_text(encoding="utf-8")
    assert content.count(asked.header.heads[0][0].text[:40]) == 1


def test_what_is_written_is_read_back(options: RunOptions, finished: RunOutcome) -> None:
    plan = plan_run(options)
    for task in plan.tasks:
        assert read_asked(finished.directory, task.name) == asked_task(task, plan.encoder)


def test_with_a_chat_template_the_filled_template_is_what_was_asked(
    tmp_path: Path, tiny_chat: Path
) -> None:
    done = evaluate(
        RunOptions(model=str(tiny_chat), tasks=("ko_gsm8k",), limit=1, shots=1, out=tmp_path)
    )
    asked = read_asked(done.directory, "ko_gsm8k")
    assert asked is not None and asked.header.template
    assert asked.header.heads[0][0].text.startswith("<|user|>\n질문: ")
    assert asked.samples[0].prompts[0].text.endswith("답:</s>\n<|assistant|>\n")


@pytest.mark.parametrize(
    ("line", "content"),
    [(1, "{"), (1, '{"asked_version": 2}'), (3, "[]"), (3, '{"id": "a"}')],
)
def test_a_damaged_line_is_named(made: Path, line: int, content: str) -> None:
    path = asked_path(made, "ko_gsm8k")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = content
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_asked(made, "ko_gsm8k")
    assert caught.value.where == f"{path}, line {line}"


def test_a_head_that_is_not_there_is_named(made: Path) -> None:
    path = asked_path(made, "ko_gsm8k")
    text = path.read_text(encoding="utf-8").replace('"head": 0', '"head": 7', 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="names a head"):
        read_asked(made, "ko_gsm8k")


# --- the page ----------------------------------------------------------------------------------


def test_the_page_shows_each_score_with_its_interval_and_label(finished: RunOutcome) -> None:
    page = report_page(read_runs([finished.directory]))
    for task in finished.result.tasks:
        assert task.title in page
        assert f"{task.shown.value:.2f}" in page
        assert f"{task.shown.low:.2f} – {task.shown.high:.2f}" in page
    assert page.count('<span class="label bundled">') >= len(TASKS)
    assert REPORT_WORDS["bundled_note"].ko in page


def test_the_page_asks_nothing_of_the_network(made: Path) -> None:
    page = report_page(read_runs([made]))
    assert not re.findall(r"""(?:src|href|action)=["'](?!#)""", page)
    assert "default-src 'none'" in html.unescape(page)


def test_the_samples_of_the_page_are_those_of_the_run(made: Path) -> None:
    packed = {task.name: task for task in packed_samples(read_runs([made]))}
    assert {name: task.count for name, task in packed.items()} == {"ko_gsm8k": 20, "ko_gpqa": 20}
    sample = unpacked(packed["ko_gsm8k"].blocks[0])[0]
    assert sample["runs"][0]["text"] == "셋에 넷을 더하면 일곱입니다. #### 7"
    assert sample["runs"][0]["thinking"] == "먼저 더한다."
    assert sample["asked"][0]["prompts"][0][2].startswith("질문: 사과")
    choices = unpacked(packed["ko_gpqa"].blocks[0])[0]
    assert choices["runs"][0]["loglikelihoods"] == [-10, -11]
    assert choices["asked"][0]["scored"] == ["(A)", "(B)"]


def test_a_prompt_that_two_runs_share_is_held_once(made: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other", model="other", shown={"ko_gsm8k": 60.0}, n=20)
    add_texts(other, "ko_gsm8k")
    packed = packed_samples(read_runs([made, other]))
    sample = unpacked(packed[0].blocks[0])[0]
    assert len(sample["asked"]) == 1
    assert [answer["asked"] for answer in sample["runs"]] == [0, 0]


def test_runs_of_other_rows_are_said_to_be_so(made: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other", model="other", shown={"ko_gsm8k": 60.0}, n=30)
    page = report_page(read_runs([made, other]))
    assert "Ko-GSM8K: the runs were asked different rows" in page
    assert "Ko-GSM8K: the runs were asked" not in report_page(read_runs([made]))


def test_samples_of_another_task_or_number_are_refused(made: Path) -> None:
    one, other = (made / "samples" / f"{name}.jsonl" for name in ("ko_gsm8k", "ko_gpqa"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="none has 'exact_match_strict'"):
        report_page(read_runs([made]))
    one.write_bytes(content.partition(b"\n")[2])
    with pytest.raises(DataError, match="19 in place of 20"):
        report_page(read_runs([made]))


def test_two_runs_of_one_model_are_told_apart(made: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other", shown={"ko_gsm8k": 40.0}, n=20)
    labels = [run.label for run in read_runs([made, other])]
    assert len(set(labels)) == 2 and all(label.startswith("org/model (") for label in labels)


def test_runs_that_are_equal_in_name_and_fingerprint_are_numbered(made: Path) -> None:
    labels = [run.label for run in read_runs([made, made])]
    assert [label.rpartition(" ")[2] for label in labels] == ["#1", "#2"]


def rows_of(page: str, caption: str) -> list[str]:
    """The rows of a table as text, the columns joined by a space."""
    table = page.partition(f'<caption id="{caption}">')[2].partition("</table>")[0]
    cells = [re.findall(r"<t[hd][ >].*?</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", table)]
    return [" ".join(re.sub("<[^>]+>", "", cell) for cell in row) for row in cells]


def test_runs_with_equal_scores_keep_their_own_names(tmp_path: Path) -> None:
    runs = [
        write_result(tmp_path / name, model=name, shown={"ko_gpqa": 40.0}, n=20, samples=False)
        for name in ("one", "two")
    ]
    page = report_page(read_runs(runs)).replace("\n", "")
    for caption in ("c-scores", "c-metrics", "c-outcomes"):
        named = [row for row in rows_of(page, caption) if "Ko-GPQA" in row]
        assert len(named) == 2 and " one " in named[0] and " two " in named[1], caption


def test_an_average_has_the_colour_of_its_run(tmp_path: Path) -> None:
    runs = [
        write_result(tmp_path / "a", model="a", samples=False, average=None),
        write_result(tmp_path / "b", model="b", samples=False),
    ]
    page = report_page(read_runs(runs)).replace("\n", "")
    rows = re.findall(r'<tr class="total">.*?</tr>', page.partition('id="c-scores"')[2])
    assert 'class="f1"' in rows[0] and "<bdi>b</bdi>" in rows[0]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_no_number_is_refused(here: Run, made: Path, number: str) -> None:
    file = made / "results.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["tasks"][0]["shown"]["value"] = "@"
    file.write_text(json.dumps(content).replace('"@"', number), encoding="utf-8")
    ended = here("report", made)
    assert ended.code == 2 and "tasks.0.shown.value" in ended.err and str(file) in ended.err


def test_a_report_with_private_items_says_so(here: Run, tmp_path: Path) -> None:
    run = write_result(tmp_path / "run", shown={"ko_gsm8k": 40.0}, n=5, label="private")
    note = str(pair(REPORT_WORDS["holds_items"]))
    ended = here("report", run)
    assert ended.code == 0 and "private" in ended.err and "--no-samples" in ended.err
    assert note in (run / "report.html").read_text(encoding="utf-8")
    ended = here("report", run, "--no-samples")
    assert (ended.code, ended.err) == (0, "")
    assert note not in (run / "report.html").read_text(encoding="utf-8")


def test_what_a_stranger_wrote_is_text_in_the_page(tmp_path: Path) -> None:
    attack = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u202e\x1b[31m'
    run = write_result(
        tmp_path / "run",
        model=attack,
        shown={"ko_gsm8k": 40.0},
        n=5,
        warnings=[attack],
        tasks={"ko_gsm8k": {"title": attack, "notes": [attack]}},
    )
    add_texts(run, "ko_gsm8k", response=attack)
    page = report_page(read_runs([run]))
    assert "<img" not in page and page.count("</script>") == page.count("<script")
    assert "\u202e" not in page and "\x1b" not in page
    assert "\\u202e" in page


def test_reports_need_neither_torch_nor_transformers(made: Path) -> None:
    code = (
        "import sys; from ko_eval.cli.main import main\n"
        f"sys.argv = ['ko-eval', 'report', {str(made)!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'scipy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- the command -------------------------------------------------------------------------------


def test_the_report_of_one_run_lies_in_it(here: Run, made: Path) -> None:
    ended = here("report", made)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip() == str(made / "report.html")
    assert (made / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_report_of_several_runs_lies_here(here: Run, made: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other", model="other", shown={"ko_gsm8k": 60.0}, n=20)
    ended = here("report", made, other / "results.json")
    assert (ended.code, ended.out) == (0, "report.html\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "org/model" in page and "other" in page


def test_samples_can_be_left_out(here: Run, made: Path, tmp_path: Path) -> None:
    assert here("report", made, "--no-samples", "-o", "a.html").code == 0
    assert "사과 셋에 넷을" not in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'id="task-0"' not in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert here("report", made, "-o", "b.html").code == 0
    assert 'id="task-0"' in (tmp_path / "b.html").read_text(encoding="utf-8")


def test_results_without_samples_have_a_report(here: Run, tmp_path: Path) -> None:
    run = write_result(tmp_path / "bare", shown={"ko_gsm8k": 40.0}, samples=False)
    ended = here("report", run)
    assert ended.code == 0 and "no per-sample files" in ended.err


def test_a_folder_as_the_file_is_refused(here: Run, made: Path, tmp_path: Path) -> None:
    ended = here("report", made, "-o", tmp_path)
    assert ended.code == 2 and "-o" in ended.err and "folder" in ended.err


def test_only_a_report_is_written_over(here: Run, made: Path, tmp_path: Path) -> None:
    results = (made / "results.json").read_bytes()
    ended = here("report", made, "-o", made / "results.json")
    assert ended.code == 2 and "not written over" in ended.err
    assert (made / "results.json").read_bytes() == results
    os.mkfifo(tmp_path / "pipe")
    assert here("report", made, "-o", tmp_path / "pipe").code == 2
    for _ in range(2):
        assert here("report", made, "-o", tmp_path / "a.html").code == 0


def test_more_runs_than_colours_are_refused(here: Run, made: Path) -> None:
    ended = here("report", *([made] * 9))
    assert ended.code == 2 and "leaderboard" in ended.err


def test_a_run_writes_its_report_and_stands_without(here: Run, tiny: Path) -> None:
    words = ("run", tiny, "--tasks", "ko_gpqa", "--limit", 2, "--likelihood", "plain")
    ended = here(*words)
    assert ended.code == 0, ended.err
    path = Path(ended.out.partition("Report: ")[2].splitlines()[0])
    assert path.is_file()
    path.unlink()
    path.mkdir()
    ended = here(*words)
    assert ended.code == 0 and "the report was not written" in ended.err
    assert "results.json" in ended.out and "Report:" not in ended.out


# --- words and charts --------------------------------------------------------------------------


def places(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("key", REPORT_WORDS)
def test_each_word_says_the_same_in_both_languages(key: str) -> None:
    word = REPORT_WORDS[key]
    assert word.en and word.ko and places(word.en) == places(word.ko)


def used_words() -> Iterator[str]:
    for name in ("base.html.j2", "report.html.j2"):
        text = asset(name)
        yield from re.findall(r"""\bt\("(\w+)"[,)]""", text)
        yield from re.findall(r"""labelled\("[\w-]+", "(\w+)\"""", text)
    yield from re.findall(r"""\b(?:word|heading|add)\("(\w+)"[,)]""", asset("report.js"))


def test_each_word_that_a_page_says_exists() -> None:
    used = set(used_words())
    assert len(used) > 60
    assert used <= REPORT_WORDS.keys()


def test_values_in_a_word_are_escaped() -> None:
    said = pair(Word("{task} <b>", "{task}"), task="<i>\u202e")
    assert "<i>" not in said and "<b>" not in said and "\\u202e" in said


def test_a_json_block_cannot_end_its_script() -> None:
    block = json_block({"a": "</script><!--\u2028&", "b": float("inf"), "c": "\ud800"})
    assert not set("<>&\u2028") & set(block)
    assert json.loads(block) == {"a": "</script><!--\u2028&", "b": None, "c": "\ud800"}


def test_charts_hold_text_as_text() -> None:
    rows = [Row("한국어 <b>", [Mark(40.0, 30.0, 50.0, text="40.00", name="tiny")])]
    for chart in (bars(rows, label="x"), intervals(rows, label="x", reference=0.0)):
        assert ">한국어 &lt;b&gt;</text>" in chart and "<title>tiny</title>" in chart
        assert 'role="img" aria-label="x"' in chart


def test_a_long_name_is_shortened_and_does_not_run_into_its_value() -> None:
    names = ("short", "HAE-RAE Bench, standard nomenclature", "긴 이름의 과제" * 9)
    rows = [Row(name, [Mark(40.0, 30.0, 50.0, text="40.00  [30.00, 50.00]")]) for name in names]
    chart = bars(rows, label="x")
    heights = [float(y) for y in re.findall(r'<text [^>]*y="([\d.]+)"', chart)]
    apart = [value - name for name, value in zip(heights[::2], heights[1::2], strict=True)]
    assert apart == [0.0, 18.0, 18.0]
    assert f"<title>{names[2]}</title>" in chart and f">{names[2]}</text>" not in chart


def test_a_bar_begins_at_zero_and_ends_at_its_value() -> None:
    chart = bars([Row("a", [Mark(25.0)]), Row("b", [Mark(-50.0)])], label="x", high=50.0)
    found = re.findall(r'class="f0" x="([\d.]+)%" width="([\d.]+)%"', chart)
    assert [(float(x), float(width)) for x, width in found] == [(50.0, 25.0), (0.0, 50.0)]


def test_a_radar_keeps_what_lies_outside_its_rings() -> None:
    chart = radar(["a", "b", "c"], [[-20.0, 120.0, None]], label="x")
    inside = re.findall(r'<circle class="dot f0" cx="([\d.]+)" cy="([\d.]+)"', chart)
    assert inside[0] == ("210.0", "155.0") and len(inside) == 2


def test_a_scatter_joins_the_frontier_from_left_to_right() -> None:
    points = [Point(100, 3, frontier=True), Point(1, 1, frontier=True), Point(10, 0)]
    chart = scatter(points, x=Axis("cost", logarithmic=True), y=Axis("score"), label="x")
    lines = re.findall(r'class="frontier" x1="([\d.]+)%" y1="[\d.]+" x2="([\d.]+)%"', chart)
    assert lines == [("0.000", "100.000")]


def unpacked(content: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(content)))


def test_the_same_runs_make_the_same_page(made: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(read_runs([made]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
