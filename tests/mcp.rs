//! MCP servers on rmcp 3: whose sessions they are, what of them survives, and what ends them.

#[path = "../examples/mcp_server/app.rs"]
mod app;
#[path = "../examples/mcp_server/client.rs"]
mod client;
#[path = "../examples/mcp_server/demo.rs"]
mod demo;
#[path = "../examples/mcp_server/sdk.rs"]
mod sdk;
#[path = "../examples/mcp_server/server.rs"]
mod server;
#[path = "../examples/mcp_server/unguarded.rs"]
mod unguarded;

#[path = "mcp/common.rs"]
mod common;
#[path = "mcp/events.rs"]
mod events;
#[path = "mcp/faults.rs"]
mod faults;
#[path = "mcp/guard.rs"]
mod guard;
#[path = "mcp/limits.rs"]
mod limits;
#[path = "mcp/state.rs"]
mod state;
