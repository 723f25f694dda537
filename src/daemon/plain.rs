//! Text from devices, as a terminal may be given it.
//!
//! What a PLC or a mapping calls something may hold anything: an escape sequence would set colours, titles or the clipboard of whoever looks, a
//! line's end would make a line of its own, and marks of writing direction would show another text than is there.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with each character that a terminal would obey, or that shows as something else than it is, written as `\u{…}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_active(character) {
            // Writing to text does not fail.
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_active(character: char) -> bool {
    // Control characters, separators of lines, and marks of direction (Unicode 16, UAX #9 §2).
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(plain("Füller 3 · 充填機"), "Füller 3 · 充填機");
        assert_eq!(
            plain("a\u{1b}]0;x\u{7}b\n\u{9b}2J"),
            "a\\u{1b}]0;x\\u{7}b\\u{a}\\u{9b}2J"
        );
        assert_eq!(plain("\u{202e}abc"), "\\u{202e}abc");
    }
}
