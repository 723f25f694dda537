//! A damaged store without its first page, which says what the file is and where its tables begin, is one all the same: that page is the same
//! in all stores, but for counters that who only reads can do without.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::schema::with_suffix;
use crate::{Error, Options};

/// How much is copied at a time; what cannot be read of that is left out.
const BLOCK: usize = 4096;
/// Where in the first page the number of pages is; 0: as many as the file has.
const PAGES: std::ops::Range<usize> = 28..32;

/// Copies what can be read of a damaged store and its log. The copy has the first page of a store that was just made.
pub(crate) fn copy_with_that_of(new: &Options, damaged: &Path, copy: &Path) -> Result<(), Error> {
    let first = || {
        let mut page = vec![0; new.page_size as usize];
        File::open(&new.path)?.read_exact_at(&mut page, 0)?;
        if let Some(pages) = page.get_mut(PAGES) {
            pages.fill(0);
        }
        copy_file(damaged, copy)?.write_all_at(&page, 0)?;
        let log = with_suffix(damaged, "-wal");
        if fs::exists(&log)? {
            copy_file(&log, &with_suffix(copy, "-wal"))?;
        }
        Ok(())
    };
    first().map_err(|error| Error::io(damaged, "be copied", error))
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<File> {
    let from = File::open(from)?;
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut block = vec![0; BLOCK];
    for at in (0..length).step_by(BLOCK) {
        match from.read_at(&mut block, at) {
            Ok(read) => to.write_all_at(block.get(..read).unwrap_or_default(), at)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(_) => {}
        }
    }
    Ok(to)
}
