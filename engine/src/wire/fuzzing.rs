//! What the fuzz targets run on bytes that a peer sends, before anybody understands them.

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{HEADER_LEN, RUN_KIND, header_of};
use super::run::{Packer, RUN_LEN_MAX};
use super::{
    FRAME_LEN_MAX, FrameReader, ToReceiver, ToSender, check_preamble, decode, encode, preamble,
};
use crate::options::Compression;

/// A link that gives its bytes in pieces of every length from 1 on.
struct Pieces(Vec<u8>, usize);

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        let len = self.1.min(buf.len()).min(self.0.len());
        buf[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

/// Any bytes as what a sender says, and as the frames in a run that unpacks well: an error, or
/// frames within the limit.
pub fn frames(data: &[u8]) {
    read_all(data);
    let always = Compression::Always { level: Some(1) };
    let Ok(Some(mut packer)) = Packer::new(always) else {
        return;
    };
    let mut said = preamble().to_vec();
    // Two runs of one stream.
    for part in [data, &[0; HEADER_LEN]] {
        let part = part.get(..RUN_LEN_MAX / 2).unwrap_or(part);
        let mut run = Vec::new();
        if packer.pack(part, &mut run).is_err() {
            return;
        }
        said.extend(header_of(RUN_KIND, run.len()));
        said.extend(run);
    }
    read_all(&said);
}

fn read_all(said: &[u8]) {
    let mut reader = FrameReader::with_runs(Box::new(Pieces(said.to_vec(), 0)));
    let greeted = reader.preamble().and_then(check_preamble);
    if greeted.is_err() {
        return;
    }
    while let Ok(Some(frame)) = reader.next() {
        assert!(frame.payload.len() <= FRAME_LEN_MAX);
    }
}

/// Any bytes as a message of the sender: if it decodes, it is what it encodes to.
pub fn to_receiver(data: &[u8]) {
    message::<ToReceiver>(data);
}

/// The same of the receiver.
pub fn to_sender(data: &[u8]) {
    message::<ToSender>(data);
}

fn message<M: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(message) = decode::<M>(data) else {
        return;
    };
    let bytes = |message: &M| {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).map(|()| bytes)
    };
    let encoded = bytes(&message).unwrap_or_default();
    let again = decode::<M>(&encoded).and_then(|message| bytes(&message));
    assert_eq!(again.ok(), Some(encoded));
}
