"""Which engine a run gets: one here, or replicas that share its work on this machine or a cluster.

    with engine_loader(options) as load:
        outcome = evaluate(options, reporter, load)

Ray is imported and started only when there is more than one replica, or an address of a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from ko_eval.cluster.ray_session import Node, check_installed, nodes, ray_session
from ko_eval.cluster.replica_pool import ReplicaPool, Shape
from ko_eval.cluster.replica_recipe import Recipe
from ko_eval.engines.base import Engine
from ko_eval.engines.transformers_loading import pick_device
from ko_eval.errors import UsageError
from ko_eval.runs.engine_loading import load_engine
from ko_eval.runs.evaluate import EngineLoader
from ko_eval.runs.plan import RunOptions, RunPlan

# Generations that an engine answers side by side, unless the user says how many.
_ROWS = {"cpu": 32, "cuda": 256}
# More CPUs do not help a replica that computes on GPUs.
_CPUS_BESIDE_GPUS = 16


@contextmanager
def engine_loader(options: RunOptions) -> Iterator[EngineLoader]:
    """What makes the engine of a run; ends the replicas, and a Ray of our own, with the body.

    Raises:
        UsageError: replicas cannot be had in this way; nothing was loaded.
    """
    _check(options)
    with ExitStack() as stack:

        def load(plan: RunPlan) -> Engine:
            if options.ray_address is None and _wanted_here(options) == 1:
                return load_engine(plan)
            return stack.enter_context(load_replicas(plan))

        yield load


@contextmanager
def load_replicas(plan: RunPlan) -> Iterator[ReplicaPool]:
    """The replicas that a plan's options ask for, with the model loaded; ended with the body.

    Raises:
        KoEvalError: there is no room for them, no Ray, or no replica could load the model.
    """
    options = plan.options
    check_installed()
    device = pick_device(options.load.device).type
    cpus, gpus = _cores(), _gpus_here(options)
    with ray_session(options.ray_address, cpus=cpus, gpus=gpus):
        there = nodes()
        if device == "cpu" and options.load.device == "auto" and any(n.gpus for n in there):
            raise UsageError(
                f"the cluster has {sum(n.gpus for n in there)} GPUs, but torch sees none here",
                hint="run the command on a node with a GPU, or add --device cpu",
            )
        count, shape = room(there, options.replicas, _gpus_each(options, device))
        rows = options.batch_rows or _ROWS.get(device, _ROWS["cpu"])
        pool = ReplicaPool(Recipe.of(plan).engine_here, count, shape, rows=rows)
        with closing(pool):
            yield pool


def room(there: Sequence[Node], asked: int, gpus: int) -> tuple[int, Shape]:
    """How many replicas, and what each takes.

    Args:
        asked: 0 for one per group of GPUs, or one per node where replicas need none.
        gpus: of each replica.

    Raises:
        UsageError: the nodes are too few or too small.
    """
    fits = sum(node.gpus // gpus if gpus else node.cpus for node in there)
    count = asked or (fits if gpus else len(there))
    most = _CPUS_BESIDE_GPUS if gpus else max((node.cpus for node in there), default=0)
    for cpus in range(most, 0, -1):
        places = (
            min(node.cpus // cpus, node.gpus // gpus) if gpus else node.cpus // cpus
            for node in there
        )
        if 0 < count <= sum(places):
            return count, Shape(gpus, cpus, _threads(cpus))
    each = f" of {gpus} GPUs each" if gpus > 1 else ""
    raise UsageError(
        f"{count or 'any'} replicas{each} were asked for, but there is room for {fits}",
        where="; ".join(f"{node.name}: {node.gpus} GPUs, {node.cpus} CPUs" for node in there),
        hint="use --replicas auto, or add nodes; a replica lies on one node and takes at least "
        "one CPU",
    )


def _threads(cpus: int) -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else cpus


def _check(options: RunOptions) -> None:
    """What can be said before the model and the data are read."""
    if options.replicas == 1 and options.ray_address is None:
        return
    if options.replicas < 0:
        raise UsageError(f"--replicas {options.replicas} is less than 1", hint="or use auto")
    if options.model.startswith(("http://", "https://")):
        raise UsageError(
            "--replicas and --ray-address are for models that are loaded here",
            where=options.model,
            hint="leave them out: a server shares its work out itself",
        )
    if options.load.device_map is not None or ":" in options.load.device:
        option = "--device-map" if options.load.device_map else f"--device {options.load.device}"
        raise UsageError(
            f"{option} cannot be combined with replicas: each is given GPUs of its own",
            hint="choose GPUs with CUDA_VISIBLE_DEVICES; spread a model over several with "
            "--engine vllm --tensor-parallel N",
        )
    if options.replicas != 0 or options.ray_address is not None:
        check_installed()


def _wanted_here(options: RunOptions) -> int:
    """Replicas on this machine alone."""
    if options.replicas:
        return options.replicas
    each = _gpus_each(options, pick_device(options.load.device).type)
    return max(1, _gpus_here(options) // each) if each else 1


def _gpus_each(options: RunOptions, device: str) -> int:
    if device != "cuda":
        return 0
    return options.vllm.tensor_parallel * options.vllm.pipeline_parallel


def _gpus_here(options: RunOptions) -> int:
    import torch

    return torch.cuda.device_count() if pick_device(options.load.device).type == "cuda" else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
