//! Mistakes that are easily made: everything that is wrong is told at once, and nothing is done by halves.
#![allow(clippy::unwrap_used)]
mod support;

use std::collections::BTreeMap;

use slipway_environment::{
    app::{HoldList, List, NewEnvironment, OrphanList, WantedPreview},
    model::{environment::Kind, preview::Reading, tier::Tier},
};
use slipway_kit::{
    caller::Role,
    error::{CONFLICT, Error},
    serve::Call,
};
use support::{OWNER, REPOSITORY, SERVICE, admin, ask, call, caller, databases, head, images, open, shop, wanted};

const HOUR_US: i64 = 3_600_000_000;

fn maintainer(method: &str) -> Call {
    call(caller("user:default/mia", &[(OWNER, Role::Maintainer)], &[]), method)
}

fn fields(error: &Error) -> Vec<String> {
    error.violations().iter().map(|(field, _)| field.clone()).collect()
}

fn wish(kind: Kind) -> NewEnvironment {
    NewEnvironment { service: SERVICE.to_owned(), kind: Some(kind), images: images(), ..NewEnvironment::default() }
}

#[tokio::test]
async fn an_unknown_cluster_hides_nothing_else() {
    for scratch in databases().await {
        let (_, app, _) = shop(&scratch).await;
        let mut new = wish(Kind::Personal);
        (new.cluster, new.label, new.ttl_us) = ("moon".to_owned(), "x".to_owned(), Some(1));
        new.images = BTreeMap::from([("app".to_owned(), "app:latest".to_owned())]);
        let error = app.create(&maintainer("CreateEnvironment"), &new).await.unwrap_err();
        let mut found = fields(&error);
        found.sort();
        assert_eq!(
            found,
            ["environment.cluster", "environment.images[\"app\"]", "environment.label", "environment.ttl"]
        );
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_list_is_told_at_once() {
    for scratch in databases().await {
        let (_, app, _) = shop(&scratch).await;
        let list = |filter: &str, order_by: &str, page_token: &str| List {
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            page_token: page_token.to_owned(),
            ..List::default()
        };
        let call = || maintainer("ListEnvironments");
        let all = app.list(&call(), &list("colour = \"red\"", "colour", "made up")).await.unwrap_err();
        assert_eq!(fields(&all), ["filter", "order_by", "page_token"]);
        let one = app.list(&call(), &list("create_time = \"yesterday\"", "", "")).await.unwrap_err();
        assert_eq!(one.reason().name, "FILTER_INVALID");
        app.list(&call(), &list("", "create_time desc", "")).await.unwrap();
        let (filter, page_token) = ("colour = \"red\"".to_owned(), "made up".to_owned());
        let holds = HoldList { filter: filter.clone(), page_token: page_token.clone(), ..HoldList::default() };
        let error = app.list_holds(&ask(admin(), "ListHolds"), &holds).await.unwrap_err();
        assert_eq!(fields(&error), ["filter", "page_token"]);
        let orphans = OrphanList { filter, page_token, ..OrphanList::default() };
        let error = app.list_orphans(&ask(admin(), "ListOrphans"), &orphans).await.unwrap_err();
        assert_eq!(fields(&error), ["filter", "page_token"]);
    }
}

#[tokio::test]
async fn an_image_the_commit_does_not_declare_is_refused() {
    for scratch in databases().await {
        let (fake, app, _) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        let mut images = images();
        images.insert("ap".to_owned(), images["app"].clone());
        let typed = WantedPreview { images, ..wanted(7, 1) };
        let error = app.ensure_preview(&maintainer("EnsurePreview"), &typed).await.unwrap_err();
        assert_eq!(fields(&error), ["images[\"ap\"]"]);
    }
}

#[tokio::test]
async fn only_components_have_environments() {
    for scratch in databases().await {
        let (fake, app, _) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        fake.add_entity("api:default/payments", "acme/payments", OWNER);
        let api = WantedPreview { service: "api:default/payments".to_owned(), ..wanted(7, 1) };
        let error = app.ensure_preview(&maintainer("EnsurePreview"), &api).await.unwrap_err();
        assert_eq!(fields(&error), ["service"]);
    }
}

#[tokio::test]
async fn extending_never_shortens() {
    for scratch in databases().await {
        let (fake, app, clock) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        let env = app.ensure_preview(&maintainer("EnsurePreview"), &wanted(7, 1)).await.unwrap();
        assert_eq!(env.expire_us, Some(clock.now_us() + 72 * HOUR_US));
        let same = app.extend(&maintainer("ExtendEnvironment"), &env.name(), HOUR_US, "").await.unwrap();
        assert_eq!(same.expire_us, env.expire_us);
    }
}

#[tokio::test]
async fn a_deletion_that_is_only_checked_hands_out_no_token() {
    for scratch in databases().await {
        let (fake, app, _) = shop(&scratch).await;
        let main = Reading::Open(head(9, 1));
        fake.set(REPOSITORY, "main", main.clone());
        fake.set(REPOSITORY, "", main);
        let new = NewEnvironment { tier: Some(Tier::Staging), ..wish(Kind::LongLived) };
        let env = app.create(&maintainer("CreateEnvironment"), &new).await.unwrap();
        let checked = app.delete(&maintainer("DeleteEnvironment"), &env.name(), "", true).await.unwrap();
        assert_eq!((checked.token.as_str(), checked.expire_us, checked.missing), ("", None, 1));
        // The name is echoed as the answer shows it, or as its last part.
        let opened = app.delete(&maintainer("DeleteEnvironment"), &env.name(), "", false).await.unwrap();
        let done = app.confirm(&maintainer("ConfirmDelete"), &env.name(), &env.name(), &opened.token).await;
        assert!(done.map_err(|e| assert!(!e.is(&CONFLICT), "{e:?}")).unwrap().env.retire.is_some());
    }
}
