"""YAML that users write, read so that no file of a page can cost more than a page.

Safe loader only: no tag makes an object. A file is bounded in bytes, in levels, and in nodes after
its aliases are followed ("a billion laughs" is nine lines long). A key that occurs twice in a
mapping is an error, since one of the two values would silently be lost.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ko_eval.errors import KoEvalError, TaskError
from ko_eval.types import JsonValue

# Ten times as fast in C, where PyYAML was built with it.
_SAFE_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_DEEPEST = 100  # levels of lists and mappings
_LARGEST = 1_000_000  # bytes; a definition is a page, not a data file
_MOST_NODES = 100_000  # aliases followed
_LONGEST_NUMBER = 400  # characters; more than any float has digits
# What may stand before a nested block in a line: "  - - key: …", "? - a", ": - b". YAML 1.1 has
# three line breaks more than the "^" of a regular expression.
_BEFORE_BLOCKS = re.compile(r"(?:^|(?<=[\x85\u2028\u2029]))[ \t?:-]*+", re.MULTILINE)


def read_mapping(
    path: Path, *, error: type[KoEvalError] = TaskError, what: str = "definition"
) -> dict[str, JsonValue]:
    """The mapping that a YAML file holds, with its keys as text.

    Args:
        error: what is raised.
        what: names the file in an error.

    Raises:
        KoEvalError: of the given type; the file cannot be read, or is not such YAML (line named).
    """
    try:
        if not path.is_file():
            wrong = "is no ordinary file" if path.exists() else "is not there"
            raise error(f"the {what} {wrong}", where=str(path))
        if path.stat().st_size > _LARGEST:
            raise error(f"the {what} is larger than {_LARGEST:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8")
        if _deepest_possible(text) > _DEEPEST and _depth(text) > _DEEPEST:
            raise error(f"the {what} is nested deeper than {_DEEPEST} levels", where=str(path))
        content = _loaded(text)
    except UnicodeDecodeError as problem:
        raise error(
            "the file is not UTF-8", where=f"{path}, byte {problem.start}", hint="save it as UTF-8"
        ) from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        text = getattr(problem, "problem", None) or "not valid YAML"
        raise error(f"the file is not valid YAML: {text}", where=f"{path}{line}") from problem
    except OSError as problem:
        raise error(f"cannot read the file: {problem.strerror}", where=str(path)) from problem
    if not isinstance(content, dict):
        raise error(
            "the file must hold a mapping of fields", where=str(path), hint="start with 'name: …'"
        )
    return {str(key): value for key, value in content.items()}


def _loaded(text: str) -> object:
    """The content of the one document.

    Raises:
        yaml.YAMLError: it is not valid, or too much.
    """
    loader = _SAFE_LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Measured().node(node)
        try:
            return loader.construct_document(node)
        # PyYAML's own constructors fail so on "!!int ''", "2026-13-45" or "!!timestamp soon".
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            raise yaml.MarkedYAMLError(problem=f"a value cannot be read: {error}") from error
    finally:
        loader.dispose()


class _Measured:
    """Measures nodes, each once, however often aliases name it."""

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def node(self, node: yaml.Node) -> tuple[int, int]:
        """Nodes and levels below a node, itself included.

        Raises:
            yaml.YAMLError: it is too large or too deep, holds itself, or holds a key twice.
        """
        if isinstance(node, yaml.ScalarNode):  # most nodes are: no alias can lead back to them
            if node.tag == "tag:yaml.org,2002:int" and len(node.value) > _LONGEST_NUMBER:
                raise _problem(f"a number of more than {_LONGEST_NUMBER} digits", node)
            return 1, 1
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if id(node) in self._open:
            raise _problem("an alias stands inside what it names", node)
        self._open.add(id(node))
        size = depth = 1
        for inner in self._inside(node):
            inner_size, inner_depth = self.node(inner)
            size, depth = size + inner_size, max(depth, inner_depth + 1)
            if size > _MOST_NODES or depth > _DEEPEST:
                much = f"{_MOST_NODES:,} values" if size > _MOST_NODES else f"{_DEEPEST} levels"
                raise _problem(f"more than {much} once its aliases are followed", node)
        self._open.remove(id(node))
        self._sizes[id(node)] = size, depth
        return size, depth

    def _inside(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            return list(node.value)
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise _problem(f"the key '{key.value}' occurs twice", key)
                keys.add((key.tag, key.value))
        return [inner for pair in node.value for inner in pair]


def _problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)


def _deepest_possible(text: str) -> int:
    """No YAML text is nested deeper: without parsing, so that sound files are parsed once.

    A level is a bracket, or begins in a column further right than the one around it; only a list
    may stand in the column of the mapping that holds it.
    """
    furthest = max(map(len, _BEFORE_BLOCKS.findall(text)), default=0)
    return text.count("[") + text.count("{") + 2 * (furthest + 1)


def _depth(text: str) -> int:
    """How deep a YAML text is nested: counted on its events, since the loader itself recurses."""
    depth = deepest = 0
    for event in yaml.parse(text, Loader=_SAFE_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest
