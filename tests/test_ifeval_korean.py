"""Korean instruction types, rows that cannot be checked, the reference's verdicts beside ours."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from bounded_time import read_in_bounded_time
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import DataError
from ko_eval.scorers.ifeval import Ifeval, contradictions, uncheckable
from ko_eval.scorers.ifeval.korean_numbers import native_words, sino_word
from ko_eval.scorers.ifeval.korean_only import UNDECIDABLE
from ko_eval.scorers.ifeval.languages import detected_language
from ko_eval.scorers.ifeval.registry import CHECKERS, KOREAN_ONLY, Language, read_row
from ko_eval.types import FailedResponse, GenerateResponse, JsonValue, Outcome, Sample, SampleScore

SEEDS = Path(__file__).parents[1] / "seeds"
Arguments = dict[str, JsonValue]
Case = tuple[str, Arguments, str | None, str, bool]


def sample(
    ids: list[str], kwargs: list[Arguments], prompt: str | None = None, name: str = "7"
) -> Sample:
    fields: dict[str, JsonValue] = {"instruction_id_list": ids, "kwargs": kwargs}
    return Sample(name, fields if prompt is None else {**fields, "prompt": prompt})


def test_rows_of_which_nothing_can_be_checked_are_refused_before_a_model_is_asked() -> None:
    lost = sample(["Korean:postposition_drop"], [{}])
    sound = sample(["punctuation:no_comma"], [{}], name="8")
    scorer = Ifeval(language="ko", uncheckable="skip")
    with pytest.raises(DataError, match="none of the instructions of the 2 rows can be checked"):
        scorer.check_together([lost, lost])
    scorer.check_together([lost, sound])


def followed(row: Sample, text: str) -> JsonValue:
    return Ifeval(language="ko").score(row, GenerateResponse(text=text)).detail["strict"]


LETTERS, EXCLUDED = "length_constraints:number_letters", "length_constraints:number_letter_excluded"
ACROSTIC, LEVEL, NUMBERS = "Korean:acrostic_poem", "Korean:honorifics", "Korean:numbers"
FIVE: Arguments = {"num_letters": 5, "relation": "이하"}
SPRING: Arguments = {"target_word": "봄비"}
POLITE: Arguments = {"direction_to": "honorific"}
CASUAL: Arguments = {"direction_to": "non-honorific"}
SINO: Arguments = {"direction_to": "chinese"}
NATIVE: Arguments = {"direction_to": "korean"}
REWRITE = "다음 문장을 존댓말로 고치세요. '숙제 다 했어? 그럼 나가서 놀자.'"
TWO_COUNTS = "숫자를 한자어로 고치세요. '표 두 장과 물 스물다섯 병을 샀다.'"
DAYS = "숫자를 순우리말로 고치세요. '이 일은 삼 일 걸리고 십이 명이 필요하다.'"
LONE = "숫자를 한자어로 고치세요. '접시 하나, 컵 여섯.'"

CASES: list[Case] = [
    (LETTERS, FIVE, None, "가 나 다", True),
    (LETTERS, FIVE, None, " 가나\n다라마 ", True),
    (LETTERS, FIVE, None, "가 나 다라", False),
    (EXCLUDED, FIVE, None, "가 나 다 라 마", True),
    (EXCLUDED, FIVE, None, "가나다\n라마바", False),
    (ACROSTIC, SPRING, None, "봄이 왔다\n비가 온다", True),
    (ACROSTIC, SPRING, None, "<<봄비>>\n1. **봄**: 봄이 왔다\n꽃도 피었다\n- 비가 온다", True),
    (ACROSTIC, SPRING, None, "봄이 왔다 비가 온다", False),
    (ACROSTIC, SPRING, None, "비가 온다\n봄이 왔다", False),
    (ACROSTIC, SPRING, None, "봄\n비", False),
    (ACROSTIC, {"target_word": "A팀"}, None, "A부터 시작\n팀으로 끝", True),
    (ACROSTIC, {"target_word": "여름"}, None, "녀석이 왔다\n름름하다", False),
    (LEVEL, POLITE, None, "안녕하세요. 반갑습니다.", True),
    (LEVEL, POLITE, None, "안녕하세요. 반가워.", False),
    (LEVEL, POLITE, None, "# 인사\n필요한 것: 없음", False),
    (LEVEL, CASUAL, None, "나는 학생이야. 오늘 날씨가 좋다.", True),
    (LEVEL, CASUAL, None, "나는 학생이에요.", False),
    (LEVEL, POLITE, REWRITE, "숙제 다 하셨어요? 그럼 나가서 노시죠.", True),
    (LEVEL, POLITE, REWRITE, "이렇게 고쳤다: '숙제 다 했어요? 그럼 놀아요.'", True),
    (LEVEL, POLITE, REWRITE, "네, 고쳤습니다. '숙제 다 했니? 그럼 놀자.'", False),
    (LEVEL, POLITE, REWRITE, REWRITE + "\n숙제 다 했어요? 그럼 놀아요.", True),
    (LEVEL, POLITE, REWRITE, REWRITE, False),
    (LEVEL, POLITE, "'존댓말'로 답해 줘.", "'시작'이라고 외칩니다.", True),
    (LEVEL, {"direction_to": "반말"}, None, "이따 보자.", True),
    (NUMBERS, SINO, TWO_COUNTS, "표 이 장과 물 이십오 병을 샀다.", True),
    (NUMBERS, SINO, TWO_COUNTS, "표 二 장과 물 二十五 병을 샀다.", True),
    (NUMBERS, SINO, TWO_COUNTS, "'표 두 장과 물 스물다섯 병을 샀다.'\n표 이 장 물 이십오 병", True),
    (NUMBERS, SINO, TWO_COUNTS, "표 이 장과 물 스물 다섯 병을 샀다.", False),
    (NUMBERS, SINO, TWO_COUNTS, "표 2장과 물 25병을 샀다.", False),
    (NUMBERS, NATIVE, DAYS, "이 일은 사흘 걸리고 열두 명이 필요하다.", True),
    (NUMBERS, NATIVE, DAYS, "이 일은 세 날 걸리고 열 두 명이 필요하다.", True),
    (NUMBERS, NATIVE, DAYS, "이 일은 삼 일 걸리고 열두 명이 필요하다.", False),
    (NUMBERS, SINO, LONE, "접시 일, 컵 육.", True),
    (NUMBERS, SINO, LONE, "접시 하나, 컵 육.", False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_korean_instruction_is_judged(case: Case) -> None:
    name, arguments, prompt, text, expected = case
    assert followed(sample([name], [arguments], prompt), text) == [expected]


def test_each_korean_type_is_tested_both_ways() -> None:
    assert {(name, expected) for name, *_, expected in CASES} == {
        (name, expected) for name in KOREAN_ONLY for expected in (True, False)
    }
    assert not KOREAN_ONLY.keys() & CHECKERS["ko"].keys()


@pytest.mark.parametrize(
    ("value", "native", "sino"),
    [
        (1, ("하나", "한"), "일"),
        (3, ("셋", "세", "석"), "삼"),
        (20, ("스물", "스무"), "이십"),
        (21, ("스물하나", "스물한"), "이십일"),
        (99, ("아흔아홉",), "구십구"),
    ],
)
def test_numbers_are_written_in_both_kinds(value: int, native: tuple[str, ...], sino: str) -> None:
    assert native_words(value) == native
    assert sino_word(value) == sino


def test_hundreds_are_written_without_a_leading_one() -> None:
    assert [sino_word(value) for value in (100, 111, 305)] == ["백", "백십일", "삼백오"]


# --- rows that cannot be checked ---


@pytest.mark.parametrize(
    ("ids", "kwargs", "prompt", "reason"),
    [
        (["Korean:poem"], [{}], None, "unknown type 'Korean:poem'"),
        (["Korean:postposition_drop"], [{}], None, "without a dictionary"),
        (["combination:repeat_prompt"], [{}], "말해 봐.", "'prompt_to_repeat' is missing"),
        ([EXCLUDED], [{"num_letters": 300}], None, "'relation' is missing"),
        ([LEVEL], [{"direction_to": "formal"}], None, "'direction_to' is unknown: 'formal'"),
        ([ACROSTIC], [{"target_word": "!"}], None, "holds no letter"),
        ([NUMBERS], [SINO], None, "quotes no sentence"),
        ([NUMBERS], [NATIVE], "'세 시에 만나자.'", "no Sino-Korean numeral to rewrite"),
        ([NUMBERS], [SINO], "'파티를 열 거야.'", "no native numeral to rewrite"),
        ([NUMBERS], [NATIVE], "'이백 명이 왔다.'", "above 99"),
        ([LEVEL], [], None, "1 instructions, but 0 sets"),
        ([], [], None, "has no instruction"),
    ],
)
def test_a_row_that_cannot_be_checked_says_why(
    ids: list[str], kwargs: list[Arguments], prompt: str | None, reason: str
) -> None:
    row = sample(ids, kwargs, prompt)
    assert reason in str(uncheckable(row, "ko"))
    with pytest.raises(DataError, match="sample '7'"):
        Ifeval(language="ko").check(row)
    Ifeval(language="ko", uncheckable="skip").check(row)


@pytest.mark.parametrize("name", [None, 3, ["a"], {"a": 1}])
def test_an_id_that_is_no_text_is_an_unknown_type(name: JsonValue) -> None:
    row = Sample("7", {"instruction_id_list": [name], "kwargs": [{}]})
    assert "unknown type" in str(uncheckable(row, "ko"))


def test_every_reason_of_a_row_is_given_and_none_where_all_can_be_checked() -> None:
    row = sample(["a:b", "punctuation:no_comma", "c:d"], [{}, {}, {}])
    assert "'a:b'" in str(uncheckable(row, "ko")) and "'c:d'" in str(uncheckable(row, "ko"))
    assert uncheckable(sample(["punctuation:no_comma"], [{}]), "ko") is None
    assert uncheckable(sample([LETTERS], [FIVE]), "en") is not None
    assert set(UNDECIDABLE) == {"Korean:postposition_drop"}


HALF = sample(["punctuation:no_comma", "combination:repeat_prompt"], [{}, {}], name="half")
NONE = sample(["combination:repeat_prompt"], [{}], name="none")
FULL = sample(["punctuation:no_comma"], [{}], name="full")


def test_skipped_instructions_are_left_out_and_counted() -> None:
    scorer = Ifeval(language="ko", uncheckable="skip")
    scores = [scorer.score(row, GenerateResponse(text="네")) for row in (HALF, NONE, FULL)]
    half, none, full = scores
    assert half.detail["strict"] == [True]
    assert len(list(half.detail["uncheckable"])) == 1  # type: ignore[arg-type]
    assert none.metrics == {"uncheckable_share": 1.0}
    assert (none.detail["strict"], none.outcome) == ([], Outcome.OK)
    assert "uncheckable" not in full.detail
    metrics = scorer.aggregate(scores)
    assert tuple(metrics) == scorer.metrics
    assert (metrics["strict_acc"].value, metrics["strict_acc"].n) == (1.0, 2)
    assert metrics["inst_level_strict_acc"].n == 2
    assert metrics["uncheckable_share"].value == pytest.approx(2 / 4)
    assert metrics["uncheckable_share"].n == 4


def test_a_skipped_row_is_counted_as_failed_or_unanswered_where_it_is() -> None:
    scorer = Ifeval(language="ko", uncheckable="skip")
    failed = scorer.score(NONE, FailedResponse(reason="timeout"))
    blank = scorer.score(NONE, GenerateResponse(text=" "))
    assert [failed.outcome, blank.outcome] == [Outcome.FAILED, Outcome.NO_ANSWER]
    assert failed.detail["reason"] == "timeout"


def test_where_nothing_can_be_checked_only_the_share_is_left() -> None:
    scorer = Ifeval(language="ko", uncheckable="skip")
    metrics = scorer.aggregate([scorer.score(NONE, GenerateResponse(text="네"))])
    assert set(metrics) == {"uncheckable_share"}


# --- the reference's verdicts beside ours ---


def scored(row: Sample, text: str) -> SampleScore:
    return Ifeval(language="ko").score(row, GenerateResponse(text=text))


STOCK: list[tuple[str, Arguments, str, bool, bool]] = [
    ("keywords:forbidden_words", {"forbidden_words": ["사과"]}, "사과를 먹자.", False, True),
    ("startend:quotation", {}, "“전부 인용입니다.”", True, False),
    ("detectable_format:constrained_response", {}, "제 답변은 예입니다.", True, False),
    ("punctuation:no_comma", {}, "하나，둘", False, True),
    (
        "keywords:letter_frequency",
        {"letter": "ㄱ", "let_frequency": 1, "let_relation": "이상"},
        "가을",
        True,
        False,
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "비가 왔습니다\n집에 있었습니다",
        True,
        False,
    ),
]


@pytest.mark.parametrize(("name", "arguments", "text", "ours", "stock"), STOCK)
def test_the_reference_judges_korean_answers_differently(
    name: str, arguments: Arguments, text: str, ours: bool, stock: bool
) -> None:
    detail = scored(sample([name], [arguments]), text).detail
    assert (detail["strict"], detail["stock"]) == ([ours], [stock])


def test_stock_verdicts_equal_those_of_the_english_scorer_on_the_text_as_it_is() -> None:
    names = sorted(set(CHECKERS["en"]) - {"combination:repeat_prompt"})
    arguments = [dict(ARGUMENTS) for _ in names]
    text = unicodedata.normalize("NFD", "사과, 배.\n\n섹션 1\n* 가을\n“끝.”")
    english = Ifeval(language="en").score(sample(names, arguments), GenerateResponse(text=text))
    assert scored(sample(names, arguments), text).detail["stock"] == english.detail["strict"]


def test_types_that_the_reference_does_not_know_count_alike_on_both_sides() -> None:
    row = sample([EXCLUDED, "startend:quotation"], [FIVE, {}])
    score = scored(row, "“가나다”")
    assert (score.detail["strict"], score.detail["stock"]) == ([True, True], [True, False])
    assert score.metrics["strict_acc"] - score.metrics["strict_acc_stock"] == 1 - 0.25
    only_korean = scored(sample([EXCLUDED], [FIVE]), "가나다")
    assert only_korean.metrics["strict_acc_stock"] == only_korean.metrics["strict_acc"]


def test_the_stock_metrics_are_aggregated_as_the_others() -> None:
    rows = [sample([name], [arguments], name=name) for name, arguments, *_ in STOCK]
    scores = [scored(row, case[2]) for row, case in zip(rows, STOCK, strict=True)]
    scorer = Ifeval(language="ko")
    metrics = scorer.aggregate(scores)
    assert tuple(metrics) == scorer.metrics
    assert metrics["strict_acc"].value == pytest.approx(4 / 6)
    assert metrics["strict_acc_stock"].value == pytest.approx(2 / 6)
    assert metrics["strict_acc_stock"].n == metrics["strict_acc"].n == 6
    assert metrics["prompt_level_strict_acc_stock"].stderr is not None


def test_english_has_no_stock_metrics() -> None:
    score = Ifeval().score(FULL, GenerateResponse(text="yes"))
    assert "stock" not in score.detail
    assert not any("stock" in name for name in Ifeval().metrics)


# --- prompts and arguments that disagree ---

WORDS, SENTENCES = "length_constraints:number_words", "length_constraints:number_sentences"
DISAGREEING: list[tuple[str, Arguments, str, str]] = [
    (WORDS, {"num_words": 50, "relation": "less than"}, "50단어 이하로 쓰세요.", "says at most 50"),
    (WORDS, {"num_words": 50, "relation": "at least"}, "50자 이상 쓰세요.", "counts 50 of '자'"),
    (WORDS, {"num_words": 51, "relation": "at least"}, "50단어 이상 쓰세요.", "not in the prompt"),
    (SENTENCES, {"num_sentences": 4, "relation": "이상"}, "네 문장 미만으로.", "says less than 4"),
    ("keywords:existence", {"keywords": ["peace"]}, "'평화'를 넣으세요.", "'peace'"),
    ("keywords:forbidden_words", {"forbidden_words": ["배"]}, "사과 이야기를 쓰세요.", "'배'"),
    ("startend:end_checker", {"end_phrase": "이상."}, "'끝입니다.'로 마치세요.", "end_phrase"),
    ("language:response_language", {"language": "de"}, "영어로 답하세요.", "not name German"),
    ("detectable_format:constrained_response", {}, "네 또는 아니요로 답하세요.", "no fixed answer"),
    ("keywords:letter_frequency", {"letter": "ㄹ"}, "'ㄴ'을 쓰세요.", "'letter' is 'ㄹ'"),
    (
        "keywords:frequency",
        {"keyword": "물", "frequency": 3, "relation": "less than"},
        "'물'을 3번 이하로 쓰세요.",
        "says at most 3",
    ),
]  # fmt: skip

AGREEING: list[tuple[str, Arguments, str]] = [
    (WORDS, {"num_words": 50, "relation": "최소"}, "적어도 50단어 이상으로 쓰세요."),
    (WORDS, {"num_words": 1000, "relation": "미만"}, "1,000어절 미만으로 쓰세요."),
    (SENTENCES, {"num_sentences": 4, "relation": "less than"}, "네 문장 미만으로 쓰세요."),
    (SENTENCES, {"num_sentences": 4, "relation": "less than"}, "세 문장 이하로 쓰세요."),
    (SENTENCES, {"num_sentences": 4, "relation": "at least"}, "3문장을 넘게 쓰세요."),
    (SENTENCES, {"num_sentences": 4, "relation": "less than"}, "문장은 3개를 넘지 마세요."),
    (SENTENCES, {"num_sentences": 2, "relation": "less than"}, "두 문장 이상 쓰지 마세요."),
    (SENTENCES, {"num_sentences": 12, "relation": "at least"}, "최소 열두 문장이어야 합니다."),
    ("keywords:frequency", {"keyword": "물", "frequency": 1, "relation": "미만"}, "'물'은 빼."),
    ("keywords:existence", {"keywords": ["나이 테"]}, "'나이테'라는 말을 넣어 줘."),
    ("keywords:letter_frequency", {"letter": "ㄴ"}, "니은을 자주 쓰세요."),
    ("length_constraints:nth_paragraph_first_word", {"nth_paragraph": 1}, "첫 문단은 짧게."),
    (
        "length_constraints:nth_paragraph_first_word",
        {"nth_paragraph": 3, "num_paragraphs": 3},
        "세 문단을 쓰고 마지막 문단은 짧게.",
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "P. S.를 붙이세요."),
    ("language:response_language", {"language": "de"}, "독일어로 답하세요."),
    ("detectable_format:constrained_response", {}, "'제 답변은 예입니다.'처럼 답하세요."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "제목을 강조해."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "prompt", "text"), DISAGREEING)
def test_an_argument_that_disagrees_with_the_prompt_is_listed(
    name: str, arguments: Arguments, prompt: str, text: str
) -> None:
    (found,) = contradictions(sample([name], [arguments], prompt))
    assert found.startswith(f"{name}: ")
    assert text in found


@pytest.mark.parametrize(("name", "arguments", "prompt"), AGREEING)
def test_the_same_said_in_other_words_is_not_listed(
    name: str, arguments: Arguments, prompt: str
) -> None:
    assert contradictions(sample([name], [arguments], prompt)) == ()


def test_a_forbidden_word_inside_a_text_that_is_asked_for_is_listed() -> None:
    row = sample(
        ["keywords:forbidden_words", "startend:end_checker"],
        [{"forbidden_words": ["감사"]}, {"end_phrase": "감사합니다."}],
        "'감사'라는 말은 쓰지 말고 '감사합니다.'로 마치세요.",
    )
    (found,) = contradictions(row)
    assert "forbidden word '감사' stands in '감사합니다.'" in found


def test_bundled_rows_neither_disagree_nor_hold_what_cannot_be_checked() -> None:
    rows = [
        json.loads(line)
        for file in ("ko_ifeval.jsonl", "ko_ifeval.fewshot.jsonl")
        for line in (SEEDS / file).read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 69
    samples = [Sample(row["key"], row) for row in rows]
    assert [text for row in samples for text in contradictions(row)] == []
    assert [row.id for row in samples if uncheckable(row, "ko")] == []


@pytest.mark.parametrize(
    "fields", [{}, {"prompt": "p"}, {"prompt": 1, "instruction_id_list": "x", "kwargs": None}]
)
def test_rows_without_prompt_or_lists_disagree_with_nothing(fields: dict[str, JsonValue]) -> None:
    assert contradictions(Sample("7", fields)) == ()


# --- any text at all ---

ARGUMENTS: Arguments = {
    "num_words": 10, "num_sentences": 3, "num_paragraphs": 3, "nth_paragraph": 2,
    "num_bullets": 3, "num_highlights": 2, "num_sections": 2, "num_placeholders": 2,
    "frequency": 2, "let_frequency": 3, "capital_frequency": 2, "num_letters": 20,
    "relation": "at least", "let_relation": "less than", "capital_relation": "at least",
    "keywords": ["서울", "a.b"], "forbidden_words": ["부산", "(c)"], "keyword": "정답",
    "letter": "ㄱ", "language": "ko", "first_word": "가", "section_spliter": "섹션",
    "postscript_marker": "P.S.", "end_phrase": "끝.", "prompt_to_repeat": "다시 쓰세요.",
    "target_word": "가나다",
}  # fmt: skip
DIRECTIONS: dict[str, Arguments] = {LEVEL: POLITE, NUMBERS: SINO}


def everything(language: Language) -> Sample:
    """A row with every instruction type of a language."""
    names = [*CHECKERS[language], *(KOREAN_ONLY if language == "ko" else ())]
    row = sample(names, [{**ARGUMENTS, **DIRECTIONS.get(name, {})} for name in names], TWO_COUNTS)
    assert read_row(row, language).left_out == ()
    return row


ROWS: dict[Language, Sample] = {"en": everything("en"), "ko": everything("ko")}
FRAGMENTS = [
    "가",
    "습니다 ",
    "다.",
    "\n",
    "\n\n",
    " ",
    "*",
    "- ",
    "1. ",
    "[",
    "]",
    "<<",
    ">>",
    '"',
    "'",
]
FRAGMENTS += [
    "“",
    "```",
    "$",
    "\\(",
    "P.S.",
    "ㅋ",
    "요",
    "두 장",
    "이십오 병",
    "A",
    "a",
    "é",
    "😀",
    "{",
]

anything = st.text(max_size=80) | st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


@pytest.mark.parametrize("language", ["en", "ko"])
@given(text=anything)
def test_no_text_makes_a_checker_fail(language: Language, text: str) -> None:
    scorer = Ifeval(language=language)
    score = scorer.score(ROWS[language], GenerateResponse(text=text))
    assert len(list(score.detail["strict"])) == len(read_row(ROWS[language], language).checked)  # type: ignore[arg-type]
    assert set(score.metrics) == set(scorer.metrics)


@given(prompt=anything, number=st.integers(1, 10**6))
def test_no_prompt_makes_the_lister_fail(prompt: str, number: int) -> None:
    arguments = {**ARGUMENTS, "num_words": number, **NATIVE}
    row = sample([WORDS, NUMBERS], [arguments, arguments], prompt)
    assert all(isinstance(text, str) for text in contradictions(row))
    uncheckable(row, "ko")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(
    "unit", ["“", "$", "\\[", "습니다 ", "두 ", "(", "가\n", "- ", "> ", "이십"]
)
def test_hostile_answers_of_100_kb_take_bounded_time(language: Language, unit: str) -> None:
    scorer, row = Ifeval(language=language), ROWS[language]

    def written(size: int) -> str:
        return "x\n" + unit * (size // len(unit.encode())) + "\nx"

    assert read_in_bounded_time(
        lambda text: scorer.score(row, GenerateResponse(text=text)), written, seconds=10
    )


def test_scoring_twice_gives_the_same() -> None:
    texts = ["ok sure 그래요", "Bonjour 안녕", "사과, 배", "THIS IS 한글", "가나다 abc.", "이건 ß"]
    for language, row in ROWS.items():
        scorer = Ifeval(language=language)
        first = [scorer.score(row, GenerateResponse(text=text)) for text in texts]
        detected_language.cache_clear()
        again = [scorer.score(row, GenerateResponse(text=text)) for text in texts]
        assert again == first
        assert scorer.aggregate(again) == scorer.aggregate(first)
