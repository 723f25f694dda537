//! Where `browse` and `probe` write first mappings.

use std::path::Path;

use anyhow::Context as _;

/// Makes the folder of a file where it is not there. A look takes minutes: that nothing can be written is told before it.
pub fn make_folder(file: &Path) -> anyhow::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .with_context(|| format!("folder {} cannot be made", folder.display())),
        _ => Ok(()),
    }
}
