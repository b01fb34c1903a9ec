"""A panel for notebooks: choose picture, question and options, press Run, see every zoom step and both answers."""

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

from entropy_grounding.app.question import warn_unknown_words
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import load_image, to_rgb
from entropy_grounding.core.records import STOP_REASONS, Grounding
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import RULES, Decision
from entropy_grounding.method.target import TARGETS
from entropy_grounding.plots import literal_text, plot_grounding
from entropy_grounding.vlm.model import VLM

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
_DOTS_PER_INCH = 144  # of the figure's file; it is shown at 100, so that text stays sharp
_PREVIEW = 240  # pixels, longer side
_LABEL = {"description_width": "120px"}
_WIDE = {"width": "400px"}
_UNEXPECTED = "This was not expected; the log of the notebook has the details."


def explore(
    vlm: VLM, image: Image.Image, question: str, options: GroundingOptions | None = None
) -> widgets.VBox:
    """Return a panel that answers each time its Run button is pressed, and draws the maps, regions and crops of every round.

    Args:
        vlm: a vision-language model from `load_vlm`.
        image: the first picture, in any Pillow mode; the panel can load another.
        question: the first question.
        options: what the controls start from, and every choice that has no control; the paper's by default.
    """
    return _Panel(vlm, to_rgb(image), question, options or GroundingOptions()).layout()


class _Panel:
    """The widgets, and what their events do."""

    def __init__(
        self, vlm: VLM, image: Image.Image, question: str, options: GroundingOptions
    ) -> None:
        self.vlm, self.image, self.preset = vlm, image, options
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
        self.preview = widgets.Image(
            layout={"align_self": "flex-start"}
        )  # a wide label must not stretch it
        self.picture = widgets.HTML()
        self.status = widgets.HTML(layout={"margin": "2px 0 8px 126px"})
        self.notes, self.answers = widgets.HTML(), widgets.HTML()
        self.figure = widgets.Image(
            layout={"display": "none", "max_width": "100%", "height": "auto"}
        )
        self.start.on_click(self.run)
        self.upload.observe(self.load, "value")
        for each in (self.question, *self.controls.values()):
            each.observe(self.changed, "value")
        self.show_picture("the picture given")
        self.say("Press Run.")

    def layout(self) -> widgets.VBox:
        """Return all widgets in their places."""
        options = widgets.VBox([*self.controls.values()], layout={"width": "430px"})
        picture = widgets.VBox(
            [self.preview, self.picture, self.upload], layout={"margin": "0 0 0 24px"}
        )
        asked = widgets.HBox([self.question, self.start], layout={"max_width": "800px"})
        chosen = widgets.HBox([options, picture], layout={"flex_flow": "row wrap"})
        return widgets.VBox([asked, self.status, chosen, self.answers, self.notes, self.figure])

    def options(self) -> GroundingOptions:
        """Return the preset with what the controls say."""
        value = {name: control.value for name, control in self.controls.items()}
        regions = {name: value[name] for name in ("max_regions", "sigma", "threshold")}
        stopping = {name: value[name] for name in ("rule", "rounds", "max_rounds")}
        return replace(
            self.preset,
            target=value["target"],
            regions=replace(self.preset.regions, **regions),
            stopping=replace(self.preset.stopping, **stopping),
        )

    def run(self, button: widgets.Button) -> None:
        """Answer with the options of the controls; an error becomes a line of text, and one of ours nothing more."""
        self.clear()
        try:
            self.answer()
        except (
            BaseException
        ) as error:  # an interrupted kernel, too, must not leave "Reading the picture ..." behind
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
            warnings.simplefilter(
                "always", UserWarning
            )  # such as crops that do not fit into the context: they belong to the result
            grounding = ground(
                self.vlm, self.image, self.question.value, self.options(), progress=self.show_round
            )
        seconds = time.monotonic() - begin
        notes = [
            warn_unknown_words(self.vlm, grounding.question),
            *(str(each.message) for each in raised),
        ]
        self.notes.value = "<br>".join(html.escape(each) for each in dict.fromkeys(notes) if each)
        self.show(grounding, seconds)

    def show_round(self, rounds: int, decision: Decision | None) -> None:
        """Say how far the loop is; it may take minutes."""
        what = (
            "zooming in ..."
            if decision is None
            else f"{STOP_REASONS[decision.reason]}. Reading both answers ..."
        )
        self.say(f"{_count(rounds, 'round')} done: {what}")

    def show(self, grounding: Grounding, seconds: float) -> None:
        """Show both answers, why the zoom ended, and the figure of every round."""
        self.answers.value = _answers(grounding)
        self.say("Drawing ...")
        figure = plot_grounding(grounding, self.image, max_rounds=max(len(grounding.steps), 1))
        self.figure.layout.width = f"{100 * figure.get_figwidth():.0f}px"
        file = io.BytesIO()
        with literal_text():
            figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
        plt.close(figure)
        self.figure.value, self.figure.layout.display = file.getvalue(), "block"
        cost = f"Forward passes: {grounding.cost.forwards}, backward: {grounding.cost.backwards}; {seconds:.1f} s."
        self.say(
            f"Stopped after {_count(len(grounding.steps), 'round')}: {STOP_REASONS[grounding.stop_reason]}. {cost}"
        )

    def load(self, change: Any) -> None:
        """Take the uploaded picture; one that cannot be read leaves the old one."""
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
        """Show the picture small, and say what it is."""
        small = self.image.copy()
        small.thumbnail((_PREVIEW, _PREVIEW))
        file = io.BytesIO()
        small.save(file, format="png")
        self.preview.value = file.getvalue()
        self.picture.value = f"{html.escape(name)}, {self.image.width} x {self.image.height} pixels"

    def changed(self, change: Any) -> None:
        """Say that what is shown no longer belongs to the controls."""
        self.controls["rounds"].disabled = self.controls["rule"].value != "fixed"
        self.say("Changed: press Run.")

    def complain(self, error: BaseException) -> None:
        """Show an error as text."""
        self.status.value = f'<span style="color: var(--jp-error-color1, firebrick)">{html.escape(_explain(error))}</span>'

    def say(self, text: str) -> None:
        """Show a line of progress."""
        self.status.value = html.escape(text)

    def clear(self) -> None:
        """Take the last result away."""
        self.notes.value = self.answers.value = ""
        self.figure.layout.display = "none"

    def set_busy(self, busy: bool) -> None:
        """Lock everything that would change a run, or start a second one."""
        for each in (self.start, self.upload, self.question, *self.controls.values()):
            each.disabled = busy
        self.controls["rounds"].disabled = busy or self.controls["rule"].value != "fixed"
        self.start.description = "Running" if busy else "Run"


def _controls(options: GroundingOptions) -> dict[str, widgets.ValueWidget]:
    """Return a widget for each option that can be changed, by the name of the option, at its value in ``options``."""
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
    values = list(known)
    shown = values if value in values else [value, *values]  # the preset may have one of its own
    return widgets.Dropdown(
        options=[(str(each), each) for each in shown],
        value=value,
        description=label,
        style=_LABEL,
        layout=_WIDE,
    )


def _whole(label: str, value: int, least: int, most: int) -> widgets.IntSlider:
    return widgets.IntSlider(
        value,
        min=min(least, value),
        max=max(most, value),
        description=label,
        style=_LABEL,
        layout=_WIDE,
    )


def _read(name: str, content: bytes) -> Image.Image:
    """Read an uploaded picture as `load_image` reads a file; errors call it by its own name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(content)
        try:
            return load_image(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error


def _answers(grounding: Grounding) -> str:
    plain, zoomed = (
        html.escape(each) or "(empty)" for each in (grounding.plain_answer, grounding.answer)
    )
    return f'<span style="font-size: 130%">plain answer: <b>{plain}</b> &nbsp; zoomed answer: <b>{zoomed}</b></span>'


def _explain(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted: press Run to try again."
    return (
        str(error)
        if isinstance(error, InputError)
        else f"{type(error).__name__}: {error} {_UNEXPECTED}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
