//! Log lines: text for people, JSON for machines. In JSON every field stands at the top, those of spans too, so that
//! `namespace`, `cutover`, `run` and `step` are found in the same place in every line.

use std::io::IsTerminal;

use anyhow::Context;
use json_subscriber::JsonLayer;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When logging was started before.
pub fn start(format: Format) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = match format {
        // Colours are for people: in a pod's log they would be noise.
        Format::Text => tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        Format::Json => json(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).try_init().context("logging")
}

/// One object a line. Fields of events never have the name of a field of a span: the line would hold it twice.
fn json<S, W>(writer: W) -> JsonLayer<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut layer = JsonLayer::new(writer);
    layer.with_timer("timestamp", SystemTime);
    layer.with_level("level");
    layer.with_target("target");
    layer.with_flattened_event();
    layer.with_top_level_flattened_span_list();
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that something logs.
    fn lines(log: impl FnOnce()) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(buffer.0.lock().expect("one thread").clone()).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    #[test]
    fn fields_of_spans_stand_beside_those_of_the_event() {
        let found = lines(|| {
            let outer = tracing::error_span!("run", namespace = "prod", cutover = "shop", run = "shop-1");
            outer.in_scope(|| {
                tracing::error_span!("step", step = "migrate")
                    .in_scope(|| tracing::warn!(effect = "x", "it {}", "failed"));
                tracing::info!(decided = 3, "next");
            });
            tracing::info!("elsewhere");
        });
        let text = |n: usize, key: &str| found[n].get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        for (key, value) in [
            ("level", "WARN"),
            ("namespace", "prod"),
            ("cutover", "shop"),
            ("run", "shop-1"),
            ("step", "migrate"),
            ("effect", "x"),
            ("message", "it failed"),
        ] {
            assert_eq!(text(0, key), value, "{:?}", found[0]);
        }
        assert!(text(0, "timestamp").ends_with('Z') && text(0, "target").starts_with("cutover"));
        assert_eq!(found[1].get("decided"), Some(&serde_json::json!(3)));
        assert!(found[1].get("step").is_none());
        assert!(found[2].get("run").is_none() && found.len() == 3);
    }

    #[test]
    fn a_note_carries_run_and_step_wherever_it_is_told() {
        use crate::decide::Note;
        use crate::publish::{About, say};
        let about = About {
            namespace: "prod".into(),
            cutover: "shop".into(),
            run: Some(("shop-1".into(), "uid".into())),
            step: Some("migrate".into()),
            ..About::default()
        };
        let note = Note { warning: true, reason: "StepFailed".into(), subject: "migrate".into(), message: "no".into() };
        // The driver's own span says the same; nothing may stand twice.
        let found = lines(|| {
            tracing::error_span!("run", namespace = "prod", run = "shop-1").in_scope(|| say(&about, &note));
            say(&About { run: None, step: None, ..about.clone() }, &note);
        });
        let keys = |n: usize| found[n].keys().map(String::as_str).collect::<Vec<_>>();
        // `name` is that of the innermost span.
        let common = ["cutover", "level", "message", "name", "namespace", "reason", "subject", "target", "timestamp"];
        let with_run: Vec<&str> = keys(0).into_iter().filter(|k| !common.contains(k)).collect();
        assert_eq!(with_run, ["run", "step"]);
        assert!(keys(1).iter().all(|k| common.contains(k)), "{:?}", keys(1));
        assert_eq!(found[0]["step"], "migrate");
    }
}
