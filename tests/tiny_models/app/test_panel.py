import datetime
import io
from dataclasses import replace

import ipywidgets
import pytest
from PIL import Image

from entropy_grounding.app import panel as widgets
from entropy_grounding.app.panel import explore
from entropy_grounding.core.errors import InputError
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions
from entropy_grounding.method.stopping import StoppingOptions

ONE_ROUND = GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=1))


class Shown:
    """A panel as a user meets it: controls by their labels, and the text that can be read."""

    def __init__(self, panel):
        self.all = list(self.inside(panel))
        self.by_label = {
            each.description: each for each in self.all if getattr(each, "description", "")
        }

    def inside(self, widget):
        yield widget
        for each in getattr(widget, "children", ()):
            yield from self.inside(each)

    def set(self, label, value):
        self.by_label[label].value = value

    def run(self):
        self.by_label["Run"].click()

    def text(self):
        return " ".join(each.value for each in self.all if isinstance(each, ipywidgets.HTML))

    def figure(self):
        (figure,) = (
            each
            for each in self.all
            if isinstance(each, ipywidgets.Image) and each.layout.display is not None
        )
        return figure


@pytest.fixture
def panel(tiny_vlm, scene):
    image, question = scene
    return Shown(explore(tiny_vlm, image, question.text, ONE_ROUND))


@pytest.fixture
def asked(monkeypatch):
    """What the panel passes to `ground`, and what it gets back."""
    calls = []
    ground = widgets.ground

    def recorded(vlm, image, question, options, **more):
        calls.append((image, question, options, ground(vlm, image, question, options, **more)))
        return calls[-1][-1]

    monkeypatch.setattr(widgets, "ground", recorded)
    return calls


def uploaded(name, content):
    now = datetime.datetime.now(datetime.UTC)
    return (
        {
            "name": name,
            "type": "image/png",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": now,
        },
    )


def png(size):
    file = io.BytesIO()
    Image.new("RGB", size, "gray").save(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        GroundingOptions(),
        GroundingOptions(
            target="margin",
            regions=RegionOptions(max_regions=12, sigma=6.5, threshold=0.25),
            stopping=StoppingOptions(rule="fixed", rounds=9, max_rounds=20),
        ),
    ],
)
def test_untouched_controls_are_the_preset(tiny_vlm, scene, monkeypatch, options):
    """Values outside the usual ranges of the controls, too."""
    passed = []

    def refuse(vlm, image, question, options, **more):
        passed.append(options)
        raise InputError("enough")

    monkeypatch.setattr(widgets, "ground", refuse)
    Shown(explore(tiny_vlm, scene[0], "What?", options)).run()
    assert passed == [options]


def test_run_answers_with_what_the_controls_say(panel, asked):
    for label, value in {
        "question": "Is there a red card?",
        "target": "margin",
        "K (regions)": 3,
        "sigma (cells)": 2.0,
        "threshold": "max:0.5",
        "stopping rule": "none",
        "rounds at most": 2,
    }.items():
        panel.set(label, value)
    panel.run()
    ((_, question, options, grounding),) = asked
    assert question == "Is there a red card?"
    assert options.target == "margin"
    assert options.regions == RegionOptions(max_regions=3, sigma=2.0, threshold="max:0.5")
    assert options.stopping == StoppingOptions(rule="none", rounds=1, max_rounds=2)
    assert f"<b>{grounding.answer}</b>" in panel.text()
    assert "Stopped after 2 rounds" in panel.text()


def test_k_bounds_the_crops(panel, asked):
    panel.set("threshold", "quantile:0.8")
    for k in (1, 4):
        panel.set("K (regions)", k)
        panel.run()
    few, many = (len(grounding.crops) for *_, grounding in asked)
    assert few == 1 < many <= 4


def test_the_figure_appears_with_the_result(panel):
    assert panel.figure().layout.display == "none"
    panel.run()
    assert panel.figure().layout.display == "block"
    assert Image.open(io.BytesIO(panel.figure().value)).width > 500


def test_an_empty_question_is_explained(panel):
    panel.set("question", " ")
    panel.run()
    assert "The question is empty" in panel.text()
    assert not panel.by_label["question"].disabled


def test_an_error_takes_the_last_result_away(panel):
    panel.run()
    panel.set("question", "")
    panel.run()
    assert "zoomed answer" not in panel.text()
    assert panel.figure().layout.display == "none"


def test_words_that_the_model_does_not_know_are_named(panel):
    panel.set("question", "What letter is on the zebra card?")
    panel.run()
    assert "does not know the words zebra" in panel.text()


def test_everything_is_locked_while_it_runs(panel, monkeypatch):
    locked = []
    ground = widgets.ground

    def watched(*given, **more):
        locked.append({label: each.disabled for label, each in panel.by_label.items()})
        return ground(*given, **more)

    monkeypatch.setattr(widgets, "ground", watched)
    panel.run()
    assert all(locked[0].values())
    assert not any(each.disabled for each in panel.by_label.values())


def test_each_round_is_reported(panel):
    panel.set("rounds of 'fixed'", 2)
    said = []
    for each in panel.all:
        if isinstance(each, ipywidgets.HTML):
            each.observe(lambda change: said.append(change.new), "value")
    panel.run()
    assert any(text.startswith("1 round done: zooming in") for text in said)
    assert any(text.startswith("2 rounds done: the fixed number") for text in said)


def test_an_interrupted_run_can_be_repeated(panel, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(widgets, "ground", interrupted)
        with pytest.raises(KeyboardInterrupt):
            panel.run()
    assert "Interrupted" in panel.text()
    panel.run()
    assert "Stopped after 1 round:" in panel.text()


def test_rounds_are_for_the_fixed_rule_only(panel):
    panel.set("stopping rule", "probability")
    assert panel.by_label["rounds of 'fixed'"].disabled
    panel.set("stopping rule", "fixed")
    assert not panel.by_label["rounds of 'fixed'"].disabled


def test_an_uploaded_picture_is_the_one_that_is_asked_about(panel, asked):
    panel.set("Another picture", uploaded("photo & more.png", png((120, 80))))
    assert "photo &amp; more.png, 120 x 80 pixels" in panel.text()
    panel.run()
    assert asked[0][0].size == (120, 80)


def test_an_upload_that_is_no_picture_is_named_and_the_old_one_stays(panel, asked, scene):
    panel.set("Another picture", uploaded("notes.txt", b"no picture"))
    assert "'notes.txt' is not a picture" in panel.text().replace("&#x27;", "'")
    panel.run()
    assert asked[0][0].size == scene[0].size


def test_answers_and_questions_are_text_not_html(panel, monkeypatch):
    ground = widgets.ground
    monkeypatch.setattr(
        widgets,
        "ground",
        lambda *given, **more: replace(ground(*given, **more), answer="<script>1</script>"),
    )
    panel.run()
    assert "<script>" not in panel.text()
