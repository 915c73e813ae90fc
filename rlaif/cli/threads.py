"""The waiting policy of OpenMP threads, set before torch is loaded.

torch splits one operation over the threads of its OpenMP library, and a thread that is done waits for the others. By
default it waits actively: it keeps its core busy for a while. Beside another busy process the thread it waits for may
not be running at all, because the waiting thread occupies the core that it needs. On two cores beside other jobs, a
forward pass of a pocket model went from 0.8 to 8.1 per second when waiting threads slept instead.

The library reads its environment once, when it is loaded, so the commands set it as their first action. Child
processes inherit it: the workers of several devices, and the jobs of a sweep that runs in processes. torchrun also
sets ``OMP_NUM_THREADS=1`` in its workers when it starts more than one and the variable is not set; otherwise the
number of threads stays the library's default.
"""

from __future__ import annotations

import os

WAIT_POLICY = "OMP_WAIT_POLICY"
OWN_SETTINGS = (WAIT_POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""A user who set one of these has chosen how threads wait: the standard's variable, GNU's and LLVM's or Intel's."""


def let_waiting_threads_sleep() -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` for this process and its children, unless the user chose a policy."""
    if not any(name in os.environ for name in OWN_SETTINGS):
        os.environ[WAIT_POLICY] = "PASSIVE"
