//! The command line: flags that every subcommand has, and a way to read the others.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser};

/// What all subcommands take.
pub(crate) const COMMON_HELP: &str = "  \
  --json FILE      append one line of JSON a result
  --peers A,B      only these, named as their crates
  --seed N         of hashers and random numbers; 1
  --samples N      repeat, hit-ratio, memory, bound and tenants with the seeds N, N + 1, ..; the
                   median counts; 3 for tenants, 1 for those three, 5 for the others";

/// A mistake in the command line: the program ends with status 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

/// The flags of one call: those that are common to all taken out, the others in order.
pub(crate) struct Flags {
    pub(crate) common: Common,
    /// What stands there without a flag.
    pub(crate) files: Vec<PathBuf>,
    rest: VecDeque<(String, Option<OsString>)>,
}

/// The flags that every subcommand has.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) json: Option<PathBuf>,
    pub(crate) seed: u64,
    samples: Option<u64>,
    peers: Option<Vec<String>>,
}

/// One flag and what stands behind it.
pub(crate) struct Flag {
    pub(crate) name: String,
    value: Option<OsString>,
}

/// A number of bytes or things: `4096`, `1_000_000`, `64K`, `16M` or `2G` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) u64);

impl Flags {
    /// Reads what is left of the command line; `None` where it asks for help.
    ///
    /// Every flag has a value, but for those of [`SWITCHES`].
    pub(crate) fn new(mut parser: Parser) -> Result<Option<Self>, Usage> {
        let (mut rest, mut files) = (VecDeque::new(), Vec::new());
        while let Some(arg) = parser.next()? {
            let name = match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Long(name) => name.to_owned(),
                Arg::Value(file) => {
                    files.push(file.into());
                    continue;
                }
                other => return Err(other.unexpected().into()),
            };
            let value = if SWITCHES.contains(&&*name) { None } else { Some(parser.value()?) };
            rest.push_back((name, value));
        }
        let mut flags = Self { common: Common::default(), files, rest: VecDeque::new() };
        for (name, value) in rest {
            flags.sort(Flag { name, value })?;
        }
        Ok(Some(flags))
    }

    fn sort(&mut self, flag: Flag) -> Result<(), Usage> {
        let common = &mut self.common;
        match &*flag.name {
            "json" => common.json = Some(flag.path()?),
            "seed" => common.seed = flag.number()?,
            "samples" => common.samples = Some(flag.number::<u64>()?.max(1)),
            "peers" => common.peers = Some(flag.list()?),
            _ => self.rest.push_back((flag.name, flag.value)),
        }
        Ok(())
    }

    /// Fails where something stands without a flag.
    pub(crate) fn without_files(self) -> Result<Self, Usage> {
        match self.files.first() {
            Some(stray) => Err(Usage(format!("`{}`: a flag is missing", stray.display()))),
            None => Ok(self),
        }
    }

    /// Whether a flag that is not common to all is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rest.iter().any(|(flag, _)| flag == name)
    }

    /// The next flag that is not common to all.
    pub(crate) fn next(&mut self) -> Option<Flag> {
        self.rest.pop_front().map(|(name, value)| Flag { name, value })
    }
}

/// Flags without a value.
const SWITCHES: &[&str] = &["check-belady", "bytes-only", "unit-only", "short"];

impl Default for Common {
    fn default() -> Self {
        Self { json: None, seed: 1, samples: None, peers: None }
    }
}

impl Common {
    /// Those of `known` that were asked for, in the order of `known`; all of them by default.
    pub(crate) fn chosen<'a>(&self, known: &[&'a str]) -> Result<Vec<&'a str>, Usage> {
        let Some(peers) = &self.peers else { return Ok(known.to_vec()) };
        if let Some(unknown) = peers.iter().find(|peer| !known.contains(&&***peer)) {
            let known = known.join(", ");
            return Err(Usage(format!("no peer `{unknown}` here; there are {known}")));
        }
        Ok(known.iter().copied().filter(|name| peers.iter().any(|peer| peer == name)).collect())
    }

    /// Gives them to another call of this program; not the number of samples, nor the peers,
    /// of which not every subcommand has all.
    pub(crate) fn pass_on(&self, command: &mut Command) {
        command.args(["--seed", &self.seed.to_string()]);
        if let Some(json) = &self.json {
            command.arg("--json").arg(json);
        }
    }

    /// The seeds of the samples.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        self.seed..self.seed.saturating_add(self.samples_or(1))
    }

    /// How many samples were asked for.
    pub(crate) fn samples_or(&self, default: u64) -> u64 {
        self.samples.unwrap_or(default)
    }
}

impl Flag {
    /// The error for a flag that the subcommand does not know.
    pub(crate) fn unknown(&self) -> Usage {
        Usage(format!("there is no flag --{}", self.name))
    }

    pub(crate) fn path(&self) -> Result<PathBuf, Usage> {
        self.value.clone().map(PathBuf::from).ok_or_else(|| self.missing())
    }

    pub(crate) fn text(&self) -> Result<String, Usage> {
        let value = self.value.clone().ok_or_else(|| self.missing())?;
        value.into_string().map_err(|_| Usage(format!("--{}: not UTF-8", self.name)))
    }

    /// The parts between commas.
    pub(crate) fn list(&self) -> Result<Vec<String>, Usage> {
        let parts: Vec<String> = self.text()?.split(',').map(|part| part.trim().into()).collect();
        if parts.iter().any(String::is_empty) {
            return Err(Usage(format!("--{}: an empty name in the list", self.name)));
        }
        Ok(parts)
    }

    pub(crate) fn number<T: FromStr<Err: fmt::Display>>(&self) -> Result<T, Usage> {
        let text = self.text()?;
        text.parse().map_err(|error| Usage(format!("--{} {text}: {error}", self.name)))
    }

    /// A [`Quantity`] of at least 1.
    pub(crate) fn quantity(&self) -> Result<u64, Usage> {
        match self.number::<Quantity>()? {
            Quantity(0) => Err(Usage(format!("--{} must be more than 0", self.name))),
            Quantity(amount) => Ok(amount),
        }
    }

    /// Quantities between commas.
    pub(crate) fn quantities(&self) -> Result<Vec<usize>, Usage> {
        let quantities: Vec<Quantity> = self.parsed_list()?;
        if quantities.contains(&Quantity(0)) {
            return Err(Usage(format!("--{}: all must be more than 0", self.name)));
        }
        Ok(quantities.into_iter().map(|quantity| quantity.0 as usize).collect())
    }

    /// What stands between commas, each parsed.
    pub(crate) fn parsed_list<T: FromStr<Err: fmt::Display>>(&self) -> Result<Vec<T>, Usage> {
        let parse = |part: String| {
            part.parse().map_err(|error| Usage(format!("--{} {part}: {error}", self.name)))
        };
        self.list()?.into_iter().map(parse).collect()
    }

    /// A time in seconds, parts of one allowed.
    pub(crate) fn seconds(&self) -> Result<Duration, Usage> {
        let seconds: f64 = self.number()?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if !time.is_zero() => Ok(time),
            _ => Err(Usage(format!("--{} {seconds}: not a time that one can wait", self.name))),
        }
    }

    fn missing(&self) -> Usage {
        Usage(format!("--{} takes no value", self.name))
    }
}

impl FromStr for Quantity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shift = match text.as_bytes().last() {
            Some(b'K' | b'k') => 10,
            Some(b'M' | b'm') => 20,
            Some(b'G' | b'g') => 30,
            _ => 0,
        };
        let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
        let digits: String = digits.chars().filter(|&c| c != '_').collect();
        let number: u64 = digits.parse().map_err(|_| "not a number; say 4096, 64K, 16M or 2G")?;
        number.checked_mul(1 << shift).map(Self).ok_or("too large")
    }
}

impl Usage {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<lexopt::Error> for Usage {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Option<Flags>, Usage> {
        Flags::new(Parser::from_args(args))
    }

    #[test]
    fn common_flags_are_taken_out_and_the_others_kept() {
        let mut flags =
            flags(&["--seed", "7", "--entries", "1_000", "--peers=moka,dashmap"]).unwrap().unwrap();
        assert_eq!(flags.common.seed, 7);
        let entries = flags.next().unwrap();
        assert_eq!((&*entries.name, entries.quantity().unwrap()), ("entries", 1000));
        assert!(flags.next().is_none());
        // In the order of those that there are.
        assert_eq!(flags.common.chosen(&["dashmap", "moka", "x"]).unwrap(), ["dashmap", "moka"]);
        assert!(flags.common.chosen(&["dashmap"]).is_err());
    }

    #[test]
    fn mistakes_are_told() {
        assert!(flags(&["-x"]).is_err());
        assert!(flags(&["--seed"]).is_err());
        let error = flags(&["--seed", "many"]).err().unwrap();
        assert!(error.to_string().starts_with("--seed many: "), "{error}");
        assert!(flags(&["--help"]).unwrap().is_none());
    }

    #[test]
    fn quantities() {
        let parse = |text: &str| text.parse::<Quantity>().map(|quantity| quantity.0);
        assert_eq!(parse("64M"), Ok(64 << 20));
        assert_eq!(parse("1_000"), Ok(1000));
        assert!(parse("").is_err() && parse("M").is_err() && parse("99999999999G").is_err());
    }
}
