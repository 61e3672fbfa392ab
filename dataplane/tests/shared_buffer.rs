//! The switch's memory: frames are charged at ingress and at egress and must pass both, whatever is shared with whom.

mod common;

use _dataplane::event::Cause;
use _dataplane::priority::Priority;
use _dataplane::switch::buffer::{Buffer, BufferConfig, Place};
use _dataplane::switch::group::{Demand, GroupConfig, Threshold};
use _dataplane::switch::queue::{Limit, LossyConfig};
use proptest::prelude::*;

const LOSSLESS: Priority = Priority::P3;
const LOSSY: Priority = Priority::P0;
const POOL: u64 = 100_000;
const HEADROOM_POOL: u64 = 20_000;

/// A frame of a priority on its way from port to port.
fn at(ingress: u16, egress: u16, priority: Priority) -> Place {
    Place { ingress, egress, group: priority, queue: priority }
}

/// Four ports whose groups (alpha 1/2) share a pool of 100,000 bytes; lossy queues have alpha 1/4 and 1,000 bytes of reserve each, of a
/// pool that `lossy_pool` names (0: what is left of 200,000 bytes).
fn sharing(lossy_pool: u64) -> Buffer {
    let lossy = LossyConfig { limit: Limit::Dynamic { alpha_log2: -2 }, reserve_bytes: 1_000, pool_bytes: lossy_pool };
    let config = BufferConfig {
        cell_bytes: 1,
        pool_bytes: POOL,
        headroom_pool_bytes: HEADROOM_POOL,
        lossy,
        ..BufferConfig::plain(200_000, 0)
    };
    let mut buffer = Buffer::new(4, config);
    for port in 0..4 {
        let threshold = Threshold::Dynamic { reserve_bytes: 500, alpha_log2: -1, xon_offset_bytes: 0 };
        buffer.add_group(port, LOSSLESS, GroupConfig { threshold, headroom_bytes: 10_000 });
    }
    buffer
}

/// How many bytes a place takes, a byte at a time and no more than `most`, until it is refused or asks for a pause.
fn fill(buffer: &mut Buffer, place: Place, most: u64) -> u64 {
    (0..most).take_while(|_| buffer.admit(place, 1) == Ok(Demand::None)).count() as u64
}

/// n equally loaded queues settle at alpha·B/(1 + n·alpha), and each has its reserve besides.
#[test]
fn lossy_queues_settle_where_the_closed_form_says() {
    for queues in [1, 2, 4] {
        let mut buffer = sharing(0);
        // Four lossless groups reserve 500 each; 4 × 7 lossy queues 1,000 each.
        let pool = 200_000 - POOL - HEADROOM_POOL - 4 * 500 - 28 * 1_000;
        let (mut held, mut open) = (vec![0u64; queues], true);
        while std::mem::replace(&mut open, false) {
            for (egress, held) in held.iter_mut().enumerate() {
                let admitted = buffer.admit(at(3, egress as u16, LOSSY), 10).is_ok();
                *held += 10 * u64::from(admitted);
                open |= admitted;
            }
        }
        let settled = 1_000 + pool / (4 + queues as u64);
        assert!(held.iter().all(|held| held.abs_diff(settled) <= 20), "{queues} queues: {held:?} of {settled}");
    }
}

#[test]
fn lossy_frames_beside_the_pool_leave_thresholds_alone() {
    let mut buffer = sharing(0);
    let alone = fill(&mut sharing(0), at(0, 1, LOSSLESS), POOL);
    assert_eq!(alone, 500 + (POOL + 1) / 3, "the reserve, and a half of what it leaves");
    assert!(fill(&mut buffer, at(2, 1, LOSSY), POOL) > 5_000);
    assert_eq!(fill(&mut buffer, at(0, 1, LOSSLESS), POOL), alone);
    assert_eq!(buffer.watermarks().shared_bytes_max, alone - 500);
}

/// As SONiC has it: one ingress pool for all, an egress pool for the lossy ones.
#[test]
fn lossy_frames_in_the_pool_bring_pauses_forward_and_never_take_headroom() {
    let mut buffer = sharing(80_000);
    let lossy = fill(&mut buffer, at(2, 1, LOSSY), POOL);
    assert_eq!(lossy, 1_000 + 80_000 / 5, "the reserve, and a quarter of what it leaves of the egress pool");
    let lossless = fill(&mut buffer, at(0, 1, LOSSLESS), POOL);
    assert_eq!(lossless, 500 + (POOL - lossy + 1) / 3);
    assert_eq!(buffer.watermarks().shared_bytes_max, lossy + lossless - 500);
    // Every queue takes what it can; the pool ends, and each group still has the whole of its headroom, pool permitting.
    for egress in 0..4 {
        for priority in Priority::ALL.into_iter().filter(|priority| *priority != LOSSLESS) {
            fill(&mut buffer, at(3, egress, priority), POOL);
        }
    }
    assert_eq!(buffer.admit(at(2, 1, LOSSY), 1), Err(Cause::Buffer));
    assert_eq!(buffer.admit(at(1, 0, LOSSLESS), 500), Ok(Demand::None), "the reserve");
    assert_eq!(buffer.admit(at(1, 0, LOSSLESS), 10_000), Ok(Demand::Xoff));
    assert_eq!(buffer.admit(at(1, 0, LOSSLESS), 1), Err(Cause::Headroom));
}

#[test]
fn a_frame_must_pass_ingress_and_egress() {
    let mut buffer = sharing(80_000);
    while buffer.admit(at(0, 1, LOSSLESS), 1_000) == Ok(Demand::None) {}
    let queue_full = fill(&mut buffer, at(0, 2, LOSSY), POOL);
    assert_eq!(buffer.admit(at(1, 2, LOSSY), 1), Err(Cause::Buffer), "the queue is full, whoever sends");
    assert_eq!(buffer.admit(at(0, 3, LOSSY), 1), Ok(Demand::None), "another queue is not");
    assert_eq!(buffer.group(0, LOSSY).used(), queue_full + 1, "both counted where they came in");
    assert_eq!((buffer.queue(2, LOSSY).used_max(), buffer.queue(3, LOSSY).used_max()), (queue_full, 1));
}

#[test]
fn watermarks_tell_the_parts_apart() {
    let mut buffer = sharing(0);
    let shared = fill(&mut buffer, at(0, 1, LOSSLESS), POOL);
    assert_eq!(buffer.admit(at(0, 1, LOSSLESS), 4_000), Ok(Demand::Xoff));
    assert_eq!(buffer.admit(at(1, 1, LOSSY), 3_000), Ok(Demand::None));
    buffer.release(at(0, 1, LOSSLESS), shared + 1 + 4_000);
    buffer.release(at(1, 1, LOSSY), 3_000);
    let (group, all) = (buffer.group(0, LOSSLESS), buffer.watermarks());
    assert_eq!((group.used(), group.shared_max(), group.headroom_max()), (0, shared - 500, 4_001));
    assert_eq!(group.used_max(), shared + 4_001);
    assert_eq!((all.shared_bytes_max, all.headroom_bytes_max, all.lossy_bytes_max), (shared - 500, 4_001, 3_000));
    assert_eq!((buffer.used(), all.buffer_bytes_max), ((0, shared + 7_001), shared + 7_001));
}

#[test]
fn the_part_below_a_static_threshold_counts_as_shared() {
    let mut buffer = Buffer::new(1, BufferConfig::plain(10_000, 500));
    let threshold = Threshold::Static { xoff_bytes: 200, xon_bytes: 100 };
    buffer.add_group(0, LOSSLESS, GroupConfig { threshold, headroom_bytes: 150 });
    assert_eq!(buffer.admit(at(0, 0, LOSSLESS), 150), Ok(Demand::None));
    assert_eq!(buffer.group(0, LOSSLESS).shared_max(), 150);
    assert_eq!(buffer.admit(at(0, 0, LOSSLESS), 120), Ok(Demand::Xoff));
    assert_eq!((buffer.group(0, LOSSLESS).shared_max(), buffer.group(0, LOSSLESS).headroom_max()), (200, 70));
    assert_eq!((buffer.watermarks().shared_bytes_max, buffer.watermarks().headroom_bytes_max), (200, 70));
}

proptest! {
    #![proptest_config(common::cases(200))]

    /// Whatever is admitted and given back in whatever order: the memory holds the sum, never more than it has, and is empty in the end.
    #[test]
    fn accounts_balance(
        lossy_pool in prop_oneof![Just(0u64), Just(40_000), Just(90_000)],
        steps in prop::collection::vec((0u16..4, 0u16..4, (0u8..8).prop_map(Priority::from_bits), 64u64..9_216, any::<bool>()), 1..300),
    ) {
        let mut buffer = sharing(lossy_pool);
        let mut held: Vec<(Place, u64)> = Vec::new();
        for (ingress, egress, priority, bytes, leaves) in steps {
            if buffer.admit(at(ingress, egress, priority), bytes).is_ok() {
                held.push((at(ingress, egress, priority), bytes));
            }
            if leaves && !held.is_empty() {
                let (place, bytes) = held.remove(0);
                buffer.release(place, bytes);
            }
            let used = buffer.used().0;
            prop_assert_eq!(used, held.iter().map(|(_, bytes)| bytes).sum::<u64>());
            prop_assert!(used <= 200_000);
            let groups = (0..4).flat_map(|port| Priority::ALL.map(|priority| (port, priority)));
            prop_assert_eq!(used, groups.map(|(port, priority)| buffer.group(port, priority).used()).sum::<u64>());
        }
        for (place, bytes) in held {
            buffer.release(place, bytes);
        }
        prop_assert_eq!(buffer.used().0, 0);
        let drained = buffer.admit(at(0, 1, LOSSLESS), 500 + POOL / 3);
        prop_assert_eq!(drained, Ok(Demand::None), "every pool is whole again");
    }
}
