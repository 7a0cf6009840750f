//! Answers [`Read::Tls`](crate::effect::Read::Tls): a handshake that shows the server's certificate, whatever it is worth.
//!
//! Nothing is sent but the handshake. Whether the certificate is trusted is found out as for every other connection and
//! told, instead of ending the connection: one that has expired is what somebody wants to see. The server still has to
//! prove that it holds the certificate's key.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Origin;
use super::x509::{self, Contents};
use super::{Asker, Net};
use crate::effect::{TlsAt, TlsOf};
use crate::world::{Certificate, HttpError, TlsAnswer};

impl Net {
    /// The certificate that a server shows. The address rules are those of requests.
    pub(crate) async fn certificate(&self, asker: &Asker<'_>, of: &TlsOf) -> TlsAnswer {
        let deadline = Instant::now() + of.timeout.std();
        match self.handshake(asker, of, deadline).await {
            Ok(seen) => TlsAnswer::Seen(seen),
            Err(HttpError::Unread(why)) => TlsAnswer::NotAsked(why),
            Err(HttpError::NotSent(why) | HttpError::Lost(why)) => TlsAnswer::Unseen(why),
        }
    }

    async fn handshake(&self, asker: &Asker<'_>, of: &TlsOf, deadline: Instant) -> Result<Certificate, HttpError> {
        let (to, name) = match &of.at {
            TlsAt::Url(url) => {
                let target = self.url(url, of.server_name.as_deref(), Origin::Url, deadline).await?;
                let not_https = || HttpError::NotSent("the URL is not one of https".into());
                (target.to, target.tls.ok_or_else(not_https)?)
            }
            TlsAt::Address(address) => {
                let to = self.pinned(asker, address, deadline).await?;
                // The Service's own address where it is one.
                (to, of.server_name.clone().unwrap_or_else(|| address.ip.clone()))
            }
        };
        let _connection = self.inner.budget.connection(asker.namespace, deadline).await?;
        self.show(to, &name, deadline).await.map_err(HttpError::NotSent)
    }

    async fn show(&self, to: SocketAddr, name: &str, deadline: Instant) -> Result<Certificate, String> {
        let server = match name.parse::<IpAddr>() {
            Ok(ip) => ServerName::IpAddress(ip.into()),
            Err(_) => ServerName::try_from(name.to_owned())
                .map_err(|_| format!("{name:?} cannot be the name of a TLS server"))?,
        };
        let witness = Arc::new(Witness::new(self.inner.roots.verifier()?));
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        let tcp = timeout_at(deadline, TcpStream::connect(to)).await;
        let tcp = tcp.map_err(|_| format!("connection to {to}: no time left"))?;
        let tcp = tcp.map_err(|e| format!("connection to {to} failed: {e}"))?;
        let tls = timeout_at(deadline, TlsConnector::from(Arc::new(config)).connect(server, tcp)).await;
        let tls = tls.map_err(|_| format!("TLS handshake with {to}: no time left"))?;
        let tls = tls.map_err(|e| format!("TLS handshake with {name} at {to} failed: {e}"))?;
        let protocol = match tls.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            other => format!("{other:?}"),
        };
        let (shown, untrusted) = witness.seen().ok_or("the server showed no certificate")?;
        let Contents { subject, issuer, names, not_after } = x509::read(&shown)?;
        Ok(Certificate { subject, issuer, names, not_after, protocol, untrusted })
    }
}

/// Verifies as usual, remembers what came of it, and goes on.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<(Vec<u8>, Option<String>)>>,
}

impl Witness {
    fn new(inner: Arc<WebPkiServerVerifier>) -> Self {
        Self { inner, seen: Mutex::default() }
    }

    /// The certificate, and why it is not trusted.
    fn seen(&self) -> Option<(Vec<u8>, Option<String>)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let untrusted = verdict.err().map(|e| e.to_string());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((end_entity.as_ref().to_vec(), untrusted));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use tokio::net::TcpListener;

    use super::super::{AddressRules, wire};
    use super::*;
    use crate::api::Duration;
    use crate::effect::Address;

    /// A certificate of its own signature, until the first day of a year.
    fn certificate(until: i32) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec!["shop.example".to_owned(), "10.1.2.3".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, "shop.example");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").der().clone(), key)
    }

    /// Serves it on a port of its own.
    async fn serve(certificate: CertificateDer<'static>, key: &KeyPair) -> Address {
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .expect("a certificate");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                drop(acceptor.accept(tcp).await);
            }
        });
        Address { name: "pod".into(), ip: "127.0.0.1".into(), port, service: None }
    }

    async fn look(address: &Address, root: &CertificateDer<'static>, rules: AddressRules, name: &str) -> TlsAnswer {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.clone()).expect("a root");
        let net = Net::for_tests(rules, wire::Roots::of(roots));
        let at = TlsAt::Address(address.clone());
        let nobody = super::super::tests::account();
        let of = TlsOf { at, server_name: Some(name.into()), timeout: Duration::from_secs(5) };
        net.certificate(&super::super::tests::asker(&nobody), &of).await
    }

    #[tokio::test]
    async fn a_certificate_is_shown_whatever_it_is_worth() {
        let (good, key) = certificate(2100);
        let (expired, expired_key) = certificate(2021);
        let table = [
            (&good, &key, "shop.example", "2100-01-01T00:00:00Z", None),
            (&good, &key, "other.example", "2100-01-01T00:00:00Z", Some("not valid for name")),
            (&expired, &expired_key, "shop.example", "2021-01-01T00:00:00Z", Some("expired")),
        ];
        for (certificate, key, name, until, untrusted) in table {
            let address = serve(certificate.clone(), key).await;
            let answer = look(&address, certificate, AddressRules::for_tests(), name).await;
            let TlsAnswer::Seen(seen) = answer else { panic!("{answer:?}") };
            assert_eq!((seen.subject.as_str(), seen.issuer.as_str()), ("CN=shop.example", "CN=shop.example"));
            assert_eq!(seen.names, ["shop.example", "10.1.2.3"]);
            assert_eq!((seen.not_after.to_string().as_str(), seen.protocol.as_str()), (until, "TLSv1.3"));
            match untrusted {
                None => assert_eq!(seen.untrusted, None),
                Some(text) => assert!(seen.untrusted.as_ref().is_some_and(|u| u.contains(text)), "{seen:?}"),
            }
        }
        // Signed by nobody who is trusted.
        let address = serve(good.clone(), &key).await;
        let TlsAnswer::Seen(seen) = look(&address, &expired, AddressRules::for_tests(), "shop.example").await else {
            panic!("unseen")
        };
        assert!(seen.untrusted.is_some());
    }

    #[tokio::test]
    async fn the_address_rules_are_those_of_requests() {
        let (good, key) = certificate(2100);
        let address = serve(good.clone(), &key).await;
        let answer = look(&address, &good, AddressRules::default(), "shop.example").await;
        assert!(matches!(&answer, TlsAnswer::Unseen(why) if why.contains("may not be asked")), "{answer:?}");
        let closed = Address { port: 1, ..address };
        let answer = look(&closed, &good, AddressRules::for_tests(), "shop.example").await;
        assert!(matches!(&answer, TlsAnswer::Unseen(why) if why.contains("connection to")), "{answer:?}");
    }
}
