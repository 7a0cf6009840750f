//! The schemas of `--output json`, which `docs/schema` holds: a field that is there stays, with its meaning.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::{bundle, check, decide, history, init, notify, plan, release, report, status, trace, watch};

/// What each command prints as JSON.
pub(crate) fn schemas() -> Vec<(&'static str, Schema)> {
    fn of<T: JsonSchema>(command: &'static str) -> (&'static str, Schema) {
        (command, schema::<T>())
    }
    vec![
        of::<status::model::Status>("status"),
        of::<Vec<status::table::Row>>("status-all"),
        of::<watch::lines::Change>("watch"),
        of::<check::model::Report>("check"),
        of::<init::model::Init>("init"),
        of::<plan::model::Foreseen>("plan"),
        of::<plan::Compared>("diff"),
        of::<Vec<history::Past>>("history"),
        of::<report::model::Report>("report"),
        of::<report::attest::Statement<'_>>("report-attest"),
        of::<trace::Traced>("trace"),
        of::<notify::Sent>("notify"),
        of::<bundle::Made<'_>>("bundle"),
        of::<release::change::Model<'_>>("release"),
        of::<decide::Decided>("decision"),
        of::<Vec<decide::break_glass::Restored>>("rollback-without-operator"),
    ]
}

/// The schema of what is printed: a field that may be left out is not required.
pub(crate) fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schemas_of_the_documents_are_current() {
        for (command, schema) in super::schemas() {
            let made = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
            crate::cli::fixtures::current("docs/schema", &format!("{command}.json"), &made);
        }
    }
}
