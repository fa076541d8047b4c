"""aloe: interact to align.

Over a conversation a model infers a user's unspoken preferences from what the user says and how, and
tailors what it says next. This package builds personas, preference trees, trained models and the ALOE
benchmark (Wu et al., "Aligning LLMs with Individual Preferences via Interaction", arXiv 2410.03642).

Importing it is cheap: what it offers (docs/library.md) is loaded when it is first asked for, torch only by training.
Types of everything are in ``__init__.pyi``.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.2.0"

_HOMES = {
    "measure": "api.measuring",
    "benchmark": "api.measuring",
    "score_conversations": "api.measuring",
    "UserSimulator": "api.simulator",
    "StepInfo": "bench.stepping",
    "grow_trees": "api.trees",
    "GrownTrees": "api.trees",
    "train_sft": "api.training",
    "train_dpo": "api.training",
    "novel": "api.personas",
    "make_persona": "api.personas",
    "read_personas": "api.personas",
    "Persona": "types",
    "Message": "types",
    "BenchmarkResult": "types",
    "PreferencePair": "types",
    "SFTExample": "types",
    "ModelConfig": "config",
    "SFTConfig": "config",
    "DPOConfig": "config",
    "ChatModel": "protocols",
    "ChatRequest": "protocols",
    "Completion": "protocols",
    "AloeError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'aloe' has no attribute '{name}'")
    found = getattr(import_module(f"aloe.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
