//! Each class of wrong answer is an error with its own reason, and never "nothing there" (ENV-41, ENV-176).
use slipway_kit::{
    error::{Error, Reason, Result},
    scm::{
        REPOSITORY_UNKNOWN, SCM_ANSWER_INVALID, SCM_FORBIDDEN, SCM_RATE_LIMITED, SCM_REDIRECTED, SCM_UNAUTHORIZED,
        SCM_UNAVAILABLE, Scm,
    },
};
use slipway_test_github::Fault;

use super::{Desk, new_pull};

/// Every read, each with the route it asks first; a good answer is told apart from a wrong one by being no error.
const READS: [&str; 6] = ["repo", "repo_by_id", "repositories", "pull", "pulls", "git"];

async fn read(scm: &Scm, route: &str, id: &str) -> Result<bool> {
    Ok(match route {
        "repo" => scm.repository("acme/app").await?.is_some(),
        "repo_by_id" => scm.repository_by_id(id).await?.is_some(),
        "repositories" => !scm.repositories().await?.is_empty(),
        "pull" => scm.pull_request("acme/app", 1).await?.is_some(),
        "pulls" => !scm.open_pull_requests("acme/app").await?.is_empty(),
        _ => scm.git("acme/app").await?.branch_head("main").await?.is_some(),
    })
}

fn expect(error: &Error, reason: &Reason, what: &str) {
    assert!(error.is(reason), "{what}: {error:?} is not {}", reason.name);
}

#[tokio::test]
async fn every_wrong_answer_is_an_error_of_its_class() {
    let desk = Desk::github().await;
    desk.model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
    let id = desk.scm.repository("acme/app").await.unwrap().unwrap().id;
    let classes: [(Fault, &Reason); 10] = [
        (Fault::Unauthorized, &SCM_UNAUTHORIZED),
        (Fault::Forbidden, &SCM_FORBIDDEN),
        (Fault::NotFoundPage, &SCM_ANSWER_INVALID),
        (Fault::Status(500), &SCM_UNAVAILABLE),
        (Fault::Status(503), &SCM_UNAVAILABLE),
        (Fault::Status(418), &SCM_ANSWER_INVALID),
        (Fault::Html, &SCM_ANSWER_INVALID),
        (Fault::WrongShape, &SCM_ANSWER_INVALID),
        (Fault::HalfJson, &SCM_ANSWER_INVALID),
        (Fault::RedirectAway, &SCM_REDIRECTED),
    ];
    for route in READS {
        for (fault, reason) in classes {
            let is_gits = route == "git";
            // Git's answers are no JSON; half of one is tried below, and a page of 404 is a 404.
            if is_gits && matches!(fault, Fault::HalfJson | Fault::NotFoundPage) {
                continue;
            }
            desk.server().fail(route, fault);
            let error = read(&desk.scm, route, &id).await.expect_err(&format!("{route} {fault:?}"));
            expect(&error, reason, &format!("{route} {fault:?}"));
            desk.server().heal();
        }
        assert!(read(&desk.scm, route, &id).await.unwrap(), "{route} is well again");
    }
    for route in ["repo", "pulls", "repositories"] {
        desk.server().fail(route, Fault::CutBody);
        let error = read(&desk.scm, route, &id).await.unwrap_err();
        expect(&error, &SCM_UNAVAILABLE, &format!("{route} cut"));
        desk.server().heal();
    }
}

#[tokio::test]
async fn a_repository_that_is_lost_from_sight_is_no_closed_pull_request() {
    let desk = Desk::github().await;
    desk.model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
    desk.server().fail("*", Fault::NotFound);
    for route in ["pull", "pulls", "git"] {
        expect(&read(&desk.scm, route, "1").await.unwrap_err(), &REPOSITORY_UNKNOWN, route);
    }
    expect(&read(&desk.scm, "repositories", "1").await.unwrap_err(), &SCM_ANSWER_INVALID, "repositories");
    // The repository itself is not visible: that is what its absence says, and callers hold on it.
    assert_eq!(desk.scm.repository("acme/app").await.unwrap(), None);
    desk.server().heal();
    // A wrong 404 for the branch alone is not believed: git's listing shows it.
    desk.server().fail("ref", Fault::NotFound);
    assert!(desk.scm.pull_request("acme/app", 1).await.unwrap().unwrap().head_exists);
    desk.server().fail("git", Fault::Status(500));
    expect(&read(&desk.scm, "pull", "1").await.unwrap_err(), &SCM_UNAVAILABLE, "git is away");
}

#[tokio::test]
async fn a_listing_is_whole_or_an_error() {
    let desk = Desk::github().await;
    desk.server().set_page_max(2);
    for n in 1..=5 {
        desk.model.open_pull_request("acme/app", &new_pull(&format!("b{n}"), "1")).await.unwrap();
    }
    assert_eq!(desk.scm.open_pull_requests("acme/app").await.unwrap().len(), 5);
    desk.server().fail("pulls", Fault::HalfJson);
    expect(&desk.scm.open_pull_requests("acme/app").await.unwrap_err(), &SCM_ANSWER_INVALID, "half a page");
    // An installation's listing announces how many there are.
    let app = Desk::installed().await;
    assert_eq!(app.scm.repositories().await.unwrap().len(), 1);
    app.server().fail("repositories", Fault::WrongShape);
    expect(&app.scm.repositories().await.unwrap_err(), &SCM_ANSWER_INVALID, "no list");
}

#[tokio::test]
async fn a_used_up_limit_is_remembered_and_nothing_is_asked() {
    for fault in [Fault::RateLimited(1800), Fault::RetryAfter(1800)] {
        let desk = Desk::github().await;
        desk.server().fail("pulls", fault);
        let error = desk.scm.open_pull_requests("acme/app").await.unwrap_err();
        expect(&error, &SCM_RATE_LIMITED, "limited");
        let wait_ms = error.retry_after().unwrap();
        assert!((1_700_000..=1_800_000).contains(&wait_ms), "{wait_ms}");
        let asked = desk.server().asked_in_all();
        for route in READS {
            expect(&read(&desk.scm, route, "1").await.unwrap_err(), &SCM_RATE_LIMITED, route);
        }
        assert_eq!(desk.server().asked_in_all(), asked, "{fault:?}");
    }
    // A short limit ends by itself.
    let desk = Desk::github().await;
    desk.server().fail("pulls", Fault::RetryAfter(1));
    expect(&desk.scm.open_pull_requests("acme/app").await.unwrap_err(), &SCM_RATE_LIMITED, "limited");
    desk.server().heal();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(desk.scm.open_pull_requests("acme/app").await.unwrap(), []);
}

#[tokio::test]
async fn a_provider_that_hangs_or_is_gone_is_away() {
    let desk = Desk::github().await;
    desk.server().fail("pulls", Fault::Hang);
    let began = std::time::Instant::now();
    expect(&desk.scm.open_pull_requests("acme/app").await.unwrap_err(), &SCM_UNAVAILABLE, "hangs");
    assert!(began.elapsed() < std::time::Duration::from_secs(15));
    let config = desk.server().with_token("gone");
    let gone = slipway_kit::scm::ScmConfig { api_url: Some("http://127.0.0.1:9".to_owned()), ..config };
    let gone = Scm::open("gone", &gone).await.unwrap();
    expect(&gone.open_pull_requests("acme/app").await.unwrap_err(), &SCM_UNAVAILABLE, "gone");
}
