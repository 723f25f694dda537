//! Finding and reading files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_yaml::{Node, Problems, Span, Spanned, parse};

/// A configuration that is larger was not written by people.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Reads a file as YAML. What is wrong is reported at `named`, where the file is named, or in the file.
pub(crate) fn read(
    path: &Path,
    named: Option<floorgate_yaml::Span>,
    problems: &mut Problems,
) -> Option<(Node, Arc<str>)> {
    let bytes = match bytes_of(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = match named {
                Some(_) => {
                    "correct its name, relative to the file that names it, or let the gateway's user read it"
                }
                None => {
                    "correct its name; settings are named with --config FILE, or for all commands by the environment's FLOORGATE_CONFIG"
                }
            };
            problems
                .error(named, format!("file {} cannot be read: {error}", path.display()))
                .hint(hint);
            return None;
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            not_text(path, &error, problems);
            return None;
        }
    };
    let text: Arc<str> = text.into();
    let file = problems.add_file(path, Arc::clone(&text));
    Some((parse(file, &text, problems)?, text))
}

/// What stands in a file. What has no end, such as a device, is given up where it is too large.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let too_large = || std::io::Error::other("it is larger than 256 MiB");
    let file = std::fs::File::open(path)?;
    let told = file.metadata()?.len();
    if told > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(told).unwrap_or_default());
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Points at the first byte that is no text.
fn not_text(path: &Path, error: &std::string::FromUtf8Error, problems: &mut Problems) {
    let valid = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
    let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let line = before.matches('\n').count() + 1;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let text = String::from_utf8_lossy(error.as_bytes());
    let span = Span {
        file: problems.add_file(path, text),
        line: number(line),
        column: number(column),
        offset: number(valid),
        len: number(char::REPLACEMENT_CHARACTER.len_utf8()),
    };
    problems
        .error(span, format!("byte 0x{byte:02X} is no UTF-8 text"))
        .hint("save the file as UTF-8");
}

/// The files that a pattern means, in the order of their names. Only the last part of it may have `*` and `?`.
pub(crate) fn matching(base: &Path, pattern: &Spanned<String>, problems: &mut Problems) -> Vec<PathBuf> {
    let path = base.join(&pattern.value);
    let last = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let folder = path.parent().unwrap_or(base);
    if folder.to_string_lossy().contains(['*', '?']) {
        problems
            .error(
                pattern.span,
                format!("pattern {:?} has `*` or `?` in a folder", pattern.value),
            )
            .hint("only the last part may have them; name each folder");
        return Vec::new();
    }
    if !last.contains(['*', '?']) {
        return vec![path];
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            problems
                .error(
                    pattern.span,
                    format!("folder {} cannot be read: {error}", folder.display()),
                )
                .hint("correct its name, relative to the settings, or let the gateway's user read it");
            return Vec::new();
        }
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            !name.starts_with('.') && !is_of_tests(&name) && matches(last.as_bytes(), name.as_bytes())
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        problems
            .error(pattern.span, format!("no file matches {:?}", pattern.value))
            .hint("write the pattern relative to the folder of the settings, such as `mappings/*.yaml`");
    }
    found
}

/// Whether a file has tests of the mappings beside it: it is none itself.
fn is_of_tests(name: &str) -> bool {
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

/// Whether a name matches a pattern with `*` and `?`, in time linear in their product.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &symbol in pattern {
        if symbol == b'*' {
            let first = reached.iter().position(|at| *at).unwrap_or(reached.len());
            reached.iter_mut().skip(first).for_each(|at| *at = true);
            continue;
        }
        for at in (0..name.len()).rev() {
            reached[at + 1] = reached[at] && (symbol == b'?' || symbol == name[at]);
        }
        reached[0] = false;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, wanted) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yaml.bak", false),
            ("line?.yaml", "line1.yaml", true),
            ("line?.yaml", "line10.yaml", false),
            ("*", "anything", true),
            ("a*b*c", "a-bb-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                wanted,
                "{pattern} {name}"
            );
        }
    }
}
