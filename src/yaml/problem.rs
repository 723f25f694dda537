//! What is wrong in a file, where, and what to do about it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Longest message or hint in bytes. A value of a megabyte is shown by its beginning and its end.
const LONGEST: usize = 600;

/// Everything wrong in one run, and the texts of the files that were read, each of them once.
#[derive(Debug, Default)]
pub struct Problems {
    files: Vec<(PathBuf, Arc<str>)>,
    list: Vec<Problem>,
    /// How many of the list are errors: it is asked for before and after every value that is read.
    errors: usize,
    /// How many known names were compared with unknown ones, see [`Problems::may_suggest`].
    compared: usize,
}

/// Most known names that are compared with unknown ones in one run: some seconds of work at the very worst.
const MOST_COMPARED: usize = 2_000_000;

impl Problems {
    /// Registers a file, so that problems can show its lines.
    pub fn add_file(&mut self, path: &Path, text: impl Into<Arc<str>>) -> FileId {
        self.files.push((path.to_path_buf(), text.into()));
        FileId(u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX))
    }

    /// Path and text of a file.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<(&Path, &str)> {
        self.files
            .get(usize::from(id.0))
            .map(|(path, text)| (path.as_path(), &**text))
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
        self.errors += usize::from(severity == Severity::Error);
        self.list.push(Problem {
            severity,
            span,
            message: shortened(message),
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
        self.errors > 0
    }

    /// How many errors there are.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// Where a problem stands, for the message of another one: `line.yaml:3:5`.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let path = self
            .file(span.file)
            .map_or(Cow::Borrowed(""), |(path, _)| path.to_string_lossy());
        if span.line > 0 {
            format!("{path}:{}:{}", span.line, span.column)
        } else {
            path.into_owned()
        }
    }

    /// Whether one more unknown name may be compared with `known` others. After some millions of comparisons nobody
    /// reads suggestions any more, and a hundred thousand wrong names among as many known ones would take hours.
    pub fn may_suggest(&mut self, known: usize) -> bool {
        self.compared = self.compared.saturating_add(known);
        self.compared <= MOST_COMPARED
    }

    /// Takes over what checks of a [`Draft`](crate::Draft) found, except what has no place and so may be about a
    /// stand-in, and what stands at `owner`, where checks report what is lacking.
    pub fn adopt_placed(&mut self, found: Self, owner: Option<Span>) {
        let placed = |span: Option<Span>| span != owner && span.is_some_and(|span| span != Span::default());
        let before = self.list.len();
        self.list
            .extend(found.list.into_iter().filter(|problem| placed(problem.span)));
        self.errors += errors_among(&self.list[before..]);
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
        if self.list.len() <= checked {
            return;
        }
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
        self.errors = errors_among(&self.list);
    }

    /// Takes out what was found after the first `checked` problems, so that it can be said otherwise: [`Problems::put`]
    /// adds it again.
    #[must_use]
    pub fn take_after(&mut self, checked: usize) -> Vec<Problem> {
        let found = self.list.split_off(checked.min(self.list.len()));
        self.errors -= errors_among(&found);
        found
    }

    /// Adds a problem that was taken out.
    pub fn put(&mut self, problem: Problem) {
        self.errors += usize::from(problem.severity == Severity::Error);
        self.list.push(problem);
    }

    /// Drops what was found after the first `checked` problems and is said already, in the same words of the same
    /// place: what several files share is read for each of them.
    pub fn drop_repeated(&mut self, checked: usize) {
        let mut index = 0;
        let mut seen = std::collections::HashSet::new();
        self.list.retain(|problem| {
            index += 1;
            index <= checked || problem.span.is_none() || seen.insert((problem.span, problem.message.clone()))
        });
        self.errors = errors_among(&self.list);
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
        self.hint = Some(shortened(hint.into()));
        self
    }
}

fn errors_among(problems: &[Problem]) -> usize {
    problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count()
}

/// A text that quotes a value, with the middle left out where it is very long.
fn shortened(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let head = &text[..text.floor_char_boundary(LONGEST * 2 / 3)];
    let tail = &text[text.ceil_char_boundary(text.len() - LONGEST / 4)..];
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Span {
        Span {
            line,
            ..Span::default()
        }
    }

    #[test]
    fn errors_are_counted_through_every_change_of_the_list() {
        let mut problems = Problems::default();
        problems.error(at(1), "a");
        problems.warning(at(2), "b");
        let mut found = Problems::default();
        found.error(at(3), "c");
        found.error(None, "no place, so not taken over");
        problems.adopt_placed(found, None);
        assert_eq!(problems.error_count(), 2);
        let checked = problems.list().len();
        problems.error(at(4), "d");
        problems.error(at(4), "the same place");
        problems.once_per_place(checked);
        assert_eq!((problems.error_count(), problems.list().len()), (3, 4));
        assert!(problems.has_errors());
        problems.error(at(4), "d");
        problems.error(at(4), "another thing");
        problems.drop_repeated(checked);
        assert_eq!((problems.error_count(), problems.list().len()), (4, 5));
        let taken = problems.take_after(1);
        assert_eq!((problems.error_count(), taken.len()), (1, 4));
        for problem in taken {
            problems.put(problem);
        }
        assert_eq!((problems.error_count(), problems.list().len()), (4, 5));
    }

    #[test]
    fn a_very_long_value_is_shown_by_its_ends() {
        let mut problems = Problems::default();
        let value = "€".repeat(1_000_000);
        problems
            .error(None, format!("source `{value}` is not in the settings"))
            .hint(format!("sources: {value}"));
        let problem = &problems.list()[0];
        assert!(problem.message.len() < 2 * LONGEST, "{}", problem.message.len());
        assert!(problem.message.starts_with("source `€"), "{}", problem.message);
        assert!(problem.message.contains("€…€"), "{}", problem.message);
        assert!(
            problem.message.ends_with("€` is not in the settings"),
            "{}",
            problem.message
        );
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.len() < 2 * LONGEST));
    }

    #[test]
    fn suggestions_end_before_they_take_hours() {
        let mut problems = Problems::default();
        let suggested = (0..100_000).filter(|_| problems.may_suggest(100_000)).count();
        assert!((10..100).contains(&suggested), "{suggested} of 100000");
    }
}
