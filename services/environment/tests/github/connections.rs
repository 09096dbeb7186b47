//! `scmConnections`: made, changed, tried and deleted while running.
use std::{path::PathBuf, sync::Arc};

use slipway_environment::{
    app::{App, WORK_POLL},
    error::{SCM_CONFIGURED, SCM_IN_USE},
    model::scm_connection::{POLL_SECONDS, ScmConnection, ScmKind},
    world::{
        World,
        connections::{Connections, Rules},
        fake::Fake,
        sources::ScmSources,
    },
};
use slipway_kit::{
    caller::{Caller, Role},
    db::scratch::Scratch,
    error::{ALREADY_EXISTS, ETAG_MISMATCH, INVALID_FIELD, NOT_FOUND, PERMISSION_DENIED},
    scm::{Scm, ScmConfig, Verdict},
    serve::Call,
    worker::item,
};
use slipway_test_github::{Github, TOKEN};

use super::support::{ann, app_over, caller, databases};

fn admin() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

fn call(who: Caller, method: &str) -> Call {
    let path = format!("/slipway.environment.v1.ScmConnectionService/{method}");
    Call::for_test(who, Box::leak(path.into_boxed_str()))
}

fn create() -> Call {
    call(admin(), "CreateScmConnection")
}

fn wanted(server: &Github) -> ScmConnection {
    ScmConnection {
        id: "acme".to_owned(),
        kind: ScmKind::Github,
        api_url: server.url(),
        token_file: "acme.token".to_owned(),
        poll_seconds: POLL_SECONDS,
        ..ScmConnection::default()
    }
}

async fn app(scratch: &Scratch, server: &Github) -> App {
    let local = ScmConfig::local(server.dir().join("configured"));
    let scm = Scm::open("local", &local).await.unwrap();
    let rules = Rules {
        hosts: vec![server.url()],
        credentials: server.dir().to_owned(),
        mirrors: server.dir().join("stored"),
        git: None::<PathBuf>,
    };
    let sources = Arc::new(ScmSources::new(Connections::new(vec![(local, scm)], rules)));
    app_over(scratch, World { sources, ..Fake::default().world() }, server.clock().clone()).await
}

#[tokio::test]
async fn a_connection_counts_at_once_and_until_it_is_deleted() {
    for scratch in databases().await {
        let server = Github::start().await;
        server.with_token("acme");
        let app = app(&scratch, &server).await;
        let checked = app.create_scm(&create(), wanted(&server), true).await.unwrap();
        assert_eq!(checked.version, 1);
        let get = || call(admin(), "GetScmConnection");
        assert!(app.scm(&get(), "acme").await.unwrap_err().is(&NOT_FOUND), "only checked");
        let made = app.create_scm(&create(), wanted(&server), false).await.unwrap();
        assert!(app.create_scm(&create(), wanted(&server), false).await.unwrap_err().is(&ALREADY_EXISTS));
        let configured = ScmConnection { id: "local".to_owned(), ..wanted(&server) };
        assert!(app.create_scm(&create(), configured, false).await.unwrap_err().is(&ALREADY_EXISTS));
        assert_eq!(app.scm(&get(), "acme").await.unwrap(), made);
        // It is used without a restart, and looked through.
        assert!(item(&scratch.db, WORK_POLL, "acme").await.unwrap().is_some());
        app.poll("acme").await.unwrap();
        assert!(server.asked("repositories") > 0);
        let (first, next) = app.scms(&call(admin(), "ListScmConnections"), 1, "").await.unwrap();
        let (second, end) = app.scms(&call(admin(), "ListScmConnections"), 1, &next).await.unwrap();
        assert_eq!((first[0].id.as_str(), second[0].id.as_str(), end.as_str()), ("acme", "local", ""));
        assert!(second[0].is_configured() && !first[0].is_configured());

        let update = || call(admin(), "UpdateScmConnection");
        let other = ScmConnection { poll_seconds: 600, ..wanted(&server) };
        assert!(app.update_scm(&update(), other.clone(), "v9", false).await.unwrap_err().is(&ETAG_MISMATCH));
        let changed = app.update_scm(&update(), other, "v1", false).await.unwrap();
        assert_eq!((changed.version, changed.uid.as_str()), (2, made.uid.as_str()));
        assert_eq!(app.scm(&get(), "acme").await.unwrap().poll_seconds, 600);
        let local = ScmConnection { id: "local".to_owned(), ..wanted(&server) };
        assert!(app.update_scm(&update(), local, "", false).await.unwrap_err().is(&SCM_CONFIGURED));

        let delete = || call(admin(), "DeleteScmConnection");
        assert!(app.delete_scm(&delete(), "local", "").await.unwrap_err().is(&SCM_CONFIGURED));
        app.delete_scm(&delete(), "acme", "v2").await.unwrap();
        assert!(app.scm(&get(), "acme").await.unwrap_err().is(&NOT_FOUND));
        assert!(app.poll("acme").await.is_err());
        assert!(!app.has_scm("acme").await.unwrap());
    }
}

#[tokio::test]
async fn nothing_but_files_and_hosts_that_are_allowed() {
    for scratch in databases().await {
        let server = Github::start().await;
        let app = app(&scratch, &server).await;
        let good = wanted(&server);
        for bad in [
            ScmConnection { token_file: "../x".to_owned(), ..good.clone() },
            ScmConnection { token_file: "/etc/shadow".to_owned(), ..good.clone() },
            ScmConnection { token_file: String::new(), ..good.clone() },
            ScmConnection { api_url: "http://169.254.169.254".to_owned(), ..good.clone() },
            ScmConnection { api_url: "https://evil.example".to_owned(), ..good.clone() },
            ScmConnection { api_url: format!("{}.evil.example", server.url()), ..good.clone() },
            ScmConnection { git_url: "http://127.0.0.1:1".to_owned(), ..good.clone() },
            ScmConnection { kind: ScmKind::Local, ..good.clone() },
            ScmConnection { poll_seconds: 1, ..good.clone() },
        ] {
            let error = app.create_scm(&create(), bad.clone(), false).await.expect_err(&format!("{bad:?}"));
            assert!(error.is(&INVALID_FIELD), "{error:?}");
        }
        for method in ["CreateScmConnection", "UpdateScmConnection"] {
            let denied = app.create_scm(&call(ann(), method), good.clone(), false).await.unwrap_err();
            assert!(denied.is(&PERMISSION_DENIED));
        }
        assert!(app.test_scm(&call(ann(), "TestConnection"), "acme").await.unwrap_err().is(&PERMISSION_DENIED));
        assert!(app.scm(&call(ann(), "GetScmConnection"), "acme").await.unwrap_err().is(&PERMISSION_DENIED));
    }
}

#[tokio::test]
async fn a_test_names_what_is_missing_and_shows_no_credential() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let server = Github::start().await;
    let app = app(&scratch, &server).await;
    // The file is not there yet: made all the same, and the test says so.
    app.create_scm(&create(), wanted(&server), false).await.unwrap();
    let test = || call(admin(), "TestConnection");
    let checks = app.test_scm(&test(), "acme").await.unwrap();
    assert!(
        checks[0].verdict == Verdict::Failed && checks[0].detail.contains("SCM_CREDENTIAL_UNREADABLE"),
        "{checks:?}"
    );
    server.with_token("acme");
    server.set_scopes("read:org");
    let checks = app.test_scm(&test(), "acme").await.unwrap();
    let failed: Vec<&str> = checks.iter().filter(|c| c.verdict == Verdict::Failed).map(|c| c.name.as_str()).collect();
    assert!(failed.contains(&"permission.repo.scope"), "{checks:?}");
    assert!(!format!("{checks:?}").contains(TOKEN));
    assert!(app.test_scm(&test(), "none").await.unwrap_err().is(&NOT_FOUND));
    // What is stored has the file's name and nothing of the file.
    let row = scratch.db.fetch_all("SELECT body FROM scm_connections", Vec::new()).await.unwrap();
    assert!(!row[0].text("body").unwrap().contains(TOKEN));
}

#[tokio::test]
async fn a_connection_in_use_stays() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let server = Github::start().await;
    server.with_token("acme");
    let app = app(&scratch, &server).await;
    app.create_scm(&create(), wanted(&server), false).await.unwrap();
    // An environment follows it.
    let (fake, shop, _) = super::support::shop(&scratch).await;
    fake.set(super::support::REPOSITORY, "7", super::support::open(1));
    let ensure = super::support::call(ann(), "EnsurePreview");
    let env = shop.ensure_preview(&ensure, &super::support::wanted(7, 1)).await.unwrap();
    let sql = "UPDATE environments SET scm = 'acme' WHERE uid = $1";
    scratch.db.execute(sql, slipway_kit::args![&env.uid]).await.unwrap();
    let delete = call(admin(), "DeleteScmConnection");
    assert!(app.delete_scm(&delete, "acme", "").await.unwrap_err().is(&SCM_IN_USE));
}
