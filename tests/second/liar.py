"""A peer that lies in ways that no half of this project could be made to, since it builds each word
from PROTOCOL.md alone.

    liar.py list                     names the lies of a receiver
    liar.py receiver LIE             plays one of them on standard input and output
    liar.py senders DESTINATION PROGRAM...

plays all lies of a sender to PROGRAM, which receives on its standard input and output, and tells
of each the exit code of PROGRAM, its peak memory in KiB, and whether it saw through the lie or
saw no more than its early end. What does not end is killed.
"""

import copy
import os
import subprocess
import sys
import threading
import time

import push
import wire
from blake3 import blake3

# Longer than any lie may be listened to.
DEADLINE_S = 600
# Its last words, which say what it refused, are not longer than this.
LAST_WORDS_LEN = 4096
EARLY_END = b"closed the connection"
# Where nothing is wrong but an early end: behind what is allowed in any number, or is passed over.
NO_MORE = {"links without end", "half closed", "cut within a frame", "a byte at a time", "entries without end",
           "attributes without end", "an ACL where none was asked for"}

TIME = {"secs": 1, "nanos": 0}
HUGE = (1 << 64) - 1
ODD_NAMES = [b"", b".", b"..", b"a/b", b"/", b"a\0b", b".hasync", b".HASYNC", b"n" * 1024]


def entry(name, body="File", **more):
    if body == "File":
        body = wire.Message("File", len=3, sum=None)
    return {"name": name, "mode": 0o644, "uid": 0, "gid": 0, "mtime": TIME, "atime": None,
            "body": body, "link_to": None, "attributes": b"", **more}


class Receiving:
    """A receiver that a lie is played to: its words are read, and thrown away."""

    def __init__(self, destination, program, options):
        self.child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
        self.link = wire.Link(self.child.stdout, self.child.stdin, "ToReceiver", "ToSender")
        self.options, self.destination = {**copy.deepcopy(push.OPTIONS), **options}, destination
        self.heard, self.listener = b"", None
        self.alarm = threading.Timer(DEADLINE_S, self.child.kill)
        self.alarm.start()

    def hello(self, **more):
        hello = {"options": self.options, "destination": os.fsencode(self.destination),
                 "single": False, "digest_key": bytes(32), "claim": None,
                 "whereabouts": {"machine": bytes(16), "dirs": []}, "readable": 0, "accounts": []}
        self.link.say("Hello", **{**hello, **more})
        self.link.writer.flush()

    def begin(self):
        self.hello()
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.dir(b"")

    def listen(self):
        try:
            while words := self.child.stdout.read1(1 << 16):
                self.heard = (self.heard + words)[-LAST_WORDS_LEN:]
        except (OSError, ValueError):
            pass

    def dir(self, rest, up=0, **more):
        self.link.say("Dir", **{"skipped": 0, "up": up, "shared": 0, "rest": rest,
                                "digest": bytes(8), "complete": True, **more})

    def entries(self, entries, last=False, unmatched=(), dir=0):
        self.link.say("Entries", dir=dir, entries=entries, last=last, unmatched=list(unmatched),
                      matched=bytes(8))

    def judged(self, entries, **more):
        """Said again by the whole prints that the receiver asks for, since those of before do not
        add up."""
        for _ in range(2):
            self.entries(entries, last=True, **more)

    def new_dir(self, index, name, entries, parent=0, last=True):
        self.link.say("NewDir", dir=index, parent=parent, name=name, entries=entries, last=last)

    def raw(self, payload, kind=wire.MESSAGE):
        self.link.put(kind, payload)

    def end(self):
        self.link.say("ContentDone", deletable=True, problems={"count": 0, "lines": []})

    def has_left(self, within_s):
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.01)

    def play(self, lie):
        """Its exit code and peak memory, once it has left, and whether it saw an early end alone."""
        try:
            lie(self)
            if not self.child.stdin.closed:
                self.link.writer.flush()
                # Whoever sees through it does so without its end.
                self.has_left(3)
                self.child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass
        _, status, used = os.wait4(self.child.pid, 0)
        self.alarm.cancel()
        if self.listener is not None:
            self.listener.join()
        elif not self.child.stdout.closed:
            self.listen()
        is_blind = EARLY_END in self.heard
        return os.waitstatus_to_exitcode(status), used.ru_maxrss, is_blind


def many(count, say):
    def lie(far):
        far.begin()
        for number in range(count):
            say(far, number)
    return lie


def begun(say):
    return many(1, lambda far, _: say(far))


def odd_name(name):
    def lie(far):
        far.begin()
        far.entries([entry(name)], last=True)
    return lie


def half_closed(far):
    far.hello()
    far.child.stdin.close()


def nobody_listens(far):
    far.hello()
    far.child.stdout.close()
    far.dir(b"")
    for number in range(100_000):
        far.dir(b"%06d" % number, up=min(number, 1))


def cut_within(far):
    far.begin()
    far.link.writer.write(b"\xff\xff\x0f\x00" + b"x" * 1000)


def a_byte_at_a_time(far):
    """Whoever says little and often says nothing wrong, until the end comes too early."""
    far.begin()
    for byte in b"\x00\x00\x08\x00" + bytes(200):
        far.link.writer.write(bytes([byte]))
        far.link.writer.flush()


def new_tree(far, *entries, last=True):
    far.begin()
    far.dir(b"new")
    far.judged([entry(b"new", wire.Message("Dir"))])
    far.new_dir(1, b"new", list(entries), last=last)


def mapped(far):
    for number in range(1, 1_060_000):
        far.raw(b"\x10\0" + b"\xfc" + number.to_bytes(4, "little") + b"\7")


def positions(far):
    numbers = b"".join(b"\xfc" + number.to_bytes(4, "little") for number in range(200_000))
    for _ in range(80):
        # Entries of directory 0, none, not the last; so many positions; the sum.
        far.raw(b"\4\0\0\0" + wire.encode("uint", 200_000) + numbers + bytes(8))


def content(far, ops, length=3, **begin):
    new_tree(far, entry(b"file"))
    far.link.say("FileBegin", **{"dir": 1, "entry": 0, "len": length, "since": "Same", **begin})
    for payload in ops:
        far.raw(payload, wire.DATA)
    far.link.say("FileEnd", sum=bytes(32))


def twice(far):
    new_tree(far, entry(b"file"))
    pack = wire.pack_files(1, [(0, b"one")], blake3)
    far.raw(pack, wire.PACK)
    far.raw(pack, wire.PACK)


def new_dir_twice(far):
    for _ in range(2):
        new_tree(far)
        far.link.say("NewDirDone", dir=1)


def after_the_end(far):
    far.begin()
    far.entries([], last=True)
    far.end()
    far.end()
    far.dir(b"more")


def later(numbers):
    def lie(far):
        new_tree(far, entry(b"a"), entry(b"b"))
        far.link.say("Later", dir=1, entries=numbers)
        far.link.say("NewDirDone", dir=1)
        far.end()
    return lie


def deep(far):
    far.begin()
    for _ in range(200_000):
        far.dir(b"d")


def deep_and_new(far):
    # Each level is made before the next: with longer names the longest path is there sooner.
    name = b"d" * 20
    new_tree(far, entry(name, wire.Message("Dir")))
    far.link.say("NewDirDone", dir=1)
    for index in range(2, 100_000):
        far.new_dir(index, name, [entry(name, wire.Message("Dir"))], parent=index - 1)
        far.link.say("NewDirDone", dir=index)


def accounts(far):
    far.hello(accounts=[{"kind": "User", "name": "n%d" % number} for number in range(90_000)])


def filters(count):
    rule = wire.Message("Pattern", sense="Exclude", side="Both", negated=False, perishable=False,
                        subject="Path", text=b"*")

    def lie(far):
        far.options["filters"] = [rule] * count
        far.begin()
    return lie


def backup(dir, suffix):
    def lie(far):
        place = wire.Message("Below", dir=dir) if dir else wire.Message("Beside")
        far.options["backup"] = {"place": place, "suffix": suffix}
        far.begin()
    return lie


LONG = b"/".join([b"a" * 250] * 250)
ATTRIBUTES = b"".join((3).to_bytes(2, "little") + (65_000).to_bytes(4, "little")
                      + bytes([8]) + b"user.n%02d" % number + bytes(65_000 - 9)
                      for number in range(10))
ACL = (1).to_bytes(2, "little") + (7).to_bytes(4, "little") + b"\7\1\7\0\0\0\0"

# Each with the options that differ. Where a lie is no more than an early end, that is the refusal.
SENDER_LIES = {
    "half closed": half_closed,
    "nobody listens": nobody_listens,
    "cut within a frame": cut_within,
    "a byte at a time": a_byte_at_a_time,
    "frames of nothing": many(200_000, lambda far, _: far.raw(b"")),
    "data of nothing": many(200_000, lambda far, _: far.raw(b"", wire.DATA)),
    "packs of nothing": many(1000, lambda far, _: far.raw(b"", wire.PACK)),
    "exchanges of nothing": many(1000, lambda far, _: far.raw(bytes(13), wire.EXCHANGE)),
    "a directory twice": many(2, lambda far, at: far.dir(b"same", min(at, 1))),
    "directories backwards": many(300, lambda far, at: far.dir(b"%03d" % (300 - at), min(at, 1))),
    "directories without end":
        many(300_000, lambda far, at: far.dir(b"%06d" % at + b"x" * 240, min(at, 1))),
    "deeper and deeper": deep,
    "new ones, deeper and deeper": deep_and_new,
    "a new directory twice": new_dir_twice,
    "entries without end":
        many(60, lambda far, at: far.entries([entry(b"%07d" % (at * 1000 + n) + b"x" * 900)
                                              for n in range(1000)])),
    "attributes without end":
        many(100, lambda far, at: far.entries([entry(b"%03d" % at, attributes=ATTRIBUTES)])),
    "an ACL where none was asked for":
        begun(lambda far: far.entries([entry(b"a", attributes=ACL)], last=True)),
    "positions without end": begun(positions),
    "prints that are not there": begun(lambda far: far.judged([], unmatched=[4_000_000_000])),
    "links without end":
        lambda far: (new_tree(far, last=False),
                     [far.new_dir(1, b"new", [entry(b"%05d" % at, link_to=LONG)], last=False)
                      for at in range(500)]),
    "a link out of the tree":
        lambda far: new_tree(far, entry(b"a", link_to=b"../../etc/shadow")),
    "a link to itself": lambda far: new_tree(far, entry(b"a", link_to=b"new/a")),
    "a link forward": lambda far: new_tree(far, entry(b"a", link_to=b"new/b"), entry(b"b")),
    "a link to what it is in": lambda far: new_tree(far, entry(b"a", link_to=b"new")),
    "positions backwards": begun(lambda far: far.entries([], unmatched=[1, 0])),
    "an owner who is none": begun(lambda far: far.entries([entry(b"a", uid=(1 << 32) - 1)])),
    "a group that is none": lambda far: new_tree(far, entry(b"a", gid=(1 << 32) - 1)),
    "a name of root": begun(lambda far: far.link.say("Id", kind="User", id=0, name=b"toor")),
    "a name of nobody": begun(lambda far: far.link.say("Id", kind="User", id=7, name=b"")),
    "a name of two lines": begun(lambda far: far.link.say("Id", kind="Group", id=7, name=b"a\nb")),
    "mapped to nobody": begun(lambda far: far.link.say(
        "MappedId", kind="User", id=7, becomes=(1 << 32) - 1)),
    "mapped without end": begun(mapped),
    "names of too many accounts": accounts,
    "filters without end": filters(66_000),
    "backups outside": backup(b"../../out", b""),
    "backups in place": backup(None, b""),
    "backups in pieces": backup(None, b"/../../x"),
    "a second root": many(2, lambda far, _: (
        far.link.say("RootEntry", entry=entry(b"r", wire.Message("Dir"))))),
    "content of nobody": begun(lambda far: far.raw(wire.pack_files(0, [(0, b"x")], blake3), 1)),
    "content of a directory": lambda far: (
        new_tree(far, entry(b"d", wire.Message("Dir"))),
        far.raw(wire.pack_files(1, [(0, b"x")], blake3), wire.PACK)),
    "content twice": twice,
    "zeros without end": lambda far: content(far, [wire.leb128((1 << 62) + 2)], HUGE),
    "a hole without end": lambda far: content(far, [wire.leb128((1 << 62) + 3)], HUGE),
    "longer than announced": lambda far: content(far, [wire.leb128(4 * 9) + b"nine byte"]),
    "a copy of nothing": lambda far: content(far, [wire.leb128(4 * 9 + 1) + b"\0"], 9),
    "ops that end within": lambda far: content(far, [b"\xff\xff"]),
    "a literal without end": lambda far: content(far, [wire.leb128(4 * (1 << 40))]),
    "a sum that is not so": lambda far: content(far, [wire.leb128(12) + b"abc"]),
    "nanoseconds beyond the second": lambda far: content(
        far, [], since=wire.Message("Touched", mtime={"secs": 0, "nanos": 10**9})),
    "content of entry four billion": lambda far: content(far, [], entry=(1 << 32) - 1),
    "content of directory 2^64": lambda far: content(far, [], dir=HUGE),
    "later, backwards": later([1, 0]),
    "later, twice": later([0, 0]),
    "later, and never": later([0, 1]),
    "the end at once": begun(lambda far: far.end()),
    "words after the end": after_the_end,
    "a choice that is none": begun(lambda far: far.raw(b"\xfa")),
    "a list without end": begun(lambda far: far.raw(b"\4\0\xfd" + b"\xff" * 8)),
    **{f"the name {name[:20]!r}": odd_name(name) for name in ODD_NAMES},
}

OPTIONS = {
    "links without end": {"hard_links": True},
    "a link out of the tree": {"hard_links": True},
    "a link to itself": {"hard_links": True},
    "a link forward": {"hard_links": True},
    "a link to what it is in": {"hard_links": True},
    "attributes without end": {"xattrs": True},
    "mapped without end": {"numeric_ids": False},
}


def play_senders(destination, program):
    for name, lie in SENDER_LIES.items():
        far = Receiving(destination, program, OPTIONS.get(name, {}))
        code, kib, is_blind = far.play(lie)
        seen = "early end" if is_blind and name not in NO_MORE else "seen through"
        print(f"{name}\t{code}\t{kib}\t{seen}", flush=True)


REPLY = {"owners": True, "devices": True, "setuid": True, "xattrs": 0, "settable_groups": [],
         "time_store": {"granularity_ns": 1, "min_secs": -1 << 40, "max_secs": 1 << 40},
         "lost": 0, "lost_xattrs": 0, "mounted": [], "len_max": 1 << 62, "rename": None,
         "created_root": False, "runs": False, "accounts": []}


class Sending:
    """A sender that a lie is played to."""

    def __init__(self):
        self.link = wire.Link(sys.stdin.buffer, sys.stdout.buffer, "ToSender", "ToReceiver")
        self.link.greet()
        self.link.next()

    def reply(self, **more):
        self.link.say("HelloReply", **{**REPLY, **more})

    def differs(self, dir=0, print_len=8, prints=b"", last=True):
        self.link.say("Differs", dir=dir, print_len=print_len, prints=prints, last=last)

    def verdicts(self, *verdicts, dir=0, last=True):
        of = {"action": "Transfer", "differences": 1, "want": "Whole"}
        self.link.say("Verdicts", dir=dir, last=last,
                      verdicts=[{**of, **verdict} for verdict in verdicts])

    def hear(self, *kinds):
        """Reads on to the first message of these kinds."""
        while (frame := self.link.next()) is not None:
            if frame[0] == wire.MESSAGE and frame[1].of in kinds:
                return frame[1]
        raise BrokenPipeError

    def compared(self):
        """The root differs in all its entries, and the sender has said them."""
        self.reply()
        self.root()
        while not self.hear("Entries")["last"]:
            pass

    def root(self):
        if self.hear("Dir", "RootEntry").of == "RootEntry":
            self.verdicts()
            self.hear("Dir")
        self.differs()


def told(say):
    def lie(far):
        far.reply()
        far.root()
        say(far)
    return lie


def after_entries(say):
    def lie(far):
        far.compared()
        say(far)
    return lie


def at_end(say):
    """After all else has been said, and nothing was asked for."""
    def lie(far):
        far.compared()
        far.verdicts()
        far.link.say("Compared", below=1)
        far.link.writer.flush()
        far.hear("ContentDone")
        say(far)
    return lie


def without_end(say):
    def lie(far):
        for _ in range(1 << 20):
            say(far)
    return lie


RECEIVER_LIES = {
    "groups without end": lambda far: far.reply(settable_groups=[{"id": 7, "name": None}] * 90_000),
    "accounts that nobody asked for": lambda far: far.reply(accounts=[1, 2, 3]),
    "a name that leads out": lambda far: far.reply(rename=b"../x"),
    "steps of no time": lambda far: far.reply(
        time_store={"granularity_ns": 0, "min_secs": 0, "max_secs": 1}),
    "losses that are none": lambda far: far.reply(lost=0xffff),
    "mounts without end": lambda far: far.reply(
        mounted=[{"path": b"%05d" % at, "time_store": REPLY["time_store"], "lost": 0,
                  "lost_xattrs": 0} for at in range(2000)]),
    "another name for many": lambda far: far.reply(rename=b"x"),
    "steps of seven": lambda far: far.reply(
        time_store={"granularity_ns": 7, "min_secs": 0, "max_secs": 1}),
    "a second reply": lambda far: without_end(lambda far: far.reply())(far),
    "compared before it was told": lambda far: (
        far.reply(), far.link.say("Compared", below=HUGE)),
    "a directory that is not": told(lambda far: far.differs(dir=HUGE)),
    "prints of no length": told(lambda far: far.differs(print_len=0, prints=b"x")),
    "prints of nine bytes": told(lambda far: far.differs(print_len=9, prints=b"x" * 9)),
    "lacks the root": told(lambda far: far.link.say("Lacks", dir=0)),
    "differs once more": told(lambda far: far.differs()),
    "verdicts that are not due": told(lambda far: far.verdicts(dir=1)),
    "a verdict on nothing": after_entries(lambda far: far.verdicts({"entry": (1 << 32) - 1})),
    "verdicts backwards": after_entries(lambda far: far.verdicts({"entry": 1}, {"entry": 0})),
    "a verdict twice": after_entries(lambda far: far.verdicts({"entry": 0}, {"entry": 0})),
    "verdicts without end": after_entries(without_end(lambda far: far.verdicts(last=False))),
    "again what was no delta": after_entries(lambda far: far.link.say("Again", dir=0, entry=0)),
    "settled what was none": after_entries(lambda far: far.link.say("Settled", dir=0, entry=0)),
    "a basis that nobody asked for": after_entries(
        lambda far: far.link.put(wire.EXCHANGE, bytes(8) + bytes(4) + b"\1" + b"\1")),
    "a signature of noise": after_entries(lambda far: (
        far.verdicts({"entry": 0, "want": "Delta"}),
        far.link.put(wire.EXCHANGE, bytes(12) + b"\1" + b"\1" + b"\xff" * 100))),
    "a basis without end": after_entries(lambda far: (
        far.verdicts({"entry": 0, "want": "Delta"}),
        without_end(lambda far: far.link.put(wire.EXCHANGE, bytes(13) + bytes(250_000)))(far))),
    "a deletion that is not due": after_entries(
        lambda far: far.link.say("Deleted", path=b"file", kind="File")),
    "what stays, outside": after_entries(lambda far: far.link.say("NotEmpty", path=b"../x")),
    "a root that is deleted": at_end(lambda far: far.link.say("Deleted", path=b"", kind="Dir")),
    "a root that stays": at_end(lambda far: far.link.say("NotEmpty", path=b"")),
    "deletions that nothing stopped": at_end(lambda far: far.link.say("DeletionsStopped", count=HUGE)),
    "nothing that stopped deletions": at_end(lambda far: far.link.say("DeletionsStopped", count=0)),
    "no room for what came": at_end(lambda far: far.link.say(
        "Done", durable=True, sealed=None, starved=1)),
    "the end at once": after_entries(lambda far: far.link.say(
        "Done", durable=True, sealed=None, starved=0)),
    "a word that is none": after_entries(lambda far: far.link.put(wire.MESSAGE, b"\xfa")),
    "content": after_entries(lambda far: far.link.put(wire.PACK, bytes(64))),
    "runs": after_entries(lambda far: far.link.put(4, bytes(64))),
    "frames of nothing": after_entries(without_end(lambda far: far.link.put(0, b""))),
    "a cut": after_entries(lambda far: far.link.writer.write(b"\xff\xff\x0f\0abc")),
    "nothing more": after_entries(lambda far: None),
}


def main(what, *words):
    if what == "list":
        print("\n".join(RECEIVER_LIES))
    elif what == "senders":
        play_senders(words[0], words[1:])
    else:
        try:
            far = Sending()
            RECEIVER_LIES[words[0]](far)
            far.link.writer.flush()
        except (BrokenPipeError, ValueError):
            # It has been found out.
            os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
