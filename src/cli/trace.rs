//! `trace`: who moved this Service's selector, when, and why: Service, claim, run, decision, person or commit.

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::find::number;
use super::global::Global;
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::text::{Glyph, Line, Page, Tone, time};
use crate::api::cutover::Cutover;
use crate::api::run::{CutoverRun, Selector, ServiceSwitch};
use crate::endpoints::carries;
use crate::view;

/// What `trace` may ask.
pub(crate) const RIGHTS: [Right; 3] = [
    Right::need("get", "", "services"),
    Right::need("list", OURS, "cutovers"),
    Right::need("list", OURS, "cutoverruns"),
];

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Trace {
    /// The Service, as NAME or svc/NAME.
    service: String,
}

/// What is known of a Service's selector.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traced {
    pub service: String,
    pub selector: Selector,
    /// The side that it points to, where a Cutover names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// Who wrote the selector last, as the API server has it.
    pub writers: Vec<Writer>,
    /// The Cutovers that name the Service.
    pub cutovers: Vec<String>,
    /// Moves by runs that are kept, the newest first.
    pub moves: Vec<Move>,
    /// What does not fit: a selector that no kept run has written, two Cutovers.
    pub notes: Vec<String>,
}

/// A manager of the selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Writer {
    pub manager: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// A move of the selector by a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Move {
    pub at: Timestamp,
    /// `switch`, or `restore`.
    pub what: &'static str,
    pub run: String,
    pub cutover: String,
    pub from: String,
    pub to: String,
    /// The release, or why it went back.
    pub why: String,
    /// Who asked or decided.
    pub who: Vec<String>,
}

impl Trace {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let name = match self.service.split_once('/') {
            Some(("svc" | "service" | "services", name)) => name,
            None => &self.service,
            Some(_) => return Err(Failure::new(format!("{} is no Service", self.service)).next("name it as svc/NAME")),
        };
        let (cluster, namespace) = (&session.cluster, session.namespace());
        let Some(service) = cluster.get::<Service>(namespace, name).await? else {
            return Err(Failure::new(format!("namespace {namespace} has no Service {name}"))
                .next(format!("kubectl get services{}", session.flags())));
        };
        let all = ListParams::default();
        let cutovers: Vec<Cutover> = cluster.list(Some(namespace), &all).await?;
        let runs: Vec<CutoverRun> = cluster.list(Some(namespace), &all).await?;
        let traced = trace(&service, &cutovers, runs);
        let names = [format!("service/{name}")];
        output::print(global.output, session.look, &traced, &names, || page(&traced, Timestamp::now()))?;
        Ok(Exit::Done)
    }
}

/// What the objects say.
pub(crate) fn trace(service: &Service, cutovers: &[Cutover], mut runs: Vec<CutoverRun>) -> Traced {
    let name = service.name_any();
    let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
    let naming: Vec<&Cutover> = cutovers.iter().filter(|c| c.spec.services.iter().any(|s| s.name == name)).collect();
    let side = naming.iter().flat_map(|c| &c.spec.sides).find(|s| carries(&selector, &s.selector));
    runs.sort_by_key(number);
    let mut moves: Vec<Move> = runs.iter().flat_map(|run| of_run(run, &name)).collect();
    moves.sort_by_key(|m| std::cmp::Reverse(m.at));
    let writers = writers(service.metadata.managed_fields.as_deref().unwrap_or_default());
    let mut notes = vec![];
    if naming.len() > 1 {
        notes.push(
            "more than one Cutover names this Service: none of them may switch it until one gives it up".to_owned(),
        );
    }
    let last = moves.first().map(|m| m.to.clone());
    match (&side, last) {
        (Some(side), Some(last)) if side.name != last => {
            let by = writers.iter().max_by_key(|w| w.at).map_or("somebody", |w| w.manager.as_str());
            notes.push(format!("the last run that is kept pointed it to {last}: {by} has written it since"));
        }
        (None, Some(_)) => notes.push("its selector is that of neither side".to_owned()),
        _ => {}
    }
    Traced {
        side: side.map(|s| s.name.clone()),
        cutovers: naming.iter().map(|c| c.name_any()).collect(),
        service: name,
        selector,
        writers,
        moves,
        notes,
    }
}

/// The managers whose fields the selector's are.
fn writers(fields: &[ManagedFieldsEntry]) -> Vec<Writer> {
    let owns =
        |f: &&ManagedFieldsEntry| f.fields_v1.as_ref().is_some_and(|v| v.0.pointer("/f:spec/f:selector").is_some());
    let writer = |f: &ManagedFieldsEntry| Writer {
        manager: f.manager.clone().unwrap_or_default(),
        at: f.time.as_ref().map(|t| t.0),
    };
    fields.iter().filter(owns).map(writer).collect()
}

fn of_run(run: &CutoverRun, service: &str) -> Vec<Move> {
    let plan = view::plan_of(run);
    let Some(seen) = view::Run::of(run, plan.as_ref()) else { return vec![] };
    let Some(switch) = seen.switch.and_then(|s| s.services.iter().find(|s| s.name == service)) else { return vec![] };
    let side = |of: &Option<view::Side>| of.as_ref().map_or_else(|| "?".to_owned(), |s| s.name.to_owned());
    let (old, target) = (side(&seen.old), side(&seen.target));
    let asked: Vec<String> = plan.iter().filter_map(|p| p.release.requested_by.clone()).collect();
    let approved = seen.decisions.iter().filter(|d| d.gate.is_some()).map(|d| format!("{} ({:?})", d.by, d.decision));
    let revision = plan.as_ref().and_then(|p| p.release.revision.clone()).map(|r| format!(", revision {r}"));
    let switched = |s: &ServiceSwitch| {
        let version = seen.release.new.unwrap_or("no name");
        Some(Move {
            at: s.switched_at?,
            what: "switch",
            run: run.name_any(),
            cutover: run.spec.cutover.clone(),
            from: old.clone(),
            to: target.clone(),
            why: format!("release {version}{}", revision.unwrap_or_default()),
            who: asked.into_iter().chain(approved).collect(),
        })
    };
    let restored = |s: &ServiceSwitch| {
        let back = seen.decisions.iter().filter(|d| matches!(d.decision, crate::api::decision::Verb::Rollback));
        let adopted = s.adopted.then(|| "somebody else than the operator wrote the selector".to_owned());
        Some(Move {
            at: s.restored_at?,
            what: "restore",
            run: run.name_any(),
            cutover: run.spec.cutover.clone(),
            from: target.clone(),
            to: old.clone(),
            why: seen.ending.map(|e| e.message.clone()).unwrap_or_default(),
            who: back.map(|d| format!("{} ({:?})", d.by, d.decision)).chain(adopted).collect(),
        })
    };
    [restored(switch), switched(switch)].into_iter().flatten().collect()
}

pub(crate) fn page(traced: &Traced, now: Timestamp) -> Page {
    let mut page = Page::new();
    let selector: Vec<String> = traced.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut head = Line::new()
        .tone(Tone::Strong, format!("Service {}", traced.service))
        .text(format!(" selects {}", selector.join(",")));
    if let Some(side) = &traced.side {
        head = head.text(": ").tone(Tone::Good, format!("side {side}"));
    }
    page.push(head);
    for w in &traced.writers {
        let at = w.at.map(|at| format!(" at {}", time::clock(at, now))).unwrap_or_default();
        page.push(Line::new().text("  ").tone(Tone::Dim, format!("selector written by {}{at}", w.manager)));
    }
    match traced.cutovers.as_slice() {
        [] => page.push(Line::new().text("  no Cutover names it")),
        some => page.push(Line::new().text(format!("  switched by Cutover {}", some.join(", ")))),
    }
    for note in &traced.notes {
        page.push(Line::new().text("  ").sign(Tone::Warn, Glyph::Warn).text(note));
    }
    for m in &traced.moves {
        let (tone, glyph) = if m.what == "restore" { (Tone::Bad, Glyph::Back) } else { (Tone::Good, Glyph::Arrow) };
        page.push(
            Line::new()
                .sign(tone, glyph)
                .text(time::clock(m.at, now))
                .tone(Tone::Strong, format!("  {} from {} to {}", m.what, m.from, m.to))
                .text(format!("  run {} of {}", m.run, m.cutover)),
        );
        page.push(Line::new().text("    ").text(&m.why));
        for who in &m.who {
            page.push(Line::new().text("    ").tone(Tone::Dim, format!("by {who}")));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fixtures::{self, HOSTILE, cutover, object, observing, run, shown, time};

    fn service(side: &str, manager: &str) -> Service {
        let managed = json!({"manager": manager, "operation": "Apply", "time": fixtures::at(12), "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:selector": {}}}});
        let labels = json!({"manager": "labels", "operation": "Update", "time": fixtures::at(13), "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {}}}});
        object(json!({"metadata": {"name": "web", "managedFields": [managed, labels]},
            "spec": {"selector": {"app": "web", "side": side}}}))
    }

    /// A run that switched to green and that a person rolled back.
    fn back(comment: &str) -> Value {
        let mut status = observing();
        status["switch"]["services"][0]["state"] = json!("Restored");
        status["switch"]["services"][0]["restoredAt"] = json!(fixtures::at(11));
        status["ending"] =
            json!({"phase": "RolledBack", "reason": "Rollback", "message": comment, "at": fixtures::at(11)});
        let said = json!({"uid": "e", "decision": "Rollback", "by": "omar@example.com", "at": fixtures::at(11),
            "result": "accepted"});
        status["decisions"].as_array_mut().expect("decisions").push(said);
        status
    }

    #[test]
    fn each_move_has_its_run_its_reason_and_its_person() {
        let runs = vec![run(2, "2.4.0", Some(back("carts are empty")))];
        let traced = trace(&service("blue", "cutover"), &[cutover("2.4.0", json!({}))], runs);
        assert_eq!((traced.side.as_deref(), traced.notes.len()), (Some("blue"), 0));
        shown("trace", &traced, &page(&traced, time(20)));
    }

    #[test]
    fn what_no_run_has_written_is_said_with_its_writer() {
        let runs = vec![run(2, "2.4.0", Some(back(HOSTILE)))];
        let both = [cutover("2.4.0", json!({})), cutover("2.4.0", json!({}))];
        let traced = trace(&service("green", HOSTILE), &both, runs);
        assert_eq!(traced.notes.len(), 2, "{:?}", traced.notes);
        shown("trace-foreign", &traced, &page(&traced, time(20)));
        let traced = trace(&service("red", "kubectl-edit"), &both[..1], vec![run(2, "2.4.0", Some(observing()))]);
        assert_eq!((traced.side, traced.notes), (None, vec!["its selector is that of neither side".to_owned()]));
    }
}
