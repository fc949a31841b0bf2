//! Deletions: what they remove at one moment, and what is unlinked in steps after it.

use tokio::time::Instant;

use super::RedisStorage;
use super::call::call;
use super::layout::Names;
use super::write::bytes_of;
use crate::error::Result;

/// How many keys one script deletes, and how many such scripts are under way at a time.
const KEYS_AT_ONCE: usize = 250;
const SCRIPTS_AT_ONCE: usize = 64;

impl RedisStorage {
    /// Deletes keys; returns how many there were.
    pub(super) async fn remove_keys(
        &self,
        names: &Names,
        keys: &[&str],
        end: Instant,
    ) -> Result<u64> {
        let script = &self.scripts.delete_keys;
        let mut removed = 0;
        for keys in keys.chunks(KEYS_AT_ONCE * SCRIPTS_AT_ONCE) {
            let calls: Vec<_> = keys
                .chunks(KEYS_AT_ONCE)
                .map(|keys| {
                    let mut delete = self.call(script, names, &names.hash());
                    delete.arg(keys);
                    delete
                })
                .collect();
            removed += self.line.run_all(end, script, &calls).await?;
        }
        Ok(removed)
    }

    /// Deletes a session; returns how many entries there were.
    pub(super) async fn remove_session(&self, names: &Names, end: Instant) -> Result<u64> {
        self.look_after_others();
        let delete = self.call(&self.scripts.delete_session, names, &names.hash());
        self.line.run(end, &self.scripts.delete_session, &delete).await
    }

    /// Deletes a user; returns how many entries there were, as far as that is known.
    pub(super) async fn remove_user(&self, names: &Names, end: Instant) -> Result<u64> {
        self.look_after_others();
        let mut delete = self.call(&self.scripts.delete_user, names, &names.base());
        delete.arg(&bytes_of(self.numbers.next()));
        let (mut removed, list): (u64, Vec<u8>) =
            self.line.run(end, &self.scripts.delete_user, &delete).await?;
        let mut is_more = !list.is_empty();
        while is_more {
            let mut sweep = self.call(&self.scripts.sweep, names, &names.base());
            sweep.arg(&list);
            // The user is gone already, whatever becomes of this: others do what is left.
            let Ok((swept, more)) =
                self.line.run::<(u64, bool)>(end, &self.scripts.sweep, &sweep).await
            else {
                break;
            };
            removed += swept;
            is_more = more;
        }
        Ok(removed)
    }

    /// On a cluster, has a look at the lists of more slots, beside the call that deletes something.
    fn look_after_others(&self) {
        let Some(mut look) = self.lists.next() else { return };
        let (line, scripts) = (self.line.clone(), self.scripts.clone());
        tokio::spawn(async move {
            let end = line.end_of(None);
            let mut names = look.names();
            if names.len() > 1 {
                let lists: Vec<_> = names.iter().map(Names::waiting).collect();
                let Ok(found) = line.which(end, &lists).await else { return look.part() };
                look.pass(names.len());
                let mut found = found.into_iter();
                names.retain(|_| found.next() == Some(true));
            } else {
                look.pass(1);
            }
            for names in names {
                let keys = [names.waiting(), names.nothing()];
                let adopt = call(&scripts.adopt, &names, &names.base(), &keys);
                // Where it cannot be had now, somebody will come by later.
                while let Ok(true) = line.run(end, &scripts.adopt, &adopt).await {}
            }
        });
    }
}
