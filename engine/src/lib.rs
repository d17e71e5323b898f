//! The engine of hasync.
