//! What travels between the halves: a preamble, then frames; most carry one message, the rest raw
//! file data. `PROTOCOL.md` describes every byte and changes together with this module.

mod codec;
mod frame;
mod frame_writer;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod message;
mod pace;
mod pack;
mod preamble;
mod run;

pub(crate) use codec::{DECODE_LIMIT, decode, decode_record, encode, encode_record, read_record};
pub(crate) use frame::{FRAME_LEN_MAX, Frame, FrameKind, FrameReader};
pub(crate) use frame_writer::{FrameWriter, Sink, message_frame, new_batch};
pub(crate) use message::{
    Ask, DirIndex, Hello, HelloReply, Pulse, ToReceiver, ToSender, Verdict, Want,
};
pub(crate) use pack::{
    EXCHANGES_MAX, ExchangePiece, PACK_HEADER_LEN_MAX, PackedFile, pack_sum, parse_pack,
    patch_packed, put_packed_header,
};
pub(crate) use preamble::{check_preamble, preamble};
