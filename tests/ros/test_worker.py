import queue
import time

import pytest

pytest.importorskip("rclpy", reason="the worker is part of the node")

from pstmo_ros.ros.worker import Worker


class Held:
    """Work that begins, and then waits until it may end."""

    def __init__(self):
        self.begun, self.ends, self.skipped = queue.Queue(), queue.Queue(), []

    def __call__(self, job):
        self.begun.put(job)
        self.ends.get()

    def next(self, *waiting, worker):
        """What is begun once these jobs wait, and the one at work ends."""
        for job in waiting:
            worker.put(job)
        self.ends.put(None)
        return self.begun.get(timeout=5)


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def worker(held):
    worker = Worker(held, held.skipped.append, max_delay_s=60.0)
    worker.put("first")
    assert held.begun.get(timeout=5) == "first"
    yield worker
    for _ in range(10):
        held.ends.put(None)
    worker.stop()


def test_a_hold_up_within_the_delay_costs_nothing(held, worker):
    assert held.next("a", "b", "c", worker=worker) == "a"
    assert held.next(worker=worker) == "b"
    assert held.next(worker=worker) == "c"
    assert not held.skipped


def test_whoever_has_fallen_behind_takes_the_newest_until_nothing_waits(held, worker):
    worker.max_delay_s = 0.0
    assert held.next("a", "b", worker=worker) == "b"
    worker.max_delay_s = 60.0
    assert held.next("c", "d", "e", worker=worker) == "e", "still behind: nothing is to wait once more"
    assert held.skipped == [1, 2]
    held.ends.put(None)
    worker.put("f")  # nothing waited, or this alone: either way it is next
    assert held.begun.get(timeout=5) == "f"


def test_whoever_has_caught_up_skips_nothing(held, worker):
    worker.max_delay_s = 0.0
    assert held.next("a", "b", worker=worker) == "b"
    worker.max_delay_s = 60.0
    held.ends.put(None)
    while worker._behind:  # it comes back, and finds nothing waiting
        time.sleep(0.001)
    worker.put("c")
    assert held.begun.get(timeout=5) == "c"
    assert held.next("d", "e", worker=worker) == "d"
    assert held.skipped == [1]
