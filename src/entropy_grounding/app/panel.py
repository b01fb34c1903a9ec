"""A panel for notebooks.

The user chooses a picture, a question and options, and presses Run. The panel shows every zoom
step and both answers.
"""

import html
import io
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
from PIL import Image

from entropy_grounding.app.question import warn_cut_off, warn_unknown_words
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import load_image, to_rgb
from entropy_grounding.core.records import STOP_REASONS, Grounding
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import RULES, Decision
from entropy_grounding.method.target import TARGETS
from entropy_grounding.plots import literal_text, plot_grounding
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import MAX_NEW_TOKENS

THRESHOLDS = (
    "elbow",
    "otsu",
    "max:0.3",
    "max:0.5",
    "max:0.7",
    "quantile:0.8",
    "quantile:0.9",
    "quantile:0.95",
)

# Resolution of the figure's file. The panel shows it at 100 dots per inch, so text stays sharp.
_DOTS_PER_INCH = 144

_PREVIEW = 240  # longer side of the small picture, in pixels
_LABEL = {"description_width": "120px"}
_WIDE = {"width": "400px"}
_UNEXPECTED = "This was not expected; the log of the notebook has the details."


def explore(
    vlm: VLM, image: Image.Image, question: str, options: GroundingOptions | None = None
) -> widgets.VBox:
    """Return a panel that answers a question each time its Run button is pressed.

    It draws the relevance maps, regions and crops of every zoom step.

    Args:
        vlm: a vision-language model from `load_vlm`.
        image: the first picture, in any Pillow mode. The panel can load another.
        question: the first question.
        options: the first values of the controls, and the values of all options without a control;
            the paper's options by default.
    """
    return _Panel(vlm, to_rgb(image), question, options or GroundingOptions()).layout()


class _Panel:
    """The widgets of the panel, and what their events do."""

    def __init__(
        self, vlm: VLM, image: Image.Image, question: str, options: GroundingOptions
    ) -> None:
        self.vlm, self.image, self.preset = vlm, image, options
        self._make_inputs(question, options)
        self._make_outputs()

        self.start.on_click(self.run)
        self.upload.observe(self.load, "value")
        for control in (self.question, *self.controls.values()):
            control.observe(self.changed, "value")

        self.show_picture("the picture given")
        self.say("Press Run.")

    def _make_inputs(self, question: str, options: GroundingOptions) -> None:
        self.question = widgets.Text(
            question, description="question", layout={"flex": "1 1 auto"}, style=_LABEL
        )
        self.controls = _controls(options)

        self.upload = widgets.FileUpload(
            accept="image/*", description="Another picture", layout={"width": "170px"}
        )
        self.start = widgets.Button(
            description="Run", button_style="primary", icon="search-plus", layout={"width": "110px"}
        )

    def _make_outputs(self) -> None:
        # Without this alignment a wide label would stretch the picture.
        self.preview = widgets.Image(layout={"align_self": "flex-start"})
        self.picture = widgets.HTML()

        self.status = widgets.HTML(layout={"margin": "2px 0 8px 126px"})
        self.notes, self.answers = widgets.HTML(), widgets.HTML()
        self.figure = widgets.Image(
            layout={"display": "none", "max_width": "100%", "height": "auto"}
        )

    def layout(self) -> widgets.VBox:
        """Return all widgets in their places."""
        question = widgets.HBox([self.question, self.start], layout={"max_width": "800px"})

        options = widgets.VBox([*self.controls.values()], layout={"width": "430px"})
        picture = widgets.VBox(
            [self.preview, self.picture, self.upload], layout={"margin": "0 0 0 24px"}
        )
        # On a narrow page the picture goes below the options.
        middle = widgets.HBox([options, picture], layout={"flex_flow": "row wrap"})

        return widgets.VBox([question, self.status, middle, self.answers, self.notes, self.figure])

    def options(self) -> GroundingOptions:
        """Return the options of the preset, with the values of the controls."""
        value = {name: control.value for name, control in self.controls.items()}
        regions = replace(
            self.preset.regions,
            max_regions=value["max_regions"],
            sigma=value["sigma"],
            threshold=value["threshold"],
        )
        stopping = replace(
            self.preset.stopping,
            rule=value["rule"],
            rounds=value["rounds"],
            max_rounds=value["max_rounds"],
        )

        return replace(self.preset, target=value["target"], regions=regions, stopping=stopping)

    def run(self, button: widgets.Button) -> None:
        """Answer the question with the options of the controls.

        Every error is shown as a line of text. An `InputError` is not raised again.
        """
        self.clear()
        try:
            self.answer()
        except BaseException as error:
            # Interrupted kernels count too: "Reading the picture ..." must not stay on the panel.
            self.complain(error)
            if not isinstance(error, InputError):
                raise
        finally:
            self.set_busy(False)

    def answer(self) -> None:
        """Ground the question and show the result."""
        self.set_busy(True)
        self.say("Reading the picture ...")

        begin = time.monotonic()
        with warnings.catch_warnings(record=True) as raised:
            # Warnings belong to the result, for example when crops do not fit into the context.
            warnings.simplefilter("always", UserWarning)
            grounding = ground(
                self.vlm, self.image, self.question.value, self.options(), progress=self.show_round
            )
        seconds = time.monotonic() - begin

        notes = [warn_unknown_words(self.vlm, grounding.question)]
        notes.append(warn_cut_off(grounding, MAX_NEW_TOKENS))
        notes += [str(warning.message) for warning in raised]
        # The dictionary drops repeated notes and keeps their order.
        self.notes.value = "<br>".join(html.escape(note) for note in dict.fromkeys(notes) if note)

        self.show(grounding, seconds)

    def show_round(self, rounds: int, decision: Decision | None) -> None:
        """Say how far the zoom is, because it may take minutes."""
        what = (
            "zooming in ..."
            if decision is None
            else f"{STOP_REASONS[decision.reason]}. Reading both answers ..."
        )
        self.say(f"{_count(rounds, 'round')} done: {what}")

    def show(self, grounding: Grounding, seconds: float) -> None:
        """Show both answers, why the zoom ended, and a figure of every zoom step."""
        self.answers.value = _answers(grounding)
        self.say("Drawing ...")

        figure = plot_grounding(grounding, self.image, max_rounds=max(len(grounding.steps), 1))
        # 100 pixels of the page per inch of the figure.
        self.figure.layout.width = f"{100 * figure.get_figwidth():.0f}px"

        file = io.BytesIO()
        with literal_text():
            figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
        plt.close(figure)
        self.figure.value, self.figure.layout.display = file.getvalue(), "block"

        cost = (
            f"Forward passes: {grounding.cost.forwards}, backward: {grounding.cost.backwards}; "
            f"{seconds:.1f} s."
        )
        self.say(
            f"Stopped after {_count(len(grounding.steps), 'round')}: "
            f"{STOP_REASONS[grounding.stop_reason]}. {cost}"
        )

    def load(self, change: Any) -> None:
        """Take the uploaded picture. If it cannot be read, the old picture stays."""
        if not change.new:
            return

        (file,) = change.new
        try:
            self.image = _read(file["name"], bytes(file["content"]))
        except InputError as error:
            self.complain(error)
        else:
            self.clear()
            self.show_picture(file["name"])
            self.say("New picture: press Run.")

    def show_picture(self, name: str) -> None:
        """Show a small copy of the picture, with its name and its size."""
        small = self.image.copy()
        small.thumbnail((_PREVIEW, _PREVIEW))
        file = io.BytesIO()
        small.save(file, format="png")

        self.preview.value = file.getvalue()
        self.picture.value = f"{html.escape(name)}, {self.image.width} x {self.image.height} pixels"

    def changed(self, change: Any) -> None:
        """Say that the result on the panel no longer belongs to the controls."""
        self.controls["rounds"].disabled = self.controls["rule"].value != "fixed"
        self.say("Changed: press Run.")

    def complain(self, error: BaseException) -> None:
        """Show an error as text."""
        # The color is the one of the notebook's theme, or a red that every browser knows.
        self.status.value = (
            '<span style="color: var(--jp-error-color1, firebrick)">'
            f"{html.escape(_explain(error))}</span>"
        )

    def say(self, text: str) -> None:
        """Show a line of progress."""
        self.status.value = html.escape(text)

    def clear(self) -> None:
        """Remove the last result."""
        self.notes.value = self.answers.value = ""
        self.figure.layout.display = "none"

    def set_busy(self, busy: bool) -> None:
        """Lock everything that would change the run or start a second one; or unlock it."""
        for widget in (self.start, self.upload, self.question, *self.controls.values()):
            widget.disabled = busy

        # The number of rounds has a meaning only for the rule "fixed".
        self.controls["rounds"].disabled = busy or self.controls["rule"].value != "fixed"
        self.start.description = "Running" if busy else "Run"


def _controls(options: GroundingOptions) -> dict[str, widgets.ValueWidget]:
    """Return one widget per option that the user can change.

    Args:
        options: the values that the widgets start from.

    Returns:
        The widgets, by the names of the options.
    """
    regions, stopping = options.regions, options.stopping
    rounds = _whole("rounds of 'fixed'", stopping.rounds, 1, 8)
    rounds.disabled = stopping.rule != "fixed"

    return {
        "target": _choice("target", options.target, TARGETS),
        "max_regions": _whole("K (regions)", regions.max_regions, 1, 8),
        "sigma": widgets.FloatSlider(
            regions.sigma,
            min=0,
            max=max(5, regions.sigma),
            step=0.1,
            description="sigma (cells)",
            style=_LABEL,
            layout=_WIDE,
        ),
        "threshold": _choice("threshold", regions.threshold, THRESHOLDS),
        "rule": _choice("stopping rule", stopping.rule, RULES),
        "rounds": rounds,
        "max_rounds": _whole("rounds at most", stopping.max_rounds, 0, 15),
    }


def _choice(label: str, value: str | float, known: Iterable[str]) -> widgets.Dropdown:
    """Return a menu of the known values. The preset may have another value, which comes first."""
    values = list(known)
    shown = values if value in values else [value, *values]

    return widgets.Dropdown(
        options=[(str(option), option) for option in shown],
        value=value,
        description=label,
        style=_LABEL,
        layout=_WIDE,
    )


def _whole(label: str, value: int, least: int, most: int) -> widgets.IntSlider:
    """Return a slider of whole numbers. Its range is widened where the value lies outside."""
    return widgets.IntSlider(
        value,
        min=min(least, value),
        max=max(most, value),
        description=label,
        style=_LABEL,
        layout=_WIDE,
    )


def _read(name: str, content: bytes) -> Image.Image:
    """Read an uploaded picture in the way of `load_image`. Errors name the uploaded file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(content)

        try:
            return load_image(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error


def _answers(grounding: Grounding) -> str:
    """Return both answers as HTML."""
    plain = html.escape(grounding.plain_answer) or "(empty)"
    zoomed = html.escape(grounding.answer) or "(empty)"

    return (
        f'<span style="font-size: 130%">plain answer: <b>{plain}</b> &nbsp; '
        f"zoomed answer: <b>{zoomed}</b></span>"
    )


def _explain(error: BaseException) -> str:
    """Return an error as a sentence for the user."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted: press Run to try again."

    if isinstance(error, InputError):
        return str(error)

    return f"{type(error).__name__}: {error} {_UNEXPECTED}"


def _count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "2 rounds"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
