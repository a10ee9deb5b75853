"""Signals: the first one cancels the scope, the second one kills the process."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from spot_billing_async.cli.pull import pull
from spot_billing_async.cli.signals import Interruption, interruptible
from spot_billing_async.emulator import Emulator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Restore the signal handlers after each test."""
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


async def kill_when(reached: Callable[[], bool], signum: signal.Signals) -> None:
    """Send a signal to this process when a condition holds."""
    while not reached():  # noqa: ASYNC110  a condition without an event
        await anyio.sleep(0.005)
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cancels_the_scope_alone(signum: signal.Signals, code: int) -> None:
    """The scope is cancelled, the code after it runs, and a second signal would kill."""
    with interruptible() as interruption:
        with interruption.scope:
            os.kill(os.getpid(), signum)
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
    assert interruption.exit_code == code
    assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2


async def test_without_a_signal_nothing_is_cancelled() -> None:
    """Without a signal, the scope ends normally and the exit code is None."""
    with interruptible() as interruption, interruption.scope:
        await anyio.lowlevel.checkpoint()
    assert isinstance(interruption, Interruption)
    assert interruption.exit_code is None


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.default_int_handler])
async def test_the_earlier_handlers_are_restored(handler: signal.Handlers) -> None:
    """The earlier handlers are restored: a later Ctrl-C must not raise where none would have."""
    for signum in SIGNALS:
        signal.signal(signum, handler)
    with interruptible():
        pass
    assert [signal.getsignal(each) for each in SIGNALS] == [handler] * 2


async def test_an_interrupted_pull_leaves_file_and_summary(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An interrupted pull writes its file, prints its counts, and leaves no task behind."""
    monkeypatch.setenv("SPOTINST_TOKEN", emulator.token)
    monkeypatch.setenv("SPOTINST_BASE_URL", emulator.base_url)
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when, lambda: emulator.requests > 100, signal.SIGINT)
        code = await pull(
            from_date=date(2024, 1, 1),
            to_date=date(2025, 12, 31),
            all_accounts=True,
            window="day",
            out=str(tmp_path / "x.csv"),
        )
    assert code == 130
    counts, missing = capsys.readouterr().err.splitlines()
    assert counts.startswith("17,544 slices: ")
    assert " not started; " in counts
    assert missing.endswith(" more; --report lists all)")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
