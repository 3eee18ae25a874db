"""Environment variables that a worker's C libraries read as they are loaded: set before that."""

import os
import sys
from collections.abc import Mapping

CPU: Mapping[str, str] = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432"
    ":glibc.malloc.trim_threshold=67108864",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}
"""Allocates large buffers in huge pages, which saves CPU time in decoders: a decoded photo would
otherwise touch thousands of small pages once. Memory that was freed is kept for the next array, up
to 64 MiB: by default, glibc gives arrays of some MiB back to the system, and they are made of new
pages dozens of times for each photo. Each process works by one thread, since there is one
for each core: threads of libraries spin while they wait for each other (figures:
docs/benchmarks/imaging.md)."""
GPU: Mapping[str, str] = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Lets the threads of networks that run on the CPU sleep while they wait for each other. Spinning
gains nothing on a quiet machine and slows everything down on a busy one."""


def restart_with_huge_pages() -> None:
    """Restart this process with glibc's allocator configured, unless it is; the pid stays."""
    if "GLIBC_TUNABLES" in os.environ or not sys.platform.startswith("linux"):  # noqa: TID251
        return
    os.execve(sys.executable, sys.orig_argv, {**CPU, **os.environ})  # noqa: TID251


def let_threads_sleep() -> None:
    """Configure OpenMP, before torch is imported; a variable that is set already stays."""
    for name, value in GPU.items():
        os.environ.setdefault(name, value)  # noqa: TID251
