//! The sets in every form that they come in, and their making.

use super::*;
use crate::files::archive::tests::{gzip, tar};
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

    let alike = tar(&[("s/a/x/1.png", file, &png(1)), ("s/b/x/1.png", file, &png(2))]);
    std::fs::write(archives.path().join("y.tar"), alike).unwrap();
    let set = imagenet_fix::load(&archives.path().join("y.tar")).unwrap();
    let paths = [["a", "x"], ["b", "x"]].map(|parts| PathBuf::from_iter(parts).display().to_string());
    assert_eq!((set.class_names(), first_bytes(&set)), (&paths[..], vec![1, 2]));
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
fn one_set_is_not_taken_for_the_other() {
    let root = tempfile::tempdir().unwrap();
    let missing = |path: &Path| matches!(lsun_fix::load(path), Err(DataError::Missing { .. }));
    let imagenet = root.path().join("Imagenet_fix");
    std::fs::create_dir(&imagenet).unwrap();
    tiny(1).save(imagenet.join("1.png")).unwrap();
    assert!(missing(root.path()) && missing(&imagenet));
    assert_eq!(imagenet_fix::load(root.path()).unwrap().len(), 1);
    RgbImage::new(80, 60).save(root.path().join("preview.png")).unwrap();
    assert!(missing(root.path()), "a picture beside other sets is no set");

    let archive = root.path().join("imagenet_fix.tar");
    std::fs::write(&archive, tar(&[("1.png", EntryType::Regular, &png(1))])).unwrap();
    assert!(missing(&archive));
    assert_eq!(imagenet_fix::load(&archive).unwrap().len(), 1);

    let lsun = root.path().join("lsun_fix");
    std::fs::rename(&imagenet, &lsun).unwrap();
    assert!(matches!(imagenet_fix::load(&lsun), Err(DataError::Missing { .. })));
    assert_eq!(lsun_fix::load(&lsun).unwrap().len(), 1);
}

#[test]
fn bad_members_are_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("LSUN_fix.tar.gz");
    let write = |entries: &[(&str, EntryType, &[u8])]| std::fs::write(&path, gzip(&tar(entries))).unwrap();
    write(&[("d/good.png", EntryType::Regular, &png(1)), ("d/bad.png", EntryType::Regular, &png(2)[..50])]);
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
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/golden/fix.json")).unwrap();
    assert!(cases.len() >= 3);
    for Case { from, pixels } in cases {
        let small = shrink(Path::new("noise"), &resize::tests::noise(from.0, from.1)).unwrap();
        assert!(small.as_raw() == &pixels, "{from:?} differs from Pillow");
    }
}

#[test]
fn a_thread_of_a_picture_is_refused() {
    for (width, height) in [(1, 32_768), (32_768, 1), (2, 32_768)] {
        let error = shrink(Path::new("thread.png"), &RgbImage::new(width, height)).unwrap_err();
        assert!(
            matches!(&error, DataError::OverLimit { path, .. } if path.ends_with("thread.png")),
            "{error}"
        );
    }
    assert_eq!(shrink(Path::new("wide.png"), &RgbImage::new(400, 2)).unwrap().dimensions(), (32, 32));
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

    let left = root.path().join(".e.0.partial"); // of a process that was killed
    std::fs::create_dir(&left).unwrap();
    tiny(77).save(left.join("00009.png")).unwrap();
    assert_eq!(made("e", 1), picks);
    std::fs::remove_dir_all(left).unwrap();

    let again = make(&root.path().join("source"), &root.path().join("a"), 8, 1);
    assert!(matches!(again, Err(DataError::Io { .. })), "an existing set is left alone");
    let too_many = make(&root.path().join("source"), &root.path().join("d"), 13, 1);
    assert!(matches!(too_many, Err(DataError::OutOfRange { index: 13, len: 12, .. })));
    std::fs::write(root.path().join("source/bad.png"), "damaged").unwrap();
    let damaged = make(&root.path().join("source"), &root.path().join("d"), 13, 1);
    assert!(matches!(damaged, Err(DataError::Undecodable { .. })));
    assert!(!root.path().join("d").exists());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 5, "nothing half-made stays");
}
