//! Sessions, events and state of servers of the Model Context Protocol, for rmcp 3.
//!
//! [`Sessions`] is where it begins. A server to copy from, and all that it does, is below.
//!
//! # What is stored
//!
//! ```text
//!   Session(user, id)                  mcp:session        what the client said at initialize; slides
//!                                      mcp:events         which events there are, in order
//!                                      mcp:event:<id>     one of them
//!   Session(user, mcp-state:<handle>)  mcp:state          the state behind a handle; slides
//!   User(user)                         mcp:once:<token>   a state to be redeemed once
//!                                      mcp:events, ..     events of calls without a session
//! ```
//!
//! A session is alive while `mcp:session` is there, in the namespace of the user who began it. So
//! nothing has to be compared: who presents another's id looks into a namespace of his own, and finds
//! nothing. Deleting the user deletes all of it at one moment.
//!
//! | part | what it does |
//! |---|---|
//! | [`Guard`] | looks the session up before each request, which renews it; ends streams of dead ones |
//! | [`Sessions`] as rmcp's `SessionStore` | keeps what another server needs to restore the session |
//! | [`Sessions`] as rmcp's `SessionManager` | one worker of rmcp for each session in use here |
//! | `events` | rmcp's `EventStore`, one for each session, so that no event is of another's |
//! | [`Caller`] | what a tool gets: the user, the session, handles, single-use states |
//!
//! rmcp's traits tell neither who asks nor whose session an event is of. The first is known by a
//! task-local of the request (`call`), the second since each session has an event store of its own.

// What it shows stands on axum.
#![cfg_attr(feature = "examples", doc = "", doc = include_str!("../../../docs/mcp.md"))]

mod body;
mod call;
mod caller;
mod events;
mod guard;
mod local;
mod manager;
mod sessions;
mod state;
mod token;

pub use self::body::GuardBody;
pub use self::caller::{Caller, Principal};
pub use self::events::EventLimits;
pub use self::guard::{Failure, Guard, GuardService};
pub use self::manager::ManagerError;
pub use self::sessions::{Sessions, SessionsPage};
pub use self::state::{HandleState, HandlesPage, NoHandle, StateError, StateHandle};
