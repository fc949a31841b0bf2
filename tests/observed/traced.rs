//! The spans, as a subscriber writes them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use pollster::block_on;
use scopecache::{ErrorKind, Observed, Options, Storage};
use tracing::Level;
use tracing_subscriber::fmt::format::FmtSpan;

use super::noting::Noting;
use super::{KEY, SECRETS, SESSION, USER, call_everything, fail_in_every_way, observed};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that a subscriber of this level is told during `work`, a line each.
fn logged(level: Level, work: impl Future<Output = ()>) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::FULL)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || block_on(work));
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// The value of a field in a line.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let start = line.find(&format!("{name}="))? + name.len() + 1;
    line[start..].split([' ', '}']).next()
}

#[test]
fn no_id_ever_appears() {
    let lines = logged(Level::TRACE, async {
        let storage = observed();
        fail_in_every_way(&storage).await;
        call_everything(&storage).await.expect("open");
        fail_in_every_way(&storage).await; // closed
    });
    assert!(lines.len() > 50, "{} lines", lines.len());
    for line in &lines {
        assert!(SECRETS.iter().all(|secret| !line.contains(secret)), "{line}");
        assert!(!line.contains("marie") && !line.contains("polonium"), "{line}");
    }
}

#[test]
fn a_span_says_what_was_done_and_what_came_of_it() {
    let lines = logged(Level::DEBUG, async { call_everything(&observed()).await.expect("open") });
    let ended: Vec<_> = lines.iter().filter(|line| line.ends_with(": close")).collect();
    let told: Vec<_> = ended
        .iter()
        .map(|line| {
            (field(line, "op").expect("an op"), field(line, "outcome").expect("an outcome"))
        })
        .collect();
    let expected = [
        ("set", "stored"),
        ("get", "hit"),
        ("write", "stored"),
        ("touch", "ok"),
        ("get_many", "hit"),
        ("set_many", "stored"),
        ("keys", "ok"),
        ("sessions", "ok"),
        ("take", "removed"),
        ("load", "miss"),
        ("delete_many", "removed"),
        ("delete", "nothing"),
        ("delete", "nothing"),
        ("close", "ok"),
    ];
    let quoted = expected.map(|(op, outcome)| (format!("{op:?}"), format!("{outcome:?}")));
    let quoted: Vec<_> = quoted.iter().map(|(op, it)| (op.as_str(), it.as_str())).collect();
    assert_eq!(told, quoted);
    assert_eq!(field(ended[4], "keys"), Some("1"));
    assert_eq!(field(ended[0], "scope"), Some("\"session\""));
}

#[test]
fn a_hash_stands_for_an_id_wherever_it_appears() {
    let lines = logged(Level::DEBUG, async {
        let storage = observed();
        let same = Options::new().with_user_session("same", "same");
        for options in [same, same, Options::new().with_user_session(USER, SESSION)] {
            storage.get(if options == same { "same" } else { KEY }, options).await.expect("open");
        }
    });
    let ended: Vec<_> = lines.iter().filter(|line| line.ends_with(": close")).collect();
    let hashes =
        |line: &str| ["user", "session", "key"].map(|it| field(line, it).map(str::to_owned));
    assert_eq!(hashes(ended[0]), hashes(ended[1]));
    let all = [hashes(ended[0]), hashes(ended[2])].into_iter().flatten().flatten();
    let all: BTreeSet<String> = all.collect();
    assert_eq!(
        all.len(),
        6,
        "a user, a session and a key of the same name look different: {all:?}"
    );
    assert!(all.iter().all(|hash| hash.len() == 16 && u64::from_str_radix(hash, 16).is_ok()));
}

#[test]
fn errors_are_told_by_their_kind() {
    let lines = logged(Level::DEBUG, async { fail_in_every_way(&observed()).await });
    let events = lines.iter().filter(|line| line.contains("the call failed"));
    let kinds: Vec<_> =
        events.filter_map(|line| field(line.split_once("failed")?.1, "kind")).collect();
    let expected =
        ["invalid_options", "invalid_key", "value_too_large", "loader", "invalid_options"];
    assert_eq!(kinds, expected.map(|kind| format!("{kind:?}")));
}

/// What the application did wrong is none of the operator's business; a storage that fails is.
#[test]
fn only_a_storage_that_fails_is_a_warning() {
    let lines = logged(Level::WARN, async { fail_in_every_way(&observed()).await });
    assert_eq!(lines, [""; 0]);
    let lines = logged(Level::WARN, async {
        let failing = Noting::failing(ErrorKind::Unavailable);
        let failing = Observed::new(Arc::new(failing));
        failing.get(KEY, Options::new().with_user(USER)).await.expect_err("it fails");
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("unavailable"), "{lines:?}");
    assert!(!lines[0].contains(USER), "{lines:?}");
}
