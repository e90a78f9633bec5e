//! `prices:` – the rules of the composite prices, for all instruments and where one differs.

use std::collections::BTreeMap;

use aggregate::config::{Config, Rules};
use model::Instrument;

use super::problem::Place;
use super::section::{Context, Section, nearest};
use super::tree::{Field, Node, Value};

/// Where each rule stands, to place what the whole of them is found to break.
type Places = BTreeMap<(Option<Instrument>, String), Place>;

/// Reads the rules of `instruments`.
pub(super) fn read(root: &mut Section<'_>, instruments: &[Instrument], context: &mut Context) -> Option<Config> {
    let node = root.node("prices");
    let mut places = Places::new();
    let mut common = Rules::default();
    let mut own: BTreeMap<Instrument, Rules> = BTreeMap::new();
    let section_place = node.map_or(root.place(), |node| node.place);
    if let Some(node) = node {
        let Value::Mapping(fields) = &node.value else {
            context.complain(node.place, "prices", format!("a mapping of rules is needed here, not {}", node.kind()));
            return None;
        };
        let (differing, rules): (Vec<&Field>, Vec<&Field>) =
            fields.iter().partition(|field| field.name == "instruments");
        for field in rules {
            set(&mut common, None, field, "", "prices", context, &mut places);
        }
        for field in differing {
            read_own(field, &common, instruments, &mut own, context, &mut places);
        }
    }
    let all = instruments
        .iter()
        .map(|instrument| (*instrument, own.remove(instrument).unwrap_or_else(|| common.clone())))
        .collect();
    match Config::new(all) {
        Ok(config) => Some(config),
        Err(problems) => {
            let mut told: Vec<(String, String)> = Vec::new();
            for problem in problems {
                let rule = problem.rule.to_owned();
                let specific = places.get(&(Some(problem.instrument), rule.clone()));
                let (place, path) = match specific.or_else(|| places.get(&(None, rule.clone()))) {
                    Some(place) if specific.is_some() => {
                        (*place, format!("prices.instruments.{}.{rule}", problem.instrument))
                    }
                    Some(place) => (*place, format!("prices.{rule}")),
                    None => (section_place, format!("prices.{rule}")),
                };
                // A common rule that breaks for each instrument is one mistake.
                if !told.contains(&(path.clone(), problem.what.clone())) {
                    told.push((path.clone(), problem.what.clone()));
                    context.complain(place, &path, problem.what);
                }
            }
            None
        }
    }
}

fn read_own(
    field: &Field,
    common: &Rules,
    instruments: &[Instrument],
    own: &mut BTreeMap<Instrument, Rules>,
    context: &mut Context,
    places: &mut Places,
) {
    let Value::Mapping(entries) = &field.node.value else {
        let what = format!("a mapping of instruments is needed here, not {}", field.node.kind());
        context.complain(field.node.place, "prices.instruments", what);
        return;
    };
    for entry in entries {
        let path = format!("prices.instruments.{}", entry.name);
        let instrument = match entry.name.parse::<Instrument>() {
            Ok(instrument) if instruments.contains(&instrument) => instrument,
            Ok(_) => {
                context.complain(entry.place, &path, "is not among the instruments of this file: add it there");
                continue;
            }
            Err(error) => {
                context.complain(entry.place, &path, error.to_string());
                continue;
            }
        };
        let mut rules = common.clone();
        match &entry.node.value {
            Value::Mapping(fields) => {
                for field in fields {
                    set(&mut rules, Some(instrument), field, "", &path, context, places);
                }
            }
            Value::Null => {}
            _ => context.complain(
                entry.node.place,
                &path,
                format!("a mapping of rules is needed here, not {}", entry.node.kind()),
            ),
        }
        own.insert(instrument, rules);
    }
}

/// Sets the rule that a field names, or those below it.
fn set(
    rules: &mut Rules,
    instrument: Option<Instrument>,
    field: &Field,
    prefix: &str,
    path: &str,
    context: &mut Context,
    places: &mut Places,
) {
    let name = if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
    let full = format!("{path}.{name}");
    let known = Rules::NAMES.contains(&name.as_str());
    let group = Rules::NAMES.iter().any(|known| known.starts_with(&format!("{name}.")));
    match &field.node.value {
        Value::Mapping(fields) if group => {
            for field in fields {
                set(rules, instrument, field, &name, path, context, places);
            }
        }
        _ if !known => {
            let hint = match nearest(&name, Rules::NAMES) {
                Some(near) => format!("is not a rule: did you mean {near}?"),
                None => format!("is not a rule: known are {}", Rules::NAMES.join(", ")),
            };
            context.complain(field.place, &full, hint);
        }
        Value::Null => {}
        _ => {
            places.insert((instrument, name.clone()), field.node.place);
            match text_of(&field.node) {
                Some(text) => {
                    if let Err(what) = rules.set(&name, &text) {
                        context.complain(field.node.place, &full, what);
                    }
                }
                None => context.complain(field.node.place, &full, "single values only are allowed in here"),
            }
        }
    }
}

/// A rule's value as one text: lists joined by commas, mappings as `name=value`.
fn text_of(node: &Node) -> Option<String> {
    let single = |node: &Node| match &node.value {
        Value::Scalar(text) => Some(text.clone()),
        _ => None,
    };
    match &node.value {
        Value::Scalar(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Sequence(items) => Some(items.iter().map(single).collect::<Option<Vec<_>>>()?.join(",")),
        Value::Mapping(fields) => {
            let pair = |field: &Field| Some(format!("{}={}", field.name, single(&field.node)?));
            Some(fields.iter().map(pair).collect::<Option<Vec<_>>>()?.join(","))
        }
    }
}
