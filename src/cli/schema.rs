//! The schemas of `--output json`, which `docs/schema` holds: a field that is there stays, with its meaning.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::{bundle, check, decide, history, init, plan, release, status, trace, watch};

/// What each command prints as JSON.
pub(crate) fn schemas() -> Vec<(&'static str, Schema)> {
    fn of<T: JsonSchema>(command: &'static str) -> (&'static str, Schema) {
        // Of what is written: a field that is left out where it is empty is not required.
        let settings = SchemaSettings::default().for_serialize();
        (command, settings.into_generator().into_root_schema_for::<T>())
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
        of::<trace::Traced>("trace"),
        of::<bundle::Made<'_>>("bundle"),
        of::<release::change::Model<'_>>("release"),
        of::<decide::Decided>("decision"),
        of::<Vec<decide::break_glass::Restored>>("rollback-without-operator"),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_schemas_of_the_documents_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
        for (command, schema) in super::schemas() {
            let path = folder.join(format!("{command}.json"));
            let made = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::create_dir_all(&folder).expect("docs/schema can be made");
                std::fs::write(&path, &made).expect("the schema can be written");
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == made, "{} is not current: UPDATE_EXPECT=1 cargo test --lib schema", path.display());
        }
    }
}
