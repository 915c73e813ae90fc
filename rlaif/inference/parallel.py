"""Chunks of prompts at once on a CPU.

One chunk's small operations (norms, softmax, copies) leave most cores idle, and threads wait for each other after each
of them. Threads that each read a chunk of their own do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from rlaif.inference.forward import Forward

Chunk = TypeVar("Chunk")

MOST_AT_ONCE = 4
"""Chunks in memory at the same time."""


def for_each_chunk(work: Callable[[Chunk], None], chunks: Sequence[Chunk], forward: Forward) -> None:
    """Call ``work`` once for every chunk; on a CPU several calls run at once and share its cores.

    What a chunk computes must not depend on another one. Gradients, inference mode and autocast are those of the
    caller, and an exception of a chunk is raised here.

    Args:
        work: Reads a chunk and writes what it found to a place of its own.
        chunks: The last ones are started first: they are the longest.
        forward: Says whether calls may run at once.
    """
    cores = torch.get_num_threads()
    num_workers = min(MOST_AT_ONCE, cores, len(chunks)) if forward.runs_concurrently else 1
    if num_workers < 2:
        for chunk in chunks:
            work(chunk)
        return
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def start() -> None:
        torch.set_num_threads(cores // num_workers)

    def read(chunk: Chunk) -> None:
        # These modes are a thread's own.
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients and not inference),
            torch.autocast("cpu", dtype, enabled=autocast),
        ):
            work(chunk)

    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="rlaif-chunk", initializer=start)
    try:
        for running in [pool.submit(read, chunk) for chunk in reversed(chunks)]:
            running.result()
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread that is started later takes the number that was set last, whichever thread set it.
        torch.set_num_threads(cores)
