import pytest

from entropy_grounding.app.question import ground_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.method.options import GroundingOptions

PRESETS = sorted(path.stem for path in (CONF_DIR / "method").glob("*.yaml"))
VLMS = sorted(path.stem for path in (CONF_DIR / "vlm").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes(preset):
    assert isinstance(ground_config([f"method={preset}"]).method, GroundingOptions)


@pytest.mark.parametrize("vlm", VLMS)
def test_every_vlm_composes_under_its_own_name(vlm):
    assert ground_config([f"vlm={vlm}"]).vlm.name == vlm


def test_the_default_options_are_the_paper_preset():
    assert ground_config(["method=entropy_gradient"]).method == GroundingOptions()


def test_the_released_preset_differs_where_the_released_code_does():
    paper, released = GroundingOptions(), ground_config(["method=entropy_gradient_released"]).method
    assert (paper.stopping.rollback, released.stopping.rollback) == (True, False)
    assert (paper.regions.aspect_rule, released.regions.aspect_rule) == ("two_sided", "released")
    assert (paper.padding, released.padding) == ("respected", "ignored")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("method=nonsense", "Available options in 'method': anytime base"),
        ("vlm=nonsense", "Available options in 'vlm'.*tiny_llava"),
        ("method.sigmaa=1", "Could not override 'method.sigmaa'"),
        ("method.regions.sigma=wide", "'wide'.*could not be converted to Float"),
        ("method.target=surprise", "Unknown target 'surprise': use one of entropy"),
        ("method.stopping.rule=never", "Unknown stopping.rule 'never'"),
        ("method.regions.max_regions=0", "regions.max_regions is 0: it must be at least 1"),
        ("method.regions.sigma=-1", "regions.sigma is -1"),
        ("method.regions.threshold=elbows", "Unknown threshold 'elbows'"),
        ("method.stopping.entropy_threshold=half", "Unknown threshold 'half'"),
        ("method.regions.min_side=-0.1", "regions.min_side is -0.1"),
        ("tracking.mode=loud", "Unknown tracking.mode 'loud'"),
        ("method.regions.sigma=nan", "regions.sigma is nan"),
    ],
)
def test_bad_options_are_named(override, complaint):
    with pytest.raises(InputError, match=complaint):
        ground_config([override])
