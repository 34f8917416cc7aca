"""Rows from the Hugging Face hub, through its own libraries, always at one known commit.

The commit behind a branch is settled before anything is read. Where the hub cannot be asked (no
network, or `HF_HUB_OFFLINE=1`), the commit that was read last is read again from the cache of
`datasets`, and never another one. `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` work as in every program
that uses these libraries; both are imported where they are used, since they take a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ko_eval.errors import DataError, TaskError, first_line, near_miss
from ko_eval.tasks.definition import HubSource
from ko_eval.tasks.hub_errors import Unreachable, explained, http_error, hub_error, label
from ko_eval.tasks.hub_records import HubRecord, check_unchanged, last_record, remember
from ko_eval.tasks.rows import Row, Rows, collected, typed_row
from ko_eval.tasks.templates import evaluate

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

# Seconds to wait for the hub's first answer, before its absence counts as no network.
_PATIENCE = 30.0


def hub_rows(source: HubSource) -> Rows:
    """All rows of a dataset on the hub, or of a local folder in a dataset's layout.

    Raises:
        DataError: it cannot be read, or its content is not what it was or should be.
    """
    if Path(source.path).is_dir():
        return _rows(source, [_prepared(source, name, None) for name in _names(source)], None)
    try:
        commit = _commit(source)
    except Unreachable as error:
        record = last_record(source)
        if record is None:
            raise Unreachable(
                f"{error.what}; and '{_shown(source)}' was not read before",
                where=error.where,
                hint=error.hint,
            ) from error
        return _read_again(source, record)
    builders = [_prepared(source, name, commit) for name in _names(source)]
    rows = _rows(source, builders, commit)
    remember(source, rows, commit, [_place(builder) for builder in builders])
    return rows


def _names(source: HubSource) -> list[str | None]:
    return list(source.name) if isinstance(source.name, list) else [source.name]


def _shown(source: HubSource) -> str:
    """The source in words, as results name it."""
    first, *others = _names(source)
    return label(source, f"{first} and {len(others)} more" if others else first)


def _rows(source: HubSource, builders: Iterable[DatasetBuilder], commit: str | None) -> Rows:
    read = [
        row
        for name, builder in zip(_names(source), builders, strict=True)
        for row in _configuration(source, name, builder)
    ]
    kept = tuple(row for row in read if _is_kept(source, row))
    rows = collected(
        kept,
        "hub",
        _shown(source),
        revision=commit,
        columns=source.columns,
        dropped=len(read) - len(kept),
    )
    if source.sha256 not in (None, rows.sha256):
        raise DataError(
            f"the rows of '{rows.source}' are not those that the task pins: their SHA-256 is "
            f"{rows.sha256}, not {source.sha256}",
            where=f"dataset {source.path}",
            hint="pin the commit as well ('revision'); if the new content is right, correct "
            "'sha256' in the task",
        )
    return rows


def _configuration(source: HubSource, name: str | None, builder: DatasetBuilder) -> Iterator[Row]:
    """Rows of one configuration; where it is one of several, with its name as `config`."""
    added = {"config": name} if isinstance(source.name, list) else {}
    try:
        table = _undecoded(builder.as_dataset(split=source.split))
        for number, values in enumerate(table, start=1):
            yield typed_row({**added, **values}, f"{label(source, name)}, row {number}")
    except (OSError, ValueError) as error:
        raise DataError(
            f"the rows of '{label(source, name)}' cannot be read: {first_line(error)}",
            where=str(builder.cache_dir),
            hint="delete this folder and read them again",
        ) from error


def _is_kept(source: HubSource, row: Row) -> bool:
    if source.keep is None:
        return True
    try:
        return bool(evaluate(source.keep, {**row.values, "row": row.values}, where=row.where))
    except TaskError as error:
        raise DataError(error.what, where=f"{row.where}, 'keep'", hint=error.hint) from error


def _undecoded(table: Dataset) -> Dataset:
    """The table with images and sounds as the bytes that they are, which needs no decoder."""
    for column, feature in table.features.items():
        plain = _without_decoder(feature)
        if plain != feature:
            table = table.cast_column(column, plain)
    return table


def _without_decoder(feature: Any) -> Any:
    if isinstance(feature, dict):
        return {name: _without_decoder(inner) for name, inner in feature.items()}
    if hasattr(feature, "feature"):
        return replace(feature, feature=_without_decoder(feature.feature))
    if getattr(feature, "decode", False) and type(feature).__name__ != "Json":
        return replace(feature, decode=False)
    return feature


def _commit(source: HubSource) -> str:
    """The commit behind the source's revision at present.

    Raises:
        DataError: there is no such dataset or revision, or no right to read it.
        Unreachable: nothing answers, or nothing may be asked.
    """
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    if datasets.config.HF_HUB_OFFLINE:
        raise hub_error(source, OfflineModeIsEnabled())
    try:
        info = huggingface_hub.HfApi().dataset_info(
            source.path, revision=source.revision, timeout=_PATIENCE
        )
    except (http_error(), HFValidationError, OfflineModeIsEnabled, UnicodeError) as error:
        raise hub_error(source, error) from error
    if info.sha is None:
        raise DataError("the hub does not name a commit", where=f"dataset {source.path}")
    return info.sha


def _prepared(source: HubSource, name: str | None, commit: str | None) -> DatasetBuilder:
    """A configuration, downloaded into the cache of `datasets`."""
    import datasets

    # Its warnings speak to programmers, and announce what is refused below.
    datasets.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    files = source.files and {source.split: source.files.replace("{name}", name or "")}
    with explained(source, name, commit):
        builder = datasets.load_dataset_builder(
            source.path, None if files else name, data_files=files, revision=commit
        )
        # Where the hub refuses, the library takes what it read last of this dataset, of any commit.
        if commit is not None and builder.hash != commit:
            raise ValueError(f"commit {commit} could not be read")
        _check_split(source, name, builder)
        builder.download_and_prepare()
    return builder


def _check_split(source: HubSource, name: str | None, builder: DatasetBuilder) -> None:
    known = set(builder.config.data_files or ())
    asked = {part.partition("[")[0] for part in source.split.split("+")} - {"all"}
    for split in sorted(asked - known) if known else ():
        raise DataError(
            f"'{label(source, name)}': the dataset has no split '{split}'",
            where=f"dataset {source.path}",
            hint=near_miss(split, known),
        )


def _place(builder: DatasetBuilder) -> tuple[str, str]:
    """A configuration's name and version in the cache of `datasets`."""
    name, version, _ = Path(builder.cache_dir).parts[-3:]
    return name, version


def _read_again(source: HubSource, record: HubRecord) -> Rows:
    """What was read before, from the cache of `datasets`."""
    from datasets.packaged_modules.cache.cache import Cache

    builders = [
        Cache(
            repo_id=source.path,
            dataset_name=source.path.rpartition("/")[2],
            config_name=name,
            version=version,
            hash=record.commit,
        )
        for name, version in record.cached
    ]
    for builder in builders:
        if not Path(builder.cache_dir).is_dir():
            raise DataError(
                f"commit {record.commit} of '{source.path}' was read before, but the cache of "
                "`datasets` no longer holds it",
                where=builder.cache_dir,
                hint="read it once more with a network, or set HF_HOME as it was then",
            )
    rows = _rows(source, builders, record.commit)
    check_unchanged(source, rows, record.commit)
    return rows
