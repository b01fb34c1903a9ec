"""Command lines: one place where they begin, and where they end in one sentence."""

import contextlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import hydra
from hydra._internal import utils as hydra_utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from entropy_grounding.core.config import build, reasons
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.processes import TERMINATED
from entropy_grounding.core.verbatim import quote_text, verbatim_options

T = TypeVar("T")

BAD_INPUT, INTERRUPTED, NO_READER = (
    2,
    130,
    141,
)  # exit statuses; all but the first as shells give them
AGAIN = "what was finished is kept; run the same command again to go on."


def command(main: Callable[[], object], *, started_by_another: bool = False) -> None:
    """Run a command line, and end it in one sentence on standard error where something is wrong.

    Exit statuses are 2 for what a user can fix, 130 if interrupted, 143 if told to end, and 141 if
    nobody reads the output. With HYDRA_FULL_ERROR=1 in the environment an error keeps its
    traceback.

    Args:
        main: what to run.
        started_by_another: another command of ours says that all was told to end.
    """
    _print_anything()
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)

    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # Python flushes once more at its end
        sys.exit(NO_READER)
    except KeyboardInterrupt:
        _end(f"interrupted: {AGAIN}", INTERRUPTED)
    except SystemExit as ended:
        if ended.code == TERMINATED and not started_by_another:
            _end(f"terminated: {AGAIN}", TERMINATED)
        if isinstance(ended.code, str):
            _end(ended.code, BAD_INPUT)
        raise
    except (InputError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback():
            raise
        _end(f"error: {error if isinstance(error, InputError) else reasons(error)}", BAD_INPUT)


def hydra_command(
    name: str, options: type[T]
) -> Callable[[Callable[[T], object]], Callable[[Namespace], None]]:
    """Make a function of built options the command line of ``conf/NAME.yaml``.

    Args:
        name: of the configuration.
        options: the dataclass that it fills; its places and texts need no quotes beyond the
            shell's.
    """

    def decorate(task: Callable[[T], object]) -> Callable[[Namespace], None]:
        @hydra.main(config_path=str(CONF_DIR), config_name=name, version_base="1.3")
        def job(config: Any) -> str | None:
            return _ended_in_a_sentence(lambda: task(build(options, config)))

        @wraps(task)
        def main(_: Namespace) -> None:
            command(lambda: run_hydra(job, options))

        return main

    return decorate


def run_hydra(job: Callable[[], object], options: type) -> None:
    """Run a function of `hydra.main` on the arguments of this process.

    Its errors come here, and Hydra does not print them.

    Raises:
        InputError: for jobs of a multirun that failed.
    """
    sys.argv[1:] = quote_text(sys.argv[1:], verbatim_options(options))

    printing = hydra_utils.run_and_report
    hydra_utils.run_and_report = _check_jobs
    try:
        job()
    finally:
        hydra_utils.run_and_report = printing


def _check_jobs(func: Callable[[], Any]) -> Any:
    """Take the place of Hydra's reporting: let errors pass, and count the jobs that failed."""
    found = func()
    jobs = [job for batch in found for job in batch] if isinstance(found, list) else []
    failed = [job for job in jobs if isinstance(job.return_value, str)]
    if failed:
        raise InputError(
            f"{len(failed)} of {len(jobs)} runs failed, see above; the others are done."
        )

    return found


def _ended_in_a_sentence(task: Callable[[], object]) -> str | None:
    """Do a job of Hydra, which would print an error in words of its own, unless the process ends.

    In a multirun the sentence of an `InputError` is printed and returned, and the other jobs go on.
    """
    try:
        task()
    except InputError as error:
        if wants_traceback():
            raise
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise SystemExit(f"error: {error}") from error
        overrides = " ".join(HydraConfig.get().overrides.task)
        print(f"error: {overrides}: {error}", file=sys.stderr, flush=True)
        return str(error)

    return None


def wants_traceback() -> bool:
    """Tell whether the environment asks for whole tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("0", "")


def _print_anything() -> None:
    """Let a terminal that lacks a character show its code instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _terminate(*_: Any) -> None:
    sys.exit(TERMINATED)


def _end(sentence: str, status: int) -> NoReturn:
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(status)
