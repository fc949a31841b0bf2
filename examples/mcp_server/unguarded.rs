//! rmcp with a session store and no guard: what the probes compare with. Not to be copied.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use rmcp::transport::streamable_http_server::session::{
    SessionState, SessionStore, SessionStoreError,
};
use scopecache::mcp::{Principal, Sessions};
use scopecache::{Options, Serde, Storage, StorageExt};

/// A store as rmcp's interface suggests it: by session id alone, written once.
pub(crate) struct Unguarded(pub(crate) Arc<dyn Storage>);

#[async_trait::async_trait]
impl SessionStore for Unguarded {
    async fn load(&self, id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        Ok(self.0.typed(Serde::json()).get(&key(id), Options::new()).await?)
    }

    async fn store(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        self.0.typed(Serde::json()).set(&key(id), state, Options::new()).await?;
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        self.0.delete(Options::new().with_key(&key(id))).await?;
        Ok(())
    }
}

fn key(id: &str) -> String {
    format!("session:{id}")
}

/// The same router, whose tools learn whose request it is, but nobody whose session.
pub(crate) fn with_caller(router: Router, sessions: Sessions) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        if let Some(principal) = request.extensions().get::<Principal>().cloned() {
            let caller = sessions.caller(principal);
            request.extensions_mut().insert(caller);
        }
        next.run(request)
    }))
}
