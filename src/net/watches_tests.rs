//! When a watch counts as dead, by a clock that stands still.

use super::*;

const PODS: &str = "/api/v1/namespaces/a/pods";

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn ask(board: &Watches, query: &str) -> Option<Asked> {
    board.asked(&format!("{PODS}?{query}").parse().expect("a path"))
}

fn watch(board: &Watches) -> Asked {
    ask(board, "&watch=true&timeoutSeconds=60&resourceVersion=7").expect("a watch")
}

fn want(board: &Watches) -> Wanted {
    board.want(PODS, None, None, "pods", false)
}

fn age(board: &Watches) -> Option<u64> {
    board.ages().into_iter().find(|(r, _)| r == "pods").map(|(_, age)| age.as_secs())
}

#[test]
fn what_is_watched_is_known_by_its_path_and_selectors() {
    let of = |uri: &'static str| Key::of(&Uri::from_static(uri)).map(|k| (k.path, k.fields, k.labels));
    let found =
        of("/api/v1/namespaces/a/services?&watch=true&fieldSelector=metadata.name%3Dweb&labelSelector=a%21%3Db");
    assert_eq!(found, Some(("/api/v1/namespaces/a/services".into(), "metadata.name=web".into(), "a!=b".into())));
    assert_eq!(of("/api/v1/namespaces/a/services?limit=500"), None);
    assert_eq!(of("/version"), None);
    assert_eq!(resource("/apis/cutover.dev/v1alpha1/cutovers"), Some("cutovers"));
    assert_eq!(resource("/api/v1/namespaces/a/services"), Some("services"));
    assert_eq!(resource("/api/v1/namespaces"), Some("namespaces"));
    assert_eq!(resource("/version"), None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_dead_at_once_and_until_it_is_taken_again() {
    let board = Watches::default();
    let wanted = want(&board);
    let first = watch(&board);
    first.taken();
    wanted.listed();
    pass(30).await;
    drop(first);
    wanted.failed("reset", false);
    assert_eq!(board.trouble(), Some(("the watch of pods fails: reset".into(), Duration::ZERO)));
    for _ in 0..10 {
        pass(5).await;
        drop(watch(&board));
        wanted.failed("refused", false);
    }
    assert_eq!(board.trouble(), Some(("the watch of pods fails: refused".into(), Duration::from_secs(50))));
    assert_eq!(age(&board), Some(80), "tries that fail do not make it young again");
    let again = watch(&board);
    again.taken();
    assert_eq!((board.trouble(), age(&board)), (None, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_open_and_silent_is_dead_until_it_says_something() {
    let board = Watches::default();
    let _wanted = want(&board);
    let first = watch(&board);
    first.taken();
    pass(65).await;
    assert_eq!(board.trouble(), None);
    // Its client gives it up, and the next one is taken; so was this one.
    drop(first);
    let second = watch(&board);
    second.taken();
    pass(6).await;
    assert_eq!(board.trouble(), Some(("the watch of pods has heard nothing for 71 s".into(), Duration::from_secs(1))));
    second.heard();
    assert_eq!(board.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_the_api_server_ends_each_minute_is_well() {
    let board = Watches::default();
    let _wanted = want(&board);
    for _ in 0..10 {
        let asked = watch(&board);
        asked.taken();
        pass(60).await;
        assert_eq!(board.trouble(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_ask_for_the_same_one_may_be_dead() {
    let board = Watches::default();
    let _wanted = (want(&board), want(&board));
    let (one, other) = (watch(&board), watch(&board));
    one.taken();
    other.taken();
    for _ in 0..8 {
        pass(10).await;
        one.heard();
    }
    assert!(board.trouble().is_some_and(|(why, _)| why.contains("80 s")), "{:?}", board.trouble());
    assert_eq!(age(&board), Some(80));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_watched_any_more_is_no_trouble() {
    let board = Watches::default();
    let (wanted, asked) = (want(&board), watch(&board));
    asked.taken();
    wanted.failed("reset", false);
    drop(wanted);
    assert_eq!((board.trouble(), age(&board)), (None, None));
    // A request that outlives it changes nothing of the next one.
    let _wanted = want(&board);
    let next = watch(&board);
    pass(75).await;
    asked.heard();
    drop(asked);
    assert!(board.trouble().is_some());
    next.heard();
    assert_eq!(board.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_may_be_missing_kills_nothing() {
    let board = Watches::default();
    let nodes = board.want("/api/v1/nodes", None, None, "nodes", true);
    let runs = board.want("/apis/cutover.dev/v1alpha1/cutoverruns", None, None, "runs", false);
    nodes.failed("forbidden", true);
    pass(300).await;
    runs.failed("forbidden", true);
    let (why, since) = board.trouble().expect("runs are needed");
    assert!(why.contains("runs") && !why.contains("more"), "{why}");
    assert_eq!(since, Duration::from_secs(230), "it has been silent since its beginning");
    nodes.failed("503", false);
    assert!(board.trouble().is_some_and(|(why, _)| why.contains("(and 1 more)")), "{:?}", board.trouble());
}

#[tokio::test(start_paused = true)]
async fn every_namespace_must_be_listed() {
    let board = Watches::default();
    assert_eq!(board.not_listed("runs"), Some(String::new()), "not even begun");
    let (a, b) = (board.want("/a", None, None, "runs", false), board.want("/b", None, None, "runs", false));
    a.listed();
    b.failed("503", false);
    assert_eq!(board.not_listed("runs"), Some("503".into()));
    b.listed();
    assert_eq!(board.not_listed("runs"), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_current_while_its_watch_works() {
    let board = Watches::default();
    assert!(!board.current("pods"), "nobody watches them");
    let wanted = want(&board);
    assert!(!board.current("pods"), "not listed");
    wanted.listed();
    assert!(board.current("pods") && !board.current("nodes"));
    let open = watch(&board);
    open.taken();
    pass(SILENT.as_secs()).await;
    assert!(!board.current("pods"), "silent for too long");
    open.heard();
    assert!(board.current("pods"));
    wanted.failed("403", false);
    assert!(!board.current("pods"), "it fails");
    let optional = board.want("/api/v1/nodes", None, None, "nodes", true);
    optional.listed();
    optional.failed("403", true);
    assert!(!board.current("nodes"), "nobody is told of it, and still it is not current");
}
