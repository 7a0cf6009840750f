//! What is read, where it stands, and what ends the reading.

use serde_json::{Value, json};

use super::*;

fn one(text: &str) -> Value {
    let contents = read(text);
    assert_eq!(contents.problem, None, "{text}");
    contents.documents.first().map(Node::to_json).unwrap_or_default()
}

fn limit(text: &str) -> String {
    match read(text).problem.map(|p| p.kind) {
        Some(ProblemKind::Limit(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars_are_what_kubectl_makes_of_them() {
    let mut count = 0;
    for line in include_str!("scalars.txt").lines().filter(|line| !line.starts_with('#')) {
        let (text, want) = line.split_once(" => ").expect("text => JSON");
        let want: Value = serde_json::from_str(want).expect("JSON");
        assert_eq!(one(text), want, "{text}");
        count += 1;
    }
    assert!(count > 40, "{count}");
    assert_eq!(one("!!str 12"), json!("12"));
    assert_eq!(one("-"), json!([null]));
}

#[test]
fn every_value_has_its_place() {
    let text = "a:\n  b:\n  - name: x\n    c: [1, two]\n  l: {k.8s/io: v}\n";
    let contents = read(text);
    let node = &contents.documents[0];
    let at = |field: &str| {
        let (place, node) = node.find(field);
        (place.line, place.column, node.to_json())
    };
    assert_eq!(at("a.b[x].c[1]"), (4, 12, json!("two")));
    assert_eq!(at("a.b[0].c"), (4, 5, json!([1, "two"])));
    assert_eq!(at("a.l.k.8s/io"), (5, 7, json!("v")));
    assert_eq!(at("a.b[y].c"), (2, 3, json!([{"name": "x", "c": [1, "two"]}])), "the nearest that is there");
    assert_eq!(at("nothing"), (1, 1, node.to_json()));
}

#[test]
fn aliases_and_merges_are_read_and_keys_that_stand_twice_are_told() {
    assert_eq!(
        one("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2, b: 3}"),
        json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 3, "e": 2}})
    );
    let contents = read("a: 1\nb: 2\na: 3\n");
    assert_eq!(contents.twice, [Key { text: "a".into(), place: Place { line: 3, column: 1 } }]);
    assert_eq!(contents.documents[0].to_json(), json!({"a": 3, "b": 2}));
    let within = read("a: &x [*x]");
    assert!(matches!(within.problem.map(|p| p.kind), Some(ProblemKind::Syntax(why)) if why.contains("within")));
}

#[test]
fn documents_before_a_mistake_are_kept() {
    let contents = read("a: 1\n---\nb: [\n---\nc: 1\n");
    assert_eq!(contents.documents.len(), 1);
    assert!(matches!(contents.problem, Some(Problem { kind: ProblemKind::Syntax(_), .. })));
    assert_eq!(read("").documents.len(), 0);
    assert_eq!(read("# nothing\n---\n").problem, None);
}

#[test]
fn what_a_bomb_would_become_is_never_made() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..12 {
        let last = i - 1;
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{last}"); 9].join(", ")));
    }
    assert!(limit(&bomb).starts_with("more than 500000 values"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 60].join(", "));
    assert_eq!(limit(&long), "aliases repeat more than 4 MiB of text");
    let deep = format!("{}1{}", "[".repeat(150), "]".repeat(150));
    assert_eq!(limit(&deep), "nested more than 100 deep");
    let mut chain = "a0: &a0 [[[[[[[[[[1]]]]]]]]]]\n".to_owned();
    for i in 1..12 {
        chain.push_str(&format!("a{i}: &a{i} [[[[[[[[[[*a{}]]]]]]]]]]\n", i - 1));
    }
    assert_eq!(limit(&chain), "nested more than 100 deep", "depth that aliases make counts too");
    let nested = format!("{}{}", (0..90).map(|i| format!("&a{i} [")).collect::<String>(), "x, ".repeat(20_000));
    assert!(read(&nested).problem.is_some());
    let many: String = (0..200_000).map(|i| format!("k{i}: 1\n")).collect();
    assert_eq!(read(&many).problem, None, "as many keys as a mapping likes");
}
