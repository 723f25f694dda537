//! Tags that are read together: the one request that reads them, or why there is none.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use floorgate_adapter_api::SnapshotSpec;
use floorgate_sample::{Quality, Sample, TagId};
use floorgate_yaml::Problems;

use crate::address::{Point, Table};
use crate::group::sample;
use crate::planner::{Extent, plan};
use crate::settings::Checked;
use crate::torn::{BAD_DATA_UNAVAILABLE, Doubts};

/// All tags of a source, by their numbers.
pub(crate) type Points = HashMap<TagId, Arc<Point>>;

/// The request that reads some tags together.
#[derive(Debug)]
pub(crate) struct Block {
    pub unit: u8,
    pub table: Table,
    pub extent: Extent,
    points: Vec<Arc<Point>>,
}

/// Why there is no such request.
#[derive(Debug)]
pub(crate) struct Misfit {
    message: String,
    /// The registers between the tags are the only reason.
    holes: bool,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Block {
    /// The request that reads these tags. Between them only registers may be read over that other tags name, or `max_gap` of them.
    pub(crate) fn of(tags: &[TagId], points: &Points, settings: &Checked) -> Result<Self, Misfit> {
        let wanted: Vec<Arc<Point>> = tags.iter().filter_map(|tag| points.get(tag).cloned()).collect();
        let Some(first) = wanted.first().filter(|_| wanted.len() == tags.len()) else {
            return Err(Misfit {
                message: "not all of them are tags of the source".to_owned(),
                holes: false,
            });
        };
        let is_elsewhere = |point: &&Arc<Point>| (point.unit, point.table) != (first.unit, first.table);
        let elsewhere: Vec<&Arc<Point>> = wanted.iter().filter(is_elsewhere).collect();
        if !elsewhere.is_empty() {
            return Err(misfit(
                &elsewhere,
                first,
                settings,
                "of another unit or another table than",
                false,
            ));
        }
        let is_other = |point: &&Arc<Point>| point.extent != first.extent;
        let others: Vec<&Arc<Point>> = wanted.iter().filter(is_other).collect();
        if settings.one_request_per_value && !others.is_empty() {
            let why = "of other registers, and `one_request_per_value` is set, than";
            return Err(misfit(&others, first, settings, why, false));
        }
        let limits = settings.limits(first.table);
        let start = wanted
            .iter()
            .map(|point| point.extent.start)
            .min()
            .unwrap_or_default();
        let end = wanted
            .iter()
            .map(|point| point.extent.end())
            .max()
            .unwrap_or_default();
        let lowest = wanted
            .iter()
            .find(|point| point.extent.start == start)
            .unwrap_or(first);
        let beyond = |point: &&Arc<Point>| point.extent.end() - start > limits.most;
        let beyond: Vec<&Arc<Point>> = wanted.iter().filter(beyond).collect();
        if !beyond.is_empty() {
            let why = format!("beyond the {} that one request can read from", limits.most);
            return Err(misfit(&beyond, lowest, settings, &why, false));
        }
        // What another tag names can be read.
        let is_between = |point: &&Arc<Point>| {
            (point.unit, point.table) == (first.unit, first.table)
                && point.extent.start >= start
                && point.extent.end() <= end
        };
        let named: Vec<Extent> = points
            .values()
            .filter(is_between)
            .map(|point| point.extent)
            .collect();
        let reads = plan(&named, &[], limits);
        let reach = reads.first().map_or(end, |read| read.extent.end());
        let behind: Vec<&Arc<Point>> = wanted.iter().filter(|point| point.extent.end() > reach).collect();
        if !behind.is_empty() {
            let why = "behind registers that no tag names, seen from";
            return Err(misfit(&behind, lowest, settings, why, true));
        }
        Ok(Self {
            unit: first.unit,
            table: first.table,
            extent: Extent {
                start,
                len: end - start,
            },
            points: wanted,
        })
    }

    /// The values that have to be read twice.
    pub(crate) fn doubts(&self) -> Doubts {
        Doubts::of(self.points.iter().map(|point| &**point).enumerate(), self.extent)
    }

    /// The values of the tags, from the answer to the request, and those among them that no two reads agreed on.
    pub(crate) fn samples(&self, words: &[u16], torn: &Doubts) -> Vec<Sample> {
        let value = |point: &Arc<Point>| point.value(point.own(words, self.extent)?);
        let samples = self
            .points
            .iter()
            .enumerate()
            .map(|(number, point)| match value(point) {
                _ if torn.contains(number) => sample(point, None, BAD_DATA_UNAVAILABLE),
                Some(value) => sample(point, Some(value), Quality::GOOD),
                None => sample(point, None, Quality::BAD_DECODING_ERROR),
            });
        samples.collect()
    }
}

fn misfit(tags: &[&Arc<Point>], than: &Point, settings: &Checked, why: &str, holes: bool) -> Misfit {
    let mut message = String::new();
    for point in tags {
        let comma = if message.is_empty() { "" } else { ", " };
        let _ = write!(message, "{comma}{}", place(point, settings));
    }
    let verb = if tags.len() == 1 { "is" } else { "are" };
    let _ = write!(message, " {verb} {why} {}", place(than, settings));
    Misfit { message, holes }
}

/// A tag and where it is, as it was written.
fn place(point: &Point, settings: &Checked) -> String {
    let start = point.extent.start + u32::from(settings.base);
    let (name, unit, table) = (&point.name, point.unit, point.table.name());
    format!("`{name}` (unit {unit}, {table} {start})")
}

/// Whether each snapshot is one request; what is not is recorded.
pub(crate) fn check(
    snapshots: &[SnapshotSpec<'_>],
    points: &Points,
    settings: &Checked,
    problems: &mut Problems,
) {
    for snapshot in snapshots {
        // A tag that is not there was wrong itself, which is said already.
        if !snapshot.tags.iter().all(|tag| points.contains_key(tag)) {
            continue;
        }
        if let Err(misfit) = Block::of(&snapshot.tags, points, settings) {
            let mut hint =
                "read them in one request: put them next to each other in the PLC, or make two events"
                    .to_owned();
            if misfit.holes {
                hint.push_str("; or set `max_gap`, where the device lets the registers between them be read");
            }
            problems
                .error(
                    snapshot.at,
                    format!(
                        "`{}` cannot read its tags in one request: {misfit}",
                        snapshot.rule
                    ),
                )
                .hint(hint);
        }
    }
}
