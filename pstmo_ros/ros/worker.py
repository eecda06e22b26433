"""A thread for what takes long, so that the node answers meanwhile; it never falls behind for long."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
Job = TypeVar("Job")


class Worker(Generic[Job]):
    """Works jobs off in order. Once one has waited longer than ``max_delay_s``, all but the newest are skipped, and
    from then on whatever a newer one waits with, until nothing waits.

    So a short hold-up costs nothing, and a machine that is too slow gives fewer results, but not later ones.
    """

    def __init__(self, work: Callable[[Job], None], on_skip: Callable[[int], None], max_delay_s: float) -> None:
        """work: called for each job, and on_skip for so many that are skipped, both in the worker's own thread.

        What they raise is logged, and the next job is taken up.
        """
        self.max_delay_s = max_delay_s
        self._work, self._on_skip = work, on_skip
        self._jobs: deque[tuple[float, Job]] = deque()
        self._changed = threading.Condition()
        self._ending = self._behind = False
        self._thread = threading.Thread(target=self._run, name="lifting", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Hand a job over; returns at once."""
        with self._changed:
            self._jobs.append((time.monotonic(), job))
            self._changed.notify()

    def stop(self) -> None:
        """Forget what waits; returns when the job at work is done."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            job, skipped = taken
            try:
                if skipped:
                    self._on_skip(skipped)
                self._work(job)
            except Exception:  # a thread that ended would leave its owner waiting for ever
                _log.exception("this is a bug, please report it")
            del taken, job  # what it holds need not live until the next one

    def _next(self) -> tuple[Job, int] | None:
        """The next job, and how many are skipped for it; None at the end."""
        with self._changed:
            self._behind = self._behind and bool(self._jobs)
            self._changed.wait_for(lambda: self._jobs or self._ending)
            if self._ending:
                return None
            put_at, job = self._jobs.popleft()
            skipped = 0
            # Were it not remembered, a machine that is always too slow would make every result wait, again and again.
            self._behind |= time.monotonic() - put_at > self.max_delay_s
            if self._jobs and self._behind:
                skipped, job = len(self._jobs), self._jobs[-1][1]
                self._jobs.clear()
            return job, skipped
