"""Writes the seeds of the targets that fuzz messages and sessions: what honest halves say, by the
second implementation's encoding. When the tests replay them, sessions named `refused_...` end in an
error and all others well; what fuzzing has found lies beside them as `found_...`, and just ends.

    python3 fuzz/seeds.py
"""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "second"))

from blake3 import blake3  # noqa: E402
from wire import DATA, EXCHANGE, MESSAGE, PACK, PREAMBLE, Message, encode, leb128  # noqa: E402

DELETE, HARD_LINKS, CHECKSUM, SPARSE, ATOMIC, UPDATE, WHOLE, DRY_RUN, NUMERIC = (
    1 << bit for bit in range(9))
ATTRIBUTES, BACKUP, LED, MISSING = (1 << bit for bit in range(12, 16))
TIME = {"secs": 1_600_000_000, "nanos": 5}
ZERO = bytes(8)


def entry(name, body, **values):
    if isinstance(body, str):
        body = Message(body)
    return {"name": name, "mode": 0o644, "uid": 0, "gid": 0, "mtime": TIME, "atime": None, "body": body,
            "link_to": None, "attributes": b"", **values}


def file(name, length, **values):
    return entry(name, Message("File", len=length, sum=None), **values)


def to_receiver(of, /, **values):
    return MESSAGE, encode("ToReceiver", Message(of, **values))


def to_sender(of, /, **values):
    return MESSAGE, encode("ToSender", Message(of, **values))


def pack(dir_index, *files):
    """Without its sum, which the target adds."""
    parts = [struct.pack("<IBI", number, 0, len(content)) + content for number, content in files]
    return PACK, struct.pack("<Q", dir_index) + b"".join(parts)


def late(frame, after):
    """Said after one ask or end of a file more, or after `ContentDone`."""
    return frame[0] | {"Ask": 4, "FileEnd": 8, "ContentDone": 12}[after], frame[1]


def exchange(dir_index, number, content, last=True):
    return EXCHANGE, struct.pack("<QIB", dir_index, number, last) + content


def script(options, *frames):
    """A script of engine/src/session/fuzzing.rs."""
    parts = [struct.pack("<BH", kind, len(payload)) + payload for kind, payload in frames]
    return struct.pack("<H", options) + b"".join(parts)


def directory(name, up=0, skipped=0, digest=ZERO):
    return to_receiver("Dir", skipped=skipped, up=up, shared=0, rest=name, digest=digest,
                       complete=True)


def entries(dir_index, those, unmatched):
    return to_receiver("Entries", dir=dir_index, entries=those, last=True, unmatched=unmatched,
                       matched=ZERO)


DONE = to_receiver("ContentDone", deletable=True, problems={"count": 0, "lines": []})
ROOT = directory(b""), directory(b"dir"), directory(b"inner")
KEPT = entry(b"dir", "Dir", mode=0o755)
INNER = entry(b"inner", "Dir", mode=0o755)
LONG = file(b"long", 6000), INNER


def receivers():
    """Scripts of senders. The target has file, link and dir; in dir linked, long and inner."""
    new = entry(b"new", "Dir", mode=0o755)
    made = [file(b"file", 3), entry(b"link", Message("Symlink", target=b"to")),
            entry(b"fifo", "Fifo"), new, KEPT]
    made.sort(key=lambda one: (one["body"].of == "Dir", one["name"]))
    below = ROOT + (directory(b"new", up=2),)
    wanted = entries(0, made, [0, 1, 2])
    inner = entries(1, [*LONG], [0, 1, 2]), entries(2, [], [])
    meta = {"mode": 0o700, "uid": 0, "gid": 0, "mtime": TIME}
    other = to_receiver("OtherDir", dir=3, meta=meta, attributes=b"")
    new_dir = to_receiver("NewDir", dir=3, parent=0, name=b"new", entries=[file(b"a", 1)],
                          last=True)
    filled = new_dir, other, pack(3, (0, b"a")), to_receiver("NewDirDone", dir=3)
    small = pack(0, (1, b"abc"))

    def begin(byte, length, *ops):
        end = to_receiver("FileEnd", sum=blake3(bytes([byte]) * length))
        since = Message("Touched", mtime=TIME)
        return (to_receiver("FileBegin", dir=1, entry=0, len=length, since=since),
                *((DATA, op) for op in ops), end)

    whole = begin(7, 6000, leb128(6000 * 4) + bytes([7]) * 6000)
    delta = begin(7, 6000, leb128(5000 * 4 + 1) + b"\0" + leb128(1000 * 4) + bytes([7]) * 1000)
    zeros = begin(0, 10_000, leb128(10_000 * 4 + 2))
    wrong = begin(7, 10_000, leb128(10_000 * 4 + 2))
    root_entry = to_receiver("RootEntry", entry=entry(b"root", "Dir", mode=0o755))
    name = to_receiver("Id", kind="User", id=7, name=b"root")
    every = root_entry, name, *below, wanted, *inner
    skipped = to_receiver("FileSkipped", dir=1, entry=0)
    linked = [file(b"file", 5), file(b"second", 5, link_to=b"file"), KEPT]
    yield "all", script(DELETE | WHOLE, *every, *filled, small, *whole, DONE)
    yield "delta", script(0, *every, *filled, small, *delta, DONE)
    yield "wrong_delta", script(0, *every, *filled, small, *wrong, *whole, DONE)
    yield "sparse", script(SPARSE | WHOLE, *every, *filled, small, *zeros, DONE)
    yield "skipped", script(DELETE | WHOLE, *every, *filled, small, skipped, DONE)
    yield "atomic", script(ATOMIC | DELETE | WHOLE, *every, *filled, small, *whole, DONE)
    yield "dry_run", script(DRY_RUN | DELETE, *every, DONE)
    yield "checksum", script(CHECKSUM | WHOLE, *every, *filled, small, *whole, DONE)
    none = entries(2, [], [])
    emptied = entries(0, [KEPT], [0, 1, 2]), entries(1, [], [0, 1, 2]), none
    links = entries(0, linked, [0, 1, 2])
    link_first = to_receiver("LinkFirst", dir=0, entry=0, to=b"dir/linked")
    yield "deleted", script(DELETE, *ROOT, *emptied, DONE)
    yield "linked", script(HARD_LINKS, *ROOT, links, entries(1, [INNER], [0, 1, 2]), none,
                           pack(0, (0, b"12345")), DONE)
    later = to_receiver("Later", dir=0, entries=[0])
    yield "later", script(HARD_LINKS, *ROOT, links, *inner, later, *whole, pack(0, (0, b"12345")),
                          DONE)
    yield "refused_link_first", script(HARD_LINKS, *ROOT, links, *inner, link_first, *whole, DONE)
    yield "replaced", script(DELETE, *ROOT, entries(0, [file(b"dir", 1)], [0, 1, 2]), *inner,
                             pack(0, (0, b"x")), *whole, DONE)
    mapped = to_receiver("MappedId", kind="Group", id=0, becomes=7)
    yield "mapped", script(0, root_entry, mapped, *below, wanted, *inner, *filled, small, *delta,
                           DONE)
    yield "backups", script(BACKUP | DELETE | WHOLE, *every, *filled, small, *whole, DONE)
    yield "backups_apart", script(BACKUP | LED | DELETE, *ROOT, *emptied, DONE)
    attributes = b"".join(struct.pack("<HI", kind, len(value)) + value for kind, value in (
        (1, b"\7\1\7\0\0\0\0"), (3, b"\6user.avalue")))
    kept = entries(0, [file(b"file", 5, attributes=attributes), KEPT], [0, 1, 2])
    yield "attributes", script(ATTRIBUTES | WHOLE, *ROOT, kept, *inner, pack(0, (0, b"12345")),
                               *whole, DONE)
    yield "refused_attributes", script(WHOLE, *ROOT, entries(0, [file(
        b"file", 5, attributes=attributes[:-1])], [0, 1, 2]))
    gone = entries(0, [entry(b"file", "Gone"), entry(b"link", "Gone"), KEPT], [0, 1, 2])
    yield "missing", script(MISSING, *ROOT, gone, *inner, *whole, DONE)
    yield "refused_nothing", script(0, DONE)


def senders():
    """Scripts of receivers. The source has file, link and dir; in dir linked, long and inner."""
    def verdicts(dir_index, *those):
        all_of = [{"entry": number, "action": action, "differences": 1, "want": want}
                  for number, action, want in those]
        return to_sender("Verdicts", dir=dir_index, verdicts=all_of, last=True)

    def differs(dir_index, prints=b""):
        return to_sender("Differs", dir=dir_index, print_len=2, prints=prints, last=True)

    root = verdicts(0, (0, "Attributes", "Nothing"))
    done = late(to_sender("Done", durable=True, sealed=None, starved=0), "ContentDone")
    compared = to_sender("Compared", below=3)
    signature = b"\1\x0a" + bytes(16) + struct.pack("<Q", 5000) + bytes(5 * 20)
    wants = differs(0), verdicts(0, (0, "Transfer", "Whole"), (1, "Create", "Nothing"))
    want_delta = differs(1, b"1234"), verdicts(1, (1, "Transfer", "Delta"))
    settled = late(to_sender("Settled", dir=1, entry=1), "FileEnd")
    again = late(to_sender("Again", dir=1, entry=1), "FileEnd")
    removed = to_sender("Deleted", path=b"dir/old", kind="File")
    stopped = late(to_sender("DeletionsStopped", count=3), "ContentDone")
    gone = [to_sender("NotEmpty", path=b"dir"), removed,
            to_sender("Warning", vanished=False, message="so it is"),
            to_sender("Ping", done=300, flushing=True)]
    yield "equal", script(0, root, compared, done)
    yield "wants", script(0, root, *wants, compared, done)
    yield "again", script(0, root, *wants, *want_delta, compared, exchange(1, 1, signature),
                          again, done)
    yield "delta", script(0, root, *want_delta, compared, exchange(1, 1, signature[:20], False),
                          exchange(1, 1, signature[20:]), settled, done)
    prefix = exchange(1, 1, b"\4" + struct.pack("<Q", 4096) + bytes(16))
    asked = late(exchange(1, 1, signature), "Ask")
    yield "sum", script(0, root, *want_delta, compared, prefix, asked, settled, done)
    yield "refused_basis", script(0, root, *want_delta, compared, prefix, exchange(1, 1, signature))
    yield "no_basis", script(0, root, *want_delta, compared, exchange(1, 1, b""), settled, done)
    yield "lacks", script(0, root, differs(0), to_sender("Lacks", dir=1),
                          verdicts(0, (0, "Transfer", "Whole"), (2, "Create", "Nothing")), compared,
                          done)
    full = to_sender("Differs", dir=0, print_len=8, prints=bytes(16), last=True)
    yield "full_prints", script(0, root, differs(0, bytes(6)), full, verdicts(0), compared, done)
    gone = [late(frame, "ContentDone") for frame in gone]
    yield "deleted", script(DELETE, root, compared, *gone, done)
    yield "refused_deletion", script(0, root, compared, late(removed, "ContentDone"), done)
    yield "refused_stop", script(DELETE, root, compared, stopped, done)
    is_linked = verdicts(1, (0, "HardLink", "Nothing"))
    yield "linked", script(HARD_LINKS, root, *wants, differs(1), is_linked, compared, done)
    yield "dry_run", script(DRY_RUN, root, *wants, to_sender("Lacks", dir=1), compared, done)
    yield "refused_fatal", script(0, to_sender("Fatal", kind="NoSpace", message="no room"))


def plain_frames(*frames):
    return PREAMBLE + b"".join(struct.pack("<I", len(payload) | kind << 24) + payload
                               for kind, payload in frames)


def split(data):
    """The frames of a script."""
    at = 2
    while at < len(data):
        kind, length = struct.unpack_from("<BH", data, at)
        yield kind, data[at + 3:at + 3 + length]
        at += 3 + length


def write(target, seeds):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds:
        with open(os.path.join(folder, name), "wb") as out:
            out.write(data)


def main():
    receiver, sender = list(receivers()), list(senders())
    write("session_receiver", receiver)
    write("session_sender", sender)
    for target, scripts in (("message_to_receiver", receiver), ("message_to_sender", sender)):
        messages = {payload[0]: payload for _, data in scripts for kind, payload in split(data)
                    if kind & 3 == MESSAGE}
        write(target, ((f"alternative_{number}", data) for number, data in messages.items()))
    write("wire_frames", [("plain", plain_frames(*split(receiver[0][1])))])


if __name__ == "__main__":
    main()
