//! The example that shows a cache at work: one page, one snapshot, and what it is told wrongly.

use serde_json::Value;

#[path = "../examples/inspect/app.rs"]
mod app;

fn run(arguments: &[&str]) -> Result<String, String> {
    let mut output = Vec::new();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    app::run(arguments, &mut output).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output).expect("text"))
}

#[test]
fn one_page_shows_everything() {
    let page = run(&["--once", "--seconds", "0.5", "--top", "5"]).expect("a page");
    for word in [
        "users",
        "sessions",
        "entries",
        "memory",
        "live",
        "retired",
        "to reclaim",
        "hits/s",
        "misses/s",
        "loads",
        "expiry",
        "s behind",
        "expired",
        "evicted",
        "replaced",
        "deleted",
        "session deleted",
        "user deleted",
        "cleared",
        "most bytes",
        "most misses",
        "user-lost",
    ] {
        assert!(page.contains(word), "{word} is not on the page:\n{page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 96), "{page}");
    assert!(!page.contains('\x1b'), "no terminal has to be there");
}

#[test]
fn one_snapshot_is_json_whose_figures_agree() {
    let json = run(&["--json", "--seconds", "0.5", "--top", "3"]).expect("a snapshot");
    let snapshot: Value = serde_json::from_str(&json).expect("valid JSON");
    let stats = &snapshot["stats"];
    let figure = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"));
    let (hits, misses) = (figure("hits"), figure("misses"));
    assert!(hits > 0 && misses > 0 && figure("load_successes") > 0, "{json}");
    let ratio = snapshot["hit_ratio"].as_f64().expect("something was asked for");
    assert!((ratio - hits as f64 / (hits + misses) as f64).abs() < 1e-9, "{json}");
    assert!(figure("live_bytes") <= snapshot["capacity_bytes"].as_u64().expect("a bound"));
    assert!(stats["expiry_lag_seconds"].as_f64().is_some_and(|lag| lag >= 0.0), "{json}");
    assert!(stats["removals"]["replaced"].as_u64().is_some_and(|replaced| replaced > 0), "{json}");
    let top = snapshot["top_by_bytes"].as_array().expect("a list");
    let bytes: Vec<_> = top.iter().map(|user| user["bytes"].as_u64().expect("bytes")).collect();
    assert!(bytes.len() == 3 && bytes.is_sorted_by(|one, two| one >= two), "{bytes:?}");
    let missing = snapshot["top_by_misses"].as_array().expect("a list");
    assert!((1..=3).contains(&missing.len()) && missing[0]["user"].is_string(), "{json}");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    assert!(run(&["--twice"]).expect_err("unknown").contains("--twice"));
    assert!(run(&["--seconds", "-1"]).expect_err("no time").contains("--seconds N"));
    assert!(run(&["--top"]).expect_err("nothing").contains("--top N"));
    assert!(run(&["--help"]).expect("words").contains("usage: inspect"));
}
