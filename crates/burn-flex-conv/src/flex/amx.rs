//! Products in bf16 on CPUs with AMX (Intel's Advanced Matrix Extensions): a product of two 16 x 16 tiles of pairs in one
//! instruction, sums in f32.
//!
//! ```text
//! C[32, 32] = sum over runs of A[32, pairs] B[pairs, 32],   a pair holds two neighbours of the sum
//! ```

use std::marker::PhantomData;

/// Rows and columns of the sums.
pub(super) const SIDE: usize = 32;
/// Rows and columns of a tile, and pairs of a step.
pub(super) const TILE: usize = 16;
/// Length of the operand `B` of a step: a row for each pair.
const STEP_OF_B: usize = TILE * SIDE;
/// Values in a line of the cache.
const LINE: usize = 16;

/// Sums of products, `[SIDE, SIDE]`.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [f32; SIDE * SIDE]);

impl Sums {
    pub(super) const ZERO: Self = Self([0.0; SIDE * SIDE]);
}

/// How the operands of a product lie in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Distance of the rows of `A`.
    pub(super) row: usize,
    /// Distance of the steps of `A`.
    pub(super) step: usize,
    /// Steps of [`TILE`] pairs.
    pub(super) steps: usize,
}

/// The operands of one product after the other, whose sums are added.
pub(super) struct Runs<'a> {
    shape: Shape,
    runs: Vec<Run>,
    operands: PhantomData<&'a [u32]>,
}

/// The first pairs of the upper and lower half of `A`, and of `B`.
#[repr(C)]
struct Run {
    a: [*const u32; 2],
    b: *const u32,
}

impl<'a> Runs<'a> {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, runs: Vec::new(), operands: PhantomData }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Adds a product. Each half of `A` has [`TILE`] rows; `B` is `[steps * TILE, SIDE]`.
    ///
    /// # Panics
    ///
    /// When an operand is too short.
    pub(super) fn push(&mut self, a: [&'a [u32]; 2], b: &'a [u32]) {
        let Shape { row, step, steps } = self.shape;
        let last = steps.checked_sub(1).expect("a product of at least one step");
        let len = last * step + (TILE - 1) * row + TILE;
        assert!(a.iter().all(|half| half.len() >= len), "rows of A end too early");
        assert!(b.len() >= steps * STEP_OF_B, "rows of B end too early");
        self.runs.push(Run { a: a.map(<[u32]>::as_ptr), b: b.as_ptr() });
    }
}

/// Pairs that begin with a line of the cache: tiles load twice as fast.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Aligned {
    pairs: Vec<u32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn zeros(len: usize) -> Self {
        let pairs = vec![0; len + LINE];
        let start = pairs.as_ptr().align_offset(LINE * size_of::<u32>()).min(LINE);
        Self { pairs, start, len }
    }

    /// At least `len` pairs, some of an earlier use.
    pub(super) fn at_least(&mut self, len: usize) -> &mut [u32] {
        if self.len < len {
            *self = Self::zeros(len);
        }
        self
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.pairs[self.start..][..self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u32] {
        &mut self.pairs[self.start..][..self.len]
    }
}

pub(crate) use instructions::Amx;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod instructions {
    /// Evidence that this process may use AMX. No such CPU is known for this architecture, or this operating system asks for
    /// the permission in another way.
    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Amx {}

    impl Amx {
        pub(crate) fn try_new() -> Option<Self> {
            None
        }

        pub(in super::super) fn multiply(self, _: &super::Runs, _: &mut super::Sums) {
            match self {}
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
mod instructions {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::sync::OnceLock;

    use super::{Runs, SIDE, Shape, Sums, TILE};

    /// Evidence that this process may use AMX.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Amx(());

    /// What the instruction `ldtilecfg` reads: the shapes of the eight tiles.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_of_row: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIG: Config = {
        let (mut bytes_of_row, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            bytes_of_row[tile] = 64;
            rows[tile] = TILE as u8;
            tile += 1;
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row, rows }
    };

    impl Amx {
        /// Returns `None` on a CPU without AMX for bf16, and where the operating system does not permit it.
        pub(crate) fn try_new() -> Option<Self> {
            static FOUND: OnceLock<bool> = OnceLock::new();
            FOUND.get_or_init(|| has_amx() && is_permitted()).then_some(Self(()))
        }

        /// Writes the sums of the products of all runs, of which there is at least one.
        pub(in super::super) fn multiply(self, runs: &Runs, sums: &mut Sums) {
            const { assert!(SIDE == 2 * TILE) };
            let Shape { row, step, steps } = runs.shape;
            assert!(!runs.runs.is_empty(), "products of at least one run");
            // Safety: `self` exists only where the CPU has the instructions and the kernel saves the tiles. `Runs::push` has
            // checked that the rows which are read lie within slices that are borrowed for as long as `runs`, and that there is
            // at least one step. Rows of `B` and of the sums are 128 bytes, and the sums are 32 of them. All tiles are
            // configured, filled, stored and released within the block.
            unsafe {
                asm!(
                    "ldtilecfg [{n}]",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "mov {a0}, [{runs}]",
                    "mov {a1}, [{runs} + 8]",
                    "mov {b}, [{runs} + 16]",
                    "mov {n}, {steps}",
                    "3:",
                    "tileloadd tmm4, [{a0} + {row}]",
                    "tileloadd tmm6, [{b} + {wide}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {wide} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a1} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a0}, {step}",
                    "add {a1}, {step}",
                    "add {b}, 2048",
                    "dec {n}",
                    "jnz 3b",
                    "add {runs}, 24",
                    "dec {count}",
                    "jnz 2b",
                    "tilestored [{sums} + {wide}], tmm0",
                    "tilestored [{sums} + {wide} + 64], tmm1",
                    "tilestored [{sums} + {wide} + 2048], tmm2",
                    "tilestored [{sums} + {wide} + 2112], tmm3",
                    "tilerelease",
                    sums = in(reg) sums.0.as_mut_ptr(),
                    runs = inout(reg) runs.runs.as_ptr() => _,
                    count = inout(reg) runs.runs.len() => _,
                    steps = in(reg) steps,
                    row = in(reg) row * size_of::<u32>(),
                    step = in(reg) step * size_of::<u32>(),
                    wide = in(reg) SIDE * size_of::<f32>(),
                    n = inout(reg) &raw const CONFIG => _,
                    a0 = out(reg) _,
                    a1 = out(reg) _,
                    b = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }

    fn has_amx() -> bool {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        // Leaf 7 exists on every CPU with AVX2.
        is_x86_feature_detected!("avx2") && __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES
    }

    /// Asks the kernel to save the tiles of this process's threads, `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`:
    /// "Using XSTATE features in user space applications" in Linux's documentation.
    fn is_permitted() -> bool {
        let result: isize;
        // Safety: the system call takes two numbers and touches no memory of this process.
        unsafe {
            asm!(
                "syscall",
                inout("rax") 158_isize => result,
                in("rdi") 0x1023,
                in("rsi") 18,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::bf16::pair;
    use super::*;

    /// Values of a pair.
    fn values(pair: u32) -> [f64; 2] {
        [pair << 16, pair & 0xffff_0000].map(|bits| f64::from(f32::from_bits(bits)))
    }

    #[test]
    fn sums_are_of_the_products_of_all_runs() {
        let Some(amx) = Amx::try_new() else {
            eprintln!("skipped: this CPU has no AMX");
            return;
        };
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 16.0;
        let pairs = |len: usize, seed: usize| {
            let mut pairs = Aligned::zeros(len);
            let filled = pairs.iter_mut().enumerate();
            filled.for_each(|(i, to)| *to = pair(value(2 * i + seed), value(2 * i + 1 + seed)));
            pairs
        };
        // Rows that overlap, and steps that do not lie next to each other.
        let shape = Shape { row: 5, step: 40, steps: 3 };
        let (a, b) = (pairs(400, 3), pairs(2 * 3 * STEP_OF_B, 8));
        let starts = [[0, 7], [90, 11]];
        let mut runs = Runs::new(shape);
        for (run, start) in starts.iter().enumerate() {
            runs.push(start.map(|start| &a[start..]), &b[run * 3 * STEP_OF_B..]);
        }
        let mut sums = Sums([f32::NAN; SIDE * SIDE]);
        amx.multiply(&runs, &mut sums);
        for (i, &found) in sums.0.iter().enumerate() {
            let (row, column) = (i / SIDE, i % SIDE);
            let mut expected = 0.0;
            for (run, start) in starts.iter().enumerate() {
                for k in 0..3 * TILE {
                    let at = start[row / TILE] + row % TILE * 5 + k / TILE * 40 + k % TILE;
                    let (a, b) = (values(a[at]), values(b[(run * 3 * TILE + k) * SIDE + column]));
                    expected += a[0] * b[0] + a[1] * b[1];
                }
            }
            assert!((f64::from(found) - expected).abs() < 1e-3, "{row}, {column}: {found}, not {expected}");
        }
    }

    #[test]
    #[should_panic(expected = "rows of A end too early")]
    fn rows_that_end_too_early_are_refused() {
        let (a, b) = (Aligned::zeros(91), Aligned::zeros(STEP_OF_B));
        Runs::new(Shape { row: 5, step: 0, steps: 1 }).push([&a, &a[1..]], &b);
    }

    #[test]
    fn pairs_begin_with_a_line() {
        let mut pairs = Aligned::default();
        for len in [1, 100, 17] {
            let pairs = pairs.at_least(len);
            assert!(pairs.len() >= len && pairs.as_ptr().addr() % 64 == 0);
        }
    }
}
