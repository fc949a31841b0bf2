//! The example that Prometheus scrapes: whatever its dashboard asks for is there.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use scopecache::{Cache, Maintenance};
use serde_json::Value;
use tower::ServiceExt;

#[path = "../examples/observed/app.rs"]
mod app;

const DASHBOARD: &str = include_str!("../examples/observed/dashboard.json");

async fn ask(
    router: &Router,
    method: &str,
    path: &str,
    body: &'static str,
) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body));
    let answer = router.clone().oneshot(request.expect("a request")).await.expect("infallible");
    let status = answer.status();
    if path == "/metrics" {
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().expect("text");
        assert!(kind.starts_with("text/plain"), "{kind}");
    }
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(body.into()).expect("text"))
}

/// The text of the endpoint after some calls, one of which failed.
fn scraped() -> String {
    let recorder = app::recorder().expect("buckets");
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        pollster::block_on(async {
            let cache: Cache = Cache::builder()
                .maintenance(Maintenance::Manual)
                .max_value_bytes(1000)
                .build()
                .expect("these options go together");
            let router = app::router(app::Shop::new(cache, handle));
            let cart = "/users/marie-curie/browser-4711/cart-polonium";
            let too_long = "3 apples".repeat(1000).leak();
            let calls = [
                ("GET", cart, "", StatusCode::NOT_FOUND),
                ("PUT", cart, "3 apples", StatusCode::NO_CONTENT),
                ("GET", cart, "", StatusCode::OK),
                ("PUT", cart, too_long, StatusCode::PAYLOAD_TOO_LARGE),
                ("DELETE", "/users/marie-curie", "", StatusCode::NO_CONTENT),
                ("GET", cart, "", StatusCode::NOT_FOUND),
            ];
            for (method, path, body, status) in calls {
                assert_eq!(ask(&router, method, path, body).await.0, status, "{method} {path}");
            }
            ask(&router, "GET", "/metrics", "").await.1
        })
    })
}

/// The samples of the metric with exactly this name.
fn samples<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let is_of_it =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(is_of_it).collect()
}

/// The expressions of all panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// The labels that an expression asks for: those that it groups by or selects.
fn labels(expression: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for group in expression.split("by (").skip(1) {
        let names = group.split(')').next().expect("a list");
        labels.extend(names.split(", ").map(str::to_owned));
    }
    for selector in expression.split('{').skip(1) {
        labels.insert(selector.split('=').next().expect("a label").to_owned());
    }
    labels
}

#[test]
fn the_dashboard_asks_for_what_is_there() {
    let text = scraped();
    let expressions = expressions();
    assert!(expressions.len() > 10, "{expressions:?}");
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut asked = BTreeSet::new();
    for expression in &expressions {
        let words = expression.split(|c| !is_of_name(c));
        let names: BTreeSet<_> = words.filter(|word| word.starts_with("scopecache_")).collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let samples = samples(&text, name);
            assert!(!samples.is_empty(), "nothing is called {name} in\n{text}");
            for label in labels(expression) {
                let named = format!("{label}=\"");
                assert!(samples.iter().all(|it| it.contains(&named)), "{name} by {label}");
            }
            asked.insert(name.to_owned());
        }
    }
    // And shows all that is there.
    let told = text.lines().filter(|line| line.starts_with("scopecache_"));
    for name in told.map(|line| line.split(['{', ' ']).next().expect("a name")) {
        assert!(asked.contains(name), "no panel shows {name}");
    }
}

#[test]
fn the_endpoint_tells_what_was_done_and_to_nobody_whose_it_was() {
    let text = scraped();
    for (name, labels, value) in [
        ("gets_total", r#"result="hit",scope="session""#, "1"),
        ("gets_total", r#"result="miss",scope="session""#, "2"),
        ("puts_total", r#"result="stored",scope="session""#, "1"),
        ("removals_total", r#"cause="delete_user""#, "1"),
        ("errors_total", r#"op="set",kind="value_too_large""#, "1"),
        ("op_duration_seconds_count", r#"op="get""#, "3"),
    ] {
        let line = format!("scopecache_{name}{{{labels},storage=\"shop\"}} {value}");
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    for secret in ["marie", "4711", "polonium", "apples"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
