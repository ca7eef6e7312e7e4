//! Messages that are too long, refused before they are read.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::Refusal;

/// Bytes of a message that a service or the gateway takes; 4 MiB, as tonic does.
pub const LARGEST_MESSAGE: u64 = 4 << 20;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Whether a body held a message that was too long.
#[derive(Debug, Clone, Default)]
pub struct Oversize(Arc<AtomicU64>);

impl Oversize {
    /// The refusal for it, if so.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let bytes = self.0.load(Ordering::Relaxed);
        (bytes > 0).then_some(Refusal::MessageTooLarge { bytes, limit: LARGEST_MESSAGE })
    }
}

/// The body of a gRPC request, which fails with a [`Refusal`] in the place of
/// any message longer than [`LARGEST_MESSAGE`]. Nothing of that message is
/// kept.
#[must_use]
pub fn bounded(inner: Body) -> (Body, Oversize) {
    let oversize = Oversize::default();
    let place = Place::Prefix { have: [0; PREFIX], len: 0 };
    let body = Bounded { inner, place, oversize: oversize.clone() };
    (Body::new(body), oversize)
}

#[derive(Debug)]
struct Bounded {
    inner: Body,
    place: Place,
    oversize: Oversize,
}

/// Where in the stream of messages the next byte lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a message's prefix, `len` bytes of which came.
    Prefix { have: [u8; PREFIX], len: usize },
    /// In a message, so many bytes before its end.
    Message(u64),
}

impl Place {
    /// Moves past `bytes`; fails with the length of a message that is too long.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        while !bytes.is_empty() {
            match self {
                Self::Prefix { have, len } => {
                    let part = bytes.len().min(PREFIX - *len);
                    have[*len..*len + part].copy_from_slice(&bytes[..part]);
                    *len += part;
                    bytes = &bytes[part..];
                    if *len == PREFIX {
                        let size = u32::from_be_bytes([have[1], have[2], have[3], have[4]]).into();
                        if size > LARGEST_MESSAGE {
                            return Err(size);
                        }
                        *self = Self::Message(size);
                    }
                }
                Self::Message(left) => {
                    let part = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= part as u64;
                    bytes = &bytes[part..];
                }
            }
            if matches!(self, Self::Message(0)) {
                *self = Self::Prefix { have: [0; PREFIX], len: 0 };
            }
        }
        Ok(())
    }
}

impl http_body::Body for Bounded {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(bytes) = self.place.pass(data)
        {
            self.oversize.0.store(bytes, Ordering::Relaxed);
            let refusal = Refusal::MessageTooLarge { bytes, limit: LARGEST_MESSAGE };
            return Poll::Ready(Some(Err(refusal.into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32) -> Vec<u8> {
        let mut out = vec![0];
        out.extend_from_slice(&len.to_be_bytes());
        out.resize(PREFIX + len as usize, 7);
        out
    }

    #[test]
    fn each_message_is_measured_however_the_bytes_come() {
        let limit = u32::try_from(LARGEST_MESSAGE).unwrap();
        let mut good = [message(0), message(3), message(limit), message(1)].concat();
        let mut bad = good.clone();
        bad.extend_from_slice(&message(limit + 1)[..PREFIX]);
        good.extend_from_slice(&[0, 0, 0]);
        for step in [1, 4, 5, 8191, bad.len()] {
            let pass = |bytes: &[u8]| {
                let mut place = Place::Prefix { have: [0; PREFIX], len: 0 };
                bytes.chunks(step).try_for_each(|part| place.pass(part))
            };
            assert_eq!(pass(&good), Ok(()));
            assert_eq!(pass(&bad), Err(LARGEST_MESSAGE + 1));
        }
    }
}
