//! The engine of hasync.

pub mod delta;
pub mod filter;
