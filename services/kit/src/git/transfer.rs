//! What a transport needs of a repository: which objects are missing, taking a pack in, making one, moving many refs at once.
//!
//! Owns packs beside git's own. Refuses the network: bytes come and go through the caller.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{RefName, Repo, Sha};
use crate::{error::Result, subprocess};

/// Packs that lie beside each other before they are made one.
const PACKS_MAX: usize = 60;

impl Repo {
    /// Those of some commits that are not here.
    pub async fn missing(&self, shas: &BTreeSet<Sha>) -> Result<Vec<Sha>> {
        if shas.is_empty() {
            return Ok(Vec::new());
        }
        let list = shas.iter().map(|sha| format!("{sha}\n")).collect::<String>();
        let out = self.git(&["cat-file", "--batch-check=%(objectname)"]).stdin(list).success().await?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let lines = shas.iter().zip(text.lines());
        Ok(lines.filter(|(_, line)| line.ends_with("missing")).map(|(sha, _)| sha.clone()).collect())
    }

    /// Where a pack is to be written before [`Repo::take_pack`]; git does not see it until then.
    pub fn pack_path(&self) -> PathBuf {
        self.dir().join("objects/pack").join(format!("pack-{}.pack", crate::id::uuid4().replace('-', "")))
    }

    /// Checks a pack that was written to [`Repo::pack_path`] and makes its objects visible; a bad one is removed.
    ///
    /// # Errors
    /// TOOL_FAILED for a pack that is cut off or broken.
    pub async fn take_pack(&self, pack: &Path) -> Result<()> {
        let output = self.git(&["index-pack", "--fsck-objects"]).arg(pack).output().await?;
        if output.code != 0 {
            let _ = std::fs::remove_file(pack);
            return Err(subprocess::failed("git", &output));
        }
        let packs = std::fs::read_dir(self.dir().join("objects/pack")).map_or(0, |dir| {
            dir.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".idx")).count()
        });
        if packs > PACKS_MAX {
            // Nothing is dropped that somebody may be reading.
            self.git(&["repack", "-a", "-d", "-k", "-q"]).success().await?;
        }
        Ok(())
    }

    /// A pack with everything reachable from a commit.
    ///
    /// # Errors
    /// REVISION_UNKNOWN without the commit; TOOL_OUTPUT_TOO_LARGE.
    pub async fn pack(&self, sha: &Sha) -> Result<Vec<u8>> {
        let run = self.git(&["pack-objects", "--stdout", "--revs", "-q"]).stdin(format!("{sha}\n"));
        self.success_at(run, &[sha]).await
    }

    /// Moves many refs at once, whatever they were; `None` removes one.
    pub async fn set_refs(&self, refs: &[(RefName, Option<Sha>)]) -> Result<()> {
        if refs.is_empty() {
            return Ok(());
        }
        let mut list = String::new();
        for (name, to) in refs {
            match to {
                Some(sha) => list.push_str(&format!("update {name}\0{sha}\0\0")),
                None => list.push_str(&format!("delete {name}\0\0")),
            }
        }
        self.git(&["update-ref", "--no-deref", "-z", "--stdin"]).stdin(list).success().await.map(drop)
    }

    /// Makes HEAD name a branch.
    pub async fn set_head(&self, branch: &RefName) -> Result<()> {
        self.git(&["symbolic-ref", "HEAD"]).arg(branch.as_str()).success().await.map(drop)
    }
}
