//! Image archives are the same, byte for byte, when what goes in is the same.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::tools::project;

fn archive(folder: &Path, program: &str, umask: &str) -> Vec<u8> {
    let out = folder.join("image.tar");
    let script = format!(
        "umask {umask}; exec '{}' --ca-bundle='{}' --user 65532 docker.io/cutover/cutover:test '{}' /bin/cutover '{}'",
        project("tests/cluster/image").display(),
        folder.join("roots.pem").display(),
        out.display(),
        folder.join(program).display(),
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&out).expect("an archive is written")
}

#[test]
fn two_archives_of_one_program_are_equal() {
    let base = std::env::temp_dir().join(format!("cutover-image-{}", std::process::id()));
    let mut archives = vec![];
    for (name, umask, age) in [("one", "022", 0), ("another/deeper", "077", 86_400 * 365)] {
        let folder = base.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(env!("CARGO_BIN_EXE_cutover"), folder.join("cutover")).expect("a copy of the program");
        std::fs::write(folder.join("roots.pem"), "no certificates\n").expect("a bundle");
        for file in ["cutover", "roots.pem"] {
            let file = std::fs::File::options().append(true).open(folder.join(file)).expect("the file");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("a time can be set");
        }
        archives.push(archive(&folder, "cutover", umask));
    }
    assert!(archives[0].len() > 1_000_000, "{} bytes are no image", archives[0].len());
    assert!(archives[0] == archives[1], "time, folder or umask got into the image");
    // The test would see a difference: another bundle makes another image.
    let folder = base.join("one");
    std::fs::write(folder.join("roots.pem"), "none at all\n").expect("a bundle");
    assert!(archive(&folder, "cutover", "022") != archives[0]);
    std::fs::remove_dir_all(&base).expect("the folder goes");
}

#[test]
fn images_say_what_they_are() {
    let labels = Command::new(project("tests/run"))
        .arg("labels")
        .envs([("PROGRAMS", "-"), ("IMAGES", "-"), ("CARGO_TARGET_DIR", "-")])
        .output()
        .expect("tests/run runs");
    let options = String::from_utf8(labels.stdout).expect("text");
    for (label, value) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("title", "Cutover"),
    ] {
        let option = format!("--label=org.opencontainers.image.{label}={value}");
        assert!(options.lines().any(|line| line == option), "{option} is not in\n{options}");
    }
    let folder = std::env::temp_dir().join(format!("cutover-labels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (file, out) = (folder.join("file"), folder.join("image.tar"));
    std::fs::write(&file, "x").expect("a file");
    let mut image = Command::new(project("tests/cluster/image"));
    image.args(options.lines()).arg("docker.io/cutover/cutover:test").args([&out]).arg("/bin/file").arg(&file);
    assert!(image.status().expect("it runs").success());
    let config = Command::new("tar").arg("-xOf").arg(&out).args(["--wildcards", "*.json"]).output().expect("tar runs");
    let config = String::from_utf8(config.stdout).expect("text");
    let wanted = format!("\"org.opencontainers.image.version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(config.contains(&wanted), "{config}");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
