"""Words and marks that say something about an option, each with its kind, in nine languages.

`TOKEN` finds them in an answer, under the names of `KINDS`; a lone Latin letter has the name
"letter", any other word "word".
"""

import re
from collections.abc import Iterator

# Letters and digits of scripts with capitals. A Latin letter beside one of them stands in a word;
# beside a Chinese, Japanese or Korean character it stands alone.
WORDY = "0-9A-Za-zÀ-ÖØ-öø-\u058f\u1e00-\u1fff"
_NOT_BEHIND = rf"(?<![{WORDY}])"
_NOT_BEFORE = rf"(?![{WORDY}])(?!['’][{WORDY}])"
# Nor is a letter of B-52, A-frame, U.S.A, 20 °C or C++ one that stands alone.
_LETTER = (
    rf"{_NOT_BEHIND}(?<![{WORDY}]['’-])(?<![A-Z]\.)(?<![°@])[A-Za-z]"
    rf"{_NOT_BEFORE}(?!-[{WORDY}])(?!\.[A-Z](?![{WORDY}]))(?![+#])"
)

# Kind of a word, and the words: in alphabets with capitals, then those written without spaces.
_WORDS = {
    "other": ("o", r"not (?:sure|certain)|right[- ](?:hand|side)|(?:on|to|at|in) the right", ""),
    "filler": (
        "f",
        r"not (?:only|just)|an|the|this|that|which|who|it|its|to|for|of|on|in|at|from|question|likely"
        r"|most|probably|clearly|definitely|indeed|simply|final|my|our|your|both|either|also|only|as"
        r"|has|have|one|options|choices|think|believe|say|really|exactly|necessarily|still|then|just"
        r"|match|fit|show|support|would|should|must|will|la|le|el|lo|les|die|der|das|den|il|de|que|ce",
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
        r"correct|best|better|accurate|true|richtige?|bonne|juste|correct[aeo]|corret[ao]|corrett[ao]"
        r"|верно|правильно|правильный"
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
        r"choose|chose|choosing|pick(?:ed|ing)?|select(?:ed|ing)?|(?:go|going|went|opt) (?:with|for)"
        r"|settle on|wähle|choisis|elijo|escolho|scelgo|выбираю",
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
    yield r"(?P<skipped></[a-z]+>|<(?!answer>)[a-z]+>|[a-z]{1,2}['’](?=[a-zé]{2}))"
    yield rf"(?P<letter>(?-i:{_LETTER}))"
    for name, (_, words, signs) in _WORDS.items():
        spaced = words.replace(" ", r"\s+")
        bounded = rf"{_NOT_BEHIND}(?:{spaced}){_NOT_BEFORE}" if words else ""
        yield f"(?P<{name}>{'|'.join(filter(None, (bounded, signs)))})"
    yield rf"(?P<word>[{WORDY}](?:[{WORDY}'’-]*[{WORDY}])?|[^\W_])"


TOKEN = re.compile("|".join(_alternatives()), re.IGNORECASE)

KINDS = {name: kind for name, (kind, _, _) in _WORDS.items()} | {"word": "o", "skipped": ""}
