"""A word-level tokenizer with byte fallback and a prefix-stable chat template, in the usual HF layout.

Each known word is one token that carries its leading space; anything unknown falls back to bytes, so that
every text round-trips. A Unigram model with equal scores does this: the fewest pieces win, and whole words are
one piece. Every message begins with a (virtual) space, so that a word has one embedding wherever it stands.

Invariants: ``render(prompt, generation prompt)`` is a token prefix of ``render(prompt + reply)``, which is one
of ``render(prompt + reply + next message)``; the assistant's tokens, its end token included, lie between
generation markers, so that TRL can mask everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aloe.errors import DataError

BEGIN, END, PAD, UNKNOWN = "<|begin|>", "<|end|>", "<|pad|>", "<|unknown|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
DOCUMENT = "<|document|>"
SPECIAL = (PAD, BEGIN, END, UNKNOWN, *ROLES.values(), DOCUMENT)
_PIECE = r" ?\p{L}+(?:'\p{L}+)*| ?\p{N}+| ?[^\s\p{L}\p{N}]|\s"

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{%- else -%}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def split_words(texts: Iterable[str]) -> Counter[str]:
    """The pieces that the tokenizer would see, with their counts."""
    from tokenizers import pre_tokenizers

    splitter = _splitter(pre_tokenizers)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(piece for piece, _ in splitter.pre_tokenize_str(" " + text))
    return counts


def _splitter(pre_tokenizers: Any) -> Any:
    from tokenizers import Regex

    return pre_tokenizers.Split(Regex(_PIECE), "isolated")


def build_tokenizer(texts: Iterable[str], max_words: int = 8192) -> Any:
    """A ``PreTrainedTokenizerFast`` whose words are those of ``texts`` (the most frequent ``max_words``).

    Deterministic in the multiset of texts: words are ordered by count, then alphabetically.

    Raises:
        DataError: no text, so no words.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    counts = split_words(texts)
    if not counts:
        raise DataError("no text to build a tokenizer from", "give at least one document")
    words = sorted(counts, key=lambda word: (-counts[word], word))[:max_words]
    # a word's score is equal for all (fewest pieces win); bytes are far below, so only the unknown uses them
    vocabulary = [(token, 0.0) for token in SPECIAL]
    vocabulary += [(f"<0x{byte:02X}>", -100.0) for byte in range(256)]
    vocabulary += [(word, -1.0) for word in words]
    core = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index(UNKNOWN), byte_fallback=True))
    # any first character gets a space before it, so that a leading word is the same token as an inner one
    core.normalizer = normalizers.Prepend(" ")
    core.pre_tokenizer = _splitter(pre)
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace(Regex(r"\A "), "")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=[*ROLES.values(), DOCUMENT],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
