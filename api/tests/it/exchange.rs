//! The exchange over HTTP: the real matcher on the real log.

use std::sync::Arc;

use aggregate::cache::{CachedPrice, PriceCache};
use reqwest::Method;
use serde_json::{Value, json};

use crate::floor::{ALICE, BOB, Floor, limit};
use crate::schema::check;
use crate::support::price;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_placed_matched_amended_and_cancelled() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;

    let placed = floor.order(ALICE, "a1", "buy", "1", "100").await;
    assert_eq!((&placed["status"], &placed["repeated"]), (&json!("accepted"), &json!(false)), "{placed}");
    assert_eq!(placed["order"]["open"], "1");
    let again = floor.order(ALICE, "a1", "buy", "1", "100").await;
    assert_eq!(again["repeated"], true, "{again}");
    assert_eq!((&again["status"], &again["order"]), (&placed["status"], &placed["order"]));
    assert_eq!(floor.get(ALICE, "/orders").await["orders"].as_array().unwrap().len(), 1, "one order, not two");
    let number = placed["order"]["order_id"].as_u64().unwrap();

    let sold = floor.order(BOB, "b1", "sell", "0.4", "100").await;
    assert_eq!(sold["status"], "filled", "{sold}");
    assert_eq!((&sold["fills"][0]["last_quantity"], &sold["fills"][0]["fee"]), (&json!("0.4"), &json!("0.04")));
    let mine = floor.get(ALICE, &format!("/orders/{number}")).await;
    assert_eq!(
        (&mine["filled"], &mine["open"], &mine["client_order_id"]),
        (&json!("0.4"), &json!("0.6"), &json!("a1"))
    );
    let still = floor.order(ALICE, "a1", "buy", "1", "100").await;
    assert_eq!(still["order"], placed["order"], "the first outcome, whatever happened since");

    // Somebody else's order cannot be seen, changed or cancelled.
    let path = format!("/orders/{number}");
    floor.call(BOB, Method::GET, &path, None).await.is_error(404, "unknown_order", &["account 2"]);
    floor.call(BOB, Method::DELETE, &path, None).await.is_error(403, "NOT_YOUR_ORDER", &["another account"]);
    let change = floor.call(BOB, Method::PATCH, &path, Some(json!({"quantity": "0.5"}))).await;
    change.is_error(403, "NOT_YOUR_ORDER", &[]);

    let amended =
        floor.call(ALICE, Method::PATCH, "/orders/client:a1", Some(json!({"price": "101", "quantity": "0.9"})));
    let amended = amended.await;
    assert_eq!(amended.status, 200, "{}", amended.text);
    let order = &amended.json()["order"];
    assert_eq!((&order["price"], &order["quantity"], &order["open"]), (&json!("101"), &json!("0.9"), &json!("0.5")));
    let book = floor.get("", "/book/btcusdt").await;
    assert_eq!((&book["bids"], &book["asks"]), (&json!([["101", "0.5"]]), &json!([])));
    assert_eq!(book["checksum"].as_str().unwrap().len(), 16);

    let cancelled = floor.call(ALICE, Method::DELETE, &path, None).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")), "{}", cancelled.text);
    floor.call(ALICE, Method::DELETE, &path, None).await.is_error(404, "UNKNOWN_ORDER", &[]);
    let ioc = json!({"client_order_id": "a2", "instrument": "BTC-USDT", "side": "buy", "type": "limit",
        "tif": "ioc", "quantity": "1", "price": "100"});
    assert_eq!(floor.post(ALICE, "/orders", ioc.clone()).await.json()["status"], "cancelled");
    assert_eq!(floor.post(ALICE, "/orders", ioc).await.json()["status"], "cancelled", "again as before");

    for (id, price) in [("a3", "98"), ("a4", "97"), ("a5", "96")] {
        floor.order(ALICE, id, "buy", "1", price).await;
    }
    assert_eq!(floor.get("", "/book/BTC?depth=2").await["bids"], json!([["98", "1"], ["97", "1"]]));
    let all = floor.call(ALICE, Method::DELETE, "/orders?instrument=BTC-USDT&client_order_id=c1", None).await;
    assert_eq!((all.status, &all.json()["cancelled"]), (200, &json!(3)), "{}", all.text);
    assert_eq!(floor.get(ALICE, "/orders").await["orders"], json!([]));
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portfolio_and_markets_are_exact() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    floor.order(ALICE, "a1", "buy", "2", "100").await;
    floor.order(BOB, "b1", "sell", "0.5", "100").await;
    let account = floor.get(ALICE, "/account").await;
    let expected = json!([{"asset": "BTC", "available": "0.5", "held": "0"},
        {"asset": "USDT", "available": "99799.85", "held": "150.15"}]);
    assert_eq!((&account["account"], &account["balances"]), (&json!(1), &expected));
    let portfolio = floor.get(ALICE, "/portfolio").await;
    assert_eq!(
        (&portfolio["positions"][0]["price"], &portfolio["positions"][0]["unrealised"]),
        (&Value::Null, &Value::Null)
    );
    let fresh = price("BTC-USDT", 1, "110.5");
    let json = serde_json::to_vec(&fresh).unwrap().into();
    floor.cache.put(&[Arc::new(CachedPrice::new(fresh, json))]);
    let portfolio = floor.get(ALICE, "/portfolio").await;
    let expected = json!({"instrument": "BTC-USDT", "quantity": "0.5", "average_cost": "100", "realised": "0",
        "price": "110.5", "unrealised": "5.25"});
    assert_eq!(portfolio["positions"], json!([expected]));
    assert_eq!(portfolio["balances"], account["balances"]);

    let out = json!({"client_order_id": "w1", "asset": "USDT", "amount": "800"});
    assert_eq!(floor.post(ALICE, "/withdrawals", out.clone()).await.status, 201);
    assert_eq!(floor.post(ALICE, "/withdrawals", out).await.json()["repeated"], true);
    assert_eq!(floor.get(ALICE, "/account").await["balances"][1]["available"], "98999.85", "once");
    let too_much = json!({"client_order_id": "w2", "asset": "USDT", "amount": "98999.86"});
    let short = floor.post(ALICE, "/withdrawals", too_much).await;
    short.is_error(422, "INSUFFICIENT_FUNDS", &["98999.86 needed, 98999.85 available"]);
    let theirs = json!({"client_order_id": "w3", "asset": "BTC", "amount": "1", "account": 2});
    floor.post(ALICE, "/withdrawals", theirs.clone()).await.is_error(403, "forbidden", &["alice"]);
    floor.post(ALICE, "/deposits", theirs).await.is_error(403, "forbidden", &["operator"]);

    let markets = floor.get("", "/markets").await;
    let market = &markets["markets"][0];
    assert_eq!(
        (&market["phase"], &market["last"], &market["bid"]),
        (&json!("open"), &json!("100"), &json!(["100", "1.5"]))
    );
    let document = floor.get("", "/openapi.json").await;
    let orders = floor.get(ALICE, "/orders").await;
    for (path, value) in
        [("/markets", &markets), ("/portfolio", &portfolio), ("/account", &account), ("/orders", &orders)]
    {
        let schema = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path}");
        check(&document, schema, value, path);
    }
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_a_sentence() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    for (method, path) in [(Method::GET, "/orders"), (Method::GET, "/account"), (Method::DELETE, "/orders/1")] {
        floor.call("", method.clone(), path, None).await.is_error(401, "unauthorized", &["X-Api-Key is missing"]);
        floor.call("alice-has-a-long-kez", method, path, None).await.is_error(401, "unauthorized", &["no key"]);
    }
    let with = |field: &str, value: Value| {
        let mut order = limit("x1", "buy", "1", "100");
        order[field] = value;
        order
    };
    let cases = [
        (with("quantity", json!("one")), "bad_value", r#"quantity: "one" is not a decimal number"#),
        (with("price", json!("1.123456789")), "bad_value", "price: 1.123456789 has more than 8 decimal places"),
        (with("price", json!("99999999999")), "bad_value", "out of range"),
        (with("price", json!(100.5)), "bad_body", "expected a string"),
        (with("side", json!("hold")), "bad_value", "one of buy, sell"),
        (with("type", json!("iceberg")), "bad_value", "stop_limit"),
        (with("tif", json!("gtd")), "bad_value", "expires is missing"),
        (with("expires", json!("2026-01-01T00:00:00Z")), "bad_value", "tif gtd only"),
        (with("sent_at", json!("yesterday")), "bad_value", "RFC 3339"),
        (with("instrument", json!("btc")), "bad_value", "BASE-QUOTE"),
        (with("client_order_id", json!("a b")), "bad_value", "client_order_id"),
        (with("quote_amount", json!("5")), "bad_value", "one of quantity and quote_amount"),
        (with("leverage", json!("5")), "bad_body", "leverage"),
    ];
    for (body, code, words) in cases {
        floor.post(ALICE, "/orders", body).await.is_error(400, code, &[words]);
    }
    let rejected = [
        ("price", json!("100.005"), "PRICE_OFF_TICK", "price 100.005 not allowed: the tick is 0.01"),
        ("price", json!("-1"), "PRICE_NOT_POSITIVE", "above zero"),
        ("quantity", json!("0"), "QUANTITY_NOT_POSITIVE", "above zero"),
        ("quantity", json!("2000"), "QUANTITY_TOO_LARGE", "at most 100"),
        ("instrument", json!("XRP-USDT"), "UNKNOWN_MARKET", "listed"),
    ];
    for (at, (field, value, code, words)) in rejected.into_iter().enumerate() {
        let mut order = with(field, value);
        order["client_order_id"] = json!(format!("r{at}"));
        floor.post(ALICE, "/orders", order.clone()).await.is_error(422, code, &[words]);
        floor.post(ALICE, "/orders", order).await.is_error(422, code, &[words]);
    }
    floor.call("", Method::GET, "/book/XRP", None).await.is_error(404, "unknown_market", &["BTC-USDT"]);
    floor.call("", Method::GET, "/book/BTC?depth=0", None).await.is_error(400, "bad_depth", &["1 to 1000"]);
    floor.call(ALICE, Method::GET, "/orders/first", None).await.is_error(400, "bad_order", &["client:"]);
    let nothing = floor.call(ALICE, Method::PATCH, "/orders/1", Some(json!({}))).await;
    nothing.is_error(400, "bad_value", &["nothing to change"]);
    assert_eq!(floor.get(ALICE, "/orders").await["orders"], json!([]), "nothing came of any of it");
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_stops_its_own_account_only() {
    let floor = Floor::open(|limits| (limits.commands_per_second_max, limits.commands_burst_max) = (1, 2)).await;
    floor.fund().await;
    floor.order(ALICE, "a1", "buy", "1", "95").await;
    let mut refused = None;
    for at in 0..200 {
        let answer = floor.post(ALICE, "/orders", limit(&format!("f{at}"), "buy", "0.1", "95")).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a burst of two is used up");
    refused.is_error(429, "too_many_commands", &["account 1", "1 commands a second, 2 at once"]);
    assert_eq!(refused.header("retry-after"), "1");
    floor.order(BOB, "b1", "sell", "0.1", "105").await;
    assert_eq!(
        floor.call(ALICE, Method::DELETE, "/orders", None).await.status,
        200,
        "cancels are counted by themselves"
    );
    floor.close().await;
}
