//! The tier of a service and where it was read (CAT-111).
//!
//! Not to be confused with the tier of an environment, which is another service's noun.

use serde::{Deserialize, Serialize};

use super::{finding::Findings, yaml::Node};

/// How much depends on a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// The business stops without it.
    Critical,
    /// The usual.
    #[default]
    Standard,
    /// May break.
    Experimental,
}

impl Tier {
    /// The word stored, filtered by and sent to other services.
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }

    /// Reads a word in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Critical, Self::Standard, Self::Experimental].into_iter().find(|t| text.eq_ignore_ascii_case(t.word()))
    }
}

/// Where a tier was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TierSource {
    /// `spec.tier`.
    Spec,
    /// Label `slipway.dev/tier`.
    SlipwayLabel,
    /// Label `tier`.
    Label,
    /// Annotation `slipway.dev/tier`.
    Annotation,
    /// Nowhere.
    #[default]
    Default,
}

const PLACES: &[(TierSource, &[&str], &str)] = &[
    (TierSource::Spec, &["spec", "tier"], "/spec/tier"),
    (TierSource::SlipwayLabel, &["metadata", "labels", "slipway.dev/tier"], "/metadata/labels/slipway.dev~1tier"),
    (TierSource::Label, &["metadata", "labels", "tier"], "/metadata/labels/tier"),
    (
        TierSource::Annotation,
        &["metadata", "annotations", "slipway.dev/tier"],
        "/metadata/annotations/slipway.dev~1tier",
    ),
];

/// The tier a document names: the first place with a known word wins; unknown words and disagreement are warned of.
pub fn read(root: &Node, findings: &mut Findings) -> (Tier, TierSource) {
    let mut found: Option<(Tier, TierSource)> = None;
    for (source, path, pointer) in PLACES {
        let Some(node) = root.at_path(path) else { continue };
        match (node.text().and_then(Tier::parse), found) {
            (None, _) => {
                let message = format!("{} is no tier; critical, standard and experimental are", node.shown());
                findings.warn("TIER_UNKNOWN", pointer, node.at, message);
            }
            (Some(tier), None) => found = Some((tier, *source)),
            (Some(tier), Some((first, _))) if tier != first => {
                let message =
                    format!("the tier is {} by an earlier place; {} here is not used", first.word(), tier.word());
                findings.warn("TIER_CONFLICT", pointer, node.at, message);
            }
            (Some(_), Some(_)) => {}
        }
    }
    found.unwrap_or_default()
}
