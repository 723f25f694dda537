//! Events that are large.

use super::super::BYTES_PER_SAMPLE;
use super::*;

#[test]
fn a_flood_of_large_events_is_stored_in_commits_that_a_full_store_has_room_for() {
    const BYTES: usize = 20_000;
    const EVENTS: u16 = 600;
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mapping = format!(
        "mapping: all\nsource: plc\nequipment: acme/busan/filling/line1/oven\n\
         tags:\n  temp: {{node: 'nsu=urn:x;s=temp', unit: CEL}}\n\
         events:\n  - {{type: OvenHot, domain: mes, trigger: temp, data: {{text: {{constant: \"{}\"}}}}}}\n",
        "x".repeat(BYTES)
    );
    let rig = Rig::start(&options, plan_of(&folder.0, &mapping), NOBODY.to_owned());
    rig.online();
    rig.send(Vec::new(), &[(0, 0)]);
    until("the first are stored", || rig.receipts() == 2);
    let operator = rusqlite::Connection::open(&options.path).expect("it opens");
    operator.execute_batch("BEGIN IMMEDIATE").expect("it is locked");
    rig.send(Vec::new(), &[(0, 1)]);
    until("it is told", || rig.pulse.standing() == Standing::Locked);
    let of_one = |metrics: &Metrics| {
        (
            metrics.commit_events.get_sample_count(),
            metrics.commit_events.get_sample_sum(),
        )
    };
    let before = of_one(&rig.metrics);
    for value in 2..=i64::from(EVENTS) {
        rig.send(Vec::new(), &[(0, value)]);
    }
    operator.execute_batch("ROLLBACK").expect("it is unlocked");
    until("all are stored", || rig.receipts() == 2 + usize::from(EVENTS));
    let after = of_one(&rig.metrics);
    let events = f64::from(EVENTS);
    assert!((after.1 - before.1 - events).abs() < 0.5, "{before:?} {after:?}");
    let least = usize::from(EVENTS) * BYTES / (SAMPLES_PER_COMMIT * BYTES_PER_SAMPLE);
    let commits = usize::try_from(after.0 - before.0).expect("a count");
    assert!(commits > least, "{commits} commits, and not more than {least}");
    rig.stop();
}
