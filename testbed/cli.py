"""The command `testbed`: global options, errors and exit codes. The verbs are in `testbed.commands`.

Exit codes: 0 all expectations held · 1 an expectation failed · 2 bad usage or input · 3 the machine cannot, or the
testbed has a defect · 4 the emulation was not faithful · 130 interrupted, after cleaning up · 141 nobody reads the output.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.arguments import check_arguments
from testbed.commands.completion import words_of_bash
from testbed.commands.help import Verbs
from testbed.commands.table import VERBS
from testbed.errors import HostError, TestbedError, UsageError, machine_fault
from testbed.system import output

DEFECT = 3
DEBUG_VARIABLE = "TESTBED_DEBUG"

app = typer.Typer(
    name="testbed",
    cls=Verbs,
    help="Build lossless networks on one machine, and measure how they behave over distance.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_ON_THIS_MACHINE = {verb.name for verbs in VERBS.values() for verb in verbs if not verb.asks_agent}


def _is_said(context: typer.Context, parameter: str) -> bool:
    """Return whether a global option stands on the command line. In the environment it is there for all commands."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from testbed.run.versions import versions

        print(f"testbed {versions()['testbed']}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    broker: Annotated[
        str | None,
        typer.Option(
            envvar="TESTBED_BROKER",
            help="broker of a remote agent: mqtts://host[:port]",
            show_default="the agent of this machine",
        ),
    ] = None,
    agent_name: Annotated[
        str,
        typer.Option(
            "--agent",
            envvar="TESTBED_AGENT",
            help="name of the agent on that broker; for one lab on several: a,b",
        ),
    ] = "agent",
    credentials: Annotated[
        Path | None, typer.Option(envvar="TESTBED_CREDENTIALS", help="file with user:password, mode 0600")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar="TESTBED_CA",
            help="certificate authorities of the broker, PEM",
            show_default="those of the system",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="show no progress on standard error")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an unexpected error")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="show the version and end", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    given = [name for name in ("broker", "agent_name", "credentials", "ca_file") if _is_said(context, name)]
    if given and context.invoked_subcommand in _ON_THIS_MACHINE:
        option = {"agent_name": "--agent", "ca_file": "--ca"}.get(given[0], f"--{given[0]}")
        raise UsageError(f"{option}: `testbed {context.invoked_subcommand}` runs on this machine, without an agent")
    context.obj = {"agent": (broker, agent_name, credentials, ca_file), "quiet": quiet}


def _interrupt(*_: object) -> None:
    """Interrupt this process as Ctrl-C does; where that is ignored, as in the background of a shell's script, all the same."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    """Run the command line; return or exit with the exit code."""
    # Being asked to end is to clean up like an interrupt: what was deployed goes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        check_arguments(sys.argv[1:])
        with words_of_bash():
            app()
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  the last resort: a defect is reported, not thrown at the user
        if fault := machine_fault(error):
            print(f"testbed: {fault}", file=sys.stderr)
            with suppress(OSError):
                output.flush()
                return HostError.exit_code
            output.abandon()
            return HostError.exit_code
        print(f"testbed: internal error: {error!r}", file=sys.stderr)
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        else:
            print("testbed: repeat with `testbed --debug` for the traceback", file=sys.stderr)
        return DEFECT
    return 0


if __name__ == "__main__":
    sys.exit(main())
