"""Task files are parsed once: how deep a text can be nested is known without parsing it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ko_eval.resources import shipped
from ko_eval.yaml_files import _DEEPEST, _deepest_possible, _depth

LEAVES = st.none() | st.integers() | st.sampled_from(["가 나", "- a", "a: b", "[", "{{ x }}", "\n"])
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(value=NESTED, flow=st.sampled_from([True, False, None]), indent=st.integers(1, 4))
def test_no_text_is_deeper_than_it_may_be(value: object, flow: bool | None, indent: int) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, indent=indent, allow_unicode=True)
    assert _depth(text) <= _deepest_possible(text)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("a", 0),
        ("- - - a", 3),
        ("a:\n- b:\n  - c", 4),
        ("? - a\n: - b", 2),
        ("? - ? - a", 4),
        ("? a\n: - - b", 3),
        ("[[[{a: [b]}]]]", 5),
        ("- !!seq\n  - a", 2),
        ("- &x\n  - a\n- *x", 2),
        ("---\n- a", 1),
        *(("".join(" " * i + f"a:{br}" for i in range(600)), 600) for br in "\x85\u2028\u2029\n"),
    ],
)
def test_short_forms_of_nesting_are_counted(text: str, depth: int) -> None:
    assert _depth(text) == depth
    assert _deepest_possible(text) >= depth


def test_shipped_tasks_need_no_second_parse() -> None:
    files = list(shipped("tasks").glob("*.yaml"))
    assert len(files) > 40
    for file in files:
        assert _deepest_possible(file.read_text(encoding="utf-8")) <= _DEEPEST
