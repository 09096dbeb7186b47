//! Repositories of the adapter `local`: their names, their numeric ids, and making one.
//!
//! Owns the file `slipway.json` beside git's own files. Refuses to make a repository twice: a retry after a crash adopts what
//! carries its marker.
use serde::{Deserialize, Serialize};

use super::{
    super::{NewRepository, REPOSITORY_TAKEN, Repository, path_of, unknown},
    Local, file,
};
use crate::{
    error::{ALREADY_EXISTS, Error, Result},
    files::{Mode, WorkDir},
    git::{Commit, RefName},
};

const META: &str = "slipway.json";
const META_BYTES_MAX: u64 = 64 << 10;
/// Most repositories one listing answers.
const REPOSITORIES_MAX: usize = 10_000;

/// What is kept in the repository's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Meta {
    id: i64,
    description: String,
    archived: bool,
    created_us: i64,
    marker: String,
}

impl Meta {
    fn new(description: &str, marker: &str, created_us: i64) -> Self {
        // 63 random bits, as long as the ids of the great providers; 0 is left out.
        let bits = uuid::Uuid::new_v4().as_u128() as u64 >> 1;
        let id = i64::try_from(bits).unwrap_or(1).max(1);
        Self { id, description: description.to_owned(), archived: false, created_us, marker: marker.to_owned() }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(Error::internal)
    }
}

impl Local {
    /// The repository of that name; `None` if there is none.
    ///
    /// # Errors
    /// REPOSITORY_NAME_INVALID; errors of the disk.
    pub(in crate::scm) async fn repository(&self, name: &str) -> Result<Option<Repository>> {
        let Ok(dir) = self.dir(name) else {
            path_of(name)?;
            return Ok(None);
        };
        let meta = match read_meta(&dir)? {
            Some(meta) => meta,
            None => self.adopt(name, &dir).await?,
        };
        let head = dir.read_text(&file("HEAD")?, 1024)?;
        let branch = head.trim().strip_prefix("ref: refs/heads/").unwrap_or("main");
        Ok(Some(Repository {
            id: meta.id.to_string(),
            name: name.to_owned(),
            default_branch: branch.to_owned(),
            description: meta.description,
            archived: meta.archived,
            created_us: meta.created_us,
            marker: meta.marker,
        }))
    }

    /// The repository with that numeric id; `None` if there is none.
    pub(in crate::scm) async fn repository_by_id(&self, id: &str) -> Result<Option<Repository>> {
        Ok(self.repositories().await?.into_iter().find(|r| r.id == id))
    }

    /// Every repository, in order of name.
    pub(in crate::scm) async fn repositories(&self) -> Result<Vec<Repository>> {
        let mut names = Vec::new();
        for owner in folders(self.git.root())? {
            for name in folders(&self.git.root().join(&owner))? {
                if let Some(name) = name.strip_suffix(".git") {
                    names.push(format!("{owner}/{name}"));
                }
            }
        }
        names.sort();
        names.truncate(REPOSITORIES_MAX);
        let mut found = Vec::with_capacity(names.len());
        for name in names.iter().filter(|name| path_of(name).is_ok()) {
            // One that is removed between the listing and the look is simply gone.
            found.extend(self.repository(name).await?);
        }
        Ok(found)
    }

    /// Makes a repository with a first commit. Killed anywhere and repeated with the same marker, it ends in the same state.
    ///
    /// # Errors
    /// REPOSITORY_TAKEN if one of that name carries another marker; REPOSITORY_NAME_INVALID; REF_INVALID.
    pub(in crate::scm) async fn create_repository(&self, new: &NewRepository) -> Result<Repository> {
        let path = path_of(&new.name)?;
        let meta = Meta::new(&new.description, &new.marker, self.now_us()).bytes()?;
        match self.git.init_bare_with(&path, &new.default_branch, &[(META, &meta)]).await {
            Ok(_) => {}
            Err(error) if error.is(&ALREADY_EXISTS) => {}
            Err(error) => return Err(error),
        }
        let made = self.repository(&new.name).await?.ok_or_else(|| unknown(&new.name))?;
        if new.marker.is_empty() || made.marker != new.marker {
            let text = format!("repository {} exists", new.name);
            return Err(Error::new(&REPOSITORY_TAKEN, text).resource("repository", &new.name));
        }
        let repo = self.git(&new.name).await?;
        if repo.branch_head(&new.default_branch).await?.is_none() {
            repo.commit(&Commit {
                branch: RefName::branch(&new.default_branch)?,
                expected: None,
                files: new.files.clone(),
                message: new.message.clone(),
                author: new.author.clone(),
            })
            .await?;
        }
        Ok(made)
    }

    /// Gives an id to a repository that somebody put here by hand.
    async fn adopt(&self, name: &str, dir: &WorkDir) -> Result<Meta> {
        let _lock = self.lock(name).await?;
        if let Some(meta) = read_meta(dir)? {
            return Ok(meta);
        }
        let meta = Meta::new("", "", self.now_us());
        dir.write(&file(META)?, &meta.bytes()?, Mode::Private)?;
        Ok(meta)
    }
}

fn read_meta(dir: &WorkDir) -> Result<Option<Meta>> {
    let path = file(META)?;
    if !dir.exists(&path) {
        return Ok(None);
    }
    serde_json::from_slice(&dir.read(&path, META_BYTES_MAX)?).map(Some).map_err(Error::internal)
}

/// Names of the visible directories in a directory; hidden ones are half-made repositories.
fn folders(path: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::internal)? {
        let entry = entry.map_err(Error::internal)?;
        let is_dir = entry.file_type().map_err(Error::internal)?.is_dir();
        match entry.file_name().into_string() {
            Ok(name) if is_dir && !name.starts_with('.') => names.push(name),
            _ => {}
        }
    }
    Ok(names)
}
