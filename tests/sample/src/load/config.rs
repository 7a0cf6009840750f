//! What load to make.

use anyhow::{Context, Result, bail};
use std::{net::SocketAddr, net::ToSocketAddrs, time::Duration};

/// What load to make, and its bounds.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// URL as given.
    pub url: String,
    /// Address to connect to.
    pub addr: SocketAddr,
    /// `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Requests per second that each open a connection of their own.
    pub fresh_rate: f64,
    /// Requests per second on kept-alive connections.
    pub keepalive_rate: f64,
    /// Largest age of a kept-alive connection (1 s).
    pub keepalive_age: Duration,
    /// Clients of each of HTTP/1.1, HTTP/2, gRPC and websockets that never close their connection by themselves (0; 250 at
    /// most).
    pub lasting: usize,
    /// How often each of them asks (200 ms; 20 ms at least).
    pub lasting_every: Duration,
    /// Whether they connect only when told to, instead of at the start.
    pub lasting_later: bool,
    /// How long to send; `None`: until stopped, at most `max_duration`.
    pub duration: Option<Duration>,
    /// Bound that holds in any case (15 min).
    pub max_duration: Duration,
    /// Bound on all requests together (500 000).
    pub max_requests: u64,
    /// Bound on requests under way at once (2000).
    pub max_in_flight: u64,
    /// A request without a full answer after this time is lost (5 s).
    pub timeout: Duration,
}

impl LoadConfig {
    /// Load on `url` with 200 fresh requests per second and no kept-alive ones.
    ///
    /// A name in the URL is resolved once, here.
    pub fn new(url: &str) -> Result<Self> {
        let parsed = url::Url::parse(url).with_context(|| format!("not a URL: {url}"))?;
        let (Some(name), Some(port), "http") = (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            bail!("{url} is not of the form http://HOST:PORT/PATH");
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let addr = (bare, port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {name}"))?
            .next()
            .with_context(|| format!("{name} has no address"))?;
        Ok(Self {
            url: url.to_owned(),
            addr,
            host: format!("{name}:{port}"),
            path: parsed[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            fresh_rate: 200.0,
            keepalive_rate: 0.0,
            keepalive_age: Duration::from_secs(1),
            lasting: 0,
            lasting_every: Duration::from_millis(200),
            lasting_later: false,
            duration: None,
            max_duration: Duration::from_secs(15 * 60),
            max_requests: 500_000,
            max_in_flight: 2000,
            timeout: Duration::from_secs(5),
        })
    }
}

/// Reads a duration such as `500ms`, `60s`, `2m30s` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 500ms, 60s or 2m30s");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(millis).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m30s"), Ok(Duration::from_secs(150)));
        for wrong in ["", "5", "s", "5 s", "1.5s", "-1s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls() {
        let config = LoadConfig::new("http://127.0.0.1:8080/a/b?c=d#e").unwrap();
        assert_eq!(config.addr.to_string(), "127.0.0.1:8080");
        assert_eq!((config.host.as_str(), config.path.as_str()), ("127.0.0.1:8080", "/a/b?c=d"));
        assert_eq!(LoadConfig::new("http://[::1]:80").unwrap().path, "/");
        assert!(LoadConfig::new("https://127.0.0.1/").is_err());
        assert!(LoadConfig::new("127.0.0.1:80").is_err());
    }
}
