//! The Fix sets of OOD detection (Tack et al., CSI, 2020, appendix I), and the recipe that makes them.
//!
//! The older LSUN and ImageNet sets at 32 x 32 were shrunk without antialiasing: a detector can score them by their
//! artefacts. The Fix sets were made anew: the short side to 256 pixels, the 256 x 256 centre, then 32 x 32, each
//! time bilinear with antialiasing as Pillow does it, stored without loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::folder::{self, Fit};
use crate::files::centre_crop::centre_crop;
use crate::files::staging::Staging;
use crate::files::{archive, decode, resize};
use crate::{DataError, ImageSet};

const SIDE: usize = 32;
const SHORT_SIDE: usize = 256;

/// The folders of the published sets.
const FOLDERS: [&str; 2] = ["LSUN_fix", "Imagenet_fix"];

/// Makes a Fix set: picks `images` pictures from `source` and all folders below, and writes them as
/// `target/00000.png`, `00001.png`, ..., with `target/sources.txt` naming the picture behind each.
///
/// The pick depends on `seed` and on the sorted relative paths of the pictures only. `target` is new, and appears only
/// once it is complete.
///
/// # Errors
/// - [`DataError::OutOfRange`] if there are fewer pictures than `images`
/// - [`DataError::Undecodable`], [`DataError::OverLimit`] for the first picture that cannot be used: one more than a
///   thousand times as long as wide is too large at the recipe's 256 pixels
/// - [`DataError::Io`], also if `target` exists
///
/// ```no_run
/// use mcl_data::{fix, lsun_fix};
/// fix::make("lsun/test".as_ref(), "data/LSUN_fix".as_ref(), 10_000, 0)?;
/// let set = lsun_fix::load("data".as_ref())?;
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn make(source: &Path, target: &Path, images: usize, seed: u64) -> Result<(), DataError> {
    if target.exists() {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(DataError::io("write a new set to", target)(exists));
    }
    let pictures = folder::pictures_below(source)?;
    if pictures.len() < images {
        return Err(DataError::OutOfRange {
            what: "number of pictures wanted",
            index: images,
            len: pictures.len(),
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let picks: Vec<&PathBuf> =
        rand::seq::index::sample(&mut rng, pictures.len(), images).iter().map(|i| &pictures[i]).collect();

    let staging = Staging::beside(target)?;
    let first_error = picks.par_iter().enumerate().find_map_first(|(i, picture)| {
        let out = staging.path.join(format!("{i:05}.png"));
        decode::read(picture).and_then(|image| save(&shrink(picture, &image)?, &out)).err()
    });
    if let Some(error) = first_error {
        return Err(error);
    }
    let sources: String =
        picks.iter().map(|p| format!("{}\n", p.strip_prefix(source).unwrap_or(p).display())).collect();
    let list = staging.path.join("sources.txt");
    std::fs::write(&list, sources).map_err(DataError::io("write", &list))?;
    staging.rename_to(target)
}

fn save(image: &RgbImage, path: &Path) -> Result<(), DataError> {
    image.save_with_format(path, ImageFormat::Png).map_err(|error| match error {
        image::ImageError::IoError(source) => DataError::io("write", path)(source),
        other => DataError::io("write", path)(std::io::Error::other(other)),
    })
}

/// Any picture to 32 x 32: short side to 256, centre 256 x 256, then down. Sizes round as torchvision's do.
fn shrink(path: &Path, image: &RgbImage) -> Result<RgbImage, DataError> {
    let centre = centre_crop(path, image, SHORT_SIDE, (SHORT_SIDE, SHORT_SIDE))?;
    Ok(resize::resize(&centre, (SIDE, SIDE)))
}

/// Loads a Fix set called one of `names` in `root`, or `root` itself, which is not the other set by its name.
pub(crate) fn load(root: &Path, title: &str, names: &[&str]) -> Result<ImageSet, DataError> {
    for name in names {
        let folder = root.join(name);
        if folder.is_dir() {
            return load_folder(&folder, title);
        }
        let archives = [".tar.gz", ".tgz", ".tar"].map(|ending| root.join(format!("{name}{ending}")));
        if let Some(archive) = archives.iter().find(|path| path.is_file()) {
            return load_archive(archive, title);
        }
    }
    let own_name = folder::own_name(root);
    let stem = own_name.split('.').next().unwrap_or_default();
    let is_named = |name: &str| stem.eq_ignore_ascii_case(name);
    let is_other = FOLDERS.into_iter().any(|name| is_named(name) && !name.eq_ignore_ascii_case(names[0]));
    if root.is_file() && !is_other {
        return load_archive(root, title);
    }
    if root.is_dir() && !is_other && (is_named(names[0]) || is_flat(root)?) {
        return load_folder(root, title);
    }
    Err(DataError::Missing {
        path: root.to_path_buf(),
        what: title.to_string(),
        hint: format!(
            "put a folder {name}/ of 32 x 32 pictures or the published archive {name}.tar.gz there, \
             or make the set from large pictures with mcl_data::fix::make",
            name = names[0]
        ),
    })
}

/// Whether a folder of any name can be taken for a set: it holds pictures and no folders, which may be other sets.
fn is_flat(root: &Path) -> Result<bool, DataError> {
    Ok(!folder::pictures(root)?.is_empty() && folder::folders(root)?.is_empty())
}

fn load_folder(root: &Path, title: &str) -> Result<ImageSet, DataError> {
    let mut pictures = folder::pictures(root)?;
    for sub_folder in folder::folders(root)? {
        pictures.extend(folder::pictures(&sub_folder)?);
    }
    if pictures.is_empty() {
        return Err(DataError::EmptyFolder { path: root.to_path_buf(), looked_for: folder::LOOKED_FOR });
    }
    let (class_names, labelled) = by_folder(pictures.into_iter().map(|path| (path, ())), title);
    let labelled: Vec<_> = labelled.into_iter().map(|(path, (), label)| (path, label)).collect();
    folder::load(&labelled, class_names, (SIDE, SIDE), Fit::Exact)
}

fn load_archive(path: &Path, title: &str) -> Result<ImageSet, DataError> {
    let pictures = archive::read(path, folder::is_picture)?;
    if pictures.is_empty() {
        return Err(DataError::EmptyFolder { path: path.to_path_buf(), looked_for: folder::LOOKED_FOR });
    }
    let (class_names, labelled) = by_folder(pictures.into_iter(), title);
    let pixels = folder::decode_all(&labelled, (SIDE, SIDE), |(name, bytes, _), planar| {
        let shown = PathBuf::from(format!("{}!{}", path.display(), name.display()));
        let image = decode::decode(&shown, bytes)?;
        folder::place(&shown, &image, (SIDE, SIDE), Fit::Exact, planar)
    })?;
    ImageSet::new(pixels, (SIDE, SIDE), labelled.iter().map(|l| l.2).collect(), class_names)
}

/// Labels files by the folder they are in, sorted by folder and name. A class is called by its path below the common top
/// folder, and the class of files in that one `title`. Returns the class names and each file with its label.
fn by_folder<T>(
    files: impl Iterator<Item = (PathBuf, T)>,
    title: &str,
) -> (Vec<String>, Vec<(PathBuf, T, usize)>) {
    let mut classes: BTreeMap<PathBuf, Vec<(PathBuf, T)>> = BTreeMap::new();
    for (path, content) in files {
        classes
            .entry(path.parent().unwrap_or(Path::new("")).to_path_buf())
            .or_default()
            .push((path, content));
    }
    let first = classes.keys().next().cloned().unwrap_or_default();
    let is_top = |folder: &&Path| classes.keys().all(|other| other.starts_with(folder));
    let top = first.ancestors().find(is_top).unwrap_or(Path::new(""));
    let class_name = |folder: &PathBuf| match folder.strip_prefix(top) {
        Ok(below) if below != Path::new("") => below.to_string_lossy().into_owned(),
        _ => title.to_string(),
    };
    let class_names = classes.keys().map(class_name).collect();
    let mut labelled = Vec::new();
    for (label, mut files) in classes.into_values().enumerate() {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        labelled.extend(files.into_iter().map(|(path, content)| (path, content, label)));
    }
    (class_names, labelled)
}

#[cfg(test)]
mod tests;
