//! What is put into a request only when it is sent: texts with values of Secrets. Errors name Secrets and keys, never a value.

use bytes::Bytes;

use super::keys::Source;
use super::request::{Read, value};
use crate::api::step::{Header, KeyRef};
use crate::effect::Request;
use crate::effect::sealed::{Piece, Place, Sealed};

/// Longest text.
const LONGEST: usize = 64 * 1024;

/// The texts, put together.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// Every field of the form.
    pub(super) form: Vec<Header>,
    pub(super) body: Option<String>,
    pub(super) url: Option<String>,
    /// What answers of a session have set, and the place that gets it.
    pub(super) session: Option<(String, Vec<Bytes>)>,
}

/// Puts them together. But for bodies, white space at the end of a value is left out: a line break there is how most editors
/// and `echo` write Secrets.
pub(super) fn fill(request: &Request, read: &Read) -> Result<Filled, String> {
    let mut filled = Filled { form: request.form.clone(), ..Filled::default() };
    for sealed in &request.sealed {
        let Sealed { place, text } = sealed;
        match place {
            Place::Header(name) => {
                filled.headers.push((name.clone(), put(text, read, |v| Ok(v.trim_ascii_end().to_vec()))?))
            }
            Place::Form(at) => {
                let value = string(text, read, |text| text.trim_ascii_end().to_owned())?;
                if let Some(field) = filled.form.get_mut(*at) {
                    field.value = value;
                }
            }
            Place::Body => filled.body = Some(string(text, read, json_content)?),
            Place::Cookies(scope) => {
                let jar = |key: &KeyRef| value(read, &Source::Secret(key.name.clone()), key);
                filled.session = Some((scope.clone(), sealed.secrets().map(jar).collect::<Result<_, _>>()?));
            }
            Place::Url => filled.url = Some(string(text, read, |text| text.trim_ascii_end().to_owned())?),
        }
    }
    Ok(filled)
}

/// As the content of a JSON string, which it cannot leave.
fn json_content(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn string(pieces: &[Piece], read: &Read, escape: impl Fn(&str) -> String) -> Result<String, String> {
    let of = |value: &Bytes| match std::str::from_utf8(value) {
        Ok(text) => Ok(escape(text).into_bytes()),
        Err(_) => Err("is not text".to_owned()),
    };
    String::from_utf8(put(pieces, read, of)?).map_err(|_| "the text is not UTF-8".into())
}

fn put(pieces: &[Piece], read: &Read, escaped: impl Fn(&Bytes) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    let mut out = vec![];
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Secret(key) => {
                let source = Source::Secret(key.name.clone());
                let value = value(read, &source, key)?;
                out.extend(escaped(&value).map_err(|why| format!("key {} of {source} {why}", key.key))?);
            }
        }
        if out.len() > LONGEST {
            return Err(format!("a text is longer than {LONGEST} bytes once its Secrets are put in"));
        }
    }
    Ok(out)
}
