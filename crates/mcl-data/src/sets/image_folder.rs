//! One's own pictures: a folder with one sub-folder a class, or a folder of pictures that are one class.
//!
//! [`load`] is strict: the first file that is not a picture ends it. [`ImageFolderConfig`] is for folders as they are
//! found: it passes over a few unreadable files and names them, and keeps the resized pixels in a cache file.

mod cache;
mod config;
mod fingerprint;
mod listing;

use std::path::{Path, PathBuf};

pub use cache::CacheUse;
pub use config::ImageFolderConfig;

use crate::sets::folder::{self, Fit};
use crate::{DataError, ImageSet};
use listing::Listing;

/// A folder of pictures, decoded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImageFolder {
    /// The pictures that could be read.
    pub images: ImageSet,
    /// The file of each image.
    pub files: Vec<PathBuf>,
    /// The files that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Pictures of formats that are not read (HEIC, AVIF, raw files of cameras and others), by the ends of their names.
    pub other_formats: Vec<PathBuf>,
    /// What became of the cache.
    pub cache: CacheUse,
}

/// A file that looks like a picture by its name and could not be read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why, as a sentence that names the file.
    pub reason: String,
}

/// Loads `root/<class>/**`, or `root/*` as one class, and fails at the first file that is not a picture.
///
/// The classes are the sub-folders sorted by name; the images of a class are its picture files, in folders below it too,
/// sorted by name (bmp, gif, jpeg, png, pnm, tiff, webp; other files and hidden ones are passed over). Links are followed;
/// a folder that several of them lead to counts once in a class. A root without sub-folders is one class of the root's
/// name, and so is a root that is a picture itself.
///
/// Pictures are turned upright as their EXIF block says, transparency is laid over white, grey becomes RGB and 16 bits
/// become 8; then they are stretched to `size` (height, width) with an antialiased bilinear filter. Decoding runs on all
/// cores, the order does not depend on it.
///
/// # Errors
/// - [`DataError::NoClassFolders`], [`DataError::EmptyFolder`] if there is no class or a class without a picture
/// - [`DataError::MixedFolder`] if there are pictures both in `root` and in folders
/// - [`DataError::EqualFolderNames`] if two classes have the same name once it is text
/// - [`DataError::Undecodable`], [`DataError::OverLimit`] for the first picture that is not one or too large
/// - [`DataError::Io`], also for a link to nowhere that may stand for a picture or a class
/// - [`DataError::OutOfMemory`], [`DataError::Setting`] (a zero size)
///
/// ```no_run
/// let set = mcl_data::image_folder::load("my-pictures".as_ref(), (32, 32))?;
/// println!("{} pictures of {:?}", set.len(), set.class_names());
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn load(root: &Path, size: (usize, usize)) -> Result<ImageSet, DataError> {
    let Listing { class_names, files, .. } = Listing::read(root, false)?;
    folder::load(&files, class_names, size, Fit::Stretch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

    fn picture(value: u8) -> RgbImage {
        RgbImage::from_pixel(6, 4, Rgb([value, 0, 255]))
    }

    /// zebra/{2.png, 10.png}, ant/{a.PNG}: names that sort otherwise than numbers or creation.
    fn example() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("zebra")).unwrap();
        std::fs::create_dir(root.path().join("ant")).unwrap();
        std::fs::create_dir(root.path().join(".git")).unwrap();
        picture(2).save(root.path().join("zebra/2.png")).unwrap();
        picture(10).save(root.path().join("zebra/10.png")).unwrap();
        GrayImage::from_pixel(9, 9, Luma([50])).save(root.path().join("ant/a.PNG")).unwrap();
        std::fs::write(root.path().join("zebra/notes.txt"), "no picture").unwrap();
        std::fs::write(root.path().join("zebra/._2.png"), "resource fork").unwrap();
        root
    }

    #[test]
    fn classes_and_pictures_are_sorted_by_name() {
        let set = load(example().path(), (2, 3)).unwrap();
        assert_eq!(set.class_names(), ["ant", "zebra"]);
        assert_eq!(set.labels(), [0, 1, 1]);
        assert_eq!(set.size(), (2, 3));
        assert_eq!(set.pixels(0), [50; 18]);
        assert_eq!([set.pixels(1)[0], set.pixels(2)[0]], [10, 2]); // "10.png" < "2.png"
    }

    #[test]
    fn a_decoded_picture_is_the_picture_of_its_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.png");
        let mixed = RgbaImage::from_fn(7, 5, |x, y| Rgba([30 * x as u8, 40 * y as u8, 9, 50 * y as u8]));
        mixed.save(&path).unwrap();
        let mixed = mixed.into();
        for centre_crop in [None, Some(6), Some(9)] {
            let config = ImageFolderConfig::new((4, 6)).with_centre_crop(centre_crop);
            let of_file = config.load_files(std::slice::from_ref(&path), &|_, _| {}).unwrap();
            assert_eq!(
                config.picture(&mixed).unwrap().pixels(0),
                of_file.images.pixels(0),
                "{centre_crop:?}"
            );
        }
        let stretched = ImageFolderConfig::new((4, 6));
        assert_eq!(stretched.picture(&mixed).unwrap().pixels(0), load(&path, (4, 6)).unwrap().pixels(0));
        let error = stretched.picture(&RgbImage::new(0, 5).into()).unwrap_err();
        assert!(error.to_string().contains("without pixels"), "{error}");
        for wrong in [ImageFolderConfig::new((0, 6)), stretched.with_centre_crop(Some(5))] {
            assert!(matches!(wrong.picture(&picture(1).into()), Err(DataError::Setting { .. })));
        }
    }

    #[test]
    fn lists_of_files_keep_their_order_and_name_what_cannot_be_read() {
        let root = example();
        let at = |name: &str| root.path().join(name);
        let files = ["zebra/10.png", "zebra/notes.txt", "ant/a.PNG", "nowhere.png"].map(at);
        let config = ImageFolderConfig::new((2, 3)).with_unreadable(0.5);
        let found = config.load_files(&files, &|_, _| {}).unwrap();
        assert_eq!(found.files, [&files[0], &files[2]].map(PathBuf::clone));
        assert_eq!((found.images.len(), found.images.pixels(0)[0], found.images.pixels(1)[0]), (2, 10, 50));
        let unreadable: Vec<_> = found.unreadable.iter().map(|file| &file.path).collect();
        assert_eq!(unreadable, [&files[1], &files[3]]);
        let error = config.with_unreadable(0.4).load_files(&files, &|_, _| {}).unwrap_err();
        assert!(matches!(error, DataError::TooManyUnreadable { unreadable: 2, pictures: 4, .. }), "{error}");
        let none = ImageFolderConfig::new((2, 3)).with_empty_classes(true).load_files(&[], &|_, _| {});
        assert!(none.unwrap().images.is_empty());
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("only")).unwrap();
        for i in 0..40 {
            picture(i).save(root.path().join(format!("only/{i:02}.png"))).unwrap();
        }
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| load(root.path(), (4, 6)).unwrap())
        };
        let set = with(1);
        assert!((0..40).all(|i| set.pixels(i)[0] == i as u8));
        assert_eq!(set, with(4));
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::NoClassFolders { path } if path == root.path()), "{error}");
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::EmptyFolder { path, .. } if path.ends_with("empty")), "{error}");
        let error = load(&root.path().join("nowhere"), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("nowhere")), "{error}");
        let error = load(example().path(), (0, 2)).unwrap_err();
        assert!(matches!(error, DataError::Setting { .. }), "{error}");
    }

    #[test]
    fn sizes_beyond_memory_are_errors() {
        let root = example();
        for size in [(1 << 63, 2), (1 << 30, 1 << 30), (usize::MAX, usize::MAX)] {
            let error = load(root.path(), size).unwrap_err();
            assert!(matches!(error, DataError::OutOfMemory { pictures: 3, .. }), "{error}");
            let error = ImageFolderConfig::new(size).load(root.path(), &|_, _| {}).unwrap_err();
            assert!(matches!(error, DataError::OutOfMemory { pictures: 3, .. }), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_not_passed_over_in_silence() {
        let root = example();
        std::os::unix::fs::symlink("nowhere", root.path().join("zebra/3.png")).unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("zebra/3.png")), "{error}");
        std::os::unix::fs::symlink("nowhere", root.path().join("yak")).unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("yak")), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn linked_folders_below_a_class_belong_to_it() {
        use std::os::unix::fs::symlink;
        let (root, elsewhere) = (example(), tempfile::tempdir().unwrap());
        std::fs::create_dir(elsewhere.path().join("deep")).unwrap();
        picture(3).save(elsewhere.path().join("deep/3.png")).unwrap();
        for (link, leads_to) in [("moved", elsewhere.path()), ("ring", &root.path().join("zebra"))] {
            symlink(leads_to, root.path().join("zebra").join(link)).unwrap();
        }
        symlink("..", elsewhere.path().join("deep/back")).unwrap(); // the way to it is not through its parent
        symlink(elsewhere.path().join("deep"), root.path().join("zebra/moved-too")).unwrap();
        let set = load(root.path(), (2, 2)).unwrap();
        assert_eq!(set.labels(), [0, 1, 1, 1]);
        assert_eq!(set.pixels(3)[0], 3);

        symlink("nowhere", elsewhere.path().join("deep/gone")).unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("moved/deep/gone")), "{error}");
    }

    /// Folders that all link to one another: as many ways as orders, each folder visited once.
    #[cfg(unix)]
    #[test]
    fn a_web_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        let folder = |i: u8| root.path().join(format!("class/{i}"));
        for i in 0..12 {
            std::fs::create_dir_all(folder(i)).unwrap();
            picture(i).save(folder(i).join("a.png")).unwrap();
            for other in (0..12).filter(|&other| other != i) {
                std::os::unix::fs::symlink(folder(other), folder(i).join(format!("to-{other}"))).unwrap();
            }
        }
        assert_eq!(load(root.path(), (2, 2)).unwrap().len(), 12);
    }

    /// Names that are no text: Latin-1 of an archive unpacked long ago.
    #[cfg(target_os = "linux")]
    #[test]
    fn folders_whose_names_are_one_as_text_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &[u8]| root.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir(folder(b"M\xe4use")).unwrap();
        std::fs::write(folder(b"M\xe4use").join("1.png"), "no picture").unwrap();
        let lenient = ImageFolderConfig::new((2, 2)).with_unreadable(1.0);
        let error = lenient.load(root.path(), &|_, _| {}).unwrap_err();
        let DataError::UnreadableClass { path, pictures: 1, first } = &error else { panic!("{error}") };
        assert!(*path == folder(b"M\xe4use") && first.contains("1.png"), "{error}");

        std::fs::create_dir(folder(b"M\xf6use")).unwrap();
        picture(1).save(folder(b"M\xf6use").join("1.png")).unwrap();
        let error = load(root.path(), (2, 2)).unwrap_err();
        let DataError::EqualFolderNames { first, second, .. } = &error else { panic!("{error}") };
        assert_eq!((first, second), (&folder(b"M\xe4use"), &folder(b"M\xf6use")));
        assert!(error.to_string().contains(r"M\xE4use"), "{error}");
    }

    #[test]
    fn of_several_bad_pictures_the_first_is_reported() {
        let root = example();
        for name in ["zebra/3.png", "zebra/4.jpg"] {
            std::fs::write(root.path().join(name), "damaged").unwrap();
        }
        let error = load(root.path(), (2, 2)).unwrap_err();
        assert!(
            matches!(&error, DataError::Undecodable { path, .. } if path.ends_with("zebra/3.png")),
            "{error}"
        );
    }

    #[test]
    fn a_flat_folder_is_one_class_and_folders_below_a_class_belong_to_it() {
        let root = tempfile::tempdir().unwrap();
        let flat = root.path().join("flat");
        std::fs::create_dir(&flat).unwrap();
        picture(1).save(flat.join("a.png")).unwrap();
        picture(2).save(flat.join("b.png")).unwrap();
        let set = load(&flat, (2, 2)).unwrap();
        assert_eq!((set.class_names(), set.labels()), (&["flat".to_string()][..], &[0, 0][..]));

        std::fs::create_dir_all(flat.join("monday/left")).unwrap();
        let error = load(&flat, (2, 2)).unwrap_err();
        assert!(matches!(&error, DataError::MixedFolder { path, .. } if path == &flat), "{error}");

        picture(3).save(flat.join("monday/left/c.png")).unwrap();
        let set = load(root.path(), (2, 2)).unwrap();
        assert_eq!((set.class_names(), set.len()), (&["flat".to_string()][..], 3));
    }
}
