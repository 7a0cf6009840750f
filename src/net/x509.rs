//! What a certificate says of itself (RFC 5280): subject, issuer, names, end. What it is worth, others decide.

use std::net::IpAddr;

use jiff::Timestamp;
use yasna::models::TaggedDerValue;
use yasna::tags::{TAG_BMPSTRING, TAG_UTCTIME};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, BERReaderSeq, Tag};

/// Most names of a certificate that are shown.
const MAX_NAMES: usize = 100;
/// Longest text that is shown.
const MAX_TEXT: usize = 253;
/// The extension with the names.
const ALTERNATIVE_NAMES: [u64; 4] = [2, 5, 29, 17];
/// Parts of names that have short ones (RFC 4514).
const ATTRIBUTES: [([u64; 4], &str); 6] = [
    ([2, 5, 4, 3], "CN"),
    ([2, 5, 4, 6], "C"),
    ([2, 5, 4, 7], "L"),
    ([2, 5, 4, 8], "ST"),
    ([2, 5, 4, 10], "O"),
    ([2, 5, 4, 11], "OU"),
];

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Whom it is about.
    pub(super) subject: String,
    /// Who signed it.
    pub(super) issuer: String,
    /// DNS names and addresses that it is for; without the extension no client of today takes it for any.
    pub(super) names: Vec<String>,
    /// Its last moment.
    pub(super) not_after: Timestamp,
}

/// Reads a certificate.
///
/// # Errors
/// It is none.
pub(super) fn read(der: &[u8]) -> Result<Contents, String> {
    let parsed = yasna::parse_der(der, |reader| {
        reader.read_sequence(|certificate| {
            let contents = certificate.next().read_sequence(to_be_signed)?;
            certificate.next().read_der()?; // the algorithm
            certificate.next().read_der()?; // the signature
            Ok(contents)
        })
    });
    parsed.map_err(|e| format!("the certificate cannot be read: {e:?}"))
}

fn to_be_signed(tbs: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Contents> {
    tbs.read_optional(|r| r.read_tagged(Tag::context(0), |version| version.read_der()))?;
    tbs.next().read_der()?; // the serial number
    tbs.next().read_der()?; // the algorithm
    let issuer = tbs.next().collect_sequence_of(part).map(|parts| shown(&parts))?;
    let not_after = tbs.next().read_sequence(|validity| {
        time(validity.next())?;
        time(validity.next())
    })?;
    let subject = tbs.next().collect_sequence_of(part).map(|parts| shown(&parts))?;
    tbs.next().read_der()?; // the key
    for id in [1, 2] {
        tbs.read_optional(|r| r.read_tagged_implicit(Tag::context(id), |unique| unique.read_bitvec_bytes()))?;
    }
    let extensions =
        tbs.read_optional(|r| r.read_tagged(Tag::context(3), |list| list.collect_sequence_of(extension)))?;
    let names = extensions.into_iter().flatten().flatten().take(MAX_NAMES).collect();
    Ok(Contents { subject, issuer, names, not_after })
}

fn time(reader: BERReader<'_, '_>) -> ASN1Result<Timestamp> {
    let seconds = if reader.lookahead_tag()? == TAG_UTCTIME {
        reader.read_utctime()?.datetime().unix_timestamp()
    } else {
        reader.read_generalized_time()?.datetime().unix_timestamp()
    };
    Timestamp::from_second(seconds).map_err(|_| invalid())
}

fn invalid() -> ASN1Error {
    ASN1Error::new(ASN1ErrorKind::Invalid)
}

/// A part of a name, which may have several attributes.
fn part(reader: BERReader<'_, '_>) -> ASN1Result<String> {
    let attributes = reader.collect_set_of(|attribute| {
        attribute.read_sequence(|pair| {
            let kind = pair.next().read_oid()?;
            let value = text(&pair.next().read_tagged_der()?);
            let short =
                ATTRIBUTES.iter().find(|(oid, _)| kind.components() == oid).map(|(_, short)| (*short).to_owned());
            let dotted = || kind.components().iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            Ok(format!("{}={value}", short.unwrap_or_else(dotted)))
        })
    })?;
    Ok(attributes.join("+"))
}

fn text(value: &TaggedDerValue) -> String {
    if value.tag() == TAG_BMPSTRING {
        let units: Vec<u16> = value
            .value()
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)))
            .collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value.value()).into_owned()
}

fn shown(parts: &[String]) -> String {
    short(&parts.join(", "))
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The names in an extension; none of any other.
fn extension(reader: BERReader<'_, '_>) -> ASN1Result<Vec<String>> {
    reader.read_sequence(|extension| {
        let kind = extension.next().read_oid()?;
        extension.read_optional(|critical| critical.read_bool())?;
        let value = extension.next().read_bytes()?;
        if kind.components() != &ALTERNATIVE_NAMES {
            return Ok(vec![]);
        }
        let all = yasna::parse_der(&value, |names| names.collect_sequence_of(|one| one.read_tagged_der()))?;
        Ok(all.iter().filter_map(name).collect())
    })
}

fn name(value: &TaggedDerValue) -> Option<String> {
    let bytes = value.value();
    if value.tag() == Tag::context(2) {
        return Some(short(&String::from_utf8_lossy(bytes)));
    }
    if value.tag() != Tag::context(7) {
        return None;
    }
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

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
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            let _ = read(&broken);
        }
    }
}
