"""Normalised text, Korean numerals and the final number of a solution, as examples."""

from __future__ import annotations

import json
import os
import unicodedata
from fractions import Fraction
from pathlib import Path

import pytest
from bounded_time import read_in_bounded_time
from hypothesis import given
from hypothesis import strategies as st
from number_writers import commas, full_width, mixed, native, sino

from ko_eval.korean.answers.numbers import extract_number
from ko_eval.korean.normalize import boxed_spans, enumeration_place, normalized, without_markup
from ko_eval.korean.numerals import find_numbers, parse_number

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("KO_EVAL_DATA") or REPOSITORY.parent / "shared" / "data")

# --- normalised text --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Ａ：１，２３４％　（예）", "A:1,234% (예)"),
        (unicodedata.normalize("NFD", "정답은 각"), "정답은 각"),
        ("ﾡﾤ ﾾ", "ㄱㄴ ㅎ"),  # half-width jamo
        ("ᄀ ᅡ ᆨ", "ㄱ ㅏ ㄱ"),  # conjoining jamo that join nothing
        ("１\u200b２\ufeff3\u00ad4\u202e5", "12345"),
        ("3️⃣", "3"),  # variation selector and key cap
        ("12\u00a0000\u2009원\u3164", "12 000 원 "),
        ("− ➖ ‐", "- - -"),
        ("3–5 3—5", "3–5 3—5"),  # dashes mark ranges
        ("3〜5 3～5", "3~5 3~5"),
        ("𝟏𝟐 𝐁", "12 B"),
        ("1⁄2", "1/2"),
        ("가\r\n나\r다\u2028라", "가\n나\n다\n라"),
        ("③ ㉡ ½ ㎏", "③ ㉡ ½ ㎏"),
    ],
)
def test_characters_get_one_form(text: str, plain: str) -> None:
    assert normalized(text) == plain


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(alphabet="각ㄱㅏ각ﾡￂ\u200b\u0301Aａ\r\n\u115f", max_size=20))
def test_normalising_jamo_and_marks_twice_changes_nothing_more(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


@pytest.mark.parametrize(
    ("marks", "last"),
    [
        *(("①②③", 2), ("⑴⑵⑶", 2), ("❶❷❸", 2), ("➀➁", 1), ("㉠㉡㉢㉣㉤", 4)),
        *(("㉮㉯㉰", 2), ("ⓐⓑⓒⓓⓔ", 4), ("ⒶⒷ", 1), ("ⅠⅡⅢⅣ", 3), ("⑳", 19)),
    ],
)
def test_enumeration_characters_have_a_place(marks: str, last: int) -> None:
    assert enumeration_place(marks[-1]) == last
    assert len(marks) == 1 or [enumeration_place(mark) for mark in marks] == [*range(last + 1)]


@pytest.mark.parametrize("character", ["3", "가", "ㄱ", "A", "", "①②", "㎏"])
def test_other_characters_enumerate_nothing(character: str) -> None:
    assert enumeration_place(character) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**18**개 *19* __20__ _21_", "18개 19 20 21"),
        ("### 정답\n> 18 `19`", "정답\n18 19"),
        ("```text\n18\n```", "\n18\n"),
        ("~~12~~13", "13"),
        ("$18$ $$19$$ \\(20\\) \\[21\\]", "18 19 20 21"),
        ("$5와 $3, \\$18, $20 - $8 = $12", "$5와 $3, $18, $20 - $8 = $12"),
        ("$\\boxed{\\text{18개}}$ \\mathbf{19}", "18개 19"),
        ("\\boxed{\\frac{2}{3}} \\dfrac{1}{2} \\frac12", "2/3 1/2 1/2"),
        ("2\\frac{1}{2} \\frac{a+1}{3}", "2 1/2 (a+1)/3"),
        ("1\\,234 1{,}234 5,\\!678 5\\,\\text{개} 30\\%", "1234 1,234 5,678 5 개 30%"),
        ("3 \\times 4 \\div 2 \\approx 6", "3 × 4 ÷ 2 ≈ 6"),
        ("3*4*5 = 60, 2**3, 3 * 4", "3*4*5 = 60, 2**3, 3 * 4"),
        ("* 항목\nsnake_case x_1 ____", "* 항목\nsnake_case x_1 ____"),
        ('{"정답": "B"}', '{"정답": "B"}'),
        ("\\boxed{18", "18"),
        ("\\unknown{18}", "\\unknown{18}"),
        ("\\begin{aligned} a &= 3 \\end{aligned}", " a &= 3 "),
    ],
)
def test_wrappers_go_and_their_content_stays(text: str, plain: str) -> None:
    assert without_markup(text) == plain


def test_boxes_are_found_with_their_inner_braces_and_only_when_closed() -> None:
    text = "\\boxed{\\frac{1}{2}} \\boxed{3} \\boxed{4"
    assert [text[start:end] for start, end in boxed_spans(text)] == ["\\frac{1}{2}", "3"]


# --- numerals ---------------------------------------------------------------------------------

NUMERALS = [
    *(("12", 12), ("1,234,567", 1234567), ("3.5", "7/2"), (".75", "3/4"), ("18.00", 18)),
    *(("-3", -3), ("−3도", -3), ("마이너스 3", -3), ("음수 3", -3), ("영하 3도", -3), ("+6", 6)),
    *(("$18", 18), ("-$3", -3), ("$-3", -3), ("₩1,200", 1200), ("18달러", 18), ("30%", 30)),
    *(("30퍼센트", 30), ("30프로", 30), ("25 km", 25), ("5㎡", 5), ("약 18개", 18)),
    *(("1만 2천3백 원", 12300), ("3만5천", 35000), ("만 이천 원", 12000), ("12만", 120000)),
    *(("1억 2,345만 원", 123450000), ("1.5만", 15000), ("5 만 원", 50000), ("2천", 2000)),
    *(
        ("3백만 원", 3000000),
        ("2조 3천억 원", 2300000000000),
        ("1경 원", 10**16),
        ("만 500원", 10500),
    ),
    *(("이십오 명", 25), ("삼천 원", 3000), ("오", 5), ("영", 0), ("백이십삼만 사천", 1234000)),
    *(("천이백 원", 1200), ("십만 원", 100000), ("만 원", 10000), ("육백만 불", 6000000)),
    *(("스물다섯 명", 25), ("열두 살", 12), ("세 개", 3), ("스무 권", 20), ("아흔아홉 마리", 99)),
    *(("하나", 1), ("백스물세 명", 123), ("스물 다섯", 25), ("석 달", 3), ("네 배", 4)),
    *(
        ("삼 점 오", "7/2"),
        ("영점오", "1/2"),
        ("십이 점 삼사", "617/50"),
        ("삼 소수점 일", "31/10"),
    ),
    *(("1/2", "1/2"), ("2와 1/2", "5/2"), ("2 1/2", "5/2"), ("2½", "5/2"), ("¾컵", "3/4")),
    *(("3분의 2", "2/3"), ("이분의 일", "1/2"), ("4 분의 3", "3/4"), ("2와 3분의 1", "7/3")),
    *(("3시간 반", "7/2"), ("한 시간 반", "3/2"), ("반 개", "1/2"), ("두 개 반입니다", "5/2")),
    *(("십이입니다", 12), ("서른셋이다", 33), ("**18**개", 18), ("$\\frac{2}{3}$", "2/3")),
]


@pytest.mark.parametrize(("text", "value"), NUMERALS, ids=[text for text, _ in NUMERALS])
def test_a_numeral_is_read(text: str, value: int | str) -> None:
    assert parse_number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "사과", "일요일", "만약", "천천히", "이사", "한국", "3~5개", "3-5명", "3에서 5 사이"),
        *("3개 또는 4개", "3, 4", "3:30", "3시 30분", "1시간 30분", "2024년 3월 5일", "2024-03-05"),
        *("1.2.3", "3/5/2024", "10^6", "2x", "x2", "두세 명", "이삼십 원", "오륙 년", "1/0"),
        *("이십이다", "4 × 3", "9" * 40, "3개의 사과", "구구단", "정답"),
    ],
)
def test_what_states_no_single_number_is_no_number(text: str) -> None:
    assert parse_number(text) is None


FOUND = [
    ("사과 3개와 스물다섯 명이 1억 2,345만 원", [3, 25, 123450000]),
    ("4 × 3 = 12, 60-15-25=20, 20 – 8", [4, 3, 12, 60, 15, 25, 20, 20, 8]),
    ("3~5개, 3–5, 3-5명, 3개에서 5개까지, 3 내지 5", [None] * 5),
    ("서너 개, 두세 명, 일이 년", [None] * 3),
    ("오후 3시 30분, 2시간 40분, 3년 6개월, 5달러 50센트", [None] * 4),
    ("2시간 40분은 160분", [None, 160]),
    ("3에서 5를 빼고 5부터 센다", [3, 5, 5]),
    ("5-3, 총점 -3점, (-3), 5 -3", [5, 3, -3, -3, 5, 3]),
    ("만 12세, 만 세 살, 만 5천 원", [12, 3, 15000]),
    ("1만 2만 3만", [10000, 20000, 30000]),
    ("15만큼, 3조로 나누면, 10만일 때, 3천이다", [15, 3, 100000, 3000]),
    ("삼점이 많다, 삼 점 이", ["16/5"]),
    ("이십이 된다, 이십이 개", [None, 22]),
    ("이 퍼센트, 이 원입니다, 이 원을", [2, 2]),
    ("백 세 노인과 스물한 살", [100, 21]),
    ("제3의 x2 cm^2 3x 문제", [3]),
    ("1인당 2배", [1, 2]),
    ("답은 .5, 확률 .25", ["1/2", "1/4"]),
    ("2\n3개\nA\n4", [2, 3, 4]),  # the end of a line is in front of nothing
]


@pytest.mark.parametrize(("text", "values"), FOUND, ids=[text for text, _ in FOUND])
def test_numbers_are_found_in_text(text: str, values: list[int | str | None]) -> None:
    found = [number.value for number in find_numbers(normalized(text))]
    assert found == [None if value is None else Fraction(value) for value in values]


def test_a_number_has_its_place_with_its_signs_and_without_its_unit() -> None:
    text = "값은 -$1,200달러, 3시간 반, 1만 2천 원이다"
    spans = [text[number.start : number.end] for number in find_numbers(text)]
    assert spans == ["-$1,200", "3시간 반", "1만 2천"]


def test_the_syllables_of_ordinary_words_are_no_numbers() -> None:
    text = (
        "사과 이사 만약 만일 조금 조사 천천히 천사 일요일 일주 오늘 오이 구경 구조 영화 육개장 경제"
        " 한국 한번 한편 두부 두통 세대 세배 세상 네모 네, 열심히 열차 하나의 둘레 공사 백화점"
        " 십자가 삼촌 사이 이 점을 보면 할 일이 이 시간에 오만한 이만 그만 사만다 반드시 절반 첫째"
    )
    assert find_numbers(text) == []


@given(st.integers(-(10**9), 10**9), st.sampled_from((" 원", " 개", " 킬로미터입니다")))
def test_an_integer_is_read_back_however_it_is_written(value: int, behind: str) -> None:
    for written in (str(value), commas(value), mixed(value, " "), mixed(value, ""), sino(value)):
        assert parse_number(written + behind) == value
    assert parse_number(full_width(commas(value))) == value


@given(st.integers(1, 99), st.sampled_from((" 명", " 개", " 마리", " 살", " 시간")))
def test_a_native_numeral_is_read_back(value: int, counter: str) -> None:
    assert parse_number(native(value) + counter) == value
    assert [number.value for number in find_numbers(f"모두 {native(value)}{counter}였다")] == [
        value
    ]


@given(st.integers(0, 9999), st.integers(1, 999))
def test_decimals_and_fractions_are_read_back(whole: int, part: int) -> None:
    digits = f"{part:03}"
    expected = Fraction(f"{whole}.{digits}")
    spelled = " ".join("영일이삼사오육칠팔구"[int(digit)] for digit in digits)
    assert parse_number(f"{whole}.{digits}") == expected
    assert parse_number(f"{sino(whole)} 점 {spelled} 미터") == expected
    assert parse_number(f"{part}분의 {whole}") == Fraction(whole, part)
    assert parse_number(f"{whole}/{part}") == Fraction(whole, part)


WITHOUT_NUMERALS = "가나다라마바과자차카타파고는을를에서그러면 .,!?\n"


@given(st.text(alphabet=WITHOUT_NUMERALS, max_size=60))
def test_text_without_digits_or_numerals_holds_no_number(text: str) -> None:
    assert find_numbers(normalized(text)) == []
    assert extract_number(text) is None


@given(st.text(max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert extract_number(text) is None or any(c.isnumeric() or "가" <= c <= "힣" for c in text)


# --- the final number -------------------------------------------------------------------------

ANSWERS = [
    ("3 + 4 = 7\n#### 7", 7),
    ("#### 12,000원입니다.", 12000),
    ("####18", 18),
    ("#### -3\n다시 계산하면\n#### 5", 5),  # the last one wins
    ("#### 1단계\n3 + 4 = 7\n#### 2단계\n7 × 2 = 14", 14),  # headings
    ("#### 3~5개", None),
    ("\\boxed{3}이라 했지만 $\\boxed{4\\text{개}}$이다. 5단계를 거쳤다.", 4),
    ("\\boxed{3 \\text{ 또는 } 4}", None),
    ("정답은 18달러입니다. 왜냐하면 3 × 6 = 18이고 9로 나누면 2이기 때문입니다.", 18),
    ("답:\n18", 18),
    ("정답은 18입니다. 아니, 다시 계산하면 정답은 20입니다.", 20),
    ("정답은 18이 아니라 20입니다.", 20),
    ("정답은 18개로, 3명이 6개씩 나눠 가집니다.", 18),
    ("정답은 16 - 3 - 4 = 9이므로 9 × 2 = 18달러입니다.", 18),
    ("18개가 정답입니다. 3번 확인했습니다.", 18),
    ("정답은 오입니다.", 5),
    ("정답은 사과입니다.", None),
    ("답: 먼저 3 + 4 = 7이다.\n그다음 7 × 2 = 14이다.", 14),
    ("정답은 다음과 같습니다.\n\n18개", 18),
    ("정답은 5가 아닙니다.", None),
    ("정답은 3개 또는 4개입니다.", None),
    ("답: 3, 4", None),
    ("정답은 12,000원(1만 2천 원)입니다.", 12000),
    ("정답은 4 × 3입니다.", None),
    ("정답은 18일까요?", None),
    ("정답은 3입니다. 아니, 정답은 없습니다.", None),
    ("총 3개입니다. 하지만 정확한 값은 알 수 없습니다.", None),
    ("알 수 없는 수를 x라 하면 x = 5이다.", 5),
    ("정답은 3시입니다.", 3),
    ("오후 3시 30분에 도착한다.", None),
    ("따라서 72 - 54 = 18개를 더 만들어야 72개가 된다.", 18),
    ("3+4=7이고, 여기에 2를 더하면 9이다.", 9),
    ("96개의 쿠키 / 6명 = 1인당 16개의 쿠키.", 16),
    ("따라서 총 7개(=3+4)입니다.", 7),
    ("따라서 60km를 1시간에 달린다.", 60),
    ("하루에 3개씩 6일 동안 18개를 먹습니다.", 18),
    ("총 18개이다.\n검산: 18 ÷ 3 = 6이므로 맞습니다.", 18),
    ("총 18개이다. 더 궁금하면 말씀해 주세요! 1번 더 확인하세요.", 18),
    ("| 항목 | 값 |\n|---|---|\n| 처음 | 45 |\n| 합계 | 18개 |", 18),
    ("답: 18\n\n질문: 3 더하기 4는?\n답: 7", 18),
    ("질문: 사과는 3개이다. 몇 개인가?\n답: 18", 18),
    ("The answer is 18. It took 3 steps.", 18),
    ("He makes 9 * 2 = $<<9*2=18>>18 every day.", 18),
    ("안녕하세요.", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "value"), ANSWERS, ids=[text[:40] for text, _ in ANSWERS])
def test_the_final_number_is_the_one_that_answers(text: str, value: int | None) -> None:
    assert extract_number(text) == value


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_bundled_solutions_are_read_with_and_without_their_mark() -> None:
    seeds = REPOSITORY / "seeds"
    solutions = [*rows(seeds / "ko_gsm8k.jsonl"), *rows(seeds / "ko_gsm8k.fewshot.jsonl")]
    assert len(solutions) >= 56
    for solution in solutions:
        worked, _, number = solution["answer"].rpartition("\n#### ")
        assert extract_number(solution["answer"]) == Fraction(number)
        assert extract_number(worked) == Fraction(number)


ENGLISH = DATA / "gsm8k-en" / "test.jsonl"
KOREAN = DATA / "ko-gsm8k" / "kor-gsm8k-test.jsonl"


@pytest.mark.skipif(not ENGLISH.is_file(), reason=f"no file {ENGLISH}")
def test_every_published_english_solution_is_read_right() -> None:
    solutions = [row["answer"] for row in rows(ENGLISH)]
    assert len(solutions) == 1319
    for answer in solutions:
        assert extract_number(answer) == Fraction(answer.rpartition("#### ")[2].replace(",", ""))


@pytest.mark.skipif(not KOREAN.is_file(), reason=f"no file {KOREAN}")
def test_published_korean_solutions_without_a_mark_are_read() -> None:
    """Machine-translated; about a dozen are cut or contradict their answer."""
    solutions = rows(KOREAN)
    right = [
        extract_number(row["kor_answer"]) == Fraction(row["answer_s"].replace(",", ""))
        for row in solutions
    ]
    assert len(right) == 1319
    assert sum(right) >= 1295


HOSTILE = (
    *(
        "1",
        "1,",
        "1 ",
        "1:",
        "3~",
        "만 ",
        "일 이 ",
        "스물 ",
        "삼 점 ",
        "이십이 ",
        "½",
        "3=",
        "3 + ",
    ),
    *(
        "정답은 3 또는 ",
        "답: ",
        "#### 3 ",
        "이 정답이다",
        "3에서 ",
        "(3) 가 ",
        "((",
        "아니라 ",
        " ",
    ),
    *("\\boxed{", "\\frac{", "}", "$3", "* a", "~~a", "<<", "1. ", "3\n", "3단계 "),
    *(
        "..-1~2",
        "1:",
        "#### a\n",
        "정답은 가 ",
        "만일. ",
        "확인 ",
        "가. 확인\n",
        "3 가 정답입니다 ",
    ),
)
NESTED = (("\\boxed{", "}"), ("\\frac{", "}"), ("(", ")"), ("<think>", "</think>"))


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_bounded_time(unit: str) -> None:
    def written(size: int) -> str:
        return unit * (size // len(unit.encode())) + "가 3개"

    assert read_in_bounded_time(extract_number, written, seconds=2)


@pytest.mark.parametrize(("opening", "closing"), NESTED)
def test_marks_inside_one_another_take_bounded_time(opening: str, closing: str) -> None:
    def written(size: int) -> str:
        times = size // len(opening + closing)
        return opening * times + "3" + closing * times

    assert read_in_bounded_time(extract_number, written, seconds=2)
