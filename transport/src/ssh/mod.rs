//! SSH without a helper program: a client for pushing, a server for nodes without sshd.

mod address;
mod algorithms;
mod auth;
mod authorized_keys;
mod client;
mod command_line;
mod config;
mod config_directives;
mod config_exec;
mod config_file;
#[cfg(test)]
mod config_oracle_tests;
mod config_tokens;
mod config_values;
mod config_words;
mod destination;
mod dial;
mod hostkey;
#[cfg(test)]
mod hostkey_oracle_tests;
mod introduce;
mod key_words;
mod keys;
mod known_hosts;
mod known_hosts_line;
mod listener;
mod openssh_key;
mod pattern;
mod report;
mod runner;
pub mod server;
mod server_session;
mod socket;
mod state;
mod stream;
mod trusted;

pub use address::parse_socket_address;
pub use authorized_keys::option_value;
pub use client::{ClientOptions, connect};
pub use config::Family;
pub use destination::{Destination, Environment};
pub use hostkey::quoted;
pub use introduce::{PublicHalf, addresses, is_known, make_known, shown_key};
pub use keys::{generate_host_key, generate_key_pair, public_half};

use std::time::Duration;

use russh::Limits;

/// The receive window of a channel: what may be under way unread on a long link.
const WINDOW_LEN: u32 = 8 * 1024 * 1024;
/// The largest data packet we accept. OpenSSH sends 32 KiB; more than this gains nothing.
const PACKET_LEN: u32 = 128 * 1024;
/// Packets that may wait for the reader; their bytes are bounded by `state`.
const QUEUE_PACKETS: usize = 16 * 1024;
/// Keys are renewed at the latest after this much data one way; what AES-GCM bears.
const REKEY_LEN: u64 = 1 << 30;
/// And at the latest after this time.
const REKEY_TIME: Duration = Duration::from_secs(3600);

/// russh refuses larger limits than [`REKEY_LEN`] by panicking.
fn limits(rekey_len: Option<u64>) -> Limits {
    let len = rekey_len.unwrap_or(REKEY_LEN).clamp(1 << 10, REKEY_LEN) as usize;
    Limits::new(len, len, REKEY_TIME)
}
