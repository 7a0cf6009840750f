//! PURE. Bodies of requests: forms, files, and the media type where nobody named one.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::api::step::Header;

/// A file of a form, read.
pub(super) struct File<'a> {
    pub(super) field: &'a str,
    pub(super) name: &'a str,
    pub(super) media_type: &'a str,
    pub(super) content: Bytes,
}

/// A form without files.
pub(super) fn urlencoded(fields: &[Header]) -> Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields.iter().map(|f| (&f.name, &f.value)));
    form.finish().into()
}

/// A form with files: its media type and the body (RFC 7578).
pub(super) fn multipart(fields: &[Header], files: &[File<'_>]) -> (String, Bytes) {
    let boundary = boundary(fields, files);
    let mut body = Vec::new();
    for field in fields {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", quoted(&field.name));
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(field.value.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    for file in files {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            quoted(file.field),
            quoted(file.name),
            // a line break in it would start a header of somebody else's choice
            file.media_type.replace(['\r', '\n'], " "),
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&file.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body.into())
}

/// Made from what it separates, so that nobody can write it into a part beforehand.
fn boundary(fields: &[Header], files: &[File<'_>]) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update(&field.name);
        hash.update(&field.value);
    }
    for file in files {
        hash.update(&file.content);
    }
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// As browsers quote names in forms.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The media type of a body whose author named none.
pub(super) fn media_type(body: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(urlencoded(&[field("a b", "1&2=3"), field("c", "é")]), "a+b=1%262%3D3&c=%C3%A9");
    }

    #[test]
    fn parts_cannot_be_broken_out_of() {
        let file =
            File { field: "f\"\r\nX: y", name: "a.csv", media_type: "text/csv\r\nX: y", content: "1,2\n".into() };
        let (kind, body) = multipart(&[field("note", "--x")], &[file]);
        let text = String::from_utf8(body.to_vec()).unwrap();
        let boundary = kind.split_once("boundary=").unwrap().1;
        assert_eq!(text.matches(&format!("--{boundary}")).count(), 3);
        assert!(text.contains("name=\"f%22%0D%0AX: y\"; filename=\"a.csv\"\r\n"), "{text}");
        assert!(!text.contains("\r\nX: y"), "{text}");
        assert!(text.contains("\r\n\r\n1,2\n\r\n--"), "{text}");
    }

    #[test]
    fn json_is_recognised() {
        assert_eq!(media_type(br#"{"limit": 10000}"#), "application/json");
        assert_eq!(media_type(b"limit=1"), "text/plain; charset=utf-8");
    }
}
