"""A stock MPI between two hosts of a lab: what ranks say to each other crosses the fabric, and no shared memory."""

import json
import sys
from pathlib import Path

import pytest

from tests.live.netns_lab import isolated
from tests.live.test_kernel_traffic import LAB, output, path_delay_ps, running

pytestmark = pytest.mark.usefixtures("require_root")

# An even number of calls: each ends when the other rank's began and a span has passed, so that after two of them a lead of one
# rank is no longer in what it measures. MPICH's handles are numbers (mpi.h), so that it takes no compiler. MPI_Finalize of
# MPICH 4.0 on UCX may wait for ever for a peer that has gone (github.com/openucx/ucx/issues/2254: about once in 1,000 runs);
# by then all that is looked at is printed.
PROGRAM = """
import ctypes, json, os, socket, threading, time
mpi = ctypes.CDLL("libmpich.so.12")
WORLD, FLOAT, SUM = 0x44000000, 0x4C00040A, 0x58000003
mpi.MPI_Init(None, None)
rank, mine, total, times = ctypes.c_int(), ctypes.c_float(), ctypes.c_float(), 6
mpi.MPI_Comm_rank(WORLD, ctypes.byref(rank))
mine.value = rank.value + 1
everything = ctypes.byref(mine), ctypes.byref(total), 1, FLOAT, SUM, WORLD
mpi.MPI_Allreduce(*everything)
began = time.perf_counter()
for _ in range(times):
    mpi.MPI_Allreduce(*everything)
took_us = (time.perf_counter() - began) / times * 1e6
line = json.dumps([socket.gethostname(), rank.value, total.value, took_us]) + "\\n"
os.write(1, line.encode())  # one write: mpiexec puts what two ranks write together as it comes
patience = threading.Timer({patience_s}, os._exit, [0])
patience.daemon = True
patience.start()
mpi.MPI_Finalize()
patience.cancel()
"""
PATIENCE_S, LIMIT_S = 20, 80
# Called as ssh is: `-x`, the host, and a command line.
LAUNCHER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from testbed.drivers.netns import NetnsDriver
_option, node, *command = sys.argv[1:]
sys.exit(NetnsDriver().exec_in({lab!r}, node, ["sh", "-c", " ".join(command)]))
"""


@isolated
def test_an_all_reduce_of_mpich_takes_as_long_as_the_span() -> None:
    root = str(Path(__file__).resolve().parents[2])
    program, launcher = Path("/run/program"), Path("/run/launcher")
    program.write_text(PROGRAM.format(patience_s=PATIENCE_S))
    launcher.write_text(LAUNCHER.format(python=sys.executable, root=root, lab=LAB))
    launcher.chmod(0o755)
    by = ("-localhost", "a1", "-launcher", "ssh", "-launcher-exec", str(launcher))
    with running("two-dc:rate=1G,length=80km", 1) as (plan, fabric):
        # Whatever else it waits for ends with a status of its own: 124.
        bounded = ("timeout", "--kill-after=5", str(LIMIT_S), "mpiexec.mpich")
        text = output("a1", *bounded, *by, "-hosts", "a1,b1", "-n", "2", sys.executable, str(program))
        span_us = path_delay_ps(plan, "a1", "b1") / 1e6
        rows = sorted(json.loads(line) for line in text.splitlines())
        assert [row[:3] for row in rows] == [["a1", 0, 3.0], ["b1", 1, 3.0]]
        assert span_us > 390 and all(row[3] > span_us for row in rows), rows
        assert json.loads(fabric.report())["kernel_frames"]["delivered"] > 20
