//! PURE. Where the values of a metric trigger come from. A new source is a field of `MetricTrigger`, an `impl` of [`Source`] and a
//! line in [`of`]: bounds, `sustained`, `count`, guards and pushes do not ask where a value is from.

use jiff::Timestamp;

use crate::actions::Cx;
use crate::actions::request::{NoRequest, build};
use crate::api::duration::Duration;
use crate::api::http::Endpoint;
use crate::api::step::To;
use crate::api::trigger::MetricTrigger;
use crate::effect::Read;
use crate::plan::endpoint;
use crate::world::{HttpAnswer, HttpError, QueryAnswer, Reading};

/// Who is asked for values.
pub(super) trait Source {
    /// What is read for the value of this time.
    ///
    /// # Errors
    /// Why nothing can be.
    fn ask(&self, cx: &Cx, at: Timestamp, timeout: Duration) -> Result<Read, String>;

    /// What an answer is worth; none where it is another's.
    fn worth(&self, reading: &Reading) -> Option<QueryAnswer>;

    /// How long the answer took: a sample is of the moment in which it was asked for.
    fn took(&self, reading: &Reading) -> Duration;

    /// Whether it can be asked for a time that has passed. One that cannot gives a sample of the moment in which it is asked:
    /// a trial that was missed is not there.
    fn remembers(&self) -> bool;
}

/// The source of a trigger; none where it is of a newer version.
pub(super) fn of(metric: &MetricTrigger) -> Option<&dyn Source> {
    match (&metric.query, &metric.http) {
        (Some(query), _) => Some(query),
        (None, Some(endpoint)) => Some(endpoint),
        (None, None) => None,
    }
}

/// A query is asked of Prometheus.
impl Source for String {
    fn ask(&self, _cx: &Cx, at: Timestamp, timeout: Duration) -> Result<Read, String> {
        Ok(Read::Query { query: self.clone(), at: Some(at), timeout })
    }

    fn worth(&self, reading: &Reading) -> Option<QueryAnswer> {
        if let Reading::Query(answer) = reading { Some(answer.clone()) } else { None }
    }

    fn took(&self, _: &Reading) -> Duration {
        Duration::default()
    }

    fn remembers(&self) -> bool {
        true
    }
}

impl Source for Endpoint {
    fn ask(&self, cx: &Cx, _at: Timestamp, timeout: Duration) -> Result<Read, String> {
        match build(cx, &endpoint::request(self), To::Live, timeout, None) {
            Ok(request) => Ok(Read::Http(request)),
            Err(NoRequest::Wait(why) | NoRequest::Nobody(why) | NoRequest::Fail(why)) => Err(why),
        }
    }

    fn worth(&self, reading: &Reading) -> Option<QueryAnswer> {
        let Reading::Http(answers) = reading else { return None };
        let [answer] = answers.as_slice() else {
            return Some(QueryAnswer::Inconclusive(format!("{} answers where one is needed", answers.len())));
        };
        let value = number(self, answer).map_err(|why| format!("{}: {why}", answer.from));
        Some(value.map_or_else(QueryAnswer::Inconclusive, QueryAnswer::Value))
    }

    fn took(&self, reading: &Reading) -> Duration {
        let Reading::Http(answers) = reading else { return Duration::default() };
        let took = answers.iter().filter_map(|answer| answer.result.as_ref().ok()).map(|response| response.latency_ms);
        Duration::from_millis(took.max().unwrap_or_default())
    }

    fn remembers(&self) -> bool {
        false
    }
}

fn number(endpoint: &Endpoint, answer: &HttpAnswer) -> Result<f64, String> {
    match &answer.result {
        Ok(response) if (200..300).contains(&response.status) => endpoint::number(endpoint, &response.body),
        Ok(response) => Err(format!("status {} is not 2xx", response.status)),
        Err(HttpError::NotSent(why) | HttpError::Unread(why)) => Err(format!("not sent: {why}")),
        Err(HttpError::Lost(why)) => Err(format!("no answer: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{armed, judge, read, trigger};
    use super::*;
    use crate::actions::fixtures::{Fixture, answer};
    use crate::api::run::TrialVerdict;
    use crate::api::trigger::Trigger;

    fn queue(more: Value) -> Trigger {
        let mut metric = json!({"http": {"url": "https://stats.example/queue", "value": "$.length"}, "above": "5"});
        for (field, value) in more.as_object().expect("fields") {
            metric[field] = value.clone();
        }
        trigger(json!({"name": "queue", "every": "1s", "metric": metric}))
    }

    fn answers(c: char) -> Vec<HttpAnswer> {
        let failed = |e| vec![HttpAnswer { from: "stats".into(), result: Err(e) }];
        match c {
            'g' => vec![answer(200, r#"{"length": 5}"#)],
            'b' => vec![answer(200, r#"{"length": 5.5}"#)],
            's' => vec![answer(200, r#"{"length": "9"}"#)],
            'e' => vec![answer(500, r#"{"length": 9}"#)],
            _ => failed(HttpError::Lost("timed out".into())),
        }
    }

    /// Plays one answer a second; `.` is a second in which the operator was not there. The second in which it fires.
    fn play(t: &Trigger, script: &str) -> Option<(usize, String)> {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.journal.captures.insert("base".into(), json!(2));
        for (i, c) in script.chars().enumerate() {
            f.after(1);
            f.world.readings.clear();
            if c == '.' {
                continue;
            }
            let (_, out) = judge(&f, t, &mut record);
            assert!(out.reads.len() <= 1, "a sample cannot be asked for again: {:?}", out.reads.keys());
            for key in out.reads.keys() {
                f.world.readings.insert(key.clone(), Reading::Http(answers(c)));
            }
            if let (Some(why), _) = judge(&f, t, &mut record) {
                return Some((i + 1, why));
            }
        }
        None
    }

    #[test]
    fn bounds_are_those_of_a_query() {
        let sustained = || json!({"sustained": "2s"});
        let count = || json!({"count": 3, "within": "5s"});
        let relative = json!({"relativeTo": "base", "factor": "2"});
        for (more, script, fires) in [
            (json!({}), "ggb", Some(3)),
            (sustained(), "bbgbb", None),
            (sustained(), "gbbb", Some(4)),
            // What is no number neither ends a bad time nor adds to it.
            (sustained(), "bsleb", None),
            (sustained(), "bslebb", Some(6)),
            (count(), "bgbgb", Some(5)),
            (count(), "bgbggb", None),
            (relative, "ggg", None),
        ] {
            assert_eq!(play(&queue(more.clone()), script).map(|f| f.0), fires, "{more} {script}");
        }
        assert_eq!(play(&queue(json!({})), "b").map(|f| f.1).as_deref(), Some("5.5 > 5 at 00:00:01Z"));
        let mut missing = queue(json!({}));
        missing.no_data = serde_json::from_value(json!("Rollback")).ok();
        assert_eq!(play(&missing, "gs").map(|f| f.0), Some(2), "missing data is bad where the manifest says so");
    }

    #[test]
    fn a_restart_delays_and_never_hastens() {
        let sustained = queue(json!({"sustained": "3s"}));
        for (script, fires) in [
            ("bbbb", Some(4)),
            // What was missed may have been good.
            ("bbb....................b", None),
            ("bbb....................bbbb", None),
            ("bbb....................bbbbb", Some(28)),
            ("bb..bb", None),
        ] {
            assert_eq!(play(&sustained, script).map(|f| f.0), fires, "{script}");
        }
        let count = queue(json!({"count": 3, "within": "10s"}));
        for (script, fires) in [("bgbgb", Some(5)), ("bgb......b", None), ("b..........bb", None)] {
            assert_eq!(play(&count, script).map(|f| f.0), fires, "{script}");
        }
    }

    #[test]
    fn an_answer_that_takes_long_is_one_sample_and_no_gap() {
        let t = queue(json!({"sustained": "2s"}));
        let mut f = Fixture::new();
        let mut record = armed(&f);
        let mut fired = None;
        for sample in 1..=3 {
            f.after(1);
            let (_, out) = judge(&f, &t, &mut record);
            let key = out.reads.keys().next().cloned().expect("a request");
            f.after(3);
            assert!(judge(&f, &t, &mut record).1.reads.contains_key(&key), "asked for until it is answered");
            let mut bad = answers('b');
            bad.iter_mut().filter_map(|a| a.result.as_mut().ok()).for_each(|response| response.latency_ms = 3000);
            f.world.readings.insert(key, Reading::Http(bad));
            fired = judge(&f, &t, &mut record).0;
            assert_eq!(fired.is_some(), sample == 3, "{record:?}");
        }
        assert!(fired.is_some_and(|why| why.starts_with("5.5 > 5 since 00:00:01Z")));
    }

    #[test]
    fn what_cannot_be_sent_is_inconclusive_with_its_reason() {
        // The Service of the Cutover is not known yet.
        let t = queue(json!({"http": {"path": "/queue", "value": "$.length"}}));
        let mut f = Fixture::new();
        f.world.services.clear();
        let mut record = armed(&f);
        f.after(1);
        let (fired, out) = judge(&f, &t, &mut record);
        assert_eq!((fired, out.reads.len(), record.last), (None, 0, Some(TrialVerdict::Inconclusive)));
        assert!(record.saw.is_some_and(|saw| !saw.is_empty()));
        // One that is held up by a guard waits for it.
        let t = queue(json!({"guardQuery": "down"}));
        let mut record = armed(&f);
        f.after(1);
        let (_, out) = judge(&f, &t, &mut record);
        assert!(out.reads.contains_key(&read("queue@1/guard")), "{:?}", out.reads.keys());
        f.world.readings.insert(read("queue@1"), Reading::Http(answers('b')));
        f.world.readings.insert(read("queue@1/guard"), Reading::Query(QueryAnswer::Value(1.0)));
        assert_eq!(judge(&f, &t, &mut record).0, None);
        assert_eq!(record.saw.as_deref(), Some("5.5, and guardQuery is 1"));
    }
}
