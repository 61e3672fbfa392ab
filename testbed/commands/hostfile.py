"""testbed hostfile: the hosts of a lab for what starts programs on many machines."""

from __future__ import annotations

import enum
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from testbed.commands.common import LabName

RENDEZVOUS_PORT = 29500
"""Where the ranks of PyTorch meet unless they are told otherwise (torch.distributed)."""


class Launcher(enum.StrEnum):
    """What reads the hosts."""

    mpich = "mpich"
    openmpi = "openmpi"
    torchrun = "torchrun"
    srun = "srun"
    rsh = "rsh"


def hostfile(
    name: LabName,
    launcher: Annotated[
        Launcher,
        typer.Argument(
            metavar="LAUNCHER",
            help="hosts for mpiexec -f, mpirun --hostfile, SLURM_HOSTFILE, options of torchrun, "
            "or a script that mpiexec starts programs in nodes by, in place of ssh",
        ),
    ],
    slots: Annotated[int, typer.Option(min=1, max=4096, help="ranks on each host")] = 1,
) -> None:
    """Print the hosts of a lab that is up, in the order of their ranks, as a launcher of parallel programs reads them."""
    from testbed.control import verbs

    print(WRITERS[launcher](name, verbs.hosts_of(name), slots))


def _torchrun(_lab: str, hosts: Sequence[str], slots: int) -> str:
    options = {"nnodes": len(hosts), "nproc-per-node": slots, "master-addr": hosts[0], "master-port": RENDEZVOUS_PORT}
    return "\n".join(f"--{option}={value}" for option, value in options.items())


def _rsh(lab: str, _hosts: Sequence[str], _slots: int) -> str:
    """Return a script that is called as ssh is: options, a host, and a command line for the shell there."""
    command = [sys.executable, "-c", "import sys; from testbed.start import main; sys.exit(main())"]
    start = shlex.join([*command, "exec", "--name", lab])
    return f"""#!/bin/sh
while case $1 in -*) ;; *) false ;; esac; do shift; done
node=$1
shift
exec {start} "$node" -- sh -c "$*\""""


WRITERS: Mapping[Launcher, Callable[[str, Sequence[str], int], str]] = {
    Launcher.mpich: lambda lab, hosts, slots: "\n".join(f"{host}:{slots}" for host in hosts),
    Launcher.openmpi: lambda lab, hosts, slots: "\n".join(f"{host} slots={slots}" for host in hosts),
    Launcher.torchrun: _torchrun,
    Launcher.srun: lambda lab, hosts, slots: "\n".join(host for host in hosts for _ in range(slots)),
    Launcher.rsh: _rsh,
}
