//! Items behind a number (MET-46): every fact considered, counted or not, and why. The counted ones make the number.
use super::percentile::{Summary, summary};

const SECOND_US: i64 = 1_000_000;

/// What kind of fact an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// A deployment.
    Deployment,
    /// A commit.
    Change,
    /// A pull request.
    PullRequest,
    /// An incident.
    Incident,
}

impl ItemKind {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            ItemKind::Deployment => "deployment",
            ItemKind::Change => "change",
            ItemKind::PullRequest => "pull_request",
            ItemKind::Incident => "incident",
        }
    }
}

/// One considered fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Kind of fact.
    pub kind: ItemKind,
    /// Its id.
    pub id: String,
    /// Environment, repository or service it stands in.
    pub scope: String,
    /// Page at its provider; empty if unknown.
    pub url: String,
    /// Instant by which it is put into the window.
    pub at_us: i64,
    /// Whether it counts in the count, sample or numerator.
    pub included: bool,
    /// Whether it counts in the denominator of a ratio.
    pub in_denominator: bool,
    /// Why.
    pub reason: &'static str,
    /// Letter of the attribution rule.
    pub rule: Option<char>,
    /// Value in seconds, for spans.
    pub value_s: Option<i64>,
    /// Ids of the evidence.
    pub evidence: Vec<String>,
}

impl Item {
    /// An item that counts nowhere yet.
    pub fn new(
        kind: ItemKind,
        id: impl Into<String>,
        scope: impl Into<String>,
        at_us: i64,
        reason: &'static str,
    ) -> Item {
        Item {
            kind,
            id: id.into(),
            scope: scope.into(),
            url: String::new(),
            at_us,
            included: false,
            in_denominator: false,
            reason,
            rule: None,
            value_s: None,
            evidence: Vec::new(),
        }
    }

    /// Counts the item with a span; one that would end before it begins is left out instead.
    pub fn span(mut self, begin_us: i64, end_us: i64) -> Item {
        if end_us < begin_us {
            self.reason = NEGATIVE_SPAN;
        } else {
            self.value_s = Some((end_us - begin_us) / SECOND_US);
            self.included = true;
        }
        self
    }

    /// Adds evidence.
    pub fn because(mut self, evidence: impl IntoIterator<Item = String>) -> Item {
        self.evidence.extend(evidence);
        self
    }
}

/// Reason of a span that would end before it begins.
pub const NEGATIVE_SPAN: &str = "NEGATIVE_SPAN";
/// Reason of an item that counts.
pub const COUNTED: &str = "COUNTED";

/// Puts items into one order, whatever order they were made in.
pub fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by(|a, b| (a.at_us, a.kind, &a.id, &a.scope).cmp(&(b.at_us, b.kind, &b.id, &b.scope)));
    items
}

/// Number of items that count.
pub fn included(items: &[Item]) -> usize {
    items.iter().filter(|i| i.included).count()
}

/// Number of items in the denominator.
pub fn denominator(items: &[Item]) -> usize {
    items.iter().filter(|i| i.in_denominator).count()
}

/// Summary of the spans that count.
pub fn spans(items: &[Item]) -> Option<Summary> {
    summary(items.iter().filter(|i| i.included).filter_map(|i| i.value_s).collect())
}

/// Number of spans left out as negative.
pub fn negative(items: &[Item]) -> usize {
    items.iter().filter(|i| i.reason == NEGATIVE_SPAN).count()
}
