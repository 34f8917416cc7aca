"""Korean sentences, scripts and syllables, as examples."""

from __future__ import annotations

import unicodedata

import pytest
from bounded_time import read_in_bounded_time
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.korean.prose import quotations
from ko_eval.korean.script import hangul_share, script_of, script_shares
from ko_eval.korean.sentences import count_sentences, split_sentences
from ko_eval.korean.syllables import (
    final_consonant,
    has_final_consonant,
    initial_consonant,
    is_syllable,
)

SENTENCES = [
    ("marks", ["비가 온다.", "우산이 있니?", "어서 가자!", "글쎄…", "모르겠다."]),
    ("full-width marks", ["비가 온다。", "정말？", "그래！"]),
    ("several marks", ["정말?!", "그래..."]),
    ("emoji behind a mark", ["반가워요!😊", "또 만나요~!"]),
    ("decimals", ["체온은 36.5도입니다.", "원주율은 약 3.14이다."]),
    ("a date", ["회의는 2024. 3. 5. 오후에 한다.", "늦지 마세요."]),
    ("list markers", ["1. 물을 끓인다.\n", "2. 면을 넣는다.\n", "가. 식힌다.\n", "ㄴ. 먹는다."]),
    ("bold list marker", ["**1.** 물을 끓인다.\n", "- 2. 면을 넣는다."]),
    ("marker alone on a line", ["1.\n물을 끓인다."]),
    ("initials", ["J. K. 롤링이 썼다.", "e.g. 사과가 있다.", "Mr. Kim이 왔다."]),
    ("a letter as the answer", ["정답은 B.\n", "이유는 아래와 같다."]),
    ("a quotation with marks", ["“어디 가니?”", "그가 물었다."]),
    ("a quotation taken up", ["“같이 가자!” 하고 외쳤다.", '"싫어."라고 답했다.']),
    ("brackets", ["(이것은 예시입니다.)", "다음을 보세요."]),
    ("endings without a mark", ["오늘은 쉬었습니다\n", "내일은 일해요\n", "비가 올까\n", "있음"]),
    ("laughter behind an ending", ["늦잠을 잤어요ㅋㅋ\n", "괜찮겠죠~"]),
    ("a sentence over two lines", ["봄이 오면 바다\n마을에 꽃이 핀다."]),
    ("a heading", ["## 준비물\n냄비가 필요합니다."]),
    ("informal endings without a mark", ["오늘 뭐 했어\n", "라면 먹자\n", "그래\n", "벌써 가니"]),
    ("no marks within a line", ["오늘은 비가 왔습니다", "그래서 집에 있었습니다"]),
    ("hasty 해요체", ["안녕하세요", "저는 김민수예요", "잘 부탁드려요"]),
    ("a call to somebody", ["안녕하세요 여러분!", "좋은 아침입니다 여러분\n"]),
    ("an ending that is taken up", ["그는 좋습니다 라고 말했습니다."]),
    ("an ending that goes on", ["어제 갔는데요 문이 닫혀 있었어요."]),
    ("a noun like an ending", ["한국 가요 듣기를 좋아해요."]),
    ("laughter after a space", ["그렇군요 ㅋㅋ\n", "맞아요 ^^"]),
    ("glued sentences", ["밥을 먹었다.", "그리고 잤다."]),
    ("a site", ["자세한 내용은 example.co.kr 에 있다."]),
]


@pytest.mark.parametrize(("name", "sentences"), SENTENCES, ids=[name for name, _ in SENTENCES])
def test_sentences_are_split_where_a_reader_would(name: str, sentences: list[str]) -> None:
    glue = "" if name == "glued sentences" else " "
    text = "".join(part if part.endswith("\n") else part + glue for part in sentences)
    assert split_sentences(text) == [part.strip() for part in sentences]


@pytest.mark.parametrize("text", ["", " \n ", "---", "***\n!!!", "😊"])
def test_text_without_letters_has_no_sentence(text: str) -> None:
    assert count_sentences(text) == 0


LINES = ["푸른 바다", "나라마다", "준비가 필요", "그러니까", "회의 개요", "참가자", "우리 동네"]
LINES += ["오래된 편지", "가을 노래", "새로운 분야", "서로에 대한 이해", "한국어", "고양이가"]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_ends_in_a_noun_or_connective_joins_the_next(line: str) -> None:
    assert count_sentences(f"{line}\n다음 줄이다.") == 1


@given(st.text(alphabet="가다요까.?!…\n \"')1A~", max_size=60))
def test_no_letter_is_lost_between_sentences(text: str) -> None:
    kept = "".join(split_sentences(text))
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]


HOSTILE = [".", "다.", "1.", " ", "\n", "~", "ㅋ", "요.가", "A. ", "```", "a@", "습니다 ", "“", "'"]
HOSTILE += ["$", "\\(", "\\[", "\\a", '"', "『", "> ", "$$"]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_bounded_time(unit: str) -> None:
    def read(text: str) -> None:
        count_sentences(text)
        script_shares(text, quoted=False)

    assert read_in_bounded_time(read, lambda size: unit * (size // len(unit)), seconds=3)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("안녕하세요", 1.0),
        ("한글 abcd", 0.25 * 4 / 3),
        ("안녕 hi", 0.5),
        ("설치는 `pip install`로 하세요", 1.0),
        ("설치:\n```\npip install\n```\n끝", 1.0),
        ("https://example.com/a에서 보세요", 1.0),
        ("name@example.com으로 보내세요", 1.0),
        ("넓이는 $\\pi r^2$입니다", 1.0),
        ("합은 \\(a+b\\)이고 \\[x=1\\] 이다", 1.0),
        ("값은 \\frac 입니다", 1.0),
        ("$5와 $10 abcd", 0.2),
        ("hello", 0.0),
        (unicodedata.normalize("NFD", "한글"), 1.0),
    ],
)
def test_hangul_share_counts_letters_outside_code_and_addresses(text: str, share: float) -> None:
    assert hangul_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["그는 “hello there”라고 했다", "'let it be'를 들어요", "> quoted\n제목은 「abc」이다"]
)
def test_quotations_are_left_out_on_request(text: str) -> None:
    assert hangul_share(text, quoted=False) == 1.0
    within = hangul_share(text)
    assert within is not None and within < 1.0


def test_an_apostrophe_quotes_nothing() -> None:
    assert quotations("don't say 'yes' or dogs' food") == ["yes"]
    assert quotations("“가자” 하고 ‘그래’라며 『봄』을") == ["가자", "그래", "봄"]


def test_text_without_letters_has_no_share() -> None:
    assert hangul_share("1, 2, 3! 😊") is None
    assert script_shares("") == {}


@pytest.mark.parametrize(
    ("letter", "script"),
    [
        *(("가", "hangul"), ("ㄱ", "hangul"), ("é", "latin"), ("ａ", "latin"), ("漢", "han")),
        *(("あ", "kana"), ("ﾊ", "kana"), ("я", "other"), ("ก", "other")),
    ],
)
def test_script_of_a_letter(letter: str, script: str) -> None:
    assert script_of(letter) == script


@pytest.mark.parametrize(
    ("syllable", "initial", "final"),
    [("가", "ㄱ", None), ("깍", "ㄲ", "ㄱ"), ("없", "ㅇ", "ㅄ"), ("힣", "ㅎ", "ㅎ")],
)
def test_consonants_of_a_syllable(syllable: str, initial: str, final: str | None) -> None:
    assert initial_consonant(syllable) == initial
    assert final_consonant(syllable) == final
    assert has_final_consonant(syllable) is (final is not None)


@pytest.mark.parametrize("character", ["ㄱ", "a", "", "가나", "漢"])
def test_only_precomposed_syllables_have_consonants(character: str) -> None:
    assert not is_syllable(character)
    assert initial_consonant(character) is None
    assert final_consonant(character) is None


@given(st.integers(0xAC00, 0xD7A3))
def test_consonants_agree_with_the_canonical_decomposition(code: int) -> None:
    jamo = unicodedata.normalize("NFD", chr(code))
    names = [unicodedata.name(part) for part in jamo]
    assert names[0].startswith("HANGUL CHOSEONG")
    assert has_final_consonant(chr(code)) is (len(jamo) == 3)
