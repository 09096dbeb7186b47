//! Git's smart protocol, served by git itself.
//!
//! Owns the two services of a repository. Refuses the old protocol for reading: a mirror speaks version 2.
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::{
    Asked, State,
    reply::{Made, plain},
};

pub(crate) async fn serve(state: &State, asked: &Asked, name: &str) -> Made {
    let service = asked.parts[2].as_str();
    let command = service.strip_prefix("git-").unwrap();
    let dir = state.scm.git(name).await.unwrap().dir().to_owned();
    if command == "upload-pack" && asked.header("git-protocol") != "version=2" {
        return Made::Git(plain(400, "text/plain", "version 2 only"));
    }
    let mut child = tokio::process::Command::new("git")
        .args(["-c", "safe.directory=*", command, "--stateless-rpc"])
        .arg(dir)
        .env("GIT_PROTOCOL", asked.header("git-protocol"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = asked.body.clone();
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let out = child.wait_with_output().await.unwrap();
    feed.abort();
    Made::Git(plain(200, &format!("application/x-{service}-result"), out.stdout))
}
