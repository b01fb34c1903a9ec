"""Columns and types of the published data sets, from their cards.

The miniatures have these columns, and the tests read them.
"""

from datasets import Image, Sequence, Value

_STR, _PICTURE = Value("string"), Image()
_TEXTS = Sequence(_STR)
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
}
