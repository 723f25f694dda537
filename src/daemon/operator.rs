//! What an operator asks and orders at the command line: `floorgate outbox`, `dlq` and `replay`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::check;
use crate::cli::{ConfigArgs, DlqCommand, OutboxCommand, Selecting, Showing};
use crate::control::{
    Client, EventRow, Fault, Finding, LaneRow, LetterRow, Outcome, Request, Summary, Which, ask,
};
use crate::event_line::line;
use crate::exit;
use crate::plain::plain;
use crate::printing::goes_on;
use crate::run::store_options;
use crate::table::write_table;

/// How often `tail --follow` looks for more.
const LOOK: Duration = Duration::from_millis(250);

/// The store is not as it should be; what is wrong was printed.
#[derive(Debug, thiserror::Error)]
#[error("the outbox is damaged")]
pub struct Damaged;

/// Where answers go, and who gives them.
struct Desk {
    client: Client,
    state: PathBuf,
    out: io::StdoutLock<'static>,
    json: bool,
    /// Nobody reads what is printed any more.
    is_closed: bool,
}

impl Desk {
    fn open(config: &ConfigArgs, json: bool) -> anyhow::Result<Self> {
        let loaded = check::read(&config.config)?;
        let state = loaded.state_dir();
        let client = Client::of(&state, &store_options(&loaded.settings, &state))?;
        Ok(Self {
            client,
            state,
            out: io::stdout().lock(),
            json,
            is_closed: false,
        })
    }

    /// Prints each row, as JSON or as `show` writes it, after `note` has seen it. Returns how many there were.
    fn print<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        mut note: impl FnMut(&T),
        mut show: impl FnMut(&mut dyn Write, &T) -> io::Result<()>,
    ) -> anyhow::Result<u64> {
        let Self {
            client,
            out,
            json,
            is_closed,
            ..
        } = self;
        let mut count = 0;
        ask(client, request, |value| {
            count += 1;
            let text = json.then(|| value.to_string());
            let row: T = read(value)?;
            note(&row);
            let written = match text {
                Some(text) => writeln!(out, "{text}"),
                None => show(out, &row),
            };
            let goes_on = goes_on(written)?;
            *is_closed |= !goes_on;
            Ok(goes_on)
        })?;
        Ok(count)
    }

    /// All rows.
    fn all(&mut self, request: &Request) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        ask(&mut self.client, request, |row| {
            rows.push(row);
            Ok(true)
        })?;
        Ok(rows)
    }
}

fn read<T: DeserializeOwned>(row: Value) -> anyhow::Result<T> {
    serde_json::from_value(row).context("the gateway is of another version than this tool")
}

impl From<&Showing> for Which {
    fn from(showing: &Showing) -> Self {
        Self::of(showing.topic.as_deref(), &showing.which)
    }
}

impl Which {
    fn of(topic: Option<&str>, selecting: &Selecting) -> Self {
        Self {
            topic: topic.map(str::to_owned),
            kind: selecting.kind.clone(),
            subject: selecting.subject.clone(),
            from: selecting.from.clone(),
            to: selecting.to.clone(),
            waiting: selecting.waiting,
        }
    }
}

/// `floorgate outbox`.
pub fn outbox(command: &OutboxCommand) -> anyhow::Result<()> {
    match command {
        OutboxCommand::Status { config, json } => status(&mut Desk::open(config, *json)?),
        OutboxCommand::Tail {
            config,
            json,
            count,
            follow,
            which,
        } => tail(
            &mut Desk::open(config, *json)?,
            *count,
            *follow,
            &which.into(),
            write_event,
        ),
        OutboxCommand::Export { config, which } => {
            let request = Request::Export { which: which.into() };
            Desk::open(config, true)?
                .print(&request, |_| {}, |_, _: &EventRow| Ok(()))
                .map(drop)
        }
        OutboxCommand::Repartition { config, topic } => repartition(config, topic),
        OutboxCommand::Verify { config, json } => {
            let mut desk = Desk::open(config, *json)?;
            let findings = desk.print(
                &Request::Verify,
                |_| {},
                |out, finding: &Finding| {
                    let place = match (&finding.topic, finding.partition) {
                        (Some(topic), Some(partition)) => format!("topic {topic} partition {partition}: "),
                        (Some(topic), None) => format!("topic {topic}, waiting for its partitions: "),
                        _ => String::new(),
                    };
                    writeln!(out, "{place}{}", finding.problem)
                },
            )?;
            if findings > 0 {
                return Err(Damaged.into());
            }
            if !desk.json {
                writeln!(desk.out, "the outbox is whole")?;
            }
            Ok(())
        }
    }
}

fn repartition(config: &ConfigArgs, topic: &str) -> anyhow::Result<()> {
    let request = Request::Repartition {
        topic: topic.to_owned(),
    };
    let mut desk = Desk::open(config, false)?;
    let when = if desk.client.is_running() {
        ""
    } else {
        " once the gateway runs"
    };
    desk.print(
        &request,
        |_| {},
        |out, outcome: &Outcome| {
            writeln!(
                out,
                "new events of {topic} wait until the {} before them are delivered{when}; then all its partitions are used",
                outcome.count
            )
        },
    )
    .map(drop)
}

fn status(desk: &mut Desk) -> anyhow::Result<()> {
    let mut rows = desk.all(&Request::Status)?;
    let summary = rows.pop().context("the gateway told nothing")?;
    if desk.json {
        let status = serde_json::json!({"lanes": rows, "outbox": summary});
        goes_on(writeln!(desk.out, "{status}"))?;
        return Ok(());
    }
    let summary: Summary = read(summary)?;
    let mut lanes: Vec<LaneRow> = rows.into_iter().map(read).collect::<anyhow::Result<_>>()?;
    // Where nothing waits for partitions any more, there is nothing to see.
    lanes.retain(|lane| lane.partition.is_some() || lane.waiting > 0);
    lanes.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let mut table = vec![
        [
            "TOPIC",
            "PARTITION",
            "EPOCH",
            "SEQUENCE",
            "DELIVERED",
            "WAITING",
            "OLDEST WAITING",
            "KEPT",
        ]
        .map(str::to_owned),
    ];
    for lane in lanes {
        table.push([
            lane.topic,
            lane.partition
                .map_or_else(|| "not known".to_owned(), |partition| partition.to_string()),
            lane.epoch.to_string(),
            lane.sequence.to_string(),
            lane.delivered.to_string(),
            lane.waiting.to_string(),
            lane.oldest_waiting.unwrap_or_else(|| "-".to_owned()),
            lane.kept.to_string(),
        ]);
    }
    let written = write_table(&mut desk.out, &table).and_then(|()| write_summary(&mut desk.out, &summary));
    goes_on(written)?;
    Ok(())
}

fn write_summary(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    const MIB: u64 = 1024 * 1024;
    writeln!(
        out,
        "\n{} events wait, {} dead letters; the store has {} MiB, its log {} MiB",
        summary.waiting,
        summary.dead_letters,
        summary.store_bytes.div_ceil(MIB),
        summary.log_bytes.div_ceil(MIB)
    )?;
    match summary.kafka_up {
        None => writeln!(out, "the gateway does not run")?,
        Some(true) => writeln!(out, "kafka: up")?,
        Some(false) => writeln!(out, "kafka: not reachable, events are stored")?,
    }
    for problem in &summary.problems {
        writeln!(out, "kafka: {problem}")?;
    }
    Ok(())
}

/// How an event is written.
type Show = fn(&mut dyn Write, &EventRow) -> io::Result<()>;

/// `floorgate events` from the outbox.
pub fn events(
    config: &ConfigArgs,
    which: &Showing,
    count: usize,
    follow: bool,
    json: bool,
) -> anyhow::Result<()> {
    let mut desk = Desk::open(config, json)?;
    tail(&mut desk, count, follow, &which.into(), |out, row| {
        let time = row.headers.get("ce_time").or_else(|| row.value.get("time"));
        let time = time.and_then(Value::as_str).unwrap_or(&row.recorded);
        let mut text = String::new();
        line(
            &mut text,
            time,
            &row.kind,
            &row.subject,
            row.value.to_string().as_bytes(),
        );
        writeln!(out, "{text}")?;
        out.flush()
    })
}

fn tail(desk: &mut Desk, count: usize, follow: bool, which: &Which, show: Show) -> anyhow::Result<()> {
    // Where each lane ends is asked first: what comes between the two questions is shown by the second one.
    let mut places: BTreeMap<u32, u64> = BTreeMap::new();
    let mut lanes = if follow {
        desk.all(&Request::Status)?
    } else {
        Vec::new()
    };
    lanes.pop();
    for lane in lanes {
        let lane: LaneRow = read(lane)?;
        places.insert(lane.lane, lane.place);
    }
    let newest = Request::Newest {
        count,
        which: which.clone(),
    };
    let note = |row: &EventRow, places: &mut BTreeMap<u32, u64>| {
        let place = places.entry(row.lane).or_default();
        *place = (*place).max(row.place);
    };
    desk.print(&newest, |row| note(row, &mut places), show)?;
    if follow && !desk.client.is_running() {
        eprintln!("no gateway runs: what the next one stores is shown when it does");
        desk.client.leave_store(&desk.state);
    }
    let mut failed = false;
    while follow && !desk.is_closed {
        std::thread::sleep(LOOK);
        if !desk.client.is_there() {
            continue;
        }
        let more = Request::After {
            places: places.iter().map(|(lane, place)| (*lane, *place)).collect(),
            which: which.clone(),
        };
        match desk.print(&more, |row| note(row, &mut places), show) {
            // The gateway may have ended while it answered; what came of the answer is noted.
            Err(_) if !failed => failed = true,
            Err(error) => return Err(error),
            Ok(_) => failed = false,
        }
    }
    Ok(())
}

fn write_event(out: &mut dyn Write, row: &EventRow) -> io::Result<()> {
    let place = match (row.partition, row.sequence) {
        (Some(partition), Some(sequence)) => format!("{partition}/{sequence}"),
        (Some(partition), None) => format!("{partition}/earlier"),
        (None, _) => "not known".to_owned(),
    };
    writeln!(
        out,
        "{}  {:9}  {}  {place}  {}  {}",
        row.recorded,
        if row.delivered { "delivered" } else { "waits" },
        row.topic,
        row.kind,
        plain(&row.subject)
    )
}

/// `floorgate dlq`.
pub fn dlq(command: &DlqCommand) -> anyhow::Result<()> {
    match command {
        DlqCommand::List { config, json } => {
            let mut desk = Desk::open(config, *json)?;
            let rows = desk.all(&Request::Letters)?;
            if desk.json {
                let written = rows.iter().try_for_each(|row| writeln!(desk.out, "{row}"));
                goes_on(written)?;
                return Ok(());
            }
            let mut table =
                vec![["NUMBER", "REFUSED", "TOPIC", "TYPE", "SUBJECT", "BYTES", "REASON"].map(str::to_owned)];
            for row in rows {
                let letter: LetterRow = read(row)?;
                table.push([
                    letter.number.to_string(),
                    letter.refused,
                    letter.topic,
                    letter.kind,
                    letter.subject,
                    letter.size.to_string(),
                    letter.reason,
                ]);
            }
            goes_on(write_table(&mut desk.out, &table))?;
            Ok(())
        }
        DlqCommand::Show { config, json, number } => {
            let mut desk = Desk::open(config, *json)?;
            let request = Request::Letter { number: *number };
            desk.print(
                &request,
                |_| {},
                |out, letter: &LetterRow| {
                    writeln!(
                        out,
                        "number    {}\nreason    {}\nrefused   {}",
                        letter.number, letter.reason, letter.refused
                    )?;
                    writeln!(
                        out,
                        "topic     {}\nkey       {}\nrecorded  {}",
                        letter.topic,
                        plain(&letter.key),
                        letter.recorded
                    )?;
                    for (name, value) in &letter.headers {
                        writeln!(out, "{name}: {}", plain(value.as_str().unwrap_or_default()))?;
                    }
                    writeln!(out, "\n{:#}", letter.value.as_ref().unwrap_or(&Value::Null))
                },
            )
            .map(drop)
        }
        DlqCommand::Replay {
            config,
            numbers,
            all,
            json,
        } => settle(config, (numbers, *all), true, *json),
        DlqCommand::Drop {
            config,
            numbers,
            all,
            json,
        } => settle(config, (numbers, *all), false, *json),
    }
}

fn settle(
    config: &ConfigArgs,
    (numbers, all): (&[u64], bool),
    replay: bool,
    json: bool,
) -> anyhow::Result<()> {
    if numbers.is_empty() != all {
        return Err(Fault {
            text: "name dead letters by their numbers, or give --all".to_owned(),
            code: exit::USAGE,
        }
        .into());
    }
    let request = Request::SettleLetters {
        numbers: numbers.to_vec(),
        replay,
    };
    let mut desk = Desk::open(config, json)?;
    desk.print(
        &request,
        |_| {},
        |out, outcome: &Outcome| {
            let done = if replay { "are sent again" } else { "are dropped" };
            writeln!(out, "{} dead letters {done}", outcome.count)
        },
    )
    .map(drop)
}

/// `floorgate replay`.
pub fn replay(
    config: &ConfigArgs,
    which: &Selecting,
    from_topic: Option<&str>,
    topic: &str,
    json: bool,
) -> anyhow::Result<()> {
    let request = Request::Replay {
        which: Which::of(from_topic, which),
        topic: topic.to_owned(),
    };
    let mut desk = Desk::open(config, json)?;
    let running = desk.client.is_running();
    desk.print(
        &request,
        |_| {},
        |out, outcome: &Outcome| {
            let when = if running {
                "are on their way"
            } else {
                "go out once the gateway runs"
            };
            writeln!(out, "{} events {when} to {topic}", outcome.count)
        },
    )
    .map(drop)
}
