"""``aloe prompts list | show NAME | eject DIR | check DIR | test --model URI``: the prompt templates."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers, prompts_test
from aloe.cli.arguments import completed
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError, nearest

NAME = "prompts"
GROUP = "run"
VERSIONS = ("1", "2")
HELP = "list, show, eject or check the prompt templates, or test them with a model"


def add_arguments(parser: Parser) -> None:
    listing = parser.add_verb("list", "list every prompt with its digest and sections", _list)
    show = parser.add_verb("show", "print one template", _show)
    completed(show.add_argument("name", metavar="NAME", help="a prompt's name"), completers.prompts)
    eject = parser.add_verb("eject", "copy the templates to a directory, where you can change them", _eject)
    check = parser.add_verb("check", "check the templates in a directory", _check)
    for verb in (eject, check):
        completed(verb.add_argument("folder", metavar="DIR", help="a directory"), completers.paths)
    for verb in (listing, show, eject):
        version = verb.add_argument("--version", choices=VERSIONS, default="1", help="of the templates (default: 1)")
        completed(version, lambda **_: VERSIONS)
    prompts_test.add_arguments(
        parser.add_verb(
            "test", "try each role's prompt with a model on a fixed set, and print figures", prompts_test.run
        )
    )


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _list(options: Namespace, overrides: Overrides) -> int:
    from aloe.prompts.catalog import CATALOG
    from aloe.prompts.render import PromptSet

    for name, digest in PromptSet(version=options.version).hashes.items():
        print(f"{name:<14} {digest}  sections: {' '.join(CATALOG[name].sections) or '(history only)'}")
    return 0


def _show(options: Namespace, overrides: Overrides) -> int:
    from aloe.prompts.catalog import CATALOG
    from aloe.prompts.render import packaged_source

    if options.name not in CATALOG:
        hint = nearest(options.name, CATALOG)
        raise ConfigError(f"no prompt named '{options.name}'{hint}", f"use one of: {', '.join(CATALOG)}")
    print(packaged_source(options.name, options.version))
    return 0


def _eject(options: Namespace, overrides: Overrides) -> int:
    from aloe.prompts.catalog import CATALOG
    from aloe.prompts.render import packaged_source

    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in CATALOG:
        path = folder / f"{name}.jinja"
        if path.exists():
            print(f"kept   {path}")
            continue
        path.write_text(packaged_source(name, options.version), "utf-8")
        print(f"wrote  {path}")
    print(f"use them with --prompts_dir {folder}")
    return 0


def _check(options: Namespace, overrides: Overrides) -> int:
    from aloe.prompts.render import PromptSet

    PromptSet(options.folder).check()
    print(f"{options.folder}: all prompts are usable")
    return 0
