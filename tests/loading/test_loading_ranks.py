"""Ranks that torchrun starts, with gloo: an epoch comes exactly once, in equal steps, and goes on with others."""

import json
import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import shardkit

SCRIPT = """
import json, os, sys
import torch.distributed as dist
import shardkit

if __name__ == "__main__":
    dist.init_process_group("gloo")
    asked = json.loads(sys.argv[1])
    loader = shardkit.loader(asked["source"], **asked["options"])
    if asked["state"]:
        loader.load_state_dict(asked["state"])
    steps, shards = [], set()
    for batch in loader:
        real = [key for key, weight in zip(batch.keys, batch.weight.tolist()) if weight]
        steps.append(real)
        index = loader.dataset.index
        shards |= {int(index.shard[loader.dataset._row(key)]) for key in real}
        if len(steps) == asked["steps"]:
            break
    told = {"steps": steps, "state": loader.state_dict(), "shards": sorted(shards)}
    with open(f"rank{dist.get_rank()}.json", "w") as file:
        json.dump(told, file)
    dist.barrier()
    loader.close()
    dist.destroy_process_group()
"""
OPTIONS = {"batch_size": 2, "seed": 5, "workers": 1, "modalities": ["audio"]}


def _unused_port() -> int:
    """One that the kernel hands out to nobody in the seconds until torchrun listens: below those that it hands out."""
    for port in random.Random(os.getpid()).sample(range(20_000, 30_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _ranks(folder: Path, world: int, source: Path, *, state=None, steps=None, nodes=1, **options):
    """What each of `world` ranks was given, and its state afterwards."""
    (folder / "train.py").write_text(SCRIPT)
    asked = json.dumps({"source": str(source), "options": OPTIONS | options, "state": state, "steps": steps})
    common = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(world // nodes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if nodes == 1:
        commands = [[*common, "--standalone"]]
    else:
        # torchrun once a node, all of them on this machine.
        where = ["--nnodes", str(nodes), "--master-addr", "127.0.0.1", "--master-port", str(_unused_port())]
        commands = [[*common, *where, "--node-rank", str(node)] for node in range(nodes)]
    running = [
        subprocess.Popen([*command, "train.py", asked], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in running:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


def _delivered(ranks):
    return sorted(key for rank in ranks for step in rank["steps"] for key in step)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_deliver_an_epoch_exactly_once_in_equal_steps(packed, tmp_path, world):
    """Over all ranks every clip comes once, every rank has as many batches, and all states are the same."""
    ranks = _ranks(tmp_path, world, packed)
    assert _delivered(ranks) == sorted(shardkit.open(packed).keys)
    assert len({len(rank["steps"]) for rank in ranks}) == 1
    assert all(rank["state"] == ranks[0]["state"] for rank in ranks)


def test_three_ranks_go_on_where_four_stopped(packed, tmp_path):
    """Two steps of four ranks and then what is left on three, with another batch size: every clip once."""
    first = _ranks(tmp_path, 4, packed, steps=2)
    second = _ranks(tmp_path, 3, packed, state=first[0]["state"], batch_size=3)
    assert len(_delivered(first)) == 16
    assert sorted(_delivered(first) + _delivered(second)) == sorted(shardkit.open(packed).keys)


def test_nodes_read_shares_of_the_shards(packed, tmp_path):
    """locality="node": two nodes of two ranks deliver each clip once, and share the shard at their border at most."""
    ranks = _ranks(tmp_path, 4, packed, nodes=2, locality="node")
    assert _delivered(ranks) == sorted(shardkit.open(packed).keys)
    assert len({len(rank["steps"]) for rank in ranks}) == 1
    nodes = [set(ranks[0]["shards"] + ranks[1]["shards"]), set(ranks[2]["shards"] + ranks[3]["shards"])]
    assert len(nodes[0] & nodes[1]) <= 1
    assert len(nodes[0] | nodes[1]) == len(shardkit.open(packed).manifest.shards)
