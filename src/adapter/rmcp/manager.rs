//! rmcp's `SessionManager`: a worker for each session in use, each with an event store of its own.

use std::fmt;
use std::sync::Arc;

use futures_core::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionTransport,
};
use rmcp::transport::streamable_http_server::session::{
    EventStore, RestoreOutcome, ServerSseMessage, SessionId, SessionManager,
};

use super::call::Call;
use super::events::{Events, Owner};
use super::local::{Local, Origin};
use super::sessions::Sessions;
use super::token::Token;
use crate::error::{Error, ErrorKind};

/// Why a session could not be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerError {
    /// The session has no worker here; it ended while the request was under way.
    NotFound,
    /// A worker could not be begun.
    Storage(Error),
    /// What rmcp's worker said.
    Worker(LocalSessionManagerError),
}

impl Sessions {
    fn local(&self, id: &SessionId) -> Result<Arc<Local>, ManagerError> {
        self.kept(id).ok_or(ManagerError::NotFound)
    }

    /// The worker of the session; it stays for as long as this request.
    fn kept(&self, id: &SessionId) -> Option<Arc<Local>> {
        let local = self.locals().get(id)?;
        if let Ok(call) = Call::current() {
            call.keep(local.clone());
        }
        Some(local)
    }

    /// Begins a worker for the session, which is the user's of this call.
    async fn begin(&self, id: SessionId, origin: Origin) -> Result<SessionTransport, ManagerError> {
        let call = Call::current()?;
        let user = call.user().clone();
        let mut rmcp = LocalSessionManager::default();
        rmcp.session_config = self.worker();
        if let Some(limits) = self.events() {
            let owner = Owner::Session { user: user.clone(), id: id.clone() };
            rmcp = rmcp.with_event_store(Events::new(self.clone(), owner, limits));
        }
        // `restore_session` and not `create_session`: the event store must know the id beforehand.
        match rmcp.restore_session(id.clone()).await? {
            RestoreOutcome::Restored(transport) => {
                call.keep(self.locals().insert(id, user, origin, rmcp));
                Ok(transport)
            }
            _ => Err(ErrorKind::Conflict.into()),
        }
    }
}

impl SessionManager for Sessions {
    type Error = ManagerError;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let id: SessionId = Token::draw()?.to_string().into();
        let transport = self.begin(id.clone(), Origin::Client).await?;
        Ok((id, transport))
    }

    async fn restore_session(
        &self,
        id: SessionId,
    ) -> Result<RestoreOutcome<Self::Transport>, Self::Error> {
        // One that is not ready is left over from a request that was broken off; rmcp lets in one at a time.
        if self.locals().get(&id).is_some_and(|local| local.is_ready()) {
            // Another request has restored it since this one looked. For rmcp that is an error of the server;
            // for the client it is one that passes.
            Call::current()?.failed(ErrorKind::Conflict.into());
            return Ok(RestoreOutcome::AlreadyPresent);
        }
        Ok(RestoreOutcome::Restored(self.begin(id, Origin::Storage).await?))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        let local = self.local(id)?;
        let answer = local.rmcp.initialize_session(id, message).await?;
        local.initialized();
        Ok(answer)
    }

    /// Not before the handshake is over: rmcp has the request wait for its restoration then.
    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.kept(id).is_some_and(|local| local.is_ready()))
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.locals().close_any(id);
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let local = self.local(id)?;
        Ok(local.open(local.rmcp.create_stream(id, message).await?))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        let local = self.local(id)?;
        local.rmcp.accept_message(id, message).await?;
        local.told();
        Ok(())
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let local = self.local(id)?;
        Ok(local.open(local.rmcp.create_standalone_stream(id).await?))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let local = self.local(id)?;
        Ok(local.open(local.rmcp.resume(id, last_event_id).await?))
    }

    /// For calls without a session, of the newer protocol: rmcp asks within the call, so it is known whose.
    fn event_store(&self) -> Option<Arc<dyn EventStore>> {
        let limits = self.events()?;
        let user = Call::current().ok()?.user().clone();
        Some(Events::new(self.clone(), Owner::User { user }, limits))
    }
}

impl From<Error> for ManagerError {
    fn from(why: Error) -> Self {
        Self::Storage(why)
    }
}

impl From<ErrorKind> for ManagerError {
    fn from(kind: ErrorKind) -> Self {
        Self::Storage(kind.into())
    }
}

impl From<LocalSessionManagerError> for ManagerError {
    fn from(why: LocalSessionManagerError) -> Self {
        Self::Worker(why)
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "the session has ended",
            Self::Storage(_) => "the session could not be begun",
            Self::Worker(_) => "the session's worker failed",
        })
    }
}

impl std::error::Error for ManagerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotFound => None,
            Self::Storage(why) => Some(why),
            Self::Worker(why) => Some(why),
        }
    }
}
