use super::*;
use crate::inspect::{Comparison, NoCondition, Relation, ValueKind};

fn compile(text: &str) -> Result<Expression, ExpressionError> {
    let compile = || {
        Expression::compile(text, |name| match name {
            "good" => Some(Slot(0)),
            "state" => Some(Slot(1)),
            _ => None,
        })
    };
    if !Expression::needs_stack(text) {
        return compile();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, compile).unwrap().join().unwrap()
    })
}

fn evaluate(text: &str) -> serde_json::Value {
    compile(text)
        .and_then(|expression| {
            expression.evaluate(|slot| match slot {
                Slot(0) => Some(Value::UInt(7)),
                Slot(1) => Some(Value::text("Execute")),
                Slot(_) => None,
            })
        })
        .unwrap_or_else(|error| serde_json::Value::String(error.to_string()))
}

#[test]
fn tags_are_variables() {
    assert_eq!(evaluate("good * 2 + 1"), 15);
    assert_eq!(evaluate("state == 'Execute' && good > 5"), true);
    assert_eq!(evaluate("good > 5 ? 'many' : 'few'"), "many");
}

#[test]
fn what_is_unknown_or_unbounded_is_refused_when_compiled() {
    assert_eq!(
        compile("gud > 1").err(),
        Some(ExpressionError::UnknownTag("gud".into()))
    );
    assert!(matches!(
        compile("[1,2].map(x, x)").err(),
        Some(ExpressionError::Forbidden(_))
    ));
    assert!(matches!(
        compile("good >").err(),
        Some(ExpressionError::Syntax(_))
    ));
    assert_eq!(
        compile(&"(".repeat(10_000)).err(),
        Some(ExpressionError::TooLong(10_000))
    );
    assert_eq!(compile(&"(".repeat(40)).err(), Some(ExpressionError::TooDeep));
}

#[test]
fn every_function_that_is_named_is_there_and_others_are_refused() {
    for name in FUNCTIONS {
        let argument = if *name == "bool" { "'true'" } else { "'1'" };
        let text = format!("[1].size() == 1 && type({name}({argument})) != type(null)");
        assert_eq!(evaluate(&text), true, "{name}");
    }
    for (name, takes) in METHODS {
        let argument = if *takes == 0 { "" } else { "'E'" };
        let value = evaluate(&format!("state.{name}({argument})"));
        assert!(value.is_boolean() || value == 7, "{name}: {value}");
    }
    for (text, name) in [
        ("startsWith(state, 'E')", "startsWith"),
        ("state.startWith('E')", "startWith"),
        ("good > 1 || [matches(state, 'E')] == []", "matches"),
    ] {
        let refused = ExpressionError::UnknownFunction(name.into());
        assert_eq!(compile(text).err(), Some(refused), "{text}");
    }
    assert!(matches!(
        compile("size(state, 1)").err(),
        Some(ExpressionError::Arguments {
            takes: 1,
            given: 2,
            ..
        })
    ));
}

#[test]
fn a_result_has_the_form_that_events_have() {
    assert_eq!(
        evaluate("{'b': [good, null], 'a': {1: b'\\xff'}}").to_string(),
        r#"{"a":{"1":"ff"},"b":[7,null]}"#
    );
}

#[test]
fn a_failed_evaluation_is_an_error_and_no_panic() {
    let division = compile("good / 0").map(|e| e.evaluate(|_| Some(Value::Int(1))));
    assert!(matches!(division, Ok(Err(ExpressionError::Failed { .. }))));
}

#[test]
fn comparisons_of_tags_with_values_are_found() {
    let found = |text: &str| {
        compile(text)
            .map(|expression| expression.comparisons())
            .expect(text)
    };
    let of = |slot, relation, literal| Comparison {
        slot: Slot(slot),
        relation,
        literal,
    };
    assert_eq!(
        found("state == 'Execute' && !(6 != good) || [good < 2.5, state == null] == []"),
        [
            of(1, Relation::Equal, Some(Value::text("Execute"))),
            of(0, Relation::NotEqual, Some(Value::Int(6))),
            of(0, Relation::Less, Some(Value::Float64(2.5))),
            of(1, Relation::Equal, None),
        ]
    );
    assert_eq!(
        found("state in ['A', 'B', string(good)]"),
        [
            of(1, Relation::Equal, Some(Value::text("A"))),
            of(1, Relation::Equal, Some(Value::text("B"))),
        ]
    );
    assert_eq!(
        found("good == state && 'A' in [state] && 1 == 1 && good + 1 > 2"),
        []
    );
}

#[test]
fn what_an_expression_always_is_follows_from_its_comparisons() {
    // No tag is ever `Never`.
    let never = |comparison: &Comparison| match (&comparison.literal, comparison.relation) {
        (Some(literal), Relation::Equal) if literal.as_text() == Some("Never") => Some(false),
        (Some(literal), Relation::NotEqual) if literal.as_text() == Some("Never") => Some(true),
        _ => None,
    };
    for (text, wanted) in [
        ("state == 'Never'", Some(false)),
        ("'Never' != state", Some(true)),
        ("state == 'Never' && good > 1", Some(false)),
        ("state == 'Never' || good > 1", None),
        ("!(state == 'Never') || good > 1", Some(true)),
        ("state in ['Never']", Some(false)),
        ("state in ['Never', 'Execute']", None),
        ("state in ['Never', string(good)]", None),
        ("good > 1 ? state == 'Never' : false", Some(false)),
        ("good > 1 ? state == 'Never' : true", None),
        ("false", Some(false)),
        ("good > 1", None),
    ] {
        let decided = compile(text)
            .map(|expression| expression.decide(never))
            .expect(text);
        assert_eq!(decided, wanted, "{text}");
    }
}

/// Work without a bound would not end, and recursion without one would end the process.
#[test]
fn what_has_to_be_a_condition_and_is_none_is_found() {
    let (good, state) = (Some(Slot(0)), Some(Slot(1)));
    let number = |tag| Some((ValueKind::Number, tag));
    for (text, wanted) in [
        ("good", number(good)),
        ("good + 1", number(None)),
        ("-good", number(None)),
        ("size(state)", number(None)),
        ("good > 1 && state", Some((ValueKind::Text, state))),
        ("!good || state == 'a'", number(good)),
        ("(good ? 1 : 2) > 1", number(good)),
        ("good > 1 ? 'a' : 'b'", Some((ValueKind::Text, None))),
        ("state + 'a'", Some((ValueKind::Text, None))),
        ("good > 1 ? good > 2 : state", None),
        (
            "good == 1 || good in [2] && !(state == 'a') || state.startsWith('b')",
            None,
        ),
        ("true", None),
    ] {
        let found = compile(text).map(|expression| {
            let kinds = |slot| {
                Some(if slot == Slot(0) {
                    ValueKind::Number
                } else {
                    ValueKind::Text
                })
            };
            expression.no_condition(true, kinds)
        });
        let wanted = wanted.map(|(kind, tag)| NoCondition { kind, tag });
        assert_eq!(found, Ok(wanted), "{text}");
    }
    // Of a field the whole may be anything, and of a tag nothing may be known.
    let compiled = |text| compile(text).expect("an expression");
    assert_eq!(
        compiled("good").no_condition(false, |_| Some(ValueKind::Number)),
        None
    );
    assert_eq!(compiled("good && state").no_condition(true, |_| None), None);
    // What the evaluator makes of them.
    assert!(
        evaluate("good && true")
            .as_str()
            .is_some_and(|told| told.contains("failed"))
    );
    assert_eq!(evaluate("good == true"), false);
}

#[test]
fn expressions_of_any_shape_are_compiled_or_refused() {
    for piece in [
        "(",
        "[",
        "{",
        "{1: ",
        "!",
        "-",
        "--(",
        "1 ? ",
        "1 ? 1 : ",
        "good.",
        "good[",
        "size(",
        "[[], ",
        "good.size().",
        "1 + ",
        "good && ",
        "good || ",
        "1 == ",
        "good in ",
        "'a' + ",
        "\"",
        "'",
        "b'",
        "r'",
        "//",
        "\\",
        "0x",
        "1e",
        "\0",
        "€",
        "`",
        "has(good.",
        "[1].map(x, ",
        "a{b: ",
        "good.map(x, x).",
    ] {
        for length in [10, 100, MAX_LENGTH, 1_000_000] {
            let whole = piece.repeat(length / piece.len());
            assert!(compile(&whole).is_err(), "{piece} {length}");
            let _ = compile(&format!("{whole}1"));
        }
    }
    // What stands side by side is no deeper for it.
    let chain = vec!["good"; 100].join(" + ");
    assert!(compile(&chain).is_ok());
}

#[test]
fn no_expression_is_too_strange() {
    const PIECES: [&str; 40] = [
        "good", "state", "other", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "!", "-", "+", "*", "/",
        "%", "==", "!=", "<", ">=", "&&", "||", " in ", "'x'", "\"", "'", "1", "0u", "2.5", "1e999", "null",
        "true", "size(", "string(", "\\u00", " ", "€",
    ];
    const EXPRESSIONS: u64 = 3_000;
    const SAMPLE: &str = "state == 'Execute' && !(good > 5 || good in [1, 2]) ? size(state) : good - 2 * 7";
    let mut right = 0;
    for number in 0..EXPRESSIONS {
        let mut random = fastrand::Rng::with_seed(number);
        let (mut text, most) = if number % 2 == 0 {
            (SAMPLE.to_owned(), 2)
        } else {
            (String::new(), 60)
        };
        for _ in 0..=random.usize(..most) {
            let at = text.floor_char_boundary(random.usize(..=text.len()));
            text.insert_str(at, PIECES[random.usize(..PIECES.len())]);
        }
        let told = std::panic::catch_unwind(|| match compile(&text) {
            Ok(expression) => {
                let _ = expression.comparisons();
                let _ = expression.decide(|_| Some(true));
                let _ = expression.no_condition(true, |_| Some(ValueKind::Text));
                let _ = expression.evaluate(|_| Some(Value::Int(i64::MIN)));
                let _ = expression.evaluate(|_| None);
                true
            }
            Err(error) => error.to_string().is_empty(),
        });
        right += u64::from(told.unwrap_or_else(|_| panic!("expression {number}: {text}")));
    }
    assert!(right > EXPRESSIONS / 100, "{right} of {EXPRESSIONS} were right");
}
