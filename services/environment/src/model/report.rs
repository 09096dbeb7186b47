//! What is told about an environment where its pull request is (ENV-29).
//!
//! Owns the words of the comment. Refuses to let text that came from outside speak in the platform's name: it stands in a block
//! that nothing in it can end.
use super::{approval::covering, environment::Environment, state::State};

/// Longest message that is repeated.
const MESSAGE_CHARS_MAX: usize = 600;

/// What a deployment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Waits.
    Waits,
    /// Is being done.
    Runs,
    /// Answers.
    Answers,
    /// Does not answer.
    Fails,
    /// Is gone.
    Gone,
}

/// What a state means to who reads a pull request.
pub fn outcome(state: State) -> Outcome {
    match state {
        State::Pending | State::AwaitingApproval => Outcome::Waits,
        State::Provisioning | State::Deploying | State::Waking => Outcome::Runs,
        State::Ready | State::Published | State::Sleeping | State::Asleep => Outcome::Answers,
        State::Degraded | State::Failed => Outcome::Fails,
        State::Deleting | State::DeleteBlocked | State::Deleted => Outcome::Gone,
    }
}

/// One sentence about a state.
pub fn summary(state: State) -> &'static str {
    match state {
        State::Pending => "Waits for what it needs.",
        State::AwaitingApproval => "Waits for the approval of this commit.",
        State::Provisioning => "Its place is being made.",
        State::Deploying => "Is being brought out.",
        State::Ready => "Answers.",
        State::Published => "The manifests are published.",
        State::Degraded => "Does not answer as it should.",
        State::Sleeping | State::Asleep => "Sleeps; the next visit wakes it.",
        State::Waking => "Wakes up.",
        State::Failed => "Failed.",
        State::Deleting | State::DeleteBlocked => "Is being removed.",
        State::Deleted => "Is gone.",
    }
}

/// The comment: address, commit, state, reason and expiry.
pub fn comment(env: &Environment, url: &str, expires: Option<&str>) -> String {
    let state = env.state();
    let mut text = format!("### Preview of `{}`\n\n{}\n\n| | |\n|---|---|\n", plain(&env.service), summary(state));
    let is_gone = outcome(state) == Outcome::Gone;
    if !is_gone {
        text.push_str(&format!("| Address | {url} |\n"));
    }
    text.push_str(&format!("| Commit | {} |\n", plain(&env.spec.source.head_sha)));
    text.push_str(&format!("| State | {} |\n", state.word()));
    if let Some(approval) = covering(env).filter(|_| env.spec.source.fork) {
        text.push_str(&format!("| Approved by | {} |\n", plain(&approval.approver)));
    }
    if let Some(retire) = &env.retire {
        text.push_str(&format!("| Ended | {} |\n", retire.reason.word()));
    }
    if let Some(expires) = expires.filter(|_| !is_gone) {
        text.push_str(&format!("| Expires | {expires} |\n"));
    }
    if let Some(warned) = env.status.warned.filter(|_| !is_gone) {
        text.push_str(&format!("\n**EXPIRING**: {}\n", warned.warning.sentence()));
    }
    if let Some((reason, message)) = why(env).filter(|_| !is_gone) {
        text.push_str(&format!("\n**{}**\n", plain(&reason)));
        if !message.is_empty() {
            text.push_str(&format!("\n````text\n{}\n````\n", fenced(&message)));
        }
    }
    text
}

/// The condition that keeps it from answering, newest first.
fn why(env: &Environment) -> Option<(String, String)> {
    if outcome(env.state()) == Outcome::Answers {
        return None;
    }
    let failing = env.status.conditions.iter().filter(|c| c.verdict == super::condition::Verdict::False);
    failing.max_by_key(|c| c.changed_us).map(|c| (c.reason.clone(), c.message.clone()))
}

/// Without anything that Markdown reads.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || ":/_-.".contains(*c)).take(200).collect()
}

/// As the content of a block of code.
fn fenced(text: &str) -> String {
    let kept = text.chars().filter(|c| *c == '\n' || !c.is_control());
    kept.take(MESSAGE_CHARS_MAX).collect::<String>().replace("```", "'''").replace("<!--", "<! --")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_ends_no_block_and_makes_no_marker() {
        let text = fenced("a ```` b\u{1b}[31m <!-- slipway:environment:x --> \n c");
        assert!(!text.contains("```") && !text.contains("<!--") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(plain("a`|<b>](x)"), "abx");
    }
}
