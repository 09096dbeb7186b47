//! Facts for other services' decisions: who owns an entity, who belongs to which group.

use slipway_kit::{
    authz::Facts,
    error::{Error, Result, SERVICE_UNKNOWN, Violations},
    journal,
    serve::Call,
};

use super::App;
use crate::{
    model::{entity::Ownership, entity_ref::EntityRef, membership},
    store,
};

/// All memberships at one position of the journal.
pub struct Memberships {
    /// (user, group) pairs, transitive.
    pub pairs: Vec<(String, String)>,
    /// Every trusted group.
    pub groups: Vec<String>,
    /// Position they are true at.
    pub revision: i64,
}

impl App {
    /// The owner and other deciding facts of one living entity.
    pub async fn resolve_owner(&self, call: &Call, reference: &str) -> Result<Ownership> {
        call.check(&Facts::default())?;
        let parsed = EntityRef::from_name_or_ref(reference, Some("component"));
        let Ok(parsed) = parsed else {
            let mut violations = Violations::new();
            violations.add("ref", "must have the form `[kind:][namespace/]name` without an empty part");
            violations.finish()?;
            return Err(Error::internal("a violation was found"));
        };
        let unknown = || {
            Error::new(&SERVICE_UNKNOWN, format!("the catalog knows no `{parsed}`"))
                .resource("entity", parsed.resource_name())
        };
        store::ownership(&self.db, parsed.as_str()).await?.ok_or_else(unknown)
    }

    /// All memberships that trusted organisation locations declare. The position is read first: what changes meanwhile comes again.
    pub async fn memberships(&self, call: &Call) -> Result<Memberships> {
        call.check(&Facts::default())?;
        let revision = journal::head(&self.db).await?.seq;
        let (known, declared) = store::declared_in_organizations(&self.db).await?;
        let pairs = membership::resolve(&known, &declared);
        let groups = known.into_iter().filter(|r| r.starts_with("group:")).collect();
        Ok(Memberships { pairs, groups, revision })
    }
}
