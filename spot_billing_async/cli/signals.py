"""Ctrl-C and SIGTERM end a command in an orderly way: what is to be stopped is cancelled."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818  a wish of the user's
    """The command was ended by a signal, and has nothing more to say.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Interruption:
    """Whether a signal came, and what it cancels.

    Attributes:
        scope: to be entered around what a signal is to end.
        exit_code: None, or what a shell makes of the signal that came: 128 and its number.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.exit_code: int | None = None

    def take(self, signum: signal.Signals) -> None:
        """Cancel the scope. Signals are ended by the system from here on: a second one kills."""
        self.exit_code = 128 + signum
        for each in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self.scope.cancel()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within this block a signal cancels the scope of the interruption, and nothing else.

    After it signals do what they did before, but for one that came: a second one then kills.
    """
    interruption = Interruption()
    loop = asyncio.get_running_loop()
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    for signum in _SIGNALS:
        loop.add_signal_handler(signum, interruption.take, signum)
    try:
        yield interruption
    finally:
        # The loop would leave Python's own handler for Ctrl-C behind, and thus a traceback.
        for signum, handler in before.items():
            if loop.remove_signal_handler(signum):
                signal.signal(signum, handler)
