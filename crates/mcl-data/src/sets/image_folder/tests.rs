//! Folders as users have them.

use std::fs;
use std::io::Cursor;
use std::sync::Mutex;

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, ImageBuffer, ImageEncoder, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

const GREEN: [u8; 3] = [0, 200, 0];

fn quiet(_: usize, _: usize) {}

/// Ten pictures of one colour in all kinds of files and sizes, in one folder.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for i in 0..6 {
        RgbImage::from_pixel(5 + i, 9, Rgb(GREEN)).save(at(&format!("{i}.png"))).unwrap();
    }
    GrayImage::from_pixel(3, 3, Luma([90])).save(at("grey.png")).unwrap();
    RgbaImage::from_pixel(3, 3, Rgba([1, 2, 3, 0])).save(at("hollow.png")).unwrap();
    ImageBuffer::<Rgb<u16>, _>::from_pixel(3, 3, Rgb([0, 200 * 257, 0])).save(at("sixteen.png")).unwrap();
    fs::write(at("turned.jpg"), turned_jpeg()).unwrap();
    root
}

/// A 16 x 8 JPEG, its left half black, that says it was taken with the camera turned: upright its top is black.
fn turned_jpeg() -> Vec<u8> {
    let picture = RgbImage::from_fn(16, 8, |x, _| Rgb(if x < 8 { [0; 3] } else { [255; 3] }));
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    // TIFF, big-endian, one entry: tag 0x0112 (orientation), SHORT, one value: 6.
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend([0, 6, 0, 0, 0, 0, 0, 0]);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&picture, 16, 8, image::ExtendedColorType::Rgb8).unwrap();
    bytes.into_inner()
}

fn pixel(folder: &ImageFolder, name: &str) -> [u8; 3] {
    let i = folder.files.iter().position(|path| path.ends_with(name)).unwrap();
    let pixels = folder.images.pixels(i);
    [pixels[0], pixels[pixels.len() / 3], pixels[2 * pixels.len() / 3]]
}

#[test]
fn every_kind_of_picture_becomes_upright_opaque_rgb() {
    let root = folder();
    let folder = ImageFolderConfig::new((8, 4)).load(root.path(), &quiet).unwrap();
    assert_eq!(
        (folder.images.len(), folder.images.size(), folder.cache.clone()),
        (10, (8, 4), CacheUse::Off)
    );
    assert_eq!(folder.files.len(), 10);
    assert_eq!([pixel(&folder, "5.png"), pixel(&folder, "sixteen.png")], [GREEN; 2]);
    assert_eq!([pixel(&folder, "grey.png"), pixel(&folder, "hollow.png")], [[90; 3], [255; 3]]);
    let turned = folder.files.iter().position(|path| path.ends_with("turned.jpg")).unwrap();
    let red = &folder.images.pixels(turned)[..32]; // [8, 4]: the dark half is on top
    assert!(red[..12].iter().all(|&v| v < 30) && red[20..].iter().all(|&v| v > 225), "{red:?}");
}

#[test]
fn unreadable_files_are_named_and_passed_over_up_to_the_limit() {
    let root = folder();
    fs::write(root.path().join("2.png"), "no picture").unwrap();
    fs::write(root.path().join("4.png"), "").unwrap();
    let config = ImageFolderConfig::new((4, 4)).with_unreadable(0.2);
    let seen = Mutex::new(Vec::new());
    let folder = config.load(root.path(), &|done, all| seen.lock().unwrap().push((done, all))).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=10).map(|done| (done, 10)).collect::<Vec<_>>());

    assert_eq!((folder.images.len(), folder.files.len()), (8, 8));
    let bad: Vec<_> = folder.unreadable.iter().map(|file| file.path.file_name().unwrap()).collect();
    assert_eq!(bad, ["2.png", "4.png"]);
    assert!(folder.unreadable[0].reason.contains("2.png"), "{}", folder.unreadable[0].reason);
    for name in ["0.png", "1.png", "3.png", "5.png"] {
        assert_eq!(pixel(&folder, name), GREEN, "{name} is where it belongs");
    }

    let error = config.with_unreadable(0.1).load(root.path(), &quiet).unwrap_err();
    let DataError::TooManyUnreadable { unreadable: 2, pictures: 10, limit: 1, first, .. } = &error else {
        panic!("{error}")
    };
    assert!(first[0].contains("2.png") && first[1].contains("4.png"), "{error}");
}

#[test]
fn a_class_of_unreadable_files_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir(root.path().join(class)).unwrap();
        RgbImage::new(2, 2).save(root.path().join(class).join("1.png")).unwrap();
    }
    fs::write(root.path().join("b/1.png"), "no picture").unwrap();
    let error = ImageFolderConfig::new((2, 2)).with_unreadable(1.0).load(root.path(), &quiet).unwrap_err();
    let DataError::UnreadableClass { path, pictures: 1, first } = &error else { panic!("{error}") };
    assert!(path.ends_with("b") && first.contains("1.png"), "{error}");
}

#[test]
fn empty_and_unreadable_classes_may_stay_without_pictures() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for class in ["a", "damaged", "empty"] {
        fs::create_dir(at(class)).unwrap();
    }
    RgbImage::new(2, 2).save(at("a/1.png")).unwrap();
    fs::write(at("damaged/1.png"), "no picture").unwrap();
    let config = ImageFolderConfig::new((2, 2)).with_unreadable(1.0);
    let error = config.load(root.path(), &quiet).unwrap_err();
    assert!(matches!(&error, DataError::EmptyFolder { path, .. } if path.ends_with("empty")), "{error}");

    let lenient = config.with_empty_classes(true);
    let folder = lenient.load(root.path(), &quiet).unwrap();
    assert_eq!(folder.images.class_names(), ["a", "damaged", "empty"]);
    assert_eq!((folder.images.labels(), folder.unreadable.len()), (&[0][..], 1));
    fs::write(at("a/1.png"), "no picture either").unwrap();
    let folder = lenient.load(root.path(), &quiet).unwrap();
    assert_eq!((folder.images.len(), folder.unreadable.len()), (0, 2));
}

#[test]
fn the_limit_of_unreadable_files_is_rounded_down() {
    let root = folder(); // ten pictures
    fs::write(root.path().join("2.png"), "no picture").unwrap();
    let load = |share| ImageFolderConfig::new((4, 4)).with_unreadable(share).load(root.path(), &quiet);
    assert!(matches!(load(0.09), Err(DataError::TooManyUnreadable { unreadable: 1, limit: 0, .. })));
    assert_eq!(load(0.1).unwrap().unreadable.len(), 1);
}

#[test]
fn a_picture_alone_is_one_class_and_other_formats_are_listed() {
    let root = folder();
    let one = root.path().join("5.png");
    let alone = ImageFolderConfig::new((2, 2)).load(&one, &quiet).unwrap();
    assert_eq!((alone.images.class_names(), &alone.files), (&["5.png".to_string()][..], &vec![one]));

    for name in ["b.HEIC", "a.avif", ".hidden.heic", "notes.txt"] {
        fs::write(root.path().join(name), "").unwrap();
    }
    let all = ImageFolderConfig::new((2, 2)).load(root.path(), &quiet).unwrap();
    assert_eq!(all.other_formats, ["a.avif", "b.HEIC"].map(|name| root.path().join(name)));
    assert_eq!(all.images.len(), 10);
}

/// A line break in a name forges no line of output.
#[cfg(unix)]
#[test]
fn errors_escape_the_names_of_files() {
    let root = tempfile::tempdir().unwrap();
    let hostile = root.path().join("a\n0 pictures flagged\u{1b}[2J\u{202e}.png");
    fs::write(&hostile, "no picture").unwrap();
    let error = crate::image_folder::load(root.path(), (2, 2)).unwrap_err().to_string();
    assert!(error.contains(r"a\n0 pictures flagged\u{1b}[2J\u{202e}.png"), "{error}");
    assert!(!error.contains(['\n', '\u{1b}', '\u{202e}']), "{error}");
    fs::create_dir(root.path().join("folder\n")).unwrap();
    let error = crate::image_folder::load(root.path(), (2, 2)).unwrap_err();
    assert!(matches!(error, DataError::MixedFolder { .. }) && !error.to_string().contains('\n'), "{error}");
}

/// What the system could not open may be there another time: a cache would keep it out for good.
#[cfg(unix)]
#[test]
fn a_picture_that_cannot_be_opened_is_not_cached_as_unreadable() {
    let (root, cache, elsewhere) = (folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let away = elsewhere.path().join("away.png");
    std::os::unix::fs::symlink(&away, root.path().join("6.png")).unwrap();
    let config = ImageFolderConfig::new((4, 4)).with_unreadable(0.2).with_cache(Some(cache.path().into()));
    let load = || config.load(root.path(), &quiet).unwrap();
    for _ in 0..2 {
        let folder = load();
        assert_eq!((folder.images.len(), folder.unreadable.len()), (10, 1));
        assert!(folder.unreadable[0].path.ends_with("6.png"));
        let CacheUse::NotWritten { reason, .. } = &folder.cache else { panic!("{}", folder.cache) };
        assert!(reason.contains("6.png"), "{reason}");
    }
    RgbImage::from_pixel(5, 9, Rgb(GREEN)).save(&away).unwrap();
    let folder = load();
    assert_eq!((folder.images.len(), folder.unreadable.len()), (11, 0));
    assert!(matches!(folder.cache, CacheUse::Written { .. }), "{}", folder.cache);

    // Away for a while: what is cached stays for when it is back.
    fs::remove_file(&away).unwrap();
    assert_eq!(load().unreadable.len(), 1);
    RgbImage::from_pixel(5, 9, Rgb(GREEN)).save(&away).unwrap();
    assert_eq!(load().images.len(), 11);
}

#[test]
fn the_cache_serves_until_the_folder_changes() {
    let (root, cache) = (folder(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("3.png"), "no picture").unwrap();
    let config = ImageFolderConfig::new((6, 6)).with_unreadable(0.2).with_cache(Some(cache.path().into()));
    let load = || config.load(root.path(), &quiet).unwrap();

    let first = load();
    assert!(matches!(first.cache, CacheUse::Written { replaced: None, .. }), "{}", first.cache);
    let again = load();
    let CacheUse::Read(path) = &again.cache else { panic!("{}", again.cache) };
    assert_eq!(
        (&again.images, &again.files, &again.unreadable),
        (&first.images, &first.files, &first.unreadable)
    );
    assert_eq!(again.images, config.clone().with_cache(None).load(root.path(), &quiet).unwrap().images);
    // A stricter limit holds for the cache too.
    let strict = config.clone().with_unreadable(0.0).load(root.path(), &quiet);
    assert!(matches!(strict, Err(DataError::TooManyUnreadable { limit: 0, .. })), "{strict:?}");

    // Damage is noticed, and mended.
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let mended = load();
    assert!(matches!(&mended.cache, CacheUse::Written { replaced: Some(_), .. }), "{}", mended.cache);
    assert_eq!(mended.images, first.images);
    assert!(matches!(load().cache, CacheUse::Read(_)));

    // Each kind of change: a file changed, renamed, removed, added.
    let at = |name: &str| root.path().join(name);
    let changes: [&dyn Fn(); 4] = [
        &|| RgbImage::from_pixel(30, 30, Rgb([9; 3])).save(at("0.png")).unwrap(),
        &|| fs::rename(at("0.png"), at("00.png")).unwrap(),
        &|| fs::remove_file(at("00.png")).unwrap(),
        &|| RgbImage::from_pixel(30, 30, Rgb([9; 3])).save(at("9.png")).unwrap(),
    ];
    for (i, change) in changes.iter().enumerate() {
        change();
        let changed = load();
        assert!(
            matches!(&changed.cache, CacheUse::Written { replaced: Some(_), .. }),
            "{i}: {}",
            changed.cache
        );
        assert!(matches!(load().cache, CacheUse::Read(_)));
    }
    assert_eq!(pixel(&load(), "9.png"), [9; 3]);

    // Another size is another file; nothing piles up beyond that.
    let larger = ImageFolderConfig { size: (9, 9), ..config.clone() };
    assert!(matches!(
        larger.load(root.path(), &quiet).unwrap().cache,
        CacheUse::Written { replaced: None, .. }
    ));
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
}

#[test]
fn pictures_are_stretched_or_cropped_in_the_centre() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Red, green, blue: three squares side by side.
    let picture =
        RgbImage::from_fn(60, 20, |x, _| Rgb([[255, 0, 0], [0, 255, 0], [0, 0, 255]][x as usize / 20]));
    picture.save(root.path().join("1.png")).unwrap();
    let stretch = ImageFolderConfig::new((10, 10)).with_cache(Some(cache.path().into()));
    let crop = stretch.clone().with_centre_crop(Some(10));
    let load = |config: &ImageFolderConfig| config.load(root.path(), &quiet).unwrap();
    let row = |folder: &ImageFolder, plane: usize| folder.images.pixels(0)[100 * plane..][..10].to_vec();
    for round in 0..2 {
        let (stretched, cropped) = (load(&stretch), load(&crop));
        assert!(row(&stretched, 0)[0] == 255 && row(&stretched, 2)[9] == 255);
        assert_eq!(row(&cropped, 1)[1..9], [255; 8]);
        // Each has its own cache.
        for folder in [stretched, cropped] {
            assert_eq!(matches!(folder.cache, CacheUse::Read(_)), round == 1, "{}", folder.cache);
        }
    }
    // Larger, and its centre: 5 of 20 pixels of the green square are left out at each side.
    let closer = load(&crop.with_centre_crop(Some(20)));
    assert_eq!(row(&closer, 1), [255; 10]);
    let refused = stretch.with_centre_crop(Some(9)).load(root.path(), &quiet);
    assert!(matches!(refused, Err(DataError::Setting { name: "centre_crop", .. })));
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
    let root = folder();
    let file = root.path().join("in-the-way");
    fs::write(&file, "").unwrap();
    let config = ImageFolderConfig::new((4, 4)).with_cache(Some(file));
    let folder = config.load(root.path(), &quiet).unwrap();
    assert_eq!(folder.images.len(), 10);
    assert!(matches!(folder.cache, CacheUse::NotWritten { .. }), "{}", folder.cache);
}

#[test]
fn settings_out_of_range_are_named() {
    let root = folder();
    for share in [-0.1, 1.1, f64::NAN] {
        let error =
            ImageFolderConfig::new((4, 4)).with_unreadable(share).load(root.path(), &quiet).unwrap_err();
        assert!(matches!(error, DataError::Setting { name: "unreadable", .. }), "{error}");
    }
    let error = ImageFolderConfig::new((4, 0)).load(root.path(), &quiet).unwrap_err();
    assert!(matches!(error, DataError::Setting { name: "size", .. }), "{error}");
}
