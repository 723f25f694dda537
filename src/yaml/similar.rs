//! "Did you mean": the known name that an unknown one resembles most.

/// Longest name in bytes that is compared: the work grows with the product of two lengths, and what is longer is no
/// slip of the keyboard.
const LONGEST: usize = 200;

/// The candidate that `name` was probably meant to be: at most one edit in three characters away, whatever
/// the case, or the same but for `-`, `_` and blanks. The first of equals.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let wanted = plain(name);
    let length = wanted.chars().count();
    let bound = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().filter(|name| name.len() <= LONGEST) {
        let known = plain(candidate);
        let known_length = known.chars().count();
        // A name of three letters or more that is a part of the other one was cut short or spelt out.
        let is_part = wanted.len() >= 3
            && known.len() >= 3
            && (known.starts_with(&wanted) || wanted.starts_with(&known));
        if !is_part && length.abs_diff(known_length) > bound {
            continue;
        }
        let mut distance = strsim::osa_distance(&wanted, &known);
        if is_part {
            distance = distance.min(bound);
        }
        let short = length.min(known_length) < 3;
        if distance <= bound
            && !(short && distance > 0 && wanted.len().abs_diff(known.len()) > 0)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The candidate that differs from `name` by one or two slips of the keyboard, where names of the writer's own
/// are possible too. `None` where one is the same.
pub fn slip<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let mut best = None;
    for candidate in candidates {
        match strsim::osa_distance(name, candidate) {
            0 => return None,
            1 | 2 if name.chars().count() > 6 => best = Some(candidate),
            _ => {}
        }
    }
    best
}

/// The candidate that `name` is but for its case, `-` and `_`, or, of six characters or more, for one slip of the keyboard; where
/// names of the writer's own are possible too. One more `s` or digit at the end makes another name. `None` where one is the same.
pub fn spelt<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let wanted = plain(name);
    let is_longer = |long: &str, short: &str| {
        let rest = long.strip_prefix(short);
        rest.is_some_and(|rest| rest == "s" || rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut best = None;
    for candidate in candidates {
        if candidate == name {
            return None;
        }
        let known = plain(candidate);
        let is_slip = wanted.chars().count().min(known.chars().count()) >= 6
            && strsim::osa_distance(&wanted, &known) == 1
            && !is_longer(&wanted, &known)
            && !is_longer(&known, &wanted);
        if wanted == known || (is_slip && best.is_none()) {
            best = Some(candidate);
        }
    }
    best
}

/// A name without what is written differently here and there.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{closest, slip, spelt};

    #[test]
    fn names_of_the_writers_own_are_no_slips() {
        let fields = ["partId", "durationMs", "values", "qtyPicked", "to"];
        for (name, wanted) in [
            ("partID", Some("partId")),
            ("part_id", Some("partId")),
            ("partIds", None),
            ("partId2", None),
            ("durationMS", Some("durationMs")),
            ("durtaionMs", Some("durationMs")),
            ("value", None),
            ("values", None),
            ("qtyPlaced", None),
            ("ot", None),
        ] {
            assert_eq!(spelt(name, fields), wanted, "{name}");
        }
    }

    #[test]
    fn only_near_misses_are_slips() {
        let standard = ["WorkOrderStatusChanged", "Alarm"];
        assert_eq!(
            slip("WorkOrderStatusChnaged", standard),
            Some("WorkOrderStatusChanged")
        );
        assert_eq!(slip("WorkOrderStatusChanged", standard), None);
        assert_eq!(slip("WorkOrderPrinted", standard), None);
        assert_eq!(slip("Alert", standard), None);
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["deadband", "at_least_every", "unit", "node", "counter", "order"];
        for (name, wanted) in [
            ("dedband", Some("deadband")),
            ("atLeastEvery", Some("at_least_every")),
            ("noed", Some("node")),
            ("units", Some("unit")),
            ("count", Some("counter")),
            ("Node", Some("node")),
            ("voltage", None),
            ("x", None),
        ] {
            assert_eq!(closest(name, keys), wanted, "{name}");
        }
    }
}
