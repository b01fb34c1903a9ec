"""Other processes: their environment variables, and how they end together."""

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
POLL = 0.5  # seconds between two checks of another process
PATIENCE = 10.0  # seconds in which a process may store its finished work
# Seconds until a kernel that continues is interrupted again; sooner could disturb its last writing.
AGAIN = 5.0
# Environment variable with the id of a process; the processes that it starts end with it.
_PARENT = "ENTROPY_GROUNDING_PARENT"
_ending = threading.Event()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, and restore them behind it."""
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
    """Return the Jupyter kernels that a process has started.

    Args:
        process: the process; None means this process.
        below: whether kernels of its children, of their children and so on count as well.
    """
    with suppress(psutil.NoSuchProcess):
        children = (process or psutil.Process()).children(recursive=below)
        return [child for child in children if _is_kernel(child)]

    return []


def stop_kernels(is_over: Callable[[], bool], spared: Collection[psutil.Process] = ()) -> None:
    """Interrupt the kernels of this process until the work is over.

    An interrupted kernel stores its finished work. A kernel is killed if it does nothing, or if it
    continues for too long.

    Args:
        is_over: tells whether the work is over, so that nothing waits for the kernels any more.
        spared: kernels of somebody else; they are left alone.
    """
    start, told = time.monotonic(), dict[int, float]()  # told: time of the last interrupt by id

    try:
        while not is_over():
            now = time.monotonic()
            for kernel in _own_kernels(spared):
                if now - start > PATIENCE or _is_idle(kernel):
                    _send(kernel, signal.SIGKILL)
                elif now - told.get(kernel.pid, -AGAIN) >= AGAIN:
                    told[kernel.pid] = now
                    _send(kernel, signal.SIGINT)
            time.sleep(POLL / 5)

    except BaseException:  # a second signal: the user does not want to wait
        for kernel in _own_kernels(spared):
            _send(kernel, signal.SIGKILL)
        raise


def _own_kernels(spared: Collection[psutil.Process]) -> list[psutil.Process]:
    """Return the kernels that this process has started itself, without those of somebody else."""
    return [kernel for kernel in kernels(below=False) if kernel not in spared]


def announce_parent() -> dict[str, str]:
    """Return environment variables that tell a new process to end with this process."""
    return {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process when the process that started it is gone, as on SIGTERM.

    Jobs of a cluster continue, because the cluster has started them.
    """
    parent = int(os.environ.get(_PARENT, os.getppid()))
    if parent == os.getpid() or "SUBMITIT_EXECUTOR" in os.environ:
        return

    # Processes that this one starts end with it, in turn.
    os.environ.update(announce_parent())
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def end_together(*_: Any) -> None:
    """End on SIGTERM, after the child processes have ended their work.

    This is a handler for `signal.signal`.

    Raises:
        SystemExit: with status 143, in the main thread.
    """
    _ending.set()
    # Kernels get no signal here, because each worker stops its own.
    workers = [child for child in psutil.Process().children() if not _is_kernel(child)]
    for worker in workers:
        _send(worker, signal.SIGTERM)

    start = time.monotonic()
    while any(kernels(worker) for worker in workers) and time.monotonic() - start < PATIENCE:
        time.sleep(POLL / 5)

    sys.exit(TERMINATED)


def is_ending() -> bool:
    """Tell whether this process has been told to end. It must then begin nothing new."""
    return _ending.is_set()


def _watch(parent: int) -> None:
    """Wait until the parent is gone, then end this process and all processes below it."""
    while os.getppid() == parent:
        time.sleep(POLL)

    # The handler of the signal runs in the main thread, which may be busy.
    os.kill(os.getpid(), signal.SIGTERM)
    start = time.monotonic()
    while kernels() and time.monotonic() - start < PATIENCE:
        time.sleep(POLL)
    time.sleep(POLL)  # the main thread may still end by itself

    for child in psutil.Process().children(recursive=True):
        _send(child, signal.SIGKILL)
    os._exit(TERMINATED)


def _is_kernel(process: psutil.Process) -> bool:
    """Tell whether a process is a Jupyter kernel; a process that is gone is none."""
    with suppress(psutil.Error):
        return "ipykernel_launcher" in process.cmdline()

    return False


def _is_idle(kernel: psutil.Process) -> bool:
    """Tell whether a kernel executes nothing, so that it has nothing to store.

    Such a kernel ignores interrupts, which is visible on Linux only.
    """
    with suppress(OSError, StopIteration):
        status = Path("/proc", str(kernel.pid), "status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("SigIgn:"))
        # A mask in hexadecimal digits: bit n - 1 stands for signal n.
        ignored = int(line.split()[1], 16)
        return bool(ignored >> (signal.SIGINT - 1) & 1)

    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process, which may be gone already."""
    with suppress(psutil.Error):
        process.send_signal(number)
