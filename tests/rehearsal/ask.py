"""Load what is named on each line of standard input, and answer with a line of JSON.

One process answers many questions, since `huggingface_hub` reads its settings when it is imported.
A line is ``vlm NAME [OPTION=VALUE ...]``, ``benchmark NAME``, or ``eg COMMAND [ARGUMENT ...]``.
"""

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO

import torch

from entropy_grounding.__main__ import main
from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.core.config import section_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import hub_commit
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm


def answer(kind: str, name: str, options: dict[str, str]) -> str:
    """Load a VLM or a benchmark, and return the sentence of its error, "" for none."""
    hub_commit.cache_clear()  # a new process would ask again
    try:
        if kind == "vlm":
            preset = section_config("vlm", name, VLMConfig)
            load_vlm(replace(preset, name="twin", dtype="float32", **options))
        else:
            next(iter(load_benchmark(benchmark_config(name, examples=1, **options))))
    except InputError as error:
        return str(error)
    return ""


def eg(*arguments: str) -> tuple[int, str]:
    """Run a command line in this process, and return its exit status and all that it prints."""
    hub_commit.cache_clear()
    sys.argv = ["eg", *arguments]
    printed = StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), printed.getvalue()
    return 0, printed.getvalue()


torch.set_num_threads(1)
for line in sys.stdin:
    kind, name, *rest = line.split()
    said: str | tuple[int, str] = (
        eg(name, *rest)
        if kind == "eg"
        else answer(kind, name, dict(option.split("=", 1) for option in rest))
    )
    print(f"answer {json.dumps(said)}", flush=True)
