"""The metrics that come as modules for `evaluate`: what each one reads, and where it lies.

`evaluate` itself, which takes seconds to import, is only imported by the modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ko_eval.scorers.registry import create_scorer

METRICS_FOLDER = Path(__file__).resolve().parent / "metrics"
"""Where the modules are, each in a folder of its name."""


@dataclass(frozen=True, slots=True)
class MetricModule:
    """One module; it adapts the scorer of the same name.

    Attributes:
        predictions: generated texts, or one list of log-likelihoods per sample.
        references: what one reference holds, in words.
        options: parameters of the scorer that `compute` takes, with the value that a task of the
            board has.
    """

    name: str
    title: str
    predictions: Literal["text", "loglikelihoods"]
    references: str
    options: dict[str, str]

    @property
    def path(self) -> Path:
        """The folder to give to `evaluate.load`."""
        return METRICS_FOLDER / self.name

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `compute` gives, each with its standard error as `NAME_stderr`."""
        return create_scorer(self.name, self.options).metrics


_CHOICES = "{'choices': [texts], 'answer': index of the right one}"

METRIC_MODULES: dict[str, MetricModule] = {
    module.name: module
    for module in (
        MetricModule(
            "gsm8k",
            "Final number of a worked solution: as published (strict, flexible) and Korean-aware",
            "text",
            "the answer: '#### 12', a solution that ends so, or a number",
            {},
        ),
        MetricModule(
            "eq_bench",
            "Four emotion ratings against reference ratings (EQ-Bench v2)",
            "text",
            "{'emotion1': name, 'emotion1_score': rating, … 'emotion4_score'}, or the same as JSON",
            {"boundary": "<=5", "unparseable": "zero"},
        ),
        MetricModule(
            "ifeval",
            "Instructions that a program can check, judged the Korean way",
            "text",
            "{'instruction_id_list': [ids], 'kwargs': [arguments], 'prompt': text}",
            {"language": "ko", "uncheckable": "refuse"},
        ),
        MetricModule(
            "choice_likelihood",
            "Accuracy over choices by log-likelihood: plain and by length",
            "loglikelihoods",
            f"{_CHOICES}; for acc_tokens also 'token_counts'",
            {},
        ),
        MetricModule(
            "context_likelihood",
            "Accuracy over contexts by the log-likelihood of what follows (WinoGrande)",
            "loglikelihoods",
            _CHOICES,
            {},
        ),
        MetricModule(
            "choice_text",
            "The option that a Korean text names, by what it is worth",
            "text",
            f"{_CHOICES}; 'credits' or 'distribution' in place of 'answer' go with `worth`",
            {"worth": "answer"},
        ),
        MetricModule(
            "graded_choice",
            "Credit of the likeliest response (Ko-Harmlessness, Ko-Helpfulness)",
            "loglikelihoods",
            "{'choices': [texts], 'credits': [0 to 1 for each]}",
            {},
        ),
        MetricModule(
            "social_value",
            "How many people share the opinion that the model prefers (KorNAT)",
            "loglikelihoods",
            "{'choices': [five texts], 'distribution': [people or shares for each, or a letter]}",
            {"normalize": "none"},
        ),
    )
}
"""Every module by its name."""
