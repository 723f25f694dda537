//! The plan is replaced: what was stored is gone on from, and sources that are kept run on.

use std::sync::Arc;

use floorgate_adapter_api::{GapScope, Requests};

use super::*;

impl Rig {
    /// Replaces the plan, as a reload does that keeps some of the sources. What is sent from then on comes from one that was started with it.
    fn replace(
        &mut self,
        generation: Generation,
        plan: Arc<Plan>,
        kept: &[&str],
    ) -> oneshot::Receiver<Shelf> {
        let (bookmarks, told) = oneshot::channel();
        let replacement = Replacement {
            generation,
            bookmarks,
            sources: Vec::new(),
            core: Box::new(move |stored| core(plan, stored)),
            kept: kept.iter().copied().map(Arc::from).collect(),
        };
        let _ = self.sender.send(Message::Replace(replacement));
        self.intake = intake_of(generation, &self.intake, self.sender.clone());
        told
    }

    /// The same, while the source `plc` sends on as the plan numbered it with which it was started.
    fn replace_beside(&mut self, generation: Generation, plan: Arc<Plan>) -> oneshot::Receiver<Shelf> {
        let of_source = self.intake.clone();
        let told = self.replace(generation, plan, &["plc"]);
        self.intake = of_source;
        told
    }

    /// A way to ask the source for something, as its start makes one.
    fn asked(&self) -> Requests {
        let mut requesters = Requesters::default();
        let requests = requesters.add(SourceId(0));
        let _ = self
            .sender
            .send(Message::Sources(Generation::default(), requesters));
        requests
    }
}

fn data(row: &Row) -> serde_json::Value {
    serde_json::from_slice(&row.value).expect("it is JSON")
}

/// The values that were told of a machine, each with whether it says `gap`.
fn told(path: &Path, machine: &str) -> Vec<(i64, bool)> {
    let rows = rows(path).into_iter().filter(|row| row.key.ends_with(machine));
    let told = rows.map(|row| {
        let data = data(&row);
        (data["value"].as_i64().unwrap_or_default(), data["gap"] == true)
    });
    told.collect()
}

#[test]
fn a_kept_source_sends_on_under_the_numbers_of_its_own_plan() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mut rig = Rig::start(
        &options,
        plan(&folder.0, &["filler", "capper"]),
        NOBODY.to_owned(),
    );
    let first = Generation::default();
    rig.online();
    rig.send(Vec::new(), &[(0, 20), (1, 5)]);
    let mut generation = first;
    for (value, machines) in [
        (21, &["labeller", "filler", "capper"][..]),
        (22, &["filler", "labeller", "packer", "capper"]),
        (23, &["filler", "capper"]),
    ] {
        generation = generation.next();
        drop(rig.replace_beside(generation, plan(&folder.0, machines)));
        rig.send(Vec::new(), &[(0, value), (1, value - 15)]);
    }
    let gap = Notice::Gap {
        scope: GapScope::Tags(vec![TagId(1)]),
        reason: "test".into(),
    };
    drop(rig.replace_beside(
        generation.next(),
        plan(&folder.0, &["labeller", "filler", "capper"]),
    ));
    rig.send(vec![gap], &[(0, 24), (1, 9)]);
    // The core of the last plan tells where the source left off under its name.
    let last = plan(&folder.0, &["filler", "capper"]);
    let mut shelf = rig
        .replace_beside(generation.next().next(), last)
        .blocking_recv()
        .expect("it is told");
    assert_eq!(shelf.take("plc").get("last"), Some("[(0, 24), (1, 9)]"));
    assert_eq!(rig.receipts(), 6, "nothing was refused");
    assert_eq!(rig.stop().metrics.late_samples.get(), 0);
    let filler: Vec<_> = (20..25).map(|value| (value, false)).collect();
    assert_eq!(told(&options.path, "filler"), filler);
    let capper: Vec<_> = (5..10).map(|value| (value, value == 9)).collect();
    assert_eq!(told(&options.path, "capper"), capper);
    let connections = rows(&options.path)
        .iter()
        .filter(|row| header(row, "ce_type").contains("SourceConnectionChanged"))
        .count();
    assert_eq!(connections, 1, "it went online once");
}

#[test]
fn what_is_in_flight_while_nothing_can_be_stored_is_taken_after_the_reload() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mut rig = Rig::start(&options, plan(&folder.0, &["filler"]), NOBODY.to_owned());
    rig.online();
    rig.send(Vec::new(), &[(0, 20)]);
    until("the first are stored", || rig.receipts() == 2);
    let operator = rusqlite::Connection::open(&options.path).expect("it opens");
    operator.execute_batch("BEGIN IMMEDIATE").expect("it is locked");
    rig.send(Vec::new(), &[(0, 21)]);
    until("it is told", || rig.pulse.standing() == Standing::Locked);
    rig.send(Vec::new(), &[(0, 22)]);
    let first = Generation::default().next();
    drop(rig.replace_beside(first, plan(&folder.0, &["capper", "filler"])));
    rig.send(Vec::new(), &[(0, 23)]);
    drop(rig.replace_beside(first.next(), plan(&folder.0, &["labeller", "capper", "filler"])));
    rig.send(Vec::new(), &[(0, 24)]);
    operator.execute_batch("ROLLBACK").expect("it is unlocked");
    until("the rest is stored", || rig.receipts() == 6);
    assert_eq!(rig.stop().metrics.late_samples.get(), 0);
    let filler: Vec<_> = (20..25).map(|value| (value, false)).collect();
    assert_eq!(told(&options.path, "filler"), filler);
}

#[test]
fn a_kept_source_is_asked_and_answers_in_the_numbers_of_its_own_plan() {
    let mapping = "source: plc\nequipment: acme/busan/filling/line1/{m}\n\
        tags:\n  done: {node: 'nsu=urn:x;s={m}.done'}\n  part: {node: 'nsu=urn:x;s={m}.part'}\n\
        events:\n  - {type: PartDone, trigger: done, snapshot: [part], data: {part: part}, topic: acme.parts}\n";
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let of = |machines: &str| {
        let mapping = format!("mapping: all\nfor_each: [{machines}]\n{mapping}");
        plan_of(&folder.0, &mapping)
    };
    let mut rig = Rig::start(&options, of("{m: press}"), NOBODY.to_owned());
    let requests = rig.asked();
    rig.online();
    rig.send(Vec::new(), &[(0, 1)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("there is a runtime");
    let answer = |rig: &Rig, part| {
        let request = runtime.block_on(requests.next());
        assert_eq!(request.tags, [TagId(1)], "the part, as the source knows it");
        let answer = Answer {
            request: request.id,
            result: Ok(()),
        };
        rig.send_answer(Vec::new(), &[(1, part)], Some(answer));
    };
    answer(&rig, 7);
    // Asked by the one core, answered to the next; and then asked by that one.
    rig.send(Vec::new(), &[(0, 2)]);
    until("it is stored", || rig.receipts() == 4);
    let first = Generation::default().next();
    drop(rig.replace_beside(first, of("{m: drill}, {m: press}")));
    answer(&rig, 8);
    rig.send(Vec::new(), &[(0, 3)]);
    drop(rig.replace_beside(first.next(), of("{m: lathe}, {m: drill}, {m: press}")));
    answer(&rig, 9);
    until("all are stored", || rig.receipts() == 7);
    assert_eq!(rig.stop().metrics.late_samples.get(), 0);
    let rows = rows(&options.path);
    let parts = rows.iter().filter(|row| row.key.ends_with("press"));
    let parts: Vec<_> = parts.map(data).collect();
    let told: Vec<_> = parts.iter().map(|data| data["part"].as_i64()).collect();
    assert_eq!(told, [Some(7), Some(8), Some(9)], "{parts:#?}");
    assert!(
        parts
            .iter()
            .all(|data| data["gap"] != true && data["snapshot"] == "complete"),
        "{parts:#?}"
    );
}

#[test]
fn what_a_reload_leaves_out_goes_on_when_it_comes_back() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let both = plan(&folder.0, &["filler", "capper"]);
    let one = plan(&folder.0, &["capper"]);
    let mut rig = Rig::start(&options, Arc::clone(&both), NOBODY.to_owned());
    let first = Generation::default().next();
    rig.online();
    rig.send(Vec::new(), &[(0, 20), (1, 5)]);
    rig.send(Vec::new(), &[(0, 21)]);
    // Not stored before the core is replaced, as far as the engine has not got to it; and stored after it.
    drop(rig.replace(first, one, &[]));
    rig.online();
    rig.send(Vec::new(), &[(0, 6)]);
    until("all that came is stored", || rig.receipts() == 5);
    drop(rig.replace(first.next(), both, &[]));
    rig.online();
    rig.send(Vec::new(), &[(0, 22)]);
    until("the last receipt", || rig.receipts() == 7);
    rig.stop();
    let filler: Vec<_> = rows(&options.path)
        .into_iter()
        .filter(|row| row.key.ends_with("filler"))
        .collect();
    let sequences: Vec<&str> = filler
        .iter()
        .map(|row| header(row, "ce_sequence").rsplit('-').next().unwrap_or_default())
        .map(|sequence| sequence.trim_start_matches('0'))
        .collect();
    assert_eq!(sequences, ["1", "2", "3"]);
    let ids: std::collections::BTreeSet<&str> = filler.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), 3, "no id twice");
    let last = filler.last().expect("there is a last one");
    assert_eq!(header(last, "ce_emission"), "live", "it has a baseline: {last:?}");
    let value: serde_json::Value = serde_json::from_slice(&last.value).expect("it is JSON");
    assert_eq!(value["gap"], true, "nobody watched meanwhile: {value}");
}

#[test]
fn what_an_ended_source_sends_is_taken_for_no_other_tag() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mut rig = Rig::start(&options, plan(&folder.0, &["filler"]), NOBODY.to_owned());
    let late = rig.intake.clone();
    rig.online();
    rig.send(Vec::new(), &[(0, 20)]);
    drop(rig.replace(Generation::default().next(), plan(&folder.0, &["capper"]), &[]));
    let new = std::mem::replace(&mut rig.intake, late);
    rig.send(Vec::new(), &[(0, 21)]);
    rig.intake = new;
    rig.online();
    rig.send(Vec::new(), &[(0, 5)]);
    until("the receipts", || rig.receipts() == 4);
    assert_eq!(rig.stop().metrics.late_samples.get(), 1);
    let keys: Vec<String> = rows(&options.path)
        .iter()
        .map(|row| row.key.to_string())
        .collect();
    let of = |name: &str| keys.iter().filter(|key| key.ends_with(name)).count();
    assert_eq!((of("filler"), of("capper")), (1, 1), "{keys:?}");
}

#[test]
fn a_reload_hands_on_where_sources_left_off_once_that_is_stored() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mut rig = Rig::start(&options, plan(&folder.0, &["filler"]), NOBODY.to_owned());
    rig.online();
    for value in 20..30 {
        rig.send(Vec::new(), &[(0, value)]);
    }
    let told = rig.replace(Generation::default().next(), plan(&folder.0, &["filler"]), &[]);
    let mut shelf = told.blocking_recv().expect("it is told");
    assert_eq!(shelf.take("plc").get("last"), Some("[(0, 29)]"));
    assert_eq!(rig.receipts(), 11, "everything before is stored");
    rig.stop();
    // The next process finds the same.
    let (_store, restored) = Store::open(&options).expect("the store opens");
    let mut shelf = of_sources(&restored.cells);
    assert_eq!(shelf.take("plc").get("last"), Some("[(0, 29)]"));
}
