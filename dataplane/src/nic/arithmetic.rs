//! The arithmetic of `reduce`: element types, operations, and vectors combined element by element.
//!
//! Integers wrap. Half and bfloat16 are widened to float, combined, and rounded to the nearest, ties to even.
//! `traffic/elements.py` computes the same, and results are held against it bit for bit.

/// Element types by their names in a plan, all little-endian.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Int8,
    Uint8,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Half,
    Float,
    Double,
    Bfloat16,
}

/// What becomes of two elements.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Redop {
    Sum,
    Prod,
    Max,
    Min,
}

impl Dtype {
    /// The length of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::Int8 | Dtype::Uint8 => 1,
            Dtype::Half | Dtype::Bfloat16 => 2,
            Dtype::Int32 | Dtype::Uint32 | Dtype::Float => 4,
            Dtype::Int64 | Dtype::Uint64 | Dtype::Double => 8,
        }
    }
}

/// Combine the elements of `terms` into those of `sums`, and divide what comes of it; both are of whole elements.
pub fn combine(dtype: Dtype, redop: Redop, divisor: u32, sums: &mut [u8], terms: &[u8]) {
    match dtype {
        Dtype::Int8 => by_operation::<i8, 1>(redop, divisor, sums, terms),
        Dtype::Uint8 => by_operation::<u8, 1>(redop, divisor, sums, terms),
        Dtype::Int32 => by_operation::<i32, 4>(redop, divisor, sums, terms),
        Dtype::Uint32 => by_operation::<u32, 4>(redop, divisor, sums, terms),
        Dtype::Int64 => by_operation::<i64, 8>(redop, divisor, sums, terms),
        Dtype::Uint64 => by_operation::<u64, 8>(redop, divisor, sums, terms),
        Dtype::Half => by_operation::<Half, 2>(redop, divisor, sums, terms),
        Dtype::Float => by_operation::<f32, 4>(redop, divisor, sums, terms),
        Dtype::Double => by_operation::<f64, 8>(redop, divisor, sums, terms),
        Dtype::Bfloat16 => by_operation::<Bfloat16, 2>(redop, divisor, sums, terms),
    }
}

fn by_operation<T: Element<N>, const N: usize>(redop: Redop, divisor: u32, sums: &mut [u8], terms: &[u8]) {
    match redop {
        Redop::Sum if divisor > 1 => each(sums, terms, |a: T, b| a.plus(b).over(divisor)),
        Redop::Sum => each(sums, terms, T::plus),
        Redop::Prod => each(sums, terms, T::times),
        Redop::Max => each(sums, terms, T::greater),
        Redop::Min => each(sums, terms, T::lesser),
    }
}

#[inline]
fn each<T: Element<N>, const N: usize>(sums: &mut [u8], terms: &[u8], operation: impl Fn(T, T) -> T) {
    let (sums, _) = sums.as_chunks_mut::<N>();
    let (terms, _) = terms.as_chunks::<N>();
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum = operation(T::read(*sum), T::read(*term)).written();
    }
}

/// A number of `N` bytes. Division is towards zero for integers; extremes of floats are NaN if either number is.
trait Element<const N: usize>: Copy {
    fn read(bytes: [u8; N]) -> Self;
    fn written(self) -> [u8; N];
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn greater(self, other: Self) -> Self;
    fn lesser(self, other: Self) -> Self;
    fn over(self, divisor: u32) -> Self;
}

macro_rules! integers {
    ($($kind:ty, $bytes:literal, $wide:ty;)*) => {$(
        impl Element<$bytes> for $kind {
            fn read(bytes: [u8; $bytes]) -> Self {
                Self::from_le_bytes(bytes)
            }
            fn written(self) -> [u8; $bytes] {
                self.to_le_bytes()
            }
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn greater(self, other: Self) -> Self {
                self.max(other)
            }
            fn lesser(self, other: Self) -> Self {
                self.min(other)
            }
            fn over(self, divisor: u32) -> Self {
                (<$wide>::from(self) / <$wide>::from(divisor)) as Self
            }
        }
    )*};
}

integers! {
    i8, 1, i64;
    u8, 1, u64;
    i32, 4, i64;
    u32, 4, u64;
    i64, 8, i64;
    u64, 8, u64;
}

macro_rules! floats {
    ($($kind:ty, $bytes:literal;)*) => {$(
        impl Element<$bytes> for $kind {
            fn read(bytes: [u8; $bytes]) -> Self {
                Self::from_le_bytes(bytes)
            }
            fn written(self) -> [u8; $bytes] {
                self.to_le_bytes()
            }
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn greater(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            fn lesser(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
            fn over(self, divisor: u32) -> Self {
                self / divisor as Self
            }
        }
    )*};
}

floats! {
    f32, 4;
    f64, 8;
}

/// A float of 5 bits of exponent and 10 of fraction (IEEE 754 binary16), by its bits.
#[derive(Copy, Clone)]
struct Half(u16);

/// The upper half of a float, by its bits.
#[derive(Copy, Clone)]
struct Bfloat16(u16);

macro_rules! narrow_floats {
    ($($kind:ident, $widen:ident, $narrow:ident;)*) => {$(
        impl Element<2> for $kind {
            fn read(bytes: [u8; 2]) -> Self {
                $kind(u16::from_le_bytes(bytes))
            }
            fn written(self) -> [u8; 2] {
                self.0.to_le_bytes()
            }
            fn plus(self, other: Self) -> Self {
                $kind($narrow($widen(self.0) + $widen(other.0)))
            }
            fn times(self, other: Self) -> Self {
                $kind($narrow($widen(self.0) * $widen(other.0)))
            }
            fn greater(self, other: Self) -> Self {
                $kind($narrow($widen(self.0).greater($widen(other.0))))
            }
            fn lesser(self, other: Self) -> Self {
                $kind($narrow($widen(self.0).lesser($widen(other.0))))
            }
            fn over(self, divisor: u32) -> Self {
                $kind($narrow($widen(self.0).over(divisor)))
            }
        }
    )*};
}

narrow_floats! {
    Half, half_to_float, float_to_half;
    Bfloat16, bfloat16_to_float, float_to_bfloat16;
}

fn bfloat16_to_float(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn float_to_bfloat16(float: f32) -> u16 {
    let bits = float.to_bits();
    if float.is_nan() {
        return (bits >> 16) as u16 | 0x7fc0;
    }
    ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
}

/// The least exponent of a half that is normal, and the weight of the last bit of those below it.
const SMALLEST_UNIT: f32 = 1.0 / (1 << 24) as f32;

fn half_to_float(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(bits & 0x8000) << 16, bits >> 10 & 0x1f, u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => (fraction as f32 * SMALLEST_UNIT).to_bits(),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (u32::from(exponent) + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

fn float_to_half(float: f32) -> u16 {
    let bits = float.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    let rounded = if float.is_nan() {
        0x7e00 | (magnitude >> 13 & 0x3ff)
    } else if magnitude >= 0x4780_0000 {
        // 65536 and more.
        0x7c00
    } else if magnitude < 0x3880_0000 {
        // Below the least normal number: whole units, rounded by an addition to a float of which the unit is the last bit.
        let scaled = f32::from_bits(magnitude) / SMALLEST_UNIT;
        let anchor = (1 << 23) as f32;
        ((scaled + anchor) - anchor) as u32
    } else {
        // A carry out of the fraction goes on into the exponent, up to infinity.
        (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_being_widened() {
        for bits in 0..=u16::MAX {
            let float = half_to_float(bits);
            let back = float_to_half(float);
            assert!(if float.is_nan() { half_to_float(back).is_nan() } else { back == bits }, "{bits:#06x}");
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_and_ties_to_even() {
        for (float, bits) in [
            (1.0, 0x3c00),
            (2049.0, 0x6800),
            (2051.0, 0x6802),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (-1.5, 0xbe00),
            (SMALLEST_UNIT / 2.0, 0),
            (SMALLEST_UNIT * 1.5, 2),
            (SMALLEST_UNIT * 1023.75, 0x400),
        ] {
            assert_eq!(float_to_half(float), bits, "{float}");
        }
    }

    #[test]
    fn bfloat16_is_rounded_to_the_nearest_and_ties_to_even() {
        for (float, bits) in [(1.0, 0x3f80), (257.0, 0x4380), (259.0, 0x4382), (f32::MAX, 0x7f80), (-2.0, 0xc000)] {
            assert_eq!(float_to_bfloat16(float), bits, "{float}");
        }
        assert!(bfloat16_to_float(float_to_bfloat16(f32::NAN)).is_nan());
    }

    #[test]
    fn averages_of_integers_are_rounded_towards_zero() {
        let mut sums = [-7i8 as u8, 7];
        combine(Dtype::Int8, Redop::Sum, 4, &mut sums, &[0, 0]);
        assert_eq!(sums.map(|sum| sum as i8), [-1, 1]);
    }
}
