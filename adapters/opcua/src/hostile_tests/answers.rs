//! Answers of a server: what is nested too deep does not reach the library, and all else that it can read does.

use std::thread;

use floorgate_adapter_api::conformance::with_seeds;
use opcua::core::{Message, ResponseMessage};
use opcua::types::{
    ActivateSessionResponse, Array, BinaryDecodable, BinaryEncodable, BrowseResponse, BrowseResult,
    ByteString, ByteStringBody, CallMethodResult, CallResponse, ContextOwned, CreateMonitoredItemsResponse,
    CreateSessionResponse, DataChangeNotification, DataValue, DateTime, DecodingOptions, DiagnosticInfo,
    EventFieldList, EventNotificationList, ExpandedNodeId, ExtensionObject, GetEndpointsResponse, Guid,
    HistoryData, HistoryReadResponse, HistoryReadResult, LocalizedText, ModifyMonitoredItemsResponse,
    MonitoredItemCreateResult, MonitoredItemModifyResult, MonitoredItemNotification, NamespaceMap, NodeId,
    NotificationMessage, PublishResponse, QualifiedName, Range, ReadResponse, ReferenceDescription,
    RepublishResponse, ResponseHeader, ServiceFault, SetTriggeringResponse, StatusChangeNotification,
    StatusCode, TransferResult, TransferSubscriptionsResponse, UAString, Variant, VariantScalarTypeId,
    WriteResponse,
};

use super::{SEEDS, TESTS, spoil};
use crate::bodies;
use crate::nesting::{DEEPEST, Refused, look_at_answer};

fn looked(message: &[u8]) -> Result<(), Refused> {
    look_at_answer(message, &[])
}

fn context() -> ContextOwned {
    ContextOwned::new(NamespaceMap::new(), bodies::loaders(), DecodingOptions::default())
}

fn written(answer: &ResponseMessage) -> Vec<u8> {
    let context = context();
    let context = context.context();
    let mut bytes = answer.type_id().encode_to_vec(&context);
    bytes.extend(answer.encode_to_vec(&context));
    bytes
}

/// What the library makes of it, and how much it leaves over.
fn read(mut bytes: &[u8]) -> Option<(ResponseMessage, usize)> {
    let context = context();
    let context = context.context();
    let id = NodeId::decode(&mut bytes, &context).ok()?;
    let answer = ResponseMessage::decode_by_object_id(&mut bytes, id.as_object_id().ok()?, &context).ok()?;
    Some((answer, bytes.len()))
}

/// Diagnostic information, so many deep.
fn diagnostics(levels: usize) -> DiagnosticInfo {
    let inner = (levels > 1).then(|| Box::new(diagnostics(levels - 1)));
    DiagnosticInfo {
        symbolic_id: Some(1),
        locale: Some(2),
        additional_info: Some("why".into()),
        inner_status_code: Some(StatusCode::BadNodeIdUnknown),
        inner_diagnostic_info: inner,
        ..DiagnosticInfo::null()
    }
}

/// A data value in a variant in a data value, so many levels; an even number.
fn value(levels: usize) -> DataValue {
    let inner = if levels > 2 {
        Variant::from(value(levels - 2))
    } else {
        Variant::from(1_i32)
    };
    of(inner)
}

fn of(value: Variant) -> DataValue {
    let now = DateTime::now();
    DataValue {
        value: Some(value),
        status: Some(StatusCode::UncertainLastUsableValue),
        source_timestamp: Some(now),
        source_picoseconds: Some(10),
        server_timestamp: Some(now),
        server_picoseconds: Some(20),
    }
}

fn variants() -> Vec<Variant> {
    let id = NodeId::new(2, "a");
    vec![
        Variant::Empty,
        true.into(),
        1_i8.into(),
        1_u8.into(),
        1_i16.into(),
        1_u16.into(),
        1_i32.into(),
        1_u32.into(),
        1_i64.into(),
        1_u64.into(),
        1_f32.into(),
        1_f64.into(),
        UAString::from("a text").into(),
        UAString::null().into(),
        DateTime::now().into(),
        Guid::null().into(),
        ByteString::from(vec![1, 2, 3]).into(),
        Variant::XmlElement("<a/>".into()),
        id.clone().into(),
        NodeId::new(0, 70_000_u32).into(),
        NodeId::new(3, Guid::null()).into(),
        NodeId::new(3, ByteString::from(vec![1])).into(),
        Variant::from(ExpandedNodeId {
            node_id: id,
            namespace_uri: "urn:a".into(),
            server_index: 7,
        }),
        StatusCode::BadTimeout.into(),
        QualifiedName::new(1, "name").into(),
        LocalizedText::new("en", "text").into(),
        ExtensionObject::from_message(Range { low: 1.0, high: 2.0 }).into(),
        ExtensionObject::null().into(),
        value(4).into(),
        diagnostics(3).into(),
        boxed(1_i32.into()),
        vec![1.5_f64, 2.5].into(),
        vec![UAString::from("one"), UAString::null()].into(),
        array(
            VariantScalarTypeId::Variant,
            vec![boxed(1_i32.into()), boxed("two".into())],
            None,
        ),
        Vec::<i32>::new().into(),
        array(
            VariantScalarTypeId::Int16,
            (0..6_i16).map(Variant::from).collect(),
            Some(vec![2, 3]),
        ),
    ]
}

fn boxed(value: Variant) -> Variant {
    Variant::Variant(Box::new(value))
}

fn array(of: VariantScalarTypeId, values: Vec<Variant>, dimensions: Option<Vec<u32>>) -> Variant {
    let made = match dimensions {
        Some(dimensions) => Array::new_multi(of, values, dimensions),
        None => Array::new(of, values),
    };
    Variant::from(made.expect("values of one type"))
}

fn header(levels: usize) -> ResponseHeader {
    ResponseHeader {
        service_diagnostics: diagnostics(levels),
        string_table: Some(vec!["one".into(), "two".into()]),
        additional_header: ExtensionObject::from_message(Range { low: 1.0, high: 2.0 }),
        ..ResponseHeader::null()
    }
}

fn notification(levels: usize) -> NotificationMessage {
    let monitored_items = variants().into_iter().map(of).chain([value(levels)]);
    let changes = DataChangeNotification {
        monitored_items: Some(
            monitored_items
                .map(|value| MonitoredItemNotification {
                    client_handle: 7,
                    value,
                })
                .collect(),
        ),
        diagnostic_infos: Some(vec![diagnostics(levels)]),
    };
    let events = EventNotificationList {
        events: Some(vec![EventFieldList {
            client_handle: 7,
            event_fields: Some(variants()),
        }]),
    };
    let status = StatusChangeNotification {
        status: StatusCode::BadTimeout,
        diagnostic_info: diagnostics(levels),
    };
    NotificationMessage {
        sequence_number: 9,
        publish_time: DateTime::now(),
        notification_data: Some(vec![
            ExtensionObject::from_message(changes),
            ExtensionObject::from_message(events),
            ExtensionObject::from_message(status),
        ]),
    }
}

/// Answers with something in each of their places, nested so many levels where it can be.
fn answers(levels: usize) -> Vec<ResponseMessage> {
    let mut answers = of_nodes(levels);
    answers.extend(of_subscriptions(levels));
    answers
}

fn of_nodes(levels: usize) -> Vec<ResponseMessage> {
    let response_header = header(levels);
    let diagnostic_infos = Some(vec![DiagnosticInfo::null(), diagnostics(levels)]);
    let results = Some(vec![StatusCode::Good, StatusCode::BadTimeout]);
    let reference = ReferenceDescription {
        reference_type_id: NodeId::new(0, 35_u32),
        is_forward: true,
        node_id: NodeId::new(2, "a").into(),
        browse_name: QualifiedName::new(2, "a"),
        display_name: LocalizedText::new("", "a"),
        type_definition: NodeId::new(0, 63_u32).into(),
        ..ReferenceDescription::default()
    };
    let history = HistoryData {
        data_values: Some(vec![value(levels), of(2_i32.into())]),
    };
    let call = CallMethodResult {
        input_argument_results: results.clone(),
        input_argument_diagnostic_infos: diagnostic_infos.clone(),
        output_arguments: Some(variants()),
        ..CallMethodResult::default()
    };
    vec![
        ServiceFault {
            response_header: response_header.clone(),
        }
        .into(),
        ActivateSessionResponse {
            response_header: response_header.clone(),
            server_nonce: ByteString::from(vec![1; 32]),
            results: results.clone(),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        WriteResponse {
            response_header: response_header.clone(),
            results: results.clone(),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        BrowseResponse {
            response_header: response_header.clone(),
            results: Some(vec![BrowseResult {
                references: Some(vec![reference.clone(), reference]),
                ..BrowseResult::default()
            }]),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        ReadResponse {
            response_header: response_header.clone(),
            results: Some(variants().into_iter().map(of).chain([value(levels)]).collect()),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        HistoryReadResponse {
            response_header: response_header.clone(),
            results: Some(vec![HistoryReadResult {
                history_data: ExtensionObject::from_message(history),
                ..HistoryReadResult::default()
            }]),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        CallResponse {
            response_header: response_header.clone(),
            results: Some(vec![call]),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
    ]
}

fn of_subscriptions(levels: usize) -> Vec<ResponseMessage> {
    let response_header = header(levels);
    let diagnostic_infos = Some(vec![DiagnosticInfo::null(), diagnostics(levels)]);
    let results = Some(vec![StatusCode::Good, StatusCode::BadTimeout]);
    vec![
        CreateMonitoredItemsResponse {
            response_header: response_header.clone(),
            results: Some(vec![MonitoredItemCreateResult::default()]),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        ModifyMonitoredItemsResponse {
            response_header: response_header.clone(),
            results: Some(vec![MonitoredItemModifyResult::default()]),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        SetTriggeringResponse {
            response_header: response_header.clone(),
            add_results: results.clone(),
            add_diagnostic_infos: diagnostic_infos.clone(),
            remove_results: results.clone(),
            remove_diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        PublishResponse {
            response_header: response_header.clone(),
            subscription_id: 1,
            available_sequence_numbers: Some(vec![1, 2]),
            more_notifications: true,
            notification_message: notification(levels),
            results: results.clone(),
            diagnostic_infos: diagnostic_infos.clone(),
        }
        .into(),
        RepublishResponse {
            response_header: response_header.clone(),
            notification_message: notification(levels),
        }
        .into(),
        TransferSubscriptionsResponse {
            response_header,
            results: Some(vec![TransferResult {
                available_sequence_numbers: Some(vec![1, 2]),
                ..TransferResult::default()
            }]),
            diagnostic_infos,
        }
        .into(),
    ]
}

/// Those of which what follows the header is flat, and is not walked.
fn flat(levels: usize) -> Vec<ResponseMessage> {
    vec![
        GetEndpointsResponse {
            response_header: header(levels),
            endpoints: Some(vec![opcua::types::EndpointDescription::default()]),
        }
        .into(),
        CreateSessionResponse {
            response_header: header(levels),
            ..CreateSessionResponse::default()
        }
        .into(),
    ]
}

#[test]
fn answers_are_walked_to_their_end() {
    for answer in answers(4) {
        let mut bytes = written(&answer);
        assert_eq!(looked(&bytes), Ok(()), "{answer:?}");
        assert!(read(&bytes).is_some(), "{answer:?}");
        bytes.pop();
        assert_eq!(looked(&bytes), Err(Refused::TooShort), "{answer:?}");
    }
    for answer in flat(4) {
        assert_eq!(looked(&written(&answer)), Ok(()), "{answer:?}");
    }
}

#[test]
fn each_place_that_is_nested_too_deep_is_found() {
    for answer in answers(DEEPEST).into_iter().chain(flat(DEEPEST)) {
        assert_eq!(looked(&written(&answer)), Ok(()), "{answer:?}");
    }
    // The header is nested as deep as may be, so that what refuses is behind it.
    for levels in [DEEPEST + 2, 400] {
        let thread = thread::Builder::new().stack_size(256 << 20);
        let check = move || {
            for answer in answers(levels).into_iter().chain(flat(levels)) {
                assert_eq!(looked(&written(&answer)), Err(Refused::TooDeep));
            }
            let deep = value(levels);
            let read = ReadResponse {
                response_header: header(DEEPEST),
                results: Some(vec![value(2), deep]),
                diagnostic_infos: None,
            };
            assert_eq!(looked(&written(&read.into())), Err(Refused::TooDeep));
            let write = WriteResponse {
                response_header: header(1),
                results: None,
                diagnostic_infos: Some(vec![diagnostics(levels)]),
            };
            assert_eq!(looked(&written(&write.into())), Err(Refused::TooDeep));
            let publish = RepublishResponse {
                response_header: header(1),
                notification_message: notification(levels),
            };
            let bytes = written(&publish.into());
            assert_eq!(looked(&bytes), Err(Refused::TooDeep));
            // Nor does the library read a notification that comes to it another way.
            assert!(read_in_little(&bytes).is_none());
        };
        thread.spawn(check).expect("a thread").join().expect("no panic");
    }
}

/// What the library makes of it on a stack as small as any here.
fn read_in_little(bytes: &[u8]) -> Option<(ResponseMessage, usize)> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(2 << 20);
        let reading = thread.spawn_scoped(scope, || read(bytes)).expect("a thread");
        reading.join().expect("no panic")
    })
}

#[test]
fn what_the_library_can_read_passes_and_what_does_not_it_cannot() {
    let mut right: Vec<Vec<u8>> = Vec::new();
    for levels in [1, 3, DEEPEST, DEEPEST + 1] {
        right.extend(answers(levels).iter().chain(&flat(levels)).map(written));
    }
    with_seeds(SEEDS, TESTS, |random| {
        let bytes = spoil(right[random.usize(..right.len())].clone(), random);
        let looked = self::looked(&bytes);
        if looked == Err(Refused::TooDeep) {
            return;
        }
        let read = read_in_little(&bytes);
        assert!(
            looked.is_ok() || read.is_none(),
            "{looked:?} of what the library reads as {read:?}"
        );
    });
}

#[test]
fn what_the_library_reads_of_the_last_chunks_alone_is_looked_at_too() {
    let levels = DEEPEST + 4;
    let deep = ReadResponse {
        response_header: header(1),
        results: Some(vec![value(levels)]),
        diagnostic_infos: None,
    };
    let deep = written(&deep.into());
    // A chunk before it, which the library leaves out: a nonce that is as long as what comes.
    let swallowing = ActivateSessionResponse {
        response_header: header(1),
        ..ActivateSessionResponse::default()
    };
    let mut bytes = written(&swallowing.into());
    bytes.truncate(bytes.len() - 12);
    bytes.extend(i32::try_from(deep.len()).expect("some").to_le_bytes());
    let second = bytes.len();
    bytes.extend(deep);
    bytes.extend([0xFF; 8]); // no results, no diagnostics
    assert_eq!(look_at_answer(&bytes, &[]), Ok(()));
    assert_eq!(look_at_answer(&bytes, &[second]), Err(Refused::TooDeep));
}

#[test]
fn what_would_be_many_times_as_large_in_memory_is_refused() {
    let read = |value: &[u8]| {
        let answer = ReadResponse {
            response_header: header(1),
            results: Some(vec![DataValue::null()]),
            diagnostic_infos: None,
        };
        let mut bytes = written(&answer.into());
        // In the place of the null value and the diagnostics.
        bytes.truncate(bytes.len() - 5);
        bytes.push(0x01);
        bytes.extend(value);
        bytes.extend([0xFF; 4]);
        looked(&bytes)
    };
    let array = |kind: u8, count: usize, element: &[u8]| {
        let mut bytes = vec![0x80 | kind];
        bytes.extend(i32::try_from(count).expect("some").to_le_bytes());
        bytes.extend(element.repeat(count));
        bytes
    };
    assert_eq!(read(&array(1, 100_000, &[1])), Ok(()));
    assert_eq!(read(&array(1, 100_001, &[1])), Err(Refused::TooMany));
    let diagnostics = array(25, 100_000, &[0]);
    assert_eq!(read(&array(24, 3, &diagnostics)), Ok(()));
    assert_eq!(read(&array(24, 30, &diagnostics)), Err(Refused::TooMany));
}

#[test]
fn a_structure_is_read_by_its_encoding_or_its_type_and_stays_bytes_where_it_is_malformed() {
    let context = context();
    let context = context.context();
    let object = |number: u32, body: &[u8]| {
        let mut bytes = NodeId::new(0, number).encode_to_vec(&context);
        bytes.push(1);
        bytes.extend(i32::try_from(body.len()).expect("some").to_le_bytes());
        bytes.extend(body);
        ExtensionObject::decode(&mut bytes.as_slice(), &context).expect("it is taken")
    };
    for number in [884, 886] {
        assert!(object(number, &[0; 16]).inner_is::<Range>(), "{number}");
        assert!(object(number, &[0; 8]).inner_is::<ByteStringBody>(), "{number}");
    }
    for number in [809, 811] {
        assert!(
            object(number, &[0xFF; 8]).inner_is::<DataChangeNotification>(),
            "{number}"
        );
    }
    assert!(object(296, &[0; 16]).inner_is::<ByteStringBody>());
}
