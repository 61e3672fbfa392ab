"""The command `testbed`. What it is made of takes a while to import, and may be interrupted meanwhile."""

from __future__ import annotations

INTERRUPTED = 130


def main() -> int:
    """Run the command line; return or exit with the exit code."""
    try:
        from testbed import output

        output.guard()
        try:
            try:
                from testbed.cli import main as run

                return run()
            finally:
                output.flush()
        except output.ReaderGone:
            output.abandon()
            return output.EXIT_CODE
    except KeyboardInterrupt:
        return INTERRUPTED
