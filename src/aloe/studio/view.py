"""A talk and a run as plain values for the page and the terminal, without what must stay hidden."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from aloe.bench.scales import SCALES
from aloe.report import sections
from aloe.report.data import RunData, read_rows, text
from aloe.report.outcomes import stage_table
from aloe.store.rundir import RunDir
from aloe.studio.people import card
from aloe.studio.talk import LABELS, Spoken, Talk, Turn

LOG_LINES = 12


def view_talk(talk: Talk) -> dict[str, Any]:
    """Everything that may be seen of a talk now.

    In a comparison the models' names come with the end of blindness, the judge's scores with the choice.
    """
    scale = SCALES[talk.desk.config.bench.scale]
    place = {node: turn for turn, t in enumerate(talk.turns, 1) for node in t.state.node_ids[-1:]}
    latest = talk.last.state.node_id if talk.last is not None else ""
    return {
        "id": talk.talk_id,
        "labels": list(LABELS) if talk.is_comparison else [talk.choices[0].name],
        "names": [c.name for c in talk.choices] if talk.named else None,
        "comparison": talk.is_comparison,
        "persona": _persona(talk),
        "scale": [scale.low, scale.high],
        "turns": [_view_turn(talk, turn) for turn in talk.turns],
        "beliefs": [
            {
                "item": d.item,
                "kind": d.kind,
                "status": d.status,
                "evidence": d.evidence,
                "turn": place.get(d.evidence_node_ids[0]) if d.evidence_node_ids else None,
                "new": d.node_id == latest and latest in d.evidence_node_ids,
            }
            for d in talk.beliefs
        ],
    }


def _persona(talk: Talk) -> dict[str, Any] | None:
    return None if talk.persona is None else {"id": talk.persona.persona_id, "card": card(talk.persona)}


def _view_turn(talk: Talk, turn: Turn) -> dict[str, Any]:
    may_see_scores = talk.named or turn.choice is not None
    return {
        "user": turn.state.messages[-1].content,
        "simulated": turn.simulated,
        "replies": [_view_spoken(talk, spoken, may_see_scores) for spoken in turn.spoken],
        "kept": turn.kept,
        "choice": turn.choice,
        "believed": turn.believed,
        "belief_error": turn.belief_error,
    }


def _view_spoken(talk: Talk, spoken: Spoken, may_see_scores: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "text": spoken.text,
        "error": spoken.error if talk.named else blinded(spoken.error, talk),
        "judge_error": spoken.judge_error,
        "judged": spoken.judgement is not None,
    }
    if spoken.judgement is not None and may_see_scores:
        judgement = spoken.judgement
        found |= {"score": judgement.score, "parts": judgement.parts, "reason": judgement.reason}
    return found


def blinded(error: str, talk: Talk) -> str:
    """An error without what would tell which model it came from."""
    for choice in talk.choices:
        model = choice.model
        names = {choice.name, model.uri, model.uri.partition(":")[2], model.base_url or ""} - {""}
        for name in sorted(names, key=len, reverse=True):
            error = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", "(hidden)", error)
    return error


def view_run(path: Path) -> dict[str, Any]:
    """How far the run is: stages, their outcomes, the latest events of its log."""
    data = RunData(path)
    run = RunDir(path)
    try:
        data.manifest = run.manifest()
    except ValueError as error:  # it is being replaced, or damaged: said, not raised
        data.problems.append(str(error))
    done = {row["name"]: row for row in stage_table(data)}
    events = [_event(row) for row in read_rows(run.log_path, data.problems, path)]
    stages = []
    for name in dict.fromkeys([*data.manifest.get("order", ()), *done]):
        last = next((e for e in reversed(events) if e["stage"] == name), None)
        state = "done" if name in done else ""
        if last is not None and last["event"] != "stage_finished":
            going = "stopped" if is_worked_on(path) is False else "running"
            state = {"stage_started": going, "stage_failed": "failed"}.get(last["event"], state)
        stages.append({"name": name, "state": state, **{k: v for k, v in done.get(name, {}).items() if k != "name"}})
    return {
        "name": path.resolve().name,
        "stages": stages,
        "events": events[-LOG_LINES:],
        "problems": data.problems,
        "report": (run.report_path).is_file(),
    }


def is_worked_on(path: Path) -> bool | None:
    """Whether a process holds the run's lock, without touching the lock; None where the system does not tell."""
    try:
        inode = os.stat(path / ".lock").st_ino
        held = Path("/proc/locks").read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return any("FLOCK" in line and f":{inode} " in line for line in held.splitlines())


def _event(row: dict[str, Any]) -> dict[str, str]:
    return {
        "time": sections.when(row.get("time")),
        "event": text(row.get("event")),
        "stage": text(row.get("stage")),
        "error": text(row.get("error"))[:500],
    }
