"""Answer metrics of the benchmarks: one rule for each.

The rules of other evaluation code are named variants in `SCORERS`. Every function takes strings as
they were stored, so a stored answer can be scored again under another rule.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import parse_choice
from entropy_grounding.metrics.lmms_eval_letters import (
    mme_realworld_letters,
    realworldqa_letters,
    vstar_letters,
)

# --- TextVQA: VQA accuracy (EvalAI processor of the m4c code) ---

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
# Pairs of words from the table of the VQA evaluation: without the apostrophe, then with it.
# Keys of that table with capitals never match, so they are left out.
_CONTRACTED = """
aint ain't arent aren't cant can't couldve could've couldnt couldn't couldn'tve couldn't've
couldnt've couldn't've didnt didn't doesnt doesn't dont don't hadnt hadn't hadnt've hadn't've
hadn'tve hadn't've hasnt hasn't havent haven't hed he'd hed've he'd've he'dve he'd've hes he's
howd how'd howll how'll hows how's isnt isn't itd it'd itd've it'd've it'dve it'd've itll it'll
maam ma'am mightnt mightn't mightnt've mightn't've mightn'tve mightn't've mightve might've
mustnt mustn't mustve must've neednt needn't notve not've oclock o'clock oughtnt oughtn't
ow's'at 'ow's'at 'ows'at 'ow's'at 'ow'sat 'ow's'at shant shan't shed've she'd've she'dve she'd've
shouldve should've shouldnt shouldn't shouldnt've shouldn't've shouldn'tve shouldn't've
somebody'd somebodyd somebodyd've somebody'd've somebody'dve somebody'd've somebodyll somebody'll
somebodys somebody's someoned someone'd someoned've someone'd've someone'dve someone'd've
someonell someone'll someones someone's somethingd something'd somethingd've something'd've
something'dve something'd've somethingll something'll thats that's thered there'd
thered've there'd've there'dve there'd've therere there're theres there's theyd they'd
theyd've they'd've they'dve they'd've theyll they'll theyre they're theyve they've twas 'twas
wasnt wasn't wed've we'd've we'dve we'd've weve we've werent weren't whatll what'll whatre what're
whats what's whatve what've whens when's whered where'd wheres where's whereve where've whod who'd
whod've who'd've who'dve who'd've wholl who'll whos who's whove who've whyll why'll whyre why're
whys why's wont won't wouldve would've wouldnt wouldn't wouldnt've wouldn't've
wouldn'tve wouldn't've yall y'all yall'll y'all'll y'allll y'all'll yall'd've y'all'd've
y'alld've y'all'd've y'all'dve y'all'd've youd you'd youd've you'd've you'dve you'd've
youll you'll youre you're youve you've
""".split()
_CONTRACTIONS = dict(zip(_CONTRACTED[::2], _CONTRACTED[1::2], strict=True))
_MOST_PERIODS = 32  # the published code passes re.UNICODE (32) as the count of a substitution


def normalize_vqa(text: str) -> str:
    """Return the answer in the form that VQA accuracy compares.

    The steps are those of the EvalAI processor of m4c, with its quirks.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()

    return _plain_words(_without_punctuation(text))


def _without_punctuation(text: str) -> str:
    """Remove punctuation marks and most periods.

    A mark is deleted if it stands next to a space anywhere in the text. Otherwise a space replaces
    it. A period before a digit stays.
    """
    digits_around_comma = re.search(r"(?<=\d),+(?=\d)", text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        # The published code looks at the text as given, not at what is left of it.
        is_loose = mark + " " in text or " " + mark in text or digits_around_comma
        cleaned = cleaned.replace(mark, "" if is_loose else " ")

    return re.sub(r"\.(?!\d)", "", cleaned, count=_MOST_PERIODS)


def _plain_words(text: str) -> str:
    """Write number words as digits, drop articles, and put missing apostrophes back."""
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]

    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, references: list[str]) -> float:
    """Return the soft VQA accuracy of an answer, in [0, 1].

    Each annotator is left out once. The answer then scores one third for every other annotator who
    gave it, at most 1, and these scores are averaged. With ten references and k matches the result
    is 0, 0.3, 0.6, 0.9, 1 for k = 0, 1, 2, 3, 4 or more (Antol et al. 2015; TextVQA).

    Raises:
        InputError: without references.
    """
    answer = normalize_vqa(prediction)
    normalized = [normalize_vqa(reference) for reference in _some(references)]

    return _leave_one_out(answer, normalized)


def _leave_one_out(answer: str, references: Sequence[str]) -> float:
    """Return the accuracy of an answer, averaged over the annotators left out in turn."""
    matches = references.count(answer)
    if not matches:
        return 0.0

    # How many of the other annotators gave the answer, for each one left out.
    others = [matches - (reference == answer) for reference in references]
    return sum(min(1.0, count / 3) for count in others) / len(references)


def vqa_accuracy_official(prediction: str, references: list[str]) -> float:
    """Return VQA accuracy by the official script, in [0, 1].

    It has no first m4c step, and it normalises texts only where annotators differ.

    Raises:
        InputError: without references.
    """
    stored = [_on_one_line(reference) for reference in _some(references)]
    answer = _on_one_line(prediction)
    if len(set(stored)) > 1:
        stored = [_plain_words(_without_punctuation(reference)) for reference in stored]
        answer = _plain_words(_without_punctuation(answer))

    return _leave_one_out(answer, stored)


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


# --- DocVQA, InfographicVQA: ANLS ---


def anls(prediction: str, references: list[str], threshold: float = 0.5) -> float:
    """Return the normalised Levenshtein similarity to the best reference, in [0, 1].

    A similarity below ``threshold`` counts as 0; the threshold itself is kept (RRC script).
    Distances are of lower-cased texts in which each run of white space is one space. Lengths are
    of the texts as given.

    Raises:
        InputError: without references.
    """
    best = max(_similarity(prediction, reference, threshold) for reference in _some(references))
    return best if best >= threshold else 0.0


def _similarity(prediction: str, reference: str, least: float) -> float:
    """Return the similarity of two texts, or an upper bound of it that is below ``least``.

    The bound comes from the lengths alone, which saves the comparison of most texts.
    """
    longest = max(len(prediction.upper()), len(reference.upper()))
    if not longest:
        return 1.0

    said = " ".join(prediction.lower().split())
    true = " ".join(reference.lower().split())
    # The distance is at least the difference of the lengths.
    at_most = 1.0 - abs(len(said) - len(true)) / longest

    return at_most if at_most < least else 1.0 - levenshtein(said, true) / longest


def levenshtein(first: str, second: str) -> int:
    """Return the number of insertions, deletions and substitutions between two strings.

    One row of the table of distances is two integers with one bit per cell: where the distance
    rises, and where it falls (Myers 1999, in the form of Hyyrö 2003).
    """
    shorter, longer = sorted((first, second), key=len)
    if not shorter:
        return len(longer)

    # One integer per letter: its bits are the places of the letter in the shorter string.
    where: dict[str, int] = {}
    for i, letter in enumerate(shorter):
        where[letter] = where.get(letter, 0) | 1 << i

    # Before the first letter of the longer string, the distance rises in every cell.
    top = len(shorter) - 1
    whole = (1 << len(shorter)) - 1
    rises, falls, distance = whole, 0, len(shorter)
    for letter in longer:
        same = where.get(letter, 0)
        diagonal = (((same & rises) + rises) ^ rises) | same
        up, down = falls | ~(diagonal | rises), rises & diagonal

        # The last cell of the row holds the distance of the whole shorter string.
        distance += (up >> top & 1) - (down >> top & 1)
        up, down = up << 1 | 1, down << 1
        rises, falls = (down | ~(same | falls | up)) & whole, up & (same | falls) & whole

    return distance


def contained_either_way(prediction: str, references: list[str]) -> float:
    """Return 1 if the prediction contains a reference or a reference contains it, else 0.

    Texts are compared as written. This is the DocVQA rule of the ViCrop code; it is not ANLS.

    Raises:
        InputError: without references.
    """
    stored = _some(references)
    return float(any(prediction in answer or answer in prediction for answer in stored))


# --- GQA: exact match ---


def exact_match(prediction: str, reference: str) -> float:
    """Return 1 for equal texts, else 0.

    Texts are stripped, in lower case and without periods at the end (the official GQA rule after
    the clean-up of LLaVA).
    """
    return float(_bare(prediction) == _bare(reference))


def _bare(text: str) -> str:
    return text.strip().lower().rstrip(".").strip()


def exact_match_without_punctuation(prediction: str, reference: str) -> float:
    """Return 1 for equal texts without ASCII punctuation, else 0 (lmms-eval)."""
    table = str.maketrans("", "", string.punctuation)
    said = prediction.strip().lower().translate(table)
    true = reference.strip().lower().translate(table)

    return float(said == true)


# --- POPE: yes or no ---


def parse_yes_no(text: str) -> Literal["yes", "no"]:
    """Return "no" if the first sentence has the word no or not, else "yes".

    This is the official POPE rule. It is applied after strip and lower case.
    """
    sentence = text.strip().lower().partition(".")[0]
    words = sentence.replace(",", "").split(" ")

    return "no" if "no" in words or "not" in words else "yes"


def binary_scores(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of the class "yes", and the share of "yes".

    All are in [0, 1]. A score that is not defined is 0.

    Raises:
        InputError: for other labels or predictions than "yes" and "no", or lists of different
            lengths.
    """
    if len(predictions) != len(labels):
        raise InputError(
            f"{len(predictions)} predictions for {len(labels)} labels: "
            "pass one of each per question."
        )
    for answer in (*predictions, *labels):
        if answer not in ("yes", "no"):
            raise InputError(
                f"'{answer}' is neither yes nor no: parse answers with parse_yes_no first."
            )

    pairs = Counter(zip(predictions, labels, strict=True))
    hits = pairs["yes", "yes"]
    said = hits + pairs["yes", "no"]  # how often the model said yes
    true = hits + pairs["no", "yes"]  # how often yes is right

    return {
        "accuracy": _share(hits + pairs["no", "no"], len(labels)),
        "precision": _share(hits, said),
        "recall": _share(hits, true),
        "f1": _share(2 * hits, said + true),
        "yes_ratio": _share(said, len(labels)),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- V*, RealWorldQA: lettered choices ---


def realworldqa_match(prediction: str, reference: str, options: Mapping[str, str]) -> float:
    """Return 1 for the right answer, else 0.

    With options, the letter of the answer is compared with the reference. Without options, texts
    are compared after strip, in lower case and without periods at the end; number words count as
    numbers.
    """
    if options:
        return float(parse_choice(prediction, options) == reference)

    said, true = _bare(prediction), _bare(reference)
    return float(_NUMBERS.get(said, said) == _NUMBERS.get(true, true))


def _some(references: list[str]) -> list[str]:
    """Return the references; refuse an empty list."""
    if not references:
        raise InputError("There is no reference answer: a score needs at least one.")

    return references


def _first(rule: Callable[[str, str], float]) -> Callable[[str, list[str]], float]:
    """Make a rule for one reference take a list of references, of which the first counts."""
    return lambda prediction, references: rule(prediction, _some(references)[0])


# Every rule under its name, to score stored answers again: (prediction, references) to [0, 1].
SCORERS: dict[str, Callable[[str, list[str]], float]] = {
    "vqa_accuracy": vqa_accuracy,
    "vqa_accuracy_official": vqa_accuracy_official,
    "anls": anls,
    "contained_either_way": contained_either_way,
    "exact_match": _first(exact_match),
    "exact_match_without_punctuation": _first(exact_match_without_punctuation),
    "yes_no": _first(
        lambda prediction, reference: float(parse_yes_no(prediction) == reference.strip().lower())
    ),
    "vstar_lmms_eval_letters": _first(vstar_letters),
    "realworldqa_lmms_eval_letters": _first(realworldqa_letters),
    "mme_realworld_lmms_eval_letters": _first(mme_realworld_letters),
}
