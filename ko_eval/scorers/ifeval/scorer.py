"""`ifeval`: did the response follow the instructions that a program can check?

Strict reads the response as it is; loose forgives a preamble, a closing line and markdown stars.
Prompt level asks whether all instructions of a prompt were followed; instruction level pools the
instructions of all prompts (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language
Models"). `strict_acc`, the mean of the two strict levels, is what the board shows (inferred).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from unicodedata import normalize

from ko_eval.errors import DataError
from ko_eval.scorers.base import expect_text, failed_score, unanswered
from ko_eval.scorers.ifeval.english_sentences import splitter_name
from ko_eval.scorers.ifeval.registry import (
    SENTENCE_COUNT,
    Instruction,
    Language,
    read_instructions,
)
from ko_eval.stats.estimates import (
    metric_from_influence,
    ratio_influence,
    ratio_metric,
    share_metric,
    within,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ifeval:
    """Judges how instructions were followed.

    Attributes:
        language: `en` follows the reference; `ko` judges words, sentences, keywords, letters and
            the answer's language the Korean way (see `korean.py`).
    """

    language: Language = "en"

    kind: ClassVar[RequestKind] = RequestKind.GENERATE
    metrics: ClassVar[tuple[str, ...]] = (
        "strict_acc",
        "prompt_level_strict_acc",
        "inst_level_strict_acc",
        "prompt_level_loose_acc",
        "inst_level_loose_acc",
    )

    def check(self, sample: Sample) -> None:
        """Raise `DataError` for an unknown instruction or an argument that is missing or wrong."""
        read_instructions(sample, self.language)

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
        instructions = read_instructions(sample, self.language)
        nothing = [False] * len(instructions)
        if isinstance(response, FailedResponse):
            score = failed_score(sample, self.metrics, response)
            return replace(score, detail={**score.detail, "strict": nothing, "loose": nothing})
        answer = expect_text(sample, response)
        text = normalize("NFC", answer.text) if self.language == "ko" else answer.text
        if not text.strip():
            return self._judged(sample, nothing, nothing, unanswered(answer), instructions)
        strict = [instruction.check(text) for instruction in instructions]
        relaxed = loose_variants(text)
        loose = [
            followed or any(map(instruction.check, relaxed))
            for instruction, followed in zip(instructions, strict, strict=True)
        ]
        return self._judged(sample, strict, loose, Outcome.OK, instructions)

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        """Plain means over prompts, pooled means over instructions.

        A prompt is the independent unit of every standard error: instruction-level errors are
        those of a ratio clustered by prompt, and `strict_acc` adds the influence values of its two
        halves (delta method).
        """
        strict = [_verdicts(score, "strict") for score in scores]
        loose = [_verdicts(score, "loose") for score in scores]
        counts = [len(verdicts) for verdicts in strict]
        all_strict = [float(all(verdicts)) for verdicts in strict]
        strict_counts = [sum(verdicts) for verdicts in strict]
        prompt_level = share_metric(all_strict)
        pooled, influences = ratio_influence(strict_counts, counts)
        both = [
            (prompt - prompt_level.value + influence) / 2
            for prompt, influence in zip(all_strict, influences, strict=True)
        ]
        leading = metric_from_influence((prompt_level.value + pooled) / 2, both, n=len(scores))
        return {
            "strict_acc": within(leading, 0.0, 1.0),
            "prompt_level_strict_acc": prompt_level,
            "inst_level_strict_acc": ratio_metric(strict_counts, counts),
            "prompt_level_loose_acc": share_metric([float(all(verdicts)) for verdicts in loose]),
            "inst_level_loose_acc": ratio_metric([sum(verdicts) for verdicts in loose], counts),
        }

    def _judged(
        self,
        sample: Sample,
        strict: list[bool],
        loose: list[bool],
        outcome: Outcome,
        instructions: Sequence[Instruction],
    ) -> SampleScore:
        detail: dict[str, JsonValue] = {"strict": strict, "loose": loose}
        if any(instruction.id == SENTENCE_COUNT for instruction in instructions):
            detail["sentence_splitter"] = "rules" if self.language == "ko" else splitter_name()
        prompt_strict, prompt_loose = float(all(strict)), float(all(loose))
        inst_strict, inst_loose = sum(strict) / len(strict), sum(loose) / len(loose)
        return SampleScore(
            id=sample.id,
            metrics={
                "strict_acc": (prompt_strict + inst_strict) / 2,
                "prompt_level_strict_acc": prompt_strict,
                "inst_level_strict_acc": inst_strict,
                "prompt_level_loose_acc": prompt_loose,
                "inst_level_loose_acc": inst_loose,
            },
            extracted=None,
            outcome=outcome,
            detail=detail,
        )


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


def _verdicts(score: SampleScore, name: str) -> list[bool]:
    verdicts = score.detail.get(name)
    if not isinstance(verdicts, list | tuple) or not verdicts:
        raise DataError(f"the score of sample '{score.id}' holds no verdicts in '{name}'")
    return [bool(verdict) for verdict in verdicts]
