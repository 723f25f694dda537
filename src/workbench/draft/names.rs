//! Names as the mapping language takes them, made of what a device calls things.

use std::collections::HashSet;

/// Words that stand for something else in expressions.
const RESERVED: &[&str] = &["true", "false", "null", "in"];

/// Letters that are written in ASCII in one way that everybody knows.
const WRITTEN: &[(char, &str)] = &[
    ('ä', "ae"),
    ('ö', "oe"),
    ('ü', "ue"),
    ('Ä', "Ae"),
    ('Ö', "Oe"),
    ('Ü', "Ue"),
    ('ß', "ss"),
    ('é', "e"),
    ('è', "e"),
    ('ê', "e"),
    ('à', "a"),
    ('á', "a"),
    ('â', "a"),
    ('å', "a"),
    ('ç', "c"),
    ('ñ', "n"),
    ('ó', "o"),
    ('ô', "o"),
    ('ø', "o"),
    ('í', "i"),
    ('ú', "u"),
];

fn in_ascii(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        match WRITTEN.iter().find(|(known, _)| *known == letter) {
            Some((_, written)) => text.push_str(written),
            None => text.push(letter),
        }
    }
    text
}

/// The name of a tag: `StateCurrent` is `state_current`, `Motor Temp.` is `motor_temp`. Empty where nothing of it can stand in one.
pub fn tag(name: &str) -> String {
    let text = in_ascii(name);
    let letters: Vec<char> = text.chars().collect();
    let mut tag = String::with_capacity(text.len());
    for (at, &letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            if !tag.is_empty() && !tag.ends_with('_') {
                tag.push('_');
            }
            continue;
        }
        // A word begins where a capital follows a small letter, or a small letter the last of several capitals.
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && (before.is_some_and(|before| before.is_ascii_lowercase() || before.is_ascii_digit())
                || (before.is_some_and(char::is_ascii_uppercase)
                    && after.is_some_and(char::is_ascii_lowercase)));
        if begins && !tag.is_empty() && !tag.ends_with('_') {
            tag.push('_');
        }
        tag.push(letter.to_ascii_lowercase());
    }
    let mut tag = tag.trim_end_matches('_').to_owned();
    tag.truncate(60);
    if tag.starts_with(|first: char| first.is_ascii_digit()) {
        tag.insert_str(0, "n_");
    }
    if RESERVED.contains(&tag.as_str()) {
        tag.push_str("_value");
    }
    tag
}

/// A plain name: a level of an equipment path, a mapping. Letters, digits, `-`, `_` and `.`, and never empty.
pub fn plain(name: &str, longest: usize) -> String {
    let text = in_ascii(name);
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.') {
            plain.push(letter);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    plain.truncate(longest);
    let plain = plain.trim_matches(['-', '.']);
    if plain.is_empty() {
        "unit".to_owned()
    } else {
        plain.to_owned()
    }
}

/// Names that are all different, also where `/` is written as `-`: a number is added to those that are there already.
pub fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = Taken::default();
    names.map(|name| taken.distinct(&name, "-")).collect()
}

/// What several things of one kind are called: `Line1` and `Line2` are a `line`.
pub fn kind_of(names: &[&str]) -> Option<String> {
    let words: Vec<String> = names.iter().map(|name| tag(name)).collect();
    let common = words
        .iter()
        .skip(1)
        .fold(words.first()?.as_str(), |common, word| {
            let same = common
                .bytes()
                .zip(word.bytes())
                .take_while(|(one, other)| one == other);
            &common[..same.count()]
        });
    // Part of a word is none: `capper` and `conveyor` are no `c`.
    let is_whole = |word: &String| !word[common.len()..].starts_with(|next: char| next.is_ascii_alphabetic());
    let common = common.trim_end_matches(|last: char| last.is_ascii_digit() || last == '_');
    (common.len() > 1 && words.iter().all(is_whole)).then(|| common.to_owned())
}

/// Names that are given out once.
#[derive(Debug, Default)]
pub struct Taken(HashSet<String>);

impl Taken {
    /// A name for a tag, a parameter or a table.
    pub fn tag(&mut self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "tag" } else { wanted };
        self.distinct(wanted, "_")
    }

    /// A plain name in small letters.
    pub fn plain(&mut self, wanted: &str) -> String {
        self.distinct(&wanted.to_ascii_lowercase(), "-")
    }

    fn distinct(&mut self, wanted: &str, sign: &str) -> String {
        let key = |name: &str| name.replace('/', "-");
        let mut name = wanted.to_owned();
        let mut number = 1_usize;
        while !self.0.insert(key(&name)) {
            number += 1;
            name = format!("{wanted}{sign}{number}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_words_in_small_letters() {
        for (name, expected) in [
            ("StateCurrent", "state_current"),
            ("Motor Temp.", "motor_temp"),
            ("PLCState", "plc_state"),
            ("Druck_Öl", "druck_oel"),
            ("2ndStage", "n_2nd_stage"),
            ("true", "true_value"),
            ("温度", ""),
            ("\"Data\".\"x\"", "data_x"),
        ] {
            assert_eq!(tag(name), expected, "{name}");
        }
    }

    #[test]
    fn a_kind_is_a_whole_word() {
        assert_eq!(kind_of(&["Line1", "Line2"]).as_deref(), Some("line"));
        assert_eq!(kind_of(&["Line_01", "Line_12"]).as_deref(), Some("line"));
        assert_eq!(kind_of(&["Capper", "Conveyor"]), None);
        assert_eq!(kind_of(&["1", "2"]), None);
    }

    #[test]
    fn names_are_given_out_once() {
        let mut taken = Taken::default();
        assert_eq!(
            [taken.tag("a"), taken.tag("a"), taken.tag("")],
            ["a", "a_2", "tag"]
        );
        let names = ["A/B", "A-B", "A"].map(str::to_owned);
        assert_eq!(distinct(names.into_iter()), ["A/B", "A-B-2", "A"]);
        assert_eq!(plain(" \u{1F600}: ", 64), "unit");
    }
}
