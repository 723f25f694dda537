//! The scripted adapter: the promises of every adapter on a stage, and scripts.

use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Demands, Planned, Rig, Seen, plan};
use floorgate_adapter_api::{Adapter, Notice, Quality, QualityClass, Value};
use floorgate_adapter_scripted::{Scripted, Stage};

struct StageRig(Arc<Stage>);

impl StageRig {
    fn new() -> Self {
        let stage = Arc::new(Stage::default());
        stage.refuse("refused");
        Self(stage)
    }
}

impl Rig for StageRig {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(Scripted::on(Arc::clone(&self.0)))
    }

    fn settings(&self) -> String {
        "follow: true\n".to_owned()
    }

    fn address(&self, tag: usize) -> String {
        format!("{{signal: s{tag}}}")
    }

    fn refused_address(&self) -> String {
        "{signal: refused}".to_owned()
    }

    fn shown(&self, _tag: usize, value: i16) -> Value {
        Value::Int(value.into())
    }

    async fn start(&mut self) {
        self.0.start();
    }

    async fn stop(&mut self) {
        self.0.stop();
    }

    async fn set(&mut self, tag: usize, value: i16) {
        self.0.set(&format!("s{tag}"), Value::Int(value.into()));
    }

    const SPOILT: &'static [QualityClass] = &[QualityClass::Uncertain, QualityClass::Bad];

    async fn spoil(&mut self, tag: usize, class: QualityClass) {
        let quality = match class {
            QualityClass::Good => Quality::GOOD,
            QualityClass::Uncertain => Quality::UNCERTAIN,
            QualityClass::Bad => Quality::BAD_DEVICE_FAILURE,
        };
        self.0.spoil(&format!("s{tag}"), quality);
    }

    fn connections(&self) -> Option<usize> {
        None
    }
}

mod promises {
    floorgate_adapter_api::conformance_tests!(super::StageRig::new());
}

const TAGS: [&str; 2] = ["{signal: temperature}", "{signal: state}"];

fn planned(adapter: &Scripted, settings: &str) -> Planned {
    let addresses: Vec<String> = TAGS.iter().map(ToString::to_string).collect();
    Planned::new(
        adapter,
        settings,
        &addresses,
        &std::env::temp_dir(),
        Duration::from_secs(15),
    )
}

#[tokio::test]
async fn a_script_is_played_step_by_step() {
    let stage = Arc::new(Stage::default());
    let script = "
script:
  - online: new
  - samples: {temperature: 23.7, state: running}
  - stored
  - bad: {state: 0x80310000}
  - trigger: go
  - gap: the queue overflowed
  - samples: {temperature: 24}
  - offline: the cable was cut
  - wait: 1ms
  - online: resumed
  - samples: {state: true}
";
    let mut run = planned(&Scripted::on(Arc::clone(&stage)), script).run(AMPLE);
    let first = run
        .until("the script waits", |seen| {
            seen.sample_of(1).is_some_and(|s| s.quality.is_bad())
        })
        .await;
    assert!(first[0].is_online());
    assert!(first.iter().any(|seen| seen.shows(0, &Value::Float64(23.7))));
    assert!(first.iter().any(|seen| seen.shows(1, &Value::text("running"))));
    assert_eq!(
        first[3].sample_of(1).map(|sample| sample.quality),
        Some(Quality::BAD_NO_COMMUNICATION)
    );
    assert!(
        run.next(Duration::from_millis(50)).await.is_none(),
        "the trigger was not pulled"
    );
    stage.pull("go");
    let rest = run
        .until_shown("the script ends", &[(1, Value::Bool(true))])
        .await;
    assert!(rest[0].is_gap_of(0));
    assert!(rest[1].shows(0, &Value::Int(24)));
    assert!(
        matches!(&rest[2], Seen::Notice(Notice::Offline { reason }) if reason.told == "the cable was cut")
    );
    run.stop("after the script").await;
}

#[tokio::test]
async fn a_step_that_waits_for_the_store_does_so() {
    let script = "script: [{online: new}, {samples: {state: 1}}, stored, {samples: {state: 2}}]";
    let mut run = planned(&Scripted::default(), script).run(AMPLE);
    run.drop_receipts = true;
    run.until_shown("the first value arrives", &[(1, Value::Int(1))])
        .await;
    assert!(
        run.next(Duration::from_millis(50)).await.is_none(),
        "nothing was stored"
    );
    run.stop("while it waits").await;
}

#[tokio::test]
async fn who_asks_is_answered_with_what_the_script_showed_last() {
    let stage = Arc::new(Stage::default());
    let script = "
script:
  - samples: {weight: 1}
  - trigger: go
  - online: new
  - samples: {weight: 12.5, done: true}
  - bad: {extra: 0x80310000}
  - trigger: lose
  - offline: the cable was cut
";
    let addresses = [
        "{signal: done}",
        "{signal: weight}",
        "{signal: extra}",
        "{signal: other}",
    ];
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let demands = Demands {
        on_demand: vec![1],
        snapshots: vec![vec![0, 1]],
    };
    let planned = Planned::demanding(
        &Scripted::on(Arc::clone(&stage)),
        script,
        &addresses,
        &demands,
        &std::env::temp_dir(),
        Duration::from_secs(15),
    );
    let mut run = planned.run(AMPLE);
    run.ask(&[1]);
    assert!(run.answer().await.answer.result.is_err(), "it is not online yet");
    stage.pull("go");
    let seen = run
        .until("the script waits", |seen| seen.sample_of(2).is_some())
        .await;
    assert!(
        !seen.iter().any(|seen| seen.sample_of(1).is_some()),
        "it is told only to who asks: {seen:#?}"
    );
    let request = run.ask(&[1, 0, 2, 3]);
    let answered = run.answer().await;
    assert_eq!(
        (answered.answer.request, answered.answer.result),
        (request, Ok(()))
    );
    let read: Vec<_> = answered
        .samples
        .into_iter()
        .map(|sample| (sample.tag.0, sample.value, sample.quality))
        .collect();
    assert_eq!(
        read,
        [
            (1, Some(Value::Float64(12.5)), Quality::GOOD),
            (0, Some(Value::Bool(true)), Quality::GOOD),
            (2, None, Quality::BAD_NO_COMMUNICATION),
            (3, None, Quality::BAD),
        ]
    );
    stage.pull("lose");
    run.until("the loss is told", Seen::is_offline).await;
    run.ask(&[1]);
    assert!(run.answer().await.answer.result.is_err(), "it is lost");
    run.stop("after the script").await;
}

#[test]
fn mistakes_of_a_script_are_placed() {
    let script = "script:\n  - samples: {temperatur: 1}\n  - wait: soon\n  - ofline: x\n";
    let addresses: Vec<String> = TAGS.iter().map(ToString::to_string).collect();
    let (source, problems) = plan(&Scripted::default(), script, &addresses, &std::env::temp_dir());
    assert!(source.is_none());
    let lines: Vec<u32> = problems
        .list()
        .iter()
        .filter_map(|problem| problem.span)
        .map(|span| span.line)
        .collect();
    assert_eq!(lines, [3, 4], "{:#?}", problems.list());
    let script = "script:\n  - samples: {temperatur: 1}\n";
    let (_, problems) = plan(&Scripted::default(), script, &addresses, &std::env::temp_dir());
    assert!(
        problems.list()[0]
            .message
            .contains("`temperatur`, which no tag shows"),
        "{:#?}",
        problems.list()
    );
}
