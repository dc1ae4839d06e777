//! The files that can be downloaded: where they are, how long they are, and what they hash to.

use crate::cifar10::CIFAR10;
use crate::cifar100::CIFAR100;

/// What can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Published {
    /// CIFAR-10, both splits, 170 MB.
    Cifar10,
    /// CIFAR-100, both splits, 169 MB.
    Cifar100,
    /// SVHN's cropped digits for training, 182 MB.
    SvhnTrain,
    /// SVHN's cropped digits for testing, 64 MB.
    SvhnTest,
}

/// One file as published.
pub(super) struct Resource {
    pub(super) url: String,
    /// Its name on disk.
    pub(super) file: String,
    /// Bytes.
    pub(super) size: u64,
    /// Hexadecimal, lower case.
    pub(super) sha256: String,
    /// The folder in it, if it is an archive.
    pub(super) folder: Option<Folder>,
}

/// A folder of an archive.
pub(super) struct Folder {
    pub(super) name: String,
    /// The files in it that the set is read from.
    pub(super) files: Vec<String>,
}

impl Published {
    pub(super) fn resource(self) -> Resource {
        let (url, size, sha256, folder) = match self {
            Self::Cifar10 => (
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                Some(CIFAR10),
            ),
            Self::Cifar100 => (
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                Some(CIFAR100),
            ),
            // Stanford serves these without TLS: the hash is what vouches for them.
            Self::SvhnTrain => (
                "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
                182_040_794,
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                None,
            ),
            Self::SvhnTest => (
                "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
                64_275_384,
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                None,
            ),
        };
        let file = url.rsplit('/').next().unwrap_or(url);
        Resource {
            url: url.to_string(),
            file: file.to_string(),
            size,
            sha256: sha256.to_string(),
            folder: folder.map(|set| Folder {
                name: set.folder.to_string(),
                files: [set.train_files, set.test_files].concat().into_iter().map(str::to_string).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_well_formed() {
        use Published::{Cifar10, Cifar100, SvhnTest, SvhnTrain};
        for published in [Cifar10, Cifar100, SvhnTrain, SvhnTest] {
            let resource = published.resource();
            assert!(resource.url.ends_with(&format!("/{}", resource.file)));
            assert_eq!(resource.sha256.len(), 64);
            assert!(resource.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            assert_eq!(resource.folder.is_some(), resource.file.ends_with(".tar.gz"));
        }
    }
}
