//! What is found in small inputs.

use super::*;

fn files(texts: &[(&str, &str)]) -> Vec<File> {
    texts.iter().map(|(name, text)| File { name: (*name).into(), bytes: text.as_bytes().to_vec() }).collect()
}

/// Each finding as `line:column CODE field`.
fn found(text: &str) -> Vec<String> {
    told(&check(files(&[("a.yaml", text)]), &Options::default()))
}

fn told(outcome: &Outcome) -> Vec<String> {
    let line = |f: &Finding| format!("{}:{} {} {}", f.place.line, f.place.column, f.code.id(), f.field);
    outcome.findings.iter().map(line).collect()
}

/// A Cutover without any finding, and more fields of its spec.
fn cutover(fields: &str) -> String {
    let spec = [
        "release: {version: \"1\", podLabel: version}",
        "services: [{name: web}]",
        "sides:",
        "- {name: blue, selector: {side: blue}, workloads: [{kind: Deployment, name: web-blue}]}",
        "- {name: green, selector: {side: green}, workloads: [{kind: Deployment, name: web-green}]}",
        "activate: green",
    ];
    let given =
        |line: &&str| !fields.lines().any(|f| f.split(':').next() == line.split(':').next() && !line.starts_with('-'));
    let mut lines: Vec<&str> = spec.iter().copied().filter(given).collect();
    if !fields.lines().any(|line| line.starts_with("observe:")) {
        lines.push("observe: {triggers: [{name: down, probe: {http: {path: /}}}]}");
    }
    lines.extend(fields.lines());
    let spec: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: cutover.dev/v1alpha1\nkind: Cutover\nmetadata: {{name: web, namespace: prod}}\nspec:\n{spec}")
}

#[test]
fn a_plain_cutover_has_no_finding() {
    assert_eq!(found(&cutover("")), Vec::<String>::new());
}

/// Whether a finding of this code is there, in this field.
fn has(fields: &str, want: &str) {
    let all = found(&cutover(fields));
    assert!(
        all.iter().any(|line| line.split_once(' ').is_some_and(|(_, rest)| rest == want)),
        "{fields}\nwanted {want}\nfound {all:#?}"
    );
}

fn has_not(fields: &str, code: &str) {
    let all = found(&cutover(fields));
    assert!(!all.iter().any(|line| line.contains(code)), "{fields}\nfound {all:#?}");
}

#[test]
fn what_is_legal_and_dangerous_is_warned_of() {
    let undo = |more: &str, job: &str| {
        format!(
            "phases: {{prepare: {{steps: [{{name: m, job: {{from: {{side: Target}}, command: [x], deadline: 1m{job}}}, undo: {{job: \
             {{from: {{side: Target}}, command: [back], deadline: 1m, env: [{{name: A, value: \"${{n}}\"}}]}}{more}}}}}]}}}}"
        )
    };
    let plain = undo("", "").replace(", env: [{name: A, value: \"${n}\"}]", "");
    has(&plain, "CUT101 spec.phases.prepare.steps[m].undo");
    has_not(&plain.replace("undo: {job", "undo: {when: Succeeded, job"), "CUT101");
    has_not(&plain.replace("undo: {job", "undo: {when: Attempted, job"), "CUT101");
    has_not(&undo("", ", capture: [{name: n, path: $.n}]"), "CUT101");
    has("observe: {builtIn: Disarmed, triggers: [{name: a, pods: {oomKilled: true}}]}", "CUT102 spec.observe.builtIn");
    has("release: {version: \"1\"}", "CUT103 spec.release");
    has_not("release: {version: \"1\", images: [\"web:1\"]}", "CUT103");
    let metric = |query: &str, more: &str| {
        format!(
            "prometheus: {{url: \"http://p:9090\"}}\nobserve: {{for: 10m, triggers: [{{name: a, metric: {{query: '{query}', \
             above: \"1\"{more}}}}}]}}"
        )
    };
    has(&metric("rate(x[10m])", ""), "CUT104 spec.observe.triggers[a].metric.query");
    has(&metric("x", ", reach: 1h"), "CUT104 spec.observe.triggers[a].metric.reach");
    has_not(&metric("rate(x[9m])", ""), "CUT104");
    has(&metric("job:errors:rate5m{a=\"b:c\"}", ""), "CUT105 spec.observe.triggers[a].metric.query");
    has_not(&metric("job:errors:rate5m", ", reach: 5m"), "CUT105");
    let share = |bound: &str| {
        format!(
            "prometheus: {{url: \"http://p\"}}\n\
             observe: {{for: 10m, triggers: [{{name: a, metric: {{query: 'x{{bad=\"yes\"}} / x', {bound}, reach: 1m}}}}]}}"
        )
    };
    has(&share("above: \"5\""), "CUT116 spec.observe.triggers[a].metric.above");
    has(&share("below: \"99\""), "CUT116 spec.observe.triggers[a].metric.below");
    has_not(&share("above: \"0.05\""), "CUT116");
    has_not(&share("below: \"0.99\""), "CUT116");
    has_not(&metric("errors{url=\"a:b\"}", ""), "CUT105");
    has("observe: {for: 5m}", "CUT106 spec.observe");
    has("rollback: {connections: Keep}", "CUT107 spec.rollback.connections");
    let path = "phases: {verify: {steps: [{name: s, http: {path: \"/?v=${release.version}\"}}]}}";
    has(path, "CUT108 spec.phases.verify.steps[s].http.path");
    let marked = cutover(path)
        .replace("namespace: prod", "namespace: prod, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}");
    assert_eq!(found(&marked), Vec::<String>::new());
    let job = |job: &str| format!("phases: {{prepare: {{steps: [{{name: j, job: {{{job}}}}}]}}}}");
    has(&job("from: {side: Target}, command: [x]"), "CUT109 spec.phases.prepare.steps[j].job");
    let template = |container: &str| {
        job(&format!(
            "deadline: 1m, template: {{metadata: {{labels: {{on: x}}}}, spec: {{containers: [{{name: a, {container}}}]}}}}"
        ))
    };
    let image = "spec.phases.prepare.steps[j].job.template.spec.containers[0].image";
    has(&template("image: \"a:latest\""), &format!("CUT110 {image}"));
    has(&template("image: \"r.io:5000/a\""), &format!("CUT110 {image}"));
    has_not(&template("image: \"r.io:5000/a:1\""), "CUT110");
    has_not(&template("image: \"a@sha256:00\""), "CUT110");
    has("release: {version: \"1\", images: [web]}", "CUT110 spec.release.images[0]");
    has(
        &template("image: \"a:1\", env: [{name: A, value: yes}]"),
        "CUT112 spec.phases.prepare.steps[j].job.template.spec.containers[0].env[0].value",
    );
    has("templates: [{name: t}]", "CUT113 spec.templates[0].name");
    has("observe: {triggers: [{name: a, metric: {query: x, above: \"1\"}}]}", "CUT114 spec.observe.triggers[a].metric");
}

#[test]
fn a_mistake_is_told_once_with_its_place() {
    let text = cutover(
        "activte: blue\nobserve: {for: 5, every: 1ms}\nphases: {prepair: {steps: []}, verify: {steps: [{name: A, wait: {for: 1s}, http: {path: /}}, {name: b, wait: {for: 1s}}]}}",
    );
    assert_eq!(
        found(&text),
        ["11:3 CUT010 spec.activte", "12:18 CUT011 spec.observe.for", "13:58 CUT011 spec.phases.verify.steps[A].name",]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    );
}

#[test]
fn yaml_that_is_no_text_is_told_so() {
    let text = cutover("release: {version: 1.10, podLabel: version}");
    let all = check(files(&[("a.yaml", &text)]), &Options::default()).findings;
    let first = all.first().map(|f| (f.field.as_str(), f.message.as_str(), f.remedy.as_str()));
    let want = "this is a number and no string: YAML reads \"1.10\" without quotes so";
    assert_eq!(first, Some(("spec.release.version", want, "write \"1.10\" with quotes")));
}

#[test]
fn objects_are_told_apart() {
    let run = "apiVersion: cutover.dev/v1alpha1\nkind: CutoverRun\nmetadata: {name: a}\n";
    assert_eq!(found(run), ["2:1 CUT005 kind"]);
    assert_eq!(found("apiVersion: cutover.dev/v1alpha1\nkind: Cutovr\n"), ["2:1 CUT006 kind"]);
    assert_eq!(found("apiVersion: cutover.dev/v1\nkind: Cutover\n"), ["1:1 CUT006 apiVersion"]);
    assert_eq!(found("spec: {sides: [], activate: x}\n"), ["1:1 CUT006 "]);
    assert_eq!(found("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"), ["1:1 CUT004 "]);
    assert_eq!(found("a: {{ .Values.x }}\n").len(), 1);
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", cutover("").trim_end().replace('\n', "\n  "));
    assert_eq!(found(&list), Vec::<String>::new());
    let twice = format!("{}---\n{}", cutover(""), cutover(""));
    assert_eq!(found(&twice), ["15:12 CUT008 metadata.name"]);
    let text = cutover("");
    let other = text.replace("{name: web, namespace", "{name: other, namespace");
    let outcome = check(files(&[("a.yaml", &text), ("b.yaml", &other)]), &Options::default());
    assert_eq!(told(&outcome), ["6:15 CUT036 spec.services[0].name"]);
    assert_eq!((outcome.errors, outcome.checked, outcome.files), (1, 2, 2));
}

const APPLICATION: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web, side: blue}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-blue}
spec: {template: {metadata: {labels: {app: web, side: blue, version: '0'}}, spec: {containers: [{name: api, image: 'web:0'}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-green}
spec: {template: {metadata: {labels: {app: web, side: green, version: '1'}}, spec: {containers: [{name: api, image: 'web:1'}]}}}
---
apiVersion: v1
kind: Secret
metadata: {name: tokens}
stringData: {qa: x}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: cutover}
";

fn beside(cutover: &str, application: &str, require_references: bool) -> Vec<String> {
    let options = Options { require_references, ..Options::default() };
    told(&check(files(&[("a.yaml", cutover), ("b.yaml", application)]), &options))
}

#[test]
fn objects_of_the_input_contradict_a_cutover_or_do_not() {
    let plain = cutover("");
    assert_eq!(beside(&plain, APPLICATION, true), Vec::<String>::new());
    assert_eq!(beside(&plain, "", false), Vec::<String>::new());
    assert_eq!(
        beside(&plain, "", true),
        [
            "4:1 CUT030 spec.serviceAccountName",
            "6:15 CUT030 spec.services[0].name",
            "8:73 CUT030 spec.sides[0].workloads[0].name",
            "9:75 CUT030 spec.sides[1].workloads[0].name",
        ]
    );
    let with = |from: &str, to: &str| beside(&plain, &APPLICATION.replacen(from, to, 1), false);
    assert_eq!(with("side: green", "side: blue"), ["9:75 CUT031 spec.sides[1].workloads[0].name"]);
    assert_eq!(with("side: green, ", ""), ["9:19 CUT031 spec.sides[1].selector"]);
    assert_eq!(
        with("labels: {app: web, side: green", "labels: {app: wbe, side: green"),
        ["9:44 CUT031 spec.sides[1].workloads"]
    );
    assert_eq!(
        with("{selector: {app: web, side: blue}", "{selector: {app: web}"),
        ["6:15 CUT032 spec.services[0].name"]
    );
    assert_eq!(with("version: '1'", "version: '0'"), ["5:13 CUT115 spec.release.version"]);
    let step = |action: &str| cutover(&format!("phases: {{verify: {{steps: [{{name: s, {action}}}]}}}}"));
    let of = |action: &str| beside(&step(action), APPLICATION, false);
    assert_eq!(of("http: {path: /, port: http}"), Vec::<String>::new());
    assert_eq!(of("http: {path: /, port: '81'}"), ["12:55 CUT033 spec.phases.verify.steps[s].http.port"]);
    let job = |container: &str| {
        of(&format!("job: {{from: {{side: Target, container: {container}}}, command: [x], deadline: 1m}}"))
    };
    assert_eq!(job("api"), Vec::<String>::new());
    assert_eq!(job("nginx").len(), 2, "of both sides, since they change places");
    let secret = |name: &str, key: &str| {
        of(&format!("http: {{path: /, headersFrom: [{{name: A, secret: {{name: {name}, key: {key}}}}}]}}"))
    };
    assert_eq!(secret("tokens", "qa"), Vec::<String>::new());
    assert_eq!(secret("other", "qa"), Vec::<String>::new());
    assert_eq!(secret("tokens", "qb").len(), 1);
    // A worker that no Service selects has none of the labels.
    let worker = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: worker-green}\nspec: {template: {metadata: {labels: {app: worker, version: '1'}}}}\n";
    let more = plain.replace("name: web-green}]", "name: web-green}, {kind: Deployment, name: worker-green}]");
    assert_eq!(beside(&more, &format!("{APPLICATION}{worker}"), true), Vec::<String>::new());
}

#[test]
fn templates_are_checked_by_themselves_and_by_their_users() {
    let template = |spec: &str| {
        format!(
            "apiVersion: cutover.dev/v1alpha1\nkind: CutoverTemplate\nmetadata: {{name: t, namespace: prod}}\nspec:\n{spec}"
        )
    };
    let one = |spec: &str| found(&template(spec));
    assert_eq!(one("  phases: {verify: {steps: [{name: a, http: {path: /}}]}}\n"), Vec::<String>::new());
    assert_eq!(one("  phases: {verfy: {steps: []}}\n"), ["5:12 CUT021 spec.phases.verfy"]);
    assert_eq!(
        one("  phases: {verify: {steps: [{name: a, http: {pth: /}}]}}\n"),
        ["5:39 CUT021 spec.phases.verify.steps[a].http", "5:46 CUT021 spec.phases.verify.steps[a].http.pth"]
    );
    assert_eq!(
        one("  phases: {verify: {steps: [{name: \"${param.x}\", http: {path: /}}]}}\n"),
        ["5:30 CUT021 spec.phases.verify.steps[${param.x}].name"]
    );
    assert_eq!(
        one("  templates: [{name: t}]\n"),
        ["5:3 CUT010 spec.templates"],
        "a template uses no template, itself or another"
    );
    let user = cutover("templates: [{name: t, parameters: [{name: p, value: x}]}]");
    let both = |spec: &str| {
        beside(&user, &template(spec), true).into_iter().filter(|f| !f.contains("CUT030")).collect::<Vec<_>>()
    };
    let right = "  parameters: [{name: p}]\n  phases: {verify: {steps: [{name: \"${param.p}\", http: {path: /}}]}}\n";
    assert_eq!(both(right), Vec::<String>::new());
    let wrong = right.replace("path: /", "path: /, expect: [\")\"]");
    assert_eq!(both(&wrong), ["6:21 CUT020 spec.phases.verify.steps[x].http.expect[0]"]);
}

#[test]
fn what_comes_from_outside_is_bounded() {
    let large = File { name: "a.yaml".into(), bytes: vec![b' '; MAX_FILE + 1] };
    assert_eq!(told(&check(vec![large], &Options::default())), ["1:1 CUT003 "]);
    let binary = File { name: "a.yaml".into(), bytes: b"a: 1\nb: \xff".to_vec() };
    assert_eq!(told(&check(vec![binary], &Options::default())), ["2:1 CUT001 "]);
    let many: String = (0..2000)
        .map(|i| format!("---\napiVersion: cutover.dev/v1\nkind: Cutover\nmetadata: {{name: a{i}}}\n"))
        .collect();
    let outcome = check(files(&[("a.yaml", &many)]), &Options::default());
    assert_eq!((outcome.findings.len(), outcome.untold, outcome.errors), (MAX_FINDINGS, 1000, 2000));
    assert_eq!(found("").len(), 1);
    assert_eq!(found(&cutover("suspend: true\nsuspend: false")), ["13:3 CUT007 "]);
}

#[test]
fn every_code_has_its_section_and_every_section_its_code() {
    let page = include_str!("../../docs/lint.md");
    let headings: Vec<String> = page.lines().filter_map(|l| l.strip_prefix("### ")).map(str::to_owned).collect();
    let codes: Vec<String> = Code::ALL.iter().map(|code| format!("{}: {}", code.id(), code.title())).collect();
    assert_eq!(headings, codes);
    let mut ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    ids.dedup();
    assert_eq!(ids.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(code.severity() == Severity::Warning, code.id().starts_with("CUT1"), "{code:?}");
        assert_eq!(Code::of(&code.id().to_lowercase()), Some(*code));
    }
}

#[test]
fn the_account_of_a_side_that_a_job_is_made_from_must_be_listed() {
    let from = |more: &str| {
        cutover(&format!(
            "phases: {{prepare: {{steps: [{{name: s, job: {{from: {{side: Target}}, command: [x]}}}}]}}}}{more}"
        ))
    };
    let powerful = APPLICATION.replacen(
        "spec: {containers: [{name: api, image: 'web:1'",
        "spec: {serviceAccountName: powerful, containers: [{name: api, image: 'web:1'",
        1,
    );
    let said = |cutover: &str, application: &str, require: bool| {
        let all = beside(cutover, application, require).into_iter();
        all.filter(|line| line.contains("CUT020") || line.contains("CUT030")).collect::<Vec<_>>()
    };
    assert_eq!(said(&from(""), APPLICATION, false), Vec::<String>::new());
    let found = said(&from(""), &powerful, false);
    assert!(found.len() == 1 && found[0].ends_with("CUT020 spec.phases.prepare.steps[s].job.from"), "{found:?}");
    let listed = from("\njobServiceAccounts: [powerful]");
    assert_eq!(said(&listed, &powerful, false), Vec::<String>::new());
    let found = said(&listed, &powerful, true);
    assert!(found.len() == 1 && found[0].ends_with("CUT030 spec.jobServiceAccounts[0]"), "{found:?}");
}
