//! What the engine asks sources for, and where their answers arrive.
//!
//! An answer is a batch like any other up to the core: in the order of its source, within the intake's bound, and dropped where its
//! source's plan was replaced. So is what was asked by the core of that plan.

use floorgate_adapter_api::{Answer, Request, Requester, Requests, Sample, SourceId, Unsent, requests};
use floorgate_core::Input;
use floorgate_sample::Timestamp;
use tracing::debug;

use super::Running;

/// Requests that wait at one source at most.
const WAITING: usize = 256;

/// The ways to the sources of one plan, by their numbers.
#[derive(Default)]
pub struct Requesters(Vec<Requester>);

impl Requesters {
    /// Ways to so many sources, and what each of them takes requests from.
    pub fn of(sources: usize) -> (Self, Vec<Requests>) {
        let (requesters, taken) = (0..sources).map(|_| requests(WAITING)).unzip();
        (Self(requesters), taken)
    }

    /// Asks a source.
    ///
    /// # Errors
    /// The request comes back where the source does not run, or where too many wait there.
    pub fn ask(&self, source: SourceId, request: Request) -> Result<(), Unsent> {
        match self.0.get(source.index()) {
            Some(requester) => requester.try_send(request),
            None => Err(Unsent {
                request,
                reason: "the source does not run",
            }),
        }
    }
}

impl Running {
    /// Asks sources for what rules wait for, once that they do is stored. What cannot be asked is answered at once, as failed.
    pub(super) fn ask(&mut self) {
        for request in self.engine.core.take_requests() {
            let (source, id) = (request.source, request.id);
            let request = Request {
                id,
                tags: request.tags,
            };
            if let Err(unsent) = self.requesters.ask(source, request) {
                let answer = Answer {
                    request: unsent.request.id,
                    result: Err(unsent.reason.to_owned()),
                };
                self.answered(source, &answer, Timestamp::now(), &[]);
            }
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
        self.engine.core.answer(answer, input, &mut self.events);
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::{RequestId, TagId};

    use super::*;

    #[test]
    fn each_source_gets_its_own_requests_and_what_nobody_takes_comes_back() {
        let request = |id| Request {
            id: RequestId(id),
            tags: vec![TagId(0)],
        };
        let (requesters, mut taken) = Requesters::of(2);
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
}
