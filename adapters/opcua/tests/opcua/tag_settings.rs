//! What the server makes of the settings of each tag.

use std::time::Duration;

use floorgate_adapter_api::{Notice, Setting, TagSettings};

use crate::revised::{address, of_earlier_version, revising};
use crate::run::{Folder, Run, settings};
use crate::server::{Manner, TestServer};
use crate::takeover::{is_resumed, of_user};

/// Publishing and sampling interval in seconds and queue size, each as it was asked for and as it was revised.
fn told(run: &Run, tag: usize) -> [Option<(f64, f64)>; 3] {
    let TagSettings {
        publishing_interval,
        sampling_interval,
        queue_size,
    } = run.metrics.outlook().revised_tags.get(tag);
    let both = |Setting { asked, revised }| (asked, revised);
    [publishing_interval, sampling_interval, queue_size].map(|setting| setting.map(both))
}

async fn until_told(run: &Run, tag: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while told(run, tag) == [None; 3] {
        assert!(
            tokio::time::Instant::now() < deadline,
            "nothing is told of tag {tag}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_tag_has_what_the_server_made_of_its_own_settings() {
    let (folder, server) = revising().await;
    let settings = of_user(server.port) + "retry_refused_nodes: 1s\n";
    let tags = [
        address(0, "sampling_interval: 33ms, queue_size: 4"),
        address(1, "sampling_interval: 1s"),
        address(2, "publishing_interval: 200ms"),
        // The server takes it, and says later that it is not there.
        address(3, "queue_size: 9"),
        "{node: 'nsu=urn:test:nowhere;s=T0'}".to_owned(),
    ];
    let mut first = Run::new(&folder, &settings, &tags);
    let is_complete = |text: &String| text.contains("\"complete\":true");
    while !first.bookmarks.get("layout").is_some_and(is_complete) {
        first.until("the layout", |_| true).await;
    }
    let queue = Some((5_000.0, 6.0));
    let all = [
        [Some((0.01, 0.03)), Some((0.033, 0.04)), Some((4.0, 4.0))],
        [Some((0.01, 0.03)), Some((1.0, 1.0)), queue],
        [Some((0.2, 0.2)), Some((0.0, 0.04)), queue],
        [Some((0.01, 0.03)), Some((0.0, 0.04)), Some((9.0, 6.0))],
        [None; 3],
    ];
    let each = |run: &Run| [0, 1, 2, 3, 4].map(|tag| told(run, tag));
    assert_eq!(each(&first), all);
    let stored = first.bookmarks.clone();
    first.kill().await;

    // The next process takes the subscriptions over, and asks for no item.
    let mut second = Run::after(stored.clone(), &folder, &settings, &tags);
    let online = |notice: &Notice| matches!(notice, Notice::Online(_));
    assert!(is_resumed(&second.notice("it goes on", online).await));
    until_told(&second, 2).await;
    assert_eq!(each(&second), all);
    second.kill().await;

    // One that did not store what was made of the items.
    let mut earlier = stored;
    let layout = of_earlier_version(&earlier["layout"]);
    earlier.insert("layout".to_owned(), layout);
    let mut third = Run::after(earlier, &folder, &settings, &tags);
    assert!(is_resumed(&third.notice("it goes on", online).await));
    until_told(&third, 2).await;
    let unknown = |publishing| [Some(publishing), None, None];
    let of_items = [(0.01, 0.03), (0.01, 0.03), (0.2, 0.2)].map(unknown);
    assert_eq!([0, 1, 2].map(|tag| told(&third, tag)), of_items);
    // Its item is made anew.
    server.add(3);
    third.shows(3, 0).await;
    assert_eq!([0, 1, 2].map(|tag| told(&third, tag)), of_items);
    assert_eq!([3, 4].map(|tag| told(&third, tag)), [all[3], all[4]]);
    third.stop().await;
}

#[tokio::test]
async fn of_nodes_that_are_read_nothing_is_told() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let polls = settings(server.port, "mode: poll\npoll_interval: 10ms\n")
        .replace("publishing_interval: 10ms\n", "")
        .replace("sampling_interval: 0ms\n", "");
    let mut run = Run::new(&folder, &polls, &[address(0, "queue_size: 1")]);
    run.shows(0, 0).await;
    assert_eq!(told(&run, 0), [None; 3]);
    run.stop().await;
}
