//! Expressions for guards and computed fields, in CEL (the Common Expression Language).
//!
//! Their cost is bounded when they are compiled: length, nesting, no comprehensions (`map`, `filter`, `all`,
//! `exists`), no regular expressions. What is left walks a tree of known size once.

use std::cell::RefCell;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, ValueType};
use cel::{Context, Program};
use floorgate_sample::Value;

use crate::plan::Slot;

/// Longest expression in characters.
pub const MAX_LENGTH: usize = 1000;
/// Deepest nesting of brackets and of the tree.
pub const MAX_DEPTH: usize = 32;
/// What is neither longer nor nested deeper takes little stack: nearly all that people write.
const SMALL: (usize, usize) = (200, 4);
/// The stack that compiling takes at most, in bytes. Without optimisation the parser takes a hundred kilobytes for a level.
pub const STACK: usize = 16 * 1024 * 1024;

/// What can be called, `size(order)`, all with one argument.
pub const FUNCTIONS: &[&str] = &[
    "bool", "bytes", "double", "dyn", "int", "size", "string", "type", "uint",
];
/// What can be called of a value, `order.startsWith('A')`, and with how many arguments.
pub const METHODS: &[(&str, usize)] = &[("contains", 1), ("endsWith", 1), ("size", 0), ("startsWith", 1)];

/// A compiled expression over the tags of a rule. Clones share what was compiled.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    pub(crate) program: Arc<Program>,
    pub(crate) variables: Arc<[(String, Slot)]>,
}

/// Expressions are the same when they are written in the same way and read the same inputs.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.variables == other.variables
    }
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExpressionError {
    /// It is longer than [`MAX_LENGTH`].
    #[error("expression has {0} characters, more than {MAX_LENGTH}")]
    TooLong(usize),
    /// It is nested deeper than [`MAX_DEPTH`].
    #[error("expression is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// It is no CEL.
    #[error("expression is not valid: {0}")]
    Syntax(String),
    /// It uses a part of CEL whose cost has no bound.
    #[error("expression uses {0}, which is not allowed here")]
    Forbidden(&'static str),
    /// It names something that is no tag of the mapping.
    #[error("expression names {0:?}, which is no tag of this mapping")]
    UnknownTag(String),
    /// It calls a function that is neither in [`FUNCTIONS`] nor, of a value, in [`METHODS`].
    #[error("expression calls {0:?}, and there is no such function")]
    UnknownFunction(String),
    /// It gives a function too many or too few arguments.
    #[error("expression gives {function:?} {given} arguments, and it takes {takes}")]
    Arguments {
        /// The function.
        function: String,
        /// How many it takes.
        takes: usize,
        /// How many it was given.
        given: usize,
    },
    /// It could not be evaluated on the values of this moment.
    #[error("expression {text:?} failed: {reason}")]
    Failed {
        /// The expression.
        text: Arc<str>,
        /// Why, in the evaluator's words.
        reason: String,
    },
}

thread_local! {
    // Building the context with CEL's functions costs thirty times an evaluation, so that each thread has one.
    static ROOT: RefCell<Context<'static, 'static>> = RefCell::new(Context::default());
}

impl Expression {
    /// Compiles an expression; `resolve` gives the slot of a tag by its name in the mapping. Where [`Expression::needs_stack`] says so,
    /// it takes up to [`STACK`] bytes of stack.
    pub fn compile(
        text: &str,
        mut resolve: impl FnMut(&str) -> Option<Slot>,
    ) -> Result<Self, ExpressionError> {
        let length = text.chars().count();
        if length > MAX_LENGTH {
            return Err(ExpressionError::TooLong(length));
        }
        // The parser recurses, so that nesting is bounded before it runs.
        if depth_of(text) > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let program = parse(text)?;
        check(program.expression(), 0)?;
        let references = program.references();
        let mut names: Vec<String> = references.variables().into_iter().map(str::to_owned).collect();
        drop(references);
        names.sort_unstable();
        let variables = names
            .into_iter()
            .map(|name| match resolve(&name) {
                Some(slot) => Ok((name, slot)),
                None => Err(ExpressionError::UnknownTag(name)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
            variables,
        })
    }

    /// Whether compiling may take more of the stack than a thread usually has: seldom, of what people write.
    #[must_use]
    pub fn needs_stack(text: &str) -> bool {
        text.len() > SMALL.0 || depth_of(text) > SMALL.1
    }

    /// It as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tags that it reads.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.variables.iter().map(|(_, slot)| *slot)
    }

    /// Evaluates the expression on the values that `lookup` gives.
    pub fn evaluate(
        &self,
        lookup: impl Fn(Slot) -> Option<Value>,
    ) -> Result<serde_json::Value, ExpressionError> {
        ROOT.with_borrow(|root| {
            let mut scope = root.new_inner_scope();
            for (name, slot) in &*self.variables {
                scope.add_variable_from_value(name.as_str(), operand(lookup(*slot)));
            }
            let result = self
                .program
                .execute(&scope)
                .map_err(|error| ExpressionError::Failed {
                    text: Arc::clone(&self.text),
                    reason: error.to_string(),
                })?;
            json(&result).map_err(|kind| ExpressionError::Failed {
                text: Arc::clone(&self.text),
                reason: format!("it gives a {kind}, which has no form in JSON"),
            })
        })
    }
}

/// How deep a text may be nested. Counting signs and brackets alike overestimates, which is the safe side.
fn depth_of(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' | '?' | '!' | '-' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn parse(text: &str) -> Result<Program, ExpressionError> {
    Program::compile(text).map_err(|error| ExpressionError::Syntax(first_line(&error.to_string())))
}

/// Walks the tree once: bounds its depth and refuses what has no bounded cost.
fn check(node: &IdedExpr, depth: usize) -> Result<(), ExpressionError> {
    if depth > 4 * MAX_DEPTH {
        return Err(ExpressionError::TooDeep);
    }
    let deeper = |child: &IdedExpr| check(child, depth + 1);
    match &node.expr {
        Expr::Comprehension(_) => Err(ExpressionError::Forbidden(
            "a comprehension (map, filter, all, exists)",
        )),
        Expr::Struct(_) => Err(ExpressionError::Forbidden("a message constructor")),
        Expr::Call(call) => {
            check_call(&call.func_name, call.target.is_some(), call.args.len())?;
            call.target.iter().try_for_each(|target| deeper(target))?;
            call.args.iter().try_for_each(deeper)
        }
        Expr::List(list) => list.elements.iter().try_for_each(deeper),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => deeper(&entry.key).and_then(|()| deeper(&entry.value)),
            EntryExpr::StructField(_) => Err(ExpressionError::Forbidden("a message constructor")),
        }),
        Expr::Select(select) => deeper(&select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
    }
}

/// Refuses what no evaluation could call. Operators are calls too; their names, such as `_+_`, begin with no letter.
fn check_call(name: &str, of_a_value: bool, given: usize) -> Result<(), ExpressionError> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(());
    }
    let takes = if of_a_value {
        METHODS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, takes)| *takes)
    } else {
        FUNCTIONS.contains(&name).then_some(1)
    };
    match takes {
        None => Err(ExpressionError::UnknownFunction(name.to_owned())),
        Some(takes) if takes != given => Err(ExpressionError::Arguments {
            function: name.to_owned(),
            takes,
            given,
        }),
        Some(_) => Ok(()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// An unknown value is null. Every integer is CEL's `int`, so that counters of different widths can be added.
fn operand(value: Option<Value>) -> cel::Value {
    match value {
        None => cel::Value::Null,
        Some(Value::Bool(b)) => cel::Value::Bool(b),
        Some(Value::Int(i)) => cel::Value::Int(i),
        Some(Value::UInt(u)) => i64::try_from(u).map_or(cel::Value::UInt(u), cel::Value::Int),
        Some(Value::Float32(f)) => cel::Value::Float(f64::from(f)),
        Some(Value::Float64(f)) => cel::Value::Float(f),
        Some(Value::Text(text)) => cel::Value::String(Arc::new(text.to_string())),
        Some(Value::Bytes(bytes)) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
        Some(Value::Time(time)) => cel::Value::String(Arc::new(time.to_string())),
        Some(Value::List(items)) => cel::Value::List(Arc::new(
            items.iter().map(|item| operand(Some(item.clone()))).collect(),
        )),
        Some(Value::Record(parts)) => {
            let part = |(name, part): &(Arc<str>, Value)| {
                let name = Key::String(Arc::new(name.to_string()));
                (name, operand(Some(part.clone())))
            };
            cel::Value::Map(cel::objects::Map {
                map: Arc::new(parts.iter().map(part).collect()),
            })
        }
    }
}

/// A result as it stands in an event; the kind of one that JSON has no form for. Keys are in the order of their text.
fn json(value: &cel::Value) -> Result<serde_json::Value, ValueType> {
    use serde_json::Value as Json;
    let exact = |value: Value| serde_json::to_value(value).unwrap_or(Json::Null);
    Ok(match value {
        cel::Value::Null => Json::Null,
        cel::Value::Bool(b) => Json::Bool(*b),
        cel::Value::Int(i) => exact(Value::Int(*i)),
        cel::Value::UInt(u) => exact(Value::UInt(*u)),
        cel::Value::Float(f) => exact(Value::Float64(*f)),
        cel::Value::String(text) => Json::String(text.to_string()),
        cel::Value::Bytes(bytes) => exact(Value::Bytes(bytes.as_slice().into())),
        cel::Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let mut entries: Vec<_> = map
                .map
                .iter()
                .map(|(key, value)| (key_text(key), value))
                .collect();
            entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            let entries = entries.into_iter().map(|(key, value)| Ok((key, json(value)?)));
            Json::Object(entries.collect::<Result<_, _>>()?)
        }
        other => return Err(other.type_of()),
    })
}

fn key_text(key: &Key) -> String {
    match key {
        Key::Int(i) => i.to_string(),
        Key::Uint(u) => u.to_string(),
        Key::Bool(b) => b.to_string(),
        Key::String(text) => text.to_string(),
    }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
