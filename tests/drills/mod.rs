//! Drills of the hand-over: trouble that comes at three in the morning, played from the first write
//! to the repaired pair. Each says in a few lines who does which step, with which exit code, and
//! where which data is afterwards; a repair is typed as it is printed.

/// Played by hand: the service moves because the drill says so.
mod by_hand;
/// Played by heartbeat, keepalived and Pacemaker.
mod managed;
/// Histories that nobody thought of.
mod random;
mod scene;
