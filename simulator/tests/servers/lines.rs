//! Lines and load on OPC UA.

use std::collections::HashMap;

use floorgate_simulator::{
    DEMO_PASSWORD, DEMO_USER, Load, LoadValue, Options, Plant, Security, model::TagValue,
};
use opcua::{
    client::IdentityToken,
    crypto::SecurityPolicy,
    types::{DataValue, StatusCode, Variant},
};

use crate::client::{Client, Directory, LINE_TAGS, micros, next, plain};

fn same(shown: &Variant, meant: &TagValue) -> bool {
    match (shown, meant) {
        (Variant::String(shown), TagValue::Text(meant)) => shown.as_ref() == meant,
        (Variant::Int32(shown), TagValue::Int32(meant)) => shown == meant,
        (Variant::UInt32(shown), TagValue::UInt32(meant)) => shown == meant,
        (Variant::UInt16(shown), TagValue::UInt16(meant)) => shown == meant,
        (Variant::Double(shown), TagValue::Double(meant)) => shown.to_bits() == meant.to_bits(),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_sees_every_journalled_change_of_the_lines_with_its_time() {
    let plant = Plant::start(Options {
        rate: 20.0,
        conveyors: 0,
        ..plain()
    })
    .await
    .expect("a plant");
    let client = Client::plain(&plant, "journal").await;
    let tags: Vec<String> = (1..=6)
        .flat_map(|line| LINE_TAGS.map(|tag| format!("Line{line}.{tag}")))
        .collect();
    let mut received = client.subscribe(&tags).await;

    // The first value of each tag is where its comparison starts.
    let mut seen: HashMap<usize, Vec<DataValue>> = HashMap::new();
    let mut count = 0;
    while count < 2_000 || seen.len() < tags.len() {
        let (tag, value) = next(&mut received).await;
        seen.entry(tag).or_default().push(value);
        count += 1;
    }
    let journal = plant.journal();
    for (place, values) in seen {
        let tag = tags[place].as_str();
        let start = micros(&values[0]);
        let mut meant = journal
            .iter()
            .filter(|record| &*record.tag == tag && record.time >= start);
        for value in &values {
            let record = meant
                .next()
                .unwrap_or_else(|| panic!("{tag}: {value:?} is not in the journal"));
            assert_eq!(micros(value), record.time, "{tag}");
            assert!(
                same(value.value.as_ref().expect("a value"), &record.new),
                "{tag}: {value:?} for {record:?}"
            );
        }
    }
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_counts_up_without_loss_double_or_disorder() {
    let load = Load {
        tags: 500,
        rate: 5_000.0,
        value: LoadValue::Double,
    };
    let plant = Plant::start(Options {
        lines: 1,
        load: Some(load),
        ..plain()
    })
    .await
    .expect("a plant");
    let client = Client::plain(&plant, "load").await;
    let tags: Vec<String> = (0..500).map(|tag| format!("Load.T{tag:06}")).collect();
    let mut received = client.subscribe(&tags).await;
    let mut last: HashMap<usize, (f64, i64)> = HashMap::new();
    for _ in 0..10_000 {
        let (tag, value) = next(&mut received).await;
        let time = micros(&value);
        let Some(Variant::Double(counter)) = value.value else {
            panic!("no double: {value:?}")
        };
        if let Some((before, earlier)) = last.insert(tag, (counter, time)) {
            assert!(
                (counter - before - 1.0).abs() < 0.1,
                "tag {tag}: {counter} after {before}"
            );
            assert!(time > earlier, "tag {tag}: time {time} after {earlier}");
        }
    }
    assert_eq!(last.len(), 500, "tags that never came");
    let totals = plant.stop().await.expect("a clean stop");
    assert!(totals.load >= 9_500, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_give_type_value_and_quality_and_unknown_nodes_are_bad() {
    let options = Options {
        rate: 0.0,
        lines: 2,
        counter_start: 7,
        ..plain()
    };
    let plant = Plant::start(options).await.expect("a plant");
    let client = Client::plain(&plant, "read").await;
    for (tag, meant) in [
        ("Line2.WorkOrderId", Variant::from("WO-L2-00001")),
        ("Line2.Status", Variant::Int32(2)),
        ("Line1.State", Variant::Int32(4)),
        ("Line1.Good", Variant::UInt32(7)),
        ("Line1.Alarms", Variant::UInt16(0)),
    ] {
        let value = client.read(tag).await;
        assert_eq!(value.value, Some(meant), "{tag}");
        assert!(
            value.status.is_none_or(|status| status.is_good()),
            "{tag}: {value:?}"
        );
    }
    assert!(matches!(
        client.read("Line1.Power").await.value,
        Some(Variant::Double(_))
    ));
    assert!(
        client
            .read("Line3.Status")
            .await
            .status
            .is_some_and(|status| status.is_bad())
    );
    let created = client
        .monitor(&["Line1.Status".to_owned(), "Line3.Status".to_owned()], |_, _| {})
        .await;
    let statuses: Vec<_> = created.iter().map(|item| item.status_code).collect();
    assert_eq!(statuses, [StatusCode::Good, StatusCode::BadNodeIdUnknown]);
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_endpoints_take_the_demo_user_and_keys_last() {
    let keys = Directory::new("server-keys");
    let options = || Options {
        lines: 1,
        security: Security::Encrypted {
            keys: Some(keys.0.clone()),
        },
        ..plain()
    };
    let plant = Plant::start(options()).await.expect("a plant");
    let certificate = std::fs::read(keys.0.join("own/cert.der")).expect("a certificate");
    for (name, policy, user) in [
        (
            "basic",
            SecurityPolicy::Basic256Sha256,
            IdentityToken::new_user_name(DEMO_USER, DEMO_PASSWORD),
        ),
        (
            "aes256",
            SecurityPolicy::Aes256Sha256RsaPss,
            IdentityToken::Anonymous,
        ),
        ("none", SecurityPolicy::None, IdentityToken::Anonymous),
    ] {
        let client = Client::connect(&plant, name, policy, user).await;
        assert!(client.read("Line1.Status").await.value.is_some(), "{name}");
    }
    plant.stop().await.expect("a clean stop");

    let plant = Plant::start(options()).await.expect("the plant again");
    assert_eq!(
        std::fs::read(keys.0.join("own/cert.der")).expect("a certificate"),
        certificate
    );
    plant.stop().await.expect("a clean stop");
}
