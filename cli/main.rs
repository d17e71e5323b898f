//! hasync.
fn main() {}
