//! The store of access on every engine, and the verbs that rest on it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use slipway_gateway::{
    app::{
        access::Access,
        lists::{Asked, Lists, Total},
        role_bindings::{RoleBindings, new_binding},
        tokens::{NewToken, Tokens, described, mint},
    },
    error::LAST_ADMINISTRATOR,
    model::rights::Grant,
    store::{MIGRATIONS, Store},
    world::directory::{Directory, Memberships},
};
use slipway_kit::{
    args,
    caller::{Caller, CallerKind, Role, Scope},
    clock::Clock,
    db::scratch::{self, Scratch},
    error::{ALREADY_EXISTS, DEPENDENCY_UNAVAILABLE, Error, PERMISSION_DENIED, Result},
    page::Sealer,
    serve::Call,
};

#[derive(Clone, Default)]
struct Members(Arc<Mutex<Vec<(String, String)>>>, Arc<AtomicBool>);

#[async_trait]
impl Directory for Members {
    async fn memberships(&self) -> Result<Memberships> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Error::new(&DEPENDENCY_UNAVAILABLE, "down"));
        }
        Ok(Memberships { revision: 1, pairs: self.0.lock().unwrap().clone() })
    }
}

struct Suite {
    scratch: Scratch,
    store: Store,
    access: Access,
    members: Members,
    clock: Clock,
    lists: Lists,
}

async fn suites() -> Vec<Suite> {
    let mut all = Vec::new();
    for scratch in scratch::each(&MIGRATIONS).await {
        let store = Store::new(scratch.db.clone());
        let members = Members::default();
        let access = Access::new(store.clone(), Box::new(members.clone()));
        let lists = Lists::new(Sealer::load(&scratch.db).await.unwrap());
        all.push(Suite { scratch, store, access, members, clock: Clock::manual(1_000_000_000), lists });
    }
    all
}

fn scope(permission: &str) -> Scope {
    Scope { permission: permission.into(), resource: String::new() }
}

fn user(name: &str) -> Caller {
    Caller { principal: format!("user:default/{name}"), kind: CallerKind::User, ..Caller::anonymous() }
}

fn administrator() -> Caller {
    Caller { roles: [Role::PlatformAdmin].into(), ..user("admin") }
}

fn grant(subject: &str, role: Role, team: &str) -> Grant {
    Grant { subject: subject.into(), role, team: team.into() }
}

fn asked(size: i32, token: &str) -> Asked {
    Asked { size, token: token.into(), filter: String::new(), order_by: String::new(), total: Total::Exact }
}

impl Suite {
    fn tokens(&self) -> Tokens {
        Tokens::new(self.store.clone(), self.access.clone(), self.clock.clone(), [1; 32], self.lists.clone())
    }

    fn bindings(&self) -> RoleBindings {
        RoleBindings::new(self.store.clone(), self.access.clone(), self.clock.clone(), self.lists.clone())
    }

    async fn bind(&self, g: Grant) {
        let mut tx = self.store.db().begin().await.unwrap();
        self.store.add_binding(&mut tx, &new_binding(g, 1)).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn tokens_are_kept_as_they_were_made() {
    for suite in suites().await {
        let store = &suite.store;
        let plain = mint();
        let scopes = vec![scope("entities.get"), Scope { permission: "*".into(), resource: "group:default/a".into() }];
        let token = described(&plain, "ä \"b\"".into(), "user:default/ann".into(), scopes, 5, 10);
        let mut tx = store.db().begin().await.unwrap();
        store.add_token(&mut tx, &token, &plain.keyed_hash(&[1; 32])).await.unwrap();
        tx.commit().await.unwrap();
        let (read, hash) = store.credential(plain.id()).await.unwrap().unwrap();
        assert_eq!(read, token, "{}", suite.scratch.engine);
        assert!(plain.matches(&[1; 32], &hash));
        assert!(token.is_live(14) && !token.is_live(15));
        let before = store.version().await.unwrap();
        let mut tx = store.db().begin().await.unwrap();
        store.revoke_token(&mut tx, plain.id(), 9).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.version().await.unwrap() > before);
        let revoked = store.token(store.db(), plain.id()).await.unwrap().unwrap();
        assert_eq!((revoked.revoked_us, revoked.version), (9, 2));
        let mut tx = store.db().begin().await.unwrap();
        let twice = store.add_token(&mut tx, &token, &[0; 32]).await.unwrap_err();
        assert!(twice.is(&ALREADY_EXISTS));
        assert!(store.credential("zzzzzzzz").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn everyone_sees_their_own_tokens_and_auditors_all() {
    for suite in suites().await {
        let tokens = suite.tokens();
        for (at, owner) in ["ann", "bob", "ann", "ann"].into_iter().enumerate() {
            let call = Call::for_test(user(owner), "/slipway.access.v1.TokenService/CreateToken");
            let new = NewToken {
                display_name: format!("t{at}"),
                scopes: vec![scope("entities.get")],
                owner: None,
                ttl_us: None,
            };
            tokens.create(&call, new).await.unwrap();
            suite.clock.advance_us(1);
        }
        let create = "/slipway.access.v1.TokenService/CreateToken";
        let theirs = || NewToken {
            display_name: "theirs".into(),
            scopes: vec![scope("entities.get")],
            ttl_us: None,
            owner: Some("user:default/eve".into()),
        };
        let maintainer = Caller { teams: [("group:default/pay".to_owned(), Role::Maintainer)].into(), ..user("ann") };
        let auditor = Caller { roles: [Role::Auditor].into(), ..user("aud") };
        let bound = Scope { permission: "*".into(), resource: "group:default/pay".into() };
        let limited = Caller { scopes: Some(vec![bound, scope("entities.get")]), ..administrator() };
        for caller in [user("ann"), maintainer, auditor, limited] {
            let denied = tokens.create(&Call::for_test(caller, create), theirs()).await;
            assert!(denied.unwrap_err().is(&PERMISSION_DENIED), "only administrators make tokens of others");
        }
        let list = "/slipway.access.v1.TokenService/ListTokens";
        let ann = Call::for_test(user("ann"), list);
        let first = tokens.list(&ann, &asked(2, "")).await.unwrap();
        let names: Vec<_> = first.items.iter().map(|t| t.display_name.as_str()).collect();
        assert_eq!((names, first.total), (vec!["t3", "t2"], Some(3)), "{}", suite.scratch.engine);
        let second = tokens.list(&ann, &asked(2, &first.next)).await.unwrap();
        assert_eq!((second.items.len(), second.items[0].display_name.as_str(), second.next.as_str()), (1, "t0", ""));
        let bob = Call::for_test(user("bob"), list);
        assert!(tokens.list(&bob, &asked(2, &first.next)).await.is_err(), "another's page token");
        let auditor = Caller { roles: [Role::Auditor].into(), ..user("aud") };
        let all = tokens.list(&Call::for_test(auditor, list), &asked(50, "")).await.unwrap();
        assert_eq!(all.total, Some(4));
        let filtered = Asked { filter: "owner = \"user:default/bob\"".into(), ..asked(50, "") };
        assert_eq!(tokens.list(&ann, &filtered).await.unwrap().items.len(), 0, "no way around by filter");
        let bad = Asked { filter: "hash = \"x\"".into(), ..asked(50, "") };
        assert!(tokens.list(&ann, &bad).await.is_err());
        // Another's token and none are the same.
        let id = &all.items.iter().find(|t| t.owner.ends_with("bob")).unwrap().id;
        let revoke = || Call::for_test(user("ann"), "/slipway.access.v1.TokenService/RevokeToken");
        let theirs = tokens.revoke(&revoke(), id, "").await.unwrap_err();
        let none = tokens.revoke(&revoke(), "zzzzzzzz", "").await.unwrap_err();
        assert!(theirs.is(&PERMISSION_DENIED) && none.is(&PERMISSION_DENIED));
        assert_eq!(theirs.message(), none.message());
    }
}

#[tokio::test]
async fn a_change_writes_its_audit_record_and_repeats_nothing() {
    for suite in suites().await {
        suite.bind(grant("user:default/admin", Role::PlatformAdmin, "")).await;
        let call = Call::for_test(administrator(), "/slipway.access.v1.RoleBindingService/CreateRoleBinding");
        let bindings = suite.bindings();
        let wanted = || grant("user:default/ann", Role::Maintainer, "group:default/pay");
        let made = bindings.create(&call, wanted(), false).await.unwrap();
        assert_eq!(bindings.create(&call, wanted(), false).await.unwrap(), made, "the same call again");
        let again = Call::for_test(administrator(), "/slipway.access.v1.RoleBindingService/CreateRoleBinding");
        assert!(bindings.create(&again, wanted(), false).await.unwrap_err().is(&ALREADY_EXISTS));
        let sql = "SELECT principal, decision, resource_uid FROM audit WHERE method = $1";
        let rows = suite.scratch.db.fetch_all(sql, args![call.method]).await.unwrap();
        assert_eq!(rows.len(), 1, "{}", suite.scratch.engine);
        assert_eq!(rows[0].text("resource_uid").unwrap(), made.uid);
        let known = suite.access.known().await.unwrap();
        assert_eq!(known.rights("user:default/ann").unwrap().teams["group:default/pay"], Role::Maintainer);
        for stranger in [user("ann"), Caller { roles: [Role::Auditor].into(), ..user("aud") }] {
            let call = Call::for_test(stranger, "/slipway.access.v1.RoleBindingService/CreateRoleBinding");
            let denied = bindings.create(&call, grant("user:default/eve", Role::PlatformAdmin, ""), false).await;
            assert!(denied.unwrap_err().is(&PERMISSION_DENIED));
        }
    }
}

#[tokio::test]
async fn two_administrators_cannot_unbind_each_other_at_once() {
    for suite in suites().await {
        let mut uids = Vec::new();
        for name in ["user:default/a", "user:default/b"] {
            let binding = new_binding(grant(name, Role::PlatformAdmin, ""), 1);
            let mut tx = suite.store.db().begin().await.unwrap();
            suite.store.add_binding(&mut tx, &binding).await.unwrap();
            tx.commit().await.unwrap();
            uids.push(binding.uid);
        }
        let one = |uid: String| {
            let (bindings, method) = (suite.bindings(), "/slipway.access.v1.RoleBindingService/DeleteRoleBinding");
            tokio::spawn(async move { bindings.delete(&Call::for_test(administrator(), method), &uid, "").await })
        };
        let (a, b) = (one(uids[0].clone()), one(uids[1].clone()));
        let done = [a.await.unwrap(), b.await.unwrap()];
        let refused: Vec<_> = done.iter().filter_map(|r| r.as_ref().err()).collect();
        assert!(refused.len() == 1 && refused[0].is(&LAST_ADMINISTRATOR), "{}: {done:?}", suite.scratch.engine);
        assert_eq!(suite.store.grants().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn facts_follow_the_store_and_the_directory_and_are_never_older_than_a_second() {
    for suite in suites().await {
        suite.bind(grant("user:default/admin", Role::PlatformAdmin, "")).await;
        let first = suite.access.known().await.unwrap();
        assert_eq!(suite.access.known().await.unwrap().generation, first.generation);
        // Another process changes the store: seen at the latest a second later.
        suite.bind(grant("user:default/ann", Role::Auditor, "")).await;
        suite.members.0.lock().unwrap().push(("user:default/bob".into(), "group:default/pay".into()));
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        let second = suite.access.known().await.unwrap();
        assert!(second.generation > first.generation);
        assert!(second.rights("user:default/ann").unwrap().roles.contains(&Role::Auditor));
        assert_eq!(second.rights("user:default/bob").unwrap().teams.len(), 1);
        // Without the directory only who is administrator by name can be decided on.
        suite.members.1.store(true, Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        let third = suite.access.known().await.unwrap();
        assert!(third.rights("user:default/ann").unwrap_err().is(&DEPENDENCY_UNAVAILABLE));
        assert!(third.rights("user:default/admin").unwrap().roles.contains(&Role::PlatformAdmin));
        suite.members.1.store(false, Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(350)).await;
        assert!(suite.access.known().await.unwrap().rights("user:default/ann").is_ok());
    }
}
