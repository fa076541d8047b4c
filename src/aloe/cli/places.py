"""Resolves the argument RECIPE: a recipe's name, a recipe file, or a run directory.

A recipe's name comes before a folder or file of the same name. Only a folder that is a run directory comes before the
recipe, and only without ``--out``: inside ``runs/`` the folder ``demo`` is the run, and ``aloe run demo --out new``
names the recipe. ``./demo`` is always the folder.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aloe.cli.parser import Overrides
from aloe.cli.trust import ALL, confirm_run, remember_own
from aloe.config import Config, load_config, merge, read_recipe, recipe_names, validate
from aloe.errors import ConfigError
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.types import Persona


@dataclass(frozen=True, slots=True)
class Trust:
    """How far a run's own config is followed.

    Attributes:
        kinds: of exposures that the command can bring about; none for commands that only read the config's words.
        given: the user has said on the command line that the run is to be trusted.
    """

    kinds: tuple[str, ...] = ALL
    given: bool = False

    @classmethod
    def of(cls, options: Namespace, kinds: tuple[str, ...] = ALL) -> Trust:
        """As the command line says (``arguments.add_trust``)."""
        return cls(kinds, bool(getattr(options, "trust_run", False)))

    def confirm(self, run: Path, stored: Callable[[], Config], used: Config) -> None:
        """Ask where that is needed.

        Args:
            stored: gives the run's config as it lies there. used: the same with what the command line changes.

        Raises:
            ConfigError: not confirmed.
        """
        if not self.kinds:
            return
        try:
            own = stored()
        except ConfigError:  # usable only with what the command line changes: then all of it is asked for
            own = used
        confirm_run(run, own, used, is_trusted=self.given, kinds=self.kinds)


ASK = Trust()
READ_ONLY = Trust(())
STUDIO_SECTIONS = ("seed", "roles", "trees", "bench")  # of a config: all that studio and chat go by
PRECEDENCE = """A recipe's name takes precedence over a folder of that name, unless the folder is a run directory and no
--out is given; ./NAME always means the folder."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works, with which config.

    Attributes:
        recipe: name of the recipe, for the run's manifest.
        note: which of two readings was taken, where the word on the command line has two; else empty.
    """

    config: Config
    run: RunDir
    recipe: str
    note: str = ""


def is_run(place: str | Path | None) -> bool:
    """Whether a run directory is there."""
    return place is not None and (Path(place) / "config.toml").is_file()


def means_run(word: str | None, out: str | None = None) -> bool:
    """Whether the word in the place of RECIPE means a run directory."""
    return is_run(word) and (out is None or _is_same(word, out) or word not in recipe_names())


def _is_same(word: str | None, out: str) -> bool:
    return word is not None and Path(word).resolve() == Path(out).resolve()


def config_source(word: str | None, out: str | None = None) -> str | Path | None:
    """What to load the config from: a run's own config, or the recipe; None where neither is named.

    Raises:
        ConfigError: a folder is named that is not a run directory.
    """
    if word is None:
        return None
    if means_run(word, out):
        return Path(word) / "config.toml"
    _refuse_folder(word)
    return word


def note_on(word: str | None, out: str | None = None) -> str:
    """A line where a word means a run directory though a recipe has that name too; else empty."""
    if word is None or not means_run(word, out) or word not in recipe_names():
        return ""
    return f"./{word} is a run directory and is used (for the recipe '{word}' add --out DIR)"


def no_recipe() -> ConfigError:
    return ConfigError("no recipe given", f"name one of: {', '.join(recipe_names())}, a .toml file, or a run directory")


def resolve(word: str | None, out: str | None, overrides: Overrides, trust: Trust = ASK) -> Place:
    """The config and the directory that are meant. What a run's own config does must be confirmed (``trust``).

    A run directory together with another ``--out`` stands for the config that it was made with.

    Args:
        word: what stands in the place of RECIPE, if anything.
        out: ``--out``, if given.

    Raises:
        ConfigError: neither names a recipe or a run, or an override does not fit.
    """
    if word is None:
        if out is None:
            raise no_recipe()
        if not is_run(out):
            raise ConfigError(f"{out} is not a run directory, and no recipe is given", f"aloe run demo --out {out}")
        return _of_run(RunDir(out), RunDir(out), overrides, trust)
    if means_run(word, out):
        run = RunDir(word)
        to = run if out is None or _is_same(word, out) else RunDir(out)
        return _of_run(run, to, overrides, trust, note_on(word, out))
    _refuse_folder(word)
    name = Path(word).stem
    config = _load(word, overrides, trust)
    return Place(config, RunDir(out or f"runs/{name}"), name)


def _of_run(run: RunDir, to: RunDir, overrides: Overrides, trust: Trust, note: str = "") -> Place:
    config = _load(run.config_path, overrides, trust)
    return Place(config, to, str(run.manifest().get("recipe", "run")), note)


def _refuse_folder(word: str) -> None:
    path = Path(word)
    if word in recipe_names():
        return
    if path.is_dir() or ("/" in word and not path.exists() and not word.endswith(".toml")):
        raise ConfigError(
            f"{word} is not a run directory (no config.toml)", "give a run, a .toml file, or RECIPE --out DIR"
        )


def source_config(word: str | None, out: str | None, overrides: Overrides, trust: Trust = ASK) -> Config:
    """The config that a recipe or a run directory has, with what the command line changes."""
    return _load(config_source(word, out), overrides, trust)


def bench_config(word: str | None, overrides: Overrides, trust: Trust = ASK) -> tuple[Config, Path | None]:
    """The config meant by a recipe or a run directory, with the benchmark's own judge and user; and the run's path."""
    from aloe.stages.bench import with_bench_roles

    run = Path(word) if word is not None and means_run(word) else None
    return with_bench_roles(_load(config_source(word), overrides, trust)), run


def studio_config(run: Path | None, overrides: Overrides, trust: Trust = ASK) -> tuple[Config, list[str]]:
    """The run's config with overrides and the benchmark's own judge and user; without one the defaults.

    A run of another version opens too: what its config says of stages that the studio never runs is left out
    where it can't be read, and said.

    Raises:
        ConfigError: a bad option, or roles or a benchmark that can't be read.
    """
    from aloe.stages.bench import with_bench_roles

    path = run / "config.toml" if run is not None else None
    if run is None or path is None or not path.is_file():
        notes = [] if run is None else [f"{run} has no config.toml: user, inducer and judge are the simulated world's"]
        return with_bench_roles(load_config(None, overrides)), notes
    try:
        found = load_config(path, overrides)
    except ConfigError as error:
        table, where = read_recipe(path)
        known = {name: value for name, value in table.items() if name in STUDIO_SECTIONS}
        found = validate(merge(known, overrides), where)  # what is wrong in these, or in an option, is told as ever
        notes = [f"of the run's config only {', '.join(STUDIO_SECTIONS)} are read: {error.message}"]
        trust.confirm(run, lambda: validate(known, where), found)
        return with_bench_roles(found), notes
    trust.confirm(run, lambda: load_config(path), found)
    return with_bench_roles(found), []


def config_of(run: RunDir, trust: Trust = ASK, overrides: Overrides | None = None) -> Config:
    """The run's config with overrides; the defaults for a directory of imported trees."""
    return _load(run.config_path if run.exists() else None, overrides or {}, trust)


def _load(source: str | Path | None, overrides: Overrides, trust: Trust) -> Config:
    """The one place where the command line reads a config that may be a run's."""
    config = load_config(source, overrides)
    if isinstance(source, Path) and is_run(source.parent) and source.name == "config.toml":
        trust.confirm(source.parent, lambda: load_config(source), config)
    elif trust.kinds == ALL:  # a recipe of one's own, about to be used
        remember_own(config)
    return config


def personas_of(run: RunDir) -> list[Persona]:
    """The personas of a run, or of imported trees."""
    return list(read_jsonl(run.stage_dir("personas") / "personas.jsonl", Persona))
