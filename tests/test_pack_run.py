"""A run from a pack, without any network, is the run that the network gives; and the hub's own
variables hold for models as for data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_server import CommandServer
from hub_stand_in import COMMIT, TOKEN, Hub, card, environment, json_lines, repository, serving

pytestmark = pytest.mark.slow

MODEL, DATA = "maker/tiny-model", "maker/questions"
UNREAD, UNREAD_DATA = "maker/unread-model", "maker/unread-questions"
TASKS: dict[str, dict[str, Any]] = {
    "words": {
        "request": "loglikelihood",
        "prompt": "{{ question }}",
        "choices": "choices",
        "scorer": "choice_likelihood",
        "columns": {"id": "id", "question": "q", "choices": "options", "answer": "a"},
        "fewshot": {"count": 2, "hub": {"path": DATA, "name": "main", "split": "train"}},
    },
    "numbers": {
        "request": "generate",
        "prompt": "{{ question }}",
        "target": "{{ answer }}",
        "scorer": "gsm8k",
        "columns": {"id": "id", "question": "q", "answer": "a"},
    },
}
HUB_COLUMNS = {"answer": "solution"}
KEEP = "a != 'C'"


def row(number: int) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "q": f"{number} 다음에 오는 수는 무엇입니까?",
        "options": [str(number + 1), str(number + 2), "없다"],
        "a": "ABC"[number % 3],
        "solution": f"#### {number + 1}",
    }


def write_tasks(folder: Path) -> Path:
    """Two tasks, and a suite that changes one of them."""
    paths = []
    for name, fields in TASKS.items():
        source: dict[str, Any] = {"path": DATA, "name": "main", "split": "test"}
        if name == "numbers":
            source |= {"columns": HUB_COLUMNS, "keep": KEEP}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, "data": {"hub": [source]}, **fields}))
        paths.append(str(path))
    suite = {"name": "both", "tasks": paths, "overrides": {paths[1]: {"max_tokens": 6}}}
    (folder / "both.yaml").write_text(yaml.safe_dump(suite))
    return folder / "both.yaml"


@dataclass
class Machine:
    """Where a network is, until it is taken away.

    Attributes:
        commands: its command line, which knows only the stand-in hub.
    """

    folder: Path
    commands: CommandServer
    suite: Path

    def ko_eval(self, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        return self.commands.start(arguments, self.folder, HF_TOKEN=token).completed()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("online")
    data = {
        "README.md": card({"main": {"test": "test.jsonl", "train": "train.jsonl"}}),
        "test.jsonl": json_lines(*map(row, range(8))),
        "train.jsonl": json_lines(*map(row, range(20, 24))),
    }
    model = {path.name: path.read_bytes() for path in tiny.iterdir()}
    names = {MODEL: model, UNREAD: model, DATA: data, UNREAD_DATA: data}
    hub: Hub = {name: repository(files, gated=True) for name, files in names.items()}
    with serving(hub) as endpoint:
        streams = tmp_path_factory.mktemp("streams")
        with CommandServer(streams, environment(endpoint, folder)) as commands:
            yield Machine(folder, commands, write_tasks(folder))


def run_arguments(out: Path) -> list[object]:
    return ["--dtype", "float32", "--device", "cpu", "--out", out]


@pytest.fixture(scope="module")
def with_network(machine: Machine) -> Path:
    """The directory of the run that the network gives."""
    done = machine.ko_eval(
        *("run", MODEL, "--suite", machine.suite, "--data", "hub"),
        *run_arguments(machine.folder / "results"),
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    (found,) = (machine.folder / "results").glob("*/*")
    return found


@pytest.fixture(scope="module")
def pack(machine: Machine) -> Path:
    done = machine.ko_eval(
        *("pack", MODEL, "--suite", machine.suite, "--data", "hub", "-o", "p.tar")
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert COMMIT in done.stdout
    return machine.folder / "p.tar"


def in_no_network() -> list[str]:
    """What starts a process without a network device, where this machine lets us."""
    for way in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and subprocess.run([*way, "true"], check=False).returncode == 0:
            return way
    return []


def cut_off(
    folder: Path, *arguments: object, **more: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs the command line with no network, every socket refused, and by default empty caches.

    Returns:
        The command, and what it tried to reach.
    """
    unset = {"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE"}
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {
        "HOME": str(folder / "home"),
        "HF_HOME": str(folder / "hf"),
        "KO_EVAL_CACHE": str(folder / "cache"),
        "BLOCKED_SOCKETS": str(folder / "tried"),
        **more,
    }
    script = Path(__file__).with_name("socket_block.py")
    done = subprocess.run(
        [*in_no_network(), sys.executable, str(script), *map(str, arguments)],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, (folder / "tried").read_text(encoding="utf-8")


def comparable(directory: Path) -> dict[str, Any]:
    """The result without times, and without what describes the machine."""
    content = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    for name in ("created", "conditions", "environment"):
        content.pop(name)
    for task in content["tasks"]:
        task.pop("seconds")
    return dict(content)


def test_a_run_from_a_pack_without_a_network_is_the_run_with_it(
    machine: Machine, with_network: Path, pack: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "p.tar"
    shutil.copy(pack, moved)
    done, tried = cut_off(tmp_path, "run", "--pack", moved, *run_arguments(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert tried == ""
    (directory,) = (tmp_path / "results").glob("*/*")
    assert directory.relative_to(tmp_path) == with_network.relative_to(machine.folder)
    ours, theirs = comparable(directory), comparable(with_network)
    assert ours["layers"] == theirs["layers"]
    assert ours == theirs
    assert ours["data"] == "hub"
    assert ours["model"]["name"] == MODEL
    assert ours["model"]["revision"] == COMMIT
    words, numbers = ours["tasks"]
    assert (words["data"]["label"], words["data"]["revision"]) == ("hub", COMMIT)
    assert (words["fewshot"]["label"], words["fewshot"]["revision"]) == ("hub", COMMIT)
    assert numbers["data"]["dropped"] == 2
    for name in ("words", "numbers"):
        samples = f"samples/{name}.jsonl"
        assert (directory / samples).read_bytes() == (with_network / samples).read_bytes()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_the_block_blocks_where_a_network_is_asked_for(machine: Machine, tmp_path: Path) -> None:
    done, tried = cut_off(tmp_path, "run", MODEL, "--suite", machine.suite, "--data", "hub")
    assert done.returncode == 2
    assert "the hub cannot be reached" in done.stderr
    assert "socket.getaddrinfo" in tried


def test_beside_a_pack_no_hub_is_asked_for_another_model(pack: Path, tmp_path: Path) -> None:
    done, tried = cut_off(tmp_path, "run", UNREAD, "--pack", pack)
    assert done.returncode == 2
    assert "the hub is not asked" in done.stderr
    assert tried == ""


def test_packing_hub_data_and_a_hub_model_twice_gives_the_same_bytes(
    machine: Machine, pack: Path
) -> None:
    again = machine.ko_eval(
        *("pack", MODEL, "--suite", machine.suite, "--data", "hub", "-o", "again.tar")
    )
    assert again.returncode == 0, again.stderr
    assert (machine.folder / "again.tar").read_bytes() == pack.read_bytes()


def test_a_run_goes_on_from_a_pack(machine: Machine, with_network: Path, pack: Path) -> None:
    done = machine.ko_eval(
        *("run", "--pack", pack), *run_arguments(machine.folder / "results"), token=""
    )
    assert done.returncode == 0, done.stderr
    assert "Asked the model 0 requests" in done.stdout
    assert str(with_network.name) in done.stdout


def test_tasks_of_a_pack_can_be_run_alone(machine: Machine, pack: Path, tmp_path: Path) -> None:
    done = machine.ko_eval(
        *("run", "--pack", pack, "--tasks", "words", "--shots", "4"), *run_arguments(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (directory,) = tmp_path.glob("*/*")
    content = comparable(directory)
    assert directory.name.startswith("words-hub-")
    assert [(task["name"], task["shots"]) for task in content["tasks"]] == [("words", 4)]


def test_another_model_takes_the_tasks_of_a_pack(
    machine: Machine, pack: Path, tiny: Path, tmp_path: Path
) -> None:
    done = machine.ko_eval("run", tiny, "--pack", pack, *run_arguments(tmp_path))
    assert done.returncode == 0, done.stderr
    (directory,) = tmp_path.glob("*/*")
    assert comparable(directory)["model"]["name"] == "tiny"


# --- the variables of the hub's own libraries -----------------------------------------------------


def test_the_token_is_in_no_file_of_a_run_or_a_pack(
    machine: Machine, with_network: Path, pack: Path
) -> None:
    files = [path for path in with_network.rglob("*") if path.is_file()]
    assert {"run.json", "results.json"} <= {path.name for path in files}
    for path in (*files, pack):
        assert TOKEN.encode() not in path.read_bytes()


def test_models_and_data_lie_in_the_folder_that_hf_home_names(
    machine: Machine, with_network: Path
) -> None:
    home = machine.folder / "home"
    assert list(home.glob("hub/models--maker--tiny-model/snapshots/*/model.safetensors"))
    assert list(home.glob("datasets/maker___questions/**/*.arrow"))


def test_hf_hub_offline_reads_model_and_data_from_these_folders_and_asks_nothing(
    machine: Machine, with_network: Path, tmp_path: Path
) -> None:
    done, tried = cut_off(
        tmp_path,
        *("run", MODEL, "--suite", machine.suite, "--data", "hub"),
        *run_arguments(tmp_path / "results"),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(machine.folder / "home"),
        KO_EVAL_CACHE=str(machine.folder / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert tried == ""
    (directory,) = (tmp_path / "results").glob("*/*")
    assert comparable(directory) == comparable(with_network)


@pytest.mark.parametrize(
    ("token", "of_model", "of_data"),
    [
        ("", "is gated", "HF_TOKEN is not set"),
        ("hf_wrong_secret", "is gated", "the token that is set has no access"),
        ("hf_wrong\x01secret", "is gated", "the token that is set has no access"),
        ("hf_비밀secret", "holds characters that no token has", "characters that no token has"),
    ],
)
def test_gated_models_and_data_need_the_token_and_no_error_shows_it(
    machine: Machine, tmp_path: Path, token: str, of_model: str, of_data: str
) -> None:
    out, task = tmp_path / "p.tar", tmp_path / "unread.yaml"
    task.write_text((machine.folder / "numbers.yaml").read_text().replace(DATA, UNREAD_DATA))
    for arguments, says in (
        ((UNREAD, "--tasks", "ko_gpqa"), of_model),
        (("--tasks", task, "--data", "hub"), of_data),
    ):
        done = machine.ko_eval("pack", *arguments, "-o", out, "--debug", token=token)
        assert done.returncode == 2
        assert says in done.stderr
        assert "set HF_TOKEN" in done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert not out.exists()
