//! Where a tag is in the device, and what its registers mean.

use std::time;

use floorgate_adapter_api::TagSpec;
use floorgate_sample::{TagId, Value};
use floorgate_yaml::{Duration, Problems, Span, Spanned, Within, draft};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::decimal::{Decimal, Linear};
use crate::decode::{Decode, Encoding, Kind, Shown, WordOrder};
use crate::planner::Extent;
use crate::settings::{Checked, check_interval, check_unit};
use crate::types::Type;

/// Where a tag is: exactly one of `coil`, `discrete`, `input`, `holding` and `fifo`, and how it is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Address of a coil (function 1).
    #[schemars(with = "Option<u32>", range(max = 65536))]
    pub coil: Option<Spanned<i64>>,
    /// Address of a discrete input (function 2).
    #[schemars(with = "Option<u32>", range(max = 65536))]
    pub discrete: Option<Spanned<i64>>,
    /// Address of an input register (function 4).
    #[schemars(with = "Option<u32>", range(max = 65536))]
    pub input: Option<Spanned<i64>>,
    /// Address of a holding register (function 3).
    #[schemars(with = "Option<u32>", range(max = 65536))]
    pub holding: Option<Spanned<i64>>,
    /// Address of a queue of at most 31 registers (function 24); the value is a list of what is in it.
    #[schemars(with = "Option<u32>", range(max = 65536))]
    pub fifo: Option<Spanned<i64>>,
    /// Type of the value; `u16` unless said, `bool` for coils, discrete inputs and with `bit`.
    #[serde(rename = "type")]
    #[schemars(with = "Option<Type>")]
    pub kind: Option<Spanned<Type>>,
    /// The bit of the register, 0 (least significant) to 15.
    #[schemars(with = "Option<u8>", range(max = 15))]
    pub bit: Option<Spanned<i64>>,
    /// Order of the bytes over the registers; the source's `word_order` unless said.
    #[schemars(with = "Option<WordOrder>")]
    pub word_order: Option<Spanned<WordOrder>>,
    /// Length of a `string` in bytes, 1 to 250.
    #[schemars(with = "Option<Within<u16, 1, 250>>")]
    pub length: Option<Spanned<Within<u16, 1, 250>>>,
    /// Encoding of a `string`; `ascii` unless said.
    #[schemars(with = "Option<Encoding>")]
    pub encoding: Option<Spanned<Encoding>>,
    /// Whether a `string` ends at its first NUL and loses white space at its end; true unless said.
    #[schemars(with = "Option<bool>")]
    pub trim: Option<Spanned<bool>>,
    /// The raw number is multiplied by this; 1 unless said.
    #[schemars(with = "Option<f64>")]
    pub scale: Option<Spanned<f64>>,
    /// This is added after scaling; 0 unless said.
    #[schemars(with = "Option<f64>")]
    pub offset: Option<Spanned<f64>>,
    /// Unit id (slave address); the source's `unit` unless said.
    #[schemars(with = "Option<u8>")]
    pub unit_id: Option<Spanned<u8>>,
    /// Whether a value of several registers counts only when two reads in a row agree on it; the source's unless said.
    #[schemars(with = "Option<bool>")]
    pub read_twice: Option<Spanned<bool>>,
    /// How often the tag is read; the source's `poll_interval` unless said.
    #[schemars(with = "Option<Duration>")]
    pub every: Option<Spanned<Duration>>,
}

/// The keys of [`Address`].
pub(crate) const KEYS: &[&str] = &[
    "coil",
    "discrete",
    "input",
    "holding",
    "fifo",
    "type",
    "bit",
    "word_order",
    "length",
    "encoding",
    "trim",
    "scale",
    "offset",
    "unit_id",
    "read_twice",
    "every",
];

/// One of the four tables of a Modbus device, or its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Coil,
    Discrete,
    Input,
    Holding,
    Fifo,
}

impl Table {
    pub(crate) const ALL: [Self; 5] = [Self::Coil, Self::Discrete, Self::Input, Self::Holding, Self::Fifo];

    pub(crate) fn has_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The key that names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Input => "input",
            Self::Holding => "holding",
            Self::Fifo => "fifo",
        }
    }
}

/// A tag, ready to be read.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub tag: TagId,
    pub name: String,
    pub unit: u8,
    pub every: time::Duration,
    pub table: Table,
    /// Zero-based, as on the wire.
    pub extent: Extent,
    pub decode: Decode,
    /// It counts only when two reads in a row agree on it.
    pub twice: bool,
}

impl Point {
    /// The words of the value, in the answer to a request.
    pub(crate) fn own<'a>(&self, words: &'a [u16], read: Extent) -> Option<&'a [u16]> {
        if self.table == Table::Fifo {
            return Some(words);
        }
        let from = self.extent.start.checked_sub(read.start)? as usize;
        words.get(from..from + self.extent.len as usize)
    }

    /// The value; `None` where the words are none of its type.
    pub(crate) fn value(&self, words: &[u16]) -> Option<Value> {
        if self.table == Table::Fifo {
            let values: Option<Vec<Value>> = words.iter().map(|word| self.decode.value(&[*word])).collect();
            return Some(Value::List(values?.into()));
        }
        self.decode.value(words)
    }
}

/// Keys that say what kind of a value stands where; the meaning of most others hangs on them.
const SHAPE: [&str; 7] = ["coil", "discrete", "input", "holding", "fifo", "type", "bit"];

/// Decodes and checks an address. `None` where anything was wrong; what is in `problems`.
pub(crate) fn check(spec: &TagSpec<'_>, settings: &Checked, problems: &mut Problems) -> Option<Point> {
    let before = problems.list().len();
    // What was decoded from a wrong value is left out: checks of what hangs on it would be about something else.
    let address = draft::<Address>(spec.address, problems)?.value;
    let sure = |key: &&str| problems.are_silent_on(key, spec.address, before);
    let is_shaped = SHAPE.iter().all(sure);
    let has_length = sure(&"length");
    let table = is_shaped.then(|| table(&address, spec, problems)).flatten();
    let kind = table.and_then(|(table, _)| kind(&address, table, has_length, problems));
    let words = kind.map(|kind| registers(kind, &address));
    let extent =
        table.and_then(|(table, place)| extent(table, place, words.unwrap_or(1), settings, problems));
    let (scale, offset) = factors(&address, problems);
    let decode = kind.map(|kind| decode(&address, kind, Linear::new(scale, offset), settings));
    let unit = address.unit_id.map_or(settings.unit, |unit| {
        check_unit(unit, settings.endpoint.is_serial(), problems);
        unit.value
    });
    let every = address.every.map_or(settings.poll_interval, |every| {
        check_interval("every", every, problems);
        every.get()
    });
    let twice = read_twice(&address, words, settings, problems);
    let sound = problems.list()[before..]
        .iter()
        .all(|problem| problem.severity != floorgate_yaml::Severity::Error);
    let ((table, _), extent, decode) = (table?, extent?, decode?);
    sound.then(|| Point {
        tag: spec.id,
        name: spec.name.to_owned(),
        unit,
        every,
        table,
        extent,
        decode,
        twice,
    })
}

/// The one table that the address names.
fn table(address: &Address, spec: &TagSpec<'_>, problems: &mut Problems) -> Option<(Table, Spanned<i64>)> {
    let named = [
        (Table::Coil, address.coil),
        (Table::Discrete, address.discrete),
        (Table::Input, address.input),
        (Table::Holding, address.holding),
        (Table::Fifo, address.fifo),
    ];
    let mut named = named
        .into_iter()
        .filter_map(|(table, place)| place.map(|place| (table, place)));
    let Some(first) = named.next() else {
        problems
            .error(
                spec.address.span,
                format!("tag `{}` names no register", spec.name),
            )
            .hint("give one of `coil`, `discrete`, `input`, `holding` and `fifo` with an address");
        return None;
    };
    for (other, place) in named {
        problems
            .error(
                place.span,
                format!(
                    "tag `{}` is a `{}` and a `{}`",
                    spec.name,
                    first.0.name(),
                    other.name()
                ),
            )
            .hint("a tag is in one table; remove one of the two keys");
    }
    Some(first)
}

/// The type, and that the keys that only some types have belong to it.
fn kind(address: &Address, table: Table, has_length: bool, problems: &mut Problems) -> Option<Type> {
    let bits = table.has_bits();
    let implied = || Type::implied(table, address.bit.is_some());
    let kind = address.kind.map_or_else(implied, |kind| kind.value);
    let before = problems.list().len();
    if let Some(given) = address.kind {
        match kind {
            Type::Bool if !bits && address.bit.is_none() => {
                problems
                    .error(given.span, "a `bool` of a register needs `bit`")
                    .hint("add `bit: 0` for the least significant bit, up to 15");
            }
            Type::Bool => {}
            _ if bits => {
                problems
                    .error(
                        given.span,
                        format!("a {} is a `bool`, not `{}`", table.name(), kind.name()),
                    )
                    .hint("remove `type`, or read a register with `input` or `holding`");
            }
            _ => {}
        }
    }
    if table == Table::Fifo && !matches!(kind, Type::U16 | Type::I16) {
        let span = address
            .kind
            .map(|kind| kind.span)
            .or(address.bit.map(|bit| bit.span));
        problems
            .error(
                span,
                format!("a `fifo` is a list of `u16` or `i16`, not of `{}`", kind.name()),
            )
            .hint("remove `type` and `bit`");
        return None;
    }
    if let Some(bit) = address.bit {
        if bits {
            problems
                .error(bit.span, format!("a {} has no `bit`", table.name()))
                .hint("it is a single bit; remove the key");
        } else if !(0..=15).contains(&bit.value) {
            problems
                .error(bit.span, format!("`bit: {}` is out of range", bit.value))
                .hint("0 (least significant) to 15; the bits of a 32-bit word are in two registers");
        } else if kind != Type::Bool {
            problems
                .error(
                    bit.span,
                    format!("`bit` has no meaning with `type: {}`", kind.name()),
                )
                .hint("remove `type`, or remove `bit`");
        }
    }
    let text = kind == Type::String;
    let numeric = !text && kind != Type::Bool;
    only(text, "length", address.length.map(|key| key.span), kind, problems);
    only(
        text,
        "encoding",
        address.encoding.map(|key| key.span),
        kind,
        problems,
    );
    only(text, "trim", address.trim.map(|key| key.span), kind, problems);
    only(
        numeric,
        "scale",
        address.scale.map(|key| key.span),
        kind,
        problems,
    );
    only(
        numeric,
        "offset",
        address.offset.map(|key| key.span),
        kind,
        problems,
    );
    only(
        !bits,
        "word_order",
        address.word_order.map(|key| key.span),
        kind,
        problems,
    );
    if text {
        check_text(address, has_length, problems);
    }
    (problems.list().len() == before).then_some(kind)
}

/// A `string`'s length, unless what is written there is reported already, and its order of bytes.
fn check_text(address: &Address, has_length: bool, problems: &mut Problems) {
    match address.length {
        None if !has_length => {}
        None => {
            let span = address.kind.map(|kind| kind.span);
            problems
                .error(span, "a `string` needs `length`")
                .hint("its length in bytes, two for each register");
        }
        Some(_) => {}
    }
    if let Some(order) = address.word_order
        && order.swaps_words()
    {
        problems
            .error(order.span, "text has no order of its registers")
            .hint("ABCD where the first character is a register's high byte, BADC where it is the low byte");
    }
}

/// A key that only some types have.
fn only(fits: bool, key: &str, span: Option<Span>, kind: Type, problems: &mut Problems) {
    if let Some(span) = span
        && !fits
    {
        problems
            .error(
                span,
                format!("`{key}` has no meaning with `type: {}`", kind.name()),
            )
            .hint("remove it, or give another `type`");
    }
}

/// How many registers (or bits) the value takes.
fn registers(kind: Type, address: &Address) -> u32 {
    match kind {
        Type::Bool | Type::I16 | Type::U16 => 1,
        Type::I32 | Type::U32 | Type::F32 => 2,
        Type::I64 | Type::U64 | Type::F64 => 4,
        Type::String => address
            .length
            .map_or(1, |length| u32::from(length.get()).div_ceil(2)),
    }
}

/// The registers, zero-based, within the table and within one request.
fn extent(
    table: Table,
    place: Spanned<i64>,
    len: u32,
    settings: &Checked,
    problems: &mut Problems,
) -> Option<Extent> {
    let base = u32::from(settings.base);
    let last = 65_535 + base;
    let name = table.name();
    let start = u32::try_from(place.value)
        .ok()
        .and_then(|place| place.checked_sub(base))
        .filter(|start| *start <= 65_535 && start + len <= 65_536);
    let Some(start) = start else {
        problems
            .error(
                place.span,
                format!("`{name}: {}` is outside of the table", place.value),
            )
            .hint(format!(
                "with `base: {base}`, {len} from here must be within {base} to {last}"
            ));
        return None;
    };
    if !table.has_bits() && len > u32::from(settings.max_registers) {
        problems
            .error(
                place.span,
                format!(
                    "`{name}: {}` takes {len} registers, more than `max_registers: {}`",
                    place.value, settings.max_registers
                ),
            )
            .hint("a value is never split over two requests");
        return None;
    }
    Some(Extent { start, len })
}

/// Whether the value is read twice; where the address asks for it, that it has more registers than one.
fn read_twice(address: &Address, words: Option<u32>, settings: &Checked, problems: &mut Problems) -> bool {
    let Some(twice) = address.read_twice else {
        return settings.read_twice;
    };
    if twice.value && words == Some(1) {
        problems
            .warning(twice.span, "`read_twice` has no meaning for a single register")
            .hint("remove it: a register is read as a whole");
    }
    twice.value
}

/// What a number is multiplied by, and what is added to it.
fn factors(address: &Address, problems: &mut Problems) -> (Decimal, Decimal) {
    let scale = decimal("scale", address.scale, Decimal::ONE, problems);
    let offset = decimal("offset", address.offset, Decimal::ZERO, problems);
    if let Some(scale) = address.scale
        && scale.value == 0.0
    {
        problems
            .error(scale.span, "`scale: 0` makes every value the same")
            .hint("remove it, or give the factor");
    }
    (scale, offset)
}

fn decode(address: &Address, kind: Type, linear: Linear, settings: &Checked) -> Decode {
    let kind = match (kind, kind.range()) {
        (_, Some((least, most))) => Kind::Integer {
            signed: least < 0,
            shown: Shown::of(least, most, least < 0, &linear),
        },
        (Type::Bool, None) => Kind::Bit(
            address
                .bit
                .and_then(|bit| u8::try_from(bit.value).ok())
                .unwrap_or(0),
        ),
        (Type::F32, None) => Kind::Float32,
        (Type::F64, None) => Kind::Float64,
        (_, None) => Kind::Text {
            bytes: address.length.map_or(0, |length| length.get()),
            encoding: address
                .encoding
                .map(|encoding| encoding.value)
                .unwrap_or_default(),
            trim: address.trim.is_none_or(|trim| trim.value),
        },
    };
    let bits = address.coil.is_some() || address.discrete.is_some();
    let order = if bits {
        WordOrder::Abcd
    } else {
        address
            .word_order
            .map_or(settings.word_order, |order| order.value)
    };
    Decode { kind, order, linear }
}

fn decimal(key: &str, written: Option<Spanned<f64>>, default: Decimal, problems: &mut Problems) -> Decimal {
    let Some(written) = written else { return default };
    Decimal::from_written(written.value).unwrap_or_else(|| {
        problems
            .error(
                written.span,
                format!("`{key}: {}` is no decimal number of use here", written.value),
            )
            .hint("at most 18 digits and 18 decimal places");
        default
    })
}
