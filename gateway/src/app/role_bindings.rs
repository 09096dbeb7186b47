//! Making, listing and deleting role bindings.
//!
//! Refuses to leave the platform without an administrator, and roles where they have no meaning.

use slipway_kit::{
    audit,
    authz::Facts,
    clock::Clock,
    error::{ALREADY_EXISTS, ETAG_MISMATCH, Error, NOT_FOUND, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{
    access::Access,
    lists::{self, Answer, Asked, Lists},
};
use crate::{
    error::LAST_ADMINISTRATOR,
    model::{
        noun::Binding,
        rights::{Grant, is_team_role},
    },
    store::{BINDING_FIELDS, Store, read_binding},
};
use slipway_kit::caller::Role;

/// Verbs on role bindings; cheap to clone.
#[derive(Clone)]
pub struct RoleBindings {
    store: Store,
    access: Access,
    clock: Clock,
    lists: Lists,
}

impl RoleBindings {
    /// Verbs over these parts.
    #[must_use]
    pub fn new(store: Store, access: Access, clock: Clock, lists: Lists) -> Self {
        Self { store, access, clock, lists }
    }

    /// Binds a role.
    ///
    /// # Errors
    /// INVALID_FIELD when role and team do not fit, ALREADY_EXISTS.
    pub async fn create(&self, call: &Call, grant: Grant, validate_only: bool) -> Result<Binding> {
        call.check(&Facts::default())?;
        let mut wrong = Violations::new();
        let fits = is_team_role(grant.role) != grant.team.is_empty();
        wrong.check(
            fits,
            "role_binding.team",
            "is required for viewer, developer and maintainer, and refused for others",
        );
        wrong.finish()?;
        let mut change = match Mutation::begin::<Binding>(self.store.db(), call).await? {
            Begun::Replay(binding) => return Ok(binding),
            Begun::Fresh(change) => change,
        };
        let binding = new_binding(grant, self.clock.now_us());
        if let Some(there) = self.store.find_binding(change.tx(), &binding).await? {
            return Err(
                Error::new(&ALREADY_EXISTS, "the subject has this role there").resource("RoleBinding", there.name())
            );
        }
        if validate_only {
            return Ok(binding);
        }
        self.store.add_binding(change.tx(), &binding).await?;
        let (resource, uid) = (binding.name(), binding.uid.clone());
        let fields = ["subject", "role", "team"];
        change.commit(&binding, audit::Change { resource: &resource, uid: &uid, fields: &fields }).await?;
        self.access.changed().await;
        Ok(binding)
    }

    /// Lists role bindings.
    ///
    /// # Errors
    /// As the filter, the order and the page token.
    pub async fn list(&self, call: &Call, asked: &Asked) -> Result<Answer<Binding>> {
        call.check(&Facts::default())?;
        let query = lists::Query {
            fields: BINDING_FIELDS,
            orders: &[("create_time", "created_us"), ("subject", "subject")],
            default_order: "create_time desc",
            key: "uid",
            only: None,
        };
        let plan = self.lists.plan(call, asked, &query)?;
        let rows = self.store.bindings(&plan.page).await?;
        let total = match plan.total {
            None => None,
            Some(cap) => Some(self.store.count_bindings(&plan.all, cap).await?),
        };
        self.lists.answer(call, &plan, rows, total, read_binding)
    }

    /// Deletes a binding; effective here before the answer, elsewhere within a second.
    ///
    /// # Errors
    /// LAST_ADMINISTRATOR, ETAG_MISMATCH, NOT_FOUND.
    pub async fn delete(&self, call: &Call, uid: &str, etag: &str) -> Result<()> {
        call.check(&Facts::default())?;
        let mut change = match Mutation::begin::<()>(self.store.db(), call).await? {
            Begun::Replay(()) => return Ok(()),
            Begun::Fresh(change) => change,
        };
        let found = self.store.binding(change.tx(), uid).await?;
        let binding = found.ok_or_else(|| Error::new(&NOT_FOUND, "there is no such role binding"))?;
        if !etag.is_empty() && etag != format!("v{}", binding.version) {
            return Err(Error::new(&ETAG_MISMATCH, "the role binding changed since it was read"));
        }
        if binding.role == Role::PlatformAdmin && self.store.administrators(change.tx()).await? <= 1 {
            return Err(Error::new(&LAST_ADMINISTRATOR, "the last administrator of the platform cannot be unbound")
                .precondition("LAST_ADMINISTRATOR", binding.name(), "another binding of platform-admin must exist"));
        }
        self.store.remove_binding(change.tx(), uid).await?;
        let resource = binding.name();
        change.commit(&(), audit::Change { resource: &resource, uid, fields: &[] }).await?;
        self.access.changed().await;
        Ok(())
    }
}

/// A binding that was not there before.
#[must_use]
pub fn new_binding(grant: Grant, now_us: i64) -> Binding {
    let Grant { subject, role, team } = grant;
    Binding { uid: id::uuid7(), version: 1, subject, role, team, created_us: now_us, updated_us: now_us }
}
