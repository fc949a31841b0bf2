//! Bugs on purpose: rules that are taken out of the engine so that what guards them is seen to fail.

/// Whether this bug is planted: `--cfg bug="name"` builds it in. Models also find its name in the
/// environment (`SCOPECACHE_BUG`) when they are run, so that one build of them serves all bugs.
macro_rules! planted {
    ($bug:tt) => {
        cfg!(bug = $bug) || (cfg!(scopecache_loom) && $crate::planted::is_chosen($bug))
    };
}

#[cfg(scopecache_loom)]
pub(crate) fn is_chosen(bug: &str) -> bool {
    /// Std's: it is no step of a model.
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SCOPECACHE_BUG").ok()).as_deref() == Some(bug)
}

#[cfg(not(scopecache_loom))]
pub(crate) const fn is_chosen(_bug: &str) -> bool {
    false
}
