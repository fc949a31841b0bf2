//! What an entry costs beside its key and value.
//!
//! Measured twice: what the allocator handed out (see [`crate::alloc`]), and what became
//! resident, which also has what allocators and half-empty pages waste. Every peer is filled in
//! a process of its own, so that none finds free memory that another left.

mod fill;
mod layout;

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::fill::{CRATES, Content, has_ttl};
use self::layout::{FIXED_VALUE_BYTES, KEY_BYTES, Layout};
use crate::alloc;
use crate::args::{Flags, Usage};
use crate::machine::resident_bytes;
use crate::report::{Record, Report, median};
use crate::text_table::TextTable;

pub(crate) const HELP: &str = "  \
memory: bytes of memory an entry, beside key and value
    --entries N           1_000_000
    --value-bytes N       64
    --layout L,..         plain, fixed, sessions-N (N keys a session); the default is
                          plain,fixed,sessions-1,sessions-8
    --sessions-a-user N   10";

/// The subcommand that fills one peer; `memory` calls it.
pub(crate) const CHILD: &str = "memory-child";

const BENCH: &str = "memory";

struct Settings {
    seed: u64,
    entries: u64,
    value_bytes: usize,
    sessions_a_user: u64,
    layouts: Vec<Layout>,
}

/// What a child tells.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Measured {
    entries: u64,
    allocated_bytes: i64,
    resident_bytes: i64,
    counted_bytes: Option<u64>,
}

pub(crate) fn run(flags: Flags) -> Result<()> {
    let common = flags.common.clone();
    let peers = common.chosen(&CRATES)?;
    let settings = Settings::parse(flags)?;
    let mut report = Report::new(common.json.as_deref())?;
    let header =
        ["layout", "peer", "allocated", "resident", "allocated, all", "resident, all", "TTL"];
    let mut table = TextTable::new(header);
    for &layout in &settings.layouts {
        if layout == Layout::Fixed && settings.value_bytes != FIXED_VALUE_BYTES {
            eprintln!("fixed: left out, it is for values of {FIXED_VALUE_BYTES} bytes");
            continue;
        }
        for &peer in &peers {
            eprintln!("{layout}: {peer}");
            let measure = |seed| settings.in_child(peer, layout, seed);
            let samples: Vec<Measured> = common.seeds().map(measure).collect::<Result<_>>()?;
            let result = Entry::of(&samples, &settings);
            table.row([
                layout.to_string(),
                peer.into(),
                format!("{:.1}", median(&result.beside(&result.allocated))),
                format!("{:.1}", median(&result.beside(&result.resident))),
                format!("{:.1}", median(&result.allocated)),
                format!("{:.1}", median(&result.resident)),
                if has_ttl(peer) { "yes" } else { "it has none" }.into(),
            ]);
            result.add_to(&mut report, peer, layout, &settings)?;
        }
    }
    let payload = KEY_BYTES + settings.value_bytes;
    println!(
        "{} entries, key of {KEY_BYTES} bytes, value of {}; bytes an entry beside these {payload}, \
         then with them.\nallocated: malloc_usable_size and the header of each block; resident: \
         smaps_rollup.\n\n{table}",
        settings.entries, settings.value_bytes,
    );
    Ok(())
}

/// Bytes an entry, one figure a sample.
struct Entry {
    allocated: Vec<f64>,
    resident: Vec<f64>,
    counted: Vec<f64>,
    payload: f64,
}

impl Entry {
    fn of(samples: &[Measured], settings: &Settings) -> Self {
        let each = |bytes: &dyn Fn(&Measured) -> Option<f64>| {
            let an_entry = |sample| Some(bytes(sample)? / sample.entries as f64);
            samples.iter().filter_map(an_entry).collect()
        };
        Self {
            allocated: each(&|sample| Some(sample.allocated_bytes as f64)),
            resident: each(&|sample| Some(sample.resident_bytes as f64)),
            counted: each(&|sample| sample.counted_bytes.map(|bytes| bytes as f64)),
            payload: (KEY_BYTES + settings.value_bytes) as f64,
        }
    }

    /// What there is beside key and value.
    fn beside(&self, totals: &[f64]) -> Vec<f64> {
        totals.iter().map(|total| total - self.payload).collect()
    }

    fn add_to(
        &self,
        report: &mut Report,
        peer: &str,
        layout: Layout,
        settings: &Settings,
    ) -> Result<()> {
        let mut params = json!({
            "entries": settings.entries,
            "threads": 1,
            "layout": layout.to_string(),
            "key_bytes": KEY_BYTES,
            "value_bytes": settings.value_bytes,
            "ttl": has_ttl(peer),
            "seed": settings.seed,
        });
        if let Layout::Sessions { keys } = layout {
            params["keys_a_session"] = keys.into();
            params["sessions_a_user"] = settings.sessions_a_user.into();
        }
        if peer == "scopecache" {
            params["api"] = "scope".into();
        }
        let mut add = |metric, samples: Vec<f64>| {
            report.add(&Record::new(BENCH, peer, &params, (metric, "bytes"), samples))
        };
        add("bytes_per_entry", self.beside(&self.allocated))?;
        add("resident_bytes_per_entry", self.beside(&self.resident))?;
        add("total_bytes_per_entry", self.allocated.clone())?;
        add("total_resident_bytes_per_entry", self.resident.clone())?;
        if !self.counted.is_empty() {
            add("counted_bytes_per_entry", self.beside(&self.counted))?;
        }
        Ok(())
    }
}

impl Settings {
    fn parse(mut flags: Flags) -> Result<Self> {
        let mut settings = Self {
            seed: flags.common.seed,
            entries: 1_000_000,
            value_bytes: FIXED_VALUE_BYTES,
            sessions_a_user: 10,
            layouts: Layout::ALL.to_vec(),
        };
        while let Some(flag) = flags.next() {
            match &*flag.name {
                "entries" => settings.entries = flag.quantity()?,
                "value-bytes" => settings.value_bytes = flag.quantity()? as usize,
                "sessions-a-user" => settings.sessions_a_user = flag.quantity()?,
                "layout" => {
                    let parse = |name: &String| name.parse().map_err(Usage::new);
                    settings.layouts = flag.list()?.iter().map(parse).collect::<Result<_, _>>()?;
                }
                _ => return Err(flag.unknown().into()),
            }
        }
        if settings.entries > u64::from(u32::MAX) {
            bail!(Usage::new("--entries: at most 2^32 - 1"));
        }
        Ok(settings)
    }

    /// Fills `peer` in a new process.
    fn in_child(&self, peer: &str, layout: Layout, seed: u64) -> Result<Measured> {
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let child = Command::new(program)
            .arg(CHILD)
            .args(["--peers", peer, "--layout", &layout.to_string()])
            .args(["--entries", &self.entries.to_string()])
            .args(["--value-bytes", &self.value_bytes.to_string()])
            .args(["--sessions-a-user", &self.sessions_a_user.to_string()])
            .args(["--seed", &seed.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start a process")?;
        if !child.status.success() {
            bail!("the process that filled {peer} ended with {}", child.status);
        }
        let measured: Measured = serde_json::from_slice(&child.stdout)
            .with_context(|| format!("the process that filled {peer} did not answer"))?;
        if measured.entries != self.entries {
            bail!("{peer} holds {} of {} entries", measured.entries, self.entries);
        }
        Ok(measured)
    }
}

/// Fills one peer and prints what that took.
pub(crate) fn run_child(flags: Flags) -> Result<()> {
    let common = flags.common.clone();
    let settings = Settings::parse(flags)?;
    let ([peer], [layout]) = (&common.chosen(&CRATES)?[..], &settings.layouts[..]) else {
        bail!(Usage::new("one peer and one layout, please"));
    };
    let content = Content {
        layout: *layout,
        names: layout.names(settings.seed, settings.sessions_a_user),
        entries: settings.entries,
        value_bytes: settings.value_bytes,
    };
    alloc::count();
    let (allocated, resident) = (alloc::allocated_bytes(), resident_bytes()?);
    let filled = content.fill(peer)?;
    let entries = filled.settle();
    let measured = Measured {
        allocated_bytes: alloc::allocated_bytes() - allocated,
        resident_bytes: resident_bytes()?.cast_signed() - resident.cast_signed(),
        entries,
        counted_bytes: filled.counted_bytes(),
    };
    let line = serde_json::to_string(&measured)?;
    writeln!(std::io::stdout(), "{line}").context("nobody reads the answer")
}
