"""A Slurm of one node, of Debian's packages, in namespaces of its own: munge, the controller, the node, and a script inside."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

NODE = "node1"
CODE = "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"

# slurm.conf(5): no accounting, no groups of control, every daemon as root.
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""

# Slurm resolves addresses with AI_ADDRCONFIG, which leaves IPv4 out where a machine has none but that of its loopback.
_START = """\
set -eu
mount --bind hosts /etc/hosts
hostname {node}
ip link set lo up
ip link add up0 type veth peer name up1
ip address add 198.18.0.1/24 dev up0
ip link set up0 up
munged --force --key-file=$PWD/munge/key --socket=$PWD/munge/socket --pid-file=$PWD/munge/pid \\
    --log-file=$PWD/munge/log --seed-file=$PWD/munge/seed
slurmctld -c
slurmd
until sinfo --noheader --format=%T | grep -q idle; do sleep 0.1; done
cd {work}
"""


def run_in_slurm(script: str, work: Path, directory: Path, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
    """Run a script in `work` on a Slurm whose files are in `directory`; all that it started ends with it."""
    for name in ("munge", "state", "spool", "bin"):
        (directory / name).mkdir(mode=0o700)
    key = directory / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    (directory / "slurm.conf").write_text(_CONFIGURATION.format(node=NODE, directory=directory))
    # It is not used, and looked for all the same: refused where a machine has both versions of it.
    (directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    (directory / "hosts").write_text(f"127.0.0.1 localhost\n198.18.0.1 {NODE}\n")
    command = directory / "bin" / "testbed"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{CODE}" "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "PYTHONPATH": str(ROOT),
        "SLURM_CONF": str(directory / "slurm.conf"),
    }
    apart = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    text = _START.format(node=NODE, work=work) + script
    return subprocess.run(
        [*apart, "bash", "-c", text],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
