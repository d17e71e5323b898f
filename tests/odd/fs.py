"""A read-only file system over FUSE, in the raw protocol of the kernel, with entries that no local
file system would keep: names longer than 255 bytes, a symlink to nothing, a name that is listed
twice. Mounts itself on the directory given, and serves until it is unmounted."""

import ctypes
import errno
import os
import stat
import struct
import sys

NAMES = {}


def entry(name, mode, content=b""):
    NAMES[name] = (len(NAMES) + 2, mode, content)


entry(b"plain", stat.S_IFREG | 0o644, b"plain content")
entry(b"l" * 256, stat.S_IFREG | 0o644, b"a byte too long for most")
entry(b"m" * 1023, stat.S_IFREG | 0o644, b"as long as names get")
entry(b"d" * 300, stat.S_IFDIR | 0o755)
entry(b"link-to-nothing", stat.S_IFLNK | 0o777, b"")
entry(b"twice", stat.S_IFREG | 0o644, b"once")
LISTED = list(NAMES) + [b"twice"]
NODES = {node: (mode, content) for node, mode, content in NAMES.values()}
NODES[1] = (stat.S_IFDIR | 0o755, b"")


def attributes(node):
    mode, content = NODES[node]
    times = (1_500_000_000,) * 3
    # More nanoseconds than a second has.
    odd = (2_000_000_000,) * 3
    return struct.pack(
        "<6Q10I", node, len(content), 1, *times, *odd, mode, 1, 0, 0, 0, 4096, 0
    )


def listing(node, offset, room):
    names = LISTED if node == 1 else []
    out = b""
    for at, name in list(enumerate(names))[offset:]:
        inode, mode, _ = NAMES[name]
        record = struct.pack("<QQII", inode, at + 1, len(name), mode >> 12) + name
        record += b"\0" * (-len(record) % 8)
        if len(out) + len(record) > room:
            break
        out += record
    return out


def answer(opcode, node, payload):
    if opcode == 1:
        name = payload[:-1]
        if node != 1 or name not in NAMES:
            return -errno.ENOENT, b""
        found = NAMES[name][0]
        return 0, struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + attributes(found)
    if opcode == 3:
        return 0, struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if opcode == 5:
        return 0, NODES[node][1]
    if opcode in (14, 27):
        return 0, struct.pack("<Q2I", 0, 0, 0)
    if opcode == 15:
        _, offset, size = struct.unpack_from("<QQI", payload)
        return 0, NODES[node][1][offset : offset + size]
    if opcode == 26:
        major, _, ahead, _ = struct.unpack_from("<4I", payload)
        init = struct.pack("<4I2H2I2HI7I", major, 31, ahead, 0, 12, 9, 65536, 1, 16, 0, 0, *[0] * 7)
        return 0, init
    if opcode == 28:
        _, offset, size = struct.unpack_from("<QQI", payload)
        return 0, listing(node, offset, size)
    if opcode in (18, 25, 29):
        return 0, b""
    return -errno.ENOSYS, b""


def main():
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    target = os.fsencode(sys.argv[1])
    if libc.mount(b"odd", target, b"fuse", ctypes.c_ulong(0), options) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    print("mounted", flush=True)
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                continue
            raise
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (2, 42):
            continue
        code, payload = answer(opcode, node, request[40:])
        os.write(device, struct.pack("<IiQ", 16 + len(payload), code, unique) + payload)


main()
