//! What can go wrong between the disk and a batch, with the file, the byte and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::printable;

/// Errors of this crate. Every variant about a file carries its path, and the byte offset where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", printable(path))]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was attempted, as a verb: "read", "create".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// A data set is not where it was looked for.
    #[error("no {what} under {}: {hint}", printable(path))]
    Missing {
        /// The folder that was searched.
        path: PathBuf,
        /// The data set or file that was wanted.
        what: String,
        /// What to put where.
        hint: String,
    },

    /// A file of fixed-size records ends in the middle of one.
    #[error(
        "{} is truncated: record {record} at byte {offset} has {found} of its {expected} bytes; fetch the file again",
        printable(path)
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the incomplete record starts, in bytes.
        offset: u64,
        /// Which record it is, from zero.
        record: usize,
        /// Bytes of a whole record.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },

    /// A file does not have the size its format or its publisher gives it.
    #[error("{} has {found} bytes instead of {expected}: {hint}", printable(path))]
    FileSize {
        /// The file.
        path: PathBuf,
        /// What it should have, in words or bytes.
        expected: String,
        /// What it has.
        found: u64,
        /// What that points to.
        hint: &'static str,
    },

    /// A file with fewer or more images than the published set.
    #[error(
        "{} has {found} images instead of {expected}: it is a part of the set, or not the set; load_partial takes parts",
        printable(path)
    )]
    ImageCount {
        /// The file.
        path: PathBuf,
        /// Images in the file.
        found: usize,
        /// Images in the published file.
        expected: usize,
    },

    /// A label that the data set does not have.
    #[error(
        "{}: label {label} at byte {offset} is out of range, there are {classes} classes",
        printable(path)
    )]
    LabelInFile {
        /// The file.
        path: PathBuf,
        /// Where the label is, in bytes.
        offset: u64,
        /// The label read.
        label: u64,
        /// Number of classes.
        classes: usize,
    },

    /// A file whose content is not what its format says.
    #[error("{} is corrupt near byte {offset}: {reason}", printable(path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the reader stood, in bytes (of the compressed file where it is one).
        offset: u64,
        /// What is wrong.
        reason: String,
    },

    /// A picture that cannot be decoded.
    #[error("cannot decode {} (stopped near byte {offset}): {source}", printable(path))]
    Undecodable {
        /// The picture; `archive!entry` for a member of an archive.
        path: PathBuf,
        /// How far the decoder had read, in bytes.
        offset: u64,
        /// What the decoder said.
        source: image::ImageError,
    },

    /// A picture or archive that would take more memory or disk than is allowed: likely a decompression bomb.
    #[error(
        "{} asks for {what}, the limit is {limit}; likely a decompression bomb; if it is genuine, convert it to something smaller first",
        printable(path)
    )]
    OverLimit {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        what: String,
        /// What is allowed.
        limit: String,
    },

    /// A picture of another size than its set has.
    #[error(
        "{} is {} x {} pixels, expected {} x {} (height x width)",
        printable(path), found.0, found.1, expected.0, expected.1
    )]
    ImageSize {
        /// The picture.
        path: PathBuf,
        /// Its height and width.
        found: (usize, usize),
        /// The height and width wanted.
        expected: (usize, usize),
    },

    /// A folder without a single picture.
    #[error("no pictures in {}: looked for {looked_for}", printable(path))]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// What would have counted.
        looked_for: &'static str,
    },

    /// A folder that should hold one folder a class and holds none.
    #[error(
        "no pictures in {}: expected one sub-folder of pictures for each class, or pictures, which are then one class",
        printable(path)
    )]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
    },

    /// A folder with pictures of its own and folders too: what is a class?
    #[error(
        "{} holds pictures ({}) and folders ({}): expected either one sub-folder for each class, or \
         pictures only, which are then one class; move one of the two elsewhere",
        printable(path),
        printable(picture),
        printable(folder)
    )]
    MixedFolder {
        /// The folder.
        path: PathBuf,
        /// One of its pictures.
        picture: String,
        /// One of its folders.
        folder: String,
    },

    /// Two folders of classes whose names are one as text.
    #[error(
        "{first:?} and {second:?} would both be class {name:?}, as their names are not UTF-8: rename one of them"
    )]
    EqualFolderNames {
        /// The name as text.
        name: String,
        /// The first folder.
        first: PathBuf,
        /// The second.
        second: PathBuf,
    },

    /// A class of which not one picture can be read.
    #[error(
        "none of the {pictures} pictures of {} can be read: repair them, or move the folder elsewhere. The first: {first}",
        printable(path)
    )]
    UnreadableClass {
        /// The folder of the class.
        path: PathBuf,
        /// Files that look like pictures by their names.
        pictures: usize,
        /// The first of them, with the reason.
        first: String,
    },

    /// More files that cannot be read as pictures than may be passed over.
    #[error(
        "{unreadable} of {pictures} pictures in {} cannot be read, the limit is {limit}: remove or repair them, or raise \
         the limit. The first: {}",
        printable(path), first.join("; ")
    )]
    TooManyUnreadable {
        /// The folder.
        path: PathBuf,
        /// Files that cannot be read.
        unreadable: usize,
        /// Files that look like pictures by their names.
        pictures: usize,
        /// How many may be passed over.
        limit: usize,
        /// The first of them, with the reasons.
        first: Vec<String>,
    },

    /// More pixels than fit into memory.
    #[error(
        "{pictures} pictures of {height} x {width} take {} MiB, which this machine does not give: make them smaller or fewer",
        bytes >> 20
    )]
    OutOfMemory {
        /// Number of pictures.
        pictures: usize,
        /// Height asked for.
        height: usize,
        /// Width asked for.
        width: usize,
        /// Bytes that they would take.
        bytes: u64,
    },

    /// An archive with an entry that is refused: absolute, leading outside the target, a link or a device.
    #[error("{}: entry {entry:?} is refused: {reason}", printable(path))]
    UnsafeEntry {
        /// The archive.
        path: PathBuf,
        /// The entry's name as stored.
        entry: String,
        /// Why it is refused.
        reason: &'static str,
    },

    /// Pixels that do not fill a whole number of images.
    #[error("{found} pixel bytes do not make {images} images of 3 x {height} x {width} ({expected} bytes)")]
    PixelCount {
        /// Number of labels, hence of images.
        images: usize,
        /// Height of an image.
        height: usize,
        /// Width of an image.
        width: usize,
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },

    /// A label with no class name.
    #[error("image {image} has label {label}, but there are only {classes} class names")]
    Label {
        /// Index of the image.
        image: usize,
        /// Its label.
        label: usize,
        /// Number of class names.
        classes: usize,
    },

    /// Two classes of one name.
    #[error("classes {first} and {second} are both named {name:?}: rename one of them")]
    EqualClassNames {
        /// Their name.
        name: String,
        /// Label of the first.
        first: usize,
        /// Label of the second.
        second: usize,
    },

    /// An image, class or rotation that does not exist.
    #[error("{what} {index} is out of range, there are {len}")]
    OutOfRange {
        /// What was indexed: "image", "class".
        what: &'static str,
        /// The index given.
        index: usize,
        /// How many there are.
        len: usize,
    },

    /// Two sets that cannot be joined.
    #[error("cannot join image sets: {reason}")]
    Mismatch {
        /// What differs.
        reason: String,
    },

    /// A setting outside its range.
    #[error("{name} = {value} is invalid: {requirement}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value, as text.
        value: String,
        /// What it has to fulfil.
        requirement: &'static str,
    },

    /// More images in a batch than there are in the set.
    #[error(
        "a batch of {batch} images needs at least as many, the set has {available}: make the batch smaller"
    )]
    BatchTooLarge {
        /// Images in a batch.
        batch: usize,
        /// Images in the set.
        available: usize,
    },

    /// Images that cannot be turned by 90 degrees into the same shape.
    #[error(
        "images of {height} x {width} cannot be rotated by 90 degrees in one batch: make them square, set view_size, or set rotations to None"
    )]
    NotSquare {
        /// Their height.
        height: usize,
        /// Their width.
        width: usize,
    },

    /// A thread that makes batches could not start or did not survive.
    #[error("a thread that makes batches failed: {reason}")]
    Worker {
        /// What happened.
        reason: String,
    },

    /// A download that did not succeed.
    #[error(
        "cannot download {url}: {reason}. To go without: put the file at {} and run again",
        printable(place_at)
    )]
    Download {
        /// Where it was to come from.
        url: String,
        /// What happened.
        reason: String,
        /// Where the file is looked for before anything is downloaded.
        place_at: PathBuf,
    },

    /// A file that is not the published one.
    #[error("{} has {algorithm} {found} instead of {expected}: {hint}", printable(path))]
    Hash {
        /// The file.
        path: PathBuf,
        /// Name of the hash.
        algorithm: &'static str,
        /// The published hash, in hexadecimal.
        expected: String,
        /// The hash of the file.
        found: String,
        /// What was done with it or should be.
        hint: &'static str,
    },
}

impl DataError {
    /// For `map_err`: an [`DataError::Io`] about `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }
}
