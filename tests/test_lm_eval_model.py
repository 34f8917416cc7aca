"""Our engine inside lm-evaluation-harness: it answers what the harness's own `hf` model answers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.engines.encoding import likelihood_key
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import DataError, ModelError, UsageError
from ko_eval.types import JsonValue, LoglikelihoodResponse

if TYPE_CHECKING:
    from ko_eval.interop.lm_eval_engine import EngineOptions
    from ko_eval.interop.lm_eval_model import KoEvalLM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"
    ),
]

QUESTION = "질문: 대한민국의 수도는 어디인가요?\n답:"
CHOICES = (" 서울", " 부산", " 서울특별시", " 대전광역시 유성구")
LONG = "한글은 세종이 만든 글자이다. 백성이 쉽게 배워 쓰게 하려는 뜻이었다. " * 12
PAIRS = (
    *((QUESTION, choice) for choice in CHOICES),
    *((context, " 비가 왔다.") for context in ("어제는 하루 종일", "<s>어제는 하루 종일")),
    ("띄어 쓴 문맥   ", "이어지는 말"),
    ("줄바꿈으로 끝난 문맥\n\n", "이어지는 말"),
    *(("", text) for text in ("문맥 없이 시작하는 글", "<s>문맥 없이 시작하는 글")),
    (LONG, " 그래서 널리 쓰인다."),
    (LONG, " 그래서 널리 쓰인다."),
)


def ours(model: Path, **arguments: Any) -> KoEvalLM:
    from ko_eval.interop.lm_eval_model import KoEvalLM

    return KoEvalLM(str(model), dtype="float32", device="cpu", **arguments)


def theirs(model: Path, **arguments: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(model), dtype="float32", device="cpu", batch_size=3, **arguments)


def asked(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=place)
        for place, each in enumerate(arguments)
    ]


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("tiny", {}),
        ("tiny_bos", {}),
        ("tiny_bos", {"add_bos_token": False}),
        ("tiny_bos", {"add_bos_token": True}),
        ("tiny", {"add_bos_token": True}),
        ("tiny", {"max_length": 24}),
        ("tiny_bos", {"max_length": 24}),
        ("tiny", {"prefix_token_id": 7}),
    ],
)
@pytest.mark.parametrize("likelihood", ["auto", "plain"])
def test_log_likelihoods_equal(
    model: str, arguments: dict[str, Any], likelihood: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(model)
    expected = theirs(folder, **arguments).loglikelihood(asked("loglikelihood", PAIRS))
    found = ours(folder, likelihood=likelihood, **arguments).loglikelihood(
        asked("loglikelihood", PAIRS)
    )
    assert [value for value, _ in found] == pytest.approx([v for v, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_what_greedy_search_writes_is_greedy_and_the_rest_is_not(tiny: Path) -> None:
    model, reference = ours(tiny), theirs(tiny)
    settings = {"until": [], "max_gen_toks": 6}
    (text,) = reference.generate_until(asked("generate_until", [(QUESTION, settings)]))
    whole, context = (model.tok_encode(part) for part in (QUESTION + text, QUESTION))
    assert whole[: len(context)] == context, "another question is needed: a token spans the border"
    requests = asked("loglikelihood", [(QUESTION, text), (QUESTION, text + " 서울")])
    found = [greedy for _, greedy in model.loglikelihood(requests)]
    assert found == [greedy for _, greedy in reference.loglikelihood(requests)]
    assert True in found
    assert False in found


def test_the_choices_of_a_question_share_the_tokens_of_its_context(tiny_bos: Path) -> None:
    from ko_eval.engines.encoding import load_tokenizer
    from ko_eval.engines.model_folder import resolve_model
    from ko_eval.interop.lm_eval_tokens import HarnessTokens

    tokens = HarnessTokens(load_tokenizer(resolve_model(str(tiny_bos))), None, None)
    first, *others = tokens.pairs([(QUESTION, choice) for choice in CHOICES])
    assert first.context[0] == tokens.prefix_token_id
    assert all(pair.context is first.context for pair in others)


def test_a_request_has_the_content_key_of_its_pairs() -> None:
    from ko_eval.interop.lm_eval_requests import encoded_loglikelihood

    pairs = [EncodedPair((1, 2, 3), (choice,)) for choice in (4, 5)]
    assert encoded_loglikelihood(pairs).key == likelihood_key(pairs)


@pytest.mark.parametrize("model", ["tiny", "tiny_bos"])
@pytest.mark.parametrize("max_length", [16, 37, 2048])
def test_rolling_log_likelihoods_equal(
    model: str, max_length: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(model)
    texts = asked("loglikelihood_rolling", [(LONG,), ("짧은 글",), (QUESTION,)])
    expected = theirs(folder, max_length=max_length).loglikelihood_rolling(texts)
    found = ours(folder, max_length=max_length).loglikelihood_rolling(texts)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("model", ["tiny", "tiny_bos"])
def test_generated_texts_equal(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    prompts = (QUESTION, LONG, "옛날 옛적에", "옛날 옛적에")
    settings: list[dict[str, Any]] = [
        {"until": ["\n", "다"], "max_gen_toks": 24, "do_sample": False, "temperature": 0.0},
        {"max_gen_toks": 8},
        {"until": "습", "max_new_tokens": 40, "num_beams": 1},
    ]
    requests = asked("generate_until", [(prompt, one) for prompt in prompts for one in settings])
    reference = theirs(folder, max_length=64)
    # One at a time: in a batch the reference goes on behind a stop text until all rows end.
    expected = [reference.generate_until([each])[0] for each in requests]
    found = ours(folder, max_length=64).generate_until(requests)
    assert found == expected
    assert any(found)


def test_a_sample_differs_from_the_next_and_can_be_repeated(tiny: Path) -> None:
    settings = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    requests = asked("generate_until", [("옛날 옛적에", settings)] * 3)
    first = ours(tiny).generate_until(requests)
    assert len(set(first)) == 3
    assert ours(tiny).generate_until(requests) == first
    assert ours(tiny, seed=1).generate_until(requests) != first


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_beams": 4}, "num_beams=4"),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
        ({"do_sample": True, "temperature": 0.7, "top_k": 50}, "top_k=50"),
        ({"max_length": 100}, "max_length=100"),
        ({"do_sample": True}, "temperature above 0"),
    ],
)
def test_what_our_engines_cannot_do_is_an_error(
    tiny: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        ours(tiny).generate_until(asked("generate_until", [("가", settings)]))


def test_a_scored_text_longer_than_the_window_is_an_error(tiny: Path) -> None:
    with pytest.raises(DataError, match="the window has 8"):
        ours(tiny, max_length=8).loglikelihood(asked("loglikelihood", [("가", LONG)]))


def test_a_scored_text_without_tokens_is_shown_with_its_context(tiny: Path) -> None:
    with pytest.raises(DataError, match="scored text has no tokens") as error:
        ours(tiny).loglikelihood(asked("loglikelihood", [("여기에", "")]))
    assert "여기에" in str(error.value)


def test_an_engine_that_does_not_tell_what_is_greedy_is_refused_unless_that_is_wanted(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ko_eval.engines.transformers_engine import TransformersEngine

    told = TransformersEngine.loglikelihood

    def silent(self: TransformersEngine, requests: Sequence[EncodedLoglikelihood]) -> Any:
        for answer in told(self, requests):
            assert isinstance(answer.response, LoglikelihoodResponse)
            response = dataclasses.replace(answer.response, greedy=())
            yield dataclasses.replace(answer, response=response)

    monkeypatch.setattr(TransformersEngine, "loglikelihood", silent)
    requests = asked("loglikelihood", PAIRS[:4])
    with pytest.raises(ModelError, match="greedy=optional"):
        ours(tiny).loglikelihood(requests)
    found = ours(tiny, greedy="optional").loglikelihood(requests)
    assert [greedy for _, greedy in found] == [False] * 4


def test_unknown_names_are_answered_with_the_known_ones(tiny: Path) -> None:
    with pytest.raises(UsageError, match="transformers"):
        ours(tiny, engine="transformer")
    with pytest.raises(UsageError, match="plain"):
        ours(tiny, likelihood="plan")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("pretrained=m,max_lenght=9", ("max_lenght", "did you mean 'max_length'")),
        ("pretrained=m,parallelize=True", ("parallelize", "device_map=auto")),
        ("pretrained=m,gpu_memory_utilization=0.8", ("gpu_memory_utilization", "memory_share=")),
        ("pretrained=m,device_map=cpus", ("unknown device map 'cpus'", "balanced")),
        ("dtype=float32", ("pretrained=",)),
    ],
)
def test_model_arguments_that_cannot_be_taken_are_named(
    arguments: str, parts: tuple[str, ...]
) -> None:
    from ko_eval.interop.lm_eval_model import KoEvalLM

    with pytest.raises(UsageError) as error:
        KoEvalLM.create_from_arg_string(arguments, {"batch_size": 1, "device": None})
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "device", "loaded"),
    [
        ({"engine": "vllm"}, "cuda:0", LoadOptions(device="auto")),
        ({"engine": "vllm"}, "cuda:1", LoadOptions(device="cuda:1")),
        ({}, "cuda:0", LoadOptions(device="cuda:0")),
        ({"device_map": "auto"}, "cuda:0", LoadOptions(device="cuda:0", device_map="auto")),
    ],
)
def test_a_gpu_that_the_command_line_asks_for_is_one_that_the_engine_takes(
    arguments: dict[str, Any], device: str, loaded: LoadOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, so only what would be loaded is looked at."""
    import torch

    from ko_eval.interop import lm_eval_model

    given = []

    def load(model: str, revision: str | None, options: EngineOptions, **more: object) -> None:
        given.append(options.load)
        raise ModelError("not loaded")

    monkeypatch.setattr(lm_eval_model, "load", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ModelError, match="not loaded"):
        lm_eval_model.KoEvalLM.create_from_arg_obj(
            {"pretrained": "m", **arguments}, {"device": device}
        )
    assert given == [loaded]


def test_the_chat_template_is_the_one_of_the_model(tiny_chat: Path) -> None:
    turns = [{"role": "system", "content": "짧게"}, {"role": "user", "content": "수도는?"}]
    model, reference = ours(tiny_chat), theirs(tiny_chat)
    assert model.apply_chat_template(turns) == reference.apply_chat_template(turns)
    assert model.tokenizer_name == reference.tokenizer_name
    assert model.chat_template(True) == reference.chat_template(True)
    filled = [*turns, {"role": "assistant", "content": "답은"}]
    assert model.apply_chat_template(filled, add_generation_prompt=False) == (
        reference.apply_chat_template(filled, add_generation_prompt=False)
    )


def test_a_template_that_refuses_the_system_turn_is_given_the_others(tiny_chat: Path) -> None:
    model = ours(tiny_chat)
    refusing = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}"
    model.tokenizer.chat_template = refusing + "{% endif %}{{ m.content }}{% endfor %}"
    turns = [{"role": "system", "content": "짧게"}, {"role": "user", "content": "수도는?"}]
    assert model.apply_chat_template(turns) == "수도는?"


def test_the_entry_point_names_the_model() -> None:
    """What versions of the harness that look for entry points do with ours."""
    from lm_eval.api.model import LM
    from lm_eval.api.registry import Registry

    project = Path(__file__).parents[1] / "pyproject.toml"
    ((name, value),) = _toml(project)["project"]["entry-points"]["lm_eval.models"].items()
    registry: Any = Registry("model", base_cls=LM)
    registry.register(name, target=EntryPoint(name, value, "lm_eval.models"))
    assert name == "ko-eval"
    assert registry.get(name).__name__ == "KoEvalLM"


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with a choice task, a generating task and a rolling task for the harness."""
    rows = [
        {
            "id": f"q{i}",
            "question": f"{i} 더하기 {i}는 얼마인가?",
            "choices": options,
            "right": i % 3,
        }
        for i, options in enumerate(
            [["둘", "셋", "열하나"], ["이", "사", "육"], ["팔", "칠", "구"]] * 2
        )
    ]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    folder = tmp_path / "tasks"
    folder.mkdir()
    shared: dict[str, JsonValue] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "c")},
        "test_split": "test",
        "fewshot_split": "test",
        "doc_to_text": "질문: {{question}}\n답:",
    }
    own: dict[str, dict[str, JsonValue]] = {
        "choosing": {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "right",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "writing": {
            "output_type": "generate_until",
            "doc_to_target": "{{choices[right]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16},
            "metric_list": [{"metric": "exact_match"}],
        },
        "reading": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{question}}",
            "metric_list": [{"metric": "word_perplexity"}],
        },
    }
    for name, each in own.items():
        text = yaml.safe_dump({"task": name, **shared, **each}, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


EVALUATE = """
import json, sys, lm_eval
from lm_eval.tasks import TaskManager
import ko_eval.interop.lm_eval_model
model, arguments, tasks, more = sys.argv[1:]
found = lm_eval.simple_evaluate(
    model=model, model_args=arguments, tasks=["choosing", "writing", "reading"], device="cpu",
    task_manager=TaskManager(include_path=tasks, include_defaults=False), **json.loads(more),
)
print(json.dumps({key: found[key] for key in ("results", "samples")}, default=str))
"""


def process(*command: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own: the harness seeds all generators and sets up logging."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def evaluated(model: str, folder: Path, tasks: Path, **more: Any) -> dict[str, Any]:
    """The harness's results and samples by task."""
    arguments = f"pretrained={folder},dtype=float32"
    finished = process("-c", EVALUATE, model, arguments, str(tasks), json.dumps(more))
    assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "more",
    [{}, {"apply_chat_template": True, "fewshot_as_multiturn": True, "num_fewshot": 2}],
    ids=["plain", "chat template"],
)
def test_results_and_samples_of_tasks_equal(
    tiny_chat: Path, tasks: Path, more: dict[str, Any]
) -> None:
    expected = evaluated("hf", tiny_chat, tasks, **more)
    found = evaluated("ko-eval", tiny_chat, tasks, **more)
    for task in ("choosing", "writing", "reading"):
        values = {k: v for k, v in expected["results"][task].items() if isinstance(v, float)}
        assert values
        assert {k: found["results"][task][k] for k in values} == pytest.approx(values, rel=1e-5)
        assert len(found["samples"][task]) == 6
        for one, wanted in zip(found["samples"][task], expected["samples"][task], strict=True):
            assert one["arguments"] == wanted["arguments"]
            if task == "choosing":
                for (value,), (wanted_value,) in zip(one["resps"], wanted["resps"], strict=True):
                    assert value[0] == pytest.approx(wanted_value[0], abs=1e-4)
                    assert value[1] == wanted_value[1]
            elif task == "writing":
                assert one["resps"] == wanted["resps"]


def test_the_command_line_runs_our_model_and_records_its_conditions(
    tiny: Path, tasks: Path, tmp_path: Path
) -> None:
    finished = process(
        *("-m", "ko_eval.interop.lm_eval_cli", "run", "--model", "ko-eval", "--log_samples"),
        *("--model_args", f"pretrained={tiny},dtype=float32,device=cpu", "--tasks", "choosing"),
        *("--include_path", str(tasks), "--output_path", str(tmp_path / "output")),
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr[-3000:]
    (results,) = (tmp_path / "output").rglob("results_*.json")
    config = json.loads(results.read_text(encoding="utf-8"))["config"]
    assert config["model"] == "ko-eval"
    assert config["ko_eval_conditions"]["engine"] == "transformers"
    (log,) = (tmp_path / "output").rglob("samples_choosing_*.jsonl")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 6


def test_the_command_line_says_what_is_wrong_without_a_traceback(tasks: Path) -> None:
    finished = process(
        *("-m", "ko_eval.interop.lm_eval_cli", "run", "--model", "ko-eval", "--tasks", "choosing"),
        *("--model_args", f"pretrained={tasks}", "--include_path", str(tasks)),
    )
    assert finished.returncode == 2
    assert "config.json" in finished.stderr
    assert "Traceback" not in finished.stderr
