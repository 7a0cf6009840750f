//! PURE. YAML and JSON as `kubectl apply` reads them, with the place of every value, within limits.
//!
//! Scalars without quotes are read by the rules of YAML 1.1 (`scalar`), as kubectl does: `yes` is true and `1.10` is a
//! number. What an alias repeats is counted each time, so that a small file cannot become a large one.

mod node;
mod scalar;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use granit_parser::{Event, Marker, Parser, ScalarStyle};

pub use node::Place;
pub(crate) use node::{Key, Kind, Node};

/// Most values in a file; what has an anchor counts twice, and what an alias repeats once more.
pub(crate) const MAX_VALUES: usize = 500_000;
/// Most bytes of text that aliases repeat.
pub(crate) const MAX_REPEATED: usize = 4 * 1024 * 1024;
/// Most keys that are told to be there twice.
const MAX_TWICE: usize = 1000;
/// Deepest nesting of a document.
pub(crate) const MAX_DEPTH: usize = 100;

/// Why the rest of a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub place: Place,
    pub kind: ProblemKind,
}

/// What the reader stumbled over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// It is no YAML.
    Syntax(String),
    /// A limit is exceeded.
    Limit(String),
}

/// What a file holds: its documents, keys that are there twice, and what ended the reading.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub documents: Vec<Node>,
    /// A key that its mapping had before.
    pub twice: Vec<Key>,
    pub problem: Option<Problem>,
}

/// Reads all documents of a text.
pub(crate) fn read(text: &str) -> Contents {
    let mut reader = Reader::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, span)) => reader.event(event, place(&span.start)),
            Err(why) => {
                let problem = ProblemKind::Syntax(why.info().lines().next().unwrap_or_default().to_owned());
                Err(Problem { place: place(why.marker()), kind: problem })
            }
        };
        if let Err(problem) = read {
            reader.contents.problem = Some(problem);
            break;
        }
    }
    reader.contents
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// A list or a mapping that is being read.
struct Open {
    place: Place,
    anchor: usize,
    within: Within,
}

enum Within {
    List(Vec<Node>),
    Object(Mapping),
}

#[derive(Default)]
struct Mapping {
    fields: Vec<(Key, Node)>,
    /// Where each key stands in `fields`.
    known: HashMap<String, usize>,
    merged: Vec<Node>,
    /// The key whose value comes next.
    key: Option<Key>,
}

impl Mapping {
    /// Takes a field in; the key that was there before, if one was.
    fn put(&mut self, key: Key, node: Node) -> Option<Key> {
        if let Some(field) = self.known.get(&key.text).and_then(|i| self.fields.get_mut(*i)) {
            // As kubectl reads it: the last one counts.
            *field = (key.clone(), node);
            return Some(key);
        }
        self.known.insert(key.text.clone(), self.fields.len());
        self.fields.push((key, node));
        None
    }

    /// `<<`: what the mapping does not say itself.
    fn merge(&mut self, from: Node) {
        match from.kind {
            Kind::Object(more) => {
                for (key, node) in more {
                    if !self.known.contains_key(&key.text) {
                        self.put(key, node);
                    }
                }
            }
            Kind::List(list) => list.into_iter().for_each(|from| self.merge(from)),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        }
    }
}

#[derive(Default)]
struct Reader {
    contents: Contents,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    values: usize,
    repeated: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.as_ref().and_then(|tag| tag.core_suffix().map(str::to_owned));
                let kind = scalar::read(&text, plain, tag.as_deref())
                    .map_err(|why| Problem { place, kind: ProblemKind::Syntax(why) })?;
                self.done(Node::scalar(place, kind, text.into_owned()), anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(place, anchor, Within::List(vec![]))?,
            Event::MappingStart(_, anchor, _) => {
                self.begin(place, anchor, Within::Object(Mapping::default()))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| Problem {
                    place,
                    kind: ProblemKind::Syntax("the alias stands within what it repeats".into()),
                })?;
                self.repeated = self.repeated.saturating_add(node.text_size());
                self.count(node.size, place)?;
                self.done(Node { place, ..node }, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, values: usize, place: Place) -> Result<(), Problem> {
        self.values = self.values.saturating_add(values);
        let limit = |text: String| Err(Problem { place, kind: ProblemKind::Limit(text) });
        if self.values > MAX_VALUES {
            return limit(format!("more than {MAX_VALUES} values, those that aliases repeat included"));
        }
        if self.repeated > MAX_REPEATED {
            return limit(format!("aliases repeat more than {} MiB of text", MAX_REPEATED / 1024 / 1024));
        }
        Ok(())
    }

    fn begin(&mut self, place: Place, anchor: usize, within: Within) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem { place, kind: ProblemKind::Limit(format!("nested more than {MAX_DEPTH} deep")) });
        }
        self.open.push(Open { place, anchor, within });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let node = match open.within {
            Within::List(list) => Node::list(open.place, list),
            Within::Object(mut mapping) => {
                std::mem::take(&mut mapping.merged).into_iter().for_each(|from| mapping.merge(from));
                Node::object(open.place, mapping.fields)
            }
        };
        self.done(node, open.anchor)
    }

    /// Puts a whole value where it belongs.
    fn done(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.count(1, node.place)?;
        if node.depth + self.open.len() > MAX_DEPTH {
            let kind = ProblemKind::Limit(format!("nested more than {MAX_DEPTH} deep"));
            return Err(Problem { place: node.place, kind });
        }
        if anchor > 0 {
            self.repeated = self.repeated.saturating_add(node.text_size());
            self.count(node.size, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.contents.documents.push(node);
            return Ok(());
        };
        match &mut open.within {
            Within::List(list) => list.push(node),
            Within::Object(mapping) => match mapping.key.take() {
                None => {
                    let text = node.key_text().ok_or_else(|| Problem {
                        place: node.place,
                        kind: ProblemKind::Syntax("a list or a mapping is the key of another mapping".into()),
                    })?;
                    mapping.key = Some(Key { text, place: node.place });
                }
                Some(key) if key.text == "<<" => mapping.merged.push(node),
                Some(key) => {
                    let twice = mapping.put(key, node).filter(|_| self.contents.twice.len() < MAX_TWICE);
                    self.contents.twice.extend(twice);
                }
            },
        }
        Ok(())
    }
}
