"""Every word of the leaderboard's pages in English and Korean, beside those all pages share."""

from __future__ import annotations

from collections.abc import Mapping

from ko_eval.reports.html.words import WORDS as SHARED
from ko_eval.reports.html.words import Word

OWN: Mapping[str, Word] = {
    # --- frame ---
    "ranking": Word("Ranking", "순위"),
    "head_to_head": Word("Head to head", "일대일 비교"),
    "not_ranked_page": Word("Not ranked", "순위 밖"),
    "downloads": Word("Data of this board", "이 순위표의 데이터"),
    "newest": Word("Newest run: {day}", "가장 최근 평가: {day}"),
    "footer": Word(
        "Made with ko-eval {version}. Scores are those of result files and published cards.",
        "ko-eval {version}(으)로 만들었습니다. 점수는 모두 결과 파일과 발표 기록에 있는 값입니다.",
    ),
    "unknown": Word("unknown", "알 수 없음"),
    # --- boards ---
    "boards": Word("Boards", "순위표"),
    "single_tasks": Word("single tasks", "개별 과제"),
    "models_count": Word("{n} models", "모델 {n}개"),
    "models_ranked": Word("models ranked", "순위 모델"),
    "tasks_count": Word("{n} tasks", "과제 {n}개"),
    "samples_count": Word("{n} questions per model", "모델당 {n}문항"),
    "first_rows": Word("first {n} rows", "앞 {n}문항"),
    "mixed": Word("mixed data", "여러 데이터"),
    "private_note": Word(
        "Private data: rows that were given to ko-eval as files. Scores are ranked only among "
        "models that were asked the same rows.",
        "비공개 데이터: 파일로 받은 문항입니다. 같은 문항으로 평가한 모델끼리만 순위를 매깁니다.",
    ),
    "mixed_note": Word(
        "Rows of several kinds: see each task's source below.",
        "과제마다 데이터의 종류가 다릅니다. 아래에서 과제별 출처를 확인하세요.",
    ),
    "differs_from": Word(
        "This board stands apart from the largest one of these tasks:",
        "같은 과제의 가장 큰 순위표와 나뉜 까닭:",
    ),
    # --- table ---
    "search": Word("Search models", "모델 검색"),
    "type": Word("Type", "종류"),
    "size": Word("Size", "크기"),
    "licence": Word("Licence", "라이선스"),
    "released": Word("Released", "공개일"),
    "evaluated": Word("Evaluated", "평가일"),
    "since": Word("Evaluated since", "평가일(이후)"),
    "any": Word("any", "전체"),
    "show_published": Word("Published rows", "발표된 값"),
    "show_unranked": Word("Not ranked", "순위 밖 모델"),
    "reset": Word("Reset", "초기화"),
    "filters": Word("Filters", "거르기"),
    "rank": Word("Rank", "순위"),
    "rank_hint": Word(
        "Place, and the places that it may have with 95% confidence",
        "순위와 95% 신뢰수준에서 가능한 순위",
    ),
    "index": Word("Index", "지수"),
    "index_hint": Word(
        "Composite of all tasks, corrected for chance and weighted by category: {name}",
        "우연을 빼고 영역별로 가중한 종합 지수: {name}",
    ),
    "tokens_written": Word("Tokens written", "생성 토큰"),
    "cost": Word("Cost", "비용"),
    "matching": Word("{n} of {total} rows", "{total}행 가운데 {n}행"),
    "no_match": Word("No model fits these filters.", "조건에 맞는 모델이 없습니다."),
    "page_of": Word("Page {page} of {pages}", "{pages}쪽 가운데 {page}쪽"),
    "previous": Word("Previous", "이전"),
    "next": Word("Next", "다음"),
    "show_all": Word("Show all", "모두 보기"),
    "show_pages": Word("Show pages", "나누어 보기"),
    "published_badge": Word("published, not reproduced", "발표된 값(재현하지 않음)"),
    "unranked_badge": Word("not ranked", "순위 밖"),
    "tied_first": Word(
        "May be first: its rank interval reaches 1", "1위일 수 있음: 순위 구간이 1에 닿음"
    ),
    "compare_chosen": Word("Compare these two", "고른 두 모델 비교"),
    "choose_two": Word("Tick two models to compare them.", "모델 둘을 골라 비교하세요."),
    "choose_model": Word("Choose {model} to compare", "{model} 비교에 고르기"),
    "table_caption": Word(
        "Scores from 0 to 100 with half the width of their 95% interval below. Colour: place "
        "within the column.",
        "점수는 0~100이며, 아래 값은 95% 신뢰구간 너비의 절반입니다. 색은 열 안에서의 위치입니다.",
    ),
    "sort_by": Word("Sort by {column}", "{column} 기준 정렬"),
    "no_script": Word(
        "Sorting, filters and charts need JavaScript. The first rows of the first board stand "
        "below; leaderboard.csv and leaderboard.json hold everything.",
        "정렬, 거르기, 그래프에는 자바스크립트가 필요합니다. 아래는 첫 순위표의 앞부분이며, 전체는 "
        "leaderboard.csv와 leaderboard.json에 있습니다.",
    ),
    # --- charts ---
    "charts": Word("Charts", "그래프"),
    "chart_note": Word(
        "Of the ranked models that fit the filters. The line is the frontier: nothing is better at "
        "no more cost.",
        "조건에 맞는 순위 모델만 그립니다. 선은 경계선으로, 같거나 적은 값에서 더 나은 모델이 "
        "없음을 뜻합니다.",
    ),
    "over_time": Word("Score over time", "시간에 따른 점수"),
    "over_time_note": Word(
        "By release date; a ring where only the day of evaluation is known. The line is the best "
        "so far.",
        "공개일 기준이며, 고리는 평가일만 아는 모델입니다. 선은 그때까지의 최고 점수입니다.",
    ),
    "by_cost": Word("Score and cost", "점수와 비용"),
    "by_cost_note": Word(
        "What all answers cost, in {currency}.", "모든 응답의 비용({currency})입니다."
    ),
    "by_tokens": Word("Score and tokens written", "점수와 생성 토큰"),
    "by_tokens_note": Word(
        "Tokens that the model wrote for all tasks, thinking included: its verbosity.",
        "모든 과제에서 생각을 포함해 모델이 쓴 토큰 수, 곧 장황함입니다.",
    ),
    "by_size": Word("Score and size", "점수와 크기"),
    "by_size_note": Word("Parameters.", "매개변수 수입니다."),
    "nothing_to_draw": Word(
        "Nothing to draw: {what} is unknown for these models.",
        "그릴 값이 없습니다. 이 모델들의 {what}을(를) 알 수 없습니다.",
    ),
    "left_out_of_chart": Word(
        "{n} models without this fact are not drawn.", "값이 없는 모델 {n}개는 그리지 않았습니다."
    ),
    "frontier": Word("On the frontier", "경계선 위의 모델"),
    "score_axis": Word("average", "평균"),
    "index_axis": Word("index", "지수"),
    # --- separation ---
    "separation": Word("Which tasks tell models apart", "모델을 가르는 과제"),
    "separation_note": Word(
        "Share of the variance between models that is no sampling error: near 100% a task ranks "
        "models reliably; near 0% its differences are chance.",
        "모델 사이의 분산 가운데 표본 오차가 아닌 몫입니다. 100%에 가까우면 과제가 모델을 믿을 "
        "만하게 가르고, 0%에 가까우면 차이는 우연입니다.",
    ),
    "too_few": Word(
        "This takes at least three ranked models.", "순위 모델이 셋 이상 있어야 계산할 수 있습니다."
    ),
    "reliability": Word("Reliability", "신뢰도"),
    "spread": Word("Spread of models", "모델 간 퍼짐"),
    "typical_error": Word("Typical error", "표준오차"),
    "separates_well": Word("well", "잘 가름"),
    "separates_some": Word("somewhat", "어느 정도"),
    "separates_hardly": Word("hardly", "거의 못 가름"),
    # --- protocol ---
    "what_was_asked": Word("What was asked", "평가 조건"),
    "source": Word("Source", "출처"),
    "shots": Word("Shots", "예시 수"),
    "protocol": Word("Protocol", "규약"),
    "known": Word("known", "알려짐"),
    "inferred": Word("inferred", "추론함"),
    "assumed": Word("assumed", "가정함"),
    # --- model page ---
    "model_page": Word("Model", "모델"),
    "choose_a_model": Word(
        "No such model. Choose one in the ranking.", "없는 모델입니다. 순위에서 고르세요."
    ),
    "place_of": Word("Place {rank} of {n}", "{n}개 가운데 {rank}위"),
    "places_95": Word("95%: {best} to {worst}", "95%: {best}~{worst}위"),
    "scores_here": Word("Scores by task", "과제별 점수"),
    "scores_note": Word(
        "Dot: this model with its 95% interval. Band: the middle half of the ranked models; tick: "
        "their median.",
        "점은 이 모델과 95% 신뢰구간, 띠는 순위 모델의 가운데 절반, 눈금은 중앙값입니다.",
    ),
    "place_in_task": Word("Place", "순위"),
    "run_facts": Word("The run", "평가 정보"),
    "run_path": Word("Run", "실행"),
    "fingerprint": Word("Fingerprint", "지문"),
    "architecture": Word("Architecture", "구조"),
    "parameters": Word("Parameters", "매개변수"),
    "revision": Word("Revision", "리비전"),
    "window": Word("Window", "문맥 길이"),
    "engine": Word("Engine", "엔진"),
    "tokens_read": Word("Tokens read", "읽은 토큰"),
    "thinking": Word("of them thinking", "그중 생각"),
    "seconds": Word("Engine time", "엔진 시간"),
    "cost_by_models": Word("by the price in the file of models", "모델 파일의 가격 기준"),
    "seed": Word("Seed", "시드"),
    "link": Word("Link", "링크"),
    "warnings": Word("Warnings", "경고"),
    "more_warnings": Word("and {n} more", "그 밖에 {n}개"),
    "with_next": Word("Compare with {model}", "{model}와(과) 비교"),
    "published_scores": Word("Published scores of this model", "이 모델의 발표된 점수"),
    "published_value": Word("Published", "발표된 값"),
    "ours": Word("Here", "이 순위표"),
    "loading": Word("Loading…", "불러오는 중…"),
    "replaced_runs": Word(
        "{n} other runs of this model are not shown", "이 모델의 다른 실행 {n}개는 보이지 않음"
    ),
    # --- head to head ---
    "first_model": Word("First model", "첫째 모델"),
    "second_model": Word("Second model", "둘째 모델"),
    "swap": Word("Swap", "바꾸기"),
    "difference": Word("Difference", "차이"),
    "verdict": Word("Verdict", "판정"),
    "higher": Word("{model} is higher", "{model} 높음"),
    "undecided": Word("undecided", "판정 불가"),
    "overall_higher": Word(
        "{a} is {points} points above {b} on average, beyond chance.",
        "{a}의 평균이 {b}보다 {points}점 높으며, 우연으로 보기 어렵습니다.",
    ),
    "overall_undecided": Word(
        "Undecided: {a} is {points} points above {b} on average, which may be chance.",
        "판정 불가: {a}의 평균이 {b}보다 {points}점 높지만 우연일 수 있습니다.",
    ),
    "overall_missing": Word(
        "One of the two lacks tasks, so that their averages cannot be compared.",
        "둘 중 하나에 빠진 과제가 있어 평균을 비교할 수 없습니다.",
    ),
    "unpaired_note": Word(
        "Intervals here take the two runs as independent, and verdicts are corrected for the "
        "number of tasks (Holm). Both answered the same questions, so the paired test finds "
        "smaller differences:",
        "여기의 구간은 두 실행을 독립으로 보며, 판정은 과제 수에 맞추어 보정했습니다(Holm). 두 "
        "모델은 같은 문항에 답했으므로, 문항별로 짝지은 검정은 더 작은 차이도 찾아냅니다:",
    ),
    "pick_two": Word("Choose two models of one board.", "같은 순위표의 모델 둘을 고르세요."),
    "no_such_model": Word("not on this board", "이 순위표에 없음"),
    # --- not ranked ---
    "not_ranked_intro": Word(
        "Nothing is dropped silently: each run that is not ranked, or is ranked on a board of its "
        "own, is here with the reason.",
        "말없이 빠지는 실행은 없습니다. 순위에 없거나 따로 순위를 매긴 실행과 그 까닭을 모두 "
        "적었습니다.",
    ),
    "nothing_left_out": Word(
        "All {n} runs that were found are ranked.", "찾은 실행 {n}개가 모두 순위에 있습니다."
    ),
    "reason": Word("Reason", "까닭"),
    "runs_apart": Word("Boards apart", "따로 매긴 순위표"),
    "runs_apart_intro": Word(
        "Runs are ranked together only where they were asked the same. These boards have the tasks "
        "and the kind of data of a larger one, but differ from it.",
        "같은 것을 물은 실행끼리만 순위를 매깁니다. 다음 순위표는 더 큰 순위표와 과제와 데이터 "
        "종류가 같지만 조건이 다릅니다.",
    ),
    "board": Word("Board", "순위표"),
    "published_page": Word("Published, not reproduced", "발표된 값(재현하지 않음)"),
    "published_intro": Word(
        "What others published. Nobody here ran it, so it has no place and no interval.",
        "다른 곳에서 발표한 값입니다. 여기서 평가하지 않았으므로 순위와 구간이 없습니다.",
    ),
    "how_ranked": Word("How the ranking is made", "순위를 매기는 방법"),
    "how_ranked_text": Word(
        "A board holds runs with the same rows, few-shot examples, prompts, task definitions, "
        "metrics and use of chat templates. The average is the plain mean of the shown values. A "
        "rank interval holds the places that are possible when each model's 95% interval is taken "
        "seriously: models with overlapping intervals of ranks are not told apart by these data. "
        "Engine, precision and window are the model's own; each page names them.",
        "한 순위표에는 문항, 예시, 프롬프트, 과제 정의, 지표, 대화 템플릿 사용이 모두 같은 실행만 "
        "있습니다. 평균은 표시된 값의 단순 평균입니다. 순위 구간은 표본 오차를 고려할 때 가능한 "
        "순위이며, 구간이 겹치는 모델은 이 데이터로 구별되지 않습니다. 엔진, 정밀도, 문맥 길이는 "
        "모델마다 다를 수 있고 모델 쪽에 적혀 있습니다.",
    ),
    # --- notes ---
    "note_duplicate_newer": Word(
        "A newer run of the same model counts: {kept}", "같은 모델의 더 최근 실행을 씀: {kept}"
    ),
    "note_duplicate_fuller": Word(
        "A run of the same model with more tasks counts: {kept}",
        "같은 모델의 과제가 더 많은 실행을 씀: {kept}",
    ),
    "note_duplicate_sounder": Word(
        "A run of the same model with fewer failed samples counts: {kept}",
        "같은 모델의 실패가 더 적은 실행을 씀: {kept}",
    ),
    "note_missing_tasks": Word("Tasks are missing: {tasks}", "빠진 과제: {tasks}"),
    "note_failed": Word(
        "{count} of {n} samples failed and count as zero; run the same command again",
        "{n}문항 가운데 {count}문항이 실패하여 0점으로 계산됨. 같은 명령을 다시 실행하세요",
    ),
    "note_limited": Word(
        "Only the first {n} rows of each task were asked", "과제마다 앞 {n}문항만 평가함"
    ),
    "note_differs_variant": Word("Other variant of: {tasks}", "과제 변형이 다름: {tasks}"),
    "note_differs_metric": Word("Other leading metric: {tasks}", "대표 지표가 다름: {tasks}"),
    "note_differs_data": Word(
        "Other rows (data hash): {tasks}", "문항이 다름(데이터 해시): {tasks}"
    ),
    "note_differs_fewshot": Word("Other few-shot examples: {tasks}", "예시가 다름: {tasks}"),
    "note_differs_prompts": Word("Other prompts: {tasks}", "프롬프트가 다름: {tasks}"),
    "note_differs_definition": Word(
        "Other task definition, so judged in another way: {tasks}",
        "과제 정의가 다름(채점 방법 등): {tasks}",
    ),
    "note_differs_chat_template": Word(
        "Chat templates were used otherwise: {tasks}", "대화 템플릿 사용이 다름: {tasks}"
    ),
    "note_unreadable": Word(
        "The result cannot be read: {problem}", "결과를 읽을 수 없음: {problem}"
    ),
}

WORDS: Mapping[str, Word] = {**SHARED, **OWN}
