//! What a result was measured on.

use std::fs;

use serde::Serialize;

/// The machine, as far as `/proc` tells.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let unknown = || "unknown".to_owned();
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        Self {
            cpu: field(&cpus, "model name").map_or_else(unknown, str::to_owned),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib(&memory, "MemTotal").unwrap_or(0),
            kernel: kernel.map_or_else(|_| unknown(), |release| release.trim().to_owned()),
        }
    }
}

/// Bytes of this process that are resident, counted exactly (`statm` may be off by some pages a
/// processor).
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    mapped("Rss")
}

/// Of these, bytes that no file holds, and which of them stand on huge pages.
pub(crate) fn anonymous_bytes() -> anyhow::Result<(u64, u64)> {
    Ok((mapped("Anonymous")?, mapped("AnonHugePages")?))
}

fn mapped(name: &str) -> anyhow::Result<u64> {
    const PATH: &str = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(PATH).map_err(|error| anyhow::anyhow!("{PATH}: {error}"))?;
    kib(&text, name).ok_or_else(|| anyhow::anyhow!("{PATH} has no line `{name}`"))
}

/// Memory that can be had without swapping, where the system tells.
pub(crate) fn available_bytes() -> Option<u64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

/// The value of a line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// The bytes of a line `name: number kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let number: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let text = "model name\t: AMD EPYC\nMemTotal:       24 kB\nRss:   3 kB\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(kib(text, "MemTotal"), Some(24 << 10));
        assert_eq!(kib(text, "Pss"), None);
        assert!(resident_bytes().unwrap() > 0);
    }
}
