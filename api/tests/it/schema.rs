//! Answers held against the OpenAPI document that describes them.

use serde_json::Value;

/// Checks that `value` is what `schema` says, and that the schema names every member of it.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{place}: no {name}"));
        return check(document, target, value, place);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits =
                choices.iter().any(|choice| std::panic::catch_unwind(|| check(document, choice, value, place)).is_ok());
            assert!(fits, "{place}: {value} fits none of {schema}");
            return;
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        for part in parts {
            check_open(document, part, value, place);
        }
        return;
    }
    check_shape(document, schema, value, place, true);
}

/// As [`check`], for a part of a whole: members that it does not name are another part's.
fn check_open(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return check_open(document, document.pointer(&name[1..]).unwrap(), value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices
            .iter()
            .any(|choice| std::panic::catch_unwind(|| check_open(document, choice, value, place)).is_ok());
        assert!(fits, "{place}: {value} fits none of {schema}");
        return;
    }
    check_shape(document, schema, value, place, false);
}

fn check_shape(document: &Value, schema: &Value, value: &Value, place: &str, closed: bool) {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|name| name.as_str().unwrap()).collect(),
        _ => return,
    };
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) if types.contains(&"number") => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&name), "{place}: {value} is not of type {types:?}");
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                check(document, &schema["items"], item, &format!("{place}[{at}]"));
            }
        }
        Value::Object(members) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(required.as_str().unwrap()), "{place}: {required} is missing in {value}");
            }
            let known = schema["properties"].as_object();
            for (key, member) in members {
                let place = format!("{place}.{key}");
                match known.and_then(|known| known.get(key)).or_else(|| schema.get("additionalProperties")) {
                    Some(schema) => check(document, schema, member, &place),
                    None => assert!(!closed || known.is_none(), "{place} is not in the schema"),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let document: Value = serde_json::json!({"components": {"A": {
        "type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}, "y": {"type": ["string", "null"]}},
    }}});
    let schema = serde_json::json!({"$ref": "#/components/A"});
    let fits = |value: Value| std::panic::catch_unwind(|| check(&document, &schema, &value, "it")).is_ok();
    assert!(fits(serde_json::json!({"x": 1})) && fits(serde_json::json!({"x": 1, "y": null})));
    for wrong in [r#"{}"#, r#"{"x":"1"}"#, r#"{"x":1.5}"#, r#"{"x":1,"y":2}"#, r#"{"x":1,"z":2}"#, "[]"] {
        assert!(!fits(serde_json::from_str(wrong).unwrap()), "{wrong}");
    }
}
