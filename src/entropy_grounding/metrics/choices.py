"""Find the option that an answer chooses.

Explicit answers ("the answer is B") come first, and the last of them counts. An option that the
answer denies is never chosen.

An answer is turned into a line of kinds. It has one character for each word or mark that says
something about options (`answer_words`), X for an option's letter and T for an option's text. A few
patterns over this line, the same for every language, decide what it says.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from entropy_grounding.metrics.answer_words import KINDS, TOKEN, WORDY
from entropy_grounding.metrics.option_lines import option_lines

# --- What stands before and behind a list of letters and option texts ---

# The kinds are those of `answer_words`: "c" is "answer", "i" is "is", "n" is "not", and so on.

_LIST = re.compile(r"[XT](?:,[fk]*[XT])*(?:,?l[fk]*[XT])*")
_NEAR = 16  # how many kinds before and behind a list can say something about it
# "not B", "no B", "the wrong answer is B", a cross that begins the line
_DENIED_BEFORE = re.compile(r"(?:[nNd][fcvirk]*|z[fk]*|(?<![iXT])w[fkc]*i[fk]*|\nw)$")
# "B is wrong", "B is ruled out", "B excluded", "B is not", "B isn't", "B: no", "B? No"
_DENIED_BEHIND = re.compile(
    r"(?:,f+)?k?(?:[fi]*w|[fi]*i[fi]*d|d(?![fcv]*[XT])|(?:f*i[fi]*n|[fi]*N)(?!f*[wXT])"
    r"|f*P|iz|[?]z)"
)
# "the answer is B", "answer B", "choose B", "correct: B", "the correct option B", a tick
_EXPLICIT_BEFORE = re.compile(r"(?:[ck]f*i\n*|c\n*|v|r[fkc]*i\n*|r[fkc]+|R)[fk]*$")
# "B is the correct one", "B is the answer", "B: yes"
_EXPLICIT_BEHIND = re.compile(r"k?(?:[fi]*i[fi]*[rc]|i?f*R|iy)")
# "so it is B", "no, B", before the end of a clause
_CONCLUDED_BEFORE = re.compile(r"[tz],?[ftk]*i?[fk]*$")
_DOUBTED_BEFORE = re.compile(r"qf*$")  # "if B is correct"
_NAMED_BEFORE = re.compile(r"[kc]f*$")
_ENDS = re.compile(r"[.,\n]|$")

# --- Around a letter in the text ---

_MARKS = re.compile(r"(?:[^\w?]|_)*")  # no question mark: in "B? No" the word answers it
_CLOSED = re.compile(r"[*_`\"'\])]*(?:[.):,\n]|$)")
_LAST_WORD = re.compile(r"[)\]}*_`\"'\s]*(?:[.,;:!。\n<]|$)")
_NEXT_WORD = re.compile(r"[ \t]+([^\W\d_]+)")
# Words behind "A" or "I" that show a letter: "A is right". An article or a pronoun is not followed
# by them.
_NO_NOUN = re.compile(
    r"[ \t]+(?:and|or|nor|is|was|are|were|be|because|since|as|so|the|it|its|this|that|these|in|on"
    r"|at|of|for|from|with|by|to|which|who|when|where|if|but|not|instead|rather|does|doesn|has"
    r"|would|seems|looks|appears|matches|fits|remains)\b",
    re.IGNORECASE,
)
_SMALL = {"a": "f", "o": "l", "y": "l", "e": "l"}  # an article; "or" and "and" in other languages
_CORE = re.compile(r"[^\W_](?:\S*[^\W_])?")  # a word without the marks at its ends
_OptionTexts = tuple[re.Pattern[str], list[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class _Token:
    """A word or mark of an answer.

    Attributes:
        kind: its character in the line of kinds; empty for a word that is skipped.
        start: position where it begins in the answer.
        stop: position behind it.
        letters: the options that it means; empty for other words.
    """

    kind: str
    start: int
    stop: int
    letters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Said:
    """What an answer says about one list of options.

    Attributes:
        affirmed: letters of the list that are not denied.
        denied: letters of the list that are denied.
        by_letter: whether the list has a letter, not only option texts.
        explicit: whether it is clearly an answer ("the answer is B").
        rank: strength of a list that is not explicit: 3 at the start of a line, 2 in brackets,
            1 behind "option", else 0.
    """

    affirmed: frozenset[str]
    denied: frozenset[str]
    by_letter: bool
    explicit: bool
    rank: int


def parse_choice(text: str, options: Mapping[str, str]) -> str | None:
    r"""Return the letter that an answer chooses, or None when it chooses none or several.

    A capital letter counts if it stands alone ("A" that begins a sentence is an article). A small
    letter counts only as the whole answer, in brackets, or where an answer is expected
    ("answer: b"). A letter inside a word never counts. An option that is denied ("not A", "A is
    wrong") does not count. The rules, in order:

    1. The whole answer is a letter, an option's text, or both. Case, articles and marks at the
       ends of words do not matter.
    2. The last explicit answer: "the answer is B", "I choose B", "B is correct", ``\boxed{B}``.
    3. The only letter that begins a line, else the only letter in brackets, else the only letter
       behind "option".
    4. The only letter.
    5. The only option whose text is in the answer; "light blue" is not "blue".

    Args:
        text: the answer.
        options: option text by letter.
    """
    if (whole := letter_of(text, options)) is not None:
        return whole

    answer = _without_echo(unicodedata.normalize("NFKC", text), options)
    said = list(_said(answer, options, common=False))
    # Without a letter, a text such as "right" may be the option and not a common word.
    if not any(each.by_letter for each in said):
        said = list(_said(answer, options, common=True))

    explicit = [each.affirmed for each in said if each.explicit and each.affirmed]
    if explicit:
        return _only(explicit[-1:], options)

    letters = [each for each in said if each.by_letter and each.affirmed]
    for rank in (3, 2, 1):
        ranked = [each.affirmed for each in letters if each.rank == rank]
        single = [affirmed for affirmed in ranked if len(affirmed) == 1]
        if (chosen := _only(single, options)) is not None:
            return chosen

    if letters:
        return _only([each.affirmed for each in letters], options)

    # Only option texts are left; a text that is denied anywhere does not count.
    denied = frozenset().union(*(each.denied for each in said))
    return _only([each.affirmed - denied for each in said], options)


def letter_of(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of an answer that is only a letter, an option's text, or both.

    Args:
        answer: the answer.
        options: option text by letter.

    Returns:
        The letter, or None when the answer says more, or fits several options.
    """
    first, *rest = _CORE.findall(unicodedata.normalize("NFKC", answer)) or [""]
    letter = first.upper()
    if letter in options and not rest:
        return letter

    # The stricter form first: "$5" and "5 %" are the same words.
    for form in (_bare, _words):
        said = form(answer)
        same = [key for key, option in options.items() if said and form(option) == said]
        if len(same) == 1:
            return same[0]

    both = letter in options and _words(" ".join(rest)) == _words(options[letter])
    return letter if rest and both else None


def _bare(text: str) -> str:
    """Return a text in lower case, with single spaces and without periods at the end."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split()).rstrip(".")


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case, without articles and marks at their ends."""
    words = _CORE.findall(unicodedata.normalize("NFKC", text))
    # A capital "A" is an article only at the start; elsewhere it is a letter.
    articles = {"a", "an", "the", "An", "The", "AN", "THE"} | ({"A"} & set(words[:1]))
    kept = [word for word in words if word not in articles] or words

    return [word.lower() for word in kept] or text.lower().split()


def _only(found: Iterable[frozenset[str]], options: Mapping[str, str]) -> str | None:
    """Return the single letter of all sets, or None when there are several or it is no option."""
    letters = frozenset().union(*found)
    return next(iter(letters)) if len(letters) == 1 and letters <= options.keys() else None


def _without_echo(text: str, options: Mapping[str, str]) -> str:
    """Return the answer without a copy of the question's option lines."""
    lines = option_lines(text)
    if any(_bare(line.text) != _bare(options.get(line.letter, "")) for line in lines):
        return text

    # From the last line to the first, so that positions before it stay right.
    for line in reversed(lines):
        text = text[: line.line] + text[line.stop :]

    return text


# --- From a line of kinds to what it says ---


def _said(text: str, options: Mapping[str, str], *, common: bool) -> Iterator[_Said]:
    """Yield what the answer says about each list of options, in order.

    With ``common``, option texts such as "right" and "no" are read as options, otherwise as common
    words.
    """
    tokens = _tokens(text, options, common)
    kinds = "".join(token.kind for token in tokens)

    for found in _LIST.finditer(kinds):
        start, stop = found.span()
        before, behind = kinds[max(0, start - _NEAR) : start], kinds[stop : stop + _NEAR]
        yield _judged(
            [token for token in tokens[start:stop] if token.letters],
            before,
            behind,
            "l" in found[0],
            text,
        )


def _judged(listed: Sequence[_Token], before: str, behind: str, linked: bool, text: str) -> _Said:
    """Return what an answer says about a list of options.

    Args:
        listed: the letters and option texts of the list.
        before: kinds before it.
        behind: kinds behind it.
        linked: whether "or" or "and" joins the options. Then a denial holds for all of them.
        text: the answer.
    """
    explicit = _EXPLICIT_BEFORE.search(before) is not None

    denied: set[_Token] = set()
    if _DENIED_BEFORE.search(before):
        denied.update(listed if linked else listed[:1])
    if _DENIED_BEHIND.match(behind):
        # In "the answer is A, B and C are wrong" the first option is not denied.
        denied.update(listed[explicit and len(listed) > 1 :] if linked else listed[-1:])

    affirmed = [token for token in listed if token not in denied]
    if explicit and not linked and not _ENDS.match(behind):
        affirmed = affirmed[:1]  # "the answer is A, B shows the sky"

    concluded = bool(_CONCLUDED_BEFORE.search(before) and _ENDS.match(behind))
    proven = bool(_EXPLICIT_BEHIND.match(behind) and not _DOUBTED_BEFORE.search(before))

    return _Said(
        frozenset().union(*(token.letters for token in affirmed)),
        frozenset().union(*(token.letters for token in denied)),
        any(token.kind == "X" for token in listed),
        explicit or concluded or proven,
        _rank(listed[0], before, text),
    )


def _rank(token: _Token, before: str, text: str) -> int:
    """Return the rank of a list by its first token, as in `_Said`."""
    if before.endswith("\n") and _CLOSED.match(text, token.stop):
        return 3
    if _bracketed(text, token.start, token.stop):
        return 2

    return 1 if _NAMED_BEFORE.search(before) else 0


def _bracketed(text: str, start: int, stop: int) -> bool:
    """Tell whether brackets stand directly around a part of a text."""
    return text[max(0, start - 1) : start] in ("(", "[") and text[stop : stop + 1] in (")", "]")


# --- From the answer to a line of kinds ---


def _tokens(text: str, options: Mapping[str, str], common: bool) -> list[_Token]:
    """Return the letters, option texts, words and marks of an answer in order."""
    texts = list(_texts(text, options, common))
    named = {token.start: token.letters for token in _texts(text, options, common=True)}
    reading = _Reading(text, options, named, text.isupper())

    # Merge two sorted lists: option texts, and words and marks outside of them.
    waiting = iter(texts)
    ahead, covered = next(waiting, None), 0
    for match in TOKEN.finditer(text):
        while ahead and ahead.start < match.end():
            covered = ahead.stop
            reading.add(ahead)
            ahead = next(waiting, None)
        if match.start() >= covered:
            reading.add(reading.token(match))

    for token in (ahead, *waiting):
        if token:
            reading.add(token)

    return reading.tokens


def _texts(text: str, options: Mapping[str, str], common: bool) -> Iterator[_Token]:
    """Yield the option texts in an answer, in order."""
    pattern, letters = _option_texts(tuple(options.items()), common)
    # The groups of the pattern are named t0, t1, ...
    for found in pattern.finditer(text):
        yield _Token("T", *found.span(), letters[int(str(found.lastgroup)[1:])])


@lru_cache(maxsize=256)
def _option_texts(options: tuple[tuple[str, str], ...], common: bool) -> _OptionTexts:
    """Return a pattern of the options' texts, the longest first, and the letters of each group.

    Options with the same text share a group, so such a text means several letters.
    """
    letters: dict[str, frozenset[str]] = {}
    plain = Counter(tuple(_words(option)) for _, option in options)
    for letter, option in options:
        words = _words(option)
        if plain[tuple(words)] > 1:
            words = _bare(option).split()  # "$5" and "5 %" differ in their marks alone
        # A text that is itself a letter of the options ("B") is read as that letter.
        if words and " ".join(words).upper() not in dict(options):
            pattern = _spaced(words, common)
            letters[pattern] = letters.get(pattern, frozenset()) | {letter}

    found = sorted(letters, key=lambda pattern: (-len(pattern), pattern))
    groups = "|".join(f"(?P<t{i}>{pattern})" for i, pattern in enumerate(found)) or "(?!)"
    whole = rf"(?<![{WORDY}])(?<!\d[.,:/])(?:{groups})(?![{WORDY}])(?![.,:/]\d)"

    return re.compile(whole, re.IGNORECASE), [letters[pattern] for pattern in found]


def _spaced(words: Sequence[str], common: bool) -> str:
    """Return the pattern of words with marks and articles between them.

    A lone letter matches in capitals only. Words that say something about options, such as "right",
    match nothing without ``common``.
    """
    if len(words) == 1 and len(words[0]) == 1 and words[0].isalpha():
        return f"(?-i:{re.escape(words[0].upper())})"

    says = TOKEN.fullmatch(" ".join(words))
    pattern = r"[\W_]+(?:(?:a|an|the)[\W_]+)?".join(map(re.escape, words))
    if says is None or says.lastgroup == "word":
        return pattern

    return rf"{pattern}(?!\s+(?:answer|option|choice|one)\b)" if common else "(?!)"


@dataclass
class _Reading:
    """The reading of an answer, with the tokens so far.

    Attributes:
        text: the answer.
        options: option text by letter.
        named: letters of the option texts, by the position where the text begins.
        shouted: whether the whole answer is in capitals, "a" too.
        tokens: the tokens so far. The first is the start of a line.
    """

    text: str
    options: Mapping[str, str]
    named: Mapping[int, frozenset[str]]
    shouted: bool
    tokens: list[_Token] = field(default_factory=lambda: [_Token("\n", 0, 0)])

    def add(self, token: _Token) -> None:
        """Add a token. A letter and its option's text side by side ("B. blue") are one letter."""
        beside = self._beside(token.letters, token.start)
        if beside is not None and token.kind != self.tokens[beside].kind:
            token = token if token.kind == "X" else self.tokens[beside]
            del self.tokens[beside:]

        if token.kind:
            self.tokens.append(token)

    def _beside(self, letters: frozenset[str], start: int) -> int | None:
        """Return the index of a token before ``start`` that also means one of these letters.

        Only marks may stand between it and ``start``; None if there is no such token.
        """
        # Marks between the two may be tokens as well, so look back over four tokens.
        near = range(len(self.tokens) - 1, max(0, len(self.tokens) - 5), -1)
        last = next((i for i in near if self.tokens[i].letters), None)
        if last is None or not letters & self.tokens[last].letters:
            return None

        return last if _MARKS.fullmatch(self.text, self.tokens[last].stop, start) else None

    def token(self, match: re.Match[str]) -> _Token:
        """Return the token of a word or mark.

        "no" in "B: no" has an empty kind if "no" is the text of option B.
        """
        start, stop = match.span()
        if match.lastgroup != "letter":
            own = self._beside(self.named.get(start, frozenset()), start) is not None
            return _Token("" if own else KINDS[str(match.lastgroup)], start, stop)

        if self._chooses(match):
            return _Token("X", start, stop, frozenset(match[0].upper()))

        return _Token("f" if match[0] == "A" else _SMALL.get(match[0], "o"), start, stop)

    def _chooses(self, match: re.Match[str]) -> bool:
        """Tell whether a lone letter is a choice: an option, or any letter after "answer:"."""
        start, stop = match.span()
        before = "".join(token.kind for token in self.tokens[-_NEAR:])

        # A letter that is no option is kept here, because the answer then chooses no option.
        if _EXPLICIT_BEFORE.search(before) and _LAST_WORD.match(self.text, stop):
            return True
        if match[0].upper() not in self.options:
            return False
        if match[0].islower():
            in_word = self.text[max(0, start - 2) : start - 1].isalnum()  # "dog(s)"
            return _bracketed(self.text, start, stop) and not in_word

        return not self._is_word(match)

    def _is_word(self, match: re.Match[str]) -> bool:
        """Tell whether "A" is an article at the start of a sentence, or "I" a pronoun."""
        behind = _NEXT_WORD.match(self.text, match.end())
        if match[0] not in "AI" or not behind or _NO_NOUN.match(self.text, match.end()):
            return False
        if named := self.named.get(behind.start(1)):
            return match[0] not in named  # "A bus" is no letter where another option is a bus

        last = self.tokens[-1]
        begins = last.kind in "\n.?" or self.text[last.start : last.stop] == ":"
        small = behind[1][0].islower() or (self.shouted and len(behind[1]) > 1)
        return small and (begins or self.shouted or match[0] == "I")
