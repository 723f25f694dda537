//! What a rule is, in words: what consumers see of it, and what is behind that.

use std::collections::BTreeMap;

use floorgate_config::Mappings;
use floorgate_core::plan::{Field, Plan, Rule, RuleKind, Shape, Slot, Tag, TagSpec};
use floorgate_yaml::flow;

use super::words;

/// A rule's facts by what they are.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What consumers see.
    pub outside: BTreeMap<String, String>,
    /// What decides when an event is made, and of what.
    pub inside: BTreeMap<String, String>,
}

/// All that is said of a rule.
pub(super) fn facts(mappings: &Mappings, number: usize) -> Facts {
    let plan = &*mappings.plan;
    let rule = &plan.rules[number];
    let mut facts = Facts::default();
    let about = About { plan, rule };
    about.identity(&mut facts.outside);
    about.fields(&mut facts.outside);
    about.inside(&mut facts.inside);
    for tag in &rule.inputs {
        if let Some(row) = plan.tags.get(tag.index()) {
            let address = mappings.addresses.get(tag.index());
            let name = &row.spec.name;
            let mut put = |what: &str, text: Option<String>| {
                facts
                    .inside
                    .extend(text.map(|text| (format!("tag {name}: {what}"), text)));
            };
            put("address", address.map(flow));
            about.tag(row, &mut put);
        }
    }
    facts
}

struct About<'p> {
    plan: &'p Plan,
    rule: &'p Rule,
}

impl About<'_> {
    fn input(&self, slot: Slot) -> Option<&Tag> {
        let tag = self.rule.inputs.get(usize::from(slot.0))?;
        self.plan.tags.get(tag.index())
    }

    fn trigger(&self) -> Option<&TagSpec> {
        Some(&*self.input(Slot(0))?.spec)
    }

    fn name(&self, slot: Slot) -> String {
        self.input(slot)
            .map_or_else(String::new, |tag| tag.spec.name.to_string())
    }

    /// What an event is called, and where it goes.
    fn identity(&self, facts: &mut BTreeMap<String, String>) {
        let Self { plan, rule } = self;
        let equipment = plan.equipment.get(rule.equipment.0 as usize);
        let path = equipment.map_or("", |equipment| &*equipment.path);
        let spec = &rule.spec;
        let tag = |slot: Slot| format!("the value of {}", self.name(slot));
        let subject = match &spec.kind {
            RuleKind::WorkOrderStatus { order, .. } => format!("work-order/{{{}}}", self.name(*order)),
            RuleKind::EquipmentState | RuleKind::Custom { subject: None, .. } => format!("equipment/{path}"),
            RuleKind::ProductionCount { .. } => format!("counter/{}", self.name(Slot(0))),
            RuleKind::Alarm { .. } | RuleKind::Conditions => "alarm/{code}".to_owned(),
            RuleKind::Measurement { name } => format!("measurement/{name}"),
            RuleKind::Custom {
                subject: Some(subject),
                ..
            } => format!("{}{{{}}}", subject.prefix, self.name(subject.tag)),
        };
        facts.extend([
            ("type".to_owned(), words::kind(&spec.kind).to_owned()),
            ("topic".to_owned(), rule.topic.to_string()),
            ("key".to_owned(), spec.key.map_or_else(|| path.to_owned(), tag)),
            ("subject".to_owned(), subject),
            ("field equipmentPath".to_owned(), path.to_owned()),
        ]);
        if let RuleKind::Custom { domain, .. } = &spec.kind {
            facts.insert("domain".to_owned(), domain.to_string());
        }
        facts.extend(spec.correlation.map(|slot| ("correlation".to_owned(), tag(slot))));
        if rule.run.is_some() {
            facts.insert("correlation".to_owned(), "the run of the work order".to_owned());
        }
    }

    /// The fields of its data, each with where it comes from.
    fn fields(&self, facts: &mut BTreeMap<String, String>) {
        let Self { rule, .. } = self;
        let mut put = |name: &str, text: String| {
            facts.insert(format!("field {name}"), text);
        };
        let spec = &rule.spec;
        let trigger = self.trigger();
        let unit = trigger.and_then(|tag| tag.unit.as_deref()).unwrap_or("none");
        let table = trigger.and_then(|tag| tag.values.as_ref());
        match &spec.kind {
            RuleKind::WorkOrderStatus { order, latch } => {
                put("workOrderId", self.name(*order));
                put(
                    "status",
                    table.map_or_else(String::new, |table| words::table(table)),
                );
                for (name, slot) in latch {
                    put(name, format!("{} when the run begins", self.name(*slot)));
                }
            }
            RuleKind::EquipmentState => {
                put(
                    "state",
                    table.map_or_else(String::new, |table| words::table(table)),
                );
                put(
                    "model",
                    table.map_or_else(String::new, |table| table.model.to_string()),
                );
            }
            RuleKind::ProductionCount { event, unit, .. } => {
                put("counterId", self.name(Slot(0)));
                put("unit", unit.to_string());
                words::counted(event, &mut put);
                let decimals = trigger
                    .and_then(|tag| tag.counter)
                    .map_or(0, |counter| counter.decimals);
                put("delta", format!("{decimals} decimals"));
            }
            RuleKind::Alarm { of_condition } => {
                let bits = trigger.and_then(|tag| tag.bits.as_deref()).unwrap_or_default();
                let alarms = of_condition.as_ref().map_or(bits, std::slice::from_ref);
                for alarm in alarms {
                    put(&format!("code {}", alarm.code), words::alarm(alarm));
                }
            }
            RuleKind::Measurement { name } => {
                put("name", name.to_string());
                put("unit", unit.to_owned());
                put("value", "a value".to_owned());
            }
            RuleKind::Conditions => put("code", "the name of the condition".to_owned()),
            RuleKind::Custom { .. } => {}
        }
        if rule.run.is_some() {
            put("runId", "the run of the work order".to_owned());
        }
        if spec.snapshot.is_some() {
            put("snapshot", "whether what was read belongs together".to_owned());
        }
        if spec.sequence.is_some() {
            put("missed", "how many numbers were skipped".to_owned());
        }
        match &spec.shape {
            Shape::Join { .. } => put("missing", "what did not come".to_owned()),
            Shape::Expect { .. } => put(
                "deviation",
                "order or timeout, with expected, actual, reached and elapsedMs".to_owned(),
            ),
            Shape::Transitions(_) => put(
                "from",
                "the states of a transition, with to and allowed".to_owned(),
            ),
            Shape::Window(window) => put("value", format!("the {}", words::aggregate(window.value))),
            Shape::Every | Shape::Edge(_) => {}
        }
        self.data("", &spec.data, &mut put);
    }

    fn data(&self, above: &str, fields: &[(std::sync::Arc<str>, Field)], put: &mut impl FnMut(&str, String)) {
        for (name, field) in fields {
            let name = format!("{above}{name}");
            match field {
                Field::Input(slot) => {
                    let table = self.input(*slot).and_then(|tag| tag.spec.values.as_ref());
                    let names = table.map(|table| format!(", {}", words::table(table)));
                    put(
                        &name,
                        format!("{}{}", self.name(*slot), names.unwrap_or_default()),
                    );
                }
                Field::Previous => put(&name, "the value before".to_owned()),
                Field::Constant(constant) => put(&name, format!("constant {}", flow(constant))),
                Field::Computed(expression) => put(&name, format!("= {}", expression.text())),
                Field::Object(fields) => self.data(&format!("{name}."), fields, put),
            }
        }
    }

    /// When an event is made, and what becomes of it.
    fn inside(&self, facts: &mut BTreeMap<String, String>) {
        let spec = &self.rule.spec;
        let mut put = |name: &str, text: String| {
            facts.insert(name.to_owned(), text);
        };
        put("trigger", self.name(Slot(0)));
        put("made", words::shape(&spec.shape, |slot| self.name(slot)));
        put("priority", words::priority(spec.priority).to_owned());
        if let Some(guard) = &spec.when {
            put("when", guard.text().to_owned());
        }
        if let Some(slot) = spec.sequence {
            put("sequence", self.name(slot));
        }
        if let Some(snapshot) = &spec.snapshot {
            let names: Vec<String> = snapshot.tags.iter().map(|slot| self.name(*slot)).collect();
            put("snapshot", names.join(", "));
            if let Some(slot) = snapshot.unchanged {
                put("unchanged", self.name(slot));
            }
        }
        if let RuleKind::ProductionCount {
            reset: Some(slot), ..
        } = &spec.kind
        {
            put("reset", self.name(*slot));
        }
    }

    /// What a tag means, beside what events say of it.
    fn tag(&self, row: &Tag, put: &mut impl FnMut(&str, Option<String>)) {
        let spec = &row.spec;
        let source = self.plan.sources.get(row.source.index());
        put("source", source.map(|source| source.name.to_string()));
        let valid = row.valid.and_then(|valid| self.plan.tags.get(valid.index()));
        put("valid", valid.map(|valid| valid.spec.name.to_string()));
        put("unit", spec.unit.as_deref().map(str::to_owned));
        put(
            "deadband",
            spec.deadband.map(|deadband| deadband.absolute.to_string()),
        );
        put("at_least_every", spec.at_least_every.map(words::time));
        put("debounce", spec.debounce.map(words::time));
        put("heartbeat", spec.heartbeat.map(words::time));
        put("late_after", spec.late_after.map(words::time));
        put("values", spec.values.as_ref().map(|table| words::table(table)));
        put("counter", spec.counter.map(words::counter));
        let bits = spec.bits.as_ref().map(|bits| {
            let bits = bits.iter().map(|bit| format!("{} {}", bit.bit, bit.code));
            bits.collect::<Vec<_>>().join(", ")
        });
        put("bits", bits);
        put(
            "mask",
            spec.field
                .map(|field| format!("{:#x} >> {}", field.mask, field.shift)),
        );
        put("initial", Some(words::initial(spec.initial).to_owned()));
    }
}
