//! Names of an environment: natural key, host label and namespace (ENV-2, ENV-4 to ENV-6).
//!
//! Owns how names are formed and what is tried when one is taken. Refuses to know which are taken: unique indexes say that.
use slipway_kit::id;

use super::tier::Tier;

/// What an environment belongs to, with the parts its names are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Preview of a pull request.
    PullRequest {
        /// SCM connection and the provider's repository id, for example `local/91234567`.
        repository: String,
        /// Number of the pull request.
        number: i64,
    },
    /// Preview of a branch.
    Branch {
        /// SCM connection and the provider's repository id.
        repository: String,
        /// Host part of h5(ref): the SCM's host, or the word `local`.
        scm_host: String,
        /// The provider's repository id.
        repository_id: String,
        /// Branch without `refs/heads/`.
        branch: String,
    },
    /// One user's own.
    Personal {
        /// Canonical reference, for example `user:default/ann`.
        user: String,
    },
    /// Staging, production and others that nothing ends by itself.
    LongLived {
        /// Name within the service.
        label: String,
        /// Tier.
        tier: Tier,
    },
}

/// The name part of a reference: `payments` of `component:default/payments`.
pub fn short(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// The key of which at most one life is not DELETED (ENV-2).
pub fn natural_key(subject: &Subject, service: &str) -> String {
    match subject {
        Subject::PullRequest { repository, number } => format!("pr:{repository}:{number}:{service}"),
        Subject::Branch { repository, branch, .. } => format!("ref:{repository}:refs/heads/{branch}:{service}"),
        Subject::Personal { user } => format!("user:{user}:{service}"),
        Subject::LongLived { label, .. } => format!("label:{label}:{service}"),
    }
}

/// The host label, also the resource id; stable over re-creation (ENV-6).
pub fn host_label(subject: &Subject, service: &str) -> String {
    let svc = short(service);
    match subject {
        Subject::PullRequest { number, .. } => format!("pr-{number}-{}", id::slug(svc, 40)),
        Subject::Branch { branch, scm_host, repository_id, .. } => {
            let hash = id::h5(&format!("{scm_host}/{repository_id}:refs/heads/{branch}"));
            format!("br-{}-{hash}-{}", id::slug(branch, 20), id::slug(svc, 24))
        }
        Subject::Personal { user } => format!("dev-{}-{}", id::slug(short(user), 20), id::slug(svc, 32)),
        Subject::LongLived { label, .. } => format!("{}-{}", id::slug(svc, 40), id::slug(label, 16)),
    }
}

/// The host label when another service holds the plain one: with the h5 of this key's first life (ENV-6).
pub fn host_label_on_clash(subject: &Subject, service: &str, first_uid: &str) -> String {
    format!("{}-{}", host_label(subject, service), id::h5(first_uid))
}

/// Namespaces to try in this order; the later ones only if the earlier is taken (ENV-5).
pub fn namespaces(subject: &Subject, service: &str, uid: &str) -> Vec<String> {
    let svc = short(service);
    let with = |stem: String| vec![format!("{stem}-{}", id::h5(uid)), format!("{stem}-{}", id::h8(uid))];
    match subject {
        Subject::PullRequest { number, .. } => with(format!("{}-pr-{number}", id::slug(svc, 22))),
        Subject::Branch { branch, .. } => with(format!("{}-br-{}", id::slug(svc, 22), id::slug(branch, 20))),
        Subject::Personal { user } => with(format!("{}-dev-{}", id::slug(svc, 22), id::slug(short(user), 20))),
        Subject::LongLived { label, .. } => {
            let stem = format!("{}-{}", id::slug(svc, 40), id::slug(label, 16));
            let cut =
                id::slug(svc, 40) != id::slug(svc, usize::MAX) || id::slug(label, 16) != id::slug(label, usize::MAX);
            let mut tries = if cut { Vec::new() } else { vec![stem.clone()] };
            tries.push(format!("{stem}-{}", id::h5(uid)));
            // Eight characters beside the full stem would not fit a label of 63.
            tries.push(format!("{}-{}-{}", id::slug(svc, 37), id::slug(label, 16), id::h8(uid)));
            tries
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
    const SERVICE: &str = "component:default/Payment_Gateway.Service--v2";

    fn branch(name: &str) -> Subject {
        Subject::Branch {
            repository: "github/91234567".to_owned(),
            scm_host: "github.com".to_owned(),
            repository_id: "91234567".to_owned(),
            branch: name.to_owned(),
        }
    }

    #[test]
    fn worked_example_of_a_pull_request() {
        let subject = Subject::PullRequest { repository: "github/91234567".to_owned(), number: 7 };
        assert_eq!(namespaces(&subject, SERVICE, UID)[0], "payment-gateway-servic-pr-7-h4vyy");
        assert_eq!(host_label(&subject, SERVICE), "pr-7-payment-gateway-service-v2");
        assert_eq!(natural_key(&subject, SERVICE), format!("pr:github/91234567:7:{SERVICE}"));
    }

    #[test]
    fn worked_example_of_two_long_branches() {
        let stem = "feature/checkout-new-payment-provider-with-retry-and-fallback-";
        let (a, b) = (branch(&format!("{stem}a")), branch(&format!("{stem}b")));
        assert_eq!(host_label(&a, "component:default/checkout"), "br-feature-checkout-new-ejps2-checkout");
        assert_eq!(host_label(&b, "component:default/checkout"), "br-feature-checkout-new-udyw7-checkout");
        assert_ne!(natural_key(&a, "s"), natural_key(&b, "s"));
    }

    #[test]
    fn a_long_lived_namespace_is_plain_unless_cut_or_taken() {
        let subject = |label: &str| Subject::LongLived { label: label.to_owned(), tier: Tier::Staging };
        assert_eq!(
            namespaces(&subject("staging"), "component:default/payments", UID),
            ["payments-staging", "payments-staging-h4vyy", "payments-staging-h4vyyhs2"]
        );
        let long = namespaces(&subject("a-very-long-label-indeed"), "component:default/payments", UID);
        assert_eq!(long[0], "payments-a-very-long-labe-h4vyy");
    }

    #[test]
    fn every_name_is_a_dns_label() {
        let service = format!("component:default/{}", "Ä_é.x".repeat(40));
        let subjects = [
            Subject::PullRequest { repository: "local/1".to_owned(), number: 1_000_000_000 },
            branch(&"weird///..--__branch".repeat(12)),
            Subject::Personal { user: "user:default/Anna.Maria_von-und-zu-Hohenstein".to_owned() },
            Subject::LongLived { label: "Pre Production (EU/West) 1234567890".to_owned(), tier: Tier::Production },
        ];
        for subject in &subjects {
            let mut names = namespaces(subject, &service, UID);
            names.push(host_label(subject, &service));
            names.push(host_label_on_clash(subject, &service, UID));
            for name in names {
                assert!(name.len() <= 63, "{name}");
                assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
                assert!(!name.starts_with('-') && !name.ends_with('-'), "{name}");
            }
        }
    }
}
