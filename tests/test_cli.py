"""What the commands print, where, and how quickly they say hello."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "datasets", "numpy", "pydantic", "yaml", "jinja2", "rich.table")


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ko_eval.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("run", "list", "show", "score"):
        assert f"\n  {command}" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_imports_no_other_command() -> None:
    code = (
        "import sys\nfrom ko_eval.cli.main import app\n"
        "try:\n    app(['list', 'suites'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.endswith('_command')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "leaderboard2" in done.stdout
    assert done.stdout.splitlines()[-1] == "['ko_eval.cli.list_command']"


def test_a_command_that_is_almost_named_is_offered(ko_eval_afresh: Command) -> None:
    done = ko_eval_afresh("lst")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'lst'. Did you mean 'list'?" in done.stderr


def test_version(ko_eval_afresh: Command) -> None:
    from ko_eval import __version__

    assert ko_eval_afresh("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("tasks", "Ko-Harmlessness"),
        ("suites", "leaderboard2"),
        ("models", "default"),
        ("cards", "51.37"),
    ],
)
def test_list(ko_eval_afresh: Command, what: str, part: str) -> None:
    done = ko_eval_afresh("list", what)
    assert done.returncode == 0
    assert part in done.stdout
    assert done.stderr == ""


def test_list_of_something_else(ko_eval_afresh: Command) -> None:
    done = ko_eval_afresh("list", "task")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'tasks'" in done.stderr


@pytest.mark.parametrize(
    ("what", "file", "text", "wrong"),
    [
        ("tasks", "tasks/click.yaml", "name: [", "the file is not valid YAML"),
        ("tasks", "tasks/click.yaml", "name: a\nname: a\n", "the file is not valid YAML: the key"),
        ("tasks", "tasks/click.yaml", "name: click\n", "field required (and 2 more)"),
        ("suites", "configs/suites/ko-index.yaml", "name: a\ntask: [b]\n", "field required (and"),
    ],
)
def test_list_tells_what_is_wrong_in_a_definition(
    tmp_path: Path, what: str, file: str, text: str, wrong: str
) -> None:
    for folder in ("ko_eval", "tasks", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / file).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ko_eval.cli.main", "list", what],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {wrong}")
    assert str(tmp_path / file) in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_show_marks_the_right_answer_and_the_border_of_the_context(
    ko_eval: Command, tiny: Path
) -> None:
    done = ko_eval("show", "kornat_knowledge", "--sample", 2, "--model", tiny)
    assert done.returncode == 0
    marked = [line for line in done.stdout.splitlines() if line.startswith("* ")]
    assert len(marked) == 1
    assert done.stdout.count("‖") == 4
    assert "without chat template" in done.stdout


def test_show_of_a_chat_prompt(ko_eval: Command, tiny_chat: Path) -> None:
    done = ko_eval("show", "ko_gsm8k", "--shots", 0, "--model", tiny_chat)
    assert "with chat template" in done.stdout
    assert "'<'" in done.stdout or "'<|'" in done.stdout
    assert "--- expected ---" in done.stdout


def gold_responses(path: Path) -> Path:
    from ko_eval.tasks.prepare import prepare_task
    from ko_eval.tasks.registry import load_task

    task = prepare_task(load_task("ko_gsm8k"))
    rows = [{"id": s.id, "response": f"답은 {s.target}"} for s in task.samples]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return path


def test_score_prints_one_json_object_and_a_line_per_sample(
    ko_eval_afresh: Command, tmp_path: Path
) -> None:
    responses = gold_responses(tmp_path / "r.jsonl")
    done = ko_eval_afresh(
        "score", "ko_gsm8k", "--responses", responses, "--json", "--samples-out", "s.jsonl"
    )
    result = json.loads(done.stdout)
    assert (result["task"], result["n"]) == ("ko_gsm8k", 62)
    assert result["metrics"]["exact_match_strict"]["value"] == 1.0
    assert result["metrics"]["exact_match_strict"]["stderr"] == 0.0
    assert result["outcomes"]["ok"] == sum(result["outcomes"].values()) == 62
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert len(lines) == 62
    assert set(lines[0]) == {
        *("id", "metrics", "extracted", "outcome", "detail", "cluster", "group"),
    }


def test_score_prints_a_table_for_people(ko_eval: Command, tmp_path: Path) -> None:
    done = ko_eval("score", "ko_gsm8k", "--responses", gold_responses(tmp_path / "r.jsonl"))
    assert "exact_match_flexible" in done.stdout
    assert "Outcomes: ok 62" in done.stdout
    assert "not comparable with the leaderboard" in done.stdout


def test_show_names_what_each_choice_is_worth(ko_eval: Command) -> None:
    credit = ko_eval("show", "ko_harmlessness").stdout
    assert "credit first" in credit
    assert "\n1.00 " in credit
    assert "share first" in ko_eval("show", "kornat_social_value").stdout


def test_run_prints_its_table_on_stdout_and_the_rest_on_stderr(
    ko_eval: Command, tiny: Path
) -> None:
    done = ko_eval("run", tiny, "--tasks", "kornat_social_value,ko_gpqa", "--limit", 3)
    assert done.returncode == 0
    assert "Average of 2" in done.stdout
    assert "not comparable with the leaderboard" in done.stdout
    assert "illustrative" in done.stdout
    assert done.stderr == ""  # no terminal, no progress


def test_consoles_print_a_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from ko_eval.cli.console import stderr_console, stdout_console

    for console in (stdout_console(), stderr_console()):
        console.print("[b]가[/b] :star: 1")
    assert capsys.readouterr() == ("[b]가[/b] :star: 1\n",) * 2


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m ko_eval.cli.main list tasks | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_public_task_is_shown_with_example_rows(ko_eval_afresh: Command) -> None:
    done = ko_eval_afresh("show", "kmmlu", "--shots", "0")
    assert done.returncode == 0, done.stderr
    assert "written for ko-eval as examples; --data hub reads the benchmark's own" in done.stdout
    assert "of kmmlu.jsonl (example)" in done.stdout
