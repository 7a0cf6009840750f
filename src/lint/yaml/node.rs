//! PURE. A value of a document and where it stands.

use serde_json::{Map, Number, Value};

/// A place in a file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub text: String,
    pub place: Place,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub place: Place,
    pub kind: Kind,
    /// What was written, where it was read as something else than text.
    pub written: Option<String>,
    /// Values in it, itself included.
    pub size: usize,
    /// Levels in it, itself included where it is a list or an object.
    pub depth: usize,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

impl Node {
    /// A scalar; `written` is its text in the file.
    pub fn scalar(place: Place, kind: Kind, written: String) -> Self {
        let written = (!matches!(kind, Kind::Text(_))).then_some(written);
        Self { place, kind, written, size: 1, depth: 0 }
    }

    /// A list.
    pub fn list(place: Place, list: Vec<Self>) -> Self {
        let size = 1 + list.iter().map(|n| n.size).sum::<usize>();
        let depth = 1 + list.iter().map(|n| n.depth).max().unwrap_or_default();
        Self { place, kind: Kind::List(list), written: None, size, depth }
    }

    /// An object.
    pub fn object(place: Place, fields: Vec<(Key, Self)>) -> Self {
        let size = 1 + fields.iter().map(|(_, n)| n.size).sum::<usize>();
        let depth = 1 + fields.iter().map(|(_, n)| n.depth).max().unwrap_or_default();
        Self { place, kind: Kind::Object(fields), written: None, size, depth }
    }

    /// Bytes of text in it.
    pub fn text_size(&self) -> usize {
        match &self.kind {
            Kind::Text(text) => text.len(),
            Kind::List(list) => list.iter().map(Self::text_size).sum(),
            Kind::Object(fields) => fields.iter().map(|(key, node)| key.text.len() + node.text_size()).sum(),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => 0,
        }
    }

    /// As the key of a mapping, as kubectl turns it into text.
    pub fn key_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Null => Some("null".into()),
            Kind::Bool(b) => Some(b.to_string()),
            Kind::Number(n) => Some(n.to_string()),
            Kind::Text(text) => Some(text.clone()),
            Kind::List(_) | Kind::Object(_) => None,
        }
    }

    /// The field of this name.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.fields().iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// The fields; none where it is no object.
    pub fn fields(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Object(fields) => fields,
            _ => &[],
        }
    }

    /// The entries; none where it is no list.
    pub fn entries(&self) -> &[Self] {
        match &self.kind {
            Kind::List(list) => list,
            _ => &[],
        }
    }

    /// Its text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text at a path of keys.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(self, |node, key| node.get(key)).and_then(Self::text)
    }

    /// Without places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Number(n) => Value::Number(n.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Kind::Object(fields) => {
                Value::Object(fields.iter().map(|(k, n)| (k.text.clone(), n.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    /// Where a field stands as messages name it, such as `spec.phases.verify.steps[smoke].http.path`: the value, or the
    /// nearest one around it that is there.
    pub fn find<'n>(&'n self, field: &str) -> (Place, &'n Self) {
        let (mut place, mut node, mut rest) = (self.place, self, field);
        loop {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            if rest.is_empty() {
                return (place, node);
            }
            if let Some((label, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
                let named = node.entries().iter().rev().find(|entry| entry.text_at(&["name"]) == Some(label));
                let by_place = || label.parse::<usize>().ok().and_then(|i| node.entries().get(i));
                let Some(entry) = named.or_else(by_place) else { return (place, node) };
                (place, node, rest) = (entry.place, entry, after);
                continue;
            }
            // Keys of labels hold dots: the longest that fits.
            let fits = |key: &str| {
                rest.strip_prefix(key).filter(|after| after.is_empty() || after.starts_with(['.', '[', ' '])).is_some()
            };
            let found = node.fields().iter().filter(|(key, _)| fits(&key.text)).max_by_key(|(key, _)| key.text.len());
            let Some((key, value)) = found else { return (place, node) };
            (place, node, rest) = (key.place, value, &rest[key.text.len()..]);
        }
    }
}
