//! Which running kernel this is: inode numbers mean the same to all that run on one.

use rustix::system::uname;

/// This boot's identity; zeros if the kernel does not tell.
pub(crate) fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&hex, 16)
        .unwrap_or_default()
        .to_be_bytes()
}

/// The same for all processes of one kernel, and as good as never for those of two: where `/proc`
/// is missing, two machines of one name that run the same system are taken for one.
pub(crate) fn machine() -> [u8; 16] {
    let boot = boot();
    if boot != [0; 16] {
        return boot;
    }
    let system = uname();
    let mut hasher = blake3::Hasher::new();
    for part in [system.nodename(), system.release(), system.version()] {
        hasher.update(part.to_bytes_with_nul());
    }
    let mut machine = [0; 16];
    hasher.finalize_xof().fill(&mut machine);
    machine
}
