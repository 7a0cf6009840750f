//! What a certificate says of itself (RFC 5280): subject, issuer, names, end. What it is worth, others decide.
//!
//! The certificate comes from whoever answers. `x509-parser` reads it, of its extensions the one with the names only.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::{Err as Nom, Parser};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::x509::X509Name;

/// Most names of a certificate that are shown.
pub(crate) const MAX_NAMES: usize = 100;
/// Longest text that is shown.
pub(crate) const MAX_TEXT: usize = 253;
/// Parts of names that have short ones (RFC 4514).
const ATTRIBUTES: [(&str, &str); 6] =
    [("2.5.4.3", "CN"), ("2.5.4.6", "C"), ("2.5.4.7", "L"), ("2.5.4.8", "ST"), ("2.5.4.10", "O"), ("2.5.4.11", "OU")];

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Whom it is about.
    pub(crate) subject: String,
    /// Who signed it.
    pub(crate) issuer: String,
    /// DNS names and addresses that it is for; without the extension no client of today takes it for any.
    pub(crate) names: Vec<String>,
    pub(crate) not_after: Timestamp,
}

/// Reads a certificate.
///
/// # Errors
/// It is none.
pub(crate) fn read(der: &[u8]) -> Result<Contents, String> {
    contents(der).map_err(|why| format!("the certificate cannot be read: {why}"))
}

fn contents(der: &[u8]) -> Result<Contents, String> {
    let (rest, certificate) = X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).map_err(why)?;
    all_read(rest)?;
    // 99991231235959Z says that there is no end (RFC 5280, 4.1.2.5), a little later than a `Timestamp` can be.
    let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
    let extension = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).map_err(|e| e.to_string())?;
    let names = extension.map(|e| names(e.value)).transpose()?.unwrap_or_default();
    Ok(Contents { subject: shown(certificate.subject()), issuer: shown(certificate.issuer()), names, not_after })
}

/// Bytes after the end belong to no certificate.
fn all_read(rest: &[u8]) -> Result<(), String> {
    if rest.is_empty() { Ok(()) } else { Err(format!("{} bytes follow it", rest.len())) }
}

fn why(error: Nom<X509Error>) -> String {
    match error {
        Nom::Incomplete(_) => "it ends too early".to_owned(),
        Nom::Error(e) | Nom::Failure(e) => e.to_string(),
    }
}

/// A name with its parts, each of which may have several attributes.
fn shown(name: &X509Name<'_>) -> String {
    let parts = name.iter().map(|part| {
        let attributes = part.iter().map(|attribute| {
            let kind = attribute.attr_type().to_id_string();
            let known = ATTRIBUTES.iter().find(|(oid, _)| kind == *oid).map(|(_, short)| *short);
            format!("{}={}", known.unwrap_or(&kind), text(attribute.attr_value()))
        });
        attributes.collect::<Vec<_>>().join("+")
    });
    short(&parts.collect::<Vec<_>>().join(", "))
}

fn text(value: &Any<'_>) -> String {
    if value.tag() == Tag::BmpString {
        let units: Vec<u16> = value
            .data
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)))
            .collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value.data).into_owned()
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The names in the extension's value.
fn names(value: &[u8]) -> Result<Vec<String>, String> {
    let (rest, list) = SubjectAlternativeName::from_der(value).map_err(why)?;
    all_read(rest)?;
    Ok(list.general_names.iter().filter_map(name).take(MAX_NAMES).collect())
}

fn name(of: &GeneralName<'_>) -> Option<String> {
    match of {
        GeneralName::DNSName(name) => Some(short(name)),
        // One that is no UTF-8 is shown as far as it can be read.
        GeneralName::Invalid(tag, bytes) if tag.0 == 2 => Some(short(&String::from_utf8_lossy(bytes))),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        // A client of HTTPS looks at no other kind.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names = ["shop.example", "*.shop.example", "10.1.2.3", "fd00::1"];
        let mut params = CertificateParams::new(names.map(str::to_owned)).expect("names");
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    #[test]
    fn names_ends_and_signers_are_read() {
        let der = made(|p| {
            p.distinguished_name.push(DnType::CommonName, "shop.example");
            p.distinguished_name.push(DnType::OrganizationName, "Größe & Co");
            p.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), DnValue::Utf8String("x".into()));
            p.not_after = date_time_ymd(2040, 3, 1);
        });
        let wanted = Contents {
            subject: "CN=shop.example, O=Größe & Co, 1.2.3.4=x".into(),
            issuer: "CN=shop.example, O=Größe & Co, 1.2.3.4=x".into(),
            names: ["shop.example", "*.shop.example", "10.1.2.3", "fd00::1"].map(str::to_owned).into(),
            not_after: "2040-03-01T00:00:00Z".parse().expect("a time"),
        };
        assert_eq!(read(&der), Ok(wanted));
        // From 2050 on times have another form.
        let later = made(|p| p.not_after = date_time_ymd(2090, 1, 1));
        assert_eq!(read(&later).map(|c| c.not_after.to_string()), Ok("2090-01-01T00:00:00Z".into()));
        let server = include_bytes!("testdata/server.der");
        assert_eq!(read(server).map(|c| c.names), Ok(vec!["shop.example".to_owned()]));
    }

    #[test]
    fn what_is_no_certificate_is_an_error_and_no_panic() {
        let der = made(|_| {});
        for end in 0..der.len() {
            assert!(read(&der[..end]).is_err(), "{end}");
        }
        for at in 0..der.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut broken = der.clone();
                broken[at] ^= flip;
                let _ = read(&broken);
            }
        }
        let trailing = [der.as_slice(), b"x"].concat();
        let nested = [[0x30, 0x80].repeat(30_000), vec![0; 4]].concat();
        let pem = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        for (what, bytes) in [("nothing", &[][..]), ("trailing", &trailing), ("nested", &nested), ("PEM", pem)] {
            let why = read(bytes).expect_err(what);
            assert!(why.starts_with("the certificate cannot be read: "), "{what}: {why}");
        }
        assert_eq!(read(&trailing), Err("the certificate cannot be read: 1 bytes follow it".into()));
    }

    /// `from` in place of `to`, of the same length, wherever it stands.
    fn replaced(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut made = der.to_vec();
        let places: Vec<_> = (0..=der.len() - from.len()).filter(|at| der[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{from:?} does not stand in it");
        for at in places {
            made[at..at + to.len()].copy_from_slice(to);
        }
        made
    }

    #[test]
    fn lengths_that_lie_cost_nothing() {
        let der = made(|_| {});
        // The outermost sequence says that 4 GiB follow; one that has no end; one longer than a length may be.
        let lies: [&[u8]; 3] =
            [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80], &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]];
        for lie in lies {
            assert!(read(&[lie, &der[4..]].concat()).is_err(), "{lie:?}");
        }
    }

    #[test]
    fn times_that_are_none_are_errors() {
        let der = made(|p| p.not_after = date_time_ymd(2040, 3, 1));
        for bad in
            [b"401301000000Z", b"400230000000Z", b"400301240000Z", b"400301000060Z", b"4003010000000", b"40-3-1 00:00Z"]
        {
            assert!(read(&replaced(&der, b"400301000000Z", bad)).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let der = made(|p| p.not_after = date_time_ymd(2090, 3, 1));
        for bad in [b"20901301000000Z", b"20900301000000+", b"2090030100000.Z", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert!(read(&replaced(&der, b"20900301000000Z", bad)).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        // A certificate without an end.
        let last = read(&replaced(&der, b"20900301000000Z", b"99991231235959Z"));
        assert_eq!(last.map(|c| c.not_after), Ok(Timestamp::MAX));
    }

    #[test]
    fn what_is_shown_is_bounded_and_readable() {
        let der = made(|p| {
            p.subject_alt_names = (0..500)
                .map(|n| SanType::DnsName(format!("{n}.example").try_into().expect("a name")))
                .chain([SanType::URI("spiffe://shop".try_into().expect("a URI"))])
                .collect();
            p.distinguished_name.push(DnType::CommonName, "x".repeat(1000));
        });
        let long = read(&der).expect("a certificate");
        assert_eq!((long.names.len(), long.names[0].as_str()), (MAX_NAMES, "0.example"));
        assert_eq!(long.subject.len(), MAX_TEXT);
        // A name that is no UTF-8, and an address of five bytes.
        let odd = made(|p| {
            let name = SanType::DnsName("caf-.example".try_into().expect("a name"));
            p.subject_alt_names = vec![name, SanType::IpAddress([10, 1, 2, 3].into())];
        });
        let odd = replaced(&odd, b"caf-.example", b"caf\xe9.example");
        assert_eq!(read(&odd).map(|c| c.names), Ok(vec!["caf\u{fffd}.example".to_owned(), "10.1.2.3".to_owned()]));
        // Without names there are none; names that cannot be read are an error.
        assert_eq!(read(&made(|p| p.subject_alt_names = vec![])).map(|c| c.names), Ok(vec![]));
        let one = made(|p| p.subject_alt_names = vec![SanType::IpAddress([10, 1, 2, 3].into())]);
        assert!(read(&replaced(&one, &[0x87, 4, 10, 1, 2, 3], &[0x87, 9, 10, 1, 2, 3])).is_err());
        // Wide characters, as old authorities of Windows write them.
        let wide = made(|p| {
            p.distinguished_name.push(DnType::CommonName, DnValue::BmpString("Größe".try_into().expect("a text")));
        });
        assert_eq!(read(&wide).map(|c| c.subject), Ok("CN=Größe".to_owned()));
    }
}
