//! GOAL files: no bytes make a reader panic, and what a rank says is what is read of it.

use _dataplane::goal::labels::Labels;
use _dataplane::goal::text::Text;
use _dataplane::goal::{binary, Fault, Kind, Nics, Place, Rank, Wait, ANY_SOURCE};
use proptest::prelude::*;

const MOST_OPS: u64 = 1000;

fn read(text: &[u8]) -> Result<Vec<Rank>, Fault> {
    let (mut reader, mut ranks, mut number) = (Text::new(MOST_OPS), Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        ranks.extend(reader.line(number, line)?);
    }
    ranks.extend(reader.finish(number)?);
    Ok(ranks)
}

#[test]
fn statements_comments_and_wild_cards() {
    let ranks = read(
        b"num_ranks 2\nrank 0 { // the first\n/*/ still a comment\n*/ a: calc 5 cpu 3\nb:recv8bfrom-1tag-1\nb requires a\n}\n\
          rank 1 {\nsend 8b to 0 tag -1 cpu 9 nic 1\n",
    );
    let [first, second] = ranks.unwrap().try_into().unwrap();
    let [calc, recv] = first.ops.try_into().unwrap();
    assert_eq!((calc.kind, calc.amount, calc.cpu, calc.line), (Kind::Calc, 5000, 3, 4));
    assert_eq!((recv.kind, recv.amount, recv.peer, recv.any_tag), (Kind::Recv, 8, ANY_SOURCE, true));
    assert_eq!(first.after, [Wait { waiter: 1, required: 0 }]);
    let [send] = second.ops.try_into().unwrap();
    assert_eq!((send.tag, send.any_tag, send.cpu), (u32::MAX, false, 0), "a send has no wild card");
}

#[test]
fn a_file_with_more_ops_than_it_may_have_is_refused_at_its_line() {
    let text = format!("num_ranks 1\nrank 0 {{\n{}", "calc 1\n".repeat(MOST_OPS as usize + 1));
    assert_eq!(read(text.as_bytes()).unwrap_err().place, Place::Line(MOST_OPS + 3));
}

#[test]
fn records_that_share_dependants_are_refused_before_they_multiply() {
    // Two ops that both say that the one link is theirs.
    let record = |open: u32, first: u32| {
        let counts = [1_u32, first, 0, 0];
        let mut raw = open.to_le_bytes().to_vec();
        raw.extend([3].iter().chain(&[0; 18]));
        raw.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        raw
    };
    let mut raw = [2_u32, 0].iter().flat_map(|count| count.to_le_bytes()).collect::<Vec<_>>();
    raw.extend(record(1, 0).into_iter().chain(record(1, 0)).chain(0_u32.to_le_bytes()));
    let fault = binary::block(0, 1, 100, &raw, &mut Nics::default()).unwrap_err();
    assert_eq!(fault.message, "its dependants are counted twice in the block");
    assert_eq!(fault.place, Place::Byte(100 + 8 + 39));
}

proptest! {
    #[test]
    fn labels_name_what_they_named_first(names in prop::collection::vec("[a-c]{1,3}", 0..200)) {
        let mut labels = Labels::default();
        for (op, name) in names.iter().enumerate() {
            prop_assert!(labels.add(name, op as u32));
        }
        for name in &names {
            let first = names.iter().position(|other| other == name).unwrap();
            prop_assert_eq!(labels.get(name), Some(first as u32));
        }
        prop_assert_eq!(labels.get("d"), None);
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("num_ranks 2\nrank 0 {\n"), Just("}"), Just("\n"), Just("a: "), Just("calc 1"), Just("send 1b to 1"),
                Just("recv 1b from -1 tag -1"), Just("a requires a"), Just("/*"), Just("*/"), Just("//"), Just("rank 1 {"),
                Just("99999999999999999999"), Just("\u{a0}"), Just("é"), Just(" cpu "), Just("-1"),
            ],
            0..40,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut text = pieces.concat().into_bytes();
        text.extend(noise);
        if let Ok(ranks) = read(&text) {
            for rank in ranks {
                let ops = rank.ops.len() as u32;
                prop_assert!(rank.after.iter().chain(&rank.begun).all(|wait| wait.waiter < ops && wait.required < ops));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_block_panic(
        counts in (0_u32..4, 0_u32..4),
        raw in prop::collection::vec(prop_oneof![4 => 0_u8..4, 1 => any::<u8>()], 0..200),
    ) {
        let mut block = counts.0.to_le_bytes().to_vec();
        block.extend(counts.1.to_le_bytes());
        block.extend(&raw);
        let _ = binary::head(&raw);
        let _ = binary::block_end(&raw, 0, 22, raw.len() as u64);
        if let Ok(rank) = binary::block(0, 2, 0, &block, &mut Nics::default()) {
            prop_assert_eq!(rank.ops.len(), counts.0 as usize);
        }
    }
}
