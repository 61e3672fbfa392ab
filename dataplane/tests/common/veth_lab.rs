//! A lab under the real clock whose links are veth pairs: its hosts are in one namespace, its switch in the other.

use std::process::Command;
use std::time::Instant;

use _dataplane::clock::real::{Attachment, RealClock};
use _dataplane::emulation::Emulation;
use _dataplane::io::{Options, PacketSocket, RxBatch, TxBatch, BATCH_FRAMES};
use serde_json::Value;

use super::clocked::{clock, plan, turn_until, PATIENCE};
use super::veth::Pair;

/// Its MTU, which leaves room for the headers of a packet of 4096 bytes.
const MTU: u32 = 4_200;
/// An EtherType for experiments.
const STRAY: [u8; 2] = [0x88, 0xb5];

/// The namespaces of so many hosts on one switch, `p0` being that of the first host and of the first port.
pub struct Veths {
    pub pair: Pair,
    hosts: usize,
}

impl Veths {
    pub fn new(hosts: usize) -> Veths {
        Veths::with_mtu(hosts, MTU)
    }

    pub fn with_mtu(hosts: usize, mtu: u32) -> Veths {
        Veths { pair: Pair::new(hosts, mtu), hosts }
    }

    /// The interface of a host.
    pub fn host(&self, host: usize) -> Attachment {
        self.attachment(0, &format!("h{host}"), "eth1", host)
    }

    /// The interface of a port of the switch.
    pub fn port(&self, port: usize) -> Attachment {
        self.attachment(1, "leaf0", &format!("eth{}", port + 1), port)
    }

    /// Both ends of every link.
    pub fn all(&self) -> Vec<Attachment> {
        (0..self.hosts).flat_map(|number| [self.host(number), self.port(number)]).collect()
    }

    fn attachment(&self, side: usize, node: &str, port: &str, index: usize) -> Attachment {
        let place = self.pair.at(side, index);
        let (node, port) = (node.to_owned(), port.to_owned());
        Attachment { node, port, netns: place.netns, interface: place.interface, fresh: false }
    }

    pub fn plan(&self) -> Value {
        plan(self.hosts, "veth")
    }

    pub fn clock(&self, dilation: u64) -> RealClock {
        clock(&self.plan(), dilation, &self.all())
    }

    /// A socket as a host's kernel has one: it hears and sends whatever there is.
    pub fn kernel(&self, host: usize) -> PacketSocket {
        self.pair.at(0, host).open(Options::default()).unwrap()
    }

    /// Run tc in the namespace of the hosts (0) or of the switch (1).
    pub fn tc(&self, side: usize, arguments: &str) {
        self.run("tc", side, arguments);
    }

    fn run(&self, program: &str, side: usize, arguments: &str) {
        let mut command = Command::new(program);
        command.args(["-n", &self.pair.names[side]]).args(arguments.split(' '));
        let output = command.output().expect("ip and tc (package iproute2)");
        assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Have the kernel lose what the switch sends at a port.
    pub fn lose(&self, port: usize) {
        self.run("ip", 1, "link set lo up");
        self.tc(1, &format!("qdisc add dev p{port} clsact"));
        let away = "egress protocol all u32 match u32 0 0 action mirred egress redirect dev lo";
        self.tc(1, &format!("filter add dev p{port} {away}"));
    }

    pub fn lose_no_more(&self, port: usize) {
        self.tc(1, &format!("qdisc del dev p{port} clsact"));
    }
}

/// The address of a station of the plan.
pub fn mac(station: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, station]
}

/// The kernel of a host, as a station.
pub fn kernel_of(host: u8) -> u8 {
    2 * host + 1
}

/// Frames of no protocol from one host's kernel to another's, with their numbers in them.
pub fn strays(src: u8, dst: u8, numbers: std::ops::Range<u8>, bytes: usize) -> Vec<Vec<u8>> {
    numbers.map(|number| stray(kernel_of(src), kernel_of(dst), number, bytes)).collect()
}

/// A frame of no protocol from station to station, with its number in it.
pub fn stray(src: u8, dst: u8, number: u8, bytes: usize) -> Vec<u8> {
    let mut frame = vec![number; bytes];
    frame[..6].copy_from_slice(&mac(dst));
    frame[6..12].copy_from_slice(&mac(src));
    frame[12..14].copy_from_slice(&STRAY);
    frame
}

/// Send frames at once.
pub fn send(socket: &PacketSocket, frames: &[Vec<u8>]) {
    let mut batch = TxBatch::new(frames.len());
    assert!(frames.iter().all(|frame| batch.push(frame)));
    let began = Instant::now();
    while !batch.is_empty() {
        assert_eq!(batch.flush(socket).unwrap().refused, 0);
        assert!(began.elapsed() < PATIENCE, "the interface takes no more frames");
    }
}

/// Turn a clock until a socket has received so many frames of no protocol for station `own`, and return their numbers.
pub fn received(clock: &mut RealClock, socket: &PacketSocket, own: u8, count: usize) -> Vec<u8> {
    let (mut batch, mut numbers) = (RxBatch::new(BATCH_FRAMES), Vec::new());
    turn_until(clock, |_| {
        let strays = batch.recv(socket).unwrap().filter(|frame| frame[..6] == mac(own) && frame[12..14] == STRAY);
        for frame in strays {
            let (number, intact) = (frame[14], frame[14..].iter().all(|byte| *byte == frame[14]));
            assert!(intact, "{frame:?}");
            numbers.push(number);
        }
        numbers.len() >= count
    });
    numbers
}

/// Frames of kernels as a report counts them: sent, delivered, dropped, under way.
pub fn kernel_frames(clock: &RealClock) -> [u64; 4] {
    let report = clock.report();
    ["sent", "delivered", "dropped", "in_flight"].map(|key| report["kernel_frames"][key].as_u64().unwrap())
}

/// Turn a clock that is held until nothing is under way.
pub fn drain(clock: &mut RealClock) {
    turn_until(clock, |clock| clock.is_drained().unwrap());
}

/// Let a clock go on, and return what was lost meanwhile.
pub fn losses(clock: &mut RealClock) -> Value {
    serde_json::to_value(clock.resume().unwrap()).unwrap()
}

/// Give a clock another plan.
pub fn replace(clock: &mut RealClock, plan: &Value, attachments: &[Attachment]) {
    clock.replace(Emulation::new(&plan.to_string()).unwrap(), attachments).unwrap();
}
