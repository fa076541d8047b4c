"""Pairs and SFT conversations as rows and files in the formats of other tools.

TRL: conversational ``prompt``/``chosen``/``rejected`` and ``messages``. OpenAI: preference fine-tuning JSONL
(``input``, ``preferred_output``, ``non_preferred_output``) and chat fine-tuning JSONL. ShareGPT: ``conversations`` of
``from``/``value`` with ``chosen`` and ``rejected``, beside LLaMA-Factory's ``dataset_info.json``. In all of them the
history is the one that the user really answered, and only the last reply of an SFT conversation is meant as target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from aloe.dialogue.pairs import as_row, dpo_schema, sft_schema
from aloe.export.select import DataSet
from aloe.store.records import write_json, write_jsonl, write_parquet
from aloe.types import Message, PreferencePair, SFTExample

Row = dict[str, Any]
_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


def _chat(messages: Sequence[Message]) -> list[Row]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _sharegpt(messages: Sequence[Message]) -> list[Row]:
    return [{"from": _SPEAKERS[m.role], "value": m.content} for m in messages]


def openai_preference(pair: PreferencePair) -> Row:
    return {
        "input": {"messages": _chat(pair.prompt), "tools": [], "parallel_tool_calls": True},
        "preferred_output": _chat(pair.chosen),
        "non_preferred_output": _chat(pair.rejected),
    }


def openai_sft(example: SFTExample) -> Row:
    """Earlier replies get weight 0: only the last one is learned."""
    messages = _chat(example.messages)
    for message in messages[:-1]:
        if message["role"] == "assistant":
            message["weight"] = 0
    return {"messages": messages}


def sharegpt_preference(pair: PreferencePair) -> Row:
    return {
        "conversations": _sharegpt(pair.prompt),
        "chosen": _sharegpt(pair.chosen)[-1],
        "rejected": _sharegpt(pair.rejected)[-1],
    }


def sharegpt_sft(example: SFTExample) -> Row:
    return {"conversations": _sharegpt(example.messages)}


def drop_other_splits(out: Path, pattern: str, splits: Iterable[str]) -> None:
    """Remove what an earlier export left of splits that no longer exist: its rows are now in another split.

    Args:
        pattern: the files of a split below ``out``, with ``{}`` for its name.
    """
    for split in {"train", "validation"} - set(splits):
        for old in out.glob(pattern.format(split)):
            old.unlink()


def write_trl(data: DataSet, out: Path) -> list[Path]:
    """``preference.SPLIT`` and ``sft.SPLIT``, each as Parquet and as JSONL with equal rows."""
    written: list[Path] = []
    for name, by_split, schema in (("preference", data.pairs, dpo_schema()), ("sft", data.examples, sft_schema())):
        for split, records in by_split.items():
            rows = [as_row(r) for r in records]  # type: ignore[attr-defined]
            parquet, jsonl = out / f"{name}.{split}.parquet", out / f"{name}.{split}.jsonl"
            write_parquet(parquet, rows, schema)
            write_jsonl(jsonl, rows)
            written += [parquet, jsonl]
    drop_other_splits(out, "*.{}.*", data.pairs)
    return written


def _write_lines(
    data: DataSet,
    out: Path,
    pair_row: Callable[[PreferencePair], Row],
    example_row: Callable[[SFTExample], Row],
) -> list[Path]:
    written: list[Path] = []
    for split in data.pairs:
        for name, rows in (
            ("preference", map(pair_row, data.pairs[split])),
            ("sft", map(example_row, data.examples[split])),
        ):
            path = out / f"{name}.{split}.jsonl"
            write_jsonl(path, _as_rows(rows))
            written.append(path)
    drop_other_splits(out, "*.{}.jsonl", data.pairs)
    return written


def _as_rows(rows: Iterable[Row]) -> Iterable[Row]:
    return rows


def write_openai(data: DataSet, out: Path) -> list[Path]:
    """JSONL files for preference fine-tuning and for supervised fine-tuning."""
    return _write_lines(data, out, openai_preference, openai_sft)


def write_sharegpt(data: DataSet, out: Path) -> list[Path]:
    """JSONL files and the ``dataset_info.json`` that LLaMA-Factory reads (train SFT with ``mask_history: true``)."""
    written = _write_lines(data, out, sharegpt_preference, sharegpt_sft)
    info: Row = {}
    for split in data.pairs:
        end = "" if split == "train" else f"_{split}"
        info[f"aloe_preference{end}"] = {
            "file_name": f"preference.{split}.jsonl",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        }
        info[f"aloe_sft{end}"] = {
            "file_name": f"sft.{split}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
        }
    write_json(out / "dataset_info.json", info)
    return [*written, out / "dataset_info.json"]


# What ``aloe export --format`` writes, by name; ``hub`` and ``published`` need more than the data set: see there.
FORMATS: dict[str, Callable[[DataSet, Path], list[Path]]] = {
    "trl": write_trl,
    "sharegpt": write_sharegpt,
    "openai": write_openai,
}
