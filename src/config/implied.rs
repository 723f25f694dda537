//! What follows from a comparison that holds for another one of the same tag, and what holds of the trigger whenever an event is made.

use floorgate_adapter_api::GivenKind;
use floorgate_core::inspect::{Comparison, Relation};
use floorgate_core::plan::{Condition, RuleSpec, Shape, Slot, TagSpec};
use floorgate_sample::Value;

/// Comparisons that hold, of each list one at least.
pub(crate) type Facts = Vec<Vec<Comparison>>;

/// Beyond this numbers are not told apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What holds of the trigger when the guard is looked at. Nothing is said where that is at another time than the edge.
pub(crate) fn by_trigger(spec: &RuleSpec, tag: &TagSpec, kind: Option<GivenKind>) -> Facts {
    let Shape::Edge(edge) = &spec.shape else {
        return Facts::new();
    };
    if edge.rising == edge.falling || !edge.hold.is_zero() || spec.snapshot.is_some() {
        return Facts::new();
    }
    let of = |relation, literal| Comparison {
        slot: Slot(0),
        relation,
        literal: Some(literal),
    };
    match (&edge.condition, edge.rising) {
        (Condition::Above { limit, .. }, true) => vec![vec![of(Relation::Greater, Value::Float64(*limit))]],
        (Condition::Below { limit, .. }, true) => vec![vec![of(Relation::Less, Value::Float64(*limit))]],
        (Condition::Is(names), rising) => {
            // Without a table a number is the text that it is written as.
            let is_word = |name: &str| !matches!(name, "true" | "false") && name.parse::<f64>().is_err();
            if tag.values.is_none() && !names.iter().all(|name| is_word(name)) {
                return Facts::new();
            }
            let values = names.iter().cloned().map(Value::text);
            if rising {
                vec![values.map(|value| of(Relation::Equal, value)).collect()]
            } else {
                values.map(|value| vec![of(Relation::NotEqual, value)]).collect()
            }
        }
        (Condition::True, true) if tag.values.is_none() => vec![
            vec![of(Relation::NotEqual, Value::Bool(false))],
            vec![of(Relation::NotEqual, Value::Int(0))],
        ],
        (Condition::True, false) if kind == Some(GivenKind::Bit) => {
            vec![vec![of(Relation::Equal, Value::Bool(false))]]
        }
        _ => Facts::new(),
    }
}

/// What a comparison is where all of these hold, if that follows from one of them. One that follows from itself may be false by another.
pub(crate) fn decide(facts: &Facts, comparison: &Comparison) -> Option<bool> {
    let decided = facts.iter().filter_map(|known| {
        let mut decided = known.iter().map(|known| follows(known, comparison));
        let first = decided.next()??;
        decided.all(|other| other == Some(first)).then_some(first)
    });
    decided.min()
}

/// What a comparison is where another holds.
fn follows(known: &Comparison, asked: &Comparison) -> Option<bool> {
    let (value, other) = (known.literal.as_ref()?, asked.literal.as_ref()?);
    if known.slot != asked.slot {
        return None;
    }
    if known.relation == Relation::NotEqual {
        // Of one value alone nothing follows for others.
        return (value == other)
            .then_some(asked.relation)
            .and_then(|relation| match relation {
                Relation::Equal => Some(false),
                Relation::NotEqual => Some(true),
                _ => None,
            });
    }
    if asked.relation == Relation::NotEqual {
        let equal = Comparison {
            relation: Relation::Equal,
            ..asked.clone()
        };
        return follows(known, &equal).map(|is| !is);
    }
    match (value, other) {
        (Value::Text(value), Value::Text(other)) => both_equal(known, asked).then_some(value == other),
        (Value::Bool(value), Value::Bool(other)) => both_equal(known, asked).then_some(value == other),
        _ => {
            let (known, asked) = (span(known.relation, value)?, span(asked.relation, other)?);
            if known.is_apart(&asked) {
                Some(false)
            } else {
                asked.holds(&known).then_some(true)
            }
        }
    }
}

fn both_equal(known: &Comparison, asked: &Comparison) -> bool {
    known.relation == Relation::Equal && asked.relation == Relation::Equal
}

/// Numbers from one to another; whether the ends are left out.
struct Numbers {
    least: (f64, bool),
    most: (f64, bool),
}

/// The numbers of which a comparison is true.
fn span(relation: Relation, literal: &Value) -> Option<Numbers> {
    let is_number = !matches!(literal, Value::Bool(_));
    let number = literal
        .as_f64()
        .filter(|number| is_number && number.abs() < EXACT)?;
    let (no_least, no_most) = ((f64::NEG_INFINITY, false), (f64::INFINITY, false));
    let (least, most) = match relation {
        Relation::Equal => ((number, false), (number, false)),
        Relation::Less => (no_least, (number, true)),
        Relation::AtMost => (no_least, (number, false)),
        Relation::Greater => ((number, true), no_most),
        Relation::AtLeast => ((number, false), no_most),
        Relation::NotEqual => return None,
    };
    Some(Numbers { least, most })
}

impl Numbers {
    /// Whether no number is in both.
    fn is_apart(&self, other: &Self) -> bool {
        let ends_before = |one: &Self, other: &Self| {
            one.most.0 < other.least.0 || one.most.0 <= other.least.0 && (one.most.1 || other.least.1)
        };
        ends_before(self, other) || ends_before(other, self)
    }

    /// Whether all numbers of the other are in it.
    fn holds(&self, other: &Self) -> bool {
        let begins =
            self.least.0 < other.least.0 || self.least.0 <= other.least.0 && (!self.least.1 || other.least.1);
        let ends =
            self.most.0 > other.most.0 || self.most.0 >= other.most.0 && (!self.most.1 || other.most.1);
        begins && ends
    }
}
