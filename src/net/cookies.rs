//! PURE. The cookies of a session within a suite (RFC 6265, as far as it matters here): what an answer sets, as it is kept in the
//! run's Secret, and what of that goes with a later request.
//!
//! A cookie goes back to the place that set it: the same host of a URL, or the Services of the run. It follows `Path`, `Max-Age`
//! and `Expires`. `Domain` is not widened to other hosts. `Secure` forbids no request to a pod, which speaks plain HTTP behind what
//! ends TLS for users; it forbids plain HTTP to a URL.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::effect::sealed::Jar;

/// The header for a request, of the cookies that these answers have set, the oldest first. `plain`: a URL without TLS.
pub(super) fn header(answers: &[Bytes], scope: &str, path: &str, plain: bool, now: Timestamp) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let mut sent: Vec<Cookie> = vec![];
    let jars = answers.iter().filter_map(|answer| serde_json::from_slice::<Jar>(answer).ok());
    for jar in jars.filter(|jar| jar.scope == scope) {
        for line in &jar.set {
            let Some(cookie) = Cookie::read(line, &jar) else { continue };
            // One of the same name and path takes its place, also to end it.
            sent.retain(|other| (&other.name, &other.path) != (&cookie.name, &cookie.path));
            sent.push(cookie);
        }
    }
    sent.retain(|c| c.until.is_none_or(|until| until > now) && c.covers(path) && !(plain && c.secure));
    // Those of longer paths come first.
    sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
    let pairs: Vec<String> = sent.into_iter().map(|c| format!("{}={}", c.name, c.value)).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

struct Cookie {
    name: String,
    value: String,
    path: String,
    until: Option<Timestamp>,
    secure: bool,
}

impl Cookie {
    fn read(line: &str, jar: &Jar) -> Option<Self> {
        let mut parts = line.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        if name.is_empty() {
            return None;
        }
        let mut cookie = Self { name, value, path: default_path(&jar.path), until: None, secure: false };
        let mut age = None;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => age = value.parse::<i64>().ok(),
                "expires" => {
                    cookie.until = jiff::fmt::rfc2822::parse(&value.replace('-', " ")).ok().map(|z| z.timestamp())
                }
                _ => {}
            }
        }
        if let Some(seconds) = age {
            // It counts before `Expires`.
            let left = SignedDuration::from_secs(seconds.clamp(-1, 400 * 24 * 3600));
            cookie.until = jar.at.checked_add(left).ok();
        }
        Some(cookie)
    }

    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'))
    }
}

/// Of a cookie that names no path: the folder of what was asked for.
fn default_path(asked: &str) -> String {
    let asked = asked.split('?').next().unwrap_or_default();
    match asked.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(at) => asked[..at].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(scope: &str, path: &str, set: &[&str]) -> Bytes {
        let set = set.iter().map(|line| (*line).to_owned()).collect();
        let jar = Jar { scope: scope.into(), path: path.into(), at: Timestamp::UNIX_EPOCH, set };
        serde_json::to_vec(&jar).expect("a jar").into()
    }

    fn sent(answers: &[Bytes], path: &str, after: i64) -> Option<String> {
        header(answers, "", path, false, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(after))
    }

    #[test]
    fn a_cookie_goes_where_its_path_leads_and_no_longer_than_it_lasts() {
        let table = [
            ("sid=1; Path=/; HttpOnly; SameSite=Lax", "/a?x=1", 10, Some("sid=1")),
            ("sid=1", "/auth/me", 10, Some("sid=1")),
            ("sid=1", "/other", 10, None),
            ("sid=1; Path=/api", "/api", 10, Some("sid=1")),
            ("sid=1; Path=/api", "/api/x", 10, Some("sid=1")),
            ("sid=1; Path=/api", "/apix", 10, None),
            ("sid=1; Path=/; Max-Age=60", "/", 59, Some("sid=1")),
            ("sid=1; Path=/; Max-Age=60", "/", 60, None),
            ("sid=1; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:05 GMT", "/", 59, Some("sid=1")),
            ("sid=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:05 GMT", "/", 4, Some("sid=1")),
            ("sid=1; Path=/; Expires=Thu, 01-Jan-1970 00:00:05 GMT", "/", 6, None),
            ("sid=a=b; Path=/; Secure", "/", 10, Some("sid=a=b")),
            ("no cookie", "/", 10, None),
            ("=1; Path=/", "/", 10, None),
        ];
        for (set, path, after, wanted) in table {
            assert_eq!(sent(&[jar("", "/auth/login", &[set])], path, after).as_deref(), wanted, "{set} {path} {after}");
        }
    }

    #[test]
    fn later_answers_replace_and_end_what_earlier_ones_set() {
        let login = jar("", "/login", &["sid=1; Path=/", "lang=de; Path=/api", "x=1; Path=/"]);
        let renewed = jar("", "/renew", &["sid=2; Path=/", "x=; Path=/; Max-Age=0"]);
        assert_eq!(sent(&[login.clone(), renewed.clone()], "/api/x", 1).as_deref(), Some("lang=de; sid=2"));
        assert_eq!(sent(&[renewed, login], "/", 1).as_deref(), Some("sid=1; x=1"));
    }

    #[test]
    fn no_other_place_gets_it() {
        let at = |scope: &str, plain: bool| {
            let set = [jar("shop.example.com", "/", &["sid=1; Secure"])];
            header(&set, scope, "/", plain, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(at("shop.example.com", false).as_deref(), Some("sid=1"));
        assert_eq!((at("shop.example.com", true), at("", false), at("x.shop.example.com", false)), (None, None, None));
        assert_eq!(header(&[Bytes::from_static(b"not a jar")], "", "/", false, Timestamp::UNIX_EPOCH), None);
    }
}
