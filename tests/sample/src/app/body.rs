//! Bodies of answers: a text in one piece, or a long run of filler bytes.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

static FILLER: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Body of an answer.
#[derive(Debug)]
pub enum AppBody {
    /// A whole body; `None` once it is sent.
    Whole(Option<Bytes>),
    /// So many filler bytes, made while they are sent.
    Filler(u64),
}

impl AppBody {
    /// A body in one piece.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Filler(0) => None,
            Self::Filler(left) => {
                let size = FILLER.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= size as u64;
                Some(Bytes::from_static(&FILLER[..size]))
            }
        };
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Filler(left) => *left,
        })
    }
}
