"""The command `testbed`. What it is made of takes a while to import, and may be interrupted meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import sys

NO_ROOM = 3
# Objects made between two looks for garbage in circles. A command imports and plans, and makes hardly any of that; to look at
# every 700 objects, as is usual, takes an eighth of a short run.
_LOOK_EVERY = 50_000


def main() -> int:
    """Run the command line; return or exit with the exit code."""
    message = "interrupted before anything was begun"
    gc.set_threshold(_LOOK_EVERY)
    # To look for plugins, pydantic would read the metadata of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from testbed.commands.beginning import nothing_begun

        with nothing_begun():
            from testbed.cli import main as run
            from testbed.system import output
        message = "interrupted"
        output.guard()
        try:
            try:
                return run()
            finally:
                output.flush()
        except output.ReaderGone:
            output.leave_silently()
            return output.EXIT_CODE
        except OSError as error:
            output.abandon()
            print(f"testbed: cannot write standard output: {error.strerror}", file=sys.stderr)
            return NO_ROOM
    except KeyboardInterrupt:
        print(message, file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        _end_in_silence()


def _end_in_silence() -> None:
    """Let an interrupt end what is left, the interpreter that closes down, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
