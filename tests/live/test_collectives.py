"""Programs of many ranks on the hosts of a lab, started in all at once or by MPI's own launcher, and what they measure."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import Machine, private_machine

LAB = ("-t", "two-dc:rate=1G,length=80km,hosts=1", "--dilation", "1")
SPAN_US = 392
"""What light takes one way: 80 km of fibre."""
ELEMENTS = 100_000
HERE = Path(__file__).parent

# As the OSU benchmarks have it: half of the round trip of a message, by its size; then the mean of an even number of
# all-reduces, so that the lead of one rank is no longer in it. The handles of MPICH are numbers (mpi.h). MPI_Finalize of
# MPICH 4.0 may wait for ever for a peer that has gone (github.com/openucx/ucx/issues/2254).
PROGRAM = """
import ctypes, json, os, socket, threading, time
mpi = ctypes.CDLL("libmpich.so.12")
WORLD, BYTE, FLOAT, SUM, IGNORE = 0x44000000, 0x4C00010D, 0x4C00040A, 0x58000003, ctypes.c_void_p(1)
mpi.MPI_Init(None, None)
rank = ctypes.c_int()
mpi.MPI_Comm_rank(WORLD, ctypes.byref(rank))
me, peer = rank.value, 1 - rank.value
def latency_us(size, times):
    buffer = ctypes.create_string_buffer(size)
    began = time.perf_counter()
    for _ in range(times):
        for sender in (0, 1):
            if me == sender:
                mpi.MPI_Send(buffer, size, BYTE, peer, 1, WORLD)
            else:
                mpi.MPI_Recv(buffer, size, BYTE, peer, 1, WORLD, IGNORE)
    return (time.perf_counter() - began) / times / 2 * 1e6
def all_reduce_us(count, times):
    mine, total = (ctypes.c_float * count)(*[me + 1] * count), (ctypes.c_float * count)()
    mpi.MPI_Allreduce(mine, total, count, FLOAT, SUM, WORLD)
    assert list(total) == [3.0] * count
    began = time.perf_counter()
    for _ in range(times):
        mpi.MPI_Allreduce(mine, total, count, FLOAT, SUM, WORLD)
    return (time.perf_counter() - began) / times * 1e6
latency_us(8, 1)
figures = [latency_us(8, 4), latency_us(65536, 4), all_reduce_us(2, 4)]
os.write(1, (json.dumps([socket.gethostname(), me, *figures]) + "\\n").encode())
patience = threading.Timer(20, os._exit, [0])
patience.daemon = True
patience.start()
mpi.MPI_Finalize()
patience.cancel()
"""


@pytest.fixture(scope="module")
def machine(repo_root: Path, tmp_path_factory: pytest.TempPathFactory, require_root: None) -> Iterator[Machine]:
    """Give a machine of our own with a lab of two hosts, 80 km apart."""
    with private_machine(repo_root, tmp_path_factory.mktemp("machine")) as machine:
        machine.ok("deploy", *LAB)
        yield machine


def test_a_program_runs_in_all_hosts_and_knows_which_it_is(machine: Machine) -> None:
    script = "echo $TESTBED_RANK of $TESTBED_SIZE; hostname >&2; exit $((TESTBED_RANK * 3))"
    done = machine.run("exec", "--name", "two-dc", "--all", "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(done.stdout.splitlines()) == ["a1: 0 of 2", "a1: a1", "b1: 1 of 2", "b1: b1"]
    none = machine.run("exec", "--name", "two-dc", "--all", "--", "nosuch")
    assert (none.returncode, none.stdout) == (127, "") and none.stderr.startswith("testbed: run nosuch: ")
    bare = machine.run("exec", "--name", "two-dc", "a1")
    assert (bare.returncode, "a program is missing" in bare.stderr) == (2, True)
    ghost = machine.run("exec", "--name", "ghost", "--all", "--", "true")
    assert (ghost.returncode, "no lab ghost is deployed" in ghost.stderr) == (2, True)


def test_what_dilation_does_to_figures_is_said_at_a_terminal_alone(machine: Machine) -> None:
    machine.ok("deploy", "-t", "pair:name=slow", "--dilation", "1000")
    ping = ("exec", "--name", "slow", "a1", "--", "ping", "-c", "1", "-W", "20", "b1")
    shown = machine.on_terminal(*ping)
    said = "dilation 1000: times that ping prints are 1000 times those of the network\r\n"
    assert (shown.returncode, shown.stderr) == (0, said)
    assert machine.on_terminal("exec", "--name", "slow", "a1", "--", "true").stderr == ""
    assert machine.on_terminal("exec", "--name", "two-dc", *ping[3:]).stderr == "", (
        "what passes at a dilation of 1 is real"
    )
    assert machine.run(*ping).stderr == ""
    machine.ok("destroy", "--name", "slow")


def test_an_all_reduce_of_gloo_crosses_the_span(machine: Machine) -> None:
    program, store = machine.directory / "all_reduce", machine.directory / "store"
    subprocess.run(["g++", "-O1", "-std=c++17", HERE / "all_reduce.cc", "-lgloo", "-o", program], check=True)
    store.mkdir()
    text = machine.ok(
        "exec", "--name", "two-dc", "--all", "--", "timeout", "60", str(program), str(store), str(ELEMENTS)
    )
    rows = sorted(json.loads(line.partition(": ")[2]) for line in text.splitlines())
    assert [row[:2] for row in rows] == [[0, 0], [1, 0]]
    # Each rank sends half of its bytes twice, one after the other, over a span at 1 Gb/s.
    least_us = 2 * SPAN_US + 2 * (ELEMENTS // 2) * 4 * 8 / 1000
    assert all(row[2] > least_us for row in rows), rows


def test_mpich_starts_its_ranks_by_the_files_of_the_lab(machine: Machine) -> None:
    hosts, launcher, program = (machine.directory / name for name in ("hosts", "rsh", "program.py"))
    hosts.write_text(machine.ok("hostfile", "--name", "two-dc", "mpich"))
    launcher.write_text(machine.ok("hostfile", "--name", "two-dc", "rsh"))
    launcher.chmod(0o755)
    program.write_text(PROGRAM)
    words = ["mpiexec.mpich", "-localhost", "a1", "-f", str(hosts), "-launcher", "ssh", "-launcher-exec", str(launcher)]
    bounded = ("timeout", "--kill-after=5", "80", *words, "python3", str(program))
    text = machine.ok("exec", "--name", "two-dc", "a1", "--", *bounded)
    rows = sorted(json.loads(line) for line in text.splitlines())
    assert [row[:2] for row in rows] == [["a1", 0], ["b1", 1]]
    for _host, _rank, small_us, large_us, all_reduce_us in rows:
        assert small_us > SPAN_US and large_us > SPAN_US + 65536 * 8 / 1000 and all_reduce_us > SPAN_US, rows


HOSTFILES = {
    "mpich": "a1:2\nb1:2\n",
    "openmpi": "a1 slots=2\nb1 slots=2\n",
    "torchrun": "--nnodes=2\n--nproc-per-node=2\n--master-addr=a1\n--master-port=29500\n",
    "srun": "a1\na1\nb1\nb1\n",
}


@pytest.mark.parametrize("launcher", HOSTFILES)
def test_hosts_are_written_as_their_reader_has_them(machine: Machine, launcher: str) -> None:
    assert machine.ok("hostfile", "--name", "two-dc", "--slots", "2", launcher) == HOSTFILES[launcher]


def test_the_script_that_starts_programs_takes_what_ssh_takes(machine: Machine) -> None:
    launcher = machine.directory / "start"
    launcher.write_text(machine.ok("hostfile", "--name", "two-dc", "rsh"))
    words = ["-x", "-q", "b1", "hostname;", "echo", "'two  words'"]
    inside = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", "sh", str(launcher), *words]
    done = subprocess.run(inside, cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"b1\ntwo  words\n", done.stdout), done.stdout
