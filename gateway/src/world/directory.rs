//! Who belongs to which group, as the catalog says.
//!
//! Refuses to remember: how old an answer may be is decided where it is used.

use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{Result, SERVICE_UNKNOWN},
    serve::{Peers, error_from},
};
use slipway_proto::access::v1::{
    ListMembershipsRequest, ResolveOwnerRequest, directory_service_client::DirectoryServiceClient,
};

const TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Every membership at one revision of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memberships {
    /// Revision the answer is true at.
    pub revision: i64,
    /// User and group, through parents as well; sorted, each once.
    pub pairs: Vec<(String, String)>,
}

/// Where memberships come from.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// All memberships, now.
    ///
    /// # Errors
    /// UNAVAILABLE when the directory does not answer.
    async fn memberships(&self) -> Result<Memberships>;
}

/// An entity of the catalog and whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Its canonical reference.
    pub reference: String,
    /// The group that owns it; `None` if nobody does.
    pub owner: Option<String>,
}

/// Where owners come from.
#[async_trait]
pub trait Owners: Send + Sync + 'static {
    /// Owner of an entity, now; `None` if there is no such entity.
    ///
    /// # Errors
    /// UNAVAILABLE when the directory does not answer, INVALID_FIELD for a text that is no reference.
    async fn owner(&self, reference: &str) -> Result<Option<Owned>>;
}

/// The catalog as directory.
#[derive(Clone)]
pub struct Catalog {
    peers: Peers,
}

impl Catalog {
    /// The directory behind `peers`.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }
}

#[async_trait]
impl Directory for Catalog {
    async fn memberships(&self) -> Result<Memberships> {
        let client = self.peers.as_service("catalog", TIMEOUT);
        let mut client = DirectoryServiceClient::new(client).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = client.list_memberships(ListMembershipsRequest {}).await.map_err(error_from)?.into_inner();
        let mut pairs: Vec<_> = answer.memberships.into_iter().map(|m| (m.user, m.group)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        Ok(Memberships { revision: answer.revision, pairs })
    }
}

#[async_trait]
impl Owners for Catalog {
    async fn owner(&self, reference: &str) -> Result<Option<Owned>> {
        let mut client = DirectoryServiceClient::new(self.peers.as_service("catalog", TIMEOUT));
        let request = ResolveOwnerRequest { r#ref: reference.to_owned() };
        match client.resolve_owner(request).await.map_err(error_from) {
            Ok(found) => {
                let found = found.into_inner();
                let owner = Some(found.owner).filter(|owner| !owner.is_empty());
                Ok(Some(Owned { reference: found.r#ref, owner }))
            }
            Err(error) if error.is(&SERVICE_UNKNOWN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
