"""A small evaluation in files of its own, and ways to change exactly one thing of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.runs.plan import RunOptions

_QUESTIONS = [
    ("대한민국의 수도는?", ["부산", "서울", "대구", "광주"], "B"),
    ("물의 화학식은?", ["H2O", "CO2", "NaCl", "O2"], "A"),
    ("한글을 만든 임금은?", ["태조", "영조", "정조", "세종"], "D"),
]
_SUMS = [("2 더하기 3은?", "5"), ("7 더하기 8은?", "15"), ("4 곱하기 6은?", "24")]


@dataclass(slots=True)
class Setup:
    """Everything of an evaluation, still to be changed.

    Attributes:
        rows, fewshot: by task; written to files of their own.
        definitions: by task, what its YAML file says.
        model: a folder.
        options: fields of `RunOptions`.
    """

    folder: Path
    model: Path
    rows: dict[str, list[dict[str, Any]]]
    fewshot: dict[str, list[dict[str, Any]]]
    definitions: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)

    def written(self) -> RunOptions:
        """Writes the files; gives the options of the run."""
        data = self.folder / "data"
        data.mkdir(parents=True)
        for name, definition in self.definitions.items():
            _lines(data / f"{name}.jsonl", self.rows[name])
            _lines(data / f"{name}.fewshot.jsonl", self.fewshot[name])
            text = yaml.safe_dump(definition, allow_unicode=True)
            (self.folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        plain = RunOptions(
            model=str(self.model),
            tasks=tuple(str(self.folder / f"{name}.yaml") for name in self.definitions),
            data=str(data),
            limit=2,
            out=self.folder / "out",
            load=LoadOptions(dtype="float32", device="cpu"),
        )
        return dataclasses.replace(plain, **self.options)


Change = Callable[[Setup, Mapping[str, Path]], None]


def plain_setup(folder: Path, model: Path) -> Setup:
    """A task of choices and one of sums, two rows each, two examples in front."""
    choices = [
        {"id": f"q{n}", "question": q, "choices": c, "answer": a}
        for n, (q, c, a) in enumerate(_QUESTIONS)
    ]
    sums = [{"id": f"s{n}", "question": q, "answer": f"#### {a}"} for n, (q, a) in enumerate(_SUMS)]
    examples = [{**row, "question": f"예: {row['question']}"} for row in choices]
    solved = [{**row, "question": f"예: {row['question']}"} for row in sums]
    fields = {"id": "id", "question": "question", "answer": "answer"}
    return Setup(
        folder=folder,
        model=model,
        rows={"capitals": choices, "sums": sums},
        fewshot={"capitals": examples, "sums": solved},
        definitions={
            "capitals": {
                "name": "capitals",
                "request": "loglikelihood",
                "columns": {**fields, "choices": "choices"},
                "prompt": "질문: {{ question }}\n답:",
                "choices": "{{ choices }}",
                "fewshot": {"count": 2},
                "scorer": "choice_likelihood",
                "metric": "acc",
            },
            "sums": {
                "name": "sums",
                "request": "generate",
                "columns": fields,
                "prompt": "질문: {{ question }}\n답:",
                "target": " {{ answer }}",
                "fewshot": {"count": 2},
                "stop": ["질문:"],
                "max_tokens": 4,
                "scorer": {"name": "gsm8k"},
            },
        },
    )


def _bos(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.model = models["bos"]


def _template(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.model = models["chat"]


def _weights(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.model = models["other"]


def _configuration(setup: Setup, models: Mapping[str, Path]) -> None:
    _changed_json(setup, "config.json", rms_norm_eps=1e-5)


def _quantized(setup: Setup, models: Mapping[str, Path]) -> None:
    _changed_json(setup, "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def _vocabulary(setup: Setup, models: Mapping[str, Path]) -> None:
    _copied(setup)
    path = setup.model / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")


def _thinking_marks(setup: Setup, models: Mapping[str, Path]) -> None:
    # The settings of EXAONE Deep are taken by the name.
    shutil.copytree(setup.model, setup.folder / "exaone-deep-tiny")
    setup.model = setup.folder / "exaone-deep-tiny"


def _option(**changes: Any) -> Change:
    def change(setup: Setup, models: Mapping[str, Path]) -> None:
        setup.options |= changes

    return change


def _of_sums(**changes: Any) -> Change:
    def change(setup: Setup, models: Mapping[str, Path]) -> None:
        setup.definitions["sums"] |= changes

    return change


def _of_capitals(**changes: Any) -> Change:
    def change(setup: Setup, models: Mapping[str, Path]) -> None:
        setup.definitions["capitals"] |= changes

    return change


def _row(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.rows["sums"][1]["question"] = "7 더하기 9는?"


def _gold_answer(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.rows["sums"][1]["answer"] = "#### 16"


def _row_order(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.rows["capitals"].reverse()


def _example(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.fewshot["sums"][0]["question"] = "예: 3 더하기 2는?"


def _example_order(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.fewshot["capitals"].reverse()


def _example_form(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.definitions["sums"]["fewshot"]["separator"] = "\n---\n"


def _columns(setup: Setup, models: Mapping[str, Path]) -> None:
    setup.definitions["sums"]["columns"] = {
        **setup.definitions["sums"]["columns"],
        "question": "question ~ ' '",
    }


# The layer that must be named, and the change.
MUTATIONS: dict[str, tuple[str, Change]] = {
    "BOS": ("bos", _bos),
    "chat template": ("template.text", _template),
    "use of the template": ("template.policy", _option(chat_template="off")),
    "weights": ("model.weights", _weights),
    "configuration": ("model.configuration", _configuration),
    "quantisation": ("model.quantization", _quantized),
    "vocabulary": ("model.tokenizer", _vocabulary),
    "marks of a thought": ("thinking.marks", _thinking_marks),
    "dtype": ("engine.dtype", _option(load=LoadOptions(dtype="bfloat16", device="cpu"))),
    "max length": ("max_length", _option(max_length=1900)),
    "seed": ("seed", _option(seed=1)),
    "data row": ("data.rows", _row),
    "gold answer": ("data.rows", _gold_answer),
    "data order": ("data.order", _row_order),
    "limit": ("data.limit", _option(limit=1)),
    "few-shot count": ("fewshot.count", _option(shots=1)),
    "few-shot example": ("fewshot.rows", _example),
    "few-shot order": ("fewshot.order", _example_order),
    "few-shot form": ("fewshot.form", _example_form),
    "prompt wording": ("prompt", _of_capitals(prompt="문제: {{ question }}\n답:")),
    "choice order": ("choice_order", _of_capitals(shuffle_choices=True)),
    "stop": ("stop", _of_sums(stop=["\n"])),
    "max tokens": ("max_tokens", _of_sums(max_tokens=5)),
    "temperature": ("sampling", _of_sums(temperature=0.5)),
    "scorer parameter": ("scorer", _of_sums(scorer={"name": "gsm8k", "reading": "korean"})),
    "leading metric": ("metric", _of_capitals(metric="acc_norm")),
    "scale": ("scale", _of_capitals(scale=1.0)),
    "columns": ("columns", _columns),
    "title": ("definition", _of_sums(title="덧셈")),
}


def _copied(setup: Setup) -> None:
    folder = setup.folder / setup.model.name
    shutil.copytree(setup.model, folder)
    setup.model = folder


def _changed_json(setup: Setup, name: str, **changes: Any) -> None:
    _copied(setup)
    path = setup.model / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
