//! The writes of a run, tried with the user's own rights as dry runs: the API server, its quotas and webhooks are asked, and
//! nothing is stored. They are those that the operator tries in preflight, from the same functions. What the Cutover's
//! account may do is for `check` to say.

use jiff::Timestamp;

use super::model::{DryRun, Foreseen};
use crate::act::by_hand::MANAGER;
use crate::actions::trials::{NoRequest, Subject, foretold};
use crate::api::run::{ObjectKind, ObjectRef};
use crate::api::step::WorkloadKind;
use crate::cli::check::facts::{Facts, SERVICES as LIST_SERVICES};
use crate::cli::cluster::Cluster;
use crate::cli::exit::Failure;
use crate::cli::rights::Right;
use crate::effect::DryRun as Write;
use crate::observe::dry_run;
use crate::plan::Plan;
use crate::world::DryRunRefusal;

/// What is asked to try them. An object is read before a change of it is tried.
pub(super) const RIGHTS: [Right; 8] = [
    JOBS,
    SERVICES,
    Right::wish("get", "apps", "deployments"),
    Right::wish("patch", "apps", "deployments"),
    Right::wish("get", "apps", "statefulsets"),
    Right::wish("patch", "apps", "statefulsets"),
    Right::wish("get", "batch", "cronjobs"),
    Right::wish("patch", "batch", "cronjobs"),
];
const JOBS: Right = Right::wish("create", "batch", "jobs");
const SERVICES: Right = Right::wish("patch", "", "services");

/// Tries every write of the run.
pub(super) async fn all(cluster: &Cluster, plan: &Plan, facts: &Facts, foreseen: &mut Foreseen) -> Result<(), Failure> {
    let mut tried = Tried::default();
    let mut asked: Vec<(Subject, DryRun)> = vec![];
    let mut runs: Vec<Write> = vec![];
    for write in foretold(plan, &facts.seen(plan, Timestamp::now())) {
        match write.run {
            Ok(run) => {
                let unset = write.unset.into_iter().collect();
                let what = words(&write.subject);
                asked.push((write.subject, DryRun { what, unset, refused: None }));
                runs.push(run);
            }
            Err(why) => tried.not_asked(&write.subject, why, facts),
        }
    }
    let client = cluster.client_with(&RIGHTS)?;
    let answers = dry_run::as_user(&client, &cluster.namespace, MANAGER, &runs).await;
    for ((subject, run), refusal) in asked.into_iter().zip(answers) {
        tried.answered(&subject, run, refusal);
    }
    foreseen.dry_runs = tried.dry_runs;
    let told = |(why, what): (String, Vec<String>)| format!("not tried, since {why}: {}", what.join(", "));
    foreseen.hidden.extend(tried.hidden.into_iter().map(told));
    Ok(())
}

/// What came of them.
#[derive(Default)]
struct Tried {
    dry_runs: Vec<DryRun>,
    /// What was not tried, by the reason.
    hidden: Vec<(String, Vec<String>)>,
}

impl Tried {
    /// One that was not sent.
    fn not_asked(&mut self, subject: &Subject, why: NoRequest, facts: &Facts) {
        match why {
            NoRequest::Fail(why) => {
                let what = words(subject);
                self.dry_runs.push(DryRun { what, unset: vec![], refused: Some(why) });
            }
            // Everything has been read, so whatever is not known may not be read.
            NoRequest::Wait(why) | NoRequest::Nobody(why) => {
                let right = unread(subject, facts);
                self.hide(subject, right.map_or(why, |right| format!("you may not {right}")));
            }
        }
    }

    /// One that was.
    fn answered(&mut self, subject: &Subject, run: DryRun, refusal: Option<DryRunRefusal>) {
        match refusal {
            Some(refusal) if refusal.forbidden => {
                let lacks = |right: &&Right| refusal.why.contains(&format!(" cannot {} ", right.verb));
                let all = rights(subject);
                let right = all.iter().find(lacks).or(all.last());
                self.hide(subject, right.map_or(refusal.why.clone(), |right| format!("you may not {right}")));
            }
            Some(DryRunRefusal { why, transient: true, .. }) => {
                self.dry_runs.push(DryRun { refused: Some(format!("at present: {why}")), ..run });
            }
            Some(DryRunRefusal { why, .. }) => self.dry_runs.push(DryRun { refused: Some(why), ..run }),
            None => self.dry_runs.push(run),
        }
    }

    fn hide(&mut self, subject: &Subject, why: String) {
        let what = words(subject);
        match self.hidden.iter_mut().find(|(known, _)| *known == why) {
            Some((_, all)) => all.push(what),
            None => self.hidden.push((why, vec![what])),
        }
    }
}

/// What a write does.
fn words(subject: &Subject) -> String {
    let shown = |object: &ObjectRef| format!("{:?} {}", object.kind, object.name);
    match subject {
        Subject::Job(step) => format!("create the Job of step {step}"),
        Subject::Service { name, side } => format!("point Service {name} to {side}"),
        Subject::Object(object) => format!("patch {}", shown(object)),
        Subject::Environment { step, object } => format!("set the environment of {} for step {step}", shown(object)),
    }
}

/// What a user needs for it.
fn rights(subject: &Subject) -> &'static [Right] {
    match subject {
        Subject::Job(_) => &RIGHTS[..1],
        Subject::Service { .. } => &RIGHTS[1..2],
        Subject::Object(object) | Subject::Environment { object, .. } => match object.kind {
            ObjectKind::Deployment => &RIGHTS[2..4],
            ObjectKind::StatefulSet => &RIGHTS[4..6],
            ObjectKind::CronJob => &RIGHTS[6..],
        },
    }
}

/// The right without which it could not be built.
fn unread(subject: &Subject, facts: &Facts) -> Option<Right> {
    match subject {
        Subject::Service { .. } => facts.services.known().is_none().then_some(LIST_SERVICES),
        Subject::Job(_) => facts.hides(WorkloadKind::Deployment).or_else(|| facts.hides(WorkloadKind::StatefulSet)),
        Subject::Object(_) | Subject::Environment { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(why: &str, forbidden: bool, transient: bool) -> DryRunRefusal {
        DryRunRefusal { what: String::new(), why: why.into(), forbidden, transient }
    }

    fn run(subject: &Subject) -> DryRun {
        DryRun { what: words(subject), unset: vec![], refused: None }
    }

    #[test]
    fn a_missing_right_is_named_once_and_every_other_refusal_is_the_clusters() {
        let mut tried = Tried::default();
        let object = ObjectRef { kind: ObjectKind::CronJob, name: "nightly".into() };
        let (a, b) = (Subject::Job("a".into()), Subject::Job("undo/a".into()));
        let object = Subject::Object(object);
        for (subject, why) in [
            (&a, "jobs.batch is forbidden: User \"jane\" cannot create resource \"jobs\""),
            (&b, "jobs.batch is forbidden: User \"jane\" cannot create resource \"jobs\""),
            (&object, "cronjobs.batch \"nightly\" is forbidden: User \"jane\" cannot get resource \"cronjobs\""),
        ] {
            tried.answered(subject, run(subject), Some(refusal(why, true, false)));
        }
        let hidden = [
            ("you may not create jobs.batch", vec!["create the Job of step a", "create the Job of step undo/a"]),
            ("you may not get cronjobs.batch", vec!["patch CronJob nightly"]),
        ];
        let hidden =
            hidden.map(|(why, what)| (why.to_owned(), what.into_iter().map(str::to_owned).collect::<Vec<_>>()));
        assert_eq!(tried.hidden, hidden);
        assert!(tried.dry_runs.is_empty());
        tried.answered(&a, run(&a), Some(refusal("exceeded quota: few", false, false)));
        tried.answered(&b, run(&b), Some(refusal("failed calling webhook", false, true)));
        tried.answered(&object, run(&object), None);
        let refused: Vec<_> = tried.dry_runs.iter().map(|d| d.refused.as_deref()).collect();
        assert_eq!(refused, [Some("exceeded quota: few"), Some("at present: failed calling webhook"), None]);
    }

    #[test]
    fn every_right_belongs_to_what_it_is_asked_for() {
        let of = |kind| Subject::Object(ObjectRef { kind, name: "x".into() });
        let told = |subject: Subject| rights(&subject).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(Subject::Job("a".into())), ["create jobs.batch"]);
        assert_eq!(told(Subject::Service { name: "a".into(), side: "b".into() }), ["patch services"]);
        assert_eq!(told(of(ObjectKind::Deployment)), ["get deployments.apps", "patch deployments.apps"]);
        assert_eq!(told(of(ObjectKind::StatefulSet)), ["get statefulsets.apps", "patch statefulsets.apps"]);
        assert_eq!(told(of(ObjectKind::CronJob)), ["get cronjobs.batch", "patch cronjobs.batch"]);
    }
}
