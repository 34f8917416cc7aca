"""The prefix tree against plain sets of prefixes, and its rows against a model made of masks."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.engines.base import EncodedPair, TokenIds
from ko_eval.engines.prefix_tree import Forest, Row, build_forest, pack, sums

LARGEST_ID = 2**31 - 1


def ids(low: int, high: int) -> st.SearchStrategy[TokenIds]:
    """Few different tokens, so that beginnings are shared; the largest tests the width."""
    token = st.sampled_from([0, 1, 2, 256, LARGEST_ID])
    return st.lists(token, min_size=low, max_size=high).map(tuple)


@st.composite
def pair_lists(draw: st.DrawFn) -> list[EncodedPair]:
    """Pairs behind a few shared headers, the empty one included."""
    headers = [(), *draw(st.lists(ids(1, 12), max_size=3))]
    pair = st.builds(
        lambda header, context, continuation: EncodedPair(header + context, continuation),
        st.sampled_from(headers),
        ids(1, 5),
        ids(1, 5),
    )
    return draw(st.lists(pair, max_size=30))


def fed(pair: EncodedPair) -> TokenIds:
    return pair.context + pair.continuation[:-1]


def wanted(pair: EncodedPair) -> list[tuple[TokenIds, int]]:
    """Everything before a scored token, and that token."""
    whole = pair.context + pair.continuation
    return [(whole[:place], whole[place]) for place in range(len(pair.context), len(whole))]


def made_up_logprob(before: Sequence[int], token: int) -> float:
    """A fraction that depends on each token of the prefix and on its order."""
    return -crc32(repr((tuple(before), token)).encode()) / 3.0e8


def plain_sum(pair: EncodedPair) -> float:
    total = 0.0
    for before, token in wanted(pair):
        total += made_up_logprob(before, token)
    return total


def path(forest: Forest, index: int) -> TokenIds:
    return tuple(forest.tokens[forest.path(index)].tolist())


def recovered(forest: Forest, sequence: int) -> EncodedPair:
    """A pair from nothing but the forest."""
    start, end = forest.scored_start[sequence : sequence + 2]
    reads = forest.scored_read[start:end]
    continuation = tuple(forest.read_target[reads].tolist())
    last = path(forest, int(forest.read_token[reads[-1]]))
    border = len(last) - len(continuation) + 1
    assert last[border:] == continuation[:-1]
    return EncodedPair(last[:border], continuation)


def asked(
    header: int, questions: int, question: int, choices: int, choice: int
) -> list[EncodedPair]:
    """Items behind one header, otherwise without a common token; the arguments are counts."""
    ticket = iter(range(1, 1_000_000))

    def fresh(length: int) -> TokenIds:
        return tuple(next(ticket) for _ in range(length))

    head = fresh(header)
    contexts = [head + fresh(question) for _ in range(questions)]
    return [EncodedPair(context, fresh(choice)) for context in contexts for _ in range(choices)]


# --- the forest ------------------------------------------------------------------------------


@given(pair_lists())
def test_any_set_of_pairs_is_recovered_exactly(pairs: list[EncodedPair]) -> None:
    forest = build_forest(pairs)
    assert [recovered(forest, index) for index in range(len(pairs))] == pairs


@given(pair_lists())
def test_each_distinct_prefix_is_fed_once_and_nothing_else(pairs: list[EncodedPair]) -> None:
    forest = build_forest(pairs)
    prefixes = {fed(pair)[:end] for pair in pairs for end in range(1, len(fed(pair)) + 1)}
    found = [path(forest, index) for index in range(forest.tokens_distinct)]
    assert len(found) == len(prefixes)
    assert set(found) == prefixes
    assert forest.tokens_asked == sum(len(fed(pair)) for pair in pairs)


@given(pair_lists())
def test_the_reads_are_those_of_the_sequences_each_once(pairs: list[EncodedPair]) -> None:
    forest = build_forest(pairs)
    found = [
        (path(forest, index), target)
        for index, target in zip(
            forest.read_token.tolist(), forest.read_target.tolist(), strict=True
        )
    ]
    expected = {read for pair in pairs for read in wanted(pair)}
    assert len(found) == len(expected)
    assert set(found) == expected
    assert forest.rows_read == len({before for before, _ in expected})
    assert forest.read_token.tolist() == sorted(forest.read_token)


@given(pair_lists())
def test_sums_equal_those_of_sequences_fed_alone_to_the_last_bit(pairs: list[EncodedPair]) -> None:
    forest = build_forest(pairs)
    logprobs = [
        made_up_logprob(path(forest, index), target)
        for index, target in zip(
            forest.read_token.tolist(), forest.read_target.tolist(), strict=True
        )
    ]
    assert sums(forest, np.array(logprobs)).tolist() == [plain_sum(pair) for pair in pairs]


@given(pair_lists(), st.randoms())
def test_the_order_of_the_pairs_does_not_change_the_forest(
    pairs: list[EncodedPair], shuffler: random.Random
) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    one, other = build_forest(pairs), build_forest(shuffled)
    for name in ("tokens", "node_start", "node_parent", "read_token", "read_target"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@given(pair_lists())
def test_nodes_lie_depth_first(pairs: list[EncodedPair]) -> None:
    forest = build_forest(pairs)
    assert [0, *forest.node_end.tolist()] == [*forest.node_start.tolist(), forest.tokens_distinct]
    for node in range(len(forest.node_start)):
        start, last = int(forest.node_start[node]), int(forest.node_last[node])
        assert forest.node_depth[node] == len(path(forest, start)) - 1
        below = [i for i in range(forest.tokens_distinct) if start in forest.path(i)]
        assert below == list(range(start, last))


def test_no_pairs_make_an_empty_forest() -> None:
    forest = build_forest([])
    assert (forest.tokens_asked, forest.tokens_distinct, forest.rows_read) == (0, 0, 0)
    assert sums(forest, np.empty(0)).tolist() == []
    assert list(pack(forest, budget=10)) == []


def test_a_header_shared_by_all_items_is_fed_once() -> None:
    pairs = asked(header=100, questions=3, question=20, choices=4, choice=2)
    forest = build_forest(pairs)
    assert forest.tokens_asked == 12 * (100 + 20 + 1)
    assert forest.tokens_distinct == 100 + 3 * (20 + 4 * 1)
    assert len(forest.read_token) == 3 * 4 * 2
    assert forest.rows_read == 3 * (1 + 4)  # four choices begin at one place
    assert len(forest.node_start) == 1 + 3 + 12


def test_choices_of_one_token_are_read_from_one_row_and_never_fed() -> None:
    forest = build_forest(EncodedPair((1, 2, 3), (choice,)) for choice in (7, 8, 9, 10))
    assert forest.tokens.tolist() == [1, 2, 3]
    assert forest.rows_read == 1
    assert forest.read_token.tolist() == [2, 2, 2, 2]
    assert forest.read_target.tolist() == [7, 8, 9, 10]


def test_duplicates_cost_nothing_and_all_get_their_sum() -> None:
    pair = EncodedPair((1, 2), (3, 4))
    forest = build_forest([pair] * 5)
    assert (forest.tokens_asked, forest.tokens_distinct) == (15, 3)
    assert sums(forest, np.array([-1.0, -2.5])).tolist() == [-3.5] * 5


def test_a_continuation_that_begins_another_shares_its_reads() -> None:
    forest = build_forest([EncodedPair((1, 2), (3,)), EncodedPair((1, 2), (3, 4))])
    assert forest.tokens.tolist() == [1, 2, 3]
    assert forest.scored_read.tolist() == [0, 0, 1]
    assert sums(forest, np.array([-1.0, -2.0])).tolist() == [-1.0, -3.0]


def test_the_last_token_is_fed_only_where_another_sequence_goes_on() -> None:
    alone = build_forest([EncodedPair((1,), (2,))])
    followed = build_forest([EncodedPair((1,), (2,)), EncodedPair((1, 2), (3,))])
    assert alone.tokens.tolist() == [1]
    assert followed.tokens.tolist() == [1, 2]


def test_one_continuation_under_two_contexts_is_read_at_two_places() -> None:
    forest = build_forest([EncodedPair((1, 5), (8, 9)), EncodedPair((1, 6), (8, 9))])
    assert forest.tokens.tolist() == [1, 5, 8, 6, 8]
    assert forest.read_token.tolist() == [1, 2, 3, 4]
    assert forest.read_target.tolist() == [8, 9, 8, 9]


def test_ids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(struct.error):
        build_forest([EncodedPair((LARGEST_ID + 1,), (1,))])


# --- rows ------------------------------------------------------------------------------------


def packed(forest: Forest, budgets: Sequence[int]) -> list[Row]:
    """Rows with the first budget; after each third row, on from there with the next one."""
    rows: list[Row] = []
    for turn, budget in enumerate(budgets):
        more = list(pack(forest, budget, start=rows[-1].end if rows else 0))
        rows += more if turn == len(budgets) - 1 else more[:3]
    return rows


BUDGETS = st.lists(st.integers(1, 40), min_size=1, max_size=3)


@given(pair_lists(), BUDGETS)
def test_every_token_is_in_one_row_within_the_budget(
    pairs: list[EncodedPair], budgets: list[int]
) -> None:
    forest = build_forest(pairs)
    rows = packed(forest, budgets)
    assert [i for row in rows for i in range(row.start, row.end)] == list(range(len(forest.tokens)))
    assert all(1 <= row.end - row.start <= max(budgets) for row in rows)


@given(pair_lists(), BUDGETS)
def test_every_read_is_in_the_row_of_its_token(
    pairs: list[EncodedPair], budgets: list[int]
) -> None:
    forest = build_forest(pairs)
    reads = np.arange(len(forest.read_token))
    rows = packed(forest, budgets)
    assert [read for row in rows for read in reads[row.reads].tolist()] == reads.tolist()
    for row in rows:
        assert all(row.start <= index < row.end for index in forest.read_token[row.reads])


@given(pair_lists(), BUDGETS)
def test_a_token_sees_its_own_prefix_and_nothing_else(
    pairs: list[EncodedPair], budgets: list[int]
) -> None:
    """A model that knows only masks, keys and positions says what plain rows say."""
    forest = build_forest(pairs)
    logprobs = np.full(len(forest.read_token), np.nan)
    for row in packed(forest, budgets):
        visible = row.visible()
        place = np.concatenate([np.arange(row.cached), row.positions])
        for read in range(len(forest.read_token))[row.reads]:
            token = int(forest.read_token[read]) - row.start
            seen = np.flatnonzero(visible[token])
            assert place[seen].tolist() == list(range(int(row.positions[token]) + 1))
            before = forest.tokens[row.keys[seen]].tolist()
            logprobs[read] = made_up_logprob(before, int(forest.read_target[read]))
    assert sums(forest, logprobs).tolist() == [plain_sum(pair) for pair in pairs]


@given(pair_lists(), BUDGETS)
def test_a_row_finds_its_path_among_the_keys_of_the_row_before_it(
    pairs: list[EncodedPair], budgets: list[int]
) -> None:
    forest = build_forest(pairs)
    held: list[int] = []
    for row in packed(forest, budgets):
        path = row.keys[: row.cached].tolist()
        assert [key for key in held if key in path] == path
        held = row.keys.tolist()
        assert held == sorted(held)


def test_rows_are_full() -> None:
    forest = build_forest(asked(header=100, questions=5, question=20, choices=4, choice=2))
    rows = list(pack(forest, budget=150))
    assert [(row.cached, row.end - row.start) for row in rows] == [(0, 150), (102, 70)]


def test_a_header_longer_than_a_row_is_fed_in_pieces() -> None:
    forest = build_forest(asked(header=100, questions=3, question=20, choices=4, choice=2))
    rows = list(pack(forest, budget=48))
    shape = [(row.cached, row.end - row.start) for row in rows]
    assert shape == [(0, 48), (48, 48), (96, 48), (120, 28)]


def test_branches_of_a_row_that_is_done_are_not_cached() -> None:
    """The path of the last row lies apart in the row before it: two tokens, and one further on."""
    forest = build_forest([EncodedPair((1, 2), (3, 4, 5)), EncodedPair((1, 2), (6, 7, 8))])
    assert forest.tokens.tolist() == [1, 2, 3, 4, 6, 7]
    assert [row.keys.tolist() for row in pack(forest, budget=5)] == [[0, 1, 2, 3, 4], [0, 1, 4, 5]]


def test_neighbours_in_a_row_are_kept_apart() -> None:
    """Two items in one row: neither sees the other, both see the header."""
    forest = build_forest([EncodedPair((1, 2), (3,)), EncodedPair((1, 4), (5,))])
    (row,) = pack(forest, budget=10)
    assert forest.tokens.tolist() == [1, 2, 4]
    assert row.positions.tolist() == [0, 1, 1]
    assert row.visible().tolist() == [
        [True, False, False],
        [True, True, False],
        [True, False, True],
    ]


def test_rows_start_anew_behind_a_row_that_was_done() -> None:
    forest = build_forest(asked(header=10, questions=8, question=5, choices=1, choice=1))
    first, second, *_ = pack(forest, budget=20)
    (again, *rest) = pack(forest, budget=5, start=second.start)
    assert first.end == second.start == again.start
    assert all(one.end == other.start for one, other in pairwise([again, *rest]))
