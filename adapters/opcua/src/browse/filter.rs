//! Which paths are looked at.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::BrowseOptions;

/// Globs of paths: `*` stands for any part of a name, `**` for any names.
#[derive(Debug)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl Filter {
    pub fn new(options: &BrowseOptions) -> Result<Self, globset::Error> {
        Ok(Self {
            include: set(&options.include)?,
            exclude: set(&options.exclude)?,
        })
    }

    /// Whether there is anything to be asked.
    pub fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether a node is left out, with all below it.
    pub fn leaves_out(&self, path: &str) -> bool {
        self.exclude.as_ref().is_some_and(|globs| globs.is_match(path))
    }

    /// Whether a variable is wanted.
    pub fn takes(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(path))
    }
}

fn set(globs: &[String]) -> Result<Option<GlobSet>, globset::Error> {
    if globs.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        // Paths are shown with and without the folder in which all begin.
        let glob = glob.trim_start_matches('/');
        let glob = glob.strip_prefix("Objects/").unwrap_or(glob);
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_a_name_and_two_do_not() {
        let filter = Filter::new(&BrowseOptions {
            path: None,
            depth: None,
            include: vec!["Objects/Line*/**".to_owned(), "**/Temp".to_owned()],
            exclude: vec!["*/Diagnostics".to_owned()],
            most_nodes: 1,
            trust_once: None,
        })
        .unwrap();
        for (path, taken) in [
            ("Line1/Filler/State", true),
            ("Hall/Oven/Temp", true),
            ("Temp", true),
            ("Hall/Oven/State", false),
        ] {
            assert_eq!(filter.takes(path), taken, "{path}");
        }
        assert!(filter.leaves_out("Line1/Diagnostics"));
        assert!(!filter.leaves_out("Line1/Filler/Diagnostics"));
    }
}
