//! Why a cluster refuses, and what follows from it (ENV-54, ENV-61, ENV-80, ENV-125).
//!
//! Owns the typed refusals, their classes and their sentences. Refuses to guess from texts: the adapter says which one it is.

/// Why a cluster refused a request that it understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another manager owns fields (ENV-80).
    Conflict {
        /// Managers that own them.
        managers: Vec<String>,
        /// Paths of the fields.
        fields: Vec<String>,
    },
    /// The object has another uid or resource version than the request wants.
    Precondition,
    /// The namespace is being deleted: a conflict with deletion, no error of the document (ENV-54).
    NamespaceTerminating,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The quota's status is not filled yet: transient (ENV-61).
    QuotaPending,
    /// The quota is used up; in the cluster's words.
    Quota(String),
    /// Pod Security refuses the pod; in the cluster's words.
    PodSecurity(String),
    /// We lack a permission; in the cluster's words.
    Rbac(String),
    /// The kind is not served.
    KindUnknown,
    /// A finalizer, webhook or policy refuses, or the document is not valid; in the cluster's words.
    Invalid(String),
}

/// What has to happen before it can go on (ENV-125).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Time: it is tried again soon.
    Transient,
    /// The user: their generation cannot run as it is.
    Terminal,
    /// Somebody outside: the platform's people.
    Blocked,
    /// A look at what is there now: something else changed it.
    Conflict,
}

impl Refusal {
    /// What has to happen before it can go on.
    pub fn class(&self) -> Class {
        match self {
            Refusal::QuotaPending => Class::Transient,
            Refusal::Precondition | Refusal::NamespaceTerminating | Refusal::NamespaceMissing => Class::Conflict,
            Refusal::Rbac(_) => Class::Blocked,
            Refusal::Conflict { .. }
            | Refusal::Quota(_)
            | Refusal::PodSecurity(_)
            | Refusal::KindUnknown
            | Refusal::Invalid(_) => Class::Terminal,
        }
    }

    /// The stable word for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Conflict { .. } => "FIELD_CONFLICT",
            Refusal::Precondition => "CHANGED_MEANWHILE",
            Refusal::NamespaceTerminating => "NAMESPACE_TERMINATING",
            Refusal::NamespaceMissing => "NAMESPACE_MISSING",
            Refusal::QuotaPending => "QUOTA_PENDING",
            Refusal::Quota(_) => "QUOTA",
            Refusal::PodSecurity(_) => "POD_SECURITY",
            Refusal::Rbac(_) => "CLUSTER_FORBIDS",
            Refusal::KindUnknown => "KIND_UNKNOWN",
            Refusal::Invalid(_) => "REFUSED",
        }
    }

    /// The sentence for people; `title` is `Kind/name` of what was refused.
    pub fn sentence(&self, title: &str) -> String {
        match self {
            Refusal::Conflict { managers, fields } => format!(
                "{title}: {} is owned by {}; we take over only what is in our inventory.",
                fields.join(", "),
                managers.join(", ")
            ),
            Refusal::Precondition => format!("{title} changed while it was worked on."),
            Refusal::NamespaceTerminating => format!("{title}: the namespace is being deleted."),
            Refusal::NamespaceMissing => format!("{title}: the namespace is gone."),
            Refusal::QuotaPending => format!("{title}: the cluster has not yet counted the quota."),
            Refusal::KindUnknown => format!("{title}: the cluster does not serve this kind."),
            Refusal::Quota(text) => format!("{title} does not fit the quota: {text}"),
            Refusal::PodSecurity(text) => format!("{title} breaks Pod Security: {text}"),
            Refusal::Rbac(text) => format!("{title}: the platform lacks a permission in the cluster: {text}"),
            Refusal::Invalid(text) => format!("{title} was refused: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_whose_turn_it_is() {
        let text = || "words".to_owned();
        let conflict =
            Refusal::Conflict { managers: vec!["helm".to_owned()], fields: vec![".spec.replicas".to_owned()] };
        for (refusal, class) in [
            (Refusal::QuotaPending, Class::Transient),
            (Refusal::NamespaceTerminating, Class::Conflict),
            (Refusal::NamespaceMissing, Class::Conflict),
            (Refusal::Precondition, Class::Conflict),
            (Refusal::Rbac(text()), Class::Blocked),
            (Refusal::Quota(text()), Class::Terminal),
            (Refusal::PodSecurity(text()), Class::Terminal),
            (Refusal::KindUnknown, Class::Terminal),
            (conflict, Class::Terminal),
        ] {
            assert_eq!(refusal.class(), class, "{refusal:?}");
            assert!(refusal.sentence("Deployment/api").starts_with("Deployment/api"));
        }
    }
}
