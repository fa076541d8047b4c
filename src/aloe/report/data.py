"""Reads a run directory for the report; files may be missing, damaged or incomplete.

What can't be read becomes a line in ``RunData.problems`` and is shown on the page; the rest of the run is shown
as it is. Rows stay plain dicts, so that a run written by a neighbouring version still opens. Files in,
plain values out; no models, no journal.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aloe.bench.scales import SCALES, Scale
from aloe.config.files import parse_json, parse_toml
from aloe.training.methods import CHECKPOINTS

Row = dict[str, Any]

#: The order in which trained models are read; other models follow, controls last.
TRAINED = CHECKPOINTS
CONTROLS = ("generic", "swapped", "knows-all", "oracle")
MAX_PROBLEMS = 40


@dataclass(slots=True)
class BenchModel:
    """One model of the benchmark: its result, its score rows, where its conversations are."""

    name: str
    folder: Path
    result: Row = field(default_factory=dict)
    scores: list[Row] = field(default_factory=list)

    @property
    def is_control(self) -> bool:
        return self.name in CONTROLS or str(self.result.get("uri", "")).startswith("world:")

    @property
    def scale(self) -> Scale:
        """The scale of the judge's scores; 1 to 5 where the result does not say."""
        return SCALES.get(text(self.result.get("scale")), SCALES["1-5"])

    @property
    def points(self) -> list[Row]:
        found = [p for p in self.result.get("points") or () if isinstance(p, dict) and number(p.get("k"))]
        return sorted(found, key=lambda p: float(p["k"]))


@dataclass(slots=True)
class RunData:
    """A run as far as it could be read."""

    path: Path
    manifest: Row = field(default_factory=dict)
    config: Row = field(default_factory=dict)
    config_text: str = ""
    bench: list[BenchModel] = field(default_factory=list)
    metrics: dict[str, list[Row]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def stages(self) -> dict[str, Row]:
        found = self.manifest.get("stages")
        return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}

    def rows(self, name: str) -> Iterator[Row]:
        """Rows of one JSONL file of the run, or of its growing neighbour while the stage still runs."""
        path = self.path / name
        if not path.is_file():
            path = path.with_suffix(".partial.jsonl")
        return read_rows(path, self.problems, self.path)

    def has(self, name: str) -> bool:
        path = self.path / name
        return path.is_file() or path.with_suffix(".partial.jsonl").is_file()


def is_logged(model: BenchModel) -> bool:
    """Whether a model's conversations were had elsewhere, with people."""
    return model.result.get("user_model") == "logged"


def read_run(run_dir: Path) -> RunData:
    """Read the small files of a run; trees and conversations are streamed later through ``rows``."""
    run = RunData(run_dir)
    manifest = read_json(run_dir / "manifest.json", run.problems, run_dir)
    run.manifest = manifest if isinstance(manifest, dict) else {}
    run.config_text = _read_text(run_dir / "config.toml", run.problems, run_dir)
    try:
        run.config = parse_toml(run.config_text)
    except tomllib.TOMLDecodeError as error:
        note(run.problems, f"config.toml is not valid TOML ({error})")
    for folder in folders(run_dir / "bench"):
        result = read_json(folder / "result.json", run.problems, run_dir)
        scores = list(run.rows(f"bench/{folder.name}/scores.jsonl"))
        model = BenchModel(folder.name, folder, result if isinstance(result, dict) else {}, scores)
        if model.result or model.scores or run.has(f"bench/{folder.name}/conversations.jsonl"):
            run.bench.append(model)
    run.bench.sort(key=_model_order)
    for folder in folders(run_dir / "checkpoints"):
        rows = list(run.rows(f"checkpoints/{folder.name}/metrics.jsonl"))
        if rows:
            run.metrics[folder.name] = rows
    run.metrics = dict(sorted(run.metrics.items(), key=lambda item: _place(item[0])))
    return run


def read_rows(path: Path, problems: list[str], root: Path) -> Iterator[Row]:
    """Every line of a JSONL file that is an object. Others are noted; a torn last line is not even that."""
    if not path.is_file():
        return
    shown = _relative(path, root)
    try:
        with open(path, "rb") as file:
            for line_number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = _parse(line)
                if isinstance(row, dict):
                    yield row
                elif line.endswith(b"\n"):
                    note(problems, f"{shown}, line {line_number}: not a JSON object, left out")
    except OSError as error:
        note(problems, f"{shown} cannot be read ({error.strerror})")


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(value: Any) -> tuple[float, float] | None:
    """A pair of finite numbers, or None."""
    if isinstance(value, list | tuple) and len(value) == 2:
        low, high = number(value[0]), number(value[1])
        if low is not None and high is not None:
            return low, high
    return None


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def note(problems: list[str], line: str) -> None:
    if len(problems) < MAX_PROBLEMS:
        problems.append(line)
    elif len(problems) == MAX_PROBLEMS:
        problems.append("and more of the same")


def mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def scale_of(models: Iterable[BenchModel]) -> Scale | None:
    """The one scale that all models were scored on; None where there are several (1 to 5 where there is no model)."""
    scales = {m.scale for m in models} or {SCALES["1-5"]}
    return scales.pop() if len(scales) == 1 else None


def family(name: str) -> str:
    """``dpo-seed1`` -> ``dpo``: which trained model a checkpoint is a variant of; itself if none."""
    for known in sorted(TRAINED, key=len, reverse=True):
        if name == known or re.match(rf"{known}[-_.]", name):
            return known
    return name


def _model_order(model: BenchModel) -> tuple[int, str]:
    if model.name in CONTROLS:
        return 100 + CONTROLS.index(model.name), model.name
    return _place(model.name)


def _place(name: str) -> tuple[int, str]:
    kind = family(name)
    return (TRAINED.index(kind) if kind in TRAINED else 50), name


def _parse(line: bytes) -> Any:
    """A JSON value; also with NaN or lone surrogates, which strict readers refuse. None if it is not JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return _clean(parse_json(line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _read_text(path: Path, problems: list[str], root: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        note(problems, f"{_relative(path, root)} cannot be read ({error.strerror})")
        return ""


def read_json(path: Path, problems: list[str], root: Path) -> Any:
    """What a JSON file holds; None, with a line in ``problems``, where it can't be read."""
    raw = _read_text(path, problems, root)
    if not raw:
        return None
    value = _parse(raw.encode("utf-8", "replace"))
    if value is None:
        note(problems, f"{_relative(path, root)} is not valid JSON")
    return value


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
