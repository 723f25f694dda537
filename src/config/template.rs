//! Text with placeholders, and the instances that fill them.

use std::collections::HashSet;

use floorgate_yaml::{Node, NodeKind, Problems, Span, Spanned, closest};

use crate::numbered;
use crate::range::{self, values_of};

/// More instances of one mapping than any plant has; a slip in a range should not fill the memory.
pub(crate) const MOST_INSTANCES: usize = 200_000;

/// Most bytes of the values of all instances that one element stands for.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// One instance of a mapping.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Its name, empty where the mapping has no parameters.
    pub name: String,
    /// The values of the parameters, in the order of [`Instances::parameters`].
    pub values: Vec<NodeKind>,
    /// Where it is written.
    pub span: Span,
}

/// All instances of a mapping.
#[derive(Debug)]
pub(crate) struct Instances {
    pub parameters: Vec<String>,
    pub list: Vec<Instance>,
}

/// Text with placeholders.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Parameter(usize),
}

impl Template {
    /// Reads text; a placeholder that is no parameter is a problem.
    pub(crate) fn parse(
        text: &str,
        span: Span,
        parameters: &[String],
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|b| b.split_once('}')) {
                let Some(index) = parameters.iter().position(|parameter| parameter == name.trim()) else {
                    unknown_parameter(name.trim(), span, parameters, problems);
                    return None;
                };
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Parameter(index));
                rest = after;
            } else {
                problems
                    .error(span, format!("a brace in {text:?} has no partner"))
                    .hint("`{name}` stands for a parameter; write `{{` and `}}` for braces themselves");
                return None;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Some(Self { parts })
    }

    /// The text of one instance.
    pub(crate) fn fill(&self, values: &[NodeKind]) -> String {
        self.parts.iter().fold(String::new(), |mut text, part| {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Parameter(index) => text.push_str(&values.get(*index).map(shown).unwrap_or_default()),
            }
            text
        })
    }

    /// As a value: a placeholder alone keeps the parameter's type.
    fn fill_value(&self, values: &[NodeKind]) -> NodeKind {
        match self.parts.as_slice() {
            [Part::Parameter(index)] => values.get(*index).cloned().unwrap_or(NodeKind::Null),
            _ => NodeKind::Text(self.fill(values)),
        }
    }

    pub(crate) fn is_constant(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Parameter(_)))
    }
}

fn unknown_parameter(name: &str, span: Span, parameters: &[String], problems: &mut Problems) {
    let problem = problems.error(span, format!("`{{{name}}}` is no parameter of this mapping"));
    match closest(name, parameters.iter().map(String::as_str)) {
        Some(similar) => problem.hint(format!("did you mean `{{{similar}}}`?")),
        None if parameters.is_empty() => problem.hint(format!(
            "add `for_each: [{{{name}: …}}]`, or write `{{{{` and `}}}}` for braces themselves"
        )),
        None => problem.hint(format!("parameters here: {}", parameters.join(", "))),
    };
}

/// A node with placeholders in its text.
#[derive(Clone, Debug)]
pub(crate) struct NodeTemplate<'a> {
    node: &'a Node,
    /// The keys of `node` that are left out; they belong to somebody else.
    without: &'static [&'static str],
    /// Whether it has none of them.
    alone: bool,
    /// Whether it has no placeholder.
    constant: bool,
}

impl<'a> NodeTemplate<'a> {
    /// Checks all placeholders in a node. `None` where one is wrong.
    pub(crate) fn parse(
        node: &'a Node,
        without: &'static [&'static str],
        parameters: &[String],
        problems: &mut Problems,
    ) -> Option<Self> {
        let alone = !node
            .entries()
            .iter()
            .any(|(key, ..)| without.contains(&key.as_str()));
        let mut constant = true;
        let mut right = true;
        for (key, _, value) in node.entries() {
            if !without.contains(&key.as_str()) {
                right &= check(value, parameters, &mut constant, problems);
            }
        }
        right.then_some(Self {
            node,
            without,
            alone,
            constant,
        })
    }

    /// The node itself, where all instances share it.
    pub(crate) fn shared(&self) -> Option<&'a Node> {
        (self.alone && self.constant).then_some(self.node)
    }

    /// The node as it is written, with all of its keys.
    pub(crate) fn written(&self) -> &'a Node {
        self.node
    }

    /// Whether it is the same in all instances.
    pub(crate) fn is_constant(&self) -> bool {
        self.constant
    }

    /// The node of one instance.
    pub(crate) fn fill(&self, parameters: &[String], values: &[NodeKind]) -> Node {
        let entries = self
            .node
            .entries()
            .iter()
            .filter(|(key, ..)| !self.without.contains(&key.as_str()));
        let entries = entries
            .map(|(key, span, value)| {
                (
                    key.clone(),
                    *span,
                    numbered::read(value, fill(value, parameters, values)),
                )
            })
            .collect();
        Node {
            span: self.node.span,
            kind: NodeKind::Map(entries),
        }
    }
}

fn check(node: &Node, parameters: &[String], constant: &mut bool, problems: &mut Problems) -> bool {
    match &node.kind {
        NodeKind::Text(text) if text.contains(['{', '}']) => {
            *constant = false;
            Template::parse(text, node.span, parameters, problems).is_some()
        }
        // All are looked at, also after the first that is wrong.
        NodeKind::List(items) => {
            let wrong = items
                .iter()
                .filter(|item| !check(item, parameters, constant, problems))
                .count();
            wrong == 0
        }
        NodeKind::Map(entries) => {
            let wrong = entries
                .iter()
                .filter(|(_, _, value)| !check(value, parameters, constant, problems))
                .count();
            wrong == 0
        }
        _ => true,
    }
}

pub(crate) fn fill(node: &Node, parameters: &[String], values: &[NodeKind]) -> Node {
    let kind = match &node.kind {
        NodeKind::Text(text) if text.contains(['{', '}']) => {
            // The placeholders were checked when the mapping was read.
            match Template::parse(text, node.span, parameters, &mut Problems::default()) {
                Some(template) => template.fill_value(values),
                None => node.kind.clone(),
            }
        }
        NodeKind::List(items) => {
            NodeKind::List(items.iter().map(|item| fill(item, parameters, values)).collect())
        }
        NodeKind::Map(entries) => NodeKind::Map(
            entries
                .iter()
                .map(|(key, span, value)| (key.clone(), *span, fill(value, parameters, values)))
                .collect(),
        ),
        kind => kind.clone(),
    };
    Node {
        span: node.span,
        kind,
    }
}

fn shown(value: &NodeKind) -> String {
    match value {
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Int(value) => value.to_string(),
        NodeKind::Float(value) => value.to_string(),
        NodeKind::Text(text) => text.clone(),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => String::new(),
    }
}

impl Instances {
    /// Reads `for_each`. The instances have no names yet: [`Instances::name`] gives them, once it is known that they are not too many.
    pub(crate) fn read(for_each: Option<&Node>, fallback: Span, problems: &mut Problems) -> Self {
        let mut instances = Self {
            parameters: Vec::new(),
            list: Vec::new(),
        };
        let Some(node) = for_each else {
            instances.list.push(Instance {
                name: String::new(),
                values: Vec::new(),
                span: fallback,
            });
            return instances;
        };
        let elements = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Map(_) => std::slice::from_ref(node),
            _ => {
                problems
                    .error(
                        node.span,
                        format!("`for_each`: expected instances, found {}", node.describe()),
                    )
                    .hint("such as `[{line: 1}, {line: 2}]` or `{line: 1..40}`");
                return instances;
            }
        };
        if elements.is_empty() {
            problems
                .warning(node.span, "`for_each` is empty: the mapping does nothing")
                .hint("add instances, such as `{line: 1..40}`");
        }
        for element in elements {
            instances.add(element, problems);
        }
        range::check_dashes(&instances.parameters, elements, problems);
        instances
    }

    /// Adds every combination of the values of one element.
    fn add(&mut self, element: &Node, problems: &mut Problems) {
        if element.entries().is_empty() {
            problems
                .error(
                    element.span,
                    format!("instance: expected parameters, found {}", element.describe()),
                )
                .hint("such as `{line: 1}`");
            return;
        }
        if self.parameters.is_empty() {
            self.parameters = element.entries().iter().map(|(name, ..)| name.clone()).collect();
        }
        for (name, span, _) in element.entries() {
            if !self.parameters.contains(name) {
                let problem = problems.error(
                    *span,
                    format!("parameter `{name}` is not one of the first instance"),
                );
                problem.hint(format!(
                    "all instances have the same parameters: {}",
                    self.parameters.join(", ")
                ));
            }
        }
        let mut sets: Vec<Vec<NodeKind>> = Vec::with_capacity(self.parameters.len());
        let mut count = 1_usize;
        for name in &self.parameters {
            let Some(value) = element.get(name) else {
                problems
                    .error(element.span, format!("the instance lacks the parameter `{name}`"))
                    .hint(format!("add `{name}: …`; all instances have the same parameters"));
                return;
            };
            let Some(values) = values_of(name, value, problems) else {
                return;
            };
            count = count.saturating_mul(values.len());
            if count.saturating_add(self.list.len()) > MOST_INSTANCES {
                problems
                    .error(value.span, format!("more than {MOST_INSTANCES} instances"))
                    .hint("divide them among several mappings");
                return;
            }
            sets.push(values);
        }
        // Each value stands in as many instances as the others have combinations.
        let size: usize = sets
            .iter()
            .map(|values| {
                values
                    .iter()
                    .map(weight_of)
                    .sum::<usize>()
                    .saturating_mul(count / values.len())
            })
            .fold(0, usize::saturating_add);
        if size > MOST_BYTES {
            problems
                .error(
                    element.span,
                    format!("the parameters of {count} instances are too large"),
                )
                .hint(
                    "remove parameters, shorten their values, or divide the instances among several mappings",
                );
            return;
        }
        let mut combinations: Vec<Vec<NodeKind>> = vec![Vec::with_capacity(sets.len())];
        for values in &sets {
            combinations = combinations
                .into_iter()
                .flat_map(|combination| {
                    values.iter().map(move |value| {
                        let mut longer = combination.clone();
                        longer.push(value.clone());
                        longer
                    })
                })
                .collect();
        }
        let span = element.span;
        self.list.extend(combinations.into_iter().map(|values| Instance {
            name: String::new(),
            values,
            span,
        }));
    }

    /// Names the instances; `naming` is the mapping's `instance`. Where there are no parameters there is one instance without a name.
    pub(crate) fn name(&mut self, naming: Option<&Spanned<String>>, problems: &mut Problems) {
        if self.parameters.is_empty() {
            return;
        }
        let template = match naming {
            Some(text) => {
                let Some(template) = Template::parse(text, text.span, &self.parameters, problems) else {
                    return;
                };
                template
            }
            None => Template {
                parts: vec![Part::Parameter(0)],
            },
        };
        let mut seen = HashSet::new();
        let parameters = &self.parameters;
        // An instance that is there twice is left out, so that its rules are not reported as well.
        self.list.retain_mut(|instance| {
            instance.name = template.fill(&instance.values).replace('/', "-");
            let new = seen.insert(instance.name.clone());
            if !new {
                let all: Vec<_> = parameters.iter().map(|name| format!("{{{name}}}")).collect();
                problems
                    .error(
                        instance.span,
                        format!("two instances are named `{}`", instance.name),
                    )
                    .hint(format!(
                        "remove one, or name them by more: `instance: \"{}\"`",
                        all.join("-")
                    ));
            }
            new
        });
    }
}

/// About how many bytes an instance keeps of a value.
fn weight_of(value: &NodeKind) -> usize {
    let text = match value {
        NodeKind::Text(text) => text.len(),
        _ => 0,
    };
    std::mem::size_of::<NodeKind>() + text
}
