"""The `ifeval` scorer: what follows an instruction and what does not, as a table of examples."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from bounded_time import read_in_bounded_time

from ko_eval.errors import DataError
from ko_eval.scorers.ifeval import Ifeval
from ko_eval.scorers.ifeval.english_sentences import count_sentences_by_rules
from ko_eval.scorers.ifeval.english_words import count_capital_words, count_words
from ko_eval.scorers.ifeval.registry import CHECKERS, Language
from ko_eval.scorers.ifeval.scorer import loose_variants
from ko_eval.types import FailedResponse, GenerateResponse, JsonValue, Outcome, Sample, SampleScore

Case = tuple[str, dict[str, JsonValue], str, bool]

AT_LEAST: dict[str, JsonValue] = {"relation": "at least"}
FIRST_WORD: dict[str, JsonValue] = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Rain"}
LETTER_A: dict[str, JsonValue] = {"letter": "A", "let_frequency": 3, "let_relation": "at least"}
HASHES: dict[str, JsonValue] = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
CAPITALS: dict[str, JsonValue] = {"capital_frequency": 2, "capital_relation": "at least"}

BOTH: list[Case] = [
    ("detectable_format:title", {}, "<<Spring>>\nrain", True),
    ("detectable_format:title", {}, "<< >> and <<open\nclosed>>", False),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', True),
    ("detectable_format:json_format", {}, "{'a': 1}", False),
    ("detectable_format:json_format", {}, "[" * 50_000 + "]" * 50_000, False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n  - b\n**c**", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "*\n* a\n* b", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* a\n---", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* **b**", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "** ** *\n*", False),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        True,
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "SECTION 1\na\nSection 2\nb",
        False,
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [] [open", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[[a]\n]", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\np. s. call", True),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.S. call", False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\n\n***\nb", False),
    ("combination:two_responses", {}, "a\n******\nb", True),
    ("combination:two_responses", {}, "a******a", False),
    ("combination:two_responses", {}, "a******\n******b", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say Hi."}, " say hi. Hello!", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say Hi."}, "Sure. Say Hi.", False),
    ("startend:end_checker", {"end_phrase": "The End."}, 'It was. "the end."', True),
    ("startend:end_checker", {"end_phrase": "The End."}, "The End. Bye", False),
    ("startend:quotation", {}, '"all of it"', True),
    ("startend:quotation", {}, '"', False),
    ("punctuation:no_comma", {}, "one; two", True),
    ("punctuation:no_comma", {}, "one, two", False),
    ("change_case:english_lowercase", {}, "this is a plain english sentence.", True),
    ("change_case:english_lowercase", {}, "This is a plain english sentence.", False),
    ("change_case:english_capital", {}, "THIS IS A PLAIN ENGLISH SENTENCE.", True),
    ("change_case:english_capital", {}, "THIS IS a plain English sentence.", False),
    ("change_case:capital_word_frequency", CAPITALS, "I'm from the USA.", True),
    ("change_case:capital_word_frequency", CAPITALS, "From the USA.", False),
]

ENGLISH: list[Case] = [
    ("length_constraints:number_words", {"num_words": 3, **AT_LEAST}, "it's me", True),
    ("length_constraints:number_words", {"num_words": 3.0, "relation": "less than"}, "a b", True),
    ("length_constraints:number_sentences", {"num_sentences": 2, **AT_LEAST}, "So. It is.", True),
    ("length_constraints:number_sentences", {"num_sentences": 2, **AT_LEAST}, "So\nIt is", False),
    ("length_constraints:nth_paragraph_first_word", FIRST_WORD, "Sun.\n\n'rain, again", True),
    ("length_constraints:nth_paragraph_first_word", FIRST_WORD, "Sun.\n\nRainy day", False),
    ("length_constraints:nth_paragraph_first_word", FIRST_WORD, "Sun.\n\n\n\nRain", False),
    ("keywords:existence", {"keywords": ["rain", "sun"]}, "Sunny and RAINY", True),
    ("keywords:existence", {"keywords": ["c.t"]}, "cat", False),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "rainy", True),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "Rain!", False),
    ("keywords:frequency", {"keyword": " rain ", "frequency": 2, **AT_LEAST}, "Rainy rain", True),
    ("keywords:letter_frequency", LETTER_A, "Banana", True),
    ("keywords:letter_frequency", LETTER_A, "Ban", False),
    ("keywords:letter_frequency", HASHES, "#a #b", True),
    ("language:response_language", {"language": "de"}, "Das ist ein einfacher Satz.", True),
    ("language:response_language", {"language": "de"}, "This is a very plain sentence.", False),
    ("language:response_language", {"language": "de"}, "123", True),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe.", True),
    ("detectable_format:constrained_response", {}, "My answer is yes", False),
]

DECOMPOSED = unicodedata.normalize("NFD", "사과")
FIRST_EOJEOL: dict[str, JsonValue] = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "봄"}
WATER: dict[str, JsonValue] = {"keyword": "물", "frequency": 2, "relation": "적어도"}
TWO: dict[str, JsonValue] = {"num_sentences": 2}
NIEUN: dict[str, JsonValue] = {"letter": "ㄴ", "let_frequency": 2, "let_relation": "이상"}
GIYEOK: dict[str, JsonValue] = {"letter": "ㄱ", "let_frequency": 1, "let_relation": "이상"}

KOREAN: list[Case] = [
    ("length_constraints:number_words", {"num_words": 2, "relation": "이하"}, "밥을 먹자", True),
    ("length_constraints:number_words", {"num_words": 2, "relation": "초과"}, "밥을 먹자", False),
    ("length_constraints:number_sentences", {**TWO, "relation": "최소"}, "가자. 자.", True),
    ("length_constraints:number_sentences", {**TWO, "relation": "미만"}, "가자. 자.", False),
    ("length_constraints:nth_paragraph_first_word", FIRST_EOJEOL, "겨울\n\n“봄이 왔다.”", True),
    ("length_constraints:nth_paragraph_first_word", FIRST_EOJEOL, "봄\n\n겨울", False),
    ("keywords:existence", {"keywords": ["사과", "API"]}, "사과를 api로 주문", True),
    ("keywords:existence", {"keywords": ["사과"]}, DECOMPOSED + "를", True),
    ("keywords:existence", {"keywords": [DECOMPOSED]}, "사과를", True),
    ("keywords:forbidden_words", {"forbidden_words": ["비"]}, "나비가 난다", False),
    ("keywords:forbidden_words", {"forbidden_words": ["c++"]}, "파이썬", True),
    ("keywords:frequency", WATER, "물과 물을", True),
    ("keywords:letter_frequency", NIEUN, "나는", True),
    ("keywords:letter_frequency", NIEUN, "나와 손", False),
    ("keywords:letter_frequency", GIYEOK, "까치 학", False),
    ("keywords:letter_frequency", LETTER_A, "Banana 우유", True),
    ("language:response_language", {"language": "ko"}, "REST API를 호출하는 방법입니다.", True),
    ("language:response_language", {"language": "ko"}, "Call the REST API. 끝", False),
    ("language:response_language", {"language": "en"}, "Call the REST API.", True),
    ("language:response_language", {"language": "ja"}, "今日は雨です。", True),
    ("language:response_language", {"language": "ja"}, "今天下雨", False),
    ("language:response_language", {"language": "zh-cn"}, "今天下雨", True),
    ("language:response_language", {"language": "zh"}, "今日は雨です。", False),
    ("language:response_language", {"language": "fr"}, "Ceci est une phrase très simple.", True),
    ("detectable_format:constrained_response", {}, "제 답변은 예입니다.", True),
    ("detectable_format:constrained_response", {}, "제 답변은 아니오입니다.", True),
    ("detectable_format:constrained_response", {}, "내 대답은 아마도입니다", True),
    ("detectable_format:constrained_response", {}, "My answer is no.", True),
    ("detectable_format:constrained_response", {}, "제 답변은 예외입니다.", False),
    ("detectable_content:postscript", {"postscript_marker": "추신:"}, "이만.\n추신: 또 봐", True),
    ("detectable_content:postscript", {"postscript_marker": "추신:"}, "추신 없이 씁니다", False),
    ("startend:quotation", {}, "“전부 인용”", True),
    ("startend:end_checker", {"end_phrase": "끝."}, "“이제 끝.”", True),
    ("punctuation:no_comma", {}, "하나，둘", False),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "섹션", "num_sections": 2},
        "섹션 1\n가\n섹션2\n나",
        True,
    ),
]

CASES: list[tuple[Language, Case]] = [
    *(("en", case) for case in BOTH + ENGLISH),
    *(("ko", case) for case in BOTH + KOREAN),
]


def sample(ids: JsonValue, kwargs: JsonValue, **fields: JsonValue) -> Sample:
    return Sample(id="7", fields={"instruction_id_list": ids, "kwargs": kwargs, **fields})


def verdicts(score: SampleScore) -> tuple[JsonValue, JsonValue]:
    return score.detail["strict"], score.detail["loose"]


@pytest.mark.parametrize(("language", "case"), CASES)
def test_instruction_is_judged(language: Language, case: Case) -> None:
    name, arguments, text, followed = case
    scorer = Ifeval(language=language)
    score = scorer.score(sample([name], [arguments]), GenerateResponse(text=text))
    assert score.detail["strict"] == [followed]


def test_both_languages_know_the_25_published_types_and_each_is_tested() -> None:
    for language in ("en", "ko"):
        tested = {case[0] for tested_language, case in CASES if tested_language == language}
        assert tested == set(CHECKERS[language])
        assert len(tested) == 25


@pytest.mark.parametrize(
    ("ids", "kwargs", "message"),
    [
        (["punctuation:no_coma"], [{}], "punctuation:no_comma"),
        (["punctuation:no_comma"], [], "1 instructions, but 0 sets"),
        ([], [], "no instruction"),
        ("not a list", [{}], "no list in 'instruction_id_list'"),
        (["punctuation:no_comma"], ["x"], "must hold an object"),
        (["combination:repeat_prompt"], [{}], "'prompt_to_repeat' is missing"),
        (["length_constraints:number_words"], [{"num_words": 5}], "'relation' is missing"),
        (["length_constraints:number_words"], [{"num_words": 0}], "'num_words' is missing"),
        (["detectable_format:number_bullet_lists"], [{"num_bullets": -1}], "positive whole"),
        (["detectable_format:number_bullet_lists"], [{"num_bullets": 1.5}], "positive whole"),
        (["keywords:existence"], [{"keywords": "rain"}], "must be a list"),
        (["keywords:existence"], [{"keywords": ["a", 1]}], "no text"),
        (
            ["keywords:frequency"],
            [{"keyword": "a", "frequency": 1, "relation": "at lest"}],
            "did you mean 'at least'",
        ),
        (["keywords:letter_frequency"], [{"letter": "ab"}], "must be one character"),
        (["language:response_language"], [{"language": "xx"}], "'language' is unknown"),
        (
            ["length_constraints:nth_paragraph_first_word"],
            [{"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"}],
            "'nth_paragraph' is 2",
        ),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused(
    ids: JsonValue, kwargs: JsonValue, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        Ifeval().check(sample(ids, kwargs))
    assert "sample '7'" in str(caught.value)
    assert message in str(caught.value)


def test_a_vowel_is_no_initial_consonant() -> None:
    arguments: dict[str, JsonValue] = {"letter": "ㅏ", "let_frequency": 1, "let_relation": "이상"}
    with pytest.raises(DataError, match="no initial consonant"):
        Ifeval(language="ko").check(sample(["keywords:letter_frequency"], [arguments]))


def test_lists_may_be_python_literals_with_empty_arguments() -> None:
    row = sample("['detectable_format:title']", "[{'num_words': None, 'relation': None}]")
    Ifeval().check(row)


def test_loose_drops_first_and_last_line_and_stars() -> None:
    with_stars = ["*a*\nBye", "Sure:\n*a*", "*a*"]
    without_stars = ["Sure:\na\nBye", "a\nBye", "Sure:\na", "a"]
    assert loose_variants("Sure:\n*a*\nBye") == [*with_stars, *without_stars]
    quoted = sample(["startend:quotation"], [{}])
    score = Ifeval().score(quoted, GenerateResponse(text='Here it is:\n"yes"\nBye!'))
    assert verdicts(score) == ([False], [True])


def test_prompt_level_needs_all_instructions() -> None:
    row = sample(["punctuation:no_comma", "detectable_format:title"], [{}, {}])
    score = Ifeval().score(row, GenerateResponse(text="no title"))
    assert score.metrics == {
        "strict_acc": 0.25,
        "prompt_level_strict_acc": 0.0,
        "inst_level_strict_acc": 0.5,
        "prompt_level_loose_acc": 0.0,
        "inst_level_loose_acc": 0.5,
    }
    assert (score.outcome, score.extracted) == (Outcome.OK, None)


def test_a_blank_response_follows_nothing() -> None:
    row = sample(["punctuation:no_comma"], [{}])
    blank = Ifeval().score(row, GenerateResponse(text=" \n"))
    cut = Ifeval().score(row, GenerateResponse(text="", finish_reason="length"))
    failed = Ifeval().score(row, FailedResponse(reason="timeout"))
    assert [blank.outcome, cut.outcome, failed.outcome] == [
        Outcome.NO_ANSWER,
        Outcome.TRUNCATED,
        Outcome.FAILED,
    ]
    assert all(verdicts(score) == ([False], [False]) for score in (blank, cut, failed))
    assert failed.detail["reason"] == "timeout"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_sentence_count_names_its_splitter(language: Language) -> None:
    arguments: dict[str, JsonValue] = {"num_sentences": 1, "relation": "at least"}
    row = sample(["length_constraints:number_sentences"], [arguments])
    score = Ifeval(language=language).score(row, GenerateResponse(text="Yes."))
    allowed = ("rules",) if language == "ko" else ("rules", "punkt")
    assert score.detail["sentence_splitter"] in allowed
    other = Ifeval().score(sample(["punctuation:no_comma"], [{}]), GenerateResponse(text="Yes."))
    assert "sentence_splitter" not in other.detail


def scored(name: str, strict: list[bool]) -> SampleScore:
    return SampleScore(
        id=name,
        metrics={},
        extracted=None,
        outcome=Outcome.OK,
        detail={"strict": strict, "loose": [True] * len(strict)},
    )


def test_aggregate_pools_instructions_and_clusters_them_by_prompt() -> None:
    scores = [scored("a", [True]), scored("b", [True, False]), scored("c", [True, True, True])]
    metrics = Ifeval().aggregate(scores)
    assert tuple(metrics) == Ifeval().metrics
    prompt, pooled = metrics["prompt_level_strict_acc"], metrics["inst_level_strict_acc"]
    assert prompt.value == pytest.approx(2 / 3)
    assert (prompt.n, pooled.n) == (3, 6)
    assert prompt.stderr == pytest.approx(1 / 3)  # s² = 1/3, over n = 3
    assert pooled.value == pytest.approx(5 / 6)
    # influence values (a − 5/6·b) / 2 = 1/12, -4/12, 3/12; s² = 13/144; over n = 3
    assert pooled.stderr == pytest.approx((13 / 144 / 3) ** 0.5)
    leading = metrics["strict_acc"]
    assert leading.value == pytest.approx(0.75)
    assert leading.n == 3
    # halves of 1/3 + 1/12, -2/3 - 4/12, 1/3 + 3/12 = 5/24, -12/24, 7/24; s² = 109/576
    assert leading.stderr == pytest.approx((109 / 576 / 3) ** 0.5)
    loose = metrics["prompt_level_loose_acc"]
    assert (loose.value, loose.stderr, loose.high) == (1.0, 0.0, 1.0)
    assert loose.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)  # Wilson at 3 of 3


def test_one_prompt_has_no_standard_error() -> None:
    metrics = Ifeval().aggregate([scored("a", [True, False])])
    assert all(metric.stderr is None and metric.low is None for metric in metrics.values())
    with pytest.raises(DataError):
        Ifeval().aggregate([])


def test_gold_is_the_passing_response_of_the_row() -> None:
    row = sample(["punctuation:no_comma"], [{}], passing_response="yes")
    assert Ifeval().gold(row) == GenerateResponse(text="yes", finish_reason="stop")
    with pytest.raises(DataError, match="passing_response"):
        Ifeval().gold(sample(["punctuation:no_comma"], [{}]))


SPLIT_EN = [
    ("Dr. Lee met Mr. Kim at 3.5 p.m. on Monday. They left.", 2),
    ("J. K. Rowling wrote it. I read it!", 2),
    ("The U.S. economy grew. The U.S. The end.", 3),
    ('He said "stop." Then he left.', 2),
    ('He left ("bye.")', 1),
    ("Well... maybe. Well... The end.", 3),
    ("A line\nand another\n\nand a third", 1),
    ("1. Boil water.\n2. Add rice.", 4),
    ("Version 2.0 is out. see example.com now.", 2),
    ("What?! No. yes", 3),
    ("**Bold.** Next.", 2),
    ("Use e.g. salt.", 1),
    ("P.S. Call me.", 2),
    ("", 0),
    ("...", 1),
]


@pytest.mark.parametrize(("text", "count"), SPLIT_EN)
def test_english_sentences_by_rule(text: str, count: int) -> None:
    assert count_sentences_by_rules(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("NASA's U.S. A-TEAM", 3),
        ("DON'T", 2),
        ("DON’T", 2),
        ("I'll go; I've gone", 2),
        ("CANNOT", 2),
        ("A:B,C 3,000 KM", 4),
        ("AND/OR", 1),
        ('\'TIS "SO"', 2),
        ("McDonald iPhone", 0),
    ],
)
def test_capital_words_are_treebank_tokens(text: str, count: int) -> None:
    assert count_capital_words(text) == count


def test_english_words_are_runs_of_word_characters() -> None:
    assert count_words("it's 5 o'clock, snake_case") == 6


HOSTILE = [".", "*", "[", "<<", "\n", " ", "\n ", '"', "1.", "A. ", "-", "`", "```", "{", "[]"]
HOSTILE += ["p. ", "http://", "a@", "다.", "~", "요", "…", "Section 1", "'", ".)", "\t", "ㅋ"]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_responses_take_bounded_time(language: Language, unit: str) -> None:
    cases = {case[0]: case[1] for tested, case in CASES if tested == language}
    row = sample(list(cases), list(cases.values()))
    scorer = Ifeval(language=language)

    def written(size: int) -> str:
        return "x\n" + unit * (size // len(unit)) + "\nx"

    assert read_in_bounded_time(
        lambda text: scorer.score(row, GenerateResponse(text=text)), written, seconds=10
    )


def test_a_language_verdict_never_changes() -> None:
    row = sample(["language:response_language"], [{"language": "en"}])
    text = "ok sure no te preocupes"
    first = Ifeval().score(row, GenerateResponse(text=text))
    from ko_eval.scorers.ifeval.languages import detected_language

    for _ in range(5):
        detected_language.cache_clear()
        assert Ifeval().score(row, GenerateResponse(text=text)) == first


def test_import_leaves_heavy_packages_out() -> None:
    code = (
        "import sys, ko_eval.scorers.ifeval\n"
        "print({'nltk', 'langdetect', 'torch', 'transformers'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
