//! Connections that end in the middle of an answer.

use scopecache::{ErrorKind, Options, SqlStorage, Storage};

use crate::proxy::Proxy;
use crate::server::{Server, on_each};

fn user() -> Options<'static> {
    Options::new().with_user("ada")
}

fn places() -> [Options<'static>; 3] {
    [
        user(),
        Options::new().with_user_session("ada", "s"),
        Options::new().with_user_session("ada", "t"),
    ]
}

/// A client through the proxy, with the statements of the call prepared, and one beside it.
async fn clients(server: &Server, proxy: &Proxy) -> (SqlStorage, SqlStorage) {
    let options = server.options().max_connections(1);
    let through = options.connect(&proxy.url(&server.url)).await.expect("it runs");
    (through, server.connect().await.expect("it runs"))
}

#[test]
fn a_write_that_is_cut_is_whole_or_nothing() {
    on_each(async |server| {
        let proxy = Proxy::new(server.port());
        let (through, beside) = clients(server, &proxy).await;
        let (mut written, mut not_written) = (0, 0);
        for bytes in 0.. {
            assert!(bytes < 1000, "a set has no longer answer");
            let old = through.set("k", "old".into(), user()).await.expect("it recovers by itself");
            proxy.cut_after(bytes);
            let answer = through.set("k", "new".into(), user()).await;
            proxy.cut_no_more();
            let item = beside.get("k", user()).await.expect("it runs").expect("one or the other");
            match answer {
                Ok(version) => {
                    assert_eq!((item.version, &item.data[..]), (version, &b"new"[..]));
                    break;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
            }
            match &item.data[..] {
                b"new" => written += 1,
                b"old" if item.version == old => not_written += 1,
                other => panic!("a cut write has left {} bytes", other.len()),
            }
        }
        println!("{}: of cut writes {written} were made, {not_written} not", server.name);
        assert!(written > 0, "no cut fell behind the write");
    });
}

#[test]
fn a_user_whose_delete_is_cut_is_there_whole_or_gone() {
    on_each(async |server| {
        let proxy = Proxy::new(server.port());
        let (through, beside) = clients(server, &proxy).await;
        let (mut gone, mut kept) = (0, 0);
        // So many bytes are one answer more, as a delete has several.
        for bytes in (0..).step_by(9) {
            assert!(bytes < 5000, "a delete has no longer answers");
            for place in places() {
                for key in ["k", "l"] {
                    through.set(key, "v".into(), place).await.expect("it recovers by itself");
                }
            }
            through.delete(Options::new().with_user("eve")).await.expect("it runs");
            proxy.cut_after(bytes);
            let answer = through.delete(user()).await;
            proxy.cut_no_more();
            // A transaction that lost its client holds its locks until the server has seen that.
            let mut left = 0;
            for place in places() {
                let items = beside.get_many(&["k", "l"], place).await.expect("it runs");
                left += items.iter().flatten().count();
            }
            match answer {
                Ok(removed) => {
                    assert_eq!((removed.entries, left), (6, 0));
                    break;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
            }
            match left {
                0 => gone += 1,
                6 => kept += 1,
                left => panic!("a delete that was cut after {bytes} bytes has left {left} of 6"),
            }
        }
        println!("{}: of cut deletes {gone} were made, {kept} not", server.name);
        assert!(gone > 0 && kept > 0, "cuts fall before and behind the commit");
    });
}

#[test]
fn a_read_that_is_cut_gives_an_error_and_never_a_part() {
    on_each(async |server| {
        let proxy = Proxy::new(server.port());
        let (through, _) = clients(server, &proxy).await;
        let data = vec![7; 3000];
        through.set("k", data.clone().into(), user()).await.expect("it runs");
        for bytes in (0..).step_by(61) {
            assert!(bytes < 10_000, "a get has no longer answer");
            through.get("k", user()).await.expect("it recovers by itself");
            proxy.cut_after(bytes);
            let answer = through.get("k", user()).await;
            proxy.cut_no_more();
            match answer {
                Ok(item) => {
                    assert_eq!(item.expect("it is there").data, data);
                    break;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
            }
        }
    });
}
