"""Models sharded over two processes: every process takes its part of the same file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from tests.checkpoint.nets import Net, made
from tests.commands import ROOT

WORKER = """
import sys
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.saving import save
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import Net, made, same

folder = sys.argv[1]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
source = torch.load(folder + "/net.pth", weights_only=True)


def sharded(model, dim=0):
    def place(name, module, mesh):
        for key, parameter in list(module.named_parameters(recurse=False)):
            at = Shard(min(dim, parameter.ndim - 1)) if parameter.ndim else Replicate()
            module.register_parameter(key, torch.nn.Parameter(distribute_tensor(parameter.data, mesh, [at])))
    return distribute_module(model, mesh, place)


def whole(model):
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))


def check(model, state):
    now = whole(model)
    for name, value in state.items():
        # Without its process 0, torch gathers nothing.
        assert dist.get_rank() or torch.equal(now[name], value), name


def fsdp():
    from torch.distributed.fsdp import fully_shard
    model = made(Net)
    fully_shard(model.conv2)
    fully_shard(model)
    assert load(model, folder + "/net.pth").complete
    assert all(isinstance(p, DTensor) for p in model.parameters())
    check(model, source)
    model(torch.randn(2, 3, 4, 4)).sum().backward()


def tensor_parallel(dim):
    model = sharded(made(Net), dim)
    assert load(model, folder + "/net.pth").complete
    check(model, source)
    save(model, folder + "/again.safetensors")
    dist.barrier()
    plain = made(Net)
    assert load(plain, folder + "/again.safetensors").complete
    assert same(plain, source)


def refused():
    model = sharded(made(Net))
    before = {k: v.clone() for k, v in whole(model).items()}
    try:
        load(model, {**source, "fc.bias": source["fc.bias"].long()})
    except CheckpointError as err:
        assert "int64" in str(err)
    else:
        raise AssertionError("not refused")
    check(model, before)


# One pair of processes for all: starting them takes longer than the work.
fsdp()
tensor_parallel(0)
tensor_parallel(1)
refused()
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes(tmp_path: Path) -> None:
    """FSDP2 and DTensor models load whole files, save whole files, and are left alone by a refusal."""
    torch.save(made(Net, seed=1).state_dict(), tmp_path / "net.pth")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], env={**common, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for process in running:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0, out
    finally:
        for process in running:
            process.kill()
            process.wait()
