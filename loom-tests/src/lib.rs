//! Models of scopecache's concurrent core; see `tests/`.
