"""A file system in memory over FUSE, in the raw protocol of the kernel. Mounts itself on the
directory given, and serves in the background until it is unmounted. It is odd in one of these ways:

form    A name is the same with its accents apart from their letters.
late    What says that it is lost is, when it is closed: nothing could store it.
linkless
        Nothing tells how many names it has: 0.
mute    Nothing is told of the whole: no size, no space, no length of names, no types in lists.
short   Few bytes are read or written at a time.
silly   As on NFS, what is open is not removed but renamed until it is closed, and is busy then.
stiff   No directory can be flushed.
twice   Each name is listed twice.
whole   A new name leaves whole seconds of the time of change."""

import ctypes
import errno
import os
import stat
import struct
import sys
import time
import unicodedata

WAY, TARGET = sys.argv[1:3]
SILLY = b".nfs"


class Refused(Exception):
    pass


class Node:
    def __init__(self, mode, uid, gid, rdev=0):
        self.number = len(NODES) + 1
        self.mode, self.uid, self.gid, self.rdev = mode, uid, gid, rdev
        self.times = [time.time_ns()] * 3
        self.data = bytearray()
        self.names = {}
        self.links = 2 if stat.S_ISDIR(mode) else 1
        self.opened = 0
        NODES[self.number] = self

    def touch(self):
        self.times[1:] = [time.time_ns()] * 2

    def attributes(self):
        seconds = [ns // 10**9 for ns in self.times]
        rest = [ns % 10**9 for ns in self.times]
        numbers = (self.number, len(self.data), -(-len(self.data) // 512), *seconds)
        links = 0 if WAY == "linkless" else self.links
        owned = (self.mode, links, self.uid, self.gid, self.rdev, 4096, 0)
        return struct.pack("<3Q3q10I", *numbers, *rest, *owned)


NODES = {}


def key(name):
    if WAY != "form":
        return name
    return unicodedata.normalize("NFD", os.fsdecode(name)).encode(errors="surrogateescape")


def find(directory, name):
    found = directory.names.get(key(name))
    if found is None:
        raise Refused(errno.ENOENT)
    return found[1]


def entry(node):
    return struct.pack("<4Q2I", node.number, 0, 0, 0, 0, 0) + node.attributes()


def add(directory, name, node):
    if key(name) in directory.names:
        raise Refused(errno.EEXIST)
    directory.names[key(name)] = (name, node)
    directory.touch()
    return entry(node)


def drop(directory, name, is_dir):
    node = find(directory, name)
    if stat.S_ISDIR(node.mode) != is_dir:
        raise Refused(errno.ENOTDIR if is_dir else errno.EISDIR)
    if is_dir and node.names:
        raise Refused(errno.ENOTEMPTY)
    if WAY == "silly" and node.opened and node.links == 1:
        if name.startswith(SILLY):
            raise Refused(errno.EBUSY)
        hidden = SILLY + b"%024x" % node.number
        directory.names[key(hidden)] = (hidden, node)
        node.hidden = (directory, hidden)
    else:
        node.links -= 1
    del directory.names[key(name)]
    directory.touch()


def rename(directory, new_directory, old, new):
    node = find(directory, old)
    there = new_directory.names.get(key(new))
    if there and there[1] is not node:
        is_dir = stat.S_ISDIR(there[1].mode)
        if is_dir != stat.S_ISDIR(node.mode):
            raise Refused(errno.EISDIR if is_dir else errno.ENOTDIR)
        drop(new_directory, new, is_dir)
    elif there and key(old) != key(new):
        return
    del directory.names[key(old)]
    new_directory.names[key(new)] = (new, node)
    if WAY == "whole":
        node.times[1] -= node.times[1] % 10**9
    directory.touch()
    new_directory.touch()


def closed(node):
    node.opened -= 1
    if not node.opened and hasattr(node, "hidden"):
        directory, name = node.hidden
        if directory.names.pop(key(name), None):
            directory.touch()
        del node.hidden


def set_attributes(node, payload):
    valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = (
        struct.unpack_from("<2I3Q3q8I", payload)
    )
    if valid & 1:
        node.mode = mode
    if valid & 2:
        node.uid = uid
    if valid & 4:
        node.gid = gid
    if valid & 8:
        node.data = node.data[:size].ljust(size, b"\0")
        node.touch()
    now = time.time_ns()
    for at, bit, is_now, ns in ((0, 16, 128, (atime, atime_ns)), (1, 32, 256, (mtime, mtime_ns))):
        if valid & bit:
            node.times[at] = now if valid & is_now else ns[0] * 10**9 + ns[1]
    node.times[2] = now
    return struct.pack("<Q2I", 0, 0, 0) + node.attributes()


def listing(node, payload):
    _, offset, room = struct.unpack_from("<QQI", payload)
    out = b""
    names = list(node.names.values()) * (2 if WAY == "twice" else 1)
    for at, (name, child) in list(enumerate(names))[offset:]:
        type_ = 0 if WAY == "mute" else child.mode >> 12
        record = struct.pack("<QQII", child.number, at + 1, len(name), type_) + name
        record += b"\0" * (-len(record) % 8)
        if len(out) + len(record) > room:
            break
        out += record
    return out


def make(node, header, mode, name, data=b"", rdev=0):
    _, uid, gid = header
    new = Node(mode, uid, gid, rdev)
    new.data += data
    return add(node, name, new), new


def opened(node):
    node.opened += 1
    return struct.pack("<Q2I", 0, 0, 0)


def answer(opcode, node, payload, header):
    words = payload.split(b"\0")
    if opcode == 1:
        return entry(find(node, words[0]))
    if opcode == 3:
        return struct.pack("<Q2I", 0, 0, 0) + node.attributes()
    if opcode == 4:
        return set_attributes(node, payload)
    if opcode == 5:
        return bytes(node.data)
    if opcode == 6:
        return make(node, header, stat.S_IFLNK | 0o777, words[0], words[1])[0]
    if opcode == 8:
        mode, rdev, umask, _ = struct.unpack_from("<4I", payload)
        name = payload[16:].rstrip(b"\0")
        return make(node, header, mode & ~umask, name, rdev=rdev)[0]
    if opcode == 9:
        mode, umask = struct.unpack_from("<2I", payload)
        return make(node, header, stat.S_IFDIR | mode & ~umask, payload[8:].rstrip(b"\0"))[0]
    if opcode in (10, 11):
        return drop(node, words[0], opcode == 11) or b""
    if opcode in (12, 45):
        begin = 8 if opcode == 12 else 16
        if opcode == 45 and struct.unpack_from("<I", payload, 8)[0]:
            raise Refused(errno.EINVAL)
        old, new = payload[begin:].split(b"\0")[:2]
        rename(node, NODES[struct.unpack_from("<Q", payload)[0]], old, new)
        return b""
    if opcode == 13:
        linked = NODES[struct.unpack_from("<Q", payload)[0]]
        linked.links += 1
        return add(node, payload[8:].rstrip(b"\0"), linked)
    if opcode == 14:
        return opened(node)
    if opcode == 15:
        _, offset, size = struct.unpack_from("<QQI", payload)
        return bytes(node.data[offset : offset + size])
    if opcode == 16:
        _, offset, size = struct.unpack_from("<QQI", payload)
        if WAY == "short":
            size = min(size, 999)
        if len(node.data) < offset:
            node.data = node.data.ljust(offset, b"\0")
        node.data[offset : offset + size] = payload[40 : 40 + size]
        node.touch()
        return struct.pack("<2I", size, 0)
    if opcode == 17 and WAY == "mute":
        return bytes(80)
    if opcode == 17:
        return struct.pack("<5Q10I", 1 << 20, 1 << 19, 1 << 19, 0, 0, 4096, 255, 4096, *[0] * 7)
    if opcode == 18:
        return closed(node) or b""
    if opcode == 26:
        major, _, ahead, _ = struct.unpack_from("<4I", payload)
        return struct.pack("<4I2H2I2HI7I", major, 31, ahead, 0, 12, 9, 65536, 1, 16, 0, 0, *[0] * 7)
    if opcode == 27:
        return struct.pack("<Q2I", 0, 0, 0)
    if opcode == 28:
        return listing(node, payload)
    if opcode == 35:
        _, mode, umask, _ = struct.unpack_from("<4I", payload)
        made, new = make(node, header, mode & ~umask, payload[16:].rstrip(b"\0"))
        return made + opened(new)
    if opcode == 25 and WAY == "late" and node.data.startswith(b"lost"):
        raise Refused(errno.EIO)
    if opcode == 30 and WAY == "stiff":
        raise Refused(errno.EINVAL)
    if opcode in (20, 25, 29, 30):
        return b""
    raise Refused(errno.ENOSYS)


def main():
    device = os.open("/dev/fuse", os.O_RDWR)
    Node(stat.S_IFDIR | 0o755, 0, 0)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(WAY.encode(), os.fsencode(TARGET), b"fuse", ctypes.c_ulong(0), options.encode()):
        sys.exit(os.strerror(ctypes.get_errno()))
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for output in (1, 2):
        os.dup2(nothing, output)
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                continue
            raise
        _, opcode, unique, number, uid, gid = struct.unpack_from("<IIQQII", request)
        if opcode in (2, 42):
            continue
        try:
            code, payload = 0, answer(opcode, NODES.get(number), request[40:], (None, uid, gid))
        except Refused as refused:
            code, payload = -refused.args[0], b""
        os.write(device, struct.pack("<IiQ", 16 + len(payload), code, unique) + payload)


main()
