//! A whole user deleted, few entries or many, while others stay.
//!
//! | metric | from the call until |
//! |---|---|
//! | `visible_ns` | it returns: nothing of the user can be read any more |
//! | `first_visible_ns` | the same, of a user of ten entries that is the first to be deleted for a while |
//! | `settled_ns` | nothing of the user is held any more either, maintenance driven on; 2 s at most |
//!
//! and `seen_again` is how many entries of the user can be read after all that.
//!
//! Before each sample others had the machine for seconds, so the first call finds none of its code
//! in the processor's caches: that is a figure of its own. A few more follow before the one that is
//! timed as `visible_ns`, which then finds the code there, but nothing of its user.

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric, Sample};
use crate::contender::{Contender, Kind, Room};
use crate::data::Names;
use crate::machine::available_bytes;
use crate::settings::{Defaults, MILLION, Settings};
use crate::timing::nanos_of;

pub(crate) const HELP: &str = "  \
delete-user: all that a user has, deleted at once
    --entries N           of others, who stay; 1_000_000
    --most N              of the user: 10, 100, .. up to N; 1_000_000";

const METRICS: [Metric; 4] = [
    ("visible_ns", "ns"),
    ("first_visible_ns", "ns"),
    ("settled_ns", "ns"),
    ("seen_again", "entries"),
];
/// Users of few entries that are deleted before the one that it is about.
const GUESTS: u64 = 4;
const GUEST_ENTRIES: usize = 10;
/// Of one entry, in the dearest form.
const MOST_BYTES: u64 = 600;
/// Entries that are stored for one row of one contender at most, over all samples; beyond it
/// there are fewer samples.
const MOST_STORED: usize = 3 * MILLION;

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults =
        Defaults { kinds: Kind::deleting(), entries: &[MILLION], dists: &[], seconds: 1.0 };
    let mut most = MILLION;
    let settings = Settings::parse_with(flags, defaults, |flag| match &*flag.name {
        "most" => {
            most = flag.quantity()? as usize;
            Ok(())
        }
        _ => Err(flag.unknown()),
    })?;
    let rounds = settings.rounds;
    let mut bench = Bench::new("delete-user", settings.clone())?;
    for &entries in &settings.entries {
        let names = Names::new(entries, "state");
        let room = Room::for_all(entries + most + GUESTS as usize * GUEST_ENTRIES);
        let entrants = bench.filled(room, &names);
        let mut number = 0;
        for size in std::iter::successors(Some(10), |&size| Some(size * 10)) {
            if size > most {
                break;
            }
            if available_bytes().is_some_and(|bytes| bytes < size as u64 * MOST_BYTES) {
                eprintln!("delete-user: {size} entries are left out, there is no memory for them");
                break;
            }
            bench.settings.rounds = rounds.min(MOST_STORED / size).max(1);
            let case = Case::new(entries, 1, "none").with("user_entries", size);
            bench.case(&case, &METRICS, &entrants, |entrant, _| {
                let guests: Vec<_> = (1..=GUESTS)
                    .map(|guest| Names::of_user(number + guest, GUEST_ENTRIES))
                    .collect();
                number += 1 + GUESTS;
                let user = Names::of_user(number, size);
                delete(&*entrant.contender, names.entries(), &guests, &user)
            })?;
        }
    }
    Ok(())
}

fn delete(contender: &dyn Contender, others: usize, guests: &[Names], user: &Names) -> Sample {
    contender.put_all(user);
    guests.iter().for_each(|guest| contender.put_all(guest));
    contender.settle();
    let mut before = guests.iter().map(|guest| delete_one(contender, guest));
    let first = before.next().expect("there are guests");
    before.for_each(drop);
    let visible = delete_one(contender, user);
    let settling = nanos_of(|| contender.settle_to(others as u64));
    let entries = 0..user.entries() as u32;
    let seen = entries.filter(|&entry| contender.has(user.of_entry(entry))).count();
    Sample::Figures(vec![visible, first, visible + settling, seen as f64])
}

/// How long it takes until nothing of the user can be read.
fn delete_one(contender: &dyn Contender, user: &Names) -> f64 {
    let key = user.of_entry(0);
    let visible = nanos_of(|| contender.delete_user(key.user));
    assert!(!contender.has(key), "a deleted entry is visible");
    visible
}
