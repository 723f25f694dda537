//! Which requests read everything that is wanted, in the fewest.
//!
//! Pure: numbers in, numbers out. Addresses are zero-based as on the wire; a unit is a register, or a bit where
//! coils or discrete inputs are read.

/// Neighbouring registers (or bits) that must come from one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first.
    pub start: u32,
    /// How many; at least 1.
    pub len: u32,
}

impl Extent {
    /// The first that is not in it.
    pub(crate) fn end(self) -> u32 {
        self.start + self.len
    }
}

/// What a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most registers (or bits) of a request.
    pub most: u32,
    /// Most neighbouring registers (or bits) that nobody wants and that may be read over.
    pub gap: u32,
}

/// A request, and which of the wanted extents it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// What is asked for.
    pub extent: Extent,
    /// Indexes into the wanted extents, by their start.
    pub items: Vec<usize>,
}

/// The fewest requests that read each of `wanted` as a whole.
///
/// A hole between wanted registers is read over when it is not longer than the limit and holds none of `never`.
/// An extent longer than the limit gets a request of its own that the device may refuse.
///
/// Fewest, because the extent with the lowest start that is not yet read must be in some request, none that holds
/// it can begin usefully before it, and the one made here reaches as far as any may.
pub(crate) fn plan(wanted: &[Extent], never: &[Extent], limits: Limits) -> Vec<Read> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&item| (wanted[item].start, wanted[item].end()));
    let runs = runs(&order, wanted, never, limits.gap);
    let mut run = runs.iter().peekable();
    let mut reads: Vec<Read> = Vec::new();
    let mut left = order;
    while let Some(&first) = left.first() {
        let start = wanted[first].start;
        while run.next_if(|end| **end <= start).is_some() {}
        let readable = run.peek().map_or(u32::MAX, |end| **end);
        let reach = readable
            .min(start.saturating_add(limits.most))
            .max(wanted[first].end());
        let (items, later): (Vec<usize>, Vec<usize>) =
            left.into_iter().partition(|&item| wanted[item].end() <= reach);
        let end = items
            .iter()
            .map(|&item| wanted[item].end())
            .max()
            .unwrap_or(reach);
        reads.push(Read {
            extent: Extent {
                start,
                len: end - start,
            },
            items,
        });
        left = later;
    }
    reads
}

/// A request for each of `wanted`; what is the very same shares one.
pub(crate) fn separate(wanted: &[Extent]) -> Vec<Read> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&item| (wanted[item].start, wanted[item].len));
    let mut reads: Vec<Read> = Vec::new();
    for item in order {
        let extent = wanted[item];
        match reads.last_mut() {
            Some(last) if last.extent == extent => last.items.push(item),
            _ => reads.push(Read {
                extent,
                items: vec![item],
            }),
        }
    }
    reads
}

/// Ends of the stretches that one request could read were there no limit of its length, in rising order.
fn runs(order: &[usize], wanted: &[Extent], never: &[Extent], gap: u32) -> Vec<u32> {
    let mut ends: Vec<u32> = Vec::new();
    for &item in order {
        let Extent { start, .. } = wanted[item];
        match ends.last_mut() {
            Some(end) if start <= *end || passable(*end, start, never, gap) => {
                *end = (*end).max(wanted[item].end());
            }
            _ => ends.push(wanted[item].end()),
        }
    }
    ends
}

fn passable(from: u32, to: u32, never: &[Extent], gap: u32) -> bool {
    to - from <= gap
        && !never
            .iter()
            .any(|barred| barred.start < to && from < barred.end())
}

#[cfg(test)]
#[path = "shipped_tests.rs"]
mod shipped;
#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
