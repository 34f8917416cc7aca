"""The gate: a candidate keeps to a policy, does not, or it is not shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hostile
import pytest
import yaml
from result_files import write_result

from ko_eval.errors import UsageError
from ko_eval.reports.compared_runs import read_run
from ko_eval.reports.comparison import compare_runs
from ko_eval.reports.gate import GateResult, Policy, judge, read_policy
from ko_eval.resources import shipped


def judged(
    tmp_path: Path, rules: list[dict[str, Any]], a: float, b: float, *, n: int = 400, **more: Any
) -> GateResult:
    """One task, with scores `a` and `b` of so many items."""
    runs = [
        read_run(write_result(tmp_path / name, model=name, shown={"ko_gpqa": shown}, n=n, **more))
        for name, shown in (("a", a), ("b", b))
    ]
    return judge(Policy.model_validate({"rules": rules}), compare_runs(runs))


@pytest.mark.parametrize(
    ("a", "b", "n", "ruling", "code"),
    [
        (50.0, 55.0, 400, "passed", 0),
        (50.0, 50.0, 4000, "passed", 0),
        (50.0, 30.0, 400, "failed", 1),
        (50.0, 50.0, 20, "inconclusive", 3),
        (50.0, 47.0, 400, "inconclusive", 3),
    ],
)
def test_a_bound_on_the_difference_is_held_against_the_interval(
    a: float, b: float, n: int, ruling: str, code: int, tmp_path: Path
) -> None:
    result = judged(tmp_path, [{"task": "ko_gpqa", "difference_at_least": -3}], a, b, n=n)
    assert (result.ruling, result.exit_code) == (ruling, code)


@pytest.mark.parametrize(
    ("bound", "ruling"), [(40, "passed"), (70, "failed"), (51, "inconclusive")]
)
def test_a_bound_on_the_score_is_held_against_its_interval(
    bound: float, ruling: str, tmp_path: Path
) -> None:
    rules = [{"task": "average", "score_at_least": bound}]
    assert judged(tmp_path, rules, 20.0, 50.0).ruling == ruling


@pytest.mark.parametrize(("failed", "ruling"), [(0, "passed"), (4, "passed"), (5, "failed")])
def test_failed_samples_are_counted(failed: int, ruling: str, tmp_path: Path) -> None:
    outcomes = {"ok": 400 - failed, "failed": failed}
    changes = {"ko_gpqa": {"outcomes": outcomes}}
    rules = [{"task": "*", "failed_percent_at_most": 1}]
    assert judged(tmp_path, rules, 50.0, 50.0, tasks=changes).ruling == ruling


def test_what_a_candidate_lacks_is_not_shown_to_hold(tmp_path: Path) -> None:
    """A candidate with the best of two tasks alone does not pass for both."""
    both = read_run(write_result(tmp_path / "a", shown={"ko_gpqa": 50.0, "ko_gsm8k": 50.0}))
    one = read_run(write_result(tmp_path / "b", shown={"ko_gpqa": 90.0}))
    for task in ("*", "average"):
        rules = [{"task": task, "difference_at_least": -5}]
        policy = Policy.model_validate({"rules": rules})
        result = judge(policy, compare_runs([both, one]))
        assert result.ruling == "inconclusive"
        assert [one.task for one in result.judged if one.ruling != "passed"] == ["ko_gsm8k"]
        assert judge(policy, compare_runs([both, one], tasks=["ko_gpqa"])).ruling == "passed"
        assert judge(policy, compare_runs([one, both])).ruling != "passed"


def test_failures_that_nothing_tells_of_are_not_called_none(tmp_path: Path) -> None:
    runs = [
        read_run(write_result(tmp_path / name, model=name, shown={"ko_gpqa": 50.0}))
        for name in ("a", "b")
    ]
    task = dataclasses.replace(runs[1].tasks["ko_gpqa"], failed=None)
    runs[1] = dataclasses.replace(runs[1], tasks={"ko_gpqa": task})
    policy = Policy.model_validate({"rules": [{"task": "*", "failed_percent_at_most": 1}]})
    assert judge(policy, compare_runs(runs)).ruling == "inconclusive"


def test_one_failed_rule_fails_the_gate_and_one_open_rule_leaves_it_open(tmp_path: Path) -> None:
    holds = {"task": "ko_gpqa", "difference_at_least": -30}
    open_ = {"task": "ko_gpqa", "difference_at_least": 0}
    broken = {"task": "ko_gpqa", "difference_at_least": 40}
    assert judged(tmp_path, [holds], 50.0, 51.0).ruling == "passed"
    assert judged(tmp_path, [holds, open_], 50.0, 51.0).ruling == "inconclusive"
    assert judged(tmp_path, [holds, open_, broken], 50.0, 51.0).ruling == "failed"


def test_many_rules_fail_no_oftener_by_chance(tmp_path: Path) -> None:
    """A difference that fails alone, at 2.5 %, does not among twenty rules."""
    rule = {"task": "ko_gpqa", "difference_at_least": 0}
    filler = [{"task": "ko_gpqa", "difference_at_least": -90}] * 19
    for b in (44.0, 43.0, 42.0, 41.0):
        alone = judged(tmp_path, [rule], 50.0, b, n=300)
        if alone.ruling == "failed":
            break
    else:
        pytest.fail("no difference was found that fails alone")
    assert judged(tmp_path, [rule, *filler], 50.0, b, n=300).ruling == "inconclusive"


def test_every_candidate_must_pass(tmp_path: Path) -> None:
    runs = [
        read_run(write_result(tmp_path / name, model=name, shown={"ko_gpqa": shown}, n=400))
        for name, shown in (("a", 50.0), ("b", 60.0), ("c", 20.0))
    ]
    policy = Policy.model_validate({"rules": [{"task": "*", "difference_at_least": -5}]})
    result = judge(policy, compare_runs(runs))
    assert [one.ruling for one in result.judged] == ["passed", "failed"]
    assert result.ruling == "failed"


def test_the_shipped_example_is_a_policy() -> None:
    policy = read_policy(shipped("configs", "gates", "example.yaml"))
    assert len(policy.rules) == 4


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"rules": []}, "rules"),
        ({"rules": [{"task": "*"}]}, "exactly one of"),
        ({"rules": [{"task": "*", "difference_at_least": 1, "score_at_least": 1}]}, "exactly one"),
        ({"rules": [{"task": "*", "diference_at_least": 1}]}, "diference_at_least"),
        ({"rules": [{"task": "*", "difference_at_least": ".nan"}]}, "difference_at_least"),
        ({"rules": [{"task": "average", "failed_percent_at_most": 1}]}, "write task: '*'"),
        ([1], "mapping"),
    ],
)
def test_a_wrong_policy_is_named_with_its_field(content: Any, what: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        read_policy(path)
    assert what in str(error.value)


def test_a_rule_of_a_task_that_was_not_compared_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'ko_gsm8k', which was not compared"):
        judged(tmp_path, [{"task": "ko_gsm8k", "difference_at_least": 0}], 50.0, 50.0)


@pytest.mark.parametrize(
    ("shown", "code"), [((50.0, 60.0), 0), ((60.0, 20.0), 1), ((50.0, 49.0), 3)]
)
def test_the_command_exits_by_the_policy(
    shown: tuple[float, float], code: int, tmp_path: Path, here: hostile.Run
) -> None:
    policy: Mapping[str, Any] = {
        "name": "release",
        "rules": [{"task": "ko_gpqa", "difference_at_least": -2}],
    }
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    for name, value in zip("ab", shown, strict=True):
        write_result(tmp_path / name, model=name, shown={"ko_gpqa": value}, n=300)
    ended = here("compare", "a", "b", "--gate", "gate.yaml")
    assert ended.code == code
    assert "gate 'release': " in ended.out
    content = json.loads(here("compare", "a", "b", "--gate", "gate.yaml", "--json").out)
    assert content["gate"]["exit_code"] == code


def test_runs_that_cannot_be_compared_pass_no_gate(tmp_path: Path, here: hostile.Run) -> None:
    write_result(tmp_path / "a", model="a", shown={"ko_gpqa": 50.0})
    write_result(tmp_path / "b", model="b", shown={"ko_gpqa": 90.0}, n=120)
    ended = here("compare", "a", "b", "--gate", shipped("configs", "gates", "example.yaml"))
    assert ended.code == 2
    assert "(data.order)" in ended.err
