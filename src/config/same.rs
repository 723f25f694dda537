//! Instances that read the same addresses: of a template whose addresses lack the parameter every machine tells what one of them does.

use std::collections::HashMap;

use floorgate_yaml::Problems;

use crate::mapping::Mapping;
use crate::template::{Instance, NodeTemplate, Template};

/// Warns once where two of these instances tell the same of two machines. What one trigger tells of all of them is no mistake while
/// other triggers are each machine's own, or what is told with it is.
pub(crate) fn check(mapping: &Mapping<'_>, instances: &[&Instance], problems: &mut Problems) {
    let is_told_already = |(equipment, _): &(Template, _)| equipment.is_constant();
    if mapping.equipment.as_ref().is_none_or(is_told_already) {
        return;
    }
    let mut events = mapping.events.iter();
    if !events.all(|event| pair(mapping, event.inputs.get(..1).unwrap_or_default(), instances).is_some()) {
        return;
    }
    let told = |inputs: &[usize]| pair(mapping, inputs, instances).zip(inputs.first().copied());
    let Some(((one, other), trigger)) = mapping.events.iter().find_map(|event| told(&event.inputs)) else {
        return;
    };
    let trigger = &mapping.tags[trigger];
    problems
        .warning(
            trigger.span,
            format!(
                "instances `{}` and `{}` read tag `{}` from the same address, and tell the same of two machines",
                one.name, other.name, trigger.name
            ),
        )
        .hint(format!(
            "put a parameter into the addresses or into `source`: `{{{}}}`",
            mapping.instances.parameters.join("}`, `{")
        ));
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
