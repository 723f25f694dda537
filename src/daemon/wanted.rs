//! Names that a command line asks for, by patterns.

use anyhow::Context as _;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// The names that match one of some patterns; all where none is given.
#[derive(Debug)]
pub struct Wanted(Option<GlobSet>);

impl Wanted {
    /// Those that match one of these patterns.
    pub fn of(patterns: &[Glob]) -> anyhow::Result<Self> {
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        let mut all = GlobSetBuilder::new();
        for pattern in patterns {
            all.add(pattern.clone());
        }
        let all = all.build().context("the names cannot be looked for together")?;
        Ok(Self(Some(all)))
    }

    /// Whether a name is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.is_match(name))
    }
}
