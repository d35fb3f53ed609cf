"""Text, from its sources to token streams: collect, clean, deduplicate, mix, tokenize; and what is known of it."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "corpora": "prepare Prepared",
    "sources": "collect collect_from mix",
    "local": "",
    "rows": "",
    "characters": "",
    "clean": "",
    "redaction": "",
    "documents": "",
    "duplicates": "near_duplicates",
    "shared": "shared_runs",
    "tokens": "ByteTokenizer BPETokenizer train_bpe batches",
    "quality": "",
    "difficulty": "",
    "language": "Language",
    "cards": "data_card",
    "wheels": "",
})  # fmt: skip
