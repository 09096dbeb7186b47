//! All SQL of the catalog, one text for both engines.
//!
//! Owns rows and their reading. Refuses decisions: what is written was decided by the model.

mod deployments;
mod documents;
mod entities;
mod filter;
mod list;
mod locations;
mod record;
mod relations;

pub use deployments::{deployments, put_deployment};
pub use documents::{
    DocumentRow, change as change_documents, claims, of_location as documents, remove_all as remove_documents, reports,
};
pub use entities::{Known, by_refs, by_uid, get, group_exists, heads, history, put_bodies, snapshot_page, standing};
pub use filter::{FIELDS, matches, prepare};
pub use list::{After, Ask, Count, Order, Page, list};
pub use locations::{
    count as count_locations, delete as delete_location, get as location, insert as insert_location, list as locations,
    owner_of_gone, save as save_location, take_turn, target_exists, with_repository,
};
pub use record::{Write, touch, write};
pub use relations::{declared_in_organizations, ownership, provided_apis, relations, relations_of};

/// Migrations of the catalog's database.
pub static MIGRATIONS: slipway_kit::db::Migrations = slipway_kit::migrations!("../../migrations/catalog");

/// Most values bound in one `IN (…)`.
const IN_MAX: usize = 500;

/// `$first, $second, …` for `count` values.
fn binds(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}
