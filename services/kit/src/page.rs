//! Pages of a list: sealed tokens, sizes, and orders that never drop a row.
//!
//! Owns the token's secrecy and its binding to caller, method and question, and keyset paging. Refuses offsets: rows that come and
//! go between two pages would be dropped or told twice.
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Clock,
    db::Db,
    error::{Error, Kind, PAGE_TOKEN_INVALID, Result},
    seal::Seal,
    serve::Call,
};

mod order;

pub use order::{Cursor, OrderBy};

/// Items of a page when the caller names no number.
pub const SIZE_DEFAULT: usize = 50;
/// Most items of a page.
pub const SIZE_MAX: usize = 1_000;
/// How long a token is good.
const LIFE_US: i64 = 3 * 24 * 3600 * 1_000_000;
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
const KEY_NAME: &str = "page";

/// Number of items for a requested page size; a negative one is refused by the contract's rules.
pub fn size(requested: i32) -> usize {
    match usize::try_from(requested) {
        Ok(0) | Err(_) => SIZE_DEFAULT,
        Ok(n) => n.min(SIZE_MAX),
    }
}

/// What a list was asked, read part by part: filter, order, page token. Each part is looked at whatever the others say, and all that is
/// wrong is told at once.
///
/// # Errors
/// The one error if one part is wrong, INVALID_FIELD with every violation if several are, and at once whatever is no mistake of the caller.
pub fn question<F, O, T>(filter: Result<F>, order: Result<O>, token: Result<T>) -> Result<(F, O, T)> {
    let (filter, order, token) = match (filter, order, token) {
        (Ok(filter), Ok(order), Ok(token)) => return Ok((filter, order, token)),
        (filter, order, token) => (filter.err(), order.err(), token.err()),
    };
    let mut wrong: Vec<Error> = [filter, order, token].into_iter().flatten().collect();
    if let Some(at) = wrong.iter().position(|error| error.kind() != Kind::InvalidArgument) {
        return Err(wrong.swap_remove(at));
    }
    Err(Error::together(wrong))
}

/// Seals what the next page starts from, so that callers can neither read nor change it.
#[derive(Clone)]
pub struct Sealer {
    seal: Seal,
    clock: Clock,
}

impl Sealer {
    /// The sealer of a database; its key is made once and shared by all who use the database.
    pub async fn load(db: &Db) -> Result<Self> {
        Ok(Self { seal: Seal::load(db, KEY_NAME).await?, clock: Clock::system() })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A token for the next page. `bound` is everything the question says besides the page: filter, order, parent.
    pub fn seal(&self, call: &Call, bound: &str, cursor: &impl Serialize) -> String {
        let mut plain = (self.clock.now_us() + LIFE_US).to_be_bytes().to_vec();
        serde_json::to_writer(&mut plain, cursor).expect("a cursor has a JSON form");
        self.seal.seal(&associated(call, bound), &plain)
    }

    /// The rows of one page, and the token of the next: `rows` are one more than `limit` if there is a next page, each with its cursor.
    pub fn cut<T>(&self, call: &Call, bound: &str, mut rows: Vec<(T, Cursor)>, limit: usize) -> (Vec<T>, String) {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = match rows.last() {
            Some((_, cursor)) if has_more => self.seal(call, bound, cursor),
            _ => String::new(),
        };
        (rows.into_iter().map(|(row, _)| row).collect(), next)
    }

    /// What a token was made from; `None` for the first page. PAGE_TOKEN_INVALID if it is forged, expired, or another question's.
    pub fn open<C: DeserializeOwned>(&self, call: &Call, bound: &str, token: &str) -> Result<Option<C>> {
        if token.is_empty() {
            return Ok(None);
        }
        let cursor = self.seal.open(&associated(call, bound), token, TOKEN_BYTES_MAX).and_then(|plain| {
            let (expires, cursor) = plain.split_first_chunk::<8>()?;
            let fresh = i64::from_be_bytes(*expires) > self.clock.now_us();
            if fresh { serde_json::from_slice(cursor).ok() } else { None }
        });
        cursor.map(Some).ok_or_else(invalid)
    }
}

/// What a token is bound to. Lengths go before texts, so that no two questions run together.
fn associated(call: &Call, bound: &str) -> Vec<u8> {
    let mut all = b"slipway-page-v1".to_vec();
    for part in [call.caller.principal.as_str(), call.method] {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(part.as_bytes());
    }
    all.extend(Sha256::digest(bound.as_bytes()));
    all
}

fn invalid() -> Error {
    Error::new(&PAGE_TOKEN_INVALID, "the page token is not valid for this request")
        .violation("page_token", "must be the last answer's, for the same request")
}

#[cfg(test)]
mod tests;
