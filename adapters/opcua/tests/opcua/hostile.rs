//! Servers that say what none should.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{GapScope, Notice, TagId, Value};
use opcua::types::{ExtensionObject, Range};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::rogue::{Rogue, Trick};
use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, TestServer};

/// The number of a `GetEndpointsResponse`.
const GET_ENDPOINTS_RESPONSE: u16 = 431;
/// The number of a `CreateSubscriptionResponse`.
const CREATE_SUBSCRIPTION_RESPONSE: u16 = 790;
/// The number of a `BrowseResponse`.
const BROWSE_RESPONSE: u16 = 530;
/// The number of a `DataChangeNotification`.
const DATA_CHANGE_NOTIFICATION: u16 = 811;
/// The number of a `StatusChangeNotification`.
const STATUS_CHANGE_NOTIFICATION: u16 = 820;

/// A `PublishResponse` with one value, whose variant has these bytes.
fn with_variant(variant: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend(1_i32.to_le_bytes()); // one item
    value.extend(1_u32.to_le_bytes()); // of the first tag
    value.push(0x01); // a value and nothing else
    value.extend(variant);
    value.extend((-1_i32).to_le_bytes()); // no diagnostics
    with_notification(DATA_CHANGE_NOTIFICATION, &value)
}

/// A `PublishResponse` with one notification of this kind and body.
fn with_notification(kind: u16, notification: &[u8]) -> Vec<u8> {
    let null = (-1_i32).to_le_bytes();
    let mut body = with_diagnostics(&[0]); // none
    body.extend(null);
    body.extend([0, 0, 0]); // no additional header
    body.extend(1_u32.to_le_bytes()); // subscription
    body.extend(null); // available numbers
    body.push(0); // no more
    body.extend(2_u32.to_le_bytes()); // number
    body.extend([0; 8]); // time
    body.extend(1_i32.to_le_bytes()); // one notification
    body.extend([0x01, 0x00]); // of this kind
    body.extend(kind.to_le_bytes());
    body.push(0x01); // in bytes
    body.extend(i32::try_from(notification.len()).unwrap().to_le_bytes());
    body.extend(notification);
    body.extend(null);
    body.extend(null);
    body
}

/// A `PublishResponse` up to its diagnostics.
fn with_diagnostics(diagnostics: &[u8]) -> Vec<u8> {
    let mut body = vec![0x01, 0x00, 0x3D, 0x03];
    body.extend([0; 8]); // time
    body.extend([0; 4]); // handle
    body.extend([0; 4]); // good
    body.extend(diagnostics);
    body
}

/// Variants of variants, so many deep.
fn nested(levels: usize) -> Vec<u8> {
    [0x98, 1, 0, 0, 0].repeat(levels)
}

/// What no server says, by name.
fn malformed() -> Vec<(&'static str, Trick)> {
    let variant = |bytes: &[u8]| Trick::Body(with_variant(bytes));
    let chunk = |kind: &[u8], size: u32| {
        let mut bytes = kind.to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.extend([0xAA; 64]);
        Trick::Raw(bytes)
    };
    vec![
        ("variants 12,000 deep", variant(&nested(12_000))),
        ("data values 20,000 deep", variant(&[0x17, 0x01].repeat(20_000))),
        (
            "diagnostics 50,000 deep",
            Trick::Body(with_diagnostics(&[0x40; 50_000])),
        ),
        (
            "a text that is no UTF-8",
            variant(&[0x0C, 4, 0, 0, 0, 0xFF, 0xFE, 0xFD, 0xFC]),
        ),
        (
            "a text of negative length",
            variant(&[0x0C, 0xFB, 0xFF, 0xFF, 0xFF]),
        ),
        ("a text of 2 GiB", variant(&[0x0C, 0xFF, 0xFF, 0xFF, 0x7F])),
        ("bytes of 2 GiB", variant(&[0x0F, 0xFF, 0xFF, 0xFF, 0x7F])),
        (
            "an array of 2,147,483,647",
            variant(&[0x86, 0xFF, 0xFF, 0xFF, 0x7F]),
        ),
        (
            "dimensions whose product is too large",
            variant(&[
                0xC6, 1, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F,
            ]),
        ),
        ("a type that is not there", variant(&[0x3F, 0, 0])),
        ("a body of nothing", Trick::Body(Vec::new())),
        ("another kind of message", chunk(b"XYZF", 72)),
        ("a chunk smaller than its header", chunk(b"MSGF", 3)),
        ("a chunk of no size", chunk(b"MSGF", 0)),
        ("a chunk of 4 GiB", chunk(b"MSGF", u32::MAX)),
        ("an answer on another channel", chunk(b"MSGF", 72)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_server_says_the_source_lives_and_the_next_value_comes() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    for (value, (name, trick)) in (1..).zip(malformed()) {
        println!("{name}");
        let before = rogue.played.load(Ordering::SeqCst);
        rogue.plays(trick);
        server.set(0, value);
        rogue.has_played(before + 1).await;
        // The value that was kept from it, or one after it.
        run.shows(0, value).await;
    }
    let last = i64::try_from(malformed().len()).unwrap();
    let wrong: Vec<i64> = run
        .shown(0)
        .into_iter()
        .filter(|value| !(0..=last).contains(value))
        .collect();
    assert!(wrong.is_empty(), "values that nobody set: {wrong:?}");
    run.stop().await;
}

/// Some servers send the attribute of the object when a session is re-activated, which is no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_what_was_asked_for_events_is_no_event() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let events = "{events: i=2253, event_type: i=2041, field: Message}".to_owned();
    let tags = [vec![events], addresses(1)].concat();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &tags);
    run.shows(1, 0).await;
    // A byte.
    rogue.plays(Trick::Body(with_variant(&[0x03, 1])));
    server.set(0, 1);
    rogue.has_played(1).await;
    server.set(0, 2);
    run.shows(1, 2).await;
    let of_events = |seen: &&Seen| matches!(seen, Seen::Sample(sample) if sample.tag.0 == 0);
    let told: Vec<&Seen> = run.log().iter().filter(of_events).collect();
    assert!(told.is_empty(), "nothing happened: {told:#?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_an_end_is_cut_off() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Endless);
    server.set(0, 1);
    rogue.has_played(1).await;
    run.shows(0, 1).await;
    // 256 chunks, which are of 8 KiB here, and what is in the buffers of the system on both sides.
    let taken = rogue.taken.load(Ordering::SeqCst);
    assert!(taken < 16 << 20, "{taken} bytes were taken");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_silent_while_its_server_answers_is_rebuilt() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let settings = settings(rogue.port, "").replace("keep_alive: 300ms", "keep_alive: 2s");
    let mut run = Run::new(&folder, &settings, &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Swallow);
    rogue.has_played(1).await;
    let begun = Instant::now();
    run.notice(
        "the silence is told",
        |notice| matches!(notice, Notice::Gap { reason, .. } if reason.told.contains("silent")),
    )
    .await;
    // What is swallowed first is a sign of life: half of the time is over by then. The rest is for a machine that is busy.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    rogue.plays(Trick::None);
    server.set(0, 1);
    run.shows(0, 1).await;
    assert_eq!(run.metrics.connects.get(), 1, "the session was good all the time");
    server.holds_subscriptions(1).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_silent_again_and_again_costs_the_others_nothing() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    rogue.plays(Trick::Mute(20.0));
    let folder = Folder::new();
    let mut tags = addresses(2);
    tags[1].push_str("\npublishing_interval: 20ms");
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &tags);
    for _ in 0..10 {
        let seen = run
            .notice("the silence is told", |notice| {
                matches!(notice, Notice::Gap { .. })
            })
            .await;
        let scope = seen.iter().find_map(|seen| match seen {
            Seen::Notice(Notice::Gap { scope, .. }) => Some(scope.clone()),
            _ => None,
        });
        assert_eq!(scope, Some(GapScope::Tags([TagId(1)].into())), "of no other");
    }
    let begun = Instant::now();
    server.set(0, 1);
    run.shows(0, 1).await;
    // At once, and not when others have been answered.
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(run.metrics.connects.get(), 1, "the session was good all the time");
    run.stop().await;
}

/// OPC 10000-4 §5.14.1.1: a server tells with a `StatusChangeNotification` that a subscription is no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_its_server_ends_is_made_anew() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(2));
    run.shows(1, 0).await;
    let bad_timeout = [0x00, 0x00, 0x0A, 0x80];
    let ended = with_notification(STATUS_CHANGE_NOTIFICATION, &[&bad_timeout[..], &[0]].concat());
    rogue.plays(Trick::Body(ended));
    // The change is in the answer that says the end instead.
    server.set(0, 1);
    let mut gaps = Vec::new();
    run.until("the change, by a new subscription", |seen| {
        if let Seen::Notice(Notice::Gap { scope, reason }) = seen {
            gaps.push((scope.clone(), reason.clone()));
        }
        seen.shows(0, &Value::Int(1))
    })
    .await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let (scope, reason) = &gaps[0];
    assert_eq!(*scope, GapScope::Source);
    assert!(
        reason.told.contains("the server ended the subscription") && reason.told.contains("BadTimeout"),
        "{reason}"
    );
    assert_eq!(run.metrics.gaps.get(), 1);
    assert_eq!(run.metrics.connects.get(), 1, "the session was good all the time");
    server.holds_subscriptions(1).await;
    server.set(1, 2);
    run.shows(1, 2).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_was_made_without_an_answer_is_not_left_behind() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    rogue.plays(Trick::Deaf(CREATE_SUBSCRIPTION_RESPONSE));
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    rogue.has_played(1).await;
    rogue.plays(Trick::None);
    run.shows(0, 0).await;
    server.holds_subscriptions(1).await;
    server.set(0, 1);
    run.shows(0, 1).await;
    run.stop().await;
}

/// A server that does not tell its types: the structure is bad, and all else goes on.
async fn types_that_are_not_told(trick: Trick, connects: u64) {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(2));
    run.shows(0, 0).await;
    rogue.plays(trick);
    let range = Range { low: 1.0, high: 2.0 };
    server.set(0, ExtensionObject::from_message(range));
    rogue.has_played(1).await;
    server.set(1, 7);
    let mut is_bad = false;
    run.until("what is beside the structure", |seen| {
        is_bad |= matches!(seen, Seen::Sample(s) if s.tag.0 == 0 && s.quality.is_bad());
        seen.shows(1, &Value::Int(7))
    })
    .await;
    assert!(is_bad, "a structure of which nothing is known is not good");
    assert_eq!(run.metrics.connects.get(), connects);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_a_server_does_not_tell_hold_nothing_else_up() {
    types_that_are_not_told(Trick::Deaf(BROWSE_RESPONSE), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_when_asked_for_its_types_is_not_asked_for_ever() {
    types_that_are_not_told(Trick::Cut(BROWSE_RESPONSE), 4).await;
}

/// What type dictionaries are asked for with: references forward of the kind `HasDescription` and those below it.
const DESCRIPTIONS: [u8; 7] = [0, 0, 0, 0, 0x00, 39, 1];

/// A server that does not tell its type dictionaries: structures that are defined are read all the same.
async fn dictionaries_that_are_not_told(trick: Trick, connects: u64) {
    let mut server = TestServer::started(Manner::default()).await;
    server.has_older_type();
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(2));
    run.shows(0, 0).await;
    rogue.plays(trick);
    server.set(0, ExtensionObject::from_message(Range { low: 1.0, high: 2.0 }));
    let range = Value::Record(Arc::from([
        ("Low".into(), Value::Float64(1.0)),
        ("High".into(), Value::Float64(2.0)),
    ]));
    run.until("the structure", |seen| seen.shows(0, &range)).await;
    assert!(rogue.played.load(Ordering::SeqCst) > 0, "they were asked for");
    assert_eq!(run.metrics.connects.get(), connects);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dictionaries_that_a_server_does_not_tell_cost_no_defined_structures() {
    dictionaries_that_are_not_told(Trick::DeafTo(DESCRIPTIONS.to_vec()), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dictionaries_that_end_the_connection_cost_no_defined_structures() {
    dictionaries_that_are_not_told(Trick::CutTo(DESCRIPTIONS.to_vec()), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_connections_and_goes_no_further_is_tried_again() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Dumb);
    // The library would wait for half a minute.
    rogue.has_played(2).await;
    rogue.plays(Trick::None);
    server.set(0, 1);
    run.shows(0, 1).await;
    run.stop().await;
}

/// What a stranger may answer at most, as deep as it can be nested: each level costs the library a call.
fn as_deep_as_can_be() -> [Vec<u8>; 2] {
    let most = 2 * 60_000;
    let mut header = vec![0x01, 0x00];
    header.extend(GET_ENDPOINTS_RESPONSE.to_le_bytes());
    header.extend([0; 16]); // time, handle, good
    // Diagnostic information that has an inner one and nothing else.
    let diagnostics = [header.clone(), vec![0x40; most - header.len()]].concat();
    // An additional header that holds a data value, of a variant, of a data value.
    let mut value = header;
    value.push(0); // no diagnostics
    value.extend((-1_i32).to_le_bytes()); // no texts
    value.extend([0x01, 0x00, 0x28, 0x03, 0x01]); // a MonitoredItemNotification, in bytes
    let inner = [0x01, 0x17].repeat((most - value.len() - 8) / 2);
    value.extend(i32::try_from(inner.len() + 4).unwrap().to_le_bytes());
    value.extend([0; 4]); // its handle
    value.extend(inner);
    [diagnostics, value]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_end_the_gateway_with_what_it_says_of_its_endpoints() {
    let mut server = TestServer::started(Manner::default()).await;
    for body in as_deep_as_can_be() {
        let rogue = Rogue::before(server.port).await;
        rogue.plays(Trick::Chunks(GET_ENDPOINTS_RESPONSE, body));
        let folder = Folder::new();
        let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
        rogue.has_played(1).await;
        run.notice(
            "it is told",
            |notice| matches!(notice, Notice::Offline { reason } if reason.told.contains("does not answer")),
        )
        .await;
        rogue.plays(Trick::None);
        server.set(0, 5);
        run.shows(0, 5).await;
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_end_the_gateway_while_the_channel_is_opened() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    for (value, (bytes, reason)) in (1..).zip([
        (7_000, "nested more than 16 deep"),
        (60_000, "opened the channel with 60"),
        (0, "a chunk whose header cannot be read"),
    ]) {
        rogue.plays(Trick::Opened(vec![0x40; bytes]));
        let folder = Folder::new();
        let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
        run.notice(
            "it is told",
            |notice| matches!(notice, Notice::Offline { reason: told } if told.told.contains(reason)),
        )
        .await;
        rogue.plays(Trick::None);
        server.set(0, value);
        run.shows(0, value).await;
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_server_at_all_is_told_and_does_no_harm() {
    let greetings: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"ACKF\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"ACKF\xff\xff\xff\xff",
        b"MSGF\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"ERRF\x10\0\0\0\0\0\x01\x80\xff\xff\xff\x7f",
        b"",
    ];
    for greeting in greetings {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting).await;
                open.push(stream);
            }
        });
        let folder = Folder::new();
        let mut run = Run::new(&folder, &settings(port, ""), &addresses(1));
        run.notice(
            "it is told",
            |notice| matches!(notice, Notice::Offline { reason } if reason.told.contains("does not answer")),
        )
        .await;
        run.stop().await;
        task.abort();
    }
}
