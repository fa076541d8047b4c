"""Decides once per run in which number format models are trained, so that other machines continue alike."""

from __future__ import annotations

from typing import Any

from aloe.config import Config
from aloe.models.local.processor import cpu_has_bfloat16, pays_on_cpu, width_of
from aloe.store.rundir import RunDir
from aloe.training.methods import BASE, Method, methods_of


def settle_precision(config: Config, run: RunDir, stages: set[str], redo: set[str]) -> Config:
    """``config`` with ``compute_dtype`` of its training sections as the run has it, or as this machine chooses it.

    Left at ``auto`` where that means what it meant before there was a choice: float32 on a CPU, bfloat16 on a GPU.

    Args:
        stages: those that are wanted now; what the run has settled holds for the others too.
        redo: those that are done again and may be settled anew.
    """
    known = run.load_config() if run.exists() else None
    done = set() if known is None else set(run.manifest().get("stages", {})) - redo
    for method in methods_of(config):
        if _setting(method, config) != "auto":
            continue
        before = "auto" if known is None or method not in methods_of(known) else _setting(method, known)
        if before != "auto":
            config = _with(config, method, before)
        elif method.name in stages and method.name not in done and _pays(method, config):
            config = _with(config, method, "bfloat16")
    return config


def _setting(method: Method, config: Config) -> str:
    return str(getattr(method.settings(config), "compute_dtype", "float32"))


def _pays(method: Method, config: Config) -> bool:
    """Whether bfloat16 trains the method's model faster on this machine's CPU, and no GPU is there."""
    if not cpu_has_bfloat16():
        return False
    width: int | None = config.base.d_model
    if method.start != BASE or config.sft.model is not None:
        from aloe.models.local.packaged import resolve

        width = config.base.d_model if config.sft.model is None else width_of(resolve(config.sft.model, convert=False))
    if not pays_on_cpu(width):
        return False
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return False
    import torch

    return not torch.cuda.is_available()


def _with(config: Config, method: Method, value: str) -> Config:
    change: dict[str, Any] = {"compute_dtype": value}
    if method.is_built_in:
        return config.model_copy(update={method.name: getattr(config, method.name).model_copy(update=change)})
    sections = dict(config.methods)
    return config.model_copy(update={"methods": sections | {method.name: {**sections.get(method.name, {}), **change}}})
