//! Who calls: from the request to the tool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use rmcp::ErrorData;
use rmcp::handler::server::common::{AsRequestContext, FromContextPart};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sessions::Sessions;
use super::state::{
    HandleState, HandlesPage, STATE, STATE_PREFIX, StateError, StateHandle, decode, encode,
};
use super::token::Token;
use crate::error::Result;
use crate::namespace::Namespace;
use crate::storage::{Options, Page, Storage};

/// Who makes a request: its user, as whoever authenticates found out.
///
/// Put it into the extensions of the request, in a layer around the [`Guard`](super::Guard). It is the
/// *subject* of a token, which stays the same when the token is renewed; never a token's bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(pub(super) Arc<str>);

/// What a tool needs to know of its caller: whose call it is, and where to keep things for him.
///
/// It is an extractor, an argument of a `#[tool]` like rmcp's own, wherever the [`Guard`](super::Guard)
/// stands around the service:
///
/// ```
/// # #[cfg(feature = "examples")] {
/// use rmcp::{ErrorData, handler::server::wrapper::Parameters, schemars, tool, tool_router};
/// use scopecache::mcp::{Caller, StateHandle};
///
/// struct Server;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Which {
///     cart: StateHandle,
/// }
///
/// #[tool_router]
/// impl Server {
///     #[tool(description = "How many things are in the cart")]
///     async fn count(
///         &self,
///         caller: Caller,
///         Parameters(which): Parameters<Which>,
///     ) -> Result<String, ErrorData> {
///         let things: Vec<String> = caller.open(which.cart).read().await?;
///         Ok(things.len().to_string())
///     }
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Caller {
    sessions: Sessions,
    user: Arc<str>,
    session: Option<Arc<str>>,
}

impl Principal {
    /// The user with this id, 1 to 256 bytes long.
    ///
    /// # Errors
    ///
    /// `InvalidKey` for any other length.
    pub fn new(subject: impl Into<Arc<str>>) -> Result<Self> {
        let subject = subject.into();
        Namespace::User { user: &subject }.check()?;
        Ok(Self(subject))
    }

    /// The user id.
    pub fn subject(&self) -> &str {
        &self.0
    }
}

impl Caller {
    pub(super) fn new(sessions: &Sessions, user: Arc<str>, session: Option<Arc<str>>) -> Self {
        Self { sessions: sessions.clone(), user, session }
    }

    /// The user id.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The protocol's session, which is alive and the user's. `None` from protocol 2026-07-28 on: keep
    /// state behind a handle then.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The storage that the sessions are in.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        self.sessions.storage()
    }

    /// The namespace of the user, for what outlives all sessions.
    pub fn user_options(&self) -> Options<'_> {
        Options::new().with_user(&self.user)
    }

    /// The namespace of the session, for what goes with it. Give it a TTL: what is written after the session
    /// has ended stays until then, although nobody can reach it.
    pub fn session_options(&self) -> Option<Options<'_>> {
        Some(Options::new().with_user_session(&self.user, self.session.as_deref()?))
    }

    /// Keeps a state, and returns the handle by which this user, and no other, finds it again.
    ///
    /// The handle is 128 random bits. It lives as long as a session: so long after its last use, and so long at
    /// most; [`HandleState::expires_in`] tells.
    ///
    /// # Errors
    ///
    /// `Storage` where the storage has no room, or fails.
    pub async fn mint<T: Serialize>(&self, state: &T) -> Result<HandleState, StateError> {
        let minted = self.open(StateHandle::from(Token::draw()?));
        let options = self.sessions.sliding(minted.options());
        self.storage().set(STATE, encode(state)?, options).await?;
        Ok(minted)
    }

    /// The state behind a handle of this user. Nothing is asked of the storage yet.
    pub fn open(&self, handle: StateHandle) -> HandleState {
        HandleState::new(self.sessions.clone(), self.user.clone(), handle)
    }

    /// Returns a page of the user's handles, without renewing them.
    ///
    /// # Consistency
    ///
    /// Weak, as that of [`Storage::sessions`].
    ///
    /// # Errors
    ///
    /// Those of `Storage::sessions`.
    pub async fn handles(&self, page: Page<'_>) -> Result<HandlesPage> {
        let listing = self.storage().sessions(&self.user, page).await?;
        let handles = listing.names.iter();
        let handles = handles.filter_map(|name| name.strip_prefix(STATE_PREFIX)?.parse().ok());
        Ok(HandlesPage { handles: handles.collect(), next: listing.next })
    }

    /// Keeps a state for one request to come, such as the second of two, and returns the token for it.
    ///
    /// # Errors
    ///
    /// `Storage` where the storage has no room, or fails.
    pub async fn issue<T: Serialize>(
        &self,
        state: &T,
        ttl: Duration,
    ) -> Result<String, StateError> {
        let token = Token::draw()?;
        let options = self.user_options().with_ttl(ttl);
        self.storage().set(&once_key(token), encode(state)?, options).await?;
        Ok(token.to_string())
    }

    /// Returns what was [issued](Self::issue) for the token, once: of any number of requests that come
    /// with it one gets it, on whichever server.
    ///
    /// # Errors
    ///
    /// `Gone` where the token was redeemed, has expired, or is not this user's; `Storage` where the
    /// storage fails: whether it was redeemed is not known then.
    pub async fn redeem<T: DeserializeOwned>(&self, token: &str) -> Result<T, StateError> {
        let token = Token::parse(token).ok_or(StateError::Gone)?;
        let item = self.storage().take(&once_key(token), self.user_options()).await?;
        decode(&item.ok_or(StateError::Gone)?.data)
    }

    /// The caller of the request with these parts.
    pub(super) fn of<C: AsRequestContext>(context: &C) -> Result<Self, ErrorData> {
        let parts = context.as_request_context().extensions.get::<Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Self>());
        caller.cloned().ok_or_else(|| {
            ErrorData::internal_error("mcp::Guard does not stand around the service", None)
        })
    }
}

impl<C: AsRequestContext> FromContextPart<C> for Caller {
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        Self::of(context)
    }
}

fn once_key(token: Token) -> String {
    format!("mcp:once:{token}")
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal(..)")
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids may be secrets.
        f.debug_struct("Caller")
            .field("in_session", &self.session.is_some())
            .finish_non_exhaustive()
    }
}
