"""The command `testbed`. What it is made of takes a while to import, and may be interrupted meanwhile."""

from __future__ import annotations

import sys

from testbed.commands.beginning import INTERRUPTED, nothing_begun

NO_ROOM = 3


def main() -> int:
    """Run the command line; return or exit with the exit code."""
    with nothing_begun():
        from testbed.cli import main as run
        from testbed.system import output
    try:
        output.guard()
        try:
            try:
                return run()
            finally:
                output.flush()
        except output.ReaderGone:
            output.abandon()
            return output.EXIT_CODE
        except OSError as error:
            output.abandon(every=True)
            print(f"testbed: cannot write standard output: {error.strerror}", file=sys.stderr)
            return NO_ROOM
    except KeyboardInterrupt:
        return INTERRUPTED
