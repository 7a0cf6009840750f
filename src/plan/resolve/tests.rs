//! A Cutover in, a plan or refusals out.

use serde_json::{Value, json};

use super::*;
use crate::plan::{PLAN_VERSION, PlanError, undo_name};

const MINIMAL: &str = r#"
services: [{name: web}]
sides:
- {name: blue, selector: {version: blue}, workloads: [{kind: Deployment, name: web-blue}]}
- {name: green, selector: {version: green}, workloads: [{kind: Deployment, name: web-green}]}
activate: green
"#;

/// The minimal spec with some fields replaced.
fn spec(fields: &str) -> CutoverSpec {
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut value = parse(MINIMAL);
    if let (Some(base), Value::Object(more)) = (value.as_object_mut(), parse(fields)) {
        base.extend(more);
    }
    serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}\n{fields}"))
}

fn plan(fields: &str) -> Plan {
    resolve("web", "prod", &spec(fields), "blue", &Offered::default())
        .unwrap_or_else(|r| panic!("{}\n{fields}", shown(&r)))
}

fn refusals(fields: &str) -> Vec<Refusal> {
    resolve("web", "prod", &spec(fields), "blue", &Offered::default()).err().unwrap_or_default()
}

fn shown(refusals: &[Refusal]) -> String {
    refusals.iter().map(|r| format!("{r}\n")).collect()
}

#[test]
fn a_minimal_cutover_is_safe() {
    let want = json!({
        "cutover": "web",
        "namespace": "prod",
        "release": {},
        "serviceAccount": "cutover",
        "jobAccounts": [],
        "services": ["web"],
        "target": {"name": "green", "selector": {"version": "green"}, "workloads": [{"kind": "Deployment", "name": "web-green"}]},
        "old": {"name": "blue", "selector": {"version": "blue"}, "workloads": [{"kind": "Deployment", "name": "web-blue"}]},
        "steps": [
            {
                "name": "cutover-permissions", "stage": "preflight", "critical": true, "timeout": "1m", "attempts": 10,
                "every": "5s", "onFailure": "Fail", "action": {"permissions": {}},
            },
            {
                "name": "cutover-target-rollout", "stage": "verify", "critical": true, "timeout": "10m", "attempts": 1,
                "every": "5s", "onFailure": "Fail", "action": {"rollout": {"side": "Target"}},
            },
        ],
        "switch": {"minReady": {"percent": 100}, "drain": "0s", "timeout": "1m", "connections": "Keep"},
        "rollback": {
            "minReady": {"percent": 50}, "blocked": "Ask", "within": "15m", "default": "Wait",
            "connections": "Close", "before": "5s",
        },
        "observe": {
            "for": "5m", "every": "15s", "timeout": "15m",
            "triggers": [],
            "builtIn": ["CrashLoop", "Ready"],
        },
        "driftPolicy": "Report",
    });
    let plan = plan("{}");
    assert_eq!(serde_json::to_value(&plan).ok(), Some(want.clone()));
    assert_eq!(Plan::from_value(PLAN_VERSION, &want), Ok(plan), "a stored plan is read as it was");
}

#[test]
fn a_plan_of_another_form_is_told_from_a_broken_one() {
    assert_eq!(Plan::from_value(PLAN_VERSION + 1, &json!({})), Err(PlanError::UnknownVersion(PLAN_VERSION + 1)));
    assert!(matches!(Plan::from_value(PLAN_VERSION, &json!({"cutover": "x"})), Err(PlanError::Malformed(_))));
}

/// The manifest of the design, without what is not built yet.
const FULL: &str = r#"
release: {version: "2.4.0", revision: "9902729", tag: release-gate-pass, podLabel: app.kubernetes.io/version}
serviceAccountName: deployer
prometheus: {service: {name: prometheus, port: 9090}}
phases:
  preflight:
    steps:
    - name: secrets
      config: {secret: web-config, keys: [{name: DATABASE_URL}, {name: STRIPE_SECRET_KEY, matches: "^sk_live_"}], rotatedWithin: 720h}
    - name: baseline
      metric: {query: 'job:error_ratio:5m{app="web"}', expect: "value < 0.01", captureAs: baselineErrors}
  prepare:
    steps:
    - name: backup
      job:
        template: {spec: {containers: [{name: b, image: "backup:${release.tag}", env: [{name: OF, value: "${old}"}]}]}}
        deadline: 30m
        expectLog: ["^backup bytes=[1-9][0-9]{6,}"]
    - name: migrate
      job: {from: {side: Target, container: api}, command: [npm, run, "migrate:deploy"], dryRun: {command: [npm, run, pretend]}, deadline: 15m}
      undo: {job: {from: {side: Target}, command: [npm, run, "migrate:undo"]}, when: Attempted}
    - name: more
      scale: {side: Target, replicas: 10}
    - name: green-ready
      rollout: {side: Target}
  verify:
    steps:
    - name: smoke
      suite:
        passRate: 90
        steps:
        - name: health
          http: {path: /api/health, expect: ["status == 200", "json.status == 'ok'", "latency < duration('2s')"]}
        - name: pack
          http:
            method: POST
            path: /api/v1/audit/packs/generate
            headersFrom: [{name: Authorization, secret: {name: tokens, key: qa}}]
            body: '{"limit":10000}'
            capture: [{name: packId, path: $.pack_id, record: true}]
        - name: pack-valid
          http: {method: POST, path: "/api/v1/audit/packs/${packId}/verify", expect: ["json.valid == true"]}
  confirm:
    steps:
    - {name: live, http: {path: "/p/${packId}", pods: null}}
    - {name: public, critical: false, http: {url: "https://shop.example.com/health?p=${packId}"}, retry: {attempts: 5, every: 10s}}
  finish: {steps: [{name: pause, wait: {for: 2m}}]}
  rollback:
    steps: [{name: flush, http: {method: DELETE, path: /cache}}]
  rollbackVerify: {steps: [{name: old-works, http: {path: /health}, when: "captures.baselineErrors < 0.01"}]}
switch: {minReady: 80%, drain: 30s, timeout: 90s}
observe:
  for: 30m
  every: 1s
  triggers:
  - {name: errors, metric: {query: 'errors', above: "0.05", sustained: 5m}, severity: Rollback}
  - {name: slow, metric: {query: 'slow', above: "3", sustained: 5m}, severity: Decide}
  - {name: crashes, pods: {restarts: {moreThan: 3, within: 10m}}}
  - {name: down, probe: {http: {path: /health}}}
window: {start: "2026-11-20T22:00:00Z", end: "2026-11-21T02:00:00Z"}
driftPolicy: Rollback
"#;

#[test]
fn every_default_is_filled_in() {
    let plan = plan(FULL);
    let names: Vec<_> = plan.steps.iter().map(|s| format!("{}/{}", s.stage.field(), s.name)).collect();
    assert_eq!(
        names,
        [
            "preflight/cutover-permissions",
            "preflight/secrets",
            "preflight/baseline",
            "prepare/backup",
            "prepare/migrate-dry-run",
            "prepare/migrate",
            "prepare/more",
            "prepare/green-ready",
            "verify/smoke",
            "confirm/live",
            "confirm/public",
            "finish/pause",
            "rollback/flush",
            "rollbackVerify/old-works",
        ],
        "no rollout is inserted where there is one"
    );
    let step = |name: &str| plan.step(name).map(|s| serde_json::to_value(s).unwrap_or_default()).unwrap_or_default();
    assert_eq!(step("secrets")["timeout"], "30s");
    assert_eq!(step("backup")["timeout"], "32m");
    assert_eq!(step("backup")["action"]["job"]["template"]["spec"]["restartPolicy"], "Never");
    assert_eq!(step("backup")["action"]["job"]["onAbort"], "Wait");
    assert_eq!(step("migrate-dry-run")["action"]["job"]["command"], json!(["npm", "run", "pretend"]));
    assert_eq!(step("migrate-dry-run")["undo"], Value::Null);
    assert_eq!(step("migrate")["needs"], json!(["migrate-dry-run"]));
    assert_eq!(step("migrate")["action"]["job"]["dryRun"], Value::Null);
    assert_eq!(step("migrate")["undo"]["timeout"], "12m");
    assert_eq!(step("migrate")["undo"]["action"]["job"]["deadline"], "10m");
    assert_eq!(
        step("more")["undo"],
        json!({"when": "Attempted", "timeout": "10m", "action": {"unscale": {"step": "more"}}})
    );
    assert_eq!(step("smoke")["action"]["suite"]["passRate"], 90);
    assert_eq!(step("smoke")["timeout"], "10m");
    assert_eq!(step("pack-valid")["after"], json!(["pack"]), "whoever uses a capture waits for it");
    assert_eq!(step("health")["after"], Value::Null);
    let health = json!({"to": "Target", "method": "GET", "scheme": "http", "pods": "Any"});
    for (field, want) in health.as_object().into_iter().flatten() {
        assert_eq!(&step("health")["action"]["http"][field], want, "{field}");
    }
    assert_eq!(step("live")["action"]["http"]["to"], "Live");
    assert_eq!(step("live")["onFailure"], "Fail");
    assert_eq!(
        (step("public")["onFailure"].clone(), step("public")["timeout"].clone()),
        (json!("Continue"), json!("1m40s"))
    );
    assert_eq!((step("pause")["onFailure"].clone(), step("pause")["timeout"].clone()), (json!("Decide"), json!("3m")));
    assert_eq!(step("flush")["onFailure"], "Continue");
    assert_eq!(plan.switch.min_ready, MinReady::Percent(80));
    assert_eq!(plan.observe.timeout, Duration::from_mins(90));
    let triggers: Vec<_> = plan.observe.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(triggers, ["errors", "slow", "crashes", "down"]);
    let down = serde_json::to_value(&plan.observe.triggers[3]).unwrap_or_default();
    assert_eq!((&down["probe"]["failing"], &down["every"]), (&json!(3), &json!("1s")));
    assert_eq!((&down["probe"]["http"]["to"], &down["probe"]["http"]["method"]), (&json!("Live"), &json!("GET")));
    let migrate = plan.step("migrate").and_then(|s| plan.undo_of(s));
    assert_eq!(migrate.map(|u| u.name), Some(undo_name("migrate")));
}

#[test]
fn the_operators_own_triggers_are_always_armed_and_leave_crash_loops_to_whoever_looks_at_them() {
    use crate::plan::BuiltInTrigger::{CrashLoop, Ready};
    let metric = "{name: errors, metric: {query: q, above: '1'}}";
    let table = [
        ("observe: {for: 1m}".to_owned(), vec![CrashLoop, Ready]),
        (format!("observe: {{triggers: [{metric}]}}"), vec![CrashLoop, Ready]),
        ("observe: {triggers: [{name: memory, pods: {memory: {above: 3Gi}}}]}".to_owned(), vec![CrashLoop, Ready]),
        ("observe: {triggers: [{name: killed, pods: {oomKilled: true}}]}".to_owned(), vec![CrashLoop, Ready]),
        ("observe: {triggers: [{name: few, pods: {readyBelow: 50%}}]}".to_owned(), vec![Ready]),
        ("observe: {triggers: [{name: loop, pods: {crashLoop: true}}]}".to_owned(), vec![Ready]),
        (
            format!(
                "observe: {{triggers: [{metric}, {{name: again, pods: {{restarts: {{moreThan: 3, within: 10m}}}}}}]}}"
            ),
            vec![Ready],
        ),
        ("observe: {builtIn: Disarmed}".to_owned(), vec![]),
        (format!("observe: {{builtIn: Disarmed, triggers: [{metric}]}}"), vec![]),
    ];
    for (observe, want) in table {
        let plan = plan(&format!("{observe}\nprometheus: {{url: 'http://prometheus.example:9090'}}"));
        assert_eq!(plan.observe.built_in, want, "{observe}");
    }
    let reserved = refusals("observe: {triggers: [{name: cutover-ready, pods: {readyBelow: '2'}}]}");
    assert!(reserved.iter().any(|r| r.field == "spec.observe.triggers[cutover-ready].name"), "{}", shown(&reserved));
}

#[test]
fn a_follow_up_runs_the_dry_run_of_its_job_first() {
    let plan = plan(
        r#"
phases: {followUp: {steps: [{name: a, job: {readOnly: true, from: {side: Old}, command: [x], dryRun: {command: [pretend]}}}]}}
followUp: [{name: f, after: 1h, run: [a]}]
"#,
    );
    assert_eq!(plan.follow_up.iter().map(|f| f.run.clone()).collect::<Vec<_>>(), [["a-dry-run", "a"]]);
}

#[test]
fn a_dry_run_that_failed_keeps_its_job_from_running_even_where_the_run_goes_on() {
    let plan = plan(
        r#"
phases: {prepare: {steps: [
  {name: a-name-that-is-thirty-nine-characters-lo, critical: false, when: "release.version == '1'", job: {from: {side: Old}, command: [x], dryRun: {command: [pretend]}}},
  {name: a-name-that-is-thirty-nine-characters-l, critical: false, job: {from: {side: Old}, command: [x], dryRun: {command: [pretend]}}}]}}
"#,
    );
    let step = |i: usize| plan.steps.get(i).map(|s| (s.name.as_str(), s.when.as_deref()));
    let first = "a-name-that-is-thirty-nine-chara-dry-run";
    let second = "a-name-that-is-thirty-nine-c-2-dry-run";
    assert_eq!(step(1), Some((first, Some("release.version == '1'"))));
    let both = format!("(release.version == '1') && steps['{first}'].outcome == 'Succeeded'");
    assert_eq!(step(2), Some(("a-name-that-is-thirty-nine-characters-lo", Some(both.as_str()))));
    assert_eq!(step(3), Some((second, None)));
    let own = format!("steps['{second}'].outcome == 'Succeeded'");
    assert_eq!(step(4), Some(("a-name-that-is-thirty-nine-characters-l", Some(own.as_str()))));
}

#[test]
fn a_job_is_given_less_time_than_its_step() {
    let of = |fields: &str| {
        let plan = plan(&format!("phases: {{prepare: {{steps: [{{name: a, {fields}}}]}}}}"));
        let step = plan.step("a").map(|s| serde_json::to_value(s).unwrap_or_default()).unwrap_or_default();
        (step["timeout"].as_str().map(str::to_owned), step["action"]["job"]["deadline"].as_str().map(str::to_owned))
    };
    let pair = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    assert_eq!(of("job: {from: {side: Old}, command: [x]}"), pair("12m", "10m"));
    assert_eq!(of("timeout: 2m, job: {from: {side: Old}, command: [x]}"), pair("2m", "1m30s"));
    assert_eq!(of("timeout: 1h, job: {from: {side: Old}, command: [x]}"), pair("1h", "10m"));
    assert_eq!(
        of("retry: {attempts: 2, every: 1m}, job: {from: {side: Old}, command: [x], deadline: 4m}"),
        pair("12m", "4m")
    );
}

#[test]
fn a_rollout_is_inserted_unless_one_certainly_happens() {
    let inserted = |fields: &str| plan(fields).step("cutover-target-rollout").is_some();
    assert!(!inserted("phases: {prepare: {steps: [{name: a, rollout: {side: Target}}]}}"));
    assert!(!inserted(
        "phases: {verify: {steps: [{name: a, rollout: {workloads: [{kind: Deployment, name: web-green}]}}]}}"
    ));
    for fields in [
        "phases: {verify: {steps: [{name: a, rollout: {side: Old}}]}}",
        "phases: {verify: {steps: [{name: a, critical: false, rollout: {side: Target}}]}}",
        "phases: {verify: {steps: [{name: a, when: \"release.version == '1'\", rollout: {side: Target}}]}}",
        "phases: {preflight: {steps: [{name: a, rollout: {side: Target}}]}}",
        "phases: {confirm: {steps: [{name: a, rollout: {side: Target}}]}}",
    ] {
        assert!(inserted(fields), "{fields}");
    }
}

/// What is wrong with each: the field, and a part of the message.
#[test]
fn every_mistake_is_refused_by_its_field() {
    let table = include_str!("refusals.txt");
    let mut seen = 0;
    for case in table.split("\n\n").filter(|c| !c.trim().is_empty() && !c.starts_with('#')) {
        let mut lines = case.lines().filter(|l| !l.starts_with('#'));
        let (want, fields) = (lines.next().unwrap_or_default(), lines.collect::<Vec<_>>().join("\n"));
        let found = refusals(&fields);
        assert!(
            found.iter().any(|r| r.to_string().starts_with(want)),
            "{fields}\nwanted {want}\nfound {}",
            shown(&found)
        );
        assert!(found.len() <= 3, "one mistake, one or two refusals:\n{fields}\n{}", shown(&found));
        assert!(found.iter().all(|r| !r.field.is_empty() && !r.message.is_empty() && !r.remedy.is_empty()));
        seen += 1;
    }
    assert!(seen > 100, "only {seen} cases were read");
}

#[test]
fn everything_that_is_not_built_yet_is_refused_by_its_field() {
    let found = refusals(include_str!("unbuilt.yaml"));
    let missing = crate::plan::refuse::unseen(&found);
    assert!(missing.is_empty(), "not refused: {missing:?}\n{}", shown(&found));
}

#[test]
fn all_refusals_are_told_at_once() {
    let found = refusals(
        "{phases: {prepare: {steps: [{name: X}, {name: a, http: {path: x, expect: [')']}}]}}, switch: {minReady: 0%}}",
    );
    let fields: Vec<_> = found.iter().map(|r| r.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.phases.prepare.steps[X].name",
            "spec.phases.prepare.steps[X]",
            "spec.phases.prepare.steps[a].http.expect[0]",
            "spec.phases.prepare.steps[a].http.path",
            "spec.switch.minReady"
        ]
    );
    assert_eq!(
        found.first().map(ToString::to_string).as_deref(),
        Some(
            "spec.phases.prepare.steps[X].name: \"X\" is not a name; use at most 40 lower-case letters, digits and dashes, beginning and ending with a letter or digit"
        )
    );
}

#[test]
fn the_sides_decide_what_is_live() {
    let of = |live: &str, activate: &str| {
        let spec = CutoverSpec { activate: activate.into(), ..spec("{}") };
        resolve("web", "prod", &spec, live, &Offered::default())
            .map(|p| (p.target.name, p.old.name))
            .map_err(|r| shown(&r))
    };
    assert_eq!(of("blue", "green"), Ok(("green".into(), "blue".into())));
    assert_eq!(of("green", "blue"), Ok(("blue".into(), "green".into())));
    assert!(of("green", "green").is_err_and(|e| e.starts_with("spec.activate: green is live already")));
    assert!(of("blue", "red").is_err_and(|e| e.contains("\"red\" is not the name of a side; name one of blue, green")));
    assert!(of("red", "green").is_err_and(|e| e.contains("the Services point to \"red\"")));
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let many = |n: usize| {
        let steps: Vec<_> = (0..n).map(|i| format!("{{name: s{i}, wait: {{for: 1s}}}}")).collect();
        format!("phases: {{prepare: {{steps: [{}]}}}}", steps.join(", "))
    };
    assert_eq!(plan(&many(200)).steps.len(), 202);
    assert_eq!(
        shown(&refusals(&many(300))),
        "spec: there are 300 steps, more than 200; put several checks into one Job, or repeat a follow-up less often\n"
    );
    let wide = format!(
        "phases: {{prepare: {{steps: [{{name: a, http: {{path: /, method: POST, body: {}}}}}]}}}}",
        "x".repeat(300 * 1024)
    );
    assert!(shown(&refusals(&wide)).starts_with("spec: the spec has 300 KiB, more than 256 KiB;"));
    let long = resolve(&"x".repeat(41), "prod", &spec("{}"), "blue", &Offered::default()).err().unwrap_or_default();
    assert!(shown(&long).starts_with("metadata.name: the name has 41 characters, more than 40;"));
}

fn offered(names: &[&str], default: Option<&str>) -> Offered {
    Offered {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        default: default.map(str::to_owned),
        ..Offered::default()
    }
}

#[test]
fn a_default_prometheus_is_enough_for_metrics_and_stands_in_the_plan() {
    let metric = "phases: {preflight: {steps: [{name: a, metric: {query: up}}]}}";
    let spec = |more: &str| spec(&format!("{metric}\n{more}"));
    let all = offered(&["monitoring/prometheus", "central"], Some("monitoring/prometheus"));
    let named = |spec: &CutoverSpec, offered: &Offered| {
        let plan = resolve("web", "prod", spec, "blue", offered).map_err(|r| shown(&r));
        plan.map(|plan| plan.prometheus.and_then(|p| p.name))
    };
    assert_eq!(named(&spec(""), &all), Ok(Some("monitoring/prometheus".into())));
    assert_eq!(named(&spec("prometheus: {name: central}"), &all), Ok(Some("central".into())));
    assert_eq!(named(&spec("prometheus: {url: 'https://p'}"), &all), Ok(None));
    let why = "spec.phases.preflight.steps[a].metric: no Prometheus is known; set spec.prometheus, or have the operator's \
               configuration name a default (chart value prometheus.default)\n";
    assert_eq!(named(&spec(""), &offered(&["central"], None)), Err(why.into()));
    // Neither the default nor a name reaches a namespace that it is not offered to.
    let only = |namespace: &str| {
        let only = [("monitoring/prometheus".to_owned(), [namespace.to_owned()].into())].into();
        Offered { only, ..all.clone() }
    };
    assert_eq!(named(&spec(""), &only("prod")), Ok(Some("monitoring/prometheus".into())));
    assert_eq!(named(&spec(""), &only("other")), Err(why.into()));
    let refused = named(&spec("prometheus: {name: monitoring/prometheus}"), &only("other"));
    assert!(refused.is_err_and(|why| why.contains("for namespace prod; it offers: central;")));
}

#[test]
fn a_name_that_is_not_offered_is_refused_with_those_that_are() {
    let spec = spec("prometheus: {name: monitoring/prometheus}");
    for (names, list) in [(vec![], "none"), (vec!["central", "a/b"], "a/b, central")] {
        let found = resolve("web", "prod", &spec, "blue", &offered(&names, None)).err().unwrap_or_default();
        let want = format!(
            "spec.prometheus.name: the operator's configuration has no source \"monitoring/prometheus\" for \
             namespace prod; it offers: {list}; name one that is offered, or have this one added to the operator's configuration (chart value \
             prometheus.sources)\n"
        );
        assert_eq!(shown(&found), want);
    }
}

#[test]
fn a_run_does_not_hold_any_number_of_captures() {
    let capturing = |n: usize| {
        let one = |i| format!("{{name: s{i}, http: {{path: /, capture: [{{name: c{i}, path: $.a}}]}}}}");
        format!("phases: {{prepare: {{steps: [{}]}}}}", (0..n).map(one).collect::<Vec<_>>().join(", "))
    };
    assert_eq!(refusals(&capturing(64)), []);
    let found = refusals(&capturing(70));
    assert_eq!(found.len(), 1);
    assert!(
        shown(&found)
            .starts_with("spec.phases.prepare.steps[s64].http.capture[0].name: there are more than 64 captures;")
    );
}

#[test]
fn jobs_run_as_the_accounts_that_the_cutover_lists() {
    let job = |account: &str| format!("job: {{template: {{spec: {{{account}containers: [{{name: a, image: b}}]}}}}}}");
    let steps = |account: &str, more: &str| {
        let job = job(account);
        format!(
            "{more}\nphases: {{prepare: {{steps: [{{name: one, {job}, undo: {{{job}}}}}, \
             {{name: all, suite: {{steps: [{{name: in, {job}}}]}}}}]}}}}"
        )
    };
    let fields = |manifest: &str| refusals(manifest).into_iter().map(|r| r.field).collect::<Vec<_>>();
    let at = "spec.phases.prepare.steps";
    for name in ["serviceAccountName", "serviceAccount"] {
        let other = format!("{name}: other, ");
        let below = format!("job.template.spec.{name}");
        let mut found = fields(&steps(&other, ""));
        found.sort();
        let undo = format!("{at}[one].undo.{below}");
        assert_eq!(found, [format!("{at}[all].suite.steps[in].{below}"), format!("{at}[one].{below}"), undo]);
        let listed = plan(&steps(&other, "jobServiceAccounts: [other]"));
        assert_eq!(listed.job_accounts.as_deref(), Some(["other".to_owned()].as_slice()));
        plan(&steps(&format!("{name}: deployer, "), "serviceAccountName: deployer"));
    }
    plan(&steps("", ""));
    let token = fields(&steps("automountServiceAccountToken: true, ", ""));
    assert!(token.iter().all(|f| f.ends_with("spec.automountServiceAccountToken")) && token.len() == 3, "{token:?}");
    plan(&steps("automountServiceAccountToken: true, ", "jobServiceAccounts: [default]"));
}

#[test]
fn a_gate_without_the_requester_needs_to_know_who_that_is() {
    let gate = "approval: {roles: [{name: qa}], excludeRequester: true}";
    let asked = |release: &str| {
        format!(
            "release: {{{release}}}\nphases: {{prepare: {{steps: [{{name: go, {gate}}}, \
             {{name: stop, cronJobs: {{suspend: [a]}}, undo: {{cronJobs: {{resume: [a]}}, {gate}}}}}]}}}}"
        )
    };
    let fields: Vec<String> = refusals(&asked("version: '2'")).into_iter().map(|r| r.field).collect();
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert!(fields.iter().all(|f| f.ends_with("approval.excludeRequester")), "{fields:?}");
    plan(&asked("version: '2', requestedBy: jane"));
}
