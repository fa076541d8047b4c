"""Shards as tasks of a Ray cluster; skipped where Ray is not installed, which nothing else needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.faulty import faulty_world
from scale.sharded_runs import aloe, at, begin, committed, copy, read

pytest.importorskip("ray", exc_type=ImportError)
pytestmark = pytest.mark.slow
ON_RAY = ("--execution.executor", "ray", "--execution.workers", "2", "--execution.shards", "3", "-q")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes on this machine; a task that asks for one CPU leaves room for no other on its node."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


def test_shards_on_ray_give_the_same_files_though_a_node_goes_away(cluster: Any, tmp_path: Path) -> None:
    with faulty_world(lambda body, n: None) as server:
        begin(server, tmp_path / "begun", trees={"n_turns": 2})
        whole = copy(tmp_path / "begun", tmp_path / "whole")
        assert aloe("trees", whole, "-q").returncode == 0
        n, before = len(server.requests), committed(tmp_path / "begun")
        nodes = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]

        def lose_a_node(body: dict[str, Any], number: int) -> None:
            if number == n + 20:
                cluster.remove_node(nodes[0], allow_graceful=False)

        server.world_script = lose_a_node
        server.delay = 0.05
        run = at(copy(tmp_path / "begun", tmp_path / "run"), server.base_url)
        done = aloe("trees", run, *ON_RAY, "--execution.concurrency", "2")
        assert done.returncode == 0, done.stderr
        assert len(server.requests) - n - (committed(run) - before) <= 2 * 2 * 2
    assert read(run) == read(whole) and not (run / "shards").exists()
