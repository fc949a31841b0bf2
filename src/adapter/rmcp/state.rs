//! State behind a handle: what a server keeps for a client where the protocol has no sessions.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rmcp::ErrorData;
use rmcp::handler::server::common::FromContextPart;
use rmcp::handler::server::tool::{IntoCallToolResult, ToolCallContext};
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::caller::Caller;
use super::sessions::Sessions;
use super::token::Token;
use crate::error::{Error, ErrorKind};
use crate::options::Condition;
use crate::storage::{Options, StorageItem};

/// What the session of a handle is called, so that it is none of the protocol's.
pub(super) const STATE_PREFIX: &str = "mcp-state:";
pub(super) const STATE: &str = "mcp:state";

/// The argument in which [`HandleState`] as an extractor looks for the handle.
const ARGUMENT: &str = "handle";

const GONE: &str =
    "no such state: it was destroyed or used up, has expired, or is not yours; begin a new one";

/// How often an update begins anew before it gives up. Each time another has succeeded.
const ATTEMPTS: u32 = 256;

/// The name of a state that the server keeps for a user: 128 random bits, 32 hexadecimal digits as text.
///
/// Anything else does not parse. It is of use to its user alone; treat it as a secret all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StateHandle(Token);

/// The state behind a handle, of one user.
///
/// [`Caller::open`] makes it. It is also an extractor: an argument of a `#[tool]` that stands *before*
/// `Parameters`, and takes the handle from the tool's argument `handle`, which the parameters should have
/// as a [`StateHandle`] so that clients learn of it.
///
/// # Consistency
///
/// One value, in the namespace of the handle: reads, [updates](Self::update) and its end are linearizable
/// where the storage is. What was destroyed or has expired is not brought back by a write.
#[derive(Clone)]
pub struct HandleState {
    sessions: Sessions,
    user: Arc<str>,
    handle: StateHandle,
    /// The name of the handle's session.
    name: Arc<str>,
}

/// A page of the handles of a user.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlesPage {
    /// The handles, in no particular order.
    pub handles: Vec<StateHandle>,
    /// Where the next page begins, to be given to [`Page::after`](crate::Page::after); `None` after the last.
    pub next: Option<String>,
}

/// Why a state could not be had.
///
/// A tool may return it as its error: the model is told that the state is gone and to begin a new one, in a
/// result marked as an error, and the client that the storage failed, without a word of how. By `?` it turns
/// into rmcp's `ErrorData` as well.
#[derive(Debug)]
#[non_exhaustive]
pub enum StateError {
    /// It was destroyed, redeemed, has expired, or is not this user's: all alike.
    Gone,
    /// The storage failed, has no room, or holds what cannot be understood.
    Storage(Error),
}

impl HandleState {
    pub(super) fn new(sessions: Sessions, user: Arc<str>, handle: StateHandle) -> Self {
        let name = format!("{STATE_PREFIX}{handle}").into();
        Self { sessions, user, handle, name }
    }

    /// The handle.
    pub fn handle(&self) -> StateHandle {
        self.handle
    }

    /// How long the handle lives after its last use.
    pub fn ttl(&self) -> Duration {
        self.sessions.idle().min(self.sessions.max_lifetime())
    }

    /// The namespace `(user, handle)`, for keys of your own beside the state. Give them a TTL; they are deleted
    /// with the handle, but do not expire with it.
    pub fn options(&self) -> Options<'_> {
        Options::new().with_user_session(&self.user, &self.name)
    }

    /// Returns the state, which is a use of the handle.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub async fn read<T: DeserializeOwned>(&self) -> Result<T, StateError> {
        decode(&self.item().await?.data)
    }

    /// Replaces the state; not where it is gone.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub async fn write<T: Serialize>(&self, state: &T) -> Result<(), StateError> {
        let written = self.put(encode(state)?, Condition::Present).await?;
        written.then_some(()).ok_or(StateError::Gone)
    }

    /// Replaces the state by what `change` makes of it, and returns that. Where others write at the same time,
    /// `change` runs again on what they wrote.
    ///
    /// # Errors
    ///
    /// [`StateError`]; `Conflict` within it where others were faster 256 times in a row.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        mut change: impl FnMut(T) -> T,
    ) -> Result<T, StateError> {
        for _ in 0..ATTEMPTS {
            let item = self.item().await?;
            let state = change(decode(&item.data)?);
            if self.put(encode(&state)?, Condition::Version(item.version)).await? {
                return Ok(state);
            }
            tokio::task::yield_now().await;
        }
        Err(Error::with_detail(ErrorKind::Conflict, "others kept writing the state").into())
    }

    /// How long the handle has to live if nobody uses it, which this is.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub async fn expires_in(&self) -> Result<Duration, StateError> {
        let item = self.item().await?;
        // By the deadline that it had before it was used, where the storage renews by a read.
        let left = item.expires_at.and_then(|at| at.duration_since(SystemTime::now()).ok());
        Ok(left.unwrap_or_default())
    }

    /// Ends the handle and deletes what is behind it; whether it was there, where the storage counts.
    ///
    /// # Errors
    ///
    /// `Storage` where the storage fails.
    pub async fn destroy(&self) -> Result<bool, StateError> {
        let taken = self.sessions.storage().take(STATE, self.options()).await?;
        self.sessions.storage().delete(self.options()).await?;
        Ok(taken.is_some())
    }

    async fn item(&self) -> Result<StorageItem, StateError> {
        self.sessions.renewed(STATE, self.options()).await?.ok_or(StateError::Gone)
    }

    /// Writes over what is there; whether the condition held.
    async fn put(&self, data: Bytes, condition: Condition) -> Result<bool, StateError> {
        let options = self.sessions.still_sliding(self.options());
        Ok(self.sessions.storage().write(STATE, data, condition, options).await?.is_some())
    }
}

impl<S> FromContextPart<ToolCallContext<'_, S>> for HandleState {
    fn from_context_part(context: &mut ToolCallContext<'_, S>) -> Result<Self, ErrorData> {
        let caller = Caller::of(context)?;
        let Some(arguments) = &context.arguments else {
            return Err(ErrorData::invalid_params(
                "the argument `handle` is missing (in the tool, HandleState stands before Parameters)",
                None,
            ));
        };
        let handle = arguments.get(ARGUMENT).and_then(|handle| handle.as_str());
        // What cannot be a handle is treated like one that is gone.
        let handle = handle.unwrap_or_default().parse().map_err(|NoHandle| StateError::Gone)?;
        Ok(caller.open(handle))
    }
}

/// The text is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHandle;

impl FromStr for StateHandle {
    type Err = NoHandle;

    fn from_str(text: &str) -> Result<Self, NoHandle> {
        Token::parse(text).map(Self).ok_or(NoHandle)
    }
}

impl From<Token> for StateHandle {
    fn from(token: Token) -> Self {
        Self(token)
    }
}

impl fmt::Display for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for StateHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StateHandle {
    fn schema_name() -> Cow<'static, str> {
        "StateHandle".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "The handle of a state that this server keeps, as the server gave it out",
        })
    }
}

pub(super) fn encode<T: Serialize>(state: &T) -> Result<Bytes, StateError> {
    let data = serde_json::to_vec(state);
    Ok(data.map_err(|why| Error::with_source(ErrorKind::Backend, why))?.into())
}

pub(super) fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, StateError> {
    let state = serde_json::from_slice(data);
    Ok(state.map_err(|why| Error::with_source(ErrorKind::Corrupt, why))?)
}

impl From<Error> for StateError {
    fn from(why: Error) -> Self {
        Self::Storage(why)
    }
}

impl IntoCallToolResult for StateError {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Gone => Ok(CallToolResult::error(vec![ContentBlock::text(GONE)]).into()),
            Self::Storage(_) => Err(self.into()),
        }
    }
}

impl From<StateError> for ErrorData {
    fn from(why: StateError) -> Self {
        match why {
            StateError::Gone => Self::invalid_params(GONE, None),
            StateError::Storage(why) if why.kind() == ErrorKind::Corrupt => {
                Self::internal_error("the state could not be understood; begin a new one", None)
            }
            StateError::Storage(_) => {
                Self::internal_error("the state could not be reached; try again", None)
            }
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "no such state",
            Self::Storage(_) => "the storage of the state failed",
        })
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gone => None,
            Self::Storage(why) => Some(why),
        }
    }
}

impl fmt::Display for NoHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state handle is 32 hexadecimal digits, as the server gave it out")
    }
}

impl std::error::Error for NoHandle {}

impl fmt::Debug for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateHandle(..)")
    }
}

impl fmt::Debug for HandleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleState").field("ttl", &self.ttl()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HandlesPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlesPage").field("handles", &self.handles.len()).finish_non_exhaustive()
    }
}
