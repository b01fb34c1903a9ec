"""The command ``python -m entropy_grounding.merge FOLDER ...``: join the part files of each results folder into its ``rows.parquet``."""

import sys

from entropy_grounding.commands import Parser, command
from entropy_grounding.results import merge, missing_text
from entropy_grounding.verbatim import expanded


def main() -> None:
    """Join the parts of each folder of the command line, and say how many rows there are."""
    parser = Parser(prog="python -m entropy_grounding.merge", description="Join the part files of results folders into their rows.parquet.")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="results folder of a VLM, benchmark and method")

    for folder in parser.parse_args().folders:
        path, count = merge(expanded(folder))
        print(f"{path}: {count} rows", flush=True)
        if missing := missing_text(path.parent):
            print(f"{path}: {missing}", file=sys.stderr)


if __name__ == "__main__":
    command(main)
