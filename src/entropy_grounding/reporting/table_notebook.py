"""What the notebooks with tables share: open an experiment, show its parts, and log them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from entropy_grounding.evaluation.archive import OUTPUTS, PUBLISHED, table_rows
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import ExperimentConfig, load_experiment
from entropy_grounding.notebook import (
    output_folder,
    refuse_unknown_parameters,
    run_name,
    show_figure,
    show_markdown,
)
from entropy_grounding.reporting.charts import plot_variants
from entropy_grounding.reporting.claims import verdict
from entropy_grounding.reporting.experiment import summary, write_tables
from entropy_grounding.reporting.place_intervals import PLACE_MEASURES, with_intervals
from entropy_grounding.reporting.tables import place_table, reference_table, score_table, sources
from entropy_grounding.tracking import TrackingConfig, log_table, tracked_run

# Columns of `place_table`.
_MORE_IS_BETTER = ("IoU", "pointing game", "energy in box")
_LESS_IS_BETTER = ("forwards + 2 x backwards", "visual tokens", "seconds")


@dataclass(frozen=True)
class TableNotebook:
    """An experiment whose rows are all stored, as a notebook shows it.

    Attributes:
        setup: the options of the experiment.
        folders: the folder of each (VLM, benchmark, variant).
        cells: the `summary` of these folders.
        notebook: the name of the notebook.
        run_dir: the folder that the user names for the log and the tables; may be empty.
        figure_dir: the folder that the user names for the figures; may be empty.
        figures: the figures that were shown so far, by name.
    """

    setup: ExperimentConfig
    folders: dict[tuple[str, str, str], Path]
    cells: pd.DataFrame
    notebook: str
    run_dir: str = ""
    figure_dir: str = ""
    figures: dict[str, Figure] = field(default_factory=dict)

    def rows(self, method: str) -> dict[tuple[str, str], tuple[pd.DataFrame, dict[str, Any]]]:
        """Return the rows and the manifest of one variant, for each (VLM, benchmark)."""
        found = {}
        for (vlm, benchmark, variant), folder in self.folders.items():
            if variant == method:
                found[vlm, benchmark] = table_rows(folder)

        return found

    def show_sources(self) -> None:
        """Show the title of the experiment, and which weights, examples and commits it has."""
        title = self.setup.experiment.title
        show_markdown(f"**{title}.** {len(self.folders)} evaluations. {sources(self.cells)}")

    def show_verdict(self) -> None:
        """Show what the rows say about the claims of the notebook."""
        show_markdown(verdict(self.notebook, self.cells))

    def show_scores(self) -> None:
        """Show the `score_table` of every VLM, with the best scores in bold."""
        self._show_by_vlm(score_table, higher=self.cells["benchmark"].unique())

    def show_places(self) -> None:
        """Show the `place_table` of every VLM, with the best values in bold."""
        self._show_by_vlm(place_table, higher=_MORE_IS_BETTER, lower=_LESS_IS_BETTER)

    def _show_by_vlm(
        self, table: Callable[[pd.DataFrame, str], str], **better: Collection[str]
    ) -> None:
        """Show one table per VLM, below the name of the VLM.

        Args:
            table: makes the Markdown table of a VLM.
            better: the columns of `best_in_bold`.
        """
        for vlm in self.cells["vlm"].unique():
            shown = best_in_bold(table(self.cells, vlm), **better)
            show_markdown(f"**`{vlm}`**\n\n{shown}")

    def show_differences(self) -> None:
        """Show the `reference_table` of the experiment."""
        show_markdown(reference_table(self.cells, self.setup.experiment.reference))

    def show_variants(self, name: str, **options: str) -> None:
        """Show `plot_variants` of the experiment as `show_figure` does.

        Args:
            name: the name of the file, without ".png".
            options: further ones of `plot_variants`, such as ``what`` or ``column``.
        """
        experiment, cells = self.setup.experiment, self.cells
        column = options.get("column", "score")
        if column in PLACE_MEASURES:
            cells = with_intervals(cells, self.folders, column, self.setup.run.examples)

        about = {"experiment": experiment.name, "reference": experiment.reference}
        self.show_figure(name, plot_variants(cells, **about, **options))

    def show_figure(self, name: str, figure: Figure, *, one_of_many: bool = False) -> None:
        """Save a figure, show it, and keep it for the log.

        Args:
            name: the name of the file, without ".png".
            figure: the figure.
            one_of_many: save it beside the log, because the folder of the figures holds one
                example of its kind.
        """
        given = "" if one_of_many else self.figure_dir
        folder = output_folder(given, self.notebook, self._run_folder())
        show_figure(figure, folder, name)
        self.figures[name] = figure

    def log(self) -> None:
        """Write the tables, and log them to W&B, together with the cells and the shown figures."""
        experiment, folder = self.setup.experiment.name, self._run_folder()
        about = {"experiment": experiment, "run": self.setup.run.name}
        tracking = TrackingConfig(mode=self.setup.tracking_mode, group=experiment)

        with tracked_run(
            tracking,
            folder,
            job_type="table",
            config=about,
            name=self.notebook,
            tags=list(about.values()),
        ) as tracked:
            log_table(tracked, self.cells, self.figures, write_tables(self.cells, folder))

    def _run_folder(self) -> Path:
        """Make the folder of the log and the tables, and return it."""
        return output_folder(self.run_dir, self.notebook)


def open_table(
    name: str,
    run: str = "",
    overrides: Sequence[str] = (),
    *,
    notebook: str = "",
    results_dir: str = "",
    run_dir: str = "",
    figure_dir: str = "",
    **chosen: str,
) -> TableNotebook:
    """Return an experiment for a notebook. Evaluations that are not stored yet are run first.

    Args:
        name: name of a file in ``conf/experiment``.
        run: name of a file in ``conf/run``. If it is empty, `run_name` decides.
        overrides: Hydra overrides of every evaluation.
        notebook: name of the notebook; empty text for the one that the experiment names.
        results_dir: folder where rows are read and written. If it is empty, this is outputs/results
            of the repository, and rows in the repository's results folder are used, too.
        run_dir: folder of the log and the tables. If it is empty, it is in outputs of the
            repository and has the name of the notebook.
        figure_dir: folder of the figures; empty text for the folder of the log.
        chosen: ``vlm``, ``benchmark``, ``method`` (comma-separated, empty for all) and
            ``tracking``.
    """
    refuse_unknown_parameters()
    chosen["results_dir"] = results_dir or str(OUTPUTS)
    setup = load_experiment(name, run_name(run), overrides, **chosen)
    folders = complete(setup, roots=() if results_dir else (PUBLISHED,))

    return TableNotebook(
        setup,
        folders,
        summary(setup, folders),
        notebook or setup.experiment.notebook,
        run_dir,
        figure_dir,
    )


def best_in_bold(table: str, higher: Collection[str] = (), lower: Collection[str] = ()) -> str:
    """Return a Markdown table with the best value of each of these columns in bold.

    Values that are equal as they are written are all bold. Controls do not compete.

    Args:
        table: the table, with the name of a method in its first column.
        higher: columns in which the largest value is the best.
        lower: columns in which the smallest value is the best.
    """
    lines = [line.strip("|").split("|") for line in table.splitlines()]
    header, _, *rows = [[field.strip() for field in line] for line in lines]
    frame = pd.DataFrame(rows, columns=header)
    competing = ~frame[header[0]].str.startswith("`control")

    for name in header:
        if name in higher or name in lower:
            # A field without a number, such as "not run", is NaN.
            numbers = frame[name].str.extract(r"^(-?\d+(?:\.\d+)?)")[0].astype(float)
            ranked = (numbers if name in higher else -numbers).where(competing)
            best = ranked == ranked.max()
            frame.loc[best, name] = "**" + frame.loc[best, name] + "**"

    return frame.to_markdown(index=False, disable_numparse=True)
