//! The Fix sets of OOD detection (Tack et al., CSI, 2020, appendix I), and the recipe that makes them.
//!
//! The older LSUN and ImageNet sets at 32 x 32 were shrunk without antialiasing: a detector can score them by their
//! artefacts. The Fix sets were made anew: the short side to 256 pixels, the 256 x 256 centre, then 32 x 32, each
//! time bilinear with antialiasing as Pillow does it, stored without loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage, imageops};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::archive::{self, Staging};
use crate::folder::{self, Fit};
use crate::{DataError, ImageSet, decode, resize};

const SIDE: usize = 32;
const SHORT_SIDE: u32 = 256;

/// Makes a Fix set: picks `images` pictures from `source` and all folders below, and writes them as
/// `target/00000.png`, `00001.png`, ..., with `target/sources.txt` naming the picture behind each.
///
/// The pick depends on `seed` and on the sorted relative paths of the pictures only. `target` is new, and appears only
/// once it is complete.
///
/// # Errors
/// - [`DataError::OutOfRange`] if there are fewer pictures than `images`
/// - [`DataError::Undecodable`], [`DataError::OverLimit`] for the first picture that cannot be used
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
        decode::read(picture).and_then(|image| save(&shrink(&image), &out)).err()
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
fn shrink(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let long = |side: u32, short: u32| (u64::from(SHORT_SIDE) * u64::from(side) / u64::from(short)) as u32;
    let (new_width, new_height) = match width <= height {
        true => (SHORT_SIDE, long(height, width)),
        false => (long(width, height), SHORT_SIDE),
    };
    let middle = |side: u32| (f64::from(side - SHORT_SIDE) / 2.0).round_ties_even() as u32;
    let resized = resize::resize(image, (new_height as usize, new_width as usize));
    let centre = imageops::crop_imm(&resized, middle(new_width), middle(new_height), SHORT_SIDE, SHORT_SIDE)
        .to_image();
    resize::resize(&centre, (SIDE, SIDE))
}

/// Loads a Fix set called one of `names` in `root`, or `root` itself.
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
    if root.is_file() {
        return load_archive(root, title);
    }
    if root.is_dir() && is_set(root)? {
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

/// Whether a folder of any name can be taken for a set: pictures in it, or in each of its folders.
fn is_set(root: &Path) -> Result<bool, DataError> {
    if !folder::pictures(root)?.is_empty() {
        return Ok(true);
    }
    let folders = folder::folders(root)?;
    for sub_folder in &folders {
        if folder::pictures(sub_folder)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(!folders.is_empty())
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
    let mut pixels = vec![0; labelled.len() * 3 * SIDE * SIDE];
    let first_error = pixels.par_chunks_exact_mut(3 * SIDE * SIDE).zip(&labelled).find_map_first(
        |(planar, (name, bytes, _))| {
            let shown = PathBuf::from(format!("{}!{}", path.display(), name.display()));
            let image = match decode::decode(&shown, bytes) {
                Ok(image) => image,
                Err(error) => return Some(error),
            };
            folder::place(&shown, &image, (SIDE, SIDE), Fit::Exact, planar).err()
        },
    );
    match first_error {
        Some(error) => Err(error),
        None => ImageSet::new(pixels, (SIDE, SIDE), labelled.iter().map(|l| l.2).collect(), class_names),
    }
}

/// Labels files by the folder they are in, sorted by folder and name. The class of files in the common top folder is
/// called `title`. Returns the class names and each file with its label.
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
    let folders: Vec<PathBuf> = classes.keys().cloned().collect();
    let is_top = |folder: &PathBuf| folders.iter().all(|other| other.starts_with(folder));
    let class_names =
        folders.iter().map(|f| if is_top(f) { title.to_string() } else { folder::name(f) }).collect();
    let mut labelled = Vec::new();
    for (label, mut files) in classes.into_values().enumerate() {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        labelled.extend(files.into_iter().map(|(path, content)| (path, content, label)));
    }
    (class_names, labelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::{gzip, tar};
    use crate::{imagenet_fix, lsun_fix};
    use tar::EntryType;

    fn tiny(value: u8) -> RgbImage {
        RgbImage::from_pixel(32, 32, image::Rgb([value, 9, 9]))
    }

    fn png(value: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        tiny(value).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn first_bytes(set: &ImageSet) -> Vec<u8> {
        (0..set.len()).map(|i| set.pixels(i)[0]).collect()
    }

    #[test]
    fn flat_and_one_level_folders_and_archives_agree() {
        let root = tempfile::tempdir().unwrap();
        let flat = root.path().join("LSUN_fix");
        let nested = root.path().join("Imagenet_fix");
        for folder in [&flat, &nested.join("b"), &nested.join("a")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        tiny(1).save(flat.join("1.png")).unwrap();
        tiny(2).save(flat.join("2.png")).unwrap();
        tiny(3).save(nested.join("b/1.png")).unwrap();
        tiny(4).save(nested.join("a/2.png")).unwrap();
        let lsun = lsun_fix::load(root.path()).unwrap();
        assert_eq!((first_bytes(&lsun), lsun.class_names()), (vec![1, 2], &["LSUN-Fix".to_string()][..]));
        assert_eq!(lsun_fix::load(&flat).unwrap(), lsun);
        let imagenet = imagenet_fix::load(root.path()).unwrap();
        assert_eq!(first_bytes(&imagenet), [4, 3]);
        assert_eq!(
            (imagenet.class_names(), imagenet.labels()),
            (&["a".to_string(), "b".to_string()][..], &[0, 1][..])
        );
        assert_eq!(imagenet_fix::load(&nested).unwrap(), imagenet);

        let archives = tempfile::tempdir().unwrap();
        let file = EntryType::Regular;
        let lsun_archive = tar(&[("LSUN_fix/2.png", file, &png(2)), ("LSUN_fix/1.png", file, &png(1))]);
        std::fs::write(archives.path().join("LSUN_fix.tar.gz"), gzip(&lsun_archive)).unwrap();
        assert_eq!(lsun_fix::load(archives.path()).unwrap(), lsun);
        let nested_archive = tar(&[
            ("./Imagenet_fix/b/1.png", file, &png(3)),
            ("./Imagenet_fix/a/2.png", file, &png(4)),
            ("./Imagenet_fix/a/._2.png", file, b"resource fork"),
        ]);
        std::fs::write(archives.path().join("x.tar"), nested_archive).unwrap();
        assert_eq!(imagenet_fix::load(&archives.path().join("x.tar")).unwrap(), imagenet);
    }

    #[test]
    fn a_folder_of_other_data_is_not_taken_for_the_set() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("cifar-10-batches-bin")).unwrap();
        let error = lsun_fix::load(root.path()).unwrap_err();
        assert!(matches!(error, DataError::Missing { .. }));
        assert!(error.to_string().contains("LSUN_fix.tar.gz"), "{error}");
        std::fs::create_dir(root.path().join("LSUN_fix")).unwrap();
        assert!(matches!(lsun_fix::load(root.path()), Err(DataError::EmptyFolder { .. })));
    }

    #[test]
    fn bad_members_are_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LSUN_fix.tar.gz");
        let write =
            |entries: &[(&str, EntryType, &[u8])]| std::fs::write(&path, gzip(&tar(entries))).unwrap();
        write(&[
            ("d/good.png", EntryType::Regular, &png(1)),
            ("d/bad.png", EntryType::Regular, &png(2)[..50]),
        ]);
        let error = lsun_fix::load(root.path()).unwrap_err();
        assert!(error.to_string().contains("LSUN_fix.tar.gz!d/bad.png"), "{error}");
        write(&[("../bad.png", EntryType::Regular, &png(1))]);
        assert!(matches!(lsun_fix::load(root.path()), Err(DataError::UnsafeEntry { .. })));
        write(&[("readme.txt", EntryType::Regular, b"no pictures")]);
        assert!(matches!(lsun_fix::load(root.path()), Err(DataError::EmptyFolder { .. })));
    }

    /// Reference from Pillow 12 and torchvision: `Resize(256)`, `CenterCrop(256)`, `Resize(32)`, see tests/golden/make.py
    #[test]
    fn the_recipe_is_pillows() {
        #[derive(serde::Deserialize)]
        struct Case {
            from: (usize, usize),
            pixels: Vec<u8>,
        }
        let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/golden/fix.json")).unwrap();
        assert!(cases.len() >= 3);
        for Case { from, pixels } in cases {
            let small = shrink(&resize::tests::noise(from.0, from.1));
            assert!(small.as_raw() == &pixels, "{from:?} differs from Pillow");
        }
    }

    #[test]
    fn the_pick_follows_the_seed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("source/deep/er")).unwrap();
        for i in 0..12 {
            let place = ["", "deep/", "deep/er/"][i as usize % 3];
            let path = root.path().join(format!("source/{place}{i}.png"));
            RgbImage::from_pixel(40, 30, image::Rgb([i; 3])).save(path).unwrap();
        }
        let made = |name: &str, seed| {
            let target = root.path().join(name);
            make(&root.path().join("source"), &target, 8, seed).unwrap();
            first_bytes(&lsun_fix::load(&target).unwrap())
        };
        let picks = made("a", 1);
        let mut distinct = picks.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 8);
        assert_eq!(made("b", 1), picks);
        assert_ne!(made("c", 2), picks);
        let sources = std::fs::read_to_string(root.path().join("a/sources.txt")).unwrap();
        assert!(sources.lines().next().unwrap().ends_with(&format!("{}.png", picks[0])), "{sources}");

        let again = make(&root.path().join("source"), &root.path().join("a"), 8, 1);
        assert!(matches!(again, Err(DataError::Io { .. })), "an existing set is left alone");
        let too_many = make(&root.path().join("source"), &root.path().join("d"), 13, 1);
        assert!(matches!(too_many, Err(DataError::OutOfRange { index: 13, len: 12, .. })));
        std::fs::write(root.path().join("source/bad.png"), "damaged").unwrap();
        let damaged = make(&root.path().join("source"), &root.path().join("d"), 13, 1);
        assert!(matches!(damaged, Err(DataError::Undecodable { .. })));
        assert!(!root.path().join("d").exists());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 4, "nothing half-made stays");
    }
}
