//! Who may not approve, and what cannot be approved; each is told with what to do.
use std::sync::Once;

use slipway_environment::{
    app::NewApproval,
    model::{
        cluster::{Check, CheckVerdict, Cluster as Registration},
        environment::Target,
        layout::Routes,
    },
};
use slipway_kit::{
    caller::{CallerKind, Job},
    serve::Call,
};

use super::*;
use crate::{cluster::DEATH, support::stranger};

/// A worker that dies in a test is no news.
pub fn quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload_as_str().unwrap_or_default().contains(DEATH) {
                loud(info);
            }
        }));
    });
}

fn job() -> Caller {
    Caller {
        principal: "ci:github/100".to_owned(),
        kind: CallerKind::CiJob,
        job: Some(Job { repository_id: REPOSITORY.to_owned(), pull_request: Some(7), grants: BTreeMap::new() }),
        ..caller("ci:github/100", &[(OWNER, Role::Maintainer)], &[])
    }
}

async fn register(shop: &Shop, check: Option<Check>) {
    let registration = Registration {
        id: "local".to_owned(),
        uid: slipway_kit::id::uuid4(),
        version: 1,
        created_us: 1,
        updated_us: 1,
        kubeconfig_file: "x.yaml".to_owned(),
        in_cluster: false,
        target: Target::Apply,
        tiers: Vec::new(),
        is_default: true,
        routing: Routes::Proxy,
        check_image: String::new(),
        pull_secret_files: Vec::new(),
        git_version: String::new(),
        checks: check.into_iter().collect(),
        checked_us: 1,
    };
    let mut tx = shop.scratch.db.begin().await.unwrap();
    let store = Store::new(shop.scratch.db.clone());
    store.delete_cluster(&mut tx, "local").await.unwrap();
    store.insert_cluster(&mut tx, &registration).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn only_members_who_are_people_and_not_the_author() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch).await;
        shop.shows(1, 0).await;
        let viewer = caller("user:default/vic", &[(OWNER, Role::Viewer)], &[]);
        let robot = caller("service:default/robot", &[(OWNER, Role::Maintainer)], &[]);
        for (who, want) in [
            (stranger(), "PERMISSION_DENIED"),
            (viewer, "PERMISSION_DENIED"),
            (job(), "PERMISSION_DENIED"),
            (robot, "NEEDS_PERSON"),
            (fred(), "SELF_APPROVAL"),
        ] {
            let principal = who.principal.clone();
            assert_eq!(name_of(&shop.approve_as(who, 1, images()).await.unwrap_err()), want, "{principal}");
        }
        // The catalog knows under which login ann opens pull requests.
        shop.fake.state().logins.insert("user:default/ann".to_owned(), "FRED".to_owned());
        assert_eq!(name_of(&shop.approve(1).await.unwrap_err()), "SELF_APPROVAL");
        assert_eq!(shop.env().await.approval, None);
        let root = caller("user:default/root", &[], &[Role::PlatformAdmin]);
        shop.approve_as(root, 1, images()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_and_nothing_is_approved() {
    let shop = Shop::simple().await;
    shop.shows(1, 0).await;
    let unknown =
        NewApproval { name: "environments/pr-8-payments".to_owned(), head_sha: sha(1), ..NewApproval::default() };
    let denied = shop.app.approve_preview(&call(ann(), "ApprovePreview"), &unknown).await.unwrap_err();
    assert_eq!(name_of(&denied), "PERMISSION_DENIED");
    let root = caller("user:default/root", &[], &[Role::PlatformAdmin]);
    let missing = shop.app.approve_preview(&call(root, "ApprovePreview"), &unknown).await.unwrap_err();
    assert_eq!(name_of(&missing), "NOT_FOUND");
    let none = shop.approve_as(ann(), 1, BTreeMap::new()).await.unwrap_err();
    assert!(name_of(&none) == "IMAGE_UNKNOWN" && none.message().contains("app"), "{none:?}");
    let tag = BTreeMap::from([("app".to_owned(), "app:latest".to_owned()), ("ap".to_owned(), images()["app"].clone())]);
    let tagged = shop.approve_as(ann(), 1, tag).await.unwrap_err();
    assert_eq!(tagged.violations()[0].0, "images[\"app\"]");
    let stale =
        NewApproval { name: NAME.to_owned(), head_sha: sha(1), etag: "x-9".to_owned(), ..NewApproval::default() };
    let moved = shop.app.approve_preview(&call(ann(), "ApprovePreview"), &stale).await.unwrap_err();
    assert_eq!(name_of(&moved), "ETAG_MISMATCH");
    // Only looked at: nothing is stored, nothing runs.
    let only = NewApproval {
        name: NAME.to_owned(),
        head_sha: sha(1),
        images: images(),
        validate_only: true,
        ..NewApproval::default()
    };
    let told = shop.app.approve_preview(&call(ann(), "ApprovePreview"), &only).await.unwrap();
    assert!(told.approval.is_some() && shop.env().await.approval.is_none());
    // A branch of the repository itself needs none.
    shop.fake.set(REPOSITORY, "7", Reading::Open(head(1, 1)));
    assert_eq!(name_of(&shop.approve(1).await.unwrap_err()), "NOT_A_FORK");
    let away = Reading::Unknown { reason: "SCM_UNREACHABLE", message: "away".to_owned() };
    shop.fake.set(REPOSITORY, "7", away);
    assert_eq!(name_of(&shop.approve(1).await.unwrap_err()), "SCM_UNREACHABLE");
    let at_us = shop.clock.now_us();
    shop.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us });
    assert_eq!(name_of(&shop.approve(1).await.unwrap_err()), "PULL_REQUEST_ENDED");
}

#[tokio::test]
async fn a_cluster_that_does_not_keep_pods_apart_gets_no_fork() {
    let shop = Shop::simple().await;
    shop.shows(1, 0).await;
    let check =
        |verdict| Check::other("NETWORK_POLICY", verdict, "they are stored and not enforced", "Install a plugin.");
    for verdict in [CheckVerdict::Failed, CheckVerdict::Warning] {
        register(&shop, Some(check(verdict))).await;
        let refused = shop.approve(1).await.unwrap_err();
        assert_eq!(name_of(&refused), "NETWORK_NOT_ENFORCED");
        assert!(refused.message().contains("stored and not enforced"), "{refused:?}");
    }
    register(&shop, Some(check(CheckVerdict::Unknown))).await;
    let told = shop.approve(1).await.unwrap();
    assert!(told.approval.unwrap().note.contains("not known"));
    // Where it is proven, there is nothing to say.
    register(&shop, Some(Check::passed("NETWORK_POLICY", "tried"))).await;
    shop.shows(2, 0).await;
    assert_eq!(shop.approve(2).await.unwrap().approval.unwrap().note, "");
    shop.until_state(State::Ready).await;
}

#[tokio::test]
async fn an_approval_is_one_transaction_with_its_record_and_its_event() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch).await;
        shop.shows(1, 0).await;
        let new = NewApproval { name: NAME.to_owned(), head_sha: sha(1), images: images(), ..NewApproval::default() };
        let asked: Call = call(ann(), "ApprovePreview");
        let first = shop.app.approve_preview(&asked, &new).await.unwrap();
        // The same request again is the same answer, also after a push.
        shop.shows(2, 0).await;
        let again = shop.app.approve_preview(&asked, &new).await.unwrap();
        assert_eq!((again.approval.clone(), again.version), (first.approval.clone(), first.version));
        assert_eq!(shop.env().await.state(), State::AwaitingApproval);
        let sql = "SELECT principal, resource, fields FROM audit WHERE method LIKE '%ApprovePreview'";
        let rows = shop.scratch.db.fetch_all(sql, Vec::new()).await.unwrap();
        assert_eq!(rows.len(), 1, "{}", shop.scratch.engine);
        assert_eq!(rows[0].text("principal").unwrap(), "user:default/ann");
        assert!(rows[0].text("resource").unwrap() == NAME && rows[0].text("fields").unwrap().contains("approval"));
        let events = slipway_kit::journal::read(&shop.scratch.db, 0, 100).await.unwrap();
        let told = first.approval.unwrap().content_sha256;
        assert!(events.iter().any(|e| e.subject.ends_with("EnvironmentChanged") && e.payload_json.contains(&told)));
        // Two people at one time: one approval, and no error.
        let (a, b) = tokio::join!(
            shop.approve(2),
            shop.approve_as(caller("user:default/mia", &[(OWNER, Role::Maintainer)], &[]), 2, images())
        );
        assert_eq!(a.unwrap().approval.unwrap(), b.unwrap().approval.unwrap());
    }
}
