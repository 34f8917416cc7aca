"""A Ray to run replicas on: one of our own on this machine, or a cluster that is there.

Our own listens on the loopback address only, and only to whoever knows its token; it reports to
nobody, draws no dashboard and ends with us, also when we are killed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ko_eval.errors import RunError, UsageError, first_line

# Units of work on their way to replicas; answers are small.
_OBJECT_STORE_BYTES = 512 << 20
_KNOCK_SECONDS = 10.0
# The path of a socket may have 107 bytes, and Ray needs most of them.
_LONGEST_PLACE = 20

_log = logging.getLogger(__name__)

_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# Only for a Ray of our own. The first is read when Ray is imported, and keeps it on the loopback
# address on Linux, too. Whoever may talk to Ray may run code.
_OWN_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@dataclass(frozen=True, slots=True)
class Node:
    """What a node of the cluster has in all, whether in use or not."""

    name: str
    cpus: int
    gpus: int


def check_installed() -> None:
    """Raises `UsageError` when Ray is missing; does not import it."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "replicas need Ray, which is not installed",
            hint="pip install 'ko-eval[cluster]', on every node; or use --replicas 1",
        )


@contextmanager
def ray_session(address: str | None, *, cpus: int, gpus: int) -> Iterator[None]:
    """Ray, connected for as long as the body runs.

    Args:
        address: `auto`, `host:port` or `ray://host:port`; None starts one here.
        cpus, gpus: what one that is started here may hand out.

    Raises:
        UsageError: there is no cluster at the address.
        RunError: Ray cannot be started here.
    """
    before = {name: os.environ.get(name) for name in _OWN_ENVIRONMENT}
    os.environ.update(_ENVIRONMENT if address else _ENVIRONMENT | _OWN_ENVIRONMENT)
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False}
    if address is None or "://" not in address:
        quiet["logging_level"] = logging.ERROR
    folder = None
    # Ray puts a handler of its own there, which ends the program.
    terminate = signal.getsignal(signal.SIGTERM)
    _keep_stdout_clean()
    try:
        if address is not None:
            _connect(address, quiet)
        else:
            folder = _folder()
            _start(folder, cpus, gpus, quiet)
        _restore(terminate)
        yield
    finally:
        ray.shutdown()
        _restore(terminate)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _folder() -> str:
    """For Ray's sockets and logs; named after us, who may be killed before it is removed."""
    place = tempfile.gettempdir()
    if len(place) > _LONGEST_PLACE:
        place = "/tmp"
    return tempfile.mkdtemp(prefix=f"ko-eval-ray-{os.getpid()}-", dir=place)


def _connect(address: str, quiet: dict[str, Any]) -> None:
    import ray

    try:
        if address != "auto":
            _knock(address)
        ray.init(address=address, **quiet)
    except Exception as error:  # by address: connection, version, gRPC, import and value errors
        raise UsageError(
            f"there is no Ray cluster at '{address}': {first_line(error)}",
            hint="start one with `ray start --head` and give host:port, or auto on one of its "
            "nodes; Ray and Python must have the same versions there, and a cluster that asks for "
            "a token needs RAY_AUTH_MODE=token here",
        ) from error


def _knock(address: str) -> None:
    """Raises `OSError` or `ValueError` when nobody listens; Ray would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError("no host:port")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS):
        pass


def _start(folder: str, cpus: int, gpus: int, quiet: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
            # A replica's own processes, such as vLLM's, go with it.
            _system_config={"kill_child_processes_on_worker_exit_with_raylet_subreaper": True},
            **quiet,
        )
    except Exception as error:  # processes that do not start, files that cannot be written
        raise RunError(
            f"Ray cannot be started on this machine: {first_line(error)}",
            where=folder,
            hint="use --replicas 1, or start a cluster with `ray start --head` and give "
            "--ray-address auto",
        ) from error


def _keep_stdout_clean() -> None:
    """Ray prints what its own processes say on stdout, where our results go, and offers no way to
    stop that; whoever wants to know can have it from the log."""
    from ray._private import worker

    def to_log(data: dict[str, Any], *_: Any, **__: Any) -> None:
        _log.debug("%s", "\n".join(map(str, data.get("lines", ()))))

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = to_log


def _restore(handler: Any) -> None:
    # Only the main thread of a program may, and only handlers that Python knows of.
    with suppress(ValueError, TypeError):
        signal.signal(signal.SIGTERM, handler)


def nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    return [
        Node(
            str(node["NodeManagerHostname"]),
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
