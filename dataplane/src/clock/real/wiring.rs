//! Where the ports of a plan meet the system: sockets, and by which of them each direction's frames leave.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::RealError;
use crate::codec::Reader;
use crate::emulation::report::Crossed;
use crate::emulation::Emulation;
use crate::io::{Filter, Options, PacketSocket, TxBatch, UNSHAPED_PRIORITY};
use crate::plan::{Imposer, LinkPlan, Medium, NodePlan, PlanError, StationKind};
use crate::units::{Rate, Time};
use crate::wire::sizes::{FCS_BYTES, LINE_OVERHEAD_BYTES, RETH_BYTES, ROCE_OVERHEAD_BYTES};

/// The frame whose serialisation at the fastest link is the longest step of nominal time: a full one of path MTU 4096.
const STEP_FRAME_BYTES: usize = ROCE_OVERHEAD_BYTES + RETH_BYTES + 4096 + FCS_BYTES + LINE_OVERHEAD_BYTES;
/// Frames that may wait for room in a socket.
const TX_QUEUE_FRAMES: usize = 1024;

/// What the frames of a direction leave by.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Nothing: the link is in memory.
    Memory,
    /// Nothing here: what leaves a node that another agent has is that agent's business.
    Elsewhere,
    /// The socket of that number.
    Socket(u32),
}

/// Where a port of the plan meets the system. `fresh`: the interface was made anew, so that no older socket leads to it.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub node: String,
    pub port: String,
    pub netns: PathBuf,
    pub interface: String,
    #[serde(default)]
    pub fresh: bool,
}

/// A port's socket.
pub struct Attached {
    pub socket: PacketSocket,
    pub tx: TxBatch,
    pub place: Place,
    /// Listed in `RealClock::dirty`.
    pub dirty: bool,
    /// Room to send is being waited for.
    pub blocked: bool,
    /// What arrives waits here until links have changed.
    pub held: bool,
    /// What it had lost when the rest began, when the present plan did, and when the span did.
    pub(super) at_quiesce: Shortfall,
    pub(super) before: Shortfall,
    pub(super) at_span: Shortfall,
    /// Where the link leads to another agent: frames of the fabric that went there, and that came from there.
    pub crossed: Crossed,
    interface: (PathBuf, String),
    filter: Filter,
}

/// What a socket has lost.
#[derive(Copy, Clone, Default)]
pub(super) struct Shortfall {
    /// Frames that found the receive buffer full.
    pub overrun: u64,
    /// Frames that found no room on their way into the kernel.
    pub overflow: u64,
    /// Frames that the interface would not take.
    pub refused: u64,
    /// How often a full queue of the kernel turned a frame away, which was then sent again.
    pub turned_away: u64,
}

impl Shortfall {
    /// What has been added to an earlier figure.
    pub fn since(self, before: Shortfall) -> Shortfall {
        Shortfall {
            overrun: self.overrun.saturating_sub(before.overrun),
            overflow: self.overflow.saturating_sub(before.overflow),
            refused: self.refused.saturating_sub(before.refused),
            turned_away: self.turned_away.saturating_sub(before.turned_away),
        }
    }
}

/// Which port of the plan a socket serves, and how.
#[derive(Copy, Clone)]
pub struct Place {
    pub node: usize,
    pub port: u16,
    pub reader: Reader,
    /// The far end of the link is another agent's.
    pub crosses: bool,
    /// The link leads to a host: frames that come in here enter the fabric.
    pub from_host: bool,
}

impl Attached {
    /// What it has lost since it was opened.
    pub(super) fn shortfall(&self) -> Shortfall {
        Shortfall {
            overrun: self.socket.statistics().map_or(0, |statistics| statistics.drops),
            overflow: self.tx.overflowed(),
            refused: self.tx.refused(),
            turned_away: self.tx.turned_away(),
        }
    }

    /// Its namespace and its name there.
    pub(super) fn interface(&self) -> &(PathBuf, String) {
        &self.interface
    }

    /// Whether this socket hears, at the interface of `attachment`, what one made for it would.
    pub fn serves(&self, attachment: &Attachment, filter: Filter) -> bool {
        !attachment.fresh
            && (&self.interface.0, &self.interface.1) == (&attachment.netns, &attachment.interface)
            && self.filter == filter
    }
}

/// Open the socket of a port.
pub fn attach(emulation: &Emulation, attachment: &Attachment) -> Result<Attached, RealError> {
    let (place, filter) = find(emulation, attachment)?;
    let priority = if place.reader == Reader::Nic { UNSHAPED_PRIORITY } else { 0 };
    let options = Options { filter, priority, ..Options::default() };
    Ok(Attached {
        socket: PacketSocket::open(&attachment.netns, &attachment.interface, options)?,
        tx: TxBatch::new(TX_QUEUE_FRAMES),
        place,
        dirty: false,
        blocked: false,
        held: false,
        at_quiesce: Shortfall::default(),
        before: Shortfall::default(),
        at_span: Shortfall::default(),
        crossed: Crossed::default(),
        interface: (attachment.netns.clone(), attachment.interface.clone()),
        filter,
    })
}

/// Find the port of the plan that an attachment names, and what its socket has to hear.
pub fn find(emulation: &Emulation, attachment: &Attachment) -> Result<(Place, Filter), RealError> {
    let plan = &emulation.plan;
    let unknown = || PlanError::Invalid(format!("attachment {}:{}: no such port", attachment.node, attachment.port));
    let node = plan.nodes.iter().position(|node| node.name() == attachment.node).ok_or_else(unknown)?;
    let ports = plan.nodes[node].ports();
    let port = ports.iter().position(|port| port.name == attachment.port).ok_or_else(unknown)? as u16;
    let peer = plan.links.iter().find_map(|link| match (node, port) {
        end if end == link.a => Some(link.b.0),
        end if end == link.b => Some(link.a.0),
        _ => None,
    });
    let (reader, filter) = match &plan.nodes[node] {
        NodePlan::Switch(_) => (Reader::Switch, Filter::All),
        NodePlan::Host(_) => {
            let station = emulation.nics.get(&(node, port));
            let mac = station.and_then(|station| emulation.codec.mac(*station)).ok_or_else(unknown)?;
            (Reader::Nic, Filter::Station(mac))
        }
    };
    let from_host = peer.is_some_and(|peer| emulation.fabric.node(peer).is_host());
    let crosses = peer.is_some_and(|peer| plan.nodes[peer].is_elsewhere());
    Ok((Place { node, port, reader, crosses, from_host }, filter))
}

/// By direction: what its frames leave by.
pub fn exits(emulation: &Emulation, sockets: &[Attached]) -> Result<Vec<Exit>, PlanError> {
    let plan = &emulation.plan;
    let of = |(attached, token): (&Attached, u32)| ((attached.place.node, attached.place.port), token);
    let by_port: HashMap<_, _> = sockets.iter().zip(0..).map(of).collect();
    let ends = plan.links.iter().flat_map(|link| [(link.medium, link.a), (link.medium, link.b)]);
    let exit = |(medium, from): (Medium, (usize, u16))| match medium {
        _ if plan.nodes[from.0].is_elsewhere() => Ok(Exit::Elsewhere),
        Medium::Memory => Ok(Exit::Memory),
        Medium::Veth | Medium::Vxlan => by_port.get(&from).copied().map(Exit::Socket).ok_or_else(|| {
            let name = plan.nodes[from.0].name();
            PlanError::Invalid(format!("{name}: port {} has no attachment", from.1))
        }),
    };
    ends.map(exit).collect()
}

/// By direction, whether its frames go through the kernel of this machine alone and are not delayed there.
pub fn awaited(emulation: &Emulation) -> impl Iterator<Item = bool> + '_ {
    let awaited = |link: &LinkPlan| link.medium == Medium::Veth && link.emulation != Some(Imposer::Netem);
    emulation.plan.links.iter().flat_map(move |link| [awaited(link); 2])
}

/// Let frames that go through the kernel of this machine alone be handed to it up to a step before they arrive.
pub fn lead(emulation: &mut Emulation, step: Time) {
    let through: Vec<bool> = awaited(emulation).collect();
    for direction in (0..through.len()).filter(|direction| through[*direction]) {
        if let Some(direction) = emulation.fabric.direction_mut(direction) {
            direction.set_lead(step);
        }
    }
}

/// By direction, the rate of the port that it leaves.
pub fn rates(emulation: &Emulation) -> impl Iterator<Item = Rate> + '_ {
    let fabric = &emulation.fabric;
    let from = move |direction| fabric.ends(direction).0;
    (0..fabric.directions()).map(from).map(move |(node, port)| fabric.node(node).ports()[usize::from(port)].rate())
}

/// Which stations are hosts' kernels.
pub fn kernel_stations(emulation: &Emulation) -> Vec<bool> {
    emulation.plan.stations.iter().map(|station| station.kind == StationKind::Kernel).collect()
}

/// What nominal time may advance by between two looks: one frame time of the fastest link.
pub fn longest_step(emulation: &Emulation) -> Time {
    let rates = emulation.fabric.nodes().flat_map(|node| node.ports()).map(|port| port.rate());
    rates.map(|rate| rate.serialisation(STEP_FRAME_BYTES as u64)).min().unwrap_or(Time::NEVER)
}
