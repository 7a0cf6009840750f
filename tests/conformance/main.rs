//! The simulated API server of `tests/sim`, held against a real one: both get the same requests, and must answer them
//! alike. What they answer stands in `answers.log`, which is compared where no cluster is given (`KUBECONFIG`) as well;
//! `UPDATE_EXPECT=1` writes it anew, from the real one.

#[path = "../sim/apiserver.rs"]
#[allow(dead_code)]
mod apiserver;
mod requests;
mod server;

use std::path::Path;

use server::{Real, Server};

const RECORDED: &str = "tests/conformance/answers.log";

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED)
}

/// The first line in which two lists differ, with what came before it.
fn compare(what: &str, is: &[String], of: &str, should: &[String]) {
    for (i, line) in should.iter().enumerate() {
        let before = is.get(i.saturating_sub(2)..i).unwrap_or_default().join("\n");
        assert_eq!(is.get(i), Some(line), "{what} differs from {of} after\n{before}");
    }
    assert_eq!(is.len(), should.len(), "{what} has more to say than {of}");
}

#[tokio::test]
async fn both_servers_answer_alike() {
    let simulated = requests::all(&mut Server::simulated()).await;
    let recorded = std::fs::read_to_string(path()).unwrap_or_default();
    let mut expected: Vec<String> = recorded.lines().map(str::to_owned).collect();
    match Real::open().await {
        Some(real) => {
            let mut server = Server::Real(real);
            let answers = requests::all(&mut server).await;
            server.close();
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(path(), answers.join("\n") + "\n").expect("the file can be written");
                expected.clone_from(&answers);
            }
            compare("the real API server", &answers, RECORDED, &expected);
        }
        None => println!("skipped: no cluster given (KUBECONFIG is not set); only {RECORDED} is compared"),
    }
    compare("the simulated API server", &simulated, RECORDED, &expected);
}
