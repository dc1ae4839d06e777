//! Settings of a run by their paths in `config.json`, for command lines.

use serde_json::Value;

use super::{TrainConfig, TrainError};

impl TrainConfig {
    /// Returns the settings with the one at `path` replaced by `value`.
    ///
    /// `path` names the setting as `config.json` of a run directory does: the names of the fields, joined by dots. `value`
    /// is JSON; other text counts as a string. Whether the value is in range is checked at the start of a run.
    ///
    /// ```
    /// use burn_mcl::train::{Decay, TrainConfig};
    ///
    /// # fn main() -> Result<(), burn_mcl::train::TrainError> {
    /// let config = TrainConfig::fast(10)
    ///     .with_setting("objective.MclCrossEntropy.weight", "2")?
    ///     .with_setting("augment.shift", "2")?
    ///     .with_setting("decay", "Cosine")?;
    /// assert_eq!((config.augment.shift, config.decay), (Some(2), Decay::Cosine));
    /// assert!(config.with_setting("augment.shfit", "2").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrainError::NoSetting`] when there is no setting at `path`, and [`TrainError::SettingValue`] when the setting cannot
    /// have the value.
    pub fn with_setting(&self, path: &str, value: &str) -> Result<Self, TrainError> {
        let mut config = serde_json::to_value(self).expect("settings are plain data");
        let mut found = &mut config;
        for name in path.split('.') {
            let names: Vec<String> =
                found.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
            found = match found.get_mut(name) {
                Some(inner) => inner,
                None => return Err(TrainError::NoSetting { path: path.into(), names }),
            };
        }
        *found = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        serde_json::from_value(config).map_err(|error| TrainError::SettingValue {
            path: path.into(),
            value: value.into(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Objective;
    use super::*;
    use mcl_loss::NtXentLossConfig;

    #[test]
    fn every_kind_of_setting_is_replaced() {
        let paper = TrainConfig::new();
        let set = |path, value| paper.with_setting(path, value).unwrap();
        assert_eq!(set("epochs", "3"), paper.clone().with_epochs(3));
        assert_eq!(set("learning_rate", "0.5"), paper.clone().with_learning_rate(Some(0.5)));
        assert_eq!(set("steps", "null"), paper);
        let objective = serde_json::to_string(&Objective::NtXent(NtXentLossConfig::new())).unwrap();
        assert_eq!(set("objective", &objective).objective, Objective::NtXent(NtXentLossConfig::new()));
        assert_eq!(set("augment.crop_scale", "[0.2, 1]").augment.crop_scale, (0.2, 1.0));
    }

    #[test]
    fn what_is_no_setting_or_no_value_is_named() {
        let error = |path, value| TrainConfig::new().with_setting(path, value).unwrap_err();
        match error("augment.crop", "1") {
            TrainError::NoSetting { path, names } => {
                assert_eq!(path, "augment.crop");
                assert!(names.contains(&"crop_scale".to_string()), "{names:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(error("", "1"), TrainError::NoSetting { .. }));
        assert!(matches!(error("epochs.0", "1"), TrainError::NoSetting { names, .. } if names.is_empty()));
        for (path, value) in [("epochs", "-1"), ("epochs", "many"), ("decay", "Steep"), ("augment", "{}")] {
            assert!(matches!(error(path, value), TrainError::SettingValue { .. }), "{path} {value}");
        }
    }
}
