//! The one gRPC method of the stand-in application, `cutover.sample.Who/Asks`: an empty request, answered with who
//! answers it. Written out by hand, since a message of two strings needs no generator.

use bytes::{BufMut, Bytes, BytesMut};
use hyper::{HeaderMap, header::HeaderValue};

/// Path of the method.
pub const PATH: &str = "/cutover.sample.Who/Asks";
/// Content type of both directions.
pub const CONTENT_TYPE: &str = "application/grpc";
/// Trailer that says how a call ended.
pub const STATUS: &str = "grpc-status";

/// Key of a field of strings: its number, and "length-delimited".
const fn key(field: u8) -> u8 {
    (field << 3) | 2
}

/// A message as it is framed: not compressed, its length, itself.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// `message Answer { string colour = 1; string pod = 2; }`
pub fn answer(colour: &str, pod: &str) -> Bytes {
    let mut message = Vec::new();
    for (field, text) in [(1, colour), (2, pod)] {
        // Names of pods are at most 63 characters: one byte of length is enough.
        let text = &text.as_bytes()[..text.len().min(127)];
        message.push(key(field));
        message.push(text.len() as u8);
        message.extend(text);
    }
    frame(&message)
}

/// Colour and pod of an answer; `None` where it is none.
pub fn read(framed: &[u8]) -> Option<(String, String)> {
    let (head, mut message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || length as usize != message.len() {
        return None;
    }
    let mut fields = [String::new(), String::new()];
    while let Some((head, rest)) = message.split_at_checked(2) {
        let (text, rest) = rest.split_at_checked(head[1].into())?;
        let field = (1..=2).find(|field| key(*field) == head[0])?;
        fields[usize::from(field) - 1] = String::from_utf8(text.to_vec()).ok()?;
        message = rest;
    }
    let [colour, pod] = fields;
    message.is_empty().then_some((colour, pod))
}

/// What follows the answer of a call that went well.
pub fn went_well() -> HeaderMap {
    HeaderMap::from_iter([(hyper::header::HeaderName::from_static(STATUS), HeaderValue::from_static("0"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let written = answer("green", "web-1");
        assert_eq!(&written[..], b"\0\0\0\0\x0e\x0a\x05green\x12\x05web-1");
        assert_eq!(read(&written), Some(("green".into(), "web-1".into())));
        for cut in 0..written.len() {
            assert_eq!(read(&written[..cut]), None, "{cut}");
        }
    }
}
