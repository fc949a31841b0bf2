//! The request under way: whose it is, and what of the storage failed in it.
//!
//! rmcp calls its stores within the task of the request, but tells them no more than a session id; and
//! of what they answer it logs some errors and goes on. Both is mended here: the guard runs the request
//! with this in a task-local, the stores leave their errors in it, and the guard looks.

use std::sync::Arc;

use super::local::Local;
use crate::error::{Error, Result};
use crate::sync::Mutex;

tokio::task_local! {
    static CALL: Arc<Call>;
}

pub(super) struct Call {
    user: Arc<str>,
    failure: Mutex<Option<Error>>,
    /// The workers that it has met: they are not put away before it ends.
    locals: Mutex<Vec<Arc<Local>>>,
}

impl Call {
    pub(super) fn new(user: Arc<str>) -> Arc<Self> {
        Arc::new(Self { user, failure: Mutex::new(None), locals: Mutex::new(Vec::new()) })
    }

    /// The call that this task serves.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` outside of the guard: whose session it would be is not known.
    pub(super) fn current() -> Result<Arc<Self>> {
        CALL.try_with(Arc::clone)
            .map_err(|_| Error::options("no guard: mcp::Guard must stand around rmcp's service"))
    }

    pub(super) async fn run<F: Future>(self: Arc<Self>, request: F) -> F::Output {
        CALL.scope(self, request).await
    }

    pub(super) fn user(&self) -> &Arc<str> {
        &self.user
    }

    pub(super) fn keep(&self, local: Arc<Local>) {
        self.locals.lock().push(local);
    }

    /// Leaves the first error for the guard; returns what rmcp gets to see of it.
    pub(super) fn failed(&self, why: Error) -> Box<dyn std::error::Error + Send + Sync> {
        let told = Error::new(why.kind());
        self.failure.lock().get_or_insert(why);
        told.into()
    }

    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().take()
    }
}
