//! Turns a target into a byte stream each way plus the peer's identity: a child over pipes,
//! standard input and output, an SSH client, an SSH server. Whatever runs over a [`Link`] cannot
//! tell which it is. This crate knows nothing of trees.
#![forbid(unsafe_code)]

mod error;
mod home;
mod link;
mod pipe;
pub mod ssh;
mod throttle;

pub use error::{Error, ErrorKind};
pub use home::home;
pub use link::{Control, Finish, Link, STDERR_TAIL_LEN, Traffic};
pub use pipe::{ChildStderr, Show, spawn, stdio, take_stdio};
pub use throttle::Throttle;
