//! A small disk that a test can fill.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// A disk of its own, mounted on a folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one of that size. `None` where the test may not do that; with `TESTS_COMPLETE` set that is an error.
    pub fn mount(folder: &Path, mebibytes: u32) -> Result<Option<Self>> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(folder)
            .output()?;
        if !mounted.status.success() {
            ensure!(
                std::env::var_os("TESTS_COMPLETE").is_none(),
                "this user may not mount a tmpfs: {mounted:?}"
            );
            eprintln!("not tested: this user may not mount a tmpfs");
            return Ok(None);
        }
        let folder = folder.to_path_buf();
        Ok(Some(Self { folder }))
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("something-else")
    }

    /// Fills it to the last block.
    pub fn fill(&self) -> Result<()> {
        use std::io::Write as _;
        let mut file = File::create(self.filler())?;
        for block in [1 << 20, 4096] {
            let block = vec![0; block];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    /// Gives back what was filled.
    pub fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a failing test may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
