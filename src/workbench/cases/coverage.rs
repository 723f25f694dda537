//! What of mappings the tests reached: rules, and within them states, alarms and guards.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use floorgate_config::Mappings;
use floorgate_core::plan::{BitField, Plan, Rule, RuleKind, Tag};
use floorgate_core::table::{Key, ValueTable};
use floorgate_sample::{Sample, TagId, Value};
use floorgate_yaml::{FileId, Problems, Span};
use serde::Serialize;

use crate::compare::kind;

use super::file::Test;
use super::seen::Seen;
use super::steps::Action;
use super::subject::Subject;

/// What tests reached of all mappings that they are of. All instances of a mapping are one.
#[derive(Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<Place, Reached>,
}

/// Where a rule is written: file, whatever it is called, line and column.
type Place = (PathBuf, u32, u32);

#[derive(Debug, Default)]
struct Reached {
    /// The file as it was first named.
    file: String,
    rule: String,
    made: bool,
    /// What may happen in the rule, and whether it did.
    branches: BTreeMap<Branch, bool>,
}

/// Something that may happen in a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    State(usize, Arc<str>),
    Raised(usize, Arc<str>),
    Cleared(usize, Arc<str>),
    GuardHolds,
    GuardHoldsBack,
}

/// A rule that tests did not reach, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// Where the rule is written.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The last part of its id.
    pub rule: String,
    /// Whether any test makes an event of it.
    pub made: bool,
    /// States that its trigger takes in none.
    pub states: Vec<String>,
    /// Alarms that none raises.
    pub not_raised: Vec<String>,
    /// Alarms that none clears.
    pub not_cleared: Vec<String>,
    /// What its condition (`when`) is in none.
    pub when: Vec<bool>,
}

/// How much was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rules of which a test makes an event.
    pub rules: usize,
    /// All rules.
    pub all_rules: usize,
    /// Branches that happen in a test.
    pub branches: usize,
    /// All branches.
    pub all_branches: usize,
}

impl Coverage {
    /// Adds the rules of mappings, of which nothing is reached yet.
    pub(crate) fn know(&mut self, mappings: &Mappings, problems: &Problems) {
        let places = places(mappings, problems);
        for ((rule, span), place) in mappings.plan.rules.iter().zip(&mappings.rules).zip(places) {
            let reached = self.rules.entry(place).or_default();
            if reached.rule.is_empty() {
                let file = problems
                    .file(span.file)
                    .map(|(path, _)| path.display().to_string());
                reached.file = file.unwrap_or_default();
                reached.rule = short_id(rule);
            }
            for branch in branches(rule, &mappings.plan) {
                reached.branches.entry(branch).or_default();
            }
        }
    }

    /// Notes what a test reached: what came of it, and what would have come without conditions.
    pub(crate) fn note(
        &mut self,
        mappings: &Mappings,
        test: &Test,
        (seen, unguarded): (&[Seen], &[Seen]),
        problems: &Problems,
    ) {
        let plan = &mappings.plan;
        let (made, would) = (by_rule(seen), by_rule(unguarded));
        let values = values(test, plan);
        for (rule, place) in plan.rules.iter().zip(places(mappings, problems)) {
            let Some(reached) = self.rules.get_mut(&place) else {
                continue;
            };
            let made = made.get(&*rule.id).map(Vec::as_slice).unwrap_or_default();
            let would = would.get(&*rule.id).map_or(0, Vec::len);
            reached.made |= !made.is_empty();
            for (branch, happened) in &mut reached.branches {
                *happened |= match branch {
                    Branch::State(..) => states(rule, plan, &values).contains(branch),
                    Branch::Raised(_, code) => has_alarm(made, "AlarmRaised", code),
                    Branch::Cleared(_, code) => has_alarm(made, "AlarmCleared", code),
                    Branch::GuardHolds => !made.is_empty(),
                    Branch::GuardHoldsBack => would > made.len(),
                };
            }
        }
    }

    /// The rules of which something was not reached, by place.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Uncovered> {
        let lacking = |(place, reached): (&Place, &Reached)| {
            let mut found = Uncovered {
                file: reached.file.clone(),
                line: place.1,
                rule: reached.rule.clone(),
                made: reached.made,
                states: Vec::new(),
                not_raised: Vec::new(),
                not_cleared: Vec::new(),
                when: Vec::new(),
            };
            let never = reached.branches.iter().filter(|(_, happened)| !**happened);
            let never: Vec<&Branch> = never.map(|(branch, _)| branch).collect();
            for branch in &never {
                match branch {
                    Branch::State(_, name) => found.states.push(name.to_string()),
                    Branch::Raised(_, code) => found.not_raised.push(code.to_string()),
                    Branch::Cleared(_, code) => found.not_cleared.push(code.to_string()),
                    Branch::GuardHolds => found.when.push(true),
                    Branch::GuardHoldsBack => found.when.push(false),
                }
            }
            (!found.made || !never.is_empty()).then_some(found)
        };
        self.rules.iter().filter_map(lacking).collect()
    }

    /// How much was reached.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for reached in self.rules.values() {
            counts.all_rules += 1;
            counts.rules += usize::from(reached.made);
            counts.all_branches += reached.branches.len();
            counts.branches += reached.branches.values().filter(|happened| **happened).count();
        }
        counts
    }
}

impl Uncovered {
    /// What happens in no test, in words.
    #[must_use]
    pub fn never(&self) -> String {
        let mut parts = Vec::new();
        if !self.made {
            parts.push("no test makes an event of it".to_owned());
        }
        for (what, names) in [
            ("states never taken", &self.states),
            ("alarms never raised", &self.not_raised),
            ("alarms never cleared", &self.not_cleared),
        ] {
            if !names.is_empty() {
                parts.push(format!("{what}: {}", names.join(", ")));
            }
        }
        parts.extend(self.when.iter().map(|value| format!("`when` is never {value}")));
        parts.join("; ")
    }
}

/// Where each rule is written, by number.
fn places(mappings: &Mappings, problems: &Problems) -> Vec<Place> {
    let mut files: HashMap<FileId, PathBuf> = HashMap::new();
    let mut place = |span: &Span| {
        let file = files.entry(span.file).or_insert_with(|| {
            let path = problems.file(span.file).map(|(path, _)| path);
            path.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
                .unwrap_or_default()
        });
        (file.clone(), span.line, span.column)
    };
    mappings.rules.iter().map(&mut place).collect()
}

/// The last part of a rule's id, which all instances share.
fn short_id(rule: &Rule) -> String {
    let id = &*rule.id;
    let kind = kind(&rule.spec.kind);
    match id.find(&format!(".{kind}.")) {
        Some(at) => id[at + 1..].to_owned(),
        None => id.rsplit('.').next().unwrap_or(id).to_owned(),
    }
}

fn trigger<'p>(rule: &Rule, plan: &'p Plan) -> Option<&'p Tag> {
    plan.tags.get(rule.inputs.first()?.index())
}

/// All that may happen in a rule, as far as it is written.
fn branches(rule: &Rule, plan: &Plan) -> Vec<Branch> {
    let trigger = trigger(rule, plan);
    let table = trigger.and_then(|tag| tag.spec.values.as_ref());
    let states = table.iter().flat_map(|table| &table.entries).enumerate();
    let mut branches: Vec<Branch> = states
        .map(|(place, entry)| Branch::State(place, Arc::clone(&entry.name)))
        .collect();
    if let RuleKind::Alarm { of_condition } = &rule.spec.kind {
        let bits = trigger
            .and_then(|tag| tag.spec.bits.as_deref())
            .unwrap_or_default();
        let alarms = of_condition.as_ref().map_or(bits, std::slice::from_ref);
        for (place, alarm) in alarms.iter().enumerate() {
            branches.push(Branch::Raised(place, Arc::clone(&alarm.code)));
            branches.push(Branch::Cleared(place, Arc::clone(&alarm.code)));
        }
    }
    if rule.spec.when.is_some() {
        branches.extend([Branch::GuardHolds, Branch::GuardHoldsBack]);
    }
    branches
}

fn has_alarm(made: &[&Seen], kind: &str, code: &str) -> bool {
    made.iter()
        .any(|seen| seen.kind() == kind && seen.field("code").is_some_and(|it| it == code))
}

fn by_rule(seen: &[Seen]) -> HashMap<&str, Vec<&Seen>> {
    let mut by_rule: HashMap<&str, Vec<&Seen>> = HashMap::new();
    for seen in seen {
        if let Some(rule) = &seen.rule {
            by_rule.entry(rule).or_default().push(seen);
        }
    }
    by_rule
}

/// The values that a test gives tags.
fn values(test: &Test, plan: &Plan) -> HashMap<TagId, Vec<Value>> {
    let samples = test
        .steps
        .iter()
        .flat_map(|step| &step.actions)
        .flat_map(|action| match action {
            Action::Batch { samples, .. } => samples.as_slice(),
            _ => &[],
        });
    let mut values: HashMap<TagId, Vec<Value>> = HashMap::new();
    for Sample { tag, value, .. } in samples {
        let Some(value) = value else { continue };
        let field = plan.tags.get(tag.index()).and_then(|tag| tag.spec.field);
        let value = match field {
            Some(field) => bits_of(field, value),
            None => Some(value.clone()),
        };
        values.entry(*tag).or_default().extend(value);
    }
    values
}

fn bits_of(field: BitField, value: &Value) -> Option<Value> {
    let whole = value.as_i128()?;
    // The lowest 64 bits, of a negative number as it stands in a register.
    let bits = u64::try_from(whole & i128::from(u64::MAX)).ok()?;
    Some(Value::UInt((bits & field.mask) >> field.shift))
}

/// The states that a rule's trigger took.
fn states(rule: &Rule, plan: &Plan, values: &HashMap<TagId, Vec<Value>>) -> Vec<Branch> {
    let table = trigger(rule, plan).and_then(|tag| tag.spec.values.as_deref());
    let taken = rule.inputs.first().and_then(|tag| values.get(tag));
    let Some((table, taken)) = table.zip(taken) else {
        return Vec::new();
    };
    taken.iter().filter_map(|value| state(table, value)).collect()
}

fn state(table: &ValueTable, value: &Value) -> Option<Branch> {
    let found = table.find(value)?;
    let same = |key: &Key| *key == found.key;
    let place = table.entries.iter().position(|entry| same(&entry.key))?;
    Some(Branch::State(place, Arc::clone(&found.name)))
}

/// The mappings without the conditions of their rules; `None` where no rule has one. Where more events come of them, a condition
/// held something back.
pub(crate) fn without_guards(subject: &Subject) -> Option<Subject> {
    let has_guard = |rule: &&mut Rule| rule.spec.when.is_some();
    let mut plan = Plan::clone(&subject.plan);
    let mut count = 0;
    for rule in plan.rules.iter_mut().filter(has_guard) {
        Arc::make_mut(&mut rule.spec).when = None;
        count += 1;
    }
    (count > 0).then(|| Subject {
        plan: Arc::new(plan),
        ..subject.clone()
    })
}
