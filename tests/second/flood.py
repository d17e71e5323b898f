"""A receiver that says one thing again and again, and reads nothing more.

    python3 flood.py MESSAGE MIB LOG

tells LOG how many bytes of it the peer took.
"""

import sys

import wire

WHAT, LENGTH, LOG = sys.argv[1], int(sys.argv[2]) << 20, sys.argv[3]

SAYS = {
    "Compared": {"below": 0},
    "Differs": {"dir": 0, "print_len": 1, "prints": bytes(range(256)) * 1000, "last": False},
    "Warning": {"vanished": False, "message": "w" * 100},
    "Ping": {"done": 1, "flushing": False},
}

link = wire.Link(sys.stdin.buffer, sys.stdout.buffer, "ToSender", "ToReceiver")
link.greet()
link.next()
link.say("HelloReply", owners=True, devices=True, setuid=True, xattrs=0, settable_groups=[],
         time_store={"granularity_ns": 1, "min_secs": -1 << 40, "max_secs": 1 << 40}, lost=0, lost_xattrs=0,
         mounted=[], len_max=1 << 62, rename=None, created_root=False, runs=False, accounts=[])
link.writer.flush()
message = wire.encode("ToSender", wire.Message(WHAT, **SAYS[WHAT]))
frame = len(message).to_bytes(3, "little") + bytes([wire.MESSAGE]) + message
batch = frame * (1 + (1 << 20) // len(frame))
taken = 0
try:
    while taken < LENGTH:
        sys.stdout.buffer.write(batch)
        sys.stdout.buffer.flush()
        taken += len(batch)
except BrokenPipeError:
    pass
with open(LOG, "w", encoding="ascii") as log:
    log.write(str(taken))
