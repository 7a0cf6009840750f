//! Answers [`Read::Proof`](crate::effect::Read::Proof): whether decisions are those of the people whose names they carry, and
//! the journal is the operator's. One answer for all who ask in a namespace at about the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};

use super::dry_run::{Refusal, call};
use super::forgery;
use crate::api::FIELD_MANAGER;
use crate::api::decision::{CutoverDecision, CutoverDecisionSpec, Verb};
use crate::policies::{self, Amiss};
use crate::world::{Proof, Proven};

/// An answer is given again for so long; one that found nothing out, for the second duration.
const LASTS: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(1));
/// API servers enforce a policy only some time after it was written.
const LAG: SignedDuration = SignedDuration::from_secs(5);
/// With so many namespaces in memory, those are forgotten in which no forgery was ever admitted.
const MANY: usize = 256;

/// What was found last in a namespace.
struct Known {
    at: Instant,
    proof: Proof,
    history: History,
}

/// What this process has found there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct History {
    /// A forgery would have been admitted, and since then it was not found that none is.
    open: bool,
    /// When it was found that none is any more.
    healed: Option<Timestamp>,
}

impl History {
    /// What follows from one more finding.
    fn and(self, verdict: &Proven, now: Timestamp) -> Self {
        match verdict {
            Proven::Open(_) => Self { open: true, ..self },
            Proven::Holds if self.open => Self { open: false, healed: Some(now) },
            Proven::Holds | Proven::Unknown(_) => self,
        }
    }
}

/// One at a time asks in a namespace; the others take over what it has found.
type Place = Arc<tokio::sync::Mutex<Option<Known>>>;

/// What was found last in each namespace. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Proofs {
    places: Arc<Mutex<HashMap<String, Place>>>,
    /// The operator's own user name.
    name: Arc<OnceLock<String>>,
}

/// A policy with its binding.
struct Guard {
    name: &'static str,
    ours: &'static str,
    policy: DynamicObject,
    binding: DynamicObject,
}

impl Proofs {
    /// Finds out, as the operator, unless that was done a moment ago.
    pub(crate) async fn read(&self, client: &Client, namespace: &str) -> Proof {
        let place = self.place(namespace);
        let mut known = place.lock().await;
        let now = Instant::now();
        if let Some(known) = known.as_ref() {
            let lasts = if matches!(known.proof.verdict, Proven::Unknown(_)) { LASTS.1 } else { LASTS.0 };
            if now.duration_since(known.at) < lasts {
                return known.proof.clone();
            }
        }
        let (forged, guards) = tokio::join!(self.forge(client, namespace), guards(client));
        let mut proof = conclude(forged, guards, self.name.get().map_or("", String::as_str));
        let history = known.take().map(|known| known.history).unwrap_or_default().and(&proof.verdict, Timestamp::now());
        proof.since = history.healed.map_or(proof.since, |at| at.max(proof.since));
        *known = Some(Known { at: now, proof: proof.clone(), history });
        proof
    }

    fn place(&self, namespace: &str) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MANY && !places.contains_key(namespace) {
            // One that was open must be remembered, or what was forged there would count.
            places.retain(|_, place| {
                place.try_lock().map_or(true, |known| known.as_ref().is_some_and(|k| k.history != History::default()))
            });
        }
        places.entry(namespace.to_owned()).or_default().clone()
    }

    /// Two decisions that must be denied, tried as the operator: an approval in a name that is not its own, and an abort
    /// in its own name, for which it has no right. Each is denied by a rule of its own of the policy `cutover-decision`.
    async fn forge(&self, client: &Client, namespace: &str) -> Result<(), Refusal> {
        let own = self.own_name(client).await?;
        let approval = forgery::approval("none", "none", "none", "none");
        let abort = CutoverDecisionSpec {
            decision: Verb::Abort,
            gate: None,
            role: None,
            token: None,
            by: own.clone(),
            ..approval.clone()
        };
        // Somebody who runs the operator as himself, as a cluster's administrator, may abort.
        let is_account = own.starts_with("system:serviceaccount:");
        let (approval, abort) = tokio::join!(denied(client, namespace, approval, "in another's name"), async {
            match is_account {
                true => denied(client, namespace, abort, "by somebody without the right to it").await,
                false => Ok(()),
            }
        });
        approval.and(abort)
    }

    async fn own_name(&self, client: &Client) -> Result<String, Refusal> {
        if let Some(name) = self.name.get() {
            return Ok(name.clone());
        }
        let api: Api<SelfSubjectReview> = Api::all(client.clone());
        let answer = call(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        let name = answer.status.and_then(|s| s.user_info).and_then(|u| u.username);
        let name = name.ok_or_else(|| Refusal::transient("the API server does not say who the operator is".into()))?;
        Ok(self.name.get_or_init(|| name).clone())
    }
}

async fn denied(client: &Client, namespace: &str, spec: CutoverDecisionSpec, how: &str) -> Result<(), Refusal> {
    let api = Api::<CutoverDecision>::namespaced(client.clone(), namespace);
    let decision = forgery::decision(spec);
    let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.into()) };
    match call(api.create(&params, &decision)).await {
        Ok(_) => Err(Refusal::last(format!(
            "the API server admits a decision {how}: the policy cutover-decision is missing, unbound or weakened; \
             apply deploy/admission again"
        ))),
        Err(refusal) if refusal.transient => Err(refusal),
        // Nothing can be said then.
        Err(refusal) if refusal.forbidden => Err(Refusal::transient(format!(
            "whether forged decisions are denied cannot be tried: {}; grant the operator create on cutoverdecisions",
            refusal.why
        ))),
        Err(refusal) if refusal.why.contains(forgery::POLICY) => Ok(()),
        Err(refusal) => {
            Err(Refusal::last(format!("a decision {how} is not denied by {}: {}", forgery::POLICY, refusal.why)))
        }
    }
}

/// The policies that guard decisions and the journal; the name of one that is not there or not bound.
async fn guards(client: &Client) -> Result<Vec<Result<Guard, &'static str>>, String> {
    let ours = policies::OURS.into_iter().filter(|(name, _)| policies::GUARDS.contains(name));
    let of = |(name, ours): (&'static str, &'static str)| async move {
        let get = |resource: ApiResource| async move {
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            call(api.get_opt(name))
                .await
                .map_err(|refusal| format!("the admission policies cannot be read: {}", refusal.why))
        };
        let (policy, binding) = tokio::join!(
            get(ApiResource::erase::<ValidatingAdmissionPolicy>(&())),
            get(ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()))
        );
        let pair = policy?.zip(binding?);
        Ok(pair.map(|(policy, binding)| Guard { name, ours, policy, binding }).ok_or(name))
    };
    futures::future::try_join_all(ours.map(of)).await
}

/// What that comes to, for the operator of this user name. Never since before the policies were written.
fn conclude(
    forged: Result<(), Refusal>,
    guards: Result<Vec<Result<Guard, &'static str>>, String>,
    operator: &str,
) -> Proof {
    let mut proof = Proof { verdict: Proven::Holds, since: Timestamp::MIN, policies: None };
    let (mut open, mut unknown) = (None, None);
    match forged {
        Ok(()) => {}
        Err(refusal) if refusal.transient => unknown = Some(refusal.why),
        Err(refusal) => open = Some(refusal.why),
    }
    match guards {
        Err(why) => unknown = unknown.or(Some(why)),
        Ok(guards) => {
            let (mut versions, whole) = (vec![], guards.iter().all(Result::is_ok));
            for guard in guards {
                let guard = match guard {
                    Ok(guard) => guard,
                    Err(name) => {
                        open.get_or_insert(policies::missing(name).text().to_owned());
                        continue;
                    }
                };
                for amiss in policies::judge(guard.name, guard.ours, &guard.policy.data, &guard.binding.data, operator)
                {
                    match amiss {
                        Amiss::Weak(text) => drop(open.get_or_insert(text)),
                        // What guards decisions is tried. A journal that nobody may forge cannot be: only this version's
                        // text is known to guard it.
                        Amiss::Other(_) if guard.name == forgery::POLICY => {}
                        Amiss::Other(text) | Amiss::Owner(text) => drop(unknown.get_or_insert(text)),
                    }
                }
                for object in [&guard.policy, &guard.binding] {
                    proof.since = proof.since.max(written(object).saturating_add(LAG).unwrap_or(Timestamp::MAX));
                    let (uid, generation) = (object.metadata.uid.as_deref(), object.metadata.generation);
                    versions.push(format!("{} {}", uid.unwrap_or_default(), generation.unwrap_or_default()));
                }
            }
            // A gate's token changes with the policies, not while one of them is missing.
            proof.policies = whole.then(|| versions.join(", "));
        }
    }
    proof.verdict = match (open, unknown) {
        (Some(why), _) => Proven::Open(why),
        (None, Some(why)) => Proven::Unknown(why),
        (None, None) => Proven::Holds,
    };
    proof
}

/// When an object was last written, its status apart.
fn written(object: &DynamicObject) -> Timestamp {
    let fields = object.metadata.managed_fields.iter().flatten();
    let writes =
        fields.filter(|f| f.subresource.as_deref().unwrap_or_default().is_empty()).filter_map(|f| f.time.as_ref());
    let created = object.metadata.creation_timestamp.as_ref();
    writes.chain(created).map(|time| time.0).max().unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// The policies as they are installed, each of them written at this second.
    fn guards(second: i64) -> Vec<Result<Guard, &'static str>> {
        let ours = policies::OURS.into_iter().filter(|(name, _)| policies::GUARDS.contains(name));
        let all = ours.map(|(name, ours)| {
            let mut documents = ours.split("\n---").map(|text| {
                let mut object: DynamicObject = serde_saphyr::from_str(text).expect("YAML");
                object.metadata.uid = Some(format!("of {name}"));
                object.metadata.generation = Some(1);
                let fields = json!([
                    {"manager": "a", "operation": "Apply", "time": at(second)},
                    {"manager": "b", "operation": "Update", "subresource": "status", "time": at(second + 1000)},
                ]);
                object.metadata.managed_fields = serde_json::from_value(fields).expect("managed fields");
                object
            });
            let (policy, binding) = (documents.next().expect("a policy"), documents.next().expect("a binding"));
            Ok(Guard { name, ours, policy, binding })
        });
        all.collect()
    }

    fn verdict(forged: Result<(), Refusal>, guards: Result<Vec<Result<Guard, &'static str>>, String>) -> Proven {
        conclude(forged, guards, OPERATOR).verdict
    }

    #[test]
    fn it_holds_where_a_forgery_is_denied_and_the_journal_is_guarded() {
        let proof = conclude(Ok(()), Ok(guards(100)), OPERATOR);
        assert_eq!((&proof.verdict, proof.since), (&Proven::Holds, at(105)), "status is nobody's word");
        let mut newer = guards(100);
        newer[1].as_mut().expect("one").binding.metadata.generation = Some(2);
        assert_ne!(conclude(Ok(()), Ok(newer), OPERATOR).policies, proof.policies, "it is part of the token");
    }

    #[test]
    fn one_that_is_missing_or_denies_nothing_opens_it_whatever_a_forgery_shows() {
        for name in policies::GUARDS {
            let mut gone = guards(100);
            let of = gone.iter().position(|g| g.as_ref().is_ok_and(|g| g.name == name)).expect("ours");
            gone[of] = Err(name);
            let proof = conclude(Ok(()), Ok(gone), OPERATOR);
            assert!(matches!(proof.verdict, Proven::Open(why) if why.contains(name)), "{name}");
            assert_eq!(proof.policies, None, "a gate's token stays as it is");
            let mut audits = guards(100);
            audits[of].as_mut().expect("one").binding.data["spec"]["validationActions"] = json!(["Audit"]);
            assert!(matches!(verdict(Ok(()), Ok(audits)), Proven::Open(why) if why.contains(name)), "{name}");
        }
        let admitted = || Err(Refusal::last("admitted".into()));
        assert_eq!(verdict(admitted(), Ok(guards(100))), Proven::Open("admitted".into()));
        assert_eq!(verdict(admitted(), Err("503".into())), Proven::Open("admitted".into()));
    }

    #[test]
    fn what_cannot_be_read_or_tried_is_not_known() {
        let busy = || Err(Refusal::transient("503".into()));
        assert_eq!(verdict(busy(), Ok(guards(100))), Proven::Unknown("503".into()));
        assert_eq!(verdict(Ok(()), Err("no right".into())), Proven::Unknown("no right".into()));
        let mut other = guards(100);
        for guard in other.iter_mut().flatten() {
            guard.policy.data["spec"]["validations"].as_array_mut().expect("a list").pop();
        }
        assert!(matches!(verdict(Ok(()), Ok(other)), Proven::Unknown(why) if why.contains("cutover-journal")));
    }

    #[test]
    fn what_was_open_holds_only_since_it_was_found_to_hold_again() {
        let open = Proven::Open("x".into());
        let history = History::default().and(&Proven::Holds, at(1)).and(&open, at(2));
        let history = history.and(&Proven::Unknown("503".into()), at(3));
        assert_eq!(history, History { open: true, healed: None });
        let history = history.and(&Proven::Holds, at(4)).and(&Proven::Holds, at(5));
        assert_eq!(history, History { open: false, healed: Some(at(4)) });
    }
}
