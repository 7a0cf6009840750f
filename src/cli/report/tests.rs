//! What sheets say, and that no text from outside steers whoever reads them.

use clap::ValueEnum;
use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::{Value, json};

use super::model::{Report, Word};
use super::{Form, Template, attest, find, write};
use crate::api::run::CutoverRun;
use crate::cli::fixtures::{HOSTILE, at, observing, of_model, over, run, snapshot};
use crate::view;

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A run that a trigger rolled back, with something in every section.
fn rolled_back() -> CutoverRun {
    let mut status = observing();
    let ending = json!({"phase": "RolledBack", "reason": "TriggerFired", "message": "trigger errors fired: 0.08 is above 0.05",
        "at": at(10), "trigger": "errors"});
    status["ending"] = ending;
    status["phase"] = json!("RolledBack");
    status["state"] = json!("Closed");
    status["triggers"][0]["firedAt"] = json!(at(10));
    status["switch"]["services"][0]["state"] = json!("Restored");
    status["switch"]["services"][0]["restoredAt"] = json!(at(11));
    status["switch"]["restoredAt"] = json!(at(11));
    status["steps"][0]["earlier"] =
        json!([{"attempt": 1, "started": at(2), "ended": at(3), "state": "Failed", "message": "exit code 1"}]);
    status["steps"][0]["evidence"]["log"] = json!(["12 migrations", "done"]);
    status["steps"][0]["job"] = json!({"name": "web-2-migrate", "uid": "j", "created": at(3), "image": "shop:2.4.0",
        "command": ["npm", "run", "migrate"]});
    status["closings"] =
        json!([{"side": "green", "at": at(11), "had": 2, "ended": at(12), "left": "a pod had no name"}]);
    status["question"] =
        json!({"subject": "undo", "text": "undo what was done?", "at": at(12), "defaultRollback": false});
    status["images"] = json!([{"side": "green", "workload": "Deployment/web-green", "container": "app",
        "image": "registry.example/shop:2.4.0", "imageIDs": [format!("registry.example/shop@{DIGEST}")]}]);
    status["after"] = json!({"revalidations": [{"by": "omar@example.com", "at": at(13), "state": "Succeeded"}]});
    run(2, "2.4.0", Some(status))
}

/// The run with a text in place of every text in which it can stand.
fn with_everywhere(run: &CutoverRun, text: &str) -> CutoverRun {
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(at.to_owned()),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), found)),
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                places(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), found);
            }),
            _ => {}
        }
    }
    let planned = view::plan_of(run).is_some();
    let mut value = serde_json::to_value(run).expect("JSON");
    let mut all = vec![];
    places(&value, "", &mut all);
    let mut changed = 0;
    for place in all {
        // A reference by name decides what belongs together, where there is a plan.
        let names = ["/name", "/gate", "/side", "/role", "/result", "/trigger"];
        if planned && names.iter().any(|end| place.ends_with(end)) {
            continue;
        }
        let mut tried = value.clone();
        *tried.pointer_mut(&place).expect("a place") = json!(text);
        let Ok(run) = serde_json::from_value::<CutoverRun>(tried.clone()) else { continue };
        if view::plan_of(&run).is_some() == planned {
            value = tried;
            changed += 1;
        }
    }
    assert!(changed > 40, "{changed} texts were replaced");
    serde_json::from_value(value).expect("a run")
}

/// What has a meaning for the structure of a page of Markdown, and the texts of its cells.
fn markdown(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut structure, mut cells) = (vec![], vec![]);
    let mut cell: Option<String> = None;
    for event in Parser::new_ext(text, Options::all() - Options::ENABLE_SMART_PUNCTUATION) {
        match event {
            Event::Start(Tag::TableCell) => cell = Some(String::new()),
            Event::End(pulldown_cmark::TagEnd::TableCell) => cells.extend(cell.take()),
            Event::Start(Tag::CodeBlock(_)) => structure.push("code".to_owned()),
            Event::Start(tag) => structure.push(format!("{tag:?}")),
            Event::Text(text) | Event::Code(text) => {
                if let Some(cell) = &mut cell {
                    cell.push_str(&text);
                }
            }
            Event::End(_) | Event::SoftBreak => {}
            other => structure.push(format!("{other:?}")),
        }
    }
    (structure, cells)
}

/// Elements with their attributes, and the texts of cells.
fn html(text: &str) -> (Vec<String>, Vec<String>) {
    fn text_of(node: &Handle) -> String {
        match &node.data {
            NodeData::Text { contents } => contents.borrow().to_string(),
            _ => node.children.borrow().iter().map(text_of).collect(),
        }
    }
    fn walk(node: &Handle, structure: &mut Vec<String>, cells: &mut Vec<String>) {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            let attrs: Vec<String> = attrs.borrow().iter().map(|a| format!("{}={}", a.name.local, a.value)).collect();
            structure.push(format!("{} {}", name.local, attrs.join(" ")));
            if &*name.local == "td" {
                cells.push(text_of(node));
            }
        }
        node.children.borrow().iter().for_each(|child| walk(child, structure, cells));
    }
    let dom: RcDom = html5ever::parse_document(RcDom::default(), Default::default()).one(text);
    let (mut structure, mut cells) = (vec![], vec![]);
    walk(&dom.document, &mut structure, &mut cells);
    (structure, cells)
}

#[test]
fn the_record_of_a_run_stands_on_every_sheet() {
    let report = Report::of(&rolled_back());
    of_model("report", &report);
    for template in Template::value_variants() {
        let name = format!("{template:?}").to_lowercase();
        snapshot(&format!("report-{name}.md"), &write(&report, *template, Form::Markdown));
    }
    snapshot("report-full.html", &write(&report, Template::Full, Form::Html));
}

#[test]
fn no_text_from_outside_becomes_markup_a_link_or_a_formula() {
    let attacks = [
        HOSTILE,
        "</td></tr></table><script>alert(1)</script><img src=x onerror=alert(1)>",
        "x\" onload=\"alert(1)' style='position:fixed",
        "a | b | c\n|---|\n# mine\n```\n<b>x</b>",
        "back\\| slash `ticks`` and [a link](https://evil.example) ![x](https://evil.example/x.png)",
        "https://evil.example www.evil.example @everyone #1 <https://evil.example> a@b.example",
        "=HYPERLINK(\"https://evil.example\")",
        "+cmd|' /C calc'!A0",
        "-2+3",
        " @SUM(1)",
        "``````",
        "$x$ ~~y~~ **z** _w_ [^1] :smile: &lt;",
        "\u{2067}right\u{2069} \u{202e}left",
    ];
    let whole = rolled_back();
    let mut without_plan = rolled_back();
    without_plan.spec.plan = Value::Null;
    for run in [whole, without_plan] {
        let calm = Report::of(&with_everywhere(&run, "calm"));
        for attack in attacks {
            let report = Report::of(&with_everywhere(&run, attack));
            for template in Template::value_variants() {
                harmless(&report, &calm, *template, attack);
            }
        }
    }
}

/// Holds the sheets of a record to the structure of those of another one, in which all texts are plain words.
fn harmless(report: &Report, calm: &Report, template: Template, attack: &str) {
    for (form, parse) in [(Form::Markdown, markdown as fn(&str) -> _), (Form::Html, html)] {
        let text = write(report, template, form);
        let what = format!("{attack:?} in {template:?} as {form:?}:\n{text}");
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{2069}').contains(&c);
        assert_eq!(text.chars().find(|c| steers(*c)), None, "{what}");
        let (structure, cells) = parse(&text);
        assert_eq!(structure, parse(&write(calm, template, form)).0, "{what}");
        let formula = |c: &&String| c.trim().starts_with(['=', '+', '-', '@']) && c.trim().parse::<f64>().is_err();
        assert_eq!(cells.iter().find(formula), None, "{what}");
    }
}

#[test]
fn a_run_that_says_little_is_said_to() {
    let mut bare = run(2, "2.4.0", None);
    let said = |report: &Report, what: &str| report.not_recorded.iter().any(|m| m.contains(what));
    assert!(said(&Report::of(&bare), "the journal"));
    assert_eq!(Report::of(&bare).verdict.decision, Word::Open);
    let mut old = rolled_back();
    old.spec.plan_version = 1;
    assert!(said(&Report::of(&old), "form 1"));
    (old.spec.plan, bare.spec.plan) = (json!({"steps": "none"}), json!(null));
    for run in [&old, &bare] {
        let report = Report::of(run);
        assert!(said(&report, "the plan"), "{:?}", report.not_recorded);
        for template in Template::value_variants() {
            assert!(write(&report, *template, Form::Markdown).contains("*not recorded*"), "{template:?}");
        }
    }
    // Without its plan, the journal still says what was done.
    let report = Report::of(&old);
    assert_eq!((report.steps.len(), report.approvals.len()), (3, 1));
}

#[test]
fn a_run_of_the_largest_size_makes_a_sheet() {
    let mut run = rolled_back();
    let steps = &mut run.status.as_mut().expect("a journal").steps;
    let mut step = steps[0].clone();
    step.message = Some("|".repeat(512));
    step.evidence = Some(json!({"log": ["`<".repeat(450)]}));
    for n in 0..320 {
        step.name = format!("step-{n}");
        steps.push(step.clone());
    }
    let size = serde_json::to_vec(&run).expect("JSON").len();
    assert!(size > 500 * 1024, "{size}");
    let report = Report::of(&run);
    for (form, parse) in [(Form::Markdown, markdown as fn(&str) -> _), (Form::Html, html)] {
        let text = write(&report, Template::Full, form);
        assert!(text.len() < 10 * size, "{form:?}: {} bytes", text.len());
        let named = parse(&text).1.iter().filter(|cell| *cell == "step-319").count();
        assert_eq!(named, 3, "{form:?}: among the steps, their attempts and their Jobs");
    }
}

#[test]
fn go_and_no_go_have_the_owner_that_the_run_names() {
    let verdict = |status: Value| Report::of(&run(2, "2.4.0", Some(status))).verdict;
    let back = Report::of(&rolled_back()).verdict;
    assert_eq!((back.decision, back.owners), (Word::NoGo, vec!["trigger errors".to_owned()]));
    let mut by_person = over("RolledBack");
    by_person["decisions"] = json!([
        {"uid": "a", "decision": "Rollback", "by": "eve", "at": at(9), "result": "refused: the gate waits"},
        {"uid": "b", "decision": "Rollback", "by": "omar", "at": at(9), "result": "accepted"},
        {"uid": "c", "decision": "Suspend", "by": "jane", "at": at(9), "result": "accepted"}]);
    assert_eq!(verdict(by_person).owners, ["omar"]);
    let mut good = observing();
    good["phase"] = json!("Completed");
    let good = verdict(good);
    assert_eq!((good.decision, good.owners), (Word::Go, vec!["jane@example.com (qa)".to_owned()]));
    let nobody = verdict(over("Completed"));
    assert!(nobody.decision == Word::Go && nobody.owners.is_empty(), "{nobody:?}");
}

#[test]
fn a_statement_is_about_the_digests_of_the_target_alone() {
    let report = Report::of(&rolled_back());
    let made = attest::statement(&report).expect("a statement");
    of_model("report-attest", &made);
    let made = serde_json::to_value(&made).expect("JSON");
    let subject = json!([{"name": "registry.example/shop", "digest": {"sha256": &DIGEST[7..]}}]);
    assert_eq!((&made["subject"], &made["predicate"]["run"]), (&subject, &json!("web-2")));
    // An image that was loaded into a node has no digest that a registry knows.
    for id in ["sha256:1234", "registry.example/shop@sha256:zz", &format!("shop@md5:{}", &DIGEST[7..])] {
        let mut run = rolled_back();
        run.status.as_mut().expect("a journal").images[0].image_ids = vec![id.to_owned()];
        let refused = attest::statement(&Report::of(&run)).expect_err("no digest");
        assert!(refused.says.contains("no digest"), "{id}: {refused}");
    }
    let mut run = rolled_back();
    run.status.as_mut().expect("a journal").images[0].side = "blue".to_owned();
    assert!(attest::statement(&Report::of(&run)).is_err(), "the old side was not released");
}

#[test]
fn a_run_is_read_from_json_and_yaml_and_from_nothing_else() {
    let run = rolled_back();
    let json = serde_json::to_string(&run).expect("JSON");
    let yaml = serde_saphyr::to_string(&serde_json::to_value(&run).expect("JSON")).expect("YAML");
    assert_eq!(find::parse(&json).expect("a run").spec, run.spec);
    assert_eq!(find::parse(&yaml).expect("a run").status, run.status);
    let other = json.replace("\"kind\":\"CutoverRun\"", "\"kind\":\"Cutover\"");
    assert_ne!(other, json);
    for wrong in ["", "{", &other, "{\"kind\": \"CutoverRun\"}", "- a"] {
        assert!(find::parse(wrong).is_err(), "{wrong:?}");
    }
}
