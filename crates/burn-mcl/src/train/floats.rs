//! Numbers in JSON that may be NaN or infinite. JSON has neither.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads a number. `null` is NaN: NaN and the infinities are written as `null`.
pub(super) fn or_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<f32>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN.into()))
}

/// Reads named numbers, each as [`or_nan`].
pub(super) fn each_or_nan<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<f32>,
{
    let found = BTreeMap::<String, Option<T>>::deserialize(deserializer)?;
    Ok(found.into_iter().map(|(name, value)| (name, value.unwrap_or(f32::NAN.into()))).collect())
}

/// Writes a number that may be absent. `null` says that the number is absent, so NaN and the infinities are
/// written as the texts "NaN", "inf" and "-inf".
pub(super) fn write_optional<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(number) if !number.is_finite() => number.to_string().serialize(serializer),
        _ => value.serialize(serializer),
    }
}

/// Reads what [`write_optional`] wrote.
pub(super) fn read_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f32),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(number)),
        Some(Written::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Line {
        #[serde(deserialize_with = "or_nan")]
        number: f64,
        #[serde(deserialize_with = "each_or_nan")]
        named: BTreeMap<String, f32>,
        #[serde(default, serialize_with = "write_optional", deserialize_with = "read_optional")]
        optional: Option<f32>,
    }

    fn read_back(number: f64, optional: Option<f32>) -> Line {
        let line = Line { number, named: BTreeMap::from([("part".into(), number as f32)]), optional };
        serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap()
    }

    #[test]
    fn numbers_that_are_not_finite_are_read_back() {
        let line = read_back(f64::NAN, Some(f32::NAN));
        assert!(line.number.is_nan() && line.named["part"].is_nan() && line.optional.unwrap().is_nan());
        let line = read_back(f64::INFINITY, Some(f32::NEG_INFINITY));
        assert!(line.number.is_nan() && line.named["part"].is_nan());
        assert_eq!(line.optional, Some(f32::NEG_INFINITY));
        let line = read_back(0.5, Some(0.25));
        assert_eq!((line.number, line.named["part"], line.optional), (0.5, 0.5, Some(0.25)));
    }

    #[test]
    fn an_absent_number_stays_absent() {
        assert_eq!(read_back(0.5, None).optional, None);
        let line: Line = serde_json::from_str(r#"{ "number": null, "named": {} }"#).unwrap();
        assert!(line.number.is_nan() && line.optional.is_none());
    }
}
