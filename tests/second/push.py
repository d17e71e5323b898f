"""Pushes a tree to `hasync serve`: the sender of sections 6 and 7 of PROTOCOL.md.

    push.py SOURCE DESTINATION PROGRAM...

makes DESTINATION, as PROGRAM with its arguments sees it, equal to SOURCE, and tells how many
entries and files it sent.
"""

import os
import queue
import subprocess
import sys
import threading

import tree
import wire
from blake3 import blake3

PACKED_LEN_MAX = 64 * 1024
ENTRIES_MAX = 100

OPTIONS = {
    **{name: True for name in ("recursive", "implied_dirs", "links", "perms", "times", "owner", "group", "devices",
                               "specials", "delete", "numeric_ids", "fsync")},
    **{name: False for name in ("hard_links", "sparse", "dry_run", "checksum", "update",
                                "whole_file", "one_file_system", "atomic", "force",
                                "ignore_errors", "mkpath", "existing", "ignore_existing",
                                "omit_dir_times", "omit_link_times", "delete_missing",
                                "keep_dirlinks", "safe_links", "acls", "xattrs", "atimes",
                                "executability")},
    "max_delete": None, "brake": None, "quick_check": wire.Message("Times"), "window_s": None,
    "backup": None, "super_user": wire.Message("IfRoot"),
    "filters": [], "timeout_ms": 0,
}


class Dir:
    def __init__(self, index, parent, path, entries):
        self.index, self.parent, self.path, self.entries = index, parent, path, entries
        self.prints, self.sent, self.verdicts = [], None, []
        self.is_settled = self.is_new = False


class Sender:
    def __init__(self, source, destination, program):
        self.source = os.fsencode(source)
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.link = wire.Link(child.stdout, child.stdin, "ToReceiver", "ToSender")
        self.child, self.files, self.unsettled, self.lacking = child, 0, {}, []
        key = os.urandom(32)
        self.link.say("Hello", options=OPTIONS, destination=os.fsencode(destination), single=False,
                      digest_key=key, claim=None,
                      whereabouts={"machine": bytes(16), "dirs": []}, readable=0,
                      accounts=[])
        child.stdin.flush()
        self.link.greet()
        _, reply = self.link.next()
        self.fields = tree.Fields(OPTIONS, reply, key)
        self.deletable, self.root_is_judged = True, False

    def run(self):
        self.link.say("RootEntry", entry={**tree.examine(self.source), "name": b"root"})
        self.dirs = []
        self.scan(b"", 0)
        self.announce()
        # Whatever the peer says is taken at once, so that neither half waits for the other to read.
        self.heard = queue.SimpleQueue()
        threading.Thread(target=self.listen, daemon=True).start()
        self.link.writer.flush()
        while not all(one.is_settled for one in self.dirs) or self.unsettled or self.lacking \
                or not self.root_is_judged:
            self.handle()
        problems = {"count": 0, "lines": []}
        self.link.say("ContentDone", deletable=self.deletable, problems=problems)
        self.link.writer.flush()
        while self.handle() != "Done":
            pass
        self.child.stdin.close()
        return self.child.wait()

    def listen(self):
        try:
            while (frame := self.link.next_only()) is not None:
                self.heard.put(frame)
            self.heard.put(ValueError("the peer left"))
        except Exception as error:
            self.heard.put(error)

    def scan(self, path, parent):
        """Numbers the directories in canonical order; leaves out what the receiver does not set."""
        entries = tree.read(os.path.join(self.source, path))
        for entry in entries:
            body = entry["body"]
            if "rdev" in body and not self.fields.reply["devices"]:
                entry["body"] = wire.Message("Unmirrored", kind="Device")
            if not tree.is_dir(entry) and not self.fields.reply["setuid"]:
                entry["mode"] &= ~0o6000
        one = Dir(len(self.dirs), parent, path, entries)
        self.dirs.append(one)
        for entry in entries:
            if tree.is_dir(entry):
                self.scan(os.path.join(path, entry["name"]), one.index)

    def announce(self):
        before = None
        for one in self.dirs:
            name, up, shared = os.path.basename(one.path), 0, 0
            if one.index > 0:
                up = depth(before) + 1 - depth(one.path)
                shared = len(os.path.commonprefix([os.path.basename(before), name]))
            before = one.path
            self.link.say("Dir", skipped=0, up=up, shared=shared, rest=name[shared:],
                          digest=self.fields.digest(one.path, one.entries), complete=True)

    def handle(self):
        frame = self.heard.get()
        if isinstance(frame, Exception):
            raise frame
        kind, message = frame
        if kind == wire.EXCHANGE:
            # Whatever the basis is, the whole file does.
            at = int.from_bytes(message[:8], "little"), int.from_bytes(message[8:12], "little")
            if self.unsettled.get(at) == "described":
                self.unsettled[at] = "sent"
                self.send_file(*at)
        else:
            getattr(self, "on_" + message.of, print)(message)
        self.link.writer.flush()
        return message.of if kind == wire.MESSAGE else None

    def on_Ping(self, message):
        pass

    on_Deleted = on_Done = on_Ping

    def on_Warning(self, message):
        sys.stderr.write(f"{message['message']!r}\n")

    def on_Compared(self, message):
        for one in self.dirs[:message["below"]]:
            if one.sent is None and not one.prints:
                one.is_settled = True

    def on_Differs(self, message):
        one = self.dirs[message["dir"]]
        length = message["print_len"]
        if one.sent is not None:
            one.prints, one.sent = [], None
        prints = message["prints"]
        one.prints += [prints[at:at + length] for at in range(0, len(prints), length)]
        if message["last"]:
            self.answer(one, length)

    def answer(self, one, length):
        ours = [self.fields.print_of(one.path, entry) for entry in one.entries]
        theirs = set(one.prints)
        is_known = [entry["body"].of != "Unmirrored" and full[:length] in theirs
                    for entry, full in zip(one.entries, ours)]
        known = [full for full, yes in zip(ours, is_known) if yes]
        one.sent = [entry for entry, yes in zip(one.entries, is_known) if not yes]
        cut = {full[:length] for full in known}
        unmatched = [at for at, told in enumerate(one.prints) if told not in cut]
        matched = tree.total(known)
        for at in range(0, len(one.sent), ENTRIES_MAX):
            self.link.say("Entries", dir=one.index, entries=one.sent[at:at + ENTRIES_MAX],
                          last=False, unmatched=[], matched=matched)
        self.link.say("Entries", dir=one.index, entries=[], last=True, unmatched=unmatched,
                      matched=matched)

    def on_Verdicts(self, message):
        one = self.dirs[message["dir"]]
        if one.index == 0 and not self.root_is_judged:
            self.root_is_judged = True
            return
        one.verdicts += message["verdicts"]
        if not message["last"]:
            return
        one.is_settled = True
        for verdict in one.verdicts:
            at = one.index, verdict["entry"]
            if verdict["want"].of == "Delta":
                self.unsettled[at] = "described"
            elif verdict["want"].of == "Whole":
                self.send_file(*at)
        waiting = [top for top in self.lacking if top.parent == one.index]
        self.lacking = [top for top in self.lacking if top.parent != one.index]
        for top in waiting:
            self.send_new(top)

    def on_Lacks(self, message):
        top = self.dirs[message["dir"]]
        for one in self.below(top):
            one.is_new = one.is_settled = True
        above = self.dirs[top.parent]
        if not above.is_settled and (above.prints or above.sent is not None):
            self.lacking.append(top)
        else:
            self.send_new(top)

    def below(self, top):
        inside = top.path + b"/"
        return [one for one in self.dirs[top.index:]
                if one is top or one.path.startswith(inside)]

    def send_new(self, top):
        for one in self.below(top):
            parts = [one.entries[at:at + ENTRIES_MAX]
                     for at in range(0, len(one.entries), ENTRIES_MAX)] or [[]]
            for number, part in enumerate(parts):
                self.link.say("NewDir", dir=one.index, parent=one.parent,
                              name=os.path.basename(one.path), entries=part,
                              last=number == len(parts) - 1)
            one.sent = one.entries
            for number, entry in enumerate(one.entries):
                if entry["body"].of == "File":
                    self.send_file(one.index, number)
            self.link.say("NewDirDone", dir=one.index)

    def on_Again(self, message):
        at = message["dir"], message["entry"]
        del self.unsettled[at]
        self.send_file(*at)

    def on_Settled(self, message):
        self.unsettled.pop((message["dir"], message["entry"]), None)

    def send_file(self, dir_index, number):
        one = self.dirs[dir_index]
        path = os.path.join(self.source, one.path, one.sent[number]["name"])
        with open(path, "rb") as file:
            content = file.read()
        self.files += 1
        is_whole = (dir_index, number) not in self.unsettled
        if is_whole and len(content) <= PACKED_LEN_MAX:
            pack = wire.pack_files(dir_index, [(number, content)], blake3)
            self.link.put(wire.PACK, pack)
            return
        self.link.say("FileBegin", dir=dir_index, entry=number, len=len(content), since="Same")
        for ops in wire.literal_ops(content):
            self.link.put(wire.DATA, ops)
        self.link.say("FileEnd", sum=blake3(content))


def depth(path):
    return len(path.split(b"/")) if path else 0


def main(source, destination, *program):
    sender = Sender(source, destination, program)
    code = sender.run()
    said = sender.link.said
    entries = sum(len(one.sent or []) for one in sender.dirs)
    print(f"entries {entries}, new directories {said.get('NewDir', 0)}, files {sender.files}")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
