//! The tags and events of an instance that an override changes. All others are those that the instances share.

use std::collections::HashMap;
use std::rc::Rc;

use floorgate_yaml::{Node, Problems};

use crate::companions;
use crate::data::Scope;
use crate::event::{self, EventPlan};
use crate::in_instance::{Of, Override, Told};
use crate::links;
use crate::mapping::{Compiler, Mapping};
use crate::origin::Origin;
use crate::overrides::{EventChange, TagChange};
use crate::tag::{self, Tables, TagPlan};
use crate::template::{Instance, Template};

/// Tags and events of one instance, in the places that they have in the mapping.
pub(crate) struct Variant<'n> {
    pub tags: Vec<TagPlan<'n>>,
    pub events: Vec<Rc<EventPlan<'n>>>,
}

impl<'n> Compiler<'n> {
    /// What an override makes of the shared definition: of the mapping, of which it is known which tags events use, and
    /// whether all events are right.
    pub(crate) fn variant(
        &self,
        (mapping, used, whole): (&Mapping<'n>, &[bool], bool),
        own: Override<'n>,
        instance: &Instance,
        (tables, told): (&mut Tables, &mut Told),
        problems: &mut Problems,
    ) -> Variant<'n> {
        let change = own.change;
        let mut tags = mapping.tags.clone();
        let mut means_other = vec![false; tags.len()];
        for (place, tag) in tags.iter_mut().enumerate() {
            let Some(change) = change.tags.get(tag.name) else {
                continue;
            };
            let Some(entry) = &change.entry else {
                tag.left_out = true;
                continue;
            };
            let checked = problems.list().len();
            let origin = self.origin_in(&entry.2, mapping, instance, problems);
            let mut other = tag::read(entry, origin.as_ref(), &mapping.instances, tables, problems);
            means_other[place] = change.means_other || other.given != tag.given;
            if !means_other[place] {
                other.spec.clone_from(&tag.spec);
            }
            other.on_demand = tag.on_demand;
            own.tell(checked, Of::Tag(tag.name), told, problems);
            *tag = other;
        }
        let before = problems.error_count();
        let checked = problems.list().len();
        companions::find(&mut tags);
        if mapping.whole {
            links::check_companions(&tags, problems);
        }
        own.tell(checked, Of::Instance, told, problems);
        let is_there = |change: &TagChange| change.entry.is_some();
        if change.events.is_empty() && change.tags.values().all(is_there) && !means_other.contains(&true) {
            let events = mapping.events.clone();
            return Variant { tags, events };
        }
        let events = self.changed_events(mapping, (own, told), instance, (&tags, &means_other), problems);
        // What lacks an event that is wrong is not wrong as well.
        if !whole || problems.error_count() > before {
            return Variant { tags, events };
        }
        let mut used_here = vec![false; tags.len()];
        for event in &events {
            for input in &event.inputs {
                used_here[*input] = true;
            }
        }
        let checked = problems.list().len();
        links::mark_used(&tags, &mut used_here, problems);
        links::mark_on_demand(&mut tags, &events, &used_here);
        let run = mapping.run.as_ref().map(|_| change.span);
        let here = format!("instance `{}`", change.instance);
        links::check_run(run, &events, &here, problems);
        links::check_instance(change, &tags, (used, &used_here), &events, problems);
        own.tell(checked, Of::Instance, told, problems);
        Variant { tags, events }
    }

    /// Where a tag's values come from in one instance. `None` where its source is not known.
    fn origin_in(
        &self,
        tag: &Node,
        mapping: &Mapping<'n>,
        instance: &Instance,
        problems: &mut Problems,
    ) -> Option<Origin<'n>> {
        let source = match tag.get("source") {
            Some(own) => {
                let parameters = &mapping.instances.parameters;
                Template::parse(own.as_text()?, own.span, parameters, problems)?
            }
            None => mapping.source.as_ref()?.0.clone(),
        };
        self.origin_of(&source.fill(&instance.values))
    }

    /// The events of an instance: those that it has of its own, or whose tags mean something else there, are read anew.
    fn changed_events(
        &self,
        mapping: &Mapping<'n>,
        (own, told): (Override<'n>, &mut Told),
        instance: &Instance,
        (tags, means_other): (&[TagPlan<'n>], &[bool]),
        problems: &mut Problems,
    ) -> Vec<Rc<EventPlan<'n>>> {
        let by_name: HashMap<&str, usize> = tags
            .iter()
            .enumerate()
            .map(|(place, tag)| (tag.name, place))
            .collect();
        let mut events = Vec::with_capacity(mapping.events.len());
        for shared in &mapping.events {
            let node = match own.change.events.get(&shared.name) {
                Some(EventChange::LeftOut) => continue,
                Some(EventChange::Keys(keys)) => keys,
                None if shared.inputs.iter().any(|input| means_other[*input]) => shared.node,
                None => {
                    events.push(Rc::clone(shared));
                    continue;
                }
            };
            let mut scope = Scope {
                tags,
                by_name: &by_name,
                parameters: &mapping.instances.parameters,
                values: &instance.values,
                run: mapping.run.as_ref().map(|(run, _)| run),
                whole: mapping.whole,
                inputs: Vec::new(),
                differs: false,
            };
            let checked = problems.list().len();
            if let Some(mut other) = event::read(node, self.overrides, &mut scope, &mapping.version, problems)
            {
                // Its state is stored under the name that it has in all instances.
                other.name.clone_from(&shared.name);
                events.push(Rc::new(other));
            }
            if problems.list().len() > checked {
                let others = shared.inputs.iter().filter(|input| means_other[**input]);
                let others: Vec<&str> = others.map(|input| tags[*input].name).collect();
                own.tell(checked, Of::Event(&shared.name, &others), told, problems);
            }
        }
        events
    }
}
