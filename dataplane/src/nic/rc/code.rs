//! The erasure code of a connection: what parity a block of payloads has, and what a block's lost payloads were.
//!
//! Reed-Solomon over GF(2^16) in the arrangement of Leopard: any `data` of the `data + parity` payloads of a block give the others.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::wire::roce::WORD_BYTES;

/// So many packets of data to a block, and so many of parity behind them.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Code {
    pub data: u8,
    pub parity: u8,
}

/// Data and parity of a block are counted in a byte of the parity extended transport header, and no block is larger.
pub const MAX_BLOCK_PACKETS: u64 = 256;

/// Encoder and decoder with their working space and tables. They are made when there is first something to encode or decode, which
/// takes tens of milliseconds for the first ones of a process; who has no such time then has them made before.
#[derive(Default)]
pub struct Coder {
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coder")
    }
}

/// Bytes of each parity payload of a block whose longest payload has so many: whole words, since the code works on pairs of bytes.
pub fn parity_bytes(longest: u64) -> u64 {
    longest.next_multiple_of(WORD_BYTES as u64)
}

impl Coder {
    /// Make ready for blocks of a code with payloads of `length` bytes.
    pub fn prepare(&mut self, code: Code, length: usize) {
        let (data, parity) = (usize::from(code.data), usize::from(code.parity));
        self.encoder = ReedSolomonEncoder::new(data, parity, length).ok();
        self.decoder = ReedSolomonDecoder::new(data, parity, length).ok();
    }

    /// The `parity` payloads of a block, each of `length` bytes (even, not 0); shorter payloads count as filled up with zeros.
    ///
    /// `None` if a payload is longer, or the code cannot be had. Costs about one pass over the block.
    pub fn encode<'a>(
        &mut self,
        data: impl ExactSizeIterator<Item = &'a [u8]>,
        parity: u8,
        length: usize,
    ) -> Option<Vec<Vec<u8>>> {
        let (packets, parity) = (data.len(), usize::from(parity));
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                encoder.reset(packets, parity, length).ok()?;
                encoder
            }
            none => none.insert(ReedSolomonEncoder::new(packets, parity, length).ok()?),
        };
        for payload in data {
            with_length(payload, length, |payload| encoder.add_original_shard(payload).ok())?;
        }
        Some(encoder.encode().ok()?.recovery_iter().map(<[u8]>::to_vec).collect())
    }

    /// The lost payloads of a block of `packets`, by index and of `length` bytes, from the others and some parity.
    ///
    /// `None` if those are too few, or have other lengths than `encode` gives them.
    pub fn decode<'a>(
        &mut self,
        (packets, parity, length): (usize, u8, usize),
        data: impl Iterator<Item = (usize, &'a [u8])>,
        parities: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> Option<Vec<(usize, Vec<u8>)>> {
        let parity = usize::from(parity);
        let decoder = match &mut self.decoder {
            Some(decoder) => {
                decoder.reset(packets, parity, length).ok()?;
                decoder
            }
            none => none.insert(ReedSolomonDecoder::new(packets, parity, length).ok()?),
        };
        for (index, payload) in data {
            with_length(payload, length, |payload| decoder.add_original_shard(index, payload).ok())?;
        }
        for (index, payload) in parities {
            decoder.add_recovery_shard(index, payload).ok()?;
        }
        Some(decoder.decode().ok()?.restored_original_iter().map(|(index, lost)| (index, lost.to_vec())).collect())
    }
}

/// Hand over a payload filled up with zeros to `length`; only the last one of a message needs a copy for it.
fn with_length<T>(payload: &[u8], length: usize, take: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    if payload.len() >= length {
        return take(payload);
    }
    let mut filled = payload.to_vec();
    filled.resize(length, 0);
    take(&filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice of three losses among eight payloads, the last of them short, comes back from three parities.
    #[test]
    fn any_losses_up_to_the_parity_come_back() {
        let block: Vec<Vec<u8>> = (0..8u8).map(|i| vec![i.wrapping_mul(37) + 1; if i == 7 { 5 } else { 12 }]).collect();
        let mut coder = Coder::default();
        let parity = coder.encode(block.iter().map(Vec::as_slice), 3, 12).unwrap();
        assert_eq!((parity.len(), parity[0].len()), (3, 12));
        for lost in (0u32..1 << 11).filter(|lost| lost.count_ones() == 3) {
            let kept = |index: &usize| lost & (1 << index) == 0;
            let data = (0..8).filter(kept).map(|index| (index, block[index].as_slice()));
            let parities = (0..3).filter(|index| kept(&(8 + index))).map(|index| (index, parity[index].as_slice()));
            let restored = coder.decode((8, 3, 12), data, parities).unwrap();
            assert_eq!(restored.len(), (0..8).filter(|index| !kept(index)).count());
            for (index, payload) in restored {
                assert_eq!(payload[..block[index].len()], block[index]);
                assert!(payload[block[index].len()..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn too_little_restores_nothing_and_the_coder_goes_on() {
        let mut coder = Coder::default();
        let block = [[1u8; 4], [2; 4], [3; 4]];
        let parity = coder.encode(block.iter().map(<[u8; 4]>::as_slice), 1, 4).unwrap();
        let one = || std::iter::once((0, &block[0][..]));
        assert!(coder.decode((3, 1, 4), one(), std::iter::empty()).is_none());
        assert!(coder.decode((3, 1, 4), one(), std::iter::once((0, &parity[0][..2]))).is_none());
        let two = [(0, &block[0][..]), (2, &block[2][..])];
        let restored = coder.decode((3, 1, 4), two.into_iter(), std::iter::once((0, &parity[0][..]))).unwrap();
        assert_eq!(restored, [(1, vec![2; 4])]);
    }
}
