//! What differs between the instances of a template, as few parameters as will do.

use std::collections::HashMap;

use floorgate_adapter_api::{Point, Scalar};

use super::names::Taken;
use super::template::{Template, differing, with_parameter};
use super::tree::own_name;
use super::{names, template};

/// The parameters of a template and the texts that they fill.
#[derive(Debug)]
pub struct Parameters {
    /// Their names; the first one names the instance.
    pub names: Vec<String>,
    /// For each instance their values.
    pub values: Vec<Vec<Scalar>>,
    /// The equipment below that of the whole.
    pub equipment: String,
    /// For each point the parts of its address that are other than those of the first instance: the key's place, and the text with placeholders.
    pub addresses: Vec<Vec<(usize, String)>>,
}

/// A part of a point's address that is not the same in all instances.
struct Slot {
    point: usize,
    key: usize,
    /// What it is in each instance.
    texts: Vec<String>,
    is_whole: bool,
}

/// Finds the parameters; `None` where a value cannot stand in `for_each`. `labels` are the names of the instances, each another.
pub fn find(points: &[Point], instances: &[Vec<usize>], labels: &[String], kind: &str) -> Option<Parameters> {
    let slots = slots(points, instances);
    let candidates = [differing(labels)].into_iter().chain(
        slots
            .iter()
            .filter(|slot| !slot.is_whole)
            .map(|slot| differing(&slot.texts))
            .take(1),
    );
    let mut best: Option<Parameters> = None;
    for values in candidates {
        let found = with(points, &slots, (labels, instances), &values, kind);
        let is_better = |found: &Parameters| {
            best.as_ref()
                .is_none_or(|best| found.names.len() < best.names.len())
        };
        if found.as_ref().is_some_and(is_better) {
            best = found;
        }
    }
    best
}

/// The parameters, of which one has these values wherever they will do.
fn with(
    points: &[Point],
    slots: &[Slot],
    (labels, instances): (&[String], &[Vec<usize>]),
    values: &[String],
    kind: &str,
) -> Option<Parameters> {
    let mut taken = Taken::default();
    let main = taken.tag(kind);
    let mut parameters = Parameters {
        names: Vec::new(),
        values: vec![Vec::new(); instances.len()],
        equipment: String::new(),
        addresses: vec![Vec::new(); instances[0].len()],
    };
    let of_equipment = with_parameter(labels, values);
    let is_distinct = {
        let mut known = Taken::default();
        values.iter().all(|value| known.tag(value) == *value)
    };
    let shared = if let Some(template) = of_equipment.filter(|_| is_distinct) {
        parameters.equipment = template.text(&main);
        parameters.add(&main, values, false)?;
        main
    } else {
        parameters.equipment = format!("{{{main}}}");
        parameters.add(&main, labels, false)?;
        taken.tag("address")
    };
    let mut tags: HashMap<usize, String> = HashMap::new();
    for slot in slots {
        let template = (!slot.is_whole)
            .then(|| with_parameter(&slot.texts, values))
            .flatten();
        let text = if let Some(template) = template {
            if !parameters.names.contains(&shared) {
                parameters.add(&shared, values, false)?;
            }
            template.text(&shared)
        } else if slot.is_whole && slot.texts == values && parameters.names.contains(&shared) {
            // The number that the instances are named after, as a unit id.
            format!("{{{shared}}}")
        } else {
            let own = tags.entry(slot.point).or_insert_with(|| {
                let point = &points[instances[0][slot.point]];
                names::tag(own_name(point))
            });
            let name = taken.tag(own);
            if slot.is_whole {
                parameters.add(&name, &slot.texts, true)?;
                format!("{{{name}}}")
            } else {
                let values = differing(&slot.texts);
                let template = with_parameter(&slot.texts, &values)?;
                parameters.add(&name, &values, false)?;
                template.text(&name)
            }
        };
        parameters.addresses[slot.point].push((slot.key, text));
    }
    Some(parameters)
}

impl Parameters {
    fn add(&mut self, name: &str, values: &[String], is_whole: bool) -> Option<()> {
        // It would be read as a range of numbers.
        if values.iter().any(|value| value.contains("..")) {
            return None;
        }
        let is_number = is_whole || values.iter().all(|value| template::is_number(value));
        self.names.push(name.to_owned());
        for (of_instance, value) in self.values.iter_mut().zip(values) {
            let number = value.parse().ok().filter(|_| is_number);
            of_instance.push(number.map_or_else(|| Scalar::Text(value.clone()), Scalar::Int));
        }
        Some(())
    }
}

fn slots(points: &[Point], instances: &[Vec<usize>]) -> Vec<Slot> {
    let mut slots = Vec::new();
    for at in 0..instances[0].len() {
        let address = |instance: &Vec<usize>, key: usize| &points[instance[at]].address[key].1;
        for key in 0..points[instances[0][at]].address.len() {
            let first = address(&instances[0], key);
            if instances.iter().all(|instance| address(instance, key) == first) {
                continue;
            }
            let text = |instance: &Vec<usize>| match address(instance, key) {
                Scalar::Text(text) => text.clone(),
                Scalar::Int(number) => number.to_string(),
                other => format!("{other:?}"),
            };
            slots.push(Slot {
                point: at,
                key,
                texts: instances.iter().map(text).collect(),
                is_whole: matches!(first, Scalar::Int(_)),
            });
        }
    }
    slots
}

/// The text of an address that all instances share, braces doubled.
pub fn literal(text: &str) -> String {
    Template::literal(text).text("")
}
