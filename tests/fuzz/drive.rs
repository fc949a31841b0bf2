//! Runs a fuzz target on a plain toolchain: its seeds, then random inputs and mutated seeds.
//!
//! A failure names the input. `FUZZ_SEED` sets where the random inputs start, `FUZZ_INPUTS` how
//! many there are; `FUZZ_FILE` names a file that is the only input.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// How long random inputs are, in bytes.
const LENGTHS: [usize; 6] = [8, 40, 100, 250, 600, 1500];

/// Runs `target` on everything in `tests/fuzz/seeds/NAME` and on `inputs` random inputs.
pub(crate) fn drive(name: &str, inputs: u64, target: impl Fn(&[u8])) {
    if let Ok(file) = std::env::var("FUZZ_FILE") {
        return target(&std::fs::read(&file).unwrap_or_else(|why| panic!("{file}: {why}")));
    }
    let seeds = seeds(name);
    for (file, data) in &seeds {
        attempt(&target, data, || format!("{name} failed on its seed {file}"));
    }
    let (first, inputs) =
        (number("FUZZ_SEED").unwrap_or(0), number("FUZZ_INPUTS").unwrap_or(inputs));
    for seed in first..first.saturating_add(inputs) {
        attempt(&target, &Author(seed).input(&seeds), || {
            format!("{name} failed; to run this input again: FUZZ_SEED={seed} FUZZ_INPUTS=1")
        });
    }
}

fn attempt(target: impl Fn(&[u8]), data: &[u8], words: impl Fn() -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(data))) {
        eprintln!("\n{}", words());
        resume_unwind(panic);
    }
}

/// The committed seeds of a target, by name.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let files = folder.read_dir().unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut seeds: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a readable folder").path();
            (path.display().to_string(), std::fs::read(&path).expect("a readable seed"))
        })
        .collect();
    seeds.sort();
    seeds
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Splitmix64: a seed names an input, as long as the committed seeds are the same.
struct Author(u64);

impl Author {
    fn input(mut self, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
        if seeds.is_empty() || self.below(2) == 0 {
            let length = LENGTHS[self.below(LENGTHS.len())];
            return (0..self.below(length)).map(|_| self.next() as u8).collect();
        }
        let mut data = seeds[self.below(seeds.len())].1.clone();
        for _ in 0..=self.below(8) {
            let other = self.below(seeds.len());
            self.mutate(&mut data, &seeds[other].1);
        }
        data
    }

    fn mutate(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(data.len() + 1);
        let length = self.below(16);
        let end = (at + length).min(data.len());
        match self.below(4) {
            0 => drop(data.drain(at..end)),
            1 => drop(data.splice(at..at, (0..length).map(|_| self.next() as u8))),
            2 => {
                let from = self.below(other.len() + 1);
                let part = &other[from..(from + 4 * length).min(other.len())];
                drop(data.splice(at..end, part.iter().copied()));
            }
            _ => data[at..end].iter_mut().for_each(|byte| *byte = self.next() as u8),
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
