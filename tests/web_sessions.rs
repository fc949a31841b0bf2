//! Web servers with sessions of this storage, from the cookie to the cookie: the example with axum-login,
//! and tower-sessions 0.15 by itself.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::routing::{get, post};
use scopecache::{Cache, WebSessions};
use tower::ServiceExt;
use tower_sessions::{Session, SessionManagerLayer};

#[path = "../examples/web_sessions/app.rs"]
mod app;
#[path = "../examples/web_sessions/page.rs"]
mod page;

/// A browser: it keeps its cookie.
struct Browser {
    router: Router,
    agent: &'static str,
    cookie: Option<String>,
}

struct Answer {
    status: StatusCode,
    location: String,
    body: String,
}

impl Browser {
    fn new(router: &Router, agent: &'static str) -> Self {
        Self { router: router.clone(), agent, cookie: None }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn post(&mut self, path: &str, form: &'static str) -> Answer {
        self.ask("POST", path, form).await
    }

    async fn ask(&mut self, method: &str, path: &str, form: &'static str) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, self.agent)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::from(form)).expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("infallible");
        if let Some(cookie) = answer.headers().get(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("text").split(';').next().expect("a pair");
            self.cookie = (!cookie.ends_with('=')).then(|| cookie.to_owned());
        }
        let location = answer.headers().get(header::LOCATION);
        let location = location.map_or("", |it| it.to_str().expect("text")).to_owned();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        Answer { status, location, body: String::from_utf8(body.into()).expect("text") }
    }

    async fn is_logged_in(&mut self) -> bool {
        self.get("/").await.status == StatusCode::OK
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("threads");
    runtime.block_on(future)
}

fn sessions() -> (WebSessions, Cache) {
    let cache: Cache = Cache::builder().build().expect("these options go together");
    (WebSessions::new(Arc::new(cache.clone())), cache)
}

const ADA: &str = "name=ada&password=lovelace";

#[test]
fn devices_are_listed_and_logged_out_everywhere() {
    block_on(async {
        let (sessions, cache) = sessions();
        let router = app::router(sessions.clone());
        let mut laptop = Browser::new(&router, "Laptop <script>");
        let mut phone = Browser::new(&router, "Phone");
        let mut bobs = Browser::new(&router, "Bob's");

        assert_eq!(laptop.get("/").await.location, "/login");
        let wrong = laptop.post("/login", "name=ada&password=wrong").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(laptop.cookie, None);
        for browser in [&mut laptop, &mut phone] {
            assert_eq!(browser.post("/login", ADA).await.location, "/");
        }
        bobs.post("/login", "name=bob&password=builder").await;

        let page = laptop.get("/").await.body;
        assert_eq!(page.matches("(this device)").count(), 1, "{page}");
        assert!(page.contains("Laptop &lt;script&gt; (this device)"), "{page}");
        assert!(page.contains("<td>Phone<td>") && !page.contains("Bob"), "{page}");

        app::pretend_devices(&sessions, "ada", 100).await.expect("room");
        let page = phone.get("/").await.body;
        assert!(page.contains("Phone (this device)") && page.contains("and more"), "{page}");

        let stolen = laptop.cookie.clone();
        let ended = phone.post("/logout-everywhere", "").await;
        assert!(ended.location.starts_with("/login?sessions=102&ns="), "{}", ended.location);
        assert!(phone.get(&ended.location).await.body.contains("102 sessions"));
        assert_eq!(phone.cookie, None, "taken back");
        assert!(!laptop.is_logged_in().await && !phone.is_logged_in().await);
        assert!(bobs.is_logged_in().await);

        // A new login is one; an old cookie is none.
        phone.post("/login", ADA).await;
        assert!(phone.is_logged_in().await);
        laptop.cookie = stolen;
        assert!(!laptop.is_logged_in().await);
        phone.post("/logout", "").await;
        assert!(!phone.is_logged_in().await);

        // The storage is gone: an error, not a log-out.
        let bobs_cookie = bobs.cookie.clone();
        cache.close();
        assert_eq!(bobs.get("/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(bobs.cookie, bobs_cookie);
    });
}

/// A session is drawn anew at login: who planted an id before has nothing.
#[test]
fn a_planted_session_id_is_no_login() {
    block_on(async {
        let router = app::router(sessions().0);
        let mut victim = Browser::new(&router, "Victim");
        let planted = "id=AAAAAAAAAAAAAAAAAAAAAA".to_owned();
        victim.cookie = Some(planted.clone());
        victim.post("/login", ADA).await;
        assert!(victim.is_logged_in().await);
        assert_ne!(victim.cookie, Some(planted.clone()));
        let mut thief = Browser::new(&router, "Thief");
        for cookie in [planted, "id=short".to_owned(), format!("id={}", "x".repeat(5000))] {
            thief.cookie = Some(cookie);
            assert!(!thief.is_logged_in().await);
        }
    });
}

/// tower-sessions 0.15 without axum-login, and the user wherever the application has it.
#[test]
fn tower_sessions_by_itself() {
    async fn visit(session: Session) -> String {
        let visits = session.get::<u32>("visits").await.expect("stored").unwrap_or(0) + 1;
        session.insert("visits", visits).await.expect("room");
        visits.to_string()
    }
    async fn login(session: Session) {
        session.cycle_id().await.expect("open");
        session.insert("user", "ada").await.expect("room");
    }
    block_on(async {
        let (sessions, cache) = sessions();
        let sessions = sessions.with_owner(|data| Some(data.get("user")?.as_str()?.to_owned()));
        let router = Router::new()
            .route("/", get(visit))
            .route("/login", post(login))
            .layer(SessionManagerLayer::new(sessions.clone()));
        let mut browser = Browser::new(&router, "Browser");
        for visits in ["1", "2"] {
            assert_eq!(browser.get("/").await.body, visits);
        }
        let anonymous = browser.cookie.clone();
        browser.post("/login", "").await;
        assert_ne!(browser.cookie, anonymous);
        assert_eq!(browser.get("/").await.body, "3", "what was there before the login is kept");
        assert_eq!(cache.sessions("ada").expect("open").len(), 1);
        sessions.logout_everywhere("ada").await.expect("open");
        assert_eq!(browser.get("/").await.body, "1");
    });
}
