//! `sources:` – the venues that are read.

use std::collections::BTreeSet;
use std::time::Duration;

use ingest::SourceConfig;
use ingest::connector::QuotesFrom;
use model::{Channel, Instrument};

use super::scalar::{duration, one_of, parsed, text};
use super::section::{Context, Section};
use super::tree::{Field, Value};

const QUOTES: [(&str, QuotesFrom); 3] =
    [("best", QuotesFrom::BestBidAsk), ("book", QuotesFrom::Book), ("both", QuotesFrom::Both)];

/// Reads every source. `priced` are the instruments of the file; those that they convert may be read as well.
pub(super) fn read(
    root: &mut Section<'_>,
    priced: &[Instrument],
    prices: Option<&aggregate::config::Config>,
    context: &mut Context,
) -> Vec<SourceConfig> {
    let converted = prices.into_iter().flat_map(|config| config.priced()).flat_map(|one| &one.rules.convert);
    let allowed: BTreeSet<Instrument> = priced.iter().chain(converted).copied().collect();
    let entries = root.entries("sources", context);
    if entries.is_empty() {
        context.complain(root.place(), "sources", "is missing or empty: add `sources: { binance: { type: binance } }`");
    }
    let sources: Vec<SourceConfig> =
        entries.iter().filter_map(|entry| read_one(entry, priced, &allowed, prices.is_some(), context)).collect();
    for instrument in priced {
        let read = |source: &SourceConfig| source.instruments.iter().any(|listed| listed.instrument == *instrument);
        if !sources.is_empty() && sources.len() == entries.len() && !sources.iter().any(read) {
            context.complain(root.place(), "sources", format!("no source reads {instrument}: its price stays empty"));
        }
    }
    sources
}

fn read_one(
    entry: &Field,
    priced: &[Instrument],
    allowed: &BTreeSet<Instrument>,
    allowed_is_known: bool,
    context: &mut Context,
) -> Option<SourceConfig> {
    let path = format!("sources.{}", entry.name);
    let venue = match parsed(&entry.name) {
        Ok(venue) => Some(venue),
        Err(what) => {
            context.complain(entry.place, &path, what);
            None
        }
    };
    let mut section = Section::open(&entry.node, &path, context);
    let kind = section.required("type", "binance", context, text);
    let instruments = section.list("instruments", context, |name| {
        let instrument: Instrument = parsed(name)?;
        if !allowed_is_known || allowed.contains(&instrument) {
            Ok(instrument)
        } else {
            Err(format!("{instrument} is neither priced nor converted in this file: add it to `instruments`"))
        }
    });
    let instruments = instruments.unwrap_or_else(|| priced.to_vec());
    let symbols = symbols(&mut section, &instruments, context);
    let channels = section.list("channels", context, one_of(Channel::WORDS));
    let quotes_from = section.optional("quotes", context, one_of(&QUOTES));
    let websocket = section.optional("websocket", context, text);
    let rest = section.optional("rest", context, text);
    let endpoint = section.optional("endpoint", context, text);
    let every = section.optional("every", context, duration(SourceConfig::POLL_EVERY_MIN..=Duration::from_secs(3_600)));
    let quiet = section.optional("quiet_after", context, duration(Duration::from_secs(1)..=Duration::from_secs(3_600)));
    section.finish(context);

    let mut source = match SourceConfig::new(venue?, &kind?, &instruments, &symbols) {
        Ok(source) => source,
        Err(error) => {
            context.complain(entry.place, &format!("{path}.type"), error.to_string());
            return None;
        }
    };
    if let Some(address) = websocket {
        source.endpoints.websocket = address;
    }
    if let Some(address) = rest.or(endpoint) {
        source.endpoints.rest = address;
    }
    source.channels = channels.unwrap_or(source.channels);
    source.quotes_from = quotes_from.unwrap_or(source.quotes_from);
    source.poll_every = every.unwrap_or(source.poll_every);
    if let Some(quiet) = quiet {
        let rules = &mut source.rules;
        for limit in [&mut rules.trades_idle_max, &mut rules.quotes_idle_max] {
            *limit = limit.map(|_| quiet);
        }
    }
    if let Err(errors) = ingest::IngestConfig::new(vec![source.clone()]).validate() {
        for what in errors.0 {
            context.complain(entry.place, &path, what);
        }
    }
    Some(source)
}

/// The venue's symbols where they differ from its usual form.
fn symbols(section: &mut Section<'_>, instruments: &[Instrument], context: &mut Context) -> Vec<(Instrument, String)> {
    let base = section.path_of("symbols");
    let mut symbols = Vec::new();
    for field in section.entries("symbols", context) {
        let path = format!("{base}.{}", field.name);
        let symbol = match &field.node.value {
            Value::Scalar(symbol) => symbol.clone(),
            _ => {
                context.complain(field.node.place, &path, "the venue's symbol is needed here");
                continue;
            }
        };
        match parsed::<Instrument>(&field.name) {
            Ok(instrument) if instruments.contains(&instrument) => symbols.push((instrument, symbol)),
            Ok(instrument) => context.complain(field.place, &path, format!("this source does not read {instrument}")),
            Err(what) => context.complain(field.place, &path, what),
        }
    }
    symbols
}
