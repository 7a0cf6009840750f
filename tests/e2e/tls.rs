//! Certificates: how long they last, for whom they are, and that bad ones can be looked at.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::StepState;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::harness::app::Colour;
use crate::harness::case::step;
use crate::harness::{Case, e2e};

const NAME: &str = "shop.example";
const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web, side: blue}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]
"#;

/// The application on both sides, with a certificate for [`NAME`] that ends so many days from now, of an authority that
/// the operator trusts; and the operator.
async fn app(t: &Case, days: i64) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, "Cutover test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, NAME);
    // A date is its first moment: so many whole days are left.
    let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(days + 1);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(end.year().into(), u8::try_from(end.month())?, u8::try_from(end.day())?);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;

    let colour =
        |name: &str| Colour::new(name).env("TLS_CERT", &certificate.pem()).env("TLS_KEY", &key.serialize_pem());
    t.app("web", colour("blue"), colour("green")).await?;
    t.apply(SERVICE).await?;
    let roots = t.dir.join("roots.pem");
    std::fs::write(&roots, authority.pem())?;
    t.environment("SSL_CERT_FILE", &roots.display().to_string());
    t.start().await
}

#[test]
fn a_good_certificate_passes_under_its_own_name_alone() {
    e2e("tls", async |t: &Case| {
        app(t, 45).await?;
        let spec = r#"
phases:
  verify:
    steps:
    - {name: valid, tls: {to: Target, port: https, serverName: shop.example}}
    - name: details
      tls:
        to: Target
        port: https
        serverName: shop.example
        expect: ["daysLeft == 45", "trusted", "'shop.example' in names", "issuer.contains('Cutover test authority')", "protocol == 'TLSv1.3'"]
    - {name: soon, critical: false, tls: {to: Target, port: https, serverName: shop.example, expect: ["daysLeft >= 60"]}}
    - {name: other, critical: false, tls: {to: Target, port: https, serverName: other.example}}
    - {name: plain, critical: false, tls: {to: Target, port: http, serverName: shop.example}}
    - {name: node, critical: false, tls: {url: "https://127.0.0.1:6443"}}
    - {name: over-tls, http: {path: /health, port: https, scheme: https, host: shop.example, expect: ["json.colour == 'green'"]}}
  confirm: {steps: [{name: live, tls: {to: Live, port: https, serverName: shop.example}, retry: {attempts: 5, every: 1s}}]}
switch: {timeout: 20s}
observe: {for: 1s, every: 500ms}
"#;
        t.cutover("shop", spec).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let evidence = step(&run, "valid")?.evidence.clone().context("evidence")?;
        ensure!(evidence["subject"] == "CN=shop.example" && evidence["notAfter"].is_string(), "{evidence}");
        ensure!(evidence["issuer"].as_str().is_some_and(|i| i.contains("Cutover test authority")), "{evidence}");
        for (name, text) in [
            ("soon", "daysLeft >= 60 is false (45 days left"),
            ("other", "not valid for name"),
            ("plain", "TLS handshake"),
            ("node", "may not be asked"),
        ] {
            let record = step(&run, name)?;
            let message = record.message.clone().unwrap_or_default();
            ensure!(record.state == StepState::Failed && message.contains(text), "{name}: {record:?}");
        }
        Ok(())
    });
}

#[test]
fn an_expired_certificate_can_be_looked_at_and_does_not_pass() {
    e2e("tls_expired", async |t: &Case| {
        app(t, -10).await?;
        let spec = r#"
phases:
  verify:
    steps:
    - {name: look, tls: {to: Target, port: https, serverName: shop.example, expect: ["daysLeft == -10", "!trusted", "'shop.example' in names"]}}
    - {name: valid, tls: {to: Target, port: https, serverName: shop.example}}
"#;
        t.cutover("shop", spec).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        ensure!(step(&run, "look")?.state == StepState::Succeeded, "{:?}", step(&run, "look"));
        let valid = step(&run, "valid")?;
        ensure!(valid.message.as_ref().is_some_and(|m| m.contains("expired")), "{valid:?}");
        ensure!(t.selector_writes("web")?.is_empty(), "switched in spite of it");
        Ok(())
    });
}
