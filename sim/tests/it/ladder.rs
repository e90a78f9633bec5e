//! A book kept from frames, by price text.

use std::collections::BTreeMap;

use model::Price;
use serde_json::Value;

/// One side: exact prices with the texts they came in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ladder(pub(crate) BTreeMap<Price, (String, String)>);

impl Ladder {
    /// From a snapshot's levels.
    pub(crate) fn of(levels: &Value) -> Self {
        let mut ladder = Self::default();
        ladder.apply(levels);
        ladder
    }

    /// Applies `[price, quantity, …]` levels, texts each.
    pub(crate) fn apply(&mut self, levels: &Value) {
        for level in levels.as_array().unwrap() {
            self.set(level[0].as_str().unwrap(), level[1].as_str().unwrap());
        }
    }

    /// Sets one level; a quantity of zero removes it.
    pub(crate) fn set(&mut self, price: &str, quantity: &str) {
        let key: Price = price.parse().unwrap();
        if quantity.parse::<Price>().unwrap() == Price::ZERO {
            self.0.remove(&key);
        } else {
            self.0.insert(key, (price.into(), quantity.into()));
        }
    }
}
