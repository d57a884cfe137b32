"""Entry point of `atlas` and of `python -m implementations.harness.cli`.

Handles what can happen at any time: Ctrl-C, even during imports, and an output that is full, closed
or not UTF-8.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from implementations.harness.results.processor import use_standard_capability

FAILED, INTERRUPTED = 1, 130
MAX_INTERRUPTS = 3  # more presses of Ctrl-C interrupt the clean-up as well


def main() -> None:
    """Run `atlas` with the arguments of the process and exit."""
    interrupts = Interrupts()
    try:
        open_streams()
        code = run()
    except BaseException:
        if not interrupts.count:
            raise
        code = INTERRUPTED  # some libraries turn Ctrl-C into another exception
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if interrupts.count and code:
        print_error("interrupted; unfinished results were not written")
        code = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


class Interrupts:
    """Handler that counts Ctrl-C, because some libraries replace the `KeyboardInterrupt`.

    While one `KeyboardInterrupt` is handled, further ones do not interrupt the clean-up.
    """

    def __init__(self) -> None:
        self.count = 0
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless it is ignored
            signal.signal(signal.SIGINT, self)

    def __call__(self, *_: Any) -> None:
        """Count one Ctrl-C and raise `KeyboardInterrupt`."""
        self.count += 1
        cleaning_up = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        if not cleaning_up or self.count > MAX_INTERRUPTS:
            raise KeyboardInterrupt


OF_OUTPUT = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}
"""Errors without a file name that come from writing to standard output."""


def run() -> int:
    """Run the command and return its exit code."""
    use_standard_capability()  # before anything imports torch
    from implementations.harness.cli.commands import app

    try:
        try:
            app(prog_name="atlas")
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except OSError as error:
        if error.filename is not None or error.errno not in OF_OUTPUT:
            raise
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe may close it early
            print_error(f"cannot write the output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
    return FAILED


def open_streams() -> None:
    """Open closed standard streams, and print unencodable characters as question marks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed; the next opened file would get its descriptor
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def print_error(message: str) -> None:
    """Print an error without rich, which may not be imported yet."""
    with suppress(OSError):
        sys.stderr.write(f"error: {message}\n")


if __name__ == "__main__":
    main()
