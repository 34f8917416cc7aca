"""The words of the report, in English and Korean."""

from __future__ import annotations

from collections.abc import Mapping

from ko_eval.reports.html.words import WORDS, Word

_SECTIONS: Mapping[str, Word] = {
    "scores": Word("Scores", "점수"),
    "how_answered": Word("How it answered", "응답 상태"),
    "by_group": Word("By group", "분류별 점수"),
    "samples": Word("Samples", "문항 보기"),
    "protocol": Word("Protocol", "평가 방식"),
    "effort": Word("Plan and effort", "계획과 실제"),
    "provenance": Word("Provenance", "출처와 환경"),
}

_SCORES: Mapping[str, Word] = {
    "report_of": Word("Report", "평가 보고서"),
    "compared": Word("{n} runs side by side", "실행 {n}개 나란히 보기"),
    "mean_of": Word("plain mean of {n} tasks", "과제 {n}개의 단순 평균"),
    "first_rows": Word("first {n} rows of each task", "과제마다 앞의 {n}문항"),
    "all_rows": Word("all rows", "전체 문항"),
    "suite": Word("Suite", "과제 묶음"),
    "run_on": Word("Run", "실행"),
    "items": Word("Samples", "문항"),
    "shots": Word("Shots", "예시 수"),
    "chat_template": Word("Chat template", "대화 형식"),
    "on": Word("on", "사용"),
    "off": Word("off", "사용 안 함"),
    "engine": Word("Engine", "실행 엔진"),
    "data_label": Word("Data", "데이터"),
    "radar_of": Word("Radar of the tasks' scores", "과제별 점수 방사형 그림"),
    "bars_of": Word(
        "Bars of the tasks' scores with 95% intervals", "과제별 점수와 95% 신뢰구간 막대그림"
    ),
    "whiskers": Word("Thin lines: 95% intervals.", "가는 선: 95% 신뢰구간"),
    "scores_table": Word("Scores on the board's scale", "리더보드 척도의 점수"),
    "other_metrics": Word("All metrics of each task", "과제별 모든 지표"),
    "index": Word("Index", "지수"),
    "index_of": Word("Index by category with 95% intervals", "영역별 지수와 95% 신뢰구간"),
    "index_means": Word(
        "Korean-aware metrics, corrected for chance (0: guessing, 100: perfect), weighted by "
        "category. The plain average is above.",
        "한국어에 맞게 채점한 지표에서 우연히 맞힐 몫을 뺀 값입니다(0: 찍기, 100: 만점). 영역별 "
        "가중치로 합합니다. 단순 평균은 위에 있습니다.",
    ),
    "use_compare": Word(
        "Overlapping intervals do not mean that two runs are equal: ko-eval compare tests item "
        "by item.",
        "구간이 겹친다고 두 실행이 같다는 뜻은 아닙니다. 문항별 검정은 ko-eval compare로 합니다.",
    ),
    "other_rows": Word(
        "{task}: the runs were asked different rows, so these scores are of different tests.",
        "{task}: 실행마다 문항이 달라 점수를 그대로 비교할 수 없습니다.",
    ),
    "holds_items": Word(
        "This file holds test items of private data. Keep it as private as the data.",
        "이 파일에는 비공개 데이터의 문항이 들어 있습니다. 데이터와 똑같이 관리하세요.",
    ),
    "warnings": Word("Warnings of the run", "실행 중 알림"),
}

_ANSWERS: Mapping[str, Word] = {
    "all_answered": Word(
        "Every response held an answer that could be judged.",
        "모든 응답에서 채점할 수 있는 답을 찾았습니다.",
    ),
    "shares_of": Word("Shares of outcomes per task", "과제별 응답 결과의 비율"),
    "outcome_counts": Word("Outcomes, number of samples", "응답 결과(문항 수)"),
    "loss_of": Word("Format loss per task with 95% intervals", "과제별 형식 손실과 95% 신뢰구간"),
    "loss_means": Word(
        "Points that the Korean-aware reading of the same responses finds beyond the published "
        "one.",
        "같은 응답을 한국어에 맞게 읽었을 때 발표된 채점 방식보다 더 얻는 점수입니다.",
    ),
    "cut_contexts": Word(
        "{task}: {n} prompts were longer than the model's window and were cut on the left.",
        "{task}: 질문 {n}개가 모델의 입력 한도보다 길어 앞부분이 잘렸습니다.",
    ),
    "groups_of": Word("Scores by group with 95% intervals", "분류별 점수와 95% 신뢰구간"),
    "group": Word("Group", "분류"),
    "no_group": Word("(none)", "(없음)"),
}

_SAMPLES: Mapping[str, Word] = {
    "search": Word("Search text", "내용 검색"),
    "search_hint": Word("Search prompts, responses, ids", "질문, 응답, 번호에서 찾기"),
    "any_outcome": Word("Any outcome", "모든 응답 결과"),
    "any_result": Word("Right and wrong", "정답과 오답"),
    "right": Word("right", "정답"),
    "partly": Word("partly right", "부분 점수"),
    "wrong": Word("wrong", "오답"),
    "disagree": Word("runs disagree", "실행끼리 다름"),
    "any_group": Word("All groups", "모든 분류"),
    "any_run": Word("Any run", "모든 실행"),
    "order": Word("Order", "순서"),
    "order_data": Word("As in the data", "데이터 순서"),
    "order_worst": Word("Lowest first", "낮은 점수부터"),
    "order_best": Word("Highest first", "높은 점수부터"),
    "order_long": Word("Longest first", "긴 응답부터"),
    "filter_task": Word("Task", "과제"),
    "filter_outcome": Word("Outcome", "응답 결과"),
    "filter_result": Word("Result", "정오"),
    "filter_group": Word("Group", "분류"),
    "filter_run": Word("Run", "실행"),
    "found": Word("{n} of {all} samples", "{all}문항 중 {n}문항"),
    "none_found": Word("No sample fits these filters.", "조건에 맞는 문항이 없습니다."),
    "earlier": Word("Previous page", "이전 쪽"),
    "later": Word("Next page", "다음 쪽"),
    "page_of": Word("page {page} of {pages}", "{pages}쪽 중 {page}쪽"),
    "list_of": Word("Samples found", "찾은 문항"),
    "one_sample": Word("Sample", "문항"),
    "previous_sample": Word("Previous sample", "이전 문항"),
    "next_sample": Word("Next sample", "다음 문항"),
    "prompt": Word("Prompt", "질문"),
    "prompt_choice": Word("Prompt of choice {n}", "보기 {n}의 질문"),
    "examples": Word("Text in front: {n} characters", "앞에 붙은 글: {n}자"),
    "cut_left": Word("{n} tokens were cut on the left.", "앞에서 {n}토큰이 잘렸습니다."),
    "prefixed": Word("Put in front by the tokenizer:", "토크나이저가 앞에 붙인 토큰:"),
    "not_recorded": Word(
        "This run did not record its prompts.", "이 실행은 질문을 기록하지 않았습니다."
    ),
    "response": Word("Response", "응답"),
    "empty_response": Word("(empty)", "(빈 응답)"),
    "no_response": Word("The response is not in the journal.", "응답 기록이 없습니다."),
    "thinking": Word("Thinking: {n} characters", "생각 과정: {n}자"),
    "extracted": Word("Extracted answer", "추출한 답"),
    "expected": Word("Expected", "정답"),
    "reference": Word("Compared with", "채점 기준"),
    "choices": Word("Choices", "보기"),
    "choice": Word("Choice", "보기"),
    "loglikelihood": Word("Log-likelihood", "로그 가능도"),
    "per_token": Word("Per token", "토큰당"),
    "tokens": Word("Tokens", "토큰"),
    "is_right": Word("right answer", "정답"),
    "is_chosen": Word("chosen", "선택"),
    "credit": Word("Credit", "배점"),
    "scorer_saw": Word("What the scorer saw", "채점기가 본 것"),
    "finish": Word("Ended", "종료"),
    "finish_stop": Word("by itself", "스스로 끝남"),
    "finish_length": Word("at the token limit", "토큰 한도에서 끊김"),
    "finish_unknown": Word("not known", "알 수 없음"),
    "loading": Word("Unpacking…", "여는 중…"),
    "cannot_unpack": Word(
        "This browser cannot unpack the samples; use a version from 2023 or later.",
        "이 브라우저로는 문항을 열 수 없습니다. 2023년 이후 판을 쓰세요.",
    ),
    "n_short": Word("No.", "번호"),
    "other_metrics_short": Word("All metrics", "모든 지표"),
    "more_text": Word("Show all {n} characters", "{n}자 모두 보기"),
}

_FACTS: Mapping[str, Word] = {
    "fact": Word("Fact", "항목"),
    "value": Word("Value", "값"),
    "status": Word("Status", "근거 수준"),
    "why": Word("Why", "근거"),
    "known": Word("known", "확인"),
    "inferred": Word("inferred", "추론"),
    "assumed": Word("assumed", "가정"),
    "facts_count": Word("{n} facts, {assumed} of them assumed", "항목 {n}개(가정 {assumed}개)"),
    "of_suite": Word("The suite", "과제 묶음"),
    "protocol_means": Word(
        "What the board never published is marked inferred or assumed.",
        "리더보드가 밝히지 않은 항목은 추론 또는 가정으로 표시합니다.",
    ),
    "notes": Word("Notes", "참고"),
    "rows_from": Word("Rows", "문항 출처"),
    "examples_from": Word("Examples", "예시 출처"),
    "definition": Word("Definition (SHA-256)", "과제 정의 (SHA-256)"),
    "requests": Word("Requests", "요청"),
    "asked_tokens": Word("Tokens to read", "읽을 토큰"),
    "distinct_tokens": Word("Distinct", "중복 제외"),
    "fewer": Word("Fewer", "절감"),
    "most_written": Word("Writes at most", "최대 작성"),
    "written": Word("Written", "실제 작성"),
    "thinking_tokens": Word("Thinking", "생각"),
    "time": Word("Time", "시간"),
    "speed": Word("Tokens/s", "초당 토큰"),
    "total": Word("All", "합계"),
    "effort_means": Word(
        "What the plan allowed and what it took; time is the engine's, loading left out.",
        "계획한 양과 실제로 쓴 양입니다. 시간은 엔진의 시간이며 모델을 불러온 시간은 빠졌습니다.",
    ),
    "cost": Word("Cost", "비용"),
    "cost_means": Word(
        "{amount} {currency} by the prices in configs/models.",
        "configs/models의 단가로 {amount} {currency}입니다.",
    ),
    "revision": Word("Revision", "개정"),
    "weights": Word("Content (SHA-256)", "내용 (SHA-256)"),
    "adapter": Word("Adapter", "어댑터"),
    "window": Word("Window", "입력 한도"),
    "template": Word("Template (SHA-256)", "대화 형식 (SHA-256)"),
    "fingerprint": Word("Fingerprint", "지문"),
    "seed": Word("Seed", "난수 씨앗"),
    "version": Word("ko-eval", "ko-eval"),
    "conditions": Word("Conditions", "실행 조건"),
    "environment": Word("Versions", "버전"),
    "layers": Word("Layers of the fingerprint", "지문의 층"),
    "type": Word("Type", "종류"),
}

_CATEGORIES: Mapping[str, Word] = {
    "language": Word("language", "언어"),
    "helpfulness": Word("helpfulness", "유용성"),
    "open_ended": Word("open-ended", "자유 응답"),
}

REPORT_WORDS: Mapping[str, Word] = {
    **WORDS,
    **_SECTIONS,
    **_SCORES,
    **_ANSWERS,
    **_SAMPLES,
    **_FACTS,
    **_CATEGORIES,
}
