//! The command as it is called: what it reads, prints, and ends with.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::corpus;

/// A folder of a test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cutover-lint-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output and standard error.
fn lint(folder: &Folder, args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-cutover"))
        .arg("lint")
        .args(args)
        .current_dir(&folder.0)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("standard input");
    let _ = stdin.write_all(input); // it may have ended by then
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A Cutover without a finding.
fn right() -> Value {
    corpus::with(json!({
        "release": {"version": "1", "podLabel": "version"},
        "observe": {"triggers": [{"name": "down", "probe": {"http": {"path": "/"}}}]},
    }))
}

#[test]
fn the_exit_code_says_what_was_found() {
    let folder = Folder::new("codes");
    let warned = corpus::minimal().to_string();
    folder.put("right.json", right().to_string().as_bytes()).put("warned.yaml", warned.as_bytes());
    folder.put("wrong.yml", corpus::with(json!({"activate": "red"})).to_string().as_bytes());
    for (args, want) in [
        (vec!["-f", "right.json"], 0),
        (vec!["-f", "warned.yaml"], 0),
        (vec!["-f", "warned.yaml", "--warnings-as-errors"], 1),
        (vec!["-f", "warned.yaml", "--warnings-as-errors", "--ignore", "cut103,CUT106"], 0),
        (vec!["-f", "wrong.yml"], 1),
        (vec!["-f", "wrong.yml", "--ignore", "CUT012"], 1),
        (vec!["-f", "right.json", "--require-references"], 1),
        (vec!["-f", "nowhere"], 5),
        (vec![], 64),
        (vec!["-f", "right.json", "--ignore", "CUT999"], 64),
        (vec!["-f", "right.json", "-o", "name"], 64),
        (vec!["-f", "right.json", "-o", "json", "--format", "sarif"], 64),
    ] {
        let (code, out, err) = lint(&folder, &args, b"");
        assert_eq!(code, want, "{args:?}\n{out}{err}");
    }
}

#[test]
fn folders_standard_input_and_lists_are_read() {
    let folder = Folder::new("input");
    folder.put("a/b/one.yaml", right().to_string().as_bytes()).put("a/values.yaml", b"replicas: 3\n");
    folder.put("a/.hidden/two.yaml", b"[").put("a/readme.md", b"[").put("a/kustomization.yaml", b"resources: [b]\n");
    let (code, out, _) = lint(&folder, &["-f", "a"], b"");
    assert_eq!((code, out.as_str()), (0, "✔ 1 object of Cutover in 3 files: nothing is wrong\n"));
    let mut second = right();
    second["metadata"]["name"] = json!("second");
    second["spec"]["services"] = json!([{"name": "other"}]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [second]}).to_string();
    let (code, out, _) = lint(&folder, &["-f", "a", "-f", "-"], list.as_bytes());
    assert_eq!((code, out.as_str()), (0, "✔ 2 objects of Cutover in 4 files: nothing is wrong\n"));
    let (code, out, _) = lint(&folder, &["-f", "a/.hidden", "-f", "a/readme.md"], b"");
    assert_eq!(code, 1);
    assert!(out.starts_with("a/.hidden/two.yaml\n  ✖ 2:1 CUT002\n") || out.contains("CUT002"), "{out}");
    folder.put("empty/x.txt", b"");
    let (code, out, _) = lint(&folder, &["-f", "empty"], b"");
    assert_eq!(code, 1);
    assert!(out.contains("CUT004"), "{out}");
}

#[test]
fn what_programs_read_is_of_its_form() {
    let folder = Folder::new("forms");
    folder.put("a.yaml", corpus::with(json!({"activte": "a\u{1b}[2J"})).to_string().as_bytes());
    for form in ["--format=json", "--output=json", "--format=sarif"] {
        let (code, out, _) = lint(&folder, &["-f", "a.yaml", form], b"");
        let value: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{form}: {e}\n{out}"));
        assert_eq!(code, 1);
        assert!(value.to_string().contains("CUT010"), "{out}");
    }
    let (_, out, _) = lint(&folder, &["-f", "a.yaml", "--format", "github"], b"");
    assert!(
        out.lines().all(|line| line.starts_with("::error file=a.yaml,") || line.starts_with("::warning ")),
        "{out}"
    );
    let (_, out, _) = lint(&folder, &["-f", "a.yaml", "--color", "always"], b"");
    assert!(out.contains("\u{1b}[31m"), "{out}");
    let (_, out, _) = lint(&folder, &["-f", "a.yaml"], b"");
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn bad_input_is_told_and_costs_little() {
    let folder = Folder::new("bad");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..20 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", ")));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let long = format!("a: {}", "x".repeat(11 * 1024 * 1024));
    let mut wide = corpus::minimal();
    for i in 0..30_000 {
        wide["spec"][format!("unknown{i}")] = json!(i);
    }
    let mut steps = corpus::minimal();
    steps["spec"]["phases"] = json!({"verify": {"steps": vec![json!({"name": "a", "wait": {"for": "1s"}}); 50_000]}});
    for (name, bytes, want) in [
        ("bomb.yaml", bomb.into_bytes(), "CUT003"),
        ("deep.yaml", deep.into_bytes(), "CUT00"),
        ("long.yaml", long.into_bytes(), "CUT003"),
        ("binary.yaml", vec![0xff; 100], "CUT001"),
        ("wide.yaml", wide.to_string().into_bytes(), "CUT010"),
        ("steps.yaml", steps.to_string().into_bytes(), "CUT011"),
        ("chart.yaml", b"a: {{ .Values.a }}\nb: {{- if x }}\n".to_vec(), "CUT002"),
    ] {
        folder.put(name, &bytes);
        let (code, out, err) = lint(&folder, &["-f", name], b"");
        assert_eq!(code, 1, "{name}: {err}");
        assert!(out.contains(want), "{name}\n{}", out.chars().take(2000).collect::<String>());
        assert!(out.len() < 1024 * 1024, "{name}: {} bytes are told", out.len());
    }
}
