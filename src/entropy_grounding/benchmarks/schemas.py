"""Columns and types of the published data sets, from their cards.

The miniatures have these columns, and the tests read them.
"""

from datasets import Image, Sequence, Value

_STR, _PICTURE = Value("string"), Image()
_TEXTS = Sequence(_STR)
# Pictures of HR-Bench and MME-RealWorld-Lite are base64 text. The names of their columns are those
# that the authors' and lmms-eval's code reads; numbers may also be texts, which the readers take.
_HR_BENCH = {
    "index": Value("int64"),
    "question": _STR,
    "answer": _STR,
    "category": _STR,
    "A": _STR,
    "B": _STR,
    "C": _STR,
    "D": _STR,
    "cycle_category": _STR,
    "image": _STR,
}
SCHEMAS = {
    "textvqa": {
        "image_id": _STR,
        "question_id": Value("int32"),
        "question": _STR,
        "question_tokens": _TEXTS,
        "image": _PICTURE,
        "image_width": Value("int32"),
        "image_height": Value("int32"),
        "flickr_original_url": _STR,
        "flickr_300k_url": _STR,
        "answers": _TEXTS,
        "image_classes": _TEXTS,
        "set_name": _STR,
        "ocr_tokens": _TEXTS,
    },
    "vstar": {
        "image": _PICTURE,
        "text": _STR,
        "category": _STR,
        "label": _STR,
        "question_id": _STR,
    },
    "docvqa": {
        "questionId": _STR,
        "question": _STR,
        "question_types": _TEXTS,
        "image": _PICTURE,
        "docId": Value("int64"),
        "ucsf_document_id": _STR,
        "ucsf_document_page_no": _STR,
        "answers": _TEXTS,
        "data_split": _STR,
    },
    "infovqa": {
        "questionId": _STR,
        "question": _STR,
        "answers": _TEXTS,
        "answer_type": _TEXTS,
        "image": _PICTURE,
        "image_url": _STR,
        "operation/reasoning": _TEXTS,
        "ocr": _STR,
        "data_split": _STR,
    },
    "pope": {
        "id": _STR,
        "question_id": _STR,
        "question": _STR,
        "answer": _STR,
        "image_source": _STR,
        "image": _PICTURE,
        "category": _STR,
    },
    "realworldqa": {"image": _PICTURE, "question": _STR, "answer": _STR},
    "gqa": {
        "id": _STR,
        "imageId": _STR,
        "question": _STR,
        "answer": _STR,
        "fullAnswer": _STR,
        "isBalanced": Value("bool"),
        "semanticStr": _STR,
    },
    "gqa_images": {"id": _STR, "image": _PICTURE},
    **dict.fromkeys(("hr_bench_4k", "hr_bench_8k"), _HR_BENCH),
    "mme_realworld_lite": {
        "index": Value("int64"),
        "bytes": _STR,
        "question": _STR,
        "multi-choice options": _TEXTS,
        "answer": _STR,
        "category": _STR,
        "l2-category": _STR,
    },
}
