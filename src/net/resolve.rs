//! Name → one address that the rules allow. Every answer is checked, one is pinned, and nothing else is connected to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use url::Host;

use super::address::{AddressRules, Forbidden, Origin};

/// Asks name servers.
pub(super) struct Resolver(Result<TokioResolver, String>);

impl Resolver {
    /// The system's name servers, or this one. Where there are none, names fail and addresses still work.
    pub(super) fn new(dns: Option<SocketAddr>) -> Self {
        let builder = match dns {
            None => TokioResolver::builder_tokio(),
            Some(at) => {
                let mut server = NameServerConfig::udp_and_tcp(at.ip());
                for connection in &mut server.connections {
                    connection.port = at.port();
                }
                let config = ResolverConfig::from_name_servers(vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            // A request has seconds in all, and whoever changes an address during a cutover wants that seen.
            options.timeout = Duration::from_secs(2);
            options.positive_max_ttl = Some(Duration::from_secs(30));
            options.negative_max_ttl = Some(Duration::from_secs(5));
            options.cache_size = 256;
            builder.build()
        });
        Self(resolver.map_err(|e| e.to_string()))
    }

    /// The address of a URL's host. Errors name the host and the rule.
    pub(super) async fn pin(&self, host: Host<String>, rules: &AddressRules, origin: Origin) -> Result<IpAddr, String> {
        match host {
            Host::Ipv4(ip) => checked(&ip.to_string(), &[IpAddr::V4(ip)], rules, origin),
            Host::Ipv6(ip) => checked(&ip.to_string(), &[IpAddr::V6(ip)], rules, origin),
            Host::Domain(name) => checked(&name, &self.addresses(&name).await?, rules, origin),
        }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        // RFC 6761: never asked of a name server, and forbidden whatever it would answer.
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        if bare == "localhost" || bare.ends_with(".localhost") {
            return Ok(vec![IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)]);
        }
        let resolver = self.0.as_ref().map_err(|e| format!("{name} cannot be resolved: no name servers: {e}"))?;
        let answer = resolver.lookup_ip(name).await.map_err(|e| format!("{name} cannot be resolved: {e}"))?;
        Ok(answer.iter().collect())
    }
}

/// Refuses if any answer is forbidden: a name that has both kinds of addresses is an attempt to get past the check.
fn checked(host: &str, all: &[IpAddr], rules: &AddressRules, origin: Origin) -> Result<IpAddr, String> {
    for ip in all {
        rules.check(*ip, origin).map_err(|why| {
            let remedy = match why {
                Forbidden::Private => "",
                _ => "; use another URL, or `path` with `to` for pods and Services of this namespace",
            };
            format!("{host} may not be asked: {ip} is {why}{remedy}")
        })?;
    }
    // IPv4 first: it is what most clusters have.
    let pinned = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
    pinned.copied().ok_or_else(|| format!("{host} cannot be resolved: it has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> AddressRules {
        AddressRules { allow_public: true, machines: true, ..AddressRules::default() }
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|s| s.parse().unwrap()).collect()
    }

    #[test]
    fn one_forbidden_answer_forbids_the_name() {
        let mixed = ips(&["8.8.8.8", "169.254.169.254"]);
        let why = checked("evil.example", &mixed, &rules(), Origin::Url).unwrap_err();
        assert!(why.contains("evil.example") && why.contains("metadata"), "{why}");
        let hidden = ips(&["2606:4700::1111", "::ffff:127.0.0.1"]);
        assert!(checked("evil.example", &hidden, &rules(), Origin::Url).is_err());
    }

    #[test]
    fn one_answer_is_pinned() {
        let both = ips(&["2606:4700::1111", "1.1.1.1"]);
        assert_eq!(checked("one.example", &both, &rules(), Origin::Url), Ok("1.1.1.1".parse().unwrap()));
        assert!(checked("none.example", &[], &rules(), Origin::Url).is_err());
    }

    #[tokio::test]
    async fn odd_ways_to_write_an_address_are_seen_through() {
        let resolver = Resolver::new(Some("127.0.0.1:9".parse().unwrap()));
        for text in [
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
            "http://[::ffff:7f00:1]/",
            "http://[::]/",
            "http://127.0.0.1./",
            "http://①②⑦.0.0.1/",
            "http://localhost/",
            "http://a.LOCALHOST./",
            "http://169.254.169.254/latest/meta-data",
            "http://0xa9fea9fe/",
        ] {
            let url = url::Url::parse(text).unwrap();
            let answer = resolver.pin(url.host().unwrap().to_owned(), &rules(), Origin::Url).await;
            assert!(answer.is_err_and(|e| e.contains("may not be asked")), "{text}");
        }
    }
}
