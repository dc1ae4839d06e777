//! The pixel cache of a folder of pictures: the file as it is, and with its hash made to fit, so that what is behind the
//! hash is reached. The first byte says where the bytes of the input replace those of a good file.
#![no_main]

use std::fs;

use burn_mcl::data::ImageSet;
use burn_mcl::data::image_folder::{CacheUse, ImageFolderConfig};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const HASH: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let Some((&at, bytes)) = bytes.split_first() else { return };
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    let pixels = (0..2 * 3 * 4).collect();
    let set = ImageSet::new(pixels, (2, 2), vec![0, 0], vec!["class".into()]).unwrap();
    set.write_folders(&pictures).unwrap();
    fs::write(pictures.join("class/no-picture.png"), "").unwrap();

    let config = ImageFolderConfig::new((2, 2)).with_unreadable(1.0).with_cache(Some(dir.path().join("cache")));
    let first = config.load(&pictures, &|_, _| {}).unwrap();
    let CacheUse::Written { path, .. } = &first.cache else { panic!("{}", first.cache) };
    let mut file = fs::read(path).unwrap();
    if at == u8::MAX {
        file = bytes.to_vec();
    } else {
        let at = usize::from(at).min(file.len() - HASH);
        let until = (at + bytes.len()).min(file.len() - HASH);
        file.splice(at..until, bytes.iter().copied());
        let end = file.len() - HASH;
        let hash = Sha256::digest(&file[..end]);
        file[end..].copy_from_slice(&hash);
    }
    fs::write(path, file).unwrap();

    // Whatever the file holds, the folder is loaded: from the cache, or from the pictures.
    let again = config.load(&pictures, &|_, _| {});
    if let Ok(again) = again {
        assert_eq!(again.images.len() + again.unreadable.len(), 3);
        assert!(matches!(again.cache, CacheUse::Read(_)) || again.images == first.images);
    }
});
