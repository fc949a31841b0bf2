//! The traits of tower-sessions, the same for each of its versions.

use async_trait::async_trait;

use super::WebSessions;
use super::stored::Content;
use crate::adapter::words::words;

/// How many session ids are drawn before a storage that calls all of them taken is not believed.
const DRAWS: u32 = 8;

/// The error of tower-sessions for one of the storage.
macro_rules! refused {
    ($version:ident, $call:literal, $why:ident) => {{
        use $version::session_store::Error;
        let words = words($call, &$why);
        match $why.kind() {
            $crate::ErrorKind::Corrupt => Error::Decode(words),
            _ => Error::Backend(words),
        }
    }};
}

macro_rules! session_store {
    ($version:ident) => {
        #[async_trait]
        impl $version::SessionStore for WebSessions {
            /// Stores a new session under its id, or under another one where that is taken.
            async fn create(
                &self,
                record: &mut $version::session::Record,
            ) -> $version::session_store::Result<()> {
                use $version::session_store::Error;
                let content =
                    Content { data: record.data.clone(), expires_at: record.expiry_date.into() };
                for _ in 0..DRAWS {
                    let id = record.id.to_string();
                    let created = self.create_as(&id, &content).await;
                    if created.map_err(|why| refused!($version, "create the session", why))? {
                        return Ok(());
                    }
                    record.id = $version::session::Id::default();
                }
                Err(Error::Backend(format!(
                    "cannot create the session: each of {DRAWS} random ids is said to be taken"
                )))
            }

            /// Stores the session if it is still there; does nothing where it was deleted,
            /// logged out, or has expired.
            async fn save(
                &self,
                record: &$version::session::Record,
            ) -> $version::session_store::Result<()> {
                let content =
                    Content { data: record.data.clone(), expires_at: record.expiry_date.into() };
                let saved = self.save_as(&record.id.to_string(), &content).await;
                saved.map_err(|why| refused!($version, "save the session", why))
            }

            /// Returns the session, or `None` where it was deleted, logged out, or has expired.
            async fn load(
                &self,
                id: &$version::session::Id,
            ) -> $version::session_store::Result<Option<$version::session::Record>> {
                let loaded = self.load_as(&id.to_string()).await;
                let content = loaded.map_err(|why| refused!($version, "load the session", why))?;
                Ok(content.map(|content| $version::session::Record {
                    id: *id,
                    data: content.data,
                    expiry_date: content.expires_at.into(),
                }))
            }

            /// Ends the session, and whatever else is in its namespace.
            async fn delete(
                &self,
                id: &$version::session::Id,
            ) -> $version::session_store::Result<()> {
                let removed = self.remove(&id.to_string()).await;
                removed.map_err(|why| refused!($version, "delete the session", why))
            }
        }

        #[async_trait]
        impl $version::ExpiredDeletion for WebSessions {
            /// Takes away what sessions that were logged out left behind; see [`WebSessions::sweep`].
            ///
            /// What has expired goes by itself: every entry has a TTL, and the storage lets none outlive it.
            /// A storage that lists no keys is not swept, and the rest goes with its TTL there.
            async fn delete_expired(&self) -> $version::session_store::Result<()> {
                let swept = self.sweep_all().await;
                swept.map_err(|why| refused!($version, "sweep the sessions", why))
            }
        }
    };
}

#[cfg(feature = "tower_sessions_0_14")]
session_store!(tower_sessions_core_0_14);
#[cfg(feature = "tower_sessions_0_15")]
session_store!(tower_sessions_core_0_15);
