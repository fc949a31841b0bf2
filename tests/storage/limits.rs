//! Bad input: kind and words of the refusal, and that nothing was changed.

use std::time::Duration;

use bytes::Bytes;
use pollster::block_on;
use scopecache::{Condition, ErrorKind, Options, Page, Part};

use crate::common::{
    CALLS, Call, Memory, SECOND, WRITES, contents, data_of, memory, refused, simple,
};

const USER: &str = "ada";

/// Something in each namespace, under the keys that the calls use.
fn filled(memory: Memory) -> Memory {
    let namespaces = [
        Options::new(),
        Options::new().with_user(USER),
        Options::new().with_user_session(USER, "s"),
    ];
    for options in namespaces {
        for key in ["k", "other"] {
            block_on(memory.storage.set(key, "old".into(), options.with_ttl(SECOND))).expect("set");
        }
    }
    memory
}

fn both() -> [Memory; 2] {
    [filled(memory()), filled(simple())]
}

/// The options that must be refused, for which calls, and a part of the words.
fn wrong() -> Vec<(Vec<Call>, Options<'static>, &'static str)> {
    let user = Options::new().with_user(USER);
    let session = Options::new().with_user_session(USER, "s");
    let all = || CALLS.to_vec();
    let writes = || WRITES.to_vec();
    let all_but =
        |calls: &[Call]| CALLS.into_iter().filter(|call| !calls.contains(call)).collect::<Vec<_>>();
    let no_value = || all_but(&[&WRITES[..], &[Call::Touch]].concat());
    let argument = "with_key is for delete alone";
    vec![
        (vec![Call::Get], user.with_key("k"), "get has its key as an argument"),
        (vec![Call::Take], user.with_key("k"), "take has its key as an argument"),
        (vec![Call::Touch], user.with_key("k").with_ttl(SECOND), "touch has its key"),
        (vec![Call::Keys], user.with_key("k"), "a listing has no key"),
        (all_but(&[Call::Delete]), user.with_key("k"), argument),
        (vec![Call::Delete], user.with_key("k").with_key("other"), "two keys are given"),
        (vec![Call::Get, Call::GetMany], user.with_ttl(SECOND), "a TTL does not go with get"),
        (vec![Call::Take], user.with_ttl(SECOND), "a TTL does not go with take"),
        (vec![Call::Delete, Call::DeleteMany], user.with_ttl(SECOND), "does not go with delete"),
        (vec![Call::Delete], user.with_key("k").with_ttl(SECOND), "does not go with delete"),
        (vec![Call::Keys], user.with_ttl(SECOND), "a TTL does not go with a listing"),
        (no_value(), user.keep_ttl(), "keep_ttl is for calls that write"),
        (no_value(), user.sliding(SECOND), "sliding is for calls that write"),
        (all(), user.with_user_session("b", "c"), "two namespaces are given"),
        (all(), session.with_user(USER), "two namespaces are given"),
        (all(), user.with_user(USER), "two namespaces are given"),
        (writes(), user.keep_ttl().with_ttl(SECOND), "keep_ttl and with_ttl exclude"),
        (writes(), user.keep_ttl().sliding(SECOND), "keep_ttl and sliding exclude"),
        (writes(), user.sliding(SECOND), "sliding needs a TTL"),
        (writes(), user.with_ttl(Duration::ZERO), "ttl must be longer than zero"),
        (writes(), user.with_ttl(Duration::ZERO).sliding(SECOND), "ttl must be longer than zero"),
        (
            writes(),
            user.with_ttl(SECOND).sliding(Duration::ZERO),
            "maximum lifetime of sliding must be longer than zero",
        ),
        (vec![Call::Touch], user, "touch needs a TTL"),
        (vec![Call::Touch], user.with_ttl(Duration::ZERO), "ttl must be longer than zero"),
        (vec![Call::Touch], user.with_ttl(SECOND).keep_ttl(), "keep_ttl does not go with touch"),
        (vec![Call::Touch], user.with_ttl(SECOND).sliding(SECOND), "sliding does not go with"),
        (all_but(&[Call::Touch]), user.with_timeout(Duration::ZERO), "timeout must be longer"),
        (
            vec![Call::Touch],
            user.with_ttl(SECOND).with_timeout(Duration::ZERO),
            "timeout must be longer",
        ),
    ]
}

#[test]
fn options_that_do_not_go_together_are_named_and_change_nothing() {
    for Memory { storage, cache, .. } in both() {
        let before = contents(&cache);
        assert_eq!(before.len(), 6);
        for (calls, options, part) in wrong() {
            for call in calls {
                let (kind, words) = refused(block_on(call.make(&*storage, "k", options)));
                assert_eq!(kind, ErrorKind::InvalidOptions, "{call:?} {options:?}");
                assert!(words.contains(part), "{call:?} {options:?}: {words}");
                assert_eq!(contents(&cache), before, "{call:?} {options:?}");
            }
        }
    }
}

#[test]
fn options_that_go_together_are_taken() {
    for call in CALLS {
        for make in [memory, simple] {
            let Memory { storage, .. } = filled(make());
            let options = call.valid("k", Options::new().with_user(USER));
            block_on(call.make(&*storage, "k", options.with_timeout(SECOND))).expect("valid");
            if WRITES.contains(&call) {
                for options in
                    [options.with_ttl(SECOND).sliding(SECOND), options.keep_ttl(), Options::new()]
                {
                    block_on(call.make(&*storage, "k", options)).expect("valid");
                }
            }
        }
    }
}

#[test]
fn lengths_at_the_limits_are_taken_and_those_beyond_are_not() {
    let id = |length| "x".repeat(length);
    let (most, over, key, long_key) = (id(256), id(257), id(512), id(513));
    for Memory { storage, cache, .. } in both() {
        let before = contents(&cache);
        let user = Options::new().with_user(USER);
        let wrong = [
            (Options::new().with_user(""), "k", Part::User, 256),
            (Options::new().with_user(&over), "k", Part::User, 256),
            (Options::new().with_user_session("", "s"), "k", Part::User, 256),
            (Options::new().with_user_session(&over, "s"), "k", Part::User, 256),
            (Options::new().with_user_session(USER, ""), "k", Part::Session, 256),
            (Options::new().with_user_session(USER, &over), "k", Part::Session, 256),
            (user, "", Part::Key, 512),
            (user, &long_key, Part::Key, 512),
        ];
        for (options, key, part, limit) in wrong {
            for call in CALLS {
                if call == Call::Keys && part == Part::Key {
                    continue; // a listing has no key
                }
                let options = call.valid(key, options);
                let (kind, words) = refused(block_on(call.make(&*storage, key, options)));
                assert_eq!(kind, ErrorKind::InvalidKey { part, limit }, "{call:?} {part}");
                assert_eq!(words, format!("the {part} must be 1 to {limit} bytes long"));
                assert_eq!(contents(&cache), before, "{call:?} {part}");
            }
        }
        for user in ["", &over] {
            let (kind, _) = refused(block_on(storage.sessions(user, Page::new(1))));
            assert_eq!(kind, ErrorKind::InvalidKey { part: Part::User, limit: 256 });
        }
        let at_limit = Options::new().with_user_session(&most, &most);
        for call in CALLS {
            let options = call.valid(&key, at_limit);
            block_on(call.make(&*storage, &key, options)).expect("at the limits");
        }
        block_on(storage.set("x", "1".into(), Options::new().with_user("u"))).expect("1 byte");
    }
}

#[test]
fn a_value_over_the_limit_is_refused() {
    for Memory { storage, cache, .. } in both() {
        let user = Options::new().with_user(USER);
        let [most, over] = [1000, 1001].map(|length| Bytes::from(vec![7; length]));
        let before = contents(&cache);
        let limit = ErrorKind::ValueTooLarge { limit: 1000 };
        let words = "the value is larger than 1000 bytes; raise max_value_bytes";

        let set = storage.set("k", over.clone(), user);
        assert_eq!(refused(block_on(set)), (limit, words.into()));
        let write = storage.write("new", over.clone(), Condition::Absent, user);
        assert_eq!(refused(block_on(write)), (limit, words.into()));
        let load = storage.load("new", user, Box::pin(async { Ok(over.clone()) }));
        assert_eq!(refused(block_on(load)), (limit, words.into()));
        let set_many = [("new", over.clone())];
        assert_eq!(refused(block_on(storage.set_many(&set_many, user))), (limit, words.into()));
        assert_eq!(contents(&cache), before);

        block_on(storage.set("k", most.clone(), user)).expect("at the limit");
        assert_eq!(data_of(&*storage, "k", user), Some(most));
    }
}

#[test]
fn ids_of_any_characters_never_collide() {
    let ids =
        ["a", "b", "a:b", "a\0b", "\0", ":", "*", "/", "\n", "a/b", "\u{1F980}", "a\n", "%00"];
    let Memory { storage, cache, .. } = memory();
    let namespaces = || {
        let sessions = ids.iter().flat_map(|user| {
            ids.iter().map(|session| Options::new().with_user_session(user, session))
        });
        let users = ids.iter().map(|user| Options::new().with_user(user));
        users.chain(sessions).chain([Options::new()])
    };
    let name = |namespace: usize, key: &str| Bytes::from(format!("{namespace} {key}"));
    for (namespace, options) in namespaces().enumerate() {
        for key in ids {
            block_on(storage.set(key, name(namespace, key), options)).expect("valid");
        }
    }
    // Each its own value; a wildcard is a key like any other and takes nothing else along.
    block_on(storage.delete(Options::new().with_user("a").with_key("*"))).expect("valid");
    block_on(storage.delete(Options::new().with_user_session("a:b", "*"))).expect("valid");
    block_on(storage.delete(Options::new().with_user("\0"))).expect("valid");
    let one_key = Options::new().with_user("a");
    let one_session = Options::new().with_user_session("a:b", "*");
    let one_user = |options: Options<'_>| {
        options == Options::new().with_user("\0")
            || ids.iter().any(|session| options == Options::new().with_user_session("\0", session))
    };
    for (namespace, options) in namespaces().enumerate() {
        for key in ids {
            let gone =
                (options == one_key && key == "*") || options == one_session || one_user(options);
            let expected = (!gone).then(|| name(namespace, key));
            assert_eq!(data_of(&*storage, key, options), expected, "{namespace} {key:?}");
        }
    }
    cache.maintain(1 << 20);
    cache.validate().expect("every invariant holds");
}

#[test]
fn ttls_from_a_nanosecond_to_all_time() {
    let Memory { storage, clock, .. } = memory();
    let user = Options::new().with_user(USER);
    let nanosecond = Duration::from_nanos(1);

    block_on(storage.set("k", "v".into(), user.with_ttl(nanosecond))).expect("valid");
    assert!(data_of(&*storage, "k", user).is_some());
    clock.advance(nanosecond);
    assert!(data_of(&*storage, "k", user).is_none());
    assert!(!block_on(storage.touch("k", user.with_ttl(SECOND))).expect("valid"));

    block_on(storage.set("k", "v".into(), user.with_ttl(Duration::MAX))).expect("valid");
    clock.advance(Duration::from_secs(100 * 365 * 24 * 3600));
    let item = block_on(storage.get("k", user)).expect("valid").expect("centuries left");
    assert!(item.expires_at.is_some());

    assert!(block_on(storage.touch("k", user.with_ttl(nanosecond))).expect("valid"));
    let touched = block_on(storage.get("k", user)).expect("valid").expect("not yet over");
    assert_eq!((touched.version, touched.created_at), (item.version, item.created_at));
    clock.advance(nanosecond);
    assert!(data_of(&*storage, "k", user).is_none());
}
