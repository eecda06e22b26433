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
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

RCLError = rclpy_implementation.RCLError  # of rclpy's C++ part, whose module's name is not the same in every version

Transition = Callable[[Any, Any], Any]
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
_asked, _in_frames = threading.Event(), threading.Event()  # to end; and whether it is left to spin to do so
WAKE_S = 0.25  # the events executor looks for signals only this often
AGAIN_S = 1.0  # an interrupt that was swallowed, as compilers do now and then, is repeated after so long


def init(args: list[str] | None) -> None:
    """rclpy.init, and let the first SIGINT or SIGTERM end the process: `ros2 launch` adds its own to the terminal's
    Ctrl-C, and a second one would cut that ending short.

    What goes on outside ``spin``, or in a transition (a model is compiled), is interrupted where it is. ``spin`` lets a
    frame at work be done first: cut off, it would fill the log with tracebacks. rclpy's own handlers would end its
    context at once, in a thread of theirs: whatever is under way would then fail, each in its own way.

    SystemExit where ROS does not start, for arguments or a parameters file that it does not understand.
    """

    def interrupt(*_: object) -> None:
        _ignore_interrupts()
        _asked.set()
        if not _in_frames.is_set():
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
            raise KeyboardInterrupt

    for ending in (*_ENDINGS, signal.SIGALRM):
        signal.signal(ending, interrupt)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as e:  # RCLError and UnknownROSArgsError among them
        of_a_file = "; config/lifter.yaml of this package shows how it is written" if "params file" in str(e) else ""
        raise SystemExit(f"ROS does not start: {e}{of_a_file}") from None


def spin(node: Any) -> None:
    """Run a node until it is asked to end."""
    executor = own_executor()
    executor.add_node(node)
    ended = Future()
    # While messages wait, the events executor does not look at the time: it ends only by the future. A thread sets it,
    # for its lock may be held where a signal interrupts.
    threading.Thread(target=lambda: _asked.wait() and ended.set_result(None), daemon=True).start()
    _in_frames.set()
    while not _asked.is_set():
        try:
            executor.spin_until_future_complete(ended, WAKE_S)
        except Exception as e:  # whatever went wrong must not end what a robot may be relying on
            if isinstance(e, RCLError):  # rclpy raises on a lifecycle transition that the present state does not have
                node.get_logger().error(f"refused: {e}")
            else:
                node.get_logger().error(f"this is a bug, please report it: {traceback.format_exc()}")


def said(transition: Transition) -> Transition:
    """A lifecycle transition that says what went wrong in it: rclpy goes on to error processing without a word."""

    @wraps(transition)
    def transit(node: Any, state: Any) -> Any:
        spinning = _in_frames.is_set()
        try:
            _in_frames.clear()
            return transition(node, state)
        except KeyboardInterrupt:
            if not spinning:
                raise
            return TransitionCallbackReturn.FAILURE  # the executor would report what is raised; spin ends now anyway
        except Exception:
            node.get_logger().error(f"this is a bug, please report it: {traceback.format_exc()}")
            raise
        finally:
            if spinning:
                _in_frames.set()

    return transit


def end(node: Any) -> None:
    """Destroy a node, or None, and shut rclpy down; no signal cuts that short."""
    signal.setitimer(signal.ITIMER_REAL, 0)
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
