//! What instructions this CPU has beyond those that every one of its architecture has.
//!
//! Asked once by whoever keeps a choice; loops over a burst exist in one version for every tier
//! that makes them faster, and all versions give the same results.

/// A set of instructions; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// What every CPU has.
    Any,
    /// AVX2 and BMI1: 32 bytes at once.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL, VBMI, IFMA) and its AES, and BMI2: 64 bytes at once, each under its own mask.
    Avx512,
}

impl Tier {
    /// The highest one that this CPU has.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("bmi1") {
                let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq");
                let wide = wide && has!("avx512vl") && has!("avx512vbmi");
                let wide = wide && has!("avx512ifma") && has!("bmi2");
                return match wide && has!("vaes") && has!("aes") {
                    true => Self::Avx512,
                    false => Self::Avx2,
                };
            }
        }
        Self::Any
    }

    /// All tiers that this CPU has.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [Self::Any, Self::Avx2, Self::Avx512].into_iter().filter(|tier| *tier <= Self::best())
    }
}
