//! The live page in a real browser.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{INSTRUMENTS, Place};

/// Chromium as the test command installs it, alone and offline.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
    "--window-size=1200,900",
    "--dump-dom",
];

/// The page's document after five seconds of its own time. A browser that hangs, as headless ones do now and
/// then, is ended and gives none.
fn browse(place: &Place, url: &str, attempt: u32) -> Option<String> {
    let out = place.path(&format!("page-{attempt}.html"));
    let mut browser = Command::new("chromium")
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", place.path(&format!("profile-{attempt}")).display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium: `cargo xtask setup` installs it");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if browser.try_wait().unwrap().is_some() {
            return std::fs::read_to_string(out).ok().filter(|page| !page.is_empty());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    browser.kill().unwrap();
    browser.wait().unwrap();
    None
}

#[test]
fn prices_appear_in_the_browser() {
    let place = Place::new("");
    let running = place.up();
    for name in INSTRUMENTS {
        running.wait_for(&format!("/prices/{name}"), |text| text.contains("\"status\":\"OK\""));
    }
    let page = (1..=3)
        .find_map(|attempt| browse(&place, &format!("{}/", running.base), attempt))
        .expect("chromium shows the page within three attempts");
    for name in INSTRUMENTS {
        let (base, quote) = name.split_once('-').unwrap();
        assert!(page.contains(&format!("{base} <small>{quote}</small>")), "{name} is not on the page:\n{page}");
    }
    let price = running.get("/prices/BTC-USDT").unwrap();
    // The simulated price moves slowly: the thousands stand still for the length of a test.
    let thousands: String = price.split("\"price\":").nth(1).unwrap().chars().take(2).collect();
    assert!(page.contains(&thousands), "no price near {thousands} thousand on the page:\n{page}");
    assert!(page.matches(">OK<").count() >= INSTRUMENTS.len(), "{page}");
}
