//! The positioned tree.

/// Number of a file in [`Problems`](crate::Problems), which keeps the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(pub u16);

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Line, from 1; 0 in a span that stands nowhere.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Offset in bytes from the start of the file.
    pub offset: u32,
    /// Length in bytes; 0 for a list or a mapping, whose span is where it begins.
    pub len: u32,
}

/// A value of a YAML document and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value stands.
    pub span: Span,
    /// The value.
    pub kind: NodeKind,
}

/// The value of a [`Node`], by the YAML 1.2 core schema: `yes`, `no`, `on` and `off` are text, and so
/// are numbers with leading zeros or underscores.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file: key, where the key stands, value.
    Map(Vec<(String, Span, Node)>),
}

impl Node {
    /// The value under `key`, where this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Where `key` stands and its value, where this is a mapping that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<(Span, &Node)> {
        self.entries()
            .iter()
            .find(|(name, ..)| name == key)
            .map(|(_, span, node)| (*span, node))
    }

    /// The entries of a mapping; none where this is no mapping.
    #[must_use]
    pub fn entries(&self) -> &[(String, Span, Node)] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, where this is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages: `text "abc"`, `the number 7`, `a list`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            NodeKind::Null => "nothing".to_owned(),
            NodeKind::Bool(value) => value.to_string(),
            NodeKind::Int(value) => value.to_string(),
            // With its point, or its exponent where it is very large or small.
            NodeKind::Float(value) => format!("{value:?}"),
            NodeKind::Text(text) => format!("{text:?}"),
            NodeKind::List(_) => "a list".to_owned(),
            NodeKind::Map(entries) => match entries.as_slice() {
                // Text that begins with a brace, mostly.
                [(key, _, value)] if value.kind == NodeKind::Null => {
                    format!("{{{key}}}, which is a mapping")
                }
                _ => "a mapping".to_owned(),
            },
        }
    }
}

/// As JSON; integers beyond 64 bits as text.
impl From<&Node> for serde_json::Value {
    fn from(node: &Node) -> Self {
        match &node.kind {
            NodeKind::Null => Self::Null,
            NodeKind::Bool(value) => (*value).into(),
            NodeKind::Int(value) => {
                i64::try_from(*value).map_or_else(|_| value.to_string().into(), Into::into)
            }
            NodeKind::Float(value) => (*value).into(),
            NodeKind::Text(text) => text.as_str().into(),
            NodeKind::List(items) => items.iter().map(Self::from).collect(),
            NodeKind::Map(entries) => entries
                .iter()
                .map(|(key, _, value)| (key.clone(), Self::from(value)))
                .collect(),
        }
    }
}
