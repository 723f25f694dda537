//! A changed configuration is checked, told and taken over; sources that are the same in it are not touched.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::SourceId;
use floorgate_config::{Difference, Loaded};
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::check::read_to_run;
use crate::engine::{Message, Replacement, intake_of};
use crate::run::{Gateway, SOURCES_PATIENCE, core, notify};
use crate::standing::Configured;

/// How long a reload waits for what sources left to be stored.
const BOOKMARKS_PATIENCE: Duration = Duration::from_secs(2);
/// Names that are told of each kind of difference; of more, there is a number.
const NAMES_TOLD: usize = 20;

impl Gateway {
    /// Reads configuration and mappings again. Wrong ones change nothing; of right ones sources and mappings are taken over, and
    /// what needs a restart is said.
    pub async fn reload(&mut self, path: &Path) {
        notify(&[NotifyState::Reloading]);
        let result = match read_to_run(path, self.audience) {
            Err(_) => {
                warn!(
                    see = "gateway-configuration-refused",
                    "the configuration is wrong, the old one stays"
                );
                "refused"
            }
            Ok(loaded) => {
                self.take_over(loaded).await;
                "ok"
            }
        };
        self.metrics.reloads.with_label_values(&[result]).inc();
        notify(&[NotifyState::Ready]);
    }

    async fn take_over(&mut self, loaded: Loaded) {
        let Loaded {
            settings,
            plan,
            sources,
            outline,
            ..
        } = loaded;
        for setting in settings.that_need_a_restart(&self.settings) {
            warn!(
                setting,
                see = "gateway-setting-at-start",
                "this setting is taken over at the next start only"
            );
        }
        let difference = outline.difference(&self.outline);
        let kept: HashSet<Arc<str>> = difference.sources_kept.iter().cloned().collect();
        self.sources
            .stop_others(|name| kept.contains(name), SOURCES_PATIENCE)
            .await;
        for name in &difference.sources_removed {
            self.metrics.forget_source(name);
        }
        let (of_core, identity) = (Arc::clone(&self.settings), self.identity);
        self.generation = self.generation.next();
        let (bookmarks, told) = oneshot::channel();
        let configured = sources.iter().map(Configured::from).collect();
        let to_start = (0..).map(SourceId).zip(sources);
        let to_start: Vec<_> = to_start
            .filter(|(_, source)| !kept.contains(&source.name))
            .collect();
        let replacement = Replacement {
            generation: self.generation,
            bookmarks,
            sources: configured,
            core: Box::new(move |stored| core(&of_core, identity, plan, stored)),
            kept,
        };
        let _ = self.engine.send(Message::Replace(replacement));
        self.intake = intake_of(self.generation, &self.intake, self.engine.clone());
        self.outline = outline;
        // While nothing can be stored, sources begin anew.
        let left_off = tokio::time::timeout(BOOKMARKS_PATIENCE, told).await;
        let left_off = left_off.ok().and_then(Result::ok).unwrap_or_default();
        self.start(to_start, left_off);
        tell(&difference);
    }
}

/// Tells in one line what is another.
fn tell(difference: &Difference) {
    let Difference {
        rules_added,
        rules_removed,
        rules_changed,
        sources_kept,
        sources_changed,
        sources_added,
        sources_removed,
    } = difference;
    info!(
        rules_added = rules_added.len(),
        rules_removed = rules_removed.len(),
        rules_changed = rules_changed.len(),
        sources_kept = sources_kept.len(),
        sources_restarted = sources_changed.len(),
        sources_new = sources_added.len(),
        sources_gone = sources_removed.len(),
        added = listed(rules_added),
        removed = listed(rules_removed),
        changed = listed(rules_changed),
        kept = listed(sources_kept),
        restarted = listed(sources_changed),
        new = listed(sources_added),
        gone = listed(sources_removed),
        "configuration taken over"
    );
}

/// The first of the names; `None` where there are none, so that nothing stands in the line.
fn listed(names: &[Arc<str>]) -> Option<String> {
    let (first, last) = names.split_at(names.len().min(NAMES_TOLD));
    let mut text = first.join(", ");
    if !last.is_empty() {
        // Writing to text does not fail.
        let _ = write!(text, " and {} more", last.len());
    }
    (!names.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_cut_short() {
        let names = |count: usize| -> Vec<Arc<str>> { (0..count).map(|n| format!("r{n}").into()).collect() };
        assert_eq!(listed(&names(0)), None);
        assert_eq!(listed(&names(2)).as_deref(), Some("r0, r1"));
        let many = listed(&names(100_000)).unwrap_or_default();
        assert!(
            many.starts_with("r0, r1, ") && many.ends_with(", r19 and 99980 more"),
            "{many}"
        );
    }
}
