//! Bare mirrors of the provider's repositories, by its numeric ids, brought up to date on demand.
//!
//! Owns what is fetched and when: branches when somebody asks for the repository of this instant, one commit when it is not here
//! yet. Refuses history above the limit of size. A mirror may be removed at any time; it is made again.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::{
    super::{
        REPOSITORY_UNKNOWN, Repository, SCM_FORBIDDEN, SCM_REDIRECTED, SCM_UNAUTHORIZED, SCM_UNAVAILABLE, local,
        unknown,
    },
    Github,
    api::{As, invalid, limited, unavailable},
    credential::basic,
    pack,
    read::parts,
};
use crate::{
    error::{ALREADY_EXISTS, Error, Result},
    fetch::{Answer, Ask, Incoming},
    files::FilePath,
    git::{self, RefName, Repo, Sha, TREE_BYTES_MAX},
};

/// Time of one transfer (SAFE-59).
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest listing of branches.
const REFS_BYTES_MAX: u64 = 16 << 20;
const UPLOAD: &str = "git-upload-pack";

impl Github {
    pub(in crate::scm) async fn git(&self, name: &str) -> Result<Repo> {
        let repository = self.need(name).await?;
        let mirror = self.mirror(&repository).await?;
        let theirs = self.ls_refs(&repository.name).await?;
        let _lock = local::lock(&self.git, &path(&repository)?, name).await?;
        let wanted: BTreeSet<Sha> = theirs.values().cloned().collect();
        let missing = mirror.missing(&wanted).await?;
        let ours: BTreeMap<RefName, Sha> = mirror.refs("refs/heads/").await?.into_iter().collect();
        if !missing.is_empty() {
            self.fetch(&repository, &mirror, &missing, ours.values()).await?;
        }
        mirror.set_refs(&moves(&ours, &theirs)).await?;
        mirror.set_head(&RefName::branch(&repository.default_branch)?).await?;
        Ok(mirror)
    }

    pub(in crate::scm) async fn git_at(&self, name: &str, sha: &Sha) -> Result<Repo> {
        let repository = self.need(name).await?;
        let mirror = self.mirror(&repository).await?;
        if mirror.has_commit(sha).await? {
            return Ok(mirror);
        }
        let _lock = local::lock(&self.git, &path(&repository)?, name).await?;
        if !mirror.has_commit(sha).await? {
            let ours = mirror.refs("refs/").await?;
            self.fetch(&repository, &mirror, std::slice::from_ref(sha), ours.iter().map(|(_, sha)| sha)).await?;
            // A ref of its own, so that the next fetch builds on it.
            mirror.set_refs(&[(RefName::full(&format!("refs/slipway/at/{sha}"))?, Some(sha.clone()))]).await?;
        }
        Ok(mirror)
    }

    /// The mirror of a repository, made if it is missing.
    pub(super) async fn mirror(&self, repository: &Repository) -> Result<Repo> {
        let path = path(repository)?;
        match self.git.repository(&path) {
            Ok(mirror) => Ok(mirror),
            Err(_) => match self.git.init_bare(&path, &repository.default_branch).await {
                Err(error) if error.is(&ALREADY_EXISTS) => self.git.repository(&path),
                made => made,
            },
        }
    }

    /// The branches at the provider; whole or an error.
    pub(super) async fn ls_refs(&self, name: &str) -> Result<BTreeMap<RefName, Sha>> {
        let mut incoming = self.ask_git(name, UPLOAD, pack::ls_refs().into(), REFS_BYTES_MAX).await?;
        pack::refs(&incoming.rest().await.map_err(unavailable)?)
    }

    async fn fetch(
        &self,
        repository: &Repository,
        mirror: &Repo,
        wants: &[Sha],
        haves: impl Iterator<Item = &Sha>,
    ) -> Result<()> {
        let haves: Vec<Sha> = haves.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let body = pack::fetch(wants, &haves);
        let mut incoming = self.ask_git(&repository.name, UPLOAD, body.into(), TREE_BYTES_MAX).await?;
        let at = mirror.pack_path();
        let written = write(&mut incoming, &at).await;
        if let Err(error) = written {
            let _ = std::fs::remove_file(&at);
            return Err(error);
        }
        mirror.take_pack(&at).await.map_err(|error| invalid("the provider sent a pack that git refuses").source(error))
    }

    /// One exchange with a service of git at the provider.
    pub(super) async fn ask_git(&self, name: &str, service: &str, body: Bytes, bytes_max: u64) -> Result<Incoming> {
        let (owner, short) = parts(name)?;
        let url = self.git_address(owner, short, service)?;
        let kind =
            |end: &str| HeaderValue::from_str(&format!("application/x-{service}-{end}")).map_err(Error::internal);
        for is_last in [false, true] {
            self.api.may_ask()?;
            let token = self.api.token(As::Connection).await?;
            let mut ask = Ask::get(url.clone())
                .header(header::AUTHORIZATION, basic(&token)?)
                .header(header::CONTENT_TYPE, kind("request")?)
                .header(header::ACCEPT, kind("result")?);
            if service == UPLOAD {
                ask = ask.header(HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));
            }
            (ask.method, ask.body, ask.bytes_max, ask.timeout) = (Method::POST, body.clone(), bytes_max, TIMEOUT);
            let incoming = self.api.fetcher.open(ask).await.map_err(unavailable)?;
            if incoming.status == 401 && !is_last && self.api.forget().await {
                continue;
            }
            return self.judge(name, &kind("result")?, incoming).await;
        }
        Err(Error::new(&SCM_UNAUTHORIZED, "git at the provider does not accept the credential"))
    }

    /// Git's answer if it is one.
    async fn judge(&self, name: &str, kind: &HeaderValue, mut incoming: Incoming) -> Result<Incoming> {
        let status = incoming.status;
        if status == 200 {
            if incoming.headers.get(header::CONTENT_TYPE) != Some(kind) {
                return Err(invalid("the provider answers git with something else"));
            }
            return Ok(incoming);
        }
        if matches!(status, 403 | 429) {
            let body = incoming.rest().await.unwrap_or_default();
            if let Some(wait) = limited(&Answer { status, headers: incoming.headers.clone(), body }) {
                return Err(self.api.rest(wait));
            }
        }
        Err(match status {
            300..=399 => Error::new(&SCM_REDIRECTED, "git at the provider redirects"),
            401 => Error::new(&SCM_UNAUTHORIZED, "git at the provider does not accept the credential"),
            403 => Error::new(&SCM_FORBIDDEN, "git at the provider refuses: contents=read is needed")
                .meta("permissions", "contents=read"),
            404 => unknown(name),
            500..=599 => Error::new(&SCM_UNAVAILABLE, format!("git at the provider answers {status}")),
            _ => invalid(format!("git at the provider answers {status}")),
        })
    }

    fn git_address(&self, owner: &str, short: &str, service: &str) -> Result<Url> {
        let mut url = self.git_url.clone();
        let repository = format!("{short}.git");
        url.path_segments_mut().map_err(|()| Error::internal("a base address without path"))?.pop_if_empty().extend([
            owner,
            &repository,
            service,
        ]);
        Ok(url)
    }
}

/// Writes the pack of an answer to a file.
async fn write(incoming: &mut Incoming, at: &std::path::Path) -> Result<()> {
    let mut file = tokio::fs::File::create_new(at).await.map_err(Error::internal)?;
    let mut packfile = pack::Packfile::default();
    while let Some(piece) = incoming.next().await.map_err(unavailable)? {
        file.write_all(&packfile.take(&piece)?).await.map_err(Error::internal)?;
    }
    packfile.finish()?;
    file.flush().await.map_err(Error::internal)
}

/// What makes our branches theirs.
fn moves(ours: &BTreeMap<RefName, Sha>, theirs: &BTreeMap<RefName, Sha>) -> Vec<(RefName, Option<Sha>)> {
    let gone = ours.keys().filter(|name| !theirs.contains_key(*name)).map(|name| (name.clone(), None));
    let moved = theirs.iter().filter(|(name, sha)| ours.get(*name) != Some(*sha));
    gone.chain(moved.map(|(name, sha)| (name.clone(), Some(sha.clone())))).collect()
}

fn path(repository: &Repository) -> Result<FilePath> {
    FilePath::parse(&format!("{}.git", repository.id))
}

/// Whether an error says that there is no such repository.
pub(super) fn is_unknown(error: &Error) -> bool {
    error.is(&REPOSITORY_UNKNOWN) || error.is(&git::REVISION_UNKNOWN)
}
