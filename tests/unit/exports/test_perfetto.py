"""Traces for Perfetto: bytes that were composed by hand, and what its own reader makes of them."""

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from testbed.exports.perfetto import Trace

SLICE = "0a175001e203120807120e73312065746831207072696f20330a1440e80750015a0d48015807ba01067061757365640a0b40e82f50015a0448025807"


def test_a_slice_on_a_track_is_the_bytes_that_its_format_says() -> None:
    trace = Trace(first=7)
    track = trace.track("s1 eth1 prio 3")
    trace.slice(track, "paused", 1_000, 6_120)
    assert trace.to_bytes().hex() == SLICE


def test_its_own_reader_finds_tracks_slices_counters_notes_and_flows() -> None:
    trace = Trace()
    leaf = trace.process("leaf")
    port, held = trace.track("eth1 priority 3", leaf), trace.counter("eth1 queue", leaf, "bytes")
    trace.slice(port, "paused", 5, 2**40, {"by": "b1:eth1", "share": 0.5, "frames": -3, "root": True}, flows=[9])
    trace.slice(port, "paused", 2**40, 2**40 + 1, ended=[9, 2**63])
    trace.count(held, 7, -(2**50))
    packets = protos.Trace.FromString(trace.to_bytes()).packet
    assert {packet.trusted_packet_sequence_id for packet in packets} == {1}
    process, first, second = (packet.track_descriptor for packet in packets[:3])
    assert (process.uuid, process.name, process.process.process_name) == (leaf, "leaf", "leaf")
    assert process.child_ordering == protos.TrackDescriptor.EXPLICIT
    assert [(track.uuid, track.name, track.parent_uuid) for track in (first, second)] == [
        (port, "eth1 priority 3", leaf),
        (held, "eth1 queue", leaf),
    ]
    assert first.sibling_order_rank < second.sibling_order_rank and second.counter.unit_name == "bytes"
    begun, ended, again, _, count = packets[3:]
    kinds = protos.TrackEvent.Type
    assert (begun.timestamp, begun.track_event.type, begun.track_event.name) == (5, kinds.TYPE_SLICE_BEGIN, "paused")
    assert (ended.timestamp, ended.track_event.type, ended.track_event.track_uuid) == (
        2**40,
        kinds.TYPE_SLICE_END,
        port,
    )
    by, share, frames, root = begun.track_event.debug_annotations
    assert (by.name, by.string_value, share.double_value) == ("by", "b1:eth1", 0.5)
    assert (frames.int_value, root.bool_value) == (-3, True)
    assert list(begun.track_event.flow_ids) == [9]
    assert list(again.track_event.terminating_flow_ids) == [9, 2**63]
    assert (count.timestamp, count.track_event.counter_value) == (7, -(2**50))
    assert count.track_event.track_uuid == held
