//! What a look at a device that nobody has configured yet found.
//!
//! Each adapter looks in its own way (`browse`, `probe`) and says it in these words, of which the workbench makes a first mapping.

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// The settings of the source, without `adapter`, in the order in which they are to be written.
    pub settings: Vec<(String, Scalar)>,
    /// Everything that has a value, in the order of the device.
    pub points: Vec<Point>,
    /// What could not be looked at and why, in the device's own words.
    pub missed: Vec<String>,
    /// The look was ended before all was seen.
    pub is_partial: bool,
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Names from the top down, as the device has them; the last one is its own.
    pub path: Vec<String>,
    /// The tag's address: the adapter's own keys, in the order in which they are to be written.
    pub address: Vec<(&'static str, Scalar)>,
    /// What its values are.
    pub kind: PointKind,
    /// Its unit as UN/ECE Recommendation 20 code.
    pub unit: Option<String>,
    /// The smallest and the largest value of its usual range.
    pub range: Option<(f64, f64)>,
    /// Names of the values of an enumeration.
    pub states: Vec<(i64, String)>,
    /// What the device says of it.
    pub description: Option<String>,
    /// The value that was read, as text.
    pub value: Option<String>,
    /// What it is by a companion specification.
    pub role: Option<Role>,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointKind {
    /// True or false.
    Bit,
    /// Whole numbers.
    Whole,
    /// Floating-point numbers.
    Float,
    /// Text.
    Text,
    /// Something that a mapping cannot use yet: an array, a structure.
    Other,
}

/// What a point is by a companion specification: which standard event it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// The standard event, `EquipmentStateChanged`.
    pub event: &'static str,
    /// The field of the event that the point is: `state`, `good`.
    pub field: &'static str,
    /// The table of its values, `packml-state`, where it has one.
    pub values: Option<&'static str>,
}

/// A value in YAML.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text, quoted where it has to be.
    Text(String),
    /// A mapping in flow style.
    Map(Vec<(String, Scalar)>),
}
