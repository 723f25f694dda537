//! Nothing waits for an engine that has nothing to do.
//!
//! Times are those of the quickest of some rounds, so that a busy machine does not decide.

use floorgate_adapter_api::Requests;

use super::super::patience::IDLE_FLUSH;
use super::*;

/// Well below the time for which an idle engine waits by itself, and well above what anything takes.
const AT_ONCE: Duration = Duration::from_millis(400);
/// How often the store is measured where something is stored.
const ONCE: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_millis(200);

/// An oven whose temperature is read when it was hot for some time. It is online, cold, and all that was told is delivered.
struct Idle {
    rig: Rig,
    requests: Requests,
    sent: usize,
    _folder: Folder,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

/// The plan of an oven whose power is read when its temperature triggers.
fn oven(folder: &Folder, when: &str) -> Arc<Plan> {
    let mapping = format!(
        "mapping: all\nsource: plc\nequipment: acme/busan/filling/line1/oven\n\
         tags:\n  temp: {{node: 'nsu=urn:x;s=temp', unit: CEL}}\n  power: {{node: 'nsu=urn:x;s=power'}}\n\
         events:\n  - {{type: OvenHot, domain: mes, trigger: temp, {when}, snapshot: [power], data: {{power: power}}}}\n"
    );
    plan_of(&folder.0, &mapping)
}

impl Idle {
    fn new() -> Self {
        let (folder, cluster) = (Folder::new(), broker());
        let plan = oven(&folder, "above: 80, hold: 200ms");
        let of_rules = plan.rules.iter().map(|rule| &rule.topic);
        for topic in plan.sources.iter().map(|source| &source.topic).chain(of_rules) {
            cluster.create_topic(topic, 1, 1).expect("the topic is made");
        }
        let rig = Rig::start(&Options::new(folder.store()), plan, cluster.bootstrap_servers());
        let mut requesters = Requesters::default();
        let requests = requesters.add(SourceId(0));
        let _ = rig
            .sender
            .send(Message::Sources(Generation::default(), requesters));
        rig.online();
        let mut idle = Self {
            rig,
            requests,
            sent: 1,
            _folder: folder,
            _cluster: cluster,
        };
        idle.send(20);
        until("all is delivered", || idle.is_delivered());
        idle
    }

    /// A temperature, stored.
    fn send(&mut self, temperature: i64) {
        self.rig.send(Vec::new(), &[(0, temperature)]);
        self.sent += 1;
        until("it is stored", || self.rig.receipts() == self.sent);
    }

    /// Answers a request.
    fn answer(&mut self, request: RequestId) {
        let result = Ok(());
        self.rig
            .send_answer(Vec::new(), &[(1, 7)], Some(Answer { request, result }));
        self.sent += 1;
        until("it is stored", || self.rig.receipts() == self.sent);
    }

    /// How many were stored; what waited for a partition is counted where it went.
    fn events(&self) -> u64 {
        let stored = |lane: &Lane| match lane.partition {
            Some(_) => lane.last_sequence,
            None => lane.depth(),
        };
        self.rig.lanes().iter().map(stored).sum()
    }

    fn is_delivered(&self) -> bool {
        let lanes = self.rig.lanes();
        !lanes.is_empty() && lanes.iter().all(|lane| lane.depth() == 0)
    }

    /// Waits until the engine was idle for as long as it waits by itself.
    fn rest(&self) {
        let begun = Instant::now();
        until("it has nothing to do", || {
            self.is_delivered() && begun.elapsed() > Duration::from_millis(250)
        });
    }
}

/// How long it took after the oven had been hot for long enough, in the quickest of some rounds.
fn quickest(idle: &mut Idle, mut round: impl FnMut(&mut Idle)) -> Duration {
    let mut times = Vec::new();
    for _ in 0..4 {
        idle.rest();
        let hot = Instant::now();
        idle.send(90);
        round(idle);
        times.push(hot.elapsed().saturating_sub(HOLD));
        idle.send(20);
    }
    times.into_iter().min().unwrap_or(LONG)
}

#[test]
fn what_a_timer_asks_for_is_asked_for_at_once_and_its_event_is_told_at_once() {
    let mut idle = Idle::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("there is a runtime");
    let mut delivered = Vec::new();
    let asked = quickest(&mut idle, |idle| {
        let before = idle.events();
        let request = runtime
            .block_on(async { tokio::time::timeout(LONG, idle.requests.next()).await })
            .expect("it is asked for");
        idle.answer(request.id);
        let told = Instant::now();
        assert_eq!(idle.events(), before + 1);
        until("it is delivered, and that is stored", || idle.is_delivered());
        delivered.push(told.elapsed());
    });
    assert!(asked < AT_ONCE, "asked for after {asked:?}");
    let delivered = delivered.into_iter().min().unwrap_or(LONG);
    assert!(delivered < AT_ONCE, "a delivery is stored after {delivered:?}");
    idle.rig.stop();
}

/// Nobody can be asked, since the source does not run any more: that is its answer.
#[test]
fn an_event_whose_values_nobody_can_be_asked_for_is_stored_at_once() {
    let mut idle = Idle::new();
    idle.requests = Requesters::default().add(SourceId(0));
    let stored = quickest(&mut idle, |idle| {
        let before = idle.events();
        until("its event is stored", || idle.events() > before);
    });
    assert!(stored < AT_ONCE, "stored after {stored:?}");
    idle.rig.stop();
}

#[test]
fn an_engine_that_has_nothing_to_do_waits_and_one_that_has_does_not() {
    let folder = Folder::new();
    let plan = oven(&folder, "above: 80");
    let made = Made::new(&Options::new(folder.store()), plan, NOBODY.to_owned());
    let mut running = Running::new(made.engine);
    let commit = |running: &mut Running| {
        running.commit().expect("it is stored");
        running.upkeep = Upkeep::new();
        running.look();
    };
    let apply = |running: &mut Running, notices: &[Notice], samples: &[Sample]| {
        let input = Input {
            source: SourceId(0),
            received: Timestamp::now(),
            notices,
            samples,
            now: running.now(),
        };
        running.engine.core.apply(input, &mut running.events);
    };
    commit(&mut running);
    assert!(running.patience() > IDLE_FLUSH, "nothing waits for Kafka");
    assert!(!running.is_due());
    let measure = |running: &mut Running| {
        until("it is time", || running.upkeep.wait().is_zero());
        running.maintain().expect("it is measured");
    };
    measure(&mut running);
    assert!(
        running.upkeep.wait() > ONCE,
        "what is shown of the store stays so"
    );

    apply(&mut running, &[Notice::Online(Continuity::New)], &[]);
    assert!(!running.events.is_empty());
    assert_eq!(running.patience(), Duration::ZERO, "an event waits");
    assert!(running.is_due());
    running.commit().expect("it is stored");
    running.maintain().expect("it is not yet time");
    assert!(running.upkeep.wait() <= ONCE, "the store is measured soon");
    measure(&mut running);
    assert!(running.upkeep.wait() <= ONCE, "a delivery may change it");
    commit(&mut running);
    assert!(!running.patience().is_zero());
    assert!(running.patience() <= IDLE_FLUSH, "the log may have to be copied");
    commit(&mut running);
    assert!(running.patience() <= IDLE_FLUSH, "a delivery may come");

    let cold_and_hot = [20, 90].map(|value| sample(0, value));
    apply(&mut running, &[], &cold_and_hot);
    assert!(running.events.is_empty() && running.engine.core.has_requests());
    assert_eq!(running.patience(), Duration::ZERO, "a request waits");
    assert!(running.is_due());
    commit(&mut running);
    assert!(!running.engine.core.has_requests());
    assert_eq!(
        running.patience(),
        Duration::ZERO,
        "that nobody can be asked made an event"
    );
}
