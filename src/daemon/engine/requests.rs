//! What the engine asks sources for, and where their answers arrive.
//!
//! An answer is a batch like any other up to the core: in the order of its source, within the intake's bound, and dropped where its
//! source ended with its plan. So is what was asked by the core of that plan.

use std::collections::HashMap;

use floorgate_adapter_api::{Answer, Request, Requester, Requests, Sample, SourceId, Unsent, requests};
use floorgate_core::{Input, Kept};
use floorgate_sample::Timestamp;
use tracing::debug;

use super::Running;
use super::kept::{Numbers, Outliving};

/// Requests that wait at one source at most.
const WAITING: usize = 256;

/// The ways to running sources, by their numbers in the plan.
#[derive(Default)]
pub struct Requesters(HashMap<SourceId, Way>);

struct Way {
    requester: Requester,
    /// The numbers under which a source of an earlier plan knows its tags.
    tags: Option<Numbers>,
}

impl Requesters {
    /// Adds a way to a source. Returns what it takes requests from.
    pub fn add(&mut self, source: SourceId) -> Requests {
        let (requester, taken) = requests(WAITING);
        self.0.insert(
            source,
            Way {
                requester,
                tags: None,
            },
        );
        taken
    }

    /// Adds the ways to sources that start beside those that run.
    pub fn extend(&mut self, started: Self) {
        self.0.extend(started.0);
    }

    /// Another plan replaces theirs: the ways to the kept sources are known by their numbers in it.
    pub fn follow(&mut self, kept: &[Kept], outliving: &Outliving) {
        let mut ways = std::mem::take(&mut self.0);
        for kept in kept {
            self.0
                .extend(ways.remove(&kept.before).map(|way| (kept.now, way)));
        }
        for (source, tags) in outliving.ways_back() {
            if let Some(way) = self.0.get_mut(&source) {
                way.tags = Some(tags);
            }
        }
    }

    /// Asks a source.
    ///
    /// # Errors
    /// The request comes back where the source does not run, or where too many wait there.
    pub fn ask(&self, source: SourceId, mut request: Request) -> Result<(), Unsent> {
        let Some(Way { requester, tags }) = self.0.get(&source) else {
            let reason = "the source does not run";
            return Err(Unsent { request, reason });
        };
        if let Some(numbers) = tags {
            request.tags = request.tags.iter().filter_map(|tag| numbers.get(*tag)).collect();
        }
        requester.try_send(request)
    }

    /// Asks sources for what rules wait for. Gives back, as failed, what cannot be asked.
    pub fn ask_all(&self, requests: Vec<floorgate_core::Request>) -> Vec<(SourceId, Answer)> {
        let unsent = requests.into_iter().filter_map(|request| {
            let source = request.source;
            let asked = Request {
                id: request.id,
                tags: request.tags,
            };
            let unsent = self.ask(source, asked).err()?;
            let answer = Answer {
                request: unsent.request.id,
                result: Err(unsent.reason.to_owned()),
            };
            Some((source, answer))
        });
        unsent.collect()
    }
}

impl Running {
    /// Asks sources for what rules wait for, once that they do is stored. What cannot be asked is answered at once, as failed.
    pub(super) fn ask(&mut self) {
        let requests = self.engine.core.take_requests();
        for (source, answer) in self.requesters.ask_all(requests) {
            self.answered(source, &answer, self.reached, &[]);
        }
    }

    /// Takes the answer to a request with what was read. It may be newer than changes that are on their way, so change detection does
    /// not see it.
    pub(super) fn answered(
        &mut self,
        source: SourceId,
        answer: &Answer,
        received: Timestamp,
        samples: &[Sample],
    ) {
        debug!(
            source = self.engine.core.source_name(source),
            request = answer.request.0,
            samples = samples.len(),
            failed = answer.result.as_ref().err(),
            "a request is answered"
        );
        let now = self.now();
        let input = Input {
            source,
            received,
            notices: &[],
            samples,
            now,
        };
        let rule = self.engine.core.asking(answer.request);
        self.taps.each(|tap| tap.answer(answer, rule, input));
        self.engine.core.answer(answer, input, &mut self.events);
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::{RequestId, TagId};

    use super::super::Generation;

    use super::*;

    #[test]
    fn each_source_gets_its_own_requests_and_what_nobody_takes_comes_back() {
        let request = |id| Request {
            id: RequestId(id),
            tags: vec![TagId(0)],
        };
        let mut requesters = Requesters::default();
        let mut taken: Vec<Requests> = (0..2).map(|source| requesters.add(SourceId(source))).collect();
        assert_eq!(requesters.ask(SourceId(1), request(1)), Ok(()));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let got = runtime.expect("there is a runtime").block_on(taken[1].next());
        assert_eq!(got, request(1));
        taken.clear();
        for source in [0, 1, 2] {
            let unsent = requesters.ask(SourceId(source), request(2)).unwrap_err();
            assert_eq!(unsent.request, request(2));
        }
        let none = Requesters::default().ask(SourceId(0), request(3)).unwrap_err();
        assert_eq!(none.reason, "the source does not run");
    }

    #[test]
    fn a_kept_source_is_asked_under_the_numbers_that_it_knows() {
        let mut requesters = Requesters::default();
        let taken = requesters.add(SourceId(1));
        let kept = [Kept {
            before: SourceId(1),
            now: SourceId(0),
            tags: vec![(TagId(3), TagId(7)), (TagId(4), TagId(8))],
        }];
        let mut outliving = Outliving::default();
        outliving.follow(Generation::default(), &kept);
        requesters.follow(&kept, &outliving);
        let request = |tags: &[u32]| Request {
            id: RequestId(1),
            tags: tags.iter().copied().map(TagId).collect(),
        };
        assert!(requesters.ask(SourceId(1), request(&[7])).is_err());
        assert_eq!(requesters.ask(SourceId(0), request(&[8, 7])), Ok(()));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let got = runtime.expect("there is a runtime").block_on(taken.next());
        assert_eq!(got, request(&[4, 3]));
    }
}
