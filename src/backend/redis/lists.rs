//! Where it is listed what of deleted users waits to be unlinked, so that others find it.
//!
//! On one server that is one key for all users. A script on a cluster may name keys of one slot alone,
//! so there each slot has a list of its own, `{%w<number>}w` with the least number that leads there.
//! Whoever begins or deletes anything in a slot does a step of its list, as on one server. But
//! nobody may ever come by again: so each deletion of a user or session also has a look at the lists of
//! more slots, in turn, from one that each client chooses at random; of as many as 64 where one node
//! has them all. That costs the caller nothing, and nothing is left for ever as long as anything is
//! deleted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use redis::cluster_routing::Slot;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::layout::Names;

/// As many as any cluster has.
const SLOTS: u16 = 16384;

/// How many lists are looked at in one round trip.
const AT_ONCE: u16 = 64;

/// By its slot, the number whose list is there.
static NUMBERS: LazyLock<HashMap<Slot, u32>> = LazyLock::new(|| {
    let mut numbers = HashMap::with_capacity(usize::from(SLOTS));
    let mut number = 0;
    while numbers.len() < usize::from(SLOTS) {
        numbers.entry(Slot::for_key(tag(number))).or_insert(number);
        number += 1;
    }
    numbers
});

/// The lists of a storage.
pub(super) enum Lists {
    /// The key of the one.
    OfServer([Vec<u8>; 1]),
    OfSlots {
        prefix: String,
        turn: Arc<Mutex<Turn>>,
    },
}

/// Whose turn it is to be looked at.
pub(super) struct Turn {
    slot: u16,
    /// So many are looked at one by one, since they are on several nodes.
    singly: u16,
}

/// A look at some lists. As long as it lives nobody has another.
pub(super) struct Look {
    prefix: String,
    turn: OwnedMutexGuard<Turn>,
}

impl Lists {
    pub(super) fn of_server(prefix: &str) -> Self {
        Self::OfServer([Names::of_tag(prefix, "%").waiting()])
    }

    pub(super) fn of_slots(prefix: &str) -> Self {
        let slot = (RandomState::new().hash_one("slots") % u64::from(SLOTS)) as u16;
        let turn = Arc::new(Mutex::new(Turn { slot, singly: 0 }));
        Self::OfSlots { prefix: prefix.to_owned(), turn }
    }

    /// The keys that a script for these names needs beside their own: the list, and on a cluster one
    /// that never exists. While a slot moves, a server runs what has all its keys, and would end a script
    /// half way that then touches one that it lacks. With this one among them it refuses the script
    /// before it has begun.
    pub(super) fn keys(&self, names: &Names) -> Cow<'_, [Vec<u8>]> {
        match self {
            Self::OfServer(list) => list[..].into(),
            Self::OfSlots { prefix, .. } => {
                let list = Names::of_tag(prefix, &tag(NUMBERS[&Slot::for_key(names.own())]));
                vec![list.waiting(), names.nothing()].into()
            }
        }
    }

    /// The next lists to look at; nothing on one server, or while somebody has a look.
    pub(super) fn next(&self) -> Option<Look> {
        let Self::OfSlots { prefix, turn } = self else { return None };
        Some(Look { prefix: prefix.clone(), turn: turn.clone().try_lock_owned().ok()? })
    }
}

impl Look {
    /// Whose turn it is: one, or several that one node may have.
    pub(super) fn names(&self) -> Vec<Names> {
        let count = if self.turn.singly > 0 { 1 } else { AT_ONCE };
        let slots = (0..count).filter_map(|ahead| Slot::new((self.turn.slot + ahead) % SLOTS));
        slots.map(|slot| Names::of_tag(&self.prefix, &tag(NUMBERS[&slot]))).collect()
    }

    /// They were looked at: others are next.
    pub(super) fn pass(&mut self, count: usize) {
        self.turn.slot = (self.turn.slot + count as u16) % SLOTS;
        self.turn.singly = self.turn.singly.saturating_sub(1);
    }

    /// They are not on one node: each is to be looked at for itself.
    pub(super) fn part(&mut self) {
        self.turn.singly = AT_ONCE;
    }
}

/// No user's: of theirs every `%` is followed by two digits.
fn tag(number: u32) -> String {
    format!("%w{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespace;

    #[test]
    fn on_a_cluster_all_keys_of_a_call_have_one_slot() {
        let lists = Lists::of_slots("p:");
        for user in ["ada", "", "}", "%w1", "{ada}", "\0"] {
            let namespace = match user {
                "" => Namespace::Global,
                user => Namespace::Session { user, session: "{s}" },
            };
            let names = Names::new("p:", namespace);
            let slot = Slot::for_key(names.hash());
            let own = [names.incarnation(), names.sessions(), names.own(), names.base()];
            for key in own.into_iter().chain(lists.keys(&names).into_owned()) {
                assert_eq!(Slot::for_key(&key), slot, "{:?}", String::from_utf8_lossy(&key));
            }
        }
    }

    #[test]
    fn each_list_has_its_turn_and_nobody_hurries() {
        let lists = Lists::of_slots("p:");
        let (mut seen, mut looks) = (std::collections::HashSet::new(), 0);
        while seen.len() < usize::from(SLOTS) {
            let mut look = lists.next().expect("nobody looks");
            assert!(lists.next().is_none(), "somebody looks");
            let names = look.names();
            // Once in a while they are on two nodes.
            if names.len() > 1 && looks % 100 == 50 {
                look.part();
            } else {
                seen.extend(names.iter().map(Names::waiting));
                look.pass(names.len());
            }
            looks += 1;
        }
        assert!(looks < 1000, "{looks} looks");
        assert!(Lists::of_server("p:").next().is_none());
    }
}
