"""A judge behind an endpoint: scored by the score token's alternatives where it tells them, by its words where not."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aloe.bench.scales import SCALES
from aloe.bench.scoring import score_reply
from aloe.config import load_config
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.types import Judgement
from helpers import world_personas

TOKENS = ['{"score', '": ', "4", "}"]


class Judge:
    """Answers 4; knows alternatives (5 with .25), refuses to tell them, or has never heard of them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, answer = outer.answer(body)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "logprobs" in body and self.kind in ("400", "403"):
            words = "You are not allowed to request logprobs from this model"
            return int(self.kind), {
                "error": {"message": words if self.kind == "403" else "'logprobs' is not supported"}
            }
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": "".join(TOKENS)}, "finish_reason": "stop"}
        if body.get("logprobs") and self.kind == "tells":
            others = [{"token": t, "logprob": math.log(p)} for t, p in (("4", 0.75), ("5", 0.25))]
            choice["logprobs"] = {
                "content": [
                    {
                        "token": t,
                        "logprob": math.log(0.75) if t == "4" else 0.0,
                        "top_logprobs": others if t == "4" else [],
                    }
                    for t in TOKENS
                ]
            }
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    made = Judge(request.param)
    yield made
    made.server.shutdown()
    made.server.server_close()


def score(judge: Judge, n: int = 1, **options: Any) -> list[Judgement]:
    base = f"http://127.0.0.1:{judge.server.server_port}/v1"
    model = {"uri": "openai:judge", "base_url": base, **options}
    config = load_config(overrides={"roles": {"judge": [model]}})
    persona = world_personas(1)[0]

    async def run() -> list[Judgement]:
        caller = Caller.open(config, None, seed=0)
        try:
            found = []
            for sample in range(n):
                state, reply = PathState("t").with_user("u", "Hello."), Candidate("r", "Hello to you.")
                found.append(await score_reply(caller, persona, state, reply, "persona", SCALES["1-5"], sample))
            return found
        finally:
            await caller.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("judge", ["tells"], indirect=True)
def test_the_expectation_over_the_scores_token_is_taken(judge: Judge) -> None:
    (found,) = score(judge)
    assert found.score == pytest.approx(4.25) and found.parts["written"] == 4
    assert judge.bodies[0]["logprobs"] is True and judge.bodies[0]["top_logprobs"] == 5


@pytest.mark.parametrize("judge", ["400", "403"], indirect=True)
def test_a_refusal_is_learnt_once_and_the_written_score_counts(judge: Judge) -> None:
    assert [found.score for found in score(judge, n=3)] == [4, 4, 4]
    asked = ["logprobs" in body for body in judge.bodies]
    assert asked == [True, True, False, False, False]  # a refusal is believed when it comes twice
    assert not any("top_logprobs" in body for body in judge.bodies[2:])


@pytest.mark.parametrize("judge", ["silent"], indirect=True)
def test_an_endpoint_that_knows_nothing_of_them_is_left_in_peace(judge: Judge) -> None:
    assert score(judge)[0].score == 4


@pytest.mark.parametrize("judge", ["tells"], indirect=True)
def test_they_can_be_left_out(judge: Judge) -> None:
    assert score(judge, logprobs=False)[0].score == 4
    assert "logprobs" not in judge.bodies[0]
