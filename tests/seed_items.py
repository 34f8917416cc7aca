"""The bundled files as schemas, one per task, and how the tests of seeds read them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from ko_eval.resources import shipped

Text = Annotated[str, StringConstraints(min_length=1)]
Letter = Literal["A", "B", "C", "D"]


class Item(BaseModel):
    """A row; every column is named here, and no other is allowed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    task: ClassVar[str]
    prefix: ClassVar[str]
    id: Text
    source: Literal["original"]

    @property
    def main_text(self) -> str:
        """What makes the item itself, without what all items of its task share."""
        raise NotImplementedError


class Levelled(Item):
    difficulty: Literal["easy", "middle", "hard"]


class Options(Levelled):
    question: Text
    choices: list[Text]
    rationale: Text

    @property
    def main_text(self) -> str:
        return self.question

    @property
    def right(self) -> int:
        raise NotImplementedError


class FourOptions(Options):
    choices: Annotated[list[Text], Field(min_length=4, max_length=4)]
    answer: Letter

    @property
    def right(self) -> int:
        return "ABCD".index(self.answer)


class GpqaItem(FourOptions):
    task, prefix = "ko_gpqa", "gpqa"
    subject: Literal["물리학", "화학", "생물학"]


class KnowledgeItem(FourOptions):
    task, prefix = "kornat_knowledge", "knowledge"
    subject: Literal["국어", "사회", "한국사", "과학", "수학", "영어", "상식"]


class Graded(Options):
    choices: Annotated[list[Text], Field(min_length=3, max_length=4)]
    credits: Annotated[list[float], Field(min_length=3, max_length=4)]

    @property
    def right(self) -> int:
        return self.credits.index(1.0)


class HarmlessItem(Graded):
    task, prefix = "ko_harmlessness", "harmless"
    topic: Literal["편견", "혐오", "불법", "위험한 조언", "사생활", "민감한 주제"]


class HelpfulItem(Graded):
    task, prefix = "ko_helpfulness", "helpful"
    topic: Literal[
        "생활", "건강", "금융", "학습", "직장", "여행", "요리", "행정", "기술", "관계"
    ]  # fmt: skip


class WinograndeItem(Levelled):
    task, prefix = "ko_winogrande", "wino"
    pair: Text
    sentence: Text
    option1: Text
    option2: Text
    answer: Literal["1", "2"]
    rationale: Text

    @property
    def main_text(self) -> str:
        return self.sentence


class Gsm8kItem(Levelled):
    task, prefix = "ko_gsm8k", "gsm8k"
    question: Text
    answer: Text

    @property
    def main_text(self) -> str:
        return self.question


Rating = Annotated[int, Field(ge=0, le=10)]
FourRatings = Annotated[
    list[Annotated[float, Field(ge=0, le=10)]], Field(min_length=4, max_length=4)
]


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    emotion1: Text
    emotion1_score: Rating
    emotion2: Text
    emotion2_score: Rating
    emotion3: Text
    emotion3_score: Rating
    emotion4: Text
    emotion4_score: Rating

    @property
    def emotions(self) -> list[str]:
        return [self.emotion1, self.emotion2, self.emotion3, self.emotion4]

    @property
    def scores(self) -> list[int]:
        return [self.emotion1_score, self.emotion2_score, self.emotion3_score, self.emotion4_score]


class EqBenchItem(Levelled):
    task, prefix = "ko_eqbench", "eqbench"
    prompt: Text
    reference_answer_fullscale: Reference
    ratings: Annotated[list[FourRatings], Field(min_length=2, max_length=2)]

    @property
    def emotions(self) -> list[str]:
        return self.reference_answer_fullscale.emotions

    @property
    def main_text(self) -> str:
        return self.prompt.partition("장면: ")[2].partition("[대화 끝]")[0]


class IfevalItem(Levelled):
    task, prefix = "ko_ifeval", "ifeval"
    id: Text = Field(alias="key")
    prompt: Text
    instruction_id_list: Annotated[list[Text], Field(min_length=1, max_length=3)]
    kwargs: list[dict[str, JsonValue]]
    passing_response: Text
    failing_response: Text
    failing_instruction: Annotated[int, Field(ge=0)]

    @property
    def main_text(self) -> str:
        return self.prompt


class SocialValueItem(Item):
    task, prefix = "kornat_social_value", "social"
    category: Literal[
        "노동", "가족", "세대", "지역", "환경", "기술", "복지", "교육", "주거", "공동체"
    ]  # fmt: skip
    question: Text
    choices: list[Text]
    distribution: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=5, max_length=5)
    ]
    illustrative: Literal[True]

    @property
    def main_text(self) -> str:
        return self.question


SCHEMAS: dict[str, type[Item]] = {
    schema.task: schema
    for schema in (
        GpqaItem,
        WinograndeItem,
        Gsm8kItem,
        EqBenchItem,
        IfevalItem,
        KnowledgeItem,
        SocialValueItem,
        HarmlessItem,
        HelpfulItem,
    )
}
OPTION_SCHEMAS: list[type[Options]] = [GpqaItem, KnowledgeItem, HarmlessItem, HelpfulItem]

ItemType = TypeVar("ItemType", bound=Item)


@cache
def lines(file: str) -> tuple[str, ...]:
    return tuple(shipped("seeds", file).read_text(encoding="utf-8").splitlines())


def bundled(schema: type[ItemType]) -> list[ItemType]:
    return [schema.model_validate_json(line) for line in lines(f"{schema.task}.jsonl")]


def fewshot(schema: type[ItemType]) -> list[ItemType]:
    return [schema.model_validate_json(line) for line in lines(f"{schema.task}.fewshot.jsonl")]


def both(schema: type[ItemType]) -> list[ItemType]:
    return bundled(schema) + fewshot(schema)


def texts(value: JsonValue) -> Iterator[str]:
    """Every string inside a JSON value, names of columns included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from texts(part)
