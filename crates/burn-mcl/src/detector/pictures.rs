//! Verdicts on pictures: decoded ones, and files.

use std::path::PathBuf;

use image::DynamicImage;
use mcl_data::batch::eval_batches;
use mcl_data::image_folder::{ImageFolderConfig, Unreadable};
use mcl_model::Network;

use super::{Detection, Detector, DetectorError};

impl<N: Network> Detector<N> {
    /// Returns the settings that read pictures as the detector needs them: [`image_size`](Self::image_size), and the way to get
    /// there ([`DetectorConfig::centre_crop`](super::DetectorConfig::centre_crop)).
    pub fn reading(&self) -> ImageFolderConfig {
        ImageFolderConfig::new(self.image_size()).with_centre_crop(self.config.centre_crop)
    }

    /// Judges one picture of any size.
    ///
    /// ```no_run
    /// use burn_mcl::burn::tensor::Device;
    /// use burn_mcl::detector::Detector;
    ///
    /// let detector = Detector::load("runs/own/detector", &Device::default())?;
    /// let found = detector.detect_image(&image::open("new.jpg")?)?;
    /// println!("{}", if found.is_anomaly { "anomalous" } else { "normal" });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DetectorError::Data`] for a picture without pixels; otherwise as [`detect`](Self::detect).
    pub fn detect_image(&self, picture: &DynamicImage) -> Result<Detection, DetectorError> {
        let set = self.reading().picture(picture)?;
        let batch =
            eval_batches(&set, 1, &self.model.device())?.next().expect("a set of one image has a batch");
        Ok(self.detect(batch.images)?.remove(0))
    }

    /// Judges picture files, in their order. A file that cannot be read as a picture has a reason instead of a verdict.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Data`] when the pictures do not fit into memory; otherwise as [`detect`](Self::detect).
    pub fn detect_files(
        &self,
        files: &[PathBuf],
    ) -> Result<Vec<Result<Detection, Unreadable>>, DetectorError> {
        let reading = self.reading().with_unreadable(1.0).with_empty_classes(true);
        let read = reading.load_files(files, &self.progress.observer("decoding"))?;
        let mut found = self.detect_set(&read.images)?.into_iter();
        let mut unreadable = read.unreadable.into_iter().peekable();
        let verdict = |path: &PathBuf| match unreadable.next_if(|file| file.path == *path) {
            Some(file) => Err(file),
            None => Ok(found.next().expect("a readable file has a verdict")),
        };
        Ok(files.iter().map(verdict).collect())
    }
}
