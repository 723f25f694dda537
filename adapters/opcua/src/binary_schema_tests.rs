use std::fmt::Write as _;

use super::*;

/// A dictionary of these types.
fn dictionary(types: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
        <opc:TypeDictionary xmlns:opc="{LANGUAGE}" xmlns:ua="{STANDARD}" xmlns:tns="urn:plant"
          xmlns:other="urn:other" DefaultByteOrder="LittleEndian" TargetNamespace="urn:plant">
          <opc:Import Namespace="{STANDARD}"/>
          {types}
        </opc:TypeDictionary>"#
    )
}

/// The structure `Part` of these fields.
fn part(fields: &str) -> Result<StructureDefinition, Unusable> {
    let text = dictionary(&format!(
        r#"<opc:StructuredType Name="Part" BaseType="ua:ExtensionObject">{fields}</opc:StructuredType>"#
    ));
    let schema = Schema::parse(text.as_bytes(), 500_000)?;
    schema.structure("Part", &|namespace, name| match (namespace, name) {
        ("urn:plant", "Part") => Some(NodeId::new(2, 1)),
        (STANDARD, "Range") => Some(NodeId::new(0, 884)),
        _ => None,
    })
}

/// Name, type, value rank and whether it is optional, of each field.
fn fields(definition: &StructureDefinition) -> Vec<(&str, NodeId, i32, bool)> {
    let fields = definition.fields.iter().flatten();
    fields
        .map(|it| {
            (
                it.name.as_ref(),
                it.data_type.clone(),
                it.value_rank,
                it.is_optional,
            )
        })
        .collect()
}

fn refused(fields: &str) -> String {
    part(fields).unwrap_err().to_string()
}

#[test]
fn fields_are_in_order_and_of_their_types() -> Result<(), Unusable> {
    let definition = part(
        r#"<opc:Documentation>What a robot holds.</opc:Documentation>
        <opc:Field Name="Number" TypeName="opc:UInt16"/>
        <opc:Field Name="Name" TypeName="opc:CharArray"/>
        <opc:Field Name="Title" TypeName="ua:LocalizedText"/>
        <opc:Field Name="Any" TypeName="ua:Variant"/>
        <opc:Field Name="Whatever" TypeName="ua:ExtensionObject"/>
        <opc:Field Name="Limits" TypeName="ua:Range"/>
        <opc:Field Name="NoOfParts" TypeName="opc:Int32"/>
        <opc:Field Name="Parts" TypeName="tns:Part" LengthField="NoOfParts"/>
        <opc:Field Name="Letters" TypeName="opc:Int32"/>
        <opc:Field Name="Text" TypeName="opc:Char" LengthField="Letters"/>"#,
    )?;
    assert_eq!(definition.structure_type, StructureType::Structure);
    assert_eq!(
        fields(&definition),
        [
            ("Number", DataTypeId::UInt16.into(), -1, false),
            ("Name", DataTypeId::String.into(), -1, false),
            ("Title", DataTypeId::LocalizedText.into(), -1, false),
            ("Any", DataTypeId::BaseDataType.into(), -1, false),
            ("Whatever", DataTypeId::Structure.into(), -1, false),
            ("Limits", NodeId::new(0, 884), -1, false),
            ("Parts", NodeId::new(2, 1), 1, false),
            ("Text", DataTypeId::String.into(), -1, false),
        ]
    );
    assert_eq!(fields(&part("")?), []);
    Ok(())
}

#[test]
fn optional_fields_have_the_bits_of_the_mask_in_their_order() -> Result<(), Unusable> {
    let mask = r#"<opc:Field Name="HasA" TypeName="opc:Bit"/><opc:Field Name="HasB" TypeName="opc:Bit"/>"#;
    let reserved = r#"<opc:Field Name="Reserved1" TypeName="opc:Bit" Length="30"/>"#;
    let always = r#"<opc:Field Name="Always" TypeName="opc:Byte"/>"#;
    let a = r#"<opc:Field Name="A" TypeName="opc:Double" SwitchField="HasA"/>"#;
    let b = r#"<opc:Field Name="NoOfB" TypeName="opc:Int32" SwitchField="HasB"/>
        <opc:Field Name="B" TypeName="opc:Float" LengthField="NoOfB" SwitchField="HasB"/>"#;
    let definition = part(&[mask, reserved, a, always, b].concat())?;
    assert_eq!(
        definition.structure_type,
        StructureType::StructureWithOptionalFields
    );
    assert_eq!(
        fields(&definition),
        [
            ("A", DataTypeId::Double.into(), -1, true),
            ("Always", DataTypeId::Byte.into(), -1, false),
            ("B", DataTypeId::Float.into(), 1, true),
        ]
    );
    for (wrong, reason) in [
        ([mask, reserved, b, a].concat(), "bit 0 is not its own"),
        ([mask, reserved, b].concat(), "bit 0 is not its own"),
        ([mask, a, b].concat(), "it has 2 bits"),
        ([reserved, a].concat(), "it has 30 bits"),
        ([always, mask, a].concat(), "bit behind other fields"),
        ([always, a].concat(), "switched by a field that is no bit"),
    ] {
        let refused = refused(&wrong);
        assert!(refused.contains(reason), "{refused}");
    }
    Ok(())
}

#[test]
fn a_union_has_its_choices_in_order() -> Result<(), Unusable> {
    let switch = r#"<opc:Field Name="SwitchField" TypeName="opc:UInt32"/>"#;
    let code = r#"<opc:Field Name="Code" TypeName="opc:Int16" SwitchField="SwitchField" SwitchValue="1"/>"#;
    let reasons = r#"<opc:Field Name="NoOf" TypeName="opc:Int32" SwitchField="SwitchField" SwitchValue="2"/>
        <opc:Field Name="Reasons" TypeName="opc:String" LengthField="NoOf" SwitchField="SwitchField" SwitchValue="2"/>"#;
    let definition = part(&[switch, code, reasons].concat())?;
    assert_eq!(definition.structure_type, StructureType::Union);
    assert_eq!(
        fields(&definition),
        [
            ("Code", DataTypeId::Int16.into(), -1, false),
            ("Reasons", DataTypeId::String.into(), 1, false),
        ]
    );
    let other = r#"<opc:Field Name="SwitchField" TypeName="opc:Byte"/>"#;
    for (wrong, reason) in [
        ([switch, reasons, code].concat(), "\"Reasons\" is not choice 1"),
        ([other, code].concat(), "no UInt32 that says the choice"),
        (code.to_owned(), "no UInt32 that says the choice"),
    ] {
        let refused = refused(&wrong);
        assert!(refused.contains(reason), "{refused}");
    }
    Ok(())
}

#[test]
fn enumerations_are_numbers() -> Result<(), Unusable> {
    let text = dictionary(
        r#"<opc:EnumeratedType Name="Colour" LengthInBits="32"><opc:EnumeratedValue Name="Red" Value="1"/></opc:EnumeratedType>
        <opc:EnumeratedType Name="Rights" LengthInBits="32" IsOptionSet="true"/>
        <opc:EnumeratedType Name="Small" LengthInBits="8"/>
        <opc:EnumeratedType Name="Odd" LengthInBits="3"/>
        <opc:EnumeratedType Name="Endless"/>"#,
    );
    let schema = Schema::parse(text.as_bytes(), 500_000)?;
    assert_eq!(schema.namespace(), "urn:plant");
    for (name, number) in [
        ("Colour", Some(DataTypeId::Int32)),
        ("Rights", Some(DataTypeId::UInt32)),
        ("Small", Some(DataTypeId::Byte)),
        ("Odd", None),
        ("Endless", None),
    ] {
        assert_eq!(schema.enumeration(name), number, "{name}");
    }
    Ok(())
}

#[test]
fn what_has_no_encoding_is_refused() {
    let array = r#"<opc:Field Name="A" TypeName="opc:Int16" LengthField="NoOf"/>"#;
    let length = |kind: &str| format!(r#"<opc:Field Name="NoOf" TypeName="opc:{kind}"/>"#);
    let between = r#"<opc:Field Name="Between" TypeName="opc:Int32"/>"#;
    for (wrong, reason) in [
        (array.to_owned(), "no Int32 field \"NoOf\""),
        (length("Int16") + array, "no Int32 field \"NoOf\""),
        (length("Int32") + between + array, "no Int32 field \"NoOf\""),
        (length("Int32") + array + array, "no Int32 field \"NoOf\""),
        (between.repeat(2), "field \"Between\" twice"),
        (r#"<opc:Field TypeName="opc:Int16"/>"#.into(), "without a name"),
        (r#"<opc:Field Name="A"/>"#.into(), "the unknown type \"\""),
        (
            r#"<opc:Field Name="A" TypeName="Int16"/>"#.into(),
            "the unknown type \"Int16\"",
        ),
        (
            r#"<opc:Field Name="A" TypeName="no:Int16"/>"#.into(),
            "the unknown type \"no:Int16\"",
        ),
        (
            r#"<opc:Field Name="A" TypeName="tns:Int16"/>"#.into(),
            "the unknown type \"Int16\"",
        ),
        (
            r#"<opc:Field Name="A" TypeName="opc:Part"/>"#.into(),
            "the unknown type \"Part\"",
        ),
        (
            r#"<opc:Field Name="A" TypeName="opc:Char"/>"#.into(),
            "the unknown type \"Char\"",
        ),
        (
            r#"<opc:Field Name="A" TypeName="opc:Int16" Length="4"/>"#.into(),
            "Length",
        ),
        (
            r#"<opc:Field Name="A" TypeName="opc:Char" Terminator="00"/>"#.into(),
            "Terminator",
        ),
    ] {
        let refused = refused(&wrong);
        assert!(refused.contains(reason), "{wrong}: {refused}");
    }
}

#[test]
fn hostile_texts_are_refused_in_time() {
    let begun = std::time::Instant::now();
    let declaration = r#"<!DOCTYPE a [<!ENTITY x "&y;">]>"#;
    let mut attributes = String::from("<a ");
    let mut declarations = String::new();
    for number in 0..200_000 {
        let _ = write!(attributes, "a{number}='' ");
        let _ = write!(declarations, "<a xmlns:n{number}='u{number}'>");
    }
    for (wrong, reason) in [
        (String::new(), ""),
        ("<a".to_owned(), ""),
        ("<a/>".to_owned(), "no TypeDictionary"),
        (dictionary("<opc:StructuredType>"), ""),
        (declaration.to_owned() + &dictionary(""), "DTD"),
        (dictionary(&"<a>".repeat(1_000_000)), ""),
        (dictionary(&"<a/>".repeat(1_000_000)), "nodes limit"),
        (attributes + "/>", "too many attributes"),
        (declarations, "too many namespaces"),
        (dictionary("").replace("Little", "Big"), "BigEndian"),
    ] {
        let refused = Schema::parse(wrong.as_bytes(), 500_000).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    assert!(Schema::parse(&[0xff, 0xfe, 0], 500_000).is_err());
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn what_is_added_around_a_text_is_no_matter() {
    let text = format!("\u{feff}{}\0", dictionary("").trim_start());
    assert!(Schema::parse(text.as_bytes(), 500_000).is_ok());
}
