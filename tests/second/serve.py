"""Receives a tree from `hasync push`: the receiver of sections 6 and 7 of PROTOCOL.md, on standard
input and output. It asks for whole files, never for deltas, and understands no runs.

    serve.py LOG [COARSE]

adds a line to LOG for each push: how many entries and files came. At COARSE, a path below the
target, it behaves as if a file system with times of two seconds and without modes were mounted.
"""

import os
import shutil
import stat
import sys

import tree
import wire
from blake3 import blake3
from tree import CONTENT, GROUP, NEW, OWNER, PERMS, SIZE, TIME

UNSUPPORTED = ("hard_links", "dry_run", "checksum", "update", "atomic", "filters", "sparse",
               "one_file_system", "force", "existing", "ignore_existing", "omit_dir_times",
               "omit_link_times", "atimes", "executability", "backup", "mkpath", "window_s", "acls", "xattrs")
# Digests differ now and then: what changed then is told by short prints first.
PRINT_LEN = 2


class Dir:
    """A directory whose entries or content are awaited."""

    def __init__(self, path, own=None, complete=True, length=PRINT_LEN):
        self.path, self.own, self.complete, self.length = path, own, complete, length
        self.entries, self.unmatched, self.wanted, self.is_new = [], [], set(), own is None


class Receiver:
    def __init__(self, log, *coarse):
        self.log, self.coarse = log, [os.fsencode(path) for path in coarse]
        self.link = wire.Link(sys.stdin.buffer, sys.stdout.buffer, "ToSender", "ToReceiver")
        self.link.greet()

    def serve(self):
        while (frame := self.link.next()) is not None:
            if frame[1].of != "Ping":
                self.hello(frame[1])
                self.push()

    def hello(self, hello):
        self.options = options = hello["options"]
        wrong = [name for name in UNSUPPORTED if options[name]]
        if wrong or hello["claim"] or hello["accounts"] or options["quick_check"].of != "Times" \
                or options["super_user"].of != "IfRoot":
            self.link.say("Fatal", kind="Usage", message=f"not here: {wrong}")
            self.link.writer.flush()
            sys.exit(1)
        self.root, rename = hello["destination"], None
        if hello["single"] and not os.path.isdir(self.root):
            self.root, rename = os.path.split(self.root)
        self.is_made = not os.path.isdir(self.root)
        if self.is_made:
            os.mkdir(self.root)
        is_root = os.geteuid() == 0
        groups = [] if is_root else [{"id": gid, "name": None} for gid in os.getgroups()]
        store = {"granularity_ns": 1, "min_secs": -1 << 63, "max_secs": (1 << 63) - 1}
        coarse = {"time_store": {**store, "granularity_ns": 2 * 10**9}, "lost": PERMS, "lost_xattrs": 0}
        mounted = [{"path": path, **coarse} for path in self.coarse]
        reply = {"owners": is_root, "devices": is_root, "setuid": True, "xattrs": 0, "settable_groups": groups,
                 "time_store": store, "lost": 0, "lost_xattrs": 0, "mounted": mounted, "len_max": 1 << 62, "rename": rename,
                 "created_root": self.is_made, "runs": False, "accounts": []}
        self.link.say("HelloReply", **reply)
        self.ids = tree.Ids()
        self.fields = tree.Fields(options, reply, hello["digest_key"], self.ids.sender)
        self.next_index, self.told, self.trail = 0, 0, []
        self.dirs, self.lacking, self.announced = {}, [], {}
        self.times, self.kept, self.others = {}, {}, {}
        self.doomed, self.incoming = [], None
        self.heard = {"entries": 0, "new directories": 0, "files": 0}

    def push(self):
        while True:
            if self.told != self.next_index:
                self.told = self.next_index
                self.link.say("Compared", below=self.told)
            frame = self.link.next()
            if frame is None:
                raise ValueError("the sender left within a push")
            kind, message = frame
            if kind == wire.MESSAGE:
                getattr(self, "on_" + message.of)(**message)
                if message.of == "ContentDone":
                    return
            elif kind == wire.PACK:
                dir_index, files = wire.unpack_files(message, blake3)
                for number, time, content in files:
                    meta = {"mtime": time} if time else {}
                    self.place_file(dir_index, number, meta, content)
            elif kind == wire.DATA:
                wire.apply_ops(message, *self.incoming[-2:])

    def on_Ping(self, done, flushing):
        pass

    def on_Id(self, kind, id, name):
        self.ids.announce(kind.of, id, name)

    def at(self, *parts):
        return os.path.join(self.root, *parts)

    def on_RootEntry(self, entry):
        own = tree.examine(self.root)
        differences = NEW if self.is_made else self.compare(b"", entry, own)
        self.set(b"", entry)
        self.times[b""] = entry
        verdict = {"entry": 0, "action": "Attributes", "differences": differences,
                   "want": "Nothing"}
        self.link.say("Verdicts", dir=0, verdicts=[verdict] if differences else [], last=True)

    def on_Dir(self, skipped, up, shared, rest, digest, complete):
        index = self.next_index + skipped
        self.next_index = index + 1
        if index == 0:
            path = b""
        else:
            name = os.path.basename(self.trail[-1])[:shared] + rest
            self.trail = self.trail[:len(self.trail) - up]
            path = os.path.join(self.trail[-1], name)
        self.trail.append(path)
        if any(path.startswith(top + b"/") for top in self.lacking):
            return
        if not os.path.isdir(self.at(path)) or os.path.islink(self.at(path)):
            self.lacking.append(path)
            self.dirs[index] = Dir(path)
            self.link.say("Lacks", dir=index)
            return
        own = tree.read(self.at(path))
        if self.fields.digest(path, own) != digest:
            one = self.dirs[index] = Dir(path, own, complete)
            self.kept[path] = os.lstat(self.at(path)).st_mtime_ns
            self.say_prints(index, one)

    def on_OtherDir(self, dir, meta):
        path = self.dirs[dir].path if dir in self.dirs else self.trail[-1]
        self.others[path] = {"body": wire.Message("Dir"), **meta}

    def say_prints(self, index, one):
        prints = b"".join(self.fields.print_of(one.path, entry)[:one.length] for entry in one.own)
        self.link.say("Differs", dir=index, print_len=one.length, prints=prints, last=True)

    def on_Entries(self, dir, entries, last, unmatched, matched):
        one = self.dirs[dir]
        self.heard["entries"] += len(entries)
        one.entries += entries
        one.unmatched += unmatched
        if not last:
            return
        told = set(one.unmatched)
        known = [self.fields.print_of(one.path, entry)
                 for at, entry in enumerate(one.own) if at not in told]
        if tree.total(known) != matched:
            again = self.dirs[dir] = Dir(one.path, one.own, one.complete, 8)
            self.say_prints(dir, again)
            return
        names = {entry["name"] for entry in one.entries}
        for at in one.unmatched:
            if one.own[at]["name"] not in names and one.complete and self.options["delete"]:
                self.doomed.append(os.path.join(one.path, one.own[at]["name"]))
        own = {entry["name"]: entry for entry in one.own}
        verdicts = []
        for number, entry in enumerate(one.entries):
            verdict = self.judge(one, number, entry, own.get(entry["name"]))
            if verdict:
                verdicts.append({"entry": number, **verdict})
        self.link.say("Verdicts", dir=dir, verdicts=verdicts, last=True)

    def compare(self, path, entry, own):
        """The bits of what differs of two entries of one kind."""
        options, found = self.options, 0
        store, lost = self.fields.place(path)
        body = entry["body"]
        if body.of == "File" and body["len"] != own["body"]["len"]:
            found |= SIZE
        elif body.of != "File" and body != own["body"]:
            found |= CONTENT
        times = [self.fields.stored(one["mtime"], store) for one in (entry, own)]
        if options["times"] and times[0] != times[1]:
            found |= TIME
        if options["perms"] and body.of != "Symlink" and entry["mode"] != own["mode"]:
            found |= PERMS
        if options["owner"] and os.geteuid() == 0:
            found |= OWNER * (self.ids.local("User", entry["uid"]) != own["uid"])
        if options["group"]:
            found |= GROUP * (self.ids.local("Group", entry["gid"]) != own["gid"])
        return found & ~lost

    def judge(self, one, number, entry, own):
        """The verdict on an entry; what needs no content is done at once."""
        path, body = os.path.join(one.path, entry["name"]), entry["body"]
        if body.of == "Unmirrored":
            return None
        differences = NEW
        if own and own["body"].of == body.of:
            differences = self.compare(path, entry, own)
            if not differences:
                return None
            is_content = SIZE | CONTENT | (TIME if body.of == "File" else 0)
            if not differences & is_content:
                self.set(path, entry)
                if tree.is_dir(entry):
                    self.times[path] = entry
                return {"action": "Attributes", "differences": differences, "want": "Nothing"}
        if body.of == "File":
            one.wanted.add(number)
            return {"action": "Transfer", "differences": differences, "want": "Whole"}
        self.make(path, entry)
        return {"action": "Create", "differences": differences, "want": "Nothing"}

    def make(self, path, entry):
        """Makes what has no content; a directory is only noted, since `NewDir` follows."""
        place, body = self.at(path), entry["body"]
        self.clear(place)
        if body.of == "Dir":
            self.announced[path] = entry
            return
        if body.of == "Symlink":
            os.symlink(body["target"], place)
        else:
            kind = {"Fifo": stat.S_IFIFO, "Socket": stat.S_IFSOCK, "CharDevice": stat.S_IFCHR,
                    "BlockDevice": stat.S_IFBLK}[body.of]
            os.mknod(place, kind | 0o600, body.get("rdev", 0))
        self.set(path, entry)

    def clear(self, place):
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        elif os.path.lexists(place):
            os.unlink(place)

    def set(self, path, entry, place=None):
        """Sets the metadata of what is to be at `path`, and is at `place` until then."""
        options, is_link = self.options, entry["body"].of == "Symlink"
        store, lost = self.fields.place(path)
        place = place or self.at(path)
        uid = self.ids.local("User", entry["uid"]) if options["owner"] and os.geteuid() == 0 else -1
        gid = self.ids.local("Group", entry["gid"]) if options["group"] else -1
        os.chown(place, uid, gid, follow_symlinks=False)
        if options["perms"] and not is_link and not lost & PERMS:
            os.chmod(place, entry["mode"])
        if options["times"]:
            secs, nanos = self.fields.stored(entry["mtime"], store)
            time = secs * 10**9 + nanos
            os.utime(place, ns=(time, time), follow_symlinks=False)

    def on_NewDir(self, dir, parent, name, entries, last):
        one = self.dirs.get(dir)
        if one is None:
            one = self.dirs[dir] = Dir(os.path.join(self.dirs[parent].path, name))
        if one.path in self.announced:
            os.mkdir(self.at(one.path), 0o700)
            self.times[one.path] = self.announced.pop(one.path)
        self.heard["new directories"] += last
        self.heard["entries"] += len(entries)
        first = len(one.entries)
        one.entries += entries
        for number, entry in enumerate(entries, first):
            if entry["body"].of == "File":
                one.wanted.add(number)
            elif entry["body"].of != "Unmirrored":
                self.make(os.path.join(one.path, entry["name"]), entry)

    def on_NewDirDone(self, dir):
        if self.dirs[dir].wanted:
            raise ValueError("the end of a directory before its content")

    def on_FileBegin(self, dir, entry, len, since):
        meta = since["meta"] if since.of == "Other" else since
        self.incoming = dir, entry, meta, bytearray(), []

    def on_FileEnd(self, sum):
        dir_index, number, meta, content, holes = self.incoming
        self.incoming = None
        if sum is None:
            return
        if wire.file_sum(content, holes, blake3) != sum:
            raise ValueError("a file that has not its sum")
        self.place_file(dir_index, number, meta, content)

    def on_FileSkipped(self, dir, entry):
        self.dirs[dir].wanted.remove(entry)

    def place_file(self, dir_index, number, meta, content):
        one = self.dirs[dir_index]
        one.wanted.remove(number)
        entry = one.entries[number]
        place = self.at(one.path, entry["name"])
        staged = self.at(one.path, b".hasync")
        with open(staged, "wb") as file:
            file.write(content)
        self.heard["files"] += 1
        path = os.path.join(one.path, entry["name"])
        self.set(path, {**entry, **meta}, staged)
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        os.rename(staged, place)

    def on_ContentDone(self, deletable, problems):
        awaited = [one.path for one in self.dirs.values() if one.wanted]
        if awaited or self.incoming:
            raise ValueError(f"the end before the content of {awaited}")
        for path in self.doomed if deletable else []:
            self.delete(path)
        for path, entry in self.announced.items():
            os.mkdir(self.at(path), 0o700)
            self.times[path] = entry
        self.times |= self.others
        # Each after what is below it.
        for path in sorted({*self.times, *self.kept}, reverse=True):
            if path in self.times:
                self.set(path, self.times[path])
            elif os.path.isdir(self.at(path)):
                os.utime(self.at(path), ns=(self.kept[path],) * 2)
        with open(self.log, "a", encoding="ascii") as log:
            log.write(", ".join(f"{what} {count}" for what, count in self.heard.items()) + "\n")
        if self.options["fsync"]:
            os.sync()
        self.link.say("Done", starved=0, durable=self.options["fsync"], sealed=None)
        self.link.writer.flush()

    def delete(self, path):
        entry = tree.examine(self.at(path))
        if tree.is_dir(entry):
            for below in tree.read(self.at(path)):
                self.delete(os.path.join(path, below["name"]))
        self.link.say("Deleted", path=path, kind=tree.KINDS[entry["body"].of])
        self.clear(self.at(path))


if __name__ == "__main__":
    Receiver(*sys.argv[1:]).serve()
