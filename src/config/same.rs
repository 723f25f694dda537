//! Instances that read the same addresses: of a template whose addresses lack the parameter every machine tells what one of them does.

use std::collections::{HashMap, HashSet};

use floorgate_yaml::Problems;

use crate::mapping::Mapping;
use crate::tag::TagPlan;
use crate::template::{Instance, NodeTemplate, Template};

/// Warns where two of these instances tell the same of two machines. What one trigger tells of all of them is no mistake while other
/// triggers are each machine's own, or what is told with it is; but what a machine does no other one does for it.
pub(crate) fn check(mapping: &Mapping<'_>, instances: &[&Instance], problems: &mut Problems) {
    let is_told_already = |(equipment, _): &(Template, _)| equipment.is_constant();
    if mapping.equipment.as_ref().is_none_or(is_told_already) {
        return;
    }
    let told = |inputs: &[usize]| pair(mapping, inputs, instances).zip(inputs.first().copied());
    let mut events = mapping.events.iter();
    if events.all(|event| pair(mapping, event.inputs.get(..1).unwrap_or_default(), instances).is_some())
        && let Some((pair, trigger)) = mapping.events.iter().find_map(|event| told(&event.inputs))
    {
        let hint = format!(
            "put a parameter into the addresses or into `source`: {}",
            listed(mapping)
        );
        report(pair, &mapping.tags[trigger], "", hint, problems);
        return;
    }
    let mut known = HashSet::new();
    for event in &mapping.events {
        let Some(tags) = event.tells_of_equipment() else {
            continue;
        };
        let Some(&trigger) = tags.first().filter(|trigger| !known.contains(*trigger)) else {
            continue;
        };
        // One order runs on all machines of a line, and each needs it for its runs.
        let is_of_runs = |order: usize| mapping.run.is_some() && pair(mapping, &[order], instances).is_some();
        if event.order().is_some_and(is_of_runs) {
            continue;
        }
        // Of one that holds while another tag says so, that one tells the machines apart.
        let gates = tags.iter().filter_map(|tag| mapping.tags[*tag].gate);
        let all: Vec<usize> = tags.iter().copied().chain(gates).collect();
        if let Some(pair) = pair(mapping, &all, instances) {
            known.insert(trigger);
            let hint = format!(
                "put a parameter into its address: {}; what is of both is told in a mapping of the equipment that they are part of",
                listed(mapping)
            );
            let what = format!(": `{}`", event.event.value);
            report(pair, &mapping.tags[trigger], &what, hint, problems);
        }
    }
}

fn report(
    (one, other): (&Instance, &Instance),
    tag: &TagPlan<'_>,
    what: &str,
    hint: String,
    problems: &mut Problems,
) {
    problems
        .warning(
            tag.span,
            format!(
                "instances `{}` and `{}` read tag `{}` from the same address, and tell the same of two machines{what}",
                one.name, other.name, tag.name
            ),
        )
        .hint(hint);
}

/// The parameters of a mapping, as placeholders.
fn listed(mapping: &Mapping<'_>) -> String {
    format!("`{{{}}}`", mapping.instances.parameters.join("}`, `{"))
}

/// Two instances that read all of these tags from the same sources and addresses.
fn pair<'i>(
    mapping: &Mapping<'_>,
    tags: &[usize],
    instances: &[&'i Instance],
) -> Option<(&'i Instance, &'i Instance)> {
    let mut sources = Vec::with_capacity(tags.len());
    for place in tags {
        let tag = &mapping.tags[*place];
        tag.address
            .as_ref()
            .filter(|address| NodeTemplate::is_constant(address))?;
        sources.push(match &tag.source {
            Some(own) => Template::parse(
                own,
                own.span,
                &mapping.instances.parameters,
                &mut Problems::default(),
            )?,
            None => mapping.source.as_ref()?.0.clone(),
        });
    }
    let mut known = HashMap::new();
    instances.iter().find_map(|instance| {
        let names: Vec<String> = sources
            .iter()
            .map(|source| source.fill(&instance.values))
            .collect();
        Some((known.insert(names, *instance)?, *instance))
    })
}
