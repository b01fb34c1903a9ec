"""`eg fetch`: bring the files of checkpoints and benchmarks ahead, for nodes without a network."""

from argparse import Namespace
from collections.abc import Iterator, Sequence

from huggingface_hub import constants

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.commands.command_line import command
from entropy_grounding.core.config import section_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.fetch import Fetched, fetched
from entropy_grounding.experiments.hub_sources import benchmark_sources, vlm_sources
from entropy_grounding.vlm.config import VLMConfig


def main(options: Namespace) -> None:
    """Fetch, and print what lies where."""
    command(lambda: fetch(options.chosen))


def fetch(chosen: Sequence[str]) -> None:
    """Fetch what the arguments name, and print its size and what an offline node needs.

    Args:
        chosen: ``vlm=A,B`` and ``benchmark=A,B``.

    Raises:
        InputError: for other arguments, unknown names, and for what the hub refuses.
    """
    vlms, benchmarks = _names(chosen)
    configs = [section_config("vlm", name, VLMConfig) for name in vlms]
    data = [benchmark_config(name) for name in benchmarks]

    found: list[Fetched] = []
    for each in _all(configs, data):
        found.append(each)
        print(_line(each), flush=True)

    print(_offline(found, vlms, benchmarks))


def _names(chosen: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of VLMs and of benchmarks."""
    names: dict[str, list[str]] = {"vlm": [], "benchmark": []}
    for argument in chosen:
        key, separator, value = argument.partition("=")
        if key not in names or not separator:
            raise InputError(f"'{argument}' is no choice: use vlm=A,B or benchmark=A,B.")
        names[key] += [name for name in value.split(",") if name]

    if not any(names.values()):
        raise InputError("Nothing to fetch: name some with vlm=A,B or benchmark=A,B.")
    return names["vlm"], names["benchmark"]


def _all(vlms: Sequence[VLMConfig], data: Sequence[BenchmarkConfig]) -> Iterator[Fetched]:
    """Fetch one after the other; what needs no hub has no files."""
    chosen = [(vlm.name, "weights", vlm.weights, vlm_sources(vlm)) for vlm in vlms]
    chosen += [(each.name, "data", each.path, benchmark_sources(each)) for each in data]

    for name, what, place, sources in chosen:
        if not sources:
            yield Fetched(name, what, place)
        for source in sources:
            yield fetched(name, source)


def _line(found: Fetched) -> str:
    """Return one line about what was fetched."""
    if not found.files:
        return f"{found.name}: nothing to fetch, {found.what} are here ({found.source})"

    return (
        f"{found.name}: {found.what} of {found.source} at {found.commit[:12]}, "
        f"{len(found.files)} files, {found.bytes:,} bytes"
    )


def _offline(found: Sequence[Fetched], vlms: Sequence[str], benchmarks: Sequence[str]) -> str:
    """Return what a machine without a network needs."""
    total = sum(each.bytes for each in found)
    if not total:
        return "Nothing here needs the hub."

    options = [f"vlm={','.join(vlms)}"] if vlms else []
    options += [f"benchmark={','.join(benchmarks)}"] if benchmarks else []
    return (
        f"{total:,} bytes in {constants.HF_HOME}\n"
        "On a node without a network, with the same folder (or a copy of it):\n"
        f"  export HF_HOME={constants.HF_HOME} HF_HUB_OFFLINE=1\n"
        f"  eg rerun experiment=table1 run=pilot {' '.join(options)}"
    )
