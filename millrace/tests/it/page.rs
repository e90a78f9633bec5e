//! The live page in a real browser: it shows every price, follows them, explains them, and says when it cannot.

use serde_json::Value;

use crate::browser::Browser;
use crate::program::{INSTRUMENTS, Place};

/// The cards on the page by asset: name, price, status.
const CARDS: &str = "[...document.querySelectorAll('.asset')].map(card => \
     ['.name', '.price', '.status'].map(part => card.querySelector(part).textContent.trim()))";

fn texts(card: &Value) -> Vec<&str> {
    card.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// `64 123.40` as 64123.40: the page groups digits with thin spaces.
fn number(text: &str) -> f64 {
    text.replace('\u{2009}', "").parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_appear_move_and_are_explained_in_the_browser() {
    let place = Place::new("");
    let running = place.up();
    for name in INSTRUMENTS {
        running.wait_for(&format!("/prices/{name}"), |text| text.contains("\"status\":\"OK\""));
    }
    let browser = Browser::start().await;
    browser.open(&format!("{}/", running.base)).await;
    let all_ok = |cards: &Value| {
        let cards = cards.as_array().unwrap();
        cards.len() == INSTRUMENTS.len() && cards.iter().all(|card| texts(card)[2] == "OK")
    };
    let cards = browser.until(CARDS, all_ok).await;
    for name in INSTRUMENTS {
        let shown = name.replace('-', " ");
        let card = cards.as_array().unwrap().iter().map(texts).find(|card| card[0] == shown);
        let card = card.unwrap_or_else(|| panic!("no card for {name}: {cards}"));
        let answer: Value = serde_json::from_str(&running.get(&format!("/prices/{name}")).unwrap()).unwrap();
        let price = answer["price"].as_f64().unwrap();
        // The price may have moved since; the simulated market does not move by a hundredth within a test.
        assert!((number(card[1]) / price - 1.0).abs() < 0.01, "{name}: {} shown, {price} answered", card[1]);
    }
    let first = browser.value(CARDS).await;
    browser.until(CARDS, |now| *now != first).await;
    // Opened details list the venues behind a price.
    let open = "(() => { const card = document.querySelector('.asset'); card.querySelector('details').open = true; \
                return [...card.querySelectorAll('.venues tbody tr')].map(row => row.textContent) })()";
    let venues = browser.until(open, |rows| rows.as_array().unwrap().len() == 3).await;
    for venue in ["binance", "coinbase", "kraken"] {
        assert!(venues.to_string().contains(venue), "{venue} is not in {venues}");
    }
    let stream = "document.getElementById('stream-text').textContent";
    browser.until(stream, |now| now == "live").await;
    running.kill();
    browser.until(stream, |now| now != "live").await;
    let running = place.up();
    browser.until(stream, |now| now == "live").await;
    let before = browser.value(CARDS).await;
    browser.until(CARDS, |now| *now != before).await;
    browser.close().await;
    assert!(running.interrupt());
}
