//! What a case is about: a plan, and what is known of its gateway and sources.

use std::sync::Arc;

use floorgate_config::{Loaded, Mappings};
use floorgate_core::plan::{Plan, Tag};
use floorgate_sample::TagId;

/// A plan that steps are played to.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the core runs.
    pub plan: Arc<Plan>,
    /// The gateway's id.
    pub gateway: Arc<str>,
    /// Prefix of event types.
    pub type_prefix: Arc<str>,
    /// By source: whether the device says when a value came to be.
    pub has_source_time: Vec<bool>,
}

impl Subject {
    /// The plan of a whole configuration.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let sources = loaded.sources.iter();
        Self {
            plan: Arc::clone(&loaded.plan),
            gateway: "test".into(),
            type_prefix: loaded.settings.events.type_prefix.value.as_str().into(),
            has_source_time: sources.map(|source| source.has_source_time).collect(),
        }
    }

    /// The plan of mappings alone.
    #[must_use]
    pub fn of_mappings(mappings: &Mappings) -> Self {
        let sources = mappings.sources.iter();
        Self {
            plan: Arc::clone(&mappings.plan),
            gateway: mappings.gateway.as_deref().unwrap_or("test").into(),
            type_prefix: mappings.type_prefix.as_str().into(),
            has_source_time: sources.map(|source| source.has_source_time).collect(),
        }
    }

    /// Whether the device says when a tag's value came to be.
    #[must_use]
    pub fn says_when(&self, tag: TagId) -> bool {
        let source = self.plan.tags.get(tag.index()).map(|tag| tag.source.index());
        source.and_then(|source| self.has_source_time.get(source)) != Some(&false)
    }

    /// The names of tags in steps, by number: without their mapping, where there is one only.
    #[must_use]
    pub fn short_names(&self) -> Vec<String> {
        let parts = self.plan.tags.iter().map(|tag| tag.key.split_once('/'));
        let mut mappings = parts.clone().map(|parts| parts.map(|(mapping, _)| mapping));
        let first = mappings.next().flatten();
        let is_one = mappings.all(|mapping| mapping == first);
        let short = |(tag, parts): (&Tag, Option<(&str, &str)>)| match parts {
            Some((_, rest)) if is_one => rest.to_owned(),
            _ => tag.key.to_string(),
        };
        self.plan.tags.iter().zip(parts).map(short).collect()
    }
}
