//! Where Linux says how short memory is: the files of cgroups, version 2, and of pressure stall
//! information.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::steps::Level;

/// The system's own.
const STALLS: &str = "/proc/pressure/memory";
const OWN_CGROUPS: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

/// Which files are read.
#[derive(Debug)]
pub(super) struct Files {
    /// The process's cgroup and those that it is in.
    cgroups: Vec<PathBuf>,
    /// Of stalls: of the cgroup, and of the system.
    stalls: Vec<PathBuf>,
}

impl Files {
    /// Those that were asked for, which must be there, or else those of this process, as far as
    /// there are any.
    ///
    /// # Errors
    ///
    /// What is missing or malformed, with its path in words.
    pub(super) fn find(cgroup: Option<&Path>, stalls: Option<&Path>) -> io::Result<Self> {
        let mut files = Self { cgroups: Vec::new(), stalls: Vec::new() };
        match cgroup {
            Some(cgroup) => {
                level(cgroup)?;
                files.cgroups.push(cgroup.into());
            }
            None => {
                let own = own_cgroups(&text(OWN_CGROUPS.as_ref())?, &text(MOUNTS.as_ref())?);
                // The root has no such files, nor has any where the controller is not enabled.
                files.cgroups.extend(own.into_iter().filter(|dir| dir.join(CURRENT).exists()));
            }
        }
        let of_cgroup = files.cgroups.first().map(|cgroup| cgroup.join("memory.pressure"));
        let of_system = stalls.unwrap_or(STALLS.as_ref()).to_path_buf();
        if stalls.is_some() {
            stall(&of_system)?;
        }
        // A kernel may have them and not support them: then they cannot be read.
        let readable = |path: &PathBuf| fs::read(path).is_ok();
        files.stalls.extend(of_cgroup.into_iter().chain([of_system]).filter(readable));
        if files.cgroups.is_empty() && files.stalls.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup (version 2) with a memory controller, and no pressure stall information",
            ));
        }
        files.read()?;
        Ok(files)
    }

    /// The tightest limit, and the longest stalls.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or understood.
    pub(super) fn read(&self) -> io::Result<(Option<Level>, Option<f64>)> {
        let mut tightest: Option<Level> = None;
        for cgroup in &self.cgroups {
            let level = level(cgroup)?;
            if level.is_some_and(|level| tightest.is_none_or(|most| most.usage() < level.usage())) {
                tightest = level;
            }
        }
        let mut longest: Option<f64> = None;
        for path in &self.stalls {
            let stalled = stall(path)?;
            longest = Some(longest.map_or(stalled, |most| most.max(stalled)));
        }
        Ok((tightest, longest))
    }
}

const CURRENT: &str = "memory.current";

/// What a cgroup uses of its limit; none without one.
fn level(cgroup: &Path) -> io::Result<Option<Level>> {
    let current = cgroup.join(CURRENT);
    let current = number(&text(&current)?).ok_or_else(|| malformed(&current))?;
    let limit = |name: &str| {
        let path = cgroup.join(name);
        let text = match text(&path) {
            // A system without this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != "memory.max" => {
                return Ok(None);
            }
            text => text?,
        };
        match text.trim() {
            "max" => Ok(None),
            bytes => number(bytes).map(Some).ok_or_else(|| malformed(&path)),
        }
    };
    let limits = [limit("memory.max")?, limit("memory.high")?];
    let Some(limit_bytes) = limits.into_iter().flatten().min() else { return Ok(None) };
    // What the system keeps of files and can drop at any time is not in use.
    let droppable = match text(&cgroup.join("memory.stat")) {
        Ok(stat) => field(&stat, "inactive_file").and_then(number).unwrap_or(0),
        Err(_) => 0,
    };
    Ok(Some(Level { used_bytes: current.saturating_sub(droppable), limit_bytes }))
}

/// Percent of the last ten seconds in which some task waited for memory.
fn stall(path: &Path) -> io::Result<f64> {
    let text = text(path)?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    some.and_then(|some| some.split_whitespace().find_map(|part| part.strip_prefix("avg10=")))
        .and_then(|percent| percent.parse().ok())
        .filter(|percent: &f64| percent.is_finite())
        .ok_or_else(|| malformed(path))
}

/// The directory of the process's cgroup, and those of all that it is in, innermost first; none
/// where the system has no version 2.
fn own_cgroups(own: &str, mounts: &str) -> Vec<PathBuf> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    let Some((root, mount)) = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let place = (fields.next()?, fields.next()?);
        (after.split(' ').next() == Some("cgroup2")).then_some(place)
    }) else {
        return Vec::new();
    };
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let below = below.strip_prefix("/").unwrap_or(below);
    below.ancestors().map(|below| Path::new(mount).join(below)).collect()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn malformed(path: &Path) -> io::Error {
    let words = format!("{}: not what this system's kernel writes there", path.display());
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        24 30 0:22 / /proc rw,nosuid - proc proc rw\n\
        35 30 0:30 / /sys/fs/cgroup ro,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn dirs(own: &str, mounts: &str) -> Vec<String> {
        own_cgroups(own, mounts).iter().map(|dir| dir.display().to_string()).collect()
    }

    #[test]
    fn the_own_cgroup_is_found_with_all_that_it_is_in() {
        assert_eq!(
            dirs("0::/a.slice/b.service\n", MOUNTS),
            ["/sys/fs/cgroup/a.slice/b.service", "/sys/fs/cgroup/a.slice", "/sys/fs/cgroup/"]
        );
        assert_eq!(dirs("0::/\n", MOUNTS), ["/sys/fs/cgroup/"]);
        // Beside version 1, and with only a part of the tree mounted.
        let both = "4:memory:/x\n0::/a.slice/b\n";
        let part = MOUNTS.replace("0:30 / /sys/fs/cgroup", "0:30 /a.slice /sys/fs/cgroup/unified");
        assert_eq!(dirs(both, &part), ["/sys/fs/cgroup/unified/b", "/sys/fs/cgroup/unified/"]);
        // In a namespace whose root is elsewhere.
        assert_eq!(dirs("0::/../c\n", &part), ["/sys/fs/cgroup/unified/"]);
        assert!(dirs("4:memory:/x\n", MOUNTS).is_empty());
        assert!(dirs("0::/a\n", "24 30 0:22 / /proc rw - proc proc rw\n").is_empty());
    }

    #[test]
    fn the_tightest_limit_and_the_longest_stall_count() {
        let dir = std::env::temp_dir().join(format!("scopecache-files-{}", std::process::id()));
        let files = Files {
            cgroups: ["a", "b", "c", "d"].map(|name| dir.join(name)).into(),
            stalls: ["a", "b", "c"].map(|name| dir.join(name).join("stalls")).into(),
        };
        let figures = [
            ("100", "1000", "1.50"),
            ("600", "800", "7.25"),
            ("700", "1000", "3.00"),
            ("9", "max", ""),
        ];
        for (cgroup, (current, max, stalled)) in files.cgroups.iter().zip(figures) {
            fs::create_dir_all(cgroup).expect("a temporary folder");
            for (name, text) in [("memory.current", current), ("memory.max", max)] {
                fs::write(cgroup.join(name), format!("{text}\n")).expect("it can be written");
            }
            let text = format!("some avg10={stalled} avg60=0.00 avg300=0.00 total=1\n");
            fs::write(cgroup.join("stalls"), text).expect("it can be written");
        }
        let read = files.read();
        fs::remove_dir_all(dir).expect("it was made above");
        let tightest = Level { used_bytes: 600, limit_bytes: 800 };
        assert_eq!(read.expect("well-formed"), (Some(tightest), Some(7.25)));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let stat = "anon 7\ninactive_file_x 1\ninactive_file 4096\n";
        assert_eq!(field(stat, "inactive_file").and_then(number), Some(4096));
        assert_eq!(field(stat, "file"), None);
    }
}
