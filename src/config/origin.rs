//! Where the values of a tag come from, as far as all of its instances agree.

use std::collections::BTreeSet;

use floorgate_adapter_api::{Adapter, Given};

use crate::fit;
use crate::mapping::Compiler;
use crate::tag::TagPlan;
use crate::template::{Instance, Instances, Template};

/// What is known of where values come from.
#[derive(Clone)]
pub(crate) struct Origin<'n> {
    /// Keys that addresses may have.
    pub keys: Vec<&'static str>,
    /// The adapter, where it is the same in all instances.
    pub adapter: Option<&'n dyn Adapter>,
}

impl<'n> Compiler<'n> {
    /// What is known of a source; `None` where it or its adapter is unknown.
    pub(crate) fn origin_of(&self, source: &str) -> Option<Origin<'n>> {
        let adapter = self.sources[*self.by_name.get(source)?].adapter?;
        Some(Origin {
            keys: adapter.address_keys().to_vec(),
            adapter: Some(adapter),
        })
    }

    /// What is known of the sources of all instances; `None` where any is unknown.
    pub(crate) fn origin(&self, template: &Template, instances: &Instances) -> Option<Origin<'n>> {
        let names: BTreeSet<String> = if template.is_constant() {
            BTreeSet::from([template.fill(&[])])
        } else {
            let of = |instance: &Instance| template.fill(&instance.values);
            instances.list.iter().map(of).collect()
        };
        let mut names = names.iter();
        // Without instances no source is known, and no key is wrong.
        let mut all = self.origin_of(names.next()?)?;
        for name in names {
            let other = self.origin_of(name)?;
            let word = |origin: &Origin<'n>| origin.adapter.map(Adapter::name);
            if word(&all) != word(&other) {
                all.adapter = None;
                all.keys.extend(other.keys);
            }
        }
        all.keys.sort_unstable();
        all.keys.dedup();
        Some(all)
    }
}

impl TagPlan<'_> {
    /// What the values are that rules see, as far as it is known.
    pub(crate) fn shown(&self) -> Option<Given> {
        let spec = self.spec.as_ref()?;
        fit::taken(spec.field, self.given)
    }

    /// Asks the adapter what the values are.
    pub(crate) fn ask(&mut self, origin: Option<&Origin<'_>>, instances: &Instances) {
        let Some((address, adapter)) = self
            .address
            .as_ref()
            .zip(origin.and_then(|origin| origin.adapter))
        else {
            return;
        };
        self.given = adapter.gives(address.written());
        self.happens = adapter.happens(address.written());
        if self.given.is_none() && !address.is_constant() {
            let of =
                |instance: &Instance| adapter.gives(&address.fill(&instances.parameters, &instance.values));
            let mut all = instances.list.iter().map(of);
            if let Some(first) = all.next().flatten() {
                self.varies = all.any(|given| given != Some(first));
                self.given = Some(first).filter(|_| !self.varies);
            }
        }
    }
}
