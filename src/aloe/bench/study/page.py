"""Writes a study: a page per rater that needs nothing from outside, and the key that stays with whoever runs it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from aloe.bench.study.design import StudyItem, Talks, shown_items, study_id
from aloe.errors import DataError
from aloe.store.records import write_json
from aloe.types import Persona

KEY = "key.json"
PAGES = "pages"
CONSENT = (
    "You will read conversations between a person and an assistant, and say which assistant suits that person better, "
    "or how well a reply suits them. Nothing about you is recorded except your answers and how long they took. You may "
    "stop at any time; then close the page and send nothing."
)


def rater_name(number: int) -> str:
    """The name by which a rater's page and answers are known, from 0."""
    return f"rater-{number + 1:03}"


def write_study(
    out: Path,
    raters: Sequence[Sequence[StudyItem]],
    talks: Talks,
    people: Mapping[str, Persona],
    *,
    seed: int = 0,
    consent: str = CONSENT,
) -> str:
    """Write ``out/pages/rater-NNN.html`` and ``out/key.json``; returns the study's id.

    Raises:
        DataError: ``out`` holds a study already, or a persona is not among ``people``.
    """
    if (out / KEY).exists():
        raise DataError(f"{out} already contains a study", "choose another --out: its answers belong to its key")
    name = study_id(raters, seed)
    pages = [_page(name, rater_name(n), shown_items(items, talks, people), consent) for n, items in enumerate(raters)]
    (out / PAGES).mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        (out / PAGES / f"{rater_name(number)}.html").write_text(page, "utf-8")
    key = {
        "study": name,
        "folders": {model: talk.model for (model, _), talk in talks.items()},
        "raters": {rater_name(n): [asdict(item) for item in items] for n, items in enumerate(raters)},
    }
    write_json(out / KEY, key)
    return name


def _page(study: str, rater: str, items: list[dict[str, Any]], consent: str) -> str:
    template = resources.files("aloe.bench.study").joinpath("page.html").read_text("utf-8")
    style, script = (template.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0] for tag in ("style", "script"))
    data = json.dumps({"study": study, "rater": rater, "items": items}, ensure_ascii=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    filled = {"POLICY": policy, "CONSENT": escape(consent), "DATA": data}
    for mark, text in filled.items():  # the data last: texts of models may hold anything
        template = template.replace(f"@@{mark}@@", text, 1)
    return template


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
