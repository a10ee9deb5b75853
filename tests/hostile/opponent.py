"""A server that answers rightly, but sometimes twice, late, or on the wrong connection."""

import asyncio
import select
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Literal, get_args

from tests.hostile.answers import Answer, Answers, Asked, asked_by
from tests.support import serve_streams

Fault = Literal[
    "twice at once",
    "twice when idle",
    "twice after the next request",
    "late",
    "behind",
    "copied elsewhere",
    "moved elsewhere",
    "swapped",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
ON_KEPT: frozenset[Fault] = frozenset(
    ("twice at once", "twice when idle", "twice after the next request", "behind")
)
"""Faults that need a second request on the same connection."""

_ELSEWHERE: frozenset[Fault] = frozenset(("copied elsewhere", "moved elsewhere", "swapped"))

MOST_HITS = 2
"""Attempts of one request that faults may spoil: half of `max_attempts`."""


class Link:
    """A connection of a client.

    Attributes:
        asked: request without an answer; None while the connection is idle.
        strays: answers sent while no request was read, since the last one; False for those that a
            request on its way will take for its own.
        last: last answer sent.
        repeated: answer to send in place of the next one, which follows.
        behind: right answer to the last request, where the connection is one answer behind.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self.asked: Asked | None = None
        self.last: Answer | None = None
        self.repeated: Answer | None = None
        self.behind: Answer | None = None
        self.strays: list[tuple[Answer, Fault, bool]] = []
        self._poll = select.poll()
        self._poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)

    @property
    def is_open(self) -> bool:
        """True unless either side has closed it."""
        return not self.writer.is_closing()

    @property
    def is_idle(self) -> bool:
        """True if no request is under way on it: none unanswered, none unread."""
        has_unread = bool(getattr(self._reader, "_buffer")) or bool(self._poll.poll(0))  # noqa: B009  private
        return self.asked is None and not has_unread


class Opponent:
    """Server of right answers, with random faults in their delivery.

    Args:
        answers: right answers.
        faults: kinds of faults to draw from.
        share: share of requests with a fault.
        chance: source of randomness.

    Attributes:
        requests: number of requests received.
        faults: number of faults by kind.
        crossed: faults by the request and the serial number of the wrong answer that was written
            to its connection while it was unanswered.
        stray: the same for answers that arrived while the connection was idle, before the request.
        unread: serial numbers of answers that came before a request was read, which never was, as
            the client closed the connection.
    """

    def __init__(
        self, answers: Answers, faults: tuple[Fault, ...], share: float, chance: Random
    ) -> None:
        self._answers = answers
        self._kinds = faults
        self._share = share
        self._chance = chance
        self._links: list[Link] = []
        self._hits: Counter[Asked] = Counter()
        self._waiting: tuple[Link, Answer, asyncio.Event] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.faults: Counter[Fault] = Counter()
        self.crossed: defaultdict[tuple[Asked, int], set[str]] = defaultdict(set)
        self.unread: set[int] = set()
        self.stray: defaultdict[tuple[Asked, int], set[str]] = defaultdict(set)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; yield the base URL."""
        try:
            async with serve_streams(self._connected) as port:
                yield f"http://127.0.0.1:{port}"
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._links.append(link)
        try:
            while True:
                asked = asked_by(await reader.readuntil(b"\r\n\r\n"))
                self.requests += 1
                for answer, fault, was_idle in link.strays:
                    found = self.stray if was_idle else self.crossed
                    found[asked, answer.serial].add(fault)
                    self._hits[asked] += 1
                # The client has taken an answer that came before its request was read.
                is_answered = any(not was_idle for _, _, was_idle in link.strays)
                link.asked = None if is_answered else asked
                link.strays.clear()
                await self._answer(link, asked)
                await writer.drain()
        finally:
            self.unread.update(answer.serial for answer, _, was_idle in link.strays if not was_idle)
            link.asked = None
            writer.close()
            self._links.remove(link)

    async def _answer(self, link: Link, asked: Asked) -> None:
        answer = self._answers.to(asked)
        may_hit = self._hits[asked] < MOST_HITS
        behind, link.behind = link.behind, None
        repeated, link.repeated = link.repeated, None
        if behind is not None and may_hit:
            link.behind = answer
            self._give(link, behind, "behind")
            return
        if repeated is not None and may_hit:
            self._give(link, repeated, "twice after the next request")
            await asyncio.sleep(self._chance.choice((0, 0.002)))
        if not self._kinds or self._chance.random() >= self._share:
            self._give(link, answer, "late")
            return
        fault = self._chance.choice(self._kinds)
        self.faults[fault] += 1
        if fault in _ELSEWHERE:
            await self._answer_elsewhere(link, answer, fault)
        elif fault == "behind" and link.last is not None and self._hits[asked] < MOST_HITS:
            link.behind = answer
            self._give(link, link.last, fault)
        else:
            if fault == "late":
                await asyncio.sleep(self._chance.uniform(0.001, 0.01))
            self._give(link, answer, fault, copies=1 + (fault == "twice at once"))
            if fault == "twice after the next request":
                link.repeated = answer
            if fault == "twice when idle":
                task = asyncio.create_task(self._give_later(link, answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer_elsewhere(self, link: Link, answer: Answer, fault: Fault) -> None:
        may_hit = self._hits[answer.asked] < MOST_HITS
        if fault == "swapped" and may_hit:
            await self._swap(link, answer)
        elif fault == "moved elsewhere" and may_hit:
            self._give_elsewhere(link, answer, fault)
            self._hits[answer.asked] += 1
            link.writer.close()
        else:
            if fault == "copied elsewhere":
                self._give_elsewhere(link, answer, fault)
            self._give(link, answer, fault)

    def _give(self, link: Link, answer: Answer, fault: Fault, *, copies: int = 1) -> None:
        """Write an answer to a connection, and take down which request it reaches."""
        if not link.is_open:
            return
        asked, link.asked = link.asked, None
        if asked is None:
            link.strays.append((answer, fault, link.is_idle))
        elif asked != answer.asked:
            self.crossed[asked, answer.serial].add(fault)
            self._hits[asked] += 1
        link.strays += [(answer, fault, True)] * (copies - 1)
        link.last = answer
        link.writer.write(answer.data * copies)

    async def _give_later(self, link: Link, answer: Answer) -> None:
        await asyncio.sleep(self._chance.choice((0, 0.001, 0.005)))
        if link.asked is None or self._hits[link.asked] < MOST_HITS:
            self._give(link, answer, "twice when idle")

    def _give_elsewhere(self, link: Link, answer: Answer, fault: Fault) -> None:
        """Write an answer to another connection, in use or idle, of the same tenant or not."""
        others = [
            other
            for other in self._links
            if other is not link
            and other.is_open
            and other.last is not None  # it had a request
            and (other.asked is None or self._hits[other.asked] < MOST_HITS)
        ]
        busy = [other for other in others if other.asked is not None]
        if busy and self._chance.random() < 0.5:
            others = busy
        if others:
            self._give(self._chance.choice(others), answer, fault)

    async def _swap(self, link: Link, answer: Answer) -> None:
        """Wait for a second request to be swapped, and answer each on the connection of the other.

        Where there is none within 10 ms, the answer is right.
        """
        if self._waiting is None:
            done = asyncio.Event()
            self._waiting = link, answer, done
            try:
                async with asyncio.timeout(0.01):
                    await done.wait()
            except TimeoutError:
                self._give(link, answer, "late")
            finally:
                if not done.is_set():
                    self._waiting = None
        else:
            (other, other_answer, done), self._waiting = self._waiting, None
            done.set()
            self._give(other, answer, "swapped")
            self._give(link, other_answer, "swapped")
