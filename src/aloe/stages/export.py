"""Stage ``export``: preference pairs and SFT conversations from trees and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aloe.config import Config
from aloe.dialogue.pairs import as_row, dpo_schema, sft_schema
from aloe.errors import DataError
from aloe.stages.context import Context, read_personas
from aloe.store.records import write_parquet

if TYPE_CHECKING:
    from aloe.export.select import Selection


def selection_of(config: Config) -> Selection:
    """Which labels of a run become pairs."""
    from aloe.export.select import Selection

    options = config.export
    margin = config.trees.min_margin if options.min_margin is None else options.min_margin
    return Selection(options.labeler or config.roles.judge[0].uri, margin, options.max_length_ratio, options.evidenced)


def run_export(context: Context) -> dict[str, Any]:
    """Preference pairs and SFT conversations from trees and labels."""
    from aloe.export.select import length_report, read_data_set

    run = context.run
    source, out = run.stage_dir("trees"), run.stage_dir("datasets")
    data = read_data_set(source, read_personas(run, "train"), selection_of(context.config))
    pairs, examples = data.all_pairs, data.all_examples
    if not pairs:
        raise DataError(
            f"{source} contains no preferences by {data.labeler} (left out: {dict(data.dropped)})",
            "check labels.jsonl, the judge and the filters of [export]",
        )
    write_parquet(out / "dpo.parquet", [as_row(p) for p in pairs], dpo_schema())
    write_parquet(out / "sft.parquet", [as_row(e) for e in examples], sft_schema())
    dropped = dict(sorted(data.dropped.items()))
    return {"n_pairs": len(pairs), "n_sft": len(examples), "dropped": dropped, "length": length_report(pairs)}
