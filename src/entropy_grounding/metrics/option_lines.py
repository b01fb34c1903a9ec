"""Lettered options, one per line.

The forms are ``A. left``, ``A) left``, ``(A) left``, ``A: left``, ``A left``.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A letter in brackets or with a mark behind it needs no space before the option's text.
_MARKED = r"[(（](?P<inside>[A-ZＡ-Ｚ])[)）][.:．：]?|(?P<marked>[A-ZＡ-Ｚ])[.):．、）：]"
_SPACES = r"[^\S\n]"
_LINE = re.compile(
    rf"^{_SPACES}*(?:(?:{_MARKED}){_SPACES}*|(?P<bare>[A-ZＡ-Ｚ]){_SPACES}+)(?P<text>\S.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class OptionLine:
    """One option in a text that lists several. Positions count characters of that text.

    Attributes:
        letter: "A", "B", ...
        text: the option's text.
        line: position where its line begins.
        start: position where the option's text begins.
        stop: position behind the option's text.
        marked: whether the letter has brackets or a mark ("A left" has none).
    """

    letter: str
    text: str
    line: int
    start: int
    stop: int
    marked: bool


def option_lines(text: str) -> tuple[OptionLine, ...]:
    """Return the option lines of a text. Their letters follow each other from A.

    Other lines may lie between them. An "A" alone is no option ("A man stands"). If there are
    several such lists, the longest counts, then the list with more marks, then the last.
    """
    best: list[OptionLine] = []
    run: list[OptionLine] = []

    for line in map(_read, _LINE.finditer(text)):
        if line.letter == "A" and (not run or line.marked >= run[0].marked):
            run = [line]  # a marked list is not cut by a line such as "A man stands"
        elif run and ord(line.letter) == ord(run[-1].letter) + 1:
            run.append(line)
        elif run and line.letter == run[-1].letter and line.marked > run[-1].marked:
            run[-1] = line  # "B movies are old" stood before the option "B. blue"
        best = max(run, best, key=lambda lines: (len(lines), sum(each.marked for each in lines)))

    return tuple(best) if len(best) > 1 else ()


def texts_by_letter(lines: Sequence[OptionLine]) -> dict[str, str]:
    """Return the option texts of option lines by their letters."""
    return {line.letter: line.text for line in lines}


def _read(found: re.Match[str]) -> OptionLine:
    """Return the option line of a match; a full-width letter becomes a plain one."""
    letter = unicodedata.normalize("NFKC", found["inside"] or found["marked"] or found["bare"])
    text, start = found["text"].rstrip(), found.start("text")

    return OptionLine(letter, text, found.start(), start, start + len(text), found["bare"] is None)


def with_texts(question: str, lines: Sequence[OptionLine], texts: Mapping[str, str]) -> str:
    """Return the question with other option texts.

    Args:
        question: the text.
        lines: its option lines, in order.
        texts: the new text of each letter.
    """
    parts, done = [], 0
    for line in lines:
        parts += [question[done : line.start], texts[line.letter]]
        done = line.stop

    return "".join(parts) + question[done:]
