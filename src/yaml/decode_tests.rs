use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Deserialize;

use super::*;
use crate::{Duration, NodeKind, Spanned, parse};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    Plaintext,
    SaslSsl,
    Custom { level: u8 },
    Named(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "some fields are only decoded")]
struct Link {
    host: Spanned<String>,
    port: u16,
    protocol: Protocol,
    #[serde(default)]
    timeout: Duration,
    password: Option<String>,
    verify: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gateway: Spanned<String>,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    names: BTreeMap<u16, Spanned<String>>,
    pair: Option<(u8, u8)>,
}

fn problems_of<T: DeserializeOwned>(text: &str) -> (Option<T>, Problems) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("test.yaml"), text.to_owned());
    let node = parse(file, text, &mut problems).unwrap_or_else(|| panic!("{}", problems.render(false)));
    let value = decode(&node, &mut problems);
    (value, problems)
}

#[test]
fn a_right_file_is_decoded_with_spans() {
    let text = "gateway: g1\nlinks:\n  - {host: a, port: 1, protocol: plaintext}\n  \
                - host: b\n    port: 2\n    protocol: {custom: {level: 3}}\n    timeout: 5s\n\
                names: {7: seven}\npair: [1, 2]\n";
    let (file, problems) = problems_of::<File>(text);
    assert_eq!(problems.render(false), "");
    let file = file.expect("a value");
    assert_eq!((file.gateway.span.line, file.gateway.span.column), (1, 10));
    assert_eq!(
        (file.links[1].host.span.line, file.links[1].host.as_str()),
        (4, "b")
    );
    assert_eq!(file.links[1].protocol, Protocol::Custom { level: 3 });
    assert_eq!(file.links[1].timeout, Duration::from_secs(5));
    assert_eq!(file.names[&7].value, "seven");
    assert_eq!(file.pair, Some((1, 2)));
}

#[test]
fn every_problem_is_reported_in_one_run() {
    let text = "\
gatewya: g1
links:
  - host: a
    port: 70000
    protocol: sasl_sll
    timeout: 10
    verify: yes
  - hots: b
    port: \"502\"
    protocol: plaintext
    timeout: forever
    colour: red
  - port: 1
    protocol: {custom: {level: 3, depth: 1}}
    password: 123
  - just text
names: {x: no key, 8: [a]}
pair: [1, 2, 3]
";
    let (file, problems) = problems_of::<File>(text);
    assert!(file.is_none());
    let report = problems.render(false);
    let expected = include_str!("decode_tests.txt");
    assert_eq!(report, expected, "\n{report}");
}

#[test]
fn what_only_follows_is_not_reported() {
    // The port is there, though wrong: it is not missing as well.
    let (_, problems) = problems_of::<Link>("{host: a, port: x, protocol: plaintext}");
    assert_eq!(problems.list().len(), 1, "{}", problems.render(false));
    // A misspelt key explains the missing one.
    let (_, problems) = problems_of::<Link>("{host: a, prot: 1, protocol: plaintext}");
    assert_eq!(problems.list().len(), 1, "{}", problems.render(false));
}

/// A type that takes no stand-in.
#[derive(Debug, Default, PartialEq)]
struct Word(Option<String>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyText;
        impl serde::de::Visitor<'_> for OnlyText {
            type Value = Word;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(Some(text.to_owned())))
            }
        }
        deserializer.deserialize_any(OnlyText)
    }
}

#[derive(Debug, Deserialize)]
struct Words {
    #[serde(default)]
    may: Word,
    #[serde(default)]
    number: u8,
    must: Word,
}

/// The draft of a text, and the messages.
fn drafted<T: DeserializeOwned>(text: &str) -> (Option<Draft<T>>, Vec<String>) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("x"), text.to_owned());
    let node = parse(file, text, &mut problems).expect("YAML");
    let draft = draft(&node, &mut problems);
    let said = problems.list().iter().map(|problem| problem.message.clone());
    (draft, said.collect())
}

#[test]
fn a_type_that_takes_no_stand_in_has_its_default() {
    let (draft, said) = drafted::<Words>("{may: 1, number: 7, must: a}");
    let draft = draft.expect("a draft");
    assert_eq!((draft.whole, draft.value.number), (false, 7));
    assert_eq!(
        (draft.value.may, draft.value.must.0.as_deref()),
        (Word(None), Some("a"))
    );
    assert_eq!(said, ["`may`: expected a word, found 1"]);
    // Without a default there is no draft, and the key is not said to be missing.
    let (draft, said) = drafted::<Words>("{may: a, must: 1}");
    assert!(draft.is_none());
    assert_eq!(said, ["`must`: expected a word, found 1"]);
}

#[test]
fn a_key_can_be_relied_upon_where_nothing_was_found() {
    let mut problems = Problems::default();
    let text = "{host: {name: 1, of: [2]}, prot: 3, verify: true}";
    let file = problems.add_file(Path::new("x"), text.to_owned());
    let node = parse(file, text, &mut problems).expect("YAML");
    problems.error(node.span, "before");
    let span = |key: &str| node.entry(key).expect("an entry").0;
    let inner = node.get("host").and_then(|host| host.get("of"));
    let NodeKind::List(items) = &inner.expect("a list").kind else {
        panic!("a list")
    };
    problems.error(items[0].span, "in a list in a mapping");
    problems.error(span("prot"), "a slip");
    let silent = |key| problems.are_silent_on(key, &node, 1);
    assert_eq!(
        ["host", "port", "verify", "timeout"].map(silent),
        [false, false, true, true]
    );
    assert!(problems.are_silent_on("host", &node, problems.list().len()));
}

#[test]
fn all_missing_keys_are_reported() {
    let (_, problems) = problems_of::<Link>("{}");
    let messages: Vec<_> = problems
        .list()
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "this mapping lacks the key `host`",
            "this mapping lacks the key `port`",
            "this mapping lacks the key `protocol`"
        ]
    );
}

#[test]
fn salvage_passes_over_unknown_keys_only() {
    let mut problems = Problems::default();
    let text = "{host: a, port: 1, protocol: plaintext, colour: red}";
    let file = problems.add_file(Path::new("x"), text.to_owned());
    let node = parse(file, text, &mut problems).expect("YAML");
    assert!(salvage::<Link>(&node, &mut problems).is_some_and(|link| link.port == 1));
    assert!(problems.has_errors());
    let (link, _) = problems_of::<Link>("{host: a, port: x, protocol: plaintext}");
    assert!(link.is_none());
}

#[test]
fn a_hundred_thousand_nodes_decode_quickly() {
    let mut text = String::from("gateway: g\nlinks:\n");
    for number in 0..33_000 {
        writeln!(text, "  - {{host: a{number}, port: 1, protocol: plaintext}}").expect("a string takes all");
    }
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("x"), text.clone());
    let started = Instant::now();
    let node = parse(file, &text, &mut problems).expect("YAML");
    let parsed = started.elapsed();
    let started = Instant::now();
    let decoded: Option<File> = decode(&node, &mut problems);
    let took = started.elapsed();
    assert_eq!(decoded.map(|file| file.links.len()), Some(33_000));
    println!("parsed in {parsed:?}, decoded in {took:?}");
    assert!(took.as_secs() < 5, "decoding took {took:?} without optimisation");
}
