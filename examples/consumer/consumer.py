"""Takes each event of a floorgate topic once, whatever dies in between.

    python consumer.py BROKERS TOPIC DATABASE [SECONDS]

What an event does (here: counts are added up), what is known of its lane and where to read on are one transaction of a
database. Repetitions, gaps and dead letters are told in the table `report`. What was left out and has not come after so
many seconds (60) is an alarm.
"""

import json
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

TABLES = """
CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lane (gateway TEXT, partition INTEGER, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
                                 PRIMARY KEY (gateway, partition));
CREATE TABLE IF NOT EXISTS waiting (gateway TEXT, partition INTEGER, up_to INTEGER NOT NULL, since INTEGER NOT NULL,
                                    told INTEGER NOT NULL, PRIMARY KEY (gateway, partition));
CREATE TABLE IF NOT EXISTS seen (source TEXT, id TEXT, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS report (what TEXT PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS total (subject TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""


def effect(db, headers, value):
    """What the application is for. It does not have to bear being done twice."""
    count = json.loads(value)["delta"]
    db.execute(
        "INSERT INTO total VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = count + ?2",
        (headers["ce_subject"], count),
    )


def report(db, what):
    db.execute("INSERT INTO report VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (what,))


def judge(last, epoch, sequence):
    """The rule. `last` is the lane's last (epoch, sequence), or None."""
    if last is None or epoch > last[0]:
        # The first record that is seen of a lane, and each new epoch, begins the numbers anew.
        return "first" if last is None else "new epoch"
    if epoch < last[0] or sequence <= last[1]:
        return "repeated"
    # What is left out comes again, with all that follows it: until then this one is not taken.
    return "next" if sequence == last[1] + 1 else "gap"


def take(db, message):
    """One record. The caller makes a transaction of it."""
    headers = {name: value.decode() for name, value in message.headers() or []}
    gateway, partition = headers["floorgate_gateway"], message.partition()
    epoch, sequence = int(headers["floorgate_lane_epoch"]), int(headers["floorgate_lane_sequence"])
    last = db.execute(
        "SELECT epoch, sequence FROM lane WHERE gateway = ? AND partition = ?", (gateway, partition)
    ).fetchone()
    verdict = judge(last, epoch, sequence)
    if verdict == "gap":
        db.execute(
            "INSERT INTO waiting VALUES (?, ?, ?, unixepoch(), 0) ON CONFLICT DO UPDATE SET up_to = max(up_to, excluded.up_to)",
            (gateway, partition, sequence),
        )
    if verdict in ("first", "new epoch") and sequence != 1:
        # What came before it is gone from the log, or it was never read.
        report(db, "begins late")
    if verdict in ("first", "new epoch", "next"):
        db.execute("INSERT OR REPLACE INTO lane VALUES (?, ?, ?, ?)", (gateway, partition, epoch, sequence))
        db.execute(
            "DELETE FROM waiting WHERE gateway = ? AND partition = ? AND (up_to <= ? OR ?)",
            (gateway, partition, sequence, verdict == "new epoch"),
        )
        if "floorgate_dead_letter" in headers:
            verdict = "dead letter"
        else:
            # Only where a lane began anew, an event may come that was taken before: its id tells.
            known = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (headers["ce_source"], headers["ce_id"]))
            if known.rowcount:
                effect(db, headers, message.value())
            else:
                verdict = "taken before"
    if verdict != "next":
        report(db, verdict)
    db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (partition, message.offset() + 1))


def alarm(db, seconds):
    """Tells each lane that stands still: what was left out does not come, and someone has to look."""
    overdue = db.execute(
        "UPDATE waiting SET told = 1 WHERE NOT told AND since <= unixepoch() - ? RETURNING gateway, partition, up_to",
        (seconds,),
    ).fetchall()
    for gateway, partition, up_to in overdue:
        print(f"ALARM: {gateway} has not sent again up to {up_to} in partition {partition}", file=sys.stderr, flush=True)
        report(db, "stands still")


def main(brokers, topic, database, seconds=60):
    db = sqlite3.connect(database)
    db.execute("PRAGMA journal_mode = wal")
    db.executescript(TABLES)
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "once", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    places = dict(db.execute("SELECT partition, next FROM position"))
    consumer.assign([TopicPartition(topic, p, places.get(p, OFFSET_BEGINNING)) for p in partitions])
    while True:
        messages = [m for m in consumer.consume(500, timeout=0.2) if m.error() is None]
        with db:
            for message in messages:
                take(db, message)
            alarm(db, int(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
