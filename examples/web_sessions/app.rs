//! The application: who may log in, and what the pages do.

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Extension, Form, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_login::tower_sessions::session::{Id, Record};
use axum_login::tower_sessions::{Expiry, SessionManagerLayer, SessionStore};
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, UserId};
use scopecache::{Page, WebSessions};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::page;

/// How many sessions the devices page shows.
const SHOWN: usize = 20;
const IDLE: Duration = Duration::from_secs(14 * 24 * 3600);

type Auth = axum_login::AuthSession<Accounts>;

/// Accounts of a demonstration. Yours come from a database, with hashed passwords.
#[derive(Clone, Debug)]
pub(crate) struct Accounts;

const ACCOUNTS: [(&str, &str); 2] = [("ada", "lovelace"), ("bob", "builder")];

#[derive(Clone, Debug)]
pub(crate) struct User {
    name: String,
    password: &'static str,
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    /// A session ends when this changes: the password's hash, in earnest.
    fn session_auth_hash(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

impl AuthnBackend for Accounts {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, Infallible> {
        let user = self.get_user(&given.name).await?;
        Ok(user.filter(|user| user.password == given.password))
    }

    async fn get_user(&self, name: &UserId<Self>) -> Result<Option<User>, Infallible> {
        let account = ACCOUNTS.iter().find(|(account, _)| account == name);
        Ok(account.map(|(name, password)| User { name: (*name).to_owned(), password }))
    }
}

/// What a session remembers of the browser that logged in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) agent: String,
    pub(crate) since: Option<SystemTime>,
}

/// What the log-out before did.
#[derive(Clone, Copy, Default, Deserialize)]
pub(crate) struct Ended {
    pub(crate) sessions: Option<u64>,
    pub(crate) ns: Option<u64>,
}

pub(crate) fn router(sessions: WebSessions) -> Router {
    let idle = IDLE.try_into().expect("two weeks");
    let layer = SessionManagerLayer::new(sessions.clone())
        .with_secure(false) // plain HTTP on this machine; leave it out behind TLS
        .with_expiry(Expiry::OnInactivity(idle));
    Router::new()
        .route("/", get(devices))
        .route("/login", get(login_page).post(login))
        .route("/logout", post(logout))
        .route("/logout-everywhere", post(logout_everywhere))
        .route("/pretend", post(pretend))
        .layer(Extension(sessions))
        .layer(AuthManagerLayerBuilder::new(Accounts, layer).build())
}

async fn login_page(Query(ended): Query<Ended>) -> Html<String> {
    Html(page::login(None, ended))
}

async fn login(
    mut auth: Auth,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Result<Response, Failure> {
    let Some(user) = auth.authenticate(given).await? else {
        let again = page::login(Some("No such name and password."), Ended::default());
        return Ok((StatusCode::UNAUTHORIZED, Html(again)).into_response());
    };
    // This draws a new session id; the store moves the session to its user.
    auth.login(&user).await?;
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let device =
        Device { agent: agent.unwrap_or("unknown").to_owned(), since: Some(SystemTime::now()) };
    auth.session.insert("device", device).await?;
    Ok(Redirect::to("/").into_response())
}

async fn devices(
    auth: Auth,
    Extension(sessions): Extension<WebSessions>,
) -> Result<Response, Failure> {
    let Some(user) = &auth.user else { return Ok(Redirect::to("/login").into_response()) };
    let this = auth.session.id().map(|id| id.to_string());
    let listed = sessions.sessions_of(&user.name, Page::new(SHOWN)).await?;
    let mut devices = Vec::new();
    for session in &listed.sessions {
        let device = session.data.get("device").cloned();
        let device: Device = device.map(serde_json::from_value).transpose()?.unwrap_or_default();
        devices.push((device, Some(&session.id) == this.as_ref()));
    }
    if !devices.iter().any(|(_, is_this)| *is_this) {
        // On a later page: it is shown all the same.
        let device = auth.session.get("device").await?.unwrap_or_default();
        devices.insert(0, (device, true));
    }
    Ok(Html(page::devices(&user.name, &devices, listed.next.is_some())).into_response())
}

async fn logout(mut auth: Auth) -> Result<Redirect, Failure> {
    auth.logout().await?;
    Ok(Redirect::to("/login"))
}

async fn logout_everywhere(
    mut auth: Auth,
    Extension(sessions): Extension<WebSessions>,
) -> Result<Redirect, Failure> {
    let Some(user) = auth.user.clone() else { return Ok(Redirect::to("/login")) };
    let started = Instant::now();
    let removed = sessions.logout_everywhere(&user.name).await?;
    let ns = started.elapsed().as_nanos();
    // All sessions are gone, this one too; what is left to go is its cookie.
    auth.logout().await?;
    Ok(Redirect::to(&format!("/login?sessions={}&ns={ns}", removed.entries)))
}

/// For the demonstration: as if the user had logged in on many more devices.
async fn pretend(
    auth: Auth,
    Extension(sessions): Extension<WebSessions>,
) -> Result<Redirect, Failure> {
    if let Some(user) = &auth.user {
        pretend_devices(&sessions, &user.name, 10_000).await?;
    }
    Ok(Redirect::to("/"))
}

pub(crate) async fn pretend_devices(
    sessions: &WebSessions,
    user: &str,
    number: usize,
) -> Result<(), Failure> {
    let data = json!({
        "axum-login.data": {"user_id": user, "auth_hash": null},
        "device": {"agent": "a device that is not there", "since": null},
    });
    let data: std::collections::HashMap<_, _> = serde_json::from_value(data)?;
    for _ in 0..number {
        let expiry_date = (SystemTime::now() + IDLE).into();
        let mut record = Record { id: Id::default(), data: data.clone(), expiry_date };
        sessions.create(&mut record).await?;
    }
    Ok(())
}

/// Whatever goes wrong with the storage: the browser learns that, and the log the rest.
#[derive(Debug)]
pub(crate) struct Failure(Box<dyn std::error::Error + Send + Sync>);

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl From<Failure> for Box<dyn std::error::Error> {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("{}", self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, "The session store failed; try again.").into_response()
    }
}
