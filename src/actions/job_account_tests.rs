//! As which account the pod of a Job runs, by its manifest.

use serde_json::{Value, json};

use super::fixtures::{Fixture, step};
use super::manifest::{self, NoManifest};
use super::request::NoRequest;
use crate::api::step::Job;
use crate::plan::{Action, Stage};

fn built(f: &Fixture, value: Value, trial: bool) -> Result<Value, NoManifest> {
    let job: Job = serde_json::from_value(value).expect("a job");
    manifest::build(&f.cx(), &step("migrate", Stage::Prepare, Action::Job(job.clone())), &job, 1, trial)
}

#[test]
fn a_pod_runs_as_an_account_that_the_cutover_lists() {
    let mut f = Fixture::new();
    let from = json!({"from": {"side": "Target"}, "command": ["migrate"]});
    let pod = |f: &Fixture, job: &Value| {
        Ok::<_, NoManifest>(built(f, job.clone(), true)?["spec"]["template"]["spec"].clone())
    };
    assert_eq!(pod(&f, &from).expect("listed")["serviceAccountName"], "web");
    f.plan.job_accounts = Some(vec![]);
    let Err(NoRequest::Fail(why)) = pod(&f, &from) else { panic!("refused") };
    assert!(why.starts_with("job.from: Target has serviceAccountName: Jobs of this Cutover may not run as"), "{why}");
    assert!(why.contains("add web to spec.jobServiceAccounts"), "{why}");
    let template = json!({"template": {"spec": {"serviceAccount": "web", "containers": [{"name": "a"}]}}});
    let Err(NoRequest::Fail(why)) = pod(&f, &template) else { panic!("refused") };
    assert!(why.starts_with("job.template.spec.serviceAccount: "), "{why}");
    f.plan.service_account = "web".into();
    assert!(pod(&f, &from).is_ok() && pod(&f, &template).is_ok(), "the Cutover's own");
    // A run that began before there was a list ends as it began, its undos included.
    (f.plan.service_account, f.plan.job_accounts) = ("cutover".into(), None);
    assert!(pod(&f, &from).is_ok() && pod(&f, &template).is_ok());
}

#[test]
fn a_pod_without_an_account_has_no_token() {
    let mut f = Fixture::new();
    let bare = json!({"template": {"spec": {"containers": [{"name": "a"}]}}});
    let from = json!({"from": {"side": "Target"}, "command": ["migrate"]});
    if let Some(spec) = f.workload("green").template["spec"].as_object_mut() {
        spec.remove("serviceAccountName");
    }
    let mounts = |f: &Fixture, job: &Value| {
        let made = built(f, job.clone(), false).expect("a manifest");
        made["spec"]["template"]["spec"]["automountServiceAccountToken"].clone()
    };
    for job in [&bare, &from] {
        assert_eq!(mounts(&f, job), json!(false));
    }
    f.workload("green").template["spec"]["automountServiceAccountToken"] = json!(true);
    assert!(built(&f, from.clone(), false).is_err(), "one that counts on it is told");
    f.plan.job_accounts = Some(vec!["default".into()]);
    assert_eq!((mounts(&f, &bare), mounts(&f, &from)), (Value::Null, json!(true)));
    f.plan.job_accounts = None;
    assert_eq!(mounts(&f, &bare), Value::Null, "as before");
}
