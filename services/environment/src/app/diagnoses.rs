//! Looking at an environment's cluster for a person: what is wrong, and what the containers write.
//!
//! Owns which objects are read, and that nothing is read from a namespace that is not ours. Refuses to judge: the model does.
use futures::{
    StreamExt as _,
    future::{join_all, try_join_all},
    stream::{self, BoxStream},
};
use slipway_kit::{
    error::{Error, INVALID_FIELD, Result},
    serve::Call,
};

use super::{App, lifetimes::observed};
use crate::{
    error::{ENVIRONMENT_DELETING, WORKLOAD_UNKNOWN},
    model::{
        diagnosis::{self, Diagnosis},
        environment::Environment,
        health::{self, CRASH_LOOP, Health, JOB_FAILED, OOM_KILLED, Problem},
        manifest::{self, Doc},
        observed::{self as seen, Space},
        outcome::namespace_ref,
        pods::{self, Stream, Wanted},
        redact::Redactor,
    },
    world::cluster::{Cluster, LogQuery},
};

/// Kinds that a diagnosis is made of.
const KINDS: [(&str, &str); 9] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "ResourceQuota"),
    ("v1", "Event"),
];
/// Last lines told with a problem.
const LINES: i64 = 20;
/// Problems whose lines are read.
const READ_MAX: usize = 5;
/// Longest wait for the last lines of one container.
const LINES_WAIT: std::time::Duration = std::time::Duration::from_secs(3);
/// Lines told when the caller does not say how many.
const TAIL_LINES: i64 = 200;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct WantedLogs {
    /// Workload, pod and container.
    pub from: Wanted,
    /// Lines of the run before.
    pub previous: bool,
    /// Go on with new lines.
    pub follow: bool,
    /// Most lines from the end of each container; the default if 0.
    pub tail_lines: i64,
}

/// One line of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which container.
    pub from: Stream,
    /// What it wrote, redacted.
    pub text: String,
}

impl App {
    /// Looks at the cluster now and tells what is wrong.
    ///
    /// # Errors
    /// CLUSTER_NOT_OBSERVED with the target git; UNAVAILABLE if the cluster gives no answer.
    pub async fn diagnose(&self, call: &Call, name: &str) -> Result<Diagnosis> {
        let env = self.environment(call, name.strip_suffix("/diagnosis").unwrap_or_default()).await?;
        observed(&env)?;
        let cluster = self.world.clusters.open(&env.cluster).await?;
        let namespace = cluster.get(&namespace_ref(&env)).await?;
        let is_ours = is_ours(&env, namespace.as_ref());
        let live = if is_ours { listed(cluster.as_ref(), &env.namespace, &KINDS).await? } else { Vec::new() };
        let (health, blockers) = if env.retire.is_some() {
            let left = if is_ours { cluster.remaining(&env.namespace).await? } else { Vec::new() };
            let remains = seen::remains(namespace.as_ref().filter(|_| is_ours), &env.uid, &left);
            (Health::Ready, diagnosis::blockers(&remains))
        } else if is_ours {
            (health::of(&env.status.inventory, &live), Vec::new())
        } else {
            (Health::Ready, Vec::new())
        };
        let problems: Vec<Problem> =
            diagnosis::problems(&health).iter().take(diagnosis::PROBLEMS_MAX).cloned().collect();
        let lines = join_all(problems.iter().enumerate().map(|(at, problem)| {
            let is_read = at < READ_MAX && !problem.container.is_empty();
            let (cluster, namespace) = (cluster.as_ref(), env.namespace.as_str());
            async move { if is_read { last_lines(cluster, namespace, problem).await } else { Vec::new() } }
        }));
        let lines = lines.await;
        Ok(Diagnosis {
            environment: env.name(),
            state: env.state(),
            summary: diagnosis::summary(&env, &health, &blockers),
            problems: problems.into_iter().zip(lines).collect(),
            events: diagnosis::events(&live),
            quotas: diagnosis::quotas(&live),
            blockers,
            observed_us: self.now_us(),
        })
    }

    /// The lines of an environment's containers, each container's in order.
    ///
    /// # Errors
    /// CLUSTER_NOT_OBSERVED with the target git; WORKLOAD_UNKNOWN with what there is; UNAVAILABLE if the cluster gives no answer.
    pub async fn logs(&self, call: &Call, name: &str, wanted: &WantedLogs) -> Result<BoxStream<'static, Result<Line>>> {
        let env = self.environment(call, name).await?;
        observed(&env)?;
        if env.deleted_us.is_some() {
            return Err(Error::new(&ENVIRONMENT_DELETING, format!("{name} is gone, and its logs with it")));
        }
        let cluster = self.world.clusters.open(&env.cluster).await?;
        let namespace = cluster.get(&namespace_ref(&env)).await?;
        let live = if is_ours(&env, namespace.as_ref()) {
            listed(cluster.as_ref(), &env.namespace, &KINDS[..6]).await?
        } else {
            Vec::new()
        };
        let streams = pods::choose(&live, &wanted.from).map_err(refused)?;
        let opened =
            try_join_all(streams.into_iter().map(|from| lines(cluster.as_ref(), &env.namespace, wanted, from)));
        let (drain, merged) = (self.drain.clone(), stream::select_all(opened.await?));
        Ok(merged.take_until(async move { drain.wait().await }).boxed())
    }
}

fn refused(fault: pods::Fault) -> Error {
    match fault {
        pods::Fault::Unknown(text) => Error::new(&WORKLOAD_UNKNOWN, text),
        pods::Fault::Container(text) => {
            Error::new(&INVALID_FIELD, "there is no such container").violation("container", text)
        }
    }
}

/// Whether the namespace is the one we made; another's objects are nobody's business here.
pub(super) fn is_ours(env: &Environment, namespace: Option<&Doc>) -> bool {
    matches!(seen::space(namespace, &env.uid), Space::Ours { .. } | Space::Terminating { .. })
}

/// Every object of some kinds, each with its kind.
pub(super) async fn listed(cluster: &dyn Cluster, namespace: &str, kinds: &[(&str, &str)]) -> Result<Vec<Doc>> {
    let lists = kinds.iter().map(|(api_version, kind)| async move {
        let mut docs = cluster.list(api_version, kind, namespace, &[]).await?;
        for doc in docs.iter_mut().filter(|doc| manifest::kind(doc).is_empty()) {
            (doc["apiVersion"], doc["kind"]) = ((*api_version).into(), (*kind).into());
        }
        Ok::<_, Error>(docs)
    });
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// The last lines of the container a problem is about; none if they cannot be read, which is no reason to say nothing else.
pub(crate) async fn last_lines(cluster: &dyn Cluster, namespace: &str, problem: &Problem) -> Vec<String> {
    let ended = matches!(problem.reason, CRASH_LOOP | OOM_KILLED | JOB_FAILED);
    // A container that waits between two tries has its words in the run before; one that just ended has them in this one.
    for previous in if ended && problem.restarts > 0 { vec![true, false] } else { vec![false] } {
        let query = LogQuery { container: problem.container.clone(), previous, follow: false, tail_lines: LINES };
        let read = async {
            let opened = cluster.logs(namespace, &problem.object.name, &query).await.ok()?;
            let mut redactor = Redactor::default();
            let lines = opened.take_while(|line| std::future::ready(line.is_ok()));
            let lines: Vec<String> =
                lines.take(LINES as usize).filter_map(|l| std::future::ready(l.ok())).collect().await;
            Some(lines.iter().filter_map(|line| redactor.line(line)).collect::<Vec<String>>())
        };
        match tokio::time::timeout(LINES_WAIT, read).await {
            Ok(Some(lines)) if !lines.is_empty() => return lines,
            _ => {}
        }
    }
    Vec::new()
}

async fn lines(
    cluster: &dyn Cluster,
    namespace: &str,
    wanted: &WantedLogs,
    from: Stream,
) -> Result<BoxStream<'static, Result<Line>>> {
    let query = LogQuery {
        container: from.container.clone(),
        previous: wanted.previous,
        follow: wanted.follow,
        tail_lines: if wanted.tail_lines > 0 { wanted.tail_lines } else { TAIL_LINES },
    };
    let opened = cluster.logs(namespace, &from.pod, &query).await?;
    let mut redactor = Redactor::default();
    let lines = opened.filter_map(move |line| {
        let shown = match line {
            Ok(line) => redactor.line(&line).map(|text| Ok(Line { from: from.clone(), text })),
            Err(error) => Some(Err(error)),
        };
        std::future::ready(shown)
    });
    Ok(lines.boxed())
}
