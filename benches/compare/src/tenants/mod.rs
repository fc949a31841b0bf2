//! Two tenants in one cache, one of whom scans: the other's hit ratio.
//!
//! The quiet tenant asks for its keys by a Zipf distribution and stores what it misses. The loud
//! one stores keys that never come back, and reads each twice, as a job does that goes through a
//! table: to a policy that looks at frequency these are not a scan. One thread, the two in turn,
//! so that a run can be repeated.

mod contender;

use std::fmt;

use anyhow::{Result, bail};
use serde_json::json;

use self::contender::{Tenant, Tenants};
use crate::args::{Common, Flags, Usage};
use crate::bench::in_turn;
use crate::data::{Dist, Requests};
use crate::report::{Record, Report, median};
use crate::text_table::TextTable;

pub(crate) const HELP: &str = "  \
tenants: two tenants, one of whom scans: the other's hit ratio, with quotas and without; status 1
    where with quotas the scan costs it more than a point
    --bytes N             of the cache; 16M
    --quota N             of each tenant, in percent of that; 33
    --keys N              that the quiet tenant asks for; 100_000
    --requests N          of the quiet tenant, after as many to warm up; 300_000
    --scan N              keys that the loud tenant stores for each of them; 2";

const BENCH: &str = "tenants";
const ROUNDS: u64 = 3;
/// What the scan may cost the other where there are quotas: a point.
const MOST: f64 = 0.01;
/// Requests after which caches do what they put off.
const INTERVAL: u64 = 64;

struct Settings {
    common: Common,
    bytes: u64,
    /// In percent of the bytes.
    quota: u64,
    keys: usize,
    requests: u64,
    scan: u64,
}

/// A cache, and how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    peer: Peer,
    scan: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// With a quota for each tenant, which no peer has.
    WithQuotas,
    Ours,
    QuickCache,
    Moka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    On,
    Off,
}

pub(crate) fn run(flags: Flags) -> Result<()> {
    let settings = Settings::parse(flags)?;
    let mut all = Vec::new();
    for name in settings.common.chosen(&["scopecache", "quick_cache", "moka"])? {
        let peers: &[Peer] = match name {
            "quick_cache" => &[Peer::QuickCache],
            "moka" => &[Peer::Moka],
            _ => &[Peer::WithQuotas, Peer::Ours],
        };
        let both = |&peer| [Scan::Off, Scan::On].map(|scan| Setting { peer, scan });
        all.extend(peers.iter().flat_map(both));
    }
    let rounds = settings.common.samples_or(ROUNDS) as usize;
    let entries = contender::entries_within(settings.bytes)?;
    let samples = in_turn(&all, rounds, |setting, round| {
        let seed = settings.common.seed + round as u64;
        hit_ratio(&settings, *setting, entries, seed)
    });
    let samples: Vec<Vec<f64>> =
        samples.into_iter().map(|row| row.into_iter().collect()).collect::<Result<_>>()?;
    settings.tell(&all, &samples, entries)?;
    judge(&all, &samples)
}

/// Fails where with quotas the scan costs the other more than it may.
fn judge(all: &[Setting], samples: &[Vec<f64>]) -> Result<()> {
    let of = |scan| all.iter().position(|&it| it == Setting { peer: Peer::WithQuotas, scan });
    let (Some(off), Some(on)) = (of(Scan::Off), of(Scan::On)) else { return Ok(()) };
    let costs: Vec<f64> = samples[off].iter().zip(&samples[on]).map(|(off, on)| off - on).collect();
    let cost = median(&costs);
    if cost > MOST {
        bail!("with quotas, the scan costs the other {:.2} points of its hit ratio", 100.0 * cost);
    }
    Ok(())
}

impl Settings {
    fn parse(mut flags: Flags) -> Result<Self, Usage> {
        let (mut bytes, mut quota) = (16 << 20, 33);
        let (mut keys, mut requests, mut scan) = (100_000, 300_000, 2);
        while let Some(flag) = flags.next() {
            match &*flag.name {
                "bytes" => bytes = flag.quantity()?,
                "quota" => quota = flag.quantity()?,
                "keys" => keys = flag.quantity()?,
                "requests" => requests = flag.quantity()?,
                "scan" => scan = flag.quantity()?,
                _ => return Err(flag.unknown()),
            }
        }
        if u32::try_from(keys).is_err() {
            return Err(Usage::new("--keys: at most 2^32 - 1"));
        }
        if quota > 100 {
            return Err(Usage::new("--quota: at most 100 percent"));
        }
        Ok(Self { common: flags.common, bytes, quota, keys: keys as usize, requests, scan })
    }

    /// A table for people, and a line of JSON for each row.
    fn tell(&self, all: &[Setting], samples: &[Vec<f64>], entries: u64) -> Result<()> {
        let mut report = Report::new(self.common.json.as_deref())?;
        let mut table = TextTable::new(["the other's hit ratio", "alone", "beside a scan"]);
        println!(
            "{BENCH}: {} bytes, {entries} entries; {} keys asked for, {} stored for each request",
            self.bytes, self.keys, self.scan
        );
        for (pair, row) in all.chunks(2).zip(samples.chunks(2)) {
            let figure = |samples: &Vec<f64>| format!("{:.4}", median(samples));
            table.row([pair[0].peer.to_string(), figure(&row[0]), figure(&row[1])]);
        }
        println!("{table}");
        for (setting, samples) in all.iter().zip(samples) {
            let quota = if setting.peer == Peer::WithQuotas { "on" } else { "off" };
            let scan = if setting.scan == Scan::On { "on" } else { "off" };
            let params = json!({
                "capacity_bytes": self.bytes,
                "capacity_entries": entries,
                "quota_percent": self.quota,
                "entries": self.keys,
                "threads": 1,
                "dist": "zipf",
                "quota": quota,
                "scan": scan,
                "scanned_per_request": self.scan,
                "seed": self.common.seed,
            });
            let name = setting.peer.crate_name();
            let metric = ("hit_ratio", "ratio");
            report.add(&Record::new(BENCH, name, &params, metric, samples.clone()))?;
        }
        Ok(())
    }
}

/// The quiet tenant's hit ratio in an empty cache.
fn hit_ratio(settings: &Settings, setting: Setting, entries: u64, seed: u64) -> Result<f64> {
    let quota = settings.bytes * settings.quota / 100;
    let mut tenants = setting.peer.start(settings.bytes, quota, entries, seed)?;
    let mut requests = Dist::Zipf.requests(settings.keys, [seed]).remove(0);
    let scan = if setting.scan == Scan::On { settings.scan } else { 0 };
    let mut scanned = 0;
    // Warm first.
    ask(&mut *tenants, &mut requests, settings.requests, scan, &mut scanned)?;
    let hits = ask(&mut *tenants, &mut requests, settings.requests, scan, &mut scanned)?;
    Ok(hits as f64 / settings.requests as f64)
}

/// So many requests of the quiet tenant, and what the loud one does meanwhile; the hits.
fn ask(
    tenants: &mut dyn Tenants,
    requests: &mut Requests,
    count: u64,
    scan: u64,
    scanned: &mut u64,
) -> Result<u64> {
    let mut hits = 0;
    for number in 0..count {
        hits += u64::from(tenants.request(Tenant::Quiet, requests.next().into())?);
        for _ in 0..scan {
            // Stored by the first, which misses, and read by the others.
            for _ in 0..3 {
                tenants.request(Tenant::Loud, *scanned)?;
            }
            *scanned += 1;
        }
        if number % INTERVAL == 0 {
            tenants.settle();
        }
    }
    Ok(hits)
}

impl Peer {
    fn crate_name(self) -> &'static str {
        match self {
            Self::WithQuotas | Self::Ours => "scopecache",
            Self::QuickCache => "quick_cache",
            Self::Moka => "moka",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithQuotas => "scopecache, quotas",
            Self::Ours => "scopecache, no quotas",
            other => other.crate_name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let flags = Flags::new(lexopt::Parser::from_args::<[&str; 0]>([])).unwrap().unwrap();
        Settings {
            bytes: 2 << 20,
            keys: 10_000,
            requests: 20_000,
            scan: 2,
            ..Settings::parse(flags).unwrap()
        }
    }

    #[test]
    fn quotas_protect_and_a_cost_is_told() {
        let settings = settings();
        let entries = contender::entries_within(settings.bytes).unwrap();
        let peers = [Peer::WithQuotas, Peer::Ours, Peer::QuickCache, Peer::Moka];
        let ratios = peers.map(|peer| {
            [Scan::Off, Scan::On]
                .map(|scan| hit_ratio(&settings, Setting { peer, scan }, entries, 1).unwrap())
        });
        for (peer, [off, on]) in peers.iter().zip(ratios) {
            assert!(off > 0.5 && on > 0.1, "{peer}: {off} and {on}");
        }
        let [off, on] = ratios[0];
        assert!(off - on < MOST, "{off} and {on}");

        let all = [Scan::Off, Scan::On].map(|scan| Setting { peer: Peer::WithQuotas, scan });
        assert!(judge(&all, &[vec![0.9], vec![0.895]]).is_ok());
        assert!(judge(&all, &[vec![0.9], vec![0.885]]).is_err());
        assert!(judge(&all[..1], &[vec![0.9]]).is_ok());
    }
}
