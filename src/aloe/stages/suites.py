"""Stage ``suites``: the benchmarks that plug-ins bring, each with every model of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aloe.bench.suites import SuiteResult, run_suite, suite_by_name
from aloe.config import digest
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.stages.bench import bench_models, identity_of
from aloe.stages.context import Context, tokens_so_far, with_caller
from aloe.stages.failures import failed_part
from aloe.store.records import read_rows


def run_suites(context: Context) -> dict[str, Any]:
    """Every suite of ``[suites]`` with every benchmarked model; what is done is kept.

    Raises:
        ConfigError: a suite that is not installed.
        DataError: a suite without items, or a damaged result.
        EndpointError: every call of every suite failed.
    """
    config, run = context.config, context.run
    suites = {name: suite_by_name(name, options) for name, options in config.suites.items()}
    models = bench_models(context)
    jobs = [(suite, name) for suite in suites for name in models]
    done: dict[str, str] = {} if context.redo else run.manifest().get("suites", {})
    summary: dict[str, Any] = {"n_suites": len(suites), "n_models": len(models), "n_failed": 0, "suites": {}}

    results: list[SuiteResult] = []
    failures: list[str] = []

    async def work(caller: Caller) -> None:
        for place, (suite, name) in enumerate(jobs):
            model, out = models[name], run.stage_dir("suites") / suite / name
            key = digest([config.seed, suite, config.suites[suite], *identity_of(model)])
            result = read_suite_result(out / "result.json") if done.get(f"{suite}/{name}") == key else None
            if result is None:

                def show(n: int, of: int, before: int = place) -> None:
                    context.progress.update(before * of + n, len(jobs) * of, "items", tokens_so_far(caller))

                result = await run_suite(
                    suites[suite], caller, model, name=name, config=config, out_dir=out, progress=show
                )
                manifest = run.manifest()
                manifest.setdefault("suites", {})[f"{suite}/{name}"] = key if result.n_failed == 0 else ""
                run.save_manifest(manifest)
            results.append(result)
            summary["n_failed"] += result.n_failed
            if result.n_failed:
                failures.extend(_errors(out))
            figures = {figure: found.value for figure, found in result.figures.items()}
            summary["suites"].setdefault(suite, {})[name] = figures

    with_caller(context, work)
    if results and all(result.n_failed == result.n_items for result in results):
        raise EndpointError(
            f"no item of {', '.join(suites)} could be asked; the first: {failures[0]}",
            "correct that and run the same command again",
        )
    n_items = sum(result.n_items for result in results)
    return summary | failed_part(len(failures), n_items, "items", failures[0] if failures else "")


def _errors(folder: Path) -> list[str]:
    """Why items of a suite have no record, a line each."""
    return [str(row["error"]) for _, row in read_rows(folder / "records.jsonl") if row.get("error")]


def read_suite_result(path: Path) -> SuiteResult | None:
    """A suite's ``result.json``; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return SuiteResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path} is not a suite's result: {error.errors()[0]['msg']}", "run the stage again: --from suites"
        ) from None
