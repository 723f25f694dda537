use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

/// A device in memory.
#[derive(Default)]
struct Model {
    readable: BTreeSet<u32>,
    /// Most registers of a request.
    limit: Option<u32>,
    /// A request may not reach over these.
    seams: BTreeSet<u32>,
    /// What it answers to everything.
    exception: Option<ExceptionCode>,
    /// It says nothing where it should refuse.
    is_shy: bool,
    /// It answers nothing from this question on.
    dies_after: Option<usize>,
    asked: Vec<Extent>,
}

impl Ask for Model {
    async fn ask(&mut self, extent: Extent) -> Result<Answer, Lost> {
        self.asked.push(extent);
        if self.dies_after.is_some_and(|after| self.asked.len() > after) {
            return Ok(Answer::Silence(Failure::Timeout(Duration::from_secs(1))));
        }
        if let Some(exception) = self.exception {
            return Ok(Answer::Exception(exception));
        }
        let is_whole = (extent.start..extent.end()).all(|at| self.readable.contains(&at));
        let is_short = self.limit.is_none_or(|limit| extent.len <= limit);
        let is_over = self.seams.range(extent.start + 1..extent.end()).next().is_some();
        Ok(if is_whole && is_short && !is_over {
            Answer::Words(vec![0; extent.len as usize])
        } else if self.is_shy {
            Answer::Silence(Failure::Timeout(Duration::from_secs(1)))
        } else {
            Answer::Exception(ExceptionCode::IllegalDataAddress)
        })
    }

    async fn is_there(&mut self) -> Result<bool, Lost> {
        Ok(self.dies_after.is_none_or(|after| self.asked.len() <= after))
    }
}

impl Model {
    fn of(ranges: &[(u32, u32)]) -> Self {
        let readable = ranges.iter().flat_map(|(from, to)| *from..=*to).collect();
        Self {
            readable,
            ..Self::default()
        }
    }

    /// Searches; what was found, as first and last addresses.
    async fn find(&mut self, window: (u32, u32), step: u32) -> (Vec<(u32, u32)>, Ranges) {
        let mut found = Ranges::default();
        let extent = Extent {
            start: window.0,
            len: window.1 - window.0 + 1,
        };
        find(self, extent, step, 125, &mut found)
            .await
            .expect("the model is never lost");
        let ranges = found
            .stretches
            .iter()
            .map(|stretch| (stretch.start, stretch.end() - 1));
        (ranges.collect(), found)
    }

    /// What the module promises of the number of questions.
    fn bound(&self, window: (u32, u32), step: u32) -> usize {
        let log = |number: u32| number.next_power_of_two().ilog2();
        let stretches = stretches(&self.readable, window);
        let size = window.1 - window.0 + 1;
        let most = self.limit.unwrap_or(125);
        let cuts = self
            .seams
            .iter()
            .filter(|seam| (window.0..=window.1).contains(seam))
            .count()
            + 2;
        let cuts = u32::try_from(cuts).expect("few");
        let count = u32::try_from(stretches.len()).expect("few");
        let bound =
            size / most + size / step + count * (6 + log(125) + 2 * log(step)) + cuts * (4 + log(125)) + 2;
        bound as usize
    }
}

/// The readable stretches of a window.
fn stretches(readable: &BTreeSet<u32>, window: (u32, u32)) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for &at in readable.range(window.0..=window.1) {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => found.push((at, at)),
        }
    }
    found
}

/// Numbers that look as if drawn by chance, the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        // Knuth's MMIX generator; its upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap_or_default()
    }
}

#[tokio::test]
async fn edges_are_exact() {
    let ranges = [(0, 9), (100, 349), (351, 351), (1003, 1200)];
    let mut model = Model::of(&ranges);
    let (found, known) = model.find((0, 1999), 25).await;
    // 351 lies alone between two addresses that were asked for.
    assert_eq!(found, [(0, 9), (100, 349), (1003, 1200)]);
    assert_eq!((known.longest, known.limit), (125, None));
    assert!(
        model.asked.len() <= model.bound((0, 1999), 25),
        "{}",
        model.asked.len()
    );
    let (found, _) = Model::of(&ranges).find((0, 1999), 1).await;
    assert_eq!(found, ranges);
}

#[tokio::test]
async fn any_device_is_found_as_it_is_in_few_requests() {
    let mut chance = Chance(7);
    for round in 0..1_000 {
        let mut model = Model::default();
        let mut at = chance.below(40);
        while at < 900 {
            let end = at + 1 + chance.below(if round % 3 == 0 { 4 } else { 300 });
            model.readable.extend(at..end);
            at = end + 1 + chance.below(120);
        }
        if round % 2 == 0 {
            model.limit = Some(1 + chance.below(124));
        }
        if round % 5 == 0 {
            model.seams = (0..3).map(|_| 1 + chance.below(900)).collect();
        }
        let (first, step) = (chance.below(50), [1, 7, 10, 25][round % 4]);
        let window = (first, first + 700 + chance.below(300));
        let (found, known) = model.find(window, step).await;
        let truth = stretches(&model.readable, window);
        for range in &found {
            assert!(truth.contains(range), "round {round}: {range:?} of {truth:?}");
        }
        for (from, to) in truth.iter().filter(|range| !found.contains(range)) {
            // Only what no question could hit: no address of the grid lies in it.
            let is_hit = from.is_multiple_of(step) || from / step != to / step || *from <= first;
            assert!(
                !is_hit,
                "round {round}: {from} to {to} was missed with a step of {step}"
            );
        }
        if let Some(limit) = known.limit {
            assert_eq!(Some(limit), model.limit, "round {round}");
        }
        let longest = truth.iter().map(|(from, to)| to - from + 1).max().unwrap_or(0);
        if model.seams.is_empty()
            && model.limit.is_some_and(|limit| limit > 1 && longest > limit + 1)
            && step == 1
        {
            assert_eq!(known.limit, model.limit, "round {round}");
        }
        let bound = if model.limit.is_some_and(|limit| limit < 8) {
            // Each step may be longer than the limit then.
            model.bound(window, step) * 2
        } else {
            model.bound(window, step)
        };
        assert!(
            model.asked.len() <= bound,
            "round {round}: {} questions, at most {bound}; {} stretches, limit {:?}, step {step}, seams {:?}",
            model.asked.len(),
            truth.len(),
            model.limit,
            model.seams
        );
    }
}

#[tokio::test]
async fn a_limit_is_told_from_an_edge_and_from_a_boundary() {
    let mut limited = Model::of(&[(0, 199)]);
    limited.limit = Some(20);
    let (found, known) = limited.find((0, 299), 25).await;
    assert_eq!((found, known.limit), (vec![(0, 199)], Some(20)));
    assert_eq!(known.seams, [0_u32; 0]);

    let mut divided = Model::of(&[(0, 199)]);
    divided.seams.insert(50);
    let (found, known) = divided.find((0, 299), 25).await;
    assert_eq!((found, known.limit, known.longest), (vec![(0, 199)], None, 125));
    assert_eq!(known.seams, [50]);

    let mut single = Model::of(&[(0, 19)]);
    single.limit = Some(1);
    let (found, known) = single.find((0, 29), 5).await;
    assert_eq!((found, known.limit), (vec![(0, 19)], Some(1)));
}

#[tokio::test]
async fn what_a_device_does_not_have_is_asked_for_once() {
    let mut model = Model {
        exception: Some(ExceptionCode::IllegalFunction),
        ..Model::default()
    };
    let (found, known) = model.find((0, 9_999), 25).await;
    assert!(found.is_empty() && known.is_unsupported && known.stopped.is_none());
    assert_eq!(model.asked.len(), 1);
}

#[tokio::test]
async fn a_device_that_has_failed_or_is_busy_is_left_alone_and_that_is_said() {
    for (code, questions, told) in [
        (ExceptionCode::ServerDeviceFailure, 20, "exception 04"),
        (ExceptionCode::ServerDeviceBusy, 1, "busy"),
    ] {
        let mut model = Model {
            exception: Some(code),
            ..Model::default()
        };
        let (found, known) = model.find((0, 9_999), 25).await;
        assert!(found.is_empty());
        assert_eq!(model.asked.len(), questions);
        let (_, why) = known.stopped.expect("it is said");
        assert!(why.contains(told), "{why}");
    }
}

#[tokio::test]
async fn a_device_that_says_nothing_in_place_of_a_refusal_is_found_too_and_one_that_died_is_left_alone() {
    let mut shy = Model::of(&[(0, 99), (150, 160)]);
    shy.is_shy = true;
    let (found, known) = shy.find((0, 299), 25).await;
    assert_eq!(found, [(0, 99), (150, 160)]);
    assert!(known.silences > 3 && known.stopped.is_none());

    let mut empty = Model::of(&[]);
    empty.is_shy = true;
    let (_, known) = empty.find((0, 9_999), 25).await;
    assert_eq!(known.silences, MOST_SILENCES);
    assert!(known.stopped.is_some());

    let mut dead = Model::of(&[(0, 999)]);
    dead.dies_after = Some(3);
    let (found, known) = dead.find((0, 999), 25).await;
    assert_eq!(found, [(0, 374)], "what was found is kept");
    assert_eq!(
        known.stopped.map(|(_, why)| why).as_deref(),
        Some("the unit does not answer any more")
    );
    assert_eq!(dead.asked.len(), 3 + 3);
}
