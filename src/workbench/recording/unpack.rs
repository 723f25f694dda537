//! From blocks to entries.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Now;
use floorgate_core::plan::Priority;
use floorgate_sample::{
    Continuity, GapScope, Notice, Quality, Reason, RequestId, Sample, SourceId, TagId, Timestamp, Value,
};

use super::columns::{
    Cursor, DECIMALS, GAP, Last, MICRO, MOST_DECIMALS, NOT_GOOD, TICK, form, kind, notice, of_decimal, stamp,
};
use super::{Call, Entry};

type Read<T> = Result<T, &'static str>;

/// What a block holds, as long as it takes no more than `most` bytes beside texts: in a block a thing may take a byte.
pub(super) fn entries(content: &[u8], most: usize) -> Read<Vec<Entry>> {
    let mut content = Cursor(content);
    let mut column = || content.bytes().map(Cursor);
    let mut unpacker = Unpacker {
        calls: column()?,
        texts: column()?,
        times: column()?,
        tags: column()?,
        forms: column()?,
        values: column()?,
        stamps: column()?,
        wall: 0,
        monotonic: 0,
        tag: 0,
        stamp: 0,
        last: Last::default(),
        room: most,
    };
    unpacker.last.begin();
    let mut entries = Vec::new();
    while !unpacker.calls.0.is_empty() {
        entries.push(unpacker.entry()?);
    }
    Ok(entries)
}

struct Unpacker<'a> {
    calls: Cursor<'a>,
    texts: Cursor<'a>,
    times: Cursor<'a>,
    tags: Cursor<'a>,
    forms: Cursor<'a>,
    values: Cursor<'a>,
    stamps: Cursor<'a>,
    wall: i64,
    monotonic: i64,
    tag: i64,
    stamp: i64,
    last: Last,
    room: usize,
}

impl Unpacker<'_> {
    /// Takes room for so many of something.
    fn take<T>(&mut self, count: usize) -> Read<()> {
        let left = self.room.checked_sub(count.saturating_mul(size_of::<T>()));
        self.room = left.ok_or("it holds more than a recorder writes in one block")?;
        Ok(())
    }

    fn entry(&mut self) -> Read<Entry> {
        self.take::<Entry>(1)?;
        Ok(match self.calls.byte()? {
            kind::NAMES => {
                let names = serde_json::from_slice(self.texts.bytes()?);
                Entry::Names(names.map_err(|_| "names cannot be read")?)
            }
            kind::CELL => Entry::Cell(self.texts.text()?.into(), self.texts.text()?.to_owned()),
            kind::STANDING => Entry::Standing(self.samples()?),
            kind::BEGIN => {
                let now = self.time()?;
                let count = self.calls.count(self.calls.0.len())?;
                let one = |_| Ok((self.source()?, self.calls.byte()? != 0));
                Entry::Begin {
                    now,
                    connected: (0..count).map(one).collect::<Read<_>>()?,
                }
            }
            kind::HOLE => Entry::Hole(self.calls.number()?),
            kind::APPLY => {
                let (source, now, received) = self.head()?;
                let count = self.calls.count(self.calls.0.len())?;
                self.take::<Notice>(count)?;
                let notices = (0..count).map(|_| self.notice()).collect::<Read<_>>()?;
                let samples = self.samples()?;
                Entry::Call(Call::Apply {
                    source,
                    now,
                    received,
                    notices,
                    samples,
                })
            }
            kind::ANSWER => {
                let (source, now, received) = self.head()?;
                let request = RequestId(self.calls.number()?);
                let has = self.calls.byte()?;
                let rule = (has & 1 != 0)
                    .then(|| self.texts.text().map(Arc::from))
                    .transpose()?;
                let result = match has & 2 {
                    0 => Ok(()),
                    _ => Err(self.texts.text()?.to_owned()),
                };
                let samples = self.samples()?;
                Entry::Call(Call::Answer {
                    source,
                    now,
                    received,
                    request,
                    rule,
                    result,
                    samples,
                })
            }
            kind::ADVANCE => Entry::Call(Call::Advance { now: self.time()? }),
            kind::LEAVE_OUT => Entry::Call(Call::LeaveOutBelow {
                least: match self.calls.byte()? {
                    0 => None,
                    1 => Some(Priority::Low),
                    2 => Some(Priority::Normal),
                    _ => Some(Priority::High),
                },
            }),
            _ => return Err("an entry of an unknown kind"),
        })
    }

    fn head(&mut self) -> Read<(SourceId, Now, Timestamp)> {
        let source = self.source()?;
        let now = self.time()?;
        let before = self.times.time(MICRO)?;
        let received = Timestamp::from_nanos(now.wall.as_nanos().wrapping_sub(before));
        Ok((source, now, received))
    }

    fn source(&mut self) -> Read<SourceId> {
        let number = u16::try_from(self.calls.number()?);
        number.map(SourceId).map_err(|_| "no source's number")
    }

    fn time(&mut self) -> Read<Now> {
        let passed = self.times.time(MICRO)?;
        let beside = self.times.time(MICRO)?;
        self.wall = self.wall.wrapping_add(passed);
        self.monotonic = self.monotonic.wrapping_add(passed).wrapping_add(beside);
        Ok(Now {
            wall: Timestamp::from_nanos(self.wall),
            monotonic: Duration::from_nanos(
                u64::try_from(self.monotonic).map_err(|_| "a time before the start")?,
            ),
        })
    }

    fn notice(&mut self) -> Read<Notice> {
        let notice = self.calls.byte()?;
        let kind = notice & !notice::SEE;
        let scope = match kind {
            notice::GAP_TAGS => {
                let count = self.calls.count(self.calls.0.len())?;
                self.take::<TagId>(count)?;
                let tags = (0..count).map(|_| self.calls.number().and_then(tag));
                GapScope::Tags(tags.collect::<Read<_>>()?)
            }
            _ => GapScope::Source,
        };
        let mut reason = || -> Read<Reason> {
            let mut reason = Reason::from(self.texts.text()?.to_owned());
            if notice != kind {
                reason.see = Some(self.texts.text()?.to_owned().into());
            }
            Ok(reason)
        };
        Ok(match (kind, notice) {
            (_, notice::ONLINE_NEW) => Notice::Online(Continuity::New),
            (_, notice::ONLINE_RESUMED) => Notice::Online(Continuity::Resumed),
            (_, notice::CAUGHT_UP) => Notice::CaughtUp,
            (_, notice::HISTORY) => Notice::History,
            (notice::OFFLINE, _) => Notice::Offline { reason: reason()? },
            (notice::STALE, _) => Notice::Stale { reason: reason()? },
            (notice::GAP_SOURCE | notice::GAP_TAGS, _) => Notice::Gap {
                scope,
                reason: reason()?,
            },
            _ => return Err("a notice of an unknown kind"),
        })
    }

    fn samples(&mut self) -> Read<Vec<Sample>> {
        let count = self.calls.count(self.tags.0.len())?;
        self.take::<Sample>(count)?;
        (0..count).map(|_| self.sample()).collect()
    }

    fn sample(&mut self) -> Read<Sample> {
        self.tag = self.tag.wrapping_add(self.tags.signed()?);
        let id = tag(self.tag.cast_unsigned())?;
        let form = self.forms.number()?;
        let quality = match form & NOT_GOOD {
            0 => Quality::GOOD,
            _ => Quality(u32::try_from(self.values.number()?).map_err(|_| "no quality")?),
        };
        let value = match form & 0xf {
            0 => None,
            _ => Some(self.value(id, form, 0)?),
        };
        let stamps = u8::try_from(form >> 4 & 7).unwrap_or(0);
        let source_time = match stamps {
            stamp::NONE | stamp::SERVER => None,
            stamp::SOURCE | stamp::BOTH | stamp::BOTH_SAME => Some(self.stamp()?),
            _ => return Err("times of an unknown kind"),
        };
        let server_time = match stamps {
            stamp::BOTH_SAME => source_time,
            stamp::BOTH | stamp::SERVER => Some(self.stamp()?),
            _ => None,
        };
        Ok(Sample {
            tag: id,
            value,
            quality,
            source_time,
            server_time,
            gap: form & GAP != 0,
        })
    }

    fn stamp(&mut self) -> Read<Timestamp> {
        let passed = self.stamps.time(TICK)?;
        self.stamp = self.stamp.wrapping_add(passed);
        Ok(Timestamp::from_nanos(self.stamp))
    }

    fn value(&mut self, tag: TagId, form: u64, depth: usize) -> Read<Value> {
        let values = &mut self.values;
        let place = (tag.0, 0);
        Ok(match u8::try_from(form & 0xf).unwrap_or(0) {
            form::FALSE => Value::Bool(false),
            form::TRUE => Value::Bool(true),
            form::INT => {
                let passed = values.signed()?;
                let next = |before: u64| before.cast_signed().wrapping_add(passed).cast_unsigned();
                Value::Int(self.last.replace(place, next).cast_signed())
            }
            form::UINT => {
                let passed = values.signed()?.cast_unsigned();
                Value::UInt(self.last.replace(place, |before| before.wrapping_add(passed)))
            }
            form::FLOAT32 => {
                let others = values.number()?;
                let bits = self.last.replace(place, |before| before ^ others);
                Value::Float32(f32::from_bits(
                    u32::try_from(bits).map_err(|_| "no 32-bit number")?,
                ))
            }
            form::FLOAT64 => {
                let others = values.number()?.reverse_bits();
                Value::Float64(f64::from_bits(self.last.replace(place, |before| before ^ others)))
            }
            form::DECIMAL => {
                let decimals = u8::try_from(form >> DECIMALS)
                    .ok()
                    .filter(|decimals| *decimals <= MOST_DECIMALS);
                let decimals = decimals.ok_or("too many decimals")?;
                let passed = values.signed()?;
                let next = |before: u64| before.cast_signed().wrapping_add(passed).cast_unsigned();
                let whole = self.last.replace((tag.0, 1 + decimals), next);
                Value::Float64(of_decimal(decimals, whole.cast_signed()))
            }
            form::TEXT => Value::text(self.texts.text()?),
            form::BYTES => Value::Bytes(self.texts.bytes()?.into()),
            form::TIME => Value::Time(Timestamp::from_nanos(values.signed()?)),
            form::LIST if depth < Value::DEEPEST => {
                let count = values.count(values.0.len())?;
                // The value is a list's own, and stands in one that is made on the way.
                self.take::<Value>(2 * count)?;
                let item = |_| {
                    let form = self.values.number()?;
                    self.value(tag, form, depth + 1)
                };
                Value::List((0..count).map(item).collect::<Read<_>>()?)
            }
            form::RECORD if depth < Value::DEEPEST => {
                let count = values.count(values.0.len())?;
                self.take::<(Arc<str>, Value)>(2 * count)?;
                let part = |_| {
                    let name = self.texts.text()?.into();
                    let form = self.values.number()?;
                    Ok((name, self.value(tag, form, depth + 1)?))
                };
                Value::Record((0..count).map(part).collect::<Read<_>>()?)
            }
            form::LIST | form::RECORD => return Err("lists and records are too deep in each other"),
            _ => return Err("a value of an unknown kind"),
        })
    }
}

fn tag(number: u64) -> Read<TagId> {
    u32::try_from(number).map(TagId).map_err(|_| "no tag's number")
}
