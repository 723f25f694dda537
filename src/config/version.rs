//! The version of a mapping.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Version of a mapping: of the content of its file and of its parts, so that any change shows.
pub(crate) fn version<'t>(text: &str, parts: impl Iterator<Item = &'t str>) -> Arc<str> {
    let mut digest = Sha256::new();
    digest.update(text.as_bytes());
    for part in parts {
        // Where a part begins is told apart from what stands in it.
        digest.update([0xFF]);
        digest.update(part.as_bytes());
    }
    let hex = digest
        .finalize()
        .iter()
        .take(6)
        .fold(String::from("sha256:"), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    hex.into()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn any_change_of_any_file_shows() {
        let of = |text: &str, parts: &[&str]| version(text, parts.iter().copied());
        // As it was before there were parts.
        assert_eq!(&*of("", &[]), "sha256:e3b0c44298fc");
        let all = [
            of("a", &[]),
            of("a", &["b"]),
            of("a", &["c"]),
            of("ab", &[]),
            of("a", &["b", ""]),
            of("a", &["", "b"]),
        ];
        for (place, version) in all.iter().enumerate() {
            assert!(!all[..place].contains(version), "{version}");
        }
    }
}
