//! Nouns and decisions of delivery performance: pure functions over facts. Refuses I/O, clocks and protobuf.
pub mod dora;
pub mod percentile;
pub mod timeline;
