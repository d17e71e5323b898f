//! Launchers that give one program a mount namespace of its own: one in which `/proc` is gone,
//! covered or shut, or in which the password database is another.

use std::path::Path;

/// Words to put before a program, after which the shell line `setup` has run in its namespace.
fn after(setup: &str) -> Vec<String> {
    // The program follows, and is `$0`.
    let line = format!("{setup} && exec \"$0\" \"$@\"");
    ["unshare", "-m", "sh", "-c", &line]
        .map(str::to_owned)
        .into()
}

/// Every way in which `/proc` can be of no use.
pub(crate) const WITHOUT_PROC: [(&str, &str); 3] = [
    ("gone", "umount -l /proc"),
    ("covered", "mount -t tmpfs none /proc"),
    ("shut", "mount -t tmpfs -o mode=0 none /proc"),
];

/// Under this launcher `/proc` is gone.
pub(crate) fn without_proc() -> Vec<String> {
    after(WITHOUT_PROC[0].1)
}

/// Under this launcher `/proc` is as the shell line leaves it.
pub(crate) fn with_proc_after(setup: &str) -> Vec<String> {
    after(setup)
}

/// Under this launcher `passwd` is the password database.
pub(crate) fn with_passwd(passwd: &Path) -> Vec<String> {
    after(&format!("mount --bind '{}' /etc/passwd", passwd.display()))
}

/// Under this launcher the system's log listens on `socket`.
pub(crate) fn with_syslog_at(socket: &Path) -> Vec<String> {
    let socket = socket.display();
    after(&format!(
        "mount --bind /dev/shm /mnt && mount -t tmpfs none /dev && mkdir /dev/shm && \
         mount --bind /mnt /dev/shm && mknod -m 666 /dev/null c 1 3 && ln -s '{socket}' /dev/log"
    ))
}

/// Goes on as the user `nobody`; behind the launchers above.
pub(crate) const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
