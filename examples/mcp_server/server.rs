//! The tools: notes of a user, which outlive all sessions, and carts, each behind a handle.

use std::time::Duration;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use scopecache::mcp::{Caller, HandleState, StateError, StateHandle};
use scopecache::{Condition, Options, Page, Serde, StorageExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

const NOTES: &str = "notes";

/// How long "forget me" waits for its confirmation.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// How many carts are listed.
const LISTED: usize = 100;

#[derive(Clone)]
pub(crate) struct Notes;

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Text {
    text: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Which {
    handle: StateHandle,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Put {
    /// The cart, as `cart_new` gave it out.
    #[expect(dead_code, reason = "`HandleState` reads it; this tells the client of it")]
    handle: StateHandle,
    thing: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Confirmation {
    token: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Cart {
    things: Vec<String>,
}

#[tool_router]
impl Notes {
    #[tool(description = "Tells who you are to this server")]
    async fn whoami(&self, caller: Caller) -> String {
        json!({ "user": caller.user(), "in_session": caller.session().is_some() }).to_string()
    }

    #[tool(description = "Keeps a note; your other sessions see it too")]
    async fn note_add(
        &self,
        caller: Caller,
        Parameters(note): Parameters<Text>,
    ) -> Result<String, StateError> {
        let (notes, mine) = (caller.storage().typed(Serde::json()), caller.user_options());
        loop {
            let add = |mut notes: Vec<String>| {
                notes.push(note.text.clone());
                notes
            };
            if notes.update(NOTES, mine, add).await?.is_some() {
                break;
            }
            let first = vec![note.text.clone()];
            if notes.write(NOTES, &first, Condition::Absent, mine).await?.is_some() {
                break;
            }
        }
        Ok("kept".to_owned())
    }

    #[tool(description = "Lists your notes")]
    async fn note_list(&self, caller: Caller) -> Result<String, StateError> {
        let notes = caller.storage().typed(Serde::json());
        let notes: Option<Vec<String>> = notes.get(NOTES, caller.user_options()).await?;
        Ok(json!(notes.unwrap_or_default()).to_string())
    }

    #[tool(description = "Begins a cart and returns its handle, for the other tools with carts")]
    async fn cart_new(&self, caller: Caller) -> Result<String, StateError> {
        let cart = caller.mint(&Cart::default()).await?;
        Ok(json!({ "handle": cart.handle(), "ttl_seconds": cart.ttl().as_secs() }).to_string())
    }

    #[tool(description = "Puts a thing into a cart")]
    async fn cart_put(
        &self,
        cart: HandleState,
        Parameters(put): Parameters<Put>,
    ) -> Result<String, StateError> {
        let cart = cart
            .update(|mut cart: Cart| {
                cart.things.push(put.thing.clone());
                cart
            })
            .await?;
        Ok(json!(cart.things).to_string())
    }

    #[tool(description = "Lists what is in a cart")]
    async fn cart_show(
        &self,
        caller: Caller,
        Parameters(which): Parameters<Which>,
    ) -> Result<String, StateError> {
        let cart: Cart = caller.open(which.handle).read().await?;
        Ok(json!(cart.things).to_string())
    }

    #[tool(description = "Lists the handles of your carts")]
    async fn cart_list(&self, caller: Caller) -> Result<String, StateError> {
        Ok(json!(caller.handles(Page::new(LISTED)).await?.handles).to_string())
    }

    #[tool(description = "Ends a cart")]
    async fn cart_drop(
        &self,
        caller: Caller,
        Parameters(which): Parameters<Which>,
    ) -> Result<String, StateError> {
        let was_there = caller.open(which.handle).destroy().await?;
        Ok(if was_there { "dropped" } else { "there was none" }.to_owned())
    }

    #[tool(
        description = "Asks to delete your notes, carts and sessions; returns a token to confirm it with"
    )]
    async fn forget_me(&self, caller: Caller) -> Result<String, StateError> {
        let token = caller.issue(&(), CONFIRM_WITHIN).await?;
        Ok(json!({ "token": token, "within_seconds": CONFIRM_WITHIN.as_secs() }).to_string())
    }

    #[tool(description = "Deletes all of you at this server, and ends all of your sessions")]
    async fn forget_me_confirm(
        &self,
        caller: Caller,
        Parameters(confirmation): Parameters<Confirmation>,
    ) -> Result<String, StateError> {
        caller.redeem::<()>(&confirmation.token).await?;
        let user = Options::new().with_user(caller.user());
        let removed = caller.storage().delete(user).await?;
        Ok(json!({ "entries": removed.entries }).to_string())
    }
}

#[tool_handler]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
