//! The guard: no request reaches a session that is not its user's, or not alive.
//!
//! | the request | the answer |
//! |---|---|
//! | names nobody | 401 |
//! | presents a session that is not the user's, was deleted or has expired; its id is no id | 404 |
//! | presents several ids | 400 |
//! | meets a storage that fails | 503, and the session is what it was |
//! | anything else | the service's |
//!
//! All of 404 are alike: who presents another's session learns no more than that he has none.
//!
//! An error of the storage that rmcp only logs is shown all the same: where `initialize` could not be
//! stored, or a `DELETE` not be done, the client is told to come again, rather than given an id that
//! other servers do not know, or told of an end that has not come.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{GuardBody, Next, Watch};
use super::call::Call;
use super::caller::{Caller, Principal};
use super::sessions::Sessions;
use crate::error::{Error, ErrorKind};

const SESSION_ID: &str = "mcp-session-id";
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The layer that guards sessions; see [`Sessions::service`], which puts it in its place.
///
/// It stands around rmcp's service, and inside of whatever authenticates. Requests without a [`Principal`]
/// in their extensions are answered 401.
#[derive(Clone, Debug)]
pub struct Guard {
    sessions: Sessions,
}

/// A service with the [`Guard`] around it.
#[derive(Clone)]
pub struct GuardService<S> {
    inner: S,
    sessions: Sessions,
}

/// Why the guard answered 503: in the extensions of that answer, for a layer around it to log.
#[derive(Clone, Debug)]
pub struct Failure(pub Arc<Error>);

impl Guard {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

impl<S> Layer<S> for Guard {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardService { inner, sessions: self.sessions.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes, its clone stays.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        Box::pin(guarded(self.sessions.clone(), ready, request))
    }
}

async fn guarded<S, B, R>(
    sessions: Sessions,
    mut service: S,
    mut request: Request<B>,
) -> Result<Response<GuardBody<R>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let Some(Principal(user)) = request.extensions().get::<Principal>().cloned() else {
        return Ok(unauthorized());
    };
    let session = match presented(request.headers()) {
        Presented::None => None,
        Presented::Id(id) => Some(Arc::<str>::from(id)),
        Presented::Unreadable => return Ok(not_found()),
        Presented::Several => {
            return Ok(refusal(StatusCode::BAD_REQUEST, "Bad Request: more than one session id"));
        }
    };
    if let Some(id) = &session {
        match sessions.is_alive(&user, id).await {
            Ok(true) => {}
            Ok(false) => {
                sessions.locals().close(id, &user);
                return Ok(not_found());
            }
            Err(why) => return Ok(failed(why)),
        }
    }
    request.extensions_mut().insert(Caller::new(&sessions, user.clone(), session.clone()));

    let call = Call::new(user.clone());
    let response = call.clone().run(service.call(request)).await?;

    if let Some(why) = call.take_failure() {
        // A session that was begun is not known to other servers.
        if let Presented::Id(id) = presented(response.headers()) {
            sessions.locals().close(id, &user);
        }
        return Ok(failed(why));
    }
    if let Some(id) = &session
        && response.status() == StatusCode::NOT_FOUND
    {
        // It was alive just now. Either it has ended since, or a request beside or just before this one could
        // not restore it, which rmcp answers to both: that says nothing about the session.
        match sessions.is_alive(&user, id).await {
            Ok(false) => return Ok(not_found()),
            Ok(true) => {
                let why = "another request could not restore the session";
                return Ok(failed(Error::with_detail(ErrorKind::Conflict, why)));
            }
            Err(why) => return Ok(failed(why)),
        }
    }
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(EVENT_STREAM));
    let watch = session.filter(|_| is_stream).map(|session| Watch {
        sessions,
        user,
        session,
        next: Next::New,
    });
    Ok(response.map(|body| GuardBody::passed(body, watch)))
}

enum Presented<'a> {
    None,
    Id(&'a str),
    Unreadable,
    Several,
}

fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut ids = headers.get_all(SESSION_ID).iter();
    match (ids.next(), ids.next()) {
        (None, _) => Presented::None,
        (Some(id), None) => id.to_str().map_or(Presented::Unreadable, Presented::Id),
        (Some(_), Some(_)) => Presented::Several,
    }
}

fn unauthorized<B>() -> Response<GuardBody<B>> {
    let mut response = refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn not_found<B>() -> Response<GuardBody<B>> {
    refusal(StatusCode::NOT_FOUND, "Not Found: Session not found")
}

fn failed<B>(why: Error) -> Response<GuardBody<B>> {
    let words = "Service Unavailable: the session store failed; try again";
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, words);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(Failure(Arc::new(why)));
    response
}

fn refusal<B>(status: StatusCode, words: &'static str) -> Response<GuardBody<B>> {
    let mut response = Response::new(GuardBody::refused(words));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

impl<S> fmt::Debug for GuardService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardService").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
