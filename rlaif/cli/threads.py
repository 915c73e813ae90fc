"""The waiting policy of OpenMP threads, set before torch is loaded.

torch splits one operation over the threads of its OpenMP library, and a thread that is done waits for the others. By
default it waits actively: it keeps its core busy for a while. That is the fastest on cores that nobody else uses, and
the slowest beside another busy process: the thread it waits for may not be running at all, because the waiting thread
occupies the core that it needs. docs/pages/results.md (Timings) has both policies on both kinds of machine: on a quiet
one, sleeping threads take half as long again; beside one busy process, active ones take 3.5 times as long. Counts of
spins between the two were slow in one of the cases or in both.

So ``rlaif-run`` looks, as its first action, whether other processes use the cores, and lets waiting threads sleep if
so; the commands that compute little let them sleep in any case.
The OpenMP library reads its environment once, when it is loaded: what happens later does not change the policy. Child
processes inherit it: the workers of several devices, and the jobs of a sweep that runs in processes, which compete for
the cores and so always sleep. torchrun also sets ``OMP_NUM_THREADS=1`` in its workers when it starts more than one and
the variable is not set; otherwise the number of threads stays the library's default. The policy changes no result.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

WAIT_POLICY = "OMP_WAIT_POLICY"
OWN_SETTINGS = (WAIT_POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""A user who set one of these has chosen how threads wait: the standard's variable, GNU's and LLVM's or Intel's."""
CPU_TIMES = Path("/proc/stat")
LOOK_S = 0.1
"""Seconds over which the cores are watched: the counters advance in steps of 0.01 s."""
BUSY_CORES = 0.5
"""Cores used by others from which waiting threads sleep."""
_IDLE, _WAITING_FOR_DISK, _NUM_STATES = 3, 4, 8
_LAUNCHER = "hydra/launcher="


def choose_waiting(words: Sequence[str] | None = None) -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` for this process and its children where cores are shared.

    They are when other processes use them now, when that cannot be seen (no ``/proc/stat``), and when the command
    starts jobs beside each other. A user who chose a policy keeps it.

    Args:
        words: The command's arguments; None takes those of the process.
    """
    if _is_chosen():
        return
    words = sys.argv[1:] if words is None else words
    if any(word.startswith(_LAUNCHER) for word in words) or others_use_cores():
        let_waiting_threads_sleep()


def let_waiting_threads_sleep() -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` for this process and its children, unless the user chose a policy."""
    if not _is_chosen():
        os.environ[WAIT_POLICY] = "PASSIVE"


def others_use_cores() -> bool:
    """True when other processes use at least half a core, or where the system does not say."""
    before = _cpu_times()
    time.sleep(LOOK_S)
    after = _cpu_times()
    if before is None or after is None:
        return True
    spent = [now - then for then, now in zip(before, after, strict=True)]
    idle = spent[_IDLE] + spent[_WAITING_FOR_DISK]
    return (sum(spent) - idle) / max(sum(spent), 1) * (os.cpu_count() or 1) >= BUSY_CORES


def _is_chosen() -> bool:
    return any(name in os.environ for name in OWN_SETTINGS)


def _cpu_times() -> list[int] | None:
    """Hundredths of a second that all cores together spent in each state since the start of the system."""
    try:
        words = CPU_TIMES.read_text(encoding="ascii").split()
        return [int(word) for word in words[1 : 1 + _NUM_STATES]]
    except (OSError, ValueError):
        return None
