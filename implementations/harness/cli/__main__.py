"""The process around the commands: `atlas`, or `python -m implementations.harness.cli`.

What may come at any moment is met here: Ctrl-C, also while Python is still importing, and an output
that is full, closed, or of another encoding than UTF-8.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

FAILED, INTERRUPTED = 1, 130
PATIENCE = 3  # times Ctrl-C, before cleaning up is given up as well


def main() -> None:
    """Run `atlas` with the arguments of the process, and exit."""
    interrupts = Interrupts()
    try:
        open_streams()
        code = run()
    except BaseException:
        if not interrupts.count:
            raise
        code = INTERRUPTED  # whatever Ctrl-C has become on its way
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if interrupts.count and code:
        tell("interrupted; what was not finished was not written")
        code = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


class Interrupts:
    """Counts Ctrl-C, since some libraries make an error of their own of it.

    While one is on its way out, the next does not disturb what cleans up.
    """

    def __init__(self) -> None:
        self.count = 0
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not told to ignore it
            signal.signal(signal.SIGINT, self)

    def __call__(self, *_: Any) -> None:
        """Take one; raises `KeyboardInterrupt`."""
        self.count += 1
        leaving = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        if not leaving or self.count > PATIENCE:
            raise KeyboardInterrupt


def run() -> int:
    """Run the command and return its exit code."""
    from implementations.harness.cli.commands import app

    try:
        try:
            app(prog_name="atlas")
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except OSError as error:
        if error.filename is not None:
            raise
        # No file's name: it was open before, so it is the output.
        if not isinstance(error, BrokenPipeError):  # who reads a pipe may have seen enough
            tell(f"cannot write the output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is left, when Python ends
    return FAILED


def open_streams() -> None:
    """Have all three streams open, and print what an encoding lacks as a question mark."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: the next file would come to stand for it
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def tell(message: str) -> None:
    """Say on the error stream why it ends; without what may not be imported yet."""
    with suppress(OSError):
        sys.stderr.write(f"error: {message}\n")


if __name__ == "__main__":
    main()
