//! The fields of an event's data, and the tags that a rule reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use floorgate_core::expression::{Expression, ExpressionError, FUNCTIONS, METHODS, STACK};
use floorgate_core::plan::{COMMON_FIELDS, Field, Slot};
use floorgate_yaml::{Node, NodeKind, Problems, Span, closest};

use crate::form::RunForm;
use crate::literal;
use crate::tag::TagPlan;
use crate::template::{Template, fill};

/// What the parts of a rule refer to, while the rule is read.
pub(crate) struct Scope<'s> {
    pub tags: &'s [TagPlan<'s>],
    /// Places in `tags` by name.
    pub by_name: &'s HashMap<&'s str, usize>,
    pub parameters: &'s [String],
    /// The parameters' values in the instance that the rule is read for.
    pub values: &'s [NodeKind],
    /// What events say of the run that they belong to.
    pub run: Option<&'s RunForm>,
    /// Whether all parts of the mapping are there: else what is named and not here may be in one that is missing.
    pub whole: bool,
    /// The tags that the rule reads, by slot.
    pub inputs: Vec<usize>,
    /// Whether anything in the rule differs between instances.
    pub differs: bool,
}

impl Scope<'_> {
    pub(crate) fn slot_of(&mut self, tag: usize) -> Slot {
        let place = self
            .inputs
            .iter()
            .position(|input| *input == tag)
            .unwrap_or_else(|| {
                self.inputs.push(tag);
                self.inputs.len() - 1
            });
        Slot(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// The slot of a tag by name; an unknown one is a problem of `role`.
    pub(crate) fn tag(
        &mut self,
        role: &str,
        name: &str,
        span: Span,
        problems: &mut Problems,
    ) -> Option<Slot> {
        if let Some(&tag) = self.by_name.get(name) {
            return Some(self.slot_of(tag));
        }
        self.no_tag(role, name, span, problems);
        None
    }

    fn no_tag(&self, role: &str, name: &str, span: Span, problems: &mut Problems) {
        if !self.whole {
            return;
        }
        let similar = self.similar(name, problems);
        let problem = problems.error(
            span,
            format!("`{role}`: there is no tag `{name}` in this mapping"),
        );
        let names = || {
            self.tags
                .iter()
                .map(|tag| tag.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match (similar, self.tags.len()) {
            (Some(similar), _) => problem.hint(format!("did you mean `{similar}`?")),
            (None, ..=20) => problem.hint(format!("tags here: {}", names())),
            (None, count) => problem.hint(format!("this mapping has {count} tags, none with such a name")),
        };
    }

    /// The tag that sets a counter back, where its tag names one; `Err` where there is no such tag. It follows the trigger among the
    /// rule's inputs.
    pub(crate) fn reset_of(&mut self, counter: &str) -> Result<Option<Slot>, ()> {
        let place = self.by_name.get(counter).copied();
        let Some(tag) = place
            .map(|place| &self.tags[place])
            .filter(|tag| tag.reset.is_some())
        else {
            return Ok(None);
        };
        tag.resetter.map(|reset| Some(self.slot_of(reset))).ok_or(())
    }

    /// The tag that was probably meant.
    fn similar(&self, name: &str, problems: &mut Problems) -> Option<&str> {
        if !problems.may_suggest(self.tags.len()) {
            return None;
        }
        closest(name, self.tags.iter().map(|tag| tag.name))
    }

    /// Compiles an expression, on a stack that holds it.
    fn compile(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let mut compile = || {
            Expression::compile(text, |name| {
                self.by_name.get(name).copied().map(|tag| self.slot_of(tag))
            })
        };
        if !Expression::needs_stack(text) {
            return compile();
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let compiled = thread.spawn_scoped(scope, compile).ok();
            let compiled = compiled.and_then(|thread| thread.join().ok());
            compiled.unwrap_or(Err(ExpressionError::TooDeep))
        })
    }

    /// Compiles an expression over tags.
    pub(crate) fn expression(
        &mut self,
        role: &str,
        text: &str,
        span: Span,
        problems: &mut Problems,
    ) -> Option<Expression> {
        let compiled = self.compile(text);
        match compiled {
            Ok(expression) => literal::check_expression(role, &expression, span, self.parameters, problems)
                .then_some(expression),
            Err(ExpressionError::UnknownTag(name)) => {
                self.no_tag(role, &name, span, problems);
                None
            }
            Err(ExpressionError::UnknownFunction(name)) => {
                function_problem(role, &name, span, problems);
                None
            }
            Err(ExpressionError::Syntax(told)) => {
                syntax_problem(role, text, &told, span, problems);
                None
            }
            Err(error) => {
                problems
                    .error(span, format!("`{role}`: {error}"))
                    .hint("expressions are for plain conditions and sums over the mapping's tags");
                None
            }
        }
    }

    /// The fields of `data`; what is wrong is left out and reported.
    pub(crate) fn data(&mut self, node: &Node, problems: &mut Problems) -> Vec<(Arc<str>, Field)> {
        for (name, span, _) in node.entries() {
            if COMMON_FIELDS.contains(&name.as_str()) {
                problems
                    .error(
                        *span,
                        format!("`{name}` is in every event's data, and the gateway's own"),
                    )
                    .hint("give the field another name");
            }
        }
        self.fields(node, problems)
    }

    fn fields(&mut self, node: &Node, problems: &mut Problems) -> Vec<(Arc<str>, Field)> {
        node.entries()
            .iter()
            .filter_map(|(name, _, value)| Some((name.as_str().into(), self.field(name, value, problems)?)))
            .collect()
    }

    fn field(&mut self, name: &str, node: &Node, problems: &mut Problems) -> Option<Field> {
        match &node.kind {
            NodeKind::Text(text) => match text.strip_prefix('=') {
                Some(expression) => self
                    .expression(name, expression.trim(), node.span, problems)
                    .map(Field::Computed),
                None => self.reference(name, text, node.span, problems),
            },
            NodeKind::Map(entries) => match entries.as_slice() {
                [(key, _, value)] if key == "constant" => {
                    self.check_constant(value, problems)?;
                    Some(Field::Constant(
                        (&fill(value, self.parameters, self.values)).into(),
                    ))
                }
                _ => Some(Field::Object(self.fields(node, problems))),
            },
            NodeKind::List(_) => {
                problems
                    .error(node.span, format!("`{name}`: a list is no field"))
                    .hint("write `{constant: […]}` for a fixed list, or `= [a, b]` for one of tags");
                None
            }
            _ => Some(Field::Constant(node.into())),
        }
    }

    fn reference(&mut self, name: &str, text: &str, span: Span, problems: &mut Problems) -> Option<Field> {
        if let Some(&tag) = self.by_name.get(text) {
            return Some(Field::Input(self.slot_of(tag)));
        }
        if !self.whole {
            return None;
        }
        let similar = self.similar(text, problems);
        let problem = problems.error(
            span,
            format!("`{name}`: there is no tag `{text}` in this mapping"),
        );
        match similar {
            Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
            None => problem.hint(format!(
                "fixed text is written `{{constant: {}}}`, an expression `= …`",
                quoted(text)
            )),
        };
        None
    }

    fn check_constant(&mut self, node: &Node, problems: &mut Problems) -> Option<()> {
        match &node.kind {
            NodeKind::Text(text) => {
                let template = Template::parse(text, node.span, self.parameters, problems)?;
                self.differs |= !template.is_constant();
                Some(())
            }
            NodeKind::List(items) => items
                .iter()
                .try_for_each(|item| self.check_constant(item, problems)),
            NodeKind::Map(entries) => entries
                .iter()
                .try_for_each(|(_, _, value)| self.check_constant(value, problems)),
            _ => Some(()),
        }
    }
}

/// Text as YAML has it as a value in `{…}`: in quotes, unless it is plain words.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.');
    let means_other = matches!(text, "true" | "false" | "null");
    if text.starts_with(char::is_alphabetic) && text.chars().all(is_word) && !means_other {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text:?}"))
    }
}

/// The fields of another instance than the one that they were read for: its constants are its own.
pub(crate) fn refill(
    fields: &[(Arc<str>, Field)],
    node: &Node,
    parameters: &[String],
    values: &[NodeKind],
) -> Vec<(Arc<str>, Field)> {
    let refilled = fields.iter().map(|(name, field)| {
        // What the event has by itself is in no instance another.
        let field = match (field, node.get(name)) {
            (Field::Constant(_), Some(node)) => match node.entries() {
                [(_, _, value)] => Field::Constant((&fill(value, parameters, values)).into()),
                _ => field.clone(),
            },
            (Field::Object(fields), Some(node)) => Field::Object(refill(fields, node, parameters, values)),
            (field, _) => field.clone(),
        };
        (Arc::clone(name), field)
    });
    refilled.collect()
}

fn function_problem(role: &str, name: &str, span: Span, problems: &mut Problems) {
    let methods = METHODS.iter().map(|(method, _)| *method);
    // What `type` gives can be compared with nothing that is written: the types have no names here.
    let functions = FUNCTIONS.iter().copied().filter(|name| *name != "type");
    let problem = problems.error(span, format!("`{role}`: there is no function `{name}`"));
    if let Some((other, right)) = other_operator(name) {
        problem.hint(format!("`{other}` is written `{right}` here"));
    } else if methods.clone().any(|method| method == name) {
        problem.hint(format!("it is called of a value: `order.{name}(…)`"));
    } else if FUNCTIONS.contains(&name) {
        problem.hint(format!("the value stands in the brackets: `{name}(order)`"));
    } else if let Some(similar) = closest(name, methods.clone().chain(functions.clone())) {
        problem.hint(format!("did you mean `{similar}`?"));
    } else {
        let functions: Vec<_> = functions.collect();
        let methods: Vec<_> = methods.map(|method| format!("order.{method}(…)")).collect();
        problem.hint(format!(
            "there are {} and {}",
            functions.join(", "),
            methods.join(", ")
        ));
    }
}

/// The parser of expressions lists every word that could follow; what it stumbled over says more.
fn syntax_problem(role: &str, expression: &str, told: &str, span: Span, problems: &mut Problems) {
    let column = told
        .split(':')
        .nth(3)
        .and_then(|column| column.trim().parse::<usize>().ok());
    let text = told.rsplit_once("Syntax error: ").map_or(told, |(_, text)| text);
    let text = if text.contains("Incomplete") {
        "something is missing".to_owned()
    } else {
        text.split(" expecting ")
            .next()
            .unwrap_or(text)
            .replace("mismatched input", "unexpected")
            .replace("extraneous input", "unexpected")
            .replace("token recognition error at:", "unexpected")
            .replace("'<EOF>'", "end")
    };
    let problem = problems.error(span, format!("`{role}`: the expression is not valid: {text}"));
    match (other_operator(expression), column) {
        (Some((found, right)), _) => problem.hint(format!("`{found}` is written `{right}` here")),
        (None, Some(column)) => problem.hint(format!("look at character {column} of the expression")),
        (None, None) => problem.hint("such as `good > 0 && state == 6`"),
    };
}

/// Operators as other languages write them, those of IEC 61131-3 first, and as expressions have them.
const OTHER_OPERATORS: &[(&str, &str)] = &[
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("mod", "%"),
    ("<>", "!="),
    (":=", "=="),
    ("=", "=="),
    ("=<", "<="),
    ("=>", ">="),
];

/// The first operator of another language, outside of texts.
fn other_operator(expression: &str) -> Option<(String, &'static str)> {
    let mut quote = None;
    let code = expression.chars().map(|letter| {
        let was = quote;
        quote = match quote {
            None => Some(letter).filter(|letter| matches!(letter, '\'' | '"')),
            Some(open) => Some(open).filter(|open| *open != letter),
        };
        if was.or(quote).is_some() { ' ' } else { letter }
    });
    let letters: Vec<char> = code.collect();
    let kind = |letter: char| match letter {
        letter if letter.is_alphanumeric() || letter == '_' => 1,
        '<' | '>' | '=' | '!' | ':' | '&' | '|' => 2,
        _ => 0,
    };
    let mut tokens = letters.chunk_by(|left, right| kind(*left) == kind(*right));
    tokens.find_map(|token| {
        let token: String = token.iter().collect();
        let known = OTHER_OPERATORS
            .iter()
            .find(|(other, _)| token.eq_ignore_ascii_case(other));
        known.map(|(_, right)| (token, *right))
    })
}
