//! Settings that an earlier version stored, completed by the defaults of what it did not have.

use mcl_model::{EncoderConfig, FastNetConfig, MclModelConfig, ResNetConfig, ResNetDepth};
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

/// The stored settings of a network, completed; an encoder without a depth is a ResNet of `depth`. The encoder was called
/// `resnet` when there were ResNets alone.
pub(crate) fn model(mut stored: Value, depth: ResNetDepth) -> Value {
    if let Some(settings) = stored.as_object_mut()
        && let Some(resnet) = settings.remove("resnet")
    {
        settings.entry("encoder").or_insert(resnet);
    }
    let encoder: EncoderConfig = match stored.get("encoder").and_then(|encoder| encoder.get("widths")) {
        Some(_) => FastNetConfig::new().into(),
        None => ResNetConfig::new(depth).into(),
    };
    let default = serde_json::to_value(MclModelConfig::new(encoder)).expect("settings are plain data");
    laid_over(&default, stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_networks_are_completed_by_those_of_their_encoder() {
        let read =
            |stored| serde_json::from_value::<MclModelConfig>(model(stored, ResNetDepth::ResNet34)).unwrap();
        let resnet = ResNetConfig::new(ResNetDepth::ResNet50).with_width(8);
        let old =
            json!({ "resnet": { "depth": "ResNet50", "width": 8 }, "hidden": 32, "projection_dim": 16 });
        assert_eq!(read(old), MclModelConfig::new(resnet).with_hidden(32).with_projection_dim(16));
        let expected = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet34)).with_hidden(32);
        assert_eq!(read(json!({ "hidden": 32 })), expected);
        let fast = json!({ "encoder": { "widths": [1, 2, 3] }, "classifier": 40 });
        let expected = MclModelConfig::new(FastNetConfig::new().with_widths([1, 2, 3])).with_classifier(40);
        assert_eq!(read(fast), expected);
    }

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
