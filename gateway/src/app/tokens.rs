//! Making, listing and revoking platform tokens.
//!
//! Refuses tokens wider than the credential that makes them, and to show a secret twice.

use rand::Rng as _;
use slipway_kit::{
    audit,
    authz::{self, Facts, Visible},
    caller::Scope,
    clock::Clock,
    error::{ETAG_MISMATCH, Error, NOT_FOUND, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{
    access::Access,
    lists::{self, Answer, Asked, Lists},
};
use crate::{
    error::TOKEN_SCOPE_TOO_WIDE,
    model::{
        noun::Token,
        rights::scopes_within,
        token::{DEFAULT_LIFE_SECONDS, PlainToken, SECRET_BYTES},
    },
    store::{Store, TOKEN_FIELDS, read_token},
};

/// Verbs on tokens; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    access: Access,
    clock: Clock,
    key: [u8; 32],
    lists: Lists,
}

/// A token someone asks for.
pub struct NewToken {
    /// What it is for.
    pub display_name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Life in microseconds; the default if `None`.
    pub ttl_us: Option<i64>,
    /// Whom it speaks for; the caller if `None`.
    pub owner: Option<String>,
}

impl Tokens {
    /// Verbs over these parts.
    #[must_use]
    pub fn new(store: Store, access: Access, clock: Clock, key: [u8; 32], lists: Lists) -> Self {
        Self { store, access, clock, key, lists }
    }

    /// Makes a token for the caller, or for another user if the caller administers the platform.
    ///
    /// # Errors
    /// PERMISSION_DENIED for another user's, INVALID_FIELD for scopes that mean nothing, TOKEN_SCOPE_TOO_WIDE, and RESPONSE_NOT_REPLAYABLE for a repeat.
    pub async fn create(&self, call: &Call, new: NewToken) -> Result<(Token, PlainToken)> {
        let owner = new.owner.as_deref().unwrap_or(&call.caller.principal).to_owned();
        call.check(&Facts { subject: Some(&owner), ..Facts::default() })?;
        check_scopes(&new.scopes)?;
        if !scopes_within(&new.scopes, call.caller.scopes.as_deref()) {
            return Err(Error::new(&TOKEN_SCOPE_TOO_WIDE, "a token cannot make a token with more rights than its own"));
        }
        let mut change = match Mutation::begin::<()>(self.store.db(), call).await? {
            Begun::Replay(()) => return Err(Error::internal("an answer with a secret was replayed")),
            Begun::Fresh(change) => change,
        };
        let plain = mint();
        let life_us = new.ttl_us.unwrap_or(DEFAULT_LIFE_SECONDS * 1_000_000);
        let token = described(&plain, new.display_name, owner, new.scopes, self.clock.now_us(), life_us);
        self.store.add_token(change.tx(), &token, &plain.keyed_hash(&self.key)).await?;
        let fields = ["display_name", "scopes", "expire_time"];
        change.commit_secret(audit::Change { resource: &token.name(), uid: &token.uid, fields: &fields }).await?;
        Ok((token, plain))
    }

    /// Lists the caller's tokens, or everybody's for those who may read them.
    ///
    /// # Errors
    /// As the filter, the order and the page token.
    pub async fn list(&self, call: &Call, asked: &Asked) -> Result<Answer<Token>> {
        call.check(&Facts { subject: Some(&call.caller.principal), ..Facts::default() })?;
        let owner = (call.visible() != Visible::All).then(|| call.caller.principal.clone());
        let query = lists::Query {
            fields: TOKEN_FIELDS,
            orders: &[("create_time", "created_us"), ("expire_time", "expires_us"), ("display_name", "display_name")],
            default_order: "create_time desc",
            key: "id",
            only: owner.map(|owner| ("owner", owner)),
        };
        let plan = self.lists.plan(call, asked, &query)?;
        let rows = self.store.tokens(&plan.page).await?;
        let total = match plan.total {
            None => None,
            Some(cap) => Some(self.store.count_tokens(&plan.all, cap).await?),
        };
        self.lists.answer(call, &plan, rows, total, read_token)
    }

    /// Revokes a token for good; effective here before the answer, elsewhere within a second.
    ///
    /// # Errors
    /// ETAG_MISMATCH; PERMISSION_DENIED alike for another's token and for none.
    pub async fn revoke(&self, call: &Call, id: &str, etag: &str) -> Result<Token> {
        let token = self.store.token(self.store.db(), id).await?;
        call.check(&Facts { subject: token.as_ref().map(|t| t.owner.as_str()), ..Facts::default() })?;
        let mut change = match Mutation::begin::<Token>(self.store.db(), call).await? {
            Begun::Replay(token) => return Ok(token),
            Begun::Fresh(change) => change,
        };
        let token = self.store.token(change.tx(), id).await?;
        let token = token.ok_or_else(|| Error::new(&NOT_FOUND, "there is no such token"))?;
        if !etag.is_empty() && etag != format!("v{}", token.version) {
            return Err(Error::new(&ETAG_MISMATCH, "the token changed since it was read"));
        }
        self.store.revoke_token(change.tx(), id, self.clock.now_us()).await?;
        let token = self.store.token(change.tx(), id).await?.unwrap_or(token);
        let (resource, uid) = (token.name(), token.uid.clone());
        change.commit(&token, audit::Change { resource: &resource, uid: &uid, fields: &["revoke_time"] }).await?;
        self.access.changed().await;
        Ok(token)
    }
}

/// A new token of fresh random bytes.
#[must_use]
pub fn mint() -> PlainToken {
    loop {
        let (mut entropy, mut secret) = ([0; 32], [0; SECRET_BYTES]);
        rand::rng().fill_bytes(&mut entropy);
        rand::rng().fill_bytes(&mut secret);
        if let Some(token) = PlainToken::mint(&entropy, &secret) {
            return token;
        }
    }
}

/// What is stored of a new token.
#[must_use]
pub fn described(
    plain: &PlainToken,
    display_name: String,
    owner: String,
    scopes: Vec<Scope>,
    now_us: i64,
    life_us: i64,
) -> Token {
    Token {
        id: plain.id().to_owned(),
        uid: id::uuid7(),
        version: 1,
        display_name,
        owner,
        scopes,
        created_us: now_us,
        updated_us: now_us,
        expires_us: now_us.saturating_add(life_us),
        revoked_us: 0,
        last_use_us: 0,
    }
}

/// Permission that no RPC has of its own, asked for when a location gets flags of the platform.
const SETTINGS: &str = "settings.update";

/// Refuses scopes that could never allow anything: a misspelt one would only show when the token is used.
fn check_scopes(scopes: &[Scope]) -> Result<()> {
    let mut faults = Violations::new();
    for (at, scope) in scopes.iter().enumerate() {
        let known = permission_exists(&scope.permission);
        faults.check(
            known,
            format!("token.scopes[{at}].permission"),
            "is no permission of any RPC; see the rules in the contract",
        );
        let placed = matches!(scope.resource.as_str(), "" | "*") || is_group(&scope.resource);
        faults.check(
            placed,
            format!("token.scopes[{at}].resource"),
            "must be a group, as `group:default/payments`, or empty for all",
        );
    }
    faults.finish()
}

fn permission_exists(permission: &str) -> bool {
    let mut known = authz::rules().filter(|r| !r.is_internal()).map(|r| r.permission.as_str()).chain([SETTINGS]);
    match permission.strip_suffix(".*") {
        Some(noun) => known.any(|p| p.split_once('.').is_some_and(|(n, _)| n == noun)),
        None => permission == "*" || known.any(|p| p == permission),
    }
}

fn is_group(text: &str) -> bool {
    let part =
        |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
    text.strip_prefix("group:").and_then(|rest| rest.split_once('/')).is_some_and(|(n, g)| part(n) && part(g))
}
