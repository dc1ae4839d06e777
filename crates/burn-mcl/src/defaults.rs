//! Settings that an earlier version stored, completed by the defaults of what it did not have.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value from stored JSON. Fields that are missing take the values of `default`.
pub(crate) fn read<T: Serialize + DeserializeOwned>(
    default: &T,
    stored: Value,
) -> Result<T, serde_json::Error> {
    let default = serde_json::to_value(default)?;
    serde_json::from_value(laid_over(&default, stored))
}

/// What an earlier version stored, and the defaults of what it did not have.
pub(crate) fn laid_over(default: &Value, stored: Value) -> Value {
    match (default, stored) {
        (Value::Object(default), Value::Object(mut stored))
            // Otherwise it is another variant of an enum, to which the defaults of this one say nothing.
            if stored.keys().all(|key| default.contains_key(key)) =>
        {
            for (key, default) in default {
                let value = stored.remove(key).map_or_else(|| default.clone(), |own| laid_over(default, own));
                stored.insert(key.clone(), value);
            }
            Value::Object(stored)
        }
        (_, stored) => stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_not_stored_is_the_default() {
        let default = json!({ "a": 1, "b": { "c": 2, "d": null }, "e": { "One": { "f": 3 } } });
        let over = |stored| laid_over(&default, stored);
        assert_eq!(over(json!({})), default);
        assert_eq!(
            over(json!({ "b": { "c": 5 } })),
            json!({ "a": 1, "b": { "c": 5, "d": null }, "e": { "One": { "f": 3 } } })
        );
        assert_eq!(over(json!({ "e": { "Two": {} } }))["e"], json!({ "Two": {} }), "another variant");
        assert_eq!(over(json!({ "a": [], "b": 4 }))["b"], 4);
    }
}
