"""Sections 1 to 5 of engine/PROTOCOL.md: preamble, frames, messages, packs and ops."""

import struct

PREAMBLE = b"hasync\x01\x00"
MESSAGE, PACK, DATA, EXCHANGE = range(4)
FRAME_LEN_MAX = 1 << 20

STRUCTS = {
    "Time": "secs:int nanos:uint",
    "TimeStore": "granularity_ns:uint min_secs:int max_secs:int",
    "Mounted": "path:bytes time_store:TimeStore lost:uint lost_xattrs:u8",
    "Entry": "name:bytes mode:uint uid:uint gid:uint mtime:Time atime:Time? body:Body "
             "link_to:bytes? "
             "attributes:bytes",
    "Verdict": "entry:uint action:Action differences:uint want:Want",
    "Meta": "mode:uint uid:uint gid:uint mtime:Time",
    "Partial": "count:uint lines:[text]",
    "Group": "id:uint name:text?",
    "Whereabouts": "machine:16 dirs:[SourceDir]",
    "SourceDir": "path:bytes ids:[Id] mount:uint part:Part",
    "Id": "device:uint inode:uint",
    "Account": "kind:IdKind name:text",
    "Name": "name:bytes is_dir:bool",
    "Backup": "place:BackupPlace suffix:bytes",
    "Brake": "percent:u8 entries:uint",
    "Form": "lines:Lines words:bool subject:Subject side:Side perishable:bool zeros:bool "
            "hides:bool",
    "Options": "recursive:bool implied_dirs:bool links:bool perms:bool times:bool "
               "owner:bool group:bool devices:bool specials:bool acls:bool xattrs:bool "
               "hard_links:bool sparse:bool delete:bool force:bool ignore_errors:bool max_delete:uint? brake:Brake? "
               "delete_missing:bool keep_dirlinks:bool safe_links:bool mkpath:bool "
               "dry_run:bool checksum:bool quick_check:QuickCheck window_s:uint? update:bool "
               "existing:bool ignore_existing:bool omit_dir_times:bool omit_link_times:bool "
               "atimes:bool executability:bool super_user:SuperUser backup:Backup? "
               "whole_file:bool "
               "one_file_system:bool numeric_ids:bool fsync:bool atomic:bool "
               "filters:[FilterRule] timeout_ms:uint",
}

# A named tree is beyond this implementation: of a claim, a standing and a seal it says and hears
# that there is none.
CHOICES = {
    "Body": ["File len:uint sum:32?", "Dir", "Symlink target:bytes", "CharDevice rdev:uint",
             "BlockDevice rdev:uint", "Fifo", "Socket", "Unmirrored kind:Kind", "Gone", "Way"],
    "BackupPlace": ["Beside", "Below dir:bytes", "Elsewhere dir:bytes"],
    "Kind": ["File", "Dir", "Symlink", "Device", "Special"],
    "IdKind": ["User", "Group"],
    "Action": ["Transfer", "Create", "HardLink", "Attributes", "Delete", "KeepNewer"],
    "Want": ["Nothing", "Whole", "Delta"],
    "FilterRule": ["Pattern sense:Sense side:Side negated:bool perishable:bool subject:Subject "
                   "text:bytes", "PerDir name:bytes stays:bool form:Form"],
    "Lines": ["Rules", "Prefixed sense:Sense", "Bare sense:Sense", "Cvs"],
    "Sense": ["Exclude", "Include"],
    "Subject": ["Path", "FullPath", "Attribute"],
    "Side": ["Both", "Sender", "Receiver"],
    "SuperUser": ["IfRoot", "Always", "Never"],
    "QuickCheck": ["Times", "Lengths", "Nothing"],
    "Since": ["Same", "Touched mtime:Time", "Other meta:Meta attributes:bytes"],
    "Named": [],
    "Part": ["All", "Only names:[Name]", "Some"],
    "ErrorKind": ["Usage", "Incompatible", "FileIo", "Stream", "Timeout", "NoSpace", "Locked",
                  "Config", "Fenced", "Diverged", "NotEqual", "OwnNode", "Braked"],
    "ToReceiver": [
        "Hello options:Options destination:bytes single:bool digest_key:32 claim:Named? "
        "whereabouts:Whereabouts readable:u8 accounts:[Account]",
        "Id kind:IdKind id:uint name:bytes",
        "RootEntry entry:Entry",
        "Dir skipped:uint up:uint shared:u8 rest:bytes digest:8 complete:bool",
        "Entries dir:uint entries:[Entry] last:bool unmatched:[uint] matched:8",
        "NewDir dir:uint parent:uint name:bytes entries:[Entry] last:bool",
        "Later dir:uint entries:[uint]",
        "NewDirDone dir:uint",
        "LinkFirst dir:uint entry:uint to:bytes",
        "FileBegin dir:uint entry:uint len:uint since:Since",
        "FileEnd sum:32?",
        "FileSkipped dir:uint entry:uint",
        "ContentDone deletable:bool problems:Partial",
        "Ping done:uint flushing:bool",
        "OtherDir dir:uint meta:Meta attributes:bytes",
        "Ask",
        "MappedId kind:IdKind id:uint becomes:uint",
    ],
    "ToSender": [
        "Standing standing:Named",
        "HelloReply owners:bool devices:bool setuid:bool xattrs:u8 settable_groups:[Group] "
        "time_store:TimeStore lost:uint lost_xattrs:u8 mounted:[Mounted] len_max:uint rename:bytes? "
        "created_root:bool runs:bool accounts:[uint?]",
        "Differs dir:uint print_len:u8 prints:bytes last:bool",
        "Lacks dir:uint",
        "Compared below:uint",
        "Verdicts dir:uint verdicts:[Verdict] last:bool",
        "Again dir:uint entry:uint",
        "Settled dir:uint entry:uint",
        "Deleted path:bytes kind:Kind",
        "DeletionsStopped count:uint",
        "Warning vanished:bool message:text",
        "NotEmpty path:bytes",
        "Fatal kind:ErrorKind message:text",
        "Done durable:bool sealed:Named? starved:uint",
        "Ping done:uint flushing:bool",
    ],
}


def fields(text):
    return [part.split(":") for part in text.split()]


class Message(dict):
    """The fields of one alternative of a choice; `Message.of` is its name."""

    def __init__(self, of, /, **values):
        super().__init__(values)
        self.of = of


def encode(kind, value):
    """The encoding of section 3."""
    if kind.endswith("?"):
        return b"\0" if value is None else b"\1" + encode(kind[:-1], value)
    if kind.startswith("["):
        return encode("uint", len(value)) + b"".join(encode(kind[1:-1], item) for item in value)
    if kind == "uint":
        for limit, mark, form in ((251, b"", "<B"), (1 << 16, b"\xfb", "<H"),
                                  (1 << 32, b"\xfc", "<I"), (1 << 64, b"\xfd", "<Q")):
            if value < limit:
                return mark + struct.pack(form, value)
    if kind == "int":
        return encode("uint", 2 * value if value >= 0 else -2 * value - 1)
    if kind in ("bool", "u8"):
        return struct.pack("<B", value)
    if kind in ("bytes", "text"):
        value = value.encode() if kind == "text" else value
        return encode("uint", len(value)) + value
    if kind.isdigit():
        assert len(value) == int(kind)
        return value
    if kind in STRUCTS:
        return b"".join(encode(of, value[name]) for name, of in fields(STRUCTS[kind]))
    value = Message(value) if isinstance(value, str) else value
    number, text = next((number, text) for number, text in enumerate(CHOICES[kind])
                        if text.split()[0] == value.of)
    parts = (encode(of, value[name]) for name, of in fields(text.partition(" ")[2]))
    return encode("uint", number) + b"".join(parts)


class Decoder:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        piece = self.data[self.at:self.at + length]
        if len(piece) < length:
            raise ValueError("a message that is cut off")
        self.at += length
        return piece

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def decode(self, kind):
        if kind.endswith("?"):
            return self.decode(kind[:-1]) if self.number("<B") else None
        if kind.startswith("["):
            return [self.decode(kind[1:-1]) for _ in range(self.decode("uint"))]
        if kind == "uint":
            first = self.number("<B")
            return first if first < 251 else self.number(("<H", "<I", "<Q")[first - 251])
        if kind == "int":
            value = self.decode("uint")
            return -(value >> 1) - 1 if value & 1 else value >> 1
        if kind in ("bool", "u8"):
            return self.number("<B")
        if kind in ("bytes", "text"):
            value = self.take(self.decode("uint"))
            return value.decode() if kind == "text" else value
        if kind.isdigit():
            return self.take(int(kind))
        if kind in STRUCTS:
            return {name: self.decode(of) for name, of in fields(STRUCTS[kind])}
        text = CHOICES[kind][self.decode("uint")]
        parts = {name: self.decode(of) for name, of in fields(text.partition(" ")[2])}
        return Message(text.split()[0], **parts)


def decode(kind, data):
    decoder = Decoder(data)
    value = decoder.decode(kind)
    if decoder.at != len(data):
        raise ValueError("a message with bytes left over")
    return value


class Link:
    """A byte stream each way: frames of messages of `says` go out, of `hears` come in."""

    def __init__(self, reader, writer, says, hears):
        self.reader, self.writer, self.says, self.hears = reader, writer, says, hears
        self.said = {}
        writer.write(PREAMBLE)
        writer.flush()

    def greet(self):
        if self.reader.read(len(PREAMBLE)) != PREAMBLE:
            raise ValueError("the peer does not talk this protocol")

    def put(self, frame_kind, payload):
        assert len(payload) <= FRAME_LEN_MAX
        self.writer.write(struct.pack("<I", len(payload) | frame_kind << 24) + payload)

    def say(self, message_kind, /, **values):
        self.said[message_kind] = self.said.get(message_kind, 0) + 1
        self.put(MESSAGE, encode(self.says, Message(message_kind, **values)))

    def next(self):
        """The next frame, once what was said is on its way."""
        self.writer.flush()
        return self.next_only()

    def next_only(self):
        """The next frame: its kind, and its payload or message. None at the end of the stream."""
        header = self.reader.read(4)
        if not header:
            return None
        header = struct.unpack("<I", header)[0]
        kind, length = header >> 24, header & 0xFFFFFF
        payload = self.reader.read(length)
        if len(payload) < length or length > FRAME_LEN_MAX or kind > EXCHANGE:
            raise ValueError("a frame that is none")
        if kind == MESSAGE:
            message = decode(self.hears, payload)
            if message.of == "Fatal":
                raise ValueError(f"the peer ends this: {message}")
            return kind, message
        return kind, payload


def pack_files(dir_index, files, blake3):
    """Section 4: files are (entry number, content)."""
    parts = [struct.pack("<Q", dir_index)]
    for number, content in files:
        parts += [struct.pack("<IBI", number, 0, len(content)), content]
    whole = b"".join(parts)
    return whole + blake3(whole)


def unpack_files(payload, blake3):
    """The directory of a pack, and (entry number, changed time, content) of each file."""
    whole = payload[:-32]
    if blake3(whole) != payload[-32:]:
        raise ValueError("a pack that has not its sum")
    rest = Decoder(whole)
    dir_index, files = rest.number("<Q"), []
    while rest.at < len(whole):
        number, flags = rest.number("<I"), rest.number("<B")
        time = {"secs": rest.number("<q"), "nanos": rest.number("<I")} if flags & 1 else None
        files.append((number, time, rest.take(rest.number("<I"))))
    return dir_index, files


def leb128(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def literal_ops(content):
    """Section 5: frames of ops that make `content` without a basis."""
    for at in range(0, len(content), 262_144):
        piece = content[at:at + 262_144]
        yield leb128(4 * len(piece)) + piece


def apply_ops(payload, out, holes):
    """Appends what ops without copies make to `out`, and to `holes` where there are some."""
    rest = Decoder(payload)
    while rest.at < len(payload):
        value = shift = 0
        while True:
            byte = rest.number("<B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        length, tag = value >> 2, value & 3
        if tag == 1:
            raise ValueError("a copy where there is no basis")
        if tag == 3:
            holes.append((len(out), length))
        out += rest.take(length) if tag == 0 else bytes(length)


def file_sum(content, holes, blake3):
    """The sum of a file: a hole counts by its place and its length."""
    if not holes:
        return blake3(content)
    rest, at = bytearray(), 0
    for start, length in holes:
        rest += content[at:start]
        at = start + length
    told = b"".join(struct.pack("<QQ", *hole) for hole in holes)
    return blake3(told + blake3(rest + content[at:]), bytes(32))
