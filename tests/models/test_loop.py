"""A round of the event loop takes a bounded number of answers, and every socket has its turn."""

from __future__ import annotations

import asyncio
import socket

from aloe.models.http.loop import FewAtATime
from aloe.stages.interrupt import run_interruptible

N = 192  # three rounds


def test_other_tasks_come_between_answers_that_arrive_at_once() -> None:
    pairs = [socket.socketpair() for _ in range(N)]
    read: list[int] = []
    rounds: list[int] = []

    async def look() -> None:
        while len(read) < N:
            before = len(read)
            await asyncio.sleep(0)
            rounds.append(len(read) - before)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for i, (ours, theirs) in enumerate(pairs):
            loop.add_reader(ours, lambda ours=ours, i=i: (ours.recv(1), read.append(i)))
            theirs.send(b"x")
        await asyncio.wait_for(look(), 20)

    run_interruptible(work)
    for pair in pairs:
        for end in pair:
            end.close()
    assert sorted(read) == list(range(N))
    assert max(rounds) <= FewAtATime.most


def test_sockets_that_are_always_ready_leave_the_others_their_turn() -> None:
    pairs = [socket.socketpair() for _ in range(N)]
    seen: set[int] = set()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for i, (ours, theirs) in enumerate(pairs):
            loop.add_reader(ours, seen.add, i)  # nothing is read: each stays ready
            theirs.send(b"x")
        for _ in range(20):
            await asyncio.sleep(0)

    run_interruptible(work)
    for pair in pairs:
        for end in pair:
            end.close()
    assert seen == set(range(N))
