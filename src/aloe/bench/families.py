"""Families of models by their names: a judge may favour replies of its own family (self-preference)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

#: Family and what names of its models hold, as whole words: letters end where digits or punctuation begin.
_NAMES: tuple[tuple[str, str], ...] = (
    ("GPT", r"gpt|chatgpt|o[134](?:-mini|-pro)?"),
    ("Claude", r"claude"),
    ("Gemini and Gemma", r"gemini|gemma"),
    ("SmolLM", r"smollm"),
    ("Qwen", r"qwen|qwq"),
    ("Mistral", r"mistral|mixtral|ministral|codestral|magistral"),
    ("DeepSeek", r"deepseek"),
    ("Phi", r"phi"),
    ("OLMo", r"olmo|tulu"),
    ("Llama", r"llama"),
    ("Command", r"command|aya"),
    ("Grok", r"grok"),
    ("Nemotron", r"nemotron"),
    ("GLM", r"glm|chatglm"),
    ("Kimi", r"kimi"),
    ("Granite", r"granite"),
)
_PATTERNS = tuple(
    (family, re.compile(rf"(?<![a-z])(?:{names})(?![a-z])(?!(?<=o\d)\d)", re.I)) for family, names in _NAMES
)
_LAST_FOLDERS = 3  # of a path: those above say where it is, not what it is


def family_of(uri: str, look: bool = True) -> str | None:
    """The family of a model by its URI: the first of its name's parts that one is known by; None for no such name.

    ``hf:`` folders: the model that training started from, where ``aloe.json`` beside the weights (or beside those of
    the run's SFT) names it. The simulated world is no family: it plays every role by rules that are documented.

    Args:
        look: whether folders may be looked into; otherwise only the name counts.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "world":
        return None
    name = rest.partition("?")[0]
    if look and scheme == "hf" and Path(name.partition("+")[0]).is_dir():
        name = _origin(Path(name.partition("+")[0])) or name
    shown = "/".join(name.rstrip("/").split("/")[-_LAST_FOLDERS:])
    found = [(match.start(), family) for family, pattern in _PATTERNS if (match := pattern.search(shown))]
    # "DeepSeek-R1-Distill-Qwen": the last name is what its weights were
    return max(found)[1] if found else None


def _origin(folder: Path) -> str | None:
    for place in (folder, folder.parent / "sft"):
        try:
            model = json.loads((place / "aloe.json").read_text("utf-8")).get("config", {}).get("model")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(model, str):
            return model
    return None


def family_notes(
    judges: Sequence[str], users: Sequence[str], models: Sequence[tuple[str, str]], look: bool = True
) -> list[str]:
    """A line for each judge that shares a family with tested models, or with the simulated user.

    Args:
        judges, users: URIs. models: name and URI of each tested model. look: see ``family_of``.
    """
    lines = []
    for judge in judges:
        family = family_of(judge, look)
        if family is None:
            continue
        kin = [name for name, uri in models if family_of(uri, look) == family]
        if kin:
            lines.append(
                f"The judge {judge} and {', '.join(kin)} are of one family ({family}): a judge may favour its own."
            )
        if any(family_of(user, look) == family for user in users):
            lines.append(f"The judge {judge} and the simulated user are of one family ({family}).")
    return lines
