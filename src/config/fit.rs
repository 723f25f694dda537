//! Whether what a mapping makes of a tag fits the values that its address gives, as far as the adapter knows them.

use floorgate_adapter_api::{Given, GivenKind};
use floorgate_core::plan::{BitField, TagSpec};
use floorgate_core::table::{Key, ValueTable};
use floorgate_yaml::{Node, Problems};

use crate::counter::in_unit;

/// A tag whose meaning is held against its values.
struct Tag<'t> {
    node: &'t Node,
    spec: &'t TagSpec,
    given: Given,
    /// The smallest and the largest of its values, where they are whole numbers or bits.
    range: Option<(i64, u64)>,
}

/// Reports what makes nothing of the values that the address of a tag gives.
pub(crate) fn check(node: &Node, spec: &TagSpec, given: Given, problems: &mut Problems) {
    let tag = Tag {
        node,
        spec,
        given,
        range: range(taken(spec.field, Some(given))),
    };
    tag.check_kind(problems);
    tag.check_bits(problems);
    tag.check_counter(problems);
    tag.check_numbers(problems);
    if let Some(table) = spec.values.as_deref() {
        tag.check_table(table, problems);
    }
}

/// What the values of a tag are when its bits are taken out of them.
pub(crate) fn taken(field: Option<BitField>, given: Option<Given>) -> Option<Given> {
    let Some(field) = field else { return given };
    Some(Given {
        step: 1,
        kind: GivenKind::Whole {
            least: 0,
            most: field.mask >> field.shift,
        },
        written: "mask",
    })
}

/// The smallest and the largest value, of whole numbers and bits.
pub(crate) fn range(given: Option<Given>) -> Option<(i64, u64)> {
    match given?.kind {
        GivenKind::Whole { least, most } => Some((least, most)),
        GivenKind::Bit => Some((0, 1)),
        GivenKind::Float | GivenKind::Fraction { .. } | GivenKind::Text => None,
    }
}

/// A tag in messages: its name, and what its adapter calls its values.
pub(crate) fn named(name: &str, given: Given) -> String {
    format!("tag `{name}` (`{}`)", given.written)
}

/// What values are, in messages.
pub(crate) fn described(kind: GivenKind) -> &'static str {
    match kind {
        GivenKind::Bit => "is true or false",
        GivenKind::Whole { .. } => "is a number",
        GivenKind::Float => "may have a fraction",
        GivenKind::Fraction { .. } => "has a fraction",
        GivenKind::Text => "is text",
    }
}

impl Tag<'_> {
    fn named(&self) -> String {
        named(&self.spec.name, self.given)
    }

    /// Keys that are about numbers, or about whole ones.
    fn check_kind(&self, problems: &mut Problems) {
        // Of a counter that is wrong nothing more is said.
        let has_decimals = self.spec.counter.is_none_or(|counter| counter.decimals > 0);
        for key in ["counter", "bits", "mask", "deadband"] {
            let Some(written) = self.node.get(key) else {
                continue;
            };
            let hint = match (self.given.kind, key) {
                (GivenKind::Text, _) => format!("read it as a number, or remove `{key}`"),
                (GivenKind::Bit, "counter") => "read the number that counts, or tell each time that the bit becomes true by a type of the \
                                                plant's own with `edge: rising`"
                    .to_owned(),
                (GivenKind::Bit, "deadband") => "every change of a bit counts; remove it".to_owned(),
                (GivenKind::Bit, "mask") => "it is one bit already; remove it, or read the whole word".to_owned(),
                (GivenKind::Fraction { .. }, "counter") if has_decimals => continue,
                (GivenKind::Fraction { .. }, "counter") => {
                    "add to the counter how many decimals the device counts, such as `decimals: 1`".to_owned()
                }
                (GivenKind::Fraction { .. }, "bits" | "mask") => {
                    format!("`{key}` is for whole numbers: read it as the device has it, in its unit")
                }
                (GivenKind::Float, "bits" | "mask") => {
                    format!("`{key}` is for whole numbers: read it as an integer")
                }
                _ => continue,
            };
            let is = described(self.given.kind);
            problems
                .error(written.span, format!("{} {is}, and has `{key}`", self.named()))
                .hint(hint);
        }
        if self.given.kind == GivenKind::Float
            && !has_decimals
            && let Some(written) = self.node.get("counter")
        {
            let is = described(self.given.kind);
            problems
                .warning(written.span, format!("{} {is}, and has `counter`", self.named()))
                .hint("of a value with a fraction no event is made; add to the counter how many decimals the device counts, such as `decimals: 1`");
        }
    }

    /// Bits beyond those that there are: nothing ever sets them, except in a negative number, whose sign would.
    fn check_bits(&self, problems: &mut Problems) {
        let has = |bits: u32| match bits {
            1 => "has bit 0 alone".to_owned(),
            bits => format!("has bits 0 to {}", bits - 1),
        };
        if let (Some(field), Some(written), GivenKind::Whole { least, most }) =
            (self.spec.field, self.node.get("mask"), self.given.kind)
        {
            let (bits, masked) = (bits_of(least, most), bits_of(0, field.mask));
            if masked > bits {
                let (named, has) = (self.named(), has(bits));
                problems
                    .error(
                        written.span,
                        format!("{named} {has}, and its `mask` has bit {}", masked - 1),
                    )
                    .hint("read it with the type that the word has, or correct the mask");
            }
        }
        let alarms = self.spec.bits.iter().flat_map(|alarms| alarms.iter());
        let highest = alarms.map(|alarm| alarm.bit).max();
        if let (Some(highest), Some(written), Some((least, most))) =
            (highest, self.node.get("bits"), self.range)
        {
            let bits = bits_of(least, most);
            if u32::from(highest) >= bits {
                let place = written.entry(&highest.to_string());
                let (named, has) = (self.named(), has(bits));
                problems
                    .error(
                        place.map_or(written.span, |(span, _)| span),
                        format!("{named} {has}, and an alarm is named for bit {highest}"),
                    )
                    .hint("read it with the type that the word has, or correct the bit");
            }
        }
    }

    /// Counters that end elsewhere than their values do: what is counted over the end would be wrong.
    fn check_counter(&self, problems: &mut Problems) {
        let (least, most, decimals) = match self.given.kind {
            GivenKind::Whole { least, most } => (least, most, 0),
            GivenKind::Fraction {
                least,
                most,
                decimals,
            } => (least, most, decimals),
            _ => return,
        };
        let (Some(counter), Some(written)) = (self.spec.counter, self.node.get("counter")) else {
            return;
        };
        if decimals > 0 && counter.decimals == 0 {
            // That is said by itself.
            return;
        }
        let step = self.given.step.max(1);
        let ends_with_bits = step == 1 && most.checked_add(1).is_none_or(u64::is_power_of_two);
        // The step after the last value is that to 0.
        let most = most.saturating_add(step - 1);
        // Only in units of its own last decimal a counter ends with its bits.
        let has_width = written.get("width").is_some();
        let is_other = has_width && (counter.decimals != decimals || !ends_with_bits);
        let at = |number: u64, other: u8| u128::from(number) * 10_u128.pow(other.into());
        if !is_other && at(counter.max, decimals) <= at(most, counter.decimals) {
            return;
        }
        let mut right = if ends_with_bits && least == 0 {
            format!("width: {}", bits_of(0, most))
        } else {
            format!("max: {}", in_unit(most, decimals))
        };
        if decimals > 0 {
            right = format!("{right}, decimals: {decimals}");
        }
        let (named, max) = (self.named(), in_unit(counter.max, counter.decimals));
        let end = in_unit(most, decimals);
        problems
            .error(
                written.span,
                format!("{named} ends at {end}, and its counter counts to {max}"),
            )
            .hint(format!("write `{right}`, or read it with the type that it has"));
    }

    /// Numbers that are never reached.
    fn check_numbers(&self, problems: &mut Problems) {
        let (Some((least, most)), GivenKind::Whole { .. }) = (self.range, self.given.kind) else {
            return;
        };
        if let (Some(deadband), Some(written)) = (self.spec.deadband, self.node.get("deadband"))
            && deadband.absolute > most as f64 - least as f64
        {
            let (named, absolute) = (self.named(), deadband.absolute);
            problems
                .error(
                    written.span,
                    format!("{named} is {least} to {most}, and none of its changes leaves a deadband of {absolute}"),
                )
                .hint("give the smallest change that counts, in the tag's unit");
        }
    }

    /// Entries of a table that no value has.
    fn check_table(&self, table: &ValueTable, problems: &mut Problems) {
        let Some(written) = self.node.get("values") else {
            return;
        };
        let is_text = self.given.kind == GivenKind::Text;
        let is_word = |key: &Key| matches!(key, Key::Text(_));
        // Where it has both, somebody has thought of it.
        if !table.entries.is_empty() && table.entries.iter().all(|entry| is_word(&entry.key) != is_text) {
            let (named, is) = (self.named(), described(self.given.kind));
            let (has, hint) = match self.given.kind {
                GivenKind::Text => (
                    "numbers",
                    "write its values as words, or read the tag as a number",
                ),
                GivenKind::Bit => ("words", "write its values as `0` and `1`"),
                _ => ("words", "write its values as numbers, or read the tag as text"),
            };
            problems
                .error(
                    written.span,
                    format!("{named} {is}, and table `{}` has {has}", table.name),
                )
                .hint(hint);
            return;
        }
        let is_bit = self.given.kind == GivenKind::Bit && self.spec.field.is_none();
        // A machine may lack states of a standard; a bit lacks all but two.
        let is_whole = is_bit || !ValueTable::STANDARD.contains(&&*table.name);
        let Some((least, most)) = self.range else { return };
        let is_missing = |number: i64| {
            let is_above = u64::try_from(number).is_ok_and(|number| number > most);
            // The highest bit, which is the sign here: the state is read as another number.
            let is_sign =
                least < 0 && u64::try_from(number).is_ok_and(|number| number == most.saturating_add(1));
            is_sign || is_whole && (number < least || is_above)
        };
        let missing = table.entries.iter().find_map(|entry| match entry.key {
            Key::Number(number) if is_missing(number) => Some((number, &entry.name)),
            _ => None,
        });
        let Some((number, name)) = missing else { return };
        let text = format!(
            "{} is {least} to {most}, and table `{}` names {number} `{name}`",
            self.named(),
            table.name
        );
        if is_bit {
            problems
                .error(written.span, text)
                .hint("give it a table of the plant's own, such as `values: {0: stands, 1: runs}`");
        } else {
            problems
                .warning(written.span, text)
                .hint("read it with the type that it has, or correct the table");
        }
    }
}

/// How many bits numbers from `least` to `most` have.
fn bits_of(least: i64, most: u64) -> u32 {
    let of = |number: u64| u64::BITS - number.leading_zeros();
    if least < 0 {
        1 + of(most).max(of(least.unsigned_abs() - 1))
    } else {
        of(most)
    }
}
