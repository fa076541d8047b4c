"""The studio's web server: one page and a small JSON API, without resources from outside.

Safety: it listens on loopback unless told otherwise. A request must name this server as its host (so that no other
name can be pointed at it), a request that changes anything must come from the studio's own page, as JSON. The page's
content security policy admits this server's script and style only; the report is shown in a sandbox of its own,
because it is a file of the run. A failing model is an answer with a message, never a broken page.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from aloe.config.exposure import host_of
from aloe.errors import AloeError, ConfigError, DataError
from aloe.models.guard import Guard, Refused
from aloe.studio.choices import Choice, best_choice, limits_of
from aloe.studio.index import IndexedSource, Library, Query
from aloe.studio.page import assets
from aloe.studio.people import People, card
from aloe.studio.ratings import append_rating, ratings_path
from aloe.studio.talk import Desk, Talk
from aloe.studio.view import view_run, view_talk
from aloe.types import Persona

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_BODY = 8 * 1024 * 1024  # far above any message: one that is too long is told so in words
MAX_TALKS = 200  # kept in memory; the oldest go
MAX_PAGE = 200
CHOICES = {"A": "first", "tie": "tie", "B": "second"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Studio:
    """What the handlers share: the run, its conversations and people, the desk at which talks are held."""

    def __init__(
        self,
        run: Path,
        desk: Desk,
        people: People,
        choices: Callable[[], Sequence[Choice]],
        notices: Sequence[str] = (),
    ) -> None:
        self.run = run
        self.desk = desk
        self.people = people
        self.library = Library(run, people)
        self.notices = tuple(notices)
        self._choices = choices
        self._talks: dict[str, Talk] = {}

    def app(self, guard: Guard) -> web.Application:
        """The application; ``guard`` says who may ask, and where its paths begin."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_answers(guard)])

        def get(path: str, handler: Handler) -> None:
            app.router.add_get(guard.prefix + path, handler)

        def post(path: str, handler: Handler) -> None:
            app.router.add_post(guard.prefix + path, handler)

        for path, (content, kind) in assets().items():
            get(path, _serve(content, kind))
        get("/report", self.report)
        get("/api/run", self.status)
        get("/api/search", self.search)
        get("/api/conversation", self.conversation)
        get("/api/personas", self.personas)
        get("/api/talks/{talk}", self.show)
        post("/api/talks", self.begin)
        for name in ("propose", "say", "answer", "observe", "back", "rate", "reveal"):
            post(f"/api/talks/{{talk}}/{name}", getattr(self, name))
        app.cleanup_ctx.append(self._warm)
        return app

    async def _warm(self, _: web.Application) -> Any:
        stop = threading.Event()
        thread = threading.Thread(target=self.library.warm, args=(stop,), daemon=True, name="aloe-studio-index")
        thread.start()
        yield
        stop.set()

    async def status(self, _: web.Request) -> web.Response:
        found = await asyncio.to_thread(view_run, self.run)
        sources = await asyncio.to_thread(self.library.sources)
        found["sources"] = [
            {
                "id": s.source_id,
                "name": s.name,
                "kind": s.kind,
                "n": len(s),
                "growing": s.is_growing,
                "scale": [s.scale.low, s.scale.high],
            }
            for s in sources
        ]
        choices = self._choices()
        found["models"] = [
            {
                "name": c.name,
                "uri": c.model.uri,
                "host": host_of(c.model),
                "group": c.group,
                "needs_persona": c.needs_persona,
                "limits": limits_of(c, self.desk.config, self.run),
            }
            for c in choices
        ]
        found["best"] = await asyncio.to_thread(best_choice, choices, self.run)
        found["notices"] = self.notices
        return _json(found)

    async def report(self, _: web.Request) -> web.StreamResponse:
        path = self.run / "report" / "index.html"
        if not path.is_file():
            raise DataError("this run has no report yet", "'aloe report' writes it")
        return web.FileResponse(
            path, headers={"Content-Security-Policy": REPORT_POLICY, "Content-Type": "text/html; charset=utf-8"}
        )

    async def search(self, request: web.Request) -> web.Response:
        asked = request.query
        source = await self._source(asked.get("source", ""))
        query = Query(
            words=asked.get("q", "")[:500],
            persona=asked.get("persona", "")[:500],
            outcome=asked.get("outcome", ""),
            margin=_number(asked.get("margin"), 0.0),
            sort=asked.get("sort", ""),
            offset=int(_number(asked.get("offset"), 0)),
            limit=max(1, min(MAX_PAGE, int(_number(asked.get("limit"), 60)))),
        )
        return _json(asdict(await asyncio.to_thread(source.search, query)))

    async def conversation(self, request: web.Request) -> web.Response:
        source = await self._source(request.query.get("source", ""))
        found = await asyncio.to_thread(source.conversation, request.query.get("id", ""))
        if found is None:
            raise DataError("this conversation does not exist (any more)", "search again")
        return _json(found)

    async def personas(self, request: web.Request) -> web.Response:
        words = request.query.get("q", "").strip().lower()[:500]
        everybody = await asyncio.to_thread(self.people.all)
        meant = await asyncio.to_thread(self.people.matching, words) if words else None
        found = [p for p in everybody.values() if meant is None or p.persona_id in meant]
        found.sort(key=lambda p: p.split != "bench")  # those held out first
        items = [{"id": p.persona_id, "split": p.split, "card": card(p)} for p in found[:40]]
        return _json({"n": len(found), "items": items})

    async def begin(self, request: web.Request) -> web.Response:
        asked = await _body(request)
        by_name = {c.name: c for c in self._choices()}
        names = asked.get("models")
        names = names if isinstance(names, list) else []
        unknown = [n for n in names if not isinstance(n, str) or n not in by_name]
        if unknown:
            raise ConfigError(f"no model {str(unknown[0])[:80]!r} in this run", f"choose from: {', '.join(by_name)}")
        persona = self._persona(asked.get("persona"))
        talk = Talk.begin(secrets.token_hex(8), self.desk, [by_name[n] for n in names], persona)
        while len(self._talks) >= MAX_TALKS:
            self._talks.pop(next(iter(self._talks)))
        self._talks[talk.talk_id] = talk
        return _json(view_talk(talk))

    async def show(self, request: web.Request) -> web.Response:
        return _json(view_talk(self._talk(request)))

    async def propose(self, request: web.Request) -> web.Response:
        talk = self._talk(request)
        async with talk.lock:
            try:
                return _json({"text": await talk.propose()})
            except TimeoutError:
                raise DataError(
                    "the user simulator did not answer in time", "try again, or type the message yourself"
                ) from None

    async def say(self, request: web.Request) -> web.Response:
        talk, asked = self._talk(request), await _body(request)
        async with talk.lock:
            await talk.say(str(asked.get("text", "")), simulated=asked.get("simulated") is True)
            return _json(view_talk(talk))

    async def answer(self, request: web.Request) -> web.Response:
        talk = self._talk(request)
        async with talk.lock:
            await talk.answer()
            return _json(view_talk(talk))

    async def observe(self, request: web.Request) -> web.Response:
        talk = self._talk(request)
        async with talk.lock:
            await talk.observe()
            return _json(view_talk(talk))

    async def back(self, request: web.Request) -> web.Response:
        talk = self._talk(request)
        async with talk.lock:
            text = talk.take_back()
            return _json({"text": text, "talk": view_talk(talk)})

    async def rate(self, request: web.Request) -> web.Response:
        talk, asked = self._talk(request), await _body(request)
        choice = CHOICES.get(str(asked.get("choice")))
        if choice is None:
            raise ConfigError(f"invalid choice {str(asked.get('choice'))[:40]!r}", f"use one of: {', '.join(CHOICES)}")
        stars = asked.get("stars")
        given = [s if isinstance(s, int) and 1 <= s <= 5 else None for s in stars] if isinstance(stars, list) else []
        async with talk.lock:
            rating = talk.rate(choice, tuple([*given, None, None][:2]))  # type: ignore[arg-type]
            try:
                await asyncio.to_thread(append_rating, ratings_path(self.run), rating)
            except DataError:
                talk.unrate()
                raise
            return _json(view_talk(talk))

    async def reveal(self, request: web.Request) -> web.Response:
        talk = self._talk(request)
        talk.named = True
        return _json(view_talk(talk))

    async def _source(self, source_id: str) -> IndexedSource:
        found = await asyncio.to_thread(self.library.get, source_id)
        if found is None:
            raise DataError(f"no conversations called {source_id[:80]!r} in this run", "reload the page")
        return found

    def _persona(self, persona_id: Any) -> Persona | None:
        if not persona_id:
            return None
        found = self.people.get(str(persona_id))
        if found is None:
            raise DataError(f"no persona {str(persona_id)[:80]!r} in this run", "search for another")
        return found

    def _talk(self, request: web.Request) -> Talk:
        found = self._talks.get(request.match_info["talk"])
        if found is None:
            raise DataError(
                "this conversation has ended (the studio was restarted, or it timed out)", "start a new one"
            )
        return found


def _answers(guard: Guard) -> Any:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            response = await handler(request)
        except AloeError as error:
            response = _json({"error": str(error)}, 403 if isinstance(error, Refused) else 400)
        except web.HTTPException as error:
            response = _json({"error": error.reason}, error.status)
        except Exception as error:  # said in the page, with the traceback in the log; the studio goes on
            log.exception("%s %s", request.method, request.path)
            response = _json({"error": f"the studio failed: {type(error).__name__}: {error}"[:2000]}, 500)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return answer


def _serve(content: bytes, kind: str) -> Handler:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return serve


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", "use the studio's own page") from None
    return body if isinstance(body, dict) else {}


def _json(value: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, content_type="application/json")


def _number(value: str | None, default: float) -> float:
    try:
        found = float(value or default)
    except ValueError:
        return default
    return found if abs(found) < 1e9 else default  # also of nan
