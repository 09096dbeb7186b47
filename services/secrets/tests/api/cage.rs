//! Unique values, and the search for every form of them in everything that could have kept one.
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use slipway_kit::id;
use tonic::Status;

/// Bytes of a canary's form by which it is found.
const HEAD: usize = 20;

#[derive(Clone, Default)]
pub struct Log(pub Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything this process logs, down to trace.
pub fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber of this process");
        log
    })
    .clone()
}

/// Hands out canaries and keeps what was answered.
#[derive(Default)]
pub struct Cage {
    pub canaries: Vec<String>,
    pub told: Vec<u8>,
}

impl Cage {
    pub fn next(&mut self) -> String {
        let canary = format!("canary~{}~{}/+&", self.canaries.len(), id::uuid4());
        self.canaries.push(canary.clone());
        canary
    }

    /// Keeps every form of an answer that anything could log.
    pub fn keep<T: std::fmt::Debug>(&mut self, answer: &Result<T, Status>) {
        self.told.extend(format!("{answer:?}").bytes());
        if let Err(status) = answer {
            self.told.extend(status.details());
            self.told.extend(format!("{status} {:?}", status.metadata()).bytes());
        }
    }

    /// Canaries in the place, each with the form it was found in; one pass over the place.
    pub fn found_in(&self, place: &[u8]) -> Vec<(&str, &'static str)> {
        let mut wanted = HashMap::new();
        for canary in &self.canaries {
            // Its unique middle, so that neither escapes nor alignment hide it.
            let middle = canary.split('~').nth(2).unwrap().split('/').next().unwrap().as_bytes();
            let mut want = |form, text: &[u8]| wanted.insert(text[..HEAD].to_vec(), (canary.as_str(), form));
            want("raw", middle);
            want("hex", hex::encode(middle).as_bytes());
            want("HEX", hex::encode_upper(middle).as_bytes());
            for shift in 0..3 {
                want("base64", STANDARD_NO_PAD.encode(&middle[shift..shift + 30]).as_bytes());
            }
        }
        place.windows(HEAD).filter_map(|window| wanted.get(window).copied()).collect()
    }
}
