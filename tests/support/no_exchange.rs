//! A launcher under which `renameat2` cannot exchange two names, as on a file system that has no
//! such thing: a seccomp filter answers `EINVAL` before the file system is asked.

use super::TempTree;

/// The launcher, a Python script in a directory of its own.
pub(crate) struct NoExchange {
    dir: TempTree,
}

impl NoExchange {
    pub(crate) fn new() -> Self {
        let dir = TempTree::new();
        std::fs::write(dir.path("launcher.py"), SCRIPT).unwrap();
        Self { dir }
    }

    /// The words to put before a command.
    pub(crate) fn words(&self) -> [String; 2] {
        ["/usr/bin/python3".to_owned(), self.dir.text("launcher.py")]
    }
}

const SCRIPT: &str = r#"
import ctypes, errno, os, platform, struct, sys

ARCH, RENAMEAT2 = {"x86_64": (0xC000003E, 316), "aarch64": (0xC00000B7, 276)}[platform.machine()]
LOAD, IF_EQUAL, IF_BITS, RETURN = 0x20, 0x15, 0x45, 0x06
EXCHANGE, ALLOW, REFUSE = 2, 0x7FFF0000, 0x00050000 | errno.EINVAL
program = [
    (LOAD, 0, 0, 4),  # architecture
    (IF_EQUAL, 0, 5, ARCH),
    (LOAD, 0, 0, 0),  # number of the call
    (IF_EQUAL, 0, 3, RENAMEAT2),
    (LOAD, 0, 0, 16 + 4 * 8),  # fifth argument
    (IF_BITS, 0, 1, EXCHANGE),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("HBBI", *step) for step in program)
code = ctypes.create_string_buffer(code, len(code))

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]

libc = ctypes.CDLL(None, use_errno=True)
filter = Program(len(program), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0, "seccomp"
libc.syscall(RENAMEAT2, -100, b"/nowhere/a", -100, b"/nowhere/b", EXCHANGE)
assert ctypes.get_errno() == errno.EINVAL, "the filter does not work"
os.execv(sys.argv[1], sys.argv[1:])
"#;
