"""Answer metrics of the seven benchmarks, one published rule each; other harnesses' rules are named variants in `SCORERS`.

Every function takes strings as they were stored, so one stored answer can be scored again under another rule.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import parse_choice

# --- TextVQA: VQA accuracy (EvalAI processor of the m4c code) ---

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
# The table of the VQA evaluation: what is written without its apostrophe. Keys with capitals never match and are left out.
_CONTRACTED = """
aint ain't arent aren't cant can't couldve could've couldnt couldn't couldn'tve couldn't've couldnt've couldn't've didnt didn't
doesnt doesn't dont don't hadnt hadn't hadnt've hadn't've hadn'tve hadn't've hasnt hasn't havent haven't hed he'd hed've he'd've
he'dve he'd've hes he's howd how'd howll how'll hows how's isnt isn't itd it'd itd've it'd've it'dve it'd've itll it'll maam ma'am
mightnt mightn't mightnt've mightn't've mightn'tve mightn't've mightve might've mustnt mustn't mustve must've neednt needn't
notve not've oclock o'clock oughtnt oughtn't ow's'at 'ow's'at 'ows'at 'ow's'at 'ow'sat 'ow's'at shant shan't shed've she'd've
she'dve she'd've shouldve should've shouldnt shouldn't shouldnt've shouldn't've shouldn'tve shouldn't've somebody'd somebodyd
somebodyd've somebody'd've somebody'dve somebody'd've somebodyll somebody'll somebodys somebody's someoned someone'd
someoned've someone'd've someone'dve someone'd've someonell someone'll someones someone's somethingd something'd
somethingd've something'd've something'dve something'd've somethingll something'll thats that's thered there'd
thered've there'd've there'dve there'd've therere there're theres there's theyd they'd theyd've they'd've they'dve they'd've
theyll they'll theyre they're theyve they've twas 'twas wasnt wasn't wed've we'd've we'dve we'd've weve we've werent weren't
whatll what'll whatre what're whats what's whatve what've whens when's whered where'd wheres where's whereve where've whod who'd
whod've who'd've who'dve who'd've wholl who'll whos who's whove who've whyll why'll whyre why're whys why's wont won't
wouldve would've wouldnt wouldn't wouldnt've wouldn't've wouldn'tve wouldn't've yall y'all yall'll y'all'll y'allll y'all'll
yall'd've y'all'd've y'alld've y'all'd've y'all'dve y'all'd've youd you'd youd've you'd've you'dve you'd've youll you'll
youre you're youve you've
""".split()
_CONTRACTIONS = dict(zip(_CONTRACTED[::2], _CONTRACTED[1::2], strict=True))
_MOST_PERIODS = 32  # the published code passes re.UNICODE as the count of a substitution


def normalize_vqa(text: str) -> str:
    """Return the answer as VQA accuracy compares it (EvalAI processor of m4c, its quirks included)."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return _plain_words(_without_punctuation(text))


def _without_punctuation(text: str) -> str:
    """Delete a mark that stands next to a space anywhere in the text, else put a space in its place; drop most periods."""
    digits_around_comma = re.search(r"(?<=\d),+(?=\d)", text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        loose = mark + " " in text or " " + mark in text or digits_around_comma
        cleaned = cleaned.replace(mark, "" if loose else " ")
    return re.sub(r"\.(?!\d)", "", cleaned, count=_MOST_PERIODS)


def _plain_words(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, references: list[str]) -> float:
    """Return the soft accuracy of VQA: how many of the other annotators gave this answer, a third each, averaged leaving one out.

    With ten references and k matches that is 0, 0.3, 0.6, 0.9, 1 for k = 0, 1, 2, 3, 4 or more (Antol et al. 2015; TextVQA).

    Raises:
        InputError: without references.
    """
    return _leave_one_out(
        normalize_vqa(prediction), [normalize_vqa(each) for each in _some(references)]
    )


def _leave_one_out(answer: str, references: Sequence[str]) -> float:
    matches = references.count(answer)
    others = [matches - (each == answer) for each in references]
    return sum(min(1.0, count / 3) for count in others) / len(references) if matches else 0.0


def vqa_accuracy_official(prediction: str, references: list[str]) -> float:
    """Return VQA accuracy by the official script: normalised only where annotators differ, and without the first m4c step."""
    references = [each.replace("\n", " ").replace("\t", " ").strip() for each in _some(references)]
    prediction = prediction.replace("\n", " ").replace("\t", " ").strip()
    if len(set(references)) > 1:
        references = [_plain_words(_without_punctuation(each)) for each in references]
        prediction = _plain_words(_without_punctuation(prediction))
    return _leave_one_out(prediction, references)


# --- DocVQA, InfographicVQA: ANLS ---


def anls(prediction: str, references: list[str], threshold: float = 0.5) -> float:
    """Return the normalised Levenshtein similarity to the best reference; 0 below ``threshold``, which itself is kept (RRC script).

    Distances are of lower-cased texts with runs of spaces collapsed, lengths are of the texts as given.

    Raises:
        InputError: without references.
    """
    best = max(_similarity(prediction, each, threshold) for each in _some(references))
    return best if best >= threshold else 0.0


def _similarity(prediction: str, reference: str, least: float) -> float:
    """Return the similarity; texts whose lengths alone put it below ``least`` are not compared."""
    longest = max(len(prediction.upper()), len(reference.upper()))
    said, true = (" ".join(text.lower().split()) for text in (prediction, reference))
    if not longest:
        return 1.0

    at_most = 1.0 - abs(len(said) - len(true)) / longest
    return at_most if at_most < least else 1.0 - levenshtein(said, true) / longest


def levenshtein(first: str, second: str) -> int:
    """Return the number of insertions, deletions and substitutions that turn one string into the other.

    A row of the table of distances is two integers, one bit a cell: where it rises and where it
    falls (Myers 1999, in the form of Hyyrö 2003).
    """
    shorter, longer = sorted((first, second), key=len)
    if not shorter:
        return len(longer)

    where: dict[str, int] = {}
    for i, letter in enumerate(shorter):
        where[letter] = where.get(letter, 0) | 1 << i

    whole = (1 << len(shorter)) - 1
    rises, falls, distance = whole, 0, len(shorter)
    for letter in longer:
        same = where.get(letter, 0)
        diagonal = (((same & rises) + rises) ^ rises) | same
        up, down = falls | ~(diagonal | rises), rises & diagonal
        distance += (up >> len(shorter) - 1 & 1) - (down >> len(shorter) - 1 & 1)
        up, down = up << 1 | 1, down << 1
        rises, falls = (down | ~(same | falls | up)) & whole, up & (same | falls) & whole
    return distance


def contained_either_way(prediction: str, references: list[str]) -> float:
    """Return 1 when prediction and a reference contain one another, as written (the DocVQA rule of the ViCrop code, not ANLS)."""
    return float(any(prediction in each or each in prediction for each in _some(references)))


# --- GQA: exact match ---


def exact_match(prediction: str, reference: str) -> float:
    """Return 1 for equal texts after strip, lower case and trailing periods off (official GQA rule after LLaVA's clean-up)."""
    return float(_bare(prediction) == _bare(reference))


def _bare(text: str) -> str:
    return text.strip().lower().rstrip(".").strip()


def exact_match_without_punctuation(prediction: str, reference: str) -> float:
    """Return 1 for equal texts with all ASCII punctuation deleted (lmms-eval)."""
    table = str.maketrans("", "", string.punctuation)
    return float(
        prediction.strip().lower().translate(table) == reference.strip().lower().translate(table)
    )


# --- POPE: yes or no ---


def parse_yes_no(text: str) -> Literal["yes", "no"]:
    """Return "no" when the first sentence has the word no or not, else "yes" (official POPE rule, after strip and lower case)."""
    words = text.strip().lower().partition(".")[0].replace(",", "").split(" ")
    return "no" if "no" in words or "not" in words else "yes"


def binary_scores(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of the class "yes", and the share of predicted "yes"; undefined ones are 0.

    Raises:
        InputError: for other labels or predictions than "yes" and "no", or lists of different lengths.
    """
    if len(predictions) != len(labels):
        raise InputError(
            f"{len(predictions)} predictions for {len(labels)} labels: pass one of each per question."
        )
    if wrong := [each for each in (*predictions, *labels) if each not in ("yes", "no")]:
        raise InputError(
            f"'{wrong[0]}' is neither yes nor no: parse answers with parse_yes_no first."
        )
    pairs = list(zip(predictions, labels, strict=True))
    hits = pairs.count(("yes", "yes"))
    said, true = sum(p == "yes" for p, _ in pairs), sum(label == "yes" for _, label in pairs)
    return {
        "accuracy": _share(sum(p == label for p, label in pairs), len(pairs)),
        "precision": _share(hits, said),
        "recall": _share(hits, true),
        "f1": _share(2 * hits, said + true),
        "yes_ratio": _share(said, len(pairs)),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- V*, RealWorldQA: lettered choices ---


def realworldqa_match(prediction: str, reference: str, options: Mapping[str, str]) -> float:
    """Return 1 for the right letter where there are options, else for equal texts (strip, lower case, trailing period off).

    Number words count as numbers.
    """
    if options:
        return float(parse_choice(prediction, options) == reference)
    said, true = (_NUMBERS.get(_bare(text), _bare(text)) for text in (prediction, reference))
    return float(said == true)


def _some(references: list[str]) -> list[str]:
    if not references:
        raise InputError("There is no reference answer: a score needs at least one.")
    return references


def _first(rule: Callable[[str, str], float]) -> Callable[[str, list[str]], float]:
    return lambda prediction, references: rule(prediction, _some(references)[0])


# Every rule under its name, for re-scoring stored answers: (prediction, references) -> score in [0, 1].
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
}
