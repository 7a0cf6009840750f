//! No circles among the files of a module: each can be read with those below it alone.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, code_files};

/// What each file of a folder uses of the others, by their names without `.rs`; `mod` is the folder's own file.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The name of the file that declares the folder's modules.
const PARENT: &str = "mod";

#[test]
fn no_file_of_decide_uses_what_uses_it() {
    let mut uses = uses("decide", &code_files("src"));
    assert!(uses.len() > 10 && uses["rollback"].contains("restore"), "src/decide was not understood: {uses:?}");
    let children: BTreeSet<String> = uses.keys().filter(|name| *name != PARENT).cloned().collect();
    uses.insert(PARENT.into(), children);
    assert_eq!(circle(&uses), None);
}

/// Modules whose files stand in layers. Those of `api` do not, since a step may be a suite of steps.
const LAYERED: [&str; 11] =
    ["plan", "effect", "world", "endpoints", "journal", "evidence", "view", "status", "actions", "judge", "decide"];

#[test]
fn no_files_of_a_layered_module_use_each_other_in_a_circle() {
    // What a folder's own file holds may be for all of its files, such as the context of an action or the types of a plan.
    let files = code_files("src");
    for module in LAYERED {
        let mut uses = uses(module, &files);
        uses.remove(PARENT);
        uses.values_mut().for_each(|used| used.retain(|name| name != PARENT));
        assert_eq!(circle(&uses), None, "{module}");
    }
}

/// What the files in the folder of a module use of each other. A folder in it counts as one file, which has its name.
fn uses(module: &str, files: &[File]) -> Uses {
    let folder = format!("src/{module}/");
    let own: Vec<(&str, &str, &File)> = files
        .iter()
        .filter_map(|file| {
            let inside = file.path.strip_prefix(&folder)?.strip_suffix(".rs")?;
            let (name, below) = inside.split_once('/').unwrap_or((inside, ""));
            Some((name, below, file))
        })
        .filter(|(_, _, file)| !file.product().is_empty())
        .collect();
    let names: BTreeSet<&str> = own.iter().map(|(name, _, _)| *name).collect();
    let mut uses = Uses::new();
    for (name, below, file) in &own {
        let full = file.named_after(&format!("crate::{module}::"));
        let beside = match *below {
            "" if *name == PARENT => vec![],
            "" | PARENT => file.named_after("super::"),
            _ => file.named_after("super::super::"),
        };
        let heads = full.iter().chain(&beside).map(|path| path.split("::").next().unwrap_or_default());
        let used = heads.filter(|head| !head.is_empty() && *head != "super").map(|head| {
            // What is none of the files stands in the folder's own one.
            if names.contains(head) { head.to_owned() } else { PARENT.to_owned() }
        });
        uses.entry((*name).to_owned()).or_default().extend(used.filter(|used| used != name));
    }
    uses
}

/// A circle, if there is one: the files that are left when again and again those are taken away that use no other.
fn circle(uses: &Uses) -> Option<Vec<String>> {
    let mut left = uses.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.values_mut().for_each(|used| used.retain(|name| names.contains(name)));
        let before = left.len();
        left.retain(|_, used| !used.is_empty());
        if left.len() == before {
            return (before > 0).then(|| left.into_keys().collect());
        }
    }
}

#[test]
fn circles_are_found() {
    let uses = |edges: &[(&str, &str)]| {
        let mut uses = Uses::new();
        for (from, to) in edges {
            uses.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            uses.entry((*to).to_owned()).or_default();
        }
        uses
    };
    assert_eq!(circle(&uses(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&uses(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
    assert_eq!(found, Some(vec!["a".into(), "b".into(), "c".into()]), "what leads into a circle is named as well");
}
