"""A scorer as a module of `evaluate`: what all the modules in `metrics/` share.

    import evaluate
    from ko_eval.interop.metric_list import METRIC_MODULES

    metric = evaluate.load(str(METRIC_MODULES["gsm8k"].path))
    metric.compute(predictions=["… #### 12"], references=["12"])

Offline, and exact: a module makes samples of the references and responses of the predictions, and
the scorer does the rest, as in `ko-eval score`. A reference that is an object may name its
`cluster`, such as the passage that it shares with others; standard errors are robust to it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import datasets
import evaluate

from ko_eval.errors import DataError
from ko_eval.interop.metric_list import METRIC_MODULES
from ko_eval.scorers.base import ChecksTogether
from ko_eval.scorers.cells import parsed_cell
from ko_eval.scorers.registry import create_scorer
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    JsonValue,
    LoglikelihoodResponse,
    Response,
    Sample,
)

# The scorer that reads its reference as it stands; it may look like JSON and be none.
_PLAIN_REFERENCES = {"gsm8k"}


class ScorerModule(evaluate.Metric):  # type: ignore[misc]
    """One scorer.

    Attributes:
        scorer: its name, which is the module's.
    """

    scorer: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        about = METRIC_MODULES[self.scorer]
        prediction: object = datasets.Value("string")
        if about.predictions == "loglikelihoods":
            prediction = datasets.Sequence(datasets.Value("float64"))
        options = "".join(f"\n    {name}: {value} by default" for name, value in _options(self))
        return evaluate.MetricInfo(
            description=about.title,
            citation="",
            inputs_description=f"\n\npredictions: {about.predictions}\n"
            f"references: {about.references}\noptions:{options or ' none'}\n",
            # References are passed on as text, so that each may hold what it needs.
            features=datasets.Features(
                {"predictions": prediction, "references": datasets.Value("string")}
            ),
        )

    def add_batch(
        self, *, predictions: object = None, references: object = None, **more: object
    ) -> None:
        """Adds predictions and references; see below for what they hold."""
        if isinstance(references, Sequence) and not isinstance(references, str):
            references = [_as_text(reference) for reference in references]
        super().add_batch(predictions=predictions, references=references, **more)

    def add(self, *, prediction: object = None, reference: object = None, **more: object) -> None:
        """Adds one prediction and its reference; see below for what they hold."""
        super().add(prediction=prediction, reference=_as_text(reference), **more)

    def _compute(
        self,
        predictions: Sequence[str | Sequence[float] | None],
        references: Sequence[str],
        **options: JsonValue,
    ) -> dict[str, float]:
        """Values and standard errors of all samples together.

        Raises:
            DataError: a reference or prediction is not what the scorer reads (its place is named).
            TaskError: an option is unknown, or cannot have that value.
        """
        about = METRIC_MODULES[self.scorer]
        scorer = create_scorer(self.scorer, {**about.options, **options})
        samples = [_sample(self.scorer, i, text) for i, text in enumerate(references)]
        for sample in samples:
            scorer.check(sample)
        if isinstance(scorer, ChecksTogether):
            scorer.check_together(samples)
        scores = [
            dataclasses.replace(
                scorer.score(sample, _response(prediction, sample)), cluster=sample.cluster
            )
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
        values: dict[str, float] = {}
        for name, metric in scorer.aggregate(scores).items():
            values[name] = metric.value
            if metric.stderr is not None:
                values[f"{name}_stderr"] = metric.stderr
        return values


def _options(module: ScorerModule) -> list[tuple[str, str]]:
    return list(METRIC_MODULES[module.scorer].options.items())


def _as_text(reference: object) -> str:
    """A reference as it is kept: text as it stands, anything else as JSON."""
    if isinstance(reference, str):
        return reference
    return json.dumps(reference, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    """Arrays and numbers of numpy and torch as Python's own."""
    to_list = getattr(value, "tolist", None)
    if to_list is None:
        raise TypeError(f"a reference cannot hold a {type(value).__name__}")
    return to_list()


def _sample(scorer: str, place: int, text: str) -> Sample:
    """The sample that a reference stands for; samples are named by their place, from 0."""
    name = str(place)
    if scorer in _PLAIN_REFERENCES:
        return Sample(name, {}, target=text)
    try:
        fields = parsed_cell(text)
    except ValueError as error:
        raise DataError(f"reference {place} cannot be read: {error}") from error
    if not isinstance(fields, Mapping):
        raise DataError(
            f"reference {place} must be an object",
            hint=f"give {METRIC_MODULES[scorer].references}",
        )
    if scorer == "eq_bench":
        # As it stands in the data's column of that name, or as a whole row.
        fields = {"reference_answer_fullscale": fields, **fields}
    choices, target, cluster = (fields.get(key) for key in ("choices", "answer", "cluster"))
    return Sample(
        name,
        fields,
        target=target if isinstance(target, int) and not isinstance(target, bool) else None,
        choices=tuple(map(str, choices)) if isinstance(choices, list) else (),
        cluster=None if cluster is None else str(cluster),
    )


def _response(prediction: str | Sequence[float] | None, sample: Sample) -> Response:
    if prediction is None:
        return FailedResponse("no prediction")
    if isinstance(prediction, str):
        return GenerateResponse(prediction)
    counts = sample.fields.get("token_counts")
    return LoglikelihoodResponse(
        tuple(map(float, prediction)),
        tuple(int(str(count)) for count in counts) if isinstance(counts, list) else (),
    )
