"""What others wrote is shown so that a terminal does not obey it, and without anybody's secrets."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from bounded_time import read_in_bounded_time
from hostile import Run, lines, refused, safe
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.cli.console import SafeConsole
from ko_eval.errors import KoEvalError, near_miss
from ko_eval.safe_text import one_line, redacted, visible

TOKEN = "hf_" + "aB3" * 12
KEY = "sk-proj-" + "x9Y" * 16


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m빨강\x1b[0m", "\\u001b[31m빨강\\u001b[0m"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("a\rb\x08c\x7f", "a\\u000db\\u0008c\\u007f"),
        (
            "\u202eabc\u202c\u2066\u2069\u200f\u061c",
            "\\u202eabc\\u202c\\u2066\\u2069\\u200f\\u061c",
        ),
        ("a\u200bb\ufeff\xad\u2060", "a\\u200bb\\ufeff\\u00ad\\u2060"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\u0085d"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\ud83d", "\\ud83d"),
        (
            "가\t나\n다 \U0001f468\u200d\U0001f469 é ½ 漢",
            "가\t나\n다 \U0001f468\u200d\U0001f469 é ½ 漢",
        ),
    ],
    ids=ascii,
)
def test_what_a_terminal_obeys_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_a_json_text_stays_json_with_the_same_content(text: str) -> None:
    shown = visible(json.dumps({"a": text}, ensure_ascii=False))
    shown.encode()
    assert json.loads(shown) == {"a": text}


@pytest.mark.parametrize(
    "unit", ["\x1b", "://", "hf_a", "sk-a", "?key=", "Bearer ", "&token", "a@"]
)
def test_long_texts_take_bounded_time(unit: str) -> None:
    assert read_in_bounded_time(one_line, lambda size: unit * (size // len(unit)), seconds=1)


def test_an_error_is_three_lines_whatever_it_quotes() -> None:
    quoted = "a\nerror: \x1b[2J" + "x" * 1_000_000
    shown = str(KoEvalError(f"'{quoted}' is wrong", where=quoted, hint=quoted))
    assert len(shown.splitlines()) == 3
    assert len(shown) < 7000
    assert shown.splitlines()[0].endswith("is wrong")
    assert "\x1b" not in shown


def test_names_of_any_length_are_compared_in_bounded_time() -> None:
    hint = near_miss("ab" * 500_000, ["ba" * 500_000, "abc"])
    assert "known: abc" in hint


def test_a_console_keeps_its_own_colours() -> None:
    from rich.text import Text

    written = io.StringIO()
    console = SafeConsole(file=written, force_terminal=True, color_system="standard", markup=False)
    console.print(Text("\x1b[2J\u202e", style="red"))
    assert written.getvalue() == "\x1b[31m\\u001b[2J\\u202e\x1b[0m\n"


# --- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {TOKEN}.", "token ***."),
        (f"{KEY}", "***"),
        ("https://user:pass@host/v1?a=b", "https://***@host/v1?a=b"),
        ("http://user@host", "http://***@host"),
        ("Authorization: Bearer abc.def-123==", "Authorization: Bearer ***"),
        ("x?X-Amz-Signature=abc&X-Amz-Date=1", "x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("x?api_key=abc#", "x?api_key=***"),
        ("https://host/@name and hf_model, sk-learn", "https://host/@name and hf_model, sk-learn"),
        ("https://host/x?revision=main", "https://host/x?revision=main"),
        ("답: a@b.kr", "답: a@b.kr"),
    ],
)
def test_secrets_are_left_out_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "OPENAI_API_KEY", "MY_SERVICE_SECRET", "DB_PASSWORD", "AWS_ACCESS_KEY"]
)
def test_the_value_of_a_variable_with_such_a_name_is_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "correct horse")
    assert redacted("it is 'correct horse'") == "it is '***'"


def test_a_variable_with_another_name_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONKEY", "correct horse")
    assert redacted("correct horse") == "correct horse"


def test_no_secret_is_in_an_error_a_prompt_or_a_record(
    here: Run, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a very secret value")
    row = {"id": "a", "question": f"x {TOKEN} a very secret value", "choices": ["1", "2"]}
    lines(tmp_path / "d.jsonl", row | {"answer": "A"}, row | {"id": "b", "answer": TOKEN})
    refused(here("show", "kornat_knowledge", "--data", "d.jsonl", "--sample", 2), "'***'")
    ended = here("show", "kornat_knowledge", "--data", "d.jsonl")
    safe(ended)
    assert "x *** ***" in ended.out
    command = ("run", tiny, "--tasks", "ko_gpqa", "--limit", 1, "--out", "a very secret value")
    assert here(*command).code == 0
    for name in ("run.json", "state.json"):
        (file,) = tmp_path.rglob(name)
        assert "very secret" not in file.read_text()


def test_what_a_library_logs_about_a_model_is_made_safe(
    here: Run, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    from ko_eval.engines.quick_import import import_transformers

    import_transformers()
    stream = io.StringIO()
    (handler,) = logging.getLogger("transformers").handlers[:1]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(stream)
    try:
        logging.getLogger("transformers.x").error("model %s %s", "\x1b[2J\u202e", TOKEN)
    finally:
        handler.setStream(before)
    assert "model \\u001b[2J\\u202e ***" in stream.getvalue()
