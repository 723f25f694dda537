//! Servers that are there and do not get on.

use std::time::{Duration, Instant};

use floorgate_adapter_api::Notice;

use crate::rogue::{Rogue, Trick};
use crate::run::{Folder, Run, addresses, settings};
use crate::server::{Manner, TestServer};

/// The number of a `ReadResponse`.
const READ_RESPONSE: u16 = 634;

/// It is never silent, and would need half a minute for the message that it has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_message_trickles_in_is_lost_and_comes_back() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Trickle);
    server.set(0, 1);
    rogue.has_played(1).await;
    let begun = Instant::now();
    let is_lost = |notice: &Notice| matches!(notice, Notice::Offline { reason } if reason.see.as_deref() == Some("opcua-server-silent"));
    run.notice("it is lost", is_lost).await;
    // The look at the server begins within its keep-alive and has the time of a request; the rest is for a machine that is busy.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    run.shows(0, 1).await;
    server.set(0, 2);
    run.shows(0, 2).await;
    run.stop().await;
}

/// What is told of a loss is what came first; what keeps the server away stands beside the next attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_makes_sessions_and_answers_nothing_else_is_shown_as_that() {
    let server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    let shown = |run: &Run| run.metrics.outlook().failure.map(|failure| failure.told);
    assert_eq!(shown(&run), None);
    rogue.plays(Trick::Deaf(READ_RESPONSE));
    run.notice("it is lost", |notice| matches!(notice, Notice::Offline { .. }))
        .await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !shown(&run).is_some_and(|told| told.contains("namespaces")) {
        assert!(Instant::now() < deadline, "{:?}", run.metrics.outlook());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rogue.plays(Trick::None);
    run.notice("it is back", |notice| matches!(notice, Notice::Online(_)))
        .await;
    assert_eq!(shown(&run), None);
    run.stop().await;
}
