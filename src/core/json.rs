//! Writing one JSON object field by field, in order, without a tree in between.

use std::sync::Arc;

use serde::Serialize;

use crate::plan::Field;

/// A JSON object that is being written.
///
/// Fields that the mapping replaces (`data:` with the same name) are left out when the rule writes them.
pub(crate) struct Object<'a> {
    bytes: Vec<u8>,
    replaced: &'a [(Arc<str>, Field)],
}

impl<'a> Object<'a> {
    pub(crate) fn new(replaced: &'a [(Arc<str>, Field)]) -> Self {
        let mut bytes = Vec::with_capacity(640);
        bytes.push(b'{');
        Self { bytes, replaced }
    }

    /// One of few fields, all of which are written.
    pub(crate) fn small() -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.push(b'{');
        Self { bytes, replaced: &[] }
    }

    /// Writes a field, unless the mapping replaces it.
    pub(crate) fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if !self.replaced.iter().any(|(replaced, _)| &**replaced == name) {
            self.put(name, value);
        }
    }

    /// Writes a field, whatever the mapping says.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let before = self.bytes.len();
        self.name(name);
        // Serialising into a vector fails only for maps with keys that are no text, which nothing here has; should
        // it ever, the field is left out rather than the object broken.
        if serde_json::to_writer(&mut self.bytes, value).is_err() {
            self.bytes.truncate(before);
        }
    }

    /// Opens an object as the value of a field; [`Object::close`] ends it.
    pub(crate) fn open(&mut self, name: &str) {
        self.name(name);
        self.bytes.push(b'{');
    }

    /// Ends what [`Object::open`] began.
    pub(crate) fn close(&mut self) {
        self.bytes.push(b'}');
    }

    /// Writes text that needs no escaping (times, numbers in hexadecimal).
    pub(crate) fn plain(&mut self, name: &str, text: &str) {
        self.name(name);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
    }

    /// Writes a field whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.bytes.extend_from_slice(json);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'}');
        self.bytes
    }

    fn name(&mut self, name: &str) {
        if self.bytes.last() != Some(&b'{') {
            self.bytes.push(b',');
        }
        // Field names come from this crate or from a mapping; the latter may hold anything.
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if name.bytes().all(is_plain) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(b"\":");
        } else if serde_json::to_writer(&mut self.bytes, name).is_ok() {
            self.bytes.push(b':');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_order_and_replaced_ones_are_left_out() {
        let replaced = [("b".into(), Field::Constant(serde_json::Value::Null))];
        let mut object = Object::new(&replaced);
        object.field("a", &1);
        object.field("b", &2);
        object.open("c");
        object.field("d\"", "x\"y");
        object.close();
        object.plain("e", "0x00");
        assert_eq!(object.finish(), br#"{"a":1,"c":{"d\"":"x\"y"},"e":"0x00"}"#);
    }
}
