//! Which of the plant's writes arrived: once, more than once, or not at all.

/// What a value is to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The tag's first: where its account begins, as the plant wrote before anybody listened.
    First,
    /// One that was not there before.
    New,
    /// One that was there before.
    Doubled,
}

/// The account over all tags. A tag's writes are numbered, each by one more than the one before.
#[derive(Debug)]
pub struct Account {
    tags: Vec<Tag>,
    unseen: usize,
    doubled: u64,
    disordered: u64,
}

#[derive(Clone, Debug, Default)]
struct Tag {
    range: Option<(u64, u64)>,
    /// Different numbers of the range that arrived, the first one included.
    count: u64,
    /// One bit for each number from the range's first.
    arrived: Vec<u64>,
}

impl Tag {
    /// Marks a number that is not below the first; says whether it was not yet marked.
    fn mark(&mut self, place: u64) -> bool {
        let (word, bit) = (
            usize::try_from(place / 64).unwrap_or(usize::MAX),
            1 << (place % 64),
        );
        if self.arrived.len() <= word {
            self.arrived.resize(word + 1, 0);
        }
        let new = self.arrived[word] & bit == 0;
        self.arrived[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// How many of the first `places` numbers from the range's first are marked.
    fn marked_below(&self, places: u64) -> u64 {
        let mut left = places;
        let mut marked = 0;
        for word in &self.arrived {
            let mask = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
            marked += u64::from((word & mask).count_ones());
            left = left.saturating_sub(64);
        }
        marked
    }
}

impl Account {
    /// An empty account of so many tags.
    pub fn new(tags: usize) -> Self {
        Self {
            tags: vec![Tag::default(); tags],
            unseen: tags,
            doubled: 0,
            disordered: 0,
        }
    }

    /// Enters a value; `None` when there is no such tag.
    pub fn enter(&mut self, tag: usize, number: u64) -> Option<Arrival> {
        let tag = self.tags.get_mut(tag)?;
        let Some((first, last)) = tag.range else {
            tag.range = Some((number, number));
            tag.mark(0);
            self.unseen -= 1;
            return Some(Arrival::First);
        };
        let Some(place) = number.checked_sub(first) else {
            // It is older than what the account began with.
            self.disordered += 1;
            return Some(Arrival::Doubled);
        };
        if !tag.mark(place) {
            self.doubled += 1;
            return Some(Arrival::Doubled);
        }
        if number < last {
            self.disordered += 1;
        }
        tag.range = Some((first, last.max(number)));
        Some(Arrival::New)
    }

    /// Whether each tag has had a value.
    pub fn all_tags_seen(&self) -> bool {
        self.unseen == 0
    }

    /// Tags that have had no value.
    pub fn unseen(&self) -> usize {
        self.unseen
    }

    /// Values that arrived again.
    pub fn doubled(&self) -> u64 {
        self.doubled
    }

    /// Values that arrived after a later one of their tag.
    pub fn disordered(&self) -> u64 {
        self.disordered
    }

    /// Of the plant's first `written` writes, made evenly over the tags from the first on, those that did not arrive.
    /// What arrived of later writes does not count against them.
    pub fn lost(&self, written: u64) -> u64 {
        let tags = self.tags.len() as u64;
        let last = |place: u64| written / tags + u64::from(place < written % tags);
        (0..)
            .zip(&self.tags)
            .map(|(place, tag)| match tag.range {
                Some((first, _)) => {
                    let meant = (last(place) + 1).saturating_sub(first);
                    meant - tag.marked_below(meant)
                }
                None => last(place),
            })
            .sum()
    }

    /// Writes that did not arrive although a later one of the same tag did: all that can be said where the plant's
    /// last writes need not have been readable.
    pub fn holes(&self) -> u64 {
        let holes = |tag: &Tag| tag.range.map_or(0, |(first, last)| last - first + 1 - tag.count);
        self.tags.iter().map(holes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Arrival};

    /// Three tags, of which eleven writes are made: 4, 4 and 3. All are read from the first notification on.
    fn complete(mut skip: impl FnMut(usize, u64) -> bool) -> Account {
        let mut account = Account::new(3);
        for (tag, last) in [(0, 4), (1, 4), (2, 3)] {
            for number in 1..=last {
                if !skip(tag, number) {
                    account.enter(tag, number);
                }
            }
        }
        account
    }

    #[test]
    fn nothing_is_lost_where_all_arrived() {
        let account = complete(|_, _| false);
        assert!(account.all_tags_seen());
        assert_eq!(
            (
                account.lost(11),
                account.holes(),
                account.doubled(),
                account.disordered()
            ),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn writes_before_the_first_value_are_not_counted() {
        assert_eq!(complete(|_, number| number < 3).lost(11), 0);
    }

    #[test]
    fn a_write_that_is_missing_in_between_is_lost_and_a_hole() {
        let account = complete(|tag, number| (tag, number) == (1, 3));
        assert_eq!((account.lost(11), account.holes()), (1, 1));
    }

    #[test]
    fn a_write_that_is_missing_at_the_end_is_lost_and_no_hole() {
        let account = complete(|tag, number| (tag, number) == (2, 3));
        assert_eq!((account.lost(11), account.holes()), (1, 0));
        // The spread over the tags counts: the twelfth write would be the third tag's fourth.
        assert_eq!(account.lost(12), 2);
    }

    #[test]
    fn what_came_of_the_end_hides_no_loss_before_it() {
        let account = complete(|tag, number| (tag, number) == (0, 2));
        assert_eq!(account.lost(9), 1);
        let mut account = Account::new(1);
        for number in (1..=200).filter(|number| *number != 150) {
            account.enter(0, number);
        }
        assert_eq!(
            (account.lost(149), account.lost(150), account.lost(200)),
            (0, 1, 1)
        );
    }

    #[test]
    fn a_tag_that_never_came_has_lost_all_its_writes() {
        let account = complete(|tag, _| tag == 1);
        assert_eq!((account.lost(11), account.unseen()), (4, 1));
        assert!(!account.all_tags_seen());
    }

    #[test]
    fn a_value_that_comes_twice_is_doubled_and_hides_no_loss() {
        let mut account = complete(|tag, number| (tag, number) == (0, 4));
        assert_eq!(account.enter(0, 3), Some(Arrival::Doubled));
        assert_eq!(account.enter(0, 1), Some(Arrival::Doubled));
        assert_eq!((account.lost(11), account.doubled()), (1, 2));
    }

    #[test]
    fn a_value_that_comes_late_is_out_of_order_and_not_lost() {
        let mut account = complete(|tag, number| (tag, number) == (0, 3));
        assert_eq!(account.enter(0, 3), Some(Arrival::New));
        assert_eq!(
            (account.lost(11), account.holes(), account.disordered()),
            (0, 0, 1)
        );
    }

    #[test]
    fn numbers_may_be_far_apart() {
        let mut account = Account::new(1);
        account.enter(0, 5);
        account.enter(0, 205);
        assert_eq!((account.holes(), account.lost(206)), (199, 200));
        assert_eq!(account.enter(1, 1), None);
    }
}
