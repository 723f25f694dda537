//! How many items one request asks for: fewer where requests are refused as a whole, until what is the reason stands alone.

/// Requests that fail in a row before the rest is given up for now. Ten find one node among a thousand.
const MOST_FAILURES: usize = 32;

/// What is to be done about a request that failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask for fewer at a time.
    Divide,
    /// The only item that was asked for is the reason.
    Refuse,
    /// Everything fails: the server is asked for no more now.
    GiveUp,
}

/// The size of requests.
#[derive(Debug)]
pub struct Batches {
    most: usize,
    size: usize,
    failures: usize,
}

impl Batches {
    /// Requests for at most so many items.
    pub fn of(most: usize) -> Self {
        Self {
            most,
            size: most,
            failures: 0,
        }
    }

    /// Most items of the next request.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A request was answered: the next ones may be larger again.
    pub fn answered(&mut self) {
        self.failures = 0;
        self.size = (self.size * 2).min(self.most);
    }

    /// A request for so many items was too large.
    pub fn too_large(&mut self, asked: usize) {
        self.most = (asked / 2).max(1);
        self.size = self.most;
    }

    /// A request for so many items failed, and any of them may be the reason.
    pub fn failed(&mut self, asked: usize) -> Verdict {
        self.failures += 1;
        self.size = (asked / 2).max(1);
        if self.failures > MOST_FAILURES {
            Verdict::GiveUp
        } else if asked > 1 {
            Verdict::Divide
        } else {
            Verdict::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a server for all of these as the adapter does; which it took, which were refused, and the number of requests.
    fn ask(count: u32, fails: impl Fn(u32) -> bool) -> (Vec<u32>, Vec<u32>, usize) {
        let mut waiting: Vec<u32> = (0..count).rev().collect();
        let mut batches = Batches::of(1_000);
        let (mut taken, mut refused, mut requests) = (Vec::new(), Vec::new(), 0);
        while !waiting.is_empty() {
            let from = waiting.len().saturating_sub(batches.size());
            let items = waiting.split_off(from);
            requests += 1;
            if !items.iter().any(|item| fails(*item)) {
                batches.answered();
                taken.extend(items);
                continue;
            }
            match batches.failed(items.len()) {
                Verdict::Divide => waiting.extend(items),
                Verdict::Refuse => refused.extend(items),
                Verdict::GiveUp => {
                    refused.extend(items);
                    refused.append(&mut waiting);
                }
            }
        }
        (taken, refused, requests)
    }

    #[test]
    fn one_node_that_makes_the_server_fail_keeps_no_other_away() {
        for culprit in [0, 1, 499, 1_700, 2_999] {
            let (taken, refused, requests) = ask(3_000, |item| item == culprit);
            assert_eq!((taken.len(), refused), (2_999, vec![culprit]));
            assert!(requests <= 40, "{requests} requests");
        }
        let (taken, refused, _) = ask(3_000, |item| item % 500 == 7);
        assert_eq!((taken.len(), refused.len()), (2_994, 6));
    }

    #[test]
    fn a_server_that_fails_always_is_not_asked_for_ever() {
        let (taken, refused, requests) = ask(100_000, |_| true);
        assert_eq!((taken.len(), refused.len()), (0, 100_000));
        assert!(requests <= MOST_FAILURES + 1, "{requests} requests");
    }

    #[test]
    fn a_limit_of_the_server_is_kept() {
        let mut batches = Batches::of(1_000);
        batches.too_large(1_000);
        batches.answered();
        assert_eq!(batches.size(), 500);
    }
}
