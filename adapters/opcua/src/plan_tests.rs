use std::path::Path;

use floorgate_adapter_api::{NodeKind, TagSpec};
use floorgate_yaml::parse;

use super::*;
use crate::item::Place as NodePlace;

/// Line, message and hint of a problem.
type Said = (u32, String, Option<String>);

/// Plans a source from a document with `settings` and a list `tags`.
fn planned(text: &str) -> (Option<Plan>, Vec<Said>) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("plan.yaml"), text.to_owned());
    let document = parse(file, text, &mut problems).expect("the test's document is YAML");
    let NodeKind::List(tags) = &document.get("tags").expect("it has tags").kind else {
        panic!("tags are a list")
    };
    let names: Vec<String> = (0..tags.len()).map(|number| format!("line/{number}")).collect();
    let specs = (0..)
        .zip(tags.iter().zip(&names))
        .map(|(id, (address, name))| TagSpec {
            id: TagId(id),
            name,
            address,
            on_demand: false,
        });
    let spec = SourceSpec {
        name: "plc",
        settings: document.get("settings").expect("it has settings"),
        tags: specs.collect(),
        snapshots: Vec::new(),
        base: Path::new("/etc/floorgate"),
        state: Path::new("/var/lib/floorgate"),
    };
    let plan = Plan::new(&spec, &mut problems);
    let said = problems.list().iter().map(|problem| {
        (
            problem.span.map_or(0, |span| span.line),
            problem.message.clone(),
            problem.hint.clone(),
        )
    });
    (plan, said.collect())
}

#[test]
fn without_more_than_an_address_the_source_is_secure_and_fast() {
    let (plan, problems) = planned("settings: {endpoint: 'opc.tcp://plc1:4840'}\ntags: [{node: i=2258}]\n");
    assert!(problems.is_empty(), "{problems:?}");
    let settings = plan.unwrap().settings;
    assert_eq!(settings.security.policy, Policy::Basic256Sha256);
    assert_eq!(settings.security.mode, SecurityMode::SignAndEncrypt);
    assert!(!settings.trust_any_server_certificate && !settings.send_password_in_clear);
    assert!(
        settings.publishing_interval.get() * 2 <= SLOW,
        "sampling and publishing stay below 200 ms"
    );
}

#[test]
fn all_mistakes_are_found_in_one_run() {
    let text = "settings:
  endpoint: http://plc1
  security: {policy: none}
  login: {user: operator}
  queue_size: 0
  poll_interval: 1s
  keep_alive: 1ms
tags:
  - {node: Line1.State}
  - {node: i=2258}
  - {node: 'ns=2;i=x'}
  - {node: 'ns=2;i=1', queue_size: 0}
  - {node: 'ns=2;i=1', sampling: 1s}
";
    let (plan, problems) = planned(text);
    assert!(plan.is_none());
    let mut lines: Vec<u32> = problems.iter().map(|(line, ..)| *line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 9, 11, 12, 13], "{problems:#?}");
    assert!(
        problems.iter().all(|(_, _, hint)| hint.is_some()),
        "{problems:#?}"
    );
}

#[test]
fn a_value_of_a_wrong_type_hides_no_other_mistake() {
    let text = "settings:
  endpoint: http://plc1
  publishing_interval: 10 parsecs
  login: 5
  security: {policy: rot13}
  keep_alive: 1ms
  queue_size: 0
  colour: red
tags:
  - {node: Line1.State, sampling_interval: often}
  - {node: 7, queue_size: 0}
";
    let (plan, problems) = planned(text);
    assert!(plan.is_none());
    let mut lines: Vec<u32> = problems.iter().map(|(line, ..)| *line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 10, 10, 11, 11], "{problems:#?}");
    assert!(
        problems.iter().all(|(_, _, hint)| hint.is_some()),
        "{problems:#?}"
    );
}

#[test]
fn what_is_made_up_in_place_of_a_mistake_is_not_reported() {
    // Each has one mistake, next to what would be wrong with what stands in for it.
    for settings in [
        "{}",
        "{endpoint: 4840}",
        "{endpiont: 'opc.tcp://plc1'}",
        "{endpoint: 'opc.tcp://plc1', mode: pol, poll_interval: 1s}",
        "{endpoint: 'opc.tcp://plc1', mod: poll, poll_interval: 1s}",
        "{endpoint: 'opc.tcp://plc1', security: {policy: none, mode: non}}",
        "{endpoint: 'opc.tcp://plc1', security: {policy: 3}, login: {user: a, password_file: b}}",
        "{endpoint: 'opc.tcp://plc1', securty: {policy: none}, login: {user: a, password_file: b}}",
        "{endpoint: 'opc.tcp://plc1', security: {policy: none, mode: none}, login: {user: a, password_file: b}, \
         send_password_in_clear: yes}",
        "{endpoint: 'opc.tcp://plc1', login: {user: 1, password_file: b}}",
        "{endpoint: 'opc.tcp://plc1', queue_size: few, keep_alive: short}",
    ] {
        let (plan, problems) = planned(&format!("settings: {settings}\ntags: [{{node: i=2258}}]\n"));
        let expected = 1 + usize::from(settings.contains("few"));
        assert!(
            plan.is_none() && problems.len() == expected,
            "{settings}: {problems:#?}"
        );
    }
}

#[test]
fn a_password_is_not_sent_in_clear_unless_it_is_said() {
    let text = |more| {
        format!(
            "settings: {{endpoint: 'opc.tcp://plc1', security: {{policy: none, mode: none}}, login: {{user: a, password_file: secret}}{more}}}\ntags: []\n"
        )
    };
    let (plan, problems) = planned(&text(""));
    assert!(plan.is_none() && problems.len() == 1, "{problems:?}");
    let (plan, problems) = planned(&text(", send_password_in_clear: true"));
    assert!(problems.is_empty(), "{problems:?}");
    let expected = Credentials::Password {
        user: "a".into(),
        file: Ok("/etc/floorgate/secret".into()),
    };
    assert_eq!(plan.unwrap().credentials, expected);
}

#[test]
fn a_deprecated_security_policy_is_refused_unless_it_is_said() {
    let text = |policy, more| {
        format!("settings: {{endpoint: 'opc.tcp://plc1', security: {{policy: {policy}}}{more}}}\ntags: []\n")
    };
    for policy in ["basic256", "basic128rsa15"] {
        let (plan, problems) = planned(&text(policy, ""));
        let [(1, message, Some(hint))] = &problems[..] else {
            panic!("{policy}: {problems:?}")
        };
        assert!(plan.is_none() && message.contains("the security policy is deprecated"));
        assert!(hint.contains("allow_deprecated_security_policy: true"), "{hint}");
        let (plan, problems) = planned(&text(policy, ", allow_deprecated_security_policy: true"));
        assert!(plan.is_some() && problems.is_empty(), "{policy}: {problems:?}");
    }
    for policy in ["basic256sha256", "aes128-sha256-rsaoaep", "aes256-sha256-rsapss"] {
        let (plan, problems) = planned(&text(policy, ""));
        assert!(plan.is_some() && problems.is_empty(), "{policy}: {problems:?}");
    }
}

#[test]
fn more_nodes_than_the_product_can_monitor_are_said() {
    let nodes = |count: u32, settings: &str| {
        let tags: Vec<String> = (0..count)
            .map(|number| format!("{{node: ns=3;i={number}}}"))
            .collect();
        planned(&format!(
            "settings:\n  endpoint: opc.tcp://plc1\n  {settings}\ntags: [{}]\n",
            tags.join(", ")
        ))
    };
    // Those that are polled are not monitored.
    for (count, settings) in [
        (1_000, "profile: s7-1200"),
        (1_001, "profile: s7-1200\n  mode: poll"),
        (1_001, "profile: s7-1500"),
        (1_001, "queue_size: 9"),
    ] {
        let (plan, said) = nodes(count, settings);
        assert!(plan.is_some() && said.is_empty(), "{settings}: {said:?}");
    }
    let (plan, said) = nodes(1_001, "profile: s7-1200");
    let [(3, message, Some(hint))] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(plan.is_some(), "the server's word counts");
    assert!(
        message.contains("1001 nodes are to be monitored") && message.contains("1000 at most"),
        "{message}"
    );
    assert!(hint.contains("`mode: poll`"), "{hint}");
    let (plan, said) = nodes(1_001, "profile: s7-1200\n  mode: pol");
    assert!(plan.is_none() && said.len() == 1, "{said:?}");
}

#[test]
fn nodes_follow_their_namespace() {
    let text = "settings: {endpoint: 'opc.tcp://plc1', sampling_interval: 20ms, login: anonymous}
tags:
  - {node: 'nsu=urn:a;s=X'}
  - {node: 'nsu=urn:b;s=X', sampling_interval: 5ms, queue_size: 7}
  - {node: 'nsu=urn:a;i=4'}
  - {node: 'ns=9;i=4'}
";
    let (plan, problems) = planned(text);
    assert!(problems.is_empty(), "{problems:?}");
    let plan = plan.unwrap();
    assert_eq!(plan.laid_out.uris, ["urn:a", "urn:b"]);
    let nodes = |namespaces: &[Option<u16>]| -> Vec<Option<String>> {
        plan.items()
            .iter()
            .map(|tag| tag.node_id(namespaces).map(|node| node.to_string()))
            .collect()
    };
    let some = |node: &str| Some(node.to_owned());
    assert_eq!(
        nodes(&[Some(2), Some(3)]),
        [
            some("ns=2;s=X"),
            some("ns=3;s=X"),
            some("ns=2;i=4"),
            some("ns=9;i=4")
        ]
    );
    assert_eq!(
        nodes(&[None, Some(2)]),
        [None, some("ns=2;s=X"), None, some("ns=9;i=4")]
    );
    let asked = |item: &Item| (plan.sampling_millis(item), plan.queue_size(item));
    assert_eq!(asked(&plan.items()[0]), (20.0, 100));
    assert_eq!(asked(&plan.items()[1]), (5.0, 7));
}

#[test]
fn parts_of_a_node_and_fields_of_events_come_of_one_item() {
    let (plan, problems) = planned(
        r#"
settings: {endpoint: 'opc.tcp://plc1:4840'}
tags:
  - {node: ns=2;s=Recipe, field: Name}
  - {node: ns=2;s=Recipe, field: "Steps[1].Time"}
  - {node: ns=2;s=Recipe}
  - {node: ns=2;s=Recipe, field: Name, sampling_interval: 1s}
  - {events: i=2253, event_type: "nsu=urn:jobs;i=1006", field: JobOrder.JobOrderID}
  - {conditions: ns=2;s=Line}
  - {events: i=2253, event_type: "nsu=urn:jobs;i=1006", field: "JobState[0].StateNumber"}
  - {events: i=2253, field: Message}
  - {node: ns=2;s=Level, server_deadband: 2%}
"#,
    );
    assert!(problems.is_empty(), "{problems:?}");
    let plan = plan.unwrap();
    let names = |item: &Item| -> Vec<&str> { plan.tags_of(item).iter().map(|tag| &*tag.name).collect() };
    let items: Vec<Vec<&str>> = plan.items().iter().map(names).collect();
    let alone = |name| vec![name];
    assert_eq!(
        items,
        [
            vec!["line/0", "line/1"],
            alone("line/2"),
            alone("line/3"),
            vec!["line/4", "line/6"],
            alone("line/5"),
            alone("line/7"),
            alone("line/8"),
        ]
    );
    let What::Events(of, fields) = &plan.items()[3].what else {
        panic!("events")
    };
    assert_eq!(of.as_ref().and_then(NodePlace::uri), Some(0));
    let fields: Vec<&str> = fields.iter().map(|field| &**field).collect();
    assert_eq!(fields, ["JobOrder", "JobState"]);
}

#[test]
fn what_happens_has_no_address_of_a_state() {
    let (plan, problems) = planned(
        r"
settings: {endpoint: 'opc.tcp://plc1:4840', mode: poll}
tags:
  - {events: i=2253}
  - {conditions: i=2253, field: Name}
  - {node: i=2258, event_type: i=2041}
  - {node: i=2258, events: i=2253, field: Message}
  - {field: A..B, node: i=2258}
  - {queue_size: 3}
  - {events: i=2253, field: Message, server_deadband: 1}
  - {node: i=2258, server_deadband: 120%}
",
    );
    assert!(plan.is_none());
    let said: Vec<&str> = problems.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(
        said,
        [
            "tag line/0 does not say which field of the events it is",
            "`field` of tag line/1 has no meaning here",
            "`event_type` of tag line/2 has no meaning here",
            "tag line/3 has `node` and `events`, and is of one of them",
            "tag line/4: field `A..B` has a part without a name",
            "tag line/5 has no address",
            "`server_deadband` of tag line/6 has no meaning here",
            "`server_deadband`: expected a number that is not negative such as 0.5, or per cent such as 2%, found \"120%\"",
        ]
    );
}
