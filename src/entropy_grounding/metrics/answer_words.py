"""Words and marks that say something about an option, with their kinds, in nine languages.

`TOKEN` finds them in an answer. The name of the group that matches is a key of `KINDS`; a lone
Latin letter has the name "letter", any other word has the name "word".
"""

import re
from collections.abc import Iterator

# Letters and digits of scripts with capitals. A Latin letter beside one of them is part of a word.
# Beside a Chinese, Japanese or Korean character it stands alone.
WORDY = "0-9A-Za-zÀ-ÖØ-öø-\u058f\u1e00-\u1fff"
_NOT_BEHIND = rf"(?<![{WORDY}])"
_NOT_BEFORE = rf"(?![{WORDY}])(?!['’][{WORDY}])"
# A letter of B-52, A-frame, U.S.A, 20 °C or C++ does not stand alone either.
_LETTER = (
    rf"{_NOT_BEHIND}(?<![{WORDY}]['’-])(?<![A-Z]\.)(?<![°@])[A-Za-z]"
    rf"{_NOT_BEFORE}(?!-[{WORDY}])(?!\.[A-Z](?![{WORDY}]))(?![+#])"
)

# Name of a kind, its character, and two patterns: words of alphabets with capitals, then words and
# marks that are written without spaces.
_WORDS = {
    "other": ("o", r"not (?:sure|certain)|right[- ](?:hand|side)|(?:on|to|at|in) the right", ""),
    "filler": (
        "f",
        r"not (?:only|just)|an|the|this|that|which|who|it|its|to|for|of|on|in|at|from|question"
        r"|likely|most|probably|clearly|definitely|indeed|simply|final|my|our|your|both|either"
        r"|also|only|as|has|have|one|options|choices|think|believe|say|really|exactly"
        r"|necessarily|still|then|just|match|fit|show|support|would|should|must|will|la|le|el|lo"
        r"|les|die|der|das|den|il|de|que|ce",
        r"应该|應該|[应也都才就而那가이がのも]|\\(?:text|textbf|mathrm|mathbf)",
    ),
    "wrong": (
        "w",
        r"wrong|incorrect|false|invalid|impossible|implausible|unlikely|mistaken|inaccurate"
        r"|falsche?|faux|fausse|fals[ao]|incorrect[aeo]|incorret[ao]|errad[ao]|sbagliat[ao]"
        r"|неверно|неправильно|неверный|неправильный",
        r"不对|不對|不正确|不正確|错误|錯誤|[错錯誤違]|間違|틀|[✗✘❌×]",
    ),
    "denying": (
        "n",
        r"not|never|neither|nor|without|except|besides|unlike|(?:rather|other) than|instead of"
        r"|nicht|keine?|pas|ni|не|non|não|no es",
        r"除了|并非|並非|[不非]",
    ),
    "cannot": (
        "N",
        r"cannot|(?:can|could|may|might|would|should|must|will|do|does|did) not|[a-z]+n['’]t",
        "",
    ),
    "denied": ("P", "", r"ではな|じゃな|아니|아닙"),
    "ruled_out": (
        "d",
        r"rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)|eliminat(?:e|es|ed|ing)|reject(?:s|ed|ing)?"
        r"|dismiss(?:ed|ing)?|discard(?:s|ed|ing)?",
        r"排除",
    ),
    "right": (
        "r",
        r"correct|best|better|accurate|true|richtige?|bonne|juste|correct[aeo]|corret[ao]"
        r"|corrett[ao]|верно|правильно|правильный"
        r"|right(?=\W*(?:$|[.,;!\n)]|(?:answer|option|choice|one|because|since|as|and|but)\b))",
        "",
    ),
    "proven": ("R", "", r"正确|正確|[对對]的|正し|[がはが]正解|[가이] ?정답|맞|옳|[✓✔✅☑]"),
    "answer": (
        "c",
        r"answers?|solution|response|conclusion|verdict|antwort|lösung|réponse|respuesta|resposta"
        r"|risposta|antwoord|svar|ответ",
        r"答案|答え|正解|回答|정답|답",
    ),
    "option": (
        "k",
        r"option|choice|letter|alternative|guess|opción|opção|opzione|вариант",
        r"选项|選項|選択肢",
    ),
    "choose": (
        "v",
        r"choose|chose|choosing|pick(?:ed|ing)?|select(?:ed|ing)?"
        r"|(?:go|going|went|opt) (?:with|for)|settle on|wähle|choisis|elijo|escolho|scelgo|выбираю",
        r"[选選](?:择|擇)?|\\boxed",
    ),
    "is": (
        "i",
        r"is|are|was|were|be|seems|looks|it['’]s|that['’]s|ist|est|es|é|è|är|lautet|это",
        r"[:=→]|[-=]>|[–—]| - |[是为為は은는]",
    ),
    "link": (
        "l",
        r"and/or|and|or|as well as|vs|und|oder|ou|et|и|или",
        r"[&/+、]|或者?|以及|[和与與及かと와과]|または|또는",
    ),
    "so": (
        "t",
        r"so|therefore|thus|hence|actually|wait|correction|rather|donc|значит",
        r"所以|因此|따라서",
    ),
    "no": ("z", r"no|nope", ""),
    "yes": ("y", r"yes", ""),
    "if": ("q", r"if|whether|suppose|assuming", r"如果"),
    "line": ("\n", "", r"\n"),
    "stop": (".", "", r"[.!;。]"),
    "asks": ("?", "", r"[?]"),
    "comma": (",", "", r","),
}


def _alternatives() -> Iterator[str]:
    """Yield the patterns of `TOKEN`, one named group each; the first that matches counts."""
    # Markup and short forms ("l'option") say nothing, so they come first and are skipped.
    yield r"(?P<skipped></[a-z]+>|<(?!answer>)[a-z]+>|[a-z]{1,2}['’](?=[a-zé]{2}))"
    yield rf"(?P<letter>(?-i:{_LETTER}))"

    for name, (_, words, signs) in _WORDS.items():
        spaced = words.replace(" ", r"\s+")
        bounded = rf"{_NOT_BEHIND}(?:{spaced}){_NOT_BEFORE}" if words else ""
        yield f"(?P<{name}>{'|'.join(filter(None, (bounded, signs)))})"

    yield rf"(?P<word>[{WORDY}](?:[{WORDY}'’-]*[{WORDY}])?|[^\W_])"


TOKEN = re.compile("|".join(_alternatives()), re.IGNORECASE)

KINDS = {name: kind for name, (kind, _, _) in _WORDS.items()} | {"word": "o", "skipped": ""}
