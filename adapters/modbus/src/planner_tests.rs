use super::*;

fn extent(start: u32, len: u32) -> Extent {
    Extent { start, len }
}

fn requests(wanted: &[Extent], never: &[Extent], most: u32, gap: u32) -> Vec<(u32, u32)> {
    plan(wanted, never, Limits { most, gap })
        .iter()
        .map(|read| (read.extent.start, read.extent.len))
        .collect()
}

#[test]
fn neighbours_share_a_request_and_strangers_do_not() {
    let wanted = [extent(100, 2), extent(102, 1), extent(110, 4)];
    assert_eq!(requests(&wanted, &[], 125, 0), [(100, 3), (110, 4)]);
    assert_eq!(requests(&wanted, &[], 125, 6), [(100, 3), (110, 4)]);
    assert_eq!(requests(&wanted, &[], 125, 7), [(100, 14)]);
}

#[test]
fn a_value_at_the_limit_is_not_split() {
    let wanted = [extent(0, 124), extent(124, 2), extent(126, 1)];
    assert_eq!(requests(&wanted, &[], 125, 0), [(0, 124), (124, 3)]);
}

#[test]
fn a_long_value_is_left_to_the_next_request_and_a_short_one_behind_its_start_is_not() {
    let wanted = [extent(0, 2), extent(2, 10), extent(4, 2)];
    let reads = plan(&wanted, &[], Limits { most: 10, gap: 0 });
    assert_eq!(reads.len(), 2);
    assert_eq!(reads[0].items, [0, 2]);
    assert_eq!(reads[1].items, [1]);
}

#[test]
fn a_register_that_is_refused_is_never_read_over() {
    let wanted = [extent(0, 1), extent(2, 1)];
    assert_eq!(requests(&wanted, &[], 125, 4), [(0, 3)]);
    assert_eq!(requests(&wanted, &[extent(1, 1)], 125, 4), [(0, 1), (2, 1)]);
}

#[test]
fn the_last_register_of_all_can_be_read() {
    assert_eq!(
        requests(&[extent(65_535, 1), extent(65_530, 4)], &[], 125, 1),
        [(65_530, 6)]
    );
}

/// A small generator of repeatable numbers (Marsaglia's xorshift, 64 bits).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(bound)).expect("the remainder is below a u32")
    }
}

/// Whether one request may read all of these.
pub(super) fn allowed(items: &[usize], wanted: &[Extent], never: &[Extent], limits: Limits) -> bool {
    let start = items.iter().map(|&item| wanted[item].start).min().unwrap_or(0);
    let end = items.iter().map(|&item| wanted[item].end()).max().unwrap_or(0);
    let mut hole = 0;
    for register in start..end {
        if wanted
            .iter()
            .any(|extent| (extent.start..extent.end()).contains(&register))
        {
            hole = 0;
            continue;
        }
        hole += 1;
        if hole > limits.gap
            || never
                .iter()
                .any(|extent| (extent.start..extent.end()).contains(&register))
        {
            return false;
        }
    }
    end - start <= limits.most
}

/// The fewest requests, by trying every way to put items into requests.
pub(super) fn fewest(
    item: usize,
    groups: &mut Vec<Vec<usize>>,
    best: &mut usize,
    ask: &dyn Fn(&[usize]) -> bool,
    total: usize,
) {
    if groups.len() >= *best {
        return;
    }
    if item == total {
        if groups.iter().all(|group| ask(group)) {
            *best = groups.len();
        }
        return;
    }
    for index in 0..groups.len() {
        groups[index].push(item);
        fewest(item + 1, groups, best, ask, total);
        groups[index].pop();
    }
    groups.push(vec![item]);
    fewest(item + 1, groups, best, ask, total);
    groups.pop();
}

#[test]
fn no_way_needs_fewer_requests_and_every_value_is_read_whole_once() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..3_000 {
        let limits = Limits {
            most: 1 + numbers.below(10),
            gap: numbers.below(4),
        };
        let wanted: Vec<Extent> = (0..=numbers.below(6))
            .map(|_| extent(numbers.below(24), 1 + numbers.below(limits.most.min(5))))
            .collect();
        let never: Vec<Extent> = (0..numbers.below(3))
            .map(|_| extent(numbers.below(24), 1))
            .collect();
        let reads = plan(&wanted, &never, limits);
        let mut read: Vec<usize> = reads.iter().flat_map(|read| read.items.clone()).collect();
        read.sort_unstable();
        assert_eq!(
            read,
            (0..wanted.len()).collect::<Vec<_>>(),
            "round {round}: each value once"
        );
        for request in &reads {
            assert!(
                request.extent.len <= limits.most,
                "round {round}: {request:?} is too long"
            );
            assert!(
                allowed(&request.items, &wanted, &never, limits),
                "round {round}: {request:?} reads what it must not"
            );
            for &item in &request.items {
                assert!(
                    request.extent.start <= wanted[item].start && wanted[item].end() <= request.extent.end()
                );
            }
        }
        let mut best = wanted.len() + 1;
        let ask = |items: &[usize]| allowed(items, &wanted, &never, limits);
        fewest(0, &mut Vec::new(), &mut best, &ask, wanted.len());
        assert_eq!(
            reads.len(),
            best,
            "round {round}: {wanted:?} {never:?} {limits:?} {reads:?}"
        );
    }
}
