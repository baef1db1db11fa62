//! The highest rate at which no more is lost than may be: RFC 2544, 26.1, by halving.

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The highest rate that is tried, in packets a second.
    pub most: f64,
    /// The search ends when the answer is known to this share of `most`.
    pub resolution: f64,
}

/// What a trial at some rate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Little enough was lost.
    Passed,
    /// Too much was lost, or the rate was not reached.
    Failed,
}

/// Tries rates, the highest first. Answers the highest that passed; `None` where not even one
/// step's rate did.
///
/// # Errors
/// What a trial fails with.
pub fn search<E>(
    bounds: Bounds,
    mut trial: impl FnMut(f64) -> Result<Verdict, E>,
) -> Result<Option<f64>, E> {
    if trial(bounds.most)? == Verdict::Passed {
        return Ok(Some(bounds.most));
    }
    let step = bounds.most * bounds.resolution.clamp(1e-4, 0.5);
    let (mut passed, mut failed) = (0.0, bounds.most);
    while failed - passed > step {
        let middle = (passed + failed) / 2.0;
        match trial(middle)? {
            Verdict::Passed => passed = middle,
            Verdict::Failed => failed = middle,
        }
    }
    Ok((passed > 0.0).then_some(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: f64, resolution: f64) -> (Option<f64>, usize) {
        let mut trials = 0;
        let trial = |rate: f64| {
            trials += 1;
            Ok::<_, ()>(if rate <= limit { Verdict::Passed } else { Verdict::Failed })
        };
        let rate = search(Bounds { most: 1000.0, resolution }, trial).unwrap();
        (rate, trials)
    }

    #[test]
    fn the_limit_is_found_to_the_resolution_and_not_above() {
        for limit in [17.0, 333.3, 500.0, 999.0] {
            let (rate, trials) = found(limit, 0.01);
            let rate = rate.unwrap();
            assert!(rate <= limit && rate > limit - 10.0, "{limit}: {rate}");
            assert!(trials <= 9, "{trials}");
        }
    }

    #[test]
    fn all_or_nothing_takes_few_trials() {
        assert_eq!(found(5000.0, 0.01), (Some(1000.0), 1));
        assert_eq!(found(0.0, 0.01).0, None);
    }

    #[test]
    fn a_trial_that_fails_ends_the_search() {
        let bounds = Bounds { most: 1.0, resolution: 0.1 };
        assert_eq!(search(bounds, |_| Err("gone")), Err("gone"));
    }
}
