use floorgate_adapter_api::Value;
use opcua::types::custom::{DataTypeTree, EncodingIds, ParentIds, TypeInfo};
use opcua::types::{ByteStringBody, DataTypeDefinition, ExtensionObject};

use super::*;
use crate::structure::Types;

const TYPES: &str = r#"
  <opc:EnumeratedType Name="Colour" LengthInBits="32"/>
  <opc:StructuredType Name="Step">
    <opc:Field Name="Seconds" TypeName="opc:Int16"/>
    <opc:Field Name="Colour" TypeName="tns:Colour"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Order">
    <opc:Field Name="HasDue" TypeName="opc:Bit"/>
    <opc:Field Name="HasSteps" TypeName="opc:Bit"/>
    <opc:Field Name="Reserved1" TypeName="opc:Bit" Length="30"/>
    <opc:Field Name="Id" TypeName="opc:String"/>
    <opc:Field Name="Due" TypeName="opc:Byte" SwitchField="HasDue"/>
    <opc:Field Name="NoOfSteps" TypeName="opc:Int32" SwitchField="HasSteps"/>
    <opc:Field Name="Steps" TypeName="tns:Step" LengthField="NoOfSteps" SwitchField="HasSteps"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Reject" BaseType="ua:Union">
    <opc:Field Name="Switch" TypeName="opc:UInt32"/>
    <opc:Field Name="Code" TypeName="opc:Byte" SwitchField="Switch" SwitchValue="1"/>
    <opc:Field Name="Limits" TypeName="ua:Limits" SwitchField="Switch" SwitchValue="2"/>
    <opc:Field Name="Step" TypeName="tns:Step" SwitchField="Switch" SwitchValue="3"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Flags"><opc:Field Name="Low" TypeName="opc:Bit" Length="4"/></opc:StructuredType>
  <opc:StructuredType Name="Flagged"><opc:Field Name="Flags" TypeName="tns:Flags"/></opc:StructuredType>
  <opc:StructuredType Name="Above"><opc:Field Name="Flagged" TypeName="tns:Flagged"/></opc:StructuredType>
  <opc:StructuredType Name="Endless"><opc:Field Name="Again" TypeName="tns:Endless"/></opc:StructuredType>
  <opc:StructuredType Name="Wide">
    <opc:Field Name="NoOf" TypeName="opc:Int32"/><opc:Field Name="Of" TypeName="tns:Nothing" LengthField="NoOf"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Nothing"/>
  <opc:StructuredType Name="Names">
    <opc:Field Name="NoOf" TypeName="opc:Int32"/><opc:Field Name="Of" TypeName="opc:String" LengthField="NoOf"/>
  </opc:StructuredType>
  <opc:StructuredType Name="Times">
    <opc:Field Name="NoOf" TypeName="opc:Int32"/><opc:Field Name="Of" TypeName="opc:DateTime" LengthField="NoOf"/>
  </opc:StructuredType>"#;

/// All structures of it, with their ids in the order of the text.
const NAMES: [&str; 11] = [
    "Step", "Order", "Reject", "Flags", "Flagged", "Above", "Endless", "Wide", "Nothing", "Names", "Times",
];

fn id(name: &str) -> NodeId {
    NodeId::new(2, name)
}

fn encoding(name: &str) -> NodeId {
    NodeId::new(2, format!("{name}.Binary"))
}

fn dictionary(namespace: &str, types: &str, described: &[(&str, NodeId)]) -> Dictionary {
    let text = format!(
        r#"<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:ua="http://opcfoundation.org/UA/"
             xmlns:tns="{namespace}" xmlns:plant="urn:plant" TargetNamespace="{namespace}">{types}</opc:TypeDictionary>"#
    );
    let described = described
        .iter()
        .map(|(name, id)| ((*name).to_owned(), id.clone()));
    Dictionary {
        text: text.into_bytes(),
        described: described.collect(),
    }
}

fn structure(id: NodeId, is_defined: bool) -> Structure {
    Structure {
        encoding: NodeId::new(3, id.to_string()),
        id,
        is_defined,
    }
}

/// The plant's definitions, and those of another namespace that refers to it.
fn definitions() -> HashMap<NodeId, StructureDefinition> {
    let described = NAMES.map(|name| (name, id(name)));
    let plant = dictionary("urn:plant", TYPES, &described);
    let other = r#"<opc:StructuredType Name="Other">
        <opc:Field Name="Step" TypeName="plant:Step"/><opc:Field Name="Colour" TypeName="plant:Colour"/>
      </opc:StructuredType>"#;
    let other = dictionary(
        "urn:other",
        other,
        &[("Other", id("Other")), ("Missing", id("Missing"))],
    );
    let broken = dictionary("urn:broken", "<", &[("Broken", id("Broken"))]);
    let names = NAMES.into_iter().chain(["Other", "Missing", "Broken"]);
    let mut structures: Vec<Structure> = names.map(|name| structure(id(name), false)).collect();
    let limits = NodeId::new(0, 884);
    structures.push(structure(limits.clone(), true));
    let standard = HashMap::from([("Limits".to_owned(), limits)]);
    define(&[plant, other, broken], &structures, &standard)
}

/// What the structure of these bytes is, as JSON; an error's text where it is none.
fn decoded(name: &str, bytes: &[u8]) -> String {
    let mut parents = ParentIds::new();
    let definitions = definitions();
    for id in definitions.keys() {
        parents.add_type(id.clone(), DataTypeId::Structure.into());
    }
    parents.add_type(NodeId::new(0, 884), DataTypeId::Structure.into());
    let mut tree = DataTypeTree::new(parents);
    for name in NAMES.into_iter().chain(["Other"]) {
        let Some(definition) = definitions.get(&id(name)) else {
            continue;
        };
        let encodings = EncodingIds {
            binary_id: encoding(name),
            ..EncodingIds::default()
        };
        let definition = DataTypeDefinition::Structure(definition.clone());
        let info = TypeInfo::from_type_definition(
            definition,
            String::new(),
            Some(encodings),
            false,
            &id(name),
            tree.parent_ids(),
        );
        tree.add_type(id(name), info.expect("a type that can be used"));
    }
    let body = ByteStringBody::new(bytes.to_vec().into(), encoding(name));
    let variant = Variant::ExtensionObject(ExtensionObject::new(body));
    match Types::made(tree).value(variant) {
        Ok(value) => value.map_or_else(|| "null".to_owned(), |value| json(&value)),
        Err(unsupported) => unsupported.0.into_owned(),
    }
}

fn json(value: &Value) -> String {
    match value {
        Value::Record(parts) => {
            let parts = parts
                .iter()
                .map(|(name, value)| format!("{name}: {}", json(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn values_are_read_by_the_dictionary() {
    let step = [7, 0, 2, 0, 0, 0];
    assert_eq!(decoded("Step", &step), "{Seconds: 7, Colour: 2}");
    let id = [1, 0, 0, 0, b'A'];
    let order = |mask: u8, rest: &[u8]| [&[mask, 0, 0, 0], id.as_slice(), rest].concat();
    assert_eq!(decoded("Order", &order(0, &[])), "{Id: A}");
    assert_eq!(decoded("Order", &order(1, &[9])), "{Id: A, Due: 9}");
    let steps = [[2, 0, 0, 0].as_slice(), &step, &step].concat();
    let steps_as_text = "Steps: [{Seconds: 7, Colour: 2}, {Seconds: 7, Colour: 2}]";
    assert_eq!(
        decoded("Order", &order(2, &steps)),
        format!("{{Id: A, {steps_as_text}}}")
    );
    assert_eq!(
        decoded("Order", &order(3, &[&[9], steps.as_slice()].concat())),
        format!("{{Id: A, Due: 9, {steps_as_text}}}")
    );
    assert_eq!(decoded("Reject", &[0, 0, 0, 0]), "{}");
    assert_eq!(decoded("Reject", &[1, 0, 0, 0, 5]), "{Code: 5}");
    let third = [[3, 0, 0, 0].as_slice(), &step].concat();
    assert_eq!(decoded("Reject", &third), "{Step: {Seconds: 7, Colour: 2}}");
    let other = [step.as_slice(), &[1, 0, 0, 0]].concat();
    assert_eq!(
        decoded("Other", &other),
        "{Step: {Seconds: 7, Colour: 2}, Colour: 1}"
    );
    let null = [0xff; 4];
    let names = [[3, 0, 0, 0].as_slice(), &null, &id, &null].concat();
    assert_eq!(decoded("Names", &names), "{Of: [, A, ]}");
}

#[test]
fn what_does_not_fit_its_dictionary_is_no_value() {
    for (name, bytes, reason) in [
        ("Step", [7, 0, 2, 0, 0, 0, 1].as_slice(), "1 bytes are left"),
        ("Step", &[7, 0, 2], "does not fit"),
        ("Reject", &[4, 0, 0, 0, 5], "no choice 4"),
        ("Endless", &[], "too deep"),
        ("Wide", &[0xff, 0xff, 0xff, 0x7f], "too many values"),
        ("Flags", &[1], "does not define"),
        ("Above", &[1], "does not define"),
        ("Times", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "null elements"),
    ] {
        let decoded = decoded(name, bytes);
        assert!(decoded.contains(reason), "{name}: {decoded}");
    }
}

/// What a type has a part of that is not defined cannot be read either, at any depth.
#[test]
fn what_has_an_undefined_part_is_undefined() {
    let definitions = definitions();
    let mut names: Vec<String> = definitions.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    let defined = [
        "Endless", "Names", "Nothing", "Order", "Other", "Reject", "Step", "Times", "Wide",
    ];
    assert_eq!(names, defined.map(|name| id(name).to_string()));
}

#[test]
fn only_a_server_that_lacks_definitions_is_asked() {
    let (mine, standard) = (id("Mine"), NodeId::new(0, 884));
    let asked = |structures: &[Structure]| {
        let mut asked: Vec<NodeId> = candidates(structures).into_values().collect();
        asked.sort_by_key(|id| id.namespace);
        asked
    };
    let of = |id: &NodeId, is_defined| structure(id.clone(), is_defined);
    assert!(asked(&[of(&mine, true), of(&standard, true)]).is_empty());
    let unencoded = Structure {
        encoding: NodeId::null(),
        ..of(&mine, false)
    };
    assert!(asked(&[unencoded]).is_empty());
    // One of the standard's own is asked for where no other of these is defined.
    assert_eq!(
        asked(&[of(&mine, false), of(&standard, false)]),
        [standard.clone(), mine.clone()]
    );
    let other = NodeId::new(0, 296);
    assert!(asked(&[of(&mine, true), of(&standard, false), of(&other, true)]).is_empty());
    assert_eq!(
        asked(&[of(&mine, false), of(&standard, false), of(&other, true)]),
        std::slice::from_ref(&mine)
    );
    // A part that is defined is known by its description.
    let part = NodeId::new(3, "Part");
    assert_eq!(asked(&[of(&mine, false), of(&part, true)]), [mine, part]);
    let many = (0..30_000_u32).map(|number| structure(NodeId::new(2, number), false));
    assert_eq!(asked(&many.collect::<Vec<_>>()).len(), MOST_TYPES);
}

#[test]
fn a_dictionary_that_is_too_large_or_no_text_is_none() {
    let answer = |value: Variant| vec![DataValue::value_only(value)];
    let mut left = MOST_BYTES;
    let mut text_of = |bytes: usize| {
        let value = Variant::ByteString(vec![b'<'; bytes].into());
        text(&id("it"), answer(value), &mut left).len()
    };
    // What one takes the others cannot have.
    let most = MOST_BYTES - 10;
    assert_eq!(text_of(MOST_BYTES + 1), 0);
    assert_eq!(text_of(most), most);
    assert_eq!(text_of(11), 0);
    assert_eq!(text_of(10), 10);
    assert_eq!(text(&id("it"), answer(Variant::from(1)), &mut left).len(), 0);
    assert_eq!(text(&id("it"), Vec::new(), &mut left).len(), 0);
}
