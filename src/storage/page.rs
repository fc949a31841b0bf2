//! Listings, a page at a time.

use crate::error::{Error, Result};

/// Which part of a listing is asked for: at most so many names, from where the last page ended.
///
/// ```
/// use scopecache::{Cache, Options, Page, Storage};
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// let storage: Arc<dyn Storage> = Arc::new(Cache::builder().build()?);
/// let ada = Options::new().with_user("ada");
/// for key in ["a", "b", "c"] {
///     storage.set(key, "value".into(), ada).await?;
/// }
///
/// let mut names = Vec::new();
/// let mut token = None;
/// loop {
///     let listing = storage.keys(Page::new(2).after(token.as_deref()), ada).await?;
///     names.extend(listing.names);
///     token = listing.next;
///     if token.is_none() {
///         break;
///     }
/// }
/// assert_eq!(names, ["a", "b", "c"]);
/// # Ok(()) }) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Page<'a> {
    limit: usize,
    token: Option<&'a str>,
}

/// One page of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys or session ids.
    pub names: Vec<String>,
    /// Where the next page begins, to be given to [`Page::after`]; `None` after the last.
    ///
    /// Opaque: only the storage that gave it out understands it, for the same listing. It may
    /// hold a name, so treat it with the same care as the names.
    pub next: Option<String>,
}

impl<'a> Page<'a> {
    /// The first page, of at most `limit` names. Zero is an error of the call.
    pub const fn new(limit: usize) -> Self {
        Self { limit, token: None }
    }

    /// The page that begins where another ended: at its [`Listing::next`]. `None` is the first.
    pub const fn after(mut self, token: Option<&'a str>) -> Self {
        self.token = token;
        self
    }

    /// How many names the page may have.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Where the page begins.
    pub fn token(&self) -> Option<&'a str> {
        self.token
    }

    /// Fails with `InvalidOptions` for a page of no names.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn check(&self) -> Result<()> {
        if self.limit == 0 {
            return Err(Error::options("a page must have room for one name at least"));
        }
        Ok(())
    }

    /// This page of `names`, in ascending order; the token is the last name of a page.
    ///
    /// A name that is there throughout stands in one page, once, whatever comes and goes
    /// meanwhile: pages are cut by name, not by position.
    pub(crate) fn cut(&self, names: impl IntoIterator<Item = String>) -> Listing {
        let names = names.into_iter();
        let mut names: Vec<String> = match self.token {
            None => names.collect(),
            Some(last) => names.filter(|name| name.as_str() > last).collect(),
        };
        let more = names.len() > self.limit;
        if more {
            names.select_nth_unstable(self.limit);
            names.truncate(self.limit);
        }
        names.sort_unstable();
        let next = if more { names.last().cloned() } else { None };
        Listing { names, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn pages_are_cut_by_name() {
        let all = names(&["d", "b", "a", "c"]);
        let first = Page::new(2).cut(all.clone());
        assert_eq!(first, Listing { names: names(&["a", "b"]), next: Some("b".into()) });
        let second = Page::new(2).after(first.next.as_deref()).cut(all);
        assert_eq!(second, Listing { names: names(&["c", "d"]), next: None });
    }

    #[test]
    fn a_name_that_goes_does_not_shift_the_others() {
        let first = Page::new(1).cut(names(&["a", "b", "c"]));
        let second = Page::new(9).after(first.next.as_deref()).cut(names(&["b", "c"]));
        assert_eq!(second.names, ["b", "c"]);
    }
}
