//! `simulate:` – venues of our own on loopback, instead of the real ones.

use model::Instrument;
use sim::{Config, VenueConfig, VenueKind};

use super::scalar::{count, one_of, parsed};
use super::section::{Context, Section};

/// Reads the section; `None` without one.
pub(super) fn read(root: &mut Section<'_>, instruments: &[Instrument], context: &mut Context) -> Option<Config> {
    let node = root.node("simulate")?;
    let mut section = Section::open(node, "simulate", context);
    let known = Config::default();
    let mut config = Config { venues: Vec::new(), ..Config::default() };
    config.seed = section.optional("seed", context, count(0..=u64::MAX)).unwrap_or(config.seed);
    config.instruments.retain(|listed| instruments.contains(&listed.instrument));
    for instrument in instruments {
        if !known.instruments.iter().any(|listed| listed.instrument == *instrument) {
            let names: Vec<&str> = known.instruments.iter().map(|listed| listed.instrument.as_str()).collect();
            let what = format!("{instrument} cannot be simulated: known are {}", names.join(", "));
            context.complain(node.place, "simulate", what);
        }
    }
    let rate = section.optional("ticks_per_second", context, count(1..=50_000u32));
    for field in section.entries("venues", context) {
        let path = format!("simulate.venues.{}", field.name);
        let mut venue = Section::open(&field.node, &path, context);
        let kinds = VenueKind::ALL.map(|kind| (kind.name(), kind));
        let own_name = kinds.iter().find(|(name, _)| *name == field.name).map(|(_, kind)| *kind);
        let kind = venue.optional("type", context, one_of(&kinds)).or(own_name);
        let port = venue.required("port", "8081", context, count(0..=65_535u16));
        let name = parsed(&field.name);
        venue.finish(context);
        match (kind, port, name) {
            (Some(kind), Some(port), Ok(name)) => {
                config.venues.push(VenueConfig { name, ..VenueConfig::on_port(kind, port) });
            }
            (_, _, Err(what)) => context.complain(field.place, &path, what),
            (None, _, _) => context.complain(field.place, &path, "is missing: add `type: binance`, or another kind"),
            _ => {}
        }
    }
    if let Some(rate) = rate {
        config.scale_to(rate);
    }
    let place = section.place();
    section.finish(context);
    for problem in config.problems() {
        context.complain(place, "simulate", problem.to_string());
    }
    Some(config)
}
