//! What every cluster promises.
use std::collections::BTreeMap;

use secrecy::SecretString;
use slipway_kit::error::CONFLICT;
use slipway_secrets::{
    error::{CREDENTIAL_UNUSABLE, NAMESPACE_CHANGED},
    model::delivery::{Access, Kind, LABEL_ENVIRONMENT, Wanted},
};

use crate::bench::{Data, all, free_name};

fn wanted(name: &str, environment: &str, values: &[(&str, &str)]) -> Wanted {
    Wanted {
        kind: Kind::Bound,
        name: name.to_owned(),
        labels: BTreeMap::from([(LABEL_ENVIRONMENT.to_owned(), environment.to_owned())]),
        generation: 1,
        versions: BTreeMap::new(),
        values: values.iter().map(|(k, v)| ((*k).to_owned(), SecretString::from(*v))).collect(),
    }
}

fn data(values: &[(&str, &str)]) -> Data {
    values.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn a_name_is_taken_once_and_written_only_as_it_was_read() {
    for bench in all().await {
        let (at, cluster) = (free_name(), bench.clusters().open(&bench.access()).await.unwrap());
        assert_eq!(cluster.namespace(&at).await.unwrap(), None);
        let uid = bench.make_namespace(&at).await;
        let found = cluster.namespace(&at).await.unwrap().unwrap();
        assert_eq!((found.uid, found.is_ending), (uid, false));
        assert_eq!(cluster.secret(&at, "db").await.unwrap(), None);

        let first = wanted("db", "e1", &[("A", "1"), ("B", "two\n\"ü\"")]);
        let claimed = cluster.claim(&at, &first).await.unwrap().unwrap();
        assert!(claimed.is_ours("e1"));
        assert_eq!(bench.data(&at, "db").await.unwrap(), Data::new());
        assert_eq!(cluster.claim(&at, &first).await.unwrap(), None);
        let written = cluster.write(&at, &first, &claimed).await.unwrap();
        assert_eq!((&written.uid, written.name.as_str()), (&claimed.uid, "db"));
        assert_ne!(written.resource_version, claimed.resource_version);
        assert_eq!(bench.data(&at, "db").await.unwrap(), data(&[("A", "1"), ("B", "two\n\"ü\"")]));

        // What was read before another write is stale; keys that are not wanted go.
        let second = wanted("db", "e1", &[("B", "3"), ("C", "")]);
        assert!(cluster.write(&at, &second, &claimed).await.unwrap_err().is(&CONFLICT));
        let now = cluster.write(&at, &second, &written).await.unwrap();
        assert_eq!(bench.data(&at, "db").await.unwrap(), data(&[("B", "3"), ("C", "")]));
        assert_eq!(cluster.secret(&at, "db").await.unwrap().unwrap(), now);

        // One that was deleted and made again by another is another one.
        bench.delete_secret(&at, "db").await;
        assert!(cluster.write(&at, &second, &now).await.unwrap_err().is(&CONFLICT));
        bench.put_foreign(&at, "db", &[], &[("X", "theirs")]).await;
        assert!(cluster.write(&at, &second, &now).await.unwrap_err().is(&CONFLICT));
        assert_eq!(bench.data(&at, "db").await.unwrap(), data(&[("X", "theirs")]));
        assert!(!cluster.delete(&at, "db", &now.uid).await.unwrap());
        bench.drop_namespace(&at).await;
    }
}

#[tokio::test]
async fn lists_are_by_label_and_deletes_by_uid() {
    for bench in all().await {
        let (at, cluster) = (free_name(), bench.clusters().open(&bench.access()).await.unwrap());
        bench.make_namespace(&at).await;
        for (name, environment) in [("a", "e1"), ("b", "e1"), ("c", "e2")] {
            cluster.claim(&at, &wanted(name, environment, &[])).await.unwrap().unwrap();
        }
        bench.put_foreign(&at, "d", &[(LABEL_ENVIRONMENT, "e1")], &[]).await;
        let mine = cluster.secrets(&at, (LABEL_ENVIRONMENT, "e1")).await.unwrap();
        let mut names: Vec<_> = mine.iter().map(|s| (s.name.as_str(), s.is_ours("e1"))).collect();
        names.sort_unstable();
        assert_eq!(names, [("a", true), ("b", true), ("d", false)]);
        let a = mine.iter().find(|s| s.name == "a").unwrap();
        assert!(!cluster.delete(&at, "b", &a.uid).await.unwrap());
        assert!(cluster.delete(&at, "a", &a.uid).await.unwrap());
        assert!(!cluster.delete(&at, "a", &a.uid).await.unwrap());
        assert_eq!(cluster.secrets(&at, (LABEL_ENVIRONMENT, "e1")).await.unwrap().len(), 2);
        bench.drop_namespace(&at).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    for bench in all().await {
        let cluster = bench.clusters().open(&bench.access()).await.unwrap();
        let gone = free_name();
        assert!(cluster.secrets(&gone, (LABEL_ENVIRONMENT, "e1")).await.unwrap().is_empty());
        let error = cluster.claim(&gone, &wanted("a", "e1", &[])).await.unwrap_err();
        assert!(error.is(&NAMESPACE_CHANGED), "{error:?}");
        let none = Access::KubeconfigFile("none".to_owned());
        assert!(bench.clusters().open(&none).await.err().unwrap().is(&CREDENTIAL_UNUSABLE));
    }
}
