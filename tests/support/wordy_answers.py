"""Wordy answers whose letter is known, made from templates; run this file to count them.

A template names the letter that it chooses X (its text x) and up to two others Y and Z (y, z); a
letter is written in a style, such as ``**B**`` or ``(B)``.
"""

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

OPTIONS = (
    ("red", "blue", "light blue", "dark green"),
    ("left", "right", "straight ahead"),
    ("The dog is on the left side of the river.", "The dog is on the right side of the river."),
    ("A bicycle", "A bus", "A small car", "The train", "A boat"),
    ("2", "3", "12", "2.5"),
    ("Yes", "No"),
    ("at the corner", "behind the Bus A sign", "in Building C", "on Route D"),
    (
        "The material of the glove is rubber.",
        "The material of the glove is cotton.",
        "The glove is kevlar.",
    ),
    ("红色", "蓝色", "绿色"),
    ("€5", "5 km", "5%", "$5"),
)
PLAIN = ("{}",)
STYLES = (
    "{}",
    "({})",
    "**{}**",
    "`{}`",
    "[{}]",
    '"{}"',
    "_{}_",
    "'{}'",
    "*{}*",
    "**({})**",
    "“{}”",
)
STARTS = (
    "",
    "Looking at the picture closely. ",
    "Let me think step by step.\n\n",
    "Sure! ",
    "I see a U.S.A. flag. ",
)
ENDS = ("", ".", "\n", " ", "!", ".\n\n")

# --- One letter is chosen ---

WHOLE = ("X", "X.", "X: x", "X. x", "X) x", "(X) x", "X - x", "\nX\n", "X,", "<b>X</b>")
EXPLICIT = (
    "The answer is X",
    "The answer is: X",
    "The answer is\n\nX",
    "Answer: X",
    "answer:X",
    "Answer:\nX",
    "ANSWER: X",
    "Final answer: X",
    "**Final Answer:** X",
    "**Answer**: X",
    "### Answer\n\nX",
    "The correct answer is X",
    "The correct option is X",
    "The right choice is X",
    "The correct answer to the question is X",
    "The best answer is therefore X",
    "So the answer must be X",
    "The answer should be X",
    "The answer would be option X",
    "The answer is option X: x",
    "The answer is X, because it fits the picture",
    "The answer is X since the sign shows it",
    "My choice: X",
    "My answer is X",
    "I choose X",
    "I would go with X",
    "I'd pick X",
    "I'll select option X",
    "I am going with X",
    "X is the correct answer",
    "X is correct",
    "Option X is the right one",
    "Option X is correct, as the picture shows",
    "X seems the best answer",
    "Therefore, X",
    "So it's X",
    "Thus: X",
    "The answer => X",
    "Answer = X",
    "The solution is X",
    '{"answer": "X"}',
    "<answer>X</answer>",
    "<think>Y or Z, hard to say.</think><answer>X</answer>",
    "$\\boxed{X}$",
    "\\boxed{\\text{X}}",
    "The final answer is $\\boxed{X}$",
)
DECOYS = (
    "I considered Y and Z. Final answer: X",
    "I considered Y at first. The answer is X",
    "The answer is X, while option Y is wrong",
    "The answer is X, not Y",
    "The answer is X. Y is wrong",
    "The answer is X. It is not Y",
    "The answer is X rather than Y",
    "The answer is X and not Y",
    "The answer is X. Y shows something else",
    "The answer is X, Y shows something else",
    "The answer is X. Y and Z are incorrect",
    "The answer is X; Y and Z are both wrong",
    "It is not Y. It is X",
    "It isn't Y, it's X",
    "It can't be Y, so X",
    "It is not Y or Z, so it must be X",
    "Not Y but X",
    "Not Y, X",
    "Y is wrong. X",
    "Y is incorrect, X is correct",
    "Y is not right. X is right",
    "Y and Z are wrong, so the answer is X",
    "Neither Y nor Z fits. The answer is X",
    "I can rule out Y and Z. So X",
    "Excluding Y, the answer is X",
    "Eliminating Y and Z, I choose X",
    "X instead of Y",
    "I prefer X; Y does not fit",
    "Y does not match the picture. X does",
    "Y doesn't match the picture. X does",
    "Option Y is ruled out. Option X remains",
    "Option Y is wrong because nothing fits. Option X fits",
    "Y? No. X",
    "Is it Y? No, it is X",
    "At first I thought the answer is Y. Wait, the answer is X",
    "Answer: Y. Correction: the answer is X",
    "The answer is not Y. The answer is X",
    "The answer isn't Y but X",
    "The wrong answer is Y. The right answer is X",
    "Between Y and Z, hard to say, but X is correct",
    "Y could be right, but X is the best answer",
    "The answer could be Y, but X is correct",
    "If Y is correct the sign would differ, so the answer is X",
    "The options are X, Y and Z. I choose X",
    "Y: wrong\nX: correct",
    "❌ Y\n✅ X",
    "Y ✗\nX ✓",
    "Y. There is no such thing here.\nZ. Nor is this.\n\nAnswer: X",
    "I looked at Y and Z.\nX. x",
    "The A-frame, C++ and B-52 are no options. Answer: X",
    "It is 20 °C in D.C. The answer is X",
    "A man walks past. The answer is X",
    "I see a sign. I think it says so. The answer is X",
)
LANGUAGES = (
    "Die Antwort ist X",
    "Die richtige Antwort ist X",
    "Antwort: X",
    "Nicht Y, sondern X",
    "Y ist falsch. Die richtige Antwort ist X",
    "La réponse est X",
    "La bonne réponse est la X",
    "Réponse : X",
    "Ce n'est pas Y. La réponse est X",
    "La respuesta es X",
    "La respuesta correcta es la X",
    "Respuesta: X",
    "No es Y, es X",
    "A resposta é X",
    "La risposta è X",
    "Ответ: X",
    "Правильный ответ — X",
    "Не Y. Ответ: X",
    "答案是X",
    "答案是X。",
    "答案：X",
    "答案为X",
    "正确答案是X",
    "正确的答案是选项X",
    "选X",
    "应该选X",
    "我选择X。",
    "因此选择X",
    "所以答案是X。",
    "所以X",
    "不是Y，而是X",
    "不选Y，选X",
    "Y不对，X正确",
    "Y是错的，答案是X",
    "选项Y是错的，选项X是正确的",
    "Y和Z都不对，选X",
    "排除Y和Z，答案是X",
    "正解はXです",
    "答えはXです。",
    "YではなくXです",
    "Yは間違いです。正解はXです",
    "정답은 X입니다",
    "정답: X",
    "답은 X",
    "Y가 아니라 X입니다",
)
TEXTS = (
    "x",
    "x.",
    "It is x",
    "The answer is x",
    "The answer is: x",
    "Answer: x",
    "It is not y. It is x",
    "The answer is x, not y",
    "x is correct",
    "x is the right answer, y is wrong",
)

# --- No letter is chosen, or several ---

UNDECIDED = (
    "X or Y",
    "X and Y",
    "X, Y",
    "X/Y",
    "X & Y",
    "Answer: X or Y",
    "Answer: X, Y",
    "Answer: X and Y",
    "The answer is X or Y",
    "The answer is either X or Y",
    "The answer is both X and Y",
    "X and Y are correct",
    "I choose X or Y",
    "It could be X, or maybe Y",
    "It's between X and Y",
    "option X or Y",
    "not X",
    "Not X.",
    "It is not X",
    "It isn't X",
    "It's not X",
    "It can't be X",
    "It cannot be X",
    "X is wrong",
    "X is incorrect",
    "X is not correct",
    "X isn't right",
    "Option X is wrong",
    "The answer is not X",
    "The answer isn't X",
    "The answer is not X or Y",
    "The wrong answer is X",
    "Neither X nor Y",
    "X and Y are wrong",
    "X is ruled out",
    "I exclude X",
    "None of them",
    "I do not know",
    "",
    "X或Y",
    "不是X",
    "不选X",
    "X不对",
    "X是错的",
    "X和Y都不对",
    "可能是X，也可能是Y",
    "Nicht X",
    "Ce n'est pas X",
    "XまたはY",
    "Xではない",
    "X가 아닙니다",
)


class Wordy(NamedTuple):
    """An answer, the options of its question and its letter, None for none or several."""

    answer: str
    options: dict[str, str]
    letter: str | None


def wordy_answers(seed: int = 0, each: int = 40) -> Iterator[Wordy]:
    """Yield ``each`` answers of every template, with letters, options, styles and surroundings."""
    rng = random.Random(seed)
    for template in WHOLE:
        yield from (_written(rng, template, framed=False) for _ in range(each))
    for template in (*EXPLICIT, *DECOYS, *LANGUAGES):
        yield from (_written(rng, template) for _ in range(each))
    for template in TEXTS:
        yield from (_written(rng, template, framed=False) for _ in range(each))
    for template in UNDECIDED:
        yield from (
            _written(rng, template, framed=False)._replace(letter=None) for _ in range(each)
        )


def _written(rng: random.Random, template: str, *, framed: bool = True) -> Wordy:
    """Fill in a template; the letters of one answer have one style."""
    texts = rng.choice([texts for texts in OPTIONS if len(texts) >= (3 if "Z" in template else 2)])
    order = rng.sample(texts, len(texts))
    options = dict(zip("ABCDEF", order, strict=False))
    chosen = rng.sample(sorted(options), min(3, len(options)))
    style = rng.choice(PLAIN if "x" in template or "<" in template or "\\" in template else STYLES)
    names = {"X": chosen[0], "Y": chosen[1], "Z": chosen[-1]}

    def piece(found: re.Match[str]) -> str:
        letter = names[found[0].upper()]
        return style.format(letter) if found[0].isupper() else options[letter].rstrip(".")

    filled = re.sub(r"(?<![A-Za-z])[XYZxyz](?![A-Za-z])", piece, template)
    start, end = (rng.choice(STARTS), rng.choice(ENDS)) if framed else ("", "")
    return Wordy(f"{start}{filled}{end}", options, chosen[0])


if __name__ == "__main__":
    corpus = list(wordy_answers())
    print(f"{len(corpus)} answers, {sum(each.letter is None for each in corpus)} of them undecided")
