"""`eg merge`: join the part files of results folders."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import table_rows
from entropy_grounding.evaluation.coverage import missing_text
from entropy_grounding.evaluation.merge import merge


def main(options: Namespace) -> None:
    """Join the parts of each folder, and say how many rows there are."""
    command(lambda: run(options.folders, options.most_retried))


def run(folders: Sequence[str], most_retried: float | None = None) -> None:
    """Join the parts of each folder into its ``rows.parquet``.

    Raises:
        InputError: where memory ran out for more rows than are accepted.
    """
    for folder in folders:
        path, count = merge(expanded(folder), most_retried)
        print(f"{path}: {count} rows", flush=True)
        table_rows(path.parent)

        if missing := missing_text(path.parent):
            print(f"{path}: {missing}", file=sys.stderr)
