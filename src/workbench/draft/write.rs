//! The text of a mapping.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use floorgate_adapter_api::{Point, PointKind, Scalar};
use floorgate_core::table::{Key, ValueTable};

use super::group::Group;
use super::names::{self, Taken};
use super::parameters::{Parameters, literal};
use super::rules::{Table, Use, is_data, uses};
use super::{DraftOptions, Mapping};

/// Columns up to which the names of tags are filled up, so that their addresses stand below each other.
const WIDEST: usize = 24;

/// Writes the mapping of a group.
pub fn mapping(points: &[Point], options: &DraftOptions, name: &str, group: &Group, head: &str) -> Mapping {
    let own: Vec<&Point> = group.instances[0].iter().map(|&place| &points[place]).collect();
    let uses = uses(&own);
    let names = tag_names(&own, &uses, group.depth);
    let mut tables = Tables::default();
    let mut tags = String::new();
    let mut events = String::new();
    let (mut tag_count, mut event_count, mut standard) = (0, 0, 0);
    let width = names.iter().map(String::len).filter(|len| *len <= WIDEST).max();
    for (at, (point, (becomes, why))) in own.iter().zip(&uses).enumerate() {
        let tag = &names[at];
        let facts = Facts::of(points, group, at);
        let line = tag_line(point, (group, at), becomes, &facts, (tag, &mut tables));
        let mut remarks: Vec<&str> = Vec::new();
        if let Use::Nothing(reason) = becomes {
            remarks.push(reason);
        }
        remarks.extend(why.as_deref());
        remarks.extend(facts.remarks.iter().map(String::as_str));
        let said = point.description.as_deref().filter(|text| !text.is_empty());
        remarks.extend(said);
        let value = point.value.as_deref().map(|value| format!("read: {value}"));
        remarks.extend(value.as_deref());
        let remark = match remarks.as_slice() {
            [] => String::new(),
            remarks => format!("  # {}", comment(&remarks.join("; "), 240)),
        };
        let is_used = !matches!(becomes, Use::Nothing(_));
        let sign = if is_used { "" } else { "# " };
        let key = format!("{tag}:");
        let column = width.unwrap_or(0) + 1;
        let _ = writeln!(tags, "  {sign}{key:<column$} {line}{remark}");
        tag_count += usize::from(is_used);
        if let Some(event) = event_line(becomes, tag, &own, &uses, &names) {
            let _ = writeln!(events, "  - {event}");
            event_count += 1;
            standard += usize::from(matches!(becomes, Use::Standard { .. }));
        }
    }
    let mut written = format!("{head}mapping: {}\n", text(name));
    if let Some(parameters) = &group.parameters {
        written.push_str(&for_each(parameters));
    }
    let _ = writeln!(written, "source: {}", text(&options.source));
    let _ = writeln!(written, "equipment: {}\n", text(&equipment(options, group)));
    written.push_str(&tables.text);
    let none = if tag_count == 0 { " {}" } else { "" };
    let _ = writeln!(written, "tags:{none}\n{tags}");
    let none = if event_count == 0 { " []" } else { "" };
    let _ = write!(written, "events:{none}\n{events}");
    Mapping {
        name: name.to_owned(),
        text: written,
        instances: group.parameters.as_ref().map_or(0, |_| group.instances.len()),
        tags: tag_count,
        events: event_count,
        standard,
    }
}

fn equipment(options: &DraftOptions, group: &Group) -> String {
    let below = group
        .parameters
        .as_ref()
        .map_or(&group.equipment, |parameters| &parameters.equipment);
    if below.is_empty() {
        return options.equipment.clone();
    }
    format!("{}/{below}", options.equipment)
}

fn for_each(parameters: &Parameters) -> String {
    if let [name] = parameters.names.as_slice() {
        let values = parameters.values.iter().map(|values| &values[0]);
        let number = |value: &Scalar| match value {
            Scalar::Int(number) => Some(*number),
            _ => None,
        };
        if let Some(mut numbers) = values.clone().map(number).collect::<Option<Vec<i64>>>() {
            // A device lists them in an order of its own; addresses are made of them in any.
            numbers.sort_unstable();
            if let [first, .., last] = numbers[..]
                && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
            {
                return format!("for_each: {{{name}: {first}..{last}}}\n");
            }
            let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
            return format!("for_each: {{{name}: [{}]}}\n", numbers.join(", "));
        }
        let values: Vec<String> = values.map(scalar).collect();
        return format!("for_each: {{{name}: [{}]}}\n", values.join(", "));
    }
    let mut written = "for_each:\n".to_owned();
    for values in &parameters.values {
        let pairs = parameters.names.iter().zip(values);
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}: {}", scalar(value)))
            .collect();
        let _ = writeln!(written, "  - {{{}}}", pairs.join(", "));
    }
    written
}

/// Names of the tags: their own, with those of folders before it as far as they need it to differ.
fn tag_names(points: &[&Point], uses: &[(Use, Option<String>)], depth: usize) -> Vec<String> {
    let by_role = |at: usize| {
        let role = points[at].role.as_ref();
        role.filter(|_| matches!(uses[at].0, Use::Standard { .. } | Use::Read))
    };
    let longest = points.iter().map(|point| point.path.len()).max().unwrap_or(0);
    let mut wanted: Vec<String> = vec![String::new(); points.len()];
    let mut open: Vec<usize> = (0..points.len()).collect();
    for parts in 1..=longest.saturating_sub(depth).max(1) {
        for &at in &open {
            wanted[at] = match by_role(at) {
                Some(role) => names::tag(role.field),
                None => last_parts(&points[at].path, parts),
            };
        }
        let mut count: HashMap<&str, usize> = HashMap::new();
        for name in &wanted {
            *count.entry(name.as_str()).or_default() += 1;
        }
        open.retain(|&at| {
            let can_be_longer = points[at].path.len() > parts + depth && by_role(at).is_none();
            count[wanted[at].as_str()] > 1 && can_be_longer
        });
        if open.is_empty() {
            break;
        }
    }
    let mut taken = Taken::default();
    let first: HashMap<usize, String> = (0..points.len())
        .filter(|&at| by_role(at).is_some())
        .map(|at| (at, taken.tag(&wanted[at])))
        .collect();
    (0..points.len())
        .map(|at| first.get(&at).cloned().unwrap_or_else(|| taken.tag(&wanted[at])))
        .collect()
}

fn last_parts(path: &[String], parts: usize) -> String {
    let from = path.len().saturating_sub(parts);
    names::tag(&path[from..].join(" "))
}

/// What the instances of a point have in common.
struct Facts {
    range: Option<(f64, f64)>,
    unit: Option<String>,
    remarks: Vec<String>,
}

impl Facts {
    fn of(points: &[Point], group: &Group, at: usize) -> Self {
        let first = &points[group.instances[0][at]];
        let mut facts = Self {
            range: None,
            unit: None,
            remarks: Vec::new(),
        };
        if let Some(unit) = &first.unit {
            let is_code = (2..=3).contains(&unit.len())
                && unit
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if is_code {
                facts.unit = Some(unit.clone());
            } else {
                facts.remarks.push(format!(
                    "unit {unit:?}, which is no code of UN/ECE Recommendation 20"
                ));
            }
        }
        let is_number = matches!(first.kind, PointKind::Whole | PointKind::Float);
        if let Some((least, most)) = first.range.filter(|_| is_number) {
            let is_range = least.is_finite() && most.is_finite() && least < most;
            let is_same = |instance: &Vec<usize>| points[instance[at]].range == first.range;
            if !is_range {
                facts
                    .remarks
                    .push(format!("range from {least} to {most}, which is none"));
            } else if group.instances.iter().all(is_same) {
                facts.range = Some((least, most));
            } else {
                facts
                    .remarks
                    .push(format!("range [{least}, {most}] in the first, others in others"));
            }
        }
        facts
    }
}

/// What stands behind a tag's name.
fn tag_line(
    point: &Point,
    (group, at): (&Group, usize),
    becomes: &Use,
    facts: &Facts,
    (tag, tables): (&str, &mut Tables),
) -> String {
    let mut pairs: Vec<String> = Vec::new();
    let filled = group
        .parameters
        .as_ref()
        .map_or(&[][..], |parameters| &parameters.addresses[at]);
    for (key, (name, value)) in point.address.iter().enumerate() {
        let value = match (filled.iter().find(|(place, _)| *place == key), value) {
            (Some((_, template)), _) => quoted(template),
            (None, Scalar::Text(value)) => quoted(&literal(value)),
            (None, value) => scalar(value),
        };
        pairs.push(format!("{name}: {value}"));
    }
    match becomes {
        Use::Standard {
            table: Some(table), ..
        }
        | Use::State(Some(table)) => {
            pairs.push(format!("values: {}", text(&tables.name(table, tag))));
        }
        _ => {}
    }
    if let Some(unit) = &facts.unit {
        pairs.push(format!("unit: {}", text(unit)));
    }
    if let Some((least, most)) = facts.range {
        pairs.push(format!("range: [{}, {}]", number(least), number(most)));
    }
    format!("{{{}}}", pairs.join(", "))
}

/// The event of a tag, where it has one.
fn event_line(
    becomes: &Use,
    tag: &str,
    points: &[&Point],
    uses: &[(Use, Option<String>)],
    names: &[String],
) -> Option<String> {
    match becomes {
        Use::Standard { role, .. } => {
            let mut more = String::new();
            let mut data: Vec<String> = Vec::new();
            for ((point, (becomes, _)), name) in points.iter().zip(uses).zip(names) {
                let other = point.role.as_ref().filter(|other| other.event == role.event);
                match other.filter(|_| matches!(becomes, Use::Read)) {
                    Some(other) if is_data(other) => data.push(format!("{}: {name}", other.field)),
                    Some(other) => {
                        let _ = write!(more, ", {}: {name}", other.field);
                    }
                    None => {}
                }
            }
            if !data.is_empty() {
                let _ = write!(more, ", data: {{{}}}", data.join(", "));
            }
            Some(format!("{{type: {}, trigger: {tag}{more}}}", role.event))
        }
        Use::State(_) => Some(format!(
            "{{type: StateChanged, trigger: {tag}, data: {{name: {{constant: {tag}}}, state: {tag}}}}}"
        )),
        Use::Measurement => Some(format!("{{type: MeasurementRecorded, trigger: {tag}}}")),
        Use::Read | Use::Nothing(_) => None,
    }
}

/// The tables of a mapping; equal ones are one.
#[derive(Default)]
struct Tables {
    known: HashMap<Table, String>,
    taken: HashSet<String>,
    text: String,
}

impl Tables {
    fn name(&mut self, table: &Table, tag: &str) -> String {
        if let Table::Standard(name) = table {
            return (*name).to_owned();
        }
        if let Some(name) = self.known.get(table) {
            return name.clone();
        }
        let mut name = format!("{tag}_values");
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        let end = if self.text.is_empty() {
            self.text.push_str("tables:\n");
            0
        } else {
            1
        };
        // The empty line behind the tables stays the last one.
        self.text.truncate(self.text.len() - end);
        let _ = writeln!(self.text, "  {name}:");
        match table {
            Table::Numbers(states) => {
                self.text.push_str("    values:\n");
                for (number, state) in states {
                    let _ = writeln!(self.text, "      {number}: {}", text(state));
                }
            }
            Table::Words(standard) => self.words(standard),
            Table::Standard(_) => {}
        }
        self.text.push('\n');
        self.known.insert(table.clone(), name.clone());
        name
    }

    /// A table of the standards for a device that says its names in words.
    fn words(&mut self, standard: &str) {
        let Some(table) = ValueTable::standard(standard) else {
            return;
        };
        let _ = writeln!(
            self.text,
            "    # The names of `{standard}`; where the device speaks another language, write its words in front of the colons.\n    model: {}\n    values:",
            table.model
        );
        for entry in &table.entries {
            let key = match &entry.key {
                Key::Text(word) => word,
                Key::Number(_) => &entry.name,
            };
            let category = entry.category.as_deref();
            let category = category.map_or_else(String::new, |category| format!(", category: {category}"));
            let _ = writeln!(
                self.text,
                "      {}: {{name: {}{category}}}",
                text(key),
                text(&entry.name)
            );
        }
    }
}

/// A value in YAML.
pub fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => number(*value),
        Scalar::Text(value) => text(value).into_owned(),
        Scalar::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", text(key), scalar(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "null".to_owned(),
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => format!("{value:?}"),
    }
}

/// Words that YAML takes for something else than text.
const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Text in YAML: as it is where nothing can be taken for something else, quoted otherwise.
pub fn text(value: &str) -> Cow<'_, str> {
    let is_plain = value.starts_with(|first: char| first.is_ascii_alphabetic())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
        && !WORDS.contains(&value.to_ascii_lowercase().as_str());
    if is_plain {
        return Cow::Borrowed(value);
    }
    Cow::Owned(quoted(value))
}

/// Text in double quotes.
pub fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for letter in value.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if is_unseen(letter) => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// What cannot stand in a file as it is, or would look like something else.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
}

/// Text in a comment: one line, not longer than this.
pub fn comment(text: &str, longest: usize) -> String {
    let seen = |letter| if is_unseen(letter) { ' ' } else { letter };
    let mut line: String = text.chars().map(seen).take(longest).collect();
    if text.chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}
