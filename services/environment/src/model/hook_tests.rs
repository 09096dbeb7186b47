//! Hooks: which run, in which order, and what the journal keeps.
use super::*;
use crate::model::environment::fixture;

fn hook(kind: &str, name: &str, events: &str, weight: &str, delete: &str) -> Doc {
    let annotations =
        json!({"helm.sh/hook": events, "helm.sh/hook-weight": weight, "helm.sh/hook-delete-policy": delete});
    json!({"kind": kind, "metadata": {"name": name, "annotations": annotations}, "spec": {"ttlSecondsAfterFinished": 0}})
}

fn docs() -> Vec<Doc> {
    vec![
        hook("Job", "seed", "post-install", "", ""),
        hook("Job", "migrate", "pre-install, pre-upgrade", "5", "hook-succeeded"),
        hook("Job", "back", "pre-rollback", "", ""),
        hook("Pod", "smoke", "test", "", ""),
        hook("ServiceAccount", "migrate", "pre-install,pre-upgrade", "-5", "before-hook-creation,hook-succeeded"),
        hook("Job", "check", "pre-upgrade", "5", ""),
        hook("Job", "goodbye", "pre-delete", "", "hook-failed"),
        json!({"kind": "Job", "metadata": {"name": "plain"}}),
    ]
}

fn titles(steps: &[Step], phase: Phase) -> Vec<String> {
    steps.iter().filter(|step| step.phase == phase).map(Step::title).collect()
}

#[test]
fn an_install_and_an_upgrade_have_their_own() {
    let install = steps(&docs(), 1, false);
    assert_eq!(titles(&install, Phase::Pre), ["ServiceAccount/migrate", "Job/migrate-g1"]);
    assert_eq!(titles(&install, Phase::Post), ["Job/seed-g1"]);
    assert_eq!(titles(&install, Phase::PreDelete), ["Job/goodbye-g1"]);
    let upgrade = steps(&docs(), 2, true);
    assert_eq!(titles(&upgrade, Phase::Pre), ["ServiceAccount/migrate", "Job/check-g2", "Job/migrate-g2"]);
    assert_eq!(titles(&upgrade, Phase::Post), [] as [&str; 0]);
    assert_eq!(not_run(&docs()), ["Job/back"]);
    let doc = document(docs(), &install[1], 1).unwrap_or_else(|| panic!("it is there"));
    assert_eq!((manifest::name(&doc), doc["spec"].get("ttlSecondsAfterFinished")), ("migrate-g1", None));
}

#[test]
fn what_helm_does_not_know_is_refused() {
    assert!(docs().iter().all(|doc| fault(doc).is_none()));
    for (bad, part) in [
        (hook("Job", "x", "pre-flight", "", ""), "pre-flight"),
        (hook("Job", "x", "pre-install", "heavy", ""), "weight"),
        (hook("Job", "x", "pre-install", "", "sometimes"), "sometimes"),
    ] {
        assert!(fault(&bad).is_some_and(|text| text.contains(part)), "{bad}");
    }
}

#[test]
fn the_journal_runs_each_once_and_deletes_at_the_end_of_the_phase() {
    let mut env = fixture::preview();
    env.status.progress.hooks.take(1, false, steps(&docs(), 1, false));
    let hooks = &mut env.status.progress.hooks;
    let title = |hooks: &Hooks, phase| hooks.next(phase).map(|at| hooks.steps[at].title());
    assert_eq!(title(hooks, Phase::Pre).as_deref(), Some("ServiceAccount/migrate"));
    hooks.steps[0].succeed();
    assert_eq!(title(hooks, Phase::Pre).as_deref(), Some("Job/migrate-g1"), "the account stays for the job");
    hooks.steps[1].succeed();
    assert_eq!(
        (title(hooks, Phase::Pre).as_deref(), hooks.steps[0].stand),
        (Some("ServiceAccount/migrate"), Stand::Succeeded)
    );
    hooks.steps[0].stand = Stand::Done;
    hooks.steps[1].stand = Stand::Done;
    assert_eq!(title(hooks, Phase::Pre), None);
    // Rendered again, what ran is not run again; what failed is.
    hooks.steps[2].stand = Stand::Failed;
    hooks.take(1, false, steps(&docs(), 1, false));
    assert_eq!((title(hooks, Phase::Pre), title(hooks, Phase::Post).as_deref()), (None, Some("Job/seed-g1")));
    // The next generation begins with all of its own, and deletes what its policy says.
    hooks.made = vec![Made { object: hooks.steps[2].object.clone(), base: "seed".to_owned() }];
    hooks.is_installed = true;
    assert!(!hooks.upgrades(1) && hooks.upgrades(2));
    let again = Step {
        object: ObjectRef { name: "seed-g2".to_owned(), ..hooks.steps[2].object.clone() },
        ..hooks.steps[2].clone()
    };
    assert_eq!(hooks.before(&again), [hooks.made[0].object.clone()]);
    let keeps = Step { delete: vec![Delete::Succeeded], ..again };
    assert_eq!(hooks.before(&keeps), []);
    // A teardown is not held up by a hook that failed.
    let delete = hooks.steps.iter().position(|step| step.phase == Phase::PreDelete).unwrap_or_else(|| panic!("one"));
    hooks.steps[delete].stand = Stand::Failed;
    assert_eq!(hooks.next(Phase::PreDelete), None);
}
