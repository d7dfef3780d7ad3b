"""Each model in a process of its own, so that none can take another's time or memory, or end the run.

The parent has imported the zoo before it forks: a model costs its building and its trace, no imports.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """How many models at a time, and what each may take."""

    workers: int = 2
    seconds: float = 120.0
    gib: float = 6.0


@dataclass
class _Running:
    item: Any
    process: BaseProcess
    started: float = field(default_factory=time.monotonic)


def each(
    work: Callable[[Any], Any], items: Sequence[Any], limits: Limits, failed: Callable[[Any, str], Any]
) -> Iterator[Any]:
    """Yield ``work(item)`` for every item as they finish; ``failed(item, why)`` where there is none."""
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy all of the parent's memory
    waiting = list(reversed(items))
    running: dict[Connection, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limits.workers:
                item = waiting.pop()
                running.update([_started(work, item, limits)])
            for pipe in wait(list(running), timeout=0.5):
                assert isinstance(pipe, Connection)
                yield _finished(running.pop(pipe), pipe, failed)
            for pipe, late in list(running.items()):
                if time.monotonic() - late.started > limits.seconds:
                    _ended(running.pop(pipe).process, pipe)
                    yield failed(late.item, f"TimeoutError: not done within {limits.seconds:g} s")
    finally:
        gc.unfreeze()
        for pipe, left in running.items():
            _ended(left.process, pipe)


def _started(work: Callable[[Any], Any], item: Any, limits: Limits) -> tuple[Connection, _Running]:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_child, args=(work, item, limits, sending), daemon=True
    )
    with warnings.catch_warnings():
        # Python warns of forks beside threads; the parent has none that hold a lock here.
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        process.start()
    sending.close()
    return receiving, _Running(item, process)


def _child(work: Callable[[Any], Any], item: Any, limits: Limits, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries print while they build
        os.dup2(silent, stream)
    most = _mapped() + int(limits.gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        result = work(item)
    except BaseException as err:
        result = _Raised("".join(traceback.format_exception_only(err)).strip())
    pipe.send(result)
    pipe.close()
    os._exit(0)


@dataclass(frozen=True)
class _Raised:
    said: str


def _mapped() -> int:
    """Bytes of address space that the process has now; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize() if statm.exists() else 0


def _finished(running: _Running, pipe: Connection, failed: Callable[[Any, str], Any]) -> Any:
    try:
        result = pipe.recv()
    except EOFError:
        running.process.join()
        return failed(running.item, f"its process ended with status {running.process.exitcode}")
    _ended(running.process, pipe)
    return failed(running.item, result.said) if isinstance(result, _Raised) else result


def _ended(process: BaseProcess, pipe: Connection) -> None:
    if process.is_alive():
        process.kill()
    process.join()
    pipe.close()
