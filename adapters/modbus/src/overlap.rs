//! Tags of one source that read the same registers as different things.
//!
//! One of the two is nearly always wrong: an address was mistyped, or a type is wider than the device's.

use floorgate_adapter_api::TagSpec;
use floorgate_yaml::Problems;

use crate::address::Point;
use crate::decode::{Decode, Kind};

/// Warns of every tag whose registers another tag reads in another way, once for each tag: beside the one before it that
/// reaches farthest. Two tags of one value are legitimate, and so is a single bit of whatever is read as a whole.
///
/// One walk over the sorted tags finds them, so that a hundred thousand take no longer than sorting them does.
pub(crate) fn check<'a>(
    tags: impl IntoIterator<Item = (&'a TagSpec<'a>, &'a Point)>,
    base: u8,
    problems: &mut Problems,
) {
    let mut tags: Vec<_> = tags
        .into_iter()
        .filter(|(_, point)| !matches!(point.decode.kind, Kind::Bit(_)))
        .collect();
    // The longer one of two that begin alike comes first, and those that are alike beside each other.
    tags.sort_by_key(|(_, point)| {
        let extent = point.extent;
        (
            point.unit,
            point.table,
            extent.start,
            u32::MAX - extent.len,
            rank(point.decode),
        )
    });
    let mut farthest: Option<(&TagSpec<'_>, &Point)> = None;
    for (spec, point) in tags {
        let Some((other, before)) = farthest else {
            farthest = Some((spec, point));
            continue;
        };
        let is_apart = (before.unit, before.table) != (point.unit, point.table)
            || before.extent.end() <= point.extent.start;
        let is_alike = before.extent == point.extent && rank(before.decode) == rank(point.decode);
        if !is_apart && !is_alike {
            report((spec, point), (other, before), base, problems);
        }
        if is_apart || before.extent.end() <= point.extent.end() {
            farthest = Some((spec, point));
        }
    }
}

/// What two readings of the same registers have in common when they are one value: equal numbers, equal readings.
/// Scaling, and which order the bytes of a word have, are no other type.
fn rank(decode: Decode) -> u8 {
    match decode.kind {
        Kind::Bit(_) => 0,
        Kind::Integer { signed: false, .. } => 1,
        Kind::Integer { signed: true, .. } => 2,
        Kind::Float32 => 3,
        Kind::Float64 => 4,
        Kind::Text { .. } => 5,
    }
}

fn report(
    (spec, point): (&TagSpec<'_>, &Point),
    (other, before): (&TagSpec<'_>, &Point),
    base: u8,
    problems: &mut Problems,
) {
    let place_of = |spec: &TagSpec<'_>, point: &Point| {
        spec.address
            .get(point.table.name())
            .map_or(spec.address.span, |register| register.span)
    };
    let span = place_of(spec, point);
    let place = problems.place(place_of(other, before));
    let message = format!(
        "tag `{}` reads {} as {}, and tag `{}` ({place}) reads {} as {}",
        spec.name,
        registers(point, base),
        kind(point),
        other.name,
        registers(before, base),
        kind(before),
    );
    let hint = if before.extent == point.extent {
        "give both the same `type`, or correct an address"
    } else {
        "correct one of the addresses, or a `type` that is wider than the device's value"
    };
    problems.warning(span, message).hint(hint);
}

/// `holding 1`, or `holding 1 to 2`, as the device's documentation counts.
fn registers(point: &Point, base: u8) -> String {
    let (first, name) = (point.extent.start + u32::from(base), point.table.name());
    match point.extent.len {
        1 => format!("{name} {first}"),
        len => format!("{name} {first} to {}", first + len - 1),
    }
}

fn kind(point: &Point) -> &'static str {
    match (point.decode.kind, point.extent.len) {
        (Kind::Bit(_), _) => "a bit",
        (Kind::Integer { signed: false, .. }, 1) => "u16",
        (Kind::Integer { signed: false, .. }, 2) => "u32",
        (Kind::Integer { signed: false, .. }, _) => "u64",
        (Kind::Integer { signed: true, .. }, 1) => "i16",
        (Kind::Integer { signed: true, .. }, 2) => "i32",
        (Kind::Integer { signed: true, .. }, _) => "i64",
        (Kind::Float32, _) => "f32",
        (Kind::Float64, _) => "f64",
        (Kind::Text { .. }, _) => "text",
    }
}
