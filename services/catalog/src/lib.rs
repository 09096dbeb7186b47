//! The catalog service: entities, the locations they come from, and the relations between them.
//!
//! Rooms: `model` holds the nouns and decisions and knows neither time nor I/O.

pub mod model;
