//! The contracts of this service describe services, never people (MET-2), and a missing value is told apart from zero (MET-3).
#![allow(clippy::unwrap_used)]

#[test]
fn no_measure_names_a_person() {
    let people = [
        "author",
        "reviewer",
        "committer",
        "user",
        "login",
        "email",
        "person",
        "developer",
        "assignee",
        "actor",
        "principal",
    ];
    // History and audit keep who acted; nothing is measured by them.
    let history = [
        "slipway.metrics.v1.Deployment.actor",
        "slipway.metrics.v1.Change.author_kind",
        "slipway.metrics.v1.Correction.author",
    ];
    let mut found = Vec::new();
    for message in slipway_proto::pool().all_messages().filter(|m| m.package_name() == "slipway.metrics.v1") {
        for field in message.fields() {
            let personal = field.name().split('_').any(|word| people.contains(&word));
            if personal && !history.contains(&field.full_name()) {
                found.push(field.full_name().to_owned());
            }
        }
    }
    assert!(found.is_empty(), "fields that name people: {found:?}");
}

#[test]
fn measured_values_can_be_missing() {
    for name in
        ["Span.p50_seconds", "Span.n", "Ratio.value", "Ratio.numerator", "Count.value", "DeploymentFrequency.per_day"]
    {
        let (message, field) = name.split_once('.').unwrap();
        let message = slipway_proto::pool().get_message_by_name(&format!("slipway.metrics.v1.{message}")).unwrap();
        assert!(message.get_field_by_name(field).unwrap().supports_presence(), "{name}");
    }
}
