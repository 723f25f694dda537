//! Texts that differ in one part.

/// A text with places for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value,
}

impl Template {
    /// A text without a place.
    pub fn literal(text: &str) -> Self {
        Self {
            parts: vec![Part::Text(text.to_owned())],
        }
    }

    /// As the mapping language writes it: `{name}` for the value, braces of the text doubled.
    pub fn text(&self, name: &str) -> String {
        let mut written = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => written.push_str(&text.replace('{', "{{").replace('}', "}}")),
                Part::Value => {
                    written.push('{');
                    written.push_str(name);
                    written.push('}');
                }
            }
        }
        written
    }
}

/// What differs between texts, none of it empty: what is left without the beginning and the end that all have. Neither a number nor a word
/// is cut in two.
pub fn differing(texts: &[String]) -> Vec<String> {
    let Some(first) = texts.first() else {
        return Vec::new();
    };
    let bytes = first.as_bytes();
    let shortest = texts.iter().map(String::len).min().unwrap_or(0);
    let begins_alike = |at: &usize| texts.iter().all(|text| text.as_bytes()[*at] == bytes[*at]);
    let ends_alike = |at: &usize| {
        let byte = |text: &str| text.as_bytes()[text.len() - 1 - *at];
        texts.iter().all(|text| byte(text) == byte(first))
    };
    let mut start = (0..shortest).take_while(begins_alike).count();
    let mut end = (0..shortest - start).take_while(ends_alike).count();
    // Whatever is moved back below is the same in all texts, so that it is looked at in the first.
    let starts = |start: usize, is: fn(&u8) -> bool| {
        texts
            .iter()
            .any(|text| text.as_bytes().get(start).is_some_and(is))
    };
    let ends = |end: usize, is: fn(&u8) -> bool| {
        let last = |text: &String| text.len().checked_sub(end + 1).map(|at| text.as_bytes()[at]);
        texts.iter().any(|text| last(text).is_some_and(|byte| is(&byte)))
    };
    while start > 0
        && (bytes[start - 1].is_ascii_digit()
            || (bytes[start - 1].is_ascii_alphabetic() && starts(start, u8::is_ascii_lowercase))
            || texts.iter().any(|text| text.len() <= start + end) && bytes[start - 1].is_ascii_alphanumeric())
    {
        start -= 1;
    }
    while end > 0
        && (bytes[bytes.len() - end].is_ascii_digit()
            || (bytes[bytes.len() - end].is_ascii_lowercase() && ends(end, u8::is_ascii_alphabetic)))
    {
        end -= 1;
    }
    let is_wrong = |start: usize, end: usize| {
        let is_cut =
            |text: &String| !text.is_char_boundary(start) || !text.is_char_boundary(text.len() - end);
        texts.iter().any(|text| text.len() <= start + end || is_cut(text))
    };
    while is_wrong(start, end) && start + end > 0 {
        if start > 0 {
            start -= 1;
        } else {
            end -= 1;
        }
    }
    let part = |text: &String| text[start..text.len() - end].to_owned();
    texts.iter().map(part).collect()
}

/// The template that gives each of the texts with its value; `None` where there is none.
pub fn with_parameter(texts: &[String], values: &[String]) -> Option<Template> {
    if values.iter().any(String::is_empty) || texts.len() != values.len() {
        return None;
    }
    let first = texts.first()?;
    let mut at: Vec<usize> = vec![0; texts.len()];
    let mut parts: Vec<Part> = Vec::new();
    while at[0] < first.len() {
        let rests = || texts.iter().zip(&at).map(|(text, &at)| &text[at..]);
        if rests()
            .zip(values)
            .all(|(rest, value)| rest.starts_with(value.as_str()))
        {
            at.iter_mut()
                .zip(values)
                .for_each(|(at, value)| *at += value.len());
            parts.push(Part::Value);
            continue;
        }
        let next = first[at[0]..].chars().next()?;
        if !rests().all(|rest| rest.starts_with(next)) {
            return None;
        }
        for at in &mut at {
            *at += next.len_utf8();
        }
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(next),
            _ => parts.push(Part::Text(next.to_string())),
        }
    }
    let is_whole = texts.iter().zip(&at).all(|(text, &at)| text.len() == at);
    (is_whole && parts.contains(&Part::Value)).then_some(Template { parts })
}

/// Whether a text is a number that is written in one way only: no sign, no zero before it.
pub fn is_number(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (1..=15).contains(&text.len()) && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn numbers_are_not_cut() {
        for (given, expected) in [
            (&["Line1.State", "Line2.State"][..], &["1", "2"][..]),
            (&["Line10", "Line11"], &["10", "11"]),
            (&["Line1", "Line10"], &["1", "10"]),
            (&["L01.1", "L11.1"], &["01", "11"]),
            (&["Pump", "PumpB"], &["Pump", "PumpB"]),
            (&["Hall.Motor", "Hall.Motor2"], &["Motor", "Motor2"]),
            (&["LineA.x", "LineB.x"], &["A", "B"]),
            (&["FillerTemp", "CapperTemp"], &["Filler", "Capper"]),
            (&["Feeder", "Filler"], &["Feeder", "Filler"]),
            (&["ä", "ö"], &["ä", "ö"]),
            (&["a1b1c", "a2b2c"], &["1b1", "2b2"]),
        ] {
            let found = differing(&texts(given));
            assert_eq!(found, texts(expected), "{given:?}");
            assert!(with_parameter(&texts(given), &found).is_some(), "{given:?}");
        }
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        let values = texts(&["1", "2"]);
        let of = |given: &[&str]| with_parameter(&texts(given), &values).map(|template| template.text("n"));
        assert_eq!(
            of(&["L1/L1_{x}", "L2/L2_{x}"]).as_deref(),
            Some("L{n}/L{n}_{{x}}")
        );
        assert_eq!(of(&["L1.A", "L2.B"]), None);
        assert_eq!(of(&["L1", "L22"]), None);
        assert_eq!(of(&["same", "same"]), None);
    }
}
