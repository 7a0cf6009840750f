//! Tests of the threads: whose turn it is, and that no piece of work stops another's.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

fn nothing() -> Piece {
    Box::new(|| {})
}

/// The namespaces whose turn comes, as one thread after the other takes them.
fn taken(state: &mut State, lane: Lane) -> Vec<String> {
    std::iter::from_fn(|| state.take(lane).map(|(namespace, _)| namespace)).collect()
}

#[test]
fn namespaces_take_turns_and_each_has_one_piece_under_way() {
    let (mut state, now) = (State::default(), Instant::now());
    for namespace in ["loud", "loud", "loud", "a", "b"] {
        state.add(namespace, nothing(), now);
    }
    assert_eq!(taken(&mut state, Lane::Prompt), ["loud", "a", "b"], "whatever the number of threads");
    state.add("a", nothing(), now);
    state.add("c", nothing(), now);
    assert_eq!(taken(&mut state, Lane::Prompt), ["c"]);
    for namespace in ["loud", "a", "b", "c"] {
        state.done(namespace, Duration::ZERO, now);
    }
    assert_eq!(taken(&mut state, Lane::Prompt), ["loud", "a"]);
}

#[test]
fn one_that_uses_more_than_its_share_is_slow_until_it_has_rested() {
    let (mut state, mut now) = (State::default(), Instant::now());
    let piece = |state: &mut State, used: Duration, now: Instant| {
        let lane = state.add("loud", nothing(), now).expect("none is under way");
        assert_eq!(taken(state, lane), ["loud"]);
        state.done("loud", used, now);
        lane
    };
    assert_eq!(piece(&mut state, DEBT / 2, now), Lane::Prompt);
    assert_eq!(piece(&mut state, DEBT, now), Lane::Prompt);
    assert_eq!(piece(&mut state, Duration::ZERO, now), Lane::Slow);
    now += DEBT / 2 * SHARE;
    assert_eq!(piece(&mut state, MOST * 9, now), Lane::Prompt, "paid back");
    now += MOST * SHARE - DEBT * SHARE - Duration::from_millis(1);
    assert_eq!(piece(&mut state, Duration::ZERO, now), Lane::Slow);
    now += Duration::from_millis(1);
    assert_eq!(piece(&mut state, Duration::ZERO, now), Lane::Prompt, "no more than that is held against anybody");
}

#[test]
fn namespaces_that_owe_nothing_are_forgotten() {
    let (mut state, now) = (State::default(), Instant::now());
    for n in 0..REMEMBERED * 3 {
        let (namespace, used) = (n.to_string(), if n == 0 { MOST } else { Duration::ZERO });
        state.add(&namespace, nothing(), now);
        taken(&mut state, Lane::Prompt);
        state.done(&namespace, used, now);
    }
    assert!(state.tenants.len() <= REMEMBERED && state.tenants.contains_key("0"), "{}", state.tenants.len());
}

#[tokio::test]
async fn a_piece_that_does_not_end_delays_no_other_namespace() {
    let threads = Threads::start().expect("threads");
    let (release, held) = mpsc::channel::<()>();
    let (of_loud, began) = (threads.clone(), Arc::new(tokio::sync::Notify::new()));
    let begins = began.clone();
    let stuck = tokio::spawn(async move {
        of_loud
            .run("loud", move || {
                begins.notify_one();
                held.recv().ok();
            })
            .await;
    });
    began.notified().await;
    let behind = tokio::spawn({
        let threads = threads.clone();
        async move { threads.run("loud", || ()).await }
    });
    for n in 0..100 {
        assert_eq!(threads.run(&format!("quiet-{}", n % 7), move || n).await, n);
    }
    assert!(!behind.is_finished(), "a second piece of one namespace waits");
    release.send(()).expect("it is there still");
    stuck.await.expect("it ended");
    behind.await.expect("its turn came");
}

#[tokio::test]
async fn a_panic_goes_on_in_its_caller_and_the_thread_lives() {
    let threads = Threads::start().expect("threads");
    for n in 0..THREADS * 3 {
        let of = threads.clone();
        let caller = tokio::spawn(async move { of.run("a", move || assert!(n == usize::MAX, "it breaks")).await });
        let panic = caller.await.expect_err("it broke").into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"it breaks"));
    }
    assert_eq!(threads.run("a", || 7).await, 7);
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_begun() {
    let threads = Threads::start().expect("threads");
    let (release, held) = mpsc::channel::<()>();
    let mut stuck = std::pin::pin!(threads.run("a", move || held.recv()));
    assert!(futures::poll!(stuck.as_mut()).is_pending());
    let (tell, told) = mpsc::channel();
    {
        let mut given_up = std::pin::pin!(threads.run("a", move || tell.send(())));
        assert!(futures::poll!(given_up.as_mut()).is_pending());
    }
    release.send(()).expect("it is there still");
    stuck.await.expect("it was let go");
    threads.run("a", || ()).await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn they_end_with_the_last_handle() {
    let threads = Threads::start().expect("threads");
    let shared = Arc::downgrade(&threads.0.0);
    threads.run("a", || ()).await;
    drop(threads);
    // Each thread holds it until it ends.
    while shared.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_thread_uses_is_its_own_and_the_slow_lane_gives_way() {
    let begun = processor::used();
    let other = std::thread::spawn(move || {
        let begun = processor::used();
        while processor::used() - begun < Duration::from_millis(50) {}
    });
    other.join().expect("a thread");
    assert!(processor::used() - begun < Duration::from_millis(50), "what another one uses is not counted");
    let nice = std::thread::spawn(|| {
        processor::give_way(NICE);
        rustix::process::getpriority_process(Some(rustix::thread::gettid()))
    });
    assert_eq!(nice.join().expect("a thread"), Ok(NICE));
}

#[tokio::test]
async fn threads_begin_when_there_is_work_for_them_and_the_last_goes_on() {
    let threads = Threads::start().expect("threads");
    assert_eq!(threads.0.0.state().started, [1, 1]);
    // As many as there are to be, at once: each waits for the others.
    let all = Arc::new(std::sync::Barrier::new(THREADS));
    let pieces = (0..THREADS).map(|n| {
        let (threads, all) = (threads.clone(), all.clone());
        async move { threads.run(&n.to_string(), move || all.wait().is_leader()).await }
    });
    futures::future::join_all(pieces).await;
    assert_eq!(threads.0.0.state().started, [THREADS, 1]);
    // All of them wait now or in a moment, and then the same one goes on: taking turns, all of them would.
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..100 {
        used.insert(threads.run("quiet", || format!("{:?}", std::thread::current().id())).await);
    }
    assert!(used.len() < THREADS, "{used:?}");
}
