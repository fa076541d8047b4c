"""Resumable states of a policy: weights and moments as safetensors, counters as JSON; whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from aloe.errors import DataError
from aloe.training.reinforce.policy import Policy

MARK = "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(folder: Path, policy: Policy, counters: dict[str, Any]) -> None:
    """Write the state of after ``counters["iteration"]`` iterations into ``folder``; older ones go.

    Raises:
        DataError: the disk is full.
    """
    from safetensors.torch import save_file

    final = folder / f"state-{counters['iteration']}"
    temporary = folder / ".saving"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_file({name: p.detach().contiguous() for name, p in policy.trained.items()}, temporary / "w.safetensors")
        save_file(_moments(policy), temporary / "moments.safetensors")
        (temporary / MARK).write_text(json.dumps(counters | {"n_steps": policy.n_steps}), "utf-8")
    except OSError as error:
        if error.errno != 28:
            raise
        raise DataError(f"no space left for a state in {folder}", "free some space, then run again") from error
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)  # a killed save leaves only what is ignored
    for other in folder.glob("state-*"):
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def _moments(policy: Policy) -> dict[str, torch.Tensor]:
    found = {}
    for name, p in policy.trained.items():
        for kind in MOMENTS:
            if kind in policy.optimiser.state.get(p, {}):
                found[f"{kind}/{name}"] = policy.optimiser.state[p][kind].contiguous()
    return found


def load_state(folder: Path, policy: Policy) -> dict[str, Any] | None:
    """Put the newest state back into ``policy``; its counters, None where there is none.

    Raises:
        DataError: it is damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = [state for state in folder.glob("state-*") if (state / MARK).is_file()]
    if not found:
        return None
    place = max(found, key=lambda state: int(state.name.rpartition("-")[2]))
    try:
        counters: dict[str, Any] = json.loads((place / MARK).read_text("utf-8"))
        weights, moments = load_file(place / "w.safetensors"), load_file(place / "moments.safetensors")
        with torch.no_grad():
            for name, p in policy.trained.items():
                p.copy_(weights[name])
                if f"{MOMENTS[0]}/{name}" in moments:
                    kept = {kind: moments[f"{kind}/{name}"].to(p.device) for kind in MOMENTS}
                    policy.optimiser.state[p] = {"step": torch.tensor(float(counters["n_steps"])), **kept}
        policy.n_steps = int(counters["n_steps"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{place} can't be resumed from: {reason}", f"remove {folder} to begin again") from error
    return counters
