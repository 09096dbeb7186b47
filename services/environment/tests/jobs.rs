//! CI jobs and previews: a pull request's job acts on the preview of that pull request alone, by its repository's number and the
//! services its trust entries name; the SCM decides what is deployed (SAFE-18).
#![allow(clippy::unwrap_used)]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use slipway_environment::{
    app::{App, NewEnvironment, WaitFor},
    error::STALE_COMMIT,
    model::{
        environment::Kind,
        preview::{Head, Reading},
    },
};
use slipway_kit::{
    caller::{Caller, CallerKind, Job, Role, Scope},
    error::{Error, PERMISSION_DENIED},
};
use support::{OWNER, REPOSITORY, SERVICE, ann, call, databases, head, open, shop, wanted};

const PERMISSIONS: [&str; 4] =
    ["environments.ensure_preview", "environments.get", "environments.delete", "environments.create"];

fn job(repository: &str, pull_request: Option<i64>, service: &str) -> Caller {
    let scope = |p: &str| Scope { permission: p.to_owned(), resource: OWNER.to_owned() };
    let granted: BTreeSet<String> = PERMISSIONS.iter().map(|p| (*p).to_owned()).collect();
    Caller {
        principal: format!("ci:github/{repository}"),
        kind: CallerKind::CiJob,
        credential: "trustEntries/abcdefgh".to_owned(),
        teams: [(OWNER.to_owned(), Role::Automation)].into(),
        scopes: Some(PERMISSIONS.iter().map(|p| scope(p)).collect()),
        job: Some(Job {
            repository_id: repository.to_owned(),
            pull_request,
            grants: BTreeMap::from([(service.to_owned(), granted)]),
        }),
        ..Caller::anonymous()
    }
}

/// Every verb on the preview of pull request 7, as this caller; the errors by name.
async fn tries(app: &App, who: &Caller, name: &str) -> Vec<(&'static str, Option<Error>)> {
    let c = |verb: &str| call(who.clone(), verb);
    vec![
        ("ensure", app.ensure_preview(&c("EnsurePreview"), &wanted(7, 1)).await.err()),
        ("get", app.get(&c("GetEnvironment"), name).await.err()),
        ("wait", app.wait(&c("WaitEnvironment"), name, WaitFor::Settled, Some(Default::default())).await.err()),
        ("delete preview", app.delete_preview(&c("DeletePreview"), SERVICE, 7, "").await.err()),
        ("delete", app.delete(&c("DeleteEnvironment"), name, "", true).await.err()),
    ]
}

#[tokio::test]
async fn a_job_acts_on_its_own_pull_request_alone() {
    for scratch in databases().await {
        let (fake, app, _) = shop(&scratch).await;
        for number in ["7", "8"] {
            fake.set(REPOSITORY, number, open(1));
        }
        let own = job(REPOSITORY, Some(7), SERVICE);
        let env = app.ensure_preview(&call(own.clone(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let stale = app.ensure_preview(&call(own.clone(), "EnsurePreview"), &wanted(7, 2)).await.unwrap_err();
        assert!(stale.is(&STALE_COMMIT), "{stale}");
        let name = env.name();
        let mut bare = job(REPOSITORY, Some(7), SERVICE);
        bare.job.as_mut().unwrap().grants.clear();
        for other in [
            job(REPOSITORY, Some(8), SERVICE),
            job("101", Some(7), SERVICE),
            job(REPOSITORY, Some(7), "component:default/other"),
            job("101", None, SERVICE),
            bare,
        ] {
            for (verb, error) in tries(&app, &other, &name).await {
                let error = error.unwrap_or_else(|| panic!("{verb} as {:?}", other.job));
                assert!(error.is(&PERMISSION_DENIED), "{verb} as {:?}: {error}", other.job);
            }
        }
        // A job of no pull request may act on all previews of its repository, and a person is no job.
        for allowed in [job(REPOSITORY, None, SERVICE), own, ann()] {
            for (verb, error) in tries(&app, &allowed, &name).await {
                assert!(error.is_none_or(|e| !e.is(&PERMISSION_DENIED)), "{verb} as {}", allowed.principal);
            }
        }
    }
}

#[tokio::test]
async fn a_job_of_a_pull_request_makes_no_other_environment_and_none_of_a_fork() {
    for scratch in databases().await {
        let (fake, app, _) = shop(&scratch).await;
        fake.set(REPOSITORY, "feature", open(8));
        fake.set(REPOSITORY, "7", Reading::Open(Head { fork: true, ..head(1, 1) }));
        let branch = NewEnvironment {
            service: SERVICE.to_owned(),
            kind: Some(Kind::Branch),
            branch: "feature".to_owned(),
            ..NewEnvironment::default()
        };
        let of_pull = job(REPOSITORY, Some(7), SERVICE);
        let error = app.create(&call(of_pull.clone(), "CreateEnvironment"), &branch).await.unwrap_err();
        assert!(error.is(&PERMISSION_DENIED), "{error}");
        let error = app.ensure_preview(&call(of_pull, "EnsurePreview"), &wanted(7, 1)).await.unwrap_err();
        assert!(error.is(&PERMISSION_DENIED), "{error}");
        let pushed = job(REPOSITORY, None, SERVICE);
        app.create(&call(pushed, "CreateEnvironment"), &branch).await.unwrap();
    }
}
