"""Saves and loads checkpoints: HF layout, safetensors, a model card, the resolved settings."""

from __future__ import annotations

import json
import os
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

from aloe.errors import DataError

_loading = threading.Lock()  # transformers imports its parts when they are asked for, which two threads must not do


def quiet() -> None:
    """No progress bars and notices of transformers for models that load in milliseconds."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _auto_class(name: str) -> Any:
    """One of transformers' Auto classes, without its notices."""
    with _loading:
        import transformers

        quiet()
        return getattr(transformers, name)


def load_tokenizer(path: str | Path) -> Any:
    """``AutoTokenizer`` with a pad token and padding on the left, for any model.

    Raises:
        DataError: there is no tokenizer at ``path``.
    """
    auto = _auto_class("AutoTokenizer")
    try:
        tokenizer = auto.from_pretrained(str(path), padding_side="left", trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"no tokenizer at '{path}': {reason}", "give a directory in HF layout or a model id") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def base_of(path: str | Path) -> str:
    """The path or id of the model whose config holds: an adapter's base model, anything else itself."""
    file = Path(path) / "adapter_config.json"
    try:
        found = json.loads(file.read_text("utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return str(path)
    return str(found or path)


def load_model(path: str | Path, dtype: str = "float32", *, trainable: bool = False) -> Any:
    """``AutoModelForCausalLM`` from a directory or an id; LoRA adapters load on top of their base model.

    Args:
        dtype: of the weights, a name of torch's; auto: as they were saved.
        trainable: an adapter's weights are to be trained further; else they are added to its base model's where that is
            float32 (shorter formats would round small changes away).

    Raises:
        DataError: there is no model at ``path``.
    """
    import torch
    from safetensors import SafetensorError

    auto = _auto_class("AutoModelForCausalLM")
    kind = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        if (Path(path) / "adapter_config.json").is_file():
            from peft import AutoPeftModelForCausalLM

            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # of peft
            adapted = AutoPeftModelForCausalLM.from_pretrained(
                str(path), dtype=kind, is_trainable=trainable, trust_remote_code=False
            )
            return adapted if trainable or adapted.dtype != torch.float32 else adapted.merge_and_unload()
        return auto.from_pretrained(str(path), dtype=kind, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"no model at '{path}': {reason}", "give a directory in HF layout or a model id") from error


def save_checkpoint(model: Any, tokenizer: Any, out_dir: Path, card: str, resolved: dict[str, Any]) -> None:
    """Write model, tokenizer, model card and resolved settings to ``out_dir``, all or nothing.

    The files are written beside ``out_dir`` and moved in last, so that a killed save leaves no half checkpoint.
    """
    quiet()
    temporary = out_dir / ".saving"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_pretrained(temporary, safe_serialization=True)
    tokenizer.save_pretrained(temporary)
    (temporary / "README.md").write_text(card, "utf-8")
    (temporary / "aloe.json").write_text(json.dumps(resolved, indent=2, sort_keys=True) + "\n", "utf-8")
    names = sorted(path.name for path in temporary.iterdir())
    # config.json last: without it the directory is not a checkpoint
    for name in sorted(names, key=lambda n: n == "config.json"):
        os.replace(temporary / name, out_dir / name)
    temporary.rmdir()


def model_card(title: str, summary: str, table: dict[str, Any]) -> str:
    """A short README for a checkpoint: what it is, how it was made, and what it is not."""
    rows = "\n".join(f"| {key} | {value} |" for key, value in table.items())
    return (
        f"---\nlibrary_name: transformers\ntags: [aloe]\n---\n# {title}\n\n{summary}\n\n"
        f"| setting | value |\n|---|---|\n{rows}\n"
    )
