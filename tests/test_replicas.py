"""Replicas on a real Ray: two nodes on this machine, nodes and processes that are killed.

Each test that starts a Ray of our own does so in a process of its own, as a user does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from replica_engines import (
    SleepingEngine,
    broken,
    dying_while_it_loads,
    loading_only_once,
    not_on_this_node,
    requests,
)

from ko_eval.cluster.ray_session import nodes, ray_session
from ko_eval.cluster.replica_pool import ReplicaPool, Shape
from ko_eval.cluster.replicas import engine_loader
from ko_eval.engines.base import Answer
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import KoEvalError, ModelError, RunError, UsageError
from ko_eval.runs.evaluate import RunOutcome, SilentReporter, evaluate
from ko_eval.runs.plan import RunOptions
from ko_eval.runs.result import RunResult
from ko_eval.types import FailedResponse

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.ray

TASKS = ("ko_gsm8k", "ko_eqbench", "kornat_knowledge", "kornat_social_value", "ko_gpqa")
LIMIT = 24
SMALL = Shape(gpus=0, cpus=1, threads=1)


@pytest.fixture(scope="module", autouse=True)
def _replicas_find_the_engines_of_this_folder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with two CPUs; a test adds a node, and removes it."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 1 << 27},
    )
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likelihoods and generations, with short answers: the tiny model never stops by itself."""
    path = tmp_path_factory.mktemp("suite") / "short.yaml"
    overrides = {"ko_gsm8k": {"max_tokens": 48}, "ko_eqbench": {"max_tokens": 32}}
    content = {"name": "short", "tasks": list(TASKS), "overrides": overrides}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def options(model: Path, suite: Path, out: Path, **more: Any) -> RunOptions:
    fields: dict[str, Any] = {
        "limit": LIMIT,
        "load": LoadOptions(dtype="float32", device="cpu"),
        **more,
    }
    return RunOptions(model=str(model), suite=str(suite), out=out, **fields)


@pytest.fixture(scope="module")
def by_one(tiny: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    """The same run with a single engine."""
    return evaluate(options(tiny, suite, tmp_path_factory.mktemp("one")))


def assert_identical(outcome: RunOutcome | Path, by_one: RunOutcome) -> None:
    """Equal in all but times, warnings and conditions: scores, samples and counts."""
    directory = outcome if isinstance(outcome, Path) else outcome.directory
    found = RunResult.model_validate_json((directory / "results.json").read_bytes())
    assert found.fingerprint == by_one.result.fingerprint
    compare(comparable(found), comparable(by_one.result))
    for name in TASKS:
        ours, theirs = (
            [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for path in (d / "samples" / f"{name}.jsonl" for d in (directory, by_one.directory))
        )
        assert ours
        compare(ours, theirs)
        journal = (directory / "responses" / f"{name}.jsonl").read_text(encoding="utf-8")
        # Nothing was asked twice: a line for each request.
        assert len(journal.splitlines()) == len(ours)


def comparable(result: RunResult) -> dict[str, Any]:
    content = result.model_dump(mode="json")
    for name in ("created", "conditions", "warnings"):
        content[name] = None
    for task in content["tasks"]:
        task["seconds"] = None
    return content


def compare(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, abs=1e-4), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            compare(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            compare(a, b, f"{where}[{place}]")
    else:
        assert one == other, where


class Interfering(SilentReporter):
    """Does something once, when so many requests are answered."""

    def __init__(self, after: int, what: Callable[[], None]) -> None:
        self.left = after
        self.what = what

    def answered(self, name: str, tokens: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.what()


def replica_processes(of: int | None = None) -> list[psutil.Process]:
    """Processes of replicas below a process, this one by default."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ReplicaActor" in "".join(process.cmdline()):
                found.append(process)
    return found


def test_a_node_removed_in_the_middle_costs_nothing(
    cluster: Cluster, tiny: Path, suite: Path, by_one: RunOutcome, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=2, object_store_memory=1 << 27)
    asked = options(tiny, suite, tmp_path, replicas=4, ray_address=cluster.address)
    processes: list[psutil.Process] = []

    def remove() -> None:
        processes.extend(replica_processes())
        # Stopped first: however long the removal takes, they cannot finish before it.
        stopped = replica_processes(second.all_processes["raylet"][0].process.pid)
        for process in stopped:
            process.suspend()
        cluster.remove_node(second, allow_graceful=False)
        for process in stopped:
            process.kill()  # or they would not see that their node is gone

    with engine_loader(asked) as load:
        outcome = evaluate(asked, Interfering(20, remove), load)
    assert len(processes) == 4
    assert_identical(outcome, by_one)
    lost = [text for text in outcome.result.warnings if "was lost" in text]
    assert len(lost) == 2
    # Ray may find the silent replica before it finds the silent node.
    reasons = ("its node is gone", "it cannot be reached any more")
    assert all(any(reason in text for reason in reasons) for text in lost)
    assert all("unfinished requests are asked again" in text for text in lost)
    assert not any(" 0 unfinished" in text for text in lost)
    assert outcome.result.conditions["replicas"] == 4
    run = json.loads((outcome.directory / "run.json").read_text(encoding="utf-8"))
    assert set(lost) <= set(run["sessions"][0]["warnings"])


def test_a_killed_replica_is_started_again_and_its_work_is_done(
    cluster: Cluster,
    tiny: Path,
    suite: Path,
    by_one: RunOutcome,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked = options(tiny, suite, tmp_path, replicas=2, ray_address=cluster.address)
    killed: list[int] = []

    def kill() -> None:
        process = replica_processes()[0]
        killed.append(process.pid)
        process.send_signal(signal.SIGKILL)

    with engine_loader(asked) as load:
        outcome = evaluate(asked, Interfering(10, kill), load)
    assert len(killed) == 1
    assert_identical(outcome, by_one)
    (lost,) = [text for text in outcome.result.warnings if "was lost" in text]
    assert lost.startswith("replica ")
    assert "on node " in lost
    assert "(its process died)" in lost or "(it cannot be reached any more)" in lost
    # Our results go to stdout; what Ray's processes have to say does not.
    assert capfd.readouterr().out == ""


def test_more_replicas_than_the_cluster_has_room_for_are_refused(
    cluster: Cluster, tiny: Path, suite: Path, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=1 << 27)
    asked = options(tiny, suite, tmp_path, replicas=5, ray_address=cluster.address)
    with (
        engine_loader(asked) as load,
        pytest.raises(UsageError, match="5 replicas were asked for, but there is room for 3"),
    ):
        evaluate(asked, load=load)
    assert not replica_processes()
    cluster.remove_node(second)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "node1", "local"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with (
        pytest.raises(UsageError, match=f"no Ray cluster at '{address}'"),
        ray_session(address, cpus=0, gpus=0),
    ):
        pass


def test_the_benchmark_measures_and_prints(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "scripts" / "bench_replicas.py"
    words = [str(script), "--replicas", "2", "--requests", "30", "--simulated", "2"]
    with start([sys.executable, *words], tmp_path) as running:
        out, err = running.communicate()
    assert running.returncode in (0, 1), err  # so small, targets mean nothing
    assert "throughput, 2 replicas against 1" in out
    assert "driver's ms per request, 2 simulated replicas" in out


@pytest.fixture
def session(cluster: Cluster) -> Iterator[None]:
    with ray_session(cluster.address, cpus=0, gpus=0):
        assert [node.cpus for node in nodes()] == [2]
        yield


@contextlib.contextmanager
def pool(make: Callable[[], Any], count: int = 2, **more: Any) -> Iterator[ReplicaPool]:
    with contextlib.closing(ReplicaPool(make, count, SMALL, rows=1, **more)) as made:
        yield made


def keys(answers: list[Answer], *, failed: bool) -> list[str]:
    return sorted(a.key for a in answers if isinstance(a.response, FailedResponse) == failed)


@pytest.mark.usefixtures("session")
def test_only_the_request_that_kills_replicas_fails() -> None:
    asked = requests(60)
    with pool(partial(SleepingEngine, 0.00002, ("task-17",))) as engine:
        answers = list(engine.answers(asked))
        again = list(engine.answers([request for request in asked if request.key == "task-17"]))
        assert engine.warnings[0] == "slept"
        assert sum("was lost" in text for text in engine.warnings) == 3
    assert keys(answers, failed=True) == keys(again, failed=True) == ["task-17"]
    assert keys(answers, failed=False) == sorted({r.key for r in asked} - {"task-17"})
    (failed,) = [a.response for a in answers if isinstance(a.response, FailedResponse)]
    assert failed.reason == "3 replicas were lost while they answered it"


@pytest.mark.usefixtures("session")
def test_replicas_that_die_while_they_load_end_the_run() -> None:
    with pytest.raises(ModelError, match="no replica is left"), pool(dying_while_it_loads):
        pass


@pytest.mark.usefixtures("session")
def test_a_model_that_no_node_has_is_said_as_it_is() -> None:
    with pytest.raises(ModelError, match="not on this node") as refused, pool(not_on_this_node):
        pass
    assert str(refused.value.where).startswith("node ")


@pytest.mark.usefixtures("session")
def test_the_run_goes_on_with_those_that_have_the_model(tmp_path: Path) -> None:
    with pool(partial(loading_only_once, tmp_path / "mark")) as engine:
        answers = list(engine.answers(requests(50)))
        assert len(keys(answers, failed=False)) == 50
        assert any("goes on without replica" in text for text in engine.warnings)


@pytest.mark.usefixtures("session")
def test_an_engine_that_always_fails_ends_the_run_with_its_reason() -> None:
    with pool(broken) as engine, pytest.raises(KoEvalError, match="the engine failed: ValueError"):
        list(engine.answers(requests(50)))


@pytest.mark.usefixtures("session")
def test_without_room_for_too_long_the_run_ends() -> None:
    asked = Shape(gpus=0, cpus=64, threads=1)
    with pytest.raises(RunError, match="no node has had room"):
        ReplicaPool(SleepingEngine, 1, asked, rows=1, patience=1.5)


@pytest.mark.usefixtures("session")
def test_answers_are_given_as_they_come() -> None:
    with pool(partial(SleepingEngine, 0.001), count=1) as engine:
        stream = engine.answers(requests(30))
        started = time.monotonic()
        next(stream)
        # A tenth of a second for each of them, three seconds for all.
        assert time.monotonic() - started < 1.5
        assert len(list(stream)) == 29


def command(model: Path, suite: Path, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ko_eval.cli.main", "run", str(model), "--suite", str(suite)),
        *("--out", str(out), "--dtype", "float32", "--device", "cpu", "--limit", str(LIMIT)),
        *("--replicas", "2"),
    ]


def start(words: list[str], out: Path) -> subprocess.Popen[str]:
    # Far too long a place for sockets: another is taken.
    place = out / ("long-" * 20)
    place.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(place)}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_lines(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if sum(p.read_bytes().count(b"\n") for p in out.rglob("responses/*.jsonl")) >= count:
            return
        time.sleep(0.01)
    raise TimeoutError


def ray_below(process: int) -> dict[psutil.Process, str]:
    """Processes that a command started, with their names."""
    return {child: child.name() for child in psutil.Process(process).children(recursive=True)}


def assert_all_end(processes: Collection[psutil.Process]) -> None:
    assert len(processes) > 4, "there were Ray processes to end"
    _, alive = psutil.wait_procs(list(processes), timeout=20)
    assert not alive


def test_the_command_line_ends_its_ray_and_gives_the_same_results(
    tiny: Path, suite: Path, by_one: RunOutcome, tmp_path: Path
) -> None:
    with start(command(tiny, suite, tmp_path), tmp_path) as running:
        wait_for_lines(tmp_path, 1)
        processes = ray_below(running.pid)
        listening = [c for p in processes for c in connections(p) if c.status == "LISTEN"]
        out, err = running.communicate()
    assert running.returncode == 0, err
    assert err == ""
    assert "Asked the model" in out
    assert_all_end(processes)
    assert listening
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert_identical(next(tmp_path.rglob("results.json")).parent, by_one)


def connections(process: psutil.Process) -> list[Any]:
    with contextlib.suppress(psutil.Error):
        return list(process.net_connections(kind="tcp"))
    return []


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["kill", "interrupt", "terminate"],
)
def test_stopped_in_the_middle_no_ray_is_left_and_the_run_can_go_on(
    tiny: Path, suite: Path, by_one: RunOutcome, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    with start(command(tiny, suite, tmp_path), tmp_path) as running:
        wait_for_lines(tmp_path, 5)
        processes = ray_below(running.pid)
        running.send_signal(sent)
        _, err = running.communicate()
    assert running.returncode == code, err
    assert "Traceback" not in err
    left = list(Path("/tmp").glob(f"ko-eval-ray-{running.pid}-*"))
    assert len(left) == (code == -signal.SIGKILL)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    # After a kill, two agents of Ray look for its head for a minute, and end then.
    late = ("ray::DashboardAgent", "ray::RuntimeEnvAgent") if code == -signal.SIGKILL else ()
    assert_all_end([child for child, name in processes.items() if name not in late])
    journals = tmp_path.rglob("responses/*.jsonl")
    answered = sum(path.read_bytes().count(b"\n") for path in journals)
    # A signal leaves time for what is in hand, which two quick replicas may finish.
    most = LIMIT * len(TASKS) - (code == -signal.SIGKILL)
    assert 5 <= answered <= most
    outcome = evaluate(options(tiny, suite, tmp_path))
    assert outcome.answered_before >= 5
    assert_identical(outcome, by_one)
