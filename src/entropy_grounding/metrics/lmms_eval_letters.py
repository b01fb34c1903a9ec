"""The letter that lmms-eval (0.7) reads in an answer to a question with lettered options.

Its tasks of V*, RealWorldQA and MME-RealWorld each have a rule of their own. All take letters only:
an answer by the text of an option is wrong, and a letter may come out of a word.
"""

import re

_LETTERS = "ABCD"

# --- V* ---

# Where the letter is looked for, in this order, in an answer in capitals. The first place takes the
# first letter of any word, so "Blue" is B.
_PLACES = tuple(
    re.compile(place)
    for place in (
        r"^([A-D])",
        r"(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*[.)\]]",
        r"(?:^|\s)([A-D])(?:\s|$)",
    )
)


def vstar_letter(answer: str) -> str | None:
    """Return the letter of an answer under the rule of V*, or None.

    It is the first letter of the answer, or stands behind "answer", in brackets, before a mark, or
    between spaces; else it is the only one of A to D in the answer, also inside a word.
    """
    capitals = answer.strip().upper()
    for place in _PLACES:
        if found := place.search(capitals):
            return found[1]

    inside = [letter for letter in capitals if letter in _LETTERS]
    return inside[0] if len(inside) == 1 else None


# --- RealWorldQA ---

_STRIPPED = ",.!?;:'\""  # one kind of mark after the other is taken off the ends
_PHRASES = (
    *(f"the {kind}answer is" for kind in ("", "correct ", "best ")),
    *("answer is", "correct answer is", "best answer is"),
    *(f"{kind} option is" for kind in ("the correct", "correct", "the best", "best")),
    *("the choice is", "choice is", "the correct choice is", "correct choice is"),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
# What stands around the letter, behind the two ends and a phrase; of each kind the last counts.
_FORMS = ("({})", "{}.", "{}:", "{})", "{} ")


def realworldqa_letter(answer: str) -> str | None:
    """Return the letter of an answer under the rule of RealWorldQA, or None.

    In this order: a letter alone at the start, at the end, behind a phrase such as "the answer is",
    as (A), A., A:, A) or before a space, and else the last capital A to D anywhere.
    """
    bare = answer.strip()
    for mark in _STRIPPED:
        bare = bare.strip(mark)
    text, bare = f" {bare} ", bare.strip()

    if bare[:1] and bare[0] in _LETTERS and not bare[1:2].isalpha():
        return bare[0]
    if bare[-1:] and bare[-1] in _LETTERS and not bare[-2:-1].isalpha():
        return bare[-1]

    behind = _behind_phrases(text)
    for places in (behind, *(_last_places(text, form) for form in _FORMS)):
        if places:
            return max(places)[1]

    anywhere = _last_places(text, "{}")
    return max(anywhere)[1] if anywhere else None


def _behind_phrases(text: str) -> list[tuple[int, str]]:
    """Return where each letter stands first behind each phrase, also inside a word."""
    lower = text.lower()
    starts = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    places = [(text.find(letter, start), letter) for start in starts for letter in _LETTERS]

    return [(place, letter) for place, letter in places if place >= 0]


def _last_places(text: str, form: str) -> list[tuple[int, str]]:
    """Return where each letter stands last in a form."""
    places = [(text.rfind(form.format(letter)), letter) for letter in _LETTERS]

    return [(place, letter) for place, letter in places if place >= 0]


# --- MME-RealWorld ---

# Sentence starts that are taken off; without them a short rest may be one small letter.
_STARTS = (
    *(f"The {kind}answer is" for kind in ("best ", "correct ", "")),
    *("The answer", "The best option is", "The correct option is", "Best answer:", "Best option:"),
)


def mme_realworld_letter(answer: str) -> str | None:
    """Return the letter of an answer under the rule of MME-RealWorld, or None.

    It is the first capital A to E, also inside a word. Without one, an answer of at most ten words
    is looked for in "(a)", "(b)", ... "(e)", so an empty answer is A. The authors' own script has
    the same rule, but looks for such an answer in the texts of the options.
    """
    said = answer.strip()
    for start in _STARTS:
        said = said.replace(start, "")

    if found := re.search("[A-E]", said):
        return found[0]
    if len(said.split()) > 10:
        return None
    return next((letter for letter in "ABCDE" if said.lower() in f"({letter.lower()})"), None)


# --- Scores ---


def vstar_letters(prediction: str, reference: str) -> float:
    """Return 1 for the right letter, else 0 (V* in lmms-eval)."""
    return float(vstar_letter(prediction) == reference.strip().upper())


def mme_realworld_letters(prediction: str, reference: str) -> float:
    """Return 1 for the right letter, else 0 (MME-RealWorld in lmms-eval)."""
    return float(mme_realworld_letter(prediction) == reference.strip().upper())


def realworldqa_letters(prediction: str, reference: str) -> float:
    """Return 1 for the right letter, or for an equal text without options, else 0 (lmms-eval).

    Texts are compared after strip, in lower case, the answer without periods at its end; number
    words do not count as numbers.
    """
    true = reference.strip()
    if true.upper() in (*_LETTERS,):
        return float(realworldqa_letter(prediction.strip()) == true.upper())

    return float(prediction.lower().strip().rstrip(".") == true.lower())
