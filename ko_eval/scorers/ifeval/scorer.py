"""`ifeval`: did the response follow the instructions that a program can check?

Strict reads the response as it is; loose forgives a preamble, a closing line and markdown stars.
Prompt level asks whether all instructions of a prompt were followed; instruction level pools the
instructions of all prompts (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language
Models"). `strict_acc`, the mean of the two strict levels, is what the board shows (inferred).

With `language: ko` the `_stock` metrics stand beside the strict ones: the same response, judged as
the English reference judges it. An instruction that the reference does not know, or whose arguments
it does not take, counts there as the Korean-aware check found it; so both sides cover the same
rows and instructions, and their difference is the format loss and nothing else.

A row that cannot be checked in full is refused. With `uncheckable: skip`, the instructions that
cannot be checked are left out; a row without any other has no metrics and is no part of a mean.
`uncheckable_share` says how many instructions were left out, and `detail` of each sample why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal
from unicodedata import normalize

from ko_eval.errors import DataError
from ko_eval.scorers.base import clusters, expect_text, unanswered
from ko_eval.scorers.ifeval.english_sentences import splitter_name
from ko_eval.scorers.ifeval.registry import SENTENCE_COUNT, Instruction, Language, Row, read_row
from ko_eval.stats.estimates import (
    bounded_metric,
    ratio_influence,
    ratio_metric,
    share_metric,
)
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    JsonValue,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)

_STRICT = ("strict_acc", "prompt_level_strict_acc", "inst_level_strict_acc")
_LOOSE = ("prompt_level_loose_acc", "inst_level_loose_acc")
_STOCK = tuple(f"{name}_stock" for name in _STRICT)
_LEFT_OUT = "uncheckable_share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ifeval:
    """Judges how instructions were followed.

    Attributes:
        language: `en` follows the reference; `ko` judges words, sentences, keywords, letters and
            the answer's language the Korean way (see `korean.py`), knows Korean types, and adds
            the reference's verdicts.
        uncheckable: what becomes of instructions that cannot be checked; see above.
    """

    language: Language = "en"
    uncheckable: Literal["refuse", "skip"] = "refuse"

    kind: ClassVar[RequestKind] = RequestKind.GENERATE

    @property
    def metrics(self) -> tuple[str, ...]:
        stock = _STOCK if self.language == "ko" else ()
        return (*_STRICT, *_LOOSE, *stock, *((_LEFT_OUT,) if self.uncheckable == "skip" else ()))

    def check(self, sample: Sample) -> None:
        """Raise `DataError` for an unknown instruction or an argument that is missing or wrong."""
        self._row(sample)

    def check_together(self, samples: Sequence[Sample]) -> None:
        """Raise `DataError` when no instruction of any row can be checked."""
        rows = [self._row(sample) for sample in samples]
        if rows and not any(row.checked for row in rows):
            raise DataError(
                f"none of the instructions of the {len(rows)} rows can be checked; the first: "
                f"{rows[0].left_out[0].what}",
                hint="`ko-eval doctor --task NAME --data PATH` lists every row with its reason",
            )

    def gold(self, sample: Sample) -> Response:
        """The field `passing_response`, which the bundled rows hold."""
        text = sample.fields.get("passing_response")
        if not isinstance(text, str):
            raise DataError(
                f"sample '{sample.id}' has no field 'passing_response'",
                hint="instructions have no single right answer; write one to test the scorer",
            )
        return GenerateResponse(text=text, finish_reason="stop")

    def score(self, sample: Sample, response: Response) -> SampleScore:
        """Judge every instruction; a failed or blank response follows none."""
        row = self._row(sample)
        nothing: list[bool] = [False] * len(row.checked)
        if isinstance(response, FailedResponse):
            verdicts = {"strict": nothing, "loose": nothing, "stock": nothing}
            return self._judged(sample, row, verdicts, Outcome.FAILED, {"reason": response.reason})
        answer = expect_text(sample, response)
        if not answer.text.strip():
            verdicts = {"strict": nothing, "loose": nothing, "stock": nothing}
            return self._judged(sample, row, verdicts, unanswered(answer), {})
        text = normalize("NFC", answer.text) if self.language == "ko" else answer.text
        strict = [instruction.check(text) for instruction in row.checked]
        verdicts = {
            "strict": strict,
            "loose": _loose(row.checked, text, strict),
            "stock": _stock(row.checked, answer.text, strict) if self.language == "ko" else nothing,
        }
        return self._judged(sample, row, verdicts, Outcome.OK, {})

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        """Plain means over prompts, pooled means over instructions.

        A prompt (or a cluster of prompts) is the independent unit of every standard error:
        instruction-level errors are those of a ratio of sums over prompts, and `strict_acc` adds
        the influence values of its two halves (delta method). Rows without a checkable instruction
        count in `uncheckable_share` alone, which is all there is where no row has one.
        """
        judged = [score for score in scores if _verdicts(score, "strict")]
        metrics: dict[str, Metric] = {}
        if judged or not scores:
            metrics |= _levels_and_mean(_STRICT, judged, "strict")
            prompt_level, instruction_level = _two_levels(judged, "loose")
            metrics |= dict(zip(_LOOSE, (prompt_level, instruction_level), strict=True))
            if self.language == "ko":
                metrics |= _levels_and_mean(_STOCK, judged, "stock")
        if self.uncheckable == "skip":
            left_out = [len(_listed(score, "uncheckable")) for score in scores]
            asked = [
                count + len(_verdicts(score, "strict"))
                for count, score in zip(left_out, scores, strict=True)
            ]
            metrics[_LEFT_OUT] = ratio_metric(left_out, asked, clusters(scores))
        return metrics

    def pseudo_values(self, metric: str, scores: Sequence[SampleScore]) -> Sequence[float] | None:
        """Of the two means of strict levels, which are no plain means over prompts."""
        reading = {_STRICT[0]: "strict", _STOCK[0]: "stock"}.get(metric)
        judged = [score for score in scores if _verdicts(score, "strict")]
        if reading is None or not judged:
            return None
        value, influences = _mean_of_levels([_verdicts(score, reading) for score in judged])
        return [value + influence for influence in influences]

    def _row(self, sample: Sample) -> Row:
        row = read_row(sample, self.language)
        if row.left_out and self.uncheckable == "refuse":
            raise row.left_out[0]
        return row

    def _judged(
        self,
        sample: Sample,
        row: Row,
        verdicts: Mapping[str, list[bool]],
        outcome: Outcome,
        detail: Mapping[str, JsonValue],
    ) -> SampleScore:
        kept = ("strict", "loose", "stock") if self.language == "ko" else ("strict", "loose")
        details: dict[str, JsonValue] = {**detail, **{name: verdicts[name] for name in kept}}
        if any(instruction.id == SENTENCE_COUNT for instruction in row.checked):
            details["sentence_splitter"] = "rules" if self.language == "ko" else splitter_name()
            if self.language == "ko":
                details["stock_sentence_splitter"] = splitter_name()
        if row.left_out:
            details["uncheckable"] = [error.what for error in row.left_out]
        metrics: dict[str, float] = {}
        if row.checked:
            metrics |= _sample_metrics(_STRICT, verdicts["strict"])
            metrics |= dict(zip(_LOOSE, _levels(verdicts["loose"]), strict=True))
            if self.language == "ko":
                metrics |= _sample_metrics(_STOCK, verdicts["stock"])
        if self.uncheckable == "skip":
            metrics[_LEFT_OUT] = len(row.left_out) / (len(row.left_out) + len(row.checked))
        return SampleScore(sample.id, metrics, None, outcome, details)


def _loose(instructions: Sequence[Instruction], text: str, strict: Sequence[bool]) -> list[bool]:
    """What follows strictly follows loosely; anything else is tried on the relaxed forms."""
    if all(strict):
        return list(strict)
    relaxed = loose_variants(text)
    return [
        followed or any(map(instruction.check, relaxed))
        for instruction, followed in zip(instructions, strict, strict=True)
    ]


def _stock(instructions: Sequence[Instruction], text: str, strict: Sequence[bool]) -> list[bool]:
    """The reference's strict verdicts, ours where it has none."""
    return [
        followed if instruction.stock is None else instruction.stock(text)
        for instruction, followed in zip(instructions, strict, strict=True)
    ]


def loose_variants(text: str) -> list[str]:
    """The relaxed forms of a response, blank ones and the response itself left out.

    The reference drops the first line, the last line or both, and reads each form with and without
    its stars (FACTS 3.6).
    """
    lines = text.split("\n")
    shortened = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    forms = [text, *shortened]
    variants = dict.fromkeys(forms + [form.replace("*", "") for form in forms])
    return [variant for variant in variants if variant.strip() and variant != text]


def _levels(verdicts: Sequence[bool]) -> tuple[float, float]:
    """Of one prompt: whether all instructions were followed, and the share that was."""
    return float(all(verdicts)), sum(verdicts) / len(verdicts)


def _sample_metrics(names: Sequence[str], verdicts: Sequence[bool]) -> dict[str, float]:
    prompt, instructions = _levels(verdicts)
    return dict(zip(names, ((prompt + instructions) / 2, prompt, instructions), strict=True))


def _levels_and_mean(
    names: Sequence[str], judged: Sequence[SampleScore], reading: str
) -> dict[str, Metric]:
    """The mean of the two levels, and each of them."""
    value, influences = _mean_of_levels([_verdicts(score, reading) for score in judged])
    mean = bounded_metric(value, influences, n=len(judged), clusters=clusters(judged))
    return dict(zip(names, (mean, *_two_levels(judged, reading)), strict=True))


def _two_levels(judged: Sequence[SampleScore], reading: str) -> tuple[Metric, Metric]:
    """The prompt level and the instruction level."""
    verdicts, together = [_verdicts(score, reading) for score in judged], clusters(judged)
    prompts = share_metric([float(all(prompt)) for prompt in verdicts], together)
    return prompts, ratio_metric(*_counts(verdicts), together)


def _mean_of_levels(verdicts: Sequence[list[bool]]) -> tuple[float, list[float]]:
    """The mean of the two levels, and the influence value of each prompt on it."""
    pooled, influences = ratio_influence(*_counts(verdicts))
    whole = [float(all(prompt)) for prompt in verdicts]
    prompt_level = sum(whole) / len(whole)
    both = [
        (prompt - prompt_level + influence) / 2
        for prompt, influence in zip(whole, influences, strict=True)
    ]
    return (prompt_level + pooled) / 2, both


def _counts(verdicts: Sequence[list[bool]]) -> tuple[list[int], list[int]]:
    """Per prompt: instructions followed, and instructions."""
    return [sum(prompt) for prompt in verdicts], [len(prompt) for prompt in verdicts]


def _verdicts(score: SampleScore, name: str) -> list[bool]:
    if name not in score.detail:
        raise DataError(f"the score of sample '{score.id}' holds no verdicts in '{name}'")
    return [bool(verdict) for verdict in _listed(score, name)]


def _listed(score: SampleScore, name: str) -> Sequence[JsonValue]:
    value = score.detail.get(name, ())
    if not isinstance(value, list | tuple):
        raise DataError(f"the score of sample '{score.id}' holds no list in '{name}'")
    return value
