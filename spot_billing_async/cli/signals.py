"""Orderly end of a command on Ctrl-C and SIGTERM, by cancellation."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818  a request of the user, not an error
    """End of a command by a signal; nothing more is printed.

    Attributes:
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Interruption:
    """Cancel scope that a signal cancels, and the exit code of that signal.

    Attributes:
        scope: entered around the work that a signal cancels.
        exit_code: 128 plus the number of the received signal; None without one.
    """

    def __init__(self) -> None:
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.exit_code: int | None = None

    def handle_signal(self, signum: signal.Signals) -> None:
        """Cancel the scope, and restore the system's handling: a second signal kills."""
        self.exit_code = 128 + signum
        for each in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self.scope.cancel()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let a signal cancel the scope of the interruption, and nothing else, inside this block.

    Leaving the block restores the earlier handlers, unless a signal was received: after one, the
    system's handling stays, so that a second one kills.
    """
    interruption = Interruption()
    loop = asyncio.get_running_loop()
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    for signum in _SIGNALS:
        loop.add_signal_handler(signum, interruption.handle_signal, signum)
    try:
        yield interruption
    finally:
        # `remove_signal_handler` alone would install Python's default handler for Ctrl-C, which
        # prints a traceback. It returns False for signals that `handle_signal` has removed.
        for signum, handler in before.items():
            if loop.remove_signal_handler(signum):
                signal.signal(signum, handler)
