"""Packs that are read: unpacked once and whole; and as hostile input, clear errors."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pack_files import (
    Entries,
    archive,
    entries_of,
    entry,
    errors_lines,
    files_of_at_most,
    listing,
    model_folder,
)

import ko_eval
from ko_eval.errors import DataError, KoEvalError, RunError
from ko_eval.resources import cache_folder
from ko_eval.runs.pack import PackOptions, make_pack
from ko_eval.runs.pack_archive import unpacked
from ko_eval.tasks.packs import packed_rows, read_manifest

pytestmark = pytest.mark.usefixtures("cache")


def test_a_pack_is_unpacked_once_under_the_hash_of_its_manifest(
    tmp_path: Path, cache: Path, sound_pack: bytes
) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    folder = unpacked(tmp_path / "p.tar")
    assert folder.parent == cache / "packs"
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (tmp_path / "copy.tar").write_bytes(sound_pack)
    assert unpacked(tmp_path / "copy.tar") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written


def test_processes_that_unpack_at_once_get_one_whole_folder(tmp_path: Path, cache: Path) -> None:
    model = model_folder(tmp_path / "m", **{"model.safetensors": "w" * (8 << 20)})
    options = PackOptions(tasks=("ko_gpqa",), model=str(model), out=tmp_path / "p.tar")
    path = make_pack(options).path
    with ThreadPoolExecutor(4) as threads:
        folders = set(threads.map(unpacked, [path] * 4))
    assert len(folders) == 1
    assert (folders.pop() / "model" / "model.safetensors").stat().st_size == 8 << 20
    assert len([found for found in cache.glob("packs/*") if found.is_dir()]) == 1


def test_what_a_clean_up_took_is_unpacked_again(tmp_path: Path, sound_pack: bytes) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    folder = unpacked(tmp_path / "p.tar")
    (folder / "rows" / "ko_gpqa.jsonl").unlink()
    assert len(packed_rows(unpacked(tmp_path / "p.tar"), "ko_gpqa").rows) > 0


def test_rows_that_were_changed_in_the_cache_are_not_used(
    tmp_path: Path, sound_pack: bytes
) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    path = unpacked(tmp_path / "p.tar") / "rows" / "ko_gsm8k.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("1", "2", 1), encoding="utf-8")
    with pytest.raises(DataError, match="not those that its manifest names"):
        packed_rows(unpacked(tmp_path / "p.tar"), "ko_gsm8k")


@pytest.mark.slow
def test_a_killed_unpacking_is_not_taken_for_a_whole_one(tmp_path: Path, cache: Path) -> None:
    model = model_folder(tmp_path / "m")
    with (model / "model.safetensors").open("wb") as weights:
        weights.truncate(1 << 28)
    path = make_pack(PackOptions(tasks=("ko_gpqa",), model=str(model), out=tmp_path / "p.tar")).path
    script = (
        "import sys; from pathlib import Path; "
        "from ko_eval.runs.pack_archive import unpacked; unpacked(Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)])
    deadline = time.monotonic() + 60
    while not list(cache.glob("packs/.*.part/model/model.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert len(list(cache.glob("packs/.*.part"))) == 1
    assert [found for found in cache.glob("packs/[!.]*") if found.is_dir()] == []
    folder = unpacked(path)
    assert (folder / "model" / "model.safetensors").stat().st_size == 1 << 28
    assert list(cache.glob("packs/.*")) == []


def test_a_full_disk_leaves_nothing_half_unpacked(
    tmp_path: Path, cache: Path, sound_pack: bytes
) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    with files_of_at_most(10_000), pytest.raises(RunError, match="no room on the disk") as caught:
        unpacked(tmp_path / "p.tar")
    assert "KO_EVAL_CACHE" in str(caught.value)
    assert [found.name for found in cache.glob("packs/*") if found.is_dir()] == []
    assert unpacked(tmp_path / "p.tar").is_dir()


def test_an_archive_larger_than_the_disk_is_refused_before_anything_is_written(
    tmp_path: Path, cache: Path, sound_pack: bytes
) -> None:
    size = 15 << 40
    entries = manifest(lambda m: claim_model(m, size))(entries_of(sound_pack))
    made, _ = entry("model/model.safetensors")
    made.size = size
    head = archive([*entries[:3], (made, b"")])[: -tarfile.RECORDSIZE]
    path = tmp_path / "p.tar"
    with path.open("wb") as file:
        file.write(head)
        try:
            file.truncate(size + (1 << 20))
        except OSError as error:
            pytest.skip(f"no sparse file of this size can be made here: {error}")
    with pytest.raises(RunError, match="no room on the disk"):
        unpacked(path)
    assert [found for found in cache.glob("packs/*") if found.is_dir()] == []


def claim_model(fields: dict[str, Any], size: int) -> None:
    fields["model"] = {"name": "m", "revision": None}
    fields["files"]["model/model.safetensors"] = {"size": size, "sha256": "0" * 64}


def test_a_pack_cut_anywhere_is_an_error(tmp_path: Path, cache: Path, sound_pack: bytes) -> None:
    content_end = len(sound_pack.rstrip(b"\0"))
    cuts = {0, 1, 511, 512, 513, content_end - 1, content_end, content_end + 100}
    cuts |= set(range(512, content_end, 4096))
    for cut in sorted(cuts):
        (tmp_path / "p.tar").write_bytes(sound_pack[:cut])
        with pytest.raises(DataError) as caught:
            unpacked(tmp_path / "p.tar")
        assert len(errors_lines(caught.value)) in (2, 3)
    assert [found for found in cache.glob("packs/*") if found.is_dir()] == []


@dataclass(frozen=True)
class Hostile:
    """An archive that must not be used."""

    name: str
    made: Callable[[Entries], Entries | bytes]
    says: str


def replaced(number: int, **fields: object) -> Callable[[Entries], Entries]:
    """One entry's header with other fields, in front of the same content."""

    def change(entries: Entries) -> Entries:
        found, content = entries[number]
        made = entry(found.name, content)
        for field, value in fields.items():
            setattr(made[0], field, value)
        return [*entries[: number % len(entries)], made, *entries[number % len(entries) + 1 :]]

    return change


def with_content(number: int, change: Callable[[bytes], bytes]) -> Callable[[Entries], Entries]:
    def changed(entries: Entries) -> Entries:
        found, content = entries[number]
        made = entry(found.name, change(content))
        return [*entries[: number % len(entries)], made, *entries[number % len(entries) + 1 :]]

    return changed


def manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Entries], Entries]:
    """The manifest's JSON changed in place."""

    def changed(content: bytes) -> bytes:
        fields = json.loads(content)
        change(fields)
        return json.dumps(fields).encode()

    return with_content(0, changed)


def file_named(place: str) -> Callable[[Entries], Entries]:
    """The manifest names one file more, and the archive holds it."""

    def change(entries: Entries) -> Entries:
        def add(fields: dict[str, Any]) -> None:
            sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            fields["files"][place] = {"size": 4, "sha256": sha256}
            fields["model"] = {"name": "m", "revision": None}

        return [*manifest(add)(entries), entry(place, b"test")]

    return change


def task(number: int, **changes: object) -> Callable[[Entries], Entries]:
    return manifest(lambda fields: fields["tasks"][number].update(changes))


CANNOT = "the pack's manifest cannot be used"
LAST = -1
HOSTILE = [
    # Headers of the archive.
    Hostile("a path upward", replaced(LAST, name="../../../evil"), "holds '../../../evil'"),
    Hostile("an absolute path", replaced(LAST, name="/tmp/evil"), "holds '/tmp/evil'"),
    Hostile("escape codes in a name", replaced(LAST, name="\x1b[2J"), r"holds '\x1b[2J'"),
    Hostile(
        "a symbolic link",
        replaced(LAST, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "a symbolic link",
    ),
    Hostile("a hard link", replaced(1, type=tarfile.LNKTYPE, linkname="../x"), "a hard link"),
    Hostile("a character device", replaced(1, type=tarfile.CHRTYPE), "a device"),
    Hostile("a block device", replaced(1, type=tarfile.BLKTYPE), "a device"),
    Hostile("a pipe", replaced(1, type=tarfile.FIFOTYPE), "a pipe"),
    Hostile("a folder", replaced(1, type=tarfile.DIRTYPE), "a folder"),
    Hostile("a sparse file", replaced(1, type=tarfile.GNUTYPE_SPARSE), "an unusual kind"),
    Hostile("a giant claimed size", replaced(1, size=1 << 50), "1125899906842624 bytes"),
    Hostile("a size below zero", replaced(1, size=-512), "-512 bytes"),
    Hostile("an extended header", lambda e: archive([*e[:1], entry("x" * 150), *e[1:]], 2), "kind"),
    Hostile("a long GNU name", lambda e: [*e[:1], entry("x" * 150), *e[1:]], "an unusual kind"),
    Hostile("a file twice", lambda e: [*e[:2], e[1], *e[2:]], "where its manifest names"),
    Hostile("files in another order", lambda e: [e[0], *e[:0:-1]], "where its manifest names"),
    Hostile("a file more", lambda e: [*e, entry("rows/x.jsonl", b"{}")], "holds more"),
    Hostile("bytes behind the end", lambda e: archive(e) + b"#!/bin/sh", "holds more"),
    Hostile("zeros without end", lambda e: archive(e) + bytes(100_000), "holds more"),
    Hostile("a file less", lambda e: e[:LAST], "cut off"),
    Hostile(
        "one other byte",
        with_content(LAST, lambda content: content[:-3] + b"#" + content[-2:]),
        "another SHA-256",
    ),
    Hostile("another length", with_content(LAST, lambda c: c + b"\n"), "where its manifest names"),
    # No pack at all.
    Hostile("nothing", lambda e: b"", "cut off"),
    Hostile("text", lambda e: b"hello\n" * 1000, "no pack"),
    Hostile("zeros", lambda e: bytes(10240), "no pack"),
    Hostile("a compressed pack", lambda e: gzip.compress(archive(e)), "no pack"),
    Hostile("no manifest", lambda e: e[1:], "no pack"),
    Hostile("a manifest that is a link", replaced(0, type=tarfile.SYMTYPE), "no pack"),
    Hostile("a giant manifest", replaced(0, size=1 << 40), "1099511627776 bytes"),
    Hostile("an empty manifest", with_content(0, lambda c: b""), "0 bytes"),
    # What the manifest says.
    Hostile("another form", manifest(lambda m: m.update(form=2, ko_eval="9.1")), "of form 2"),
    Hostile("no JSON", with_content(0, lambda c: b"form: 1"), CANNOT),
    Hostile("no text", with_content(0, lambda c: b'{"form": 1, "x": "\xff"}'), CANNOT),
    Hostile("deep JSON", with_content(0, lambda c: b'{"form":' + b"[" * 500_000), CANNOT),
    Hostile("an unknown field", manifest(lambda m: m.update(run="rm -rf")), CANNOT),
    Hostile("no tasks", manifest(lambda m: m.update(tasks=[], files={})), CANNOT),
    Hostile("a task twice", manifest(lambda m: m["tasks"].append(m["tasks"][0])), "twice"),
    Hostile("a path in a task's name", task(0, definition={"name": "../x"}), CANNOT),
    Hostile("a place upward", file_named("model/../../evil"), CANNOT),
    Hostile("an absolute place", file_named("/etc/evil"), CANNOT),
    Hostile("a hidden place", file_named("model/.bashrc"), CANNOT),
    Hostile("a deep place", file_named("model/a/b"), CANNOT),
    Hostile("a place besides", file_named("bin/sh"), CANNOT),
    Hostile("a line break in a place", file_named("model/a\nb"), CANNOT),
    Hostile("a zero byte in a place", file_named("model/a\0b"), CANNOT),
    Hostile("rows of no task", file_named("rows/other.jsonl"), "not those of its tasks"),
    Hostile(
        "a model without files",
        manifest(lambda m: m.update(model={"name": "m", "revision": None})),
        "not those of its tasks and model",
    ),
    Hostile("a file too few", manifest(lambda m: m["files"].popitem()), "not those of its tasks"),
    Hostile(
        "a suite of other tasks",
        manifest(lambda m: m.update(suite={"name": "s", "tasks": ["ko_gpqa"]})),
        "not those of its suite",
    ),
    Hostile(
        "rows beyond memory",
        manifest(lambda m: m["files"]["rows/ko_gpqa.jsonl"].update(size=1 << 40)),
        "rows of more than",
    ),
    Hostile(
        "a size beyond numbers",
        with_content(0, lambda c: c.replace(b'"size": ', b'"size": 1e999, "x": ')),
        CANNOT,
    ),
    Hostile(
        "no hash", manifest(lambda m: m["files"]["rows/ko_gpqa.jsonl"].update(sha256="x")), CANNOT
    ),
    Hostile("escape codes in a source", manifest(lambda m: m.update(data="\x1b[2J")), CANNOT),
    Hostile("turned writing in a version", manifest(lambda m: m.update(ko_eval="\u202e1")), CANNOT),
    Hostile(
        "a path in the model's name",
        manifest(lambda m: m.update(model={"name": "../../x", "revision": None})),
        CANNOT,
    ),
    Hostile("a label of its own", task(0, rows={"label": "official"}), CANNOT),
    Hostile(
        "an unknown scorer",
        manifest(lambda m: m["tasks"][0]["definition"].update(scorer={"name": "os.system"})),
        "unknown scorer",
    ),
]


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_pack_is_refused_and_writes_nothing(
    case: Hostile, tmp_path: Path, sound_pack: bytes
) -> None:
    entries = entries_of(sound_pack)
    assert archive(entries) == sound_pack
    made = case.made(entries)
    path = tmp_path / "p.tar"
    path.write_bytes(made if isinstance(made, bytes) else archive(made))
    outside = listing(tmp_path.parent)
    started = time.monotonic()
    with pytest.raises(KoEvalError) as caught:
        unpacked(path)
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert case.says in message
    assert len(message.splitlines()) in (2, 3)
    assert len(message) < 1500
    assert "\x1b" not in message
    assert "\u202e" not in message
    new = set(listing(tmp_path.parent)) - set(outside)
    assert {Path(name).name for name in new} <= {"cache", "packs"} | {
        Path(name).name for name in new if name.endswith(".lock")
    }
    assert cache_folder().is_relative_to(tmp_path)


def test_a_pack_that_is_a_folder_or_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.tar"):
        with pytest.raises(DataError, match="there is no pack at"):
            unpacked(path)


def test_the_version_that_made_a_pack_of_another_form_is_named(
    tmp_path: Path, sound_pack: bytes
) -> None:
    made = manifest(lambda m: m.update(form=7, ko_eval="9.1"))(entries_of(sound_pack))
    (tmp_path / "p.tar").write_bytes(archive(made))
    with pytest.raises(DataError, match=r"form 7; this version of ko-eval reads form 1") as caught:
        unpacked(tmp_path / "p.tar")
    assert "9.1" in str(caught.value)


def test_the_manifest_names_versions(tmp_path: Path, sound_pack: bytes) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    found = read_manifest(unpacked(tmp_path / "p.tar"))
    assert found.ko_eval == ko_eval.__version__
    assert {"python", "datasets", "transformers"} <= set(found.environment)
