//! What is wrong in a file, where, and what to do about it.

use std::path::{Path, PathBuf};

use crate::{FileId, Node, NodeKind, Span, closest};

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used; somebody should look.
    Warning,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` for what stands in no file (an environment variable).
    pub span: Option<Span>,
    /// What is wrong: lower case, no full stop, naming the thing and its value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything wrong in one run, and the texts of the files that were read.
#[derive(Debug, Default)]
pub struct Problems {
    files: Vec<(PathBuf, String)>,
    list: Vec<Problem>,
}

impl Problems {
    /// Registers a file, so that problems can show its lines.
    pub fn add_file(&mut self, path: &Path, text: String) -> FileId {
        self.files.push((path.to_path_buf(), text));
        FileId(u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX))
    }

    /// Path and text of a file.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<(&Path, &str)> {
        self.files
            .get(usize::from(id.0))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// The text that a span covers, as it stands in its file.
    #[must_use]
    pub fn text(&self, span: Span) -> Option<&str> {
        let (_, text) = self.file(span.file)?;
        let start = usize::try_from(span.offset).ok()?;
        text.get(start..start.checked_add(usize::try_from(span.len).ok()?)?)
    }

    /// Records an error; the returned problem takes a hint.
    pub fn error(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, span.into(), message.into())
    }

    /// Records a warning; the returned problem takes a hint.
    pub fn warning(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, span.into(), message.into())
    }

    fn push(&mut self, severity: Severity, span: Option<Span>, message: String) -> &mut Problem {
        self.list.push(Problem {
            severity,
            span,
            message,
            hint: None,
        });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// All problems, in the order they were found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// All problems, ordered by file and place.
    #[must_use]
    pub fn by_place(&self) -> Vec<&Problem> {
        let mut ordered: Vec<&Problem> = self.list.iter().collect();
        ordered.sort_by_key(|problem| problem.span);
        ordered
    }

    /// Whether anything makes the configuration unusable.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// How many errors there are.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.list
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
    }

    /// Takes over what checks of a [`Draft`](crate::Draft) found, except what has no place and so may be about a
    /// stand-in, and what stands at `owner`, where checks report what is lacking.
    pub fn adopt_placed(&mut self, found: Self, owner: Option<Span>) {
        let placed = |span: Option<Span>| span != owner && span.is_some_and(|span| span != Span::default());
        self.list
            .extend(found.list.into_iter().filter(|problem| placed(problem.span)));
    }

    /// Whether anything that was found after the first `checked` problems stands in a value: then what was decoded
    /// from it may be a stand-in.
    #[must_use]
    pub fn stand_in(&self, node: &Node, checked: usize) -> bool {
        let at = |span: Span| {
            let found = self.list.get(checked..).unwrap_or_default();
            found.iter().any(|problem| problem.span == Some(span))
        };
        at(node.span)
            || match &node.kind {
                NodeKind::List(items) => items.iter().any(|item| self.stand_in(item, checked)),
                NodeKind::Map(entries) => entries
                    .iter()
                    .any(|(_, span, value)| at(*span) || self.stand_in(value, checked)),
                _ => false,
            }
    }

    /// Whether a key of a mapping has a value that can be relied upon (one of the file's, or the default), going by what
    /// was found after the first `checked` problems: neither does anything stand in the value, nor is a key refused
    /// that may be a slip for it.
    #[must_use]
    pub fn are_silent_on(&self, key: &str, mapping: &Node, checked: usize) -> bool {
        let found = self.list.get(checked..).unwrap_or_default();
        if found.is_empty() {
            return true;
        }
        match mapping.get(key) {
            Some(value) => !self.stand_in(value, checked),
            None => !mapping.entries().iter().any(|(name, span, _)| {
                closest(name, [key]).is_some() && found.iter().any(|problem| problem.span == Some(*span))
            }),
        }
    }

    /// Drops what was found after the first `checked` problems at a place where another of these or any
    /// error was found before: what is wrong with one line of a template is said once, not for each of its
    /// instances, nor by everybody who reads it.
    pub fn once_per_place(&mut self, checked: usize) {
        let mut seen = std::collections::HashSet::new();
        let mut index = 0;
        self.list.retain(|problem| {
            index += 1;
            let Some(span) = problem.span else { return true };
            if index <= checked {
                if problem.severity == Severity::Error {
                    seen.insert(span);
                }
                return true;
            }
            seen.insert(span)
        });
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Problem {
    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
}
