"""SIGTERM and ctrl-C: a run writes a checkpoint before it stops."""

import contextlib
import signal
import threading

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal.

    Attributes:
        signal: int, its number.
    """

    def __init__(self, number):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.signal = number


class Signals:
    """Context in which the first SIGTERM or SIGINT waits for the next checkpoint.

    That is so inside of `deferred`. Elsewhere, and from the second signal on, `Interrupted` is
    raised at once. In another thread than the main one nothing is caught: Python allows it there
    only.

    Attributes:
        received: int, the signal that waits, or None.
    """

    def __init__(self):
        self.received, self.waiting, self.before = None, False, {}

    @contextlib.contextmanager
    def deferred(self):
        """A block of steps, which would be lost without a checkpoint."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in CAUGHT:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        first, self.received = self.received is None, number
        if not (first and self.waiting):
            self.stop()

    def stop(self):
        """Raises `Interrupted`; another worker may have got the signal."""
        raise Interrupted(self.received or signal.SIGTERM)
