//! Who may push: what the configuration says of it, and whether a request is from one of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sha2::Sha256;

/// A signature is younger than this, and no further ahead: what was recorded cannot be sent again forever.
const AGE: SignedDuration = SignedDuration::from_mins(5);
/// Shortest key, in bytes: a shorter one could be guessed.
const SHORTEST: usize = 16;
/// Longest key, in bytes.
const LONGEST: usize = 4096;
/// Most senders.
const MOST: usize = 64;

/// Header with when a push was signed, in seconds since 1970.
pub(super) const TIMESTAMP: &str = "Cutover-Timestamp";
/// Header with `v0=` and the signature.
pub(super) const SIGNATURE: &str = "Cutover-Signature";

/// The part `pushes` of the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pushes {
    /// Where they are taken.
    pub listen: SocketAddr,
    /// Who may push.
    pub senders: Vec<Sender>,
}

/// One that may push.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sender {
    /// What it is called in logs.
    pub name: String,
    /// The file with its key, which is read anew when it has changed.
    pub key_file: PathBuf,
    /// Whose Cutovers it may push; all where it is absent.
    #[serde(default)]
    pub namespaces: Option<BTreeSet<String>>,
}

/// Checks the part `pushes` of the configuration.
///
/// # Errors
/// The field, what is wrong with it, and what to write.
pub(in crate::operator) fn read(value: serde_json::Value) -> Result<Option<Pushes>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let pushes: Pushes = serde_json::from_value(value).map_err(|e| format!("pushes: {e}"))?;
    let mut names = BTreeSet::new();
    if pushes.senders.is_empty() || pushes.senders.len() > MOST {
        return Err(format!("pushes.senders: there are {}; name 1 to {MOST}", pushes.senders.len()));
    }
    for (i, sender) in pushes.senders.iter().enumerate() {
        let at = format!("pushes.senders[{i}]");
        if sender.name.is_empty() || !names.insert(&sender.name) {
            return Err(format!("{at}.name: {:?} is empty or another sender's; give each its own", sender.name));
        }
        if !sender.key_file.is_absolute() {
            let file = sender.key_file.display();
            return Err(format!("{at}.keyFile: {file} is no absolute path; write one, such as /etc/cutover/secrets/…"));
        }
        if sender.namespaces.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(format!("{at}.namespaces: it may push nothing; name a namespace, or leave the field out"));
        }
    }
    Ok(Some(pushes))
}

impl Sender {
    /// Whether it may push Cutovers of a namespace.
    pub fn may_push(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|all| all.contains(namespace))
    }

    /// Its key.
    ///
    /// # Errors
    /// Why there is none.
    pub fn key(&self) -> Result<Vec<u8>, String> {
        let file = self.key_file.display();
        let text = std::fs::read(&self.key_file).map_err(|e| format!("{file}: {e}"))?;
        let key = text.trim_ascii().to_vec();
        match key.len() {
            SHORTEST..=LONGEST => Ok(key),
            n => Err(format!("{file}: a key has {SHORTEST} to {LONGEST} bytes, and this one {n}")),
        }
    }
}

/// Whether a request carries this key: as a bearer token, or in a signature of the time and of what is asked for.
pub(super) fn carries(key: &[u8], headers: &HeaderMap, path: &str, now: Timestamp) -> bool {
    if let Some(token) = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) {
        // Compared by their codes, so that the time it takes says nothing of the key.
        return mac(key, &[token]).is_some_and(|of_token| {
            mac(key, &[key]).is_some_and(|wanted| wanted.verify_slice(&of_token.finalize().into_bytes()).is_ok())
        });
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(time), Some(signature)) = (text(TIMESTAMP), text(SIGNATURE)) else { return false };
    let fresh = |at: Timestamp| now.duration_since(at).abs() <= AGE;
    if !time.parse().ok().and_then(|second| Timestamp::from_second(second).ok()).is_some_and(fresh) {
        return false;
    }
    let given = signature.strip_prefix("v0=").and_then(bytes);
    let signed = mac(key, &[b"v0:", time.as_bytes(), b":POST ", path.as_bytes()]);
    given.zip(signed).is_some_and(|(given, signed)| signed.verify_slice(&given).is_ok())
}

fn mac(key: &[u8], text: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    text.iter().for_each(|part| mac.update(part));
    Some(mac)
}

/// The bytes of hexadecimal digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair.filter(|p| p.len() == 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";
    const PATH: &str = "/push/prod/shop";

    fn headers(all: &[(&'static str, String)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn signed(key: &[u8], time: &str, path: &str) -> HeaderMap {
        let mac = mac(key, &[b"v0:", time.as_bytes(), b":POST ", path.as_bytes()]).expect("a key");
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        headers(&[(TIMESTAMP, time.to_owned()), (SIGNATURE, format!("v0={hex}"))])
    }

    #[test]
    fn the_key_its_signature_and_nothing_else_counts() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let asks = |headers: &HeaderMap, path: &str| carries(KEY, headers, path, now);
        let bearer = |token: &str| headers(&[("authorization", format!("Bearer {token}"))]);
        assert!(asks(&bearer("0123456789abcdef"), PATH));
        for wrong in ["0123456789abcdeF", "0123456789abcde", "", "0123456789abcdef0"] {
            assert!(!asks(&bearer(wrong), PATH), "{wrong:?}");
        }
        assert!(!asks(&headers(&[]), PATH));
        for time in ["999700", "1000000", "1000300"] {
            assert!(asks(&signed(KEY, time, PATH), PATH), "{time}");
        }
        for (headers, path, why) in [
            (signed(KEY, "999699", PATH), PATH, "too old"),
            (signed(KEY, "1000301", PATH), PATH, "too far ahead"),
            (signed(KEY, "soon", PATH), PATH, "no time"),
            (signed(b"another key of it", "1000000", PATH), PATH, "another key"),
            (signed(KEY, "1000000", PATH), "/push/prod/other", "another Cutover"),
            (headers(&[(TIMESTAMP, "1000000".into()), (SIGNATURE, "v0=0g".into())]), PATH, "no digits"),
            (headers(&[(TIMESTAMP, "1000000".into()), (SIGNATURE, "v0=".into())]), PATH, "nothing"),
        ] {
            assert!(!asks(&headers, path), "{why}");
        }
    }

    #[test]
    fn what_is_wrong_in_the_configuration_is_said_by_its_field() {
        assert_eq!(read(serde_json::Value::Null), Ok(None));
        let sender = |more: serde_json::Value| {
            let mut sender = json!({"name": "a", "keyFile": "/k"});
            sender.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            json!({"listen": "0.0.0.0:8081", "senders": [sender]})
        };
        let good = read(sender(json!({"namespaces": ["prod"]}))).expect("good").expect("some");
        assert!(good.senders[0].may_push("prod") && !good.senders[0].may_push("other"));
        for (value, wanted) in [
            (json!({"listen": "8081", "senders": []}), "pushes: invalid socket address"),
            (json!({"listen": "0.0.0.0:8081", "senders": []}), "pushes.senders: there are 0; name 1 to 64"),
            (sender(json!({"name": ""})), "pushes.senders[0].name: \"\" is empty"),
            (sender(json!({"keyFile": "k"})), "pushes.senders[0].keyFile: k is no absolute path"),
            (sender(json!({"namespaces": []})), "pushes.senders[0].namespaces: it may push nothing"),
            (sender(json!({"key": "x"})), "pushes: unknown field `key`"),
        ] {
            let why = read(value).expect_err(wanted);
            assert!(why.starts_with(wanted), "{why}");
        }
    }
}
