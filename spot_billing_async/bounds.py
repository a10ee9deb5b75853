"""A deadline around calls that know nothing of it: that of the request that a backend serves.

It goes with the context, as a request's task, and the tasks made in it, have it in common.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from math import inf

from spot_billing_async.config import check_seconds
from spot_billing_async.errors import DeadlineExceededError

_ends_at_s: ContextVar[float] = ContextVar("ends_at_s", default=inf)


@contextmanager
def within(deadline_s: float) -> Iterator[None]:
    """Have every call and pull that is begun in a block end by then.

    The client's own `deadline_s`, and an outer block, go on to hold. Waiting for the server's quota
    counts. What is not done in time fails as by any deadline: a call with a
    `DeadlineExceededError`, a slice of a pull as `Failed`. Nothing is sent after it. It goes with
    the context; a plain function that a framework runs in a thread has one of its own.

        with within(2.5):
            items = await client.costs.get(account_id, day, day)

    Args:
        deadline_s: seconds from now.

    Raises:
        ConfigError: it is no number of seconds above 0.
    """
    check_seconds("deadline_s", deadline_s)
    before = _ends_at_s.set(min(_ends_at_s.get(), time.monotonic() + deadline_s))
    try:
        yield
    finally:
        _ends_at_s.reset(before)


def unbounded() -> Context:
    """The present context, but for any `within`: for work that others have a share in."""
    context = copy_context()
    context.run(_ends_at_s.set, inf)
    return context


def hard_end_s(ends_at_s: float | None, clock: Callable[[], float]) -> float:
    """The reading of a clock by which a call has to be done: that of its pull, or of `within`.

    Args:
        ends_at_s: the reading at which its pull ends; None for a call of its own.
        clock: seconds that only grow.

    Raises:
        DeadlineExceededError: the deadline of `within` has passed.
    """
    pull_ends_at_s = inf if ends_at_s is None else ends_at_s
    around_ends_at_s = _ends_at_s.get()
    if around_ends_at_s == inf:
        return pull_ends_at_s
    left_s = around_ends_at_s - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceededError("the caller's deadline passed before this call began")
    return min(pull_ends_at_s, clock() + left_s)
