//! The bounded way from the gateway to a source, for what it is asked to do.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use floorgate_sample::{Answer, RequestId, Sample, TagId, Timestamp};
use tokio::sync::mpsc;

use crate::{Batch, Closed, Intake};

/// Read these tags in one request, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number, which the answer has too.
    pub id: RequestId,
    /// The tags, each once.
    pub tags: Vec<TagId>,
}

/// The gateway's end: asks one source.
#[derive(Clone, Debug)]
pub struct Requester(mpsc::Sender<Request>);

/// A request that no source will see, so that whoever made it answers it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unsent {
    /// The request.
    pub request: Request,
    /// Why it was not sent.
    pub reason: &'static str,
}

/// The source's end. A clone takes from the same requests.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    waiting: tokio::sync::Mutex<mpsc::Receiver<Request>>,
    /// Requests that were taken and have no answer yet.
    open: Mutex<Vec<RequestId>>,
}

/// A way on which at most `capacity` requests wait; at least one does.
#[must_use]
pub fn requests(capacity: usize) -> (Requester, Requests) {
    let (sender, waiting) = mpsc::channel(capacity.max(1));
    let inbox = Inbox {
        waiting: tokio::sync::Mutex::new(waiting),
        open: Mutex::default(),
    };
    (Requester(sender), Requests(Arc::new(inbox)))
}

impl Requester {
    /// Asks the source, without waiting.
    ///
    /// # Errors
    /// The request comes back where too many wait already or the source is gone.
    pub fn try_send(&self, request: Request) -> Result<(), Unsent> {
        self.0.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(request) => Unsent {
                request,
                reason: "too many requests wait at the source",
            },
            mpsc::error::TrySendError::Closed(request) => Unsent {
                request,
                reason: "the source has ended",
            },
        })
    }
}

impl Requests {
    /// The next request. No request is lost where this is dropped before it is done. Where nobody can ask any more, it waits for ever.
    pub async fn next(&self) -> Request {
        let next = self.0.waiting.lock().await.recv().await;
        let Some(request) = next else {
            return pending().await;
        };
        self.open().push(request.id);
        request
    }

    /// Answers a request that was taken: with a sample of each of its tags, or with the reason why they could not be read. It waits
    /// while the gateway has no room.
    ///
    /// # Errors
    /// [`Closed`] when the gateway has stopped.
    pub async fn answer(
        &self,
        intake: &Intake,
        request: RequestId,
        read: Result<Vec<Sample>, String>,
    ) -> Result<(), Closed> {
        let (samples, result) = match read {
            Ok(samples) => (samples, Ok(())),
            Err(reason) => (Vec::new(), Err(reason)),
        };
        let batch = Batch {
            source: intake.source(),
            received: Timestamp::now(),
            notices: Vec::new(),
            samples,
            bookmarks: Vec::new(),
            answer: Some(Answer { request, result }),
            receipt: None,
        };
        intake.send(batch).await?;
        self.open().retain(|open| *open != request);
        Ok(())
    }

    /// Answers as failed what was taken and not answered. For whoever runs a source, when a run of it has ended.
    ///
    /// # Errors
    /// [`Closed`] when the gateway has stopped.
    pub async fn fail_open(&self, intake: &Intake, reason: &str) -> Result<(), Closed> {
        let open = self.open().clone();
        for request in open {
            self.answer(intake, request, Err(reason.to_owned())).await?;
        }
        Ok(())
    }

    fn open(&self) -> MutexGuard<'_, Vec<RequestId>> {
        // What a panic left behind is a list of numbers all the same.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use floorgate_sample::SourceId;

    use super::*;
    use crate::intake;

    fn request(id: u64) -> Request {
        Request {
            id: RequestId(id),
            tags: vec![TagId(0), TagId(1)],
        }
    }

    /// Polls a future once.
    fn once<T>(future: impl Future<Output = T>) -> Poll<T> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_does_not_fit_or_has_no_reader_comes_back() {
        let (requester, requests) = requests(1);
        assert_eq!(requester.try_send(request(1)), Ok(()));
        let full = requester.try_send(request(2)).unwrap_err();
        assert_eq!(full.request, request(2));
        assert_eq!(full.to_string(), "too many requests wait at the source");
        drop(requests);
        let gone = requester.try_send(request(3)).unwrap_err();
        assert_eq!((gone.request, gone.reason), (request(3), "the source has ended"));
    }

    #[test]
    fn a_wait_that_is_given_up_loses_nothing_and_a_clone_goes_on() {
        let (requester, requests) = requests(4);
        let other = requests.clone();
        {
            let mut first = Box::pin(requests.next());
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
            requester.try_send(request(1)).unwrap();
        }
        assert_eq!(once(other.next()), Poll::Ready(request(1)));
        requester.try_send(request(2)).unwrap();
        drop(requester);
        assert_eq!(once(requests.next()), Poll::Ready(request(2)));
        assert_eq!(once(requests.next()), Poll::Pending, "nobody asks any more");
    }

    #[test]
    fn what_a_run_leaves_open_is_failed_once() {
        let (requester, requests) = requests(4);
        let (sender, received) = std::sync::mpsc::channel();
        let intake = intake(1, sender, |batch, _| batch).for_source(SourceId(3));
        for id in 1..=2 {
            requester.try_send(request(id)).unwrap();
            assert!(once(requests.next()).is_ready());
        }
        assert_eq!(
            once(requests.answer(&intake, RequestId(1), Ok(Vec::new()))),
            Poll::Ready(Ok(()))
        );
        for _ in 0..2 {
            assert_eq!(
                once(requests.fail_open(&intake, "the source failed")),
                Poll::Ready(Ok(()))
            );
        }
        let answers: Vec<_> = received.try_iter().filter_map(|batch| batch.answer).collect();
        let failed = Err("the source failed".to_owned());
        assert_eq!(
            answers,
            [
                Answer {
                    request: RequestId(1),
                    result: Ok(())
                },
                Answer {
                    request: RequestId(2),
                    result: failed
                }
            ]
        );
    }
}
