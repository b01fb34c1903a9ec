"""What the commands are, and what they take.

Nothing heavy is imported here, so that help and mistakes answer at once.

Commands with NAME=VALUE options are Hydra's; ``options.json`` holds their options, as
`commands.describe` writes them from the dataclasses that they fill. The others have a parser here.
"""

import json
import textwrap
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

from entropy_grounding.core.paths import CONF_DIR, names_in
from entropy_grounding.core.suggestions import did_you_mean, nearest, nearest_option

# In the order of a first visit.
SENTENCES = {
    "ground": "answer one question about one image, zooming into what the model is uncertain about",
    "fetch": "bring the files of checkpoints and benchmarks ahead, for nodes without a network",
    "doctor": "say whether an evaluation can run here, before anything is loaded",
    "evaluate": "evaluate one VLM on one benchmark with one method; one stored row per example",
    "merge": "join the part files of results folders",
    "publish": "pack finished evaluations into the committed results",
    "calibrate": "choose the thresholds of the gate on validation rows",
    "rerun": "run a table or an ablation again, here or on a cluster",
    "export": "write a benchmark as a task of lmms-eval",
    "report": "write every summary, table and document from the stored rows",
    "notebooks": "execute notebooks",
    "train": "train a tiny VLM from scratch",
    "check": "check that a tiny VLM shows the paper's phenomenon",
    "profile": "measure what passes cost, and which attention layers look at the evidence",
}
# Parts of `eg profile passes`.
MID, RELEASED = "mid", "released"
INTERNAL = ("job",)  # started by others: `eg rerun` launches one for each VLM and benchmark

# Hydra's own flags, and those of them that take a value.
FLAGS = frozenset(
    "--help -h --hydra-help --version --resolve --run -r --multirun -m --shell-completion -sc "
    "--cfg -c --package -p "
    "--config-path -cp --config-name -cn --config-dir -cd --experimental-rerun --info -i".split()
)
WITH_VALUE = frozenset(
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd "
    "--experimental-rerun --info -i".split()
)
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class UsageError(Exception):
    """A mistake on the command line, in one sentence."""


def overview() -> str:
    """Return the list of all commands."""
    lines = [f"  {name:<10} {sentence}" for name, sentence in SENTENCES.items()]
    return "\n".join(
        [
            "usage: eg COMMAND ...        (also: entropy-grounding, python -m entropy_grounding)",
            "",
            *lines,
            "",
            "eg COMMAND --help lists the options of a command.",
        ]
    )


def check_command(name: str) -> None:
    """Refuse an unknown command.

    Raises:
        UsageError: with the nearest one.
    """
    if name not in SENTENCES and name not in INTERNAL:
        raise UsageError(f"Unknown command '{name}'{did_you_mean(name, SENTENCES)}")


# --- Commands with a parser ---


class Parser(ArgumentParser):
    """A parser whose complaints are a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise UsageError(f"{message}; see {self.prog} --help.")


def _parser(name: str, description: str = "") -> Parser:
    sentence = SENTENCES[name]
    text = f"{sentence[0].upper()}{sentence[1:]}.{description}"
    return Parser(
        prog=f"eg {name}",
        description=text,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _fetch() -> Parser:
    parser = _parser(
        "fetch",
        "\n\n  eg fetch vlm=llava_1_5_7b,qwen2_5_vl_7b benchmark=vstar,textvqa\n\n"
        "Only what runs read: weights in safetensors, and the files of the benchmark's split. Run "
        "it\nagain to go on after a broken connection.",
    )
    parser.add_argument(
        "chosen",
        metavar="vlm=A,B benchmark=A,B",
        nargs="+",
        help="names from conf/vlm and conf/benchmark",
    )
    return parser


def _merge() -> Parser:
    parser = _parser("merge")
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="+", help="results folder of a VLM, benchmark and method"
    )
    parser.add_argument(
        "--most-retried",
        metavar="SHARE",
        type=float,
        help="share of rows (0 to 1) that may have fewer crops or pixels after memory ran out; "
        "by default 0.05, or what was accepted before",
    )
    return parser


def _publish() -> Parser:
    parser = _parser("publish")
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="+", help="results folder, or a folder above several"
    )
    parser.add_argument(
        "--experiment", help="name of the pack (default: the folder's name in outputs/results)"
    )
    parser.add_argument("--results", default="results", help="where packs are (default: results)")
    return parser


def _report() -> Parser:
    parser = _parser("report")
    parser.add_argument(
        "repository", nargs="?", default=".", help="folder of the repository (default: this one)"
    )
    return parser


def _notebooks() -> Parser:
    parser = _parser("notebooks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    execute = actions.add_parser("execute", help="execute one, with values of its parameters")
    execute.add_argument("notebook", help="a file, or a name in notebooks/, such as 00_quickstart")
    execute.add_argument("target", help="the executed notebook, written only when all cells ran")
    execute.add_argument(
        "parameters", metavar="NAME=VALUE", nargs="*", help="of the cell tagged 'parameters'"
    )

    copies = actions.add_parser(
        "copies", help="write the executed copies for visitors, from stored rows"
    )
    copies.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="without .ipynb (default: all whose rows are complete)",
    )
    return parser


def _profile() -> Parser:
    parser = _parser("profile")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    _profile_passes(
        actions.add_parser("passes", help="time and memory of passes, maps, groundings")
    )

    memory = actions.add_parser(
        "memory", help="memory that the released checkpoints need, computed from their small files"
    )
    memory.add_argument(
        "--weights-dir",
        metavar="DIR",
        help="copies of the small files, as ORG/NAME or NAME (default: the hub)",
    )
    _add_results(memory)

    rows = actions.add_parser(
        "rows", help="what the seconds of an evaluation are spent on: the model, and the rest"
    )
    chosen = {"vlm": "tiny_llava", "benchmark": "mini_textvqa", "method": "entropy_gradient"}
    for group, name in chosen.items():
        rows.add_argument(f"--{group}", default=name, help=f"from conf/{group} (default: {name})")
    rows.add_argument(
        "--examples", type=int, default=50, help="questions that are answered (default: 50)"
    )

    _add_results(
        actions.add_parser("layers", help="energy of each attention layer's map in the evidence")
    )
    return parser


def _profile_passes(passes: ArgumentParser) -> None:
    """Add the options of ``eg profile passes``."""
    passes.add_argument("--repeats", type=int, default=7, help="interleaved repeats (default: 7)")
    passes.add_argument(
        "--examples",
        type=int,
        default=300,
        help="questions whose answers are compared (default: 300)",
    )
    passes.add_argument(
        "--part",
        choices=("all", MID, RELEASED),
        default="all",
        help=f"'{MID}': one model on a CPU; '{RELEASED}': the shapes of the released checkpoints, "
        "on a GPU or as twins on a CPU (default: all)",
    )
    passes.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="which released shapes (default: all four)",
    )
    _add_results(passes)


def _add_results(parser: ArgumentParser) -> None:
    """Add the option that says where measured figures go."""
    parser.add_argument(
        "--results", default="results", help="where the figures go (default: results)"
    )


PARSERS: dict[str, Callable[[], Parser]] = {
    "fetch": _fetch,
    "merge": _merge,
    "publish": _publish,
    "report": _report,
    "notebooks": _notebooks,
    "profile": _profile,
}


def parsed(name: str, arguments: Sequence[str]) -> Namespace:
    """Parse the arguments of a command that has a parser.

    Raises:
        UsageError: for arguments that it does not take.
        SystemExit: after the help was printed.
    """
    return PARSERS[name]().parse_args(arguments)


# --- Commands with NAME=VALUE options ---


def described() -> dict[str, Any]:
    """Return groups and options of every command with NAME=VALUE options."""
    return json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))


def help_text(name: str) -> str:
    """Return the whole help of a command with NAME=VALUE options."""
    about = described()[name]
    lines = [f"usage: eg {name} [NAME=VALUE ...]", "", about["about"], ""]

    if about["groups"]:
        lines.append("Presets (GROUP=NAME):")
        lines += [_indented(f"{group}={' '.join(names_in(group))}") for group in about["groups"]]
        lines.append("")

    lines.append("Options, with their defaults:")
    for option in about["options"]:
        lines.append(f"  {option['name']}={option['default']}")
        if option["help"]:
            lines.append(_indented(option["help"], 6))

    more = (
        "\n--cfg job prints the values of a command line; -m runs every combination of A,B values."
    )
    return "\n".join(lines) + ("\n" + more if name != "rerun" else "")


def _indented(text: str, by: int = 2) -> str:
    """Return a text wrapped to the width of a page, its later lines indented further."""
    return textwrap.fill(
        text, 96, initial_indent=" " * by, subsequent_indent=" " * (by + 4), break_on_hyphens=False
    )


def check_options(name: str, arguments: Sequence[str]) -> None:
    """Refuse arguments that Hydra would answer with its usage, its grammar or its own words.

    Raises:
        UsageError: naming the argument, and the nearest option or name.
    """
    about = described()[name]
    options = [option["name"] for option in about["options"]]
    many = "-m" in arguments or "--multirun" in arguments or name in ("rerun", "job")

    # `eg rerun` hands its options on itself, so flags of Hydra mean nothing to it.
    with_value = frozenset() if name == "rerun" else WITH_VALUE
    about["flags of Hydra"] = frozenset() if name == "rerun" else FLAGS

    before = ""
    for argument, behind in zip_longest(arguments, arguments[1:], fillvalue=""):
        if before not in with_value:
            _check_argument(argument, behind, options, about, many=many)
        before = argument


def _check_argument(
    argument: str, behind: str, options: Sequence[str], about: dict[str, Any], *, many: bool
) -> None:
    """Refuse an argument; ``behind`` is the next one, the value of a flag that does not exist."""
    if argument in about["flags"] or argument.partition("=")[0] in about["flags of Hydra"]:
        return

    key, separator, value = argument.partition("=")
    if argument.startswith("-") or not (separator or argument.startswith("~")):
        raise UsageError(f"'{argument}' is no option{_corrected(argument, behind, options, about)}")
    if argument.startswith("~"):
        return

    _check_key(key.lstrip("+"), options, about)
    _check_choice(key.lstrip("+"), value, about, many=many)


def _corrected(argument: str, behind: str, options: Sequence[str], about: dict[str, Any]) -> str:
    """Return the advice for an argument that is not of the form NAME=VALUE."""
    if "image" in options and argument[0] != "-" and argument.lower().endswith(_PICTURES):
        return f": use image={argument}."
    if near := nearest(argument, about["flags"]):
        return f": did you mean {near}?"

    key, _, value = argument.lstrip("-").partition("=")
    name = key.replace("-", "_")
    known = name if name in (*options, *about["groups"]) else nearest(name, options)
    if known is None:
        return ": use NAME=VALUE as --help shows them."

    value = value or ("VALUE" if "=" in behind or behind.startswith("-") else behind)
    return f": use {known}={value or 'VALUE'}."


def _check_key(key: str, options: Sequence[str], about: dict[str, Any]) -> None:
    """Refuse an option that the command does not have."""
    open_options = tuple(f"{option['name']}." for option in about["options"] if option["open"])
    if (
        key in options
        or key in about["groups"]
        or key.startswith(("hydra.", "hydra/", *open_options))
    ):
        return

    # A section such as ``method`` has options; ``method@x`` and ``/method`` are Hydra's grammar.
    if "@" in key or key.startswith("/") or any(option.startswith(f"{key}.") for option in options):
        return
    raise UsageError(f"Unknown option '{key}'{_nearest_option(key, options, about)}")


def _nearest_option(key: str, options: Sequence[str], about: dict[str, Any]) -> str:
    near = nearest_option(key, [*options, *about["groups"]])
    return f": did you mean '{near}'?" if near else ": see --help."


def _check_choice(key: str, value: str, about: dict[str, Any], *, many: bool) -> None:
    """Refuse a name that its group of presets does not have, and several without ``-m``."""
    if key not in about["groups"] or not value or value[0] in "[{'\"$":
        return

    names = value.split(",")
    if len(names) > 1 and not many:
        raise UsageError(f"'{key}={value}' names {len(names)}: add -m to run one after the other.")

    known = names_in(key)
    for name in names:
        if name and name not in known and not (CONF_DIR / key / f"{name}.yaml").is_file():
            raise UsageError(f"Unknown {key} '{name}'{did_you_mean(name, known)}")
