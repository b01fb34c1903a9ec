"""Other processes: what is set around them, and how they end together."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

TERMINATED = 143  # exit status of a process that was told to end, as shells give it
POLL = 0.5  # seconds between two looks at another process
PATIENCE = 10.0  # seconds that a process has to store what it has finished
AGAIN = 5.0  # seconds until a kernel that goes on is interrupted once more; sooner could disturb its last writing
_PARENT = (
    "ENTROPY_GROUNDING_PARENT"  # environment variable: with which process those that it starts end
)
_ending = threading.Event()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def kernels(process: psutil.Process | None = None, *, below: bool = True) -> list[psutil.Process]:
    """Return the Jupyter kernels that a process (default: this one) has started.

    Args:
        process: which one.
        below: also those of its children, and so on.
    """
    with suppress(psutil.NoSuchProcess):
        children = (process or psutil.Process()).children(recursive=below)
        return [child for child in children if _is_kernel(child)]

    return []


def stop_kernels(is_over: Callable[[], bool], spared: Collection[psutil.Process] = ()) -> None:
    """Interrupt the kernels of this process, which store what they have finished, until the work is over.

    Args:
        is_over: tells whether nothing waits for the kernels any more.
        spared: kernels of somebody else.
    """
    start, told = time.monotonic(), dict[int, float]()
    try:
        while not is_over():
            now = time.monotonic()
            for kernel in [each for each in kernels(below=False) if each not in spared]:
                if now - start > PATIENCE or _is_idle(kernel):
                    _send(kernel, signal.SIGKILL)
                elif now - told.get(kernel.pid, -AGAIN) >= AGAIN:
                    told[kernel.pid] = now
                    _send(kernel, signal.SIGINT)
            time.sleep(POLL / 5)
    except BaseException:  # a second signal: nobody wants to wait
        for kernel in [each for each in kernels(below=False) if each not in spared]:
            _send(kernel, signal.SIGKILL)
        raise


def announce_parent() -> dict[str, str]:
    """Return the environment variables by which a process that this one starts knows with whom it ends."""
    return {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process when the one that started it is gone, as if it had been told to (SIGTERM).

    Jobs of a cluster go on: their parent is the cluster's.
    """
    parent = int(os.environ.get(_PARENT, os.getppid()))
    if parent == os.getpid() or "SUBMITIT_EXECUTOR" in os.environ:
        return

    os.environ.update(announce_parent())
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def end_together(*_: Any) -> None:
    """End on SIGTERM, after the processes below have ended their work; a handler for `signal.signal`.

    Raises:
        SystemExit: with status 143, in the main thread.
    """
    _ending.set()
    workers = [each for each in psutil.Process().children() if not _is_kernel(each)]
    for worker in workers:
        _send(worker, signal.SIGTERM)

    start = time.monotonic()
    while any(kernels(worker) for worker in workers) and time.monotonic() - start < PATIENCE:
        time.sleep(POLL / 5)
    sys.exit(TERMINATED)


def is_ending() -> bool:
    """Tell whether this process has been told to end; it must not begin anything new."""
    return _ending.is_set()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)

    os.kill(os.getpid(), signal.SIGTERM)
    start = time.monotonic()
    while kernels() and time.monotonic() - start < PATIENCE:
        time.sleep(POLL)
    time.sleep(POLL)  # the main thread may still end by itself

    for child in psutil.Process().children(recursive=True):
        _send(child, signal.SIGKILL)
    os._exit(TERMINATED)


def _is_kernel(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "ipykernel_launcher" in process.cmdline()

    return False


def _is_idle(kernel: psutil.Process) -> bool:
    """Tell whether a kernel executes nothing, so that it has nothing to store: it ignores interrupts then (seen on Linux only)."""
    with suppress(OSError, StopIteration):
        status = Path("/proc", str(kernel.pid), "status").read_text()
        ignored = next(line for line in status.splitlines() if line.startswith("SigIgn:")).split()[
            1
        ]
        return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)

    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
