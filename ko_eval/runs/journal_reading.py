"""A task's journal read and left as it is: for whoever looks at a run that is not theirs to go on.

`Journal` is for the run itself: it mends a torn line and appends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.runs.files import safe_name
from ko_eval.runs.journal import Entry, decode_entry
from ko_eval.types import FailedResponse

# A response of a million tokens is some megabytes.
_LONGEST_LINE = 64 * 2**20  # bytes


@dataclass(slots=True)
class JournalContents:
    """What a journal holds.

    Attributes:
        entries: finished requests by key; what was asked twice as it was answered last.
        failed: by key, the last failure of those that were never answered.
        damaged: numbers of lines that are not as they were written, a torn last one not counted.
        foreign: numbers of whole lines that another run wrote.
        torn: whether the last line was cut off.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    failed: dict[str, Entry] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)
    torn: bool = False


def journal_path(run_directory: Path, task: str) -> Path:
    """Where a run's journal of a task lies."""
    return run_directory / "responses" / f"{safe_name(task)}.jsonl"


def read_journal(path: Path, run: str) -> JournalContents:
    """All of a journal.

    Args:
        run: fingerprint of the run; lines without one are taken, as `Journal` takes them.

    Raises:
        DataError: there is no such file, or it is none of lines.
    """
    found = JournalContents()
    try:
        if path.exists() and not path.is_file():
            raise DataError("a journal must be an ordinary file", where=str(path))
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if line.endswith(b"\n"):
                    _take(found, line[:-1], number, run)
                elif len(line) == _LONGEST_LINE:
                    raise DataError(
                        f"a line is longer than {_LONGEST_LINE:,} bytes: the file is no journal",
                        where=f"{path}, line {number}",
                    )
                else:
                    found.torn = True
    except OSError as error:
        raise DataError(
            f"the journal cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    for key in found.entries.keys() & found.failed.keys():
        del found.failed[key]
    return found


def _take(found: JournalContents, line: bytes, number: int, run: str) -> None:
    decoded = decode_entry(line)
    if decoded is None:
        found.damaged.append(number)
    elif decoded[0] not in (run, ""):
        found.foreign.append(number)
    elif isinstance(decoded[1].response, FailedResponse):
        found.failed[decoded[1].key] = decoded[1]
    else:
        found.entries[decoded[1].key] = decoded[1]
