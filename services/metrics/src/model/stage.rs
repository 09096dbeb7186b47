//! Kind of a pipeline stage from its job name (MET-21). Refuses half words: `retest` is not a test.

/// Kind of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageKind {
    /// Builds.
    Build,
    /// Tests.
    Test,
    /// Scans.
    Scan,
    /// Deploys.
    Deploy,
    /// Anything else.
    Other,
}

/// Words in the order in which they are tried.
const WORDS: &[(StageKind, &str, &[&str])] = &[
    (StageKind::Deploy, "deploy/", &["deploy", "release", "rollout", "promote"]),
    (StageKind::Scan, "scan/", &["scan", "sast", "audit", "sbom"]),
    (StageKind::Test, "test/", &["test", "lint", "unit", "e2e", "check"]),
    (StageKind::Build, "build/", &["build", "compile", "image", "package"]),
];

impl StageKind {
    /// The word it is stored by.
    pub fn word(self) -> &'static str {
        match self {
            StageKind::Build => "BUILD",
            StageKind::Test => "TEST",
            StageKind::Scan => "SCAN",
            StageKind::Deploy => "DEPLOY",
            StageKind::Other => "OTHER",
        }
    }

    /// Kind of a job: an explicit prefix wins, else the first word that matches as a whole.
    pub fn of_job(name: &str) -> StageKind {
        let name = name.to_lowercase();
        if let Some((kind, ..)) = WORDS.iter().find(|(_, prefix, _)| name.starts_with(prefix)) {
            return *kind;
        }
        let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
        WORDS
            .iter()
            .find(|(.., list)| list.iter().any(|w| words.contains(w)))
            .map_or(StageKind::Other, |(kind, ..)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::StageKind;

    #[test]
    fn names_have_kinds() {
        for (name, kind) in [
            ("build/release notes", StageKind::Build),
            ("Build and test", StageKind::Test),
            ("unit tests", StageKind::Test),
            ("test (3.12)", StageKind::Test),
            ("Release image", StageKind::Deploy),
            ("scan image", StageKind::Scan),
            ("docker image", StageKind::Build),
            ("retest", StageKind::Other),
            ("latest", StageKind::Other),
            ("deploy/prod", StageKind::Deploy),
        ] {
            assert_eq!(StageKind::of_job(name), kind, "{name}");
        }
    }
}
