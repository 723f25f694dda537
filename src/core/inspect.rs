//! What follows from how an expression is written, before any value is known.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use floorgate_sample::Value;

use crate::expression::{Expression, ExpressionError};
use crate::plan::Slot;

/// A tag and a value that an expression compares it with.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The tag.
    pub slot: Slot,
    /// How they are compared.
    pub relation: Relation,
    /// The value as it is written; `None` for null.
    pub literal: Option<Value>,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `==`, or one of a list (`in`).
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`, of the tag: `5 > good` too.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    Greater,
    /// `>=`.
    AtLeast,
}

impl Relation {
    /// The relation of a call, where it is one; `swapped` where the tag stands on the right.
    fn of(call: &CallExpr, swapped: bool) -> Option<Self> {
        Some(match call.func_name.as_str() {
            operators::EQUALS | operators::IN => Self::Equal,
            operators::NOT_EQUALS => Self::NotEqual,
            operators::LESS if swapped => Self::Greater,
            operators::LESS_EQUALS if swapped => Self::AtLeast,
            operators::GREATER if swapped => Self::Less,
            operators::GREATER_EQUALS if swapped => Self::AtMost,
            operators::LESS => Self::Less,
            operators::LESS_EQUALS => Self::AtMost,
            operators::GREATER => Self::Greater,
            operators::GREATER_EQUALS => Self::AtLeast,
            _ => return None,
        })
    }
}

/// What kind of a value an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// Text.
    Text,
}

/// A part of an expression that is neither true nor false, where it has to be one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCondition {
    /// What it is.
    pub kind: ValueKind,
    /// The tag that it is, where it is one alone.
    pub tag: Option<Slot>,
}

impl Expression {
    /// What the expression gives where it reads no tag: always the same.
    #[must_use]
    pub fn constant(&self) -> Option<Result<serde_json::Value, ExpressionError>> {
        self.variables.is_empty().then(|| self.evaluate(|_| None))
    }

    /// All comparisons of a tag with a value that is written beside it, from left to right.
    #[must_use]
    pub fn comparisons(&self) -> Vec<Comparison> {
        let mut found = Vec::new();
        let mut left = vec![self.program.expression()];
        while let Some(node) = left.pop() {
            if let Expr::Call(call) = &node.expr {
                found.extend(self.compared(call));
            }
            left.extend(children(node).into_iter().rev());
        }
        found
    }

    /// All texts that are written in it, from left to right.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let mut left = vec![self.program.expression()];
        std::iter::from_fn(move || {
            while let Some(node) = left.pop() {
                if let Some(text) = text_of(node) {
                    return Some(text);
                }
                left.extend(children(node).into_iter().rev());
            }
            None
        })
    }

    /// The keys, as far as they are written, of the objects that it gives; or, where it gives lists (`in_list`), of those in them.
    #[must_use]
    pub fn object_keys(&self, in_list: bool) -> Vec<&str> {
        let mut found = Vec::new();
        let mut left = vec![(self.program.expression(), in_list)];
        while let Some((node, in_list)) = left.pop() {
            match &node.expr {
                Expr::Call(call) => {
                    let given = match call.func_name.as_str() {
                        operators::CONDITIONAL => call.args.get(1..).unwrap_or_default(),
                        operators::ADD => call.args.as_slice(),
                        _ => &[],
                    };
                    left.extend(given.iter().rev().map(|part| (part, in_list)));
                }
                Expr::List(list) if in_list => {
                    left.extend(list.elements.iter().rev().map(|item| (item, false)));
                }
                Expr::Map(map) if !in_list => {
                    found.extend(map.entries.iter().filter_map(|entry| match &entry.expr {
                        EntryExpr::MapEntry(entry) => text_of(&entry.key),
                        EntryExpr::StructField(_) => None,
                    }));
                }
                _ => {}
            }
        }
        found
    }

    /// The comparisons of which all have to be true for the whole to be.
    #[must_use]
    pub fn conditions(&self) -> Vec<Comparison> {
        let mut found = Vec::new();
        let mut left = vec![self.program.expression()];
        while let Some(node) = left.pop() {
            match &node.expr {
                Expr::Call(call) if call.func_name == operators::LOGICAL_AND => left.extend(&call.args),
                Expr::Call(call) if call.func_name != operators::IN => found.extend(self.compared(call)),
                _ => {}
            }
        }
        found
    }

    /// What the expression always is, as far as that follows from what is written in it and from `known`, which says
    /// what a comparison always is. A tag alone is told as one that is not false. An expression that fails is neither.
    pub fn decide(&self, known: impl Fn(&Comparison) -> Option<bool>) -> Option<bool> {
        self.decide_node(self.program.expression(), &known)
    }

    fn decide_node(&self, node: &IdedExpr, known: &impl Fn(&Comparison) -> Option<bool>) -> Option<bool> {
        let call = match &node.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => return Some(*value.inner()),
            Expr::Ident(_) => {
                return known(&Comparison {
                    slot: self.slot(node)?,
                    relation: Relation::NotEqual,
                    literal: Some(Value::Bool(false)),
                });
            }
            Expr::Call(call) => call,
            _ => return None,
        };
        let of = |node| self.decide_node(node, known);
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [of_what]) => of(of_what).map(|is| !is),
            (operators::LOGICAL_AND, parts) => all(parts.iter().map(of), false),
            (operators::LOGICAL_OR, parts) => all(parts.iter().map(of), true),
            (operators::CONDITIONAL, [condition, then, otherwise]) => match of(condition) {
                Some(true) => of(then),
                Some(false) => of(otherwise),
                None => of(then).filter(|then| Some(*then) == of(otherwise)),
            },
            (operators::IN, [_, list]) => {
                let compared = self.compared(call);
                let listed = match &list.expr {
                    Expr::List(list) => list.elements.len(),
                    _ => return None,
                };
                // What is in the list beside values that are written may be anything.
                let others = (compared.len() < listed).then_some(None);
                all(compared.iter().map(known).chain(others), true)
            }
            _ => match self.compared(call).as_slice() {
                [comparison] => known(comparison),
                _ => None,
            },
        }
    }

    /// The first part, from left to right, that is neither true nor false where it has to be: beside `&&`, `||` or `!`, before `?`, and, of
    /// a `guard`, the whole. `of_tag` gives the kind of a tag's values, where that is known.
    pub fn no_condition(
        &self,
        guard: bool,
        of_tag: impl Fn(Slot) -> Option<ValueKind>,
    ) -> Option<NoCondition> {
        let mut left = vec![(self.program.expression(), guard)];
        while let Some((node, is_condition)) = left.pop() {
            if is_condition
                && let Some(kind) = self.kind_of(node, &of_tag)
                && kind != ValueKind::Bool
            {
                let tag = self.slot(node);
                return Some(NoCondition { kind, tag });
            }
            let conditions = match &node.expr {
                Expr::Call(call) => match call.func_name.as_str() {
                    operators::LOGICAL_NOT | operators::LOGICAL_AND | operators::LOGICAL_OR => usize::MAX,
                    operators::CONDITIONAL => 1,
                    _ => 0,
                },
                _ => 0,
            };
            let parts = children(node).into_iter().enumerate();
            left.extend(parts.map(|(place, part)| (part, place < conditions)).rev());
        }
        None
    }

    /// What kind of a value it gives where no tag is unknown, as far as that follows from how it is written. `of_tag` gives the kind of a
    /// tag's values, where that is known.
    pub fn kind(&self, of_tag: impl Fn(Slot) -> Option<ValueKind>) -> Option<ValueKind> {
        self.kind_of(self.program.expression(), &of_tag)
    }

    fn kind_of(&self, node: &IdedExpr, of_tag: &impl Fn(Slot) -> Option<ValueKind>) -> Option<ValueKind> {
        let call = match &node.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => return Some(ValueKind::Bool),
            Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => {
                return Some(ValueKind::Number);
            }
            Expr::Literal(LiteralValue::String(_)) => return Some(ValueKind::Text),
            Expr::Ident(_) => return of_tag(self.slot(node)?),
            Expr::Call(call) => call,
            _ => return None,
        };
        let of = |part: &IdedExpr| self.kind_of(part, of_tag);
        match (call.func_name.as_str(), call.args.as_slice()) {
            // Of texts it is their sum, and what is not known may be text.
            (operators::ADD, [one, other]) => of(one).or_else(|| of(other)),
            (operators::CONDITIONAL, [_, then, otherwise]) => {
                of(then).filter(|then| Some(*then) == of(otherwise))
            }
            (
                operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE
                | "size"
                | "int"
                | "uint"
                | "double",
                _,
            ) => Some(ValueKind::Number),
            ("string", _) => Some(ValueKind::Text),
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
                | operators::LOGICAL_NOT
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | "bool"
                | "contains"
                | "startsWith"
                | "endsWith",
                _,
            ) => Some(ValueKind::Bool),
            _ => None,
        }
    }

    /// The comparisons that a call is.
    fn compared(&self, call: &CallExpr) -> Vec<Comparison> {
        let [left, right] = call.args.as_slice() else {
            return Vec::new();
        };
        let (tag, values) = match (self.slot(left), &right.expr) {
            (Some(tag), Expr::List(list)) if call.func_name == operators::IN => {
                (tag, list.elements.as_slice())
            }
            _ if call.func_name == operators::IN => return Vec::new(),
            (Some(tag), _) => (tag, std::slice::from_ref(right)),
            (None, _) => match self.slot(right) {
                Some(tag) => (tag, std::slice::from_ref(left)),
                None => return Vec::new(),
            },
        };
        let Some(relation) = Relation::of(call, self.slot(left).is_none()) else {
            return Vec::new();
        };
        let literals = values.iter().filter_map(|node| match &node.expr {
            Expr::Literal(literal) => Some(value_of(literal)),
            _ => None,
        });
        literals
            .map(|literal| Comparison {
                slot: tag,
                relation,
                literal,
            })
            .collect()
    }

    /// The tag that a node names.
    fn slot(&self, node: &IdedExpr) -> Option<Slot> {
        let Expr::Ident(name) = &node.expr else {
            return None;
        };
        let found = self.variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, slot)| *slot)
    }
}

/// Of parts that decide the whole where one of them is `decisive`.
fn all(parts: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut is_sure = true;
    for part in parts {
        match part {
            Some(part) if part == decisive => return Some(decisive),
            Some(_) => {}
            None => is_sure = false,
        }
    }
    is_sure.then_some(!decisive)
}

/// The text that a node is, where it is written.
fn text_of(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// A written value; `None` for null.
fn value_of(literal: &LiteralValue) -> Option<Value> {
    Some(match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.inner().into()),
        LiteralValue::Double(value) => Value::Float64(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::UInt(value) => Value::UInt(*value.inner()),
        LiteralValue::String(text) => Value::text(text.inner()),
        LiteralValue::Null => return None,
    })
}

/// The parts of a node, from left to right. Those of what is refused when an expression is compiled are left out.
fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                EntryExpr::StructField(_) => None,
            })
            .flatten()
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        _ => Vec::new(),
    }
}
