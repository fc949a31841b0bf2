//! The body of an answer, which ends where its session does.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::sessions::Sessions;

type Look = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The body of an answer that went through the [`Guard`](super::Guard).
///
/// It passes on what the service sends. An open stream of a session looks now and then whether the session
/// is alive, which renews its life, and ends where it is dead. It looks while the client reads: one that
/// does not read keeps nothing alive.
pub struct GuardBody<B> {
    inner: Inner<B>,
}

enum Inner<B> {
    Passed { body: Pin<Box<B>>, watch: Option<Watch> },
    Refused(Option<Bytes>),
}

/// Whether the session is alive.
pub(super) struct Watch {
    pub(super) sessions: Sessions,
    pub(super) user: Arc<str>,
    pub(super) session: Arc<str>,
    pub(super) next: Next,
}

pub(super) enum Next {
    /// Nothing was asked yet.
    New,
    Later(Pin<Box<Sleep>>),
    Now(Look),
    Dead,
}

impl<B> GuardBody<B> {
    pub(super) fn passed(body: B, watch: Option<Watch>) -> Self {
        Self { inner: Inner::Passed { body: Box::pin(body), watch } }
    }

    pub(super) fn refused(words: &'static str) -> Self {
        Self { inner: Inner::Refused(Some(Bytes::from_static(words.as_bytes()))) }
    }
}

impl Watch {
    /// Ready once the session is dead.
    fn poll_dead(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.next = match &mut self.next {
                Next::New => Next::Later(Box::pin(sleep(self.sessions.watch()))),
                Next::Later(timer) => {
                    ready!(timer.as_mut().poll(context));
                    Next::Now(self.look())
                }
                Next::Now(look) => match ready!(look.as_mut().poll(context)) {
                    true => Next::New,
                    false => Next::Dead,
                },
                Next::Dead => return Poll::Ready(()),
            };
        }
    }

    fn look(&self) -> Look {
        let (sessions, user, session) =
            (self.sessions.clone(), self.user.clone(), self.session.clone());
        Box::pin(async move {
            // A storage that fails ends no session.
            let alive = sessions.is_alive(&user, &session).await.unwrap_or(true);
            if !alive {
                sessions.locals().close(&session, &user);
            }
            alive
        })
    }
}

impl<B: Body<Data = Bytes>> Body for GuardBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.get_mut().inner {
            Inner::Refused(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Inner::Passed { body, watch } => {
                if let Some(watch) = watch
                    && watch.poll_dead(context).is_ready()
                {
                    return Poll::Ready(None);
                }
                body.as_mut().poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Refused(words) => words.is_none(),
            Inner::Passed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Refused(words) => {
                SizeHint::with_exact(words.as_ref().map_or(0, Bytes::len) as u64)
            }
            Inner::Passed { body, watch: None } => body.size_hint(),
            // It may end before.
            Inner::Passed { .. } => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for GuardBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBody").finish_non_exhaustive()
    }
}
