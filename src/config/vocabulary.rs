//! The standard events: their names, subjects, fields, and where a field comes from when the mapping does not say.
//!
//! Names and shapes follow OPC 10031-4 (job control), OPC 30050 (PackML), OPC 40001-1 and -101 (machinery, results), ISO 22400, GS1
//! EPCIS 2.0 (warehouse events) and VDA 5050 (transports).

use crate::event_form::Domain;
use crate::inner::{
    ACTION_STATES, AGGREGATE, CATEGORIES, CHARACTERISTIC, CONNECTIONS, EVALUATIONS, ITEM, LIMITS, MODELS,
    MODES, PARAMETER, QUANTITY, REASON, STATUSES, SUB_STATES, VENDOR_STATUS,
};

/// A standard event.
#[derive(Debug)]
pub(crate) struct EventType {
    pub name: &'static str,
    pub domain: Domain,
    /// The entity in the name of its topic.
    pub entity: &'static str,
    /// How its rules are made.
    pub made: Made,
    /// What it means, for people.
    pub meaning: &'static str,
    /// The standard that it follows.
    pub aligns: &'static str,
    pub fields: &'static [Field],
}

/// How an event's rule is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// By code of its own.
    Itself,
    /// Origin its fields, of every change of the trigger.
    OfChanges(Identity),
    /// Origin its fields, when the trigger becomes true.
    OfEdges(Identity),
}

/// What an event of fields is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What stands before the subject's value.
    pub prefix: &'static str,
    /// The fields whose tag is the subject, the first that has one; the equipment where none are named.
    pub subject: &'static [&'static str],
    /// Whether the subject is the record's key and ordering scope.
    pub is_key: bool,
    /// The fields whose tag is the correlation id, the first that has one.
    pub correlation: &'static [&'static str],
}

/// A field of a standard event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub required: bool,
    pub origin: Origin,
    pub form: Form,
}

/// Where a field comes from when the mapping does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The gateway makes it.
    Made,
    /// The tag of the field's name, `cycleNo` or `cycle_no`.
    Tag,
    /// The trigger.
    Trigger,
    /// What the trigger was before.
    Previous,
}

/// The form of a field, as in JSON Schema.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Text, or the number that the device sends in place of it where the field is a tag's by itself.
    Text,
    /// What something is called: text, or a number where that is what it is called.
    Id,
    Number,
    Integer,
    Truth,
    Anything,
    /// A point in time, RFC 3339 in UTC.
    Time,
    /// A span of time in milliseconds.
    Milliseconds,
    /// 1 (lowest) to 1000, as in OPC UA (OPC 10000-5 §6.4.2).
    Severity,
    /// One of these names and no other, `unknown` among them where nobody may know it.
    OneOf(&'static [&'static str]),
    /// These names where a table of the standards has them; the plant's own tables have others.
    Mostly(&'static [&'static str]),
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of texts.
    Texts,
    /// A list of objects with these fields.
    List(&'static [Field]),
}

const fn field(name: &'static str, required: bool, origin: Origin, form: Form) -> Field {
    Field {
        name,
        required,
        origin,
        form,
    }
}

pub(crate) const fn made(name: &'static str, form: Form) -> Field {
    field(name, true, Origin::Made, form)
}

pub(crate) const fn may(name: &'static str, form: Form) -> Field {
    field(name, false, Origin::Made, form)
}

const fn needs(name: &'static str, form: Form) -> Field {
    field(name, true, Origin::Tag, form)
}

const fn takes(name: &'static str, form: Form) -> Field {
    field(name, false, Origin::Tag, form)
}

const EQUIPMENT: Identity = Identity {
    prefix: "",
    subject: &[],
    is_key: false,
    correlation: &[],
};

const fn unit_load(correlation: &'static [&'static str]) -> Identity {
    Identity {
        prefix: "handling-unit/",
        subject: &["hu", "targetHu"],
        is_key: true,
        correlation,
    }
}

use Form::{
    Anything, Id, Integer, List, Milliseconds, Mostly, Number, Object, OneOf, Severity, Text, Texts, Time,
    Truth,
};
use Origin::{Previous, Trigger};

/// The standard events.
pub(crate) const STANDARD: &[EventType] = &[
    EventType {
        name: "WorkOrderStatusChanged",
        domain: Domain::Mes,
        entity: "work-order",
        made: Made::Itself,
        meaning: "a work order has another status",
        aligns: "OPC 10031-4, B2MML",
        fields: &[
            made("workOrderId", Id),
            made("runId", Text),
            made("status", OneOf(STATUSES)),
            made("previousStatus", OneOf(STATUSES)),
            may("subState", Mostly(SUB_STATES)),
            may("vendorStatus", Object(VENDOR_STATUS)),
            may("quantity", Object(QUANTITY)),
            may("startTime", Time),
            may("endTime", Time),
            may("reason", Object(REASON)),
        ],
    },
    EventType {
        name: "EquipmentStateChanged",
        domain: Domain::Mes,
        entity: "equipment-state",
        made: Made::Itself,
        meaning: "a machine has another state",
        aligns: "OPC 30050, OPC 40001-1",
        fields: &[
            made("model", OneOf(MODELS)),
            made("state", Text),
            made("category", OneOf(CATEGORIES)),
            made("previousState", Text),
            may("previousDurationMs", Milliseconds),
            may("vendorStatus", Object(VENDOR_STATUS)),
            may("stopReason", Object(REASON)),
            may("blocked", Truth),
            may("starved", Truth),
        ],
    },
    EventType {
        name: "EquipmentModeChanged",
        domain: Domain::Mes,
        entity: "equipment-mode",
        made: Made::OfChanges(EQUIPMENT),
        meaning: "a machine is in another mode: production, maintenance, setup",
        aligns: "OPC 30050, OPC 40001-1",
        fields: &[
            field("mode", true, Trigger, Mostly(MODES)),
            field("previousMode", true, Previous, Mostly(MODES)),
        ],
    },
    EventType {
        name: "ProductionCountRecorded",
        domain: Domain::Mes,
        entity: "production-count",
        made: Made::Itself,
        meaning: "a counter counted",
        aligns: "PackML, ISO 22400",
        fields: COUNT,
    },
    EventType {
        name: "ScrapRecorded",
        domain: Domain::Mes,
        entity: "scrap",
        made: Made::Itself,
        meaning: "a counter of scrap counted",
        aligns: "PackML",
        fields: &[
            made("counterId", Text),
            made("delta", Number),
            made("total", Number),
            made("unit", Text),
            needs("reasonCode", Anything),
            takes("reasonText", Text),
            takes("disposition", Text),
            may("rawValue", Number),
            may("rawPrevious", Number),
            may("rollover", Truth),
            may("reset", Truth),
            may("implausible", Truth),
            may("from", Time),
            may("to", Time),
        ],
    },
    EventType {
        name: "CycleCompleted",
        domain: Domain::Mes,
        entity: "cycle",
        made: Made::OfEdges(EQUIPMENT),
        meaning: "a machine finished a cycle",
        aligns: "",
        fields: &[
            needs("cycleNo", Integer),
            takes("durationMs", Number),
            takes("partId", Text),
            may("values", Object(&[])),
        ],
    },
    EventType {
        name: "QualityResultRecorded",
        domain: Domain::Mes,
        entity: "quality-result",
        made: Made::OfEdges(Identity {
            prefix: "result/",
            subject: &["resultId"],
            is_key: false,
            correlation: &[],
        }),
        meaning: "a result of a measurement or test is there",
        aligns: "OPC 40001-101 (Result)",
        fields: &[
            needs("resultId", Text),
            needs("evaluation", Mostly(EVALUATIONS)),
            takes("partId", Text),
            takes("recipeId", Text),
            takes("isPartial", Truth),
            may("characteristics", List(CHARACTERISTIC)),
        ],
    },
    EventType {
        name: "Alarm",
        domain: Domain::Mes,
        entity: "alarm",
        made: Made::Itself,
        meaning: "an alarm is raised (`AlarmRaised`) or cleared (`AlarmCleared`)",
        aligns: "OPC 10000-9, PackML",
        fields: &[
            made("alarmId", Text),
            made("occurrenceId", Text),
            made("code", Text),
            made("severity", Severity),
            may("text", Text),
            may("category", Text),
            may("raisedAt", Time),
            may("durationMs", Milliseconds),
            may("unmapped", Truth),
            may("ackAt", Time),
            may("source", Text),
        ],
    },
    EventType {
        name: "MeasurementRecorded",
        domain: Domain::Mes,
        entity: "measurement",
        made: Made::Itself,
        meaning: "a measured value changed, or a window of it ended",
        aligns: "OPC UA process values",
        fields: &[
            made("name", Text),
            made("value", Anything),
            made("unit", Text),
            may("agg", Object(AGGREGATE)),
            may("from", Time),
            may("to", Time),
            may("limits", Object(LIMITS)),
        ],
    },
    EventType {
        name: "EnergyRecorded",
        domain: Domain::Mes,
        entity: "energy",
        made: Made::Itself,
        meaning: "a meter of energy or of a medium counted",
        aligns: "as counts",
        fields: &[
            made("counterId", Text),
            made("medium", Text),
            made("delta", Number),
            made("total", Number),
            made("unit", Text),
            may("rawValue", Number),
            may("rawPrevious", Number),
            may("rollover", Truth),
            may("reset", Truth),
            may("implausible", Truth),
            may("from", Time),
            may("to", Time),
        ],
    },
    EventType {
        name: "RecipeChanged",
        domain: Domain::Mes,
        entity: "recipe",
        made: Made::OfChanges(EQUIPMENT),
        meaning: "a machine has another recipe, or another version of it",
        aligns: "PackML product",
        fields: &[
            field("recipeId", true, Trigger, Anything),
            field("previousRecipeId", true, Previous, Anything),
            takes("version", Anything),
            takes("checksum", Anything),
            may("parameters", List(PARAMETER)),
        ],
    },
    EventType {
        name: "GoodsReceived",
        domain: Domain::Wms,
        entity: "goods-received",
        made: Made::OfChanges(unit_load(&["poRef"])),
        meaning: "a handling unit was identified inbound",
        aligns: "EPCIS 2.0 `receiving`",
        fields: &[
            needs("hu", Text),
            needs("locationId", Text),
            field("items", true, Origin::Made, List(ITEM)),
            takes("poRef", Text),
            takes("disposition", Text),
        ],
    },
    EventType {
        name: "StorageMoved",
        domain: Domain::Wms,
        entity: "storage-moved",
        made: Made::OfChanges(unit_load(&["transportOrderId"])),
        meaning: "a handling unit is at another location",
        aligns: "EPCIS 2.0",
        fields: &[
            needs("hu", Text),
            field("from", true, Previous, Text),
            field("to", true, Trigger, Text),
            takes("transportOrderId", Text),
        ],
    },
    EventType {
        name: "PutawayCompleted",
        domain: Domain::Wms,
        entity: "putaway",
        made: Made::OfEdges(unit_load(&["transportOrderId"])),
        meaning: "a handling unit was put into its bin",
        aligns: "EPCIS 2.0 `storing`",
        fields: &[
            needs("hu", Text),
            needs("to", Text),
            needs("transportOrderId", Text),
            takes("from", Text),
        ],
    },
    EventType {
        name: "PickConfirmed",
        domain: Domain::Wms,
        entity: "pick",
        made: Made::OfEdges(unit_load(&["pickTaskId"])),
        meaning: "a pick was confirmed",
        aligns: "EPCIS 2.0 `picking`",
        fields: &[
            needs("pickTaskId", Text),
            needs("itemId", Text),
            needs("qtyRequested", Number),
            needs("qtyPicked", Number),
            needs("unit", Text),
            takes("hu", Text),
            takes("targetHu", Text),
            takes("shortReason", Text),
        ],
    },
    EventType {
        name: "ShipmentDispatched",
        domain: Domain::Wms,
        entity: "shipment",
        made: Made::OfEdges(Identity {
            prefix: "shipment/",
            subject: &["shipmentId"],
            is_key: true,
            correlation: &["shipmentId"],
        }),
        meaning: "a shipment left its dock",
        aligns: "EPCIS 2.0 `departing`",
        fields: &[
            needs("shipmentId", Text),
            needs("hus", Texts),
            needs("dock", Text),
            takes("carrier", Text),
        ],
    },
    EventType {
        name: "TransportStateChanged",
        domain: Domain::Wms,
        entity: "transport",
        made: Made::OfChanges(Identity {
            prefix: "transport/",
            subject: &["orderId"],
            is_key: false,
            correlation: &["orderId"],
        }),
        meaning: "a transport by a vehicle or robot has another state",
        aligns: "VDA 5050",
        fields: &[
            needs("orderId", Text),
            needs("orderUpdateId", Integer),
            field("actionStatus", true, Trigger, Mostly(ACTION_STATES)),
            takes("error", Anything),
        ],
    },
];

const COUNT: &[Field] = &[
    made("counterId", Text),
    made("kind", OneOf(&["good", "total", "consumed"])),
    made("delta", Number),
    made("total", Number),
    made("unit", Text),
    may("rawValue", Number),
    may("rawPrevious", Number),
    may("rollover", Truth),
    may("reset", Truth),
    may("implausible", Truth),
    may("from", Time),
    may("to", Time),
];

/// What a source says of itself. No mapping names it, and it has no equipment.
pub(crate) const SOURCE: EventType = EventType {
    name: "SourceConnectionChanged",
    domain: Domain::Mes,
    entity: "source-connection",
    made: Made::Itself,
    meaning: "a source is connected, lost, or silent for longer than it should be",
    aligns: "Sparkplug birth and death",
    fields: &[
        made("source", Text),
        made("state", OneOf(CONNECTIONS)),
        made("previousState", OneOf(CONNECTIONS)),
        made("lastGoodAt", Time),
        made("reason", Text),
        may("see", Text),
    ],
};

/// The standard event of a name.
pub(crate) fn standard(name: &str) -> Option<&'static EventType> {
    STANDARD.iter().find(|event| event.name == name)
}

/// `cycleNo` as `cycle_no`: how tags are usually written.
pub(crate) fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}
