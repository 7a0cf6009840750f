//! Fields of a manifest by their path, such as `phases.verify.steps[smoke].suite.steps[health].http`: an entry of a list is named
//! by its `name`, or by its index.

use serde_json::Value;

/// The field at `path` below `root`.
pub fn find<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    let mut at = root;
    for step in steps(path)? {
        at = match step {
            Step::Field(name) => at.get(name)?,
            Step::Entry(name) => at.as_array()?.get(index(at, name)?)?,
        };
    }
    Some(at)
}

/// The same, to be changed.
pub fn find_mut<'v>(root: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let mut at = root;
    for step in steps(path)? {
        at = match step {
            Step::Field(name) => at.get_mut(name)?,
            Step::Entry(name) => {
                let index = index(at, name)?;
                at.as_array_mut()?.get_mut(index)?
            }
        };
    }
    Some(at)
}

enum Step<'p> {
    Field(&'p str),
    Entry(&'p str),
}

/// Nothing for a path that is none.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut found = vec![];
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(entry) = rest.strip_prefix('[') {
            let (name, after) = entry.split_once(']')?;
            found.push(Step::Entry(name));
            rest = after;
        } else {
            let rest_of = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest_of.find(['.', '[']).unwrap_or(rest_of.len());
            if end == 0 {
                return None;
            }
            found.push(Step::Field(&rest_of[..end]));
            rest = &rest_of[end..];
        }
    }
    Some(found)
}

fn index(list: &Value, entry: &str) -> Option<usize> {
    let list = list.as_array()?;
    let named = list.iter().position(|value| value["name"] == entry);
    named.or_else(|| entry.parse().ok().filter(|index| *index < list.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_found_by_name_and_by_index() {
        let spec = json!({"phases": {"verify": {"steps": [{"name": "a"}, {"name": "smoke", "http": {"expect": ["x", "y"]}}]}}, "b": 1});
        assert_eq!(find(&spec, "phases.verify.steps[smoke].http.expect[1]"), Some(&json!("y")));
        assert_eq!(find(&spec, "b"), Some(&json!(1)));
        for wrong in [
            "phases.verify.steps[smok]",
            "phases.verify.steps[smoke",
            "c",
            "phases.verify..steps",
            "b.c",
            "phases.verify.steps[2]",
        ] {
            assert_eq!(find(&spec, wrong), None, "{wrong}");
        }
    }
}
