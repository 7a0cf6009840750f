//! Bodies of answers: a text in one piece, with trailers where gRPC wants them, or a long run of filler bytes.

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
};
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
    /// A whole body and what follows it; `None` once it is sent.
    Call(Option<Bytes>, Option<HeaderMap>),
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
            Self::Call(bytes, trailers) => match bytes.take() {
                None => return Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
                bytes => bytes,
            },
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
        match self {
            Self::Call(bytes, trailers) => bytes.is_none() && trailers.is_none(),
            Self::Whole(_) | Self::Filler(_) => self.size_hint().exact() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Filler(left) => SizeHint::with_exact(*left),
            // Trailers say the end: a call announces no length.
            Self::Call(..) => SizeHint::default(),
        }
    }
}
