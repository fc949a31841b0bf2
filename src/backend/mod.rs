//! What a [`Storage`](crate::Storage) can be made of.

mod memory;
