"""How far the cascade of ``crops="anytime"`` goes, and what each budget means for a VLM."""

from dataclasses import dataclass

from entropy_grounding.core.checks import check_at_least, check_choice
from entropy_grounding.core.errors import InputError


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """Where a cascade ends.

    Attributes:
        passes: of the language model for a question, on average: forward ones, and backward ones
            twice. The thresholds for it come from the calibration of the VLM
            (``conf/calibration``). With neither ``passes`` nor ``price``, those that are set here
            and of the gate count.
        price: of a pass, in points of score: 0.5 says that a pass must gain half a point on
            average. The calibration has the thresholds for it, too, and ``passes`` still caps them.
        thresholds: of the calibration: for "all" benchmarks together, or for the "benchmark" at
            hand.
        tried: end with a candidate crop once its answer has at most this entropy, in nats.
        tries: most candidates to try; None tries all of ``method.candidates``.
        seconds: end after so many seconds with the best answer so far; None never does. How far a
            question then gets depends on the machine.
        trace: also answer from every attempt, for a calibration.
    """

    passes: float | None = None
    price: float | None = None
    thresholds: str = "all"
    tried: float = 0.0
    tries: int | None = None
    seconds: float | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values before any model runs."""
        check_choice("budget.thresholds", self.thresholds, ("all", "benchmark"))
        check_at_least("budget.price", self.price, 0)
        check_at_least("budget.tries", self.tries, 0)
        check_at_least("budget.seconds", self.seconds, 0)
        if self.passes is not None and self.passes < 1:
            raise InputError(
                f"method.budget.passes is {self.passes}: a plain answer takes 1, so use at least 1."
            )


@dataclass(frozen=True)
class Limits:
    """The thresholds of a cascade, and what they gave on validation rows.

    Attributes:
        passes: mean of a question.
        score: mean, in [0, 1].
        plain: entropy in nats up to which a plain answer stands.
        zoomed: the same for an answer from the crops of a round.
        tried: the same for an answer from a candidate crop.
        tries: most candidates.
        rounds: most rounds of the zoom.
    """

    passes: float
    score: float
    plain: float
    zoomed: float
    tried: float
    tries: int
    rounds: int
