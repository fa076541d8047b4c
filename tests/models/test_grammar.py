"""A local model is held to the schema of its answer: whatever its weights, what it writes can be read."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aloe.bench.scales import SCALES
from aloe.bench.scoring import score_reply
from aloe.config import Config, ModelConfig
from aloe.dialogue.judge import Candidate, compare_once, score_once
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.models.calls import takes_schema
from aloe.models.local.model import create_local_model
from aloe.prompts import PromptSet
from aloe.prompts.catalog import CATALOG, JUDGE_BINARY, JUDGE_COMPARE, JUDGE_PERCENT, JUDGE_SCORE
from aloe.protocols import ChatRequest, Completion, PromptMessage
from aloe.types import Judgement, Message, Persona
from models.test_local import save_tiny

pytest.importorskip("llguidance", reason="what holds local models to a schema is not installed (extra 'train')")
ROWS = (JUDGE_COMPARE, JUDGE_SCORE, JUDGE_PERCENT, JUDGE_BINARY)
ADA = Persona(persona_id="p", profile="She is a nurse.", personality="She is calm.", profile_id="", personality_id="")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that nobody trained: without a schema no answer of theirs is JSON."""
    return save_tiny(tmp_path_factory.mktemp("untrained"), 0)


def answers(checkpoint: Path, formats: Sequence[dict[str, Any] | None], **sampling: Any) -> list[Completion]:
    """What the model writes for each of ``formats``, all in one batch."""

    async def ask() -> list[Completion]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"))
        said = (PromptMessage("user", ("wab wcd wef",)),)
        asked = [
            ChatRequest(said, seed=i, **{"max_tokens": 600, "response_format": f, **sampling})
            for i, f in enumerate(formats)
        ]
        found = list(await asyncio.gather(*map(model.complete, asked)))
        await model.aclose()
        return found

    return asyncio.run(ask())


def test_every_answer_of_an_untrained_model_can_be_read(checkpoint: Path) -> None:
    free = answers(checkpoint, [None], max_tokens=30)[0].text
    found = answers(checkpoint, [*(row.tight for row in ROWS), None], temperature=1.0)
    assert found.pop().text.strip() and "{" not in free  # a free row in the same batch stays free
    for row, completion in zip(ROWS, found, strict=True):
        assert completion.finish_reason == "stop", row.name
        value = json.loads(completion.text)
        assert list(value) == row.tight["json_schema"]["schema"]["required"]  # type: ignore[index]
        row.read(completion.text)
        if row.scale is not None:
            assert row.scale[0] <= value["score"] <= row.scale[1]


def test_an_answer_that_the_limit_cuts_off_is_cut_off(checkpoint: Path) -> None:
    found = answers(checkpoint, [JUDGE_COMPARE.tight], max_tokens=12)[0]
    assert found.finish_reason == "length" and found.text.startswith('{"reason"')


@pytest.mark.parametrize("response_format", [{"type": "json_object"}, {"type": "json_schema", "json_schema": 3}, {}])
def test_other_formats_are_an_object_or_nothing(checkpoint: Path, response_format: dict[str, Any]) -> None:
    text = answers(checkpoint, [response_format], max_tokens=20)[0].text
    assert text.startswith("{") == (response_format.get("type") == "json_object")


def test_what_can_not_be_enforced_is_said_and_asked_freely(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    free = answers(checkpoint, [None], max_tokens=8)[0].text
    assert answers(checkpoint, [broken], max_tokens=8)[0].text == free
    assert "can't be enforced" in caplog.text


def test_auto_holds_local_models_to_the_tight_schema_where_the_package_is(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(structured: bool | str, max_tokens: int) -> tuple[Any, dict[str, Any]]:
        async def work() -> tuple[Any, dict[str, Any]]:
            fields = {"uri": f"hf:{checkpoint}", "structured": structured, "max_tokens": max_tokens}
            model = ModelConfig.model_validate(fields)
            caller = Caller.open(Config(), None, seed=1, models={"judge": [model]})
            talk = (Message(role="user", content="Hello."),)
            value, reply = await caller.ask(
                JUDGE_COMPARE, "x", persona=ADA, conversation=talk, first="a", second="b", scope="persona"
            )
            await caller.aclose()
            return value, reply.generation.sampling

        return asyncio.run(work())

    value, sampling = ask("auto", 400)
    assert value[0] in ("first", "second", "tie") and sampling["response_format"] == JUDGE_COMPARE.tight
    assert ask(False, 8)[0] is None
    monkeypatch.setitem(sys.modules, "llguidance", None)  # as if it were not installed
    assert not takes_schema(ModelConfig(uri="hf:x", structured="auto"))
    value, sampling = ask(True, 8)  # asked freely, as a server is that refuses schemas
    assert value is None and sampling["response_format"] == JUDGE_COMPARE.response_format


def test_every_schema_has_its_bounds() -> None:
    for row in CATALOG.values():
        assert (row.response_format is None) == (row.tight is None), row.name
        if row.tight is not None:
            told = json.dumps(row.tight)
            bounded = [told.count(bound) for bound in ('"maxLength"', '"enum": ["', "]{4,110}", "]{8,140}")]
            assert told.count('"type": "string"') == sum(bounded), row.name
            assert told.count('"array"') == told.count('"maxItems"') and '"type": "number"' not in told


SHORT = """@@ user
<persona>
{{ persona }}
</persona>
<conversation>
{{ conversation }}
</conversation>
<rubric scope="persona">
"""


def test_a_local_judge_tells_how_likely_its_verdict_and_its_score_are(checkpoint: Path, tmp_path: Path) -> None:
    reply = '<reply id="{0}">{{{{ {1} }}}}</reply>'  # the packaged templates are too long for this model
    (tmp_path / "judge_score.jinja").write_text(SHORT + reply.format("only", "reply"))
    two = reply.format("first", "first") + reply.format("second", "second")
    (tmp_path / "judge_compare.jinja").write_text(SHORT + two)

    async def work(version: str) -> tuple[Judgement, Judgement, Judgement]:
        fields = {"uri": f"hf:{checkpoint}", "structured": "auto", "max_tokens": 400}
        caller = Caller.open(
            Config(), None, seed=1, prompts=PromptSet(tmp_path, version),
            models={"judge": [ModelConfig.model_validate(fields)]},
        )  # fmt: skip
        state = PathState("t").with_user("n1", "Hello.")
        shown = (Candidate("a", "One."), Candidate("b", "Two."))
        compared = await compare_once(caller, ADA, state, shown, "persona")
        scored = await score_reply(caller, ADA, state, shown[0], "persona", SCALES["1-5"])
        labelled = await score_once(caller, ADA, state, shown[0], "persona")
        await caller.aclose()
        return compared, scored, labelled

    compared, scored, labelled = asyncio.run(work("2"))
    assert set(compared.parts) == {"first", "second", "tie"}
    assert sum(compared.parts.values()) == pytest.approx(1, abs=1e-5)
    assert max(compared.parts, key=lambda name: compared.parts[name]) == compared.verdict
    assert scored.score is not None and 1 < scored.score < 5 and scored.score != scored.parts["written"]
    assert (labelled.score, labelled.parts) == (scored.score, scored.parts)  # trees are labelled by the same score
    compared, scored, labelled = asyncio.run(work("1"))  # as it was, so that what was asked before is not asked anew
    assert compared.parts == {} and "written" not in scored.parts and labelled.score == scored.score
