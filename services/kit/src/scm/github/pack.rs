//! Git's smart protocol as far as a mirror needs it: listing branches, fetching and sending a pack (gitprotocol-v2, -pack).
//!
//! Owns pkt-lines and the side band. Refuses an answer that is cut off: a listing counts when its flush has come, a pack when git
//! has checked it.
use std::collections::BTreeMap;

use crate::{
    error::Result,
    git::{RefName, Sha},
};

use super::api::invalid;

/// Most commits told as known in one fetch.
const HAVES_MAX: usize = 256;
/// Longest pkt-line, with its length.
const LINE_MAX: usize = 65_520;

/// One line, with its length before it.
pub(super) fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// Asks for the branches.
pub(super) fn ls_refs() -> String {
    format!("{}{}0001{}0000", line("command=ls-refs\n"), line("object-format=sha1\n"), line("ref-prefix refs/heads/\n"))
}

/// Asks for everything reachable from `wants` that is not from `haves`.
pub(super) fn fetch(wants: &[Sha], haves: &[Sha]) -> String {
    let mut body = format!("{}{}0001", line("command=fetch\n"), line("object-format=sha1\n"));
    body.push_str(&line("no-progress\n"));
    body.push_str(&line("ofs-delta\n"));
    wants.iter().for_each(|sha| body.push_str(&line(&format!("want {sha}\n"))));
    haves.iter().take(HAVES_MAX).for_each(|sha| body.push_str(&line(&format!("have {sha}\n"))));
    body.push_str(&line("done\n"));
    body.push_str("0000");
    body
}

/// Sends a pack that makes a branch.
pub(super) fn create_branch(branch: &RefName, sha: &Sha, pack: &[u8]) -> Vec<u8> {
    let command = format!("{} {sha} {branch}\0 report-status object-format=sha1", sha.zero());
    let mut body = format!("{}0000", line(&command)).into_bytes();
    body.extend_from_slice(pack);
    body
}

/// What a pkt-line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Ends the answer.
    Flush,
    /// Ends a section.
    Delimiter,
    /// Data.
    Data(&'a [u8]),
}

/// The first line of some bytes and how long it is; `None` if more bytes are needed.
pub(super) fn next(bytes: &[u8]) -> Result<Option<(Line<'_>, usize)>> {
    let Some(head) = bytes.get(..4) else { return Ok(None) };
    let text = std::str::from_utf8(head).map_err(|_| broken())?;
    let len = usize::from_str_radix(text, 16).map_err(|_| broken())?;
    match len {
        0 => Ok(Some((Line::Flush, 4))),
        1 => Ok(Some((Line::Delimiter, 4))),
        4..=LINE_MAX => Ok(bytes.get(4..len).map(|data| (Line::Data(data), len))),
        _ => Err(broken()),
    }
}

/// The branches of a whole listing.
pub(super) fn refs(mut body: &[u8]) -> Result<BTreeMap<RefName, Sha>> {
    let mut found = BTreeMap::new();
    loop {
        let Some((line, len)) = next(body)? else { return Err(invalid("git's listing of branches is cut off")) };
        match line {
            Line::Flush => return Ok(found),
            Line::Delimiter => return Err(broken()),
            Line::Data(data) => {
                let text = std::str::from_utf8(data).map_err(|_| broken())?.trim_end();
                let mut words = text.split(' ');
                let (Some(sha), Some(name)) = (words.next(), words.next()) else { return Err(broken()) };
                // A name that git itself would refuse is nobody's preview.
                if let Ok(name) = RefName::full(name) {
                    found.insert(name, Sha::parse(sha).map_err(|_| broken())?);
                }
            }
        }
        body = &body[len..];
    }
}

/// Takes the answer to a fetch piece by piece and gives back the bytes of the pack.
#[derive(Default)]
pub(super) struct Packfile {
    pending: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
}

impl Packfile {
    /// The next bytes of the pack.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        self.pending.extend_from_slice(piece);
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some((line, len)) = next(&self.pending[at..])? {
            match line {
                _ if self.has_ended => return Err(broken()),
                Line::Flush => self.has_ended = true,
                Line::Data(b"packfile\n" | b"packfile") if !self.has_begun => self.has_begun = true,
                Line::Data([1, data @ ..]) if self.has_begun => out.extend_from_slice(data),
                Line::Data([2, ..]) if self.has_begun => {}
                Line::Data([3, why @ ..]) if self.has_begun => return Err(told(why)),
                Line::Data(data) if data.starts_with(b"ERR ") => return Err(told(&data[4..])),
                Line::Data(_) if self.has_begun => return Err(broken()),
                // Sections before the pack.
                Line::Data(_) | Line::Delimiter => {}
            }
            at += len;
        }
        self.pending.drain(..at);
        Ok(out)
    }

    /// Whether all has come.
    pub(super) fn finish(&self) -> Result<()> {
        if self.has_begun && self.has_ended { Ok(()) } else { Err(invalid("git's pack is cut off")) }
    }
}

/// Whether a pushed branch was taken.
pub(super) fn pushed(mut body: &[u8]) -> Result<()> {
    let mut lines = Vec::new();
    while let Some((line, len)) = next(body)? {
        if let Line::Data(data) = line {
            lines.push(String::from_utf8_lossy(data).trim_end().to_owned());
        }
        body = &body[len..];
    }
    let is_taken =
        lines.first().is_some_and(|l| l == "unpack ok") && lines.iter().skip(1).any(|l| l.starts_with("ok "));
    if is_taken { Ok(()) } else { Err(told(lines.join("; ").as_bytes())) }
}

fn told(why: &[u8]) -> crate::error::Error {
    let text: String = String::from_utf8_lossy(why).chars().filter(|c| !c.is_control()).take(200).collect();
    crate::error::Error::new(&super::super::SCM_REFUSED, format!("git at the provider refuses: {text}"))
}

fn broken() -> crate::error::Error {
    invalid("git's answer is not its protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_counts_only_when_it_is_whole() {
        let sha = "a".repeat(40);
        let whole =
            format!("{}{}0000", line(&format!("{sha} refs/heads/main\n")), line(&format!("{sha} refs/heads/x/y\n")));
        assert_eq!(refs(whole.as_bytes()).expect("whole").len(), 2);
        for end in [3, 20, whole.len() - 4, whole.len() - 1] {
            assert!(refs(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(refs(b"<html>").is_err());
        assert_eq!(refs(b"0000").expect("an empty repository").len(), 0);
    }

    #[test]
    fn a_pack_comes_in_pieces_of_any_size() {
        let body =
            format!("{}{}{}{}0000", line("packfile\n"), line("\x01PACK"), line("\x02progress"), line("\x01rest"));
        for size in 1..body.len() {
            let (mut packfile, mut out) = (Packfile::default(), Vec::new());
            for piece in body.as_bytes().chunks(size) {
                out.extend(packfile.take(piece).expect("valid"));
            }
            packfile.finish().expect("whole");
            assert_eq!(out, b"PACKrest", "{size}");
        }
        let mut cut = Packfile::default();
        cut.take(&body.as_bytes()[..body.len() - 4]).expect("valid so far");
        assert!(cut.finish().is_err());
        let refusal = format!("{}{}", line("packfile\n"), line("\x03not our ref"));
        assert!(Packfile::default().take(refusal.as_bytes()).is_err());
    }
}
