"""Ctrl-C and SIGTERM wait until a step is done and its state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Stop = Callable[[], str | None]


class Interrupted(RuntimeError):
    """A signal or a spent time budget stopped a run; its state is saved."""


@contextmanager
def deferred_signals() -> Iterator[Stop]:
    """Give a function that names the signal received so far, or None.

    SIGINT and SIGTERM are only noted; a second one of a kind acts as it did before. In another
    thread than the main one, where Python delivers no signals, nothing changes.

    Examples
    --------
    >>> import signal
    >>> with deferred_signals() as stop:
    ...     before = stop()
    ...     signal.raise_signal(signal.SIGTERM)
    ...     before, stop()
    (None, 'SIGTERM')
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    received: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
