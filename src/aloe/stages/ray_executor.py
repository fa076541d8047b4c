"""The executor ``ray``: shards as tasks of a Ray cluster, limits leased from one small actor.

Ray is imported only here. The run directory must be at the same path on every node (a shared file system). A shard
whose node or worker dies goes on elsewhere from its journal.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aloe import errors
from aloe.errors import AloeError, ConfigError, DataError, need_packages
from aloe.models.office import Office
from aloe.stages.executor import ShardedWork
from aloe.store.shards import Shard

POLL = 0.25  # seconds


async def run_on_ray(work: ShardedWork) -> None:
    """Do all shards on the cluster at ``execution.address``, or on one that is started here.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
        AloeError: what a shard has raised; the others are cancelled.
    """
    need_packages("execution.executor ray", ["ray"], "ray")
    import ray

    config = work.context.config.execution
    started = not ray.is_initialized()
    if started:
        _connect(config.address, work.n_workers)
    try:
        await _drive(work, config.replicas if _needs_gpu(work) else 0)
    except ray.exceptions.RayError as error:
        raise DataError(
            f"the Ray cluster failed: {str(error).splitlines()[0]}",
            "the same command goes on from the shards' journals",
        ) from error
    finally:
        if started:
            ray.shutdown()


def _connect(address: str | None, n_workers: int) -> None:
    import ray

    here: dict[str, Any] = {} if address else {"num_cpus": n_workers + 1, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"no Ray cluster at {address or 'this machine'}: {said}", "look at execution.address and 'ray status'"
        ) from None


def _needs_gpu(work: ShardedWork) -> bool:
    """Whether the stage decodes with local checkpoints on a cluster that has GPUs."""
    import ray

    return work.stage.name in ("rollout", "bench") and ray.cluster_resources().get("GPU", 0) > 0


async def _drive(work: ShardedWork, num_gpus: int) -> None:
    """Keep ``work.n_workers`` tasks going until no shard is left."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = work.context
    here = NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )  # it lives with the driver
    office = ray.remote(_RemoteOffice).options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here).remote()
    task = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=0)(_do_on_ray)
    free = list(range(work.n_workers))
    running: dict[Any, tuple[int, Shard]] = {}
    serving = asyncio.get_running_loop().create_task(_serve(office, work.office))
    try:
        while work.todo or running:
            while work.todo and free:
                shard, place = work.todo.pop(0), free.pop(0)
                told = {
                    "run": str(context.run.path.resolve()), "stage": work.stage.name, "shard": str(shard),
                    "redo": context.redo, "place": place, "of": work.n_workers,
                }  # fmt: skip
                running[task.remote(told, office)] = (place, shard)
            while free and not work.todo:
                work.office.retire(free.pop())
            done, _ = await asyncio.to_thread(ray.wait, list(running), num_returns=1, timeout=POLL)
            if serving.done():
                await serving
            for reference in done:
                place, shard = running.pop(reference)
                work.office.lost(place)
                _collect(work, reference, shard)
                free.append(place)
    finally:
        serving.cancel()
        for reference in running:
            ray.cancel(reference, force=True)
        ray.kill(office)


def _collect(work: ShardedWork, reference: Any, shard: Shard) -> None:
    """Take the end of a task: done, failed as the stage fails, or dead.

    Raises:
        AloeError: as the shard raised it, or its worker died too often.
    """
    import ray

    try:
        told = ray.get(reference)
    except ray.exceptions.RayError as error:
        work.died(shard, type(error).__name__)
        return
    if told:
        name, message, hint = told
        raise getattr(errors, name, AloeError)(message, hint)


async def _serve(actor: Any, office: Office) -> None:
    """Answer what workers have asked the actor for: the office itself stays with the driver."""
    answering: set[asyncio.Task[None]] = set()

    async def answer(number: int, worker: int, method: str, arguments: list[Any]) -> None:
        try:
            value, error = await office.ask(worker, method, arguments), None
        except AloeError as failed:
            value, error = None, [type(failed).__name__, failed.message, failed.hint]
        await actor.answer.remote(number, value, error)

    while True:
        for request in await actor.take.remote():
            task = asyncio.get_running_loop().create_task(answer(*request))
            answering.add(task)
            task.add_done_callback(answering.discard)


class _RemoteOffice:
    """The actor: passes requests of all workers to the driver, and its answers back."""

    def __init__(self) -> None:
        self._requests: list[tuple[int, int, str, list[Any]]] = []
        self._answers: dict[int, asyncio.Future[tuple[Any, Any]]] = {}
        self._some = asyncio.Event()
        self._n = 0

    async def ask(self, worker: int, method: str, arguments: list[Any]) -> tuple[Any, Any]:
        self._n += 1
        future: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._n] = future
        self._requests.append((self._n, worker, method, arguments))
        self._some.set()
        return await future

    async def take(self) -> list[tuple[int, int, str, list[Any]]]:
        await self._some.wait()
        self._some.clear()
        taken, self._requests = self._requests, []
        return taken

    async def answer(self, number: int, value: Any, error: Any) -> None:
        self._answers.pop(number).set_result((value, error))


class _RayClient:
    """A worker's way to the actor."""

    def __init__(self, office: Any, place: int) -> None:
        self._office, self._place = office, place

    async def ask(self, method: str, *arguments: Any) -> Any:
        value, error = await self._office.ask.remote(self._place, method, list(arguments))
        if error is not None:
            raise getattr(errors, error[0], AloeError)(error[1], error[2])
        return value


def _do_on_ray(task: dict[str, Any], office: Any) -> list[str] | None:
    """A task: one shard; returns the error that the stage raised, if it did."""
    from aloe.stages.worker import do_shard

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        do_shard(task, _RayClient(office, task["place"]))
    except AloeError as error:
        return [type(error).__name__, error.message, error.hint]
    return None
