//! rmcp's own client, in both levels of the protocol.

use std::error::Error;

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::Value;

/// The levels of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Up to 2025-11-25: a session is begun, and its id presented.
    Sessions,
    /// From 2026-07-28 on: no sessions.
    Handles,
}

/// rmcp's client of somebody with a token, connected to a server.
pub(crate) struct Sdk(RunningService<RoleClient, ClientConfig>);

impl Sdk {
    pub(crate) async fn connect(
        url: &str,
        token: &str,
        level: Level,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
        // Who is told that a session has ended would begin another one: here that is not to go unnoticed.
        config.reinit_on_expired_session = false;
        let transport = StreamableHttpClientTransport::from_config(config);
        let lifecycle = match level {
            Level::Sessions => ClientLifecycleMode::Initialize,
            Level::Handles => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        };
        let client =
            ClientConfig::default().with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Ok(Self(client.serve_with_lifecycle(transport, lifecycle).await?))
    }

    /// What the tool said, and whether that is an error.
    pub(crate) async fn call(
        &self,
        tool: &'static str,
        arguments: Value,
    ) -> Result<(String, bool), Box<dyn Error + Send + Sync>> {
        let Value::Object(arguments) = arguments else { return Err("no arguments".into()) };
        let params = CallToolRequestParams::new(tool).with_arguments(arguments);
        let CallToolResult { content, is_error, .. } = self.0.call_tool(params).await?;
        let text = content.iter().find_map(|content| content.as_text());
        Ok((text.map_or_else(String::new, |text| text.text.clone()), is_error == Some(true)))
    }

    pub(crate) async fn close(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.cancel().await?;
        Ok(())
    }
}
