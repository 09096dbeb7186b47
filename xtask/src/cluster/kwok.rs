//! Fake nodes, whose pods become ready without running: for measuring with more pods than a machine holds.
//!
//! Owns their number. Refuses a mixture: while there are fake nodes, the real one takes no new pods.

use std::time::Duration;

use anyhow::Result;

use super::home::{Home, NODE};
use super::parts::Programs;
use super::{procs, start};

/// Label of the nodes that KWOK keeps.
pub const LABEL: &str = "slipway.test/kwok";

/// Makes the number of fake nodes `count`; with none, pods go to the real node again.
pub fn scale(home: &Home, programs: &Programs, count: u32) -> Result<()> {
    let kubectl = |args: &[&str]| start::kubectl(home, programs, args);
    if count == 0 {
        kubectl(&["delete", "nodes", "--selector", LABEL, "--wait=false"])?;
        kubectl(&["uncordon", NODE])?;
        procs::end(&home.dir, "kwok", Duration::from_secs(2));
        return Ok(());
    }
    if !procs::runs(&home.dir, "kwok") {
        start::run(home, programs, "kwok")?;
    }
    start::apply(home, programs, &start::fake_nodes(count))?;
    for name in kubectl(&["get", "nodes", "--selector", LABEL, "-o", "name"])?.lines() {
        let number = name.rsplit('-').next().and_then(|n| n.parse::<u32>().ok());
        if number.is_some_and(|number| number >= count) {
            kubectl(&["delete", name, "--wait=false"])?;
        }
    }
    kubectl(&["cordon", NODE])?;
    let wait = ["wait", "nodes", "--selector", LABEL, "--for=condition=Ready", "--timeout=15s"];
    start::until(home, "kwok", 60, || kubectl(&wait).is_ok())
}
