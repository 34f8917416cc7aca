"""Labels and ratings read out of free Korean text: the policy's own examples, and properties."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from bounded_time import read_in_bounded_time
from hypothesis import assume, given
from hypothesis import strategies as st

from ko_eval.korean.answers.labels import extract_label
from ko_eval.korean.answers.ratings import extract_ratings
from ko_eval.korean.answers.responses import questions, without_reasoning

PALACES = ("경복궁", "창덕궁", "창경궁", "덕수궁")
EVEN = ("2", "4", "6", "8")
NAMES = ("기쁨", "서운함", "불안", "마음이 놓임")
RATED = {"기쁨": 7.0, "서운함": 3.0, "불안": 0.0, "마음이 놓임": 5.0}


def label(text: str, options: tuple[str, ...] = PALACES, labels: str = "ABCDE") -> str | None:
    chosen = extract_label(text, options, labels)
    return None if chosen is None else labels[chosen]


# --- Labels: the policy ---

STATED = [
    *(
        "정답은 B입니다",
        "답: ②",
        "정답: (B)",
        "최종 답변: B",
        "따라서 B가 정답이다",
        "B번이 맞습니다",
    ),
    *(
        "B를 고르겠습니다",
        "B를 선택합니다",
        "Answer: B",
        "The answer is B",
        r"$\boxed{B}$",
        "답: 나",
    ),
    *(
        "정답은 '창덕궁'입니다",
        "정답은 A... 아니, 다시 보면 정답은 B입니다",
        "정답은 2번, 창덕궁입니다",
    ),
    *("**정답: B. 창덕궁**", "정답\n\nB", "### 정답\n②", "답은 두 번째 보기입니다", "Answer: (B)"),
    *("The correct answer is B.", "The best option is (B)", '{"answer": "B"}', '{"정답": 2}'),
    *("저는 B라고 생각합니다", "B번으로 하겠습니다", "따라서 (B).", "A가 아니라 B입니다"),
    *(
        "정답은 A가 아닌 B입니다",
        "정답은 태종이 지은 창덕궁입니다.",
        "정답은 B이며, A는 오답입니다.",
    ),
    *("굳이 고르자면 B입니다.", "A라고 생각하기 쉽지만 정답은 B입니다.", "B가 아닐까 합니다."),
    *(
        "C가 정답처럼 보이지만 실제로는 B가 정답입니다.",
        "A와 B 중에서 B가 정답입니다",
        "정답은 B뿐입니다.",
    ),
    *("따라서 1405년에 지은 궁궐은 (B) 창덕궁입니다.", "정답이 B임을 알 수 있습니다.", "<b>B</b>"),
    *(
        "A. 조선의 법궁이므로 틀렸습니다.\nB. 태종이 지었으므로 맞습니다.",
        "정답은 의심할 여지 없이 B다.",
    ),
    *(
        "I would choose B.",
        "Option B is correct.",
        "**Final answer:** (B)",
        "A(X), B(O), C(X), D(X)",
    ),
    *("정답은 나입니다.", "정답: ㄴ", "정답은 나번이에요", "정답: Ｂ", "정답은 $\\text{B}$입니다."),
]


@pytest.mark.parametrize("text", STATED)
def test_a_stated_answer_is_read(text: str) -> None:
    assert label(text) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "(b)",
        "B)",
        "[B]",
        "B.",
        "B. 창덕궁",
        "② 창덕궁",
        "(나)",
        "나)",
        "ㄴ",
        "❷",
        "㉡",
        "㉯",
        "2",
    ],
)
def test_a_line_that_is_a_label_is_an_answer(text: str) -> None:
    assert label(text) == "B"
    assert label(f"{text}\n\n태종 때 지은 이궁이기 때문이다.") == "B"
    assert label(f"태종 때 지은 이궁이다.\n\n{text}") == "B"


@pytest.mark.parametrize(
    "text",
    [
        "이 궁궐은 (B)에 해당하는 곳으로 보인다.",
        "A: 틀림\nB: 맞음\nC: 틀림",
        "태종이 지은 궁궐로는 창덕궁이 있다.",
    ],
)
def test_the_only_option_judged_right_or_named_is_an_answer(text: str) -> None:
    assert label(text) == "B"


@pytest.mark.parametrize(
    "text",
    [
        *("", "궁궐에 대해 설명하겠습니다.", "정답을 알 수 없습니다", "정답이 없습니다"),
        *("판단하기 어렵습니다", "정답은 A와 C입니다", "B 또는 D", "답: A, C", "A이거나 B"),
        *("A. 경복궁\nB. 창덕궁\nC. 창경궁\nD. 덕수궁", "A는 정답이 아닙니다", "B는 틀렸다"),
        *("정답은 E입니다", "만약 A라면", "정답이 B라면", "정답은 (A)~(D) 중 하나로 쓰세요"),
        *('"정답: (A)"처럼 쓰세요', "정답은 B일까요?", "정답: B. 창경궁", "B. 창덕궁\nC. 창경궁"),
        *("A와 B가 모두 정답입니다", "A도 맞고 B도 맞습니다.", "C가 맞다면 모순이 생긴다."),
        *("답이 B라고 가정해 보자.", "예: 정답: A", "정답은 A도 B도 아닙니다."),
        *("정답은 A입니다. 아, 정답은 A가 아닙니다.", "모르겠습니다.\n\n질문: 다음은?\n정답: C"),
    ],
)
def test_what_states_no_single_shown_option_is_no_answer(text: str) -> None:
    assert label(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("A형과 B급, C사는 다르다.", "비타민 C가 많다.", "나는 사과가 좋다.", "집에 가다 말았다."),
        *(
            "이 번에는 다 먹었다.",
            "정답은 비타민 C입니다.",
            "f(A) = 3.5이고 A+는 높다.",
            "3개를 더한다.",
        ),
        *("총 3번의 입찰로 150원을 더한다.", "4일 후 책을 치운다.", "He had a choice near home."),
        *("First repeat, then give your answer (1. do not add words)", "제3항을 보라.", "C++과 C#"),
        *("주사위를 2번 던진다.", "3번 문제를 풀자.", "The answer is a palace.", "U.S.A는 나라다."),
    ],
)
def test_letters_and_numbers_inside_words_are_no_labels(text: str) -> None:
    assert label(text) is None


def test_text_behind_the_next_question_is_not_read() -> None:
    assert label("정답: B\n\n질문: 다음은 무엇인가?\n정답: C") == "B"
    assert label("B\n\n### 질문\n수도는?\n### 정답\nC") == "B"
    assert label("질문: 무엇인가?\nA. 경복궁\nB. 창덕궁\nC. 창경궁\nD. 덕수궁\n정답: D") == "D"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("정답은 4", EVEN, "B"),  # the number is an option's text
        ("정답은 4개입니다", EVEN, "B"),
        ("정답은 4번", EVEN, "D"),
        ("정답은 3", EVEN, None),
        ("정답은 3", PALACES, "C"),
        ("정답은 12", ("10명", "12명"), None),  # a quantity, or a place that is not there
        ("답: 3,000원", ("1000원", "3000원"), "B"),
        ("정답은 -3이다", ("3", "-3"), "B"),
        ("정답은 1/2이다", ("1/4", "1/2"), "B"),
        ("아니오, 그렇지 않습니다.", ("예", "아니오"), "B"),
        ("정답은 아니요입니다.", ("예", "아니오"), "B"),
        ("참 좋은 질문입니다.", ("참", "거짓"), None),
        ("거짓입니다.", ("참", "거짓"), "B"),
        ("모두 정답입니다", ("가위", "모두 정답"), "B"),
        ("정답: 정답 없음", ("1개", "정답 없음"), "B"),
        ("글만으로는 알 수 없습니다.", ("노인", "알 수 없다"), "B"),
        ("서울특별시입니다.", ("서울", "서울특별시"), "B"),
        ("정답은 고조선입니다", ("조선", "고조선"), "B"),
        ("정답은 ㄱ과 ㄴ입니다", ("ㄱ", "ㄱ, ㄴ", "ㄴ, ㄷ"), "B"),
        ("답: ㄷ", ("ㄱ, ㄴ", "ㄴ, ㄷ"), None),  # statements ㄱ to ㄷ, no list of places
        ("정답은 A형입니다", ("B형", "A형"), "B"),
    ],
)
def test_an_option_is_named_by_its_text(
    text: str, options: tuple[str, ...], expected: str | None
) -> None:
    assert label(text, options) == expected


def test_the_style_shown_wins() -> None:
    assert extract_label("정답은 4", EVEN, "1234") == 3
    assert extract_label("정답은 나", PALACES, "가나다라") == 1
    assert extract_label("정답은 ③", PALACES, "①②③④") == 2
    assert extract_label("정답은 X", ("맞다", "틀리다"), "OX") == 1


def test_more_options_than_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match="4 options, but 2 labels"):
        extract_label("A", PALACES, "AB")


# --- What is no part of the answer ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("정답: B", "정답: B"),
        ("<think>A인가?</think>정답: B", "정답: B"),
        ("<THOUGHT>A인가?</THOUGHT>정답: B", "정답: B"),
        ("A인가?</think>정답: B", "정답: B"),  # the prompt opened it
        ("<think>A인가?</think>음, <think>C인가?</think>정답: B", "음, 정답: B"),
        ("<think><think>A인가?</think>정답: B", "정답: B"),
        ("<think>A인가?</think>정답: B</think>", "정답: B"),
        ("정답: B<think>A인가?", "정답: B"),
        ("<think>정답은 A이다.", ""),
        ("정답은 A이다.</think>", ""),
    ],
)
def test_marked_reasoning_is_no_part_of_an_answer(text: str, answer: str) -> None:
    assert without_reasoning(text).replace("\n", "") == answer


@pytest.mark.parametrize(
    "line",
    [
        *(
            "질문: 다음은?",
            "문제 2. 다음은?",
            "[문제 12]",
            "**Q:** 다음은?",
            "### 질문",
            "Question 3:",
        ),
        *("문제", "【문항 2】 다음은?", "User: 다음은?"),
    ],
)
def test_a_response_is_cut_at_the_line_of_the_next_question(line: str) -> None:
    assert list(questions(f"답\n{line}\n답 2")) == [("", "답\n"), (line, "\n답 2")]


@pytest.mark.parametrize(
    "line", ["문제가 어렵다.", "문제 1.5배", "3번 문제: 답", "Quite: 답", "사용자"]
)
def test_other_lines_begin_no_question(line: str) -> None:
    text = f"답\n{line}는\n답 2"
    assert list(questions(text)) == [("", text)]


# --- Ratings: the policy ---


@pytest.mark.parametrize(
    "line",
    [
        *("{0}: {1}", "{0}：{1}", "{0} - {1}", "{0} = {1}", "{0}({1})", "{0} {1}점", "{0}: {1}/10"),
        *("**{0}**: {1}", "**{0}: {1}**", "1. {0}: {1}", "- {0}: {1}", "① {0}: {1}", "'{0}': {1}"),
        *(
            "| {0} | {1} |",
            "| {0} | 이유 | {1} |",
            '"{0}": {1},',
            '{{"emotion": "{0}", "score": {1}}}',
        ),
        *("{0}의 정도: {1}", "{0}\n- 점수: {1}\n- 이유: 대화", "{0} (0~10): {1}", "{0}: 1 → {1}"),
    ],
)
def test_a_name_and_its_number_are_read_in_any_form(line: str) -> None:
    text = "\n".join(line.format(name, f"{value:g}") for name, value in RATED.items())
    assert extract_ratings(text, NAMES) == RATED


@pytest.mark.parametrize(
    "text",
    [
        "| 기쁨 | 서운함 | 불안 | 마음이 놓임 |\n|---|---|---|---|\n| 7 | 3 | 0 | 5 |",
        "기쁨: 7, 서운함: 3 / 불안: 0, 마음이놓임: 5",
        "기쁜 마음: 7\n서운하다: 3\n불안감: 0\n마음이  놓인다: 5",
        "기쁨: 칠 점\n서운함: 세 점\n불안: 영 점\n마음이 놓임: 다섯 점",
        "기쁨: 1\n서운함: 1\n불안: 1\n마음이 놓임: 1\n수정한 점수\n"
        "기쁨: 7\n서운함: 3\n불안: 0\n마음이 놓임: 5",
        "기쁨: 7\n서운함: 3\n불안: 0\n마음이 놓임: 5\n다시 보면 기쁨: 9",  # no complete set
        "0(전혀 없음)부터 10까지.\n기쁨: <점수>\n기쁨: 7\n서운함: 3\n불안: 0\n마음이 놓임: 5",
        "당황: 2\n기쁨: 7\n서운함: 3\n불안: 0\n마음이 놓임: 5",
    ],
)
def test_the_last_complete_set_of_ratings_counts(text: str) -> None:
    assert extract_ratings(text, NAMES) == RATED


@pytest.mark.parametrize(
    "first",
    [
        "",
        "기쁨: 11",
        "기쁨: -1",
        "기쁨: 6~7",
        "기쁨: <점수>",
        "기쁨: x",
        "기쁨: 70%",
        "극기쁨: 7",
        "당황: 7",
    ],
)
def test_a_missing_or_unusable_rating_refuses_the_answer(first: str) -> None:
    assert extract_ratings(f"{first}\n서운함: 3\n불안: 0\n마음이 놓임: 5", NAMES) is None


def test_a_form_that_two_names_share_names_neither() -> None:
    names = ("불안함", "불안감")
    assert extract_ratings("불안함: 7\n불안감: 3", names) == {"불안함": 7, "불안감": 3}
    assert extract_ratings("불안: 7\n불안감: 3", names) is None
    assert extract_ratings("불안: 7\n불안: 3", ("불안", "불안")) is None


# --- Properties ---

# Words without a label, an option of PALACES or NAMES, a digit or a numeral.
WORDS = (
    "오늘",
    "하늘은",
    "맑고",
    "바람이",
    "분다",
    "학생들이",
    "공원에서",
    "노래를",
    "불렀다",
    "강물이",
    "흐른다",
)
prose = st.lists(
    st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.sampled_from(".\n!,")),
    max_size=12,
).map(lambda sentences: " ".join(" ".join(words) + end for words, end in sentences))

FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
markers = st.sampled_from(("A", "B", "C", "D"))
statements = st.sampled_from(
    (
        "정답은 {0}입니다.",
        "정답: {0}",
        "답은 ({0})이다.",
        "{0}번이 맞습니다.",
        "따라서 {0}가 정답이다.",
    )
)


@given(prose)
def test_no_answer_is_invented_from_prose(text: str) -> None:
    assert label(text) is None
    assert extract_ratings(text, NAMES) is None


@given(st.text(alphabet="가나다라마는이 .,()12345AB번정답은를:\n", max_size=60))
def test_an_answer_is_always_an_option_or_none(text: str) -> None:
    chosen = extract_label(text, PALACES)
    assert chosen is None or 0 <= chosen < len(PALACES)
    assert chosen == extract_label(text, PALACES)


@given(st.text(max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    extract_label(text, PALACES)
    extract_ratings(text, NAMES)


@given(st.text(alphabet="는은 .,\n기쁨서운함불안", max_size=60))
def test_without_a_number_there_is_no_rating(text: str) -> None:
    assert extract_ratings(text, NAMES) is None


@given(statements, markers, prose, prose)
def test_a_statement_survives_its_surroundings(
    form: str, marker: str, before: str, after: str
) -> None:
    stated = form.format(marker)
    assert label(f"{before}\n{stated}\n{after}") == marker
    assert label(f"안녕하세요. 답변드리겠습니다.\n{stated}\n도움이 되셨기를 바랍니다.") == marker


@given(statements, markers)
def test_a_label_does_not_depend_on_characters_or_markup(form: str, marker: str) -> None:
    stated = form.format(marker)
    for changed in (
        unicodedata.normalize("NFD", stated),
        stated.translate(FULL_WIDTH),
        f"**{stated}**",
        f"> {stated}",
        form.format(f"**{marker}**"),
        form.format(rf"$\boxed{{{marker}}}$"),
        form.format(marker.lower()),
    ):
        assert label(changed) == marker, changed


@given(st.permutations(NAMES), st.lists(st.integers(0, 10), min_size=4, max_size=4), prose)
def test_ratings_do_not_depend_on_order_characters_or_markup(
    names: list[str], values: list[int], around: str
) -> None:
    expected = dict(zip(names, map(float, values), strict=True))
    text = "\n".join(f"{name}: {value:g}" for name, value in expected.items())
    for changed in (
        text,
        f"{around}\n{text}\n{around}",
        unicodedata.normalize("NFD", text),
        text.translate(FULL_WIDTH),
        "\n".join(f"**{line}**" for line in text.split("\n")),
        re.sub(r"^(.*):", r"**\1**:", text, flags=re.MULTILINE),
    ):
        assert extract_ratings(changed, NAMES) == expected, changed


@given(st.lists(st.floats(0, 10).map(lambda value: round(value, 1)), min_size=4, max_size=4))
def test_decimals_are_read_as_written(values: list[float]) -> None:
    text = ", ".join(f"{name} {value}점" for name, value in zip(NAMES, values, strict=True))
    assert extract_ratings(text, NAMES) == dict(zip(NAMES, values, strict=True))


@given(st.integers(11, 10**6), st.sampled_from(NAMES))
def test_a_number_above_ten_is_never_a_rating(number: int, name: str) -> None:
    values = {**RATED, name: float(number)}
    text = "\n".join(f"{name}: {value:.0f}" for name, value in values.items())
    assert extract_ratings(text, NAMES) is None


@given(statements, st.permutations("ABCD"))
def test_the_last_of_several_statements_wins(form: str, order: list[str]) -> None:
    assume(order[0] != order[1])
    assert label(f"{form.format(order[0])}\n아니, 다시 보면 {form.format(order[1])}") == order[1]


HOSTILE = [
    *(
        "정답",
        "정답은 ",
        "정답: ",
        "정답은 A와 ",
        "정답은 B입니다. ",
        "정답이 없",
        "(",
        "(A",
        "A(",
        "[A]",
        "A,",
    ),
    *(
        "A, ",
        "A 또는 ",
        "A가 아니라 ",
        "A\n",
        "A: ",
        "B번 ",
        "①",
        "①~",
        "|",
        "{",
        '"',
        "**",
        "_",
        "$",
        "\\boxed{",
    ),
    *(
        "\\boxed{B}",
        "질문:\n",
        "질문\n",
        "\n",
        " ",
        "\u200b",
        "경복궁 ",
        "만약 ",
        "첫 번째 ",
        "보기 ",
        "3 ",
        "1.",
    ),
    *(
        "answer ",
        "the answer is ",
        "기쁨",
        "기쁨 ",
        "기쁨: ",
        "기쁨: 7 ",
        "기쁨|",
        "| 기쁨 |\n",
        "기쁨(",
        "마음이 ",
    ),
    *(
        "score: 7, ",
        "칠 점 ",
        "0(",
        "기쁨\n",
        "<b>",
        "~~",
        "A. 경복궁\nB. 창덕궁\nC. 창경궁\nD. 덕수궁\n",
    ),
    *(
        "A B ",
        "[1/2(B",
        "A. B. ",
        "A말고 ",
        "(A) 만약 ",
        "예: 답 A ",
        "Q\n",
        "Q\nA B\n",
        "답 없",
        "3①",
    ),
    *("<think>", "</think>", "A (B는 ", "A도 맞고 "),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_bounded_time(unit: str) -> None:
    def read(text: str) -> None:
        extract_label(text, PALACES)
        extract_ratings(text, NAMES)

    assert read_in_bounded_time(read, lambda size: unit * (size // len(unit)), seconds=2)


def test_the_options_of_a_new_question_cost_little() -> None:
    start = time.process_time()
    for number in range(20):
        extract_label("정답은 B입니다.", [f"{palace} {number}" for palace in PALACES])
    assert time.process_time() - start < 1
