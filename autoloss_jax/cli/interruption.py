"""Signals that end a program at once, whatever it is doing: what is written is whole or gone.

Python's own handlers wait until C code returns, which preparing and compiling are for minutes. So a
thread of its own hears of the signals. While a training heeds them (`workdirs.signals`), it saves
first.
"""

import os
import signal
import socket
import sys
import threading
from typing import Any

from autoloss_jax.distributed import atomic

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h"  # a bar hides it


def end_at_once() -> None:
    """From here on. In other threads than the main one, which no signal reaches, nothing."""
    if threading.current_thread() is not threading.main_thread():
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _ends)
    threading.Thread(target=_listen, args=(heard, told), daemon=True).start()


def _ends(number: int, frame: Any) -> None:
    """The thread does it."""


def _listen(heard: socket.socket, told: socket.socket) -> None:
    del told  # it is closed where nothing refers to it
    while number := heard.recv(1):
        if signal.getsignal(number[0]) is _ends:
            atomic.abandon()
            if sys.stderr.isatty():
                print(SHOW_CURSOR, file=sys.stderr, flush=True)
            os._exit(128 + number[0])
