//! A tar archive in memory: plain files of root, at time zero, in the given order.
//!
//! Owns the ustar header. Refuses paths longer than the header holds; images made here need no longer ones.

use anyhow::{Result, bail};

const BLOCK: usize = 512;

/// A file of the archive.
pub struct Entry<'a> {
    /// Path without a leading slash.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// Contents.
    pub bytes: &'a [u8],
}

/// The archive of the files.
pub fn archive(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let size = entries.iter().map(|entry| entry.bytes.len() + 2 * BLOCK).sum::<usize>() + 2 * BLOCK;
    let mut out = Vec::with_capacity(size);
    for entry in entries {
        out.extend_from_slice(&header(entry)?);
        out.extend_from_slice(entry.bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Ok(out)
}

fn header(entry: &Entry<'_>) -> Result<[u8; BLOCK]> {
    if entry.path.len() > 100 {
        bail!("the path {} is too long for a tar header", entry.path);
    }
    let mut block = [0; BLOCK];
    put(&mut block, 0, entry.path);
    put(&mut block, 100, &format!("{:07o}", entry.mode));
    put(&mut block, 108, "0000000");
    put(&mut block, 116, "0000000");
    put(&mut block, 124, &format!("{:011o}", entry.bytes.len()));
    put(&mut block, 136, "00000000000");
    put(&mut block, 148, "        ");
    put(&mut block, 156, "0");
    put(&mut block, 257, "ustar");
    put(&mut block, 263, "00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, &format!("{sum:06o}\0 "));
    Ok(block)
}

fn put(block: &mut [u8; BLOCK], at: usize, text: &str) {
    block[at..at + text.len()].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let bytes = archive(&[
            Entry { path: "service", mode: 0o755, bytes: b"one" },
            Entry { path: "blobs/two", mode: 0o644, bytes: &[7; 1025] },
        ])
        .expect("archive");
        assert_eq!(bytes.len() % BLOCK, 0);
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("a.tar");
        std::fs::write(&file, bytes).expect("written");
        let done = std::process::Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(dir.path()).status();
        assert!(done.expect("tar").success());
        assert_eq!(std::fs::read(dir.path().join("service")).expect("service"), b"one");
        assert_eq!(std::fs::read(dir.path().join("blobs/two")).expect("two").len(), 1025);
    }
}
