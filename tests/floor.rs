//! The end-to-end tests: one program, so that they link once and share one broker.

#[path = "floor/benchmark.rs"]
mod benchmark;
#[path = "floor/broker.rs"]
mod broker;
#[path = "floor/browse.rs"]
mod browse;
#[path = "floor/change.rs"]
mod change;
#[path = "floor/check.rs"]
mod check;
#[path = "floor/consumer.rs"]
mod consumer;
#[path = "floor/copies.rs"]
mod copies;
#[path = "floor/counting.rs"]
mod counting;
#[path = "floor/delivery.rs"]
mod delivery;
#[path = "floor/demo.rs"]
mod demo;
#[path = "floor/dictionary.rs"]
mod dictionary;
#[path = "floor/disk_and_clock.rs"]
mod disk_and_clock;
#[path = "floor/examples.rs"]
mod examples;
#[path = "floor/explain.rs"]
mod explain;
#[path = "floor/fail_points.rs"]
mod fail_points;
#[path = "floor/generated.rs"]
mod generated;
#[path = "floor/hall.rs"]
mod hall;
#[path = "floor/handover.rs"]
mod handover;
#[path = "floor/happenings.rs"]
mod happenings;
#[path = "floor/kill_loop.rs"]
mod kill_loop;
#[path = "floor/lane_fail_points.rs"]
mod lane_fail_points;
#[path = "floor/layering.rs"]
mod layering;
#[path = "floor/limits.rs"]
mod limits;
#[path = "floor/mapping_tests.rs"]
mod mapping_tests;
#[path = "floor/milo.rs"]
mod milo;
#[path = "floor/modbus.rs"]
mod modbus;
#[path = "floor/modbus_recovery.rs"]
mod modbus_recovery;
#[path = "floor/modbus_transports.rs"]
mod modbus_transports;
#[path = "floor/operation.rs"]
mod operation;
#[path = "floor/operator.rs"]
mod operator;
#[path = "floor/outage.rs"]
mod outage;
#[path = "floor/partitions.rs"]
mod partitions;
#[path = "floor/peers.rs"]
mod peers;
#[path = "floor/plant.rs"]
mod plant;
#[path = "floor/priority.rs"]
mod priority;
#[path = "floor/probe.rs"]
mod probe;
#[path = "floor/promises.rs"]
mod promises;
#[path = "floor/queues.rs"]
mod queues;
#[path = "floor/reconnects.rs"]
mod reconnects;
#[path = "floor/recording.rs"]
mod recording;
#[path = "floor/recovery.rs"]
mod recovery;
#[path = "floor/refused.rs"]
mod refused;
#[path = "floor/reload.rs"]
mod reload;
#[path = "floor/renewals.rs"]
mod renewals;
#[path = "floor/reverse.rs"]
mod reverse;
#[path = "floor/rogue.rs"]
mod rogue;
#[path = "floor/room.rs"]
mod room;
#[path = "floor/runbook.rs"]
mod runbook;
#[path = "floor/security.rs"]
mod security;
#[path = "floor/server_clock.rs"]
mod server_clock;
#[path = "floor/sources.rs"]
mod sources;
#[path = "floor/standing.rs"]
mod standing;
#[path = "floor/stations.rs"]
mod stations;
#[path = "floor/stubs.rs"]
mod stubs;
#[path = "floor/survival.rs"]
mod survival;
#[path = "floor/systemd.rs"]
mod systemd;
#[path = "floor/tag_settings.rs"]
mod tag_settings;
#[path = "floor/takeover.rs"]
mod takeover;
#[path = "floor/transactions.rs"]
mod transactions;
#[path = "floor/trust.rs"]
mod trust;
#[path = "floor/workbench.rs"]
mod workbench;
