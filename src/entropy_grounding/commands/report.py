"""`eg report`: write every summary, table and document from the published rows."""

import json
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import check_repository, write_summary
from entropy_grounding.experiments.config import experiments
from entropy_grounding.reporting.comparisons import location_shares
from entropy_grounding.reporting.documents import DOCUMENTS
from entropy_grounding.reporting.experiment import SUMMARY, report_experiment
from entropy_grounding.reporting.summary import SUMMARIES, cells


def main(options: Namespace) -> None:
    """Write the documents of the repository."""
    command(lambda: run(Path(expanded(options.repository))))


def run(root: Path) -> None:
    """Write all summaries, tables and documents of a repository, with a progress bar.

    Args:
        root: folder of the repository.

    Raises:
        InputError: if there is no repository in the folder.
    """
    check_repository(root)
    results = root / "results"

    # The documents read the summaries and tables, so these come first.
    table1 = results / "rows" / "table1"
    tables = (
        cells(table1, partial(tqdm, desc="methods of Table 1")),
        location_shares(table1, partial(tqdm, desc="shares of location")),
    )
    for name, table in zip(SUMMARIES, tables, strict=True):
        write_summary(results / "measured" / name, table)

    records: list[dict[str, Any]] = []
    for name in tqdm(experiments(), desc="experiments"):
        records += report_experiment(name, results)
    (results / SUMMARY).write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")

    for path, with_tables in tqdm(DOCUMENTS.items(), desc="documents"):
        (root / path).write_text(with_tables(root), encoding="utf-8")
