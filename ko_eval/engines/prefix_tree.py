"""All sequences of a task as a forest of token ids, in which tokens that stand alike occur once.

What a causal model says at a token depends only on the tokens before it, so sequences that begin
alike share their beginning. Fed are the tokens of a sequence but for its last, which is only
scored; a continuation's token is read at the token before it, the first one at the context's last.

The forest lies depth first in one array, so a subtree is one run of tokens. Any run of tokens can
be fed as a row of its own: an ancestor of one of its tokens lies in the run or is an ancestor of
the run's first token. The path to a row's first token is thus all that has to be cached, and a
token i sees exactly the tokens j with j <= i < (end of j's subtree).

Memory is linear in distinct tokens and scored tokens; no sequence is held but in its tree.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ko_eval.engines.base import EncodedPair, TokenIds

IntArray = NDArray[np.int64]
TokenArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_TOKEN = array("i").itemsize
_ROOT = 0


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Sequences as trees. A node is a run of tokens that no other sequence leaves or ends within.

    Nodes are in depth-first order, siblings by their tokens, so that the same pairs in any order
    make the same forest. A read is a place and a token whose
    log-probability is wanted there; sequences that want the same share it.

    Attributes:
        tokens: the fed tokens.
        node_start: of each node, the index of its first token in `tokens`.
        node_end: index behind its last token.
        node_last: index behind the last token of its subtree.
        node_parent: index of its parent; -1 for the root of a tree.
        node_depth: tokens that stand before its first one in a sequence.
        read_token: of each read, the index in `tokens` of the one at which it is read; rising.
        read_target: the token id whose log-probability is wanted.
        scored_read: the read of each scored token, sequence by sequence, in token order.
        scored_start: where each sequence starts in `scored_read`, and the length of it.
        tokens_asked: tokens to feed if each sequence were fed alone.
    """

    tokens: TokenArray
    node_start: IntArray
    node_end: IntArray
    node_last: IntArray
    node_parent: IntArray
    node_depth: IntArray
    read_token: IntArray
    read_target: TokenArray
    scored_read: IntArray
    scored_start: IntArray
    tokens_asked: int

    @property
    def tokens_distinct(self) -> int:
        """Tokens to feed when each is fed once."""
        return len(self.tokens)

    @property
    def rows_read(self) -> int:
        """Tokens at which some score is read: the rows of logits that are needed."""
        return len(np.unique(self.read_token))

    def nodes_at(self, indices: IntArray) -> IntArray:
        """The nodes that hold these tokens."""
        return np.searchsorted(self.node_start, indices, side="right") - 1

    def path(self, index: int) -> IntArray:
        """Indices of the tokens from the root to this one, which is the last of them."""
        parts, end = [], index + 1
        node = int(self.nodes_at(np.array([index]))[0])
        while node >= 0:
            parts.append(np.arange(self.node_start[node], end))
            node = int(self.node_parent[node])
            end = int(self.node_end[node])
        return np.concatenate(parts[::-1])


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A run of a forest's tokens for one forward pass, behind a path that was fed before.

    Attributes:
        start: index of its first token.
        end: index behind its last token.
        positions: of each of its tokens, how many stand before it in its sequence.
        keys: indices of the tokens to attend to: the cached path to `start`, then the row itself.
        reach: of each key, the index behind its subtree; a token i sees it if key <= i < reach.
        reads: which reads of the forest are at tokens of this row.
    """

    start: int
    end: int
    positions: IntArray
    keys: IntArray
    reach: IntArray
    reads: slice

    @property
    def cached(self) -> int:
        """Tokens of the cached path; their positions are 0, 1, 2 and so on."""
        return len(self.keys) - (self.end - self.start)

    def visible(self) -> BoolArray:
        """The attention mask, tokens × keys: True where a token sees a key."""
        index = np.arange(self.start, self.end)[:, None]
        seen: BoolArray = (self.keys <= index) & (index < self.reach)
        return seen


def build_forest(pairs: Iterable[EncodedPair]) -> Forest:
    """The forest of all pairs; their order is that of the sequences."""
    tree, ends, asked = _RadixTree(), [], 0
    targets, starts = array("i"), [0]
    context: TokenIds = ()
    front = b""
    for pair in pairs:
        # Choices of one question come one after the other and share their context's tuple.
        if pair.context is not context:
            context, front = pair.context, _as_bytes(pair.context)
        fed = front + _as_bytes(pair.continuation[:-1])
        ends.append(tree.add(fed))
        asked += len(fed) // _TOKEN
        targets.extend(pair.continuation)
        starts.append(len(targets))

    order, weights = tree.depth_first()
    rank = np.full(len(tree.labels), -1)
    rank[order] = np.arange(len(order))
    tokens = np.frombuffer(b"".join(tree.labels[node] for node in order), dtype=np.int32)
    length = np.array([len(tree.labels[node]) // _TOKEN for node in order], dtype=np.int64)
    node_end = np.cumsum(length)
    node_start = node_end - length
    node_parent = rank[np.array(tree.parents)[order]]
    scored_start = np.array(starts)
    read_at = _read_at(rank[ends], np.diff(scored_start), node_end, length, node_parent)
    # Place and token id in one number, so that equal reads are equal numbers.
    read, scored_read = np.unique((read_at << 32) | np.array(targets), return_inverse=True)
    return Forest(
        tokens=tokens,
        node_start=node_start,
        node_end=node_end,
        node_last=node_start + np.array(weights)[order],
        node_parent=node_parent,
        node_depth=np.array(tree.depths)[order],
        read_token=read >> 32,
        read_target=(read & 0xFFFFFFFF).astype(np.int32),
        scored_read=scored_read,
        scored_start=scored_start,
        tokens_asked=asked,
    )


def _as_bytes(ids: TokenIds) -> bytes:
    """Ids as they stand in memory; twice as fast as an array of them."""
    return struct.pack(f"{len(ids)}i", *ids)


def sums(forest: Forest, logprobs: FloatArray) -> FloatArray:
    """The log-likelihood of each sequence's continuation, added up in token order.

    Args:
        logprobs: one per read, natural logarithm.
    """
    counts = np.diff(forest.scored_start)
    total = np.zeros(len(counts))
    # One after the other, as those of a row fed alone; a sum over a run would add pairwise.
    np.add.at(total, np.repeat(np.arange(len(counts)), counts), logprobs[forest.scored_read])
    return total


def pack(forest: Forest, budget: int, start: int = 0) -> Iterator[Row]:
    """Rows that hold every token from `start` on once, in order; all but the last one are full.

    The cached path of a row is among the keys of the row before it, in the same order: one cache
    serves all rows, when between two rows the path's tokens move up and the others are forgotten.

    Args:
        budget: tokens of a row, at least 1.
        start: where a row of an earlier packing starts, to go on from there with another budget.
    """
    for begin in range(start, forest.tokens_distinct, budget):
        yield _row(forest, begin, min(begin + budget, forest.tokens_distinct))


def _row(forest: Forest, start: int, end: int) -> Row:
    keys = np.concatenate([forest.path(start), np.arange(start + 1, end)])
    nodes = forest.nodes_at(keys)
    own = slice(len(keys) - (end - start), None)
    positions = keys - forest.node_start[nodes] + forest.node_depth[nodes]
    reads = np.searchsorted(forest.read_token, (start, end)).tolist()
    return Row(start, end, positions[own], keys, forest.node_last[nodes], slice(*reads))


def _read_at(
    node: IntArray, counts: IntArray, node_end: IntArray, length: IntArray, parent: IntArray
) -> IntArray:
    """Indices of the last `counts` tokens of each path, path after path.

    Args:
        node: where each path ends.
        counts: at least 1 and at most the path's length.
    """
    found = np.empty(counts.sum(), dtype=np.int64)
    behind = np.cumsum(counts)  # places in `found`, filled from each path's end
    rest = counts
    while len(node):
        take = np.minimum(rest, length[node])
        found[_runs(behind - take, take)] = _runs(node_end[node] - take, take)
        rest, behind = rest - take, behind - take
        going = rest > 0
        node, rest, behind = parent[node[going]], rest[going], behind[going]
    return found


def _runs(starts: IntArray, lengths: IntArray) -> IntArray:
    """The numbers from each start on, as many as each length says."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


class _RadixTree:
    """A tree that grows by one sequence at a time; node 0 is the empty beginning of all of them.

    Attributes:
        labels: the tokens of each node, as bytes: compact, and compared at memory speed.
        parents: the parent of each node.
        depths: tokens before each node.
    """

    __slots__ = ("_children", "depths", "labels", "parents")

    def __init__(self) -> None:
        self.labels: list[bytes] = [b""]
        self.parents: list[int] = [-1]
        self.depths: list[int] = [0]
        self._children: dict[tuple[int, bytes], int] = {}

    def add(self, sequence: bytes) -> int:
        """Adds a sequence and returns the node that ends with it."""
        node, at = _ROOT, 0
        while at < len(sequence):
            child = self._children.get((node, sequence[at : at + _TOKEN]))
            if child is None:
                return self._append(node, at // _TOKEN, sequence[at:])
            shared = _shared(self.labels[child], sequence, at)
            if shared < len(self.labels[child]):
                child = self._split(child, shared)
            node, at = child, at + shared
        return node

    def depth_first(self) -> tuple[list[int], list[int]]:
        """Nodes without the root, depth first; and the tokens in the subtree of every node."""
        children: list[list[int]] = [[] for _ in self.labels]
        for node in range(1, len(self.labels)):
            children[self.parents[node]].append(node)
        weights = [len(label) // _TOKEN for label in self.labels]
        for node in reversed(_walk(children)):
            weights[self.parents[node]] += weights[node]
        for siblings in children:
            siblings.sort(key=lambda node: self.labels[node])
        return _walk(children), weights

    def _append(self, parent: int, depth: int, label: bytes) -> int:
        node = len(self.labels)
        self.labels.append(label)
        self.parents.append(parent)
        self.depths.append(depth)
        self._children[parent, label[:_TOKEN]] = node
        return node

    def _split(self, node: int, border: int) -> int:
        """Moves the first tokens of a node into a new parent, which is returned."""
        label = self.labels[node]
        upper = self._append(self.parents[node], self.depths[node], label[:border])
        self.labels[node], self.parents[node] = label[border:], upper
        self.depths[node] += border // _TOKEN
        self._children[upper, label[border : border + _TOKEN]] = node
        return upper


def _walk(children: list[list[int]]) -> list[int]:
    """All nodes below the root, depth first."""
    order: list[int] = []
    stack = children[_ROOT][::-1]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(reversed(children[node]))
    return order


def _shared(label: bytes, sequence: bytes, at: int) -> int:
    """How many bytes, in whole tokens, the label and the sequence from `at` on begin with alike.

    Their first tokens are known to be the same. Halving compares runs of memory, not single tokens.
    """
    if sequence.startswith(label, at):
        return len(label)
    same, different = _TOKEN, len(label)
    while different - same > _TOKEN:
        middle = (same + different) // (2 * _TOKEN) * _TOKEN
        if sequence.startswith(label[:middle], at):
            same = middle
        else:
            different = middle
    return same
