//! The pages, in plain HTML. Everything that a browser sent is escaped.

use std::time::SystemTime;

use crate::app::{Device, Ended};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Devices</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
  table { width: 100%; border-collapse: collapse; margin: 1.5rem 0 }
  td, th { text-align: left; padding: .5rem; border-bottom: 1px solid #8886; overflow-wrap: anywhere }
  td:last-child { white-space: nowrap }
  label { display: block; margin: 1rem 0 }
  input { font: inherit; display: block; padding: .4rem; width: 16rem; max-width: 100%; box-sizing: border-box }
  button { font: inherit; padding: .4rem 1rem; margin: 0 .5rem .5rem 0; cursor: pointer; border: 1px solid #8889; border-radius: .4rem }
  form { display: inline }
  .main { background: #1a5fb4; border-color: #1a5fb4; color: #fff }
  .end { background: #b3261e; border-color: #b3261e; color: #fff }
  .demo { margin-top: 2rem; border-top: 1px solid #8886; padding-top: 1rem; font-size: .9rem }
  .this { font-weight: 600 }
  .note { border-left: 4px solid #4a8; padding: .3rem 1rem }
  .wrong { border-left: 4px solid #c44; padding: .3rem 1rem }
</style>
"#;

pub(crate) fn login(wrong: Option<&str>, ended: Ended) -> String {
    let mut page = format!("{HEAD}<h1>Log in</h1>");
    if let Some(wrong) = wrong {
        page += &format!(r#"<p class="wrong" role="alert">{}</p>"#, escaped(wrong));
    }
    if let (Some(sessions), Some(ns)) = (ended.sessions, ended.ns) {
        page += &format!(
            r#"<p class="note" id="ended" data-sessions="{sessions}" data-ns="{ns}">Logged out everywhere: {sessions} sessions, invisible after {} µs.</p>"#,
            ns as f64 / 1000.0
        );
    }
    page + r#"<form method="post" action="/login">
<label>Name <input name="name" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button class="main">Log in</button>
</form>
"#
}

pub(crate) fn devices(user: &str, devices: &[(Device, bool)], more: bool) -> String {
    let mut page = format!(
        r#"{HEAD}<h1>Devices of <span id="user">{}</span></h1>
<table id="devices"><tr><th>Browser<th>Logged in"#,
        escaped(user)
    );
    for (device, is_this) in devices {
        let class = if *is_this { r#" class="this""# } else { "" };
        let this = if *is_this { " (this device)" } else { "" };
        let agent = escaped(&device.agent);
        page += &format!("\n<tr{class}><td>{agent}{this}<td>{}", ago(device.since));
    }
    page += "\n</table>\n";
    if more {
        page += "<p id=\"more\">.. and more.</p>\n";
    }
    page + r#"<form method="post" action="/logout"><button id="logout">Log out</button></form>
<form method="post" action="/logout-everywhere"><button id="everywhere" class="end">Log out everywhere</button></form>
<p class="demo">For the demonstration:</p>
<form method="post" action="/pretend"><button id="pretend">Pretend 10,000 more devices</button></form>
"#
}

fn ago(since: Option<SystemTime>) -> String {
    let Some(passed) = since.and_then(|since| since.elapsed().ok()) else {
        return "at some time".to_owned();
    };
    match passed.as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
