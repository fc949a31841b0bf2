//! Encrypted connections, and their want.

use scopecache::{ErrorKind, Options, Storage};

use crate::server::on_each;

#[test]
fn what_wants_tls_gets_it_or_is_told_why_not() {
    on_each(async |server| {
        if !server.is_postgres() {
            return; // the one here has no certificate
        }
        let connect = async |mode: &str| {
            let url = format!("{}?sslmode={mode}", server.url);
            server.options().connect(&url).await
        };
        if !cfg!(feature = "sql-tls") {
            let error = connect("require").await.expect_err("it cannot be had");
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("`sql-tls`"), "{error}");
            return;
        }
        let certificate = server.folder().join("data/server.crt");
        let by_it = format!("verify-full&sslrootcert={}", certificate.display());
        let mut raw = server.raw().await;
        for mode in ["require", &by_it] {
            let storage = connect(mode).await.expect("it has a certificate");
            storage.set("k", "v".into(), Options::new()).await.expect("it runs");
            let encrypted = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
            assert!(raw.number(encrypted).await > 0, "{mode}: the connection is not encrypted");
        }
        let error = connect("verify-full").await.expect_err("nobody has signed its certificate");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("certificates"), "{error}");
    });
}
