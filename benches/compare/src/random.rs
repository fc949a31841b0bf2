//! Random numbers that are the same on every machine.

use std::io::Write;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of `least..=most` whose logarithm is evenly spread.
    pub(crate) fn log_uniform(&mut self, least: f64, most: f64) -> f64 {
        (least.ln() + self.unit() * (most / least).ln()).exp().clamp(least, most)
    }
}

/// Bytes of the text of a UUID.
pub(crate) const UUID_BYTES: usize = 36;

/// The text of a UUID, held without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uuid([u8; UUID_BYTES]);

impl Uuid {
    /// Another one for each pair of numbers.
    pub(crate) fn new(kind: u64, number: u64) -> Self {
        let mut random = Random::new(kind ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let (high, low) = (random.next(), random.next());
        let [a, b, c] = [high >> 32, high >> 16 & 0xffff, high & 0xffff];
        let [d, e] = [low >> 48, low & 0xffff_ffff_ffff];
        let mut text = [0; UUID_BYTES];
        write!(&mut text[..], "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}").expect("36 digits");
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits and hyphens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_form_and_differ() {
        let hyphens = Uuid::new(1, 2).as_str().bytes().filter(|&byte| byte == b'-').count();
        assert_eq!(hyphens, 4);
        assert_ne!(Uuid::new(1, 2), Uuid::new(1, 3));
        assert_ne!(Uuid::new(1, 2), Uuid::new(2, 2));
    }

    #[test]
    fn log_uniform_stays_within_and_has_its_median() {
        let mut random = Random::new(1);
        let draws: Vec<f64> = (0..10_000).map(|_| random.log_uniform(1.0, 1e6)).collect();
        assert!(draws.iter().all(|draw| (1.0..=1e6).contains(draw)));
        let below = draws.iter().filter(|&&draw| draw < 1e3).count();
        assert!((4_800..5_200).contains(&below), "{below} of 10000 below the median");
    }
}
