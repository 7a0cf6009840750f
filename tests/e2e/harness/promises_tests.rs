//! That the oracle bites: logs in which one thing is wrong.

use serde_json::{Value, json};

use super::audit::Line;
use super::promises::{OPERATOR, check, leak};

/// A log that is written line by line, one second apart.
#[derive(Default)]
struct Log(Vec<Line>);

impl Log {
    fn line(mut self, user: &str, verb: &str, (resource, name): (&str, &str), code: i64, body: Value) -> Self {
        let second = self.0.len();
        self.0.push(Line {
            verb: verb.into(),
            resource: resource.into(),
            name: name.into(),
            namespace: "n".into(),
            user: user.into(),
            sender: if user == "kim" { "kim" } else { OPERATOR }.into(),
            code,
            agent: String::new(),
            dry_run: false,
            received: format!("2026-01-01T00:00:{second:02}.000000Z"),
            at: format!("2026-01-01T00:00:{second:02}.500000Z"),
            body,
        });
        self
    }

    /// The journal of `shop-1`.
    fn journal(self, phase: &str, state: &str, service: &Value, job: &Value) -> Self {
        let switch = json!({"claimedAt": "2026-01-01T00:00:00Z", "services": [service]});
        let step = json!({"name": "migrate", "state": "Running", "attempt": 2, "formerJobs": [job]});
        let status = json!({"state": state, "phase": phase, "switch": switch, "steps": [step]});
        let body = json!({"metadata": {"uid": "r1"}, "status": status});
        self.line(OPERATOR, "update", ("cutoverruns/status", "shop-1"), 200, body)
    }

    /// The newest line's sender was killed before it was answered.
    fn cut_off(mut self) -> Self {
        self.0.last_mut().expect("a line").code = 504;
        self
    }

    /// The resourceVersion that the newest line is based on.
    fn based_on(mut self, version: &str) -> Self {
        self.0.last_mut().expect("a line").body["metadata"]["resourceVersion"] = json!(version);
        self
    }

    fn select(self, user: &str, version: &str, from: &str, to: &str, code: i64) -> Self {
        let body = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "test", "path": "/spec/selector", "value": {"side": from}},
            {"op": "replace", "path": "/spec/selector", "value": {"side": to}},
        ]);
        self.line(user, "patch", ("services", "web"), code, body)
    }

    fn create(self) -> Self {
        self.line("cutover", "create", ("jobs", "j"), 201, json!({"metadata": {"name": "j"}}))
    }

    fn begin(self) -> Self {
        let body = json!([
            {"op": "test", "path": "/metadata/uid", "value": "ju"},
            {"op": "replace", "path": "/spec/suspend", "value": false},
        ]);
        self.line("cutover", "patch", ("jobs", "j"), 200, body)
    }

    fn says(&self) -> String {
        check(&self.0).map_or_else(|error| format!("{error:#}"), |()| "fine".into())
    }
}

fn service(state: &str, switched: bool) -> Value {
    let mut it = json!({
        "name": "web", "uid": "u", "resourceVersion": "7", "state": state, "from": {"side": "blue"}, "to": {"side": "green"},
    });
    if switched {
        it["switchedAt"] = json!("2026-01-01T00:00:59Z");
    }
    it
}

fn named() -> Value {
    json!({"name": "j"})
}

fn known() -> Value {
    json!({"name": "j", "uid": "ju"})
}

fn claimed() -> Log {
    Log::default().journal("Switching", "Active", &service("Claimed", false), &named())
}

#[test]
fn a_run_as_it_should_be_is_fine() {
    let there = claimed().select("cutover", "7", "blue", "green", 200);
    let back = there.journal("RollingBack", "Active", &service("Switched", true), &named());
    let back = back.select("cutover", "9", "green", "blue", 200);
    assert_eq!(back.journal("RolledBack", "Closed", &service("Restored", true), &named()).says(), "fine");
    let done = claimed().create().journal("Switching", "Active", &service("Claimed", false), &known()).begin();
    let done = done.select("cutover", "7", "blue", "green", 504).select("cutover", "7", "blue", "green", 200);
    assert_eq!(done.journal("Completed", "Closed", &service("Switched", true), &known()).says(), "fine");
}

#[test]
fn a_journal_that_was_cut_off_counts_if_the_next_one_is_based_on_it() {
    let says = |next: &str| {
        let log = claimed().create().journal("Preparing", "Active", &service("Claimed", false), &known());
        let log = log.based_on("5").cut_off().begin();
        log.journal("Preparing", "Active", &service("Claimed", false), &known()).based_on(next).says()
    };
    assert_eq!(says("6"), "fine");
    assert!(says("5").contains("before a journal knew its uid"), "{}", says("5"));
}

#[test]
fn selectors_that_no_journal_claims_or_twice_are_found() {
    let table = [
        ("P8", Log::default().select("cutover", "7", "blue", "green", 200)),
        ("P3", claimed().select("cutover", "7", "blue", "red", 200)),
        ("P3", claimed().select("cutover", "8", "blue", "green", 200)),
        ("itself wrote", claimed().select(OPERATOR, "7", "blue", "green", 200)),
        (
            "P4",
            claimed()
                .select("cutover", "7", "blue", "green", 200)
                .select("cutover", "8", "green", "blue", 200)
                .select("cutover", "9", "green", "blue", 200)
                .journal("RolledBack", "Closed", &service("Restored", true), &named()),
        ),
        (
            "P4",
            claimed().line(
                "cutover",
                "patch",
                ("services", "web"),
                200,
                json!([{"op": "replace", "path": "/spec/selector", "value": {}}]),
            ),
        ),
    ];
    for (wanted, log) in table {
        assert!(log.says().contains(wanted), "{wanted}: {}", log.says());
    }
}

#[test]
fn journals_that_say_other_than_the_log_are_found() {
    let switched = || claimed().select("cutover", "7", "blue", "green", 200);
    let table = [
        ("P8", switched().journal("Failed", "Closed", &service("Refused", false), &named())),
        ("P8", claimed().journal("Completed", "Closed", &service("Switched", true), &named())),
        ("P8", switched().journal("RolledBack", "Closed", &service("Restored", true), &named())),
        ("P11", switched().journal("RolledBack", "Closed", &service("Switched", true), &named())),
        ("P8", claimed().journal("Failed", "Closed", &service("Refused", false), &known())),
    ];
    for (wanted, log) in table {
        assert!(log.says().contains(wanted), "{wanted}: {}", log.says());
    }
    // Somebody else put it back.
    let others = switched().select("kim", "8", "green", "blue", 200);
    assert_eq!(others.journal("RolledBack", "Closed", &service("Restored", true), &named()).says(), "fine");
}

#[test]
fn what_is_closed_and_writes_is_found() {
    let closed = || claimed().journal("Failed", "Closed", &service("Refused", false), &named());
    assert!(closed().select("cutover", "7", "blue", "green", 200).says().starts_with("P7"));
    assert!(closed().journal("Failed", "Closed", &service("Refused", false), &named()).says().starts_with("P7"));
    let again = closed().journal("Completed", "Active", &service("Refused", false), &named());
    assert_eq!(again.line("cutover", "patch", ("deployments", "web"), 200, Value::Null).says(), "fine");
}

#[test]
fn jobs_before_their_record_or_twice_are_found() {
    let table = [
        ("before a journal named it", Log::default().create()),
        ("was created: Some((\"j\", 2))", claimed().create().create()),
        ("before a journal knew its uid", claimed().create().begin()),
        (
            "was started: Some((\"j\", 2))",
            claimed().create().journal("Preparing", "Active", &service("Claimed", false), &known()).begin().begin(),
        ),
    ];
    for (wanted, log) in table {
        assert!(log.says().contains(wanted), "{wanted}: {}", log.says());
    }
}

#[test]
fn values_of_secrets_are_found_as_they_are_and_in_json() {
    let secrets = ["two\nlines \"here\"".to_owned()].into();
    let texts = |text: &str| vec![("a place".to_owned(), text.to_owned())];
    assert_eq!(leak(&texts("nothing"), &secrets), None);
    for text in ["two\nlines \"here\"", r#"{"a": "two\nlines \"here\""}"#] {
        assert_eq!(leak(&texts(text), &secrets), Some("a place".into()));
    }
}
