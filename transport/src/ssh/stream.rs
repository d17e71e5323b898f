//! The blocking reader and writer of one SSH channel. They run in the engine's threads and talk to
//! the session's thread through its bounded message queues; no thread or copy lies between.

use std::future::Future;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::runner::Runtime;
use super::state::{ChannelState, Phase};
use crate::{Error, ErrorKind};

/// Reads the data packets of a channel, each handed out where it was decrypted.
pub(crate) struct ChannelReader {
    half: ChannelReadHalf,
    current: Bytes,
    at_end: bool,
    phase: watch::Receiver<Phase>,
    state: Arc<ChannelState>,
    runtime: Runtime,
}

impl ChannelReader {
    pub(crate) fn new(
        half: ChannelReadHalf,
        state: Arc<ChannelState>,
        runtime: Runtime,
    ) -> ChannelReader {
        let phase = state.phase();
        ChannelReader {
            half,
            current: Bytes::new(),
            at_end: false,
            phase,
            state,
            runtime,
        }
    }

    /// The next packet's data, or nothing at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let runtime = self.runtime.clone();
        let handle = runtime.handle();
        loop {
            let (half, phase) = (&mut self.half, &mut self.phase);
            let message = handle.block_on(self.state.limited(async {
                tokio::select! {
                    // What has arrived is read before an end is believed.
                    biased;
                    message = half.wait() => Ok(message),
                    error = lost(phase) => Err(error),
                }
            }))??;
            match message {
                Some(ChannelMsg::Data { data }) => {
                    self.state.consumed(data.len());
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => self.state.consumed(data.len()),
                // Half a channel may close while the other half goes on.
                Some(ChannelMsg::Eof) if self.state.has_started() => return Ok(None),
                Some(ChannelMsg::Eof) | None => return self.end(handle),
                // Everything else reached the state through the session's callbacks.
                Some(_) => {}
            }
        }
    }

    /// An end of file is believed unless the connection broke or the program never started; what
    /// tells follows at once.
    fn end(&self, handle: &Handle) -> io::Result<Option<Bytes>> {
        let mut phase = self.state.phase();
        let error = handle.block_on(async {
            let ended = phase.wait_for(|now| !matches!(now, Phase::Open));
            match tokio::time::timeout(STATUS_WAIT, ended).await {
                Ok(Ok(ended)) => ended.error(),
                _ => None,
            }
        });
        error
            .or_else(|| self.state.failed_start())
            .map_or(Ok(None), |error| Err(error.into()))
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            if self.at_end || buf.is_empty() {
                return Ok(0);
            }
            match self.next()? {
                Some(data) => self.current = data,
                None => {
                    self.at_end = true;
                    return Ok(0);
                }
            }
        }
        let len = buf.len().min(self.current.len());
        self.current
            .split_to(len)
            .copy_to_slice(buf.get_mut(..len).unwrap_or_default());
        Ok(len)
    }
}

impl Drop for ChannelReader {
    fn drop(&mut self) {
        self.state.reader_gone();
    }
}

/// Collects writes and sends them as few channel messages; dropped, it sends end of file.
pub(crate) struct ChannelWriter<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    half: Arc<ChannelWriteHalf<S>>,
    buffer: Vec<u8>,
    phase: watch::Receiver<Phase>,
    state: Arc<ChannelState>,
    runtime: Runtime,
}

impl<S> ChannelWriter<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    pub(crate) fn new(
        half: Arc<ChannelWriteHalf<S>>,
        state: Arc<ChannelState>,
        runtime: Runtime,
    ) -> ChannelWriter<S> {
        let phase = state.phase();
        ChannelWriter {
            half,
            buffer: Vec::with_capacity(WRITE_LEN),
            phase,
            state,
            runtime,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.buffer, Vec::with_capacity(WRITE_LEN));
        let half = &self.half;
        let _sending = self.state.sending();
        let wait = alive(&mut self.phase, &self.state, half.data_bytes(data));
        self.runtime.handle().block_on(self.state.limited(wait))??;
        Ok(())
    }
}

impl<S> Write for ChannelWriter<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = WRITE_LEN.saturating_sub(self.buffer.len());
        let (now, _) = buf.split_at(buf.len().min(room));
        self.buffer.extend_from_slice(now);
        if self.buffer.len() >= WRITE_LEN {
            self.send()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl<S> Drop for ChannelWriter<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.buffer);
        let half = &self.half;
        let _sending = self.state.sending();
        let last = async {
            half.data_bytes(data).await?;
            half.eof().await
        };
        let wait = alive(&mut self.phase, &self.state, last);
        // Nobody is left to be told of a failure; whoever reads or finishes learns of it.
        let _ = self
            .runtime
            .handle()
            .block_on(async { tokio::time::timeout(DROP_WAIT, wait).await.map(drop) });
    }
}

/// `send`, unless the channel or the connection ends first: a full window never opens again then.
async fn alive(
    phase: &mut watch::Receiver<Phase>,
    state: &ChannelState,
    send: impl Future<Output = Result<(), russh::Error>>,
) -> Result<(), Error> {
    let mut watched = phase.clone();
    tokio::select! {
        biased;
        error = why_ended(phase, state) => return Err(error),
        sent = send => if sent.is_ok() { return Ok(()) },
    }
    // The session ends a moment before it says why.
    match tokio::time::timeout(STATUS_WAIT, why_ended(&mut watched, state)).await {
        Ok(error) => Err(error),
        Err(_) => Err(closed(state)),
    }
}

/// Resolves when the connection is gone.
async fn lost(phase: &mut watch::Receiver<Phase>) -> Error {
    match phase
        .wait_for(|now| matches!(now, Phase::Lost(_)))
        .await
        .ok()
        .and_then(|now| now.error())
    {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

/// Resolves when the channel is no longer open.
async fn why_ended(phase: &mut watch::Receiver<Phase>, state: &ChannelState) -> Error {
    let error = phase
        .wait_for(|now| !matches!(now, Phase::Open))
        .await
        .ok()
        .and_then(|now| now.error());
    error.unwrap_or_else(|| closed(state))
}

fn closed(state: &ChannelState) -> Error {
    state.failed_start().unwrap_or_else(|| {
        let message = format!(
            "{}: closed the stream while data was being sent",
            state.peer
        );
        Error::new(ErrorKind::Closed, message)
    })
}

/// Writes are collected up to this.
const WRITE_LEN: usize = 256 * 1024;
/// How long after an end its cause may take to arrive.
const STATUS_WAIT: Duration = Duration::from_secs(2);
/// How long a dropped writer may take to hand over its last bytes.
const DROP_WAIT: Duration = Duration::from_secs(10);
