"""Writes a data set folder: Parquet by split, and a card with its contents and origin.

``datasets.load_dataset(folder)`` opens the preference pairs, ``load_dataset(folder, "sft")`` the SFT conversations;
the same folder can be pushed to a hub as it is. The card holds counts, models, prompt hashes, licence and statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.config import digest
from aloe.dialogue.pairs import as_row, dpo_schema, sft_schema
from aloe.export.formats import drop_other_splits
from aloe.export.select import DataSet, count_by_turn, length_report
from aloe.store.records import atomic_write, write_parquet
from aloe.types import PreferencePair, SFTExample


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the card says about the origin of the data.

    Attributes:
        models: role -> the models that played it. prompts: prompt name -> hash.
        statistics: the statistics of stage trees (shares that need no ground truth). licence: an SPDX id or "other".
    """

    models: Mapping[str, list[str]] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, float | None] = field(default_factory=dict)
    licence: str = "other"
    language: str = "en"
    seed: int = 0
    version: str = ""


def write_hub(data: DataSet, out: Path, provenance: Provenance, name: str) -> list[Path]:
    """Write the folder; returns its files."""
    written: list[Path] = []
    for config, by_split, schema in (("preference", data.pairs, dpo_schema()), ("sft", data.examples, sft_schema())):
        for split, records in by_split.items():
            path = out / _data_file(config, split, records)
            for old in path.parent.glob(f"{split}-*.parquet"):
                old.unlink()
            write_parquet(path, [as_row(r) for r in records], schema)  # type: ignore[attr-defined]
            written.append(path)
    drop_other_splits(out, "data/*/{}-*.parquet", data.pairs)
    with atomic_write(out / "README.md") as file:
        file.write(card(data, provenance, name).encode())
    return [*written, out / "README.md"]


def _data_file(config: str, split: str, records: Sequence[PreferencePair | SFTExample]) -> str:
    """Path of a split, by content: ``datasets`` caches by file names and would show an older export."""
    ids = [r.pair_id if isinstance(r, PreferencePair) else r.example_id for r in records]
    return f"data/{config}/{split}-{digest(ids)[:8]}.parquet"


def _header(data: DataSet, provenance: Provenance, name: str) -> str:
    """The card's YAML: what a hub and ``load_dataset`` read. Values are quoted as JSON strings, which YAML reads."""
    lines = ["---", f"pretty_name: {_quoted(name)}", f"license: {_quoted(provenance.licence)}", "language:"]
    lines += [f"- {_quoted(provenance.language)}", "task_categories:", "- text-generation", "tags:"]
    lines += [f"- {tag}" for tag in ("preference", "dpo", "personalisation", "multi-turn", "synthetic")]
    lines.append("configs:")
    for config, by_split in (("preference", data.pairs), ("sft", data.examples)):
        lines.append(f"- config_name: {config}")
        if config == "preference":
            lines.append("  default: true")
        lines.append("  data_files:")
        for split, records in by_split.items():
            lines += [f"  - split: {split}", f"    path: {_data_file(config, split, records)}"]
    return "\n".join([*lines, "---", ""])


def _quoted(text: str) -> str:
    import json

    return json.dumps(" ".join(text.split()))


def _table(columns: tuple[str, str], rows: list[tuple[Any, Any]]) -> list[str]:
    cells = [f"| {_cell(a)} | {_cell(b)} |" for a, b in rows]
    return [f"| {columns[0]} | {columns[1]} |", "|---|---|", *cells, ""]


def _cell(value: Any) -> str:
    text = "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def card(data: DataSet, provenance: Provenance, name: str) -> str:
    """The card's whole text."""
    lines = [f"# {' '.join(name.split())}", ""]
    lines += [
        "Multi-turn preference pairs from simulated conversations between a user with a persona and assistants.",
        "",
    ]
    lines += [
        "The texts were written by language models or by a simulated world; no person took part.",
        "",
        "## Use",
        "",
    ]
    lines += ["```python", "from datasets import load_dataset", "", 'pairs = load_dataset("PATH_OR_ID")']
    lines += ['conversations = load_dataset("PATH_OR_ID", "sft")', "```", ""]
    lines += ["`prompt`, `chosen` and `rejected` are messages, as TRL's DPOTrainer takes them. In `sft`, only the last"]
    lines += ["message of `messages` is a target: the replies before it are those that the user really answered.", ""]
    lines += ["## Counts", ""]
    counts: list[tuple[Any, Any]] = [("trees", data.n_trees)]
    for split in data.pairs:
        counts += [(f"pairs, {split}", len(data.pairs[split])), (f"conversations, {split}", len(data.examples[split]))]
    counts += [(f"left out: {why}", n) for why, n in sorted(data.dropped.items())]
    lines += _table(("what", "n"), counts)
    lines += ["Pairs by turn: " + (", ".join(f"{k}: {n}" for k, n in count_by_turn(data.all_pairs).items()) or "none")]
    lines += ["", "Splits share no profile.", "", "## Origin", ""]
    lines += _table(("role", "model"), [(role, ", ".join(uris)) for role, uris in provenance.models.items()])
    lines += [f"Labels by `{data.labeler}`. Seed {provenance.seed}. aloe {provenance.version}.", ""]
    lines += _table(("prompt", "hash"), list(provenance.prompts.items()))
    lines += ["## Statistics", ""]
    lines += _table(("statistic", "value"), [*provenance.statistics.items()])
    lines += ["Length of the replies in characters; where `length_accuracy` is high, length alone gives the preference"]
    lines += ["away (0.5 would not help at all):", ""]
    lines += _table(("length", "value"), list(length_report(data.all_pairs).items()))
    return _header(data, provenance, name) + "\n".join(lines)
