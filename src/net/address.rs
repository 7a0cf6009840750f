//! PURE. Which addresses a request may go to (DESIGN §7). No resolving, no connecting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What the operator's flags and the cluster say about addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Private ranges that URLs may reach.
    pub(crate) allow_private: Vec<IpNet>,
    /// Whether URLs may reach public addresses.
    pub(crate) allow_public: bool,
    /// Never: addresses of nodes and of the API server.
    pub deny: Vec<IpNet>,
    /// Whether those addresses are known. Until then nothing is allowed but what the operator's configuration names.
    pub(crate) machines: bool,
    /// For the tests of this crate, whose servers listen there. No flag sets it.
    #[cfg(test)]
    pub(crate) loopback: bool,
}

/// Where an address comes from, which decides what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cluster says that a pod or Service of the namespace has it.
    Cluster,
    /// The operator's own configuration names it: a source of metrics.
    Configuration,
    /// Somebody wrote a URL.
    Url,
}

/// Why an address may not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// 127.0.0.0/8, ::1.
    #[error("a loopback address")]
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    #[error("a link-local address")]
    LinkLocal,
    /// 0.0.0.0/8, ::.
    #[error("an unspecified address")]
    Unspecified,
    /// 224.0.0.0/4, ff00::/8, 255.255.255.255.
    #[error("a multicast or broadcast address")]
    Multicast,
    /// Where clouds tell machines their credentials.
    #[error("a cloud's metadata service")]
    Metadata,
    /// A node or the API server.
    #[error("an address of a node or of the API server")]
    Node,
    /// Perhaps a node or the API server.
    #[error("perhaps an address of a node or of the API server: those are not known yet")]
    NotKnown,
    /// Assigned to nobody, or hides another address in a way that cannot be checked.
    #[error("an address of no use to a request")]
    Reserved,
    /// Private, and no flag allows it.
    #[error(
        "a private address, which the operator's flags do not allow; use `to` for pods and Services of this namespace"
    )]
    Private,
    /// Public, and flags forbid that.
    #[error("a public address, which the operator's flags do not allow")]
    Public,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len)
}
const fn v6(s: [u16; 8], len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), len)
}

/// Metadata services outside the link-local range; the last is reachable from a machine of that cloud alone.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

const UNSPECIFIED_V4: Ipv4Net = v4(0, 0, 0, 0, 8);
const RESERVED_V4: Ipv4Net = v4(240, 0, 0, 0, 4);
/// Not routed in the internet, so somebody's own: RFC 1918, shared (RFC 6598), protocol assignments, documentation,
/// benchmarks, 6to4 relays.
const PRIVATE_V4: [Ipv4Net; 10] = [
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(100, 64, 0, 0, 10),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(192, 88, 99, 0, 24),
];

const LINK_LOCAL_V6: Ipv6Net = v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10);
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);
const PRIVATE_V6: [Ipv6Net; 3] = [
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// The address that is really reached: IPv4 addresses written inside IPv6 ones are taken out.
pub fn unwrap(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // `::` and `::1` are themselves, everything else in ::/96 is IPv4-compatible.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        _ => ip,
    }
}

impl AddressRules {
    /// Whether a request may go to this address.
    pub fn check(&self, ip: IpAddr, origin: Origin) -> Result<(), Forbidden> {
        let real = unwrap(ip);
        #[cfg(test)]
        if self.loopback && real.is_loopback() {
            return Ok(());
        }
        // Both forms: a range in a flag may be written either way.
        let within = |nets: &[IpNet]| nets.iter().any(|n| n.contains(&real) || n.contains(&ip));
        // What is never allowed is named first: an API server reached over loopback is a loopback address all the same.
        let private = match real {
            IpAddr::V4(ip) => private_v4(ip)?,
            IpAddr::V6(ip) => private_v6(ip)?,
        };
        if within(&self.deny) {
            return Err(Forbidden::Node);
        }
        if !self.machines && origin != Origin::Configuration {
            return Err(Forbidden::NotKnown);
        }
        match origin {
            Origin::Cluster | Origin::Configuration => Ok(()),
            Origin::Url if within(&self.allow_private) => Ok(()),
            Origin::Url if private => Err(Forbidden::Private),
            Origin::Url if self.allow_public => Ok(()),
            Origin::Url => Err(Forbidden::Public),
        }
    }

    /// Whether an address is somebody's own, so that what is said to it does not cross the internet.
    pub(super) fn is_private(&self, ip: IpAddr) -> bool {
        let real = unwrap(ip);
        #[cfg(test)]
        if self.loopback && real.is_loopback() {
            return true;
        }
        let private = match real {
            IpAddr::V4(ip) => private_v4(ip),
            IpAddr::V6(ip) => private_v6(ip),
        };
        private == Ok(true)
    }

    /// Rules under which the tests' own servers can be asked.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { loopback: true, machines: true, ..Self::default() }
    }
}

/// Whether an address is private; an error if nobody may ask it.
fn private_v4(ip: Ipv4Addr) -> Result<bool, Forbidden> {
    if METADATA_V4.contains(&ip) || ip == Ipv4Addr::new(169, 254, 169, 254) {
        Err(Forbidden::Metadata)
    } else if ip.is_loopback() {
        Err(Forbidden::Loopback)
    } else if ip.is_link_local() {
        Err(Forbidden::LinkLocal)
    } else if UNSPECIFIED_V4.contains(&ip) {
        Err(Forbidden::Unspecified)
    } else if ip.is_multicast() || ip.is_broadcast() {
        Err(Forbidden::Multicast)
    } else if RESERVED_V4.contains(&ip) {
        Err(Forbidden::Reserved)
    } else {
        Ok(PRIVATE_V4.iter().any(|n| n.contains(&ip)))
    }
}

/// Whether an address is private; an error if nobody may ask it.
fn private_v6(ip: Ipv6Addr) -> Result<bool, Forbidden> {
    if METADATA_V6.contains(&ip) {
        Err(Forbidden::Metadata)
    } else if ip.is_loopback() {
        Err(Forbidden::Loopback)
    } else if LINK_LOCAL_V6.contains(&ip) {
        Err(Forbidden::LinkLocal)
    } else if ip.is_unspecified() {
        Err(Forbidden::Unspecified)
    } else if ip.is_multicast() {
        Err(Forbidden::Multicast)
    } else if PRIVATE_V6.iter().any(|n| n.contains(&ip)) {
        Ok(true)
    } else if TEREDO.contains(&ip) || !GLOBAL_V6.contains(&ip) {
        Err(Forbidden::Reserved)
    } else {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> AddressRules {
        AddressRules {
            allow_private: vec!["10.20.0.0/16".parse().unwrap(), "fd12::/32".parse().unwrap()],
            allow_public: true,
            deny: vec!["203.0.113.7/32".parse().unwrap(), "10.20.0.1/32".parse().unwrap()],
            machines: true,
            loopback: false,
        }
    }

    #[test]
    fn what_a_url_may_reach() {
        use Forbidden::*;
        let table: &[(&str, Result<(), Forbidden>)] = &[
            ("8.8.8.8", Ok(())),
            ("1.1.1.1", Ok(())),
            ("2606:4700::1111", Ok(())),
            ("10.20.3.4", Ok(())),
            ("fd12::1", Ok(())),
            ("127.0.0.1", Err(Loopback)),
            ("127.255.255.254", Err(Loopback)),
            ("::1", Err(Loopback)),
            ("169.254.1.1", Err(LinkLocal)),
            ("fe80::1", Err(LinkLocal)),
            ("febf::1", Err(LinkLocal)),
            ("169.254.169.254", Err(Metadata)),
            ("100.100.100.200", Err(Metadata)),
            ("192.0.0.192", Err(Metadata)),
            ("168.63.129.16", Err(Metadata)),
            ("fd00:ec2::254", Err(Metadata)),
            ("fd20:ce::254", Err(Metadata)),
            ("0.0.0.0", Err(Unspecified)),
            ("0.1.2.3", Err(Unspecified)),
            ("::", Err(Unspecified)),
            ("224.0.0.1", Err(Multicast)),
            ("239.255.255.255", Err(Multicast)),
            ("255.255.255.255", Err(Multicast)),
            ("ff02::1", Err(Multicast)),
            ("240.0.0.1", Err(Reserved)),
            ("2001::1", Err(Reserved)),
            ("64:ff9b:1::a00:1", Err(Reserved)),
            ("fec0::1", Err(Reserved)),
            ("100::1", Err(Reserved)),
            ("4000::1", Err(Reserved)),
            ("10.0.0.1", Err(Private)),
            ("10.21.0.1", Err(Private)),
            ("172.16.0.1", Err(Private)),
            ("172.31.255.255", Err(Private)),
            ("172.32.0.1", Ok(())),
            ("192.168.1.1", Err(Private)),
            ("100.64.0.1", Err(Private)),
            ("192.0.2.1", Err(Private)),
            ("198.18.0.1", Err(Private)),
            ("fc00::1", Err(Private)),
            ("fd00::1", Err(Private)),
            ("2001:db8::1", Err(Private)),
            ("203.0.113.7", Err(Node)),
            ("10.20.0.1", Err(Node)),
            // IPv4 in IPv6 clothes: mapped, compatible, translated, NAT64, 6to4
            ("::ffff:127.0.0.1", Err(Loopback)),
            ("::127.0.0.1", Err(Loopback)),
            ("::ffff:0:127.0.0.1", Err(Loopback)),
            ("64:ff9b::127.0.0.1", Err(Loopback)),
            ("2002:7f00:1::", Err(Loopback)),
            ("::ffff:169.254.169.254", Err(Metadata)),
            ("64:ff9b::169.254.169.254", Err(Metadata)),
            ("2002:a9fe:a9fe::1", Err(Metadata)),
            ("::ffff:10.0.0.1", Err(Private)),
            ("::ffff:10.20.3.4", Ok(())),
            ("::ffff:203.0.113.7", Err(Node)),
            ("64:ff9b::8.8.8.8", Ok(())),
        ];
        for (ip, expected) in table {
            assert_eq!(rules().check(ip.parse().unwrap(), Origin::Url), *expected, "{ip}");
        }
    }

    #[test]
    fn what_the_cluster_names_may_be_private_but_nothing_worse() {
        use Forbidden::*;
        for origin in [Origin::Cluster, Origin::Configuration] {
            for (ip, expected) in [
                ("10.0.0.1", Ok(())),
                ("192.168.1.1", Ok(())),
                ("fd00::1", Ok(())),
                ("8.8.8.8", Ok(())),
                ("127.0.0.1", Err(Loopback)),
                ("169.254.1.1", Err(LinkLocal)),
                ("169.254.169.254", Err(Metadata)),
                ("::ffff:127.0.0.1", Err(Loopback)),
                ("0.0.0.0", Err(Unspecified)),
                ("224.0.0.1", Err(Multicast)),
                // a pod on the node's own network
                ("10.20.0.1", Err(Node)),
            ] {
                assert_eq!(rules().check(ip.parse().unwrap(), origin), expected, "{ip}");
            }
        }
    }

    #[test]
    fn flags_forbid_public_addresses() {
        let rules = AddressRules { allow_public: false, ..rules() };
        assert_eq!(rules.check("8.8.8.8".parse().unwrap(), Origin::Url), Err(Forbidden::Public));
        assert_eq!(rules.check("10.20.3.4".parse().unwrap(), Origin::Url), Ok(()));
    }

    #[test]
    fn nothing_is_open_before_the_machines_are_known() {
        let rules = AddressRules { machines: false, ..rules() };
        for (origin, expected) in [
            (Origin::Url, Err(Forbidden::NotKnown)),
            (Origin::Cluster, Err(Forbidden::NotKnown)),
            (Origin::Configuration, Ok(())),
        ] {
            assert_eq!(rules.check("8.8.8.8".parse().unwrap(), origin), expected, "{origin:?}");
        }
    }

    #[test]
    fn no_flag_opens_what_is_never_allowed() {
        let rules = AddressRules {
            allow_private: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            machines: true,
            ..AddressRules::default()
        };
        for ip in ["127.0.0.1", "169.254.169.254", "100.100.100.200", "::1", "fd00:ec2::254", "0.0.0.0"] {
            assert!(rules.check(ip.parse().unwrap(), Origin::Url).is_err(), "{ip}");
        }
    }
}
