//! The instruments that are served, and the names that callers have for them.

use model::Instrument;
use rustc_hash::FxHashMap;

/// An instrument's place in the catalog.
pub(crate) type AssetIndex = usize;

/// An instrument with the name it has on this API.
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    /// `BTC-USDT`.
    pub(crate) instrument: Instrument,
    /// `BTCUSDT`.
    pub(crate) symbol: String,
}

/// Every instrument that is served, by symbol.
#[derive(Debug)]
pub(crate) struct Catalog {
    assets: Vec<Asset>,
    by_name: FxHashMap<Box<[u8]>, AssetIndex>,
    by_instrument: FxHashMap<Instrument, AssetIndex>,
    /// The instrument that takes a base asset's market data where the data's own instrument is not served.
    by_base: FxHashMap<Box<[u8]>, AssetIndex>,
}

impl Catalog {
    /// Longest name that can be one of ours: an instrument has at most 23 bytes.
    const NAME_LEN_MAX: usize = 23;

    pub(crate) fn new(instruments: &[Instrument]) -> Self {
        let mut sorted = instruments.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let assets: Vec<Asset> = sorted
            .into_iter()
            .map(|instrument| Asset { instrument, symbol: format!("{}{}", instrument.base(), instrument.quote()) })
            .collect();
        let mut by_name = FxHashMap::default();
        let mut by_base = FxHashMap::default();
        // The full name wins over the short forms, whatever the assets are called.
        for (index, asset) in assets.iter().enumerate() {
            by_name.insert(asset.instrument.as_str().as_bytes().into(), index);
        }
        for (index, asset) in assets.iter().enumerate() {
            by_name.entry(asset.symbol.as_bytes().into()).or_insert(index);
            by_base.entry(asset.instrument.base().as_bytes().into()).or_insert(index);
        }
        for (index, asset) in assets.iter().enumerate() {
            // An asset is its USDT pair; USDT itself is its dollar pair.
            let (base, quote) = (asset.instrument.base(), asset.instrument.quote());
            if quote == "USDT" || (base == "USDT" && quote == "USD") {
                by_name.entry(base.as_bytes().into()).or_insert(index);
                by_base.insert(base.as_bytes().into(), index);
            }
        }
        let by_instrument = assets.iter().enumerate().map(|(index, asset)| (asset.instrument, index)).collect();
        Self { assets, by_name, by_instrument, by_base }
    }

    /// The asset that a caller means by `BTC-USDT`, `BTCUSDT` or `BTC`, in capital or small letters.
    pub(crate) fn find(&self, name: &str) -> Option<AssetIndex> {
        let name = name.as_bytes();
        let mut upper = [0u8; Self::NAME_LEN_MAX];
        let upper = upper.get_mut(..name.len())?;
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        self.by_name.get(&*upper).copied()
    }

    pub(crate) fn index_of(&self, instrument: &Instrument) -> Option<AssetIndex> {
        self.by_instrument.get(instrument).copied()
    }

    /// The asset under which market data of `instrument` is shown: itself, or the one it is converted into.
    pub(crate) fn index_for_ticks(&self, instrument: &Instrument) -> Option<AssetIndex> {
        self.index_of(instrument).or_else(|| self.by_base.get(instrument.base().as_bytes()).copied())
    }

    pub(crate) fn asset(&self, index: AssetIndex) -> &Asset {
        &self.assets[index]
    }

    pub(crate) fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// The symbols, for messages.
    pub(crate) fn symbols(&self) -> String {
        self.assets.iter().map(|asset| asset.symbol.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str]) -> Catalog {
        Catalog::new(&names.iter().map(|name| name.parse().expect("an instrument")).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_of_a_name_finds_the_asset() {
        let catalog = catalog(&["BTC-USDT", "ETH-USDT", "USDT-USD", "BTC-USD"]);
        let name = |text: &str| catalog.find(text).map(|index| catalog.asset(index).instrument.to_string());
        for text in ["BTC-USDT", "btc-usdt", "BTCUSDT", "BtcUsdt", "BTC", "btc"] {
            assert_eq!(name(text).as_deref(), Some("BTC-USDT"), "{text}");
        }
        assert_eq!(name("usdt").as_deref(), Some("USDT-USD"));
        assert_eq!(name("btc-usd").as_deref(), Some("BTC-USD"));
        for text in ["", "-", "XRP", "BTC-USDT ", "BTC/USDT", "ＢＴＣ", &"B".repeat(1000)] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn data_of_other_quotes_goes_where_it_is_converted() {
        let catalog = catalog(&["BTC-USDT", "ETH-USDT", "ETH-USD"]);
        let shown = |text: &str| {
            let index = catalog.index_for_ticks(&text.parse().expect("an instrument"));
            index.map(|index| catalog.asset(index).instrument.to_string())
        };
        assert_eq!(shown("BTC-USD").as_deref(), Some("BTC-USDT"));
        assert_eq!(shown("ETH-USD").as_deref(), Some("ETH-USD"));
        assert_eq!(shown("XRP-USD"), None);
    }
}
