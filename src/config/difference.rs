//! What is another in one configuration than in the one before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use floorgate_core::plan::{Plan, Rule, RuleSpec, TagSpec};
use floorgate_sample::TagId;

/// What of a configuration is compared with the next one.
#[derive(Debug)]
pub struct Outline {
    pub(crate) plan: Arc<Plan>,
    /// What adapters are told of each tag, by number.
    pub(crate) tags: Vec<u64>,
    /// What each source is to its adapter.
    pub(crate) sources: BTreeMap<Arc<str>, u64>,
}

/// The difference of two configurations, by names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rules that were not there before.
    pub rules_added: Vec<Arc<str>>,
    /// Rules that are not there any more.
    pub rules_removed: Vec<Arc<str>>,
    /// Rules that make another event than before, of other changes, or of tags that mean something else or are read somewhere else.
    pub rules_changed: Vec<Arc<str>>,
    /// Sources that need not be touched: what their adapters are told of them is the same.
    pub sources_kept: Vec<Arc<str>>,
    /// Sources that are there in both, and not the same.
    pub sources_changed: Vec<Arc<str>>,
    /// Sources that were not there before.
    pub sources_added: Vec<Arc<str>>,
    /// Sources that are not there any more.
    pub sources_removed: Vec<Arc<str>>,
}

impl Outline {
    /// What is another than before. Versions of mapping files and numbers of the plan make no difference.
    #[must_use]
    pub fn difference(&self, before: &Self) -> Difference {
        let mut difference = Difference::default();
        let mut earlier: HashMap<&str, &Rule> = HashMap::with_capacity(before.plan.rules.len());
        earlier.extend(before.plan.rules.iter().map(|rule| (&*rule.id, rule)));
        let mut forms = Forms::default();
        for rule in &self.plan.rules {
            match earlier.remove(&*rule.id) {
                None => difference.rules_added.push(Arc::clone(&rule.id)),
                Some(old) if self.is_same(rule, before, old, &mut forms) => {}
                Some(_) => difference.rules_changed.push(Arc::clone(&rule.id)),
            }
        }
        let gone = before
            .plan
            .rules
            .iter()
            .filter(|rule| earlier.contains_key(&*rule.id));
        difference.rules_removed = gone.map(|rule| Arc::clone(&rule.id)).collect();
        for (name, source) in &self.sources {
            let kin = match before.sources.get(name) {
                None => &mut difference.sources_added,
                Some(old) if old == source => &mut difference.sources_kept,
                Some(_) => &mut difference.sources_changed,
            };
            kin.push(Arc::clone(name));
        }
        let gone = before
            .sources
            .keys()
            .filter(|name| !self.sources.contains_key(*name));
        difference.sources_removed = gone.cloned().collect();
        difference
    }

    fn is_same(&self, rule: &Rule, before: &Self, old: &Rule, forms: &mut Forms) -> bool {
        let run = |plan: &Plan, rule: &Rule| {
            let run = rule.run.and_then(|run| plan.rules.get(run.0 as usize));
            run.map(|run| Arc::clone(&run.id))
        };
        let path = |plan: &Plan, rule: &Rule| {
            let equipment = plan.equipment.get(rule.equipment.0 as usize);
            equipment.map(|equipment| Arc::clone(&equipment.path))
        };
        rule.topic == old.topic
            && rule.inputs.len() == old.inputs.len()
            && path(&self.plan, rule) == path(&before.plan, old)
            && run(&self.plan, rule) == run(&before.plan, old)
            && forms.are_same(&rule.spec, &old.spec)
            && rule
                .inputs
                .iter()
                .zip(&old.inputs)
                .all(|(tag, old)| self.is_same_tag(*tag, before, *old, forms))
    }

    fn is_same_tag(&self, id: TagId, before: &Self, old_id: TagId, forms: &mut Forms) -> bool {
        let (Some(tag), Some(old)) = (
            self.plan.tags.get(id.index()),
            before.plan.tags.get(old_id.index()),
        ) else {
            return false;
        };
        let source = |plan: &Plan, number: usize| plan.sources.get(number).map(|row| Arc::clone(&row.name));
        let valid = |plan: &Plan, tag: Option<TagId>| {
            let valid = tag.and_then(|tag| plan.tags.get(tag.index()));
            valid.map(|tag| Arc::clone(&tag.key))
        };
        // The fingerprint has the tag's name.
        self.tags.get(id.index()) == before.tags.get(old_id.index())
            && source(&self.plan, tag.source.index()) == source(&before.plan, old.source.index())
            && valid(&self.plan, tag.valid) == valid(&before.plan, old.valid)
            && forms.mean_the_same(&tag.spec, &old.spec)
    }
}

/// Which forms of rules and meanings of tags are the same. Instances share them, so that each pair is compared once.
#[derive(Default)]
struct Forms {
    rules: HashMap<(*const RuleSpec, *const RuleSpec), bool>,
    tags: HashMap<(*const TagSpec, *const TagSpec), bool>,
}

impl Forms {
    fn are_same(&mut self, form: &Arc<RuleSpec>, old: &Arc<RuleSpec>) -> bool {
        let pair = (Arc::as_ptr(form), Arc::as_ptr(old));
        *self.rules.entry(pair).or_insert_with(|| {
            let old = RuleSpec {
                version: Arc::clone(&form.version),
                ..RuleSpec::clone(old)
            };
            **form == old
        })
    }

    fn mean_the_same(&mut self, meaning: &Arc<TagSpec>, old: &Arc<TagSpec>) -> bool {
        let pair = (Arc::as_ptr(meaning), Arc::as_ptr(old));
        *self.tags.entry(pair).or_insert_with(|| meaning == old)
    }
}
