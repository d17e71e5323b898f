//! A launcher under which the kernel refuses a call, as it does where the file system or the
//! container has no such thing: a seccomp filter answers before anything else is asked.

use super::TempTree;

/// The launcher, a Python script in a directory of its own.
pub(crate) struct RefusedCall {
    dir: TempTree,
    which: &'static str,
}

impl RefusedCall {
    /// `renameat2` cannot exchange two names: `EINVAL`.
    pub(crate) fn exchange() -> Self {
        Self::new("exchange")
    }

    /// `openat2` is not permitted at all: `EPERM`.
    pub(crate) fn openat2() -> Self {
        Self::new("openat2")
    }

    fn new(which: &'static str) -> Self {
        let dir = TempTree::new();
        std::fs::write(dir.path("launcher.py"), SCRIPT).unwrap();
        Self { dir, which }
    }

    /// The words to put before a command.
    pub(crate) fn words(&self) -> [String; 3] {
        let script = self.dir.text("launcher.py");
        ["/usr/bin/python3".to_owned(), script, self.which.to_owned()]
    }
}

const SCRIPT: &str = r#"
import ctypes, errno, os, platform, struct, sys

ARCH, RENAMEAT2 = {"x86_64": (0xC000003E, 316), "aarch64": (0xC00000B7, 276)}[platform.machine()]
LOAD, IF_EQUAL, IF_BITS, RETURN = 0x20, 0x15, 0x45, 0x06
OPENAT2, EXCHANGE, ALLOW, REFUSE = 437, 2, 0x7FFF0000, 0x00050000
call, bits, why, arguments = {
    # Its fifth argument are its flags.
    "exchange": (RENAMEAT2, EXCHANGE, errno.EINVAL, (-100, b"/nowhere/a", -100, b"/nowhere/b", 2)),
    "openat2": (OPENAT2, None, errno.EPERM, (-100, b"/", b"\0" * 24, 24)),
}[sys.argv[1]]
is_it = [(LOAD, 0, 0, 16 + 4 * 8), (IF_BITS, 0, 1, bits)] if bits else []
rest = is_it + [(RETURN, 0, 0, REFUSE | why), (RETURN, 0, 0, ALLOW)]
to_allow = len(rest) - 1
program = [
    (LOAD, 0, 0, 4),  # architecture
    (IF_EQUAL, 0, to_allow + 2, ARCH),
    (LOAD, 0, 0, 0),  # number of the call
    (IF_EQUAL, 0, to_allow, call),
] + rest
code = b"".join(struct.pack("HBBI", *step) for step in program)
code = ctypes.create_string_buffer(code, len(code))

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]

libc = ctypes.CDLL(None, use_errno=True)
filter = Program(len(program), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0, "seccomp"
libc.syscall(call, *arguments)
assert ctypes.get_errno() == why, "the filter does not work"
os.execv(sys.argv[2], sys.argv[2:])
"#;
