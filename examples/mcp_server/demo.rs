//! Two servers with one storage, two users, and what each can and cannot do, with rmcp's own client.

use std::error::Error;
use std::sync::Arc;

use scopecache::mcp::Sessions;
use scopecache::{Page, Storage};
use serde_json::{Value, json};

use crate::app::{self, Mode};
use crate::client::Client;
use crate::sdk::{Level, Sdk};

type Done = Result<(), Box<dyn Error + Send + Sync>>;

const ADA: &str = "token-of-ada";
const RENEWED: &str = "renewed-token-of-ada";
const BOB: &str = "token-of-bob";

pub(crate) async fn run(storage: Arc<dyn Storage>) -> Result<(), Box<dyn Error>> {
    let sessions = Sessions::new(storage.clone());
    let first = app::start(&sessions, storage.clone(), Mode::Guarded, 0).await?;
    let other = Sessions::new(storage.clone());
    let second = app::start(&other, storage, Mode::Guarded, 0).await?;
    println!("Two servers share one storage: {} and {}", first.url, second.url);
    with_sessions(&sessions, &first.url, &second.url).await.map_err(|why| why.to_string())?;
    with_handles(&first.url, &second.url).await.map_err(|why| why.to_string())?;
    first.stop().await?;
    second.stop().await?;
    println!("\nAll as it should be; both servers have stopped.");
    Ok(())
}

async fn with_sessions(sessions: &Sessions, first: &str, second: &str) -> Done {
    println!("\nProtocol 2025-11-25, with sessions");
    let ada = Sdk::connect(first, ADA, Level::Sessions).await?;
    let bob = Sdk::connect(second, BOB, Level::Sessions).await?;
    ada.call("note_add", json!({ "text": "tea with Charles" })).await?;
    let notes = ada.call("note_list", json!({})).await?;
    told("Ada, at the first server, keeps a note", &notes.0, r#"["tea with Charles"]"#)?;
    let notes = bob.call("note_list", json!({})).await?;
    told("Bob, at the second, has none", &notes.0, "[]")?;

    let id = sessions.sessions_of("ada", Page::new(2)).await?.ids.pop().ok_or("no session")?;
    let there = Client::new(second, ADA);
    let answer = there.call(&id, "note_list", json!({})).await?;
    told("Ada's session goes on at the second server", answer.text(), r#"["tea with Charles"]"#)?;
    let renewed = Client::new(second, RENEWED);
    let answer = renewed.call(&id, "whoami", json!({})).await?;
    told("with a renewed token too", &answer.json()["user"], "ada")?;
    for url in [first, second] {
        let thief = Client::new(url, BOB);
        let answer = thief.call(&id, "note_list", json!({})).await?;
        told("Bob presents the id of Ada's session", answer.status, "404")?;
    }
    let answer = there.call(&id, "note_list", json!({})).await?;
    told("which does Ada's session no harm", answer.status, "200")?;

    told(
        "Ada ends the session at the first server",
        Client::new(first, ADA).delete(&id).await?,
        "202",
    )?;
    let answer = there.call(&id, "note_list", json!({})).await?;
    told("and it has ended at the second", answer.status, "404")?;

    let (phone, laptop) = (Client::new(first, ADA), Client::new(second, RENEWED));
    let (on_phone, on_laptop) = (phone.initialize().await?, laptop.initialize().await?);
    let asked = phone.call(&on_phone, "forget_me", json!({})).await?.json();
    let token = json!({ "token": asked["token"] });
    let stolen = bob.call("forget_me_confirm", token.clone()).await?;
    told("Bob redeems Ada's token", stolen.1, "true")?;
    let answer = phone.call(&on_phone, "forget_me_confirm", token).await?;
    told("Ada redeems it: she is forgotten", !answer.json()["entries"].is_null(), "true")?;
    let answer = phone.call(&on_phone, "whoami", json!({})).await?;
    told("her session at the first server has ended", answer.status, "404")?;
    let answer = laptop.call(&on_laptop, "whoami", json!({})).await?;
    told("and the one at the second", answer.status, "404")?;
    let user = bob.call("whoami", json!({})).await?;
    told("Bob goes on", &json_of(&user.0)["user"], "bob")?;
    ada.close().await?;
    bob.close().await
}

async fn with_handles(first: &str, second: &str) -> Done {
    println!("\nProtocol 2026-07-28, with handles");
    let ada = Sdk::connect(first, ADA, Level::Handles).await?;
    let there = Sdk::connect(second, RENEWED, Level::Handles).await?;
    let bob = Sdk::connect(second, BOB, Level::Handles).await?;
    let user = ada.call("whoami", json!({})).await?;
    told("There is no session", &json_of(&user.0)["in_session"], "false")?;
    let cart = json_of(&ada.call("cart_new", json!({})).await?.0);
    told("Ada begins a cart, which lives so long unused", &cart["ttl_seconds"], "1800")?;
    let handle = json!({ "handle": cart["handle"] });
    let put = json!({ "handle": cart["handle"], "thing": "an engine" });
    let things = ada.call("cart_put", put.clone()).await?;
    told("puts a thing into it", &things.0, r#"["an engine"]"#)?;
    let things = there.call("cart_show", handle.clone()).await?;
    told("and finds it at the second server", &things.0, r#"["an engine"]"#)?;
    for (tool, arguments) in [("cart_show", &handle), ("cart_put", &put)] {
        let refused = bob.call(tool, arguments.clone()).await?;
        told("Bob presents the handle", refused.1, "true")?;
        println!("      \"{}\"", refused.0);
    }
    let listed = there.call("cart_list", json!({})).await?;
    told("Ada's list has the cart", json_of(&listed.0) == json!([cart["handle"]]), "true")?;
    told("Bob's has none", &bob.call("cart_list", json!({})).await?.0, "[]")?;
    let dropped = there.call("cart_drop", handle.clone()).await?;
    told("Ada drops it at the second server", &dropped.0, "dropped")?;
    told("and it is gone at the first", ada.call("cart_put", put).await?.1, "true")?;
    for client in [ada, there, bob] {
        client.close().await?;
    }
    Ok(())
}

/// Tells what came of a step; fails where it is not what should have.
fn told(step: &str, came: impl ToString, should: &str) -> Done {
    let came = came.to_string().trim_matches('"').to_owned();
    if came != should {
        return Err(format!("{step}: {came}, and not {should}").into());
    }
    println!("  {step}: {came}");
    Ok(())
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
