"""Entries of a directory, their encoding, digests and prints: section 8 of PROTOCOL.md."""

import grp
import os
import pwd
import stat
import struct

from blake3 import blake3
from wire import Message

TAGS = {"File": b"f", "Dir": b"d", "Symlink": b"l", "CharDevice": b"c", "BlockDevice": b"b",
        "Fifo": b"p", "Socket": b"s"}
# Bits of differences.
NEW, CONTENT, SIZE, TIME, TIME_NOW, PERMS, OWNER, GROUP = (1 << bit for bit in range(8))
KINDS = {"File": "File", "Dir": "Dir", "Symlink": "Symlink", "CharDevice": "Device",
         "BlockDevice": "Device", "Fifo": "Special", "Socket": "Special"}


def is_dir(entry):
    return entry["body"].of == "Dir"


def examine(path):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        body = Message("File", len=found.st_size, sum=None)
    elif kind == stat.S_IFLNK:
        body = Message("Symlink", target=os.readlink(path))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        body = Message("CharDevice" if kind == stat.S_IFCHR else "BlockDevice", rdev=found.st_rdev)
    else:
        body = Message({stat.S_IFDIR: "Dir", stat.S_IFIFO: "Fifo", stat.S_IFSOCK: "Socket"}[kind])
    secs, nanos = divmod(found.st_mtime_ns, 10**9)
    return {"name": os.path.basename(path), "mode": stat.S_IMODE(found.st_mode),
            "uid": found.st_uid, "gid": found.st_gid, "mtime": {"secs": secs, "nanos": nanos},
            "atime": None, "body": body, "link_to": None, "attributes": b""}


def canonical(entry):
    return is_dir(entry), entry["name"]


def read(path):
    """The entries of a directory in canonical order."""
    names = [name for name in os.listdir(path) if name != b".hasync"]
    return sorted((examine(os.path.join(path, name)) for name in names), key=canonical)


class Fields:
    """What counts in a session. `ids` maps (kind, own id) to the sender's number."""

    def __init__(self, options, reply, key, ids=lambda kind, own: own):
        self.options, self.reply, self.key, self.ids = options, reply, key, ids
        self.settable = {group["id"] for group in reply["settable_groups"]}

    def place(self, path):
        """What the file system that `path` is on stores, and what it loses."""
        on = [mount for mount in self.reply["mounted"]
              if path == mount["path"] or path.startswith(mount["path"] + b"/")]
        keeps = on[-1] if on else self.reply
        return keeps["time_store"], keeps["lost"]

    def stored(self, time, store):
        secs, nanos, step = time["secs"], time["nanos"], store["granularity_ns"]
        if not store["min_secs"] <= secs <= store["max_secs"]:
            return min(max(secs, store["min_secs"]), store["max_secs"]), 0
        if step < 10**9:
            return secs, nanos // step * step
        return secs // (step // 10**9) * (step // 10**9), 0

    def encoding(self, above, entry):
        """Of an entry of the directory `above`."""
        options, body = self.options, entry["body"]
        store, lost = self.place(os.path.join(above, entry["name"]))
        if body.of == "Unmirrored":
            return b""
        is_bare = body.of == "Symlink" and lost & TIME
        if is_bare:
            lost |= OWNER | GROUP
        mode = entry["mode"]
        if not is_dir(entry) and not self.reply["setuid"]:
            mode &= ~0o6000
        out = [TAGS[body.of], with_length(entry["name"])]
        if options["perms"] and body.of != "Symlink" and not lost & PERMS:
            out.append(struct.pack("<I", mode))
        if options["owner"] and self.reply["owners"] and not lost & OWNER:
            out.append(struct.pack("<Q", self.ids("User", entry["uid"])))
        if options["group"] and not lost & GROUP:
            can_set = self.reply["owners"] or entry["gid"] in self.settable
            group = self.ids("Group", entry["gid"]) if can_set else (1 << 64) - 1
            out.append(struct.pack("<Q", group))
        quick = options["quick_check"].of
        by_time = options["update"] or not options["checksum"] and quick != "Lengths"
        if options["times"] and not is_bare or body.of == "File" and by_time:
            out.append(struct.pack("<qI", *self.stored(entry["mtime"], store)))
        if body.of == "File":
            out.append(struct.pack("<Q", body["len"]))
            if options["checksum"] or body["sum"]:
                out.append(body["sum"] or bytes(32))
        elif body.of == "Symlink":
            out.append(with_length(body["target"]))
        elif "rdev" in body:
            out.append(struct.pack("<Q", body["rdev"]))
        if options["hard_links"]:
            out.append(with_length(entry["link_to"] or b""))
        return b"".join(out)

    def digest(self, path, entries):
        return blake3(b"".join(self.encoding(path, entry) for entry in entries), self.key)[:8]

    def print_of(self, path, entry):
        return blake3(self.encoding(path, entry), self.key)[:8]


def with_length(data):
    return struct.pack("<I", len(data)) + data


def total(prints):
    """What full prints add up to."""
    full = sum(int.from_bytes(one, "little") for one in prints)
    return (full & (1 << 64) - 1).to_bytes(8, "little")


class Ids:
    """The sender's numbers and names, and what they are here."""

    def __init__(self):
        self.here, self.back = {}, {}

    def announce(self, kind, number, name):
        if number == 0:
            return
        try:
            text = name.decode()
            own = pwd.getpwnam(text).pw_uid if kind == "User" else grp.getgrnam(text).gr_gid
        except (KeyError, UnicodeDecodeError):
            own = number
        self.here[kind, number] = own
        self.back.setdefault((kind, own), number)

    def local(self, kind, number):
        return self.here.get((kind, number), number)

    def sender(self, kind, own):
        if (kind, own) in self.back:
            return self.back[kind, own]
        return own | (1 << 32 if self.here.get((kind, own), own) != own else 0)
