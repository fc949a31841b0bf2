//! Pages of this process: small ones alone, or huge ones wherever they fit.
//!
//! What an allocator gives stands on pages of 4 KiB unless it asks for others, and a read at random
//! then misses the processor's table of addresses too. Huge pages show what is left without that.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::machine::anonymous_bytes;

pub(crate) const SMALL: usize = 4 << 10;
pub(crate) const HUGE: usize = 2 << 20;

/// The least share of the memory that has to stand on huge pages for a row to say so; both ends of
/// each range stay on small ones.
const LEAST_SHARE: f64 = 0.75;
/// Since Linux 6.1; not named by `libc` for all systems.
const MADV_COLLAPSE: i32 = 25;

/// Has everything that is allocated from now on stand on small pages.
pub(crate) fn only_small() -> Result<()> {
    forbid_huge(true)
}

/// Moves what stands on small pages to huge ones.
pub(crate) fn collapse() -> Result<()> {
    forbid_huge(false)?;
    let maps = fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    for (start, end) in maps.lines().filter_map(anonymous) {
        let (start, end) = (start.next_multiple_of(HUGE), end / HUGE * HUGE);
        // In parts: the call ends at the first that cannot be moved, as where nothing is resident.
        for part in (start..end).step_by(HUGE) {
            // SAFETY: where these bytes stand is nothing that a program can see.
            unsafe {
                libc::madvise(std::ptr::without_provenance_mut(part), HUGE, MADV_COLLAPSE);
            }
        }
    }
    let (all, huge) = anonymous_bytes()?;
    let share = huge as f64 / all as f64;
    eprintln!("{:.0} % of {} MiB stand on huge pages", 100.0 * share, all >> 20);
    ensure!(
        share >= LEAST_SHARE,
        "only {:.0} % of the memory could be moved to huge pages: this needs Linux 6.1 and free memory",
        100.0 * share
    );
    Ok(())
}

/// The addresses of a line of `/proc/self/maps`, if it is memory that can be written and no file.
fn anonymous(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    (rights.starts_with("rw") && inode == "0").then_some((number(start)?, number(end)?))
}

fn forbid_huge(forbidden: bool) -> Result<()> {
    // SAFETY: sets a flag of this process; no memory is passed.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(forbidden), 0, 0, 0) }
        != 0
    {
        bail!("cannot choose the size of pages: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_anonymous_memory_are_told_from_others() {
        let heap = "55d0c0a00000-55d0c1c00000 rw-p 00000000 00:00 0                  [heap]";
        assert_eq!(anonymous(heap), Some((0x55d0_c0a0_0000, 0x55d0_c1c0_0000)));
        assert_eq!(anonymous("7f00-7f10 rw-p 00000000 00:00 0"), Some((0x7f00, 0x7f10)));
        assert_eq!(anonymous("7f00-7f10 rw-p 00000000 fe:00 1234   /usr/lib/libc.so"), None);
        assert_eq!(anonymous("7f00-7f10 r-xp 00000000 00:00 0      [vdso]"), None);
        assert_eq!(anonymous(""), None);
    }
}
