"""Work that holds up the event loop, one piece a turn of the loop."""

import asyncio
from collections import deque


class Turns:
    """Lets one task at a time do what takes the event loop a while, and others in between.

    Answers that came together would else be decoded one after the other before anything else is
    looked at; and what was made of the first would be cold in the caches by the time it is used.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._line: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn; it lasts until the task waits for something, or is done."""
        loop = asyncio.get_running_loop()
        if self._is_taken:
            waiter = loop.create_future()
            self._line.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._pass_on()  # it was its turn
                raise
        self._is_taken = True
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._is_taken = False
