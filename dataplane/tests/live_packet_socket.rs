//! Packet sockets on veth pairs between namespaces of their own. Needs root, and fails without.
#![cfg(feature = "live")]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use _dataplane::io::{
    close_all, forward, measure_forwarder, measure_load, open_in, probe_frame, wait_until_up, Attachment, Filter,
    ForwardPath, Interest, Options, PacketSocket, Poller, RxBatch, SocketStatistics, TxBatch, BATCH_FRAMES,
};
use _dataplane::wire::sizes::LONGEST_FRAME_BYTES;
use common::veth::Pair;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE_ADDRESS: [u8; 6] = [0x01, 0x80, 0xC2, 0, 0, 1];
const PROBE_ADDRESS: [u8; 6] = [0x02, 0, 0, 0, 0xFF, 0x02];

fn numbered(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let mut frame = probe_frame(bytes);
            frame[14..18].copy_from_slice(&(number as u32).to_be_bytes());
            frame
        })
        .collect()
}

fn send(socket: &PacketSocket, frames: &[Vec<u8>]) {
    let mut batch = TxBatch::new(frames.len());
    for frame in frames {
        assert!(batch.push(frame));
    }
    let start = Instant::now();
    while !batch.is_empty() {
        assert_eq!(batch.flush(socket).unwrap().refused, 0);
        assert!(start.elapsed() < PATIENCE, "the interface takes no more frames");
    }
}

/// Receive until `count` frames are there.
fn receive(socket: &PacketSocket, count: usize) -> Vec<Vec<u8>> {
    let mut poller = Poller::new().unwrap();
    poller.add(socket, 0).unwrap();
    let (mut batch, mut frames, start) = (RxBatch::new(BATCH_FRAMES), Vec::new(), Instant::now());
    while frames.len() < count {
        poller.wait(100_000_000).unwrap();
        frames.extend(batch.recv(socket).unwrap().map(<[u8]>::to_vec));
        assert!(start.elapsed() < PATIENCE, "{} frames of {count} arrived", frames.len());
    }
    frames
}

/// Wait until the kernel has delivered `packets` frames to the socket: under load it does so after `send` returns.
fn delivered(socket: &PacketSocket, packets: u64) -> SocketStatistics {
    let start = Instant::now();
    loop {
        let statistics = socket.statistics().unwrap();
        if statistics.packets >= packets {
            return statistics;
        }
        assert!(start.elapsed() < PATIENCE, "{statistics:?} of {packets} frames");
    }
}

#[test]
fn a_batch_arrives_whole_in_order_and_only_at_the_other_end() {
    let pair = Pair::new(1, 1500);
    let (a, b) = pair.open();
    let there = numbered(100, 1514);
    let back = numbered(70, 60);
    send(&a, &there);
    send(&b, &back);
    assert_eq!(receive(&b, there.len()), there);
    // Had `a` seen what it sent, those frames would come first.
    assert_eq!(receive(&a, back.len()), back);
    assert_eq!(a.statistics().unwrap().packets, back.len() as u64);
    assert_eq!(b.statistics().unwrap().packets, there.len() as u64);
}

/// What tcpdump would open on pair 0: every frame, those going out too.
fn capture(end: &Attachment) -> OwnedFd {
    let fd = open_in(&end.netns, || {
        let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        // SAFETY: no pointers. Unbound, the socket listens on every interface of the namespace.
        Ok(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol) })
    });
    let fd = fd.unwrap();
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[test]
fn captures_see_what_is_sent_unless_it_bypasses_the_queueing_discipline() {
    let pair = Pair::new(1, 1500);
    for (bypass_qdisc, seen) in [(false, 4), (true, 0)] {
        let a = pair.at(0, 0).open(Options { bypass_qdisc, ..Options::default() }).unwrap();
        let mut tap = File::from(capture(&pair.at(0, 0)));
        send(&a, &numbered(4, 60));
        let mut frame = [0u8; 2000];
        let captured = std::iter::from_fn(|| tap.read(&mut frame).ok()).count();
        assert_eq!(captured, seen, "bypass_qdisc: {bypass_qdisc}");
    }
}

#[test]
fn one_recv_fills_the_batch_and_says_so() {
    let pair = Pair::new(1, 1500);
    let (a, b) = pair.open();
    let frames = numbered(5, 100);
    send(&a, &frames);
    delivered(&b, 5);
    let mut batch = RxBatch::new(4);
    let first = batch.recv(&b).unwrap();
    assert!(first.filled_batch());
    assert!(first.eq(frames[..4].iter().map(Vec::as_slice)));
    let second = batch.recv(&b).unwrap();
    assert!(!second.filled_batch());
    assert!(second.eq(frames[4..].iter().map(Vec::as_slice)));
    assert_eq!(batch.recv(&b).unwrap().count(), 0);
}

#[test]
fn a_station_gets_its_own_and_pause_frames_and_a_switch_port_gets_all() {
    let pair = Pair::new(1, 1500);
    let station = [0x02, 0, 0, 0, 0, 0x07];
    let options = Options { filter: Filter::Station(station), ..Options::default() };
    let (a, port) = pair.open();
    let nic = pair.at(1, 0).open(options).unwrap();
    let to = |address: [u8; 6]| {
        let mut frame = probe_frame(60);
        frame[..6].copy_from_slice(&address);
        frame
    };
    let mut pause = to(PAUSE_ADDRESS);
    pause[12..18].copy_from_slice(&[0x88, 0x08, 0x01, 0x01, 0x00, 0x08]);
    let frames =
        [to([0xFF; 6]), to(station), to([0x02, 0, 0, 0, 0, 0x08]), pause.clone(), to([0x33, 0x33, 0, 0, 0, 7])];
    send(&a, &frames);
    assert_eq!(receive(&port, frames.len()), frames);
    assert_eq!(receive(&nic, 2), [to(station), pause]);
    assert_eq!(nic.statistics().unwrap().packets, 2);
}

#[test]
fn frames_that_overflow_the_receive_buffer_are_counted_once_each() {
    let pair = Pair::new(1, 1500);
    let small = Options { receive_buffer_bytes: 64 << 10, ..Options::default() };
    let a = pair.at(0, 0).open(Options::default()).unwrap();
    let b = pair.at(1, 0).open(small).unwrap();
    for round in 1..=2 {
        send(&a, &numbered(500, 1514));
        let statistics = delivered(&b, 500 * round);
        let mut batch = RxBatch::new(500);
        assert_eq!(statistics.packets, 500 * round);
        assert!(statistics.drops > 0);
        let kept = batch.recv(&b).unwrap().count() as u64;
        assert!(kept > 0);
        // Both rounds keep the same, the buffer being empty at the start of each.
        assert_eq!((kept * round, statistics.drops), (statistics.packets - statistics.drops, (500 - kept) * round));
    }
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_is_refused_and_does_not_block() {
    let pair = Pair::new(1, 9216);
    let (a, b) = pair.open();
    let longest = numbered(2, 9216 + 14);
    let mut batch = TxBatch::new(4);
    assert!(batch.push(&longest[0]));
    assert!(batch.push(&[0x02; 9216 + 19]));
    assert!(batch.push_with(|_| ()));
    assert!(batch.push(&longest[1]));
    let outcome = batch.flush(&a).unwrap();
    assert_eq!((outcome.sent, outcome.refused, outcome.left), (2, 2, 0));
    assert_eq!(batch.refused(), 2);
    assert_eq!(receive(&b, 2), longest);
}

#[test]
fn a_frame_too_long_to_receive_is_counted_and_its_neighbours_are_delivered() {
    let pair = Pair::new(1, 16_000);
    let (a, b) = pair.open();
    let frames = [probe_frame(60), probe_frame(LONGEST_FRAME_BYTES + 1), probe_frame(LONGEST_FRAME_BYTES)];
    send(&a, &frames);
    delivered(&b, 3);
    let mut batch = RxBatch::new(BATCH_FRAMES);
    let delivered: Vec<Vec<u8>> = batch.recv(&b).unwrap().map(<[u8]>::to_vec).collect();
    assert_eq!(delivered, [frames[0].clone(), frames[2].clone()]);
    assert_eq!(batch.truncated(), 1);
}

#[test]
fn frames_that_find_no_room_stay_queued_in_order() {
    let pair = Pair::new(1, 1500);
    let a = pair.at(0, 0).open(Options { bypass_qdisc: true, ..Options::default() }).unwrap();
    let b = pair.at(1, 0).open(Options::default()).unwrap();
    let frames = numbered(8, 200);
    let mut batch = TxBatch::new(8);
    // Without a carrier the driver has nowhere to put a frame, and says so to whoever asks it directly.
    pair.set_link(1, "down");
    for frame in &frames {
        assert!(batch.push(frame));
    }
    let outcome = batch.flush(&a).unwrap();
    assert_eq!((outcome.sent, outcome.refused, outcome.left), (0, 0, 8));
    assert!(!batch.push(&frames[0]));
    assert_eq!(batch.overflowed(), 1);
    pair.set_link(1, "up");
    let start = Instant::now();
    // The carrier comes back a moment after the interface does.
    while !batch.is_empty() {
        batch.flush(&a).unwrap();
        assert!(start.elapsed() < PATIENCE, "{} frames are stuck", batch.len());
    }
    assert_eq!(receive(&b, 8), frames);
}

#[test]
fn an_interface_that_goes_down_and_up_is_survived() {
    let pair = Pair::new(1, 1500);
    let (a, b) = pair.open();
    pair.set_link(1, "down");
    let mut batch = RxBatch::new(BATCH_FRAMES);
    assert_eq!(batch.recv(&b).unwrap().count(), 0);
    assert_eq!(batch.outages(), 1);
    let mut queue = TxBatch::new(1);
    assert!(queue.push(&probe_frame(60)));
    assert_eq!(queue.flush(&b).unwrap().refused, 1);
    let error = wait_until_up(&[pair.at(0, 0)], Duration::ZERO).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ETIMEDOUT));
    pair.set_link(1, "up");
    wait_until_up(&[pair.at(0, 0)], PATIENCE).unwrap();
    let frames = numbered(3, 60);
    send(&a, &frames);
    assert_eq!(receive(&b, 3), frames);
}

#[test]
fn the_poller_tells_which_socket_is_ready_and_whether_it_can_send() {
    let pair = Pair::new(3, 1500);
    let sockets: Vec<PacketSocket> = (0..3).map(|port| pair.at(1, port).open(Options::default()).unwrap()).collect();
    let mut poller = Poller::new().unwrap();
    for (token, socket) in sockets.iter().enumerate() {
        poller.add(socket, token as u32 + 10).unwrap();
    }
    assert!(poller.wait(0).unwrap().is_empty());
    send(&pair.at(0, 1).open(Options::default()).unwrap(), &numbered(1, 60));
    let ready = poller.wait(PATIENCE.as_nanos() as u64).unwrap();
    assert_eq!(
        ready.iter().map(|socket| (socket.token, socket.readable, socket.writable)).collect::<Vec<_>>(),
        [(11, true, false)]
    );
    poller.remove(&sockets[1]).unwrap();
    assert!(poller.wait(0).unwrap().is_empty());
    poller.watch(&sockets[2], 12, Interest { readable: true, writable: true }).unwrap();
    let ready = poller.wait(PATIENCE.as_nanos() as u64).unwrap();
    assert_eq!(
        ready.iter().map(|socket| (socket.token, socket.readable, socket.writable)).collect::<Vec<_>>(),
        [(12, false, true)]
    );
}

#[test]
fn opening_leaves_the_thread_in_its_namespace_and_names_what_is_missing() {
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    let pair = Pair::new(1, 1500);
    let (_a, _b) = pair.open();
    let inside = open_in(&pair.at(0, 0).netns, || Ok(own())).unwrap();
    assert_ne!(inside, before);
    assert_eq!(own(), before);
    let missing = Attachment { interface: "eth9".into(), ..pair.at(0, 0) };
    let error = missing.open(Options::default()).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENODEV));
    assert!(error.to_string().contains("eth9") && error.to_string().contains(&pair.names[0]), "{error}");
}

#[test]
fn many_sockets_close_together() {
    let pair = Pair::new(1, 1500);
    let sockets: Vec<PacketSocket> = (0..200).map(|_| pair.at(0, 0).open(Options::default()).unwrap()).collect();
    let one = pair.at(0, 0).open(Options::default()).unwrap();
    let start = Instant::now();
    drop(one);
    let single = start.elapsed();
    let start = Instant::now();
    close_all(sockets);
    let together = start.elapsed();
    // One after the other they would take 200 times as long as one.
    assert!(together < single * 100 + Duration::from_millis(100), "one: {single:?}, 200: {together:?}");
}

fn forward_path(left: &Pair, right: &Pair) -> ForwardPath {
    ForwardPath { source: left.at(0, 0), ingress: left.at(1, 0), egress: right.at(0, 0), sink: right.at(1, 0) }
}

#[test]
fn the_bare_forwarder_loses_nothing_and_keeps_order() {
    let (left, right) = (Pair::new(1, 4200), Pair::new(1, 4200));
    let path = forward_path(&left, &right);
    let [source, ingress, egress, sink] =
        [&path.source, &path.ingress, &path.egress, &path.sink].map(|end| end.open(Options::default()).unwrap());
    let stop = AtomicBool::new(false);
    let frames = numbered(1000, 300);
    std::thread::scope(|scope| {
        let forwarder = scope.spawn(|| forward(&ingress, &egress, &stop));
        send(&source, &frames);
        let arrived = receive(&sink, frames.len());
        stop.store(true, Ordering::Relaxed);
        let total = forwarder.join().unwrap().unwrap();
        assert_eq!((total.frames, total.lost), (1000, 0));
        assert_eq!(arrived, frames);
    });
}

#[test]
fn the_measured_rate_is_of_frames_that_arrived() {
    let (left, right) = (Pair::new(1, 4200), Pair::new(1, 4200));
    let path = forward_path(&left, &right);
    let rates = measure_forwarder(&path, &probe_frame(64), Duration::from_millis(200)).unwrap();
    assert_eq!(rates.lost, 0);
    assert!(rates.frames > 1000, "{rates:?}");
    let share = rates.frames as f64 / (rates.elapsed_ns as f64 / 1e9) / rates.frames_per_s;
    assert!((0.999..1.001).contains(&share), "{rates:?}");
    // With nobody forwarding, everything sent is lost and nothing is counted as arrived.
    let nothing = measure_load(&path.source, &path.sink, &probe_frame(64), Duration::from_millis(200)).unwrap();
    assert_eq!((nothing.frames, nothing.frames_per_s), (0, 0.0));
    assert!(nothing.lost > 0);
    assert_eq!(probe_frame(64)[..6], PROBE_ADDRESS);
}
