"""Words of the tiny VLMs: one vocabulary for scenes and the seven miniature benchmarks.

The tokenizer is word level: a word outside this vocabulary becomes ``<unk>``. `unknown_words` names
such words.
"""

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from entropy_grounding.benchmarks.miniature.words import COLORS

SHAPES = ("card", "circle", "square", "triangle", "star", "cross")

_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
_PUNCTUATION = ("\n", "?", ".", ",", ":", ";", "-", "(", ")", "/", "'", "%", "$")
_GLYPHS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
# Words of the scenes, questions, options and prompts.
_WORDS = """
USER ASSISTANT
a an the of on in at to and or is are do does have there this that it any no yes not same different
what which where who how many much letter letters word text number color shape size kind
say says written read
left right above below between near next top bottom middle side corner
card cards sign signs object objects picture image scene page form chart bar bars
row rows column field value
circle square triangle star cross circles squares triangles stars crosses
small large smaller larger big
highest lowest more less most least than total sum difference first last
name date city code amount price year month day invoice order phone
answer with option s from given choices directly using single phrase please list all
black white gray brown
question only correct nothing else reference ocr token higher lower closer
""".split()
# Capitalised words; the tokenizer reads each of them as its lower-case word.
_SENTENCE_STARTS = (
    "What",
    "Which",
    "Where",
    "Who",
    "How",
    "Is",
    "Are",
    "Do",
    "Does",
    "Answer",
    "Please",
    "List",
    "The",
    "Yes",
    "No",
    "Reference",
    "OCR",
)


def words() -> list[str]:
    """Return every word of the vocabulary, in the order of token ids.

    Special tokens come first. No word occurs twice.
    """
    return list(dict.fromkeys((*_SPECIAL, *_PUNCTUATION, *_GLYPHS, *COLORS, *SHAPES, *_WORDS)))


def build_tokenizer(
    special: dict[str, str], *, bos: str | None = "<s>", eos: str = "</s>"
) -> PreTrainedTokenizerFast:
    """Build the word-level tokenizer of the tiny VLMs.

    A newline is a token, as in the real chat templates.

    Args:
        special: the tokens of a family's prompts by attribute: ``{"image_token": "<image>"}`` gives
            ``tokenizer.image_token``. Tokens outside the shared vocabulary get the ids after it, so
            word ids are the same in every family.
        bos: token in front of every prompt, or None.
        eos: token that ends an answer.
    """
    vocabulary = {word: index for index, word in enumerate(words())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))

    # "What" and "what" are one word, so that the model learns it once.
    lower_cased = [
        normalizers.Replace(Regex(rf"\b{start}\b"), start.lower()) for start in _SENTENCE_STARTS
    ]
    tokenizer.normalizer = normalizers.Sequence(lower_cased)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[ \t]+"), "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )

    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token=bos,
        eos_token=eos,
        padding_side="left",  # answers are generated behind the prompts of a batch
        extra_special_tokens=special,
        model_max_length=2048,
    )
