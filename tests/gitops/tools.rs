//! The packages run by the tools' own code: Argo CD's tests of its customizations, and the libraries with which Flux judges
//! health. `tests/gitops/tools` builds both from their Go modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// A test program of `tests/gitops/tools`, which is built if it is missing.
pub fn built(name: &str) -> PathBuf {
    let output = Command::new(root("tests/gitops/tools")).arg(name).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} cannot be built: {said}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Runs a Go test program; how many tests of this name passed.
fn passed(program: &Path, folder: &Path, test: &str) -> usize {
    let mut command = Command::new(program);
    command.args(["-test.v", "-test.count=1", "-test.run", test]).current_dir(folder);
    command.env("CUTOVER_GITOPS", root("deploy/gitops")).env("CUTOVER_EXAMPLES", root("examples/gitops"));
    let output = command.output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|line| line.trim_start().starts_with("--- PASS")).count()
}

/// Copies a folder of files.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().unwrap_or_default());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).expect("it can be copied")),
        }
    }
}

/// Who says that nothing is brought up for tests has no Go either.
fn skipped() -> bool {
    let skip = std::env::var_os("CUTOVER_E2E").is_some_and(|said| said == "skip");
    if skip {
        println!("skipped: CUTOVER_E2E=skip");
    }
    skip
}

#[test]
fn argo_cds_own_tests_pass_over_the_package() {
    if skipped() {
        return;
    }
    let program = built("argocd");
    // Its tests walk the folder ../../resource_customizations.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gitops-argocd");
    if place.exists() {
        std::fs::remove_dir_all(&place).expect("what the last test left goes");
    }
    let lua = place.join("util/lua");
    std::fs::create_dir_all(&lua).expect("a folder");
    copy(&root("deploy/gitops/argocd/resource_customizations"), &place.join("resource_customizations"));
    let health = passed(&program, &lua, "^TestLuaHealthScript$");
    let actions = passed(&program, &lua, "^TestLuaResourceActionsScript$");
    // What only ours is: the same through `argocd-cm`, without Lua's libraries, and exactly these actions.
    let settings = passed(&program, &lua, "^TestCutover");
    println!("Argo CD: {health} of health, {actions} of actions, {settings} through argocd-cm");
    assert!(health > 50 && actions > 10 && settings > 50, "{health}, {actions}, {settings}: tests are missing");
}

#[test]
fn flux_judges_every_live_object_as_expected() {
    if skipped() {
        return;
    }
    let program = built("flux");
    let found = passed(&program, &root("tests/gitops/flux"), "^TestFlux");
    println!("Flux: {found}");
    assert!(found > 50, "{found} only");
}
