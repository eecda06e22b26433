"""How the node's process runs: its executor, and the library's log in the node's."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

import rclpy
import rclpy.utilities
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.task import Future

# Of rclpy's C++ part, whose module's name is not the same in every version.
RCLError, InvalidHandle = rclpy_implementation.RCLError, rclpy_implementation.InvalidHandle

ENDED = (KeyboardInterrupt, ExternalShutdownException)  # the process was asked to end

Transition = Callable[[Any, Any], Any]
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
_spinning = threading.Event()
WAKE_S = 0.25  # the events executor looks for signals only this often


def spin(node: Any) -> None:
    """Run a node until it is asked to end (ENDED)."""
    executor = own_executor()
    executor.add_node(node)
    never = Future()
    _spinning.set()
    while rclpy.ok():
        try:
            executor.spin_until_future_complete(never, WAKE_S)
        except Exception as e:  # whatever went wrong must not end what a robot may be relying on
            if not rclpy.ok():  # it went wrong because everything is ending
                raise ExternalShutdownException from None
            if isinstance(e, RCLError):  # rclpy raises on a lifecycle transition that the present state does not have
                node.get_logger().error(f"refused: {e}")
            else:
                node.get_logger().error(f"this is a bug, please report it: {traceback.format_exc()}")


def said(transition: Transition) -> Transition:
    """A lifecycle transition that says what went wrong in it: rclpy goes on to error processing without a word."""

    @wraps(transition)
    def transit(node: Any, state: Any) -> Any:
        try:
            return transition(node, state)
        except Exception:
            if rclpy.ok():  # else it went wrong because everything is ending
                node.get_logger().error(f"this is a bug, please report it: {traceback.format_exc()}")
            raise

    return transit


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM end the process: `ros2 launch` adds its own to the terminal's Ctrl-C, and a
    second one would cut that ending short. To be called before rclpy.init, which passes signals on to this handler.

    What goes on before ``spin`` (a model is compiled) is interrupted where it is. ``spin`` sees that rclpy has ended
    its context, and a frame at work is done first: cut off, it would fill the log with tracebacks.
    """

    def interrupt(*_: object) -> None:
        _ignore_interrupts()
        if not _spinning.is_set():
            raise KeyboardInterrupt

    for ending in _ENDINGS:
        signal.signal(ending, interrupt)


def end(node: Any) -> None:
    """Destroy a node, or None, and shut rclpy down; no signal cuts that short."""
    _ignore_interrupts()
    if node is not None:
        node.destroy_node()
    # Not rclpy.try_shutdown: since Kilted that gives SIGTERM its default action back, and a second one would kill.
    rclpy.utilities.try_shutdown()


def _ignore_interrupts() -> None:
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)


def own_executor() -> Any:
    """The events executor costs half of the others' time per message; it is experimental, so there is a way around."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor

        return EventsExecutor()
    except ImportError:
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor()


def to_ros_log(logger: Any) -> None:
    """Let the library's log (engines, compilation) appear in the node's."""
    library = logging.getLogger("pstmo_ros")
    library.handlers, library.propagate = [_RosLog(logger)], False
    library.setLevel(logging.INFO)


class _RosLog(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:  # one line each: rclpy ties a severity to the line that logs
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())
