//! Where the values of a YAML document stand: line and column by JSON pointer.
//!
//! Owns the walk over the parser's events; refuses to judge a document that does not parse, of which it knows no places.
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// Line and column, both from 1, by JSON pointer; of keys, the place of their value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, (usize, usize)>);

/// Most nested collections that are looked into.
const DEPTH_MAX: usize = 64;

/// A collection that is open.
enum Open {
    /// A list with the index of its next element.
    List(String, usize),
    /// An object, with the key whose value comes next.
    Object(String, Option<String>),
}

impl Places {
    /// The places of the first document of a text.
    #[must_use]
    pub fn of(text: &str) -> Places {
        let mut found = BTreeMap::new();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let at = (span.start.line(), span.start.col() + 1);
            let (scalar, inner) = match &event {
                Event::Scalar(text, ..) => (Some(text.to_string()), None),
                Event::Alias(_) => (Some(String::new()), None),
                Event::SequenceStart(..) => (None, Some(true)),
                Event::MappingStart(..) => (None, Some(false)),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::DocumentEnd => break,
                _ => continue,
            };
            if let (Some(Open::Object(_, key @ None)), Some(text)) = (open.last_mut(), &scalar) {
                *key = Some(text.clone());
                continue;
            }
            let pointer = next_pointer(open.last_mut());
            found.insert(pointer.clone(), at);
            match inner {
                Some(_) if open.len() >= DEPTH_MAX => break,
                Some(true) => open.push(Open::List(pointer, 0)),
                Some(false) => open.push(Open::Object(pointer, None)),
                None => {}
            }
        }
        Places(found)
    }

    /// The place of a value, or of the nearest value around it; (0, 0) if nothing is known.
    #[must_use]
    pub fn at(&self, pointer: &str) -> (usize, usize) {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.0.get(pointer) {
                return *place;
            }
            match pointer.rsplit_once('/') {
                Some((around, _)) => pointer = around,
                None => return (0, 0),
            }
        }
    }
}

fn next_pointer(open: Option<&mut Open>) -> String {
    match open {
        None => String::new(),
        Some(Open::List(at, index)) => {
            let pointer = format!("{at}/{index}");
            *index += 1;
            pointer
        }
        Some(Open::Object(at, key)) => {
            let key = key.take().unwrap_or_default();
            format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn values_are_found_by_pointer() {
        let places = Places::of("a: 1\nb:\n  - x\n  - { c/d: y }\ne: |\n  text\n");
        for (pointer, want) in
            [("/a", (1, 4)), ("/b/0", (3, 5)), ("/b/1/c~1d", (4, 12)), ("/b/1/nope", (4, 5)), ("/nope", (1, 1))]
        {
            assert_eq!(places.at(pointer), want, "{pointer}");
        }
    }
}
