//! Placeholders where none are filled: what is written there would stand in the events as it is.

use floorgate_yaml::{Node, NodeKind, Problems, Span};

/// Texts of an event that are the same in all instances.
const OF_EVENTS: [&str; 3] = ["name", "measurement", "medium"];

/// Texts of an alarm that are.
const OF_ALARMS: [&str; 3] = ["code", "text", "category"];

/// Reports placeholders in the names of an event and in the texts of its alarm.
pub(crate) fn check_event(event: &Node, parameters: &[String], problems: &mut Problems) {
    check(event, &OF_EVENTS, parameters, problems);
    if let Some(alarm) = event.get("alarm") {
        check(alarm, &OF_ALARMS, parameters, problems);
    }
}

/// Reports placeholders in the texts of a tag's alarms.
pub(crate) fn check_tag(tag: &Node, parameters: &[String], problems: &mut Problems) {
    for (_, _, alarm) in tag.get("bits").map(Node::entries).unwrap_or_default() {
        check(alarm, &OF_ALARMS, parameters, problems);
    }
}

fn check(node: &Node, keys: &[&str], parameters: &[String], problems: &mut Problems) {
    for (key, _, value) in node.entries() {
        if let NodeKind::Text(text) = &value.kind
            && keys.contains(&key.as_str())
            && let Some(name) = placeholder(text)
        {
            report(
                key,
                name,
                parameters.iter().any(|known| known == name),
                value.span,
                problems,
            );
        }
    }
}

/// The name in the first pair of braces that could be a placeholder's.
fn placeholder(text: &str) -> Option<&str> {
    text.split('{').skip(1).find_map(|rest| {
        let name = rest.split_once('}')?.0.trim();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(name)
    })
}

fn report(key: &str, name: &str, is_parameter: bool, span: Span, problems: &mut Problems) {
    let text = format!(
        "`{key}`: `{{{name}}}` is filled nowhere but in `source`, `equipment`, addresses, topics and constants"
    );
    if is_parameter {
        problems
            .error(span, text)
            .hint("remove it: the equipment tells the instances apart; what one of them says otherwise stands in `overrides`");
    } else {
        problems
            .warning(span, text)
            .hint("remove the braces, unless they are to stand in the events");
    }
}
