"""The personas of a run for search and selection; read again when their file changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from aloe.report.data import text
from aloe.report.explorer import clip
from aloe.studio.growing import GrowingFile, parse_row
from aloe.types import Persona

Elsewhere = Callable[[], Iterable[Persona]]


class People:
    """Personas by id, in the order of the file. Thread-safe.

    Args:
        path: ``personas.jsonl`` of the run.
        elsewhere: more personas, asked for once: those that a benchmark took from another file.
    """

    def __init__(self, path: Path, elsewhere: Elsewhere = tuple) -> None:
        self._file = GrowingFile(path)
        self._more = elsewhere
        self._extra: list[Persona] | None = None
        self._own: dict[str, Persona] = {}
        self._about: dict[str, str] = {}
        self._lock = threading.Lock()

    def all(self) -> dict[str, Persona]:
        """Every persona by id."""
        with self._lock:
            return dict(self._refresh())

    def get(self, persona_id: str) -> Persona | None:
        with self._lock:
            return self._own.get(persona_id) or self._refresh().get(persona_id)

    def matching(self, words: str) -> set[str]:
        """Ids of the personas whose id, profile or personality holds ``words`` (lower case)."""
        with self._lock:
            self._refresh()
            return {persona_id for persona_id, about in self._about.items() if words in about}

    def _refresh(self) -> dict[str, Persona]:
        if self._file.look():
            self._own.clear()
            self._about.clear()
            self._extra = None
        for _, line in self._file.read_new():
            row = parse_row(line) or {}
            self._add(row)
        if self._extra is None:
            self._extra = list(self._more())
            for persona in self._extra:
                self._put(persona)
        return self._own

    def _add(self, row: dict[str, object]) -> None:
        try:
            persona = Persona.model_validate(row)
        except ValidationError:  # of a neighbouring version: what can be shown is shown
            if not text(row.get("persona_id")):
                return
            fields = {name: text(row.get(name)) for name in ("persona_id", "profile", "personality")}
            persona = Persona(**fields, profile_id="", personality_id="")
        self._put(persona)

    def _put(self, persona: Persona) -> None:
        if persona.persona_id not in self._own:
            self._own[persona.persona_id] = persona
            self._about[persona.persona_id] = "\n".join(
                (persona.persona_id, persona.profile, persona.personality)
            ).lower()


def card(persona: Persona | None) -> list[str] | None:
    """Profile and personality as the page's script reads them."""
    return None if persona is None else [clip(persona.profile), clip(persona.personality)]
