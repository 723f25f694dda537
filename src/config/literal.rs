//! Placeholders where none are filled: what is written there would stand in the events as it is.

use floorgate_core::expression::Expression;
use floorgate_yaml::{Node, NodeKind, Problems, Span};

use crate::reach::within;

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
            && let Some(name) = placeholders(text).next()
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

/// Reports the mapping's parameters in the texts of an expression, which is the same in all instances: whether there are none.
pub(crate) fn check_expression(
    role: &str,
    expression: &Expression,
    span: Span,
    parameters: &[String],
    problems: &mut Problems,
) -> bool {
    let is_parameter = |name: &&str| parameters.iter().any(|known| known == name);
    let found = expression
        .texts()
        .find_map(|text| placeholders(text).find(is_parameter).map(|name| (text, name)));
    let Some((text, name)) = found else { return true };
    let is_alone = matches!(expression.constant(), Some(Ok(value)) if value.as_str() == Some(text));
    let hint = if is_alone {
        format!("write `{{constant: {text:?}}}` in place of the expression: there it is filled")
    } else if role == "when" {
        "compare with a tag, or with what is the same in all instances; what one of them says otherwise stands in `overrides`"
            .to_owned()
    } else {
        format!("give it a field of its own, where it is filled: `{name}: {{constant: \"{{{name}}}\"}}`")
    };
    problems
        .error(within(span, &format!("{{{name}}}"), problems), told(role, name))
        .hint(hint);
    false
}

/// The names in pairs of braces that could be placeholders'.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| {
        let name = rest.split_once('}')?.0.trim();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(name)
    })
}

fn told(key: &str, name: &str) -> String {
    format!(
        "`{key}`: `{{{name}}}` is filled nowhere but in `source`, `equipment`, addresses, topics and constants"
    )
}

fn report(key: &str, name: &str, is_parameter: bool, span: Span, problems: &mut Problems) {
    let text = told(key, name);
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
