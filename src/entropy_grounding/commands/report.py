"""`eg report`: write every summary, table and document from the stored rows."""

from argparse import Namespace
from pathlib import Path

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.reporting.documents import run


def main(options: Namespace) -> None:
    """Write the documents of the repository."""
    command(lambda: run(Path(expanded(options.repository))))
