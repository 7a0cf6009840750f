//! PURE. The certificate that a server shows: how long it lasts, for which names, by whom, over which protocol. One that
//! has expired or that nobody trusts can be looked at as well: what that means is the expectations' business. Where none
//! is given it must be trusted for the name, which an expired one is not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::step::{Http, Scheme, Tls};
use crate::effect::{Read, TlsAt, TlsOf};
use crate::plan::PlanStep;
use crate::plan::expr::Var;
use crate::world::{Certificate, Reading, TlsAnswer};

use super::request::{NoRequest, build};
use super::{Cx, Out, Verdict, expect, read_key};

/// How long a handshake may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, tls: &Tls, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = read_key(step, record);
    match cx.world.readings.get(&key) {
        Some(Reading::Tls(TlsAnswer::Seen(certificate))) => return Some(judge(cx, tls, certificate)),
        Some(Reading::Tls(TlsAnswer::Unseen(why))) => return Some(Verdict::fail(why.as_str())),
        Some(Reading::Tls(TlsAnswer::NotAsked(why))) => return Some(Verdict::NotMade { message: why.clone() }),
        _ => {}
    }
    let timeout = step.timeout.min(TIMEOUT);
    let at = match &tls.url {
        Some(url) => TlsAt::Url(url.clone()),
        None => {
            let http = Http {
                to: tls.to,
                service: tls.service.clone(),
                port: tls.port.clone(),
                path: Some("/".into()),
                scheme: Some(Scheme::Https),
                ..Http::default()
            };
            match build(cx, &http, step.stage.default_side(), timeout, None).map(|r| r.to.into_iter().next()) {
                Ok(Some(address)) => TlsAt::Address(address),
                Ok(None) => return Some(Verdict::fail("there is nobody to ask")),
                Err(NoRequest::Wait(why) | NoRequest::Nobody(why)) => {
                    record.message = Some(why);
                    return None;
                }
                Err(NoRequest::Fail(why)) => return Some(Verdict::fail(why.replacen("http", "tls", 1))),
            }
        }
    };
    record.message = Some("waiting for the TLS handshake".into());
    out.reads.insert(key, Read::Tls(TlsOf { at, server_name: tls.server_name.clone(), timeout }));
    None
}

fn judge(cx: &Cx, tls: &Tls, seen: &Certificate) -> Verdict {
    let left = seen.not_after.as_second() - cx.world.now.as_second();
    // Whole days that are left, as people count them; one that ended an hour ago has -1.
    let days = left.div_euclid(DAY) as f64;
    let evidence = json!({
        "subject": seen.subject, "issuer": seen.issuer, "notAfter": seen.not_after.to_string(), "protocol": seen.protocol,
    });
    let fail = |message: String| Verdict::Fail { message, evidence: Some(evidence.clone()) };
    if tls.expect.is_empty() {
        return match &seen.untrusted {
            Some(why) => fail(format!("{why} (valid until {})", seen.not_after)),
            None if left <= 0 => fail(format!("the certificate has expired at {}", seen.not_after)),
            None => Verdict::pass(evidence),
        };
    }
    let mut vars: BTreeMap<String, Var> = expect::vars(cx);
    let mut set = |name: &str, value: Value| vars.insert(name.to_owned(), Var::Json(value));
    set("daysLeft", json!(days));
    set("names", json!(seen.names));
    set("issuer", json!(seen.issuer));
    set("protocol", json!(seen.protocol));
    set("trusted", json!(seen.untrusted.is_none()));
    match expect::first_failing(&tls.expect, &vars) {
        None => Verdict::pass(evidence),
        Some(why) => {
            let untrusted = seen.untrusted.as_ref().map(|u| format!("; {u}")).unwrap_or_default();
            fail(format!("{why} ({days} days left, issuer {}{untrusted})", seen.issuer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, pod, read, step};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};

    fn tls(value: Value) -> PlanStep {
        step("certificate", Stage::Verify, Action::Tls(serde_json::from_value(value).expect("tls")))
    }

    fn shown(until: &str, untrusted: Option<&str>) -> Reading {
        Reading::Tls(TlsAnswer::Seen(Certificate {
            subject: "CN=shop.example".into(),
            issuer: "CN=Example CA".into(),
            names: vec!["shop.example".into(), "*.shop.example".into()],
            not_after: until.parse().expect("a time"),
            protocol: "TLSv1.3".into(),
            untrusted: untrusted.map(str::to_owned),
        }))
    }

    #[test]
    fn a_pod_of_the_target_is_asked_under_the_name_of_users() {
        let mut f = Fixture::new();
        let s = tls(json!({"to": "Target", "serverName": "shop.example"}));
        let (r, out) = f.drive(&s, None);
        assert!(out.reads.is_empty() && r.message.as_deref() == Some("the pods are being looked up"));
        f.pods(vec![pod("blue-a", "blue"), pod("green-a", "green")]);
        let (_, out) = f.drive(&s, Some(&r));
        let Some(Read::Tls(of)) = out.reads.get(&read("certificate#1")) else { panic!("{:?}", out.reads) };
        assert!(matches!(&of.at, TlsAt::Address(a) if a.name == "green-a" && a.port == 8080), "{of:?}");
        assert_eq!(of.server_name.as_deref(), Some("shop.example"));
        let (r, _) = f.drive(&tls(json!({"to": "Target", "port": "none", "serverName": "x"})), None);
        assert!(r.message.is_some_and(|m| m.starts_with("tls.port: Service web has no port")));
    }

    #[test]
    fn verdicts() {
        let url = |expect: Value| json!({"url": "https://shop.example", "expect": expect});
        let (good, bad) = ("2026-03-02T12:00:00Z", "2025-12-31T23:00:00Z");
        let expired = Some("invalid peer certificate: certificate expired");
        let table = [
            (url(json!([])), good, None, true, ""),
            (url(json!([])), bad, expired, false, "certificate expired (valid until 2025-12-31T23:00:00Z)"),
            (url(json!([])), good, Some("unknown issuer"), false, "unknown issuer"),
            (url(json!(["daysLeft == 60"])), good, None, true, ""),
            (url(json!(["daysLeft > 60.0"])), good, None, false, "expect[0] daysLeft > 60.0 is false (60 days left"),
            (url(json!(["daysLeft == -1.0", "!trusted"])), bad, expired, true, ""),
            (url(json!(["trusted"])), good, Some("unknown issuer"), false, "; unknown issuer)"),
            (url(json!(["'shop.example' in names", "protocol == 'TLSv1.3'"])), good, None, true, ""),
            (url(json!(["issuer.contains('Example CA')"])), good, None, true, ""),
        ];
        for (manifest, until, untrusted, passes, text) in table {
            let mut f = Fixture::new();
            f.world.readings.insert(read("certificate#1"), shown(until, untrusted));
            let (r, _) = f.drive(&tls(manifest.clone()), None);
            let message = r.message.clone().unwrap_or_default();
            assert!((r.state == StepState::Succeeded) == passes && message.contains(text), "{manifest}: {r:?}");
            let evidence = r.evidence.unwrap_or_default();
            assert_eq!(evidence["subject"], "CN=shop.example");
            assert_eq!(evidence["notAfter"], until);
        }
        let mut f = Fixture::new();
        f.world.readings.insert(read("certificate#1"), Reading::Tls(TlsAnswer::NotAsked("nodes not known".into())));
        let waits = f.drive(&tls(url(json!(["true"]))), None).0;
        assert!(waits.state == StepState::Running && waits.message.as_deref() == Some("nodes not known"), "{waits:?}");
        let mut f = Fixture::new();
        let refused = Reading::Tls(TlsAnswer::Unseen("connection to 1.2.3.4:443 failed".into()));
        f.world.readings.insert(read("certificate#1"), refused);
        assert_eq!(f.drive(&tls(url(json!(["true"]))), None).0.state, StepState::Failed);
    }
}
