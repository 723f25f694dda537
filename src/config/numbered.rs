//! Numbers in addresses that are put together of parameters.

use floorgate_yaml::{Node, NodeKind};

/// What was put together of placeholders and digits is the number that it reads as, such as `"{line}03"`: no address is text of digits alone.
pub(crate) fn read(written: &Node, filled: Node) -> Node {
    match (&written.kind, &filled.kind) {
        (NodeKind::Text(before), NodeKind::Text(text)) if before.contains('{') => match text.parse() {
            Ok(number) if !text.starts_with(['0', '+']) => Node {
                kind: NodeKind::Int(number),
                ..filled
            },
            _ => filled,
        },
        _ => filled,
    }
}
