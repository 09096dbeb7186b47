//! Nouns and decisions of delivery facts: pure functions over facts. Refuses I/O, clocks and protobuf.
pub mod band;
pub mod calendar;
pub mod correction;
pub mod effective;
pub mod explain;
pub mod fact;
pub mod failure;
pub mod graph;
pub mod measure;
pub mod outcome;
pub mod percentile;
pub mod pipeline;
pub mod repository;
pub mod service_ref;
pub mod stage;
pub mod tier;
pub mod timeline;
