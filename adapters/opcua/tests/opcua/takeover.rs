//! A process that goes on where the one before it left off.

use std::time::Duration;

use floorgate_adapter_api::{Continuity, GapScope, Notice};

use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, TestServer};

/// A server that knows the gateway's user: it gives subscriptions over to nobody else.
async fn server(folder: &Folder) -> TestServer {
    std::fs::write(folder.0.join("password"), "s3cret").unwrap();
    TestServer::started(Manner {
        keys: Some(folder.0.join("server")),
        ..Manner::default()
    })
    .await
}

pub fn of_user(port: u16) -> String {
    let more = "queue_size: 5000\ntrust_any_server_certificate: true\nlogin: {user: operator, password_file: password}\n";
    settings(port, more).replace("security: {policy: none, mode: none}\n", "")
}

pub fn is_resumed(seen: &[Seen]) -> bool {
    seen.contains(&Seen::Notice(Notice::Online(Continuity::Resumed)))
}

/// Sets values one after the other, slowly enough for several messages.
async fn count(server: &mut TestServer, values: std::ops::RangeInclusive<i32>) {
    for value in values {
        server.set(0, value);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_killed_misses_nothing() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(2));
    first.shows(0, 0).await;
    count(&mut server, 1..=50).await;
    first.shows(0, 50).await;
    // What comes now is received and not stored: it is not acknowledged, and the bookmarks do not have it.
    let (stored, before) = (first.bookmarks.clone(), first.shown(0).len());
    first.receipts = Some(Vec::new());
    // A server keeps a handful of such messages.
    for value in 51..=54 {
        server.set(0, value);
        first.shows(0, value).await;
    }
    let mut shown = first.shown(0)[..before].to_vec();
    first.kill().await;
    count(&mut server, 55..=200).await;

    let mut second = Run::after(stored, &folder, &settings, &addresses(2));
    let seen = second.shows(0, 200).await;
    assert!(is_resumed(&seen), "{seen:#?}");
    shown.extend(second.shown(0));
    assert_eq!(shown, (0..=200).collect::<Vec<i64>>(), "each once, in order");
    second
        .notice("what is known holds", |notice| *notice == Notice::CaughtUp)
        .await;
    assert_eq!(second.metrics.gaps.get(), 0);
    // It goes on as any other.
    count(&mut server, 201..=210).await;
    second.shows(0, 210).await;
    let after = second.bookmarks.clone();
    second.stop().await;
    count(&mut server, 211..=220).await;
    let mut third = Run::after(after, &folder, &settings, &addresses(2));
    let seen = third.shows(0, 220).await;
    assert!(
        is_resumed(&seen),
        "a clean stop leaves the subscription: {seen:#?}"
    );
    assert_eq!(third.shown(0), (211..=220).collect::<Vec<i64>>());
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_other_tags_begins_anew_and_deletes_what_was_left() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(2));
    first.shows(1, 0).await;
    let stored = first.bookmarks.clone();
    first.stop().await;
    server.holds_subscriptions(1).await;
    let mut second = Run::after(stored, &folder, &settings, &addresses(1));
    let seen = second.shows(0, 0).await;
    assert!(seen.contains(&Seen::Notice(Notice::Online(Continuity::New))));
    count(&mut server, 1..=3).await;
    second.shows(0, 3).await;
    // The one of the first is gone.
    server.holds_subscriptions(1).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_polls_now_takes_nothing_over_and_leaves_nothing_to_go_on_from() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(1));
    first.shows(0, 0).await;
    let stored = first.bookmarks.clone();
    first.stop().await;
    let polls = settings.replace("queue_size: 5000", "mode: poll\npoll_interval: 10ms");
    let polls = polls
        .replace("publishing_interval: 10ms\n", "")
        .replace("sampling_interval: 0ms\n", "");
    let mut second = Run::after(stored, &folder, &polls, &addresses(1));
    let seen = second.shows(0, 0).await;
    assert!(
        seen.contains(&Seen::Notice(Notice::Online(Continuity::New))),
        "{seen:#?}"
    );
    count(&mut server, 1..=3).await;
    second.shows(0, 3).await;
    let stored = second.bookmarks.clone();
    second.stop().await;
    // What the server queued for the first one is older than what was read.
    let mut third = Run::after(stored, &folder, &settings, &addresses(1));
    let seen = third.shows(0, 3).await;
    assert!(
        seen.contains(&Seen::Notice(Notice::Online(Continuity::New))),
        "{seen:#?}"
    );
    assert_eq!(third.shown(0), [3]);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_was_refused_before_has_a_gap_when_it_comes() {
    let folder = Folder::new();
    let server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(4));
    let settled = |run: &Run| {
        run.bookmarks
            .get("layout")
            .is_some_and(|text| text.contains("\"complete\":true"))
    };
    while !settled(&first) {
        first.until("the layout", |_| true).await;
    }
    let stored = first.bookmarks.clone();
    first.kill().await;
    server.add(3);
    let more = settings + "retry_refused_nodes: 1s\n";
    let mut second = Run::after(stored, &folder, &more, &addresses(4));
    let seen = second.shows(3, 0).await;
    assert!(is_resumed(&seen), "{seen:#?}");
    let gap = |seen: &&Seen| matches!(seen, Seen::Sample(sample) if sample.tag.index() == 3 && sample.gap);
    assert_eq!(seen.iter().filter(gap).count(), 1, "{seen:#?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_started_anew_has_nothing_to_give_over() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(1));
    first.shows(0, 0).await;
    let stored = first.bookmarks.clone();
    first.kill().await;
    server.kill();
    server.start().await;
    server.set(0, 5);
    let mut second = Run::after(stored, &folder, &settings, &addresses(1));
    let seen = second.shows(0, 5).await;
    assert!(seen.contains(&Seen::Notice(Notice::Online(Continuity::New))));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_have_any_more_is_a_gap() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut first = Run::new(&folder, &settings, &addresses(1));
    first.shows(0, 0).await;
    // An old backup of the store: the server has forgotten what was acknowledged since.
    let old = first.bookmarks.clone();
    for value in 1..=5 {
        count(&mut server, value..=value).await;
        first.shows(0, value).await;
    }
    first.kill().await;
    server.set(0, 6);
    let mut second = Run::after(old, &folder, &settings, &addresses(1));
    let seen = second.shows(0, 6).await;
    let gap = |seen: &Seen| {
        matches!(
            seen,
            Seen::Notice(Notice::Gap {
                scope: GapScope::Source,
                ..
            })
        )
    };
    assert!(seen.iter().any(gap), "{seen:#?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_gives_nothing_over_is_subscribed_to_anew() {
    // To a user without a name, over a connection without security, this one gives nothing.
    let folder = Folder::new();
    let mut server = TestServer::started(Manner::default()).await;
    let settings = settings(server.port, "");
    let mut first = Run::new(&folder, &settings, &addresses(1));
    first.shows(0, 0).await;
    let stored = first.bookmarks.clone();
    first.stop().await;
    // Nobody could take it over.
    server.holds_subscriptions(0).await;
    server.set(0, 1);
    let mut second = Run::after(stored, &folder, &settings, &addresses(1));
    let seen = second.shows(0, 1).await;
    assert!(seen.contains(&Seen::Notice(Notice::Online(Continuity::New))));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_with_intervals_of_their_own_share_subscriptions_which_the_next_process_takes_over() {
    let folder = Folder::new();
    let mut server = server(&folder).await;
    let settings = of_user(server.port);
    let mut tags = addresses(3);
    // The first and the last are slow.
    for slow in [0, 2] {
        tags[slow].push_str("\npublishing_interval: 1s");
    }
    let mut first = Run::new(&folder, &settings, &tags);
    let mut values = 0;
    first
        .until("all values", |seen| {
            values += usize::from(matches!(seen, Seen::Sample(_)));
            values == 3
        })
        .await;
    server.holds_subscriptions(2).await;
    assert_eq!(first.revised("publishing_interval"), Some(1.0));
    // The slow ones come with all that happened to them, and the fast one does not wait for them.
    for value in 1..=5 {
        server.set(0, value);
        server.set(1, value);
        server.set(2, value);
        first.shows(1, value).await;
    }
    first.shows(2, 5).await;
    assert_eq!(first.shown(0), [0, 1, 2, 3, 4, 5]);
    assert_eq!(first.shown(2), [0, 1, 2, 3, 4, 5]);
    let stored = first.bookmarks.clone();
    first.stop().await;
    server.set(2, 6);
    server.set(1, 6);
    let mut second = Run::after(stored, &folder, &settings, &tags);
    let seen = second.shows(2, 6).await;
    assert!(is_resumed(&seen), "{seen:#?}");
    assert_eq!(second.shown(1), [6]);
    server.holds_subscriptions(2).await;
    second.stop().await;
}
