//! The engine of hasync.

pub mod delta;
