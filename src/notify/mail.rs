//! Mail: plain text, one mail for each letter, those of a run in one thread. What leads to the server is a URL in a Secret:
//! `smtps://` speaks TLS from the start, `smtp://` by STARTTLS, and `smtp://…?tls=off` not at all.

use std::fmt;

use jiff::tz::TimeZone;
use lettre::message::Body;
use lettre::message::header::{HeaderName, HeaderValue, Headers};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::text::{self, Texts};
use super::{Answer, Found, Post, Response, Secrets};
use crate::api::notify::Mail;
use crate::effect::letter::Letter;

/// How the URL of a mail server begins.
const SCHEMES: [&str; 2] = ["smtps://", "smtp://"];

pub(super) struct Form<'a> {
    pub to: &'a Mail,
    pub texts: &'a Texts,
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        found.address("mail.secret", self.server(secrets));
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let url = self.server(secrets)?;
        let domain = self.to.from.rsplit_once('@').map_or("cutover.invalid", |(_, domain)| domain);
        let run = format!("<{}@{domain}>", letter.run.uid);
        let date = jiff::fmt::rfc2822::to_string(&letter.at.to_zoned(TimeZone::UTC)).map_err(|e| e.to_string())?;
        let headers = [
            ("From", self.to.from.clone()),
            ("To", self.to.to.join(", ")),
            // What looks like an encoded word would be shown as what it encodes.
            ("Subject", text::title(letter).replace("=?", "= ?")),
            ("Date", date),
            ("Message-ID", format!("<{}@{domain}>", letter.id)),
            // No mail has that id: those that name it belong together.
            ("In-Reply-To", run.clone()),
            ("References", run),
            ("Auto-Submitted", "auto-generated".to_owned()),
        ];
        Ok(vec![Post {
            url,
            headers: headers.into(),
            sensitive: &[],
            content_type: "text/plain; charset=utf-8",
            body: self.body(letter)?,
        }])
    }

    fn answer(&self, response: &Response<'_>) -> Answer {
        // What stands beside the code are words of our own: see `net::mail`.
        let words = String::from_utf8_lossy(response.body);
        match response.status {
            200..=299 if words.is_empty() => Answer::Taken { answer: response.status.to_string(), thread: None },
            200..=299 => Answer::Taken { answer: format!("{}; {words}", response.status), thread: None },
            status => Answer::Not { why: format!("it answered {status} to {words}"), pause: None },
        }
    }
}

impl Form<'_> {
    /// The URL of the server.
    fn server(&self, secrets: &Secrets<'_>) -> Result<String, String> {
        let key = &self.to.secret;
        let url = secrets.url_of(key, &SCHEMES)?;
        match Server::of(&url) {
            Ok(_) => Ok(url),
            Err(why) => Err(format!("Secret {}, key {}: {why}", key.name, key.key)),
        }
    }

    fn body(&self, letter: &Letter) -> Result<String, String> {
        let facts = text::facts(letter);
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let facts: String = facts
            .into_iter()
            .map(|(name, value)| format!("{:<width$} {value}\n", format!("{name}:"), width = width + 1))
            .collect();
        Ok(format!("{}\n\n{facts}", text::text(letter, self.texts)?))
    }
}

/// Whether a URL is that of a mail server.
pub(crate) fn is_mail(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.starts_with(scheme))
}

/// The mail as it is sent: headers encoded, so that none can end early and become two, and the body with them.
///
/// # Errors
/// The name of a header that may not be.
pub(crate) fn wire(post: &Post) -> Result<Vec<u8>, String> {
    let body = Body::new(post.body.clone());
    let mut all = Headers::new();
    let encoding = body.encoding().to_string();
    let own = [("MIME-Version", "1.0"), ("Content-Type", post.content_type), ("Content-Transfer-Encoding", &encoding)];
    let given = post.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in given.chain(own) {
        let named = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| format!("{name} cannot be a header"))?;
        all.insert_raw(HeaderValue::new(named, value.to_owned()));
    }
    let mut mail = format!("{all}\r\n").into_bytes();
    mail.extend(body.into_vec());
    Ok(mail)
}

/// Whether TLS is spoken with a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// From the start.
    Always,
    /// After STARTTLS, without which nothing is said.
    Asked,
    /// Never: for a server on a private address, without a password.
    Off,
}

/// A mail server.
#[derive(Clone, PartialEq)]
pub(crate) struct Server {
    pub host: Host,
    pub port: u16,
    pub tls: Tls,
    /// User and password.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:?}", self.host, self.port, self.tls)
    }
}

impl Server {
    /// The server of a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of it.
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("it is no URL: {e}"))?;
        let off = match (url.scheme(), url.query()) {
            ("smtp" | "smtps", None) => false,
            ("smtp", Some("tls=off")) => true,
            ("smtp", Some(_)) => return Err("after the host only ?tls=off may stand".into()),
            ("smtps", Some(_)) => return Err("nothing may stand after the host".into()),
            _ => return Err("it begins neither with smtps:// nor with smtp://".into()),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("no path may stand after the host".into());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        // These schemes are not known to the parser, which leaves the host as it is written.
        let host = Host::parse(host).map_err(|e| format!("its host is none: {e}"))?;
        let (tls, usual) = match (url.scheme(), off) {
            ("smtps", _) => (Tls::Always, 465),
            (_, false) => (Tls::Asked, 587),
            (_, true) => (Tls::Off, 25),
        };
        let text = |encoded: &str, what: &str| {
            let text = percent_decode_str(encoded).decode_utf8().map_err(|_| format!("its {what} is no text"))?;
            match text.chars().any(char::is_control) {
                true => Err(format!("its {what} has a character that steers")),
                false => Ok(text.into_owned()),
            }
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) => return Err("it has a password without a user".into()),
            (_, None) => return Err("it has a user without a password".into()),
            (_, Some(_)) if off => return Err("with tls=off everybody on the way could read the password".into()),
            (user, Some(password)) => Some((text(user, "user")?, text(password, "password")?)),
        };
        Ok(Self { host, port: url.port().unwrap_or(usual), tls, login })
    }
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
