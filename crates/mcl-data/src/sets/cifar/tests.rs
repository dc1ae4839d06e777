//! Files of records: whole, in parts, damaged.

use super::*;
use crate::{cifar10, cifar100};

/// `n` records whose labels count up (the last label byte) and whose pixel p is `p + record`, mod 251.
fn records(n: usize, label_bytes: usize, classes: usize) -> Vec<u8> {
    let image = |i: usize| (0..IMAGE_BYTES).map(move |p| ((p + i) % 251) as u8);
    let head = |i: usize| {
        let mut head = vec![7; label_bytes];
        head[label_bytes - 1] = (i % classes) as u8;
        head
    };
    (0..n).flat_map(|i| head(i).into_iter().chain(image(i))).collect()
}

fn write(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn records_are_read_in_file_order() {
    let root = tempfile::tempdir().unwrap();
    for k in 1..=5 {
        write(root.path(), &format!("cifar-10-batches-bin/data_batch_{k}.bin"), &records(10 + k, 1, 10));
    }
    let set = cifar10::load_partial(root.path(), Split::Train).unwrap();
    assert_eq!(set.len(), 11 + 12 + 13 + 14 + 15);
    assert_eq!(set.size(), (32, 32));
    assert_eq!(set.labels()[..13], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1]);
    assert_eq!(set.pixels(12)[..3], [1, 2, 3]); // record 1 of the second file
    assert_eq!(set.pixels(12)[3071], ((3071 + 1) % 251) as u8);
    // More than a piece: the parts of a file come in their order.
    write(root.path(), "cifar-10-batches-bin/test_batch.bin", &records(2 * PIECE + 70, 1, 10));
    let large = cifar10::load_partial(root.path(), Split::Test).unwrap();
    assert!(
        (0..large.len()).all(|i| large.label(i) == i % 10 && large.pixels(i)[7] == ((7 + i) % 251) as u8)
    );
    let inside = cifar10::load_partial(&root.path().join("cifar-10-batches-bin"), Split::Train).unwrap();
    assert_eq!(inside, set);
}

#[test]
fn cifar100_takes_the_fine_label() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "cifar-100-binary/test.bin", &records(101, 2, 100));
    let set = cifar100::load_partial(root.path(), Split::Test).unwrap();
    assert_eq!((set.label(0), set.label(99), set.label(100)), (0, 99, 0));
    assert_eq!(set.pixels(3)[0], 3);
    assert_eq!(set.class_names()[53], "orange");
}

#[test]
fn faults_name_file_and_offset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("cifar-10-batches-bin/test_batch.bin");
    let load = |bytes: &[u8]| {
        write(root.path(), "cifar-10-batches-bin/test_batch.bin", bytes);
        cifar10::load_partial(root.path(), Split::Test).unwrap_err()
    };
    let good = records(4, 1, 10);
    let error = load(&good[..2 * 3073 + 100]);
    assert!(
        matches!(&error, DataError::Truncated { path: p, offset: 6146, record: 2, expected: 3073, found: 100 } if *p == path),
        "{error}"
    );
    let mut bad_label = good.clone();
    bad_label[3 * 3073] = 10;
    let error = load(&bad_label);
    assert!(matches!(&error, DataError::LabelInFile { offset: 9219, label: 10, classes: 10, .. }), "{error}");
    assert!(error.to_string().contains("test_batch.bin: label 10 at byte 9219"), "{error}");
    let mut far = records(PIECE + READ + 3, 1, 10);
    far[(PIECE + READ + 1) * 3073] = 11;
    let error = load(&far);
    let expected = ((PIECE + READ + 1) * 3073) as u64;
    assert!(matches!(error, DataError::LabelInFile { offset, label: 11, .. } if offset == expected));
    assert!(matches!(load(&[]), DataError::FileSize { found: 0, .. }));
    let error = load(&vec![0; 10_001 * 3073]);
    assert!(matches!(error, DataError::FileSize { found: 30_733_073, .. }), "{error}");
}

#[test]
fn a_missing_batch_is_an_error_not_a_smaller_set() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "cifar-10-batches-bin/data_batch_1.bin", &records(1, 1, 10));
    let error = cifar10::load_partial(root.path(), Split::Train).unwrap_err();
    assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("data_batch_2.bin")), "{error}");
    let error = cifar100::load_partial(root.path(), Split::Train).unwrap_err();
    assert!(matches!(error, DataError::Missing { .. }));
    assert!(error.to_string().contains("put cifar-100-binary/{train.bin} there"), "{error}");
}

#[test]
fn folders_of_pngs_are_the_same_set() {
    let root = tempfile::tempdir().unwrap();
    let bytes = records(20, 1, 10);
    write(root.path(), "bin/test_batch.bin", &bytes);
    for (i, record) in bytes.chunks_exact(3073).enumerate() {
        let class = cifar10::CLASS_NAMES[usize::from(record[0])];
        let folder = root.path().join("cifar10/test").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        let pixel = |x: u32, y: u32, c: usize| record[1 + 1024 * c + (32 * y + x) as usize];
        let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([0, 1, 2].map(|c| pixel(x, y, c))));
        image.save(folder.join(format!("{i:04}.png"))).unwrap();
    }
    let binary = cifar10::load_partial(&root.path().join("bin"), Split::Test).unwrap();
    let by_class: Vec<usize> = (0..10).flat_map(|class| [class, class + 10]).collect();
    let pngs = cifar10::load_partial(root.path(), Split::Test).unwrap();
    assert_eq!(pngs, binary.subset(&by_class).unwrap());
    assert_eq!(cifar10::load_partial(&root.path().join("cifar10"), Split::Test).unwrap(), pngs);

    // Another set beside it, without a folder of its own.
    std::fs::create_dir_all(root.path().join("test/apple")).unwrap();
    assert_eq!(cifar10::load_partial(root.path(), Split::Test).unwrap(), pngs);

    image::RgbImage::new(31, 32).save(root.path().join("cifar10/test/cat/0000.png")).unwrap();
    let error = cifar10::load_partial(root.path(), Split::Test).unwrap_err();
    assert!(matches!(&error, DataError::ImageSize { found: (32, 31), .. }), "{error}");
    std::fs::remove_dir_all(root.path().join("cifar10/test/frog")).unwrap();
    let error = cifar10::load_partial(root.path(), Split::Test).unwrap_err();
    assert!(error.to_string().contains("\"frog\""), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_is_read_whole_or_refused(length in 0usize..8000, label in 0u8..12, fill in 0u8..) {
        let root = tempfile::tempdir().unwrap();
        let mut bytes = vec![fill; length];
        bytes.iter_mut().step_by(3073).for_each(|head| *head = label);
        write(root.path(), "test_batch.bin", &bytes);
        match cifar10::load_partial(root.path(), Split::Test) {
            Ok(set) => assert!(set.len() * 3073 == length && length > 0 && label < 10),
            Err(DataError::FileSize { .. }) => assert_eq!(length, 0),
            Err(DataError::Truncated { offset, found, .. }) => {
                assert_eq!((offset as usize + found, offset % 3073), (length, 0));
                assert!(found > 0);
            }
            Err(DataError::LabelInFile { offset: 0, .. }) => assert!(label >= 10),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn parts_of_a_set_are_loaded_only_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "cifar-100-binary/test.bin", &records(99, 2, 100));
    let error = cifar100::load(root.path(), Split::Test).unwrap_err();
    assert!(matches!(error, DataError::ImageCount { found: 99, expected: 10_000, .. }), "{error}");
    assert!(error.to_string().contains("load_partial"), "{error}");
    assert_eq!(cifar100::load_partial(root.path(), Split::Test).unwrap().len(), 99);
    write(root.path(), "cifar-100-binary/test.bin", &records(10_000, 2, 100));
    assert_eq!(cifar100::load(root.path(), Split::Test).unwrap().len(), 10_000);
}

/// The real sets, where they are: in `$MCL_DATA` or in `data/` of the workspace.
#[test]
fn real_sets_are_balanced() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let root = std::env::var_os("MCL_DATA").map_or(workspace, PathBuf::from);
    if !root.join("cifar-10-batches-bin").is_dir() {
        println!("skipped: no CIFAR-10 in {}", root.display());
        return;
    }
    for (split, each) in [(Split::Train, 5000), (Split::Test, 1000)] {
        assert_eq!(cifar10::load(&root, split).unwrap().class_counts(), [each; 10]);
    }
    if !root.join("cifar-100-binary/test.bin").is_file() {
        println!("skipped: no CIFAR-100 in {}", root.display());
        return;
    }
    let test = cifar100::load(&root, Split::Test).unwrap();
    assert_eq!(test.class_counts(), [100; 100]);
    let names = std::fs::read_to_string(root.join("cifar-100-binary/fine_label_names.txt")).unwrap();
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), test.class_names());
}
