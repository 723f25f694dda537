//! Answers that are late, wrong or cut off.

use std::sync::Mutex;
use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use floorgate_adapter_api::{Notice, Value};

use crate::device::answer_pdu;
use crate::rogue::{Asked, Reply, Rogue, frame};
use crate::values::planned;

/// Two registers of which each holds its own address, in requests that look the same but for it.
const TWO: [&str; 2] = ["{holding: 100}", "{holding: 200}"];

fn both() -> [(usize, Value); 2] {
    [(0, Value::UInt(100)), (1, Value::UInt(200))]
}

fn rogue_settings(scheme: &str, rogue: &Rogue) -> String {
    format!(
        "connect: {scheme}://{}\npoll_interval: 5ms\ntimeout: 100ms\nbackoff_max: 50ms\n",
        rogue.address
    )
}

/// No good sample shows anything but its own register.
fn assert_own_values(seen: &[Seen]) {
    for (tag, own) in both() {
        for sample in seen.iter().filter_map(|seen| seen.sample_of(tag)) {
            assert!(
                sample.value.is_none() || sample.value.as_ref() == Some(&own),
                "another's value: {seen:#?}"
            );
        }
    }
}

/// Reads until both registers were shown after the fault, however often.
async fn until_both(run: &mut Running, times: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..times {
        seen.extend(run.until("the source comes online", Seen::is_online).await);
        seen.extend(run.until_shown("both values arrive", &both()).await);
    }
    seen
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_anothers() {
    let rogue = Rogue::start(true, |asked: Asked| {
        let answer = asked.rtu(&asked.own_addresses());
        if asked.number % 6 == 4 {
            Reply::Late(Duration::from_millis(150), answer)
        } else {
            Reply::Send(answer)
        }
    })
    .await;
    let settings = format!("{}retries: 0\n", rogue_settings("rtu+tcp", &rogue));
    let mut run = planned(&settings, &TWO).run(AMPLE);
    let seen = until_both(&mut run, 3).await;
    assert_own_values(&seen);
    assert!(rogue.connections() >= 3, "each time-out ends its connection");
    run.stop("while connected").await;
}

#[tokio::test]
async fn bytes_that_wait_on_a_new_connection_are_no_answer() {
    // A terminal server that hands late bytes to whoever connects next.
    let stale = |asked: Asked| asked.rtu(&answer_pdu(3, &[4711]));
    let greeting = stale(Asked {
        number: 0,
        transaction: 0,
        unit: 1,
        function: 3,
        start: 0,
        count: 1,
    });
    let rogue = Rogue::start_with(true, Some(greeting), |asked: Asked| {
        if asked.number == 4 {
            Reply::Close
        } else {
            Reply::Send(asked.rtu(&asked.own_addresses()))
        }
    })
    .await;
    let mut run = planned(&rogue_settings("rtu+tcp", &rogue), &TWO).run(AMPLE);
    let mut seen = run.until_shown("both values arrive", &both()).await;
    let before = run.metrics.requests.get();
    while run.metrics.requests.get() < before + 20 {
        seen.extend(run.next(Duration::from_millis(20)).await);
    }
    assert_own_values(&seen);
    assert_eq!(rogue.connections(), 2, "{seen:#?}");
    run.stop("while connected").await;
}

/// A server that answers rightly but for some requests; the adapter must drop the connection, say why, and come back.
async fn wrong_answer(name: &str, rtu: bool, wrong: fn(Asked) -> Vec<u8>, kind: &str) {
    let rogue = Rogue::start(rtu, move |asked: Asked| {
        let own = asked.own_addresses();
        let right = if rtu { asked.rtu(&own) } else { asked.tcp(&own) };
        Reply::Send(if asked.number == 5 { wrong(asked) } else { right })
    })
    .await;
    let scheme = if rtu { "rtu+tcp" } else { "tcp" };
    let settings = format!("{}retries: 0\n", rogue_settings(scheme, &rogue));
    let mut run = planned(&settings, &TWO).run(AMPLE);
    let mut seen = run.until("the loss is told", Seen::is_offline).await;
    match seen.last() {
        Some(Seen::Notice(Notice::Offline { reason })) => {
            assert!(
                reason.told.contains(kind),
                "{name}: `{kind}` is not in `{reason}`"
            );
            assert!(
                reason.told.contains("unit 1, holding"),
                "{name}: `{reason}` names the request"
            );
        }
        other => panic!("{name}: {other:?}"),
    }
    seen.extend(until_both(&mut run, 1).await);
    assert_own_values(&seen);
    assert_eq!(rogue.connections(), 2, "{name}: the connection is made anew");
    run.stop("while connected").await;
}

#[tokio::test]
async fn answers_that_are_no_answers_end_the_connection() {
    wrong_answer(
        "too few registers",
        false,
        |asked| asked.tcp(&[3, 0]),
        "answer with 0 values",
    )
    .await;
    wrong_answer(
        "too many registers",
        false,
        |asked| asked.tcp(&answer_pdu(3, &[1, 2])),
        "answer with 2 values",
    )
    .await;
    wrong_answer(
        "odd byte count",
        false,
        |asked| asked.tcp(&[3, 1, 0]),
        "malformed answer",
    )
    .await;
    wrong_answer("byte count without bytes", false, |asked| asked.tcp(&[3, 2]), "").await;
    wrong_answer(
        "more bytes than counted",
        false,
        |asked| asked.tcp(&[3, 2, 0, 1, 0, 2]),
        "malformed answer",
    )
    .await;
    wrong_answer(
        "another function",
        false,
        |asked| asked.tcp(&answer_pdu(4, &[1])),
        "another function",
    )
    .await;
    wrong_answer("no function", false, |asked| asked.tcp(&[]), "").await;
    wrong_answer(
        "another transaction",
        false,
        |asked| {
            frame(
                asked.transaction.wrapping_sub(1),
                asked.unit,
                &answer_pdu(3, &[1]),
            )
        },
        "answer to another request",
    )
    .await;
    wrong_answer(
        "another unit",
        false,
        |asked| frame(asked.transaction, 9, &answer_pdu(3, &[1])),
        "answer to another request",
    )
    .await;
    wrong_answer(
        "another protocol",
        false,
        |asked| {
            let mut bytes = asked.tcp(&answer_pdu(3, &[1]));
            bytes[2] = 1;
            bytes
        },
        "malformed answer",
    )
    .await;
    wrong_answer(
        "too many registers in RTU",
        true,
        |asked| asked.rtu(&answer_pdu(3, &[1, 2])),
        "answer with 2 values",
    )
    .await;
    wrong_answer(
        "a wrong checksum",
        true,
        |asked| {
            let mut bytes = asked.rtu(&answer_pdu(3, &[1]));
            bytes[4] ^= 1;
            bytes
        },
        "",
    )
    .await;
}

#[tokio::test]
async fn noise_on_a_line_is_borne_once() {
    let rogue = Rogue::start(true, |asked: Asked| {
        let mut answer = asked.rtu(&asked.own_addresses());
        if asked.number == 6 {
            answer[3] ^= 0x10;
        }
        Reply::Send(answer)
    })
    .await;
    let mut run = planned(&rogue_settings("rtu+tcp", &rogue), &TWO).run(AMPLE);
    let mut seen = run.until_shown("both values arrive", &both()).await;
    seen.extend(
        run.until("the hole is told", |seen| {
            matches!(seen, Seen::Notice(Notice::Gap { .. }))
        })
        .await,
    );
    assert_own_values(&seen);
    assert!(
        !seen.iter().any(Seen::is_offline),
        "one frame that noise took is no loss: {seen:#?}"
    );
    assert_eq!(rogue.connections(), 2);
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_closed_connection_is_told_in_words_that_are_true() {
    let closes = Mutex::new(true);
    let rogue = Rogue::start(false, move |asked: Asked| {
        let close = asked.number == 5 && std::mem::take(&mut *closes.lock().expect("not poisoned"));
        if close {
            Reply::Close
        } else {
            Reply::Send(asked.tcp(&asked.own_addresses()))
        }
    })
    .await;
    let mut run = planned(&rogue_settings("tcp", &rogue), &TWO).run(AMPLE);
    let seen = run.until("the loss is told", Seen::is_offline).await;
    assert!(
        matches!(seen.last(), Some(Seen::Notice(Notice::Offline { reason })) if reason.told.contains("closed the connection")),
        "{seen:#?}"
    );
    until_both(&mut run, 1).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_connection_that_is_closed_for_being_idle_is_made_anew_without_a_loss() {
    let rogue = Rogue::start(false, move |asked: Asked| {
        // The second and the third poll find their connection closed, and ask again on another.
        if asked.number == 1 || asked.number == 3 {
            Reply::Close
        } else {
            let counted = u16::try_from(asked.number).expect("few requests");
            Reply::Send(asked.tcp(&answer_pdu(3, &[counted])))
        }
    })
    .await;
    let settings = format!(
        "connect: tcp://{}\npoll_interval: 600ms\nretries: 0\n",
        rogue.address
    );
    let mut run = planned(&settings, &["{holding: 100}"]).run(AMPLE);
    let mut seen = Vec::new();
    for value in [0, 2, 4] {
        let value = [(0, Value::UInt(value))];
        seen.extend(run.until_shown("the next poll's value arrives", &value).await);
    }
    let notices = seen.iter().filter(|seen| matches!(seen, Seen::Notice(_))).count();
    assert_eq!(notices, 1, "`Online` once, no loss and no gap: {seen:#?}");
    assert_eq!(rogue.connections(), 3);
    run.stop("while connected").await;
}
