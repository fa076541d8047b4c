"""Opens models by URI: ``world:ACTOR``, ``openai:MODEL``, ``hf:PATH_OR_ID`` or a plug-in's scheme.

With ``base_url`` a model of any scheme is reached over HTTP under the same logical name and revision, so that its
calls have the same keys in the journal as in-process ones. Plug-ins: entry points of the group ``aloe.models``, the
name is the scheme, the object a function ``(ModelConfig) -> ChatModel``. ``own:NAME`` is a model object that the caller
of the Python API has made and keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aloe.config import ModelConfig
from aloe.config.plugins import load_plug_in, plug_in_names
from aloe.errors import ConfigError, nearest
from aloe.models.uri import portable, split_uri, split_wrapper
from aloe.protocols import ChatModel, ChatRequest, Completion

if TYPE_CHECKING:
    import aiohttp

BUILT_IN = ("world", "openai", "hf")
OWN = "own"
ENTRY_POINTS = "aloe.models"
Factory = Callable[[ModelConfig], ChatModel]
_registered: dict[str, Factory] = {}
_lent: WeakValueDictionary[str, ChatModel] = WeakValueDictionary()  # model objects of others by URI, while they live


def register_scheme(scheme: str, factory: Factory) -> None:
    """Make ``scheme:...`` URIs known in this process; what an entry point does for an installed plug-in."""
    if scheme in (*BUILT_IN, OWN):
        raise ConfigError(f"scheme '{scheme}' is built in", "choose another name")
    _registered[scheme] = factory


class _Lent:
    """A model of somebody else, who closes it."""

    def __init__(self, model: ChatModel) -> None:
        self.name, self.revision, self._model = model.name, model.revision, model

    async def complete(self, request: ChatRequest) -> Completion:
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Nothing: it may be used again."""


def lend(model: ChatModel) -> str:
    """The URI of a model object in this process, by its name; the object must be kept for as long as it is used.

    Raises:
        ConfigError: it has no name, or can't be referred to weakly.
    """
    if not isinstance(model.name, str) or not model.name.strip():
        raise ConfigError(f"the model {model!r:.80} has no name", "give it an attribute 'name', a text")
    uri, number = f"{OWN}:{model.name}", 1
    while _lent.get(uri, model) is not model:  # another object of that name, still alive
        number += 1
        uri = f"{OWN}:{model.name}#{number}"
    try:
        _lent[uri] = model
    except TypeError:
        raise ConfigError(
            f"a {type(model).__name__} can't be kept track of", "add '__weakref__' to its __slots__"
        ) from None
    return uri


def create_model(
    config: ModelConfig, session: Callable[[], aiohttp.ClientSession] | None = None, replicas: int = 1
) -> ChatModel:
    """The model that ``config`` names.

    Args:
        session: gives the HTTP session to share.
        replicas: processes that decode for a local checkpoint.

    Raises:
        ConfigError: unknown scheme or actor, or a missing environment variable.
    """
    scheme, rest = split_uri(config.uri)
    if (wrapper := split_wrapper(config.uri)[1]) is not None:
        raise ConfigError(
            f"'{config.uri}': +{wrapper} is a wrapper that only the benchmark accepts",
            "use it in bench.models or aloe bench --model, at most one wrapper per model",
        )
    if scheme == "openai" or config.base_url is not None:
        from aloe.models.http.chat import OpenAIChatModel

        name, revision = identity(config)
        return OpenAIChatModel(config, name, revision, rest if scheme == "openai" else config.uri, session)
    if scheme == OWN:
        model = _lent.get(config.uri)
        if model is None:
            raise ConfigError(
                f"{config.uri} was a model object of the Python API, which is gone", "pass the object again"
            )
        return _Lent(model)
    if scheme == "world":
        from aloe.world.model import WorldModel

        return WorldModel(config.uri)
    if scheme == "hf":
        from aloe.models.local.model import create_local_model

        return create_local_model(config, replicas)
    if scheme in _registered:
        return _registered[scheme](config)
    plug_ins = plug_in_names(ENTRY_POINTS)
    if scheme in plug_ins:
        factory: Factory = load_plug_in(ENTRY_POINTS, scheme)
        return factory(config)
    valid = [*BUILT_IN, *sorted({*plug_ins, *_registered})]
    raise ConfigError(
        f"unknown model scheme '{scheme}' in '{config.uri}'{nearest(scheme, valid)}",
        f"use one of: {', '.join(f'{v}:' for v in valid)}",
    )


def identity(config: ModelConfig) -> tuple[str, str]:
    """Logical name and revision of a model behind an address: the same as of the model in this process.

    A path to a checkpoint is digested here, so that a retrained one never replays its predecessor's answers, also
    when another server (``openai:PATH``) has loaded it.
    """
    scheme, rest = split_uri(config.uri)
    if scheme == "world":
        from aloe.world.model import WorldModel

        local = WorldModel(config.uri)
        return local.name, local.revision
    path = Path(rest)
    if scheme in ("hf", "openai") and path.is_dir() and any(path.glob("*.safetensors")):
        from aloe.models.local.model import weight_digest

        return portable(config.uri), weight_digest(path)
    return config.uri, rest if scheme == "hf" else ""
